//! A copy put in the place of the store: looked at first, prepared beside it, and named last. What was there goes to the quarantine.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::clock::Clock;
use crate::domain::{Lane, Seq, UnixMs};
use crate::health::wedge;

use super::error::{Result, StoreError};
use super::mark::{Found, Mark};
use super::opening::lock;
use super::quarantine::Case;
use super::schema::CHECK_STEPS;
use super::settle::Restored;
use super::{outbox, schema};

/// What the new store is called until it is in its place.
const DRAFT: &str = "waypost.db.restoring";
/// Bytes copied between two looks at whether to go on.
const PIECE: usize = 1 << 20;
/// Deletions that are named.
const PURGES_MAX: i64 = 20;
/// What SQLite keeps beside a database and belongs to it alone.
const COMPANIONS: [&str; 2] = ["waypost.db-wal", "waypost.db-shm"];

/// How one file stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// The life it is of, 16 hex digits.
    pub epoch: String,
    /// Its newest event.
    pub head: Seq,
    /// Events in it.
    pub events: i64,
    /// `site/node` that wrote it last.
    pub node: String,
    /// When it was begun to be written last. UTC ms
    pub run_ms: UnixMs,
    /// The newest entry of its audit.
    pub audited: i64,
}

/// What a restore would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The copy.
    pub copy: Sketch,
    /// The store that is there; none when there is none.
    pub present: Option<Present>,
    /// The highest seq that anybody knows: the new life goes on after it.
    pub top: Seq,
}

/// The store that would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Present {
    /// It can be read.
    Sound {
        /// How it stands.
        sketch: Sketch,
        /// Events in it that are newer than the copy.
        newer: i64,
        /// Of those, what the platform has not acknowledged.
        unsent: i64,
        /// What a person deleted from it after the copy was made, as the audit names it: it comes back.
        purges: Vec<String>,
    },
    /// It cannot.
    Damaged(String),
}

/// A restore in hand: under the store's lock, with the copy beside the store. Dropped, it leaves all as it was.
pub struct Restoring {
    dir: PathBuf,
    plan: Plan,
    _lock: File,
}

impl Restoring {
    /// Copies `from` beside the store in `dir` and looks at both. `name` is how a person calls it, `told` hears how many bytes are
    /// copied of how many; `asked` turning true ends it. None: it was ended.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while a daemon runs; [`StoreError::Foreign`] and [`StoreError::Newer`] when the file is not to be used; the others as the disk says. Nothing has changed then.
    pub fn begin(
        dir: &Path,
        from: &mut File,
        name: &Path,
        asked: &Arc<AtomicBool>,
        mut told: impl FnMut(u64, u64),
    ) -> Result<Option<Self>> {
        let lock = lock(dir)?;
        let mut restoring = Self { dir: dir.to_owned(), plan: Plan::default(), _lock: lock };
        let goes_on = |done, of| {
            told(done, of);
            !asked.load(Ordering::Relaxed)
        };
        if !copy(from, name, &restoring.draft(), goes_on)? {
            return Ok(None);
        }
        let copy = match restoring.look_at_copy(name, asked) {
            Err(StoreError::CutOff) => return Ok(None),
            looked => looked.map_err(|error| error.about(name))?,
        };
        let mark = if let Found::Mark(mark) = Mark::read(dir) { Seq(mark.seq) } else { Seq(0) };
        let present = present(&dir.join("waypost.db"), &copy);
        let head = if let Some(Present::Sound { sketch, .. }) = &present { sketch.head } else { Seq(0) };
        let top = copy.head.max(head).max(mark);
        restoring.plan = Plan { copy, present, top };
        Ok(Some(restoring))
    }

