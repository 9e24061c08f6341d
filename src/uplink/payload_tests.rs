//! Every payload, with all it can say and with as little as it can: as the schemas of `docs/schema` have it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::lane::Message;
use super::payload::{Figures, Vitals, Voice, When};
use super::{NodeNames, strict::Strict};
use crate::clock::{BootTime, Span};
use crate::domain::{
    AssetState, Change, Doubt, Epoch, EventId, Fix, Kind, Mode, Row, Scan, ScanKind, Seq, TimeQuality, Warn,
};
use crate::health::{Alarm, ClockState, DiskState, Severity, SourceCondition, SourceState};
use crate::wire::{self, PlaceChange, fix_body, note_body, place_body, scan_body};

const NOW: When = When { ts_ms: 1_795_169_472_041, tq: "gnss" };

fn voice() -> Voice {
    let names = NodeNames {
        site: "halden".into(),
        node: "wp-07".into(),
        version: "0.1.0".into(),
        config_digest: "e4821e442ed7ef77".into(),
        assets: vec!["TRK-07".into()],
        quota_mib: Some(2048),
    };
    Voice { base: "waypost/v1/halden/wp-07".into(), names, boot: 17, epoch: Epoch(7) }
}

fn row(kind: Kind, body: String, whole: bool) -> Row {
    let some = |text: &str| whole.then(|| text.to_owned());
    let of = |is: bool, text: &str| some(text).or_else(|| is.then(|| text.to_owned()));
    Row {
        epoch: Epoch(7),
        kind,
        prev: whole.then_some(Seq(1229)),
        source: of(matches!(kind, Kind::Fix | Kind::Scan), "gps0").filter(|_| kind != Kind::Place),
        asset: of(kind != Kind::Note, "TRK-07"),
        place: some("dock-3"),
        code: (kind == Kind::Scan).then(|| "TRL-7".to_owned()),
        repeats: 2,
        body,
        ..wire::tests::row()
    }
}

fn fix(whole: bool) -> String {
    let fix = Fix {
        // A receiver whose date was 1024 weeks behind.
        time_ms: 1_795_169_472_000,
        has_date: true,
        day_sent: if whole { "060407".into() } else { String::new() },
        tod_sent_ms: 36_672_000,
        first_e7: (0, 0),
        lat_deg: 59.1,
        lon_deg: 11.4,
        alt_m: whole.then_some(12.3),
        speed_mps: whole.then_some(1.4),
        course_deg: whole.then_some(271.0),
        mode: whole.then_some(Mode::ThreeD),
        satellites: whole.then_some(9),
        hdop: whole.then_some(0.9),
        quality: None,
        doubt: if whole {
            vec![Doubt::Future, Doubt::Old, Doubt::Jump, Doubt::Frozen, Doubt::Clock]
        } else {
            Vec::new()
        },
    };
    fix_body(&fix, whole)
}

fn scan(whole: bool) -> String {
    let scan = Scan {
        code: "TRL-7".into(),
        kind: ScanKind::Sscc,
        key: "sscc:376104250021234569".into(),
        aim: whole.then(|| "]C1".into()),
        gs1: if whole { BTreeMap::from([("00".into(), "376104250021234569".into())]) } else { BTreeMap::new() },
        warn: if whole { Warn::ALL.to_vec() } else { Vec::new() },
        same_as: whole.then(|| "sscc:376104250021234569".into()),
        frame: Vec::new(),
    };
    let position = whole.then_some((59.1, 11.4));
    scan_body(&scan, whole.then_some("10.0.0.7:40112"), position, whole.then_some("leave"))
}

fn place(change: Change, whole: bool) -> String {
    let cause = EventId([7; 16]).to_string();
    place_body(&PlaceChange {
        change,
        since_ms: 1_795_169_472_000,
        because: if whole { &cause } else { "operator" },
        nth: i64::from(whole),
        late: whole,
        voids: whole.then_some(EventId([8; 16])),
        renamed: whole.then_some("raw:TRL-7"),
    })
}

fn events(whole: bool) -> Vec<Message> {
    let row = |kind, body| Voice::event("waypost", &row(kind, body, whole));
    vec![
        row(Kind::Fix, fix(whole)),
        row(Kind::Scan, scan(whole)),
        row(Kind::Place, place(Change::Enter, whole)),
        row(Kind::Place, place(Change::Exit, whole)),
        row(Kind::Place, place(Change::Void, whole)),
        row(Kind::Note, note_body("store_restored", "A new life of the store began.")),
    ]
}

