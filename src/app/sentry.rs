//! The worker `sentry`: proves every 10 s that the store commits, and looks at what only shows over time: counts that do not balance,
//! what waits and grows, a platform, a fix or a time that is away for long, workers that are restarted.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::domain::Standing;
use crate::health::{Alarm, Board, Ctx, Outcome, Severity, SourceCondition, State, Tally, Worker, alarms};
use crate::store::{Store, standing_finding};

const EVERY: Duration = Duration::from_secs(10);
/// The writer's own promise is 20 s; who gets no answer for longer has found a writer that is not there.
const PATIENCE: Duration = Duration::from_secs(25);
/// The screen's answer to its own node is due within this; the kernel's queue is short there.
const ANSWER: Duration = Duration::from_secs(10);
/// A proof that takes longer is told.
const SLOW: Duration = Duration::from_secs(2);
/// A proof is a real commit when none was for so long: nothing wears the card meanwhile.
const COMMIT_EVERY_MS: i64 = 300_000;
/// How long a platform, a fix or a trusted time may be away, and how long a restart is told.
const AWAY_MS: i64 = 600_000;
/// What waits grows when it was never so little for so long.
const GROWS_MS: i64 = 1_800_000;
/// Fewer events that wait are no backlog.
const BACKLOG_MIN: i64 = 100;

/// What the sentry proves, and what it is to tell.
pub(super) struct Proof {
    /// When a commit last succeeded. `CLOCK_BOOTTIME` ms.
    pub(super) committed_ms: Arc<AtomicI64>,
    /// Where the node is asked whether it answers.
    pub(super) control: PathBuf,
    /// Why the run before this one ended, if it should not have.
    pub(super) ended: Option<String>,
}

pub(super) fn worker(store: Store, board: Board, clock: Clock, tally: Tally, proof: Proof) -> Worker {
    let begun_ms = clock.now().mono_ms();
    let sentry = Arc::new(Sentry { store, board, clock, tally, proof, begun_ms, watch: Mutex::default() });
    Worker::task("sentry", move |ctx| {
        let sentry = Arc::clone(&sentry);
        async move { sentry.run(&ctx).await }
    })
}

struct Sentry {
    store: Store,
    board: Board,
    clock: Clock,
    tally: Tally,
    proof: Proof,
    /// `CLOCK_BOOTTIME` ms.
    begun_ms: i64,
    watch: Mutex<Watch>,
}

/// What is remembered from look to look; times are `CLOCK_BOOTTIME` ms.
#[derive(Default)]
struct Watch {
    /// The least that has waited, and when.
    low: Option<(i64, i64)>,
    /// Since when something is away, by the name of its alarm.
    away: BTreeMap<&'static str, i64>,
    /// Restarts of a worker, and when the last was seen.
    restarts: BTreeMap<String, (u32, i64)>,
}

impl Sentry {
    /// Waits for: ten seconds to pass, a change of how the node stands, the store's answer, the word to stop.
    async fn run(&self, ctx: &Ctx) -> Outcome {
        let mut watch = self.watch.lock().await;
        self.tell_of_end(self.clock.now().mono_ms());
        let mut standing = self.store.standing();
        loop {
            let wait = ctx.beat.parked(EVERY);
            tokio::select! {
                () = ctx.stop.cancelled() => return Ok(()),
                moved = standing.changed() => {
                    moved?;
                    self.stand(*standing.borrow_and_update());
                    continue;
                }
                () = tokio::time::sleep(wait) => {}
            }
            ctx.beat.working(PATIENCE * 2 + ANSWER);
            self.prove().await?;
            self.ask().await?;
            self.look(&mut watch).await;
        }
    }

    /// Tells whether the node may speak under its name.
    fn stand(&self, standing: Standing) {
        ["identity", "retired"].iter().for_each(|name| self.board.clear(name));
        let found = standing_finding(standing, self.clock.now().wall_ms);
        found.iter().for_each(|finding| super::raise_finding(&self.board, finding));
    }

