//! What is purged is nowhere: not in the log, not in what was derived, not in letters, archives or freed pages; and all counts stay.

use std::path::Path;

use super::purge::{Phase, Purge, PurgeError};
use super::tests::{DAY_MS, Log, after, all, assert_rebuilt, ctx, days, ledger, read, yard};
use super::*;
use crate::domain::{Kind, Lane, Loss, Reason, Stage, TimeQuality};
use crate::ingest::history_tests::take_reads;
use crate::ingest::tests::Bench;
use crate::store::{Acknowledged, Append, Draft, Origin, Outcome};

async fn to_its_end(store: &Store, mut purge: Purge) -> Purge {
    while !purge.is_done() {
        purge = purge.step(store, "test").await.unwrap();
    }
    purge
}

/// The files of the store that quote something: bytes as they lie on the disk, archives unpacked.
fn quoting(dir: &Path, what: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            if entry.path().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let mut bytes = std::fs::read(entry.path()).unwrap();
            if entry.path().extension().is_some_and(|end| end == "gz") {
                let mut plain = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes.as_slice()), &mut plain).unwrap();
                bytes = plain;
            }
            let hex: String = what.bytes().map(|byte| format!("{byte:02X}")).collect();
            let quotes = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
            if quotes(what) || quotes(&hex) {
                found.push(entry.file_name().into_string().unwrap());
            }
        }
    }
    found
}

/// Forty days of two things, one of which is in the register, with letters that quote them; some of it in the archive.
async fn filled() -> (Bench, Retention) {
    let (bench, mut retention) = yard(&days(30, 365));
    bench.register("raw:SECRET-77", "TRL-77-OF-ANNA");
    let clock = bench.clock.clone();
    for day in 0..40_i64 {
        clock.advance_ms(DAY_MS);
        let now = clock.now();
        let place = ["gate", "dock-3"][usize::try_from(day % 2).unwrap()];
        let reads: Vec<_> = (0..8)
            .flat_map(|n| {
                ["SECRET-77", "OTHER-1"]
                    .map(|code| read(code, if n % 2 == 0 { place } else { "hall" }, after(now, n * 60_000)))
            })
            .collect();
        take_reads(&bench, &reads).await;
        let origin = Origin { source: "door-3".into(), received: now, ..Origin::default() };
        let park = move |txn: &mut Txn<'_>| {
            for code in ["SECRET-77", "OTHER-1"] {
                txn.park(&Loss::decoder(Reason::BadCheck, code.as_bytes(), 4096), &origin, None, "")?;
                txn.park(&Loss::decoder(Reason::BadChecksum, code.as_bytes(), 256), &origin, None, "")?;
            }
            Ok(())
        };
        bench.node.store.submit(Group::Now, park).await.unwrap();
        retention.pass(&ctx(&clock)).await.unwrap();
    }
    (bench, retention)
}

fn of(asset: &str) -> Purge {
    Purge { asset: Some(asset.into()), ..Purge::default() }
}

#[tokio::test]
async fn an_asset_that_was_purged_is_in_no_file_any_more_and_every_count_stays() {
    let (bench, mut retention) = filled().await;
    let store = bench.node.store.clone();
    let dir = store.path().parent().unwrap().to_owned();
    let before = ledger(&store).await;
    let other =
        store.read(|reader| Ok((reader.asset("raw:OTHER-1")?, reader.turns("raw:OTHER-1", 99)?))).await.unwrap();
    assert!(quoting(&dir, "SECRET-77").len() > 10, "{:?}", quoting(&dir, "SECRET-77"));
    let done = to_its_end(&store, of("raw:SECRET-77")).await;
    assert!(done.events > 100 && done.archived > 50 && done.letters > 40, "{done:?}");
    // The register stays, and with it the database knows the key; nothing else does.
    let sql = rusqlite::Connection::open(store.path()).unwrap();
    sql.execute_batch("pragma secure_delete = on; delete from asset_keys; delete from assets; delete from audit; pragma wal_checkpoint(truncate);")
        .unwrap();
    drop(sql);
    for text in ["SECRET-77", "TRL-77-OF-ANNA"] {
        assert_eq!(quoting(&dir, text), [""; 0], "{text}");
    }
    assert!(quoting(&dir, "OTHER-1").len() > 10);
    let now = ledger(&store).await;
    assert_eq!((&now.events, now.letters["total"], now.imbalance()), (&before.events, before.letters["total"], 0));
    assert!(all(&store).await.iter().all(|row| row.asset.as_deref() == Some("raw:OTHER-1")));
    let left = store.read(|reader| Ok((reader.asset("raw:OTHER-1")?, reader.turns("raw:OTHER-1", 99)?))).await.unwrap();
    assert_eq!(left, other);
    assert_eq!(assert_rebuilt(&store).await, 1);
    // What comes afterwards is a new beginning, and retention goes on over the gaps.
    take_reads(&bench, &[read("SECRET-77", "gate", bench.clock.now())]).await;
    for _ in 0..40 {
        bench.clock.advance_ms(DAY_MS);
        retention.trust.look(&retention.keeper);
    }
    retention.pass(&ctx(&bench.clock)).await.unwrap();
    ledger(&store).await;
    let gaps: i64 = rusqlite::Connection::open(store.path())
        .unwrap()
        .query_row("select count(*) from purged", [], |row| row.get(0))
        .unwrap();
    assert_eq!(gaps, 0, "behind the log no gap needs a name");
}

