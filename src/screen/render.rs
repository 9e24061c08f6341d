//! Rows and states as the items of a frame.

use std::collections::BTreeSet;

use crate::domain::{AssetState, Cursor, Row, Seq, Stamp};
use crate::health::{Board, State};
use crate::store::{Filter, Look, Reader};
use crate::wire;

use super::answer::text;
use super::feed::{Frame, Item, Span};
use super::front::Front;
use super::sheet::{self, Counts};

/// Rows of one frame, so that with an asset for each it holds at most 256 items.
const ROWS_MAX: i64 = 96;
/// Text of the events after which a frame is closed: what a stalled reader can pin. Bytes.
const TEXT_MAX: usize = 16 * 1024;

/// Some of the log as a frame.
pub(super) struct Page {
    /// None when there was no row.
    pub(super) frame: Option<Frame>,
    /// How far the log was read.
    pub(super) seen: Seq,
    /// The assets its events touched, as they are now.
    pub(super) assets: Vec<AssetState>,
}

/// Reads the events of a span, or as many as a frame holds, and the assets they touched as they are now.
pub(super) fn page(reader: &Reader<'_>, board: &Board, span: Span, at: Stamp, own: Cursor) -> Look<Page> {
    let limit = usize::try_from((span.upto.0 - span.after.0).clamp(1, ROWS_MAX)).unwrap_or(1);
    let read = reader.after(span.after, limit, &Filter::default())?;
    let whole = read.rows.len() < limit;
    let (mut items, mut length, mut last) = (Vec::new(), 0, None);
    let mut cut = false;
    for row in read.rows.iter().take_while(|row| row.seq <= span.upto) {
        if length >= TEXT_MAX {
            cut = true;
            break;
        }
        let value = wire::event(row, false);
        length += value.len();
        items.push(Item::put("event", value));
        last = Some(row);
    }
    let seen = match last {
        Some(last) if cut || !whole => last.seq,
        // Nothing follows up to there: rows that were purged leave holes.
        _ if !read.more || read.seen > span.upto => span.upto,
        _ => read.seen,
    };
    let (assets, gone_ones) = touched(reader, board, &read.rows, seen)?;
    items.extend(gone_ones.iter().map(|name| gone("asset", name)));
    items.extend(assets.iter().map(|asset| Item::put("asset", wire::asset(asset))));
    let covered = Span { after: span.after, upto: seen };
    let frame = last.map(|row| Frame::new(at, Some(covered), Some(Cursor { seq: row.seq, ..own }), &items));
    Ok(Page { frame, seen, assets })
}

/// The assets of these rows up to a place in the log, as they are now, and those that are no more: a code goes on under
/// the name of its asset as soon as it has one.
fn touched(reader: &Reader<'_>, board: &Board, rows: &[Row], upto: Seq) -> Look<(Vec<AssetState>, Vec<String>)> {
    let rows = rows.iter().take_while(|row| row.seq <= upto);
    let names: BTreeSet<&str> = rows.filter_map(|row| row.asset.as_deref()).collect();
    let (mut assets, mut gone) = (Vec::with_capacity(names.len()), Vec::new());
    for name in names {
        match reader.asset(name)? {
            Some(stored) => assets.push(newest(board, stored)),
            None => gone.push(name.to_owned()),
        }
    }
    Ok((assets, gone))
}

/// The newer of what the store and the board say of an asset: the board also knows fixes that were thinned, the store the
/// newest place.
pub(super) fn newest(board: &Board, stored: AssetState) -> AssetState {
    match board.get("asset", &stored.asset) {
        Some(State::Asset(posted)) if posted.received > stored.received => posted.with_place_of(&stored),
        _ => stored,
    }
}

/// A state as JSON.
pub(super) fn state(state: &State, counts: Option<&Counts>, boot: i64, now: Stamp) -> String {
    match state {
        State::Source(v) => text(v),
        State::Uplink(v) => sheet::uplink(v, counts, boot, now),
        State::Disk(v) => text(v),
        State::Clock(v) => text(v),
        State::Worker(v) => text(v),
        State::Alarm(v) => text(v),
        State::Asset(v) => wire::asset(v),
        State::Job(v) => wire::job(v),
        State::Chore(v) => text(v),
        State::Zones(v) => text(v),
    }
}

/// The end of a state: its name only.
pub(super) fn gone(kind: &'static str, key: &str) -> Item {
    let field = match kind {
        "source" => "id",
        "worker" => "worker",
        "alarm" => "name",
        "asset" => "asset",
        "job" => "job",
        _ => "key",
    };
    let name = std::collections::BTreeMap::from([(field, key)]);
    Item { kind, gone: true, value: text(&name) }
}

/// Every state that stands, in the order it was posted; the ledger and the letters last.
pub(super) fn standing(front: &Front) -> Vec<Item> {
    let (counts, now, boot) = (front.feed.counts(), front.clock.now(), front.store.boot());
    let mut items = Vec::new();
    for one in front.board.since(0) {
        if let Some(posted) = &one.state {
            items.push(Item::put(one.kind, state(posted, counts.as_deref(), boot, now)));
        }
    }
    if let Some(counts) = counts {
        items.push(Item::put("ledger", counts.ledger.told(&sources(&front.board), Some(now.wall_ms))));
        items.push(Item::put("letters", sheet::letters(&counts)));
    }
    items
}

/// The configured sources, by what they posted.
pub(super) fn sources(board: &Board) -> Vec<String> {
    board.since(0).into_iter().filter(|one| one.kind == "source" && one.state.is_some()).map(|one| one.key).collect()
}
