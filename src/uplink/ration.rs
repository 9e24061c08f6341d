//! A ceiling on how much may pass in a time: a bucket that fills steadily and never beyond its size. Pure.

/// A bucket of tokens; without a rate everything passes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ration {
    per_us: f64,
    size: f64,
    level: f64,
    at_us: i64,
}

impl Ration {
    /// `rate` tokens in `span_us`, at most `size` at once, full at the start; a rate of 0 is no ceiling.
    pub fn new(rate: f64, span_us: f64, size: f64) -> Self {
        Self { per_us: rate / span_us, size, level: size, at_us: 0 }
    }

    /// Whether something may pass now. What passes may overdraw the bucket once, so that a large one passes at all.
    pub fn ready(&mut self, now_us: i64) -> bool {
        self.fill(now_us);
        self.per_us <= 0.0 || self.level >= 1.0
    }

    /// Takes tokens out.
    pub fn take(&mut self, tokens: f64) {
        self.level -= tokens;
    }

    /// What may pass at once; none without a rate.
    pub fn left(&self) -> Option<f64> {
        (self.per_us > 0.0).then(|| self.level.max(0.0))
    }

    /// When the next one may pass, if not now. µs.
    #[expect(clippy::cast_possible_truncation, reason = "a float cast saturates; microseconds until then are few")]
    pub fn ready_us(&self) -> Option<i64> {
        let short = self.per_us > 0.0 && self.level < 1.0;
        short.then(|| self.at_us.saturating_add(((1.0 - self.level) / self.per_us).ceil() as i64))
    }

    #[expect(clippy::cast_precision_loss, reason = "microseconds between two calls are far below 2^52")]
    fn fill(&mut self, now_us: i64) {
        let passed = (now_us - self.at_us).max(0) as f64;
        self.level = (self.level + passed * self.per_us).min(self.size);
        self.at_us = now_us.max(self.at_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_lets_its_rate_pass_and_no_more() {
        let mut ration = Ration::new(10.0, 1e6, 10.0);
        let passed = (0..3_000).filter(|ms| {
            let ready = ration.ready(ms * 1000);
            if ready {
                ration.take(1.0);
            }
            ready
        });
        assert!((39..=41).contains(&passed.count()), "10 at once and 30 in 3 s");
        assert!(ration.ready_us() > Some(2_999_000));
    }

    #[test]
    fn no_rate_is_no_ceiling() {
        let mut ration = Ration::new(0.0, 1e6, 0.0);
        assert!((0..1000).all(|_| {
            ration.take(1.0);
            ration.ready(0)
        }));
    }
}
