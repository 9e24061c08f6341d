"""Devices that come and go: claims, programs that grab them, replugs, a keyboard that types."""
import json
import time

from lab import GPS, KEYBOARD, SCANNER, Failed, events, say, scans, state

FIRST_FIX_S = 3.0
WEDGE = """
[[scanner]]
id = "door-3"
port = "hid:///dev/waypost/door-3"
place = "door-3"
"""


def claims(lab):
    lab.wait("the devices", f"test -e {GPS} -a -e {SCANNER} -a -e {KEYBOARD}")
    said = lab.run(f"waypost devices claim gps0 {GPS}")
    if "serial number LABGPS01" not in said:
        raise Failed(f"not claimed by its serial number: {said}")
    node = lab.run("stat -Lc '%a %U:%G' /dev/waypost/gps0 && udevadm info /dev/waypost/gps0")
    if not node.startswith("660 root:waypost") or "ID_MM_DEVICE_IGNORE=1" not in node:
        raise Failed(f"udev made of it: {node}")
    for name, device, code, word in [
        ("gps1", GPS, 1, "is gps0 already"),
        ("gps0", SCANNER, 1, "is taken by"),
        ("gps2", "/dev/ttyS0", 1, "is the console"),
        ("gps2", "/dev/ttyUSB9", 66, "is not there"),
        ("../x", SCANNER, 64, "is no name"),
    ]:
        done = lab.call("run", f"waypost devices claim {name} {device}", check=False)
        if done.returncode != code or word not in done.stderr:
            raise Failed(f"claim {name} {device}: {done.returncode}: {done.stderr}")
    asked = f"setpriv --reuid=65534 --clear-groups waypost devices claim spare {SCANNER}"
    done = lab.call("run", asked, check=False)
    if done.returncode != 77 or f"sudo waypost devices claim spare {SCANNER}" not in done.stderr:
        raise Failed(f"a claim by nobody: {done.returncode}: {done.stderr}")
    lab.run(f"waypost devices claim spare {SCANNER} && waypost devices release spare")
    if lab.run(f"stat -Lc %G {SCANNER}; ls /dev/waypost").split() != ["dialout", "gps0"]:
        raise Failed("a released device is not as it was")
    say("claims: by serial number, 0660 root:waypost, refused in words where they must be, released again")


def thieves(lab):
    """Rules as gpsd (60) and brltty (85, for the device as a whole) have them reach an unclaimed adapter only."""
    lab.put('SUBSYSTEM=="tty", ATTRS{idVendor}=="0403", TAG+="systemd", ENV{SYSTEMD_WANTS}="gpsdctl@%k.service"',
            "/etc/udev/rules.d/60-lab-gpsd.rules")
    lab.put('SUBSYSTEM=="usb", ENV{DEVTYPE}=="usb_device", ENV{PRODUCT}=="403/6001/*", TAG+="systemd", '
            'ENV{SYSTEMD_WANTS}+="brltty-device@lab.service"', "/etc/udev/rules.d/85-lab-brltty.rules")
    lab.run("udevadm control --reload; udevadm trigger --settle --action=add --subsystem-match=usb --subsystem-match=tty")
    wants = {}
    for link in (GPS, SCANNER):
        node = f"$(udevadm info --query=path {link})"
        whole = f"/sys{node}/../../../.."
        wants[link] = lab.run(f"udevadm info --query=property {link} | grep WANTS; udevadm info --query=property $(realpath {whole}) | grep WANTS; true")
    lab.run("rm /etc/udev/rules.d/??-lab-*.rules; udevadm control --reload; udevadm trigger --settle --action=add --subsystem-match=usb --subsystem-match=tty")
    if "gpsdctl@" not in wants[SCANNER] or "brltty" not in wants[SCANNER]:
        raise Failed(f"the rules of gpsd and brltty do nothing here: {wants}")
    if wants[GPS]:
        raise Failed(f"not kept away from the claimed receiver: {wants}")
    say("gpsd and brltty: kept away from the claimed receiver, not from the other adapter")


def descriptors(lab):
    return int(lab.run("ls /proc/$(systemctl show -P MainPID waypost)/fd | wc -l"))


def attached(lab):
    """When the kernel last gave the adapter a name, in Unix seconds, and the name."""
    log = lab.run("journalctl -k -o short-unix --no-pager | grep 'now attached to ttyUSB' | tail -1")
    return float(log.split()[0]), log.split()[-1]


