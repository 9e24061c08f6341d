//! What a machine does to a node: its disk hangs, its memory is short, an adapter comes back under another name.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::bench::{Node, Pty, Site, epoch, repository, wait_within};
use crate::replug::{newest, north};

use super::disk::Mount;
use super::yard::{BACK, Yard};
use super::{Case, Need, Seen, When, case};

const FREEZES: &[Need] = &[Need::Root, Need::Loop];

pub const CASES: [Case; 4] = [
    case(
        "F22",
        (
            "the disk hangs: no write returns (the file system is frozen)",
            "within a minute the writer is named and no sign of life given; when the disk is back, so is the node",
        ),
        When::Full,
        FREEZES,
        hung,
    ),
    case(
        "F23",
        ("the kernel kills the process for memory", "as after any kill: nothing is lost"),
        When::Full,
        &[Need::Root, Need::MemoryGroup],
        starved,
    ),
    case(
        "F31",
        (
            "the disk hangs during the start",
            "READY is not said, so that the unit's TimeoutStartSec ends it; when the disk is back it serves",
        ),
        When::Full,
        FREEZES,
        hung_start,
    ),
    case("F34", ("a receiver comes back under another name", "it is opened by its link"), When::Always, &[], renamed),
];

fn hung() -> Seen {
    let mut yard = Yard::plain("");
    let disk = Mount::new(&yard.store(), 32, &[]);
    let mut node = yard.site.start_with(&[("WATCHDOG_USEC", "4000000")]);
    yard.feed(200.0);
    yard.more_oks(50, BACK);
    let frozen = disk.freeze();
    let begun = Instant::now();
    let is_said = |text: &String| text.contains("STATUS=") && text.contains("worker writer stalled");
    wait_within(Duration::from_secs(60), "the word of the writer", || {
        node.hear().is_some_and(|text| is_said(&text)).then_some(())
    });
    let noticed = begun.elapsed();
    let oks = yard.oks();
    wait_within(BACK, "a while of it", || {
        let said = node.hear().unwrap_or_default();
        assert!(!said.contains("WATCHDOG=1"), "a sign of life while the writer hangs: {said}");
        (begun.elapsed() > noticed + Duration::from_secs(10)).then_some(())
    });
    assert_eq!(yard.oks(), oks, "nothing is answered `ok` that is not on the disk");
    drop(frozen);
    // What it had given up ends now that its calls return; else it goes on.
    let ended = wait_within(BACK, "the end of the process, or an answer", || {
        let ended = node.child.try_wait().unwrap();
        (ended.is_some() || yard.oks() > oks).then_some(ended)
    });
    if let Some(status) = ended {
        assert!(!status.success(), "it asks to be started again: {status}");
        node = yard.site.start();
    }
    let oks = yard.judge(node);
    drop(yard);
    drop(disk);
    let end = if ended.is_some() { "ended when the disk was back" } else { "went on" };
    Seen { times: 1, said: format!("named after {noticed:.0?}, {end}; {oks} ok, 0 lost") }
}

fn hung_start() -> Seen {
    let mut yard = Yard::plain("");
    let disk = Mount::new(&yard.store(), 32, &[]);
    yard.feed(200.0);
    let node = yard.site.start();
    yard.more_oks(50, BACK);
    node.kill();
    let mut node = {
        let frozen = disk.freeze();
        let mut node = yard.site.launch(&[]);
        let begun = Instant::now();
        wait_within(BACK, "5 s", || {
            node.hear();
            (begun.elapsed() > Duration::from_secs(5)).then_some(())
        });
        let is_ready = node.heard.iter().any(|text| text.contains("READY=1"));
        drop(frozen);
        assert!(!is_ready, "it is not ready: {:?}", node.heard);
        node
    };
    let unit = std::fs::read_to_string(repository("systemd/waypost.service")).unwrap();
    assert!(
        unit.contains("\nType=notify\n") && unit.contains("\nTimeoutStartSec=120s\n"),
        "the unit ends such a start"
    );
    node.ready();
    let oks = yard.judge(node);
    drop(yard);
    drop(disk);
    Seen { times: 1, said: format!("not ready while it hung; {oks} ok, 0 lost") }
}

/// A group of processes that have next to no memory left. Gone when it is dropped.
pub struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// Bytes: what it has already is counted elsewhere, and it may take no more than this.
    const LEFT: &str = "65536";

    /// None where no group can be made: the first version of groups, then the second.
    pub fn new() -> Option<Self> {
        for (root, limit) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let path = Path::new(root).join(format!("waypost-{}", std::process::id()));
            if !Path::new(root).join("cgroup.procs").exists() || std::fs::create_dir(&path).is_err() {
                continue;
            }
            let group = Self(path);
            if std::fs::write(group.0.join(limit), Self::LEFT).is_ok() {
                return Some(group);
            }
        }
        None
    }

    fn take(&self, node: &Node) {
        std::fs::write(self.0.join("cgroup.procs"), node.pid().to_string()).unwrap();
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Empty groups go; one that is not would say so at the next run.
        drop(std::fs::remove_dir(&self.0));
    }
}

fn starved() -> Seen {
    let times = 5;
    let mut yard = Yard::plain("");
    yard.feed(500.0);
    let mut node = yard.site.start();
    for _ in 0..times {
        yard.more_oks(100, BACK);
        let group = MemoryGroup::new().expect("there was one before");
        group.take(&node);
        let status = wait_within(BACK, "the kernel", || node.child.try_wait().unwrap());
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
        drop(group);
        node = yard.site.start();
    }
    let oks = yard.judge(node);
    Seen { times, said: format!("{oks} ok, 0 lost") }
}

fn renamed() -> Seen {
    let site = Site::new();
    let link = site.path("gps0");
    site.configure(&format!(
        "[[gps]]\nid = \"gps0\"\nport = \"{}\"\nbaud = 9600\ntrack_interval_s = 0\nparked_interval_s = 0\n\n",
        link.display()
    ));
    let mut pty = Pty::new(&link);
    let node = site.start();
    let mut second = 0;
    let mut fix = |pty: &mut Pty| {
        // What the other port had still to say is no fix of this one.
        let north = north(second + 1);
        let mut said = Instant::now();
        wait_within(BACK, "a fix further north", || {
            if said.elapsed() >= Duration::from_millis(100) {
                second += 1;
                pty.offer(&epoch(second));
                said = Instant::now();
            }
            (newest(&node) > north).then_some(())
        });
    };
    fix(&mut pty);
    // The old name is not free yet, as when the node still holds what was pulled.
    let mut other = Pty::new(&link);
    assert_ne!(pty.path(), other.path());
    let (from, to) = (pty.path(), other.path());
    drop(pty);
    let begun = Instant::now();
    fix(&mut other);
    let took = begun.elapsed();
    assert!(node.stop().success());
    Seen { times: 1, said: format!("from {} to {}: a fix after {took:.1?}", from.display(), to.display()) }
}
