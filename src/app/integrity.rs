//! The worker `integrity`: once a day each table with its indexes is checked, one after the other, each in a look of its own, so that
//! the write-ahead log can begin anew in between. An index that differs from its table is made anew; anything else is an alarm
//! and a note for the next start.

use std::time::Duration;

use crate::clock::Clock;
use crate::domain::Stage;
use crate::health::{Alarm, Board, Chore, Ctx, Outcome, PARKED_MAX, Severity, Worker, alarms, chore};
use crate::store::{Group, Result, Store};

/// From the start to the first check: a busy start is over.
const FIRST_MS: i64 = 1_200_000;
const EVERY_MS: i64 = 86_400_000;
/// Between two tables.
const PAUSE: Duration = Duration::from_secs(2);
/// Indexes made anew in one transaction, on a slow card.
const REINDEX_BUDGET: Duration = Duration::from_secs(120);

pub(super) fn worker(store: Store, board: Board, clock: Clock) -> Worker {
    let keeper = Integrity { store, board, clock, pause: PAUSE };
    Worker::task("integrity", move |ctx| {
        let keeper = keeper.clone();
        async move { keeper.run(&ctx).await }
    })
}

/// Who checks.
#[derive(Clone)]
pub(super) struct Integrity {
    pub(super) store: Store,
    pub(super) board: Board,
    pub(super) clock: Clock,
    pub(super) pause: Duration,
}

