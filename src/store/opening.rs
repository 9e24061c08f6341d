//! The way from the files of a store to a run: what the last process left is looked at, what is damaged is put aside and
//! salvaged, what came back older than it was begins a new life. Only then is anything written.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::clock::Clock;
use crate::domain::{Epoch, Seq, Stage, Standing, UnixMs};

use super::error::{Result, StoreError};
use super::mark::{Found, Mark};
use super::pages::{MAGIC, Pages, RawRow};
use super::quarantine::{Came, Case};
use super::quota::Quota;
use super::settle::{self, Evidence, Finding, NewLife, Restored};
use super::txn::{Heads, Txn};
use super::{Identity, LOCK, machine, outbox, salvage, schema, trouble};

/// A run that has begun.
pub(super) struct Begun {
    pub(super) run: i64,
    pub(super) boot: i64,
    pub(super) epoch: Epoch,
    pub(super) head: Seq,
    pub(super) newest_trusted_ms: UnixMs,
    pub(super) findings: Vec<Finding>,
    pub(super) standing: Standing,
    /// Whether the high-water mark could be written.
    pub(super) is_marked: bool,
}

/// Takes the lock of the store in `dir`.
pub(super) fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let disk = |e: std::io::Error| StoreError::Disk { path: path.clone(), cause: e.to_string() };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(disk)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Locked { path }),
        Err(std::fs::TryLockError::Error(e)) => Err(disk(e)),
    }
}

/// Opens the store whose lock the caller has, whatever its files are like.
pub(super) fn open(dir: &Path, path: &Path, who: &Identity, clock: &Clock, quota: &Quota) -> Result<Begun> {
    match try_open(dir, path, who, clock) {
        // On a full disk the node comes up with what the reserve has room for: its screen says so.
        Err(StoreError::Full { .. }) if unclosing(path).is_ok_and(|conn| quota.relieve(&conn)) => {
            try_open(dir, path, who, clock)
        }
        begun => begun,
    }
}

fn try_open(dir: &Path, path: &Path, who: &Identity, clock: &Clock) -> Result<Begun> {
    // Before anything is opened: SQLite writes as soon as it finds a log.
    let written = last_written(path);
    let found = Mark::read(dir);
    match &found {
        Found::Garbage(mark) => tracing::warn!(
            mark = %mark.display(),
            "the high-water mark is not as it was written; whether the store came back older than it was is not known"
        ),
        Found::Nothing if path.exists() => {
            tracing::warn!("there is no high-water mark; whether the store came back older than it was is not known");
        }
        _ => {}
    }
    let mark = if let Found::Mark(mark) = &found { Some(mark) } else { None };
    if let Some(case) = Case::unfinished(dir) {
        tracing::warn!(folder = %case.folder.display(), "a salvage was cut off; it begins again");
        return rescue(dir, path, case, (&found, written), who, clock);
    }
    let damage = match sound(dir, path, mark).and_then(|()| begin(path, (&found, written), None, who, clock)) {
        Ok(begun) => {
            trouble::clear(dir);
            return Ok(begun);
        }
        Err(error) => damage(&error, mark).ok_or(error)?,
    };
    tracing::error!(why = damage, "the store is damaged; it is put aside and salvaged");
    let case = Case::open(dir, &damage, clock.now().wall_ms).map_err(|e| StoreError::Disk {
        path: dir.join("quarantine"),
        cause: format!("the damaged store could not be put aside: {e}"),
    })?;
    rescue(dir, path, case, (&found, written), who, clock)
}

