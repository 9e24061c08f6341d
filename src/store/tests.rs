//! The truth on real files: dense, grouped, counted, and closed to a second writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::domain::{Kind, Loss, Reason, Stage, Stamp, TimeQuality};
use crate::health::{Beat, Ctx};

#[cfg(test)]
#[path = "letters_tests.rs"]
mod letters;

pub(super) struct Bench {
    dir: tempfile::TempDir,
    store: Option<Store>,
    stop: CancellationToken,
    writer: Option<std::thread::JoinHandle<()>>,
    commits: Arc<AtomicUsize>,
}

impl Bench {
    pub(super) fn open(uplink: bool, skip_kept: bool) -> Self {
        Self::open_in(tempfile::tempdir().unwrap(), uplink, skip_kept)
    }

    fn open_in(dir: tempfile::TempDir, uplink: bool, skip_kept: bool) -> Self {
        let clock = Clock::manual(Stamp { mono_us: 1_000, wall_ms: 1_795_169_472_000 });
        let commits = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&commits);
        let who = identity(uplink, skip_kept);
        let (store, seat) = Store::open(dir.path(), &who, &clock, move |_| {
            seen.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        let stop = CancellationToken::new();
        let ctx = Ctx { beat: Beat::new("writer", clock), stop: stop.clone() };
        let writer = Some(std::thread::spawn(move || seat.run(&ctx).unwrap()));
        Self { dir, store: Some(store), stop, writer, commits }
    }

    pub(super) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn halt(&mut self) {
        self.stop.cancel();
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
        self.store = None;
    }

    pub(super) fn reopen(mut self, uplink: bool, skip_kept: bool) -> Self {
        self.halt();
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        Self::open_in(dir, uplink, skip_kept)
    }

    pub(super) async fn append(&self, n: u8, kind: Kind) -> Append {
        let draft = draft(n, kind);
        self.store().submit(Group::Now, move |txn| take(txn, &draft)).await.unwrap()
    }

    async fn ledger(&self) -> Ledger {
        self.store().read(|reader| reader.ledger()).await.unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.halt();
    }
}

pub(super) fn identity(uplink: bool, skip_kept: bool) -> Identity {
    Identity {
        site: "halden".into(),
        node: "wp-07".into(),
        boot_id: "b00t".into(),
        uplink,
        skip_kept,
        machine: Vec::new(),
    }
}

pub(super) fn take(txn: &mut Txn<'_>, draft: &Draft) -> Result<Append> {
    let added = txn.append(draft)?;
    let outcome = if added == Append::Duplicate { Outcome::Duplicate } else { Outcome::Stored };
    txn.frame("door-3", outcome);
    Ok(added)
}

pub(super) fn draft(n: u8, kind: Kind) -> Draft {
    Draft {
        id: crate::domain::EventId([n; 16]),
        kind,
        ts_ms: i64::from(n),
        tq: TimeQuality::Ntp,
        received: Stamp::default(),
        source: Some("door-3".into()),
        asset: None,
        place: None,
        code: None,
        body: "{}".into(),
    }
}

#[tokio::test]
async fn seq_is_dense_and_prev_goes_on_over_a_restart() {
    let bench = Bench::open(false, false);
    for (n, kind) in [(1, Kind::Fix), (2, Kind::Scan), (3, Kind::Fix)] {
        assert_eq!(bench.append(n, kind).await, Append::New(Seq(i64::from(n))));
    }
    assert_eq!(bench.append(2, Kind::Scan).await, Append::Duplicate);
    let epoch = bench.store().epoch();
    let bench = bench.reopen(false, false);
    assert_eq!(bench.append(4, Kind::Scan).await, Append::New(Seq(4)));
    let rows = bench.store().read(|reader| reader.after(Seq(0), 10, &Filter::default())).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.prev.map(|p| p.0)).collect::<Vec<_>>(), [None, None, Some(1), Some(2)]);
    assert!(rows.iter().all(|row| row.epoch == epoch));
    assert_eq!(bench.ledger().await.imbalance(), 0);
}

