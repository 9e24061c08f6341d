//! The worker `gauge`: looks once a second at what nobody else reports, the disk and the clock, and writes down restarts.

use std::time::Duration;

use tokio::sync::{Mutex, mpsc};

use crate::clock::Keeper;
use crate::domain::Stage;
use crate::health::{Board, ClockState, Ctx, DiskState, Outcome, Restart, State, Worker, wedge};
use crate::store::{Files, Group, Store};

const EVERY: Duration = Duration::from_secs(1);
/// A look at the disk may hang on a sick one, but not for ever.
const LOOK_BUDGET: Duration = Duration::from_secs(10);

pub(super) fn worker(
    store: Store,
    board: Board,
    keeper: Keeper,
    max_mib: u64,
    told: mpsc::Receiver<Restart>,
) -> Worker {
    let gauge = std::sync::Arc::new(Gauge { store, board, keeper, max_mib, told: Mutex::new(told) });
    Worker::task("gauge", move |ctx| {
        let gauge = std::sync::Arc::clone(&gauge);
        async move { gauge.run(&ctx).await }
    })
}

struct Gauge {
    store: Store,
    board: Board,
    keeper: Keeper,
    max_mib: u64,
    told: Mutex<mpsc::Receiver<Restart>>,
}

impl Gauge {
    /// Waits for: a second to pass, a restart to write down, the word to stop.
    async fn run(&self, ctx: &Ctx) -> Outcome {
        let mut told = self.told.lock().await;
        loop {
            wedge::hang(ctx.beat.worker()).await;
            ctx.beat.working(LOOK_BUDGET);
            self.look().await?;
            let wait = ctx.beat.parked(EVERY);
            tokio::select! {
                () = ctx.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
                restart = told.recv() => if let Some(restart) = restart {
                    ctx.beat.working(LOOK_BUDGET);
                    self.note(restart).await;
                },
            }
        }
    }

    /// The disk is asked on a thread that may block: a sick card holds up nobody who runs beside us.
    async fn look(&self) -> Outcome {
        let now = self.keeper.clock().now();
        let (_, tq) = self.keeper.time_of(now);
        let clock = ClockState { tq: tq.as_str(), err_ms: self.keeper.wall_error_ms(now).map(coarse) };
        self.board.post(State::Clock(clock));
        let path = self.store.path().to_owned();
        let files = tokio::task::spawn_blocking(move || Files::measure(&path)).await?;
        self.board.post(State::Disk(DiskState {
            db_bytes: files.db,
            wal_bytes: files.wal,
            free_bytes: files.free.unwrap_or(0),
            used_pct: files.used_pct(self.max_mib),
            writable: self.board.get("alarm", "storage").is_none(),
        }));
        Ok(())
    }

    async fn note(&self, restart: Restart) {
        let detail = format!("{}: {}", restart.worker, restart.text);
        let noted =
            self.store.submit(Group::Within(EVERY), move |txn| txn.log_failure(Stage::Store, "restart", &detail)).await;
        if let Err(error) = noted {
            tracing::warn!(worker = restart.worker, %error, "a restart could not be noted in the failure log");
        }
    }
}

/// Tenths of a second are enough to show, and keep the board quiet.
fn coarse(ms: i64) -> i64 {
    ms / 100 * 100
}
