//! Opens a connection as the truth needs it and brings the schema up to date.
//! A small runner of our own: the migration crates pin another rusqlite.

use std::path::Path;
use std::time::{Duration, Instant};

use include_dir::{Dir, include_dir};
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use crate::health::wedge;

use super::error::{Result, StoreError};

/// How long a start looks at the structure of the store at most.
const CHECK_MAX: Duration = Duration::from_secs(60);
/// SQLite's steps between two looks at whether a check goes on.
pub(super) const CHECK_STEPS: i32 = 100_000;

static MIGRATIONS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/migrations");

/// Bytes a page. Small pages write fewer bytes for small commits: measured in `docs/decisions/0004-page-size.md`.
pub(super) const PAGE: u16 = 1024;
/// The same for counting.
pub(super) const PAGE_BYTES: i64 = PAGE as i64;
/// Pages in the WAL before it is copied back and begun anew: 4 MiB.
pub(super) const WAL_PAGES: i32 = 4096;
/// What the WAL is cut to after a long reader let it grow. Bytes; above the normal size, so that it is reused, not truncated.
const WAL_KEEP_BYTES: i64 = 8 << 20;
/// Pages of the writer that are kept in memory at most. KiB; with less than what one transaction of the busiest yard changes, a
/// page would be written more than once in it.
const CACHE_KIB: i64 = 4096;
/// The same of a reader. KiB; each commit makes them void, so more would be filled in vain.
const READER_KIB: i64 = 512;
/// Steps that a store may be ahead of this binary: a release expands, the one after it contracts, so that the version before
/// still reads and writes it (`migrations/README.md`).
const AHEAD_MAX: u32 = 1;
/// The first SQLite without the WAL-reset bug (sqlite.org/wal.html#walresetbug).
const SQLITE_MIN: i32 = 3_051_003;

/// The one write connection, migrated. Pragmas are set and read back.
pub(super) fn open_writer(path: &Path) -> Result<Connection> {
    let err = |e: rusqlite::Error| StoreError::of(path, &e);
    if rusqlite::version_number() < SQLITE_MIN {
        return Err(StoreError::Statement { cause: format!("SQLite {} has a known WAL bug", rusqlite::version()) });
    }
    let mut conn = Connection::open(path).map_err(err)?;
    conn.pragma_update(None, "page_size", PAGE_BYTES).map_err(err)?;
    conn.pragma_update(None, "journal_mode", "wal").map_err(err)?;
    conn.pragma_update(None, "synchronous", "full").map_err(err)?;
    conn.pragma_update(None, "wal_autocheckpoint", WAL_PAGES).map_err(err)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB).map_err(err)?;
    conn.pragma_update(None, "journal_size_limit", WAL_KEEP_BYTES).map_err(err)?;
    conn.pragma_update(None, "foreign_keys", true).map_err(err)?;
    // What is deleted or replaced in a page is overwritten there; pages that get free are, when somebody purges.
    conn.pragma_update(None, "secure_delete", "fast").map_err(err)?;
    conn.busy_timeout(std::time::Duration::from_secs(5)).map_err(err)?;
    conn.set_prepared_statement_cache_capacity(64);
    // Debug builds only: the power cuts of `make faults` must be able to see what weaker settings lose.
    let weaker = wedge::turned("WAYPOST_SYNC").filter(|sync| sync == "normal").is_some();
    if weaker {
        conn.pragma_update(None, "synchronous", "normal").map_err(err)?;
    }
    let synchronous = if weaker { "1" } else { "2" };
    for (pragma, want) in [("journal_mode", "wal"), ("synchronous", synchronous), ("foreign_keys", "1")] {
        let got: rusqlite::types::Value = conn.pragma_query_value(None, pragma, |row| row.get(0)).map_err(err)?;
        let got = match got {
            rusqlite::types::Value::Integer(n) => n.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => format!("{other:?}"),
        };
        if got != want {
            return Err(StoreError::Disk {
                path: path.to_owned(),
                cause: format!("{pragma} is {got}, not {want}: the file system does not carry WAL mode"),
            });
        }
    }
    migrate(path, &mut conn)?;
    Ok(conn)
}

/// A connection that can only read. Its statements are short: none is held across an await.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    let err = |e: rusqlite::Error| StoreError::of(path, &e);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(err)?;
    conn.pragma_update(None, "query_only", true).map_err(err)?;
    conn.pragma_update(None, "cache_size", -READER_KIB).map_err(err)?;
    conn.busy_timeout(std::time::Duration::from_secs(2)).map_err(err)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// What SQLite finds wrong with the structure of a store that was not closed well; none when nothing is. `deep`: its indexes
