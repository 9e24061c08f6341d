//! The worker `gauge`: looks once a second at what nobody else reports, the disk and the clock, and writes down restarts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};

use crate::clock::Keeper;
use crate::domain::Stage;
use crate::health::{Board, ClockState, Ctx, DiskState, Outcome, Restart, State, Worker, wedge};
use crate::store::{Group, Store};

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
            self.look();
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

    fn look(&self) {
        let now = self.keeper.clock().now();
        let (_, tq) = self.keeper.time_of(now);
        let clock = ClockState { tq: tq.as_str(), err_ms: self.keeper.wall_error_ms(now).map(coarse) };
        self.board.post(State::Clock(clock));
        let (db, wal) = (size(self.store.path()), size(&wal_of(self.store.path())));
        let writable = self.board.get("alarm", "storage").is_none();
        let used = (db + wal).saturating_mul(100) / (self.max_mib.max(1) << 20);
        let used_pct = u8::try_from(used.min(100)).unwrap_or(100);
        let disk = DiskState { db_bytes: db, wal_bytes: wal, free_bytes: free(self.store.path()), used_pct, writable };
        self.board.post(State::Disk(disk));
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

fn size(path: &Path) -> u64 {
    // A file that is not there takes no room.
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

fn wal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

fn free(path: &Path) -> u64 {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return 0 };
    // SAFETY: `stat` is plain integers for which zero is a value, `path` ends with NUL, and both outlive the call.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut stat) } != 0 {
        return 0;
    }
    #[cfg_attr(
        target_pointer_width = "64",
        expect(clippy::useless_conversion, reason = "32 bits wide on 32-bit targets")
    )]
    u64::from(stat.f_bavail).saturating_mul(u64::from(stat.f_frsize))
}
