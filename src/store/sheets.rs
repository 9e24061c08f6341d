//! What the test sheet said of each scanner: the newest verdict, kept over restarts.

use rusqlite::OptionalExtension;

use crate::domain::UnixMs;

use super::error::Result;
use super::txn::Txn;
use super::{Look, Reader};

/// Sources whose verdicts are listed at most.
const SHEETS_MAX: u32 = 256;

impl Txn<'_> {
    /// The verdict on a source, as it was written; none when its sheet was never scanned.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn sheet(&self, source: &str) -> Result<Option<String>> {
        self.sql
            .prepare_cached("select verdict from sheets where source = ?1")
            .and_then(|mut stmt| stmt.query_row([source], |row| row.get(0)).optional())
            .map_err(|e| self.err(&e))
    }

    /// Keeps the verdict on a source in the place of the one before.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn set_sheet(&self, source: &str, at_ms: UnixMs, verdict: &str) -> Result<()> {
        self.sql
            .prepare_cached("insert or replace into sheets (source, at_ms, verdict) values (?1, ?2, ?3)")
            .and_then(|mut stmt| stmt.execute((source, at_ms, verdict)))
            .map(drop)
            .map_err(|e| self.err(&e))
    }
}

impl Reader<'_> {
    /// The verdict of the test sheet on a source and when it was last read from; none when it never was.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn sheet(&self, source: &str) -> Look<Option<(UnixMs, String)>> {
        self.conn
            .prepare_cached("select at_ms, verdict from sheets where source = ?1")?
            .query_row([source], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
    }

    /// Every source that the test sheet was read with, when it last was, and the verdict.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn sheets(&self) -> Look<Vec<(String, UnixMs, String)>> {
        self.conn
            .prepare_cached("select source, at_ms, verdict from sheets order by source limit ?1")?
            .query_map([SHEETS_MAX], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect()
    }
}
