//! The dead letters: listed, grouped, shown, exported, and what is done with them. Reads are for everybody but for what
//! arrived and from whom; lists to take away and whatever changes something need the operator.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::json as object;
use serde_json::value::RawValue;

use crate::domain::{Action, Bulk, Class, Letter, LetterFilter, LetterStand, Order, Reason, Stage, UnixMs, Which};
use crate::store::StoreError;
use crate::wire;

use super::answer::{Answer, Fault, json, text, typed};
use super::caller::Caller;
use super::front::Front;
use super::guard::BODY_MAX;
use super::query::{Asked, cut};
use super::register::{body, order, parsed};
use super::sheet::Counts;

/// What a filter is made of in an address.
const FILTER: [&str; 9] = ["all", "class", "from", "q", "reason", "source", "stage", "state", "to"];
/// Letters of one look while a list is written.
const PAGE: usize = 200;
/// Hours that a summary looks back at most: a week.
const HOURS_MAX: usize = 168;
const HOUR_MS: i64 = 3_600_000;

type Here = State<Arc<Front>>;
type Asker = Extension<Caller>;

#[derive(Serialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    /// Where the next page begins: `before` of the next call; none at the end.
    next: Option<i64>,
}

/// Answers letters, newest first, before a number. Without a filter: the open ones that wait for a person; with `all=1`
/// noise too.
pub(super) async fn list(State(front): Here, Extension(caller): Asker, uri: Uri) -> Answer {
    let asked = Asked::of(&uri, &[&FILTER[..], &["before", "limit"]].concat())?;
    let filter = filter(&asked, &caller)?;
    let (before, limit) = (asked.number("before", i64::MAX, 1, i64::MAX)?, asked.limit(50, 500)?);
    let letters = front.look(move |reader| reader.find_letters(&filter, before, limit)).await?;
    let next = letters.last().filter(|_| letters.len() == limit).map(|letter| letter.letter);
    // `wire` writes JSON, whatever is in a letter: none is left out.
    let item = |letter: &Letter| RawValue::from_string(wire::letter(letter, caller.is_operator())).ok();
    Ok(json(text(&Page { items: letters.iter().filter_map(item).collect(), next })))
}

/// Answers one letter with all that is known of it.
pub(super) async fn one(State(front): Here, Extension(caller): Asker, Path(letter): Path<String>) -> Answer {
    let letter = number("letter", &letter)?;
    let sheet = front.look(move |reader| reader.letter(letter)).await?;
    let missing = || {
        Fault::missing(
            format!("there is no letter {letter}"),
            "`waypost letters list --state all` shows those there are.",
        )
    };
    Ok(json(wire::letter_sheet(&sheet.ok_or_else(missing)?, caller.is_operator())))
}

/// A number in an address.
fn number(of: &str, text: &str) -> Result<i64, Fault> {
    text.parse().map_err(|_| Fault::missing(format!("there is no {of} {:?}", cut(text)), "They are numbers."))
}

/// Answers the letters by reason: how many are open, how many came within the window and in which hours, with advice.
pub(super) async fn summary(State(front): Here, uri: Uri) -> Answer {
    let asked = Asked::of(&uri, &["window"])?;
    let hours = window(asked.text("window").unwrap_or("24h"))?;
    // Whole hours: the last one is the one that runs.
    let upto_ms = (front.now_ms() / HOUR_MS + 1) * HOUR_MS;
    let (counts, groups) = front
        .look(move |reader| {
            let counts = Counts { letters: reader.letters_by_reason()?, ..Counts::default() };
            Ok((counts, reader.letter_groups(upto_ms, hours)?))
        })
        .await?;
    let open = counts.to_decide();
    let all: i64 = counts.letters.iter().map(|(_, n)| n).sum();
    let answer = object!({
        "open": open, "noise": all - open, "by_reason": wire::letter_groups(&groups),
        "window_h": hours, "from_ms": upto_ms - HOUR_MS * i64::try_from(hours).unwrap_or(0), "to_ms": upto_ms,
    });
    Ok(json(answer.to_string()))
}

