//! The command line: what the commands print, with and without a daemon, and how they end.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::bench::{
    Broker, Pty, Site, Stream, binary, epoch, free_port, http, program, repository, run, sentence, stderr, stdout,
    wait_for,
};

/// Runs a command on an input.
fn fed(args: &[&str], input: &[u8]) -> Output {
    let mut child = binary();
    let mut child =
        child.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn decode_nmea_prints_a_line_a_fix_and_a_summary_whose_bytes_balance() {
    let mut input = b"\x00noise\r\n".to_vec();
    input.extend(epoch(36_000));
    input.extend(sentence("GPRMC,100001.00,V,,,,,,,211126,,,N").into_bytes());
    input.extend(b"$GPRMC,100002.00,A,5907.00000,N,01123.25128,E,10.0,090.0,211126,,,A*00\r\n");
    let output = fed(&["decode", "nmea"], &input);
    assert_eq!(code(&output), 0);
    let fixes = lines(&stdout(&output));
    assert_eq!(fixes.len(), 1, "{fixes:?}");
    let near = |key: &str, value: f64| (fixes[0][key].as_f64().unwrap() - value).abs() < 1e-6;
    assert_eq!(fixes[0]["ts"], "2026-11-21T10:00:00.000Z");
    // 59 deg 43.0 min north, 11 deg 23.25128 min east; 10 knots.
    assert!(near("lat", 59.0 + 43.0 / 60.0) && near("lon", 11.0 + 23.251_28 / 60.0), "{fixes:?}");
    assert!(near("alt_m", 12.3) && near("hdop", 0.9) && near("course_deg", 90.0), "{fixes:?}");
    assert!((fixes[0]["speed_mps"].as_f64().unwrap() - 5.144).abs() < 1e-3, "{fixes:?}");
    assert_eq!((&fixes[0]["satellites"], &fixes[0]["quality"]), (&json!(9), &json!(1)));
    let said = stderr(&output);
    let summary: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["bytes"], &summary["fixes"]), (&json!(input.len()), &json!(1)), "{summary}");
    assert_eq!(summary["by_type"], json!({"RMC": 2, "GGA": 1}), "{summary}");
    assert_eq!(summary["skipped"]["bad_checksum"], 1, "{summary}");
    let by: i64 = summary["bytes_by"].as_object().unwrap().values().map(|n| n.as_i64().unwrap()).sum();
    assert_eq!(summary["bytes"], by, "{summary}");
}

