//! Another client with the same client id: the broker ends the connection of the one for that of the other, for as long as
//! both come back. Who notices comes back ever more rarely, and says so. Pure.

use std::time::Duration;

use super::backoff::Decorrelated;
use super::script::micros;

/// Connections that the broker closed without a word, one after the other, before that is taken for a rival: MQTT 3.1.1
/// cannot say it, and of MQTT 5 not every broker does.
const SILENT: u32 = 3;
/// Between two of them at most.
const WITHIN: Duration = Duration::from_secs(900);
/// A shorter connection that ended with an event in flight may have ended for that event.
const LIVED_US: i64 = 5_000_000;

/// What is known of a rival.
#[derive(Clone, Debug)]
pub(super) struct Rival {
    /// Connections taken over, one after the other.
    taken: u32,
    /// Connections closed without a word, one after the other.
    silent: u32,
    at_us: i64,
    /// A connection that stood for so long has none.
    calm_us: i64,
}

/// The end of a connection that had stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closing {
    /// Whether the broker said that another client took the name.
    pub taken: bool,
    /// Whether the broker ended it without a word, and not for an event that is known.
    pub by_peer: bool,
    /// Whether an event was in flight.
    pub flew: bool,
}

impl Rival {
    pub fn new(backoff_max: Duration) -> Self {
        // Both wait for half as long again as the longest wait, at most: what stands for twice that has outlived the other.
        Self { taken: 0, silent: 0, at_us: 0, calm_us: micros(backoff_max).saturating_mul(3) }
    }

    /// Whether a rival is to be told of.
    pub const fn is_there(&self) -> bool {
        self.taken > 0 || self.silent >= SILENT
    }

    /// Whether the broker has said so.
    pub const fn is_sure(&self) -> bool {
        self.taken > 0
    }

    /// Takes in how a connection ended that was made at `since_us`; none when it could not be made.
    pub fn ended(&mut self, closing: Option<Closing>, since_us: i64, now_us: i64) {
        let Some(closing) = closing else {
            // The broker is away, or refuses: whatever it closed before, it closed for all.
            self.silent = if self.is_there() { self.silent } else { 0 };
            return;
        };
        self.over(since_us, now_us);
        if now_us - self.at_us > micros(WITHIN) && self.taken == 0 && self.silent < SILENT {
            self.silent = 0;
        }
        self.at_us = now_us;
        if closing.taken {
            self.taken += 1;
        } else if closing.by_peer && (!closing.flew || now_us - since_us > LIVED_US) {
            self.silent += 1;
        }
    }

    /// How long to wait before the next connection. Of what is sure once as after any loss, then long, so that a fight over a
    /// name is a few connections an hour; of what only seems so ever longer, with nothing that makes it short again.
    pub fn wait(&self, policy: &mut Decorrelated) -> Duration {
        match self.taken {
            0 => policy.next_wait(),
            1 => policy.after_loss(),
            _ => policy.long_wait(),
        }
    }

    /// Whether the rival of before is gone, as the connection made at `since_us` has stood for long.
    pub const fn over(&mut self, since_us: i64, now_us: i64) -> bool {
        let calm = self.is_there() && now_us - since_us > self.calm_us;
        if calm {
            (self.taken, self.silent) = (0, 0);
        }
        calm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;
    /// Closed without a word while nothing was in flight.
    const CLOSED: Closing = Closing { taken: false, by_peer: true, flew: false };
    const TAKEN: Closing = Closing { taken: true, by_peer: false, flew: false };

    fn rival() -> Rival {
        Rival::new(Duration::from_secs(300))
    }

    /// The end, at a second, of a connection that stood for so many.
    fn end(rival: &mut Rival, closing: Closing, stood_s: i64, at_s: i64) {
        rival.ended(Some(closing), (at_s - stood_s) * S, at_s * S);
    }

    #[test]
    fn a_broker_that_says_so_is_believed_at_once_and_the_alarm_outlasts_the_next_connection() {
        let mut rival = rival();
        end(&mut rival, TAKEN, 100, 1_000);
        assert!(rival.is_there() && rival.is_sure());
        assert!(!rival.over(1_010 * S, 1_800 * S), "the other one may be waiting");
        assert!(rival.over(1_010 * S, 1_911 * S) && !rival.is_there());
    }

    #[test]
    fn a_fight_over_a_name_is_a_dozen_connections_an_hour_at_most() {
        for seed in 0..50 {
            let mut policy =
                Decorrelated::new(Duration::from_secs(5), Duration::from_secs(300), Duration::from_secs(30), seed);
            let (mut rival, mut at_us, mut connections) = (rival(), 0, 0);
            // The other one takes the name as soon as it can.
            while at_us < 3_600 * S {
                connections += 1;
                rival.ended(Some(TAKEN), at_us, at_us);
                at_us += micros(rival.wait(&mut policy));
            }
            assert!(connections <= 13, "{connections} connections in the first hour");
        }
    }

    #[test]
    fn closings_without_a_word_are_a_rival_after_three_of_them_and_a_broker_that_goes_down_is_none() {
        let mut rival = rival();
        for n in 1..=3 {
            assert!(!rival.is_there());
            end(&mut rival, CLOSED, 20, n * 60);
        }
        assert!(rival.is_there() && !rival.is_sure());
        let mut rival = self::rival();
        for n in 1..=9 {
            end(&mut rival, CLOSED, 20, n * 60);
            rival.ended(None, 0, (n * 60 + 1) * S);
        }
        assert!(!rival.is_there());
    }

    #[test]
    fn an_event_that_ends_connections_and_closings_that_are_rare_are_no_rival() {
        let (mut poisoned, mut rare) = (rival(), rival());
        for n in 1..=9 {
            end(&mut poisoned, Closing { flew: true, ..CLOSED }, 1, n * 60);
            end(&mut rare, CLOSED, 950, n * 1_000);
        }
        assert!(!poisoned.is_there() && !rare.is_there());
    }
}
