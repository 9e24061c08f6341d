//! The counts that must balance, written in the transaction of the rows they count.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::domain::{Kind, Reason};

use super::commands;

/// One line of the ledger table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Count {
    pub(super) scope: &'static str,
    pub(super) name: String,
    pub(super) outcome: &'static str,
    pub(super) detail: &'static str,
}

impl Count {
    pub(super) fn events(outcome: &'static str, detail: &'static str) -> Self {
        Self { scope: "events", name: String::new(), outcome, detail }
    }

    pub(super) fn letters(outcome: &'static str, detail: &'static str) -> Self {
        Self { scope: "letters", name: String::new(), outcome, detail }
    }

    pub(super) fn source(name: &str, outcome: &'static str, detail: &'static str) -> Self {
        Self { scope: "source", name: name.to_owned(), outcome, detail }
    }

    /// Events of retried letters, by the source of the letter.
    pub(super) fn retried(source: &str) -> Self {
        Self { scope: "events", name: source.to_owned(), outcome: "retried", detail: "" }
    }

    /// Letters that were only counted, by source and reason: no row says of whom they were.
    pub(super) fn sampled(name: &str, reason: Reason) -> Self {
        Self { scope: "letters", name: name.to_owned(), outcome: "sampled", detail: reason.as_str() }
    }

    /// Events that have left the log, by source and kind; no kind is one that was damaged beyond telling.
    pub(super) fn left(source: Option<&str>, kind: Option<Kind>) -> Self {
        let outcome = kind.map_or("damaged", Kind::as_str);
        Self { scope: "left", name: source.unwrap_or_default().to_owned(), outcome, detail: "" }
    }

    /// Letters that have left, by source, reason and how they ended.
    pub(super) fn left_letter(source: &str, reason: &'static str, state: &'static str) -> Self {
        Self { scope: "left_letters", name: source.to_owned(), outcome: reason, detail: state }
    }

    /// Letters of events that have left, by how they ended: the events still stand so.
    pub(super) fn left_grave(state: &'static str) -> Self {
        Self { scope: "left_graves", name: String::new(), outcome: state, detail: "" }
    }

    /// Letters by source and reason, sentences too.
    pub(super) fn refused(name: &str, reason: Reason) -> Self {
        Self { scope: "refused", name: name.to_owned(), outcome: reason.as_str(), detail: "" }
    }
}

/// How a frame ended: exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is an event.
    Stored,
    /// The same code again within its window.
    Repeat,
    /// An event of the same id is in the log.
    Duplicate,
    /// An epoch without a valid position.
    NoFix,
    /// Left out by a named policy: `parked`, `track`, `room`.
    Thinned(&'static str),
    /// It is a letter.
    Rejected(Reason),
    /// It was a test.
    Test,
}

impl Outcome {
    /// The word in the ledger and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Repeat => "repeat",
            Self::Duplicate => "duplicate",
            Self::NoFix => "no_fix",
            Self::Thinned(_) => "thinned",
            Self::Rejected(_) => "rejected",
            Self::Test => "test",
        }
    }

    /// The policy or reason; empty where there is none.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Thinned(policy) => policy,
            Self::Rejected(reason) => reason.as_str(),
            _ => "",
        }
    }
}

/// The outcomes a frame can have, as words.
pub(super) const FRAME_OUTCOMES: [&str; 7] = ["stored", "repeat", "duplicate", "no_fix", "thinned", "rejected", "test"];
/// Where an event can stand, as words.
const EVENT_STANDS: [&str; 7] = ["unsent", "sent", "sent_unheard", "local", "dead", "discarded", "lost"];
/// How a letter can stand, as words.
pub(super) const LETTER_STANDS: [&str; 5] = ["open", "retried", "discarded", "expired", "sampled"];

/// One source's part of the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceLedger {
    /// Frames finished.
    pub frames: i64,
    /// Frames by outcome: stored, repeat, duplicate, no_fix, thinned, rejected, test.
    pub outcomes: BTreeMap<String, i64>,
    /// Rejected frames by reason.
    pub reasons: BTreeMap<String, i64>,
    /// Thinned frames by policy.
    pub policies: BTreeMap<String, i64>,
}

/// The ledger as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// By source id.
    pub sources: BTreeMap<String, SourceLedger>,
    /// Events: total, derived, retried, and where they stand.
    pub events: BTreeMap<String, i64>,
    /// Unsent events by lane.
    pub unsent: BTreeMap<String, i64>,
    /// Letters: total, and how they stand.
    pub letters: BTreeMap<String, i64>,
    /// Everything refused, frames and sentences, by source and reason.
    pub refused: BTreeMap<(String, String), i64>,
    /// The newest event, and the newest of each kind.
    pub head: i64,
    /// By kind, the newest event.
    pub heads: BTreeMap<String, i64>,
    /// Retried letters' events by source.
    pub retried: BTreeMap<String, i64>,
    /// Letters that were only counted, by source and reason.
    pub sampled: BTreeMap<(String, String), i64>,
    /// What has left, and of which therefore no row tells any more.
    pub left: Gone,
    /// Up to this seq the centre says that it has everything; 0 before it has said so.
    pub confirmed: i64,
}

/// What has left the store, counted in the transaction that removed it: with it a recount of the rows comes to the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Events, by source ('' for what the node derived) and kind.
    pub events: BTreeMap<(String, String), i64>,
    /// Letters, by source and reason.
    pub letters: BTreeMap<(String, String), i64>,
    /// Letters, by how they ended.
    pub states: BTreeMap<String, i64>,
    /// Letters of events that could not be sent, by how they ended; and unsent events that were purged, as discarded.
    pub graves: BTreeMap<String, i64>,
}

