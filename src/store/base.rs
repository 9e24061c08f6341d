//! What is known of assets from before the log, where their history begins, and what of the log is read to tell it anew.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension};

use crate::domain::{AssetState, Row, Seq, UnixMs};

use super::error::Result;
use super::txn::Txn;
use super::{Look, Reader, outbox, places};

/// Name of the cursor of `base` among the cursors.
pub(super) const BASE: &str = "base";
/// Before this trusted time nothing is told anew, in `meta`.
const HISTORY_FROM: &str = "history_from_ms";
/// The purge that runs or was broken off, in `meta`.
const PURGING: &str = "purging";
/// The archive in hand, in `meta`.
const ARCHIVING: &str = "archiving";

/// The cursor of `base`.
pub(super) fn base(conn: &Connection) -> rusqlite::Result<Seq> {
    conn.prepare_cached("select seq from cursors where name = ?1")?
        .query_row([BASE], |row| row.get(0))
        .optional()
        .map(|seq| Seq(seq.unwrap_or(0)))
}

/// What is known of assets from before the log, as text.
fn told(conn: &Connection, assets: &BTreeSet<String>) -> rusqlite::Result<Vec<(String, String)>> {
    let mut one = conn.prepare_cached("select told from base where asset = ?1")?;
    let mut found = Vec::new();
    for asset in assets {
        let told: Option<String> = one.query_row([asset], |row| row.get(0)).optional()?;
        found.extend(told.map(|told| (asset.clone(), told)));
    }
    Ok(found)
}

/// All of `base`.
fn all_told(conn: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    conn.prepare_cached("select asset, told from base")?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// The assets that keys of the register belong to: all, or those of some names.
fn names(conn: &Connection, of: Option<&BTreeSet<String>>) -> rusqlite::Result<BTreeMap<String, String>> {
    let Some(of) = of else {
        return conn
            .prepare_cached("select key, asset from asset_keys")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect();
    };
    let mut one = conn.prepare_cached("select asset from asset_keys where key = ?1")?;
    let mut found = BTreeMap::new();
    for key in of {
        let asset: Option<String> = one.query_row([key], |row| row.get(0)).optional()?;
        found.extend(asset.map(|asset| (key.clone(), asset)));
    }
    Ok(found)
}

fn fact(conn: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    conn.prepare_cached("select v from meta where k = ?1")?.query_row([key], |row| row.get(0)).optional()
}

pub(super) fn history_from(conn: &Connection) -> rusqlite::Result<UnixMs> {
    Ok(fact(conn, HISTORY_FROM)?.and_then(|from| from.parse().ok()).unwrap_or(0))
}

impl Reader<'_> {
    /// Looks several times at one and the same state of the store. Short: the write-ahead log cannot be begun anew meanwhile.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn snapshot<T>(&self, look: impl FnOnce(&Self) -> Look<T>) -> Look<T> {
        let txn = self.conn.unchecked_transaction()?;
        let answer = look(self)?;
        txn.commit()?;
        Ok(answer)
    }

    /// What events that are gone told of these assets, as text.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn told(&self, assets: &BTreeSet<String>) -> Look<Vec<(String, String)>> {
        told(self.conn, assets)
    }

    /// What events that are gone told of all assets, as text.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn all_told(&self) -> Look<Vec<(String, String)>> {
        all_told(self.conn)
    }

    /// Which asset each key of the register belongs to; of these keys, or of all.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn names(&self, of: Option<&BTreeSet<String>>) -> Look<BTreeMap<String, String>> {
        names(self.conn, of)
    }

    /// Before this trusted time the history of assets is not told anew. UTC ms
    ///
    /// # Errors
    /// As SQLite says.
    pub fn history_from(&self) -> Look<UnixMs> {
        history_from(self.conn)
    }

    /// The archive in hand, as [`Txn::set_archiving`] noted it.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn archiving(&self) -> Look<Option<String>> {
        fact(self.conn, ARCHIVING)
    }

    /// The purge that runs or was broken off, as [`Txn::set_purging`] noted it.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn purging(&self) -> Look<Option<String>> {
        fact(self.conn, PURGING)
    }

    /// The assets whose names follow `after`, in their order, at most `limit`.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn assets_after(&self, after: &str, limit: usize) -> Look<Vec<AssetState>> {
        places::page(self.conn, after, limit)
    }
}

impl Txn<'_> {
    /// Before this trusted time the history of assets is no longer there to be told anew: what comes late from there is kept
    /// and sent, and changes no place. UTC ms
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn history_from(&self) -> Result<UnixMs> {
        history_from(self.sql).map_err(|e| self.err(&e))
    }

    /// Moves where history begins; never back, for what is gone does not return.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn set_history_from(&mut self, from_ms: UnixMs) -> Result<()> {
        let from_ms = from_ms.max(self.history_from()?);
        self.set_fact(HISTORY_FROM, Some(&from_ms.to_string()))
    }

    /// Notes the archive in hand, or that there is none.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn set_archiving(&mut self, archive: Option<&str>) -> Result<()> {
        self.set_fact(ARCHIVING, archive)
    }

    /// Notes the purge that runs, or that there is none.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn set_purging(&mut self, purge: Option<&str>) -> Result<()> {
        // It names what is to be forgotten: of it, too, nothing stays in the file.
        let how = if purge.is_none() { "on" } else { "fast" };
        self.sql.pragma_update(None, "secure_delete", how).map_err(|e| self.err(&e))?;
        self.set_fact(PURGING, purge)?;
        self.sql.pragma_update(None, "secure_delete", "fast").map_err(|e| self.err(&e))
    }

    fn set_fact(&mut self, key: &str, value: Option<&str>) -> Result<()> {
        let done = match value {
            Some(value) => self
                .sql
                .execute("insert into meta values (?1, ?2) on conflict do update set v = excluded.v", [key, value]),
            None => self.sql.execute("delete from meta where k = ?1", [key]),
        };
        done.map(|_| ()).map_err(|e| self.err(&e))
    }

    /// Notes that an event was about an asset without changing it: the asset goes with its last event, not before.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn touch_asset(&mut self, asset: &str, seq: Seq) -> Result<()> {
        self.sql
            .prepare_cached("update places set seq = ?2 where asset = ?1 and seq < ?2")
            .and_then(|mut stmt| stmt.execute((asset, seq.0)))
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// The events after a place in the log, oldest first, at most `limit`.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn rows_after(&self, after: Seq, limit: usize) -> Result<Vec<Row>> {
        outbox::after(self.sql, after, limit, &outbox::Filter::default())
            .map(|page| page.rows)
            .map_err(|e| self.err(&e))
    }

    /// The cursor of `base`.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn base(&self) -> Result<Seq> {
        base(self.sql).map_err(|e| self.err(&e))
    }
}
