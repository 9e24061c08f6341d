//! What was counted since the process began, and the one place where a refused thing is counted and logged.
//! Derived values (the ledger, files, ages) are not here: they are asked for at a scrape, see [`super::Sample`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::domain::{Doubt, Lane, Loss, Reason, Stage};

use super::labels::{PUBLISH_CODES, publish_index};
use super::{CommandKind, CommandOutcome, PortOutcome, ReconnectReason, RestartReason, StreamDrop, StreamOpen};

/// The process's counters and histograms. Clones share them.
///
/// Shape: one cell a label of a closed list; sources, workers and routes are capped at [`NAMES_MAX`] names each,
/// all further ones share the name `other`.
#[derive(Clone, Debug)]
pub struct Tally(pub(super) Arc<Cells>);

/// The most names of one kind that get series of their own.
pub const NAMES_MAX: usize = 256;

/// How long a reason of a source stays quiet in the log after a line about it. Microseconds.
const QUIET_US: i64 = 60_000_000;

#[derive(Debug)]
pub(super) struct Cells {
    clock: Clock,
    pub(super) ports: Names<Port>,
    pub(super) commit_seconds: Histogram,
    pub(super) ingest_to_commit_seconds: Histogram,
    pub(super) uplink_publishes: [[Counter; PUBLISH_CODES.len()]; Lane::ALL.len()],
    pub(super) uplink_publish_seconds: Histogram,
    pub(super) uplink_replays: [Counter; PUBLISH_CODES.len()],
    pub(super) uplink_commands: [[Counter; CommandOutcome::ALL.len()]; CommandKind::ALL.len()],
    pub(super) uplink_reconnects: [Counter; ReconnectReason::ALL.len()],
    pub(super) stream_opens: [Counter; StreamOpen::ALL.len()],
    pub(super) stream_dropped: [Counter; StreamDrop::ALL.len()],
    pub(super) http_requests: Names<Mutex<BTreeMap<u16, u64>>>,
    pub(super) worker_restarts: Names<[Counter; RestartReason::ALL.len()]>,
    pub(super) store_written_bytes: Counter,
    /// How long the last canary took; 0 before the first. µs
    canary_us: AtomicU64,
    losses: Mutex<BTreeMap<(String, Reason), LossCell>>,
}

/// What one source counts.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) sentences: [Counter; PortOutcome::COUNT],
    pub(super) bytes: [Counter; PortOutcome::COUNT],
    pub(super) drops: Counter,
    pub(super) doubts: [Counter; Doubt::ALL.len()],
}

impl Default for Port {
    fn default() -> Self {
        Self { sentences: counters(), bytes: counters(), doubts: counters(), drops: Counter::default() }
    }
}

/// How often a source lost something for one reason, and what of it the log knows.
#[derive(Clone, Copy, Debug, Default)]
struct LossCell {
    by_stage: [u64; STAGES.len()],
    said_us: i64,
    unsaid: u64,
}

const STAGES: [Stage; 4] = [Stage::Source, Stage::Decoder, Stage::Store, Stage::Uplink];

fn counters<const N: usize>() -> [Counter; N] {
    std::array::from_fn(|_| Counter::default())
}

/// From half a millisecond, a good disk, to the 10 s of a card that is about to die.
const STORE_BUCKETS: [f64; 14] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// From a broker on the bench to the 20 s after which a connection is given up.
const PUBLISH_BUCKETS: [f64; 11] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0];

