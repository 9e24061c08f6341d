//! A log of a receiver, played burst by burst: the sentences of one epoch together, the epochs as far apart as they
//! were, or at a rate.

use std::ops::Range;
use std::time::Duration;

use crate::domain::UnixMs;

use super::sentence::{DAY_MS, TimeOfDay, retimed, time_of_day, timed_address};
use super::tape::{Anchor, Tape, Time, millis};

/// Longest piece of a log that is sent at once when no line ends. Bytes.
const FRAME_MAX: usize = 4096;

/// Longest pause of a log that is played as it was; a longer one, or a step back, is played as one interval.
const PAUSE_MAX_MS: i64 = 3_600_000;

/// Epochs back to which a sentence may still belong: receivers stamp some sentences a second ahead.
const EPOCHS_OPEN: usize = 4;

/// How far apart epochs are when the log does not say.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(1);

struct Frame {
    bytes: Range<usize>,
    /// The epoch whose time it carries.
    epoch: Option<usize>,
}

struct Burst {
    at: Duration,
    frames: Vec<Frame>,
}

/// A log on its way out.
pub(super) struct Recording {
    bytes: Vec<u8>,
    bursts: Vec<Burst>,
    /// The moment of each epoch.
    epochs: Vec<Duration>,
    /// How long after the last burst the first comes again.
    gap: Duration,
    time: Time,
    decimals: usize,
    anchor: Anchor,
    repeat: bool,
    next: usize,
    round: Duration,
}

impl Recording {
    /// Cuts a log into bursts. None when it holds no bytes.
    pub(super) fn new(bytes: Vec<u8>, interval: Option<Duration>, time: Time, repeat: bool) -> Option<Self> {
        let mut cut = Cutter::new(interval);
        for range in pieces(&bytes) {
            cut.add(range.clone(), &bytes[range]);
        }
        let decimals = cut.decimals(interval);
        let gap = interval.unwrap_or_else(|| match cut.epochs[..] {
            [first, second, ..] if second > first => second - first,
            _ => INTERVAL_DEFAULT,
        });
        let bursts = cut.bursts;
        (!bursts.is_empty()).then(|| Self {
            bytes,
            bursts,
            epochs: cut.epochs,
            gap,
            time,
            decimals,
            anchor: Anchor::new(if decimals > 2 { 1 } else { 10 }),
            repeat,
            next: 0,
            round: Duration::ZERO,
        })
    }

    fn text(&self, frame: &Frame, zero: UnixMs) -> Vec<u8> {
        let recorded = &self.bytes[frame.bytes.clone()];
        let at = frame.epoch.and_then(|epoch| self.epochs.get(epoch)).filter(|_| self.time == Time::Now);
        at.and_then(|at| retimed(recorded, zero + millis(*at), self.decimals)).unwrap_or_else(|| recorded.to_vec())
    }
}

impl Tape for Recording {
    fn due(&self) -> Option<Duration> {
        self.bursts.get(self.next).map(|burst| self.round + burst.at)
    }

    fn take(&mut self, now_ms: UnixMs) -> Vec<Vec<u8>> {
        let Some(at) = self.bursts.get(self.next).map(|burst| burst.at) else { return Vec::new() };
        let time = self.anchor.time(self.round + at, now_ms);
        let zero = time - millis(at);
        let frames = self.bursts[self.next].frames.iter().map(|frame| self.text(frame, zero)).collect();
        self.next += 1;
        if self.next == self.bursts.len() && self.repeat {
            self.next = 0;
            self.round += at + self.gap;
        }
        frames
    }
}

/// The pieces of a log: each ends with a line feed, or before a `$`, so that glued sentences are seen one by one.
pub(super) fn pieces(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(start..).filter(|rest| !rest.is_empty())?;
        let mut length = rest.len().min(FRAME_MAX);
        for (i, byte) in rest[..length].iter().enumerate() {
            if *byte == b'\n' {
                length = i + 1;
                break;
            }
            if *byte == b'$' && i > 0 {
                length = i;
                break;
            }
        }
        start += length;
        Some(start - length..start)
    })
}

/// Puts the pieces of a log into bursts.
pub(super) struct Cutter {
    interval: Option<Duration>,
    bursts: Vec<Burst>,
    epochs: Vec<Duration>,
    /// The recorded time of each epoch.
    times: Vec<TimeOfDay>,
    /// Addresses of timed sentences in the present burst.
    seen: Vec<Vec<u8>>,
    /// Whether the log has any timed sentence so far; without one, each line is a burst.
    timed: bool,
}