/// Salvages what a case holds and begins a new life with it.
fn rescue(
    dir: &Path,
    path: &Path,
    mut case: Case,
    found: (&Found, LastWritten),
    who: &Identity,
    clock: &Clock,
) -> Result<Begun> {
    let mark = if let Found::Mark(mark) = found.0 { Some(mark) } else { None };
    let disk = |e: std::io::Error| StoreError::Disk { path: case.folder.clone(), cause: e.to_string() };
    let came = if case.is_in_place(dir) {
        Came::default()
    } else {
        case.fill(dir).map_err(disk)?;
        salvage::salvage(dir, &case, mark, who)?
    };
    let begun = begin(path, found, Some((&mut case, came)), who, clock)?;
    trouble::clear(dir);
    Ok(begun)
}

/// Refuses a store whose header or structure is not as it should be.
fn sound(dir: &Path, path: &Path, mark: Option<&Mark>) -> Result<()> {
    let damaged = |cause: String| StoreError::Corrupt { path: path.to_owned(), cause };
    if mark.is_some()
        && let Some(what) = header(path)
    {
        return Err(damaged(format!("its header is not one of ours: {what}")));
    }
    let suspect = trouble::noted(dir);
    let mut conn = unclosing(path)?;
    let err = |e: rusqlite::Error| StoreError::of(path, &e);
    if (suspect.is_some() || was_cut_off(&conn).map_err(err)?)
        && let Some(what) = schema::check(&mut conn, suspect.is_some()).map_err(err)?
    {
        return Err(damaged(what));
    }
    // Its lines must be readable before anything is counted onto them.
    Heads::read(path, &conn)?;
    Ok(())
}

/// A connection that leaves the write-ahead log as it is when it closes: it may be all that is left of something.
fn unclosing(path: &Path) -> Result<Connection> {
    let conn = schema::open_writer(path)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(|e| StoreError::of(path, &e))?;
    Ok(conn)
}

/// What is wrong with the first bytes of a database that has been in use; an empty or absent one has nothing wrong.
fn header(path: &Path) -> Option<&'static str> {
    let mut header = [0; 100];
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    if length(path) == 0 {
        // SQLite would throw the log away.
        return (length(&wal(path)) > 0).then_some("it is gone, and its log is not");
    }
    let mut file = File::open(path).ok()?;
    let page = schema::PAGE.to_be_bytes();
    if file.read_exact(&mut header).is_err() {
        return Some("it is too short");
    }
    // A backup is one file, and has no log until it is written to.
    let log: &[u8] = if header[18..20] == [1, 1] && length(&wal(path)) == 0 { &[1, 1] } else { &[2, 2] };
    // As long as all that was written is in the log, the file is of no encoding yet.
    let encoding: &[u8] = if header[56..60] == [0; 4] { &[0; 4] } else { &[0, 0, 0, 1] };
    let checks: [(&[u8], &[u8], &str); 5] = [
        (&header[..16], MAGIC, "it does not begin as a database does"),
        (&header[16..18], &page, "the size of its pages"),
        (&header[18..20], log, "the kind of its log"),
        (&header[20..24], &[0, 64, 32, 32], "its constants"),
        (&header[56..60], encoding, "the encoding of its texts"),
    ];
    checks.into_iter().find(|(is, should, _)| is != should).map(|(_, _, what)| what)
}

/// Whether an error at the opening says that the file is damaged, and in which words. What the mark vouches for, this schema,
/// cannot be another one.
fn damage(error: &StoreError, mark: Option<&Mark>) -> Option<String> {
    let ours = mark.is_some_and(Mark::is_of_this_schema);
    match error {
        StoreError::Corrupt { cause, .. } => Some(cause.clone()),
        StoreError::Statement { cause } if mark.is_some() => Some(cause.clone()),
        StoreError::Newer { .. } | StoreError::ForeignMigration { .. } if ours => Some(error.to_string()),
        _ => None,
    }
}

