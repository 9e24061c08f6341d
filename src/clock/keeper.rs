//! The node's own idea of true time: the wall clock, until a receiver has earned more trust.
//! It sets no clock and steers nothing; it only says what time something happened and how far to believe it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{BUILD_FLOOR_MS, Clock};
use crate::domain::{Stamp, TimeQuality, UnixMs};

/// Consistent epochs in a row that make a receiver's time the node's (contract section 5, `tq`).
const EPOCHS_TO_TRUST: u32 = 10;
/// How far two epochs may differ, after the time between them, and still be consistent. ms; a line at 4800 baud delays up to this.
const CONSISTENT_MS: i64 = 1_000;
/// A trusted time that moves by more than this has stepped. ms
const STEP_MS: i64 = 10_000;
/// Drift of a cheap crystal, used to let an old offset fade. Parts per million; source: Raspberry Pi datasheets.
const DRIFT_PPM: i64 = 50;

/// A step of the trusted time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// How far it moved. ms, positive is forward.
    pub by_ms: i64,
}

/// Keeps the node's time. Clones share it.
#[derive(Clone)]
pub struct Keeper {
    clock: Clock,
    ntp_mark: Arc<PathBuf>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    /// UTC minus `CLOCK_BOOTTIME` by the trusted receiver, and when it last said so.
    trusted: Option<Offset>,
    candidate: Option<Candidate>,
    /// The newest trusted time the store knows: a true clock is not before it.
    newest_known_ms: UnixMs,
    ntp: bool,
    ntp_asked_us: Option<i64>,
}

#[derive(Clone, Copy)]
struct Offset {
    utc_minus_mono_ms: i64,
    at_mono_ms: i64,
}

/// What a receiver says of the time, as long as it says the same.
#[derive(Clone, Copy)]
struct Candidate {
    offset: Offset,
    epochs: u32,
    /// What the first epoch said: a recording that is played at once moves away from it, an epoch after the other.
    first_ms: i64,
}

impl Candidate {
    fn agrees(&self, said: i64) -> bool {
        let with = if self.epochs < EPOCHS_TO_TRUST { self.first_ms } else { self.offset.utc_minus_mono_ms };
        (said - with).abs() <= CONSISTENT_MS
    }
}

impl Keeper {
    /// A keeper that trusts nothing yet. `newest_known_ms` is the newest trusted time in the store, or 0.
    #[must_use]
    pub fn new(clock: Clock, newest_known_ms: UnixMs) -> Self {
        Self::with_ntp_mark(clock, newest_known_ms, PathBuf::from("/run/systemd/timesync/synchronized"))
    }

    /// As [`Keeper::new`], with the file whose presence says that NTP disciplines the clock.
    #[must_use]
    pub fn with_ntp_mark(clock: Clock, newest_known_ms: UnixMs, ntp_mark: PathBuf) -> Self {
        let kept = Kept { newest_known_ms: newest_known_ms.max(BUILD_FLOOR_MS), ..Kept::default() };
        Self { clock, ntp_mark: Arc::new(ntp_mark), kept: Arc::new(Mutex::new(kept)) }
    }

    /// The clock behind it.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The best known UTC of an instant of this boot, and how far to believe it.
    #[must_use]
    pub fn time_of(&self, at: Stamp) -> (UnixMs, TimeQuality) {
        let mut kept = self.lock();
        if let Some(trusted) = kept.trusted {
            return (at.mono_ms() + trusted.utc_minus_mono_ms, TimeQuality::Gnss);
        }
        let quality = if self.ntp(&mut kept, at) {
            TimeQuality::Ntp
        } else if at.wall_ms >= kept.newest_known_ms {
            TimeQuality::Rtc
        } else {
            TimeQuality::None
        };
        (at.wall_ms, quality)
    }

