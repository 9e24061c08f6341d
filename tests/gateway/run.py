#!/usr/bin/env python3
"""Tries the package on a whole machine: systemd, udev, a real FTDI adapter and a USB keyboard that are pulled, power that is cut.

The machine is a virtual one. WAYPOST_LAB names the program that runs it; without it ../shared/lab/lab is tried, and without
that this skips and says so. Usage: tests/gateway/run.py DEB [--only devices,crashes] [--cycles N] [--cuts N]
"""
import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import devices
import faults
from lab import GPS, KEYBOARD, ROOT, SCANNER, Failed, Lab, say, state

CONF = """[node]
id = "wp-lab"
site = "lab"

[store]
max_mib = 64

[[gps]]
id = "gps0"
port = "/dev/waypost/gps0"
clock = true
track_interval_s = 0
parked_interval_s = 0
"""
# The store on the disk that can be filled, stalled and cut. The unit waits for the mount by itself.
MOUNT = """[Unit]
RequiresMountsFor=/data
[Mount]
What=/data/waypost
Where=/var/lib/waypost
Type=none
Options=bind
[Install]
WantedBy=local-fs.target
"""
ALL = ["devices", "crashes", "stopped", "stall", "full", "clock", "blackhole", "cuts"]


def up(lab, arch, port):
    say(f"the machine: {arch}; building its image where it is not there yet")
    lab.call("build-image", arch)
    lab.call("stop", check=False)
    lab.call("boot", arch, "--fresh", "--data-size", "256", "--upstream", str(port), "--timeout", "600")


def install(lab, deb):
    """As an operator does it: nothing configured, nothing of it plugged in."""
    for device in ("gps", "scanner", "keyboard"):
        lab.call("unplug", device, check=False)
    lab.run("mkdir -p /data/waypost /var/lib/waypost")
    lab.put(MOUNT, "/etc/systemd/system/var-lib-waypost.mount")
    lab.run("systemctl daemon-reload && systemctl enable --now var-lib-waypost.mount")
    lab.call("push", str(deb), "/root/waypost.deb")
    begun = time.monotonic()
    lab.run("cd /root && apt-get install --yes --no-install-recommends ./waypost.deb")
    put = time.monotonic() - begun
    lab.wait("the screen", "perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(\"127.0.0.1:8080\") or exit 1; "
             "print $s \"GET /healthz HTTP/1.0\\r\\nHost: 127.0.0.1\\r\\n\\r\\n\"; exit <$s> !~ / 200 /'")
    say(f"installed in {put:.1f} s, the screen answers {time.monotonic() - begun:.1f} s after the command; {lab.run('uname -m').strip()}, "
        f"{lab.run('systemctl --version | head -1').strip()}, nothing plugged in")
    exposure = lab.run("systemd-analyze security waypost --no-pager | tail -1", check=False).strip()
    say(f"the unit: {exposure}")
    # In this order, so that the receiver is ttyUSB0.
    for device, node in (("gps", GPS), ("scanner", SCANNER), ("keyboard", KEYBOARD)):
        lab.call("plug", device)
        lab.wait(node, f"test -e {node}")


def journal(lab, since):
    """Nothing in the log of the unit that a person would have to explain."""
    log = lab.run(f"journalctl -u waypost --no-pager -o cat --since @{since}")
    lost, opened = (len(re.findall(word, log)) for word in ("port lost", "port opened"))
    bad = [line for line in log.splitlines() if re.search(r"panicked|ERROR|Watchdog|core dump", line)]
    say(f"journal: {lost} lines 'port lost', {opened} lines 'port opened' (repeats are counted, not written), {len(bad)} errors")
    if bad:
        raise Failed("\n".join(bad))
    balance = json.loads(lab.run("waypost outbox stat --json"))["balance"]
    if balance != 0:
        raise Failed(f"the ledger is off by {balance}")


def broker():
    """A broker of this machine that the virtual one reaches; none, aloud, where there is no mosquitto."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
    if not program or not shutil.which("mosquitto_sub"):
        say("SKIPPED: the black hole; no mosquitto here")
        return None, port
    return subprocess.Popen([program, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), port


def configure(lab):
    lab.put(CONF, "/etc/waypost/conf.d/10-lab.toml")
    lab.run("waypost check && systemctl restart waypost")
    state(lab, "gps0", "up")
    doctor = lab.call("run", "waypost doctor", check=False)
    if doctor.returncode:
        raise Failed(f"doctor finds a fault on a machine that is well: {doctor.stdout}")


def main():
    wants = argparse.ArgumentParser()
    wants.add_argument("deb", type=Path)
    wants.add_argument("--only", default=",".join(ALL), help="some of: " + ", ".join(ALL))
    wants.add_argument("--cycles", type=int, default=10, help="replugs")
    wants.add_argument("--cuts", type=int, default=10, help="power cuts")
    wants.add_argument("--keep", action="store_true", help="leave the machine running")
    args = wants.parse_args()
    named = os.environ.get("WAYPOST_LAB")
    program = Path(named) if named else ROOT / "../shared/lab/lab"
    if not program.exists():
        say("SKIPPED: there is no virtual machine to try it on; name its program with WAYPOST_LAB")
        return 0
    only = args.only.split(",")
    lab, feed = Lab(program.resolve()), None
    central, port = broker()
    if central is None and "blackhole" in only:
        only.remove("blackhole")
    try:
        up(lab, args.deb.stem.rpartition("_")[2], port)
        since = lab.run("date +%s").strip()
        install(lab, args.deb)
        truck = ROOT / "hardware/captures/truck.nmea"
        feed = subprocess.Popen(
            [*lab.program, "gps-feed", "--loop", "--restamp", "--every", "1", "--patience", "3600", str(truck)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        devices.claims(lab)
        devices.thieves(lab)
        configure(lab)
        if "devices" in only:
            devices.replugs(lab, args.cycles)
            devices.held(lab)
            devices.wedge(lab)
            journal(lab, since)
        for name in only:
            if name == "cuts":
                faults.cuts(lab, args.cuts)
            elif name == "blackhole":
                faults.blackhole(lab, port)
            elif name != "devices":
                getattr(faults, name)(lab)
    except Failed as why:
        say(f"FAILED: {why}")
        return 1
    finally:
        for process in (feed, central):
            if process:
                process.terminate()
                process.wait()
        if not args.keep:
            lab.call("stop", check=False)
    say("all is well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
