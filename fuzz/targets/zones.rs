//! Plans: read, or refused with every mistake at its place; and no position, however odd, breaks one that is good.

#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost::plan::{FINDINGS_MAX, Fence, FenceLimits, Plan, Seen};

fuzz_target!(|text: &str| {
    let plan = match Plan::parse(text) {
        Ok(plan) => plan,
        Err(invalid) => {
            assert!((1..=FINDINGS_MAX + 1).contains(&invalid.findings.len()), "{invalid}");
            let lines = text.matches('\n').count() + 1;
            for finding in invalid.findings {
                assert!(finding.line <= lines && (finding.line > 0) == (finding.column > 0), "{finding:?}");
                assert!(!finding.message.is_empty() && !finding.remedy.is_empty(), "{finding:?}");
            }
            return;
        }
    };
    let mut fence = Fence::default();
    let mut time_ms = 0;
    let corners = plan.zones().iter().flat_map(|zone| zone.polygons.iter().flatten().flatten());
    // Every corner, a step beside it, and places that no receiver is at.
    let odd = [[f64::NAN, 0.0], [0.0, f64::INFINITY], [-180.0, -90.0], [180.0, 90.0]];
    for [lon_deg, lat_deg] in corners.flat_map(|[lon, lat]| [[*lon, *lat], [lon + 1e-7, lat - 1e-7]]).chain(odd).take(2000) {
        if let Some(zone) = plan.place_at(lat_deg, lon_deg) {
            assert_eq!(plan.zone(&zone.id), Some(zone));
        }
        time_ms += 1000;
        let seen = Seen { time_ms, lat_deg, lon_deg, hdop: Some(1.0) };
        for crossing in fence.step(&plan, &FenceLimits::default(), &seen) {
            assert!(crossing.place.is_none_or(|id| plan.zone(&id).is_some()));
        }
    }
    let kept = Fence::from_text(&fence.to_text()).map(|kept| kept.to_text());
    assert_eq!(kept, Some(fence.to_text()), "a fence survives a restart");
});
