//! What positions and scans mean, from outside: zones, motion, two receivers, what comes late, read points that drive.

#[path = "../../src/plan/moored.rs"]
mod moored;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bench::{
    Broker, Node, Pty, Site, Stream, balanced, binary, sentence, stderr, stdout, wait_for, wait_within,
};
use crate::upstream::Centre;

/// Where metres are counted from. Degrees.
const HOME: (f64, f64) = (59.12, 11.38);
/// Metres of a degree of latitude.
const M_PER_DEG: f64 = 111_195.08;

/// Degrees of what lies so many metres east and north of home.
fn degrees((east_m, north_m): (f64, f64)) -> (f64, f64) {
    (HOME.0 + north_m / M_PER_DEG, HOME.1 + east_m / M_PER_DEG / HOME.0.to_radians().cos())
}

/// Metres north of home.
fn north_m(event: &Value) -> f64 {
    (event["lat"].as_f64().unwrap() - HOME.0) * M_PER_DEG
}

/// A zone from the south-west corner to the north-east, in metres from home.
fn zone(id: &str, kind: &str, (west, south): (f64, f64), (east, north): (f64, f64)) -> Value {
    let ring = [(west, south), (east, south), (east, north), (west, north), (west, south)];
    let ring: Vec<[f64; 2]> = ring.into_iter().map(degrees).map(|(lat, lon)| [lon, lat]).collect();
    json!({ "type": "Feature", "properties": { "id": id, "name": id, "kind": kind },
            "geometry": { "type": "Polygon", "coordinates": [ring] } })
}

/// Writes the plan; the table that names it.
fn plan(site: &Site, zones: &[Value]) -> String {
    let file = site.path("zones.geojson");
    std::fs::write(&file, json!({ "type": "FeatureCollection", "features": zones }).to_string()).unwrap();
    format!("[plan]\nzones = \"{}\"\n\n", file.display())
}

/// A dock in a yard.
fn yard() -> [Value; 3] {
    [
        zone("yard", "road", (-40.0, 0.0), (40.0, 70.0)),
        zone("dock-3", "dock", (-10.0, 25.0), (10.0, 45.0)),
        zone("dock-1", "dock", (25.0, 25.0), (35.0, 45.0)),
    ]
}

fn gps(site: &Site, id: &str, asset: &str, more: &str) -> String {
    let port = site.path(id);
    format!("[[gps]]\nid = \"{id}\"\nport = \"{}\"\nbaud = 9600\nasset = \"{asset}\"\n{more}\n", port.display())
}

fn scanner(site: &Site, id: &str, place: &str) -> String {
    format!("[[scanner]]\nid = \"{id}\"\nport = \"{}\"\nplace = \"{place}\"\n\n", site.path(id).display())
}

/// One epoch of a receiver.
#[derive(Clone, Copy)]
struct Epoch {
    ms: i64,
    at: (f64, f64),
    speed_mps: f64,
    hdop: f64,
}

impl Epoch {
    fn bytes(&self) -> Vec<u8> {
        let time = jiff::Timestamp::from_millisecond(self.ms).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
        let (clock, date) = (time.strftime("%H%M%S").to_string(), time.strftime("%d%m%y").to_string());
        let clock = format!("{clock}.{:02}", self.ms.rem_euclid(1000) / 10);
        let (lat, lon) = degrees(self.at);
        let place =
            format!("{:02}{:08.5},N,{:03}{:08.5},E", lat.trunc(), lat.fract() * 60.0, lon.trunc(), lon.fract() * 60.0);
        let rmc = format!("GPRMC,{clock},A,{place},{:.2},000.0,{date},,,A", self.speed_mps / 0.514_444);
        let gga = format!("GPGGA,{clock},{place},1,09,{:.1},12.3,M,40.0,M,,", self.hdop);
        (sentence(&rmc) + &sentence(&gga)).into_bytes()
    }
}

