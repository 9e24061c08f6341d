//! From a port in the field to a test: what a source said is captured, played again, and decoded as it was.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::bench::{Node, Pty, Site, balanced, binary, epoch, repository, run, stdout, wait_for};

/// How a capture of `hardware/captures` is decoded.
fn decode(path: &Path) -> std::process::Output {
    let file = path.to_str().unwrap();
    let framed = r#"{"start":"\u0002","terminators":["\u0003"]}"#;
    match path.file_name().unwrap().to_str().unwrap() {
        "framed.scan" => run(&["decode", "scan", "--profile", framed, file]),
        name if name.ends_with(".scan") => run(&["decode", "scan", file]),
        name if name.ends_with(".ring") => run(&["decode", "scan", "--timed", file]),
        _ => run(&["decode", "nmea", file]),
    }
}

#[test]
fn every_capture_is_decoded_to_what_stands_beside_it() {
    let folder = repository("hardware/captures");
    let is_capture = |path: &PathBuf| path.extension().is_some_and(|is| is == "nmea" || is == "scan" || is == "ring");
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let captures: Vec<PathBuf> = entries.filter(is_capture).collect();
    assert!(captures.len() >= 10, "{captures:?}");
    let mut total = 0;
    for path in captures {
        let decoded = decode(&path);
        assert!(decoded.status.success(), "{}: {decoded:?}", path.display());
        // What is said on stderr, the summary whose bytes balance, is part of it.
        let found = [decoded.stdout, decoded.stderr].concat();
        let beside = PathBuf::from(format!("{}.expected", path.display()));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&beside, &found).unwrap();
        }
        let expect = std::fs::read(&beside).unwrap_or_default();
        assert!(found == expect, "{} is decoded to something else; UPDATE=1 writes it, git shows how", path.display());
        total += expect.len();
    }
    assert!(total > 10_000, "{total} bytes");
}

/// A simulated device, killed when the test ends before it does.
struct Device(Child);

impl Device {
    fn start(args: &[&str]) -> Self {
        Self(binary().arg("simulate").args(args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // One that is gone already needs no killing.
        drop(self.0.kill());
        self.0.wait().unwrap();
    }
}

/// What a reader of the port of a simulated device gets until it is pulled.
fn heard(site: &Site, args: &[&str]) -> Vec<u8> {
    let link = site.path("played");
    let mut whole: Vec<&str> = args.to_vec();
    whole.extend(["--link", link.to_str().unwrap(), "--at-end", "unplug"]);
    let _device = Device::start(&whole);
    let mut port = wait_for("the simulated port", || std::fs::File::open(&link).ok());
    let mut bytes = Vec::new();
    // A pulled pty ends with an error, not with an end.
    drop(port.read_to_end(&mut bytes));
    bytes
}

fn capture(site: &Site, of: &str, running: Option<&Node>) -> String {
    let asked = site.ask(&["capture", of]);
    assert!(asked.status.success(), "{of}, running: {}: {asked:?}", running.is_some());
    stdout(&asked)
}

#[test]
fn a_field_problem_is_captured_played_again_byte_for_byte_and_decoded_as_it_was() {
    let site = Site::new();
    let link = site.path("gps0");
    let mut port = Pty::new(&link);
    site.configure(&format!("[[gps]]\nid = \"gps0\"\nport = \"{}\"\nbaud = 9600\n", link.display()));
    let node = site.start();
    let mut said = Vec::new();
    for second in 36_000..36_020 {
        let mut bytes = epoch(second);
        // A line that nobody can read is what such a capture is for.
        bytes.extend_from_slice(b"$GPGSV,\xb5\x62\x00\xff\"\\torn\r\n");
        port.write(&bytes);
        said.extend(bytes);
    }
    let text = wait_for("all of it captured", || {
        let text = capture(&site, "gps0", Some(&node));
        let lines = text.lines().filter(|line| line.contains("torn")).map(|line| line.matches("torn").count());
        (lines.sum::<usize>() == 20).then_some(text)
    });
    let head: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&head["capture"], &head["source"], &head["baud"]), (&1.into(), &"gps0".into(), &9600.into()));
    balanced(&node);
    assert!(node.stop().success());

