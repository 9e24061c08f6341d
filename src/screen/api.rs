//! The calls that say how things are now: the snapshot a page begins with, assets, sources, the ledger, health.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::domain::{Cursor, Kind, Lane, Row, Seq, UnixMs};
use crate::health::{Board, SourceState, State as Posted};
use crate::store::{Filter, Look, Lost, Reader};
use crate::wire;

use super::answer::{Answer, json, text};
use super::front::Front;
use super::probes::{Condition, condition};
use super::query::Asked;
use super::sheet::Counts;
use super::{assets as page, render};

/// Assets in a snapshot.
const ASSETS_MAX: usize = 500;
/// Scans in a snapshot.
const SCANS_MAX: usize = 50;
/// Pages of the log that are looked through for the newest scan and fix.
const PAGES_MAX: usize = 5;
/// Fixes that are looked at for one that may move its asset.
const FIXES_MAX: usize = 20;
/// Ranges of lost events that are told.
const LOST_TOLD: usize = 20;

/// JSON that is written already.
type Raw = Box<RawValue>;

/// A text of ours as a part of a larger one.
fn raw(text: String) -> Raw {
    // What is written here or in `wire` is JSON; were it not, the page would see null and the rest.
    RawValue::from_string(text).or_else(|_| to_raw_value(&())).unwrap_or_default()
}

#[derive(Serialize)]
struct Snapshot<'a> {
    cursor: String,
    t: UnixMs,
    node: &'a str,
    site: &'a str,
    name: &'a str,
    tz: &'a str,
    version: &'a str,
    boot: i64,
    page: &'a str,
    assets: Vec<Raw>,
    more: i64,
    scans: Vec<Raw>,
    fix: Option<Raw>,
    states: Vec<StateItem>,
}

#[derive(Serialize)]
struct StateItem {
    k: &'static str,
    v: Raw,
}

/// Answers everything a page begins with; its stream goes on from `cursor`.
pub(super) async fn snapshot(State(front): State<Arc<Front>>, uri: Uri) -> Answer {
    Asked::of(&uri, &[])?;
    // Taken first: what is committed while the rest is read comes again with the stream, and changes nothing twice.
    let cursor = front.store.cursor_now();
    let board = front.board.clone();
    let known = front.feed.counts();
    let (assets, more, scans, fix, counts) = front
        .look(move |reader| {
            let (assets, more) = all_assets(reader, &board, ASSETS_MAX)?;
            let scans = newest_of(reader, Kind::Scan, cursor.seq, SCANS_MAX)?;
            let fixes = newest_of(reader, Kind::Fix, cursor.seq, FIXES_MAX)?;
            let fix = fixes.into_iter().find(may_move);
            Ok((assets, more, scans, fix, Counts::read(reader, known.as_deref())?))
        })
        .await?;
    front.feed.keep_counts(Arc::new(counts));
    let states = render::standing(&front).into_iter().filter(|item| item.kind != "asset");
    Ok(json(text(&Snapshot {
        cursor: cursor.to_string(),
        t: front.now_ms(),
        node: &front.node.id,
        site: &front.node.site,
        name: &front.node.name,
        tz: &front.node.time_zone,
        version: env!("CARGO_PKG_VERSION"),
        boot: front.store.boot(),
        page: page::page_hash(),
        assets,
        more,
        scans: scans.iter().map(|row| raw(wire::event(row, false))).collect(),
        fix: fix.map(|row| raw(wire::event(&row, false))),
        states: states.map(|item| StateItem { k: item.kind, v: raw(item.value) }).collect(),
    })))
}

/// The assets as they are now, and how many more there are.
fn all_assets(reader: &Reader<'_>, board: &Board, limit: usize) -> Look<(Vec<Raw>, i64)> {
    let (assets, total) = reader.assets(limit)?;
    let more = total - i64::try_from(assets.len()).unwrap_or(total);
    Ok((assets.into_iter().map(|stored| raw(wire::asset(&render::newest(board, stored)))).collect(), more.max(0)))
}

/// The newest events of a kind up to a place in the log, newest first. The first is looked for, each other is named by
/// the `prev` of the one after it.
fn newest_of(reader: &Reader<'_>, kind: Kind, upto: Seq, n: usize) -> Look<Vec<Row>> {
    let only = Filter { kind: Some(kind), ..Filter::default() };
    let mut before = Seq(upto.0.saturating_add(1));
    let mut newest = None;
    for _ in 0..PAGES_MAX {
        let page = reader.before(before, 1, &only)?;
        newest = page.rows.into_iter().next();
        before = page.seen;
        if newest.is_some() || !page.more {
            break;
        }
    }
    let mut rows: Vec<Row> = Vec::with_capacity(n);
    rows.extend(newest);
    while rows.len() < n {
        let Some(prev) = rows.last().and_then(|row| row.prev) else { break };
        let page = reader.after(Seq(prev.0.saturating_sub(1)), 1, &Filter::default())?;
        let Some(row) = page.rows.into_iter().next().filter(|row| row.seq == prev && row.kind == kind) else { break };
        rows.push(row);
    }
    Ok(rows)
}

