//! Lines and letters that leave, and those that stay, with a clock that the tests move.

use std::io::Read as _;

use flate2::read::GzDecoder;

use super::tests::{DAY_MS, Log, alarm, ctx, days, ledger};
use super::*;
use crate::domain::{Kind, Loss, Reason, Stage, TimeQuality};
use crate::store::{Act, Origin, Outbound, Shelf};

async fn write(log: &Log, n: usize) {
    let work = move |txn: &mut Txn<'_>| {
        for nth in 0..n {
            txn.log_inbound("door-3", &format!("opened {nth}"), &format!("{nth}"))?;
            txn.log_outbound(&Outbound { what: "connected", ..Outbound::default() })?;
            txn.log_failure(Stage::Store, &format!("restart {nth}"), "uplink")?;
            txn.audit("uid 0", "place", "TRL-7")?;
        }
        Ok(())
    };
    log.store.submit(Group::Now, work).await.unwrap();
}

async fn park(log: &Log, reason: Reason, n: usize) {
    let origin = Origin { source: "door-3".into(), received: log.clock.now(), ..Origin::default() };
    let work = move |txn: &mut Txn<'_>| {
        (0..n).try_for_each(|_| txn.park(&Loss::decoder(reason, b"\x00?", 256), &origin, None, ""))
    };
    log.store.submit(Group::Now, work).await.unwrap();
}

/// How many rows each shelf holds.
fn counts(log: &Log) -> [i64; 5] {
    let sql = rusqlite::Connection::open(log.store.path()).unwrap();
    ["inbound_log", "outbound_log", "failure_log", "audit", "letters"]
        .map(|table| sql.query_row(&format!("select count(*) from {table}"), [], |row| row.get(0)).unwrap())
}

/// The lines of all archive files of a shelf.
fn archived(log: &Log, shelf: Shelf) -> Vec<serde_json::Value> {
    let folder = archive::folder(log.store.path());
    let mut found = Vec::new();
    for entry in archive::entries(&folder).unwrap().into_iter().filter(|entry| entry.what == shelf.as_str()) {
        let mut text = String::new();
        GzDecoder::new(std::fs::File::open(folder.join(entry.file)).unwrap()).read_to_string(&mut text).unwrap();
        found.extend(text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()));
    }
    found
}

#[tokio::test]
async fn logs_leave_after_their_days_into_the_archive_and_the_audit_after_a_year() {
    let log = Log::open(false);
    let mut retention = log.retention(&days(30, 3650));
    for _ in 0..40 {
        write(&log, 20).await;
        log.pass_after(&mut retention, 1).await.expect("nothing to refuse");
    }
    let [inbound, outbound, failures, audit, _] = counts(&log);
    assert_eq!(
        [inbound, outbound, failures, audit],
        [600 - 20, 30 - 1, 600 - 20, 800],
        "the like of a minute is one line"
    );
    let left = archived(&log, Shelf::Inbound);
    assert_eq!(left.len(), 220);
    assert!(left.iter().map(|line| line["entry"].as_i64().unwrap()).eq(1..=220), "each once, in its order");
    assert_eq!((&left[3]["source"], &left[3]["detail"]), (&"door-3".into(), &"3".into()));
    assert!(archived(&log, Shelf::Audit).is_empty());
    for _ in 0..360 {
        log.pass_after(&mut retention, 1).await.expect("nothing to refuse");
    }
    assert_eq!(counts(&log)[..4], [1, 1, 1, 80], "the newest stays: a number is never given twice");
    write(&log, 1).await;
    let entries = log
        .store
        .read(|reader| {
            reader.log(crate::store::Log::Inbound, i64::MAX, 9, &crate::store::Lines::default()).map(|(lines, _)| lines)
        })
        .await
        .unwrap();
    assert_eq!(entries.iter().map(|entry| entry.entry).collect::<Vec<_>>(), [801, 800]);
}

#[tokio::test]
async fn noise_expires_ended_letters_leave_after_their_time_to_be_restored_and_what_waits_for_a_person_never_ages() {
    let log = Log::open(true);
    let mut retention = log.retention(&days(30, 365));
    park(&log, Reason::BadChecksum, 7).await;
    park(&log, Reason::BadCheck, 5).await;
    let end = |txn: &mut Txn<'_>| {
        let by = Act { who: "uid 7", what: "test", note: "torn" };
        assert_eq!(txn.discard(8, &by)?, None);
        txn.retried(9, &by)
    };
    log.store.submit(Group::Now, end).await.unwrap();
    assert_eq!(log.pass_after(&mut retention, 29).await.unwrap(), Passed::default());
    park(&log, Reason::Noread, 1).await;
    let passed = log.pass_after(&mut retention, 2).await.unwrap();
    assert_eq!((passed.lines, counts(&log)[4]), (9, 4));
    let now = ledger(&log.store).await;
    let states = ["open", "expired", "discarded", "retried", "total"].map(|state| now.letters[state]);
    assert_eq!((states, now.imbalance()), ([4, 7, 1, 1, 13], 0));
    let left = archived(&log, Shelf::Letters);
    let words: Vec<_> =
        left.iter().map(|one| (one["state"].as_str().unwrap(), one["bytes_hex"].as_str().unwrap())).collect();
    assert_eq!(words, [[("expired", "003F"); 7].as_slice(), &[("discarded", "003F"), ("retried", "003F")]].concat());
    log.pass_after(&mut retention, 700).await.unwrap();
    assert_eq!(counts(&log)[4], 4, "a person may still want them");
    assert_eq!(ledger(&log.store).await.letters["open"], 4);
}

