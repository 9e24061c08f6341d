//! A list of assets as people write it, CSV or JSON, to what goes into the register; every mistake with its place.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::decoder::scan::{slip, typed};
use crate::domain::{ListForm, Refused, Thing, Warn, Why};
use crate::store::REGISTER_MAX;

use super::csv;

/// The text of a list, at most. Bytes. (contract section 4)
pub(super) const LIST_MAX: usize = 2 << 20;
/// Codes of one asset.
const CODES_MAX: usize = 16;
/// Mistakes that are told at once.
const FINDINGS_MAX: usize = 100;
/// Characters of an id or a name; of a kind half of that.
const TEXT_MAX: usize = 64;

/// A code, and every key under which a scanner may know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) text: String,
    pub(super) keys: Vec<String>,
}

/// One asset of a list. A field that the list does not have stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Where it stands: `line 3`, `item 2`.
    pub(super) at: String,
    pub(super) asset: String,
    pub(super) name: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) codes: Option<Vec<Code>>,
}

/// One asset before it was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) at: String,
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) codes: Option<Vec<String>>,
}

/// What is wrong with a list; the first [`FINDINGS_MAX`] are told, all are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    told: Vec<String>,
    n: usize,
}

impl Findings {
    /// Notes a mistake: where, which value, what, and what to do.
    pub(super) fn add(&mut self, at: &str, field: &str, what: &str, remedy: &str) {
        self.n += 1;
        if self.told.len() < FINDINGS_MAX {
            let place = [at, field].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
            let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
            self.told.push(format!("{place}{what}; {remedy}"));
        }
    }

    /// The refusal of the whole list, when there is anything.
    pub(super) fn refuse(self, why: Why) -> Result<(), Refused> {
        if self.n == 0 {
            return Ok(());
        }
        let shown =
            if self.n > self.told.len() { format!(", the first {} are told", self.told.len()) } else { String::new() };
        let n = if self.n == 1 { "1 mistake".to_owned() } else { format!("{} mistakes", self.n) };
        let message = format!("nothing was taken into the register: {n}{shown}");
        Err(Refused { findings: self.told, ..Refused::new(why, message, "Mend them and send it again.") })
    }
}

/// A value of a stranger, cut, as it can be shown.
pub(super) fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(TEXT_MAX).collect::<String>())
}

