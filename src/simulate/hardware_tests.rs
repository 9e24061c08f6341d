//! Goal: what lies in `hardware/` is sound, and is what `simulate` makes today. `UPDATE=1` writes the captures anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::faults::Spoiler;
use super::recording::Recording;
use super::route::{self, Waypoint};
use super::sentence::{framed, time_of_day};
use super::tape::{Tape, millis};
use super::truck::Truck;
use super::{AtEnd, Device, Faults, Gps, Input, Model, Reads, Scanner, Time, Track};

const ROUTE: &str = include_str!("../../hardware/demo/route.geojson");
const ZONES: &str = include_str!("../../hardware/demo/zones.geojson");
const DOCK_3: &str = include_str!("../../hardware/demo/codes-dock-3.txt");
const DOCK_1: &str = include_str!("../../hardware/demo/codes-dock-1.txt");
const HARBOUR: &str = include_str!("../../hardware/demo/harbour.geojson");
const GS1: &str = include_str!("../../hardware/demo/codes-gs1.txt");
const GATE: &str = include_str!("../../hardware/demo/codes-gate.txt");

const NOISY: &str = "noise=0.05,partial=0.05,glue=0.05,checksum=0.05";

fn device(seed: u64) -> Device {
    let (at_end, faults) = (AtEnd::Hold, Faults::default());
    Device { link: "/nonexistent/port".into(), repeat: true, at_end, faults, seed }
}

fn truck(seed: u64) -> Box<dyn Tape> {
    receiver(ROUTE, Model::Plain, None, seed)
}

fn receiver(route: &'static str, model: Model, rate_hz: Option<f64>, seed: u64) -> Box<dyn Tape> {
    let track = Track::Route(Input::Text(route));
    Gps { device: device(seed), track, model, time: Time::Recorded, rate_hz }.tape().unwrap()
}

fn scanner(codes: &'static str) -> Box<dyn Tape> {
    let (reads, every) = (Reads::Codes(Input::Text(codes)), Duration::from_secs(2));
    Scanner { device: device(1), reads, every, terminator: "\\r".to_owned() }.tape().unwrap()
}

/// The bytes on the line of the first bursts, as a session sends them.
fn wire(mut tape: Box<dyn Tape>, bursts: usize, faults: &str, seed: u64) -> Vec<u8> {
    let mut spoiler = Spoiler::new(faults.parse().unwrap(), seed);
    (0..bursts).flat_map(|_| tape.take(0)).flat_map(|frame| spoiler.spoil(frame)).collect()
}

#[test]
fn the_captures_are_what_simulate_makes_from_their_seeds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("hardware/captures");
    let multi = |seed| receiver(ROUTE, Model::Multi, Some(10.0), seed);
    for (name, bytes) in [
        ("multi.nmea", wire(multi(3), 30, "", 3)),
        ("multi-noisy.nmea", wire(multi(4), 20, NOISY, 4)),
        ("harbour.nmea", wire(receiver(HARBOUR, Model::Plain, None, 5), 60, "", 5)),
        ("gs1.scan", wire(scanner(GS1), 13, "", 1)),
        ("framed.scan", framed_reads()),
        ("replug.ring", replugged()),
        ("truck.nmea", wire(truck(1), 120, "", 1)),
        ("truck-noisy.nmea", wire(truck(2), 60, NOISY, 2)),
        ("dock-3.scan", wire(scanner(DOCK_3), 18, "", 1)),
        ("dock-3-noisy.scan", wire(scanner(DOCK_3), 36, NOISY, 2)),
    ] {
        let path = folder.join(name);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &bytes).unwrap();
        }
        assert!(std::fs::read(&path).unwrap() == bytes, "{name} is another; UPDATE=1 writes it, git shows how");
    }
}

