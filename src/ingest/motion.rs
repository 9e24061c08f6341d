//! Which fixes are worth a row: at most one each interval while moving or parked, and each that says something new.
//! A thinned fix is counted and still shows where the asset is.

use std::time::Duration;

use crate::domain::{Doubt, Fix, Stamp, UnixMs};

/// Faster than this it moves. m/s; walking pace.
const START_MPS: f64 = 1.5;
/// Slower than this for [`STOP_MS`] it is parked. m/s; what a standing receiver's noise reaches.
const STOP_MPS: f64 = 0.5;
/// How long it must be slow to be parked. ms
const STOP_MS: i64 = 30_000;
/// A turn that is worth a row. Degrees.
const TURN_DEG: f64 = 30.0;
/// The first fix after such a gap is worth a row. ms
const GAP_MS: i64 = 10_000;
/// Without a speed: so far from the last stored position it has moved. Degrees, about 30 m of latitude.
const MOVED_DEG: f64 = 0.000_27;

/// What becomes of a fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// It is stored.
    Store,
    /// It is left out by the policy of this name.
    Thin(&'static str),
    /// It is older than the newest: stored unless a neighbour is.
    Late,
}

/// The motion of one receiver, as far as thinning needs it.
#[derive(Clone, Debug, Default)]
pub(super) struct Motion {
    stored: Option<Point>,
    newest_ms: Option<UnixMs>,
    heard_mono_ms: i64,
    moving: bool,
    slow_since_ms: Option<UnixMs>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    time_ms: UnixMs,
    lat_deg: f64,
    lon_deg: f64,
    course_deg: Option<f64>,
}

/// limits
#[derive(Clone, Copy, Debug, Default)]
pub struct MotionLimits;

impl Motion {
    pub(super) fn is_late(&self, fix: &Fix) -> bool {
        self.newest_ms.is_some_and(|newest| fix.time_ms <= newest)
    }

    /// Decides on the next fix of the receiver.
    pub(super) fn judge(
        &mut self,
        fix: &Fix,
        at: Stamp,
        (track, parked): (Duration, Duration),
        fresh: bool,
        _: &MotionLimits,
    ) -> Keep {
        if fix.doubt.iter().any(|doubt| matches!(doubt, Doubt::Jump | Doubt::Future)) {
            return Keep::Store;
        }
        if self.newest_ms.is_some_and(|newest| fix.time_ms <= newest) {
            return if track.is_zero() || parked.is_zero() { Keep::Store } else { Keep::Late };
        }
        let gap = at.mono_ms() - self.heard_mono_ms > GAP_MS;
        let (newest, was_moving) = (self.newest_ms.replace(fix.time_ms), self.moving);
        self.heard_mono_ms = at.mono_ms();
        self.follow(fix);
        let keep = self.worth(fix, fresh || gap || newest.is_none() || was_moving != self.moving, track, parked);
        if keep == Keep::Store {
            let course_deg = if self.moving { fix.course_deg } else { None };
            self.stored = Some(Point { time_ms: fix.time_ms, lat_deg: fix.lat_deg, lon_deg: fix.lon_deg, course_deg });
        }
        keep
    }

    fn worth(&self, fix: &Fix, news: bool, track: Duration, parked: Duration) -> Keep {
        let Some(stored) = self.stored else { return Keep::Store };
        let (policy, interval) = if self.moving { ("track", track) } else { ("parked", parked) };
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        let turned = match (self.moving, stored.course_deg, fix.course_deg) {
            (true, Some(then), Some(now)) => turn(then, now) > TURN_DEG,
            (true, None, Some(_)) => true,
            _ => false,
        };
        if news || turned || fix.time_ms - stored.time_ms >= interval_ms { Keep::Store } else { Keep::Thin(policy) }
    }

    fn follow(&mut self, fix: &Fix) {
        let moved = |from: Point| {
            (fix.lat_deg - from.lat_deg).abs() > MOVED_DEG
                || (fix.lon_deg - from.lon_deg).abs() * fix.lat_deg.to_radians().cos() > MOVED_DEG
        };
        let fast = match fix.speed_mps {
            Some(speed) => speed > START_MPS,
            None => self.stored.is_some_and(moved),
        };
        if fast {
            self.moving = true;
            self.slow_since_ms = None;
        } else if fix.speed_mps.is_none_or(|speed| speed < STOP_MPS) {
            let since = *self.slow_since_ms.get_or_insert(fix.time_ms);
            self.moving &= fix.time_ms - since < STOP_MS;
        } else {
            self.slow_since_ms = None;
        }
    }
}

/// The angle between two courses. Degrees, 0..=180.
fn turn(from: f64, to: f64) -> f64 {
    let turn = (to - from).rem_euclid(360.0);
    turn.min(360.0 - turn)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACK: Duration = Duration::from_secs(10);
    const PARKED: Duration = Duration::from_secs(300);

    fn fix(second: i64, speed: f64, course: f64) -> (Fix, Stamp) {
        let fix = Fix {
            time_ms: second * 1000,
            has_date: true,
            day_sent: String::new(),
            tod_sent_ms: second * 1000,
            first_e7: (0, 0),
            lat_deg: 0.0,
            lon_deg: 0.0,
            alt_m: None,
            speed_mps: Some(speed),
            course_deg: Some(course),
            mode: None,
            satellites: None,
            hdop: None,
            quality: None,
            doubt: Vec::new(),
        };
        (fix, Stamp { mono_us: second * 1_000_000, wall_ms: 0 })
    }

    fn stored(seconds: impl Iterator<Item = i64>, speed: impl Fn(i64) -> f64, course: impl Fn(i64) -> f64) -> Vec<i64> {
        let mut motion = Motion::default();
        seconds
            .filter(|s| {
                let (fix, at) = fix(*s, speed(*s), course(*s));
                motion.judge(&fix, at, (TRACK, PARKED), false, &MotionLimits) == Keep::Store
            })
            .collect()
    }

    #[test]
    fn a_steady_drive_is_stored_every_ten_seconds_and_at_each_turn() {
        assert_eq!(stored(1..35, |_| 12.0, |s| if s < 25 { 90.0 } else { 130.0 }), [1, 11, 21, 25]);
    }

    #[test]
    fn a_parked_vehicle_is_stored_every_five_minutes_and_when_it_starts() {
        assert_eq!(stored(1..400, |s| if s < 350 { 0.1 } else { 9.0 }, |_| 0.0), [1, 301, 350, 360, 370, 380, 390]);
    }

    #[test]
    fn a_stop_is_stored_once_it_has_lasted() {
        assert_eq!(stored(1..70, |s| if s < 12 { 9.0 } else { 0.0 }, |_| 0.0), [1, 11, 21, 31, 41, 42]);
    }

    #[test]
    fn the_first_fix_after_a_gap_is_never_thinned() {
        assert_eq!(stored((1..5).chain(16..19), |_| 0.0, |_| 0.0), [1, 16]);
    }

    #[test]
    fn zero_intervals_store_every_epoch() {
        let mut motion = Motion::default();
        for s in 1..50 {
            let (fix, at) = fix(s, 0.0, 0.0);
            assert_eq!(motion.judge(&fix, at, (Duration::ZERO, Duration::ZERO), false, &MotionLimits), Keep::Store);
        }
    }
}
