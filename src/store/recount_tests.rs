//! What is planted in the file is found and named: each row that goes, each count that is changed.

use rusqlite::Connection;

use super::*;
use crate::domain::{Kind, Lane, Loss, Reason, Seq, Stage};
use crate::store::tests::{Bench, draft, take};
use crate::store::{Acknowledged, Group, Origin, Outcome};

/// The recount of a store that runs, which must come to its ledger.
pub(crate) fn assert_recounted(store: &crate::store::Store) -> Account {
    let account = recount(&mut store.clone(), |_| ()).unwrap().expect("nothing leaves under a test");
    assert_eq!(account.differences, []);
    account
}

/// The rows of a store that runs, on this thread.
impl Rows for crate::store::Store {
    type Error = StoreError;

    fn walk(&mut self, mark: Mark) -> Result<Stretch, StoreError> {
        self.read_here(|reader| reader.walk(mark))
    }

    fn close(&mut self, mark: Mark) -> Result<Closing, StoreError> {
        self.read_here(|reader| reader.close_walk(mark))
    }

    fn lanes(&mut self, after: i64, upto: i64) -> Result<([i64; 2], i64), StoreError> {
        self.read_here(|reader| reader.lanes_between(after, upto))
    }
}

/// A store with something of everything: 60 events, some sent, one dead, letters open, ended and only counted.
async fn filled() -> Bench {
    let bench = Bench::open(true, false);
    for n in 1..=60 {
        let kind = [Kind::Fix, Kind::Scan, Kind::Place, Kind::Fix][usize::from(n % 4)];
        bench.append(n, kind).await;
    }
    let store = bench.store();
    let work = |txn: &mut crate::store::Txn<'_>| {
        let origin = Origin { source: "door-3".into(), ..Origin::default() };
        for reason in [Reason::BadCheck, Reason::BadCheck, Reason::Noread, Reason::BadChecksum] {
            txn.park(&Loss::decoder(reason, b"?", 10), &origin, None, "")?;
            txn.frame("door-3", Outcome::Rejected(reason));
        }
        txn.sampled("door-3", Reason::BadCheck, 7);
        txn.frames("door-3", Outcome::Rejected(Reason::BadCheck), 7);
        let by = crate::store::Act { who: "uid 7", what: "test", note: "" };
        txn.discard(1, &by)?;
        let retried = crate::store::Draft { id: crate::domain::EventId([0xee; 16]), ..draft(200, Kind::Scan) };
        txn.append_retried(&retried, 1, 0)?;
        txn.retried(2, &by)?;
        let loss = Loss { stage: Stage::Uplink, ..Loss::decoder(Reason::TooLarge, b"", 10) };
        txn.bury(Lane::Fix, Seq(7), &loss, "")?;
        let fixes = Acknowledged { from: Seq(0), through: Seq(7), sent: 2, unheard: 0 };
        let scans = Acknowledged { from: Seq(0), through: Seq(30), sent: 11, unheard: 5 };
        assert!(txn.acknowledge(Lane::Fix, &fixes)? && txn.acknowledge(Lane::Scan, &scans)?);
        Ok(())
    };
    store.submit(Group::Now, work).await.unwrap();
    bench
}

fn differences(bench: &Bench) -> Vec<String> {
    let account = recount(&mut bench.store().clone(), |_| ()).unwrap().unwrap();
    account
        .differences
        .into_iter()
        .map(|one| match (one.ledger, one.rows) {
            (Some(ledger), Some(rows)) => format!("{}: {ledger} {rows}", one.what),
            _ => one.what,
        })
        .collect()
}

