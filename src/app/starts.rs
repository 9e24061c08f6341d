//! How the node's starts go: why the run before this one ended, whether runs last at all, and the safe mode of a node whose
//! runs do not. What is known lies in the unit's runtime folder: it outlives the process and ends with the boot. Without a unit
//! nobody starts the node again by itself, and each run begins anew.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::health::{Alarm, Board, Ctx, Outcome, Restart, RestartReason, Severity, Supervisor, Worker, alarms, wedge};

/// A run that was ready for so long has lasted. ms
const LASTED_MS: i64 = 60_000;
/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Runs in a row that do not last, after which the next one is careful.
const FAILED_MAX: u32 = 5;
/// What the node keeps of its runs.
const FILE: &str = "starts.json";
/// Where the unit writes how systemd saw the process end: `$SERVICE_RESULT $EXIT_CODE $EXIT_STATUS` of systemd.exec(5).
const ENDED: &str = "ended";

/// What is kept from run to run.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    /// The kernel's boot id: another boot begins anew.
    boot: String,
    /// Runs in a row that did not last, the present one among them until it has.
    failed: u32,
    /// Why the run ends, in its own words.
    word: Option<String>,
    /// The worker that ended it, if one did.
    blame: Option<String>,
    /// The worker that was let go last and has not lasted yet.
    trial: Option<String>,
    /// Workers that ended runs: they stay off until a person starts the node.
    off: Vec<String>,
}

/// What the node knows of its runs. Clones share it.
#[derive(Clone)]
pub(super) struct Starts {
    folder: Option<PathBuf>,
    kept: Arc<Mutex<Kept>>,
    /// Why the run before ended, when it should not have; none after a stop, a power cut or a reboot.
    pub(super) ended: Option<String>,
    /// Whether this run is careful.
    pub(super) is_safe: bool,
}

impl Starts {
    /// Counts this run. What cannot be read or written is told and does not keep the node from its work.
    pub(super) fn begin(folder: Option<&Path>, boot: &str) -> Self {
        let kept = folder.and_then(|folder| std::fs::read(folder.join(FILE)).ok());
        let kept = kept.and_then(|text| serde_json::from_slice::<Kept>(&text).ok()).filter(|kept| kept.boot == boot);
        let seen = folder.and_then(|folder| std::fs::read_to_string(folder.join(ENDED)).ok());
        let ended = kept.as_ref().and_then(|kept| kept.word.clone().or_else(|| seen.as_deref().and_then(in_words)));
        let mut kept = kept.unwrap_or_else(|| Kept { boot: boot.to_owned(), ..Kept::default() });
        let is_safe = kept.failed >= FAILED_MAX;
        if is_safe {
            // The worker that ended the run is known, or it is the one that was let go last.
            let culprit = kept.blame.as_deref().map_or_else(|| kept.trial.clone(), part);
            kept.off.extend(culprit);
            kept.off.sort_unstable();
            kept.off.dedup();
        }
        kept.failed = kept.failed.saturating_add(1);
        (kept.word, kept.blame, kept.trial) = (None, None, None);
        let starts = Self { folder: folder.map(Path::to_owned), kept: Arc::new(Mutex::new(kept)), ended, is_safe };
        starts.write(&starts.lock());
        starts
    }

    /// Whether a worker stays off, for it ended runs before.
    fn stays_off(&self, worker: &str) -> bool {
        self.lock().off.iter().any(|off| off == worker)
    }

    /// The run has lasted, with all that does not stay off.
    fn lasted(&self) {
        let mut kept = self.lock();
        kept.trial = None;
        kept.failed = 0;
        self.write(&kept);
    }

    /// A worker that was held is about to run.
    fn tries(&self, worker: &str) {
        let mut kept = self.lock();
        kept.trial = Some(worker.to_owned());
        self.write(&kept);
    }

