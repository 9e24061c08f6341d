//! How much room the store may take, and the reserve that is given up when its disk is full: at ENOSPC SQLite can neither
//! write nor delete nor shorten its log, so that a full disk would stay one.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use rusqlite::Connection;

use super::error::{Result, StoreError};
use super::schema::PAGE_BYTES;
use super::txn::Txn;
use super::{Look, Reader, Store};

/// The file that is given up when the disk is full.
const BALLAST: &str = "waypost.ballast";
/// Its length. Bytes.
pub const BALLAST_BYTES: u64 = 2 << 20;
/// The most that SQLite knows.
const PAGES_MAX: i64 = 4_294_967_294;
/// Intake that was refused is let in again when this share of its room is there.
const SLACK: i64 = 64;

/// How far the database may grow. Bytes of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What is in use of it when intake ends; the rest is for acknowledgements, letters, and for removing.
    pub intake: u64,
    /// What the file may come to.
    pub file: u64,
}

/// How the database fills its file. Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// The whole file.
    pub file: u64,
    /// What of it is free for new rows.
    pub free: u64,
}

/// The limits that hold now. Clones share them.
#[derive(Clone)]
pub(super) struct Quota {
    intake_pages: Arc<AtomicI64>,
    file_pages: Arc<AtomicI64>,
    /// Whether the disk had no room and the ballast went for it.
    tight: Arc<AtomicBool>,
    shut: Arc<AtomicBool>,
    ballast: Arc<PathBuf>,
}

impl Quota {
    /// No limits, for the database at `path`.
    pub(super) fn none(path: &Path) -> Self {
        Self {
            intake_pages: Arc::new(AtomicI64::new(i64::MAX)),
            file_pages: Arc::new(AtomicI64::new(i64::MAX)),
            tight: Arc::default(),
            shut: Arc::default(),
            ballast: Arc::new(path.with_file_name(BALLAST)),
        }
    }

    /// Whether new events may come in while so many pages are in use.
    fn admits(&self, used: i64) -> bool {
        let limit = self.intake_pages.load(Ordering::Acquire);
        let limit = if self.shut.load(Ordering::Acquire) { limit - limit / SLACK } else { limit };
        let admits = !self.tight.load(Ordering::Acquire) && used < limit;
        self.shut.store(!admits, Ordering::Release);
        admits
    }

    /// The pages that the file may come to; SQLite keeps to it and says that it is full.
    pub(super) fn file_pages(&self) -> i64 {
        self.file_pages.load(Ordering::Acquire)
    }

    /// The disk is full: gives up the ballast and shortens the log, so that there is room for what ends this state.
    /// Answers whether it is worth another try.
    pub(super) fn relieve(&self, conn: &Connection) -> bool {
        self.tight.store(true, Ordering::Release);
        let gone = std::fs::remove_file(&*self.ballast).is_ok();
        if gone {
            tracing::error!(ballast = %self.ballast.display(), "the disk is full: the reserve is given up, intake ends");
            if let Err(error) = conn.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())) {
                tracing::warn!(%error, "the write-ahead log could not be shortened");
            }
        }
        gone
    }

    /// Whether the ballast is there, whole, and ours to give up.
    fn is_laid(&self) -> bool {
        let file = std::fs::File::options().write(true).open(&*self.ballast).and_then(|file| file.metadata());
        file.is_ok_and(|file| file.len() == BALLAST_BYTES)
    }

    /// Lays the ballast anew. Blocks for as long as the disk does.
    fn lay(&self) -> io::Result<()> {
        if self.is_laid() {
            return Ok(());
        }
        // What is not as we left it makes room for one that is; a folder is not ours to take away.
        match std::fs::remove_file(&*self.ballast) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = std::fs::File::options().create_new(true).write(true).open(&*self.ballast)?;
        let done = allocate(&file, BALLAST_BYTES).and_then(|()| file.sync_all());
        if done.is_err() {
            // Half a ballast would only be in the way of what has to be written.
            drop(std::fs::remove_file(&*self.ballast));
        }
        done
    }
}

