//! What was said of the places of assets, the turns that follow and hold, and how assets stand to the zones.

use std::collections::VecDeque;

use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};

use crate::domain::{By, Change, EventId, PlaceSaid, Said, SaidKey, Seq, TimeQuality, Turn, UnixMs};

use super::chain::{self, Link, Linked, Sql};
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

/// The last statement on an asset's place, if there is one.
#[derive(Clone, Debug, Default)]
pub struct LastSaid(pub(super) Option<Linked<Said>>);

impl LastSaid {
    /// What was said.
    #[must_use]
    pub fn said(&self) -> Option<&Said> {
        self.0.as_ref().map(|row| &row.link)
    }
}

/// A statement that is the last on its asset's place, which the asset's row does not name yet.
#[must_use = "what is not named is written and never found"]
#[derive(Debug)]
pub struct Unnamed(pub(super) i64);

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

// The plus: SQLite prepares anew, at each call, a statement that compares a bare parameter with a column it orders by.
const FENCE_AT: &str = "select ts_ms, id, state from fences where asset = +?1 and (ts_ms, id) <= (?2, ?3)
    order by ts_ms desc, id desc limit 1";

impl Link for Said {
    type Key = SaidKey;
    const SQL: Sql = Sql {
        last: "select n, prev, order_ms, nudge, cause, nth, ts_ms, tq, boot, mono_ms, voice, gone, place from said
               where n = (select said from places where asset = ?1)",
        one: "select n, prev, order_ms, nudge, cause, nth, ts_ms, tq, boot, mono_ms, voice, gone, place from said
              where n = ?1",
        all:
            "select n, prev, order_ms, nudge, cause, nth, ts_ms, tq, boot, mono_ms, voice, gone, place, asset from said
              order by n",
        delete: "delete from said where n = ?1",
        set_prev: "update said set prev = ?2 where n = ?1",
        set_last: "update places set said = ?2 where asset = ?1",
        rename: "update said set asset = ?2 where n = ?1",
    };

    fn key(&self) -> SaidKey {
        self.key
    }

    fn order_ms(&self) -> UnixMs {
        self.key.order_ms
    }

    fn read(row: &SqlRow<'_>) -> rusqlite::Result<Self> {
        let place = match (row.get::<_, bool>(11)?, row.get::<_, Option<String>>(12)?) {
            (false, Some(place)) => PlaceSaid::At(place),
            (true, Some(place)) => PlaceSaid::GoneFrom(place),
            (true, None) => PlaceSaid::Gone,
            (false, None) => PlaceSaid::Unsaid,
        };
        Ok(Self {
            key: key_of(row)?,
            ts_ms: row.get(6)?,
            tq: TimeQuality::from_word(&row.get::<_, String>(7)?),
            received: (row.get(8)?, row.get(9)?),
            place,
            by: voice(row, 10)?,
        })
    }

    fn insert(&self, conn: &Connection, asset: &str, prev: Option<i64>) -> rusqlite::Result<()> {
        let (gone, place) = match &self.place {
            PlaceSaid::Unsaid => (false, None),
            PlaceSaid::At(place) => (false, Some(place)),
            PlaceSaid::GoneFrom(place) => (true, Some(place)),
            PlaceSaid::Gone => (true, None),
        };
        conn.prepare_cached(
            "insert into said (prev, asset, order_ms, nudge, cause, nth, ts_ms, tq, boot, mono_ms, voice, gone, place) values
             (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            prev,
            asset,
            self.key.order_ms,
            self.key.nudge,
            self.key.cause.0,
            self.key.nth,
            self.ts_ms,
            self.tq.as_str(),
            self.received.0,
            self.received.1,
            self.by as i64,
            gone,
            place,
        ])
        .map(|_| ())
    }
}

impl Link for Told {
    type Key = (SaidKey, i64);
    const SQL: Sql = Sql {
        last: "select n, prev, order_ms, nudge, cause, nth, change, place, since_ms, tq, voice, id, seq from turns
               where n = (select turn from places where asset = ?1)",
        one: "select n, prev, order_ms, nudge, cause, nth, change, place, since_ms, tq, voice, id, seq from turns
              where n = ?1",
        all:
            "select n, prev, order_ms, nudge, cause, nth, change, place, since_ms, tq, voice, id, seq, asset from turns
              order by n",
        delete: "delete from turns where n = ?1",
        set_prev: "update turns set prev = ?2 where n = ?1",
        set_last: "update places set turn = ?2 where asset = ?1",
        rename: "update turns set asset = ?2 where n = ?1",
    };

