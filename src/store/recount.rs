//! The recount: what the rows come to, held against the ledger. Pure; `walk` looks at the rows.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::Lane;

use super::ledger::Ledger;
use super::walk::{Closing, Mark, Stretch};
use super::{Closed, StoreError};

/// What to do where counts and rows differ.
const COUNTED_WRONG: &str = "No event is lost by a wrong count. Keep a copy (`waypost backup`) and report it with `waypost outbox check --json`.";
/// What to do where rows are gone that nothing accounts for.
const ROWS_GONE: &str = "Rows left that nothing removed: check the disk (`waypost doctor`, dmesg), keep a copy (`waypost backup`), and compare with the platform or a backup.";
/// What to do where a row is not as it should be.
const DAMAGED: &str = "The file is damaged there: check the disk (`waypost doctor`, dmesg), keep a copy (`waypost backup`), then restore a backup.";
/// What to do where places rest on nothing.
const REBUILD: &str = "`waypost rebuild` tells the places anew.";

/// How often a recount begins again because events left the log meanwhile.
const TRIES: usize = 5;

/// A line of the ledger that is not what the rows come to, or a row that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Which line, or what is wrong.
    pub what: String,
    /// What the ledger says; none where it is not about a count.
    pub ledger: Option<i64>,
    /// What the rows come to.
    pub rows: Option<i64>,
    /// What to do.
    pub advice: String,
}

/// A recount on its way.
#[derive(Clone, Debug, Default)]
struct Recount {
    all: Stretch,
    /// Each stretch: after which seq it begins, where it ends, its events of each lane.
    stretches: Vec<(i64, i64, [i64; 2])>,
}

/// What a recount came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Events that were looked at.
    pub events: i64,
    /// Letters that were looked at.
    pub letters: i64,
    /// Of them, those that are open; the others ended, and are kept for a while.
    pub open_letters: i64,
    /// Lines of the ledger that were compared.
    pub lines: usize,
    /// What differs.
    pub differences: Vec<Difference>,
    /// Differences that are not told.
    pub more: i64,
}

impl Recount {
    /// Adds the stretch after the mark. False: events have left the log since the walk began; begin anew.
    fn add(&mut self, stretch: Stretch) -> bool {
        if !self.stretches.is_empty() && self.all.gone != stretch.gone {
            return false;
        }
        let lanes = Lane::ALL.map(|lane| stretch.lane(lane));
        self.stretches.push((self.all.mark.seq, stretch.mark.seq, lanes));
        self.all.add(stretch);
        true
    }

    /// The parts of stretches that a cursor cuts through, of each lane: after which seq up to which they are to be counted.
    fn cuts(&self, closing: &Closing) -> [Option<(i64, i64)>; 2] {
        closing.cursors.map(|cursor| {
            let cut = self.stretches.iter().find(|(after, through, _)| *after < cursor && cursor < *through);
            cut.map(|(_, through, _)| (cursor, *through))
        })
    }

    /// Holds the rows against the ledger. `cut` are the events of each lane in [`Recount::cuts`], and how many had left the
    /// log when they were counted. None: events have left since the walk began; begin anew.
    fn settle(mut self, closing: Closing, (cut, gone): ([i64; 2], Option<i64>)) -> Option<Account> {
        let began = self.all.gone;
        if closing.tail.gone != began || gone.is_some_and(|gone| gone != began) {
            return None;
        }
        let whole = |lane: usize| -> i64 {
            let behind = |(after, _, _): &&(i64, i64, [i64; 2])| *after >= closing.cursors[lane];
            self.stretches.iter().filter(behind).map(|(_, _, lanes)| lanes[lane]).sum()
        };
        let waiting: [i64; 2] = [0, 1].map(|lane| whole(lane) + cut[lane] + closing.ahead[lane]);
        self.all.add(closing.tail.clone());
        let ledger = Ledger::of_lines(closing.lines.clone());
        let mut account = Account {
            events: self.all.rows(),
            letters: closing.letters.iter().map(|letters| letters.n).sum(),
            open_letters: closing.letters.iter().filter(|one| one.state == "open").map(|one| one.n).sum(),
            ..Account::default()
        };
        account.identities(&ledger);
        account.events(&self.all, &ledger);
        account.stands(&closing, &ledger, waiting);
        account.letters(&closing, &ledger);
        for (kind, says, seen) in &closing.heads {
            account.compare(&format!("newest event ({kind})"), *says, *seen, ROWS_GONE);
        }
        for text in &self.all.faults {
            let advice = if text.ends_with("missing") { ROWS_GONE } else { DAMAGED };
            account.tell(text.clone(), advice);
        }
        account.more = self.all.n_faults - i64::try_from(self.all.faults.len()).unwrap_or(0);
        for text in &closing.loose {
            let advice = if text.starts_with("the place") { REBUILD } else { DAMAGED };
            account.tell(text.clone(), advice);
        }
        Some(account)
    }
}

