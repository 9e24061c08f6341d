//! The judge of the test sheet: what was found in each code, in words, with the setting to change.

use serde::{Deserialize, Serialize};

use crate::domain::UnixMs;

use super::{SHEET, SheetCode, SheetRead};

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// Not scanned, or not heard of.
    Unseen,
    /// Worth knowing; nothing goes wrong.
    Note,
    /// A setting to change.
    Bad,
}

macro_rules! findings {
    ($($variant:ident, $code:literal, $grade:ident, $text:literal, $advice:literal;)*) => {
        /// What can be wrong with how a code arrived: one closed list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum What { $(#[doc = $text] $variant,)* }

        impl What {
            /// Every finding.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// How bad it is.
            #[must_use]
            pub const fn grade(self) -> Grade {
                match self { $(Self::$variant => Grade::$grade,)* }
            }

            /// What happened, one sentence; `{}` stands for the value.
            const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The setting to change, one sentence.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }
        }
    };
}

findings! {
    Unterminated, "unterminated", Bad, "Nothing that ends a code came, only \"{}\" and then silence.", "Set the scanner's suffix to carriage return (CR, Enter), or put what it sends into `terminators`.";
    Glued, "glued", Bad, "Two codes arrived as one.", "Set the scanner's suffix to carriage return (CR, Enter).";
    Framing, "framing", Bad, "The start, prefix or suffix of the configuration is missing.", "Take `start`, `prefix` and `suffix` out of its [[scanner]] block, or program the scanner to send them.";
    Layout, "layout", Bad, "It types for the keyboard {}.", "Set `layout` to the first, or the scanner's country keyboard to the second.";
    Upper, "upper", Bad, "All letters arrived as capitals.", "Switch off the scanner's conversion to upper case.";
    Lower, "lower", Bad, "Capitals arrived as small letters.", "Switch off the scanner's conversion to lower case, or its Caps Lock.";
    CapsLock, "caps_lock", Bad, "Capitals and small letters changed places.", "Switch off Caps Lock in the scanner (\"Caps Lock off\", no simulated or inverted case).";
    CharactersLost, "characters_lost", Bad, "Some characters did not arrive as they are printed: {}", "Check the scanner's country keyboard, and data bits and parity of a serial line.";
    GsLost, "gs_lost", Bad, "The separator (GS) between two fields is gone: they can no longer be told apart.", "Let the scanner send control characters and FNC1 as GS (ASCII 29); in keyboard mode as Ctrl+] or Alt+0029.";
    GsReplaced, "gs_replaced", Bad, "\"{}\" came where the separator (GS) belongs.", "Switch off the replacement of GS or FNC1 in the scanner: it must be ASCII 29; in keyboard mode Ctrl+] or Alt+0029.";
    GsSplits, "gs_splits", Bad, "The code was cut in two at its separator (GS).", "Let the scanner send GS (ASCII 29), not a line end, and take GS out of `terminators`.";
    NoId, "no_id", Bad, "No AIM id came with it, so what kind of code it is must be guessed.", "Switch on AIM ids for all codes (\"AIM ID\", \"Transmit Code ID: AIM\").";
    NoIdHere, "no_id_here", Note, "No AIM id came with it; such a code does not need one.", "Switch on AIM ids for all codes; GS1, EAN and ITF codes need them.";
    SymbolId, "symbol_id", Bad, "It sends the Symbol code id \"{}\", not an AIM id.", "Choose AIM ids in the scanner, or write code_id = \"symbol\".";
    NoSymbolId, "no_symbol_id", Bad, "No Symbol code id came, and code_id = \"symbol\" wants one.", "Choose AIM ids in the scanner and take `code_id` out of its [[scanner]] block.";
    WrongId, "wrong_id", Bad, "Its AIM id {} is that of another kind of code.", "Switch on the kind that is printed: GS1-128 (\"UCC/EAN-128\") beside Code 128, GS1 DataMatrix beside Data Matrix.";
    SpoiledId, "spoiled_id", Bad, "Its AIM id arrived as \"{}\".", "Scan codes 1 and 2: they tell which country keyboard is meant.";
    Prefix, "prefix", Bad, "\"{}\" came before the code.", "Take the prefix out of the scanner (it may be a code id of its maker: AIM ids instead), or write it as `prefix`.";
    Suffix, "suffix", Bad, "\"{}\" came behind the code.", "Take the suffix out of the scanner, or write it as `suffix`; what ends a code belongs into `terminators`.";
    CheckDropped, "check_dropped", Bad, "The check digit was not sent.", "Switch on \"transmit check digit\" for this kind of code.";
    ZeroDropped, "zero_dropped", Note, "A UPC-A came with 12 digits; with its AIM id it is the same article.", "Where \"UPC-A to EAN-13\" can be switched on, both have 13 digits.";
    StartStop, "start_stop", Bad, "The stars that begin and end a Code 39 were sent.", "Switch off \"transmit start and stop characters\" for Code 39.";
}

