//! What of ours lies on the disk. Blocks for as long as the disk does.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Bytes of the store's files, and what is free beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The database.
    pub db: u64,
    /// Its write-ahead log.
    pub wal: u64,
    /// The folder `archive`.
    pub archive: u64,
    /// The folder `quarantine`.
    pub quarantine: u64,
    /// The folder `captures`.
    pub captures: u64,
    /// Free for us on the file system; none when it does not say.
    pub free: Option<u64>,
}

impl Files {
    /// Measures the files beside the database `db`. What is not there takes no room.
    #[must_use]
    pub fn measure(db: &Path) -> Self {
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let mut wal = db.as_os_str().to_owned();
        wal.push("-wal");
        let [quarantine, captures] = ["quarantine", "captures"].map(|name| folder(db, name));
        let archive = archive(db);
        Self { db: length(db), wal: length(&PathBuf::from(wal)), archive, quarantine, captures, free: free(db) }
    }

    /// Their share of `max_mib`. 0..=100.
    #[must_use]
    pub fn used_pct(&self, max_mib: u64) -> u8 {
        let used = [self.db, self.wal, self.archive, self.quarantine, self.captures].iter().sum::<u64>();
        let room = max_mib.saturating_mul(1 << 20).max(1);
        u8::try_from((used.saturating_mul(100) / room).min(100)).unwrap_or(100)
    }
}

/// What this process has given to the disk since it began, as the kernel counts it: nearly all of it is the store's. The file
/// system's own journal and what a card writes beyond that are not in it. Bytes
#[must_use]
pub fn written_bytes() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

/// Whether the disk under a folder takes nothing, whatever is done: it is full, shut or broken.
#[must_use]
pub fn is_disk_shut(dir: &Path) -> bool {
    let probed = std::fs::create_dir_all(dir).and_then(|()| {
        let file = std::fs::File::options().create(true).truncate(false).write(true).open(dir.join(super::LOCK))?;
        drop(file);
        Ok(())
    });
    let errno = probed.err().and_then(|error| error.raw_os_error());
    matches!(errno, Some(libc::EROFS | libc::ENOSPC | libc::EDQUOT | libc::EIO))
}

/// The archive may hold thousands of files that never change: they are not asked each second.
struct Archive {
    path: PathBuf,
    changed: SystemTime,
    since: Instant,
    measured: Instant,
    bytes: u64,
}

/// The last look at an archive.
static ARCHIVE: Mutex<Option<Archive>> = Mutex::new(None);
/// A change within a tick of the file system's clock looks like none; after this it does not. Longer than any tick.
const TICK: Duration = Duration::from_secs(1);

fn archive(db: &Path) -> u64 {
    let path = db.with_file_name("archive");
    let Ok(changed) = std::fs::metadata(&path).and_then(|folder| folder.modified()) else { return 0 };
    let mut last = ARCHIVE.lock().unwrap_or_else(PoisonError::into_inner);
    let same = last.as_ref().filter(|last| (&last.path, last.changed) == (&path, changed));
    if let Some(last) = same.filter(|last| last.measured.duration_since(last.since) > TICK) {
        return last.bytes;
    }
    let measured = Instant::now();
    let since = same.map_or(measured, |last| last.since);
    let bytes = folder(db, "archive");
    *last = Some(Archive { path, changed, since, measured, bytes });
    bytes
}

fn folder(db: &Path, name: &str) -> u64 {
    let Ok(entries) = std::fs::read_dir(db.with_file_name(name)) else { return 0 };
    entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|file| file.len()).sum()
}

fn free(path: &Path) -> Option<u64> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: all-zero is a valid `statvfs`: it holds integers only.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a zero byte and `stat` is a valid place for the answer; both outlive the call.
    let failed = unsafe { libc::statvfs(path.as_ptr(), &raw mut stat) } != 0;
    #[cfg_attr(
        target_pointer_width = "64",
        expect(clippy::useless_conversion, reason = "these fields are 32 bits wide on 32-bit targets")
    )]
    let free = u64::from(stat.f_bavail).saturating_mul(u64::from(stat.f_frsize));
    (!failed).then_some(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_measured_again_when_a_file_has_come_or_gone() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("waypost.db");
        std::fs::create_dir(dir.path().join("archive")).unwrap();
        for n in 1..=3 {
            std::fs::write(dir.path().join("archive/draft.tmp"), vec![0; 100]).unwrap();
            std::fs::rename(dir.path().join("archive/draft.tmp"), dir.path().join(format!("archive/{n}"))).unwrap();
            assert_eq!([Files::measure(&db).archive, Files::measure(&db).archive], [n * 100; 2]);
        }
        std::fs::remove_file(dir.path().join("archive/2")).unwrap();
        assert_eq!(Files::measure(&db).archive, 200);
    }

    #[test]
    fn all_that_is_ours_counts_towards_the_room_that_we_may_take() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("waypost.db");
        assert_eq!(Files::measure(&db).used_pct(1), 0);
        std::fs::create_dir(dir.path().join("archive")).unwrap();
        for name in ["waypost.db", "waypost.db-wal", "archive/2026"] {
            std::fs::write(dir.path().join(name), vec![0; 1 << 18]).unwrap();
        }
        let files = Files::measure(&db);
        assert_eq!((files.db, files.wal, files.archive, files.captures), (1 << 18, 1 << 18, 1 << 18, 0));
        assert_eq!((files.used_pct(1), files.used_pct(0)), (75, 100));
        assert!(files.free.is_some());
    }
}
