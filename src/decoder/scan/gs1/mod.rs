//! GS1 element strings: identifiers, their values, and the one thing that they name together.

mod link;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::domain::{Reason, ScanKind};

use super::check;
use table::{Field, Proof};

pub use link::{decode_percent, read_link};

/// The separator that ends a field of variable length: FNC1 as it is transmitted.
pub const GS: char = '\u{1d}';

/// Identifiers and their values.
pub type Elements = BTreeMap<String, String>;

/// Why a string is not GS1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub reason: Reason,
    /// The identifier at fault; none when there is no such identifier.
    pub ai: Option<String>,
}

impl Fault {
    fn new(reason: Reason, ai: &str) -> Self {
        Self { reason, ai: Some(ai.to_owned()) }
    }
}

/// Reads an element string, the data of a symbol that announces GS1.
///
/// A separator after a field that ends by its length, before the first field and after the last is legal to receive and left out.
/// Source: GS1 General Specifications 7.8.
///
/// # Errors
/// The first [`Fault`] from the left. An element string is believed as a whole or not at all.
pub fn read_elements(data: &str) -> Result<Elements, Fault> {
    let mut elements = Elements::new();
    let mut rest = data.strip_prefix(GS).unwrap_or(data);
    while !rest.is_empty() {
        let (ai, field, after) = take_ai(rest)?;
        let until_separator = after.find(GS).unwrap_or(after.len());
        let length = if table::ends_by_length(ai.as_bytes()) {
            // A character boundary is certain only for digits; anything else is no digit and so no end of this field.
            let fixed = field.max().min(until_separator);
            if after.is_char_boundary(fixed) { fixed } else { until_separator }
        } else {
            until_separator
        };
        let (value, after) = after.split_at(length);
        check_value(ai, field, value)?;
        match elements.get(ai) {
            Some(before) if before != value => return Err(Fault::new(Reason::DupAiConflict, ai)),
            Some(_) => {}
            None => drop(elements.insert(ai.to_owned(), value.to_owned())),
        }
        rest = after.strip_prefix(GS).unwrap_or(after);
    }
    Ok(elements)
}

/// Splits the identifier off the front.
fn take_ai(text: &str) -> Result<(&str, &'static Field, &str), Fault> {
    (2..=4)
        .filter_map(|length| text.split_at_checked(length))
        .find_map(|(ai, after)| table::field(ai.as_bytes()).map(|field| (ai, field, after)))
        .ok_or(Fault { reason: Reason::UnknownAi, ai: None })
}

/// Whether there is such an identifier.
pub fn is_known(ai: &str) -> bool {
    table::field(ai.as_bytes()).is_some()
}

/// Checks one value against the form of its identifier.
///
/// # Errors
/// The [`Fault`] that says which rule it breaks: length, then characters, then proof.
pub fn check_element(ai: &str, value: &str) -> Result<(), Fault> {
    let field = table::field(ai.as_bytes()).ok_or(Fault { reason: Reason::UnknownAi, ai: None })?;
    check_value(ai, field, value)
}

fn check_value(ai: &str, field: &Field, value: &str) -> Result<(), Fault> {
    let fault = |reason| Err(Fault::new(reason, ai));
    if value.len() > field.max() {
        return fault(Reason::BadLength);
    }
    let mut rest = value.as_bytes();
    for part in field.parts {
        let piece;
        (piece, rest) = rest.split_at(rest.len().min(part.max));
        if !piece.iter().all(|byte| part.set.holds(*byte)) {
            return fault(Reason::BadCharset);
        }
        // A part that may be absent and has a proof has one length when it is there.
        if piece.len() < part.min
            || (part.min == 0 && !piece.is_empty() && part.proof != Proof::None && piece.len() < part.max)
        {
            return fault(if part.min == part.max { Reason::TruncatedAi } else { Reason::BadLength });
        }
        if piece.is_empty() {
            continue;
        }
        if let Some(reason) = flaw(part.proof, piece) {
            return fault(reason);
        }
    }
    Ok(())
}

/// What is wrong with a part of the right characters and length.
fn flaw(proof: Proof, piece: &[u8]) -> Option<Reason> {
    let has_prefix = || piece.iter().take(4).all(u8::is_ascii_digit);
    let (holds, reason) = match proof {
        Proof::None | Proof::Whole => return None,
        Proof::Mod10 => (check::mod10_holds(piece), Reason::BadCheck),
        Proof::Pair if !has_prefix() => (false, Reason::BadCharset),
        Proof::Pair => (check::pair_holds(piece), Reason::BadCheck),
        Proof::Iban => (check::iban_holds(piece), Reason::BadCheck),
        Proof::Prefix => (has_prefix(), Reason::BadCharset),
        Proof::OneOf(set) => (piece.iter().all(|byte| set.contains(byte)), Reason::BadCharset),
        Proof::Capitals => (piece.iter().all(u8::is_ascii_uppercase), Reason::BadCharset),
        Proof::Date => (check::is_date(piece, false), Reason::BadDate),
        Proof::DateOrMonth => (check::is_date(piece, true), Reason::BadDate),
        Proof::FullDate => (check::is_full_date(piece), Reason::BadDate),
        Proof::Hour => (check::is_below(piece, 24), Reason::BadDate),
        Proof::Minutes => (check::is_below(piece, 60), Reason::BadDate),
        Proof::TimeOrNone => (check::is_time(piece) || piece == b"9999", Reason::BadDate),
    };
    (!holds).then_some(reason)
}

/// What the elements name together, with its key; none when none of them names a thing.
///
/// The unit that is moved wins over what is in it: a pallet with its content is the pallet.
pub fn name(elements: &Elements) -> Option<(ScanKind, String)> {
    let of = |ai: &str| elements.get(ai).map(String::as_str);
    if let Some(sscc) = of("00") {
        return Some((ScanKind::Sscc, format!("sscc:{sscc}")));
    }
    if let Some(asset) = of("8003") {
        return Some((ScanKind::Grai, format!("grai:{asset}")));
    }
    if let Some(asset) = of("8004") {
        return Some((ScanKind::Giai, format!("giai:{asset}")));
    }
    match (of("01"), of("21"), of("10")) {
        (Some(gtin), Some(serial), _) => return Some((ScanKind::Sgtin, format!("sgtin:{gtin}:{serial}"))),
        (Some(gtin), None, Some(lot)) => return Some((ScanKind::Gtin, format!("gtin:{gtin}:lot:{lot}"))),
        (Some(gtin), None, None) => return Some((ScanKind::Gtin, format!("gtin:{gtin}"))),
        (None, ..) => {}
    }
    if let (Some(gtin), Some(count)) = (of("02"), of("37")) {
        return Some((ScanKind::Content, format!("content:{gtin}:{count}")));
    }
    if let Some(shipment) = of("402") {
        return Some((ScanKind::Gsin, format!("gsin:{shipment}")));
    }
    if let Some(consignment) = of("401") {
        return Some((ScanKind::Ginc, format!("ginc:{consignment}")));
    }
    of("414").map(|place| match of("254") {
        Some(extension) => (ScanKind::Gln, format!("gln:{place}:{extension}")),
        None => (ScanKind::Gln, format!("gln:{place}")),
    })
}
