//! `waypost support-bundle`: one archive with what whoever helps needs to know of a node, and nothing that is secret. Every text
//! goes through `Bundle::put`, and so through the scrub: there is no other way in.

mod machine;
mod node;
mod scrub;

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::ask::Running;
use super::backup::Unfinished;
use super::offline::failure;
use super::progress::Interrupt;
use super::run::likely_store_dir;
use super::{Done, Failure, doctor, exit, judge, load, print};
use crate::clock::Clock;
use crate::config::{self, Config, Machine};
use crate::devices::Roots;
use crate::wire::rfc3339;
use scrub::Scrub;

/// The longest file in it; of a longer one the beginning. Bytes
const FILE_MAX: usize = 1 << 20;
/// All files together, unpacked; what comes after is left out, and the manifest says so. Bytes
const TOTAL_MAX: usize = 16 << 20;
/// The most that is read of a file with a secret, to know it again. Bytes
const SECRET_MAX: u64 = 64 << 10;
/// Files with secrets that are looked at.
const SECRETS_MAX: usize = 64;

#[derive(Args)]
pub(super) struct BundleArgs {
    /// The new file, else waypost-support-NODE-TIME.tar.gz here; one that is there already is never overwritten
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Also what was read in the last 10 minutes and where things are: scanned text may be personal
    #[arg(long)]
    captures: bool,
    /// Look at the system below DIR
    #[arg(long, hide = true, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// `waypost support-bundle`
pub(super) fn bundle(file: &Path, args: &BundleArgs) -> Done {
    let roots = args.root.as_deref().map_or_else(Roots::default, Roots::below);
    let machine = Machine::read();
    let loaded = load(file).ok();
    let dir = loaded.as_ref().map_or_else(|| likely_store_dir(file), |loaded| loaded.config.store.dir.clone());
    // Of an invalid configuration nothing is known but what held before.
    let loaded = loaded.map_or_else(|| config::last_good(&dir, &machine).ok().flatten(), Some);
    let config = loaded.as_ref().map(|loaded| &loaded.config);
    let output = args.output.clone().unwrap_or_else(|| PathBuf::from(usual_name(config)));
    if output.symlink_metadata().is_ok() {
        return Err(Failure::new(exit::IO, format!("{} is there already; name a file that is not", output.display())));
    }
    // Before anything is gathered: where it cannot be written nobody has to wait for it.
    let unfinished = Unfinished::begin(&output)?;
    let interrupt = Interrupt::listen()?;
    let mut bundle = Bundle { scrub: secrets(&roots, file, config), ..Bundle::default() };
    bundle.put("version.txt", Ok(build()));
    let mut notes = Vec::new();
    let judged = judge(file, &mut notes).unwrap_or_else(|failure| failure.text);
    notes.push(judged);
    bundle.put("check.txt", Ok(notes.join("\n")));
    let merged = loaded.as_ref().map(|loaded| loaded.merged.print());
    bundle.put(
        "config.toml",
        merged.ok_or_else(|| "it is invalid (check.txt), and none is kept of an earlier start".to_owned()),
    );
    bundle.put("doctor.txt", doctor::report(file, &roots).map_err(|failure| failure.text));
    machine::gather(&mut bundle, &roots, &dir);
    node::gather(&mut bundle, file, config, &dir, args.captures);
    if interrupt.is_asked() {
        return Err(Failure::new(exit::NOT_WELL, "interrupted; nothing was written"));
    }
    let packed = bundle.write(&unfinished.path, args.captures).map_err(|error| {
        let remedy = "make room there, or name a file elsewhere with --output";
        Failure::new(exit::IO, format!("{}: {error}; nothing was written; {remedy}", output.display()))
    })?;
    unfinished.finish(&output)?;
    let missing = match bundle.missing.len() {
        0 => String::new(),
        n => format!("; {n} could not be had, manifest.json in it says why"),
    };
    let kib = packed.div_ceil(1024);
    print(&format!("{}: {} files, {kib} KiB, without secrets{missing}\n", output.display(), bundle.parts.len() + 1))
}

fn usual_name(config: Option<&Config>) -> String {
    let node = config.map_or("node", |config| config.node.id.as_str());
    let time: String =
        rfc3339(Clock::system().now().wall_ms).chars().take(19).filter(char::is_ascii_alphanumeric).collect();
    format!("waypost-support-{node}-{time}Z.tar.gz")
}

fn build() -> String {
    let (arch, pointer) = (std::env::consts::ARCH, usize::BITS);
    let kind = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("waypost {} {arch} {pointer}-bit {kind}\n", env!("CARGO_PKG_VERSION"))
}

/// The secrets of this node as far as who asks may read them.
fn secrets(roots: &Roots, file: &Path, config: Option<&Config>) -> Scrub {
    let mut scrub = Scrub::default();
    scrub.learn(&machine::secrets_of_unit(roots));
    let beside = file.parent().map(|folder| folder.join("credentials"));
    let folders = [roots.etc.join("waypost/credentials"), roots.run.join("credentials/waypost.service")];
    let uplink = config.and_then(|config| config.uplink.as_ref());
    let mut files: Vec<PathBuf> = [
        config.map(|config| config.http.pin_file.clone()),
        config.and_then(|config| config.http.tls.as_ref().map(|(_, key)| key.clone())),
        uplink.and_then(|uplink| uplink.password_file.clone()),
        uplink.and_then(|uplink| uplink.identity.as_ref().map(|(_, key)| key.clone())),
    ]
    .into_iter()
    .flatten()
    .collect();
    let is_there = |error: &io::Error| error.kind() != io::ErrorKind::NotFound;
    for folder in folders.into_iter().chain(beside) {
        match std::fs::read_dir(&folder) {
            Ok(entries) => files.extend(entries.flatten().map(|entry| entry.path())),
            Err(error) if is_there(&error) => scrub.miss(format!("{}: {error}", folder.display())),
            Err(_) => {}
        }
    }
    if files.len() > SECRETS_MAX {
        scrub.miss(format!("there are more than {SECRETS_MAX} files"));
    }
    for path in files.iter().take(SECRETS_MAX) {
        let mut bytes = Vec::new();
        let read = std::fs::metadata(path).and_then(|found| match found.is_file() {
            true => File::open(path)?.take(SECRET_MAX).read_to_end(&mut bytes),
            // A pipe would be waited for.
            false => Ok(0),
        });
        match read {
            Ok(_) => scrub.learn(&String::from_utf8_lossy(&bytes)),
            Err(error) if is_there(&error) => scrub.miss(format!("{}: {error}", path.display())),
            Err(_) => {}
        }
    }
    scrub
}

/// What goes into the archive.
#[derive(Default)]
struct Bundle {
    scrub: Scrub,
    parts: Vec<Part>,
    /// What could not be had, and why.
    missing: Vec<(String, String)>,
}

/// One file of it.
struct Part {
    name: String,
    text: String,
    /// Bytes that were cut off its end.
    cut: usize,
}

impl Bundle {
    /// A text without its secrets, or why there is none.
    fn put(&mut self, name: &str, got: Result<String, String>) {
        match got {
            Ok(text) => self.keep(name, self.scrub.text(&text)),
            Err(why) => self.missing.push((name.to_owned(), self.scrub.text(&why))),
        }
    }

