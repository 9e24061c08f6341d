//! The way in, on a real store: what goes in comes to rest once, counted to the last frame.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::{BUILD_FLOOR_MS, Clock};
use crate::config::{Effect, Line, Parity, Port, ReadPoint, RepeatScope};
use crate::domain::{Kind, Row, Seq};
use crate::health::Beat;
use crate::plan::{FenceLimits, Plan};
use crate::source::{Conn, Lost};
use crate::store::{Filter, Identity, Ledger, Store, WriterSeat, assert_recounted};

/// A node on a store in a folder of its own, with a clock that the test moves.
pub(crate) struct Bench {
    pub(super) dir: tempfile::TempDir,
    pub(crate) clock: Clock,
    pub(crate) node: Node,
    pub(super) stop: CancellationToken,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let clock = Clock::manual(Stamp { mono_us: 1_000_000, wall_ms: BUILD_FLOOR_MS + 3_600_000 });
        Self::open(tempfile::tempdir().unwrap(), clock)
    }

    /// A node whose time NTP vouches for, on a plan, its truck moved by these receivers.
    pub(crate) fn trusted_on(plan: Plan, receivers: &[&str], wall_ms: i64) -> Self {
        let mut bench = Self::new();
        bench.clock.set_wall_ms(wall_ms);
        let now = bench.clock.now();
        bench.node.carriers = carriers(receivers, plan, now);
        bench.node.keeper = Keeper::with_ntp_mark(bench.clock.clone(), 0, bench.dir.path().to_owned());
        bench
    }

    /// Puts a key into the register, as a person would have.
    pub(crate) fn register(&self, key: &str, asset: &str) {
        let sql = rusqlite::Connection::open(self.dir.path().join("waypost.db")).unwrap();
        sql.execute(
            "insert into assets (asset, name, kind, codes, added_ms, changed_ms) values (?1, ?1, '', '[]', 0, 0)",
            [asset],
        )
        .unwrap();
        sql.execute("insert into asset_keys (key, asset, nth) values (?1, ?2, 0)", [key, asset]).unwrap();
    }

    fn open(dir: tempfile::TempDir, clock: Clock) -> Self {
        let who = Identity {
            site: "halden".into(),
            node: "wp-07".into(),
            boot_id: "b00t".into(),
            uplink: false,
            skip_kept: false,
            machine: Vec::new(),
        };
        let (store, seat) = Store::open(dir.path(), &who, &clock, |_| ()).unwrap();
        let board = Board::default();
        let node = Node {
            id: "wp-07".into(),
            boot_id: "b00t".into(),
            unknown: Unknown::Accept,
            keep: Duration::from_secs(30 * 86_400),
            fix_group: Duration::ZERO,
            own_asset: "TRK-07".into(),
            carriers: carriers(&["gps0"], Plan::empty(), clock.now()),
            motion: MotionLimits::default(),
            published: Arc::new(AtomicI64::new(0)),
            thin_s: Arc::default(),
            store,
            board,
            tally: Tally::new(clock.clone()),
            keeper: Keeper::with_ntp_mark(clock.clone(), 0, "/nonexistent/mark".into()),
        };
        let stop = CancellationToken::new();
        let writer = Some(run_writer(seat, &clock, &stop));
        Self { dir, clock, node, stop, writer }
    }

    pub(super) fn ring(&self) -> Ring {
        let origin = Origin {
            source: "gps0".into(),
            kind: "scanner",
            port: "/dev/null".into(),
            baud: None,
            boot: String::new(),
        };
        // From before whatever the test says came.
        Ring::open(self.dir.path(), origin, Stamp { mono_us: 1_000_000, ..self.clock.now() })
    }

    /// Sends inputs through the whole intake of one source, to its end.
    pub(crate) async fn take(&self, feed: Feed, inputs: Vec<Input>) {
        let (tx, rx) = mpsc::channel(inputs.len().max(1));
        for input in inputs {
            tx.try_send(input).unwrap();
        }
        drop(tx);
        let light = Light::new(self.node.board.clone(), self.clock.clone(), feed.id(), "gps", "test");
        let worker = worker(self.node.clone(), feed, light, self.ring(), rx);
        let crate::health::Body::Task(run) = worker.body else { panic!("a task") };
        let ctx = Ctx { beat: Beat::new("ingest", self.clock.clone()), stop: CancellationToken::new() };
        run(ctx).await.unwrap();
    }

    pub(crate) async fn rows(&self) -> Vec<Row> {
        self.node.store.read(|reader| reader.after(Seq(0), 10_000, &Filter::default())).await.unwrap().rows
    }

    pub(crate) async fn ledger(&self) -> Ledger {
        assert_recounted(&self.node.store);
        self.node.store.read(|reader| reader.ledger()).await.unwrap()
    }

    pub(crate) fn bytes(&self, bytes: &[u8]) -> Input {
        Input::Bytes { conn: Conn(1), bytes: bytes.to_vec(), at: self.clock.now(), peer: None, waited: true }
    }

    /// Stops the writer and opens the same store again, as after a restart.
    pub(crate) fn reopen(mut self) -> Self {
        self.halt();
        let clock = self.clock.clone();
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        drop(self);
        Self::open(dir, clock)
    }

    /// Stops the writer, and nothing else.
    pub(super) fn halt(&mut self) {
        self.stop.cancel();
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.halt();
    }
}

