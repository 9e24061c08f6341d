//! The supervisor with real tasks, real threads and a real service manager's socket; only the clock is moved by hand.

use std::cell::RefCell;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use tokio::runtime::Runtime;

use crate::domain::Stamp;
use crate::health::export::{Format, text};
use crate::health::{Ctx, Outcome, Sample};

use super::*;

/// A node without rooms: everything a supervisor needs, and a service manager that is heard.
struct Node {
    clock: Clock,
    board: Board,
    tally: Tally,
    runtime: Option<Runtime>,
    manager: UnixDatagram,
    told: RefCell<Vec<String>>,
    _dir: tempfile::TempDir,
}

impl Node {
    fn new() -> (Self, Supervisor) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let clock = Clock::manual(Stamp { mono_us: 7_000_000, wall_ms: 1_795_169_472_000 });
        let notify = Notify::to(&path, Some(Duration::from_secs(3)), clock.clone()).unwrap();
        let (board, tally) = (Board::default(), Tally::new(clock.clone()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut supervisor =
            Supervisor::new(clock.clone(), board.clone(), tally.clone(), runtime.handle().clone(), notify);
        supervisor.tick(Duration::from_millis(1));
        (Self { clock, board, tally, runtime: Some(runtime), manager, told: RefCell::default(), _dir: dir }, supervisor)
    }

    /// Lets `ms` pass in steps of `step_ms`, each of them looked at twice, until `done`; answers how much passed.
    fn pass(&self, running: &Running, ms: i64, step_ms: i64, done: impl Fn() -> bool) -> i64 {
        let before = self.clock.now().mono_ms();
        while self.clock.now().mono_ms() - before < ms && !done() {
            self.step(running, step_ms);
        }
        self.clock.now().mono_ms() - before
    }

    /// Moves the clock and lets the supervisor look twice.
    fn step(&self, running: &Running, ms: i64) {
        self.clock.advance_ms(ms);
        let looks = running.looks() + 2;
        until("the supervisor looks", || {
            self.listen();
            running.looks() >= looks || running.over().is_cancelled()
        });
    }

    fn worker(&self, name: &str) -> WorkerState {
        match self.board.get("worker", name) {
            Some(State::Worker(state)) => state,
            other => panic!("{name} is not on the board: {other:?}"),
        }
    }

    fn metrics(&self) -> String {
        text(&self.tally, &Sample::default(), Format::Prometheus)
    }

    /// Reads what the service manager was told: its socket holds only ten messages.
    fn listen(&self) {
        let mut bytes = [0; 2048];
        while let Ok(n) = self.manager.recv(&mut bytes) {
            self.told.borrow_mut().push(String::from_utf8_lossy(&bytes[..n]).into_owned());
        }
    }

    /// Everything the service manager was told since the last call.
    fn heard(&self) -> Vec<String> {
        self.listen();
        self.told.take()
    }
}

impl Drop for Node {
    /// Some workers cannot be ended; the test can.
    fn drop(&mut self) {
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// Waits for a condition in real time.
fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        std::thread::yield_now();
    }
}

/// Longer than any test: the clock of a test runs faster than a thread may get its turn.
const FAR: Duration = Duration::from_secs(1_000_000);

/// A task that behaves: it keeps its promise and stops when told.
async fn behaves(ctx: Ctx) -> Outcome {
    ctx.beat.working(FAR);
    ctx.stop.cancelled().await;
    Ok(())
}

/// The same as a thread.
fn thread_behaves(ctx: &Ctx) -> Outcome {
    ctx.beat.working(FAR);
    while !ctx.stop.is_cancelled() {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    Ok(())
}

/// A task that misbehaves once, as `wrong` does, and behaves after its restart.
fn once<F, Fut>(name: &str, wrong: F) -> (Worker, Arc<AtomicU32>)
where
    F: Fn(Ctx) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    let starts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&starts);
    let worker = Worker::task(name, move |ctx| {
        let first = counted.fetch_add(1, Ordering::AcqRel) == 0;
        let wrong = wrong.clone();
        async move { if first { wrong(ctx).await } else { behaves(ctx).await } }
    });
    (worker, starts)
}

/// Why it gave up, once it did.
fn gave_up(running: &Running) -> GaveUp {
    until("the end", || running.over().is_cancelled());
    match running.wait() {
        End::GaveUp(gave_up) => gave_up,
        End::Stopped { left } => panic!("stopped, and {left:?} was left"),
    }
}

