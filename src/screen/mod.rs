//! Out to the yard: the page, its stream and its calls. Everything is read from the store or the board at the moment
//! it is asked for; what is kept in memory for many readers at once (`feed`) is a cache of the log, never a second truth.

pub mod assets;
mod answer;
mod api;
mod bind;
mod caller;
mod closed;
mod conn;
mod delivery;
mod events;
mod feed;
mod front;
mod gate;
mod guard;
mod history;
mod holder;
mod identity;
mod letters;
mod probes;
mod purge;
mod query;
mod rebuild;
mod records;
mod recount;
mod register;
mod render;
mod serve;
mod session;
mod sheet;
mod stream;
mod tail;
mod tls;
mod zones;
#[cfg(test)]
mod api_tests;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod stream_tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::config::{Http, Node, Plan};
use crate::domain::{Carried, Order, Refused};
use crate::health::{Board, Roster, Tally, Worker};
use crate::store::Store;

use front::Front;

pub use closed::Closed;

/// An order of a person: what is asked, by whom, and where the answer goes.
pub type Asked = (Order, String, oneshot::Sender<Result<Carried, Refused>>);
/// Where orders of people go.
pub type Desk = mpsc::Sender<Asked>;

/// What the screen is made of.
pub struct Parts {
    /// Where and for whom it listens.
    pub http: Http,
    /// Whose screen it is.
    pub node: Node,
    /// The control socket for commands on this machine; none serves none.
    pub control: Option<PathBuf>,
    /// The truth.
    pub store: Store,
    /// How every part is.
    pub board: Board,
    /// What was counted.
    pub tally: Tally,
    /// The beats of the workers.
    pub roster: Roster,
    /// The time.
    pub clock: Clock,
    /// The plan of the yard where a file gives it, GeoJSON that has been checked, and how a plan is to be shown.
    pub plan: (Option<Arc<str>>, Plan),
    /// Who carries out what people ask for.
    pub desk: Desk,
    /// What the sources said of late.
    pub captures: Captures,
    /// Has a source forget what it said of late.
    pub forget: Forget,
    /// Reads a label as a person writes it.
    pub keys_of: KeysOf,
}

/// Answers the capture of the last minutes of a source by its id; none when there is no such source.
pub type Captures = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Answers the keys under which a scanner may know a label that a person wrote down; none when it is no label.
pub type KeysOf = fn(&str) -> Vec<String>;

/// Has a source, by its id, forget the last minutes, also in its file. Blocks for as long as the disk does.
pub type Forget = Arc<dyn Fn(&str) -> std::io::Result<()> + Send + Sync>;

/// The way out to the yard: HTTP on `http.listen` and on the control socket.
pub struct Screen {
    front: Arc<Front>,
}

impl Screen {
    /// A screen that does not listen yet, and where its bound addresses will be told, in the order of `http.listen`.
    #[must_use]
    pub fn new(parts: Parts) -> (Self, watch::Receiver<Vec<SocketAddr>>) {
        let front = Arc::new(Front::new(parts));
        let bound = front.bound.subscribe();
        (Self { front }, bound)
    }

    /// Its workers: `screen` listens and answers, `tail` reads the log once for all streams.
    ///
    /// Neither loses anything by a restart: a stream that ends goes on from its cursor.
    #[must_use]
    pub fn workers(self) -> Vec<Worker> {
        let (door, tail) = (Arc::clone(&self.front), self.front);
        vec![
            Worker::task("screen", move |ctx| serve::run(Arc::clone(&door), ctx)),
            Worker::task("tail", move |ctx| tail::run(Arc::clone(&tail), ctx)),
        ]
    }

    #[cfg(test)]
    fn with_limits(mut self, limits: front::Limits) -> Self {
        if let Some(front) = Arc::get_mut(&mut self.front) {
            front.limits = limits;
        }
        self
    }
}
