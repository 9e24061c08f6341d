//! The one writer: a thread that owns the write connection and groups what waits into one transaction.
//! An answer is given only after the commit returned; whoever gets none may ask again.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rusqlite::hooks::Wal;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::clock::Clock;
use crate::domain::{Seq, Standing};
use crate::health::{Ctx, Outcome, wedge};

use super::error::{Result, StoreError};
use super::opening;
use super::quota::Quota;
use super::schema;
use super::trouble::Trouble;
use super::txn::{Heads, Txn};

/// Requests that may wait for the writer or be with it; more make the asker wait.
const QUEUE: usize = 256;
/// Requests that share one commit at most.
const GROUP_MAX: usize = 128;
/// How long one transaction may take before the writer counts as stalled: a card may pause for seconds.
const COMMIT_BUDGET: Duration = Duration::from_secs(20);

/// How long the writer waits for a lock that somebody else holds, a person's shell perhaps; what cannot be written then is
/// answered, so that a scanner hears of it within seconds. A checkpoint holds none that it waits for.
const LOCK_WAIT: Duration = Duration::from_millis(400);
/// Between two looks at whether the store has been settled.
const SETTLE_LOOK: Duration = Duration::from_millis(10);
/// Between two looks at whether the files are still there.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long the writer waits before it looks whether it is to stop.
const IDLE: Duration = Duration::from_millis(250);

/// How soon a request wants its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// At once; what waits goes with it.
    Now,
    /// Within this, to share a commit with others.
    Within(Duration),
}

/// What the writer runs: a piece of work inside the transaction, and its answer after the commit.
trait Job: Send {
    fn run(&mut self, txn: &mut Txn<'_>) -> Result<()>;
    fn answer(self: Box<Self>, result: Result<()>);
}

struct Closure<T, F> {
    work: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnMut(&mut Txn<'_>) -> Result<T> + Send> Job for Closure<T, F> {
    fn run(&mut self, txn: &mut Txn<'_>) -> Result<()> {
        self.value = Some((self.work)(txn)?);
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<()>) {
        let Self { value, reply, .. } = *self;
        let answer = result.and_then(|()| value.ok_or(StoreError::Gone));
        // The asker may have gone away; what was committed stays committed, and it will find it when it looks.
        drop(reply.send(answer));
    }
}

pub(super) struct Request {
    job: Box<dyn Job>,
    due: Instant,
    /// Its place, given back when it is answered or dropped.
    _place: OwnedSemaphorePermit,
}

/// The door to the writer. Clones share it. Who finds no place waits in line for one.
#[derive(Clone)]
pub(super) struct Door {
    tx: SyncSender<Request>,
    places: Arc<Semaphore>,
}

impl Door {
    /// Runs `work` inside the next transaction and answers after its commit.
    ///
    /// `work` may run more than once: when its group fails it is tried alone. It must leave no trace outside `txn`.
    pub(super) async fn submit<T, F>(&self, group: Group, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Txn<'_>) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let wait = match group {
            Group::Now => Duration::ZERO,
            Group::Within(wait) => wait,
        };
        let due = Instant::now() + wait;
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| StoreError::Gone)?;
        // There are as many places as the channel holds: whoever has one finds room.
        let request = Request { job: Box::new(Closure { work, value: None, reply }), due, _place: place };
        self.tx.try_send(request).map_err(|_| StoreError::Gone)?;
        answer.await.unwrap_or(Err(StoreError::Gone))
    }
}

/// How the writer tells that there is something to read.
pub(super) struct Wakes {
    /// The log grew to here.
    pub(super) head: watch::Sender<Seq>,
    /// Events behind a lane's cursor wait again.
    pub(super) resends: watch::Sender<u64>,
    /// Whether the node may speak under its name.
    pub(super) standing: watch::Sender<Standing>,
}

