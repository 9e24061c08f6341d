//! The way out to the platform: a cursor a lane over the outbox, to MQTT. Sending marks no row; acknowledgements move
//! cursors. `session` decides, `link` is one connection, `work` carries out.

mod backoff;
mod bridge;
mod centre;
mod command;
mod conn;
mod dial;
mod fault;
mod figures;
mod homeassistant;
mod lane;
mod link;
mod payload;
mod ration;
mod rival;
mod script;
mod session;
mod sign;
mod speaker;
mod tls;
mod tls_words;
mod wallet;
mod work;

#[cfg(test)]
mod broker_tests;
#[cfg(test)]
mod fake_broker;
#[cfg(test)]
mod manners_tests;
#[cfg(test)]
mod payload_tests;
#[cfg(test)]
mod replay_tests;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod simulator_tests;
#[cfg(test)]
#[path = "../../tests/it/strict.rs"]
mod strict;
#[cfg(test)]
mod world_tests;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use crate::clock::{Clock, Keeper};
use crate::config::Uplink;
use crate::health::{Board, Tally, Worker};
use crate::store::Store;

pub use centre::Archives;

/// What the node is called, for topics and status.
#[derive(Clone, Debug)]
pub struct NodeNames {
    /// `node.site`
    pub site: String,
    /// `node.id`
    pub node: String,
    /// Of the binary.
    pub version: String,
    /// Digest of the merged configuration.
    pub config_digest: String,
    /// What its receivers move, each once.
    pub assets: Vec<String>,
    /// `store.max_mib`, for the health message.
    pub quota_mib: Option<u64>,
}

/// The times that the contract fixes; a test shortens them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A live connection without acknowledgement is given up after this.
    pub no_ack: Duration,
    /// First wait before a refused event is tried again.
    pub retry_base: Duration,
    /// Longest wait before a refused event is tried again.
    pub retry_cap: Duration,
    /// Refusals while others pass before an event is a letter.
    pub attempts: u32,
    /// Shortest wait between connections that cannot be made.
    pub backoff_base: Duration,
    /// Acknowledgements over this time make the backoff begin anew.
    pub healthy: Duration,
    /// How long a stop waits for what is in flight.
    pub farewell: Duration,
    /// Between two looks at certificates: at their files, and at how long they are valid.
    pub papers: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            no_ack: Duration::from_secs(20),
            retry_base: Duration::from_secs(1),
            retry_cap: Duration::from_secs(10),
            attempts: 10,
            backoff_base: Duration::from_secs(5),
            healthy: Duration::from_secs(60),
            farewell: Duration::from_secs(3),
            papers: Duration::from_secs(60),
        }
    }
}

/// What the uplink shares with intake and retention.
#[derive(Clone)]
pub struct Ties {
    /// Raised to the seq of a scan before its bytes are frozen for sending: repeats are counted onto no event up to there
    /// (ask for it inside the transaction).
    pub published: Arc<AtomicI64>,
    /// The events that have left the log.
    pub archives: Arc<dyn Archives>,
}

/// What the uplink works with; kept over restarts of the worker.
pub(crate) struct Kit {
    pub config: Uplink,
    pub names: NodeNames,
    pub store: Store,
    pub board: Board,
    pub clock: Clock,
    /// Whose word on the time certificates are judged by.
    pub keeper: Keeper,
    pub tally: Tally,
    pub published: Arc<AtomicI64>,
    /// Up to here `published` is raised, and the store has every repeat that was counted before.
    pub frozen: Arc<AtomicI64>,
    pub archives: Arc<dyn Archives>,
    pub limits: Limits,
}

/// The worker `uplink`.
#[must_use]
pub fn worker(
    config: Uplink,
    names: NodeNames,
    store: Store,
    board: Board,
    keeper: Keeper,
    tally: Tally,
    ties: Ties,
) -> Worker {
    let Ties { published, archives } = ties;
    let (clock, frozen, limits) = (keeper.clock().clone(), Arc::default(), Limits::default());
    seat(Kit { config, names, store, board, clock, keeper, tally, published, frozen, archives, limits })
}

pub(crate) fn seat(kit: Kit) -> Worker {
    let kit = Arc::new(kit);
    Worker::task("uplink", move |ctx| work::run(Arc::clone(&kit), ctx))
}
