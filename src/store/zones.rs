//! The plan of the yard where no file gives it: each one that a person put here, the last of them in force.

use rusqlite::OptionalExtension;

use crate::domain::UnixMs;

use super::error::Result;
use super::txn::Txn;
use super::{Look, Reader};

/// Plans that are kept, the one in force among them: who has drawn over a good one can have it back.
const PLANS_KEPT: i64 = 8;

/// A plan as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPlan {
    /// Which one, from 1.
    pub rev: i64,
    /// When it was put here. UTC ms
    pub at_ms: UnixMs,
    /// Who put it here, as in the audit.
    pub who: String,
    /// Fixes up to this time stood to the zones of a plan before. UTC ms
    pub after_ms: UnixMs,
    /// GeoJSON, as it was given.
    pub text: String,
}

impl Txn<'_> {
    /// Which plan is in force; 0 when none was ever put here.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn plan_rev(&self) -> Result<i64> {
        self.sql
            .prepare_cached("select coalesce(max(rev), 0) from zones")
            .and_then(|mut stmt| stmt.query_row([], |row| row.get(0)))
            .map_err(|e| self.err(&e))
    }

    /// Puts a plan in force and answers its revision. `after_ms` as in [`KeptPlan`].
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn set_plan(&mut self, who: &str, after_ms: UnixMs, text: &str) -> Result<i64> {
        let (boot, rev) = (self.boot()?, self.plan_rev()? + 1);
        self.sql
            .prepare_cached(
                "insert into zones (rev, at_ms, boot, mono_ms, who, after_ms, text) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )
            .and_then(|mut stmt| {
                stmt.execute((rev, self.now.wall_ms, boot, self.now.mono_ms(), who, after_ms, text))
            })
            .and_then(|_| self.sql.execute("delete from zones where rev <= ?1", [rev - PLANS_KEPT]))
            .map_err(|e| self.err(&e))?;
        Ok(rev)
    }
}

impl Reader<'_> {
    /// A plan by its revision, or the one in force; none when it is not kept, or none ever was.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn plan(&self, rev: Option<i64>) -> Look<Option<KeptPlan>> {
        self.conn
            .prepare_cached(
                "select rev, at_ms, who, after_ms, text from zones where ?1 is null or rev = ?1 order by rev desc limit 1",
            )?
            .query_row([rev], |row| {
                Ok(KeptPlan {
                    rev: row.get(0)?,
                    at_ms: row.get(1)?,
                    who: row.get(2)?,
                    after_ms: row.get(3)?,
                    text: row.get(4)?,
                })
            })
            .optional()
    }
}