#[tokio::test]
async fn a_clock_that_jumps_takes_no_line_and_says_so() {
    let mut log = Log::open(false);
    let mut retention = log.retention(&days(30, 365));
    for _ in 0..10 {
        write(&log, 10).await;
        park(&log, Reason::BadChecksum, 10).await;
        assert_eq!(log.pass_after(&mut retention, 1).await, Some(Passed::default()));
    }
    let right = log.clock.now();
    for years in [20, 1] {
        log.clock.set_wall_ms(right.wall_ms + years * 365 * DAY_MS);
        log.believe_wall();
        retention.keeper = log.keeper.clone();
        let mut restarted = log.retention(&days(30, 365));
        for retention in [&mut retention, &mut restarted] {
            assert_eq!(retention.pass(&ctx(&log.clock)).await, None);
            assert!(alarm(&log.board).is_some_and(|text| text.contains("too old")), "{:?}", alarm(&log.board));
        }
    }
    // The other way round: what is written meanwhile seems old when the clock is right again.
    for wall_ms in [right.wall_ms - 400 * DAY_MS, 5_000] {
        log.clock.set_wall_ms(wall_ms);
        write(&log, 10).await;
        park(&log, Reason::BadChecksum, 10).await;
    }
    log.clock.set_wall_ms(right.wall_ms);
    log.believe_wall();
    let mut restarted = log.retention(&days(30, 365));
    assert_eq!(restarted.pass(&ctx(&log.clock)).await, Some(Passed::default()));
    // Both wrong times were at one moment of the monotonic clock: the like of a minute is one line.
    assert_eq!(counts(&log), [110, 11, 110, 120, 120]);
}

#[tokio::test]
async fn lines_of_a_slow_clock_at_the_beginning_of_a_log_are_as_old_as_the_monotonic_clock_says() {
    let log = Log::open(false);
    let right = log.clock.now();
    log.clock.set_wall_ms(right.wall_ms.max(crate::clock::BUILD_FLOOR_MS + 1));
    write(&log, 10).await;
    log.clock.advance_ms(60_000);
    // It was two years behind, and is put right.
    log.clock.set_wall_ms(right.wall_ms + 730 * DAY_MS);
    write(&log, 100).await;
    let mut retention = log.retention(&days(30, 365));
    log.pass_after(&mut retention, 2).await.unwrap();
    assert_eq!(counts(&log)[0], 110);
}

#[tokio::test]
async fn without_a_time_that_somebody_vouches_for_no_line_leaves() {
    let mut log = Log::open(false);
    write(&log, 10).await;
    log.keeper = Keeper::with_ntp_mark(log.clock.clone(), 0, "/nonexistent/mark".into());
    let mut retention = log.retention(&days(30, 365));
    assert_eq!(log.pass_after(&mut retention, 40).await, None);
    assert!(alarm(&log.board).is_some_and(|text| text.contains("nothing vouches for the time")));
    assert_eq!(counts(&log)[0], 10);
}

#[tokio::test]
async fn a_cut_between_archive_and_removal_of_lines_loses_and_doubles_none() {
    for upto in [0, 300, 1_200] {
        let log = Log::open(false);
        write(&log, 1_300).await;
        let mut retention = log.retention(&days(30, 365));
        log.pass_after(&mut retention, 20).await.unwrap();
        write(&log, 1).await;
        log.clock.advance_ms(20 * DAY_MS);
        let goods = Goods::Rows(Shelf::Inbound, (1..=1_200).collect());
        let epoch = log.store.epoch();
        retention.archived(goods, epoch, log.clock.now().wall_ms).await.unwrap();
        let numbers: Vec<i64> = (1..=upto).collect();
        retention.unshelve(&ctx(&log.clock), Shelf::Inbound, &numbers, &mut Passed::default()).await.unwrap();
        let mut fresh = log.retention(&days(30, 365));
        fresh.pass(&ctx(&log.clock)).await.unwrap();
        let left = archived(&log, Shelf::Inbound);
        assert!(left.iter().map(|line| line["entry"].as_i64().unwrap()).eq(1..=1_300), "{upto}: each once");
        assert_eq!(counts(&log)[0], 1);
        assert_eq!(log.store.read(|reader| reader.archiving()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn runs_and_windows_that_nothing_needs_any_more_go() {
    let mut log = Log::open(false);
    log.append(3, Kind::Scan, TimeQuality::Ntp).await;
    let sql = rusqlite::Connection::open(log.store.path()).unwrap();
    for run in 2..=400 {
        sql.execute("insert into runs values (?1, 1, 'e', 's', 'n', 'v', 0, 0, null)", [run]).unwrap();
    }
    sql.execute("update outbox set run = 7 where seq = 2", []).unwrap();
    sql.execute("insert into windows values ('rfid', 'X', 'X', 1, 1, 5, null), ('door', '', 'Y', 2, 9, 5, null)", [])
        .unwrap();
    let mut retention = log.retention(&days(30, 365));
    log.pass_after(&mut retention, 2).await.unwrap();
    let runs: Vec<i64> = sql
        .prepare("select run from runs order by run")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(runs.iter().copied().eq([1, 7].into_iter().chain(300..=400)), "{runs:?}");
    let windows: i64 = sql.query_row("select count(*) from windows", [], |row| row.get(0)).unwrap();
    assert_eq!(windows, 0);
}