    // Offline it is found by its port, and is the same but that the port is gone.
    let kept = capture(&site, link.to_str().unwrap(), None);
    let steps = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert!(steps(&kept).starts_with(&steps(&text)), "{kept}");
    assert!(kept.trim_end().ends_with(",{\"port\":\"lost\"}]"), "{kept}");

    let file = site.path("field.ring");
    std::fs::write(&file, &text).unwrap();
    let file = file.to_str().unwrap();
    let args = ["gps", "--log", file, "--time", "recorded", "--seed", "1"];
    let played = heard(&site, &args);
    assert!(played == said, "{} of {} bytes", played.len(), said.len());
    let again = heard(&site, &args);
    assert!(again == played, "a seed gives the same bytes");

    let raw = site.path("raw.nmea");
    std::fs::write(&raw, &said).unwrap();
    let (captured, plain) = (run(&["decode", "nmea", file]), run(&["decode", "nmea", raw.to_str().unwrap()]));
    assert_eq!((stdout(&captured), captured.stderr), (stdout(&plain), plain.stderr.clone()));
    assert_eq!(stdout(&plain).lines().count(), 20);
}

#[test]
fn a_seed_gives_the_same_bytes_twice_whatever_goes_wrong() {
    let site = Site::new();
    let (log, route) = (repository("hardware/captures/truck.nmea"), site.path("route.csv"));
    std::fs::write(&route, "59.124,11.386,5,1,5\n59.12403,11.386\n").unwrap();
    let faults = "noise=0.1,partial=0.1,glue=0.1,checksum=0.1,silence=0.02/0.1";
    for (what, file, more) in [("--log", &log, [].as_slice()), ("--route", &route, &["--model", "multi"])] {
        let play = |seed: &str| {
            let file = file.to_str().unwrap();
            let args = ["gps", what, file, "--rate", "500", "--time", "recorded", "--faults", faults, "--seed", seed];
            heard(&site, &[&args[..], more].concat())
        };
        let (first, again, other) = (play("7"), play("7"), play("8"));
        assert!(first.len() > 5_000 && first == again, "{what}: {} and {} bytes", first.len(), again.len());
        assert!(first != other, "{what}");
    }
}

#[test]
fn nothing_of_a_driving_licence_can_be_captured() {
    let site = Site::new();
    let mut port = Pty::new(&site.path("door"));
    site.configure(&format!("[[scanner]]\nid = \"door\"\nport = \"{}\"\n", site.path("door").display()));
    let node = site.start();
    port.write(b"TRL-7\r");
    wait_for("the code before it", || capture(&site, "door", Some(&node)).contains("TRL-7").then_some(()));
    let licence: &[u8] =
        b"@\n\x1e\rANSI 636026080102DL00410288ZA03290015DLDAQD12345678\nDCSPUBLIC\nDACJOHN\nDAG1 MAIN STREET\n\r";
    for part in licence.chunks(11) {
        port.write(part);
    }
    wait_for("the refusal", || stdout(&site.ask(&["letters", "list"])).contains("pii").then_some(()));
    port.write(b"TRL-8\r");
    let text = wait_for("the code behind it", || {
        let text = capture(&site, "door", Some(&node));
        text.contains("TRL-8").then_some(text)
    });
    assert!(node.stop().success());
    for text in [text, capture(&site, "door", None)] {
        assert!(text.contains("left_out") && text.contains("TRL-7"), "{text}");
        for word in ["ANSI", "D1234", "PUBLIC", "JOHN", "MAIN"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
    }
}

#[test]
fn a_capture_of_what_is_no_source_says_which_there_are() {
    let site = Site::new();
    site.configure("[[scanner]]\nid = \"door\"\nport = \"tcp://127.0.0.1:1\"\n");
    let asked = site.ask(&["capture", "dor"]);
    assert_eq!(asked.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&asked.stderr).contains("door (tcp://127.0.0.1:1)"), "{asked:?}");
    let asked = site.ask(&["capture", "door"]);
    assert_eq!(asked.status.code(), Some(66), "{asked:?}");
}
