//! Proofs that the store is well while it works: that it commits, and that its pages and indexes agree.

use super::error::{Result, StoreError};
use super::txn::Txn;
use super::{Group, Look, Reader, Store};

/// Faults that one look at a table tells.
const FAULTS_MAX: usize = 20;

impl Store {
    /// Proves from end to end that the store takes transactions: through the writer and its lock. With `commit` down to the
    /// disk; else it is rolled back and no byte is written.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub async fn prove(&self, commit: bool) -> Result<()> {
        let proof = self.submit(Group::Now, move |txn| {
            txn.touch()?;
            if commit { Ok(()) } else { Err(StoreError::Undone) }
        });
        match proof.await {
            Err(StoreError::Undone) => Ok(()),
            answer => answer,
        }
    }

    /// Notes for the next start that the file is damaged: it looks closer then.
    ///
    /// # Errors
    /// The note cannot be written.
    pub fn suspect(&self, why: &str) -> std::io::Result<()> {
        self.trouble.note(why)
    }
}

impl Txn<'_> {
    /// Writes a value that means nothing.
    fn touch(&self) -> Result<()> {
        let touched =
            self.sql.prepare_cached("insert into meta values ('canary', ?1) on conflict do update set v = excluded.v");
        touched
            .and_then(|mut stmt| stmt.execute([self.now.mono_ms().to_string()]))
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// Makes all indexes anew from their tables.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn reindex(&self) -> Result<()> {
        self.sql.execute_batch("reindex").map_err(|e| self.err(&e))
    }
}

impl Reader<'_> {
    /// The tables of the store.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn tables(&self) -> Look<Vec<String>> {
        self.conn
            .prepare("select name from sqlite_schema where type = 'table' and name not like 'sqlite\\_%' escape '\\' order by name")?
            .query_map([], |row| row.get(0))?
            .collect()
    }

    /// What is wrong with a table and its indexes, in SQLite's words, the first of it; nothing when it is well.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn faults(&self, table: &str) -> Look<Vec<String>> {
        let faults: Vec<String> = self
            .conn
            .prepare("select integrity_check from pragma_integrity_check(?1)")?
            .query_map([table], |row| row.get(0))?
            .take(FAULTS_MAX)
            .collect::<Look<_>>()?;
        Ok(if faults == ["ok"] { Vec::new() } else { faults })
    }
}