#[tokio::test]
async fn a_bad_request_in_a_group_harms_nobody_else() {
    let bench = Bench::open(false, false);
    let good = |n| {
        let draft = draft(n, Kind::Scan);
        bench.store().submit(Group::Within(std::time::Duration::from_millis(50)), move |txn| take(txn, &draft))
    };
    let bad = bench.store().submit(Group::Within(std::time::Duration::from_millis(50)), |txn| {
        txn.frame("door-3", Outcome::Stored);
        Err::<(), _>(StoreError::Statement { cause: "on purpose".into() })
    });
    let (first, refused, second) = tokio::join!(good(1), bad, good(2));
    assert!(matches!(refused, Err(StoreError::Statement { .. })));
    assert!(matches!((first, second), (Ok(Append::New(_)), Ok(Append::New(_)))));
    let ledger = bench.ledger().await;
    assert_eq!((ledger.sources["door-3"].frames, ledger.head, ledger.imbalance()), (2, 2, 0));
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_asked_once_for_a_group() {
    let bench = Bench::open(false, false);
    let path = bench.store().path().to_owned();
    let all = (0..20).map(|_| {
        let path = path.clone();
        bench.store().submit(Group::Within(std::time::Duration::from_millis(200)), move |_| {
            Err::<(), _>(StoreError::Full { path: path.clone() })
        })
    });
    let answers = futures_util::future::join_all(all).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(StoreError::Full { .. }))));
    assert!(bench.commits.load(Ordering::Relaxed) < 20, "{:?}", bench.commits);
}

#[tokio::test]
async fn more_requests_than_there_are_places_are_all_carried_out_once() {
    let bench = Bench::open(false, false);
    let all = (0..1000).map(|_| {
        bench.store().submit(Group::Now, |txn| {
            txn.frame("door-3", Outcome::NoFix);
            Ok(())
        })
    });
    assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
    assert_eq!(bench.ledger().await.sources["door-3"].frames, 1000);
}

#[tokio::test]
async fn requests_that_can_wait_share_a_commit() {
    let bench = Bench::open(false, false);
    let all = (1..=20).map(|n| {
        let draft = draft(n, Kind::Fix);
        bench.store().submit(Group::Within(std::time::Duration::from_millis(200)), move |txn| take(txn, &draft))
    });
    assert!(futures_util::future::join_all(all).await.iter().all(|done| matches!(done, Ok(Append::New(_)))));
    assert!(bench.commits.load(Ordering::Relaxed) < 20, "{:?}", bench.commits);
}

#[tokio::test]
async fn acknowledgements_move_the_cursor_once_and_a_stale_report_moves_nothing() {
    let bench = Bench::open(true, false);
    for n in 1..=4 {
        bench.append(n, Kind::Scan).await;
    }
    let report = |from, through, sent| {
        let acked = Acknowledged { from: Seq(from), through: Seq(through), sent, unheard: 0 };
        bench.store().submit(Group::Now, move |txn| txn.acknowledge(Lane::Scan, &acked))
    };
    assert!(report(0, 3, 3).await.unwrap());
    assert!(!report(0, 4, 4).await.unwrap());
    let ledger = bench.ledger().await;
    assert_eq!((ledger.unsent["scan"], ledger.events["sent"], ledger.imbalance()), (1, 3, 0));
    assert_eq!(bench.store().read(|reader| reader.cursor(Lane::Scan)).await.unwrap(), Seq(3));
}

#[tokio::test]
async fn events_are_local_without_an_uplink_and_wait_for_one_that_is_added() {
    let bench = Bench::open(false, false);
    bench.append(1, Kind::Scan).await;
    bench.append(2, Kind::Fix).await;
    assert_eq!(bench.ledger().await.events["local"], 2);
    let bench = bench.reopen(true, false);
    let ledger = bench.ledger().await;
    assert_eq!((ledger.unsent["scan"], ledger.unsent["fix"], ledger.events["local"], ledger.imbalance()), (1, 1, 0, 0));
    let bench = bench.reopen(false, false);
    assert_eq!(bench.ledger().await.events["local"], 2);
    let bench = bench.reopen(true, true);
    let ledger = bench.ledger().await;
    assert_eq!((ledger.events["local"], ledger.events["unsent"], ledger.imbalance()), (2, 0, 0));
}

#[tokio::test]
async fn a_dead_event_lets_the_cursor_pass_and_is_a_letter() {
    let bench = Bench::open(true, false);
    bench.append(1, Kind::Scan).await;
    let buried = bench.store().submit(Group::Now, |txn| {
        let mut loss = Loss::decoder(Reason::TooLarge, b"{}", 4096);
        loss.stage = Stage::Uplink;
        txn.bury(Lane::Scan, Seq(1), &loss, "9000 bytes")?;
        let acked = Acknowledged { from: Seq(0), through: Seq(1), sent: 0, unheard: 0 };
        txn.acknowledge(Lane::Scan, &acked)
    });
    assert!(buried.await.unwrap());
    let ledger = bench.ledger().await;
    assert_eq!(
        (ledger.events["dead"], ledger.events["unsent"], ledger.letters["open"], ledger.imbalance()),
        (1, 0, 1, 0)
    );
}

