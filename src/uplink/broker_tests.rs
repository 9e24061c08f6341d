//! The uplink against brokers on real sockets: mosquitto where it is installed, and one that answers as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Keeper};
use crate::config::{NoSubscriber, Protocol, SendFrom, Uplink};
use crate::domain::{EventId, Kind, Lane, Seq, TimeQuality};
use crate::health::{Beat, Board, Body, Ctx, Sample, State, Tally, UplinkState, export};
use crate::store::{Append, Draft, Group, Identity, Ledger, Log, Store};

use super::fake_broker::{FakeBroker, Got, Manner, Reply, Wire};
use super::lane::{Queued, Track};
use super::{Kit, Limits, NodeNames, figures, seat};

#[cfg(test)]
#[path = "absence_tests.rs"]
mod absence;
#[cfg(test)]
#[path = "centre_tests.rs"]
mod centre;
#[cfg(test)]
#[path = "freeze_tests.rs"]
mod freeze;
#[cfg(test)]
#[path = "liar_tests.rs"]
mod liar;
#[cfg(test)]
#[path = "refusal_tests.rs"]
mod refusal;
#[cfg(test)]
#[path = "resend_tests.rs"]
mod resend;

/// A node with a store, a writer and an uplink, for one test.
struct Rig {
    store: Store,
    board: Board,
    clock: Clock,
    keeper: Keeper,
    published: Arc<AtomicI64>,
    tally: Tally,
    tasks: JoinSet<()>,
    writer: (CancellationToken, Option<std::thread::JoinHandle<()>>),
    dir: Arc<tempfile::TempDir>,
}

pub(super) fn config(port: u16) -> Uplink {
    Uplink {
        tls: false,
        host: "127.0.0.1".into(),
        port,
        protocol: Protocol::V5,
        prefix: "waypost".into(),
        client_id: "wp-t".into(),
        username: None,
        password_file: None,
        ca_file: None,
        identity: None,
        window: 64,
        keep_alive: Duration::from_secs(5),
        no_subscriber: NoSubscriber::Accept,
        send_from: SendFrom::Kept,
        backoff_max: Duration::from_millis(200),
        backoff_spread: Duration::from_millis(50),
        health: Duration::ZERO,
        max_per_s: 0,
        mib_per_day: 0,
        hold_untrusted: Duration::ZERO,
        confirm: false,
        homeassistant: false,
    }
}

pub(super) fn names() -> NodeNames {
    NodeNames {
        site: "halden".into(),
        node: "wp-t".into(),
        version: "0".into(),
        config_digest: "d".into(),
        assets: Vec::new(),
        quota_mib: None,
    }
}

pub(super) fn identity(boot_id: &str) -> Identity {
    Identity {
        site: "halden".into(),
        node: "wp-t".into(),
        boot_id: boot_id.into(),
        uplink: true,
        skip_kept: false,
        machine: Vec::new(),
    }
}

fn quick() -> Limits {
    Limits {
        retry_base: Duration::from_millis(20),
        retry_cap: Duration::from_millis(40),
        backoff_base: Duration::from_millis(20),
        ..Limits::default()
    }
}

impl Rig {
    fn new() -> Self {
        Self::booted(Arc::new(tempfile::tempdir().unwrap()), "b")
    }

    /// A node in this boot.
    fn booted(dir: Arc<tempfile::TempDir>, boot_id: &str) -> Self {
        let clock = Clock::system();
        let (store, seat) = Store::open(dir.path(), &identity(boot_id), &clock, |_| {}).unwrap();
        let stop = CancellationToken::new();
        let ctx = Ctx { beat: Beat::new("writer", clock.clone()), stop: stop.clone() };
        let thread = std::thread::spawn(move || seat.run(&ctx).unwrap());
        Self {
            store,
            board: Board::default(),
            tally: Tally::new(clock.clone()),
            keeper: Keeper::with_ntp_mark(clock.clone(), 0, "/nonexistent/mark".into()),
            clock,
            published: Arc::default(),
            tasks: JoinSet::new(),
            writer: (stop, Some(thread)),
            dir,
        }
    }