fn run_writer(seat: WriterSeat, clock: &Clock, stop: &CancellationToken) -> std::thread::JoinHandle<()> {
    let ctx = Ctx { beat: Beat::new("writer", clock.clone()), stop: stop.clone() };
    std::thread::spawn(move || seat.run(&ctx).unwrap())
}

/// The truck of the node, moved by these receivers.
pub(super) fn carriers(receivers: &[&str], plan: Plan, now: Stamp) -> Carriers {
    let ids: Vec<String> = receivers.iter().map(|&id| id.to_owned()).collect();
    let truck = Carrier::new("TRK-07", &ids, (None, None), Ground::new(plan, 0), FenceLimits::default(), now);
    Arc::new(BTreeMap::from([("TRK-07".to_owned(), truck)]))
}

pub(crate) fn gps() -> Feed {
    Feed::Gps(Gps {
        id: "gps0".into(),
        port: Port::Serial("/dev/null".into()),
        line: Line { baud: Some(9600), serial: (8, Parity::None, 1) },
        asset: "TRK-07".into(),
        rank: 1,
        clock: true,
        parked_interval: Duration::ZERO,
        track_interval: Duration::ZERO,
        allow: Vec::new(),
    })
}

pub(crate) fn door(change: impl FnOnce(&mut Scanner)) -> Feed {
    let mut scanner = Scanner {
        id: "door-3".into(),
        port: Port::Serial("/dev/null".into()),
        line: Line { baud: Some(9600), serial: (8, Parity::None, 1) },
        place: ReadPoint::Place("door-3".into()),
        terminators: vec![b"\r".to_vec(), b"\n".to_vec()],
        start: Vec::new(),
        prefix: Vec::new(),
        suffix: Vec::new(),
        symbol_code_id: false,
        noread: "NOREAD".into(),
        latin_1: false,
        layout: "us".into(),
        idle: Duration::from_millis(500),
        repeat_window: Duration::from_secs(1),
        repeat_scope: RepeatScope::Previous,
        effect: Effect::Enter,
        reply: false,
        allow: Vec::new(),
    };
    change(&mut scanner);
    Feed::Scanner(scanner)
}

pub(crate) fn sentence(body: &str) -> String {
    let sum = body.bytes().fold(0, |sum, byte| sum ^ byte);
    format!("${body}*{sum:02X}\r\n")
}

/// Seconds of a drive: RMC and GGA each second.
pub(super) fn drive(seconds: std::ops::Range<u32>) -> Vec<u8> {
    let mut text = String::new();
    for s in seconds {
        let (time, lat) = (format!("10{:02}{:02}.00", s / 60, s % 60), format!("5907.{:05}", 40000 + s * 10));
        text += &sentence(&format!("GPRMC,{time},A,{lat},N,01123.25128,E,10.0,090.0,201126,,,A"));
        text += &sentence(&format!("GPGGA,{time},{lat},N,01123.25128,E,1,09,0.9,12.3,M,46.9,M,,"));
    }
    text.into_bytes()
}

pub(super) fn opened(bench: &Bench) -> Input {
    Input::Opened { conn: Conn(1), peer: None, reply: None, at: bench.clock.now() }
}

