use std::path::Path;

use super::*;
use crate::decoder::nmea::{NmeaDecoder, NmeaOptions, NmeaOut};
use crate::plan::moored;
use crate::plan::{Fence, FenceLimits, Plan, Seen};

const TRACK: Duration = Duration::from_secs(10);
const PARKED: Duration = Duration::from_secs(300);
const PACE: Pace = Pace { track: TRACK, parked: PARKED, room: Duration::ZERO };
const LATE: Keep = Keep::Late(TRACK, "track");
const M: f64 = M_PER_DEG;

fn fix(time_ms: i64, speed_mps: Option<f64>, course_deg: f64) -> (Fix, Stamp) {
    let fix = Fix {
        time_ms,
        has_date: true,
        day_sent: String::new(),
        tod_sent_ms: time_ms,
        first_e7: (0, 0),
        lat_deg: 0.0,
        lon_deg: 0.0,
        alt_m: None,
        speed_mps,
        course_deg: Some(course_deg),
        mode: None,
        satellites: None,
        hdop: None,
        quality: None,
        doubt: Vec::new(),
    };
    (fix, Stamp { mono_us: time_ms * 1000, wall_ms: 0 })
}

/// A fix so many metres north of the spot, without a speed.
fn there(second: i64, north_m: f64, hdop: f64) -> (Fix, Stamp) {
    let (fix, at) = fix(second * 1000, None, 0.0);
    (Fix { lat_deg: north_m / M, hdop: Some(hdop), course_deg: None, ..fix }, at)
}

fn judge(motion: &mut Motion, (fix, at): &(Fix, Stamp)) -> Keep {
    let is_late = motion.is_late(fix, *at);
    motion.judge(fix, *at, is_late, PACE, false, &MotionLimits::default())
}

fn stored(seconds: impl Iterator<Item = i64>, speed: impl Fn(i64) -> f64, course: impl Fn(i64) -> f64) -> Vec<i64> {
    let mut motion = Motion::default();
    seconds.filter(|s| judge(&mut motion, &fix(s * 1000, Some(speed(*s)), course(*s))) == Keep::Store).collect()
}

#[test]
fn a_steady_drive_is_stored_every_ten_seconds_and_at_each_turn() {
    let seconds = stored(1..40, |_| 12.0, |s| if s < 25 { 90.0 } else { 130.0 });
    assert_eq!(seconds, [1, 4, 14, 24, 25, 35], "the first, the start after three seconds, the turn");
}

#[test]
fn a_parked_vehicle_is_stored_every_five_minutes_and_when_it_starts() {
    let seconds = stored(1..400, |s| if s < 350 { 0.1 } else { 9.0 }, |_| 0.0);
    assert_eq!(seconds, [1, 301, 353, 363, 373, 383, 393]);
}

#[test]
fn a_stop_is_stored_once_it_has_lasted_and_a_halt_at_a_light_is_none() {
    let speed = |s: i64| if s < 12 || (30..45).contains(&s) { 9.0 } else { 0.0 };
    assert_eq!(
        stored(1..100, speed, |_| 0.0),
        [1, 4, 14, 24, 30, 40, 50, 60, 70, 75],
        "and it is stored as it pulls away"
    );
}

#[test]
fn the_course_of_an_asset_that_stands_at_a_light_is_noise() {
    let seconds =
        stored(1..30, |s| if s < 10 { 9.0 } else { 0.1 }, |s| if s < 10 { 0.0 } else { (s * 97 % 360) as f64 });
    assert_eq!(seconds, [1, 4, 14, 24]);
}

#[test]
fn the_first_fix_after_a_gap_is_never_thinned() {
    assert_eq!(stored((1..5).chain(16..19), |_| 0.0, |_| 0.0), [1, 16]);
}

#[test]
fn a_fix_that_changes_something_else_is_never_thinned() {
    let mut motion = Motion::default();
    let limits = MotionLimits::default();
    for s in 1..5 {
        let (fix, at) = fix(s * 1000, Some(0.0), 0.0);
        let keep = motion.judge(&fix, at, false, PACE, s == 3, &limits);
        assert_eq!(keep == Keep::Store, s == 1 || s == 3, "second {s}");
    }
}

