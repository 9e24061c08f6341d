//! What begins a new life of the store: its file is older than the high-water mark, belongs to another life, or was put together
//! from a damaged one. The log goes on behind the highest seq that anybody knows, what is missing is named, and the counts
//! are set right.

use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use crate::domain::{Epoch, EventId, Kind, Lane, Seq, Stage, Stamp, TimeQuality, UnixMs};

use super::base::{self, BASE};
use super::error::Result;
use super::ledger::{self, Line};
use super::lost::{self, Lost, Past};
use super::machine::{self, Woke};
use super::mark::{Found, Mark};
use super::mend::{self, Facts};
use super::outbox;
use super::pages::RawRow;
use super::txn::{Draft, Txn};
use super::walk;
use super::{Identity, Look, Reader};

/// In `meta`: the places are to be told anew from the log.
const REBUILD: &str = "rebuild";
/// In `meta`: a person put this file here, and what else is known of that.
const RESTORED: &str = "restored";
/// A new life that is nobody's trouble.
const RENAMED: &str = "renamed";
/// In `meta`: what a person is to be told of a restore, as long as its folder in the quarantine is there.
const TOLD: &str = "restored_told";
/// Ranges that a sentence names.
const NAMED_MAX: usize = 8;

/// Something that was found at the opening of the store and a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The name of its alarm: `store_rolled_back`, `store_restored`, `store_salvaged`, `ledger_mended`.
    pub name: &'static str,
    /// What was found.
    pub text: String,
    /// What to do.
    pub advice: String,
    /// When. UTC ms
    pub at_ms: UnixMs,
}

/// What is known beside the file that was opened.
pub(super) struct Evidence<'a> {
    /// The high-water mark, if there is a good one.
    pub(super) mark: Option<&'a Mark>,
    /// The file was put together from a damaged one, and this was its epoch.
    pub(super) salvaged: bool,
    /// Somebody put the file here on purpose.
    pub(super) restored: Option<Restored>,
    /// It goes on as another node than it was.
    pub(super) moved: Option<Moved>,
}

/// Why a sound store goes on as another node: then no place in its log may be one that the node it was gives too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// It woke on another machine.
    Machine,
    /// It has another name; this one it had.
    Name(String),
}

/// Whether a store goes on as another node.
pub(super) fn moved(conn: &Connection, who: &Identity, woke: Woke) -> rusqlite::Result<Option<Moved>> {
    if woke == Woke::Away {
        return Ok(Some(Moved::Machine));
    }
    let name =
        "select site || '/' || node from runs where (site, node) <> (?1, ?2) and run = (select max(run) from runs)";
    let name = conn.query_row(name, (&who.site, &who.node), |row| row.get(0)).optional()?;
    Ok(name.map(Moved::Name))
}

/// What a copy that was put in the place of a store carries with it until its new life begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Restored {
    /// Who asked for it.
    pub(super) by: String,
    /// The highest seq that the store before it knew.
    pub(super) top: i64,
    /// The folder of the quarantine that has the store before it, if there was one.
    pub(super) folder: PathBuf,
}

/// What a person is told of a restore at every start until the folder is moved away.
#[derive(Serialize, Deserialize)]
struct Told {
    text: String,
    at_ms: UnixMs,
    folder: PathBuf,
}

impl Told {
    fn finding(self) -> Finding {
        let folder = self.folder.display();
        Finding {
            name: "store_restored",
            text: self.text,
            advice: format!(
                "If this was meant: move {folder} away, it holds the store that was there, if there was one. The alarm ends \
                 with the start after that."
            ),
            at_ms: self.at_ms,
        }
    }
}

/// What is still to be told of the last restore of this file.
pub(super) fn told_of_restore(conn: &Connection) -> rusqlite::Result<Option<Finding>> {
    let told: Option<String> =
        conn.query_row("select v from meta where k = ?1", [TOLD], |row| row.get(0)).optional()?;
    let told = told.and_then(|told| serde_json::from_str::<Told>(&told).ok());
    if let Some(told) = told.filter(|told| told.folder.is_dir()) {
        return Ok(Some(told.finding()));
    }
    conn.execute("delete from meta where k = ?1", [TOLD])?;
    Ok(None)
}

