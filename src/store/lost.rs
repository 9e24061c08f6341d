//! Events that the store no longer holds, and the lives of the store that are over.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::domain::{Seq, UnixMs};

use super::{Look, Reader};

/// Lost ranges and past lives that are told at once, at most.
const TOLD_MAX: i64 = 1_000;

/// Neighbouring events that are lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The life of the store they were committed in, 16 hex digits.
    pub epoch: String,
    /// The first of them.
    pub from: i64,
    /// The last.
    pub to: i64,
    /// `rolled_back`: the file was older than what had been committed; `damaged`: their pages could not be read.
    pub reason: String,
    /// When that was found. UTC ms
    pub at_ms: UnixMs,
}

/// A life of the store that is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Its epoch, 16 hex digits.
    pub epoch: String,
    /// The highest seq known of it.
    pub last_produced: i64,
}

pub(super) fn all(conn: &Connection) -> rusqlite::Result<Vec<Lost>> {
    conn.prepare_cached("select epoch, from_seq, to_seq, reason, at_ms from lost order by from_seq limit ?1")?
        .query_map([TOLD_MAX], |row| {
            let (epoch, from, to) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Lost { epoch, from, to, reason: row.get(3)?, at_ms: row.get(4)? })
        })?
        .collect()
}

/// How many events are lost.
pub(super) fn count(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("select coalesce(sum(to_seq - from_seq + 1), 0) from lost", [], |row| row.get(0))
}

pub(super) fn past(conn: &Connection) -> rusqlite::Result<Vec<Past>> {
    conn.prepare_cached("select epoch, last_produced from past order by last_produced desc limit ?1")?
        .query_map([TOLD_MAX], |row| Ok(Past { epoch: row.get(0)?, last_produced: row.get(1)? }))?
        .collect()
}

/// Notes lost ranges; one that begins where another does is that one.
pub(super) fn put(conn: &Connection, lost: &[Lost]) -> rusqlite::Result<()> {
    let mut add = conn.prepare_cached("insert or ignore into lost values (?1, ?2, ?3, ?4, ?5)")?;
    for Lost { epoch, from, to, reason, at_ms } in lost {
        add.execute((epoch, from, to, reason, at_ms))?;
    }
    Ok(())
}

/// Notes lives that are over.
pub(super) fn put_past(conn: &Connection, past: &[Past]) -> rusqlite::Result<()> {
    let mut add = conn.prepare_cached(
        "insert into past values (?1, ?2)
         on conflict do update set last_produced = max(last_produced, excluded.last_produced)",
    )?;
    for Past { epoch, last_produced } in past {
        add.execute((epoch, last_produced))?;
    }
    Ok(())
}

/// The seqs of `after..=upto` that are neither in the log nor known to be gone, as ranges.
pub(super) fn gaps(conn: &Connection, after: Seq, upto: Seq) -> rusqlite::Result<Vec<(i64, i64)>> {
    // Each range ends where the next row or the next range that was lost before begins.
    let mut next = after.0 + 1;
    let mut gaps = Vec::new();
    let mut rows = conn.prepare(
        "select seq, seq from outbox where seq > ?1 and seq <= ?2
         union all select from_seq, to_seq from lost where to_seq > ?1 and from_seq <= ?2
         union all select from_seq, to_seq from purged where to_seq > ?1 and from_seq <= ?2 order by 1",
    )?;
    let mut rows = rows.query((after.0, upto.0))?;
    while let Some(row) = rows.next()? {
        let (from, to): (i64, i64) = (row.get(0)?, row.get(1)?);
        if from > next {
            gaps.push((next, from - 1));
        }
        next = next.max(to.saturating_add(1));
    }
    if next <= upto.0 {
        gaps.push((next, upto.0));
    }
    Ok(gaps)
}

impl Reader<'_> {
    /// The events that are lost, by `seq`, and the lives of the store that are over, the newest first; both cut when there
    /// are more than anybody reads.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn lost(&self) -> Look<(Vec<Lost>, Vec<Past>)> {
        Ok((all(self.conn)?, past(self.conn)?))
    }
}
