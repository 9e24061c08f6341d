//! What a decoder has counted, brought into the metrics once.

use std::collections::BTreeMap;

use crate::decoder::nmea::NmeaCounts;
use crate::decoder::scan::ScanCounts;
use crate::domain::Reason;
use crate::health::{PortOutcome, Tally};

/// What of the decoder's counts is in the metrics already.
#[derive(Default)]
pub(super) struct Reported {
    bytes: BTreeMap<&'static str, u64>,
    sentences: u64,
    pub(super) drops_said: u64,
    refused: BTreeMap<&'static str, u64>,
}

impl Reported {
    pub(super) fn nmea(&mut self, source: &str, tally: &Tally, counts: &NmeaCounts) -> (u64, u64) {
        let sentences = counts.sentences - self.sentences;
        self.sentences = counts.sentences;
        (0..sentences).for_each(|_| tally.sentences(source, PortOutcome::Used));
        if counts.drops_said > self.drops_said {
            tally.receiver_drops(source, counts.drops_said - self.drops_said);
            self.drops_said = counts.drops_said;
        }
        for (code, skipped) in &counts.skipped {
            let seen = self.refused.entry(code).or_default();
            if let Some(reason) = Reason::from_code(code) {
                (*seen..skipped.pieces).for_each(|_| tally.sentences(source, PortOutcome::Refused(reason)));
            }
            *seen = skipped.pieces;
        }
        let now: Vec<_> = counts.bytes_by_outcome().filter(|(code, _)| *code != "open").collect();
        self.bytes(source, tally, &now)
    }

    pub(super) fn scan(&mut self, source: &str, tally: &Tally, counts: &ScanCounts) -> (u64, u64) {
        let used = [("used", counts.scan_bytes + counts.delimiter_bytes)];
        let refused = counts.reject_bytes.iter().map(|(reason, n)| (reason.as_str(), *n));
        let now: Vec<_> = used.into_iter().chain(refused).collect();
        self.bytes(source, tally, &now)
    }

    fn bytes(&mut self, source: &str, tally: &Tally, now: &[(&'static str, u64)]) -> (u64, u64) {
        let (mut good, mut bad) = (0, 0);
        for (code, n) in now {
            let seen = self.bytes.entry(code).or_default();
            // A line end may be moved from one piece to the next: never count backwards.
            let more = n.saturating_sub(*seen);
            *seen = (*seen).max(*n);
            match Reason::from_code(code) {
                Some(reason) => {
                    tally.bytes(source, PortOutcome::Refused(reason), more);
                    bad += more;
                }
                None => {
                    tally.bytes(source, PortOutcome::Used, more);
                    good += more;
                }
            }
        }
        (good, bad)
    }
}
