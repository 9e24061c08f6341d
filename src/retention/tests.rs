//! What leaves, what stays, and that the rest still tells the same: on real stores, with a clock that the tests move.

use std::collections::BTreeSet;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::{BUILD_FLOOR_MS, Clock};
use crate::domain::{EventId, Kind, Lane, Loss, Reason, Row, Stage, Stamp, TimeQuality};
use crate::health::{Beat, Chore};
use crate::ingest::history_tests::{self, MORNING_MS, Read, drive_in, take_reads};
use crate::ingest::tests::Bench;
use crate::plan::Plan;
use crate::store::{
    Acknowledged, Append, Draft, Identity, Ledger, Outcome, WriterSeat, assert_recounted, written_bytes,
};

pub(super) const DAY_MS: i64 = 86_400_000;
pub(super) const START_MS: UnixMs = BUILD_FLOOR_MS + 10 * DAY_MS;

fn full() -> bool {
    std::env::var("WAYPOST_FAULTS").is_ok_and(|size| size == "full")
}

pub(super) fn days(retention: u32, archive: u32) -> config::Store {
    config::Store { retention_days: retention, archive_days: archive, ..config::Store::default() }
}

pub(super) fn retention(store: &Store, board: &Board, keeper: &Keeper, days: &config::Store) -> Retention {
    let moved = BTreeSet::from(["TRK-07".to_owned()]);
    let mut retention = Retention::new(store.clone(), board.clone(), keeper.clone(), days, moved, needs());
    retention.pause = Duration::ZERO;
    retention
}

/// Nothing has to go for room.
fn needs() -> watch::Receiver<room::Need> {
    watch::channel(room::Need::default()).1
}

pub(super) fn ctx(clock: &Clock) -> Ctx {
    Ctx { beat: Beat::new("retention", clock.clone()), stop: CancellationToken::new() }
}

pub(super) fn yard(days: &config::Store) -> (Bench, Retention) {
    let bench = Bench::trusted_on(Plan::empty(), &["gps0"], START_MS);
    let retention = retention(&bench.node.store, &bench.node.board, &bench.node.keeper, days);
    (bench, retention)
}

pub(super) fn read(code: impl Into<String>, place: &str, at: Stamp) -> Read {
    (code.into(), place.into(), at, TimeQuality::Ntp)
}

pub(super) fn after(stamp: Stamp, ms: i64) -> Stamp {
    Stamp { mono_us: stamp.mono_us + ms * 1000, wall_ms: stamp.wall_ms + ms }
}

pub(super) async fn all(store: &Store) -> Vec<Row> {
    let (mut rows, mut at): (Vec<Row>, _) = (Vec::new(), Seq(0));
    loop {
        let page = store.read(move |reader| reader.after(at, 5_000, &Filter::default())).await.unwrap();
        at = page.seen;
        rows.extend(page.rows);
        if !page.more {
            return rows;
        }
    }
}

fn chore() -> Chore {
    Board::default().begin(chore::REBUILD, &Clock::system()).unwrap()
}

/// What a rebuild finds.
pub(super) async fn assert_rebuilt(store: &Store) -> usize {
    let report = rebuild(store, false, "test", chore()).await.unwrap();
    assert_eq!(report.different, []);
    report.assets
}

/// The ledger, to which a recount of the rows must come.
pub(super) async fn ledger(store: &Store) -> Ledger {
    assert_recounted(store);
    store.read(|reader| reader.ledger()).await.unwrap()
}

/// The seqs in the archive, file after file, each as its manifest lists it.
pub(super) fn archived(store: &Store) -> Vec<i64> {
    let folder = archive::folder(store.path());
    let mut found = Vec::new();
    for entry in archive::entries(&folder).unwrap() {
        let numbers = archive::numbers(&folder, &entry.file).unwrap().expect("the file is as it was listed");
        assert_eq!(numbers.len(), entry.count);
        if entry.what == "events" {
            found.extend(numbers);
        }
    }
    found
}

pub(super) fn alarm(board: &Board) -> Option<String> {
    match board.get("alarm", ALARM) {
        Some(crate::health::State::Alarm(alarm)) => Some(alarm.text),
        _ => None,
    }
}

