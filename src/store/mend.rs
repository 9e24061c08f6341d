//! Counts set right after a loss: what is known of the events and letters that are there decides, the rest is told by the last
//! ledger that can be relied on. Pure.

use std::collections::BTreeMap;

use crate::domain::{Kind, Lane};

use super::ledger::{FRAME_OUTCOMES, Ledger, Line};
use super::walk::LetterCount;

/// The source of events of which only the number is known.
const UNKNOWN: &str = "unknown";

/// What is known without the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The newest event that was ever counted.
    pub(super) head: i64,
    /// Events of the log that the ledger does not know, by source; none for what the node derived.
    pub(super) newer: BTreeMap<Option<String>, i64>,
    /// Events that are lost.
    pub(super) lost: i64,
    /// Events of the lanes scan and fix after their cursors, and before them what is to be sent again.
    pub(super) after: [i64; 2],
    /// The letters that are there.
    pub(super) letters: Vec<LetterCount>,
    /// Of them, those of dead events that are to be sent again.
    pub(super) again: i64,
    /// The newest event of each kind in the life that goes on; none in a new one, for no event of it has one before it.
    pub(super) heads: Vec<(Kind, i64)>,
}

impl Facts {
    fn graves(&self, state: &str) -> i64 {
        self.letters.iter().filter(|one| one.is_grave && one.state == state).map(|one| one.n).sum()
    }
}

/// The lines of a ledger that balances, agrees with the facts, and is otherwise what `lines` say.
pub(super) fn mend(lines: &[Line], facts: &Facts) -> Vec<Line> {
    let mut sheet = Sheet::of(lines);
    if !sheet.born(facts) {
        // It counts more than there ever was: none of it can be relied on.
        sheet = Sheet::of(&[]);
        sheet.born(facts);
    }
    sheet.graves(facts);
    sheet.stand(facts);
    sheet.letters(facts);
    sheet.0.retain(|key, _| key[0] != "head" || key[2] == "uplink");
    for (kind, seq) in &facts.heads {
        *sheet.at("head", "", kind.as_str(), "") = *seq;
    }
    *sheet.at("head", "", "seq", "") = facts.head;
    sheet.lines()
}

/// Whether a ledger can be relied on: it balances, and counts as many events as it says were numbered.
pub(super) fn is_sound(lines: &[Line]) -> bool {
    let ledger = Ledger::of_lines(lines.to_vec());
    let total = ledger.events.get("total").copied().unwrap_or(0);
    ledger.imbalance() == 0 && total == ledger.head && lines.iter().all(|line| line.4 >= 0)
}

/// The newest event that a ledger has counted.
pub(super) fn total(lines: &[Line]) -> i64 {
    lines.iter().filter(|line| line.0 == "events" && line.2 == "total").map(|line| line.4).sum()
}

struct Sheet(BTreeMap<[String; 4], i64>);

impl Sheet {
    fn of(lines: &[Line]) -> Self {
        let key = |line: &Line| [&line.0, &line.1, &line.2, &line.3].map(Clone::clone);
        Self(lines.iter().map(|line| (key(line), line.4.max(0))).collect())
    }

    fn lines(self) -> Vec<Line> {
        let line = |([scope, name, outcome, detail], n): ([String; 4], i64)| (scope, name, outcome, detail, n);
        self.0.into_iter().map(line).collect()
    }

    fn at(&mut self, scope: &str, name: &str, outcome: &str, detail: &str) -> &mut i64 {
        self.0.entry([scope, name, outcome, detail].map(str::to_owned)).or_default()
    }

    fn sum(&self, scope: &str, outcome: &str) -> i64 {
        self.0.iter().filter(|(key, _)| key[0] == scope && key[2] == outcome).map(|(_, n)| *n).sum()
    }

