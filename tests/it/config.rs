//! What a node does with files that are not valid, at the first start and later.

use std::time::Duration;

use serde_json::Value;

use crate::bench::{Pty, Site, Stream, binary, repository, stderr, stdout, wait_for};

fn door(site: &Site) -> String {
    format!("[[scanner]]\nid = \"door-3\"\nport = \"{}\"\n", site.path("door-3").display())
}

/// Appends to the configuration what no node can run with; the line it stands on.
fn spoil(site: &Site, what: &str) -> usize {
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), format!("{text}{what}\n")).unwrap();
    text.lines().count() + 1
}

#[test]
fn an_invalid_file_at_the_first_start_is_told_with_place_key_and_remedy() {
    let site = Site::new();
    site.configure(&(door(&site) + "buad = 9600\n\n"));
    let line = spoil(&site, "[[gps]]\nid = \"gps0\"\nport = \"/dev/x\"\nbaud = 12");
    for args in [&["run"][..], &["run", "--strict"], &["check"], &["config"]] {
        let output = site.ask(args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{args:?}: {said}");
        let file = site.config().display().to_string();
        let typo = said.lines().find(|line| line.contains("buad")).unwrap_or_else(|| panic!("{args:?}: {said}"));
        assert!(typo.contains(&format!("{file}:{}:1:", line - 2)), "{typo}");
        assert!(typo.contains("scanner.door-3.buad") && typo.contains("baud") && typo.contains(';'), "{typo}");
        let value = said.lines().find(|line| line.contains("gps0")).unwrap_or_else(|| panic!("{args:?}: {said}"));
        assert!(value.contains(&format!("{file}:{}:8:", line + 3)) && value.contains("gps.gps0.baud"), "{value}");
        assert!(value.contains("12") && value.contains(';'), "{value}");
    }
    assert!(!site.path("store/waypost.db").exists(), "nothing was made");
}

#[test]
pub fn an_invalid_file_at_a_later_start_leaves_the_node_on_its_last_good_configuration() {
    let site = Site::new();
    let mut door3 = Pty::new(&site.path("door-3"));
    site.configure(&door(&site));
    assert!(site.start().stop().success());
    for broken in ["nonsense = 1", "[never closed", "[[gps]]\nid = \"gps0\"\n"] {
        site.configure(&door(&site));
        spoil(&site, broken);
        let node = site.start();
        let (status, health) = node.get("/healthz");
        assert_eq!(status, 503, "{health}");
        assert!(health.contains("config_invalid") && health.contains("waypost.toml"), "{health}");
        let mut stream = node.stream(None);
        let alarm = std::iter::from_fn(|| stream.next())
            .find_map(|message| {
                let items = message.data["items"].as_array()?.clone();
                items.into_iter().find(|item| item["k"] == "alarm" && item["v"]["name"] == "config_invalid")
            })
            .unwrap();
        assert!(alarm["v"]["advice"].as_str().unwrap().contains("waypost check"), "{alarm}");
        let code = format!("TRL-{}", broken.len());
        door3.write(format!("{code}\r\n").as_bytes());
        stream.event("a scan on the kept configuration", |event| event["code"] == code.as_str());
        let said = site.ask(&["status"]);
        assert_eq!(said.status.code(), Some(1), "{}", stderr(&said));
        assert!(stdout(&said).contains("last good one runs"), "{}", stdout(&said));
        let json: Value = serde_json::from_str(&stdout(&site.ask(&["status", "--json"]))).unwrap();
        assert_eq!(json["status"], "degraded");
        let log = site.log();
        assert!(log.contains("last good configuration instead") && log.contains("last-good.toml"), "{log}");
        assert!(node.stop().success(), "{broken}");
        let strict = site.ask(&["run", "--strict"]);
        assert_eq!(strict.status.code(), Some(78), "{}", stderr(&strict));
    }
    site.configure(&door(&site));
    let node = site.start();
    let (status, health) = node.get("/healthz");
    assert!(status == 200 && !health.contains("config_invalid"), "the mended file is taken: {health}");
    assert!(node.stop().success());
}

#[test]
fn a_part_in_conf_d_that_is_invalid_is_named_and_the_rest_still_says_where_the_store_is() {
    let site = Site::new();
    let _door3 = Pty::new(&site.path("door-3"));
    site.configure(&door(&site));
    assert!(site.start().stop().success());
    std::fs::create_dir(site.path("conf.d")).unwrap();
    std::fs::write(site.path("conf.d/50-bad.toml"), b"[http]\nlisten = [\"127.0.0.1:0\"\n\xff").unwrap();
    let node = site.start();
    let (status, health) = node.get("/healthz");
    assert!(status == 503 && health.contains("50-bad.toml"), "{health}");
    assert!(node.stop().success());
}

#[test]
fn what_systemd_names_as_the_state_folder_is_where_the_kept_configuration_is_looked_for() {
    let site = Site::new();
    site.configure("");
    assert!(site.start().stop().success());
    // Nothing in this file says where the store is.
    std::fs::write(site.config(), "nonsense = 1\n").unwrap();
    let store = site.path("store").display().to_string();
    let node = site.start_with(&[("STATE_DIRECTORY", &store)]);
    assert_eq!(node.get("/healthz").0, 503);
    assert!(node.stop().success());
}

#[test]
fn a_port_that_is_taken_is_an_alarm_and_intake_runs_on() {
    let site = Site::new();
    let mut door3 = Pty::new(&site.path("door-3"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    site.configure(&door(&site));
    let text = std::fs::read_to_string(site.config()).unwrap();
    let both = format!("listen = [\"127.0.0.1:0\", \"{}\"]", taken.local_addr().unwrap());
    std::fs::write(site.config(), text.replace("listen = [\"127.0.0.1:0\"]", &both)).unwrap();
    let node = site.start();
    let health = wait_for("the alarm", || {
        let (status, health) = node.get("/healthz");
        assert_eq!(status, 200, "a port is no reason to be restarted: {health}");
        health.contains("alarm").then_some(health)
    });
    assert!(health.contains(&taken.local_addr().unwrap().to_string()), "{health}");
    let mut stream = Stream::open(node.address(), "/api/v1/stream", "");
    door3.write(b"TRL-7\r\n");
    stream.event("the scan", |event| event["code"] == "TRL-7");
    drop(taken);
    wait_for("the end of the alarm once the port is free", || {
        (!node.get("/healthz").1.contains("alarm")).then_some(())
    });
    assert!(node.stop().success());
}

#[test]
pub fn a_node_that_may_not_write_its_store_says_so_and_ends() {
    let site = Site::new();
    site.configure("");
    let text = std::fs::read_to_string(site.config()).unwrap();
    let file = site.path("file");
    std::fs::write(&file, "").unwrap();
    let text = text.replace(&site.path("store").display().to_string(), &file.join("store").display().to_string());
    std::fs::write(site.config(), text).unwrap();
    let started = std::time::Instant::now();
    let output = binary().arg("--config").arg(site.config()).arg("run").output().unwrap();
    assert_eq!(output.status.code(), Some(74), "{}", stderr(&output));
    assert!(stderr(&output).contains("store.dir") && started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_check_reads_the_plan_and_says_every_mistake_with_its_line() {
    let site = Site::new();
    let zones = site.path("zones.geojson");
    site.configure(&format!("[plan]\nzones = \"{}\"\n", zones.display()));
    let absent = site.ask(&["check"]);
    assert_eq!(absent.status.code(), Some(0), "{}", stderr(&absent));
    assert!(stderr(&absent).contains("zones.geojson is not there"), "{}", stderr(&absent));
    let ring = "[[[11, 59], [11.001, 59], [11.001, 59.001], [11, 59]]]";
    let feature = |id: &str, kind: &str| {
        format!(
            r#"{{"type": "Feature", "properties": {{"id": "{id}", "kind": "{kind}"}}, "geometry": {{"type": "Polygon", "coordinates": {ring}}}}}"#
        )
    };
    let plan = |features: [String; 2]| {
        format!("{{\"type\": \"FeatureCollection\", \"features\": [\n{}\n]}}\n", features.join(",\n"))
    };
    std::fs::write(&zones, plan([feature("dock 3", "dok"), feature("a/b", "gate")])).unwrap();
    let bad = site.ask(&["check"]);
    assert_eq!(bad.status.code(), Some(78));
    let said = stderr(&bad);
    for line in [
        format!(
            "{}:2:60: feature 1 \"dock 3\": the kind \"dok\" is not known here; write building or",
            zones.display()
        ),
        format!("{}:3:42: feature 2 \"a/b\": \"a/b\" cannot be the id of a place; write 1 to 64", zones.display()),
    ] {
        assert!(said.contains(&line), "{said}");
    }
    std::fs::write(&zones, plan([feature("dock 3", "dock"), feature("a-b", "gate")])).unwrap();
    let good = site.ask(&["check"]);
    assert_eq!((good.status.code(), stderr(&good).as_str()), (Some(0), ""));
}

#[test]
fn places_that_nobody_has_drawn_are_named_with_the_nearest_and_stay_allowed() {
    let site = Site::new();
    let _door3 = Pty::new(&site.path("door-3"));
    site.configure(&(door(&site) + "place = \"door-3\"\n"));
    let zones = repository("hardware/demo/zones.geojson").display().to_string();
    let well = |args: &[&str]| {
        let done = site.ask(args);
        assert_eq!(done.status.code(), Some(0), "{args:?}: {}", stderr(&done));
        stderr(&done)
    };
    assert_eq!(well(&["check"]), "", "nothing is drawn");
    let node = site.start();
    well(&["assets", "add", "TRL-1"]);
    assert_eq!(well(&["assets", "place", "TRL-1", "dock-33"]), "", "nothing is drawn");
    let strange = "scanner door-3 reads at door-3, which is not in the plan; nearest: dock-3";
    assert_eq!(well(&["plan", "import", &zones]), format!("{strange}\n"));
    let check = |said: &str| assert!(said.contains(strange), "{said}");
    check(&well(&["check"]));
    check(&stdout(&site.ask(&["doctor"])));
    let typo = "dock-34 is not in the plan, and no scanner reads there; nearest: dock-3\n";
    assert_eq!(well(&["assets", "place", "TRL-1", "dock-34"]), typo);
    assert_eq!(node.json("/api/v1/assets/TRL-1")["place"], "dock-34", "it is there all the same");
    for known in ["dock-3", "door-3"] {
        assert_eq!(well(&["assets", "place", "TRL-1", known]), "", "{known}");
    }
    assert!(node.stop().success());
    check(&well(&["check"]));
    assert_eq!(well(&["assets", "place", "TRL-1", "dock-34"]), typo);
}
