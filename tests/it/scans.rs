//! What scanners send, through the real binary: the shared corpus through `decode` and through ptys, and a driving licence of
//! which nothing may be left anywhere.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bench::{Node, PATIENCE, Pty, Site, balanced, binary, free_port, stdout, wait_for};

/// The rows of the corpus; none where it is not.
fn rows() -> Option<Vec<Value>> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join("shared/corpora");
    let folder = std::env::var_os("WAYPOST_CORPORA").map_or(beside, PathBuf::from);
    let Ok(text) = std::fs::read_to_string(folder.join("scans.jsonl")) else {
        eprintln!(
            "SKIPPED: no scans.jsonl in WAYPOST_CORPORA or in ../shared/corpora: no scanner input of it was tried"
        );
        return None;
    };
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// A row's profile in the keys of a `[[scanner]]` table.
fn profile(row: &Value) -> serde_json::Map<String, Value> {
    let mut table = serde_json::Map::new();
    for (key, value) in row["profile"].as_object().into_iter().flatten() {
        let key = match key.as_str() {
            "term" => "terminators",
            "codeid" => "code_id",
            key => key,
        };
        let text = value.to_string().replace("\\\\x", "\\u00").replace("\\\\", "\\");
        table.insert(key.to_owned(), serde_json::from_str(&text).unwrap());
    }
    table
}

fn chunks(row: &Value) -> Vec<(u64, Value)> {
    let all = row.get("chunks").cloned().unwrap_or_else(|| json!([[0, row["raw"]]]));
    all.as_array().unwrap().iter().map(|chunk| (chunk[0].as_u64().unwrap(), chunk[1].clone())).collect()
}

/// The row as a script for `decode scan --timed`.
fn script(row: &Value) -> String {
    let steps: Vec<(u64, Value)> = match row["keys"].as_array() {
        Some(keys) => {
            let step = |key: &Value| match key.as_str() {
                Some("UNPLUG") => json!({"port": "lost"}),
                Some("PLUG") => json!({"port": "back"}),
                _ => json!({ "key": key }),
            };
            (0..).map(|nth| nth * 3).zip(keys.iter().map(step)).collect()
        }
        None => chunks(row),
    };
    steps.iter().map(|(ms, step)| format!("{}\n", json!([ms, step]))).collect()
}

/// The lines that the binary prints for a script.
fn decode(row: &Value) -> Vec<Value> {
    let profile = Value::from(profile(row)).to_string();
    let mut command = binary();
    command.args(["decode", "scan", "--timed", "--profile", &profile]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script(row).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}: {}", row["id"], String::from_utf8_lossy(&output.stderr));
    stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of(lines: &[Value], name: &str) -> Vec<Value> {
    lines.iter().filter_map(|line| line.get(name)).cloned().collect()
}

#[test]
fn every_row_of_the_corpus_comes_out_of_the_command_as_it_should() {
    let Some(rows) = rows() else { return };
    assert_eq!(rows.len(), 52);
    for row in &rows {
        let lines = decode(row);
        let expect = &row["expect"];
        assert_eq!(json!(of(&lines, "scan")), expect["scans"], "{}: {}", row["id"], row["note"]);
        assert_eq!(json!(of(&lines, "reject")), expect["rejects"], "{}: {}", row["id"], row["note"]);
        assert_eq!(of(&lines, "repeat").len() as u64, row["repeats"].as_u64().unwrap_or(0), "{}", row["id"]);
    }
}

/// The bytes of a chunk with C escapes.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next().unwrap() {
                'x' => {
                    let hex: String = chars.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&hex, 16).unwrap());
                }
                'r' => bytes.push(b'\r'),
                'n' => bytes.push(b'\n'),
                't' => bytes.push(b'\t'),
                other => panic!("escape {other}"),
            },
            c => bytes.extend(c.to_string().bytes()),
        }
    }
    bytes
}

/// A value of a profile as TOML writes it.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(all) => format!("[{}]", all.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// What became of one source: its events and its refused frames, in the words of `decode scan`.
fn kept(events: &[Value], letters: &[Value], id: &str) -> (Vec<Value>, Vec<Value>) {
    let scans = events.iter().filter(|event| event["source"] == id && event["kind"] == "scan").map(|event| {
        let mut scan = json!({"data": event["code"], "kind": event["code_kind"], "key": event["key"]});
        for (key, name) in [("aim", "symbology"), ("gs1", "gs1"), ("warn", "warn")] {
            if let Some(value) = event.get(name) {
                scan[key] = value.clone();
            }
        }
        scan
    });
    let refused = letters.iter().filter(|letter| letter["source"] == id);
    (
        scans.collect(),
        refused.map(|letter| json!([letter["reason"], letter.get("detail").unwrap_or(&json!(""))])).collect(),
    )
}

