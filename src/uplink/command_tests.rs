use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const BASE: &str = "waypost/v1/halden/wp-07";
const NOW_MS: i64 = 1_795_169_472_000;
const EPOCH: &str = "9f3ad2c1b0e4f587";

fn heard(cmd: &str, payload: impl Into<Vec<u8>>) -> Heard {
    Heard { topic: format!("{BASE}/cmd/{cmd}"), payload: payload.into(), retained: false }
}

fn asked(cmd: &str, payload: &Value) -> Result<Asked, Refusal> {
    read(&heard(cmd, payload.to_string()), BASE, (NOW_MS, true))
}

fn replay(from: i64, to: i64) -> Value {
    json!({ "id": "r-1", "expires_ms": NOW_MS + 60_000, "epoch": EPOCH, "from": from, "to": to })
}

/// What becomes of it before the store is asked; none when nothing is wrong with it.
fn verdict(cmd: &str, payload: &Value) -> Option<CommandOutcome> {
    match asked(cmd, payload) {
        Ok(asked) => asked.refusal,
        Err(refusal) => Some(refusal.outcome),
    }
}

#[test]
fn the_three_commands_of_the_contract_are_understood() {
    let epoch = EPOCH.parse().unwrap();
    let ping = json!({ "id": "p.1", "expires_ms": NOW_MS + 1 });
    assert_eq!(asked("ping", &ping).unwrap().command, Command::Ping);
    let replay = asked("replay", &replay(4, 9)).unwrap();
    assert_eq!(replay.command, Command::Replay { epoch, from: Seq(4), to: Seq(9) });
    assert_eq!((replay.id.as_str(), replay.refusal), ("r-1", None));
    let confirm = json!({ "id": "c-1", "expires_ms": NOW_MS + 1, "epoch": EPOCH, "through": 77 });
    assert_eq!(asked("confirm", &confirm).unwrap().command, Command::Confirm { epoch, through: Seq(77) });
}

#[test]
fn what_is_not_exactly_a_command_is_refused_with_its_reason() {
    use CommandOutcome as O;
    let with = |key: &str, value: Value| {
        let mut payload = replay(1, 2);
        payload[key] = value;
        payload
    };
    let mut short = replay(1, 2);
    short.as_object_mut().unwrap().remove("epoch");
    for (cmd, payload, expect) in [
        ("reboot", replay(1, 2), O::Unknown),
        ("other", replay(1, 2), O::Unknown),
        ("", replay(1, 2), O::Unknown),
        ("replay", with("shell", json!("rm")), O::Malformed),
        ("replay", with("from", json!(1.5)), O::Malformed),
        ("replay", with("from", json!("1")), O::Malformed),
        ("replay", with("epoch", json!("9f3a")), O::Malformed),
        ("replay", with("epoch", json!("+f3ad2c1b0e4f587")), O::Malformed),
        ("replay", short, O::Malformed),
        ("replay", json!([1, 2]), O::Malformed),
        ("ping", replay(1, 2), O::Malformed),
        ("replay", with("id", json!("")), O::BadId),
        ("replay", with("id", json!("a/b")), O::BadId),
        ("replay", with("id", json!("a+")), O::BadId),
        ("replay", with("id", json!("#")), O::BadId),
        ("replay", with("id", json!("-")), O::BadId),
        ("replay", with("id", json!("ä")), O::BadId),
        ("replay", with("id", json!("a\u{0}")), O::BadId),
        ("replay", with("id", json!("a".repeat(65))), O::BadId),
        ("replay", with("expires_ms", json!(NOW_MS)), O::Expired),
        ("replay", with("expires_ms", json!(i64::MIN)), O::Expired),
        ("replay", with("expires_ms", json!(NOW_MS + MEMORY_MS + 1)), O::ExpiresLate),
        ("replay", with("expires_ms", json!(i64::MAX)), O::ExpiresLate),
        ("replay", with("from", json!(0)), O::BadRange),
        ("replay", with("to", json!(0)), O::BadRange),
        ("replay", with("to", json!(i64::MAX)), O::TooMany),
        ("replay", with("to", json!(100_001)), O::TooMany),
        ("confirm", json!({"id": "c", "expires_ms": NOW_MS + 1, "epoch": EPOCH, "through": 0}), O::BadRange),
    ] {
        assert_eq!(verdict(cmd, &payload), Some(expect), "{cmd} {payload}");
    }
    assert_eq!(verdict("replay", &with("to", json!(100_000))), None);
    assert_eq!(verdict("replay", &with("id", json!("a".repeat(64)))), None);
}

