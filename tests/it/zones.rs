//! The plan that is kept in the store, from outside: put by the operator, refused in words, told to streams, there after a restart.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::bench::{Node, Pty, Site, Stream, epoch, stderr, wait_for};
use crate::register::{code, tcp, well};

/// A rectangle of degrees: west, south, east, north.
fn zone(id: &str, name: &str, kind: &str, [w, s, e, n]: [f64; 4]) -> Value {
    let ring = [[w, s], [e, s], [e, n], [w, n], [w, s]];
    json!({ "type": "Feature", "properties": { "id": id, "name": name, "kind": kind },
            "geometry": { "type": "Polygon", "coordinates": [ring] } })
}

/// A zone a line, so that a mistake has a line of its own.
fn plan(zones: &[Value]) -> String {
    let lines: Vec<String> = zones.iter().map(Value::to_string).collect();
    format!("{{\"type\":\"FeatureCollection\",\"features\":[\n{}\n]}}", lines.join(",\n"))
}

/// Around where [`epoch`] drives.
const ROAD: [f64; 4] = [11.3870, 59.1160, 11.3880, 59.1500];

struct Said {
    status: u16,
    tag: String,
    body: Value,
}

fn talk(mut stream: impl Read + Write, line: &str, head: &str, body: &str) -> Said {
    let length = body.len();
    let begin =
        format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n");
    // Whoever sends too much is answered before all of it is read.
    drop(stream.write_all(begin.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {line}: {answer}"));
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap_or_default().to_owned();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() };
    Said { status: head.split(' ').nth(1).unwrap().parse().unwrap(), tag, body }
}

fn get(site: &Site, path: &str, head: &str) -> Said {
    talk(UnixStream::connect(site.path("store/control.sock")).unwrap(), &format!("GET /api/v1{path}"), head, "")
}

fn put(site: &Site, if_match: &str, text: &str) -> Said {
    let head = if if_match.is_empty() { String::new() } else { format!("If-Match: {if_match}\r\n") };
    talk(UnixStream::connect(site.path("store/control.sock")).unwrap(), "PUT /api/v1/zones", &head, text)
}

/// The next word on the plan that a stream says, other than what it said already: what stands may be told twice at the start.
fn zones_on(stream: &mut Stream, said: &Value) -> Value {
    loop {
        let message = stream.next().expect("the stream goes on");
        let items = message.data["items"].as_array().into_iter().flatten();
        if let Some(item) = items.into_iter().find(|item| item["k"] == "zones" && item["v"] != *said) {
            return item["v"].clone();
        }
    }
}

fn place(node: &Node) -> Value {
    node.json("/api/v1/assets/TRK-07")["place"].clone()
}

#[test]
fn a_plan_that_is_put_holds_at_once_for_what_comes_and_is_told_to_every_page_and_kept_over_a_restart() {
    let site = Site::new();
    let mut port = Pty::new(&site.path("gps0"));
    site.configure(&format!(
        "[[gps]]\nid = \"gps0\"\nport = \"{}\"\nasset = \"TRK-07\"\n",
        site.path("gps0").display()
    ));
    let node = site.start();
    let empty = get(&site, "/zones", "");
    assert_eq!((empty.status, &empty.body["kept"], &empty.body["rev"]), (200, &json!("store"), &json!(0)));
    assert!(empty.body.get("plan").is_none(), "{}", empty.body);
    (0..5).for_each(|second| port.write(&epoch(second)));
    wait_for("the truck", || (node.get("/api/v1/assets/TRK-07").0 == 200).then_some(()));
    assert_eq!(place(&node), Value::Null);

    let mut stream = node.stream(None);
    assert_eq!(zones_on(&mut stream, &Value::Null), json!({ "rev": 0, "zones": 0 }), "what stands is told first");
    let hostile = "<img src=x onerror=alert(1)> ' ); drop table zones; -- \u{202e}";
    let drawn = plan(&[zone("road", hostile, "road", ROAD)]);
    let done = put(&site, &empty.tag, &drawn);
    assert_eq!((done.status, &done.body), (200, &json!({ "rev": 1, "zones": 1 })));
    assert_eq!(zones_on(&mut stream, &json!({ "rev": 0, "zones": 0 })), json!({ "rev": 1, "zones": 1 }));
    (5..10).for_each(|second| port.write(&epoch(second)));
    wait_for("the place", || (place(&node) == "road").then_some(()));

    let kept = get(&site, "/zones", "");
    assert_eq!(kept.tag, done.tag, "the answer to the change names what is there now");
    assert_eq!(kept.body["plan"]["features"][0]["properties"]["name"], hostile, "a name is a text and nothing else");
    assert_eq!(get(&site, "/zones", &format!("If-None-Match: {}\r\n", kept.tag)).status, 304);
    assert_eq!(put(&site, &done.tag, &plan(&[])).body, json!({ "rev": 2, "zones": 0 }));
    assert_eq!(get(&site, "/zones?rev=1", "").body["plan"], kept.body["plan"], "who drew over a good one has it back");
    assert_eq!(get(&site, "/zones?rev=9", "").body["error"]["code"], "not_found");
    assert_eq!(put(&site, "*", &drawn).body["rev"], 3);

    let before = get(&site, "/zones", "");
    assert!(node.stop().success());
    let node = site.start();
    let after = get(&site, "/zones", "");
    assert_eq!((after.tag, after.body), (before.tag, before.body));
    (20..25).for_each(|second| port.write(&epoch(second)));
    wait_for("a fix after the restart", || (place(&node) == "road").then_some(()));
    let places: Vec<Value> = {
        let page = node.json("/api/v1/events?kind=place&limit=100");
        page["items"].as_array().unwrap().iter().map(|event| event["change"].clone()).collect()
    };
    assert_eq!(places, [json!("enter")], "neither a new plan nor a restart takes back what was told");
    assert_eq!(code(&site.ask(&["rebuild", "--check"])), 0);
    assert!(node.stop().success());
}

#[test]
fn who_has_seen_an_older_plan_or_sends_a_wrong_one_changes_nothing_and_is_told_why() {
    let site = Site::new();
    site.configure("");
    let node = site.start();
    let (good, other) = (plan(&[zone("a", "A", "dock", ROAD)]), plan(&[zone("b", "B", "bay", ROAD)]));
    let first = put(&site, "*", &good);
    assert_eq!(put(&site, &first.tag, &other).status, 200);
    let late = put(&site, &first.tag, &good);
    assert_eq!((late.status, &late.body["error"]["code"]), (412, &json!("plan_changed")), "{}", late.body);
    let blind = put(&site, "", &good);
    assert_eq!((blind.status, &blind.body["error"]["code"]), (428, &json!("if_match_missing")));

    let wrong = plan(&[
        zone("a", "A", "dock", ROAD),
        zone("b/c", "B", "dokk", ROAD),
        zone("a", "\u{7}", "bay", [0.0, 0.0, 1.0, 1.0]),
    ]);
    let refused = put(&site, "*", &wrong);
    assert_eq!((refused.status, &refused.body["error"]["code"]), (400, &json!("invalid")), "{}", refused.body);
    let findings: Vec<&str> =
        refused.body["error"]["findings"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    for (line, feature, what) in [
        ("3:", "feature 2 \"b/c\"", "cannot be the id"),
        ("3:", "feature 2 \"b/c\"", "dokk"),
        ("4:", "feature 3 \"a\"", "feature 1 on line 2"),
        ("4:", "feature 3 \"a\"", "cannot be shown on one line"),
        ("4:", "feature 3 \"a\"", "km across"),
    ] {
        let found = findings.iter().any(|one| one.starts_with(line) && one.contains(feature) && one.contains(what));
        assert!(found, "{line} {feature} {what}: {findings:#?}");
    }
    assert!(
        put(&site, "*", "{\"type\":\n\"FeatureCollection\"").body["error"]["findings"][0]
            .as_str()
            .unwrap()
            .starts_with("2:")
    );
    let long = format!("{}{}", good, " ".repeat(2 << 20));
    assert_eq!(put(&site, "*", &long).status, 413);

    // Over the network it takes the operator, before anything else is looked at.
    for head in ["", "If-Match: *\r\n", "X-Waypost: 1\r\nOrigin: http://localhost\r\nIf-Match: *\r\n"] {
        let (status, answer) = tcp(&node, "PUT /api/v1/zones", head, &good);
        assert_eq!((status, &answer["error"]["code"]), (403, &json!("pin_not_set")), "{head}: {answer}");
    }
    assert_eq!(get(&site, "/zones", "").body["rev"], 2);

    // The command line says the same, with and without the node.
    let (file, bad) = (site.path("good.geojson"), site.path("bad.geojson"));
    std::fs::write(&file, &good).unwrap();
    std::fs::write(&bad, &wrong).unwrap();
    let import = |file: &std::path::Path| site.ask(&["plan", "import", file.to_str().unwrap()]);
    assert_eq!(well(&import(&file)), "1 zones, revision 3\n");
    assert!(node.stop().success());
    assert!(stderr(&import(&bad)).contains("3:") && stderr(&import(&bad)).contains("feature 2 \"b/c\""));
    assert_eq!(well(&import(&file)), "1 zones, revision 4\n");
    assert_eq!(well(&site.ask(&["plan", "export"])).trim_end(), good);
    assert_eq!(well(&site.ask(&["plan", "export", "--rev", "2"])).trim_end(), other);
    let sql = rusqlite::Connection::open(site.path("store/waypost.db")).unwrap();
    let audited: i64 = sql
        .query_one("select count(*) from audit where what = 'plan' and who like 'uid %'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(audited, 4);
}

#[test]
fn a_plan_that_is_a_file_is_shown_and_not_changed() {
    let site = Site::new();
    let file = site.path("zones.geojson");
    std::fs::write(&file, plan(&[zone("a", "A", "dock", ROAD)])).unwrap();
    site.configure(&format!("[plan]\nzones = \"{}\"\n", file.display()));
    let node = site.start();
    let shown = get(&site, "/zones", "");
    assert_eq!((&shown.body["kept"], shown.body.get("rev")), (&json!("file"), None));
    assert_eq!(shown.body["plan"]["features"][0]["properties"]["id"], "a");
    for if_match in ["", "*", &shown.tag] {
        let refused = put(&site, if_match, &plan(&[]));
        let error = &refused.body["error"];
        assert_eq!((refused.status, &error["code"]), (409, &json!("plan_is_file")), "{error}");
        assert!(error["message"].as_str().unwrap().ends_with("zones.geojson"), "{error}");
    }
    assert_eq!(code(&site.ask(&["plan", "import", file.to_str().unwrap()])), 1);
    assert_eq!(get(&site, "/zones", "").tag, shown.tag);
    assert!(node.stop().success());
}