    /// Where events came from: as many as there ever were. False when more are counted than that.
    fn born(&mut self, facts: &Facts) -> bool {
        for (source, n) in &facts.newer {
            match source {
                Some(source) => *self.at("source", source, "stored", "") += n,
                None => *self.at("events", "", "derived", "") += n,
            }
        }
        let born = self.sum("source", "stored") + self.sum("events", "derived") + self.sum("events", "retried");
        if born > facts.head {
            return false;
        }
        if born < facts.head {
            *self.at("source", UNKNOWN, "stored", "") += facts.head - born;
        }
        self.0.retain(|key, _| key[0] != "source" || FRAME_OUTCOMES.contains(&key[2].as_str()));
        let mut frames: BTreeMap<String, i64> = BTreeMap::new();
        for ([scope, name, ..], n) in &self.0 {
            if scope == "source" {
                *frames.entry(name.clone()).or_default() += n;
            }
        }
        for (name, n) in frames {
            *self.at("source", &name, "frames", "") = n;
        }
        self.0.retain(|key, _| key[0] != "events" || key[2] != "total");
        *self.at("events", "", "total", "") = facts.head;
        true
    }

    /// Where events stand: what is lost and what waits is known; of the others the ledger says what it can, and what is then
    /// left was sent, or was never to be. What waits for nobody is counted in its lane too: an uplink that is added takes it there.
    fn stand(&mut self, facts: &Facts) {
        let uplink = self.sum("head", "uplink") == 1;
        let mut left = facts.head;
        let mut take = |n: i64| {
            let n = n.clamp(0, left);
            left -= n;
            n
        };
        let lost = take(facts.lost);
        let waiting = facts.after.map(&mut take);
        let other = if uplink {
            ["sent_unheard", "dead", "discarded", "local"]
        } else {
            ["sent_unheard", "dead", "discarded", "sent"]
        };
        for (key, n) in &mut self.0 {
            if key[0] == "events" && other.contains(&key[2].as_str()) {
                *n = take(*n);
            }
        }
        let (waits, rest) = if uplink { ("unsent", "sent") } else { ("local", "local") };
        self.0.retain(|key, _| key[0] != "events" || ![rest, "unsent", "lost"].contains(&key[2].as_str()));
        *self.at("events", "", "lost", "") = lost;
        for (lane, n) in Lane::ALL.into_iter().zip(waiting) {
            *self.at("events", "", waits, lane.as_str()) = n;
        }
        *self.at("events", "", rest, Lane::Fix.as_str()) += left;
    }

    /// Dead and given up events, of which letters tell. One whose letter was lost is given up: nobody can decide on it any more.
    fn graves(&mut self, facts: &Facts) {
        let (dead, discarded) = (facts.graves("open") - facts.again, facts.graves("discarded"));
        let says = self.sum("events", "dead") + self.sum("events", "discarded");
        let left = self.at("left_graves", "", "discarded", "");
        *left += (says - dead - discarded - *left).max(0);
        let discarded = discarded + *left;
        self.0.retain(|key, _| key[0] != "events" || !["dead", "discarded"].contains(&key[2].as_str()));
        *self.at("events", "", "dead", "") = dead;
        *self.at("events", "", "discarded", "") = discarded;
    }

    /// What was refused is known by source and reason; letters of it that are neither there nor known to have left were lost,
    /// and count among those that have left as expired.
    fn letters(&mut self, facts: &Facts) {
        let mut rows: BTreeMap<[String; 2], i64> = BTreeMap::new();
        let mut stands: BTreeMap<String, i64> =
            ["open", "retried", "discarded", "expired"].map(|s| (s.into(), 0)).into();
        for one in &facts.letters {
            *rows.entry([one.source.clone(), one.reason.clone()]).or_default() += one.n;
            *stands.entry(one.state.clone()).or_default() += one.n;
        }
        let mut refused: BTreeMap<[String; 2], i64> = rows.keys().map(|of| (of.clone(), 0)).collect();
        for ([scope, name, outcome, detail], n) in &self.0 {
            match scope.as_str() {
                "refused" => *refused.entry([name.clone(), outcome.clone()]).or_default() += n,
                "left_letters" => {
                    *rows.entry([name.clone(), outcome.clone()]).or_default() += n;
                    *stands.entry(detail.clone()).or_default() += n;
                }
                "letters" if outcome == "sampled" => *rows.entry([name.clone(), detail.clone()]).or_default() += n,
                _ => {}
            }
        }
        for of in rows.keys() {
            refused.entry(of.clone()).or_default();
        }
        for (of, says) in refused {
            let gone = says - rows.get(&of).copied().unwrap_or(0);
            let [source, reason] = &of;
            if gone > 0 {
                *self.at("left_letters", source, reason, "expired") += gone;
                *stands.entry("expired".into()).or_default() += gone;
            } else if gone < 0 {
                *self.at("refused", source, reason, "") -= gone;
            }
        }
        self.0.retain(|key, _| key[0] != "letters" || key[2] == "sampled");
        let sampled = self.sum("letters", "sampled");
        let total = stands.values().sum::<i64>() + sampled;
        for (state, n) in stands {
            *self.at("letters", "", &state, "") = n;
        }
        *self.at("letters", "", "total", "") = total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line() -> impl Strategy<Value = Line> {
        let word = |words: &'static [&'static str]| proptest::sample::select(words).prop_map(str::to_owned);
        let outcomes =
            &["frames", "stored", "no_fix", "total", "derived", "unsent", "sent", "dead", "open", "seq", "uplink"];
        (
            word(&["source", "events", "letters", "head"]),
            word(&["", "gps0"]),
            word(outcomes),
            word(&["", "fix"]),
            -5..50_i64,
        )
    }

