//! A fresh store out of a damaged one. Events are proved one by one by their digests; of the small tables what SQLite still
//! reads is taken row by row. The fresh file is made beside and gets its name last: a cut begins again.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use crate::health::wedge;

use super::base::{self, BASE};
use super::error::{Result, StoreError};
use super::history;
use super::mark::Mark;
use super::pages::{MAGIC, Pages, RawRow};
use super::quarantine::{Came, Case};
use super::{Identity, schema};

/// What SQLite still reads of these is taken over; in an order in which nobody names what is not there yet.
const TABLES: [&str; 33] = [
    "meta",
    "machine",
    "traces",
    "past",
    "lost",
    "purged",
    "boots",
    "runs",
    "walls",
    "anchors",
    "spans",
    "zones",
    "assets",
    "asset_keys",
    "cursors",
    "commands",
    "ledger",
    "letters",
    "steps",
    "jobs",
    "places",
    "said",
    "turns",
    "voids",
    "fences",
    "base",
    "carriers",
    "windows",
    "sheets",
    "audit",
    "inbound_log",
    "outbound_log",
    "failure_log",
];
/// Between two words on how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Makes a fresh store of a damaged one, in place of it.
pub(super) fn salvage(dir: &Path, case: &Case, mark: Option<&Mark>, who: &Identity) -> Result<Came> {
    let (path, draft) = (dir.join("waypost.db"), dir.join("waypost.db.new"));
    clear(&draft)?;
    let begun = Instant::now();
    let made = make(&draft, case, mark, who);
    if made.is_err() {
        // What was made of it takes room that is short, perhaps: the next try begins anew.
        clear(&draft)?;
    }
    let came = made?;
    let disk = |e: std::io::Error| StoreError::Disk { path: path.clone(), cause: e.to_string() };
    File::open(&draft).and_then(|file| file.sync_all()).map_err(disk)?;
    wedge::point("salvage-made");
    fs::rename(&draft, &path).map_err(disk)?;
    wedge::point("salvage-placed");
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(disk)?;
    tracing::warn!(took_ms = millis(begun.elapsed()), "a fresh store was made of the damaged one");
    Ok(came)
}

fn make(draft: &Path, case: &Case, mark: Option<&Mark>, who: &Identity) -> Result<Came> {
    let err = |e: rusqlite::Error| StoreError::of(draft, &e);
    let mut conn = schema::open_writer(draft)?;
    // It has no name yet: what a power cut takes of it is made again.
    conn.pragma_update(None, "synchronous", "off").map_err(err)?;
    let mut came = Came::default();
    let txn = conn.transaction().map_err(err)?;
    let old = Old::open(case);
    if old.is_none() {
        tracing::error!("SQLite reads nothing of the damaged store; its events are read from the raw pages");
    }
    for table in TABLES {
        let whole = match &old {
            Some(old) => copy(&old.conn, &txn, table).map_err(err)?,
            None => false,
        };
        if !whole {
            came.torn.push(table.to_owned());
        }
    }
    drop(old);
    wedge::point("salvage-tables");
    history::unlink_missing(&txn).map_err(err)?;
    events(&txn, case, mark).map_err(err)?;
    runs(&txn, mark, who).map_err(err)?;
    txn.commit().map_err(err)?;
    conn.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())).map_err(err)?;
    Ok(came)
}

/// Takes the events over that can be proved, and none that had left.
fn events(conn: &Connection, case: &Case, mark: Option<&Mark>) -> rusqlite::Result<()> {
    let pages = Pages::of(&case.database(), &case.wal());
    let left = mark.map_or(0, |mark| mark.cursor(BASE).0).max(base::base(conn)?.0);
    let mut held: HashSet<Vec<u8>> = HashSet::new();
    let mut stmt = conn.prepare(
        "select id from places union select cause from said union select id from turns union select cause from turns",
    )?;
    for id in stmt.query_map([], |row| row.get(0))? {
        held.insert(id?);
    }
    let mut purged = conn.prepare("select 1 from purged where ?1 between from_seq and to_seq")?;
    let mut letters = conn.prepare("select 1 from letters where seq = ?1 and state = 'open'")?;
    let mut is_there = |row: &RawRow| -> rusqlite::Result<bool> {
        let stays = row.seq() > left || held.contains(row.id()) || letters.exists([row.seq()])?;
        Ok(stays && !purged.exists([row.seq()])?)
    };
    let mut rate = Rate::new();
    pages.scan(
        &(1..=i64::MAX),
        |page, of| rate.tell(page, of),
        |row| {
            if is_there(&row)? {
                // One that is there already was read from another state of its page.
                row.insert(conn)?;
            }
            Ok(())
        },
    )
}

/// Events name the run they were written in; a run that could not be read is told by what is known.
fn runs(conn: &Connection, mark: Option<&Mark>, who: &Identity) -> rusqlite::Result<()> {
    let missing: Vec<i64> = conn
        .prepare("select distinct run from outbox where run not in (select run from runs)")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if missing.is_empty() {
        return Ok(());
    }
    let boots: i64 = conn.query_row("select count(*) from boots", [], |row| row.get(0))?;
    if boots == 0 {
        conn.execute("insert into boots (boot_id, first_ms) values ('unknown', 0)", [])?;
    }
    let of_mark = mark.and_then(Mark::epoch).map(|epoch| epoch.to_string());
    for run in missing {
        // The runs before and after it are of the same life most likely.
        conn.execute(
            "insert into runs (run, boot, epoch, site, node, version, started_ms, started_mono_ms, stopped)
             select ?1, coalesce((select boot from runs where run < ?1 order by run desc limit 1), (select min(boot) from boots)),
               coalesce((select epoch from runs order by abs(run - ?1) limit 1), ?2,
                        (select v from meta where k = 'db_epoch'), '0000000000000000'),
               coalesce((select site from runs order by abs(run - ?1) limit 1), ?3),
               coalesce((select node from runs order by abs(run - ?1) limit 1), ?4), '', 0, 0, 'unknown'",
            (run, &of_mark, &who.site, &who.node),
        )?;
    }
    Ok(())
}