#[test]
fn decode_scan_prints_what_became_of_each_frame() {
    let input = b"]C100376104250021234569\r\nTRL-7\r\n]d2010952123456789910A\x1d17261231\r\nCSQU3054383\r\n]C100395212340000010045\r\nNOREAD\r\n\r\n";
    let output = fed(&["decode", "scan"], input);
    assert_eq!(code(&output), 0);
    assert_eq!(
        lines(&stdout(&output)),
        [
            json!({"scan": {"data": "00376104250021234569", "kind": "sscc", "key": "sscc:376104250021234569", "aim": "]C1",
                "gs1": {"00": "376104250021234569"}}}),
            json!({"scan": {"data": "TRL-7", "kind": "plain", "key": "raw:TRL-7"}}),
            json!({"scan": {"data": "010952123456789910A\u{1d}17261231", "kind": "gtin", "key": "gtin:09521234567899:lot:A",
                "aim": "]d2", "gs1": {"01": "09521234567899", "10": "A", "17": "261231"}}}),
            json!({"scan": {"data": "CSQU3054383", "kind": "container", "key": "iso6346:CSQU3054383"}}),
            json!({"reject": {"reason": "bad_check", "data": "00395212340000010045", "ai": "00"}}),
            json!({"reject": {"reason": "noread"}}),
        ]
    );
    let script = b"[0,\"A\\r\\n\"]\n[100,\"A\\r\\n\"]\n[5000,\"A\\r\\n\"]\n[6000,\"HALF\"]\n[9000,\"B\\r\\n\"]\n";
    let timed = lines(&stdout(&fed(&["decode", "scan", "--timed"], script)));
    let short: Vec<String> = timed
        .iter()
        .map(|line| match line.as_object().unwrap().iter().next().unwrap() {
            (what, v) if what == "reject" => format!("{what} {}", v["reason"].as_str().unwrap()),
            (what, v) => format!("{what} {}", v["key"].as_str().unwrap()),
        })
        .collect();
    assert_eq!(short, ["scan raw:A", "repeat raw:A", "scan raw:A", "reject unterminated", "scan raw:B"]);
    let profile =
        [r#"{"prefix":"<","suffix":">"}"#].map(|json| fed(&["decode", "scan", "--profile", json], b"<X1>\r\n"));
    assert_eq!(lines(&stdout(&profile[0]))[0]["scan"]["key"], "raw:X1");
}

#[test]
fn every_way_to_end_has_its_code_and_says_what_to_do() {
    let site = Site::new();
    site.configure("");
    let config = site.config().display().to_string();
    let of_gps = site.path("gps0.ring").display().to_string();
    std::fs::write(&of_gps, "{\"capture\":1,\"source\":\"gps0\",\"kind\":\"gps\"}\n[0,\"$GPRMC,\"]\n").unwrap();
    let cases: [(&[&str], i32); 16] = [
        (&["bogus"], 64),
        (&[], 64),
        (&["simulate", "gps", "--link", "/tmp/x"], 64),
        (&["outbox", "export", "--from", "x"], 64),
        (&["--config", &config, "outbox", "export", "--from", "9", "--to", "1"], 64),
        (&["letters", "show", "x"], 64),
        (&["letters", "retry", "1", "x"], 64),
        (&["decode", "scan", "--timed", &of_gps], 64),
        (&["decode", "scan", "--profile", "{\"colour\":1}"], 64),
        (&["decode", "nmea", "/nowhere/x.nmea"], 66),
        (&["decode", "scan", "/nowhere/x.scan"], 66),
        (&["simulate", "gps", "--link", "/nowhere/x", "--log", "/nowhere/x.nmea"], 66),
        (&["--config", &config, "status"], 69),
        (&["--config", "/nowhere/waypost.toml", "check"], 78),
        (&["--version"], 0),
        (&["outbox", "--help"], 0),
    ];
    for (args, expect) in cases {
        let output = run(args);
        assert_eq!(code(&output), expect, "{args:?}: {}", stderr(&output));
        assert_eq!(stderr(&output).trim().is_empty(), expect == 0, "{args:?} {}", stderr(&output));
        assert_eq!(output.stdout.is_empty(), expect != 0, "{args:?}");
    }
}

#[test]
pub fn a_second_node_on_the_same_store_is_refused_and_hurts_the_first_in_nothing() {
    let site = Site::new();
    let mut door3 = Pty::new(&site.path("door-3"));
    site.configure(&format!("[[scanner]]\nid = \"door-3\"\nport = \"{}\"\n", site.path("door-3").display()));
    let node = site.start();
    for _ in 0..2 {
        let second = site.ask(&["run"]);
        assert_eq!(code(&second), 75, "{}", stderr(&second));
        assert!(stderr(&second).contains("in use by another waypost"), "{}", stderr(&second));
    }
    let mut stream = node.stream(None);
    door3.write(b"TRL-7\r\n");
    stream.event("the scan", |event| event["code"] == "TRL-7");
    assert_eq!(code(&site.ask(&["status"])), 0);
    assert!(node.stop().success());
}

#[test]
fn every_configuration_that_is_shipped_is_valid_and_the_defaults_say_every_key() {
    let mut files = vec![repository("config/waypost.toml")];
    files.extend(std::fs::read_dir(repository("config/examples")).unwrap().map(|entry| entry.unwrap().path()));
    assert!(files.len() > 4);
    for file in &files {
        let output = run(&["check", file.to_str().unwrap()]);
        assert_eq!(code(&output), 0, "{}: {}", file.display(), stderr(&output));
    }
    let defaults = stdout(&run(&["config", "--defaults"]));
    for key in
        ["retention_days", "fix_group_ms", "max_streams", "backoff_spread_s", "track_interval_s", "repeat_window_ms"]
    {
        assert!(defaults.contains(key), "{key}");
    }
    let site = Site::new();
    site.configure("[gps_defaults]\nbaud = 4800\n");
    std::fs::create_dir(site.path("conf.d")).unwrap();
    std::fs::write(site.path("conf.d/20-site.toml"), "[node]\nsite = \"moss\"\n").unwrap();
    let merged = stdout(&site.ask(&["config"]));
    let line = merged.lines().find(|line| line.starts_with("site")).unwrap_or_else(|| panic!("{merged}"));
    assert!(line.contains("moss") && line.contains("20-site.toml"), "each key with its file: {merged}");
    assert!(merged.contains("4800"), "{merged}");
}

#[test]
fn the_list_of_devices_is_json_when_it_is_asked_for() {
    let output = run(&["devices", "--json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let devices: Value = serde_json::from_str(&stdout(&output)).unwrap();
    for device in devices.as_array().unwrap() {
        assert!(device["path"].as_str().unwrap().starts_with("/dev/"), "{device}");
        assert!(device["access"]["may_open"].is_boolean(), "{device}");
    }
    assert_eq!(code(&run(&["devices"])), 0);
}

/// A node that has stored 1,200 scans, one letter of each class, and stops when it is dropped.
fn filled(site: &Site) -> crate::bench::Node {
    let (mut door3, mut gps0) = (Pty::new(&site.path("door-3")), Pty::new(&site.path("gps0")));
    site.configure(&format!(
        "[[scanner]]\nid = \"door-3\"\nport = \"{}\"\nrepeat_window_ms = 0\n\n[[gps]]\nid = \"gps0\"\nport = \"{}\"\nbaud = 9600\n\n[uplink]\nurl = \"mqtt://127.0.0.1:{}\"\n",
        site.path("door-3").display(),
        site.path("gps0").display(),
        free_port(),
    ));
    let node = site.start();
    let codes: String = (0..1_200).map(|n| format!("T{n}\r\n")).collect();
    door3.write(codes.as_bytes());
    door3.write(b"NOREAD\r\n]C100395212340000010045\x1b\r\n");
    gps0.write(b"$GPRMC,100002.00,A,5907.00000,N,01123.25128,E,10.0,090.0,211126,,,A*00\r\n");
    gps0.write(&epoch(36_000));
    gps0.write(&epoch(36_001));
    wait_for("all of it", || {
        let ledger = node.ledger();
        let letters = ledger["letters"]["total"].as_i64().unwrap();
        let fixes = ledger["sources"]["gps0"]["stored"].as_i64().unwrap();
        (ledger["sources"]["door-3"]["frames"] == 1_202 && letters >= 3 && fixes >= 1).then_some(())
    });
    node
}

#[test]
fn the_outbox_and_the_letters_read_the_same_with_and_without_the_daemon() {
    let site = Site::new();
    let node = filled(&site);
    let asked: [&[&str]; 7] = [
        &["outbox", "export"],
        &["outbox", "export", "--from", "600", "--to", "1199"],
        &["outbox", "export", "--from", "999999"],
        &["outbox", "export", "--unsent"],
        &["outbox", "stat"],
        &["letters", "list", "--json"],
        &["letters", "list", "--all"],
    ];
    let running: Vec<Output> = asked.iter().map(|args| site.ask(args)).collect();
    let total = node.ledger()["events"]["total"].as_i64().unwrap();
    // The epoch that was open is finished by the stop: nothing is compared that was not there before.
    assert!(node.stop().success());
    let bound = total.to_string();
    let again: [&[&str]; 2] =
        [&["outbox", "export", "--to", &bound], &["outbox", "export", "--unsent", "--to", &bound]];
    for (n, (args, before)) in asked.iter().zip(&running).enumerate() {
        assert_eq!(code(before), 0, "{args:?}: {}", stderr(before));
        let after = match n {
            0 => site.ask(again[0]),
            3 => site.ask(again[1]),
            4 => continue,
            _ => site.ask(args),
        };
        assert_eq!(code(&after), 0, "{args:?}: {}", stderr(&after));
        assert_eq!(stdout(before), stdout(&after), "{args:?}");
    }
    let events = lines(&stdout(&running[0]));
    assert_eq!(i64::try_from(events.len()).unwrap(), total);
    assert!(events.iter().zip(1..).all(|(event, seq)| event["seq"] == seq), "every seq once, in order");
    assert_eq!(lines(&stdout(&running[1])).len(), 600);
    assert!(running[2].stdout.is_empty());
    assert_eq!(stdout(&running[3]), stdout(&running[0]), "nothing is acknowledged where there is no broker");
    let letters: Value = serde_json::from_str(&stdout(&running[5])).unwrap();
    let reasons: Vec<_> = letters.as_array().unwrap().iter().map(|letter| letter["reason"].clone()).collect();
    assert_eq!(reasons, ["bad_check", "noread"], "newest first, without noise");
    assert!(stdout(&running[6]).contains("bad_checksum"));
    let advised =
        "\nbad_check: The check digit does not fit the code. Scan it again; if it repeats, print the label anew.\n";
    assert_eq!(stdout(&running[6]).matches(advised).count(), 1, "a list says what to do, once a reason");
    let stat = stdout(&site.ask(&["outbox", "stat"]));
    assert!(stat.contains("balance  0"), "{stat}");
}

#[test]
fn a_rebuild_compares_and_mends_with_and_without_the_daemon() {
    let site = Site::new();
    let node = filled(&site);
    let tamper = || {
        let sql = rusqlite::Connection::open(site.path("store/waypost.db")).unwrap();
        sql.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        assert_eq!(sql.execute("update places set place = 'moon' where asset in ('raw:T7', 'raw:T9')", []).unwrap(), 2);
    };
    let expect = |args: &[&str], ends: i32, says: &str| {
        let output = site.ask(args);
        assert_eq!(code(&output), ends, "{args:?}: {}", stderr(&output));
        assert!(stdout(&output).contains(says), "{args:?}: {}", stdout(&output));
    };
    let go_through = || {
        expect(&["rebuild", "--check"], 0, "all as the events tell");
        tamper();
        expect(&["rebuild", "--check"], 1, "2 not as the events tell");
        expect(&["rebuild", "--check"], 1, "raw:T9: place: the table says moon, the log ");
        expect(&["rebuild"], 0, "2 written anew");
        expect(&["rebuild", "--check"], 0, "all as the events tell");
    };
    go_through();
    let (status, body) = post(node.address(), "/api/v1/rebuild");
    assert!(status == 403 && body.contains("pin_not_set"), "{status} {body}");
    assert!(node.stop().success());
    go_through();
}

/// A POST without a body over TCP, as a page would send it.
fn post(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    use std::io::Read as _;
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nX-Waypost: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[test]
fn an_export_of_what_is_unsent_leaves_out_what_the_broker_has() {
    let Some(broker) = Broker::start() else { return };
    let site = Site::new();
    let mut door3 = Pty::new(&site.path("door-3"));
    site.configure(&format!(
        "[[scanner]]\nid = \"door-3\"\nport = \"{}\"\n\n[uplink]\nurl = \"mqtt://127.0.0.1:{}\"\n",
        site.path("door-3").display(),
        broker.port
    ));
    let node = site.start();
    for n in 0..20 {
        door3.write(format!("T{n}\r\n").as_bytes());
    }
    wait_for("the broker to have it all", || {
        let events = &node.ledger()["events"];
        (events["total"] == 20 && events["unsent"] == 0).then_some(())
    });
    let unsent = || (site.ask(&["outbox", "export", "--unsent"]), site.ask(&["outbox", "export"]));
    let (running, all) = unsent();
    assert_eq!((stdout(&running).as_str(), lines(&stdout(&all)).len()), ("", 20));
    assert!(node.stop().success());
    let (stopped, all) = unsent();
    assert_eq!((stdout(&stopped).as_str(), lines(&stdout(&all)).len()), ("", 20));
}

#[test]
fn what_is_printed_into_a_file_or_a_pipe_has_no_colour_and_no_control_characters() {
    let site = Site::new();
    let node = filled(&site);
    let asked: [&[&str]; 6] =
        [&["status"], &["letters", "list", "--all"], &["outbox", "stat"], &["devices"], &["config"], &["check"]];
    for args in asked {
        let output = site.ask(args);
        let said = stdout(&output) + &stderr(&output);
        assert!(!said.is_empty() && !said.contains('\u{1b}'), "{args:?}: {said:?}");
    }
    assert!(!site.log().contains('\u{1b}'), "{}", site.log());
    assert!(node.stop().success());
}

#[test]
fn a_reader_that_goes_away_is_no_failure_and_no_panic() {
    let site = Site::new();
    let node = filled(&site);
    let log = repository("hardware/captures/truck.nmea");
    let exe = env!("CARGO_BIN_EXE_waypost");
    let (config, log) = (site.config(), log.display().to_string());
    for args in ["outbox export".to_owned(), "config --defaults".to_owned(), format!("decode nmea {log}")] {
        let line = format!("{exe} --config {} {args} | head -1; exit ${{PIPESTATUS[0]}}", config.display());
        let output = Command::new("bash").args(["-c", &line]).stdin(Stdio::null()).output().unwrap();
        assert_eq!(code(&output), 0, "{args}: {}", stderr(&output));
        assert_eq!(stdout(&output).lines().count(), 1, "{args}");
        assert!(!stderr(&output).contains("panic") && !stderr(&output).contains("pipe"), "{}", stderr(&output));
    }
    assert!(node.stop().success());
}

#[test]
fn status_ends_well_with_a_node_that_is_well_and_names_what_is_absent() {
    let site = Site::new();
    let door3 = Pty::new(&site.path("door-3"));
    site.configure(&format!("[[scanner]]\nid = \"door-3\"\nport = \"{}\"\n", site.path("door-3").display()));
    let node = site.start();
    wait_for("a node that is well", || (node.get("/healthz").1.contains("\"ok\"")).then_some(()));
    let well = site.ask(&["status"]);
    assert_eq!(code(&well), 0, "{}", stdout(&well));
    let json: Value = serde_json::from_str(&stdout(&site.ask(&["status", "--json"]))).unwrap();
    assert_eq!((&json["status"], &json["node"]), (&json!("ok"), &json!("wp-07")));
    door3.unplug();
    wait_for("the absence", || (node.get("/healthz").1.contains("absent")).then_some(()));
    let absent = site.ask(&["status"]);
    let said = stdout(&absent);
    assert_eq!(code(&absent), 1, "{said}");
    let line = said.lines().find(|line| line.starts_with("source")).unwrap();
    assert!(line.contains("door-3 absent") && line.contains("Check the plug"), "{said}");
    assert!(node.stop().success());
}

/// Whether a process whose command line holds this text runs.
fn runs(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.into_iter().any(|line| String::from_utf8_lossy(&line).contains(text))
}

#[test]
fn the_demo_shows_a_truck_and_scans_and_leaves_nothing_behind() {
    let listen = format!("127.0.0.1:{}", free_port());
    let mut child = binary();
    child.args(["demo", "--listen", &listen]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = child.spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut told = |what: &str| said.find_map(|line| Some(line.trim().strip_prefix(what)?.trim().to_owned())).unwrap();
    let address = told("screen").strip_prefix("http://").unwrap().trim_end_matches('/').parse().unwrap();
    let store = told("store");
    let folder = store.strip_suffix("/store/waypost.db").unwrap().to_owned();
    let (status, scan) = (told("status"), told("scan"));
    let broker = told("broker");
    let ask = |path: &str| http(address, path, "").ok().and_then(|(_, body)| serde_json::from_str::<Value>(&body).ok());
    wait_for("the truck and scans", || {
        let snapshot = ask("/api/v1/snapshot")?;
        let truck = snapshot["assets"].as_array()?.iter().any(|one| one["asset"] == "TRK-07" && one["lat"].is_f64());
        (truck && !snapshot["scans"].as_array()?.is_empty()).then_some(())
    });
    assert_eq!(http(address, "/", "").unwrap().0, 200);
    let asked = std::process::Command::new("sh").args(["-c", &status]).output().unwrap();
    assert!(stdout(&asked).contains("source     gps0 up"), "{status}: {asked:?}");
    if program("mosquitto").is_some() {
        assert!(broker.contains("mosquitto_sub"), "{broker}");
        wait_for("events at the broker", || {
            let ledger = ask("/api/v1/ledger")?;
            let events = &ledger["events"];
            (events["sent"].as_i64()? + events["sent_unheard"].as_i64()? > 0).then_some(())
        });
        assert!(runs(&format!("{folder}/broker")) || runs(&format!("{folder}/mosquitto")), "a broker of its own");
    } else {
        eprintln!("SKIPPED: mosquitto is not installed; the demo was tried without its broker");
        assert!(broker.contains("not installed"), "{broker}");
    }
    let mut stream = Stream::open(address, "/api/v1/stream", "");
    stream.event("what moves", |event| event["kind"] == "fix" || event["kind"] == "scan");
    let scanned = std::process::Command::new("sh").args(["-c", &scan]).output().unwrap();
    assert_eq!(code(&scanned), 0, "{scan}: {}", stderr(&scanned));
    stream.event("the scan that was made by the printed line", |event| {
        event["code"] == "TRL-9" && event["place"] == "gate"
    });
    // SAFETY: a signal to our own child, which is not yet waited for.
    assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGINT) }, 0);
    let ended = wait_for("the end of the demo", || child.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
    assert!(!std::path::Path::new(&folder).exists(), "{folder} is gone");
    assert!(!runs(&folder), "the broker is gone");
    assert!(http(address, "/", "").is_err(), "nobody listens");
}
