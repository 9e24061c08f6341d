//! The rows looked at one by one, a stretch of the log at a time: how many there are of what, and whether each is where it should be.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use crate::domain::{Kind, Lane, Seq};

use super::base::base;
use super::ledger::{self, Line};
use super::outbox::{self, SCAN_MAX};
use super::{Look, Reader};

/// Faults that one stretch tells; more are only counted.
const TOLD_MAX: usize = 50;
/// Whole rows held in memory at once, to be held against their digests.
const VERIFIED_AT_ONCE: usize = 500;

/// How far a walk along the log has come: the last event looked at, and the last of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The last seq looked at.
    pub seq: i64,
    /// The last event of each kind, in the order of [`Kind::ALL`]; 0 for none.
    pub kinds: [i64; 4],
}

/// What a stretch of the log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// Where the next one begins.
    pub mark: Mark,
    /// Whether there is a next one.
    pub more: bool,
    /// Events by source, '' for what the node derived.
    pub sources: BTreeMap<String, i64>,
    /// Events by kind, in the order of [`Kind::ALL`].
    pub kinds: [i64; 4],
    /// What is wrong with single events, in words; the first of them.
    pub faults: Vec<String>,
    /// How many are wrong.
    pub n_faults: i64,
    /// Events that had ever left the log when it was looked at: what leaves under a walk would be counted twice.
    pub gone: i64,
}

impl Stretch {
    /// Its events.
    #[must_use]
    pub fn rows(&self) -> i64 {
        self.kinds.iter().sum()
    }

    /// Its events of a lane.
    #[must_use]
    pub fn lane(&self, lane: Lane) -> i64 {
        Kind::ALL.iter().zip(self.kinds).filter(|(kind, _)| kind.lane() == lane).map(|(_, n)| n).sum()
    }

    fn fault(&mut self, text: impl FnOnce() -> String) {
        self.n_faults += 1;
        if self.faults.len() < TOLD_MAX {
            self.faults.push(text());
        }
    }

    /// Adds what comes after it.
    pub fn add(&mut self, next: Self) {
        self.mark = next.mark;
        self.more = next.more;
        for (source, n) in next.sources {
            *self.sources.entry(source).or_default() += n;
        }
        self.kinds.iter_mut().zip(next.kinds).for_each(|(all, n)| *all += n);
        let room = TOLD_MAX.saturating_sub(self.faults.len());
        self.faults.extend(next.faults.into_iter().take(room));
        self.n_faults += next.n_faults;
        self.gone = next.gone;
    }
}

/// Letters that have these in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterCount {
    /// open, retried, discarded or expired.
    pub state: String,
    /// Whether it is of an event that could not be sent.
    pub is_grave: bool,
    /// The source; '' for none.
    pub source: String,
    /// The reason.
    pub reason: String,
    /// How many.
    pub n: i64,
}

/// The end of a walk, at one moment: what came since, and what the ledger says just then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// The ledger, line by line.
    pub lines: Vec<Line>,
    /// What has come since the mark, and what is wrong at the end of the log.
    pub tail: Stretch,
    /// Where the cursor of each lane stands, in the order of [`Lane::ALL`].
    pub cursors: [i64; 2],
    /// Events of each lane after both its cursor and the mark.
    pub ahead: [i64; 2],
    /// Events of each lane before its cursor that are to be sent again: unsent, and each with an open letter.
    pub again: [i64; 2],
    /// Whether there is an uplink: what is after the cursors is unsent, else local.
    pub uplink: bool,
    /// What the heads of the kinds say and the log does not hold, and nothing names.
    pub heads: Vec<(String, i64, i64)>,
    /// The letters.
    pub letters: Vec<LetterCount>,
    /// Things that point at what is not there, in words; the first of them.
    pub loose: Vec<String>,
}

