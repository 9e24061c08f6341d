//! What the uplink asks of the store: rows with their bytes frozen, cursor commits, and the figures it reports.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::BootTime;
use crate::config;
use crate::domain::{AssetState, Class, Kind, Lane, Loss, Reason, Row, Seq, Stage, Standing};
use crate::health::wedge;
use crate::store::{Acknowledged, Damaged, Group, Ledger, Look, Lost, Outbound, Page, Result, Store, Txn};

use super::Kit;
use super::centre;
use super::lane::{Batch, Grave, Message, Queued, Track};
use super::payload::{Figures, MISSING_MAX, PAST_MAX, Voice};

/// A cursor commit waits this long to share the commit of what comes in.
const SHARE: Duration = Duration::from_millis(50);
/// Bytes of an event that its letter keeps.
const EVIDENCE: usize = 4096;
/// Dead events that one watermark looks at to name ranges.
const DEAD_MAX: usize = 2_000;
/// Events after those read that are frozen with them in a backlog: one turn of the writer for many reads. What has twice as
/// many behind it is so old that its window of repeats has long been closed.
const FREEZE_AHEAD: i64 = 4096;

/// Reads rows of a track.
pub(super) async fn read(kit: Arc<Kit>, track: Track, after: Seq, limit: usize) -> Result<(Vec<Queued>, Seq)> {
    let Track { lane, again, replay } = track;
    if replay {
        return centre::read(kit, after, limit).await;
    }
    if !again {
        return read_on(kit, lane, after, limit).await;
    }
    // Their bytes were frozen when they were read the first time.
    let Page { rows, damaged, .. } = kit.store.read(move |reader| reader.waiting(lane, limit)).await?;
    Ok((queued(&kit, &rows, damaged), after))
}

/// Rows as they are sent; those that are not as they were written become letters in their turn.
pub(super) fn queued(kit: &Kit, rows: &[Row], damaged: Vec<Damaged>) -> Vec<Queued> {
    let queue = |row: &Row| Queued {
        seq: row.seq,
        message: Voice::event(&kit.config.prefix, row),
        is_damaged: false,
        patient_until_us: patient_until_us(kit, row),
    };
    let mut queued: Vec<Queued> = rows.iter().map(queue).collect();
    if !damaged.is_empty() {
        queued.extend(damaged.into_iter().map(|Damaged { seq, bytes }| {
            let payload = String::from_utf8_lossy(&bytes).into_owned();
            Queued { seq, message: Message { payload, ..Message::default() }, is_damaged: true, patient_until_us: None }
        }));
        queued.sort_by_key(|one| one.seq);
    }
    queued
}

/// Reads rows of a lane and freezes their bytes: from here on no repeat is counted onto them, so a resend is the same.
async fn read_on(kit: Arc<Kit>, lane: Lane, after: Seq, limit: usize) -> Result<(Vec<Queued>, Seq)> {
    // What was frozen before is read as it stays.
    let frozen = kit.frozen.load(Ordering::Acquire);
    let Page { mut rows, damaged, seen, .. } =
        kit.store.read(move |reader| reader.lane_after(lane, after, limit)).await?;
    let is_open = |row: &Row| row.kind == Kind::Scan && row.seq.0 > frozen;
    let scans: Vec<Seq> = rows.iter().filter(|row| is_open(row)).map(|row| row.seq).collect();
    if let Some(last) = scans.last() {
        // On a metered line what is frozen may not go for hours.
        let is_metered = kit.config.max_per_s > 0 || kit.config.mib_per_day > 0;
        let is_far = !is_metered && kit.store.head().borrow().0 - last.0 >= 3 * FREEZE_AHEAD;
        let upto = if is_far { last.0 + FREEZE_AHEAD } else { last.0 };
        // In the writer's turn: a repeat is counted either before this, and read here, or not at all. No row is looked at
        // there: the pages of a whole backlog would pass through the writer's memory.
        let published = Arc::clone(&kit.published);
        let freeze = move |_: &mut Txn<'_>| {
            published.fetch_max(upto, Ordering::AcqRel);
            Ok(())
        };
        kit.store.submit(Group::Now, freeze).await?;
        kit.frozen.fetch_max(upto, Ordering::AcqRel);
        let repeats = kit.store.read(move |reader| reader.repeats(&scans)).await?;
        let scans = rows.iter_mut().filter(|row| is_open(row));
        scans.zip(repeats).for_each(|(row, repeats)| row.repeats = repeats);
    }
    Ok((queued(&kit, &rows, damaged), seen))
}

/// Until when a scan waits for a trusted time. One of an earlier boot does not: what is known of that is known.
fn patient_until_us(kit: &Kit, row: &Row) -> Option<i64> {
    let hold = kit.config.hold_untrusted;
    let waits = !hold.is_zero() && row.kind == Kind::Scan && !row.tq.is_trusted() && row.boot == kit.store.boot();
    let hold_us = i64::try_from(hold.as_micros()).unwrap_or(i64::MAX);
    waits.then(|| row.mono_ms.saturating_mul(1000).saturating_add(hold_us))
}

/// What has been said of the time of this boot, and of those before it that have unsent events.
pub(super) async fn times(store: Store) -> Result<Vec<BootTime>> {
    let boot = store.boot();
    store.read(move |reader| reader.times_of_unsent(boot)).await
}

