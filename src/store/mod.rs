//! The truth: a SQLite file with one writer and many readers. Only this room knows SQL.
//!
//! **Invariant:** what one transaction says is there together or not at all: events, places, counts, letters, log lines.

mod backup;
mod base;
mod chain;
mod commands;
mod delivery;
mod digest;
mod error;
mod files;
mod history;
mod jobs;
mod journal;
mod keep;
mod ledger;
mod letters;
mod lost;
mod machine;
mod mark;
mod mend;
mod opening;
mod outbox;
mod pages;
mod places;
mod prove;
mod purge;
mod quarantine;
mod quota;
mod readers;
mod recount;
mod register;
mod restore;
mod retry;
mod salvage;
mod schema;
mod settle;
mod sheets;
mod shelf;
mod times;
mod told;
mod trouble;
mod txn;
mod walk;
mod writer;
mod zones;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::domain::{AssetState, Cursor, Epoch, EventId, Lane, Row, Seq, Standing, Thing, UnixMs};

pub use backup::{Copied, copy};
pub use commands::{Command, Confirmed, Replay};
pub use delivery::{AHEAD_MAX, Acked, Delivery, Way};
pub use error::{Result, StoreError};
pub use files::{Files, is_disk_shut, written_bytes};
pub use history::{FenceMark, LastSaid, Told, Unnamed};
pub use jobs::{Asked, Task};
pub use journal::{Entry, Lines, Log, Outbound};
pub use keep::{Leaving, Left, Moved, Receipt, Slice, Span};
pub use ledger::{Gone, Ledger, Line, Outcome, SourceLedger};
pub use letters::{OPEN_MAX, Origin};
pub use lost::{Lost, Past};
pub use machine::{Fact, standing_finding};
pub use outbox::{Acknowledged, Damaged, Filter, Page, SCAN_MAX, StoredFix, Verified};
pub use places::Window;
pub use purge::{Meant, Purged, Target};
pub use quota::{BALLAST_BYTES, Fill, Limits};
#[cfg(test)]
pub(crate) use recount::assert_recounted;
pub use recount::{Account, Difference, Rows, recount};
pub use register::{Listed, REGISTER_MAX};
pub use restore::{Plan, Present, Restoring, Sketch};
pub use retry::{Act, Kept, RESTORE_MS};
pub use settle::Finding;
pub use shelf::{LettersBefore, Parting, Shelf, Written};
pub use told::Named;
pub use txn::{Append, Draft, Txn};
pub use walk::{Closing, LetterCount, Mark, Stretch};
pub use writer::{Commit, Group, WriterSeat};
pub use zones::KeptPlan;

use quota::Quota;
use readers::Readers;

/// The file whose lock says that the store is in use.
const LOCK: &str = "waypost.lock";
/// Read connections open at once.
const READERS: usize = 4;

use trouble::Trouble;

/// What the store must know of the node to write under its name.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `node.site`
    pub site: String,
    /// `node.id`
    pub node: String,
    /// The kernel's boot id, or what stands for it.
    pub boot_id: String,
    /// Whether there is an uplink: new events are unsent, else local.
    pub uplink: bool,
    /// Whether a new uplink leaves out what is kept already.
    pub skip_kept: bool,
    /// What tells the machine from others; empty when nothing does.
    pub machine: Vec<Fact>,
}

/// The open store. Clones share it.
#[derive(Clone)]
pub struct Store {
    path: Arc<PathBuf>,
    door: writer::Door,
    readers: Arc<Readers>,
    quota: Quota,
    head: watch::Receiver<Seq>,
    resends: watch::Receiver<u64>,
    standing: watch::Receiver<Standing>,
    epoch: Epoch,
    boot: i64,
    newest_trusted_ms: UnixMs,
    turn: Arc<tokio::sync::Mutex<()>>,
    settling: Arc<Mutex<()>>,
    findings: Arc<[Finding]>,
    trouble: Trouble,
    /// The event up to which the mark goes, and when it was written; none: it could not be.
    marked: Arc<Mutex<Option<(Seq, Instant)>>>,
    _lock: Arc<File>,
}

