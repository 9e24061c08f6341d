use proptest::prelude::*;

use super::*;
use crate::plan::moored;

/// A degree of latitude in metres, and the yard's corner.
const M: f64 = 111_195.08;
const LAT: f64 = 59.0;
const LON: f64 = 11.0;

/// Degrees of a point so many metres east and north of the yard's corner.
fn degrees(x: f64, y: f64) -> (f64, f64) {
    (LAT + y / M, LON + x / M / LAT.to_radians().cos())
}

/// A plan of boxes: id, west, south, east, north in metres.
fn plan(boxes: &[(&str, f64, f64, f64, f64)]) -> Plan {
    let feature = |(id, west, south, east, north): &(&str, f64, f64, f64, f64)| {
        let corners = [(*west, *south), (*east, *south), (*east, *north), (*west, *north), (*west, *south)];
        let ring: Vec<[f64; 2]> = corners.iter().map(|(x, y)| degrees(*x, *y)).map(|(lat, lon)| [lon, lat]).collect();
        let kind = if id.starts_with("gate") { "gate" } else { "dock" };
        serde_json::json!({
            "type": "Feature", "properties": { "id": id, "kind": kind },
            "geometry": { "type": "Polygon", "coordinates": [ring] },
        })
    };
    // Where the corner is: a plan's origin is its first position.
    let origin = feature(&("origin", 0.0, -900.0, 1.0, -899.0));
    let features: Vec<_> = [origin].into_iter().chain(boxes.iter().map(feature)).collect();
    let text = serde_json::json!({ "type": "FeatureCollection", "features": features }).to_string();
    Plan::parse(&text).unwrap_or_else(|invalid| panic!("{invalid}"))
}

fn seen(time_ms: i64, x: f64, y: f64, hdop: f64) -> Seen {
    let (lat_deg, lon_deg) = degrees(x, y);
    Seen { time_ms, lat_deg, lon_deg, hdop: Some(hdop) }
}

/// Walks a track of (ms, x, y) at HDOP 1; answers when the place became what.
fn walk(plan: &Plan, track: impl IntoIterator<Item = (i64, f64, f64)>) -> Vec<(i64, String)> {
    walk_by(plan, &FenceLimits::default(), track)
}

fn walk_by(plan: &Plan, limits: &FenceLimits, track: impl IntoIterator<Item = (i64, f64, f64)>) -> Vec<(i64, String)> {
    let mut fence = Fence::default();
    let mut told = Vec::new();
    for (time_ms, x, y) in track {
        let crossings = fence.step(plan, limits, &seen(time_ms, x, y, 1.0));
        told.extend(crossings.into_iter().map(|to| (time_ms, to.place.unwrap_or_else(|| "-".into()))));
    }
    told
}

fn told(list: &[(i64, &str)]) -> Vec<(i64, String)> {
    list.iter().map(|(at, place)| (*at, (*place).to_owned())).collect()
}

#[test]
fn a_zone_is_entered_at_its_edge_and_left_ten_metres_beyond_it() {
    let yard = plan(&[("yard", 0.0, 0.0, 100.0, 100.0)]);
    let track = [-1.0, 0.5, -0.5, -9.0, -9.5, -10.5, -11.0, -9.0, -10.5, -11.0, -12.0, -13.0];
    let track = track.iter().zip(0..).map(|(x, n)| (n * 1000, *x, 50.0));
    assert_eq!(walk(&yard, track), told(&[(1000, "yard"), (10_000, "-")]), "the third fix in a row beyond 10 m");
}

#[test]
fn far_beyond_the_edge_one_fix_is_enough_and_near_it_so_are_five_seconds() {
    let yard = plan(&[("yard", 0.0, 0.0, 100.0, 100.0)]);
    assert_eq!(walk(&yard, [(0, 1.0, 50.0), (1000, -15.5, 50.0)]), told(&[(0, "yard"), (1000, "-")]));
    let slow = [(0, 1.0, 50.0), (1000, -11.0, 50.0), (5999, -11.0, 50.0)];
    assert_eq!(walk(&yard, slow), told(&[(0, "yard")]));
    let slow = [(0, 1.0, 50.0), (1000, -11.0, 50.0), (6000, -11.0, 50.0)];
    assert_eq!(walk(&yard, slow), told(&[(0, "yard"), (6000, "-")]));
}

