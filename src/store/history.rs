//! What was said of the places of assets, the turns that follow and hold, and how assets stand to the zones.

use rusqlite::{Connection, OptionalExtension, Row as SqlRow, named_params};

use crate::domain::{By, Change, EventId, PlaceSaid, Said, SaidKey, Seq, TimeQuality, Turn, UnixMs};

use super::error::Result;
use super::txn::Txn;

/// A turn in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The turn.
    pub turn: Turn,
    /// Its place event.
    pub id: EventId,
    /// That event's place in the log.
    pub seq: Seq,
}

impl Told {
    /// The event it follows from, or `operator`, as events say it.
    #[must_use]
    pub fn because(&self) -> String {
        if self.turn.by == By::Operator { "operator".to_owned() } else { self.turn.key.cause.to_string() }
    }
}

/// How an asset stands to the zones since a fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceMark {
    /// When. UTC ms
    pub ts_ms: UnixMs,
    /// The fix it changed with.
    pub id: EventId,
    /// The state from there on, as text.
    pub state: String,
}

const SAID: &str = "order_ms, nudge, cause, nth, ts_ms, tq, boot, mono_ms, voice, gone, place";
const TURN: &str = "order_ms, nudge, cause, nth, change, place, since_ms, tq, voice, id, seq";

// The plus: SQLite prepares anew, at each call, a statement that compares a bare parameter with a column it orders by.
const FENCE_AT: &str = "select ts_ms, id, state from fences where asset = +?1 and (ts_ms, id) <= (?2, ?3)
    order by ts_ms desc, id desc limit 1";

fn last_said_sql() -> String {
    format!(
        "select {SAID} from said where asset = +?1 order by order_ms desc, nudge desc, cause desc, nth desc limit 1"
    )
}

fn key_of(row: &SqlRow<'_>) -> rusqlite::Result<SaidKey> {
    Ok(SaidKey { order_ms: row.get(0)?, nudge: row.get(1)?, cause: EventId(row.get(2)?), nth: row.get(3)? })
}

fn voice(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<By> {
    let code: i64 = row.get(column)?;
    By::from_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, code))
}

fn said_of(row: &SqlRow<'_>) -> rusqlite::Result<Said> {
    let place = match (row.get::<_, bool>(9)?, row.get::<_, Option<String>>(10)?) {
        (false, Some(place)) => PlaceSaid::At(place),
        (true, Some(place)) => PlaceSaid::GoneFrom(place),
        (true, None) => PlaceSaid::Gone,
        (false, None) => PlaceSaid::Unsaid,
    };
    Ok(Said {
        key: key_of(row)?,
        ts_ms: row.get(4)?,
        tq: TimeQuality::from_word(&row.get::<_, String>(5)?),
        received: (row.get(6)?, row.get(7)?),
        place,
        by: voice(row, 8)?,
    })
}

fn told_of(row: &SqlRow<'_>) -> rusqlite::Result<Told> {
    let turn = Turn {
        key: key_of(row)?,
        change: if row.get::<_, i64>(4)? == Change::Exit as i64 { Change::Exit } else { Change::Enter },
        place: row.get(5)?,
        since_ms: row.get(6)?,
        tq: TimeQuality::from_word(&row.get::<_, String>(7)?),
        by: voice(row, 8)?,
    };
    Ok(Told { turn, id: EventId(row.get(9)?), seq: Seq(row.get(10)?) })
}

/// The turns of an asset that hold, newest first, at most `limit`.
pub(super) fn turns(conn: &Connection, asset: &str, limit: usize) -> rusqlite::Result<Vec<Told>> {
    let sql = format!(
        "select {TURN} from turns where asset = +?1 order by order_ms desc, nudge desc, cause desc, nth desc, change desc limit ?2"
    );
    conn.prepare_cached(&sql)?.query_map((asset, i64::try_from(limit).unwrap_or(i64::MAX)), told_of)?.collect()
}

