//! The dead letters from outside: listed, shown, exported, retried, given up and opened again; by HTTP, by the command line,
//! with and without the node, over kills.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::{Broker, Node, Site, balanced, free_port, full, stderr, stdout, wait_for, wait_within};
use crate::register::{JSON, code, control, door, frames, tcp, well};
use crate::upstream::Centre;

/// What an address answers on the control socket, as text with its head.
fn read(site: &Site, path: &str) -> String {
    let mut socket = UnixStream::connect(site.path("store/control.sock")).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// A job as it stands at its end.
fn ended(node: &Node, job: &Value) -> Value {
    wait_for("the end of the job", || {
        let now = node.json(&format!("/api/v1/letters/actions/{}", job["job"]));
        (now["state"] != "running").then_some(now)
    })
}

/// Three scans that are held, one that says nothing, and two sentences that a line spoiled.
fn filled(site: &Site) -> Node {
    let mut door3 = door(site, "hold");
    let node = site.start();
    door3.write(b"=TRL-7\r\nTRL-8\r\nTRL-9\r\nNOREAD\r\n");
    frames(&node, 4);
    // The port goes with the pty; nothing more comes.
    drop(door3);
    node
}

#[test]
fn what_arrived_is_read_with_the_operators_rights_and_the_rest_by_everybody() {
    let site = Site::new();
    let node = filled(&site);
    let (_, all) = tcp(&node, "GET /api/v1/letters", "", "");
    let numbers: Vec<i64> =
        all["items"].as_array().unwrap().iter().map(|one| one["letter"].as_i64().unwrap()).collect();
    assert_eq!((numbers, &all["next"]), (vec![4, 3, 2, 1], &Value::Null));
    let (_, page) = tcp(&node, "GET /api/v1/letters?limit=2&before=4&reason=unknown_tag", "", "");
    assert_eq!((&page["items"][0]["letter"], &page["next"]), (&json!(3), &json!(2)));
    for query in
        ["stage=store", "class=decide&source=door-3&reason=unknown_tag", "q=raw:TRL", "from=1&reason=unknown_tag"]
    {
        let (_, found) = tcp(&node, &format!("GET /api/v1/letters?{query}"), "", "");
        assert_eq!(found["items"].as_array().unwrap().len(), if query == "q=raw:TRL" { 2 } else { 3 }, "{query}");
    }
    for query in ["state=gone", "stage=moon", "class=odd", "reason=odd", "from=x", "colour=1"] {
        assert_eq!(tcp(&node, &format!("GET /api/v1/letters?{query}"), "", "").0, 400, "{query}");
    }
    // Who may not read the bytes may not ask what is in them.
    let (_, blind) = tcp(&node, "GET /api/v1/letters?q=NOREAD", "", "");
    assert_eq!(blind["items"], json!([]));
    let (_, seen) = control(&site, "GET /api/v1/letters?q=NOREAD", "", "");
    assert_eq!((&seen["items"][0]["letter"], &seen["items"][0]["bytes"]), (&json!(4), &json!("NOREAD")));
    let (_, open) = tcp(&node, "GET /api/v1/letters/1", "", "");
    assert!(open["hex"].is_null() && open["bytes"].is_null(), "{open}");
    assert_eq!(open["nearby"], json!({ "reason": 3, "reason_and_source": 3, "source_within_an_hour": 4 }));
    let (_, whole) = control(&site, "GET /api/v1/letters/1", "", "");
    assert_eq!((&whole["hex"], &whole["ascii"]), (&json!("3d54524c2d37"), &json!("=TRL-7")));
    assert_eq!(tcp(&node, "GET /api/v1/letters/99", "", "").0, 404);
    let (_, summary) = tcp(&node, "GET /api/v1/letters/summary?window=2h", "", "");
    assert_eq!((&summary["open"], &summary["window_h"]), (&json!(4), &json!(2)));
    let group = &summary["by_reason"][0];
    assert_eq!((&group["reason"], &group["n"], &group["count"]), (&json!("unknown_tag"), &json!(3), &json!(3)));
    let hours: Vec<i64> = group["hours"].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect();
    assert_eq!((hours.len(), hours.iter().sum::<i64>()), (2, 3));
    assert!(group["advice"].as_str().unwrap().contains("Add the asset"));
    assert_eq!(tcp(&node, "GET /api/v1/letters/summary?window=9d", "", "").0, 400);
    assert_eq!(tcp(&node, "GET /api/v1/letters/export", "", "").0, 403);
    let csv = read(&site, "/api/v1/letters/export?format=csv&reason=unknown_tag");
    assert!(csv.contains("letter,state,stage,reason") && csv.contains(",'=TRL-7\r\n"), "{csv}");
    let ndjson = read(&site, "/api/v1/letters/export?format=ndjson");
    assert_eq!(ndjson.lines().filter(|line| line.starts_with("{\"letter\":")).count(), 4, "{ndjson}");
    assert!(node.stop().success());
}

#[test]
fn a_bulk_action_is_a_job_that_is_asked_once_counted_and_seen_on_the_stream() {
    let site = Site::new();
    let node = filled(&site);
    let mut stream = node.stream(None);
    let ask = |head: &str, body: &str| control(&site, "POST /api/v1/letters/actions", &format!("{JSON}{head}"), body);
    let discard = r#"{"action":"discard","filter":{"reason":"unknown_tag"},"expect":3,"note":"visitors"}"#;
    let (status, wrong) = ask("", &discard.replace(":3", ":2"));
    assert_eq!((status, &wrong["error"]["code"], &wrong["error"]["now"]), (409, &json!("count_changed"), &json!(3)));
    let (status, job) = ask("Idempotency-Key: k1\r\n", discard);
    assert_eq!((status, &job["total"], &job["action"]), (202, &json!(3), &json!("discard")), "{job}");
    let done = ended(&node, &job);
    assert_eq!((&done["state"], &done["ok"], &done["done"]), (&json!("done"), &json!(3), &json!(3)));
    let (_, again) = ask("Idempotency-Key: k1\r\n", discard);
    assert_eq!((&again["job"], &again["ok"]), (&job["job"], &json!(3)), "what was asked is done");
    assert_eq!(ask("Idempotency-Key: k1\r\n", &discard.replace("visitors", "others")).0, 409);
    let told = wait_for("the job on the stream", || {
        let message = stream.next()?;
        message.data["items"]
            .as_array()?
            .iter()
            .find(|item| item["k"] == "job" && item["v"]["state"] == "done")
            .cloned()
    });
    assert_eq!((&told["v"]["job"], &told["v"]["ok"]), (&job["job"], &json!(3)));
    assert_eq!(balanced(&node)["letters"]["discarded"], 3);
    for (line, expect) in [("DELETE /api/v1/letters/actions/1", 403), ("GET /api/v1/letters/actions/9", 404)] {
        assert_eq!(tcp(&node, line, "", "").0, expect, "{line}");
    }
    assert_eq!(control(&site, "DELETE /api/v1/letters/actions/9", "", "").0, 404);
    assert_eq!(control(&site, "DELETE /api/v1/letters/actions/1", "", "").1["state"], "done");
    let (_, back) = ask("", r#"{"action":"restore","filter":{"source":"door-3"},"expect":3}"#);
    assert_eq!(ended(&node, &back)["ok"], 3);
    let letters = balanced(&node)["letters"].clone();
    assert_eq!((&letters["open"], &letters["discarded"]), (&json!(4), &json!(0)));
    for body in [
        r#"{"action":"burn","ids":[1]}"#,
        r#"{"action":"retry","filter":{},"expect":0}"#,
        r#"{"action":"retry","filter":{"q":""},"expect":0}"#,
        r#"{"action":"retry","ids":[1],"filter":{"source":"x"},"expect":1}"#,
        r#"{"action":"retry","filter":{"stage":"moon"},"expect":1}"#,
    ] {
        assert_eq!(ask("", body).0, 400, "{body}");
    }
    assert!(node.stop().success());
}

#[test]
fn the_command_line_shows_gives_up_and_restores_the_same_with_and_without_the_node() {
    let site = Site::new();
    let node = filled(&site);
    let shown = well(&site.ask(&["letters", "show", "1"]));
    for part in
        ["letter    1, open", "unknown_tag at the store", "3d 54 52 4c 2d 37", "=TRL-7", "3 open of this reason"]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let many = site.ask(&["letters", "discard", "1", "2"]);
    assert_eq!((code(&many), stderr(&many).contains("wants --yes")), (64, true), "{}", stderr(&many));
    assert_eq!(well(&site.ask(&["letters", "discard", "1", "2", "--yes", "--note", "visitors"])), "2 discarded\n");
    let asked: [&[&str]; 5] = [
        &["letters", "list", "--json", "--state", "all"],
        &["letters", "list", "--state", "discarded"],
        &["letters", "list", "--text", "TRL-9", "--stage", "store", "--from", "2020-01-01T00:00:00Z"],
        &["letters", "show", "2", "--json"],
        &["letters", "show", "1"],
    ];
    let running: Vec<String> = asked.iter().map(|args| well(&site.ask(args))).collect();
    let missing = site.ask(&["letters", "show", "77"]);
    assert_eq!(code(&missing), 1);
    assert!(stderr(&missing).contains("there is no letter 77. `waypost letters list"), "{}", stderr(&missing));
    assert!(node.stop().success());
    for (args, before) in asked.iter().zip(&running) {
        assert_eq!(&well(&site.ask(args)), before, "{args:?}");
    }
    let missing = site.ask(&["letters", "show", "77"]);
    assert_eq!(code(&missing), 1);
    assert!(stderr(&missing).contains("there is no letter 77. `waypost letters list"), "{}", stderr(&missing));
    let sheet: Value = serde_json::from_str(&running[3]).unwrap();
    assert_eq!((&sheet["note"], &sheet["attempts"][0]["what"]), (&json!("visitors"), &json!("discard")));
    let wrong = site.ask(&["letters", "restore", "--source", "door-3", "--expect", "5"]);
    assert_eq!((code(&wrong), stderr(&wrong).contains("2 letters are meant, not 5")), (1, true), "{}", stderr(&wrong));
    let job: Value = serde_json::from_str(&well(
        &site.ask(&["letters", "restore", "--source", "door-3", "--expect", "2", "--json"]),
    ))
    .unwrap();
    assert_eq!((&job["ok"], &job["state"]), (&json!(2), &json!("done")));
    let twice = site.ask(&["letters", "restore", "1"]);
    assert_eq!(
        (code(&twice), stdout(&twice).as_str()),
        (1, "0 restored\nletter 1 is as it was: it was not discarded\n")
    );
    let node = site.start();
    assert_eq!(balanced(&node)["letters"]["open"], 4);
    assert!(node.stop().success());
}

/// Scans codes of a length over the dock's port and waits for the word on each.
fn scan(port: u16, from: usize, n: usize, length: usize) {
    let stream = wait_for("the dock", || TcpStream::connect(("127.0.0.1", port)).ok());
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut dock = stream;
    for n in from..from + n {
        let code = format!("T{n}-{}", "x".repeat(length));
        write!(dock, "{code}\r\n").unwrap();
        assert!(answers.next().unwrap().unwrap().starts_with("ok "));
    }
}

#[test]
fn dead_events_that_are_retried_arrive_under_their_ids_over_every_kill() {
    // Events of long codes are too large for this broker; those of short ones pass.
    let Some(mut broker) = Broker::start_with(1_100) else { return };
    let (long, kills) = if full() { (2_000, 100) } else { (300, 5) };
    let (site, port) = (Site::new(), free_port());
    let centre = Centre::at(broker.port, "centre");
    site.configure(&(Site::uplink(broker.port, "accept") + &Site::dock(port)));
    let mut node = site.start();
    scan(port, 0, long, 800);
    scan(port, long, 20, 3);
    let settled = |node: &Node| {
        wait_within(Duration::from_secs(120), "all to be settled", || {
            (node.ledger()["events"]["unsent"] == 0).then_some(())
        });
        balanced(node)["events"].clone()
    };
    let before = settled(&node);
    let dead = before["dead"].as_i64().unwrap();
    assert!(dead >= i64::try_from(long).unwrap(), "{before}");
    let heard: BTreeSet<String> = centre.heard().events.keys().cloned().collect();
    // With the broker away they wait, and say so.
    broker.down();
    let body = json!({ "action": "retry", "filter": { "stage": "uplink" }, "expect": dead }).to_string();
    let (status, job) = control(&site, "POST /api/v1/letters/actions", JSON, &body);
    assert_eq!((status, &job["total"]), (202, &json!(dead)), "{job}");
    let asked = ended(&node, &job);
    assert_eq!(asked["ok"], dead, "{asked}");
    let waits = balanced(&node)["events"].clone();
    assert_eq!((&waits["dead"], &waits["unsent"]), (&json!(0), &json!(dead)));
    assert_eq!(i64::try_from(site.unsent()), Ok(dead));
    broker.packet_max = 100_000;
    broker.up();
    for kill in 0..kills {
        // Another moment each time: at once, or after some of them.
        if kill % 2 == 1 {
            let unsent = node.ledger()["events"]["unsent"].as_i64().unwrap();
            wait_within(Duration::from_secs(60), "some to be sent", || {
                let now = node.ledger()["events"]["unsent"].as_i64().unwrap();
                (now < unsent || now == 0).then_some(())
            });
        }
        node.kill();
        node = site.start();
    }
    let after = settled(&node);
    assert_eq!((&after["dead"], &after["total"]), (&json!(0), &before["total"]), "{after}");
    let letters = balanced(&node)["letters"].clone();
    assert_eq!((&letters["retried"], &letters["open"]), (&json!(dead), &json!(0)));
    assert!(node.stop().success());
    assert_eq!(site.unsent(), 0);
    let exported = site.exported();
    wait_within(Duration::from_secs(30), "the centre to have all", || {
        (centre.heard().events.len() >= exported.len()).then_some(())
    });
    let heard_now = centre.heard();
    for event in &exported {
        let id = event["id"].as_str().unwrap();
        assert_eq!(heard_now.events.get(id), Some(event), "under its id, as it is in the store");
    }
    assert_eq!(heard_now.events.len(), exported.len(), "no fact has two ids");
    assert!(heard.len() < exported.len() && heard.iter().all(|id| heard_now.events.contains_key(id)));
    assert_eq!(heard_now.gaps(), Vec::<String>::new());
    let repeats = heard_now.messages - heard_now.events.len() as u64;
    assert!(repeats <= 128 * (kills + 1), "{repeats} repeats over {kills} kills");
    eprintln!("letters: {dead} dead events retried over {kills} kills, {repeats} repeats upstream");
}
