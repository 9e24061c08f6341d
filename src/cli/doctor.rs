//! `waypost doctor`: everything that keeps a node from its work, each with what to do about it. It opens no port and writes nothing:
//! what needs the node is asked of the node.

mod ports;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::ask::Running;
use super::door::Door;
use super::{Done, Failure, exit, load, papers, places, print};
use crate::config::{Config, DEFAULT_FILE};
use crate::devices::{self, Roots};
use crate::store::{Closed, Files};

/// Less than this free is no room to work in. Bytes.
const ROOM_MIN: u64 = 32 << 20;

#[derive(Args)]
pub(super) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Look at the devices of the system below DIR
    #[arg(long, hide = true, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// Well.
    Ok,
    /// It works, and will not for ever.
    Warn,
    /// It does not work.
    Fail,
    /// Nobody here may know.
    Unknown,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: String,
    verdict: Verdict,
    text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
}

/// What was found so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, check: &str, verdict: Verdict, text: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Finding { check: check.to_owned(), verdict, text: text.into(), remedy: remedy.into() });
    }

    fn ok(&mut self, check: &str, text: impl Into<String>) {
        self.add(check, Verdict::Ok, text, "");
    }

    fn warn(&mut self, check: &str, text: impl Into<String>, remedy: impl Into<String>) {
        self.add(check, Verdict::Warn, text, remedy);
    }

    fn fail(&mut self, check: &str, text: impl Into<String>, remedy: impl Into<String>) {
        self.add(check, Verdict::Fail, text, remedy);
    }

    fn is_well(&self) -> bool {
        self.0.iter().all(|one| one.verdict != Verdict::Fail)
    }
}

/// `waypost doctor`
pub(super) fn doctor(file: &Path, args: &DoctorArgs) -> Done {
    let roots = args.root.as_deref().map_or_else(Roots::default, Roots::below);
    let found = examine(file, &roots)?;
    if args.json {
        print(&format!("{:#}\n", json!({ "well": found.is_well(), "checks": found.0 })))?;
    } else {
        print(&words(&found))?;
    }
    Ok(if found.is_well() { ExitCode::SUCCESS } else { ExitCode::from(exit::NOT_WELL) })
}

/// What it prints, for a support bundle.
pub(super) fn report(file: &Path, roots: &Roots) -> Result<String, Failure> {
    Ok(words(&examine(file, roots)?))
}

fn examine(file: &Path, roots: &Roots) -> Result<Findings, Failure> {
    let mut found = Findings::default();
    let config = configuration(&mut found, file);
    let (health, pid) = node(&mut found, file);
    if let Some(config) = &config {
        store(&mut found, roots, config, health.as_ref());
        certificates(&mut found, config);
        places(&mut found, file, config);
    }
    if let Some(health) = &health {
        inside(&mut found, health);
    }
    if let Some(door) = Door::find(config.as_ref(), health.as_ref()) {
        found.add("screen", Verdict::Ok, door.line(), Door::ADVICE);
    }
    scanners(&mut found, file);
    let reader = ports::Reader { roots, health: health.as_ref(), pid };
    match &config {
        Some(config) => reader.all(&mut found, config)?,
        None => reader.running(&mut found),
    }
    Ok(found)
}

fn words(found: &Findings) -> String {
    let mut text = String::new();
    for one in &found.0 {
        let verdict = match one.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
            Verdict::Unknown => "?",
        };
        text.push_str(&format!("{verdict:<4}  {:<10} {}\n", one.check, one.text.replace('\n', "\n                 ")));
        if !one.remedy.is_empty() {
            text.push_str(&format!("                 -> {}\n", one.remedy));
        }
    }
    let count = |verdict| found.0.iter().filter(|one| one.verdict == verdict).count();
    let (fails, warns) = (count(Verdict::Fail), count(Verdict::Warn));
    let end = match (fails, warns) {
        (0, 0) => "all is well".to_owned(),
        (0, warns) => format!("it works; {warns} to look at"),
        (fails, warns) => format!("{fails} must be mended, {warns} to look at"),
    };
    text + &end + "\n"
}

