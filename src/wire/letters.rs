//! Dead letters and what becomes of them, as JSON and as a list for a spreadsheet. What arrived, and from whom, is not for
//! everybody: `whole` says whether it is told.

use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::{Job, Letter, LetterGroup, LetterSheet, Reason, UnixMs};

use super::register::{guarded, quoted};
use super::{printable, rfc3339, text};

/// The first line of a list of letters, without its end.
pub const CSV_HEAD: &str = "letter,state,stage,reason,class,source,peer,seq,received,length,detail,note,bytes";

#[derive(Serialize)]
struct Item<'a> {
    letter: i64,
    state: &'a str,
    stage: &'a str,
    reason: &'a str,
    class: &'a str,
    retry: bool,
    text: &'static str,
    advice: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
    length: i64,
    detail: &'a str,
    received_ms: UnixMs,
    /// Its event is on its way to the broker again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    resend: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_ms: Option<UnixMs>,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'a str>,
    /// What arrived, with C escapes.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
}

fn item(letter: &Letter, whole: bool) -> Item<'_> {
    let reason = Reason::from_code(&letter.reason);
    Item {
        letter: letter.letter,
        state: &letter.state,
        stage: &letter.stage,
        reason: &letter.reason,
        class: &letter.class,
        retry: reason.is_some_and(Reason::retry_helps),
        text: reason.map_or("", Reason::sentence),
        advice: reason.map_or("", Reason::advice),
        source: letter.source.as_deref(),
        seq: letter.seq,
        length: letter.length,
        detail: &letter.detail,
        received_ms: letter.received_ms,
        resend: letter.resend,
        changed_ms: letter.changed_ms,
        note: &letter.note,
        peer: letter.peer.as_deref().filter(|_| whole),
        bytes: whole.then(|| printable(&letter.bytes)),
    }
}

/// A letter as a JSON object.
#[must_use]
pub fn letter(letter: &Letter, whole: bool) -> String {
    text(&item(letter, whole))
}

#[derive(Serialize)]
struct Sheet<'a> {
    #[serde(flatten)]
    item: Item<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ascii: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    attempts: Vec<Attempt<'a>>,
    nearby: Nearby,
    sampled: i64,
}

#[derive(Serialize)]
struct Attempt<'a> {
    at_ms: UnixMs,
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<&'a str>,
    what: &'a str,
    came: &'a str,
}

#[derive(Serialize)]
struct Nearby {
    reason: i64,
    reason_and_source: i64,
    source_within_an_hour: i64,
}

/// All that is known of a letter as a JSON object: `event` is the id of its event while that is in the log, `attempts` what
/// was done with it, oldest first, `nearby` how many are like it, `sampled` how many of its reason and source were only
/// counted.
#[must_use]
pub fn letter_sheet(sheet: &LetterSheet, whole: bool) -> String {
    let LetterSheet { letter, event, steps, same_reason, same_source, around, sampled } = sheet;
    let attempts = steps.iter().map(|step| Attempt {
        at_ms: step.at_ms,
        who: whole.then_some(step.who.as_str()),
        what: &step.what,
        came: &step.came,
    });
    text(&Sheet {
        item: item(letter, whole),
        hex: whole.then(|| letter.bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        ascii: whole.then(|| letter.bytes.iter().map(|byte| shown(*byte)).collect()),
        event: event.map(|id| id.to_string()),
        attempts: attempts.collect(),
        nearby: Nearby { reason: *same_reason, reason_and_source: *same_source, source_within_an_hour: *around },
        sampled: *sampled,
    })
}

/// A byte as it stands beside its hex.
fn shown(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '.' }
}

