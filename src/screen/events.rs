//! `GET /api/v1/events`: the log, page by page, in both directions.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};

use crate::domain::{Cursor, Kind, Seq};
use crate::store::Filter;
use crate::wire;

use super::answer::{Answer, Fault, Right, json};
use super::front::Front;
use super::query::{Asked, cut};

const KNOWN: [&str; 7] = ["after", "before", "limit", "kind", "source", "asset", "code"];

/// Answers a page of events: after a cursor oldest first, else before a cursor, or the newest, newest first.
pub(super) async fn list(State(front): State<Arc<Front>>, uri: Uri) -> Answer {
    let asked = Asked::of(&uri, &KNOWN)?;
    let limit = asked.limit(100, 500)?;
    let filter = filter(&asked)?;
    let (after, before) = (asked.cursor("after")?, asked.cursor("before")?);
    if after.is_some() && before.is_some() {
        return Err(Fault::bad("both after and before are given", "Give one: after ascends, before descends."));
    }
    let head = front.store.cursor_now();
    let epoch = head.epoch;
    let strange = [after, before].into_iter().flatten().any(|at| at.epoch != epoch || at.seq > head.seq);
    let start = before.map_or(Seq(head.seq.0.saturating_add(1)), |at| at.seq);
    let (oldest, page) = front
        .look(move |reader| {
            let oldest = reader.oldest()?;
            let gone = after.is_some_and(|at| at.seq.0.saturating_add(1) < oldest.0);
            let page = match after {
                _ if strange || gone => None,
                Some(at) => Some(reader.after(at.seq, limit, &filter)?),
                None => Some(reader.before(start, limit, &filter)?),
            };
            Ok((oldest, page))
        })
        .await?;
    let Some(page) = page else { return Err(gone(front.oldest_cursor(oldest))) };
    let next = (after.is_some() || page.more).then_some(Cursor { epoch, seq: page.seen });
    let items: Vec<String> = page.rows.iter().map(|row| wire::event(row, false)).collect();
    let next = next.map_or_else(|| "null".to_owned(), |next| format!("\"{next}\""));
    let damaged: Vec<String> = page.damaged.iter().map(|one| one.seq.to_string()).collect();
    let damaged = if damaged.is_empty() { String::new() } else { format!(",\"damaged\":[{}]", damaged.join(",")) };
    Ok(json(format!("{{\"items\":[{}],\"next\":{next}{damaged}}}", items.join(","))))
}

/// Answers one event by its id.
pub(super) async fn one(State(front): State<Arc<Front>>, Path(id): Path<String>) -> Answer {
    let id = id.parse().map_err(|_| {
        Fault::bad(format!("{:?} is no event id", cut(&id)), "An id has 32 hex digits; take it from an event.")
    })?;
    let row = front.look(move |reader| reader.event(id)).await?;
    row.map(|row| json(wire::event(&row, false))).ok_or_else(|| {
        Fault::missing("no event in the log has this id", "It may have been archived; see store.retention_days.")
    })
}

fn filter(asked: &Asked) -> Result<Filter, Fault> {
    let kind = match asked.text("kind") {
        None => None,
        Some(word) => Some(Kind::from_word(word).ok_or_else(|| {
            let words = Kind::ALL.map(Kind::as_str).join(", ");
            Fault::bad(format!("kind={:?} is none", cut(word)), format!("Kinds: {words}."))
        })?),
    };
    let text = |name| asked.text(name).map(str::to_owned);
    Ok(Filter { kind, source: text("source"), asset: text("asset"), code: text("code") })
}

fn gone(oldest: Cursor) -> Fault {
    let hint = format!("Begin again after {oldest}, the oldest cursor that is left.");
    let fault = Fault::new(
        StatusCode::GONE,
        "cursor_gone",
        "the events after this cursor are no longer in the log, or it is of another life of the store",
        hint,
    );
    Fault { right: Some(Right::Oldest(oldest)), ..fault }
}
