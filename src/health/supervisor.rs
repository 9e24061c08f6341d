//! Starts the workers, watches their ends and their promises, restarts what broke within a budget, and ends the
//! process when that does not help. A plain thread: it must go on when the runtime does not.
//!
//! What can go wrong and what follows:
//! panic or error -> restart; overdue promise -> told to stop (a task is aborted too), and when it ends within 5 s,
//! restart; it does not end, or the budget is spent -> give up: the process ends and the service manager starts it.

#[cfg(panic = "abort")]
compile_error!("a panic must unwind: the supervisor restarts workers that panicked; set panic = \"unwind\"");

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::clock::Clock;

use super::seat::{Ended, Seat, Turn, panic_text};
use super::{Alarm, Board, Notify, RestartReason, Roster, Severity, State, Tally, Worker, WorkerState};

/// Between two looks at the workers.
const TICK: Duration = Duration::from_secs(1);
/// A look that comes later than this means that the whole process stood still (suspend, SIGSTOP): no worker's fault.
const LATE_US: i64 = 5_000_000;
/// How long no promise is judged after that: the longest promise of a parked worker, and some.
const PARDON_US: i64 = 15_000_000;
/// Work that lasts longer is named beside a stall: it may be its cause.
const LONG_AT_WORK: Duration = Duration::from_secs(1);
/// How long the healthy workers get to finish when the process gives up.
const LAST_DRAIN: Duration = Duration::from_secs(3);
/// How much longer than its deadline a stop may take before the caller is told to end the process regardless.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The workers and the rules by which they live.
pub struct Supervisor {
    clock: Clock,
    board: Board,
    tally: Tally,
    runtime: Handle,
    notify: Notify,
    tick: Duration,
    seats: Vec<Seat>,
    roster: Roster,
    on_restart: Box<dyn Fn(&Restart) + Send>,
    last_words: Box<dyn Fn(&GaveUp) + Send>,
    exit_after: Option<Duration>,
    /// When the last look began, and from when on promises are judged. `CLOCK_BOOTTIME` µs.
    looked_us: i64,
    judge_from_us: i64,
}

/// A worker that is started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Its name.
    pub worker: String,
    /// Why, as a label.
    pub reason: RestartReason,
    /// Why, in words.
    pub text: String,
    /// Its restarts since the process began, this one included.
    pub restarts: u32,
    /// How long it waits until then.
    pub wait: Duration,
}

/// A worker that cannot be brought back, and so the end of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GaveUp {
    /// Its name.
    pub worker: String,
    /// Why, in words.
    pub reason: String,
}

/// How it all ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to stop. `left` did not end in time; what they hold is lost with the process, and nothing that
    /// was committed is.
    Stopped {
        /// Names of workers.
        left: Vec<String>,
    },
    /// A worker cannot be brought back.
    GaveUp(GaveUp),
}

impl End {
    /// The process's exit code: 0 or 70.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Stopped { .. } => 0,
            Self::GaveUp(_) => EXIT_GAVE_UP,
        }
    }
}

const EXIT_GAVE_UP: u8 = 70;

impl Supervisor {
    /// A supervisor without workers. Tasks run on `runtime`, but for those that name another.
    #[must_use]
    pub fn new(clock: Clock, board: Board, tally: Tally, runtime: Handle, notify: Notify) -> Self {
        let now_us = clock.now().mono_us;
        Self {
            clock,
            board,
            tally,
            runtime,
            notify,
            tick: TICK,
            seats: Vec::new(),
            roster: Roster::default(),
            on_restart: Box::new(|_| ()),
            last_words: Box::new(|_| ()),
            exit_after: None,
            looked_us: now_us,
            judge_from_us: now_us,
        }
    }

    /// Adds a worker. Workers of a lower `stage` are stopped first: sources, then ingest, then what goes out, then
    /// the writer; within a stage the last one added first.
    pub fn add(&mut self, stage: u8, worker: Worker) {
        self.seats.push(Seat::new(stage, worker, self.clock.clone()));
    }

    /// Adds a worker that is not started before `go` fires.
    pub fn add_held(&mut self, stage: u8, worker: Worker, go: CancellationToken) {
        let seat = Seat::new(stage, worker, self.clock.clone()).held(go);
        self.seats.push(seat);
        self.post(self.seats.len() - 1);
    }