/// Writes a batch: cursor, counts, letters and the log line together. False when somebody else has moved the cursor.
pub(super) async fn commit(store: Store, batch: Batch, at_once: bool) -> Result<bool> {
    let (Track { lane, replay, .. }, through) = (batch.track, batch.through);
    wedge::point("before-cursor");
    let group = if at_once { Group::Now } else { Group::Within(SHARE) };
    let written = store.submit(group, move |txn| match batch.track {
        Track { replay: true, .. } => centre::write(txn, &batch),
        Track { again: true, .. } => write_again(txn, &batch),
        _ => write(txn, &batch),
    });
    if written.await? {
        return Ok(true);
    }
    if replay {
        return centre::is_written(&store, through).await;
    }
    // An answer that was lost with the writer: the batch may be in all the same.
    Ok(store.read(move |reader| reader.cursor(lane)).await? == through)
}

fn write(txn: &mut Txn<'_>, batch: &Batch) -> Result<bool> {
    let Batch { track: Track { lane, .. }, from, first, through, sent, unheard, ref graves, .. } = *batch;
    if !txn.acknowledge(lane, &Acknowledged { from, through, sent, unheard })? {
        return Ok(false);
    }
    for Grave { seq, reason, why, payload } in graves {
        let mut loss = Loss::decoder(*reason, payload.as_bytes(), EVIDENCE);
        loss.stage = Stage::Uplink;
        txn.bury(lane, *seq, &loss, why)?;
    }
    log(txn, "acknowledged", batch, (first, through))?;
    Ok(true)
}

/// Ends, or opens again, the letters of what was sent again. Said twice it counts once.
fn write_again(txn: &mut Txn<'_>, batch: &Batch) -> Result<bool> {
    let Batch { track: Track { lane, .. }, ref graves, ref taken, .. } = *batch;
    for (seq, heard) in taken {
        txn.resent(lane, *seq, *heard)?;
    }
    for Grave { seq, reason, why, .. } in graves {
        txn.bury_again(lane, *seq, *reason, why)?;
    }
    let seqs = || taken.iter().map(|(seq, _)| *seq).chain(graves.iter().map(|grave| grave.seq));
    let span = seqs().min().unwrap_or(batch.first)..=seqs().max().unwrap_or(batch.through);
    log(txn, "sent_again", batch, (*span.start(), *span.end()))?;
    Ok(true)
}

fn log(txn: &mut Txn<'_>, what: &'static str, batch: &Batch, seqs: (Seq, Seq)) -> Result<()> {
    let letters = batch.graves.len();
    let mut detail = if letters > 0 { format!("{letters} letters") } else { String::new() };
    if batch.unheard > 0 {
        detail = format!("{detail}{}{} without subscriber", if letters > 0 { ", " } else { "" }, batch.unheard);
    }
    txn.log_outbound(&Outbound {
        what,
        lane: Some(batch.track.lane),
        seqs: Some(seqs),
        latency_ms: Some(batch.slowest_us / 1000),
        detail,
    })
}

/// Notes something that happened to the connection.
pub(super) async fn note(store: Store, what: &'static str, detail: String) -> Result<()> {
    let line = Outbound { what, detail, ..Outbound::default() };
    store.submit(Group::Within(SHARE), move |txn| txn.log_outbound(&line)).await
}

/// Notes what the node leaves at the broker; answers all it has left there.
pub(super) async fn leave_traces(store: Store, topics: Vec<String>) -> Result<Vec<String>> {
    let known = store.read(|reader| reader.traces()).await?;
    let new: Vec<String> = topics.into_iter().filter(|topic| !known.contains(topic)).collect();
    if !new.is_empty() {
        let new = new.clone();
        store.submit(Group::Now, move |txn| txn.leave_traces(&new)).await?;
    }
    Ok(known.into_iter().chain(new).collect())
}

/// Notes what was taken off the broker, and that the node has ended, if that was all of it.
pub(super) async fn take_off(store: Store, topics: Vec<String>, ends: bool) -> Result<()> {
    let work = move |txn: &mut Txn<'_>| {
        // A person may have let it go on meanwhile: then all of it is left there again.
        if ends && txn.retire(true)? != Standing::Retired {
            return Ok(());
        }
        txn.take_off_traces(&topics)
    };
    store.submit(Group::Now, work).await
}

/// The password in a file.
pub(super) async fn password(path: PathBuf) -> std::io::Result<String> {
    tokio::task::spawn_blocking(move || config::password(&path)).await?
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
            let Ledger { unsent, confirmed, .. } = reader.ledger()?;
            let confirmed = Some(confirmed).filter(|seq| *seq > 0);
            let backlog = unsent.values().sum();
            let mut oldest: Option<Row> = None;
            for lane in Lane::ALL {
                let pages = [reader.lane_after(lane, reader.cursor(lane)?, 1)?, reader.waiting(lane, 1)?];
                oldest = pages.into_iter().flat_map(|page| page.rows).chain(oldest).min_by_key(|row| row.seq);
            }
            let decide = |(reason, _): &&(Reason, i64)| reason.class() == Class::Decide;
            let letters = reader.letters_by_reason()?.iter().filter(decide).map(|(_, n)| n).sum();
            let (lost, mut past) = reader.lost()?;
            let (missing, missing_more) = ranges(&reader.dead(DEAD_MAX)?, &lost);
            past.truncate(PAST_MAX);
            let past = past.into_iter().map(|past| (past.epoch, past.last_produced)).collect();
            let oldest = oldest.map(|row| (row.boot, row.mono_ms, row.received_ms));
            Ok(Figures { backlog, oldest, letters, missing, missing_more, past, confirmed })
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
