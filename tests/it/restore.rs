//! A backup put back: what it says first, what it keeps, how the node goes on, and what it refuses.

use std::path::Path;

use serde_json::Value;

use crate::bench::{Broker, Node, Pty, Site, balanced, epoch, free_port, stderr, stdout, wait_for};
use crate::feeder::Feeder;

/// Feeds scans until `n` more are answered.
fn feed(port: u16, n: u64) {
    let mut feeder = Feeder::start(port, n, 1_000.0);
    wait_for("scans", || (feeder.oks() >= n).then_some(()));
    feeder.stop();
}

fn head(node: &Node) -> (String, i64) {
    let health = node.json("/api/v1/health");
    let (epoch, seq) = health["cursor"].as_str().unwrap().split_once('.').unwrap();
    (epoch.to_owned(), seq.parse().unwrap())
}

fn backup(site: &Site, file: &Path) {
    let done = site.ask(&["backup", file.to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(0), "{}{}", stdout(&done), stderr(&done));
}

fn restore(site: &Site, file: &Path, yes: bool) -> std::process::Output {
    let mut args = vec!["restore", file.to_str().unwrap()];
    args.extend(yes.then_some("--yes"));
    site.ask(&args)
}

fn checked(site: &Site) -> Value {
    let done = site.ask(&["outbox", "check", "--json"]);
    assert_eq!(done.status.code(), Some(0), "{}{}", stdout(&done), stderr(&done));
    serde_json::from_str(&stdout(&done)).unwrap()
}

/// Every file below a folder with the hash of its bytes; what SQLite keeps in memory and empty ones aside.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.to_str().unwrap().ends_with("-shm") && std::fs::metadata(&path).unwrap().len() > 0 {
            found.push((path.display().to_string(), blake3::hash(&std::fs::read(&path).unwrap()).to_string()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_restored_node_goes_on_in_a_new_epoch_behind_what_it_knew_and_keeps_the_store_that_was_there() {
    let (site, port) = (Site::new(), free_port());
    site.configure(&Site::dock(port));
    let node = site.start();
    feed(port, 200);
    let copy = site.path("copy.db");
    backup(&site, &copy);
    let (epoch, at_backup) = head(&node);
    feed(port, 100);
    let (_, before) = head(&node);
    let running = restore(&site, &copy, true);
    assert_eq!(running.status.code(), Some(75), "{}", stderr(&running));
    assert!(node.stop().success());

    let before_files = files(&site.path("store"));
    let asked = restore(&site, &copy, false);
    assert_eq!(asked.status.code(), Some(1), "{}{}", stdout(&asked), stderr(&asked));
    let newer = before - at_backup;
    assert!(stdout(&asked).contains(&format!("{newer} newer events leave it")), "{}", stdout(&asked));
    assert!(stdout(&asked).contains("sent again, under the same ids"), "{}", stdout(&asked));
    assert!(stdout(&asked).contains("--yes"), "{}", stdout(&asked));
    assert_eq!(files(&site.path("store")), before_files, "to ask changes nothing");

    let done = restore(&site, &copy, true);
    assert_eq!(done.status.code(), Some(0), "{}{}", stdout(&done), stderr(&done));
    let kept = std::fs::read_dir(site.path("store/quarantine")).unwrap().next().unwrap().unwrap().path();
    assert!(stdout(&done).contains(kept.to_str().unwrap()), "{}", stdout(&done));
    let checked_events = checked(&site)["events"].as_i64().unwrap();
    assert!(checked_events >= at_backup, "{checked_events} {at_backup}");

    let node = site.start();
    let (fresh, seq) = head(&node);
    assert_ne!(fresh, epoch);
    assert!(seq > before, "{seq} {before}");
    balanced(&node);
    let alarms = node.json("/api/v1/health")["alarms"].clone();
    let alarm = alarms.as_array().unwrap().iter().find(|alarm| alarm["name"] == "store_restored").expect("an alarm");
    assert_eq!(alarm["severity"], "warn");
    assert!(alarm["text"].as_str().unwrap().contains(&format!("{newer} events are missing")), "{alarm}");
    assert!(alarm["advice"].as_str().unwrap().contains(kept.to_str().unwrap()), "{alarm}");
    assert_eq!(node.ledger()["events"]["lost"], newer);
    feed(port, 10);
    let told = node.get(&format!("/api/v1/events?after={fresh}.{before}")).1;
    assert!(told.contains("store_restored"), "{told}");
    assert!(node.stop().success());
    checked(&site);

    // The file that was kept is the whole store of before: to put it back is to restore it.
    let back = restore(&site, &kept.join("waypost.db"), true);
    assert_eq!(back.status.code(), Some(0), "{}{}", stdout(&back), stderr(&back));
    let node = site.start();
    assert!(head(&node).1 > seq);
    balanced(&node);
    assert!(node.stop().success());
}

#[test]
fn an_uplink_that_is_added_after_a_restore_finds_every_count_and_every_chain_as_it_was() {
    let Some(broker) = Broker::start() else { return };
    let (site, port) = (Site::new(), free_port());
    let gps = site.path("gps0");
    let receiver = format!(
        "[[gps]]\nid = \"gps0\"\nport = \"{}\"\nasset = \"TRK-07\"\ntrack_interval_s = 0\nparked_interval_s = 0\n\n",
        gps.display()
    );
    site.configure(&(receiver.clone() + &Site::dock(port)));
    let mut pty = Pty::new(&gps);
    let mut second = 0;
    let mut live = |node: &Node, pty: &mut Pty| {
        let before = head(node).1;
        feed(port, 5);
        wait_for("a fix among them", || {
            second += 1;
            pty.offer(&epoch(second));
            (head(node).1 > before + 5).then_some(())
        });
    };
    let node = site.start();
    live(&node, &mut pty);
    let copy = site.path("copy.db");
    backup(&site, &copy);
    live(&node, &mut pty);
    assert!(node.stop().success());
    assert_eq!(restore(&site, &copy, true).status.code(), Some(0));
    let node = site.start();
    live(&node, &mut pty);
    assert!(node.stop().success());

    site.configure(&(Site::uplink(broker.port, "accept") + &receiver + &Site::dock(port)));
    for _ in 0..3 {
        let node = site.start();
        live(&node, &mut pty);
        wait_for("all to be sent", || (node.ledger()["events"]["unsent"] == 0).then_some(()));
        let health = node.get("/healthz").1;
        assert!(!health.contains("ledger_mended"), "{health}");
        balanced(&node);
        assert!(node.stop().success());
        checked(&site);
    }
}

#[test]
fn what_is_no_backup_is_refused_in_words_and_changes_nothing() {
    let site = Site::new();
    site.configure("");
    assert!(site.start().stop().success());
    let copy = site.path("copy.db");
    backup(&site, &copy);
    let mut bytes = std::fs::read(&copy).unwrap();
    std::fs::write(site.path("half.db"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(site.path("text.db"), "no database at all, but a long enough text for one or the other page")
        .unwrap();
    std::fs::write(site.path("empty.db"), "").unwrap();
    // The user version, where SQLite keeps it.
    bytes[60..64].copy_from_slice(&9_999_u32.to_be_bytes());
    std::fs::write(site.path("newer.db"), &bytes).unwrap();
    let before = files(&site.path("store"));
    for (file, code, words) in [
        ("half.db", 74, "damaged"),
        ("text.db", 74, "is no backup of waypost"),
        ("empty.db", 74, "is no backup of waypost: it is empty"),
        ("newer.db", 74, "install the newer waypost"),
        ("none.db", 66, "name a backup"),
    ] {
        let refused = restore(&site, &site.path(file), true);
        assert_eq!(refused.status.code(), Some(code), "{file}: {}{}", stdout(&refused), stderr(&refused));
        assert!(stderr(&refused).contains(words), "{file}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(file), "{file}: {}", stderr(&refused));
        assert_eq!(files(&site.path("store")), before, "{file}");
    }
}

#[test]
fn what_was_purged_after_the_backup_is_named_for_it_comes_back_with_it() {
    let (site, port) = (Site::new(), free_port());
    site.configure(&Site::dock(port));
    let node = site.start();
    feed(port, 20);
    let copy = site.path("copy.db");
    backup(&site, &copy);
    let events = node.json("/api/v1/events?kind=scan&limit=1");
    let asset = events["items"][0]["asset"].as_str().unwrap().to_owned();
    assert!(node.stop().success());
    let quiet = restore(&site, &copy, false);
    assert!(!stdout(&quiet).contains("purge"), "{}", stdout(&quiet));
    let purged = site.ask(&["purge", "--asset", &asset, "--yes"]);
    assert_eq!(purged.status.code(), Some(0), "{}{}", stdout(&purged), stderr(&purged));
    let asked = restore(&site, &copy, false);
    assert!(stdout(&asked).contains(&format!("purge it again: asset {asset}.")), "{}", stdout(&asked));
}

#[test]
fn another_card_goes_on_from_a_backup_where_no_store_ever_was() {
    let (site, port) = (Site::new(), free_port());
    site.configure(&Site::dock(port));
    let node = site.start();
    feed(port, 20);
    let (epoch, seq) = head(&node);
    let copy = site.path("copy.db");
    backup(&site, &copy);
    assert!(node.stop().success());
    std::fs::remove_dir_all(site.path("store")).unwrap();
    std::fs::create_dir(site.path("store")).unwrap();
    let done = restore(&site, &copy, true);
    assert_eq!(done.status.code(), Some(0), "{}{}", stdout(&done), stderr(&done));
    let node = site.start();
    let (fresh, after) = head(&node);
    assert!(fresh != epoch && after > seq, "{fresh} {epoch} {after} {seq}");
    balanced(&node);
    assert!(node.stop().success());
    checked(&site);
}

#[test]
fn what_is_no_regular_file_is_refused_as_such_and_neither_waited_for_nor_copied_until_the_disk_is_full() {
    let site = Site::new();
    site.configure("");
    let pipe = site.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for name in [pipe, site.path("."), "/dev/zero".into(), site.path("nothing")] {
        let refused = restore(&site, &name, true);
        assert_eq!(refused.status.code(), Some(66), "{}: {}", name.display(), stderr(&refused));
        assert!(stderr(&refused).contains("name a backup"), "{}", stderr(&refused));
    }
}
