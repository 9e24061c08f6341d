//! The three logs: what happened at the ports, towards the platform, and inside.

use rusqlite::Connection;

use crate::domain::{Lane, Seq, Stage, UnixMs};

use super::error::Result;
use super::outbox::SCAN_MAX;
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
    /// How often it happened within a minute; the particulars are the last one's.
    pub n: i64,
}

/// Which lines of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Of this source, lane or stage.
    pub who: Option<String>,
    /// What happened.
    pub what: Option<String>,
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

/// What happens again within this is counted on the line before: neither a flapping port nor a flood fills the disk. ms
const AGAIN_MS: i64 = 60_000;
/// Lines that are looked through for one to count on.
const AGAIN_LINES: i64 = 64;

/// Lines before an entry, newest first, at most `limit`; and the entry before which there may be more. Looks at no more than
/// [`SCAN_MAX`] lines.
pub(super) fn list(
    conn: &Connection,
    log: Log,
    before: i64,
    limit: usize,
    of: &Lines,
) -> rusqlite::Result<(Vec<Entry>, Option<i64>)> {
    let (table, columns, who) = match log {
        Log::Inbound => ("inbound_log", "source, what, detail, null, null, null, n", "source"),
        Log::Outbound => {
            ("outbound_log", "coalesce(lane, ''), what, detail, from_seq, to_seq, latency_ms, n", "coalesce(lane, '')")
        }
        Log::Failures => ("failure_log", "stage, what, detail, null, null, null, n", "stage"),
    };
    let newest: Option<i64> = conn
        .prepare_cached(&format!("select max(entry) from {table} where entry < ?1"))?
        .query_row([before], |row| row.get(0))?;
    let Some(newest) = newest else { return Ok((Vec::new(), None)) };
    let bottom = newest.saturating_sub(SCAN_MAX);
    let sql = format!(
        "select entry, at_ms, {columns} from {table}
         where entry <= ?1 and entry > ?2 and (?3 is null or {who} = ?3) and (?4 is null or what = ?4)
         order by entry desc limit ?5"
    );
    let mut stmt = conn.prepare_cached(&sql)?;
    let limit_sql = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = stmt.query_map((newest, bottom, &of.who, &of.what, limit_sql), |row| {
        let (from, to): (Option<i64>, Option<i64>) = (row.get(5)?, row.get(6)?);
        Ok(Entry {
            entry: row.get(0)?,
            at_ms: row.get(1)?,
            who: row.get(2)?,
            what: row.get(3)?,
            detail: row.get(4)?,
            seqs: from.zip(to),
            latency_ms: row.get(7)?,
            n: row.get(8)?,
        })
    })?;
    let entries: Vec<Entry> = rows.collect::<rusqlite::Result<_>>()?;
    let seen = if entries.len() == limit { entries.last().map_or(bottom, |entry| entry.entry) } else { bottom + 1 };
    let more = conn.prepare_cached(&format!("select 1 from {table} where entry < ?1 limit 1"))?.exists([seen])?;
    Ok((entries, more.then_some(seen)))
}

impl Txn<'_> {
    /// Notes what happened at a port; what happens again within a minute is counted on the line of the first.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn log_inbound(&mut self, source: &str, what: &str, detail: &str) -> Result<()> {
        let boot = self.boot()?;
        let (at_ms, mono_ms) = (self.now.wall_ms, self.now.mono_ms());
        let again = self
            .sql
            .prepare_cached(
                "update inbound_log set n = n + 1, detail = ?3 where entry = (
                   select entry from inbound_log where entry > (select max(entry) from inbound_log) - ?6 and source = ?1
                     and what = ?2 and boot = ?4 and mono_ms > ?5 order by entry desc limit 1)",
            )
            .and_then(|mut stmt| stmt.execute((source, what, detail, boot, mono_ms - AGAIN_MS, AGAIN_LINES)))
            .map_err(|e| self.err(&e))?;
        if again > 0 {
            return Ok(());
        }
        self.sql
            .prepare_cached(
                "insert into inbound_log (at_ms, boot, mono_ms, source, what, detail) values (?1, ?2, ?3, ?4, ?5, ?6)",
            )
            .and_then(|mut stmt| stmt.execute((at_ms, boot, mono_ms, source, what, detail)))
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// Notes what happened towards the platform; batches of a lane within a minute are one line from the first seq to the last.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn log_outbound(&mut self, line: &Outbound) -> Result<()> {
        let boot = self.boot()?;
        let (at_ms, mono_ms, lane) = (self.now.wall_ms, self.now.mono_ms(), line.lane.map(Lane::as_str));
        let to = line.seqs.map(|(_, to)| to.0);
        let again = self
            .sql
            .prepare_cached(
                "update outbound_log set n = n + 1, to_seq = ?3, latency_ms = max(latency_ms, ?4),
                   detail = case when ?5 = '' then detail else ?5 end where entry = (
                   select entry from outbound_log where entry > (select max(entry) from outbound_log) - ?8 and what = ?1
                     and lane is ?2 and boot = ?6 and mono_ms > ?7 order by entry desc limit 1)",
            )
            .and_then(|mut stmt| {
                let since = mono_ms - AGAIN_MS;
                stmt.execute((line.what, lane, to, line.latency_ms, &line.detail, boot, since, AGAIN_LINES))
            })
            .map_err(|e| self.err(&e))?;
        if again > 0 {
            return Ok(());
        }
        self.sql
            .prepare_cached(
                "insert into outbound_log (at_ms, boot, mono_ms, what, lane, from_seq, to_seq, latency_ms, detail)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )
            .and_then(|mut stmt| {
                let from = line.seqs.map(|(from, _)| from.0);
                stmt.execute((at_ms, boot, mono_ms, line.what, lane, from, to, line.latency_ms, &line.detail))
            })
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// Notes what went wrong inside; the like of a minute, with the same words up to the first colon, is counted on one line.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn log_failure(&mut self, stage: Stage, what: &str, detail: &str) -> Result<()> {
        let boot = self.boot()?;
        let (at_ms, mono_ms) = (self.now.wall_ms, self.now.mono_ms());
        let again = self
            .sql
            .prepare_cached(
                "update failure_log set n = n + 1, detail = ?3 where entry = (
                   select entry from failure_log where entry > (select max(entry) from failure_log) - ?6 and stage = ?1
                     and what = ?2 and substr(detail, 1, instr(detail || ': ', ': ')) = substr(?3, 1, instr(?3 || ': ', ': '))
                     and boot = ?4 and mono_ms > ?5 order by entry desc limit 1)",
            )
            .and_then(|mut stmt| stmt.execute((stage.as_str(), what, detail, boot, mono_ms - AGAIN_MS, AGAIN_LINES)))
            .map_err(|e| self.err(&e))?;
        if again > 0 {
            return Ok(());
        }
        self.sql
            .prepare_cached(
                "insert into failure_log (at_ms, boot, mono_ms, stage, what, detail) values (?1, ?2, ?3, ?4, ?5, ?6)",
            )
            .and_then(|mut stmt| stmt.execute((at_ms, boot, mono_ms, stage.as_str(), what, detail)))
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }
}
