//! One opening or connection: reads what comes, writes the replies it is given, and says why it ended.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::open::Source;
use super::pulse::{Pulse, or_wait};
use super::serial::Bauds;
use super::{CHUNK_MAX, Conn, Lost, REPLIES_MAX, SLOW_READER};
use crate::config::Port;
use crate::health::SourceCondition;

/// Replies that are taken from the channel for one write.
const REPLIES_A_WRITE: usize = 256;

/// How a connection is ended from outside its reading.
pub(super) struct Leash {
    halt: CancellationToken,
    why: OnceLock<Lost>,
    spoke: AtomicBool,
}

impl Leash {
    /// One that a stop of the worker pulls too.
    pub fn new(pulse: &Pulse) -> Self {
        Self { halt: pulse.stop.child_token(), why: OnceLock::new(), spoke: AtomicBool::new(false) }
    }

    /// Ends the reading between two reads; the first reason counts.
    pub fn pull(&self, why: Lost) {
        self.why.get_or_init(|| why);
        self.halt.cancel();
    }

    /// Whether a byte ever came.
    pub fn spoke(&self) -> bool {
        self.spoke.load(Ordering::Relaxed)
    }

    fn why(&self) -> Lost {
        self.why.get().cloned().unwrap_or(Lost::Stopped)
    }
}

/// Reading one stream until it ends.
pub(super) struct Reading<'a> {
    pub source: &'a Source,
    pub pulse: &'a Pulse,
    pub conn: Conn,
    pub leash: &'a Leash,
    /// The replies that wait for the peer, for a stream that is answered.
    pub backlog: Option<&'a Backlog<'a>>,
    /// The search for the baud rate, for a tty.
    pub bauds: Option<&'a mut Bauds>,
}

/// How many replies wait to be written. It keeps the channel not open: only the intake does.
pub(super) struct Backlog<'a> {
    replies: mpsc::WeakSender<String>,
    shorter: &'a Notify,
}

impl Backlog<'_> {
    /// Waits until no more than half of the channel is taken.
    async fn settle(&self) {
        while self.len() > REPLIES_MAX / 2 {
            self.shorter.notified().await;
        }
    }

    fn len(&self) -> usize {
        self.replies.upgrade().map_or(0, |replies| replies.max_capacity() - replies.capacity())
    }
}

impl Reading<'_> {
    /// Reads until the stream ends, fails, is halted or is given up; waits for bytes, for room and for its pace.
    pub async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Lost {
        let mut buf = vec![0; CHUNK_MAX];
        let mut quiet_since = Instant::now();
        // How much longer the silence must last to be told; none when it was, or nothing came yet.
        let mut quiet = None;
        loop {
            let silent = self.source.spec.silent_after.map(|all| self.next_look(all, quiet_since));
            let wrong_baud = self.bauds.as_ref().and_then(|bauds| bauds.due());
            let patience = [silent, quiet, wrong_baud].into_iter().flatten().min();
            let got = tokio::select! {
                biased;
                () = self.leash.halt.cancelled() => return self.leash.why(),
                // A read that loses has read nothing.
                got = self.pulse.wait(or_wait(from.read(&mut buf)), patience) => got,
            };
            match got {
                None if self.is_baud_wrong(0) => return Lost::Baud,
                None if quiet.take_if(|quiet| Some(*quiet) == patience).is_some()
                    && self.source.quiet(self.pulse, self.conn).await.is_err() =>
                {
                    return Lost::Stopped;
                }
                None if self.is_silent_for_good(quiet_since) => return Lost::Idle,
                None => {}
                Some((Ok(0), _)) => return Lost::Eof,
                Some((Ok(n), waited)) => {
                    let at = self.source.clock.now();
                    quiet_since = Instant::now();
                    self.leash.spoke.store(true, Ordering::Relaxed);
                    self.pulse.working().await;
                    let Ok(rest) = self.source.bytes(self.pulse, self.conn, &buf[..n], at, None, waited).await else {
                        return Lost::Stopped;
                    };
                    self.rest(rest).await;
                    quiet = self.source.spec.quiet_after;
                    if self.is_baud_wrong(n) {
                        return Lost::Baud;
                    }
                }
                Some((Err(error), _)) if error.kind() == ErrorKind::Interrupted => {}
                Some((Err(error), _)) => return Lost::Io(io_text(&error)),
            }
        }
    }

    /// Whether another baud rate is due, after `n` more bytes.
    fn is_baud_wrong(&mut self, n: usize) -> bool {
        self.bauds.as_mut().is_some_and(|bauds| bauds.is_wrong(self.source, n))
    }

    /// How long until silence is said, and after that until the port is opened anew.
    fn next_look(&self, silent_after: Duration, quiet_since: Instant) -> Duration {
        let quiet = quiet_since.elapsed();
        if quiet < silent_after { silent_after - quiet } else { (silent_after * 3).saturating_sub(quiet) }
    }

    fn is_silent_for_good(&self, quiet_since: Instant) -> bool {
        let Some(silent_after) = self.source.spec.silent_after else { return false };
        if quiet_since.elapsed() < silent_after {
            return false;
        }
        let advice = match self.source.spec.port {
            Port::Gpsd(..) => {
                "gpsd is connected but says nothing: check on its machine with `gpsmon` that it has its receiver."
            }
            _ => "The port is open but nothing comes: check the receiver's power and cable and its output setting.",
        };
        self.source.light.port(SourceCondition::Silent, advice);
        quiet_since.elapsed() >= silent_after * 3
    }

    /// Does not read: for its pace, and while the peer leaves its replies lying.
    async fn rest(&self, rest: Duration) {
        let settled = async {
            if !rest.is_zero() {
                sleep(rest).await;
            }
            if let Some(backlog) = self.backlog {
                backlog.settle().await;
            }
        };
        tokio::select! {
            biased;
            () = self.leash.halt.cancelled() => {}
            _ = self.pulse.wait(settled, None) => {}
        }
    }
}

