//! What the uplink asks of the store: rows with their bytes frozen, cursor commits, and the figures it reports.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::domain::{AssetState, Class, Kind, Lane, Loss, Reason, Row, Seq, Stage};
use crate::health::publish_code;
use crate::store::{Acknowledged, Damaged, Group, Ledger, Look, Lost, Outbound, Page, Result, Store, Txn};

use super::Kit;
use super::lane::{Batch, Grave, Message, Queued};
use super::payload::{Figures, MISSING_MAX, PAST_MAX, Voice};

/// A cursor commit waits this long to share the commit of what comes in.
const SHARE: Duration = Duration::from_millis(100);
/// Bytes of an event that its letter keeps.
const EVIDENCE: usize = 4096;
/// Dead events that one watermark looks at to name ranges.
const DEAD_MAX: usize = 2_000;

/// Reads rows of a lane and freezes their bytes: from here on no repeat is counted onto them, so a resend is the same.
pub(super) async fn read(kit: Arc<Kit>, lane: Lane, after: Seq, limit: usize) -> Result<(Vec<Queued>, Seq)> {
    let Page { mut rows, damaged, seen, .. } =
        kit.store.read(move |reader| reader.lane_after(lane, after, limit)).await?;
    let scans: Vec<Seq> = rows.iter().filter(|row| row.kind == Kind::Scan).map(|row| row.seq).collect();
    if let Some(last) = scans.last().copied() {
        // In the writer's turn: a repeat is counted either before this, and read here, or not at all.
        let published = Arc::clone(&kit.published);
        let count = move |txn: &mut Txn<'_>| {
            published.fetch_max(last.0, Ordering::AcqRel);
            txn.repeats(&scans)
        };
        let repeats = kit.store.submit(Group::Now, count).await?;
        let scans = rows.iter_mut().filter(|row| row.kind == Kind::Scan);
        scans.zip(repeats).for_each(|(row, repeats)| row.repeats = repeats);
    }
    let queue = |row: &Row| Queued { seq: row.seq, message: Voice::event(&kit.config.prefix, row), is_damaged: false };
    let mut queued: Vec<Queued> = rows.iter().map(queue).collect();
    if !damaged.is_empty() {
        queued.extend(damaged.into_iter().map(|Damaged { seq, bytes }| {
            let payload = String::from_utf8_lossy(&bytes).into_owned();
            Queued { seq, message: Message { payload, ..Message::default() }, is_damaged: true }
        }));
        queued.sort_by_key(|one| one.seq);
    }
    Ok((queued, seen))
}

/// Writes a batch: cursor, counts, letters and the log line together. False when somebody else has moved the cursor.
pub(super) async fn commit(store: Store, batch: Batch, at_once: bool) -> Result<bool> {
    let (lane, through) = (batch.lane, batch.through);
    let group = if at_once { Group::Now } else { Group::Within(SHARE) };
    if store.submit(group, move |txn| write(txn, &batch)).await? {
        return Ok(true);
    }
    // An answer that was lost with the writer: the batch may be in all the same.
    Ok(store.read(move |reader| reader.cursor(lane)).await? == through)
}

fn write(txn: &mut Txn<'_>, batch: &Batch) -> Result<bool> {
    let Batch { lane, from, first, through, sent, unheard, slowest_us, ref graves } = *batch;
    if !txn.acknowledge(lane, &Acknowledged { from, through, sent, unheard })? {
        return Ok(false);
    }
    for Grave { seq, reason, code, payload } in graves {
        let mut loss = Loss::decoder(*reason, payload.as_bytes(), EVIDENCE);
        loss.stage = Stage::Uplink;
        let code = match reason {
            Reason::Poison => "the connection ended",
            Reason::DigestMismatch => "the row is not as it was written",
            _ => publish_code(*code),
        };
        txn.bury(lane, *seq, &loss, code)?;
    }
    let letters = graves.len();
    let mut detail = if letters > 0 { format!("{letters} letters") } else { String::new() };
    if unheard > 0 {
        detail = format!("{detail}{}{unheard} without subscriber", if letters > 0 { ", " } else { "" });
    }
    txn.log_outbound(&Outbound {
        what: "acknowledged",
        lane: Some(lane),
        seqs: Some((first, through)),
        latency_ms: Some(slowest_us / 1000),
        detail,
    })?;
    Ok(true)
}

