//! A receiver on a truck: the sentences of each epoch, with the small wander that real ones have, the large one that
//! they have beside walls and on water, and nothing to say in tunnels.

use std::time::Duration;

use crate::domain::UnixMs;

use super::random::Random;
use super::route::DEGREE_M;
use super::sentence::{clock_text, framed};
use super::tape::{Anchor, Tape, Time, millis};
use super::truck::{Motion, Truck};

/// 2026-11-20T08:00:00Z: when a route begins that is not played now.
const RECORDED_START_MS: UnixMs = 1_795_161_600_000;

/// How far a good fix wanders, m, and how fast it forgets, s.
const WANDER_M: f64 = 0.6;
const WANDER_S: f64 = 40.0;

/// How fast a bad fix wanders, how fast it gets better and worse, and how fast the truck comes into the open. s
const DRIFT_S: f64 = 20.0;
const MOOD_S: f64 = 60.0;
const OPEN_S: f64 = 5.0;

/// Width of a bad fix as a share of the median that is asked for: the least, and what the mood adds. Measured: half of
/// the fixes lie within the median, one in twenty beyond four times of it.
const DRIFT_LEAST: f64 = 0.35;
const DRIFT_MOOD: f64 = 0.385;

/// Knots of a metre a second.
const KNOTS: f64 = 3600.0 / 1852.0;

/// Below this a receiver gives no course, m/s.
const COURSE_MIN_MPS: f64 = 0.4;

/// Altitude of the antenna, and of the geoid over the ellipsoid, m.
const ALTITUDE_M: f64 = 12.0;
const GEOID_M: f64 = 37.5;

/// Satellites in view of a receiver that knows GPS only.
const SATELLITES: [u8; 12] = [2, 5, 7, 8, 10, 13, 15, 16, 20, 23, 27, 30];

/// What a receiver of four constellations sees: talker, system id, and the numbers as NMEA 4.11 has them.
const SKIES: [(&str, u8, &[u8]); 4] = [
    ("GP", 1, &[2, 5, 7, 8, 10, 13, 15, 30]),
    ("GL", 2, &[66, 67, 68, 76, 77, 82]),
    ("GA", 3, &[3, 5, 9, 24, 31, 36]),
    ("GB", 4, &[11, 14, 22, 23, 28, 34, 41]),
];

/// Satellites of which one GSV tells.
const GSV_MAX: usize = 4;

/// What a simulated receiver says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Model {
    /// RMC, GGA, GSA of GPS alone, as NMEA 2.3 has them: an old receiver at 4800 baud.
    #[default]
    Plain,
    /// RMC, VTG, GGA, a GSA and once a second GSV a constellation, GLL, ZDA, as NMEA 4.11 has them: a new one at 10 Hz.
    Multi,
}

/// A receiver on its way out.
pub(super) struct Receiver {
    truck: Truck,
    interval: Duration,
    time: Time,
    model: Model,
    anchor: Anchor,
    decimals: usize,
    random: Random,
    east_m: f64,
    north_m: f64,
    up_m: f64,
    drift: Drift,
    used: usize,
    epoch: u32,
    over: bool,
}

/// The wander of a receiver that stands where signals are reflected.
struct Drift {
    random: Random,
    /// How wide it is now: the median that is asked for, or on its way there. m
    median_m: f64,
    east: f64,
    north: f64,
    mood: [f64; 2],
}

impl Drift {
    /// Its chance is a stream of its own: a stop that wanders changes nothing of the drive after it.
    fn new(seed: u64) -> Self {
        Self { random: Random::new(seed.rotate_left(16)), median_m: 0.0, east: 0.0, north: 0.0, mood: [0.0; 2] }
    }

    fn pass(&mut self, time_s: f64, median_m: f64) {
        let [drift, mood, open] = [DRIFT_S, MOOD_S, OPEN_S].map(|slow_s| (time_s / slow_s).min(1.0));
        for (value, forget) in [(&mut self.east, drift), (&mut self.north, drift)] {
            drift_on(value, forget, &mut self.random);
        }
        for value in &mut self.mood {
            drift_on(value, mood, &mut self.random);
        }
        self.median_m += (median_m - self.median_m) * open;
    }

