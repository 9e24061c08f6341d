//! Scanner bytes in any chunks, in; accepted reads and refusals with their evidence, out.

mod aim;
mod check;
mod classify;
mod desk;
mod epc;
mod forms;
mod framer;
mod gs1;
mod keys;
#[cfg(test)]
mod keys_tests;
mod layout;
mod licence;
#[cfg(test)]
mod mutation_tests;
mod repeat;
pub mod report;
pub(super) mod script;
pub mod sheet;
mod typed;

#[cfg(test)]
mod corpus_tests;
#[cfg(test)]
mod tests;

use crate::domain::{Loss, Scan, Stamp};

use desk::Desk;
use framer::Framer;
use keys::Keyboard;
use sheet::SheetRead;

pub use classify::classify;
pub use desk::ScanCounts;
pub use layout::Layout;
pub use repeat::{RepeatScope, RepeatWindow};
pub use typed::{Typed, slip, typed};

/// The longest frame. Unit: bytes, without its delimiters.
pub const FRAME_MAX: usize = 1024;

/// One event of a keyboard: type (u16), code (u16) and value (i32) as the kernel has them, little endian. Unit: bytes.
pub const KEY_EVENT: usize = 8;

/// How much of a refused read is kept, and the most a decoder ever holds of one. Unit: bytes.
pub const EVIDENCE_MAX: usize = 4096;

/// What stands before the data to say which symbology it came from. An AIM id is recognised in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CodeId {
    /// Nothing more.
    #[default]
    None,
    /// A Symbol code id: `K` for GS1-128, `P0G` for GS1 DataMatrix. A read without one is refused.
    Symbol,
}

/// How bytes are text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8, of which ASCII is a part.
    #[default]
    Utf8,
    /// ISO 8859-1: every byte is a character.
    Latin1,
}

/// How a scanner writes a read: the part of its `[[scanner]]` table that decoding needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanProfile {
    /// What may end a frame; empty ones are left out.
    pub terminators: Vec<Vec<u8>>,
    /// What begins a frame; empty: a frame begins where the last one ended.
    pub start: Vec<u8>,
    /// What every frame begins with.
    pub prefix: Vec<u8>,
    /// What every frame ends with.
    pub suffix: Vec<u8>,
    /// The id before the data.
    pub code_id: CodeId,
    /// What a reader sends when it could not read; empty: it sends nothing.
    pub noread: String,
    /// How bytes are text; the keys of a keyboard type UTF-8 whatever it says.
    pub charset: Charset,
    /// Which keyboard a keyboard scanner pretends to be.
    pub layout: Layout,
    /// How long a frame may be silent before it is refused. Unit: ms.
    pub idle_ms: i64,
}

impl Default for ScanProfile {
    fn default() -> Self {
        Self {
            terminators: vec![b"\r".to_vec(), b"\n".to_vec()],
            start: Vec::new(),
            prefix: Vec::new(),
            suffix: Vec::new(),
            code_id: CodeId::None,
            noread: "NOREAD".to_owned(),
            charset: Charset::Utf8,
            layout: Layout::Us,
            idle_ms: 500,
        }
    }
}

/// One frame's end.
#[derive(Clone, Debug, PartialEq)]
pub enum ScanOut {
    /// Accepted, with the stamp of the read that delivered its terminator.
    Scan(Box<Scan>, Stamp),
    /// Refused, with the stamp of the last read that delivered a byte of it.
    Reject(Loss, Stamp),
    /// A code of the test sheet, with the stamp of the last read that delivered a byte of it.
    Test(Box<SheetRead>, Stamp),
}

/// The decoder of one connection of a port; its memory is bounded by [`EVIDENCE_MAX`] and two short frames.
#[derive(Clone, Debug)]
pub struct ScanDecoder {
    keyboard: Keyboard,
    framer: Framer,
    desk: Desk,
    /// The last read that delivered a byte.
    last: Stamp,
}

impl ScanDecoder {
    /// A decoder at the beginning of a connection.
    #[must_use]
    pub fn new(profile: ScanProfile) -> Self {
        let framer = Framer::new(&profile);
        let keyboard = Keyboard::new(profile.layout, &profile.terminators);
        Self { keyboard, framer, desk: Desk::new(profile), last: Stamp::default() }
    }