    fn key(&self) -> (SaidKey, i64) {
        (self.turn.key, self.turn.change as i64)
    }

    fn order_ms(&self) -> UnixMs {
        self.turn.key.order_ms
    }

    fn read(row: &SqlRow<'_>) -> rusqlite::Result<Self> {
        let turn = Turn {
            key: key_of(row)?,
            change: if row.get::<_, i64>(6)? == Change::Exit as i64 { Change::Exit } else { Change::Enter },
            place: row.get(7)?,
            since_ms: row.get(8)?,
            tq: TimeQuality::from_word(&row.get::<_, String>(9)?),
            by: voice(row, 10)?,
        };
        Ok(Self { turn, id: EventId(row.get(11)?), seq: Seq(row.get(12)?) })
    }

    fn insert(&self, conn: &Connection, asset: &str, prev: Option<i64>) -> rusqlite::Result<()> {
        let turn = &self.turn;
        conn.prepare_cached(
            "insert into turns (prev, asset, order_ms, nudge, cause, nth, change, place, since_ms, tq, voice, id, seq) values
             (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            prev,
            asset,
            turn.key.order_ms,
            turn.key.nudge,
            turn.key.cause.0,
            turn.key.nth,
            turn.change as i64,
            turn.place,
            turn.since_ms,
            turn.tq.as_str(),
            turn.by as i64,
            self.id.0,
            self.seq.0,
        ])
        .map(|_| ())
    }
}

fn key_of(row: &SqlRow<'_>) -> rusqlite::Result<SaidKey> {
    Ok(SaidKey { order_ms: row.get(2)?, nudge: row.get(3)?, cause: EventId(row.get(4)?), nth: row.get(5)? })
}

fn voice(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<By> {
    let code: i64 = row.get(column)?;
    By::from_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, code))
}

/// The turns of an asset that hold, newest first, at most `limit`.
pub(super) fn turns(conn: &Connection, asset: &str, limit: usize) -> rusqlite::Result<Vec<Told>> {
    chain::back(conn, asset)?.take(limit).map(|row| row.map(|row| row.link)).collect()
}