#[test]
pub fn the_corpus_through_ptys_and_through_the_command_comes_out_the_same() {
    let Some(rows) = rows() else { return };
    let rows: Vec<&Value> = rows.iter().filter(|row| row.get("keys").is_none()).collect();
    assert_eq!(rows.len(), 47);
    let site = Site::new();
    let mut ports = BTreeMap::new();
    let mut config = String::new();
    for row in &rows {
        let id = row["id"].as_str().unwrap();
        config += &format!("[[scanner]]\nid = \"{id}\"\nport = \"{}\"\n", site.path(id).display());
        for (key, value) in profile(row) {
            config += &format!("{key} = {}\n", toml(&value));
        }
        // Two hundred reads within a second are a promise of whoever sends them, not of a busy machine.
        if row.get("repeats").is_some() {
            config += "repeat_window_ms = 60000\n";
        }
        ports.insert(id, Pty::new(&site.path(id)));
    }
    site.configure(&config);
    let node = site.start();
    let mut steps: Vec<(u64, &str, Vec<u8>)> = Vec::new();
    for row in &rows {
        for (ms, text) in chunks(row) {
            steps.push((ms, row["id"].as_str().unwrap(), bytes(text.as_str().unwrap())));
        }
    }
    steps.sort_by_key(|(ms, ..)| *ms);
    let began = Instant::now();
    for (ms, id, bytes) in steps {
        let due = began + Duration::from_millis(ms);
        while Instant::now() < due {
            std::thread::park_timeout(due - Instant::now());
        }
        ports.get_mut(id).unwrap().write(&bytes);
    }
    let decoded: BTreeMap<&str, Vec<Value>> =
        rows.iter().map(|row| (row["id"].as_str().unwrap(), decode(row))).collect();
    wait_for("every frame of every row", || {
        let ledger = node.ledger();
        let frames = |id: &str| ledger["sources"][id]["frames"].as_u64().unwrap_or(0);
        decoded.iter().all(|(id, lines)| frames(id) == lines.len() as u64).then_some(())
    });
    let ledger = balanced(&node);
    let letters: Value = serde_json::from_str(&stdout(&site.ask(&["letters", "list", "--all", "--json"]))).unwrap();
    let mut letters = letters.as_array().unwrap().clone();
    letters.sort_by_key(|letter| letter["letter"].as_i64());
    assert!(node.stop().success());
    let events = site.exported();
    for (id, lines) in &decoded {
        let (scans, refused) = kept(&events, &letters, id);
        assert_eq!(scans, of(lines, "scan"), "{id}");
        let expect: Vec<Value> =
            of(lines, "reject").iter().map(|one| json!([one["reason"], one.get("ai").unwrap_or(&json!(""))])).collect();
        assert_eq!(refused, expect, "{id}");
        let repeats = ledger["sources"][*id]["repeat"].as_u64().unwrap_or(0);
        assert_eq!(repeats, of(lines, "repeat").len() as u64, "{id}");
    }
}

/// A driving licence that is nobody's, as scanners send it.
const LICENCE: &[u8] = b"@\n\x1e\rANSI 636026080102DL00410288ZA03290015DLDAQD12345678\nDCSPUBLICSURNAME\nDACJOHNNY\nDAG123 MAIN STREET\nDBB01311970\nDDENONE\rZAZAARIZONAN\r";

/// What of it must be nowhere.
const SECRETS: [&str; 6] = ["D12345678", "PUBLICSURNAME", "JOHNNY", "MAIN STREET", "01311970", "ARIZONAN"];

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.is_file())
        .collect()
}

/// The files that hold the text.
fn holding(site: &Site, text: &str) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
    };
    files(&site.path("")).into_iter().filter(holds).collect()
}

fn stored(node: &Node, code: &str) {
    wait_for(code, || {
        node.get(&format!("/api/v1/events?code={code}")).1.contains(&format!("\"{code}\"")).then_some(())
    });
}