fn lost(bench: &Bench) -> Input {
    Input::Lost { conn: Conn(1), why: Lost::Eof, at: bench.clock.now() }
}

#[tokio::test]
async fn a_capture_replayed_after_a_restart_stores_each_fix_once() {
    let bench = Bench::new();
    let log = drive(0..60);
    bench.take(gps(), vec![opened(&bench), bench.bytes(&log), lost(&bench)]).await;
    let first = bench.rows().await;
    assert_eq!(first.len(), 60);
    let bench = bench.reopen();
    let pieces = log.chunks(7).map(|chunk| bench.bytes(chunk)).collect();
    bench.take(gps(), pieces).await;
    assert_eq!(bench.rows().await, first);
    let ledger = bench.ledger().await;
    let gps0 = &ledger.sources["gps0"];
    assert_eq!((gps0.frames, gps0.outcomes["stored"], gps0.outcomes["duplicate"]), (120, 60, 60));
    assert_eq!(ledger.imbalance(), 0);
}

#[tokio::test]
async fn thinning_keeps_what_says_something_new_and_counts_the_rest_also_on_a_replay() {
    let bench = Bench::new();
    let Feed::Gps(mut gps) = gps() else { panic!("a receiver") };
    gps.track_interval = Duration::from_secs(10);
    gps.parked_interval = Duration::from_secs(300);
    for _ in 0..2 {
        bench.take(Feed::Gps(gps.clone()), vec![bench.bytes(&drive(0..60))]).await;
    }
    let ledger = bench.ledger().await;
    let gps0 = &ledger.sources["gps0"];
    assert_eq!(gps0.outcomes["stored"], 7, "the first, the start after three seconds, then every ten: {gps0:?}");
    assert_eq!(gps0.frames, 120);
    assert_eq!(gps0.policies["parked"] + gps0.policies["track"] + gps0.outcomes["duplicate"], 113);
    assert_eq!(ledger.imbalance(), 0);
}

#[tokio::test]
async fn a_scan_moves_its_asset_and_the_next_place_lets_it_go() {
    let bench = Bench::new();
    bench.take(door(|_| ()), vec![bench.bytes(b"TRL-7\r\n")]).await;
    bench.clock.advance_ms(5_000);
    let gate = |s: &mut Scanner| {
        s.id = "gate".into();
        s.place = ReadPoint::Place("gate".into());
    };
    bench.take(door(gate), vec![bench.bytes(b"TRL-7\r\n")]).await;
    let rows = bench.rows().await;
    let told: Vec<_> = rows.iter().map(|row| (row.kind, row.place.clone().unwrap_or_default())).collect();
    let (scan, place) = (Kind::Scan, Kind::Place);
    let want = [(scan, "door-3"), (place, "door-3"), (scan, "gate"), (place, "door-3"), (place, "gate")];
    assert_eq!(told, want.map(|(kind, at)| (kind, at.to_owned())));
    assert_eq!(
        rows.iter().map(|row| row.prev.map(|p| p.0)).collect::<Vec<_>>(),
        [None, None, Some(1), Some(2), Some(4)]
    );
    let asset = bench.node.store.read(|reader| reader.asset("raw:TRL-7")).await.unwrap().unwrap();
    assert_eq!(asset.place.as_deref(), Some("gate"));
    assert_eq!(bench.ledger().await.imbalance(), 0);
}

#[tokio::test]
async fn a_stuttering_scanner_makes_one_event_and_counts_its_repeats_over_a_restart() {
    let bench = Bench::new();
    bench.take(door(|_| ()), vec![bench.bytes(b"TRL-7\rTRL-7\r")]).await;
    let bench = bench.reopen();
    bench.clock.advance_ms(900);
    bench.take(door(|_| ()), vec![bench.bytes(b"TRL-7\r")]).await;
    let scans = |rows: Vec<Row>| rows.into_iter().filter(|row| row.kind == Kind::Scan).collect::<Vec<_>>();
    assert_eq!(scans(bench.rows().await).len(), 1);
    bench.clock.advance_ms(101);
    bench.take(door(|_| ()), vec![bench.bytes(b"TRL-7\r")]).await;
    let rows = scans(bench.rows().await);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].repeats, 1, "a repeat after the restart may follow a publish: it is only counted");
    let ledger = bench.ledger().await;
    assert_eq!(ledger.sources["door-3"].outcomes["repeat"], 2);
    assert_eq!(ledger.imbalance(), 0);
}

