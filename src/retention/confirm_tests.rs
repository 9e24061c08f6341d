//! What the centre has not confirmed, on real stores: it stays as what is not sent does, and leaves as soon as it is confirmed.

use super::tests::{Log, ctx, days, ledger};
use super::*;
use crate::domain::{Kind, Lane, TimeQuality};
use crate::store::{Acknowledged, Confirmed};

/// So many scans that the broker has taken.
async fn sent(n: i64) -> Log {
    let mut log = Log::open(true);
    log.append(u32::try_from(n).unwrap(), Kind::Scan, TimeQuality::Ntp).await;
    let acked = Acknowledged { from: Seq(0), through: Seq(n), sent: n, unheard: 0 };
    log.store.submit(Group::Now, move |txn| txn.acknowledge(Lane::Scan, &acked)).await.unwrap();
    log
}

async fn confirm(log: &Log, through: i64) -> Confirmed {
    log.store.submit(Group::Now, move |txn| txn.confirm(Seq(through))).await.unwrap()
}

fn told(log: &Log) -> bool {
    log.board.since(0).iter().any(|posted| posted.key == UNCONFIRMED && posted.state.is_some())
}

#[tokio::test]
async fn what_is_sent_and_not_confirmed_stays_whatever_its_age_and_says_so() {
    let log = sent(20).await;
    let mut retention = log.retention(&days(30, 365)).confirmed(true);
    assert_eq!(log.pass_after(&mut retention, 60).await, Some(Passed::default()));
    assert!(log.seqs().await.len() == 20 && told(&log));
    assert_eq!(confirm(&log, 12).await, Confirmed::More(12));
    assert_eq!(log.pass_after(&mut retention, 1).await.unwrap().events, 12);
    assert_eq!(log.seqs().await, (13..=20).collect::<Vec<_>>());
    assert_eq!(confirm(&log, 12).await, Confirmed::Known);
    assert_eq!(confirm(&log, 21).await, Confirmed::Ahead, "the centre cannot have what was never there");
    assert_eq!(confirm(&log, 20).await, Confirmed::More(8));
    assert_eq!(log.pass_after(&mut retention, 1).await.unwrap().events, 8);
    assert!(!told(&log) && ledger(&log.store).await.imbalance() == 0);
}

#[tokio::test]
async fn without_the_key_what_is_sent_leaves_and_nothing_is_said() {
    let log = sent(20).await;
    let mut retention = log.retention(&days(30, 365));
    assert_eq!(log.pass_after(&mut retention, 60).await.unwrap().events, 20);
    assert!(!told(&log));
}

#[tokio::test]
async fn what_is_not_confirmed_stays_however_much_room_is_wanted() {
    let log = sent(300).await;
    confirm(&log, 100).await;
    let mut retention = log.retention(&days(30, 0)).confirmed(true);
    let wanted = room::Need { archive: 0, rows: 1 << 40 };
    let cleared = retention.make_room(&ctx(&log.clock), wanted).await.unwrap();
    assert_eq!(cleared.passed.events, 100);
    assert_eq!(log.seqs().await, (101..=300).collect::<Vec<_>>());
}
