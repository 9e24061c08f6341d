//! A plug that is pulled again and again under the node: nothing leaks, and the first fix is soon there.

use std::time::{Duration, Instant};

use crate::bench::{Node, Pty, Site, balanced, epoch, full, wait_within};

/// A port that is back gives a fix within this.
const FIRST_FIX: Duration = Duration::from_secs(3);

fn descriptors(node: &Node) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count()
}

/// Whether the node holds a terminal.
fn holds_tty(node: &Node) -> bool {
    let fds = std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap();
    let targets = fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    targets.into_iter().any(|target| target.starts_with("/dev/pts"))
}

#[test]
fn replugs_leak_no_descriptor_and_each_gives_a_fix_within_three_seconds() {
    let cycles = if full() { 1_000 } else { 8 };
    let site = Site::new();
    let port = site.path("gps0");
    site.configure(&format!(
        "[[gps]]\nid = \"gps0\"\nport = \"{}\"\nbaud = 9600\ntrack_interval_s = 0\nparked_interval_s = 0\n\n",
        port.display()
    ));
    let mut pty = Pty::new(&port);
    let node = site.start();
    let stored = || node.ledger()["sources"]["gps0"]["stored"].as_i64().unwrap_or(0);
    let mut second = 36_000;
    // A receiver that speaks ten times a second: the time is the node's, not the receiver's.
    let mut first_fix = |pty: &mut Pty| {
        let (began, before) = (Instant::now(), stored());
        let mut said = Instant::now();
        pty.offer(&epoch(second));
        wait_within(FIRST_FIX * 3, "a fix", || {
            if said.elapsed() >= Duration::from_millis(100) {
                second += 1;
                pty.offer(&epoch(second));
                said = Instant::now();
            }
            (stored() > before).then_some(())
        });
        second += 1;
        began.elapsed()
    };
    first_fix(&mut pty);
    let before = descriptors(&node);
    let mut took = Vec::new();
    for _ in 0..cycles {
        pty.unplug();
        wait_within(Duration::from_secs(1), "the old descriptor is closed", || (!holds_tty(&node)).then_some(()));
        pty = Pty::new(&port);
        took.push(first_fix(&mut pty));
    }
    // A connection of ours that the node has not closed yet is no leak.
    let after = wait_within(Duration::from_secs(10), "as many descriptors as before", || {
        Some(descriptors(&node)).filter(|now| *now <= before)
    });
    took.sort_unstable();
    let at = |share: usize| took[(took.len() - 1) * share / 100].as_millis();
    let (p50, p95, max) = (at(50), at(95), at(100));
    eprintln!(
        "{cycles} replugs: first fix p50 {p50} ms, p95 {p95} ms, longest {max} ms; descriptors {before} before, {after} after"
    );
    assert!(took.last().unwrap() <= &FIRST_FIX, "the longest took {max} ms");
    balanced(&node);
    assert!(node.stop().success());
}
