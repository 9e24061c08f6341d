//! A code as a person writes it: read off a label with brackets and spaces, as its digits, or as its key.

use crate::domain::{Loss, Reason, Scan, Warn};

use super::check;
use super::classify::{classify, loss};
use super::gs1;
use super::{EVIDENCE_MAX, FRAME_MAX, ScanProfile};

/// What a written code says.
#[derive(Clone, Debug, PartialEq)]
pub struct Typed {
    /// As a scanner without symbology ids would have read it.
    pub scan: Scan,
    /// Every key under which a scanner may know the label, the one that says most first; at least one.
    pub keys: Vec<String>,
}

/// Reads a code that a person wrote: a barcode as it is printed, a GS1 element string with brackets or without, the digits
/// under a bar code, an EPC, a container number, or a key such as `sscc:376104250021234569`.
///
/// # Errors
/// The [`Loss`] with what is wrong: a broken GS1 field, a wrong check digit, control characters, no code at all.
pub fn typed(text: &str) -> Result<Typed, Loss> {
    let text = text.trim();
    let refuse = |reason| Err(loss(reason, text.as_bytes(), text.len()));
    if text.len() > FRAME_MAX {
        return refuse(Reason::Overlong);
    }
    if text.chars().any(|c| c.is_control() && c != gs1::GS) {
        return refuse(Reason::BadCharset);
    }
    if let Some((elements, key)) = elements_of_key(text) {
        let scan = as_gs1(text, &elements)?;
        return if scan.key == key { Ok(named(scan)) } else { refuse(Reason::BadLength) };
    }
    if let Some(elements) = elements_of_brackets(text) {
        return as_gs1(text, &elements).map(named);
    }
    match text.split_once(':') {
        Some(("raw", code)) if !code.trim().is_empty() => {
            let scan = read(code.trim())?;
            let key = format!("raw:{}", code.trim());
            // Whoever writes the key itself means the text and nothing that it resembles.
            return Ok(Typed { scan: Scan { key: key.clone(), same_as: None, ..scan }, keys: vec![key] });
        }
        Some((kind @ ("iso6346" | "vin" | "epc"), code)) => {
            let scan = read(code)?;
            let is_meant = scan.key.split(':').next() == Some(kind);
            return if is_meant { Ok(named(scan)) } else { refuse(Reason::BadCheck) };
        }
        _ => {}
    }
    let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if let Some(key) = key_of_digits(&digits) {
            return Ok(Typed { scan: read(&digits)?, keys: vec![key, format!("raw:{digits}")] });
        }
        // The digits of an element string, in groups as they are printed.
        let grouped = read(&digits)?;
        if !grouped.gs1.is_empty() {
            return Ok(named(grouped));
        }
    }
    read(text).map(named)
}

/// Why a written code is most likely a slip of the pen: it has the form of something that proves itself, and does not.
#[must_use]
pub fn slip(scan: &Scan) -> Option<Warn> {
    let proves = |warn: &&Warn| matches!(warn, Warn::Iso6346BadCheck | Warn::SsccBadCheck | Warn::EpcBadLength);
    scan.warn.iter().find(proves).copied()
}

fn read(code: &str) -> Result<Scan, Loss> {
    classify(code.as_bytes(), &ScanProfile { noread: String::new(), ..ScanProfile::default() })
}

fn named(scan: Scan) -> Typed {
    let key = scan.same_as.clone().unwrap_or_else(|| scan.key.clone());
    Typed { scan, keys: vec![key] }
}

/// An element string that is known to be one; nothing says which symbol it was printed as.
fn as_gs1(text: &str, elements: &str) -> Result<Scan, Loss> {
    let read = classify(format!("]C1{elements}").as_bytes(), &ScanProfile::default());
    match read {
        Ok(scan) => Ok(Scan { aim: None, code: elements.to_owned(), frame: text.as_bytes().to_vec(), ..scan }),
        Err(found) => Err(Loss { ai: found.ai, ..Loss::decoder(found.reason, text.as_bytes(), EVIDENCE_MAX) }),
    }
}

/// `(00)376104250021234569(10)A` as an element string; spaces group what is printed and are no part of it.
fn elements_of_brackets(text: &str) -> Option<String> {
    let rest = text.strip_prefix('(')?;
    let mut elements = Vec::new();
    for part in rest.split('(') {
        let (ai, value) = part.split_once(')')?;
        let is_ai = (2..=4).contains(&ai.len()) && ai.bytes().all(|byte| byte.is_ascii_digit());
        let value: String = value.chars().filter(|c| *c != ' ').collect();
        if !is_ai || value.is_empty() {
            return None;
        }
        elements.push(format!("{ai}{value}"));
    }
    Some(elements.join(&gs1::GS.to_string()))
}

