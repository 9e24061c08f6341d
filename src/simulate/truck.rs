//! A truck on a route: it speeds up, brakes for bends and stops, and stands.

use std::time::Duration;

use super::SimulateError;
use super::route::{DEGREE_M, Waypoint};

/// How fast a loaded truck gains and loses speed, m/s².
const GAIN_MPS2: f64 = 0.8;
const BRAKE_MPS2: f64 = 1.2;

/// Step of the motion; the same at every rate, so the drive does not depend on how often it is looked at.
const STEP: Duration = Duration::from_millis(50);
const STEP_S: f64 = 0.05;

/// Slowest it creeps up to a stop, m/s.
const CREEP_MPS: f64 = 0.3;

/// How fast the course follows a bend, degrees a second.
const TURN_DPS: f64 = 30.0;

/// Where the truck is and how it moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Motion {
    pub(super) lat: f64,
    pub(super) lon: f64,
    pub(super) speed_mps: f64,
    /// Degrees true, `0..360`.
    pub(super) course_deg: f64,
    /// How far half of the fixes wander while it stands here, m.
    pub(super) wander_m: f64,
    /// Whether a receiver on it sees the sky.
    pub(super) has_sky: bool,
}

/// One stretch between two points.
struct Leg {
    from: Waypoint,
    east_m: f64,
    north_m: f64,
    length_m: f64,
    course_deg: f64,
    /// Speed it may have at its end.
    end_mps: f64,
    /// How long it stands at its end.
    stop_s: f64,
    /// How its fixes wander meanwhile, m.
    stop_wander_m: f64,
}

/// A truck that drives a route once, or for ever.
pub(super) struct Truck {
    legs: Vec<Leg>,
    repeat: bool,
    leg: usize,
    along_m: f64,
    speed_mps: f64,
    course_deg: f64,
    stand_s: f64,
    stand_wander_m: f64,
    /// Time not yet driven, shorter than a step; exact, so that many small drives are one long one.
    rest: Duration,
    done: bool,
}

impl Truck {
    /// A truck that stands at the first point. With `repeat` the way from the last point to the first is driven too.
    pub(super) fn new(name: &str, route: &[Waypoint], repeat: bool) -> Result<Self, SimulateError> {
        let legs = legs(route, repeat);
        let (Some(start), Some(first)) = (route.first(), legs.first()) else {
            return Err(SimulateError::content(name, "it has no two points that lie apart", "add a point"));
        };
        let course_deg = first.course_deg;
        Ok(Self {
            legs,
            repeat,
            leg: 0,
            along_m: 0.0,
            speed_mps: 0.0,
            course_deg,
            stand_s: start.stop_s,
            stand_wander_m: start.wander_m,
            rest: Duration::ZERO,
            done: false,
        })
    }

    /// Whether it stands at the end of its route for good.
    pub(super) const fn is_done(&self) -> bool {
        self.done
    }

    /// Where it is.
    pub(super) fn motion(&self) -> Motion {
        let leg = &self.legs[self.leg];
        let part = if leg.length_m > 0.0 { (self.along_m / leg.length_m).clamp(0.0, 1.0) } else { 0.0 };
        let lat = leg.from.lat + part * leg.north_m / DEGREE_M;
        let lon = leg.from.lon + part * leg.east_m / (DEGREE_M * leg_cos(leg));
        let lon = (lon + 540.0).rem_euclid(360.0) - 180.0;
        let wander_m = if self.stand_s > 0.0 { self.stand_wander_m } else { 0.0 };
        let has_sky = !leg.from.in_tunnel || self.along_m <= 0.0;
        Motion { lat, lon, speed_mps: self.speed_mps, course_deg: self.course_deg, wander_m, has_sky }
    }

    /// Drives on for some time.
    pub(super) fn drive(&mut self, time: Duration) {
        self.rest += time;
        while self.rest >= STEP && !self.done {
            self.rest -= STEP;
            self.step();
        }
    }

