//! How fast: lines a second, tries a minute, log lines a minute.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use tokio::time::Instant;

/// Longest wait between two tries.
pub(super) const RETRY_MAX: Duration = Duration::from_secs(10);

/// Allows `per_s` lines a second and as many at once, by telling how long not to read.
pub(super) struct Pace {
    per_s: f64,
    left: f64,
    at: Instant,
    after_cr: bool,
}

impl Pace {
    pub fn new(per_s: u32) -> Self {
        let per_s = f64::from(per_s);
        Self { per_s, left: per_s, at: Instant::now(), after_cr: false }
    }

    /// Counts the lines in `bytes`, where CR LF is one end; answers how long to rest before the next read.
    pub fn spend(&mut self, bytes: &[u8]) -> Duration {
        let mut lines = 0.0;
        for byte in bytes {
            if *byte == b'\r' || (*byte == b'\n' && !self.after_cr) {
                lines += 1.0;
            }
            self.after_cr = *byte == b'\r';
        }
        let now = Instant::now();
        self.left = (self.left + now.duration_since(self.at).as_secs_f64() * self.per_s).min(self.per_s) - lines;
        self.at = now;
        if self.left >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.left / self.per_s) }
    }
}

/// How long to wait before the next try: 0.5 s, doubling to 10 s, each with jitter; it never gives up.
pub(super) struct Retry(ExponentialBackoff);

impl Retry {
    pub fn new() -> Self {
        let mut policy = ExponentialBackoff {
            initial_interval: Duration::from_millis(500),
            multiplier: 2.0,
            max_interval: RETRY_MAX,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        policy.reset();
        Self(policy)
    }

    /// The next wait.
    pub fn next(&mut self) -> Duration {
        // The crate adds its jitter after the ceiling.
        self.0.next_backoff().unwrap_or(RETRY_MAX).min(RETRY_MAX)
    }

    /// It worked: the next wait is a short one again.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

/// Lets a few log lines of a kind through, then one a minute with the number of those left out.
pub(super) struct Say {
    left: u32,
    refilled: Instant,
    unsaid: u32,
}

const SAY_AT_ONCE: u32 = 4;
const SAY_EVERY: Duration = Duration::from_secs(60);

impl Say {
    pub fn new() -> Self {
        Self { left: SAY_AT_ONCE, refilled: Instant::now(), unsaid: 0 }
    }

    /// How many were left out since the last line if this one is to be written, none if it is to be left out.
    pub fn now(&mut self) -> Option<u32> {
        while self.left < SAY_AT_ONCE && self.refilled.elapsed() >= SAY_EVERY {
            self.left += 1;
            self.refilled += SAY_EVERY;
        }
        if self.left == 0 {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        if self.left == SAY_AT_ONCE {
            self.refilled = Instant::now();
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_thousand_lines_go_at_once_and_the_next_wait_for_their_share() {
        let mut pace = Pace::new(5000);
        assert_eq!(pace.spend(&b"A\r\n".repeat(5000)), Duration::ZERO);
        assert_eq!(pace.spend(&b"A\r".repeat(500)), Duration::from_millis(100));
        assert_eq!(pace.spend(b"\n"), Duration::from_millis(100), "CR LF split over two reads is one end");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(pace.spend(&b"A\n".repeat(5001)), Duration::from_micros(200), "rest is not saved up");
    }

    #[test]
    fn tries_never_end_and_never_wait_over_ten_seconds() {
        let mut retry = Retry::new();
        assert!(retry.next() <= Duration::from_millis(750));
        let waits: Vec<_> = (0..100).map(|_| retry.next()).collect();
        assert!(waits.iter().all(|wait| *wait <= RETRY_MAX));
        assert!(waits[50..].iter().all(|wait| *wait >= Duration::from_secs(5)));
        retry.reset();
        assert!(retry.next() <= Duration::from_millis(750));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flapping_port_writes_four_lines_and_then_one_a_minute() {
        let mut say = Say::new();
        let mut written = 0;
        for _ in 0..600 {
            written += u32::from(say.now().is_some());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(written, 4 + 9);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(say.now(), Some(59));
    }
}
