//! Files that are not what was written: a header, a page, an index, a payload, the end of the log. From outside, with the
//! real binary.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::bench::{Broker, Site, stderr, try_get, wait_for, wait_within};
use crate::upstream::Centre;

use super::yard::{BACK, Yard, insist};
use super::{Case, Need, Seen, When, case};

/// Bytes of a page.
const PAGE: u64 = 1024;

const CURED: &str = "it serves within seconds, scans are taken, what is missing is named, a person is told";

/// What a lost end of the write-ahead log may take unnoticed: the file beside the store is written after so many events.
const UNMARKED: u64 = 1_000;
const MARKED: &str =
    "it serves within seconds, scans are taken; what the mark beside the store knew of is named as lost";

pub const CASES: [Case; 10] = [
    case("F12", ("the first 100 bytes of the database are garbage", CURED), When::Always, &[], || {
        let mut yard = filled(true);
        garble(&yard);
        after(&mut yard, true, 0)
    }),
    case("F12.empty", ("the database is an empty file", CURED), When::Full, &[], || survives(true, |db| cut(db, 0))),
    case("F12.half", ("the database is cut in the middle", CURED), When::Full, &[], || {
        survives(true, |db| cut(db, length(db) / 2 / PAGE * PAGE))
    }),
    case("F12.odd", ("the database is cut within a page", CURED), When::Full, &[], || {
        survives(true, |db| cut(db, length(db) - PAGE * 3 - 77))
    }),
    case("F13", ("a page of the log of events is zeroes", CURED), When::Always, &[], || {
        survives(true, |db| write(db, (page(db, "outbox") - 1) * PAGE, &[0; 1024]))
    }),
    case(
        "F13.places",
        ("a page of the table of places is garbage, found when somebody looks at the yard", CURED),
        When::Full,
        &[],
        looked_at,
    ),
    case("F14", ("a key in an index is another", "intake goes on; the daily look finds it"), When::Full, &[], || {
        survives(false, |db| write(db, (page(db, "outbox_id") - 1) * PAGE + 700, &[0xff]))
    }),
    case(
        "F15",
        (
            "a byte of an unsent event is another",
            "it is not sent: a letter `digest_mismatch` says so; the others are sent",
        ),
        When::Full,
        &[Need::Program("mosquitto")],
        payload,
    ),
    case("F16", ("the end of the write-ahead log is gone", MARKED), When::Always, &[], || {
        worn(|wal| cut(wal, length(wal) * 2 / 3))
    }),
    case("F16.flip", ("a byte in the write-ahead log is another", MARKED), When::Full, &[], || {
        worn(|wal| write(wal, length(wal) / 2, &[0x5a]))
    }),
];

