//! One transaction: what may be done inside it. Counts are gathered and written once before the commit,
//! so the ledger is never behind the rows it counts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Transaction, params_from_iter};

use crate::domain::{EventId, Kind, Lane, Reason, Seq, Stamp, Standing, TimeQuality, UnixMs};

use super::digest;
use super::error::{Result, StoreError};
use super::ledger::{Count, Outcome};
use super::machine;
use super::quota::Quota;
use super::times::Mark;

/// Where the log ends: the newest seq, and the newest of each kind for `prev`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heads {
    pub(super) seq: Seq,
    of_kind: [Option<Seq>; 4],
    /// The run whose uplink setting decides whether a new event is unsent or local.
    pub(super) uplink: bool,
    /// How often the uplink was asked to send dead events again, since the store was opened.
    pub(super) resends: u64,
    /// Whether the node may speak under its name.
    pub(super) standing: Standing,
    wall: Option<Mark>,
}

impl Heads {
    pub(super) fn read(path: &Path, conn: &Connection) -> Result<Self> {
        let err = |e: rusqlite::Error| StoreError::of(path, &e);
        let mut heads = Self { standing: machine::standing(conn).map_err(err)?, ..Self::default() };
        let mut rows = conn.prepare("select outcome, n from ledger where scope = 'head'").map_err(err)?;
        let found = rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).map_err(err)?;
        for one in found {
            let (what, n) = one.map_err(err)?;
            match (what.as_str(), Kind::from_word(&what)) {
                ("seq", _) => heads.seq = Seq(n),
                ("uplink", _) => heads.uplink = n == 1,
                (_, Some(kind)) => heads.of_kind[kind as usize - 1] = Some(Seq(n)),
                _ => {}
            }
        }
        Ok(heads)
    }
}

/// An event to be appended.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its name.
    pub id: EventId,
    /// What it tells of.
    pub kind: Kind,
    /// When it happened.
    pub ts_ms: UnixMs,
    /// How far that can be believed.
    pub tq: TimeQuality,
    /// When it was received.
    pub received: Stamp,
    /// The input; none for what the node derives.
    pub source: Option<String>,
    /// The asset it is about.
    pub asset: Option<String>,
    /// The place it names.
    pub place: Option<String>,
    /// A scan's code.
    pub code: Option<String>,
    /// The fields of its kind, a JSON object text.
    pub body: String,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// It is in the log.
    New(Seq),
    /// An event of this id is there already.
    Duplicate,
}

/// A statement that every scan needs.
#[derive(Clone, Copy)]
pub(super) enum Hot {
    Registered,
    Asset,
    AssetAndSaid,
    Said,
    Append,
    SetAsset,
}

/// An open transaction of the writer.
pub struct Txn<'a> {
    pub(super) path: &'a Path,
    pub(super) sql: &'a Transaction<'a>,
    pub(super) now: Stamp,
    pub(super) run: i64,
    pub(super) heads: Heads,
    counts: BTreeMap<Count, i64>,
    /// Events appended, of each kind, that a source sent and that the node derived: counted when the counts are written.
    appended: [[i64; 2]; Kind::ALL.len()],
    boot: Option<i64>,
    pub(super) quota: Option<Quota>,
    hot: RefCell<[Option<CachedStatement<'a>>; Hot::SetAsset as usize + 1]>,
}

impl<'a> Txn<'a> {
    pub(super) fn new(path: &'a Path, sql: &'a Transaction<'a>, heads: Heads, run: i64, now: Stamp) -> Self {
        Self {
            path,
            sql,
            now,
            run,
            heads,
            counts: BTreeMap::new(),
            appended: Default::default(),
            boot: None,
            quota: None,
            hot: RefCell::default(),
        }
    }