impl Tally {
    /// A tally at zero.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Cells {
            clock,
            ports: Names::default(),
            commit_seconds: Histogram::new(STORE_BUCKETS),
            ingest_to_commit_seconds: Histogram::new(STORE_BUCKETS),
            uplink_publishes: std::array::from_fn(|_| counters()),
            uplink_publish_seconds: Histogram::new(PUBLISH_BUCKETS),
            uplink_replays: counters(),
            uplink_commands: std::array::from_fn(|_| counters()),
            uplink_reconnects: counters(),
            stream_opens: counters(),
            stream_dropped: counters(),
            http_requests: Names::default(),
            worker_restarts: Names::default(),
            store_written_bytes: Counter::default(),
            canary_us: AtomicU64::new(0),
            losses: Mutex::default(),
        }))
    }

    /// The store answered a canary after this.
    pub fn canary(&self, took: Duration) {
        self.0.canary_us.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1), Ordering::Release);
    }

    /// How long the last canary took; none before the first.
    #[must_use]
    pub fn last_canary(&self) -> Option<Duration> {
        Some(self.0.canary_us.load(Ordering::Acquire)).filter(|us| *us > 0).map(Duration::from_micros)
    }

    /// A sentence of a port had this outcome.
    pub fn sentences(&self, source: &str, outcome: PortOutcome) {
        self.0.ports.with(source, |port| port.sentences[outcome.index()].inc());
    }

    /// `n` bytes of a port had this outcome.
    pub fn bytes(&self, source: &str, outcome: PortOutcome, n: u64) {
        self.0.ports.with(source, |port| port.bytes[outcome.index()].inc_by(n));
    }

    /// A fix of a port may not be taken at its word.
    pub fn doubted(&self, source: &str, doubt: Doubt) {
        self.0.ports.with(source, |port| port.doubts[doubt as usize].inc());
    }

    /// A receiver said `n` times that its line is full.
    pub fn receiver_drops(&self, source: &str, n: u64) {
        self.0.ports.with(source, |port| port.drops.inc_by(n));
    }

    /// A commit took this long, its fsync included.
    pub fn commit_seconds(&self, took: Duration) {
        self.0.commit_seconds.observe(took.as_secs_f64());
    }

    /// An event was safe this long after its last byte was read.
    pub fn ingest_to_commit_seconds(&self, took: Duration) {
        self.0.ingest_to_commit_seconds.observe(took.as_secs_f64());
    }

    /// The store wrote `n` bytes to its files.
    pub fn store_written_bytes(&self, n: u64) {
        self.0.store_written_bytes.inc_by(n);
    }

    /// The broker answered a publish of the lane with this PUBACK reason code.
    pub fn uplink_publishes(&self, lane: Lane, code: u8) {
        let row = Lane::ALL.iter().position(|one| *one == lane).unwrap_or(0);
        self.0.uplink_publishes[row][publish_index(code)].inc();
    }

    /// The broker answered a publish that the centre had asked for once more with this PUBACK reason code.
    pub fn uplink_replays(&self, code: u8) {
        self.0.uplink_replays[publish_index(code)].inc();
    }

    /// A command of the centre came to this.
    pub fn uplink_commands(&self, kind: CommandKind, outcome: CommandOutcome) {
        self.0.uplink_commands[kind as usize][outcome as usize].inc();
    }

    /// The broker took this long from a publish to its acknowledgement.
    pub fn uplink_publish_seconds(&self, took: Duration) {
        self.0.uplink_publish_seconds.observe(took.as_secs_f64());
    }

    /// The connection to the broker has to be made again.
    pub fn uplink_reconnects(&self, reason: ReconnectReason) {
        self.0.uplink_reconnects[reason as usize].inc();
    }

    /// Somebody asked for the stream.
    pub fn stream_opens(&self, outcome: StreamOpen) {
        self.0.stream_opens[outcome as usize].inc();
    }

    /// A stream ended.
    pub fn stream_dropped(&self, reason: StreamDrop) {
        self.0.stream_dropped[reason as usize].inc();
    }

    /// A request was answered. `route` is the pattern that matched, never the path that was asked for.
    pub fn http_requests(&self, route: &str, status: u16) {
        // Answers outside of HTTP's range would be our own bug; 0 keeps them visible and the series bounded.
        let status = if (100..600).contains(&status) { status } else { 0 };
        self.0.http_requests.with(route, |answers| {
            *answers.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
        });
    }

    /// A worker was started again.
    pub fn worker_restarts(&self, worker: &str, reason: RestartReason) {
        self.0.worker_restarts.with(worker, |reasons| reasons[reason as usize].inc());
    }

    /// Counts and logs one refused thing: the first of a reason and source at once, then at most one line a minute
    /// with the count in between.
    ///
    /// The log gets length and reason; the evidence goes into the letter. Only at debug level a cut and escaped
    /// form is shown, and never that of an identity document.
    pub fn lose(&self, source: &str, loss: &Loss) {
        if loss.reason != Reason::Pii {
            let start = &loss.bytes[..loss.bytes.len().min(64)];
            debug!(source, reason = loss.reason.as_str(), bytes = %start.escape_ascii(), "refused bytes");
        }
        let now_us = self.0.clock.now().mono_us;
        let unsaid = {
            let mut losses = self.0.losses.lock().unwrap_or_else(PoisonError::into_inner);
            let cell = loss_cell(&mut losses, source, loss.reason);
            cell.by_stage[loss.stage as usize] += 1;
            let first = cell.by_stage.iter().sum::<u64>() == 1;
            if !first && now_us - cell.said_us < QUIET_US {
                cell.unsaid += 1;
                return;
            }
            cell.said_us = now_us;
            std::mem::take(&mut cell.unsaid)
        };
        // Logged outside of the lock: a log that blocks holds up one port, not all of them.
        let reason = loss.reason;
        warn!(
            source = %source.escape_debug(),
            stage = loss.stage.as_str(),
            reason = reason.as_str(),
            length = loss.length,
            n_before = unsaid,
            "{}",
            reason.sentence()
        );
    }

    /// Logs what [`Tally::lose`] kept quiet for a minute and nobody has asked for since. Called once a second.
    pub fn summarise(&self) {
        let now_us = self.0.clock.now().mono_us;
        let mut due = Vec::new();
        for ((source, reason), cell) in self.0.losses.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            if cell.unsaid > 0 && now_us - cell.said_us >= QUIET_US {
                cell.said_us = now_us;
                due.push((source.clone(), *reason, std::mem::take(&mut cell.unsaid)));
            }
        }
        for (source, reason, n) in due {
            warn!(source = %source.escape_debug(), reason = reason.as_str(), n, "more of the same was refused");
        }
    }

    /// Everything that was refused since the process began: source, stage, reason, count.
    #[must_use]
    pub fn losses(&self) -> Vec<(String, Stage, Reason, u64)> {
        let losses = self.0.losses.lock().unwrap_or_else(PoisonError::into_inner);
        losses
            .iter()
            .flat_map(|((source, reason), cell)| {
                let counted = STAGES.iter().zip(cell.by_stage).filter(|(_, n)| *n > 0);
                counted.map(|(stage, n)| (source.clone(), *stage, *reason, n))
            })
            .collect()
    }
}

