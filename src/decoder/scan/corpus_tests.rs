//! The corpus of scanner inputs with known answers, run through the report as a user runs it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::report::{ReportError, ReportProfile, report, report_timed};

/// Rows of the corpus; five of them are keys of HID scanners.
const ROWS: usize = 52;

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join("shared/corpora");
    let folder = std::env::var_os("WAYPOST_CORPORA").map_or(beside, PathBuf::from);
    Some(folder.join("scans.jsonl")).filter(|path| path.exists())
}

/// The profile of a row in the keys of a `[[scanner]]` table; its strings are C escapes.
fn profile(row: &Value) -> ReportProfile {
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
    ReportProfile::from_json(&Value::from(table).to_string()).unwrap()
}

fn run(row: &Value) -> Result<Vec<Value>, ReportError> {
    let mut output = Vec::new();
    let script = match row["keys"].as_array() {
        Some(keys) => (0..).zip(keys).map(|(ms, key)| format!("{}\n", json!([ms, key_step(key)]))).collect(),
        None => {
            let chunks = row.get("chunks").cloned().unwrap_or_else(|| json!([[0, row["raw"]]]));
            chunks.as_array().unwrap().iter().map(|chunk| format!("{chunk}\n")).collect::<String>()
        }
    };
    report_timed(script.as_bytes(), &mut output, &profile(row))?;
    Ok(String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// One of a row's keys as a step of a script.
fn key_step(key: &Value) -> Value {
    match key.as_str() {
        Some("UNPLUG") => json!({"port": "lost"}),
        Some("PLUG") => json!({"port": "back"}),
        _ => json!({ "key": key }),
    }
}

/// What differs from the expectation: every field must be as expected, and none more may be there.
fn difference(row: &Value, lines: &[Value]) -> Option<String> {
    let of = |name: &str| lines.iter().filter_map(|line| line.get(name)).cloned().collect::<Vec<_>>();
    let (scans, rejects, repeats) = (of("scan"), of("reject"), of("repeat").len());
    let expect = &row["expect"];
    let as_expected = json!(scans) == expect["scans"]
        && json!(rejects) == expect["rejects"]
        && repeats as u64 == row["repeats"].as_u64().unwrap_or(0);
    (!as_expected).then(|| format!("{}: {}\n  expected {expect}\n  found    {lines:?}", row["id"], row["note"]))
}

#[test]
fn every_row_of_the_corpus_gives_the_expected_scans_and_rejects() {
    let Some(path) = corpus() else {
        eprintln!(
            "SKIPPED: no scans.jsonl in WAYPOST_CORPORA or in ../shared/corpora: the corpus of scanner inputs was not checked"
        );
        return;
    };
    let text = fs::read_to_string(path).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let differences: Vec<String> = rows.iter().filter_map(|row| difference(row, &run(row).unwrap())).collect();
    assert_eq!(differences.len(), 0, "{}", differences.join("\n"));
    assert_eq!(rows.len(), ROWS);
}

#[test]
fn without_time_a_report_has_no_window_and_no_limit_of_silence() {
    let mut output = Vec::new();
    report(&b"TRL-1\rTRL-1\r]C0"[..], &mut output, &ReportProfile::default()).unwrap();
    assert_eq!(
        String::from_utf8(output).unwrap(),
        "{\"scan\":{\"data\":\"TRL-1\",\"kind\":\"plain\",\"key\":\"raw:TRL-1\"}}\n".repeat(2)
            + "{\"reject\":{\"reason\":\"unterminated\",\"data\":\"]C0\"}}\n"
    );
}

#[test]
fn a_script_plays_on_a_virtual_clock() {
    let script = "[0,\"TRL-1\\r\"]\n[900,\"TRL-1\\\\x0d\"]\n\n[950,\"TR\"]\n[960,{\"port\":\"lost\"}]\n[970,{\"port\":\"back\"}]\n[980,\"\\\\114\\\\r\"]\n";
    let mut output = Vec::new();
    report_timed(script.as_bytes(), &mut output, &ReportProfile::default()).unwrap();
    let lines: Vec<Value> =
        String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines,
        [
            json!({"scan": {"data": "TRL-1", "kind": "plain", "key": "raw:TRL-1"}}),
            json!({"repeat": {"key": "raw:TRL-1", "n": 1}}),
            json!({"reject": {"reason": "unterminated", "data": "TR"}}),
            json!({"scan": {"data": "L", "kind": "plain", "key": "raw:L"}}),
        ]
    );
}

#[test]
fn keys_are_struck_as_a_scanner_strikes_them() {
    let run = |profile: &str, keys: &[&str]| {
        let script: String = keys.iter().map(|key| format!("{}\n", json!([0, {"key": key}]))).collect();
        let mut output = Vec::new();
        report_timed(script.as_bytes(), &mut output, &ReportProfile::from_json(profile)?).map(|()| output)
    };
    let key = |profile: &str, keys: &[&str]| {
        let output = run(profile, keys).unwrap();
        let line: Value = serde_json::from_slice(&output).unwrap();
        line["scan"]["key"].as_str().map_or_else(|| line["reject"]["reason"].clone(), Value::from)
    };
    let gs = ["KEY_RIGHTBRACE", "SHIFT+KEY_C", "KEY_1", "KEY_1", "KEY_0", "KEY_A", "CTRL+KEY_RIGHTBRACE", "KEY_2"];
    let code: Vec<&str> = gs.into_iter().chain(["KEY_1", "KEY_B", "KEY_KPENTER"]).collect();
    assert_eq!(key("{}", &code), json!("raw:10a\u{1d}21b"));
    // The digits of one code share their Alt; a key without it, be it Alt itself, lets it go.
    let two: Vec<&str> =
        ["ALT+KEY_KP6", "ALT+KEY_KP5", "KEY_LEFTALT", "ALT+KEY_KP6", "ALT+KEY_KP6", "KEY_ENTER"].into();
    assert_eq!(key("{}", &two), json!("raw:AB"));
    assert_eq!(key(r#"{"layout":"fr"}"#, &["SHIFT+KEY_1", "ALTGR+KEY_0", "KEY_Q", "KEY_ENTER"]), json!("raw:1@a"));
    assert_eq!(key(r#"{"layout":"de"}"#, &["KEY_F1", "KEY_Q", "KEY_ENTER"]), json!("non_ascii"));
    let error = run(r#"{"charset":"latin-1"}"#, &["KEY_A"]).unwrap_err().to_string();
    assert!(error.starts_with("line 1: keys type characters, not bytes"), "{error}");
}

#[test]
fn a_line_that_is_no_step_is_named_with_its_number() {
    for (script, expect) in [
        ("[0,\"\"]\n[0,{\"key\":\"KEY_T2\"}]", "line 2: there is no key \"KEY_T2\""),
        ("[0,{\"key\":\"KEY_-\"}]", "line 1: there is no key \"KEY_-\""),
        ("[0,{\"key\":\"T\"}]", "line 1: there is no key \"T\""),
        ("[0,{\"key\":\"HYPER+KEY_T\"}]", "line 1: \"HYPER\" is none of SHIFT"),
        ("[5,\"\"]\n[4,\"\"]", "line 2: its time 4 ms is before"),
        ("[0,\"\\\\q\"]", "line 1: the escape \\q is unknown"),
        ("[0,\"\\\\\"]", "line 1: it ends in a backslash"),
        ("[0,\"\\\\400\"]", "line 1: an octal escape over"),
        ("[0,{\"port\":\"gone\"}]", "line 1: {\"port\":\"gone\"} is no step"),
        ("x", "line 1: expected value"),
        ("[-1,\"\"]", "line 1: its time -1 ms is negative"),
    ] {
        let error = report_timed(script.as_bytes(), Vec::new(), &ReportProfile::default()).unwrap_err().to_string();
        assert!(error.starts_with(expect), "{script}: {error}");
    }
}

#[test]
fn a_wrong_key_of_a_profile_is_named_with_those_that_there_are() {
    for (profile, parts) in [
        (r#"{"terminator":["\t"]}"#, vec!["unknown field `terminator`", "`terminators`", "`idle_ms`"]),
        (r#"{"terminators":[""]}"#, vec!["terminators", "1 to 16 bytes"]),
        (r#"{"idle_ms":0}"#, vec!["idle_ms 0"]),
        (r#"{"charset":"latin1"}"#, vec!["unknown variant `latin1`", "`utf-8`"]),
        (r#"{"charset":"latin-1","prefix":"€"}"#, vec!["prefix \"€\" is not in latin-1"]),
    ] {
        let error = ReportProfile::from_json(profile).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{profile}: {error}");
    }
    let whole = r#"{"id":"door-3","port":"hid:///dev/x","place":"door-3","start":"\u0002","terminators":["\u0003"],"repeat_scope":"code","allow":[]}"#;
    let profile = ReportProfile::from_json(whole).unwrap();
    assert_eq!((profile.scan.start, profile.scan.terminators), (b"\x02".to_vec(), vec![b"\x03".to_vec()]));
}
