//! Did it arrive? `GET /api/v1/events/{id}/delivery` and `GET /api/v1/delivery?code=`.

use std::sync::Arc;

use axum::extract::{Path, State as Held};
use axum::http::Uri;
use serde::Serialize;

use crate::domain::{EventId, Row, Seq, Stamp, UnixMs};
use crate::health::State;
use crate::retention::Archived;
use crate::store::{AHEAD_MAX, Acked, Delivery, Filter, Look, Way};
use crate::wire;

use super::answer::{Answer, Fault, json, text};
use super::front::Front;
use super::query::{Asked, cut};

/// Events of a code that one answer names.
const EVENTS_MAX: usize = 20;
/// Pages of the log that are looked through for them.
const PAGES_MAX: usize = 5;

#[derive(Default, Serialize)]
struct Sheet {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    state: &'static str,
    /// For people.
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_ms: Option<UnixMs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ahead: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_s: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acked_ms: Option<UnixMs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_ms: Option<UnixMs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    confirmed: bool,
    /// Nobody listened when the broker took it, or when it took what went in the same minute.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unheard: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    letter: Option<LetterSheet>,
}

#[derive(Serialize)]
struct LetterSheet {
    letter: i64,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received_ms: Option<UnixMs>,
}

#[derive(Serialize)]
struct Found {
    items: Vec<Sheet>,
    /// Reads with this text that were refused or are held, and are no event.
    letters: Vec<LetterSheet>,
    /// Whether the log was not looked through to its beginning.
    more: bool,
}

/// Answers where one event stands; also one that has left the log.
pub(super) async fn of_event(Held(front): Held<Arc<Front>>, Path(id): Path<String>, uri: Uri) -> Answer {
    Asked::of(&uri, &[])?;
    let id: EventId = id.parse().map_err(|_| {
        Fault::bad(format!("{:?} is no event id", cut(&id)), "An id has 32 hex digits; take it from an event.")
    })?;
    if let Some(delivery) = front.look(move |reader| reader.delivery(id)).await? {
        return Ok(json(text(&sheet(delivery, &front, front.clock.now()))));
    }
    let archived = Archived::of(front.store.path());
    let found = front.aside(move || archived.find(id)).await;
    if let Some(event) = found {
        return Ok(json(text(&of_archived(id, &event))));
    }
    Err(Fault::missing(
        "no event in the log or the archive has this id",
        "Look it up by its code with /api/v1/delivery?code=, or by its letter; a purged event leaves nothing.",
    ))
}

/// Answers where the newest events of a code stand, or of the asset of this name or key, and the letters that hold it.
pub(super) async fn of_code(Held(front): Held<Arc<Front>>, uri: Uri) -> Answer {
    let asked = Asked::of(&uri, &["code"])?;
    let code = asked.text("code").map(str::to_owned).ok_or_else(|| {
        Fault::bad(
            "no code is given",
            "Give it as it was read, or the asset's name, percent-encoded: /api/v1/delivery?code=TRL-7.",
        )
    })?;
    let keys = (front.keys_of)(&code);
    let look = move |reader: &crate::store::Reader<'_>| {
        let read = Filter { code: Some(code.clone()), ..Filter::default() };
        let (mut rows, mut more) = newest(reader, &read)?;
        if rows.is_empty() {
            // Nothing was read so: then it may be the name or the key that it goes under, or the label written another way.
            let (of_assets, left) = of_names(reader, names(reader, &code, &keys)?)?;
            (rows, more) = (of_assets, more || left);
        }
        let mut letters = reader.letters_with(&code)?;
        if letters.is_empty() {
            let digits = keys.iter().find_map(|key| key.split_once(':')).filter(|(_, digits)| *digits != code);
            letters = digits.map_or_else(|| Ok(letters), |(_, digits)| reader.letters_with(digits))?;
        }
        Ok((reader.deliveries(rows)?, letters, more))
    };
    let (deliveries, letters, more) = front.look(look).await?;
    let now = front.clock.now();
    let letter =
        |(letter, reason, received_ms)| LetterSheet { letter, reason, state: None, received_ms: Some(received_ms) };
    Ok(json(text(&Found {
        items: deliveries.into_iter().map(|one| sheet(one, &front, now)).collect(),
        letters: letters.into_iter().map(letter).collect(),
        more,
    })))
}

