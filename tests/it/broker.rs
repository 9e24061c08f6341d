//! Sending on: a broker that stops and starts, a wire that is cut, and what the centre has in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::{Broker, Node, Site, free_port, full, try_get, wait_for, wait_within};
use crate::feeder::Feeder;
use crate::upstream::Centre;
use crate::wire::Wire;

/// How hard it is tried.
struct Size {
    scans: u64,
    per_s: f64,
    restarts: u64,
    cuts: u64,
    stopped: Option<Duration>,
}

/// As the promise has it, and a tenth of it for every day.
fn size() -> Size {
    if full() {
        Size { scans: 20_000, per_s: 120.0, restarts: 5, cuts: 10, stopped: Some(Duration::from_secs(60)) }
    } else {
        Size { scans: 1_000, per_s: 35.0, restarts: 2, cuts: 3, stopped: None }
    }
}

/// What the ledger was seen to say while all went on.
#[derive(Default)]
struct Audit {
    over: AtomicBool,
    looks: AtomicU64,
    /// Looks at which the centre was behind the store.
    behind: AtomicU64,
}

/// Ends an audit however the test ends.
struct Over<'a>(&'a Audit);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
    }
}

impl Audit {
    /// Compares, again and again, what the ledger calls sent with the PUBACKs that have passed the wire.
    fn run(&self, address: std::net::SocketAddr, wire: &Wire) {
        while !self.over.load(Ordering::Acquire) {
            let body = try_get(address, "/api/v1/ledger", Duration::from_secs(20)).expect("the screen answers");
            let ledger: Value = serde_json::from_str(&body).unwrap();
            wire.covers(&ledger);
            let events = &ledger["events"];
            self.looks.fetch_add(1, Ordering::Relaxed);
            self.behind.fetch_add(u64::from(events["unsent"].as_u64() > Some(0)), Ordering::Relaxed);
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

/// Stops and starts the broker, cuts the wire, each when its share of the scans is stored, each after the last one healed.
fn disturb(size: &Size, broker: &mut Broker, wire: &Wire, feeder: &Feeder) {
    let blows = size.restarts + size.cuts;
    for blow in 0..blows {
        let due = size.scans * (blow + 1) / (blows + 2);
        wait_within(Duration::from_secs(300), "scans before the next blow", || (feeder.oks() >= due).then_some(()));
        let before = wire.passed().acked.len();
        // Restarts among the cuts, evenly.
        if (blow + 1) * size.restarts / blows > blow * size.restarts / blows {
            broker.down();
            broker.up();
        } else {
            // Of the twenty that mosquitto lets fly at once some may be the node's own: state, watermark, health.
            wire.hold(10);
            wire.cut();
        }
        let healed = || (wire.passed().acked.len() > before + 64).then_some(());
        wait_within(Duration::from_secs(90), "acknowledgements after the blow", healed);
    }
    if let Some(stopped) = size.stopped {
        let (begun, oks) = (Instant::now(), feeder.oks());
        broker.down();
        wait_within(stopped * 2, "the time without a broker", || (begun.elapsed() >= stopped).then_some(()));
        assert!(feeder.oks() > oks, "scans are taken while the broker is away");
        broker.up();
    }
}

/// Waits until the node has nothing unsent.
fn drained(node: &Node) {
    wait_within(Duration::from_secs(180), "an empty backlog", || {
        (node.ledger()["events"]["unsent"] == 0).then_some(())
    });
}

#[test]
pub fn the_centre_has_every_scan_after_every_blow_and_nothing_is_sent_without_its_puback() {
    let Some(mut broker) = Broker::start() else { return };
    let (size, port) = (size(), free_port());
    let wire = Wire::to(broker.port);
    let centre = Centre::at(broker.port, "centre");
    let site = Site::new();
    site.configure(&(Site::uplink(wire.port, "hold") + &Site::dock(port)));
    let node = site.start();
    // Without an end of its own: on a slow machine the last blows would meet a scanner that has nothing more to send.
    let feeder = Feeder::start(port, u64::MAX / 2, size.per_s);
    let (audit, begun) = (Audit::default(), Instant::now());
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| audit.run(node.address(), &wire));
        let over = Over(&audit);
        disturb(&size, &mut broker, &wire, &feeder);
        wait_within(Duration::from_secs(300), "as many scans as promised", || {
            (feeder.oks() >= size.scans || watch.is_finished()).then_some(())
        });
        feeder.enough();
        wait_within(Duration::from_secs(300), "every scan answered", || {
            (feeder.is_done() || watch.is_finished()).then_some(())
        });
        if !watch.is_finished() {
            drained(&node);
        }
        drop(over);
        watch.join().unwrap();
    });
    let took = begun.elapsed();
    let scans: BTreeMap<String, String> =
        feeder.told().ok.iter().map(|(code, id)| (id.clone(), code.clone())).collect();
    assert_eq!(scans.len() as u64, feeder.oks(), "each ok has an id of its own: {:?}", feeder.told().other);
    assert!(scans.len() as u64 >= size.scans);
    assert!(node.stop().success());
    assert_eq!(site.unsent(), 0, "the cursors stand at the head");
    let stored: BTreeSet<String> =
        site.exported().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    wait_for("every event at the centre", || (centre.heard().events.len() >= stored.len()).then_some(()));
    let heard = centre.heard();
    assert_eq!(heard.events.keys().cloned().collect::<BTreeSet<_>>(), stored);
    assert_eq!(heard.gaps(), Vec::<String>::new());
    for (id, code) in &scans {
        assert_eq!(heard.events[id]["code"], **code);
    }
    let passed = wire.passed();
    assert_eq!(passed.acked.len(), stored.len());
    assert!(passed.connections > size.restarts + size.cuts, "{} connections", passed.connections);
    eprintln!(
        "broker: {} scans, {} events in {took:.0?}; {} restarts, {} cuts, broker away {:?}; {} connections, {} publishes \
         ({} resent), PUBACKs by code {:?}, {} messages at the centre; {} looks at the ledger, {} with a backlog",
        scans.len(),
        stored.len(),
        size.restarts,
        size.cuts,
        size.stopped.unwrap_or_default(),
        passed.connections,
        passed.publishes,
        passed.publishes - stored.len() as u64,
        passed.codes,
        heard.messages,
        audit.looks.load(Ordering::Relaxed),
        audit.behind.load(Ordering::Relaxed),
    );
}

