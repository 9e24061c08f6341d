//! What a receiver says of a boat at its moorings, made from a seed after a real log of 20 minutes: half of the positions
//! within 5 m, 95 in a hundred within 20 m, all within 22.4 m, at HDOP 3; speeds mostly below 0.6 m/s and a few over 1 m/s, for 4 s at most.

/// The HDOP throughout.
pub(crate) const HDOP: f64 = 3.0;
/// Fixes, one a second.
pub(crate) const FIXES: usize = 1200;

/// One fix: metres east and north of the moorings, and the speed over ground. m/s
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) speed_mps: f64,
}

/// The track of a seed as the log has it: it wanders around the moorings, and once, for a minute, an echo draws it away.
pub(crate) fn track(seed: u64) -> Vec<Said> {
    let mut dice = Dice::new(seed);
    let raw = wander(&mut dice);
    let half = percentile(&raw.iter().map(|[x, y]| x.hypot(*y)).collect::<Vec<_>>(), 50);
    let (begins, towards) = (100.0 + 900.0 * dice.uniform(), dice.uniform() * std::f64::consts::TAU);
    let drawn = |second: usize| {
        let into = second as f64 - begins;
        21.0 * (into.min(115.0 - into) / 25.0).clamp(0.0, 1.0)
    };
    let at = |(second, [x, y]): (usize, &[f64; 2])| {
        let calm = if drawn(second) > 0.0 { 0.4 } else { 1.0 } * 4.7 / half;
        [x * calm + drawn(second) * towards.cos(), y * calm + drawn(second) * towards.sin()]
    };
    stretched(&raw.iter().enumerate().map(at).collect::<Vec<_>>(), &mut dice)
}

/// A harder one with the same figures: it is drawn away many times, to all sides.
pub(crate) fn restless(seed: u64) -> Vec<Said> {
    let mut dice = Dice::new(seed);
    let raw = wander(&mut dice);
    stretched(&raw, &mut dice)
}

/// Ornstein-Uhlenbeck driven by Ornstein-Uhlenbeck: it drifts for half a minute, and does not shiver.
fn wander(dice: &mut Dice) -> Vec<[f64; 2]> {
    let (mut force, mut at) = ([0.0; 2], [0.0; 2]);
    let mut step = || {
        for axis in 0..2 {
            force[axis] += -force[axis] / 8.0 + dice.normal();
            at[axis] += -at[axis] / 30.0 + force[axis];
        }
        at
    };
    (0..FIXES + 300).map(|_| step()).skip(300).collect()
}

/// Stretched so that median, 95th percentile and the furthest are those of the log.
fn stretched(raw: &[[f64; 2]], dice: &mut Dice) -> Vec<Said> {
    let radii: Vec<f64> = raw.iter().map(|[x, y]| x.hypot(*y)).collect();
    let (half, most) = (percentile(&radii, 50), percentile(&radii, 95));
    let power = 4.0_f64.ln() / (most / half).ln();
    let said = |(([x, y], r), speed_mps): ((&[f64; 2], &f64), f64)| {
        let away = 5.0 * (r / half).powf(power);
        let away = if away > 20.0 { 22.4 - 2.4 * ((20.0 - away) / 2.4).exp() } else { away };
        let stretch = if *r > 0.0 { away / r } else { 0.0 };
        Said { x: x * stretch, y: y * stretch, speed_mps }
    };
    raw.iter().zip(&radii).zip(speeds(dice)).map(said).collect()
}

fn speeds(dice: &mut Dice) -> Vec<f64> {
    let mut speeds: Vec<f64> = (0..FIXES).map(|_| (dice.normal() * 0.22).abs().min(0.95)).collect();
    for burst in [100, 350, 640, 900, 1150] {
        for (second, speed) in [1.1, 1.9, 1.7, 1.05].into_iter().enumerate() {
            speeds[burst + second] = speed + 0.05 * dice.normal().clamp(-0.9, 0.9);
        }
    }
    speeds
}

/// The value below which so many in a hundred are.
pub(crate) fn percentile(values: &[f64], hundredth: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) * hundredth / 100]
}

struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Xorshift, 0..1.
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}
