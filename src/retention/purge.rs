//! `waypost purge`: what a person wants deleted goes from the log, its history, letters, captures and archives, step by step, so that
//! nobody waits for it and it can be broken off and begun again at any step.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::UnixMs;
use crate::health::wedge;
use crate::projection::Rebuild;
use crate::store::{Group, Look, Reader, Store, StoreError, Target, Txn};

use super::archive::{self, Entry};
use super::rebuild::told_anew;

/// Events or letters that go in one transaction.
const SLICE: usize = 500;
/// How long a purge or a rebuild waits for other work on the rows to end.
pub(super) const TURN_WAIT: Duration = Duration::from_secs(20);
/// How often it tries to cut the write-ahead log while readers are busy.
const SETTLE_TRIES: usize = 20;
/// How far back a capture goes. ms
const CAPTURE_MS: i64 = 600_000;
/// Between two of these tries.
const SETTLE_PAUSE: Duration = Duration::from_millis(250);

/// How far a purge is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Nothing was done.
    #[default]
    Begin,
    /// Events leave the log, and with each what was derived from it.
    Events,
    /// Letters that quote it.
    Letters,
    /// Files of the archive are written anew.
    Archive,
    /// Places are told anew from what is left.
    Places,
    /// Freed pages are overwritten.
    Scrub,
    /// The zeros are taken out again.
    Unscrub,
    /// All of it is gone.
    Done,
}

/// A purge on its way: what is asked, how far it is, what went. Whoever drives it gives back what the step before answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Purge {
    /// The asset, by its id, a key or a code.
    pub asset: Option<String>,
    /// What happened before this. UTC ms
    pub before_ms: Option<UnixMs>,
    /// Whether what waits for the platform goes too.
    pub unsent: bool,
    /// So many events may be from before the time at most; none: any number, but not all that there are.
    pub expect: Option<i64>,
    /// Under which names it goes: known from its beginning on.
    pub target: Target,
    /// How far it is.
    pub phase: Phase,
    /// Where its phase goes on.
    pub at: i64,
    /// The newest event when it began: what comes later stays.
    pub upto: i64,
    /// The newest file that was looked at.
    pub file: String,
    /// Receivers and other sources that its events came from: their captures go.
    pub receivers: BTreeSet<String>,
    /// See `receivers`.
    pub sources: BTreeSet<String>,
    /// Events that went.
    pub events: i64,
    /// Of them, those that waited for the platform.
    pub discarded: i64,
    /// Events that stay because they wait for the platform.
    pub waiting: i64,
    /// Letters that went.
    pub letters: i64,
    /// Lines that went from archives.
    pub archived: usize,
    /// Files that were written anew.
    pub files: usize,
}