#[tokio::test]
async fn a_registered_asset_seen_once_keeps_its_place_through_sixty_days_of_other_traffic() {
    let (bench, mut retention) = yard(&days(30, 365));
    let (clock, store) = (bench.clock.clone(), bench.node.store.clone());
    bench.register("raw:KEEP", "TRL-1");
    bench.register("raw:TWICE", "TRL-2");
    let now = clock.now();
    let early = [("KEEP", "dock-3", 0), ("TWICE", "gate", 1_000), ("TWICE", "bay", 2_000), ("TWICE", "bay", 3_000)];
    take_reads(&bench, &early.map(|(code, place, ms)| read(code, place, after(now, ms)))).await;
    let kept = store.read(|reader| reader.asset("TRL-1")).await.unwrap().unwrap();
    let twice = store.read(|reader| reader.asset("TRL-2")).await.unwrap().unwrap();
    let a_day = if full() { 2_000 } else { 120 };
    let mut left = 0;
    for day in 0..60 {
        clock.advance_ms(DAY_MS);
        let now = clock.now();
        let reads: Vec<Read> = (0..a_day)
            .map(|n| {
                read(
                    format!("P-{day}-{}", n % (a_day / 2)),
                    ["gate", "hall"][usize::from(n < a_day / 2)],
                    after(now, n * 10),
                )
            })
            .collect();
        take_reads(&bench, &reads).await;
        let before = assert_rebuilt(&store).await;
        let passed = retention.pass(&ctx(&clock)).await.expect("nothing to refuse");
        let assets = assert_rebuilt(&store).await;
        assert_eq!(before - passed.assets, assets);
        left += passed.events;
        let counts = ledger(&store).await;
        assert_eq!(counts.imbalance(), 0);
        assert_eq!(usize::try_from(counts.events["total"]).unwrap(), left + all(&store).await.len());
    }
    assert!(left > 25 * usize::try_from(a_day).unwrap(), "{left}");
    assert_eq!(store.read(|reader| reader.asset("TRL-1")).await.unwrap(), Some(kept.clone()));
    let now = store.read(|reader| reader.asset("TRL-2")).await.unwrap().unwrap();
    assert_eq!((now.place, now.since_ms), (Some("bay".into()), twice.since_ms));
    assert_eq!(twice.since_ms, Some(START_MS + 2_000), "since it came, not since it was read again");
    // The events that they rest on are there by their names, and the log begins after them.
    let row = store.read(move |reader| reader.event(kept.id)).await.unwrap().unwrap();
    let oldest = store.read(|reader| reader.oldest()).await.unwrap();
    assert!(row.seq < oldest);
    let behind: Vec<Row> = all(&store).await.into_iter().filter(|row| row.seq < oldest).collect();
    let held: Vec<&str> = behind.iter().filter_map(|row| row.asset.as_deref()).collect();
    assert_eq!(
        held,
        ["TRL-1", "TRL-1", "TRL-2", "TRL-2", "TRL-2"],
        "scan and enter; the cause, its enter, the last scan"
    );
    // Each event is in the log or in the archive, and in one of them only.
    let mut seqs = archived(&store);
    seqs.extend(all(&store).await.iter().map(|row| row.seq.0));
    seqs.sort_unstable();
    assert!(seqs.iter().copied().eq(1..=ledger(&store).await.head));
}

#[tokio::test]
async fn codes_that_nobody_registered_leave_the_tables_with_their_last_events() {
    let (bench, mut retention) = yard(&days(30, 0));
    let (clock, store) = (bench.clock.clone(), bench.node.store.clone());
    bench.register("raw:KEEP", "TRL-1");
    let codes = if full() { 100_000 } else { 4_000 };
    let now = clock.now();
    let mut reads: Vec<Read> = (0..codes).map(|n| read(format!("X-{n}"), "gate", after(now, n))).collect();
    reads.push(read("KEEP", "gate", after(now, codes)));
    take_reads(&bench, &reads).await;
    clock.advance_ms(29 * DAY_MS);
    let again = clock.now();
    take_reads(&bench, &[read("X-7", "hall", again)]).await;
    retention.pass(&ctx(&clock)).await.unwrap();
    assert_eq!(assert_rebuilt(&store).await, usize::try_from(codes).unwrap() + 1);
    clock.advance_ms(2 * DAY_MS);
    retention.trust.look(&retention.keeper);
    retention.pause = PAUSE;
    let (begun, written, wide) = (Instant::now(), written_bytes().unwrap_or(0), ctx(&clock));
    let passing = async {
        let passed = retention.pass(&wide).await.unwrap();
        wide.stop.cancel();
        passed
    };
    let (passed, mut waits) = tokio::join!(passing, waits_for_the_writer(&store, &wide.stop));
    waits.sort_unstable();
    let (median, p99) = (waits[waits.len() / 2], waits[waits.len() * 99 / 100]);
    eprintln!(
        "{} events and {} assets left in {:?}, {} bytes written; others waited {median:?}, p99 {p99:?} for {} commits",
        passed.events,
        passed.assets,
        begun.elapsed(),
        written_bytes().unwrap_or(0) - written,
        waits.len(),
    );
    assert!(p99 < Duration::from_millis(500), "a pass holds up a scan: {p99:?}");
    assert_eq!(passed.assets, usize::try_from(codes).unwrap() - 1);
    assert_eq!(assert_rebuilt(&store).await, 2);
    let count = |table: &str| -> i64 {
        let sql = rusqlite::Connection::open(store.path()).unwrap();
        sql.query_row(&format!("select count(*) from {table}"), [], |row| row.get(0)).unwrap()
    };
    // X-7 at the gate and in the hall: what it was before is kept while it is there. TRL-1 was said and turned once.
    assert_eq!(["places", "said", "base"].map(count), [2, 3, 2]);
    assert_eq!(passed.files, 0, "no archive was asked for");
    assert!(!archive::folder(store.path()).exists());
    clock.advance_ms(30 * DAY_MS);
    retention.pass(&ctx(&clock)).await.unwrap();
    assert_eq!(["places", "said", "base"].map(count), [1, 1, 1]);
    assert_rebuilt(&store).await;
}

