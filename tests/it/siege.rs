//! All at once: the broker is killed, the link falls silent, the node is killed, while scans come in. What is called sent must be
//! what the broker acknowledged; what the broker lost after that, the centre must be able to see.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::bench::{Broker, Node, Site, free_port, full, wait_for, wait_within};
use crate::feeder::Feeder;
use crate::upstream::{Centre, Wire};

/// What is done to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// SIGKILL: mosquitto loses what it has queued, and its sessions.
    Broker,
    /// Nothing passes and nothing ends, longer than a node bears it.
    Hole,
    /// SIGKILL.
    Node,
}

/// Longer than the twenty seconds after which a node gives a silent connection up.
const SILENT: Duration = Duration::from_secs(30);

/// Scans, their pace, and what is done meanwhile.
fn plan() -> (u64, f64, Vec<Blow>) {
    let blow = |n: usize| match n % 7 {
        3 => Blow::Hole,
        1 | 5 => Blow::Node,
        _ => Blow::Broker,
    };
    if full() {
        (100_000, 500.0, (0..35).map(blow).collect())
    } else {
        (1_200, 200.0, vec![Blow::Broker, Blow::Node, Blow::Broker])
    }
}

/// Answers the node that is there after it.
fn strike(blow: Blow, broker: &mut Broker, wire: &Wire, site: &Site, node: Node) -> Node {
    match blow {
        Blow::Broker => {
            broker.kill();
            broker.up();
        }
        Blow::Hole => {
            wire.hole();
            let from = Instant::now();
            wait_within(SILENT * 2, "the silence", || (from.elapsed() >= SILENT).then_some(()));
            wire.mend();
        }
        Blow::Node => {
            node.kill();
            return site.start();
        }
    }
    node
}

/// No more may be called sent than PUBACKs have passed the wire.
fn look(node: &Node, wire: &Wire) {
    let ledger = node.ledger();
    // Read after the ledger: the count only grows, so this is fair to the node.
    let acked = wire.passed().acked.len() as u64;
    let sent = ledger["events"]["sent"].as_u64().unwrap_or(0) + ledger["events"]["sent_unheard"].as_u64().unwrap_or(0);
    assert!(sent <= acked, "{sent} events are marked sent, {acked} PUBACKs have passed the wire");
    assert_eq!(ledger["balance"], 0, "{ledger}");
}

#[test]
pub fn whatever_is_killed_what_is_sent_is_what_was_acknowledged_and_the_centre_sees_each_gap() {
    let Some(mut broker) = Broker::start() else { return };
    let (scans, per_s, blows) = plan();
    let (wire, port) = (Wire::to(broker.port), free_port());
    let centre = Centre::at(broker.port, "centre");
    let site = Site::new();
    site.configure(&(Site::uplink(wire.port, "hold") + &Site::dock(port)));
    let mut node = site.start();
    let (feeder, begun) = (Feeder::start(port, u64::MAX / 2, per_s), Instant::now());
    for (nth, blow) in blows.iter().enumerate() {
        let due = scans * (nth as u64 + 1) / (blows.len() as u64 + 1);
        wait_within(Duration::from_secs(600), "scans before the next blow", || (feeder.oks() >= due).then_some(()));
        let before = wire.passed().acked.len();
        node = strike(*blow, &mut broker, &wire, &site, node);
        let healed = || (wire.passed().acked.len() > before + 64).then_some(());
        wait_within(Duration::from_secs(120), "acknowledgements after the blow", healed);
        look(&node, &wire);
    }
    wait_within(Duration::from_secs(600), "all scans", || (feeder.oks() >= scans).then_some(()));
    feeder.enough();
    wait_within(Duration::from_secs(120), "every scan answered", || feeder.is_done().then_some(()));
    wait_within(Duration::from_secs(300), "an empty backlog", || {
        (node.ledger()["events"]["unsent"] == 0).then_some(())
    });
    look(&node, &wire);
    let events = node.ledger()["events"].clone();
    let took = begun.elapsed();
    assert!(node.stop().success());
    assert_eq!(site.unsent(), 0, "the cursors stand at the head");
    let exported = site.exported();
    let id = |event: &serde_json::Value| event["id"].as_str().unwrap().to_owned();
    let stored: BTreeSet<String> = exported.iter().map(id).collect();
    for (code, told) in &feeder.told().ok {
        assert!(stored.contains(told), "{code} was told ok {told}");
    }
    let acked: BTreeSet<String> = wire.passed().acked.iter().cloned().collect();
    assert_eq!(acked, stored, "each is acknowledged, and nothing else");
    let marked = events["sent"].as_u64().unwrap() + events["sent_unheard"].as_u64().unwrap_or(0);
    assert_eq!(marked, acked.len() as u64, "what is marked sent is what was acknowledged");
    // What mosquitto still has for the centre comes; what it lost when it was killed does not.
    let quiet = || {
        let (messages, from) = (centre.heard().messages, Instant::now());
        while from.elapsed() < Duration::from_secs(1) {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        (centre.heard().messages == messages).then_some(())
    };
    wait_for("the centre to have all that comes", quiet);
    let heard = centre.heard();
    assert_eq!(heard.changed, Vec::<String>::new(), "what came again came as it was");
    let lost: BTreeMap<i64, &serde_json::Value> = exported
        .iter()
        .filter(|event| !heard.events.contains_key(&id(event)))
        .map(|event| (event["seq"].as_i64().unwrap(), event))
        .collect();
    assert_eq!(lost.is_empty(), heard.gaps().is_empty(), "{} lost, gaps {:?}", lost.len(), heard.gaps());
    let passed = wire.passed();
    eprintln!(
        "siege: {} scans, {} events in {took:.0?}; {blows:?}; {} connections, {} publishes ({} resent), PUBACKs by code {:?}; \
         the broker lost {} after it had acknowledged them, the centre sees {} gaps",
        feeder.oks(),
        stored.len(),
        passed.connections,
        passed.publishes,
        passed.publishes - stored.len() as u64,
        passed.codes,
        lost.len(),
        heard.gaps().len(),
    );
}