/// Begins a run, and with it a new life where the file is not what the mark says, or was salvaged.
fn begin(
    path: &Path,
    (found, written): (&Found, LastWritten),
    salvaged: Option<(&mut Case, Came)>,
    who: &Identity,
    clock: &Clock,
) -> Result<Begun> {
    let err = |e: rusqlite::Error| StoreError::of(path, &e);
    let now = clock.now();
    let mut conn = unclosing(path)?;
    let restored = Restored::read(&conn).map_err(err)?;
    let woke = machine::look(&conn, &who.machine).map_err(err)?;
    let moved = settle::moved(&conn, who, woke).map_err(err)?;
    let evidence = Evidence { moved, ..Evidence::new(found, salvaged.is_some(), restored) };
    let is_new = evidence.is_new_life(&conn).map_err(err)?;
    // Read before anything is written: the log of the file system still has what SQLite no longer reads.
    let tail = if is_new && salvaged.is_none() { tail(path, &evidence, &conn).map_err(err)? } else { Vec::new() };
    let fresh = Epoch(random(path)?);
    let sql = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(err)?;
    let life = is_new.then(|| evidence.begin(&sql, fresh, &tail, now.wall_ms)).transpose().map_err(err)?;
    machine::write_down(&sql, woke, &who.machine, random(path)?).map_err(err)?;
    let mended = if is_new { None } else { evidence.mend_counts(&sql, now.wall_ms).map_err(err)? };
    sql.execute("insert or ignore into meta values ('db_epoch', ?1)", [fresh.to_string()]).map_err(err)?;
    let epoch = settle::epoch(&sql).map_err(err)?;
    let epoch = epoch.ok_or_else(|| StoreError::Corrupt { path: path.to_owned(), cause: "db_epoch".into() })?;
    settle::mend_runs(&sql).map_err(err)?;
    let cut_off = if is_new { None } else { cut_off(&sql, written).map_err(err)? };
    sql.execute("insert or ignore into boots (boot_id, first_ms) values (?1, ?2)", (&who.boot_id, now.wall_ms))
        .map_err(err)?;
    let boot: i64 =
        sql.query_row("select boot from boots where boot_id = ?1", [&who.boot_id], |row| row.get(0)).map_err(err)?;
    sql.execute(
        "insert into runs (boot, epoch, site, node, version, started_ms, started_mono_ms) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        (boot, epoch.to_string(), &who.site, &who.node, env!("CARGO_PKG_VERSION"), now.wall_ms, now.mono_ms()),
    )
    .map_err(err)?;
    let run = sql.last_insert_rowid();
    let newest_trusted_ms = outbox::newest_trusted(&sql).map_err(err)?;
    let heads = Heads::read(path, &sql)?;
    let mut txn = Txn::new(path, &sql, heads, run, now);
    txn.set_uplink(who.uplink, who.skip_kept)?;
    let by = evidence.restored.as_ref().map(|restored| restored.by.as_str());
    life.iter().try_for_each(|life| life.note(&sql, now.wall_ms)).map_err(err)?;
    let told = if is_new { None } else { settle::told_of_restore(&sql).map_err(err)? };
    let (case, mut findings) = found_out(path, life, salvaged, now.wall_ms);
    findings.extend(told);
    for finding in findings.iter().filter(|_| is_new) {
        txn.tell(finding, fresh.0)?;
        by.map_or(Ok(()), |by| txn.audit(by, "restore", &finding.text))?;
    }
    if let Some(finding) = mended {
        tracing::error!(name = finding.name, "{}", finding.text);
        txn.log_failure(Stage::Store, finding.name, &finding.text)?;
        findings.push(finding);
    }
    if let Some(text) = cut_off {
        tracing::warn!("{text}");
        txn.log_failure(Stage::Store, "unclean_stop", &text)?;
    }
    let standing = txn.standing()?;
    findings.retain(Finding::is_alarm);
    findings.extend(
        machine::standing_finding(standing, now.wall_ms).filter(|now| findings.iter().all(|one| one.name != now.name)),
    );
    let heads = txn.finish()?;
    sql.commit().map_err(err)?;
    if let Some(case) = case {
        case.note().map_err(|e| StoreError::Disk { path: case.folder.clone(), cause: e.to_string() })?;
    }
    let is_marked = leave_mark(path, &conn);
    Ok(Begun { run, boot, epoch, head: heads.seq, newest_trusted_ms, findings, standing, is_marked })
}

