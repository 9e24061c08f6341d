//! One worker's place under the supervisor: its present run, its promise and its budget of restarts.

use std::any::Any;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

use super::{Beat, Body, Ctx, Outcome, PARKED_MAX, RestartReason, Worker};

/// How long a stalled worker gets to end after it was told to. Microseconds.
pub(super) const END_US: i64 = 5_000_000;

/// The budget: at most so many restarts within so long. Microseconds.
const BUDGET: [(usize, i64, &str); 2] = [(3, 300_000_000, "5 minutes"), (10, 3_600_000_000, "an hour")];
/// The wait before a restart grows tenfold with each one in the last five minutes.
const BACKOFF: [Duration; 3] = [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(10)];
/// The longest reason that is kept of a panic or an error. Characters.
const REASON_MAX: usize = 300;

pub(super) struct Seat {
    pub(super) stage: u8,
    pub(super) beat: Beat,
    pub(super) restarts: u32,
    pub(super) last_reason: String,
    worker: Worker,
    run: Run,
    /// When it was restarted, the oldest first; as many as the longest budget counts.
    past_us: VecDeque<i64>,
}

enum Run {
    /// Not to run before somebody lets it go.
    Held(CancellationToken),
    Waiting {
        due_us: i64,
    },
    Up {
        stop: CancellationToken,
        limb: Limb,
    },
    /// Stalled and told to end.
    Ending {
        limb: Limb,
        until_us: i64,
        why: String,
    },
    Done,
}

enum Limb {
    Task(JoinHandle<Outcome>),
    /// A thread says its last word here; there is no way to end it from outside.
    Thread(Receiver<Ended>),
}

/// How a run ended.
pub(super) enum Ended {
    Done,
    Broken(RestartReason, String),
}

/// What a look at a worker shows.
pub(super) enum Turn {
    Well,
    /// The wait before a restart is over.
    Due,
    Ended(Ended),
    Stalled(Duration),
    /// Told to end and did not; with the reason why it was told.
    Stuck(String),
}

impl Seat {
    pub(super) fn new(stage: u8, worker: Worker, clock: Clock) -> Self {
        let beat = Beat::new(&worker.name, clock);
        let run = Run::Waiting { due_us: i64::MIN };
        Self { stage, beat, restarts: 0, last_reason: String::new(), worker, run, past_us: VecDeque::new() }
    }

    /// One that is not started before `go` fires.
    pub(super) fn held(self, go: CancellationToken) -> Self {
        Self { run: Run::Held(go), ..self }
    }

    pub(super) fn name(&self) -> &str {
        &self.worker.name
    }

    /// The word on the board.
    pub(super) const fn state(&self) -> &'static str {
        match self.run {
            Run::Held(_) => "held",
            Run::Up { .. } => "fresh",
            Run::Ending { .. } => "stalled",
            Run::Waiting { .. } => "restarting",
            Run::Done => "ended",
        }
    }

    /// Why it is not well, or was last restarted; empty when it never was.
    pub(super) fn why(&self) -> &str {
        if let Run::Ending { why, .. } = &self.run { why } else { &self.last_reason }
    }

    pub(super) const fn is_running(&self) -> bool {
        matches!(self.run, Run::Up { .. } | Run::Ending { .. })
    }

    /// Starts it, with a fresh promise.
    pub(super) fn start(&mut self, runtime: &Handle, waker: &Waker) {
        let _granted = self.beat.parked(PARKED_MAX);
        let stop = CancellationToken::new();
        let ctx = Ctx { beat: self.beat.clone(), stop: stop.clone() };
        let limb = match &self.worker.body {
            Body::Task(run) => start_task(self.worker.runtime.as_ref().unwrap_or(runtime), || run(ctx)),
            Body::Thread(run) => {
                let run = Arc::clone(run);
                start_thread(&self.worker.name, waker.clone(), move || run(ctx))
            }
        };
        self.run = Run::Up { stop, limb };
    }

    /// Looks at it. `judge`: whether an overdue promise counts.
    pub(super) fn turn(&mut self, now_us: i64, judge: bool, cx: &mut Context) -> Turn {
        let turn = match &mut self.run {
            Run::Held(go) if go.is_cancelled() => Turn::Due,
            Run::Held(_) | Run::Done => Turn::Well,
            Run::Waiting { due_us } if now_us >= *due_us => Turn::Due,
            Run::Waiting { .. } => Turn::Well,
            Run::Up { limb, .. } => match (limb.poll(cx), self.beat.overdue()) {
                (Some(ended), _) => Turn::Ended(ended),
                (None, Some(late)) if judge => Turn::Stalled(late),
                (None, _) => Turn::Well,
            },
            Run::Ending { limb, until_us, why } => match limb.poll(cx) {
                Some(_) => Turn::Ended(Ended::Broken(RestartReason::Stalled, std::mem::take(why))),
                None if judge && now_us >= *until_us => Turn::Stuck(why.clone()),
                None => Turn::Well,
            },
        };
        if let Turn::Ended(_) = turn {
            // A run's end is told once; only a restart from the budget takes it out of here.
            self.run = Run::Done;
        }
        turn
    }

    /// Whether it still runs while all is being stopped; how it ended no longer matters but for the log.
    pub(super) fn still_runs(&mut self, cx: &mut Context) -> bool {
        match &mut self.run {
            Run::Up { limb, .. } | Run::Ending { limb, .. } => {
                let Some(ended) = limb.poll(cx) else { return true };
                if let Ended::Broken(reason, why) = ended {
                    tracing::warn!(
                        worker = self.name(),
                        reason = reason.as_str(),
                        why,
                        "a worker broke while stopping"
                    );
                }
            }
            Run::Held(_) | Run::Waiting { .. } | Run::Done => {}
        }
        self.run = Run::Done;
        false
    }

    /// Asks it to stop.
    pub(super) fn stop(&self) {
        if let Run::Up { stop, .. } = &self.run {
            stop.cancel();
        }
    }

    /// Ends a task at its next await; a thread cannot be ended.
    pub(super) fn abort(&self) {
        if let Run::Up { limb: Limb::Task(join), .. } | Run::Ending { limb: Limb::Task(join), .. } = &self.run {
            join.abort();
        }
    }

    /// It stalled: it is asked to stop, a task is aborted, and it gets a few seconds to end.
    pub(super) fn wind_down(&mut self, now_us: i64, why: String) {
        self.stop();
        self.abort();
        if let Run::Up { limb, .. } = std::mem::replace(&mut self.run, Run::Done) {
            self.run = Run::Ending { limb, until_us: now_us.saturating_add(END_US), why };
        }
    }

    /// Takes a restart from the budget and answers the wait before it.
    ///
    /// # Errors
    /// The budget is spent; the text says which one.
    pub(super) fn spend(&mut self, now_us: i64, why: &str) -> Result<Duration, String> {
        let within = |span_us: i64| self.past_us.iter().filter(|at| now_us - **at < span_us).count();
        for (most, span_us, words) in BUDGET {
            if within(span_us) >= most {
                return Err(format!("{why}; {most} restarts in {words} did not help"));
            }
        }
        let wait = BACKOFF[within(BUDGET[0].1).min(BACKOFF.len() - 1)];
        if self.past_us.len() == BUDGET[1].0 {
            self.past_us.pop_front();
        }
        self.past_us.push_back(now_us);
        self.restarts = self.restarts.saturating_add(1);
        why.clone_into(&mut self.last_reason);
        let wait_us = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        self.run = Run::Waiting { due_us: now_us.saturating_add(wait_us) };
        Ok(wait)
    }
}

