//! Scanners on TCP that send ahead of the answers, each from a thread of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::bench::{Node, free_ports, wait_for};
use crate::process::written;

/// Scanners at work at once.
pub const SCANNERS: usize = 8;
/// Codes that a scanner sends ahead of their answers.
const AHEAD: usize = 64;
/// Scans of which each waits for its answer: enough for some rounds of the write-ahead log.
pub const ONE_BY_ONE: usize = 4_000;

/// The ports of the scanners.
pub struct Doors([u16; SCANNERS]);

impl Doors {
    pub fn new() -> Self {
        Self(free_ports())
    }

    /// Their blocks of the configuration; with a place each, or none.
    pub fn configuration(&self, with_place: bool) -> String {
        let block = |(nth, port): (usize, &u16)| {
            let place = if with_place { format!("place = \"dock-{nth}\"\n") } else { String::new() };
            format!(
                "[[scanner]]\nid = \"door-{nth}\"\nport = \"tcp-listen://127.0.0.1:{port}\"\n{place}reply = true\nrepeat_window_ms = 0\n\n"
            )
        };
        self.0.iter().enumerate().map(block).collect()
    }

    /// Sends `each` codes from every scanner and hears an answer to each; answers how long that took.
    pub fn scan(&self, each: usize, code: impl Fn(usize, usize) -> String + Sync) -> Duration {
        let connect = |port: &u16| wait_for("a scanner's port", || TcpStream::connect(("127.0.0.1", *port)).ok());
        let lines = |nth: usize| (0..each).map(|n| code(nth, n) + "\r\n").collect::<Vec<String>>();
        let work: Vec<(TcpStream, Vec<String>)> =
            self.0.iter().enumerate().map(|(nth, port)| (connect(port), lines(nth))).collect();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for (stream, lines) in work {
                scope.spawn(move || send(stream, &lines));
            }
        });
        begun.elapsed()
    }

    /// Sends scans of which each is a commit; answers the bytes written for each.
    pub fn bytes_one_by_one(&self, node: &Node) -> f64 {
        let pid = node.child.id();
        let mut stream = TcpStream::connect(("127.0.0.1", self.0[0])).unwrap();
        stream.set_nodelay(true).unwrap();
        let (before, mut answer) = (written(pid), [0; 256]);
        for n in 0..ONE_BY_ONE {
            stream.write_all(format!("TRL{:06}\r\n", n % 2_000).as_bytes()).unwrap();
            let n = stream.read(&mut answer).unwrap();
            assert!(answer[..n].ends_with(b"\n"), "one answer");
        }
        (written(pid) - before) as f64 / ONE_BY_ONE as f64
    }
}

fn send(mut stream: TcpStream, lines: &[String]) {
    stream.set_nodelay(true).unwrap();
    let (mut sent, mut answered, mut bytes) = (0, 0, vec![0; 1 << 16]);
    while answered < lines.len() {
        if sent - answered <= AHEAD / 2 && sent < lines.len() {
            let upto = lines.len().min(answered + AHEAD);
            stream.write_all(lines[sent..upto].concat().as_bytes()).unwrap();
            sent = upto;
        }
        let n = stream.read(&mut bytes).unwrap();
        assert!(n > 0, "the node hung up on a scanner");
        answered += bytes[..n].iter().filter(|byte| **byte == b'\n').count();
    }
}
