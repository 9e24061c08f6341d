//! A backlog of a million: how fast it drains beside rumqttc alone with the same payloads and the same broker, how soon the
//! newest state is upstream, what the drain costs in memory and what intake feels of it.
//!
//! One node lives through it: it waits without a broker, it drains, it has nothing left. The same positions and scans come in
//! all the time. Memory is looked at with each tenth of the backlog, and the same is done with a tenth of the rows before: what
//! grows with the drain, or with the backlog, shows. Intake while it drains is held against intake when nothing is left. Beside
//! both stands intake of the same node, with nothing left, while rumqttc alone sends as much: what the broker and any client take
//! of the machine.
//!
//! In the field the broker has a machine of its own. With `WAYPOST_BENCH_BROKER=aside` it runs when nobody else wants a processor
//! (SCHED_IDLE), for the node and for rumqttc alike: what intake feels is then the node's own doing.
//!
//! `WAYPOST_BENCH_SHORT` takes a tenth of the rows.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement ends at the first thing that is not as it should be"
)]

#[path = "../tests/it/bench.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod bench;
#[path = "store/process.rs"]
#[expect(dead_code, reason = "the store's measurements use more of it")]
mod process;
#[path = "store/scanners.rs"]
#[expect(dead_code, reason = "the store's measurements use more of it")]
mod scanners;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bench::{Broker, Node, Pty, Site, free_port, wait_for, wait_within};
use process::resident_mib;
use scanners::{Doors, SCANNERS};

/// Publishes in flight, of both.
const WINDOW: u16 = 100;
/// Payloads that the floor sends in turn.
const SAMPLE: usize = 20_000;
/// Part of the floor's rate.
const RATE_BAR: f64 = 0.5;
/// Seconds from the connection to the newest state.
const STATE_BAR: f64 = 2.0;
/// Of intake's p99 when nothing waits.
const INTAKE_BAR: f64 = 1.2;
/// MiB by which memory may differ: between the looks at one drain, and between the highest of a backlog and of a tenth of it.
const FLAT: f64 = 6.0;
/// MiB that memory may rise after the caches have filled.
const LEVEL: f64 = 1.0;
/// Events that are read until they have.
const WARM: usize = 20_000;
/// Scans of a round, of which each waits for its answer.
const ROUND: usize = 200;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(10);
/// Rounds before the drain, and at least so many after it.
const ROUNDS: usize = 5;
/// So few events wait when nothing does: those that are on their way.
const NOTHING: f64 = 500.0;
/// The broker's name of the topics of the node.
const BASE: &str = "waypost/v1/halden/wp-07";

fn verdict(holds: bool) -> &'static str {
    if holds { "holds" } else { "MISSED" }
}

fn main() {
    // `cargo test --benches` runs this too; a measurement is asked for with `cargo bench`.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let rows = if std::env::var_os("WAYPOST_BENCH_SHORT").is_some() { 100_000 } else { 1_000_000 };
    let Some(mut broker) = Broker::start() else { return };
    if std::env::var_os("WAYPOST_BENCH_BROKER").is_some_and(|how| how == "aside") {
        println!("the broker gives way, as if on a machine of its own");
        broker.give_way();
    }
    broker.down();
    broker.window = 0;
    let small = Yard::new(broker.port).measure(&mut broker, rows / 10);
    let large = Yard::new(broker.port).measure(&mut broker, rows);
    small.tell();
    large.tell();
    let (less, more) = (small.most(), large.most());
    println!(
        "memory at most: {less:.1} MiB with {} rows, {more:.1} MiB with {rows} (bar {FLAT} MiB of difference): {}",
        small.rows,
        verdict(more - less <= FLAT)
    );
}

fn percentile(values: &[f64], of: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = ((sorted.len() - 1) as f64 * of) as usize;
    sorted[at]
}

