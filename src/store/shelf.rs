//! What leaves by age besides the events: the lines of the three logs, the audit, letters that are noise or have ended, and the
//! small tables that say what rows mean.

use rusqlite::{Connection, OptionalExtension};

use crate::domain::{Reason, Seq, UnixMs};

use super::error::Result;
use super::ledger::Count;
use super::txn::Txn;
use super::{Look, Reader};

/// Sheets that are kept: of so many scanners.
const SHEETS_MAX: i64 = 200;
/// Runs of the daemon that are kept whatever points to them.
const RUNS_MAX: i64 = 200;
/// A window of repeats is closed long before. ms
const WINDOW_MS: i64 = 86_400_000;

/// A table whose rows leave by age, each with a number that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shelf {
    /// What happened at the ports.
    Inbound,
    /// What happened towards the platform.
    Outbound,
    /// What went wrong inside.
    Failures,
    /// Who did what to the node.
    Audit,
    /// Letters: noise, and those that have ended.
    Letters,
}

/// When a line was written, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its number.
    pub entry: i64,
    /// The node's wall clock then.
    pub at_ms: UnixMs,
    /// The boot.
    pub boot: i64,
    /// `CLOCK_BOOTTIME` then. ms
    pub mono_ms: i64,
}

/// A row as it goes into an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parting {
    /// Its number.
    pub entry: i64,
    /// The node's wall clock when it was written or received.
    pub at_ms: UnixMs,
    /// All of it: a JSON object.
    pub text: String,
}

/// Which letters leave: what is noise and was received before the one, what has ended before the other. UTC ms
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LettersBefore {
    /// Noise that was received before.
    pub noise_ms: UnixMs,
    /// What a person ended before.
    pub ended_ms: UnixMs,
    /// A time before this was told by a clock that knew nothing: such a letter leaves after one that came later.
    pub floor_ms: UnixMs,
}

impl Shelf {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Inbound, Self::Outbound, Self::Failures, Self::Audit, Self::Letters];

    /// Its word, in the names of archives too.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::Failures => "failures",
            Self::Audit => "audit",
            Self::Letters => "letters",
        }
    }

    /// The shelf of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == word)
    }

    const fn table(self) -> &'static str {
        match self {
            Self::Inbound => "inbound_log",
            Self::Outbound => "outbound_log",
            Self::Failures => "failure_log",
            Self::Audit => "audit",
            Self::Letters => "letters",
        }
    }

    const fn number(self) -> &'static str {
        match self {
            Self::Letters => "letter",
            _ => "entry",
        }
    }

    const fn at(self) -> &'static str {
        match self {
            Self::Letters => "received_ms",
            _ => "at_ms",
        }
    }

    /// The columns of its archives.
    const fn columns(self) -> &'static str {
        match self {
            Self::Inbound => "'source', source, 'what', what, 'detail', detail, 'n', n",
            Self::Outbound => {
                "'what', what, 'lane', lane, 'from_seq', from_seq, 'to_seq', to_seq, 'latency_ms', latency_ms, 'detail', detail, 'n', n"
            }
            Self::Failures => "'stage', stage, 'what', what, 'detail', detail, 'n', n",
            Self::Audit => "'who', who, 'what', what, 'detail', detail",
            Self::Letters => {
                "'state', case when state = 'open' then 'expired' else state end, 'stage', stage, 'reason', reason, 'class', class,
                 'source', source, 'peer', peer, 'event_seq', seq, 'bytes_hex', hex(bytes), 'length', length, 'detail', detail,
                 'ts_ms', ts_ms, 'tq', tq, 'repeats', repeats, 'changed_ms', changed_ms, 'note', note"
            }
        }
    }
}

