//! The test sheet: what is printed is what the table says, a real decoder reads it, and a node judges a scanner by it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;
use waypost::decoder::scan::sheet::{Drawn, SHEET, What};

use crate::bench::{Node, Pty, Site, balanced, free_port, program, repository, stdout, wait_for};
use crate::draw;

#[test]
fn the_printed_sheet_is_drawn_from_the_table() {
    let path = repository("hardware/sheet.svg");
    let drawn = draw::sheet();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &drawn).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == drawn, "hardware/sheet.svg is another; UPDATE=1 writes it, git shows how");
}

#[test]
fn the_page_about_the_sheet_explains_every_code_and_everything_that_can_be_found() {
    let page = std::fs::read_to_string(repository("hardware/test-sheet.md")).unwrap();
    for what in What::ALL {
        assert!(page.contains(&format!("`{}`", what.as_str())), "{}", what.as_str());
    }
    for code in &SHEET {
        assert!(page.contains(&format!("| {} {} |", code.number, code.name)), "{}", code.number);
    }
}

#[test]
fn no_code_of_the_sheet_reaches_into_the_white_around_another() {
    let boxes: Vec<_> = SHEET.iter().map(draw::white).collect();
    for (x, y, width, height) in &boxes {
        assert!(*x >= 5.0 && x + width <= 205.0 && *y >= 5.0 && y + height <= 292.0, "{x} {y} {width} {height}");
    }
    for pair in boxes.windows(2) {
        assert!(pair[0].1 + pair[0].3 < pair[1].1, "{pair:?}");
    }
}

#[test]
fn a_decoder_that_nobody_here_wrote_reads_every_code_of_the_sheet() {
    let (Some(draw), Some(read)) = (program("rsvg-convert"), program("ZXingReader")) else {
        eprintln!("SKIPPED: rsvg-convert and ZXingReader are not installed (librsvg2-bin, zxing-cpp-tools)");
        return;
    };
    let site = Site::new();
    let sheet = std::fs::read_to_string(repository("hardware/sheet.svg")).unwrap();
    for code in &SHEET {
        // The decoder looks for one code: it is shown the white around each in turn, as the printed page has it.
        let (x, y, width, height) = draw::white(code);
        let begin = sheet.find("width=").unwrap();
        let end = sheet.find(">\n").unwrap();
        let window = format!("width=\"{width}mm\" height=\"{height}mm\" viewBox=\"{x} {y} {width} {height}\"");
        let (svg, png) = (site.path("code.svg"), site.path("code.png"));
        std::fs::write(&svg, format!("{}{window}{}", &sheet[..begin], &sheet[end..])).unwrap();
        let drawn = Command::new(&draw).args(["-d", "300", "-p", "300", "-o"]).arg(&png).arg(&svg).status().unwrap();
        assert!(drawn.success());
        let out = Command::new(&read).arg(&png).output().unwrap();
        let said = stdout(&out);
        let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        let format = match code.drawn {
            Drawn::Code128 | Drawn::Gs1Code128 => "Code128",
            Drawn::Gs1DataMatrix => "DataMatrix",
            Drawn::Ean13 => "EAN-13",
            Drawn::UpcA => "UPC-A",
            Drawn::Itf14 => "ITF",
            Drawn::Code39 => "Code39",
        };
        assert_eq!(field("Format:"), format, "code {}: {said}", code.number);
        let id = match code.drawn {
            Drawn::Code128 => "]C0",
            Drawn::Gs1Code128 => "]C1",
            Drawn::Gs1DataMatrix => "]d2",
            Drawn::Ean13 | Drawn::UpcA => "]E0",
            Drawn::Itf14 => "]I",
            Drawn::Code39 => "]A0",
        };
        assert!(field("Identifier:").contains(id), "code {}: {said}", code.number);
        let text = field("Text:").trim_matches('"').replace("<GS>", "\u{1d}");
        let expect = if code.text.contains('\u{1d}') { code.shown } else { code.text };
        assert!(text == expect || text == code.text, "code {}: {said}", code.number);
    }
}

/// What a scanner sends of the sheet: no AIM ids, and the separator of GS1 is lost.
const CARELESS: [&str; 4] =
    ["WAYPOST-TEST-1", "0009521234999999901810A791WAYPOST-TEST-3", "9521234999911", "WAYPOST-TEST-8"];

fn site() -> (Site, Pty) {
    let site = Site::new();
    let door = Pty::new(&site.path("door-3"));
    let port = site.path("door-3");
    site.configure(&format!("[[scanner]]\nid = \"door-3\"\nport = \"{}\"\nplace = \"door-3\"\n", port.display()));
    (site, door)
}