    /// What it would do.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Puts the copy in the place of the store; its next opening begins a new life of it, and says that `by` asked for it.
    /// Answers where the old one is now; none when there was none. Until the copy has its name, the old one has it.
    ///
    /// # Errors
    /// As the disk says. The old store is in its place then, unless it was damaged and is in the quarantine.
    pub fn finish(self, by: &str, clock: &Clock) -> Result<Option<PathBuf>> {
        let draft = self.draft();
        let conn = schema::open_writer(&draft)?;
        let (folder, is_new) = self.folder(clock.now().wall_ms);
        let restored = Restored { by: by.to_owned(), top: self.plan.top.0, folder: folder.clone() };
        restored.note(&conn).map_err(|e| StoreError::of(&draft, &e))?;
        drop(conn);
        if side(&draft, "-wal").exists() {
            return Err(disk(&draft, "its log could not be put into it; another process has it open"));
        }
        let synced = File::open(&draft).and_then(|file| file.sync_all());
        synced.map_err(|error| disk(&draft, error))?;
        wedge::point("restore-copied");
        let kept = self.set_aside(&folder, is_new).map_err(|error| disk(&folder, error))?;
        let store = self.dir.join("waypost.db");
        wedge::point("restore-aside");
        fs::rename(&draft, &store).and_then(|()| sync(&self.dir)).map_err(|error| disk(&store, error))?;
        wedge::point("restore-placed");
        Ok(kept.then_some(folder))
    }

    fn draft(&self) -> PathBuf {
        self.dir.join(DRAFT)
    }

    fn look_at_copy(&self, name: &Path, asked: &Arc<AtomicBool>) -> Result<Sketch> {
        let draft = self.draft();
        let err = |e: rusqlite::Error| StoreError::of(&draft, &e);
        let foreign = |cause: &str| StoreError::Foreign { path: name.to_owned(), cause: cause.to_owned() };
        let mut conn = Connection::open(&draft).map_err(err)?;
        let ours =
            "select count(*) from sqlite_schema where name in ('migrations', 'meta', 'outbox', 'ledger', 'runs')";
        match conn.query_row(ours, [], |row| row.get::<_, i64>(0)) {
            Ok(5) => {}
            Ok(_) => return Err(foreign("it is another kind of database")),
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {
                return Err(foreign("it is no database"));
            }
            Err(error) => return Err(foreign(&format!("it is damaged ({error})"))),
        }
        let ends = Arc::clone(asked);
        conn.progress_handler(CHECK_STEPS, Some(move || ends.load(Ordering::Relaxed))).map_err(err)?;
        let fault: String = conn.pragma_query_value(None, "integrity_check", |row| row.get(0)).map_err(err)?;
        if fault != "ok" {
            return Err(foreign(&format!("it is damaged ({fault})")));
        }
        drop(conn);
        // Brings its schema up to date, and refuses one that is newer or somebody else's.
        let conn = schema::open_writer(&draft)?;
        sketch(&conn).map_err(err)
    }

    /// The folder of the quarantine for what was there, and whether it is to be made.
    fn folder(&self, now_ms: UnixMs) -> (PathBuf, bool) {
        let case = Case::unfinished(&self.dir).map(|case| (case.folder, false));
        case.unwrap_or_else(|| (free_name(&self.dir.join("quarantine"), now_ms), true))
    }

    /// Gives the store that is there a second name in the quarantine, and moves there what belongs to it. Its own name goes when
    /// the new one takes it. Answers whether there was one; the folder is there in any case: it stands for the restore.
    fn set_aside(&self, folder: &Path, is_new: bool) -> io::Result<bool> {
        if let Some(case) = Case::unfinished(&self.dir).filter(|_| !is_new) {
            // A salvage that was cut off: what is left of the damaged store belongs to the rest of it.
            case.fill(&self.dir)?;
            return Ok(true);
        }
        let parent = self.dir.join("quarantine");
        fs::create_dir_all(folder)?;
        let store = self.dir.join("waypost.db");
        if !store.exists() {
            sync(&parent)?;
            return Ok(false);
        }
        if let Some(Present::Sound { .. }) = self.plan.present {
            // What is in the log is put into the file: then the file is all of it.
            let conn = Connection::open(&store).map_err(io::Error::other)?;
            let busy = conn.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0));
            if busy.map_err(io::Error::other)? {
                return Err(io::Error::other("another process has the store open; end it (fuser waypost.db)"));
            }
        }
        fs::hard_link(&store, folder.join("waypost.db"))?;
        sync(folder)?;
        sync(&parent)?;
        for companion in COMPANIONS {
            match fs::rename(self.dir.join(companion), folder.join(companion)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        sync(folder)?;
        sync(&self.dir)?;
        Ok(true)
    }
}

impl Drop for Restoring {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm", "-journal"] {
            // Most were never there or have their name by now; what is left over has a name that says what it is.
            drop(fs::remove_file(side(&self.draft(), end)));
        }
    }
}

