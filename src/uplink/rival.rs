//! Another client with the same client id: the broker ends the connection of the one for that of the other, for as long as
//! both come back. Who notices comes back ever more rarely, and says so. Pure.

use std::time::Duration;

use super::backoff::Decorrelated;
use super::fault::{Fault, Mend};
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

/// The end of a connection that had stood, or the failure of one that had not.
#[derive(Clone, Copy, Debug)]
pub(super) struct End<'a> {
    pub fault: &'a Fault,
    /// When it was made, if it was. µs
    pub since_us: Option<i64>,
    /// Whether an event was in flight.
    pub flew: bool,
    pub now_us: i64,
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

    /// Takes in how a connection ended.
    pub fn ended(&mut self, end: &End<'_>) {
        let &End { fault, since_us, flew, now_us } = end;
        let Some(since_us) = since_us else {
            // The broker is away, or refuses: whatever it closed before, it closed for all.
            self.silent = if self.is_there() { self.silent } else { 0 };
            return;
        };
        self.over(Some(since_us), now_us);
        if now_us - self.at_us > micros(WITHIN) && self.taken == 0 && self.silent < SILENT {
            self.silent = 0;
        }
        self.at_us = now_us;
        if fault.mend == Some(Mend::Takeover) {
            self.taken += 1;
        } else if fault.by_peer && (!flew || now_us - since_us > LIVED_US) {
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
    pub fn over(&mut self, since_us: Option<i64>, now_us: i64) -> bool {
        let calm = self.is_there() && since_us.is_some_and(|at| now_us - at > self.calm_us);
        if calm {
            (self.taken, self.silent) = (0, 0);
        }
        calm
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::ReconnectReason;

    const S: i64 = 1_000_000;

    fn rival() -> Rival {
        Rival::new(Duration::from_secs(300))
    }

    fn end(fault: &Fault, stood_s: i64, at_s: i64) -> End<'_> {
        End { fault, since_us: Some((at_s - stood_s) * S), flew: false, now_us: at_s * S }
    }

    fn takeover() -> Fault {
        Fault { mend: Some(Mend::Takeover), ..Fault::closed("SessionTakenOver") }
    }

    #[test]
    fn a_broker_that_says_so_is_believed_at_once_and_the_alarm_outlasts_the_next_connection() {
        let mut rival = rival();
        rival.ended(&end(&takeover(), 100, 1_000));
        assert!(rival.is_there() && rival.is_sure());
        assert!(!rival.over(Some(1_010 * S), 1_800 * S), "the other one may be waiting");
        assert!(rival.over(Some(1_010 * S), 1_911 * S) && !rival.is_there());
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
                rival.ended(&End { since_us: Some(at_us), now_us: at_us, ..end(&takeover(), 0, 0) });
                at_us += micros(rival.wait(&mut policy));
            }
            assert!(connections <= 13, "{connections} connections in the first hour");
        }
    }

    #[test]
    fn closings_without_a_word_are_a_rival_after_three_of_them_and_a_broker_that_goes_down_is_none() {
        let closed = Fault::closed("closed");
        let mut rival = rival();
        for n in 1..=3 {
            assert!(!rival.is_there());
            rival.ended(&end(&closed, 20, n * 60));
        }
        assert!(rival.is_there() && !rival.is_sure());
        let away = Fault::given_up(ReconnectReason::Unreachable, "refused".into());
        let mut rival = self::rival();
        for n in 1..=9 {
            rival.ended(&end(&closed, 20, n * 60));
            rival.ended(&End { since_us: None, ..end(&away, 0, n * 60 + 1) });
        }
        assert!(!rival.is_there());
    }

    #[test]
    fn an_event_that_ends_connections_and_closings_that_are_rare_are_no_rival() {
        let closed = Fault::closed("closed");
        let (mut poisoned, mut rare) = (rival(), rival());
        for n in 1..=9 {
            poisoned.ended(&End { flew: true, ..end(&closed, 1, n * 60) });
            rare.ended(&end(&closed, 950, n * 1_000));
        }
        assert!(!poisoned.is_there() && !rare.is_there());
    }
}
