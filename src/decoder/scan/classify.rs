//! One delimited frame: what it says without its wrapping, and what it names.

use std::borrow::Cow;

use crate::domain::{Loss, Reason, Scan, ScanKind, Warn};

use super::aim::{self, Family, Symbology};
use super::check;
use super::epc;
use super::forms::{self, Form};
use super::gs1::{self, Fault};
use super::licence;
use super::{Charset, CodeId, EVIDENCE_MAX, FRAME_MAX, ScanProfile};

/// Reads one frame, the bytes between two delimiters.
///
/// # Errors
/// The [`Loss`] with the frame as its evidence, so that it can be read again after a setting was mended; a licence has none.
pub fn classify(frame: &[u8], profile: &ScanProfile) -> Result<Scan, Loss> {
    read(frame, profile).map_err(|fault| {
        let mut loss = loss(fault.reason, frame, frame.len());
        loss.ai = fault.ai;
        loss
    })
}

/// A loss of `length` bytes of which `bytes` are at hand; what could be a licence is never evidence.
pub fn loss(reason: Reason, bytes: &[u8], length: usize) -> Loss {
    let reason = if licence::has_head(bytes) { Reason::Pii } else { reason };
    let evidence = if reason == Reason::Pii { &[] } else { bytes };
    Loss { length, ..Loss::decoder(reason, evidence, EVIDENCE_MAX) }
}

/// Why a stretch was not ended by a terminator: the bytes may tell more than that.
pub fn cause_of_silence(bytes: &[u8], charset: Charset) -> Reason {
    match decode(bytes, charset) {
        Ok(text) if text.chars().all(char::is_control) => Reason::ControlOnly,
        // A character that the end cut in two says nothing of the charset.
        Err(error) if error.is_some_and(|error| error.error_len().is_some()) => Reason::NonAscii,
        _ => Reason::Unterminated,
    }
}

/// The text of a frame without prefix, suffix, id, control characters and outer spaces; none when it cannot be unwrapped.
pub fn code_of(frame: &[u8], profile: &ScanProfile) -> Option<String> {
    unwrap(frame, profile).ok().map(|unwrapped| unwrapped.code)
}

/// A frame without its wrapping.
struct Unwrapped {
    symbology: Option<Symbology>,
    code: String,
    warn: Vec<Warn>,
}

fn read(frame: &[u8], profile: &ScanProfile) -> Result<Scan, Fault> {
    if licence::has_head(frame) {
        return Err(fault(Reason::Pii));
    }
    if frame.len() > FRAME_MAX {
        return Err(fault(Reason::Overlong));
    }
    let Unwrapped { symbology, code, warn } = unwrap(frame, profile)?;
    if is_concatenated(symbology.as_ref(), &code, profile) {
        return Err(fault(Reason::Concatenated));
    }
    let named = name(symbology.as_ref(), &code)?;
    let mut scan = Scan {
        kind: named.kind,
        key: named.key.unwrap_or_else(|| format!("raw:{code}")),
        code,
        aim: symbology.map(|symbology| symbology.id),
        gs1: named.gs1,
        warn,
        same_as: named.same_as,
        frame: frame.to_vec(),
    };
    scan.warn.extend(named.warn);
    Ok(scan)
}

fn fault(reason: Reason) -> Fault {
    Fault { reason, ai: None }
}

fn decode(bytes: &[u8], charset: Charset) -> Result<Cow<'_, str>, Option<std::str::Utf8Error>> {
    match charset {
        Charset::Utf8 => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(Some),
        Charset::Latin1 => Ok(bytes.iter().copied().map(char::from).collect::<String>().into()),
    }
}

fn unwrap(frame: &[u8], profile: &ScanProfile) -> Result<Unwrapped, Fault> {
    let text = decode(frame, profile.charset).map_err(|_| fault(Reason::NonAscii))?;
    let is_noread = |text: &str| !profile.noread.is_empty() && text.trim_matches(is_margin) == profile.noread;
    if is_noread(&text) {
        return Err(fault(Reason::Noread));
    }
    if text.chars().all(is_margin) {
        return Err(fault(Reason::ControlOnly));
    }
    // Prefix and suffix are bytes of the profile, so they are cut off as bytes; what is left must still be text.
    let inner = frame
        .strip_prefix(profile.prefix.as_slice())
        .and_then(|rest| rest.strip_suffix(profile.suffix.as_slice()))
        .ok_or_else(|| fault(Reason::Framing))?;
    let whole = decode(inner, profile.charset).map_err(|_| fault(Reason::Framing))?;
    if is_noread(&whole) {
        return Err(fault(Reason::Noread));
    }
    // A stray control character before the id must not hide it.
    let text = whole.trim_start_matches(|c: char| c.is_control() && c != gs1::GS);
    let (symbology, data) = match (aim::take_aim(text), profile.code_id) {
        ((None, text), CodeId::Symbol) => {
            let (symbology, data) = aim::take_symbol(text).ok_or_else(|| fault(Reason::Framing))?;
            (Some(symbology), data)
        }
        (taken, _) => taken,
    };
    let (cleaned, is_stripped) = strip_controls(symbology.as_ref(), data);
    let code = cleaned.trim_matches(' ');
    if code.chars().all(is_margin) {
        return Err(fault(Reason::ControlOnly));
    }
    let mut warn = Vec::new();
    if is_stripped || text.len() < whole.len() {
        warn.push(Warn::ControlStripped);
    }
    if code.len() < cleaned.len() {
        warn.push(Warn::Trimmed);
    }
    Ok(Unwrapped { symbology, code: code.to_owned(), warn })
}