/// What the writer thread needs, kept so that it can be started again after a panic.
pub struct WriterSeat {
    path: PathBuf,
    rx: Arc<Mutex<Receiver<Request>>>,
    wakes: Wakes,
    run: i64,
    clock: Clock,
    on_commit: Arc<dyn Fn(Commit) + Send + Sync>,
    trouble: Trouble,
    quota: Option<Quota>,
    /// Held by whoever of this process locks the database beside the writer, which waits for that as long as it takes.
    settling: Arc<Mutex<()>>,
}

/// The write connection, and what is known by it.
struct Pen {
    conn: Connection,
    heads: Heads,
    files: Files,
    /// The limit of pages that it was told.
    file_pages: i64,
    /// It failed at the disk's hands: what it believes of its pages need not be so.
    broken: bool,
    /// Pages in the write-ahead log, as of the last commit.
    wal_pages: Arc<AtomicI32>,
    /// The log could not be copied back the last time.
    is_stuck: bool,
}

impl Pen {
    fn take_up(path: &Path) -> Result<Self> {
        let err = |e: rusqlite::Error| StoreError::of(path, &e);
        let mut conn = schema::open_writer(path)?;
        conn.busy_timeout(LOCK_WAIT).map_err(err)?;
        let wal_pages = Arc::new(AtomicI32::new(0));
        let told = Arc::clone(&wal_pages);
        // In the place of SQLite's own, which copies back within the commit that made the log too long: its scan would wait.
        let hook = move |_: &mut Wal, pages| {
            told.store(pages, Ordering::Relaxed);
            Ok(())
        };
        conn.wal_hook(Some(hook)).map_err(err)?;
        let heads = Heads::read(path, &conn)?;
        let files = Files::of(path);
        Ok(Self { conn, heads, files, file_pages: i64::MAX, broken: false, wal_pages, is_stuck: false })
    }

    /// Copies a write-ahead log that is long enough back into the database, as far as no reader needs it.
    fn copy_back(&mut self) {
        if self.broken || self.wal_pages.load(Ordering::Relaxed) < schema::WAL_PAGES {
            return;
        }
        self.wal_pages.store(0, Ordering::Relaxed);
        let done = self.conn.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(()));
        if let (Err(cause), false) = (&done, self.is_stuck) {
            // All of it is in the log, which grows until this goes well.
            tracing::warn!(%cause, "the write-ahead log could not be copied into the database; tried again after each commit");
        }
        self.is_stuck = done.is_err();
    }
}

/// What one commit was like.
#[derive(Clone, Copy, Debug)]
pub struct Commit {
    /// How long the whole transaction took.
    pub took: Duration,
    /// Events appended.
    pub events: usize,
    /// Whether it could be written.
    pub ok: bool,
}

pub(super) fn door() -> (Door, Receiver<Request>) {
    let (tx, rx) = sync_channel(QUEUE);
    (Door { tx, places: Arc::new(Semaphore::new(QUEUE)) }, rx)
}

impl WriterSeat {
    pub(super) fn new(
        path: PathBuf,
        rx: Receiver<Request>,
        wakes: Wakes,
        run: i64,
        clock: Clock,
        on_commit: Arc<dyn Fn(Commit) + Send + Sync>,
        trouble: Trouble,
    ) -> Self {
        Self {
            path,
            rx: Arc::new(Mutex::new(rx)),
            wakes,
            run,
            clock,
            on_commit,
            trouble,
            quota: None,
            settling: Arc::default(),
        }
    }

    /// Keeps to a quota.
    pub(super) fn under(self, quota: Quota) -> Self {
        Self { quota: Some(quota), ..self }
    }

    /// Waits while somebody of this process settles the store.
    pub(super) fn beside(self, settling: Arc<Mutex<()>>) -> Self {
        Self { settling, ..self }
    }

