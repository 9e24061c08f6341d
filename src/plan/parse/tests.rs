use super::*;

fn square(x: f64, y: f64) -> String {
    let corners = [(x, y), (x + 0.001, y), (x + 0.001, y + 0.001), (x, y + 0.001), (x, y)];
    let corners: Vec<String> = corners.iter().map(|(x, y)| format!("[{x}, {y}]")).collect();
    format!("[[{}]]", corners.join(", "))
}

fn polygon(id: &str, coordinates: &str) -> String {
    format!(
        r#"{{"type": "Feature", "properties": {{"id": "{id}", "kind": "dock"}}, "geometry": {{"type": "Polygon", "coordinates": {coordinates}}}}}"#
    )
}

/// A feature a line, the first on line 2.
fn plan_of(features: &[String]) -> String {
    format!("{{\"type\": \"FeatureCollection\", \"features\": [\n{}\n]}}\n", features.join(",\n"))
}

fn findings(text: &str) -> Vec<String> {
    Plan::parse(text).unwrap_err().findings.iter().map(Finding::to_string).collect()
}

/// The only finding of a plan begins so and names this remedy.
fn refused(text: &str, begins: &str, remedy: &str) {
    let found = findings(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(begins) && found[0].contains(remedy), "{}", found[0]);
}

#[test]
fn a_plan_gives_its_zones_with_names_kinds_and_holes() {
    let text = r#"{"type": "FeatureCollection", "name": "yard", "crs": {"type": "name"}, "features": [
        {"type": "Feature", "id": 7, "properties": {"id": "hall 2", "kind": "building", "name": "Hall B", "colour": "red"},
         "geometry": {"type": "Polygon", "bbox": [1, 2, 3, 4], "coordinates": [
            [[11.0, 59.0, 12.5], [11.0, 59.004], [11.004, 59.004], [11.004, 59.0], [11.0, 59.0, 12.5]],
            [[11.001, 59.001], [11.002, 59.001], [11.002, 59.002], [11.001, 59.001]]]}},
        {"type": "Feature", "properties": {"id": "bay.1", "kind": "bay", "name": null},
         "geometry": {"type": "MultiPolygon", "coordinates": [
            [[[11.0, 59.01], [11.001, 59.01], [11.001, 59.011], [11.0, 59.01]]],
            [[[11.003, 59.01], [11.004, 59.01], [11.004, 59.011], [11.003, 59.01]]]]}}
    ]}"#;
    let plan = Plan::parse(text).unwrap();
    let of = |zone: &Zone| (zone.id.clone(), zone.name.clone(), zone.kind, zone.polygons.len());
    assert_eq!(
        plan.zones().iter().map(of).collect::<Vec<_>>(),
        [("hall 2".into(), "Hall B".into(), ZoneKind::Building, 1), ("bay.1".into(), "bay.1".into(), ZoneKind::Bay, 2)]
    );
    assert_eq!(plan.zones()[0].polygons[0][1][2], [11.002, 59.002]);
    let at = |lat, lon| plan.place_at(lat, lon).map(|zone| zone.id.as_str());
    assert_eq!(at(59.003, 11.003), Some("hall 2"));
    assert_eq!(at(59.0012, 11.0018), None, "in the hole");
    assert_eq!(at(59.0102, 11.0038), Some("bay.1"), "in the second part");
    assert_eq!(at(f64::NAN, 11.0), None);
    assert_eq!(plan.zone("hall 2").map(|zone| zone.kind.as_str()), Some("building"));
}

#[test]
fn a_byte_order_mark_and_either_winding_are_no_mistakes() {
    let clockwise = "[[[11, 59], [11, 59.001], [11.001, 59.001], [11.001, 59], [11, 59]]]";
    let text = format!("\u{feff}{}", plan_of(&[polygon("a", clockwise), polygon("b", &square(11.002, 59.0))]));
    let plan = Plan::parse(&text).unwrap();
    assert_eq!(plan.zones().len(), 2);
    assert_eq!(plan.place_at(59.0005, 11.0005).unwrap().id, "a");
}

#[test]
fn a_yard_on_the_date_line_is_one_yard() {
    let text = plan_of(&[polygon(
        "line",
        "[[[179.999, 0], [-179.999, 0], [-179.999, 0.001], [179.999, 0.001], [179.999, 0]]]",
    )]);
    let plan = Plan::parse(&text).unwrap();
    for lon in [179.9995, -180.0, 180.0, -179.9995] {
        assert!(plan.place_at(0.0005, lon).is_some(), "{lon}");
    }
    assert!(plan.place_at(0.0005, 0.0).is_none());
}

