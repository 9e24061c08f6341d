//! Killed at random moments while everything goes on at once: scans, fixes, delivery, events that leave for the archive, and
//! letters that are tried again.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bench::{Node, Pty, Site, balanced, dice, free_port, full, wait_for};
use crate::feeder::drive;

use super::power::start_leaving;
use super::yard::{BACK, Hand, Yard, archives};
use super::{Case, Need, Seen, When, case};

pub const CASES: [Case; 1] = [case(
    "F01",
    (
        "kill -9 at random moments of intake, delivery, retention and letters retry, all at once",
        "what was answered `ok` is there once, here and upstream, under its id; the books balance after every kill",
    ),
    When::Always,
    &[Need::Program("mosquitto")],
    kills,
)];

/// A code that is no UTF-8, as an old printer writes it, and as it reads once the setting is mended.
fn spoiled(n: u64) -> (Vec<u8>, String) {
    (format!("L\u{f8}k-{n}").chars().map(|c| u8::try_from(c as u32).unwrap()).collect(), format!("L\u{f8}k-{n}"))
}

/// What the second scanner was told: codes kept as letters, and codes answered `ok` with their id.
#[derive(Default)]
struct Gate {
    letters: Vec<String>,
    ok: Vec<(String, String)>,
}

/// Refused reads that are sent in one life of a node: it keeps the bytes of ten, beyond that it only counts most of them. One
/// more may have been on its way when the life began.
const KEPT: u64 = 9;

/// Sends codes that one setting spoils, each once: what is not answered is not sent again. In one life of the node no more
/// than it keeps.
fn send(port: u16, over: &AtomicBool, life: &AtomicU64, gate: &Mutex<Gate>) {
    let (mut n, mut hand, mut lived, mut sent) = (0, None, 0, 0);
    while !over.load(Ordering::Acquire) {
        std::thread::park_timeout(Duration::from_millis(25));
        if lived != life.load(Ordering::Acquire) {
            (lived, sent, hand) = (life.load(Ordering::Acquire), 0, None);
        }
        if sent == KEPT {
            continue;
        }
        let open = hand.get_or_insert_with(|| Hand::at(port));
        (n, sent) = (n + 1, sent + 1);
        let (bytes, code) = spoiled(n);
        match open.send(&bytes) {
            Some(line) if line == "rejected non_ascii" => gate.lock().unwrap().letters.push(code),
            Some(line) if line.starts_with("ok ") => {
                gate.lock().unwrap().ok.push((code, line.trim_start_matches("ok ").to_owned()));
            }
            Some(line) => panic!("{code}: {line}"),
            None => hand = None,
        }
    }
}

