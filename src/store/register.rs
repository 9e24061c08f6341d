//! The register: things that people name, the keys of their codes, and who did what to the node.

use rusqlite::{Connection, OptionalExtension, Row as SqlRow, named_params};

use crate::domain::{AssetState, Thing};

use super::error::Result;
use super::places;
use super::txn::Txn;

/// Assets that the register holds at most.
pub const REGISTER_MAX: usize = 20_000;
/// Of what an audit row tells, at most. Bytes.
const DETAIL_MAX: usize = 2_000;

/// An asset for a list: what the register says of it and how it is now, one of both at least.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// What the register says; none for a code that nobody registered.
    pub thing: Option<Thing>,
    /// How it is now; none while it was never seen.
    pub state: Option<AssetState>,
}

fn thing_of(row: &SqlRow<'_>, first: usize) -> rusqlite::Result<Thing> {
    let codes: String = row.get(first + 3)?;
    // Only this room writes it; were it damaged, the asset would show no codes and still be found by its keys.
    let codes = serde_json::from_str(&codes).unwrap_or_default();
    Ok(Thing { asset: row.get(first)?, name: row.get(first + 1)?, kind: row.get(first + 2)?, codes })
}

pub(super) fn thing(conn: &Connection, asset: &str) -> rusqlite::Result<Option<Thing>> {
    conn.prepare_cached("select asset, name, kind, codes from assets where asset = ?1")?
        .query_row([asset], |row| thing_of(row, 0))
        .optional()
}

pub(super) fn things(conn: &Connection) -> rusqlite::Result<Vec<Thing>> {
    let limit = i64::try_from(REGISTER_MAX).unwrap_or(i64::MAX);
    conn.prepare_cached("select asset, name, kind, codes from assets order by asset limit ?1")?
        .query_map([limit], |row| thing_of(row, 0))?
        .collect()
}

pub(super) fn keys(conn: &Connection, asset: &str) -> rusqlite::Result<Vec<String>> {
    conn.prepare_cached("select key from asset_keys where asset = ?1 order by nth")?
        .query_map([asset], |row| row.get(0))?
        .collect()
}

/// Assets of which a word is in the id, the name, a code or a key, in any case; all when there is no word. Registered
/// first by id, then the most recently seen; at most `limit`, and how many there are in all.
pub(super) fn find(conn: &Connection, words: &[String], limit: usize) -> rusqlite::Result<(Vec<Listed>, i64)> {
    let words = serde_json::to_string(words).unwrap_or_else(|_| "[]".to_owned());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let state: Vec<String> = places::COLUMNS.split(", ").map(|column| format!("p.{column}")).collect();
    let sql = format!(
        "with words as (select lower(value) as word from json_each(?1)),
              known as (select asset from assets union select asset from places),
              hits as (
                select k.asset from known k
                where not exists (select 1 from words)
                   or exists (select 1 from words w where instr(lower(k.asset), w.word) > 0)
                   or exists (select 1 from assets a, words w where a.asset = k.asset
                              and (instr(lower(a.name), w.word) > 0 or instr(lower(a.codes), w.word) > 0))
                   or exists (select 1 from asset_keys n, words w where n.asset = k.asset and instr(lower(n.key), w.word) > 0))
         select {}, a.asset, a.name, a.kind, a.codes, count(*) over ()
         from hits h left join places p on p.asset = h.asset left join assets a on a.asset = h.asset
         order by a.asset is null, a.asset, p.seq desc limit ?2",
        state.join(", ")
    );
    let mut stmt = conn.prepare_cached(&sql)?;
    let columns = state.len();
    let mut total = 0;
    let rows = stmt.query_map((words, limit), |row| {
        total = row.get(columns + 4)?;
        let seen = row.get::<_, Option<String>>(0)?.is_some();
        let registered = row.get::<_, Option<String>>(columns)?.is_some();
        Ok(Listed {
            state: seen.then(|| places::state_of(row)).transpose()?,
            thing: registered.then(|| thing_of(row, columns)).transpose()?,
        })
    })?;
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok((rows, total))
}

impl Txn<'_> {
    /// What the register says of an asset.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn thing(&self, asset: &str) -> Result<Option<Thing>> {
        thing(self.sql, asset).map_err(|e| self.err(&e))
    }

    /// The whole register, by id.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn things(&self) -> Result<Vec<Thing>> {
        things(self.sql).map_err(|e| self.err(&e))
    }

    /// The keys of an asset's codes, in the order of the codes.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn keys_of(&self, asset: &str) -> Result<Vec<String>> {
        keys(self.sql, asset).map_err(|e| self.err(&e))
    }

    /// Puts an asset into the register, in place of what was said of it before. Its keys are set by [`Txn::set_keys`].
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn put_thing(&mut self, thing: &Thing) -> Result<()> {
        let codes = serde_json::to_string(&thing.codes).unwrap_or_else(|_| "[]".to_owned());
        self.sql
            .prepare_cached(
                "insert into assets (asset, name, kind, codes, added_ms, changed_ms) values (:asset, :name, :kind, :codes, :now, :now)
                 on conflict do update set name = :name, kind = :kind, codes = :codes, changed_ms = :now",
            )
            .and_then(|mut stmt| {
                stmt.execute(named_params! {
                    ":asset": thing.asset,
                    ":name": thing.name,
                    ":kind": thing.kind,
                    ":codes": codes,
                    ":now": self.now.wall_ms,
                })
            })
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// Sets the keys of a registered asset. The caller has seen that no other asset has one of them.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn set_keys(&mut self, asset: &str, keys: &[String]) -> Result<()> {
        let mut stmt = self
            .sql
            .prepare_cached("insert into asset_keys (key, asset, nth) values (?1, ?2, ?3)")
            .map_err(|e| self.err(&e))?;
        for (key, nth) in keys.iter().zip(0_i64..) {
            stmt.execute((key, asset, nth)).map_err(|e| self.err(&e))?;
        }
        Ok(())
    }

    /// Takes the keys of an asset away from it.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn clear_keys(&mut self, asset: &str) -> Result<()> {
        self.change("delete from asset_keys where asset = ?1", asset)
    }

    /// Takes an asset out of the register, with its keys.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn remove_thing(&mut self, asset: &str) -> Result<()> {
        self.change("delete from assets where asset = ?1", asset)
    }

    fn change(&mut self, sql: &str, asset: &str) -> Result<()> {
        self.sql.prepare_cached(sql).and_then(|mut stmt| stmt.execute([asset])).map(|_| ()).map_err(|e| self.err(&e))
    }

    /// Notes what somebody did to the node; a long detail is cut.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn audit(&mut self, who: &str, what: &str, detail: &str) -> Result<()> {
        let boot = self.boot()?;
        let detail = &detail[..detail.floor_char_boundary(DETAIL_MAX)];
        self.sql
            .prepare_cached(
                "insert into audit (at_ms, boot, mono_ms, who, what, detail) values (?1, ?2, ?3, ?4, ?5, ?6)",
            )
            .and_then(|mut stmt| stmt.execute((self.now.wall_ms, boot, self.now.mono_ms(), who, what, detail)))
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }
}
