//! Letters that a person tries again or gives up, and scans that are held until somebody names their asset.

use rusqlite::{Connection, OptionalExtension, named_params};

use crate::domain::{Lane, LetterStand, Loss, Reason, Seq, TimeQuality, UnixMs};

use super::error::Result;
use super::ledger::Count;
use super::letters::Origin;
use super::outbox;
use super::txn::{Append, Draft, Txn};

/// How long a letter that was given up can be opened again. ms
pub const RESTORE_MS: i64 = 30 * 86_400_000;
/// What was done with one letter: so much of it is kept.
const STEPS_MAX: i64 = 32;
const NOT_THERE: &str = "there is no such letter";

/// What is kept of a letter to try it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub letter: i64,
    /// open, retried, discarded or expired.
    pub state: String,
    /// Where it was lost.
    pub stage: String,
    /// Why, from the closed list.
    pub reason: String,
    /// The input it came from.
    pub source: Option<String>,
    /// Who sent it over the network.
    pub peer: Option<String>,
    /// The event it is about, where there is one.
    pub seq: Option<i64>,
    /// What arrived.
    pub bytes: Vec<u8>,
    /// Whether `bytes` is all of it.
    pub whole: bool,
    /// The node's wall clock at receipt.
    pub received_ms: UnixMs,
    /// Boot and `CLOCK_BOOTTIME` ms of its receipt.
    pub received: (i64, i64),
    /// When it happened and how far to believe it; none when that was not judged yet.
    pub when: Option<(UnixMs, TimeQuality)>,
    /// Repeats that were counted onto it.
    pub repeats: i64,
}

/// Somebody does something with a letter.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// Who.
    pub who: &'a str,
    /// retry, discard, restore.
    pub what: &'a str,
    /// Why; empty when nothing was said.
    pub note: &'a str,
}

/// The platform answers.
const BROKER: Act<'static> = Act { who: "uplink", what: "sent", note: "" };

/// How a letter stands.
struct Found {
    state: String,
    resend: bool,
    changed_ms: Option<UnixMs>,
    /// The lane of the event that could not be sent, when it is the letter of one.
    dead: Option<Lane>,
    /// Whether that event has left the log.
    is_gone: bool,
}

fn one(conn: &Connection, letter: i64) -> rusqlite::Result<Option<Kept>> {
    conn.prepare_cached(
        "select letter, state, stage, reason, source, peer, bytes, length, received_ms, boot, mono_ms, ts_ms, tq, repeats, seq
         from letters where letter = ?1",
    )?
    .query_row([letter], |row| {
        let bytes: Vec<u8> = row.get(6)?;
        let (ts_ms, tq): (Option<UnixMs>, Option<String>) = (row.get(11)?, row.get(12)?);
        Ok(Kept {
            letter: row.get(0)?,
            state: row.get(1)?,
            stage: row.get(2)?,
            reason: row.get(3)?,
            source: row.get(4)?,
            peer: row.get(5)?,
            seq: row.get(14)?,
            whole: i64::try_from(bytes.len()).is_ok_and(|kept| row.get::<_, i64>(7).is_ok_and(|all| all == kept)),
            bytes,
            received_ms: row.get(8)?,
            received: (row.get(9)?, row.get(10)?),
            when: ts_ms.zip(tq.map(|word| TimeQuality::from_word(&word))),
            repeats: row.get(13)?,
        })
    })
    .optional()
}

