//! The test sheet: codes that say nothing of the yard, each of which shows how a scanner is set. A read of one is told by its
//! whole text, however the scanner spoiled it, and is never taken for anything else.

mod keyboard;
mod verdict;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::gs1::GS;
use super::{Charset, CodeId, ScanProfile, aim};

pub use verdict::{Finding, Grade, SheetVerdict, Told, What};

/// The sheet as it is printed: an A4 page as SVG.
pub const PAGE: &str = include_str!("../../../../hardware/sheet.svg");

/// How a code of the sheet is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// Code 128.
    Code128,
    /// Code 128 that begins with FNC1 and holds another as its separator.
    Gs1Code128,
    /// GS1 DataMatrix.
    Gs1DataMatrix,
    /// EAN-13.
    Ean13,
    /// UPC-A.
    UpcA,
    /// ITF-14.
    Itf14,
    /// Code 39.
    Code39,
}

/// One code of the test sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SheetCode {
    /// Its number on the sheet, from 1.
    pub number: u8,
    /// How it is drawn.
    pub drawn: Drawn,
    /// What people call such a code.
    pub name: &'static str,
    /// What it holds; separators of GS1 as GS.
    pub text: &'static str,
    /// What stands below it for people.
    pub shown: &'static str,
    /// What it tests.
    pub tests: &'static str,
}

const fn code(
    number: u8,
    drawn: Drawn,
    name: &'static str,
    text: &'static str,
    shown: &'static str,
    tests: &'static str,
) -> SheetCode {
    SheetCode { number, drawn, name, text, shown, tests }
}

/// The sheet. Numbers of trade and of shipping units begin with 952, GS1's prefix for examples, or with the 614141 of GS1's own
/// documents (a UPC-A cannot begin with 952): no thing in a yard has them.
pub const SHEET: [SheetCode; 8] = [
    code(
        1,
        Drawn::Code128,
        "Code 128",
        "WAYPOST-TEST-1",
        "WAYPOST-TEST-1",
        "Begins a new test: does a code arrive, and does it end?",
    ),
    code(
        2,
        Drawn::Code128,
        "Code 128",
        "WAYPOST-TEST-2 aZyY-_/@#$\\][0123456789",
        "WAYPOST-TEST-2 aZyY-_/@#$\\][0123456789",
        "Upper and lower case, and the keyboard's country.",
    ),
    code(
        3,
        Drawn::Gs1Code128,
        "GS1-128",
        "0009521234999999901810A7\u{1d}91WAYPOST-TEST-3",
        "(00)095212349999999018(10)A7(91)WAYPOST-TEST-3",
        "AIM id, and the separator (GS) between the fields.",
    ),
    code(
        4,
        Drawn::Gs1DataMatrix,
        "GS1 DataMatrix",
        "010952123499990421A7\u{1d}91WAYPOST-TEST-4",
        "(01)09521234999904(21)A7(91)WAYPOST-TEST-4",
        "The same from a square code; a laser cannot read it.",
    ),
    code(5, Drawn::Ean13, "EAN-13", "9521234999911", "9521234999911", "The check digit must be sent."),
    code(6, Drawn::UpcA, "UPC-A", "614141999996", "614141999996", "Check digit and first digit must be sent."),
    code(7, Drawn::Itf14, "ITF-14", "19521234999925", "19521234999925", "Interleaved 2 of 5 of 14 digits is on."),
    code(
        8,
        Drawn::Code39,
        "Code 39",
        "WAYPOST-TEST-8",
        "WAYPOST-TEST-8",
        "Without the stars that begin and end such a code.",
    ),
];

impl SheetCode {
    /// The code of a number on the sheet.
    #[must_use]
    pub fn of(number: u8) -> Option<&'static Self> {
        SHEET.iter().find(|code| code.number == number)
    }

    /// The AIM ids that such a code has, by how they begin.
    const fn aim(&self) -> &'static str {
        match self.drawn {
            Drawn::Code128 => "]C0",
            Drawn::Gs1Code128 => "]C1",
            Drawn::Gs1DataMatrix => "]d2",
            Drawn::Ean13 | Drawn::UpcA => "]E",
            Drawn::Itf14 => "]I",
            Drawn::Code39 => "]A",
        }
    }

    /// Its Symbol code id.
    const fn symbol_id(&self) -> &'static str {
        match self.drawn {
            Drawn::Code128 => "D",
            Drawn::Gs1Code128 => "K",
            Drawn::Gs1DataMatrix => "P0G",
            Drawn::Ean13 | Drawn::UpcA => "A",
            Drawn::Itf14 => "F",
            Drawn::Code39 => "B",
        }
    }

    const fn is_number(&self) -> bool {
        matches!(self.drawn, Drawn::Ean13 | Drawn::UpcA | Drawn::Itf14)
    }

    /// Its parts between separators.
    fn parts(&self) -> impl Iterator<Item = &'static str> {
        self.text.split(GS)
    }
}