/// Why a step was not done. What was done before stays done; the same step can be asked again.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// Nothing is known by that name.
    #[error("nothing is known of {0:?}: no asset, no key, no event has that name")]
    Unknown(String),
    /// Neither an asset nor a time.
    #[error("neither an asset nor a time was given")]
    Nothing,
    /// More events are meant than are expected, or all that there are.
    #[error(
        "{meant} of the store's {all} events are from before that time: is the date right? If it is: --expect {meant}"
    )]
    Unexpected {
        /// Events that are meant.
        meant: i64,
        /// Events in the log.
        all: i64,
    },
    /// Retention, a rebuild or another purge is at work.
    #[error("already_running: retention, a rebuild or another purge is at work on the rows")]
    Busy,
    /// A file of the archive.
    #[error("the archive: {0}; what is in the store is gone, ask again for the rest")]
    Archive(std::io::Error),
    /// The write-ahead log could not be cut.
    #[error("the write-ahead log cannot be cut: a reader is busy; ask again")]
    Reader,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Purge {
    /// Whether all of it is gone.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Does the next step for somebody; `who` is for the audit, which it enters at its beginning and end.
    ///
    /// # Errors
    /// As [`PurgeError`] says; what was done before stays done.
    pub async fn step(mut self, store: &Store, who: &str) -> Result<Self, PurgeError> {
        let turn = tokio::time::timeout(TURN_WAIT, store.turn().lock()).await;
        let _turn = turn.map_err(|_| PurgeError::Busy)?;
        wedge::point("purge-step");
        match self.phase {
            Phase::Begin => self.begin(store, who).await?,
            Phase::Events => self.events(store).await?,
            Phase::Letters => self.letters(store).await?,
            Phase::Archive => self.archive(store).await?,
            Phase::Places => {
                told_anew(store, true, who, |_, _| ()).await?;
                self.phase = Phase::Scrub;
            }
            Phase::Scrub => {
                if store.submit(Group::Now, |txn| txn.scrub()).await? == 0 {
                    self.phase = Phase::Unscrub;
                }
            }
            Phase::Unscrub => self.unscrub(store, who).await?,
            Phase::Done => {}
        }
        Ok(self)
    }

    async fn begin(&mut self, store: &Store, who: &str) -> Result<(), PurgeError> {
        if self.asset.is_none() && self.before_ms.is_none() {
            return Err(PurgeError::Nothing);
        }
        let begun = store.read(|reader| reader.purging()).await?;
        // What was broken off has forgotten much of what it would find now.
        let begun = begun.and_then(|text| serde_json::from_str::<Self>(&text).ok());
        let begun = begun.filter(|begun| (&begun.asset, begun.before_ms) == (&self.asset, self.before_ms));
        let goes_on = begun.is_some();
        if let Some(before_ms) = self.before_ms.filter(|_| !goes_on) {
            let (meant, all) = store.read(move |reader| reader.count_before(before_ms)).await?;
            if meant > self.expect.unwrap_or(all - 1) && meant > 0 {
                return Err(PurgeError::Unexpected { meant, all });
            }
        }
        self.target = match (&self.asset, begun) {
            (_, Some(begun)) => {
                (self.receivers, self.sources) = (begun.receivers, begun.sources);
                begun.target
            }
            (Some(asset), None) => named(store, asset).await?,
            (None, None) => Target { before_ms: self.before_ms, ..Target::default() },
        };
        self.target.unsent = self.unsent;
        let (who, target) = (who.to_owned(), self.target.clone());
        let what = format!("{}: {}", if goes_on { "begun again" } else { "begun" }, self.words());
        let (told, target) = store.read(move |reader| folded(reader, &target).map(|told| (told, target))).await?;
        self.upto = store.head_now().0;
        (self.at, self.phase) = (0, Phase::Events);
        let state = self.text();
        store
            .submit(Group::Now, move |txn| {
                txn.audit(&who, "purge", &what)?;
                txn.set_purging(Some(&state))?;
                txn.purge_history(&target)?;
                told.iter().try_for_each(|(asset, told)| txn.set_told(asset, told.as_deref()))
            })
            .await?;
        Ok(())
    }

    async fn events(&mut self, store: &Store) -> Result<(), PurgeError> {
        let (after, upto, target) = (self.at, self.upto, self.target.clone());
        let meant = store.read(move |reader| reader.meant(&target, after, upto, SLICE)).await?;
        self.waiting += meant.waiting;
        self.at = meant.through;
        if meant.through == after {
            (self.at, self.phase) = (0, Phase::Letters);
        }
        if meant.seqs.is_empty() {
            return Ok(());
        }
        let (before, target) = (self.clone(), self.target.clone());
        let purged = store.submit(Group::Now, move |txn| {
            let purged = txn.purge(&target, &meant.seqs)?;
            let mut state = before.clone();
            state.receivers.extend(purged.receivers.clone());
            state.sources.extend(purged.sources.clone());
            txn.set_purging(Some(&state.text()))?;
            Ok(purged)
        });
        let purged = purged.await?;
        self.events += purged.events;
        self.discarded += purged.unsent;
        self.receivers.extend(purged.receivers);
        self.sources.extend(purged.sources);
        Ok(())
    }

    async fn letters(&mut self, store: &Store) -> Result<(), PurgeError> {
        let (target, receivers, after) = (self.target.clone(), self.receivers.clone(), self.at);
        let look = move |reader: &Reader<'_>| reader.letters_meant(&target, &receivers, after, SLICE);
        let (letters, through) = store.read(look).await?;
        if !letters.is_empty() {
            self.letters += store.submit(Group::Now, move |txn| txn.purge_letters(&letters)).await?;
        }
        if through == after {
            (self.file, self.phase) = (String::new(), Phase::Archive);
        } else {
            self.at = through;
        }
        Ok(())
    }

    /// Writes one file of the archive anew.
    async fn archive(&mut self, store: &Store) -> Result<(), PurgeError> {
        let target = self.target.clone();
        let in_hand = store.read(|reader| reader.archiving()).await?;
        let folder = archive::folder(store.path());
        let (last, receivers) = (self.file.clone(), self.receivers.clone());
        let work = move || {
            if last.is_empty() {
                let in_hand = in_hand.as_deref().and_then(|noted| noted.split_once(' ')).map(|(_, file)| file);
                archive::tidy(&folder, in_hand)?;
            }
            let mut entries = archive::entries(&folder)?;
            entries.sort_by(|one, other| one.file.cmp(&other.file));
            let Some(entry) = entries.into_iter().find(|entry| entry.file > last) else { return Ok(None) };
            let gone = archive::rewrite(&folder, &entry, |line| is_meant(&target, &receivers, &entry, line))?;
            Ok(Some((entry.file, gone)))
        };
        match on_files(work).await? {
            Some((file, gone)) => {
                self.file = file;
                self.archived += gone;
                self.files += usize::from(gone > 0);
            }
            None => self.phase = Phase::Places,
        }
        Ok(())
    }

    async fn unscrub(&mut self, store: &Store, who: &str) -> Result<(), PurgeError> {
        if store.submit(Group::Now, |txn| txn.unscrub()).await? {
            return Ok(());
        }
        let (who, what) = (who.to_owned(), self.words());
        let (events, letters, archived) = (self.events, self.letters, self.archived);
        let detail = format!("{what}: {events} events, {letters} letters, {archived} lines of archives");
        let end = move |txn: &mut Txn<'_>| {
            txn.set_purging(None)?;
            txn.audit(&who, "purge", &detail)
        };
        store.submit(Group::Now, end).await?;
        for _ in 0..SETTLE_TRIES {
            if store.settle().await? {
                self.phase = Phase::Done;
                return Ok(());
            }
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
        Err(PurgeError::Reader)
    }

    /// As the store keeps it while it runs.
    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What is asked, for the audit.
    fn words(&self) -> String {
        let what = match (&self.asset, self.before_ms) {
            (Some(asset), _) => format!("asset {asset}"),
            (None, Some(before_ms)) => format!("before {}", crate::wire::rfc3339(before_ms)),
            (None, None) => String::new(),
        };
        format!("{what}{}", if self.unsent { ", unsent too" } else { "" })
    }
}

