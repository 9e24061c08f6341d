//! Whether an asset moves, and which of its fixes are worth a row: at most one each interval while moving or parked, and
//! each that says something new. A thinned fix is counted and still shows where the asset is.
//!
//! A parked receiver wanders by metres and says speeds over 1 m/s for seconds. So motion must last, or lead away from the
//! anchor, the averaged position of the parked asset; how far that is grows with the HDOP.

use std::time::Duration;

use crate::config::MotionLimits;
use crate::domain::{Doubt, Fix, Stamp, UnixMs};

/// A turn that is worth a row. Degrees.
const TURN_DEG: f64 = 30.0;
/// The first fix after such a gap is worth a row. ms
const GAP_MS: i64 = 10_000;
/// With a poorer HDOP a speed is as much a guess as a position: it starts no motion, the distance must. None counts as good.
const SPEED_HDOP_MAX: f64 = 5.0;
/// A receiver that says worse is believed this. It says 99.99 when it does not know.
const HDOP_MAX: f64 = 100.0;
/// Time constant of the anchor, times the HDOP. ms
const ANCHOR_MS: f64 = 60_000.0;
/// Metres of a degree of latitude.
const M_PER_DEG: f64 = 111_195.08;
/// So many fixes in a row, each later than the one before and all older than the newest, over [`ANEW_MIN_MS`] at least,
/// say that the newest was wrong.
const ANEW_FIXES: u32 = 10;
/// See [`ANEW_FIXES`]. ms
const ANEW_MIN_MS: i64 = 5000;
/// The same for a receiver that says little: so many fixes over [`ANEW_LONG_MS`].
const ANEW_FIXES_FEW: u32 = 3;
/// See [`ANEW_FIXES_FEW`]. ms
const ANEW_LONG_MS: i64 = 60_000;
/// How far times of fixes and of their receipt may run apart in such a row: a log that is played back runs faster, or
/// slower, than a clock. ms
const PACE_SLACK_MS: i64 = 1500;

/// What becomes of a fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// It is stored.
    Store,
    /// It is left out by the policy of this name.
    Thin(&'static str),
    /// It is older than the newest: stored unless a neighbour within this is; then that policy leaves it out.
    Late(Duration, &'static str),
}

/// How often a fix is worth a row, if it says nothing new.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// `track_interval_s`.
    pub(super) track: Duration,
    /// `parked_interval_s`.
    pub(super) parked: Duration,
    /// As room ends: no more than one in so long, turns included; zero: there is room.
    pub(super) room: Duration,
}

/// The motion of one asset by one receiver. It begins parked.
#[derive(Clone, Debug, Default)]
pub(super) struct Motion {
    stored: Option<Stored>,
    newest_ms: Option<UnixMs>,
    heard_mono_ms: i64,
    late: Option<Late>,
    moving: bool,
    starts: u64,
    anchor: Option<Anchor>,
    fast_since_ms: Option<UnixMs>,
    slow_since_ms: Option<UnixMs>,
}

/// What thinning needs of the fix that was stored last.
#[derive(Clone, Copy, Debug)]
struct Stored {
    time_ms: UnixMs,
    course_deg: Option<f64>,
}

/// Where the asset stands: while it moves, where it may be about to.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    lat_deg: f64,
    lon_deg: f64,
    /// How much the average rests on. ms
    weight_ms: f64,
    time_ms: UnixMs,
}

/// Fixes in a row that are older than the newest, each later than the one before.
#[derive(Clone, Copy, Debug)]
struct Late {
    first: (UnixMs, i64),
    last_ms: UnixMs,
    fixes: u32,
}

impl Motion {
    /// Whether the next fix of the receiver is older than its newest. To be asked once a fix, before [`Motion::judge`].
    pub(super) fn is_late(&mut self, fix: &Fix, at: Stamp) -> bool {
        let is_behind = !is_wild(fix) && self.newest_ms.is_some_and(|newest| fix.time_ms <= newest);
        // An old one is an ordinary late event, however many there are: a trusted clock vouches for the newest.
        is_behind && (fix.doubt.contains(&Doubt::Old) || !self.begins_anew(fix, at))
    }

