//! Events read out of the raw pages of a database file and its write-ahead log, without SQLite: it gives up where a page
//! is damaged, the digest of a row vouches for the row wherever it lies.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, params_from_iter};

use super::digest::{self, FROZEN};
use super::schema::PAGE;

/// A page of a b-tree of rows that has the rows themselves.
const TABLE_LEAF: u8 = 0x0d;
/// Begins each database.
pub(super) const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const WAL_MAGIC: u32 = 0x377f_0682;
/// Of a write-ahead log, and of each frame in it. Bytes.
const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Columns of an event: the frozen ones, repeats and the digest. `repeats` lies before `body`.
const COLUMNS: usize = FROZEN.len() + 2;
/// Of any row of ours, at most.
const COLUMNS_MAX: usize = 64;
const REPEATS: usize = 13;
const BODY: usize = 14;
const DIGEST: usize = 15;
/// What one event can take at most. Bytes: its body is 8 KiB at most, and so are its texts.
const PAYLOAD_MAX: usize = 256 * 1024;

/// A value as it lies in a row.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

/// An event of which its digest says that it is as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RawRow {
    frozen: Vec<Value>,
    repeats: i64,
    digest: i64,
}

/// The files to be read. Pages are read one by one: a store may be larger than the memory.
pub(super) struct Pages {
    db: Option<File>,
    wal: Option<File>,
    page_bytes: usize,
    /// Pages of the database file.
    in_db: u32,
    /// Where the states of a page lie in the write-ahead log, the oldest first. Bytes
    in_wal: BTreeMap<u32, Vec<u64>>,
}

impl Value {
    fn borrowed(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Integer(n) => ValueRef::Integer(*n),
            Self::Real(n) => ValueRef::Real(*n),
            Self::Text(text) => ValueRef::Text(text),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }
    }

    const fn integer(&self) -> i64 {
        if let Self::Integer(n) = self { *n } else { 0 }
    }
}

impl RawRow {
    /// Its place in the log.
    pub(super) fn seq(&self) -> i64 {
        self.frozen[0].integer()
    }

    /// Its name.
    pub(super) fn id(&self) -> &[u8] {
        if let Value::Blob(id) = &self.frozen[1] { id } else { &[] }
    }

    /// Puts it into a log. False when its seq or its id is there already.
    pub(super) fn insert(&self, conn: &Connection) -> rusqlite::Result<bool> {
        let more = [ValueRef::Integer(self.digest), ValueRef::Integer(self.repeats)];
        let values = self.frozen.iter().map(Value::borrowed).chain(more).map(ToSqlOutput::Borrowed);
        let added = conn
            .prepare_cached(
                "insert or ignore into outbox
                   (seq, id, kind, run, prev, ts_ms, tq, received_ms, mono_ms, source, asset, place, code, body, digest, repeats)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
            )?
            .execute(params_from_iter(values))?;
        Ok(added == 1)
    }
}

