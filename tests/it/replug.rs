//! A plug that is pulled again and again under the node: nothing leaks, and the first fix is soon there.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::bench::{Node, Pty, Site, balanced, epoch, full, wait_within};

/// A port that is back gives a fix within this.
const FIRST_FIX: Duration = Duration::from_secs(3);

/// What the node holds open.
fn held(node: &Node) -> Vec<PathBuf> {
    let fds = std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap();
    fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok()).collect()
}

/// What the node holds open but the store: that opens its few readers when they are first needed, and keeps them.
fn descriptors(node: &Node) -> Vec<PathBuf> {
    let is_store =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("waypost.db"));
    held(node).into_iter().filter(|path| !is_store(path)).collect()
}

/// Whether the node holds a terminal.
fn holds_tty(node: &Node) -> bool {
    held(node).iter().any(|path| path.starts_with("/dev/pts"))
}

/// The latitude of the newest fix that is stored; `epoch` gives each second one of its own, further north.
pub fn newest(node: &Node) -> f64 {
    node.json("/api/v1/events?kind=fix&limit=1")["items"][0]["lat"].as_f64().unwrap_or(0.0)
}

/// A little less than the latitude of that `epoch`: what is further north was said then or later.
pub fn north(second: u32) -> f64 {
    59.0 + (7.0 + f64::from(second) * 0.001) / 60.0 - 1e-6
}

#[test]
pub fn replugs_leak_no_descriptor_and_each_gives_a_fix_within_three_seconds() {
    let cycles = if full() { 200 } else { 8 };
    let site = Site::new();
    let port = site.path("gps0");
    site.configure(&format!(
        "[[gps]]\nid = \"gps0\"\nport = \"{}\"\nbaud = 9600\ntrack_interval_s = 0\nparked_interval_s = 0\n\n",
        port.display()
    ));
    let mut pty = Pty::new(&port);
    let node = site.start();
    let mut second = 0;
    // A receiver that speaks ten times a second: the time is the node's, not the receiver's.
    let mut first_fix = |pty: &mut Pty| {
        let began = Instant::now();
        // What the node had still to say of the plug before this one is no fix of this one.
        let north = north(second);
        let mut said = Instant::now();
        pty.offer(&epoch(second));
        wait_within(FIRST_FIX * 3, "a fix", || {
            if said.elapsed() >= Duration::from_millis(100) {
                second += 1;
                pty.offer(&epoch(second));
                said = Instant::now();
            }
            (newest(&node) > north).then_some(())
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
    let end = Instant::now() + Duration::from_secs(10);
    let mut after = descriptors(&node);
    while after.len() > before.len() {
        assert!(Instant::now() < end, "more than before: {after:?}, before {before:?}");
        after = descriptors(&node);
    }
    took.sort_unstable();
    let at = |share: usize| took[(took.len() - 1) * share / 100].as_millis();
    let (p50, p95, max) = (at(50), at(95), at(100));
    eprintln!(
        "{cycles} replugs: first fix p50 {p50} ms, p95 {p95} ms, longest {max} ms; descriptors {} before, {} after",
        before.len(),
        after.len()
    );
    assert!(took.last().unwrap() <= &FIRST_FIX, "the longest took {max} ms");
    balanced(&node);
    assert!(node.stop().success());
}
