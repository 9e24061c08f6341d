//! What leaves the log by age, and what stays: the events that a registered asset rests on, those with an open letter, and
//! of the history the last word before its beginning.
//!
//! **Invariant:** `base` and the events after its cursor tell the same places as all events did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use crate::domain::{Epoch, EventId, Kind, Said, Seq, TimeQuality, UnixMs};

use super::base::{BASE, base, history_from};
use super::digest::{self, FROZEN};
use super::error::Result;
use super::history::Told;
use super::ledger::Count;
use super::letters;
use super::outbox::Damaged;
use super::purge::unsent;
use super::txn::Txn;
use super::{Look, Reader, chain, history};

/// The assets that a receiver moves: they stay, registered or not.
pub type Moved = Arc<BTreeSet<String>>;

/// How the log lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// What the events up to here tell is in `base`. Those of them that are still there are exceptions.
    pub base: Seq,
    /// Nothing up to here waits to be sent. A bound, told at no cost: it falls back when an event comes whose lane sent its last
    /// one long ago; [`Reader::first_unsent`] looks.
    pub sent: Seq,
    /// The newest event.
    pub head: Seq,
}

/// When an event was received, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its place in the log.
    pub seq: Seq,
    /// The node's wall clock then.
    pub received_ms: UnixMs,
    /// When it happened.
    pub ts_ms: UnixMs,
    /// How far the node knew the time.
    pub tq: TimeQuality,
}

/// Events of one epoch that may leave together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaving {
    /// Their epoch; none when there are none.
    pub epoch: Option<Epoch>,
    /// Which. One that is not as it was written is among them when a person has ended its letter.
    pub seqs: Vec<Seq>,
    /// Those that are not as they were written and of which nobody has been told.
    pub damaged: Vec<Damaged>,
    /// The last event looked at: the next ones begin after it.
    pub through: Seq,
}

/// A slice of the log that goes in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    /// The events to be removed.
    pub seqs: Vec<Seq>,
    /// Where the cursor of `base` stood when the slice was made; one that was made twice changes nothing.
    pub base: Seq,
    /// Where it stands then.
    pub through: Seq,
    /// Boot and `CLOCK_BOOTTIME` ms at which the last of them was received.
    pub received: (i64, i64),
    /// The assets that its events name.
    pub assets: BTreeSet<String>,
    /// What is known of them then, as text.
    pub told: BTreeMap<String, String>,
    /// The assets that a receiver moves.
    pub moved: Moved,
}

/// What a slice came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Events removed.
    pub events: usize,
    /// Assets gone with their last event.
    pub assets: usize,
}

/// How the log lies.
fn span(conn: &Connection) -> rusqlite::Result<Span> {
    let head = Seq(conn
        .prepare_cached("select coalesce(max(n), 0) from ledger where scope = 'head' and outcome = 'seq'")?
        .query_row([], |row| row.get(0))?);
    // A lane with unsent events has none of them before its cursor but those with an open letter, and these are held.
    let sent: Option<i64> = conn
        .prepare_cached(
            "select min(coalesce(c.seq, 0)) from ledger l left join cursors c on c.name = l.detail
             where l.scope = 'events' and l.outcome = 'unsent' and l.n > 0",
        )?
        .query_row([], |row| row.get(0))?;
    Ok(Span { base: base(conn)?, sent: sent.map_or(head, Seq), head })
}

/// The first event of a stretch that waits to be sent.
fn first_unsent(conn: &Connection, from: Seq, upto: Seq) -> rusqlite::Result<Option<Seq>> {
    let waiting = unsent(conn)?;
    let mut stmt = conn.prepare_cached("select seq, kind from outbox where seq between ?1 and ?2 order by seq")?;
    let mut rows = stmt.query((from.0, upto.0))?;
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        if waiting.is_after(seq, row.get(1)?) {
            return Ok(Some(Seq(seq)));
        }
    }
    Ok(None)
}

/// Receipts after a place in the log, in the order of `seq`.
fn receipts(conn: &Connection, after: Seq, upto: Seq, limit: usize) -> rusqlite::Result<Vec<Receipt>> {
    conn.prepare_cached(
        "select seq, received_ms, ts_ms, tq from outbox where seq > ?1 and seq <= ?2 order by seq limit ?3",
    )?
    .query_map((after.0, upto.0, i64::try_from(limit).unwrap_or(i64::MAX)), |row| {
        let tq = TimeQuality::from_word(row.get_ref(3)?.as_str().unwrap_or_default());
        Ok(Receipt { seq: Seq(row.get(0)?), received_ms: row.get(1)?, ts_ms: row.get(2)?, tq })
    })?
    .collect()
}

