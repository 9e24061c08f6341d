//! What a person reads afterwards: the three logs, what a source said of late. Read-only: what changes them needs the operator.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::Uri;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::UnixMs;
use crate::store::{Entry, Lines, Log};

use super::answer::{Answer, Fault, json, text, typed};
use super::caller::Caller;
use super::front::Front;
use super::query::{Asked, cut};

#[derive(Serialize)]
struct Items<T> {
    items: Vec<T>,
}

#[derive(Serialize)]
struct SheetItem {
    source: String,
    at_ms: UnixMs,
    verdict: Box<RawValue>,
}

/// Answers what the test sheet says of each scanner that it was read with.
pub(super) async fn sheets(State(front): State<Arc<Front>>, uri: Uri) -> Answer {
    Asked::of(&uri, &[])?;
    let kept = front.look(|reader| reader.sheets()).await?;
    let item = |(source, at_ms, verdict)| {
        // What cannot be read is of a version that is gone; its next scan writes it anew.
        RawValue::from_string(verdict).ok().map(|verdict| SheetItem { source, at_ms, verdict })
    };
    Ok(json(text(&Items { items: kept.into_iter().filter_map(item).collect() })))
}

#[derive(Serialize)]
struct LogItem {
    entry: i64,
    at_ms: UnixMs,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
    what: String,
    detail: String,
    /// How often within a minute; absent for once.
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_seq: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_seq: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<i64>,
}

#[derive(Serialize)]
struct LogPage {
    items: Vec<LogItem>,
    next: Option<i64>,
}

/// Answers lines of a log, newest first, before an entry. Logs need the operator; the control socket is theirs.
pub(super) async fn log(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    uri: Uri,
) -> Answer {
    let log = match name.as_str() {
        "inbound" => Log::Inbound,
        "outbound" => Log::Outbound,
        "failures" => Log::Failures,
        _ => {
            let message = format!("{:?} is no log of this node", cut(&name));
            return Err(Fault::missing(message, "Logs: inbound, outbound, failures."));
        }
    };
    caller.operator()?;
    let who = match log {
        Log::Inbound => "source",
        Log::Outbound => "lane",
        Log::Failures => "stage",
    };
    let asked = Asked::of(&uri, &["before", "limit", "what", who])?;
    let (before, limit) = (asked.number("before", i64::MAX, 1, i64::MAX)?, asked.limit(50, 500)?);
    let lines = Lines { who: asked.text(who).map(str::to_owned), what: asked.text("what").map(str::to_owned) };
    let (entries, next) = front.look(move |reader| reader.log(log, before, limit, &lines)).await?;
    let items = entries.into_iter().map(|entry| log_item(log, entry)).collect();
    Ok(json(text(&LogPage { items, next })))
}

fn log_item(log: Log, entry: Entry) -> LogItem {
    let who = Some(entry.who).filter(|who| !who.is_empty());
    let (source, lane, stage) = match log {
        Log::Inbound => (who, None, None),
        Log::Outbound => (None, who, None),
        Log::Failures => (None, None, who),
    };
    LogItem {
        entry: entry.entry,
        at_ms: entry.at_ms,
        source,
        lane,
        stage,
        what: entry.what,
        detail: entry.detail,
        n: Some(entry.n).filter(|n| *n > 1),
        from_seq: entry.seqs.map(|(from, _)| from),
        to_seq: entry.seqs.map(|(_, to)| to),
        latency_ms: entry.latency_ms,
    }
}

/// Answers the last minutes of a source as it spoke, a JSON text a line. Raw bytes need the operator.
pub(super) async fn capture(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(source): Path<String>,
) -> Answer {
    caller.operator()?;
    let capture = (front.captures)(&source).ok_or_else(|| {
        Fault::missing(format!("{:?} is no source of this node", cut(&source)), "Sources: /api/v1/sources.")
    })?;
    Ok(typed(capture, "application/x-ndjson"))
}