    /// Decides on the next fix of the receiver. `news`: it changes something else, and must not be thinned.
    pub(super) fn judge(
        &mut self,
        fix: &Fix,
        at: Stamp,
        is_late: bool,
        pace: Pace,
        news: bool,
        limits: &MotionLimits,
    ) -> Keep {
        if is_wild(fix) {
            return Keep::Store;
        }
        if is_late {
            let track = if pace.parked.is_zero() { Duration::ZERO } else { pace.track };
            let (span, policy) = if pace.room > track { (pace.room, "room") } else { (track, "track") };
            return if news || span.is_zero() { Keep::Store } else { Keep::Late(span, policy) };
        }
        self.late = None;
        let gap = at.mono_ms() - self.heard_mono_ms > GAP_MS;
        let (newest, was_moving) = (self.newest_ms.replace(fix.time_ms), self.moving);
        self.heard_mono_ms = at.mono_ms();
        // What stands still and says that it moves is not believed either way.
        if !fix.doubt.contains(&Doubt::Frozen) {
            self.follow(fix, limits);
        }
        let news = news || gap || newest.is_none() || was_moving != self.moving;
        let interval = if self.moving { ("track", pace.track) } else { ("parked", pace.parked) };
        let mut keep = self.worth(fix, news, interval, limits);
        if keep == Keep::Store && !news && self.is_within(fix, pace.room) {
            keep = Keep::Thin("room");
        }
        if keep == Keep::Store {
            let course_deg = self.course(fix, limits);
            self.stored = Some(Stored { time_ms: fix.time_ms, course_deg });
        }
        keep
    }

    /// Whether the asset moves.
    pub(super) const fn is_moving(&self) -> bool {
        self.moving
    }

    /// How often it began to move.
    pub(super) const fn starts(&self) -> u64 {
        self.starts
    }

    /// Whether a fix that is older than the newest ends a row that shows the newest to be wrong: a date far ahead, from a
    /// receiver that nobody could check, must not make all that follows late for ever.
    fn begins_anew(&mut self, fix: &Fix, at: Stamp) -> bool {
        let row = self.late.filter(|late| late.last_ms < fix.time_ms && late.keeps_pace(fix.time_ms, at));
        let row = match row {
            Some(late) => Late { last_ms: fix.time_ms, fixes: late.fixes.saturating_add(1), ..late },
            None => Late { first: (fix.time_ms, at.mono_ms()), last_ms: fix.time_ms, fixes: 1 },
        };
        self.late = Some(row);
        let took_ms = at.mono_ms().saturating_sub(row.first.1);
        let is_long =
            row.fixes >= ANEW_FIXES && took_ms >= ANEW_MIN_MS || row.fixes >= ANEW_FIXES_FEW && took_ms >= ANEW_LONG_MS;
        if is_long {
            self.begin_anew();
        }
        is_long
    }

    /// What was the newest was wrong: it makes nothing late any more.
    pub(super) fn begin_anew(&mut self) {
        *self = Self { moving: self.moving, starts: self.starts, heard_mono_ms: self.heard_mono_ms, ..Self::default() };
    }

