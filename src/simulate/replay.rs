//! A capture played as it happened: each read when it came, the port lost and back when it was.

use std::time::Duration;

use crate::domain::UnixMs;

use super::capture::{Capture, Step};
use super::recording::{Cutter, pieces};
use super::sentence::retimed;
use super::tape::{Anchor, Tape, millis};

/// From the last step to the first one again.
const GAP: Duration = Duration::from_secs(1);

enum Play {
    /// Bytes, and the present time that goes into them: the receiver's, counted as the tape's. ms
    Bytes(Vec<u8>, Option<i64>),
    Plugged(bool),
}

/// A capture on its way out.
pub(super) struct Replay {
    steps: Vec<(Duration, Play)>,
    anchor: Anchor,
    decimals: usize,
    repeat: bool,
    next: usize,
    round: Duration,
    is_plugged: bool,
}

impl Replay {
    /// The bytes as they were, read by read. None when there are none.
    pub(super) fn exact(capture: Capture, repeat: bool) -> Option<Self> {
        let steps = capture.steps.into_iter().map(|(at, step)| match step {
            Step::Bytes(bytes) => (at, Play::Bytes(bytes, None)),
            Step::Plugged(is_plugged) => (at, Play::Plugged(is_plugged)),
        });
        Self::new(steps.collect(), 2, repeat)
    }

    /// The same with the present time in the sentences, each sent when its last byte came. None when there are no bytes.
    pub(super) fn restamped(capture: Capture, repeat: bool) -> Option<Self> {
        let mut stretches = vec![Stretch::default()];
        let mut turns = Vec::new();
        for (at, step) in capture.steps {
            match step {
                Step::Bytes(bytes) => stretches.last_mut().into_iter().for_each(|stretch| stretch.add(&bytes, at)),
                Step::Plugged(is_plugged) => {
                    turns.push((at, Play::Plugged(is_plugged)));
                    stretches.push(Stretch::default());
                }
            }
        }
        let mut cut = Cutter::new(None);
        let mut steps = Vec::new();
        // What the receiver's first time is late behind its bytes it stays.
        let mut late = None;
        let mut turns = turns.into_iter();
        for stretch in stretches {
            for range in pieces(&stretch.bytes) {
                let (bytes, at) = (&stretch.bytes[range.clone()], stretch.came(range.end));
                let said = cut.add(range.clone(), bytes);
                let said = said.map(|said| *late.get_or_insert(millis(at) - millis(said)) + millis(said));
                steps.push((at, Play::Bytes(bytes.to_vec(), said)));
            }
            steps.extend(turns.next());
        }
        let decimals = cut.decimals(None);
        Self::new(steps, decimals, repeat)
    }

    fn new(mut steps: Vec<(Duration, Play)>, decimals: usize, repeat: bool) -> Option<Self> {
        let has_bytes = steps.iter().any(|(_, play)| matches!(play, Play::Bytes(bytes, _) if !bytes.is_empty()));
        let mut turns =
            steps.iter().filter_map(|(_, play)| if let Play::Plugged(is) = play { Some(*is) } else { None });
        if let (true, Some(false), Some((at, _))) = (repeat, turns.next_back(), steps.last()) {
            // It ends unplugged: a moment before it begins again it is there, or its first bytes met nobody.
            steps.push((*at + GAP, Play::Plugged(true)));
        }
        let anchor = Anchor::new(if decimals > 2 { 1 } else { 10 });
        let (next, round, is_plugged) = (0, Duration::ZERO, true);
        has_bytes.then_some(Self { steps, anchor, decimals, repeat, next, round, is_plugged })
    }
}

impl Tape for Replay {
    fn due(&self) -> Option<Duration> {
        self.steps.get(self.next).map(|(at, _)| self.round + *at)
    }

    fn take(&mut self, now_ms: UnixMs) -> Vec<Vec<u8>> {
        let Some((at, play)) = self.steps.get(self.next) else { return Vec::new() };
        let mut frames = Vec::new();
        match play {
            Play::Bytes(bytes, None) => frames.push(bytes.clone()),
            Play::Bytes(bytes, Some(said)) => {
                let begin = self.anchor.time(self.round + *at, now_ms) - millis(*at);
                frames.push(retimed(bytes, begin + said, self.decimals).unwrap_or_else(|| bytes.clone()));
            }
            Play::Plugged(is_plugged) => self.is_plugged = *is_plugged,
        }
        self.next += 1;
        if self.next == self.steps.len() && self.repeat {
            self.next = 0;
            self.round += *at + GAP;
        }
        frames
    }