fn configuration(found: &mut Findings, file: &Path) -> Option<Config> {
    match load(file) {
        Ok(loaded) => {
            let n = loaded.config.gps.len() + loaded.config.scanners.len();
            found.ok("config", format!("{} is valid, sources: {n}", file.display()));
            for warning in &loaded.warnings {
                found.warn("config", warning.to_string(), "");
            }
            if n == 0 {
                let remedy = "waypost devices lists what is plugged in, with the lines to add";
                found.warn("config", "no receiver and no scanner is configured: there is nothing to track", remedy);
            }
            Some(loaded.config)
        }
        Err(failure) => {
            found.fail("config", failure.text, "mend it, then: waypost check && systemctl restart waypost");
            None
        }
    }
}

/// Asks the node how it is; answers its health and its process.
fn node(found: &mut Findings, file: &Path) -> (Option<Value>, Option<u32>) {
    let start = if file == Path::new(DEFAULT_FILE) {
        "systemctl enable --now waypost; its log: journalctl -u waypost".to_owned()
    } else {
        format!("waypost --config {} run", file.display())
    };
    let running = match Running::find(file) {
        Ok(Some(running)) => running,
        Ok(None) => {
            found.fail("node", "it does not run", start);
            return (None, None);
        }
        Err(failure) => {
            found.add("node", Verdict::Unknown, failure.text, "sudo waypost doctor");
            return (None, None);
        }
    };
    let pid = running.pid();
    match running.get::<Value>("/health") {
        Ok(health) => {
            let of = |key: &str| health[key].as_str().unwrap_or("?").to_owned();
            let process = pid.map_or_else(String::new, |pid| format!(", process {pid}"));
            found.ok("node", format!("{} {} answers{process}", of("node"), of("version")));
            (Some(health), pid)
        }
        Err(failure) => {
            found.fail("node", failure.text, "journalctl -u waypost; then: systemctl restart waypost");
            (None, pid)
        }
    }
}

/// Scanners that read where nobody has drawn a zone.
fn places(found: &mut Findings, file: &Path, config: &Config) {
    // Who may not look has been told so where the node was asked.
    let Ok(Some(plan)) = places::plan_of(file) else { return };
    for strange in places::strange(&plan, config) {
        found.warn("plan", strange, "correct place in its block, or draw that zone; scans count all the same");
    }
}

/// The folder of the store, its files and its room.
fn store(found: &mut Findings, roots: &Roots, config: &Config, health: Option<&Value>) {
    let (dir, db) = (&config.store.dir, config.store.dir.join("waypost.db"));
    let shown = dir.display();
    let Ok(folder) = std::fs::metadata(dir) else {
        let remedy = format!(
            "the unit makes its own at the first start; another: install -d -o waypost -g waypost -m 0750 {shown}"
        );
        return found.fail("store", format!("{shown} is not there or closed to you"), remedy);
    };
    let (_, _, access) = devices::look(roots, dir, devices::Port::Serial);
    let strange = std::fs::metadata(&db).ok().filter(|db| db.uid() != folder.uid());
    if !access.may_open {
        let text = format!("{} may not write into {shown}: {}", access.user, access.because);
        found.fail("store", text, format!("chown -R waypost:waypost {shown}"));
    } else if strange.is_some() {
        let text = format!("{} has another owner than its folder: something ran as the wrong user", db.display());
        found.fail("store", text, format!("stop waypost, then: chown -R --reference={shown} {shown}"));
    } else if let Some(health) = health {
        if health["disk"]["writable"] == false {
            let is_full = health["disk"]["free_bytes"].as_u64().is_some_and(|free| free < ROOM_MIN);
            let remedy = if is_full {
                "its disk is full: free space; what is held back is stored then, by itself"
            } else {
                "journalctl -u waypost says why; a worn card turns read-only: replace it"
            };
            found.fail("store", format!("the last commit into {shown} failed"), remedy);
        } else {
            found.ok("store", format!("{shown} takes what is committed"));
        }
    } else if db.exists() {
        match Closed::open(dir) {
            Ok(_) => found.ok("store", format!("{shown} is there and nobody uses it")),
            Err(error) => found.fail("store", error.to_string(), "journalctl -u waypost says more"),
        }
    } else {
        found.ok("store", format!("{shown} is ready for a first start"));
    }
    let files = Files::measure(&db);
    let Some(free) = files.free else {
        return found.add("room", Verdict::Unknown, format!("the file system of {shown} does not say"), "");
    };
    // A running node knows what of the file is free for new rows, and what the disk leaves.
    let told = health.and_then(|health| u8::try_from(health["disk"]["used_pct"].as_u64()?).ok());
    let pct = told.unwrap_or_else(|| files.used_pct(config.store.max_mib));
    let text = format!(
        "{pct} % of the room (store.max_mib = {}) in use, {} MiB free on the disk",
        config.store.max_mib,
        free >> 20
    );
    let left = (config.store.max_mib << 20) / 100 * u64::from(100 - pct);
    if health.is_some_and(|health| health["disk"]["intake"] == "refused") {
        found.fail("room", format!("{text}; new events are refused"), "docs/operating/full-disk.md says what to do");
    } else if free < ROOM_MIN {
        found.fail("room", text, format!("make room on the file system of {shown}"));
    } else if free < left {
        found.warn("room", text, "the disk is full before store.max_mib is: write a lower one, or make room");
    } else {
        found.ok("room", text);
    }
}