impl Store {
    /// Opens or creates the store in `dir`, migrates it and begins a run. The seat is the writer, to be run by a worker.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it; [`StoreError::Newer`] when a newer waypost wrote it;
    /// the others as the disk says.
    pub fn open(
        dir: &Path,
        who: &Identity,
        clock: &Clock,
        on_commit: impl Fn(Commit) + Send + Sync + 'static,
    ) -> Result<(Self, WriterSeat)> {
        let path = dir.join("waypost.db");
        let lock = opening::lock(dir)?;
        let quota = Quota::none(&path);
        let begun = opening::open(dir, &path, who, clock, &quota)?;
        let (head_tx, head) = watch::channel(begun.head);
        let (door, rx) = writer::door();
        let (resends_tx, resends) = watch::channel(0);
        let (standing_tx, standing) = watch::channel(begun.standing);
        let wakes = writer::Wakes { head: head_tx, resends: resends_tx, standing: standing_tx };
        let trouble = Trouble::new(dir);
        let settling = Arc::<Mutex<()>>::default();
        let seat =
            WriterSeat::new(path.clone(), rx, wakes, begun.run, clock.clone(), Arc::new(on_commit), trouble.clone())
                .under(quota.clone())
                .beside(Arc::clone(&settling));
        let store = Self {
            path: Arc::new(path),
            door,
            readers: Arc::new(Readers::new(READERS)),
            quota,
            head,
            resends,
            standing,
            epoch: begun.epoch,
            boot: begun.boot,
            newest_trusted_ms: begun.newest_trusted_ms,
            turn: Arc::default(),
            settling,
            findings: begun.findings.into(),
            trouble,
            marked: Arc::new(Mutex::new(begun.is_marked.then(|| (begun.head, Instant::now())))),
            _lock: Arc::new(lock),
        };
        Ok((store, seat))
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The life of this store.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The number of this boot.
    #[must_use]
    pub const fn boot(&self) -> i64 {
        self.boot
    }

    /// The newest trusted time that the log held when it was opened, 0 without one: a true clock is not before it.
    #[must_use]
    pub const fn newest_trusted_ms(&self) -> UnixMs {
        self.newest_trusted_ms
    }

    /// What was found at the opening and a person should know.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Says why the store cannot go on in this process, when that happens: its file is damaged, or is no longer where it was.
    /// The process should end; the next opening sets it right.
    #[must_use]
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.watch()
    }

    /// Says that the log grew; carries only how far. Whoever wakes reads the rows.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Seq> {
        self.head.clone()
    }

    /// Says that dead events are to be sent again; carries only a number that grows. Whoever wakes reads the rows.
    #[must_use]
    pub fn resends(&self) -> watch::Receiver<u64> {
        self.resends.clone()
    }

    /// Whether the node may speak under its name; wakes when that changes.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// The cursor of the newest event.
    #[must_use]
    pub fn cursor_now(&self) -> Cursor {
        Cursor { epoch: self.epoch, seq: *self.head.borrow() }
    }

    /// Runs `work` in the next transaction and answers after its commit. It may run twice (alone, when its group failed)
    /// and must leave no trace outside the transaction.
    ///
    /// # Errors
    /// As [`StoreError`] says; nothing of it was kept then.
    pub async fn submit<T, F>(&self, group: Group, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Txn<'_>) -> Result<T> + Send + 'static,
    {
        self.door.submit(group, work).await
    }

    /// Runs `look` on a read connection, on a thread that may block.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub async fn read<T, F>(&self, look: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Reader<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let permit = Arc::clone(&self.readers.permits).acquire_owned().await.map_err(|_| StoreError::Gone)?;
        let (readers, path) = (Arc::clone(&self.readers), Arc::clone(&self.path));
        let task = tokio::task::spawn_blocking(move || {
            let answer = readers.with(&path, look);
            drop(permit);
            answer
        });
        let answer = task.await.map_err(|_| StoreError::Gone)?;
        self.trouble.look(&answer);
        answer
    }

    /// As [`Store::read`], on this thread: for tests without a runtime.
    #[cfg(test)]
    pub(crate) fn read_here<T>(&self, look: impl FnOnce(&Reader<'_>) -> rusqlite::Result<T>) -> Result<T> {
        self.readers.with(&self.path, look)
    }
}

/// A store that nobody runs, opened to be looked at under its lock.
pub struct Closed {
    path: PathBuf,
    readers: Readers,
    _lock: File,
}

