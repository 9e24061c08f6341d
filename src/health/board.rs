//! What each part says of itself right now, for the screen, the uplink's health message and `status`.
//! It holds only the present: who missed a value has lost nothing, the next one says more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use super::{ChoreState, alarms};
use crate::domain::{AssetState, Job, UnixMs};

/// The state of one input.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceState {
    /// The configured id.
    pub id: String,
    /// `gps` or `scanner`.
    pub kind: &'static str,
    /// The port as configured.
    pub port: String,
    /// How it is.
    pub state: SourceCondition,
    /// Since when, `CLOCK_BOOTTIME` ms.
    #[serde(skip)]
    pub since_mono_ms: i64,
    /// Since when, UTC ms.
    pub since_ms: UnixMs,
    /// When it last delivered a whole frame, `CLOCK_BOOTTIME` ms.
    #[serde(skip)]
    pub last_frame_mono_ms: Option<i64>,
    /// When it last delivered a whole frame, UTC ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_frame_ms: Option<UnixMs>,
    /// Share of a serial line's capacity in use, over the last 10 s. 0.0..=1.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_load: Option<f64>,
    /// What a person should do; empty when nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub advice: String,
}

/// How an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceCondition {
    /// Being opened for the first time.
    Opening,
    /// Open and delivering (a scanner: open).
    Up,
    /// Open, but no byte for a while.
    Silent,
    /// Sentences come, but no position.
    NoFix,
    /// Most bytes are no sentences.
    Garbage,
    /// The device or the peer is not there.
    Absent,
    /// The service may not open it.
    Permission,
    /// Another program holds it.
    Busy,
    /// A file that was read to its end.
    Ended,
}

impl SourceCondition {
    /// Whether a person should look.
    #[must_use]
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Silent | Self::Garbage | Self::Absent | Self::Permission | Self::Busy)
    }

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Up => "up",
            Self::Silent => "silent",
            Self::NoFix => "no_fix",
            Self::Garbage => "garbage",
            Self::Absent => "absent",
            Self::Permission => "permission",
            Self::Busy => "busy",
            Self::Ended => "ended",
        }
    }
}

/// The state of the way to the platform.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UplinkState {
    /// Whether there is an `[uplink]`.
    pub configured: bool,
    /// How it is: `connected`, `connecting`, `waiting`, `held` or `off`.
    pub state: &'static str,
    /// The broker, without secrets.
    pub url: String,
    /// Since when, UTC ms.
    pub since_ms: UnixMs,
    /// Whether there was a connection since the start.
    pub ever_connected: bool,
    /// Why the last connection ended or could not be made; empty when it never did.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_error: String,
    /// When the next try is due, UTC ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_ms: Option<UnixMs>,
    /// Published and waiting for the broker's word.
    pub inflight: usize,
    /// What `uplink.mib_per_day` lets pass now, KiB; none without such a budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_left_kib: Option<u64>,
    /// When the first certificate in use ends, in seconds since 1970; absent without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_not_after_s: Option<i64>,
}

/// The state of the disk under the store.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DiskState {
    /// `waypost.db`. Bytes.
    pub db_bytes: u64,
    /// `waypost.db-wal`. Bytes.
    pub wal_bytes: u64,
    /// The folder `archive`. Bytes.
    pub archive_bytes: u64,
    /// Free for us on the file system. Bytes.
    pub free_bytes: u64,
    /// Share of the room in use: of `store.max_mib`, or of what the disk leaves. 0..=100.
    pub used_pct: u8,
    /// Whether the last commit could be written, and the next one could.
    pub writable: bool,
    /// `open`, or `refused` for want of room.
    pub intake: &'static str,
    /// As room ends one fix in so many seconds is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thin_s: Option<u64>,
    /// How long the node could go on without the platform at the present rate; none: for ever, or nothing comes. s
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autonomy_s: Option<u64>,
    /// What was given to the disk for each event lately. Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_per_event: Option<u64>,
    /// What is given to the disk in a day at the present rate. Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_per_day: Option<u64>,
    /// The card that `card_years` is told of: what may be written to it. TB
    pub card_tbw: u64,
    /// How long such a card would last at that rate, before what it writes for itself. Years.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card_years: Option<f64>,
}