fn window(word: &str) -> Result<usize, Fault> {
    let hours = match word.strip_suffix('d') {
        Some(days) => days.parse::<usize>().ok().and_then(|days| days.checked_mul(24)),
        None => word.strip_suffix('h').and_then(|hours| hours.parse().ok()),
    };
    hours.filter(|hours| (1..=HOURS_MAX).contains(hours)).ok_or_else(|| {
        Fault::bad(format!("window is {:?}", cut(word)), format!("Give hours or days, 1h to {HOURS_MAX}h: 24h, 7d."))
    })
}

/// Answers all letters of a filter as a list: `format=csv` (default) or `ndjson`.
pub(super) async fn export(State(front): Here, Extension(caller): Asker, uri: Uri) -> Answer {
    caller.operator()?;
    let asked = Asked::of(&uri, &[&FILTER[..], &["format"]].concat())?;
    let filter = filter(&asked, &caller)?;
    let csv = match asked.text("format").unwrap_or("csv") {
        "csv" => true,
        "ndjson" => false,
        other => return Err(Fault::bad(format!("format is {:?}", cut(other)), "Give csv or ndjson.")),
    };
    let head = if csv { format!("{}\r\n", wire::CSV_HEAD) } else { String::new() };
    // A page at a time: ten thousand letters of 4 KiB are more than the node may hold at once.
    let pages = stream::try_unfold((Some(i64::MAX), head), move |(before, mut text)| {
        let (front, filter) = (Arc::clone(&front), filter.clone());
        async move {
            let Some(before) = before else { return Ok::<_, StoreError>(None) };
            let letters = front.look(move |reader| reader.find_letters(&filter, before, PAGE)).await?;
            let next = letters.last().filter(|_| letters.len() == PAGE).map(|letter| letter.letter);
            for letter in &letters {
                text.push_str(&if csv { wire::letter_csv(letter) } else { wire::letter(letter, true) + "\n" });
            }
            Ok(Some((Bytes::from(text), (next, String::new()))))
        }
    });
    let mime = if csv { "text/csv; charset=utf-8; header=present" } else { "application/x-ndjson" };
    Ok(typed(Body::from_stream(pages), mime))
}

/// The filter in an address.
fn filter(asked: &Asked, caller: &Caller) -> Result<LetterFilter, Fault> {
    let stand = match asked.text("state") {
        None => Some(LetterStand::Open),
        Some("all") => None,
        Some(word) => Some(LetterStand::from_word(word).ok_or_else(|| {
            Fault::bad(format!("state is {:?}", cut(word)), "Give open, retried, discarded, expired or all.")
        })?),
    };
    let all = asked.number("all", 0, 0, 1)? == 1;
    let time = |name: &str| match asked.text(name) {
        None => Ok(None),
        Some(_) => asked.number(name, 0, i64::MIN, i64::MAX).map(Some),
    };
    let named = Words {
        reason: asked.text("reason").map(str::to_owned),
        source: asked.text("source").map(str::to_owned),
        stage: asked.text("stage").map(str::to_owned),
        class: asked.text("class").map(str::to_owned),
        from_ms: time("from")?,
        to_ms: time("to")?,
        q: asked.text("q").map(str::to_owned),
    };
    let filter = LetterFilter { stand, ..named.read(caller)? };
    // A reason says itself whether it is noise.
    let decide = !all && filter.class.is_none() && filter.reason.is_none();
    Ok(LetterFilter { class: if decide { Some(Class::Decide) } else { filter.class }, ..filter })
}

/// A filter as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    reason: Option<String>,
    source: Option<String>,
    stage: Option<String>,
    class: Option<String>,
    from_ms: Option<UnixMs>,
    to_ms: Option<UnixMs>,
    q: Option<String>,
}