#[tokio::test]
async fn another_code_in_between_ends_the_window_unless_it_is_per_code() {
    for (scope, events) in [(RepeatScope::Previous, 3), (RepeatScope::Code, 2)] {
        let bench = Bench::new();
        bench.take(door(|s| s.repeat_scope = scope), vec![bench.bytes(b"A-1\rB-2\rA-1\r")]).await;
        let scans = bench.rows().await.into_iter().filter(|row| row.kind == Kind::Scan).count();
        assert_eq!(scans, events, "{scope:?}");
        assert_eq!(bench.ledger().await.imbalance(), 0);
    }
}

#[tokio::test]
async fn replies_come_after_the_commit_and_name_the_event() {
    let bench = Bench::new();
    let (tx, mut replies) = mpsc::channel(16);
    let opened = Input::Opened { conn: Conn(1), peer: None, reply: Some(tx), at: bench.clock.now() };
    bench.take(door(|s| s.reply = true), vec![opened, bench.bytes(b"TRL-7\rTRL-7\rNOREAD\r")]).await;
    let rows = bench.rows().await;
    let mut lines = Vec::new();
    while let Some(line) = replies.recv().await {
        lines.push(line);
    }
    let id = rows[0].id;
    assert_eq!(lines, [format!("ok {id}"), format!("again {id}"), "rejected noread".into()]);
}

#[tokio::test]
async fn noise_is_counted_to_the_last_piece_and_only_the_first_ten_are_kept() {
    let bench = Bench::new();
    let mut bytes = drive(0..3);
    for _ in 0..50 {
        bytes.extend_from_slice(b"$GPRMC,100000.00,A,5907.40000,N,01123.25128,E,,,201126,,,A*00\r\n");
    }
    bench.take(gps(), vec![bench.bytes(&bytes)]).await;
    let ledger = bench.ledger().await;
    assert_eq!(ledger.letters["total"], 50);
    assert_eq!(ledger.letters["open"], 10);
    assert_eq!(ledger.letters["sampled"], 40);
    assert_eq!(ledger.refused[&("gps0".to_owned(), "bad_checksum".to_owned())], 50);
    assert_eq!(ledger.imbalance(), 0);
}

#[tokio::test]
async fn a_scanner_that_hears_of_each_refused_read_fills_the_desk_no_faster_than_one_that_does_not() {
    let bench = Bench::new();
    let (tx, mut replies) = mpsc::channel(64);
    let opened = Input::Opened { conn: Conn(1), peer: None, reply: Some(tx), at: bench.clock.now() };
    bench.take(door(|s| s.reply = true), vec![opened, bench.bytes(&b"\xff\xff\r".repeat(50))]).await;
    let mut told = 0;
    while let Some(line) = replies.recv().await {
        assert_eq!(line, "rejected non_ascii");
        told += 1;
    }
    let ledger = bench.ledger().await;
    assert_eq!((told, ledger.letters["open"], ledger.letters["sampled"]), (50, 10, 40));
    assert_eq!((ledger.sources["door-3"].frames, ledger.imbalance()), (50, 0));
}

#[tokio::test]
async fn an_epoch_without_a_position_is_counted_and_makes_no_event() {
    let bench = Bench::new();
    let text = sentence("GPRMC,100000.00,V,,,,,,,201126,,,N") + &sentence("GPRMC,100001.00,V,,,,,,,201126,,,N");
    bench.take(gps(), vec![bench.bytes(text.as_bytes())]).await;
    let ledger = bench.ledger().await;
    assert_eq!((ledger.sources["gps0"].frames, ledger.sources["gps0"].outcomes["no_fix"]), (2, 2));
    assert!(bench.rows().await.is_empty());
    assert_eq!(ledger.imbalance(), 0);
}

/// Key records: each of these keys, with the shift key held where it says so.
fn struck(keys: &[(bool, u16)]) -> Vec<u8> {
    let record = |key: u16, value: u8| {
        let [low, high] = key.to_le_bytes();
        let record: [u8; crate::source::KEY_RECORD] = [1, 0, low, high, value, 0, 0, 0];
        record
    };
    let stroke = |(shift, key): &(bool, u16)| {
        let inner = [record(*key, 1), record(*key, 0)];
        let outer = |value| shift.then(|| record(42, value));
        outer(1).into_iter().chain(inner).chain(outer(0)).flatten().collect::<Vec<u8>>()
    };
    keys.iter().flat_map(stroke).collect()
}

