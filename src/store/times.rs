//! What is known of the time of each boot: where the wall clock stood while events took their time from it, where the
//! truth was known, and what was said of it. Rows are few: one a step of the clock, not one an event.

use rusqlite::{Connection, OptionalExtension};

use crate::clock::{Anchor, BootTime, Span, WALL_STEP_MS, Wall};
use crate::domain::{Lane, TimeQuality};

use super::error::Result;
use super::txn::{Draft, Txn};
use super::{Filter, Look, Reader};

/// Rows of `walls` of one boot: where the clock steps more often, nothing more is said of what comes after.
const WALLS_MAX: i64 = 1_000;
/// Boots that are told of; of older ones nothing is kept but their number.
const BOOTS_MAX: i64 = 64;

/// Where the wall clock stands for the events that are appended now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    run: i64,
    from_ms: i64,
    minus_mono_ms: i64,
}

impl Mark {
    /// Whether an event of this receipt needs no row of its own.
    fn covers(self, other: Self) -> bool {
        let is_near = (self.minus_mono_ms - other.minus_mono_ms).abs() <= WALL_STEP_MS;
        self.run == other.run && self.from_ms <= other.from_ms && is_near
    }
}

impl Txn<'_> {
    /// Notes where the wall clock stood, if the event has its time from it and it stood elsewhere before.
    pub(super) fn note_wall(&mut self, run: i64, draft: &Draft) -> Result<()> {
        let (mono_ms, wall_ms) = (draft.received.mono_ms(), draft.received.wall_ms);
        if draft.tq.is_trusted() {
            // What the node derives may have the time of an older event: it says nothing of now.
            if draft.source.is_some() && self.wall_mark().is_some_and(|mark| mark.run == run) {
                self.set_wall(run, mono_ms + 1, None)?;
                *self.wall_mark() = None;
            }
        } else if draft.ts_ms == wall_ms {
            let mark = Mark { run, from_ms: mono_ms, minus_mono_ms: wall_ms - mono_ms };
            if !self.wall_mark().is_some_and(|held| held.covers(mark)) {
                self.set_wall(run, mono_ms, Some(mark.minus_mono_ms))?;
                *self.wall_mark() = Some(mark);
            }
        }
        Ok(())
    }

    /// Says that from now on events have a trusted time: what was noted of the wall clock ends here.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn end_walls(&mut self) -> Result<()> {
        let last = "select minus_mono_ms from walls where boot = ?1 order by mono_ms desc limit 1";
        let boot = self.boot()?;
        let open: Option<Option<i64>> = self
            .sql
            .prepare_cached(last)
            .and_then(|mut stmt| stmt.query_row([boot], |row| row.get(0)).optional())
            .map_err(|e| self.err(&e))?;
        if open.flatten().is_some() {
            self.set_wall(self.run, self.now.mono_ms() + 1, None)?;
        }
        *self.wall_mark() = None;
        Ok(())
    }

    /// The last row that a boot may have ends what is said of it.
    fn set_wall(&self, run: i64, mono_ms: i64, minus_mono_ms: Option<i64>) -> Result<()> {
        self.sql
            .prepare_cached(
                "insert into walls (boot, mono_ms, minus_mono_ms)
                 select r.boot, ?2, iif(n.n + 1 < ?4, ?3, null)
                 from runs r, (select count(*) as n from walls where boot = (select boot from runs where run = ?1)) n
                 where r.run = ?1 and n.n < ?4
                 on conflict do nothing",
            )
            .and_then(|mut stmt| stmt.execute((run, mono_ms, minus_mono_ms, WALLS_MAX)))
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// Notes where the truth is known in this boot. Of each kind the first and the last are kept; what contradicts them
    /// takes their place.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn set_anchor(&mut self, anchor: &Anchor) -> Result<()> {
        let boot = self.boot()?;
        let held = anchors(self.sql, boot).map_err(|e| self.err(&e))?;
        let mut first = true;
        for old in held.iter().filter(|old| old.tq == anchor.tq) {
            if !first || old.contradicts(anchor) {
                self.sql
                    .prepare_cached("delete from anchors where boot = ?1 and tq = ?2 and mono_ms = ?3")
                    .and_then(|mut stmt| stmt.execute((boot, old.tq.as_str(), old.mono_ms)))
                    .map_err(|e| self.err(&e))?;
            }
            first = false;
        }
        self.sql
            .prepare_cached(
                "insert into anchors (boot, tq, mono_ms, utc_ms, err_ms, said_by) values (?1, ?2, ?3, ?4, ?5, ?6)
                 on conflict do update set utc_ms = excluded.utc_ms, err_ms = excluded.err_ms, said_by = excluded.said_by",
            )
            .and_then(|mut stmt| {
                let Anchor { tq, mono_ms, utc_ms, err_ms, by } = anchor;
                stmt.execute((boot, tq.as_str(), mono_ms, utc_ms, err_ms, by))
            })
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// What is known of the time of the last boots, in their order; the last one is this boot.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn boot_times(&mut self) -> Result<Vec<BootTime>> {
        let upto = self.boot()?;
        boot_times(self.sql, upto - BOOTS_MAX, upto).map_err(|e| self.err(&e))
    }

    /// Says anew what is known of the time of a boot: one revision more. Of boots long gone nothing is kept.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn set_spans(&mut self, boot: i64, spans: &[Span]) -> Result<()> {
        let kept_from = self.boot()? - BOOTS_MAX;
        let write = || {
            self.sql.prepare_cached("update boots set rev = rev + 1 where boot = ?1")?.execute([boot])?;
            self.sql.prepare_cached("delete from spans where boot = ?1 or boot < ?2")?.execute((boot, kept_from))?;
            self.sql.prepare_cached("delete from walls where boot < ?1")?.execute([kept_from])?;
            self.sql.prepare_cached("delete from anchors where boot < ?1")?.execute([kept_from])?;
            let mut add = self.sql.prepare_cached("insert into spans values (?1, ?2, ?3, ?4, ?5, ?6)")?;
            for span in spans {
                let Span { from_mono_ms, to_mono_ms, offset_ms, err_ms, tq } = *span;
                add.execute((boot, from_mono_ms, to_mono_ms, offset_ms, err_ms, tq.as_str()))?;
            }
            Ok(())
        };
        write().map_err(|e: rusqlite::Error| self.err(&e))
    }
}