/// The codes between STX and ETX, with what a bad line puts between them.
fn framed_reads() -> Vec<u8> {
    let reads = GS1.lines().map(|code| format!("\u{2}{}\u{3}\r\n", code.replace("\\x1d", "\u{1d}")));
    let mut bytes = reads.collect::<String>().into_bytes();
    bytes.extend(b"noise\x02TRL-10\x0242\x03\x02TRL-1042\x03\r\n\x02TRL-1");
    bytes
}

/// A scanner that was unplugged in the middle of a code, as the node that read it captured it.
fn replugged() -> Vec<u8> {
    use crate::domain::Stamp;
    use crate::ingest::{Origin, Ring};
    let at = |ms: i64| Stamp { mono_us: ms * 1000, wall_ms: 1_795_161_600_000 + ms };
    let folder = tempfile::tempdir().unwrap();
    let (source, port, boot) = ("door-3".into(), "/dev/ttyUSB0".into(), "a boot".into());
    let origin = Origin { source, kind: "scanner", port, baud: Some(9600), boot };
    let ring = Ring::open(folder.path(), origin, at(0));
    for (ms, bytes) in [(0, "TRL-1041\r"), (400, "TRL-1041\r"), (3000, "TRL-1041\r"), (5000, "]C100395212340")] {
        ring.bytes(bytes.as_bytes(), at(ms));
    }
    ring.port(true, at(5100));
    ring.port(false, at(7000));
    for (ms, bytes) in [(8000, "]C10039521234"), (8300, "0000010013\r"), (9000, "]C1003952"), (9900, "TRL-1042\r")] {
        ring.bytes(bytes.as_bytes(), at(ms));
    }
    let version = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    ring.text(at(10_000)).replace(&version, "\"version\":\"0\"").into_bytes()
}

/// The zones with their boxes: west, south, east, north. All of the demonstration's are rectangles.
fn zones() -> Vec<(String, [f64; 4])> {
    let plan: Value = serde_json::from_str(ZONES).unwrap();
    let mut zones = Vec::new();
    for feature in plan["features"].as_array().unwrap() {
        let (id, kind) =
            (feature["properties"]["id"].as_str().unwrap(), feature["properties"]["kind"].as_str().unwrap());
        assert!(["building", "dock", "bay", "gate", "road", "service"].contains(&kind), "{kind}");
        assert!(feature["properties"]["name"].is_string());
        let ring = feature["geometry"]["coordinates"][0].as_array().unwrap();
        assert!(ring.len() >= 4 && ring.first() == ring.last(), "{id} is open");
        let mut sides = [f64::MAX, f64::MAX, f64::MIN, f64::MIN];
        for point in ring {
            let (x, y) = (point[0].as_f64().unwrap(), point[1].as_f64().unwrap());
            sides = [sides[0].min(x), sides[1].min(y), sides[2].max(x), sides[3].max(y)];
        }
        zones.push((id.to_owned(), sides));
    }
    zones
}

#[test]
fn the_demonstration_truck_visits_its_zones_and_comes_home_without_a_jump() {
    let zones = zones();
    assert_eq!(zones.iter().map(|(id, _)| id).collect::<BTreeSet<_>>().len(), zones.len());
    let route = route::parse("route", ROUTE.as_bytes()).unwrap();
    let mut truck = Truck::new("route", &route, false).unwrap();
    let (mut visited, mut seconds, mut furthest) = (BTreeSet::new(), 0, 0.0_f64);
    let at = |lat, lon| Waypoint { lat, lon, speed_mps: 1.0, stop_s: 0.0, wander_m: 0.0, in_tunnel: false };
    let mut before = truck.motion();
    while !truck.is_done() {
        truck.drive(Duration::from_secs(1));
        seconds += 1;
        let now = truck.motion();
        furthest = furthest.max(at(before.lat, before.lon).distance_m(&at(now.lat, now.lon)));
        let inside =
            |sides: &[f64; 4]| (sides[0]..sides[2]).contains(&now.lon) && (sides[1]..sides[3]).contains(&now.lat);
        visited.extend(zones.iter().filter(|(_, sides)| inside(sides)).map(|(id, _)| id.clone()));
        before = now;
    }
    let expect = ["bay-3", "dock-1", "dock-3", "gate", "ring-road", "wash", "weighbridge", "yard-road"];
    assert_eq!(visited.into_iter().collect::<Vec<_>>(), expect);
    assert!((180..480).contains(&seconds), "a round takes {seconds} s");
    assert!(furthest < 12.0, "{furthest} m in a second");
    let (home, start) = (route.last().unwrap(), route.first().unwrap());
    assert!(home.distance_m(start) < 0.1);
}

