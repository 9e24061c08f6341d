use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

const BASE: &str = "waypost/v1/halden/wp-07";

fn names(assets: &[&str]) -> NodeNames {
    NodeNames {
        site: "halden".into(),
        node: "wp-07".into(),
        version: "0".into(),
        config_digest: "d".into(),
        assets: assets.iter().map(|asset| (*asset).to_owned()).collect(),
        quota_mib: None,
    }
}

fn config(message: &Message) -> Value {
    serde_json::from_str(&message.payload).unwrap()
}

/// What Jinja, as Home Assistant uses it, makes of templates; none where it is not installed.
fn rendered(all: &[(String, Value)]) -> Option<Vec<String>> {
    let program = "import json, sys\nfrom jinja2.sandbox import ImmutableSandboxedEnvironment as E\n\
                   print(json.dumps([E().from_string(t).render(value_json=v) for t, v in json.load(sys.stdin)]))";
    let mut python = Command::new("python3");
    python.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = python.spawn().ok()?;
    child.stdin.take().unwrap().write_all(json!(all).to_string().as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let wrong = String::from_utf8_lossy(&done.stderr);
    if wrong.contains("No module named") {
        return None;
    }
    assert!(done.status.success(), "{all:?}: {wrong}");
    Some(serde_json::from_slice(&done.stdout).unwrap())
}

#[test]
fn every_entity_has_a_topic_of_plain_levels_and_a_name_of_its_own() {
    let odd = ["TRK-07", "yard truck", "yard+truck", "a/b/#", "händler", "{{ 7 * 7 }}", "\"]"];
    let all = entities(BASE, &names(&odd), true);
    assert_eq!(all.len(), odd.len() + 4);
    let mut topics: Vec<&str> = all.iter().map(|message| &*message.topic).collect();
    for topic in &topics {
        let levels: Vec<&str> = topic.split('/').collect();
        assert!(levels.len() == 5 && levels[0] == "homeassistant" && levels[4] == "config", "{topic}");
        assert!(topic.chars().all(|c| c.is_ascii_alphanumeric() || "/_-".contains(c)), "{topic}");
        assert!(is_of(topic));
    }
    topics.sort_unstable();
    topics.dedup();
    assert_eq!(topics.len(), all.len());
    assert!(
        all.iter()
            .all(|message| message.retain && config(message)["availability"][0]["topic"] == format!("{BASE}/status"))
    );
    assert!(!is_of("homeassistantx/config") && !is_of(BASE));
}

#[test]
fn a_node_without_health_messages_has_no_figures_to_show() {
    let topics: Vec<String> = entities(BASE, &names(&[]), false).into_iter().map(|message| message.topic).collect();
    assert_eq!(topics, ["homeassistant/binary_sensor/waypost_halden_wp-07/alarm/config"]);
}

#[test]
fn the_templates_say_of_each_asset_where_it_is_and_of_the_node_how_it_is() {
    let odd = ["TRK-07", "{{ 7 * 7 }} %}", "quoted \" ' \\ <&>"];
    let all = entities(BASE, &names(&odd), true);
    let template = |at: &Message, key: &str| config(at)[key].as_str().unwrap().to_owned();
    let state: Vec<Value> = (0..)
        .zip(odd)
        .map(|(n, asset)| json!({ "asset": asset, "lat": 59 + n, "lon": 11.5, "ts_ms": 7, "place": "dock-3" }))
        .collect();
    let nowhere = [json!({ "assets": [] }), json!({ "assets": [{ "asset": odd[0], "ts_ms": 7 }] })];
    let mut asked = Vec::new();
    for at in &all[..odd.len()] {
        asked.push((template(at, "json_attributes_template"), json!({ "v": 1, "assets": state })));
    }
    asked.extend(nowhere.map(|state| (template(&all[0], "json_attributes_template"), state)));
    let by_object = |object: &str| {
        let found = all.iter().find(|message| message.topic.ends_with(&format!("/{object}/config"))).unwrap();
        template(found, "value_template")
    };
    let health = json!({ "backlog": 140, "oldest_unsent_s": 12, "letters": 0 });
    asked.extend(["backlog", "oldest_unsent_s", "letters"].map(|object| (by_object(object), health.clone())));
    let well = json!({ "state": "online" });
    asked.push((by_object("alarm"), well.clone()));
    asked.push((by_object("alarm"), json!({ "state": "online", "alarm": "warn" })));
    asked.push((config(&all[0])["availability"][0]["value_template"].as_str().unwrap().to_owned(), well));
    let Some(told) = rendered(&asked) else {
        return eprintln!("SKIPPED: python3-jinja2 is not installed, the templates are not tried");
    };
    for ((n, asset), attributes) in (0..).zip(odd).zip(&told) {
        let shown: Value = serde_json::from_str(attributes).unwrap();
        assert_eq!(shown["latitude"], 59 + n, "{asset}");
        assert_eq!(shown["longitude"], 11.5);
        assert_eq!((&shown["place"], &shown["asset"]), (&json!("dock-3"), &json!(asset)));
        assert_eq!(shown["speed_mps"], Value::Null, "what is unknown is no zero");
    }
    assert_eq!(told[odd.len()..], ["{}", "{}", "140", "12", "0", "OFF", "ON", "online"]);
}
