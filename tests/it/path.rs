//! The way of one fix and one scan, from the wire to the screen and the broker.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::{Node, Pty, Site, balanced, epoch, metric, play, repository, run, sentence, stdout, wait_for};

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
pub fn a_log_of_a_real_receiver_that_is_played_twice_is_stored_once() {
    let corpora = std::env::var_os("WAYPOST_CORPORA").map_or_else(|| repository("../shared/corpora"), Into::into);
    let log = corpora.join("nmea/bu353s4.log");
    if !log.is_file() {
        eprintln!("SKIPPED: no corpora at {}; name them with WAYPOST_CORPORA", corpora.display());
        return;
    }
    twice(&log);
}

#[test]
fn a_scanners_noisy_capture_leaves_no_byte_and_no_frame_without_an_outcome() {
    let capture = std::fs::read(repository("hardware/captures/dock-3-noisy.scan")).unwrap();
    let site = Site::new();
    let mut door3 = Pty::new(&site.path("door-3"));
    site.configure(&door(&site));
    let node = site.start();
    let sent = capture.len() as f64;
    door3.write(&capture);
    // What is unfinished is held open for as long as more may follow; the metrics tell of it once it has its outcome.
    wait_for("every byte with its outcome", || {
        let counted = metric(&node, "waypost_bytes_total", &["source=\"door-3\""]);
        assert!(counted <= sent, "{counted} bytes counted of {sent}");
        (counted == sent).then_some(())
    });
    let frames = wait_for("the ledger", || {
        let counts = balanced(&node)["sources"]["door-3"].clone();
        (counts["frames"].as_i64().unwrap() > 0).then_some(counts)
    });
    assert!(frames["stored"].as_i64().unwrap() > 0 && frames["rejected"].as_i64().unwrap() > 0, "{frames}");
    assert!(node.stop().success());
}

#[test]
fn a_line_that_is_too_slow_for_its_receiver_is_said_and_measured() {
    let site = Site::new();
    let mut gps0 = Pty::new(&site.path("gps0"));
    site.configure(&gps(&site));
    let node = site.start();
    let (mut second, text) = (36_000, sentence("GNTXT,01,01,00,txbuf,alloc"));
    let source = || node.json("/api/v1/sources")["items"][0].clone();
    gps0.write(text.as_bytes());
    wait_for("the receiver's own word", || source()["advice"].as_str()?.contains("txbuf").then_some(()));
    assert_eq!(metric(&node, "waypost_receiver_drops_total", &["source=\"gps0\""]), 1.0);
    // Far more than 960 bytes a second, as a pty lets through and a wire would not.
    let slow = wait_for("a line that is full", || {
        gps0.write(&epoch(second).repeat(4));
        second += 1;
        Some(source()).filter(|source| !source["line_load"].is_null())
    });
    assert_eq!((slow["line_load"].as_f64(), slow["state"].as_str()), (Some(1.0), Some("up")));
    assert!(slow["advice"].as_str().unwrap().starts_with("Line too slow: 100 % of 9600 baud"), "{slow}");
    assert_eq!(metric(&node, "waypost_line_load_ratio", &["source=\"gps0\""]), 1.0);
    assert!(stdout(&site.ask(&["status"])).contains("Line too slow"));
    assert!(node.stop().success());
}

/// A fix by what says that it is the same: time modulo 1024 weeks, because the node repairs dates that `decode` takes as
/// sent, position to 1e-7 degrees, and apart from those speed to 1 mm/s.
fn same(fix: &Value) -> (String, String) {
    let time: jiff::Timestamp = fix["ts"].as_str().unwrap().parse().unwrap();
    // Rounded as the node rounds: of a digit 5 the two ways of rounding make two things.
    let number =
        |key: &str, unit: f64| fix[key].as_f64().map_or(String::new(), |value| format!("{}", (value * unit).round()));
    let ms = time.as_millisecond().rem_euclid(1024 * 7 * 86_400_000);
    (format!("{ms} {} {}", number("lat", 1e7), number("lon", 1e7)), number("speed_mps", 1e3))
}

