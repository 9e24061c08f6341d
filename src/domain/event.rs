//! An event: what the outbox holds and the outside receives, and how it is named.

use std::fmt;
use std::str::FromStr;

use super::{TimeQuality, UnixMs};

/// The name of a fact, the same for ever.
///
/// Shape: 16 bytes, the first 4 the big-endian time in seconds (locality in the index), 12 of a BLAKE3 hash.
/// Source: contract section 5; the recipe and its golden vectors are in `identity`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub [u8; 16]);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EventId {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let bad = || CursorError { text: text.chars().take(64).collect() };
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        u128::from_str_radix(text, 16).map(|n| Self(n.to_be_bytes())).map_err(|_| bad())
    }
}

/// The place of an event in the log: starts at 1 in a fresh store, grows by one an event, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub i64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The life of a store: 64 random bits, new whenever it is created, restored or found rolled back.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Epoch {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let bad = || CursorError { text: text.chars().take(64).collect() };
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| bad())
    }
}

/// Where a reader of the log stands: everything up to and including `seq` has been seen.
///
/// Shape: `<epoch as 16 hex digits>.<seq as decimal>`; opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The life of the store that `seq` counts in.
    pub epoch: Epoch,
    /// The last event seen; 0 before the first.
    pub seq: Seq,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let bad = || CursorError { text: text.chars().take(64).collect() };
        let (epoch, seq) = text.split_once('.').ok_or_else(bad)?;
        if seq.is_empty() || seq.len() > 19 || !seq.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        Ok(Self { epoch: epoch.parse()?, seq: Seq(seq.parse().map_err(|_| bad())?) })
    }
}

/// Text that is no cursor, epoch or event id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a name this node gives out; use one from an answer of this node unchanged")]
pub struct CursorError {
    /// The first 64 characters of what was given.
    pub text: String,
}

/// What an event tells of. The number is its code in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A navigation solution.
    Fix = 1,
    /// An accepted read of a barcode or tag.
    Scan = 2,
    /// An asset entered or left a place.
    Place = 3,
    /// The node speaks of itself: receiver switched, clock stepped, store restored.
    Note = 4,
}

impl Kind {
    /// Every kind, in the order of its code.
    pub const ALL: [Self; 4] = [Self::Fix, Self::Scan, Self::Place, Self::Note];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fix => "fix",
            Self::Scan => "scan",
            Self::Place => "place",
            Self::Note => "note",
        }
    }

    /// The kind of a word on the wire.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The kind of a code in the store.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as i64 == code)
    }

    /// The lane it is sent in.
    #[must_use]
    pub const fn lane(self) -> Lane {
        match self {
            Self::Fix => Lane::Fix,
            Self::Scan | Self::Place | Self::Note => Lane::Scan,
        }
    }
}

/// A line of events to the platform with a cursor of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Scans, places and notes: few, and people wait for them.
    Scan,
    /// Fixes: many, and a newer one says more.
    Fix,
}

impl Lane {
    /// Both lanes, the more urgent first.
    pub const ALL: [Self; 2] = [Self::Scan, Self::Fix];

    /// The word on the wire and in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Fix => "fix",
        }
    }
}

/// One committed event as the store gives it to its readers.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its place in the log.
    pub seq: Seq,
    /// The life of the store it was committed in.
    pub epoch: Epoch,
    /// Its name.
    pub id: EventId,
    /// What it tells of.
    pub kind: Kind,
    /// The event before it of the same kind and epoch; none for the first.
    pub prev: Option<Seq>,
    /// `node.site` when it was committed.
    pub site: String,
    /// `node.id` when it was committed.
    pub node: String,
    /// The node's boot it was received in, counted from 1.
    pub boot: i64,
    /// `CLOCK_BOOTTIME` at receipt, ms.
    pub mono_ms: i64,
    /// When it happened.
    pub ts_ms: UnixMs,
    /// How far `ts_ms` can be believed.
    pub tq: TimeQuality,
    /// The node's clock at receipt.
    pub received_ms: UnixMs,
    /// The input that delivered it, or `manual`; none for what the node derived.
    pub source: Option<String>,
    /// The asset it is about.
    pub asset: Option<String>,
    /// The place it names.
    pub place: Option<String>,
    /// The scanned code (a scan only): kept beside the body so that it can be looked up.
    pub code: Option<String>,
    /// Repeats counted onto it before its first publish (a scan only).
    pub repeats: i64,
    /// The fields of its kind, a JSON object text written once at commit; `{}` when there are none.
    pub body: String,
}
