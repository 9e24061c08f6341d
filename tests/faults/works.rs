//! Works that are killed in their midst: a backup, a restore, a purge, a salvage.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use crate::bench::{Node, balanced, binary, stderr, stdout, wait_for};

use super::damage::{after, filled, garble};
use super::points::ended;
use super::yard::{BACK, Yard, insist};
use super::{Case, Seen, When, case};

/// A purge is over after fewer steps.
const STEPS_MAX: u64 = 60;

pub const CASES: [Case; 4] = [
    case(
        "F01.backup",
        (
            "a backup is killed, at each point of it",
            "no file has its name yet; the node notices nothing; the next is whole",
        ),
        When::Full,
        &[],
        backups,
    ),
    case(
        "F01.restore",
        (
            "a restore is killed, at each point of it",
            "the old store is there or the copy, whole; what is newer is named",
        ),
        When::Full,
        &[],
        restores,
    ),
    case(
        "F01.purge",
        ("a node is killed at each step of a purge", "asked again it does the rest; nobody else's events go"),
        When::Full,
        &[],
        purges,
    ),
    case(
        "F01.salvage",
        ("killed at each point of a salvage", "the next start begins it again or has it done; nothing more is lost"),
        When::Full,
        &[],
        salvages,
    ),
];

/// Runs a command that ends at a point on its way, or well when it does not come by there.
fn struck(yard: &Yard, args: &[&str], point: &str) -> ExitStatus {
    let mut command = binary();
    command.arg("--config").arg(yard.site.config()).args(args).env("WAYPOST_POINT", point);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
}

fn does(yard: &Yard, args: &[&str]) {
    let out = yard.site.ask(args);
    assert!(out.status.success(), "{args:?}: {}{}", stdout(&out), stderr(&out));
}

fn backups() -> Seen {
    let mut yard = Yard::plain("");
    let node = yard.site.start();
    yard.feed(500.0);
    yard.more_oks(300, BACK);
    let copy = yard.site.path("copy.db");
    let args = ["backup", copy.to_str().unwrap()];
    let points = ["backup-piece", "backup-copied"];
    for point in points {
        assert_eq!(struck(&yard, &args, point).signal(), Some(libc::SIGABRT), "{point}");
        assert!(!copy.exists(), "{point}: what is not whole has not its name");
        yard.more_oks(50, BACK);
    }
    let oks = yard.oks();
    does(&yard, &args);
    yard.judge(node);
    // The copy is a store like any other.
    let other = Yard::plain("");
    std::fs::copy(&copy, other.store().join("waypost.db")).unwrap();
    let kept = other.kept().len() as u64;
    assert!(kept >= oks, "{kept} events in the copy, {oks} scans were answered before it");
    Seen { times: points.len() as u64, said: format!("{oks} ok before the copy, {kept} events in it") }
}

/// Waits until every scan has its answer, and ends the node.
fn ends(yard: &mut Yard, node: Node) {
    let feeder = yard.feeder.as_ref().unwrap();
    feeder.enough();
    wait_for("every scan answered", || feeder.is_done().then_some(()));
    assert!(node.stop().success());
}

fn restores() -> Seen {
    let points = ["restore-copied", "restore-aside", "restore-placed"];
    let mut said = Vec::new();
    for point in points {
        let mut yard = Yard::plain("");
        let node = yard.site.start();
        yard.feed(1_000.0);
        yard.more_oks(200, BACK);
        let copy = yard.site.path("copy.db");
        does(&yard, &["backup", copy.to_str().unwrap()]);
        yard.more_oks(200, BACK);
        ends(&mut yard, node);
        let args = ["restore", copy.to_str().unwrap(), "--yes"];
        assert_eq!(struck(&yard, &args, point).signal(), Some(libc::SIGABRT), "{point}");
        let is_placed = point == "restore-placed";
        let lost = serves(&yard);
        assert_eq!(lost > 0, is_placed, "{point}: {lost} events named lost");
        // Asked again it is done, whatever the first one left.
        does(&yard, &args);
        said.push(format!("{point}: {lost}, then {} named lost", serves(&yard)));
    }
    Seen { times: points.len() as u64, said: said.join("; ") }
}

/// Starts the node: its books balance, and each scan that was answered is there or counted as lost. Answers how many are.
fn serves(yard: &Yard) -> u64 {
    let node = yard.site.start();
    let lost = balanced(&node)["events"]["lost"].as_u64().unwrap();
    insist(yard.dock, "AFTER", BACK);
    assert!(node.stop().success());
    let (kept, told) = (yard.kept(), yard.feeder.as_ref().unwrap().told());
    let missing = told.ok.iter().filter(|(code, id)| kept.get(id) != Some(&vec![code.clone()])).count() as u64;
    assert!(missing <= lost, "{missing} of {} are missing, {lost} are named lost", told.ok.len());
    lost
}

fn purges() -> Seen {
    let mut yard = Yard::plain("");
    let mut node = yard.site.start();
    yard.feed(100.0);
    let args = ["purge", "--asset", "raw:ANNA-1", "--yes"];
    let mut kills = 0;
    for step in 1..=STEPS_MAX {
        yard.more_oks(5, BACK);
        assert!(node.stop().success());
        let point = format!("purge-step:{step}");
        node = yard.site.start_with(&[("WAYPOST_POINT", &point)]);
        insist(yard.dock, "ANNA-1", BACK);
        let done = yard.site.ask(&args).status.success();
        if done {
            break;
        }
        kills += 1;
        ended(&mut node, &point);
        node = yard.site.start();
        let again = yard.site.ask(&args);
        // Its last word may be all that was missing: then nothing is known of her any more.
        let is_gone = again.status.success() || stderr(&again).contains("nothing is known");
        assert!(is_gone, "{point}: {}{}", stdout(&again), stderr(&again));
        let page = node.json("/api/v1/events?kind=scan&code=ANNA-1&before=&limit=1");
        assert_eq!(page["items"].as_array().map(Vec::len), Some(0), "{point}: hers are still there: {page}");
        balanced(&node);
    }
    assert!(kills > 3 && kills < STEPS_MAX, "killed {kills} times");
    let oks = yard.judge(node);
    let kept = yard.kept();
    assert!(!kept.values().flatten().any(|code| code == "ANNA-1"), "she is gone");
    Seen { times: kills, said: format!("{oks} ok of others, 0 lost; hers are gone") }
}

fn salvages() -> Seen {
    let points = ["salvage-tables", "salvage-made", "salvage-placed"];
    let mut said = String::new();
    for point in points {
        let mut yard = filled(true);
        garble(&yard);
        let mut node = yard.site.launch(&[("WAYPOST_POINT", point)]);
        ended(&mut node, point);
        said = after(&mut yard, true, 0).said;
        assert!(said.ends_with(" 0 missing, 0 named lost"), "{point}: {said}");
        let cases = std::fs::read_dir(yard.store().join("quarantine")).unwrap().count();
        assert_eq!(cases, 1, "{point}: the damaged store is put aside once");
    }
    Seen { times: points.len() as u64, said }
}