    fn offset_m(&self) -> (f64, f64) {
        let [one, two] = self.mood;
        let wide_m = self.median_m * (DRIFT_LEAST + DRIFT_MOOD * (one * one + two * two));
        (wide_m * self.east, wide_m * self.north)
    }
}

/// Moves a value that wanders round 0 with deviation 1.
fn drift_on(value: &mut f64, forget: f64, random: &mut Random) {
    *value = *value * (1.0 - forget) + (forget * (2.0 - forget)).sqrt() * random.normal();
}

impl Receiver {
    /// A receiver that has a fix from the first epoch on.
    pub(super) fn new(truck: Truck, interval: Duration, time: Time, model: Model, seed: u64) -> Self {
        let fine = !interval.as_micros().is_multiple_of(10_000);
        Self {
            truck,
            interval,
            time,
            model,
            anchor: Anchor::new(if fine { 1 } else { 10 }),
            decimals: if fine { 3 } else { 2 },
            random: Random::new(seed),
            east_m: 0.0,
            north_m: 0.0,
            up_m: 0.0,
            drift: Drift::new(seed),
            used: 9,
            epoch: 0,
            over: false,
        }
    }

    fn at(&self) -> Duration {
        self.interval.saturating_mul(self.epoch)
    }

    fn wander(&mut self) {
        let forget = (self.interval.as_secs_f64() / WANDER_S).min(1.0);
        let push = WANDER_M * (forget * (2.0 - forget)).sqrt();
        for axis in [&mut self.east_m, &mut self.north_m, &mut self.up_m] {
            *axis = *axis * (1.0 - forget) + push * self.random.normal();
        }
        // A satellite comes or goes about every fifty epochs.
        match self.random.within(0, 99) {
            0 => self.used = (self.used + 1).min(SATELLITES.len()),
            1 => self.used = (self.used - 1).max(6),
            _ => {}
        }
        self.drift.pass(self.interval.as_secs_f64(), self.truck.motion().wander_m);
    }

    fn sentences(&mut self, at_ms: UnixMs) -> Vec<Vec<u8>> {
        let motion = self.truck.motion();
        let (east_m, north_m) = self.drift.offset_m();
        let lat = motion.lat + (self.north_m + north_m) / DEGREE_M;
        let lon = motion.lon + (self.east_m + east_m) / (DEGREE_M * motion.lat.to_radians().cos());
        let place = format!("{},{}", angle(lat, 2, ['N', 'S']), angle(lon, 3, ['E', 'W']));
        let open = 0.7 + 0.1 * f64::from(u32::try_from(SATELLITES.len() - self.used).unwrap_or(0));
        let hdop = open.max(3.0 * (self.drift.median_m / 5.0).min(1.0));
        let knots = motion.speed_mps * KNOTS + (0.02 + 0.05 * self.drift.median_m) * self.random.normal();
        let course =
            if motion.speed_mps < COURSE_MIN_MPS { String::new() } else { format!("{:.2}", motion.course_deg) };
        let time = clock_text(at_ms, self.decimals);
        let said = Said { time, place, knots: knots.max(0.0), course, hdop, motion, at_ms };
        match self.model {
            Model::Plain => vec![said.rmc("GP", ""), self.gga("GP", &said), self.gsa(&said)],
            Model::Multi => self.multi(&said),
        }
    }

    fn multi(&mut self, said: &Said) -> Vec<Vec<u8>> {
        let status = if said.motion.has_sky { ",S" } else { ",V" };
        let mut all = vec![said.rmc("GN", status), said.vtg(), self.gga("GN", said)];
        all.extend(SKIES.map(|(_, system, seen)| {
            let used = if said.motion.has_sky { seen.len() - 1 } else { 0 };
            said.gsa("GN", seen, used, &format!(",{system}"))
        }));
        let each = u32::try_from(Duration::from_secs(1).as_nanos() / self.interval.as_nanos().max(1)).unwrap_or(1);
        if self.epoch.is_multiple_of(each.max(1)) {
            for sky in SKIES {
                all.extend(self.gsv(sky, said.motion.has_sky));
            }
        }
        all.extend([said.gll(), said.zda()]);
        all
    }