    /// Takes the bytes of one read. What they end is appended to `out`, in order.
    ///
    /// A frame that was silent for too long before `at` is refused first: half a code is never glued to the next.
    pub fn feed(&mut self, bytes: &[u8], at: Stamp, out: &mut Vec<ScanOut>) {
        self.idle(at.mono_us, out);
        if bytes.is_empty() {
            return;
        }
        self.last = at;
        self.push(bytes, at, out);
    }

    /// Takes the events of one read of a keyboard, whole ones of [`KEY_EVENT`] bytes: what they type goes the way of [`Self::feed`],
    /// and is what [`ScanCounts::fed`] counts.
    pub fn feed_keys(&mut self, events: &[u8], at: Stamp, out: &mut Vec<ScanOut>) {
        self.idle(at.mono_us, out);
        if events.is_empty() {
            return;
        }
        self.last = at;
        let mut typed = Vec::new();
        for event in events.as_chunks::<KEY_EVENT>().0 {
            let [t0, t1, c0, c1, v0, v1, v2, v3] = *event;
            let (kind, code) = (u16::from_le_bytes([t0, t1]), u16::from_le_bytes([c0, c1]));
            self.keyboard.take(kind, code, i32::from_le_bytes([v0, v1, v2, v3]), &mut typed);
        }
        self.push(&typed, at, out);
    }

    /// Says that nobody listened until `at`: the time since the last bytes is no silence of the line.
    pub fn behind(&mut self, at: Stamp) {
        self.last = at;
    }

    /// When what is open will have been silent for too long, in microseconds of `CLOCK_BOOTTIME`; none when nothing is open.
    #[must_use]
    pub fn deadline_us(&self) -> Option<i64> {
        let is_open = self.framer.is_open() || self.desk.is_waiting() || self.keyboard.is_waiting();
        is_open.then(|| self.last.mono_us.saturating_add(self.desk.profile.idle_ms.saturating_mul(1000)))
    }

    /// Says what time it is: from [`Self::deadline_us`] on, the open frame is refused as `unterminated`.
    pub fn idle(&mut self, now_mono_us: i64, out: &mut Vec<ScanOut>) {
        if self.deadline_us().is_some_and(|deadline_us| now_mono_us >= deadline_us) {
            self.end_open(self.last, out);
        }
    }

    /// Says that the port is gone: the open frame is refused as `unterminated`.
    pub fn lost(&mut self, at: Stamp, out: &mut Vec<ScanOut>) {
        self.end_open(at, out);
    }

    /// What became of every byte and frame so far.
    #[must_use]
    pub fn counts(&self) -> &ScanCounts {
        &self.desk.counts
    }

    /// How many of the last bytes belong to a frame that is not ended yet. None: of those before them too it is not decided
    /// whether they may be kept.
    #[must_use]
    pub fn undecided_bytes(&self) -> Option<usize> {
        let is_decided = !self.desk.is_waiting() && !self.keyboard.is_waiting();
        is_decided.then(|| self.framer.open_bytes())
    }

    fn push(&mut self, bytes: &[u8], at: Stamp, out: &mut Vec<ScanOut>) {
        for byte in bytes {
            let desk = &mut self.desk;
            self.framer.push(*byte, &mut |cut| desk.take(cut, at, out));
        }
        self.desk.counts.fed += as_u64(bytes.len());
        self.balance();
    }

    fn end_open(&mut self, at: Stamp, out: &mut Vec<ScanOut>) {
        let mut typed = Vec::new();
        self.keyboard.silence(&mut typed);
        self.push(&typed, at, out);
        let desk = &mut self.desk;
        self.framer.silence(&mut |cut| desk.take(cut, at, out));
        self.desk.silence(out);
        self.balance();
    }

    fn balance(&mut self) {
        self.desk.counts.open_bytes = as_u64(self.framer.open_bytes() + self.desk.held_bytes());
        self.desk.counts.delimiter_bytes = self.framer.delimiter_bytes();
    }
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