/// One line of the ledger table: scope, name, outcome, detail, count.
pub type Line = (String, String, String, String, i64);

impl Ledger {
    pub(super) fn read(conn: &Connection) -> rusqlite::Result<Self> {
        Ok(Self { confirmed: commands::confirmed(conn)?.0, ..Self::of_lines(lines(conn)?) })
    }

    /// The ledger of its table's lines.
    #[must_use]
    pub fn of_lines(lines: Vec<Line>) -> Self {
        let mut ledger = Self::default();
        for (scope, name, outcome, detail, n) in lines {
            ledger.put(&scope, name, outcome, detail, n);
        }
        ledger
    }

    fn put(&mut self, scope: &str, name: String, outcome: String, detail: String, n: i64) {
        match scope {
            "source" => {
                let source = self.sources.entry(name).or_default();
                match outcome.as_str() {
                    "frames" => source.frames += n,
                    "rejected" => *source.reasons.entry(detail).or_default() += n,
                    "thinned" => *source.policies.entry(detail).or_default() += n,
                    _ => {}
                }
                if outcome != "frames" {
                    *source.outcomes.entry(outcome).or_default() += n;
                }
            }
            "events" => {
                match outcome.as_str() {
                    "unsent" => *self.unsent.entry(detail).or_default() += n,
                    "retried" => *self.retried.entry(name).or_default() += n,
                    _ => {}
                }
                *self.events.entry(outcome).or_default() += n;
            }
            "letters" => {
                if outcome == "sampled" {
                    *self.sampled.entry((name, detail)).or_default() += n;
                }
                *self.letters.entry(outcome).or_default() += n;
            }
            "refused" => *self.refused.entry((name, outcome)).or_default() += n,
            "left" => *self.left.events.entry((name, outcome)).or_default() += n,
            "left_letters" => {
                *self.left.letters.entry((name, outcome)).or_default() += n;
                *self.left.states.entry(detail).or_default() += n;
            }
            "left_graves" => *self.left.graves.entry(outcome).or_default() += n,
            "head" if outcome == "seq" => self.head = n,
            "head" => drop(self.heads.insert(outcome, n)),
            _ => {}
        }
    }

    /// The frames of each source, and what their outcomes come to.
    pub(super) fn frames(&self) -> impl Iterator<Item = (&str, i64, i64)> {
        let ends = |source: &SourceLedger| FRAME_OUTCOMES.iter().filter_map(|word| source.outcomes.get(*word)).sum();
        self.sources.iter().map(move |(id, source)| (id.as_str(), source.frames, ends(source)))
    }

    /// The sum of the absolute differences of all identities; 0 is the promise.
    #[must_use]
    pub fn imbalance(&self) -> i64 {
        let sum = |of: &BTreeMap<String, i64>, words: &[&str]| words.iter().filter_map(|w| of.get(*w)).sum::<i64>();
        let get = |of: &BTreeMap<String, i64>, word: &str| of.get(word).copied().unwrap_or(0);
        let frames: i64 = self.frames().map(|(_, n, ends)| (n - ends).abs()).sum();
        let stored: i64 = self.sources.values().map(|source| get(&source.outcomes, "stored")).sum();
        let total = get(&self.events, "total");
        let born = stored + get(&self.events, "derived") + get(&self.events, "retried");
        let stands = sum(&self.events, &EVENT_STANDS);
        let letters = get(&self.letters, "total") - sum(&self.letters, &LETTER_STANDS);
        frames + (total - born).abs() + (total - stands).abs() + letters.abs()
    }
}

/// The table as it stands.
pub(super) fn lines(conn: &Connection) -> rusqlite::Result<Vec<Line>> {
    conn.prepare_cached("select scope, name, outcome, detail, n from ledger")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?
        .collect()
}

/// Puts these lines in place of all.
pub(super) fn replace(conn: &Connection, lines: &[Line]) -> rusqlite::Result<()> {
    conn.execute("delete from ledger", [])?;
    let mut add = conn.prepare_cached("insert into ledger values (?1, ?2, ?3, ?4, ?5)")?;
    for (scope, name, outcome, detail, n) in lines {
        add.execute((scope, name, outcome, detail, n))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(lines: &[(&str, &str, &str, &str, i64)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (scope, name, outcome, detail, n) in lines {
            ledger.put(scope, (*name).into(), (*outcome).into(), (*detail).into(), *n);
        }
        ledger
    }

    #[test]
    fn a_balanced_ledger_has_no_imbalance_and_one_missing_frame_is_one() {
        let mut lines = vec![
            ("source", "gps0", "frames", "", 3),
            ("source", "gps0", "stored", "", 2),
            ("source", "gps0", "rejected", "bad_check", 1),
            ("events", "", "total", "", 3),
            ("events", "", "derived", "", 1),
            ("events", "", "unsent", "fix", 1),
            ("events", "", "sent", "fix", 2),
            ("letters", "", "total", "", 1),
            ("letters", "", "open", "", 1),
        ];
        assert_eq!(ledger(&lines).imbalance(), 0);
        lines[0].4 = 4;
        assert_eq!(ledger(&lines).imbalance(), 1);
        lines[5].4 = 3;
        assert_eq!(ledger(&lines).imbalance(), 3);
    }
}