/// How long others wait for a commit, one after the other, until the word to stop.
async fn waits_for_the_writer(store: &Store, stop: &CancellationToken) -> Vec<Duration> {
    let mut waits = Vec::new();
    while !stop.is_cancelled() {
        let begun = Instant::now();
        store.submit(Group::Now, |txn| txn.log_inbound("door-3", "opened", "")).await.unwrap();
        waits.push(begun.elapsed());
        tokio::task::yield_now().await;
    }
    waits
}

#[tokio::test]
async fn an_event_from_before_the_history_that_is_kept_is_simply_late() {
    let (bench, mut retention) = yard(&days(30, 365));
    let (clock, store) = (bench.clock.clone(), bench.node.store.clone());
    bench.register("raw:T", "TRL-1");
    let start = clock.now();
    for (day, place) in [(0, "gate"), (1, "dock"), (2, "bay"), (40, "hall"), (41, "gate")] {
        clock.advance_ms(START_MS + day * DAY_MS - clock.now().wall_ms);
        take_reads(&bench, &[read("T", place, clock.now())]).await;
        retention.pass(&ctx(&clock)).await.unwrap();
    }
    clock.advance_ms(DAY_MS);
    retention.pass(&ctx(&clock)).await.unwrap();
    let before = store.read(|reader| Ok((reader.asset("TRL-1")?, reader.turns("TRL-1", 100)?))).await.unwrap();
    let places: Vec<&str> = before.1.iter().map(|told| told.turn.place.as_str()).collect();
    assert_eq!(
        places,
        ["gate", "hall", "hall", "bay", "bay"],
        "newest first; how it was before is the last that is kept"
    );
    let head = ledger(&store).await.head;
    take_reads(&bench, &[read("T", "hall", after(start, DAY_MS + 5_000))]).await;
    let now = store.read(|reader| Ok((reader.asset("TRL-1")?, reader.turns("TRL-1", 100)?))).await.unwrap();
    assert_eq!(now.1, before.1);
    assert_eq!(now.0.unwrap().place, before.0.unwrap().place);
    assert_eq!(ledger(&store).await.head, head + 1, "it is kept and sent, and nothing follows from it");
    // One that is late and not older than that is told into the history.
    take_reads(&bench, &[read("T", "dock", after(start, 40 * DAY_MS + 5_000))]).await;
    assert_eq!(ledger(&store).await.head, head + 6, "exit, enter dock, and what follows until it agrees again");
    assert_rebuilt(&store).await;
}

/// The node, with an uplink or without.
fn who(uplink: bool) -> Identity {
    Identity {
        site: "halden".into(),
        node: "wp-07".into(),
        boot_id: "b00t".into(),
        uplink,
        skip_kept: false,
        machine: Vec::new(),
    }
}

/// A bare store, for what is not about places.
pub(super) struct Log {
    dir: tempfile::TempDir,
    pub(super) clock: Clock,
    pub(super) board: Board,
    pub(super) keeper: Keeper,
    pub(super) store: Store,
    stop: CancellationToken,
    writer: Option<std::thread::JoinHandle<()>>,
    n: u32,
}

impl Log {
    pub(super) fn open(uplink: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Stamp { mono_us: 1_000_000, wall_ms: START_MS });
        let who = who(uplink);
        let (store, seat) = Store::open(dir.path(), &who, &clock, |_| ()).unwrap();
        let stop = CancellationToken::new();
        let writer = Some(run_writer(seat, &clock, &stop));
        let keeper = Keeper::with_ntp_mark(clock.clone(), 0, dir.path().to_owned());
        Self { dir, clock, board: Board::default(), keeper, store, stop, writer, n: 0 }
    }

    /// NTP vouches for the wall clock as it is now.
    pub(super) fn believe_wall(&mut self) {
        self.keeper = Keeper::with_ntp_mark(self.clock.clone(), 0, self.dir.path().to_owned());
    }

    /// The node is stopped and started again, with an uplink or without.
    pub(super) fn reopen(&mut self, uplink: bool) {
        self.stop.cancel();
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
        let elsewhere = tempfile::tempdir().unwrap();
        let who = who(uplink);
        // Its own store is let go of first: it has a lock.
        self.store = Store::open(elsewhere.path(), &who, &self.clock, |_| ()).unwrap().0;
        let (store, seat) = Store::open(self.dir.path(), &who, &self.clock, |_| ()).unwrap();
        self.stop = CancellationToken::new();
        self.writer = Some(run_writer(seat, &self.clock, &self.stop));
        self.store = store;
    }

    pub(super) fn retention(&self, days: &config::Store) -> Retention {
        retention(&self.store, &self.board, &self.keeper, days)
    }

    /// Appends so many events, a second apart, received with this trust in the time.
    pub(super) async fn append(&mut self, n: u32, kind: Kind, tq: TimeQuality) {
        let drafts: Vec<Draft> = (self.n..self.n + n)
            .map(|n| {
                let received = after(self.clock.now(), i64::from(n - self.n) * 1_000);
                let mut id = [0; 16];
                id[12..].copy_from_slice(&n.to_be_bytes());
                Draft {
                    id: EventId(id),
                    kind,
                    ts_ms: received.wall_ms,
                    tq,
                    received,
                    source: Some("door-3".into()),
                    asset: None,
                    place: None,
                    code: None,
                    body: "{}".into(),
                }
            })
            .collect();
        self.n += n;
        let work = move |txn: &mut Txn<'_>| {
            drafts.iter().try_for_each(|draft| {
                assert!(matches!(txn.append(draft)?, Append::New(_)));
                txn.frame("door-3", Outcome::Stored);
                Ok(())
            })
        };
        self.store.submit(Group::Now, work).await.unwrap();
    }

    pub(super) async fn seqs(&self) -> Vec<i64> {
        all(&self.store).await.iter().map(|row| row.seq.0).collect()
    }

    /// A day a step, so that the time is seen to go on.
    pub(super) async fn pass_after(&self, retention: &mut Retention, days: i64) -> Option<Passed> {
        for _ in 0..days {
            self.clock.advance_ms(DAY_MS);
            retention.trust.look(&self.keeper);
        }
        retention.pass(&ctx(&self.clock)).await
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
    }
}