impl Restored {
    /// Says so in the copy: then its next opening begins a new life, whenever that is.
    pub(super) fn note(&self, conn: &Connection) -> rusqlite::Result<()> {
        let told = serde_json::json!(self).to_string();
        conn.execute("insert or replace into meta values (?1, ?2)", (RESTORED, told)).map(|_| ())
    }

    /// What the file says of itself.
    pub(super) fn read(conn: &Connection) -> rusqlite::Result<Option<Self>> {
        let told: Option<String> =
            conn.query_row("select v from meta where k = ?1", [RESTORED], |row| row.get(0)).optional()?;
        Ok(told.and_then(|told| serde_json::from_str(&told).ok()))
    }
}

/// How a new life begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NewLife {
    /// Events that are missing, as ranges.
    pub(super) lost: Vec<(i64, i64)>,
    /// Events that were found in what the file system still held.
    pub(super) found: usize,
    /// Events that are in the log.
    pub(super) events: i64,
    /// The file holds nothing: somebody took it away.
    pub(super) is_empty: bool,
    /// Somebody put it here on purpose.
    pub(super) restored: Option<Restored>,
    /// It is sound, and goes on as another node.
    pub(super) moved: Option<Moved>,
}

impl<'a> Evidence<'a> {
    pub(super) const fn new(found: &'a Found, salvaged: bool, restored: Option<Restored>) -> Self {
        let mark = if let Found::Mark(mark) = found { Some(mark) } else { None };
        Self { mark, salvaged, restored, moved: None }
    }

    /// Whether a new life begins with this file.
    pub(super) fn is_new_life(&self, conn: &Connection) -> rusqlite::Result<bool> {
        Ok(self.moved.is_some() || self.is_not_whole(conn)?)
    }

    /// Whether it is not what was last written here.
    fn is_not_whole(&self, conn: &Connection) -> rusqlite::Result<bool> {
        let forced = self.salvaged || self.restored.is_some();
        let Some(mark) = self.mark else { return Ok(forced) };
        Ok(forced || mark.seq > head(conn)?.0 || mark.epoch() != epoch(conn)?)
    }

    /// The seqs after the log's head that the mark says were committed.
    pub(super) fn tail(&self, conn: &Connection) -> rusqlite::Result<Option<(Seq, Seq)>> {
        let Some(mark) = self.mark else { return Ok(None) };
        let head = head(conn)?;
        let same = mark.epoch() == epoch(conn)? && self.restored.is_none();
        Ok((same && mark.seq > head.0).then_some((head, Seq(mark.seq))))
    }

    /// Begins the new life: `epoch` is its name, `tail` what was found of the events after the log's head.
    pub(super) fn begin(
        &self,
        conn: &Connection,
        fresh: Epoch,
        tail: &[RawRow],
        at_ms: UnixMs,
    ) -> rusqlite::Result<NewLife> {
        if !self.is_not_whole(conn)? {
            return self.move_on(conn, fresh);
        }
        let (head, was) = (head(conn)?, epoch(conn)?);
        let top = self.top(conn)?;
        let known = self.mark.and_then(Mark::epoch).or(was).map_or_else(String::new, |epoch| epoch.to_string());
        let mut found = 0;
        for row in tail {
            found += usize::from(row.insert(conn)?);
        }
        self.take_over(conn, top)?;
        let left = self.mark.map_or(Seq(0), |mark| mark.cursor(BASE)).max(base::base(conn)?);
        let after = if self.salvaged { left } else { head.max(left) };
        let gaps = lost::gaps(conn, after, Seq(top))?;
        let reason = if self.salvaged { "damaged" } else { "rolled_back" };
        let range = |&(from, to): &(i64, i64)| Lost { epoch: known.clone(), from, to, reason: reason.into(), at_ms };
        lost::put(conn, &gaps.iter().map(range).collect::<Vec<_>>())?;
        self.mend(conn, top, Vec::new())?;
        let past = [Some(known), was.map(|epoch| epoch.to_string())].into_iter().flatten();
        let past: Vec<Past> =
            past.filter(|epoch| !epoch.is_empty()).map(|epoch| Past { epoch, last_produced: top }).collect();
        lost::put_past(conn, &past)?;
        conn.execute(
            "insert into meta values ('db_epoch', ?1) on conflict do update set v = excluded.v",
            [fresh.to_string()],
        )?;
        conn.execute("insert or replace into meta values (?1, '1')", [REBUILD])?;
        conn.execute("delete from meta where k = ?1", [RESTORED])?;
        let events = conn.query_row("select count(*) from outbox", [], |row| row.get(0))?;
        let (restored, is_empty) = (self.restored.clone(), events == 0 && !self.salvaged);
        Ok(NewLife { lost: gaps, found, events, is_empty, restored, moved: None })
    }