/// What the asset of a label may go under in the log: the text itself, its keys, and what the register calls those.
fn names(reader: &crate::store::Reader<'_>, text: &str, keys: &[String]) -> Look<Vec<String>> {
    let mut names = vec![text.to_owned()];
    for key in keys {
        names.extend(reader.asset_of(key)?);
        names.push(key.clone());
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The newest events of assets, and whether the log was not looked through to its beginning.
fn of_names(reader: &crate::store::Reader<'_>, names: Vec<String>) -> Look<(Vec<Row>, bool)> {
    let (mut rows, mut more) = (Vec::new(), false);
    for name in names {
        let (found, left) = newest(reader, &Filter { asset: Some(name), ..Filter::default() })?;
        rows.extend(found);
        more |= left;
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.seq));
    more |= rows.len() > EVENTS_MAX;
    rows.truncate(EVENTS_MAX);
    Ok((rows, more))
}

/// The newest events that a filter lets through, and whether the log was not looked through to its beginning.
fn newest(reader: &crate::store::Reader<'_>, filter: &Filter) -> Look<(Vec<Row>, bool)> {
    let (mut rows, mut before, mut more) = (Vec::<Row>::new(), Seq(i64::MAX), true);
    for _ in 0..PAGES_MAX {
        let page = reader.before(before, EVENTS_MAX - rows.len(), filter)?;
        (before, more) = (page.seen, page.more);
        rows.extend(page.rows);
        if !more || rows.len() >= EVENTS_MAX {
            break;
        }
    }
    Ok((rows, more))
}

fn sheet(delivery: Delivery, front: &Front, now: Stamp) -> Sheet {
    let Delivery { row, way, confirmed, letter } = delivery;
    let waited_ms = if row.boot == front.store.boot() { Some(now.mono_ms() - row.mono_ms) } else { None };
    let mut sheet = Sheet {
        id: row.id.to_string(),
        epoch: Some(row.epoch.to_string()),
        seq: Some(row.seq.0),
        kind: Some(row.kind.as_str()),
        stored_ms: Some(row.received_ms),
        letter: letter.map(|(letter, reason, state)| LetterSheet {
            letter,
            reason,
            state: Some(state),
            received_ms: None,
        }),
        code: row.code,
        confirmed,
        ..Sheet::default()
    };
    (sheet.state, sheet.text) = match way {
        Way::Local => ("local", "It is stored here; it is not to be sent.".to_owned()),
        Way::Waiting(ahead) => {
            let flies = ahead < i64::try_from(in_flight(front)).unwrap_or(0);
            sheet.ahead = Some(ahead);
            sheet.waiting_s = waited_ms.map(|ms| (ms / 1000).max(0));
            let many = if ahead >= AHEAD_MAX { " at least" } else { "" };
            let text = format!("It is stored here and waits for the broker;{many} {ahead} of its lane go before it.");
            (if flies { "in_flight" } else { "waiting" }, text)
        }
        Way::Again => ("waiting", "It is stored here and is sent again in its turn.".to_owned()),
        Way::Dead => ("dead", "The broker does not take it; its letter waits for a person.".to_owned()),
        Way::Discarded => ("discarded", "The broker did not take it, and a person has given it up.".to_owned()),
        Way::Sent(acked) => {
            let text = sent_words(acked.as_ref(), confirmed);
            if let Some(Acked { at_ms, connection, unheard }) = acked {
                sheet.acked_ms = Some(at_ms);
                sheet.unheard = unheard && !confirmed;
                (sheet.connected_ms, sheet.broker) = connection.unzip();
            }
            (
                if confirmed {
                    "confirmed"
                } else if sheet.acked_ms.is_some() {
                    "acknowledged"
                } else {
                    "passed"
                },
                text,
            )
        }
    };
    sheet
}

fn sent_words(acked: Option<&Acked>, confirmed: bool) -> String {
    let unheard = acked.is_some_and(|acked| acked.unheard);
    let when = acked.map(|acked| format!("The broker took it within a minute of {}", wire::rfc3339(acked.at_ms)));
    match (when, confirmed) {
        (Some(when), true) => format!("{when}, and the centre says that it has it."),
        (Some(when), false) if unheard => {
            format!(
                "{when}. Nobody listened then, to it or to what went with it: the centre can have it again by replay."
            )
        }
        (Some(when), false) => format!("{when}."),
        (None, true) => "The centre says that it has it.".to_owned(),
        (None, false) => "It is behind what has been sent; no line of the log says when.".to_owned(),
    }
}

fn of_archived(id: EventId, event: &str) -> Sheet {
    let event: serde_json::Value = serde_json::from_str(event).unwrap_or_default();
    let word = |key: &str| event[key].as_str().map(str::to_owned);
    Sheet {
        id: id.to_string(),
        epoch: word("epoch"),
        seq: event["seq"].as_i64(),
        code: word("code"),
        stored_ms: event["received_ms"].as_i64(),
        state: "archived",
        text: "It has left the log for the archive: what is not sent never leaves. The centre can have it again by replay.".to_owned(),
        ..Sheet::default()
    }
}

/// Publishes that wait for the broker's word.
fn in_flight(front: &Front) -> usize {
    let states = front.board.since(0).into_iter().filter_map(|posted| posted.state);
    states.filter_map(|state| if let State::Uplink(uplink) = state { Some(uplink.inflight) } else { None }).sum()
}
