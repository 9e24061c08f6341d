//! Did it arrive? Where one event stands on its way to the platform, told from cursors, letters and the log of the way out.

use rusqlite::{Connection, OptionalExtension};

use crate::domain::{EventId, Lane, Row, Seq, UnixMs};

use super::commands::confirmed;
use super::outbox::{by_id, cursor, kinds};
use super::{Look, Reader};

/// Events ahead of one that waits are counted up to here.
pub const AHEAD_MAX: i64 = 100_000;
/// Letters that one lookup answers.
const LETTERS_MAX: i64 = 20;

/// Where an event stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is not sent to anybody: there was no uplink when it came, and none has come since that wants it.
    Local,
    /// So many of its lane go before it, up to [`AHEAD_MAX`].
    Waiting(i64),
    /// A person wants it sent again: it waits for its turn.
    Again,
    /// The broker has taken it; none: no line of the log says when, or it was never to be sent.
    Sent(Option<Acked>),
    /// The broker does not take it: a letter waits for a person.
    Dead,
    /// A person has given it up.
    Discarded,
}

/// When the broker took an event, as the log of the way out has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acked {
    /// The node's wall clock when the line began; one is of a minute at most. UTC ms
    pub at_ms: UnixMs,
    /// The connection it went over: since when, and to which broker; none when its line has left.
    pub connection: Option<(UnixMs, String)>,
    /// Whether the broker said of events of that line that nobody listens to them.
    pub unheard: bool,
}

/// An event and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The event.
    pub row: Row,
    /// Where it stands.
    pub way: Way,
    /// Whether the centre says that it has it.
    pub confirmed: bool,
    /// Its letter, where it has or had one: number, reason, and open, retried or discarded.
    pub letter: Option<(i64, String, String)>,
}

impl Reader<'_> {
    /// Where an event stands; none when the log does not have it.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn delivery(&self, id: EventId) -> Look<Option<Delivery>> {
        self.snapshot(|reader| by_id(reader.conn, id)?.map(|row| of(reader.conn, row)).transpose())
    }

    /// Where events of a code stand.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn deliveries(&self, rows: Vec<Row>) -> Look<Vec<Delivery>> {
        self.snapshot(|reader| rows.into_iter().map(|row| of(reader.conn, row)).collect())
    }

    /// The registered asset that a key names.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn asset_of(&self, key: &str) -> Look<Option<String>> {
        let mut of = self.conn.prepare_cached("select asset from asset_keys where key = ?1")?;
        of.query_row([key], |row| row.get(0)).optional()
    }

    /// Open letters of reads that hold this text and are no event, newest first: number, reason and when they came.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn letters_with(&self, text: &str) -> Look<Vec<(i64, String, UnixMs)>> {
        self.conn
            .prepare_cached(
                "select letter, reason, received_ms from letters where state = 'open' and seq is null
                   and instr(bytes, ?1) > 0 order by letter desc limit ?2",
            )?
            .query_map((text.as_bytes(), LETTERS_MAX), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect()
    }
}

fn of(conn: &Connection, row: Row) -> rusqlite::Result<Delivery> {
    let letter: Option<(i64, String, String, bool)> = conn
        .prepare_cached(
            "select letter, reason, state, resend from letters where seq = ?1 and stage = 'uplink' order by letter desc limit 1",
        )?
        .query_row([row.seq.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let way = match letter.as_ref().map(|(_, _, state, resend)| (state.as_str(), *resend)) {
        Some(("open", true)) => Way::Again,
        Some(("open", false)) => Way::Dead,
        Some(("discarded", _)) => Way::Discarded,
        Some(("retried", _)) => Way::Sent(acked(conn, ("sent_again", row.kind.lane()), row.seq)?),
        _ => way(conn, &row)?,
    };
    let confirmed = matches!(way, Way::Sent(_)) && row.seq <= confirmed(conn)?;
    Ok(Delivery { row, way, confirmed, letter: letter.map(|(letter, reason, state, _)| (letter, reason, state)) })
}

fn way(conn: &Connection, row: &Row) -> rusqlite::Result<Way> {
    let lane = row.kind.lane();
    let cursor = cursor(conn, lane)?;
    if row.seq <= cursor {
        return acked(conn, ("acknowledged", lane), row.seq).map(Way::Sent);
    }
    let uplink: Option<i64> = conn
        .prepare_cached("select n from ledger where scope = 'head' and outcome = 'uplink'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    if uplink != Some(1) {
        return Ok(Way::Local);
    }
    let (low, high) = kinds(lane);
    let ahead = conn
        .prepare_cached(
            "select count(*) from (select 1 from outbox where seq > ?1 and seq < ?2 and kind between ?3 and ?4 limit ?5)",
        )?
        .query_row((cursor.0, row.seq.0, low, high, AHEAD_MAX), |row| row.get(0))?;
    Ok(Way::Waiting(ahead))
}

fn acked(conn: &Connection, (what, lane): (&str, Lane), seq: Seq) -> rusqlite::Result<Option<Acked>> {
    let line: Option<(i64, UnixMs, bool)> = conn
        .prepare_cached(
            "select entry, at_ms, instr(coalesce(detail, ''), 'without subscriber') > 0 from outbound_log
             where what = ?1 and lane = ?2 and from_seq <= ?3 and to_seq >= ?3 order by entry desc limit 1",
        )?
        .query_row((what, lane.as_str(), seq.0), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((entry, at_ms, unheard)) = line else { return Ok(None) };
    let connection = conn
        .prepare_cached(
            "select at_ms, detail from outbound_log where what = 'connected' and entry < ?1 order by entry desc limit 1",
        )?
        .query_row([entry], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(Some(Acked { at_ms, connection, unheard }))
}