    /// Why this run ends though nobody asked it to, and through which worker.
    pub(super) fn last_word(&self, word: &str, worker: Option<&str>) {
        let mut kept = self.lock();
        (kept.word, kept.blame) = (Some(word.to_owned()), worker.map(str::to_owned));
        self.write(&kept);
    }

    /// Somebody asked the run to stop: the next one begins anew.
    pub(super) fn stopped(&self) {
        let Some(folder) = &self.folder else { return };
        for name in [FILE, ENDED] {
            if let Err(error) = std::fs::remove_file(folder.join(name))
                && error.kind() != std::io::ErrorKind::NotFound
            {
                warn!(%error, name, "what is known of this run cannot be taken away");
            }
        }
    }

    /// Has each restart written down, the node's own too, and has it keep its last word.
    pub(super) fn listen(&self, supervisor: &mut Supervisor, tell: mpsc::Sender<Restart>) {
        let note = move |restart: &Restart| {
            if tell.try_send(restart.clone()).is_err() {
                tracing::warn!(
                    worker = restart.worker,
                    "a restart could not be noted in the failure log; it is in this one"
                );
            }
        };
        if let Some(why) = &self.ended {
            tracing::warn!(why, "the run before this one ended and was not asked to");
            let (worker, text) = ("node".to_owned(), why.clone());
            note(&Restart { worker, reason: RestartReason::Failed, text, restarts: 1, wait: Duration::ZERO });
        }
        supervisor.on_restart(note);
        let starts = self.clone();
        supervisor.last_words(move |gave_up| starts.last_word(&gave_up.to_string(), Some(&gave_up.worker)));
    }

