//! What the times of a boot's events should have been: where the wall clock stood against `CLOCK_BOOTTIME` while events
//! took their time from it, and where it should have. See `docs/time.md`.
//! **Invariant:** pure; what a span says is right within its `err_ms`, or it is not said.

use serde::Serialize;

use super::anchor::Anchor;
use crate::domain::{TimeQuality, UnixMs};

/// The wall clock stands where it stood as long as it is within this of it. ms; two clocks that are read one after the
/// other differ by what comes between.
pub const WALL_STEP_MS: i64 = 100;
/// Spans of one boot at most: a clock that steps more often is told of more coarsely.
pub const SPANS_MAX: usize = 64;

/// Where the wall clock stood from one event of a boot on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wall {
    /// `CLOCK_BOOTTIME` of the event's receipt. ms
    pub mono_ms: i64,
    /// The wall clock less `CLOCK_BOOTTIME`, ms; none where events take their time from it no longer.
    pub minus_mono_ms: Option<i64>,
}

/// What is known of the time of one boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootTime {
    /// Its number.
    pub boot: i64,
    /// Where the wall clock stood, by `mono_ms`.
    pub walls: Vec<Wall>,
    /// Where the truth is known.
    pub anchors: Vec<Anchor>,
    /// What has been said of it.
    pub spans: Vec<Span>,
    /// How often; 0 never.
    pub rev: i64,
}

/// By how much the times of some events of a boot were off: those whose `tq` is not trusted and whose `ts_ms` is their
/// `received_ms`, received in `from_mono_ms..to_mono_ms`. Their true time is `ts_ms + offset_ms`, within `err_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The first receipt it is about, `CLOCK_BOOTTIME` ms.
    pub from_mono_ms: i64,
    /// The first receipt it is not about any more.
    pub to_mono_ms: i64,
    /// To be added. ms
    pub offset_ms: i64,
    /// How far the sum may be off, to either side. ms
    pub err_ms: i64,
    /// How the true time is known; `none`: it must lie between that of the boots around.
    #[serde(serialize_with = "as_word")]
    pub tq: TimeQuality,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields by reference")]
fn as_word<S: serde::Serializer>(tq: &TimeQuality, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(tq.as_str())
}

/// A stretch in which the wall clock did not step.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from_ms: i64,
    to_ms: i64,
    /// The wall clock less `CLOCK_BOOTTIME`: least and most. ms
    least_ms: i64,
    most_ms: i64,
}

impl Stretch {
    /// How far apart the wall clock of two neighbours was.
    fn apart_ms(&self, next: &Self) -> i64 {
        self.most_ms.max(next.most_ms) - self.least_ms.min(next.least_ms)
    }
}

impl BootTime {
    /// The last receipt that is known of it. ms
    fn last_ms(&self) -> i64 {
        let walls = self.walls.iter().map(|wall| wall.mono_ms);
        walls.chain(self.anchors.iter().map(|anchor| anchor.mono_ms)).max().unwrap_or(0)
    }

    /// What its anchors say that may be believed: NTP's word over that of receivers that contradict it.
    fn believed(&self) -> Vec<&Anchor> {
        let ntp: Vec<&Anchor> = self.anchors.iter().filter(|anchor| anchor.tq == TimeQuality::Ntp).collect();
        let agrees = |anchor: &&Anchor| ntp.iter().all(|ntp| !ntp.contradicts(anchor));
        self.anchors.iter().filter(agrees).collect()
    }

    /// The true times between which it began.
    fn began(&self) -> Option<(UnixMs, UnixMs)> {
        let began = |anchor: &&Anchor| (anchor.utc_minus_mono_ms(), anchor.err_at(0));
        let (at_ms, err_ms) = self.believed().iter().map(began).min_by_key(|(_, err_ms)| *err_ms)?;
        Some((at_ms - err_ms, at_ms + err_ms))
    }

    /// The newest true time that is known of it.
    fn newest_ms(&self) -> Option<UnixMs> {
        self.believed().iter().map(|anchor| anchor.utc_ms - anchor.err_ms).max()
    }

    /// The stretches of its wall clock, until `end_ms` where the last one is open; without it that one is left out.
    fn stretches(&self, end_ms: Option<i64>) -> Vec<Stretch> {
        let mut all: Vec<Stretch> = Vec::new();
        let ends = self.walls.iter().skip(1).map(|wall| Some(wall.mono_ms)).chain([end_ms]);
        for (wall, end) in self.walls.iter().zip(ends) {
            let (Some(stood_ms), Some(to_ms)) = (wall.minus_mono_ms, end.filter(|end| *end > wall.mono_ms)) else {
                continue;
            };
            let new = Stretch { from_ms: wall.mono_ms, to_ms, least_ms: stood_ms, most_ms: stood_ms };
            match all.last_mut() {
                Some(last) if last.to_ms == new.from_ms && last.apart_ms(&new) <= WALL_STEP_MS => join(last, &new),
                _ => all.push(new),
            }
        }
        while all.len() > SPANS_MAX {
            let nearest = (1..all.len()).min_by_key(|at| all[at - 1].apart_ms(&all[*at])).unwrap_or(1);
            let gone = all.remove(nearest);
            join(&mut all[nearest - 1], &gone);
        }
        all
    }

