//! gpsd as a source: what it said once, over a real socket, and the real gpsd on a simulated receiver.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::bench::{Node, PATIENCE, Site, balanced, binary, free_port, metric, program, repository, wait_for};

fn gps(port: u16, query: &str) -> String {
    format!(
        "[[gps]]\nid = \"gps0\"\nport = \"gpsd://127.0.0.1:{port}{query}\"\nasset = \"TRK-07\"\ntrack_interval_s = 0\nparked_interval_s = 0\n\n"
    )
}

fn recording() -> String {
    std::fs::read_to_string(repository("tests/recordings/gpsd-3.22.json")).unwrap()
}

/// The facts in the recording: gpsd tells one more than once while an epoch grows.
fn facts() -> BTreeSet<String> {
    let lines = recording();
    let reports = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    reports
        .filter(|one| one["class"] == "TPV")
        .map(|one| format!("{} {} {}", one["time"], one["lat"], one["lon"]))
        .collect()
}

/// Waits for the node and for what it asks of gpsd.
fn accept(server: &TcpListener) -> TcpStream {
    let (stream, _) = server.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut wish = String::new();
    BufReader::new(&stream).read_line(&mut wish).unwrap();
    assert_eq!(wish, "?WATCH={\"enable\":true,\"json\":true};\n");
    stream
}

fn source(node: &Node, state: &str) -> Value {
    wait_for(state, || {
        let sources = node.json("/api/v1/sources");
        sources["items"].as_array().unwrap().iter().find(|one| one["state"] == state).cloned()
    })
}

#[test]
fn what_gpsd_says_is_stored_once_however_often_it_is_started_anew() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = Site::new();
    site.configure(&gps(server.local_addr().unwrap().port(), ""));
    let node = site.start();
    let facts = i64::try_from(facts().len()).unwrap();
    let (mut sent, half) = (0, "{\"class\":\"TPV\",\"device\":\"/dev/ttyUSB0\",\"mode\":3,\"la");
    for round in 1..=3_i64 {
        let mut stream = accept(&server);
        stream.write_all(recording().as_bytes()).unwrap();
        stream.write_all(b"no json\r\n").unwrap();
        stream.write_all(half.as_bytes()).unwrap();
        sent += recording().len() + 9 + half.len();
        drop(stream);
        wait_for("the facts, once", || {
            let counts = balanced(&node)["sources"]["gps0"].clone();
            assert!(counts["stored"].as_i64().unwrap_or(0) <= facts, "{counts}");
            let reports = recording().matches("\"TPV\"").count();
            (counts["stored"] == facts && counts["frames"] == round * i64::try_from(reports).unwrap()).then_some(())
        });
        wait_for("every byte with its outcome", || {
            let counted = metric(&node, "waypost_bytes_total", &["source=\"gps0\""]);
            assert!(counted <= sent as f64, "{counted} of {sent}");
            (counted == sent as f64).then_some(())
        });
    }
    assert_eq!(metric(&node, "waypost_sentences_total", &["outcome=\"bad_bytes\""]), 6.0);
    assert!(node.stop().success());
    let events = site.exported();
    let fix = events.iter().rfind(|event| event["kind"] == "fix").unwrap();
    assert_eq!((&fix["hdop"], &fix["satellites"], &fix["mode"]), (&1.0.into(), &9.into(), &"3d".into()), "{fix}");
}

#[test]
fn a_gpsd_that_says_nothing_is_silent_and_its_advice_names_it() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = Site::new();
    site.configure(&gps(server.local_addr().unwrap().port(), ""));
    let node = site.start();
    let mut stream = accept(&server);
    let version = recording().lines().take(3).map(|line| format!("{line}\n")).collect::<String>();
    stream.write_all(version.as_bytes()).unwrap();
    let silent = source(&node, "silent");
    assert!(silent["advice"].as_str().unwrap().contains("gpsd"), "{silent}");
    // It is asked anew, in case it forgot.
    drop(accept(&server));
    assert!(node.stop().success());
}

/// A program that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        // The test is over: whether it can still be ended matters to nobody.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_real_gpsd_on_a_simulated_receiver_gives_fixes() {
    let Some(gpsd) = program("gpsd") else {
        eprintln!("SKIPPED: gpsd is not installed");
        return;
    };
    let site = Site::new();
    let (link, port) = (site.path("receiver"), free_port());
    let mut simulate = binary();
    simulate.args(["simulate", "gps", "--loop", "--seed", "1", "--link"]).arg(&link);
    simulate.arg("--log").arg(repository("hardware/captures/truck.nmea"));
    let _receiver = Ends(simulate.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
    wait_for("the simulated receiver", || link.exists().then_some(()));
    let log = std::fs::File::create(site.path("gpsd.log")).unwrap();
    let mut command = Command::new(gpsd);
    command.args(["-N", "-n", "-b", "-S", &port.to_string()]).arg(&link).stdin(Stdio::null()).stderr(log);
    let _gpsd = Ends(command.spawn().unwrap());
    site.configure(&gps(port, &format!("?device={}", link.display())));
    let node = site.start();
    let mut stream = node.stream(None);
    for _ in 0..3 {
        let fix = stream.event("a fix of gpsd", |event| event["kind"] == "fix");
        let at = |key: &str| fix[key].as_f64().unwrap();
        assert!((at("lat") - 59.12).abs() < 0.05 && (at("lon") - 11.39).abs() < 0.05, "{fix}");
        assert!((at("ts_ms") - at("received_ms")).abs() < 60_000.0 && fix["doubt"].is_null(), "{fix}");
    }
    source(&node, "up");
    balanced(&node);
    assert!(node.stop().success());
}
