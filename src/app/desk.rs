//! The desk of a node that runs, and of one that does not: then the store is opened for the time of one order.

use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Keeper};
use crate::config::Config;
use crate::domain::{Carried, Order, Refused};
use crate::health::{Beat, Ctx};
use crate::ingest::Carriers;
use crate::ingest::orders::Clerk;
use crate::store::Store;

use super::yard::Yard;

/// Who carries out orders on a store.
pub(super) fn clerk(config: &Config, store: Store, keeper: Keeper, carriers: Carriers) -> Clerk {
    Clerk {
        node: config.node.id.clone(),
        boot_id: super::boot_id(),
        unknown: config.assets.unknown,
        scanners: config.scanners.clone(),
        carriers,
        store,
        keeper,
    }
}

/// Carries out one order on the store of a node that does not run, under its lock.
///
/// # Errors
/// The store's own: [`crate::store::StoreError::Locked`] when it runs after all.
pub fn carry_out(config: &Config, order: Order, who: &str) -> anyhow::Result<Result<Carried, Refused>> {
    let clock = Clock::system();
    let (store, seat) = super::open_store(config, &clock, |_| ())?;
    let keeper = Keeper::new(clock.clone(), store.newest_trusted_ms());
    let stop = CancellationToken::new();
    let ctx = Ctx { beat: Beat::new("writer", clock), stop: stop.clone() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| seat.run(&ctx));
        let answer = runtime.block_on(async {
            let carriers = Yard::open(config).carriers(config, &store, keeper.clock().now()).await?;
            Ok(clerk(config, store, keeper, carriers).carry_out(order, who).await)
        });
        stop.cancel();
        match writer.join() {
            Ok(ended) => ended.and(answer),
            Err(_) => Err(anyhow::anyhow!("the writer hit a bug; what was answered is stored")),
        }
    })
}
