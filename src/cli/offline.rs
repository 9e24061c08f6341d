//! Looks at the store and beside it: through the node while it runs, else at the file under its lock.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::ask::Running;
use super::progress::{Interrupt, Progress};
use super::{Done, Failure, exit, load, print};
use crate::clock::Clock;
use crate::domain::{Lane, Row, Seq};
use crate::store::{Closed, Filter, Look, Reader, StoreError};
use crate::wire;

/// Events read at once for an export.
const PAGE: usize = 500;

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
    let ledger: Value = match Running::find(config)? {
        Some(node) => node.get("/ledger")?,
        None => {
            let known = load(config)?.config;
            let ids = known.gps.iter().map(|one| &one.id).chain(known.scanners.iter().map(|one| &one.id));
            let ledger = closed(config)?.read(|reader| reader.ledger()).map_err(failure)?;
            let text = ledger.told(&ids.cloned().collect::<Vec<_>>(), Some(Clock::system().now().wall_ms));
            serde_json::from_str(&text).unwrap_or_default()
        }
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

/// `waypost outbox export`
pub(super) fn export(config: &Path, from: Option<i64>, to: Option<i64>, unsent: bool) -> Done {
    let out = io::stdout().lock();
    let mut out = io::BufWriter::new(out);
    let (from, to) = (from.unwrap_or(1).max(1), to.unwrap_or(i64::MAX));
    if from > to {
        let text = format!("no event lies from {from} to {to}; give a --to that is not before --from");
        return Err(Failure::new(exit::USAGE, text));
    }
    let (mut progress, interrupt, mut n) = (Progress::new("events"), Interrupt::listen()?, 0_u64);
    // The lines that were written stay whole, whoever ends it.
    let mut line = |text: &dyn std::fmt::Display| {
        writeln!(out, "{text}")?;
        n += 1;
        progress.tell(n, None);
        if interrupt.is_asked() {
            return Err(Failure::new(exit::NOT_WELL, format!("interrupted; {n} events were written, as whole lines")));
        }
        Ok(())
    };
    let done = match Running::find(config)? {
        Some(node) => export_running(&node, &mut line, from, to, unsent),
        None => export_closed(&closed(config)?, &mut line, from, to, unsent),
    };
    let flushed = out.flush().map_err(Failure::from);
    progress.end();
    done.and(flushed).map(|()| ExitCode::SUCCESS)
}

/// Writes one event.
type Line<'a> = &'a mut dyn FnMut(&dyn std::fmt::Display) -> Result<(), Failure>;

fn export_closed(store: &Closed, line: Line<'_>, from: i64, to: i64, unsent: bool) -> Result<(), Failure> {
    let ledger = store.read(|reader| reader.ledger()).map_err(failure)?;
    if unsent && ledger.events.get("unsent").is_none_or(|n| *n == 0) {
        // Without an uplink nothing waits, whatever the cursors say.
        return Ok(());
    }
    let cursors = store.read(|reader| Ok([reader.cursor(Lane::Scan)?, reader.cursor(Lane::Fix)?])).map_err(failure)?;
    let again = store.read(|reader| Ok(Lane::ALL.map(|lane| reader.waiting(lane, usize::MAX)))).map_err(failure)?;
    let again: BTreeSet<Seq> =
        again.into_iter().flatten().flat_map(|page| page.rows.into_iter().map(|row| row.seq)).collect();
    let behind = |row: &Row| row.seq > cursors[usize::from(row.kind.lane() == Lane::Fix)] || again.contains(&row.seq);
    let mut after = Seq(from - 1);
    loop {
        let page = store.read(|reader| reader.after(after, PAGE, &Filter::default())).map_err(failure)?;
        for row in page.rows.iter().filter(|row| row.seq.0 <= to && (!unsent || behind(row))) {
            line(&wire::event(row, false))?;
        }
        say_damaged(page.damaged.iter().map(|one| one.seq.0).filter(|seq| *seq <= to));
        if !page.more || page.seen.0 >= to {
            return Ok(());
        }
        after = page.seen;
    }
}

/// The events behind the cursors that a person wants sent again, as a running node has them.
fn sent_again(node: &Running) -> Result<BTreeSet<i64>, Failure> {
    let (mut again, mut before) = (BTreeSet::new(), i64::MAX);
    loop {
        let page: Value = node.get(&format!("/letters?stage=uplink&limit={PAGE}&before={before}"))?;
        let letters = page["items"].as_array().into_iter().flatten();
        again.extend(letters.filter(|letter| letter["resend"] == true).filter_map(|letter| letter["seq"].as_i64()));
        let Some(next) = page["next"].as_i64() else { return Ok(again) };
        before = next;
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

fn export_running(node: &Running, line: Line<'_>, from: i64, to: i64, unsent: bool) -> Result<(), Failure> {
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
    let again = if unsent { sent_again(node)? } else { BTreeSet::new() };
    // What is no longer in the log cannot be asked for.
    let mut seen = oldest.max(from - 1);
    while seen < head {
        let page: EventPage = node.get(&format!("/events?after={epoch}.{seen}&limit={PAGE}"))?;
        for event in &page.items {
            let Place { seq, kind } = serde_json::from_str(event.get()).map_err(strange)?;
            if seq <= to && (!unsent || seq > cursors[usize::from(kind == "fix")] || again.contains(&seq)) {
                line(event)?;
            }
        }
        say_damaged(page.damaged.iter().copied().filter(|seq| *seq <= to));
        let next = page.next.as_deref().and_then(|next| next.rsplit('.').next()?.parse().ok());
        let Some(next) = next.filter(|next| *next > seen) else { return Ok(()) };
        seen = next;
    }
    Ok(())
}