impl Reader<'_> {
    /// Looks at the next events after a mark, at most [`SCAN_MAX`] places of the log.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn walk(&self, mark: Mark) -> Look<Stretch> {
        self.snapshot(|reader| walk(reader.conn, mark, SCAN_MAX))
    }

    /// Events of each lane in `after..=upto`, in the order of [`Lane::ALL`], and how many had ever left the log then.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn lanes_between(&self, after: i64, upto: i64) -> Look<([i64; 2], i64)> {
        self.snapshot(|reader| Ok((lanes(reader.conn, after, upto)?, gone(reader.conn)?)))
    }

    /// Ends a walk that has come to `mark`.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn close_walk(&self, mark: Mark) -> Look<Closing> {
        self.snapshot(|reader| close(reader.conn, mark))
    }
}

fn walk(conn: &Connection, mut mark: Mark, limit: i64) -> rusqlite::Result<Stretch> {
    let mut stretch = Stretch { gone: gone(conn)?, ..Stretch::default() };
    let began = mark.seq;
    let base = base(conn)?.0;
    let runs = runs(conn)?;
    let mut rows = conn.prepare_cached(
        "select o.seq, o.kind, o.run, o.prev, o.source,
                exists (select 1 from outbox x indexed by outbox_id where x.id = o.id and x.seq = o.seq)
         from outbox o where o.seq > ?1 order by o.seq limit ?2",
    )?;
    let mut rows = rows.query((mark.seq, limit))?;
    let mut n = 0;
    while let Some(row) = rows.next()? {
        // A row that is not as it was written may hold anything.
        let (seq, kind, run): (i64, i64, i64) = (row.get(0)?, row.get(1).unwrap_or(0), row.get(2).unwrap_or(0));
        let (prev, source): (Option<i64>, Option<String>) =
            (row.get(3).unwrap_or_default(), row.get(4).unwrap_or_else(|_| Some("(damaged)".to_owned())));
        n += 1;
        let before = mark.seq.max(base);
        if seq > before + 1 {
            gaps(conn, before + 1, seq - 1, &mut stretch)?;
        }
        mark.seq = seq;
        if !row.get::<_, bool>(5)? {
            stretch.fault(|| format!("event {seq} is not in the index of ids"));
        }
        if !runs.contains_key(&run) {
            stretch.fault(|| format!("event {seq} is of run {run}, which is not there"));
        }
        *stretch.sources.entry(source.unwrap_or_default()).or_default() += 1;
        let Some(slot) = Kind::ALL.iter().position(|one| *one as i64 == kind) else {
            stretch.fault(|| format!("event {seq} is of kind {kind}, which is none"));
            continue;
        };
        stretch.kinds[slot] += 1;
        if seq > base {
            chain(conn, (seq, kind, prev), mark.kinds[slot], (base, &runs, run), &mut stretch)?;
        }
        mark.kinds[slot] = seq;
    }
    stretch.mark = mark;
    stretch.more = n == limit;
    digests(conn, began, mark.seq, &mut stretch)?;
    Ok(stretch)
}

/// Holds the rows in `after..=upto` against their digests.
fn digests(conn: &Connection, after: i64, upto: i64, stretch: &mut Stretch) -> rusqlite::Result<()> {
    let mut at = Seq(after);
    while at.0 < upto {
        let verified = outbox::verify(conn, at, VERIFIED_AT_ONCE)?;
        for one in verified.damaged.iter().filter(|one| one.seq.0 <= upto) {
            stretch.fault(|| format!("event {} is not as it was written", one.seq.0));
        }
        if verified.seen <= at {
            break;
        }
        at = verified.seen;
    }
    Ok(())
}

/// Events that have ever left the log.
fn gone(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("select coalesce(sum(n), 0) from ledger where scope = 'left'")?.query_row([], |row| row.get(0))
}

/// The epoch of each run.
type Runs = BTreeMap<i64, String>;

