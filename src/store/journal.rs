//! The three logs: what happened at the ports, towards the platform, and inside.

use rusqlite::Connection;

use crate::domain::{Lane, Seq, Stage, UnixMs};

use super::error::Result;
use super::txn::Txn;

/// One line of a log, for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number within its log.
    pub entry: i64,
    /// When, UTC ms.
    pub at_ms: UnixMs,
    /// The source, lane or stage.
    pub who: String,
    /// What happened.
    pub what: String,
    /// The particulars.
    pub detail: String,
    /// First and last seq of a batch.
    pub seqs: Option<(i64, i64)>,
    /// Publish to acknowledgement of a batch's slowest. ms.
    pub latency_ms: Option<i64>,
}

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// Ports.
    Inbound,
    /// The platform.
    Outbound,
    /// Inside.
    Failures,
}

/// A batch that the platform acknowledged, or something that happened to the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outbound {
    /// `connected`, `lost`, `refused`, `acknowledged`, `sent_again`, `held`.
    pub what: &'static str,
    /// The lane of a batch.
    pub lane: Option<Lane>,
    /// First and last seq of a batch.
    pub seqs: Option<(Seq, Seq)>,
    /// Publish to acknowledgement of the batch's slowest. ms.
    pub latency_ms: Option<i64>,
    /// The particulars: broker, reason.
    pub detail: String,
}

pub(super) fn list(conn: &Connection, log: Log, before: i64, limit: usize) -> rusqlite::Result<Vec<Entry>> {
    let sql = match log {
        Log::Inbound => {
            "select entry, at_ms, source, what, detail, null, null, null from inbound_log where entry < ?1 order by entry desc limit ?2"
        }
        Log::Outbound => {
            "select entry, at_ms, coalesce(lane, ''), what, detail, from_seq, to_seq, latency_ms from outbound_log where entry < ?1 order by entry desc limit ?2"
        }
        Log::Failures => {
            "select entry, at_ms, stage, what, detail, null, null, null from failure_log where entry < ?1 order by entry desc limit ?2"
        }
    };
    let mut stmt = conn.prepare_cached(sql)?;
    let rows = stmt.query_map((before, i64::try_from(limit).unwrap_or(i64::MAX)), |row| {
        let (from, to): (Option<i64>, Option<i64>) = (row.get(5)?, row.get(6)?);
        Ok(Entry {
            entry: row.get(0)?,
            at_ms: row.get(1)?,
            who: row.get(2)?,
            what: row.get(3)?,
            detail: row.get(4)?,
            seqs: from.zip(to),
            latency_ms: row.get(7)?,
        })
    })?;
    rows.collect()
}

impl Txn<'_> {
    /// Notes what happened at a port.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn log_inbound(&mut self, source: &str, what: &str, detail: &str) -> Result<()> {
        let boot = self.boot()?;
        self.sql
            .prepare_cached(
                "insert into inbound_log (at_ms, boot, mono_ms, source, what, detail) values (?1, ?2, ?3, ?4, ?5, ?6)",
            )
            .and_then(|mut stmt| stmt.execute((self.now.wall_ms, boot, self.now.mono_ms(), source, what, detail)))
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// Notes what happened towards the platform.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn log_outbound(&mut self, line: &Outbound) -> Result<()> {
        let boot = self.boot()?;
        self.sql
            .prepare_cached(
                "insert into outbound_log (at_ms, boot, mono_ms, what, lane, from_seq, to_seq, latency_ms, detail)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )
            .and_then(|mut stmt| {
                stmt.execute((
                    self.now.wall_ms,
                    boot,
                    self.now.mono_ms(),
                    line.what,
                    line.lane.map(Lane::as_str),
                    line.seqs.map(|(from, _)| from.0),
                    line.seqs.map(|(_, to)| to.0),
                    line.latency_ms,
                    &line.detail,
                ))
            })
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// Notes what went wrong inside.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn log_failure(&mut self, stage: Stage, what: &str, detail: &str) -> Result<()> {
        let boot = self.boot()?;
        self.sql
            .prepare_cached(
                "insert into failure_log (at_ms, boot, mono_ms, stage, what, detail) values (?1, ?2, ?3, ?4, ?5, ?6)",
            )
            .and_then(|mut stmt| {
                stmt.execute((self.now.wall_ms, boot, self.now.mono_ms(), stage.as_str(), what, detail))
            })
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }
}