/// The same moment without a fix, from a receiver that talks on.
fn blind(ms: i64) -> Vec<u8> {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
    let (clock, date) = (time.strftime("%H%M%S").to_string(), time.strftime("%d%m%y").to_string());
    let clock = format!("{clock}.{:02}", ms.rem_euclid(1000) / 10);
    (sentence(&format!("GPRMC,{clock},V,,,,,,,{date},,,N"))
        + &sentence(&format!("GPGGA,{clock},,,,,0,00,99.9,,M,,M,,")))
        .into_bytes()
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// A receiver that stands somewhere now and says so ten times a second, whenever it is let.
struct Standing {
    pty: Pty,
    at: (f64, f64),
    last_ms: i64,
}

impl Standing {
    fn new(site: &Site, id: &str, at: (f64, f64)) -> Self {
        Self { pty: Pty::new(&site.path(id)), at, last_ms: 0 }
    }

    /// Says where it is, when its tenth of a second has come.
    fn speak(&mut self, says: bool) {
        let ms = now_ms() / 100 * 100;
        if ms > self.last_ms {
            self.last_ms = ms;
            let epoch = Epoch { ms, at: self.at, speed_mps: 0.1, hdop: 0.9 };
            self.pty.write(&if says { epoch.bytes() } else { blind(ms) });
        }
    }

    /// Says where it is until the node takes its time for true and has heard of the place.
    fn settle(&mut self, node: &Node, asset: &str, place: &str) {
        wait_for("a trusted time", || {
            self.speak(true);
            (node.json("/api/v1/health")["clock"]["tq"] == "gnss").then_some(())
        });
        wait_for("the place by GPS", || {
            self.speak(true);
            let (status, body) = node.get(&format!("/api/v1/assets/{asset}"));
            (status == 200 && body.contains(&format!("\"place\":\"{place}\""))).then_some(())
        });
    }
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The test is over: whether it can still be ended matters to nobody.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What the place events of an asset say, in their order.
fn told(events: &[Value], asset: &str) -> Vec<String> {
    let of_asset = events.iter().filter(|event| event["kind"] == "place" && event["asset"] == asset);
    of_asset
        .map(|event| format!("{} {}", event["change"].as_str().unwrap(), event["place"].as_str().unwrap()))
        .collect()
}

/// The history of an asset as it is answered, oldest first.
fn history(node: &Node, asset: &str) -> Vec<Value> {
    let answer = node.json(&format!("/api/v1/assets/{asset}/history"));
    assert_eq!(answer["more"], false);
    answer["items"].as_array().unwrap().iter().rev().cloned().collect()
}

/// Goal: a crossing is told within 3 s with the fix that is its cause. Method: the simulator drives a truck at 30 km/h through a
/// gate into a yard with a dock and out again, with the present time; the edges it passed are known in metres.
#[test]
fn a_truck_that_crosses_zones_at_30_kmh_is_told_within_three_seconds_with_its_cause() {
    let site = Site::new();
    let mut zones = yard().to_vec();
    zones.push(zone("gate", "gate", (-6.0, -12.0), (6.0, -8.0)));
    site.configure(&(gps(&site, "gps0", "TRK-07", "") + &plan(&site, &zones)));
    let way: String = [-60.0, 115.0]
        .map(|north| degrees((0.0, north)))
        .map(|(lat, lon)| format!("{lat:.7},{lon:.7},8.333\n"))
        .concat();
    std::fs::write(site.path("route"), way).unwrap();
    let node = site.start();
    let mut stream = node.stream(None);
    let mut command = binary();
    command.args(["simulate", "gps", "--rate", "10", "--seed", "1"]).stdin(Stdio::null()).stdout(Stdio::null());
    let _truck =
        Running(command.arg("--link").arg(site.path("gps0")).arg("--route").arg(site.path("route")).spawn().unwrap());
    let mut heard = Vec::new();
    while heard.len() < 8 {
        let event = stream.event("the next crossing", |event| event["kind"] == "place");
        // When the truck passes an edge is known by its speed; what is heard later than that is late.
        let late_ms = now_ms() - event["since_ms"].as_i64().unwrap();
        assert!((-200..2_000).contains(&late_ms), "{late_ms} ms after its fix: {event}");
        if event["change"] == "enter" && event["place"] == "dock-3" {
            let asset = node.json("/api/v1/assets/TRK-07");
            assert_eq!((&asset["place"], &asset["since_ms"]), (&json!("dock-3"), &event["since_ms"]), "{asset}");
        }
        heard.push(event);
    }
    let expect = [
        "enter gate",
        "exit gate",
        "enter yard",
        "exit yard",
        "enter dock-3",
        "exit dock-3",
        "enter yard",
        "exit yard",
    ];
    assert_eq!(told(&heard, "TRK-07"), expect);
    // The history is what was told, with its causes.
    let pick = |event: &Value| ["id", "change", "place", "since_ms", "because"].map(|key| event[key].clone());
    let answered: Vec<_> = history(&node, "TRK-07").iter().map(pick).collect();
    assert_eq!(answered, heard.iter().map(pick).collect::<Vec<_>>());
    assert!(node.json("/api/v1/assets/TRK-07")["place"].is_null());
    let counts = balanced(&node)["sources"]["gps0"].clone();
    assert!(node.stop().success());
    let events = site.exported();
    assert_eq!(told(&events, "TRK-07").len(), heard.len(), "and nothing else was told");
    let fixes: BTreeMap<&str, &Value> = events
        .iter()
        .filter(|event| event["kind"] == "fix")
        .map(|event| (event["id"].as_str().unwrap(), event))
        .collect();
    // Of some 250 fixes those are stored that say something, and all of these.
    assert!(counts["thinned"].as_i64() > Some(200) && fixes.len() < 40, "{counts}");
    for (event, edge_m) in heard.iter().zip([-12.0, -8.0, 0.0, 25.0, 25.0, 45.0, 45.0, 70.0]) {
        let fix = fixes[event["because"].as_str().unwrap()];
        assert_eq!((&fix["ts_ms"], &fix["asset"]), (&event["since_ms"], &json!("TRK-07")));
        let beyond_m = north_m(fix) - edge_m;
        assert!(
            (-0.5..3.0 * 8.4).contains(&beyond_m),
            "{} {}: {beyond_m} m behind its edge",
            event["change"],
            event["place"]
        );
    }
}

/// Goal: a moored boat that wanders comes and goes once at most at the edge of a zone, and leaves few rows. Method: the track of
/// 20 minutes, easy and hard, each into its own receiver, with a zone whose edge is 0, 3, 5 and 10 m from the moorings.
#[test]
fn a_parked_truck_that_wanders_at_the_edge_of_a_zone_changes_place_once_at_most() {
    let site = Site::new();
    let tracks = [moored::track(7), moored::restless(7)];
    let cases: Vec<(f64, &[moored::Said])> = [0.0, 3.0, 5.0, 10.0]
        .into_iter()
        .flat_map(|edge| tracks.iter().map(move |track| (edge, track.as_slice())))
        .collect();
    // A field a hundred metres wide each, so that they know nothing of each other.
    let home = |n: usize| (n as f64 * 200.0, 0.0);
    let zones: Vec<Value> = (0..)
        .zip(&cases)
        .map(|(n, (edge, _))| zone(&format!("bay-{n}"), "bay", (home(n).0 - 60.0, -60.0), (home(n).0 + edge, 60.0)))
        .collect();
    let mut ports: Vec<Pty> = (0..cases.len()).map(|n| Pty::new(&site.path(&format!("gps{n}")))).collect();
    // What is played at once is no clock.
    let receivers: String =
        (0..cases.len()).map(|n| gps(&site, &format!("gps{n}"), &format!("TRK-{n}"), "clock = false\n")).collect();
    site.configure(&(receivers + &plan(&site, &zones)));
    let node = site.start();
    let from_ms = now_ms() / 1000 * 1000 - 1_300_000;
    std::thread::scope(|scope| {
        for (n, (port, (_, track))) in ports.iter_mut().zip(&cases).enumerate() {
            scope.spawn(move || {
                for (second, said) in (0..).zip(*track) {
                    let at = (home(n).0 + said.x, said.y);
                    let epoch =
                        Epoch { ms: from_ms + second * 1000, at, speed_mps: said.speed_mps, hdop: moored::HDOP };
                    port.write(&epoch.bytes());
                }
            });
        }
    });
    let fixes = i64::try_from(moored::FIXES).unwrap();
    let ledger = wait_for("every fix with its outcome", || {
        let ledger = balanced(&node);
        let all = (0..cases.len()).all(|n| ledger["sources"][format!("gps{n}")]["frames"] == fixes);
        all.then_some(ledger)
    });
    assert!(node.stop().success());
    // Without the node the counts of a source say the same.
    let stat: Value = serde_json::from_slice(&site.ask(&["outbox", "stat", "--json"]).stdout).unwrap();
    for key in ["balance", "sources", "events", "letters"] {
        assert_eq!(stat[key], ledger[key], "{key}: {stat}");
    }
    assert!(stat["t"].is_i64(), "{stat}");
    let events = site.exported();
    let stored: BTreeSet<&str> =
        events.iter().filter(|event| event["kind"] == "fix").map(|event| event["id"].as_str().unwrap()).collect();
    for (n, (edge, _)) in cases.iter().enumerate() {
        let counts = &ledger["sources"][format!("gps{n}")];
        let places = told(&events, &format!("TRK-{n}"));
        assert!(places.len() <= 1, "{edge} m: {places:?}");
        // One each five minutes, and those that said something to a zone.
        assert!(counts["stored"].as_i64().unwrap() <= 8, "{edge} m: {counts}");
        assert_eq!(counts["policies"]["parked"], counts["thinned"], "it never moved: {counts}");
        assert_eq!(counts["stored"].as_i64().unwrap() + counts["thinned"].as_i64().unwrap(), fixes, "{counts}");
    }
    for event in events.iter().filter(|event| event["kind"] == "place") {
        assert!(stored.contains(event["because"].as_str().unwrap()), "its cause was thinned: {event}");
    }
}

#[test]
fn the_second_receiver_leads_five_seconds_after_the_first_lost_the_sky_though_it_talks_on() {
    let site = Site::new();
    let mut roof = Standing::new(&site, "roof", (0.0, 35.0));
    let mut dash = Standing::new(&site, "dash", (1.0, 35.0));
    // Ranks decide, not the order of the blocks.
    let receivers = gps(&site, "dash", "TRK-07", "rank = 2\ntrack_interval_s = 0\nparked_interval_s = 0\n")
        + &gps(&site, "roof", "TRK-07", "rank = 1\ntrack_interval_s = 0\nparked_interval_s = 0\n");
    site.configure(&(receivers + &plan(&site, &yard())));
    let node = site.start();
    let mut stream = node.stream(None);
    roof.settle(&node, "TRK-07", "dock-3");
    let mut both = |roof_sees: bool, upto: &str, done: &mut dyn FnMut(&Value) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            roof.speak(roof_sees);
            dash.speak(true);
            let newest = node.json("/api/v1/events?limit=40");
            if newest["items"].as_array().unwrap().iter().any(&mut *done) {
                return;
            }
            assert!(Instant::now() < deadline, "never came: {upto}");
        }
    };
    both(true, "a fix of the spare", &mut |event| event["source"] == "dash" && event["spare"] == true);
    assert_eq!(node.json("/api/v1/assets/TRK-07")["source"], "roof");
    let lost = Instant::now();
    both(false, "the switch", &mut |event| event["note"] == "receiver_switched");
    let took = lost.elapsed();
    assert!((Duration::from_millis(4_500)..Duration::from_secs(8)).contains(&took), "{took:?}");
    both(false, "a fix that leads", &mut |event| event["source"] == "dash" && event.get("spare").is_none());
    assert_eq!(node.json("/api/v1/assets/TRK-07")["source"], "dash");
    // Back from the tunnel: it tells, and leads only when it has been good for 30 s.
    let again_ms = now_ms();
    both(true, "the first as a spare", &mut |event| {
        event["source"] == "roof" && event["spare"] == true && event["ts_ms"].as_i64() > Some(again_ms)
    });
    let note = stream.event("the note", |event| event["kind"] == "note");
    let text = note["text"].as_str().unwrap();
    assert!(
        note["note"] == "receiver_switched" && text.contains("TRK-07 is moved by dash now, no longer by roof"),
        "{note}"
    );
    balanced(&node);
    assert!(node.stop().success());
    assert_eq!(told(&site.exported(), "TRK-07"), ["enter dock-3"]);
}

