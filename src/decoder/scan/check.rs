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

/// Whether `yymmdd` is a day that exists; with `whole_month`, day 00 stands for the month's end.
///
/// The century is not in the code: a year divisible by four counts as a leap year, which is right from 1901 to 2099.
pub fn is_date(yymmdd: &[u8], whole_month: bool) -> bool {
    let (Some(year), Some(month), Some(day)) =
        (two_digits(yymmdd), yymmdd.get(2..).and_then(two_digits), yymmdd.get(4..).and_then(two_digits))
    else {
        return false;
    };
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) => 29,
        2 => 28,
        _ => return false,
    };
    (day == 0 && whole_month) || (1..=days).contains(&day)
}

/// Whether `hhmm` is a time of day; cut short, `hh`.
pub fn is_time(hhmm: &[u8]) -> bool {
    hhmm.chunks(2).zip([24, 60, 60]).all(|(pair, limit)| two_digits(pair).is_some_and(|n| n < limit))
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
        assert!(is_time(b"2359") && is_time(b"23") && !is_time(b"2400") && !is_time(b"1260"));
    }
}
