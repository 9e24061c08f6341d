//! What the node's time rests on: into the store, so that a run after this one goes on with it and events of before are put
//! right, and onto the board, for people and the platform.

use std::time::Duration;

use crate::clock::{Anchor, BootTime, Clock, Keeper, Span, Standing, news};
use crate::domain::TimeQuality;
use crate::health::{Alarm, Board, ClockState, Severity, State};
use crate::store::{Group, Store, StoreError};

/// An anchor is written again after this long: it is worth the less the older it is. ms
const ANCHOR_EVERY_MS: i64 = 3_600_000;
/// Between two questions to chrony. ms
const CHRONY_EVERY_MS: i64 = 10_000;
/// A sick disk keeps nobody from being told how the time stands. See also the budget of a look of `gauge`.
const WRITE_MAX: Duration = Duration::from_secs(5);
/// Raised while two that should know the time contradict each other.
const DISAGREES: &str = "clock_disagrees";

/// Follows the keeper.
pub(super) struct Almanac {
    store: Store,
    board: Board,
    keeper: Keeper,
    /// The anchors that are in the store, and how many rows of the wall clock are told of with them.
    stored: (Vec<Anchor>, i64),
    /// This boot's word on its events, once its time is known.
    settled: Option<BootTime>,
    failed: bool,
    /// When chrony was asked last. `CLOCK_BOOTTIME` ms
    asked_ms: Option<i64>,
}

impl Almanac {
    pub(super) const fn new(store: Store, board: Board, keeper: Keeper) -> Self {
        Self { store, board, keeper, stored: (Vec::new(), 0), settled: None, failed: false, asked_ms: None }
    }

    /// Looks once: what is new goes into the store, how it stands onto the board.
    pub(super) async fn look(&mut self) {
        self.ask_chrony().await;
        let standing = self.keeper.standing();
        if standing.anchor.is_some() {
            // Left alone, it is noted twice: the second time nothing is new.
            let written = tokio::time::timeout(WRITE_MAX, self.write()).await;
            match written.unwrap_or(Err(StoreError::Gone)) {
                Ok(()) => self.failed = false,
                Err(error) if self.failed => tracing::debug!(%error, "the time could still not be noted"),
                Err(error) => {
                    self.failed = true;
                    tracing::warn!(%error, "what is known of the time could not be noted; trying again each second");
                }
            }
        }
        self.post(&standing);
    }

    /// On a thread that may block: it waits for another program.
    async fn ask_chrony(&mut self) {
        let now_ms = self.keeper.clock().now().mono_ms();
        if self.asked_ms.is_none_or(|at| now_ms - at >= CHRONY_EVERY_MS) {
            self.asked_ms = Some(now_ms);
            let keeper = self.keeper.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || keeper.ask_chrony()).await {
                tracing::debug!(%error, "chrony could not be asked");
            }
        }
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        let now = self.keeper.anchors();
        let is_new = |anchor: &Anchor| {
            let held = self.stored.0.iter().find(|held| held.tq == anchor.tq);
            held.is_none_or(|held| held.contradicts(anchor) || anchor.mono_ms - held.mono_ms >= ANCHOR_EVERY_MS)
        };
        let new: Vec<Anchor> = now.iter().filter(|anchor| is_new(anchor)).cloned().collect();
        let walls = self.store.read(|reader| reader.wall_count()).await?;
        if new.is_empty() && walls == self.stored.1 && self.settled.is_some() {
            return Ok(());
        }
        let told = new.clone();
        let submitted = self.store.submit(Group::Now, move |txn| {
            new.iter().try_for_each(|anchor| txn.set_anchor(anchor))?;
            txn.end_walls()?;
            let boots = txn.boot_times()?;
            for (boot, spans) in news(&boots, txn.now().mono_ms()) {
                txn.set_spans(boot, &spans)?;
            }
            txn.boot_times()
        });
        self.settled = submitted.await?.pop();
        self.stored.0.retain(|held| !told.iter().any(|new| new.tq == held.tq));
        self.stored.0.extend(told);
        self.stored.1 = self.store.read(|reader| reader.wall_count()).await?;
        Ok(())
    }

    fn post(&self, standing: &Standing) {
        let now = self.keeper.clock().now();
        let off_ms = |anchor: &Anchor| now.wall_ms - now.mono_ms() - anchor.utc_minus_mono_ms();
        self.board.post(State::Clock(ClockState {
            tq: standing.tq.as_str(),
            err_ms: standing.anchor.as_ref().map(off_ms).map(coarse),
            by: standing.anchor.as_ref().map(|anchor| anchor.by.clone()),
            rev: self.settled.as_ref().map(|told| told.rev),
            text: self.settled.as_ref().map(|told| told_text(&told.spans)).unwrap_or_default(),
            utc_minus_mono_ms: standing.anchor.as_ref().map(|anchor| coarse(anchor.utc_minus_mono_ms())),
        }));
        match &standing.against {
            Some((receiver, ahead_ms)) => {
                self.board.raise(disagrees(self.keeper.clock(), standing, receiver, *ahead_ms))
            }
            None => self.board.clear(DISAGREES),
        }
    }
}

