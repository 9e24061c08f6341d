//! Which tables and keys there are, their defaults and kinds: all read from the packaged `waypost.toml`, so that what is
//! documented is what holds.

use std::path::Path;
use std::sync::LazyLock;

use crate::config::check::is_id;
use crate::config::finding::{Finding, nearest, shown};
use crate::config::text::{self, Entry, Spot, Table, Top, Value};

/// The packaged file: comments only, every key with its default behind a `#`.
pub const PACKAGED: &str = include_str!("../../config/waypost.toml");

/// What stands in place of a file for values that no file sets.
pub(super) const DEFAULT: &str = "default";

/// A table and its keys in the order of the packaged file.
pub(super) struct KnownTable {
    pub(super) name: String,
    /// `[[name]]`: a block a source.
    pub(super) is_list: bool,
    pub(super) keys: Vec<(String, Entry)>,
}

impl KnownTable {
    pub(super) fn default_of(&self, key: &str) -> Option<&Entry> {
        self.keys.iter().find(|(name, _)| name == key).map(|(_, entry)| entry)
    }

    /// The table that sources share, for a list of sources.
    pub(super) fn shared(&self) -> Option<&'static KnownTable> {
        self.is_list.then(|| known(&format!("{}_defaults", self.name))).flatten()
    }

    /// `[name]` or `[[name]]`
    pub(super) fn header(&self) -> String {
        if self.is_list { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }

    /// The default of a key, that of the shared table too.
    pub(super) fn accepts(&self, key: &str) -> Option<&Entry> {
        self.default_of(key).or_else(|| self.shared()?.default_of(key))
    }

    fn key_names(&self) -> Vec<&str> {
        let shared = self.shared().map(|table| table.keys.as_slice()).unwrap_or_default();
        self.keys.iter().chain(shared).map(|(name, _)| name.as_str()).collect()
    }
}

/// Every table in the order of the packaged file.
pub(super) static TABLES: LazyLock<Vec<KnownTable>> = LazyLock::new(|| {
    let mut tables: Vec<(Spot, KnownTable)> = text::parse(Path::new(DEFAULT), &uncommented(PACKAGED, true))
        .tops
        .into_iter()
        .filter_map(|(name, (spot, top))| {
            let (table, is_list) = match top {
                Top::One(table) => (table, false),
                Top::Many(mut blocks) => (blocks.pop()?, true),
                Top::Key(_) => return None,
            };
            let keys = table.in_file_order().into_iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
            Some((spot, KnownTable { name, is_list, keys }))
        })
        .collect();
    tables.sort_by_key(|(spot, _)| spot.line);
    tables.into_iter().map(|(_, table)| table).collect()
});

pub(super) fn known(name: &str) -> Option<&'static KnownTable> {
    TABLES.iter().find(|table| table.name == name)
}

/// Every key with its default, as a file that can be loaded: the packaged file without the `#` before its keys.
/// The blocks of `[[gps]]` and `[[scanner]]` are samples and stay comments.
#[must_use]
pub fn defaults_text() -> String {
    uncommented(PACKAGED, false)
}

/// `#key = value` and `#[table]` become text; `# prose` stays.
fn uncommented(packaged: &str, samples: bool) -> String {
    let mut in_sample = false;
    let mut out = String::with_capacity(packaged.len());
    for line in packaged.lines() {
        let key = line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()));
        if let Some(header) = key.filter(|key| key.starts_with('[')) {
            in_sample = header.starts_with("[[");
        }
        out.push_str(key.filter(|_| samples || !in_sample).unwrap_or(line));
        out.push('\n');
    }
    out
}