    /// A transaction from end to end. A writer that does not answer at all is an error: when restarts do not help, the
    /// process ends and is started again.
    async fn prove(&self) -> Outcome {
        let idle_ms = self.clock.now().mono_ms() - self.proof.committed_ms.load(Ordering::Acquire);
        let begun = Instant::now();
        let answer = tokio::time::timeout(PATIENCE, self.store.prove(idle_ms >= COMMIT_EVERY_MS)).await;
        let took = begun.elapsed();
        let disk = "Look at the disk: dmesg, `waypost doctor`. A card that gets slow or fails is worn; replace it.";
        match &answer {
            Ok(Ok(())) => {
                self.tally.canary(took);
                let slow = took > SLOW;
                let text = format!("The store took {} s to answer a transaction.", took.as_secs());
                self.say(alarms::CANARY, slow.then_some((Severity::Warn, text)), disk);
            }
            Ok(Err(error)) => {
                let text = format!("The store does not commit: {error}.");
                self.say(alarms::CANARY, Some((Severity::Fault, text)), disk);
            }
            Err(_) => {
                let text = format!("The store has not answered for {} s.", PATIENCE.as_secs());
                self.say(alarms::CANARY, Some((Severity::Fault, text)), disk);
                anyhow::bail!("the store has not answered for {} s", PATIENCE.as_secs());
            }
        }
        Ok(())
    }

    /// A question to the node's own screen, on the door that strangers cannot hold. A screen that does not answer is an error,
    /// as a writer is.
    async fn ask(&self) -> Outcome {
        let answer = tokio::time::timeout(ANSWER, livez(&self.proof.control)).await;
        let why = match answer {
            Ok(Ok(true)) => {
                self.board.clear(alarms::SCREEN);
                return Ok(());
            }
            Ok(Ok(false)) => "the screen answers its own node with an error".to_owned(),
            // No door, or none that opens, is an alarm of its own; and a screen that is started anew opens another.
            Ok(Err(error)) => {
                tracing::debug!(%error, "the node cannot ask its own screen");
                return Ok(());
            }
            Err(_) => format!("the screen has not answered its own node for {} s", ANSWER.as_secs()),
        };
        let advice = "Nothing: the node starts again if it stays so. If it comes back, send the log to support.";
        self.say(alarms::SCREEN, Some((Severity::Fault, format!("{why}."))), advice);
        anyhow::bail!(why)
    }

    /// For a while it is told why the run before this one ended.
    fn tell_of_end(&self, now_ms: i64) {
        let ended = self.proof.ended.as_ref().filter(|_| now_ms - self.begun_ms < AWAY_MS);
        let ended = ended.map(|why| (Severity::Warn, format!("The node was started again: {why}.")));
        self.say(alarms::RESTARTED, ended, "Nothing, if it stays the only time; else send the log to support.");
    }