#[tokio::test]
async fn noise_beyond_what_a_person_can_read_is_counted_and_a_decoded_scan_is_kept() {
    let bench = Bench::open(false, false);
    let parked = bench.store().submit(Group::Now, |txn| {
        let origin = Origin { source: "door-3".into(), peer: None, received: txn.now() };
        for _ in 0..OPEN_MAX + 5 {
            txn.park(&Loss::decoder(Reason::BadChecksum, b"$GP", 256), &origin, None, "")?;
        }
        let mut scan = Loss::decoder(Reason::UnknownTag, b"TRL-7", 4096);
        scan.stage = Stage::Store;
        txn.park(&scan, &origin, None, "")
    });
    parked.await.unwrap();
    let ledger = bench.ledger().await;
    assert_eq!((ledger.letters["open"], ledger.letters["sampled"], ledger.imbalance()), (OPEN_MAX + 1, 5, 0));
}

#[tokio::test]
async fn the_newest_trusted_time_of_the_log_is_known_after_a_restart() {
    let bench = Bench::open(false, false);
    assert_eq!(bench.store().newest_trusted_ms(), 0);
    let events = [(1, 5_000, TimeQuality::Gnss, "{}"), (2, 4_000, TimeQuality::Ntp, "{}")];
    let wrong = [(3, 9_000, TimeQuality::Rtc, "{}"), (4, 8_000, TimeQuality::Gnss, r#"{"doubt":["future"]}"#)];
    for (n, ts_ms, tq, body) in events.into_iter().chain(wrong) {
        let draft = Draft { ts_ms, tq, body: body.into(), ..draft(n, Kind::Fix) };
        bench.store().submit(Group::Now, move |txn| take(txn, &draft)).await.unwrap();
    }
    assert_eq!(bench.reopen(false, false).store().newest_trusted_ms(), 5_000);
}

#[tokio::test]
async fn a_flood_of_garbage_fills_the_desk_and_takes_no_letter_from_what_decoded() {
    let bench = Bench::open(true, false);
    bench.append(1, Kind::Scan).await;
    let flood = bench.store().submit(Group::Now, |txn| {
        let origin = Origin { source: "door-3".into(), ..Origin::default() };
        let mut loss = Loss::decoder(Reason::NonAscii, b"\xff", 16);
        for _ in 0..OPEN_MAX + 7 {
            txn.park(&loss, &origin, None, "")?;
        }
        (loss.stage, loss.reason) = (Stage::Store, Reason::UnknownTag);
        txn.park(&loss, &origin, None, "")?;
        (loss.stage, loss.reason) = (Stage::Uplink, Reason::TooLarge);
        txn.bury(Lane::Scan, Seq(1), &loss, "")
    });
    flood.await.unwrap();
    let ledger = bench.ledger().await;
    assert_eq!((ledger.letters["open"], ledger.letters["sampled"], ledger.imbalance()), (OPEN_MAX + 2, 7, 0));
    assert_eq!(bench.store().read(|reader| reader.dead(10)).await.unwrap(), [(Seq(1), Reason::TooLarge)]);
}

#[tokio::test]
async fn nothing_is_acknowledged_into_a_file_that_was_deleted_and_it_goes_on_when_it_is_back() {
    let bench = Bench::open(false, false);
    bench.append(1, Kind::Scan).await;
    for name in ["waypost.db", "waypost.db-wal", "waypost.lock"] {
        let (path, aside) = (bench.dir.path().join(name), bench.dir.path().join("aside"));
        std::fs::rename(&path, &aside).unwrap();
        let refused = bench.store().submit(Group::Now, |txn| txn.boot()).await;
        assert!(matches!(&refused, Err(error @ StoreError::Moved { .. }) if error.may_pass()), "{name}: {refused:?}");
        std::fs::rename(&aside, &path).unwrap();
        assert!(bench.store().submit(Group::Now, |txn| txn.boot()).await.is_ok(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_while_somebody_else_holds_the_lock_is_told_within_a_second_or_two_and_waits_while_the_store_is_settled()
 {
    let bench = Bench::open(false, false);
    bench.append(1, Kind::Scan).await;
    let other = Connection::open(bench.store().path()).unwrap();
    other.execute_batch("begin immediate").unwrap();
    for _ in 0..3 {
        let begun = Instant::now();
        let refused = bench.store().submit(Group::Now, |txn| txn.boot()).await;
        assert!(matches!(refused, Err(StoreError::Disk { .. })), "{refused:?}");
        // Each try is 0.4 s; a machine that does much else at once gets some more.
        assert!(begun.elapsed() < std::time::Duration::from_secs(3), "{:?}", begun.elapsed());
    }
    other.execute_batch("rollback").unwrap();
    assert!(bench.store().submit(Group::Now, |txn| txn.boot()).await.is_ok());
    // What the process itself does beside the writer takes its time, and nobody is refused for it.
    let mut tasks = tokio::task::JoinSet::new();
    {
        let _held = bench.store().settling.lock().unwrap();
        other.execute_batch("begin immediate").unwrap();
        let asked = bench.store().clone();
        let task = tasks.spawn(async move { asked.submit(Group::Now, |txn| txn.boot()).await });
        let waited = Instant::now();
        while waited.elapsed() < std::time::Duration::from_secs(1) {
            assert!(!task.is_finished());
            std::thread::yield_now();
        }
        other.execute_batch("rollback").unwrap();
    }
    assert!(tasks.join_next().await.unwrap().unwrap().is_ok());
}

#[test]
fn a_second_instance_is_refused_by_name() {
    let bench = Bench::open(false, false);
    let clock = Clock::system();
    let Err(error) = Store::open(bench.dir.path(), &identity(false, false), &clock, |_| ()) else {
        panic!("opened twice")
    };
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert!(matches!(Closed::open(bench.dir.path()), Err(StoreError::Locked { .. })));
}

#[tokio::test]
async fn counts_that_somebody_changed_are_set_right_and_each_kind_goes_on_behind_its_newest() {
    let mut bench = Bench::open(false, false);
    for (n, kind) in [(1, Kind::Fix), (2, Kind::Scan), (3, Kind::Fix)] {
        bench.append(n, kind).await;
    }
    bench.halt();
    let conn = Connection::open(bench.dir.path().join("waypost.db")).unwrap();
    conn.execute("update ledger set n = n + 5 where scope = 'events' and outcome = 'local'", []).unwrap();
    conn.execute("delete from ledger where scope = 'head' and outcome = 'scan'", []).unwrap();
    drop(conn);
    let bench = bench.reopen(false, false);
    assert_eq!(bench.ledger().await.imbalance(), 0);
    bench.append(4, Kind::Scan).await;
    bench.append(5, Kind::Fix).await;
    let rows = bench.store().read(|reader| reader.after(Seq(3), 10, &Filter::default())).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.prev.map(|p| p.0)).collect::<Vec<_>>(), [Some(2), Some(3)]);
}

#[tokio::test]
async fn the_write_ahead_log_is_copied_back_again_and_again_and_stays_as_long_as_it_may_be() {
    let mut bench = Bench::open(false, false);
    let wal = bench.dir.path().join("waypost.db-wal");
    let length = || std::fs::metadata(&wal).unwrap().len();
    let limit = u64::try_from(schema::WAL_PAGES).unwrap() * u64::from(schema::PAGE);
    // Three times as much as it may hold, in commits of a tenth of that.
    for n in 0..30 {
        let text = "x".repeat(usize::try_from(limit / 10).unwrap());
        let work = move |txn: &mut Txn<'_>| {
            txn.sql
                .execute("insert into meta values (?1, ?2)", (n.to_string(), &text))
                .map(|_| ())
                .map_err(|e| txn.err(&e))
        };
        bench.store().submit(Group::Now, work).await.unwrap();
        assert!(length() < limit * 3 / 2, "{} bytes after {n}", length());
    }
    // The last that was copied is in the database alone, whatever becomes of the log.
    bench.halt();
    assert!(std::fs::metadata(bench.dir.path().join("waypost.db")).unwrap().len() > limit * 2);
}

#[tokio::test]
async fn a_page_looks_at_a_bounded_stretch_and_says_where_it_ended() {
    let bench = Bench::open(false, false);
    for n in 1..=9 {
        bench.append(n, if n == 9 { Kind::Scan } else { Kind::Fix }).await;
    }
    let page = bench.store().read(|reader| reader.lane_after(Lane::Scan, Seq(0), 5)).await.unwrap();
    assert_eq!((page.rows.len(), page.seen, page.more), (1, Seq(9), false));
    let page = bench.store().read(|reader| reader.lane_after(Lane::Fix, Seq(0), 5)).await.unwrap();
    assert_eq!((page.rows.len(), page.seen, page.more), (5, Seq(5), true));
    let page = bench.store().read(|reader| reader.before(Seq(10), 3, &Filter::default())).await.unwrap();
    assert_eq!(page.rows.iter().map(|row| row.seq.0).collect::<Vec<_>>(), [9, 8, 7]);
    assert!(page.more);
}

#[tokio::test]
async fn a_store_that_nobody_runs_can_be_looked_at() {
    let mut bench = Bench::open(false, false);
    bench.append(1, Kind::Scan).await;
    bench.halt();
    let closed = Closed::open(bench.dir.path()).unwrap();
    assert_eq!(closed.read(|reader| reader.ledger()).unwrap().head, 1);
}

#[tokio::test]
async fn a_row_that_changed_by_itself_is_told_to_nobody_and_named_by_a_look_at_the_digests() {
    let bench = Bench::open(true, false);
    for n in 1..=9 {
        bench.append(n, if n % 2 == 0 { Kind::Fix } else { Kind::Scan }).await;
    }
    let sql = rusqlite::Connection::open(bench.store().path()).unwrap();
    for (seq, change) in [
        (1, "ts_ms = 2"),
        (2, "body = cast(x'7bff7d' as text)"),
        (3, "kind = 7"),
        (4, "run = 99"),
        (5, "prev = null"),
        (6, "asset = ''"),
        (7, "digest = digest + 1"),
        (8, "id = zeroblob(16)"),
    ] {
        sql.execute(&format!("update outbox set {change} where seq = {seq}"), []).unwrap();
    }
    sql.execute("update outbox set repeats = 5 where seq = 9", []).unwrap();
    let seqs = |page: Page| {
        let of = |one: &Damaged| one.seq.0;
        (page.rows.iter().map(|row| row.seq.0).collect::<Vec<_>>(), page.damaged.iter().map(of).collect::<Vec<_>>())
    };
    let read = |limit| bench.store().read_here(|reader| reader.after(Seq(0), limit, &Filter::default())).unwrap();
    assert_eq!(seqs(read(20)), (vec![9], (1..=8).collect()));
    assert_eq!((read(3).seen, read(3).more), (Seq(3), true), "a page of damaged rows is a full page");
    let back = bench.store().read_here(|reader| reader.before(Seq(9), 3, &Filter::default())).unwrap();
    assert_eq!((back.seen, seqs(back).1), (Seq(6), vec![8, 7, 6]));
    let lanes =
        Lane::ALL.map(|lane| seqs(bench.store().read_here(|reader| reader.lane_after(lane, Seq(0), 20)).unwrap()));
    assert_eq!(lanes, [(vec![9], vec![1, 3, 5, 7]), (vec![], vec![2, 4, 6, 8])]);
    let verified = bench.store().read_here(|reader| reader.verify(Seq(0), 20)).unwrap();
    assert_eq!((verified.rows, verified.damaged.len(), verified.more), (9, 8, false));
    assert_eq!(bench.store().read_here(|reader| reader.event(crate::domain::EventId([1; 16]))).unwrap(), None);
}

#[tokio::test]
async fn a_run_that_did_not_end_cleanly_is_told_at_the_next_start_and_one_that_did_is_not() {
    let told = |bench: &Bench| {
        let lines =
            bench.store().read_here(|reader| reader.log(Log::Failures, i64::MAX, 9, &Lines::default())).unwrap().0;
        let cut_off = lines.into_iter().filter(|line| line.what == "unclean_stop").map(|line| line.detail);
        cut_off.collect::<Vec<String>>()
    };
    let bench = Bench::open(false, false);
    bench.append(1, Kind::Scan).await;
    assert!(told(&bench).is_empty(), "a fresh store");
    let mut bench = bench.reopen(false, false);
    assert!(told(&bench).is_empty(), "after a clean stop");
    bench.append(2, Kind::Scan).await;
    bench.halt();
    // As a kill leaves it.
    let conn = rusqlite::Connection::open(bench.dir.path().join("waypost.db")).unwrap();
    conn.execute("update runs set stopped = null where run = (select max(run) from runs)", []).unwrap();
    drop(conn);
    let bench = bench.reopen(false, false);
    let cut_off = told(&bench);
    assert_eq!(cut_off.len(), 1, "{cut_off:?}");
    let text = &cut_off[0];
    assert!(text.starts_with("the node ended without a clean stop at about 2"), "{text}");
    assert!(text.ends_with("killed, or its power was cut"), "{text}");
    assert_eq!(told(&bench.reopen(false, false)).len(), 1, "it is told once");
}