/// The target of an asset; one that only archives tell of goes by the name that was given.
async fn named(store: &Store, asset: &str) -> Result<Target, PurgeError> {
    let name = asset.to_owned();
    if let Some(target) = store.read(move |reader| reader.target(&name)).await? {
        return Ok(target);
    }
    if !in_archive(store, asset).await? {
        return Err(PurgeError::Unknown(asset.to_owned()));
    }
    let names = BTreeSet::from([asset.to_owned()]);
    Ok(Target { needles: vec![asset.to_owned()], names, ..Target::default() })
}

/// What is known of assets from before the log, without what is older than the target's time; none: nothing of it is left.
fn folded(reader: &Reader<'_>, target: &Target) -> Look<Vec<(String, Option<String>)>> {
    let Some(before_ms) = target.before_ms else { return Ok(Vec::new()) };
    let from_ms = reader.history_from()?.max(before_ms);
    let fold = |(asset, told): (String, String)| {
        let rebuild = Rebuild::new(vec![(asset.clone(), told)], std::collections::BTreeMap::new());
        let is_old = rebuild.asset(&asset).is_none_or(|state| state.ts_ms < before_ms);
        let left = if is_old { None } else { rebuild.fold(from_ms).into_iter().next().map(|(_, told)| told) };
        (asset, left)
    };
    Ok(reader.all_told()?.into_iter().map(fold).collect())
}

/// Whether a line of an archive goes.
fn is_meant(target: &Target, receivers: &BTreeSet<String>, entry: &Entry, line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Line {
        asset: Option<String>,
        ts_ms: Option<UnixMs>,
        received_ms: Option<UnixMs>,
        source: Option<String>,
        bytes_hex: Option<String>,
        detail: Option<String>,
        note: Option<String>,
    }
    // What cannot be read was not written by waypost; it stays.
    let Ok(line) = serde_json::from_slice::<Line>(line) else { return false };
    match entry.what.as_str() {
        archive::EVENTS => target.is_meant(line.asset.as_deref(), line.ts_ms.unwrap_or(i64::MAX)),
        "letters" => {
            let texts = [line.detail, line.note].into_iter().flatten();
            texts.into_iter().any(|text| target.is_quoted(text.as_bytes()))
                || target.is_quoted(&unhexed(&line.bytes_hex.unwrap_or_default()))
                || line.source.is_some_and(|source| receivers.contains(&source))
                || target.before_ms.is_some_and(|before| line.received_ms.is_some_and(|at| at < before))
        }
        _ => false,
    }
}

fn unhexed(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits.filter_map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}

/// Whether an archive still tells of an asset.
async fn in_archive(store: &Store, asset: &str) -> Result<bool, PurgeError> {
    let (folder, asset) = (archive::folder(store.path()), asset.to_owned());
    on_files(move || {
        let target = Target { names: BTreeSet::from([asset]), ..Target::default() };
        for entry in archive::entries(&folder)? {
            if archive::any(&folder, &entry, |line| is_meant(&target, &BTreeSet::new(), &entry, line))? {
                return Ok(true);
            }
        }
        Ok(false)
    })
    .await
}

async fn on_files<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, PurgeError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other);
    done.and_then(|done| done).map_err(PurgeError::Archive)
}

impl Purge {
    /// The sources whose captures go: of an asset, and of a time that the last minutes belong to.
    #[must_use]
    pub fn captures(&self, now_ms: UnixMs) -> &BTreeSet<String> {
        static NONE: BTreeSet<String> = BTreeSet::new();
        let recent = self.before_ms.is_none_or(|before_ms| before_ms > now_ms - CAPTURE_MS);
        if recent { &self.sources } else { &NONE }
    }
}

/// Removes the captures that are kept in files, of a node that does not run.
///
/// # Errors
/// As the disk says.
pub fn remove_captures(store_dir: &Path, sources: &BTreeSet<String>) -> std::io::Result<()> {
    for source in sources {
        match std::fs::remove_file(store_dir.join("captures").join(format!("{source}.ring"))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
