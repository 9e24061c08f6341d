//! What becomes of each stretch of bytes: read, refused, or part of a licence that must leave no trace.

use std::collections::BTreeMap;

use crate::domain::{Loss, Reason, Stamp};

use super::classify::{cause_of_silence, classify, loss};
use super::framer::Cut;
use super::{ScanOut, ScanProfile, as_u64, licence};

/// What became of every byte and frame of one connection.
///
/// Balance: `fed = scan_bytes + sum(reject_bytes) + delimiter_bytes + open_bytes`, and `frames` is the scans and all rejects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanCounts {
    /// Bytes taken in.
    pub fed: u64,
    /// Bytes of accepted frames.
    pub scan_bytes: u64,
    /// Bytes of rejected frames, by reason.
    pub reject_bytes: BTreeMap<Reason, u64>,
    /// Bytes of starts and terminators, and control characters between frames.
    pub delimiter_bytes: u64,
    /// Bytes of what is not ended yet.
    pub open_bytes: u64,
    /// Ended frames.
    pub frames: u64,
    /// Accepted frames.
    pub scans: u64,
    /// Refused frames by reason.
    pub rejects: BTreeMap<Reason, u64>,
}

/// The frames that may turn out to be the beginning of a licence: its mark and one line of control characters.
const HELD_MAX: usize = 2;

/// How long after a line of a licence another one may come: a radio link may stall in the middle. Unit: µs.
const LICENCE_US: i64 = 5_000_000;

/// A licence of which lines may still come.
#[derive(Clone, Copy, Debug)]
struct Licence {
    /// When the last line of it came, in µs of `CLOCK_BOOTTIME`.
    last_us: i64,
    /// Whether that line was cut off, so that the next stretch is the rest of it, whatever it looks like.
    is_torn: bool,
}

/// The desk at which every stretch ends.
#[derive(Clone, Debug)]
pub struct Desk {
    /// How a read is written.
    pub profile: ScanProfile,
    /// What became of the stretches so far; the bytes that only the framer knows are put in by the decoder.
    pub counts: ScanCounts,
    /// Frames that wait for the next one to say whether they begin a licence, at most [`HELD_MAX`].
    held: Vec<(Vec<u8>, Stamp)>,
    licence: Option<Licence>,
}

impl Desk {
    /// A desk before the first stretch.
    pub fn new(profile: ScanProfile) -> Self {
        Self { profile, counts: ScanCounts::default(), held: Vec::new(), licence: None }
    }

    /// Whether silence would settle something.
    pub fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }

    /// Bytes of the frames that wait.
    pub fn held_bytes(&self) -> usize {
        self.held.iter().map(|(frame, _)| frame.len()).sum()
    }

    /// Takes one stretch.
    pub fn take(&mut self, cut: Cut<'_>, at: Stamp, out: &mut Vec<ScanOut>) {
        let (bytes, length) = match cut {
            Cut::Frame(bytes) => (bytes, bytes.len()),
            Cut::Bad(_, bytes, length) => (bytes, length),
        };
        if bytes.is_empty() {
            // No frame, but it says that nothing of what was cut off before is still to come.
            if let Some(licence) = &mut self.licence {
                licence.is_torn = false;
            }
            return;
        }
        let is_cut_off = matches!(cut, Cut::Bad(Reason::Unterminated, ..));
        let is_head = licence::has_head(bytes)
            // Behind the mark that opens a licence a damaged head is one too, and so is what was cut off.
            || (!self.held.is_empty() && (is_cut_off || licence::resembles_head(bytes)));
        if is_head {
            self.licence = Some(Licence { last_us: at.mono_us, is_torn: is_cut_off });
            let before = self.held_bytes();
            self.held.clear();
            self.refuse(Loss { length: before + length, ..Loss::decoder(Reason::Pii, &[], 0) }, at, out);
            return;
        }
        if self.is_line_of_licence(bytes, is_cut_off, at) {
            self.redact(length, is_cut_off, at, out);
            return;
        }
        match cut {
            Cut::Frame(frame) if self.waits(frame) => self.held.push((frame.to_vec(), at)),
            Cut::Frame(frame) => {
                self.silence(out);
                self.settle(frame, at, out);
            }
            Cut::Bad(reason, ..) => {
                self.silence(out);
                if is_cut_off && licence::ends_inside_head(bytes) {
                    self.licence = Some(Licence { last_us: at.mono_us, is_torn: true });
                }
                let reason = if is_cut_off { cause_of_silence(bytes, self.profile.charset) } else { reason };
                self.refuse(loss(reason, bytes, length), at, out);
            }
        }
    }

    fn is_line_of_licence(&self, bytes: &[u8], is_cut_off: bool, at: Stamp) -> bool {
        self.licence.is_some_and(|licence| {
            at.mono_us - licence.last_us < LICENCE_US && (licence.is_torn || is_cut_off || licence::goes_on(bytes))
        })
    }

    /// Takes a further line of a licence: a part of the read before it, or, after a silence, a refusal of its own that shows it.
    fn redact(&mut self, length: usize, is_cut_off: bool, at: Stamp, out: &mut Vec<ScanOut>) {
        let now = Licence { last_us: at.mono_us, is_torn: is_cut_off };
        let before = self.licence.replace(now).map_or(0, |licence| licence.last_us);
        if at.mono_us - before < self.profile.idle_ms.saturating_mul(1000) {
            *self.counts.reject_bytes.entry(Reason::Pii).or_default() += as_u64(length);
        } else {
            self.refuse(Loss { length, ..Loss::decoder(Reason::Pii, &[], 0) }, at, out);
        }
    }

    /// Settles what waits: no licence follows it.
    pub fn silence(&mut self, out: &mut Vec<ScanOut>) {
        for (frame, at) in std::mem::take(&mut self.held) {
            self.settle(&frame, at, out);
        }
    }

    /// Whether the next frame decides about this one: the mark that opens a licence, and the control characters behind it.
    fn waits(&self, frame: &[u8]) -> bool {
        if self.held.is_empty() {
            // Before the mark there may be a prefix and an id of three characters.
            licence::may_open(frame, self.profile.prefix.len() + 3)
        } else {
            self.held.len() < HELD_MAX && frame.len() <= 4 && frame.iter().all(u8::is_ascii_control)
        }
    }

    fn settle(&mut self, frame: &[u8], at: Stamp, out: &mut Vec<ScanOut>) {
        match classify(frame, &self.profile) {
            Ok(scan) => {
                self.counts.frames += 1;
                self.counts.scans += 1;
                self.counts.scan_bytes += as_u64(frame.len());
                out.push(ScanOut::Scan(Box::new(scan), at));
            }
            Err(loss) => self.refuse(loss, at, out),
        }
    }

    fn refuse(&mut self, loss: Loss, at: Stamp, out: &mut Vec<ScanOut>) {
        self.counts.frames += 1;
        *self.counts.reject_bytes.entry(loss.reason).or_default() += as_u64(loss.length);
        *self.counts.rejects.entry(loss.reason).or_default() += 1;
        out.push(ScanOut::Reject(loss, at));
    }
}
