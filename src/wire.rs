//! An event as the outside sees it: one flat JSON object, written the same way for screen, broker and export.
//! The fields of its kind are written once, at commit, by the `*_body` functions; the rest is put in front when it leaves.

mod letters;
mod register;

use serde::Serialize;

use crate::domain::{AssetState, Change, EventId, Fix, Kind, Mode, Row, Scan, UnixMs};

pub use letters::{CSV_HEAD, job, letter, letter_csv, letter_groups, letter_sheet};
pub use register::{assets_csv, assets_json, carried, identity, listed, printable_text, search_words};

/// UTC in RFC 3339 with milliseconds, e.g. `2026-11-20T10:11:12.000Z`.
///
/// Times outside the years -9999..=9999 are shown as the nearest end.
#[must_use]
pub fn rfc3339(ms: UnixMs) -> String {
    let clamped = ms.clamp(jiff::Timestamp::MIN.as_millisecond() + 1000, jiff::Timestamp::MAX.as_millisecond() - 1000);
    jiff::Timestamp::from_millisecond(clamped).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}

/// Degrees with 7 decimals: 1 cm on the ground, and the same digits at each sending.
fn degrees(value: f64) -> f64 {
    (value * 1e7).round() / 1e7
}

fn rounded(value: Option<f64>, decimals: f64) -> Option<f64> {
    value.filter(|v| v.is_finite()).map(|v| (v * decimals).round() / decimals)
}

#[derive(Serialize)]
struct FixBody {
    lat: f64,
    lon: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    alt_m: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed_mps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    course_deg: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    satellites: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hdop: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollover_weeks: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    doubt: Vec<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    spare: bool,
}

/// The fields of a fix; `spare` when another receiver moves its asset and this one only tells.
#[must_use]
pub fn fix_body(fix: &Fix, spare: bool) -> String {
    text(&FixBody {
        lat: degrees(fix.lat_deg),
        lon: degrees(fix.lon_deg),
        alt_m: rounded(fix.alt_m, 1000.0),
        speed_mps: rounded(fix.speed_mps, 1000.0),
        course_deg: rounded(fix.course_deg, 100.0),
        mode: fix.mode.map(Mode::as_str),
        satellites: fix.satellites,
        hdop: rounded(fix.hdop, 100.0),
        rollover_weeks: Some(fix.weeks_moved()).filter(|weeks| *weeks != 0),
        doubt: fix.doubt.iter().map(|d| d.as_str()).collect(),
        spare,
    })
}

#[derive(Serialize)]
struct ScanBody<'a> {
    key: &'a str,
    code_kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    symbology: Option<&'a str>,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    gs1: &'a std::collections::BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warn: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    same_as: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lat: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lon: Option<f64>,
}

/// The fields of a scan: what the code says, who sent it over the network, where the node was, and what it does to its asset
/// when that is not to come to the place.
#[must_use]
pub fn scan_body(
    scan: &Scan,
    peer: Option<&str>,
    position: Option<(f64, f64)>,
    effect: Option<&'static str>,
) -> String {
    text(&ScanBody {
        key: &scan.key,
        code_kind: scan.kind.as_str(),
        symbology: scan.aim.as_deref(),
        gs1: &scan.gs1,
        warn: scan.warn.iter().map(|w| w.as_str()).collect(),
        same_as: scan.same_as.as_deref(),
        effect,
        peer,
        lat: position.map(|p| degrees(p.0)),
        lon: position.map(|p| degrees(p.1)),
    })
}

#[derive(Serialize)]
struct PlaceBody<'a> {
    change: &'static str,
    since_ms: UnixMs,
    because: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    nth: i64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    late: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    voids: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renamed: Option<&'a str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// What the fields of a change of place say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceChange<'a> {
    /// What changed.
    pub change: Change,
    /// When.
    pub since_ms: UnixMs,
    /// The event that is the cause, or `operator`.
    pub because: &'a str,
    /// The how-manieth change of that cause: one jump over a gate enters and leaves it.
    pub nth: i64,
    /// Whether it tells of the past.
    pub late: bool,
    /// The place event that no longer holds by this one.
    pub voids: Option<EventId>,
    /// The asset did not move: it is known by another name from now on (exit) or was until now (enter); empty for none.
    pub renamed: Option<&'a str>,
}

/// The fields of a change of place.
#[must_use]
pub fn place_body(said: &PlaceChange<'_>) -> String {
    text(&PlaceBody {
        change: said.change.as_str(),
        since_ms: said.since_ms,
        because: said.because,
        nth: said.nth,
        late: said.late,
        voids: said.voids.map(|id| id.to_string()),
        renamed: said.renamed,
    })
}

#[derive(Serialize)]
struct NoteBody<'a> {
    note: &'a str,
    text: &'a str,
}

/// The fields of a note: its name (`receiver_switched`, `clock_stepped`, `store_restored`) and a sentence.
#[must_use]
pub fn note_body(note: &str, sentence: &str) -> String {
    text(&NoteBody { note, text: sentence })
}

