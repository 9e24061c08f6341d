//! NMEA 0183: bytes in any chunks to finished epochs, losses and counts that balance. It keeps no clock: the caller
//! says when bytes were read, and when the line has been quiet.
//!
//! Source: IEC 61162-1 as retold in gpsd's "NMEA Revealed"; the corpora of real receivers in the tests.

mod counts;
pub(super) mod date;
mod doubt;
mod epoch;
pub(super) mod field;
mod frame;
mod reading;
pub mod report;

pub use counts::{NmeaCounts, Skipped};
pub use doubt::{Doubter, Trusted};
pub use frame::{EVIDENCE_MAX, NOISE_RUN_MAX, SENTENCE_MAX};

use crate::domain::{Fix, Loss, Reason, Stage, Stamp, UnixMs};
use counts::wide;
use date::{Era, GPS_START};
use epoch::Fusion;
use field::DAY_MS;
use frame::{Framer, Piece};

/// How long a line is quiet before its epoch is over. Unit: microseconds.
pub const QUIET_US: i64 = 150_000;

/// What a decoder has to know beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NmeaOptions {
    /// Dates before this cannot be right and are moved by whole rollovers: the build date in the daemon.
    /// Default and least: the start of GPS time, 1980-01-06.
    pub floor_ms: UnixMs,
}

impl Default for NmeaOptions {
    fn default() -> Self {
        Self { floor_ms: GPS_START * DAY_MS }
    }
}

/// What comes out of a decoder, in the order of the bytes. The stamp is that of the read that ended it.
#[derive(Clone, Debug, PartialEq)]
pub enum NmeaOut {
    /// A finished epoch with a fix.
    Fix(Box<Fix>, Stamp),
    /// A finished epoch without a valid position.
    NoFix(Stamp),
    /// Bytes that say nothing, with at most [`EVIDENCE_MAX`] of them.
    Loss(Loss, Stamp),
}

/// Decodes one connection to one port.
#[derive(Clone, Debug)]
pub struct NmeaDecoder {
    framer: Framer,
    desk: Desk,
    /// When the last byte came that may belong to an epoch.
    heard_us: i64,
    /// The newest read.
    at: Stamp,
}

/// Where the pieces of the stream go: counted, read, fused.
#[derive(Clone, Debug)]
struct Desk {
    fusion: Fusion,
    counts: NmeaCounts,
    /// Why the piece before was refused; none when it was accepted. Its line end goes with it.
    refused: Option<Reason>,
}

impl NmeaDecoder {
    /// A decoder for a connection that has just begun.
    #[must_use]
    pub fn new(options: NmeaOptions) -> Self {
        let fusion = Fusion::new(Era::new(options.floor_ms));
        Self {
            framer: Framer::new(),
            desk: Desk { fusion, counts: NmeaCounts::default(), refused: None },
            heard_us: 0,
            at: Stamp::default(),
        }
    }

    /// Says what time it is, where a trusted clock knows it: for dates that cannot be right.
    pub const fn trust(&mut self, now_ms: Option<UnixMs>) {
        self.desk.fusion.trust(now_ms);
    }

    /// Takes the bytes of one read that returned at `at`; what they end is added to `out`.
    pub fn feed(&mut self, bytes: &[u8], at: Stamp, out: &mut Vec<NmeaOut>) {
        let Self { framer, desk, .. } = self;
        let sentences = desk.counts.sentences;
        for byte in bytes {
            framer.push(*byte, &mut |piece| desk.take(piece, at, out));
        }
        desk.counts.bytes += wide(bytes.len());
        desk.counts.open_bytes = wide(framer.open());
        // Noise does not keep an epoch open: a receiver may go on in binary.
        if framer.in_sentence() || desk.counts.sentences != sentences {
            self.heard_us = at.mono_us;
        }
        self.at = at;
    }

    /// When [`NmeaDecoder::quiet`] is due, on the clock of [`Stamp::mono_us`]; none while no epoch is open.
    #[must_use]
    pub fn deadline_us(&self) -> Option<i64> {
        self.desk.fusion.is_open().then(|| self.heard_us.saturating_add(QUIET_US))
    }

    /// Ends the open epoch if its deadline is not after `now_mono_us`; earlier calls do nothing.
    pub fn quiet(&mut self, now_mono_us: i64, out: &mut Vec<NmeaOut>) {
        if self.deadline_us().is_some_and(|deadline_us| deadline_us <= now_mono_us) {
            self.desk.close(out);
        }
    }

    /// Ends the stream: an unfinished sentence is a loss, the open epoch comes out.
    pub fn finish(&mut self, out: &mut Vec<NmeaOut>) {
        let Self { framer, desk, at, .. } = self;
        framer.finish(&mut |piece| desk.take(piece, *at, out));
        desk.close(out);
        desk.counts.open_bytes = wide(framer.open());
    }

    /// The counts since the connection began.
    #[must_use]
    pub const fn counts(&self) -> &NmeaCounts {
        &self.desk.counts
    }
}

impl Desk {
    fn take(&mut self, piece: Piece<'_>, at: Stamp, out: &mut Vec<NmeaOut>) {
        match piece {
            Piece::LineEnd => self.counts.line_end(self.refused),
            Piece::Refused { reason, evidence, length } => self.refuse(reason, evidence, length, at, out),
            Piece::Sentence { text, length } => match self.read(text, at, out) {
                Ok(()) => {
                    self.counts.accept(text, length);
                    self.refused = None;
                }
                Err(reason) => self.refuse(reason, text, length, at, out),
            },
        }
    }

    fn read(&mut self, text: &[u8], at: Stamp, out: &mut Vec<NmeaOut>) -> Result<(), Reason> {
        let Some(reading) = reading::read(text)? else {
            self.counts.drops_said += u64::from(reading::says_it_drops(text));
            return Ok(());
        };
        let before = out.len();
        self.fusion.take(&reading, at, out)?;
        self.count_epochs(&out[before..]);
        Ok(())
    }

    fn refuse(&mut self, reason: Reason, evidence: &[u8], length: usize, at: Stamp, out: &mut Vec<NmeaOut>) {
        self.counts.refuse(reason, length);
        self.refused = Some(reason);
        let bytes = evidence[..evidence.len().min(EVIDENCE_MAX)].to_vec();
        out.push(NmeaOut::Loss(Loss { stage: Stage::Decoder, reason, bytes, ai: None, length }, at));
    }

    fn close(&mut self, out: &mut Vec<NmeaOut>) {
        let before = out.len();
        self.fusion.close(out);
        self.count_epochs(&out[before..]);
    }

    fn count_epochs(&mut self, out: &[NmeaOut]) {
        for one in out {
            match one {
                NmeaOut::Fix(..) => self.counts.fixes += 1,
                NmeaOut::NoFix(_) => self.counts.no_fix += 1,
                NmeaOut::Loss(..) => {}
            }
        }
    }
}

#[cfg(test)]
mod bar_tests;
#[cfg(test)]
mod corpora_tests;
#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
mod tests;