    fn step(&mut self) {
        if self.stand_s > 0.0 {
            self.stand_s -= STEP_S;
            self.speed_mps = 0.0;
            return;
        }
        let leg = &self.legs[self.leg];
        let left_m = leg.length_m - self.along_m;
        let may = (leg.end_mps * leg.end_mps + 2.0 * BRAKE_MPS2 * left_m.max(0.0)).sqrt();
        let aim = may.min(leg.from.speed_mps).max(CREEP_MPS);
        let change = (aim - self.speed_mps).clamp(-2.0 * BRAKE_MPS2 * STEP_S, GAIN_MPS2 * STEP_S);
        self.speed_mps += change;
        let off = (leg.course_deg - self.course_deg + 540.0).rem_euclid(360.0) - 180.0;
        // A half turn is a truck that backs out of a dock: its course over ground flips at once.
        let turn = if off.abs() > 150.0 { off } else { off.clamp(-TURN_DPS * STEP_S, TURN_DPS * STEP_S) };
        self.course_deg = (self.course_deg + turn).rem_euclid(360.0);
        self.along_m += self.speed_mps * STEP_S;
        if self.along_m >= leg.length_m {
            self.arrive();
        }
    }

    fn arrive(&mut self) {
        let leg = &self.legs[self.leg];
        let over_m = self.along_m - leg.length_m;
        let (stop_s, stop_wander_m) = (leg.stop_s, leg.stop_wander_m);
        let last = self.leg + 1 == self.legs.len();
        if last && !self.repeat {
            self.along_m = leg.length_m;
            self.speed_mps = 0.0;
            self.done = true;
            return;
        }
        self.leg = if last { 0 } else { self.leg + 1 };
        self.along_m = if stop_s > 0.0 { 0.0 } else { over_m.min(self.legs[self.leg].length_m) };
        if stop_s > 0.0 {
            self.stand_s = stop_s;
            self.stand_wander_m = stop_wander_m;
            self.speed_mps = 0.0;
        }
    }
}

fn leg_cos(leg: &Leg) -> f64 {
    (leg.from.lat + leg.north_m / DEGREE_M / 2.0).to_radians().cos()
}

fn legs(route: &[Waypoint], repeat: bool) -> Vec<Leg> {
    let home = if repeat { route.first() } else { None };
    let mut legs: Vec<Leg> = Vec::new();
    for (from, to) in route.iter().zip(route.iter().skip(1).chain(home)) {
        let (east_m, north_m) = from.offset_m(to);
        let length_m = east_m.hypot(north_m);
        if length_m < 0.1 {
            // Only the way home can be this short: the points of a route lie apart.
            if let Some(last) = legs.last_mut() {
                last.stop_s = last.stop_s.max(to.stop_s);
            }
            continue;
        }
        let course_deg = east_m.atan2(north_m).to_degrees().rem_euclid(360.0);
        let (stop_s, stop_wander_m) = (to.stop_s, to.wander_m);
        legs.push(Leg { from: *from, east_m, north_m, length_m, course_deg, end_mps: 0.0, stop_s, stop_wander_m });
    }
    brake_in_time(&mut legs, repeat);
    legs
}

/// Gives each leg the speed at its end: what the bend allows, and what can still be braked from.
fn brake_in_time(legs: &mut [Leg], repeat: bool) {
    let n = legs.len();
    for i in 0..n {
        let follows = if i + 1 < n { Some(i + 1) } else { repeat.then_some(0) };
        legs[i].end_mps = match follows {
            Some(next) if legs[i].stop_s <= 0.0 => bend_mps(&legs[i], &legs[next]),
            _ => 0.0,
        };
    }
    // Twice round, so that on a closed route a bend after the start also slows the end.
    for i in (0..n).rev().cycle().take(2 * n) {
        let Some(next) = (if i + 1 < n { legs.get(i + 1) } else { legs.first().filter(|_| repeat) }) else { continue };
        let may = (next.end_mps * next.end_mps + 2.0 * BRAKE_MPS2 * next.length_m).sqrt();
        legs[i].end_mps = legs[i].end_mps.min(may);
    }
}