    fn gga(&self, talker: &str, said: &Said) -> Vec<u8> {
        let Said { time, place, hdop, .. } = said;
        if !said.motion.has_sky {
            return framed(&format!("{talker}GGA,{time},,,,,0,00,99.99,,,,,,"));
        }
        let all = SKIES.iter().map(|(_, _, seen)| seen.len() - 1).sum();
        let used = if self.model == Model::Multi { all } else { self.used };
        let altitude_m = ALTITUDE_M + self.up_m;
        framed(&format!("{talker}GGA,{time},{place},1,{used:02},{hdop:.1},{altitude_m:.1},M,{GEOID_M:.1},M,,"))
    }

    fn gsa(&self, said: &Said) -> Vec<u8> {
        said.gsa("GP", &SATELLITES, if said.motion.has_sky { self.used } else { 0 }, "")
    }

    fn gsv(&mut self, (talker, _, seen): (&str, u8, &[u8]), has_sky: bool) -> Vec<Vec<u8>> {
        if !has_sky {
            return vec![framed(&format!("{talker}GSV,1,1,00,1"))];
        }
        let parts = seen.len().div_ceil(GSV_MAX);
        let mut all = Vec::new();
        for (part, four) in (1..).zip(seen.chunks(GSV_MAX)) {
            let mut body = format!("{talker}GSV,{parts},{part},{:02}", seen.len());
            for satellite in four {
                let n = usize::from(*satellite);
                let (up, round, strength) = (5 + n * 7 % 80, n * 37 % 360, 25 + n % 15 + self.random.within(0, 3));
                body.push_str(&format!(",{satellite:02},{up:02},{round:03},{strength:02}"));
            }
            // The signal: L1 of each.
            body.push_str(",1");
            all.push(framed(&body));
        }
        all
    }
}

/// What the sentences of one epoch share.
struct Said {
    time: String,
    place: String,
    knots: f64,
    course: String,
    hdop: f64,
    motion: Motion,
    at_ms: UnixMs,
}

impl Said {
    fn rmc(&self, talker: &str, status: &str) -> Vec<u8> {
        let Self { time, place, knots, course, .. } = self;
        let date = self.date("%d%m%y");
        if !self.motion.has_sky {
            return framed(&format!("{talker}RMC,{time},V,,,,,,,{date},,,N{status}"));
        }
        framed(&format!("{talker}RMC,{time},A,{place},{knots:.3},{course},{date},,,A{status}"))
    }

    fn vtg(&self) -> Vec<u8> {
        let Self { knots, course, .. } = self;
        if !self.motion.has_sky {
            return framed("GNVTG,,,,,,,,,N");
        }
        framed(&format!("GNVTG,{course},T,,M,{knots:.3},N,{:.3},K,A", knots * 1.852))
    }

    fn gll(&self) -> Vec<u8> {
        let Self { time, place, .. } = self;
        if !self.motion.has_sky {
            return framed(&format!("GNGLL,,,,,{time},V,N"));
        }
        framed(&format!("GNGLL,{place},{time},A,A"))
    }

    fn zda(&self) -> Vec<u8> {
        framed(&format!("GNZDA,{},{},00,00", self.time, self.date("%d,%m,%Y")))
    }

    fn gsa(&self, talker: &str, seen: &[u8], used: usize, system: &str) -> Vec<u8> {
        let slots: Vec<String> = (0..12)
            .map(|i| seen.get(i).filter(|_| i < used).map_or_else(String::new, |satellite| format!("{satellite:02}")))
            .collect();
        let slots = slots.join(",");
        if !self.motion.has_sky {
            return framed(&format!("{talker}GSA,A,1,{slots},99.99,99.99,99.99{system}"));
        }
        let hdop = self.hdop;
        framed(&format!("{talker}GSA,A,3,{slots},{:.1},{hdop:.1},{:.1}{system}", hdop * 1.7, hdop * 1.4))
    }

    fn date(&self, format: &str) -> String {
        jiff::Timestamp::from_millisecond(self.at_ms)
            .map_or_else(|_| String::new(), |at| at.strftime(format).to_string())
    }
}

