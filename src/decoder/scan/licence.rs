//! Driving licences: recognised so that nothing of them is kept.
//!
//! A licence is many lines, so a scanner's terminators cut it into many frames. Source: AAMVA DL/ID Card Design Standard, annex D.

/// Whether the bytes hold the head of a licence: the file type and an issuer's number.
pub fn has_head(bytes: &[u8]) -> bool {
    bytes.windows(11).any(|window| match window {
        [b'A', b'N', b'S', b'I', b' ', issuer @ ..] => {
            issuer.iter().all(u8::is_ascii_digit) && matches!(issuer, [b'6', b'3' | b'0', ..])
        }
        [b'A', b'A', b'M', b'V', b'A', issuer @ ..] => issuer.iter().all(u8::is_ascii_digit),
        _ => false,
    })
}

/// Whether a frame may be the compliance mark `@` before a head, behind a prefix of at most `prefix_max` bytes.
pub fn may_open(bytes: &[u8], prefix_max: usize) -> bool {
    let end = bytes.iter().rposition(|byte| !byte.is_ascii_control()).map_or(0, |last| last + 1);
    matches!(bytes[..end].split_last(), Some((b'@', before)) if before.len() <= prefix_max)
}

/// Whether a frame is a further line of a licence: an element id of its own or a jurisdiction's, or control characters.
pub fn goes_on(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|byte| !byte.is_ascii_control()).unwrap_or(bytes.len());
    match &bytes[start..] {
        [] => true,
        [b'D', b'A'..=b'D', third, ..] | [b'Z', b'A'..=b'Z', third, ..] => third.is_ascii_uppercase(),
        [b'D', b'L', rest @ ..] | [b'I', b'D', rest @ ..] | [b'E', b'N', rest @ ..] => {
            matches!(rest, [b'D', b'A'..=b'D', third, ..] if third.is_ascii_uppercase())
        }
        _ => false,
    }
}
