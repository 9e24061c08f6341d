//! What goes wrong on purpose: spoiled frames by chance, silence and pulled plugs by the clock.

use std::str::FromStr;
use std::time::Duration;

use super::SimulateError;
use super::random::Random;

/// Longest period of an outage. Seconds; a day.
const EVERY_MAX_S: f64 = 86_400.0;

/// Longest burst of noise. Bytes.
const NOISE_MAX: usize = 16;

/// What is to go wrong. A frame here is what a device sends at once: a sentence, or a read with its terminator.
/// The default is that nothing does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// Chance that 1 to 16 random bytes come before a frame. 0..=1.
    pub noise: f64,
    /// Chance that the end of a frame, terminator included, is lost. 0..=1.
    pub partial: f64,
    /// Chance that a frame loses its terminator and runs into the next. 0..=1.
    pub glue: f64,
    /// Chance that a sentence carries a wrong checksum, or a code another last digit. 0..=1.
    pub checksum: f64,
    /// When the device says nothing, its port open.
    pub silence: Option<Outage>,
    /// When the device is gone, its port and link too.
    pub unplug: Option<Outage>,
}

/// A regular outage: the last `lasts` of each `every`, counted from the start of play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// How long each lasts; shorter than `every`.
    pub lasts: Duration,
    /// From the end of one to the end of the next.
    pub every: Duration,
}

impl Outage {
    /// Whether it is on, `at` after the start of play.
    #[must_use]
    pub const fn is_on(self, at: Duration) -> bool {
        let (at, every) = (at.as_micros(), self.every.as_micros());
        every > 0 && at % every >= every.saturating_sub(self.lasts.as_micros())
    }

    /// When its `n`th turn comes: even ones begin an outage, odd ones end it.
    #[must_use]
    pub fn turn(self, n: u32) -> Duration {
        let end = self.every.saturating_mul(n / 2 + 1);
        if n.is_multiple_of(2) { end.saturating_sub(self.lasts) } else { end }
    }
}

impl FromStr for Faults {
    type Err = SimulateError;

    fn from_str(spec: &str) -> Result<Self, SimulateError> {
        let mut faults = Self::default();
        for item in spec.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let refuse = |problem| SimulateError::Spec { spec: item.to_owned(), problem };
            let (name, value) = item.split_once('=').ok_or_else(|| refuse("it has no ="))?;
            let value = value.trim();
            match name.trim() {
                "noise" => faults.noise = chance(value).map_err(refuse)?,
                "partial" => faults.partial = chance(value).map_err(refuse)?,
                "glue" => faults.glue = chance(value).map_err(refuse)?,
                "checksum" => faults.checksum = chance(value).map_err(refuse)?,
                "silence" => faults.silence = Some(outage(value).map_err(refuse)?),
                "unplug" => faults.unplug = Some(outage(value).map_err(refuse)?),
                _ => {
                    return Err(refuse("the faults are noise, partial, glue, checksum, silence and unplug"));
                }
            }
        }
        Ok(faults)
    }
}

fn chance(value: &str) -> Result<f64, &'static str> {
    let chance: f64 = value.parse().map_err(|_| "the chance is no number")?;
    if (0.0..=1.0).contains(&chance) { Ok(chance) } else { Err("a chance lies from 0 to 1") }
}

fn outage(value: &str) -> Result<Outage, &'static str> {
    let (lasts, every) = value.split_once('/').ok_or("it is written seconds/every seconds")?;
    let lasts: f64 = lasts.trim().parse().map_err(|_| "the seconds before / are no number")?;
    let every: f64 = every.trim().parse().map_err(|_| "the seconds after / are no number")?;
    if !(0.001..=EVERY_MAX_S).contains(&lasts) || !(0.001..=EVERY_MAX_S).contains(&every) {
        return Err("seconds lie from 0.001 to 86400");
    }
    if lasts >= every {
        return Err("an outage is shorter than its period");
    }
    Ok(Outage { lasts: Duration::from_secs_f64(lasts), every: Duration::from_secs_f64(every) })
}

/// How many frames each fault has met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spoiled {
    /// Frames with noise before them.
    pub noise: u64,
    /// Frames cut short.
    pub partial: u64,
    /// Frames without their terminator.
    pub glue: u64,
    /// Frames with a wrong checksum or digit.
    pub checksum: u64,
}

/// Spoils frames by chance and counts what it did.
pub(super) struct Spoiler {
    faults: Faults,
    random: Random,
    pub(super) spoiled: Spoiled,
}

impl Spoiler {
    /// Its chance is a stream apart from the device's of the same seed: a fault more or less does not change the drive.
    pub(super) fn new(faults: Faults, seed: u64) -> Self {
        Self { faults, random: Random::new(!seed.rotate_left(32)), spoiled: Spoiled::default() }
    }

