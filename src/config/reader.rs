//! Takes values out of the merged document: each getter answers a value that may be used, and notes what is wrong.

use std::fs;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::finding::{Finding, nearest, shown};
use crate::config::known::{DEFAULT, KnownTable};
use crate::config::port::Wrong;
use crate::config::text::{Entry, Spot, Table, Value};

/// One table as it holds: its own keys, over those it shares, over the defaults.
pub(super) struct View<'a> {
    /// `scanner.door-3`
    pub(super) label: String,
    pub(super) known: &'static KnownTable,
    pub(super) own: Option<&'a Table>,
    pub(super) shared: Option<&'a Table>,
}

impl<'a> View<'a> {
    /// What holds.
    fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.own_entry(key).or_else(|| self.shared?.entries.get(key)).or_else(|| self.known.accepts(key))
    }

    /// What this very table says.
    pub(super) fn own_entry(&self, key: &str) -> Option<&'a Entry> {
        self.own?.entries.get(key)
    }

    /// Whether what holds is `[]`.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        matches!(self.entry(key).map(|entry| &entry.value), Some(Value::List(items)) if items.is_empty())
    }

    /// Whether a file says it, here or in the shared table.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.own_entry(key).is_some() || self.shared.is_some_and(|shared| shared.entries.contains_key(key))
    }

    /// Whether a file says something else than the default.
    pub(super) fn is_named(&self, key: &str) -> bool {
        let holds = self.entry(key);
        holds.is_some_and(|entry| *entry.at.file != *Path::new(DEFAULT))
            && holds.map(|entry| &entry.value) != self.known.accepts(key).map(|entry| &entry.value)
    }

    /// The whole name of the key that holds, and where its value stands when a file says it.
    fn place(&self, key: &str) -> Option<(String, &'a Spot)> {
        if let Some(entry) = self.own_entry(key) {
            return Some((format!("{}.{key}", self.label), &entry.at));
        }
        let entry = self.shared?.entries.get(key)?;
        Some((format!("{}_defaults.{key}", self.known.name), &entry.at))
    }
}

/// The notes of one check.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) errors: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
    /// A kept configuration was good once: what changed in the file system since is worth a warning, not a stop.
    pub(super) is_kept: bool,
    /// Part of a file could not be understood: what seems to be missing may stand there.
    pub(super) is_broken: bool,
}

impl Reader {
    /// Notes an error at the value of a key; for a key that no file sets at its table.
    pub(super) fn error(&mut self, view: &View<'_>, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.errors.extend(finding(view, key, message.into(), remedy.into()));
    }

    /// Notes what holds but should be known.
    pub(super) fn warn(&mut self, view: &View<'_>, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.warnings.extend(finding(view, key, message.into(), remedy.into()));
    }