#[test]
fn a_poor_hdop_widens_the_margin_and_a_mad_one_is_bounded() {
    let yard = plan(&[("yard", 0.0, 0.0, 100.0, 100.0)]);
    for (hdop, beyond, leaves) in
        [(3.0, 44.0, false), (3.0, 46.0, true), (f64::NAN, 16.0, true), (-1.0, 16.0, true), (1e300, 1600.0, true)]
    {
        let mut fence = Fence::default();
        fence.step(&yard, &FenceLimits::default(), &seen(0, 50.0, 50.0, 1.0));
        fence.step(&yard, &FenceLimits::default(), &seen(1000, -beyond, 50.0, hdop));
        assert_eq!(fence.place().is_none(), leaves, "HDOP {hdop}, {beyond} m");
    }
}

#[test]
fn a_drive_at_30_km_h_is_told_within_three_seconds_of_either_edge() {
    let yard = plan(&[("yard", 0.0, 0.0, 100.0, 100.0)]);
    let mps = 30.0 / 3.6;
    for phase in 0..20 {
        let at = |n: i64| n * 1000 + phase * 50;
        let x = |ms: i64| -40.0 + mps * ms as f64 / 1000.0;
        let told = walk(&yard, (0..40).map(|n| (at(n), x(at(n)), 50.0)));
        let late_ms = |told: &(i64, String), edge: f64| told.0 as f64 - (edge + 40.0) / mps * 1000.0;
        assert_eq!(told.len(), 2, "{told:?}");
        assert!((0.0..=1000.0).contains(&late_ms(&told[0], 0.0)), "in after {} ms", late_ms(&told[0], 0.0));
        assert!((0.0..=3000.0).contains(&late_ms(&told[1], 100.0)), "out after {} ms", late_ms(&told[1], 100.0));
    }
}

#[test]
fn a_gap_of_ten_seconds_jumps_no_gate() {
    let yard = plan(&[("gate", 0.0, 0.0, 4.0, 20.0), ("yard", 0.0, 0.0, 200.0, 200.0)]);
    let alone = plan(&[("gate", 0.0, 0.0, 4.0, 20.0)]);
    let over = [(0, -40.0, 10.0), (10_000, 43.0, 10.0)];
    assert_eq!(walk(&yard, over), told(&[(10_000, "gate"), (10_000, "yard")]));
    assert_eq!(walk(&alone, over), told(&[(10_000, "gate"), (10_000, "-")]));
    let out = [(0, 43.0, 10.0), (10_000, -40.0, 10.0)];
    assert_eq!(walk(&yard, out), told(&[(0, "yard"), (10_000, "gate"), (10_000, "-")]));
    let long = [(0, -40.0, 10.0), (61_000, 43.0, 10.0)];
    assert_eq!(walk(&yard, long), told(&[(61_000, "yard")]), "who knows which way it went");
    let other = plan(&[("bay", 0.0, 0.0, 4.0, 20.0)]);
    assert_eq!(walk(&other, over), told(&[]), "a bay is no gate: it may have gone around");
    let beside = [(0, -40.0, 30.0), (10_000, 43.0, 30.0)];
    assert_eq!(walk(&yard, beside), told(&[(10_000, "yard")]));
}

#[test]
fn a_gate_between_road_and_yard_is_told_though_no_fix_falls_into_it() {
    let plan = plan(&[("road", -100.0, 0.0, 0.0, 20.0), ("gate", 0.0, 0.0, 4.0, 20.0), ("yard", 4.0, 0.0, 99.0, 99.0)]);
    for phase in 0..10 {
        let drive = (0..12).map(|n| (n * 1000, -40.0 + phase as f64 + 8.33 * n as f64, 10.0));
        let places: Vec<String> = walk(&plan, drive).into_iter().map(|(_, place)| place).collect();
        assert_eq!(places, ["road", "gate", "yard"], "from {phase}");
    }
}

