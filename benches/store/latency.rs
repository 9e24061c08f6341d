//! From the last byte on the wire to four stream clients, beside the floor: a C program that reads the same pty, commits to
//! SQLite with `synchronous = FULL` and writes to open connections. Both run in turns in one session; medians are compared.
//!
//! The floor's source is looked for in `WAYPOST_BENCH` or beside the project; without it only the node's figures are printed.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::bench::{Pty, Site, free_port, wait_for};
use crate::line::{Kind, epoch, wait_until};
use crate::{TURNS, disk, is_short, median};

const CLIENTS: usize = 4;

/// What is sent: a number that the answer carries, at a pace.
#[derive(Clone, Copy)]
enum Load {
    /// RMC, GGA and GSA, ten times a second; the latitude carries the number.
    Fixes { seconds: u32 },
    /// Codes `SEQnnnnnnnnn`, 20 ms apart.
    Scans { count: u32 },
}

impl Load {
    fn count(self) -> u32 {
        match self {
            Self::Fixes { seconds } => seconds * 10,
            Self::Scans { count } => count,
        }
    }

    fn every(self) -> Duration {
        match self {
            Self::Fixes { .. } => Duration::from_millis(100),
            Self::Scans { .. } => Duration::from_millis(20),
        }
    }

    fn frame(self, n: u32) -> Vec<u8> {
        match self {
            Self::Scans { .. } => format!("SEQ{n:09}\r\n").into_bytes(),
            Self::Fixes { .. } => epoch(n, self.every()).into_bytes(),
        }
    }

