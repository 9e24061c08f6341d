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
}

impl AssetState {
    /// This state with the place of `other` where that rests on a newer event: a fix that was thinned says where an asset
    /// is, and nothing of its place.
    #[must_use]
    pub fn with_place_of(self, other: &Self) -> Self {
        if other.seq <= self.seq {
            return self;
        }
        Self { id: other.id, seq: other.seq, place: other.place.clone(), since_ms: other.since_ms, ..self }
    }
}

/// A change of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is at the place from now on.
    Enter,
    /// It has left the place.
    Exit,
    /// An earlier change no longer holds.
    Void,
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