impl Txn<'_> {
    /// The last statement on an asset's place, in the order of when.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn last_said(&self, asset: &str) -> Result<LastSaid> {
        chain::last(self.sql, asset).map(LastSaid).map_err(|e| self.err(&e))
    }

    /// The statements on an asset's place after a key, oldest first, at most `limit`.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn said_after(&self, asset: &str, key: SaidKey, limit: usize) -> Result<Vec<Said>> {
        self.try_said_after(asset, key, limit).map_err(|e| self.err(&e))
    }

    fn try_said_after(&self, asset: &str, key: SaidKey, limit: usize) -> rusqlite::Result<Vec<Said>> {
        let mut found: VecDeque<Said> = VecDeque::new();
        for row in chain::back::<Said>(self.sql, asset)? {
            let said = row?.link;
            if said.key <= key {
                break;
            }
            found.push_front(said);
            found.truncate(limit);
        }
        Ok(found.into())
    }

    /// Adds a statement on the place of an asset that is known. Leaves `said` consistent; the caller tells the turns that
    /// follow.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn add_said(&mut self, asset: &str, said: &Said) -> Result<()> {
        if said.place == PlaceSaid::Unsaid {
            return Ok(());
        }
        chain::add(self.sql, asset, said).map_err(|e| self.err(&e))
    }

    /// As [`Txn::add_said`], by whoever has just read the last one. Where it is the last itself now, the caller has it named,
    /// by [`Txn::set_asset_and_said`] or [`Txn::name_said`], before anything else is said of the asset.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn add_said_behind(&mut self, asset: &str, said: &Said, last: LastSaid) -> Result<Option<Unnamed>> {
        chain::add_behind(self.sql, asset, said, last.0).map(|n| n.map(Unnamed)).map_err(|e| self.err(&e))
    }

    /// Names the last statement in the row of its asset.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn name_said(&mut self, asset: &str, newest: Unnamed) -> Result<()> {
        chain::point::<Said>(self.sql, asset, None, Some(newest.0)).map_err(|e| self.err(&e))
    }

    /// Takes a statement back: what GPS said of a zone before a late fix came in between.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn drop_said(&mut self, asset: &str, key: SaidKey) -> Result<()> {
        chain::remove::<Said>(self.sql, asset, &key).map_err(|e| self.err(&e))
    }

    /// The last turn of an asset before a key: where it was then.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn turn_before(&self, asset: &str, key: SaidKey) -> Result<Option<Told>> {
        let is_before = |row: &rusqlite::Result<Linked<Told>>| row.as_ref().map_or(true, |row| row.link.turn.key < key);
        chain::back::<Told>(self.sql, asset)
            .and_then(|mut turns| turns.find(is_before).transpose())
            .map(|row| row.map(|row| row.link))
            .map_err(|e| self.err(&e))
    }

    /// Notes that a turn holds, and the event that says so.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn add_turn(&mut self, asset: &str, told: &Told) -> Result<()> {
        chain::add(self.sql, asset, told).map_err(|e| self.err(&e))
    }

    /// Notes that a turn no longer holds. Answers whether its event still does: what a fix said while a wrong date stood in the
    /// way has a place of its own, besides that which its time gives it. Others speak once.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn drop_turn(&mut self, asset: &str, turn: &Turn, id: EventId) -> Result<bool> {
        let key = (turn.key, turn.change as i64);
        chain::remove::<Told>(self.sql, asset, &key)
            .and_then(|()| if turn.by == By::Gps { self.has_turn(asset, turn.key.cause, id) } else { Ok(false) })
            .map_err(|e| self.err(&e))
    }

    /// Whether a turn holds that follows from this event and is told by that one.
    fn has_turn(&self, asset: &str, cause: EventId, id: EventId) -> rusqlite::Result<bool> {
        for row in chain::back::<Told>(self.sql, asset)? {
            let told = row?.link;
            if told.turn.key.cause == cause && told.id == id {
                return Ok(true);
            }
        }
        Ok(false)
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

    /// Lets an asset and its history go on under another name; what the other had gives way to it, or it to the other.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn rename_history(&mut self, from: &str, to: &str, prevails: bool) -> Result<()> {
        self.forget_asset(if prevails { to } else { from })?;
        if prevails {
            chain::rename::<Said>(self.sql, from, to)
                .and_then(|()| chain::rename::<Told>(self.sql, from, to))
                .and_then(|()| self.sql.execute("update fences set asset = ?2 where asset = ?1", [from, to]))
                .and_then(|_| self.sql.execute("update places set asset = ?2 where asset = ?1", [from, to]))
                .map_err(|e| self.err(&e))?;
        }
        Ok(())
    }

    /// Forgets how an asset is now and was: it goes on under another name, or not at all.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn forget_asset(&mut self, asset: &str) -> Result<()> {
        forget(self.sql, asset).map(|_| ()).map_err(|e| self.err(&e))
    }

    /// Finds the history of an asset again whose row in `places` was lost. Reads all of it: for what people repair.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn find_history(&mut self, asset: &str) -> Result<()> {
        let newest = "order by order_ms desc, nudge desc, cause desc, nth desc";
        let sql = format!(
            "update places set said = (select n from said where asset = ?1 {newest} limit 1),
                               turn = (select n from turns where asset = ?1 {newest}, change desc limit 1) where asset = ?1"
        );
        self.sql.execute(&sql, [asset]).map(|_| ()).map_err(|e| self.err(&e))
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

/// Ends each chain where a row of it is gone, removed or lost: its number may be given to another one.
pub(super) fn unlink_missing(conn: &Connection) -> rusqlite::Result<()> {
    for (table, last) in [("said", "said"), ("turns", "turn")] {
        conn.execute(&format!("update {table} set prev = null where prev not in (select n from {table})"), [])?;
        conn.execute(&format!("update places set {last} = null where {last} not in (select n from {table})"), [])?;
    }
    Ok(())
}

/// Takes an asset out of `places`, with what was said of it. Answers whether it was there.
pub(super) fn forget(conn: &Connection, asset: &str) -> rusqlite::Result<bool> {
    chain::clear::<Said>(conn, asset)?;
    chain::clear::<Told>(conn, asset)?;
    conn.prepare_cached("delete from fences where asset = ?1")?.execute([asset])?;
    Ok(conn.prepare_cached("delete from places where asset = ?1")?.execute([asset])? > 0)
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
        use super::{Link, Said, Told};
        for sql in [Said::SQL.last, Told::SQL.last, super::FENCE_AT] {
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
            assert!(steps.iter().any(|step| step.contains("(asset=?")), "{steps:?}");
            assert!(!steps.iter().any(|step| step.starts_with("SCAN ")), "{steps:?}");
        }
    }
}