fn plant(bench: &Bench, sql: &str) {
    let conn = Connection::open(bench.store().path()).unwrap();
    conn.pragma_update(None, "foreign_keys", false).unwrap();
    conn.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn a_store_with_something_of_everything_comes_to_its_ledger_also_after_it_was_opened_anew() {
    let bench = filled().await;
    let account = assert_recounted(bench.store());
    assert_eq!((account.events, account.letters), (61, 5));
    let bench = bench.reopen(true, false);
    assert_recounted(bench.store());
    let bench = bench.reopen(false, false);
    assert_recounted(bench.store());
}

#[tokio::test]
async fn a_row_that_is_gone_is_missed_by_its_number_its_source_and_the_total() {
    let bench = filled().await;
    plant(&bench, "delete from outbox where seq in (40, 41, 50)");
    let found = differences(&bench);
    let expect = [
        "events, total: 61 58",
        "events of door-3, stored and retried: 61 58",
        "events, unsent, lane scan: 15 13",
        "events, unsent, lane fix: 27 26",
        "events 40 to 41 are missing",
        "event 50 is missing",
    ];
    assert_eq!(found, expect);
    plant(&bench, "delete from outbox where seq = 61");
    assert!(differences(&bench).contains(&"event 61 is missing".to_owned()));
}

#[tokio::test]
async fn every_count_that_is_changed_by_one_is_named_with_both_figures() {
    let lines: Vec<(String, String, String, String, i64)> = {
        let bench = filled().await;
        bench.store().read_here(|reader| crate::store::ledger::lines(reader.conn)).unwrap()
    };
    let bench = filled().await;
    for (scope, name, outcome, detail, n) in lines {
        if (scope.as_str(), outcome.as_str()) == ("head", "uplink") {
            continue;
        }
        let of =
            format!("where scope = '{scope}' and name = '{name}' and outcome = '{outcome}' and detail = '{detail}'");
        plant(&bench, &format!("update ledger set n = n + 1 {of}"));
        let found = differences(&bench);
        assert!(!found.is_empty(), "{scope} {name} {outcome} {detail} {n}");
        plant(&bench, &format!("update ledger set n = n - 1 {of}"));
        assert_recounted(bench.store());
    }
}

#[tokio::test]
async fn what_points_at_nothing_or_at_the_wrong_thing_is_named() {
    for (sql, expect) in [
        (
            "update outbox set prev = 9 where seq = 20",
            "event 20 names 9 as the one of its kind before it; that would be 19",
        ),
        ("update outbox set prev = null where seq = 20", "event 20 names none before it; that would be 19"),
        ("update outbox set run = 77 where seq = 20", "event 20 is of run 77, which is not there"),
        ("update outbox set kind = 9 where seq = 20", "event 20 is of kind 9, which is none"),
        (
            "insert into asset_keys (key, asset, nth) values ('raw:X', 'TRL-1', 0)",
            "the key \"raw:X\" of the register belongs to an asset that is not there",
        ),
        (
            "insert into places (asset, id, seq, ts_ms, tq, boot, mono_ms) values ('TRL-1', zeroblob(16), 900, 0, 'none', 1, 0)",
            "the place of \"TRL-1\" rests on an event that is not there",
        ),
        ("update cursors set seq = 900 where name = 'fix'", "the cursor fix stands after the newest event"),
        ("delete from outbox where seq = 7", "the open letter 5 names event 7, which is not there"),
        ("update ledger set n = 12 where scope = 'head' and outcome = 'place'", "newest event (place): 12 58"),
    ] {
        let bench = filled().await;
        plant(&bench, sql);
        let found = differences(&bench);
        assert!(found.contains(&expect.to_owned()), "{sql}: {found:?}");
    }
}

#[tokio::test]
async fn an_event_that_its_index_does_not_know_is_found() {
    let bench = filled().await;
    plant(
        &bench,
        "pragma writable_schema = on;
         update sqlite_schema set sql = 'create unique index outbox_id on outbox (id) where seq <> 20' where name = 'outbox_id';
         pragma writable_schema = reset;",
    );
    plant(&bench, "reindex outbox_id");
    plant(
        &bench,
        "pragma writable_schema = on;
         update sqlite_schema set sql = 'create unique index outbox_id on outbox (id)' where name = 'outbox_id';",
    );
    let bench = bench.reopen(true, false);
    assert_eq!(differences(&bench), ["event 20 is not in the index of ids"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_within_a_stretch_and_events_that_come_under_a_walk_are_counted_once() {
    struct Slow<'a>(&'a Bench, crate::store::Store, u8);
    impl Rows for Slow<'_> {
        type Error = crate::store::StoreError;

        fn walk(&mut self, mark: Mark) -> Result<Stretch, Self::Error> {
            self.1.walk(mark)
        }

        fn close(&mut self, mark: Mark) -> Result<Closing, Self::Error> {
            self.2 += 1;
            let draft = draft(100 + self.2, Kind::Fix);
            let commit = self.0.store().submit(Group::Now, move |txn| take(txn, &draft));
            answered(commit);
            self.1.close(mark)
        }

        fn lanes(&mut self, after: i64, upto: i64) -> Result<([i64; 2], i64), Self::Error> {
            self.1.lanes(after, upto)
        }
    }
    let bench = filled().await;
    let account = recount(&mut Slow(&bench, bench.store().clone(), 0), |_| ()).unwrap().unwrap();
    assert_eq!((account.events, account.differences), (62, vec![]));
}

/// Waits for an answer of the writer's thread, on this one.
fn answered<T>(answer: impl Future<Output = crate::store::Result<T>>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(answer)).unwrap()
}