/// A letter as a line of CSV (RFC 4180) under [`CSV_HEAD`]; no spreadsheet takes a field of it for a formula.
#[must_use]
pub fn letter_csv(letter: &Letter) -> String {
    let number = |n: Option<i64>| n.map_or_else(String::new, |n| n.to_string());
    let fields = [
        letter.letter.to_string(),
        letter.state.clone(),
        letter.stage.clone(),
        letter.reason.clone(),
        letter.class.clone(),
        letter.source.clone().unwrap_or_default(),
        letter.peer.clone().unwrap_or_default(),
        number(letter.seq),
        rfc3339(letter.received_ms),
        letter.length.to_string(),
        letter.detail.clone(),
        letter.note.clone(),
        printable(&letter.bytes),
    ];
    fields.map(|field| quoted(&guarded(&field))).join(",") + "\r\n"
}

/// The letters by reason as a JSON array: those of people first, each with its words, the window's counts and its hours.
#[must_use]
pub fn letter_groups(groups: &[LetterGroup]) -> Value {
    let one = |group: &LetterGroup| {
        let LetterGroup { reason, open, count, sampled, span_ms, hours } = group;
        json!({
            "reason": reason.as_str(), "n": open, "class": reason.class().as_str(), "retry": reason.retry_helps(),
            "text": reason.sentence(), "advice": reason.advice(), "count": count, "sampled": sampled,
            "first_ms": span_ms.map(|(first, _)| first), "last_ms": span_ms.map(|(_, last)| last), "hours": hours,
        })
    };
    let (noise, decide): (Vec<_>, Vec<_>) =
        groups.iter().partition(|group| group.reason.class() == crate::domain::Class::Noise);
    decide.into_iter().chain(noise).map(one).collect()
}

/// A bulk action as a JSON object.
#[must_use]
pub fn job(job: &Job) -> String {
    let left: Vec<Value> = job.left.iter().map(|(letter, why)| json!({ "letter": letter, "why": why })).collect();
    json!({
        "job": job.job, "action": job.action.as_str(), "state": job.state.as_str(), "total": job.total,
        "done": job.done(), "ok": job.ok, "failed_again": job.failed, "skipped": job.skipped, "left": left,
        "begun_ms": job.begun_ms, "ended_ms": job.ended_ms,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn odd() -> Letter {
        Letter {
            letter: 7,
            state: "open".into(),
            stage: "decoder".into(),
            reason: "non_ascii".into(),
            class: "decide".into(),
            source: Some("door-3".into()),
            peer: None,
            seq: None,
            bytes: b"=1+1,\"\xf8\r".to_vec(),
            length: 8,
            detail: "@SUM(A1)".into(),
            received_ms: 0,
            resend: false,
            changed_ms: None,
            note: "-2".into(),
        }
    }

    #[test]
    fn a_list_of_letters_runs_in_no_spreadsheet_whatever_was_scanned() {
        let line = letter_csv(&odd());
        assert_eq!(
            line,
            "7,open,decoder,non_ascii,decide,door-3,,,1970-01-01T00:00:00.000Z,8,'@SUM(A1),'-2,\"'=1+1,\\\"\"\\xf8\\r\"\r\n"
        );
        assert_eq!(line.matches("\r\n").count(), 1);
    }

    #[test]
    fn what_arrived_is_told_only_to_whom_it_may_be() {
        let sheet = LetterSheet {
            letter: odd(),
            event: None,
            steps: vec![crate::domain::Step { at_ms: 5, who: "uid 7".into(), what: "retry".into(), came: "x".into() }],
            same_reason: 1,
            same_source: 1,
            around: 1,
            sampled: 4,
        };
        let whole: Value = serde_json::from_str(&letter_sheet(&sheet, true)).unwrap();
        assert_eq!((&whole["hex"], &whole["ascii"]), (&json!("3d312b312c22f80d"), &json!("=1+1,\"..")));
        assert_eq!((&whole["attempts"][0]["who"], &whole["sampled"]), (&json!("uid 7"), &json!(4)));
        let part: Value = serde_json::from_str(&letter_sheet(&sheet, false)).unwrap();
        for key in ["hex", "ascii", "bytes", "peer"] {
            assert!(part[key].is_null(), "{key}: {part}");
        }
        assert!(part["attempts"][0]["who"].is_null());
    }
}