    fn kit(&self, config: Uplink, limits: Limits) -> Kit {
        Kit {
            config,
            names: names(),
            store: self.store.clone(),
            board: self.board.clone(),
            clock: self.clock.clone(),
            keeper: self.keeper.clone(),
            tally: self.tally.clone(),
            published: Arc::clone(&self.published),
            frozen: Arc::default(),
            archives: Arc::new(()),
            limits,
        }
    }

    /// Starts an uplink; it ends when the token fires.
    fn uplink(&mut self, config: Uplink, limits: Limits) -> CancellationToken {
        let worker = seat(self.kit(config, limits));
        let stop = CancellationToken::new();
        let ctx = Ctx { beat: Beat::new("uplink", self.clock.clone()), stop: stop.clone() };
        let Body::Task(run) = worker.body else { panic!("the uplink is a task") };
        let work = run(ctx);
        self.tasks.spawn(async move { work.await.unwrap() });
        stop
    }

    async fn append(&self, kinds: &[Kind]) -> Vec<Seq> {
        self.append_with(kinds, String::new()).await
    }

    async fn append_with(&self, kinds: &[Kind], filler: String) -> Vec<Seq> {
        static NEXT: AtomicI64 = AtomicI64::new(1);
        let now = self.clock.now();
        let drafts: Vec<Draft> = kinds
            .iter()
            .map(|kind| {
                let n = NEXT.fetch_add(1, Ordering::Relaxed);
                let mut id = [0; 16];
                id[8..].copy_from_slice(&n.to_be_bytes());
                Draft {
                    id: EventId(id),
                    kind: *kind,
                    ts_ms: now.wall_ms,
                    tq: TimeQuality::None,
                    received: now,
                    source: None,
                    asset: Some("TRK-07".into()),
                    place: None,
                    code: None,
                    body: format!(r#"{{"lat":59.1246817,"lon":11.3875214,"filler":"{filler}"}}"#),
                }
            })
            .collect();
        self.store
            .submit(Group::Now, move |txn| {
                drafts
                    .iter()
                    .map(|draft| match txn.append(draft)? {
                        Append::New(seq) => Ok(seq),
                        Append::Duplicate => panic!("ids are fresh"),
                    })
                    .collect()
            })
            .await
            .unwrap()
    }

    fn ledger(&self) -> Ledger {
        self.store.read_here(|reader| reader.ledger()).unwrap()
    }

    fn count(&self, word: &str) -> i64 {
        self.ledger().events.get(word).copied().unwrap_or(0)
    }

    fn letters(&self) -> Vec<(i64, String)> {
        let letters = self.store.read_here(|reader| reader.letters(true, 1000)).unwrap();
        let mut found: Vec<_> = letters.into_iter().map(|letter| (letter.seq.unwrap(), letter.reason)).collect();
        found.sort_unstable();
        found
    }

    /// The series of a metric that have counted something, as `labels value`, e.g. `reason="no_ack" 1`.
    fn counted(&self, metric: &str) -> Vec<String> {
        let page = export::text(&self.tally, &Sample::default(), export::Format::Prometheus);
        let start = format!("waypost_{metric}{{");
        let series = page.lines().filter_map(|line| line.strip_prefix(&start)?.split_once("} "));
        series.filter(|(_, n)| *n != "0").map(|(labels, n)| format!("{labels} {n}")).collect()
    }

    /// How often a metric has counted, over all its series.
    fn total(&self, metric: &str) -> u64 {
        self.counted(metric).iter().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    fn log(&self) -> Vec<String> {
        let lines = self
            .store
            .read_here(|reader| {
                reader.log(Log::Outbound, i64::MAX, 1000, &crate::store::Lines::default()).map(|(lines, _)| lines)
            })
            .unwrap();
        lines.into_iter().map(|line| format!("{} {}", line.what, line.detail)).collect()
    }

    fn state(&self) -> Option<UplinkState> {
        match self.board.get("uplink", "") {
            Some(State::Uplink(state)) => Some(state),
            _ => None,
        }
    }

    fn alarm(&self, name: &str) -> bool {
        self.board.get("alarm", name).is_some()
    }

    fn is_drained(&self) -> bool {
        self.count("unsent") == 0
    }

    fn assert_balanced(&self) {
        assert_eq!(self.ledger().imbalance(), 0, "{:?}", self.ledger());
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.tasks.abort_all();
        self.writer.0.cancel();
        if let Some(thread) = self.writer.1.take() {
            drop(thread.join());
        }
    }
}

/// Waits for a condition; fails with `what` after 20 s.
async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut look = tokio::time::interval(Duration::from_millis(5));
    while !is() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        look.tick().await;
    }
}

