//! The log, read after a cursor, and the cursors of those who deliver it.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, named_params};

use crate::domain::{EventId, Kind, Lane, Row, Seq, TimeQuality, UnixMs};

use super::base;
use super::digest::{self, FROZEN};
use super::error::Result;
use super::ledger::Count;
use super::txn::Txn;
use super::{Look, Reader};

/// Rows that one page may look at; a page may be short for it.
pub const SCAN_MAX: i64 = 20_000;

/// The frozen columns as `digest::FROZEN` has them, their digest, and what else makes an event.
pub(super) const COLUMNS: &str =
    "o.seq, o.id, o.kind, o.run, o.prev, o.ts_ms, o.tq, o.received_ms, o.mono_ms, o.source, o.asset,
    o.place, o.code, o.body, o.digest, o.repeats, r.epoch, r.site, r.node, r.boot";

/// Which events a reader wants; empty fields want all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this kind.
    pub kind: Option<Kind>,
    /// From this source.
    pub source: Option<String>,
    /// About this asset.
    pub asset: Option<String>,
    /// With this code.
    pub code: Option<String>,
}

/// Some rows and how far the log was looked through for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The rows, in the order asked for.
    pub rows: Vec<Row>,
    /// The rows among them that are not as they were written: they are told to nobody.
    pub damaged: Vec<Damaged>,
    /// The last seq looked at: the next page goes on from here, whether or not it held a row.
    pub seen: Seq,
    /// Whether the log goes on beyond `seen` in this direction.
    pub more: bool,
}

/// An event that is not as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damaged {
    /// Its place in the log.
    pub seq: Seq,
    /// What is left of its fields.
    pub bytes: Vec<u8>,
}

impl Damaged {
    /// What is left of a row whose first columns are the frozen ones.
    pub(super) fn of(row: &SqlRow<'_>) -> rusqlite::Result<Self> {
        let bytes = match row.get_ref(FROZEN.len() - 1)? {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
            _ => Vec::new(),
        };
        Ok(Self { seq: Seq(row.get(0)?), bytes })
    }
}

impl Page {
    /// Rows and damaged ones.
    fn len(&self) -> usize {
        self.rows.len() + self.damaged.len()
    }

    /// The last seq that a row was found at, in the order of `newest_first`.
    fn last(&self, newest_first: bool) -> Option<Seq> {
        let ends = [self.rows.last().map(|row| row.seq), self.damaged.last().map(|one| one.seq)];
        let ends = ends.into_iter().flatten();
        if newest_first { ends.min() } else { ends.max() }
    }

    pub(super) fn take(&mut self, row: &SqlRow<'_>) -> rusqlite::Result<()> {
        match row_of(row)? {
            Ok(row) => self.rows.push(row),
            Err(damaged) => self.damaged.push(damaged),
        }
        Ok(())
    }

    /// Where the next page goes on, when this one was looked for up to `end`.
    pub(super) fn seen_to(mut self, end: i64, after: Seq, limit: usize, head: i64) -> Self {
        let full = self.len() >= limit;
        let end = Seq(end.max(after.0));
        self.seen = if full { self.last(false).unwrap_or(end) } else { end };
        self.more = self.seen.0 < head;
        self
    }
}

/// A row, if it is as it was written.
fn row_of(row: &SqlRow<'_>) -> rusqlite::Result<std::result::Result<Row, Damaged>> {
    if digest::is_intact(row)?
        && let Some(row) = intact(row)
    {
        return Ok(Ok(row));
    }
    Damaged::of(row).map(Err)
}

/// The values of a row. The digest vouches for the types of the frozen ones; a run that is not there is none of them.
fn intact(row: &SqlRow<'_>) -> Option<Row> {
    Some(Row {
        seq: Seq(row.get(0).ok()?),
        id: EventId(row.get(1).ok()?),
        kind: Kind::from_code(row.get(2).ok()?)?,
        prev: row.get::<_, Option<i64>>(4).ok()?.map(Seq),
        ts_ms: row.get(5).ok()?,
        tq: TimeQuality::from_word(row.get_ref(6).ok()?.as_str().ok()?),
        received_ms: row.get(7).ok()?,
        mono_ms: row.get(8).ok()?,
        source: row.get(9).ok()?,
        asset: row.get(10).ok()?,
        place: row.get(11).ok()?,
        code: row.get(12).ok()?,
        body: row.get(13).ok()?,
        repeats: row.get(15).ok()?,
        epoch: row.get_ref(16).ok()?.as_str().ok()?.parse().ok()?,
        // Of the run, not of the row: what changed there does not make the row another one.
        site: String::from_utf8_lossy(row.get_ref(17).ok()?.as_bytes().ok()?).into_owned(),
        node: String::from_utf8_lossy(row.get_ref(18).ok()?.as_bytes().ok()?).into_owned(),
        boot: row.get(19).ok()?,
    })
}

