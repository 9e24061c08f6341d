//! What is kept of an asset in the order of when, in tables that are written at their end alone: each row names the row
//! before it, and the asset's row in `places` the last. Two thousand assets that move would else write all over an index.
//!
//! What comes in order is one step away; what comes late steps back over all that was said after it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row as SqlRow};

use crate::domain::UnixMs;

/// Rows of one asset that are stepped over at most: only a damaged table has more.
const STEPS_MAX: usize = 10_000_000;

/// The statements of one table.
pub(super) struct Sql {
    /// The last row of an asset, with all its columns: n, prev, the columns of the link.
    pub(super) last: &'static str,
    /// A row by its number, with the same columns.
    pub(super) one: &'static str,
    /// All rows in the order of arrival: the same columns, asset.
    pub(super) all: &'static str,
    pub(super) delete: &'static str,
    /// Names another row as the one before a row.
    pub(super) set_prev: &'static str,
    /// Names the last row of an asset.
    pub(super) set_last: &'static str,
    pub(super) rename: &'static str,
}

/// What a row says.
pub(super) trait Link: Sized {
    /// What orders the rows of an asset.
    type Key: Ord;
    const SQL: Sql;
    fn key(&self) -> Self::Key;
    fn order_ms(&self) -> UnixMs;
    /// From the columns behind `n` and `prev`.
    fn read(row: &SqlRow<'_>) -> rusqlite::Result<Self>;
    /// Writes it at the end of the table.
    fn insert(&self, conn: &Connection, asset: &str, prev: Option<i64>) -> rusqlite::Result<()>;
}

/// A row.
#[derive(Clone, Debug)]
pub(super) struct Linked<L> {
    n: i64,
    prev: Option<i64>,
    pub(super) link: L,
}

fn linked<L: Link>(row: &SqlRow<'_>) -> rusqlite::Result<Linked<L>> {
    Ok(Linked { n: row.get(0)?, prev: row.get(1)?, link: L::read(row)? })
}

/// The last of an asset.
pub(super) fn last<L: Link>(conn: &Connection, asset: &str) -> rusqlite::Result<Option<Linked<L>>> {
    conn.prepare_cached(L::SQL.last)?.query_row([asset], linked).optional()
}

/// A row by its number, with the statement for it.
pub(super) fn one<L: Link>(one: &mut CachedStatement<'_>, n: i64) -> rusqlite::Result<Option<Linked<L>>> {
    one.query_row([n], linked).optional()
}

/// Steps back through what is kept of an asset, the last first. A row that is not there ends it.
pub(super) fn back<'c, L: Link>(conn: &'c Connection, asset: &str) -> rusqlite::Result<Back<'c, L>> {
    Ok(back_from(conn, last(conn, asset)?))
}

fn back_from<L: Link>(conn: &Connection, first: Option<Linked<L>>) -> Back<'_, L> {
    Back { conn, first, prev: None, one: None, left: STEPS_MAX }
}

pub(super) struct Back<'c, L> {
    conn: &'c Connection,
    first: Option<Linked<L>>,
    prev: Option<i64>,
    /// Most look at the last row alone.
    one: Option<CachedStatement<'c>>,
    left: usize,
}

impl<L: Link> Back<'_, L> {
    fn step(&mut self) -> rusqlite::Result<Option<Linked<L>>> {
        let row = match (self.first.take(), self.prev) {
            (Some(first), _) => Some(first),
            (None, Some(prev)) if self.left > 0 => {
                let one = match self.one.take() {
                    Some(one) => one,
                    None => self.conn.prepare_cached(L::SQL.one)?,
                };
                self::one(self.one.insert(one), prev)?
            }
            (None, _) => None,
        };
        self.prev = row.as_ref().and_then(|row| row.prev);
        self.left -= usize::from(row.is_some());
        Ok(row)
    }
}

impl<L: Link> Iterator for Back<'_, L> {
    type Item = rusqlite::Result<Linked<L>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// Adds one where its key puts it, in place of one of the same key. The asset has a row in `places`.
pub(super) fn add<L: Link>(conn: &Connection, asset: &str, link: &L) -> rusqlite::Result<()> {
    match add_behind(conn, asset, link, last(conn, asset)?)? {
        Some(n) => point::<L>(conn, asset, None, Some(n)),
        None => Ok(()),
    }
}