impl Integrity {
    /// Waits for: the time of the next check, the word to stop.
    async fn run(&self, ctx: &Ctx) -> Outcome {
        let mut due_ms = self.clock.now().mono_ms() + FIRST_MS;
        loop {
            let wait = ctx.beat.parked(PARKED_MAX);
            tokio::select! {
                () = ctx.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
            if self.clock.now().mono_ms() < due_ms {
                continue;
            }
            if let Err(error) = self.check(ctx).await {
                tracing::warn!(%error, "the daily check of the store was not finished; the next one is tomorrow");
            }
            due_ms = self.clock.now().mono_ms() + EVERY_MS;
        }
    }

    /// One check; says what came of it. Answers what is wrong and stayed so.
    pub(super) async fn check(&self, ctx: &Ctx) -> Result<Vec<String>> {
        let Ok(chore) = self.board.begin(chore::INTEGRITY, &self.clock) else { return Ok(Vec::new()) };
        let mut faults = self.faults(ctx, &chore).await?;
        if !faults.is_empty() && faults.iter().all(|fault| is_of_an_index(fault)) {
            tracing::warn!(fault = faults[0], "an index differs from its table; it is made anew");
            ctx.beat.working(REINDEX_BUDGET);
            let detail = faults.join("; ");
            let mended = self.store.submit(Group::Now, move |txn| {
                txn.reindex()?;
                txn.log_failure(Stage::Store, "reindex", &detail)
            });
            mended.await?;
            faults = self.faults(ctx, &chore).await?;
        }
        let Some(first) = faults.first().filter(|_| !ctx.stop.is_cancelled()) else {
            self.board.clear(alarms::CORRUPTION);
            return Ok(faults);
        };
        if let Err(error) = self.store.suspect(first) {
            tracing::error!(%error, "the damage could not be noted for the next start");
        }
        self.board.raise(Alarm {
            name: alarms::CORRUPTION.into(),
            severity: Severity::Fault,
            since_ms: self.clock.now().wall_ms,
            text: format!("The store's file is damaged: {first}."),
            advice: "Make a backup now (`waypost backup`), then restart waypost: it looks closer at a start. Replace the card.".into(),
            count: 1,
        });
        Ok(faults)
    }

    async fn faults(&self, ctx: &Ctx, chore: &Chore) -> Result<Vec<String>> {
        let tables = self.store.read(|reader| reader.tables()).await?;
        let (mut faults, total) = (Vec::new(), u64::try_from(tables.len()).ok());
        for (done, table) in (0..).zip(tables) {
            chore.at(done, total);
            let look = self.store.read(move |reader| reader.faults(&table));
            tokio::pin!(look);
            // A large table takes minutes on a slow card; the wait is a wait all the same.
            loop {
                let wait = ctx.beat.parked(PARKED_MAX);
                tokio::select! {
                    () = ctx.stop.cancelled() => return Ok(faults),
                    found = &mut look => break faults.extend(found?),
                    () = tokio::time::sleep(wait) => {}
                }
            }
            let wait = ctx.beat.parked(self.pause);
            tokio::time::sleep(wait).await;
        }
        Ok(faults)
    }
}

/// Whether a fault says only that an index is not as its table.
fn is_of_an_index(fault: &str) -> bool {
    fault.contains("missing from index") || fault.starts_with("wrong # of entries in index")
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::BUILD_FLOOR_MS;
    use crate::health::Beat;
    use crate::ingest::tests::Bench;
    use crate::plan::Plan;

    #[tokio::test]
    async fn a_sound_store_raises_nothing_and_only_indexes_are_made_anew() {
        let bench = Bench::trusted_on(Plan::empty(), &["gps0"], BUILD_FLOOR_MS);
        let (store, board) = (bench.node.store.clone(), bench.node.board.clone());
        let clock = Clock::system();
        let ctx = Ctx { beat: Beat::new("integrity", clock.clone()), stop: CancellationToken::new() };
        let integrity = Integrity { store: store.clone(), board: board.clone(), clock, pause: Duration::ZERO };
        assert_eq!(integrity.check(&ctx).await.unwrap(), Vec::<String>::new());
        assert!(board.get("alarm", alarms::CORRUPTION).is_none() && board.get("job", chore::INTEGRITY).is_none());
        assert!(is_of_an_index("row 1 missing from index outbox_id"));
        assert!(!is_of_an_index("Tree 4 page 9: btreeInitPage() returns error code 11"));
    }

    /// Changes a table behind the back of one of its indexes, as a card that loses a page of the index does.
    fn behind_its_back(path: &std::path::Path, index: &str, change: &str) {
        let open = || {
            let sql = rusqlite::Connection::open(path).unwrap();
            sql.pragma_update(None, "writable_schema", true).unwrap();
            sql
        };
        let columns = "type, name, tbl_name, rootpage, sql";
        let sql = open();
        sql.execute_batch(&format!(
            "create table main.aside as select {columns} from sqlite_schema where name = '{index}';
             delete from sqlite_schema where name = '{index}';"
        ))
        .unwrap();
        drop(sql);
        // A connection that never knew of the index.
        let sql = open();
        sql.execute_batch(change).unwrap();
        sql.execute_batch(&format!(
            "insert into sqlite_schema ({columns}) select {columns} from aside; drop table aside;"
        ))
        .unwrap();
    }

    #[tokio::test]
    async fn an_index_that_differs_from_its_table_is_made_anew_and_that_is_written_down() {
        let bench = Bench::trusted_on(Plan::empty(), &["gps0"], BUILD_FLOOR_MS);
        let (store, board) = (bench.node.store.clone(), bench.node.board.clone());
        let clock = Clock::system();
        let ctx = Ctx { beat: Beat::new("integrity", clock.clone()), stop: CancellationToken::new() };
        let integrity = Integrity { store: store.clone(), board: board.clone(), clock, pause: Duration::ZERO };
        let row = "insert into assets values ('TRL-1', '', '', '[]', 0, 0);
                   insert into asset_keys values ('raw:TRL-1', 'TRL-1', 0);";
        behind_its_back(store.path(), "asset_keys_asset", row);
        let faults = store.read(|reader| reader.faults("asset_keys")).await.unwrap();
        assert!(!faults.is_empty() && faults.iter().all(|fault| is_of_an_index(fault)), "{faults:?}");
        assert_eq!(integrity.check(&ctx).await.unwrap(), Vec::<String>::new());
        assert_eq!(store.read(|reader| reader.faults("asset_keys")).await.unwrap(), Vec::<String>::new());
        assert!(board.get("alarm", alarms::CORRUPTION).is_none());
        let sql = rusqlite::Connection::open(store.path()).unwrap();
        let noted = "select count(*) from failure_log where what = 'reindex' and detail like '%asset_keys_asset%'";
        assert_eq!(sql.query_row(noted, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    }

    #[tokio::test]
    async fn a_proof_that_is_rolled_back_writes_no_byte_and_one_that_commits_does() {
        let bench = Bench::trusted_on(Plan::empty(), &["gps0"], BUILD_FLOOR_MS);
        let store = bench.node.store.clone();
        let wal = || {
            let mut name = store.path().as_os_str().to_owned();
            name.push("-wal");
            std::fs::read(std::path::PathBuf::from(name)).unwrap()
        };
        store.prove(true).await.unwrap();
        let before = wal();
        for _ in 0..5 {
            bench.clock.advance_ms(10_000);
            store.prove(false).await.unwrap();
        }
        assert!(wal() == before, "a proof that is rolled back wrote to the log");
        bench.clock.advance_ms(10_000);
        store.prove(true).await.unwrap();
        assert!(wal() != before, "a proof that commits reaches the log");
    }
}
