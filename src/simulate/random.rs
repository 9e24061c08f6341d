//! Chance with a seed. Our own twenty lines and not `rand`: a seed in a bug report must give the same bytes after
//! every update, and `rand` promises no stable stream across its versions.

/// A SplitMix64 generator: every seed is good, the stream is the same on every machine and in every release.
///
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. Not for secrets.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 evenly distributed bits.
    pub(super) const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..1`.
    pub(super) fn unit(&mut self) -> f64 {
        let top = u32::try_from(self.bits() >> 32).unwrap_or(u32::MAX);
        f64::from(top) / (f64::from(u32::MAX) + 1.0)
    }

    /// A number in `low..=high`; `low` when the range is empty.
    pub(super) fn within(&mut self, low: usize, high: usize) -> usize {
        let span = high.saturating_sub(low).saturating_add(1);
        // The remainder favours small numbers by less than one in 2^40 at our spans: no matter for play.
        let pick = self.bits() % u64::try_from(span).unwrap_or(u64::MAX);
        low + usize::try_from(pick).unwrap_or(0)
    }

    /// A byte, any.
    pub(super) const fn byte(&mut self) -> u8 {
        self.bits().to_le_bytes()[7]
    }

    /// About a normal deviate, mean 0, deviation 1: twelve even numbers added, which needs no logarithm and so gives
    /// the same bits everywhere.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_published_stream_for_ever() {
        // The reference values of SplitMix64 for seed 1234567.
        let mut random = Random::new(1_234_567);
        let bits: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        assert_eq!(bits, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn numbers_stay_within_their_range() {
        let mut random = Random::new(7);
        for _ in 0..10_000 {
            assert!((0.0..1.0).contains(&random.unit()));
            assert!((3..=5).contains(&random.within(3, 5)));
            assert!(random.normal().abs() <= 6.0);
        }
        assert_eq!(random.within(9, 2), 9);
    }
}
