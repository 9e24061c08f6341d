//! A serial line as it is between a sender and a receiver that do not agree on the baud rate: every bit of the sender is put on
//! a line, and sampled as a UART samples it. What comes out is what a real port gives at a wrong rate, to the byte.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::bench::{Pty, epoch, sentence};

/// Bits of a character in 8N1: start, eight of data, stop.
const FRAME: u64 = 10;
/// A UART looks at the line this often in a bit.
const OVERSAMPLING: u64 = 16;

/// What a receiver at `to` baud hears of `bytes` that are sent at `from` baud, 8N1, after a silence.
///
/// Time is counted in ticks of 1/(from * to * 16 * 2) s, in which every bit of the sender and every sample of the receiver is whole.
pub fn heard(bytes: &[u8], from: u32, to: u32) -> Vec<u8> {
    let bit = u64::from(to) * OVERSAMPLING * 2;
    let sample = u64::from(from) * 2;
    let own_bit = sample * OVERSAMPLING;
    let end = bytes.len() as u64 * FRAME * bit;
    // The line is high when nobody speaks.
    let high = |tick: u64| {
        let (n, at) = (tick / bit / FRAME, tick / bit % FRAME);
        bytes.get(usize::try_from(n).unwrap()).is_none_or(|byte| match at {
            0 => false,
            9 => true,
            at => byte >> (at - 1) & 1 == 1,
        })
    };
    let mut out = Vec::new();
    let (mut tick, mut was_high) = (0, true);
    while tick < end {
        let is_high = high(tick);
        let falls = was_high && !is_high;
        was_high = is_high;
        if !falls || high(tick + own_bit / 2) {
            // No edge, or a spike that is over before the middle of its bit.
            tick += sample;
            continue;
        }
        let mid = |n: u64| high(tick + own_bit / 2 + n * own_bit);
        // The driver hands on what was sampled also when the stop bit is missing, and a break as 0.
        out.push((0..8).fold(0, |byte, n| byte | u8::from(mid(n + 1)) << n));
        let stop = mid(9);
        tick += own_bit / 2 + 9 * own_bit;
        was_high = stop;
    }
    out
}

/// A receiver that speaks once a second into a pty at a rate of its own, and is garbled as long as the reader has set another.
pub struct Receiver {
    /// The rate it speaks at.
    pub baud: Arc<AtomicU32>,
    /// Milliseconds of noise still to send in place of sentences.
    pub noise_ms: Arc<AtomicU64>,
    set: Arc<AtomicU32>,
    was_written: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    pub fn new(link: &Path, baud: u32) -> Self {
        let pty = Pty::new(link);
        let mut receiver = Self {
            baud: Arc::new(AtomicU32::new(baud)),
            noise_ms: Arc::default(),
            set: Arc::default(),
            was_written: Arc::default(),
            stop: Arc::default(),
            thread: None,
        };
        let (baud, noise_ms) = (Arc::clone(&receiver.baud), Arc::clone(&receiver.noise_ms));
        let (set, stop) = (Arc::clone(&receiver.set), Arc::clone(&receiver.stop));
        let was_written = Arc::clone(&receiver.was_written);
        let speak = move || {
            let mut line = Line { pty, set, was_written, stop };
            for second in 36_000.. {
                let until = Instant::now() + Duration::from_secs(1);
                let from = baud.load(Ordering::Relaxed);
                if noise_ms.load(Ordering::Relaxed) > 0 {
                    // Not one sentence a second, but as many bytes as one.
                    line.say(&[0x55, 0x00, 0xff, 0x24].repeat(60), from);
                    noise_ms
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |ms| Some(ms.saturating_sub(1000)))
                        .unwrap();
                } else {
                    for part in burst(second) {
                        line.say(&part, from);
                    }
                }
                if !line.rest(until) {
                    return;
                }
            }
        };
        receiver.thread = Some(std::thread::spawn(speak));
        receiver
    }

    /// The rate that its reader has set.
    pub fn set(&self) -> u32 {
        self.set.load(Ordering::Relaxed)
    }

    /// Whether anybody ever wrote to it.
    pub fn was_written(&self) -> bool {
        self.was_written.load(Ordering::Relaxed)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// What a receiver says in a second, a sentence a part.
fn burst(second: u32) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> =
        String::from_utf8(epoch(second)).unwrap().split_inclusive('\n').map(|one| one.as_bytes().to_vec()).collect();
    parts.push(sentence("GPGSA,A,3,04,05,09,12,24,25,29,31,,,,,1.8,1.0,1.5").into_bytes());
    parts.push(sentence("GPGSV,2,1,08,04,40,083,46,05,17,308,41,09,07,344,39,12,22,228,45").into_bytes());
    parts
}

