//! All at once: the broker is killed, the link falls silent, the node is killed, while scans and fixes come in. What is called
//! sent must be what the broker acknowledged, each event; what the broker lost after that, the centre must see and get.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::{Broker, Node, Pty, Site, free_port, full, stderr, wait_within};
use crate::consumer::Consumer;
use crate::feeder::{Feeder, drive};
use crate::upstream::Centre;
use crate::wire::Wire;

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
const SILENT: Duration = Duration::from_secs(24);
/// Publishes in flight, as configured by default.
const WINDOW: usize = 64;
/// What was acknowledged this long before a kill of the node may come again.
const COMMITTED: Duration = Duration::from_millis(200);
/// Events that the broker takes and the centre does not, before a broker is killed: more than it has under way to the centre.
const QUEUED: usize = 60;

/// Events, the scans a second that make them (each puts something at the dock, so it makes two), and what is done meanwhile.
fn plan() -> (usize, f64, Vec<Blow>) {
    let blow = |n: usize| match n % 7 {
        3 => Blow::Hole,
        1 | 5 => Blow::Node,
        _ => Blow::Broker,
    };
    if full() {
        (100_000, 160.0, (0..35).map(blow).collect())
    } else {
        (2_400, 200.0, vec![Blow::Broker, Blow::Node, Blow::Broker, Blow::Node])
    }
}

/// What was seen of one blow, until the next.
#[derive(Debug)]
struct Seen {
    blow: Blow,
    /// Publishes of what the broker had taken, or perhaps had, and the most that there may be.
    again: u64,
    most: u64,
}

/// The node and all around it.
struct Siege {
    broker: Broker,
    wire: Wire,
    centre: Centre,
    consumer: Consumer,
    site: Site,
    feeder: Feeder,
    node: Option<Node>,
    /// Ids by `seq` − 1, as far as the log was read.
    log: Vec<String>,
    seen: Vec<Seen>,
    /// PUBACKs that were not written down when the node was killed, at most.
    unwritten: usize,
}

impl Siege {
    /// Waits, while the centre does what a consumer does.
    fn wait(&mut self, seconds: u64, what: &str, mut look: impl FnMut(&Self) -> bool) {
        wait_within(Duration::from_secs(seconds), what, || {
            self.consumer.tend(&self.centre);
            look(self).then_some(())
        });
    }

    fn acked(&self) -> usize {
        self.wire.passed().acked.len()
    }

    fn ledger(&self) -> Value {
        self.node.as_ref().unwrap().ledger()
    }

    fn strike(&mut self, blow: Blow) {
        let (again, connections) = {
            let passed = self.wire.passed();
            (passed.again, passed.connections)
        };
        let (mut recent, before) = (0, self.acked());
        match blow {
            Blow::Broker => {
                self.centre.deaf(true);
                self.wait(120, "events that wait at the broker", |siege| siege.acked() > before + QUEUED);
                self.broker.kill();
                self.centre.deaf(false);
                self.broker.up();
            }
            Blow::Hole => {
                self.wire.hole();
                let from = Instant::now();
                self.wait(SILENT.as_secs() * 2, "the silence", |_| from.elapsed() >= SILENT);
                self.wire.mend();
            }
            Blow::Node => {
                let at = Instant::now();
                self.node.take().unwrap().kill();
                recent = self.wire.passed().within(at, COMMITTED) as u64;
                let unwritten = self.audit();
                assert!(
                    unwritten as u64 <= WINDOW as u64 + recent,
                    "{unwritten} PUBACKs lost with the node, {recent} fresh"
                );
                self.unwritten = self.unwritten.max(unwritten);
                self.node = Some(self.site.start());
            }
        }
        let before = self.acked();
        self.wait(120, "acknowledgements after the blow", |siege| siege.acked() > before + WINDOW);
        let ledger = self.ledger();
        self.wire.covers(&ledger);
        let passed = self.wire.passed();
        let most = recent + WINDOW as u64 * (passed.connections - connections).max(1);
        let seen = Seen { blow, again: passed.again - again, most };
        drop(passed);
        assert!(seen.again <= seen.most, "{seen:?}");
        self.seen.push(seen);
    }

    /// What the store of a node that does not run calls sent is what was acknowledged: none else, and each but for those
    /// that it had no time to write down. Answers how many these are.
    fn audit(&mut self) -> usize {
        for event in exported(&self.site, &["--from", &(self.log.len() + 1).to_string()]) {
            assert_eq!(event["seq"].as_u64(), Some(self.log.len() as u64 + 1), "seq is dense");
            self.log.push(event["id"].as_str().unwrap().to_owned());
        }
        let unsent = exported(&self.site, &["--unsent"]);
        let unsent: HashSet<&str> = unsent.iter().map(|event| event["id"].as_str().unwrap()).collect();
        let passed = self.wire.passed();
        let (mut told, mut wrote) = (HashSet::new(), HashSet::new());
        for ack in passed.log.iter().filter(|ack| ack.code == 0) {
            wrote.insert(ack.id.as_str());
            told.extend(ack.passed.map(|_| ack.id.as_str()));
        }
        let known: HashSet<&str> = self.log.iter().map(String::as_str).collect();
        let marked: HashSet<&str> = known.iter().copied().filter(|id| !unsent.contains(id)).collect();
        let unasked: Vec<&&str> = marked.difference(&told).take(5).collect();
        assert!(unasked.is_empty(), "marked sent and never acknowledged: {unasked:?}");
        let unknown: Vec<&&str> = wrote.difference(&known).take(5).collect();
        assert!(unknown.is_empty(), "acknowledged and no event: {unknown:?}");
        told.difference(&marked).count()
    }
}