    /// Runs a statement that is kept at hand to the end of the transaction: the cache looks each up by its whole text, for each
    /// of the hundreds of scans in it. `run` asks for no other of them.
    pub(super) fn hot<T>(
        &self,
        which: Hot,
        sql: &str,
        run: impl FnOnce(&mut CachedStatement<'a>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let slot = &mut self.hot.borrow_mut()[which as usize];
        match slot {
            Some(stmt) => run(stmt),
            None => run(slot.insert(self.sql.prepare_cached(sql)?)),
        }
    }

    /// Writes the gathered counts; the caller commits.
    pub(super) fn finish(mut self) -> Result<Heads> {
        self.write_counts()?;
        let Self { path, sql, heads, .. } = self;
        let err = |e: rusqlite::Error| StoreError::of(path, &e);
        let mut set = sql
            .prepare_cached(
                "insert into ledger (scope, name, outcome, detail, n) values ('head', '', ?1, '', ?2)
                 on conflict do update set n = excluded.n where n <> excluded.n",
            )
            .map_err(err)?;
        set.execute(("seq", heads.seq.0)).map_err(err)?;
        for kind in Kind::ALL {
            if let Some(seq) = heads.of_kind[kind as usize - 1] {
                set.execute((kind.as_str(), seq.0)).map_err(err)?;
            }
        }
        Ok(heads)
    }

    /// Writes what was counted so far.
    pub(super) fn write_counts(&mut self) -> Result<()> {
        self.count_appended();
        let counts = std::mem::take(&mut self.counts);
        let mut add = self
            .sql
            .prepare_cached(
                "insert into ledger (scope, name, outcome, detail, n) values (?1, ?2, ?3, ?4, ?5)
                 on conflict do update set n = n + excluded.n",
            )
            .map_err(|e| self.err(&e))?;
        for (count, n) in counts.into_iter().filter(|(_, n)| *n != 0) {
            add.execute((count.scope, &count.name, count.outcome, count.detail, n)).map_err(|e| self.err(&e))?;
        }
        Ok(())
    }

    /// When the transaction began.
    #[must_use]
    pub const fn now(&self) -> Stamp {
        self.now
    }

    /// The newest event, those of this transaction included.
    #[must_use]
    pub const fn head(&self) -> Seq {
        self.heads.seq
    }

    /// The number of this boot.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn boot(&mut self) -> Result<i64> {
        if let Some(boot) = self.boot {
            return Ok(boot);
        }
        let boot = self
            .sql
            .prepare_cached("select boot from runs where run = ?1")
            .and_then(|mut stmt| stmt.query_row([self.run], |row| row.get(0)))
            .map_err(|e| self.err(&e))?;
        self.boot = Some(boot);
        Ok(boot)
    }

