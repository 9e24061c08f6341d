//! How much of what a serial line can carry is in use: a line that is full loses sentences in the receiver, unseen here.

use std::borrow::Cow;

use crate::domain::Stamp;

/// What the load is measured over. Unit: µs; ten epochs of a slow receiver.
const WINDOW_US: i64 = 10_000_000;
/// Longer than this no line is quiet that is near its limit: then process or machine stood still, or the receiver did, and what
/// comes now was on the wire before. Unit: µs
const STOOD_STILL_US: i64 = 3_000_000;
/// From this share on the line is too slow, and below the other one no more.
const TOO_SLOW: f64 = 0.8;
const WELL_AGAIN: f64 = 0.7;
/// How long the word of a receiver that it dropped something is shown. Unit: µs.
const DROPPED_SHOWN_US: i64 = 60_000_000;

/// The load of one line.
#[derive(Debug, Default)]
pub(super) struct LineLoad {
    /// Bits per second on the wire; none where there is no wire with a rate.
    baud: Option<u32>,
    began_us: Option<i64>,
    read_us: Option<i64>,
    /// Until then what comes may have piled up, and is not measured.
    piled_until_us: i64,
    bytes: u64,
    ratio: Option<f64>,
    is_slow: bool,
    dropped_us: Option<i64>,
}

impl LineLoad {
    /// The line was opened at a rate: what was measured at another says nothing.
    pub fn open(&mut self, baud: Option<u32>) {
        *self = Self { baud, dropped_us: self.dropped_us, ..Self::default() };
    }

    /// Nothing comes: there is nothing to measure.
    pub fn stop(&mut self) {
        *self = Self { baud: self.baud, read_us: self.read_us, dropped_us: self.dropped_us, ..Self::default() };
    }

    /// `n` bytes came, read at `at`. Answers whether there is something new to say.
    pub fn carry(&mut self, n: usize, at: Stamp) -> bool {
        let is_over = self.dropped_us.take_if(|since_us| at.mono_us - *since_us >= DROPPED_SHOWN_US).is_some();
        self.measure(n, at) || is_over
    }

    fn measure(&mut self, n: usize, at: Stamp) -> bool {
        let Some(baud) = self.baud else { return false };
        let quiet_us = at.mono_us - self.read_us.replace(at.mono_us).unwrap_or(at.mono_us);
        if quiet_us >= STOOD_STILL_US {
            (self.began_us, self.piled_until_us) = (None, at.mono_us + WINDOW_US);
        }
        if at.mono_us < self.piled_until_us {
            return false;
        }
        let Some(began_us) = self.began_us else {
            // When these bytes began to come is not known.
            (self.began_us, self.bytes) = (Some(at.mono_us), 0);
            return false;
        };
        self.bytes += n as u64;
        let lasted_us = at.mono_us - began_us;
        if lasted_us < WINDOW_US {
            return false;
        }
        // Counts of seconds and kilobytes: an f64 holds every one of them. Eight bits take ten on the wire.
        let ratio = self.bytes as f64 * 10.0 * 1e6 / (lasted_us as f64 * f64::from(baud));
        let ratio = (ratio * 100.0).round().min(100.0) / 100.0;
        self.is_slow = ratio >= if self.is_slow { WELL_AGAIN } else { TOO_SLOW };
        (self.ratio, self.began_us, self.bytes) = (Some(ratio), Some(at.mono_us), 0);
        true
    }

    /// The receiver says that it could not send something.
    pub fn drop_said(&mut self, at: Stamp) {
        self.dropped_us = Some(at.mono_us);
    }

    /// The share that is in use, to whole hundredths, 0.0..=1.0; none before it was measured.
    pub fn ratio(&self) -> Option<f64> {
        self.ratio
    }

