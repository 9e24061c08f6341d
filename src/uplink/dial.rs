//! When the next connection is made: at once at a start, then as the backoff says. Pure.

use std::time::Duration;

use ::backoff::backoff::Backoff;

use super::backoff::{Decorrelated, MISSED};
use super::rival::{Closing, Rival};
use super::script::{Rules, micros};

/// How a connection, or the try to make one, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The broker is well: it ended for one event, which is known or alone the next time.
    Blamed,
    /// One that had stood was lost.
    Lost,
    /// It could not be made, or a person has to mend something first.
    Refused,
}

/// The hand at the dial.
#[derive(Debug)]
pub(super) struct Dial {
    policy: Decorrelated,
    rival: Rival,
    /// The node may not speak under its name: no connection is made.
    is_mute: bool,
    /// When the next try is due; none while one is made or stands. µs.
    next_us: Option<i64>,
    /// Since when the connection stands. µs.
    since_us: i64,
    /// When the last one that had stood was lost. µs; none before the first.
    lost_us: Option<i64>,
    healthy_us: i64,
    blamed_us: i64,
}

impl Dial {
    pub fn new(policy: Decorrelated, rules: &Rules) -> Self {
        let Rules { healthy_us, retry_base_us, .. } = *rules;
        Self {
            rival: Rival::new(policy.cap()),
            policy,
            is_mute: false,
            next_us: Some(i64::MIN),
            since_us: 0,
            lost_us: None,
            healthy_us,
            blamed_us: retry_base_us,
        }
    }

    /// Whether to connect now: once, until that is over.
    pub fn take(&mut self, now_us: i64) -> bool {
        !self.is_mute && self.next_us.take_if(|at| *at <= now_us).is_some()
    }

    /// When the next try is due. µs; none while one is made, a connection stands or none may be made.
    pub fn due_us(&self) -> Option<i64> {
        self.next_us.filter(|_| !self.is_mute)
    }

    /// Whether the node may not speak under its name; once it may again, the next try is due at once.
    pub fn mute(&mut self, is_mute: bool, now_us: i64) {
        if std::mem::replace(&mut self.is_mute, is_mute) && !is_mute {
            self.next_us = self.next_us.map(|at| at.min(now_us));
        }
    }

    /// What is known of another client with the same client id.
    pub const fn rival(&self) -> &Rival {
        &self.rival
    }

    /// Takes in, before [`Dial::over`], what the end of a connection, or of a try with none, says of another client.
    pub fn closed(&mut self, closing: Option<Closing>, now_us: i64) {
        self.rival.ended(closing, self.since_us, now_us);
    }

    /// Whether another client of before is gone, as the connection has stood for long.
    pub fn is_rival_gone(&mut self, stands: bool, now_us: i64) -> bool {
        stands && self.rival.over(self.since_us, now_us)
    }

    /// The broker took the connection.
    pub const fn connected(&mut self, now_us: i64) {
        (self.since_us, self.next_us) = (now_us, None);
    }

    /// The broker has acknowledged something: after a while of that all is well again.
    pub fn answered(&mut self, now_us: i64) {
        if !self.rival.is_there() && now_us - self.since_us >= self.healthy_us {
            self.policy.reset();
        }
    }

    /// The next is due at once, whatever became of the last.
    pub const fn anew(&mut self, now_us: i64) {
        self.next_us = Some(now_us);
    }

    /// It is over: says when the next is.
    pub fn over(&mut self, end: End, now_us: i64) {
        let wait_us = match end {
            End::Blamed | End::Lost if self.rival.is_there() => {
                self.lost_us = Some(now_us);
                micros(self.rival.wait(&mut self.policy))
            }
            End::Blamed => self.blamed_us,
            End::Lost => {
                self.lost_us = Some(now_us);
                micros(self.policy.after_loss())
            }
            End::Refused => {
                let missed_us = self.lost_us.map_or(now_us, |at| at + micros(MISSED));
                let left_us = u64::try_from(missed_us - now_us).unwrap_or(0);
                micros(self.policy.next_within(Duration::from_micros(left_us)))
            }
        };
        self.next_us = Some(now_us.saturating_add(wait_us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::world_tests::{RULES, policy};

    const S: i64 = 1_000_000;

    /// One that has been connected since 0.
    fn connected() -> Dial {
        let mut dial = Dial::new(policy(1), &RULES);
        assert!(dial.take(0));
        dial.connected(0);
        dial
    }

    #[test]
    fn a_node_that_may_not_speak_dials_not_at_all_and_at_once_when_it_may_again() {
        let mut dial = connected();
        dial.mute(true, 9 * S);
        dial.anew(10 * S);
        assert!(!dial.take(i64::MAX) && dial.due_us().is_none());
        dial.over(End::Refused, 20 * S);
        assert!(!dial.take(i64::MAX));
        dial.mute(false, 21 * S);
        assert!(dial.take(21 * S), "whatever the wait was");
    }

    #[test]
    fn a_connection_that_is_left_for_another_costs_no_wait_and_the_next_loss_none_more() {
        let mut dial = connected();
        dial.anew(10 * S);
        assert!(dial.take(10 * S));
        dial.connected(10 * S);
        let mut fresh = connected();
        dial.over(End::Lost, 20 * S);
        fresh.over(End::Lost, 20 * S);
        assert_eq!(dial.due_us(), fresh.due_us(), "the backoff knows nothing of it");
    }

    #[test]
    fn another_client_of_the_same_name_makes_the_waits_long_until_a_connection_has_outlived_it() {
        let taken = Some(Closing { taken: true, by_peer: false, flew: false });
        let mut dial = connected();
        let mut now_us = 0;
        for _ in 0..4 {
            dial.closed(taken, now_us);
            dial.over(End::Lost, now_us);
            now_us = dial.due_us().unwrap();
            assert!(dial.take(now_us));
            dial.connected(now_us);
            // Acknowledgements over a minute make nothing short again.
            dial.answered(now_us + 2 * RULES.healthy_us);
        }
        let lost_us = now_us;
        dial.closed(taken, now_us);
        dial.over(End::Lost, now_us);
        now_us = dial.due_us().unwrap();
        assert!(now_us - lost_us >= 300 * S, "{}", now_us - lost_us);
        assert!(dial.take(now_us));
        dial.connected(now_us);
        assert!(!dial.is_rival_gone(true, now_us + 899 * S) && dial.rival().is_sure());
        assert!(dial.is_rival_gone(true, now_us + 901 * S) && !dial.rival().is_there());
    }
}