    /// The same for JSON.
    fn put_json(&mut self, name: &str, got: Result<Value, impl Display>) {
        match got {
            Ok(mut value) => {
                self.scrub.value(&mut value);
                self.keep(name, format!("{value:#}\n"));
            }
            Err(why) => self.put(name, Err(why.to_string())),
        }
    }

    /// The same for JSON that is written already.
    fn put_json_text(&mut self, name: &str, got: Result<String, String>) {
        match got.as_deref().map(serde_json::from_str::<Value>) {
            Ok(Ok(value)) => self.put_json(name, Ok::<_, String>(value)),
            _ => self.put(name, got),
        }
    }

    /// A file of this machine, as far as it is text.
    fn put_file(&mut self, name: &str, path: &Path) {
        let mut bytes = Vec::new();
        let most = u64::try_from(FILE_MAX).unwrap_or(u64::MAX).saturating_add(1);
        let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
        let text = read.map(|_| String::from_utf8_lossy(&bytes).into_owned());
        self.put(name, text.map_err(|error| format!("{}: {error}", path.display())));
    }

    fn keep(&mut self, name: &str, mut text: String) {
        let length = text.len();
        text.truncate(text.floor_char_boundary(FILE_MAX));
        let used: usize = self.parts.iter().map(|part| part.text.len()).sum();
        if used + text.len() > TOTAL_MAX {
            let why = format!("the bundle is full: {} MiB at most", TOTAL_MAX >> 20);
            return self.missing.push((name.to_owned(), why));
        }
        self.parts.push(Part { name: name.to_owned(), cut: length - text.len(), text });
    }

