//! The fields of a sentence, read from their digits: exact, bounded, never by hope.

use jiff::civil::Date;

use crate::domain::Reason;

/// A whole UTC day. Unit: days since 1970-01-01.
pub type Day = i64;

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

/// The fields of one sentence, the address first.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    fields: [&'a str; Fields::MAX],
    count: usize,
}

impl<'a> Fields<'a> {
    /// More fields than any navigation sentence has.
    const MAX: usize = 32;

    /// Splits the text between start character and `*`.
    ///
    /// # Errors
    /// [`Reason::BadField`] when there are more than 32 or the text is not ASCII.
    pub fn split(text: &'a [u8]) -> Result<Self, Reason> {
        let body = text.get(1..text.len().saturating_sub(3)).unwrap_or_default();
        let body = std::str::from_utf8(body).map_err(|_| Reason::BadField)?;
        let mut fields = [""; Self::MAX];
        let mut count = 0;
        for field in body.split(',') {
            *fields.get_mut(count).ok_or(Reason::BadField)? = field.trim_matches(' ');
            count += 1;
        }
        Ok(Self { fields, count })
    }

    /// The field at `index`, empty when there is none.
    #[must_use]
    pub fn at(&self, index: usize) -> &'a str {
        self.fields.get(index).copied().unwrap_or_default()
    }

    /// How many there are, the address included.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Refuses a sentence with fewer or more fields than its kind has: two that lost the middle can still add up.
    ///
    /// # Errors
    /// [`Reason::BadField`].
    pub fn expect_count(&self, least: usize, most: usize) -> Result<(), Reason> {
        if (least..=most).contains(&self.count) { Ok(()) } else { Err(Reason::BadField) }
    }

    /// A decimal number at `index`; none when the field is empty.
    ///
    /// # Errors
    /// [`Reason::BadField`] for what is no plain decimal, [`Reason::OutOfRange`] outside `least..=most`.
    pub fn decimal(&self, index: usize, least: f64, most: f64) -> Result<Option<f64>, Reason> {
        let text = self.at(index);
        if text.is_empty() {
            return Ok(None);
        }
        let value = decimal(text).ok_or(Reason::BadField)?;
        if (least..=most).contains(&value) { Ok(Some(value)) } else { Err(Reason::OutOfRange) }
    }

    /// The UTC time of day at `index`. Unit: ms since midnight; 86,400,000 and up inside a leap second.
    ///
    /// # Errors
    /// [`Reason::BadField`] for what is not `hhmmss[.sss]`, [`Reason::OutOfRange`] for a time that no day has.
    pub fn time_of_day(&self, index: usize) -> Result<Option<i64>, Reason> {
        let text = self.at(index);
        if text.is_empty() { Ok(None) } else { time_of_day(text).map(Some) }
    }

    /// The position in the four fields from `index`: latitude, N or S, longitude, E or W; none when the numbers are empty.
    ///
    /// # Errors
    /// [`Reason::BadField`] for what is not `ddmm.mm` or no hemisphere, [`Reason::OutOfRange`] beyond poles, date line or 60 minutes.
    pub fn position(&self, index: usize) -> Result<Option<Position>, Reason> {
        let (lat, lon) = (self.at(index), self.at(index + 2));
        if lat.is_empty() && lon.is_empty() {
            return Ok(None);
        }
        let sign = |text: &str, plus: &str, minus: &str| match text {
            _ if text == plus => Ok(1),
            _ if text == minus => Ok(-1),
            _ => Err(Reason::BadField),
        };
        let lat_sign = sign(self.at(index + 1), "N", "S")?;
        let lon_sign = sign(self.at(index + 3), "E", "W")?;
        let (lat, lat_decimals) = angle(lat, 4, 90)?;
        let (lon, lon_decimals) = angle(lon, 5, 180)?;
        Ok(Some(Position { lat: lat * lat_sign, lon: lon * lon_sign, decimals: lat_decimals.min(lon_decimals) }))
    }
}

/// A position as sent.
///
/// Unit: 1e-9 minutes of arc, so that no digit is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    lat: i64,
    lon: i64,
    /// Decimals of the minutes: how finely it was sent.
    pub decimals: usize,
}

impl Position {
    /// Latitude and longitude. Unit: 1e-7 degrees, rounded to the nearest.
    #[must_use]
    pub fn e7(&self) -> (i64, i64) {
        let round = |value: i64| (value.abs() + 3000) / 6000 * value.signum();
        (round(self.lat), round(self.lon))
    }

    /// Latitude and longitude. Unit: degrees, to 1e-9.
    #[must_use]
    pub fn degrees(&self) -> (f64, f64) {
        // At most 1.8e11 after the division: an f64 holds every one of them.
        let degrees = |value: i64| ((value.abs() + 30) / 60 * value.signum()) as f64 / 1e9;
        (degrees(self.lat), degrees(self.lon))
    }
}

/// `ddmm.mm` in 1e-9 minutes and how many decimals it had.
fn angle(text: &str, whole_max: usize, degrees_max: i64) -> Result<(i64, usize), Reason> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if !(3..=whole_max).contains(&whole.len()) || part.len() > 12 {
        return Err(Reason::BadField);
    }
    let (whole, fine) = digits(whole).zip(scaled(part, 9)).ok_or(Reason::BadField)?;
    let minutes_e9 = whole % 100 * 1_000_000_000 + fine;
    let angle = whole / 100 * 60_000_000_000 + minutes_e9;
    if minutes_e9 < 60_000_000_000 && angle <= degrees_max * 60_000_000_000 {
        Ok((angle, part.len()))
    } else {
        Err(Reason::OutOfRange)
    }
}

