//! Dead letters: what could not go on, kept for a person.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, named_params};

use crate::domain::{
    Class, EventId, Lane, Letter, LetterFilter, LetterGroup, LetterSheet, LetterStand, Loss, Reason, Seq, Stage, Stamp,
    Step, UnixMs,
};

use super::error::Result;
use super::ledger::Count;
use super::outbox::Damaged;
use super::txn::Txn;
use super::{Look, Reader};

/// Letters that may be open at once before noise is only counted, as sampled.
pub const OPEN_MAX: i64 = 10_000;
const HOUR_MS: i64 = 3_600_000;

/// Of a damaged event, kept in its letter.
const EVIDENCE_BYTES: usize = 4096;

/// Where a loss came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The input.
    pub source: String,
    /// Who sent it over the network.
    pub peer: Option<String>,
    /// When it was received.
    pub received: Stamp,
}

/// The letters that a filter means; its values are bound by [`meant`].
pub(super) const MEANT: &str = "(:stand is null or state = :stand) and (:reason is null or reason = :reason)
     and (:source is null or source = :source) and (:stage is null or stage = :stage) and (:class is null or class = :class)
     and (:from is null or received_ms >= :from) and (:to is null or received_ms < :to)
     and (:text is null or instr(detail, :text) > 0 or instr(note, :text) > 0
       or (:in_bytes and instr(bytes, cast(:text as blob)) > 0))";

/// The values of [`MEANT`].
pub(super) fn meant(filter: &LetterFilter) -> [(&'static str, Value); 9] {
    let text = |text: Option<&str>| text.map_or(Value::Null, |text| Value::Text(text.to_owned()));
    let number = |n: Option<i64>| n.map_or(Value::Null, Value::Integer);
    [
        (":stand", text(filter.stand.map(LetterStand::as_str))),
        (":reason", text(filter.reason.map(Reason::as_str))),
        (":source", text(filter.source.as_deref())),
        (":stage", text(filter.stage.map(Stage::as_str))),
        (":class", text(filter.class.map(Class::as_str))),
        (":from", number(filter.from_ms)),
        (":to", number(filter.to_ms)),
        (":text", text(filter.text.as_deref())),
        (":in_bytes", Value::Integer(i64::from(filter.in_bytes))),
    ]
}

const COLUMNS: &str =
    "letter, state, stage, reason, class, source, peer, seq, bytes, length, detail, received_ms, resend,
    changed_ms, note";

fn letter_of(row: &Row<'_>) -> rusqlite::Result<Letter> {
    Ok(Letter {
        letter: row.get(0)?,
        state: row.get(1)?,
        stage: row.get(2)?,
        reason: row.get(3)?,
        class: row.get(4)?,
        source: row.get(5)?,
        peer: row.get(6)?,
        seq: row.get(7)?,
        bytes: row.get(8)?,
        length: row.get(9)?,
        detail: row.get(10)?,
        received_ms: row.get(11)?,
        resend: row.get(12)?,
        changed_ms: row.get(13)?,
        note: row.get(14)?,
    })
}

/// Letters before a number, newest first.
fn list(conn: &Connection, filter: &LetterFilter, before: i64, limit: usize) -> rusqlite::Result<Vec<Letter>> {
    let sql =
        format!("select {COLUMNS} from letters where {MEANT} and letter < :before order by letter desc limit :limit");
    let mut stmt = conn.prepare_cached(&sql)?;
    let mut values = meant(filter).to_vec();
    values.push((":before", Value::Integer(before)));
    values.push((":limit", Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX))));
    let values: Vec<(&str, &dyn ToSql)> = values.iter().map(|(name, value)| (*name, value as &dyn ToSql)).collect();
    stmt.query_map(values.as_slice(), letter_of)?.collect()
}