    /// Begins the new life of a sound store that goes on as another node.
    fn move_on(&self, conn: &Connection, fresh: Epoch) -> rusqlite::Result<NewLife> {
        if let Some(epoch) = epoch(conn)? {
            lost::put_past(conn, &[Past { epoch: epoch.to_string(), last_produced: head(conn)?.0 }])?;
        }
        conn.execute("update meta set v = ?1 where k = 'db_epoch'", [fresh.to_string()])?;
        // No event of the new life has one of its kind before it.
        conn.execute("delete from ledger where scope = 'head' and outcome not in ('seq', 'uplink')", [])?;
        let events = conn.query_row("select count(*) from outbox", [], |row| row.get(0))?;
        Ok(NewLife { events, moved: self.moved.clone(), ..NewLife::default() })
    }

    /// The highest seq that anybody knows.
    fn top(&self, conn: &Connection) -> rusqlite::Result<i64> {
        let before = self.restored.as_ref().map_or(0, |restored| restored.top);
        Ok(self.mark.map_or(0, |mark| mark.seq).max(before).max(head(conn)?.0))
    }

    /// Sets right counts that do not balance, and cursors that point behind the end: somebody else than the store wrote them.
    pub(super) fn mend_counts(&self, conn: &Connection, at_ms: UnixMs) -> rusqlite::Result<Option<Finding>> {
        let top = self.top(conn)?;
        let beyond = conn.prepare("select 1 from cursors where seq > ?1")?.exists([top])?;
        if mend::is_sound(&ledger::lines(conn)?) && !beyond {
            return Ok(None);
        }
        for lane in Lane::ALL {
            if outbox::cursor(conn, lane)?.0 > top {
                // What it leaves out would never be sent. In doubt twice.
                set_cursor(conn, lane.as_str(), self.mark.map_or(0, |mark| mark.cursor(lane.as_str()).0.min(top)))?;
            }
        }
        if base::base(conn)?.0 > top {
            set_cursor(conn, BASE, self.mark.map_or(0, |mark| mark.cursor(BASE).0.min(top)))?;
        }
        self.mend(conn, top, heads(conn, top)?)?;
        Ok(Some(Finding {
            name: "ledger_mended",
            text: "The counts of the store did not balance when it was opened; they were set right from the events."
                .into(),
            advice: "If this comes back, replace the card. The alarm ends with the next start.".into(),
            at_ms,
        }))
    }

    /// What the mark knows and the file does not: lives, losses, and how far the platform has acknowledged.
    fn take_over(&self, conn: &Connection, top: i64) -> rusqlite::Result<()> {
        let Some(mark) = self.mark else { return Ok(()) };
        // Up to its own head a sound file knows what it holds: it may be from before the loss.
        let known = if self.salvaged { 0 } else { head(conn)?.0 };
        let lost = mark.lost.iter().filter(|lost| lost.to > known);
        let lost: Vec<Lost> = lost.map(|lost| Lost { from: lost.from.max(known + 1), ..lost.clone() }).collect();
        lost::put(conn, &lost)?;
        lost::put_past(conn, &mark.past)?;
        let same = mark.epoch() == epoch(conn)?;
        for lane in Lane::ALL {
            let (stands, marked) = (outbox::cursor(conn, lane)?, mark.cursor(lane.as_str()));
            // A cursor of a damaged file is not to be believed: what it leaves out would never be sent. In doubt twice.
            let seq = match (self.salvaged, same) {
                (true, _) => marked,
                (false, true) => marked.max(stands),
                (false, false) => stands,
            };
            set_cursor(conn, lane.as_str(), seq.0.min(top))?;
        }
        if self.salvaged {
            let stands = base::base(conn)?;
            let seq = if stands.0 <= top { stands.max(mark.cursor(BASE)) } else { mark.cursor(BASE) };
            set_cursor(conn, BASE, seq.0)?;
        }
        Ok(())
    }