/// The events after `after`, oldest first, at most `limit`.
pub(super) fn after(conn: &Connection, after: Seq, limit: usize, filter: &Filter) -> rusqlite::Result<Page> {
    let head: i64 = conn.prepare_cached("select coalesce(max(seq), 0) from outbox")?.query_row([], |r| r.get(0))?;
    let start = skip(conn, after)?;
    let end = head.min(start.saturating_add(SCAN_MAX));
    Ok(select(conn, start, end, "asc", limit, filter)?.seen_to(end, after, limit, head))
}

/// The place before the next event: what has left the log costs no looks.
fn skip(conn: &Connection, after: Seq) -> rusqlite::Result<i64> {
    let next: Option<i64> =
        conn.prepare_cached("select min(seq) from outbox where seq > ?1")?.query_row([after.0], |row| row.get(0))?;
    Ok(next.map_or(after.0, |next| next - 1))
}

/// The events before `before`, newest first, at most `limit`.
pub(super) fn before(conn: &Connection, before: Seq, limit: usize, filter: &Filter) -> rusqlite::Result<Page> {
    let first: i64 = conn.prepare_cached("select coalesce(min(seq), 0) from outbox")?.query_row([], |r| r.get(0))?;
    // What has left the log costs no looks.
    let top: i64 = conn
        .prepare_cached("select coalesce(max(seq), 0) from outbox where seq < ?1")?
        .query_row([before.0], |row| row.get(0))?;
    let bottom = first.saturating_sub(1).max(top.saturating_sub(SCAN_MAX));
    let page = select(conn, bottom, top, "desc", limit, filter)?;
    let end = Seq(bottom + 1);
    let seen = if page.len() >= limit { page.last(true).unwrap_or(end) } else { end };
    Ok(Page { seen, more: seen.0 > first, ..page })
}

fn select(
    conn: &Connection,
    over: i64,
    upto: i64,
    order: &'static str,
    limit: usize,
    filter: &Filter,
) -> rusqlite::Result<Page> {
    let sql = format!(
        "select {COLUMNS} from outbox o left join runs r on r.run = o.run
         where o.seq > :over and o.seq <= :upto
           and (:kind is null or o.kind = :kind) and (:source is null or o.source = :source)
           and (:asset is null or o.asset = :asset) and (:code is null or o.code = :code)
         order by o.seq {order} limit :limit"
    );
    let mut stmt = conn.prepare_cached(&sql)?;
    let text = |value: &Option<String>| value.clone().map_or(Value::Null, Value::Text);
    let mut rows = stmt.query(named_params! {
        ":over": over,
        ":upto": upto,
        ":kind": filter.kind.map(|kind| kind as i64),
        ":source": text(&filter.source),
        ":asset": text(&filter.asset),
        ":code": text(&filter.code),
        ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
    })?;
    let mut page = Page::default();
    while let Some(row) = rows.next()? {
        page.take(row)?;
    }
    Ok(page)
}

/// The next events of a lane after `after`, in seq order, at most `limit`, looking at no more than [`SCAN_MAX`] rows.
pub(super) fn lane_after(conn: &Connection, lane: Lane, after: Seq, limit: usize) -> rusqlite::Result<Page> {
    let head: i64 = conn.prepare_cached("select coalesce(max(seq), 0) from outbox")?.query_row([], |r| r.get(0))?;
    let start = skip(conn, after)?;
    let end = head.min(start.saturating_add(SCAN_MAX));
    let (low, high) = kinds(lane);
    let sql = format!(
        "select {COLUMNS} from outbox o left join runs r on r.run = o.run
         where o.seq > ?1 and o.seq <= ?2 and o.kind between ?3 and ?4 order by o.seq limit ?5"
    );
    let limit_sql = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut stmt = conn.prepare_cached(&sql)?;
    let mut rows = stmt.query((start, end, low, high, limit_sql))?;
    let mut page = Page::default();
    while let Some(row) = rows.next()? {
        page.take(row)?;
    }
    Ok(page.seen_to(end, after, limit, head))
}

