//! The counts of the node at one moment, read from the store, and how they read outside.

use serde::Serialize;

use crate::domain::{Class, Lane, Reason, Stamp, UnixMs};
use crate::health::UplinkState;
use crate::store::{Ledger, Look, Named, Reader};

use super::answer::text;

/// What one look into the store says of its counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) ledger: Ledger,
    /// Open letters by reason, most first.
    pub(super) letters: Vec<(Reason, i64)>,
    /// When the oldest event that waits for the platform was received: boot, `CLOCK_BOOTTIME` ms and UTC ms.
    pub(super) oldest_unsent: Option<(i64, i64, UnixMs)>,
}

impl Counts {
    /// Reads them; `before` saves the look at what cannot have changed.
    pub(super) fn read(reader: &Reader<'_>, before: Option<&Self>) -> Look<Self> {
        let ledger = reader.ledger()?;
        let letters = match before {
            Some(before) if before.ledger.letters == ledger.letters => before.letters.clone(),
            _ => reader.letters_by_reason()?,
        };
        let mut oldest: Option<(i64, i64, UnixMs)> = None;
        for lane in Lane::ALL {
            if ledger.unsent.get(lane.as_str()).copied().unwrap_or(0) <= 0 {
                continue;
            }
            let pages = [reader.lane_after(lane, reader.cursor(lane)?, 1)?, reader.waiting(lane, 1)?];
            let waits = pages.into_iter().flat_map(|page| page.rows);
            oldest = waits.map(|row| (row.boot, row.mono_ms, row.received_ms)).chain(oldest).min();
        }
        Ok(Self { ledger, letters, oldest_unsent: oldest })
    }

    /// How long the oldest unsent event has waited; by the clock that never steps where it is of this boot. Seconds.
    pub(super) fn oldest_unsent_s(&self, boot: i64, now: Stamp) -> Option<i64> {
        let (of_boot, mono_ms, wall_ms) = self.oldest_unsent?;
        let waited_ms = if of_boot == boot { now.mono_ms() - mono_ms } else { now.wall_ms - wall_ms };
        Some((waited_ms / 1000).max(0))
    }

    /// Open letters that a person can do something about.
    pub(super) fn to_decide(&self) -> i64 {
        self.letters.iter().filter(|(reason, _)| reason.class() == Class::Decide).map(|(_, n)| n).sum()
    }
}

#[derive(Serialize)]
struct ReasonCount {
    reason: &'static str,
    n: i64,
    class: &'static str,
    retry: bool,
    text: &'static str,
    advice: &'static str,
}

#[derive(Serialize)]
struct LettersSheet {
    open: i64,
    noise: i64,
    by_reason: Vec<ReasonCount>,
}

/// The open letters: how many wait for a person, how many are noise, and each reason with its words.
pub(super) fn letters(counts: &Counts) -> String {
    let by_reason = counts.letters.iter().map(|(reason, n)| ReasonCount {
        reason: reason.as_str(),
        n: *n,
        class: reason.class().as_str(),
        retry: reason.retry_helps(),
        text: reason.sentence(),
        advice: reason.advice(),
    });
    let open = counts.to_decide();
    let all: i64 = counts.letters.iter().map(|(_, n)| n).sum();
    // A person's desk comes first, noise after it.
    let (decide, noise): (Vec<_>, Vec<_>) = by_reason.partition(|one| one.class == Class::Decide.as_str());
    text(&LettersSheet { open, noise: all - open, by_reason: decide.into_iter().chain(noise).collect() })
}

#[derive(Serialize)]
struct UplinkSheet<'a> {
    #[serde(flatten)]
    state: &'a UplinkState,
    #[serde(skip_serializing_if = "Option::is_none")]
    unsent: Option<Named<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_unsent_s: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try_s: Option<i64>,
}

/// The uplink's state with what waits for it.
pub(super) fn uplink(state: &UplinkState, counts: Option<&Counts>, boot: i64, now: Stamp) -> String {
    text(&UplinkSheet {
        state,
        unsent: counts.map(|counts| Named::new(&counts.ledger.unsent, &["scan", "fix"])),
        oldest_unsent_s: counts.and_then(|counts| counts.oldest_unsent_s(boot, now)),
        next_try_s: state.next_try_ms.map(|at| ((at - now.wall_ms) / 1000).max(0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_never_counts_among_the_letters_that_wait_for_a_person() {
        let counts = Counts { letters: vec![(Reason::BadChecksum, 900), (Reason::UnknownTag, 2)], ..Counts::default() };
        let sheet: serde_json::Value = serde_json::from_str(&letters(&counts)).unwrap();
        assert_eq!((&sheet["open"], &sheet["noise"]), (&serde_json::json!(2), &serde_json::json!(900)));
        assert_eq!(sheet["by_reason"][0]["reason"], "unknown_tag");
    }

    #[test]
    fn the_wait_of_the_oldest_event_is_measured_by_the_clock_that_never_steps() {
        let counts = Counts { oldest_unsent: Some((3, 10_000, 5)), ..Counts::default() };
        let now = Stamp { mono_us: 25_000_000, wall_ms: 9_000_005 };
        assert_eq!(counts.oldest_unsent_s(3, now), Some(15));
        assert_eq!(counts.oldest_unsent_s(4, now), Some(9_000));
    }
}