#[tokio::test]
async fn the_keys_of_a_grabbed_scanner_are_read_in_its_layout_and_half_a_code_is_a_letter() {
    let bench = Bench::new();
    let wedge = |layout: &str| {
        let layout = layout.to_owned();
        door(move |s| (s.port, s.layout) = (Port::Hid("/dev/input/event3".into()), layout))
    };
    // The key that is Y on an American keyboard is Z on a German one, and the one with the slash is the hyphen.
    let code = [(true, 21), (true, 22), (false, 53), (false, 8), (false, 28)];
    let quiet = Input::Quiet { conn: Conn(1), at: bench.clock.now() };
    let halves =
        [bench.bytes(&struck(&code[..3])), quiet, bench.bytes(&struck(&code)), bench.bytes(&struck(&code[..2]))];
    bench.take(wedge("de"), [opened(&bench)].into_iter().chain(halves).chain([lost(&bench)]).collect()).await;
    bench.take(wedge("us"), vec![opened(&bench), bench.bytes(&struck(&code)), lost(&bench)]).await;
    let codes: Vec<_> = bench.rows().await.into_iter().filter_map(|row| row.code).collect();
    assert_eq!(codes, ["ZU-7", "YU/7"]);
    let letters = bench.node.store.read(|reader| reader.letters(false, 10)).await.unwrap();
    let refused: Vec<_> = letters.iter().map(|letter| (letter.reason.as_str(), letter.bytes.as_slice())).collect();
    assert_eq!(refused, [("unterminated", &b"ZU"[..]), ("unterminated", b"ZU-")]);
    assert_eq!(bench.ledger().await.imbalance(), 0);
}

#[tokio::test]
async fn an_unknown_key_is_kept_for_a_person_when_the_register_is_closed() {
    let mut bench = Bench::new();
    bench.node.unknown = Unknown::Hold;
    bench.take(door(|_| ()), vec![bench.bytes(b"TRL-7\r")]).await;
    let letters = bench.node.store.read(|reader| reader.letters(false, 10)).await.unwrap();
    assert_eq!((letters[0].reason.as_str(), letters[0].bytes.as_slice()), ("unknown_tag", b"TRL-7".as_slice()));
    let ledger = bench.ledger().await;
    assert_eq!(ledger.sources["door-3"].reasons["unknown_tag"], 1);
    assert_eq!(ledger.imbalance(), 0);
}

#[tokio::test]
async fn a_frame_cut_by_an_unplug_is_a_letter_and_never_glued_to_the_next() {
    let bench = Bench::new();
    let inputs = vec![bench.bytes(b"]C1003761"), lost(&bench), opened(&bench), bench.bytes(b"TRL-8\r")];
    bench.take(door(|_| ()), inputs).await;
    let letters = bench.node.store.read(|reader| reader.letters(false, 10)).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, "unterminated");
    assert_eq!(bench.rows().await[0].code.as_deref(), Some("TRL-8"));
}

#[tokio::test]
async fn the_port_log_says_what_happened_at_the_port() {
    let bench = Bench::new();
    bench.take(gps(), vec![opened(&bench), lost(&bench)]).await;
    let log = bench
        .node
        .store
        .read(|reader| {
            reader
                .log(crate::store::Log::Inbound, i64::MAX, 10, &crate::store::Lines::default())
                .map(|(lines, _)| lines)
        })
        .await
        .unwrap();
    assert_eq!(log.iter().map(|entry| entry.what.as_str()).collect::<Vec<_>>(), ["lost", "opened"]);
}

#[tokio::test]
async fn half_a_code_is_refused_when_the_line_was_silent_and_not_when_we_were_late() {
    let bench = Bench::new();
    let first = bench.bytes(b"TRL-");
    bench.clock.advance_ms(900);
    let at = bench.clock.now();
    let late = Input::Bytes { conn: Conn(1), bytes: b"7\r".to_vec(), at, peer: None, waited: false };
    bench.take(door(|_| ()), vec![first, late]).await;
    assert_eq!(bench.rows().await[0].code.as_deref(), Some("TRL-7"));
    bench.take(door(|_| ()), vec![bench.bytes(b"TRL-"), Input::Quiet { conn: Conn(1), at }, bench.bytes(b"8\r")]).await;
    let ledger = bench.ledger().await;
    assert_eq!(ledger.sources["door-3"].reasons["unterminated"], 1);
    assert_eq!(ledger.imbalance(), 0);
}

