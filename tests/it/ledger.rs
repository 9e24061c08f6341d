//! The ledger held against the rows, and history deleted for good: the real binary, beside a running node and without one.

use std::process::Output;

use serde_json::Value;

use crate::bench::{Pty, Site, stderr, stdout, wait_for};

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// The files below the store that quote something.
fn quoting(site: &Site, what: &str) -> Vec<String> {
    let mut folders = vec![site.path("store")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if let Ok(bytes) = std::fs::read(entry.path()) {
                let quotes = bytes.windows(what.len()).any(|part| part == what.as_bytes());
                found.extend(quotes.then(|| entry.file_name().into_string().unwrap()));
            }
        }
    }
    found
}

#[test]
fn outbox_check_and_purge_work_beside_a_running_node_and_without_one() {
    let site = Site::new();
    let mut door3 = Pty::new(&site.path("door-3"));
    site.configure(&format!(
        "[scanner_defaults]\nrepeat_window_ms = 0\n[[scanner]]\nid = \"door-3\"\nport = \"{}\"\nplace = \"door-3\"\n",
        site.path("door-3").display()
    ));
    let node = site.start();
    let mut scan = |codes: &[&str]| {
        for code in codes {
            door3.write(format!("{code}\r\n").as_bytes());
        }
    };
    scan(&["ANNA-1", "BOB-22", "ANNA-1", "]C100395212340000010045", "ANNA-1", "BOB-22"]);
    let stored = |node: &crate::bench::Node| node.ledger()["sources"]["door-3"]["stored"].as_i64();
    wait_for("the scans", || (stored(&node) == Some(5)).then_some(()));
    let total = node.ledger()["events"]["total"].as_i64().unwrap();
    let checked = site.ask(&["outbox", "check"]);
    assert_eq!(code(&checked), 0, "{}{}", stdout(&checked), stderr(&checked));
    assert!(stdout(&checked).starts_with(&format!("The ledger balances: {total} events")), "{}", stdout(&checked));
    assert_eq!(code(&site.ask(&["purge", "--asset", "raw:ANNA-1"])), 64, "nobody is there to say yes");
    assert_eq!(code(&site.ask(&["purge", "--asset", "raw:NOBODY", "--yes"])), 1);
    let purged = site.ask(&["purge", "--asset", "raw:ANNA-1", "--yes"]);
    assert_eq!(code(&purged), 0, "{}", stderr(&purged));
    assert!(stdout(&purged).starts_with("Gone: 4 events"), "three scans and the change of place: {}", stdout(&purged));
    assert_eq!(node.ledger()["events"]["total"].as_i64(), Some(total), "the counts stay");
    assert_eq!(code(&site.ask(&["outbox", "check"])), 0);
    assert_eq!(code(&site.ask(&["rebuild", "--check"])), 0);
    scan(&["CLARA-3"]);
    wait_for("the scan after it", || (stored(&node) == Some(6)).then_some(()));
    assert!(node.stop().success());
    // The audit says whose history was deleted; nothing tells it.
    let sql = rusqlite::Connection::open(site.path("store/waypost.db")).unwrap();
    sql.execute_batch("pragma secure_delete = on; delete from audit; pragma wal_checkpoint(truncate);").unwrap();
    drop(sql);
    assert_eq!(quoting(&site, "ANNA-1"), [""; 0]);
    assert!(!quoting(&site, "BOB-22").is_empty());
    // A date in a far future is a slip of the finger: it is said how many would go.
    let slip = site.ask(&["purge", "--before", "2100-01-01", "--yes"]);
    assert_eq!(code(&slip), 1, "{}", stdout(&slip));
    let all = stderr(&slip).rsplit_once("--expect ").unwrap().1.trim().to_owned();
    assert!(stderr(&slip).contains(&format!("{all} of the store's {all} events")), "{}", stderr(&slip));
    let purged = site.ask(&["purge", "--before", "2100-01-01", "--expect", &all, "--yes"]);
    assert_eq!(code(&purged), 0, "{}", stderr(&purged));
    for code in ["BOB-22", "CLARA-3", "00395212340000010045"] {
        assert_eq!(quoting(&site, code), [""; 0], "{code}");
    }
    let checked = site.ask(&["outbox", "check"]);
    assert_eq!(code(&checked), 0, "{}", stdout(&checked));
    let sql = rusqlite::Connection::open(site.path("store/waypost.db")).unwrap();
    sql.execute("update ledger set n = n + 1 where scope = 'source' and outcome = 'stored'", []).unwrap();
    drop(sql);
    let checked = site.ask(&["outbox", "check", "--json"]);
    let found: Value = serde_json::from_str(&stdout(&checked)).unwrap();
    assert_eq!(code(&checked), 1);
    assert!(found["open_letters"].as_i64() <= found["letters"].as_i64());
    let named = found["differences"].as_array().unwrap().iter().any(|one| {
        one["what"] == "events of door-3, stored and retried"
            && (&one["ledger"], &one["rows"]) == (&7.into(), &6.into())
    });
    assert!(named, "{found:#}");
}