/// The state of the node's time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClockState {
    /// How far the time can be believed: `gnss`, `ntp`, `rtc`, `none`.
    pub tq: &'static str,
    /// How far the wall clock is from the best known time, ms; absent when nothing vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub err_ms: Option<i64>,
    /// Whose word it is: a receiver's id, or `ntp`; absent when nothing vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// How often this boot's times were put right on the topic `clock`; absent until its time is known and noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rev: Option<i64>,
    /// Which events were stamped by a wrong clock, for people; empty when none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// True time less `CLOCK_BOOTTIME`, ms; none when nothing vouches for it.
    #[serde(skip)]
    pub utc_minus_mono_ms: Option<i64>,
}

/// The state of one worker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkerState {
    /// Its name, e.g. `uplink` or `source:gps0`.
    pub worker: String,
    /// `fresh`, `stalled`, `restarting`, `ended` or, in safe mode, `held`.
    pub state: &'static str,
    /// Restarts since the process began.
    pub restarts: u32,
    /// Why it was last restarted; empty when it never was.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_reason: String,
}

/// How bad an alarm is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Something will need a person.
    Warn,
    /// Something does not work.
    Fault,
}

impl Severity {
    /// The word in labels; the same as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Fault => "fault",
        }
    }
}

/// A condition that a person should know of, until it is over.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alarm {
    /// Its name, `[a-z0-9_.-]`: last level of its topic.
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// Since when, UTC ms.
    pub since_ms: UnixMs,
    /// What happened.
    pub text: String,
    /// What to do.
    pub advice: String,
    /// How often it came back.
    pub count: u32,
}

/// The plan of the yard that is kept in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ZonesState {
    /// Which one: grows with each change; 0 before the first.
    pub rev: i64,
    /// How many zones it has.
    pub zones: usize,
}

/// One value on the board.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// An input.
    Source(SourceState),
    /// The way to the platform.
    Uplink(UplinkState),
    /// The disk.
    Disk(DiskState),
    /// The time.
    Clock(ClockState),
    /// A worker.
    Worker(WorkerState),
    /// An alarm.
    Alarm(Alarm),
    /// The newest position of one of the node's own assets, also when its fix was thinned.
    Asset(AssetState),
    /// What is being done with letters: the newest of such jobs.
    Job(Job),
    /// A chore of the node's own that runs.
    Chore(ChoreState),
    /// The plan of the yard that is kept in the store.
    Zones(ZonesState),
}

impl State {
    /// The kind of item it is on the stream.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Source(_) => "source",
            Self::Uplink(_) => "uplink",
            Self::Disk(_) => "disk",
            Self::Clock(_) => "clock",
            Self::Worker(_) => "worker",
            Self::Alarm(_) => "alarm",
            Self::Asset(_) => "asset",
            Self::Job(_) | Self::Chore(_) => "job",
            Self::Zones(_) => "zones",
        }
    }

    /// Its name within its kind; empty where there is only one.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Source(v) => &v.id,
            Self::Worker(v) => &v.worker,
            Self::Alarm(v) => &v.name,
            Self::Asset(v) => &v.asset,
            Self::Chore(v) => v.job,
            Self::Uplink(_) | Self::Disk(_) | Self::Clock(_) | Self::Job(_) | Self::Zones(_) => "",
        }
    }

    /// Whether it should be shown at once.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        match self {
            Self::Source(v) => v.state.is_bad(),
            Self::Uplink(v) => v.configured && v.state != "connected",
            Self::Disk(v) => !v.writable || v.used_pct >= 95 || v.intake == "refused",
            Self::Worker(v) => !matches!(v.state, "fresh" | "ended"),
            Self::Alarm(_) => true,
            Self::Clock(_) | Self::Asset(_) | Self::Job(_) | Self::Chore(_) | Self::Zones(_) => false,
        }
    }
}

/// A value that changed, or its end.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Grows with every change on the board.
    pub version: u64,
    /// The kind of item.
    pub kind: &'static str,
    /// Its name within its kind.
    pub key: String,
    /// The value; none when it is over.
    pub state: Option<State>,
}

