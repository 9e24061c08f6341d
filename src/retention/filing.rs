//! The archive in hand: what leaves is written into a file and read back before it is removed, and how far that is stands in the
//! store, so that a pass that was cut off is gone on with.

use crate::domain::{Epoch, Seq, UnixMs};
use crate::health::{Ctx, wedge};
use crate::store::{Reader, StoreError};

use super::archive::{self, Goods};
use super::{Halt, Passed, Retention, blocking};

/// How far the archive in hand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// None of its events has been removed: it can be taken out again.
    Writing,
    /// It holds what it should: its events are being removed.
    Removing,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Writing => "writing",
            Self::Removing => "removing",
        }
    }

    /// The state and the file of a note.
    fn of(noted: &str) -> Option<(Self, &str)> {
        let (word, file) = noted.split_once(' ')?;
        [Self::Writing, Self::Removing].into_iter().find(|state| state.as_str() == word).map(|state| (state, file))
    }
}

impl Retention {
    /// Writes what leaves into a file, and notes that it is to be removed now. None where there is nothing to be written.
    pub(super) async fn archived(&self, goods: Goods, epoch: Epoch, made_ms: UnixMs) -> Result<Option<String>, Halt> {
        let Some(file) = goods.name(epoch).filter(|_| self.archive.is_some()) else { return Ok(None) };
        // Before a file is begun it is noted: one that a power cut left is then taken out, for all of it is still in the store.
        self.note(State::Writing, &file).await?;
        let (folder, name) = (archive::folder(self.store.path()), file.clone());
        let path = folder.join(&file);
        let written = self.store.read(move |reader| archive::write(&folder, &name, reader, &goods, made_ms)).await?;
        written.map_err(|error| Halt::Archive { path, error })?;
        wedge::point("archive-written");
        self.note(State::Removing, &file).await?;
        Ok(Some(file))
    }

    /// Goes on where a pass before this one was cut off.
    pub(super) async fn finish_archive(&self, ctx: &Ctx, passed: &mut Passed) -> Result<(), Halt> {
        let Some(noted) = self.store.read(|reader| reader.archiving()).await? else { return Ok(()) };
        let folder = archive::folder(self.store.path());
        match State::of(&noted) {
            Some((State::Removing, file)) => {
                let (path, file) = (folder.join(file), file.to_owned());
                let shelf = archive::shelf(&file);
                let numbers = blocking(path.clone(), move || archive::numbers(&folder, &file)).await?;
                match (numbers.as_deref(), shelf) {
                    (Some(numbers), Some(shelf)) => self.unshelve(ctx, shelf, numbers, passed).await?,
                    (Some(&[first, .., last] | &[first @ last]), None) => {
                        // What an uplink that was configured meanwhile wants stays, and leaves with another file.
                        let confirm = self.confirm;
                        let may_leave = move |reader: &Reader<'_>| {
                            let before = reader.first_unsent(Seq(first), Seq(last))?.map(|unsent| Seq(unsent.0 - 1));
                            let confirmed = if confirm { reader.confirmed()? } else { Seq(last) };
                            Ok(before.unwrap_or(Seq(last)).min(confirmed).min(Seq(last)))
                        };
                        let through = self.store.read(may_leave).await?;
                        let seqs = numbers.into_iter().flatten().map(Seq).filter(|seq| *seq <= through).collect();
                        self.remove(ctx, Seq(first - 1), through, seqs, passed).await?;
                    }
                    // What it was meant to hold and is still in the log goes into the next one.
                    _ => {
                        tracing::error!(file = %path.display(), "an archive is gone or damaged that was whole when it was written")
                    }
                }
            }
            Some((State::Writing, file)) => {
                let (path, file) = (folder.join(file), file.to_owned());
                blocking(path, move || archive::undo(&folder, &file)).await?;
            }
            None => {
                tracing::error!(noted, "the store names an archive in hand in words that this version does not know")
            }
        }
        self.change(|txn| txn.set_archiving(None)).await?;
        wedge::point("archive-finished");
        Ok(())
    }

    pub(super) async fn note(&self, state: State, file: &str) -> Result<(), StoreError> {
        let noted = format!("{} {file}", state.as_str());
        self.change(move |txn| txn.set_archiving(Some(&noted))).await
    }
}