/// The kinds of a lane. Also what is no kind, in a damaged row, is in one of them: it is not passed over in silence.
pub(super) const fn kinds(lane: Lane) -> (i64, i64) {
    match lane {
        Lane::Fix => (i64::MIN, Kind::Fix as i64),
        Lane::Scan => (Kind::Scan as i64, i64::MAX),
    }
}

/// What was found of a stretch of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Rows looked at.
    pub rows: usize,
    /// Those that are not as they were written.
    pub damaged: Vec<Damaged>,
    /// The last seq looked at.
    pub seen: Seq,
    /// Whether the log goes on beyond it.
    pub more: bool,
}

/// Holds the rows after `after`, at most `limit`, against their digests.
pub(super) fn verify(conn: &Connection, after: Seq, limit: usize) -> rusqlite::Result<Verified> {
    let page = self::after(conn, after, limit, &Filter::default())?;
    let (rows, Page { damaged, seen, more, .. }) = (page.len(), page);
    Ok(Verified { rows, damaged, seen, more })
}

/// The lane of a kind as it lies in the log, a damaged one too.
pub(super) const fn lane_of(kind: i64) -> Lane {
    if kind <= Kind::Fix as i64 { Lane::Fix } else { Lane::Scan }
}

/// The events of a lane that are to be sent again, in seq order.
fn waiting(conn: &Connection, lane: Lane, limit: usize) -> rusqlite::Result<Page> {
    let (low, high) = kinds(lane);
    let sql = format!(
        "select {COLUMNS} from letters l join outbox o on o.seq = l.seq left join runs r on r.run = o.run
         where l.resend = 1 and o.kind between ?1 and ?2 order by l.seq limit ?3"
    );
    let mut stmt = conn.prepare_cached(&sql)?;
    let mut rows = stmt.query((low, high, i64::try_from(limit).unwrap_or(i64::MAX)))?;
    let mut page = Page::default();
    while let Some(row) = rows.next()? {
        page.take(row)?;
    }
    Ok(page)
}

impl Reader<'_> {
    /// The events of a lane that a person wants sent again, in the order of `seq`, at most `limit`.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn waiting(&self, lane: Lane, limit: usize) -> Look<Page> {
        waiting(self.conn, lane, limit)
    }

    /// How often each of these events has been repeated so far; an unknown one has not.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn repeats(&self, seqs: &[Seq]) -> Look<Vec<i64>> {
        let mut stmt = self.conn.prepare_cached("select repeats from outbox where seq = ?1")?;
        seqs.iter().map(|seq| stmt.query_row([seq.0], |row| row.get(0)).optional().map(|n| n.unwrap_or(0))).collect()
    }
}

/// A fix as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFix {
    /// Its name.
    pub id: EventId,
    /// When it was.
    pub ts_ms: UnixMs,
    /// Its fields, a JSON object text.
    pub body: String,
}

/// One event by its name.
pub(super) fn by_id(conn: &Connection, id: EventId) -> rusqlite::Result<Option<Row>> {
    let sql = format!("select {COLUMNS} from outbox o left join runs r on r.run = o.run where o.id = ?1");
    let found = conn.prepare_cached(&sql)?.query_row([id.0], row_of).optional()?;
    Ok(found.and_then(std::result::Result::ok))
}

/// The oldest seq from which on nothing is missing; the head plus one when there is none. What stays behind it are
/// exceptions, to be found by their name.
pub(super) fn oldest(conn: &Connection) -> rusqlite::Result<Seq> {
    let base = base::base(conn)?;
    conn.prepare_cached("select coalesce(min(seq), (select coalesce(max(n), 0) + 1 from ledger where scope = 'head' and outcome = 'seq')) from outbox where seq > ?1")?
        .query_row([base.0], |row| row.get(0).map(Seq))
}