#[test]
fn what_is_no_plan_at_all_is_said_with_its_place() {
    refused("{\"type\": \"FeatureCollection\",\n  \"features\": [\n}", "3:1: is no JSON: ", "mend the text");
    refused("[]", "1:1: is a list, not a GeoJSON FeatureCollection", "export");
    refused("{\"type\": \"Topology\", \"features\": []}", "1:10: is a GeoJSON \"Topology\"", "FeatureCollection");
    refused("{\"features\": []}", "1:1: has no type", "a plan is");
    refused("{\"type\": \"FeatureCollection\"}", "1:1: has no features", "\"features\"");
    refused("{\"type\": \"FeatureCollection\",\n \"features\": 7}", "2:14: features is a number", "a zone each");
    refused(&" ".repeat(BYTES_MAX + 1), "is longer than 2 MiB", "fewer");
    assert_eq!(Plan::parse("{\"type\": \"FeatureCollection\", \"features\": []}"), Ok(Plan::empty()));
}

#[test]
fn every_mistake_is_said_with_feature_line_and_column() {
    let text = r#"{"type": "FeatureCollection", "features": [
{"type": "Feature", "properties": {"id": "Tor/1", "kind": "gaet"},
 "geometry": {"type": "Polygon", "coordinates": [[[11, 59], [11.001, 59], [11.001, 59.001], [11, 59.001]]]}},
{"type": "Feature", "properties": {"id": "ok", "kind": "gate"}, "geometry": {"type": "Point", "coordinates": [11, 59]}},
7,
{"type": "Feature", "properties": {"id": 3, "kind": "dock", "name": "a\nb"}, "geometry": null},
{"type": "Feature", "properties": {"id": "ok", "kind": "dock"},
 "geometry": {"type": "Polygon", "coordinates": [[["é", 1], [200, 59], [11, 91], [11, "59"], [1e999, 0]]]}},
{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[1, 2], [3, 4]]]}}
]}"#;
    let found = findings(text);
    let begins = [
        "2:42: feature 1 \"Tor/1\": \"Tor/1\" cannot be the id of a place; write 1 to 64 letters",
        "2:59: feature 1 \"Tor/1\": the kind \"gaet\" is not known here; write building or dock or",
        "3:93: feature 1 \"Tor/1\": the ring is not closed; repeat its first position [11, 59]",
        "4:77: feature 2 \"ok\": its geometry \"Point\" is no area; draw it",
        "5:1: feature 3: is a number, not a Feature; a zone is",
        "6:1: feature 4: has no geometry; draw it",
        "6:42: feature 4: id is a number, not a text; write \"id\": \"…\"",
        "6:69: feature 4: the name \"a\\nb\" cannot be shown on one line; write 1 to 128",
        "7:42: feature 5 \"ok\": the id \"ok\" is that of feature 2 on line 4; give each zone",
        "8:51: feature 5 \"ok\": is no position; write [longitude, latitude]",
        "8:61: feature 5 \"ok\": the longitude 200 is not between -180 and 180; write",
        "8:72: feature 5 \"ok\": the latitude 91 is not between -90 and 90; write",
        "8:82: feature 5 \"ok\": is no position; write",
        "8:94: feature 5 \"ok\": is no position; write",
        "9:1: feature 6: has no id in its properties; write \"properties\": {\"id\": \"…\"}",
        "9:1: feature 6: has no kind in its properties; write",
        "9:69: feature 6: a ring has 2 positions, a closed one has 4 at least; draw",
    ];
    for (found, begins) in found.iter().zip(begins) {
        assert!(found.starts_with(begins), "\n{found}\n{begins}");
    }
    assert_eq!(found.len(), begins.len(), "{found:#?}");
}

#[test]
fn a_ring_that_geometry_cannot_answer_for_is_refused() {
    let of = |coordinates: &str| plan_of(&[polygon("z", coordinates)]);
    let bow = "[[[11, 59], [11.001, 59.001], [11.001, 59], [11, 59.0015], [11, 59]]]";
    refused(
        &of(bow),
        "2:113: feature 1 \"z\": the ring crosses or touches itself: the edge from here and that from line 2 column 141",
        "move a corner",
    );
    let eight =
        "[[[11, 59], [11.001, 59], [11.0005, 59.0005], [11.001, 59.001], [11, 59.001], [11.0005, 59.0005], [11, 59]]]";
    refused(&of(eight), "2:123: feature 1 \"z\": the ring crosses or touches itself", "two zones");
    refused(
        &of("[[[11, 59], [11.001, 59], [11.002, 59], [11, 59]]]"),
        "2:113: feature 1 \"z\": the ring has no area",
        "around",
    );
    let outer = "[[11, 59], [11.01, 59], [11.01, 59.01], [11, 59.01], [11, 59]]";
    let hole = |x: f64| format!("[{outer}, [[{x}, 59.002], [{0}, 59.002], [{0}, 59.004], [{x}, 59.002]]]", x + 0.002);
    assert!(Plan::parse(&of(&hole(11.004))).is_ok());
    refused(&of(&hole(11.02)), "2:177: feature 1 \"z\": the hole is outside of its zone", "MultiPolygon");
    refused(&of(&hole(11.009)), "2:123: feature 1 \"z\": the ring crosses another of the zone", "move a corner");
    let north = "[[[11, 86], [11.1, 84], [11.1, 84.001], [11, 84]]]";
    refused(&of(north), "2:113: feature 1 \"z\": the latitude 86 is too near a pole", "between 85 degrees");
}