#[test]
fn a_field_that_is_given_twice_is_refused() {
    let twice = format!(r#"{{"id":"a","expires_ms":{},"id":"b"}}"#, NOW_MS + 1);
    assert_eq!(read(&heard("ping", twice), BASE, (NOW_MS, true)).unwrap_err().outcome, CommandOutcome::Malformed);
}

#[test]
fn what_is_too_long_is_not_read_and_what_is_retained_is_not_done() {
    let mut long = json!({ "id": "p", "expires_ms": NOW_MS + 1 }).to_string().into_bytes();
    long.resize(BYTES_MAX, b' ');
    assert!(read(&heard("ping", long.clone()), BASE, (NOW_MS, true)).is_ok());
    long.push(b' ');
    let refusal = read(&heard("ping", long), BASE, (NOW_MS, true)).unwrap_err();
    assert_eq!((refusal.outcome, refusal.id), (CommandOutcome::TooLarge, None));
    let kept = Heard { retained: true, ..heard("ping", json!({ "id": "p", "expires_ms": NOW_MS + 1 }).to_string()) };
    assert_eq!(read(&kept, BASE, (NOW_MS, true)).unwrap().refusal, Some(CommandOutcome::Retained));
}

#[test]
fn without_a_trusted_time_only_what_has_expired_for_sure_is_refused() {
    let payload = json!({ "id": "p", "expires_ms": NOW_MS + MEMORY_MS * 9 }).to_string();
    assert_eq!(read(&heard("ping", payload.clone()), BASE, (NOW_MS, false)).unwrap().refusal, None);
    let after = (NOW_MS + MEMORY_MS * 10, false);
    assert_eq!(read(&heard("ping", payload), BASE, after).unwrap().refusal, Some(CommandOutcome::Expired));
}

#[test]
fn the_id_of_a_refused_command_is_found_where_it_can_be_told() {
    let refusal = asked("replay", &json!({ "id": "r-7", "to": 3 })).unwrap_err();
    assert_eq!((refusal.id.as_deref(), refusal.word.as_str()), (Some("r-7"), "replay"));
    let strange = read(&heard("a b\n", r#"{"id":"x/y"}"#), BASE, (NOW_MS, true)).unwrap_err();
    assert_eq!((strange.id, strange.word.as_str(), strange.kind), (None, "-", CommandKind::Other));
}

#[test]
fn an_answer_reads_as_the_contract_writes_it() {
    let when = When { ts_ms: NOW_MS, tq: "ntp" };
    let reply = Reply { outcome: CommandOutcome::Done, count: 6, missing: 0 };
    let done = r#"{"id":"r-1","cmd":"replay","ok":true,"reason":"done","count":6,"ts_ms":1795169472000,"tq":"ntp"}"#;
    assert_eq!(answer(Some("r-1"), "replay", reply, when), done);
    let refused: Value = serde_json::from_str(&answer(None, "-", Reply::of(CommandOutcome::Malformed), when)).unwrap();
    assert_eq!((&refused["id"], &refused["ok"], &refused["reason"]), (&json!("-"), &json!(false), &json!("malformed")));
}

#[test]
fn other_places_are_another_command_and_another_expiry_is_not() {
    let digest = |payload: &Value| asked("replay", payload).unwrap().command.digest();
    let mut later = replay(1, 2);
    later["expires_ms"] = json!(NOW_MS + 120_000);
    assert_eq!(digest(&replay(1, 2)), digest(&later));
    assert_ne!(digest(&replay(1, 2)), digest(&replay(1, 3)));
    assert_ne!(digest(&replay(1, 23)), digest(&replay(12, 3)));
}

/// Bytes that look like commands, and bytes that do not.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| n.to_string()),
        "\\PC{0,80}".prop_map(|text| json!(text).to_string()),
        Just("null".to_owned()),
        Just("[[[[{}]]]]".to_owned()),
        Just(format!("\"{EPOCH}\"")),
    ];
    let key = prop_oneof![
        Just("id"),
        Just("expires_ms"),
        Just("epoch"),
        Just("from"),
        Just("to"),
        Just("through"),
        Just("__proto__")
    ];
    let object = prop::collection::vec((key, value), 0..8).prop_map(|fields| {
        let fields: Vec<String> = fields.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    });
    prop_oneof![object, prop::collection::vec(any::<u8>(), 0..2_000), Just(b"[".repeat(BYTES_MAX))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_comes_is_a_verdict_and_only_plain_ids_become_topics(
        level in prop_oneof!["replay|ping|confirm|other", "\\PC{0,100}"],
        payload in payloads(),
        retained: bool,
        known in (any::<i64>(), any::<bool>()),
    ) {
        let heard = Heard { retained, ..heard(&level, payload) };
        let (id, word, reply) = match read(&heard, BASE, known) {
            Ok(asked) => {
                prop_assert!(asked.refusal.is_some() || asked.expires_ms > known.0);
                let outcome = asked.refusal.unwrap_or(CommandOutcome::Done);
                (Some(asked.id), asked.command.kind().as_str().to_owned(), Reply::of(outcome))
            }
            Err(refusal) => (refusal.id, refusal.word, Reply::of(refusal.outcome)),
        };
        let level = answer_level(id.as_deref());
        prop_assert!((1..=64).contains(&level.len()) && level.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
        let text = answer(id.as_deref(), &word, reply, When { ts_ms: 0, tq: "none" });
        prop_assert!(text.len() < 400 && serde_json::from_str::<Value>(&text).is_ok());
    }
}
