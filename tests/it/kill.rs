//! An end without warning: the process is killed while scanners wait for its word, again and again.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::bench::{Broker, Site, free_port, full, wait_within};
use crate::feeder::Feeder;
use crate::upstream::Centre;

/// Publishes in flight, as configured by default.
const WINDOW: u64 = 64;
/// What was acknowledged this long before a kill may come again: 200 ms until the cursor's commit, and the way to the centre.
const COMMITTED: Duration = Duration::from_millis(300);

/// How many values a field has in all of them.
fn distinct(events: &[serde_json::Value], field: &str) -> usize {
    events.iter().map(|event| event[field].as_str().unwrap()).collect::<std::collections::HashSet<_>>().len()
}

#[test]
pub fn a_scan_answered_ok_survives_every_kill_here_and_upstream_once() {
    // The thousand kills of the bar are F01's, with all else going on. With so many, fewer scans between two.
    let (kills, spread) = if full() { (200, 60) } else { (5, 400) };
    let Some(broker) = Broker::start() else { return };
    let (site, port) = (Site::new(), free_port());
    let centre = Centre::at(broker.port, "centre");
    site.configure(&(Site::uplink(broker.port, "hold") + &Site::dock(port)));
    let mut feeder = Feeder::start(port, u64::MAX / 2, 2_000.0);
    let (begun, mut starts, mut killed) = (Instant::now(), Vec::new(), Vec::new());
    let mut node = site.start();
    for kill in 0..kills {
        let (oks, heard) = (feeder.oks(), centre.heard().events.len());
        // Another moment each time: from the first answer after the start to some hundred later.
        let more = 1 + kill * 37 % spread;
        wait_within(Duration::from_secs(60), "scans before the kill", || (feeder.oks() >= oks + more).then_some(()));
        if kill % 2 == 0 {
            wait_within(Duration::from_secs(60), "events upstream before the kill", || {
                (centre.heard().events.len() > heard + 20).then_some(())
            });
        }
        killed.push(Instant::now());
        node.kill();
        let again = Instant::now();
        node = site.start();
        starts.push(again.elapsed());
    }
    let oks = feeder.oks();
    wait_within(Duration::from_secs(60), "scans after the last kill", || (feeder.oks() > oks + 100).then_some(()));
    feeder.stop();
    wait_within(Duration::from_secs(300), "an empty backlog", || {
        (node.ledger()["events"]["unsent"] == 0).then_some(())
    });
    assert_eq!(node.ledger()["balance"], 0);
    let took = begun.elapsed();
    assert!(node.stop().success());
    assert_eq!(site.unsent(), 0, "the cursors stand at the head");
    let exported = site.exported();
    let mut stored: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut by_code: BTreeMap<&str, u64> = BTreeMap::new();
    for event in exported.iter().filter(|event| event["kind"] == "scan") {
        let code = event["code"].as_str().unwrap();
        stored.entry(event["id"].as_str().unwrap()).or_default().push(code);
        *by_code.entry(code).or_default() += 1;
    }
    let (told, heard) = (feeder.told(), centre.heard());
    assert_eq!(told.other, Vec::new(), "every answer is ok");
    for (code, id) in &told.ok {
        assert_eq!(stored.get(id.as_str()), Some(&vec![code.as_str()]), "{code}: ok {id}, in the store once");
        assert_eq!(heard.events.get(id).map(|event| &event["code"]), Some(&code.as_str().into()), "upstream: {id}");
    }
    assert_eq!(distinct(&exported, "id"), exported.len(), "no id twice in the store");
    assert_eq!(distinct(&exported, "epoch"), 1, "a kill begins no new life of the store");
    assert_eq!(heard.events.len(), exported.len(), "the centre has what the store has");
    assert_eq!(heard.gaps(), Vec::<String>::new());
    let repeats = heard.messages - heard.events.len() as u64;
    let recent = |kill: &Instant| {
        heard.firsts.iter().filter(|at| **at <= *kill && kill.duration_since(**at) <= COMMITTED).count() as u64
    };
    let most = killed.iter().map(|kill| WINDOW + recent(kill)).sum::<u64>();
    assert!(repeats <= most, "{repeats} repeats upstream, {most} is the most that {kills} kills may cause");
    starts.sort_unstable();
    eprintln!(
        "kill: {kills} kills in {took:.0?}; {} scans answered ok, {} scans and {} events stored, {} codes twice (sent again \
         unanswered), {} messages at the centre ({repeats} repeats, \
         at most {most}); start to ready p50 {:.0?}, max {:.0?}",
        told.ok.len(),
        stored.len(),
        exported.len(),
        by_code.values().filter(|n| **n > 1).count(),
        heard.messages,
        starts[starts.len() / 2],
        starts[starts.len() - 1],
    );
}
