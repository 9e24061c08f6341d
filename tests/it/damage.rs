//! What a card or a person does to the files of a store, seen from outside: the node starts again, answers, and says it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use serde_json::Value;

use crate::bench::{Node, Pty, Site, balanced, free_port, wait_for, wait_within};
use crate::feeder::Feeder;

/// A place with a scanner, and so many scans in its store.
fn yard(scans: usize) -> (Site, Pty, Node) {
    let site = Site::new();
    let mut door = Pty::new(&site.path("door-3"));
    site.configure(&format!(
        "[[scanner]]\nid = \"door-3\"\nport = \"{}\"\nplace = \"door-3\"\nrepeat_window_ms = 0\n\n",
        site.path("door-3").display()
    ));
    let node = site.start();
    for n in 0..scans {
        door.write(format!("CODE-{n}\r\n").as_bytes());
    }
    wait_for("the scans", || (node.ledger()["sources"]["door-3"]["stored"] == scans).then_some(()));
    (site, door, node)
}

fn alarm(node: &Node, name: &str) -> Option<Value> {
    let alarms = node.json("/api/v1/health")["alarms"].clone();
    alarms.as_array().unwrap().iter().find(|alarm| alarm["name"] == name).cloned()
}

fn scans(node: &Node) -> usize {
    let items = node.json("/api/v1/events?kind=scan&limit=500")["items"].clone();
    items.as_array().unwrap().len()
}

#[test]
fn a_damaged_store_is_put_aside_and_the_screen_answers_with_what_was_saved() {
    let (site, mut door, node) = yard(50);
    assert!(node.stop().success());
    let path = site.path("store/waypost.db");
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0x5a; 64], 0).unwrap();
    let damaged = std::fs::read(&path).unwrap();
    let node = site.start();
    let alarm = alarm(&node, "store_salvaged").expect("the alarm tells");
    let text = alarm["text"].as_str().unwrap();
    assert_eq!(alarm["severity"], "fault");
    assert!(text.contains("no event is known to be missing"), "{text}");
    let folder = std::fs::read_dir(site.path("store/quarantine")).unwrap().next().unwrap().unwrap().path();
    assert!(text.contains(folder.to_str().unwrap()), "{text}");
    assert_eq!(std::fs::read(folder.join("waypost.db")).unwrap(), damaged, "kept as it was");
    assert_eq!((scans(&node), balanced(&node)["events"]["lost"].clone()), (50, 0.into()));
    let assets = || node.json("/api/v1/assets?limit=500")["items"].as_array().map_or(0, Vec::len);
    wait_for("the assets at their places", || (assets() == 50).then_some(()));
    door.write(b"AFTER\r\n");
    wait_for("a scan after it", || (scans(&node) == 51).then_some(()));
    balanced(&node);
    assert!(node.stop().success());
    std::fs::remove_dir_all(folder).unwrap();
    let node = site.start();
    assert_eq!(self::alarm(&node, "store_salvaged"), None, "over when the folder is gone");
}

#[test]
fn a_log_deleted_under_the_node_ends_it_for_a_new_start_and_nothing_is_lost() {
    let (site, _door, mut node) = yard(30);
    std::fs::remove_file(site.path("store/waypost.db-wal")).unwrap();
    let ended = wait_within(Duration::from_secs(30), "the end of the node", || node.child.try_wait().unwrap());
    assert_eq!(ended.code(), Some(74), "{}", site.log());
    assert!(site.log().contains("was deleted or replaced"), "{}", site.log());
    let node = site.start();
    assert_eq!((scans(&node), balanced(&node)["events"]["lost"].clone()), (30, 0.into()));
}

#[test]
fn a_scanner_hears_within_a_moment_that_the_log_was_deleted_under_its_scan() {
    let (site, port) = (Site::new(), free_port());
    site.configure(&Site::dock(port));
    let mut node = site.start();
    let mut feeder = Feeder::start(port, u64::MAX / 2, 200.0);
    wait_for("scans", || (feeder.oks() > 50).then_some(()));
    std::fs::remove_file(site.path("store/waypost.db-wal")).unwrap();
    // The scan that found it is refused, before the process ends for a new start.
    let (_, said) = wait_for("a refusal", || feeder.told().other.first().cloned());
    assert_eq!(said, "rejected storage_error");
    let ended = wait_within(Duration::from_secs(30), "the end of the node", || node.child.try_wait().unwrap());
    assert_eq!(ended.code(), Some(74), "{}", site.log());
    feeder.stop();
    let node = site.start();
    balanced(&node);
}

#[test]
fn an_old_copy_of_the_store_is_told_from_the_store() {
    let (site, mut door, node) = yard(5);
    assert!(node.stop().success());
    // The log stays behind when a reader closes last: it belongs to the copy.
    let files = ["store/waypost.db", "store/waypost.db-wal"].map(|file| site.path(file));
    let old = files.clone().map(|file| std::fs::read(file).ok());
    let node = site.start();
    for n in 0..10 {
        door.write(format!("LATER-{n}\r\n").as_bytes());
    }
    wait_for("the later scans", || (scans(&node) == 15).then_some(()));
    let (epoch, total) = (node.json("/api/v1/health")["cursor"].clone(), balanced(&node)["events"]["total"].clone());
    assert!(node.stop().success());
    for (file, old) in files.iter().zip(old) {
        match old {
            Some(old) => std::fs::write(file, old).unwrap(),
            None if file.exists() => std::fs::remove_file(file).unwrap(),
            None => {}
        }
    }
    let node = site.start();
    let text = alarm(&node, "store_rolled_back").expect("the alarm tells")["text"].as_str().unwrap().to_owned();
    assert!(text.contains("came back older") && text.contains(&format!("to {total}")), "{text}");
    let ledger = balanced(&node);
    assert_eq!((ledger["events"]["lost"].as_i64(), scans(&node)), (Some(20), 5), "10 scans and 10 places");
    assert_ne!(node.json("/api/v1/health")["cursor"], epoch);
}

#[test]
fn what_stands_in_the_place_of_the_mark_or_of_the_reserve_is_an_alarm_until_it_is_gone() {
    let site = Site::new();
    site.configure("");
    let places = [("waypost.mark", "high_water_mark"), ("waypost.ballast", "reserve")];
    for (file, _) in places {
        std::fs::create_dir(site.path("store").join(file)).unwrap();
    }
    let node = site.start();
    for (file, name) in places {
        let alarm = wait_for(name, || alarm(&node, name));
        assert_eq!(alarm["severity"], "warn");
        assert!(alarm["advice"].as_str().unwrap().contains("Move away"), "{alarm}");
        assert!(name == "reserve" || alarm["text"].as_str().unwrap().contains(file), "{alarm}");
        std::fs::remove_dir(site.path("store").join(file)).unwrap();
        wait_for("its end", || self::alarm(&node, name).is_none().then_some(()));
        assert!(site.path("store").join(file).is_file(), "{file} is made anew");
    }
    // A reserve that somebody shortened is laid anew, without a word.
    let reserve = site.path("store/waypost.ballast");
    let whole = reserve.metadata().unwrap().len();
    std::fs::write(&reserve, "short").unwrap();
    wait_for("the whole reserve", || reserve.metadata().is_ok_and(|file| file.len() == whole).then_some(()));
    assert!(node.stop().success());
}
