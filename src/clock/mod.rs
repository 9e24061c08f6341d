//! The only room that asks the time. Durations come from `CLOCK_BOOTTIME`, which counts suspend and never steps;
//! the wall clock is a fact to be stored, never a reason to act.

mod anchor;
mod chrony;
mod keeper;
mod ntp;
mod receivers;
mod seam;
mod spans;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::domain::Stamp;

pub use anchor::Anchor;
pub use keeper::{Keeper, Standing, Step};
pub use spans::{BootTime, Span, WALL_STEP_MS, Wall, news};

/// Asks the time, or a time that a test sets.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<ManualTime>),
}

#[derive(Debug)]
struct ManualTime {
    mono_us: AtomicI64,
    wall_ms: AtomicI64,
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until it is set; clones share it.
    #[must_use]
    pub fn manual(stamp: Stamp) -> Self {
        Self(Source::Manual(Arc::new(ManualTime {
            mono_us: AtomicI64::new(stamp.mono_us),
            wall_ms: AtomicI64::new(stamp.wall_ms),
        })))
    }

    /// Whether it is the machine's.
    const fn is_system(&self) -> bool {
        matches!(self.0, Source::System)
    }

    /// Both clocks now.
    #[must_use]
    pub fn now(&self) -> Stamp {
        match &self.0 {
            Source::System => {
                let mono_us = boottime_us();
                Stamp { mono_us, wall_ms: wall_ms() + seam::off_ms(mono_us) }
            }
            Source::Manual(time) => {
                Stamp { mono_us: time.mono_us.load(Ordering::Acquire), wall_ms: time.wall_ms.load(Ordering::Acquire) }
            }
        }
    }

    /// Moves a manual clock on; the machine's clock does not listen.
    pub fn advance_ms(&self, ms: i64) {
        if let Source::Manual(time) = &self.0 {
            time.mono_us.fetch_add(ms * 1000, Ordering::AcqRel);
            time.wall_ms.fetch_add(ms, Ordering::AcqRel);
        }
    }

    /// Steps the wall of a manual clock, as an operator or NTP would; the machine's clock does not listen.
    pub fn set_wall_ms(&self, wall_ms: i64) {
        if let Source::Manual(time) = &self.0 {
            time.wall_ms.store(wall_ms, Ordering::Release);
        }
    }
}

#[cfg_attr(
    target_pointer_width = "64",
    expect(clippy::useless_conversion, reason = "these fields are 32 bits wide on 32-bit targets")
)]
fn boottime_us() -> i64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a valid place for the answer and outlives the call. Linux has had this clock since 2.6.39,
    // so the call cannot fail with a valid pointer; on failure the answer would be 0, which is in order.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut ts) };
    i64::from(ts.tv_sec) * 1_000_000 + i64::from(ts.tv_nsec) / 1000
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that may ask")]
fn wall_ms() -> i64 {
    match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

/// The date of this release: no true time lies before it.
///
/// Unit: ms since 1970; 2026-11-20T00:00:00Z.
pub const BUILD_FLOOR_MS: i64 = 1_795_132_800_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_still_until_it_is_moved() {
        let clock = Clock::manual(Stamp { mono_us: 5_000, wall_ms: 1_000 });
        let twin = clock.clone();
        twin.advance_ms(7);
        assert_eq!(clock.now(), Stamp { mono_us: 12_000, wall_ms: 1_007 });
        clock.set_wall_ms(-3);
        assert_eq!(twin.now(), Stamp { mono_us: 12_000, wall_ms: -3 });
    }

    #[test]
    fn the_machine_clock_never_runs_backwards() {
        let clock = Clock::system();
        let first = clock.now().mono_us;
        assert!(clock.now().mono_us >= first);
    }
}
