//! One point where true time and `CLOCK_BOOTTIME` are known to meet, and how far that holds from there.

use crate::domain::{TimeQuality, UnixMs};

/// Drift of a cheap crystal: an anchor is worth less the further one is from it. Parts per million; source: Raspberry Pi datasheets.
const DRIFT_PPM: i64 = 50;
/// Times that differ by more than this contradict each other. ms (contract section 6, doubt `clock`)
pub(super) const STEP_MS: i64 = 10_000;

/// How far a crystal may drift between two instants. ms, rounded up.
pub(super) const fn drift_ms(from_mono_ms: i64, to_mono_ms: i64) -> i64 {
    let distance = to_mono_ms.saturating_sub(from_mono_ms).saturating_abs();
    (distance.saturating_mul(DRIFT_PPM).saturating_add(999_999)) / 1_000_000
}

/// One point where true time and `CLOCK_BOOTTIME` of a boot are known to meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// `CLOCK_BOOTTIME`. ms
    pub mono_ms: i64,
    /// The true time then. UTC ms
    pub utc_ms: UnixMs,
    /// How far that may be off. ms
    pub err_ms: i64,
    /// Whose word it is: a receiver's or NTP's.
    pub tq: TimeQuality,
    /// The receiver's id; `ntp` for NTP.
    pub by: String,
}

impl Anchor {
    /// True time less `CLOCK_BOOTTIME`. ms: nearly the same at every instant of a boot.
    #[must_use]
    pub const fn utc_minus_mono_ms(&self) -> i64 {
        self.utc_ms.saturating_sub(self.mono_ms)
    }

    /// How far its word may be off at another instant of the boot. ms
    #[must_use]
    pub const fn err_at(&self, mono_ms: i64) -> i64 {
        self.err_ms.saturating_add(drift_ms(self.mono_ms, mono_ms))
    }

    /// Whether both cannot be right, by more than the crystal explains.
    #[must_use]
    pub const fn contradicts(&self, other: &Self) -> bool {
        let apart = self.utc_minus_mono_ms().saturating_sub(other.utc_minus_mono_ms()).saturating_abs();
        apart > STEP_MS.saturating_add(drift_ms(self.mono_ms, other.mono_ms))
    }
}