/// What ended a stretch of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A terminator of the profile.
    Terminator,
    /// Silence, or the end of the connection.
    Silence,
    /// It does not stand between the start and the terminator of the profile.
    Outside,
}

/// A read of the test sheet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SheetRead {
    /// The code that was read.
    pub code: &'static SheetCode,
    /// What was not as it should be; empty: nothing.
    pub findings: Vec<Finding>,
}

/// What may stand before a code and behind it. Unit: bytes. More is no setting of a scanner.
const WRAP_MAX: usize = 16;
/// What may stand in the place of a separator. Unit: bytes.
const GAP_MAX: usize = 8;
/// What begins every code that holds letters, without the digit that names it.
const MARK: &str = "WAYPOST-TEST-";

/// Reads a stretch of bytes as a code of the sheet; none when it is none.
pub(super) fn read(frame: &[u8], profile: &ScanProfile, end: End) -> Option<SheetRead> {
    let text = text_of(frame, profile.charset);
    if !may_be(&text) {
        return None;
    }
    let (place, mut findings) = SHEET.iter().find_map(|code| place(code, &text)).or_else(|| foreign(&text))?;
    let (head, tail) = (&text[..place.from], &text[place.upto..]);
    wrapping(&place, head, tail, profile, end, &mut findings)?;
    if end == End::Outside {
        findings.push(Finding::of(What::Framing));
    }
    Some(SheetRead { code: place.code, findings })
}

/// Where a code stands in a text.
struct Place {
    code: &'static SheetCode,
    from: usize,
    upto: usize,
    /// Whether what was found is only its beginning, so that what follows is part of it.
    is_open: bool,
    /// Whether nothing can be said of what stands before it.
    is_torn: bool,
}

/// Whether a closer look is worth its time: nearly every read is a code of the yard. `POST` and `TEST` are where they are on
/// every keyboard.
fn may_be(text: &str) -> bool {
    find(text, "POST").is_some()
        || text.contains("95212349999")
        || text.contains("61414199999")
        || (text.len() > 11 && !text.bytes().any(|byte| byte.is_ascii_digit()))
}

/// Where `needle`, which is ASCII, stands in a text, in any case.
fn find(text: &str, needle: &str) -> Option<usize> {
    text.as_bytes().windows(needle.len()).position(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
}

/// Looks for a code that arrived with the right keyboard.
fn place(code: &'static SheetCode, text: &str) -> Option<(Place, Vec<Finding>)> {
    let mut findings = Vec::new();
    let mut parts = code.parts();
    let first = parts.next()?;
    let found = |from: usize, upto: usize| Place { code, from, upto, is_open: false, is_torn: false };
    let Some(second) = parts.next() else {
        if let Some(from) = find(text, first) {
            let upto = from + first.len();
            findings.extend(case(first, &text[from..upto]));
            return Some((found(from, upto), findings));
        }
        if code.is_number() {
            let body = &first[..first.len() - 1];
            let from = find(text, body)?;
            return Some((found(from, from + body.len()), vec![Finding::of(What::CheckDropped)]));
        }
        let marked = first.find(' ').map(|length| &first[..length])?;
        let from = find(text, marked)?;
        findings.push(layout(text, code).unwrap_or_else(|| lost(first, &text[from..])));
        return Some((Place { is_open: true, ..found(from, from + marked.len()) }, findings));
    };
    let Some(from) = find(text, first) else {
        let from = find(text, second)?;
        let place = Place { is_torn: true, ..found(from, from + second.len()) };
        return Some((place, vec![Finding::of(What::GsSplits)]));
    };
    let behind = from + first.len();
    let Some(gap) = find(&text[behind..], second) else {
        // What follows is the rest as a wrong keyboard typed it: that says more.
        if !text[behind..].trim_matches(is_margin).is_empty() {
            return None;
        }
        return Some((found(from, behind), vec![Finding::of(What::GsSplits)]));
    };
    let upto = behind + gap + second.len();
    match &text[behind..behind + gap] {
        "" => findings.push(Finding::of(What::GsLost)),
        "\u{1d}" => {}
        other if other.len() <= GAP_MAX => findings.push(Finding::with(What::GsReplaced, other)),
        _ => return None,
    }
    findings.extend(case(second, &text[upto - second.len()..upto]));
    Some((found(from, upto), findings))
}

/// What became of upper and lower case.
fn case(sent: &str, arrived: &str) -> Option<Finding> {
    let swap = |c: char| if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
    if arrived == sent {
        None
    } else if arrived == sent.to_ascii_uppercase() {
        Some(Finding::of(What::Upper))
    } else if arrived == sent.chars().map(swap).collect::<String>() && sent.bytes().any(|b| b.is_ascii_lowercase()) {
        Some(Finding::of(What::CapsLock))
    } else {
        Some(Finding::of(What::Lower))
    }
}

/// The characters that did not arrive.
fn lost(sent: &str, arrived: &str) -> Finding {
    let missing: String = sent.chars().filter(|c| *c != ' ' && !arrived.contains(*c)).collect();
    Finding::with(What::CharactersLost, if missing.is_empty() { arrived } else { &missing })
}

/// A code as it arrives through a wrong keyboard.
struct Retyped {
    code: &'static SheetCode,
    pair: (usize, usize),
    text: String,
}

/// Every code through every wrong keyboard, as far as that is certain, where it differs from the code.
fn retyped() -> &'static [Retyped] {
    static ALL: OnceLock<Vec<Retyped>> = OnceLock::new();
    ALL.get_or_init(|| {
        let of = |code: &'static SheetCode| {
            // Of a code in parts its last one, which holds the mark.
            let sent = code.parts().last().unwrap_or_default();
            // What names the code is enough; the rest of code 2 tells more keyboards apart.
            let certain = sent.find(' ').unwrap_or(sent.len());
            let texts = [Some(sent), sent.get(..certain).filter(|mark| *mark != sent)].into_iter().flatten();
            texts.flat_map(move |sent| {
                keyboard::pairs().filter_map(move |pair| {
                    let text = keyboard::retyped(sent, pair);
                    let is_certain = text.chars().count() >= certain && !sent.starts_with(&text);
                    is_certain.then_some(Retyped { code, pair, text })
                })
            })
        };
        SHEET.iter().flat_map(of).collect()
    })
}

