//! What all files say together: tables key by key, later files win, and each key knows the file that said it.

use std::collections::BTreeMap;

use crate::config::finding::{Finding, shown};
use crate::config::known::{DEFAULT, KnownTable, Layer, TABLES, safe};
use crate::config::text::{Entry, Spot, Table, Value};

/// Sources of one kind at most; a node has a handful.
const SOURCES_MAX: usize = 256;

/// The merged configuration, with the file and line of each key.
#[derive(Clone, Debug, Default)]
pub struct MergedDoc {
    /// What files say in `[name]`.
    pub(super) tables: BTreeMap<&'static str, Table>,
    /// What files say in `[[name]]`, by id in order of appearance.
    pub(super) sources: BTreeMap<&'static str, Vec<Source>>,
    /// What follows from elsewhere when no file says it, by whole key: value and reason.
    pub(super) derived: BTreeMap<String, (Value, &'static str)>,
}

/// One `[[gps]]` or `[[scanner]]`, from all files.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) id: String,
    pub(super) table: Table,
}

impl Source {
    /// Its id as it may stand in a key's name.
    pub(super) fn label(&self) -> String {
        safe(&self.id)
    }
}

impl MergedDoc {
    /// Lays a file over what earlier files said.
    pub(super) fn lay(&mut self, layer: Layer) -> Vec<Finding> {
        let mut findings = layer.findings;
        for (known, table) in layer.tables {
            match self.tables.get_mut(known.name.as_str()) {
                Some(earlier) => earlier.entries.extend(table.entries),
                None => {
                    self.tables.insert(&known.name, table);
                }
            }
        }
        for (known, blocks) in layer.blocks {
            self.lay_blocks(known, blocks, layer.is_broken, &mut findings);
        }
        findings
    }

    fn lay_blocks(
        &mut self,
        known: &'static KnownTable,
        blocks: Vec<Table>,
        is_broken: bool,
        findings: &mut Vec<Finding>,
    ) {
        let sources = self.sources.entry(&known.name).or_default();
        let mut in_this_file: BTreeMap<String, Spot> = BTreeMap::new();
        for (i, table) in blocks.into_iter().enumerate() {
            let Some(entry) = table.entries.get("id") else {
                if is_broken {
                    continue;
                }
                let key = format!("{}[{}].id", known.name, i + 1);
                findings.push(table.at.finding(
                    &key,
                    "this block has no id",
                    "add a line id = \"…\", its name in events",
                ));
                continue;
            };
            let Value::Text(id) = &entry.value else { continue };
            let (id, at) = (id.clone(), entry.at.clone());
            if let Some(first) = in_this_file.get(&id) {
                let message = format!("{} is the id of the block in line {} too", shown(&id), first.line);
                let key = format!("{}.{}.id", known.name, safe(&id));
                findings.push(at.finding(&key, message, "give each source an id of its own, or make it one block"));
                continue;
            }
            in_this_file.insert(id.clone(), at.clone());
            if let Some(earlier) = sources.iter_mut().find(|source| source.id == id) {
                earlier.table.entries.extend(table.entries);
            } else if sources.len() < SOURCES_MAX {
                sources.push(Source { id, table });
            } else {
                let message = format!("there are more than {SOURCES_MAX} {} blocks", known.header());
                findings.push(at.finding(&known.name, message, "remove those that are not there"));
                return;
            }
        }
    }

    /// The merged configuration as TOML: every key with its value and, as a comment, the file and line that set it.
    #[must_use]
    pub fn print(&self) -> String {
        self.render(true)
    }

    fn render(&self, with_origin: bool) -> String {
        let mut out = String::new();
        for known in TABLES.iter() {
            if known.is_list {
                for source in self.sources.get(known.name.as_str()).into_iter().flatten() {
                    line(&mut out, &known.header());
                    let label = format!("{}.{}", known.name, source.id);
                    for key in ordered_keys(known) {
                        self.render_key(&mut out, &label, key, source.table.entries.get(key), with_origin);
                    }
                    out.push('\n');
                }
                continue;
            }
            line(&mut out, &known.header());
            let set = self.tables.get(known.name.as_str());
            for (key, default) in &known.keys {
                let entry = set.and_then(|table| table.entries.get(key)).unwrap_or(default);
                self.render_key(&mut out, &known.name, key, Some(entry), with_origin);
            }
            out.push('\n');
        }
        out
    }

    fn render_key(&self, out: &mut String, label: &str, key: &str, entry: Option<&Entry>, with_origin: bool) {
        let (value, origin) = match (self.derived.get(&format!("{label}.{key}")), entry) {
            (Some((value, reason)), _) => (value, (*reason).to_owned()),
            (None, Some(entry)) => (&entry.value, origin(entry)),
            (None, None) => return,
        };
        if with_origin {
            let origin: String = origin.chars().filter(|c| !c.is_control()).collect();
            line(out, &format!("{key} = {}  # {origin}", value.to_toml()));
        } else {
            line(out, &format!("{key} = {}", value.to_toml()));
        }
    }

    /// What the files say, as one TOML text that loads to the same configuration: what a healthy start keeps.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        for known in TABLES.iter() {
            let tables: Vec<&Table> = if known.is_list {
                self.sources.get(known.name.as_str()).into_iter().flatten().map(|source| &source.table).collect()
            } else {
                self.tables.get(known.name.as_str()).into_iter().collect()
            };
            for table in tables {
                line(&mut out, &known.header());
                for key in ordered_keys(known) {
                    if let Some(entry) = table.entries.get(key) {
                        line(&mut out, &format!("{key} = {}", entry.value.to_toml()));
                    }
                }
                out.push('\n');
            }
        }
        out
    }

    /// 16 hex digits over every key and value, whatever file they are from.
    pub(super) fn digest(&self) -> String {
        blake3::hash(self.render(false).as_bytes()).to_hex()[..16].to_owned()
    }
}

/// A source's keys: its own, then those it may share.
fn ordered_keys(known: &KnownTable) -> impl Iterator<Item = &str> {
    let shared = known.shared().map(|table| table.keys.as_slice()).unwrap_or_default();
    known.keys.iter().chain(shared).map(|(key, _)| key.as_str())
}

/// The file and line of an entry; `default` without a line.
fn origin(entry: &Entry) -> String {
    let file = entry.at.file.to_string_lossy();
    if file == DEFAULT { file.into_owned() } else { format!("{file}:{}", entry.at.line) }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}
