//! `waypost backup`: a checked copy of the store, while the node runs or not, under a name that nothing had before.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::offline::failure;
use super::progress::{Interrupt, Progress};
use super::{Done, Failure, exit, load, print};
use crate::store::{self, Copied};

/// What a copy is called until it is whole and checked.
const UNFINISHED: &str = "part";

#[derive(Args)]
pub(super) struct BackupArgs {
    /// The new file; one that is there already is never overwritten
    file: PathBuf,
}

pub(super) fn backup(config: &Path, args: &BackupArgs) -> Done {
    let db = load(config)?.config.store.dir.join("waypost.db");
    let file = &args.file;
    if file.symlink_metadata().is_ok() {
        return Err(Failure::new(exit::IO, format!("{} is there already; name a file that is not", file.display())));
    }
    let _turn = turn(&db)?;
    let unfinished = Unfinished::begin(file)?;
    let interrupt = Interrupt::listen()?;
    let mut progress = Progress::new("KiB");
    let copied = store::copy(&db, &unfinished.path, interrupt.flag(), |done, of| {
        progress.tell(done / 1024, Some(of / 1024));
    });
    progress.end();
    let Some(copied) = copied.map_err(failure)? else {
        return Err(Failure::new(exit::NOT_WELL, "interrupted; nothing was written"));
    };
    unfinished.finish(file)?;
    let Copied { epoch, head, events, bytes } = copied;
    print(&format!("{}: {events} events up to {epoch}.{head}, {} KiB, checked\n", file.display(), bytes / 1024))
}

/// One backup at a time: held as long as the file is open. SQLite locks the same file another way.
fn turn(db: &Path) -> Result<File, Failure> {
    let file = File::open(db).map_err(|error| {
        let code = if error.kind() == io::ErrorKind::PermissionDenied { exit::NOT_ALLOWED } else { exit::NO_INPUT };
        Failure::new(code, format!("{}: {error}; run it as root, on a node that was started once", db.display()))
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(Failure::new(exit::BUSY, "already_running: another backup of this store is being made; wait for it"))
        }
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

/// A file that is being made; gone when it is dropped unfinished.
pub(super) struct Unfinished {
    pub(super) path: PathBuf,
}

impl Unfinished {
    /// Begins the file that will be `file`; nobody else may read it.
    pub(super) fn begin(file: &Path) -> Result<Self, Failure> {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".{}.{UNFINISHED}", std::process::id()));
        let path = PathBuf::from(name);
        let failed = |error: io::Error| {
            Failure::new(exit::IO, format!("{}: {error}; name a file in a folder that can be written", path.display()))
        };
        // Nobody else may read where everything was.
        use std::os::unix::fs::OpenOptionsExt as _;
        File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        Ok(Self { path })
    }

    /// Gives it its name, which nobody may have taken meanwhile; from then on a power cut does not take it away.
    pub(super) fn finish(self, file: &Path) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::new(exit::IO, format!("{}: {error}", file.display()));
        match fs::hard_link(&self.path, file) {
            Ok(()) => {}
            // A stick with FAT has no second names.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists && file.symlink_metadata().is_err() => {
                fs::rename(&self.path, file).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        for end in ["", "-journal", "-wal", "-shm"] {
            let mut name = self.path.as_os_str().to_owned();
            name.push(end);
            // Most of them were never there, and one that cannot be removed is a file with a name that says what it is.
            drop(fs::remove_file(PathBuf::from(name)));
        }
    }
}