#[test]
fn an_asset_that_wanders_over_a_narrow_gate_has_entered_it_once() {
    let gate = plan(&[("gate", 0.0, 0.0, 1.0, 20.0)]);
    let hops = (0..600_i64).map(|s| (s * 1000, if s / 3 % 2 == 0 { -2.0 } else { 3.0 }, 10.0));
    assert_eq!(walk(&gate, hops), told(&[(3000, "gate")]));
}

#[test]
fn a_receiver_that_is_very_unsure_enters_no_zone_at_its_edge() {
    let yard = plan(&[("yard", 0.0, 0.0, 100.0, 100.0)]);
    for (hdop, x, enters) in [(5.0, 1.0, true), (6.0, 29.0, false), (6.0, 31.0, true), (17.0, 50.0, false)] {
        let mut fence = Fence::default();
        fence.step(&yard, &FenceLimits::default(), &seen(0, x, 50.0, hdop));
        assert_eq!(fence.place().is_some(), enters, "HDOP {hdop}, {x} m inside");
    }
}

#[test]
fn nested_zones_tell_the_innermost_and_the_outer_ones_are_not_lost() {
    let plan =
        plan(&[("yard", 0.0, 0.0, 300.0, 300.0), ("hall", 50.0, 0.0, 150.0, 100.0), ("dock", 50.0, 0.0, 54.0, 20.0)]);
    let track =
        [(0, 20.0, 10.0), (10_000, 52.0, 10.0), (20_000, 80.0, 10.0), (30_000, 250.0, 10.0), (40_000, 400.0, 10.0)];
    let places: Vec<String> = walk(&plan, track).into_iter().map(|(_, place)| place).collect();
    assert_eq!(places, ["yard", "dock", "hall", "yard", "-"]);
}

#[test]
fn a_hole_is_outside() {
    let ring = |a: f64, b: f64| {
        let corners = [(a, a), (b, a), (b, b), (a, b), (a, a)];
        corners.map(|(x, y)| degrees(x, y)).map(|(lat, lon)| [lon, lat])
    };
    let text = serde_json::json!({ "type": "FeatureCollection", "features": [{
        "type": "Feature", "properties": { "id": "ring", "kind": "road" },
        "geometry": { "type": "Polygon", "coordinates": [ring(0.0, 200.0), ring(50.0, 150.0)] },
    }]});
    let plan = Plan::parse(&text.to_string()).unwrap();
    assert_eq!(walk(&plan, [(0, 10.0, 10.0), (1000, 100.0, 100.0)]), told(&[(0, "ring"), (1000, "-")]));
}

#[test]
fn between_narrow_docks_a_parked_truck_does_not_flap_and_one_that_stands_next_door_is_told_there() {
    let docks =
        plan(&[("dock 3", 0.0, 0.0, 4.0, 15.0), ("dock 4", 4.0, 0.0, 8.0, 15.0), ("dock 6", 12.0, 0.0, 16.0, 15.0)]);
    let wander = (0..1200_i64).map(|s| (s * 1000, 4.0 + if s / 7 % 2 == 0 { -1.5 } else { 1.5 }, 8.0));
    assert_eq!(walk(&docks, wander), told(&[(0, "dock 3")]), "on the edge it stays where it was first");
    let shunt = (0..100_i64).map(|s| (s * 1000, if s < 10 { 2.0 } else { 6.0 }, 8.0));
    assert_eq!(walk(&docks, shunt), told(&[(0, "dock 3"), (70_000, "dock 4")]), "a minute next door");
    let two_on = (0..30_i64).map(|s| (s * 1000, if s < 10 { 2.0 } else { 14.5 }, 8.0));
    assert_eq!(walk(&docks, two_on), told(&[(0, "dock 3"), (10_000, "dock 6")]), "further than the margin: at once");
    let out_and_back = [(0, 2.0, 8.0), (9000, 2.0, -8.0), (12_000, 4.0, -20.0), (20_000, 6.0, 8.0)];
    assert_eq!(walk(&docks, out_and_back), told(&[(0, "dock 3"), (12_000, "-"), (20_000, "dock 4")]));
}