fn always(code: u8) -> impl Fn(&Got, usize) -> Reply + Send + Sync + 'static {
    move |got, _| Reply::Code(if got.topic.contains("/event/") { code } else { 0 })
}

/// A private mosquitto; none, aloud, where it is not installed.
struct Mosquitto {
    child: Option<Child>,
    port: u16,
    dir: tempfile::TempDir,
}

impl Mosquitto {
    fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// With these lines in its configuration.
    fn start_with(more: &str) -> Option<Self> {
        let found = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"];
        if !found.iter().any(|path| std::path::Path::new(path).exists()) {
            eprintln!("SKIPPED: mosquitto is not installed (apt-get install mosquitto)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
             max_queued_messages 0\nmax_inflight_messages 0\nuser root\n",
            dir.path().display()
        );
        std::fs::write(dir.path().join("mosquitto.conf"), text + more).unwrap();
        let mut broker = Self { child: None, port, dir };
        broker.run();
        Some(broker)
    }

    fn run(&mut self) {
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
        let child = Command::new("mosquitto")
            .env("PATH", path)
            .arg("-c")
            .arg(self.dir.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// SIGTERM, which makes it keep its sessions, and its end.
    fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = i32::try_from(child.id()).unwrap();
        // SAFETY: a signal to our own child, which is not waited for yet, so the id is its.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
        child.wait().unwrap();
    }

    async fn is_up(&self) {
        let port = self.port;
        until("mosquitto to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.stop();
    }
}

type Heard = Arc<Mutex<Vec<serde_json::Value>>>;

/// A platform with a persistent session that keeps what it hears; answers when it is subscribed.
async fn platform(tasks: &mut JoinSet<()>, port: u16) -> Heard {
    let heard: Heard = Arc::default();
    let (kept, subscribed) = (Arc::clone(&heard), Arc::new(Mutex::new(false)));
    let told = Arc::clone(&subscribed);
    tasks.spawn(async move {
        let mut options = rumqttc::MqttOptions::new("platform", "127.0.0.1", port);
        options.set_clean_session(false).set_keep_alive(Duration::from_secs(5)).set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut eventloop) = rumqttc::AsyncClient::new(options, 16);
        let mut again = tokio::time::interval(Duration::from_millis(20));
        loop {
            match eventloop.poll().await {
                Ok(rumqttc::Event::Incoming(rumqttc::Packet::ConnAck(_))) => {
                    client.subscribe("waypost/v1/+/+/event/#", rumqttc::QoS::AtLeastOnce).await.unwrap();
                }
                Ok(rumqttc::Event::Incoming(rumqttc::Packet::SubAck(_))) => *told.lock().unwrap() = true,
                Ok(rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish))) => {
                    kept.lock().unwrap().push(serde_json::from_slice(&publish.payload).unwrap());
                }
                Ok(_) => {}
                Err(_) => {
                    again.tick().await;
                }
            }
        }
    });
    until("the platform to subscribe", || *subscribed.lock().unwrap()).await;
    heard
}