/// What one text sets, of what there is: unknown names and values of the wrong kind are in `findings`.
#[derive(Default)]
pub(super) struct Layer {
    /// `[name]` tables.
    pub(super) tables: Vec<(&'static KnownTable, Table)>,
    /// `[[name]]` blocks.
    pub(super) blocks: Vec<(&'static KnownTable, Vec<Table>)>,
    pub(super) findings: Vec<Finding>,
    /// Whether part of the text could not be understood: what seems to be missing may stand there.
    pub(super) is_broken: bool,
}

/// Compares a text with what there is.
pub(super) fn layer(text: text::Text) -> Layer {
    let mut layer = Layer { findings: text.errors, is_broken: text.is_broken, ..Layer::default() };
    for (name, (spot, top)) in text.tops {
        match (known(&name), top) {
            (None, top) => layer.findings.push(unknown_top(&name, &spot, &top)),
            (Some(table), Top::One(entries)) if !table.is_list => {
                let entries = check_keys(table, &name, entries, &mut layer.findings);
                layer.tables.push((table, entries));
            }
            (Some(table), Top::Many(blocks)) if table.is_list => {
                let blocks = blocks
                    .into_iter()
                    .enumerate()
                    .map(|(i, block)| check_keys(table, &block_label(&name, i, &block), block, &mut layer.findings))
                    .collect();
                layer.blocks.push((table, blocks));
            }
            (Some(table), Top::Key(entry)) if table.is_list && entry.value == Value::List(Vec::new()) => {}
            (Some(table), _) => layer.findings.push(spot.finding(
                &name,
                format!("this is not how {name} is written"),
                format!("write {} on a line of its own and its keys below", table.header()),
            )),
        }
    }
    layer
}

/// `scanner.door-3`, or `scanner[2]` for a block without an id.
pub(super) fn block_label(name: &str, index: usize, block: &Table) -> String {
    match block.entries.get("id").map(|entry| &entry.value) {
        Some(Value::Text(id)) if !id.is_empty() => format!("{name}.{}", safe(id)),
        _ => format!("{name}[{}]", index + 1),
    }
}

fn check_keys(known: &KnownTable, label: &str, mut table: Table, findings: &mut Vec<Finding>) -> Table {
    table.entries.retain(|key, entry| {
        let Some(default) = known.accepts(key) else {
            findings.push(unknown_key(known, label, key, &entry.key_at));
            return false;
        };
        check_kind(&format!("{label}.{key}"), key, &default.value, entry, findings);
        true
    });
    table
}

/// A value of the wrong kind is reported and then stands as `Other`: set, but never looked at again.
fn check_kind(name: &str, key: &str, default: &Value, entry: &mut Entry, findings: &mut Vec<Finding>) {
    let fits = match (default, &entry.value) {
        (Value::Text(_), Value::Text(_))
        | (Value::Whole(_), Value::Whole(_))
        | (Value::Flag(_), Value::Flag(_))
        | (Value::Real(_), Value::Real(_) | Value::Whole(_))
        | (_, Value::Other("unreadable")) => true,
        (Value::List(_), Value::List(items)) => {
            let wrong: Vec<_> = items.iter().filter(|(item, _)| !matches!(item, Value::Text(_))).collect();
            for (item, at) in &wrong {
                let message = format!("each item must be a text, this one is {}", item.kind());
                findings.push(at.finding(name, message, format!("write it as in {key} = [\"…\"]")));
            }
            if !wrong.is_empty() {
                entry.value = Value::Other("unreadable");
            }
            return;
        }
        (_, Value::Text(_) | Value::Whole(_)) if key == "baud" => true,
        _ => false,
    };
    if !fits {
        let message = format!("must be {}, this is {}", default.kind(), entry.value.kind());
        let remedy = match (default, &entry.value) {
            (Value::List(_), Value::Text(text)) => {
                format!("write {key} = [{}]", Value::Text(text.clone()).to_toml())
            }
            (Value::Text(_), Value::Whole(number)) => format!("write {key} = \"{number}\""),
            (Value::Whole(_), Value::Text(text)) if text.trim().parse::<i64>().is_ok() => {
                format!("write {key} = {}, without quotes", text.trim())
            }
            (Value::Text(_), _) => format!("write {key} = \"…\""),
            (Value::Flag(_), _) => format!("write {key} = true or {key} = false"),
            _ => format!("write it as in {key} = {}", default.to_toml()),
        };
        findings.push(entry.at.finding(name, message, remedy));
        entry.value = Value::Other("unreadable");
    }
}

fn unknown_top(name: &str, spot: &Spot, top: &Top) -> Finding {
    let names = TABLES.iter().map(|table| table.name.as_str());
    let mut remedy = String::new();
    if let Top::Key(_) = top {
        let homes = homes_of(name);
        if !homes.is_empty() {
            remedy = format!("it belongs below {}", homes.join(" or "));
            return spot.finding(&safe(name), "stands before any table", remedy);
        }
    }
    if let Some(near) = nearest(name, names).and_then(known) {
        remedy = format!("did you mean {}? ", near.header());
    }
    let all: Vec<String> = TABLES.iter().map(KnownTable::header).collect();
    spot.finding(&safe(name), "there is no such table", format!("{remedy}there are {}", all.join(" ")))
}

fn unknown_key(table: &KnownTable, label: &str, key: &str, spot: &Spot) -> Finding {
    let name = format!("{label}.{}", safe(key));
    let names = table.key_names();
    let homes = homes_of(key);
    let remedy = if matches!(key, "password" | "passwd" | "secret" | "token") {
        "secrets stand in files only: write the file's name into password_file".to_owned()
    } else if !homes.is_empty() {
        format!("it belongs below {}", homes.join(" or "))
    } else if let Some(near) = nearest(key, names.iter().copied()) {
        format!("did you mean {near}? {} takes {}", table.header(), names.join(", "))
    } else {
        format!("{} takes {}", table.header(), names.join(", "))
    };
    spot.finding(&name, "there is no such key here", remedy)
}

/// The tables that have this key.
fn homes_of(key: &str) -> Vec<String> {
    TABLES.iter().filter(|table| table.default_of(key).is_some()).map(KnownTable::header).collect()
}

/// A name as typed when it is harmless, else quoted and cut.
pub(super) fn safe(name: &str) -> String {
    if is_id(name) { name.to_owned() } else { shown(name) }
}
