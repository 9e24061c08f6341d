//! Devices in, bytes out: opens ports, keeps them open, and hands on what was read with the instant of the read.
//! It frames and decodes nothing, and answers only with the lines it is given.

mod client;
mod conn;
mod file;
mod hid;
mod listen;
mod open;
mod pace;
#[cfg(test)]
mod port_tests;
mod pulse;
#[cfg(test)]
mod rig;
mod serial;
#[cfg(test)]
mod socket_tests;
mod udp;

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::config::{Gps, Line, Network, Parity, Port, Scanner};
use crate::domain::{Reason, Stamp};
use crate::health::{Light, Worker};

/// Most bytes in one [`Input::Bytes`].
pub const CHUNK_MAX: usize = 4096;
/// Bytes of one key record of a keyboard scanner: the kernel's event type (u16), code (u16) and value (i32), little
/// endian. Types: 1 is a key, with value 0 up, 1 down, 2 repeating; type 0 code 3 says that the kernel lost keys before.
pub const KEY_RECORD: usize = 8;
/// Most connections of one listener.
pub const CONNECTIONS_MAX: usize = 16;
/// Most connections from one address, loopback excepted.
pub const CONNECTIONS_PER_ADDRESS: usize = 4;
/// Room for replies of one connection; over half of it its reading pauses.
pub const REPLIES_MAX: usize = 1024;
/// A peer that takes none of its replies for this long is let go.
pub const SLOW_READER: Duration = Duration::from_secs(10);
/// How long a stop, or an end of reading, waits for replies still to come and to be written.
pub const FLUSH_AT_STOP: Duration = Duration::from_secs(2);
/// Lines a second of a source that does not reply; one that replies is paced by its commits.
pub const LINES_PER_S: u32 = 5000;
/// How long a receiver may say nothing before it is silent; after three times this its port is opened anew.
pub const GPS_SILENT_AFTER: Duration = Duration::from_secs(5);
/// How long a baud rate is given once bytes come. A receiver speaks once a second, so a right rate shows within one; nine
/// wrong rates in a row take less than half a minute.
pub const BAUD_TRY: Duration = Duration::from_millis(1800);

/// One opening of a port or one connection of a listener; never used twice while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conn(pub u32);

/// What a source says. For one [`Conn`]: `Opened`, then `Bytes` in the order they were read, then one `Lost`.
#[derive(Debug)]
pub enum Input {
    /// A port was opened or a peer has connected.
    Opened {
        /// Its number.
        conn: Conn,
        /// The peer of a TCP connection.
        peer: Option<SocketAddr>,
        /// Takes lines for the peer, with or without `\n`; they are written in order. It still takes the replies to what
        /// was read before `Lost`, and is to be dropped after them: then the connection closes. An error of `send`
        /// means that nobody is there to read it. Room: [`REPLIES_MAX`] lines.
        reply: Option<mpsc::Sender<String>>,
        /// When.
        at: Stamp,
    },
    /// Bytes were read.
    Bytes {
        /// From where.
        conn: Conn,
        /// 1..=[`CHUNK_MAX`] bytes as they were read; of a keyboard scanner whole records of [`KEY_RECORD`] bytes.
        bytes: Vec<u8>,
        /// Taken right after the read returned.
        at: Stamp,
        /// Who sent this datagram; none for a stream, whose peer came with `Opened`.
        peer: Option<SocketAddr>,
        /// Whether the line was listened to before these bytes: the read had to wait for them. If not, they may be older
        /// than `at` says, and the time since the bytes before them is no silence of the line.
        waited: bool,
    },
    /// The port or connection is over; nothing more comes from it.
    Lost {
        /// Which.
        conn: Conn,
        /// Why.
        why: Lost,
        /// When.
        at: Stamp,
    },
    /// The line was listened to for `quiet_after` and said nothing since the last bytes; once a silence.
    Quiet {
        /// Which.
        conn: Conn,
        /// When that was seen.
        at: Stamp,
    },
    /// A connection or datagram was not taken.
    Refused {
        /// From where it came.
        peer: SocketAddr,
        /// When.
        at: Stamp,
        /// The word for the ledger: `not_allowed`.
        why: Reason,
        /// What exactly was in the way, one sentence.
        text: &'static str,
    },
}

/// Why reading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The file ended, the peer closed, or the device went away.
    Eof,
    /// An error: its kind and text.
    Io(String),
    /// Nothing came for so long that the port is opened anew, or its place was needed for another connection.
    Idle,
    /// The bytes make no sentences: the port is opened anew with the next baud rate.
    Baud,
    /// The node stops, or the worker was started anew.
    Stopped,
    /// The peer does not read its replies.
    SlowReader,
}

impl Display for Lost {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eof => "closed or gone",
            Self::Io(error) => error,
            Self::Idle => "nothing came for too long",
            Self::Baud => "another baud rate is tried",
            Self::Stopped => "waypost stops reading it",
            Self::SlowReader => "the peer does not read its replies",
        })
    }
}

/// One configured input, as far as reading it needs.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// `[A-Za-z0-9_-]{1,64}`
    pub id: String,
    /// `gps` or `scanner`.
    pub kind: &'static str,
    /// Where its bytes come from.
    pub port: Port,
    /// How its tty is set.
    pub line: Line,
    /// How long a baud rate is given at least, where it is found out.
    pub baud_try: Duration,
    /// Networks that may send; empty is loopback only.
    pub allow: Vec<Network>,
    /// Whether frames are answered (tcp, tcp-listen).
    pub reply: bool,
    /// After which silence behind the last byte [`Input::Quiet`] is said; none is never.
    pub quiet_after: Option<Duration>,
    /// After which time without a byte it is silent; none is never.
    pub silent_after: Option<Duration>,
    /// The address a listener has bound, as soon as it has.
    pub bound: watch::Sender<Option<SocketAddr>>,
}

impl From<&Gps> for SourceSpec {
    fn from(gps: &Gps) -> Self {
        Self {
            id: gps.id.clone(),
            kind: "gps",
            port: gps.port.clone(),
            line: gps.line,
            baud_try: BAUD_TRY,
            allow: gps.allow.clone(),
            reply: false,
            quiet_after: None,
            silent_after: Some(GPS_SILENT_AFTER),
            bound: watch::Sender::new(None),
        }
    }
}

impl From<&Scanner> for SourceSpec {
    fn from(scanner: &Scanner) -> Self {
        Self {
            id: scanner.id.clone(),
            kind: "scanner",
            port: scanner.port.clone(),
            line: scanner.line,
            baud_try: BAUD_TRY,
            allow: scanner.allow.clone(),
            reply: scanner.reply,
            quiet_after: Some(scanner.idle),
            silent_after: None,
            bound: watch::Sender::new(None),
        }
    }
}

/// The worker `source:<id>`: reads its port for as long as it is not told to stop; a file only to its end.
///
/// Nothing read is dropped: while `tx` is full it does not read. A source without `reply` is also held to
/// [`LINES_PER_S`] by reading less; one with `reply` is not, there the commit before each reply sets the pace.
pub fn worker(spec: SourceSpec, tx: mpsc::Sender<Input>, light: Light, clock: Clock) -> Worker {
    let name = format!("source:{}", spec.id);
    let source = std::sync::Arc::new(open::Source::new(spec, tx, light, clock));
    Worker::task(name, move |ctx| open::run(std::sync::Arc::clone(&source), ctx))
}
