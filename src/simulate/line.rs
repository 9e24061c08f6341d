//! A device on its line: plays a tape into a pty at its times, and does to it what the faults say.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

use super::SimulateError;
use super::faults::{Faults, Spoiled, Spoiler};
use super::link::Link;
use super::pty::Pty;
use super::tape::Tape;

/// How long play waits for the first reader, so that who starts both in one go misses nothing.
pub const FIRST_READER_MAX: Duration = Duration::from_secs(10);

/// How often it looks for the first reader.
const FIRST_READER_LOOK: Duration = Duration::from_millis(20);

/// How long a frame waits for a reader that has the port open and does not read. After one such wait no frame does,
/// until the reader reads again.
const STUCK_MAX: Duration = Duration::from_secs(1);

/// How often a frame tries again.
const STUCK_LOOK: Duration = Duration::from_millis(2);

/// How long the port stays after its last byte was read before it is pulled: a pulled pty takes unread bytes with it.
const LAST_WORD: Duration = Duration::from_millis(300);

/// How long it stays for a reader that has it open and has not read all of it.
const LAST_READ_MAX: Duration = Duration::from_secs(10);

/// What becomes of the port when all is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AtEnd {
    /// It stays open and silent until it is told to stop.
    #[default]
    Hold,
    /// It is closed and its link removed.
    Unplug,
}

/// What every simulated device has.
#[derive(Clone, Debug)]
pub struct Device {
    /// Where its port is linked.
    pub link: PathBuf,
    /// Begin again at the end.
    pub repeat: bool,
    /// What becomes of the port at the end.
    pub at_end: AtEnd,
    /// What goes wrong.
    pub faults: Faults,
    /// Of the faults, and of whatever else is left to chance.
    pub seed: u64,
}

/// What was played, once it is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Played {
    /// Frames that were due: sentences, or reads.
    pub frames: u64,
    /// Frames that fell into a silence.
    pub silenced: u64,
    /// Bytes that went into the line.
    pub sent: u64,
    /// Bytes that were due and went nowhere: nobody had the port open or read it, or it was unplugged.
    pub unread: u64,
    /// How often it was unplugged before the end.
    pub unplugged: u64,
    /// Frames that were spoiled.
    pub spoiled: Spoiled,
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frames, silenced, sent, unread, unplugged, spoiled } = self;
        let Spoiled { noise, partial, glue, checksum } = spoiled;
        write!(
            f,
            "{frames} frames played, {silenced} silenced; {sent} bytes sent, {unread} bytes nobody read; \
             faults: noise {noise}, partial {partial}, glue {glue}, checksum {checksum}, unplugged {unplugged}"
        )
    }
}

/// A simulated device whose port is there and linked, ready to play. Dropping it pulls the plug.
pub struct Session {
    line: Line,
    tape: Box<dyn Tape>,
    clock: Clock,
    at_end: AtEnd,
    seed: u64,
    first_reader: Duration,
}

impl Session {
    pub(super) fn plug(device: Device, tape: Box<dyn Tape>, clock: Clock) -> Result<Self, SimulateError> {
        let Device { link, repeat: _, at_end, faults, seed } = device;
        let spoiler = Spoiler::new(faults.clone(), seed);
        let mut line = Line {
            link: Link::new(link),
            pty: None,
            faults,
            spoiler,
            turn: 0,
            pulled: false,
            heard: false,
            stuck: false,
            played: Played::default(),
        };
        line.plug()?;
        Ok(Self { line, tape, clock, at_end, seed, first_reader: FIRST_READER_MAX })
    }

    /// The link that a reader opens.
    #[must_use]
    pub fn link(&self) -> &Path {
        self.line.link.path()
    }

    /// What the link points at now, e.g. `/dev/pts/3`; none while it is unplugged.
    #[must_use]
    pub fn tty(&self) -> Option<&Path> {
        self.line.pty.as_ref().map(Pty::tty)
    }

    /// The seed: with the same input it gives the same bytes again.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Waits at most so long for a first reader before it plays; 0 is a device that never waits.
    #[must_use]
    pub const fn first_reader(mut self, max: Duration) -> Self {
        self.first_reader = max;
        self
    }

    /// Plays to the end, or until `stop`; then the link is gone. Waits on timers and `stop` only.
    ///
    /// # Errors
    /// [`SimulateError`] when the port or its link cannot be made again after an unplug.
    pub async fn run(mut self, stop: CancellationToken) -> Result<Played, SimulateError> {
        // Losing the race loses nothing that counts: a device that is told to stop says no more.
        tokio::select! {
            () = stop.cancelled() => {}
            done = self.play() => done?,
        }
        let mut played = self.line.played;
        played.spoiled = self.line.spoiler.spoiled;
        Ok(played)
    }