fn run_writer(seat: WriterSeat, clock: &Clock, stop: &CancellationToken) -> std::thread::JoinHandle<()> {
    let ctx = Ctx { beat: Beat::new("writer", clock.clone()), stop: stop.clone() };
    std::thread::spawn(move || seat.run(&ctx).unwrap())
}

#[tokio::test]
async fn what_is_not_sent_stays_whatever_its_age_and_leaves_when_it_is() {
    let mut log = Log::open(true);
    log.append(10, Kind::Scan, TimeQuality::Ntp).await;
    log.append(10, Kind::Fix, TimeQuality::Ntp).await;
    let mut retention = log.retention(&days(30, 365));
    assert_eq!(log.pass_after(&mut retention, 60).await, Some(Passed::default()));
    assert_eq!(log.seqs().await.len(), 20);
    let acked = Acknowledged { from: Seq(0), through: Seq(10), sent: 10, unheard: 0 };
    log.store.submit(Group::Now, move |txn| txn.acknowledge(Lane::Scan, &acked)).await.unwrap();
    assert_eq!(log.pass_after(&mut retention, 1).await, Some(Passed::default()), "a fix may lie before any scan");
    let acked = Acknowledged { from: Seq(0), through: Seq(15), sent: 5, unheard: 0 };
    log.store.submit(Group::Now, move |txn| txn.acknowledge(Lane::Fix, &acked)).await.unwrap();
    let passed = log.pass_after(&mut retention, 1).await.unwrap();
    assert_eq!((passed.events, log.seqs().await), (15, (16..=20).collect()));
    assert_eq!(ledger(&log.store).await.events["sent"], 15);
    assert_eq!(ledger(&log.store).await.imbalance(), 0);
}

#[tokio::test]
async fn a_dead_event_stays_while_its_letter_is_open_and_leaves_with_the_next_pass_after() {
    let mut log = Log::open(true);
    log.append(5, Kind::Scan, TimeQuality::Ntp).await;
    let acked = Acknowledged { from: Seq(0), through: Seq(5), sent: 4, unheard: 0 };
    let bury = move |txn: &mut Txn<'_>| {
        let loss = Loss { stage: Stage::Uplink, ..Loss::decoder(Reason::TooLarge, b"", 256) };
        txn.bury(Lane::Scan, Seq(3), &loss, "")?;
        txn.acknowledge(Lane::Scan, &acked)
    };
    log.store.submit(Group::Now, bury).await.unwrap();
    let mut retention = log.retention(&days(30, 365));
    assert_eq!(log.pass_after(&mut retention, 40).await.unwrap().events, 4);
    assert_eq!((log.seqs().await, archived(&log.store)), (vec![3], vec![1, 2, 4, 5]));
    let sql = rusqlite::Connection::open(log.store.path()).unwrap();
    sql.execute("update letters set state = 'discarded'", []).unwrap();
    assert_eq!(log.pass_after(&mut retention, 1).await.unwrap().events, 1);
    assert_eq!((log.seqs().await, archived(&log.store)), (vec![], vec![1, 2, 4, 5, 3]));
    log.append(1, Kind::Scan, TimeQuality::Ntp).await;
    assert_eq!(log.seqs().await, [6], "a seq is never used again");
}

