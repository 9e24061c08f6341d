//! What goes for room and what stays, on real stores: the rest tells the same, and no unsent event is among what went.

use super::*;
use crate::domain::{Kind, Lane, Loss, Reason, Seq, Stage, TimeQuality};
use crate::ingest::history_tests::{Read, take_reads};
use crate::retention::Archived;
use crate::retention::tests::{Log, after, all, archived, assert_rebuilt, ctx, days, ledger, read, yard};
use crate::store::{Acknowledged, Act, Group, Txn};

/// So many bytes of rows.
fn rows(bytes: u64) -> Need {
    Need { archive: 0, rows: bytes }
}

#[tokio::test]
async fn rows_go_oldest_first_into_an_archive_and_the_rest_tells_the_same_places() {
    let (bench, mut retention) = yard(&days(30, 365));
    let store = bench.node.store.clone();
    bench.register("raw:KEEP", "TRL-1");
    let now = bench.clock.now();
    let reads: Vec<Read> = (0..600)
        .map(|n| {
            let code = if n == 0 { "KEEP".to_owned() } else { format!("P-{}", n % 550) };
            let place = if n < 200 { "gate" } else { "hall" };
            read(code, place, after(now, n * 100))
        })
        .collect();
    take_reads(&bench, &reads).await;
    bench.clock.advance_ms(120_000);
    let kept = store.read(|reader| reader.asset("TRL-1")).await.unwrap();
    let before = all(&store).await;
    let used = store.read(|reader| reader.fill()).await.unwrap();
    let cleared = retention.make_room(&ctx(&bench.clock), rows(used.file / 2)).await.expect("nothing to refuse");
    let left = all(&store).await;
    assert!(cleared.passed.events > before.len() / 4 && left.len() + cleared.passed.events == before.len());
    let gone = archived(&store);
    assert_eq!(gone.len(), cleared.passed.events, "each of them stands in an archive");
    assert!(gone.iter().max() < left.last().map(|row| &row.seq.0), "the oldest");
    assert_eq!(store.read(|reader| reader.asset("TRL-1")).await.unwrap(), kept);
    assert_rebuilt(&store).await;
    assert_eq!(ledger(&store).await.imbalance(), 0);
    let fill = store.read(|reader| reader.fill()).await.unwrap();
    assert!(fill.free > used.free + used.file / 5, "{used:?} {fill:?}");
    let failures = |reader: &crate::store::Reader<'_>| {
        reader.log(crate::store::Log::Failures, i64::MAX, 10, &crate::store::Lines::default())
    };
    let (failures, _) = store.read(failures).await.unwrap();
    assert!(failures.iter().any(|line| format!("{line:?}").contains("room")), "{failures:?}");
}

#[tokio::test]
async fn what_is_not_sent_stays_however_much_room_is_wanted() {
    let mut log = Log::open(true);
    log.append(300, Kind::Scan, TimeQuality::Ntp).await;
    let mut retention = log.retention(&days(30, 0));
    let ctx = ctx(&log.clock);
    assert_eq!(retention.make_room(&ctx, rows(1 << 40)).await, Some(Cleared::default()));
    assert_eq!(log.seqs().await.len(), 300);
    // And goes without an archive, only counted, where there is to be none and it is sent.
    let mut local = Log::open(false);
    local.append(300, Kind::Scan, TimeQuality::None).await;
    let mut retention = local.retention(&days(30, 0));
    let cleared = retention.make_room(&ctx, rows(1 << 40)).await.unwrap();
    assert_eq!((cleared.passed.events, cleared.passed.files), (300, 0));
    let counts = ledger(&local.store).await;
    assert_eq!((counts.events["total"], counts.imbalance()), (300, 0));
}

#[tokio::test]
async fn what_was_on_its_way_out_when_an_uplink_came_stays_for_it_and_leaves_once_when_it_is_gone() {
    let mut log = Log::open(false);
    log.append(300, Kind::Scan, TimeQuality::Ntp).await;
    let days = days(30, 365);
    let cut = ctx(&log.clock);
    cut.stop.cancel();
    assert_eq!(log.retention(&days).make_room(&cut, rows(1 << 40)).await, None, "stopped before the first is removed");
    assert_eq!((archived(&log.store).len(), log.seqs().await.len()), (300, 300));
    // Stopped, given a platform, started: what is still in the log is to be sent now.
    log.reopen(true);
    assert_eq!(ledger(&log.store).await.unsent["scan"], 300);
    let ctx = ctx(&log.clock);
    log.retention(&days).make_room(&ctx, rows(1 << 40)).await.unwrap();
    assert_eq!((log.seqs().await.len(), ledger(&log.store).await.unsent["scan"]), (300, 300));
    // And with the platform taken off again nothing counts as unsent for ever, which would hold all else back.
    log.reopen(false);
    let cleared = log.retention(&days).make_room(&ctx, rows(1 << 40)).await.unwrap();
    assert_eq!((cleared.passed.events, log.seqs().await.len()), (300, 0));
    assert_eq!(ledger(&log.store).await.unsent.get("scan").copied().unwrap_or(0), 0);
    let (archived, epoch) = (Archived::of(log.store.path()), log.store.epoch());
    assert_eq!(archived.count(epoch, Seq(1), Seq(300)).unwrap(), 300);
    assert_eq!(archived.after(epoch, Seq(0), Seq(300), 1_000).unwrap().len(), 300);
}

