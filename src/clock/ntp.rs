//! What NTP says of the time: the wall clock, as long as a daemon that disciplines it says so. `adjtimex` is closed to the
//! service, so the word is the file that systemd-timesyncd touches each time it has set the clock, or chrony's own.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::domain::{Stamp, TimeQuality};

use super::anchor::{Anchor, STEP_MS};

/// Between two looks at the mark. µs
const LOOK_US: i64 = 1_000_000;
/// How far a clock that NTP has just set may be off. ms; timesyncd over a mobile link
const ERR_MS: i64 = 100;

/// The word of NTP.
#[derive(Debug)]
pub(super) struct Ntp {
    path: PathBuf,
    asked_us: Option<i64>,
    /// When the mark was touched last, as the file system says: only ever compared with itself.
    mark: Option<(i64, i64)>,
    held: Option<Anchor>,
}

impl Ntp {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, asked_us: None, mark: None, held: None }
    }

    /// Goes on with what was known before a restart of the process.
    pub(super) fn restore(&mut self, anchor: Anchor) {
        self.held = Some(anchor);
    }

    /// What NTP said last.
    pub(super) const fn held(&self) -> Option<&Anchor> {
        self.held.as_ref()
    }

    /// Looks at the mark, once a second. A mark that is new or touched again vouches for the wall clock as it is now. One
    /// that stands vouches for small corrections, not for a step: somebody else has set the clock then.
    pub(super) fn look(&mut self, now: Stamp) {
        if self.asked_us.is_some_and(|asked| now.mono_us - asked <= LOOK_US) {
            return;
        }
        self.asked_us = Some(now.mono_us);
        // A file that cannot be looked at vouches for nothing.
        let Ok(found) = std::fs::metadata(&self.path) else { return };
        self.vouched((found.mtime(), found.mtime_nsec()), now);
    }

    /// A daemon vouches for the wall clock; `mark` is another one each time it has measured.
    pub(super) fn vouched(&mut self, mark: (i64, i64), now: Stamp) {
        let by_wall = Anchor {
            mono_ms: now.mono_ms(),
            utc_ms: now.wall_ms,
            err_ms: ERR_MS,
            tq: TimeQuality::Ntp,
            by: "ntp".to_owned(),
        };
        if self.mark.replace(mark) != Some(mark) {
            self.held = Some(by_wall);
        } else if let Some(held) = &mut self.held
            && is_near(held, now)
        {
            // The clock is disciplined all the time, its error is known since the mark was touched.
            held.utc_ms = held.mono_ms + by_wall.utc_minus_mono_ms();
        }
    }
}

/// Whether a stamp's wall clock says what NTP said.
pub(super) const fn is_near(held: &Anchor, at: Stamp) -> bool {
    let wall_minus_mono_ms = at.wall_ms.saturating_sub(at.mono_ms());
    wall_minus_mono_ms.saturating_sub(held.utc_minus_mono_ms()).saturating_abs() <= STEP_MS
}
