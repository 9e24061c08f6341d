//! Why a fix may not be taken at its word. Doubt is a mark, never a verdict: the fix goes on.

use crate::domain::{Doubt, Fix, Stamp, UnixMs};

/// Faster than anything on a road. Unit: metres per second.
const FASTEST_MPS: f64 = 70.0;

/// Over this a receiver says that it moves. Unit: metres per second.
const MOVING_MPS: f64 = 1.0;

/// How long a position may stand still while the receiver says that it moves. Unit: ms of its own time.
const STILL_MS: i64 = 10_000;

/// How long a receiver's time may stand still. Unit: ms of `CLOCK_BOOTTIME`.
const STOPPED_MS: i64 = 5_000;

/// How far ahead of trusted time a fix may be. Unit: ms.
const AHEAD_MS: i64 = 60_000;

/// How far off trusted time a fix may be. Unit: ms.
const OFF_MS: i64 = 10_000;

/// So many fixes in a row that agree with each other are believed over the one before them.
const AGREEING: u32 = 3;

/// A receiver's time that is this far from where its run of fixes has come to is another run. Unit: ms; half a day, so
/// that a wrong date is one and bytes that waited in a buffer are none.
const RUN_MS: i64 = 43_200_000;

/// Where and when a fix was.
#[derive(Clone, Copy, Debug)]
struct Point {
    time_ms: UnixMs,
    lat_deg: f64,
    lon_deg: f64,
}

/// Marks the fixes of one receiver. Outlives a connection: a receiver that comes back far away has jumped.
#[derive(Clone, Debug, Default)]
pub struct Doubter {
    /// The newest fix that was believed.
    believed: Option<Point>,
    /// The newest fix that was out of its reach, and how many in a row agree with it.
    rival: Option<(Point, u32)>,
    /// The position that stands still, and since when by the receiver's time.
    still: Option<((i64, i64), UnixMs)>,
    /// The time that stands still, and since when by `CLOCK_BOOTTIME`.
    stopped: Option<(UnixMs, i64)>,
    run: Run,
}

/// What a receiver's own fixes say of its time: they go on with `CLOCK_BOOTTIME`, whatever date they have.
/// Unit of all times: its time minus `CLOCK_BOOTTIME`, ms.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    /// Where it has come to.
    at: Option<i64>,
    /// Where fixes of another run have come to, and how many in a row.
    rival: Option<(i64, u32)>,
    anew: bool,
}

impl Run {
    /// Whether a fix is ahead of the run. The third in a row that agree begins the run anew.
    fn is_ahead(&mut self, since_boot_ms: i64) -> bool {
        let goes_on = |from: i64| since_boot_ms.saturating_sub(from).saturating_abs() < RUN_MS;
        self.anew = false;
        let Some(at) = self.at.filter(|at| !goes_on(*at)) else {
            (self.at, self.rival) = (Some(since_boot_ms), None);
            return false;
        };
        let agreeing = self.rival.filter(|(rival, _)| goes_on(*rival)).map_or(1, |(_, count)| count + 1);
        if agreeing >= AGREEING {
            *self = Self { at: Some(since_boot_ms), rival: None, anew: true };
            return false;
        }
        self.rival = Some((since_boot_ms, agreeing));
        since_boot_ms > at
    }
}

/// What is known of time when a fix arrives.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trusted {
    /// The time, if a trusted clock gives one.
    pub now_ms: Option<UnixMs>,
    /// How old a fix may be before it is old. Unit: ms.
    pub keep_ms: Option<i64>,
}