impl Plan {
    /// Events that were numbered after the copy was made.
    #[must_use]
    pub const fn lost(&self) -> i64 {
        self.top.0 - self.copy.head.0
    }
}

fn sketch(conn: &Connection) -> rusqlite::Result<Sketch> {
    let last = "select site || '/' || node, started_ms from runs order by run desc limit 1";
    let (node, run_ms) = conn.query_row(last, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?.unwrap_or_default();
    let head = "select coalesce(max(n), 0) from ledger where scope = 'head' and outcome = 'seq'";
    Ok(Sketch {
        epoch: conn.query_row("select v from meta where k = 'db_epoch'", [], |row| row.get(0))?,
        head: conn.query_row(head, [], |row| row.get(0).map(Seq))?,
        events: conn.query_row("select count(*) from outbox", [], |row| row.get(0))?,
        node,
        run_ms,
        audited: conn.query_row("select coalesce(max(entry), 0) from audit", [], |row| row.get(0))?,
    })
}

/// What was deleted for good since an entry of the audit, at most [`PURGES_MAX`].
fn purges(conn: &Connection, after: i64) -> rusqlite::Result<Vec<String>> {
    let sql = "select distinct substr(detail, 8) from audit where entry > ?1 and what = 'purge' and detail like 'begun: %' limit ?2";
    conn.prepare(sql)?.query_map((after, PURGES_MAX), |row| row.get(0))?.collect()
}

/// The store that is there, held against a copy.
fn present(path: &Path, copy: &Sketch) -> Option<Present> {
    let head = copy.head;
    path.exists().then(|| {
        let look = || {
            // It cannot put the log into the file when it closes: to look changes nothing.
            let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let newer = conn.query_row("select count(*) from outbox where seq > ?1", [head.0], |row| row.get(0))?;
            let mut unsent = 0;
            if conn.prepare("select 1 from ledger where scope = 'head' and outcome = 'uplink' and n = 1")?.exists([])? {
                for lane in Lane::ALL {
                    let after = outbox::cursor(&conn, lane)?.max(head);
                    let sql = "select count(*) from outbox where seq > ?1 and (kind = 1) = ?2";
                    unsent += conn.query_row(sql, (after.0, lane == Lane::Fix), |row| row.get::<_, i64>(0))?;
                }
            }
            let purges = purges(&conn, copy.audited)?;
            Ok::<_, rusqlite::Error>(Present::Sound { sketch: sketch(&conn)?, newer, unsent, purges })
        };
        look().unwrap_or_else(|error| Present::Damaged(error.to_string()))
    })
}

/// Answers false when it was ended.
fn copy(from: &mut File, name: &Path, draft: &Path, mut told: impl FnMut(u64, u64) -> bool) -> Result<bool> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let unread =
        |error: io::Error| StoreError::Foreign { path: name.to_owned(), cause: format!("it cannot be read ({error})") };
    let unwritten = |error: io::Error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { path: draft.to_owned() },
        _ => disk(draft, error),
    };
    let total = from.metadata().map_err(unread)?.len();
    if total == 0 {
        return Err(StoreError::Foreign { path: name.to_owned(), cause: "it is empty".to_owned() });
    }
    // What a restore that was cut off left behind is not needed; a link that somebody put there is not followed.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritten(error)),
        _ => {}
    }
    let mut to = File::options().write(true).create_new(true).mode(0o640).open(draft).map_err(unwritten)?;
    let (mut piece, mut done) = (vec![0; PIECE], 0);
    loop {
        let n = from.read(&mut piece).map_err(unread)?;
        if n == 0 {
            return Ok(true);
        }
        to.write_all(&piece[..n]).map_err(unwritten)?;
        done += n as u64;
        if !told(done, total) {
            return Ok(false);
        }
    }
}

/// A folder that is not there yet, named after the time.
fn free_name(parent: &Path, now_ms: UnixMs) -> PathBuf {
    let at = jiff::Timestamp::from_millisecond(now_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let stem = format!("{}-restored", at.strftime("%Y%m%dT%H%M%SZ"));
    let named = |n: u32| parent.join(if n == 0 { stem.clone() } else { format!("{stem}-{n}") });
    (0..).map(named).find(|path| !path.exists()).unwrap_or_else(|| parent.join(&stem))
}

fn side(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn disk(path: &Path, cause: impl ToString) -> StoreError {
    StoreError::Disk { path: path.to_owned(), cause: cause.to_string() }
}
