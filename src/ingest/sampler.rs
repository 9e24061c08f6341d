//! Which letters keep their bytes: of one reason the first ten, then one a minute. The rest is counted to the last one.

use std::collections::BTreeMap;

use crate::domain::{Reason, Stamp};

/// Letters of one reason and source that keep their bytes at once.
const FIRST: u32 = 10;
/// After those, one in this long. µs
const THEN_US: i64 = 60_000_000;

/// The sampling of one source.
#[derive(Clone, Debug, Default)]
pub(super) struct Sampler {
    kept: BTreeMap<Reason, (u32, i64)>,
}

impl Sampler {
    /// Whether this one keeps its bytes.
    pub(super) fn keeps(&mut self, reason: Reason, at: Stamp) -> bool {
        let (kept, last_us) = self.kept.entry(reason).or_insert((0, at.mono_us));
        if *kept >= FIRST && at.mono_us - *last_us < THEN_US {
            return false;
        }
        *kept = kept.saturating_add(1);
        *last_us = at.mono_us;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ten_are_kept_then_one_a_minute() {
        let mut sampler = Sampler::default();
        let kept =
            (0..180).filter(|s| sampler.keeps(Reason::BadChecksum, Stamp { mono_us: s * 1_000_000, wall_ms: 0 }));
        assert_eq!(kept.collect::<Vec<_>>(), (0..10).chain([69, 129]).collect::<Vec<_>>());
    }

    #[test]
    fn each_reason_has_its_own_ten() {
        let mut sampler = Sampler::default();
        for _ in 0..10 {
            sampler.keeps(Reason::BadChecksum, Stamp::default());
        }
        assert!(!sampler.keeps(Reason::BadChecksum, Stamp::default()));
        assert!(sampler.keeps(Reason::Glued, Stamp::default()));
    }
}