impl Doubter {
    /// Marks `fix`, read at `at`; of a recording nobody knows when. Fixes must come in the order in which they were
    /// decoded.
    ///
    /// Where no clock is trusted a date is `future` that is half a day ahead of the receiver's own run of fixes, until
    /// three in a row agree: a lone one must not hold up all that come after it.
    pub fn judge(&mut self, fix: &mut Fix, at: Option<Stamp>, trusted: Trusted) {
        let mut doubt = Vec::new();
        let ahead_ms = trusted.now_ms.map(|now_ms| fix.time_ms.saturating_sub(now_ms));
        let is_old = ahead_ms.zip(trusted.keep_ms).is_some_and(|(ahead_ms, keep_ms)| ahead_ms < -keep_ms);
        // What a trusted clock calls old is none of the receiver's run, however often it comes.
        self.run.anew &= !is_old;
        let is_ahead = !is_old && at.is_some_and(|at| self.run.is_ahead(fix.time_ms.saturating_sub(at.mono_ms())));
        if let Some(ahead_ms) = ahead_ms {
            doubt.extend((ahead_ms > AHEAD_MS).then_some(Doubt::Future));
            doubt.extend(is_old.then_some(Doubt::Old));
            doubt.extend((ahead_ms.abs() > OFF_MS).then_some(Doubt::Clock));
        } else {
            doubt.extend(is_ahead.then_some(Doubt::Future));
        }
        doubt.extend(self.has_jumped(fix).then_some(Doubt::Jump));
        let (is_still, is_stopped) = (self.is_still(fix), at.is_some_and(|at| self.is_stopped(fix, at)));
        doubt.extend((is_still || is_stopped).then_some(Doubt::Frozen));
        doubt.sort_unstable();
        fix.doubt = doubt;
    }

    /// Whether the fix that was judged last began the receiver's time anew: what was kept as its newest time is void.
    #[must_use]
    pub const fn began_anew(&self) -> bool {
        self.run.anew
    }

    /// One outlier is doubted, and not the return from it; a new place is believed at the third fix.
    fn has_jumped(&mut self, fix: &Fix) -> bool {
        let point = Point { time_ms: fix.time_ms, lat_deg: fix.lat_deg, lon_deg: fix.lon_deg };
        let is_far = self.believed.is_some_and(|believed| !believed.reaches(&point));
        let agreeing = match self.rival {
            Some((rival, count)) if is_far && rival.reaches(&point) => count + 1,
            _ => 1,
        };
        if is_far && agreeing < AGREEING {
            self.rival = Some((point, agreeing));
            return true;
        }
        (self.believed, self.rival) = (Some(point), None);
        false
    }

    fn is_still(&mut self, fix: &Fix) -> bool {
        if fix.speed_mps.is_none_or(|mps| mps <= MOVING_MPS) {
            self.still = None;
            return false;
        }
        let since_ms = match self.still {
            // Time that ran backwards counts from where it is now.
            Some((position, since_ms)) if position == fix.first_e7 => since_ms.min(fix.time_ms),
            _ => fix.time_ms,
        };
        self.still = Some((fix.first_e7, since_ms));
        fix.time_ms.saturating_sub(since_ms) >= STILL_MS
    }

    fn is_stopped(&mut self, fix: &Fix, at: Stamp) -> bool {
        let since_ms = match self.stopped {
            Some((time_ms, since_ms)) if time_ms == fix.time_ms => since_ms,
            _ => at.mono_ms(),
        };
        self.stopped = Some((fix.time_ms, since_ms));
        at.mono_ms().saturating_sub(since_ms) >= STOPPED_MS
    }
}

impl Point {
    /// Whether the way to `other` can be done in the time between; fixes of one second may be one second apart.
    fn reaches(&self, other: &Self) -> bool {
        let ms = self.time_ms.saturating_sub(other.time_ms).saturating_abs().clamp(1000, 86_400_000_000);
        // At most 1000 days: an f64 holds every one of them.
        let seconds = ms as f64 / 1000.0;
        self.metres_to(other) <= FASTEST_MPS * seconds
    }