    /// The numbers that a piece of a stream carries.
    fn numbers(self, text: &str) -> Vec<u32> {
        let digits = |text: &str, n: usize| text.get(..n).and_then(|t| t.parse().ok());
        match self {
            Self::Scans { .. } => text.split("SEQ").skip(1).filter_map(|rest| digits(rest, 9)).collect(),
            Self::Fixes { .. } => {
                let degrees = text.split("\"lat\":").skip(1).filter_map(|rest| {
                    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
                    rest[..end].parse::<f64>().ok().map(|lat| (lat - 48.0) * 60.0)
                });
                let raw =
                    text.split("GPRMC,").skip(1).filter_map(|rest| rest.split(',').nth(2)?.get(2..)?.parse().ok());
                degrees.chain(raw).map(|minutes: f64| number((minutes - 1.0) * 1000.0)).collect()
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number as it was sent")]
fn number(value: f64) -> u32 {
    value.round() as u32
}

/// When each number first came, by client.
type Seen = Arc<Mutex<HashMap<u32, Instant>>>;

/// Reads a stream to its end and notes when each number first came.
fn listen(address: SocketAddr, path: &str, load: Load) -> Seen {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n").unwrap();
    let seen = Seen::default();
    let theirs = Arc::clone(&seen);
    std::thread::spawn(move || {
        let (mut bytes, mut tail) = (vec![0; 1 << 16], String::new());
        while let Ok(n) = stream.read(&mut bytes) {
            let now = Instant::now();
            if n == 0 {
                return;
            }
            tail.push_str(&String::from_utf8_lossy(&bytes[..n]));
            let Some(end) = tail.rfind('\n') else { continue };
            let rest = tail.split_off(end + 1);
            let mut seen = theirs.lock().unwrap();
            for number in load.numbers(&tail) {
                seen.entry(number).or_insert(now);
            }
            tail = rest;
        }
    });
    seen
}

/// Plays the load and answers the milliseconds from before the write to each client's read.
fn measure(pty: &mut Pty, address: SocketAddr, path: &str, load: Load, base: u32) -> Vec<f64> {
    let clients: Vec<Seen> = (0..CLIENTS).map(|_| listen(address, path, load)).collect();
    std::thread::park_timeout(Duration::from_millis(700));
    let start = Instant::now();
    let mut sent = HashMap::new();
    for n in 0..load.count() {
        wait_until(start + load.every() * n);
        let frame = load.frame(base + n);
        sent.insert(base + n, Instant::now());
        pty.write(&frame);
    }
    let all = |client: &Seen| sent.keys().all(|n| client.lock().unwrap().contains_key(n));
    // The last epoch ends only after its silence; a client that misses one is told of below.
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline && !clients.iter().all(all) {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let mut took = Vec::new();
    for client in &clients {
        let seen = client.lock().unwrap();
        took.extend(sent.iter().filter_map(|(n, at)| seen.get(n).map(|then| (*then - *at).as_secs_f64() * 1000.0)));
    }
    assert_eq!(took.len(), sent.len() * CLIENTS, "not everything came");
    took
}

/// p50, p95, p99 of some milliseconds.
fn shares(mut took: Vec<f64>) -> [f64; 3] {
    took.sort_by(f64::total_cmp);
    [50, 95, 99].map(|p| took[(took.len() * p / 100).min(took.len() - 1)])
}

struct Floor {
    program: PathBuf,
}

impl Floor {
    fn build(dir: &Path) -> Option<Self> {
        let home = std::env::var_os("WAYPOST_BENCH")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/bench"), PathBuf::from);
        let program = dir.join("ssefloor");
        let built = Command::new("gcc")
            .args(["-O2", "-o"])
            .arg(&program)
            .arg(home.join("src/ssefloor.c"))
            .args(["-lsqlite3", "-lpthread"])
            .stderr(Stdio::null())
            .status();
        if !built.is_ok_and(|status| status.success()) {
            println!("SKIPPED the floor: {} or libsqlite3-dev is not here", home.display());
            return None;
        }
        Some(Self { program })
    }

    fn start(&self, tty: &Path, db: &Path) -> (Child, SocketAddr) {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let port = address.port().to_string();
        let child = Command::new(&self.program).arg(tty).arg(port).arg(db).spawn().unwrap();
        wait_for("the floor", || TcpStream::connect(address).ok());
        (child, address)
    }
}

fn turn_floor(floor: &Floor, load: Load, base: u32) -> [f64; 3] {
    let dir = tempfile::tempdir_in(disk()).unwrap();
    let mut pty = Pty::new(&dir.path().join("tty"));
    let (mut child, address) = floor.start(&dir.path().join("tty"), &dir.path().join("floor.db"));
    let took = measure(&mut pty, address, "/e", load, base);
    child.kill().unwrap();
    child.wait().unwrap();
    shares(took)
}

fn turn_node(load: Load, base: u32) -> [f64; 3] {
    let site = Site::new_in(disk());
    let mut pty = Pty::new(&site.path("tty"));
    let kind = if matches!(load, Load::Scans { .. }) { Kind::Scanner } else { Kind::Receiver };
    site.configure(&kind.block(&site.path("tty")));
    let node = site.start();
    pty.write(&load.frame(base + 100_000));
    wait_for("the port", || (node.ledger()["events"]["total"].as_i64()? > 0).then_some(()));
    let took = measure(&mut pty, node.address(), "/api/v1/stream", load, base);
    assert_eq!(node.ledger()["balance"], 0);
    assert!(node.stop().success());
    shares(took)
}

fn rounds(name: &str, load: Load, floor: Option<&Floor>) {
    let (mut nodes, mut floors) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let base = 1_000 + u32::try_from(turn).unwrap() * 10_000;
        floors.extend(floor.map(|floor| turn_floor(floor, load, base)));
        nodes.push(turn_node(load, base));
    }
    let of = |turns: &[[f64; 3]], p: usize| median(turns.iter().map(|turn| turn[p]).collect());
    for (p, label) in ["p50", "p95", "p99"].into_iter().enumerate() {
        let node = of(&nodes, p);
        if floors.is_empty() {
            println!("{name} {label}: {node:.2} ms");
        } else {
            let floor = of(&floors, p);
            println!("{name} {label}: {node:.2} ms, floor {floor:.2} ms, ratio {:.2}", node / floor);
        }
    }
}

pub fn compare() {
    let dir = tempfile::tempdir().unwrap();
    let floor = Floor::build(dir.path());
    let (scans, seconds) = if is_short() { (200, 5) } else { (1_000, 60) };
    rounds("scans, 20 ms apart, 4 streams", Load::Scans { count: scans }, floor.as_ref());
    rounds("fixes, 10 Hz, 4 streams", Load::Fixes { seconds }, floor.as_ref());
}
