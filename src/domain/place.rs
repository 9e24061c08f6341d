//! Where things are: the state that is folded from events.

use super::{EventId, Seq, TimeQuality, UnixMs};

/// An asset as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct AssetState {
    /// Its name: the register's id, or the key of the code that named it.
    pub asset: String,
    /// The newest event that its state rests on.
    pub id: EventId,
    /// That event's place in the log.
    pub seq: Seq,
    /// When that event happened.
    pub ts_ms: UnixMs,
    /// How far `ts_ms` can be believed.
    pub tq: TimeQuality,
    /// The boot and the `CLOCK_BOOTTIME` ms of its receipt: the order that no clock step changes.
    pub received: (i64, i64),
    /// Latitude and longitude, degrees WGS 84, when it has a position.
    pub position: Option<(f64, f64)>,
    /// Speed over ground, m/s.
    pub speed_mps: Option<f64>,
    /// Course over ground, degrees true.
    pub course_deg: Option<f64>,
    /// The place it is at.
    pub place: Option<String>,
    /// Since when it is there.
    pub since_ms: Option<UnixMs>,
    /// The source that saw it last.
    pub source: Option<String>,
    /// Where GPS sees it when that contradicts `place`: a zone, or empty for none of the plan. Absent while both agree or
    /// GPS cannot say.
    pub gps_place: Option<String>,
}

/// What is said of an asset's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceSaid {
    /// Nothing.
    Unsaid,
    /// It is there now.
    At(String),
    /// It is gone from there.
    GoneFrom(String),
    /// It is nowhere that has a name.
    Gone,
}

/// Who says where an asset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A read at a place.
    Scan = 1,
    /// A person.
    Operator = 2,
    /// Its positions, against the zones of the plan.
    Gps = 3,
}

impl By {
    /// The voice of a code in the store.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        [Self::Scan, Self::Operator, Self::Gps].into_iter().find(|by| *by as i64 == code)
    }
}

/// Where a statement stands among all that was said of an asset's place.
///
/// What is said with a trusted time stands where that time puts it, so that the order in which it arrives changes nothing.
/// What is said without one follows what was said last: a wrong clock can neither freeze an asset nor overtake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SaidKey {
    /// A trusted time. UTC ms
    pub order_ms: UnixMs,
    /// How many without a trusted time of their own have followed it.
    pub nudge: i64,
    /// The event that says so.
    pub cause: EventId,
    /// Its how-manieth statement: one jump over a gate says two.
    pub nth: i64,
}

/// One statement on the place of an asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Where it stands among the others.
    pub key: SaidKey,
    /// When it was so.
    pub ts_ms: UnixMs,
    /// How far that can be believed.
    pub tq: TimeQuality,
    /// The boot and `CLOCK_BOOTTIME` ms of its receipt.
    pub received: (i64, i64),
    /// What is said.
    pub place: PlaceSaid,
    /// Who says it.
    pub by: By,
}

/// A change of place that follows from what was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The statement it follows from.
    pub key: SaidKey,
    /// Who said it.
    pub by: By,
    /// [`Change::Exit`] or [`Change::Enter`].
    pub change: Change,
    /// The place left or entered.
    pub place: String,
    /// When.
    pub since_ms: UnixMs,
    /// How far that can be believed.
    pub tq: TimeQuality,
}

impl AssetState {
    /// This state with the place of `other` where that rests on a newer event: a fix that was thinned says where an asset
    /// is, and nothing of its place.
    #[must_use]
    pub fn with_place_of(self, other: &Self) -> Self {
        if other.seq <= self.seq {
            return self;
        }
        Self {
            id: other.id,
            seq: other.seq,
            place: other.place.clone(),
            since_ms: other.since_ms,
            gps_place: other.gps_place.clone(),
            ..self
        }
    }
}

/// A change of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has left the place.
    Exit = 1,
    /// It is at the place from now on.
    Enter = 2,
    /// An earlier change, or an earlier void, no longer holds.
    Void = 3,
}

impl Change {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enter => "enter",
            Self::Exit => "exit",
            Self::Void => "void",
        }
    }
}