#[derive(Serialize)]
struct Head<'a> {
    v: u8,
    id: String,
    epoch: String,
    seq: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<i64>,
    site: &'a str,
    node: &'a str,
    boot: i64,
    mono_ms: i64,
    kind: &'static str,
    ts: String,
    ts_ms: UnixMs,
    tq: &'static str,
    received_ms: UnixMs,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asset: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeats: Option<i64>,
}

/// One event as a JSON object (contract section 5). The same row always gives the same bytes; `replay` adds that field at its end.
#[must_use]
pub fn event(row: &Row, replay: bool) -> String {
    let mut json = text(&Head {
        v: 1,
        id: row.id.to_string(),
        epoch: row.epoch.to_string(),
        seq: row.seq.0,
        prev: row.prev.map(|seq| seq.0),
        site: &row.site,
        node: &row.node,
        boot: row.boot,
        mono_ms: row.mono_ms,
        kind: row.kind.as_str(),
        ts: rfc3339(row.ts_ms),
        ts_ms: row.ts_ms,
        tq: row.tq.as_str(),
        received_ms: row.received_ms,
        source: row.source.as_deref(),
        asset: row.asset.as_deref(),
        place: row.place.as_deref(),
        code: row.code.as_deref(),
        repeats: (row.kind == Kind::Scan).then_some(row.repeats),
    });
    // Both are objects we wrote: `{…}` and `{…}` become one.
    if row.body.len() > 2 && row.body.starts_with('{') {
        json.pop();
        json.push(',');
        json.push_str(&row.body[1..]);
    }
    if replay { replayed(json) } else { json }
}

/// An event that is sent again because the centre asked for it: the same bytes, and `replay` as the last field.
#[must_use]
pub fn replayed(mut event: String) -> String {
    event.pop();
    event.push_str(r#","replay":true}"#);
    event
}

#[derive(Serialize)]
struct Asset<'a> {
    asset: &'a str,
    id: String,
    seq: i64,
    ts_ms: UnixMs,
    tq: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lat: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lon: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed_mps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    course_deg: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since_ms: Option<UnixMs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gps_place: Option<&'a str>,
}

/// An asset as it is now, as a JSON object: in snapshots, deltas and the retained `state`.
#[must_use]
pub fn asset(state: &AssetState) -> String {
    text(&Asset {
        asset: &state.asset,
        id: state.id.to_string(),
        seq: state.seq.0,
        ts_ms: state.ts_ms,
        tq: state.tq.as_str(),
        lat: state.position.map(|p| degrees(p.0)),
        lon: state.position.map(|p| degrees(p.1)),
        speed_mps: rounded(state.speed_mps, 1000.0),
        course_deg: rounded(state.course_deg, 100.0),
        place: state.place.as_deref(),
        since_ms: state.since_ms,
        source: state.source.as_deref(),
        gps_place: state.gps_place.as_deref(),
    })
}

/// Bytes from outside as text that is safe on a terminal and in a page: printable ASCII stays, the rest is `\xHH`.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect()
}

#[expect(clippy::expect_used, reason = "plain structs of strings and finite numbers always serialise")]
fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("a struct with string keys and finite numbers is JSON")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::{Epoch, Seq, TimeQuality};

    /// A fix as the contract writes it.
    pub(crate) fn row() -> Row {
        Row {
            seq: Seq(1234),
            epoch: Epoch(0x9f3a_d2c1_b0e4_f587),
            id: EventId([0x6b; 16]),
            kind: Kind::Fix,
            prev: Some(Seq(1229)),
            site: "halden".into(),
            node: "wp-07".into(),
            boot: 17,
            mono_ms: 812_345,
            ts_ms: 1_795_169_472_000,
            tq: TimeQuality::Gnss,
            received_ms: 1_795_169_472_041,
            source: Some("gps0".into()),
            asset: Some("TRK-07".into()),
            place: None,
            code: None,
            repeats: 0,
            body: r#"{"lat":59.1246817,"lon":11.3875214}"#.into(),
        }
    }

    #[test]
    fn an_event_reads_as_the_contract_writes_it() {
        assert_eq!(
            event(&row(), false),
            concat!(
                r#"{"v":1,"id":"6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b","epoch":"9f3ad2c1b0e4f587","seq":1234,"prev":1229,"#,
                r#""site":"halden","node":"wp-07","boot":17,"mono_ms":812345,"kind":"fix","ts":"2026-11-20T10:11:12.000Z","#,
                r#""ts_ms":1795169472000,"tq":"gnss","received_ms":1795169472041,"source":"gps0","asset":"TRK-07","#,
                r#""lat":59.1246817,"lon":11.3875214}"#
            )
        );
    }

    #[test]
    fn an_empty_body_leaves_valid_json_and_replay_is_one_more_field() {
        let row = Row { body: "{}".into(), ..row() };
        let json: serde_json::Value = serde_json::from_str(&event(&row, true)).unwrap();
        assert_eq!(json["replay"], true);
        assert_eq!(json["seq"], 1234);
    }

    #[test]
    fn times_no_calendar_holds_are_shown_not_lost() {
        assert!(rfc3339(i64::MAX).starts_with("9999-"), "{}", rfc3339(i64::MAX));
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
    }
}