fn asset(whole: bool) -> AssetState {
    AssetState {
        asset: "TRK-07".into(),
        id: EventId([0x6b; 16]),
        seq: Seq(1234),
        ts_ms: NOW.ts_ms,
        tq: TimeQuality::Rtc,
        received: (17, 812_345),
        position: whole.then_some((59.1, 11.4)),
        speed_mps: whole.then_some(1.4),
        course_deg: whole.then_some(271.0),
        place: whole.then(|| "dock-3".into()),
        since_ms: whole.then_some(NOW.ts_ms),
        source: whole.then(|| "gps0".into()),
        gps_place: whole.then(String::new),
    }
}

fn health(whole: bool) -> Message {
    let figures = Figures { backlog: 140, oldest: whole.then_some((16, 5, 1_795_169_470_000)), ..Figures::default() };
    let source = SourceState {
        id: "gps0".into(),
        kind: "gps",
        port: "/dev/waypost/gps0".into(),
        state: SourceCondition::Up,
        since_mono_ms: 0,
        since_ms: 0,
        last_frame_mono_ms: whole.then_some(811_000),
        last_frame_ms: None,
        line_load: None,
        advice: String::new(),
    };
    let disk = DiskState { autonomy_s: Some(1_485_000), ..DiskState::default() };
    let clock = ClockState {
        tq: "gnss",
        err_ms: whole.then_some(-3),
        by: whole.then(|| "gps0".into()),
        rev: whole.then_some(1),
        text: if whole { "Events of this boot were stamped an hour late.".into() } else { String::new() },
        utc_minus_mono_ms: None,
    };
    let vitals = Vitals {
        figures: &figures,
        sources: vec![&source],
        disk: whole.then_some(&disk),
        clock: Some(&clock),
        mono_ms: 812_345,
        cert_days: whole.then_some(29),
        per_s: if whole { 40.0 } else { 0.0 },
    };
    voice().health(&vitals, NOW)
}

fn watermark(whole: bool) -> Message {
    let few = Figures::default();
    let many = Figures {
        missing: vec![(4711, 4711, "too_large".into())],
        missing_more: true,
        past: vec![("9f3ad2c1b0e4f587".into(), 900)],
        confirmed: Some(4900),
        ..Figures::default()
    };
    let first = whole.then_some(Seq(4980));
    voice().watermark(Seq(5120), [(first, Seq(4979)), (first, Seq(0))], if whole { &many } else { &few })
}

fn clock(whole: bool) -> Message {
    let span = Span { from_mono_ms: 5210, to_mono_ms: 81_240, offset_ms: -7, err_ms: 4, tq: TimeQuality::Ntp };
    voice().clock(&BootTime { boot: 17, spans: if whole { vec![span] } else { Vec::new() }, ..BootTime::default() })
}

fn alarm() -> Message {
    let (text, advice) = ("The broker is away.".to_owned(), "Look at the line.".to_owned());
    voice().alarm(&Alarm { name: "uplink_down".into(), severity: Severity::Warn, since_ms: 1, text, advice, count: 1 })
}

fn all(whole: bool) -> Vec<Message> {
    let mut all = events(whole);
    all.extend([
        voice().state(&[asset(whole)], NOW),
        voice().status(whole, whole.then_some("fault"), whole.then_some(NOW)),
        health(whole),
        watermark(whole),
        clock(whole),
        alarm(),
    ]);
    all
}

/// What nothing here makes: commands come from outside, and their answers are tried where they are given.
const ASIDE: [&str; 2] = ["ack", "cmd/"];

#[test]
fn every_payload_is_as_its_schema_says_and_every_field_of_a_schema_is_in_some_payload() {
    let mut strict = Strict::read();
    for message in all(false).into_iter().chain(all(true)) {
        let below = message.topic.strip_prefix("waypost/v1/halden/wp-07/").unwrap();
        strict.take(Strict::name_of(below), &serde_json::from_str(&message.payload).unwrap());
    }
    let again = wire_again();
    strict.take("event", &again);
    assert_eq!(strict.unseen(&ASIDE), Vec::<String>::new());
}

fn wire_again() -> Value {
    serde_json::from_str(&crate::wire::event(&row(Kind::Fix, fix(true), true), true)).unwrap()
}

#[test]
fn a_field_that_no_schema_names_is_a_fault() {
    let strict = Strict::read();
    for (name, field) in [("event", "/new"), ("health", "/disk/new"), ("health", "/sources/0/new")] {
        let mut payload =
            if name == "event" { wire_again() } else { serde_json::from_str(&health(true).payload).unwrap() };
        assert_eq!(strict.faults(name, &payload), Vec::<String>::new());
        let (parent, key) = field.rsplit_once('/').unwrap();
        payload.pointer_mut(parent).unwrap()[key] = 1.into();
        assert!(!strict.faults(name, &payload).is_empty(), "{name}{field}");
    }
}
