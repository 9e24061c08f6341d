//! Power cuts: an ext4 on a loop device that stops at an instant, with everything that was not flushed lost.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use crate::bench::{Node, balanced, dice, full, stderr, wait_within};

use super::disk::Mount;
use super::points::ended;
use super::yard::{BACK, Yard, compare};
use super::{Case, Need, Seen, When, case};

const NEEDS: &[Need] = &[Need::Root, Need::Loop];

pub const CASES: [Case; 5] = [
    case(
        "F02",
        (
            "power cut under load at random moments (ext4 shut down on a loop device)",
            "what was answered `ok` is there; the file is whole",
        ),
        When::Always,
        NEEDS,
        cuts,
    ),
    case(
        "F02.control",
        ("the same with synchronous=NORMAL, in a debug build", "acknowledged scans are lost: the harness can see it"),
        When::Full,
        NEEDS,
        control,
    ),
    case("F03", ("power cut during the first start", "the next start works"), When::Full, NEEDS, first_start),
    case(
        "F04",
        ("power cut while events leave for the archive", "each is in the log or in a whole archive"),
        When::Full,
        NEEDS,
        leaving,
    ),
    case(
        "F04.undone",
        (
            "power cut before an archive is listed, and again when it has been taken out",
            "it does not come back: nothing is kept twice",
        ),
        When::Always,
        NEEDS,
        undone,
    ),
];

/// What became of some power cuts.
struct Cuts {
    oks: usize,
    lost: usize,
}

/// Events from `from` on by id, of a store that nobody runs, and the last seq.
fn exported(yard: &Yard, from: i64) -> (HashMap<String, Vec<String>>, i64) {
    let out = yard.site.ask(&["outbox", "export", "--from", &from.to_string()]);
    if !out.status.success() {
        // With the weaker setting the cut may have taken all of the store.
        eprintln!("no export: {}", stderr(&out));
        return (HashMap::new(), from);
    }
    let (mut kept, mut last) = (HashMap::<String, Vec<String>>::new(), from);
    for line in String::from_utf8(out.stdout).unwrap().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        last = last.max(event["seq"].as_i64().unwrap());
        let code = event["code"].as_str().unwrap_or_default().to_owned();
        kept.entry(event["id"].as_str().unwrap().to_owned()).or_default().push(code);
    }
    (kept, last)
}

/// Cuts the power. Every other time the process is killed before; else it goes on for a moment on a disk that is gone, where
/// a flush under way can still seem to succeed: what is answered in that instant no power cut would have let out, and it is
/// not asked for. Answers how many answers `ok` are sure.
fn blow(yard: &Yard, disk: &Mount, node: Node, is_killed_first: bool) -> usize {
    let sure = if is_killed_first {
        node.kill();
        disk.cut();
        usize::MAX
    } else {
        let sure = usize::try_from(yard.oks()).unwrap();
        disk.cut();
        node.kill();
        sure
    };
    disk.again();
    sure
}

/// Waits until the scanner is connected again: then it has read every answer of before. Notes those that are not sure, and
/// answers how many answers there had been.
fn reconnected(yard: &mut Yard, connections: u64, sure: usize) -> usize {
    let feeder = yard.feeder.as_ref().unwrap();
    wait_within(BACK, "the scanner", || (feeder.told().connections > connections).then_some(()));
    let told = feeder.told();
    let begun = told.begun;
    yard.unsure.extend(told.ok[sure.min(begun)..begun].iter().map(|(_, id)| id.clone()));
    begun
}

fn connections(yard: &Yard) -> u64 {
    yard.feeder.as_ref().map_or(0, |feeder| feeder.told().connections)
}

/// Cuts the power `times` times while a scanner sends, and counts what of the acknowledged is missing after each.
fn cut(times: u64, env: &[(&str, &str)], seed: u64) -> Cuts {
    let mut yard = Yard::plain("");
    let disk = Mount::new(&yard.store(), 64, &[]);
    yard.feed(400.0);
    let mut roll = dice(seed);
    let (mut from, mut told, mut lost) = (1, 0, 0);
    let mut node = yard.site.start_with(env);
    for n in 1..=times {
        yard.more_oks(5 + roll(200), BACK);
        let before = connections(&yard);
        let sure = blow(&yard, &disk, node, n % 2 == 0);
        let (kept, last) = exported(&yard, from);
        node = yard.site.start_with(env);
        let begun = reconnected(&mut yard, before, sure);
        let oks = yard.feeder.as_ref().unwrap().told().ok[told..sure.min(begun).max(told)].to_vec();
        told = begun;
        lost += oks.iter().filter(|(code, id)| kept.get(id) != Some(&vec![code.clone()])).count();
        if env.is_empty() {
            compare(&oks, &kept);
            from = last;
        }
        assert_eq!(node.ledger()["balance"], 0);
        if n % 20 == 0 {
            eprintln!("power: {n} of {times} cuts, {told} answered ok, {lost} of them lost");
        }
    }
    yard.more_oks(5, BACK);
    let oks = yard.oks();
    if env.is_empty() {
        yard.judge(node);
        whole(&yard);
    } else {
        node.kill();
    }
    let unsure = yard.unsure.len();
    drop(yard);
    drop(disk);
    Cuts { oks: usize::try_from(oks).unwrap() - unsure, lost }
}