/// How fast the bend between two legs can be driven.
fn bend_mps(from: &Leg, to: &Leg) -> f64 {
    let cruise = from.from.speed_mps.min(to.from.speed_mps);
    let bend = ((to.course_deg - from.course_deg + 540.0).rem_euclid(360.0) - 180.0).abs();
    match bend {
        b if b < 10.0 => cruise,
        b if b > 150.0 => CREEP_MPS,
        // About 2.5 m/s round a street corner.
        b => cruise.min(1.0 + 150.0 / b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64, speed_mps: f64, stop_s: f64) -> Waypoint {
        Waypoint { lat, lon, speed_mps, stop_s, wander_m: 0.0, in_tunnel: false }
    }

    #[test]
    fn it_starts_brakes_and_stands_at_its_end() {
        // 111 m north at 5 m/s.
        let mut truck = Truck::new("r", &[at(59.0, 11.0, 5.0, 0.0), at(59.001, 11.0, 5.0, 0.0)], false).unwrap();
        let mut fastest: f64 = 0.0;
        let mut before = truck.motion();
        let mut seconds = 0;
        while !truck.is_done() {
            truck.drive(Duration::from_secs(1));
            seconds += 1;
            let now = truck.motion();
            assert!(now.speed_mps - before.speed_mps <= GAIN_MPS2 + 1e-9, "{before:?} {now:?}");
            fastest = fastest.max(now.speed_mps);
            before = now;
        }
        assert!((fastest - 5.0).abs() < 0.01 && (24..40).contains(&seconds), "{fastest} m/s in {seconds} s");
        assert!((before.lat - 59.001).abs() < 1e-9 && before.speed_mps == 0.0);
    }

    #[test]
    fn a_corner_is_taken_slowly_and_the_course_follows() {
        let corner = [at(0.0, 0.0, 12.0, 0.0), at(0.002, 0.0, 12.0, 0.0), at(0.002, 0.002, 12.0, 0.0)];
        let mut truck = Truck::new("r", &corner, false).unwrap();
        let mut at_corner = f64::MAX;
        while !truck.is_done() {
            truck.drive(Duration::from_millis(100));
            let motion = truck.motion();
            let far = (motion.lat - 0.002).hypot(motion.lon) * DEGREE_M;
            if far < 1.0 {
                at_corner = at_corner.min(motion.speed_mps);
            }
        }
        assert!(at_corner < 3.2, "{at_corner}");
        assert!((truck.motion().course_deg - 90.0).abs() < 1.0);
    }

    #[test]
    fn a_closed_route_is_driven_for_ever_without_a_jump() {
        let ring = [at(59.0, 11.0, 9.0, 2.0), at(59.001, 11.0, 9.0, 0.0), at(59.001, 11.002, 9.0, 5.0)];
        let mut truck = Truck::new("r", &ring, true).unwrap();
        let mut stood = 0;
        let mut before = truck.motion();
        for _ in 0..20_000 {
            truck.drive(Duration::from_millis(100));
            let now = truck.motion();
            let step = at(before.lat, before.lon, 1.0, 0.0).distance_m(&at(now.lat, now.lon, 1.0, 0.0));
            assert!(step < 1.0, "{step} m in 0.1 s");
            stood += u32::from(now.speed_mps == 0.0);
            before = now;
        }
        assert!(!truck.is_done() && stood > 1000, "{stood}");
    }

    #[test]
    fn the_drive_does_not_depend_on_how_often_it_is_looked_at() {
        let way = [at(59.0, 11.0, 9.0, 2.0), at(59.001, 11.0, 9.0, 0.0), at(59.001, 11.002, 9.0, 5.0)];
        let mut often = Truck::new("r", &way, true).unwrap();
        let mut seldom = Truck::new("r", &way, true).unwrap();
        for _ in 0..1600 {
            often.drive(Duration::from_micros(62_500));
        }
        seldom.drive(Duration::from_secs(100));
        assert_eq!(often.motion(), seldom.motion());
    }
}