#[tokio::test]
async fn an_event_that_changed_on_the_disk_stays_with_a_letter_and_is_named_in_the_manifest_when_that_is_ended() {
    let mut log = Log::open(false);
    log.append(5, Kind::Scan, TimeQuality::Ntp).await;
    let sql = rusqlite::Connection::open(log.store.path()).unwrap();
    sql.execute("update outbox set body = '{!' where seq = 3", []).unwrap();
    let mut retention = log.retention(&days(30, 365));
    assert_eq!(log.pass_after(&mut retention, 40).await.unwrap().events, 4);
    assert_eq!(log.pass_after(&mut retention, 1).await, Some(Passed::default()), "it is told of once");
    let letters = log.store.read(|reader| reader.letters(false, 9)).await.unwrap();
    let told: Vec<_> = letters.iter().map(|one| (one.reason.as_str(), one.seq, one.bytes.as_slice())).collect();
    assert_eq!(told, [("digest_mismatch", Some(3), &b"{!"[..])]);
    assert_eq!(log.store.read(|reader| reader.verify(Seq(0), 9)).await.unwrap().rows, 1);
    sql.execute("update letters set state = 'discarded'", []).unwrap();
    assert_eq!(log.pass_after(&mut retention, 1).await.unwrap().events, 1);
    assert_eq!(log.store.read(|reader| reader.verify(Seq(0), 9)).await.unwrap().rows, 0);
    let entries = archive::entries(&archive::folder(log.store.path())).unwrap();
    let named: Vec<_> = entries.iter().map(|entry| (entry.count, entry.damaged.clone())).collect();
    assert_eq!(named, [(4, vec![]), (0, vec![3])]);
}