impl Txn<'_> {
    /// The last statement on an asset's place, in the order of when.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn last_said(&self, asset: &str) -> Result<Option<Said>> {
        self.sql
            .prepare_cached(&last_said_sql())
            .and_then(|mut stmt| stmt.query_row([asset], said_of).optional())
            .map_err(|e| self.err(&e))
    }

    /// The statements on an asset's place after a key, oldest first, at most `limit`.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn said_after(&self, asset: &str, key: SaidKey, limit: usize) -> Result<Vec<Said>> {
        let sql = format!(
            "select {SAID} from said where asset = +?1 and (order_ms, nudge, cause, nth) > (?2, ?3, ?4, ?5)
             order by order_ms, nudge, cause, nth limit ?6"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.sql
            .prepare_cached(&sql)
            .and_then(|mut stmt| {
                stmt.query_map((asset, key.order_ms, key.nudge, key.cause.0, key.nth, limit), said_of)?.collect()
            })
            .map_err(|e| self.err(&e))
    }

    /// Adds a statement. Leaves `said` consistent; the caller tells the turns that follow.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn add_said(&mut self, asset: &str, said: &Said) -> Result<()> {
        let (gone, place) = match &said.place {
            PlaceSaid::Unsaid => return Ok(()),
            PlaceSaid::At(place) => (false, Some(place)),
            PlaceSaid::GoneFrom(place) => (true, Some(place)),
            PlaceSaid::Gone => (true, None),
        };
        let sql = format!(
            "insert or replace into said (asset, {SAID}) values
             (:asset, :order, :nudge, :cause, :nth, :ts, :tq, :boot, :mono, :voice, :gone, :place)"
        );
        self.sql
            .prepare_cached(&sql)
            .and_then(|mut stmt| {
                stmt.execute(named_params! {
                    ":asset": asset,
                    ":order": said.key.order_ms,
                    ":nudge": said.key.nudge,
                    ":cause": said.key.cause.0,
                    ":nth": said.key.nth,
                    ":ts": said.ts_ms,
                    ":tq": said.tq.as_str(),
                    ":boot": said.received.0,
                    ":mono": said.received.1,
                    ":voice": said.by as i64,
                    ":gone": gone,
                    ":place": place,
                })
            })
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// Takes a statement back: what GPS said of a zone before a late fix came in between.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn drop_said(&mut self, asset: &str, key: SaidKey) -> Result<()> {
        self.sql
            .prepare_cached(
                "delete from said where asset = ?1 and order_ms = ?2 and nudge = ?3 and cause = ?4 and nth = ?5",
            )
            .and_then(|mut stmt| stmt.execute((asset, key.order_ms, key.nudge, key.cause.0, key.nth)))
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// The last turn of an asset before a key: where it was then.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn turn_before(&self, asset: &str, key: SaidKey) -> Result<Option<Told>> {
        let sql = format!(
            "select {TURN} from turns where asset = +?1 and (order_ms, nudge, cause, nth) < (?2, ?3, ?4, ?5)
             order by order_ms desc, nudge desc, cause desc, nth desc, change desc limit 1"
        );
        self.sql
            .prepare_cached(&sql)
            .and_then(|mut stmt| {
                stmt.query_row((asset, key.order_ms, key.nudge, key.cause.0, key.nth), told_of).optional()
            })
            .map_err(|e| self.err(&e))
    }

    /// Notes that a turn holds, and the event that says so.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn add_turn(&mut self, asset: &str, told: &Told) -> Result<()> {
        let sql = format!(
            "insert or replace into turns (asset, {TURN}) values
             (:asset, :order, :nudge, :cause, :nth, :change, :place, :since, :tq, :voice, :id, :seq)"
        );
        let turn = &told.turn;
        self.sql
            .prepare_cached(&sql)
            .and_then(|mut stmt| {
                stmt.execute(named_params! {
                    ":asset": asset,
                    ":order": turn.key.order_ms,
                    ":nudge": turn.key.nudge,
                    ":cause": turn.key.cause.0,
                    ":nth": turn.key.nth,
                    ":change": turn.change as i64,
                    ":place": turn.place,
                    ":since": turn.since_ms,
                    ":tq": turn.tq.as_str(),
                    ":voice": turn.by as i64,
                    ":id": told.id.0,
                    ":seq": told.seq.0,
                })
            })
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// Notes that a turn no longer holds. Answers whether its event still does: what a fix said while a wrong date stood in the
    /// way has a place of its own, besides that which its time gives it.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn drop_turn(&mut self, asset: &str, turn: &Turn, id: EventId) -> Result<bool> {
        let key = turn.key;
        self.sql
            .prepare_cached(
                "delete from turns where asset = ?1 and order_ms = ?2 and nudge = ?3 and cause = ?4 and nth = ?5 and change = ?6",
            )
            .and_then(|mut stmt| {
                stmt.execute((asset, key.order_ms, key.nudge, key.cause.0, key.nth, turn.change as i64))
            })
            .map_err(|e| self.err(&e))?;
        self.sql
            .prepare_cached("select exists (select 1 from turns where asset = ?1 and cause = ?2 and id = ?3)")
            .and_then(|mut stmt| stmt.query_row((asset, key.cause.0, id.0), |row| row.get(0)))
            .map_err(|e| self.err(&e))
    }

    /// Notes that an event no longer holds, and the void event that says so.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn add_void(&mut self, id: EventId, by: EventId) -> Result<()> {
        self.sql
            .prepare_cached("insert or replace into voids values (?1, ?2)")
            .and_then(|mut stmt| stmt.execute((id.0, by.0)))
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// Takes note that a voided turn holds again; answers the void event that no longer does, if it was voided.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn unvoid(&mut self, id: EventId) -> Result<Option<EventId>> {
        self.sql
            .prepare_cached("delete from voids where id = ?1 returning by_id")
            .and_then(|mut stmt| stmt.query_row([id.0], |row| row.get(0).map(EventId)).optional())
            .map_err(|e| self.err(&e))
    }

    /// The newest state of an asset's fence at or before a fix.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn fence_at(&self, asset: &str, ts_ms: UnixMs, id: EventId) -> Result<Option<FenceMark>> {
        self.sql
            .prepare_cached(FENCE_AT)
            .and_then(|mut stmt| {
                stmt.query_row((asset, ts_ms, id.0), |row| {
                    Ok(FenceMark { ts_ms: row.get(0)?, id: EventId(row.get(1)?), state: row.get(2)? })
                })
                .optional()
            })
            .map_err(|e| self.err(&e))
    }

    /// Notes, or with none forgets, that an asset's fence changed with a fix.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn set_fence(&mut self, asset: &str, ts_ms: UnixMs, id: EventId, state: Option<&str>) -> Result<()> {
        let done = match state {
            Some(state) => self
                .sql
                .prepare_cached("insert or replace into fences values (?1, ?2, ?3, ?4)")
                .and_then(|mut stmt| stmt.execute((asset, ts_ms, id.0, state))),
            None => self
                .sql
                .prepare_cached("delete from fences where asset = ?1 and ts_ms = ?2 and id = ?3")
                .and_then(|mut stmt| stmt.execute((asset, ts_ms, id.0))),
        };
        done.map(|_| ()).map_err(|e| self.err(&e))
    }

    /// Forgets how an asset's fence changed with fixes after a time.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn drop_fences(&mut self, asset: &str, after_ms: UnixMs) -> Result<()> {
        self.sql
            .prepare_cached("delete from fences where asset = ?1 and ts_ms > ?2")
            .and_then(|mut stmt| stmt.execute((asset, after_ms)))
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// Lets the history of one name go on under another; what the other had gives way to it, or it to the other.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn rename_history(&mut self, from: &str, to: &str, prevails: bool) -> Result<()> {
        for table in ["said", "turns", "fences"] {
            let leaves = if prevails { to } else { from };
            self.sql
                .prepare_cached(&format!("delete from {table} where asset = ?1"))
                .and_then(|mut stmt| stmt.execute([leaves]))
                .map_err(|e| self.err(&e))?;
            if prevails {
                self.sql
                    .prepare_cached(&format!("update {table} set asset = ?2 where asset = ?1"))
                    .and_then(|mut stmt| stmt.execute([from, to]))
                    .map_err(|e| self.err(&e))?;
            }
        }
        Ok(())
    }

    /// Notes which receiver moves an asset now.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn set_receiver(&mut self, asset: &str, receiver: &str) -> Result<()> {
        self.sql
            .prepare_cached("insert or replace into carriers values (?1, ?2)")
            .and_then(|mut stmt| stmt.execute((asset, receiver)))
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }
}