impl Cutter {
    pub(super) const fn new(interval: Option<Duration>) -> Self {
        Self { interval, bursts: Vec::new(), epochs: Vec::new(), times: Vec::new(), seen: Vec::new(), timed: false }
    }

    /// Takes the next piece; answers the moment of the epoch whose time it carries.
    pub(super) fn add(&mut self, range: Range<usize>, bytes: &[u8]) -> Option<Duration> {
        let address = timed_address(bytes);
        let time = time_of_day(bytes);
        let epoch = time.map(|time| self.epoch(time));
        if let Some(Opened { new: true, at, .. }) = epoch {
            self.open(at);
        } else if address.is_some_and(|address| self.seen.iter().any(|seen| seen == address)) {
            // The same sentence again without a new time: a receiver without time, or with a frozen one.
            self.open(self.now() + self.step());
        } else if self.bursts.is_empty() || !self.timed && address.is_none() && self.line_ended() {
            let at = if self.bursts.is_empty() { Duration::ZERO } else { self.now() + self.step() };
            self.open(at);
        }
        if let Some(address) = address {
            self.timed = true;
            self.seen.push(address.to_vec());
        }
        let epoch = epoch.map(|opened| opened.index);
        self.push(Frame { bytes: range, epoch });
        epoch.and_then(|epoch| self.epochs.get(epoch).copied())
    }

    /// The epoch of a recorded time, a new one when none of the open ones has it.
    fn epoch(&mut self, time: TimeOfDay) -> Opened {
        let open = self.times.len().saturating_sub(EPOCHS_OPEN);
        if let Some(back) = self.times[open..].iter().position(|known| known.ms == time.ms) {
            return Opened { index: open + back, new: false, at: Duration::ZERO };
        }
        let at = match (self.interval, self.times.last(), self.epochs.last()) {
            (_, None, _) | (_, _, None) => {
                self.now() + if self.bursts.is_empty() { Duration::ZERO } else { self.step() }
            }
            (Some(interval), ..) => self.now() + interval,
            (None, Some(last), Some(at)) => {
                let pause = (time.ms - last.ms).rem_euclid(DAY_MS);
                let pause = if pause <= PAUSE_MAX_MS { u64::try_from(pause).unwrap_or(1000) } else { 1000 };
                (*at + Duration::from_millis(pause)).max(self.now() + Duration::from_millis(1))
            }
        };
        self.times.push(time);
        self.epochs.push(at);
        Opened { index: self.epochs.len() - 1, new: true, at }
    }

    fn open(&mut self, at: Duration) {
        self.seen.clear();
        self.bursts.push(Burst { at, frames: Vec::new() });
    }

    fn push(&mut self, frame: Frame) {
        if let Some(burst) = self.bursts.last_mut() {
            burst.frames.push(frame);
        }
    }

    fn now(&self) -> Duration {
        self.bursts.last().map_or(Duration::ZERO, |burst| burst.at)
    }

    fn step(&self) -> Duration {
        self.interval.unwrap_or(INTERVAL_DEFAULT)
    }

    fn line_ended(&self) -> bool {
        self.bursts.last().is_some_and(|burst| !burst.frames.is_empty())
    }

    /// Digits that keep every two epochs apart: two at least, three when they stand closer than that grid.
    pub(super) fn decimals(&self, interval: Option<Duration>) -> usize {
        let fine = interval.is_some_and(|interval| !interval.as_micros().is_multiple_of(10_000));
        let said = self.times.iter().map(|time| time.decimals).max().unwrap_or(0);
        if fine || said > 2 { 3 } else { 2 }
    }
}

struct Opened {
    index: usize,
    new: bool,
    at: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::sentence::framed;

    const NOON: UnixMs = 1_795_176_000_000;

    fn log(bodies: &[&str]) -> Vec<u8> {
        bodies.iter().flat_map(|body| framed(body)).collect()
    }

    /// Plays all and gives each burst as its time in ms and its text.
    fn played(log: Vec<u8>, interval_ms: Option<u64>, time: Time) -> Vec<(i64, String)> {
        let mut tape = Recording::new(log, interval_ms.map(Duration::from_millis), time, false).unwrap();
        let mut out = Vec::new();
        while let Some(due) = tape.due() {
            let frames = tape.take(NOON + millis(due) + 3);
            out.push((millis(due), String::from_utf8(frames.concat()).unwrap()));
        }
        out
    }