/// Goal: what a port gives is what `decode` gives. Method: every log of real receivers at once, each into a pty of its
/// own, as fast as the node reads; then the events against the lines of `decode`, the ledger against its summary.
#[test]
fn every_log_of_a_real_receiver_gives_the_same_through_a_pty_and_through_decode() {
    let corpora = std::env::var_os("WAYPOST_CORPORA").map_or_else(|| repository("../shared/corpora"), Into::into);
    let Ok(folder) = std::fs::read_dir(corpora.join("nmea")) else {
        eprintln!("SKIPPED: no corpora at {}; name them with WAYPOST_CORPORA", corpora.display());
        return;
    };
    let mut logs: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    logs.sort();
    assert!(logs.len() >= 75, "{}", logs.len());
    let site = Site::new();
    let mut ports: Vec<Pty> = (0..logs.len()).map(|n| Pty::new(&site.path(&format!("gps{n}")))).collect();
    // Seventy-five receivers of other years: none of them is a clock.
    let table = |n: usize| {
        let own = gps(&site).replace("gps0\"", &format!("gps{n}\"")).replace("TRK-07", &format!("TRK-{n}"));
        own + "clock = false\n"
    };
    site.configure(&(0..logs.len()).map(table).collect::<String>());
    let node = site.start();
    std::thread::scope(|scope| {
        for (log, port) in logs.iter().zip(&mut ports) {
            scope.spawn(move || port.write(&std::fs::read(log).unwrap()));
        }
    });
    let summaries: Vec<(Vec<Value>, Value)> = logs.iter().map(|log| decoded(log)).collect();
    let deadline = Instant::now() + Duration::from_secs(20);
    wait_for("the same frames of every log", || {
        let ledger = node.ledger();
        let other = logs.iter().zip(&summaries).enumerate().find_map(|(n, (log, (_, summary)))| {
            let counts = &ledger["sources"][format!("gps{n}")];
            let has = |key: &str| counts[key].as_i64().unwrap_or(0);
            let count = |key: &str| summary[key].as_i64().unwrap();
            let is_same = has("stored") + has("duplicate") == count("fixes") + count("undated")
                && has("no_fix") == count("no_fix");
            (!is_same).then(|| format!("{}: {counts} is not {summary}", log.display()))
        });
        assert!(other.is_none() || Instant::now() < deadline, "{}", other.unwrap_or_default());
        other.is_none().then_some(())
    });
    balanced(&node);
    assert!(node.stop().success());
    let events = site.exported();
    assert!(events.len() > 1500, "{} events", events.len());
    // Receivers of before 2017 are a rollover off for a node that was built in 2026, and it says so.
    let moved = events.iter().find(|event| event["rollover_weeks"].is_number()).expect("a date that was moved");
    assert!(moved["rollover_weeks"] == 1024 && moved["ts"].as_str().unwrap() > "2017", "{moved}");
    for (n, (log, (fixes, summary))) in logs.iter().zip(&summaries).enumerate() {
        let source = format!("gps{n}");
        let of_source = events.iter().filter(|event| event["kind"] == "fix" && event["source"] == source.as_str());
        let (stored, printed) = (by_fact(of_source), by_fact(fixes));
        for (fact, speeds) in &printed {
            let kept = stored.get(fact).unwrap_or_else(|| panic!("{}: {fact} is not stored", log.display()));
            // Of a fact that was said twice with two speeds the node keeps one.
            assert!(kept.len() == 1 && kept.is_subset(speeds), "{}: {fact}: {kept:?} {speeds:?}", log.display());
        }
        // What came before the first date `decode` does not print.
        let more = stored.keys().filter(|fact| !printed.contains_key(*fact)).count();
        assert!(more as u64 <= summary["undated"].as_u64().unwrap(), "{}: {more} stored beside", log.display());
    }
}

/// The speeds of each fact.
fn by_fact<'a>(fixes: impl IntoIterator<Item = &'a Value>) -> BTreeMap<String, BTreeSet<String>> {
    let mut facts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (fact, speed) in fixes.into_iter().map(same) {
        facts.entry(fact).or_default().insert(speed);
    }
    facts
}

/// The fixes that `decode` prints of a log, and its summary.
fn decoded(log: &Path) -> (Vec<Value>, Value) {
    let output = run(&["decode", "nmea", log.to_str().unwrap()]);
    let fixes = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (fixes, serde_json::from_slice(&output.stderr).unwrap())
}
