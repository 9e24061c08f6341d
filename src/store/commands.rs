//! What the centre asks of the node: each command under the id it was given, with its answer, so that the same one is done
//! once; how far a replay is; and up to where the centre says that it has everything.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow};

use crate::domain::{Epoch, Seq, UnixMs};

use super::error::Result;
use super::ledger::Count;
use super::outbox::{self, Page, SCAN_MAX};
use super::txn::Txn;
use super::{Look, Reader};

/// Name among the cursors of how far the centre has everything.
pub(super) const CONFIRMED: &str = "confirmed";
/// Commands that are remembered at once; beyond, the first that would be refused as expired anyway is forgotten.
const COMMANDS_MAX: i64 = 10_000;

/// A command that has been answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// As the centre named it.
    pub id: String,
    /// replay, ping, confirm.
    pub cmd: String,
    /// Digest of what was asked.
    pub asked: [u8; 32],
    /// After this it would be refused. UTC ms
    pub expires_ms: UnixMs,
    /// The answer, as it was published.
    pub answer: String,
    /// What is being sent again for it; none for what is over, or is no replay.
    pub replay: Option<Replay>,
}

/// Events that the centre wants once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The command it is done for.
    pub id: String,
    /// The life of the store they were committed in.
    pub epoch: Epoch,
    /// The first that is wanted.
    pub from: Seq,
    /// The last.
    pub to: Seq,
    /// Looked at up to here: the next one is behind it.
    pub through: Seq,
    /// Events that the broker has taken again.
    pub count: i64,
}

/// What the centre's word on how much it has came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// It has so many more than before.
    More(i64),
    /// It had all of that already.
    Known,
    /// Nothing so new was ever there.
    Ahead,
}

/// Up to where the centre has everything; 0 before it has said so.
pub(super) fn confirmed(conn: &Connection) -> rusqlite::Result<Seq> {
    let seq: Option<i64> = conn
        .prepare_cached("select seq from cursors where name = ?1")?
        .query_row([CONFIRMED], |row| row.get(0))
        .optional()?;
    Ok(Seq(seq.unwrap_or(0)))
}

fn replay_of(row: &SqlRow<'_>) -> rusqlite::Result<Replay> {
    let epoch: String = row.get(1)?;
    let epoch = epoch.parse().map_err(|_| rusqlite::Error::InvalidColumnType(1, epoch, Type::Text))?;
    Ok(Replay {
        id: row.get(0)?,
        epoch,
        from: Seq(row.get(2)?),
        to: Seq(row.get(3)?),
        through: Seq(row.get(4)?),
        count: row.get(5)?,
    })
}

fn replay(conn: &Connection) -> rusqlite::Result<Option<Replay>> {
    conn.prepare_cached(
        "select id, epoch, from_seq, to_seq, through, count from commands where running = 1
           and epoch is not null and from_seq is not null and to_seq is not null and through is not null",
    )?
    .query_row([], replay_of)
    .optional()
}

/// The rows of `after..=upto` that were committed in `epoch`, that no lane has still to send, and that are not dead.
const SETTLED: &str = "from outbox o join runs r on r.run = o.run
    where o.seq > ?1 and o.seq <= ?2 and r.epoch = ?3
      and o.seq <= coalesce((select c.seq from cursors c where c.name = case when o.kind <= 1 then 'fix' else 'scan' end), 0)
      and not exists (select 1 from letters l where l.seq = o.seq and l.stage = 'uplink' and l.state in ('open', 'discarded'))";

impl Reader<'_> {
    /// Up to where the centre has everything; 0 before it has said so.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn confirmed(&self) -> Look<Seq> {
        confirmed(self.conn)
    }

    /// The replay that is not over.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn replay(&self) -> Look<Option<Replay>> {
        replay(self.conn)
    }

    /// The next events after a place that a replay may send: in the order of `seq`, at most `limit`. Left out is what its lane
    /// sends first, and what the broker did not take.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn replayed(&self, epoch: Epoch, (after, upto): (Seq, Seq), limit: usize) -> Look<Page> {
        let end = Seq(upto.0.min(after.0.saturating_add(SCAN_MAX)));
        let sql = format!("select {} {SETTLED} order by o.seq limit ?4", outbox::COLUMNS);
        let mut stmt = self.conn.prepare_cached(&sql)?;
        let limit_sql = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = stmt.query((after.0, end.0, epoch.to_string(), limit_sql))?;
        let mut page = Page::default();
        while let Some(row) = rows.next()? {
            page.take(row)?;
        }
        Ok(page.seen_to(end.0, after, limit, upto.0))
    }

    /// How many of the events `from..=to` a replay may send.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn replayable(&self, epoch: Epoch, (from, to): (Seq, Seq)) -> Look<i64> {
        self.conn
            .prepare_cached(&format!("select count(*) {SETTLED}"))?
            .query_row((from.0.saturating_sub(1), to.0, epoch.to_string()), |row| row.get(0))
    }

    /// Whether this store has ever lived under this epoch.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn knows_epoch(&self, epoch: Epoch) -> Look<bool> {
        self.conn
            .prepare_cached("select 1 from runs where epoch = ?1 union all select 1 from past where epoch = ?1")?
            .exists([epoch.to_string()])
    }
}