    async fn look(&self, watch: &mut Watch) {
        let now_ms = self.clock.now().mono_ms();
        self.tell_of_end(now_ms);
        let (mut connected, mut platform, mut time) = (false, None, None);
        let mut restarted = Vec::new();
        for posted in self.board.since(0) {
            match posted.state {
                Some(State::Uplink(uplink)) if uplink.configured => {
                    connected = uplink.state == "connected";
                    let reached = matches!(uplink.state, "connected" | "held");
                    platform = (!reached).then(|| format!("{}: {}", uplink.url, uplink.last_error));
                }
                Some(State::Clock(clock)) => time = matches!(clock.tq, "none" | "rtc").then(|| clock.tq.to_owned()),
                Some(State::Source(source)) if source.kind == "gps" => {
                    let stale = source.state == SourceCondition::NoFix && now_ms - source.since_mono_ms >= AWAY_MS;
                    let id = source.id.to_ascii_lowercase();
                    let text = format!(
                        "Receiver {} has given no position for {} minutes.",
                        source.id,
                        (now_ms - source.since_mono_ms) / 60_000
                    );
                    let name = format!("{}{id}", alarms::STALE_FIX);
                    self.say(
                        &name,
                        stale.then_some((Severity::Warn, text)),
                        "In a hall or tunnel: nothing. Else check the antenna: it needs a free view of the sky.",
                    );
                }
                Some(State::Worker(worker)) if worker.restarts > 0 => {
                    let seen = watch.restarts.entry(worker.worker.clone()).or_insert((0, now_ms));
                    if seen.0 != worker.restarts {
                        *seen = (worker.restarts, now_ms);
                    }
                    if now_ms - seen.1 < AWAY_MS {
                        restarted.push(format!("{} ({})", worker.worker, worker.last_reason));
                    }
                }
                _ => {}
            }
        }
        let restarts = (!restarted.is_empty())
            .then(|| (Severity::Warn, format!("A part of the node was restarted: {}.", restarted.join(", "))));
        self.say(alarms::WORKER, restarts, "Nothing, if it stays the only time; else send the log to support.");
        self.away(
            watch,
            alarms::UPLINK_DOWN,
            platform,
            now_ms,
            "The platform has not been reached for",
            "Events wait here. Check the line and the broker; `waypost status` says why the last try failed.",
        );
        self.away(
            watch,
            alarms::CLOCK,
            time,
            now_ms,
            "Nothing has vouched for the node's time for",
            "Give the node NTP, or a receiver with `clock = true` and a view of the sky.",
        );
        self.count(watch, connected, now_ms).await;
    }

    /// Raises an alarm of what has been away for long.
    fn away(&self, watch: &mut Watch, name: &'static str, why: Option<String>, now_ms: i64, words: &str, advice: &str) {
        let Some(why) = why else {
            watch.away.remove(name);
            self.board.clear(name);
            return;
        };
        let lasts_ms = now_ms - *watch.away.entry(name).or_insert(now_ms);
        if lasts_ms >= AWAY_MS {
            let text = format!("{words} {} minutes ({}).", lasts_ms / 60_000, why.trim_end_matches([':', ' ']));
            self.say(name, Some((Severity::Warn, text)), advice);
        }
    }

    async fn count(&self, watch: &mut Watch, connected: bool, now_ms: i64) {
        // A store that cannot be read has its own alarms; the counts are looked at when it can.
        let Ok(ledger) = self.store.read(|reader| reader.ledger()).await else { return };
        let off = ledger.imbalance();
        let text = format!("The counts of the store are off by {off}.");
        self.say(
            alarms::LEDGER,
            (off != 0).then_some((Severity::Fault, text)),
            "`waypost outbox check` says which; report it with its output.",
        );
        let unsent = ledger.events.get("unsent").copied().unwrap_or(0);
        let low = watch.low.get_or_insert((unsent, now_ms));
        if unsent <= low.0 || !connected {
            *low = (unsent, now_ms);
        }
        let grows = unsent >= BACKLOG_MIN && now_ms - low.1 >= GROWS_MS;
        let text = format!(
            "{unsent} events wait for the platform, and they have grown in number for {} minutes.",
            (now_ms - low.1) / 60_000
        );
        self.say(
            alarms::BACKLOG,
            grows.then_some((Severity::Warn, text)),
            "Look at the broker's load and limits, uplink.max_per_s, uplink.mib_per_day and the line. Nothing is lost.",
        );
    }

    fn say(&self, name: &str, said: Option<(Severity, String)>, advice: &str) {
        let Some((severity, text)) = said else { return self.board.clear(name) };
        let since_ms = self.clock.now().wall_ms;
        self.board.raise(Alarm {
            name: name.to_owned(),
            severity,
            since_ms,
            text,
            advice: advice.to_owned(),
            count: 1,
        });
    }
}

/// Whether the screen behind a control socket answers that it lives.
async fn livez(control: &Path) -> io::Result<bool> {
    const OK: &[u8] = b"HTTP/1.1 200";
    let mut door = UnixStream::connect(control).await?;
    door.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut head = [0; OK.len()];
    door.read_exact(&mut head).await?;
    Ok(head == OK)
}
