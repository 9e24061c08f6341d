//! Where a read begins and ends: a byte at a time, so that chunks cannot matter, in memory that cannot grow.

use super::{EVIDENCE_MAX, FRAME_MAX, ScanProfile};
use crate::domain::Reason;

/// One stretch of bytes between two delimiters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A whole frame; empty where a delimiter follows another one.
    Frame(&'a [u8]),
    /// Something else: why, its first [`EVIDENCE_MAX`] bytes, how many there were.
    Bad(Reason, &'a [u8], usize),
}

/// What ended a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Start,
    Terminator,
    Silence,
}

/// The delimiters longest first, and the stretch that is open.
#[derive(Clone, Debug)]
pub struct Framer {
    start: Vec<u8>,
    terminators: Vec<Vec<u8>>,
    /// The first bytes of the open stretch, at most [`EVIDENCE_MAX`].
    run: Vec<u8>,
    /// How many bytes the open stretch has, delimiters that may be beginning at its end included.
    length: usize,
    /// The last bytes, as many as the longest delimiter has.
    tail: Vec<u8>,
    tail_max: usize,
    /// Whether the start has come; always so when none is configured.
    started: bool,
    delimiter_bytes: u64,
}

impl Framer {
    /// A framer before the first byte.
    pub fn new(profile: &ScanProfile) -> Self {
        let mut terminators: Vec<Vec<u8>> =
            profile.terminators.iter().filter(|term| !term.is_empty()).cloned().collect();
        terminators.sort_by_key(|term| std::cmp::Reverse(term.len()));
        let tail_max = terminators.first().map_or(0, Vec::len).max(profile.start.len());
        let started = profile.start.is_empty();
        Self {
            start: profile.start.clone(),
            terminators,
            run: Vec::new(),
            length: 0,
            tail: Vec::new(),
            tail_max,
            started,
            delimiter_bytes: 0,
        }
    }

    /// Whether something is open that silence has to end.
    pub fn is_open(&self) -> bool {
        self.length > 0 || (self.started && !self.start.is_empty())
    }

    /// Bytes of the open stretch.
    pub fn open_bytes(&self) -> usize {
        self.length
    }

    /// Bytes that were start, terminator, or control characters between frames.
    pub fn delimiter_bytes(&self) -> u64 {
        self.delimiter_bytes
    }

    /// Takes one byte; what it ends goes to `sink`.
    pub fn push(&mut self, byte: u8, sink: &mut impl FnMut(Cut<'_>)) {
        self.length += 1;
        if self.run.len() < EVIDENCE_MAX {
            self.run.push(byte);
        }
        if self.tail.len() == self.tail_max && self.tail_max > 0 {
            self.tail.remove(0);
        }
        if self.tail_max > 0 {
            self.tail.push(byte);
        }
        if !self.start.is_empty() && self.tail.ends_with(&self.start) {
            self.end(End::Start, self.start.len(), sink);
            self.tail.clear();
            self.started = true;
        } else if let Some(at) = self.terminators.iter().position(|term| self.tail.ends_with(term)) {
            let length = self.terminators[at].len();
            // A longer terminator may begin with this one: its rest still belongs to it.
            let goes_on = self.terminators[..at].iter().any(|longer| longer.starts_with(&self.terminators[at]));
            self.end(End::Terminator, length, sink);
            if !goes_on {
                self.tail.clear();
            }
        }
    }

    /// Ends the open stretch without a terminator: the limit of silence, or the port is gone.
    pub fn silence(&mut self, sink: &mut impl FnMut(Cut<'_>)) {
        self.end(End::Silence, 0, sink);
        self.tail.clear();
    }

    fn end(&mut self, by: End, delimiter: usize, sink: &mut impl FnMut(Cut<'_>)) {
        let length = self.length.saturating_sub(delimiter);
        self.delimiter_bytes += u64::try_from(self.length - length).unwrap_or(u64::MAX);
        let bytes = &self.run[..length.min(self.run.len())];
        let outside = !self.started;
        // Between frames scanners send line ends and acknowledgements that mean nothing.
        let is_idle = outside && bytes.iter().all(|byte| byte.is_ascii_control() || *byte == b' ');
        if length == 0 || (is_idle && length == bytes.len()) {
            self.delimiter_bytes += u64::try_from(length).unwrap_or(u64::MAX);
            if by != End::Silence {
                sink(Cut::Frame(&[]));
            }
        } else if length > FRAME_MAX {
            sink(Cut::Bad(Reason::Overlong, bytes, length));
        } else {
            match by {
                End::Silence => sink(Cut::Bad(Reason::Unterminated, bytes, length)),
                End::Terminator if !outside => sink(Cut::Frame(bytes)),
                End::Start | End::Terminator => sink(Cut::Bad(Reason::Framing, bytes, length)),
            }
        }
        self.run.clear();
        self.length = 0;
        self.started = self.start.is_empty();
    }
}