/// The newest trusted time among the last [`SCAN_MAX`] events that are not in doubt; 0 when there is none.
pub(super) fn newest_trusted(conn: &Connection) -> rusqlite::Result<UnixMs> {
    conn.query_row(
        "select coalesce(max(ts_ms), 0) from (select ts_ms, tq, body from outbox order by seq desc limit ?1)
         where tq in ('gnss', 'ntp') and instr(body, '\"doubt\":') = 0",
        [SCAN_MAX],
        |row| row.get(0),
    )
}

/// Where a lane's cursor stands; 0 before the first acknowledgement.
pub(super) fn cursor(conn: &Connection, lane: Lane) -> rusqlite::Result<Seq> {
    conn.prepare_cached("select seq from cursors where name = ?1")?
        .query_row([lane.as_str()], |row| row.get(0))
        .optional()
        .map(|seq| Seq(seq.unwrap_or(0)))
}

/// Events of a lane after its cursor.
pub(super) fn count_after(conn: &Connection, lane: Lane) -> rusqlite::Result<i64> {
    let ((low, high), from) = (kinds(lane), cursor(conn, lane)?);
    conn.prepare_cached("select count(*) from outbox where seq > ?1 and kind between ?2 and ?3")?
        .query_row((from.0, low, high), |row| row.get(0))
}

/// What the broker has said about some publishes of one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// Where the cursor stood before: a stale report is refused.
    pub from: Seq,
    /// Each event of the lane up to here is acknowledged or dead.
    pub through: Seq,
    /// Newly acknowledged events.
    pub sent: i64,
    /// Newly acknowledged events that nobody subscribed to, counted apart.
    pub unheard: i64,
}

impl Txn<'_> {
    /// The fixes of an asset whose ids begin with the seconds `from..upto`, in the order of their ids or newest first.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn fixes_between(
        &self,
        asset: &str,
        (from_s, upto_s): (u32, u32),
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<StoredFix>> {
        let order = if newest_first { "desc" } else { "asc" };
        let sql = format!(
            "select id, ts_ms, body from outbox where id >= ?1 and id < ?2 and kind = ?3 and asset = ?4 order by id {order} limit ?5"
        );
        let bound = (from_s.to_be_bytes(), upto_s.to_be_bytes());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.sql
            .prepare_cached(&sql)
            .and_then(|mut stmt| {
                stmt.query_map((bound.0, bound.1, Kind::Fix as i64, asset, limit), |row| {
                    let body = row.get_ref(2)?;
                    // A damaged body is no JSON either: whoever reads it leaves it out.
                    let body =
                        body.as_bytes().map(|body| String::from_utf8_lossy(body).into_owned()).unwrap_or_default();
                    Ok(StoredFix { id: EventId(row.get(0)?), ts_ms: row.get(1)?, body })
                })?
                .collect()
            })
            .map_err(|e| self.err(&e))
    }

    /// Moves a lane's cursor. Leaves `cursors` and the event counts consistent; a report that does not begin where
    /// the cursor stands changes nothing and answers false.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn acknowledge(&mut self, lane: Lane, acked: &Acknowledged) -> Result<bool> {
        let stands = cursor(self.sql, lane).map_err(|e| self.err(&e))?;
        if stands != acked.from || acked.through < acked.from {
            return Ok(false);
        }
        self.set_cursor(lane, acked.through)?;
        self.add(Count::events("unsent", lane.as_str()), -(acked.sent + acked.unheard));
        self.add(Count::events("sent", lane.as_str()), acked.sent);
        self.add(Count::events("sent_unheard", lane.as_str()), acked.unheard);
        Ok(true)
    }

    pub(super) fn set_cursor(&mut self, lane: Lane, seq: Seq) -> Result<()> {
        self.sql
            .prepare_cached("insert into cursors values (?1, ?2) on conflict do update set seq = excluded.seq")
            .and_then(|mut stmt| stmt.execute((lane.as_str(), seq.0)))
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    pub(super) fn count_after(&mut self, lane: Lane) -> Result<i64> {
        count_after(self.sql, lane).map_err(|e| self.err(&e))
    }

    /// Counts a repeat onto the event it repeats, unless that may have been published already.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn repeat_onto(&mut self, seq: Seq, published: Seq) -> Result<()> {
        if seq <= published {
            return Ok(());
        }
        self.sql
            .prepare_cached("update outbox set repeats = repeats + 1 where seq = ?1 and run = ?2")
            .and_then(|mut stmt| stmt.execute((seq.0, self.run)))
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }
}