/// One thing that was not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: What,
    /// What came, with C escapes; empty where nothing is to be shown.
    pub value: String,
}

impl Finding {
    pub(super) fn of(what: What) -> Self {
        Self::with(what, "")
    }

    pub(super) fn with(what: What, value: &str) -> Self {
        let shown = |c: char| match c {
            '\u{1d}' => "<GS>".to_owned(),
            c if c.is_control() => c.escape_default().to_string(),
            c => c.to_string(),
        };
        Self { what, value: value.chars().take(64).map(shown).collect() }
    }

    /// It in words.
    #[must_use]
    pub fn told(&self) -> Told {
        let text = match (self.what, self.value.as_str()) {
            (What::Unterminated, "") => "Nothing that ends a code came, only silence.".to_owned(),
            (what, value) => what.text().replace("{}", value),
        };
        Told {
            what: self.what.as_str().to_owned(),
            grade: self.what.grade(),
            text,
            advice: self.what.advice().to_owned(),
        }
    }
}

/// A finding in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Which one, a word of a closed list.
    pub what: String,
    /// How bad it is.
    pub grade: Grade,
    /// What happened.
    pub text: String,
    /// The setting to change.
    pub advice: String,
}

/// What is known of one code of the sheet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    number: u8,
    name: String,
    grade: Grade,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    read_ms: Option<UnixMs>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Told>,
}

impl Line {
    fn unseen(code: &SheetCode) -> Self {
        let (number, name) = (code.number, code.name.to_owned());
        Self { number, name, grade: Grade::Unseen, read_ms: None, findings: Vec::new() }
    }
}

/// What the test sheet says of a scanner. As JSON it is kept in the store and shown as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SheetVerdict {
    /// The worst of its codes; unseen while some were not read and nothing is bad.
    pub grade: Grade,
    /// The outcome in a sentence.
    pub text: String,
    /// What to do first; empty: nothing.
    pub advice: String,
    codes: Vec<Line>,
}

impl SheetVerdict {
    /// The verdict with one more read. Code 1 begins a new one: that is how a changed setting is tried.
    #[must_use]
    pub fn with(before: Option<Self>, read: &SheetRead, at_ms: UnixMs) -> Self {
        let known = before.filter(|_| read.code.number != 1).map(|before| before.codes).unwrap_or_default();
        let line = |code: &SheetCode| {
            if code == read.code {
                let findings: Vec<Told> = read.findings.iter().map(Finding::told).collect();
                let grade = findings.iter().map(|told| told.grade).max().unwrap_or(Grade::Ok);
                return Line { grade, read_ms: Some(at_ms), findings, ..Line::unseen(code) };
            }
            // What another version kept of a code that is no longer on the sheet is left out.
            let kept = known.iter().find(|line| line.number == code.number && line.name == code.name);
            kept.cloned().unwrap_or_else(|| Line::unseen(code))
        };
        Self::of(SHEET.iter().map(line).collect())
    }

    /// The verdict of its JSON; none when another version wrote what this one cannot read.
    #[must_use]
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// It as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Plain structs with texts and numbers are always JSON; an empty text is read as no verdict.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether a setting has to be changed.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.grade == Grade::Bad
    }

    fn of(codes: Vec<Line>) -> Self {
        let worst = codes.iter().max_by_key(|line| line.grade).map_or(Grade::Unseen, |line| line.grade);
        let unseen = codes.iter().filter(|line| line.grade == Grade::Unseen).count();
        let seen = codes.len() - unseen;
        let bad = codes.iter().flat_map(|line| line.findings.iter().map(move |told| (line, told)));
        let mut bad = bad.filter(|(_, told)| told.grade == Grade::Bad);
        // Code 2 tells keyboards apart that are the same to the others.
        let exact = bad.clone().find(|(line, told)| line.number == 2 && told.what == What::Layout.as_str());
        let first = exact.or_else(|| bad.next());
        let (text, advice) = match first {
            Some((line, told)) => (format!("Code {} ({}): {}", line.number, line.name, told.text), told.advice.clone()),
            None if unseen > 0 => (
                format!("{seen} of {} codes of the test sheet were read, and those are well.", codes.len()),
                "Scan the others; one that never comes is of a kind that is switched off in the scanner.".to_owned(),
            ),
            None => ("Every code of the test sheet arrived as it should.".to_owned(), String::new()),
        };
        let grade = if worst == Grade::Note && unseen > 0 { Grade::Unseen } else { worst };
        Self { grade, text, advice, codes }
    }
}