/// Notes something that happened to the connection.
pub(super) async fn note(store: Store, what: &'static str, detail: String) -> Result<()> {
    let line = Outbound { what, detail, ..Outbound::default() };
    store.submit(Group::Within(SHARE), move |txn| txn.log_outbound(&line)).await
}

/// The password in a file, without the line end that editors leave.
pub(super) async fn password(path: PathBuf) -> std::io::Result<String> {
    let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await??;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Where assets are.
pub(super) async fn places(store: Store, assets: Vec<String>) -> Result<Vec<AssetState>> {
    store
        .read(move |reader| {
            let found = assets.iter().map(|asset| reader.asset(asset)).collect::<Look<Vec<_>>>()?;
            Ok(found.into_iter().flatten().collect())
        })
        .await
}

/// The figures of health and watermark.
pub(super) async fn figures(store: Store) -> Result<Figures> {
    store
        .read(|reader| {
            let Ledger { unsent, .. } = reader.ledger()?;
            let backlog = unsent.values().sum();
            let mut oldest: Option<Row> = None;
            for lane in Lane::ALL {
                let first = reader.lane_after(lane, reader.cursor(lane)?, 1)?.rows.pop();
                oldest = match (oldest, first) {
                    (Some(one), Some(other)) => Some(if one.seq < other.seq { one } else { other }),
                    (one, other) => one.or(other),
                };
            }
            let decide = |(reason, _): &&(Reason, i64)| reason.class() == Class::Decide;
            let letters = reader.letters_by_reason()?.iter().filter(decide).map(|(_, n)| n).sum();
            let (lost, mut past) = reader.lost()?;
            let (missing, missing_more) = ranges(&reader.dead(DEAD_MAX)?, &lost);
            past.truncate(PAST_MAX);
            let past = past.into_iter().map(|past| (past.epoch, past.last_produced)).collect();
            let oldest = oldest.map(|row| (row.boot, row.mono_ms, row.received_ms));
            Ok(Figures { backlog, oldest, letters, missing, missing_more, past })
        })
        .await
}

/// What the platform cannot get: neighbours of one reason as one range each, in the order of `seq`; at most [`MISSING_MAX`].
fn ranges(dead: &[(Seq, Reason)], lost: &[Lost]) -> (Vec<(i64, i64, Cow<'static, str>)>, bool) {
    let dead_ones = dead.iter().map(|(Seq(seq), reason)| (*seq, *seq, Cow::Borrowed(reason.as_str())));
    let lost = lost.iter().map(|lost| (lost.from, lost.to, Cow::Owned(lost.reason.clone())));
    let mut all: Vec<_> = dead_ones.chain(lost).collect();
    all.sort();
    let mut ranges: Vec<(i64, i64, Cow<'static, str>)> = Vec::new();
    for (from, to, reason) in all {
        let full = ranges.len() == MISSING_MAX;
        match ranges.last_mut() {
            Some((_, end, of)) if *end + 1 == from && *of == reason => *end = to,
            Some((_, end, _)) if *end >= to => {}
            _ if full => return (ranges, true),
            _ => ranges.push((from, to, reason)),
        }
    }
    (ranges, dead.len() == DEAD_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_neighbours_are_one_range_and_ranges_are_few() {
        let dead = [(4, Reason::TooLarge), (5, Reason::TooLarge), (6, Reason::Poison), (9, Reason::Poison)];
        let dead = dead.map(|(seq, reason)| (Seq(seq), reason));
        let lost = [(1, 3, "rolled_back"), (7, 8, "rolled_back")];
        let lost = lost.map(|(from, to, reason)| Lost { from, to, reason: reason.to_owned(), ..Lost::default() });
        let (ranges_of, more) = ranges(&dead, &lost);
        let named: Vec<_> = ranges_of.iter().map(|(from, to, reason)| (*from, *to, reason.as_ref())).collect();
        let expect =
            [(1, 3, "rolled_back"), (4, 5, "too_large"), (6, 6, "poison"), (7, 8, "rolled_back"), (9, 9, "poison")];
        assert_eq!((named.as_slice(), more), (&expect[..], false));
        let many: Vec<_> = (0..200).map(|n| (Seq(n * 2), Reason::TooLarge)).collect();
        let (named, more) = ranges(&many, &[]);
        assert_eq!((named.len(), more), (MISSING_MAX, true));
    }
}