    /// Great-circle distance on a sphere; its 0.5 % against the ellipsoid does not matter at 70 m/s.
    fn metres_to(&self, other: &Self) -> f64 {
        let half_sine = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin();
        let (north, east) = (half_sine(self.lat_deg, other.lat_deg), half_sine(self.lon_deg, other.lon_deg));
        let narrowing = self.lat_deg.to_radians().cos() * other.lat_deg.to_radians().cos();
        let chord = (north * north + narrowing * east * east).clamp(0.0, 1.0);
        2.0 * 6_371_009.0 * chord.sqrt().asin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fix(time_s: i64, north_m: f64, speed_mps: f64) -> Fix {
        let lat_deg = 59.0 + north_m / 111_195.0;
        #[expect(clippy::cast_possible_truncation, reason = "a latitude in 1e-7 degrees")]
        let first_e7 = ((lat_deg * 1e7).round() as i64, 110_000_000);
        Fix {
            time_ms: time_s * 1000,
            has_date: true,
            day_sent: String::new(),
            tod_sent_ms: 0,
            first_e7,
            lat_deg,
            lon_deg: 11.0,
            alt_m: None,
            speed_mps: Some(speed_mps),
            course_deg: None,
            mode: None,
            satellites: None,
            hdop: None,
            quality: None,
            doubt: Vec::new(),
        }
    }

    /// The doubts of fixes given as (time s, metres north, speed m/s, receipt s).
    fn check(fixes: &[(i64, f64, f64, i64)], trusted: Trusted) -> Vec<String> {
        let mut doubter = Doubter::default();
        let judge = |&(time_s, north_m, speed_mps, receipt_s): &(i64, f64, f64, i64)| {
            let mut fix = fix(time_s, north_m, speed_mps);
            doubter.judge(&mut fix, Some(Stamp { mono_us: receipt_s * 1_000_000, wall_ms: 0 }), trusted);
            fix.doubt.iter().map(|doubt| doubt.as_str()).collect::<Vec<_>>().join(" ")
        };
        fixes.iter().map(judge).collect()
    }

    #[test]
    fn an_outlier_is_a_jump_and_the_return_from_it_is_none() {
        let track = [(0, 0.0, 9.0, 0), (1, 60.0, 9.0, 1), (2, 5000.0, 9.0, 2), (3, 180.0, 9.0, 3)];
        assert_eq!(check(&track, Trusted::default()), ["", "", "jump", ""]);
        assert_eq!(check(&[(0, 0.0, 0.0, 0), (1, 71.0, 0.0, 1)], Trusted::default()), ["", "jump"]);
    }

    #[test]
    fn a_new_place_is_believed_at_the_third_fix_or_after_the_time_it_takes() {
        let track = [(0, 0.0, 0.0, 0), (1, 9000.0, 0.0, 1), (2, 9000.0, 0.0, 2), (3, 9000.0, 0.0, 3)];
        assert_eq!(check(&track, Trusted::default()), ["", "jump", "jump", ""]);
        assert_eq!(check(&[(0, 0.0, 0.0, 0), (200, 9000.0, 0.0, 1)], Trusted::default()), ["", ""]);
    }

    #[test]
    fn a_position_that_stands_still_at_speed_is_frozen_after_ten_seconds() {
        let track: Vec<_> = (0..12).map(|second| (second, 0.0, 5.0, second)).collect();
        let doubts = check(&track, Trusted::default());
        assert_eq!(doubts.iter().position(|doubt| doubt == "frozen"), Some(10));
        let parked: Vec<_> = (0..30).map(|second| (second, 0.0, 0.1, second)).collect();
        assert!(check(&parked, Trusted::default()).iter().all(String::is_empty));
    }

    #[test]
    fn a_time_that_stands_still_is_frozen_after_five_seconds() {
        let track: Vec<_> = (0..7).map(|second| (0, 0.0, 0.0, second)).collect();
        assert_eq!(check(&track, Trusted::default())[4..], ["", "frozen", "frozen"]);
    }

    #[test]
    fn trusted_time_tells_future_old_and_wrong_clocks() {
        let trusted = Trusted { now_ms: Some(1_000_000_000), keep_ms: Some(30 * 86_400_000) };
        let at = |offset_s: i64| check(&[(1_000_000 + offset_s, 0.0, 0.0, 0)], trusted)[0].clone();
        assert_eq!(at(10), "");
        assert_eq!(at(-11), "clock");
        assert_eq!(at(61), "future clock");
        let old = Trusted { now_ms: Some(31 * 86_400_000), keep_ms: Some(30 * 86_400_000) };
        assert_eq!(check(&[(0, 0.0, 0.0, 0)], old), ["old clock"]);
        assert_eq!(check(&[(9_999_999, 0.0, 0.0, 0)], Trusted::default()), [""]);
    }

    const YEAR_S: i64 = 31_536_000;

    #[test]
    fn a_lone_date_far_ahead_is_future_by_the_receivers_own_run_and_poisons_none_after_it() {
        let ahead = 20 * YEAR_S;
        let track = [(0, 0.0, 0.1, 0), (1, 0.0, 0.1, 1), (ahead, 0.0, 0.1, 2), (3, 0.0, 0.1, 3), (4, 0.0, 0.1, 4)];
        assert_eq!(check(&track, Trusted::default()), ["", "", "future", "", ""]);
    }

    #[test]
    fn a_first_date_far_ahead_makes_none_after_it_doubtful_and_its_run_ends_at_the_third_that_agree() {
        let mut doubter = Doubter::default();
        let mut judge = |time_s: i64, receipt_s: i64| {
            let mut fix = fix(time_s, 0.0, 0.1);
            doubter.judge(&mut fix, Some(Stamp { mono_us: receipt_s * 1_000_000, wall_ms: 0 }), Trusted::default());
            (fix.doubt.is_empty(), doubter.began_anew())
        };
        assert_eq!(judge(20 * YEAR_S, 0), (true, false), "nothing is known that it could be held against");
        let anew: Vec<_> = (1..6).map(|second| judge(second, second)).collect();
        assert_eq!(anew, [(true, false), (true, false), (true, true), (true, false), (true, false)]);
    }

    #[test]
    fn a_receiver_that_corrects_its_date_is_believed_at_the_third_fix() {
        let right = 7 * YEAR_S;
        let track = [(0, 0.0, 0.1, 0), (right + 1, 0.0, 0.1, 1), (right + 2, 0.0, 0.1, 2), (right + 3, 0.0, 0.1, 3)];
        assert_eq!(check(&track, Trusted::default()), ["", "future", "future", ""]);
    }

    #[test]
    fn trusted_time_that_agrees_is_believed_over_the_receivers_own_run() {
        let trusted = Trusted { now_ms: Some(7 * YEAR_S * 1000), keep_ms: None };
        assert_eq!(check(&[(0, 0.0, 0.1, 0), (7 * YEAR_S, 0.0, 0.1, 1)], trusted)[1], "");
    }

    #[test]
    fn bytes_that_waited_an_hour_and_a_night_without_fixes_are_no_other_run() {
        let track = [(0, 0.0, 0.1, 0), (10, 0.0, 0.1, 3600), (3601, 0.0, 0.1, 3601), (90_000, 0.0, 0.1, 90_000)];
        assert!(check(&track, Trusted::default()).iter().all(String::is_empty));
    }

    #[test]
    fn a_position_that_stands_still_at_speed_is_frozen_although_its_first_date_was_far_ahead() {
        let track: Vec<_> = (0..13).map(|s| (if s == 0 { 20 * YEAR_S } else { s }, 0.0, 5.0, s)).collect();
        let doubts = check(&track, Trusted::default());
        assert_eq!(doubts.iter().position(|doubt| doubt.contains("frozen")), Some(11), "{doubts:?}");
    }
}