/// Asks over the control socket for a retry of all letters of the gate, and does not wait.
fn retry(site: &Site, open: i64) -> Option<UnixStream> {
    let mut asked = UnixStream::connect(site.path("store/control.sock")).ok()?;
    let body = json!({ "action": "retry", "filter": { "source": "gate" }, "expect": open }).to_string();
    let head = "POST /api/v1/letters/actions HTTP/1.1\r\nHost: localhost\r\nConnection: close";
    write!(asked, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()?;
    Some(asked)
}

/// Ends the players however the case ends.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

struct Mixed {
    yard: Yard,
    gate: u16,
}

impl Mixed {
    /// Writes the configuration; the gate's setting spoils its codes, or not.
    fn configure(&self, charset: &str) {
        let Self { yard, gate } = self;
        let gps = yard.site.path("gps0");
        let more = format!(
            "[[gps]]\nid = \"gps0\"\nport = \"{}\"\nbaud = 9600\ntrack_interval_s = 0\nparked_interval_s = 0\n\n\
             [[scanner]]\nid = \"gate\"\nport = \"tcp-listen://127.0.0.1:{gate}\"\nplace = \"gate-1\"\nreply = true\n\
             repeat_window_ms = 0\ncharset = \"{charset}\"\n\n",
            gps.display()
        );
        let uplink = Site::uplink(yard.broker.as_ref().unwrap().port, "hold");
        yard.site.configure(&(uplink + &Site::dock(yard.dock) + &more));
    }

    fn open(node: &Node) -> i64 {
        node.ledger()["letters"]["open"].as_i64().unwrap()
    }
}

fn kills() -> Seen {
    let times = if full() { 1_000 } else { 6 };
    let mut mixed = Mixed { yard: Yard::new(), gate: free_port() };
    let mut gps0 = Pty::new(&mixed.yard.site.path("gps0"));
    let (over, gate) = (Over(Arc::default()), Arc::new(Mutex::new(Gate::default())));
    let stop = Arc::clone(&over.0);
    let driver = std::thread::spawn(move || drive(&mut gps0, &stop));
    let (stop, told, port, life) = (Arc::clone(&over.0), Arc::clone(&gate), mixed.gate, Arc::new(AtomicU64::new(0)));
    let lives = Arc::clone(&life);
    let sender = std::thread::spawn(move || send(port, &stop, &lives, &told));
    mixed.configure("utf-8");
    let mut node = start_leaving(&mixed.yard, &[]);
    mixed.yard.feed(100.0);
    let mut roll = dice(11);
    let (mut retried, mut began) = (0, Instant::now());
    for n in 1..=times {
        // Every other life of the node has the setting mended, and is asked to try again what the one before kept.
        let asked = if n % 2 == 0 { retry(&mixed.yard.site, Mixed::open(&node)) } else { None };
        retried += u64::from(asked.is_some());
        mixed.yard.more_oks(1 + roll(25), BACK);
        if n % 2 == 0 && roll(2) == 0 {
            std::thread::park_timeout(Duration::from_millis(roll(100)));
        }
        node.kill();
        mixed.configure(if n % 2 == 1 { "latin-1" } else { "utf-8" });
        life.store(n, Ordering::Release);
        node = start_leaving(&mixed.yard, &[]);
        balanced(&node);
        if n % 50 == 0 {
            eprintln!("kill: {n} of {times}, {} ok, {:.0?} for the last 50", mixed.yard.oks(), began.elapsed());
            began = Instant::now();
        }
    }
    drop(over);
    sender.join().unwrap();
    driver.join().unwrap();
    node.kill();
    mixed.configure("latin-1");
    let node = start_leaving(&mixed.yard, &[]);
    let mut asked = None;
    wait_for("no letter of the gate open", || {
        let open = Mixed::open(&node);
        if open > 0 {
            asked = retry(&mixed.yard.site, open);
        }
        (open == 0).then_some(())
    });
    drop(asked);
    let oks = mixed.yard.judge(node);
    let (letters, more) = settled(&mixed.yard, &gate.lock().unwrap());
    let archives = archives(&mixed.yard.store()).len();
    assert!(archives > 0 || !full(), "events have left for the archive meanwhile");
    Seen {
        times,
        said: format!(
            "{} ok, {letters} letters retried in {retried} tries, each one event; {archives} archives; 0 lost, 0 ids changed",
            oks + more
        ),
    }
}

/// Each code that the gate was told of is one event.
fn settled(yard: &Yard, gate: &Gate) -> (usize, usize) {
    let kept = yard.kept();
    super::yard::compare(&gate.ok, &kept);
    let mut by_code: HashMap<&str, u64> = HashMap::new();
    kept.values().flatten().for_each(|code| *by_code.entry(code.as_str()).or_default() += 1);
    let wrong: Vec<(&String, u64)> = gate
        .letters
        .iter()
        .map(|code| (code, by_code.get(code.as_str()).copied().unwrap_or(0)))
        .filter(|(_, n)| *n != 1)
        .collect();
    assert!(wrong.is_empty(), "letters that are not one event: {wrong:?}");
    (gate.letters.len(), gate.ok.len())
}