#[tokio::test]
async fn a_pass_without_a_time_that_somebody_vouches_for_removes_nothing_and_says_so() {
    let mut log = Log::open(false);
    log.append(10, Kind::Scan, TimeQuality::Ntp).await;
    log.keeper = Keeper::with_ntp_mark(log.clock.clone(), 0, "/nonexistent/mark".into());
    let mut retention = log.retention(&days(30, 365));
    assert_eq!(log.pass_after(&mut retention, 20).await, Some(Passed::default()), "nothing is old: nothing to be said");
    assert_eq!(log.pass_after(&mut retention, 20).await, None);
    assert!(alarm(&log.board).is_some_and(|text| text.contains("nothing vouches for the time")));
    assert_eq!(log.seqs().await.len(), 10);
    log.keeper = Keeper::with_ntp_mark(log.clock.clone(), 0, log.dir.path().to_owned());
    retention.keeper = log.keeper.clone();
    assert_eq!(log.pass_after(&mut retention, 2).await.unwrap().events, 10);
    assert_eq!(alarm(&log.board), None);
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_removes_nothing_until_it_has_stood_for_a_day() {
    let mut log = Log::open(false);
    let mut retention = log.retention(&days(30, 365));
    for _ in 0..10 {
        log.append(10, Kind::Scan, TimeQuality::Ntp).await;
        assert_eq!(log.pass_after(&mut retention, 1).await, Some(Passed::default()));
    }
    let right = log.clock.now();
    log.clock.set_wall_ms(right.wall_ms + 20 * 365 * DAY_MS);
    assert_eq!(retention.pass(&ctx(&log.clock)).await, Some(Passed::default()), "NTP has not said so");
    log.believe_wall();
    retention.keeper = log.keeper.clone();
    log.append(1, Kind::Scan, TimeQuality::Ntp).await;
    assert_eq!(retention.pass(&ctx(&log.clock)).await, None);
    assert!(alarm(&log.board).is_some_and(|text| text.contains("stepped")), "{:?}", alarm(&log.board));
    // The node is started anew: the step is forgotten, the share is not.
    let mut restarted = log.retention(&days(30, 365));
    assert_eq!(restarted.pass(&ctx(&log.clock)).await, None);
    assert!(alarm(&log.board).is_some_and(|text| text.contains("100 of 101")), "{:?}", alarm(&log.board));
    assert_eq!(log.seqs().await.len(), 101);
    log.clock.set_wall_ms(right.wall_ms);
    log.believe_wall();
    restarted.keeper = log.keeper.clone();
    assert_eq!(restarted.pass(&ctx(&log.clock)).await, Some(Passed::default()));
    assert_eq!(alarm(&log.board), None);
}

#[tokio::test]
async fn a_wall_clock_that_is_set_about_removes_nothing_whoever_knows_the_time() {
    for who in ["nobody", "ntp", "gnss"] {
        let mut log = Log::open(false);
        if who != "ntp" {
            log.keeper = Keeper::with_ntp_mark(log.clock.clone(), 0, "/nonexistent/mark".into());
        }
        for second in 0..10 {
            if who == "gnss" {
                log.keeper.hear("gps0", START_MS + second * 1_000, log.clock.now());
            }
            log.clock.advance_ms(1_000);
        }
        let mut retention = log.retention(&days(30, 365));
        let tq = log.keeper.time_of(log.clock.now()).1;
        log.append(100, Kind::Scan, tq).await;
        for by_ms in [20 * 365 * DAY_MS, -3_600_000, 1024 * 7 * DAY_MS, -56 * 365 * DAY_MS] {
            log.clock.set_wall_ms(log.clock.now().wall_ms + by_ms);
            log.append(10, Kind::Scan, log.keeper.time_of(log.clock.now()).1).await;
            log.pass_after(&mut retention, 2).await;
        }
        assert_eq!(log.seqs().await, (1..=140).collect::<Vec<_>>(), "{who}");
        assert_eq!(archived(&log.store), Vec::<i64>::new(), "{who}");
    }
}

#[tokio::test]
async fn days_made_fewer_take_effect_at_once_for_the_log_bears_witness_to_the_time() {
    let mut log = Log::open(false);
    for _ in 0..20 {
        log.append(10, Kind::Scan, TimeQuality::Ntp).await;
        log.clock.advance_ms(DAY_MS);
    }
    let mut retention = log.retention(&days(7, 365));
    assert_eq!(
        retention.pass(&ctx(&log.clock)).await.unwrap().events,
        131,
        "the first of the day seven days ago is as old"
    );
}

#[tokio::test]
async fn a_receipt_by_a_wrong_clock_neither_leaves_early_nor_stands_in_the_way() {
    let mut log = Log::open(false);
    log.append(2, Kind::Scan, TimeQuality::Ntp).await;
    // Back in 1970 for a while, and once in 2050: nobody vouched for either.
    let now = log.clock.now();
    for wall_ms in [5_000, now.wall_ms + 24 * 365 * DAY_MS] {
        log.clock.set_wall_ms(wall_ms);
        log.append(2, Kind::Scan, TimeQuality::None).await;
    }
    log.clock.set_wall_ms(now.wall_ms);
    let mut retention = log.retention(&days(30, 365));
    log.pass_after(&mut retention, 10).await.unwrap();
    log.append(2, Kind::Scan, TimeQuality::Ntp).await;
    assert_eq!(log.pass_after(&mut retention, 25).await.unwrap().events, 2, "the wrong ones may be of yesterday");
    log.append(1, Kind::Scan, TimeQuality::Ntp).await;
    assert_eq!(log.pass_after(&mut retention, 10).await.unwrap().events, 6, "what came after them is old");
    assert_eq!(log.seqs().await, [9]);
}

/// As a power cut between two steps leaves it: the steps before are done, and a fresh worker begins.
#[tokio::test]
async fn a_cut_between_archive_and_removal_loses_and_doubles_nothing() {
    for cut in ["writing", "written", "removing", "some removed", "all removed"] {
        let mut log = Log::open(false);
        log.append(1_200, Kind::Scan, TimeQuality::Ntp).await;
        let mut retention = log.retention(&days(30, 365));
        for _ in 0..32 {
            log.clock.advance_ms(DAY_MS);
            retention.trust.look(&log.keeper);
        }
        let goods = Goods::Events((1..=1_200).collect());
        let file = goods.name(log.store.epoch()).unwrap();
        let folder = archive::folder(log.store.path());
        retention.note(filing::State::Writing, &file).await.unwrap();
        if cut == "writing" {
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join(format!("{file}.tmp")), b"half of it").unwrap();
        } else {
            let (folder, file) = (folder.clone(), file.clone());
            log.store
                .read(move |reader| archive::write(&folder, &file, reader, &goods, START_MS))
                .await
                .unwrap()
                .unwrap();
        }
        let upto = match cut {
            "some removed" => 700,
            "all removed" => 1_200,
            _ => 0,
        };
        if !cut.starts_with("writ") {
            retention.note(filing::State::Removing, &file).await.unwrap();
            let seqs = (1..=upto).map(Seq).collect();
            retention.remove(&ctx(&log.clock), Seq(0), Seq(upto), seqs, &mut Passed::default()).await.unwrap();
        }
        // More is due by now than when the file was begun.
        log.append(5, Kind::Scan, TimeQuality::Ntp).await;
        let passed = log.pass_after(&mut retention, 40).await.unwrap();
        assert_eq!(passed.events, 1_205 - usize::try_from(upto).unwrap(), "{cut}");
        assert!(archived(&log.store).into_iter().eq(1..=1_205), "{cut}: each once, in its order");
        assert_eq!(log.seqs().await, [0_i64; 0], "{cut}");
        let files: Vec<String> = names(&folder);
        assert!(files.iter().all(|name| !name.ends_with(".tmp")), "{cut}: {files:?}");
        assert_eq!(log.store.read(|reader| reader.archiving()).await.unwrap(), None);
    }
}

