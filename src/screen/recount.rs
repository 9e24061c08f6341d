//! `GET /api/v1/ledger/…`: the rows for a recount, a stretch at a time, so that nobody waits for it; `waypost outbox check` asks.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::Uri;

use crate::store::Mark;

use super::answer::{Answer, Fault, json, text};
use super::caller::Caller;
use super::front::Front;
use super::query::Asked;

/// Answers what the stretch of the log after a mark holds.
pub(super) async fn walk(State(front): State<Arc<Front>>, Extension(caller): Extension<Caller>, uri: Uri) -> Answer {
    let mark = mark(&caller, &uri)?;
    Ok(json(text(&front.look(move |reader| reader.walk(mark)).await?)))
}

/// Answers what came after a mark, and the ledger of the same moment.
pub(super) async fn close(State(front): State<Arc<Front>>, Extension(caller): Extension<Caller>, uri: Uri) -> Answer {
    let mark = mark(&caller, &uri)?;
    Ok(json(text(&front.look(move |reader| reader.close_walk(mark)).await?)))
}

/// Answers the events of each lane in a part of the log.
pub(super) async fn lanes(State(front): State<Arc<Front>>, Extension(caller): Extension<Caller>, uri: Uri) -> Answer {
    caller.operator()?;
    let asked = Asked::of(&uri, &["after", "upto"])?;
    let (after, upto) = (asked.number("after", 0, 0, i64::MAX)?, asked.number("upto", 0, 0, i64::MAX)?);
    Ok(json(text(&front.look(move |reader| reader.lanes_between(after, upto)).await?)))
}

fn mark(caller: &Caller, uri: &Uri) -> Result<Mark, Fault> {
    caller.operator()?;
    let asked = Asked::of(uri, &["after", "fix", "scan", "place", "note"])?;
    let number = |name| asked.number(name, 0, 0, i64::MAX);
    let kinds = [number("fix")?, number("scan")?, number("place")?, number("note")?];
    Ok(Mark { seq: number("after")?, kinds })
}