/// Copies what can be read of a table: from its beginning, and where that ends, from its end. Answers whether it was whole.
fn copy(old: &Connection, fresh: &Connection, table: &str) -> rusqlite::Result<bool> {
    let columns: Vec<String> = fresh
        .prepare("select name from pragma_table_info(?1) order by cid")?
        .query_map([table], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let keys: Vec<String> = fresh
        .prepare("select name from pragma_table_info(?1) where pk > 0 order by pk")?
        .query_map([table], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let (list, marks) = (columns.join(", "), vec!["?"; columns.len()].join(", "));
    let mut add = fresh.prepare(&format!("insert or ignore into {table} ({list}) values ({marks})"))?;
    let mut whole = true;
    for order in ["asc", "desc"] {
        let by = keys.iter().map(|key| format!("{key} {order}")).collect::<Vec<_>>().join(", ");
        let taken = take(old, &format!("select {list} from {table} order by {by}"), columns.len(), |row| {
            // A row that the schema does not take is damaged.
            Ok(add.execute(params_from_iter(row)).is_ok())
        });
        match taken {
            Ok(all) => return Ok(whole && all),
            Err(_) => whole = false,
        }
    }
    Ok(false)
}

/// Hands on each row that can be read. Answers whether all were taken.
fn take(
    old: &Connection,
    sql: &str,
    columns: usize,
    mut put: impl FnMut(Vec<Value>) -> rusqlite::Result<bool>,
) -> rusqlite::Result<bool> {
    let mut stmt = old.prepare(sql)?;
    let mut rows = stmt.query([])?;
    let mut all = true;
    while let Some(row) = rows.next()? {
        let values = (0..columns).map(|column| row.get(column)).collect::<rusqlite::Result<Vec<Value>>>();
        all &= match values {
            Ok(values) => put(values)?,
            Err(_) => false,
        };
    }
    Ok(all)
}

/// A damaged store as SQLite reads it, and the copy of it that has a header, where it has none.
struct Old {
    conn: Connection,
    copy: Option<PathBuf>,
}

impl Old {
    fn open(case: &Case) -> Option<Self> {
        let database = case.database();
        if let Some(conn) = reads(&database) {
            return Some(Self { conn, copy: None });
        }
        let copy = case.folder.join("waypost.db.mended");
        let made = mended(&database, &copy).and_then(|()| {
            let wal = case.wal();
            if wal.exists() { fs::copy(wal, with_suffix(&copy, "-wal")).map(|_| ()) } else { Ok(()) }
        });
        if let Err(error) = made {
            tracing::warn!(%error, "a copy of the damaged store with a mended header could not be made");
        }
        let found = reads(&copy);
        if found.is_none() {
            drop(clear(&copy));
        }
        found.map(|conn| Self { conn, copy: Some(copy) })
    }
}

impl Drop for Old {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.copy.take().map(|copy| clear(&copy)) {
            tracing::warn!(%error, "the copy of the damaged store with a mended header stays in the quarantine");
        }
    }
}

/// A connection that changes nothing, if anything can be read by it.
fn reads(path: &Path) -> Option<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).ok()?;
    let tables: i64 =
        conn.query_row("select count(*) from sqlite_schema where type = 'table'", [], |row| row.get(0)).ok()?;
    (tables > 0).then_some(conn)
}

/// Copies a database and gives it a header as ours have.
fn mended(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut header = [0; 100];
    let mut file = File::open(from)?;
    file.read_exact(&mut header)?;
    header[..16].copy_from_slice(MAGIC);
    header[16..18].copy_from_slice(&schema::PAGE.to_be_bytes());
    header[18..24].copy_from_slice(&[2, 2, 0, 64, 32, 32]);
    // Its own word on how long it is counts only when these two are the same.
    header[24..28].copy_from_slice(&1_u32.to_be_bytes());
    header[92..96].copy_from_slice(&0_u32.to_be_bytes());
    header[32..40].fill(0);
    header[44..48].copy_from_slice(&4_u32.to_be_bytes());
    header[52..56].fill(0);
    header[56..60].copy_from_slice(&1_u32.to_be_bytes());
    header[64..92].fill(0);
    fs::copy(from, to)?;
    let mut copy = File::options().write(true).open(to)?;
    copy.seek(SeekFrom::Start(0))?;
    copy.write_all(&header)
}

/// Removes a database that is none, with what SQLite keeps beside it.
fn clear(path: &Path) -> Result<()> {
    for file in [path.to_owned(), with_suffix(path, "-wal"), with_suffix(path, "-shm")] {
        match fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::Disk { path: file, cause: e.to_string() });
            }
            _ => {}
        }
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut whole = path.as_os_str().to_owned();
    whole.push(suffix);
    PathBuf::from(whole)
}

/// Says from time to time how far it is, and how fast.
struct Rate {
    begun: Instant,
    told: Instant,
}

impl Rate {
    fn new() -> Self {
        Self { begun: Instant::now(), told: Instant::now() }
    }

    fn tell(&mut self, page: u32, of: u32) {
        if page.is_multiple_of(1024) && self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            let per_s = u64::from(page) * 1000 / millis(self.begun.elapsed()).max(1);
            tracing::warn!(page, of, per_s, "salvaging events from the pages of the damaged store");
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
