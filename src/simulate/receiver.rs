//! A receiver on a truck: RMC, GGA and GSA of each epoch, with the small wander that real ones have.

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

/// Knots of a metre a second.
const KNOTS: f64 = 3600.0 / 1852.0;

/// Below this a receiver gives no course, m/s.
const COURSE_MIN_MPS: f64 = 0.4;

/// Altitude of the antenna, and of the geoid over the ellipsoid, m.
const ALTITUDE_M: f64 = 12.0;
const GEOID_M: f64 = 37.5;

/// Satellites in view.
const SATELLITES: [u8; 12] = [2, 5, 7, 8, 10, 13, 15, 16, 20, 23, 27, 30];

/// A receiver on its way out.
pub(super) struct Receiver {
    truck: Truck,
    interval: Duration,
    time: Time,
    anchor: Anchor,
    decimals: usize,
    random: Random,
    east_m: f64,
    north_m: f64,
    up_m: f64,
    used: usize,
    epoch: u32,
    over: bool,
}

impl Receiver {
    /// A receiver that has a fix from the first epoch on.
    pub(super) fn new(truck: Truck, interval: Duration, time: Time, seed: u64) -> Self {
        let fine = !interval.as_micros().is_multiple_of(10_000);
        Self {
            truck,
            interval,
            time,
            anchor: Anchor::new(if fine { 1 } else { 10 }),
            decimals: if fine { 3 } else { 2 },
            random: Random::new(seed),
            east_m: 0.0,
            north_m: 0.0,
            up_m: 0.0,
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
    }

    fn sentences(&mut self, at_ms: UnixMs) -> Vec<Vec<u8>> {
        let motion = self.truck.motion();
        let lat = motion.lat + self.north_m / DEGREE_M;
        let lon = motion.lon + self.east_m / (DEGREE_M * motion.lat.to_radians().cos());
        let place = format!("{},{}", angle(lat, 2, ['N', 'S']), angle(lon, 3, ['E', 'W']));
        let time = clock_text(at_ms, self.decimals);
        let hdop = 0.7 + 0.1 * f64::from(u32::try_from(SATELLITES.len() - self.used).unwrap_or(0));
        vec![self.rmc(&time, &place, motion, at_ms), self.gga(&time, &place, hdop), self.gsa(hdop)]
    }

    fn rmc(&mut self, time: &str, place: &str, motion: Motion, at_ms: UnixMs) -> Vec<u8> {
        let knots = (motion.speed_mps * KNOTS + 0.02 * self.random.normal()).max(0.0);
        let course =
            if motion.speed_mps < COURSE_MIN_MPS { String::new() } else { format!("{:.2}", motion.course_deg) };
        let date = jiff::Timestamp::from_millisecond(at_ms)
            .map_or_else(|_| String::new(), |at| at.strftime("%d%m%y").to_string());
        framed(&format!("GPRMC,{time},A,{place},{knots:.3},{course},{date},,,A"))
    }

    fn gga(&self, time: &str, place: &str, hdop: f64) -> Vec<u8> {
        let (used, altitude_m) = (self.used, ALTITUDE_M + self.up_m);
        framed(&format!("GPGGA,{time},{place},1,{used:02},{hdop:.1},{altitude_m:.1},M,{GEOID_M:.1},M,,"))
    }

    fn gsa(&self, hdop: f64) -> Vec<u8> {
        let slots: Vec<String> = (0..12)
            .map(|i| SATELLITES.get(i).filter(|_| i < self.used).map_or_else(String::new, |prn| format!("{prn:02}")))
            .collect();
        framed(&format!("GPGSA,A,3,{},{:.1},{hdop:.1},{:.1}", slots.join(","), hdop * 1.7, hdop * 1.4))
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
        let at = |lat, lon, stop_s| Waypoint { lat, lon, speed_mps: 9.0, stop_s };
        let way = [at(59.124, 11.386, 5.0), at(59.125, 11.386, 0.0), at(59.125, 11.389, 3.0)];
        Receiver::new(Truck::new("r", &way, false).unwrap(), Duration::from_millis(interval_ms), time, seed)
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
}