    #[test]
    fn a_recorded_log_comes_out_byte_for_byte_at_its_own_pace() {
        let bytes = log(&["GPRMC,235958,A", "GPGGA,235958,1", "GPRMC,000000,A", "GPGGA,000000,1", "GPRMC,000003.5,A"]);
        let bursts = played(bytes.clone(), None, Time::Recorded);
        assert_eq!(bursts.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 2000, 5500]);
        assert_eq!(bursts.into_iter().map(|(_, text)| text).collect::<String>().into_bytes(), bytes);
    }

    #[test]
    fn the_sentences_of_one_epoch_keep_one_time() {
        let bytes = log(&["GPGSA,A", "GPRMC,101112,A", "GPGGA,101112.00,1", "GPRMC,101113,A", "GPGGA,101113.00,1"]);
        let bursts = played(bytes, Some(200), Time::Now);
        let texts: Vec<&str> = bursts.iter().map(|(_, text)| text.as_str()).collect();
        assert!(texts[1].contains("GPRMC,120000.20,A") && texts[1].contains("GPGGA,120000.20,1"), "{texts:?}");
        assert!(texts[2].contains("GPRMC,120000.40,A") && texts[2].contains("GPGGA,120000.40,1"), "{texts:?}");
    }

    #[test]
    fn a_sentence_stamped_a_second_ahead_stays_a_second_ahead() {
        let bytes = log(&[
            "GPRMC,000001,A",
            "GPGGA,000000,1",
            "GPRMC,000002,A",
            "GPGGA,000001,1",
            "GPRMC,000003,A",
            "GPGGA,000002,1",
        ]);
        let bursts = played(bytes, None, Time::Now);
        let last = &bursts.last().unwrap().1;
        let seconds: Vec<i64> = last.lines().map(|line| time_of_day(line.as_bytes()).unwrap().ms / 1000).collect();
        assert_eq!(seconds[0] - seconds[1], 1, "{last}");
    }

    #[test]
    fn every_checksum_is_valid_after_retiming_at_a_high_rate() {
        let bytes =
            log(&["GPRMC,1,A", "GPRMC,101112,A,,,,,,,010203,,", "GPGGA,101112,1", "GPRMC,101113,A,,,,,,,010203,,"]);
        for (_, text) in played(bytes, Some(1), Time::Now) {
            for line in text.split_inclusive('\n') {
                let body = &line[1..line.find('*').unwrap()];
                assert_eq!(framed(body), line.as_bytes());
            }
        }
    }

    #[test]
    fn a_frozen_or_missing_time_is_still_paced() {
        let bytes = log(&["GPRMC,,V", "GPGGA,,0", "GPRMC,,V", "GPGGA,,0", "GPRMC,101112,A", "GPRMC,101112,A"]);
        let times: Vec<i64> = played(bytes, None, Time::Recorded).iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [0, 1000, 2000, 3000]);
    }

    #[test]
    fn lines_without_any_time_go_out_one_by_one() {
        let times: Vec<i64> =
            played(b"one\ntwo\nthree".to_vec(), Some(50), Time::Now).iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [0, 50, 100]);
    }

    #[test]
    fn a_looping_log_goes_on_in_even_steps() {
        let bytes = log(&["GPRMC,101112,A", "GPRMC,101113,A"]);
        let mut tape = Recording::new(bytes, None, Time::Now, true).unwrap();
        for n in 0..6_i64 {
            let due = millis(tape.due().unwrap());
            assert_eq!(due, n * 1000);
            let text = tape.take(NOON + due).concat();
            assert_eq!(time_of_day(&text).unwrap().ms, 43_200_000 + n * 1000);
        }
    }

    #[test]
    fn any_bytes_come_out_unchanged_and_an_empty_log_is_none() {
        let mut random = crate::simulate::random::Random::new(9);
        let noise: Vec<u8> = (0..50_000).map(|_| random.byte()).collect();
        let mut tape = Recording::new(noise.clone(), None, Time::Recorded, false).unwrap();
        let mut out = Vec::new();
        while tape.due().is_some() {
            out.extend(tape.take(0).concat());
        }
        assert_eq!(out, noise);
        assert!(Recording::new(Vec::new(), None, Time::Now, true).is_none());
    }
}
