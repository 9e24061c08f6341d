//! The floor: the rows that a node wrote, written again by a bare loop over the same SQLite into the same tables.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::disk;
use crate::process::written;

/// As the node has them: bytes a page, pages of the log before it is copied back, KiB of pages in memory.
const PRAGMAS: &str = "pragma page_size = 1024; pragma journal_mode = wal; pragma synchronous = full;
    pragma wal_autocheckpoint = 4096; pragma cache_size = -4096;";

type Row = Vec<Value>;

/// The rows of a store in the order in which they were written.
pub struct Rows {
    /// Events, each with what was written beside it.
    events: Vec<(Row, Vec<(&'static str, Row)>)>,
    scans: usize,
}

impl Rows {
    pub fn read(path: &Path) -> Self {
        let conn = Connection::open(path).unwrap();
        let beside = |table: &str, key: &str| {
            let mut by_event: HashMap<Vec<u8>, Vec<Row>> = HashMap::new();
            let at = columns(&conn, table).iter().position(|column| column == key).unwrap();
            for row in all(&conn, table, "rowid") {
                let Value::Blob(event) = &row[at] else { panic!("an event's name") };
                by_event.entry(event.clone()).or_default().push(row);
            }
            by_event
        };
        let (mut said, mut turns) = (beside("said", "cause"), beside("turns", "id"));
        let places: HashMap<String, Row> =
            all(&conn, "places", "asset").into_iter().map(|row| (text(&row[0]), row)).collect();
        let (mut events, mut scans) = (Vec::new(), 0);
        for row in all(&conn, "outbox", "seq") {
            let Value::Blob(id) = &row[1] else { panic!("an event's name") };
            let mut with = Vec::new();
            with.extend(said.remove(id).into_iter().flatten().map(|row| ("said", row)));
            with.extend(turns.remove(id).into_iter().flatten().map(|row| ("turns", row)));
            if row[2] == Value::Integer(2) {
                let mut place = places[&text(&row[10])].clone();
                place[2] = row[0].clone();
                with.push(("places", place));
                scans += 1;
            }
            events.push((row, with));
        }
        Self { events, scans }
    }
}

fn text(value: &Value) -> String {
    let Value::Text(text) = value else { panic!("an asset") };
    text.clone()
}

fn columns(conn: &Connection, table: &str) -> Vec<String> {
    let stmt = conn.prepare(&format!("select * from {table}")).unwrap();
    stmt.column_names().map(str::to_owned).collect()
}

fn all(conn: &Connection, table: &str, order: &str) -> Vec<Row> {
    let n = columns(conn, table).len();
    let mut stmt = conn.prepare(&format!("select * from {table} order by {order}")).unwrap();
    let rows = stmt.query_map([], |row| (0..n).map(|at| row.get(at)).collect()).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Scans a second of a bare loop that writes these rows, `batch` scans a commit.
pub fn rate(rows: &Rows, batch: f64) -> f64 {
    let dir = tempfile::tempdir_in(disk()).unwrap();
    let conn = Connection::open(dir.path().join("floor.db")).unwrap();
    conn.execute_batch(PRAGMAS).unwrap();
    conn.execute_batch(include_str!("../../migrations/0001_spine.sql")).unwrap();
    let insert = |table: &str| {
        let marks = vec!["?"; columns(&conn, table).len()].join(", ");
        conn.prepare(&format!("insert or replace into {table} values ({marks})")).unwrap()
    };
    let mut outbox = insert("outbox");
    let mut beside = HashMap::from(["said", "turns", "places"].map(|table| (table, insert(table))));
    let (mut scans, mut due, begun) = (0.0, batch, Instant::now());
    conn.execute_batch("begin immediate").unwrap();
    for (event, with) in &rows.events {
        let is_scan = event[2] == Value::Integer(2);
        if is_scan && scans >= due {
            conn.execute_batch("commit; begin immediate").unwrap();
            due += batch;
        }
        outbox.execute(params_from_iter(event)).unwrap();
        for (table, row) in with {
            beside.get_mut(table).unwrap().execute(params_from_iter(row)).unwrap();
        }
        scans += f64::from(u8::from(is_scan));
    }
    conn.execute_batch("commit").unwrap();
    let took: Duration = begun.elapsed();
    rows.scans as f64 / took.as_secs_f64()
}

/// Bytes written for each row of a bare loop: schema q, a log with a key that goes by time and the newest of each asset,
/// with these payloads, `batch` rows a commit.
pub fn bytes_per_row(payloads: &[String], batch: f64) -> f64 {
    let dir = tempfile::tempdir_in(disk()).unwrap();
    let conn = Connection::open(dir.path().join("floor.db")).unwrap();
    conn.execute_batch(PRAGMAS).unwrap();
    conn.execute_batch(
        "create table events (id integer primary key, event_id blob not null unique, kind int, src text, asset text, ts int,
           recv int, payload text, sent int);
         create table asset_state (asset text primary key, ts int, event_id blob, payload text) without rowid;
         pragma wal_checkpoint(truncate);",
    )
    .unwrap();
    let mut event = conn.prepare("insert into events values (null, ?1, 1, 'gps0', ?2, ?3, ?3, ?4, 0)").unwrap();
    let mut state = conn.prepare("insert or replace into asset_state values (?1, ?2, ?3, ?4)").unwrap();
    let before = written(std::process::id());
    let mut due = batch;
    conn.execute_batch("begin immediate").unwrap();
    for (n, payload) in (0_u32..).zip(payloads) {
        if f64::from(n) >= due {
            conn.execute_batch("commit; begin immediate").unwrap();
            due += batch;
        }
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        id[4..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
        let asset = format!("trailer-{:03}", n % 50);
        event.execute((&id[..], &asset, 1_790_000_000_000_i64 + i64::from(n), payload)).unwrap();
        state.execute((&asset, n, &id[..], payload)).unwrap();
    }
    conn.execute_batch("commit; pragma wal_checkpoint(truncate)").unwrap();
    (written(std::process::id()) - before) as f64 / payloads.len() as f64
}
