//! What counts as motion.

use std::time::Duration;

/// When an asset moves, and when it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MotionLimits {
    /// Faster than this for `start` it moves. m/s, over `stop_mps`, 100 at most.
    pub start_mps: f64,
    /// How long it must be that fast. 600 s at most.
    pub start: Duration,
    /// So far from where it stood it moves, whatever its speed. Metres, 1..=10,000; a poor HDOP makes it more.
    pub start_m: f64,
    /// Slower than this for `stop` it stands. m/s, over 0.
    pub stop_mps: f64,
    /// How long it must be that slow. 1..=3600 s.
    pub stop: Duration,
}

impl Default for MotionLimits {
    fn default() -> Self {
        Self {
            start_mps: 1.5,
            start: Duration::from_secs(3),
            start_m: 30.0,
            stop_mps: 0.5,
            stop: Duration::from_secs(30),
        }
    }
}
