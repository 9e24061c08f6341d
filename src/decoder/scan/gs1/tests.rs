//! Element strings by example, by a generator of our own, and with every digit that can be wrong.

use super::*;
use crate::decoder::scan::{ScanProfile, classify};
use crate::domain::Scan;

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

/// A number from 0 to below `limit`; the same run of them in every run of the tests.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn digits(&mut self, length: usize) -> String {
        (0..length).map(|_| char::from(b'0' + u8::try_from(self.roll(10)).unwrap())).collect()
    }

    /// Digits with their check digit.
    fn key(&mut self, length: usize) -> String {
        let body = self.digits(length - 1);
        let digit = check::mod10(body.as_bytes()).unwrap();
        body + &char::from(digit).to_string()
    }
}

/// A value that the rules of the identifier allow.
fn value(ai: &str, dice: &mut Dice) -> String {
    let mut value = String::new();
    for part in table::field(ai.as_bytes()).unwrap().parts {
        if part.min == 0 && dice.roll(3) == 0 {
            break;
        }
        let least = part.min.max(1);
        let set: Vec<char> = (0..=255_u8).filter(|byte| part.set.holds(*byte)).map(char::from).collect();
        let text = |length: usize, dice: &mut Dice| (0..length).map(|_| set[dice.roll(set.len())]).collect::<String>();
        let piece = match part.proof {
            Proof::None => {
                let length = least + dice.roll(part.max - least + 1);
                text(length, dice)
            }
            Proof::Whole => text(part.max, dice),
            Proof::Mod10 => dice.key(part.max),
            Proof::Prefix => "0614".to_owned() + &text(dice.roll(part.max - 3), dice),
            Proof::Pair => {
                let body = "0614".to_owned() + &text(dice.roll(part.max - 5), dice);
                body.clone() + std::str::from_utf8(&check::pair_of(body.as_bytes()).unwrap()).unwrap()
            }
            Proof::Iban => ["GB82WEST12345698765432", "DE89370400440532013000"][dice.roll(2)].to_owned(),
            Proof::OneOf(set) => char::from(set[dice.roll(set.len())]).to_string(),
            Proof::Capitals => ["NO", "CZ", "DE"][dice.roll(3)].to_owned(),
            Proof::Date => format!("{:02}{:02}{:02}", dice.roll(100), 1 + dice.roll(12), 1 + dice.roll(28)),
            Proof::DateOrMonth => format!("{:02}{:02}{:02}", dice.roll(100), 1 + dice.roll(12), dice.roll(29)),
            Proof::FullDate => format!("{:04}{:02}{:02}", 1900 + dice.roll(200), 1 + dice.roll(12), 1 + dice.roll(28)),
            Proof::Hour => format!("{:02}", dice.roll(24)),
            Proof::Minutes => format!("{:02}", dice.roll(60)),
            Proof::TimeOrNone if dice.roll(4) == 0 => "9999".to_owned(),
            Proof::TimeOrNone => format!("{:02}{:02}", dice.roll(24), dice.roll(60)),
        };
        value.push_str(&piece);
    }
    value
}

/// Elements in any order as printers write them: a separator where it must be, and where it does no harm.
fn written(elements: &[(String, String)], dice: &mut Dice) -> String {
    let mut data = if dice.roll(4) == 0 { GS.to_string() } else { String::new() };
    for (nth, (ai, value)) in elements.iter().enumerate() {
        data.push_str(ai);
        data.push_str(value);
        let must_end = nth + 1 < elements.len() && !table::ends_by_length(ai.as_bytes());
        if must_end || dice.roll(4) == 0 {
            data.push(GS);
        }
    }
    data
}

/// What a whole read comes to.
fn scanned(read: &str) -> Result<Scan, Reason> {
    classify(read.as_bytes(), &ScanProfile::default()).map_err(|loss| loss.reason)
}

#[test]
fn ten_thousand_element_strings_are_read_as_they_were_written() {
    let known = identifiers();
    let mut dice = Dice(2026);
    let mut seen = std::collections::BTreeSet::new();
    for nth in 0..10_000 {
        let mut elements: Vec<(String, String)> = Vec::new();
        for _ in 0..=dice.roll(6) {
            // Each identifier comes first in some string, so that none is left out.
            let ai = if elements.is_empty() { &known[nth % known.len()] } else { &known[dice.roll(known.len())] };
            if elements.iter().all(|(one, _)| one != ai) {
                elements.push((ai.clone(), value(ai, &mut dice)));
            }
        }
        let first = dice.roll(elements.len());
        elements.rotate_left(first);
        seen.extend(elements.iter().map(|(ai, _)| ai.clone()));
        let data = written(&elements, &mut dice);
        let expect: Elements = elements.into_iter().collect();
        assert_eq!(read_elements(&data), Ok(expect.clone()), "{data:?}");
        let id = ["]C1", "]d2", "]Q3", "]J1", "]e0"][dice.roll(5)];
        let scan = scanned(&format!("{id}{data}")).unwrap_or_else(|reason| panic!("{reason:?}: {data:?}"));
        assert_eq!((scan.code, scan.aim.as_deref()), (data, Some(id)));
        assert_eq!(scan.gs1, expect);
        match name(&expect) {
            Some(named) => assert_eq!((scan.kind, scan.key), named),
            None => assert_eq!(scan.kind, ScanKind::Plain),
        }
    }
    assert_eq!(seen.len(), known.len());
    assert!(known.len() > 500, "{} identifiers", known.len());
}