#[tokio::test]
async fn a_purge_that_is_broken_off_at_any_step_is_gone_on_with_by_asking_again() {
    let mut steps = 1;
    loop {
        let (bench, _) = filled().await;
        let store = bench.node.store.clone();
        let dir = store.path().parent().unwrap().to_owned();
        let mut purge = of("TRL-77-OF-ANNA");
        for _ in 0..steps {
            purge = purge.step(&store, "test").await.unwrap();
        }
        let broken_off_in = purge.phase;
        ledger(&store).await;
        if purge.is_done() {
            assert!(matches!(of("nobody").step(&store, "test").await, Err(PurgeError::Unknown(_))));
            return;
        }
        let done = to_its_end(&store, of("TRL-77-OF-ANNA")).await;
        assert!(!done.sources.is_empty(), "{broken_off_in:?}: its captures are known again");
        ledger(&store).await;
        assert_rebuilt(&store).await;
        assert!(
            !quoting(&dir.join("archive"), "SECRET-77").iter().any(|file| file.ends_with("gz")),
            "{broken_off_in:?}"
        );
        assert!(all(&store).await.iter().all(|row| row.asset.as_deref() == Some("raw:OTHER-1")));
        let noted = store.read(|reader| reader.purging()).await.unwrap();
        assert_eq!(noted, None);
        steps += if broken_off_in == Phase::Archive { 9 } else { 1 };
    }
}

#[tokio::test]
async fn what_happened_before_a_day_is_gone_for_all_and_the_places_are_what_the_rest_tells() {
    let (bench, _) = filled().await;
    let store = bench.node.store.clone();
    let before_ms = bench.clock.now().wall_ms - 5 * DAY_MS;
    let done = to_its_end(&store, Purge { before_ms: Some(before_ms), ..Purge::default() }).await;
    assert!(done.events > 500 && done.archived > 100, "{done:?}");
    assert!(all(&store).await.iter().all(|row| row.ts_ms >= before_ms));
    assert_rebuilt(&store).await;
    ledger(&store).await;
    let sql = rusqlite::Connection::open(store.path()).unwrap();
    for (table, at) in [("said", "order_ms"), ("turns", "since_ms"), ("letters", "received_ms")] {
        let old: i64 = sql
            .query_row(&format!("select count(*) from {table} where {at} < ?1 and {at} > 0"), [before_ms], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(old, 0, "{table}");
    }
    assert!(store.read(|reader| reader.asset("TRL-77-OF-ANNA")).await.unwrap().is_some(), "it is still seen");
    let again = to_its_end(&store, Purge { before_ms: Some(before_ms), ..Purge::default() }).await;
    assert_eq!((again.events, again.archived, again.letters), (0, 0, 0));
}

fn draft(n: u32, asset: &str, log: &Log) -> Draft {
    let mut id = [0; 16];
    id[12..].copy_from_slice(&n.to_be_bytes());
    let received = log.clock.now();
    Draft {
        id: crate::domain::EventId(id),
        kind: Kind::Scan,
        ts_ms: received.wall_ms,
        tq: TimeQuality::Ntp,
        received,
        source: Some("door-3".into()),
        asset: Some(asset.into()),
        place: None,
        code: None,
        body: "{}".into(),
    }
}

#[tokio::test]
async fn what_waits_for_the_platform_stays_unless_it_is_asked_for_and_then_counts_as_discarded() {
    let log = Log::open(true);
    for n in 0..20 {
        let draft = draft(n, ["A-1", "B-1"][usize::from(n % 2 == 1)], &log);
        let work = move |txn: &mut Txn<'_>| {
            assert!(matches!(txn.append(&draft)?, Append::New(_)));
            txn.frame("door-3", Outcome::Stored);
            Ok(())
        };
        log.store.submit(Group::Now, work).await.unwrap();
    }
    let acked = Acknowledged { from: Seq(0), through: Seq(10), sent: 9, unheard: 0 };
    let bury = move |txn: &mut Txn<'_>| {
        let loss = Loss { stage: Stage::Uplink, ..Loss::decoder(Reason::TooLarge, b"", 256) };
        txn.bury(Lane::Scan, Seq(3), &loss, "")?;
        txn.acknowledge(Lane::Scan, &acked)
    };
    log.store.submit(Group::Now, bury).await.unwrap();
    let done = to_its_end(&log.store, of("A-1")).await;
    assert_eq!((done.events, done.waiting, done.discarded), (5, 5, 0));
    let now = ledger(&log.store).await;
    let stands = |now: &crate::store::Ledger| {
        ["unsent", "sent", "dead", "discarded"].map(|stand| now.events.get(stand).copied().unwrap_or(0))
    };
    assert_eq!((stands(&now), now.imbalance()), ([10, 9, 0, 1], 0), "the dead one went with its letter");
    let done = to_its_end(&log.store, Purge { unsent: true, ..of("A-1") }).await;
    assert_eq!((done.events, done.waiting, done.discarded), (5, 0, 5));
    let now = ledger(&log.store).await;
    assert_eq!((stands(&now), now.imbalance()), ([5, 9, 0, 6], 0));
}