    /// The writer's loop: waits for requests (a channel with a deadline), groups them, commits, answers.
    ///
    /// # Errors
    /// None: what fails is answered to whoever asked, and the connection is made anew for the next one.
    pub fn run(&self, ctx: &Ctx) -> Outcome {
        let rx = self.rx.lock().unwrap_or_else(PoisonError::into_inner);
        // One that cannot be had now is tried again for whoever asks, who is told the error then.
        let mut pen = Pen::take_up(&self.path).ok();
        let mut looked = Instant::now();
        loop {
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                pen.iter().for_each(|pen| self.in_place(pen));
            }
            let first = match rx.recv_timeout(ctx.beat.parked(IDLE)) {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) if ctx.stop.is_cancelled() => break,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let group = gather(&rx, first, ctx);
            ctx.beat.working(COMMIT_BUDGET);
            if pen.as_ref().is_none_or(|pen| pen.broken) {
                match Pen::take_up(&self.path) {
                    Ok(fresh) => pen = Some(fresh),
                    Err(error) => {
                        (self.on_commit)(Commit { took: Duration::ZERO, events: 0, ok: false });
                        group.into_iter().for_each(|request| request.job.answer(Err(error.clone())));
                        continue;
                    }
                }
            }
            while matches!(self.settling.try_lock(), Err(TryLockError::WouldBlock)) {
                std::thread::sleep(SETTLE_LOOK);
                ctx.beat.working(COMMIT_BUDGET);
            }
            if let Some(pen) = &mut pen {
                self.commit_group(pen, group, ctx);
                ctx.beat.working(COMMIT_BUDGET);
                pen.copy_back();
            }
        }
        if let Some(Pen { conn, .. }) = &pen
            && let Err(error) = self.close(conn)
        {
            tracing::warn!(%error, "the end of the run could not be noted; the next start looks the store through");
        }
        Ok(())
    }

    /// Looks whether the files are where they were opened. Where only the log is not, what it held is saved into the database.
    fn in_place(&self, pen: &Pen) {
        if let Err(error) = pen.files.in_place() {
            if self.trouble.watch().borrow().is_none()
                && let Err(cause) = pen.conn.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(()))
            {
                tracing::warn!(%cause, "what the write-ahead log held could not be saved into the database");
            }
            self.trouble.ring(&error);
        }
    }

    fn close(&self, conn: &Connection) -> rusqlite::Result<()> {
        if self.trouble.watch().borrow().is_some() {
            // How this run ended is for the next one to find out.
            return Ok(());
        }
        conn.execute("update runs set stopped = 'clean' where run = ?1", [self.run])?;
        // A reader may still be busy: then the WAL stays, which is as good.
        conn.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(()))?;
        opening::leave_mark(&self.path, conn);
        Ok(())
    }

    /// One transaction for all; when a statement fails, or there is no room for new events, one for each, so that a request
    /// harms nobody else. What fails for the disk's sake would fail again for each, and take as long each time.
    fn commit_group(&self, pen: &mut Pen, mut group: Vec<Request>, ctx: &Ctx) {
        match self.transact(pen, &mut group) {
            Err(StoreError::Statement { .. } | StoreError::Quota { .. } | StoreError::Undone) if group.len() > 1 => {
                for request in group {
                    ctx.beat.working(COMMIT_BUDGET);
                    let mut alone = vec![request];
                    let result = self.transact(pen, &mut alone);
                    self.answer(pen, alone, &result);
                }
            }
            result => self.answer(pen, group, &result),
        }
    }

    /// Answers; only then says that the process has to end, so that who asks still hears why.
    fn answer(&self, pen: &Pen, group: Vec<Request>, result: &Result<()>) {
        group.into_iter().for_each(|request| request.job.answer(result.clone()));
        if result.is_err() {
            self.trouble.look(result);
            self.in_place(pen);
        }
    }

    fn transact(&self, pen: &mut Pen, group: &mut [Request]) -> Result<()> {
        let begun = Instant::now();
        let (before, resends) = (pen.heads.seq, pen.heads.resends);
        let mut result = pen.files.in_place().and_then(|()| self.try_transact(pen, group));
        if matches!(result, Err(StoreError::Full { .. }))
            && self.quota.as_ref().is_some_and(|quota| quota.relieve(&pen.conn))
        {
            result = self.try_transact(pen, group);
        }
        if matches!(result, Err(StoreError::Undone)) {
            // Nothing was to be written, and nothing failed.
            return result;
        }
        let events = usize::try_from(pen.heads.seq.0 - before.0).unwrap_or(0);
        (self.on_commit)(Commit { took: begun.elapsed(), events, ok: result.is_ok() });
        if result.is_ok() && pen.heads.seq != before {
            self.wakes.head.send_replace(pen.heads.seq);
        }
        if result.is_ok() && pen.heads.resends != resends {
            self.wakes.resends.send_modify(|n| *n += 1);
        }
        if result.is_ok() {
            let now = pen.heads.standing;
            self.wakes.standing.send_if_modified(|standing| std::mem::replace(standing, now) != now);
        }
        result
    }

    fn try_transact(&self, pen: &mut Pen, group: &mut [Request]) -> Result<()> {
        let err = |e: rusqlite::Error| StoreError::of(&self.path, &e);
        if let Some(pages) = self.quota.as_ref().map(Quota::file_pages).filter(|pages| *pages != pen.file_pages) {
            // A file that is larger already stays so; SQLite then lets it grow no further.
            pen.conn.query_row(&format!("pragma max_page_count = {pages}"), [], |_| Ok(())).map_err(err)?;
            pen.file_pages = pages;
        }
        let done = self.commit(pen, group);
        // After a failed sync the pages in memory count as written when they are not: the next try is with fresh ones.
        pen.broken = matches!(done, Err(StoreError::Disk { .. }));
        pen.heads = done?;
        Ok(())
    }

    fn commit(&self, pen: &mut Pen, group: &mut [Request]) -> Result<Heads> {
        let err = |e: rusqlite::Error| StoreError::of(&self.path, &e);
        let sql = pen.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(err)?;
        let mut txn = Txn::new(&self.path, &sql, pen.heads.clone(), self.run, self.clock.now());
        txn.quota.clone_from(&self.quota);
        for request in group.iter_mut() {
            request.job.run(&mut txn)?;
        }
        let after = txn.finish()?;
        let grows = after.seq != pen.heads.seq;
        if grows {
            wedge::point("before-commit");
        }
        sql.commit().map_err(err)?;
        if grows {
            wedge::point("after-commit");
        }
        Ok(after)
    }
}