    #[test]
    fn letters_that_were_lost_count_as_expired_and_a_dead_event_without_its_letter_as_given_up() {
        let line = |scope: &str, name: &str, outcome: &str, detail: &str, n| -> Line {
            (scope.into(), name.into(), outcome.into(), detail.into(), n)
        };
        let lines = [
            line("source", "door-3", "frames", "", 5),
            line("source", "door-3", "stored", "", 2),
            line("source", "door-3", "rejected", "noread", 3),
            line("refused", "door-3", "noread", "", 3),
            line("refused", "door-3", "too_large", "", 1),
            line("events", "", "total", "", 2),
            line("events", "", "dead", "", 1),
            line("events", "", "sent", "scan", 1),
            line("letters", "", "open", "", 4),
            line("letters", "", "total", "", 4),
            line("head", "", "uplink", "", 1),
        ];
        let kept = LetterCount {
            state: "open".into(),
            is_grave: false,
            source: "door-3".into(),
            reason: "noread".into(),
            n: 1,
        };
        let facts = Facts { head: 2, letters: vec![kept], ..Facts::default() };
        let ledger = Ledger::of_lines(mend(&lines, &facts));
        assert_eq!(ledger.imbalance(), 0);
        assert_eq!((ledger.letters["open"], ledger.letters["expired"], ledger.letters["total"]), (1, 3, 4));
        assert_eq!(ledger.left.letters[&("door-3".into(), "noread".into())], 2);
        assert_eq!(ledger.left.letters[&("door-3".into(), "too_large".into())], 1);
        assert_eq!((ledger.events["dead"], ledger.events["discarded"], ledger.events["sent"]), (0, 1, 1));
        assert_eq!(ledger.left.graves["discarded"], 1);
    }

    proptest! {
        #[test]
        fn whatever_is_left_of_a_ledger_it_balances_and_agrees_with_what_is_there(
            lines in proptest::collection::vec(line(), 0..20),
            (scans, fixes, lost, open) in (0..20_i64, 0..20_i64, 0..20_i64, 0..9_i64),
            more in 0..20_i64,
        ) {
            let newer = BTreeMap::from([(Some("door-3".to_owned()), scans), (None, fixes)]);
            let head = scans + fixes + lost + more;
            let letter = |is_grave| LetterCount {
                state: "open".into(), is_grave, source: "door-3".into(), reason: "noread".into(), n: open,
            };
            let letters = vec![letter(false)];
            let facts = Facts { head, newer, lost, after: [scans, fixes], letters, ..Facts::default() };
            let mended = mend(&lines, &facts);
            let ledger = Ledger::of_lines(mended.clone());
            prop_assert_eq!(ledger.imbalance(), 0, "{:?}", mended);
            prop_assert_eq!((ledger.events["total"], ledger.events["lost"]), (head, lost));
            prop_assert_eq!(ledger.letters["open"], open);
        }
    }
}
