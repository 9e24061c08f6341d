//! Workers that panic, spin, block or wait for ever, on purpose: noticed within 30 s, back or the process ended within 60 s,
//! told to the service manager, and no answered scan lost.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::{Broker, Node, Pty, Site, epoch, free_port, full, try_get, wait_for, wait_within};
use crate::feeder::Feeder;
use crate::upstream::Centre;

/// The promise.
const NOTICED: Duration = Duration::from_secs(30);
const BACK: Duration = Duration::from_secs(60);
/// Cases that run at once: an endless loop takes a core.
const AT_ONCE: usize = 4;
const TASKS: [&str; 8] =
    ["source:gps0", "ingest:gps0", "source:dock", "ingest:dock", "screen", "tail", "uplink", "gauge"];

/// What became of one strike, from the strike on.
struct Seen {
    noticed: Duration,
    /// When the process ended by itself, and how.
    ended: Option<(Duration, ExitStatus)>,
    back: Duration,
}

/// A node with everything: a receiver, a scanner that is answered, a screen at a fixed place, a broker.
struct Yard {
    site: Site,
    broker: Broker,
    centre: Centre,
    dock: u16,
    gps0: Pty,
}

impl Yard {
    fn new() -> Option<Self> {
        let broker = Broker::start()?;
        let (site, dock, screen) = (Site::new(), free_port(), free_port());
        let gps0 = Pty::new(&site.path("gps0"));
        let gps = format!(
            "[[gps]]\nid = \"gps0\"\nport = \"{}\"\nbaud = 9600\ntrack_interval_s = 0\nparked_interval_s = 0\n\n",
            site.path("gps0").display()
        );
        site.configure(&(gps + &Site::dock(dock) + &Site::uplink(broker.port, "hold")));
        let text = std::fs::read_to_string(site.config()).unwrap();
        std::fs::write(site.config(), text.replace("127.0.0.1:0", &format!("127.0.0.1:{screen}"))).unwrap();
        let centre = Centre::at(broker.port, "centre");
        Some(Self { site, broker, centre, dock, gps0 })
    }
}

/// Strikes `worker` and sees what becomes of it.
fn strike(worker: &str, how: &str) {
    let Some(mut yard) = Yard::new() else { return };
    let when = yard.site.path("strike");
    let (what, at) = (format!("{worker}={how}"), when.display().to_string());
    let run = yard.site.path("run");
    std::fs::create_dir(&run).unwrap();
    let unit = ("RUNTIME_DIRECTORY", run.to_str().unwrap());
    let mut node = yard.site.start_with(&[
        ("WAYPOST_WEDGE", &what),
        ("WAYPOST_WEDGE_WHEN", &at),
        ("WATCHDOG_USEC", "4000000"),
        unit,
    ]);
    let over = AtomicBool::new(false);
    let mut feeder = Feeder::start(yard.dock, u64::MAX / 2, 20.0);
    let (gps0, site, centre) = (&mut yard.gps0, &yard.site, &yard.centre);
    let (seen, node) = std::thread::scope(|scope| {
        let over = Over(&over);
        scope.spawn(|| play(gps0, over.0));
        let mut watch = node.stream(None);
        watch.event("a fix before the strike", |event| event["kind"] == "fix");
        wait_for("a sign of life before the strike", || {
            node.hear();
            (node.heard.iter().any(|text| text.contains("WATCHDOG=1")) && feeder.oks() > 5).then_some(())
        });
        node.heard.clear();
        std::fs::write(&when, "").unwrap();
        let struck = Instant::now();
        let mut seen = observe(&mut node, worker, yard.dock, struck);
        if seen.ended.is_some() {
            node = site.start_with(&[unit]);
            explains(site, &node, worker);
        }
        flows(&node, &feeder, centre);
        seen.back = struck.elapsed();
        (seen, node)
    });
    feeder.stop();
    assert!(seen.noticed <= NOTICED, "{worker} {how}: noticed after {:.1?}", seen.noticed);
    assert!(seen.ended.is_none_or(|(after, _)| after <= BACK), "{worker} {how}: {:?}", seen.ended);
    assert!(seen.back <= BACK, "{worker} {how}: back after {:.1?}", seen.back);
    assert_eq!(feeder.told().deaf, 0, "{worker} {how}: a scanner was left without an answer");
    assert_eq!(node.ledger()["balance"], 0);
    assert!(node.stop().success());
    keeps(&yard.site, &feeder);
    let end = seen.ended.map_or_else(String::new, |(after, status)| format!(", ended after {after:.1?} with {status}"));
    eprintln!("wedge: {worker} {how}: noticed after {:.1?}{end}, back after {:.1?}", seen.noticed, seen.back);
    drop(yard.broker);
}

