//! One TOML text as tables, keys and values that know their line and column. It knows nothing of which keys there are.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::finding::Finding;

/// Bytes of a line in which characters are counted.
const COUNTED_MAX: usize = 4096;
/// Lines that are no TOML and are told; the rest of the file is then not looked at.
const BROKEN_MAX: usize = 200;

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) file: Arc<Path>,
    /// Line, from 1.
    pub(super) line: usize,
    /// Column in characters, from 1.
    pub(super) column: usize,
}

impl Spot {
    pub(super) fn finding(&self, key: &str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            file: self.file.to_path_buf(),
            line: self.line,
            column: self.column,
            key: key.to_owned(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

/// A value as written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Whole(i64),
    Real(f64),
    Flag(bool),
    List(Vec<(Value, Spot)>),
    /// What no key takes, by its name, or what is reported already.
    Other(&'static str),
}

impl Value {
    /// What it is, for a person.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Whole(_) => "a whole number",
            Self::Real(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::List(_) => "a list",
            Self::Other(kind) => kind,
        }
    }

    /// A JSON value at a place; what TOML has no word for is `Other`.
    pub(super) fn from_json(value: serde_json::Value, at: &Spot) -> Self {
        match value {
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Bool(flag) => Self::Flag(flag),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Self::Whole(whole),
                (None, Some(real)) => Self::Real(real),
                (None, None) => Self::Other("a number that cannot be read"),
            },
            serde_json::Value::Array(items) => {
                Self::List(items.into_iter().map(|item| (Self::from_json(item, at), at.clone())).collect())
            }
            serde_json::Value::Null => Self::Other("null"),
            serde_json::Value::Object(_) => Self::Other("a table"),
        }
    }

    /// The value as TOML.
    pub(super) fn to_toml(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Whole(number) => number.to_string(),
            Self::Real(number) => toml::Value::Float(*number).to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|(item, _)| item.to_toml()).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Other(_) => "\"\"".to_owned(),
        }
    }
}

/// A text as TOML on one line.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A value and where it and its key stand.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) at: Spot,
    pub(super) key_at: Spot,
}

/// One table or one block of a list.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    pub(super) at: Spot,
    pub(super) entries: BTreeMap<String, Entry>,
}

impl Table {
    /// Its keys and entries as they follow each other in the file.
    pub(super) fn in_file_order(&self) -> Vec<(&String, &Entry)> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|(_, entry)| (entry.key_at.line, entry.key_at.column));
        entries
    }
}

/// What stands at the top of a text.
#[derive(Clone, Debug)]
pub(super) enum Top {
    /// `[name]`
    One(Table),
    /// `[[name]]`
    Many(Vec<Table>),
    /// `name = value`
    Key(Entry),
}

/// A whole text.
#[derive(Debug)]
pub(super) struct Text {
    /// By name: where the name stands and what it is.
    pub(super) tops: BTreeMap<String, (Spot, Top)>,
    /// What is no TOML.
    pub(super) errors: Vec<Finding>,
    /// Whether part of it could not be understood.
    pub(super) is_broken: bool,
}

/// Reads a text; what is no TOML becomes findings, and the rest is still there to be checked.
pub(super) fn parse(file: &Path, text: &str) -> Text {
    let lines = Lines::new(file, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let (errors, broken) = syntax_findings(&lines, &errors);
    let reader = Reader { lines, broken };
    let mut tops = BTreeMap::new();
    for (name, value) in table.into_inner() {
        let spot = reader.lines.spot(name.span().start);
        if reader.broken.after(spot.line) {
            continue;
        }
        let top = reader.top(&value, spot.clone());
        tops.insert(name.into_inner().into_owned(), (spot, top));
    }
    Text { tops, is_broken: !errors.is_empty(), errors }
}

/// The place right behind a text.
pub(super) fn end_of(file: &Path, text: &str) -> Spot {
    Lines::new(file, text).spot(text.len())
}

/// Which lines cannot be believed.
struct Broken {
    /// Lines with one bad value.
    lines: Vec<usize>,
    /// From here on brackets or quotes are open and nothing is what it seems.
    from: usize,
}

impl Broken {
    fn after(&self, line: usize) -> bool {
        line >= self.from
    }
}

struct Reader<'a> {
    lines: Lines<'a>,
    broken: Broken,
}

