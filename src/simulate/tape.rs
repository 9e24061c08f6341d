//! What is played, as a list of bursts with their times; how it reaches the line is not its business.

use std::time::Duration;

use crate::domain::UnixMs;

/// Something to play, burst by burst.
pub(super) trait Tape: Send {
    /// When the next burst is due, counted from the start of play and never falling; none at the end.
    fn due(&self) -> Option<Duration>;

    /// The frames of the due burst, and on to the next. `now_ms` is the wall clock.
    fn take(&mut self, now_ms: UnixMs) -> Vec<Vec<u8>>;

    /// Whether the device is plugged in after the burst that was taken last.
    fn is_plugged(&self) -> bool {
        true
    }
}

/// What time goes into the sentences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Time {
    /// The present UTC, on the grid of the recording.
    #[default]
    Now,
    /// What the log says; for a route, from 2026-11-20T08:00:00Z on.
    Recorded,
}

/// Gives each moment of a tape its present time: evenly spaced as a receiver's, however late we are woken.
pub(super) struct Anchor {
    zero_ms: Option<UnixMs>,
    grid_ms: i64,
}

/// How far the tape may drift from the wall clock before it follows. A stepped clock, a machine that slept.
const DRIFT_MAX_MS: i64 = 2000;

impl Anchor {
    /// `grid_ms` is the finest step of the times that are written.
    pub(super) const fn new(grid_ms: i64) -> Self {
        Self { zero_ms: None, grid_ms }
    }

    /// The time of the moment `at` of the tape, which is being played now.
    pub(super) fn time(&mut self, at: Duration, now_ms: UnixMs) -> UnixMs {
        let at_ms = millis(at);
        let kept = self.zero_ms.filter(|zero| (zero + at_ms - now_ms).abs() <= DRIFT_MAX_MS);
        let zero = kept.unwrap_or_else(|| {
            let start = now_ms - at_ms;
            start - start.rem_euclid(self.grid_ms)
        });
        self.zero_ms = Some(zero);
        let time = zero + at_ms;
        time - time.rem_euclid(self.grid_ms)
    }
}

/// A duration in ms; far beyond any tape it stays at the largest.
pub(super) fn millis(at: Duration) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stay_even_though_the_wakes_do_not() {
        let mut anchor = Anchor::new(10);
        let mut at = |s: u64, now| anchor.time(Duration::from_secs(s), now);
        assert_eq!([at(0, 5_003), at(1, 6_017), at(2, 7_001)], [5_000, 6_000, 7_000]);
    }

    #[test]
    fn a_stepped_clock_is_followed() {
        let mut anchor = Anchor::new(1000);
        assert_eq!(anchor.time(Duration::ZERO, 5_400), 5_000);
        assert_eq!(anchor.time(Duration::from_secs(1), 3_605_400), 3_605_000);
    }
}