impl Tape for Receiver {
    fn due(&self) -> Option<Duration> {
        (!self.over).then(|| self.at())
    }

    fn take(&mut self, now_ms: UnixMs) -> Vec<Vec<u8>> {
        let at = self.at();
        let at_ms = match self.time {
            Time::Now => self.anchor.time(at, now_ms),
            Time::Recorded => RECORDED_START_MS + millis(at),
        };
        self.wander();
        let sentences = self.sentences(at_ms);
        self.over = self.truck.is_done() || self.epoch == u32::MAX;
        self.truck.drive(self.interval);
        self.epoch = self.epoch.saturating_add(1);
        sentences
    }
}

/// An angle as NMEA writes it: degrees and minutes with five decimals, comma, hemisphere.
fn angle(degrees: f64, width: usize, hemispheres: [char; 2]) -> String {
    let hemisphere = hemispheres[usize::from(degrees < 0.0)];
    // Rounded once, as a whole, so that 59.999999 minutes become the next degree.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=180 degrees are below 2^31")]
    let units = (degrees.abs() * 6_000_000.0).round() as u64;
    let (whole, minutes) = (units / 6_000_000, units % 6_000_000);
    format!("{whole:0width$}{:02}.{:05},{hemisphere}", minutes / 100_000, minutes % 100_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::route::Waypoint;

    fn receiver(interval_ms: u64, time: Time, seed: u64) -> Receiver {
        let at = |lat, lon, stop_s| Waypoint { lat, lon, speed_mps: 9.0, stop_s, wander_m: 0.0, in_tunnel: false };
        let way = [at(59.124, 11.386, 5.0), at(59.125, 11.386, 0.0), at(59.125, 11.389, 3.0)];
        Receiver::new(
            Truck::new("r", &way, false).unwrap(),
            Duration::from_millis(interval_ms),
            time,
            Model::Plain,
            seed,
        )
    }

    fn all(mut tape: Receiver, now_ms: UnixMs) -> Vec<String> {
        let mut out = Vec::new();
        while let Some(due) = tape.due() {
            out.push(String::from_utf8(tape.take(now_ms + millis(due)).concat()).unwrap());
        }
        out
    }

    #[test]
    fn an_angle_is_rounded_as_a_whole() {
        assert_eq!(angle(59.124_681_7, 2, ['N', 'S']), "5907.48090,N");
        assert_eq!(angle(-11.999_999_999_9, 3, ['E', 'W']), "01200.00000,W");
        assert_eq!(angle(0.0, 3, ['E', 'W']), "00000.00000,E");
    }

    #[test]
    fn a_seed_gives_the_same_bytes_and_another_gives_others() {
        assert_eq!(all(receiver(1000, Time::Recorded, 7), 0), all(receiver(1000, Time::Recorded, 7), 999));
        assert_ne!(all(receiver(1000, Time::Recorded, 7), 0), all(receiver(1000, Time::Recorded, 8), 0));
    }

    #[test]
    fn an_epoch_is_three_whole_sentences_of_at_most_82_characters() {
        let epochs = all(receiver(100, Time::Now, 1), 1_795_169_472_345);
        assert!(epochs.len() > 300);
        let mut last = String::new();
        for epoch in epochs {
            let lines: Vec<&str> = epoch.split_inclusive("\r\n").collect();
            assert_eq!(lines.len(), 3);
            for line in &lines {
                assert!(line.len() <= 82, "{line}");
                assert_eq!(framed(&line[1..line.find('*').unwrap()]), line.as_bytes());
            }
            let field = |line: &str, n| line.split(',').nth(n).unwrap().to_owned();
            assert_eq!(field(lines[0], 1), field(lines[1], 1));
            assert!(field(lines[0], 1) > last, "times rise");
            assert_eq!(field(lines[0], 9), "201126");
            last = field(lines[0], 1);
        }
    }

    #[test]
    fn a_standing_truck_has_no_course_and_never_a_frozen_position() {
        let epochs = all(receiver(1000, Time::Recorded, 3), 0);
        let rmc: Vec<Vec<&str>> = epochs.iter().take(5).map(|epoch| epoch.split(',').collect()).collect();
        for pair in rmc.windows(2) {
            assert_eq!(pair[0][8], "");
            assert_ne!(pair[0][3..7], pair[1][3..7]);
        }
    }

    /// Twenty minutes on the spot, then a drive through a tunnel.
    fn moored(model: Model, interval_ms: u64) -> Receiver {
        let at = |lat, in_tunnel| Waypoint { lat, lon: 11.386, speed_mps: 9.0, stop_s: 0.0, wander_m: 0.0, in_tunnel };
        let berth = Waypoint { stop_s: 1200.0, wander_m: 5.0, ..at(59.124, false) };
        let way = [berth, at(59.126, true), at(59.127, false), at(59.128, false)];
        let truck = Truck::new("r", &way, false).unwrap();
        Receiver::new(truck, Duration::from_millis(interval_ms), Time::Recorded, model, 11)
    }

    #[test]
    fn a_moored_receiver_wanders_five_metres_in_the_median_and_twenty_in_the_worst_twentieth() {
        let mut away: Vec<f64> = Vec::new();
        for seed in 0..20 {
            let mut tape = moored(Model::Plain, 1000);
            tape.drift = Drift::new(seed);
            for epoch in 0..1200 {
                tape.take(0);
                if epoch >= 60 {
                    let (east, north) = tape.drift.offset_m();
                    away.push(east.hypot(north));
                }
            }
        }
        away.sort_by(f64::total_cmp);
        let (median, worst) = (away[away.len() / 2], away[away.len() * 95 / 100]);
        assert!((4.0..6.0).contains(&median) && (16.0..24.0).contains(&worst), "{median} {worst}");
        let gga = String::from_utf8(moored(Model::Plain, 1000).take(0).concat()).unwrap();
        assert!(gga.contains("GPGGA"), "{gga}");
        let late = all(moored(Model::Plain, 1000), 0).swap_remove(600);
        assert!(late.lines().nth(1).unwrap().contains(",3.0,"), "its hdop is 3: {late}");
    }

    #[test]
    fn in_a_tunnel_there_is_no_fix_and_behind_it_there_is_again() {
        for model in [Model::Plain, Model::Multi] {
            let epochs = all(moored(model, 1000), 0);
            let valid: Vec<bool> = epochs
                .iter()
                .map(|epoch| {
                    let field = |kind: &str, n| {
                        let line = epoch.lines().find(|line| line[3..].starts_with(kind)).unwrap();
                        line.split(',').nth(n).unwrap().to_owned()
                    };
                    let (rmc, gga, place) = (field("RMC", 2), field("GGA", 6), field("GGA", 2));
                    assert_eq!((gga == "0", place.is_empty()), (rmc == "V", rmc == "V"), "{epoch}");
                    rmc == "A"
                })
                .collect();
            let turns: Vec<bool> = valid.chunk_by(|a, b| a == b).map(|run| run[0]).collect();
            assert_eq!(turns, [true, false, true]);
            assert!(valid.iter().filter(|is| !**is).count() > 8, "111 m at 9 m/s");
            for line in epochs.concat().split_inclusive("\r\n") {
                assert_eq!(framed(&line[1..line.find('*').unwrap()]), line.as_bytes());
                assert!(line.len() <= 82, "{line}");
            }
        }
    }

    #[test]
    fn a_new_receiver_tells_of_four_constellations_ten_times_a_second() {
        let epochs = all(moored(Model::Multi, 100), 0);
        let count = |epoch: &str, kind: &str| epoch.lines().filter(|line| line[3..].starts_with(kind)).count();
        assert_eq!((count(&epochs[0], "GSA"), count(&epochs[0], "GSV"), count(&epochs[1], "GSV")), (4, 8, 0));
        assert_eq!(epochs.iter().take(20).filter(|epoch| count(epoch, "GSV") > 0).count(), 2);
        assert!(
            epochs[0].contains(",A,S*") && epochs[0].contains("$GNZDA,080000.00,20,11,2026,00,00*"),
            "{}",
            epochs[0]
        );
    }
}
