//! How long to wait before the next connection: decorrelated jitter behind the `backoff` crate's policy trait.
//! Source: contract section 5; "Exponential Backoff And Jitter", AWS Architecture Blog, for the formula.

use std::time::Duration;

use backoff::backoff::Backoff;

/// A node that is back within this is not missed: the will of [`super::link::WILL_DELAY_S`] and five seconds to connect.
pub(super) const MISSED: Duration = Duration::from_secs(25);

/// Random numbers for spreading many nodes over time; nothing secret rests on them.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// Dice that fall as `seed` says.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in 0..1 (splitmix64).
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number in 0..`n`, which is not 0.
    #[cfg(test)]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "tests roll small numbers"
    )]
    pub fn below(&mut self, n: u64) -> u64 {
        ((self.roll() * n as f64) as u64).min(n - 1)
    }
}

/// Waits that grow at random, each between the base and three times the one before, up to a cap; it never gives up.
#[derive(Clone, Debug)]
pub(super) struct Decorrelated {
    base: Duration,
    cap: Duration,
    spread: Duration,
    last: Option<Duration>,
    dice: Dice,
}

impl Decorrelated {
    /// Waits from `base` to `cap`; the first after a lost connection within `spread`.
    pub fn new(base: Duration, cap: Duration, spread: Duration, seed: u64) -> Self {
        Self { base: base.min(cap), cap, spread, last: None, dice: Dice::new(seed) }
    }

    /// The longest wait between two tries.
    pub const fn cap(&self) -> Duration {
        self.cap
    }

    /// The wait after a connection that had worked was lost. A node that had not recovered since the last loss goes on
    /// where it was: else a broker that takes connections and drops them would be asked for ever at the same pace.
    pub fn after_loss(&mut self) -> Duration {
        if self.last.is_some() {
            return self.next_wait();
        }
        self.last = Some(self.base);
        // Who asks for more spread than that has said that short absences may be seen.
        let spread = if self.spread <= MISSED.mul_f64(1.2) { self.spread.min(MISSED) } else { self.spread };
        spread.mul_f64(self.dice.roll())
    }

    /// The wait after a connection could not be made.
    pub fn next_wait(&mut self) -> Duration {
        self.next_within(self.cap)
    }

    /// The same, when it would be good to be back in so much time; what is less than the base is no time.
    pub fn next_within(&mut self, left: Duration) -> Duration {
        let cap = if left > self.base { self.cap.min(left) } else { self.cap };
        let top = self.last.unwrap_or(self.base).saturating_mul(3).min(cap);
        let wait = self.base + top.saturating_sub(self.base).mul_f64(self.dice.roll());
        self.last = Some(wait);
        wait
    }

    /// The wait where coming back does harm: the longest, and up to half as long again.
    pub fn long_wait(&mut self) -> Duration {
        self.last = Some(self.cap);
        self.cap + self.cap.mul_f64(self.dice.roll() / 2.0)
    }
}

impl Backoff for Decorrelated {
    fn reset(&mut self) {
        self.last = None;
    }

    fn next_backoff(&mut self) -> Option<Duration> {
        Some(self.next_within(self.cap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(seed: u64) -> Decorrelated {
        Decorrelated::new(Duration::from_secs(5), Duration::from_secs(300), Duration::from_secs(30), seed)
    }

    #[test]
    fn waits_stay_between_base_and_cap_and_reach_high() {
        let mut highest = Duration::ZERO;
        for seed in 0..50 {
            let mut policy = policy(seed);
            for _ in 0..40 {
                let wait = policy.next_backoff().unwrap();
                assert!((5.0..=300.0).contains(&wait.as_secs_f64()), "{wait:?}");
                highest = highest.max(wait);
            }
        }
        assert!(highest > Duration::from_secs(200), "{highest:?}");
    }

    #[test]
    fn the_first_wait_after_a_loss_is_spread_and_the_next_grows_until_a_reset() {
        let mut policy = policy(7);
        let spread: Vec<Duration> = (0..100)
            .map(|_| {
                policy.reset();
                policy.after_loss()
            })
            .collect();
        assert!(spread.iter().all(|wait| *wait < Duration::from_secs(30)));
        assert!(spread.iter().any(|wait| *wait < Duration::from_secs(3)), "some come back early");
        assert!(policy.after_loss() >= Duration::from_secs(5), "no recovery in between");
    }

    #[test]
    fn a_cap_below_the_base_is_kept() {
        let mut policy = Decorrelated::new(Duration::from_secs(5), Duration::from_secs(1), Duration::ZERO, 1);
        assert!((0..20).all(|_| policy.next_wait() <= Duration::from_secs(1)));
    }
}
