//! NMEA sentences as a simulator needs them: a checksum, the time in them, another time in its place.
//!
//! Not a decoder: it judges nothing, and what it does not know it leaves as it is.

use jiff::Timestamp;
use jiff::tz::Offset;

use crate::domain::UnixMs;

/// Milliseconds of a day.
pub(super) const DAY_MS: i64 = 86_400_000;

/// A time as a sentence writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeOfDay {
    /// Milliseconds since midnight UTC.
    pub(super) ms: i64,
    /// Digits after the point.
    pub(super) decimals: usize,
}

/// The exclusive or of all bytes between `$` and `*`.
pub(super) fn checksum(body: &[u8]) -> u8 {
    body.iter().fold(0, |sum, byte| sum ^ byte)
}

/// A whole sentence around a body: `$`, body, `*`, checksum, CR LF.
pub(super) fn framed(body: &str) -> Vec<u8> {
    format!("${body}*{:02X}\r\n", checksum(body.as_bytes())).into_bytes()
}

/// The address of a sentence that carries a UTC time, e.g. `GPRMC`; none when it is another or a broken sentence.
pub(super) fn timed_address(line: &[u8]) -> Option<&[u8]> {
    let (body, _) = parts(line)?;
    let address = body.split(|byte| *byte == b',').next()?;
    time_field(address).map(|_| address)
}

/// The time in a sentence, if it is whole, of a kind that carries one, and not empty there.
pub(super) fn time_of_day(line: &[u8]) -> Option<TimeOfDay> {
    let (body, _) = parts(line)?;
    let mut fields = body.split(|byte| *byte == b',');
    let index = time_field(fields.next()?)?;
    parse_time(fields.nth(index - 1)?)
}

/// The sentence with the time and date of `at` and a new checksum, or none when it carries no time to replace.
/// The time gets as many decimals as it had, at least `decimals`. An empty date stays empty; a sentence without
/// checksum gets none; one whose checksum is wrong is left alone, so that what was broken stays broken.
pub(super) fn retimed(line: &[u8], at: UnixMs, decimals: usize) -> Option<Vec<u8>> {
    let (body, tail) = parts(line)?;
    let mut fields: Vec<&[u8]> = body.split(|byte| *byte == b',').collect();
    let address = *fields.first()?;
    let index = time_field(address)?;
    let old = parse_time(fields.get(index)?)?;
    let utc = Offset::UTC.to_datetime(Timestamp::from_millisecond(at).ok()?);
    let time = clock_text(at, decimals.max(old.decimals));
    let date = format!("{:02}{:02}{:02}", utc.day(), utc.month(), utc.year().rem_euclid(100));
    let (day, month, year) = (format!("{:02}", utc.day()), format!("{:02}", utc.month()), format!("{:04}", utc.year()));
    fields[index] = time.as_bytes();
    let dates: &[(usize, &String)] = match formatter(address) {
        b"RMC" => &[(9, &date)],
        b"ZDA" => &[(2, &day), (3, &month), (4, &year)],
        _ => &[],
    };
    for (index, text) in dates {
        if let Some(field) = fields.get_mut(*index).filter(|field| !field.is_empty()) {
            *field = text.as_bytes();
        }
    }
    let body = fields.join(&b',');
    let mut out = vec![b'$'];
    out.extend_from_slice(&body);
    if tail.first() == Some(&b'*') {
        out.extend_from_slice(format!("*{:02X}", checksum(&body)).as_bytes());
        out.extend_from_slice(tail.get(3..)?);
    } else {
        out.extend_from_slice(tail);
    }
    Some(out)
}

/// `hhmmss.ss` of an instant, cut (not rounded) to the decimals.
pub(super) fn clock_text(at: UnixMs, decimals: usize) -> String {
    let ms = at.rem_euclid(DAY_MS);
    let (s, ms) = (ms / 1000, ms % 1000);
    let whole = format!("{:02}{:02}{:02}", s / 3600, s / 60 % 60, s % 60);
    if decimals == 0 {
        return whole;
    }
    let fraction = format!("{ms:03}000000");
    format!("{whole}.{}", &fraction[..decimals.min(fraction.len())])
}

/// Splits `$body*hh…` or `$body\r\n` into the body and all after it; none when the checksum is there and wrong.
fn parts(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = line.strip_prefix(b"$")?;
    let end = rest.iter().position(|byte| matches!(byte, b'*' | b'\r' | b'\n')).unwrap_or(rest.len());
    let (body, tail) = rest.split_at(end);
    if tail.first() == Some(&b'*') {
        let digits = std::str::from_utf8(tail.get(1..3)?).ok()?;
        let said = u8::from_str_radix(digits, 16).ok()?;
        if said != checksum(body) {
            return None;
        }
    }
    Some((body, tail))
}