#[test]
fn what_sends_and_sweeps_gives_way_to_what_takes_in_and_shows() {
    let Some(broker) = Broker::start() else { return };
    let (site, port) = (Site::new(), free_port());
    site.configure(&(Site::uplink(broker.port, "accept") + &Site::dock(port)));
    let node = site.start();
    let threads = || -> Vec<(String, i64)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", node.child.id())).unwrap();
        let stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
        stats
            .map(|stat| {
                let (head, rest) = stat.rsplit_once(") ").unwrap();
                let name = head.split_once('(').unwrap().1.to_owned();
                (name, rest.split(' ').nth(16).unwrap().parse().unwrap())
            })
            .collect()
    };
    // A thread has its name before it gives way.
    wait_for("chores that give way to all others", || {
        let threads = threads();
        let of = |name: &str| threads.iter().filter(|(one, _)| one == name).map(|(_, nice)| *nice).collect::<Vec<_>>();
        let (chores, others) = (of("chores"), [of("writer"), of("tokio-rt-worker")].concat());
        let all = |some: &[i64], is: i64| some.iter().all(|nice| *nice == is);
        let are_there = !chores.is_empty() && others.len() > 2;
        (are_there && all(&others, others[0]) && all(&chores, (others[0] + 5).min(19))).then_some(())
    });
}

#[test]
pub fn a_stop_under_load_keeps_what_was_answered_and_says_offline() {
    let Some(broker) = Broker::start() else { return };
    let (site, port) = (Site::new(), free_port());
    let centre = Centre::at(broker.port, "centre");
    site.configure(&(Site::uplink(broker.port, "hold") + &Site::dock(port)));
    let node = site.start();
    let mut feeder = Feeder::start(port, u64::MAX / 2, 5_000.0);
    wait_for("a load", || (feeder.oks() > 500 && centre.heard().messages > 100).then_some(()));
    let begun = Instant::now();
    assert!(node.stop().success());
    let took = begun.elapsed();
    feeder.stop();
    assert!(took < Duration::from_secs(10), "{took:?}");
    let late = Centre::at(broker.port, "late");
    let status = wait_for("the retained status", || late.heard().topics.get("status").cloned());
    assert_eq!(status["state"], "offline", "{status}");
    assert!(status["ts_ms"].is_number(), "the node's own word, not the will: {status}");
    let stored: BTreeMap<String, Value> =
        site.exported().into_iter().map(|event| (event["id"].as_str().unwrap().to_owned(), event)).collect();
    let told = feeder.told();
    for (code, id) in &told.ok {
        assert_eq!(stored.get(id).map(|event| &event["code"]), Some(&Value::from(code.as_str())), "{code}: ok {id}");
    }
    eprintln!("stop: {} scans answered ok, all stored; exit after {took:.2?}", told.ok.len());
}
