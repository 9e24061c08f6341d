//! The register: what people name, hold, try again and place by hand, through the command line, the control socket and TCP.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::{Node, Pty, Site, balanced, binary, stderr, stdout, wait_for, wait_within};

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub fn well(output: &Output) -> String {
    assert_eq!(code(output), 0, "{}{}", stdout(output), stderr(output));
    stdout(output)
}

/// A scanner at a door, and what a code that nobody registered becomes.
pub fn door(site: &Site, unknown: &str) -> Pty {
    let door3 = Pty::new(&site.path("door-3"));
    site.configure(&format!(
        "[[scanner]]\nid = \"door-3\"\nport = \"{}\"\nplace = \"door-3\"\n\n[assets]\nunknown = \"{unknown}\"\n",
        site.path("door-3").display()
    ));
    door3
}

/// Runs a command against this configuration on an input.
fn fed(site: &Site, args: &[&str], input: &[u8]) -> Output {
    let mut command = binary();
    command.arg("--config").arg(site.config()).args(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Sends a request over a connection and answers its status and JSON.
pub fn exchange(mut stream: impl Read + Write, line: &str, head: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    write!(
        stream,
        "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
}

pub const JSON: &str = "Content-Type: application/json\r\n";

pub fn control(site: &Site, line: &str, head: &str, body: &str) -> (u16, Value) {
    exchange(UnixStream::connect(site.path("store/control.sock")).unwrap(), line, head, body)
}

pub fn tcp(node: &Node, line: &str, head: &str, body: &str) -> (u16, Value) {
    exchange(std::net::TcpStream::connect(node.address()).unwrap(), line, head, body)
}

/// Waits until the scanner's frames have come to rest.
pub fn frames(node: &Node, n: i64) {
    wait_for("the frames", || (node.ledger()["sources"]["door-3"]["frames"] == n).then_some(()));
}

/// The newest events, oldest first.
/// The places are as the events tell.
fn rebuilt(site: &Site) {
    let told = site.ask(&["rebuild", "--check"]);
    assert_eq!(code(&told), 0, "{}{}", stdout(&told), stderr(&told));
}

fn events(node: &Node, query: &str) -> Vec<Value> {
    let page = node.json(&format!("/api/v1/events?limit=500{query}"));
    page["items"].as_array().unwrap().iter().rev().cloned().collect()
}

#[test]
fn a_list_with_mistakes_changes_nothing_and_names_each_by_its_line() {
    let site = Site::new();
    let _door3 = door(&site, "accept");
    let node = site.start();
    well(&site.ask(&["assets", "add", "TRL-1", "CSQU3054383", "--kind", "trailer"]));
    let list = "id,name,codes\nTRL-7,Blue,(00)376104250021234569\nTRL-8,,CSQU3054384\nTRL-9,,csqu 305438 3\nTRL-7,,A\n";
    let refused = fed(&site, &["assets", "import", "-"], list.as_bytes());
    let said = stderr(&refused);
    assert_eq!(code(&refused), 1, "{said}");
    for line in [
        "line 3, codes: \"CSQU3054384\": the check digit does not fit a container number",
        "line 5, id: \"TRL-7\" stands at line 2 already",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let good = list.replace("TRL-8,,CSQU3054384\n", "").replace("TRL-7,,A\n", "");
    let refused = fed(&site, &["assets", "import", "-"], good.as_bytes());
    assert_eq!(code(&refused), 1);
    assert!(
        stderr(&refused).contains("line 3, codes: \"iso6346:CSQU3054383\" belongs to \"TRL-1\" already; take it off"),
        "{}",
        stderr(&refused)
    );
    assert_eq!(node.json("/api/v1/assets")["items"].as_array().unwrap().len(), 1, "nothing of either list was kept");
    let moved = good + "TRL-1,,\n";
    assert_eq!(
        well(&fed(&site, &["assets", "import", "-"], moved.as_bytes())),
        "2 added, 1 changed, 0 unchanged, 0 removed\n"
    );
    assert_eq!(node.json("/api/v1/assets/TRL-9")["keys"], json!(["iso6346:CSQU3054383"]));
    assert_eq!(node.json("/api/v1/assets/TRL-1")["kind"], "trailer", "a column that is not there changes nothing");
    let too_large = fed(&site, &["assets", "import", "-"], &vec![b'x'; (2 << 20) + 1]);
    assert_eq!(code(&too_large), 1);
    assert!(stderr(&too_large).contains("2097152 bytes"), "{}", stderr(&too_large));
    rebuilt(&site);
    assert!(node.stop().success());
}

#[test]
fn what_is_exported_and_imported_again_is_exported_byte_for_byte() {
    let site = Site::new();
    let _door3 = door(&site, "accept");
    let list = "\u{feff}id;name;kind;codes\r\nTRL-7;\"Blue; \"\"big\"\"\";trailer;(00)376104250021234569|csqu 305438 3\r\nÅS-1;'=1+1;;A\\|B|3074257BF7194E4000001A85\r\nP 2;''=2;pallet;\r\n";
    let node = site.start();
    let import = |site: &Site, text: &str| well(&fed(site, &["assets", "import", "-"], text.as_bytes()));
    assert_eq!(import(&site, list), "3 added, 0 changed, 0 unchanged, 0 removed\n");
    let (csv, json) = (well(&site.ask(&["assets", "export"])), well(&site.ask(&["assets", "export", "--json"])));
    assert_eq!(import(&site, &csv), "0 added, 0 changed, 3 unchanged, 0 removed\n");
    rebuilt(&site);
    assert!(node.stop().success());
    // Without a node the store is asked, and says the same.
    assert_eq!(
        (well(&site.ask(&["assets", "export"])), well(&site.ask(&["assets", "export", "--json"]))),
        (csv.clone(), json.clone())
    );
    std::fs::write(site.path("list.json"), &json).unwrap();
    let other = Site::new();
    other.configure("");
    assert!(other.start().stop().success(), "a store of its own");
    let file = site.path("list.json").display().to_string();
    assert_eq!(well(&other.ask(&["assets", "import", &file])), "3 added, 0 changed, 0 unchanged, 0 removed\n");
    assert_eq!(
        (well(&other.ask(&["assets", "export"])), well(&other.ask(&["assets", "export", "--json"]))),
        (csv, json)
    );
    assert_eq!(
        well(&fed(&other, &["assets", "import", "-", "--replace"], b"id\nP 2\n")),
        "0 added, 0 changed, 1 unchanged, 2 removed\n"
    );
    assert_eq!(well(&other.ask(&["assets", "export"])), "id,name,kind,codes\r\nP 2,''=2,pallet,\r\n");
}

#[test]
fn a_held_scan_becomes_an_event_with_its_own_time_when_its_asset_is_added() {
    let site = Site::new();
    let mut door3 = door(&site, "hold");
    let node = site.start();
    door3.write(b"]C100376104250021234569\r\n]C100376104250021234569\r\n]C100376104250021234569\r\n");
    frames(&node, 3);
    door3.write(b"TRL-9\r\n");
    frames(&node, 4);
    let ledger = balanced(&node);
    let source = &ledger["sources"]["door-3"];
    assert_eq!(
        (&source["rejected"], &source["repeat"]),
        (&json!(2), &json!(2)),
        "a repeat of what is held is no letter"
    );
    assert_eq!((&ledger["letters"]["open"], &ledger["events"]["total"]), (&json!(2), &json!(0)));
    let letters: Value = serde_json::from_str(&well(&site.ask(&["letters", "list", "--json"]))).unwrap();
    let held = &letters[1];
    assert_eq!(
        (&held["bytes"], &held["detail"]),
        (&json!("]C100376104250021234569"), &json!("sscc:376104250021234569"))
    );

    let early = site.ask(&["letters", "retry", "--reason", "unknown_tag", "--expect", "2"]);
    assert_eq!(code(&early), 1, "{}", stdout(&early));
    assert!(stdout(&early).starts_with("0 retried\nletter 1 is still open: unknown_tag\n"), "{}", stdout(&early));
    well(&site.ask(&["assets", "add", "TRL-7", "(00) 3 7610425 002123456 9", "--kind", "trailer"]));
    // What is scanned after it was added is newer than what waits.
    door3.write(b"]C100376104250021234569\r\n");
    frames(&node, 5);
    well(&site.ask(&["assets", "place", "TRL-7", "gate", "--note", "seen there"]));
    let wrong = site.ask(&["letters", "retry", "--reason", "unknown_tag", "--expect", "7"]);
    assert_eq!((code(&wrong), stderr(&wrong).contains("2 letters are meant, not 7")), (1, true), "{}", stderr(&wrong));
    let retry = site.ask(&["letters", "retry", "1", "2"]);
    assert_eq!(stdout(&retry), "1 retried\nletter 2 is still open: unknown_tag\n");
    let again = site.ask(&["letters", "retry", "1"]);
    assert_eq!(stdout(&again), "0 retried\nletter 1 is as it was: it was retried already\n");

    let scans = events(&node, "&kind=scan");
    assert_eq!(scans.len(), 2, "{scans:?}");
    let late = &scans[1];
    assert_eq!((&late["asset"], &late["symbology"], &late["repeats"]), (&json!("TRL-7"), &json!("]C1"), &json!(2)));
    assert_eq!(late["received_ms"], held["received_ms"], "its own time");
    assert!(
        late["ts_ms"].as_i64() < scans[0]["ts_ms"].as_i64() && late["mono_ms"].as_i64() < scans[0]["mono_ms"].as_i64()
    );
    assert_eq!(node.json("/api/v1/assets/TRL-7")["place"], "gate", "a late scan turns nothing back");
    let ledger = balanced(&node);
    assert_eq!((&ledger["letters"]["retried"], &ledger["letters"]["open"]), (&json!(1), &json!(1)));
    let discard = site.ask(&["letters", "discard", "2", "--note", "a visitor"]);
    assert_eq!(well(&discard), "1 discarded\n");
    let ledger = balanced(&node);
    assert_eq!((&ledger["letters"]["discarded"], &ledger["letters"]["open"]), (&json!(1), &json!(0)));
    rebuilt(&site);
    assert!(node.stop().success());
}

#[test]
pub fn a_scan_held_before_a_kill_is_retried_once_however_often_the_node_is_killed() {
    let site = Site::new();
    let mut door3 = door(&site, "hold");
    let node = site.start();
    let all = 5_000;
    for n in 0..all / 100 {
        let codes: String = (n * 100..n * 100 + 100).map(|n| format!("TRL-{n}\r\n")).collect();
        door3.write(codes.as_bytes());
        frames(&node, n * 100 + 100);
    }
    let list: String = (0..all).map(|n| format!("TRL {n},TRL-{n}\n")).collect();
    well(&fed(&site, &["assets", "import", "-"], format!("id,codes\n{list}").as_bytes()));
    // Each kill meets a retry at another moment; one that was not accepted is as if it had not been asked.
    let (mut node, mut left) = (node, Vec::new());
    for round in 0..6 {
        let open = node.ledger()["letters"]["open"].as_i64().unwrap();
        // Over the socket: a command would open the store itself once nobody answers.
        let mut asked = UnixStream::connect(site.path("store/control.sock")).unwrap();
        let body = json!({ "action": "retry", "filter": { "source": "door-3" }, "expect": open }).to_string();
        let length = body.len();
        let line = "POST /api/v1/letters/actions HTTP/1.1\r\nHost: localhost";
        write!(asked, "{line}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        if round % 2 == 1 {
            wait_for("the begin of the retry", || {
                (node.ledger()["letters"]["open"].as_i64() < Some(open)).then_some(())
            });
        }
        node.kill();
        node = site.start();
        left.push(balanced(&node)["letters"]["open"].as_i64().unwrap());
    }
    eprintln!("register: letters left after each kill: {left:?}");
    // What was accepted before a kill goes on by itself; what was not is asked again.
    wait_within(Duration::from_secs(120), "the end of the retry", || {
        let open = node.ledger()["letters"]["open"].as_i64().unwrap();
        if open > 0 {
            site.ask(&["letters", "retry", "--reason", "unknown_tag", "--expect", &open.to_string()]);
        }
        (open == 0).then_some(())
    });
    let ledger = balanced(&node);
    assert_eq!((&ledger["letters"]["retried"], &ledger["letters"]["open"]), (&json!(all), &json!(0)));
    rebuilt(&site);
    assert!(node.stop().success());
    let scans: Vec<Value> = site.exported().into_iter().filter(|event| event["kind"] == "scan").collect();
    let codes: std::collections::BTreeSet<&str> = scans.iter().map(|scan| scan["code"].as_str().unwrap()).collect();
    assert_eq!([scans.len(), codes.len()].map(i64::try_from), [Ok(all), Ok(all)], "each once");
    let order: Vec<i64> = scans.iter().map(|scan| scan["mono_ms"].as_i64().unwrap()).collect();
    assert!(order.is_sorted() && order.first() < order.last(), "in the order of their receipt");
}

#[test]
fn nobody_changes_the_register_over_the_network() {
    let site = Site::new();
    let _door3 = door(&site, "accept");
    let node = site.start();
    for (line, head, body) in [
        ("PUT /api/v1/assets/TRL-7", JSON, "{}"),
        ("DELETE /api/v1/assets/TRL-7", "", ""),
        ("POST /api/v1/assets/import", "Content-Type: text/csv\r\n", "id\nTRL-7\n"),
        ("POST /api/v1/assets/TRL-7/place", JSON, "{\"place\":\"gate\"}"),
        ("POST /api/v1/scans", JSON, "{\"code\":\"TRL-7\"}"),
        ("POST /api/v1/letters/actions", JSON, "{\"action\":\"discard\",\"ids\":[1]}"),
        ("GET /api/v1/assets/export", "", ""),
    ] {
        let (status, answer) = tcp(&node, line, head, body);
        let error = &answer["error"];
        assert_eq!((status, &error["code"]), (403, &json!("pin_not_set")), "{line}: {answer}");
        assert_eq!(error["hint"], "Run `waypost pin set` on the gateway, or use its command line.");
    }
    assert_eq!(balanced(&node)["events"]["total"], 0);
    assert_eq!(node.json("/api/v1/assets")["items"], json!([]));
    rebuilt(&site);
    assert!(node.stop().success());
}

#[test]
fn who_has_the_pin_that_was_set_on_the_gateway_changes_the_register_over_the_network() {
    let site = Site::new();
    let _door3 = door(&site, "accept");
    // Beside the store: no node on a bench takes the PIN of another, or of the machine.
    let file = site.path("store/pin");
    let node = site.start();
    let ours = "X-Waypost: 1\r\nOrigin: http://localhost\r\n";
    let opened = |pin: &str| {
        let mut stream = std::net::TcpStream::connect(node.address()).unwrap();
        let (body, line) = (format!("{{\"pin\":\"{pin}\"}}"), "POST /api/v1/session HTTP/1.1\r\nHost: localhost");
        write!(stream, "{line}\r\nConnection: close\r\n{ours}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let cookie = answer.split_once("waypost_session=").map(|(_, rest)| rest.split(';').next().unwrap().to_owned());
        (answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap(), cookie.unwrap_or_default())
    };
    assert_eq!(opened("246813").0, 403);
    assert_eq!(code(&fed(&site, &["pin", "set", "--stdin"], b"12345\n")), 64);
    assert_eq!(code(&fed(&site, &["pin", "set"], b"246813\n")), 64, "there is no terminal to ask on");
    let set = fed(&site, &["pin", "set", "--stdin"], b"246813\n");
    assert!(well(&set).is_empty() && !stderr(&set).contains("246813"));
    assert!(stderr(&set).contains(&format!("is set in {}", file.display())), "{}", stderr(&set));
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(opened("246814").0, 401);
    let (status, cookie) = opened("246813");
    assert_eq!(status, 204);
    let all = format!("{JSON}{ours}Cookie: waypost_session={cookie}\r\n");
    let named = tcp(&node, "PUT /api/v1/assets/TRL-7", &all, r#"{"name":"Blue"}"#);
    assert_eq!(named, (200, json!({ "register": "added" })));
    let foreign = all.replace("http://localhost", "http://evil.example");
    assert_eq!(tcp(&node, "DELETE /api/v1/assets/TRL-7", &foreign, "").1["error"]["code"], "foreign_origin");
    well(&fed(&site, &["pin", "set", "--stdin"], b"135790\n"));
    assert_eq!(tcp(&node, "DELETE /api/v1/assets/TRL-7", &all, "").1["error"]["code"], "session_needed");
    assert_eq!(node.json("/api/v1/assets")["items"].as_array().unwrap().len(), 1);
    let sql = rusqlite::Connection::open(site.path("store/waypost.db")).unwrap();
    let who = "select count(*) from audit where who = 'operator at 127.0.0.1' and what = 'register'";
    assert_eq!(sql.query_one(who, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    drop(sql);
    assert!(node.stop().success());
}

#[test]
fn what_the_control_socket_is_asked_is_audited_with_the_caller() {
    let site = Site::new();
    let _door3 = door(&site, "accept");
    let node = site.start();
    assert_eq!(
        control(&site, "PUT /api/v1/assets/TRL%207", JSON, r#"{"name":"Blue","codes":["CSQU 305438-3"]}"#),
        (200, json!({ "register": "added" }))
    );
    for (line, body, expect, code) in [
        ("PUT /api/v1/assets/a:b", "{}", 400, "invalid"),
        ("PUT /api/v1/assets/X", "{\"codes\":[\"csqu3054383\"]}", 409, "conflict"),
        ("PUT /api/v1/assets/X", "{\"colour\":1}", 400, "bad_request"),
        ("DELETE /api/v1/assets/X", "", 404, "not_found"),
        ("POST /api/v1/assets/X/place", "{\"place\":\"gate\"}", 404, "not_found"),
        ("POST /api/v1/assets/TRL%207/place", "{\"note\":\"slip\"}", 400, "bad_request"),
        ("POST /api/v1/assets/TRL%207/place", "{\"place\":\"gate/7\"}", 400, "invalid"),
        ("POST /api/v1/scans", "{\"code\":\"(00)376104250021234560\"}", 400, "invalid"),
        ("POST /api/v1/assets/import", "{\"id\":1}", 400, "invalid"),
        (
            "POST /api/v1/letters/actions",
            "{\"action\":\"retry\",\"filter\":{\"reason\":\"unknown_tag\"}}",
            400,
            "bad_request",
        ),
        (
            "POST /api/v1/letters/actions",
            "{\"action\":\"retry\",\"filter\":{\"reason\":\"unknown_tag\"},\"expect\":3}",
            409,
            "count_changed",
        ),
    ] {
        let (status, answer) = control(&site, line, JSON, body);
        assert_eq!((status, &answer["error"]["code"]), (expect, &json!(code)), "{line}: {answer}");
        assert!(!answer["error"]["hint"].as_str().unwrap().is_empty(), "{answer}");
    }
    assert_eq!(control(&site, "POST /api/v1/assets/import", "", "id\n").0, 415);
    let (_, placed) =
        control(&site, "POST /api/v1/assets/TRL%207/place", JSON, "{\"place\":\"gate\",\"note\":\"seen\"}");
    assert_eq!((&placed["asset"], &placed["moved"]), (&json!("TRL 7"), &json!(true)));
    rebuilt(&site);
    assert!(node.stop().success());
    let uid = std::fs::metadata(site.path("store")).map(|meta| std::os::unix::fs::MetadataExt::uid(&meta)).unwrap();
    let audit = audit(&site.path("store/waypost.db"));
    let expect = [format!("uid {uid} register TRL 7"), format!("uid {uid} place TRL 7: gate seen")];
    assert_eq!(audit, expect, "what was refused is no act");
}

/// The audit of a store, as text.
fn audit(db: &Path) -> Vec<String> {
    let conn = rusqlite::Connection::open_with_flags(db, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut rows = conn.prepare("select who || ' ' || what || ' ' || detail from audit order by entry").unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_thing_known_by_its_code_goes_on_under_its_name_and_back() {
    let site = Site::new();
    let mut door3 = door(&site, "accept");
    let node = site.start();
    door3.write(b"]C100376104250021234569\r\nCSQU3054383\r\n");
    frames(&node, 2);
    let mut stream = node.stream(None);
    let key = "sscc:376104250021234569";
    let before = node.json(&format!("/api/v1/assets/{key}"));
    well(&site.ask(&["assets", "add", "TRL-7", "00 376104250021234569", "CSQU 305438 3"]));
    let gone = wait_for("the code to leave the screen", || {
        let message = stream.next()?;
        message.data["items"].as_array()?.iter().find(|item| item["op"] == "del").cloned()
    });
    assert!(
        gone["k"] == "asset" && [key, "iso6346:CSQU3054383"].map(Value::from).contains(&gone["v"]["asset"]),
        "{gone}"
    );
    let assets = node.json("/api/v1/snapshot")["assets"].clone();
    assert_eq!(assets.as_array().unwrap().len(), 1, "nothing is there twice: {assets}");
    let after = node.json("/api/v1/assets/TRL-7");
    assert_eq!((&after["place"], &after["registered"]), (&json!("door-3"), &json!(true)));
    assert!(after["since_ms"].as_i64() >= before["since_ms"].as_i64());
    assert_eq!(node.get(&format!("/api/v1/assets/{key}")).0, 404);
    for q in ["00376104250021234569", "003761", "3761042500", "csqu", "trl-7", "(00)%203%207610425"] {
        let found = node.json(&format!("/api/v1/assets?q={q}"));
        assert_eq!(found["items"][0]["asset"], "TRL-7", "{q}: {found}");
    }
    assert_eq!(node.json("/api/v1/assets?q=nothing")["items"], json!([]));
    let places: Vec<String> = events(&node, "&kind=place")
        .iter()
        .skip(2)
        .map(|event| {
            format!("{} {} {} {}", event["change"], event["asset"], event["place"], event["because"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        places,
        [
            format!("exit {key} door-3 operator"),
            "exit iso6346:CSQU3054383 door-3 operator".into(),
            "enter TRL-7 door-3 operator".into()
        ]
    );
    // A scan of either label is a scan of the asset, and moves nothing twice.
    door3.write(b"TRL-8\r\nCSQU3054383\r\n");
    frames(&node, 4);
    assert_eq!(events(&node, "&kind=scan").last().unwrap()["asset"], "TRL-7");
    assert_eq!(well(&site.ask(&["assets", "remove", "TRL-7"])), format!("deleted; it goes on as {key}\n"));
    assert_eq!(node.json(&format!("/api/v1/assets/{key}"))["place"], "door-3");
    assert_eq!(node.get("/api/v1/assets/TRL-7").0, 404);
    balanced(&node);
    rebuilt(&site);
    assert!(node.stop().success());
}

#[test]
fn placing_by_hand_is_undone_by_the_same_call_with_and_without_the_node() {
    let site = Site::new();
    let mut door3 = door(&site, "accept");
    let node = site.start();
    door3.write(b"TRL-7\r\n");
    frames(&node, 1);
    let scanned = node.json("/api/v1/assets/raw:TRL-7");
    assert_eq!(well(&site.ask(&["assets", "place", "TRL-7", "dock-1"])), "raw:TRL-7 is at dock-1, before at door-3\n");
    assert_eq!(well(&site.ask(&["assets", "place", "raw:TRL-7", "dock-1"])), "raw:TRL-7 is at dock-1 already\n");
    assert_eq!(
        well(&site.ask(&["assets", "place", "TRL-7", "--gone"])),
        "raw:TRL-7 is at no known place, before at dock-1\n"
    );
    let moved = node.json("/api/v1/assets/raw:TRL-7");
    assert!(moved["place"].is_null() && moved["since_ms"].as_i64() >= scanned["since_ms"].as_i64(), "{moved}");
    let id = moved["id"].as_str().unwrap();
    let rests_on = node.json(&format!("/api/v1/events/{id}"));
    assert_eq!((&rests_on["change"], &rests_on["because"]), (&json!("exit"), &json!("operator")));
    assert!(rests_on["source"].is_null());
    // A scan after it moves it as ever.
    door3.write(b"TRL-8\r\nTRL-7\r\n");
    frames(&node, 3);
    assert_eq!(node.json("/api/v1/assets/raw:TRL-7")["place"], "door-3");
    let typed = well(&site.ask(&["assets", "scan", " csqu 305438-3 ", "gate"]));
    assert!(typed.ends_with(" iso6346:CSQU3054383 iso6346:CSQU3054383\n"), "{typed}");
    let manual = balanced(&node)["sources"]["manual"].clone();
    assert_eq!((&manual["frames"], &manual["stored"]), (&json!(1), &json!(1)));
    rebuilt(&site);
    assert!(node.stop().success());
    assert_eq!(well(&site.ask(&["assets", "place", "TRL-7", "dock-2"])), "raw:TRL-7 is at dock-2, before at door-3\n");
    well(&site.ask(&["assets", "scan", "TRL-9", "gate"]));
    let listed = well(&site.ask(&["assets", "list"]));
    assert!(listed.starts_with("  ASSET "), "{listed}");
    assert!(listed.contains("raw:TRL-7") && listed.contains("dock-2") && listed.contains("raw:TRL-9"), "{listed}");
    let stat = well(&site.ask(&["outbox", "stat"]));
    assert!(stat.contains("balance  0"), "{stat}");
    let owners: Vec<u32> = std::fs::read_dir(site.path("store"))
        .unwrap()
        .map(|file| std::os::unix::fs::MetadataExt::uid(&file.unwrap().metadata().unwrap()))
        .collect();
    assert!(owners.windows(2).all(|two| two[0] == two[1]), "{owners:?}");
    let node = site.start();
    assert_eq!(node.json("/api/v1/assets/raw:TRL-7")["place"], "dock-2");
    balanced(&node);
    rebuilt(&site);
    assert!(node.stop().success());
}

#[test]
fn a_read_that_a_setting_spoiled_is_tried_again_with_the_setting_mended_and_keeps_its_time() {
    let site = Site::new();
    let mut door3 = Pty::new(&site.path("door-3"));
    let with = |more: &str| {
        let port = site.path("door-3").display().to_string();
        site.configure(&format!("[[scanner]]\nid = \"door-3\"\nport = \"{port}\"\nplace = \"door-3\"\n{more}"));
    };
    with("");
    let node = site.start();
    door3.write(b"L\xf8k-7\r\nNOREAD\r\n");
    frames(&node, 2);
    let letters: Value = serde_json::from_str(&well(&site.ask(&["letters", "list", "--json"]))).unwrap();
    let spoiled = &letters[1];
    assert_eq!((&spoiled["reason"], &spoiled["letter"]), (&json!("non_ascii"), &json!(1)));
    let retry = site.ask(&["letters", "retry", "1", "2", "9"]);
    assert_eq!(
        stdout(&retry),
        "0 retried\nletter 1 is still open: non_ascii\nletter 2 is as it was: trying again cannot help with this reason\nletter 9 is as it was: there is no such letter\n"
    );
    rebuilt(&site);
    assert!(node.stop().success());
    with("charset = \"latin-1\"\n");
    // Without a node first: it is the same desk.
    assert_eq!(well(&site.ask(&["letters", "retry", "1"])), "1 retried\n");
    let node = site.start();
    let scans = events(&node, "&kind=scan");
    assert_eq!((&scans[0]["code"], &scans[0]["asset"]), (&json!("Løk-7"), &json!("raw:Løk-7")));
    assert_eq!((&scans[0]["received_ms"], &scans[0]["place"]), (&spoiled["received_ms"], &json!("door-3")));
    assert_eq!(node.json("/api/v1/assets/raw:L%C3%B8k-7")["place"], "door-3", "nothing newer: it moves its asset");
    let ledger = balanced(&node);
    assert_eq!((&ledger["letters"]["retried"], &ledger["events"]["total"]), (&json!(1), &json!(2)));
    rebuilt(&site);
    assert!(node.stop().success());
}

#[test]
fn a_held_scan_keeps_its_boot_and_a_command_beside_the_unit_is_in_the_same_boot() {
    let site = Site::new();
    let mut door3 = door(&site, "hold");
    let node = site.start_with(&[("WAYPOST_BOOT_ID", "ab-12")]);
    door3.write(b"TRL-7\r\nTRL-8\r\n");
    frames(&node, 2);
    rebuilt(&site);
    assert!(node.stop().success());
    let node = site.start_with(&[("WAYPOST_BOOT_ID", "cd-34")]);
    well(&fed(&site, &["assets", "import", "-"], b"id,codes\nA,TRL-7\nB,TRL-8\n"));
    assert_eq!(well(&site.ask(&["letters", "retry", "1"])), "1 retried\n");
    let scan = events(&node, "&kind=scan")[0].clone();
    assert_eq!((&scan["boot"], &scan["asset"]), (&json!(1), &json!("A")), "received in the boot before: {scan}");
    assert_eq!(events(&node, "&kind=place")[0]["boot"], 2, "what follows from it is known in this one");
    rebuilt(&site);
    assert!(node.stop().success());
    // As systemd writes the boot of `cd-34`; without the node, then with it.
    let mut command = binary();
    command.arg("--config").arg(site.config()).args(["assets", "place", "A", "gate"]).env("WAYPOST_BOOT_ID", "CD34");
    well(&command.output().unwrap());
    let node = site.start_with(&[("WAYPOST_BOOT_ID", "cd-34")]);
    door3.write(b"TRL-7\r\n");
    frames(&node, 3);
    let scan = events(&node, "&kind=scan").pop().unwrap();
    assert_eq!(scan["boot"], 2);
    assert_eq!(node.json("/api/v1/assets/A")["place"], "door-3", "the scan is the newer one");
    balanced(&node);
    rebuilt(&site);
    assert!(node.stop().success());
}

#[test]
fn a_tag_is_the_thing_that_its_gs1_key_names() {
    let site = Site::new();
    let mut door3 = door(&site, "hold");
    let node = site.start();
    well(&site.ask(&["assets", "add", "BOX-1", "(01)80614141123458(21)6789"]));
    let taken = site.ask(&["assets", "add", "BOX-2", "3074257BF7194E4000001A85"]);
    assert!(code(&taken) == 1 && stderr(&taken).contains("belongs to \"BOX-1\""), "{}", stderr(&taken));
    door3.write(b"3074257BF7194E4000001A85\r\n]d201806141411234582167 89\r\n]d2018061414112345821678\r\n]d20180614141123458216789\r\n");
    frames(&node, 4);
    let of_box: Vec<Value> = events(&node, "&kind=scan").into_iter().map(|scan| scan["asset"].clone()).collect();
    assert_eq!(of_box, ["BOX-1", "BOX-1"]);
    let ledger = balanced(&node);
    assert_eq!(ledger["sources"]["door-3"]["rejected"], 2, "a broken field, and a serial number that nobody named");
    rebuilt(&site);
    assert!(node.stop().success());
}

#[test]
fn root_leaves_no_file_of_its_own_in_a_store_that_belongs_to_the_service() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    // SAFETY: takes and touches nothing, and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("SKIPPED: only root can become the owner of somebody else's store");
        return;
    }
    let site = Site::new();
    site.configure("");
    assert!(site.start().stop().success(), "a store");
    let nobody = 65_534;
    let store = site.path("store");
    for file in std::fs::read_dir(&store).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|ending| ending == "lock") {
            std::fs::remove_file(&file).unwrap();
        } else {
            chown(&file, Some(nobody), Some(nobody)).unwrap();
        }
    }
    chown(&store, Some(nobody), Some(nobody)).unwrap();
    std::fs::set_permissions(site.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(site.path("list.csv"), "id\nTRL-7\n").unwrap();
    std::fs::set_permissions(site.path("list.csv"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let list = site.path("list.csv").display().to_string();
    assert_eq!(well(&site.ask(&["assets", "import", &list])), "1 added, 0 changed, 0 unchanged, 0 removed\n");
    for file in std::fs::read_dir(&store).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().uid(), nobody, "{:?}", file.path());
    }
    assert_eq!(audit(&store.join("waypost.db")), ["uid 0 import 1 assets"], "the audit names who it was");
}

#[test]
fn a_pin_that_systemd_hands_over_is_changed_where_it_comes_from_and_the_command_says_so() {
    let site = Site::new();
    site.configure("pin_file = \"credential:pin\"\n\n");
    let done = fed(&site, &["pin", "set", "--stdin"], b"246813\n");
    assert_eq!(code(&done), 77, "{}", stderr(&done));
    assert!(
        stderr(&done).contains("/run/credentials/waypost.service/pin") && stderr(&done).contains("LoadCredential=")
    );
}