impl Closed {
    /// Takes the lock of the store in `dir`; changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while a daemon runs it; [`StoreError::Missing`] when there is none.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("waypost.db");
        if !path.exists() {
            return Err(StoreError::Missing { path });
        }
        let lock = opening::lock(dir)?;
        Ok(Self { path, readers: Readers::new(1), _lock: lock })
    }

    /// Runs `look` on a read connection.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub fn read<T>(&self, look: impl FnOnce(&Reader<'_>) -> rusqlite::Result<T>) -> Result<T> {
        self.readers.with(&self.path, look)
    }

    /// Runs `work` in a transaction of its own. Whoever asks is the owner of the file.
    ///
    /// # Errors
    /// As [`StoreError`] says; nothing of it was kept then.
    pub fn change<T>(&self, clock: &Clock, work: impl FnOnce(&mut Txn<'_>) -> Result<T>) -> Result<T> {
        let err = |e: rusqlite::Error| StoreError::of(&self.path, &e);
        let mut conn = schema::open_writer(&self.path)?;
        let run: i64 = conn.query_row("select max(run) from runs", [], |row| row.get(0)).map_err(err)?;
        let heads = txn::Heads::read(&self.path, &conn)?;
        let sql = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(err)?;
        let mut txn = Txn::new(&self.path, &sql, heads, run, clock.now());
        let value = work(&mut txn)?;
        txn.finish()?;
        sql.commit().map_err(err)?;
        opening::leave_mark(&self.path, &conn);
        Ok(value)
    }
}

/// A read connection for the time of one look.
pub struct Reader<'a> {
    conn: &'a Connection,
}

/// The answer of one look.
pub type Look<T> = rusqlite::Result<T>;

impl Reader<'_> {
    /// The events after `after`, oldest first.
    ///
    /// # Errors
    /// As SQLite says; the store turns it into a [`StoreError`].
    pub fn after(&self, after: Seq, limit: usize, filter: &Filter) -> Look<Page> {
        outbox::after(self.conn, after, limit, filter)
    }

    /// The events before `before`, newest first.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn before(&self, before: Seq, limit: usize, filter: &Filter) -> Look<Page> {
        outbox::before(self.conn, before, limit, filter)
    }

    /// The next events of a lane, in seq order.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn lane_after(&self, lane: Lane, after: Seq, limit: usize) -> Look<Page> {
        outbox::lane_after(self.conn, lane, after, limit)
    }

    /// Holds the events after `after`, at most `limit`, against the digests they were written with.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn verify(&self, after: Seq, limit: usize) -> Look<Verified> {
        outbox::verify(self.conn, after, limit)
    }

    /// One event by its name.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn event(&self, id: EventId) -> Look<Option<Row>> {
        outbox::by_id(self.conn, id)
    }

    /// The oldest seq still in the log; the head plus one when it is empty.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn oldest(&self) -> Look<Seq> {
        outbox::oldest(self.conn)
    }

    /// Where a lane's cursor stands.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn cursor(&self, lane: Lane) -> Look<Seq> {
        outbox::cursor(self.conn, lane)
    }

    /// The ledger.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn ledger(&self) -> Look<Ledger> {
        Ledger::read(self.conn)
    }

    /// One asset as it is now.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn asset(&self, asset: &str) -> Look<Option<AssetState>> {
        places::one(self.conn, asset)
    }

    /// The turns of an asset that hold, newest first, at most `limit`: its history without what was voided.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn turns(&self, asset: &str, limit: usize) -> Look<Vec<Told>> {
        history::turns(self.conn, asset, limit)
    }

    /// The last state of an asset's fence, as text, and the receiver that moved it.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn carrier(&self, asset: &str) -> Look<(Option<String>, Option<String>)> {
        history::carrier(self.conn, asset)
    }

    /// The assets, registered first, at most `limit`; and how many there are.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn assets(&self, limit: usize) -> Look<(Vec<AssetState>, i64)> {
        places::list(self.conn, limit)
    }

    /// What the register says of an asset.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn thing(&self, asset: &str) -> Look<Option<Thing>> {
        register::thing(self.conn, asset)
    }

    /// The whole register, by id.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn things(&self) -> Look<Vec<Thing>> {
        register::things(self.conn)
    }

    /// The keys of a registered asset's codes.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn keys_of(&self, asset: &str) -> Look<Vec<String>> {
        register::keys(self.conn, asset)
    }

    /// Assets that one of these words is part of, registered first, at most `limit`; and how many there are.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn find_assets(&self, words: &[String], limit: usize) -> Look<(Vec<Listed>, i64)> {
        register::find(self.conn, words, limit)
    }

    /// Lines of a log before an entry, newest first, at most `limit`; and the entry before which there may be more.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn log(&self, log: Log, before: i64, limit: usize, of: &Lines) -> Look<(Vec<Entry>, Option<i64>)> {
        journal::list(self.conn, log, before, limit, of)
    }
}

#[cfg(test)]
mod restore_tests;
#[cfg(test)]
mod salvage_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod machine_tests;
