//! What receivers say of the time: each must agree with itself for ten epochs, and one of them leads. A receiver that
//! contradicts the leader takes over only when it has said the same for as long as the leader, and nobody supports that.

use std::collections::BTreeMap;

use crate::domain::{TimeQuality, UnixMs};

use super::anchor::{Anchor, drift_ms};

/// Consistent epochs in a row that make a receiver's time the node's (contract section 5, `tq`).
const EPOCHS_TO_TRUST: u32 = 10;
/// How far two epochs may differ, after the time between them, and still be consistent. ms; a line at 4800 baud delays up
/// to this, so it is also how far an anchor may be off.
const CONSISTENT_MS: i64 = 1_000;
/// A receiver that said nothing for this long supports nobody. ms
const FRESH_MS: i64 = 60_000;
/// How long the word of a receiver that contradicts the leader must stand at most. ms
const CHALLENGE_MAX_MS: i64 = 300_000;
/// After this many weeks a receiver's date begins anew.
const ROLLOVER_MS: i64 = 1024 * 7 * 86_400_000;
/// A difference this near to whole rollovers is one. ms
const ROLLOVER_SLACK_MS: i64 = 86_400_000;

/// What one receiver says of the time, as long as it says the same.
#[derive(Clone, Copy, Debug)]
struct Word {
    /// UTC less `CLOCK_BOOTTIME`. ms
    offset_ms: i64,
    heard_mono_ms: i64,
    since_mono_ms: i64,
    epochs: u32,
    /// What the first epoch said: a recording that is played at once moves away from it, an epoch after the other.
    first_ms: i64,
}

impl Word {
    fn agrees(&self, said: i64) -> bool {
        let with = if self.epochs < EPOCHS_TO_TRUST { self.first_ms } else { self.offset_ms };
        (said - with).abs() <= CONSISTENT_MS
    }

    fn is_fresh(&self, mono_ms: i64) -> bool {
        self.epochs >= EPOCHS_TO_TRUST && mono_ms - self.heard_mono_ms <= FRESH_MS
    }

    fn anchor(&self, by: &str) -> Anchor {
        Anchor {
            mono_ms: self.heard_mono_ms,
            utc_ms: self.heard_mono_ms + self.offset_ms,
            err_ms: CONSISTENT_MS,
            tq: TimeQuality::Gnss,
            by: by.to_owned(),
        }
    }
}

/// All receivers whose time may become the node's. One entry a configured receiver.
#[derive(Debug, Default)]
pub(super) struct Receivers {
    words: BTreeMap<String, Word>,
    lead: Option<Anchor>,
    /// Since when what leads has been said. `CLOCK_BOOTTIME` ms
    lead_since_ms: i64,
}

/// What else is known of the time when a receiver speaks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Witness<'a> {
    /// What NTP says, where it does.
    pub(super) ntp: Option<&'a Anchor>,
    /// The wall clock less `CLOCK_BOOTTIME`, where it is plausible. ms
    pub(super) rtc_ms: Option<i64>,
}

impl Receivers {
    /// Goes on with what was known before a restart of the process; older anchors first.
    pub(super) fn restore(&mut self, anchor: Anchor) {
        if self.lead.as_ref().is_none_or(|lead| lead.contradicts(&anchor)) {
            self.lead_since_ms = anchor.mono_ms;
        }
        self.lead = Some(anchor);
    }

    /// Whose word counts among receivers.
    pub(super) const fn lead(&self) -> Option<&Anchor> {
        self.lead.as_ref()
    }

    /// Hears one epoch of a receiver.
    pub(super) fn hear(&mut self, id: &str, epoch_ms: UnixMs, mono_ms: i64, witness: Witness<'_>) {
        let said = epoch_ms - mono_ms;
        let word = match self.words.get(id) {
            Some(so_far) if so_far.agrees(said) => {
                // What is heard comes late, never early: the largest offset is the truest, fading with the crystal's drift.
                let faded = so_far.offset_ms - drift_ms(so_far.heard_mono_ms, mono_ms);
                let epochs = so_far.epochs.saturating_add(1);
                Word { offset_ms: said.max(faded), heard_mono_ms: mono_ms, epochs, ..*so_far }
            }
            _ => Word { offset_ms: said, heard_mono_ms: mono_ms, since_mono_ms: mono_ms, epochs: 1, first_ms: said },
        };
        self.words.insert(id.to_owned(), word);
        if word.epochs >= EPOCHS_TO_TRUST && self.may_lead(id, &word, witness) {
            let anchor = word.anchor(id);
            if self.lead.as_ref().is_none_or(|lead| lead.contradicts(&anchor)) {
                self.lead_since_ms = word.since_mono_ms;
            }
            self.lead = Some(anchor);
        }
    }

    fn may_lead(&self, id: &str, word: &Word, witness: Witness<'_>) -> bool {
        let anchor = word.anchor(id);
        let Some(lead) = &self.lead else {
            return !witness.rtc_ms.is_some_and(|rtc_ms| is_rolled(word.offset_ms - rtc_ms));
        };
        if !lead.contradicts(&anchor) {
            return lead.by == id || anchor.mono_ms - lead.mono_ms > FRESH_MS;
        }
        if let Some(ntp) = witness.ntp {
            return ntp.contradicts(lead) && !ntp.contradicts(&anchor);
        }
        let is_supported = self.words.iter().any(|(other, word)| {
            other != id && word.is_fresh(anchor.mono_ms) && !lead.contradicts(&word.anchor(other))
        });
        let stood_ms = (lead.mono_ms - self.lead_since_ms).min(CHALLENGE_MAX_MS);
        !is_supported && anchor.mono_ms - word.since_mono_ms >= stood_ms
    }

    /// A receiver that is sure of itself and contradicts `best`: its id and by how much it is ahead. ms
    pub(super) fn against(&self, best: &Anchor, mono_ms: i64) -> Option<(String, i64)> {
        self.words.iter().filter(|(_, word)| word.is_fresh(mono_ms)).find_map(|(id, word)| {
            let anchor = word.anchor(id);
            let ahead_ms = anchor.utc_minus_mono_ms() - best.utc_minus_mono_ms();
            best.contradicts(&anchor).then(|| (id.clone(), ahead_ms))
        })
    }
}

/// Whether two times are whole rollovers apart: then the one that a receiver says is wrong.
fn is_rolled(apart_ms: i64) -> bool {
    let rounds = (apart_ms.saturating_abs() + ROLLOVER_MS / 2) / ROLLOVER_MS;
    rounds > 0 && (apart_ms.saturating_abs() - rounds * ROLLOVER_MS).abs() <= ROLLOVER_SLACK_MS
}