impl Txn<'_> {
    /// A command that has been answered.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn command(&self, id: &str) -> Result<Option<Command>> {
        self.sql
            .prepare_cached("select id, cmd, asked, expires_ms, answer from commands where id = ?1")
            .and_then(|mut stmt| {
                stmt.query_row([id], |row| {
                    Ok(Command {
                        id: row.get(0)?,
                        cmd: row.get(1)?,
                        asked: row.get(2)?,
                        expires_ms: row.get(3)?,
                        answer: row.get(4)?,
                        replay: None,
                    })
                })
                .optional()
            })
            .map_err(|e| self.err(&e))
    }

    /// The replay that is not over.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn replay(&self) -> Result<Option<Replay>> {
        replay(self.sql).map_err(|e| self.err(&e))
    }

    /// Remembers a command and its answer, `floor_ms` being a time that has passed for sure. False, and nothing is kept, when
    /// there is no room for one more that may come again.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn remember(&mut self, command: &Command, floor_ms: UnixMs) -> Result<bool> {
        self.try_remember(command, floor_ms).map_err(|e| self.err(&e))
    }

    fn try_remember(&self, command: &Command, floor_ms: UnixMs) -> rusqlite::Result<bool> {
        let n: i64 = self.sql.prepare_cached("select count(*) from commands")?.query_row([], |row| row.get(0))?;
        if n >= COMMANDS_MAX {
            let gone = self
                .sql
                .prepare_cached(
                    "delete from commands where id = (select id from commands where running = 0 and expires_ms < ?1
                       order by expires_ms limit 1)",
                )?
                .execute([floor_ms])?;
            if gone == 0 {
                return Ok(false);
            }
        }
        let Command { id, cmd, asked, expires_ms, answer, replay } = command;
        let wants = replay.as_ref();
        let range = (
            wants.map(|wants| wants.epoch.to_string()),
            wants.map(|wants| wants.from.0),
            wants.map(|wants| wants.to.0),
            wants.map(|wants| wants.through.0),
        );
        self.sql
            .prepare_cached(
                "insert into commands (id, cmd, asked, heard_ms, expires_ms, answer, running, epoch, from_seq, to_seq, through)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute((
                id,
                cmd,
                asked,
                self.now.wall_ms,
                expires_ms,
                answer,
                wants.is_some(),
                range.0,
                range.1,
                range.2,
                range.3,
            ))?;
        Ok(true)
    }

    /// Notes how far the replay is: `sent` events more, up to `through`. False when it does not stand at `from`: then nothing
    /// changes. The events stand where they stood; only `replayed` counts them.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn replay_through(&mut self, from: Seq, through: Seq, sent: i64) -> Result<bool> {
        let moved = self
            .sql
            .prepare_cached("update commands set through = ?2, count = count + ?3 where running = 1 and through = ?1")
            .and_then(|mut stmt| stmt.execute((from.0, through.0, sent)))
            .map_err(|e| self.err(&e))?;
        if moved == 1 {
            self.add(Count::events("replayed", ""), sent);
        }
        Ok(moved == 1)
    }

    /// Ends the replay of a command with its last answer.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn end_replay(&mut self, id: &str, answer: &str) -> Result<()> {
        self.sql
            .prepare_cached("update commands set running = 0, answer = ?2 where id = ?1 and running = 1")
            .and_then(|mut stmt| stmt.execute((id, answer)))
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// Takes the centre's word that it has everything up to here. It never goes back, and never beyond the newest event.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn confirm(&mut self, through: Seq) -> Result<Confirmed> {
        let before = confirmed(self.sql).map_err(|e| self.err(&e))?;
        if through > self.heads.seq {
            return Ok(Confirmed::Ahead);
        }
        if through <= before {
            return Ok(Confirmed::Known);
        }
        self.sql
            .prepare_cached("insert into cursors values (?1, ?2) on conflict do update set seq = excluded.seq")
            .and_then(|mut stmt| stmt.execute((CONFIRMED, through.0)))
            .map_err(|e| self.err(&e))?;
        Ok(Confirmed::More(through.0 - before.0))
    }

    /// Forgets commands that were heard, and would have been refused, before a time. Answers how many.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn forget_commands(&mut self, before_ms: UnixMs) -> Result<usize> {
        self.sql
            .prepare_cached("delete from commands where running = 0 and heard_ms < ?1 and expires_ms < ?1")
            .and_then(|mut stmt| stmt.execute([before_ms]))
            .map_err(|e| self.err(&e))
    }
}
