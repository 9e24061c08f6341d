//! Which day a receiver means. Its week number begins again after 1024 weeks, and an old receiver does not know how
//! often it has: its dates are whole rollovers off.

use super::field::{DAY_MS, Day};
use crate::domain::UnixMs;

/// The first day of GPS time, 1980-01-06: no receiver can mean an earlier one.
pub const GPS_START: Day = 3657;

/// A receiver's week number begins again after this many days.
const ROLLOVER_DAYS: Day = 1024 * 7;

/// What is known beforehand of the days that can be meant.
#[derive(Clone, Copy, Debug)]
pub struct Era {
    floor: Day,
    trusted_ms: Option<UnixMs>,
}

impl Era {
    /// Days before that of `floor_ms` cannot be right, whatever is trusted later.
    #[must_use]
    pub fn new(floor_ms: UnixMs) -> Self {
        Self { floor: floor_ms.div_euclid(DAY_MS).max(GPS_START), trusted_ms: None }
    }

    /// Sets the time now, where a trusted clock gives one.
    pub const fn trust(&mut self, now_ms: Option<UnixMs>) {
        self.trusted_ms = now_ms;
    }

    /// The time now: the trusted one, else `wall_ms`.
    #[must_use]
    pub fn now_ms(&self, wall_ms: UnixMs) -> UnixMs {
        self.trusted_ms.unwrap_or(wall_ms)
    }

    /// The day that is meant by a day as sent.
    ///
    /// A day before the floor cannot be right, nor one far ahead of trusted time: it is moved by whole rollovers to come
    /// as near as possible to trusted time, or to the floor where that is later. Half a rollover is the margin: a day
    /// nearer than that is the nearest itself and stays.
    #[must_use]
    pub fn meant(&self, sent: Day) -> Day {
        let trusted = self.trusted_ms.map(|ms| ms.div_euclid(DAY_MS));
        if sent >= self.floor && trusted.is_none_or(|trusted| sent <= trusted) {
            return sent;
        }
        let reference = trusted.unwrap_or(self.floor).max(self.floor);
        let rounds = (reference - sent + ROLLOVER_DAYS / 2).div_euclid(ROLLOVER_DAYS);
        let meant = sent + rounds * ROLLOVER_DAYS;
        if meant < GPS_START { meant + ROLLOVER_DAYS } else { meant }
    }
}

/// The day on which `tod_ms` is within 12 hours of `known_ms` on `day`.
#[must_use]
pub const fn nearest_day(day: Day, known_ms: i64, tod_ms: i64) -> Day {
    match tod_ms - known_ms {
        late if late > DAY_MS / 2 => day - 1,
        early if early < -DAY_MS / 2 => day + 1,
        _ => day,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::nmea::field::{day_of, day_of_ddmmyy};

    fn sent(text: &str) -> Day {
        day_of_ddmmyy(text).unwrap()
    }

    /// What an era of a build on 2026-11-01 makes of a day.
    fn meant(sent: Day, trusted: Option<&str>) -> Day {
        let mut era = Era::new(day_of(2026, 11, 1).unwrap() * DAY_MS);
        era.trust(trusted.map(|text| self::sent(text) * DAY_MS));
        era.meant(sent)
    }

    #[test]
    fn a_rollover_is_repaired_only_where_the_date_cannot_be_right() {
        let today = sent("201126");
        for trusted in [None, Some("201126")] {
            assert_eq!(meant(today, trusted), today);
            assert_eq!(meant(today - ROLLOVER_DAYS, trusted), today);
            assert_eq!(meant(today - 2 * ROLLOVER_DAYS, trusted), today);
            assert_eq!(meant(sent("311026"), trusted), sent("311026"), "the day before the build is no rollover");
        }
        let captured = Era::new(GPS_START * DAY_MS);
        assert_eq!(captured.meant(sent("231207")), sent("231207"), "a capture's date is as sent");
        assert_eq!(captured.meant(sent("010180")), sent("010180") + ROLLOVER_DAYS);
    }

    #[test]
    fn a_date_far_ahead_is_repaired_only_where_a_trusted_clock_says_so() {
        let ahead = sent("201126") + ROLLOVER_DAYS;
        assert_eq!(meant(ahead, Some("201126")), sent("201126"));
        assert_eq!(meant(ahead, None), ahead, "this software may be twenty years old");
        assert_eq!(meant(sent("201127"), Some("201126")), sent("201127"), "a year ahead is doubtful, and no rollover");
    }

    #[test]
    fn twenty_years_on_the_trusted_clock_is_the_reference_and_not_the_build() {
        let today = sent("201126") + ROLLOVER_DAYS - 365;
        assert_eq!(meant(today - ROLLOVER_DAYS, Some("211145")), today);
        assert_eq!(meant(sent("201126"), Some("010170")), sent("201126"), "a clock at 1970 is no reference");
    }

    #[test]
    fn midnight_joins_the_nearest_day() {
        assert_eq!(nearest_day(10, DAY_MS - 1000, 0), 11);
        assert_eq!(nearest_day(10, 0, DAY_MS - 1000), 9);
        assert_eq!(nearest_day(10, 1000, 2000), 10);
        assert_eq!(nearest_day(10, DAY_MS - 1000, DAY_MS), 10, "a leap second is still the same day");
    }
}
