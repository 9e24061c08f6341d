//! What the system says of a process: memory, bytes written.

use std::process::Child;

use crate::bench::wait_for;

/// MiB that a process holds in memory: now, or at most since its start.
pub fn resident_mib(pid: u32, at_most: bool) -> f64 {
    let key = if at_most { "VmHWM:" } else { "VmRSS:" };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap() / 1024.0
}

/// Bytes that a process has caused to be written to a device: pages of files that it made dirty, `write_bytes`.
pub fn written(pid: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap()
}

/// Ends a process and answers what it has written in its life, its last words too.
pub fn written_at_its_end(child: &mut Child) -> u64 {
    // SAFETY: a signal to our own child, which is not yet waited for.
    assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGTERM) }, 0);
    wait_for("the end of the node", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('Z').then_some(())
    });
    let written = written(child.id());
    assert!(child.wait().unwrap().success());
    written
}