/// The events of a node that does not run, by `outbox export`.
fn exported(site: &Site, more: &[&str]) -> Vec<Value> {
    let out = site.ask(&[&["outbox", "export"], more].concat());
    assert!(out.status.success(), "{}", stderr(&out));
    String::from_utf8(out.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Ends the receiver however the test ends.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
pub fn whatever_is_killed_what_is_sent_is_what_was_acknowledged_and_the_centre_gets_each_event() {
    let Some(broker) = Broker::start() else { return };
    let (events, per_s, blows) = plan();
    let (wire, port, site) = (Wire::to(broker.port), free_port(), Site::new());
    let centre = Centre::at(broker.port, "centre");
    let mut gps = Pty::new(&site.path("gps0"));
    let receiver = format!(
        "[[gps]]\nid = \"gps0\"\nport = \"{}\"\nbaud = 9600\nasset = \"TRK-07\"\ntrack_interval_s = 0\nparked_interval_s = 0\n\n",
        site.path("gps0").display()
    );
    site.configure(&(Site::uplink(wire.port, "hold") + &receiver + &Site::dock(port)));
    let node = Some(site.start());
    let (feeder, begun, over) = (Feeder::start(port, u64::MAX / 2, per_s), Instant::now(), Over(Arc::default()));
    let is_over = Arc::clone(&over.0);
    let driver = std::thread::spawn(move || drive(&mut gps, &is_over));
    let (log, seen, consumer) = (Vec::new(), Vec::new(), Consumer::default());
    let mut siege = Siege { broker, wire, centre, consumer, site, feeder, node, log, seen, unwritten: 0 };
    for (nth, blow) in blows.iter().enumerate() {
        let due = events * (nth + 1) / (blows.len() + 1);
        siege.wait(600, "events before the next blow", |siege| siege.acked() >= due);
        siege.strike(*blow);
    }
    siege.wait(600, "all events", |siege| siege.acked() >= events);
    siege.feeder.enough();
    drop(over);
    driver.join().unwrap();
    siege.wait(120, "every scan answered", |siege| siege.feeder.is_done());
    siege.wait(300, "an empty backlog", |siege| siege.ledger()["events"]["unsent"] == 0);
    let drained = begun.elapsed();
    let total = siege.ledger()["events"]["total"].as_i64().unwrap();
    wait_within(Duration::from_secs(300), "a centre that misses nothing", || {
        let upto = siege.consumer.tend(&siege.centre)?;
        assert!(upto <= total, "{} events came from nowhere", upto - total);
        (upto == total).then_some(())
    });
    judge(siege, (drained, begun));
}

fn judge(mut siege: Siege, (drained, begun): (Duration, Instant)) {
    let ledger = siege.ledger();
    siege.wire.covers(&ledger);
    assert!(siege.node.take().unwrap().stop().success());
    assert_eq!(siege.audit(), 0, "each that was acknowledged is marked sent");
    assert_eq!(siege.site.unsent(), 0, "the cursors stand at the head");
    let stored: HashMap<&str, usize> = siege.log.iter().enumerate().map(|(at, id)| (id.as_str(), at)).collect();
    assert_eq!(stored.len(), siege.log.len(), "no id twice");
    for (code, told) in &siege.feeder.told().ok {
        assert!(stored.contains_key(told.as_str()), "{code} was told ok {told}");
    }
    let passed = siege.wire.passed();
    assert!(stored.keys().all(|id| passed.acked.contains(*id)), "each is acknowledged");
    let marked = ["sent", "sent_unheard"].map(|word| ledger["events"][word].as_u64().unwrap_or(0)).iter().sum::<u64>();
    assert_eq!(marked, stored.len() as u64, "the ledger says the same");
    // The centre: all of it, as it was.
    let heard = siege.centre.heard();
    assert_eq!(heard.changed, Vec::<String>::new(), "what came again came as it was");
    assert_eq!(heard.gaps(), Vec::<String>::new());
    let union: BTreeSet<&str> = heard.events.keys().map(String::as_str).collect();
    assert_eq!(union, stored.keys().copied().collect::<BTreeSet<_>>(), "the centre has what the store has");
    let brokers = siege.seen.iter().filter(|seen| seen.blow == Blow::Broker).count() as u64;
    assert!(heard.recovered >= brokers, "{} events came by replays alone: nothing was lost?", heard.recovered);
    let again = siege.seen.iter().map(|seen| seen.again).sum::<u64>();
    let worst = siege.seen.iter().filter(|seen| seen.blow == Blow::Node).map(|seen| (seen.again, seen.most)).max();
    let wrote = passed.log.len();
    let lost = passed.log.iter().filter(|ack| ack.passed.is_none()).count();
    let times = |blow| siege.seen.iter().filter(|seen| seen.blow == blow).count();
    eprintln!(
        "siege: {} scans, {} events; broker killed {} times, link silent {}, node killed {}; {} connections, {} \
         publishes, PUBACKs by code {:?}, {wrote} written and {lost} of them lost on the way; sent again {} ({again} by the \
         blows; after a kill of the node at most (seen, allowed) {worst:?}; {} PUBACKs unwritten at most); the \
         broker lost {}, {} replays ({} asked twice, {} events) brought them; {drained:.0?}, with the replays {:.0?}",
        siege.feeder.oks(),
        stored.len(),
        times(Blow::Broker),
        times(Blow::Hole),
        times(Blow::Node),
        passed.connections,
        passed.publishes,
        passed.codes,
        passed.again,
        siege.unwritten,
        heard.recovered,
        siege.consumer.asks,
        siege.consumer.repeated,
        siege.consumer.counted,
        begun.elapsed(),
    );
}