/// Looks for a code that arrived with a wrong keyboard.
fn foreign(text: &str) -> Option<(Place, Vec<Finding>)> {
    let one = best(text, |_| true)?;
    let from = text.find(&one.text)?;
    // What stands around it was typed for the other keyboard too, and the parts before it are not looked for.
    let place = Place { code: one.code, from, upto: text.len(), is_open: true, is_torn: true };
    Some((place, vec![layout(&text[from..], one.code)?]))
}

fn best(text: &str, is_meant: impl Fn(&SheetCode) -> bool) -> Option<&'static Retyped> {
    let there = retyped().iter().filter(|one| is_meant(one.code) && text.contains(&one.text));
    there.max_by_key(|one| one.text.len())
}

/// The keyboards that explain what arrived: of all that fit, those that explain most of it.
fn layout(text: &str, code: &SheetCode) -> Option<Finding> {
    let best = best(text, |one| one == code)?;
    let as_good = |one: &&Retyped| one.code == code && one.text == best.text;
    let mut read_as: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for one in retyped().iter().filter(as_good) {
        read_as.entry(one.pair.0).or_default().push(keyboard::name(one.pair.1));
    }
    let mut typed: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for (keyboard, read) in read_as {
        match typed.iter_mut().find(|(_, other)| *other == read) {
            Some((names, _)) => names.push(keyboard::name(keyboard)),
            None => typed.push((vec![keyboard::name(keyboard)], read)),
        }
    }
    let told = typed.iter().map(|(typed, read)| format!("{}, read as {}", typed.join(" or "), read.join(" or ")));
    Some(Finding::with(What::Layout, &told.collect::<Vec<_>>().join("; or ")))
}