/// Takes out what is no part of a code, and says whether there was any. The separator is part of an element string and of no other code.
fn strip_controls(symbology: Option<&Symbology>, data: &str) -> (String, bool) {
    let but_separators: String = data.chars().filter(|c| !c.is_control() || *c == gs1::GS).collect();
    let is_element_string = match symbology {
        Some(symbology) => symbology.family == Family::Gs1,
        None => elements_without_id(but_separators.trim_matches(' ')).is_some(),
    };
    let cleaned = if is_element_string { but_separators } else { but_separators.replace(gs1::GS, "") };
    let is_stripped = cleaned.len() < data.len();
    (cleaned, is_stripped)
}

fn is_margin(c: char) -> bool {
    c == ' ' || c.is_control()
}

fn is_concatenated(symbology: Option<&Symbology>, code: &str, profile: &ScanProfile) -> bool {
    let seam = [profile.suffix.as_slice(), profile.prefix.as_slice()].concat();
    // A seam of one or two characters may be in a code by chance.
    let has_seam = seam.len() > 2 && code.as_bytes().windows(seam.len()).any(|window| window == seam);
    has_seam
        || aim::is_concatenated(symbology, code)
        || (symbology.is_none()
            && code.len() == 40
            && code.split_at_checked(20).is_some_and(|(one, two)| is_sscc_string(one) && is_sscc_string(two)))
}

/// Whether the text is the element string of an SSCC and nothing else.
fn is_sscc_string(text: &str) -> bool {
    text.strip_prefix("00").is_some_and(is_sscc)
}

fn is_sscc(text: &str) -> bool {
    text.len() == 18 && check::mod10_holds(text.as_bytes())
}

/// What a code names.
struct Named {
    kind: ScanKind,
    /// None: the code itself.
    key: Option<String>,
    gs1: gs1::Elements,
    warn: Option<Warn>,
    same_as: Option<String>,
}

impl Named {
    fn plain(warn: Option<Warn>) -> Self {
        Self { kind: ScanKind::Plain, key: None, gs1: gs1::Elements::new(), warn, same_as: None }
    }

    fn new(kind: ScanKind, key: String, warn: Option<Warn>) -> Self {
        Self { kind, key: Some(key), ..Self::plain(warn) }
    }

    fn elements(elements: gs1::Elements, warn: Option<Warn>) -> Self {
        let named = match gs1::name(&elements) {
            Some((kind, key)) => Self::new(kind, key, warn),
            None => Self::plain(warn),
        };
        Self { gs1: elements, ..named }
    }
}

fn name(symbology: Option<&Symbology>, code: &str) -> Result<Named, Fault> {
    if is_bracketed(code) {
        return Ok(Named::plain(Some(Warn::BracketedAi)));
    }
    match symbology.map(|symbology| symbology.family) {
        Some(Family::Gs1) => Ok(Named::elements(gs1::read_elements(code)?, None)),
        Some(Family::Ean) => name_ean(symbology.map_or("", |symbology| symbology.id.as_str()), code),
        Some(Family::Itf) => Ok(name_itf(code).unwrap_or_else(|| name_by_form(true, code))),
        Some(Family::Other) => Ok(match gs1::read_link(code)? {
            Some(elements) => Named::elements(elements, None),
            None => name_by_form(true, code),
        }),
        None => Ok(match gs1::read_link(code)? {
            Some(elements) => Named::elements(elements, None),
            None => name_without_id(code),
        }),
    }
}

/// Whether the text begins as the human readable line does: an identifier in brackets.
fn is_bracketed(code: &str) -> bool {
    code.strip_prefix('(').and_then(|rest| rest.split_once(')')).is_some_and(|(ai, _)| gs1::is_known(ai))
}