#[test]
fn with_dwell_a_zone_is_entered_after_that_long_inside_without_a_break() {
    let yard = plan(&[("yard", 0.0, 0.0, 100.0, 100.0)]);
    let limits = FenceLimits { dwell_ms: 5000, ..FenceLimits::default() };
    let track = (0..20_i64).map(|s| (s * 1000, if s == 4 { -1.0 } else { 50.0 }, 50.0));
    assert_eq!(walk_by(&yard, &limits, track), told(&[(10_000, "yard")]));
    assert_eq!(walk_by(&yard, &limits, [(0, -90.0, 50.0), (9000, 190.0, 50.0)]), told(&[]), "passing by is no stay");
}

#[test]
fn a_fix_that_only_moves_inside_or_far_away_changes_nothing_that_is_stored() {
    let plan = plan(&[("yard", 0.0, 0.0, 100.0, 100.0)]);
    let mut fence = Fence::default();
    for (n, x) in (0_i64..).zip([500.0, 480.0, 50.0, 20.0, 90.0, 104.0, 108.0, 99.0]) {
        let before = fence.clone();
        let crossings = fence.step(&plan, &FenceLimits::default(), &seen(n * 1000, x, 50.0, 1.0));
        assert_eq!(fence != before || !crossings.is_empty(), n == 2, "fix {n} at {x}");
    }
}

#[test]
fn a_zone_that_the_plan_no_longer_has_is_left_with_the_next_fix() {
    let (old, new) = (plan(&[("a", 0.0, 0.0, 9.0, 9.0)]), plan(&[("b", 0.0, 0.0, 50.0, 50.0)]));
    let mut fence = Fence::default();
    fence.step(&old, &FenceLimits::default(), &seen(0, 5.0, 5.0, 1.0));
    let mut fence = Fence::from_text(&fence.to_text()).unwrap();
    assert_eq!(fence.place(), Some("a"));
    let crossings = fence.step(&new, &FenceLimits::default(), &seen(1000, 5.0, 5.0, 1.0));
    assert_eq!(crossings, [Crossing { place: Some("b".into()) }]);
    assert_eq!(fence.to_text(), "1|b|b=i");
    assert_eq!(
        fence.step(&Plan::empty(), &FenceLimits::default(), &seen(2000, 5.0, 5.0, 1.0)),
        [Crossing { place: None }]
    );
    assert_eq!(fence, Fence::default());
}

#[test]
fn the_largest_plan_costs_a_fix_little() {
    // 500 round zones of 40 corners: apart, and all around one spot.
    let zones = |apart: f64| {
        let feature = |n: usize| {
            let (x, y) = ((n % 25) as f64 * apart, (n / 25) as f64 * apart);
            let corner = |k: usize| {
                let turn = (k % 39) as f64 / 39.0 * std::f64::consts::TAU;
                let (lat, lon) = degrees(x + 45.0 * turn.cos(), y + 45.0 * turn.sin());
                [lon, lat]
            };
            let ring: Vec<[f64; 2]> = (0..40).map(corner).collect();
            serde_json::json!({
                "type": "Feature", "properties": { "id": format!("zone {n}"), "kind": "gate" },
                "geometry": { "type": "Polygon", "coordinates": [ring] },
            })
        };
        let features: Vec<_> = (0..500).map(feature).collect();
        serde_json::json!({ "type": "FeatureCollection", "features": features }).to_string()
    };
    for (what, apart) in [("apart", 100.0), ("all in one place", 0.01)] {
        let text = zones(apart);
        let begin = std::time::Instant::now();
        let plan = Plan::parse(&text).unwrap();
        let parsed = begin.elapsed();
        let mut fence = Fence::default();
        let begin = std::time::Instant::now();
        for n in 0..200_i64 {
            let at = seen(n * 1000, if n % 2 == 0 { 0.0 } else { 50.0 }, n as f64 / 100.0, 1.0);
            fence.step(&plan, &FenceLimits::default(), &at);
        }
        let each = begin.elapsed() / 200;
        eprintln!("500 zones of 40 positions {what}: {} KiB read in {parsed:?}, a fix {each:?}", text.len() >> 10);
        assert!(each < std::time::Duration::from_millis(100), "{each:?}");
    }
}

#[test]
fn a_date_from_the_future_freezes_no_fence() {
    let yard = plan(&[("yard", 0.0, 0.0, 100.0, 100.0)]);
    let far = 4_000_000_000_000;
    let track = [(0, 50.0, 50.0), (far, -12.0, 50.0), (2000, -12.0, 50.0), (3000, -12.0, 50.0), (4000, -12.0, 50.0)];
    assert_eq!(walk(&yard, track), told(&[(0, "yard"), (4000, "-")]));
}