pub(super) fn names(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn without_its_archive_nothing_leaves() {
    let mut log = Log::open(false);
    log.append(10, Kind::Scan, TimeQuality::Ntp).await;
    let folder = archive::folder(log.store.path());
    std::fs::write(&folder, b"a file where the folder should be").unwrap();
    let mut retention = log.retention(&days(30, 365));
    assert_eq!(log.pass_after(&mut retention, 40).await, None);
    assert!(alarm(&log.board).is_some_and(|text| text.contains("cannot be written")), "{:?}", alarm(&log.board));
    assert_eq!(log.seqs().await.len(), 10);
    std::fs::remove_file(&folder).unwrap();
    assert_eq!(log.pass_after(&mut retention, 1).await.unwrap().events, 10);
    assert_eq!(alarm(&log.board), None);
}

#[tokio::test]
async fn an_archive_leaves_after_its_days_and_what_is_not_ours_stays() {
    let mut log = Log::open(false);
    let mut retention = log.retention(&days(30, 100));
    for _ in 0..3 {
        log.append(10, Kind::Scan, TimeQuality::Ntp).await;
        log.pass_after(&mut retention, 40).await.unwrap();
    }
    let folder = archive::folder(log.store.path());
    std::fs::write(folder.join("notes.txt"), b"mine").unwrap();
    assert_eq!(archive::entries(&folder).unwrap().len(), 3);
    let passed = log.pass_after(&mut retention, 30).await.unwrap();
    assert_eq!((passed.expired, archived(&log.store)), (1, (11..=30).collect()));
    assert!(folder.join("notes.txt").exists());
}

#[tokio::test]
async fn an_archive_that_was_damaged_is_not_what_was_listed() {
    let mut log = Log::open(false);
    log.append(10, Kind::Scan, TimeQuality::Ntp).await;
    let mut retention = log.retention(&days(30, 100));
    log.pass_after(&mut retention, 40).await.unwrap();
    let folder = archive::folder(log.store.path());
    let entry = archive::entries(&folder).unwrap().remove(0);
    let whole = std::fs::read(folder.join(&entry.file)).unwrap();
    assert_eq!(blake3::hash(&whole).to_hex().as_str(), entry.blake3);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        std::fs::write(folder.join(&entry.file), &bytes).unwrap();
        assert!(!matches!(archive::numbers(&folder, &entry.file), Ok(Some(_))), "byte {at}");
    }
}

#[tokio::test]
async fn a_cursor_behind_the_log_is_gone_and_pages_step_over_what_has_left() {
    let (bench, mut retention) = yard(&days(30, 0));
    let (clock, store) = (bench.clock.clone(), bench.node.store.clone());
    bench.register("raw:KEEP", "TRL-1");
    let now = clock.now();
    let mut reads = vec![read("KEEP", "dock", now)];
    reads.extend(
        (0..15_000)
            .map(|n| read(format!("X-{}", n % 50), ["a", "b"][usize::try_from(n / 50 % 2).unwrap()], after(now, n))),
    );
    take_reads(&bench, &reads).await;
    clock.advance_ms(31 * DAY_MS);
    retention.trust.look(&retention.keeper);
    let at = clock.now();
    take_reads(&bench, &(0..5).map(|n| read("Y", "gate", after(at, n))).collect::<Vec<_>>()).await;
    clock.advance_ms(DAY_MS);
    retention.pass(&ctx(&clock)).await.unwrap();
    let head = ledger(&store).await.head;
    let oldest = store.read(|reader| reader.oldest()).await.unwrap();
    assert_eq!(oldest, Seq(head - 5), "five reads and an enter");
    assert!(oldest > Seq(crate::store::SCAN_MAX), "more has left than one look goes over");
    let (page, back) = store
        .read(move |reader| {
            Ok((reader.after(Seq(2), 100, &Filter::default())?, reader.before(oldest, 100, &Filter::default())?))
        })
        .await
        .unwrap();
    assert_eq!((page.rows.len(), page.more), (6, false));
    let lane = store.read(|reader| reader.lane_after(Lane::Scan, Seq(2), 100)).await.unwrap();
    assert_eq!((lane.rows.len(), lane.more), (6, false));
    assert_eq!((back.rows.len(), back.more), (2, false), "what TRL-1 rests on is behind it");
}

#[tokio::test]
async fn a_rebuild_finds_what_differs_and_sets_it_right() {
    let (bench, mut retention) = yard(&days(30, 365));
    let (clock, store) = (bench.clock.clone(), bench.node.store.clone());
    bench.register("raw:A", "TRL-1");
    take_reads(&bench, &[read("A", "dock", clock.now())]).await;
    clock.advance_ms(31 * DAY_MS);
    retention.trust.look(&retention.keeper);
    take_reads(&bench, &[read("B", "gate", clock.now()), read("C", "gate", clock.now())]).await;
    clock.advance_ms(DAY_MS);
    retention.pass(&ctx(&clock)).await.unwrap();
    assert_eq!(assert_rebuilt(&store).await, 3);
    let told = store.read(|reader| reader.assets(10)).await.unwrap();
    let sql = rusqlite::Connection::open(store.path()).unwrap();
    sql.execute("update places set place = 'moon' where asset = 'TRL-1'", []).unwrap();
    sql.execute("delete from places where asset = 'raw:B'", []).unwrap();
    sql.execute("insert into places (asset, id, seq, ts_ms, tq, boot, mono_ms) values ('ghost', zeroblob(16), 0, 0, 'none', 1, 0)", [])
        .unwrap();
    let found = rebuild(&store, false, "test", chore()).await.unwrap();
    let names: Vec<&str> = found.different.iter().map(|one| one.asset.as_str()).collect();
    assert_eq!((names, found.assets), (vec!["TRL-1", "ghost", "raw:B"], 4), "{found:?}");
    assert_eq!(found.written, 0);
    let mended = rebuild(&store, true, "test", chore()).await.unwrap();
    assert_eq!(mended.written, found.n_different);
    assert_eq!(assert_rebuilt(&store).await, 3);
    let now = store.read(|reader| reader.assets(10)).await.unwrap();
    let places = |assets: &[crate::domain::AssetState]| -> BTreeSet<_> {
        assets.iter().map(|state| (state.asset.clone(), state.place.clone(), state.since_ms, state.id)).collect()
    };
    assert_eq!(places(&now.0), places(&told.0));
    let log = store
        .read(|reader| {
            reader
                .log(crate::store::Log::Failures, i64::MAX, 10, &crate::store::Lines::default())
                .map(|(lines, _)| lines)
        })
        .await
        .unwrap();
    assert_eq!((log[0].what.as_str(), log[0].detail.contains("test")), ("rebuild", true));
}