/// EAN-13, UPC-A, EAN-8 or UPC-E: a trade item, or a broken read of one.
fn name_ean(id: &str, code: &str) -> Result<Named, Fault> {
    if !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault(Reason::BadCharset));
    }
    // ]E3 carries an add-on of two or five digits behind the number.
    let number = match (id, code.len()) {
        ("]E3", 15 | 18) => &code[..13],
        _ => code,
    };
    let gtin = |digits: &str, warn| {
        if check::mod10_holds(digits.as_bytes()) {
            Ok(Named::new(ScanKind::Gtin, format!("gtin:{digits:0>14}"), warn))
        } else {
            Err(fault(Reason::BadCheck))
        }
    };
    match (id, number.len()) {
        ("]E4", 8) => gtin(number, None),
        ("]E0", 8) => expand_upc_e(number).map_or_else(|| gtin(number, None), |full| gtin(&full, None)),
        ("]E0" | "]E3", 12) => gtin(number, Some(Warn::UpcA12)),
        ("]E0" | "]E3", 13) => gtin(number, None),
        _ => Err(fault(Reason::BadLength)),
    }
}

/// The 12 digits that the 8 of a UPC-E stand for; none when they are not one with a good check digit.
///
/// Source: GS1 General Specifications 5.2.2.4.2.
fn expand_upc_e(digits: &str) -> Option<String> {
    let (system, rest) = digits.split_at_checked(1).filter(|(system, _)| matches!(*system, "0" | "1"))?;
    let (body, check_digit) = rest.split_at_checked(6)?;
    let full = match body.as_bytes()[5] {
        last @ b'0'..=b'2' => format!("{system}{}{}0000{}{check_digit}", &body[..2], char::from(last), &body[2..5]),
        b'3' => format!("{system}{}00000{}{check_digit}", &body[..3], &body[3..5]),
        b'4' => format!("{system}{}00000{}{check_digit}", &body[..4], &body[4..5]),
        last => format!("{system}{}0000{}{check_digit}", &body[..5], char::from(last)),
    };
    check::mod10_holds(full.as_bytes()).then_some(full)
}

/// Fourteen digits with their check digit: the number of a box.
fn name_itf(code: &str) -> Option<Named> {
    (code.len() == 14 && check::mod10_holds(code.as_bytes()))
        .then(|| Named::new(ScanKind::Gtin, format!("gtin:{code}"), None))
}

/// The elements of a code from a scanner whose ids are off: only when it is a string of them as a whole and a check digit opens it.
fn elements_without_id(code: &str) -> Option<gs1::Elements> {
    let text = code.strip_prefix(gs1::GS).unwrap_or(code);
    let has_proof = is_sscc_string(text.get(..20).unwrap_or_default())
        || (matches!(text.get(..2), Some("01" | "02"))
            && text.get(2..16).is_some_and(|gtin| check::mod10_holds(gtin.as_bytes())));
    has_proof.then(|| gs1::read_elements(text).ok()).flatten()
}

fn name_without_id(code: &str) -> Named {
    if let Some(elements) = elements_without_id(code) {
        return Named::elements(elements, Some(Warn::NoSymbologyId));
    }
    let is_near_sscc = code.len() == 20 && code.starts_with("00") && code.bytes().all(|byte| byte.is_ascii_digit());
    if is_near_sscc { Named::plain(Some(Warn::SsccBadCheck)) } else { name_by_form(false, code) }
}

/// A code that no id speaks for: tag, container, vehicle, or only itself.
fn name_by_form(has_symbology: bool, code: &str) -> Named {
    match epc::read(code, has_symbology) {
        Some(epc::Reading::Code(epc)) => {
            return Named { same_as: epc.same_as, ..Named::new(ScanKind::Epc, format!("epc:{}", epc.urn), None) };
        }
        Some(epc::Reading::WrongLength) => return Named::plain(Some(Warn::EpcBadLength)),
        None => {}
    }
    let normalised = |canonical: &str| (canonical != code).then_some(Warn::Normalised);
    match forms::form(code) {
        Some(Form::Container(number)) => {
            Named::new(ScanKind::Container, format!("iso6346:{number}"), normalised(&number))
        }
        Some(Form::NearContainer) => Named::plain(Some(Warn::Iso6346BadCheck)),
        Some(Form::Vin(number, true)) => Named::new(ScanKind::Vin, format!("vin:{number}"), Some(Warn::VinPrefix)),
        Some(Form::Vin(number, false)) => Named::new(ScanKind::Vin, format!("vin:{number}"), normalised(&number)),
        None => Named::plain((is_sscc(code) || is_sscc_string(code)).then_some(Warn::LooksLikeSscc)),
    }
}