    /// Appends an event unless its id is known. Leaves `outbox` and the event counts consistent.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn append(&mut self, draft: &Draft) -> Result<Append> {
        self.append_under(self.run, draft)
    }

    /// As [`Txn::append`], under the run that received it: the run names the boot of `received`.
    pub(super) fn append_under<'d>(&mut self, run: i64, draft: &'d Draft) -> Result<Append> {
        let seq = Seq(self.heads.seq.0 + 1);
        let slot = draft.kind as usize - 1;
        let text =
            |text: &'d Option<String>| text.as_ref().map_or(ValueRef::Null, |text| ValueRef::from(text.as_str()));
        let frozen: [ValueRef<'_>; digest::FROZEN.len()] = [
            ValueRef::Integer(seq.0),
            ValueRef::Blob(&draft.id.0),
            ValueRef::Integer(draft.kind as i64),
            ValueRef::Integer(run),
            self.heads.of_kind[slot].map_or(ValueRef::Null, |seq| ValueRef::Integer(seq.0)),
            ValueRef::Integer(draft.ts_ms),
            ValueRef::from(draft.tq.as_str()),
            ValueRef::Integer(draft.received.wall_ms),
            ValueRef::Integer(draft.received.mono_ms()),
            text(&draft.source),
            text(&draft.asset),
            text(&draft.place),
            text(&draft.code),
            ValueRef::from(draft.body.as_str()),
        ];
        let digest = ValueRef::Integer(digest::of(frozen));
        let sql =
            "insert into outbox (seq, id, kind, run, prev, ts_ms, tq, received_ms, mono_ms, source, asset, place, code,
                     body, digest)
                   values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
                   on conflict (id) do nothing";
        let values = frozen.into_iter().chain([digest]).map(ToSqlOutput::Borrowed);
        let added =
            self.hot(Hot::Append, sql, |stmt| stmt.execute(params_from_iter(values))).map_err(|e| self.err(&e))?;
        if added == 0 {
            return Ok(Append::Duplicate);
        }
        self.note_wall(run, draft)?;
        self.heads.seq = seq;
        self.heads.of_kind[slot] = Some(seq);
        self.appended[slot][usize::from(draft.source.is_none())] += 1;
        Ok(Append::New(seq))
    }

    /// Counts what was appended so far.
    fn count_appended(&mut self) {
        let waits = if self.heads.uplink { "unsent" } else { "local" };
        for (kind, [sent, derived]) in Kind::ALL.into_iter().zip(std::mem::take(&mut self.appended)) {
            self.add(Count::events("total", ""), sent + derived);
            self.add(Count::events("derived", ""), derived);
            self.add(Count::events(waits, kind.lane().as_str()), sent + derived);
        }
    }

    /// Counts a finished frame of a source: one `frames` and one of its outcome, together.
    pub fn frame(&mut self, source: &str, outcome: Outcome) {
        self.frames(source, outcome, 1);
    }

    /// Counts `n` finished frames with one outcome.
    pub fn frames(&mut self, source: &str, outcome: Outcome, n: i64) {
        self.add(Count::source(source, "frames", ""), n);
        self.add(Count::source(source, outcome.as_str(), outcome.detail()), n);
    }

    /// Takes the uplink on or off: from now on events are unsent, or local. Moves what lies after the cursors.
    pub(super) fn set_uplink(&mut self, on: bool, skip_kept: bool) -> Result<()> {
        if on && skip_kept && !self.heads.uplink {
            for lane in Lane::ALL {
                self.set_cursor(lane, self.heads.seq)?;
            }
        }
        if on != self.heads.uplink {
            self.count_appended();
            self.recall()?;
            for lane in Lane::ALL {
                let behind = self.count_after(lane)?;
                let (from, to) = if on { ("local", "unsent") } else { ("unsent", "local") };
                self.add(Count::events(from, lane.as_str()), -behind);
                self.add(Count::events(to, lane.as_str()), behind);
            }
            self.heads.uplink = on;
            self.sql
                .execute(
                    "insert into ledger values ('head', '', 'uplink', '', ?1) on conflict do update set n = excluded.n",
                    [i64::from(on)],
                )
                .map_err(|e| self.err(&e))?;
        }
        Ok(())
    }

    /// Where the wall clock stands for the events that are appended now; gone again with a transaction that fails.
    pub(super) const fn wall_mark(&mut self) -> &mut Option<Mark> {
        &mut self.heads.wall
    }

    /// Counts something; written before the commit.
    pub(super) fn add(&mut self, count: Count, n: i64) {
        *self.counts.entry(count).or_default() += n;
    }

    /// What this transaction has counted so far and not yet written.
    pub(super) fn pending(&self, count: &Count) -> i64 {
        self.counts.get(count).copied().unwrap_or(0)
    }

    pub(super) fn err(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::of(self.path, error)
    }

    /// Whether an event of this kind and source is in the log with an id whose time lies within `from_s..=to_s`.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn has_event_between(&self, kind: Kind, source: &str, from_s: u32, to_s: u32) -> Result<bool> {
        let bound = |seconds: u32, rest: u8| {
            let mut id = [rest; 16];
            id[..4].copy_from_slice(&seconds.to_be_bytes());
            id
        };
        self.sql
            .prepare_cached("select 1 from outbox where id between ?1 and ?2 and kind = ?3 and source = ?4 limit 1")
            .and_then(|mut stmt| {
                stmt.query_row((bound(from_s, 0), bound(to_s, 0xff), kind as i64, source), |_| Ok(())).optional()
            })
            .map(|found| found.is_some())
            .map_err(|e| self.err(&e))
    }

    /// Whether an event of this id is in the log.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn has_event(&self, id: EventId) -> Result<bool> {
        self.sql
            .prepare_cached("select 1 from outbox where id = ?1")
            .and_then(|mut stmt| stmt.query_row([id.0], |_| Ok(())).optional())
            .map(|found| found.is_some())
            .map_err(|e| self.err(&e))
    }

    /// The name of an event.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn event_id(&self, seq: Seq) -> Result<Option<EventId>> {
        self.sql
            .prepare_cached("select id from outbox where seq = ?1")
            .and_then(|mut stmt| stmt.query_row([seq.0], |row| row.get(0).map(EventId)).optional())
            .map_err(|e| self.err(&e))
    }

    /// Counts letters that were not kept because the like of them already are.
    pub fn sampled(&mut self, source: &str, reason: Reason, n: i64) {
        self.add(Count::letters("total", ""), n);
        self.add(Count::sampled(source, reason), n);
        self.add(Count::refused(source, reason), n);
    }
}
