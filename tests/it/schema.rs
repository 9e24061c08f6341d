//! What `waypost schema` prints, and that it is what a node really says; that the pages and the examples say the same.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::bench::{Broker, Pty, Site, epoch, repository, run, stderr, stdout, wait_for};
use crate::ear::Ear;
use crate::strict::Strict;

fn schema(name: &str) -> Value {
    let out = run(&["schema", name]);
    assert!(out.status.success(), "{name}: {}", stderr(&out));
    serde_json::from_str(&stdout(&out)).unwrap()
}

/// The names that `schema list` prints, with the document.
fn names() -> Vec<String> {
    let out = run(&["schema", "list"]);
    let text = stdout(&out);
    text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn schema_prints_each_by_its_name_and_says_which_there_are() {
    let names = names();
    assert!(names.len() == 12 && names.contains(&"cmd/replay".to_owned()), "{names:?}");
    let all: Value = serde_json::from_str(&stdout(&run(&["schema"]))).unwrap();
    for name in names.iter().filter(|name| *name != "asyncapi") {
        assert_eq!(all[name], schema(name));
        assert_eq!(all[name]["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
    }
    let none = run(&["schema", "letter"]);
    assert_eq!(none.status.code(), Some(64));
    assert!(stderr(&none).contains("no schema \"letter\"; there are ack, alarm"), "{}", stderr(&none));
}

/// What every `$ref` below names.
fn references(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            into.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|below| references(below, into));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, into)),
        _ => {}
    }
}

#[test]
fn the_asyncapi_document_is_whole_and_holds_every_schema() {
    let document = schema("asyncapi");
    assert_eq!(document["asyncapi"], "3.0.0");
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    let mut named = BTreeSet::new();
    references(&document, &mut named);
    for reference in named {
        let at = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads out of the document"));
        assert!(document.pointer(at).is_some(), "{reference} leads nowhere");
    }
    let mut held = BTreeSet::new();
    for (name, message) in document["components"]["messages"].as_object().unwrap() {
        let payload = &message["payload"];
        assert_eq!(payload["schemaFormat"], "application/schema+json;version=draft-2020-12", "{name}");
        held.insert(payload["schema"]["$id"].as_str().unwrap().to_owned());
    }
    let schemas = names().into_iter().filter(|name| name != "asyncapi");
    assert_eq!(held, schemas.map(|name| schema(&name)["$id"].as_str().unwrap().to_owned()).collect());
    for (name, channel) in document["channels"].as_object().unwrap() {
        let address = channel["address"].as_str().unwrap();
        let variables = address.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect::<BTreeSet<_>>();
        let parameters = channel["parameters"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(variables, parameters, "{name}: each variable of {address} has its parameter");
        assert_eq!(channel["messages"].as_object().unwrap().len(), 1, "{name}");
    }
    let operations = document["operations"].as_object().unwrap();
    assert_eq!(operations.len(), document["channels"].as_object().unwrap().len());
    for (name, operation) in operations {
        assert!(["send", "receive"].contains(&operation["action"].as_str().unwrap()), "{name}");
    }
}

#[test]
fn what_a_node_says_on_a_real_broker_is_as_the_schemas_have_it() {
    let Some(broker) = Broker::start() else { return };
    let site = Site::new();
    let (mut gps, mut door) = (Pty::new(&site.path("gps0")), Pty::new(&site.path("door")));
    let here = |name: &str| site.path(name).display().to_string();
    let more = format!(
        "[[gps]]\nid = \"gps0\"\nport = \"{}\"\nasset = \"TRK-07\"\ntrack_interval_s = 0\nparked_interval_s = 0\n\n[[scanner]]\nid = \"door-3\"\nport = \"{}\"\nplace = \"door-3\"\n\n\
         [[scanner]]\nid = \"gone\"\nport = \"{}\"\n",
        here("gps0"),
        here("door"),
        here("no-such-port")
    );
    site.configure(&(Site::uplink(broker.port, "accept") + "health_s = 1\n\n" + &more));
    let ear = Ear::at(broker.port, "", "ear", "waypost/v1/halden/wp-07/#");
    let node = site.start();
    for second in 36_000..36_003 {
        gps.write(&epoch(second));
    }
    door.write(b"]C100395212340000010045\r\nTRL-7\r\n");
    // The third source is not there: an alarm.
    for said in
        ["event/fix", "event/scan", "event/place", "/state", "/health", "/watermark", "/clock", "/alarm/source_gone"]
    {
        wait_for(said, || ear.last(said));
    }
    assert!(node.stop().success());
    wait_for("offline", || (ear.last("/status")?.payload["state"] == "offline").then_some(()));
    let mut strict = Strict::read();
    let base = "waypost/v1/halden/wp-07/";
    for heard in ear.heard().iter().filter(|heard| !heard.payload.is_null()) {
        strict.take(Strict::name_of(heard.topic.strip_prefix(base).unwrap()), &heard.payload);
    }
    eprintln!("fields that this node had no reason for: {}", strict.unseen(&["ack", "cmd/"]).join(" "));
}

#[test]
fn the_sql_of_the_page_is_a_part_of_the_examples() {
    let read = |path: &str| std::fs::read_to_string(repository(path)).unwrap();
    let files = read("examples/central/tables.sql") + &read("examples/central/store.sql");
    let page = read("docs/mqtt.md");
    let blocks: Vec<&str> = page.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 4, "{}", blocks.len());
    for block in blocks {
        assert!(files.contains(block), "docs/mqtt.md says what examples/central does not:\n{block}");
    }
}
