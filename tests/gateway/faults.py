"""What happens to a gateway in the field: crashes, a worker that stalls, power cuts, a dead line, a wrong clock, a full disk."""
import json
import random
import subprocess
import threading
import time

from lab import Failed, events, say, state

CRASHES = 20
# A scanner that waits for each answer and says on the report line what was answered ok. The report line dies with the machine.
SCANNER = r"""
use IO::Socket::INET; use IO::Handle;
open(R, ">", "/dev/virtio-ports/lab.report") or die; R->autoflush;
my $n = 0;
while (1) {
    my $s = IO::Socket::INET->new("127.0.0.1:9100") or do { select undef, undef, undef, .2; next };
    while (1) {
        my $code = "$ARGV[0]-" . ++$n;
        print $s "$code\n" or last;
        defined(my $said = <$s>) or last;
        print R "$code $said";
        select undef, undef, undef, .02;
    }
}
"""
CONF = """
[[scanner]]
id = "dock"
port = "tcp-listen://127.0.0.1:9100"
place = "dock-1"
reply = true
repeat_window_ms = 0
"""


class Answers:
    """What the scanner of the machine was answered, collected outside of it."""

    def __init__(self, lab, prefix):
        self.lab, self.lines = lab, []
        lab.put(SCANNER, "/run/scanner.pl")
        self.line = subprocess.Popen([*lab.program, "report"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        lab.run(f"systemctl stop scanner 2>/dev/null; systemd-run --quiet --collect --unit scanner perl /run/scanner.pl {prefix}")

    def read(self):
        for line in self.line.stdout:
            self.lines.append(line.split())

    def ok(self):
        return [line[0] for line in list(self.lines) if len(line) > 1 and line[1].startswith("ok")]

    def last(self):
        return " ".join(self.lines[-1][1:]) if self.lines else ""

    def wait(self, what, is_so, seconds=60):
        end = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > end:
                raise Failed(f"never came: {what}; last answer {self.last()!r} of {len(self.lines)}")
            time.sleep(0.1)

    def end(self, alive=True):
        if alive:
            self.lab.run("systemctl stop scanner")
        self.line.terminate()
        self.line.wait()
        self.thread.join()


def health(lab):
    return json.loads(lab.get("/healthz"))


def reason(lab, words, seconds=60):
    """Waits until the screen gives a reason with these words, and answers it."""
    end = time.monotonic() + seconds
    reasons = []
    while time.monotonic() < end:
        try:
            reasons = health(lab)["reasons"]
        except (Failed, ValueError):
            reasons = ["no answer"]
        found = [one for one in reasons if words in one]
        if found:
            return found[0]
        time.sleep(0.3)
    raise Failed(f"nothing on the screen says {words!r}: {reasons}")


def pid(lab):
    return lab.run("systemctl show -P MainPID waypost").strip()


def back(lab, before, seconds=120):
    """Waits for another process that is ready."""
    look = f'p=$(systemctl show -P MainPID waypost); [ "$p" != 0 ] && [ "$p" != {before} ] && [ "$(systemctl is-active waypost)" = active ]'
    lab.wait("another run of the node", look, seconds)


def noted(lab, words):
    """The failure log has a line with these words."""
    found = lab.run(f"sqlite3 -readonly /var/lib/waypost/waypost.db \"select detail from failure_log where what = 'restart' and detail like '%{words}%'\"")
    if not found.strip():
        raise Failed(f"the failure log does not say {words!r}")
    return found.strip().splitlines()[-1]


def fresh(lab):
    """Settings as they were, nothing of a fault before."""
    lab.put(CONF, "/etc/waypost/conf.d/30-dock.toml")
    lab.run("waypost check && systemctl restart waypost")
    state(lab, "dock", "up")


def crashes(lab):
    fresh(lab)
    took = []
    for _ in range(CRASHES):
        before, begun = pid(lab), time.monotonic()
        lab.run(f"kill -9 {before}")
        back(lab, before)
        took.append(time.monotonic() - begun)
    restarts = int(lab.run("systemctl show -P NRestarts waypost"))
    why = reason(lab, "ended soon after its start 5 times")
    if restarts < CRASHES:
        raise Failed(f"{CRASHES} kills, {restarts} restarts")
    lab.run("systemctl restart waypost")
    state(lab, "dock", "up")
    if any("5 times" in one for one in health(lab)["reasons"]):
        raise Failed("the safe mode outlives a restart by a person")
    took.sort()
    say(f"crashes: {CRASHES} kills in a row, {restarts} restarts, back after {took[len(took) // 2]:.1f} s, {took[-1]:.1f} s at most; the screen: {why}")


def stopped(lab):
    """The whole process stands still: only systemd can see that."""
    fresh(lab)
    before, begun = pid(lab), time.monotonic()
    lab.run(f"kill -STOP {before}")
    back(lab, before)
    why = reason(lab, "no sign of life")
    say(f"stopped: back {time.monotonic() - begun:.1f} s after SIGSTOP; the screen: {why}; the log: {noted(lab, 'sign of life')}")


def stall(lab):
    """The disk stands still under the writer: a worker that gets on no more, in a call that cannot be ended."""
    fresh(lab)
    answers = Answers(lab, "stall")
    answers.wait("answers before the stall", lambda: len(answers.ok()) > 5)
    before, begun = pid(lab), time.monotonic()
    lab.call("disk", "stall")
    lab.wait("the end that the node asks for", "journalctl -u waypost -n 60 --no-pager | grep -q 'Watchdog request\\|Watchdog timeout'", 90)
    asked = time.monotonic() - begun
    lab.call("disk", "ok")
    back(lab, before)
    why = reason(lab, "was started again: worker")
    took = time.monotonic() - begun
    many = len(answers.ok())
    answers.wait("answers after the stall", lambda: len(answers.ok()) > many + 5)
    answers.end()
    line = lab.run("journalctl -u waypost --no-pager -o cat | grep 'Watchdog' | tail -1").strip()
    say(f"stall: the end was asked for after {asked:.1f} s, healthy {took:.1f} s after the disk stood still (it went on at {asked:.1f} s); "
        f"systemd: {line}; the screen: {why}; the log: {noted(lab, 'worker')}")
    keeps(lab, answers.ok(), "a stall")


def keeps(lab, codes, what):
    there = {event["code"] for event in events(lab, "scan")}
    lost = [code for code in codes if code not in there]
    if lost:
        raise Failed(f"lost by {what}: {len(lost)} of {len(codes)} that were answered ok, {lost[:5]}")


def cuts(lab, many, seed=7):
    """The power is cut in the middle of scans; what the disk was not told to keep is lost at random."""
    fresh(lab)
    dice, acked, took = random.Random(seed), [], []
    for cut in range(many):
        answers = Answers(lab, f"cut{cut}")
        answers.wait("answers", lambda got=answers: len(got.ok()) > 20)
        time.sleep(dice.random() * 2)
        lab.call("power-cut", "--lose", "random", "--seed", str(seed + cut))
        answers.end(alive=False)
        acked += answers.ok()
        lab.call("boot", "--timeout", "600")
        begun = time.monotonic()
        state(lab, "dock", "up", 180)
        took.append(time.monotonic() - begun)
        keeps(lab, acked, f"cut {cut + 1}")
    balance = json.loads(lab.run("waypost outbox stat --json"))["balance"]
    if balance:
        raise Failed(f"the ledger is off by {balance}")
    say(f"power cuts: {many}, {len(acked)} scans answered ok, 0 lost; up {max(took):.1f} s after the machine at most; the ledger balances")


def full(lab):
    fresh(lab)
    answers = Answers(lab, "full")
    answers.wait("answers", lambda: len(answers.ok()) > 5)
    before = pid(lab)
    lab.call("disk", "fill")
    answers.wait("a refusal", lambda: "storage_full" in answers.last(), 120)
    why = reason(lab, "storage")
    lab.call("disk", "unfill")
    answers.wait("an answer after it", lambda: answers.last().startswith("ok"), 120)
    answers.end()
    if pid(lab) != before:
        raise Failed("the node was started again by a full disk")
    keeps(lab, answers.ok(), "a full disk")
    say(f"full disk: refused aloud, the screen: {why}; goes on by itself, {len(answers.ok())} scans answered ok, 0 lost")


def clock(lab):
    """The machine's clock is years off; a receiver knows better."""
    fresh(lab)
    lab.run("systemctl stop waypost")
    lab.call("clock", "--set", "2001-02-03 04:05:06")
    lab.run("systemctl start waypost")
    answers = Answers(lab, "year")
    answers.wait("answers in the wrong year", lambda: len(answers.ok()) > 5)
    lab.wait("the receiver's word for the time", "waypost status --json | tr -d ' \\n' | grep -q '\"tq\":\"gnss\"'", 120)
    many = len(answers.ok())
    answers.wait("answers after it", lambda: len(answers.ok()) > many + 5)
    answers.end()
    keeps(lab, answers.ok(), "a wrong clock")
    ours = [event for event in events(lab, "scan") if event["code"].startswith("year-")]
    if [event["seq"] for event in ours] != sorted(event["seq"] for event in ours):
        raise Failed("the order of the scans was turned")
    late = ours[-1]["ts_ms"] / 1000
    if abs(late - time.time()) > 60:
        raise Failed(f"the last scan is of {late}, now is {time.time()}")
    lab.call("clock", "--set", time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()))
    say(f"clock at 2001: {len(ours)} scans in order, 0 lost, by the receiver the last is {abs(late - time.time()):.0f} s off now")


def blackhole(lab, port):
    """The line to the broker swallows everything, as a cellular hole does."""
    topic, heard = "waypost/v1/lab/wp-lab/event/scan", []
    ears = subprocess.Popen(["mosquitto_sub", "-p", str(port), "-q", "1", "-t", topic], stdout=subprocess.PIPE, text=True)
    reader = threading.Thread(target=lambda: heard.extend(iter(ears.stdout.readline, "")), daemon=True)
    try:
        reader.start()
        lab.put(f'[uplink]\nurl = "mqtt://10.0.2.100:{port}"\nbackoff_max_s = 10\nbackoff_spread_s = 0\n', "/etc/waypost/conf.d/40-uplink.toml")
        fresh(lab)
        connected = "waypost status --json | tr -d ' \\n' | grep -q '\"uplink\":{[^}]*\"state\":\"connected\"'"
        lab.wait("the broker", connected, 120)
        lab.call("link", "blackhole")
        answers = Answers(lab, "hole")
        answers.wait("answers in the hole", lambda: len(answers.ok()) > 50)
        lab.wait("the word that the broker is away", f"! {{ {connected}; }}", 120)
        answers.end()
        begun = time.monotonic()
        lab.call("link", "up")
        lab.wait("all sent", "waypost outbox stat --json | tr -d ' \\n' | grep -q '\"unsent\":0[,}]'", 180)
        took = time.monotonic() - begun
    finally:
        ears.terminate()
        ears.wait()
        reader.join()
        lab.run("rm -f /etc/waypost/conf.d/40-uplink.toml", check=False)
    codes = {json.loads(line)["code"] for line in heard}
    lost = [code for code in answers.ok() if code not in codes]
    if lost:
        raise Failed(f"{len(lost)} of {len(answers.ok())} scans never reached the broker: {lost[:5]}")
    say(f"black hole: {len(answers.ok())} scans answered ok in it, all at the broker {took:.1f} s after it")