#[derive(Debug, Default)]
struct Slots {
    version: u64,
    by_key: BTreeMap<(&'static str, String), (u64, Option<State>)>,
}

impl Slots {
    fn put(&mut self, key: (&'static str, String), state: Option<State>) -> u64 {
        self.version += 1;
        self.by_key.insert(key, (self.version, state));
        self.version
    }
}

/// Where every part posts its present state and readers see what changed.
///
/// Shape: one slot a (kind, key); kinds are a closed list and keys come from the configuration, so it is bounded.
#[derive(Clone, Debug)]
pub struct Board {
    slots: Arc<Mutex<Slots>>,
    moved: watch::Sender<u64>,
}

impl Default for Board {
    fn default() -> Self {
        Self { slots: Arc::default(), moved: watch::Sender::new(0) }
    }
}

impl Board {
    /// Posts a state; one equal to what stands there changes nothing.
    pub fn post(&self, state: State) {
        let key = (state.kind(), state.key().to_owned());
        self.set(key, Some(state));
    }

    /// Posts a state where none stands under its key. Answers whether it did.
    pub(super) fn post_new(&self, state: State) -> bool {
        let key = (state.kind(), state.key().to_owned());
        let version = {
            let mut slots = self.lock();
            if slots.by_key.get(&key).is_some_and(|(_, standing)| standing.is_some()) {
                return false;
            }
            slots.put(key, Some(state))
        };
        self.moved.send_replace(version);
        true
    }

    /// Takes a state off: an alarm that is over, a source that is gone.
    pub fn remove(&self, kind: &'static str, key: &str) {
        self.set((kind, key.to_owned()), None);
    }

    /// Raises an alarm, or changes the words of one that stands; its `since_ms` and `count` stay.
    pub fn raise(&self, mut alarm: Alarm) {
        // Tests of how alarms are shown may make up names.
        debug_assert!(cfg!(test) || alarms::is_known(&alarm.name), "{} is not in health::alarms", alarm.name);
        if let Some(State::Alarm(old)) = self.get("alarm", &alarm.name) {
            alarm.since_ms = old.since_ms;
            alarm.count = old.count;
        }
        self.post(State::Alarm(alarm));
    }

    /// Ends an alarm.
    pub fn clear(&self, name: &str) {
        self.remove("alarm", name);
    }

    /// The state that stands under a key.
    #[must_use]
    pub fn get(&self, kind: &'static str, key: &str) -> Option<State> {
        self.lock().by_key.get(&(kind, key.to_owned())).and_then(|(_, state)| state.clone())
    }

    /// What changed after `version`, oldest first; 0 gives all that stands.
    #[must_use]
    pub fn since(&self, version: u64) -> Vec<Posted> {
        let slots = self.lock();
        let mut posted: Vec<Posted> = slots
            .by_key
            .iter()
            .filter(|(_, (at, state))| *at > version && (version > 0 || state.is_some()))
            .map(|((kind, key), (at, state))| Posted { version: *at, kind, key: key.clone(), state: state.clone() })
            .collect();
        posted.sort_by_key(|one| one.version);
        posted
    }

    /// Wakes when anything on the board changes; carries the version.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    fn set(&self, key: (&'static str, String), state: Option<State>) {
        let version = {
            let mut slots = self.lock();
            match slots.by_key.get(&key) {
                Some((_, old)) if *old == state => return,
                None if state.is_none() => return,
                _ => {}
            }
            slots.put(key, state)
        };
        self.moved.send_replace(version);
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        // A panic while holding it leaves a whole map behind: every change is one insert.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(used_pct: u8) -> State {
        State::Disk(DiskState { used_pct, writable: true, ..DiskState::default() })
    }

    #[test]
    fn an_equal_state_posted_again_is_no_change() {
        let board = Board::default();
        board.post(disk(1));
        let seen = board.since(0).last().map_or(0, |p| p.version);
        board.post(disk(1));
        assert!(board.since(seen).is_empty());
        board.post(disk(2));
        assert_eq!(board.since(seen).len(), 1);
    }

    #[test]
    fn a_reader_from_the_start_sees_only_what_still_stands() {
        let board = Board::default();
        let alarm = |text: &str| Alarm {
            name: "a".into(),
            severity: Severity::Warn,
            since_ms: 5,
            text: text.into(),
            advice: String::new(),
            count: 1,
        };
        board.raise(alarm("one"));
        board.raise(Alarm { since_ms: 9, ..alarm("two") });
        assert!(matches!(board.get("alarm", "a"), Some(State::Alarm(a)) if a.since_ms == 5 && a.text == "two"));
        let seen = board.since(0)[0].version;
        board.clear("a");
        assert!(board.since(0).is_empty());
        assert!(board.since(seen)[0].state.is_none());
    }
}