/// Of the events in `after..=upto`, at most `limit` and of one epoch, those that nothing holds.
fn leaving(
    conn: &Connection,
    (after, upto): (Seq, Seq),
    moved: &BTreeSet<String>,
    limit: usize,
) -> rusqlite::Result<Leaving> {
    let mut held = Held::new(conn, moved, after, upto)?;
    let mut leaving = Leaving { through: upto, ..Leaving::default() };
    let columns = FROZEN.map(|column| format!("o.{column}")).join(", ");
    let mut stmt = conn.prepare_cached(&format!(
        "select {columns}, o.digest, r.epoch from outbox o left join runs r on r.run = o.run
         where o.seq > ?1 and o.seq <= ?2 order by o.seq limit ?3"
    ))?;
    let mut rows = stmt.query((after.0, upto.0, i64::try_from(limit).unwrap_or(i64::MAX)))?;
    let mut n = 0;
    while let Some(row) = rows.next()? {
        let seq = Seq(row.get(0)?);
        let epoch = row.get_ref(FROZEN.len() + 1)?.as_str().ok().and_then(|epoch| epoch.parse().ok());
        match epoch.filter(|_| digest::is_intact(row).unwrap_or(false)) {
            Some(epoch) => {
                if leaving.epoch.is_some_and(|of| of != epoch) {
                    leaving.through = Seq(seq.0 - 1);
                    return Ok(leaving);
                }
                leaving.epoch = Some(epoch);
                let (id, asset) = (EventId(row.get(1)?), row.get::<_, Option<String>>(10)?);
                if !held.holds(seq, id, asset.as_deref())? {
                    leaving.seqs.push(seq);
                }
            }
            None if letters::is_told(conn, seq)? => {
                if !held.letters.contains(&seq.0) {
                    leaving.seqs.push(seq);
                }
            }
            None => leaving.damaged.push(Damaged::of(row)?),
        }
        n += 1;
        if n == limit {
            leaving.through = seq;
        }
    }
    Ok(leaving)
}

impl Reader<'_> {
    /// How the log lies.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn span(&self) -> Look<Span> {
        span(self.conn)
    }

    /// The first event of a stretch that waits to be sent; none where all of it was, or nobody is there to send it to.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn first_unsent(&self, from: Seq, upto: Seq) -> Look<Option<Seq>> {
        first_unsent(self.conn, from, upto)
    }

    /// When the events after a place in the log were received, in the order of `seq`, at most `limit`.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn receipts(&self, after: Seq, upto: Seq, limit: usize) -> Look<Vec<Receipt>> {
        receipts(self.conn, after, upto, limit)
    }

    /// Of the events after a place and up to another, at most `limit`, those that nothing holds: no open letter, no asset
    /// that is registered or that a receiver moves.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn leaving(&self, after: Seq, upto: Seq, moved: &BTreeSet<String>, limit: usize) -> Look<Leaving> {
        leaving(self.conn, (after, upto), moved, limit)
    }
}

/// What keeps an event in the log whatever its age.
struct Held<'a> {
    conn: &'a Connection,
    moved: &'a BTreeSet<String>,
    /// Events with an open letter: a person may still want them sent.
    letters: BTreeSet<i64>,
    /// The events that an asset rests on; none for one that nobody registered.
    resting: BTreeMap<String, Option<Vec<EventId>>>,
}

impl<'a> Held<'a> {
    fn new(conn: &'a Connection, moved: &'a BTreeSet<String>, after: Seq, upto: Seq) -> rusqlite::Result<Self> {
        let letters = conn
            .prepare_cached("select seq from letters where state = 'open' and seq > ?1 and seq <= ?2")?
            .query_map((after.0, upto.0), |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self { conn, moved, letters, resting: BTreeMap::new() })
    }

    fn holds(&mut self, seq: Seq, id: EventId, asset: Option<&str>) -> rusqlite::Result<bool> {
        if self.letters.contains(&seq.0) {
            return Ok(true);
        }
        let Some(asset) = asset else { return Ok(false) };
        if !self.resting.contains_key(asset) {
            let name = key_owner(self.conn, asset)?.unwrap_or_else(|| asset.to_owned());
            let is_kept = is_kept(self.conn, self.moved, &name)?;
            let resting = if is_kept { Some(resting(self.conn, &name)?) } else { None };
            self.resting.insert(asset.to_owned(), resting);
        }
        Ok(self.resting.get(asset).is_some_and(|ids| ids.as_ref().is_some_and(|ids| ids.contains(&id))))
    }
}

pub(super) fn key_owner(conn: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    conn.prepare_cached("select asset from asset_keys where key = ?1")?.query_row([key], |row| row.get(0)).optional()
}

/// Whether an asset stays without events: somebody registered it, or a receiver moves it.
fn is_kept(conn: &Connection, moved: &BTreeSet<String>, name: &str) -> rusqlite::Result<bool> {
    let registered =
        conn.prepare_cached("select 1 from assets where asset = ?1")?.query_row([name], |_| Ok(())).optional()?;
    Ok(registered.is_some() || moved.contains(name))
}

/// The newest sighting of an asset, the last word on its place, and the turn that put it there with its cause.
fn resting(conn: &Connection, asset: &str) -> rusqlite::Result<Vec<EventId>> {
    let newest = conn
        .prepare_cached("select id from places where asset = ?1")?
        .query_row([asset], |row| row.get(0).map(EventId))
        .optional()?;
    let said = chain::last::<Said>(conn, asset)?.map(|row| row.link.key.cause);
    let turn = chain::last::<Told>(conn, asset)?.map(|row| [row.link.id, row.link.turn.key.cause]);
    Ok(newest.into_iter().chain(said).chain(turn.into_iter().flatten()).collect())
}