    /// The text of a key; none when it is reported already.
    pub(super) fn text<'a>(&self, view: &View<'a>, key: &str) -> Option<&'a str> {
        match view.entry(key).map(|entry| &entry.value) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn parsed<T>(
        &mut self,
        view: &View<'_>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        match parse(self.text(view, key)?) {
            Ok(value) => Some(value),
            Err((message, remedy)) => {
                self.error(view, key, message, remedy);
                None
            }
        }
    }

    /// Like `parsed`; empty text is none.
    pub(super) fn optional<T>(
        &mut self,
        view: &View<'_>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        if self.text(view, key)?.is_empty() { None } else { self.parsed(view, key, parse) }
    }

    /// Each item of a list, or a note at the item.
    pub(super) fn list<T>(
        &mut self,
        view: &View<'_>,
        key: &str,
        max: usize,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Vec<T> {
        let Some(Value::List(items)) = view.entry(key).map(|entry| &entry.value) else {
            return Vec::new();
        };
        if items.len() > max {
            self.error(view, key, format!("has {} items, more than {max}", items.len()), "leave some out");
            return Vec::new();
        }
        let name = view.place(key).map_or_else(|| key.to_owned(), |(name, _)| name);
        let mut values = Vec::new();
        for (item, at) in items {
            let Value::Text(text) = item else { continue };
            match parse(text) {
                Ok(value) => values.push(value),
                Err((message, remedy)) => self.errors.push(at.finding(&name, message, remedy)),
            }
        }
        values
    }

    pub(super) fn number<T: TryFrom<i64> + Default>(
        &mut self,
        view: &View<'_>,
        key: &str,
        range: RangeInclusive<i64>,
    ) -> T {
        let Some(Value::Whole(number)) = view.entry(key).map(|entry| &entry.value) else {
            return T::default();
        };
        if !range.contains(number) {
            let (low, high) = range.into_inner();
            self.error(view, key, format!("{number} is out of range"), format!("write a number from {low} to {high}"));
        }
        T::try_from(*number).unwrap_or_default()
    }

    pub(super) fn seconds(&mut self, view: &View<'_>, key: &str, range: RangeInclusive<i64>) -> Duration {
        Duration::from_secs(self.number(view, key, range))
    }

    pub(super) fn millis(&mut self, view: &View<'_>, key: &str, range: RangeInclusive<i64>) -> Duration {
        Duration::from_millis(self.number(view, key, range))
    }

    pub(super) fn real(&self, view: &View<'_>, key: &str) -> Option<f64> {
        match view.entry(key)?.value {
            Value::Real(number) => Some(number),
            // Beyond 32 bits a number is out of every range we have; infinity says so.
            Value::Whole(number) => Some(i32::try_from(number).map_or(f64::INFINITY, f64::from)),
            _ => None,
        }
    }

    /// A number with a point within its range; 0 when it is reported already.
    pub(super) fn measure(&mut self, view: &View<'_>, key: &str, range: RangeInclusive<f64>) -> f64 {
        let Some(number) = self.real(view, key) else { return 0.0 };
        if !range.contains(&number) {
            let (low, high) = range.into_inner();
            self.error(view, key, format!("{number} is out of range"), format!("write a number from {low} to {high}"));
        }
        number
    }

    pub(super) fn flag(&self, view: &View<'_>, key: &str) -> bool {
        matches!(view.entry(key).map(|entry| &entry.value), Some(Value::Flag(true)))
    }

    /// One of a few words; the first stands in when it is none of them.
    pub(super) fn word<T: Copy>(&mut self, view: &View<'_>, key: &str, words: &[(&str, T)]) -> T {
        let typed = self.text(view, key);
        if let Some(&(_, value)) = words.iter().find(|&&(word, _)| Some(word) == typed) {
            return value;
        }
        if let Some(typed) = typed {
            let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let near = nearest(typed, words.iter().map(|&(word, _)| word));
            let near = near.map_or_else(String::new, |near| format!("did you mean \"{near}\"? "));
            self.error(
                view,
                key,
                format!("{} is not known here", shown(typed)),
                format!("{near}write {}", all.join(" or ")),
            );
        }
        words[0].1
    }

    /// Baud: a number, or none for "auto".
    pub(super) fn baud(&mut self, view: &View<'_>) -> Option<u32> {
        let remedy = "write a number from 4800 to 921600, as the device is set: mostly 4800, 9600, 38400 or 115200";
        match view.entry("baud").map(|entry| &entry.value) {
            Some(Value::Whole(number)) => {
                if !(4800..=921_600).contains(number) {
                    self.error(view, "baud", format!("{number} is out of range"), remedy);
                }
                u32::try_from(*number).ok()
            }
            Some(Value::Text(text)) if text.parse::<u32>().is_ok() => {
                let message = format!("{} is a text", shown(text));
                self.error(view, "baud", message, format!("write baud = {text}, without quotes"));
                None
            }
            Some(Value::Text(text)) if text != "auto" => {
                self.error(view, "baud", format!("{} is no speed", shown(text)), remedy);
                None
            }
            _ => None,
        }
    }

    /// A whole path; none when it is empty.
    pub(super) fn path(&mut self, view: &View<'_>, key: &str) -> Option<PathBuf> {
        self.optional(view, key, |text| {
            if text.starts_with('/') && text.len() <= 4096 && !text.chars().any(char::is_control) {
                Ok(PathBuf::from(text))
            } else {
                Err((
                    format!("{} is no whole path", shown(text)),
                    "write it from the root on, as in /etc/waypost/…".into(),
                ))
            }
        })
    }

    /// A path of a file that should be there.
    pub(super) fn file(&mut self, view: &View<'_>, key: &str) -> Option<PathBuf> {
        let path = self.path(view, key)?;
        self.look_at(view, key, &path);
        Some(path)
    }

    /// A path of a file that others must not read.
    pub(super) fn secret(&mut self, view: &View<'_>, key: &str) -> Option<PathBuf> {
        let text = self.text(view, key)?;
        if let Some(name) = text.strip_prefix("credential:") {
            if is_credential(name) {
                return Some(credential(name));
            }
            let remedy = "write credential: and the name that LoadCredential= in the unit gives it";
            self.error(view, key, "is no name of a credential", remedy);
            return None;
        }
        if !text.is_empty() && !text.starts_with('/') {
            // Not repeated: it may be the secret itself.
            let remedy = "write where the file is, as in /etc/waypost/credentials/…, or credential:NAME";
            self.error(view, key, "is no whole path of a file", remedy);
            return None;
        }
        let path = self.path(view, key)?;
        // Of one that is not there yet nobody reads; it keeps its name, and is read when it is needed.
        let mode = self.look_at(view, key, &path).unwrap_or_default();
        if mode & 0o007 != 0 {
            let message = format!("others may read or change {} (mode {:04o})", path.display(), mode & 0o7777);
            let remedy = format!("run chmod 0640 {0} and chown root:waypost {0}", path.display());
            if self.is_kept {
                self.warn(view, key, message, remedy);
            } else {
                self.error(view, key, message, remedy);
            }
        }
        Some(path)
    }

    /// The mode of a file; its absence is worth a warning: it may come before it is needed.
    fn look_at(&mut self, view: &View<'_>, key: &str, path: &Path) -> Option<u32> {
        match fs::metadata(path) {
            Ok(found) if found.is_file() => return Some(found.permissions().mode()),
            Ok(_) => self.warn(view, key, format!("{} is no file", path.display()), "write the path of a file"),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                self.warn(view, key, format!("{} is not there", path.display()), "put it there or correct the path");
            }
            // Who checks may not be who runs; the service says it when it needs the file.
            Err(_) => {}
        }
        None
    }
}

/// At the value, else at the head of the table, else nowhere: a default is never wrong.
fn finding(view: &View<'_>, key: &str, message: String, remedy: String) -> Option<Finding> {
    if let Some((name, at)) = view.place(key) {
        return Some(at.finding(&name, message, remedy));
    }
    Some(view.own?.at.finding(&format!("{}.{key}", view.label), message, remedy))
}

fn is_credential(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// Where systemd puts a credential; outside of the service, where it would put it.
fn credential(name: &str) -> PathBuf {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    folder.unwrap_or_else(|| PathBuf::from("/run/credentials/waypost.service")).join(name)
}
