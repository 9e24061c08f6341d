"""The virtual machine and its plugs, and what a test asks of the node in it."""
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GPS = "/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_LABGPS01-if00-port0"
SCANNER = "/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_LABSCAN1-if00-port0"
KEYBOARD = "/dev/input/by-id/usb-QEMU_QEMU_USB_Keyboard_LABWEDGE1-event-kbd"


class Failed(Exception):
    """Something is not as it should be."""


class Lab:
    """The machine and its plugs."""

    def __init__(self, program):
        self.program = [sys.executable, str(program)]

    def call(self, *args, check=True):
        done = subprocess.run([*self.program, *args], capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise Failed(f"lab {' '.join(args)}: {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def run(self, command, check=True):
        """A shell command in the machine, as root; its output."""
        done = self.call("run", command, check=False)
        if check and done.returncode:
            raise Failed(f"{command}: {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def wait(self, what, command, seconds=60):
        """Waits until a command in the machine succeeds; its output."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            done = self.call("run", command, check=False)
            if done.returncode == 0:
                return done.stdout
            time.sleep(0.2)
        raise Failed(f"never came: {what}; {command}: {done.stdout}{done.stderr}\n{self.run('journalctl -u waypost -n 30 --no-pager', check=False)}")

    def get(self, path):
        """The body of an answer of the node's screen."""
        ask = f"GET {path} HTTP/1.0\\r\\nHost: 127.0.0.1\\r\\n\\r\\n"
        perl = 'use IO::Socket::INET; $s = IO::Socket::INET->new("127.0.0.1:8080") or exit 1; print $s $ARGV[0]; local $/; print <$s>'
        return self.run(f"perl -e '{perl}' \"$(printf '{ask}')\"").partition("\r\n\r\n")[2]

    def put(self, text, path):
        self.run(f"mkdir -p {Path(path).parent} && cat > {path} <<'END'\n{text}\nEND")


def say(text):
    print(text, flush=True)


def state(lab, source, wanted, seconds=60):
    look = f"waypost status --json | tr -d ' \\n' | grep -q '\"id\":\"{source}\",[^}}]*\"state\":\"{wanted}\"'"
    return lab.wait(f"{source} {wanted}", look, seconds)


def events(lab, kind):
    lines = lab.run("waypost outbox export").splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def scans(lab, wanted):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        codes = [event["code"] for event in events(lab, "scan")]
        if wanted in codes:
            return codes
    raise Failed(f"{wanted} is not among the scans {codes}; {lab.run('journalctl -u waypost -n 30 --no-pager')}")