#[test]
fn what_is_no_text_of_a_fence_is_none() {
    for text in
        ["", "1", "2|", "1|a/b", "1||a", "1||a=", "1||a=x1", "1||a=ä", "1||a=i1", "1||b=i|a=i", "1||a=i|a=i", "1||a=o5"]
    {
        assert_eq!(Fence::from_text(text), None, "{text}");
    }
    assert_eq!(Fence::from_text(&format!("1|{}", "|a=i".repeat(20_000))), None);
    assert_eq!(Fence::from_text(&Fence::default().to_text()), Some(Fence::default()));
}

fn any_stand() -> impl Strategy<Value = Stand> {
    prop_oneof![
        Just(Stand::In),
        any::<i64>().prop_map(|since_ms| Stand::Entering { since_ms }),
        any::<i64>().prop_map(|since_ms| Stand::Beside { since_ms }),
        (any::<i64>(), any::<u32>()).prop_map(|(since_ms, fixes)| Stand::Beyond { since_ms, fixes }),
    ]
}

proptest! {
    #[test]
    fn the_text_of_a_fence_brings_it_back(
        marks in proptest::collection::btree_map("[A-Za-z0-9 ._-]{1,64}", any_stand(), 0..20),
        place in proptest::option::of("[A-Za-z0-9 ._-]{1,64}"),
    ) {
        let marks = marks.into_iter().map(|(id, stand)| Mark { id, stand }).collect();
        let fence = Fence { place, marks, trail: Trail::default() };
        prop_assert_eq!(Fence::from_text(&fence.to_text()), Some(fence));
    }

    #[test]
    fn any_text_is_a_fence_or_none(text in "(1\\|)?[a-z0-9=|,eiso-]{0,40}") {
        if let Some(fence) = Fence::from_text(&text) {
            prop_assert_eq!(Fence::from_text(&fence.to_text()), Some(fence));
        }
    }

    #[test]
    fn no_number_makes_a_step_panic_and_the_same_steps_say_the_same(
        steps in proptest::collection::vec((any::<i64>(), any::<f64>(), any::<f64>(), any::<Option<f64>>()), 1..40),
        near in proptest::collection::vec((0..100_000_i64, -60.0..160.0_f64, -60.0..160.0_f64, 0.5..20.0_f64), 1..40),
        dwell_ms in any::<i64>(),
        exit_m in any::<f64>(),
    ) {
        let plan = plan(&[("yard", 0.0, 0.0, 100.0, 100.0), ("dock", 0.0, 0.0, 4.0, 20.0), ("next", 4.0, 0.0, 8.0, 20.0)]);
        let wild = steps.into_iter().map(|(time_ms, lat_deg, lon_deg, hdop)| Seen { time_ms, lat_deg, lon_deg, hdop });
        let near = near.into_iter().map(|(time_ms, x, y, hdop)| seen(time_ms, x, y, hdop));
        let all: Vec<Seen> = wild.chain(near).collect();
        for limits in [FenceLimits::default(), FenceLimits { dwell_ms, exit_m, exit_fixes: 0, exit_ms: -1 }] {
            let run = || {
                let mut fence = Fence::default();
                let said: Vec<_> = all.iter().flat_map(|seen| fence.step(&plan, &limits, seen)).collect();
                (said, fence.to_text())
            };
            let (said, text) = run();
            prop_assert_eq!((&said, &text), (&run().0, &run().1));
            prop_assert!(said.windows(2).all(|two| two[0] != two[1]), "a change is a change");
            prop_assert!(Fence::from_text(&text).is_some());
        }
    }

    #[test]
    fn a_thinned_step_is_no_step(xs in proptest::collection::vec(-40.0..140.0_f64, 1..80)) {
        // Fixes that change nothing may be left out: the others say the same. Within a minute ways over gates differ.
        let plan = plan(&[("yard", 0.0, 0.0, 100.0, 100.0), ("hall", 20.0, 0.0, 60.0, 100.0)]);
        let at = |(n, x): (i64, &f64)| seen(n * 61_000, *x, 50.0, 1.0);
        let (mut all, mut few) = (Fence::default(), Fence::default());
        for seen in (0_i64..).zip(&xs).map(at) {
            let before = all.clone();
            let said = all.step(&plan, &FenceLimits::default(), &seen);
            if all != before || !said.is_empty() {
                prop_assert_eq!(few.step(&plan, &FenceLimits::default(), &seen), said);
                prop_assert_eq!(&few, &all);
            }
        }
    }
}