    fn write(&self, kept: &Kept) {
        let Some(folder) = &self.folder else { return };
        let (file, new) = (folder.join(FILE), folder.join(format!("{FILE}.new")));
        let text = serde_json::to_vec(kept).map_err(std::io::Error::other);
        let written = text.and_then(|text| std::fs::write(&new, text)).and_then(|()| std::fs::rename(&new, &file));
        if let Err(error) = written {
            warn!(%error, file = %file.display(), "what is known of this run cannot be written down");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A panic while holding it leaves whole values behind.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left off for the sake of a worker; none for what the node cannot be without.
fn part(worker: &str) -> Option<String> {
    match worker.split_once(':') {
        // What an input brings ends with its port.
        Some(("source" | "ingest", id)) => Some(format!("source:{id}")),
        _ => matches!(worker, "uplink" | "retention").then(|| worker.to_owned()),
    }
}

/// How systemd saw a process end, in words; none when it was well.
fn in_words(ended: &str) -> Option<String> {
    let mut parts = ended.split_whitespace();
    let (result, _, status) = (parts.next()?, parts.next(), parts.next().unwrap_or("?"));
    Some(match result {
        "success" => return None,
        "watchdog" => "the node gave systemd no sign of life in time and was ended".to_owned(),
        "oom-kill" => "the machine had no memory left, and the kernel ended the node".to_owned(),
        "timeout" => "the node did not start or stop in time and was ended".to_owned(),
        "exit-code" => format!("the node ended by itself with exit code {status}"),
        "signal" | "core-dump" => format!("the node was killed by SIG{status}"),
        other => format!("systemd says of the end of the node: {other} {status}"),
    })
}

/// A worker that is held until its token fires.
pub(super) struct Held {
    pub(super) name: String,
    pub(super) go: CancellationToken,
}

/// Who adds workers that are held: all in safe mode, and in any run those that stay off.
pub(super) struct Holder {
    starts: Starts,
    pub(super) held: Vec<Held>,
}

impl Holder {
    pub(super) fn of(starts: &Starts) -> Self {
        Self { starts: starts.clone(), held: Vec::new() }
    }

    pub(super) fn add(&mut self, supervisor: &mut Supervisor, stage: u8, worker: Worker) {
        if !self.starts.is_safe && !self.starts.stays_off(&worker.name) {
            supervisor.add(stage, worker);
            return;
        }
        let (name, go) = (worker.name.clone(), CancellationToken::new());
        supervisor.add_held(stage, worker, go.clone());
        self.held.push(Held { name, go });
    }
}

/// The worker `starts`: notes that the run lasts, and in safe mode lets go of what is held, one after the other.
pub(super) fn worker(starts: Starts, held: Vec<Held>, ready: Ready, board: Board, clock: Clock) -> Worker {
    let held: Vec<Held> = held.into_iter().filter(|one| !starts.stays_off(&one.name)).collect();
    let lasted_ms = wedge::turned("WAYPOST_LASTED_MS").and_then(|ms| ms.parse().ok()).unwrap_or(LASTED_MS);
    let course = Arc::new(Course { starts, held, board, clock, lasted_ms, step: Mutex::default() });
    Worker::task("starts", move |ctx| {
        let (course, ready) = (Arc::clone(&course), ready.clone());
        async move { course.run(&ctx, &ready).await }
    })
}

/// Changes when the screen is up.
type Ready = watch::Receiver<Vec<SocketAddr>>;

struct Course {
    starts: Starts,
    /// What is let go, in this order.
    held: Vec<Held>,
    board: Board,
    clock: Clock,
    lasted_ms: i64,
    step: Mutex<Step>,
}

/// How far it has come.
#[derive(Default)]
struct Step {
    /// Of what is held so many run.
    gone: usize,
    /// Since when the node is as it is. `CLOCK_BOOTTIME` ms; none before it is ready.
    since_ms: Option<i64>,
}

impl Course {
    /// Waits for a second to pass and for the word to stop.
    async fn run(&self, ctx: &Ctx, ready: &Ready) -> Outcome {
        self.tell(0);
        loop {
            let wait = ctx.beat.parked(LOOK);
            tokio::select! {
                () = ctx.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
            ctx.beat.working(LOOK * 5);
            // A screen that is gone is the supervisor's to tell.
            if self.look(ready.has_changed().unwrap_or(false)) {
                return Ok(());
            }
        }
    }

    /// One look; answers whether there is nothing left to do.
    fn look(&self, is_ready: bool) -> bool {
        let now_ms = self.clock.now().mono_ms();
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(since_ms) = step.since_ms else {
            step.since_ms = is_ready.then_some(now_ms);
            return false;
        };
        if now_ms - since_ms < self.lasted_ms {
            return false;
        }
        let Some(next) = self.held.get(step.gone) else {
            self.starts.lasted();
            self.tell(step.gone);
            return true;
        };
        info!(worker = next.name, "safe mode: it is started again");
        self.starts.tries(&next.name);
        next.go.cancel();
        (step.gone, step.since_ms) = (step.gone + 1, Some(now_ms));
        self.tell(step.gone);
        false
    }

    /// Raises or ends the alarm of the safe mode.
    fn tell(&self, gone: usize) {
        let list = |names: Vec<&str>| names.join(", ");
        let off = self.starts.lock().off.clone();
        let waits = list(self.held.iter().skip(gone).map(|one| one.name.as_str()).collect());
        if waits.is_empty() && off.is_empty() {
            self.board.clear(alarms::SAFE_MODE);
            return;
        }
        let mut text = match &self.starts.ended {
            Some(why) => format!("The node ended soon after its start {FAILED_MAX} times, at last because {why}."),
            None => format!("The node ended soon after its start {FAILED_MAX} times."),
        };
        if !off.is_empty() {
            text.push_str(&format!(
                " Off, for it came with the end: {}.",
                list(off.iter().map(String::as_str).collect())
            ));
        }
        if !waits.is_empty() {
            text.push_str(&format!(" The rest is started one a minute; next: {waits}."));
        }
        let advice = "Look at what is off: its device, its lines of the configuration. Then `systemctl restart waypost`: it starts all.";
        self.board.raise(Alarm {
            name: alarms::SAFE_MODE.into(),
            severity: Severity::Fault,
            since_ms: self.clock.now().wall_ms,
            text,
            advice: advice.into(),
            count: 1,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Stamp;

    /// A run that failed, and the next one's look at it.
    fn after(folder: &Path, runs: u32) -> Starts {
        (0..runs).for_each(|_| drop(Starts::begin(Some(folder), "boot-1")));
        Starts::begin(Some(folder), "boot-1")
    }

    fn course(starts: &Starts, names: &[&str]) -> (Course, Clock, Board) {
        let (clock, board) = (Clock::manual(Stamp::default()), Board::default());
        let held = names.iter().filter(|name| !starts.stays_off(name));
        let held = held.map(|name| Held { name: (*name).to_owned(), go: CancellationToken::new() }).collect();
        let (lasted_ms, step) = (LASTED_MS, Mutex::default());
        let course =
            Course { starts: starts.clone(), held, board: board.clone(), clock: clock.clone(), lasted_ms, step };
        (course, clock, board)
    }

    fn running(course: &Course) -> Vec<&str> {
        course.held.iter().filter(|one| one.go.is_cancelled()).map(|one| one.name.as_str()).collect()
    }

    #[test]
    fn after_five_runs_that_did_not_last_the_sixth_is_careful_and_a_run_that_lasts_or_is_stopped_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!after(dir.path(), 4).is_safe, "the fifth");
        let sixth = Starts::begin(Some(dir.path()), "boot-1");
        assert!(sixth.is_safe);
        sixth.stopped();
        let starts = Starts::begin(Some(dir.path()), "boot-1");
        assert!(!starts.is_safe, "a person started it");
        let (course, clock, _board) = course(&starts, &[]);
        assert!(!course.look(true));
        clock.advance_ms(LASTED_MS);
        assert!(course.look(true), "it has lasted");
        assert!(!after(dir.path(), 4).is_safe);
        assert!(!Starts::begin(Some(dir.path()), "boot-2").is_safe, "another boot");
    }

    #[test]
    fn a_run_that_is_not_ready_has_not_lasted_however_long_it_takes() {
        let dir = tempfile::tempdir().unwrap();
        let starts = after(dir.path(), 3);
        let (course, clock, _board) = course(&starts, &[]);
        (0..100).for_each(|_| {
            clock.advance_ms(10_000);
            assert!(!course.look(false));
        });
        assert!(after(dir.path(), 1).is_safe);
    }

    #[test]
    fn in_safe_mode_one_a_minute_is_let_go_and_all_is_well_a_minute_after_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let starts = after(dir.path(), 5);
        let (course, clock, board) = course(&starts, &["source:gps0", "uplink"]);
        course.tell(0);
        let text = || match board.get("alarm", "safe_mode") {
            Some(crate::health::State::Alarm(alarm)) => alarm.text,
            _ => String::new(),
        };
        assert_eq!(
            text(),
            "The node ended soon after its start 5 times. The rest is started one a minute; next: source:gps0, uplink."
        );
        assert!(!course.look(true));
        clock.advance_ms(LASTED_MS - 1);
        assert!(!course.look(true));
        assert_eq!(running(&course), Vec::<&str>::new());
        clock.advance_ms(1);
        assert!(!course.look(true));
        assert_eq!(running(&course), ["source:gps0"]);
        clock.advance_ms(LASTED_MS);
        assert!(!course.look(true));
        assert_eq!(running(&course), ["source:gps0", "uplink"]);
        assert_eq!(text(), "", "nothing waits any more");
        clock.advance_ms(LASTED_MS);
        assert!(course.look(true));
        assert!(!Starts::begin(Some(dir.path()), "boot-1").is_safe);
    }

    #[test]
    fn what_ends_the_run_when_it_is_let_go_stays_off_and_the_rest_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let first = after(dir.path(), 5);
        let (before, clock, _board) = course(&first, &["source:bad", "uplink"]);
        assert!(!before.look(true));
        clock.advance_ms(LASTED_MS);
        assert!(!before.look(true));
        assert_eq!(running(&before), ["source:bad"]);
        // Killed: without a word. The one that was let go last is to blame.
        let next = Starts::begin(Some(dir.path()), "boot-1");
        assert!(next.is_safe && next.stays_off("source:bad") && !next.stays_off("uplink"));
        let (course, clock, board) = course(&next, &["source:bad", "uplink"]);
        course.tell(0);
        (0..3).for_each(|_| {
            course.look(true);
            clock.advance_ms(LASTED_MS);
        });
        assert_eq!(running(&course), ["uplink"]);
        let Some(crate::health::State::Alarm(alarm)) = board.get("alarm", "safe_mode") else { panic!("it stands") };
        assert_eq!(
            alarm.text,
            "The node ended soon after its start 5 times. Off, for it came with the end: source:bad."
        );
        // Whatever ends it later, it stays off until a person starts the node.
        let later = Starts::begin(Some(dir.path()), "boot-1");
        assert!(!later.is_safe && later.stays_off("source:bad"), "that run had lasted: the others start at once");
        later.stopped();
        assert!(!Starts::begin(Some(dir.path()), "boot-1").stays_off("source:bad"));
    }

    #[test]
    fn the_worker_that_could_not_be_brought_back_is_off_at_once() {
        let dir = tempfile::tempdir().unwrap();
        after(dir.path(), 4).last_word("worker uplink hit a bug", Some("uplink"));
        let next = Starts::begin(Some(dir.path()), "boot-1");
        assert!(next.is_safe && next.stays_off("uplink"));
        assert_eq!(next.ended.as_deref(), Some("worker uplink hit a bug"));
        let next = Starts::begin(Some(dir.path()), "boot-1");
        assert_eq!(next.ended, None, "told once");
        next.last_word("worker ingest:dock-1 hit a bug", Some("ingest:dock-1"));
        let next = Starts::begin(Some(dir.path()), "boot-1");
        assert!(next.stays_off("source:dock-1"), "with the port goes what it brings");
        next.tries("source:gps0");
        next.last_word("worker writer hit a bug", Some("writer"));
        let last = Starts::begin(Some(dir.path()), "boot-1");
        assert_eq!(
            last.lock().off,
            ["source:dock-1", "uplink"],
            "the writer cannot be off, nor is the last one to blame"
        );
    }

    #[test]
    fn why_a_run_ended_is_told_by_itself_or_else_by_systemd() {
        let dir = tempfile::tempdir().unwrap();
        let ended = |words: &str| {
            std::fs::write(dir.path().join(ENDED), words).unwrap();
            Starts::begin(Some(dir.path()), "boot-1").ended
        };
        assert_eq!(ended("watchdog killed ABRT\n"), None, "of a run that is not known");
        let well = |words: &str| ended(words).unwrap();
        assert_eq!(well("watchdog killed ABRT\n"), "the node gave systemd no sign of life in time and was ended");
        assert_eq!(well("oom-kill killed KILL\n"), "the machine had no memory left, and the kernel ended the node");
        assert_eq!(well("signal killed KILL\n"), "the node was killed by SIGKILL");
        assert_eq!(well("exit-code exited 74\n"), "the node ended by itself with exit code 74");
        assert_eq!(ended("success exited 0\n"), None);
        assert_eq!(ended(""), None, "a file that was cut off");
        Starts::begin(Some(dir.path()), "boot-1").last_word("worker writer stalled", Some("writer"));
        assert_eq!(well("watchdog killed ABRT\n"), "worker writer stalled");
    }

    #[test]
    fn a_folder_that_cannot_be_used_or_holds_garbage_keeps_no_node_from_its_work() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), [0xff, 0, 7]).unwrap();
        std::fs::write(dir.path().join(ENDED), [0xff, 0, 7]).unwrap();
        let starts = Starts::begin(Some(dir.path()), "boot-1");
        assert!(!starts.is_safe && starts.ended.is_none());
        let gone = Starts::begin(Some(&dir.path().join("gone")), "boot-1");
        gone.last_word("a word", None);
        gone.stopped();
        assert!(!gone.is_safe);
    }
}