impl Reader<'_> {
    fn top(&self, value: &Spanned<DeValue<'_>>, key_at: Spot) -> Top {
        match value.get_ref() {
            DeValue::Table(table) => Top::One(self.table(table, value.span())),
            DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => Top::Many(
                items
                    .iter()
                    .filter_map(|item| Some(self.table(item.get_ref().as_table()?, item.span())))
                    .filter(|table| !self.broken.after(table.at.line))
                    .collect(),
            ),
            _ => Top::Key(self.entry(value, key_at)),
        }
    }

    fn table(&self, table: &DeTable<'_>, span: Range<usize>) -> Table {
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            let key_at = self.lines.spot(key.span().start);
            if !self.broken.after(key_at.line) {
                entries.insert(key.get_ref().to_string(), self.entry(value, key_at));
            }
        }
        Table { at: self.lines.spot(span.start), entries }
    }

    fn entry(&self, value: &Spanned<DeValue<'_>>, key_at: Spot) -> Entry {
        let at = self.lines.spot(value.span().start);
        let unreadable = self.broken.lines.contains(&at.line) || self.broken.lines.contains(&key_at.line);
        let value = if unreadable { Value::Other("unreadable") } else { self.value(value.get_ref()) };
        Entry { value, at, key_at }
    }

    fn value(&self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Whole(number),
                Err(_) => Value::Other("a number beyond 64 bits"),
            },
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Value::Real(number),
                Err(_) => Value::Other("a number that cannot be read"),
            },
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Array(items) => Value::List(
                items.iter().map(|item| (self.value(item.get_ref()), self.lines.spot(item.span().start))).collect(),
            ),
            DeValue::Datetime(_) => Value::Other("a date or time"),
            DeValue::Table(_) => Value::Other("a table"),
        }
    }
}

/// One finding a line; after brackets or quotes that stay open the rest would be guesses, so it ends there.
fn syntax_findings(lines: &Lines<'_>, errors: &[toml::de::Error]) -> (Vec<Finding>, Broken) {
    let mut errors: Vec<(usize, &str)> =
        errors.iter().map(|e| (e.span().map_or(0, |span| span.start), e.message())).collect();
    errors.sort_by_key(|&(at, _)| at);
    let mut findings: Vec<Finding> = Vec::new();
    let mut broken = Broken { lines: Vec::new(), from: usize::MAX };
    for (at, message) in errors {
        let spot = lines.spot(at);
        if !broken.lines.contains(&spot.line) {
            let key = lines.key_around(spot.line);
            findings.push(spot.finding(&key, message, remedy_for(message)));
            broken.lines.push(spot.line);
        }
        let is_open = ["unclosed", "array", "inline table", "multi-line"].iter().any(|word| message.contains(word));
        if is_open || broken.lines.len() >= BROKEN_MAX {
            broken.from = spot.line;
            break;
        }
    }
    (findings, broken)
}

fn remedy_for(message: &str) -> &'static str {
    if message.contains("duplicate key") {
        "keep one of the two; a table or key stands once in a file"
    } else if message.contains("must be quoted") {
        "write text in quotes: key = \"text\""
    } else if message.contains("escape") {
        "in \"…\" a \\ begins an escape such as \\r or \\u0003; for a plain \\ write \\\\"
    } else {
        "write key = value, text in quotes, lists in [ ], tables as [name], each on a line of its own"
    }
}

/// The lines of a text, to say where a byte is.
struct Lines<'a> {
    file: Arc<Path>,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(file: &Path, text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.into(), text, starts }
    }

    fn spot(&self, at: usize) -> Spot {
        let line = self.starts.partition_point(|&start| start <= at);
        let start = self.starts[line - 1];
        let before = self.text.get(start..at).unwrap_or_default();
        // In a line that no editor made, bytes will do: counting its characters for each of its values would take minutes.
        let characters =
            if before.len() > COUNTED_MAX { before.len() } else { before.chars().filter(|&c| c != '\u{feff}').count() };
        let column = characters + 1;
        Spot { file: Arc::clone(&self.file), line, column }
    }

    fn line(&self, line: usize) -> &'a str {
        let end = self.starts.get(line).copied().unwrap_or(self.text.len());
        self.text[self.starts[line - 1]..end].trim()
    }

    /// The key that a line sets, with its table, as far as the text lets one tell.
    fn key_around(&self, line: usize) -> String {
        let header = |text: &'a str| {
            let name = text.split('#').next().unwrap_or_default().trim().trim_matches(['[', ']']).trim();
            (text.starts_with('[') && is_bare(name)).then_some(name)
        };
        if let Some(name) = header(self.line(line)) {
            return name.to_owned();
        }
        let table = (1..line).rev().take(1000).find_map(|above| header(self.line(above))).unwrap_or_default();
        let key = self.line(line).split('=').next().unwrap_or_default().trim();
        match (table.is_empty(), is_bare(key)) {
            (true, true) => key.to_owned(),
            (false, true) => format!("{table}.{key}"),
            (_, false) => table.to_owned(),
        }
    }
}

fn is_bare(key: &str) -> bool {
    (1..=64).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}
