//! The translators of `examples/central`: what comes out at the other end of a real broker.

use serde_json::{Value, json};

use super::postgres::Example;
use crate::bench::{Broker, Site, wait_for};
use crate::ear::Ear;

/// Starts a translator and says events until it is awake; what it made of them, by topic.
fn translated(name: &str, topic: &str, args: &[&str], events: &[Value]) -> Option<Vec<(String, Value)>> {
    let python = std::process::Command::new("/usr/bin/python3").args(["-c", "import paho.mqtt, psycopg2"]).output();
    if !python.is_ok_and(|out| out.status.success()) {
        eprintln!("SKIPPED: python3-paho-mqtt or python3-psycopg2 is not installed; `make test-brokers` installs them");
        return None;
    }
    let broker = Broker::start()?;
    let site = Site::new();
    let ear = Ear::at(broker.port, "", "ear", topic);
    let port = broker.port.to_string();
    let board = format!("127.0.0.1:{port}");
    let args: Vec<&str> = args.iter().map(|arg| if *arg == "BOARD" { board.as_str() } else { arg }).collect();
    let _translator = Example::start(name, &[&["--port", &port], args.as_slice()].concat(), &site.path("log"));
    let last = events.last().unwrap();
    wait_for("the translator", || {
        ear.say("waypost/v1/halden/wp-07/event/fix", last);
        std::thread::park_timeout(std::time::Duration::from_millis(200));
        (!ear.heard().is_empty()).then_some(())
    });
    ear.heard().clear();
    for event in events {
        ear.say(&format!("waypost/v1/halden/wp-07/event/{}", event["kind"].as_str().unwrap()), event);
    }
    wait_for("the last of them", || (ear.heard().len() >= 2).then_some(()));
    let heard = ear.heard();
    Some(heard.iter().map(|heard| (heard.topic.clone(), heard.payload.clone())).collect())
}

fn events() -> Vec<Value> {
    let head = json!({ "v": 1, "id": "6b001cc0b5e45e1877905282152bfe3c", "site": "halden", "node": "wp-07", "seq": 7,
        "ts_ms": 1_795_169_472_000_i64, "received_ms": 1_795_169_472_041_i64, "asset": "TRK 07" });
    let with = |more: Value| -> Value {
        let mut all = head.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    vec![
        with(json!({ "kind": "fix", "lat": 1.0, "lon": 2.0, "doubt": ["jump"] })),
        with(
            json!({ "kind": "place", "change": "enter", "place": "dock-3", "since_ms": 1_795_169_472_000_i64, "because": "operator" }),
        ),
        with(json!({ "kind": "fix", "lat": 59.1, "lon": 11.4, "speed_mps": 10.0, "course_deg": 90.4, "alt_m": 12.3 })),
    ]
}

#[test]
fn owntracks_hears_of_fixes_and_of_coming_and_going() {
    let Some(told) = translated("owntracks.py", "owntracks/#", &[], &events()) else { return };
    let id = "6b001cc0b5e45e1877905282152bfe3c";
    assert!(told.contains(&(
        "owntracks/halden/TRK_07/event".to_owned(),
        json!({ "_type": "transition", "_id": id, "tid": "07", "tst": 1_795_169_472, "event": "enter", "desc": "dock-3", "wtst": 1_795_169_472 })
    )), "{told:?}");
    assert!(told.contains(&(
        "owntracks/halden/TRK_07".to_owned(),
        json!({ "_type": "location", "_id": id, "tid": "07", "tst": 1_795_169_472, "lat": 59.1, "lon": 11.4, "alt": 12, "vel": 36, "cog": 90, "created_at": 1_795_169_472 })
    )), "{told:?}");
    assert!(!told.iter().any(|(_, said)| said["lat"] == 1.0), "what may not be believed moves nothing");
}

#[test]
fn thingsboard_hears_of_each_asset_as_a_device() {
    let told = translated("thingsboard.py", "v1/gateway/#", &["--board", "BOARD"], &events());
    let Some(told) = told else { return };
    let values = |values: Value| {
        ("v1/gateway/telemetry".to_owned(), json!({ "TRK 07": [{ "ts": 1_795_169_472_000_i64, "values": values }] }))
    };
    assert!(told.contains(&values(json!({ "place": "dock-3", "change": "enter" }))), "{told:?}");
    let fix = json!({ "latitude": 59.1, "longitude": 11.4, "alt_m": 12.3, "speed_mps": 10.0, "course_deg": 90.4 });
    assert!(told.contains(&values(fix)), "{told:?}");
}
