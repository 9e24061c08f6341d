//! Driving licences: recognised so that nothing of them is kept.
//!
//! A licence is many lines, so a scanner's terminators cut it into many frames, and a bad line may break its head.
//! Source: AAMVA DL/ID Card Design Standard, annex D. Letters count in either case: a scanner may have turned it.

/// Lines of a licence that show inside one frame what it is, when its head was lost.
const LINES_MIN: usize = 3;

/// Whether the bytes hold the head of a licence, the list of its parts, or several of its lines.
pub fn has_head(bytes: &[u8]) -> bool {
    let begins = |byte: &u8| matches!(byte.to_ascii_uppercase(), b'A' | b'D' | b'I');
    let mut places = bytes.iter().enumerate().filter(|(_, byte)| begins(byte)).map(|(at, _)| &bytes[at..]);
    places.any(|rest| is_mark(rest) || is_part_list(rest)) || has_lines(bytes)
}

/// The file type and an issuer's number of six digits.
fn is_mark(bytes: &[u8]) -> bool {
    let is_issuer = |rest: &[u8]| rest.len() >= 6 && rest[..6].iter().all(u8::is_ascii_digit);
    if let Some(rest) = strip(bytes, b"ANSI") {
        let rest = rest.strip_prefix(b" ").unwrap_or(rest);
        return is_issuer(rest) && matches!(rest, [b'6', b'0' | b'3', ..]);
    }
    strip(bytes, b"AAMVA").is_some_and(is_issuer)
}

/// The place and length of a part in eight digits, and behind it, or behind more of them, the first element of the part.
fn is_part_list(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut parts = 0;
    while rest.len() >= 10
        && rest[..2].iter().all(u8::is_ascii_alphabetic)
        && rest[2..10].iter().all(u8::is_ascii_digit)
    {
        rest = &rest[10..];
        parts += 1;
    }
    parts > 0 && (strip(bytes, b"DL").is_some() || strip(bytes, b"ID").is_some()) && starts_part(rest)
}

fn has_lines(bytes: &[u8]) -> bool {
    bytes.split(|byte| matches!(byte, b'\r' | b'\n')).filter(|line| is_element(line)).count() >= LINES_MIN
}

/// An element of the standard: `DAA` to `DDZ`, and a value.
fn is_element(line: &[u8]) -> bool {
    line.first_chunk()
        .is_some_and(|id: &[u8; 4]| matches!(id.to_ascii_uppercase().as_slice(), [b'D', b'A'..=b'D', b'A'..=b'Z', _]))
}

/// The type of a part and its first element.
fn starts_part(bytes: &[u8]) -> bool {
    [b"DL", b"ID", b"EN"].iter().any(|kind| strip(bytes, *kind).is_some_and(is_element))
}

fn strip<'a>(bytes: &'a [u8], head: &[u8]) -> Option<&'a [u8]> {
    bytes.split_at_checked(head.len()).filter(|(one, _)| one.eq_ignore_ascii_case(head)).map(|(_, rest)| rest)
}

/// Whether a frame may be the compliance mark `@` before a head, behind a prefix of at most `prefix_max` bytes.
pub fn may_open(bytes: &[u8], prefix_max: usize) -> bool {
    let end = bytes.iter().rposition(|byte| !byte.is_ascii_control()).map_or(0, |last| last + 1);
    matches!(bytes[..end].split_last(), Some((b'@', before)) if before.len() <= prefix_max)
}

/// Whether what follows the compliance mark is a head, be it damaged.
pub fn resembles_head(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| {
        let rest = &bytes[at..];
        [&b"ANSI"[..], b"AAMVA"].iter().any(|word| strip(rest, word).is_some()) || starts_part(rest)
    })
}

/// Whether the bytes end where a head was cut in two: by then it had said at least its file type.
pub fn ends_inside_head(bytes: &[u8]) -> bool {
    let tail = &bytes[bytes.len().saturating_sub(11)..];
    (0..tail.len()).any(|at| {
        let behind = strip(&tail[at..], b"ANSI").or_else(|| strip(&tail[at..], b"AAMVA"));
        behind.is_some_and(|rest| rest.len() < 7 && rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b' '))
    })
}

/// Whether a frame is a further line of a licence: an element of its own or of its jurisdiction, or control characters.
pub fn goes_on(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|byte| !byte.is_ascii_control()).unwrap_or(bytes.len());
    let line = &bytes[start..];
    let is_element = line.first_chunk().is_some_and(|id: &[u8; 3]| {
        matches!(
            id.to_ascii_uppercase().as_slice(),
            [b'D', b'A'..=b'D', b'A'..=b'Z'] | [b'Z', b'A'..=b'Z', b'A'..=b'Z']
        )
    });
    line.is_empty() || is_element || starts_part(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_is_known_by_its_head_its_parts_or_its_lines() {
        for text in [
            "ANSI 636026080102DL00410288",
            "x@\n\u{1e}\rANSI 636026",
            "ansi 636026",
            "ANSI604427",
            "AAMVA636026",
            "DL00410288ZA03290015DLDAQD12345678",
            "ID00410288IDDAQ1",
            "DAQD12345678\nDCSPUBLIC\rDACJOHN",
        ] {
            assert!(has_head(text.as_bytes()), "{text}");
        }
        for text in [
            "ANSI 12345",
            "ANSI X3.4-1986",
            "DL00410288",
            "DAC-17",
            "DAC-17\nDAC-18",
            "AB12345678DLDAQ",
            "",
            "DLDAQ1",
            "TRL-7",
        ] {
            assert!(!has_head(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_head_that_was_cut_in_two_is_known_by_its_end() {
        for text in ["ANSI", "x@ANSI 6360", "aamva63602", "ANSI 63602"] {
            assert!(ends_inside_head(text.as_bytes()), "{text}");
        }
        for text in ["ANS", "ANSI 6360A", "ANSI 6360260", "ANSI X", ""] {
            assert!(!ends_inside_head(text.as_bytes()), "{text}");
        }
    }
}