/// One letter with all that is known of it.
fn sheet(conn: &Connection, letter: i64) -> rusqlite::Result<Option<LetterSheet>> {
    let found = conn
        .prepare_cached(&format!("select {COLUMNS} from letters where letter = ?1"))?
        .query_row([letter], letter_of)
        .optional()?;
    let Some(letter) = found else { return Ok(None) };
    let event = match letter.seq {
        Some(seq) => conn
            .prepare_cached("select id from outbox where seq = ?1")?
            .query_row([seq], |row| row.get(0).map(EventId))
            .optional()?,
        None => None,
    };
    let steps = conn
        .prepare_cached("select at_ms, who, what, came from steps where letter = ?1 order by nth")?
        .query_map([letter.letter], |row| {
            Ok(Step { at_ms: row.get(0)?, who: row.get(1)?, what: row.get(2)?, came: row.get(3)? })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let (same_reason, same_source) = conn
        .prepare_cached(
            "select count(*), count(*) filter (where source is ?2) from letters where state = 'open' and reason = ?1",
        )?
        .query_row((&letter.reason, &letter.source), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let around = conn
        .prepare_cached("select count(*) from letters where source is ?1 and abs(received_ms - ?2) <= ?3")?
        .query_row((&letter.source, letter.received_ms, HOUR_MS), |row| row.get(0))?;
    let sampled = conn
        .prepare_cached(
            "select coalesce(sum(n), 0) from ledger
             where scope = 'letters' and name = ?1 and outcome = 'sampled' and detail = ?2",
        )?
        .query_row((letter.source.as_deref().unwrap_or_default(), &letter.reason), |row| row.get(0))?;
    Ok(Some(LetterSheet { letter, event, steps, same_reason, same_source, around, sampled }))
}

/// The letters by reason, with those of the `hours` hours before a time in hours; the most open first.
fn groups(conn: &Connection, upto_ms: UnixMs, hours: usize) -> rusqlite::Result<Vec<LetterGroup>> {
    let mut groups: BTreeMap<String, LetterGroup> = BTreeMap::new();
    let mut group = |code: &str, put: &mut dyn FnMut(&mut LetterGroup)| {
        let Some(reason) = Reason::from_code(code) else { return };
        let empty = LetterGroup { reason, open: 0, count: 0, sampled: 0, span_ms: None, hours: vec![0; hours] };
        put(groups.entry(code.to_owned()).or_insert(empty));
    };
    for (reason, n) in open_by_reason(conn)? {
        group(reason.as_str(), &mut |group| group.open = n);
    }
    let mut stmt = conn.prepare_cached(
        "select detail, sum(n) from ledger where scope = 'letters' and outcome = 'sampled' group by detail",
    )?;
    let mut rows = stmt.query([])?;
    while let Some(row) = rows.next()? {
        let (code, n): (String, i64) = (row.get(0)?, row.get(1)?);
        group(&code, &mut |group| group.sampled = n);
    }
    let from_ms = upto_ms - HOUR_MS * i64::try_from(hours).unwrap_or(0);
    let mut stmt = conn.prepare_cached(
        "select reason, (received_ms - ?1) / ?3, count(*), min(received_ms), max(received_ms) from letters
         where received_ms >= ?1 and received_ms < ?2 group by 1, 2",
    )?;
    let mut rows = stmt.query((from_ms, upto_ms, HOUR_MS))?;
    while let Some(row) = rows.next()? {
        let (code, hour, n): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (first, last): (i64, i64) = (row.get(3)?, row.get(4)?);
        group(&code, &mut |group| {
            group.count += n;
            group.span_ms = Some(group.span_ms.map_or((first, last), |(from, to)| (from.min(first), to.max(last))));
            if let Some(of_hour) = usize::try_from(hour).ok().and_then(|hour| group.hours.get_mut(hour)) {
                *of_hour += n;
            }
        });
    }
    let mut groups: Vec<LetterGroup> = groups.into_values().collect();
    groups.sort_by_key(|group| (std::cmp::Reverse(group.open), std::cmp::Reverse(group.count)));
    Ok(groups)
}

/// Open letters by reason.
fn open_by_reason(conn: &Connection) -> rusqlite::Result<Vec<(Reason, i64)>> {
    let mut stmt = conn
        .prepare_cached("select reason, count(*) from letters where state = 'open' group by reason order by 2 desc")?;
    let rows = stmt.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    let mut found = Vec::new();
    for row in rows {
        let (code, n) = row?;
        found.extend(Reason::from_code(&code).map(|reason| (reason, n)));
    }
    Ok(found)
}

/// Dead events, in seq order: what the platform has not got and will not get by itself. At most `limit`.
fn dead(conn: &Connection, limit: usize) -> rusqlite::Result<Vec<(Seq, Reason)>> {
    let mut stmt = conn.prepare_cached(
        "select seq, reason from letters
         where stage = 'uplink' and seq is not null and state <> 'retried' order by seq limit ?1",
    )?;
    let rows = stmt.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (seq, code) = row?;
        found.extend(Reason::from_code(&code).map(|reason| (Seq(seq), reason)));
    }
    Ok(found)
}

/// Whether a person was told that an event is not as it was written.
pub(super) fn is_told(conn: &Connection, seq: Seq) -> rusqlite::Result<bool> {
    conn.prepare_cached("select 1 from letters where seq = ?1 and reason = ?2")?
        .exists((seq.0, Reason::DigestMismatch.as_str()))
}

impl Reader<'_> {
    /// Open letters, newest first; with noise or without.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn letters(&self, noise: bool, limit: usize) -> Look<Vec<Letter>> {
        list(self.conn, &LetterFilter::open(noise), i64::MAX, limit)
    }

    /// The letters that a filter means, before a number, newest first, at most `limit`.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn find_letters(&self, filter: &LetterFilter, before: i64, limit: usize) -> Look<Vec<Letter>> {
        list(self.conn, filter, before, limit)
    }

    /// One letter with all that is known of it.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn letter(&self, letter: i64) -> Look<Option<LetterSheet>> {
        sheet(self.conn, letter)
    }

    /// The letters by reason, with those that came in the `hours` hours before a time; the most open first.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn letter_groups(&self, upto_ms: UnixMs, hours: usize) -> Look<Vec<LetterGroup>> {
        groups(self.conn, upto_ms, hours)
    }

    /// Open letters by reason, most first.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn letters_by_reason(&self) -> Look<Vec<(Reason, i64)>> {
        open_by_reason(self.conn)
    }

    /// Events that were declared dead and that the platform has not got since, in seq order, at most `limit`.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn dead(&self, limit: usize) -> Look<Vec<(Seq, Reason)>> {
        dead(self.conn, limit)
    }
}

