//! What a person has deleted: the events of an asset or of a time, with everything that was derived from them or quotes them.
//! The counts stay: what goes is counted as left.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use crate::domain::{EventId, Kind, Lane, Reason, Seq, UnixMs};

use super::base::base;
use super::error::{Result, StoreError};
use super::history;
use super::keep::{forget, key_owner};
use super::ledger::Count;
use super::outbox::{self, SCAN_MAX};
use super::txn::Txn;
use super::{Look, Reader, Store};

/// Zeros that one transaction writes over freed pages. Bytes.
const SCRUB_BYTES: i64 = 1 << 20;
/// Zeros in one row. Bytes
const SCRUB_ROW: i64 = 64 << 10;
/// A store up to this size is written anew at the end of a purge: about a second of the writer's time on a disk, ten on a card.
const ANEW_BYTES: i64 = 64 << 20;
/// A text shorter than this is too common to be looked for in the bytes of letters.
const NEEDLE_MIN: usize = 3;

/// Whose history is to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The asset, under all of its names; none for everything of a time.
    pub names: BTreeSet<String>,
    /// What letters and captures may quote it by.
    pub needles: Vec<String>,
    /// What happened before this, of whatever asset. UTC ms
    pub before_ms: Option<UnixMs>,
    /// Whether what waits for the platform goes too.
    pub unsent: bool,
}

impl Target {
    /// Whether bytes quote it.
    #[must_use]
    pub fn is_quoted(&self, bytes: &[u8]) -> bool {
        self.needles.iter().any(|needle| bytes.windows(needle.len()).any(|part| part == needle.as_bytes()))
    }

    /// Whether an event is meant, by its asset and when it happened.
    #[must_use]
    pub fn is_meant(&self, asset: Option<&str>, ts_ms: UnixMs) -> bool {
        asset.is_some_and(|asset| self.names.contains(asset)) || self.before_ms.is_some_and(|before| ts_ms < before)
    }
}

/// Events that are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meant {
    /// Which may go.
    pub seqs: Vec<i64>,
    /// How many stay because they wait for the platform.
    pub waiting: i64,
    /// How far was looked; the place where it began at the end of the log.
    pub through: i64,
}

impl Reader<'_> {
    /// The target of an asset that is named by its id, a key or a code; none when nothing is known by that name.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn target(&self, asset: &str) -> Look<Option<Target>> {
        let owner: Option<String> = self
            .conn
            .prepare_cached("select asset from asset_keys where key = ?1")?
            .query_row([asset], |row| row.get(0))
            .optional()?;
        let name = owner.unwrap_or_else(|| asset.to_owned());
        let mut names: BTreeSet<String> = self.keys_of(&name)?.into_iter().collect();
        let thing = self.thing(&name)?;
        let known = thing.is_some() || self.asset(&name)?.is_some() || self.has_events_of(&name)?;
        names.insert(name);
        let mut needles: BTreeSet<String> = names.iter().cloned().collect();
        needles.extend(names.iter().filter_map(|name| name.split_once(':').map(|(_, bare)| bare.to_owned())));
        needles.extend(thing.into_iter().flat_map(|thing| thing.codes));
        let needles = needles.into_iter().filter(|needle| needle.len() >= NEEDLE_MIN).collect();
        Ok(known.then_some(Target { names, needles, ..Target::default() }))
    }

    /// Events that happened before a time, and all that are in the log.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn count_before(&self, before_ms: UnixMs) -> Look<(i64, i64)> {
        self.conn
            .prepare_cached("select count(*) filter (where ts_ms < ?1), count(*) from outbox")?
            .query_row([before_ms], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn has_events_of(&self, asset: &str) -> Look<bool> {
        self.conn.prepare_cached("select 1 from outbox where asset = ?1 limit 1")?.exists([asset])
    }

    /// Of the events in `after..=upto`, the next that are meant, at most `limit`.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn meant(&self, target: &Target, after: i64, upto: i64, limit: usize) -> Look<Meant> {
        let mut rows = self.conn.prepare_cached(
            "select seq, asset, ts_ms, kind from outbox where seq > ?1 and seq <= ?2 order by seq limit ?3",
        )?;
        let stay = waiting(self.conn, target)?;
        let mut rows = rows.query((after, upto, SCAN_MAX))?;
        let mut meant = Meant { through: after, ..Meant::default() };
        while let Some(row) = rows.next()? {
            meant.through = row.get(0)?;
            let asset: Option<String> = row.get(1).unwrap_or_default();
            if target.is_meant(asset.as_deref(), row.get(2)?) {
                if stay.is_after(meant.through, row.get(3).unwrap_or(0)) {
                    meant.waiting += 1;
                } else {
                    meant.seqs.push(meant.through);
                }
            }
            if meant.seqs.len() == limit {
                break;
            }
        }
        Ok(meant)
    }

    /// Letters after a number that quote the target, are of its events, or were received before; at most `limit`. With the
    /// letters of its receivers, `sources`: what they garbled says where it was. And how far was looked.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn letters_meant(
        &self,
        target: &Target,
        sources: &BTreeSet<String>,
        after: i64,
        limit: usize,
    ) -> Look<(Vec<i64>, i64)> {
        let mut rows = self.conn.prepare_cached(
            "select letter, coalesce(source, ''), bytes, detail, note, received_ms from letters where letter > ?1 order by letter limit ?2",
        )?;
        let mut rows = rows.query((after, i64::try_from(limit).unwrap_or(i64::MAX)))?;
        let (mut found, mut at) = (Vec::new(), after);
        while let Some(row) = rows.next()? {
            at = row.get(0)?;
            let (source, bytes): (String, Vec<u8>) = (row.get(1)?, row.get(2)?);
            let (detail, note): (String, String) = (row.get(3)?, row.get(4)?);
            let received_ms: UnixMs = row.get(5)?;
            if target.is_quoted(&bytes)
                || target.is_quoted(detail.as_bytes())
                || target.is_quoted(note.as_bytes())
                || sources.contains(&source)
                || target.before_ms.is_some_and(|before| received_ms < before)
            {
                found.push(at);
            }
        }
        Ok((found, at))
    }
}