/// Whether a fix may move its asset: not one of a spare receiver, from the future, a jump or frozen (contract section 6).
fn may_move(fix: &Row) -> bool {
    #[derive(serde::Deserialize)]
    struct Doubts {
        #[serde(default)]
        doubt: Vec<String>,
        #[serde(default)]
        spare: bool,
    }
    serde_json::from_str::<Doubts>(&fix.body).is_ok_and(|body| {
        !body.spare && !body.doubt.iter().any(|word| matches!(word.as_str(), "future" | "jump" | "frozen"))
    })
}

#[derive(Serialize)]
struct SourceItem<'a> {
    #[serde(flatten)]
    state: &'a SourceState,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_ms: Option<i64>,
}

#[derive(Serialize)]
struct SourceList<'a> {
    t: UnixMs,
    items: Vec<SourceItem<'a>>,
}

/// Answers the configured inputs as they are.
pub(super) async fn sources(State(front): State<Arc<Front>>, uri: Uri) -> Answer {
    Asked::of(&uri, &[])?;
    let (posted, now) = (front.board.since(0), front.clock.now());
    let states = posted.iter().filter_map(|one| match &one.state {
        Some(Posted::Source(state)) => Some(state),
        _ => None,
    });
    let items = states
        .map(|state| SourceItem {
            state,
            age_ms: state.last_frame_mono_ms.map(|at| now.mono_ms().saturating_sub(at).max(0)),
        })
        .collect();
    Ok(json(text(&SourceList { t: now.wall_ms, items })))
}

/// Answers the counts that must balance.
pub(super) async fn ledger(State(front): State<Arc<Front>>, uri: Uri) -> Answer {
    Asked::of(&uri, &[])?;
    let ledger = front.look(|reader| reader.ledger()).await?;
    Ok(json(ledger.told(&render::sources(&front.board), Some(front.now_ms()))))
}

#[derive(Serialize)]
struct Health<'a> {
    t: UnixMs,
    #[serde(flatten)]
    condition: Condition,
    node: &'a str,
    site: &'a str,
    name: &'a str,
    version: &'a str,
    boot: i64,
    epoch: String,
    cursor: String,
    oldest: String,
    /// Per lane the seq up to which the platform has each event.
    cursors: BTreeMap<&'static str, i64>,
    listen: Vec<String>,
    streams: usize,
    sources: Vec<Raw>,
    workers: Vec<Raw>,
    alarms: Vec<Raw>,
    jobs: Vec<Raw>,
    assets: Vec<Raw>,
    uplink: Option<Raw>,
    clock: Option<Raw>,
    disk: Option<Raw>,
    ledger: Option<Raw>,
    letters: Option<Raw>,
    /// The newest ranges of events that the store no longer has, and when that was found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost: Vec<Lost>,
    beats: Vec<Beat>,
}

#[derive(Serialize)]
struct Beat {
    worker: String,
    age_ms: u128,
}

/// Answers everything that `waypost status` prints.
pub(super) async fn health(State(front): State<Arc<Front>>, uri: Uri) -> Answer {
    Asked::of(&uri, &[])?;
    let known = front.feed.counts();
    let (counts, oldest, cursors, lost) = front
        .look(move |reader| {
            let cursors = Lane::ALL.map(|lane| Ok((lane.as_str(), reader.cursor(lane)?.0)));
            let cursors = cursors.into_iter().collect::<Look<_>>()?;
            let (mut lost, _) = reader.lost()?;
            lost.drain(..lost.len().saturating_sub(LOST_TOLD));
            Ok((Counts::read(reader, known.as_deref())?, reader.oldest()?, cursors, lost))
        })
        .await?;
    front.feed.keep_counts(Arc::new(counts));
    let items = render::standing(&front);
    let all = |kind: &str| -> Vec<Raw> {
        items.iter().filter(|item| item.kind == kind).map(|item| raw(item.value.clone())).collect()
    };
    let one = |kind: &str| all(kind).into_iter().next();
    let Cursor { epoch, .. } = front.store.cursor_now();
    let beats = front.roster.ages().into_iter().map(|(worker, age)| Beat { worker, age_ms: age.as_millis() });
    Ok(json(text(&Health {
        t: front.now_ms(),
        condition: condition(&front),
        node: &front.node.id,
        site: &front.node.site,
        name: &front.node.name,
        version: env!("CARGO_PKG_VERSION"),
        boot: front.store.boot(),
        epoch: epoch.to_string(),
        cursor: front.store.cursor_now().to_string(),
        oldest: front.oldest_cursor(oldest).to_string(),
        cursors,
        listen: front.bound.borrow().iter().map(ToString::to_string).collect(),
        streams: front.feed.streams(),
        sources: all("source"),
        workers: all("worker"),
        alarms: all("alarm"),
        jobs: all("job"),
        assets: all("asset"),
        uplink: one("uplink"),
        clock: one("clock"),
        disk: one("disk"),
        ledger: one("ledger"),
        letters: one("letters"),
        lost,
        beats: beats.collect(),
    })))
}