/// Serves one TCP connection to its end: both directions in one task, so that a full intake never keeps replies back.
///
/// A peer that only closed its sending side still gets the replies to what it sent.
pub(super) async fn serve(
    source: &Source,
    pulse: &Pulse,
    conn: Conn,
    peer: SocketAddr,
    mut stream: TcpStream,
    leash: &Leash,
) -> Lost {
    if !source.spec.reply {
        let read = async {
            source.opened(pulse, conn, Some(peer), None).await?;
            let why = Reading { source, pulse, conn, leash, backlog: None, bauds: None }.read(&mut stream).await;
            source.lost(pulse, conn, why).await
        };
        return read.await.unwrap_or(Lost::Stopped);
    }
    let (mut from, mut to) = stream.split();
    let (replies, mut lines) = mpsc::channel(REPLIES_MAX);
    let shorter = Notify::new();
    let read_over = CancellationToken::new();
    let read = async {
        let backlog = Backlog { replies: replies.downgrade(), shorter: &shorter };
        let ended = async {
            source.opened(pulse, conn, Some(peer), Some(replies)).await?;
            let backlog = Some(&backlog);
            let why = Reading { source, pulse, conn, leash, backlog, bauds: None }.read(&mut from).await;
            source.lost(pulse, conn, why).await
        }
        .await;
        read_over.cancel();
        ended
    };
    let write = async {
        tokio::select! {
            biased;
            written = write(&mut to, &mut lines, &shorter) => {
                // Closed first: an intake that waits for room here would not take the `Lost`.
                lines.close();
                // The intake lets go after the last reply; before the end of reading only when it was started anew or
                // found no room for one. A peer that went on would wait for ever: it is to come again and ask for what
                // was not answered.
                leash.pull(written.err().unwrap_or_else(|| Lost::Io("the intake gives no more replies".to_owned())));
            },
            () = replies_over(pulse, &read_over) => {}
        }
    };
    let (why, ()) = tokio::join!(read, write);
    why.unwrap_or(Lost::Stopped)
}

/// Writes replies in order until the channel ends, or says why the peer gets no more.
async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    lines: &mut mpsc::Receiver<String>,
    shorter: &Notify,
) -> Result<(), Lost> {
    let mut batch = Vec::with_capacity(REPLIES_A_WRITE);
    let mut text = Vec::new();
    while lines.recv_many(&mut batch, REPLIES_A_WRITE).await > 0 {
        shorter.notify_one();
        text.clear();
        for line in batch.drain(..) {
            text.extend_from_slice(line.trim_end_matches('\n').as_bytes());
            text.push(b'\n');
        }
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            match timeout(SLOW_READER, to.write(rest)).await {
                Ok(Ok(n)) if n > 0 => rest = &rest[n..],
                Ok(Ok(_)) => return Err(Lost::Io("WriteZero: the peer takes no more".to_owned())),
                Ok(Err(error)) => return Err(Lost::Io(io_text(&error))),
                Err(_) => return Err(Lost::SlowReader),
            }
        }
    }
    Ok(())
}

/// Returns when replies have been waited for long enough after the last read.
async fn replies_over(pulse: &Pulse, read_over: &CancellationToken) {
    let after_reading = async {
        read_over.cancelled().await;
        pulse.wait(std::future::pending::<()>(), Some(SLOW_READER)).await
    };
    tokio::select! {
        biased;
        () = pulse.stopped_for_good() => {}
        _ = after_reading => {}
    }
}

/// Kind and text of an I/O error, e.g. `ConnectionReset: Connection reset by peer (os error 104)`.
pub(super) fn io_text(error: &std::io::Error) -> String {
    format!("{:?}: {error}", error.kind())
}
