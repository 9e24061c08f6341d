//! A copy of the store, made while the node is at work, and what it refuses.

use std::process::Stdio;

use crate::bench::{Site, binary, free_port, stderr, stdout, wait_for};
use crate::feeder::Feeder;

/// SQLite's own look at a copy, through the command of a node that was given it.
fn count(site: &Site, copy: &std::path::Path) -> u64 {
    let other = Site::new();
    other.configure("");
    std::fs::copy(copy, other.path("store/waypost.db")).unwrap();
    let checked = other.ask(&["outbox", "check", "--json"]);
    assert_eq!(checked.status.code(), Some(0), "{}{}{}", stdout(&checked), stderr(&checked), site.log());
    serde_json::from_str::<serde_json::Value>(&stdout(&checked)).unwrap()["events"].as_u64().unwrap()
}

#[test]
fn a_backup_under_load_holds_every_scan_that_was_answered_before_it_began_and_balances() {
    let (site, port) = (Site::new(), free_port());
    site.configure(&Site::dock(port));
    let node = site.start();
    let mut feeder = Feeder::start(port, u64::MAX / 2, 1_000.0);
    wait_for("scans before the backup", || (feeder.oks() > 300).then_some(()));
    let before = feeder.oks();
    let file = site.path("copy.db");
    let done = site.ask(&["backup", file.to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(0), "{}{}", stdout(&done), stderr(&done));
    assert!(stdout(&done).contains("checked"), "{}", stdout(&done));
    wait_for("scans after the backup", || (feeder.oks() > before + 300).then_some(()));
    feeder.stop();
    assert!(node.stop().success());
    let events = count(&site, &file);
    assert!(events >= before, "{events} events in the copy, {before} scans were answered before it");
    let again = site.ask(&["backup", file.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(74), "{}", stderr(&again));
    assert!(stderr(&again).contains("is there already"), "{}", stderr(&again));
}

#[test]
fn a_backup_into_no_folder_and_of_no_store_says_so_and_leaves_nothing() {
    let site = Site::new();
    site.configure("");
    let none = site.ask(&["backup", site.path("copy.db").to_str().unwrap()]);
    assert_eq!(none.status.code(), Some(66), "{}", stderr(&none));
    assert!(site.start().stop().success());
    let nowhere = site.ask(&["backup", site.path("no/such/copy.db").to_str().unwrap()]);
    assert_eq!(nowhere.status.code(), Some(74), "{}", stderr(&nowhere));
    assert!(!site.path("copy.db").exists());
}

#[test]
fn two_backups_at_once_are_one_and_one_that_is_interrupted_leaves_nothing() {
    let site = Site::new();
    site.configure("");
    assert!(site.start().stop().success());
    let held = std::fs::File::open(site.path("store/waypost.db")).unwrap();
    held.try_lock().unwrap();
    let second = site.ask(&["backup", site.path("copy.db").to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(75), "{}", stderr(&second));
    assert!(stderr(&second).contains("already_running"), "{}", stderr(&second));
    drop(held);
    // A copy that ends where nobody reads on: the signal finds it at work.
    std::fs::create_dir(site.path("copies")).unwrap();
    let mut command = binary();
    command.arg("--config").arg(site.config()).arg("backup").arg(site.path("copies/copy.db"));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // SAFETY: the child is ours and was not waited for.
    assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGINT) }, 0);
    let ended = child.wait().unwrap();
    let left: Vec<_> =
        std::fs::read_dir(site.path("copies")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    // It may have been faster than the signal, or not begun: then there is the whole copy or nothing, never a part.
    assert!(left.is_empty() || ended.success(), "{ended:?} {left:?}");
    assert!(left.len() <= 1, "{left:?}");
}
