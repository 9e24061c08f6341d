//! An end at each point on the way of an event at which something is half done.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use crate::bench::{Node, wait_within};

use super::power::start_leaving;
use super::yard::{BACK, Yard};
use super::{Case, Need, Seen, When, case};

const NEEDS: &[Need] = &[Need::Program("mosquitto")];

pub const CASES: [Case; 8] = [
    case(
        "F01.migrated",
        ("killed before the first schema is committed", "the next start makes it anew"),
        When::Always,
        NEEDS,
        || start("migrated"),
    ),
    case(
        "F01.before",
        ("killed between the last statement and the commit", "the scanner had no answer and sends again"),
        When::Always,
        NEEDS,
        || way("before-commit:30", false),
    ),
    case(
        "F01.after",
        ("killed between the commit and the answer", "the scanner sends again: at worst a second event, never none"),
        When::Always,
        NEEDS,
        || way("after-commit:30", false),
    ),
    case(
        "F01.cursor",
        ("killed between the PUBACK and the cursor's commit", "it is sent again under the same id, byte for byte"),
        When::Always,
        NEEDS,
        || way("before-cursor:3", false),
    ),
    case(
        "F01.archive",
        ("killed between the archive and its note", "the file is taken out and written again; all is still in the log"),
        When::Always,
        NEEDS,
        || way("archive-written:2", true),
    ),
    case(
        "F01.mark",
        (
            "killed while the mark beside the store is written",
            "the one before it counts; the store is not taken for an old one",
        ),
        When::Full,
        NEEDS,
        mark,
    ),
    case(
        "F01.noted",
        ("killed between the archive's note and the removal", "the next pass removes what the archive holds"),
        When::Always,
        NEEDS,
        || way("archive-noted:2", true),
    ),
    case(
        "F01.slice",
        ("killed between two slices of a removal", "the next pass goes on there"),
        When::Always,
        NEEDS,
        || way("slice-removed:2", true),
    ),
];

/// Waits for the end at the point.
pub fn ended(node: &mut Node, point: &str) {
    let status = wait_within(Duration::from_secs(60), point, || node.child.try_wait().unwrap());
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{point}: {status}");
}

/// A start that ends at a point, and one that does not.
fn start(point: &str) -> Seen {
    let mut yard = Yard::plain("");
    let mut node = yard.site.launch(&[("WAYPOST_POINT", point)]);
    ended(&mut node, point);
    let node = yard.site.start();
    yard.feed(200.0);
    yard.more_oks(3, BACK);
    yard.judge(node);
    Seen { times: 1, said: "starts again".to_owned() }
}

/// A node under load that ends at a point; `leaves` while events leave for the archive.
fn way(point: &str, leaves: bool) -> Seen {
    let mut yard = Yard::new();
    let env = [("WAYPOST_POINT", point)];
    let mut node = if leaves { start_leaving(&yard, &env) } else { yard.site.start_with(&env) };
    yard.feed(200.0);
    ended(&mut node, point);
    let node = if leaves { start_leaving(&yard, &[]) } else { yard.site.start() };
    let oks = yard.judge(node);
    Seen { times: 1, said: format!("{oks} ok, 0 lost, each at the centre under its id") }
}

/// The mark that was begun is none; the one before it is older than the store, which is no fault of the store.
fn mark() -> Seen {
    let mut yard = Yard::new();
    let point = "mark-begun:2";
    let mut node = yard.site.start_with(&[("WAYPOST_POINT", point)]);
    yard.feed(500.0);
    ended(&mut node, point);
    let node = yard.site.start();
    let health = node.get("/healthz").1;
    assert!(!health.contains("store_rolled_back"), "{health}");
    let log = yard.site.log();
    assert!(!log.contains("high-water mark"), "the mark is whole: {log}");
    let oks = yard.judge(node);
    Seen { times: 1, said: format!("{oks} ok, 0 lost, the store goes on as the one it is") }
}