#[tokio::test]
async fn half_a_frame_of_a_connection_that_gets_no_answers_any_more_is_no_scan() {
    let bench = Bench::new();
    // What a restarted intake finds: the rest of a frame whose beginning went with the one before.
    bench.take(door(|scanner| scanner.reply = true), vec![bench.bytes(b"L-7\r"), lost(&bench)]).await;
    assert_eq!(bench.rows().await, Vec::new());
    let whole = vec![opened(&bench), bench.bytes(b"TRL-7\r"), lost(&bench)];
    bench.take(door(|scanner| scanner.reply = true), whole).await;
    let codes: Vec<_> = bench.rows().await.into_iter().filter(|row| row.kind == Kind::Scan).collect();
    assert_eq!(codes.len(), 1);
    assert_eq!(bench.ledger().await.imbalance(), 0);
}

#[tokio::test]
async fn datagrams_of_two_peers_are_never_glued_to_one_code() {
    let bench = Bench::new();
    let said = |port: u16, bytes: &[u8]| Input::Bytes {
        conn: Conn(1),
        bytes: bytes.to_vec(),
        at: bench.clock.now(),
        peer: Some(([192, 0, 2, 7], port).into()),
        waited: true,
    };
    let inputs = vec![opened(&bench), said(1, b"TRL-"), said(2, b"8\r"), said(2, b"TRL-"), said(2, b"9\r")];
    bench.take(door(|_| ()), inputs).await;
    let codes = bench.rows().await.into_iter().filter_map(|row| row.code).collect::<Vec<_>>();
    assert_eq!(codes, ["8", "TRL-9"]);
    let letters = bench.node.store.read(|reader| reader.letters(true, 10)).await.unwrap();
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "unterminated"));
    assert_eq!(letters[0].peer.as_deref(), Some("192.0.2.7:1"));
}

#[tokio::test]
async fn whoever_knocks_without_end_fills_no_log() {
    let bench = Bench::new();
    let refused = || Input::Refused {
        peer: ([192, 0, 2, 7], 1).into(),
        at: bench.clock.now(),
        why: Reason::NotAllowed,
        text: "not in `allow`",
    };
    bench.take(door(|_| ()), (0..500).map(|_| refused()).collect()).await;
    let log = bench
        .node
        .store
        .read(|reader| {
            reader
                .log(crate::store::Log::Inbound, i64::MAX, 1000, &crate::store::Lines::default())
                .map(|(lines, _)| lines)
        })
        .await
        .unwrap();
    let ledger = bench.ledger().await;
    assert_eq!((log.len(), ledger.letters["open"], ledger.letters["total"]), (1, 10, 500));
    assert_eq!(ledger.imbalance(), 0);
}

/// What the file of the ring holds after the source ended: the lines behind the first, and the bytes in them.
fn captured(bench: &Bench) -> (Vec<String>, String) {
    let text = std::fs::read_to_string(bench.dir.path().join("gps0.ring")).unwrap();
    let lines: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
    let bytes = lines.iter().filter_map(|line| {
        let (_, step): (i64, serde_json::Value) = serde_json::from_str(line).unwrap();
        step.as_str().map(str::to_owned)
    });
    let bytes = bytes.collect();
    (lines, bytes)
}