/// too, and every value is read, as somebody who asks does it: a check takes what lies behind the end of a file for zeros, a
/// read of it fails. It stops after a time, for a start must not wait for ever: what it has not seen by then shows when it is read.
pub(super) fn check(conn: &mut Connection, deep: bool) -> rusqlite::Result<Option<String>> {
    let until = Instant::now() + CHECK_MAX;
    conn.progress_handler(CHECK_STEPS, Some(move || Instant::now() > until))?;
    let sql = if deep { "pragma integrity_check(1)" } else { "pragma quick_check(1)" };
    let mut said = conn.query_row(sql, [], |row| row.get::<_, String>(0));
    if deep && said.as_deref() == Ok("ok") {
        said = read_all(conn).map(|()| "ok".to_owned());
    }
    conn.progress_handler(0, None::<fn() -> bool>)?;
    match said {
        Ok(said) if said == "ok" => Ok(None),
        Ok(said) => Ok(Some(said)),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => {
            tracing::warn!(
                max_s = CHECK_MAX.as_secs(),
                "the check of the store was not finished in its time; nothing was found"
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Reads every value of every table.
fn read_all(conn: &Connection) -> rusqlite::Result<()> {
    let mut tables = conn.prepare("select replace(name, '\"', '\"\"') from sqlite_schema where type = 'table'")?;
    let tables = tables.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    for table in tables {
        let mut all = conn.prepare(&format!("select * from \"{table}\""))?;
        let columns = all.column_count();
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            (0..columns).try_for_each(|column| row.get_ref(column).map(|_| ()))?;
        }
    }
    Ok(())
}

fn migrate(path: &Path, conn: &mut Connection) -> Result<()> {
    let err = |e: rusqlite::Error| StoreError::of(path, &e);
    let steps = steps()?;
    let found: u32 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(err)?;
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    if found > known + AHEAD_MAX {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    for (index, (name, sql)) in steps.iter().enumerate() {
        let digest = blake3::hash(sql.as_bytes()).to_hex().to_string();
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        if number <= found {
            let ran: Option<String> = conn
                .query_row("select digest from migrations where name = ?1", [name], |row| row.get(0))
                .optional()
                .map_err(err)?;
            if ran.as_deref() != Some(&digest) {
                return Err(StoreError::ForeignMigration { path: path.to_owned(), name: (*name).to_owned() });
            }
            continue;
        }
        let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(err)?;
        txn.execute_batch(
            "create table if not exists migrations (name text primary key, digest text not null) strict, without rowid",
        )
        .map_err(err)?;
        txn.execute_batch(sql).map_err(err)?;
        txn.execute("insert into migrations (name, digest) values (?1, ?2)", [*name, &digest]).map_err(err)?;
        txn.pragma_update(None, "user_version", number).map_err(err)?;
        wedge::point("migrated");
        txn.commit().map_err(err)?;
    }
    if 0 < found && found < known {
        // Into the file: the package reads the schema there before it puts another version in place (debian/preinst). Somebody
        // who reads meanwhile delays it, and is not waited for.
        conn.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(())).map_err(err)?;
    }
    Ok(())
}

/// What tells this schema from any other.
pub(super) fn fingerprint() -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, sql) in steps().unwrap_or_default() {
        hasher.update(name.as_bytes()).update(&[0]).update(sql.as_bytes()).update(&[0]);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

fn steps() -> Result<Vec<(&'static str, &'static str)>> {
    let mut steps = Vec::new();
    for file in MIGRATIONS.files() {
        let name = file.path().to_str().unwrap_or_default();
        if std::path::Path::new(name).extension().is_none_or(|ext| ext != "sql") {
            continue;
        }
        let sql = file
            .contents_utf8()
            .ok_or_else(|| StoreError::Statement { cause: format!("migration {name} is not UTF-8") })?;
        steps.push((name, sql));
    }
    steps.sort_unstable();
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_the_next_release_has_expanded_is_still_read_and_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("waypost.db");
        let conn = open_writer(&path).unwrap();
        let known = u32::try_from(steps().unwrap().len()).unwrap();
        conn.execute_batch("alter table meta add column since integer; create table next (n integer) strict").unwrap();
        conn.execute("insert into migrations (name, digest) values ('9999_next.sql', 'x')", []).unwrap();
        conn.pragma_update(None, "user_version", known + 1).unwrap();
        drop(conn);
        let conn = open_writer(&path).unwrap();
        conn.execute("insert into meta (k, v) values ('back', 'one')", []).unwrap();
        assert_eq!(conn.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0)).unwrap(), known + 1);
        conn.pragma_update(None, "user_version", known + 2).unwrap();
        drop(conn);
        assert!(matches!(open_writer(&path), Err(StoreError::Newer { found, .. }) if found == known + 2));
    }

    #[test]
    fn the_package_finds_the_schema_in_the_header_of_a_store_and_knows_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("waypost.db");
        drop(open_writer(&path).unwrap());
        let header = std::fs::read(&path).unwrap();
        let found = u32::from_be_bytes(header[60..64].try_into().unwrap());
        let known = u32::try_from(steps().unwrap().len()).unwrap();
        assert_eq!(found, known);
        let preinst = include_str!("../../debian/preinst");
        assert!(preinst.contains(&format!("\nschema={known}\n")), "debian/preinst says another schema than {known}");
    }

    #[test]
    fn a_store_of_a_newer_schema_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("waypost.db");
        let conn = open_writer(&path).unwrap();
        conn.pragma_update(None, "user_version", 999).unwrap();
        drop(conn);
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(open_writer(&path), Err(StoreError::Newer { found: 999, .. })));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_changed_migration_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("waypost.db");
        let conn = open_writer(&path).unwrap();
        conn.execute("update migrations set digest = 'other'", []).unwrap();
        drop(conn);
        assert!(
            matches!(open_writer(&path), Err(StoreError::ForeignMigration { name, .. }) if name == "0001_spine.sql")
        );
    }

    #[test]
    fn sqlite_is_compiled_as_the_project_says() {
        let conn = Connection::open_in_memory().unwrap();
        let mut options = conn.prepare("select compile_options from pragma_compile_options").unwrap();
        let options: Vec<String> =
            options.query_map([], |row| row.get(0)).unwrap().map(|option| option.unwrap()).collect();
        assert!(options.iter().any(|option| option == "DEFAULT_MEMSTATUS=0"), "{options:?}: see .cargo/config.toml");
    }

    #[test]
    fn a_reader_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("waypost.db");
        drop(open_writer(&path).unwrap());
        let reader = open_reader(&path).unwrap();
        assert!(reader.execute("delete from outbox", []).is_err());
    }
}
