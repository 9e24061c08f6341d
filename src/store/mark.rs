//! The high-water mark: how far the log had come, in a file of its own beside it. A card that lost what it had acknowledged,
//! or a copy that somebody put back, is a sound database; only this file tells that it is too old.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::domain::{Epoch, Seq};
use crate::health::wedge;

use super::error::{Result, StoreError};
use super::ledger::{self, Line};
use super::lost::{self, Lost, Past};
use super::{Store, opening, schema};

/// The file beside the database.
const FILE: &str = "waypost.mark";
/// The high-water mark is written after so many events …
const MARK_EVENTS: i64 = 1_000;
/// … or after this time, when there were any.
const MARK_EVERY: Duration = Duration::from_secs(60);
/// A longer one is none of ours. Bytes: a ledger of a few hundred sources is far below it.
const BYTES_MAX: u64 = 1 << 20;

/// What was committed when the mark was made: one state of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    v: u8,
    epoch: String,
    /// The schema that was in use, as `schema::fingerprint` names it.
    schema: String,
    /// The newest event.
    pub(super) seq: i64,
    /// Lanes and `base`.
    pub(super) cursors: Vec<(String, i64)>,
    /// All lines of the ledger.
    pub(super) ledger: Vec<Line>,
    pub(super) past: Vec<Past>,
    pub(super) lost: Vec<Lost>,
}

/// What lies where the mark should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Mark(Mark),
    /// There is none: a fresh store, or somebody took it away.
    Nothing,
    /// There is one that is not as it was written.
    Garbage(PathBuf),
}

impl Mark {
    /// How the store stands.
    pub(super) fn of(conn: &Connection) -> rusqlite::Result<Self> {
        let txn = conn.unchecked_transaction()?;
        let mark = Self {
            v: 1,
            epoch: txn.query_row("select v from meta where k = 'db_epoch'", [], |row| row.get(0))?,
            schema: schema::fingerprint(),
            seq: txn.query_row(
                "select coalesce(max(n), 0) from ledger where scope = 'head' and outcome = 'seq'",
                [],
                |row| row.get(0),
            )?,
            cursors: txn
                .prepare_cached("select name, seq from cursors")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?,
            ledger: ledger::lines(&txn)?,
            past: lost::past(&txn)?,
            lost: lost::all(&txn)?,
        };
        txn.commit()?;
        Ok(mark)
    }

    /// Whether this binary, or one of the same schema, wrote the store last.
    pub(super) fn is_of_this_schema(&self) -> bool {
        self.schema == schema::fingerprint()
    }

    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.epoch.parse().ok()
    }

    /// A cursor by its name, 0 when it never moved.
    pub(super) fn cursor(&self, name: &str) -> Seq {
        Seq(self.cursors.iter().find(|(of, _)| of == name).map_or(0, |(_, seq)| *seq))
    }

    /// The mark in the folder of a store.
    pub(super) fn read(dir: &Path) -> Found {
        let path = dir.join(FILE);
        let text = match fs::metadata(&path) {
            Ok(file) if file.len() <= BYTES_MAX => fs::read(&path),
            Ok(_) => return Found::Garbage(path),
            Err(error) => Err(error),
        };
        match text {
            Ok(text) => Self::parse(&text).map_or(Found::Garbage(path), Found::Mark),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
            Err(_) => Found::Garbage(path),
        }
    }

    /// A line of JSON and the hash of that line.
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (line, hash) = text.trim_end().split_once('\n')?;
        if blake3::hash(line.as_bytes()).to_hex().as_str() != hash {
            return None;
        }
        let mark: Self = serde_json::from_str(line).ok()?;
        (mark.v == 1 && mark.epoch().is_some() && mark.seq >= 0).then_some(mark)
    }

    /// Puts the mark in place of the last one: whole or not at all, whatever is cut off.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let line = serde_json::to_string(self)?;
        let hash = blake3::hash(line.as_bytes()).to_hex();
        let draft = dir.join(format!("{FILE}.tmp"));
        let mut file = File::create(&draft)?;
        wedge::point("mark-begun");
        file.write_all(format!("{line}\n{hash}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, dir.join(FILE))?;
        File::open(dir)?.sync_all()
    }
}

impl Store {
    /// Writes the high-water mark when it is due: after 1,000 events or 60 s, when there were any, and at once when the last
    /// one could not be written. Answers whether it was.
    ///
    /// # Errors
    /// As [`StoreError`] says: the last mark stands.
    pub async fn keep_mark(&self) -> Result<bool> {
        let head = *self.head.borrow();
        let marked = *self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((marked, at)) = marked
            && head.0 - marked.0 < MARK_EVENTS
            && (head == marked || at.elapsed() < MARK_EVERY)
        {
            return Ok(false);
        }
        let (path, marks) = (Arc::clone(&self.path), Arc::clone(&self.marked));
        let mark = self.read(|reader| Mark::of(reader.conn)).await?;
        let written = tokio::task::spawn_blocking(move || {
            *marks.lock().unwrap_or_else(PoisonError::into_inner) = None;
            mark.write(&opening::folder(&path))?;
            *marks.lock().unwrap_or_else(PoisonError::into_inner) = Some((Seq(mark.seq), Instant::now()));
            Ok::<_, std::io::Error>(())
        });
        let disk =
            |e: &dyn std::fmt::Display| StoreError::Disk { path: self.path.with_file_name(FILE), cause: e.to_string() };
        written.await.map_err(|e| disk(&e))?.map_err(|e| disk(&e))?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_and_with_any_bit_flipped_is_garbage() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Mark::read(dir.path()), Found::Nothing);
        let mark = Mark {
            v: 1,
            epoch: Epoch(7).to_string(),
            seq: 1234,
            cursors: vec![("fix".into(), 1200)],
            ..Mark::default()
        };
        mark.write(dir.path()).unwrap();
        assert_eq!(Mark::read(dir.path()), Found::Mark(mark));
        let path = dir.path().join(FILE);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() - 1 {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            assert_eq!(Mark::read(dir.path()), Found::Garbage(path.clone()), "byte {at}");
        }
    }
}
