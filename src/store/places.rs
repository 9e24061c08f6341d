//! Where assets are: the folded state, the register, and the open windows of repeats.

use std::sync::LazyLock;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row as SqlRow, params};

use crate::domain::{AssetState, EventId, Said, Seq, TimeQuality};

use super::chain::{self, Link};
use super::error::Result;
use super::history::{LastSaid, Unnamed};
use super::txn::{Hot, Txn};

pub(super) const COLUMNS: &str =
    "asset, id, seq, ts_ms, tq, boot, mono_ms, lat, lon, speed_mps, course_deg, place, since_ms, source, gps_place";

pub(super) fn state_of(row: &SqlRow<'_>) -> rusqlite::Result<AssetState> {
    let (lat, lon): (Option<f64>, Option<f64>) = (row.get(7)?, row.get(8)?);
    Ok(AssetState {
        asset: row.get(0)?,
        id: EventId(row.get(1)?),
        seq: Seq(row.get(2)?),
        ts_ms: row.get(3)?,
        tq: TimeQuality::from_word(&row.get::<_, String>(4)?),
        received: (row.get(5)?, row.get(6)?),
        position: lat.zip(lon),
        speed_mps: row.get(9)?,
        course_deg: row.get(10)?,
        place: row.get(11)?,
        since_ms: row.get(12)?,
        source: row.get(13)?,
        gps_place: row.get(14)?,
    })
}

static ONE: LazyLock<String> = LazyLock::new(|| format!("select {COLUMNS} from places where asset = ?1"));

/// One asset as it is now.
pub(super) fn one(conn: &Connection, asset: &str) -> rusqlite::Result<Option<AssetState>> {
    conn.prepare_cached(&ONE)?.query_row([asset], state_of).optional()
}

/// The assets, registered first, then the most recently seen; at most `limit`, and how many there are in all.
pub(super) fn list(conn: &Connection, limit: usize) -> rusqlite::Result<(Vec<AssetState>, i64)> {
    let total = conn.prepare_cached("select count(*) from places")?.query_row([], |row| row.get(0))?;
    let sql =
        format!("select {COLUMNS} from places order by asset in (select asset from assets) desc, seq desc limit ?1");
    let rows = conn
        .prepare_cached(&sql)?
        .query_map([i64::try_from(limit).unwrap_or(i64::MAX)], state_of)?
        .collect::<rusqlite::Result<_>>()?;
    Ok((rows, total))
}

/// The assets whose names follow `after`, in their order, at most `limit`.
pub(super) fn page(conn: &Connection, after: &str, limit: usize) -> rusqlite::Result<Vec<AssetState>> {
    let sql = format!("select {COLUMNS} from places where asset > ?1 order by asset limit ?2");
    conn.prepare_cached(&sql)?.query_map((after, i64::try_from(limit).unwrap_or(i64::MAX)), state_of)?.collect()
}

/// The read that opened the present window of repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Code of the accepted read.
    pub key: String,
    /// Its event; 0 while it is held.
    pub seq: Seq,
    /// Boot and `CLOCK_BOOTTIME` ms of its receipt.
    pub received: (i64, i64),
    /// The letter that holds it, when no asset has its key.
    pub letter: Option<i64>,
}

impl Txn<'_> {
    /// An asset as it is now.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn asset(&self, asset: &str) -> Result<Option<AssetState>> {
        self.hot(Hot::Asset, &ONE, |stmt| stmt.query_row([asset], state_of).optional()).map_err(|e| self.err(&e))
    }

    /// An asset as it is now, with the last that was said of its place.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn asset_and_said(&self, asset: &str) -> Result<Option<(AssetState, LastSaid)>> {
        self.try_asset_and_said(asset).map_err(|e| self.err(&e))
    }

    fn try_asset_and_said(&self, asset: &str) -> rusqlite::Result<Option<(AssetState, LastSaid)>> {
        static SQL: LazyLock<String> = LazyLock::new(|| format!("select {COLUMNS}, said from places where asset = ?1"));
        let found = self.hot(Hot::AssetAndSaid, &SQL, |stmt| {
            stmt.query_row([asset], |row| Ok((state_of(row)?, row.get::<_, Option<i64>>(15)?))).optional()
        })?;
        let Some((state, said)) = found else { return Ok(None) };
        let last = match said {
            Some(n) => self.hot(Hot::Said, Said::SQL.one, |stmt| chain::one(stmt, n))?,
            None => None,
        };
        Ok(Some((state, LastSaid(last))))
    }

    /// Sets an asset's state; what was said of it stays. The caller has folded it: an older event never gets here.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn set_asset(&mut self, state: &AssetState) -> Result<()> {
        self.set_asset_and_said(state, None)
    }

    /// As [`Txn::set_asset`], and names what is now the last that was said of its place.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn set_asset_and_said(&mut self, state: &AssetState, newest: Option<Unnamed>) -> Result<()> {
        let sql = "insert into places values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, null)
                   on conflict do update set id = ?2, seq = ?3, ts_ms = ?4, tq = ?5, boot = ?6, mono_ms = ?7, lat = ?8, lon = ?9,
                     speed_mps = ?10, course_deg = ?11, place = ?12, since_ms = ?13, source = ?14, gps_place = ?15,
                     said = coalesce(?16, said)";
        let set = |stmt: &mut CachedStatement<'_>| {
            stmt.execute(params![
                state.asset,
                state.id.0,
                state.seq.0,
                state.ts_ms,
                state.tq.as_str(),
                state.received.0,
                state.received.1,
                state.position.map(|p| p.0),
                state.position.map(|p| p.1),
                state.speed_mps,
                state.course_deg,
                state.place,
                state.since_ms,
                state.source,
                state.gps_place,
                newest.map(|row| row.0),
            ])
        };
        self.hot(Hot::SetAsset, sql, set).map(|_| ()).map_err(|e| self.err(&e))
    }

    /// The registered asset of a key.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn registered(&self, key: &str) -> Result<Option<String>> {
        let sql = "select asset from asset_keys where key = ?1";
        self.hot(Hot::Registered, sql, |stmt| stmt.query_row([key], |row| row.get(0)).optional())
            .map_err(|e| self.err(&e))
    }

    /// The open window of a source: of this code, or with '' of whatever was read last.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn window(&self, source: &str, code: &str) -> Result<Option<Window>> {
        self.sql
            .prepare_cached("select key, seq, boot, mono_ms, letter from windows where source = ?1 and code = ?2")
            .and_then(|mut stmt| {
                stmt.query_row([source, code], |row| {
                    let (key, seq, letter) = (row.get(0)?, Seq(row.get(1)?), row.get(4)?);
                    Ok(Window { key, seq, received: (row.get(2)?, row.get(3)?), letter })
                })
                .optional()
            })
            .map_err(|e| self.err(&e))
    }

    /// Opens a window anew, and drops windows of the source that ended before `ended_mono_ms` or in another boot.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn open_window(&mut self, source: &str, code: &str, window: &Window, ended_mono_ms: i64) -> Result<()> {
        if !code.is_empty() {
            self.sql
                .prepare_cached("delete from windows where source = ?1 and (boot <> ?2 or mono_ms < ?3)")
                .and_then(|mut stmt| stmt.execute((source, window.received.0, ended_mono_ms)))
                .map_err(|e| self.err(&e))?;
        }
        self.sql
            .prepare_cached("insert or replace into windows values (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
            .and_then(|mut stmt| {
                let (boot, mono_ms) = window.received;
                stmt.execute((source, code, &window.key, window.seq.0, boot, mono_ms, window.letter))
            })
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }
}