    /// The beats, for the metrics.
    #[must_use]
    pub fn roster(&self) -> Roster {
        self.roster.clone()
    }

    /// Calls `tell` for each restart, on the supervisor's thread: it must not block.
    pub fn on_restart(&mut self, tell: impl Fn(&Restart) + Send + 'static) {
        self.on_restart = Box::new(tell);
    }

    /// Calls `tell` once on giving up, before the healthy workers are stopped: it must not block.
    pub fn last_words(&mut self, tell: impl Fn(&GaveUp) + Send + 'static) {
        self.last_words = Box::new(tell);
    }

    /// Ends the process with 70 if it still runs this long after giving up: a runtime with a worker in an endless
    /// loop cannot be joined, and main may wait for it. Without this call only [`Running::wait`] tells.
    pub const fn exit_after(&mut self, grace: Duration) {
        self.exit_after = Some(grace);
    }

    /// Looks each `tick` instead of each second.
    pub const fn tick(&mut self, tick: Duration) {
        self.tick = tick;
    }

    /// Starts the workers and the thread that watches them.
    ///
    /// # Errors
    /// The thread cannot be started; no worker was.
    pub fn start(self) -> io::Result<Running> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("supervisor".into()).spawn(move || self.run(&theirs))?;
        // Not joined: it says its last word in `shared`, and may have to end the process afterwards.
        Ok(Running { shared, thread: thread.thread().clone() })
    }

    fn run(mut self, shared: &Shared) {
        let notify = self.notify.clone();
        let exit_after = self.exit_after;
        let end = catch_unwind(AssertUnwindSafe(|| self.supervise(shared))).unwrap_or_else(|payload| {
            let gave_up = GaveUp { worker: "supervisor".into(), reason: panic_text(&*payload) };
            error!(reason = gave_up.reason, "the supervisor hit a bug; the process ends and is started again");
            End::GaveUp(gave_up)
        });
        if let End::GaveUp(gave_up) = &end {
            notify.trigger(&gave_up.to_string());
        }
        let gave_up = matches!(end, End::GaveUp(_));
        shared.finish(end);
        if let (true, Some(grace)) = (gave_up, exit_after) {
            std::thread::sleep(grace);
            error!("the process did not end by itself; ending it");
            std::process::exit(i32::from(EXIT_GAVE_UP));
        }
    }

    fn supervise(&mut self, shared: &Shared) -> End {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut pause = self.tick;
        if let Some(every) = self.notify.every() {
            pause = pause.min(every / 2);
        }
        loop {
            if let Some(within) = shared.asked() {
                self.notify.stopping("stopping");
                info!(within_ms = within.as_millis(), "told to stop");
                let left = self.drain(within, true, shared, &waker);
                return End::Stopped { left };
            }
            if let Err(gave_up) = self.look(&waker) {
                return self.give_up(gave_up, shared, &waker);
            }
            shared.looks.fetch_add(1, Ordering::AcqRel);
            // Woken early by a worker's end and by `Running::stop`.
            std::thread::park_timeout(pause);
        }
    }

    /// One look at every worker, and the sign of life if all are well.
    fn look(&mut self, waker: &Waker) -> Result<(), GaveUp> {
        let now_us = self.clock.now().mono_us;
        if now_us - self.looked_us > LATE_US {
            warn!(
                late_s = (now_us - self.looked_us) / 1_000_000,
                "the process stood still; no worker is judged for it"
            );
            self.judge_from_us = now_us.saturating_add(PARDON_US);
        }
        self.looked_us = now_us;
        let judge = now_us >= self.judge_from_us;
        for at in 0..self.seats.len() {
            match self.seats[at].turn(now_us, judge, &mut Context::from_waker(waker)) {
                Turn::Well => {}
                Turn::Due => {
                    self.roster.admit(&self.seats[at].beat);
                    self.seats[at].start(&self.runtime, waker);
                    self.post(at);
                    // An end before the first await would else be seen a second later.
                    waker.wake_by_ref();
                }
                Turn::Ended(Ended::Done) => self.retire(at),
                Turn::Ended(Ended::Broken(reason, why)) => self.restart(at, reason, &why, now_us)?,
                Turn::Stalled(late) => {
                    let why =
                        format!("made no progress, {:.1} s past its promise{}", late.as_secs_f64(), self.suspects(at));
                    self.seats[at].wind_down(now_us, why);
                    self.post(at);
                    waker.wake_by_ref();
                }
                Turn::Stuck(why) => {
                    let reason = format!("{why}, and cannot be ended");
                    return Err(GaveUp { worker: self.seats[at].name().to_owned(), reason });
                }
            }
        }
        self.tally.summarise();
        let fresh = self.say_trouble();
        self.notify.turn(fresh);
        Ok(())
    }

    /// Tells the service manager which worker is not well; answers whether no promise is overdue.
    fn say_trouble(&self) -> bool {
        let mut fresh = true;
        let mut trouble = Vec::new();
        for seat in &self.seats {
            fresh &= seat.state() != "stalled";
            if matches!(seat.state(), "stalled" | "restarting") {
                trouble.push(format!("worker {} {}: {}", seat.name(), seat.state(), seat.why()));
            }
        }
        self.notify.trouble((!trouble.is_empty()).then(|| trouble.join("; ")).as_deref());
        fresh
    }

    fn restart(&mut self, at: usize, reason: RestartReason, why: &str, now_us: i64) -> Result<(), GaveUp> {
        let seat = &mut self.seats[at];
        let worker = seat.name().to_owned();
        let wait = match seat.spend(now_us, why) {
            Ok(wait) => wait,
            Err(reason) => return Err(GaveUp { worker, reason }),
        };
        let restart = Restart { worker, reason, text: why.to_owned(), restarts: seat.restarts, wait };
        self.tally.worker_restarts(&restart.worker, reason);
        warn!(
            worker = restart.worker,
            reason = reason.as_str(),
            why,
            wait_ms = wait.as_millis(),
            restarts = restart.restarts,
            "a worker is started again"
        );
        self.post(at);
        (self.on_restart)(&restart);
        Ok(())
    }

    /// Who else has been at one piece of work for long: a task that holds its thread keeps others from theirs.
    fn suspects(&self, victim: usize) -> String {
        let others = self.seats.iter().enumerate().filter(|(at, _)| *at != victim);
        let busy = others.filter_map(|(_, seat)| Some((seat.beat.worker().to_owned(), seat.beat.at_work()?)));
        let long = busy.filter(|(_, since)| *since >= LONG_AT_WORK);
        long.map(|(worker, since)| format!("; {worker} has been at work for {:.0} s", since.as_secs_f64())).collect()
    }

    fn retire(&mut self, at: usize) {
        let seat = &self.seats[at];
        info!(worker = seat.name(), "a worker is done");
        let name = seat.name().to_owned();
        self.roster.lock().retain(|beat| beat.worker() != name);
        self.post(at);
    }

    fn post(&self, at: usize) {
        let seat = &self.seats[at];
        self.board.post(State::Worker(WorkerState {
            worker: seat.name().to_owned(),
            state: seat.state(),
            restarts: seat.restarts,
            last_reason: seat.why().to_owned(),
        }));
    }

    fn give_up(&mut self, gave_up: GaveUp, shared: &Shared, waker: &Waker) -> End {
        error!(
            worker = gave_up.worker,
            reason = gave_up.reason,
            "a worker cannot be brought back; the process ends and is started again"
        );
        self.notify.trouble(Some(&gave_up.to_string()));
        self.board.raise(Alarm {
            name: "worker_gave_up".into(),
            severity: Severity::Fault,
            since_ms: self.clock.now().wall_ms,
            text: gave_up.to_string(),
            advice: "The node restarts by itself; if this comes back, send the log to support.".into(),
            count: 1,
        });
        (self.last_words)(&gave_up);
        // What the others hold in memory still gets to the disk; what does not is covered by the crash promise.
        let left = self.drain(LAST_DRAIN, false, shared, waker);
        if !left.is_empty() {
            warn!(?left, "workers did not end in time");
        }
        End::GaveUp(gave_up)
    }

    /// Stops stage after stage, each with its share of the time that is left; answers who missed its share. `well`:
    /// whether the node stops because it was told to, and not because a worker cannot be brought back.
    fn drain(&mut self, within: Duration, well: bool, shared: &Shared, waker: &Waker) -> Vec<String> {
        let within_us = i64::try_from(within.as_micros()).unwrap_or(i64::MAX);
        let end_us = self.clock.now().mono_us.saturating_add(within_us);
        let mut stages: Vec<u8> = self.seats.iter().map(|seat| seat.stage).collect();
        stages.sort_unstable();
        stages.dedup();
        let mut left = Vec::new();
        for (done, stage) in stages.iter().enumerate() {
            let now_us = self.clock.now().mono_us;
            let to_go = i64::try_from(stages.len() - done).unwrap_or(1);
            let until_us = now_us + (end_us - now_us).max(0) / to_go;
            self.seats.iter().rev().filter(|seat| seat.stage == *stage).for_each(Seat::stop);
            while self.stage_runs(*stage, waker) && self.clock.now().mono_us < until_us {
                // The deadline bounds the drain, so it is a sign of life itself; but not of a node with a worker that hangs.
                self.notify.turn(well);
                shared.looks.fetch_add(1, Ordering::AcqRel);
                std::thread::park_timeout(self.tick.min(DRAIN_TICK));
            }
            for at in 0..self.seats.len() {
                if self.seats[at].stage == *stage {
                    if self.seats[at].is_running() {
                        self.seats[at].abort();
                        left.push(self.seats[at].name().to_owned());
                    } else {
                        self.post(at);
                    }
                }
            }
        }
        left
    }

    fn stage_runs(&mut self, stage: u8, waker: &Waker) -> bool {
        let mut cx = Context::from_waker(waker);
        let mut runs = false;
        for seat in self.seats.iter_mut().filter(|seat| seat.stage == stage) {
            // Every one is asked, so that each has the waker.
            runs |= seat.still_runs(&mut cx);
        }
        runs
    }
}

