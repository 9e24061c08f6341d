//! Which symbology a code came from: AIM ids as sent, and the older Symbol code ids put into the same words.

use super::check;

/// What may be believed of the data behind an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The symbol announces GS1 element strings.
    Gs1,
    /// EAN or UPC: a trade item number.
    Ean,
    /// Interleaved 2 of 5: a trade item number when it has the form of one.
    Itf,
    /// Anything.
    Other,
}

/// The symbology of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbology {
    /// The AIM id: `]`, a letter, a modifier.
    pub id: String,
    /// What it says of the data.
    pub family: Family,
}

impl Symbology {
    fn new(id: &str) -> Self {
        let family = match id {
            "]C1" | "]d2" | "]Q3" | "]J1" | "]e0" | "]e1" | "]e2" | "]e3" => Family::Gs1,
            "]E0" | "]E3" | "]E4" => Family::Ean,
            "]I0" | "]I1" => Family::Itf,
            _ => Family::Other,
        };
        Self { id: id.to_owned(), family }
    }
}

/// Takes an AIM id off the front.
///
/// Source: ISO/IEC 15424.
pub fn take_aim(text: &str) -> (Option<Symbology>, &str) {
    match text.split_at_checked(3) {
        Some((id, rest)) if is_id(id.as_bytes()) => (Some(Symbology::new(id)), rest),
        _ => (None, text),
    }
}

fn is_id(bytes: &[u8]) -> bool {
    matches!(bytes, [b']', letter, modifier] if letter.is_ascii_alphabetic() && modifier.is_ascii_alphanumeric())
}

/// Takes a Symbol code id off the front; none when the text begins with no such id.
///
/// Source: the table "Symbol Code Identifiers" of Zebra's reference guides.
pub fn take_symbol(text: &str) -> Option<(Symbology, &str)> {
    if let Some(rest) = text.strip_prefix("P0") {
        let mut tail = rest.chars();
        let id = match tail.next()? {
            '0' => "]d1",
            '1' => "]Q1",
            '2' => "]U0",
            'G' => "]d2",
            'Q' => "]Q3",
            'H' => "]h0",
            kind if kind.is_ascii_alphanumeric() => "]X0",
            _ => return None,
        };
        return Some((Symbology::new(id), tail.as_str()));
    }
    let mut tail = text.chars();
    let id = match tail.next()? {
        // One id for all of EAN and UPC. Eight digits that begin with 0 are a UPC-E before they are an EAN-8, of which
        // those are for use inside a shop only.
        'A' if tail.as_str().len() == 8
            && !tail.as_str().starts_with('0')
            && check::mod10_holds(tail.as_str().as_bytes()) =>
        {
            "]E4"
        }
        'A' => "]E0",
        'B' => "]A0",
        'C' => "]F0",
        'D' => "]C0",
        'E' => "]G0",
        'F' => "]I0",
        'G' => "]S0",
        'H' => "]H0",
        'J' => "]M0",
        'K' => "]C1",
        'R' => "]e0",
        'X' => "]L0",
        'z' => "]z0",
        'L' | 'M' | 'N' | 'S' | 'T' | 'U' | 'V' => "]X0",
        _ => return None,
    };
    Some((Symbology::new(id), tail.as_str()))
}

/// Whether a second id inside `data` shows that two reads arrived as one.
///
/// A code may hold a `]`; it is two reads when the same id comes again, or one that announces GS1 with digits behind it.
pub fn is_concatenated(symbology: Option<&Symbology>, data: &str) -> bool {
    data.match_indices(']').filter_map(|(at, _)| data[at..].split_at_checked(3)).any(|(id, rest)| {
        is_id(id.as_bytes())
            && (symbology.is_some_and(|first| first.id == id || first.family == Family::Gs1)
                || (Symbology::new(id).family == Family::Gs1
                    && rest.bytes().take_while(u8::is_ascii_digit).count() >= 2))
    })
}