/// The files that the write connection has open. SQLite writes on into one that was deleted or replaced, and with the
/// last descriptor all of it is gone: what was answered `ok` too. With the lock another node could write beside this one.
struct Files(Vec<(PathBuf, (u64, u64))>);

impl Files {
    /// The database, its log and the lock as they are now, just opened.
    fn of(path: &Path) -> Self {
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        let all = [path.to_owned(), PathBuf::from(wal), path.with_file_name(super::LOCK)];
        Self(all.into_iter().filter_map(|path| identity(&path).map(|known| (path, known))).collect())
    }

    /// Refuses to write where nobody would find it again.
    fn in_place(&self) -> Result<()> {
        let gone = self.0.iter().find(|(path, known)| identity(path) != Some(*known));
        gone.map_or(Ok(()), |(path, _)| Err(StoreError::Moved { path: path.clone() }))
    }
}

/// Device and inode; none when there is no such file.
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Takes what waits, and waits for company while everything taken can.
fn gather(rx: &Receiver<Request>, first: Request, ctx: &Ctx) -> Vec<Request> {
    let mut due = first.due;
    let mut group = vec![first];
    while group.len() < GROUP_MAX {
        let left = due.saturating_duration_since(Instant::now());
        let next = if left.is_zero() || ctx.stop.is_cancelled() {
            rx.try_recv().ok()
        } else {
            rx.recv_timeout(ctx.beat.parked(left)).ok()
        };
        // No request means that the deadline came or the doors closed: commit what there is.
        let Some(request) = next else { break };
        due = due.min(request.due);
        group.push(request);
    }
    group
}
