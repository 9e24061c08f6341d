//! The kernel says no: the n-th call of each kind that the writer makes fails, for n = 1, 2, … until it no longer gets that far.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::bench::{Node, balanced, full, program, try_get, wait_within};

use super::yard::{BACK, Hand, Yard, compare};
use super::{Case, Need, Seen, When, case};

const NEEDS: &[Need] = &[Need::Root, Need::Program("strace"), Need::Program("mosquitto")];
/// What SQLite flushes with, as it was built.
const FLUSH: &str = "fsync,fdatasync";
/// A sweep ends here at the latest, whatever is still called.
const CALLS_MAX: u64 = 40;

const TOLD: &str = "it is refused aloud or tried again, a line of the log says why, nothing acknowledged is lost";
const LOUD: &str = "scans are refused aloud, the alarm `storage` stands, nothing restarts; back at once when it heals";

pub const CASES: [Case; 13] = [
    case("F05", ("a flush fails, each of one cycle in turn (EIO)", TOLD), When::Always, NEEDS, || {
        sweep(FLUSH, &["EIO"])
    }),
    case("F05.write", ("a write fails, each in turn (EIO, ENOSPC)", TOLD), When::Full, NEEDS, || {
        sweep("pwrite64", &["EIO", "ENOSPC"])
    }),
    case("F05.signal", ("writes and flushes are interrupted, each in turn (EINTR)", TOLD), When::Full, NEEDS, || {
        sweep("pwrite64,fsync,fdatasync", &["EINTR"])
    }),
    case("F05.stat", ("stat fails, each in turn (EIO, EACCES)", TOLD), When::Full, NEEDS, || {
        sweep("statx,newfstatat,fstat,stat", &["EIO", "EACCES"])
    }),
    case(
        "F05.read",
        (
            "pread64 fails, each in turn (EIO)",
            "taken for damage: a new start looks closely, finds the store whole, and goes on",
        ),
        When::Full,
        NEEDS,
        || wire("pread64", "EIO"),
    ),
    case("F06", ("every flush fails, then it heals", LOUD), When::Always, NEEDS, || lasting(FLUSH, "error=EIO")),
    case("F07", ("every write fails, then it heals", LOUD), When::Always, NEEDS, || lasting("pwrite64", "error=EIO")),
    case("F08.write", ("every write finds no room, then there is room", LOUD), When::Always, NEEDS, || {
        lasting("pwrite64", "error=ENOSPC")
    }),
    case("F21", ("each flush takes 2 s", "answers are slower, nothing else: no restart"), When::Full, NEEDS, slow),
    case(
        "F24.accept",
        ("accept4 finds no descriptor, each in turn (EMFILE)", "the caller comes again; intake goes on"),
        When::Full,
        NEEDS,
        || wire("accept4", "EMFILE"),
    ),
    case(
        "F48.send",
        ("sendto fails, each in turn (ECONNRESET)", "the connection is made anew"),
        When::Full,
        NEEDS,
        || wire("sendto", "ECONNRESET"),
    ),
    case(
        "F48.receive",
        ("recvfrom fails, each in turn (ECONNRESET)", "the connection is made anew"),
        When::Full,
        NEEDS,
        || wire("recvfrom", "ECONNRESET"),
    ),
    case(
        "F48.wait",
        ("epoll_wait is interrupted, each in turn (EINTR)", "nothing is noticed"),
        When::Full,
        NEEDS,
        || wire("epoll_wait", "EINTR"),
    ),
];

/// strace on a thread or a process, failing some of its calls. Lets go when it is dropped.
struct Strace {
    child: Child,
    log: PathBuf,
}

impl Strace {
    /// Attaches to one thread (`whole` false) or to all of a process.
    fn to(id: i32, whole: bool, calls: &str, inject: &str, log: PathBuf) -> Self {
        let mut command = Command::new(program("strace").unwrap());
        if whole {
            command.arg("-f");
        }
        command.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{inject}")]);
        command.arg("-o").arg(&log).args(["-p", &id.to_string()]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("attached"), "strace: {line}");
        Self { child, log }
    }

