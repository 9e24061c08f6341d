//! What a scanner sent is kept for its ring only once its frame is decided: of a driving licence nothing is, here either.

use std::collections::VecDeque;

use crate::decoder::scan::{EVIDENCE_MAX, ScanDecoder};
use crate::domain::{Reason, Stamp};

use super::ring::Ring;

/// The bytes of one connection that are not decided yet, at most [`EVIDENCE_MAX`] from one read to the next.
#[derive(Default)]
pub(super) struct Sieve {
    waiting: VecDeque<(Stamp, Vec<u8>)>,
    /// Bytes in `waiting`.
    length: usize,
    /// Bytes behind those, for which there was no room: the decoder looks no further either.
    beyond: usize,
    last: Stamp,
    /// Bytes of licences so far, as the decoder counts them.
    withheld: u64,
    /// Overlong frames so far.
    overlong: u64,
}

impl Sieve {
    /// Takes what was read, before the decoder gets it.
    pub(super) fn take(&mut self, bytes: &[u8], at: Stamp) {
        self.last = at;
        if self.beyond > 0 {
            self.beyond += bytes.len();
        } else {
            self.waiting.push_back((at, bytes.to_vec()));
            self.length += bytes.len();
        }
    }

    /// Hands everything on: a receiver says nothing about people that the node does not tell itself.
    pub(super) fn pass(&mut self, ring: &Ring) {
        self.drain(self.length, |bytes, at| ring.bytes(bytes, at));
    }

    /// Hands on what the decoder has decided by now. When a licence was in it, all of that is left out, a clean read that
    /// came with it too.
    pub(super) fn settle(&mut self, decoder: &ScanDecoder, has_keys: bool, ring: &Ring) {
        let open = match decoder.undecided_bytes() {
            // Bytes of a frame are counted as typed; the events behind them end with it.
            Some(bytes) if !has_keys || bytes == 0 => bytes,
            _ => self.length + self.beyond,
        };
        let decided = (self.length + self.beyond).saturating_sub(open);
        if decided > 0 {
            let counts = decoder.counts();
            let withheld = counts.reject_bytes.get(&Reason::Pii).copied().unwrap_or(0);
            let overlong = counts.rejects.get(&Reason::Overlong).copied().unwrap_or(0);
            // Of an overlong frame the decoder has looked at the beginning only.
            let most = if overlong > std::mem::replace(&mut self.overlong, overlong) { EVIDENCE_MAX } else { decided };
            let keep = if withheld > std::mem::replace(&mut self.withheld, withheld) { 0 } else { most.min(decided) };
            let kept =
                self.drain(keep, |bytes, at| if has_keys { ring.events(bytes, at) } else { ring.bytes(bytes, at) });
            let rest = decided - kept;
            self.beyond -= rest - self.drain(rest, |_, _| ());
            if rest > 0 {
                ring.left_out(rest, self.last);
            }
        }
        self.bound();
    }

    /// Takes the first bytes that wait, `most` of them; answers how many there were.
    fn drain(&mut self, most: usize, mut sink: impl FnMut(&[u8], Stamp)) -> usize {
        let mut left = most;
        while left > 0
            && let Some((at, mut bytes)) = self.waiting.pop_front()
        {
            let rest = bytes.split_off(left.min(bytes.len()));
            left -= bytes.len();
            self.length -= bytes.len();
            sink(&bytes, at);
            if !rest.is_empty() {
                self.waiting.push_front((at, rest));
            }
        }
        most - left
    }

    fn bound(&mut self) {
        while self.length > EVIDENCE_MAX
            && let Some((at, mut bytes)) = self.waiting.pop_back()
        {
            let over = (self.length - EVIDENCE_MAX).min(bytes.len());
            bytes.truncate(bytes.len() - over);
            self.length -= over;
            self.beyond += over;
            if !bytes.is_empty() {
                self.waiting.push_back((at, bytes));
            }
        }
    }
}