impl Reader<'_> {
    /// The first and the last number on a shelf; none when it is empty.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn shelf_span(&self, shelf: Shelf) -> Look<Option<(i64, i64)>> {
        let (table, number) = (shelf.table(), shelf.number());
        let span: (Option<i64>, Option<i64>) = self
            .conn
            .prepare_cached(&format!(
                "select (select min({number}) from {table}), (select max({number}) from {table})"
            ))?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(span.0.zip(span.1))
    }

    /// When the rows after a number were written, in the order of their numbers, at most `limit`.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn shelf_after(&self, shelf: Shelf, after: i64, limit: usize) -> Look<Vec<Written>> {
        let (table, number, at) = (shelf.table(), shelf.number(), shelf.at());
        let sql =
            format!("select {number}, {at}, boot, mono_ms from {table} where {number} > ?1 order by {number} limit ?2");
        self.conn
            .prepare_cached(&sql)?
            .query_map((after, i64::try_from(limit).unwrap_or(i64::MAX)), |row| {
                Ok(Written { entry: row.get(0)?, at_ms: row.get(1)?, boot: row.get(2)?, mono_ms: row.get(3)? })
            })?
            .collect()
    }

    /// The first row up to a number that was written in a boot after a time of its `CLOCK_BOOTTIME` ms.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn shelf_since(&self, shelf: Shelf, upto: i64, (boot, mono_ms): (i64, i64)) -> Look<Option<i64>> {
        let (table, number) = (shelf.table(), shelf.number());
        let sql = format!(
            "select {number} from {table} where {number} <= ?1 and boot = ?2 and mono_ms > ?3 order by {number} limit 1"
        );
        self.conn.prepare_cached(&sql)?.query_row((upto, boot, mono_ms), |row| row.get(0)).optional()
    }

    /// The letters that leave, by number, at most `limit`; never the newest of all, so that no number is given again.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn letters_leaving(&self, before: LettersBefore, after: i64, limit: usize) -> Look<Vec<i64>> {
        let LettersBefore { noise_ms, ended_ms, floor_ms } = before;
        let due = "(state = 'open' and class = 'noise' and received_ms < ?1 and received_ms >= ?3
                    or state <> 'open' and coalesce(changed_ms, received_ms) < ?2 and coalesce(changed_ms, received_ms) >= ?3)";
        let undated = "(state = 'open' and class = 'noise' and received_ms < ?3
                    or state <> 'open' and coalesce(changed_ms, received_ms) < ?3)";
        let sql = format!(
            "select letter from letters where letter > ?4 and letter < (select max(letter) from letters)
               and ({due} or {undated} and letter < (select max(letter) from letters where {due}))
             order by letter limit ?5"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.conn
            .prepare_cached(&sql)?
            .query_map((noise_ms, ended_ms, floor_ms, after, limit), |row| row.get(0))?
            .collect()
    }

    /// Rows of a shelf as they go into an archive, from a number on, in their order, at most `limit`.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn shelf_rows(&self, shelf: Shelf, from: i64, upto: i64, limit: usize) -> Look<Vec<Parting>> {
        let (table, number, at, columns) = (shelf.table(), shelf.number(), shelf.at(), shelf.columns());
        let sql = format!(
            "select {number}, {at}, json_object('entry', {number}, '{at}', {at}, 'boot', boot, 'mono_ms', mono_ms, {columns})
             from {table} where {number} between ?1 and ?2 order by {number} limit ?3"
        );
        self.conn
            .prepare_cached(&sql)?
            .query_map((from, upto, i64::try_from(limit).unwrap_or(i64::MAX)), |row| {
                Ok(Parting { entry: row.get(0)?, at_ms: row.get(1)?, text: row.get(2)? })
            })?
            .collect()
    }

    /// The runs that events after a place of the log are of, and how far was looked; the same place at its end.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn runs_after(&self, after: Seq) -> Look<(Vec<i64>, Seq)> {
        let upto: Option<i64> = self
            .conn
            .prepare_cached("select max(seq) from (select seq from outbox where seq > ?1 order by seq limit ?2)")?
            .query_row((after.0, super::SCAN_MAX), |row| row.get(0))?;
        let Some(upto) = upto else { return Ok((Vec::new(), after)) };
        let runs = self
            .conn
            .prepare_cached("select distinct run from outbox where seq > ?1 and seq <= ?2")?
            .query_map((after.0, upto), |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        Ok((runs, Seq(upto)))
    }

    /// Whether there are more runs than are kept whatever points to them.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn has_many_runs(&self) -> Look<bool> {
        let n: i64 = self.conn.prepare_cached("select count(*) from runs")?.query_row([], |row| row.get(0))?;
        Ok(n > RUNS_MAX)
    }
}