/// What waits for the platform and therefore stays.
pub(super) struct Waiting {
    /// After these cursors, in the order of [`Lane::ALL`]; none when nothing has to stay.
    after: Option<[i64; 2]>,
    /// Behind the cursors, those that a person wants sent again.
    again: BTreeSet<i64>,
}

impl Waiting {
    /// Whether an event is among it.
    pub(super) fn is_after(&self, seq: i64, kind: i64) -> bool {
        let lane = usize::from(kind == Kind::Fix as i64);
        self.again.contains(&seq) || self.after.is_some_and(|cursors| seq > cursors[lane])
    }
}

fn waiting(conn: &Connection, target: &Target) -> rusqlite::Result<Waiting> {
    if target.unsent {
        return Ok(Waiting { after: None, again: BTreeSet::new() });
    }
    unsent(conn)
}

/// What is unsent: after the cursors, with an uplink.
pub(super) fn unsent(conn: &Connection) -> rusqlite::Result<Waiting> {
    let on: Option<i64> = conn
        .prepare_cached("select n from ledger where scope = 'head' and outcome = 'uplink'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let cursors = [outbox::cursor(conn, Lane::Scan)?.0, outbox::cursor(conn, Lane::Fix)?.0];
    let again = conn
        .prepare_cached("select seq from letters where state = 'open' and resend = 1 and seq is not null")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Waiting { after: (on == Some(1)).then_some(cursors), again })
}

/// What one slice of a purge came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Events that went.
    pub events: i64,
    /// Of them, those that waited for the platform.
    pub unsent: i64,
    /// The receivers they came from.
    pub receivers: BTreeSet<String>,
    /// All sources they came from.
    pub sources: BTreeSet<String>,
}