impl Txn<'_> {
    /// Removes a slice, and what was derived from it alone. Leaves `base` and its cursor, `places` and the history
    /// consistent; the counts are of all events ever and do not change, but
    /// for that of what left. None: the slice was made for a log that has moved on.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn leave(&mut self, slice: &Slice) -> Result<Option<Left>> {
        let done = if self.base()? == slice.base { self.try_leave(slice).map(Some) } else { Ok(None) };
        done.map_err(|e| self.err(&e))
    }

    fn try_leave(&mut self, slice: &Slice) -> rusqlite::Result<Left> {
        let conn: &Connection = self.sql;
        let mut left = Left::default();
        if let (Some(first), Some(last)) = (slice.seqs.first(), slice.seqs.last()) {
            // Asked again: what was registered meanwhile keeps its event.
            let mut held = Held::new(conn, &slice.moved, Seq(first.0 - 1), *last)?;
            let mut one = conn.prepare_cached("select id, kind, asset, source from outbox where seq = ?1")?;
            let mut remove = conn.prepare_cached("delete from outbox where seq = ?1")?;
            let mut unvoid = conn.prepare_cached("delete from voids where id = ?1")?;
            for seq in &slice.seqs {
                // One that is not as it was written may hold anything: it is gone all the same, by what can be read of it.
                let found = |row: &rusqlite::Row<'_>| {
                    let (id, kind) =
                        (EventId(row.get(0).unwrap_or_default()), row.get(1).ok().and_then(Kind::from_code));
                    let texts: (Option<String>, Option<String>) =
                        (row.get(2).unwrap_or_default(), row.get(3).unwrap_or_default());
                    Ok((id, kind, texts.0, texts.1))
                };
                let Some((id, kind, asset, source)) = one.query_row([seq.0], found).optional()? else { continue };
                if held.holds(*seq, id, asset.as_deref())? {
                    continue;
                }
                left.events += remove.execute([seq.0])?;
                self.add(Count::left(source.as_deref(), kind), 1);
                if kind == Some(Kind::Place) {
                    unvoid.execute([id.0])?;
                }
            }
        }
        let through = slice.base.max(slice.through);
        let (from_ms, mut staying) = (history_from(conn)?, BTreeSet::new());
        for asset in &slice.assets {
            let name = key_owner(conn, asset)?.unwrap_or_else(|| asset.clone());
            if name != *asset {
                // It is told under the name it was given in the register.
                conn.prepare_cached("delete from base where asset = ?1")?.execute([asset])?;
            }
            if !is_kept(conn, &slice.moved, &name)? && is_gone(conn, &name, through)? {
                left.assets += usize::from(forget(conn, &name)?);
                continue;
            }
            if let Some(told) = slice.told.get(&name) {
                conn.prepare_cached("insert or replace into base values (?1, ?2)")?.execute([&name, told])?;
            }
            staying.insert(name);
        }
        forget_history(conn, &staying, from_ms, through, slice.received)?;
        conn.prepare_cached("insert into cursors values (?1, ?2) on conflict do update set seq = excluded.seq")?
            .execute((BASE, through.0))?;
        // Behind `base` gaps need no name.
        conn.prepare_cached("delete from purged where to_seq <= ?1")?.execute([through.0])?;
        Ok(left)
    }
}

/// Whether the last event of an asset has left the log.
fn is_gone(conn: &Connection, asset: &str, through: Seq) -> rusqlite::Result<bool> {
    let last: Option<i64> = conn
        .prepare_cached("select seq from places where asset = ?1")?
        .query_row([asset], |row| row.get(0))
        .optional()?;
    let Some(last) = last else { return Ok(true) };
    let there = conn.prepare_cached("select 1 from outbox where seq = ?1")?.exists([last])?;
    Ok(last <= through.0 && !there)
}

/// Takes an asset out of everything derived. Answers whether it had a place in it.
pub(super) fn forget(conn: &Connection, asset: &str) -> rusqlite::Result<bool> {
    conn.prepare_cached("delete from base where asset = ?1")?.execute([asset])?;
    history::forget(conn, asset)
}

/// Takes out of the history of some assets what lies before its beginning, but for the last of each: it says how things were
/// then. What arrived after the slice stays.
fn forget_history(
    conn: &Connection,
    assets: &BTreeSet<String>,
    from_ms: UnixMs,
    through: Seq,
    received: (i64, i64),
) -> rusqlite::Result<()> {
    chain::thin::<Said>(conn, assets, from_ms, |said| said.received <= received)?;
    chain::thin::<Told>(conn, assets, from_ms, |told| told.seq <= through)?;
    let mut fences = conn.prepare_cached(
        "delete from fences where asset = ?1 and ts_ms < ?2
           and (ts_ms, id) < (select ts_ms, id from fences where asset = ?1 and ts_ms < ?2
             order by ts_ms desc, id desc limit 1)",
    )?;
    for asset in assets {
        fences.execute((asset, from_ms))?;
    }
    Ok(())
}
