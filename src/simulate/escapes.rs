//! C escapes, as they stand in lists of codes and in captures.

/// The bytes that a text with C escapes stands for.
pub(super) fn unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let Some((kind, after)) = rest.split_first() else { return Err("it ends with a lone \\".to_owned()) };
        rest = after;
        out.push(match kind {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'v' => 11,
            b'e' => 27,
            b'\\' | b'\'' | b'"' => *kind,
            b'x' => number(&mut rest, 16, 2).ok_or("\\x wants one or two hex digits")?,
            b'0'..=b'7' => {
                rest = &text[text.len() - rest.len() - 1..];
                number(&mut rest, 8, 3).ok_or("an octal escape is at most \\377")?
            }
            other => return Err(format!("\\{} is no escape", other.escape_ascii())),
        });
    }
    Ok(out)
}

/// Takes at most so many digits off the front; none when there are none, or the number is no byte.
fn number(rest: &mut &[u8], radix: u32, most: usize) -> Option<u8> {
    let digits = rest.iter().take(most).take_while(|byte| char::from(**byte).is_digit(radix)).count();
    let (text, after) = rest.split_at(digits);
    *rest = after;
    u8::from_str_radix(std::str::from_utf8(text).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_escape_of_c_is_understood() {
        let text = br#"]C101\x1d21A\t\0\377\101\\\"\e\x4\n"#;
        assert_eq!(unescape(text).unwrap(), b"]C101\x1d21A\t\0\xffA\\\"\x1b\x04\n");
    }
}