    /// What a person should do; empty when nothing.
    pub fn advice(&self) -> Cow<'static, str> {
        let remedy = "raise the receiver's baud rate, or let it send fewer kinds of sentences or less often";
        match (self.is_slow, self.baud, self.ratio) {
            (true, Some(baud), Some(ratio)) => {
                format!("Line too slow: {:.0} % of {baud} baud are in use; {remedy}.", ratio * 100.0).into()
            }
            _ if self.dropped_us.is_some() => {
                format!("Line too slow: the receiver says that it drops sentences (txbuf); {remedy}.").into()
            }
            _ => "".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;

    use super::*;

    /// Carries `bytes` a second for so many seconds from `from_s` on.
    fn carry(load: &mut LineLoad, bytes: usize, from_s: i64, seconds: i64) {
        for second in from_s..from_s + seconds {
            load.carry(bytes, Stamp { mono_us: second * 1_000_000, wall_ms: 0 });
        }
    }

    #[test]
    fn a_line_is_too_slow_from_eighty_per_cent_on_until_it_is_below_seventy() {
        let mut load = LineLoad::default();
        load.open(Some(9600));
        carry(&mut load, 767, 0, 11);
        assert_eq!(load.ratio(), Some(0.8));
        assert!(load.advice().starts_with("Line too slow: 80 % of 9600 baud"), "{}", load.advice());
        carry(&mut load, 700, 11, 10);
        assert_eq!((load.ratio(), load.advice().is_empty()), (Some(0.73), false));
        carry(&mut load, 650, 21, 10);
        assert_eq!((load.ratio(), load.advice().as_ref()), (Some(0.68), ""));
    }

    #[test]
    fn the_rate_it_was_opened_at_counts_and_a_line_without_one_has_no_load() {
        let mut load = LineLoad::default();
        load.open(Some(4800));
        carry(&mut load, 960, 0, 11);
        assert_eq!(load.ratio(), Some(1.0), "a pty carries more than its rate says");
        load.open(Some(115_200));
        assert_eq!((load.ratio(), load.advice().as_ref()), (None, ""));
        carry(&mut load, 960, 20, 11);
        assert_eq!(load.ratio(), Some(0.08));
        load.open(None);
        carry(&mut load, 960, 40, 11);
        assert_eq!(load.ratio(), None);
    }

    #[test]
    fn what_piled_up_while_the_machine_stood_still_is_no_load_of_the_line() {
        let clock = Clock::manual(Stamp::default());
        let mut load = LineLoad::default();
        load.open(Some(9600));
        let second = |load: &mut LineLoad, bytes| {
            clock.advance_ms(1_000);
            load.carry(bytes, clock.now());
        };
        (0..15).for_each(|_| second(&mut load, 413));
        assert_eq!((load.ratio(), load.advice().as_ref()), (Some(0.43), ""));
        for is_told_silent in [false, true] {
            clock.advance_ms(125_000);
            if is_told_silent {
                load.stop();
            }
            // What came in 125 seconds is read at once, a buffer at a time.
            for _ in 0..13 {
                load.carry(4_096, clock.now());
            }
            for _ in 0..30 {
                second(&mut load, 413);
                assert!(load.ratio().is_none_or(|ratio| ratio < 0.44) && load.advice().is_empty(), "{}", load.advice());
            }
            assert_eq!(load.ratio(), Some(0.43));
        }
        // It is measured again: what truly fills the line is told.
        (0..20).for_each(|_| second(&mut load, 900));
        assert!(load.advice().starts_with("Line too slow: 94 %"), "{}", load.advice());
    }

    #[test]
    fn a_receiver_that_says_it_drops_is_believed_for_a_minute() {
        let mut load = LineLoad::default();
        load.drop_said(Stamp::default());
        assert!(load.advice().contains("txbuf"), "{}", load.advice());
        carry(&mut load, 10, 0, 60);
        assert!(!load.advice().is_empty());
        assert!(load.carry(10, Stamp { mono_us: 60_000_000, wall_ms: 0 }));
        assert!(load.advice().is_empty());
    }
}
