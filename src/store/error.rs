//! What can go wrong with the truth, named after what the caller decides.

use std::path::PathBuf;

/// Why the store could not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No room: `SQLITE_FULL`, ENOSPC. Intake refuses with `storage_full` and tries again when there is room.
    #[error("no room left to write {path:?}; free space on its disk")]
    Full {
        /// The database file.
        path: PathBuf,
    },
    /// The store holds what it may: `store.max_mib`, or what the disk has room for. Intake refuses with `storage_full`.
    #[error("{path:?} has no room left in what it may take; see store.max_mib and the free space of its disk")]
    Quota {
        /// The database file.
        path: PathBuf,
    },
    /// A look lasted so long that the write-ahead log grew, and was cut off.
    #[error("the look at the store took too long and was cut off; ask for less, or ask again")]
    CutOff,
    /// The disk or the file system fails or is read-only. Intake refuses with `storage_error` and tries again.
    #[error("{path:?} cannot be written: {cause}; check the disk and its mount (dmesg)")]
    Disk {
        /// The database file.
        path: PathBuf,
        /// SQLite's words.
        cause: String,
    },
    /// There is no store yet.
    #[error(
        "there is no store at {path:?} yet: waypost has not run with this configuration; see store.dir, or start it"
    )]
    Missing {
        /// The database file.
        path: PathBuf,
    },
    /// A file that is open is no longer where it was: what is written now nobody would find again, or another node could be
    /// at it. The process ends.
    #[error("{path:?} was deleted or replaced while waypost runs; put it back, or restart waypost")]
    Moved {
        /// The database file, its log, or the lock.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error("{path:?} is damaged: {cause}; the next start puts it aside and saves what can be read")]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// SQLite's words.
        cause: String,
    },
    /// Another process has the store.
    #[error("{path:?} is in use by another waypost; stop that one first, or ask it with `waypost status`")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The store was written by a newer waypost.
    #[error("{path:?} has schema {found}, this binary knows up to {known}; install the newer waypost again")]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A file that was to be restored is none of ours.
    #[error("{path:?} is no backup of waypost: {cause}; name a file that `waypost backup` wrote")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        cause: String,
    },
    /// A released migration is not the one that ran.
    #[error("migration {name} is not the one that made {path:?}; install an official build")]
    ForeignMigration {
        /// The database file.
        path: PathBuf,
        /// The migration's file name.
        name: String,
    },
    /// The writer has stopped: the process is going down or the writer is being restarted. Ask again.
    #[error("the writer is not running; the request was not carried out and can be made again")]
    Gone,
    /// Rolled back because that is what was asked for: nothing failed.
    #[error("rolled back as asked")]
    Undone,
    /// A statement failed for a reason of its own: a bug. The transaction was rolled back.
    #[error("statement failed: {cause}; nothing of it was kept; please report this")]
    Statement {
        /// SQLite's words.
        cause: String,
    },
}

impl StoreError {
    /// The error of a SQLite call on `path`.
    #[must_use]
    pub fn of(path: &std::path::Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let path = path.to_owned();
        let cause = error.to_string();
        match error.sqlite_error_code() {
            Some(Code::DiskFull) => Self::Full { path },
            // The file ends before what it should hold: waiting mends that no more than a page that is wrong.
            Some(Code::SystemIoFailure) if is_short(error) => Self::Corrupt { path, cause },
            Some(
                Code::SystemIoFailure
                | Code::ReadOnly
                | Code::CannotOpen
                | Code::PermissionDenied
                | Code::DatabaseBusy
                | Code::DatabaseLocked,
            ) => Self::Disk { path, cause: format!("{cause}{}", step(error)) },
            Some(Code::OperationInterrupted) => Self::CutOff,
            Some(Code::DatabaseCorrupt | Code::NotADatabase) => Self::Corrupt { path, cause },
            _ => Self::Statement { cause },
        }
    }

    /// The same of another file: of the one that a person named, where a copy of it was looked at.
    pub(super) fn about(mut self, file: &std::path::Path) -> Self {
        if let Self::Full { path }
        | Self::Disk { path, .. }
        | Self::Corrupt { path, .. }
        | Self::Newer { path, .. }
        | Self::ForeignMigration { path, .. } = &mut self
        {
            file.clone_into(path);
        }
        self
    }

    /// Whether waiting can help: the disk is full, failing or busy, or the writer is away.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Full { .. } | Self::Quota { .. } | Self::CutOff | Self::Disk { .. } | Self::Moved { .. } | Self::Gone
        )
    }

    /// Whether this process writes nothing any more: it ends, and the next one sets the store right.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Moved { .. } | Self::Corrupt { .. })
    }
}

/// The answer of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Which step of SQLite failed, as the number of sqlite.org/rescode.html; nothing where it is known by its words.
fn step(error: &rusqlite::Error) -> String {
    let step = error.sqlite_error().map(|error| error.extended_code).filter(|code| *code > 0xff);
    step.map_or_else(String::new, |code| format!(" ({code})"))
}

/// Whether a file ended within what was to be read of it.
fn is_short(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_ends_too_early_is_damaged_and_a_read_that_fails_is_the_disks_fault() {
        let of = |code| {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            StoreError::of(std::path::Path::new("waypost.db"), &error)
        };
        assert!(matches!(of(rusqlite::ffi::SQLITE_IOERR_SHORT_READ), StoreError::Corrupt { .. }));
        let StoreError::Disk { cause, .. } = of(rusqlite::ffi::SQLITE_IOERR_READ) else {
            panic!("a fault of the disk")
        };
        assert!(cause.ends_with("(266)"), "{cause}");
    }
}
