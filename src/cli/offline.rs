//! Looks at the store and beside it: through the node while it runs, else at the file under its lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::ask::Running;
use super::{Done, Failure, exit, load, print};
use crate::domain::{Lane, Reason, Row, Seq};
use crate::store::{Closed, Filter, Ledger, Letter, Look, Reader, SourceLedger, StoreError};
use crate::wire;

/// Events read at once for an export.
const PAGE: usize = 500;
/// Letters that one list shows.
const LETTERS_MAX: usize = 500;

/// Looks at the store of a node that does not run.
pub(super) fn look<T>(config: &Path, look: impl FnOnce(&Reader<'_>) -> Look<T>) -> Result<T, Failure> {
    closed(config)?.read(look).map_err(failure)
}

pub(super) fn closed(config: &Path) -> Result<Closed, Failure> {
    Closed::open(&load(config)?.config.store.dir).map_err(failure)
}

#[expect(clippy::needless_pass_by_value, reason = "handed over as a function to map_err")]
pub(super) fn failure(error: StoreError) -> Failure {
    let code = if matches!(error, StoreError::Locked { .. }) { exit::BUSY } else { exit::IO };
    Failure::new(code, error.to_string())
}

/// `waypost outbox stat`
pub(super) fn stat(config: &Path, as_json: bool) -> Done {
    let ledger = match Running::find(config)? {
        Some(node) => node.get("/ledger")?,
        None => of(&closed(config)?.read(|reader| reader.ledger()).map_err(failure)?),
    };
    if as_json {
        print(&format!("{ledger:#}\n"))?;
    } else {
        let mut text = String::new();
        for part in ["events", "letters"] {
            for (name, n) in ledger[part].as_object().into_iter().flatten() {
                text.push_str(&format!("{part:<8} {name:<13} {n}\n"));
            }
        }
        text.push_str(&format!("balance  {}\n", ledger["balance"]));
        print(&text)?;
    }
    Ok(if ledger["balance"] == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::NOT_WELL) })
}

fn of(ledger: &Ledger) -> Value {
    let sheet = |source: &SourceLedger| {
        let SourceLedger { frames, outcomes, reasons, policies } = source;
        let mut sheet = json!({ "frames": frames, "reasons": reasons });
        if !policies.is_empty() {
            sheet["policies"] = json!(policies);
        }
        for (outcome, n) in outcomes {
            sheet[outcome] = json!(n);
        }
        sheet
    };
    let sources: BTreeMap<&str, Value> =
        ledger.sources.iter().map(|(id, source)| (id.as_str(), sheet(source))).collect();
    json!({ "balance": ledger.imbalance(), "sources": sources, "events": ledger.events, "letters": ledger.letters })
}

/// `waypost letters list`
pub(super) fn letters(config: &Path, as_json: bool, noise: bool) -> Done {
    let letters: Vec<Value> = match Running::find(config)? {
        Some(node) => {
            let answer: Value = node.get(if noise { "/letters?limit=500&all=1" } else { "/letters?limit=500" })?;
            answer["items"].as_array().cloned().unwrap_or_default()
        }
        None => {
            let found = closed(config)?.read(|reader| reader.letters(noise, LETTERS_MAX)).map_err(failure)?;
            found.iter().map(wire_letter).collect()
        }
    };
    if as_json {
        return print(&format!("{:#}\n", Value::Array(letters)));
    }
    let word = |letter: &Value, key: &str| letter[key].as_str().unwrap_or("-").to_owned();
    let mut text = String::new();
    for letter in &letters {
        let at = wire::rfc3339(letter["received_ms"].as_i64().unwrap_or(0));
        let (reason, source, shown) = (word(letter, "reason"), word(letter, "source"), word(letter, "bytes"));
        text.push_str(&format!("{:>6} {at} {reason:<16} {source:<12} {shown}\n", letter["letter"]));
    }
    if letters.is_empty() {
        text.push_str("no open letters\n");
    }
    let reasons: BTreeSet<[String; 3]> =
        letters.iter().map(|letter| ["reason", "text", "advice"].map(|key| word(letter, key))).collect();
    for [reason, what, advice] in reasons {
        text.push_str(&format!("\n{reason}: {what} {advice}"));
    }
    text.push_str(if letters.is_empty() { "" } else { "\n" });
    print(&text)
}

