//! A navigation solution.

use super::UnixMs;

/// How a position was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Latitude and longitude only.
    TwoD,
    /// With altitude.
    ThreeD,
}

impl Mode {
    /// The word on the wire: `2d` or `3d`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TwoD => "2d",
            Self::ThreeD => "3d",
        }
    }
}

/// Why a stored fix may not be taken at its word. Time and doubt never reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// Over 60 s ahead of trusted time.
    Future,
    /// Older than the store keeps.
    Old,
    /// Further from the last than 70 m/s allows.
    Jump,
    /// The position or the time stands still while the receiver says it moves.
    Frozen,
    /// Over 10 s off a trusted clock.
    Clock,
}

impl Doubt {
    /// Every doubt.
    pub const ALL: &'static [Self] = &[Self::Future, Self::Old, Self::Jump, Self::Frozen, Self::Clock];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Future => "future",
            Self::Old => "old",
            Self::Jump => "jump",
            Self::Frozen => "frozen",
            Self::Clock => "clock",
        }
    }

    /// Whether a fix in this doubt may still move its asset: an old one is an ordinary late event.
    #[must_use]
    pub const fn may_move(self) -> bool {
        matches!(self, Self::Old | Self::Clock)
    }
}

/// One navigation solution: what all sentences of one epoch say together.
///
/// Source: NMEA 0183 / IEC 61162-1 sentences RMC, GGA, GLL, GNS, GSA, VTG, ZDA.
#[derive(Clone, Debug, PartialEq)]
pub struct Fix {
    /// UTC of the epoch, as the receiver says it (rollover repaired only where the date cannot be right).
    pub time_ms: UnixMs,
    /// Whether a date came with the time. Without one `time_ms` carries the date that was known before, or the receipt's.
    pub has_date: bool,
    /// UTC day as sent, `ddmmyy` digits; empty when no sentence of this receiver has given one. Takes part in the identity.
    pub day_sent: String,
    /// Time of day as sent, in ms since midnight; 86 400 000 and up is a leap second. Takes part in the identity.
    pub tod_sent_ms: i64,
    /// Position of the epoch's first position sentence in 1e-7 degrees (latitude, longitude). Takes part in the identity.
    pub first_e7: (i64, i64),
    /// Latitude, WGS 84. Unit: degrees, -90..=90, north positive.
    pub lat_deg: f64,
    /// Longitude, WGS 84. Unit: degrees, -180..=180, east positive.
    pub lon_deg: f64,
    /// Height above mean sea level. Unit: metres.
    pub alt_m: Option<f64>,
    /// Speed over ground. Unit: metres per second, never negative.
    pub speed_mps: Option<f64>,
    /// Course over ground. Unit: degrees true, 0..360.
    pub course_deg: Option<f64>,
    /// 2d or 3d, where the receiver says so.
    pub mode: Option<Mode>,
    /// Satellites used.
    pub satellites: Option<u32>,
    /// Horizontal dilution of precision.
    pub hdop: Option<f64>,
    /// GGA quality (1 GPS, 2 DGPS, 4 RTK, 5 float …) as sent.
    pub quality: Option<u8>,
    /// Why it may not be taken at its word.
    pub doubt: Vec<Doubt>,
}

impl Fix {
    /// The day as sent, counted from 1970-01-01; none when none was sent or its digits are no day.
    ///
    /// Years 80 to 99 are of the last century: two digits say nothing of one, and GPS began in 1980.
    #[must_use]
    pub fn sent_day(&self) -> Option<i64> {
        // What is no number is no day: the one answer there is to it.
        let digits = |range: std::ops::Range<usize>| self.day_sent.get(range)?.parse::<i8>().ok();
        let (day, month, year) = (digits(0..2)?, digits(2..4)?, i16::from(digits(4..6)?));
        let year = if year >= 80 { 1900 + year } else { 2000 + year };
        let date = jiff::civil::Date::new(year, month, day).ok()?;
        Some(i64::from(date.since(jiff::civil::date(1970, 1, 1)).ok()?.get_days()))
    }

    /// By how many weeks `time_ms` was moved from the day as sent, because a date so far off cannot be right: a multiple
    /// of 1024, positive is forward; 0 when it is as sent.
    #[must_use]
    pub fn weeks_moved(&self) -> i64 {
        let meant = self.time_ms.saturating_sub(self.tod_sent_ms).div_euclid(86_400_000);
        let weeks = self.sent_day().map_or(0, |sent| (meant - sent) / 7);
        // Two digits of a year say nothing of a century; only whole rollovers are ever moved by.
        if weeks % 1024 == 0 { weeks } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weeks_that_a_date_was_moved_by_are_told_by_its_digits() {
        let check = |day_sent: &str, tod_sent_ms, time_ms| {
            let fix = Fix {
                time_ms,
                has_date: true,
                day_sent: day_sent.into(),
                tod_sent_ms,
                first_e7: (0, 0),
                lat_deg: 0.0,
                lon_deg: 0.0,
                alt_m: None,
                speed_mps: None,
                course_deg: None,
                mode: None,
                satellites: None,
                hdop: None,
                quality: None,
                doubt: Vec::new(),
            };
            fix.weeks_moved()
        };
        let noon = 1_795_176_000_000;
        assert_eq!(check("201126", 43_200_000, noon), 0);
        assert_eq!(check("060407", 43_200_000, noon), 1024);
        assert_eq!(check("060407", 86_400_500, noon + 43_200_500), 1024, "inside a leap second");
        assert_eq!(check("", 43_200_000, noon), 0);
        assert_eq!(check("üü", 43_200_000, noon), 0);
    }
}
