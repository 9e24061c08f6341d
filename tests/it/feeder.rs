//! A scanner that wants replies: it sends codes ahead of the answers, and sends again what a lost connection left unanswered.
//! And a receiver that tells the time.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::bench::{Pty, sentence};

/// Codes sent ahead of their answers.
const AHEAD: usize = 32;
/// A peer that answers nothing for so long is left, as a scanner would.
const DEAF: Duration = Duration::from_secs(45);

/// Plays a receiver that tells the time as it is, an epoch a second, until it is over.
pub fn drive(gps0: &mut Pty, over: &AtomicBool) {
    let mut n = 0;
    while !over.load(Ordering::Acquire) {
        let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
        let (time, date) = (now.strftime("%H%M%S.00").to_string(), now.strftime("%d%m%y").to_string());
        let lat = format!("59{:08.5}", 7.0 + f64::from(n % 50_000) * 0.001);
        let rmc = sentence(&format!("GPRMC,{time},A,{lat},N,01123.25128,E,10.0,090.0,{date},,,A"));
        gps0.offer(
            (rmc + &sentence(&format!("GPGGA,{time},{lat},N,01123.25128,E,1,09,0.9,12.3,M,46.9,M,,"))).as_bytes(),
        );
        n += 1;
        std::thread::park_timeout(Duration::from_millis(1000));
    }
}

/// What a scanner was told.
#[derive(Default)]
pub struct Told {
    /// Code and id of what was answered `ok`, in order.
    pub ok: Vec<(String, String)>,
    /// Code and line of every other answer.
    pub other: Vec<(String, String)>,
    /// Connections made.
    pub connections: u64,
    /// Answers `ok` that had come when the last connection was made.
    pub begun: usize,
    /// Connections that were left because nothing was answered any more.
    pub deaf: u64,
}

/// A scanner at work in a thread of its own. It stops when it is dropped.
pub struct Feeder {
    told: Arc<Mutex<Told>>,
    over: Arc<AtomicBool>,
    enough: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Sender {
    port: u16,
    total: u64,
    per_s: f64,
    told: Arc<Mutex<Told>>,
    over: Arc<AtomicBool>,
    enough: Arc<AtomicBool>,
    begun: Instant,
    next: u64,
    unanswered: VecDeque<String>,
}

impl Feeder {
    /// Sends `total` codes to a listener on loopback, at most `per_s` a second.
    pub fn start(port: u16, total: u64, per_s: f64) -> Self {
        let (told, over) = (Arc::new(Mutex::new(Told::default())), Arc::new(AtomicBool::new(false)));
        let enough = Arc::new(AtomicBool::new(false));
        let mut sender = Sender {
            port,
            total,
            per_s,
            told: Arc::clone(&told),
            over: Arc::clone(&over),
            enough: Arc::clone(&enough),
            begun: Instant::now(),
            next: 1,
            unanswered: VecDeque::new(),
        };
        let thread = std::thread::spawn(move || {
            while !sender.is_over() {
                if let Ok(stream) = TcpStream::connect(("127.0.0.1", sender.port)) {
                    {
                        let mut told = sender.told.lock().unwrap();
                        told.connections += 1;
                        told.begun = told.ok.len();
                    }
                    // An end by the peer is what it connects again for.
                    drop(sender.talk(&stream));
                } else {
                    std::thread::park_timeout(Duration::from_millis(10));
                }
            }
        });
        Self { told, over, enough, thread: Some(thread) }
    }

    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    pub fn oks(&self) -> u64 {
        self.told().ok.len() as u64
    }

    /// Sends no further code, but goes on until each has its answer.
    pub fn enough(&self) {
        self.enough.store(true, Ordering::Release);
    }

    /// Whether every code that was to be sent has its answer.
    pub fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops sending; what was told stays.
    pub fn stop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic of its own was shown already.
            drop(thread.join());
        }
    }
}

impl Sender {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
            || (self.unanswered.is_empty() && (self.next > self.total || self.enough.load(Ordering::Acquire)))
    }

    /// How many codes may have been sent by now.
    fn allowed(&self) -> u64 {
        let by_pace = self.begun.elapsed().as_secs_f64() * self.per_s;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of a test")]
        self.total.min(by_pace.min(1e15) as u64 + 1)
    }

    fn talk(&mut self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        let mut to = stream;
        let mut answers = BufReader::new(stream);
        let again: String = self.unanswered.iter().map(|code| format!("{code}\r\n")).collect();
        to.write_all(again.as_bytes())?;
        let (mut line, mut heard) = (Vec::new(), Instant::now());
        while !self.is_over() {
            let mut more = String::new();
            let is_enough = self.enough.load(Ordering::Acquire);
            while !is_enough && self.unanswered.len() < AHEAD && self.next <= self.allowed() {
                let code = format!("SEQ{:09}", self.next);
                self.next += 1;
                more.push_str(&code);
                more.push_str("\r\n");
                self.unanswered.push_back(code);
            }
            to.write_all(more.as_bytes())?;
            match answers.read_until(b'\n', &mut line) {
                Ok(0) => return Ok(()),
                Ok(_) if line.ends_with(b"\n") => {
                    self.answered(String::from_utf8_lossy(&line).trim_end());
                    line.clear();
                    heard = Instant::now();
                }
                Ok(_) => return Ok(()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if self.unanswered.is_empty() {
                        heard = Instant::now();
                    } else if heard.elapsed() > DEAF {
                        self.told.lock().unwrap().deaf += 1;
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn answered(&mut self, line: &str) {
        let code = self.unanswered.pop_front().expect("an answer without a question");
        let mut told = self.told.lock().unwrap();
        match line.split_once(' ') {
            Some(("ok", id)) => told.ok.push((code, id.to_owned())),
            _ => told.other.push((code, line.to_owned())),
        }
    }
}