    fn worth(
        &self,
        fix: &Fix,
        news: bool,
        (policy, interval): (&'static str, Duration),
        limits: &MotionLimits,
    ) -> Keep {
        let Some(stored) = self.stored else { return Keep::Store };
        let turned = match (stored.course_deg, self.course(fix, limits)) {
            (Some(then), Some(now)) => turn(then, now) > TURN_DEG,
            (None, Some(_)) => true,
            _ => false,
        };
        let is_due = !self.is_within(fix, interval);
        if news || turned || is_due { Keep::Store } else { Keep::Thin(policy) }
    }

    /// Whether a fix comes sooner after the last stored one than this.
    fn is_within(&self, fix: &Fix, span: Duration) -> bool {
        let span_ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        self.stored.is_some_and(|stored| fix.time_ms.saturating_sub(stored.time_ms) < span_ms)
    }

    /// The course, where it is one: that of an asset that stands is noise.
    fn course(&self, fix: &Fix, limits: &MotionLimits) -> Option<f64> {
        fix.course_deg.filter(|_| self.moving && fix.speed_mps.is_none_or(|speed| speed > limits.stop_mps))
    }

    fn follow(&mut self, fix: &Fix, limits: &MotionLimits) {
        let hdop = fix.hdop.filter(|hdop| *hdop > 0.0).map_or(1.0, |hdop| hdop.clamp(1.0, HDOP_MAX));
        let here = Anchor { lat_deg: fix.lat_deg, lon_deg: fix.lon_deg, weight_ms: 0.0, time_ms: fix.time_ms };
        let anchor = *self.anchor.get_or_insert(here);
        let is_away = anchor.distance_m(here) > limits.start_m * hdop;
        if self.moving {
            self.follow_moving(fix, limits, is_away.then_some(here));
            return;
        }
        let is_fast = hdop <= SPEED_HDOP_MAX && fix.speed_mps.is_some_and(|speed| speed > limits.start_mps);
        let fast_since_ms = if is_fast { *self.fast_since_ms.get_or_insert(fix.time_ms) } else { fix.time_ms };
        self.fast_since_ms = is_fast.then_some(fast_since_ms);
        if is_away || is_fast && has_lasted(fast_since_ms, fix.time_ms, limits.start) {
            self.moving = true;
            self.starts += 1;
            (self.anchor, self.fast_since_ms, self.slow_since_ms) = (Some(here), None, None);
        } else {
            self.anchor = Some(anchor.towards(here, ANCHOR_MS * hdop));
        }
    }

    /// A moving asset stands when it was slow for long enough; without a speed, when it did not get away meanwhile.
    fn follow_moving(&mut self, fix: &Fix, limits: &MotionLimits, away: Option<Anchor>) {
        let is_slow = fix.speed_mps.map_or(away.is_none(), |speed| speed < limits.stop_mps);
        let since_ms = if is_slow { *self.slow_since_ms.get_or_insert(fix.time_ms) } else { fix.time_ms };
        self.slow_since_ms = if is_slow { Some(since_ms) } else { None };
        if let Some(here) = away {
            self.anchor = Some(here);
        }
        if is_slow && has_lasted(since_ms, fix.time_ms, limits.stop) {
            self.moving = false;
            // It stands where it is now, not where it was first slow.
            (self.anchor, self.fast_since_ms, self.slow_since_ms) = (None, None, None);
        }
    }
}

impl Late {
    /// Whether times and receipts have run alike since the first.
    fn keeps_pace(&self, time_ms: UnixMs, at: Stamp) -> bool {
        let (by_fix, by_receipt) = (time_ms.saturating_sub(self.first.0), at.mono_ms().saturating_sub(self.first.1));
        by_fix.saturating_sub(by_receipt).saturating_abs() <= PACE_SLACK_MS.saturating_add(by_receipt / 20)
    }
}

impl Anchor {
    fn distance_m(self, other: Self) -> f64 {
        let (north, east) = self.way_to(other);
        north.hypot(east * self.lat_deg.to_radians().cos()) * M_PER_DEG
    }

    /// Degrees north and, the short way round, east.
    fn way_to(self, other: Self) -> (f64, f64) {
        let east = (other.lon_deg - self.lon_deg + 540.0).rem_euclid(360.0) - 180.0;
        (other.lat_deg - self.lat_deg, east)
    }

    /// The average with a later position: of all at first, then of about the last `constant_ms`.
    fn towards(self, here: Self, constant_ms: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a duration; 2^53 ms are 285,000 years")]
        let took_ms = here.time_ms.saturating_sub(self.time_ms).max(0) as f64;
        let weight_ms = (self.weight_ms + took_ms).min(constant_ms);
        let share = if weight_ms > 0.0 { (took_ms / weight_ms).min(0.5) } else { 0.0 };
        let (north, east) = self.way_to(here);
        let (lat_deg, lon_deg) = (self.lat_deg + share * north, self.lon_deg + share * east);
        Self { lat_deg, lon_deg, weight_ms, time_ms: here.time_ms }
    }
}

/// Whether a fix says nothing of motion.
fn is_wild(fix: &Fix) -> bool {
    fix.doubt.iter().any(|doubt| matches!(doubt, Doubt::Jump | Doubt::Future))
}

fn has_lasted(since_ms: UnixMs, now_ms: UnixMs, span: Duration) -> bool {
    now_ms.saturating_sub(since_ms) >= i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// The angle between two courses. Degrees, 0..=180.
fn turn(from: f64, to: f64) -> f64 {
    let turn = (to - from).rem_euclid(360.0);
    turn.min(360.0 - turn)
}

#[cfg(test)]
#[path = "motion_tests.rs"]
mod tests;