impl Pages {
    /// The pages of a database and of its write-ahead log; what cannot be read has none.
    pub(super) fn of(db: &Path, wal: &Path) -> Self {
        let (db, wal) = (File::open(db).ok(), File::open(wal).ok());
        let page_bytes = page_bytes(db.as_ref(), wal.as_ref());
        let length =
            |file: &Option<File>| file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |file| file.len());
        let in_db = u32::try_from(length(&db).div_ceil(page_bytes as u64)).unwrap_or(u32::MAX);
        let mut pages = Self { db, wal, page_bytes, in_db, in_wal: BTreeMap::new() };
        pages.index(length(&pages.wal));
        pages
    }

    /// Every event with a seq in `wanted` that can be proved, the newest state of each first. `progress` hears of each page.
    pub(super) fn scan<E>(
        &self,
        wanted: &RangeInclusive<i64>,
        mut progress: impl FnMut(u32, u32),
        mut take: impl FnMut(RawRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let free = self.free();
        let beyond = self.in_wal.keys().copied().filter(|number| *number > self.in_db);
        let last = self.in_wal.keys().next_back().copied().unwrap_or(0).max(self.in_db);
        for number in (1..=self.in_db).chain(beyond).filter(|number| !free.contains(number)) {
            progress(number, last);
            // Of a page that is whole only the newest state counts; of one that is not, the ones before it help.
            for version in self.versions(number) {
                let Some(page) = version else { continue };
                if self.rows_of(number, &page, wanted, &mut take)? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Learns where the write-ahead log has which page.
    fn index(&mut self, length: u64) {
        let Some(wal) = &self.wal else { return };
        let mut header = [0; WAL_HEADER];
        if wal.read_exact_at(&mut header, 0).is_err() {
            return;
        }
        let sane = be32(&header, 0).is_some_and(|magic| magic & !1 == WAL_MAGIC);
        let mut of = sane.then(|| header[16..24].to_vec());
        let step = (FRAME_HEADER + self.page_bytes) as u64;
        let mut at = WAL_HEADER as u64;
        let mut frame = [0; FRAME_HEADER];
        while at + step <= length && wal.read_exact_at(&mut frame, at).is_ok() {
            // Where the header is damaged, the first frame says which life of the log this is.
            let of = of.get_or_insert_with(|| frame[8..16].to_vec());
            if frame[8..16] == **of
                && let Some(number) = be32(&frame, 0)
            {
                self.in_wal.entry(number).or_default().push(at + FRAME_HEADER as u64);
            }
            at += step;
        }
    }

    /// The states of a page, the newest first.
    fn versions(&self, number: u32) -> impl Iterator<Item = Option<Vec<u8>>> + '_ {
        let logged = self.in_wal.get(&number).into_iter().flatten().rev();
        let logged = logged.map(|at| self.read(self.wal.as_ref(), *at));
        let base = (1..=self.in_db).contains(&number).then(|| {
            let at = u64::from(number - 1) * self.page_bytes as u64;
            self.read(self.db.as_ref(), at)
        });
        logged.chain(base)
    }

    /// A page; the last one of a file that was cut off ends with zeros.
    fn read(&self, file: Option<&File>, at: u64) -> Option<Vec<u8>> {
        let mut page = vec![0; self.page_bytes];
        let mut filled = 0;
        while filled < page.len() {
            match file?.read_at(&mut page[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        (filled > 0).then_some(page)
    }

    fn newest(&self, number: u32) -> Option<Vec<u8>> {
        self.versions(number).next().flatten()
    }

    /// The pages that belong to nothing: what lies in them was deleted. None when the list of them is damaged.
    fn free(&self) -> BTreeSet<u32> {
        self.try_free().unwrap_or_default()
    }

    fn try_free(&self) -> Option<BTreeSet<u32>> {
        let header = self.newest(1)?;
        let (mut trunk, count) = (be32(&header, 32)?, be32(&header, 36)?);
        let mut free = BTreeSet::new();
        while trunk != 0 {
            let page = self.newest(trunk)?;
            let leaves = usize::try_from(be32(&page, 4)?).ok()?;
            if !free.insert(trunk) || leaves > self.page_bytes / 4 {
                return None;
            }
            for leaf in 0..leaves {
                free.insert(be32(&page, 8 + 4 * leaf)?);
            }
            trunk = be32(&page, 0)?;
        }
        (free.len() == usize::try_from(count).ok()?).then_some(free)
    }

    /// Takes the events out of one state of a page. True when it is whole: each of its rows is an event or of another table,
    /// or it is no page of rows at all.
    fn rows_of<E>(
        &self,
        number: u32,
        page: &[u8],
        wanted: &RangeInclusive<i64>,
        take: &mut impl FnMut(RawRow) -> Result<(), E>,
    ) -> Result<bool, E> {
        let start = if number == 1 { 100 } else { 0 };
        match page.get(start) {
            Some(&TABLE_LEAF) => {}
            // Interior and index pages, and pages of long rows: nothing of ours. Whether it ever was is not known.
            Some(0x02 | 0x05 | 0x0a) => return Ok(true),
            _ => return Ok(false),
        }
        let cells = usize::from(be16(page, start + 3).unwrap_or(0));
        let mut whole = true;
        for cell in 0..cells {
            let at = be16(page, start + 8 + 2 * cell);
            let row = at.and_then(|at| self.row(page, usize::from(at)));
            match row {
                Some(Some(row)) if wanted.contains(&row.seq()) => take(row)?,
                Some(_) => {}
                None => whole = false,
            }
        }
        Ok(whole)
    }

    /// The event in a cell, if its digest says so; within, none for a row of another table.
    fn row(&self, page: &[u8], at: usize) -> Option<Option<RawRow>> {
        let mut cell = Bytes(page.get(at..)?);
        let length = usize::try_from(cell.varint()?).ok().filter(|length| *length <= PAYLOAD_MAX)?;
        let seq = cell.varint()?;
        let payload = self.payload(cell.0, length)?;
        let mut values = record(&payload)?;
        if values.len() != COLUMNS {
            return Some(None);
        }
        values[0] = Value::Integer(seq);
        let digest = values[DIGEST].integer();
        let repeats = values[REPEATS].integer();
        let body = std::mem::replace(&mut values[BODY], Value::Null);
        values.truncate(REPEATS);
        values.push(body);
        (digest::of(values.iter().map(Value::borrowed)) == digest).then_some(Some(RawRow {
            frozen: values,
            repeats,
            digest,
        }))
    }

    /// All bytes of a row: what lies in its page and in the chain of pages behind that.
    fn payload(&self, local: &[u8], length: usize) -> Option<Vec<u8>> {
        let usable = self.page_bytes;
        let (max, min) = (usable - 35, (usable - 12) * 32 / 255 - 23);
        if length <= max {
            return local.get(..length).map(<[u8]>::to_vec);
        }
        let kept = min + (length - min) % (usable - 4);
        let kept = if kept <= max { kept } else { min };
        let mut payload = local.get(..kept)?.to_vec();
        let mut next = be32(local, kept)?;
        let mut passed = HashSet::new();
        while payload.len() < length {
            let page = self.newest(next)?;
            if !passed.insert(next) {
                return None;
            }
            let part = (length - payload.len()).min(usable - 4);
            payload.extend_from_slice(page.get(4..4 + part)?);
            next = be32(&page, 0)?;
        }
        Some(payload)
    }
}

/// Bytes a page, as the database says it, or its log; else as we make them.
fn page_bytes(db: Option<&File>, wal: Option<&File>) -> usize {
    let ask = |file: Option<&File>, at: u64| {
        let mut bytes = [0; 4];
        file?.read_exact_at(&mut bytes, at).ok().map(|()| u32::from_be_bytes(bytes))
    };
    // The database says 65,536 as 1.
    let of_db = ask(db, 16).map(|both| both >> 16).map(|bytes| if bytes == 1 { 65_536 } else { bytes });
    let sane = |bytes: &u32| bytes.is_power_of_two() && (512..=65_536).contains(bytes);
    let said = of_db.filter(sane).or_else(|| ask(wal, 8).filter(sane));
    said.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::from(PAGE))
}

/// The values of a record.
fn record(payload: &[u8]) -> Option<Vec<Value>> {
    let mut header = Bytes(payload);
    let length = usize::try_from(header.varint()?).ok()?;
    let taken = payload.len() - header.0.len();
    let mut types = Bytes(payload.get(taken..length)?);
    let mut rest = Bytes(payload.get(length..)?);
    let mut values = Vec::with_capacity(COLUMNS);
    while !types.0.is_empty() {
        if values.len() == COLUMNS_MAX {
            return None;
        }
        values.push(rest.value(types.varint()?)?);
    }
    Some(values)
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    /// SQLite's varint: seven bits a byte, the ninth byte whole.
    fn varint(&mut self) -> Option<i64> {
        let mut n: u64 = 0;
        for at in 0..9 {
            let byte = u64::from(self.take(1)?[0]);
            if at == 8 {
                n = n << 8 | byte;
                break;
            }
            n = n << 7 | (byte & 0x7f);
            if byte & 0x80 == 0 {
                break;
            }
        }
        Some(n.cast_signed())
    }

    fn value(&mut self, kind: i64) -> Option<Value> {
        let long = |kind: i64, from: i64| usize::try_from((kind - from) / 2).ok().filter(|n| *n <= PAYLOAD_MAX);
        Some(match kind {
            0 => Value::Null,
            1 => self.integer(1)?,
            2 => self.integer(2)?,
            3 => self.integer(3)?,
            4 => self.integer(4)?,
            5 => self.integer(6)?,
            6 => self.integer(8)?,
            7 => Value::Real(f64::from_be_bytes(self.take(8)?.try_into().ok()?)),
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            12.. if kind % 2 == 0 => Value::Blob(self.take(long(kind, 12)?)?.to_vec()),
            13.. => Value::Text(self.take(long(kind, 13)?)?.to_vec()),
            _ => return None,
        })
    }

    fn integer(&mut self, bytes: usize) -> Option<Value> {
        let taken = self.take(bytes)?;
        let sign = if taken[0] & 0x80 == 0 { 0 } else { 0xff };
        let mut whole = [sign; 8];
        whole[8 - bytes..].copy_from_slice(taken);
        Some(Value::Integer(i64::from_be_bytes(whole)))
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_be_bytes)
}