/// What the test sheet showed of the scanners that have read it.
fn scanners(found: &mut Findings, file: &Path) {
    // Where nobody can be asked, an earlier check has said so.
    for sheet in super::sheet::verdicts(file).unwrap_or_default() {
        let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let text = format!("{}, by the test sheet: {}", of(&sheet["source"]), of(&sheet["verdict"]["text"]));
        match sheet["verdict"]["grade"].as_str() {
            Some("bad") => found.fail("scanner", text, "waypost sheet says which setting to change"),
            _ => found.ok("scanner", text),
        }
    }
}

/// The files behind `mqtts://` and `https://`.
fn certificates(found: &mut Findings, config: &Config) {
    let Some(look) = papers::look(config) else { return };
    for wrong in &look.errors {
        found.fail("tls", format!("{}: {}", wrong.key, wrong.text), wrong.remedy.as_str());
    }
    for warning in &look.warnings {
        found.warn("tls", warning.as_str(), "");
    }
    if look.errors.is_empty() && look.warnings.is_empty() {
        let end = look.first.map(|term| format!(": {} ends first, on {}", term.of, term.end()));
        found.ok("tls", format!("the certificates and keys can be used{}", end.unwrap_or_default()));
    }
}

/// What the node says of itself, but for its sources.
fn inside(found: &mut Findings, health: &Value) {
    match health["clock"]["tq"].as_str() {
        Some("none") => found.warn(
            "clock",
            "nothing vouches for the time; events are marked so",
            "timedatectl set-ntp true, or a receiver with clock = true and a free view of the sky",
        ),
        Some(tq) => found.ok("clock", format!("the time comes from {tq}")),
        None => {}
    }
    let uplink = &health["uplink"];
    let of = |key: &str| uplink[key].as_str().unwrap_or_default();
    if uplink["configured"] != true {
        found.ok("uplink", "none is configured: events stay here");
    } else if of("state") == "connected" {
        found.ok("uplink", format!("connected to {}", of("url")));
    } else {
        let text = format!("{} is {}: {}", of("url"), of("state"), of("last_error"));
        found.fail("uplink", text, "check [uplink], the network, and the broker's own log; events wait here meanwhile");
    }
    for alarm in health["alarms"].as_array().into_iter().flatten() {
        let of = |key: &str| alarm[key].as_str().unwrap_or_default();
        // A source's alarm says what its own line below says.
        if of("name").starts_with("source_") {
            continue;
        }
        let verdict = if of("severity") == "fault" { Verdict::Fail } else { Verdict::Warn };
        found.add("alarm", verdict, of("text"), of("advice"));
    }
    let is_bad = |worker: &&Value| !matches!(worker["state"].as_str(), Some("fresh" | "ended"));
    for worker in health["workers"].as_array().into_iter().flatten().filter(is_bad) {
        let of = |key: &str| worker[key].as_str().unwrap_or_default();
        let text = format!("{} is {} {}", of("worker"), of("state"), of("last_reason"));
        found.fail("worker", text.trim_end(), "it is started anew by itself; if it stays so: journalctl -u waypost");
    }
    let ledger = &health["ledger"];
    if ledger["balance"] != 0 {
        let remedy = "please report it with the output of: waypost outbox stat --json";
        found.fail("ledger", format!("the counts are off by {}", ledger["balance"]), remedy);
    }
    match ledger["letters"]["open"].as_i64() {
        Some(0) | None => {}
        Some(n) => found.warn("letters", format!("{n} could not go on and wait for a person"), "waypost letters list"),
    }
}