    /// Hears the time of an epoch from a receiver whose time may become the node's.
    /// Answers a step when the trusted time moved by more than 10 s.
    pub fn hear(&self, epoch_ms: UnixMs, at: Stamp) -> Option<Step> {
        if epoch_ms < BUILD_FLOOR_MS {
            return None;
        }
        let mut kept = self.lock();
        let said = epoch_ms - at.mono_ms();
        let (ms, epochs, first_ms) = match kept.candidate {
            Some(so_far) if so_far.agrees(said) => {
                // What is heard comes late, never early: the largest offset is the truest, fading with the crystal's drift.
                let age_ms = at.mono_ms() - so_far.offset.at_mono_ms;
                let faded = so_far.offset.utc_minus_mono_ms - age_ms * DRIFT_PPM / 1_000_000;
                (said.max(faded), so_far.epochs.saturating_add(1), so_far.first_ms)
            }
            _ => (said, 1, said),
        };
        let offset = Offset { utc_minus_mono_ms: ms, at_mono_ms: at.mono_ms() };
        kept.candidate = Some(Candidate { offset, epochs, first_ms });
        if epochs < EPOCHS_TO_TRUST {
            return None;
        }
        let before = kept.trusted.replace(offset)?;
        let by_ms = offset.utc_minus_mono_ms - before.utc_minus_mono_ms;
        (by_ms.abs() > STEP_MS).then_some(Step { by_ms })
    }

    /// How far the wall clock is from the trusted time; none when nothing vouches for either.
    #[must_use]
    pub fn wall_error_ms(&self, at: Stamp) -> Option<i64> {
        match self.time_of(at) {
            (utc, TimeQuality::Gnss) => Some(at.wall_ms - utc),
            (_, TimeQuality::Ntp) => Some(0),
            _ => None,
        }
    }

    /// Looks at the mark of timesyncd once a second; `adjtimex` is closed to the service.
    fn ntp(&self, kept: &mut Kept, at: Stamp) -> bool {
        if kept.ntp_asked_us.is_none_or(|asked| at.mono_us - asked > 1_000_000) {
            kept.ntp = self.ntp_mark.exists();
            kept.ntp_asked_us = Some(at.mono_us);
        }
        kept.ntp
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Every change is one assignment: a panic elsewhere leaves it whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(wall_ms: i64) -> (Clock, Keeper) {
        let clock = Clock::manual(Stamp { mono_us: 1_000_000, wall_ms });
        (clock.clone(), Keeper::with_ntp_mark(clock, 0, PathBuf::from("/nonexistent/mark")))
    }

    #[test]
    fn a_recording_that_is_played_at_once_is_no_clock() {
        let (clock, keeper) = keeper(0);
        for second in 0..100 {
            clock.advance_ms(1);
            assert_eq!(keeper.hear(BUILD_FLOOR_MS + 5_000 + second * 1000, clock.now()), None);
        }
        assert_ne!(keeper.time_of(clock.now()).1, TimeQuality::Gnss);
    }

    #[test]
    fn nine_epochs_are_not_enough_and_ten_are() {
        let (clock, keeper) = keeper(0);
        let utc = BUILD_FLOOR_MS + 5_000;
        for n in 0..9 {
            assert_eq!(keeper.hear(utc + n * 1000, clock.now()), None);
            clock.advance_ms(1000);
        }
        assert_eq!(keeper.time_of(clock.now()), (9_000, TimeQuality::None));
        keeper.hear(utc + 9_000, clock.now());
        assert_eq!(keeper.time_of(clock.now()), (utc + 9_000, TimeQuality::Gnss));
    }

    #[test]
    fn one_wild_epoch_does_not_move_the_trusted_time_but_ten_are_a_step() {
        let (clock, keeper) = keeper(0);
        let utc = BUILD_FLOOR_MS + 5_000;
        for n in 0..10 {
            keeper.hear(utc + n * 1000, clock.now());
            clock.advance_ms(1000);
        }
        assert_eq!(keeper.hear(utc + 86_400_000, clock.now()), None);
        assert_eq!(keeper.time_of(clock.now()).0, utc + 10_000);
        let steps: Vec<_> = (0..10)
            .filter_map(|n| {
                let step = keeper.hear(utc + 86_400_000 + n * 1000, clock.now());
                clock.advance_ms(1000);
                step
            })
            .collect();
        assert_eq!(steps.len(), 1);
        assert!((steps[0].by_ms - 86_400_000).abs() < 20_000, "{steps:?}");
    }

    #[test]
    fn a_replayed_capture_of_old_days_never_becomes_the_time() {
        let (clock, keeper) = keeper(BUILD_FLOOR_MS + 77);
        for n in 0..20 {
            keeper.hear(1_300_000_000_000 + n * 1000, clock.now());
            clock.advance_ms(1000);
        }
        assert_eq!(keeper.time_of(clock.now()).1, TimeQuality::Rtc);
    }
}