impl Txn<'_> {
    /// Removes events that are meant. Leaves the counts, the letters of these events and the named gaps consistent.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn purge(&mut self, target: &Target, seqs: &[i64]) -> Result<Purged> {
        self.try_purge(target, seqs).map_err(|e| self.err(&e))
    }

    fn try_purge(&mut self, target: &Target, seqs: &[i64]) -> rusqlite::Result<Purged> {
        let conn: &Connection = self.sql;
        let (base, stay, open) = (base(conn)?.0, waiting(conn, target)?, unsent(conn)?);
        let mut purged = Purged::default();
        let mut one = conn.prepare_cached("select id, kind, source, asset from outbox where seq = ?1")?;
        for seq in seqs {
            let found = |row: &rusqlite::Row<'_>| {
                let kind = row.get(1).ok().and_then(Kind::from_code).unwrap_or(Kind::Scan);
                let (source, asset): (Option<String>, Option<String>) =
                    (row.get(2).unwrap_or_default(), row.get(3).unwrap_or_default());
                Ok((EventId(row.get(0).unwrap_or_default()), kind, source, asset))
            };
            let Some((id, kind, source, asset)) = one.query_row([seq], found).optional()? else { continue };
            if stay.is_after(*seq, kind as i64) {
                continue;
            }
            conn.prepare_cached("delete from outbox where seq = ?1")?.execute([seq])?;
            conn.prepare_cached("delete from voids where id = ?1 or by_id = ?1")?.execute([id.0])?;
            conn.prepare_cached("delete from windows where seq = ?1")?.execute([seq])?;
            if let Some(asset) = asset {
                // What rests on it is told anew from the rest, at the end.
                let name = key_owner(conn, &asset)?.unwrap_or(asset);
                conn.prepare_cached("delete from places where asset = ?1 and (id = ?2 or seq = ?3)")?
                    .execute((name, id.0, seq))?;
            }
            for letter in of_event(conn, *seq)? {
                self.remove_letter(letter, Some(kind.lane()))?;
            }
            self.add(Count::left(source.as_deref(), Some(kind)), 1);
            purged.events += 1;
            if open.again.contains(seq) {
                // Its letter was counted above.
                purged.unsent += 1;
            } else if open.after.is_some() && open.is_after(*seq, kind as i64) {
                self.add(Count::events("unsent", kind.lane().as_str()), -1);
                self.add(Count::events("discarded", kind.lane().as_str()), 1);
                self.add(Count::left_grave("discarded"), 1);
                purged.unsent += 1;
            }
            if *seq > base {
                name_gap(conn, *seq)?;
            }
            if let Some(source) = source {
                if kind == Kind::Fix {
                    purged.receivers.insert(source.clone());
                }
                purged.sources.insert(source);
            }
        }
        Ok(purged)
    }

    /// Removes letters, whatever their state: an open one ends as discarded. Leaves the counts consistent.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn purge_letters(&mut self, letters: &[i64]) -> Result<i64> {
        let mut gone = 0;
        for letter in letters {
            gone += i64::from(self.remove_letter(*letter, None).map_err(|e| self.err(&e))?);
        }
        Ok(gone)
    }

    /// `lane`: of its event, when that has just gone.
    fn remove_letter(&mut self, letter: i64, lane: Option<Lane>) -> rusqlite::Result<bool> {
        let found = self
            .sql
            .prepare_cached(
                "select state, reason, coalesce(source, ''), stage = 'uplink' and seq is not null, resend = 1 from letters where letter = ?1",
            )?
            .query_row([letter], |row| {
                let (state, reason, source) =
                    (row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?);
                Ok((state, reason, source, row.get::<_, bool>(3)?, row.get::<_, bool>(4)?))
            })
            .optional()?;
        let Some((state, reason, source, is_grave, resend)) = found else { return Ok(false) };
        let is_dead = is_grave && state == "open";
        if let Some(lane) = lane.filter(|_| is_dead) {
            let stood = if resend { "unsent" } else { "dead" };
            self.add(Count::events(stood, lane.as_str()), -1);
            self.add(Count::events("discarded", lane.as_str()), 1);
        } else if is_dead {
            // Its event is still there, and dead: it goes with it, or not at all.
            return Ok(false);
        }
        let ended = match state.as_str() {
            "retried" => "retried",
            "expired" => "expired",
            _ => "discarded",
        };
        // The newest number is not given again: of it only what it quotes goes.
        let is_newest = "letter = ?1 and letter = (select max(letter) from letters)";
        if self.sql.prepare_cached(&format!("select 1 from letters where {is_newest}"))?.exists([letter])? {
            self.sql
                .prepare_cached("update letters set state = ?2, bytes = x'', detail = '', note = '', peer = null, seq = null where letter = ?1")?
                .execute((letter, ended))?;
        } else {
            self.sql.prepare_cached("delete from letters where letter = ?1")?.execute([letter])?;
            let reason = Reason::from_code(&reason).map_or("", Reason::as_str);
            self.add(Count::left_letter(&source, reason, ended), 1);
        }
        if state == "open" {
            self.add(Count::letters("open", ""), -1);
            self.add(Count::letters(ended, ""), 1);
        }
        if is_grave {
            self.add(Count::left_grave(ended), 1);
        }
        Ok(true)
    }

    /// Takes the target out of what was derived: its places, history and what is known of it from before the log. Of a time:
    /// what was said, turned and crossed before it.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn purge_history(&mut self, target: &Target) -> Result<()> {
        let done = || {
            for name in &target.names {
                forget(self.sql, name)?;
            }
            let Some(before_ms) = target.before_ms else { return Ok(()) };
            for (table, at) in [("said", "order_ms"), ("turns", "order_ms"), ("fences", "ts_ms")] {
                self.sql.execute(&format!("delete from {table} where {at} < ?1"), [before_ms])?;
            }
            history::unlink_missing(self.sql)
        };
        done().map_err(|e: rusqlite::Error| self.err(&e))?;
        target.before_ms.map_or(Ok(()), |before_ms| self.set_history_from(before_ms))
    }

    /// Sets what is known of an asset from before the log; none: nothing is.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn set_told(&mut self, asset: &str, told: Option<&str>) -> Result<()> {
        match told {
            Some(told) => self.sql.execute("insert or replace into base values (?1, ?2)", [asset, told]),
            None => self.sql.execute("delete from base where asset = ?1", [asset]),
        }
        .map(|_| ())
        .map_err(|e| self.err(&e))
    }

    /// Writes zeros over pages that have been freed: what was deleted is not to be read from the file. Answers how many pages
    /// are left; then the zeros themselves are taken out, and it answers 0.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn scrub(&mut self) -> Result<i64> {
        self.try_scrub().map_err(|e| self.err(&e))
    }

    fn try_scrub(&self) -> rusqlite::Result<i64> {
        let page: i64 = self.sql.query_row("pragma page_size", [], |row| row.get(0))?;
        let free = || self.sql.query_row("pragma freelist_count", [], |row| row.get::<_, i64>(0));
        let mut written = 0;
        let mut left = free()?;
        while left > 0 && written < SCRUB_BYTES {
            // The last pages one by one, so that the file does not grow.
            let row = if left * page > 2 * SCRUB_ROW { SCRUB_ROW } else { page / 2 };
            self.sql.prepare_cached("insert into scrub (zeros) values (zeroblob(?1))")?.execute([row])?;
            written += row.max(page);
            left = free()?;
        }
        Ok(left)
    }

    /// Takes out the zeros of [`Txn::scrub`], some at a time. Answers whether there are more.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn unscrub(&mut self) -> Result<bool> {
        self.sql
            .execute("delete from scrub where n in (select n from scrub limit ?1)", [SCRUB_BYTES / SCRUB_ROW * 8])
            .map(|gone| gone > 0)
            .map_err(|e| self.err(&e))
    }
}

