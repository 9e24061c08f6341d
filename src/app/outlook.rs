//! What the present rates come to: how long the node could go on without the platform, and how long a card would last.
//! Pure: looks in, figures out.

use std::collections::VecDeque;
use std::time::Duration;

/// Between two looks that are kept. ms
const STEP_MS: i64 = 60_000;
/// Looks that are kept: a day of them.
const LOOKS_MAX: usize = 1_441;
/// The rate of events is that of the last hour. ms
const HOUR_MS: i64 = 3_600_000;
/// A rate is none before this. ms
const RATE_MIN_MS: i64 = 60_000;
/// Beyond this a forecast says nothing.
const AUTONOMY_MAX: Duration = Duration::from_secs(3_650 * 86_400);
const DAY_MS: u128 = 86_400_000;

/// What can be written to the card that its life is told of, before it is worn. Bytes; makers say TBW.
pub(super) const CARD_TBW: u64 = 10;

/// One look at what only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// `CLOCK_BOOTTIME` ms.
    pub(super) mono_ms: i64,
    /// Events ever.
    pub(super) events: i64,
    /// Bytes given to the disk since the start.
    pub(super) written: u64,
}

/// What is written to the disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Wear {
    /// Bytes an event, all that is written for it or beside it; none without events.
    pub(super) per_event: Option<u64>,
    /// Bytes a day.
    pub(super) per_day: u64,
    /// How long a card of [`CARD_TBW`] TBW would last. Years, one decimal.
    pub(super) card_years: Option<f64>,
}

/// The looks of the last day.
#[derive(Clone, Debug, Default)]
pub(super) struct Outlook {
    looks: VecDeque<Point>,
    now: Option<Point>,
}

impl Outlook {
    /// Takes in a look.
    pub(super) fn see(&mut self, now: Point) {
        self.now = Some(now);
        if self.looks.back().is_none_or(|last| now.mono_ms - last.mono_ms >= STEP_MS) {
            self.looks.push_back(now);
        }
        while self.looks.len() > LOOKS_MAX {
            self.looks.pop_front();
        }
    }

    /// How long `left` bytes last at the rate of the last hour, an event taking so many; none when nothing comes or it would
    /// be longer than ten years.
    pub(super) fn autonomy(&self, left: u64, event_bytes: u64) -> Option<Duration> {
        let now = self.now?;
        let (span_ms, events, _) = self.since(now.mono_ms - HOUR_MS)?;
        let bytes = u128::try_from(events).ok()?.checked_mul(u128::from(event_bytes))?;
        let lasts_ms = (u128::from(left) * u128::try_from(span_ms).ok()?).checked_div(bytes)?;
        let lasts = Duration::from_millis(u64::try_from(lasts_ms).unwrap_or(u64::MAX));
        (lasts <= AUTONOMY_MAX).then_some(lasts)
    }

    /// What is written, by the last day or since the start; none before there is a rate.
    pub(super) fn wear(&self) -> Option<Wear> {
        let (span_ms, events, written) = self.since(i64::MIN)?;
        let per_day = u128::from(written) * DAY_MS / u128::try_from(span_ms).ok()?;
        let per_event = u64::try_from(events).ok().and_then(|events| written.checked_div(events));
        // Whole tenths of a year: a guess should not look like a measure.
        let tenths = (u128::from(CARD_TBW) * 10_000_000_000_000).checked_div(per_day * 365);
        let tenths = tenths.and_then(|tenths| u32::try_from(tenths).ok());
        let card_years = tenths.map(|tenths| f64::from(tenths) / 10.0);
        Some(Wear { per_event, per_day: u64::try_from(per_day).unwrap_or(u64::MAX), card_years })
    }

    /// What came since the first look that is not before this: ms, events, bytes.
    fn since(&self, from_ms: i64) -> Option<(i64, i64, u64)> {
        let now = self.now?;
        let first = self.looks.iter().find(|look| look.mono_ms >= from_ms)?;
        let span_ms = now.mono_ms - first.mono_ms;
        (span_ms >= RATE_MIN_MS)
            .then(|| (span_ms, now.events - first.events, now.written.saturating_sub(first.written)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks each second for so many minutes, with so many events and bytes in each.
    fn after(minutes: i64, events: i64, written: u64) -> Outlook {
        let mut outlook = Outlook::default();
        for s in 0..=minutes * 60 {
            outlook.see(Point { mono_ms: 5_000 + s * 1_000, events: s * events, written: s.unsigned_abs() * written });
        }
        outlook
    }

    #[test]
    fn room_for_a_million_events_lasts_as_long_as_a_million_events_take_to_come() {
        let outlook = after(10, 2, 0);
        assert_eq!(outlook.autonomy(240_000_000, 240), Some(Duration::from_secs(500_000)));
        assert_eq!(outlook.autonomy(0, 240), Some(Duration::ZERO));
    }

    #[test]
    fn where_nothing_comes_or_nobody_knows_yet_there_is_no_forecast() {
        assert_eq!(after(10, 0, 0).autonomy(1 << 30, 240), None);
        assert_eq!(after(0, 5, 0).autonomy(1 << 30, 240), None);
        assert_eq!(Outlook::default().autonomy(1 << 30, 240), None);
        let slow = after(10, 1, 0);
        assert_eq!(slow.autonomy(u64::MAX, 1), None, "longer than ten years");
    }

    #[test]
    fn the_rate_of_events_is_that_of_the_last_hour() {
        let mut outlook = after(120, 10, 0);
        let begun = outlook.now.unwrap();
        for s in 1..=3_600 {
            outlook.see(Point { mono_ms: begun.mono_ms + s * 1_000, events: begun.events + s, ..begun });
        }
        assert_eq!(outlook.autonomy(3_600, 1), Some(Duration::from_secs(3_600)));
    }

    #[test]
    fn a_card_lasts_as_long_as_what_may_be_written_to_it() {
        // 1 GB a day.
        let wear = after(60, 2, 11_574).wear().unwrap();
        assert_eq!(wear.per_event, Some(5_787));
        assert!((999_000_000..1_001_000_000).contains(&wear.per_day), "{wear:?}");
        assert_eq!(wear.card_years, Some(27.3));
        let still = after(60, 0, 0).wear().unwrap();
        assert_eq!((still.per_event, still.per_day, still.card_years), (None, 0, None));
    }

    #[test]
    fn a_week_of_looks_takes_the_memory_of_a_day() {
        assert_eq!(after(7 * 1_440, 1, 1).looks.len(), LOOKS_MAX);
    }
}