/// The changes of place of a moored track beside boxes, and how often a fence without hysteresis would have told one.
fn moored(track: &[moored::Said], boxes: &[(&str, f64, f64, f64, f64)]) -> (Vec<(i64, Option<String>)>, usize) {
    let plan = plan(boxes);
    let (mut fence, mut naive, mut flips, mut told) = (Fence::default(), None, 0, Vec::new());
    for (n, said) in (0_i64..).zip(track) {
        let seen = seen(n * 1000, said.x, said.y, moored::HDOP);
        let here = plan.place_at(seen.lat_deg, seen.lon_deg).map(|zone| zone.id.clone());
        flips += usize::from(here != naive);
        naive = here;
        let crossings = fence.step(&plan, &FenceLimits::default(), &seen);
        told.extend(crossings.into_iter().map(|to| (n, to.place)));
    }
    (told, flips)
}

/// The land on each side of an edge so many metres from the moorings.
fn sides(edge: f64) -> [(f64, f64, f64, f64); 4] {
    [
        (edge, -500.0, 500.0, 500.0),
        (-500.0, -500.0, edge, 500.0),
        (-500.0, edge, 500.0, 500.0),
        (-500.0, -500.0, 500.0, edge),
    ]
}

#[test]
fn the_moored_track_wanders_as_the_real_one_did() {
    for track in (0..10).flat_map(|seed| [moored::track(seed), moored::restless(seed)]) {
        let radii: Vec<f64> = track.iter().map(|said| said.x.hypot(said.y)).collect();
        assert_eq!(track.len(), 1200);
        let part = |hundredth| moored::percentile(&radii, hundredth);
        assert!((part(50) - 5.0).abs() < 0.1 && (part(95) - 20.0).abs() < 0.1, "{} {}", part(50), part(95));
        assert!(part(100) <= 22.4);
        let speeds: Vec<f64> = track.iter().map(|said| said.speed_mps).collect();
        assert!(moored::percentile(&speeds, 95) < 0.6 && speeds.iter().filter(|mps| **mps > 1.0).count() >= 10);
        let runs = speeds.split(|mps| *mps <= 1.0).map(<[f64]>::len);
        assert_eq!(runs.max(), Some(4), "seconds over 1 m/s");
    }
}

#[test]
fn a_moored_asset_tells_one_change_at_most_at_any_edge() {
    let (mut tracks, mut flips) = (0, 0);
    for seed in 0..10 {
        // An edge 10 m away with the margin behind it is 32.4 m wide: less than a restless track, which goes both ways.
        for (track, edges) in
            [(moored::track(seed), [0.0, 3.0, 5.0, 10.0].as_slice()), (moored::restless(seed), &[0.0, 3.0, 5.0])]
        {
            for (west, south, east, north) in edges.iter().flat_map(|edge| sides(*edge)) {
                let (told, naive) = moored(&track, &[("yard", west, south, east, north)]);
                assert!(told.len() <= 1, "seed {seed}, {west} {south} {east} {north}: {told:?}");
                (tracks, flips) = (tracks + 1, flips + naive);
            }
        }
    }
    assert!(flips / tracks >= 12, "a fence without hysteresis would flap: {flips} in {tracks}");
}

#[test]
fn a_moored_asset_on_the_edge_of_two_zones_changes_over_once_at_most() {
    for seed in 0..10 {
        for edge in [0.0, 3.0, 5.0, 10.0] {
            let track = moored::track(seed);
            let (told, _) = moored(&track, &[("a", -500.0, -500.0, edge, 500.0), ("b", edge, -500.0, 500.0, 500.0)]);
            assert!(told.len() <= 2, "seed {seed}, edge {edge} m: {told:?}");
        }
    }
}