#[test]
fn zero_intervals_store_every_epoch() {
    let mut motion = Motion::default();
    for s in 1..50 {
        let (fix, at) = fix(s * 1000, Some(0.0), 0.0);
        assert_eq!(
            motion.judge(
                &fix,
                at,
                false,
                Pace { track: Duration::ZERO, parked: Duration::ZERO, ..PACE },
                false,
                &MotionLimits::default()
            ),
            Keep::Store
        );
    }
}

#[test]
fn ten_fixes_a_second_start_and_stop_as_one_does() {
    for step_ms in [100, 200, 1000] {
        let mut motion = Motion::default();
        let mut changes = Vec::new();
        for n in 0..90_000 / step_ms {
            let ms = n * step_ms;
            let was = motion.is_moving();
            judge(&mut motion, &fix(ms, Some(if (10_000..40_000).contains(&ms) { 3.0 } else { 0.1 }), 0.0));
            changes.extend((was != motion.is_moving()).then_some(ms));
        }
        assert_eq!(changes, [13_000, 70_000], "every {step_ms} ms");
    }
}

#[test]
fn speed_must_last_and_one_that_does_not_starts_nothing() {
    let mut motion = Motion::default();
    for s in 0..600 {
        judge(&mut motion, &fix(s * 1000, Some(if s % 4 == 0 { 0.2 } else { 4.0 }), 0.0));
    }
    assert_eq!(motion.starts(), 0, "three fixes in a row are two seconds");
}

#[test]
fn without_a_speed_the_distance_from_the_anchor_starts_and_its_lack_stops() {
    let mut motion = Motion::default();
    let mut changes = Vec::new();
    for s in 0..200_i64 {
        let was = motion.is_moving();
        let north = if s < 60 { (s % 5) as f64 } else { 2.0 + 5.0 * (s - 60).min(40) as f64 };
        judge(&mut motion, &there(s, north, 1.0));
        changes.extend((was != motion.is_moving()).then_some(s));
    }
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!((65..=68).contains(&changes[0]) && (126..=136).contains(&changes[1]), "{changes:?}");
    assert_eq!(motion.starts(), 1);
}

#[test]
fn with_a_poor_hdop_the_way_from_the_anchor_must_be_longer() {
    for (hdop, starts) in [(1.0, 1), (2.0, 0), (f64::NAN, 1), (-3.0, 1), (99.99, 0)] {
        let mut motion = Motion::default();
        for s in 0..30 {
            judge(&mut motion, &there(s, if s < 20 { 0.0 } else { 45.0 }, hdop));
        }
        assert_eq!(motion.starts(), starts, "HDOP {hdop}");
    }
}

#[test]
fn a_moored_asset_that_wanders_never_starts_and_hardly_sends() {
    for seed in 0..20 {
        let (mut motion, mut stored) = (Motion::default(), 0);
        for (s, said) in (0_i64..).zip(moored::track(seed)) {
            let (fix, at) = fix(s * 1000, Some(said.speed_mps), (s * 83 % 360) as f64);
            let fix = Fix { lat_deg: said.y / M, lon_deg: said.x / M, hdop: Some(moored::HDOP), ..fix };
            stored += usize::from(judge(&mut motion, &(fix, at)) == Keep::Store);
        }
        assert_eq!((motion.starts(), stored), (0, 4), "seed {seed}");
    }
}

#[test]
fn one_date_from_the_future_does_not_make_the_rest_late_for_ever() {
    for step_ms in [100_i64, 1000, 5000, 30_000] {
        let mut motion = Motion::default();
        judge(&mut motion, &fix(1000, Some(0.0), 0.0));
        let (ahead, at) = fix(2000, Some(0.0), 0.0);
        judge(&mut motion, &(Fix { time_ms: 619_315_200_000, ..ahead }, at));
        let late = (0..2000).take_while(|n| judge(&mut motion, &fix(3000 + n * step_ms, Some(0.0), 0.0)) == LATE);
        let late = i64::try_from(late.count()).unwrap();
        assert!((2..=60).contains(&late) && late * step_ms <= 60_000, "every {step_ms} ms: {late} late ones");
        let next = fix(3000 + (late + 1) * step_ms, Some(0.0), 0.0);
        assert_ne!(judge(&mut motion, &next), LATE, "every {step_ms} ms");
    }
}