/// The same numbers on every machine.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, n: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % n
    }
}

#[tokio::test]
async fn a_truck_that_comes_and_goes_for_days_is_told_the_same_before_and_after_each_pass() {
    let bench = Bench::trusted_on(history_tests::yard(), &["gps0"], MORNING_MS);
    let (clock, store) = (bench.clock.clone(), bench.node.store.clone());
    let mut retention = retention(&store, &bench.node.board, &bench.node.keeper, &days(3, 30));
    let mut dice = Dice(5);
    let mut left = 0;
    for day in 0..if full() { 40 } else { 10 } {
        clock.advance_ms(MORNING_MS + day * DAY_MS - clock.now().wall_ms);
        let way: Vec<_> = (0..80).map(|s: i32| (i64::from(s), f64::from(s) * 6.0 + f64::from(s % 3), 6.0)).collect();
        let mut way: Vec<_> = way.into_iter().map(|(s, north, speed)| (s + day * 86_400, north, speed)).collect();
        // Each other day it comes in pieces, the later first; now and then something from before what is kept.
        if day % 2 == 1 {
            way.rotate_left(30 + usize::try_from(dice.roll(20)).unwrap());
        }
        if day > 6 {
            way.push(((day - 5) * 86_400 + 500, 300.0, 0.0));
        }
        drive_in(&bench, &way).await;
        assert_rebuilt(&store).await;
        let passed = retention.pass(&ctx(&clock)).await.expect("nothing to refuse");
        left += passed.events;
        assert_rebuilt(&store).await;
        assert_eq!(ledger(&store).await.imbalance(), 0);
    }
    assert!(left > 300, "{left}");
    let truck = store.read(|reader| reader.asset("TRK-07")).await.unwrap().unwrap();
    assert!(truck.place.is_some() && truck.position.is_some(), "{truck:?}");
    let sql = rusqlite::Connection::open(store.path()).unwrap();
    for table in ["fences", "turns", "said"] {
        let n: i64 = sql.query_row(&format!("select count(*) from {table}"), [], |row| row.get(0)).unwrap();
        assert!((1..120).contains(&n), "{n} {table} of four days at most");
    }
}

#[tokio::test]
async fn whatever_comes_in_and_whenever_passes_run_the_rest_tells_the_same_places() {
    for seed in 0..if full() { 60 } else { 6 } {
        let mut dice = Dice(seed);
        let (bench, mut retention) = yard(&days(3, 30));
        let (clock, store) = (bench.clock.clone(), bench.node.store.clone());
        for n in 0..4 {
            bench.register(&format!("raw:C-{n}"), &format!("TRL-{n}"));
        }
        let start = clock.now();
        for _ in 0..60 {
            clock.advance_ms(dice.roll(8) * 3_600_000);
            let now = clock.now();
            let reads: Vec<Read> = (0..dice.roll(30))
                .map(|n| {
                    // Some are retried with their own time, some came while nobody knew the time.
                    let age_ms = if dice.roll(5) == 0 {
                        dice.roll((now.wall_ms - start.wall_ms).min(6 * DAY_MS) + 1)
                    } else {
                        0
                    };
                    let tq = [TimeQuality::Ntp, TimeQuality::Gnss, TimeQuality::Rtc]
                        [usize::try_from((dice.roll(12) - 9).max(0)).unwrap()];
                    let at = after(now, n - age_ms);
                    (format!("C-{}", dice.roll(9)), format!("place-{}", dice.roll(3)), at, tq)
                })
                .collect();
            take_reads(&bench, &reads).await;
            if dice.roll(3) == 0 {
                retention.trust.look(&retention.keeper);
                retention.pass(&ctx(&clock)).await;
                assert_rebuilt(&store).await;
                assert_eq!(ledger(&store).await.imbalance(), 0);
            }
        }
        assert_rebuilt(&store).await;
        let mut seqs = archived(&store);
        assert!(seqs.len() > 100, "{}", seqs.len());
        seqs.extend(all(&store).await.iter().map(|row| row.seq.0));
        seqs.sort_unstable();
        assert!(seqs.iter().copied().eq(1..=ledger(&store).await.head), "each event is in the log or the archive");
    }
}