    fn mend(&self, conn: &Connection, top: i64, heads: Vec<(Kind, i64)>) -> rusqlite::Result<()> {
        let stored = ledger::lines(conn)?;
        let marked = self.mark.map(|mark| mark.ledger.as_slice());
        let lines: &[Line] = match marked {
            // A file that was put here on purpose counts its own rows; of what came after them only the number is known.
            _ if self.restored.is_some() && mend::is_sound(&stored) => stored.as_slice(),
            Some(marked) if mend::total(marked) > mend::total(&stored) || !mend::is_sound(&stored) => marked,
            _ if mend::is_sound(&stored) => stored.as_slice(),
            _ => &[],
        };
        let mut newer = conn.prepare("select source, count(*) from outbox where seq > ?1 group by source")?;
        let newer = newer
            .query_map([mend::total(lines)], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        // What a cursor that went back has before it again is sent by its lane, not by its letter.
        conn.execute(
            "update letters set resend = 0 where resend = 1 and not exists (
               select 1 from outbox o where o.seq = letters.seq and o.seq <= coalesce(
                 (select c.seq from cursors c where c.name = case when o.kind <= ?1 then 'fix' else 'scan' end), 0))",
            [Kind::Fix as i64],
        )?;
        let again = walk::again(conn)?;
        let [scans, fixes] = again;
        let after = [outbox::count_after(conn, Lane::Scan)? + scans, outbox::count_after(conn, Lane::Fix)? + fixes];
        let (lost, letters) = (lost::count(conn)?, walk::letters(conn)?);
        let facts = Facts { head: top, newer, lost, after, letters, again: again.iter().sum(), heads };
        ledger::replace(conn, &mend::mend(lines, &facts))
    }
}

/// The life that a file belongs to; none for one that was just made.
pub(super) fn epoch(conn: &Connection) -> rusqlite::Result<Option<Epoch>> {
    let epoch: Option<String> =
        conn.query_row("select v from meta where k = 'db_epoch'", [], |row| row.get(0)).optional()?;
    Ok(epoch.and_then(|epoch| epoch.parse().ok()))
}

/// The newest event that was numbered: the ledger says it, where it can be relied on. A row beyond what it says was not
/// counted, because the ledger was lost.
fn head(conn: &Connection) -> rusqlite::Result<Seq> {
    let newest = newest(conn)?;
    if !mend::is_sound(&ledger::lines(conn)?) {
        return Ok(Seq(newest));
    }
    conn.query_row("select coalesce(max(n), 0) from ledger where scope = 'head' and outcome = 'seq'", [], |row| {
        row.get(0).map(|counted: i64| Seq(counted.max(newest)))
    })
}

/// The newest event of each kind in the present life, as far as the log or a count that can be tells.
fn heads(conn: &Connection, top: i64) -> rusqlite::Result<Vec<(Kind, i64)>> {
    let mut newest = conn.prepare(
        "select max(o.seq) from outbox o join runs r on r.run = o.run
         where o.kind = ?1 and r.epoch = (select v from meta where k = 'db_epoch')",
    )?;
    let mut counted = conn.prepare("select max(n) from ledger where scope = 'head' and outcome = ?1 and n <= ?2")?;
    let mut heads = Vec::new();
    for kind in Kind::ALL {
        let there: Option<i64> = newest.query_row([kind as i64], |row| row.get(0))?;
        let says: Option<i64> = counted.query_row((kind.as_str(), top), |row| row.get(0))?;
        heads.extend(there.max(says).filter(|seq| *seq > 0).map(|seq| (kind, seq)));
    }
    Ok(heads)
}

/// A run names its life; one that names none that is known is damaged, and of the life of its neighbour.
pub(super) fn mend_runs(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "create temp view if not exists lives as select epoch from past union select v from meta where k = 'db_epoch';
         update runs set epoch = coalesce(
           (select n.epoch from runs n where n.epoch in (select epoch from lives) order by abs(n.run - runs.run) limit 1),
           (select v from meta where k = 'db_epoch'))
         where epoch not in (select epoch from lives);",
    )
}

fn newest(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("select coalesce(max(seq), 0) from outbox", [], |row| row.get(0))
}

fn set_cursor(conn: &Connection, name: &str, seq: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("insert into cursors values (?1, ?2) on conflict do update set seq = excluded.seq")?
        .execute((name, seq))
        .map(|_| ())
}