/// Ends the playing however the test ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Plays a receiver, ten epochs a second.
fn play(gps0: &mut Pty, over: &AtomicBool) {
    let mut second = 36_000;
    while !over.load(Ordering::Acquire) {
        gps0.offer(&epoch(second));
        second += 1;
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// Looks on until the worker is back or the process has ended by itself.
fn observe(node: &mut Node, worker: &str, dock: u16, struck: Instant) -> Seen {
    let address = node.address();
    let named = |text: &str| {
        [format!("worker {worker} "), format!("; {worker} has been at work")].iter().any(|name| text.contains(name))
    };
    let mut seen = Seen { noticed: Duration::MAX, ended: None, back: Duration::MAX };
    wait_within(BACK, "the worker back, or the end of the process", || {
        if worker == "source:dock" {
            // A listener works when somebody comes; a peer that only looks in is nobody.
            drop(TcpStream::connect(("127.0.0.1", dock)));
        }
        while node.hear().is_some_and(|text| !named(&text)) {}
        let told = node.heard.iter().any(|text| named(text));
        seen.ended = node.child.try_wait().unwrap().map(|status| (struck.elapsed(), status));
        let back = seen.ended.is_some() || restarts(address, worker) > 0;
        if (told || back) && seen.noticed == Duration::MAX {
            seen.noticed = struck.elapsed();
        }
        back.then_some(())
    });
    while let Some(text) = node.hear() {
        if seen.ended.is_none() && text.contains("WATCHDOG=1") {
            break;
        }
    }
    if let Some((_, status)) = seen.ended {
        assert!(status.code().is_some_and(|code| code != 0), "{worker}: {status}");
        withheld(&node.heard, worker);
        assert!(node.heard.iter().any(|text| named(text)), "STATUS names {worker}: {:?}", node.heard);
    }
    seen
}

/// The start after says why, where people and machines look.
fn explains(site: &Site, node: &Node, worker: &str) {
    let (_, health) = node.get("/healthz");
    assert!(health.contains("The node was started again: worker ") && health.contains(worker), "{health}");
    let sql = rusqlite::Connection::open(site.path("store/waypost.db")).unwrap();
    let asked = "select count(*) from failure_log where what = 'restart' and detail like 'node: worker %' || ?1 || '%'";
    let is_noted = || sql.query_row(asked, [worker], |row| row.get::<_, i64>(0)).unwrap() > 0;
    wait_for("the line of the failure log", || is_noted().then_some(()));
}

/// While a worker is told to be stalled there is no sign of life. To be asked of one that could not be ended: another is
/// started again at once, and STATUS, said once a second at most, lags behind.
fn withheld(heard: &[String], worker: &str) {
    let (mut stalled, mut ever) = (false, false);
    for text in heard {
        if text.contains("STATUS=") {
            // A task that holds a thread may keep another from its promise first: then both are named.
            stalled = text.contains(&format!("worker {worker} stalled"));
            ever |= text.contains(" stalled") && text.contains(worker);
        }
        assert!(!(stalled && text.contains("WATCHDOG=1")), "alive while {worker} is stalled: {heard:?}");
    }
    assert!(ever, "STATUS says that {worker} is stalled: {heard:?}");
}

/// The restarts of a worker by the metrics; none when nobody answers.
fn restarts(address: SocketAddr, worker: &str) -> u64 {
    let Some(metrics) = try_get(address, "/metrics", Duration::from_secs(1)) else { return 0 };
    let ours = format!("waypost_worker_restarts_total{{worker=\"{worker}\"");
    let counts = metrics.lines().filter(|line| line.starts_with(&ours));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// A fix reaches the stream, scans are answered, and the centre hears of both.
fn flows(node: &Node, feeder: &Feeder, centre: &Centre) {
    let (address, oks, heard) = (node.address(), feeder.oks(), centre.heard().events.len());
    wait_for("the screen", || try_get(address, "/livez", Duration::from_secs(1)));
    node.stream(None).event("a fix after the strike", |event| event["kind"] == "fix");
    wait_for("answers after the strike", || (feeder.oks() >= oks + 5).then_some(()));
    wait_for("events at the centre after the strike", || (centre.heard().events.len() > heard + 10).then_some(()));
}

/// Every scan that was answered ok is in the store, once.
fn keeps(site: &Site, feeder: &Feeder) {
    let mut stored: HashMap<String, Vec<Value>> = HashMap::new();
    for event in site.exported() {
        stored.entry(event["id"].as_str().unwrap().to_owned()).or_default().push(event["code"].clone());
    }
    for (code, id) in &feeder.told().ok {
        assert_eq!(stored.get(id), Some(&vec![Value::from(code.as_str())]), "{code}: ok {id}");
    }
}

/// Runs cases side by side.
fn all(cases: &[(&str, &str)]) {
    for some in cases.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            for (worker, how) in some {
                scope.spawn(move || strike(worker, how));
            }
        });
    }
}

fn tasks(how: &str) -> Vec<(&str, &str)> {
    TASKS.iter().map(|worker| (*worker, how)).collect()
}

#[test]
pub fn a_worker_that_panics_is_back_and_no_answered_scan_is_lost() {
    let mut cases = tasks("panic");
    cases.push(("writer", "panic"));
    all(&cases);
}

#[test]
pub fn a_worker_that_waits_for_ever_is_noticed_and_started_again() {
    if full() {
        all(&tasks("hang"));
    } else {
        all(&[("gauge", "hang"), ("screen", "hang")]);
    }
}

#[test]
pub fn a_worker_that_blocks_its_thread_ends_the_process() {
    let mut cases = vec![("writer", "block")];
    if full() {
        cases.extend(tasks("block"));
    }
    all(&cases);
}

#[test]
pub fn a_worker_in_an_endless_loop_ends_the_process() {
    if !full() {
        eprintln!("SKIPPED: endless loops are tried in full size only (WAYPOST_FAULTS=full, make faults)");
        return;
    }
    let mut cases = vec![("writer", "loop")];
    cases.extend(tasks("loop"));
    all(&cases);
}