/// The element string of a GS1 key, and the key as it must come out of it.
fn elements_of_key(text: &str) -> Option<(String, String)> {
    let (kind, value) = text.split_once(':')?;
    let two = |first: &str, second: &str| {
        let (one, other) = value.split_once(':')?;
        Some(format!("{first}{one}{}{second}{other}", gs1::GS))
    };
    let elements = match kind {
        "sscc" => format!("00{value}"),
        "gtin" => match value.split_once(":lot:") {
            Some((gtin, lot)) => format!("01{gtin}{}10{lot}", gs1::GS),
            None => format!("01{value}"),
        },
        "sgtin" => two("01", "21")?,
        "content" => two("02", "37")?,
        "grai" => format!("8003{value}"),
        "giai" => format!("8004{value}"),
        "gsin" => format!("402{value}"),
        "ginc" => format!("401{value}"),
        "gln" => two("414", "254").unwrap_or_else(|| format!("414{value}")),
        _ => return None,
    };
    Some((elements, text.to_owned()))
}

/// The GS1 key of the bare digits that stand under a bar code, when their check digit holds.
fn key_of_digits(digits: &str) -> Option<String> {
    if !check::mod10_holds(digits.as_bytes()) {
        return None;
    }
    match digits.len() {
        18 => Some(format!("sscc:{digits}")),
        8 | 12 | 13 | 14 => Some(format!("gtin:{digits:0>14}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        typed(text).unwrap_or_else(|loss| panic!("{text}: {loss:?}")).keys
    }

    #[test]
    fn a_label_is_known_however_a_person_writes_it() {
        for text in [
            "(00)376104250021234569",
            "(00) 3 7610425 002123456 9",
            "00376104250021234569",
            "00 3761 0425 0021 2345 69",
            "]C100376104250021234569",
            "sscc:376104250021234569",
            "https://id.gs1.org/00/376104250021234569",
        ] {
            assert_eq!(keys(text), ["sscc:376104250021234569"], "{text}");
        }
        for text in ["376104250021234569", " 3 7610425 002123456 9 "] {
            assert_eq!(keys(text), ["sscc:376104250021234569", "raw:376104250021234569"], "{text}");
        }
        for text in ["CSQU3054383", "csqu 305438 3", "CSQU 305438-3", "iso6346:CSQU3054383"] {
            assert_eq!(keys(text), ["iso6346:CSQU3054383"], "{text}");
        }
        for text in [
            "3074257BF7194E4000001A85",
            "urn:epc:id:sgtin:0614141.812345.6789",
            "epc:urn:epc:id:sgtin:0614141.812345.6789",
            "(01)80614141123458(21)6789",
        ] {
            assert_eq!(keys(text), ["sgtin:80614141123458:6789"], "{text}");
        }
        assert_eq!(keys("9521234567899"), ["gtin:09521234567899", "raw:9521234567899"]);
        assert_eq!(keys("gtin:09521234567899:lot:A"), ["gtin:09521234567899:lot:A"]);
        assert_eq!(keys("TRL-7"), ["raw:TRL-7"]);
        assert_eq!(keys("raw:CSQU3054384"), ["raw:CSQU3054384"]);
        assert_eq!(keys("Lane 12-34"), ["raw:Lane 12-34"]);
        assert_eq!(keys("12-34"), ["raw:12-34"]);
    }

    #[test]
    fn every_key_that_a_scanner_makes_is_read_as_itself() {
        for frame in [
            "]C100376104250021234569",
            "]d2010952123456789910A",
            "]d2010952123456789921S-1",
            "]C1800300614141000012R7",
            "]C180040614141TRL7",
            "]C14140614141000012\u{1d}25432a",
            "]C102106141410004153748",
            "]C140261414112345678902",
            "]C1401614141ABC",
            "CSQU3054383",
            "1M8GDM9AXKP042788",
            "TRL-7",
        ] {
            let Scan { key, .. } = classify(frame.as_bytes(), &ScanProfile::default()).unwrap();
            assert_eq!(keys(&key), std::slice::from_ref(&key), "{frame}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_noticed() {
        for (text, reason, ai) in [
            ("(00)376104250021234560", Reason::BadCheck, Some("00")),
            ("sscc:376104250021234560", Reason::BadCheck, Some("00")),
            ("sscc:37610425", Reason::TruncatedAi, Some("00")),
            ("iso6346:CSQU3054384", Reason::BadCheck, None),
            ("a\tb", Reason::BadCharset, None),
            ("  ", Reason::ControlOnly, None),
        ] {
            let loss = typed(text).unwrap_err();
            assert_eq!((loss.reason, loss.ai.as_deref()), (reason, ai), "{text:?}");
        }
        assert_eq!(slip(&typed("CSQU3054384").unwrap().scan), Some(Warn::Iso6346BadCheck));
        assert_eq!(slip(&typed("00376104250021234560").unwrap().scan), Some(Warn::SsccBadCheck));
        assert_eq!(slip(&typed("CSQU3054383").unwrap().scan), None);
    }
}