#[test]
fn dates_that_a_trusted_clock_calls_old_stay_late_however_many_there_are() {
    let mut motion = Motion::default();
    let now = 90 * 86_400_000;
    judge(&mut motion, &fix(now, Some(0.0), 0.0));
    for n in 1..=2000 {
        let at = fix(now + n * 1000, Some(0.0), 0.0).1;
        let old = Fix { doubt: vec![Doubt::Old, Doubt::Clock], ..fix(n * 1000, Some(0.0), 0.0).0 };
        assert_eq!(judge(&mut motion, &(old, at)), LATE, "{n}");
    }
    assert_ne!(judge(&mut motion, &fix(now + 2_001_000, Some(0.0), 0.0)), LATE);
}

#[test]
fn a_log_that_is_played_back_stays_late() {
    let mut motion = Motion::default();
    let noon = 43_200_000;
    judge(&mut motion, &fix(noon, Some(0.0), 0.0));
    for n in 0..5000 {
        // A fix a second, ten times as fast; then live again.
        let (old, _) = fix(1_000_000 + n * 1000, Some(0.0), 0.0);
        let at = Stamp { mono_us: (noon + n * 100) * 1000, wall_ms: 0 };
        assert_eq!(judge(&mut motion, &(old, at)), LATE, "{n}");
    }
    assert_ne!(judge(&mut motion, &fix(noon + 501_000, Some(0.0), 0.0)), LATE);
    for n in 0..5000 {
        // Between live fixes the past may come in its own time.
        let at = fix(noon + 502_000 + n * 1000, Some(0.0), 0.0);
        assert_eq!(judge(&mut motion, &(fix(1_000_000 + n * 1000, Some(0.0), 0.0).0, at.1)), LATE, "{n}");
        assert_ne!(judge(&mut motion, &at), LATE, "{n}");
    }
}

#[test]
fn a_frozen_fix_starts_nothing() {
    let mut motion = Motion::default();
    for s in 0..60 {
        let (fix, at) = fix(s * 1000, Some(20.0), 0.0);
        judge(&mut motion, &(Fix { doubt: vec![Doubt::Frozen], ..fix }, at));
    }
    assert_eq!(motion.starts(), 0);
}

/// The fixes of a capture, or none, loudly.
fn capture(name: &str) -> Option<Vec<Fix>> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora");
    let path = std::env::var_os("WAYPOST_CORPORA").map_or(beside, Into::into).join("nmea").join(name);
    let Ok(bytes) = std::fs::read(&path) else {
        eprintln!("SKIPPED: no capture at {}; set WAYPOST_CORPORA", path.display());
        return None;
    };
    let mut decoder = NmeaDecoder::new(NmeaOptions { floor_ms: 0 });
    let mut out = Vec::new();
    decoder.feed(&bytes, Stamp::default(), &mut out);
    decoder.finish(&mut out);
    let fix = |out| if let NmeaOut::Fix(fix, _) = out { Some(*fix) } else { None };
    Some(out.into_iter().filter_map(fix).collect())
}

/// A plan of the land on one side of a line some metres east of a spot.
fn east_of(lat: f64, lon: f64, metres: f64) -> Plan {
    let m = 1.0 / M / lat.to_radians().cos();
    let (west, east, south, north) = (lon + metres * m, lon + (metres + 900.0) * m, lat - 0.005, lat + 0.005);
    let ring = [[west, south], [east, south], [east, north], [west, north], [west, south]];
    let text = serde_json::json!({ "type": "FeatureCollection", "features": [{
        "type": "Feature", "properties": { "id": "east", "kind": "bay" },
        "geometry": { "type": "Polygon", "coordinates": [ring] },
    }]});
    Plan::parse(&text.to_string()).unwrap()
}

