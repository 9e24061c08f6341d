//! What ends the work with this store in this process: its file is damaged, or it is no longer where it was opened. Noted beside
//! the store, so that the next opening looks closer, and said to whoever ends the process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::error::{Result, StoreError};

/// The note beside the database.
const FILE: &str = "waypost.suspect";

/// The bell that is rung once.
#[derive(Clone)]
pub(super) struct Trouble {
    note: Arc<PathBuf>,
    bell: watch::Sender<Option<String>>,
}

impl Trouble {
    pub(super) fn new(dir: &Path) -> Self {
        Self { note: Arc::new(dir.join(FILE)), bell: watch::Sender::new(None) }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.bell.subscribe()
    }

    /// Notes for the next opening why it should look closer.
    pub(super) fn note(&self, why: &str) -> std::io::Result<()> {
        std::fs::write(&*self.note, format!("{why}\n"))
    }

    /// Rings when an answer says that the file is damaged.
    pub(super) fn look<T>(&self, answer: &Result<T>) {
        if let Err(error @ StoreError::Corrupt { .. }) = answer {
            if let Err(cause) = self.note(&error.to_string()) {
                tracing::error!(%cause, "the damage could not be noted for the next start; it will find it by itself");
            }
            self.ring(error);
        }
    }

    /// Rings because the process writes where nobody would find it.
    pub(super) fn ring(&self, error: &StoreError) {
        self.bell.send_if_modified(|said| {
            let first = said.is_none();
            if first {
                tracing::error!(%error, "the store cannot go on in this process");
                *said = Some(error.to_string());
            }
            first
        });
    }
}

/// What the process before this one noted of the store, if anything.
pub(super) fn noted(dir: &Path) -> Option<String> {
    std::fs::read_to_string(dir.join(FILE)).ok().map(|text| text.trim().to_owned())
}

/// Takes the note away: the store was looked at.
pub(super) fn clear(dir: &Path) {
    match std::fs::remove_file(dir.join(FILE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, "the note on a damaged store could not be removed; the next start looks again");
        }
        _ => {}
    }
}