    async fn play(&mut self) -> Result<(), SimulateError> {
        self.line.await_reader(self.first_reader).await;
        let start = Instant::now();
        while let Some(due) = self.tape.due() {
            self.line.turn_until(start, due).await?;
            sleep_until(start + due).await;
            let frames = self.tape.take(self.clock.now().wall_ms);
            self.line.follow(self.tape.is_plugged())?;
            let silent = self.line.faults.silence.is_some_and(|silence| silence.is_on(due));
            for frame in frames {
                self.line.played.frames += 1;
                if silent {
                    self.line.played.silenced += 1;
                } else {
                    self.line.send(frame).await;
                }
            }
        }
        match self.at_end {
            AtEnd::Unplug => self.line.await_last_read().await,
            AtEnd::Hold => {
                if self.line.is_out() {
                    self.line.turn_once(start).await?;
                }
                std::future::pending::<()>().await;
            }
        }
        Ok(())
    }
}

struct Line {
    link: Link,
    pty: Option<Pty>,
    faults: Faults,
    spoiler: Spoiler,
    /// Turns of the unplug outage so far: odd while it is unplugged.
    turn: u32,
    /// Whether what is played has the device pulled.
    pulled: bool,
    /// Whether somebody had the port open at the last frame.
    heard: bool,
    stuck: bool,
    played: Played,
}

impl Line {
    fn plug(&mut self) -> Result<(), SimulateError> {
        let pty = Pty::open()?;
        self.link.point_at(pty.tty())?;
        self.pty = Some(pty);
        (self.heard, self.stuck) = (false, false);
        Ok(())
    }

    fn unplug(&mut self) {
        if let Some(pty) = self.pty.take() {
            // The link first: once the pty is closed, its number may be another's.
            self.link.release(pty.tty());
        }
    }

    async fn await_reader(&self, max: Duration) {
        let Some(pty) = &self.pty else { return };
        let deadline = Instant::now() + max;
        while !pty.has_reader() && Instant::now() < deadline {
            sleep(FIRST_READER_LOOK).await;
        }
    }

    /// Waits until what was sent has been read for a while.
    async fn await_last_read(&self) {
        let begun = Instant::now();
        let mut pull = begun + LAST_WORD;
        while Instant::now() < pull {
            sleep(STUCK_LOOK).await;
            if self.pty.as_ref().is_some_and(Pty::has_unread) {
                pull = (Instant::now() + LAST_WORD).min(begun + LAST_READ_MAX);
            }
        }
    }

    /// Pulls and plugs as often as is due before `due`.
    async fn turn_until(&mut self, start: Instant, due: Duration) -> Result<(), SimulateError> {
        while self.faults.unplug.is_some_and(|unplug| unplug.turn(self.turn) <= due) {
            self.turn_once(start).await?;
        }
        Ok(())
    }

    async fn turn_once(&mut self, start: Instant) -> Result<(), SimulateError> {
        let Some(unplug) = self.faults.unplug else { return Ok(()) };
        sleep_until(start + unplug.turn(self.turn)).await;
        self.turn = self.turn.saturating_add(1);
        self.settle()
    }

    /// Whether the outage has the device unplugged now.
    const fn is_out(&self) -> bool {
        !self.turn.is_multiple_of(2)
    }

    /// Is there or not as the tape says, unless the outage has it.
    fn follow(&mut self, is_plugged: bool) -> Result<(), SimulateError> {
        self.pulled = !is_plugged;
        self.settle()
    }

    fn settle(&mut self) -> Result<(), SimulateError> {
        match (self.pulled || self.is_out(), self.pty.is_some()) {
            (true, true) => {
                self.unplug();
                self.played.unplugged += 1;
                Ok(())
            }
            (false, false) => self.plug(),
            _ => Ok(()),
        }
    }

    async fn send(&mut self, frame: Vec<u8>) {
        let bytes = self.spoiler.spoil(frame);
        let Some(pty) = &self.pty else {
            self.played.unread += count(bytes.len());
            return;
        };
        let deadline = Instant::now() + if self.stuck { Duration::ZERO } else { STUCK_MAX };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            if !pty.has_reader() {
                if std::mem::take(&mut self.heard) {
                    pty.forget();
                }
                break;
            }
            self.heard = true;
            match pty.send(rest) {
                Ok(n) if n > 0 => {
                    self.played.sent += count(n);
                    self.stuck = false;
                    rest = &rest[n..];
                }
                Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => break,
                _ if Instant::now() >= deadline => {
                    self.stuck = true;
                    break;
                }
                _ => sleep(STUCK_LOOK).await,
            }
        }
        self.played.unread += count(rest.len());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.unplug();
    }
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