/// The letters of an event.
fn of_event(conn: &Connection, seq: i64) -> rusqlite::Result<Vec<i64>> {
    conn.prepare_cached("select letter from letters where seq = ?1")?.query_map([seq], |row| row.get(0))?.collect()
}

/// Names a gap, one with its neighbours.
fn name_gap(conn: &Connection, seq: i64) -> rusqlite::Result<()> {
    let from: Option<i64> = conn
        .prepare_cached("select from_seq from purged where to_seq = ?1 - 1")?
        .query_row([seq], |row| row.get(0))
        .optional()?;
    let to: Option<i64> = conn
        .prepare_cached("select to_seq from purged where from_seq = ?1 + 1")?
        .query_row([seq], |row| row.get(0))
        .optional()?;
    conn.prepare_cached("delete from purged where from_seq in (?1, ?2)")?.execute((from, seq + 1))?;
    conn.prepare_cached("insert into purged values (?1, ?2)")?
        .execute((from.unwrap_or(seq), to.unwrap_or(seq)))
        .map(|_| ())
}

impl Store {
    /// Who removes rows for long, or tells places from them, takes his turn here: one at a time.
    #[must_use]
    pub fn turn(&self) -> &tokio::sync::Mutex<()> {
        &self.turn
    }

    /// Copies the write-ahead log back and cuts it to nothing: what was deleted is not to be read from there either. Before
    /// that a store of at most 64 MiB is written anew: parts of pages that are in use may hold what was there before.
    /// False: somebody was busy; ask again.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub async fn settle(&self) -> Result<bool> {
        let (path, settling) = (Arc::clone(&self.path), Arc::clone(&self.settling));
        let settled = tokio::task::spawn_blocking(move || {
            let _held = settling.lock().unwrap_or_else(PoisonError::into_inner);
            let err = |e: rusqlite::Error| StoreError::of(&path, &e);
            let conn = Connection::open(path.as_path()).map_err(err)?;
            conn.busy_timeout(std::time::Duration::from_secs(5)).map_err(err)?;
            let (pages, page): (i64, i64) = (
                conn.pragma_query_value(None, "page_count", |row| row.get(0)).map_err(err)?,
                conn.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(err)?,
            );
            if pages.saturating_mul(page) <= ANEW_BYTES {
                match conn.execute_batch("vacuum") {
                    Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
                        return Ok(false);
                    }
                    done => done.map_err(err)?,
                }
            }
            let busy: i64 = conn.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0)).map_err(err)?;
            Ok(busy == 0)
        });
        settled.await.map_err(|_| StoreError::Gone)?
    }

    /// The newest event now.
    #[must_use]
    pub fn head_now(&self) -> Seq {
        *self.head.borrow()
    }
}
