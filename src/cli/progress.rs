//! Long work on a terminal: how far it is and how fast, on stderr, and the word to stop. Where there is no terminal it says nothing.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a terminal is told how far it is.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// One line that is written anew.
pub(super) struct Progress {
    /// What is counted: `events`, `MiB`.
    unit: &'static str,
    begun: Instant,
    last: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    pub(super) fn new(unit: &'static str) -> Self {
        Self { unit, begun: Instant::now(), last: None, is_terminal: io::stderr().is_terminal() }
    }

    /// Whether there is a terminal to be told.
    pub(super) const fn is_watched(&self) -> bool {
        self.is_terminal
    }

    /// Tells that `done` are through; `of` how many there are, when that is known.
    pub(super) fn tell(&mut self, done: u64, of: Option<u64>) {
        let now = Instant::now();
        if !self.is_terminal || self.last.is_some_and(|last| now - last < TOLD_EVERY) {
            return;
        }
        self.last = Some(now);
        let took_ms = u64::try_from((now - self.begun).as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = done.saturating_mul(1000) / took_ms;
        let line = match of {
            Some(of) => {
                let left_s = of.saturating_sub(done) / rate.max(1);
                format!("{done} of {of} {}, {rate} a second, {left_s} s left", self.unit)
            }
            None => format!("{done} {}, {rate} a second", self.unit),
        };
        // Who closed stderr does not want to be told.
        drop(write!(io::stderr(), "\r{line}\x1b[K"));
    }

    /// Takes the line away.
    pub(super) fn end(&self) {
        if self.last.is_some() {
            drop(write!(io::stderr(), "\r\x1b[K"));
        }
    }
}

/// Whether a person has asked to stop: Ctrl-C, or SIGTERM. A second one ends the process at once.
#[derive(Clone)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on.
    ///
    /// # Errors
    /// The signals cannot be heard.
    pub(super) fn listen() -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [libc::SIGINT, libc::SIGTERM] {
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&asked))?;
            signal_hook::flag::register(signal, Arc::clone(&asked))?;
        }
        Ok(Self(asked))
    }

    /// True from when he has.
    pub(super) const fn flag(&self) -> &Arc<AtomicBool> {
        &self.0
    }

    pub(super) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
