//! Memory: idle, and with a million rows waiting and two hundred streams.

use std::time::Duration;

use crate::bench::{Node, Pty, Site, Stream, free_port, metric};
use crate::process::resident_mib;
use crate::scanners::{Doors, ONE_BY_ONE, SCANNERS};
use crate::{disk, is_short, verdict};

/// MiB idle, with 2 sources and 4 streams.
const IDLE_BAR: f64 = 16.0;
/// MiB with a million rows waiting and 200 streams.
const LOADED_BAR: f64 = 40.0;
/// What a million rows may add to what a tenth of them takes: a start differs from another by about as much.
const NOISE: f64 = 0.1;

pub fn compare() {
    idle();
    loaded();
}

/// What it holds a while later, when what was on its way has come.
fn settled(node: &Node, streams: &[Stream]) -> f64 {
    std::thread::park_timeout(Duration::from_secs(5));
    let held = resident_mib(node.child.id(), false);
    assert!(!streams.is_empty());
    held
}

fn idle() {
    let site = Site::new_in(disk());
    let ports = [Pty::new(&site.path("gps")), Pty::new(&site.path("door"))];
    let port = |name| site.path(name).display().to_string();
    site.configure(&format!(
        "[[gps]]\nid = \"gps0\"\nport = \"{}\"\n\n[[scanner]]\nid = \"door\"\nport = \"{}\"\nplace = \"door\"\n",
        port("gps"),
        port("door")
    ));
    let node = site.start();
    let streams: Vec<Stream> = (0..4).map(|_| node.stream(None)).collect();
    let held = settled(&node, &streams);
    println!("memory, idle, 2 sources, 4 streams: {held:.1} MiB (bar {IDLE_BAR} MiB): {}", verdict(held <= IDLE_BAR));
    drop(ports);
}

fn loaded() {
    let rows = if is_short() { 100_000 } else { 1_000_000 };
    let (site, doors) = (Site::new_in(disk()), Doors::new());
    // Nobody listens there.
    let uplink = Site::uplink(free_port(), "accept");
    let http = "max_streams = 256\n\n";
    site.configure(&(http.to_owned() + &doors.configuration(false) + &uplink));
    let code = |scanner, n| format!("TRL{:06}", (n * SCANNERS + scanner) % 2_000);
    // Enough to fill the pages that are kept in memory: what comes on top is the backlog's.
    let few = rows / 10;
    let node = site.start();
    let took = doors.scan(few / SCANNERS, code);
    let bytes_before = doors.bytes_one_by_one(&node);
    assert!(node.stop().success());
    forget_captures(&site);
    let node = site.start();
    let before = settled(&node, &streams(&node, 4));
    let took = took + doors.scan((rows - few - ONE_BY_ONE) / SCANNERS, code);
    let held = settled(&node, &streams(&node, 200));
    let most = resident_mib(node.child.id(), true);
    println!(
        "memory, {rows} rows waiting, 200 streams: {held:.1} MiB, {most:.1} at most while they came in {:.0} s (bar {LOADED_BAR} MiB): {}",
        took.as_secs_f64(),
        verdict(held <= LOADED_BAR)
    );
    assert!(node.stop().success());
    forget_captures(&site);
    let node = site.start();
    let after = settled(&node, &streams(&node, 4));
    println!(
        "memory, 4 streams after a start: {before:.1} MiB with {few} rows waiting, {after:.1} MiB with {rows} (bar: the same; {:.0} % is noise): {}",
        NOISE * 100.0,
        verdict(after <= before * (1.0 + NOISE))
    );
    assert!((metric(&node, "waypost_outbox_unsent", &[]) - rows as f64).abs() < 0.5, "all of them wait");
    let bytes = doors.bytes_one_by_one(&node);
    let growth = (bytes / bytes_before - 1.0) * 100.0;
    println!(
        "bytes to the device, a scan alone: {bytes_before:.0} B with {few} rows, {bytes:.0} B with {rows}: {growth:+.0} % (bar +10 %): {}",
        verdict(growth <= 10.0)
    );
}

/// A start takes up the last ten minutes of raw bytes, up to 1 MiB a source, however many rows wait: not what is asked here.
fn forget_captures(site: &Site) {
    std::fs::remove_dir_all(site.path("store/captures")).unwrap();
}

fn streams(node: &Node, n: usize) -> Vec<Stream> {
    (0..n).map(|_| node.stream(None)).collect()
}