/// rumqttc with a fresh client: publishes a second until the broker has answered all.
fn floor(port: u16, payloads: &Arc<Vec<String>>, count: usize) -> f64 {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let payloads = Arc::clone(payloads);
    runtime.block_on(async move {
        let mut options = MqttOptions::new("floor", "127.0.0.1", port);
        options.set_keep_alive(Duration::from_secs(30)).set_outgoing_inflight_upper_limit(WINDOW);
        let (client, mut eventloop) = AsyncClient::new(options, usize::from(WINDOW));
        let mut feeder = tokio::task::JoinSet::new();
        feeder.spawn(async move {
            for payload in payloads.iter().cycle().take(count) {
                let topic = "waypost/v1/halden/wp-07/event/scan";
                client.publish(topic, QoS::AtLeastOnce, false, payload.clone()).await.unwrap();
            }
            client
        });
        let (mut answered, mut begun) = (0, Instant::now());
        while answered < count {
            match eventloop.poll().await.unwrap() {
                Event::Incoming(Incoming::ConnAck(_)) => begun = Instant::now(),
                Event::Incoming(Incoming::PubAck(_)) => answered += 1,
                _ => {}
            }
        }
        drop(feeder.join_next().await.unwrap().unwrap());
        #[expect(clippy::cast_precision_loss, reason = "a count of publishes")]
        let per_s = count as f64 / begun.elapsed().as_secs_f64();
        per_s
    })
}

/// What one life of a node was like.
struct Life {
    rows: usize,
    /// Of the node; of rumqttc alone before and after.
    per_s: f64,
    floors: [f64; 2],
    state_s: f64,
    states: usize,
    /// MiB: before the drain, with each tenth of it, and after.
    resident: Vec<f64>,
    /// ms of each scan of a round: while it waits, while it drains, with nothing left, and that beside rumqttc alone.
    asked: [Vec<Vec<f64>>; 4],
}

impl Life {
    /// The most memory it had. MiB
    fn most(&self) -> f64 {
        self.resident.iter().copied().fold(f64::MIN, f64::max)
    }

    fn tell(&self) {
        let Self { rows, per_s, floors: [before, after], state_s, states, .. } = self;
        let part = per_s / f64::midpoint(*before, *after);
        println!(
            "drain, {rows} rows, window {WINDOW}: {per_s:.0} events/s; rumqttc alone {before:.0} and {after:.0}; {part:.2}x (bar {RATE_BAR}x): {}",
            verdict(part >= RATE_BAR)
        );
        println!(
            "newest state after {state_s:.2} s (bar {STATE_BAR} s), {states} states while it drained: {}",
            verdict(*state_s <= STATE_BAR && *states as f64 >= *rows as f64 / per_s / 2.0)
        );
        let series: Vec<String> = self.resident.iter().map(|mib| format!("{mib:.1}")).collect();
        let least = self.resident.iter().copied().fold(f64::MAX, f64::min);
        let warm = (WARM * 10).div_ceil(*rows).min(10);
        let rise = self.resident[10] - self.resident[warm];
        println!(
            "memory, MiB before, with each tenth, after: {}; {:.1} of difference (bar {FLAT}), {rise:.1} after {} events (bar {LEVEL}): {}",
            series.join(" "),
            self.most() - least,
            rows / 10 * warm,
            verdict(self.most() - least <= FLAT && rise <= LEVEL)
        );
        let [waiting, draining, nothing, beside] = &self.asked;
        let (p50, p99) = (median(draining, 0.5), median(draining, 0.99));
        let idle99 = median(nothing, 0.99);
        println!(
            "intake, ms, medians of rounds of {ROUND}: p50 {p50:.2}, p99 {p99:.2} in {} while it drains; {:.2} and {idle99:.2} in {} with nothing left; {:.2} and {:.2} in {} without a broker; {:.2}x (bar {INTAKE_BAR}x of p99): {}",
            draining.len(),
            median(nothing, 0.5),
            nothing.len(),
            median(waiting, 0.5),
            median(waiting, 0.99),
            waiting.len(),
            p99 / idle99,
            if draining.is_empty() { "too short to tell" } else { verdict(p99 <= idle99 * INTAKE_BAR) }
        );
        let (beside50, beside99) = (median(beside, 0.5), median(beside, 0.99));
        println!(
            "intake, ms, while rumqttc alone sends beside a node with nothing left: p50 {beside50:.2}, p99 {beside99:.2} in {}; {:.2}x of p99; the node's own drain is {:.2}x of that",
            beside.len(),
            beside99 / idle99,
            p99 / beside99
        );
        for (what, rounds) in ["no broker", "draining", "nothing left", "beside rumqttc"].iter().zip(&self.asked) {
            let p99s: Vec<String> = rounds.iter().map(|round| format!("{:.2}", percentile(round, 0.99))).collect();
            println!("  p99 of each round, {what}: {}", p99s.join(" "));
        }
    }
}

/// The median of the rounds of a percentile of each.
fn median(rounds: &[Vec<f64>], of: f64) -> f64 {
    let each: Vec<f64> = rounds.iter().map(|round| percentile(round, of)).collect();
    if each.is_empty() { f64::NAN } else { percentile(&each, 0.5) }
}

