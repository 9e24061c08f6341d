//! Events that have left the log and stand in the archive, for whoever wants them once more. A file that is not as it was written
//! tells nothing. One that stayed in the log when its file was written, for an uplink that came, stands in two files and is told once.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::{Epoch, EventId, Seq};

use super::archive::{self, EVENTS, Entry, each, entries, numbers};

/// An event that is looked for by its name was received within this of the time that its name tells. ms
const NEAR_MS: i64 = 86_400_000;
/// Files that are unpacked for one event.
const FILES_MAX: usize = 64;

/// The archived events of a store.
#[derive(Clone, Debug)]
pub struct Archived {
    folder: PathBuf,
}

impl Archived {
    /// Those beside a database.
    #[must_use]
    pub fn of(db: &Path) -> Self {
        Self { folder: archive::folder(db) }
    }

    /// How many events `from..=to` of an epoch there are.
    ///
    /// # Errors
    /// As the disk says.
    pub fn count(&self, epoch: Epoch, from: Seq, to: Seq) -> io::Result<i64> {
        let mut found = BTreeSet::new();
        for entry in self.holding(epoch, from, to)? {
            let numbers = numbers(&self.folder, &entry.file)?.unwrap_or_default();
            found.extend(numbers.into_iter().filter(|seq| (from.0..=to.0).contains(seq)));
        }
        Ok(i64::try_from(found.len()).unwrap_or(i64::MAX))
    }

    /// Those after a place and up to another as they were sent, each with its seq and in that order, at most `limit`.
    ///
    /// # Errors
    /// As the disk says.
    pub fn after(&self, epoch: Epoch, after: Seq, upto: Seq, limit: usize) -> io::Result<Vec<(Seq, String)>> {
        let wanted = after.0.saturating_add(1)..=upto.0;
        let mut found = BTreeMap::new();
        for entry in self.holding(epoch, Seq(*wanted.start()), upto)? {
            // One that was held back stands in a later file than its neighbours.
            let is_full = found.len() >= limit;
            if is_full && found.last_key_value().is_none_or(|(last, _)| entry.from > *last) {
                break;
            }
            let Some(numbers) = numbers(&self.folder, &entry.file)? else {
                tracing::error!(file = entry.file, "an archive is gone or not as it was written; it tells nothing");
                continue;
            };
            let mut numbers = numbers.into_iter();
            each(&self.folder.join(&entry.file), |line| {
                let Some(seq) = numbers.next().filter(|seq| wanted.contains(seq)) else { return };
                if found.len() < limit || found.last_key_value().is_some_and(|(last, _)| seq < *last) {
                    found.insert(seq, String::from_utf8_lossy(line).into_owned());
                }
                if found.len() > limit {
                    found.pop_last();
                }
            })?;
        }
        Ok(found.into_iter().map(|(seq, event)| (Seq(seq), event)).collect())
    }

    /// An event by its name, as it was sent. Looked for in the files of the days around the time that its name tells; none where it
    /// is in none of them.
    ///
    /// # Errors
    /// As the disk says.
    pub fn find(&self, id: EventId) -> io::Result<Option<String>> {
        let [a, b, c, d, ..] = id.0;
        let at_ms = i64::from(u32::from_be_bytes([a, b, c, d])) * 1000;
        let needle = format!("\"id\":\"{id}\"");
        let near = |one: &&Entry| one.first_received_ms - NEAR_MS <= at_ms && at_ms <= one.last_received_ms + NEAR_MS;
        let all = entries(&self.folder)?;
        for entry in all.iter().filter(|one| one.what == EVENTS && !one.file.contains('/')).filter(near).take(FILES_MAX)
        {
            let mut found = None;
            each(&self.folder.join(&entry.file), |line| {
                // The id is among the first fields: no text of a scan stands before it.
                if found.is_none()
                    && line.get(..64).is_some_and(|start| start.windows(needle.len()).any(|at| at == needle.as_bytes()))
                {
                    found = Some(String::from_utf8_lossy(line).into_owned());
                }
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The files that hold some of them, oldest first.
    fn holding(&self, epoch: Epoch, from: Seq, to: Seq) -> io::Result<Vec<Entry>> {
        let (mut found, start) = (entries(&self.folder)?, format!("{epoch}-"));
        found.retain(|one| {
            let is_near = one.from <= to.0 && one.to >= from.0;
            // A name with a slash is none of ours.
            one.what == EVENTS && is_near && one.file.starts_with(&start) && !one.file.contains('/')
        });
        found.sort_by_key(|one| one.from);
        Ok(found)
    }
}
