//! The way of one fix and one scan, from the wire to the screen and the broker.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::bench::{Node, Pty, Site, balanced, epoch, metric, play, repository, run, stdout, wait_for};

fn gps(site: &Site) -> String {
    format!(
        "[[gps]]\nid = \"gps0\"\nport = \"{}\"\nbaud = 9600\nasset = \"TRK-07\"\ntrack_interval_s = 0\nparked_interval_s = 0\n\n",
        site.path("gps0").display()
    )
}

fn door(site: &Site) -> String {
    format!("[[scanner]]\nid = \"door-3\"\nport = \"{}\"\nplace = \"door-3\"\n\n", site.path("door-3").display())
}

#[test]
fn a_fix_and_a_scan_reach_the_stream_from_their_ports() {
    let site = Site::new();
    let (mut gps0, mut door3) = (Pty::new(&site.path("gps0")), Pty::new(&site.path("door-3")));
    site.configure(&(gps(&site) + &door(&site)));
    let node = site.start();
    let mut stream = node.stream(None);
    gps0.write(&epoch(36_000));
    let fix = stream.event("the fix", |event| event["kind"] == "fix");
    assert_eq!((fix["source"].as_str(), fix["asset"].as_str()), (Some("gps0"), Some("TRK-07")));
    door3.write(b"TRL-7\r\n");
    let scan = stream.event("the scan", |event| event["kind"] == "scan");
    assert_eq!((scan["code"].as_str(), scan["place"].as_str()), (Some("TRL-7"), Some("door-3")));
    let place = stream.event("the place", |event| event["kind"] == "place");
    assert_eq!(place["because"], scan["id"]);
    assert_eq!(node.ledger()["balance"], 0);
    assert!(node.stop().success());
}

/// Plays a log twice into one node and checks what the second time added.
fn twice(log: &Path) {
    let site = Site::new();
    site.configure(&gps(&site));
    let node = site.start();
    let link = site.path("gps0");
    // The bytes of a port balance: what came is used, ignored or refused, and what is open is no more once it is unplugged.
    let all = |bytes: u64| {
        wait_for("every byte with its outcome", || {
            let counted = metric(&node, "waypost_bytes_total", &["source=\"gps0\""]);
            assert!(counted <= bytes as f64, "{counted} bytes counted of {bytes}");
            (counted == bytes as f64).then_some(())
        });
    };
    let sent = play(&link, log);
    assert_eq!(sent, std::fs::metadata(log).unwrap().len());
    all(sent);
    let (first, sentences) = (settled(&node, 1), metric(&node, "waypost_sentences_total", &["source=\"gps0\""]));
    let stored = first["stored"].as_i64().unwrap();
    assert_eq!(first["thinned"], 0, "{first}");
    let decoded = run(&["decode", "nmea", log.to_str().unwrap()]);
    let fixes = stdout(&decoded).lines().count();
    assert_eq!(stored + first["duplicate"].as_i64().unwrap(), i64::try_from(fixes).unwrap(), "{first}");
    all(sent + play(&link, log));
    let second = settled(&node, 2 * first["frames"].as_i64().unwrap());
    assert_eq!(second["frames"], 2 * first["frames"].as_i64().unwrap(), "{first} {second}");
    assert_eq!(second["stored"], stored, "{first} {second}");
    assert_eq!(second["duplicate"], 2 * first["duplicate"].as_i64().unwrap() + stored, "{first} {second}");
    assert_eq!(second["no_fix"], 2 * first["no_fix"].as_i64().unwrap(), "{first} {second}");
    assert!((metric(&node, "waypost_sentences_total", &["source=\"gps0\""]) - 2.0 * sentences).abs() < 0.5);
    let export = stdout(&site.ask(&["outbox", "export"]));
    let events: Vec<Value> = export.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let fixes: Vec<&Value> = events.iter().filter(|event| event["kind"] == "fix").collect();
    let ids: BTreeSet<&str> = fixes.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!((fixes.len(), ids.len()), (usize::try_from(stored).unwrap(), usize::try_from(stored).unwrap()));
    assert!(node.stop().success());
}

/// The ledger of the receiver once it has counted so many frames and no more come; balanced.
fn settled(node: &Node, frames: i64) -> Value {
    let mut before = Value::Null;
    wait_for("the last frame in the ledger", || {
        let now = balanced(node)["sources"]["gps0"].clone();
        let again = now == before && now["frames"].as_i64().unwrap() >= frames;
        let committed = node.json("/api/v1/sources")["items"][0]["age_ms"].as_i64().unwrap() > 1_500;
        before = now.clone();
        (again && committed).then_some(now)
    })
}

#[test]
fn a_capture_that_is_played_twice_is_stored_once() {
    twice(&repository("hardware/captures/truck.nmea"));
}

#[test]
fn a_capture_with_line_noise_that_is_played_twice_is_stored_once() {
    twice(&repository("hardware/captures/truck-noisy.nmea"));
}

#[test]
fn a_log_of_a_real_receiver_that_is_played_twice_is_stored_once() {
    let corpora = std::env::var_os("WAYPOST_CORPORA").map_or_else(|| repository("../shared/corpora"), Into::into);
    let log = corpora.join("nmea/bu353s4.log");
    if !log.is_file() {
        eprintln!("SKIPPED: no corpora at {}; name them with WAYPOST_CORPORA", corpora.display());
        return;
    }
    twice(&log);
}