fn formatter(address: &[u8]) -> &[u8] {
    address.get(2..).unwrap_or_default()
}

/// Which field carries the time.
///
/// Source: IEC 61162-1. GST, GBS and GRS belong to an epoch by their time, so they move with it.
fn time_field(address: &[u8]) -> Option<usize> {
    match formatter(address) {
        b"RMC" | b"GGA" | b"GNS" | b"ZDA" | b"GST" | b"GBS" | b"GRS" => Some(1),
        b"GLL" => Some(5),
        _ => None,
    }
}

fn parse_time(field: &[u8]) -> Option<TimeOfDay> {
    let text = std::str::from_utf8(field).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != 6 || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    // Digits, as was just looked at: two of them are always a number.
    let number = |from: usize| whole[from..from + 2].parse::<i64>().ok();
    let (h, m, s) = (number(0)?, number(2)?, number(4)?);
    if h > 23 || m > 59 || s > 60 {
        return None;
    }
    let ms: i64 = format!("{fraction:0<3}")[..3].parse().ok()?;
    Some(TimeOfDay { ms: (h * 3600 + m * 60 + s) * 1000 + ms, decimals: fraction.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-20T10:11:12.345Z
    const AT: UnixMs = 1_795_169_472_345;

    fn check(line: &str, expect: Option<&str>) {
        let got = retimed(line.as_bytes(), AT, 2).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(got.as_deref(), expect, "{line:?}");
    }

    fn sentence(body: &str) -> String {
        String::from_utf8(framed(body)).unwrap()
    }

    #[test]
    fn a_known_sentence_has_its_known_checksum() {
        assert!(sentence("GPGLL,5057.970,N,00146.110,E,142451,A").ends_with("*27\r\n"));
    }

    #[test]
    fn time_and_date_are_replaced_and_the_checksum_is_that_of_the_new_bytes() {
        for (old, new) in [
            ("GPRMC,235959,A,1,N,2,E,0.1,2,311299,,,A", "GPRMC,101112.34,A,1,N,2,E,0.1,2,201126,,,A"),
            ("GNGGA,000000.000,1,N,2,E,1,08,1,2,M,3,M,,", "GNGGA,101112.345,1,N,2,E,1,08,1,2,M,3,M,,"),
            ("GPGLL,1,N,2,E,120000.5,A,A", "GPGLL,1,N,2,E,101112.34,A,A"),
            ("GNGNS,010203.00,1,N", "GNGNS,101112.34,1,N"),
            ("GPZDA,010203.00,01,02,2003,00,00", "GPZDA,101112.34,20,11,2026,00,00"),
            ("GPGST,010203.0000,1", "GPGST,101112.3450,1"),
        ] {
            check(&sentence(old), Some(&sentence(new)));
        }
    }

    #[test]
    fn what_carries_no_time_or_is_broken_stays_as_recorded() {
        check(&sentence("GPGSA,A,3,01,,,,,,,,,,,,1,1,1"), None);
        check(&sentence("GPRMC,,V,,,,,,,,,,N"), None);
        check("$GPRMC,235959,A*00\r\n", None);
        check("$GPRMC,235959,A*", None);
        check("$GPRMC,99", None);
        check("\u{b5}b$GPRMC", None);
        check("$", None);
        check("", None);
    }

    #[test]
    fn an_empty_date_and_a_missing_checksum_stay_so() {
        check(&sentence("GPRMC,235959,V,,,,,,,,,,N"), Some(&sentence("GPRMC,101112.34,V,,,,,,,,,,N")));
        check("$GPGGA,235959,1\n", Some("$GPGGA,101112.34,1\n"));
        check("$GPZDA,235959,1", Some("$GPZDA,101112.34,20"));
    }

    #[test]
    fn a_time_is_read_to_the_millisecond() {
        let read = |text: &str| parse_time(text.as_bytes());
        assert_eq!(read("101112.5"), Some(TimeOfDay { ms: 36_672_500, decimals: 1 }));
        assert_eq!(read("000000"), Some(TimeOfDay { ms: 0, decimals: 0 }));
        for bad in ["", "1", "240000", "126000", "12:000", "120000.x", "120000.0000000000", "+12000"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