#[tokio::test]
async fn a_refused_event_that_is_being_sent_again_waits_like_any_other() {
    let log = Log::open(true);
    for n in 0..4 {
        let draft = draft(n, "A-1", &log);
        let work = move |txn: &mut Txn<'_>| {
            assert!(matches!(txn.append(&draft)?, Append::New(_)));
            txn.frame("door-3", Outcome::Stored);
            Ok(())
        };
        log.store.submit(Group::Now, work).await.unwrap();
    }
    let acked = Acknowledged { from: Seq(0), through: Seq(4), sent: 3, unheard: 0 };
    let again = move |txn: &mut Txn<'_>| {
        let loss = Loss { stage: Stage::Uplink, ..Loss::decoder(Reason::TooLarge, b"", 256) };
        txn.bury(Lane::Scan, Seq(2), &loss, "")?;
        txn.acknowledge(Lane::Scan, &acked)?;
        assert_eq!(txn.resend(1, &crate::store::Act { who: "test", what: "retry", note: "" })?, None);
        Ok(())
    };
    log.store.submit(Group::Now, again).await.unwrap();
    let done = to_its_end(&log.store, of("A-1")).await;
    assert_eq!((done.events, done.waiting, done.discarded), (3, 1, 0));
    let stands = |now: &crate::store::Ledger| {
        ["unsent", "sent", "dead", "discarded"].map(|stand| now.events.get(stand).copied().unwrap_or(0))
    };
    let now = ledger(&log.store).await;
    assert_eq!((stands(&now), now.imbalance()), ([1, 3, 0, 0], 0));
    let done = to_its_end(&log.store, Purge { unsent: true, ..of("A-1") }).await;
    assert_eq!((done.events, done.waiting, done.discarded), (1, 0, 1));
    let now = ledger(&log.store).await;
    assert_eq!((stands(&now), now.imbalance()), ([0, 3, 0, 1], 0));
}

#[tokio::test]
async fn a_purge_waits_for_nobody_and_retention_lets_it_end_first() {
    let (bench, mut retention) = filled().await;
    let store = bench.node.store.clone();
    let turn = store.turn().lock().await;
    bench.clock.advance_ms(2 * DAY_MS);
    assert_eq!(retention.pass(&ctx(&bench.clock)).await, Some(Passed::default()));
    tokio::time::pause();
    assert!(matches!(of("raw:OTHER-1").step(&store, "test").await, Err(PurgeError::Busy)));
    drop(turn);
}

#[tokio::test]
async fn a_rebuild_that_a_person_asks_for_is_no_work_beside_a_purge_whose_rows_it_would_write_back() {
    let (bench, _) = filled().await;
    let store = bench.node.store.clone();
    let chore = || bench.node.board.begin(crate::health::chore::REBUILD, &bench.clock).unwrap();
    let turn = store.turn().lock().await;
    tokio::time::pause();
    let asked = rebuild(&store, true, "test", chore()).await;
    assert!(matches!(asked, Err(RebuildError::Busy(_))), "{asked:?}");
    drop(turn);
    tokio::time::resume();
    assert_eq!(rebuild(&store, true, "test", chore()).await.unwrap().different, []);
}