/// Waits until a scanner has so many frames.
fn frames(node: &Node, source: &str, n: i64) {
    wait_for("the frames", || (node.ledger()["sources"][source]["frames"] == n).then_some(()));
}

/// Runs a command on an input; what it printed.
fn fed(site: &Site, args: &[&str], input: &str) -> String {
    let mut command = binary();
    command.arg("--config").arg(site.config()).args(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{args:?}: {}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

#[test]
fn a_held_scan_that_is_retried_tells_the_history_anew_and_leaves_the_present_as_it_is() {
    // Without a broker all but the last part of it is tried.
    let broker = Broker::start();
    let centre = broker.as_ref().map(|broker| Centre::at(broker.port, "centre"));
    let site = Site::new();
    let mut truck = Standing::new(&site, "gps0", (0.0, 35.0));
    let mut doors: Vec<Pty> = ["dock-1", "gate", "dock-2"].map(|id| Pty::new(&site.path(id))).into();
    let scanners: String = ["dock-1", "gate", "dock-2"].map(|id| scanner(&site, id, id)).concat();
    let uplink = broker.as_ref().map_or_else(String::new, |broker| Site::uplink(broker.port, "accept"));
    let hold = "[assets]\nunknown = \"hold\"\n\n";
    site.configure(&(gps(&site, "gps0", "TRK-07", "") + &scanners + hold + &plan(&site, &yard()) + &uplink));
    let node = site.start();
    // Only by a trusted time it is known what was before what.
    truck.settle(&node, "TRK-07", "dock-3");
    fed(&site, &["assets", "import", "-"], "id,codes\nTRL-7,B-7\n");
    for (n, (id, code)) in [("dock-1", "B-7"), ("gate", "A-7"), ("dock-2", "B-7")].into_iter().enumerate() {
        doors[n].write(format!("{code}\r\n").as_bytes());
        frames(&node, id, 1);
    }
    let before = node.json("/api/v1/assets/TRL-7");
    assert_eq!(before["place"], "dock-2");
    let shown = |items: &[Value]| {
        items
            .iter()
            .map(|item| format!("{} {}", item["change"].as_str().unwrap(), item["place"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(&history(&node, "TRL-7")), ["enter dock-1", "exit dock-1", "enter dock-2"]);
    assert_eq!(
        fed(&site, &["assets", "import", "-"], "id,codes\nTRL-7,B-7|A-7\n"),
        "0 added, 1 changed, 0 unchanged, 0 removed\n"
    );
    let mut stream = node.stream(None);
    assert_eq!(fed(&site, &["letters", "retry", "--reason", "unknown_tag", "--expect", "1"], ""), "1 retried\n");
    let scan = stream.event("the late scan", |event| event["kind"] == "scan");
    assert_eq!((&scan["code"], &scan["asset"]), (&json!("A-7"), &json!("TRL-7")));
    let late: Vec<Value> =
        (0..4).map(|_| stream.event("what is told anew", |event| event["kind"] == "place")).collect();
    assert!(late.iter().all(|event| event["late"] == true), "{late:?}");
    let mut said = told(&late, "TRL-7");
    said.sort();
    assert_eq!(said, ["enter gate", "exit dock-1", "exit gate", "void dock-1"]);
    let turns = history(&node, "TRL-7");
    assert_eq!(shown(&turns), ["enter dock-1", "exit dock-1", "enter gate", "exit gate", "enter dock-2"]);
    assert_eq!(
        (&turns[1]["because"], &turns[2]["because"], &turns[2]["since_ms"]),
        (&scan["id"], &scan["id"], &scan["ts_ms"])
    );
    let after = node.json("/api/v1/assets/TRL-7");
    for key in ["place", "since_ms", "ts_ms", "id"] {
        assert_eq!(before[key], after[key], "{key} of the present");
    }
    wait_for("all of it upstream", || (balanced(&node)["events"]["unsent"] == 0).then_some(()));
    assert!(node.stop().success());
    let (events, Some(centre)) = (site.exported(), centre) else { return };
    let heard = centre.heard();
    for event in events.iter().filter(|event| event["asset"] == "TRL-7") {
        assert_eq!(Some(event), heard.events.get(event["id"].as_str().unwrap()), "the centre was told the same");
    }
    let void = late.iter().find(|event| event["change"] == "void").unwrap();
    let voided = &heard.events[void["voids"].as_str().unwrap()];
    assert_eq!((&voided["change"], &voided["place"]), (&json!("exit"), &json!("dock-1")));
}

/// The next state of an asset on the stream for which `is_it` holds.
fn state(stream: &mut Stream, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let message = stream.next().unwrap();
        let items = message.data["items"].as_array().into_iter().flatten();
        if let Some(found) = items.filter(|item| item["k"] == "asset").map(|item| &item["v"]).find(|asset| is_it(asset))
        {
            return found.clone();
        }
    }
    panic!("never came on the stream: {what}");
}

#[test]
fn a_scan_that_gps_contradicts_is_shown_with_what_gps_says() {
    let site = Site::new();
    let mut truck = Standing::new(&site, "gps0", (0.0, 35.0));
    let mut dock = Pty::new(&site.path("door-1"));
    site.configure(&(gps(&site, "gps0", "TRK-07", "") + &scanner(&site, "door-1", "dock-1") + &plan(&site, &yard())));
    let node = site.start();
    truck.settle(&node, "TRK-07", "dock-3");
    assert!(node.json("/api/v1/assets/TRK-07").get("gps_place").is_none());
    fed(&site, &["assets", "add", "TRK-07", "TRUCK 7"], "");
    let mut stream = node.stream(None);
    dock.write(b"TRUCK 7\r\n");
    let shown =
        state(&mut stream, "the contradiction", |asset| asset["asset"] == "TRK-07" && asset["place"] == "dock-1");
    assert_eq!(shown["gps_place"], "dock-3", "{shown}");
    let listed = node.json("/api/v1/assets");
    let item = listed["items"].as_array().unwrap().iter().find(|item| item["asset"] == "TRK-07").unwrap();
    assert_eq!((&item["place"], &item["gps_place"]), (&json!("dock-1"), &json!("dock-3")));
    // It stays so while the truck stands where GPS sees it, and ends when it drives to where it was scanned.
    truck.at = (30.0, 35.0);
    let agreed = wait_within(Duration::from_secs(20), "GPS to agree", || {
        truck.speak(true);
        let asset = node.json("/api/v1/assets/TRK-07");
        asset.get("gps_place").is_none().then_some(asset)
    });
    assert_eq!(agreed["place"], "dock-1");
    balanced(&node);
    assert!(node.stop().success());
}

#[test]
fn what_is_scanned_aboard_is_on_the_truck_and_drives_with_it() {
    let site = Site::new();
    let mut truck = Standing::new(&site, "gps0", (0.0, 35.0));
    let mut aboard = Pty::new(&site.path("cab"));
    site.configure(&(gps(&site, "gps0", "TRK-07", "") + &scanner(&site, "cab", "@TRK-07") + &plan(&site, &yard())));
    let node = site.start();
    truck.settle(&node, "TRK-07", "dock-3");
    aboard.write(b"PALLET-1\r\n");
    frames(&node, "cab", 1);
    let pallet = node.json("/api/v1/assets/raw:PALLET-1");
    assert_eq!(pallet["place"], "@TRK-07");
    assert!((north_m(&pallet) - 35.0).abs() < 1.0, "{pallet}");
    truck.at = (0.0, 10.0);
    truck.settle(&node, "TRK-07", "yard");
    let moved = node.json("/api/v1/assets/raw:PALLET-1");
    assert_eq!(moved["place"], "@TRK-07", "it is on the truck wherever that is");
    assert!((north_m(&node.json("/api/v1/assets/TRK-07")) - 10.0).abs() < 1.0, "and that is where it is");
    aboard.write(b"PALLET-2\r\n");
    frames(&node, "cab", 2);
    let scan = node.json("/api/v1/events?kind=scan&limit=1")["items"][0].clone();
    assert_eq!((&scan["code"], &scan["place"]), (&json!("PALLET-2"), &json!("@TRK-07")));
    assert!((north_m(&scan) - 10.0).abs() < 1.0, "a scan aboard is read where the truck is: {scan}");
    balanced(&node);
    assert!(node.stop().success());
}

#[test]
fn a_plan_that_cannot_be_used_is_an_alarm_and_the_last_good_one_goes_on() {
    let site = Site::new();
    let mut truck = Standing::new(&site, "gps0", (0.0, 35.0));
    site.configure(&(gps(&site, "gps0", "TRK-07", "") + &plan(&site, &yard())));
    assert!(site.start().stop().success());
    let file = site.path("zones.geojson");
    let good = std::fs::read_to_string(&file).unwrap();
    let bad = good.replace("\"kind\":\"road\"", "\"kind\":\"raod\"").replace("dock-1", "dock/1");
    std::fs::write(&file, bad).unwrap();
    let check = site.ask(&["check"]);
    assert_eq!(check.status.code(), Some(78), "{}", stderr(&check));
    assert!(stderr(&check).contains("zones.geojson:1:") && stderr(&check).contains("raod"), "{}", stderr(&check));
    let node = site.start();
    let (status, health) = node.get("/healthz");
    assert!(status == 200 && health.contains("plan_invalid"), "{health}");
    let alarms = node.json("/api/v1/health")["alarms"].clone();
    let alarm = alarms.as_array().unwrap().iter().find(|alarm| alarm["name"] == "plan_invalid").unwrap();
    let text = alarm["text"].as_str().unwrap();
    assert!(text.contains("zones.geojson:1:") && text.contains("raod"), "where and what: {alarm}");
    assert!(text.contains("; and 1 more; the last good plan is used.") && !text.contains('\n'), "{alarm}");
    assert!(alarm["advice"].as_str().unwrap().contains("waypost check"), "{alarm}");
    truck.settle(&node, "TRK-07", "dock-3");
    assert!(node.json("/api/v1/zones")["plan"].to_string().contains("road"));
    assert!(node.stop().success());
    std::fs::write(&file, good).unwrap();
    let node = site.start();
    assert!(!node.get("/healthz").1.contains("plan_invalid"), "a mended plan is taken");
    assert!(node.stop().success());
}
