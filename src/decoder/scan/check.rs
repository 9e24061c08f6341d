//! Check digits and calendar dates: the sums that let a code prove what it is.

/// Whether `digits` are all digits and end in their GS1 check digit (modulo 10, weights 3 and 1 from the right).
///
/// Source: GS1 General Specifications 7.9.1; the same sum for EAN-8, UPC-A, EAN-13, GTIN-14, GLN, GSIN and SSCC.
pub fn mod10_holds(digits: &[u8]) -> bool {
    match digits.split_last() {
        Some((check, body)) if check.is_ascii_digit() && !body.is_empty() => mod10(body) == Some(*check),
        _ => false,
    }
}

/// The check digit, as an ASCII digit, that belongs behind `body`; none when `body` holds anything but digits.
pub fn mod10(body: &[u8]) -> Option<u8> {
    let mut sum = 0_u32;
    for (at, byte) in body.iter().rev().enumerate() {
        let digit = char::from(*byte).to_digit(10)?;
        sum += if at.is_multiple_of(2) { 3 * digit } else { digit };
    }
    // A code is at most 1,024 bytes, so the sum is far below overflow and the remainder is one digit.
    u8::try_from((10 - sum % 10) % 10).ok().map(|digit| b'0' + digit)
}

/// The number that two ASCII digits stand for.
pub fn two_digits(digits: &[u8]) -> Option<u32> {
    let tens = char::from(*digits.first()?).to_digit(10)?;
    let ones = char::from(*digits.get(1)?).to_digit(10)?;
    Some(tens * 10 + ones)
}

/// The values of the characters in a pair of check characters: the 32 that cannot be taken for another.
const PAIR_SET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// The 82 characters of GS1 in their order.
const SET_82: &[u8; 82] = b"!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

/// The weights of the characters before a pair, from the right; no key with a pair is longer.
const PRIMES: [u32; 23] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83];

/// Whether `text` ends in its pair of GS1 check characters.
///
/// Source: GS1 General Specifications 7.9.5.
pub fn pair_holds(text: &[u8]) -> bool {
    text.split_last_chunk().is_some_and(|(body, pair)| pair_of(body) == Some(*pair))
}

/// The pair of check characters that belongs behind `body`; none when it holds other characters or is too long for one.
pub fn pair_of(body: &[u8]) -> Option<[u8; 2]> {
    if body.len() > PRIMES.len() {
        return None;
    }
    let mut sum = 0;
    for (byte, weight) in body.iter().rev().zip(PRIMES) {
        let value = SET_82.iter().position(|one| one == byte)?;
        sum += u32::try_from(value).ok()? * weight;
    }
    let sum = usize::try_from(sum % 1021).ok()?;
    Some([PAIR_SET[sum >> 5], PAIR_SET[sum & 31]])
}

/// Whether `text` is a bank account number whose check digits fit: letters count 10 to 35, the first four characters last, modulo 97.
///
/// Source: ISO 13616.
pub fn iban_holds(text: &[u8]) -> bool {
    let Some((head, rest)) = text.split_at_checked(4) else { return false };
    let has_form = head[..2].iter().all(u8::is_ascii_uppercase) && head[2..].iter().all(u8::is_ascii_digit);
    let remainder = rest.iter().chain(head).try_fold(0, |sum, byte| match byte {
        b'0'..=b'9' => Some((sum * 10 + u32::from(byte - b'0')) % 97),
        b'A'..=b'Z' => Some((sum * 100 + u32::from(byte - b'A') + 10) % 97),
        _ => None,
    });
    has_form && remainder == Some(1)
}

/// Whether `yymmdd` is a day that exists; with `whole_month`, day 00 stands for the month's end.
///
/// The century is not in the code: a year divisible by four counts as a leap year, which is right from 1901 to 2099.
pub fn is_date(yymmdd: &[u8], whole_month: bool) -> bool {
    let Some((year, month_day)) = yymmdd.split_at_checked(2) else { return false };
    two_digits(year).is_some_and(|year| is_day(year.is_multiple_of(4), month_day, whole_month))
}

/// Whether `yyyymmdd` is a day that exists.
pub fn is_full_date(yyyymmdd: &[u8]) -> bool {
    let (Some(century), Some(year), Some(month_day)) =
        (two_digits(yyyymmdd), yyyymmdd.get(2..).and_then(two_digits), yyyymmdd.get(4..))
    else {
        return false;
    };
    let leaps = if year == 0 { century } else { year };
    is_day(leaps.is_multiple_of(4), month_day, false)
}

fn is_day(is_leap_year: bool, mmdd: &[u8], whole_month: bool) -> bool {
    let (Some(month), Some(day)) = (two_digits(mmdd), mmdd.get(2..).and_then(two_digits)) else { return false };
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap_year => 29,
        2 => 28,
        _ => return false,
    };
    (day == 0 && whole_month) || (1..=days).contains(&day)
}

/// Whether `hhmm` is a time of day.
pub fn is_time(hhmm: &[u8]) -> bool {
    hhmm.len() == 4 && is_below(hhmm, 24) && is_below(&hhmm[2..], 60)
}

/// Whether two digits stand for less than `limit`.
pub fn is_below(digits: &[u8], limit: u32) -> bool {
    two_digits(digits).is_some_and(|n| n < limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_digit_of_the_standards_examples_holds() {
        for code in
            ["376104250021234569", "09521234567899", "4006381333931", "036000291452", "0614141000012", "96385074"]
        {
            assert!(mod10_holds(code.as_bytes()), "{code}");
        }
        for code in ["376104250021234560", "", "7", "40063813339x1", "036000291453"] {
            assert!(!mod10_holds(code.as_bytes()), "{code}");
        }
    }

    #[test]
    fn a_date_exists_or_it_does_not() {
        for (date, exists) in [
            ("261231", true),
            ("261345", false),
            ("260200", true),
            ("260229", false),
            ("280229", true),
            ("2602", false),
            ("26a101", false),
        ] {
            assert_eq!(is_date(date.as_bytes(), true), exists, "{date}");
        }
        assert!(!is_date(b"260200", false), "day 00 only where the standard allows it");
        for (date, exists) in [("20260228", true), ("20260229", false), ("20000229", true), ("19000229", false)] {
            assert_eq!(is_full_date(date.as_bytes()), exists, "{date}");
        }
        assert!(!is_full_date(b"2026022") && !is_full_date(b"20261301") && !is_full_date(b"20260100"));
        assert!(is_time(b"2359") && !is_time(b"23") && !is_time(b"2400") && !is_time(b"1260"));
    }

    #[test]
    fn the_pair_of_the_standards_examples_holds() {
        for text in ["1987654Ad4X4bL5ttr2310c2K", "12345_ABCDEFGHIJKLMCP", "99999zzzzzzzzzzzzzzzzzzT2", "22"] {
            assert!(pair_holds(text.as_bytes()), "{text}");
        }
        for text in [
            "1987654Ad4X4bL5ttr2310cXK",
            "1987654Ad4X4bL5ttr2310d2K",
            "33",
            "2",
            "",
            "123 22",
            "1234567890123456789012345622",
        ] {
            assert!(!pair_holds(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn an_account_number_is_proven_by_its_check_digits() {
        assert!(iban_holds(b"GB82WEST12345698765432") && iban_holds(b"DE89370400440532013000"));
        for text in ["GB82WEST12345698765431", "GB82west12345698765432", "8BG2WEST12345698765432", "GB8", "", "GB82"] {
            assert!(!iban_holds(text.as_bytes()), "{text}");
        }
    }
}