fn write(path: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

/// Writes garbage over the header of the database.
pub fn garble(yard: &Yard) {
    write(&yard.store().join("waypost.db"), 0, &[0x5a; 100]);
}

fn cut(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn length(path: &Path) -> u64 {
    File::open(path).unwrap().metadata().unwrap().len()
}

/// A leaf page of a table or index, from its middle.
fn page(db: &Path, name: &str) -> u64 {
    let conn = rusqlite::Connection::open(db).unwrap();
    let mut leaves =
        conn.prepare("select pageno from dbstat where name = ?1 and pagetype = 'leaf' order by pageno").unwrap();
    let pages: Vec<u32> = leaves.query_map([name], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(!pages.is_empty(), "{name} has leaves");
    pages[pages.len() / 2].into()
}

/// A store with some hundred scans, of a node that has ended: well, or by a kill.
pub fn filled(clean: bool) -> Yard {
    let mut yard = Yard::plain("");
    let node = yard.site.start();
    yard.feed(2_000.0);
    yard.more_oks(600, BACK);
    if clean {
        let feeder = yard.feeder.as_ref().unwrap();
        feeder.enough();
        wait_for("every scan answered", || feeder.is_done().then_some(()));
        assert!(node.stop().success());
        // What is only in the write-ahead log would heal whatever is done to the database.
        let conn = rusqlite::Connection::open(yard.store().join("waypost.db")).unwrap();
        conn.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())).unwrap();
    } else {
        node.kill();
        yard.feeder.as_mut().unwrap().stop();
    }
    yard
}

/// After damage to the database: it serves, scans are taken, what is missing is named, and a person is told.
fn survives(told: bool, damage: impl FnOnce(&Path)) -> Seen {
    let mut yard = filled(true);
    let db = yard.store().join("waypost.db");
    damage(&db);
    after(&mut yard, told, 0)
}

/// Damage that no start after a clean stop looks for: who asks for all places meets it, and the node starts anew.
fn looked_at() -> Seen {
    let mut yard = filled(true);
    let db = yard.store().join("waypost.db");
    write(&db, (page(&db, "places") - 1) * PAGE + 8, &[0xa5; 900]);
    let mut node = yard.site.start();
    let address = node.address();
    let ended = wait_within(BACK, "an end for a new start", || {
        let shown = try_get(address, "/api/v1/snapshot", Duration::from_secs(1));
        assert!(shown.is_none(), "shown from a garbled page: {shown:?}");
        node.child.try_wait().unwrap()
    });
    assert!(!ended.success(), "a service manager starts it again");
    drop(node);
    after(&mut yard, true, 0)
}

/// After damage to the write-ahead log of a node that was killed.
fn worn(damage: impl FnOnce(&Path)) -> Seen {
    let mut yard = filled(false);
    damage(&yard.store().join("waypost.db-wal"));
    after(&mut yard, false, UNMARKED)
}

/// The judge of a store that was damaged: it serves, a scan is taken, and no more is missing than is named, but for
/// `unmarked` events.
pub fn after(yard: &mut Yard, told: bool, unmarked: u64) -> Seen {
    let begun = Instant::now();
    let node = yard.site.start();
    let address = node.address();
    wait_within(BACK, "the screen", || try_get(address, "/livez", Duration::from_secs(1)));
    let serves = begun.elapsed();
    let id = insist(yard.dock, "AFTER", BACK);
    let ledger = node.ledger();
    assert_eq!(ledger["balance"], 0, "{ledger}");
    let lost = ledger["events"]["lost"].as_u64().unwrap();
    let shown = node.get("/healthz").1;
    let log = yard.site.log();
    assert!(node.stop().success());
    let kept = yard.kept();
    assert_eq!(kept.get(&id), Some(&vec!["AFTER".to_owned()]));
    let oks = yard.feeder.as_ref().map(|feeder| feeder.told().ok.clone()).unwrap_or_default();
    let missing = oks.iter().filter(|(code, id)| kept.get(id) != Some(&vec![code.clone()])).count() as u64;
    assert!(
        missing <= lost + unmarked,
        "{missing} of {} acknowledged scans are missing and {lost} events are named as lost",
        oks.len()
    );
    let is_told = log.lines().any(|line| line.contains("WARN") || line.contains("ERROR")) || shown.contains("alarm");
    assert!(!(told || lost > 0) || is_told, "nobody was told: {shown}\n{log}");
    Seen {
        times: 1,
        said: format!("serves after {serves:.1?}; of {} ok {missing} missing, {lost} named lost", oks.len()),
    }
}

/// An event whose bytes have changed is not sent; the others are.
fn payload() -> Seen {
    let yard = filled(true);
    let db = yard.store().join("waypost.db");
    let bytes = std::fs::read(&db).unwrap();
    let code = b"SEQ000000300";
    let hits: Vec<usize> = (0..bytes.len() - code.len()).filter(|at| bytes[*at..].starts_with(code)).collect();
    for at in hits {
        write(&db, at as u64 + 6, b"9");
    }
    let broker = Broker::start().expect("mosquitto is here, or the case would be skipped");
    let centre = Centre::at(broker.port, "centre");
    yard.site.configure(&(Site::uplink(broker.port, "hold") + &Site::dock(yard.dock)));
    let node = yard.site.start();
    yard.drained(&node);
    let letters = yard.site.ask(&["letters", "list", "--all", "--json"]);
    assert!(letters.status.success(), "{}", stderr(&letters));
    let letters = String::from_utf8(letters.stdout).unwrap();
    assert!(letters.contains("digest_mismatch"), "a letter says so: {letters}");
    assert_eq!(node.ledger()["balance"], 0);
    let sent = centre.heard().events.len();
    assert!(
        !centre.heard().events.values().any(|event| event["code"] == "SEQ000900300"),
        "what was changed is not sent"
    );
    assert!(node.stop().success());
    Seen { times: 1, said: format!("a letter `digest_mismatch`, {sent} others sent") }
}