    /// What is in it, and what is not.
    fn manifest(&self, captures: bool) -> String {
        let files: Vec<Value> = self
            .parts
            .iter()
            .map(|Part { name, text, cut }| json!({ "file": name, "bytes": text.len(), "cut_bytes": cut }))
            .collect();
        let missing: Vec<Value> = self.missing.iter().map(|(name, why)| json!({ "file": name, "why": why })).collect();
        // SAFETY: takes and touches nothing, and cannot fail.
        let uid = unsafe { libc::geteuid() };
        let manifest = json!({
            "bundle": 1,
            "version": env!("CARGO_PKG_VERSION"),
            "made_at": rfc3339(Clock::system().now().wall_ms),
            "made_by_uid": uid,
            "captures": captures,
            "left_out": "contents of credentials, values of the environment, users and passwords in addresses, private keys, and \
                         without --captures what was scanned and where things are",
            "files": files,
            "missing": missing,
        });
        format!("{manifest:#}\n")
    }

    /// Writes the archive; answers its size. Bytes
    fn write(&self, path: &Path, captures: bool) -> io::Result<u64> {
        let now_s = Clock::system().now().wall_ms.div_euclid(1000);
        let mtime = u64::try_from(now_s).unwrap_or_default();
        let file = File::options().write(true).open(path)?;
        let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
        let manifest = self.manifest(captures);
        let parts = self.parts.iter().map(|part| (part.name.as_str(), part.text.as_str()));
        for (name, text) in std::iter::once(("manifest.json", manifest.as_str())).chain(parts) {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o600);
            header.set_mtime(mtime);
            header.set_size(u64::try_from(text.len()).unwrap_or_default());
            archive.append_data(&mut header, format!("waypost-support/{name}"), text.as_bytes())?;
        }
        let mut file = archive.into_inner()?.finish()?;
        file.flush()?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_bounded_and_its_manifest_says_what_was_cut_or_left_out() {
        let mut bundle = Bundle::default();
        for n in 0..20 {
            bundle.put(&format!("{n}.txt"), Ok("ä".repeat(FILE_MAX)));
        }
        bundle.put("gone.txt", Err("mqtt://u:p@h did not answer".to_owned()));
        let size: usize = bundle.parts.iter().map(|part| part.text.len()).sum();
        assert!(size <= TOTAL_MAX && bundle.parts.len() == TOTAL_MAX / FILE_MAX, "{size}");
        let manifest: Value = serde_json::from_str(&bundle.manifest(false)).unwrap();
        assert_eq!(manifest["files"][0], json!({ "file": "0.txt", "bytes": FILE_MAX, "cut_bytes": FILE_MAX }));
        assert_eq!(manifest["missing"][0]["why"], "the bundle is full: 16 MiB at most");
        let last = manifest["missing"].as_array().unwrap().last().unwrap();
        assert_eq!(last["why"], "mqtt://[left out]@h did not answer");
    }
}
