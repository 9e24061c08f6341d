//! A consistent copy of the store while the node goes on writing: one snapshot, copied a piece at a time, and checked before it
//! counts as a copy.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::domain::{Epoch, Seq};
use crate::health::wedge;

use super::error::{Result, StoreError};
use super::schema::{self, CHECK_STEPS};

/// Pages copied between two looks at whether to go on: 1 MiB.
const PIECE_PAGES: i32 = 1024;
/// Between two pieces: as long as the last one took on its disk, at most this. What a card has in hand at once the node waits for
/// with its next commit.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A copy that was made and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The life of the store it is of.
    pub epoch: Epoch,
    /// Its newest event.
    pub head: Seq,
    /// Events in it.
    pub events: i64,
    /// Its size. Bytes
    pub bytes: u64,
}

/// Copies the store at `from` into the file `into`, which must not be there. `told` hears how many bytes are copied and how
/// many there are; `asked` ends it, also while the copy is checked. None: it was ended, and `into` is not whole.
///
/// Each piece is on its disk before the next is read, and it rests in between for as long as that took: the node's own commits
/// go on at half of what a card can do.
///
/// The node's log grows while a copy is made, by what comes in meanwhile: a snapshot holds its place.
///
/// # Errors
/// As the disk says on either side; [`StoreError::Corrupt`] when the copy does not pass SQLite's own check.
pub fn copy(
    from: &Path,
    into: &Path,
    asked: &Arc<AtomicBool>,
    mut told: impl FnMut(u64, u64),
) -> Result<Option<Copied>> {
    let err = |e: rusqlite::Error| StoreError::of(from, &e);
    let source = schema::open_reader(from)?;
    // The first look begins the snapshot.
    source.execute_batch("begin").map_err(err)?;
    source.query_row("select 1 from meta", [], |_| Ok(())).map_err(err)?;
    let page_bytes: u32 = source.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(err)?;
    let into_err = |e: rusqlite::Error| StoreError::of(into, &e);
    let mut target = Connection::open(into).map_err(into_err)?;
    // Closed with the copy alone: to close it sooner would end SQLite's locks on the file.
    let on_disk = File::open(into).map_err(|error| disk(into, error))?;
    {
        // The snapshot is the one that the transaction of `source` began: what is written meanwhile does not begin it anew.
        let backup = Backup::new(&source, &mut target).map_err(into_err)?;
        loop {
            let begun = Instant::now();
            let step = backup.step(PIECE_PAGES).map_err(into_err)?;
            let progress = backup.progress();
            let bytes = |pages: i32| u64::try_from(pages).unwrap_or(0) * u64::from(page_bytes);
            let done = bytes(progress.pagecount - progress.remaining);
            told(done, bytes(progress.pagecount));
            wedge::point("backup-piece");
            if asked.load(Ordering::Relaxed) {
                return Ok(None);
            }
            match step {
                StepResult::Done => break,
                StepResult::More => {
                    on_disk.sync_data().map_err(|error| disk(into, error))?;
                    std::thread::sleep(begun.elapsed().min(PAUSE_MAX));
                }
                _ => return Err(disk(into, "another process has it open")),
            }
        }
    }
    drop(source);
    // One file, without a log beside it; whoever opens it for writing turns the log on again.
    target.pragma_update(None, "journal_mode", "delete").map_err(into_err)?;
    wedge::point("backup-copied");
    let ends = Arc::clone(asked);
    target.progress_handler(CHECK_STEPS, Some(move || ends.load(Ordering::Relaxed))).map_err(into_err)?;
    let copied = match checked(&target, into) {
        Err(StoreError::CutOff) => return Ok(None),
        checked => checked?,
    };
    drop(target);
    on_disk.sync_all().map_err(|error| disk(into, error))?;
    Ok(Some(copied))
}

/// What a file says it is, when SQLite finds no fault in it.
fn checked(conn: &Connection, path: &Path) -> Result<Copied> {
    let err = |e: rusqlite::Error| StoreError::of(path, &e);
    let fault: String = conn.pragma_query_value(None, "integrity_check", |row| row.get(0)).map_err(err)?;
    if fault != "ok" {
        return Err(StoreError::Corrupt { path: path.to_owned(), cause: fault });
    }
    let epoch: String = conn.query_row("select v from meta where k = 'db_epoch'", [], |row| row.get(0)).map_err(err)?;
    let epoch = epoch.parse().map_err(|_| StoreError::Corrupt { path: path.to_owned(), cause: "db_epoch".into() })?;
    let head = "select coalesce(max(n), 0) from ledger where scope = 'head' and outcome = 'seq'";
    Ok(Copied {
        epoch,
        head: Seq(conn.query_row(head, [], |row| row.get(0)).map_err(err)?),
        events: conn.query_row("select count(*) from outbox", [], |row| row.get(0)).map_err(err)?,
        bytes: std::fs::metadata(path).map_err(|error| disk(path, error))?.len(),
    })
}

fn disk(path: &Path, cause: impl ToString) -> StoreError {
    StoreError::Disk { path: PathBuf::from(path), cause: cause.to_string() }
}