    /// Lets go; how many calls it failed.
    fn release(mut self) -> usize {
        self.let_go();
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter(|line| line.contains("(INJECTED)") || line.contains("(DELAYED)")).count()
    }

    fn let_go(&mut self) {
        // SAFETY: a signal to our own child, which is not yet waited for.
        unsafe { libc::kill(i32::try_from(self.child.id()).unwrap(), libc::SIGTERM) };
        self.child.wait().unwrap();
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.let_go();
        }
    }
}

/// The thread of the writer; none while there is none.
fn writer(node: &Node) -> Option<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", node.pid())).ok()?;
    let named = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "writer");
    let task = tasks.filter_map(|task| Some(task.ok()?.path())).find(named)?;
    task.file_name()?.to_str()?.parse().ok()
}

/// What the log says that a person would look at.
fn warnings(log: &str) -> usize {
    log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).count()
}

/// A node that is struck, and what it answered.
struct Struck {
    /// Ends first, while its log is still there to be shown.
    node: Option<Node>,
    yard: Yard,
    told: Vec<(String, String)>,
    next: u64,
    ends: u64,
}

impl Struck {
    fn new() -> Self {
        let yard = Yard::new();
        let node = Some(yard.site.start());
        let mut struck = Self { yard, node, told: Vec::new(), next: 0, ends: 0 };
        struck.sound();
        struck
    }

    fn node(&mut self) -> &mut Node {
        let leaves = self.yard.site.log().matches("stopping for a new start").count() as u64 > self.ends;
        let ended = self.node.as_mut().is_none_or(|node| {
            let is_over = |node: &mut Node| node.child.try_wait().unwrap().map(|_| ());
            if leaves {
                wait_within(BACK, "the end", || is_over(node));
            }
            is_over(node).is_some()
        });
        if ended {
            // A service manager would do the same.
            self.ends += 1;
            self.node = Some(self.yard.site.start());
        }
        self.node.as_mut().unwrap()
    }

    fn code(&mut self) -> String {
        self.next += 1;
        format!("N{:06}", self.next)
    }

    /// One cycle: a scan, its answer, its PUBACK, the commit of the cursor. Whatever fails, it answers; what was answered
    /// `ok` is remembered.
    fn cycle(&mut self) -> Option<String> {
        let code = self.code();
        // It may end at the fault before anybody has reached it.
        let mut hand = wait_within(BACK, "the dock", || {
            self.node();
            Hand::reach(self.yard.dock)
        });
        let answer = hand.scan(&code).map(|(answer, _)| answer);
        if let Some(id) = answer.as_deref().and_then(|line| line.strip_prefix("ok ")) {
            self.told.push((code, id.to_owned()));
        }
        answer
    }