    /// What its anchors say of its stretches.
    fn told(&self, end_ms: Option<i64>) -> Vec<Span> {
        let anchors = self.believed();
        let span = |stretch: Stretch| {
            let worst_ms = |anchor: &&&Anchor| anchor.err_at(stretch.from_ms).max(anchor.err_at(stretch.to_ms));
            let anchor = anchors.iter().min_by_key(worst_ms)?;
            Some(span_of(stretch, anchor.utc_minus_mono_ms(), worst_ms(&anchor), anchor.tq))
        };
        self.stretches(end_ms).into_iter().filter_map(span).collect()
    }

    /// What follows for a boot of which nobody knew the time from the boots around it: it began after the one and was
    /// over before the other.
    fn bounded(&self, before_ms: UnixMs, after_ms: UnixMs) -> Vec<Span> {
        let latest_ms = after_ms - self.last_ms();
        if latest_ms < before_ms {
            return Vec::new();
        }
        let (began_ms, err_ms) = (before_ms.midpoint(latest_ms), (latest_ms - before_ms) / 2 + 1);
        let span = |stretch| span_of(stretch, began_ms, err_ms, TimeQuality::None);
        self.stretches(Some(after_ms - before_ms)).into_iter().map(span).collect()
    }
}

fn join(one: &mut Stretch, next: &Stretch) {
    one.to_ms = next.to_ms;
    (one.least_ms, one.most_ms) = (one.least_ms.min(next.least_ms), one.most_ms.max(next.most_ms));
}

fn span_of(stretch: Stretch, utc_minus_mono_ms: i64, err_ms: i64, tq: TimeQuality) -> Span {
    let Stretch { from_ms, to_ms, least_ms, most_ms } = stretch;
    let offset_ms = utc_minus_mono_ms - least_ms.midpoint(most_ms);
    let err_ms = err_ms + WALL_STEP_MS + (most_ms - least_ms) / 2;
    Span { from_mono_ms: from_ms, to_mono_ms: to_ms, offset_ms, err_ms, tq }
}

/// What is now known better than was said: number and spans of each boot that is to be told anew. `boots` are in their
/// order, the last one is of now.
#[must_use]
pub fn news(boots: &[BootTime], now_mono_ms: i64) -> Vec<(i64, Vec<Span>)> {
    let spans_of = |(at, one): (usize, &BootTime)| {
        let before_ms = boots[..at].iter().rev().find_map(BootTime::newest_ms);
        let after = boots[at + 1..].iter().find_map(BootTime::began);
        let is_now = at + 1 == boots.len();
        let spans = match (one.began(), before_ms, after) {
            (Some(_), _, _) if is_now => one.told(Some(now_mono_ms)),
            // The next boot began after this one was over.
            (Some((began_ms, _)), _, after) => one.told(after.map(|(_, after_ms)| after_ms - began_ms)),
            (None, Some(before_ms), Some((_, after_ms))) => one.bounded(before_ms, after_ms),
            (None, _, _) => Vec::new(),
        };
        is_better(&one.spans, &spans).then_some((one.boot, spans))
    };
    boots.iter().enumerate().filter_map(spans_of).collect()
}

/// Whether it is worth being said: something was not told of, was wrong by more than was said, or is known twice as well.
fn is_better(said: &[Span], now: &[Span]) -> bool {
    let stays = |new: &Span| {
        let told: Vec<&Span> =
            said.iter().filter(|old| old.from_mono_ms < new.to_mono_ms && new.from_mono_ms < old.to_mono_ms).collect();
        let covered_ms: i64 =
            told.iter().map(|old| old.to_mono_ms.min(new.to_mono_ms) - old.from_mono_ms.max(new.from_mono_ms)).sum();
        covered_ms == new.to_mono_ms - new.from_mono_ms
            && told.iter().all(|old| {
                (old.offset_ms - new.offset_ms).abs() <= old.err_ms && old.err_ms < new.err_ms.saturating_mul(2)
            })
    };
    !now.iter().all(stays)
}

#[cfg(test)]
#[path = "spans_tests.rs"]
mod tests;
