//! `POST /api/v1/rebuild`: the places told anew from the log and held against the table, for `waypost rebuild`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;

use crate::health::chore;
use crate::retention;

use super::answer::{Answer, json, text};
use super::caller::Caller;
use super::front::Front;
use super::query::Asked;

#[derive(Serialize)]
struct Rebuilt<'a> {
    assets: usize,
    different: usize,
    written: usize,
    items: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    asset: &'a str,
    how: &'a str,
}

/// Compares, and unless `check=1` sets right what differs. Answers how many assets there are, which differ and how.
pub(super) async fn rebuild(State(front): State<Arc<Front>>, Extension(caller): Extension<Caller>, uri: Uri) -> Answer {
    caller.operator()?;
    let check = Asked::of(&uri, &["check"])?.number("check", 0, 0, 1)? == 1;
    let chore = front.board.begin(chore::REBUILD, &front.clock)?;
    let report = retention::rebuild(&front.store, !check, caller.who(), chore).await?;
    Ok(json(text(&Rebuilt {
        assets: report.assets,
        different: report.n_different,
        written: report.written,
        items: report.different.iter().map(|one| Item { asset: &one.asset, how: &one.how }).collect(),
    })))
}