/// Sources that a licence is sent to: their keys, how it is sent, and how a code is written behind it.
const DOORS: [(&str, &str, &str); 10] = [
    ("plain", "", "\rMARK-plain\r"),
    ("cr", "terminators = [\"\\r\"]\n", "\rMARK-cr\r"),
    ("tab", "terminators = [\"\\t\"]\n", "\tMARK-tab\t"),
    ("stx", "start = \"\\u0002\"\nterminators = [\"\\u0003\"]\n", "\x02MARK-stx\x03"),
    ("wrapped", "prefix = \"D07|\"\nsuffix = \"#\"\n", "D07|MARK-wrapped#\r"),
    ("symbol", "code_id = \"symbol\"\n", "\rBMARK-symbol\r"),
    ("latin", "charset = \"latin-1\"\n", "\rMARK-latin\r"),
    ("cut", "", "\rMARK-cut\r"),
    ("stalled", "", "\rMARK-stalled\r"),
    ("long", "", "\rMARK-long\r"),
];

fn refused(node: &Node, id: &str) -> u64 {
    node.ledger()["sources"][id]["reasons"]["pii"].as_u64().unwrap_or(0)
}

/// Sends the licence to a source in the way that it is named after.
fn send_licence(node: &Node, site: &Site, id: &str, port: &mut Pty) {
    match id {
        "cut" => {
            let end = LICENCE.windows(3).position(|window| window == b"DAG").unwrap() + 5;
            port.write(&LICENCE[..end]);
            wait_for("the head of a licence", || (refused(node, id) > 0).then_some(()));
            std::mem::replace(port, Pty::new(&site.path("other"))).unplug();
            *port = Pty::new(&site.path(id));
        }
        "stalled" => {
            port.write(&LICENCE[..40]);
            wait_for("half a licence", || (refused(node, id) > 0).then_some(()));
            port.write(&LICENCE[40..]);
        }
        "long" => port.write(&[&LICENCE[..70], &[b'X'; 6000], &LICENCE[70..]].concat()),
        _ => LICENCE.chunks(11).for_each(|chunk| port.write(chunk)),
    }
}

/// A scanner that is answered hears one refusal for a licence, and what it sends behind it is taken.
fn answer_licence(port: u16) {
    let mut dock = BufReader::new(wait_for("the dock", || TcpStream::connect(("127.0.0.1", port)).ok()));
    dock.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    dock.get_mut().write_all(&[LICENCE, b"MARK-dock\r"].concat()).unwrap();
    let mut line = || {
        let mut line = String::new();
        dock.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(line(), "rejected pii\n");
    assert!(line().starts_with("ok "));
}

#[test]
fn of_a_driving_licence_no_byte_is_in_store_log_page_or_metrics() {
    let (site, port) = (Site::new(), free_port());
    let mut ports: Vec<Pty> = DOORS.iter().map(|(id, ..)| Pty::new(&site.path(id))).collect();
    let door = |(id, keys, _): &(&str, &str, &str)| {
        format!("[[scanner]]\nid = \"{id}\"\nport = \"{}\"\n{keys}\n", site.path(id).display())
    };
    site.configure(&(Site::dock(port) + &DOORS.iter().map(door).collect::<String>()));
    let node = site.start_with(&[("RUST_LOG", "waypost=trace")]);
    answer_licence(port);
    for ((id, ..), pty) in DOORS.iter().zip(&mut ports) {
        send_licence(&node, &site, id, pty);
    }
    // Behind each licence a code that is kept: what came before it has been dealt with, and the search below finds things.
    for ((id, _, mark), pty) in DOORS.iter().zip(&mut ports) {
        pty.write(mark.as_bytes());
        stored(&node, &format!("MARK-{id}"));
        assert!(refused(&node, id) >= 1, "{id}: {}", node.ledger());
    }
    let pages = ["/metrics", "/api/v1/letters?all=1", "/api/v1/events?limit=500", "/api/v1/assets", "/api/v1/ledger"];
    let mut told = pages.map(|path| node.get(path).1).concat();
    for command in [&["letters", "list", "--all", "--json"][..], &["outbox", "export"]] {
        told += &stdout(&site.ask(command));
    }
    for secret in SECRETS {
        assert!(!told.to_uppercase().contains(secret), "{secret} is shown");
        assert_eq!(holding(&site, secret), Vec::<PathBuf>::new(), "{secret}, while it runs");
    }
    assert!(told.contains("MARK-plain") && !holding(&site, "MARK-plain").is_empty(), "what is kept is found");
    balanced(&node);
    assert!(node.stop().success());
    for secret in SECRETS {
        assert_eq!(holding(&site, secret), Vec::<PathBuf>::new(), "{secret}, when it has stopped");
    }
}