/// The cell of a source and reason; past [`NAMES_MAX`] sources the one of `other`.
fn loss_cell<'a>(
    losses: &'a mut BTreeMap<(String, Reason), LossCell>,
    source: &str,
    reason: Reason,
) -> &'a mut LossCell {
    let key = (source.to_owned(), reason);
    let full = losses.len() >= NAMES_MAX * Reason::ALL.len() && !losses.contains_key(&key);
    losses.entry(if full { ("other".to_owned(), reason) } else { key }).or_default()
}

/// Cells by name, made when a name first comes; looked up without an allocation afterwards.
#[derive(Debug)]
pub(super) struct Names<T>(RwLock<BTreeMap<Box<str>, Arc<T>>>);

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T: Default> Names<T> {
    fn with<R>(&self, name: &str, count: impl FnOnce(&T) -> R) -> R {
        // A panic cannot leave a torn map behind: the only change is one insert.
        if let Some(cell) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return count(cell);
        }
        let mut cells = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let name = if cells.len() < NAMES_MAX || cells.contains_key(name) { name } else { "other" };
        count(cells.entry(name.into()).or_default())
    }

    /// Every name and its cell, in the order of the names.
    pub(super) fn all(&self) -> Vec<(Box<str>, Arc<T>)> {
        let cells = self.0.read().unwrap_or_else(PoisonError::into_inner);
        cells.iter().map(|(name, cell)| (name.clone(), Arc::clone(cell))).collect()
    }
}

#[cfg(test)]
#[path = "tally_tests.rs"]
mod tests;