/// Each event once, by id; panics when two events share an id or the bytes of a resend differ.
fn by_seq(heard: &Heard) -> BTreeMap<i64, serde_json::Value> {
    let mut events: BTreeMap<i64, serde_json::Value> = BTreeMap::new();
    for event in heard.lock().unwrap().iter() {
        let seq = event["seq"].as_i64().unwrap();
        let first = events.entry(seq).or_insert_with(|| event.clone());
        assert_eq!(first, event, "a resend is byte-equal");
    }
    events
}

fn assert_whole(events: &BTreeMap<i64, serde_json::Value>, head: i64) {
    assert_eq!(events.len(), usize::try_from(head).unwrap(), "every event arrived");
    let ids: BTreeSet<&str> = events.values().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len(), "no id twice");
    for event in events.values() {
        if let Some(prev) = event["prev"].as_i64() {
            assert_eq!(events[&prev]["kind"], event["kind"], "no gap in prev");
        }
    }
}

const MIX: [Kind; 5] = [Kind::Fix, Kind::Fix, Kind::Scan, Kind::Place, Kind::Fix];

#[cfg(test)]
#[path = "clock_tests.rs"]
mod clock_tests;

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tls_tests;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_arrives_through_broker_restarts_and_cut_wires() {
    let Some(mut mosquitto) = Mosquitto::start() else { return };
    mosquitto.is_up().await;
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let heard = platform(&mut tasks, mosquitto.port).await;
    let wire = Wire::to(&mut tasks, mosquitto.port).await;
    let config = Uplink { no_subscriber: NoSubscriber::Hold, ..config(wire.port) };
    let stop = rig.uplink(config, quick());
    for round in 0..400 {
        rig.append(&MIX).await;
        if [60, 120, 200, 260, 330].contains(&round) {
            until("to be connected", || rig.state().is_some_and(|state| state.state == "connected")).await;
        }
        match round {
            60 | 200 => {
                mosquitto.stop();
                mosquitto.run();
            }
            120 | 260 | 330 => wire.cut(),
            _ => tokio::task::yield_now().await,
        }
    }
    until("the outbox to be sent", || rig.is_drained()).await;
    let head = rig.store.cursor_now().seq.0;
    assert_eq!(head, 2_000);
    until("the platform to hear all", || by_seq(&heard).len() == 2_000).await;
    assert_whole(&by_seq(&heard), head);
    rig.assert_balanced();
    assert_eq!((rig.count("sent"), rig.count("sent_unheard"), rig.letters().len()), (2_000, 0, 0));
    let cursor = |lane| rig.store.read_here(|reader| reader.cursor(lane)).unwrap().0;
    assert_eq!(cursor(Lane::Fix), head, "the last event is a fix");
    assert_eq!(cursor(Lane::Scan), head - 1, "the one before is a place");
    assert!(rig.total("uplink_reconnects_total") >= 5, "the wire was cut and the broker stopped");
    stop.cancel();
    until("the uplink to end", || rig.tasks.try_join_next().is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_broker_is_left_for_a_new_connection() {
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let broker = FakeBroker::start(&mut tasks, Manner::default(), |got, _| {
        if got.conn == 0 && got.topic.contains("/event/") { Reply::Silence } else { Reply::Code(0) }
    })
    .await;
    rig.append(&[Kind::Scan, Kind::Fix]).await;
    let stop = rig.uplink(config(broker.port), Limits { no_ack: Duration::from_millis(300), ..quick() });
    until("all to be sent", || rig.is_drained()).await;
    assert_eq!(rig.counted("uplink_reconnects_total"), [r#"reason="no_ack" 1"#]);
    let mut events = broker.events();
    events.sort_unstable();
    assert_eq!(events, [(0, 1), (0, 2), (1, 1), (1, 2)]);
    assert_eq!(rig.published.load(Ordering::Acquire), 1, "repeats are counted onto no scan that was read for sending");
    assert!(rig.log().iter().any(|line| line.starts_with("lost no_ack")), "{:?}", rig.log());
    rig.assert_balanced();
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_the_node_waits_longer_each_time_and_says_until_when() {
    let mut rig = Rig::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    rig.append(&MIX).await;
    let stop = rig.uplink(config(port), quick());
    until("three tries", || rig.total("uplink_reconnects_total") >= 3).await;
    until("to wait", || rig.state().is_some_and(|state| state.state == "waiting" && state.next_try_ms.is_some())).await;
    assert!(matches!(&*rig.counted("uplink_reconnects_total"), [one] if one.contains(r#""unreachable""#)));
    assert!(rig.state().unwrap().last_error.contains("refused"), "{:?}", rig.state());
    assert_eq!(rig.count("unsent"), 5);
    assert_eq!(rig.append(&MIX).await.len(), 5, "nothing else is hurt");
    stop.cancel();
    until("the uplink to end at once", || rig.tasks.try_join_next().is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_take_turns_four_to_one_and_each_stays_in_order() {
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let broker = FakeBroker::start(&mut tasks, Manner { receive_max: Some(1), ..Manner::default() }, always(0)).await;
    rig.append(&[Kind::Fix; 400]).await;
    rig.append(&[Kind::Scan; 400]).await;
    let stop = rig.uplink(config(broker.port), quick());
    until("all to be sent", || rig.is_drained()).await;
    let seqs: Vec<i64> = broker.events().iter().map(|(_, seq)| *seq).collect();
    let lane = |fix: bool| seqs.iter().copied().filter(move |seq| (*seq <= 400) == fix).collect::<Vec<_>>();
    assert_eq!(lane(true), (1..=400).collect::<Vec<_>>());
    assert_eq!(lane(false), (401..=800).collect::<Vec<_>>());
    // One lane may be read before the other; turns are kept from where both wait.
    let begins = |fix: bool| seqs.iter().position(|seq| (*seq <= 400) == fix).unwrap();
    let first = begins(true).max(begins(false));
    let turns = &seqs[first + 5..first + 45];
    assert_eq!(turns.iter().filter(|seq| **seq <= 400).count(), 8, "{seqs:?}");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_speaks_of_itself_first_and_takes_old_alarms_off() {
    let Some(mosquitto) = Mosquitto::start() else { return };
    mosquitto.is_up().await;
    let mut tasks = JoinSet::new();
    // An alarm of an earlier life stands at the broker.
    let mut options = rumqttc::MqttOptions::new("before", "127.0.0.1", mosquitto.port);
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut eventloop) = rumqttc::AsyncClient::new(options, 16);
    client.subscribe("waypost/v1/halden/wp-t/+", rumqttc::QoS::AtLeastOnce).await.unwrap();
    client.publish("waypost/v1/halden/wp-t/alarm/old", rumqttc::QoS::AtLeastOnce, true, "{}").await.unwrap();
    client.subscribe("waypost/v1/halden/wp-t/alarm/+", rumqttc::QoS::AtLeastOnce).await.unwrap();
    let heard: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let kept = Arc::clone(&heard);
    tasks.spawn(async move {
        loop {
            if let Ok(rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish))) = eventloop.poll().await {
                let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                kept.lock().unwrap().push((publish.topic.rsplit('/').next().unwrap().to_owned(), payload));
            }
        }
    });
    until("the old alarm to stand", || !heard.lock().unwrap().is_empty()).await;
    let mut rig = Rig::new();
    rig.append(&MIX).await;
    let asset = crate::domain::AssetState {
        asset: "TRK-07".into(),
        id: EventId([1; 16]),
        seq: Seq(1),
        ts_ms: 1,
        tq: TimeQuality::Gnss,
        received: (1, 1),
        position: Some((59.0, 11.0)),
        speed_mps: None,
        course_deg: None,
        place: None,
        since_ms: None,
        source: None,
        gps_place: None,
    };
    rig.board.post(State::Asset(asset));
    let stop = rig.uplink(Uplink { health: Duration::from_secs(60), ..config(mosquitto.port) }, quick());
    let said = |topic: &str, text: &str| heard.lock().unwrap().iter().any(|(t, p)| t == topic && p.contains(text));
    until("state", || said("state", r#""lat":59.0"#)).await;
    until("status", || said("status", r#""state":"online""#)).await;
    until("health", || said("health", r#""backlog":"#)).await;
    until("the old alarm to be taken off", || heard.lock().unwrap().contains(&("old".into(), String::new()))).await;
    until("the watermark at backlog 0", || {
        said("watermark", r#""last_produced":5,"lanes":{"scan":{"last_acked":4},"fix":{"last_acked":5}}"#)
    })
    .await;
    stop.cancel();
    until("offline", || said("status", r#""state":"offline""#)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_will_has_no_time_and_what_lasts_is_retained() {
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let broker = FakeBroker::start(&mut tasks, Manner::default(), always(0)).await;
    rig.append(&MIX).await;
    let stop = rig.uplink(config(broker.port), quick());
    until("all to be sent", || rig.is_drained()).await;
    until("the watermark", || broker.last("/watermark").is_some()).await;
    let wills = broker.wills();
    let will = &wills[0][wills[0].find("{\"v\":1,\"state\":\"offline\"").unwrap()..];
    assert!(!will.contains("ts_ms") && will.contains("\"epoch\""), "{will}");
    let got = broker.got();
    assert!(got[0].topic.ends_with("/status"), "no own asset is known, so status is first: {got:?}");
    assert!(got.iter().all(|got| got.retain != got.topic.contains("/event/")), "{got:?}");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_of_mqtt_3_gets_all_and_the_blindness_is_said() {
    let Some(mosquitto) = Mosquitto::start() else { return };
    mosquitto.is_up().await;
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let heard = platform(&mut tasks, mosquitto.port).await;
    rig.append(&MIX).await;
    let stop = rig.uplink(Uplink { protocol: Protocol::V311, ..config(mosquitto.port) }, quick());
    until("all to be sent", || rig.is_drained()).await;
    until("the platform to hear all", || by_seq(&heard).len() == 5).await;
    assert!(rig.alarm("protocol_311"));
    rig.assert_balanced();
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_leaves_a_cursor_and_the_next_start_sends_the_rest() {
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let broker = FakeBroker::start(&mut tasks, Manner { receive_max: Some(2), ..Manner::default() }, always(0)).await;
    rig.append(&[Kind::Scan; 600]).await;
    let stop = rig.uplink(config(broker.port), quick());
    until("some to be sent", || broker.events().len() > 100).await;
    stop.cancel();
    until("the uplink to end", || rig.tasks.try_join_next().is_some()).await;
    assert_eq!(
        usize::try_from(rig.count("sent")).unwrap(),
        broker.events().len(),
        "each acknowledgement is in the store"
    );
    assert!(rig.count("unsent") > 0, "it was the middle");
    let again = rig.uplink(config(broker.port), quick());
    until("the rest to be sent", || rig.is_drained()).await;
    let seqs: Vec<i64> = broker.events().iter().map(|(_, seq)| *seq).collect();
    assert_eq!(seqs, (1..=600).collect::<Vec<_>>(), "none twice, none left out");
    rig.assert_balanced();
    again.cancel();
}

/// The rate by hand: `WAYPOST_DRAIN_ROWS=20000 cargo test the_rate_is_printed -- --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_drains_and_the_rate_is_printed() {
    let Some(mosquitto) = Mosquitto::start() else { return };
    mosquitto.is_up().await;
    let mut rig = Rig::new();
    let rows = std::env::var("WAYPOST_DRAIN_ROWS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
    for _ in 0..rows / 1000 {
        rig.append(&[Kind::Fix; 1000]).await;
    }
    let begun = Instant::now();
    let stop = rig.uplink(Uplink { window: 100, ..config(mosquitto.port) }, quick());
    until("the backlog to be sent", || rig.is_drained()).await;
    let took = begun.elapsed();
    eprintln!("{rows} rows in {took:?}: {:.0} events/s", f64::from(rows) / took.as_secs_f64());
    rig.assert_balanced();
    stop.cancel();
}