/// `waypost capture`
pub(super) fn capture(config: &Path, port: &str) -> Done {
    if let Some(node) = Running::find(config)? {
        let health: Value = node.get("/health")?;
        let word = |source: &Value, key: &str| source[key].as_str().unwrap_or_default().to_owned();
        let sources = health["sources"].as_array().into_iter().flatten();
        let id = source_of(port, sources.map(|source| (word(source, "id"), word(source, "port"))))?;
        return print(&node.text(&format!("/captures/{id}"))?);
    }
    let config = load(config)?.config;
    let gps = config.gps.iter().map(|one| (one.id.clone(), one.port.to_string()));
    let scanners = config.scanners.iter().map(|one| (one.id.clone(), one.port.to_string()));
    let id = source_of(port, gps.chain(scanners))?;
    let file = config.store.dir.join("captures").join(format!("{id}.ring"));
    let mut file = File::open(&file).map_err(|error| {
        let text = format!("{}: {error}; nothing was kept of {id} yet: it is when waypost stops", file.display());
        Failure::new(exit::NO_INPUT, text)
    })?;
    io::copy(&mut file, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// The source that is meant by its id, by its port as configured, or by another path to the same device.
fn source_of(asked: &str, sources: impl Iterator<Item = (String, String)>) -> Result<String, Failure> {
    let sources: Vec<(String, String)> = sources.collect();
    // What leads to no device is none of them, and is answered as that.
    let device = |path: &str| Path::new(path).canonicalize().ok();
    let by_id = sources.iter().find(|(id, _)| id == asked);
    let by_port = || sources.iter().find(|(_, port)| port == asked);
    let by_device = || sources.iter().find(|(_, port)| device(port).is_some() && device(port) == device(asked));
    by_id.or_else(by_port).or_else(by_device).map(|(id, _)| id.clone()).ok_or_else(|| {
        let known: Vec<String> = sources.iter().map(|(id, port)| format!("{id} ({port})")).collect();
        let known = if known.is_empty() { "none are configured".to_owned() } else { known.join(", ") };
        Failure::new(exit::USAGE, format!("{asked:?} is no source of this node; its sources: {known}"))
    })
}

/// As a running node answers it.
fn wire_letter(letter: &Letter) -> Value {
    let reason = Reason::from_code(&letter.reason);
    let mut item = json!({
        "letter": letter.letter, "state": letter.state, "stage": letter.stage, "reason": letter.reason,
        "class": letter.class, "retry": reason.is_some_and(Reason::retry_helps),
        "text": reason.map_or("", Reason::sentence), "advice": reason.map_or("", Reason::advice),
        "source": letter.source, "peer": letter.peer, "seq": letter.seq,
        "length": letter.length, "detail": letter.detail, "received_ms": letter.received_ms,
        "bytes": wire::printable(&letter.bytes),
    });
    if let Some(keys) = item.as_object_mut() {
        keys.retain(|_, value| !value.is_null());
    }
    item
}

/// `waypost outbox export`
pub(super) fn export(config: &Path, from: Option<i64>, to: Option<i64>, unsent: bool) -> Done {
    let out = io::stdout().lock();
    let mut out = io::BufWriter::new(out);
    let (from, to) = (from.unwrap_or(1).max(1), to.unwrap_or(i64::MAX));
    let done = match Running::find(config)? {
        Some(node) => export_running(&node, &mut out, from, to, unsent),
        None => export_closed(&closed(config)?, &mut out, from, to, unsent),
    };
    let flushed = out.flush().map_err(Failure::from);
    done.and(flushed).map(|()| ExitCode::SUCCESS)
}

fn export_closed(store: &Closed, out: &mut impl Write, from: i64, to: i64, unsent: bool) -> Result<(), Failure> {
    let ledger = store.read(|reader| reader.ledger()).map_err(failure)?;
    if unsent && ledger.events.get("unsent").is_none_or(|n| *n == 0) {
        // Without an uplink nothing waits, whatever the cursors say.
        return Ok(());
    }
    let cursors = store.read(|reader| Ok([reader.cursor(Lane::Scan)?, reader.cursor(Lane::Fix)?])).map_err(failure)?;
    let behind = |row: &Row| row.seq > cursors[usize::from(row.kind.lane() == Lane::Fix)];
    let mut after = Seq(from - 1);
    loop {
        let page = store.read(|reader| reader.after(after, PAGE, &Filter::default())).map_err(failure)?;
        for row in page.rows.iter().filter(|row| row.seq.0 <= to && (!unsent || behind(row))) {
            writeln!(out, "{}", wire::event(row, false))?;
        }
        say_damaged(page.damaged.iter().map(|one| one.seq.0).filter(|seq| *seq <= to));
        if !page.more || page.seen.0 >= to {
            return Ok(());
        }
        after = page.seen;
    }
}

/// Says which events are left out.
fn say_damaged(seqs: impl Iterator<Item = i64>) {
    for seq in seqs {
        eprintln!("event {seq} is not as it was written and is left out; see docs/operating/corrupt-store.md");
    }
}

/// A page of events as the node wrote them.
#[derive(Deserialize)]
struct EventPage {
    items: Vec<Box<RawValue>>,
    #[serde(default)]
    damaged: Vec<i64>,
    next: Option<String>,
}

/// What an export looks at of an event.
#[derive(Deserialize)]
struct Place {
    seq: i64,
    kind: String,
}

fn export_running(node: &Running, out: &mut impl Write, from: i64, to: i64, unsent: bool) -> Result<(), Failure> {
    if unsent && node.get::<Value>("/ledger")?["events"]["unsent"] == 0 {
        return Ok(());
    }
    let strange = |error: serde_json::Error| Failure::new(exit::INTERNAL, format!("an event of the node: {error}"));
    let health: Value = node.get("/health")?;
    let place = |key: &str| {
        let (epoch, seq) = health[key].as_str().unwrap_or_default().split_once('.').unwrap_or_default();
        (epoch.to_owned(), seq.parse::<i64>().unwrap_or(0))
    };
    let ((epoch, head), (_, oldest)) = (place("cursor"), place("oldest"));
    let head = head.min(to);
    let lane = |lane: &str| health["cursors"][lane].as_i64().unwrap_or(0);
    let cursors = [lane("scan"), lane("fix")];
    // What is no longer in the log cannot be asked for.
    let mut seen = oldest.max(from - 1);
    while seen < head {
        let page: EventPage = node.get(&format!("/events?after={epoch}.{seen}&limit={PAGE}"))?;
        for event in &page.items {
            let Place { seq, kind } = serde_json::from_str(event.get()).map_err(strange)?;
            if seq <= to && (!unsent || seq > cursors[usize::from(kind == "fix")]) {
                writeln!(out, "{event}")?;
            }
        }
        say_damaged(page.damaged.iter().copied().filter(|seq| *seq <= to));
        let next = page.next.as_deref().and_then(|next| next.rsplit('.').next()?.parse().ok());
        let Some(next) = next.filter(|next| *next > seen) else { return Ok(()) };
        seen = next;
    }
    Ok(())
}