impl Limb {
    /// How it ended, once; none while it runs. Registers the waker for the end.
    fn poll(&mut self, cx: &mut Context) -> Option<Ended> {
        match self {
            Self::Task(join) => match Pin::new(join).poll(cx) {
                Poll::Pending => None,
                Poll::Ready(Ok(outcome)) => Some(Ended::of(outcome)),
                Poll::Ready(Err(error)) => Some(match error.try_into_panic() {
                    Ok(payload) => Ended::panicked(&*payload),
                    Err(_) => Ended::Broken(RestartReason::Failed, "its task was cancelled by the runtime".into()),
                }),
            },
            Self::Thread(word) => match word.try_recv() {
                Ok(ended) => Some(ended),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => {
                    Some(Ended::Broken(RestartReason::Failed, "its thread ended without a word".into()))
                }
            },
        }
    }

    /// A run that ended before it began.
    fn stillborn(ended: Ended) -> Self {
        let (tx, rx) = sync_channel(1);
        match tx.send(ended) {
            // The receiver stands beside it, and the channel holds one: there is no other case.
            Ok(()) | Err(_) => Self::Thread(rx),
        }
    }
}

impl Ended {
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Ok(()) => Self::Done,
            Err(error) => Self::Broken(RestartReason::Failed, short(&format!("{error:#}"))),
        }
    }

    fn panicked(payload: &(dyn Any + Send)) -> Self {
        Self::Broken(RestartReason::Panicked, panic_text(payload))
    }
}

fn start_task(runtime: &Handle, make: impl FnOnce() -> Pin<Box<dyn Future<Output = Outcome> + Send>>) -> Limb {
    // Timers and sockets that are made before the first await need the runtime around them.
    let _inside = runtime.enter();
    match catch_unwind(AssertUnwindSafe(make)) {
        Ok(future) => Limb::Task(runtime.spawn(future)),
        Err(payload) => Limb::stillborn(Ended::panicked(&*payload)),
    }
}

fn start_thread(name: &str, waker: Waker, run: impl FnOnce() -> Outcome + Send + 'static) -> Limb {
    let (tx, rx) = sync_channel(1);
    let body = move || {
        let ended = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(outcome) => Ended::of(outcome),
            Err(payload) => Ended::panicked(&*payload),
        };
        // Nobody listens any more only when the process is about to end anyway.
        drop(tx.send(ended));
        waker.wake();
    };
    // The handle is let go: the last word comes over the channel, and to join could only mean to wait.
    match std::thread::Builder::new().name(name.to_owned()).spawn(body) {
        Ok(_) => Limb::Thread(rx),
        Err(error) => {
            Limb::stillborn(Ended::Broken(RestartReason::Failed, format!("its thread could not be started: {error}")))
        }
    }
}

/// What a panic said.
pub(super) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    short(text.unwrap_or("a panic without words"))
}

/// A reason as one short line: it goes into logs, labels of a page and STATUS.
fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON_MAX).collect()
}