fn tests(node: &Node, n: i64) -> Value {
    wait_for("the reads in the ledger", || {
        let ledger = balanced(node);
        (ledger["sources"]["door-3"]["test"] == n).then_some(ledger)
    })
}

#[test]
fn the_test_sheet_is_counted_and_judged_and_makes_no_event() {
    let (site, mut door) = site();
    let node = site.start();
    for text in CARELESS {
        door.write(format!("{text}\r").as_bytes());
    }
    // One without its terminator ends by silence, and is a read of the sheet all the same.
    door.write(b"]E00614141999996");
    let ledger = tests(&node, 5);
    assert_eq!(ledger["sources"]["door-3"]["frames"], 5, "{ledger}");
    assert_eq!(
        (&ledger["events"]["total"], &ledger["letters"]["total"], &ledger["balance"]),
        (&0.into(), &0.into(), &0.into())
    );
    assert_eq!(node.json("/api/v1/assets")["items"], Value::Array(Vec::new()));

    let sheets = node.json("/api/v1/sheets");
    let verdict = &sheets["items"][0]["verdict"];
    assert_eq!((sheets["items"][0]["source"].as_str(), verdict["grade"].as_str()), (Some("door-3"), Some("bad")));
    let what = |number: usize| -> Vec<&str> {
        let findings = verdict["codes"][number - 1]["findings"].as_array().unwrap();
        findings.iter().map(|told| told["what"].as_str().unwrap()).collect()
    };
    assert_eq!((what(3), what(6)), (vec!["gs_lost", "no_id"], vec!["unterminated"]), "{sheets}");
    let source = || node.json("/api/v1/sources")["items"][0].clone();
    let advice = source()["advice"].as_str().unwrap_or_default().to_owned();
    assert!(advice.starts_with("Test sheet: Code 3 (GS1-128): The separator (GS)"), "{advice}");

    // The verdict outlives the process, and is read without one.
    assert!(node.stop().success());
    let told = site.ask(&["sheet"]);
    assert_eq!(told.status.code(), Some(1));
    assert!(stdout(&told).contains("no longer be told apart"), "{}", stdout(&told));
    let checks: serde_json::Value = serde_json::from_str(&stdout(&site.ask(&["doctor", "--json"]))).unwrap();
    let scanner = checks["checks"].as_array().unwrap().iter().find(|check| check["check"] == "scanner").unwrap();
    assert_eq!(scanner["verdict"], "fail", "{scanner}");
    let node = site.start();
    wait_for("the advice after a restart", || {
        (node.json("/api/v1/sources")["items"][0]["advice"] == advice.as_str()).then_some(())
    });

    // Set right, it is scanned anew from code 1 on: nothing is left to say.
    door.write(b"]C0WAYPOST-TEST-1\r");
    tests(&node, 6);
    let told = site.ask(&["sheet"]);
    assert_eq!((told.status.code(), stdout(&told).contains("1 of 8 codes")), (Some(0), true), "{}", stdout(&told));
    wait_for("the advice is gone", || source_is_well(&node).then_some(()));
    door.write(b"]C0TRL-7\r");
    wait_for("an ordinary scan is an event", || (balanced(&node)["events"]["total"] == 2).then_some(()));
    assert!(node.stop().success());
}

fn source_is_well(node: &Node) -> bool {
    let source = node.json("/api/v1/sources")["items"][0].clone();
    source["state"] == "up" && source["advice"].as_str().unwrap_or_default().is_empty()
}

#[test]
fn the_sheet_that_the_binary_prints_is_the_one_in_the_repository() {
    let (site, _door) = site();
    let page = site.ask(&["sheet", "--svg"]);
    assert!(page.status.success());
    assert!(stdout(&page) == std::fs::read_to_string(repository("hardware/sheet.svg")).unwrap());
}

#[test]
fn a_scanner_that_wants_replies_is_told_which_reads_were_of_the_test_sheet() {
    let (site, port) = (Site::new(), free_port());
    site.configure(&format!(
        "[[scanner]]\nid = \"door-3\"\nport = \"tcp-listen://127.0.0.1:{port}\"\nplace = \"door-3\"\nreply = true\n"
    ));
    let node = site.start();
    let mut scanner = wait_for("the listening port", || TcpStream::connect(("127.0.0.1", port)).ok());
    scanner.write_all(b"TRL-7\r]C0WAYPOST-TEST-1\rTRL-8\r").unwrap();
    let mut lines = BufReader::new(scanner).lines().map(Result::unwrap);
    let words: Vec<String> = lines.by_ref().take(3).map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(words, ["ok", "test", "ok"]);
    assert_eq!(tests(&node, 1)["sources"]["door-3"]["stored"], 2);
    assert!(node.stop().success());
}