/// Where a recount gets its rows from: a running node, or a file.
pub trait Rows {
    /// Why it cannot.
    type Error;
    /// The stretch after a mark.
    ///
    /// # Errors
    /// When the rows cannot be read.
    fn walk(&mut self, mark: Mark) -> Result<Stretch, Self::Error>;
    /// The end of a walk.
    ///
    /// # Errors
    /// When the rows cannot be read.
    fn close(&mut self, mark: Mark) -> Result<Closing, Self::Error>;
    /// As [`super::Reader::lanes_between`].
    ///
    /// # Errors
    /// When the rows cannot be read.
    fn lanes(&mut self, after: i64, upto: i64) -> Result<([i64; 2], i64), Self::Error>;
}

impl Rows for Closed {
    type Error = StoreError;

    fn walk(&mut self, mark: Mark) -> Result<Stretch, StoreError> {
        self.read(|reader| reader.walk(mark))
    }

    fn close(&mut self, mark: Mark) -> Result<Closing, StoreError> {
        self.read(|reader| reader.close_walk(mark))
    }

    fn lanes(&mut self, after: i64, upto: i64) -> Result<([i64; 2], i64), StoreError> {
        self.read(|reader| reader.lanes_between(after, upto))
    }
}

/// Recounts; `told` hears how many events have been looked at. None: events left the log under it, again and again.
///
/// # Errors
/// As the rows say.
pub fn recount<R: Rows>(rows: &mut R, mut told: impl FnMut(i64)) -> Result<Option<Account>, R::Error> {
    'again: for _ in 0..TRIES {
        let mut recount = Recount::default();
        loop {
            let stretch = rows.walk(recount.all.mark)?;
            let more = stretch.more;
            if !recount.add(stretch) {
                continue 'again;
            }
            told(recount.all.rows());
            if !more {
                break;
            }
        }
        let closing = rows.close(recount.all.mark)?;
        let (mut cut, mut gone) = ([0; 2], None);
        for (lane, part) in recount.cuts(&closing).into_iter().enumerate() {
            let Some((after, upto)) = part else { continue };
            let (lanes, left) = rows.lanes(after, upto)?;
            cut[lane] = lanes[lane];
            gone = gone.max(Some(left));
        }
        if let Some(account) = recount.settle(closing, (cut, gone)) {
            return Ok(Some(account));
        }
    }
    Ok(None)
}

fn get(of: &BTreeMap<String, i64>, word: &str) -> i64 {
    of.get(word).copied().unwrap_or(0)
}