/// SQLite finds nothing wrong with the file.
fn whole(yard: &Yard) {
    let conn = rusqlite::Connection::open(yard.store().join("waypost.db")).unwrap();
    let said: String = conn.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(said, "ok");
}

/// No file lies in the archive that its list does not name.
fn listed(yard: &Yard) {
    let list = std::fs::read_to_string(yard.store().join("archive/manifest.ndjson")).unwrap_or_default();
    for file in super::yard::archives(&yard.store()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(list.contains(&format!("\"{name}\"")), "{name} is back");
    }
}

fn cuts() -> Seen {
    let times = if full() { 200 } else { 3 };
    let Cuts { oks, lost } = cut(times, &[], 2);
    Seen { times, said: format!("{oks} ok, {lost} lost, integrity ok") }
}

fn control() -> Seen {
    let times = 10;
    let Cuts { oks, lost } = cut(times, &[("WAYPOST_SYNC", "normal")], 3);
    assert!(lost > 0, "with NORMAL nothing of {oks} was lost in {times} cuts: this harness cannot see a loss");
    Seen { times, said: format!("{oks} ok, {lost} lost, as it must be") }
}

/// A start that is cut leaves a store that starts.
fn first_start() -> Seen {
    let times = 20;
    let mut roll = dice(5);
    for _ in 0..times {
        let mut yard = Yard::plain("");
        let disk = Mount::new(&yard.store(), 16, &[]);
        let node = yard.site.launch(&[]);
        // A start takes a few tenths of a second; in some rounds it is over.
        std::thread::park_timeout(Duration::from_millis(roll(250)));
        disk.cut();
        node.kill();
        disk.again();
        let node = yard.site.start();
        yard.feed(200.0);
        yard.more_oks(3, BACK);
        yard.judge(node);
        drop(yard);
        drop(disk);
    }
    Seen { times, said: "each starts again, old schema or new".to_owned() }
}

/// Retention that lets events go after a second, and a clock it may believe.
pub fn leaving_env(yard: &Yard) -> [(&'static str, String); 2] {
    let mark = yard.site.path("synchronized");
    std::fs::write(&mark, "").unwrap();
    [("WAYPOST_KEEP_MS", "1500".to_owned()), ("WAYPOST_NTP_MARK", mark.display().to_string())]
}

/// Starts a node whose events leave while they come.
pub fn start_leaving(yard: &Yard, more: &[(&str, &str)]) -> Node {
    let env = leaving_env(yard);
    let mut all: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    all.extend(more);
    yard.site.start_with(&all)
}

/// The first cut leaves a file that no list names; the second comes when the next start has taken it out.
fn undone() -> Seen {
    let times = 5;
    let mut yard = Yard::plain("");
    let disk = Mount::new(&yard.store(), 64, &[]);
    yard.feed(400.0);
    // Once the log of writes is as long as it gets, a flush of it no longer takes with it what was done to a folder.
    let node = start_leaving(&yard, &[]);
    yard.more_oks(2000, BACK);
    node.kill();
    for _ in 0..times {
        for point in ["archive-named", "archive-finished"] {
            let mut node = start_leaving(&yard, &[("WAYPOST_POINT", point)]);
            ended(&mut node, point);
            disk.cut();
            disk.again();
        }
        listed(&yard);
    }
    let node = start_leaving(&yard, &[]);
    let oks = yard.judge(node);
    whole(&yard);
    drop(yard);
    drop(disk);
    Seen { times, said: format!("{oks} ok, 0 lost, none twice") }
}

fn leaving() -> Seen {
    let times = if full() { 40 } else { 2 };
    let mut yard = Yard::plain("");
    let disk = Mount::new(&yard.store(), 96, &[]);
    let mut roll = dice(7);
    yard.feed(150.0);
    let mut node = start_leaving(&yard, &[]);
    for _ in 0..times {
        yard.more_oks(100 + roll(300), BACK);
        let before = connections(&yard);
        let sure = blow(&yard, &disk, node, roll(2) == 0);
        node = start_leaving(&yard, &[]);
        reconnected(&mut yard, before, sure);
        balanced(&node);
    }
    yard.more_oks(300, BACK);
    let oks = yard.judge(node);
    whole(&yard);
    let archived = super::yard::archives(&yard.store()).len();
    assert!(archived > 0, "events have left");
    drop(yard);
    drop(disk);
    Seen { times, said: format!("{oks} ok, in the log or in {archived} archives, 0 lost") }
}