struct Line {
    pty: Pty,
    set: Arc<AtomicU32>,
    was_written: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Line {
    /// Sends a part in the time that it takes at this rate.
    fn say(&mut self, part: &[u8], from: u32) {
        let took = Duration::from_secs_f64(part.len() as f64 * FRAME as f64 / f64::from(from));
        let until = Instant::now() + took;
        let to = self.look();
        // What there is no room for is lost, as on a line.
        self.pty.offer(&heard(part, from, to));
        self.rest(until);
    }

    /// Sees which rate the reader has set, and whether it wrote.
    fn look(&mut self) -> u32 {
        let fd = self.pty.fd();
        // SAFETY: `mode` and `byte` are valid places for the answers; the descriptor is open and does not block.
        let (baud, got) = unsafe {
            let mut mode: libc::termios2 = std::mem::zeroed();
            assert_eq!(libc::ioctl(fd, libc::TCGETS2, &raw mut mode), 0);
            let mut byte = 0_u8;
            (mode.c_ospeed, libc::read(fd, (&raw mut byte).cast(), 1))
        };
        if got > 0 {
            self.was_written.store(true, Ordering::Relaxed);
        }
        self.set.store(baud, Ordering::Relaxed);
        baud
    }

    /// Waits; false when it is to stop.
    fn rest(&self, until: Instant) -> bool {
        while Instant::now() < until {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            std::thread::park_timeout((until - Instant::now()).min(Duration::from_millis(20)));
        }
        true
    }
}

impl Pty {
    /// The master, which does not block from now on.
    fn fd(&mut self) -> i32 {
        self.offer(b"");
        self.master().as_raw_fd()
    }
}

#[test]
fn a_line_is_heard_as_it_was_said_only_at_its_own_rate() {
    let said = sentence("GPRMC,100001.00,A,5907.00000,N,01123.25128,E,10.0,090.0,211126,,,A").into_bytes();
    for rate in [4800, 9600, 38_400, 115_200, 921_600] {
        assert_eq!(heard(&said, rate, rate), said);
        // Crystals differ: two in a hundred is what every UART must stand.
        assert_eq!(heard(&said, rate, rate + rate / 50), said);
        assert_eq!(heard(&said, rate, rate - rate / 50), said);
    }
    // By hand, at double and half the rate.
    assert_eq!(heard(b"\x00", 9600, 19_200), [0x00], "nine low bits are a break of eighteen, said as one 0");
    assert_eq!(heard(b"\xff", 9600, 19_200), [0xfe], "a start bit that is as long as two");
    assert_eq!(heard(b"\xff", 19_200, 9600), [0_u8; 0], "a start bit that is over before its middle");
    for (from, to) in [(4800, 9600), (9600, 4800), (115_200, 9600), (9600, 115_200), (921_600, 4800), (4800, 921_600)] {
        let garbled = heard(&said.repeat(3), from, to);
        assert!(!garbled.is_empty(), "{from} heard at {to} is something");
        assert!(!garbled.windows(7).any(|part| part == b"$GPRMC,"), "{from} heard at {to}");
        let most = said.len() as u64 * 3 * u64::from(to) / u64::from(from) + 1;
        assert!(garbled.len() as u64 <= most, "{from} heard at {to}: more bytes than fit into the time");
    }
}