/// The UTC time of day of `hhmmss[.sss]`. Unit: ms since midnight; 86,400,000 and up inside a leap second.
///
/// # Errors
/// As [`Fields::time_of_day`].
pub fn time_of_day(text: &str) -> Result<i64, Reason> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if whole.len() != 6 || part.len() > 9 {
        return Err(Reason::BadField);
    }
    let clock = digits(whole).ok_or(Reason::BadField)?;
    let (hour, minute, second) = (clock / 10_000, clock / 100 % 100, clock % 100);
    let tod_ms = ((hour * 60 + minute) * 60 + second) * 1000 + scaled(part, 3).ok_or(Reason::BadField)?;
    // Some receivers call midnight 24:00:00; a leap second is 23:59:60.
    let is_real = hour <= 23 && minute <= 59 && second <= 59;
    if is_real || (tod_ms / 1000 == 86_400 && (clock == 240_000 || clock == 235_960)) {
        Ok(tod_ms)
    } else {
        Err(Reason::OutOfRange)
    }
}

/// A number of at most 15 digits and nothing else.
#[must_use]
pub fn digits(text: &str) -> Option<i64> {
    let is_number = (1..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// Decimals as a whole number of 10^-`places`; more digits than that are cut.
fn scaled(part: &str, places: usize) -> Option<i64> {
    if !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept = part.bytes().chain(std::iter::repeat(b'0')).take(places);
    Some(kept.fold(0, |value, byte| value * 10 + i64::from(byte - b'0')))
}

/// A plain decimal, `-12.5`, of at most 16 characters; no exponent, no `nan`.
fn decimal(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, part) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let is_plain = [whole, part].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    if is_plain && text.len() <= 16 && whole.len() + part.len() > 0 { text.parse().ok() } else { None }
}

/// The day of a date with a four-digit year; none when there is no such day.
#[must_use]
pub fn day_of(year: i64, month: i64, day: i64) -> Option<Day> {
    let date = Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()?;
    let since = date.since(Date::constant(1970, 1, 1)).ok()?;
    Some(i64::from(since.get_days()))
}

/// The day of `ddmmyy`; none when the text is no date. Years from 80 are of the last century: GPS began in 1980.
#[must_use]
pub fn day_of_ddmmyy(text: &str) -> Option<Day> {
    if text.len() != 6 {
        return None;
    }
    let value = digits(text)?;
    let year = value % 100;
    day_of(if year >= 80 { 1900 + year } else { 2000 + year }, value / 100 % 100, value / 10_000)
}

/// A day as `ddmmyy`; empty outside the years that a calendar knows.
#[must_use]
pub fn ddmmyy(day: Day) -> String {
    jiff::Timestamp::from_second(day.saturating_mul(86_400))
        .map(|time| time.strftime("%d%m%y").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &str) -> Fields<'_> {
        let text = format!("${body}*00").leak();
        Fields::split(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_position_is_exact_to_its_last_digit() {
        let position = fields("4807.0380001,N,01131.3240000,W").position(0).unwrap().unwrap();
        assert_eq!(position.e7(), (481_173_000, -115_220_667));
        assert_eq!(position.degrees(), (48.117_300_002, -11.522_066_667));
        assert_eq!(fields("9000.0,S,18000.0,W").position(0).unwrap().unwrap().e7(), (-900_000_000, -1_800_000_000));
        assert_eq!(fields(",N,,E").position(0), Ok(None));
    }

    #[test]
    fn a_position_that_cannot_be_is_refused() {
        let check = |body, reason| assert_eq!(fields(body).position(0), Err(reason), "{body}");
        check("9000.1,N,01131.324,E", Reason::OutOfRange);
        check("4807.038,N,18000.001,E", Reason::OutOfRange);
        check("4860.000,N,01131.324,E", Reason::OutOfRange);
        check("4807.038,X,01131.324,E", Reason::BadField);
        check("4807.038,N,,E", Reason::BadField);
        check("4807.0e8,N,01131.324,E", Reason::BadField);
        check("-807.038,N,01131.324,E", Reason::BadField);
    }

    #[test]
    fn a_time_of_day_knows_midnight_and_leap_seconds() {
        let check = |text| fields(text).time_of_day(0);
        assert_eq!(check("235959.9999"), Ok(Some(DAY_MS - 1)));
        assert_eq!(check("235960.5"), Ok(Some(DAY_MS + 500)));
        assert_eq!(check("240000"), Ok(Some(DAY_MS)));
        assert_eq!(check("240001"), Err(Reason::OutOfRange));
        assert_eq!(check("126000"), Err(Reason::OutOfRange));
        assert_eq!(check("12600"), Err(Reason::BadField));
        assert_eq!(check(""), Ok(None));
    }

    #[test]
    fn a_number_is_a_plain_decimal_in_its_range() {
        let check = |text| fields(text).decimal(0, 0.0, 360.0);
        assert_eq!(check("054.7"), Ok(Some(54.7)));
        assert_eq!(check(".5"), Ok(Some(0.5)));
        assert_eq!(check(""), Ok(None));
        for text in ["nan", "inf", "1e2", "1.2.3", ".", "-", "0x1"] {
            assert_eq!(check(text), Err(Reason::BadField), "{text}");
        }
        assert_eq!(check("360.1"), Err(Reason::OutOfRange));
    }

    #[test]
    fn a_day_survives_its_digits() {
        for text in ["060180", "311299", "290224", "010170"] {
            assert_eq!(ddmmyy(day_of_ddmmyy(text).unwrap()), text);
        }
        assert_eq!(day_of_ddmmyy("010180"), Some(3652));
        for text in ["000000", "300223", "2208-1", "0101800", ""] {
            assert_eq!(day_of_ddmmyy(text), None, "{text}");
        }
    }
}