#[test]
fn real_receivers_that_stood_still_start_nothing_and_cross_no_edge_twice() {
    for (name, least) in [("telit-he910.log", 150), ("haicom-305N.log", 50)] {
        let Some(fixes) = capture(name) else { return };
        assert!(fixes.len() >= least, "{name}: {} fixes", fixes.len());
        let mut motion = Motion::default();
        for fix in &fixes {
            let at = Stamp { mono_us: (fix.time_ms - fixes[0].time_ms) * 1000, wall_ms: 0 };
            judge(&mut motion, &(fix.clone(), at));
        }
        let median = |of: fn(&Fix) -> f64| moored::percentile(&fixes.iter().map(of).collect::<Vec<_>>(), 50);
        let (lat, lon) = (median(|fix| fix.lat_deg), median(|fix| fix.lon_deg));
        let mut told = Vec::new();
        let mut naive = Vec::new();
        for metres in [-10.0, -5.0, -3.0, 0.0, 3.0, 5.0, 10.0] {
            let plan = east_of(lat, lon, metres);
            let mut fence = Fence::default();
            let seen =
                |fix: &Fix| Seen { time_ms: fix.time_ms, lat_deg: fix.lat_deg, lon_deg: fix.lon_deg, hdop: fix.hdop };
            told.push(
                fixes.iter().map(|fix| fence.step(&plan, &FenceLimits::default(), &seen(fix)).len()).sum::<usize>(),
            );
            let inside: Vec<bool> = fixes.iter().map(|fix| plan.place_at(fix.lat_deg, fix.lon_deg).is_some()).collect();
            naive.push(inside.windows(2).filter(|two| two[0] != two[1]).count());
        }
        eprintln!("{name}: {} fixes, {} starts, changes {told:?}, naive {naive:?}", fixes.len(), motion.starts());
        assert_eq!(motion.starts(), 0, "{name}");
        assert!(told.iter().all(|n| *n <= 1), "{name}: {told:?}");
    }
}

/// What becomes of a drive at 10 m/s north, a fix a second with a turn of 90 degrees each 15 s, while room ends.
fn driven(room_s: u64) -> Vec<Keep> {
    let mut motion = Motion::default();
    let pace = Pace { room: Duration::from_secs(room_s), ..PACE };
    let limits = MotionLimits::default();
    let course = |s: i64| if s / 15 % 2 == 0 { 0.0 } else { 90.0 };
    (0..300)
        .map(|s| {
            let (fix, at) = fix(s * 1_000, Some(10.0), course(s));
            let fix = Fix { lat_deg: f64::from(i32::try_from(s).unwrap()) * 10.0 / M, ..fix };
            // At 100 s it comes into a zone.
            motion.judge(&fix, at, false, pace, s == 100, &limits)
        })
        .collect()
}

#[test]
fn as_room_ends_one_fix_in_so_long_is_stored_and_still_each_that_changes_a_place_or_a_motion() {
    let n = |keeps: &[Keep], is: Keep| keeps.iter().filter(|keep| **keep == is).count();
    let (all, ten, sixty) = (driven(0), driven(10), driven(60));
    assert_eq!(n(&all, Keep::Thin("room")), 0);
    assert!(n(&all, Keep::Store) > n(&ten, Keep::Store) && n(&ten, Keep::Store) > n(&sixty, Keep::Store));
    let stored: Vec<usize> = (0..300).filter(|s| sixty[*s] == Keep::Store).collect();
    let start = all.iter().position(|keep| *keep == Keep::Store).unwrap();
    assert!(stored.contains(&start) && stored.contains(&100), "{stored:?}");
    assert!(stored.len() <= 9, "the start, the zone, and one a minute: {stored:?}");
    let turns = |keeps: &[Keep]| (101..160).filter(|s| keeps[*s] == Keep::Store).count();
    assert!(turns(&all) >= 6 && turns(&sixty) == 0, "a turn is worth no row then");
}

#[test]
fn as_room_ends_a_late_fix_is_stored_unless_one_within_that_time_is() {
    let mut motion = Motion::default();
    let pace = Pace { room: Duration::from_secs(60), ..PACE };
    let limits = MotionLimits::default();
    let (fix, at) = fix(100_000, Some(0.0), 0.0);
    assert_eq!(motion.judge(&fix, at, false, pace, false, &limits), Keep::Store);
    assert_eq!(motion.judge(&fix, at, true, pace, false, &limits), Keep::Late(pace.room, "room"));
    assert_eq!(motion.judge(&fix, at, true, pace, true, &limits), Keep::Store);
}
