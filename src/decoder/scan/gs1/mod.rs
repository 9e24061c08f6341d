//! GS1 element strings: identifiers, their values, and the one thing that they name together.

mod link;
mod table;

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
        match part.proof {
            Proof::Mod10 if !check::mod10_holds(piece) => return fault(Reason::BadCheck),
            Proof::Prefix if !piece.iter().take(4).all(u8::is_ascii_digit) => return fault(Reason::BadCharset),
            Proof::Zero if piece != b"0" => return fault(Reason::BadCharset),
            Proof::Date if !check::is_date(piece, false) => return fault(Reason::BadDate),
            Proof::DateOrMonth if !check::is_date(piece, true) => return fault(Reason::BadDate),
            Proof::Time if !check::is_time(piece) => return fault(Reason::BadDate),
            _ => {}
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    type Broken = (Reason, Option<&'static str>);

    fn check(data: &str, expect: Result<&[(&str, &str)], Broken>) {
        let expect = match expect {
            Ok(pairs) => Ok(pairs.iter().map(|(ai, value)| ((*ai).to_owned(), (*value).to_owned())).collect()),
            Err((reason, ai)) => Err(Fault { reason, ai: ai.map(str::to_owned) }),
        };
        assert_eq!(read_elements(data), expect, "{data:?}");
    }

    #[test]
    fn elements_end_by_length_or_by_separator() {
        check("00376104250021234569", Ok(&[("00", "376104250021234569")]));
        check("\u{1d}0109521234567899\u{1d}10A\u{1d}", Ok(&[("01", "09521234567899"), ("10", "A")]));
        check("402614141123456789012\u{1d}403R1", Err((Reason::BadLength, Some("402"))));
        check("40261414112345678", Err((Reason::TruncatedAi, Some("402"))));
        check("40206141411234567\u{1d}403R1", Err((Reason::TruncatedAi, Some("402"))));
        check("3103001250", Ok(&[("3103", "001250")]));
        check("10", Err((Reason::BadLength, Some("10"))));
        check("10A\u{1d}\u{1d}21B", Err((Reason::UnknownAi, None)));
    }

    #[test]
    fn a_broken_element_names_its_rule_and_its_identifier() {
        check("00376104250021234560", Err((Reason::BadCheck, Some("00"))));
        check("0037610425002\u{1d}10A", Err((Reason::TruncatedAi, Some("00"))));
        check("003761042500212345a9", Err((Reason::BadCharset, Some("00"))));
        check("00376104250021234æ9", Err((Reason::BadCharset, Some("00"))));
        check("10æ", Err((Reason::BadCharset, Some("10"))));
        check("3", Err((Reason::UnknownAi, None)));
        check("æ", Err((Reason::UnknownAi, None)));
        check("8003109521141123454", Err((Reason::BadCharset, Some("8003"))));
        check("8004TRL-7", Err((Reason::BadCharset, Some("8004"))));
        check("7007260101260", Err((Reason::BadLength, Some("7007"))));
        check("7011260101", Ok(&[("7011", "260101")]));
    }

    #[test]
    fn the_moved_unit_names_the_scan() {
        for (data, key) in [
            ("0037610425002123456902106141410004153748", "sscc:376104250021234569"),
            ("800300614141000012R7", "grai:00614141000012R7"),
            ("4140614141000012", "gln:0614141000012"),
            ("010952123456789910A\u{1d}21B", "sgtin:09521234567899:B"),
        ] {
            let elements = read_elements(data).unwrap();
            assert_eq!(name(&elements).unwrap().1, key, "{data:?}");
        }
        assert_eq!(name(&read_elements("10A").unwrap()), None);
    }

    /// Every identifier that there is.
    fn identifiers() -> Vec<String> {
        let all = (2..=4)
            .flat_map(|length| (0..10_usize.pow(length)).map(move |n| format!("{n:0width$}", width = length as usize)));
        all.filter(|ai| is_known(ai)).collect()
    }

    /// A value that the rules of the identifier allow, grown from `seed`.
    fn value(ai: &str, mut seed: u64) -> String {
        let mut next = |limit: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap() % limit
        };
        let mut value = String::new();
        for part in table::field(ai.as_bytes()).unwrap().parts {
            let length = match part.proof {
                Proof::None | Proof::Prefix => part.min + next(part.max - part.min + 1),
                _ => part.max,
            };
            let set: Vec<char> = (0..=255_u8).filter(|byte| part.set.holds(*byte)).map(char::from).collect();
            let mut piece: String = (0..length).map(|_| set[next(set.len())]).collect();
            match part.proof {
                Proof::None => {}
                Proof::Mod10 => {
                    piece.pop();
                    piece.push(char::from(check::mod10(piece.as_bytes()).unwrap()));
                }
                Proof::Prefix => piece.replace_range(..4, "0614"),
                Proof::Zero => piece = "0".to_owned(),
                Proof::Date => piece = format!("{:02}{:02}{:02}", next(100), 1 + next(12), 1 + next(28)),
                Proof::DateOrMonth => piece = format!("{:02}{:02}{:02}", next(100), 1 + next(12), next(29)),
                Proof::Time => piece = format!("{:02}{:02}{:02}", next(24), next(60), next(60))[..part.max].to_owned(),
            }
            value.push_str(&piece);
        }
        value
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(10_000))]

        #[test]
        fn what_is_written_by_the_rules_is_read_as_it_was_written(
            picks in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u64>()), 1..8),
            generous in proptest::prelude::any::<bool>(),
        ) {
            let known = KNOWN.get_or_init(identifiers);
            let written: Elements = picks.iter().map(|(pick, seed)| (pick.get(known), seed)).map(|(ai, seed)| (ai.clone(), value(ai, *seed))).collect();
            let mut data = String::new();
            for (ai, value) in &written {
                data.push_str(ai);
                data.push_str(value);
                if generous || !table::ends_by_length(ai.as_bytes()) {
                    data.push(GS);
                }
            }
            proptest::prop_assert_eq!(read_elements(&data), Ok(written.clone()));
            // A digit changed where a check digit stands is always noticed.
            if let Some(sscc) = written.get("00") {
                let wrong = data.replacen(&format!("00{sscc}"), &format!("00{}{}", &sscc[..17], (sscc.as_bytes()[17] - b'0' + 1) % 10), 1);
                proptest::prop_assert!(read_elements(&wrong).is_err());
            }
        }
    }

    static KNOWN: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
}
