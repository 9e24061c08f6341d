//! Where one asset has been.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Uri;
use serde::Serialize;

use crate::domain::{Change, UnixMs};
use crate::store::Told;

use super::answer::{Answer, json, text};
use super::front::Front;
use super::query::Asked;

#[derive(Serialize)]
struct History<'a> {
    asset: &'a str,
    items: Vec<Item<'a>>,
    /// Whether there is more before the last.
    more: bool,
}

#[derive(Serialize)]
struct Item<'a> {
    id: String,
    seq: i64,
    change: &'static str,
    place: &'a str,
    since_ms: UnixMs,
    tq: &'static str,
    because: String,
}

/// Answers where an asset has been, newest first, without what was voided. An asset that was never at a place has none.
pub(super) async fn history(State(front): State<Arc<Front>>, Path(asset): Path<String>, uri: Uri) -> Answer {
    let limit = Asked::of(&uri, &["limit"])?.limit(100, 500)?;
    let name = asset.clone();
    let turns = front.look(move |reader| reader.turns(&name, limit + 1)).await?;
    let items = turns.iter().take(limit).map(item).collect();
    Ok(json(text(&History { asset: &asset, items, more: turns.len() > limit })))
}

fn item(told: &Told) -> Item<'_> {
    let turn = &told.turn;
    Item {
        id: told.id.to_string(),
        seq: told.seq.0,
        change: if turn.change == Change::Enter { "enter" } else { "exit" },
        place: &turn.place,
        since_ms: turn.since_ms,
        tq: turn.tq.as_str(),
        because: told.because(),
    }
}
