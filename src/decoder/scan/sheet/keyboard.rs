//! What a code looks like when a scanner types it for another keyboard than the one it is read as.

/// The layouts that scanners are set to, with what each key types plain and with shift: from the key left of 1 along the
/// digits, from Q, from A with the key beside Enter, from the key between shift and Z. A space is a key that is not there,
/// or an accent that waits for its letter.
const KEYBOARDS: [(&str, [&str; 2]); 6] = [
    ("us", ["`1234567890-=qwertyuiop[]asdfghjkl;'\\ zxcvbnm,./", "~!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:\"| ZXCVBNM<>?"]),
    ("uk", ["`1234567890-=qwertyuiop[]asdfghjkl;'#\\zxcvbnm,./", "¬!\"£$%^&*()_+QWERTYUIOP{}ASDFGHJKL:@~|ZXCVBNM<>?"]),
    ("de", [" 1234567890ß qwertzuiopü+asdfghjklöä#<yxcvbnm,.-", "°!\"§$%&/()=? QWERTZUIOPÜ*ASDFGHJKLÖÄ'>YXCVBNM;:_"]),
    ("fr", ["²&é\"'(-è_çà)=azertyuiop $qsdfghjklmù*<wxcvbn,;:!", " 1234567890°+AZERTYUIOP £QSDFGHJKLM%µ>WXCVBN?./§"]),
    ("es", ["º1234567890'¡qwertyuiop +asdfghjklñ ç<zxcvbnm,.-", "ª!\"·$%&/()=?¿QWERTYUIOP *ASDFGHJKLÑ Ç>ZXCVBNM;:_"]),
    ("cz", [";+ěščřžýáíé= qwertzuiopú)asdfghjklů§ \\yxcvbnm,.-", " 1234567890% QWERTZUIOP/(ASDFGHJKL\"!'|YXCVBNM?:_"]),
];

/// Every two different layouts: the one a scanner types for, and the one it is read as.
pub(super) fn pairs() -> impl Iterator<Item = (usize, usize)> {
    let all = 0..KEYBOARDS.len();
    all.clone().flat_map(move |typed| all.clone().map(move |read| (typed, read))).filter(|(typed, read)| typed != read)
}

/// The name of a layout, as in the configuration.
pub(super) fn name(keyboard: usize) -> &'static str {
    KEYBOARDS[keyboard].0
}

/// What arrives when `text` is typed for one layout and read as another, up to the first key that says nothing certain.
pub(super) fn retyped(text: &str, (typed, read): (usize, usize)) -> String {
    let key = |c: char| {
        KEYBOARDS[typed]
            .1
            .iter()
            .enumerate()
            .find_map(|(level, keys)| Some((level, keys.chars().position(|k| k == c)?)))
    };
    let arrives = |c: char| match c {
        ' ' => Some(' '),
        _ => key(c).and_then(|(level, at)| KEYBOARDS[read].1[level].chars().nth(at)).filter(|c| *c != ' '),
    };
    text.chars().map_while(arrives).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_names_the_same_keys() {
        for (name, levels) in KEYBOARDS {
            for keys in levels {
                assert_eq!(keys.chars().count(), 48, "{name}: {keys}");
            }
        }
        assert_eq!(pairs().count(), 30);
    }

    #[test]
    fn a_code_typed_for_germany_and_read_as_american_has_z_for_y() {
        let of = |typed: &str, read: &str, text: &str| {
            let at = |name| KEYBOARDS.iter().position(|(word, _)| *word == name).unwrap();
            retyped(text, (at(typed), at(read)))
        };
        assert_eq!(of("de", "us", "WAYPOST-TEST-2 aZ@"), "WAZPOST/TEST/2 aY");
        assert_eq!(of("us", "de", "WAYPOST-1 aZ@"), "WAZPOSTß1 aY\"");
        assert_eq!(of("us", "fr", "WAYPOST-1"), "ZQYPOST)&");
        assert_eq!(of("cz", "us", "1-"), "!/");
    }
}