/// As [`add`], by whoever has read the last of the asset already. Answers its number where it is now the last itself: the
/// asset's row has yet to name it.
pub(super) fn add_behind<L: Link>(
    conn: &Connection,
    asset: &str,
    link: &L,
    last: Option<Linked<L>>,
) -> rusqlite::Result<Option<i64>> {
    let (key, mut prev, mut follower) = (link.key(), None, None);
    for row in back_from(conn, last) {
        let row = row?;
        let is_same = row.link.key() == key;
        if is_same {
            conn.prepare_cached(L::SQL.delete)?.execute([row.n])?;
        }
        if is_same || row.link.key() < key {
            prev = if is_same { row.prev } else { Some(row.n) };
            break;
        }
        follower = Some(row.n);
    }
    link.insert(conn, asset, prev)?;
    let n = conn.last_insert_rowid();
    if follower.is_none() {
        return Ok(Some(n));
    }
    point::<L>(conn, asset, follower, Some(n))?;
    Ok(None)
}

/// Takes out the one of a key, if there is one.
pub(super) fn remove<L: Link>(conn: &Connection, asset: &str, key: &L::Key) -> rusqlite::Result<()> {
    let mut follower = None;
    for row in back::<L>(conn, asset)? {
        let row = row?;
        if row.link.key() == *key {
            conn.prepare_cached(L::SQL.delete)?.execute([row.n])?;
            return point::<L>(conn, asset, follower, row.prev);
        }
        if row.link.key() < *key {
            break;
        }
        follower = Some(row.n);
    }
    Ok(())
}

/// Says what comes before a row, or which row is the last.
pub(super) fn point<L: Link>(
    conn: &Connection,
    asset: &str,
    follower: Option<i64>,
    n: Option<i64>,
) -> rusqlite::Result<()> {
    let changed = match follower {
        Some(follower) => conn.prepare_cached(L::SQL.set_prev)?.execute((follower, n))?,
        None => conn.prepare_cached(L::SQL.set_last)?.execute((asset, n))?,
    };
    // Else it would be written and never found.
    if changed == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(changed)) }
}

/// Takes out all of an asset.
pub(super) fn clear<L: Link>(conn: &Connection, asset: &str) -> rusqlite::Result<()> {
    let mut delete = conn.prepare_cached(L::SQL.delete)?;
    for row in back::<L>(conn, asset)? {
        delete.execute([row?.n])?;
    }
    conn.prepare_cached(L::SQL.set_last)?.execute((asset, None::<i64>)).map(|_| ())
}

/// Writes another name on all of an asset. The caller gives the name to its row in `places` too.
pub(super) fn rename<L: Link>(conn: &Connection, from: &str, to: &str) -> rusqlite::Result<()> {
    let mut rename = conn.prepare_cached(L::SQL.rename)?;
    for row in back::<L>(conn, from)? {
        rename.execute((row?.n, to))?;
    }
    Ok(())
}

/// Takes out, of some assets, what lies before a time, but for the last of each: it says how things were then. Looks only at
/// the beginning of the table, as far as `is_old`: what arrived since then stays.
pub(super) fn thin<L: Link>(
    conn: &Connection,
    assets: &BTreeSet<String>,
    before_ms: UnixMs,
    is_old: impl Fn(&L) -> bool,
) -> rusqlite::Result<()> {
    let mut newest: BTreeMap<String, Linked<L>> = BTreeMap::new();
    let mut all = conn.prepare_cached(L::SQL.all)?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        let (found, asset) = (linked::<L>(row)?, row.get::<_, String>("asset")?);
        if !is_old(&found.link) {
            break;
        }
        if found.link.order_ms() < before_ms
            && assets.contains(&asset)
            && newest.get(&asset).is_none_or(|other| other.link.key() < found.link.key())
        {
            newest.insert(asset, found);
        }
    }
    drop(rows);
    let mut delete = conn.prepare_cached(L::SQL.delete)?;
    let mut set_prev = conn.prepare_cached(L::SQL.set_prev)?;
    for found in newest.into_values() {
        let (mut kept, mut named) = (found.n, found.prev);
        for row in back_from(conn, Some(found)).skip(1) {
            let row = row?;
            if is_old(&row.link) {
                delete.execute([row.n])?;
                continue;
            }
            if named != Some(row.n) {
                set_prev.execute((kept, row.n))?;
            }
            (kept, named) = (row.n, row.prev);
        }
        if named.is_some() {
            set_prev.execute((kept, None::<i64>))?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