    /// The bytes that go out for a frame. Each frame draws the same four chances, whatever the earlier ones gave.
    pub(super) fn spoil(&mut self, frame: Vec<u8>) -> Vec<u8> {
        let [checksum, glue, partial, noise] =
            [self.faults.checksum, self.faults.glue, self.faults.partial, self.faults.noise]
                .map(|chance| self.random.unit() < chance);
        let mut bytes = frame;
        if checksum {
            self.falsify(&mut bytes);
        }
        let content = bytes.iter().rposition(|byte| *byte >= b' ').map_or(0, |last| last + 1);
        if partial && content > 1 {
            bytes.truncate(self.random.within(1, content - 1));
            self.spoiled.partial += 1;
        } else if glue && content > 0 && content < bytes.len() {
            bytes.truncate(content);
            self.spoiled.glue += 1;
        }
        if noise {
            let length = self.random.within(1, NOISE_MAX);
            bytes.splice(0..0, (0..length).map(|_| self.random.byte()));
            self.spoiled.noise += 1;
        }
        bytes
    }

    fn falsify(&mut self, bytes: &mut [u8]) {
        let by = u32::try_from(self.random.within(1, 15)).unwrap_or(1);
        let star = bytes.iter().rposition(|byte| *byte == b'*');
        let changed = if let Some(digit) = star.and_then(|star| bytes.get_mut(star + 1)) {
            char::from(*digit).to_digit(16).map(|old| (digit, (old + by) % 16, 16))
        } else {
            let last = bytes.iter_mut().rev().find(|byte| byte.is_ascii_digit());
            last.and_then(|digit| char::from(*digit).to_digit(10).map(|old| (digit, (old + 1 + by % 9) % 10, 10)))
        };
        if let Some((digit, value, radix)) = changed
            && let Some(Ok(new)) = char::from_digit(value, radix).map(|new| u8::try_from(new.to_ascii_uppercase()))
        {
            *digit = new;
            self.spoiled.checksum += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_is_read_in_any_order() {
        let faults: Faults = "silence=1.5/10, noise=0.25,unplug=2/60,checksum=1".parse().unwrap();
        let outage =
            |lasts, every| Some(Outage { lasts: Duration::from_millis(lasts), every: Duration::from_secs(every) });
        let expect = Faults {
            noise: 0.25,
            checksum: 1.0,
            silence: outage(1500, 10),
            unplug: outage(2000, 60),
            ..Faults::default()
        };
        assert_eq!(faults, expect);
        assert_eq!("".parse::<Faults>().unwrap(), Faults::default());
    }

    #[test]
    fn a_bad_specification_is_refused_with_its_item_and_an_example() {
        for bad in [
            "noise",
            "noise=2",
            "noise=-0.1",
            "noise=NaN",
            "noise=x",
            "smoke=1",
            "silence=5",
            "silence=5/5",
            "unplug=0/9",
            "unplug=1/inf",
            "unplug=x/9",
            "unplug=1/1e99",
        ] {
            let error = format!("glue=0,{bad}").parse::<Faults>().unwrap_err();
            assert_eq!(error.exit_code(), 64, "{bad}");
            let text = error.to_string();
            assert!(text.contains(&format!("{bad:?}")) && text.contains("write e.g."), "{text}");
        }
    }

    #[test]
    fn faults_come_as_often_as_they_were_asked_for() {
        // 20,000 frames: four deviations of a chance of 0.1 are 170.
        let faults: Faults = "noise=0.1,partial=0.1,glue=0.1,checksum=0.1".parse().unwrap();
        let mut spoiler = Spoiler::new(faults, 42);
        let frame = b"$GPGLL,5907.48,N,01123.25,E,101112.00,A,A*6C\r\n";
        let mut whole = 0_i64;
        for _ in 0..20_000 {
            whole += i64::from(spoiler.spoil(frame.to_vec()) == frame);
        }
        let spoiled = spoiler.spoiled;
        // A frame that is cut cannot be glued as well: 0.1 * 0.9.
        for (name, n, expect) in [
            ("noise", spoiled.noise, 2000),
            ("partial", spoiled.partial, 2000),
            ("glue", spoiled.glue, 1800),
            ("checksum", spoiled.checksum, 2000),
        ] {
            assert!(i64::try_from(n).unwrap().abs_diff(expect) < 170, "{name}: {n}");
        }
        assert!(whole.abs_diff(13_122) < 280, "{whole}");
    }

    #[test]
    fn a_false_checksum_is_always_false_and_a_false_digit_always_another() {
        let mut spoiler = Spoiler::new("checksum=1".parse().unwrap(), 3);
        for _ in 0..1000 {
            assert_ne!(spoiler.spoil(b"$GPTXT*5c\r\n".to_vec()), b"$GPTXT*5C\r\n");
            assert_ne!(spoiler.spoil(b"TRL-7\r".to_vec()), b"TRL-7\r");
        }
        assert_eq!(spoiler.spoiled.checksum, 2000);
        assert_eq!(spoiler.spoil(b"TRL\r".to_vec()), b"TRL\r");
        assert_eq!(spoiler.spoil(b"*".to_vec()), b"*");
        assert_eq!(spoiler.spoil(Vec::new()), b"");
        assert_eq!(spoiler.spoiled.checksum, 2000);
    }

    #[test]
    fn an_outage_is_the_end_of_its_period() {
        let outage = Outage { lasts: Duration::from_secs(2), every: Duration::from_secs(10) };
        let on: Vec<u64> = (0..30).filter(|s| outage.is_on(Duration::from_secs(*s))).collect();
        assert_eq!(on, [8, 9, 18, 19, 28, 29]);
        let turns: Vec<u64> = (0..4).map(|n| outage.turn(n).as_secs()).collect();
        assert_eq!(turns, [8, 10, 18, 20]);
    }
}