impl Account {
    /// Whether everything that has rows comes to what the ledger says.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.differences.is_empty()
    }

    fn compare(&mut self, what: &str, ledger: i64, rows: i64, advice: &str) {
        self.lines += 1;
        if ledger != rows {
            let what = what.to_owned();
            self.differences.push(Difference {
                what,
                ledger: Some(ledger),
                rows: Some(rows),
                advice: advice.to_owned(),
            });
        }
    }

    fn tell(&mut self, what: String, advice: &str) {
        self.differences.push(Difference { what, ledger: None, rows: None, advice: advice.to_owned() });
    }

    /// The ledger against itself, source by source.
    fn identities(&mut self, ledger: &Ledger) {
        for (source, n, ends) in ledger.frames() {
            self.compare(&format!("frames of {source}, against how they ended"), n, ends, COUNTED_WRONG);
        }
        self.compare("sum of all differences", 0, ledger.imbalance(), COUNTED_WRONG);
    }

    fn events(&mut self, all: &Stretch, ledger: &Ledger) {
        let gone: i64 = ledger.left.events.values().sum();
        let lost = get(&ledger.events, "lost");
        self.compare("events, total", get(&ledger.events, "total"), all.rows() + gone + lost, ROWS_GONE);
        let mut sources: BTreeSet<&str> = all.sources.keys().map(String::as_str).collect();
        sources.extend(
            ledger.sources.iter().filter(|(_, one)| get(&one.outcomes, "stored") > 0).map(|(id, _)| id.as_str()),
        );
        sources.extend(ledger.retried.keys().map(String::as_str));
        sources.extend(ledger.left.events.keys().map(|(source, _)| source.as_str()));
        // Of what is lost no row tells whose it was: as many may be missing in all.
        let mut lost = lost;
        for source in sources {
            let of_it = ledger.left.events.iter().filter(|((one, _), _)| one == source);
            let rows = get(&all.sources, source) + of_it.map(|(_, n)| n).sum::<i64>();
            let mut with_lost = |says: i64| {
                let short = (says - rows).clamp(0, lost);
                lost -= short;
                rows + short
            };
            if source.is_empty() {
                let says = get(&ledger.events, "derived");
                self.compare("events, derived", says, with_lost(says), ROWS_GONE);
                continue;
            }
            let stored = ledger.sources.get(source).map_or(0, |one| get(&one.outcomes, "stored"));
            let says = stored + get(&ledger.retried, source);
            self.compare(&format!("events of {source}, stored and retried"), says, with_lost(says), ROWS_GONE);
        }
    }

    /// Where events stand, as far as rows tell: what waits lies after the cursors, or is to be sent again; what is dead has a
    /// letter.
    fn stands(&mut self, closing: &Closing, ledger: &Ledger, waiting: [i64; 2]) {
        let graves = |state: &str| -> i64 {
            closing.letters.iter().filter(|one| one.is_grave && one.state == state).map(|one| one.n).sum()
        };
        for ((lane, n), again) in Lane::ALL.iter().zip(waiting).zip(closing.again) {
            let says = get(&ledger.unsent, lane.as_str());
            let n = again + if closing.uplink { n } else { 0 };
            self.compare(&format!("events, unsent, lane {}", lane.as_str()), says, n, COUNTED_WRONG);
        }
        let dead = graves("open") - closing.again.iter().sum::<i64>();
        let discarded = graves("discarded") + get(&ledger.left.graves, "discarded");
        self.compare("events, dead", get(&ledger.events, "dead"), dead, COUNTED_WRONG);
        self.compare("events, discarded", get(&ledger.events, "discarded"), discarded, COUNTED_WRONG);
    }

    fn letters(&mut self, closing: &Closing, ledger: &Ledger) {
        let (mut states, mut reasons) = (ledger.left.states.clone(), ledger.left.letters.clone());
        for one in &closing.letters {
            *states.entry(one.state.clone()).or_default() += one.n;
            *reasons.entry((one.source.clone(), one.reason.clone())).or_default() += one.n;
        }
        let sampled: i64 = ledger.sampled.values().sum();
        let total = states.values().sum::<i64>() + sampled;
        self.compare("letters, total", get(&ledger.letters, "total"), total, ROWS_GONE);
        for state in ["open", "retried", "discarded", "expired"] {
            self.compare(&format!("letters, {state}"), get(&ledger.letters, state), get(&states, state), COUNTED_WRONG);
        }
        for (of, n) in &ledger.sampled {
            *reasons.entry(of.clone()).or_default() += n;
        }
        let all: BTreeSet<&(String, String)> = reasons.keys().chain(ledger.refused.keys()).collect();
        for of in all {
            let (source, reason) = of;
            let says = ledger.refused.get(of).copied().unwrap_or(0);
            let rows = reasons.get(of).copied().unwrap_or(0);
            self.compare(&format!("letters of {source}, {reason}"), says, rows, COUNTED_WRONG);
        }
    }
}

#[cfg(test)]
pub(crate) use tests::assert_recounted;

#[cfg(test)]
#[path = "recount_tests.rs"]
mod tests;