/// When a file of the store was last written, by the clock of the machine. Seconds since 1970; none of a fresh store.
type LastWritten = Option<i64>;

fn last_written(path: &Path) -> LastWritten {
    [path, &wal(path)].into_iter().filter_map(|file| Some(std::fs::metadata(file).ok()?.mtime())).max()
}

/// What is said of the run before, when it did not end as it should.
fn cut_off(conn: &Connection, written: LastWritten) -> rusqlite::Result<Option<String>> {
    let at = written.and_then(|second| jiff::Timestamp::from_second(second).ok());
    let at = at.map_or_else(String::new, |at| format!(" at about {at}"));
    let text = format!("the node ended without a clean stop{at}: killed, or its power was cut");
    Ok(was_cut_off(conn)?.then_some(text))
}

/// Whether the run before did not end as it should.
fn was_cut_off(conn: &Connection) -> rusqlite::Result<bool> {
    let last: Option<Option<String>> =
        conn.query_row("select stopped from runs order by run desc limit 1", [], |row| row.get(0)).optional()?;
    Ok(last == Some(None))
}

/// What a person is told: of the new life, and of what lies in the quarantine from before. The case is to be noted when it
/// is committed what came of it.
fn found_out<'a>(
    path: &Path,
    life: Option<NewLife>,
    salvaged: Option<(&'a mut Case, Came)>,
    at_ms: UnixMs,
) -> (Option<&'a Case>, Vec<Finding>) {
    match (life, salvaged) {
        (Some(life), Some((case, came))) => {
            case.manifest.salvaged = Some(Came { lost: life.lost, events: life.events, ..came });
            let finding = case.finding();
            (Some(case), finding.into_iter().collect())
        }
        (Some(life), None) => (None, vec![life.finding(at_ms)]),
        (None, _) => (None, Case::newest(&folder(path)).and_then(|case| case.finding()).into_iter().collect()),
    }
}

/// What the write-ahead log still holds of the events after the log's head.
fn tail(path: &Path, evidence: &Evidence<'_>, conn: &Connection) -> rusqlite::Result<Vec<RawRow>> {
    let Some((head, top)) = evidence.tail(conn)? else { return Ok(Vec::new()) };
    let pages = Pages::of(Path::new(""), &wal(path));
    let mut rows = std::collections::BTreeMap::new();
    let done: std::result::Result<(), std::convert::Infallible> = pages.scan(
        &(head.0 + 1..=top.0),
        |_, _| (),
        |row| {
            rows.entry(row.seq()).or_insert(row);
            Ok(())
        },
    );
    match done {
        Ok(()) => Ok(rows.into_values().collect()),
        Err(never) => match never {},
    }
}

/// The write-ahead log of a database.
fn wal(path: &Path) -> PathBuf {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    PathBuf::from(wal)
}

/// The folder of a database.
pub(super) fn folder(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new(".")).to_owned()
}

/// Writes the mark of how the store stands; one that cannot be written is said, and the last one stands. Answers whether it was.
pub(super) fn leave_mark(path: &Path, conn: &Connection) -> bool {
    let folder = folder(path);
    let left =
        Mark::of(conn).map_err(|e| e.to_string()).and_then(|mark| mark.write(&folder).map_err(|e| e.to_string()));
    if let Err(error) = &left {
        tracing::warn!(error, folder = %folder.display(), "the high-water mark could not be written; the last one stands");
    }
    left.is_ok()
}

/// 64 random bits.
fn random(path: &Path) -> Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|e| StoreError::Disk { path: path.to_owned(), cause: format!("/dev/urandom: {e}") })?;
    Ok(u64::from_le_bytes(bytes))
}
