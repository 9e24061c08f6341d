//! A backlog of a million: how fast it drains beside rumqttc alone with the same payloads and the same broker, how soon the
//! newest state is upstream, what the drain costs in memory and what intake feels of it.
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

use std::collections::VecDeque;
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
/// Seconds from the first packet to the newest state.
const STATE_BAR: f64 = 2.0;
/// Of intake's p99 without a backlog.
const INTAKE_BAR: f64 = 1.2;
/// MiB that memory may move by while it drains: caches fill once.
const FLAT: f64 = 6.0;
/// Scans of which each waits for its answer, before the drain and in it.
const ASKED: usize = 400;

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
    broker.down();
    broker.window = 0;
    let yard = Yard::new(broker.port);
    let payloads = yard.fill(rows);
    broker.up();
    let floor_before = floor(broker.port, &payloads, rows / 4);
    let idle = yard.idle();
    let drained = yard.drain(&broker, rows);
    let floor_after = floor(broker.port, &payloads, rows / 4);
    let alone = f64::midpoint(floor_before, floor_after);
    let part = drained.per_s / alone;
    println!(
        "drain, {rows} rows, window {WINDOW}: {:.0} events/s; rumqttc alone {floor_before:.0} and {floor_after:.0}; {part:.2}x (bar {RATE_BAR}x): {}",
        drained.per_s,
        verdict(part >= RATE_BAR)
    );
    println!(
        "newest state after {:.2} s (bar {STATE_BAR} s), {} states while it drained: {}",
        drained.state_s,
        drained.states,
        verdict(drained.state_s <= STATE_BAR && drained.states > 1)
    );
    let (least, most) = drained.resident;
    println!(
        "memory while it drains: {least:.1} to {most:.1} MiB (bar {FLAT} MiB of difference): {}",
        verdict(most - least <= FLAT)
    );
    let (p50, p99) = (percentile(&drained.asked, 0.5), percentile(&drained.asked, 0.99));
    let (idle50, idle99) = (percentile(&idle, 0.5), percentile(&idle, 0.99));
    println!(
        "intake while it drains: p50 {p50:.2} ms, p99 {p99:.2} ms; idle {idle50:.2} and {idle99:.2} (bar {INTAKE_BAR}x of p99): {}",
        verdict(p99 <= idle99 * INTAKE_BAR)
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

struct Drained {
    per_s: f64,
    state_s: f64,
    states: usize,
    resident: (f64, f64),
    asked: Vec<f64>,
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

    fn configure(&self, broker: u16) {
        let gps =
            format!("[[gps]]\nid = \"gps0\"\nport = \"{}\"\nasset = \"TRK-07\"\n\n", self.site.path("gps").display());
        let uplink = Site::uplink(broker, "accept").replace("[uplink]\n", &format!("[uplink]\nwindow = {WINDOW}\n"));
        self.site.configure(&(uplink + &gps + &Site::dock(self.port) + &self.doors.configuration(false)));
    }

    /// Fills the outbox while nobody listens; answers some of the payloads.
    fn fill(&self, rows: usize) -> Arc<Vec<String>> {
        let pty = Pty::new(&self.site.path("gps"));
        self.configure(free_port());
        let node = self.site.start();
        let took = self.doors.scan(rows / SCANNERS, |nth, n| format!("TRL{:06}", (n * SCANNERS + nth) % 2_000));
        println!("{rows} scans stored in {:.0} s", took.as_secs_f64());
        let (_, page) = node.get("/api/v1/events?limit=1");
        assert!(!page.is_empty());
        assert!(node.stop().success());
        drop(pty);
        let export = self.site.ask(&["outbox", "export", "--to", &SAMPLE.to_string()]);
        let lines = String::from_utf8(export.stdout).unwrap();
        Arc::new(lines.lines().take(SAMPLE).map(str::to_owned).collect())
    }

    /// Intake with the backlog in the store and nobody to send it to. ms
    fn idle(&self) -> Vec<f64> {
        let _pty = Pty::new(&self.site.path("gps"));
        let node = self.site.start();
        let asked = ask(self.port, ASKED);
        assert!(node.stop().success());
        asked
    }

    fn drain(&self, broker: &Broker, rows: usize) -> Drained {
        let pty = Pty::new(&self.site.path("gps"));
        self.configure(self.broker);
        let wire = Watch::at(broker.port);
        let (over, begun) = (AtomicBool::new(false), Instant::now());
        let node = self.site.start();
        let drained = std::thread::scope(|scope| {
            let feeding = scope.spawn(|| feed(pty, &over));
            let drained = self.watch(&node, &wire, rows);
            over.store(true, Ordering::Release);
            feeding.join().unwrap();
            drained
        });
        println!("the whole of it took {:.0} s", begun.elapsed().as_secs_f64());
        assert!(node.stop().success());
        drained
    }

    fn watch(&self, node: &Node, wire: &Watch, rows: usize) -> Drained {
        let online = wait_for("the node's word", || wire.online());
        let unsent = || node.ledger()["events"]["unsent"].as_f64().unwrap();
        let (begun, first) = (Instant::now(), unsent());
        let pid = node.child.id();
        let (asking, port) = (Arc::new(Mutex::new(Vec::new())), self.port);
        let asked = Arc::clone(&asking);
        let asks = std::thread::spawn(move || *asked.lock().unwrap() = ask(port, ASKED));
        let mut resident = (f64::MAX, f64::MIN);
        wait_within(Duration::from_secs(1800), "the end of the backlog", || {
            let now = resident_mib(pid, false);
            resident = (resident.0.min(now), resident.1.max(now));
            std::thread::park_timeout(Duration::from_millis(200));
            (unsent() < 500.0).then_some(())
        });
        let took = begun.elapsed();
        let states = wire.states();
        asks.join().unwrap();
        assert!(first > rows as f64 / 2.0, "most of the backlog was there: {first}");
        let state_s = states.first().map_or(f64::MAX, |at| at.saturating_duration_since(online).as_secs_f64());
        let asked = asking.lock().unwrap().clone();
        Drained { per_s: first / took.as_secs_f64(), state_s, states: states.len(), resident, asked }
    }
}

/// Ten positions a second until it is over.
fn feed(mut pty: Pty, over: &AtomicBool) {
    for second in 0.. {
        if over.load(Ordering::Acquire) {
            return;
        }
        pty.offer(&bench::epoch(second % 86_000));
        std::thread::park_timeout(Duration::from_millis(500));
    }
}

/// Scans one by one, twenty milliseconds apart: how long each waits for its answer. ms
fn ask(port: u16, count: usize) -> Vec<f64> {
    let mut stream = wait_for("the dock's port", || TcpStream::connect(("127.0.0.1", port)).ok());
    stream.set_nodelay(true).unwrap();
    let mut answer = [0; 256];
    (0..count)
        .map(|n| {
            std::thread::park_timeout(Duration::from_millis(20));
            let begun = Instant::now();
            stream.write_all(format!("ASK{n:06}\r\n").as_bytes()).unwrap();
            let n = stream.read(&mut answer).unwrap();
            assert!(answer[..n].starts_with(b"ok "), "{:?}", String::from_utf8_lossy(&answer[..n]));
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect()
}

/// When the node's own words came.
struct Watch(Arc<Mutex<VecDeque<(String, Instant)>>>);

impl Watch {
    fn at(port: u16) -> Self {
        let mut options = rumqttc::MqttOptions::new("watch", "127.0.0.1", port);
        options.set_keep_alive(Duration::from_secs(30)).set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut connection) = rumqttc::Client::new(options, 16);
        let base = "waypost/v1/halden/wp-07";
        client.subscribe(format!("{base}/state"), rumqttc::QoS::AtMostOnce).unwrap();
        client.subscribe(format!("{base}/status"), rumqttc::QoS::AtMostOnce).unwrap();
        let (subscribed, heard) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(VecDeque::new())));
        let (told, kept) = (Arc::clone(&subscribed), Arc::clone(&heard));
        std::thread::spawn(move || {
            let _client = client;
            while let Ok(Ok(event)) = connection.recv() {
                match event {
                    rumqttc::Event::Incoming(rumqttc::Packet::SubAck(_)) => *told.lock().unwrap() += 1,
                    rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) => {
                        kept.lock().unwrap().push_back((publish.topic, Instant::now()));
                    }
                    _ => {}
                }
            }
        });
        wait_for("the subscriptions", || (*subscribed.lock().unwrap() == 2).then_some(()));
        Self(heard)
    }

    fn times(&self, end: &str) -> Vec<Instant> {
        self.0.lock().unwrap().iter().filter(|(topic, _)| topic.ends_with(end)).map(|(_, at)| *at).collect()
    }

    /// When the node said that it is there.
    fn online(&self) -> Option<Instant> {
        self.times("/status").first().copied()
    }

    fn states(&self) -> Vec<Instant> {
        self.times("/state")
    }
}
