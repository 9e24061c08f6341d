//! Reads the files, lays them over each other and checks the whole: every mistake of every file at once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use crate::config::check;
use crate::config::finding::{Finding, Invalid};
use crate::config::known;
use crate::config::machine::Machine;
use crate::config::merged::MergedDoc;
use crate::config::reader::Reader;
use crate::config::text::{Entry, Spot, Table, Top, Value};
use crate::config::{Config, Scanner, text};

/// The main file when none is named.
pub const DEFAULT_FILE: &str = "/etc/waypost/waypost.toml";

/// Bytes of one file at most.
const FILE_BYTES_MAX: u64 = 256 << 10;
/// Files in `conf.d` at most.
const FILES_MAX: usize = 256;
/// Findings that are told at most; nobody reads more.
const FINDINGS_MAX: usize = 200;

/// A configuration that can be run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The checked values.
    pub config: Config,
    /// The files it is from, in the order they were laid over each other.
    pub files: Vec<PathBuf>,
    /// The merged text with the file of each key.
    pub merged: MergedDoc,
    /// What runs but should be known.
    pub warnings: Vec<Finding>,
}

/// Reads the main file and then `conf.d/*.toml` beside it in name order.
///
/// A main file that is not there is no error when it is [`DEFAULT_FILE`] and `conf.d` has files.
///
/// # Errors
/// Every mistake in every file; the caller exits 78, or runs on the kept configuration.
pub fn load(main_file: &Path, machine: &Machine) -> Result<Loaded, Invalid> {
    load_from(main_file, main_file == Path::new(DEFAULT_FILE), machine)
}

pub(super) fn load_from(main_file: &Path, is_default: bool, machine: &Machine) -> Result<Loaded, Invalid> {
    let mut loading = Loading::default();
    let parts = match parts_of(main_file) {
        Ok(parts) => parts,
        Err((path, e)) => {
            loading.reader.errors.push(unreadable(&path, &e));
            Vec::new()
        }
    };
    if parts.len() > FILES_MAX {
        let message = format!("conf.d beside it has {} files, more than {FILES_MAX}", parts.len());
        loading.reader.errors.push(of_file(main_file, message, "remove those that are not needed"));
    }
    let may_be_absent = is_default && !parts.is_empty();
    if !may_be_absent || main_file.exists() {
        loading.read(main_file);
    }
    for part in parts.iter().take(FILES_MAX) {
        loading.read(part);
    }
    loading.finish(main_file, machine)
}

/// Reads one text as if it were the only file.
///
/// # Errors
/// Every mistake in it.
pub fn parse_text(name: &Path, text: &str, machine: &Machine) -> Result<Loaded, Invalid> {
    let mut loading = Loading::default();
    loading.lay(name, text.as_bytes());
    loading.finish(name, machine)
}

/// Reads a file that was good at an earlier start: what changed around it since is a warning.
pub(super) fn parse_kept(file: &Path, machine: &Machine) -> Result<Loaded, Invalid> {
    let mut loading = Loading::default();
    loading.reader.is_kept = true;
    loading.read(file);
    loading.finish(file, machine)
}

/// The keys of one `[[scanner]]` as a JSON object, e.g. `{"code_id":"symbol"}`: what `decode scan --profile` takes.
/// Its id and port may be left out.
///
/// # Errors
/// It is no JSON object, or every mistake in it; these findings have no line.
pub fn scanner_profile(json: &str, machine: &Machine) -> Result<Scanner, Invalid> {
    let file = Path::new("--profile");
    let keys: BTreeMap<String, serde_json::Value> = serde_json::from_str(json).map_err(|e| {
        let remedy = "write an object of [[scanner]] keys, as in {\"code_id\":\"symbol\"}";
        Invalid { findings: vec![of_file(file, format!("is no JSON object: {e}"), remedy)] }
    })?;
    let spot = Spot { file: file.into(), line: 0, column: 0 };
    let entry = |value| Entry { value, at: spot.clone(), key_at: spot.clone() };
    let mut entries: BTreeMap<String, Entry> =
        keys.into_iter().map(|(key, value)| (key, entry(Value::from_json(value, &spot)))).collect();
    for (key, usual) in [("id", "scan"), ("port", "tcp://profile:1")] {
        entries.entry(key.to_owned()).or_insert_with(|| entry(Value::Text(usual.to_owned())));
    }
    entries.insert("enabled".to_owned(), entry(Value::Flag(true)));
    let blocks = Top::Many(vec![Table { at: spot.clone(), entries }]);
    let tops = BTreeMap::from([("scanner".to_owned(), (spot, blocks))]);
    let mut loading = Loading { files: vec![file.to_owned()], ..Loading::default() };
    let layer = known::layer(text::Text { tops, errors: Vec::new(), is_broken: false });
    loading.reader.errors.extend(loading.merged.lay(layer));
    let mut scanners = loading.finish(file, machine)?.config.scanners;
    scanners.pop().ok_or_else(|| Invalid { findings: vec![of_file(file, "has no scanner", "write one object")] })
}