impl Txn<'_> {
    /// Holds a scan that decoded and whose asset nobody has named, with its time. Answers the letter's number.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn hold(&mut self, loss: &Loss, origin: &Origin, when: (UnixMs, TimeQuality), detail: &str) -> Result<i64> {
        // It is of stage `store`: such a letter is always kept, never sampled.
        self.park(loss, origin, None, detail)?;
        let letter = self.sql.last_insert_rowid();
        self.sql
            .prepare_cached("update letters set ts_ms = ?2, tq = ?3 where letter = ?1")
            .and_then(|mut stmt| stmt.execute((letter, when.0, when.1.as_str())))
            .map_err(|e| self.err(&e))?;
        Ok(letter)
    }

    /// Counts a repeat onto a held scan; false when its letter is no longer open.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn repeat_held(&mut self, letter: i64) -> Result<bool> {
        self.sql
            .prepare_cached("update letters set repeats = repeats + 1 where letter = ?1 and state = 'open'")
            .and_then(|mut stmt| stmt.execute([letter]))
            .map(|changed| changed == 1)
            .map_err(|e| self.err(&e))
    }

    /// A letter with what is kept of it.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn letter(&self, letter: i64) -> Result<Option<Kept>> {
        one(self.sql, letter).map_err(|e| self.err(&e))
    }

    /// Ends an open letter: its event is in the log. Leaves the counts consistent.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn retried(&mut self, letter: i64, act: &Act<'_>) -> Result<()> {
        if self.stands(letter, LetterStand::Open, LetterStand::Retried, act.note)? {
            self.step(letter, act, "stored")?;
        }
        Ok(())
    }

    /// Gives an open letter up, and its dead event with it; why not, when it stays as it is. Leaves the counts consistent.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn discard(&mut self, letter: i64, act: &Act<'_>) -> Result<Option<&'static str>> {
        let Some(found) = self.found(letter)? else { return Ok(Some(NOT_THERE)) };
        if found.resend {
            return Ok(Some("its event is on its way to the broker again"));
        }
        if !self.stands(letter, LetterStand::Open, LetterStand::Discarded, act.note)? {
            return Ok(Some("it is no longer open"));
        }
        if let Some(lane) = found.dead {
            self.event_moves(lane, "dead", "discarded");
        }
        self.step(letter, act, "")?;
        Ok(None)
    }

    /// Opens a letter again that was given up within [`RESTORE_MS`]: its event is dead again; why not, when it stays as it
    /// is. Leaves the counts consistent.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn restore(&mut self, letter: i64, act: &Act<'_>) -> Result<Option<&'static str>> {
        let Some(found) = self.found(letter)? else { return Ok(Some(NOT_THERE)) };
        if found.state != LetterStand::Discarded.as_str() {
            return Ok(Some("it was not discarded"));
        }
        if found.changed_ms.is_some_and(|at| self.now.wall_ms.saturating_sub(at) > RESTORE_MS) {
            return Ok(Some("it was discarded more than 30 days ago"));
        }
        if found.is_gone {
            return Ok(Some("its event has left the log; it is in the archive if one is kept"));
        }
        if self.stands(letter, LetterStand::Discarded, LetterStand::Open, act.note)? {
            if let Some(lane) = found.dead {
                self.event_moves(lane, "discarded", "dead");
            }
            self.step(letter, act, "")?;
        }
        Ok(None)
    }

    /// Has the dead event of an open letter sent again, under the id and the seq it has: it is unsent, behind the cursor of
    /// its lane, and its letter says so; why not, when it stays as it is. Leaves the counts consistent.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn resend(&mut self, letter: i64, act: &Act<'_>) -> Result<Option<&'static str>> {
        let Some(found) = self.found(letter)? else { return Ok(Some(NOT_THERE)) };
        let Some(lane) = found.dead.filter(|_| !found.is_gone) else {
            return Ok(Some("its event is no longer in the log"));
        };
        if found.resend {
            return Ok(Some("its event is on its way to the broker again"));
        }
        if !self.heads.uplink {
            return Ok(Some("this node has no uplink to send it by"));
        }
        let marked = self
            .sql
            .prepare_cached("update letters set resend = 1 where letter = ?1 and state = 'open' and resend = 0")
            .and_then(|mut stmt| stmt.execute([letter]))
            .map_err(|e| self.err(&e))?;
        if marked == 0 {
            return Ok(Some("it is no longer open"));
        }
        self.event_moves(lane, "dead", "unsent");
        self.heads.resends += 1;
        self.step(letter, act, "to be sent again")?;
        Ok(None)
    }

    /// The broker took an event that was sent again; whether anybody subscribes. Ends its letter. One that nobody waits for
    /// any more changes nothing: a report that comes twice counts once. Leaves the counts consistent.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn resent(&mut self, lane: Lane, seq: Seq, heard: bool) -> Result<()> {
        let Some(letter) = self.on_its_way(seq)? else { return Ok(()) };
        self.stands(letter, LetterStand::Open, LetterStand::Retried, "")?;
        self.event_moves(lane, "unsent", if heard { "sent" } else { "sent_unheard" });
        self.step(letter, &BROKER, if heard { "" } else { "nobody subscribes" })
    }

    /// The broker refused an event again: it is dead again, and its letter says why this time. Leaves the counts consistent.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn bury_again(&mut self, lane: Lane, seq: Seq, reason: Reason, detail: &str) -> Result<()> {
        let Some(letter) = self.on_its_way(seq)? else { return Ok(()) };
        let (source, before) = self
            .sql
            .prepare_cached("select coalesce(source, ''), reason from letters where letter = ?1")
            .and_then(|mut stmt| {
                stmt.query_row([letter], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
            })
            .map_err(|e| self.err(&e))?;
        self.sql
            .prepare_cached("update letters set resend = 0, reason = ?2, class = ?3, detail = ?4 where letter = ?1")
            .and_then(|mut stmt| stmt.execute((letter, reason.as_str(), reason.class().as_str(), detail)))
            .map_err(|e| self.err(&e))?;
        if let Some(before) = Reason::from_code(&before) {
            self.add(Count::refused(&source, before), -1);
            self.add(Count::refused(&source, reason), 1);
        }
        self.event_moves(lane, "unsent", "dead");
        self.step(letter, &Act { what: "refused", ..BROKER }, &format!("{} {detail}", reason.as_str()))
    }

    /// Takes back what waits to be sent again: without an uplink nobody sends it. Leaves the counts consistent.
    pub(super) fn recall(&mut self) -> Result<()> {
        let found: Vec<i64> = self
            .sql
            .prepare_cached("select letter from letters where resend = 1")
            .and_then(|mut stmt| stmt.query_map([], |row| row.get(0))?.collect())
            .map_err(|e| self.err(&e))?;
        for letter in found {
            if let Some(Found { dead: Some(lane), .. }) = self.found(letter)? {
                self.event_moves(lane, "unsent", "dead");
            }
            self.sql
                .prepare_cached("update letters set resend = 0 where letter = ?1")
                .and_then(|mut stmt| stmt.execute([letter]))
                .map_err(|e| self.err(&e))?;
            self.step(letter, &Act { what: "refused", ..BROKER }, "the node has no uplink any more")?;
        }
        Ok(())
    }

    /// Notes what was done with a letter and what it came to. Of many the newest 32 are kept.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn step(&mut self, letter: i64, act: &Act<'_>, came: &str) -> Result<()> {
        let gap = if came.is_empty() || act.note.is_empty() { "" } else { ": " };
        let came = format!("{came}{gap}{}", act.note);
        self.sql
            .prepare_cached(
                "insert into steps select ?1, coalesce(max(nth), 0) + 1, ?2, ?3, ?4, ?5 from steps where letter = ?1",
            )
            .and_then(|mut stmt| stmt.execute((letter, self.now.wall_ms, act.who, act.what, came)))
            .map_err(|e| self.err(&e))?;
        self.sql
            .prepare_cached(
                "delete from steps where letter = ?1 and nth <= (select max(nth) from steps where letter = ?1) - ?2",
            )
            .and_then(|mut stmt| stmt.execute((letter, STEPS_MAX)))
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// Moves a letter from one stand to another; false when it did not stand there.
    fn stands(&mut self, letter: i64, from: LetterStand, to: LetterStand, note: &str) -> Result<bool> {
        let moved = self
            .sql
            .prepare_cached(
                "update letters set state = :to, changed_ms = :now, resend = 0,
                   note = case when :note = '' then note else :note end
                 where letter = :letter and state = :from",
            )
            .and_then(|mut stmt| {
                stmt.execute(named_params! {
                    ":from": from.as_str(),
                    ":to": to.as_str(),
                    ":now": self.now.wall_ms,
                    ":note": note,
                    ":letter": letter,
                })
            })
            .map_err(|e| self.err(&e))?;
        if moved == 1 {
            self.add(Count::letters(from.as_str(), ""), -1);
            self.add(Count::letters(to.as_str(), ""), 1);
        }
        Ok(moved == 1)
    }

    fn event_moves(&mut self, lane: Lane, from: &'static str, to: &'static str) {
        self.add(Count::events(from, lane.as_str()), -1);
        self.add(Count::events(to, lane.as_str()), 1);
    }

    /// The letter whose event is on its way again.
    fn on_its_way(&self, seq: Seq) -> Result<Option<i64>> {
        self.sql
            .prepare_cached("select letter from letters where seq = ?1 and resend = 1")
            .and_then(|mut stmt| stmt.query_row([seq.0], |row| row.get(0)).optional())
            .map_err(|e| self.err(&e))
    }

    fn found(&self, letter: i64) -> Result<Option<Found>> {
        self.sql
            .prepare_cached(
                "select l.state, l.resend, l.changed_ms, l.stage = 'uplink' and l.seq is not null, o.seq is null, o.kind
                 from letters l left join outbox o on o.seq = l.seq where l.letter = ?1",
            )
            .and_then(|mut stmt| {
                stmt.query_row([letter], |row| {
                    let (of_event, gone): (bool, bool) = (row.get(3)?, row.get(4)?);
                    // A damaged row may hold anything; it is sent by the lane that would find it.
                    let lane = outbox::lane_of(row.get_ref(5)?.as_i64().unwrap_or(i64::MAX));
                    Ok(Found {
                        state: row.get(0)?,
                        resend: row.get(1)?,
                        changed_ms: row.get(2)?,
                        dead: of_event.then_some(lane),
                        is_gone: of_event && gone,
                    })
                })
                .optional()
            })
            .map_err(|e| self.err(&e))
    }

    /// Appends the event of a letter that is tried again, under the run that received it: `mono_ms` counts in that boot.
    ///
    /// Leaves the event counts consistent: it is `retried`, not stored, for its frame has been counted already.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn append_retried(&mut self, draft: &Draft, boot: i64, repeats: i64) -> Result<Append> {
        let run = self
            .sql
            .prepare_cached(
                "select run from runs where boot = ?1 and epoch = (select v from meta where k = 'db_epoch') order by run desc limit 1",
            )
            .and_then(|mut stmt| stmt.query_row([boot], |row| row.get(0)).optional())
            .map_err(|e| self.err(&e))?;
        // Of another life of the store: it belongs to this one from now on.
        let appended = self.append_under(run.unwrap_or(self.run), draft)?;
        let Append::New(seq) = appended else { return Ok(appended) };
        self.add(Count::retried(draft.source.as_deref().unwrap_or_default()), 1);
        if repeats > 0 {
            self.sql
                .prepare_cached("update outbox set repeats = ?2 where seq = ?1")
                .and_then(|mut stmt| stmt.execute((seq.0, repeats)))
                .map_err(|e| self.err(&e))?;
        }
        Ok(appended)
    }
}