#[tokio::test]
async fn a_receivers_bytes_are_in_its_capture_as_they_came_also_those_that_nobody_could_read() {
    let bench = Bench::new();
    let mut inputs = vec![opened(&bench)];
    for chunk in [&b"$GPRMC,torn\xb5\x62\"\\"[..], b"$GPGGA,,,,,,0,,,,,,,,*66\r\n"] {
        inputs.push(bench.bytes(chunk));
        bench.clock.advance_ms(100);
    }
    inputs.push(lost(&bench));
    bench.take(gps(), inputs).await;
    let expect =
        [r#"[0,"$GPRMC,torn\\xb5b\"\\\\"]"#, r#"[100,"$GPGGA,,,,,,0,,,,,,,,*66\\r\\n"]"#, r#"[200,{"port":"lost"}]"#];
    assert_eq!(captured(&bench).0, expect);
}

#[tokio::test]
async fn nothing_of_a_driving_licence_is_in_a_capture_however_its_bytes_were_cut() {
    const LICENCE: &[u8] = b"@\n\x1e\rANSI 636026080102DL00410288ZA03290015DLDAQD12345678\nDCSPUBLIC\nDACJOHN\nDAG1 MAIN STREET\nDDEN\rZAZAAN\r";
    let bytes = [b"TRL-7\r", LICENCE, b"TRL-8\r"].concat();
    for size in (1..=16).chain([31, 64, bytes.len()]) {
        let bench = Bench::new();
        let mut inputs = vec![opened(&bench)];
        for chunk in bytes.chunks(size) {
            inputs.push(bench.bytes(chunk));
        }
        bench.clock.advance_ms(6000);
        inputs.push(Input::Quiet { conn: Conn(1), at: bench.clock.now() });
        inputs.push(bench.bytes(b"TRL-9\r"));
        inputs.push(lost(&bench));
        bench.take(door(|_| ()), inputs).await;
        let (lines, kept) = captured(&bench);
        for word in ["ANSI", "D123", "PUBLIC", "JOHN", "MAIN", "DDEN", "ZAZ", "@"] {
            assert!(!lines.concat().contains(word), "{word} with {size} bytes a read: {lines:?}");
        }
        assert!(lines.iter().any(|line| line.contains("left_out")), "{lines:?}");
        assert!(kept.ends_with("TRL-9\\r"), "{size}: {lines:?}");
        // A code whose last byte came together with the mark that begins the licence is left out with it.
        assert_eq!(kept.starts_with("TRL-7\\r"), 5 / size != 7 / size, "{size}: {lines:?}");
    }
}

#[tokio::test]
async fn a_scanner_that_never_ends_a_frame_fills_its_capture_with_what_the_decoder_looked_at_and_no_more() {
    let bench = Bench::new();
    let mut inputs = vec![opened(&bench)];
    for _ in 0..100 {
        inputs.push(bench.bytes(&[b'x'; 4000]));
    }
    inputs.push(bench.bytes(b"\rTRL-7\r"));
    inputs.push(bench.bytes(b"TRL-8\r"));
    inputs.push(lost(&bench));
    bench.take(door(|_| ()), inputs).await;
    let (lines, kept) = captured(&bench);
    assert_eq!(kept.matches('x').count(), crate::decoder::scan::EVIDENCE_MAX);
    assert!(lines.iter().any(|line| line.contains("left_out")) && kept.ends_with("TRL-8\\r"), "{lines:?}");
}

#[tokio::test]
async fn a_keyboards_events_are_captured_once_their_code_is_read_and_decode_to_it_again() {
    let bench = Bench::new();
    let keyboard = door(|scanner| scanner.port = Port::Hid("/dev/input/event7".into()));
    let stroke = |key: u8, value: u8| [1, 0, key, 0, value, 0, 0, 0];
    let mut inputs = vec![opened(&bench)];
    // T, R, L, Enter; then an A that is still open when the scanner goes.
    for key in [20, 19, 38, 28, 30] {
        inputs.push(bench.bytes(&[stroke(key, 1), stroke(key, 0)].concat()));
        bench.clock.advance_ms(20);
    }
    inputs.push(lost(&bench));
    bench.take(keyboard, inputs).await;
    let text = std::fs::read_to_string(bench.dir.path().join("gps0.ring")).unwrap();
    assert_eq!(text.matches("events").count(), 5, "{text}");
    let (mut out, profile) = (Vec::new(), crate::decoder::scan::report::ReportProfile::default());
    crate::decoder::scan::report::report_timed(text.as_bytes(), &mut out, &profile).unwrap();
    let out = String::from_utf8(out).unwrap();
    let codes: Vec<&str> = out.lines().filter_map(|line| line.split("\"data\":\"").nth(1)?.split('"').next()).collect();
    assert_eq!(codes, ["trl", "a"], "{out}");
    assert!(out.contains("unterminated"), "{out}");
}
