//! What the node says of itself: a running one over its control socket, a stopped one by its files.

use std::path::Path;

use serde_json::{Value, json};

use super::{Bundle, Failure, Running, failure, load};
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::UnixMs;
use crate::store::{Closed, Entry, Lines, Log};

/// Lines of each log.
const LOG_LINES: usize = 500;
/// The days of letters that are summed up.
const LETTERS: &str = "7d";
const LOGS: [(&str, Log); 3] = [("inbound", Log::Inbound), ("outbound", Log::Outbound), ("failures", Log::Failures)];

/// Puts all of it into the bundle; `captures`: also what was scanned and where things are.
pub(super) fn gather(bundle: &mut Bundle, file: &Path, config: Option<&Config>, store: &Path, captures: bool) {
    match Running::find(file) {
        Ok(Some(node)) => running(bundle, &node, captures),
        Ok(None) => {
            for name in ["node/health.json", "node/alarms.json", "node/sources.json", "node/metrics.txt"] {
                bundle.put(name, Err("the node does not run".to_owned()));
            }
            stopped(bundle, file, config, store, captures);
        }
        Err(why) => bundle.put("node/health.json", Err(why.text)),
    }
}

fn running(bundle: &mut Bundle, node: &Running, captures: bool) {
    let get = |path: &str| node.get::<Value>(path).map_err(|failure| failure.text);
    let mut health = match get("/health") {
        Ok(health) => health,
        Err(why) => {
            bundle.put("node/health.json", Err(why));
            // Each further question would take as long.
            return bundle.put("node", Err("a node that does not say how it is was asked nothing else".to_owned()));
        }
    };
    let sources = ids(&health["sources"]);
    bundle.put_json("node/alarms.json", Ok::<_, String>(health["alarms"].clone()));
    if let (Some(health), false) = (health.as_object_mut(), captures) {
        // Codes and places of things, and of who drives them.
        health.remove("assets");
    }
    bundle.put_json("node/health.json", Ok::<_, String>(health));
    bundle.put_json("node/sources.json", get("/sources"));
    bundle.put_json("node/ledger.json", get("/ledger"));
    bundle.put_json("node/letters.json", get(&format!("/letters/summary?window={LETTERS}")));
    bundle.put_json("node/identity.json", get("/identity"));
    bundle.put_json("node/test-sheets.json", get("/sheets"));
    bundle.put("node/metrics.txt", node.text("/metrics").map_err(|failure| failure.text));
    for (name, _) in LOGS {
        bundle.put_json(&format!("logs/{name}.json"), get(&format!("/logs/{name}?limit={LOG_LINES}")));
    }
    for id in sources.iter().filter(|_| captures) {
        let capture = node.text(&format!("/captures/{id}")).map_err(|failure| failure.text);
        bundle.put(&format!("captures/{id}.ndjson"), capture);
    }
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|one| Some(one["id"].as_str()?.to_owned())).collect()
}

fn stopped(bundle: &mut Bundle, file: &Path, config: Option<&Config>, dir: &Path, captures: bool) {
    let store = Closed::open(dir).map_err(|error| failure(error).text);
    let told = |look: Result<Value, Failure>| look.map_err(|failure| failure.text);
    let sources: Vec<String> = config.map(sources_of).unwrap_or_default();
    match &store {
        Ok(store) => {
            bundle.put_json("node/ledger.json", told(ledger(store, &sources)));
            bundle.put_json("node/letters.json", told(letters(store)));
            for (name, log) in LOGS {
                bundle.put_json(&format!("logs/{name}.json"), told(lines(store, log)));
            }
        }
        Err(why) => bundle.put("node/ledger.json", Err(format!("{why}; nor logs and letters"))),
    }
    // Only to say that a configuration which cannot be read names no source.
    if captures && sources.is_empty() {
        let why = load(file).map_or_else(|failure| failure.text, |_| "no source is configured".to_owned());
        bundle.put("captures", Err(why));
    }
    for id in sources.iter().filter(|_| captures) {
        let ring = dir.join("captures").join(format!("{id}.ring"));
        bundle.put_file(&format!("captures/{id}.ndjson"), &ring);
    }
}

fn sources_of(config: &Config) -> Vec<String> {
    let gps = config.gps.iter().map(|one| &one.id);
    gps.chain(config.scanners.iter().map(|one| &one.id)).cloned().collect()
}

fn ledger(store: &Closed, sources: &[String]) -> Result<Value, Failure> {
    let ledger = store.read(|reader| reader.ledger()).map_err(failure)?;
    let text = ledger.told(sources, Some(Clock::system().now().wall_ms));
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

fn letters(store: &Closed) -> Result<Value, Failure> {
    let letters = store.read(|reader| reader.letters_by_reason()).map_err(failure)?;
    Ok(letters.iter().map(|(reason, n)| json!({ "reason": reason.as_str(), "open": n })).collect())
}

fn lines(store: &Closed, log: Log) -> Result<Value, Failure> {
    let (entries, _) =
        store.read(|reader| reader.log(log, UnixMs::MAX, LOG_LINES, &Lines::default())).map_err(failure)?;
    let line = |one: Entry| {
        let Entry { entry, at_ms, who, what, detail, seqs, latency_ms, n } = one;
        json!({ "entry": entry, "at_ms": at_ms, "who": who, "what": what, "detail": detail, "seqs": seqs, "latency_ms": latency_ms, "n": n })
    };
    Ok(entries.into_iter().map(line).collect())
}