/// Reads a list.
pub(super) fn read(bytes: &[u8], form: ListForm) -> Result<Vec<Row>, Refused> {
    let mut findings = Findings::default();
    if bytes.len() > LIST_MAX {
        let message = format!("the list has {} bytes", bytes.len());
        return Err(Refused::new(Why::Invalid, message, format!("Send at most {LIST_MAX} bytes at once, in parts.")));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let raws = match std::str::from_utf8(bytes) {
        Ok(text) => match form {
            ListForm::Csv => csv::read(text, &mut findings),
            ListForm::Json => json(text, &mut findings),
        },
        Err(error) => {
            let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            findings.add(
                &format!("line {line}"),
                "",
                "this is not UTF-8",
                "save it as UTF-8 (in a spreadsheet: CSV UTF-8)",
            );
            Vec::new()
        }
    };
    if raws.len() > REGISTER_MAX {
        findings.add(
            "",
            "",
            &format!("the list has {} assets", raws.len()),
            &format!("the register holds {REGISTER_MAX}"),
        );
    }
    let rows = raws.into_iter().take(REGISTER_MAX).filter_map(|raw| check(raw, &mut findings)).collect::<Vec<_>>();
    twice(&rows, &mut findings);
    findings.refuse(Why::Invalid)?;
    Ok(rows)
}

/// Checks one asset that is not part of a list.
pub(super) fn read_one(thing: Thing) -> Result<Row, Refused> {
    let mut findings = Findings::default();
    let Thing { asset, name, kind, codes } = thing;
    let raw = Raw { at: String::new(), id: asset, name: Some(name), kind: Some(kind), codes: Some(codes) };
    let row = check(raw, &mut findings);
    twice(row.as_slice(), &mut findings);
    findings.refuse(Why::Invalid)?;
    row.ok_or_else(|| Refused::new(Why::Invalid, "there is no asset", "Name one."))
}

/// What stands twice within a list: an id, or a key of two assets.
fn twice(rows: &[Row], findings: &mut Findings) {
    let (mut ids, mut keys) = (BTreeMap::new(), BTreeMap::new());
    for row in rows {
        if let Some(first) = ids.insert(&row.asset, &row.at) {
            let what = format!("{} stands at {first} already", shown(&row.asset));
            findings.add(&row.at, "id", &what, "write each asset once, with all its codes");
        }
        for code in row.codes.iter().flatten() {
            for key in &code.keys {
                match keys.insert(key, row) {
                    Some(other) if other.asset != row.asset => {
                        let what =
                            format!("{} is a code of {} at {} too", shown(&code.text), shown(&other.asset), other.at);
                        findings.add(&row.at, "codes", &what, "a code names one asset; take it off one of them");
                        break;
                    }
                    _ => {}
                }
            }
        }
    }
}

fn check(raw: Raw, findings: &mut Findings) -> Option<Row> {
    let before = findings.n;
    let at = raw.at.as_str();
    if let Some((what, remedy)) = wrong_id(&raw.id) {
        findings.add(at, "id", &what, remedy);
    }
    for (field, text, max) in [("name", &raw.name, TEXT_MAX), ("kind", &raw.kind, TEXT_MAX / 2)] {
        let text = text.as_deref().unwrap_or_default();
        if text.chars().count() > max || text.chars().any(char::is_control) {
            findings.add(
                at,
                field,
                &format!("{} does not fit", shown(text)),
                &format!("write at most {max} printable characters"),
            );
        }
    }
    let codes = raw.codes.map(|codes| {
        if codes.len() > CODES_MAX {
            findings.add(
                at,
                "codes",
                &format!("there are {} codes", codes.len()),
                &format!("an asset has at most {CODES_MAX}"),
            );
        }
        codes.into_iter().take(CODES_MAX).filter_map(|code| check_code(at, &code, findings)).collect::<Vec<_>>()
    });
    (findings.n == before).then(|| Row {
        name: raw.name.map(|name| name.trim().to_owned()),
        kind: raw.kind.map(|kind| kind.trim().to_owned()),
        codes: codes.map(distinct),
        at: raw.at,
        asset: raw.id,
    })
}

/// Without codes that say what one before them says.
fn distinct(codes: Vec<Code>) -> Vec<Code> {
    let mut kept: Vec<Code> = Vec::with_capacity(codes.len());
    for code in codes {
        if !kept.iter().any(|known| known.keys.iter().any(|key| code.keys.contains(key))) {
            kept.push(code);
        }
    }
    kept
}

fn check_code(at: &str, text: &str, findings: &mut Findings) -> Option<Code> {
    let text = text.trim();
    let mut refuse = |what: &str, remedy: &str| findings.add(at, "codes", &format!("{}: {what}", shown(text)), remedy);
    match typed(text) {
        Err(loss) => {
            let field = loss.ai.map_or_else(String::new, |ai| format!(" (GS1 field {ai})"));
            let what = loss.reason.sentence().trim_end_matches('.');
            refuse(&format!("{what}{field}"), "compare it with the label");
            None
        }
        Ok(typed) => match slip(&typed.scan) {
            Some(warn) => {
                let what = match warn {
                    Warn::Iso6346BadCheck => "the check digit does not fit a container number",
                    Warn::SsccBadCheck => "the check digit does not fit an SSCC",
                    _ => "this is not the length of an EPC",
                };
                refuse(what, &format!("compare it with the label; if that says so too, write raw:{text}"));
                None
            }
            None => Some(Code { text: text.to_owned(), keys: typed.keys }),
        },
    }
}

/// What is wrong with an id, and what to do; none when it can be one.
pub(super) fn wrong_id(id: &str) -> Option<(String, &'static str)> {
    let rule = "write 1 to 64 printable characters, such as TRL-7";
    if id.is_empty() {
        return Some(("it is missing".into(), rule));
    }
    if id.chars().count() > TEXT_MAX || id.chars().any(char::is_control) {
        return Some((format!("{} does not fit", shown(id)), rule));
    }
    if id.trim() != id {
        return Some((format!("{} has spaces at an end", shown(id)), "leave them out"));
    }
    if id.contains(':') || id.starts_with('@') {
        return Some((
            format!("{} cannot be a name", shown(id)),
            "leave out : and a leading @; codes belong into codes",
        ));
    }
    // Addresses of calls beside those of assets.
    (id == "import" || id == "export").then(|| (format!("{} is taken by a call", shown(id)), "write it in capitals"))
}

/// What is wrong with a place; none when it can be one.
pub(super) fn wrong_place(place: &str) -> Option<String> {
    let fits = place.len() <= 64 && place.bytes().all(|b| b.is_ascii_alphanumeric() || b" ._-".contains(&b));
    let is_place = fits && !place.is_empty() && place.trim() == place;
    (!is_place).then(|| format!("{} is no place", shown(place)))
}

/// Reads an array of objects.
fn json(text: &str, findings: &mut Findings) -> Vec<Raw> {
    let items = match serde_json::from_str::<Vec<Value>>(text) {
        Ok(items) => items,
        Err(error) => {
            let what = format!("this is no JSON array: {error}");
            findings.add("", "", &what, "write [{\"id\":\"TRL-7\",\"codes\":[\"…\"]}, …]");
            return Vec::new();
        }
    };
    let mut raws = Vec::with_capacity(items.len().min(REGISTER_MAX));
    for (n, item) in items.iter().enumerate() {
        let at = format!("item {}", n + 1);
        match item.as_object() {
            Some(object) => raws.extend(object_of(object, at, findings)),
            None => findings.add(&at, "", "this is no object", "write {\"id\":\"TRL-7\",\"codes\":[\"…\"]}"),
        }
    }
    raws
}

/// The fields of one asset; none when one of them is of the wrong type.
fn object_of(object: &Map<String, Value>, at: String, findings: &mut Findings) -> Option<Raw> {
    let before = findings.n;
    let mut raw = Raw { at, ..Raw::default() };
    for (field, value) in object {
        let text = value.as_str().map(str::to_owned);
        match (field.as_str(), text) {
            ("id", Some(id)) => raw.id = id,
            ("name", Some(name)) => raw.name = Some(name),
            ("kind", Some(kind)) => raw.kind = Some(kind),
            ("codes", _) => {
                let texts = value.as_array().map(|codes| codes.iter().map(|code| code.as_str().map(str::to_owned)));
                raw.codes = texts.and_then(Iterator::collect);
                if raw.codes.is_none() {
                    findings.add(&raw.at, "codes", "this is no list of texts", "write [\"…\", \"…\"]");
                }
            }
            ("id" | "name" | "kind", None) => findings.add(&raw.at, field, "this is no text", "put it in quotes"),
            _ => findings.add(&raw.at, &shown(field), "there is no such field", "fields: id, name, kind, codes"),
        }
    }
    (findings.n == before).then_some(raw)
}
