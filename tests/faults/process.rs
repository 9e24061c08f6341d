//! What others on the machine do to a node: delete its files, lock them, take its descriptors, knock without end, stop it.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::bench::{Node, balanced, full, program, try_get, wait_within};

use super::yard::{BACK, Hand, Yard, insist};
use super::{Case, Need, Seen, When, case};

const BROKER: &[Need] = &[Need::Program("mosquitto")];

pub const CASES: [Case; 6] = [
    case(
        "F17",
        (
            "the write-ahead log is deleted under the node",
            "it takes nothing more that nobody would find again, and says what happened; a restart goes on",
        ),
        When::Always,
        BROKER,
        unlinked,
    ),
    case(
        "F19",
        (
            "somebody holds the database's write lock for 8 s",
            "scans are refused aloud, the alarm stands, it goes on by itself",
        ),
        When::Full,
        BROKER,
        locked,
    ),
    case(
        "F20",
        (
            "a reader holds an old state while thousands of events come",
            "intake goes on, the write-ahead log is cut back afterwards",
        ),
        When::Full,
        BROKER,
        reader,
    ),
    case(
        "F24",
        ("no descriptor is left", "scanners that are connected go on; the screen answers when there are some again"),
        When::Always,
        &[Need::Program("prlimit"), Need::Program("mosquitto")],
        descriptors,
    ),
    case(
        "F46",
        ("a thousand connections knock at a scanner's port", "another scanner's answers go on"),
        When::Always,
        BROKER,
        knocks,
    ),
    case(
        "F55",
        ("the process is stopped for 5 s and goes on", "it goes on, without a restart"),
        When::Full,
        BROKER,
        stopped,
    ),
];

fn unlinked() -> Seen {
    let mut yard = Yard::new();
    let mut node = yard.site.start();
    yard.feed(200.0);
    yard.more_oks(50, BACK);
    std::fs::remove_file(yard.store().join("waypost.db-wal")).unwrap();
    let begun = Instant::now();
    wait_within(BACK, "a refusal or the end of the process", || {
        let refused = !yard.feeder.as_ref()?.told().other.is_empty();
        (refused || node.child.try_wait().unwrap().is_some()).then_some(())
    });
    let noticed = begun.elapsed();
    assert!(yard.site.log().contains("deleted or replaced"), "it says what happened");
    if node.child.try_wait().unwrap().is_none() {
        node.signal(libc::SIGTERM);
        node.ended();
    }
    let node = yard.site.start();
    let oks = yard.judge(node);
    Seen { times: 1, said: format!("noticed after {noticed:.1?}; {oks} ok, 0 lost") }
}

fn locked() -> Seen {
    let mut yard = Yard::new();
    let node = yard.site.start();
    insist(yard.dock, "BEFORE", BACK);
    let other = Connection::open(yard.store().join("waypost.db")).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let begun = Instant::now();
    let (answer, after) = Hand::at(yard.dock).scan("DURING").expect("an answer");
    assert!(answer.starts_with("rejected storage"), "refused aloud: {answer}");
    assert!(node.get("/healthz").1.contains("storage"), "the alarm is shown");
    wait_within(BACK, "8 s", || (begun.elapsed() > Duration::from_secs(8)).then_some(()));
    other.execute_batch("rollback").unwrap();
    drop(other);
    insist(yard.dock, "AFTER", BACK);
    yard.feed(200.0);
    yard.more_oks(20, BACK);
    let oks = yard.judge(node);
    Seen { times: 1, said: format!("refused after {after:.1?}, alarm `storage`; {oks} ok, 0 lost") }
}

fn reader() -> Seen {
    let mut yard = Yard::new();
    let node = yard.site.start();
    yard.feed(2_000.0);
    yard.more_oks(20, BACK);
    let other = Connection::open(yard.store().join("waypost.db")).unwrap();
    other.execute_batch("begin").unwrap();
    let _: i64 = other.query_row("select count(*) from outbox", [], |row| row.get(0)).unwrap();
    yard.more_oks(if full() { 6_000 } else { 300 }, BACK * 3);
    let wal = || yard.store().join("waypost.db-wal").metadata().unwrap().len();
    let grown = wal();
    other.execute_batch("rollback").unwrap();
    drop(other);
    yard.more_oks(1_000, BACK * 3);
    let left = wal();
    assert!(left <= grown.max(16 << 20), "{left} bytes of WAL after, {grown} before");
    let oks = yard.judge(node);
    Seen { times: 1, said: format!("WAL {} KiB, {} KiB after; {oks} ok, 0 lost", grown / 1024, left / 1024) }
}

/// As many descriptors as it has, and a few.
fn limit(node: &Node, more: usize) {
    let now = std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count();
    let most = (now + more).to_string();
    let pid = node.pid().to_string();
    let mut command = Command::new(program("prlimit").unwrap());
    let done = command.args(["--pid", &pid, &format!("--nofile={most}:")]).stdin(Stdio::null()).status().unwrap();
    assert!(done.success(), "prlimit");
}

fn descriptors() -> Seen {
    let mut yard = Yard::new();
    let node = yard.site.start();
    yard.feed(200.0);
    yard.more_oks(20, BACK);
    limit(&node, 2);
    let callers: Vec<TcpStream> = (0..40).filter_map(|_| TcpStream::connect(node.address()).ok()).collect();
    yard.more_oks(200, BACK);
    let held = callers.len();
    drop(callers);
    limit(&node, 400);
    wait_within(BACK, "the screen", || try_get(node.address(), "/livez", Duration::from_secs(2)));
    let oks = yard.judge(node);
    Seen { times: held as u64, said: format!("{held} callers held; intake went on, {oks} ok, 0 lost") }
}

fn knocks() -> Seen {
    let mut yard = Yard::new();
    let node = yard.site.start();
    yard.feed(200.0);
    yard.more_oks(20, BACK);
    let times = if full() { 1_000 } else { 200 };
    let mut longest = Duration::ZERO;
    let mut callers = std::collections::VecDeque::new();
    for n in 0..times {
        callers.extend(TcpStream::connect(("127.0.0.1", yard.dock)).ok());
        if callers.len() > 100 {
            callers.pop_front();
        }
        if n % 50 == 0 {
            let begun = Instant::now();
            yard.more_oks(1, BACK);
            longest = longest.max(begun.elapsed());
        }
    }
    drop(callers);
    balanced(&node);
    let oks = yard.judge(node);
    Seen { times, said: format!("another scanner waited {longest:.0?} at most; {oks} ok, 0 lost") }
}

fn stopped() -> Seen {
    let mut yard = Yard::new();
    let mut node = yard.site.start();
    yard.feed(200.0);
    yard.more_oks(50, BACK);
    node.signal(libc::SIGSTOP);
    let begun = Instant::now();
    wait_within(BACK, "5 s", || (begun.elapsed() > Duration::from_secs(5)).then_some(()));
    node.signal(libc::SIGCONT);
    yard.more_oks(100, BACK);
    assert!(node.child.try_wait().unwrap().is_none(), "it runs on");
    let oks = yard.judge(node);
    Seen { times: 1, said: format!("{oks} ok, 0 lost, no restart") }
}
