//! The guard of the host (systemd/examples/waypost-guard): what it does about what systemd and the kernel tell it. systemd is a
//! program on its PATH that says what the test wants; the rest is files.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::bench::{repository, stdout};

/// A machine as the guard sees it.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self { dir: tempfile::tempdir().unwrap() };
        for folder in ["bin", "run", "state", "proc", "store"] {
            std::fs::create_dir(host.path(folder)).unwrap();
        }
        host.program("systemctl", "case $1 in show) cat \"$0.says\" ;; *) echo \"$*\" >>\"$0.did\" ;; esac");
        host.unit("active", 0);
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), text).unwrap();
    }

    fn program(&self, name: &str, text: &str) {
        let path = format!("bin/{name}");
        self.write(&path, &format!("#!/bin/sh\n{text}\n"));
        std::fs::set_permissions(self.path(&path), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What systemd says of the unit.
    fn unit(&self, state: &str, pid: u32) {
        self.write("bin/systemctl.says", &format!("ActiveState={state}\nMainPID={pid}\nInvocationID=0af1\n"));
    }

    /// A thread of the process 7: its state, and how often it had its turn.
    fn thread(&self, state: &str, turns: u32) {
        self.write("proc/7/task/9/stat", &format!("9 (way) D post) {state} 1 7 7 0\n"));
        self.write("proc/7/task/9/status", &format!("Name:\twaypost\nvoluntary_ctxt_switches:\t{turns}\n"));
    }

    /// One look, so many seconds after the boot; what it said.
    fn look(&self, up_s: u32) -> String {
        self.write("proc/uptime", &format!("{up_s}.52 99.0\n"));
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut guard = Command::new("sh");
        guard.arg(repository("systemd/examples/waypost-guard")).arg(self.path("store")).env("PATH", path);
        guard.env("RUNTIME_DIRECTORY", self.path("run")).env("STATE_DIRECTORY", self.path("state"));
        let done = guard.env("WAYPOST_GUARD_PROC", self.path("proc")).stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        assert!(done.stderr.is_empty(), "{done:?}");
        stdout(&done)
    }

    /// How often the machine was started anew.
    fn restarts(&self) -> usize {
        let did = std::fs::read_to_string(self.path("bin/systemctl.did")).unwrap_or_default();
        assert!(did.lines().all(|line| line == "reboot --force"), "{did}");
        did.lines().count()
    }

    /// What a boot takes with it.
    fn boots(&self) {
        std::fs::remove_dir_all(self.path("run")).unwrap();
        std::fs::create_dir(self.path("run")).unwrap();
    }

    fn stamp(&self) -> PathBuf {
        self.path("state/restarted")
    }
}

#[test]
fn a_machine_that_is_well_or_whose_waypost_somebody_stopped_is_left_alone() {
    let host = Host::new();
    host.thread("S", 5);
    host.unit("active", 7);
    assert_eq!(host.look(1000), "");
    host.unit("inactive", 0);
    std::fs::remove_dir(host.path("store")).unwrap();
    assert_eq!(host.look(1300), "");
    // A first start that has not made its store yet.
    host.unit("activating", 0);
    assert_eq!(host.look(1600), "");
    assert_eq!((host.restarts(), host.stamp().exists()), (0, false));
}

#[test]
fn a_unit_that_cannot_be_stopped_for_three_minutes_starts_the_machine_anew_and_once_in_six_hours() {
    let host = Host::new();
    host.unit("deactivating", 7);
    assert!(host.look(1000).contains("cannot be stopped (run 0af1), for 0 s"));
    assert!(host.look(1120).contains("for 120 s"));
    assert!(host.look(1180).contains("for 180 s"));
    assert_eq!(host.restarts(), 0, "not before more than three minutes have gone");
    assert!(host.look(1240).contains("for 240 s: the machine is started anew"));
    assert!(host.restarts() == 1 && host.stamp().exists());
    // The next boot ends the same way: it is left alone, and says so, until it is up for six hours.
    host.boots();
    host.look(300);
    assert!(host.look(21_599).contains("less than 6 hours ago and is left alone"));
    assert_eq!(host.restarts(), 1);
    assert!(host.look(21_600).contains("is started anew"));
    assert_eq!(host.restarts(), 2);
    // Six hours in which all was well make an end of it.
    host.boots();
    host.unit("active", 0);
    assert_eq!(host.look(21_599), "");
    assert!(host.stamp().exists());
    assert_eq!(host.look(21_600), "");
    assert!(!host.stamp().exists());
}

#[test]
fn a_thread_that_hangs_in_the_kernel_is_told_from_one_that_gets_on() {
    let host = Host::new();
    host.unit("active", 7);
    for minute in 0..6 {
        host.thread("D", minute);
        assert!(host.look(1000 + 60 * minute).contains("hangs in the kernel (9, after"), "seen, and got on since");
    }
    assert_eq!(host.restarts(), 0, "a disk that is slow");
    for minute in 6..10 {
        host.look(1000 + 60 * minute);
    }
    assert_eq!(host.restarts(), 1);
}

#[test]
fn a_trouble_that_ends_in_between_begins_anew() {
    let host = Host::new();
    host.unit("deactivating", 7);
    host.look(1000);
    host.unit("active", 0);
    assert_eq!(host.look(1120), "");
    host.unit("deactivating", 7);
    assert!(host.look(1240).contains("for 0 s"));
    assert_eq!(host.restarts(), 0);
}

#[test]
fn a_store_that_cannot_be_read_starts_the_machine_anew_unless_the_disk_takes_no_stamp() {
    let host = Host::new();
    // What `ls` meets on a dead card.
    host.program("ls", "echo 'ls: reading directory: Input/output error' >&2; exit 2");
    assert!(host.look(1000).contains("store cannot be read, for 0 s"));
    assert!(host.look(1200).contains("is started anew"));
    assert_eq!(host.restarts(), 1);

    let host = Host::new();
    host.program("ls", "exit 2");
    std::fs::remove_dir(host.path("state")).unwrap();
    host.look(1000);
    assert!(host.look(1200).contains("the disk takes no stamp, so the machine is left alone"));
    assert_eq!(host.restarts(), 0);
    assert!(host.look(21_700).contains("is started anew"));
    assert_eq!(host.restarts(), 1, "after six hours it cannot have been started anew by the guard in them");
}