impl NewLife {
    /// Keeps what a person is to be told of a restore for the starts to come: the command that did it was the first of them.
    pub(super) fn note(&self, conn: &Connection, at_ms: UnixMs) -> rusqlite::Result<()> {
        let Some(told) = self.told(at_ms) else { return Ok(()) };
        conn.execute("insert or replace into meta values (?1, ?2)", (TOLD, serde_json::json!(told).to_string()))
            .map(|_| ())
    }

    fn told(&self, at_ms: UnixMs) -> Option<Told> {
        let Restored { by, folder, .. } = self.restored.as_ref()?;
        let text = format!("A backup was put in the place of the store by {by}: {}.", missing(&self.lost));
        Some(Told { text, at_ms, folder: folder.clone() })
    }

    /// What a rolled back file came to, for people.
    pub(super) fn finding(&self, at_ms: UnixMs) -> Finding {
        match &self.moved {
            Some(Moved::Machine) => return machine::stranger(at_ms),
            Some(Moved::Name(was)) => {
                let text = format!("The node was {was} and has another name now: a new life of its store.");
                return Finding { name: RENAMED, text, advice: String::new(), at_ms };
            }
            None => {}
        }
        let what = if self.is_empty { "The database was gone" } else { "The database came back older than it was" };
        if let Some(told) = self.told(at_ms) {
            return told.finding();
        }
        let found = if self.found > 0 { format!(" {} more were found in its log.", self.found) } else { String::new() };
        Finding {
            name: "store_rolled_back",
            text: format!("{what}: {}.{found}", missing(&self.lost)),
            advice:
                "If nobody put an old copy back, replace the card: it loses what it has acknowledged. The alarm ends \
                     with the next start."
                    .into(),
            at_ms,
        }
    }
}

impl Finding {
    /// Whether a person should know of it until it is over.
    pub(super) fn is_alarm(&self) -> bool {
        self.name != RENAMED
    }
}

/// Missing ranges in words. The mark is up to 1,000 events or a minute behind: what it does not know of may be gone too.
pub(super) fn missing(lost: &[(i64, i64)]) -> String {
    let n: i64 = lost.iter().map(|(from, to)| to - from + 1).sum();
    if n == 0 {
        return "no event is known to be missing".into();
    }
    let range = |(from, to): &(i64, i64)| if from == to { from.to_string() } else { format!("{from} to {to}") };
    let mut named: Vec<String> = lost.iter().take(NAMED_MAX).map(range).collect();
    if lost.len() > NAMED_MAX {
        named.push(format!("and {} more ranges", lost.len() - NAMED_MAX));
    }
    format!("{n} events are missing ({})", named.join(", "))
}

impl Reader<'_> {
    /// Whether events were lost or found since the places were told from them last.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn wants_rebuild(&self) -> Look<bool> {
        self.conn.prepare_cached("select 1 from meta where k = ?1")?.exists([REBUILD])
    }
}

impl Txn<'_> {
    /// Notes that the places were told anew.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn rebuilt(&mut self) -> Result<()> {
        self.sql.execute("delete from meta where k = ?1", [REBUILD]).map(|_| ()).map_err(|e| self.err(&e))
    }

    /// Tells the platform and the failure log of a new life.
    pub(super) fn tell(&mut self, finding: &Finding, random: u64) -> Result<()> {
        let at = self.now();
        let name = "store_restored";
        let body = serde_json::json!({ "note": name, "text": finding.text }).to_string();
        let draft = Draft {
            id: id(at, random),
            kind: Kind::Note,
            ts_ms: at.wall_ms,
            tq: TimeQuality::None,
            received: at,
            source: None,
            asset: None,
            place: None,
            code: None,
            body,
        };
        self.append(&draft)?;
        if finding.is_alarm() {
            tracing::error!(name = finding.name, "{}", finding.text);
            return self.log_failure(Stage::Store, finding.name, &finding.text);
        }
        tracing::warn!("{}", finding.text);
        self.audit("the configuration", "rename", &finding.text)
    }
}

/// The name of a note that is told once: the time and a random number, no two are the same.
fn id(at: Stamp, random: u64) -> EventId {
    let mut id = [0; 16];
    let seconds = u32::try_from(at.wall_ms.div_euclid(1000).clamp(0, i64::from(u32::MAX))).unwrap_or(0);
    id[..4].copy_from_slice(&seconds.to_be_bytes());
    id[4..12].copy_from_slice(&random.to_be_bytes());
    EventId(id)
}