/// Keys with a check digit: what stands before one, its length, and what stands behind it.
const KEYS: &[(&str, usize, &str)] = &[
    ("]C100", 18, ""),
    ("]C101", 14, ""),
    ("]C102", 14, "3748"),
    ("]C1414", 13, ""),
    ("]C1402", 17, ""),
    ("]C180030", 13, "R7"),
    ("]C1253", 13, "SER9"),
    ("]C1255", 13, ""),
    ("]C18018", 18, ""),
    ("]C18006", 14, "0102"),
    ("]E0", 13, ""),
    ("]E0", 12, ""),
    ("]E4", 8, ""),
    ("]I1", 14, ""),
    ("https://id.gs1.org/00/", 18, ""),
    ("https://id.gs1.org/414/", 13, ""),
];

#[test]
fn every_digit_of_a_key_that_is_read_wrong_is_noticed() {
    let mut dice = Dice(7);
    let full = std::env::var("WAYPOST_FAULTS").is_ok_and(|size| size == "full");
    for nth in 0..if full { 1000 } else { 160 } {
        let (before, length, behind) = KEYS[nth % KEYS.len()];
        let key = dice.key(length);
        let good = scanned(&format!("{before}{key}{behind}"))
            .unwrap_or_else(|reason| panic!("{reason:?}: {before}{key}{behind}"));
        for at in 0..length {
            for digit in ('0'..='9').filter(|digit| *digit != char::from(key.as_bytes()[at])) {
                let mut wrong = key.clone();
                wrong.replace_range(at..=at, &digit.to_string());
                match scanned(&format!("{before}{wrong}{behind}")) {
                    Err(reason) => assert_eq!(reason, Reason::BadCheck, "{before}{wrong}{behind}"),
                    // Nothing says that a symbol of Interleaved 2 of 5 is a trade item, but its check digit.
                    Ok(scan) => {
                        assert!(before == "]I1" && scan.kind == ScanKind::Plain && scan.key != good.key, "{wrong}")
                    }
                }
            }
        }
    }
}

#[test]
fn a_part_that_breaks_its_rule_is_refused_by_the_rule() {
    for (data, reason) in [
        ("8013", Reason::BadLength),
        ("80131987654Ad4X4bL5ttr2310c2X", Reason::BadCheck),
        ("8014A987654Ad4X4bL5ttr2310c2K", Reason::BadCharset),
        ("8007GB82WEST12345698765431", Reason::BadCheck),
        ("4307no", Reason::BadCharset),
        ("43212", Reason::BadCharset),
        ("4324261301 1200", Reason::BadLength),
        ("43242613011200", Reason::BadDate),
        ("43242612012400", Reason::BadDate),
        ("700326120199", Reason::TruncatedAi),
        ("70032612001200", Reason::BadDate),
        ("725020260229", Reason::BadDate),
        ("725020260100", Reason::BadDate),
        ("800826120124", Reason::BadDate),
        ("80082612012360", Reason::BadDate),
        ("8008261201235", Reason::BadLength),
        ("4235781", Reason::BadLength),
        ("423578752840036100578", Reason::BadLength),
        ("4330001234+", Reason::BadCharset),
        ("80010001000010012 1", Reason::BadLength),
        ("800100010000100121", Reason::BadCharset),
        ("3106001250", Reason::UnknownAi),
        ("3944", Reason::UnknownAi),
        ("4334000000", Reason::UnknownAi),
        ("8015X", Reason::UnknownAi),
        ("718X", Reason::UnknownAi),
    ] {
        assert_eq!(read_elements(data).map_err(|fault| fault.reason), Err(reason), "{data}");
    }
    for data in [
        "43242612319999",
        "43242612001200",
        "7011261201",
        "70112612019999",
        "8008261201235959",
        "423578752",
        "4330001234-",
        "717A",
    ] {
        assert!(read_elements(data).is_ok(), "{data}");
    }
}
