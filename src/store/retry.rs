//! Letters that a person tries again or gives up, and scans that are held until somebody names their asset.

use rusqlite::{Connection, OptionalExtension, named_params};

use crate::domain::{Loss, TimeQuality, UnixMs};

use super::error::Result;
use super::ledger::Count;
use super::letters::Origin;
use super::txn::{Append, Draft, Txn};

/// What is kept of a letter to try it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub letter: i64,
    /// open, retried, discarded or expired.
    pub state: String,
    /// Where it was lost.
    pub stage: String,
    /// Why, from the closed list.
    pub reason: String,
    /// The input it came from.
    pub source: Option<String>,
    /// Who sent it over the network.
    pub peer: Option<String>,
    /// What arrived.
    pub bytes: Vec<u8>,
    /// Whether `bytes` is all of it.
    pub whole: bool,
    /// The node's wall clock at receipt.
    pub received_ms: UnixMs,
    /// Boot and `CLOCK_BOOTTIME` ms of its receipt.
    pub received: (i64, i64),
    /// When it happened and how far to believe it; none when that was not judged yet.
    pub when: Option<(UnixMs, TimeQuality)>,
    /// Repeats that were counted onto it.
    pub repeats: i64,
}

fn one(conn: &Connection, letter: i64) -> rusqlite::Result<Option<Kept>> {
    conn.prepare_cached(
        "select letter, state, stage, reason, source, peer, bytes, length, received_ms, boot, mono_ms, ts_ms, tq, repeats
         from letters where letter = ?1",
    )?
    .query_row([letter], |row| {
        let bytes: Vec<u8> = row.get(6)?;
        let (ts_ms, tq): (Option<UnixMs>, Option<String>) = (row.get(11)?, row.get(12)?);
        Ok(Kept {
            letter: row.get(0)?,
            state: row.get(1)?,
            stage: row.get(2)?,
            reason: row.get(3)?,
            source: row.get(4)?,
            peer: row.get(5)?,
            whole: i64::try_from(bytes.len()).is_ok_and(|kept| row.get::<_, i64>(7).is_ok_and(|all| all == kept)),
            bytes,
            received_ms: row.get(8)?,
            received: (row.get(9)?, row.get(10)?),
            when: ts_ms.zip(tq.map(|word| TimeQuality::from_word(&word))),
            repeats: row.get(13)?,
        })
    })
    .optional()
}

impl Txn<'_> {
    /// Holds a scan that decoded and whose asset nobody has named, with its time. Answers the letter's number.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn hold(&mut self, loss: &Loss, origin: &Origin, when: (UnixMs, TimeQuality), detail: &str) -> Result<i64> {
        // It is of stage `store`: such a letter is always kept, never sampled.
        self.park(loss, origin, None, detail)?;
        let letter = self.sql.last_insert_rowid();
        self.sql
            .prepare_cached("update letters set ts_ms = ?2, tq = ?3 where letter = ?1")
            .and_then(|mut stmt| stmt.execute((letter, when.0, when.1.as_str())))
            .map_err(|e| self.err(&e))?;
        Ok(letter)
    }

    /// Counts a repeat onto a held scan; false when its letter is no longer open.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn repeat_held(&mut self, letter: i64) -> Result<bool> {
        self.sql
            .prepare_cached("update letters set repeats = repeats + 1 where letter = ?1 and state = 'open'")
            .and_then(|mut stmt| stmt.execute([letter]))
            .map(|changed| changed == 1)
            .map_err(|e| self.err(&e))
    }

    /// A letter with what is kept of it.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn letter(&self, letter: i64) -> Result<Option<Kept>> {
        one(self.sql, letter).map_err(|e| self.err(&e))
    }

    /// The numbers of the open letters of a reason and a source, oldest first, at most `limit`.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn open_letters(&self, reason: Option<&str>, source: Option<&str>, limit: usize) -> Result<Vec<i64>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.sql
            .prepare_cached(
                "select letter from letters where state = 'open' and (?1 is null or reason = ?1)
                 and (?2 is null or source = ?2) order by letter limit ?3",
            )
            .and_then(|mut stmt| stmt.query_map((reason, source, limit), |row| row.get(0))?.collect())
            .map_err(|e| self.err(&e))
    }

    /// Ends an open letter as `retried` or `discarded`; false when it was not open. Leaves the counts consistent.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn end_letter(&mut self, letter: i64, state: &'static str, note: &str) -> Result<bool> {
        let ended = self
            .sql
            .prepare_cached(
                "update letters set state = :state, changed_ms = :now, note = case when :note = '' then note else :note end
                 where letter = :letter and state = 'open'",
            )
            .and_then(|mut stmt| {
                stmt.execute(named_params! {
                    ":state": state,
                    ":now": self.now.wall_ms,
                    ":note": note,
                    ":letter": letter,
                })
            })
            .map_err(|e| self.err(&e))?;
        if ended == 1 {
            self.add(Count::letters("open", ""), -1);
            self.add(Count::letters(state, ""), 1);
        }
        Ok(ended == 1)
    }

    /// Notes on an open letter what a try came to.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn note_letter(&mut self, letter: i64, note: &str) -> Result<()> {
        self.sql
            .prepare_cached("update letters set note = ?2 where letter = ?1 and state = 'open'")
            .and_then(|mut stmt| stmt.execute((letter, note)))
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// Appends the event of a letter that is tried again, under the run that received it: `mono_ms` counts in that boot.
    ///
    /// Leaves the event counts consistent: it is `retried`, not stored, for its frame has been counted already.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn append_retried(&mut self, draft: &Draft, boot: i64, repeats: i64) -> Result<Append> {
        let run = self
            .sql
            .prepare_cached(
                "select run from runs where boot = ?1 and epoch = (select v from meta where k = 'db_epoch') order by run desc limit 1",
            )
            .and_then(|mut stmt| stmt.query_row([boot], |row| row.get(0)).optional())
            .map_err(|e| self.err(&e))?;
        // Of another life of the store: it belongs to this one from now on.
        let appended = self.append_under(run.unwrap_or(self.run), draft)?;
        let Append::New(seq) = appended else { return Ok(appended) };
        self.add(Count::retried(draft.source.as_deref().unwrap_or_default()), 1);
        if repeats > 0 {
            self.sql
                .prepare_cached("update outbox set repeats = ?2 where seq = ?1")
                .and_then(|mut stmt| stmt.execute((seq.0, repeats)))
                .map_err(|e| self.err(&e))?;
        }
        Ok(appended)
    }
}