impl Txn<'_> {
    /// Takes rows off a shelf, but never its newest; a letter only while it still is one that leaves. Answers how many went.
    /// Leaves the counts of letters, and of what left, consistent.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn unshelve(&mut self, shelf: Shelf, numbers: &[i64]) -> Result<usize> {
        let done = match shelf {
            Shelf::Letters => self.end_letters(numbers),
            _ => remove(self.sql, shelf, numbers),
        };
        done.map_err(|e| self.err(&e))
    }

    fn end_letters(&mut self, numbers: &[i64]) -> rusqlite::Result<usize> {
        let mut gone = 0;
        for letter in numbers {
            let found = self
                .sql
                .prepare_cached(
                    "select state, reason, coalesce(source, ''), stage = 'uplink' and seq is not null from letters
                     where letter = ?1 and (state <> 'open' or class = 'noise') and letter < (select max(letter) from letters)",
                )?
                .query_row([letter], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get(3)?))
                })
                .optional()?;
            let Some((state, reason, source, is_grave)) = found else { continue };
            let ended = match state.as_str() {
                "retried" => "retried",
                "discarded" => "discarded",
                _ => "expired",
            };
            gone += self.sql.prepare_cached("delete from letters where letter = ?1")?.execute([letter])?;
            if state == "open" {
                self.add(Count::letters("open", ""), -1);
                self.add(Count::letters(ended, ""), 1);
            }
            // Only this room writes reasons, and only from the list.
            let reason = Reason::from_code(&reason).map_or("", Reason::as_str);
            self.add(Count::left_letter(&source, reason, ended), 1);
            if is_grave {
                self.add(Count::left_grave(ended), 1);
            }
        }
        Ok(gone)
    }

    /// Takes out what says nothing any more: closed windows of repeats, sheets of scanners long gone.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn sweep(&mut self) -> Result<()> {
        let boot = self.boot()?;
        let ended_ms = self.now.mono_ms() - WINDOW_MS;
        self.sql
            .execute("delete from windows where boot <> ?1 or mono_ms < ?2", (boot, ended_ms))
            .and_then(|_| {
                self.sql.execute(
                    "delete from sheets where source not in (select source from sheets order by at_ms desc limit ?1)",
                    [SHEETS_MAX],
                )
            })
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// Takes out runs that no event is of, given the runs that have some up to `through`, and boots that nothing names any
    /// more. The newest stay, and the boots of letters. Answers how many runs went.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn forget_runs(&mut self, used: &[i64], through: Seq) -> Result<usize> {
        let used = serde_json::to_string(used).unwrap_or_else(|_| "[]".to_owned());
        let gone = self
            .sql
            .execute(
                "delete from runs where run < (select max(run) from runs) - ?1
                   and run not in (select value from json_each(?2))
                   and not exists (select 1 from outbox o where o.seq > ?3 and o.run = runs.run)
                   and boot not in (select boot from letters where state <> 'expired')",
                (RUNS_MAX / 2, used, through.0),
            )
            .map_err(|e| self.err(&e))?;
        self.sql
            .execute(
                "delete from boots where boot < (select min(boot) from runs)
                   and boot not in (select boot from letters) and boot not in (select boot from places)
                   and boot not in (select boot from said)",
                [],
            )
            .map_err(|e| self.err(&e))?;
        Ok(gone)
    }
}

fn remove(conn: &Connection, shelf: Shelf, numbers: &[i64]) -> rusqlite::Result<usize> {
    let (table, number) = (shelf.table(), shelf.number());
    let mut one = conn.prepare_cached(&format!(
        "delete from {table} where {number} = ?1 and {number} < (select max({number}) from {table})"
    ))?;
    numbers.iter().map(|number| one.execute([number])).sum()
}