#[derive(Default)]
struct Loading {
    merged: MergedDoc,
    files: Vec<PathBuf>,
    reader: Reader,
}

impl Loading {
    fn read(&mut self, file: &Path) {
        match read(file) {
            Ok(bytes) => self.lay(file, &bytes),
            Err(e) => {
                self.files.push(file.to_owned());
                self.reader.is_broken = true;
                self.reader.errors.push(unreadable(file, &e));
            }
        }
    }

    fn lay(&mut self, file: &Path, bytes: &[u8]) {
        self.files.push(file.to_owned());
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                let text = text::parse(file, text);
                self.reader.is_broken |= text.is_broken;
                self.reader.errors.extend(self.merged.lay(known::layer(text)));
            }
            Err(e) => {
                self.reader.is_broken = true;
                let before = String::from_utf8_lossy(&bytes[..e.valid_up_to()]).into_owned();
                let spot = text::end_of(file, &before);
                let remedy = "save the file as UTF-8";
                self.reader.errors.push(spot.finding("", "this byte is not UTF-8", remedy));
            }
        }
    }

    fn finish(mut self, main_file: &Path, machine: &Machine) -> Result<Loaded, Invalid> {
        let config = check::check(&mut self.merged, machine, main_file, &mut self.reader);
        let Reader { errors, warnings, .. } = self.reader;
        let warnings = in_order(warnings, &self.files);
        if errors.is_empty() {
            return Ok(Loaded { config, files: self.files, merged: self.merged, warnings });
        }
        Err(Invalid { findings: in_order(errors, &self.files) })
    }
}

/// By file and position, each once, and no more than anybody reads.
fn in_order(mut findings: Vec<Finding>, files: &[PathBuf]) -> Vec<Finding> {
    let rank = |finding: &Finding| files.iter().position(|file| *file == finding.file);
    findings.sort_by_cached_key(|finding| (rank(finding), finding.line, finding.column, finding.message.clone()));
    findings.dedup();
    if let Some(more) = findings.len().checked_sub(FINDINGS_MAX).filter(|&more| more > 0) {
        findings.truncate(FINDINGS_MAX);
        let last = findings.last().map(|finding| finding.file.clone()).unwrap_or_default();
        findings.push(of_file(&last, format!("and {more} more"), "mend these first"));
    }
    findings
}

/// `conf.d/*.toml` beside the main file, in name order.
pub(super) fn parts_of(main_file: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let folder = main_file.parent().unwrap_or(Path::new("")).join("conf.d");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err((folder, e)),
    };
    let mut parts = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| (folder.clone(), e))?.file_name();
        let is_part = Path::new(&name).extension().is_some_and(|extension| extension == "toml");
        if is_part && !name.as_encoded_bytes().starts_with(b".") {
            parts.push(folder.join(name));
        }
    }
    parts.sort();
    Ok(parts)
}

pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "this is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, e: &io::Error) -> Finding {
    let remedy = match e.kind() {
        ErrorKind::NotFound => format!(
            "name another one with --config, or make it: waypost config --defaults prints every key, {DEFAULT_FILE} is the usual place"
        ),
        ErrorKind::PermissionDenied => {
            "let the user that runs this read it: configuration is 0644, its folder 0755".into()
        }
        _ => "put a readable file there or take it away".into(),
    };
    of_file(path, format!("cannot be read: {e}"), remedy)
}

fn of_file(path: &Path, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding {
        file: path.to_owned(),
        line: 0,
        column: 0,
        key: String::new(),
        message: message.into(),
        remedy: remedy.into(),
    }
}