fn runs(conn: &Connection) -> rusqlite::Result<Runs> {
    conn.prepare_cached("select run, epoch from runs")?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Whether `prev` names the event of the same kind before it, or one that has left.
fn chain(
    conn: &Connection,
    (seq, kind, prev): (i64, i64, Option<i64>),
    seen: i64,
    (base, runs, run): (i64, &Runs, i64),
    stretch: &mut Stretch,
) -> rusqlite::Result<()> {
    let Some(prev) = prev else {
        // The first of its kind, or the first in its epoch.
        let before: Option<i64> = conn
            .prepare_cached("select run from outbox where seq = ?1")?
            .query_row([seen], |row| row.get(0))
            .optional()?;
        if seen > 0 && before.is_some_and(|before| runs.get(&before) == runs.get(&run)) {
            stretch.fault(|| format!("event {seq} names none before it; that would be {seen}"));
        }
        return Ok(());
    };
    if prev == seen || prev <= base && prev > seen {
        return Ok(());
    }
    let kind_of: Option<i64> = conn
        .prepare_cached("select kind from outbox where seq = ?1")?
        .query_row([prev], |row| row.get(0))
        .optional()?;
    // What is not there is told as a gap, by its own name.
    if prev < seen || prev >= seq || kind_of.is_some_and(|other| other != kind) {
        stretch.fault(|| format!("event {seq} names {prev} as the one of its kind before it; that would be {seen}"));
    }
    Ok(())
}

/// Tells what of `from..=to` nothing names as gone.
fn gaps(conn: &Connection, from: i64, to: i64, stretch: &mut Stretch) -> rusqlite::Result<()> {
    let mut at = from;
    for (first, last) in named(conn, from, to)? {
        if first > at {
            gap(at, first - 1, stretch);
        }
        at = at.max(last + 1);
    }
    if at <= to {
        gap(at, to, stretch);
    }
    Ok(())
}

fn gap(from: i64, to: i64, stretch: &mut Stretch) {
    stretch.fault(|| {
        if from == to { format!("event {from} is missing") } else { format!("events {from} to {to} are missing") }
    });
}

/// The stretches of `from..=to` of which it is known why they are not there, in their order.
fn named(conn: &Connection, from: i64, to: i64) -> rusqlite::Result<Vec<(i64, i64)>> {
    conn.prepare_cached(
        "select from_seq, to_seq from purged where to_seq >= ?1 and from_seq <= ?2
         union all select from_seq, to_seq from lost where to_seq >= ?1 and from_seq <= ?2 order by 1",
    )?
    .query_map((from, to), |row| Ok((row.get(0)?, row.get(1)?)))?
    .collect()
}

fn lanes(conn: &Connection, after: i64, upto: i64) -> rusqlite::Result<[i64; 2]> {
    let count = |lane: Lane| {
        let (low, high) = outbox::kinds(lane);
        conn.prepare_cached("select count(*) from outbox where seq > ?1 and seq <= ?2 and kind between ?3 and ?4")?
            .query_row((after, upto, low, high), |row| row.get(0))
    };
    Ok([count(Lane::ALL[0])?, count(Lane::ALL[1])?])
}

fn close(conn: &Connection, mark: Mark) -> rusqlite::Result<Closing> {
    let mut tail = Stretch { mark, more: true, ..Stretch::default() };
    while tail.more {
        let next = walk(conn, tail.mark, SCAN_MAX)?;
        tail.add(next);
    }
    let lines = ledger::lines(conn)?;
    let head = |what: &str| lines.iter().find(|line| line.0 == "head" && line.2 == what).map_or(0, |line| line.4);
    let base = base(conn)?.0;
    let (last, newest) = (tail.mark.seq.max(base), head("seq"));
    if newest > last {
        gaps(conn, last + 1, newest, &mut tail)?;
    }
    let mut heads = Vec::new();
    if tail.mark.seq > newest {
        heads.push(("seq".to_owned(), newest, tail.mark.seq));
    }
    for (kind, seen) in Kind::ALL.iter().zip(tail.mark.kinds) {
        let says = head(kind.as_str());
        let is_gone = says > seen && (says <= base || !named(conn, says, says)?.is_empty());
        // A new life of the store has none before it.
        let is_past = says == 0 && is_of_a_past_life(conn, seen)?;
        if says != seen && !is_gone && !is_past {
            heads.push((kind.as_str().to_owned(), says, seen));
        }
    }
    let cursors = [outbox::cursor(conn, Lane::ALL[0])?.0, outbox::cursor(conn, Lane::ALL[1])?.0];
    let ahead =
        [lanes(conn, cursors[0].max(mark.seq), i64::MAX)?[0], lanes(conn, cursors[1].max(mark.seq), i64::MAX)?[1]];
    Ok(Closing {
        uplink: head("uplink") == 1,
        again: again(conn)?,
        cursors,
        ahead,
        heads,
        letters: letters(conn)?,
        loose: loose(conn, base, newest)?,
        tail,
        lines,
    })
}

/// How many letters there are of each kind.
pub(super) fn letters(conn: &Connection) -> rusqlite::Result<Vec<LetterCount>> {
    conn.prepare_cached(
        "select state, stage = 'uplink' and seq is not null, coalesce(source, ''), reason, count(*)
         from letters group by 1, 2, 3, 4",
    )?
    .query_map([], |row| {
        let (state, is_grave, source) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(LetterCount { state, is_grave, source, reason: row.get(3)?, n: row.get(4)? })
    })?
    .collect()
}

/// Dead events of each lane that a person wants sent again.
pub(super) fn again(conn: &Connection) -> rusqlite::Result<[i64; 2]> {
    let count = |lane: Lane| {
        let (low, high) = outbox::kinds(lane);
        conn.prepare_cached(
            "select count(*) from letters l join outbox o on o.seq = l.seq where l.resend = 1 and o.kind between ?1 and ?2",
        )?
        .query_row((low, high), |row| row.get(0))
    };
    Ok([count(Lane::ALL[0])?, count(Lane::ALL[1])?])
}

/// Things that point at what is not there.
/// Whether an event was committed in a life of the store that is over.
fn is_of_a_past_life(conn: &Connection, seq: i64) -> rusqlite::Result<bool> {
    conn.prepare_cached(
        "select 1 from outbox o join runs r on r.run = o.run
         where o.seq = ?1 and r.epoch <> (select v from meta where k = 'db_epoch')",
    )?
    .exists([seq])
}

fn loose(conn: &Connection, base: i64, head: i64) -> rusqlite::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut look = |sql: &str, params: &[i64], text: fn(&str) -> String| -> rusqlite::Result<()> {
        let mut stmt = conn.prepare_cached(sql)?;
        let mut rows = stmt.query(rusqlite::params_from_iter(params))?;
        while let Some(row) = rows.next()? {
            found.push(text(&row.get::<_, String>(0)?));
        }
        Ok(())
    };
    look(
        "select key from asset_keys k where not exists (select 1 from assets a where a.asset = k.asset) limit 20",
        &[],
        |key| format!("the key {key:?} of the register belongs to an asset that is not there"),
    )?;
    look(
        "select asset from places p where not exists (select 1 from outbox o where o.id = p.id)
           and not exists (select 1 from outbox o where o.seq = p.seq)
           and not exists (select 1 from purged g where p.seq between g.from_seq and g.to_seq) limit 20",
        &[],
        |asset| format!("the place of {asset:?} rests on an event that is not there"),
    )?;
    look(
        "select letter || ' names event ' || seq from letters l where stage = 'uplink' and state = 'open' and seq is not null
           and not exists (select 1 from outbox o where o.seq = l.seq) limit 20",
        &[],
        |letter| format!("the open letter {letter}, which is not there"),
    )?;
    look("select name from cursors where seq > max(?1, ?2)", &[base, head], |cursor| {
        format!("the cursor {cursor} stands after the newest event")
    })?;
    let unique: BTreeSet<String> = found.into_iter().collect();
    Ok(unique.into_iter().collect())
}
