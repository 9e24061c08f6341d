//! Dead letters as people see them, and what is asked of many of them at once.

use super::{Class, EventId, Reason, Stage, UnixMs};

/// A letter as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its number.
    pub letter: i64,
    /// open, retried, discarded or expired.
    pub state: String,
    /// Where it was lost.
    pub stage: String,
    /// Why, from the closed list.
    pub reason: String,
    /// decide or noise.
    pub class: String,
    /// The input it came from.
    pub source: Option<String>,
    /// Who sent it over the network.
    pub peer: Option<String>,
    /// The event, where one was stored already.
    pub seq: Option<i64>,
    /// What arrived, cut.
    pub bytes: Vec<u8>,
    /// How long it was.
    pub length: i64,
    /// GS1 field, broker's words.
    pub detail: String,
    /// When it was received.
    pub received_ms: UnixMs,
    /// Whether its event waits to be sent again.
    pub resend: bool,
    /// When its state last changed.
    pub changed_ms: Option<UnixMs>,
    /// What a person said of it.
    pub note: String,
}

/// Something that was done with a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When. UTC ms
    pub at_ms: UnixMs,
    /// Who did it: the caller, or `uplink` for the broker's answer.
    pub who: String,
    /// retry, discard, restore; sent, refused.
    pub what: String,
    /// What it came to, or what that person said.
    pub came: String,
}

/// One letter with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterSheet {
    /// The letter.
    pub letter: Letter,
    /// Its event, while that is in the log.
    pub event: Option<EventId>,
    /// What was done with it, oldest first.
    pub steps: Vec<Step>,
    /// Open letters of its reason.
    pub same_reason: i64,
    /// Open letters of its reason and source.
    pub same_source: i64,
    /// Letters of its source within an hour before and after it, whatever became of them.
    pub around: i64,
    /// How many of its reason and source were only counted.
    pub sampled: i64,
}

/// The letters of one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterGroup {
    /// The reason.
    pub reason: Reason,
    /// How many are open now, whenever they came.
    pub open: i64,
    /// How many came within the window, whatever became of them.
    pub count: i64,
    /// How many of this reason were only counted, ever.
    pub sampled: i64,
    /// When the first and the last of the window came.
    pub span_ms: Option<(UnixMs, UnixMs)>,
    /// How many came in each hour of the window, oldest first.
    pub hours: Vec<i64>,
}

/// How a letter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterStand {
    /// Somebody has to decide, or it ages.
    Open,
    /// Its event is stored, or sent.
    Retried,
    /// Given up.
    Discarded,
    /// Ended by age.
    Expired,
}

impl LetterStand {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Open, Self::Retried, Self::Discarded, Self::Expired];

    /// The word in the store and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Retried => "retried",
            Self::Discarded => "discarded",
            Self::Expired => "expired",
        }
    }

    /// The stand of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stand| stand.as_str() == word)
    }
}

/// Which letters are meant; what is none means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// How they stand.
    pub stand: Option<LetterStand>,
    /// Why they are letters.
    pub reason: Option<Reason>,
    /// The input they came from.
    pub source: Option<String>,
    /// Where they were lost.
    pub stage: Option<Stage>,
    /// Whether a person can do something about them.
    pub class: Option<Class>,
    /// Received at or after this. UTC ms
    pub from_ms: Option<UnixMs>,
    /// Received before this. UTC ms
    pub to_ms: Option<UnixMs>,
    /// This is part of detail or note.
    pub text: Option<String>,
    /// Whether `text` is looked for in the bytes too: these are not for everybody.
    pub in_bytes: bool,
}

impl LetterFilter {
    /// The open ones that wait for a person; with `noise` the others too.
    #[must_use]
    pub fn open(noise: bool) -> Self {
        let class = if noise { None } else { Some(Class::Decide) };
        Self { stand: Some(LetterStand::Open), class, ..Self::default() }
    }
}

/// Some letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// These.
    Numbers(Vec<i64>),
    /// All that a filter means and that the action can be asked of.
    All(LetterFilter),
}

/// What is asked of letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To try them again.
    Retry,
    /// To give them up.
    Discard,
    /// To open them again after they were given up.
    Restore,
}

impl Action {
    /// The word in the store, in the audit and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Discard => "discard",
            Self::Restore => "restore",
        }
    }

    /// The action of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Retry, Self::Discard, Self::Restore].into_iter().find(|action| action.as_str() == word)
    }

    /// How a letter stands that it can be asked of.
    #[must_use]
    pub const fn of(self) -> LetterStand {
        match self {
            Self::Retry | Self::Discard => LetterStand::Open,
            Self::Restore => LetterStand::Discarded,
        }
    }
}

/// What is asked of some letters at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bulk {
    /// What.
    pub action: Action,
    /// Of which.
    pub which: Which,
    /// How many the person believes they are.
    pub expect: Option<usize>,
    /// Why, kept with them.
    pub note: String,
    /// The same key asks for the same thing once.
    pub key: Option<String>,
}

/// How far a bulk action has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// There is more to do; it goes on after a restart.
    Running,
    /// It has been through all of them.
    Done,
    /// Somebody stopped it; what was done stays.
    Stopped,
}

impl JobState {
    /// The word in the store and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Stopped => "stopped",
        }
    }

    /// The state of a word; one that is not known does not run.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        [Self::Running, Self::Done].into_iter().find(|state| state.as_str() == word).unwrap_or(Self::Stopped)
    }
}

/// A bulk action as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub job: i64,
    /// What was asked.
    pub action: Action,
    /// How far it is.
    pub state: JobState,
    /// How many letters were meant.
    pub total: i64,
    /// How many it went well with: events again, given up, open again.
    pub ok: i64,
    /// How many are still open, for a reason.
    pub failed: i64,
    /// How many are as they were.
    pub skipped: i64,
    /// The first of those that are not well, and why.
    pub left: Vec<(i64, String)>,
    /// When it was asked. UTC ms
    pub begun_ms: UnixMs,
    /// When it ended. UTC ms
    pub ended_ms: Option<UnixMs>,
}

impl Job {
    /// Letters it has been through.
    #[must_use]
    pub const fn done(&self) -> i64 {
        self.ok + self.failed + self.skipped
    }
}
