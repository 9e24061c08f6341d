//! What a worker is: something with a name that runs until it is told to stop, and can be started again.

use std::future::Future;
use std::pin::Pin;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::Beat;

/// What a worker is handed at each start.
#[derive(Clone)]
pub struct Ctx {
    /// Its promise of progress.
    pub beat: Beat,
    /// Fires when the worker is to stop: at shutdown, and before a restart.
    pub stop: CancellationToken,
}

/// How a run ended: `Ok` is done for good (a file read to its end, or told to stop); an error is a reason to restart.
pub type Outcome = anyhow::Result<()>;

type TaskFn = Box<dyn Fn(Ctx) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send>;
type ThreadFn = std::sync::Arc<dyn Fn(Ctx) -> Outcome + Send + Sync>;

/// How a worker runs.
pub enum Body {
    /// A task of the runtime: sockets, ports, timers.
    Task(TaskFn),
    /// A thread of its own: work that blocks.
    Thread(ThreadFn),
}

/// A worker and how it is started, as often as needed.
pub struct Worker {
    /// Its name: in logs, metrics and on the screen; e.g. `uplink`, `source:gps0`.
    pub name: String,
    /// How it runs.
    pub body: Body,
    /// Where its task runs, if not with the others.
    pub(super) runtime: Option<Handle>,
}

impl Worker {
    /// A worker that is a task.
    pub fn task<F, Fut>(name: impl Into<String>, run: F) -> Self
    where
        F: Fn(Ctx) -> Fut + Send + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        Self { name: name.into(), body: Body::Task(Box::new(move |ctx| Box::pin(run(ctx)))), runtime: None }
    }

    /// A worker that is a thread.
    pub fn thread(name: impl Into<String>, run: impl Fn(Ctx) -> Outcome + Send + Sync + 'static) -> Self {
        Self { name: name.into(), body: Body::Thread(std::sync::Arc::new(run)), runtime: None }
    }

    /// The same worker with its task on a runtime of the caller's choice, whose threads have another priority.
    #[must_use]
    pub fn on(self, runtime: Handle) -> Self {
        Self { runtime: Some(runtime), ..self }
    }
}