#[test]
fn a_plan_keeps_its_limits() {
    let far = plan_of(&[polygon("a", &square(11.0, 59.0)), polygon("b", &square(59.0, 11.0))]);
    refused(&far, "3:76: feature 2 \"b\": with it the plan is", "longitude first");
    let many = plan_of(&vec![polygon("a", &square(11.0, 59.0)); ZONES_MAX + 1]);
    refused(&many, "1:43: has 501 features, more than 500", "leave out");
    let ring = |n: usize| {
        let at = |k: usize| f64::from(u32::try_from(k % n).unwrap()) / n as f64 * std::f64::consts::TAU;
        let corners: Vec<String> =
            (0..=n).map(|k| format!("[{},{}]", 11.0 + 0.01 * at(k).cos(), 59.0 + 0.01 * at(k).sin())).collect();
        format!("[[{}]]", corners.join(","))
    };
    assert!(Plan::parse(&plan_of(&[polygon("a", &ring(POINTS_MAX - 1))])).is_ok());
    let points = plan_of(&[polygon("a", &ring(POINTS_MAX - 100)), polygon("b", &ring(200))]);
    refused(&points, "3:112: feature 2 \"b\": with it the plan has more than 20000 positions", "simplify");
    let endless = plan_of(&vec!["7".to_owned(); 400]);
    assert_eq!(findings(&endless).len(), FINDINGS_MAX);
}

#[test]
fn a_file_is_read_no_further_than_a_plan_goes_and_says_what_is_wrong_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zones.geojson");
    let said = |path: &Path| read(path).unwrap_err().in_file(path);
    assert!(said(&path).contains("zones.geojson: cannot be read: "), "{}", said(&path));
    std::fs::write(&path, b"{\n  \"a\xff").unwrap();
    assert!(said(&path).ends_with("zones.geojson:2:5: is no UTF-8 text; save it as UTF-8"), "{}", said(&path));
    std::fs::write(&path, vec![0xff; BYTES_MAX + 10]).unwrap();
    assert!(said(&path).contains("zones.geojson: is longer than 2 MiB"), "{}", said(&path));
    std::fs::write(&path, plan_of(&[polygon("a", &square(11.0, 59.0))])).unwrap();
    assert_eq!(read(&path).unwrap().0.zones()[0].id, "a");
    std::fs::write(&path, format!("\u{feff}{}", plan_of(&[polygon("a", &square(11.0, 59.0))]))).unwrap();
    let text = read(&path).unwrap().1;
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "what a page is given is JSON");
}

#[test]
fn a_ring_made_to_be_dear_is_read_in_seconds() {
    // A saw of 20,000 teeth that all lie above each other: every edge is near every other.
    let mut corners: Vec<[f64; 2]> =
        (0..POINTS_MAX - 3).map(|k| [11.0 + 0.01 * (k % 2) as f64, 59.0 + k as f64 * 1e-7]).collect();
    corners.extend([[10.999, 59.01], [10.999, 58.9999], corners[0]]);
    let text = plan_of(&[polygon("saw", &format!("[{}]", serde_json::to_string(&corners).unwrap()))]);
    let begin = std::time::Instant::now();
    let read = Plan::parse(&text);
    eprintln!("a saw of 20,000 teeth: {:?}, {}", begin.elapsed(), read.is_ok());
    assert!(begin.elapsed() < std::time::Duration::from_secs(60));
}

#[test]
fn the_yard_of_the_demo_is_a_plan() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("hardware/demo/zones.geojson");
    let (plan, _) = read(&path).unwrap_or_else(|invalid| panic!("{}", invalid.in_file(&path)));
    assert!(plan.zones().len() > 3);
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_plan_or_says_what_is_wrong(text in "[\\[\\]{}\",:0-9a-zé\\n .-]{0,200}") {
        if let Err(invalid) = Plan::parse(&text) {
            proptest::prop_assert!(!invalid.findings.is_empty() && invalid.findings.len() <= FINDINGS_MAX);
        }
    }

    #[test]
    fn a_plan_with_a_byte_changed_never_panics(at in 0..400_usize, with in proptest::char::any()) {
        let text = plan_of(&[polygon("a", &square(11.0, 59.0)), polygon("b", &square(11.002, 59.0))]);
        let mut chars: Vec<char> = text.chars().collect();
        let at = at % chars.len();
        chars[at] = with;
        if let Err(invalid) = Plan::parse(&chars.into_iter().collect::<String>()) {
            proptest::prop_assert!(!invalid.findings.is_empty());
        }
    }

    #[test]
    fn any_numbers_are_a_ring_or_none(numbers in proptest::collection::vec((proptest::num::f64::ANY, -90.0..90.0_f64), 3..12)) {
        let mut ring: Vec<[f64; 2]> = numbers.into_iter().map(|(lon, lat)| [lon, lat]).collect();
        ring.push(ring[0]);
        let text = plan_of(&[polygon("a", &format!("[{}]", serde_json::to_string(&ring).unwrap()))]);
        if let Ok(plan) = Plan::parse(&text) {
            proptest::prop_assert!(plan.zones()[0].shape.area_m2() > 0.0);
        }
    }
}