/// What was said of this boot's events, for people; nothing where the clock was as right as anybody knows.
fn told_text(spans: &[Span]) -> String {
    let spans: Vec<&Span> = spans.iter().filter(|span| span.offset_ms.abs() > span.err_ms).collect();
    let (Some(first), Some(last)) = (spans.first(), spans.last()) else { return String::new() };
    let most = spans.iter().max_by_key(|span| span.offset_ms.abs()).unwrap_or(first);
    format!(
        "Events received between {} and {} after the start of the machine have the time of a clock that was {}; it is put \
         right within {} on the topic clock.",
        span_text(first.from_mono_ms),
        span_text(last.to_mono_ms),
        off_text(most.offset_ms),
        span_text(spans.iter().map(|span| span.err_ms).max().unwrap_or(0)),
    )
}

fn off_text(ahead_ms: i64) -> String {
    let by = span_text(ahead_ms);
    if ahead_ms < 0 { format!("{by} fast") } else { format!("{by} slow") }
}

/// A span as people say it, in its largest unit.
fn span_text(ms: i64) -> String {
    let ms = ms.saturating_abs();
    let of = |unit_ms: i64| (ms + unit_ms / 2) / unit_ms;
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        10_000..120_000 => format!("{} s", ms / 1000),
        120_000..7_200_000 => format!("{} min", of(60_000)),
        7_200_000..172_800_000 => format!("{} h", of(3_600_000)),
        172_800_000..63_113_904_000 => format!("{} days", of(86_400_000)),
        _ => format!("{} years", of(31_556_952_000)),
    }
}

fn disagrees(clock: &Clock, standing: &Standing, receiver: &str, ahead_ms: i64) -> Alarm {
    let (by, side) = (span_text(ahead_ms), if ahead_ms < 0 { "behind" } else { "ahead of" });
    let (holds, who) = match (standing.tq, &standing.anchor) {
        (TimeQuality::Ntp, _) => ("NTP's time is used".to_owned(), "NTP".to_owned()),
        (_, Some(anchor)) => (format!("the time of {} is used", anchor.by), anchor.by.clone()),
        (_, None) => ("its week number has begun anew, its time is not used".to_owned(), "the clock".to_owned()),
    };
    Alarm {
        name: DISAGREES.into(),
        severity: Severity::Warn,
        since_ms: clock.now().wall_ms,
        text: format!("The time of receiver {receiver} is {by} {side} that of {who}: {holds}."),
        advice: format!(
            "Check receiver {receiver}: jammed, old, or playing a recording? If it alone is right, check NTP; `clock = false` silences it."
        ),
        count: 1,
    }
}

/// Tenths of a second are enough to show, and keep the board quiet.
const fn coarse(ms: i64) -> i64 {
    ms / 100 * 100
}

#[cfg(test)]
#[path = "almanac_tests.rs"]
mod tests;
