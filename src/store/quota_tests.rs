use std::time::Duration;

use super::*;
use crate::domain::{Kind, Seq};
use crate::store::tests::{Bench, draft};
use crate::store::{Append, Group};

/// An event that the intake takes, of about a page.
async fn admitted(bench: &Bench, n: u8) -> Result<Append> {
    let draft = crate::store::Draft { body: format!("{{\"text\":\"{}\"}}", "x".repeat(900)), ..draft(n, Kind::Scan) };
    bench
        .store()
        .submit(Group::Now, move |txn| {
            txn.admit()?;
            txn.append(&draft)
        })
        .await
}

async fn fill(bench: &Bench) -> Fill {
    bench.store().read(|reader| reader.fill()).await.unwrap()
}

#[tokio::test]
async fn intake_ends_before_the_file_does_and_begins_again_when_rows_have_gone() {
    let bench = Bench::open(true, false);
    let begun = fill(&bench).await.file;
    bench.store().limit(Limits { intake: begun + 64 * 1024, file: begun + 128 * 1024 });
    let mut stored = 0_u8;
    while admitted(&bench, stored + 1).await.is_ok() {
        stored += 1;
    }
    assert!((20..80).contains(&stored), "{stored}");
    assert!(matches!(admitted(&bench, 200).await, Err(StoreError::Quota { .. })));
    assert!(bench.store().is_shut());
    // What is not intake goes on: acknowledgements and what is removed.
    bench.store().submit(Group::Now, |txn| txn.log_inbound("door-3", "opened", "")).await.unwrap();
    let gone = i64::from(stored / 2);
    bench
        .store()
        .submit(Group::Now, move |txn| {
            let removed = txn.sql.execute("delete from outbox where seq <= ?1", [gone]);
            removed.map(|_| ()).map_err(|e| txn.err(&e))
        })
        .await
        .unwrap();
    let after = fill(&bench).await;
    assert!(after.free > 10 * 1024, "{after:?}");
    bench.store().reconsider(after);
    assert!(!bench.store().is_shut());
    assert_eq!(admitted(&bench, 201).await.unwrap(), Append::New(Seq(i64::from(stored) + 1)));
}

#[tokio::test]
async fn beyond_the_limit_of_the_file_sqlite_itself_says_that_it_is_full_and_rows_can_still_go() {
    let bench = Bench::open(true, false);
    let begun = fill(&bench).await.file;
    bench.store().limit(Limits { intake: 1 << 40, file: begun + 32 * 1024 });
    let mut n = 0;
    let refused = loop {
        n += 1;
        match admitted(&bench, n).await {
            Ok(_) => assert!(n < 100, "never full"),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
    assert_eq!(bench.store().head().borrow().0, i64::from(n - 1), "nothing of the refused one is there");
    bench
        .store()
        .submit(Group::Now, |txn| txn.sql.execute("delete from outbox", []).map(|_| ()).map_err(|e| txn.err(&e)))
        .await
        .unwrap();
    bench.store().lay_ballast().unwrap();
    admitted(&bench, n).await.unwrap();
}

#[tokio::test]
async fn one_who_finds_no_room_does_not_keep_others_of_his_group_from_their_commit() {
    let bench = Bench::open(true, false);
    bench.store().limit(Limits { intake: 0, file: 1 << 40 });
    let event = admitted(&bench, 1);
    let store = bench.store().clone();
    let other = store.submit(Group::Within(Duration::from_millis(50)), |txn| txn.log_inbound("door-3", "opened", ""));
    let (event, other) = tokio::join!(event, other);
    assert!(matches!(event, Err(StoreError::Quota { .. })));
    other.unwrap();
}

#[tokio::test]
async fn the_reserve_takes_real_blocks_and_is_given_up_and_laid_again() {
    use std::os::unix::fs::MetadataExt as _;
    let bench = Bench::open(true, false);
    let (store, path) = (bench.store(), bench.store().path().with_file_name(BALLAST));
    assert!(!store.has_ballast() && !store.is_tight());
    store.lay_ballast().unwrap();
    let meta = std::fs::metadata(&path).unwrap();
    assert_eq!(meta.len(), BALLAST_BYTES);
    assert!(meta.blocks() * 512 >= BALLAST_BYTES, "a hole is no reserve");
    let conn = crate::store::schema::open_writer(store.path()).unwrap();
    assert!(store.quota.relieve(&conn) && !path.exists());
    assert!(store.is_tight() && store.is_shut());
    assert!(matches!(admitted(&bench, 1).await, Err(StoreError::Quota { .. })));
    assert!(!store.quota.relieve(&conn), "there is none to be given up twice");
    store.lay_ballast().unwrap();
    assert!(path.exists() && !store.is_tight());
    admitted(&bench, 1).await.unwrap();
    store.probe().unwrap();
}

#[tokio::test]
async fn a_look_that_lasts_too_long_is_cut_off_and_the_next_one_is_not() {
    let bench = Bench::open(true, false);
    let store = bench.store().clone();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn({
        let store = store.clone();
        async move { store.read(forever).await }
    });
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while store.cut_off(Duration::from_millis(100)) == 0 {
        assert!(std::time::Instant::now() < deadline, "the look was never seen");
        tokio::task::yield_now().await;
    }
    assert!(matches!(tasks.join_next().await.unwrap().unwrap(), Err(StoreError::CutOff)));
    assert_eq!(store.cut_off(Duration::ZERO), 0, "nobody looks any more");
    store.read(|reader| reader.fill()).await.unwrap();
}

/// Counts to a number that nobody waits for.
fn forever(reader: &Reader<'_>) -> Look<i64> {
    let sql = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 1e15) select count(*) from n";
    reader.conn.query_row(sql, [], |row| row.get(0))
}