/// Judges what stands before a code and behind it; none when that shows that it is another code.
fn wrapping(
    place: &Place,
    head: &str,
    tail: &str,
    profile: &ScanProfile,
    end: End,
    findings: &mut Vec<Finding>,
) -> Option<()> {
    let code = place.code;
    if place.is_torn {
        return ended(place, tail, end, findings);
    }
    let (prefix, suffix) = (text_of(&profile.prefix, profile.charset), text_of(&profile.suffix, profile.charset));
    let (head, tail) = match (head.trim_start_matches(is_margin).strip_prefix(&*prefix), tail.strip_suffix(&*suffix)) {
        (Some(head), Some(tail)) => (head, tail),
        // Of one without terminator nobody can say whether the suffix would have come.
        (Some(head), None) if end == End::Silence || place.is_open => (head, tail),
        _ => {
            findings.push(Finding::of(What::Framing));
            (head, tail)
        }
    };
    let mut left = id(code, head, profile, findings);
    let mut tail = tail.to_owned();
    if code.drawn == Drawn::Code39 && left.ends_with('*') && tail.starts_with('*') {
        findings.push(Finding::of(What::StartStop));
        left.pop();
        tail.remove(0);
    }
    if code.drawn == Drawn::UpcA && !left.ends_with('0') {
        findings.push(Finding::of(What::ZeroDropped));
    } else if code.is_number() && left.ends_with('0') {
        left.pop();
    }
    let is_longer = code.is_number() && (ends_in_digit(&left) || (tail.starts_with(is_digit) && !is_of_sheet(&tail)));
    let left = left.trim_matches(is_margin);
    if is_longer || left.len() > WRAP_MAX {
        return None;
    }
    if !left.is_empty() {
        findings.push(Finding::with(What::Prefix, left));
    }
    ended(place, &tail, end, findings)
}

/// Judges how a read ended.
fn ended(place: &Place, tail: &str, end: End, findings: &mut Vec<Finding>) -> Option<()> {
    if is_of_sheet(tail) {
        findings.push(Finding::of(What::Glued));
        return Some(());
    }
    if end == End::Silence {
        findings.push(Finding::with(What::Unterminated, if place.is_open { "" } else { tail }));
    } else if !place.is_open && !tail.trim_matches(is_margin).is_empty() {
        findings.push(Finding::with(What::Suffix, tail));
    }
    (place.is_open || tail.len() <= WRAP_MAX).then_some(())
}

/// Takes the id off what stands before a code and judges it; answers the rest.
fn id(code: &SheetCode, head: &str, profile: &ScanProfile, findings: &mut Vec<Finding>) -> String {
    let head = head.trim_matches(is_margin);
    let aim = head.char_indices().find_map(|(at, _)| match aim::take_aim(&head[at..]) {
        (Some(symbology), rest) => Some((symbology.id, format!("{}{rest}", &head[..at]))),
        _ => None,
    });
    if let Some((id, rest)) = aim {
        if find(&id, code.aim()) != Some(0) {
            findings.push(Finding::with(What::WrongId, &id));
        }
        return rest;
    }
    for zero in ["", "0"] {
        if let Some(spoiled) = head.strip_suffix(zero).filter(|head| is_spoiled_id(code, head)) {
            findings.push(Finding::with(What::SpoiledId, spoiled));
            return zero.to_owned();
        }
    }
    let symbol = head.strip_prefix(code.symbol_id());
    match (profile.code_id, symbol) {
        (CodeId::Symbol, Some(rest)) => return rest.to_owned(),
        (CodeId::None, Some(rest)) if rest.len() <= usize::from(code.drawn == Drawn::UpcA) => {
            findings.push(Finding::with(What::SymbolId, code.symbol_id()));
            return rest.to_owned();
        }
        (CodeId::Symbol, None) => findings.push(Finding::of(What::NoSymbolId)),
        (CodeId::None, _) => {
            let needed = !matches!(code.drawn, Drawn::Code128 | Drawn::Code39);
            findings.push(Finding::of(if needed { What::NoId } else { What::NoIdHere }));
        }
    }
    head.to_owned()
}

/// Whether this is the AIM id of a code whose `]` another keyboard typed: something else in its place, or an accent that
/// went onto the letter.
fn is_spoiled_id(code: &SheetCode, head: &str) -> bool {
    let letter = char::from(code.aim().as_bytes()[1]);
    match *head.chars().collect::<Vec<_>>() {
        [first, second, last] => {
            !first.is_alphanumeric() && second.eq_ignore_ascii_case(&letter) && last.is_ascii_digit()
        }
        [first, last] => !first.is_ascii() && first.is_alphabetic() && last.is_ascii_digit(),
        _ => false,
    }
}

/// Whether another code of the sheet stands in a text.
fn is_of_sheet(text: &str) -> bool {
    SHEET.iter().any(|code| code.parts().next().is_some_and(|part| find(text, part).is_some()))
        || find(text, MARK).is_some()
}

fn text_of(bytes: &[u8], charset: Charset) -> Cow<'_, str> {
    match charset {
        Charset::Utf8 => String::from_utf8_lossy(bytes),
        Charset::Latin1 => bytes.iter().copied().map(char::from).collect::<String>().into(),
    }
}

fn ends_in_digit(text: &str) -> bool {
    text.ends_with(is_digit)
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// What means nothing around a code: line ends of the read before, the separator that stands for a leading FNC1.
fn is_margin(c: char) -> bool {
    matches!(c, '\r' | '\n' | ' ' | GS)
}