/// Takes real blocks, where a hole would take none.
fn allocate(file: &std::fs::File, bytes: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let length = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for as long as `file` is; no memory is touched.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

impl Store {
    /// Sets how far the database may grow; holds from the next transaction on.
    pub fn limit(&self, limits: Limits) {
        let pages = |bytes: u64| (i64::try_from(bytes).unwrap_or(i64::MAX) / PAGE_BYTES).min(PAGES_MAX);
        self.quota.intake_pages.store(pages(limits.intake), Ordering::Release);
        self.quota.file_pages.store(pages(limits.file).max(1), Ordering::Release);
    }

    /// Whether intake is refused for want of room.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.quota.shut.load(Ordering::Acquire) || self.quota.tight.load(Ordering::Acquire)
    }

    /// Looks whether intake can go on with the database as it is.
    pub fn reconsider(&self, fill: Fill) {
        // What came of it is in `is_shut`.
        let _: bool = self.quota.admits(i64::try_from(fill.file - fill.free).unwrap_or(i64::MAX) / PAGE_BYTES);
    }

    /// Whether the reserve was given up because the disk was full.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.quota.tight.load(Ordering::Acquire)
    }

    /// Whether the reserve is laid.
    #[must_use]
    pub fn has_ballast(&self) -> bool {
        self.quota.is_laid()
    }

    /// There is room on the disk: lays the reserve anew, and lets intake in. Blocks for as long as the disk does.
    ///
    /// # Errors
    /// As the file system says; the node works on without a reserve then.
    pub fn lay_ballast(&self) -> io::Result<()> {
        let laid = self.quota.lay();
        if self.quota.tight.swap(false, Ordering::AcqRel) {
            tracing::info!("the disk has room again");
        }
        laid
    }

    /// Whether the file system lets us write, by trying: the list of mounts may say `rw` after the kernel has shut it. Changes
    /// nothing on the disk, so it may be asked each second. Blocks for as long as the disk does.
    ///
    /// # Errors
    /// As the file system says.
    pub fn probe(&self) -> io::Result<()> {
        let mut held = std::fs::File::options().write(true).open(self.path().with_file_name(super::LOCK))?;
        held.write_all(&[])
    }
}

impl Reader<'_> {
    /// How the database fills its file.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn fill(&self) -> Look<Fill> {
        let (all, free) = pages(self.conn)?;
        let bytes = |pages: i64| u64::try_from(pages * PAGE_BYTES).unwrap_or(0);
        Ok(Fill { file: bytes(all), free: bytes(free.min(all)) })
    }

    /// Events that wait for the platform.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn unsent(&self) -> Look<u64> {
        self.conn
            .prepare_cached(
                "select coalesce(sum(n), 0) from ledger where scope = 'events' and name = '' and outcome = 'unsent'",
            )?
            .query_row([], |row| row.get(0))
            .map(|n: i64| u64::try_from(n).unwrap_or(0))
    }
}

/// Pages of the file, and those of them that are free.
fn pages(conn: &Connection) -> rusqlite::Result<(i64, i64)> {
    let one = |pragma| conn.prepare_cached(pragma)?.query_row([], |row| row.get(0));
    Ok((one("pragma page_count")?, one("pragma freelist_count")?))
}

impl Txn<'_> {
    /// Whether there is room for new events; acknowledgements, letters and what is removed are not asked.
    ///
    /// # Errors
    /// [`StoreError::Quota`] when there is none, else as every statement: the whole transaction is rolled back.
    pub fn admit(&self) -> Result<()> {
        let (all, free) = pages(self.sql).map_err(|e| self.err(&e))?;
        let admits = self.quota.as_ref().is_none_or(|quota| quota.admits(all - free));
        if admits { Ok(()) } else { Err(StoreError::Quota { path: self.path.to_owned() }) }
    }
}

#[cfg(test)]
#[path = "quota_tests.rs"]
mod tests;