/// How an asset stands to the zones, and the receiver that moves it: what a run of the daemon left.
pub(super) fn carrier(conn: &Connection, asset: &str) -> rusqlite::Result<(Option<String>, Option<String>)> {
    let fence = conn
        .prepare_cached("select state from fences where asset = +?1 order by ts_ms desc, id desc limit 1")?
        .query_row([asset], |row| row.get(0))
        .optional()?;
    let receiver = conn
        .prepare_cached("select receiver from carriers where asset = ?1")?
        .query_row([asset], |row| row.get(0))
        .optional()?;
    Ok((fence, receiver))
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    #[test]
    fn what_each_scan_and_fix_asks_for_is_prepared_once_and_looked_up_by_its_key() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("../../migrations/0001_spine.sql")).unwrap();
        for sql in [super::last_said_sql().as_str(), super::FENCE_AT] {
            let mut stmt = conn.prepare(sql).unwrap();
            for asset in ["TRK-07", "TRL-7", "TRL-8"] {
                for at in 1..=stmt.parameter_count() {
                    stmt.raw_bind_parameter(at, asset).unwrap();
                }
                assert!(stmt.raw_query().next().unwrap().is_none());
                stmt.clear_bindings();
            }
            assert_eq!(stmt.get_status(StatementStatus::RePrepare), 0, "{sql}");
            let mut plan = conn.prepare(&format!("explain query plan {sql}")).unwrap();
            let steps: Vec<String> = plan
                .query_map(rusqlite::params_from_iter(vec![""; plan.parameter_count()]), |row| row.get(3))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            assert_eq!(steps.len(), 1, "{steps:?}");
            assert!(steps[0].contains("(asset=?"), "{steps:?}");
        }
    }
}