    fn is_plugged(&self) -> bool {
        self.is_plugged
    }
}

/// The bytes between two turns of the plug.
#[derive(Default)]
struct Stretch {
    bytes: Vec<u8>,
    /// Where each read ends, and when it came.
    reads: Vec<(usize, Duration)>,
}

impl Stretch {
    fn add(&mut self, bytes: &[u8], at: Duration) {
        self.bytes.extend_from_slice(bytes);
        self.reads.push((self.bytes.len(), at));
    }

    /// When the byte before `end` came.
    fn came(&self, end: usize) -> Duration {
        let read = self.reads.partition_point(|(upto, _)| *upto < end);
        self.reads.get(read).map_or(Duration::ZERO, |(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::sentence::{framed, time_of_day};

    const NOON: UnixMs = 1_795_176_000_000;

    fn capture() -> Capture {
        let rmc = |second: u32| {
            String::from_utf8(framed(&format!("GPRMC,0000{second:02},A,,,,,,,010203,,")))
                .unwrap()
                .replace("\r\n", "\\\\r\\\\n")
        };
        let (first, second, third) = (rmc(10), rmc(11), rmc(15));
        let (begin, end) = second.split_at(20);
        let text = format!(
            "{{\"capture\":1,\"kind\":\"gps\"}}\n[0,\"\\\\xb5{first}\"]\n[990,\"{begin}\"]\n[1040,\"{end}\"]\n\
             [1500,{{\"port\":\"lost\"}}]\n[4000,{{\"port\":\"back\"}}]\n[5100,\"{third}\"]\n"
        );
        Capture::of("c", text.as_bytes()).unwrap().unwrap()
    }

    /// Each step as its time in ms, its text, and whether the plug is in after it.
    fn played(mut tape: Replay, steps: usize) -> Vec<(i64, Vec<u8>, bool)> {
        let mut out = Vec::new();
        while let Some(due) = tape.due().filter(|_| out.len() < steps) {
            let bytes = tape.take(NOON + millis(due) + 3).concat();
            out.push((millis(due), bytes, tape.is_plugged()));
        }
        out
    }

    #[test]
    fn a_capture_is_played_exactly_as_it_came() {
        let out = played(Replay::exact(capture(), false).unwrap(), 99);
        let times: Vec<(i64, bool)> = out.iter().map(|(at, _, plugged)| (*at, *plugged)).collect();
        assert_eq!(times, [(0, true), (990, true), (1040, true), (1500, false), (4000, true), (5100, true)]);
        let bytes: Vec<u8> = out.into_iter().flat_map(|(_, bytes, _)| bytes).collect();
        assert_eq!(bytes, capture().bytes());
    }

    #[test]
    fn played_now_each_sentence_has_the_present_time_and_comes_as_late_as_it_did() {
        let out = played(Replay::restamped(capture(), false).unwrap(), 99);
        let times: Vec<i64> = out.iter().map(|(at, ..)| *at).collect();
        assert_eq!(times, [0, 0, 1040, 1500, 4000, 5100]);
        let said: Vec<i64> = out.iter().filter_map(|(_, bytes, _)| Some(time_of_day(bytes)?.ms - 43_200_000)).collect();
        assert_eq!(said, [0, 1000, 5000], "as far apart as the receiver said, whenever they came");
        for (_, bytes, _) in out.iter().filter(|(_, bytes, _)| bytes.first() == Some(&b'$')) {
            let text = std::str::from_utf8(bytes).unwrap();
            assert_eq!(framed(&text[1..text.find('*').unwrap()]), *bytes);
        }
    }

    #[test]
    fn a_looping_capture_begins_again_and_one_without_bytes_is_none() {
        let out = played(Replay::exact(capture(), true).unwrap(), 8);
        assert_eq!((out[6].0, &out[6].1), (6100, &out[0].1));
        let empty = Capture::of("c", b"{\"capture\":1}\n[0,{\"port\":\"lost\"}]\n").unwrap().unwrap();
        assert!(Replay::exact(empty.clone(), true).is_none() && Replay::restamped(empty, true).is_none());
    }
}