    /// Waits until nothing is unsent, or not any more for `patience`.
    fn settles(&mut self, patience: Duration) -> bool {
        let deadline = std::time::Instant::now() + patience;
        while std::time::Instant::now() < deadline {
            let address = self.node().address();
            let ledger = try_get(address, "/api/v1/ledger", Duration::from_secs(5));
            let ledger: Option<Value> = ledger.and_then(|text| serde_json::from_str(&text).ok());
            if ledger.is_some_and(|ledger| ledger["events"]["unsent"] == 0) {
                return true;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        false
    }

    /// Healed: a scan is stored and sent within its time, the books balance.
    fn sound(&mut self) {
        let code = self.code();
        let id = wait_within(BACK, "ok for a scan", || {
            self.node();
            let (answer, _) = Hand::reach(self.yard.dock)?.scan(&code)?;
            answer.strip_prefix("ok ").map(str::to_owned)
        });
        self.told.push((code, id));
        assert!(self.settles(BACK), "sent on after it healed");
        balanced(self.node());
    }

    /// The end: everything that was answered `ok` is there, here and upstream.
    fn judged(mut self) -> usize {
        self.sound();
        assert!(self.node.take().unwrap().stop().success());
        let kept = self.yard.kept();
        compare(&self.told, &kept);
        self.yard.books();
        let centre = self.yard.centre.as_ref().unwrap();
        let heard = centre.heard();
        assert!(self.told.iter().all(|(_, id)| heard.events.contains_key(id)), "upstream");
        self.told.len()
    }
}

/// Fails the n-th call of a kind that the writer makes in one cycle, for n = 1, 2, … with each error.
fn sweep(calls: &str, errors: &[&str]) -> Seen {
    let mut struck = Struck::new();
    let (mut fired, mut shown, mut quiet) = (0, 0, 0);
    for error in errors {
        for n in 1..=if full() { CALLS_MAX } else { 4 } {
            let before = warnings(&struck.yard.site.log());
            let node = struck.node();
            let thread = wait_within(BACK, "the writer", || writer(node));
            let log = struck.yard.site.path("strace");
            let strace = Strace::to(thread, false, calls, &format!("error={error}:when={n}"), log);
            let answer = struck.cycle();
            struck.settles(Duration::from_secs(3));
            let hit = strace.release() > 0;
            if !hit {
                break;
            }
            fired += 1;
            let well = answer.as_deref().is_some_and(|line| line.starts_with("ok "));
            let told = warnings(&struck.yard.site.log()) > before;
            assert!(told || well, "call {n} of {calls} failed with {error}: {answer:?}, and nobody was told");
            if told {
                shown += 1
            } else {
                quiet += 1
            }
            struck.sound();
        }
    }
    assert!(fired > 0, "the writer makes no call of {calls}");
    let ends = struck.ends;
    let oks = struck.judged();
    Seen { times: fired, said: format!("{shown} told, {quiet} without harm, {ends} restarts; {oks} ok, 0 lost") }
}

/// Fails every call of a kind for some seconds: refused aloud, alarm, no crash loop; back when it heals.
fn lasting(calls: &str, inject: &str) -> Seen {
    let mut struck = Struck::new();
    let node = struck.node();
    let thread = wait_within(BACK, "the writer", || writer(node));
    let log = struck.yard.site.path("strace");
    let strace = Strace::to(thread, false, calls, inject, log);
    let answer = struck.cycle();
    assert!(answer.as_deref().is_some_and(|line| line.starts_with("rejected storage")), "refused aloud: {answer:?}");
    let health = struck.node().get("/healthz").1;
    assert!(health.contains("storage"), "the alarm is shown: {health}");
    let failed = strace.release();
    struck.sound();
    let ends = struck.ends;
    let oks = struck.judged();
    Seen { times: failed as u64, said: format!("refused aloud, alarm `storage`, {ends} restarts; {oks} ok, 0 lost") }
}

/// A card that stalls for two seconds at each flush: slower, and nothing else.
fn slow() -> Seen {
    let mut struck = Struck::new();
    let node = struck.node();
    let thread = wait_within(BACK, "the writer", || writer(node));
    let log = struck.yard.site.path("strace");
    let strace = Strace::to(thread, false, FLUSH, "delay_enter=2000000", log);
    let answers: Vec<Option<String>> = (0..5).map(|_| struck.cycle()).collect();
    let delayed = strace.release();
    assert!(answers.iter().flatten().all(|line| line.starts_with("ok ")), "{answers:?}");
    struck.sound();
    assert_eq!(struck.ends, 0, "no restart");
    let oks = struck.judged();
    Seen { times: delayed as u64, said: format!("{oks} ok, 0 lost, no restart") }
}

/// Fails the n-th call of a kind that each thread of the node makes.
fn wire(calls: &str, error: &str) -> Seen {
    let mut struck = Struck::new();
    let mut fired = 0;
    for n in 1..=if full() { 8 } else { 2 } {
        let pid = struck.node().pid();
        let log = struck.yard.site.path("strace");
        let strace = Strace::to(pid, true, calls, &format!("error={error}:when={n}"), log);
        struck.cycle();
        struck.settles(Duration::from_secs(2));
        fired += strace.release() as u64;
        struck.sound();
    }
    assert!(fired > 0, "no call was failed");
    let ends = struck.ends;
    let oks = struck.judged();
    Seen { times: fired, said: format!("{ends} restarts; {oks} ok, 0 lost") }
}