#[tokio::test]
async fn what_was_on_its_way_out_leaves_once_though_an_event_of_another_lane_waits_behind_it() {
    let mut log = Log::open(true);
    log.append(300, Kind::Scan, TimeQuality::Ntp).await;
    let acked = Acknowledged { from: Seq(0), through: Seq(300), sent: 300, unheard: 0 };
    assert!(log.store.submit(Group::Now, move |txn| txn.acknowledge(Lane::Scan, &acked)).await.unwrap());
    let days = days(30, 365);
    let cut = ctx(&log.clock);
    cut.stop.cancel();
    assert_eq!(log.retention(&days).make_room(&cut, rows(1 << 40)).await, None, "stopped before the first is removed");
    // The cursor of its lane stands before all of them.
    log.append(1, Kind::Fix, TimeQuality::Ntp).await;
    log.retention(&days).make_room(&ctx(&log.clock), rows(1 << 40)).await.unwrap();
    assert_eq!((archived(&log.store).len(), log.seqs().await.len()), (300, 1));
}

#[tokio::test]
async fn an_archived_event_that_left_later_than_its_neighbours_is_told_in_its_place() {
    let mut log = Log::open(true);
    let mut retention = log.retention(&days(30, 365));
    let ctx = ctx(&log.clock);
    let act = Act { who: "test", what: "discard", note: "" };
    for at in [0, 100] {
        log.append(100, Kind::Scan, TimeQuality::Ntp).await;
        let work = move |txn: &mut Txn<'_>| {
            let loss = Loss { stage: Stage::Uplink, ..Loss::decoder(Reason::TooLarge, b"", 256) };
            if at == 0 {
                txn.bury(Lane::Scan, Seq(2), &loss, "")?;
            } else {
                txn.discard(1, &act)?;
            }
            let sent = if at == 0 { 99 } else { 100 };
            txn.acknowledge(Lane::Scan, &Acknowledged { from: Seq(at), through: Seq(at + 100), sent, unheard: 0 })
        };
        assert!(log.store.submit(Group::Now, work).await.unwrap());
        retention.make_room(&ctx, rows(1 << 40)).await.unwrap();
    }
    assert_eq!((log.seqs().await.len(), archived(&log.store).len()), (0, 200));
    let (archived, epoch) = (Archived::of(log.store.path()), log.store.epoch());
    let (mut told, mut at) = (Vec::new(), Seq(0));
    while let Some((last, _)) = archived.after(epoch, at, Seq(200), 7).unwrap().last() {
        told.extend(archived.after(epoch, at, Seq(200), 7).unwrap().iter().map(|(seq, _)| seq.0));
        at = *last;
    }
    assert_eq!(told, (1..=200).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_oldest_archives_go_until_it_is_enough_and_what_is_listed_is_there() {
    let mut log = Log::open(false);
    let mut retention = log.retention(&days(30, 365));
    let ctx = ctx(&log.clock);
    for _ in 0..4 {
        log.append(200, Kind::Scan, TimeQuality::Ntp).await;
        retention.make_room(&ctx, rows(1 << 40)).await.unwrap();
    }
    let folder = archive::folder(log.store.path());
    let files = archive::entries(&folder).unwrap();
    assert_eq!(files.len(), 4);
    let first = std::fs::metadata(folder.join(&files[0].file)).unwrap().len();
    let cleared = retention.make_room(&ctx, Need { archive: first + 1, rows: 0 }).await.unwrap();
    assert_eq!(cleared.archive.0, 2);
    let left = archive::entries(&folder).unwrap();
    assert_eq!(left, files[2..]);
    assert!(left.iter().all(|entry| folder.join(&entry.file).exists()));
    assert!(files[..2].iter().all(|entry| !folder.join(&entry.file).exists()));
}