/// Between two looks during a drain, should a wake be missed.
const DRAIN_TICK: Duration = Duration::from_millis(100);

impl std::fmt::Display for GaveUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "worker {} {}", self.worker, self.reason)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[derive(Default)]
struct Shared {
    asked: Mutex<Option<Duration>>,
    end: Mutex<Option<End>>,
    ended: Condvar,
    over: CancellationToken,
    looks: AtomicU64,
}

impl Shared {
    fn asked(&self) -> Option<Duration> {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, end: End) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        self.ended.notify_all();
        self.over.cancel();
    }
}

/// The running workers. Clones share them.
#[derive(Clone)]
pub struct Running {
    shared: Arc<Shared>,
    thread: Thread,
}

impl Running {
    /// Asks for the stop within `within` and returns at once: for a signal's task.
    pub fn ask(&self, within: Duration) {
        let mut asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.get_or_insert(within);
        drop(asked);
        self.thread.unpark();
    }

    /// Stops all workers within `within` and says how it went. Blocks.
    ///
    /// After it, the caller ends the process: a runtime with a worker that was left cannot be joined.
    #[must_use]
    pub fn stop(&self, within: Duration) -> End {
        self.ask(within);
        let end = self.shared.end.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.ended.wait_timeout_while(end, within + STOP_GRACE, |end| end.is_none());
        let (end, _) = waited.unwrap_or_else(PoisonError::into_inner);
        end.clone().unwrap_or_else(|| End::Stopped { left: vec!["supervisor".into()] })
    }

    /// Waits for the end: a stop that somebody asked for, or a worker that cannot be brought back. Blocks.
    #[must_use]
    pub fn wait(&self) -> End {
        let end = self.shared.end.lock().unwrap_or_else(PoisonError::into_inner);
        let end = self.shared.ended.wait_while(end, |end| end.is_none()).unwrap_or_else(PoisonError::into_inner);
        // The wait ends only with a value.
        end.clone().unwrap_or(End::Stopped { left: Vec::new() })
    }

    /// Fires when all is over; for tasks, which must not block in [`Running::wait`].
    #[must_use]
    pub fn over(&self) -> CancellationToken {
        self.shared.over.clone()
    }

    /// Looks at the workers so far.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.shared.looks.load(Ordering::Acquire)
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
