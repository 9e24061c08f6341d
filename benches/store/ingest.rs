//! Scans a second that are durable when they are answered, beside the same rows written by a bare loop.

use crate::bench::{Broker, Site, metric};
use crate::floor::{Rows, rate};
use crate::process::written;
use crate::scanners::{Doors, SCANNERS};
use crate::{TURNS, disk, is_short, median, verdict};

/// The share of the floor that the node must reach, and the scans a second.
const BAR: (f64, f64) = (0.5, 20_000.0);

/// What is scanned where.
pub struct Load {
    pub name: &'static str,
    assets: usize,
    /// Of a hundred scans, those of an asset that any scanner may have seen last; the others are seen by one scanner only.
    roam: usize,
    with_place: bool,
    with_uplink: bool,
}

pub const LOADS: &[Load] = &[
    Load { name: "scans without a place", assets: 2_000, roam: 100, with_place: false, with_uplink: false },
    Load { name: "scans, one in ten a move", assets: 2_000, roam: 5, with_place: true, with_uplink: false },
    Load { name: "scans, one in ten a move, sent on", assets: 2_000, roam: 5, with_place: true, with_uplink: true },
    Load { name: "every scan a move, 100 assets", assets: 100, roam: 100, with_place: true, with_uplink: false },
    Load { name: "every scan a move, 2,000 assets", assets: 2_000, roam: 100, with_place: true, with_uplink: false },
];

impl Load {
    fn code(&self, scanner: usize, n: usize) -> String {
        // A fixed sequence that looks like none.
        let dice = (scanner * 1_000_003 + n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
        let asset = if dice % 100 < self.roam {
            dice / 100 % self.assets
        } else {
            dice / 100 % (self.assets / SCANNERS) * SCANNERS + scanner
        };
        format!("TRL{asset:06}")
    }

    /// Answers scans a second, scans a commit, bytes written a scan; and the site with its store.
    fn turn(&self, broker: Option<&Broker>) -> ([f64; 3], Site) {
        let each = if is_short() { 2_000 } else { 10_000 };
        let (site, doors) = (Site::new_in(disk()), Doors::new());
        let uplink = broker.map_or_else(String::new, |broker| Site::uplink(broker.port, "accept"));
        site.configure(&(doors.configuration(self.with_place) + &uplink));
        let node = site.start();
        let commits = || metric(&node, "waypost_commit_seconds_count", &[]);
        let (before, bytes) = (commits(), written(node.child.id()));
        let took = doors.scan(each, |scanner, n| self.code(scanner, n));
        let (commits, bytes) = (commits() - before, written(node.child.id()) - bytes);
        let ledger = node.ledger();
        assert_eq!(ledger["balance"], 0, "{ledger}");
        let stored = |nth| ledger["sources"][format!("door-{nth}")]["stored"].as_u64().unwrap();
        let scans = (0..SCANNERS).map(stored).sum::<u64>();
        assert_eq!(scans, (each * SCANNERS) as u64, "every scan is an event");
        assert!(node.stop().success());
        let turn = [scans as f64 / took.as_secs_f64(), scans as f64 / commits, bytes as f64 / scans as f64];
        (turn, site)
    }
}

pub fn compare(load: &Load) {
    let mut broker = if load.with_uplink { Broker::start() } else { None };
    broker.iter_mut().for_each(Broker::give_way);
    if load.with_uplink && broker.is_none() {
        println!("SKIPPED {}: no broker here", load.name);
        return;
    }
    let (mut nodes, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let (turn, site) = load.turn(broker.as_ref());
        floors.push(rate(&Rows::read(&site.path("store/waypost.db")), turn[1]));
        nodes.push(turn);
    }
    let of = |nth: usize| median(nodes.iter().map(|turn| turn[nth]).collect());
    let (node, floor) = (of(0), median(floors));
    let ratio = node / floor;
    println!(
        "durable ingest, {}: {node:.0}/s, raw SQLite {floor:.0}/s at {:.0} scans a commit, ratio {ratio:.2} (bar {}, {}/s): {}; {:.0} B written a scan",
        load.name,
        of(1),
        BAR.0,
        BAR.1,
        verdict(ratio >= BAR.0 && node >= BAR.1),
        of(2)
    );
}