fn restarts_of(supervisor: &mut Supervisor) -> Receiver<Restart> {
    let (tx, rx) = sync_channel(64);
    supervisor.on_restart(move |restart| tx.try_send(restart.clone()).unwrap());
    rx
}

#[test]
fn a_panicking_task_is_back_and_counted() {
    let (node, mut supervisor) = Node::new();
    let restarts = restarts_of(&mut supervisor);
    let (worker, starts) = once("uplink", |_ctx| async { panic!("packet {} out of\norder", 7) });
    supervisor.add(0, worker);
    let running = supervisor.start().unwrap();
    let restart = restarts.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(
        restart,
        Restart {
            worker: "uplink".into(),
            reason: RestartReason::Panicked,
            text: "packet 7 out of order".into(),
            restarts: 1,
            wait: Duration::from_millis(100),
        }
    );
    until("it waits", || node.worker("uplink").state == "restarting");
    assert_eq!(starts.load(Ordering::Acquire), 1);
    node.pass(&running, 60_000, 100, || starts.load(Ordering::Acquire) == 2);
    until("it is back", || node.worker("uplink").state == "fresh");
    assert_eq!(node.worker("uplink").last_reason, "packet 7 out of order");
    let line = "waypost_worker_restarts_total{worker=\"uplink\",reason=\"panicked\"} 1";
    assert!(node.metrics().lines().any(|one| one == line), "{}", node.metrics());
    assert_eq!(running.stop(Duration::from_secs(10)), End::Stopped { left: Vec::new() });
}

#[test]
fn a_panic_before_the_first_await_and_an_error_of_a_thread_are_restarts_too() {
    let (node, mut supervisor) = Node::new();
    let restarts = restarts_of(&mut supervisor);
    let armed = AtomicBool::new(true);
    supervisor.add(
        0,
        Worker::task("uplink", move |ctx| {
            assert!(!armed.swap(false, Ordering::AcqRel), "not even begun");
            behaves(ctx)
        }),
    );
    let armed = AtomicBool::new(true);
    supervisor.add(
        0,
        Worker::thread("writer", move |ctx| {
            if armed.swap(false, Ordering::AcqRel) {
                return Err(anyhow::anyhow!("disk gone").context("failed to commit"));
            }
            thread_behaves(&ctx)
        }),
    );
    let running = supervisor.start().unwrap();
    let told: Vec<Restart> = (0..2).map(|_| restarts.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
    let by = |name: &str| told.iter().find(|one| one.worker == name).unwrap();
    assert_eq!((by("uplink").reason, &*by("uplink").text), (RestartReason::Panicked, "not even begun"));
    assert_eq!((by("writer").reason, &*by("writer").text), (RestartReason::Failed, "failed to commit: disk gone"));
    node.pass(&running, 1_000, 100, || false);
    assert_eq!((node.worker("uplink").state, node.worker("writer").state), ("fresh", "fresh"));
    assert_eq!(running.stop(Duration::from_secs(10)), End::Stopped { left: Vec::new() });
}

#[test]
fn an_endless_await_is_noticed_in_time_and_the_worker_restarted() {
    let (node, mut supervisor) = Node::new();
    let (worker, starts) = once("screen", |ctx| async move {
        ctx.beat.working(Duration::from_secs(20));
        std::future::pending::<()>().await;
        Ok(())
    });
    supervisor.add(0, worker);
    let running = supervisor.start().unwrap();
    until("it runs", || starts.load(Ordering::Acquire) == 1);
    let took = node.pass(&running, 60_000, 100, || starts.load(Ordering::Acquire) == 2);
    assert!((20_000..30_000).contains(&took), "back after {took} ms");
    until("it is back", || node.worker("screen").state == "fresh");
    assert!(node.worker("screen").last_reason.starts_with("made no progress"), "{:?}", node.worker("screen"));
    assert!(node.metrics().contains("reason=\"stalled\"} 1"), "{}", node.metrics());
    assert_eq!(running.stop(Duration::from_secs(10)), End::Stopped { left: Vec::new() });
}

#[test]
fn a_blocked_thread_makes_the_supervisor_give_up_with_the_reason() {
    let (node, mut supervisor) = Node::new();
    let (release, blocked) = sync_channel::<()>(0);
    let blocked = Mutex::new(blocked);
    let (tx, last_words) = sync_channel(1);
    supervisor.last_words(move |gave_up| tx.try_send(gave_up.clone()).unwrap());
    let healthy = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&healthy);
    supervisor.add(
        0,
        Worker::task("source:gps0", move |ctx| {
            let ended = Arc::clone(&ended);
            async move {
                behaves(ctx).await?;
                ended.store(true, Ordering::Release);
                Ok(())
            }
        }),
    );
    supervisor.add(
        3,
        Worker::thread("writer", move |ctx| {
            ctx.beat.working(Duration::from_secs(20));
            // Nothing is ever sent: the thread sits here until the test lets go.
            assert!(blocked.lock().unwrap().recv().is_err());
            Ok(())
        }),
    );
    let running = supervisor.start().unwrap();
    let took = node.pass(&running, 120_000, 100, || running.over().is_cancelled());
    let gave_up = gave_up(&running);
    assert_eq!(gave_up.worker, "writer");
    assert!(gave_up.reason.contains("made no progress") && gave_up.reason.ends_with("cannot be ended"), "{gave_up}");
    assert!(took <= 60_000, "ended after {took} ms");
    assert_eq!(last_words.try_recv().unwrap(), gave_up);
    assert!(healthy.load(Ordering::Acquire), "the healthy ones were let finish");
    assert_eq!(End::GaveUp(gave_up.clone()).exit_code(), 70);
    let told = node.heard();
    assert_eq!(told.last().map(String::as_str), Some("WATCHDOG=trigger\n"), "{told:#?}");
    assert_eq!(told[told.len() - 2], format!("STATUS={gave_up}\n"));
    assert!(
        matches!(node.board.get("alarm", "worker_gave_up"), Some(State::Alarm(a)) if a.text == gave_up.to_string())
    );
    assert_eq!(node.worker("writer").state, "stalled");
    drop(release);
}