/// One look at a node.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    resident_mib: f64,
    unsent: f64,
}

/// A node with doors, a receiver and a backlog.
struct Yard {
    site: Site,
    doors: Doors,
    port: u16,
    broker: u16,
}

impl Yard {
    fn new(broker: u16) -> Self {
        let site = Site::new_in(Path::new(env!("CARGO_TARGET_TMPDIR")));
        Self { site, doors: Doors::new(), port: free_port(), broker }
    }

    fn measure(&self, broker: &mut Broker, rows: usize) -> Life {
        let payloads = self.fill(rows);
        broker.up();
        let before = floor(broker.port, &payloads, rows / 4);
        broker.down();
        let life = self.live(broker, rows, &payloads);
        let after = floor(broker.port, &payloads, rows / 4);
        broker.down();
        Life { floors: [before, after], ..life }
    }

    /// Fills the outbox while nobody listens; answers some of the payloads.
    fn fill(&self, rows: usize) -> Arc<Vec<String>> {
        let pty = Pty::new(&self.site.path("gps"));
        let gps =
            format!("[[gps]]\nid = \"gps0\"\nport = \"{}\"\nasset = \"TRK-07\"\n\n", self.site.path("gps").display());
        let uplink =
            Site::uplink(self.broker, "accept").replace("[uplink]\n", &format!("[uplink]\nwindow = {WINDOW}\n"));
        self.site.configure(&(uplink + &gps + &Site::dock(self.port) + &self.doors.configuration(false)));
        let node = self.site.start();
        let took = self.doors.scan(rows / SCANNERS, |nth, n| format!("TRL{:06}", (n * SCANNERS + nth) % 2_000));
        println!("{rows} scans stored in {:.0} s", took.as_secs_f64());
        assert!(node.stop().success());
        drop(pty);
        let export = self.site.ask(&["outbox", "export", "--to", &SAMPLE.to_string()]);
        let lines = String::from_utf8(export.stdout).unwrap();
        Arc::new(lines.lines().take(SAMPLE).map(str::to_owned).collect())
    }

    /// Rounds while something else is done; the last, which may see its end, is left out.
    fn beside(&self, done: impl FnOnce() -> f64 + Send) -> Vec<Vec<f64>> {
        std::thread::scope(|scope| {
            let work = scope.spawn(done);
            let mut rounds = Vec::new();
            while !work.is_finished() {
                rounds.push(ask(self.port));
            }
            rounds.pop();
            rounds
        })
    }

    fn live(&self, broker: &mut Broker, rows: usize, payloads: &Arc<Vec<String>>) -> Life {
        let pty = Pty::new(&self.site.path("gps"));
        let node = self.site.start();
        let (over, looks) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        let (up, begun, drained, asked, wire) = std::thread::scope(|scope| {
            scope.spawn(|| feed(pty, &over));
            scope.spawn(|| watch(&node, &looks, &over));
            let waiting: Vec<_> = (0..ROUNDS).map(|_| ask(self.port)).collect();
            let up = Instant::now();
            broker.up();
            let wire = Wire::at(broker.port);
            wait_for("the node's word", || wire.first("/status"));
            let begun = Instant::now();
            let unsent = || looks.lock().unwrap().last().map_or(f64::MAX, |look: &Look| look.unsent);
            let mut draining = Vec::new();
            let drained = wait_within(Duration::from_secs(1800), "the end of the backlog", || {
                let round = ask(self.port);
                let since = |look: &&Look| look.at > begun && look.unsent < NOTHING;
                let over = looks.lock().unwrap().iter().find(since).map(|look| look.at);
                if unsent() >= NOTHING {
                    draining.push(round);
                }
                over
            });
            let nothing: Vec<_> = (0..draining.len().max(ROUNDS)).map(|_| ask(self.port)).collect();
            let beside = self.beside(|| floor(broker.port, payloads, rows / 2));
            over.store(true, Ordering::Release);
            (up, begun, drained, [waiting, draining, nothing, beside], wire)
        });
        assert!(node.stop().success());
        let looks = looks.into_inner().unwrap();
        let first = looks.iter().rev().find(|look| look.at <= begun).unwrap();
        assert!(first.unsent > rows as f64 * 0.5, "most of the backlog was there: {}", first.unsent);
        let connected_ms = connected_ms(&self.site.log());
        let states = wire.times("/state");
        let state_s = states.first().map_or(f64::MAX, |(_, ms)| (ms - connected_ms) / 1e3);
        Life {
            rows,
            per_s: first.unsent / (drained - begun).as_secs_f64(),
            floors: [0.0; 2],
            state_s,
            states: states.iter().filter(|(at, _)| *at < drained).count(),
            resident: series(&looks, up, first.unsent),
            asked,
        }
    }
}

