//! Dead letters: what could not go on, kept for a person.

use rusqlite::{Connection, named_params};

use crate::domain::{Lane, Loss, Reason, Seq, Stage, Stamp, UnixMs};

use super::error::Result;
use super::ledger::Count;
use super::outbox::Damaged;
use super::txn::Txn;

/// Letters that may be open at once before noise is only counted, as sampled.
pub const OPEN_MAX: i64 = 10_000;

/// Of a damaged event, kept in its letter.
const EVIDENCE_BYTES: usize = 4096;

/// A letter as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its number.
    pub letter: i64,
    /// open, retried, discarded or expired.
    pub state: String,
    /// Where it was lost.
    pub stage: String,
    /// Why, from the closed list.
    pub reason: String,
    /// decide or noise.
    pub class: String,
    /// The input it came from.
    pub source: Option<String>,
    /// Who sent it over the network.
    pub peer: Option<String>,
    /// The event, where one was stored already.
    pub seq: Option<i64>,
    /// What arrived, cut.
    pub bytes: Vec<u8>,
    /// How long it was.
    pub length: i64,
    /// GS1 field, broker's words.
    pub detail: String,
    /// When it was received.
    pub received_ms: UnixMs,
}

/// Where a loss came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The input.
    pub source: String,
    /// Who sent it over the network.
    pub peer: Option<String>,
    /// When it was received.
    pub received: Stamp,
}

pub(super) fn list(conn: &Connection, noise: bool, limit: usize) -> rusqlite::Result<Vec<Letter>> {
    let mut stmt = conn.prepare_cached(
        "select letter, state, stage, reason, class, source, peer, seq, bytes, length, detail, received_ms
         from letters where state = 'open' and (?1 or class = 'decide') order by letter desc limit ?2",
    )?;
    let rows = stmt.query_map((noise, i64::try_from(limit).unwrap_or(i64::MAX)), |row| {
        Ok(Letter {
            letter: row.get(0)?,
            state: row.get(1)?,
            stage: row.get(2)?,
            reason: row.get(3)?,
            class: row.get(4)?,
            source: row.get(5)?,
            peer: row.get(6)?,
            seq: row.get(7)?,
            bytes: row.get(8)?,
            length: row.get(9)?,
            detail: row.get(10)?,
            received_ms: row.get(11)?,
        })
    })?;
    rows.collect()
}

/// Open letters by reason.
pub(super) fn open_by_reason(conn: &Connection) -> rusqlite::Result<Vec<(Reason, i64)>> {
    let mut stmt = conn
        .prepare_cached("select reason, count(*) from letters where state = 'open' group by reason order by 2 desc")?;
    let rows = stmt.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    let mut found = Vec::new();
    for row in rows {
        let (code, n) = row?;
        found.extend(Reason::from_code(&code).map(|reason| (reason, n)));
    }
    Ok(found)
}

/// Dead events, in seq order: what the platform has not got and will not get by itself. At most `limit`.
pub(super) fn dead(conn: &Connection, limit: usize) -> rusqlite::Result<Vec<(Seq, Reason)>> {
    let mut stmt = conn.prepare_cached(
        "select seq, reason from letters
         where stage = 'uplink' and seq is not null and state <> 'retried' order by seq limit ?1",
    )?;
    let rows = stmt.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (seq, code) = row?;
        found.extend(Reason::from_code(&code).map(|reason| (Seq(seq), reason)));
    }
    Ok(found)
}

/// Whether a person was told that an event is not as it was written.
pub(super) fn is_told(conn: &Connection, seq: Seq) -> rusqlite::Result<bool> {
    conn.prepare_cached("select 1 from letters where seq = ?1 and reason = ?2")?
        .exists((seq.0, Reason::DigestMismatch.as_str()))
}

impl Txn<'_> {
    /// Parks a loss as an open letter. When [`OPEN_MAX`] are open, what never decoded is only counted, as sampled; a scan
    /// that decoded and an event that could not be sent are always kept.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn park(&mut self, loss: &Loss, origin: &Origin, seq: Option<Seq>, detail: &str) -> Result<()> {
        let open: i64 = self
            .sql
            .prepare_cached("select coalesce(sum(n), 0) from ledger where scope = 'letters' and outcome = 'open'")
            .and_then(|mut stmt| stmt.query_row([], |row| row.get(0)))
            .map_err(|e| self.err(&e))?;
        let open = open + self.pending(&Count::letters("open", ""));
        if open >= OPEN_MAX && matches!(loss.stage, Stage::Source | Stage::Decoder) {
            self.sampled(&origin.source, loss.reason, 1);
            return Ok(());
        }
        let boot = self.boot()?;
        self.sql
            .prepare_cached(
                "insert into letters (state, stage, reason, class, source, peer, seq, bytes, length, detail, received_ms, boot, mono_ms)
                 values ('open', :stage, :reason, :class, :source, :peer, :seq, :bytes, :length, :detail, :received, :boot, :mono)",
            )
            .and_then(|mut stmt| {
                stmt.execute(named_params! {
                    ":stage": loss.stage.as_str(),
                    ":reason": loss.reason.as_str(),
                    ":class": loss.reason.class().as_str(),
                    ":source": origin.source,
                    ":peer": origin.peer,
                    ":seq": seq.map(|seq| seq.0),
                    ":bytes": loss.bytes,
                    ":length": i64::try_from(loss.length).unwrap_or(i64::MAX),
                    ":detail": detail,
                    ":received": origin.received.wall_ms,
                    ":boot": boot,
                    ":mono": origin.received.mono_ms(),
                })
            })
            .map_err(|e| self.err(&e))?;
        self.add(Count::letters("total", ""), 1);
        self.add(Count::letters("open", ""), 1);
        self.add(Count::refused(&origin.source, loss.reason), 1);
        Ok(())
    }

    /// Declares an event dead: it will not be sent unless a person retries its letter.
    /// Leaves `letters` and the event counts consistent; the caller moves the cursor past it with its acknowledgements.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn bury(&mut self, lane: Lane, seq: Seq, loss: &Loss, detail: &str) -> Result<()> {
        let origin = Origin { source: "uplink".into(), peer: None, received: self.now() };
        self.park(loss, &origin, Some(seq), detail)?;
        self.add(Count::events("unsent", lane.as_str()), -1);
        self.add(Count::events("dead", lane.as_str()), 1);
        Ok(())
    }

    /// Tells a person of events that are not as they were written, once each; answers of how many. Where the events stand
    /// does not change: that one was sent stays true.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn tell_damaged(&mut self, damaged: &[Damaged], source: &str) -> Result<usize> {
        let origin = Origin { source: source.to_owned(), peer: None, received: self.now() };
        let mut told = 0;
        for Damaged { seq, bytes } in damaged {
            if is_told(self.sql, *seq).map_err(|e| self.err(&e))? {
                continue;
            }
            let mut loss = Loss::decoder(Reason::DigestMismatch, bytes, EVIDENCE_BYTES);
            loss.stage = Stage::Store;
            self.park(&loss, &origin, Some(*seq), "the row is not as it was written")?;
            told += 1;
        }
        Ok(told)
    }
}
