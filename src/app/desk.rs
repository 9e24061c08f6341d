//! The desk of a node that runs, and of one that does not: then the store is opened for the time of one order.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Keeper};
use crate::config::Config;
use crate::domain::{Carried, Done, Job, JobState, Order, Refused};
use crate::health::{Beat, Board, Ctx};
use crate::ingest::orders::Clerk;
use crate::ingest::{Carriers, Ground};
use crate::retention::{Purge, PurgeError, remove_captures};
use crate::store::{self, Restoring, Store};

use super::yard::Yard;

/// Who carries out orders on a store.
pub(super) fn clerk(
    config: &Config,
    store: Store,
    board: Board,
    keeper: Keeper,
    carriers: Carriers,
    ground: Ground,
) -> Clerk {
    Clerk {
        node: config.node.id.clone(),
        boot_id: super::boot_id(),
        unknown: config.assets.unknown,
        scanners: config.scanners.clone(),
        carriers,
        ground,
        plan_file: config.plan.zones.clone(),
        store,
        board,
        keeper,
    }
}

/// Carries out one order on the store of a node that does not run, under its lock.
///
/// # Errors
/// The store's own: [`crate::store::StoreError::Locked`] when it runs after all.
pub fn carry_out(config: &Config, order: Order, who: &str) -> anyhow::Result<Result<Carried, Refused>> {
    on_closed(config, async |store, clock| {
        let keeper = Keeper::new(clock, store.newest_trusted_ms());
        let yard = Yard::open(config, &store).await?;
        let carriers = yard.carriers(config, &store, keeper.clock().now()).await?;
        let clerk = clerk(config, store, Board::default(), keeper, carriers, yard.ground);
        Ok(to_its_end(&clerk, clerk.carry_out(order, who).await).await?)
    })
}

/// Carries out a purge on the store of a node that does not run, under its lock; `told` hears each step.
///
/// # Errors
/// As [`carry_out`].
pub fn purge(
    config: &Config,
    mut purge: Purge,
    who: &str,
    mut told: impl FnMut(&Purge),
) -> anyhow::Result<Result<Purge, PurgeError>> {
    let dir = config.store.dir.clone();
    on_closed(config, async |store, clock| {
        while !purge.is_done() {
            purge = match purge.step(&store, who).await {
                Ok(purge) => purge,
                Err(error) => return Ok(Err(error)),
            };
            told(&purge);
        }
        Ok(remove_captures(&dir, purge.captures(clock.now().wall_ms)).map(|()| purge).map_err(PurgeError::Archive))
    })
}

/// Opens the store of a node that does not run, with a writer, for the time of some work.
fn on_closed<T>(config: &Config, work: impl AsyncFnOnce(Store, Clock) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let clock = Clock::system();
    let (store, seat) = super::open_store(config, &clock, |_| ())?;
    let stop = CancellationToken::new();
    let ctx = Ctx { beat: Beat::new("writer", clock.clone()), stop: stop.clone() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| seat.run(&ctx));
        let answer = runtime.block_on(work(store, clock));
        stop.cancel();
        match writer.join() {
            Ok(ended) => ended.and(answer),
            Err(_) => Err(anyhow::anyhow!("the writer hit a bug; what was answered is stored")),
        }
    })
}

/// Puts a looked-at copy in the place of the store and begins its new life; answers where the old one is kept. `by` asked for it.
///
/// # Errors
/// The store's own.
pub fn restore(restoring: Restoring, config: &Config, by: &str) -> anyhow::Result<Option<PathBuf>> {
    let kept = restoring.finish(by, &Clock::system())?;
    on_closed(config, async |_, _| Ok(kept))
}

/// Carries a job to its end: nobody else would before the node runs.
async fn to_its_end(clerk: &Clerk, answer: Result<Carried, Refused>) -> store::Result<Result<Carried, Refused>> {
    let Ok(Carried { done: Done::Letters(mut job), touched }) = answer else { return Ok(answer) };
    while job.state == JobState::Running {
        match clerk.step(job.job).await? {
            Some(now) => job = now,
            None => job = Job { state: JobState::Stopped, ..job },
        }
    }
    Ok(Ok(Carried { done: Done::Letters(job), touched }))
}