/// Whether 18 digits end with their check digit, GS1 General Specifications 7.9.
fn is_sscc(digits: &str) -> bool {
    let sum: u32 =
        digits.chars().enumerate().map(|(i, c)| c.to_digit(10).unwrap() * if i % 2 == 0 { 3 } else { 1 }).sum();
    digits.len() == 18 && sum.is_multiple_of(10)
}

#[test]
fn the_demonstration_codes_are_good_but_for_one_bad_check_digit_and_one_misread() {
    let (mut good, mut bad, mut plain) = (0, 0, 0);
    for line in [DOCK_1, DOCK_3, GATE].concat().replace("\\r", "\n").lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("]C1").unwrap_or(line).strip_prefix("00") {
            Some(digits) if is_sscc(digits) => good += 1,
            Some(_) => bad += 1,
            None => plain += 1,
        }
    }
    assert!(good >= 12 && bad == 1 && plain >= 6, "{good} {bad} {plain}");
    assert_eq!(DOCK_1.matches("NOREAD").count(), 1);
}

fn corpora() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join("shared/corpora");
    let folder = std::env::var_os("WAYPOST_CORPORA").map_or(beside, PathBuf::from).join("nmea");
    if !folder.is_dir() {
        eprintln!("SKIPPED: no recorded receivers at {}; set WAYPOST_CORPORA", folder.display());
        return None;
    }
    Some(folder)
}

/// The sentences of a stream whose checksum is there and right.
fn valid(bytes: &[u8]) -> usize {
    let whole = |line: &&[u8]| {
        let star = line.iter().position(|byte| *byte == b'*').filter(|star| *star > 0);
        star.is_some_and(|star| {
            let body = String::from_utf8_lossy(&line[1..star]);
            line.get(..star + 3).is_some_and(|line| line.eq_ignore_ascii_case(framed(&body).trim_ascii_end()))
        })
    };
    let starts: Vec<usize> = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'$').map(|(i, _)| i).collect();
    starts.iter().map(|start| &bytes[*start..]).filter(whole).count()
}

#[test]
fn real_receivers_are_played_byte_for_byte_or_with_valid_checksums_and_a_present_time() {
    const NOON: i64 = 1_795_176_000_000;
    let Some(folder) = corpora() else { return };
    let mut logs = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let recorded = std::fs::read(&path).unwrap();
        for time in [Time::Recorded, Time::Now] {
            let mut tape = Recording::new(recorded.clone(), None, time, false).unwrap();
            let (mut out, mut bursts, mut last) = (Vec::new(), 0_i64, 0);
            while let Some(due) = tape.due() {
                assert!(millis(due) >= last, "{}: time runs back", path.display());
                last = millis(due);
                bursts += 1;
                for frame in tape.take(NOON + last) {
                    if let Some(said) = time_of_day(&frame).filter(|_| time == Time::Now) {
                        let off = (said.ms - (43_200_000 + last)).abs();
                        assert!(off <= 5000 || off >= 86_395_000, "{}: {off} ms off", path.display());
                    }
                    out.extend(frame);
                }
            }
            match time {
                Time::Recorded => assert!(out == recorded, "{}", path.display()),
                Time::Now => assert_eq!(valid(&out), valid(&recorded), "{}", path.display()),
            }
            assert!(bursts > 1 || recorded.len() < 2000, "{}: one burst", path.display());
        }
        logs += 1;
    }
    eprintln!("{logs} logs played");
    assert!(logs > 10);
}