#[test]
fn a_task_in_an_endless_loop_ends_the_process_within_a_minute() {
    let (node, mut supervisor) = Node::new();
    let (worker, starts, release) = spins("ingest");
    supervisor.add(1, worker);
    let running = supervisor.start().unwrap();
    until("it spins", || starts.load(Ordering::Acquire) == 1);
    let took = node.pass(&running, 120_000, 100, || running.over().is_cancelled());
    assert_eq!(gave_up(&running).worker, "ingest");
    assert!(took <= 60_000, "ended after {took} ms");
    release.store(true, Ordering::Release);
}

/// A task that neither awaits nor beats, until the test lets go.
fn spins(name: &str) -> (Worker, Arc<AtomicU32>, Arc<AtomicBool>) {
    let release = Arc::new(AtomicBool::new(false));
    let free = Arc::clone(&release);
    let (worker, starts) = once(name, move |ctx| {
        let free = Arc::clone(&free);
        async move {
            ctx.beat.working(Duration::from_secs(20));
            while !free.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            Ok(())
        }
    });
    (worker, starts, release)
}

#[test]
fn a_stalled_thread_that_ends_when_told_is_restarted() {
    let (node, mut supervisor) = Node::new();
    let restarts = restarts_of(&mut supervisor);
    let armed = AtomicBool::new(true);
    supervisor.add(
        0,
        Worker::thread("writer", move |ctx| {
            if !armed.swap(false, Ordering::AcqRel) {
                return thread_behaves(&ctx);
            }
            ctx.beat.working(Duration::from_secs(3));
            while !ctx.stop.is_cancelled() {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            Ok(())
        }),
    );
    let running = supervisor.start().unwrap();
    until("it runs", || running.looks() > 0);
    node.pass(&running, 20_000, 100, || node.worker("writer").restarts == 1 && node.worker("writer").state == "fresh");
    assert_eq!(restarts.try_recv().unwrap().reason, RestartReason::Stalled);
    assert_eq!(running.stop(Duration::from_secs(10)), End::Stopped { left: Vec::new() });
}

#[test]
fn the_fourth_failure_in_five_minutes_is_one_too_many() {
    let (node, mut supervisor) = Node::new();
    let restarts = restarts_of(&mut supervisor);
    supervisor.add(0, Worker::task("screen", |_ctx| async { Err(anyhow::anyhow!("address in use")) }));
    let running = supervisor.start().unwrap();
    let took = node.pass(&running, 300_000, 100, || running.over().is_cancelled());
    let gave_up = gave_up(&running);
    assert_eq!(gave_up.to_string(), "worker screen address in use; 3 restarts in 5 minutes did not help");
    let waits: Vec<Duration> = restarts.try_iter().map(|restart| restart.wait).collect();
    assert_eq!(waits, [100, 1_000, 10_000].map(Duration::from_millis));
    assert!((11_100..=13_000).contains(&took), "the waits were kept: {took} ms");
}

#[test]
fn ten_failures_in_an_hour_are_borne_and_the_next_is_not() {
    let (node, mut supervisor) = Node::new();
    let restarts = restarts_of(&mut supervisor);
    let wrong = Arc::new(tokio::sync::Notify::new());
    let goes_wrong = Arc::clone(&wrong);
    let starts = Arc::new(AtomicU32::new(0));
    let started = Arc::clone(&starts);
    supervisor.add(
        0,
        Worker::task("uplink", move |ctx| {
            let (goes_wrong, started) = (Arc::clone(&goes_wrong), Arc::clone(&started));
            async move {
                ctx.beat.working(FAR);
                started.fetch_add(1, Ordering::AcqRel);
                goes_wrong.notified().await;
                Err(anyhow::anyhow!("once more"))
            }
        }),
    );
    let running = supervisor.start().unwrap();
    for nth in 1..=10 {
        wrong.notify_one();
        assert_eq!(restarts.recv_timeout(Duration::from_secs(10)).unwrap().restarts, nth);
        // Hours pass only while it runs: a start that waits for its turn must not look like a stall.
        node.pass(&running, 60_000, 50, || starts.load(Ordering::Acquire) > nth);
        node.pass(&running, 110_000, 4_000, || false);
    }
    wrong.notify_one();
    assert!(gave_up(&running).reason.contains("10 restarts in an hour"));
}

#[test]
fn signs_of_life_stop_while_one_promise_is_overdue() {
    let (node, mut supervisor) = Node::new();
    let (release, blocked) = sync_channel::<()>(0);
    let blocked = Mutex::new(blocked);
    supervisor.add(0, Worker::task("uplink", behaves));
    supervisor.add(
        0,
        Worker::thread("writer", move |ctx| {
            ctx.beat.working(Duration::from_secs(6));
            blocked.lock().unwrap().recv()?;
            while !ctx.stop.is_cancelled() {
                std::thread::yield_now();
            }
            Ok(())
        }),
    );
    let running = supervisor.start().unwrap();
    let pings = |told: &[String]| told.iter().filter(|one| *one == "WATCHDOG=1\n").count();
    node.pass(&running, 6_000, 100, || false);
    let told = node.heard();
    assert!((5..=8).contains(&pings(&told)), "one each second: {told:?}");
    node.pass(&running, 500, 100, || node.worker("writer").state == "stalled");
    assert!(pings(&node.heard()) <= 1);
    node.pass(&running, 3_000, 100, || false);
    let told = node.heard();
    assert_eq!(pings(&told), 0, "{told:?}");
    // It lets go and ends as it was told; its place is taken by a new run with a fresh promise.
    release.send(()).unwrap();
    node.pass(&running, 2_000, 100, || node.worker("writer").state == "fresh");
    node.pass(&running, 1_500, 100, || false);
    let told = node.heard();
    assert!(pings(&told) >= 1, "{told:?}");
    drop(release);
    assert_eq!(running.stop(Duration::from_secs(10)), End::Stopped { left: Vec::new() });
}

/// A task that stops when told, and tells when.
fn teller(name: &'static str, tx: &SyncSender<&'static str>) -> Worker {
    let tx = tx.clone();
    Worker::task(name, move |ctx| {
        let tx = tx.clone();
        async move {
            behaves(ctx).await?;
            tx.try_send(name).map_err(Into::into)
        }
    })
}

#[test]
fn a_drain_stops_sources_before_ingest_before_the_way_out_before_the_writer() {
    let (node, mut supervisor) = Node::new();
    let (tx, rx) = sync_channel(8);
    for (stage, name) in [(3, "writer"), (1, "ingest"), (2, "uplink"), (0, "source:gps0"), (2, "screen")] {
        supervisor.add(stage, teller(name, &tx));
    }
    let running = supervisor.start().unwrap();
    until("all run", || running.looks() > 3);
    assert_eq!(running.stop(Duration::from_secs(10)), End::Stopped { left: Vec::new() });
    let mut order: Vec<&str> = rx.try_iter().collect();
    // The two of one stage run side by side.
    order[2..4].sort_unstable();
    assert_eq!(order, ["source:gps0", "ingest", "screen", "uplink", "writer"]);
    assert!(node.heard().contains(&"STOPPING=1\nSTATUS=stopping\n".to_owned()));
    assert_eq!(node.worker("writer").state, "ended");
}

#[test]
fn who_does_not_stop_costs_its_own_share_only_and_is_named() {
    let (node, mut supervisor) = Node::new();
    let (tx, rx) = sync_channel(8);
    let (release, blocked) = sync_channel::<()>(0);
    let (told, blocked) = (tx.clone(), Mutex::new(blocked));
    supervisor.add(
        0,
        Worker::thread("source:gps0", move |ctx| {
            thread_behaves(&ctx)?;
            told.try_send("source:gps0")?;
            blocked.lock().unwrap().recv().map_err(Into::into)
        }),
    );
    supervisor.add(1, teller("ingest", &tx));
    let told = tx.clone();
    supervisor.add(
        2,
        Worker::task("uplink", move |ctx| {
            let told = told.clone();
            async move {
                behaves(ctx).await?;
                told.try_send("uplink")?;
                std::future::pending().await
            }
        }),
    );
    supervisor.add(3, teller("writer", &tx));
    let running = supervisor.start().unwrap();
    until("all run", || running.looks() > 3);
    running.ask(Duration::from_secs(8));
    let next = || rx.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(next(), "source:gps0");
    // A quarter of the eight seconds; what then ends at once costs nothing; half of the six that are left.
    node.clock.advance_ms(2_000);
    assert_eq!((next(), next()), ("ingest", "uplink"));
    node.clock.advance_ms(3_000);
    assert_eq!(next(), "writer");
    assert_eq!(running.wait(), End::Stopped { left: vec!["source:gps0".into(), "uplink".into()] });
    drop(release);
}

#[test]
fn a_worker_that_is_done_stays_done_and_is_never_overdue() {
    let (node, mut supervisor) = Node::new();
    supervisor.add(0, Worker::task("source:file", |_ctx| async { Ok(()) }));
    supervisor.add(0, Worker::task("uplink", behaves));
    let roster = supervisor.roster();
    let running = supervisor.start().unwrap();
    node.pass(&running, 60_000, 1_000, || false);
    let state = node.worker("source:file");
    assert_eq!((state.state, state.restarts), ("ended", 0));
    assert_eq!(roster.ages().iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["uplink"]);
    assert!(!running.over().is_cancelled());
    assert_eq!(running.stop(Duration::from_secs(10)), End::Stopped { left: Vec::new() });
}

#[test]
fn a_night_of_suspend_is_no_worker_s_fault() {
    let (node, mut supervisor) = Node::new();
    let (tx, rx) = sync_channel::<()>(1);
    let rx = Mutex::new(rx);
    let roster = supervisor.roster();
    supervisor.add(
        0,
        Worker::thread("writer", move |ctx| {
            let _wake = ctx.beat.parked(Duration::from_secs(10));
            // It beats again when the test lets it, as a thread does that has just come out of suspend.
            rx.lock().unwrap().recv()?;
            thread_behaves(&ctx)
        }),
    );
    let running = supervisor.start().unwrap();
    node.pass(&running, 1_000, 100, || false);
    node.clock.advance_ms(8 * 3_600_000);
    node.pass(&running, 10_000, 100, || false);
    assert_eq!(node.worker("writer").state, "fresh");
    tx.send(()).unwrap();
    until("it beats", || roster.ages()[0].1.is_zero());
    node.pass(&running, 10_000, 100, || false);
    assert_eq!((node.worker("writer").state, node.worker("writer").restarts), ("fresh", 0));
    assert_eq!(running.stop(Duration::from_secs(10)), End::Stopped { left: Vec::new() });
}

#[test]
fn a_process_that_does_not_end_by_itself_is_ended_with_70() {
    const CHILD: &str = "WAYPOST_TEST_CHILD_GIVES_UP";
    if std::env::var_os(CHILD).is_none() {
        let name = "health::supervisor::tests::a_process_that_does_not_end_by_itself_is_ended_with_70";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
        assert_eq!(output.status.code(), Some(70), "{output:?}");
        return;
    }
    let (node, mut supervisor) = Node::new();
    supervisor.add(0, Worker::task("screen", |_ctx| async { Err(anyhow::anyhow!("address in use")) }));
    supervisor.exit_after(Duration::from_millis(1));
    let running = supervisor.start().unwrap();
    loop {
        // Main is stuck, as it is when it waits for a runtime that cannot be joined.
        node.pass(&running, 100, 100, || false);
    }
}