/// Memory before the drain, when each tenth of the backlog was gone, and at the end. MiB
fn series(looks: &[Look], up: Instant, first: f64) -> Vec<f64> {
    let before = looks.iter().rev().find(|look| look.at <= up);
    let tenth =
        |n: u32| looks.iter().find(|look| look.at > up && look.unsent <= first * f64::from(10 - n) / 10.0 + NOTHING);
    before.into_iter().chain((1..=10).filter_map(tenth)).chain(looks.last()).map(|look| look.resident_mib).collect()
}

/// When the node had its connection to the broker, by its own log. UTC ms
fn connected_ms(log: &str) -> f64 {
    let line = log.lines().rev().find(|line| line.contains("connected to the broker")).unwrap();
    let at: jiff::Timestamp = line.split_whitespace().next().unwrap().parse().unwrap();
    at.as_microsecond() as f64 / 1e3
}

/// Looks at a node from time to time until it is over.
fn watch(node: &Node, looks: &Mutex<Vec<Look>>, over: &AtomicBool) {
    while !over.load(Ordering::Acquire) {
        let unsent = node.ledger()["events"]["unsent"].as_f64().unwrap();
        let look = Look { at: Instant::now(), resident_mib: resident_mib(node.child.id(), false), unsent };
        looks.lock().unwrap().push(look);
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

/// Two positions a second until it is over.
fn feed(mut pty: Pty, over: &AtomicBool) {
    for second in 0.. {
        if over.load(Ordering::Acquire) {
            return;
        }
        pty.offer(&bench::epoch(second % 86_000));
        std::thread::park_timeout(Duration::from_millis(500));
    }
}

/// A round of scans one by one: how long each waits for its answer. ms
fn ask(port: u16) -> Vec<f64> {
    let mut stream = wait_for("the dock's port", || TcpStream::connect(("127.0.0.1", port)).ok());
    stream.set_nodelay(true).unwrap();
    let mut answer = [0; 256];
    (0..ROUND)
        .map(|n| {
            std::thread::park_timeout(PAUSE);
            let begun = Instant::now();
            stream.write_all(format!("ASK{n:06}\r\n").as_bytes()).unwrap();
            let n = stream.read(&mut answer).unwrap();
            assert!(answer[..n].starts_with(b"ok "), "{:?}", String::from_utf8_lossy(&answer[..n]));
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect()
}

/// What came of the node's own words at the broker: topic, when, and the same as UTC ms.
struct Wire(Arc<Mutex<Vec<(String, Instant, f64)>>>);

impl Wire {
    fn at(port: u16) -> Self {
        let mut options = rumqttc::MqttOptions::new("watch", "127.0.0.1", port);
        options.set_keep_alive(Duration::from_secs(30)).set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut connection) = rumqttc::Client::new(options, 16);
        client.subscribe(format!("{BASE}/state"), rumqttc::QoS::AtMostOnce).unwrap();
        client.subscribe(format!("{BASE}/status"), rumqttc::QoS::AtMostOnce).unwrap();
        let (subscribed, heard) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (told, kept) = (Arc::clone(&subscribed), Arc::clone(&heard));
        std::thread::spawn(move || {
            let _client = client;
            while let Ok(Ok(event)) = connection.recv() {
                match event {
                    rumqttc::Event::Incoming(rumqttc::Packet::SubAck(_)) => *told.lock().unwrap() += 1,
                    // What the broker kept of the life before is no word of this one.
                    rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) if !publish.retain => {
                        let ms = jiff::Timestamp::now().as_microsecond() as f64 / 1e3;
                        kept.lock().unwrap().push((publish.topic, Instant::now(), ms));
                    }
                    _ => {}
                }
            }
        });
        wait_for("the subscriptions", || (*subscribed.lock().unwrap() == 2).then_some(()));
        Self(heard)
    }

    fn times(&self, end: &str) -> Vec<(Instant, f64)> {
        self.0.lock().unwrap().iter().filter(|(topic, ..)| topic.ends_with(end)).map(|(_, at, ms)| (*at, *ms)).collect()
    }

    fn first(&self, end: &str) -> Option<Instant> {
        self.times(end).first().map(|(at, _)| *at)
    }
}