impl Reader<'_> {
    /// Where the truth is known in a boot.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn anchors(&self, boot: i64) -> Look<Vec<Anchor>> {
        anchors(self.conn, boot)
    }

    /// Rows that say where the wall clock stood: more of them is something new to be told.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn wall_count(&self) -> Look<i64> {
        self.conn.prepare_cached("select count(*) from walls")?.query_row([], |row| row.get(0))
    }

    /// What has been said of the time of the boots of which events are unsent, oldest first; this boot is the last.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn times_of_unsent(&self, boot: i64) -> Look<Vec<BootTime>> {
        let mut from = boot;
        for lane in Lane::ALL {
            // Of whatever lane it is: an older boot more does no harm.
            let first = self.after(self.cursor(lane)?, 1, &Filter::default())?.rows.pop();
            from = first.map_or(from, |row| from.min(row.boot));
        }
        let mut times = boot_times(self.conn, from.max(boot - BOOTS_MAX), boot)?;
        times.retain(|one| one.rev > 0 || one.boot == boot);
        Ok(times)
    }
}

fn anchors(conn: &Connection, boot: i64) -> rusqlite::Result<Vec<Anchor>> {
    conn.prepare_cached("select tq, mono_ms, utc_ms, err_ms, said_by from anchors where boot = ?1 order by mono_ms")?
        .query_map([boot], |row| {
            Ok(Anchor {
                tq: TimeQuality::from_word(&row.get::<_, String>(0)?),
                mono_ms: row.get(1)?,
                utc_ms: row.get(2)?,
                err_ms: row.get(3)?,
                by: row.get(4)?,
            })
        })?
        .collect()
}

fn boot_times(conn: &Connection, from: i64, upto: i64) -> rusqlite::Result<Vec<BootTime>> {
    let mut boots = conn.prepare_cached("select boot, rev from boots where boot between ?1 and ?2 order by boot")?;
    let mut walls = conn.prepare_cached("select mono_ms, minus_mono_ms from walls where boot = ?1 order by mono_ms")?;
    let mut spans = conn.prepare_cached(
        "select from_mono_ms, to_mono_ms, offset_ms, err_ms, tq from spans where boot = ?1 order by from_mono_ms",
    )?;
    let found: Vec<(i64, i64)> =
        boots.query_map((from, upto), |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let time_of = |(boot, rev): (i64, i64)| {
        let wall = |row: &rusqlite::Row<'_>| Ok(Wall { mono_ms: row.get(0)?, minus_mono_ms: row.get(1)? });
        let span = |row: &rusqlite::Row<'_>| {
            Ok(Span {
                from_mono_ms: row.get(0)?,
                to_mono_ms: row.get(1)?,
                offset_ms: row.get(2)?,
                err_ms: row.get(3)?,
                tq: TimeQuality::from_word(&row.get::<_, String>(4)?),
            })
        };
        Ok(BootTime {
            boot,
            rev,
            walls: walls.query_map([boot], wall)?.collect::<rusqlite::Result<_>>()?,
            anchors: anchors(conn, boot)?,
            spans: spans.query_map([boot], span)?.collect::<rusqlite::Result<_>>()?,
        })
    };
    found.into_iter().map(time_of).collect()
}
