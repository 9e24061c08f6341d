//! Numbers that prove themselves by form and check digit without any id: freight containers and vehicles.

/// What a text looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A container number with its check digit, in canonical writing.
    Container(String),
    /// The form of a container number with a wrong check digit.
    NearContainer,
    /// A vehicle identification number in canonical writing, and whether a label's leading `I` was taken off.
    Vin(String, bool),
}

/// The form of `text`, if it has one; case, spaces and a hyphen before the check digit do not count.
pub fn form(text: &str) -> Option<Form> {
    if text.len() > 32 || !text.is_ascii() {
        return None;
    }
    let compact: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).map(|c| c.to_ascii_uppercase()).collect();
    let bytes = compact.as_bytes();
    if is_container_form(bytes) {
        let holds = container_check(&bytes[..10]) == bytes[10];
        return Some(if holds { Form::Container(compact) } else { Form::NearContainer });
    }
    // A hyphen is no part of a vehicle's number in any writing.
    if text.contains('-') {
        return None;
    }
    match bytes {
        [b'I', vin @ ..] if is_vin(vin) => Some(Form::Vin(compact[1..].to_owned(), true)),
        vin if is_vin(vin) => Some(Form::Vin(compact, false)),
        _ => None,
    }
}

/// Owner code, category, serial number and check digit. Source: ISO 6346.
fn is_container_form(bytes: &[u8]) -> bool {
    bytes.len() == 11
        && bytes[..3].iter().all(u8::is_ascii_uppercase)
        && matches!(bytes[3], b'U' | b'J' | b'Z')
        && bytes[4..].iter().all(u8::is_ascii_digit)
}

/// The check digit of the first ten characters: letters count 10 to 38 without multiples of 11, each place twice the one before.
fn container_check(body: &[u8]) -> u8 {
    let sum: u32 = body.iter().zip(0_u32..).map(|(byte, place)| container_value(*byte) << place).sum();
    // A remainder of 10 is written 0.
    b'0' + u8::try_from(sum % 11 % 10).unwrap_or(0)
}

fn container_value(byte: u8) -> u32 {
    match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        letter => {
            let plain = u32::from(letter.wrapping_sub(b'A')) + 10;
            // A is 10, B is 12: the count skips 11, 22 and 33.
            plain + (plain - 1) / 10
        }
    }
}

/// Whether the 17 characters prove to be a vehicle's number. Source: ISO 3779 and 49 CFR 565.15.
///
/// Its check digit proves it. European makers have none and fill its place with Z; there, maker code and serial number must have their form.
fn is_vin(bytes: &[u8]) -> bool {
    bytes.len() == 17
        && bytes.iter().all(|byte| vin_value(*byte).is_some())
        && bytes.iter().any(u8::is_ascii_alphabetic)
        && bytes[13..].iter().all(u8::is_ascii_digit)
        && (vin_check(bytes) == Some(bytes[8])
            || (bytes[8] == b'Z' && matches!(bytes[0], b'S'..=b'Z') && bytes[1].is_ascii_alphabetic()))
}

fn vin_value(byte: u8) -> Option<u32> {
    Some(match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        b'A'..=b'H' => u32::from(byte - b'A') + 1,
        b'J'..=b'N' => u32::from(byte - b'J') + 1,
        b'P' => 7,
        b'R' => 9,
        b'S'..=b'Z' => u32::from(byte - b'S') + 2,
        _ => return None,
    })
}

fn vin_check(bytes: &[u8]) -> Option<u8> {
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let mut sum = 0;
    for (byte, weight) in bytes.iter().zip(WEIGHTS) {
        sum += vin_value(*byte)? * weight;
    }
    match u8::try_from(sum % 11).ok()? {
        10 => Some(b'X'),
        digit => Some(b'0' + digit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_number_is_proven_by_its_check_digit() {
        for text in ["CSQU3054383", "csqu 305438 3", "CSQU 305438-3"] {
            assert_eq!(form(text), Some(Form::Container("CSQU3054383".into())), "{text}");
        }
        for text in ["TGHU7599330", "MSKU6011672", "HLXU2008419", "TRLU7654320"] {
            assert_eq!(form(text), Some(Form::Container(text.into())));
        }
        assert_eq!(form("CSQU3054384"), Some(Form::NearContainer));
        assert_eq!(form("CSQA3054383"), None);
        assert_eq!(form("CSQU305438"), None);
    }

    #[test]
    fn a_vehicle_number_is_proven_by_check_digit_or_european_form() {
        assert_eq!(form("1M8GDM9AXKP042788"), Some(Form::Vin("1M8GDM9AXKP042788".into(), false)));
        assert_eq!(form("i1m8gdm9axkp042788"), Some(Form::Vin("1M8GDM9AXKP042788".into(), true)));
        assert_eq!(form("WVWZZZ1JZ3W386752"), Some(Form::Vin("WVWZZZ1JZ3W386752".into(), false)));
        for text in ["1M8GDM9A1KP042788", "11111111111111111", "1M8GDM9AXKP04278O", "1M8GDM9AXKP0-42788", "æ"] {
            assert_eq!(form(text), None, "{text}");
        }
    }
}