impl Txn<'_> {
    /// Parks a loss as an open letter. When [`OPEN_MAX`] are open, what never decoded is only counted, as sampled; a scan
    /// that decoded and an event that could not be sent are always kept.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn park(&mut self, loss: &Loss, origin: &Origin, seq: Option<Seq>, detail: &str) -> Result<()> {
        let open: i64 = self
            .sql
            .prepare_cached("select coalesce(sum(n), 0) from ledger where scope = 'letters' and outcome = 'open'")
            .and_then(|mut stmt| stmt.query_row([], |row| row.get(0)))
            .map_err(|e| self.err(&e))?;
        let open = open + self.pending(&Count::letters("open", ""));
        if open >= OPEN_MAX && matches!(loss.stage, Stage::Source | Stage::Decoder) {
            self.sampled(&origin.source, loss.reason, 1);
            return Ok(());
        }
        let boot = self.boot()?;
        self.sql
            .prepare_cached(
                "insert into letters (state, stage, reason, class, source, peer, seq, bytes, length, detail, received_ms, boot, mono_ms)
                 values ('open', :stage, :reason, :class, :source, :peer, :seq, :bytes, :length, :detail, :received, :boot, :mono)",
            )
            .and_then(|mut stmt| {
                stmt.execute(named_params! {
                    ":stage": loss.stage.as_str(),
                    ":reason": loss.reason.as_str(),
                    ":class": loss.reason.class().as_str(),
                    ":source": origin.source,
                    ":peer": origin.peer,
                    ":seq": seq.map(|seq| seq.0),
                    ":bytes": loss.bytes,
                    ":length": i64::try_from(loss.length).unwrap_or(i64::MAX),
                    ":detail": detail,
                    ":received": origin.received.wall_ms,
                    ":boot": boot,
                    ":mono": origin.received.mono_ms(),
                })
            })
            .map_err(|e| self.err(&e))?;
        self.add(Count::letters("total", ""), 1);
        self.add(Count::letters("open", ""), 1);
        self.add(Count::refused(&origin.source, loss.reason), 1);
        Ok(())
    }

    /// Declares an event dead: it will not be sent unless a person retries its letter.
    /// Leaves `letters` and the event counts consistent; the caller moves the cursor past it with its acknowledgements.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn bury(&mut self, lane: Lane, seq: Seq, loss: &Loss, detail: &str) -> Result<()> {
        let origin = Origin { source: "uplink".into(), peer: None, received: self.now() };
        self.park(loss, &origin, Some(seq), detail)?;
        self.add(Count::events("unsent", lane.as_str()), -1);
        self.add(Count::events("dead", lane.as_str()), 1);
        Ok(())
    }

    /// Tells a person of events that are not as they were written, once each; answers of how many. Where the events stand
    /// does not change: that one was sent stays true.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn tell_damaged(&mut self, damaged: &[Damaged], source: &str) -> Result<usize> {
        let origin = Origin { source: source.to_owned(), peer: None, received: self.now() };
        let mut told = 0;
        for Damaged { seq, bytes } in damaged {
            if is_told(self.sql, *seq).map_err(|e| self.err(&e))? {
                continue;
            }
            let mut loss = Loss::decoder(Reason::DigestMismatch, bytes, EVIDENCE_BYTES);
            loss.stage = Stage::Store;
            self.park(&loss, &origin, Some(*seq), "the row is not as it was written")?;
            told += 1;
        }
        Ok(told)
    }
}
