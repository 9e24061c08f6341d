//! What time it is for the log, whether that can be relied on, and which events are old by it.

use std::time::Duration;

use crate::clock::{BUILD_FLOOR_MS, Keeper};
use crate::domain::{Seq, UnixMs};
use crate::health::wedge;
use crate::store::{Look, Reader, Receipt, Shelf, Span};

/// A time that moves by more than this against the monotonic clock has stepped. ms
const STEP_MS: i64 = 3_600_000;
/// How long a time must have stood, in the log or in this run, before much may go by it. ms
const SETTLE_MS: i64 = 86_400_000;
/// Further ahead than this no clock was right. ms
const AHEAD_MS: i64 = 60_000;
/// Receipts read at once.
const PAGE: usize = 5_000;

/// How the trusted time has behaved in this run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trust {
    offset_ms: Option<i64>,
    since_mono_ms: i64,
    stepped: bool,
}

/// A trusted time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Now {
    pub(super) ms: UnixMs,
    /// It has gone on for a day without a step.
    pub(super) is_settled: bool,
    /// It has stepped, and not gone on for a day since.
    pub(super) has_stepped: bool,
}

impl Trust {
    /// The time now; none when nothing vouches for it.
    pub(super) fn look(&mut self, keeper: &Keeper) -> Option<Now> {
        let at = keeper.clock().now();
        let (ms, tq) = keeper.time_of(at);
        if !tq.is_trusted() {
            return None;
        }
        let offset_ms = ms - at.mono_ms();
        if self.offset_ms.is_none_or(|before| (before - offset_ms).abs() > STEP_MS) {
            self.stepped = self.offset_ms.is_some();
            self.since_mono_ms = at.mono_ms();
        }
        self.offset_ms = Some(offset_ms);
        let is_settled = at.mono_ms() - self.since_mono_ms >= SETTLE_MS;
        Some(Now { ms, is_settled, has_stepped: self.stepped && !is_settled })
    }
}

/// What is old in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// The last event that is.
    pub(super) upto: Seq,
    /// When the first that is not was received, where one was found. UTC ms
    pub(super) young_ms: Option<UnixMs>,
}

impl Due {
    /// Whether the log itself bears witness to the time: it has heard events for a day, or half of what it keeps, since.
    pub(super) fn is_witnessed(&self, now_ms: UnixMs, keep: Duration) -> bool {
        is_witness(self.young_ms, now_ms, keep)
    }

    /// Events that would leave, of those that are there.
    pub(super) fn share(&self, span: &Span) -> (i64, i64) {
        (self.upto.0 - span.base.0, span.head.0 - span.base.0)
    }
}

/// Whether what was written since bears witness to the time.
pub(super) fn is_witness(young_ms: Option<UnixMs>, now_ms: UnixMs, keep: Duration) -> bool {
    let settle = SETTLE_MS.min(millis(keep) / 2);
    young_ms.is_some_and(|young_ms| now_ms - young_ms >= settle)
}

/// What is old on a shelf: the last number that is, and when the first that is not was written.
pub(super) fn due_on(reader: &Reader<'_>, shelf: Shelf, now_ms: UnixMs, keep: Duration) -> Look<(i64, Option<UnixMs>)> {
    let horizon_ms = now_ms - millis(keep);
    let (mut at, mut upto) = (0, 0);
    loop {
        let page = reader.shelf_after(shelf, at, PAGE)?;
        for one in &page {
            if one.at_ms < BUILD_FLOOR_MS || one.at_ms > now_ms + AHEAD_MS {
                // A clock that knew nothing wrote it: the lines around it tell.
                continue;
            }
            if one.at_ms <= horizon_ms {
                upto = one.entry;
                continue;
            }
            // What was written before it in the same boot is as much older as the monotonic clock says, whatever the wall clock
            // said then.
            let since = (one.boot, one.mono_ms - (one.at_ms - horizon_ms));
            let young = reader.shelf_since(shelf, upto, since)?;
            return Ok((young.map_or(upto, |young| upto.min(young - 1)), Some(one.at_ms)));
        }
        let Some(last) = page.last() else { return Ok((upto, None)) };
        at = last.entry;
    }
}

enum Age {
    Old,
    Young(UnixMs),
    /// The clock was not trusted then, or wrong: the events around it tell.
    Unknown,
}

/// The age of an event by its receipt. `seq` is the order of receipt, so that an old one makes those before it old.
fn age(one: &Receipt, now_ms: UnixMs, keep: Duration) -> Age {
    let horizon_ms = now_ms - millis(keep);
    let is_possible = |ms| ms <= now_ms + AHEAD_MS;
    if !one.tq.is_trusted() {
        let is_young = one.received_ms > horizon_ms && is_possible(one.received_ms);
        return if is_young { Age::Young(one.received_ms) } else { Age::Unknown };
    }
    // With a receiver's time the wall clock may still be wrong; an event is never received before it happens.
    let (early, late) = (one.received_ms.min(one.ts_ms), one.received_ms.max(one.ts_ms));
    if late <= horizon_ms {
        Age::Old
    } else if early > horizon_ms && is_possible(early) {
        Age::Young(early)
    } else {
        Age::Unknown
    }
}

/// Finds what is old among what has been sent.
pub(super) fn due(reader: &Reader<'_>, span: &Span, now_ms: UnixMs, keep: Duration) -> Look<Due> {
    let (mut at, mut upto) = (span.base, span.base);
    loop {
        let page = reader.receipts(at, span.sent, PAGE)?;
        for one in &page {
            match age(one, now_ms, keep) {
                Age::Old => upto = one.seq,
                Age::Young(ms) => return Ok(Due { upto, young_ms: Some(ms) }),
                Age::Unknown => {}
            }
        }
        let Some(last) = page.last() else { return Ok(Due { upto, young_ms: None }) };
        at = last.seq;
    }
}

/// Whether anything would be old if the wall clock were right.
pub(super) fn may_be_due(reader: &Reader<'_>, wall_ms: UnixMs, keep: Duration) -> Look<bool> {
    let span = reader.span()?;
    let first = reader.receipts(span.base, span.sent, 1)?;
    Ok(first.first().is_some_and(|one| one.received_ms <= wall_ms - millis(keep)))
}

/// How long an event stays as `make faults` has turned it, in debug builds; none otherwise.
pub(super) fn turned() -> Option<Duration> {
    wedge::turned("WAYPOST_KEEP_MS").and_then(|ms| ms.parse().ok()).map(Duration::from_millis)
}

/// When the first pass is, how long between two, and how often it is looked: a keep of seconds wants its passes as often.
pub(super) fn pace(first_ms: i64, every_ms: i64) -> (i64, i64, Duration) {
    if turned().is_some() { (0, 200, Duration::from_millis(50)) } else { (first_ms, every_ms, Duration::MAX) }
}

pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
