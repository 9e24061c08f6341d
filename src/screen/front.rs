//! What every call of the screen looks at, and the limits that keep strangers from wearing the node out.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::clock::Clock;
use crate::config::{Http, Machine, Node, Plan};
use crate::domain::{Cursor, Seq, UnixMs};
use crate::health::{Board, Roster, Tally};
use crate::store::{Look, Reader, Store, StoreError};

use super::feed::Feed;
use super::gate::Gate;
use super::tls::Tls;
use super::{Captures, Desk, Forget, KeysOf, Parts};

/// Looks into the store that calls and lagging streams may take at once: the store has more readers than that, so
/// whoever asks much holds up neither the live stream nor the uplink.
const LOOKS: usize = 2;

/// What one connection may take of the node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A write that makes no progress for this long ends the connection.
    pub(super) stall: Duration,
    /// A request's head must be here within this, idle time between requests included.
    pub(super) head: Duration,
    /// Connections beside the streams.
    pub(super) spare: usize,
    /// How long streams and calls may take to end when the node stops.
    pub(super) drain: Duration,
    /// Between two tries to open a door that could not be opened.
    pub(super) retry: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(10),
            head: Duration::from_secs(10),
            spare: 64,
            drain: Duration::from_secs(2),
            retry: Duration::from_secs(5),
        }
    }
}

pub(super) struct Front {
    pub(super) http: Http,
    /// What https is spoken with; none is http.
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) node: Node,
    pub(super) control: Option<PathBuf>,
    pub(super) store: Store,
    pub(super) board: Board,
    pub(super) tally: Tally,
    pub(super) roster: Roster,
    pub(super) clock: Clock,
    /// The plan of the yard as its file gives it.
    pub(super) plan: Option<Box<serde_json::value::RawValue>>,
    /// How it is to be shown.
    pub(super) yard: Plan,
    pub(super) captures: Captures,
    pub(super) forget: Forget,
    pub(super) keys_of: KeysOf,
    pub(super) feed: Feed,
    /// Who has the PIN.
    pub(super) gate: Gate,
    /// Where orders of people go.
    pub(super) desk: Desk,
    pub(super) bound: watch::Sender<Vec<SocketAddr>>,
    pub(super) limits: Limits,
    /// Names it may be called by, lower case.
    pub(super) names: Vec<String>,
    looks: Arc<Semaphore>,
}

impl Front {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            http,
            node,
            control,
            store,
            board,
            tally,
            roster,
            clock,
            plan: (plan, yard),
            desk,
            captures,
            forget,
            keys_of,
        } = parts;
        // It has been parsed before: it is JSON.
        let plan = plan.and_then(|text| serde_json::value::RawValue::from_string(text.to_string()).ok());
        let names = names(&Machine::read().hostname, &http.hosts);
        let feed = Feed::new(store.cursor_now());
        let gate = Gate::new(http.pin_file.clone(), clock.clone());
        let tls = http.tls.clone().map(|files| Arc::new(Tls::new(files)));
        Self {
            http,
            tls,
            node,
            control,
            store,
            board,
            tally,
            roster,
            clock,
            plan,
            yard,
            captures,
            forget,
            keys_of,
            feed,
            gate,
            desk,
            bound: watch::Sender::new(Vec::new()),
            limits: Limits::default(),
            names,
            looks: Arc::new(Semaphore::new(LOOKS)),
        }
    }

    /// The node's clock. UTC ms.
    pub(super) fn now_ms(&self) -> UnixMs {
        self.clock.now().wall_ms
    }

    /// Looks into the store for somebody who asked; at most [`LOOKS`] at once.
    pub(super) async fn look<T, F>(&self, look: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Reader<'_>) -> Look<T> + Send + 'static,
    {
        let _turn = self.looks.acquire().await.map_err(|_| StoreError::Gone)?;
        self.store.read(look).await
    }

    /// Looks at files for somebody who asked; at most [`LOOKS`] at once. What cannot be read holds nothing.
    pub(super) async fn aside<T: Send + 'static>(
        &self,
        look: impl FnOnce() -> std::io::Result<Option<T>> + Send + 'static,
    ) -> Option<T> {
        let _turn = self.looks.acquire().await.ok()?;
        let found = tokio::task::spawn_blocking(look).await.map_err(std::io::Error::other).and_then(|found| found);
        found.unwrap_or_else(|error| {
            tracing::warn!(%error, "the archive cannot be looked through");
            None
        })
    }

    /// The cursor from which everything that is still in the log follows.
    pub(super) fn oldest_cursor(&self, oldest: Seq) -> Cursor {
        Cursor { epoch: self.store.epoch(), seq: Seq(oldest.0.saturating_sub(1)) }
    }
}

/// The names this machine and its configuration give it.
fn names(hostname: &str, hosts: &[String]) -> Vec<String> {
    let short = hostname.split('.').next().unwrap_or_default();
    let mut names = vec!["localhost".to_owned()];
    if !short.is_empty() {
        names.extend([hostname.to_owned(), short.to_owned(), format!("{short}.local")]);
    }
    names.extend(hosts.iter().cloned());
    names.iter_mut().for_each(|name| name.make_ascii_lowercase());
    names
}
