//! Bytes to the device for each event: what the system counts as written by the process (`write_bytes`), from its first
//! event to its end, beside schema q of the floor with the same payloads, page size and commits.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::bench::{Pty, Site, metric, wait_for};
use crate::floor::bytes_per_row;
use crate::line::{Kind, epoch, wait_until};
use crate::process::{written, written_at_its_end};
use crate::{disk, is_short, verdict};

/// Times the bytes of the floor.
const BAR: f64 = 1.3;

#[derive(Clone, Copy)]
struct Pace {
    name: &'static str,
    every: Duration,
    kind: Kind,
}

/// One after the other in time, all at once in the clock: bytes do not depend on who else is at work.
const PACES: [Pace; 3] = [
    Pace { name: "fixes, 10 Hz", every: Duration::from_millis(100), kind: Kind::Receiver },
    Pace { name: "fixes, 1 Hz", every: Duration::from_secs(1), kind: Kind::Receiver },
    Pace { name: "scans", every: Duration::from_millis(25), kind: Kind::Scanner },
];

pub fn compare() {
    let seconds = if is_short() { 10 } else { 90 };
    let nodes: Vec<Measured> = std::thread::scope(|scope| {
        let turns: Vec<_> = PACES.map(|pace| scope.spawn(move || play(pace, seconds))).into_iter().collect();
        turns.into_iter().map(|turn| turn.join().unwrap()).collect()
    });
    for (pace, node) in PACES.iter().zip(nodes) {
        let floor = bytes_per_row(&node.payloads, node.batch);
        let ratio = node.bytes / floor;
        println!(
            "bytes to the device, {}: {:.0} B/event, schema q {floor:.0} B/row at {:.1} events a commit, ratio {ratio:.2} (bar {BAR}): {}",
            pace.name,
            node.bytes,
            node.batch,
            verdict(ratio <= BAR)
        );
    }
}

struct Measured {
    bytes: f64,
    batch: f64,
    payloads: Vec<String>,
}

fn play(pace: Pace, seconds: u32) -> Measured {
    let site = Site::new_in(disk());
    let mut pty = Pty::new(&site.path("tty"));
    site.configure(&pace.kind.block(&site.path("tty")));
    let mut node = site.start();
    let frame = |n: u32| match pace.kind {
        Kind::Scanner => format!("TRL{:06}\r\n", n % 50),
        Kind::Receiver => epoch(n, pace.every),
    };
    // The first round moves each asset to the door; what is measured begins after it.
    let first = if pace.kind == Kind::Scanner { 50 } else { 3 };
    let total = || node.ledger()["events"]["total"].as_u64().unwrap();
    let mut play = |from: u32, upto: u32| {
        let start = Instant::now();
        for n in from..upto {
            pty.write(frame(n).as_bytes());
            wait_until(start + pace.every * (n + 1 - from));
        }
    };
    play(0, first);
    wait_for("the first events", || (total() > 0).then_some(()));
    std::thread::park_timeout(Duration::from_secs(2));
    let commits = || metric(&node, "waypost_commit_seconds_count", &[]);
    let (events, commits_before, bytes) = (total(), commits(), written(node.child.id()));
    let n = seconds * 1000 / u32::try_from(pace.every.as_millis()).unwrap();
    play(first, first + n);
    std::thread::park_timeout(Duration::from_secs(2));
    let (events_after, commits_after) = (total(), commits());
    let bytes = written_at_its_end(&mut node.child) - bytes;
    let n = events_after - events;
    let conn = Connection::open(site.path("store/waypost.db")).unwrap();
    // What the floor has no columns for is part of its payload: the same facts are kept.
    let mut bodies = conn
        .prepare("select body || coalesce(code, '') || coalesce(place, '') || tq || mono_ms from outbox where seq > ?1 order by seq")
        .unwrap();
    let payloads = bodies.query_map([events.cast_signed()], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    Measured { bytes: bytes as f64 / n as f64, batch: n as f64 / (commits_after - commits_before), payloads }
}