def replugs(lab, cycles):
    """Pulls the receiver under the node."""
    before = descriptors(lab)
    took, names = [], []
    for cycle in range(cycles):
        lab.call("unplug", "gps")
        state(lab, "gps0", "absent")
        if lab.run("ls -l /proc/$(systemctl show -P MainPID waypost)/fd | grep -c ttyUSB || true").strip() != "0":
            raise Failed("the old descriptor is still open")
        if cycle == cycles // 2:
            # Another adapter takes the number that is free now: the receiver comes back under another.
            lab.call("unplug", "scanner")
            lab.call("plug", "scanner")
            lab.wait("the other adapter", f"test -e {SCANNER}")
        lab.call("plug", "gps")
        lab.wait("the link", "test -e /dev/waypost/gps0")
        at, name = attached(lab)
        end = time.monotonic() + 60
        first = None
        while first is None and time.monotonic() < end:
            after = [event["received_ms"] / 1000 for event in events(lab, "fix")]
            first = min((at_fix for at_fix in after if at_fix > at), default=None)
        if first is None:
            raise Failed(f"no fix after replug {cycle + 1}\n{lab.run('journalctl -u waypost -n 30 --no-pager')}")
        took.append(first - at)
        names.append(name)
    after = descriptors(lab)
    took.sort()
    middle, longest = took[len(took) // 2], took[-1]
    say(f"replugs: {cycles}, first fix p50 {middle:.2f} s, longest {longest:.2f} s after the kernel named it; "
        f"names {' '.join(names)}; descriptors {before} before, {after} after")
    if after > before:
        raise Failed(f"{after - before} descriptors leaked")
    if longest > FIRST_FIX_S:
        raise Failed(f"a first fix took {longest:.2f} s")
    if cycles > 1 and len(set(names)) < 2:
        raise Failed("it never came back under another number: the test did not try that")


def held(lab):
    """Another program has the port for itself: the state says so, and doctor names it."""
    lab.run("systemctl stop waypost")
    hold = "use Fcntl; sysopen(F,\"/dev/waypost/gps0\",O_RDWR|O_NONBLOCK) or die; ioctl(F,0x540C,0); sleep 600"
    lab.run(f"systemd-run --quiet --collect --unit holder perl -e '{hold}'")
    lab.wait("the holder", "ls -l /proc/$(systemctl show -P MainPID holder)/fd | grep -q ttyUSB")
    lab.run("systemctl start waypost")
    state(lab, "gps0", "busy")
    done = lab.call("run", "waypost doctor", check=False)
    pid = lab.run("systemctl show -P MainPID holder").strip()
    if done.returncode != 1 or f"perl ({pid}) holds /dev/ttyUSB" not in done.stdout:
        raise Failed(f"doctor: {done.returncode}: {done.stdout}{done.stderr}")
    lab.run("systemctl stop holder")
    state(lab, "gps0", "up")
    say(f"held by another: state busy, doctor names perl ({pid}), up when it is let go")


def wedge(lab):
    """A USB keyboard scanner: typed, grabbed, pulled in the middle of a code."""
    lab.run(f"waypost devices claim door-3 {KEYBOARD}")
    lab.put(WEDGE, "/etc/waypost/conf.d/20-wedge.toml")
    lab.run("waypost check")
    # Another reader sees the keys as long as the node does not run, and none of them when it does.
    other = "rm -f /run/stolen; systemd-run --quiet --collect --unit other dd if=/dev/waypost/door-3 of=/run/stolen bs=24 count=1"
    lab.run(f"systemctl stop waypost; {other}")
    lab.wait("the other reader", "pgrep -x dd")
    lab.call("scan", "SEEN")
    lab.wait("keys for the other reader", "test -s /run/stolen")
    lab.run("systemctl start waypost")
    state(lab, "door-3", "up")
    lab.run(other)
    lab.wait("the other reader", "pgrep -x dd")
    lab.call("scan", "PLT-0042aZ")
    scans(lab, "PLT-0042aZ")
    lab.call("scan", "--suffix", "none", "HALF-")
    lab.call("unplug", "keyboard")
    state(lab, "door-3", "absent")
    stolen = lab.run("stat -c %s /run/stolen 2>/dev/null || echo 0").strip()
    if stolen != "0":
        raise Failed(f"another reader got {stolen} bytes of the keys: it is not grabbed")
    lab.run("systemctl stop other 2>/dev/null; true")
    lab.call("plug", "keyboard")
    state(lab, "door-3", "up")
    lab.call("scan", "WHOLE-7")
    codes = scans(lab, "WHOLE-7")
    if any("HALF" in code for code in codes):
        raise Failed(f"half a code was taken for one: {codes}")
    letters = json.loads(lab.run("waypost letters list --all --json"))
    if not any(letter["source"] == "door-3" and "HALF-" in letter.get("bytes", "") for letter in letters):
        raise Failed(f"the half code is nowhere: {letters}")
    say(f"keyboard scanner: {' '.join(codes)}; grabbed (another reader got keys before, none after), and half a code at the unplug is a letter")