impl Words {
    fn read(self, caller: &Caller) -> Result<LetterFilter, Fault> {
        fn known<T>(
            what: &str,
            word: Option<String>,
            read: fn(&str) -> Option<T>,
            hint: &str,
        ) -> Result<Option<T>, Fault> {
            let unknown = |word: &str| Fault::bad(format!("{:?} is no {what}", cut(word)), hint);
            word.map(|word| read(&word).ok_or_else(|| unknown(&word))).transpose()
        }
        Ok(LetterFilter {
            stand: None,
            reason: known(
                "reason",
                self.reason,
                Reason::from_code,
                "GET /api/v1/letters/summary names those there are.",
            )?,
            source: self.source,
            stage: known("stage", self.stage, Stage::from_word, "Give source, decoder, store or uplink.")?,
            class: known("class", self.class, Class::from_word, "Give decide or noise.")?,
            from_ms: self.from_ms,
            to_ms: self.to_ms,
            text: self.q,
            // Who may not read them may not ask what is in them either.
            in_bytes: caller.is_operator(),
        })
    }

    fn is_empty(&self) -> bool {
        let Self { reason, source, stage, class, from_ms, to_ms, q } = self;
        reason.is_none()
            && source.is_none()
            && stage.is_none()
            && class.is_none()
            && from_ms.is_none()
            && to_ms.is_none()
            && q.as_ref().is_none_or(|text| text.trim().is_empty())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActionBody {
    action: String,
    ids: Option<Vec<i64>>,
    filter: Option<Words>,
    expect: Option<usize>,
    #[serde(default)]
    note: String,
}

/// Tries letters again, gives them up, or opens them again: answers the job that does it.
pub(super) async fn act(State(front): Here, Extension(caller): Asker, headers: HeaderMap, request: Request) -> Answer {
    const SHAPE: &str =
        r#"{"action":"retry","ids":[1,2]} or {"action":"retry","filter":{"reason":"unknown_tag"},"expect":2}"#;
    let asked: ActionBody = parsed(&body(&caller, request, BODY_MAX).await?, SHAPE)?;
    let shape = |what: &str| Fault::bad(what, format!("Send {SHAPE}."));
    let action = Action::from_word(&asked.action).ok_or_else(|| {
        shape(&format!("there is no action {:?}; there are retry, discard, restore", cut(&asked.action)))
    })?;
    let which = match (asked.ids, asked.filter) {
        (Some(ids), None) => Which::Numbers(ids),
        (None, Some(filter)) => {
            if asked.expect.is_none() || filter.is_empty() {
                return Err(shape("a filter says which letters are meant, and how many are expected"));
            }
            Which::All(filter.read(&caller)?)
        }
        _ => return Err(shape("either ids or a filter says which letters are meant")),
    };
    let key = headers.get("idempotency-key").map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
    let bulk = Bulk { action, which, expect: asked.expect, note: asked.note, key };
    let mut answer = order(&front, &caller, Order::Letters(bulk)).await?;
    *answer.status_mut() = StatusCode::ACCEPTED;
    Ok(answer)
}

/// Answers how far a job is.
pub(super) async fn job(State(front): Here, Path(job): Path<String>) -> Answer {
    let job = number("job", &job)?;
    let found = front.look(move |reader| reader.job(job)).await?;
    let missing = || Fault::missing(format!("there is no job {job}"), "The newest thousand are kept.");
    Ok(json(wire::job(&found.ok_or_else(missing)?)))
}

/// Does no more of a job; what is done stays.
pub(super) async fn stop(State(front): Here, Extension(caller): Asker, Path(job): Path<String>) -> Answer {
    let job = number("job", &job)?;
    order(&front, &caller, Order::Stop(job)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_hours_or_days_up_to_a_week() {
        for (word, expect) in
            [("24h", Some(24)), ("7d", Some(168)), ("1h", Some(1)), ("8d", None), ("0h", None), ("24", None)]
        {
            assert_eq!(window(word).ok(), expect, "{word}");
        }
    }
}
