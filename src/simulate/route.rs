//! A route as people draw it: GeoJSON or lines of coordinates, checked, in metres.

use serde_json::Value;

use super::SimulateError;

/// Most points of a route.
const POINTS_MAX: usize = 100_000;

/// Speed where the route gives none, m/s: 30 km/h.
const SPEED_DEFAULT_MPS: f64 = 8.3;

/// Speeds that a route may give, m/s.
const SPEED_MPS: std::ops::RangeInclusive<f64> = 0.1..=60.0;

/// Longest stop at a point. Seconds; a day.
const STOP_MAX_S: f64 = 86_400.0;

/// Widest wander. Metres.
const WANDER_MAX_M: f64 = 100.0;

/// Metres of a degree of latitude.
pub(super) const DEGREE_M: f64 = 111_195.0;

const REMEDY: &str = "give a GeoJSON LineString (its properties are in `waypost simulate gps --help`), or lines \
                      lat,lon[,speed_mps[,stop_s[,wander_m]]]";

/// One point of a route.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Waypoint {
    /// Degrees WGS 84.
    pub(super) lat: f64,
    /// Degrees WGS 84.
    pub(super) lon: f64,
    /// Speed from here on, m/s.
    pub(super) speed_mps: f64,
    /// How long it stands here, s.
    pub(super) stop_s: f64,
    /// How far half of its fixes wander while it stands here, m; 0 is in the open.
    pub(super) wander_m: f64,
    /// Whether the sky is out of sight from here to the next point.
    pub(super) in_tunnel: bool,
}

impl Waypoint {
    /// Metres east and north of here to `to`; flat, which is exact enough for the length of a street.
    pub(super) fn offset_m(&self, to: &Self) -> (f64, f64) {
        let mid = f64::midpoint(self.lat, to.lat).to_radians();
        // The short way round where a route crosses the antimeridian.
        let lon = (to.lon - self.lon + 540.0).rem_euclid(360.0) - 180.0;
        (lon * DEGREE_M * mid.cos(), (to.lat - self.lat) * DEGREE_M)
    }

    /// Metres to `to`.
    pub(super) fn distance_m(&self, to: &Self) -> f64 {
        let (east, north) = self.offset_m(to);
        east.hypot(north)
    }
}

/// Reads a route. At least two points that lie apart; points on top of each other are one.
pub(super) fn parse(name: &str, bytes: &[u8]) -> Result<Vec<Waypoint>, SimulateError> {
    let refuse = |problem: String| SimulateError::content(name, problem, REMEDY);
    let text =
        std::str::from_utf8(bytes).map_err(|error| refuse(format!("byte {} is not UTF-8", error.valid_up_to())))?;
    let points = if text.trim_start().starts_with('{') { geojson(text) } else { lines(text) };
    let mut route: Vec<Waypoint> = Vec::new();
    for point in points.map_err(refuse)? {
        match route.last_mut() {
            Some(last) if last.distance_m(&point) < 0.1 => {
                last.stop_s = last.stop_s.max(point.stop_s);
                last.wander_m = last.wander_m.max(point.wander_m);
                last.in_tunnel = point.in_tunnel;
            }
            _ => route.push(point),
        }
    }
    if route.len() < 2 {
        return Err(refuse(format!("it has {} points that lie apart, a route needs two", route.len())));
    }
    Ok(route)
}

fn lines(text: &str) -> Result<Vec<Waypoint>, String> {
    let mut points: Vec<Waypoint> = Vec::new();
    for (n, line) in (1_u64..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Result<Vec<f64>, _> = line.split(',').map(|field| field.trim().parse::<f64>()).collect();
        let fields = fields.map_err(|_| format!("line {n}: {line:?} holds something that is no number"))?;
        let speed = fields.get(2).copied().or_else(|| points.last().map(|last| last.speed_mps));
        let point = match fields[..] {
            [lat, lon, ..] if fields.len() <= 5 => {
                waypoint((lat, lon), speed, fields.get(3).copied(), fields.get(4).copied())
            }
            _ => Err("it has not two to five fields".to_owned()),
        };
        push(&mut points, point.map_err(|problem| format!("line {n}: {line:?}: {problem}"))?)?;
    }
    Ok(points)
}

fn geojson(text: &str) -> Result<Vec<Waypoint>, String> {
    let root: Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
    let (geometry, properties) = line_string(&root).ok_or("it holds no LineString")?;
    let coordinates = geometry["coordinates"].as_array().ok_or("the LineString has no list of coordinates")?;
    let per_point = |key: &str| -> Result<Option<&Vec<Value>>, String> {
        match &properties[key] {
            Value::Null => Ok(None),
            Value::Array(list) if list.len() == coordinates.len() => Ok(Some(list)),
            Value::Array(list) => Err(format!("{key} has {} numbers for {} points", list.len(), coordinates.len())),
            other => Err(format!("{key} is {other}, not a list")),
        }
    };
    let (speeds, stops, wanders) = (per_point("speeds_mps")?, per_point("stops_s")?, per_point("wander_m")?);
    let all = properties["speed_mps"].as_f64();
    let tunnels = tunnels(&properties["tunnels"], coordinates.len())?;
    let mut points = Vec::new();
    for (i, pair) in coordinates.iter().enumerate() {
        let number = |list: Option<&Vec<Value>>| list.and_then(|list| list.get(i)).and_then(Value::as_f64);
        let point = match (pair[0].as_f64(), pair[1].as_f64()) {
            (Some(lon), Some(lat)) => waypoint((lat, lon), number(speeds).or(all), number(stops), number(wanders)),
            _ => Err("it is not [lon, lat]".to_owned()),
        };
        let in_tunnel = tunnels.iter().any(|(from, to)| (*from..*to).contains(&i));
        let point = point.map(|point| Waypoint { in_tunnel, ..point });
        push(&mut points, point.map_err(|problem| format!("point {i}: {pair}: {problem}"))?)?;
    }
    Ok(points)
}

/// Pairs of point numbers between which there is no sky.
fn tunnels(value: &Value, points: usize) -> Result<Vec<(usize, usize)>, String> {
    let mut found = Vec::new();
    let pairs = match value {
        Value::Null => return Ok(found),
        Value::Array(pairs) => pairs,
        other => return Err(format!("tunnels is {other}, not a list of pairs")),
    };
    for pair in pairs {
        match serde_json::from_value::<(usize, usize)>(pair.clone()) {
            Ok((from, to)) if from < to && to < points => found.push((from, to)),
            _ => {
                return Err(format!("the tunnel {pair} is not [from, to] with point numbers from 0 to {}", points - 1));
            }
        }
    }
    Ok(found)
}

/// The first LineString of a geometry, feature or collection, and the properties that go with it.
fn line_string(root: &Value) -> Option<(&Value, &Value)> {
    let feature = |feature: &'_ Value| feature["geometry"]["type"] == "LineString";
    match root["type"].as_str()? {
        "LineString" => Some((root, &Value::Null)),
        "Feature" if feature(root) => Some((&root["geometry"], &root["properties"])),
        "FeatureCollection" => {
            let found = root["features"].as_array()?.iter().find(|it| feature(it))?;
            Some((&found["geometry"], &found["properties"]))
        }
        _ => None,
    }
}

fn push(points: &mut Vec<Waypoint>, point: Waypoint) -> Result<(), String> {
    if points.len() == POINTS_MAX {
        return Err(format!("it has over {POINTS_MAX} points"));
    }
    points.push(point);
    Ok(())
}

fn waypoint(
    (lat, lon): (f64, f64),
    speed: Option<f64>,
    stop: Option<f64>,
    wander: Option<f64>,
) -> Result<Waypoint, String> {
    let (speed_mps, stop_s) = (speed.unwrap_or(SPEED_DEFAULT_MPS), stop.unwrap_or(0.0));
    let wander_m = wander.unwrap_or(0.0);
    if !(-89.0..=89.0).contains(&lat) {
        Err(format!("latitude {lat} is not within -89 to 89"))
    } else if !(-180.0..=180.0).contains(&lon) {
        Err(format!("longitude {lon} is not within -180 to 180"))
    } else if !SPEED_MPS.contains(&speed_mps) {
        Err(format!("speed {speed_mps} is not within {} to {} m/s", SPEED_MPS.start(), SPEED_MPS.end()))
    } else if !(0.0..=STOP_MAX_S).contains(&stop_s) {
        Err(format!("stop {stop_s} is not within 0 to {STOP_MAX_S} s"))
    } else if !(0.0..=WANDER_MAX_M).contains(&wander_m) {
        Err(format!("wander {wander_m} is not within 0 to {WANDER_MAX_M} m"))
    } else {
        Ok(Waypoint { lat, lon, speed_mps, stop_s, wander_m, in_tunnel: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(lat: f64, lon: f64, speed_mps: f64, stop_s: f64) -> Waypoint {
        Waypoint { lat, lon, speed_mps, stop_s, wander_m: 0.0, in_tunnel: false }
    }

    #[test]
    fn lines_and_geojson_say_the_same() {
        let text = "# yard\n59.1,11.3,3,20\n59.2, 11.4\n\n59.3,11.5,9.5\n";
        let json = r#"{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]}},
            {"type":"Feature","properties":{"speeds_mps":[3,3,9.5],"stops_s":[20,0,0]},
            "geometry":{"type":"LineString","coordinates":[[11.3,59.1],[11.4,59.2,8],[11.5,59.3]]}}]}"#;
        let expect = [point(59.1, 11.3, 3.0, 20.0), point(59.2, 11.4, 3.0, 0.0), point(59.3, 11.5, 9.5, 0.0)];
        assert_eq!(parse("r", text.as_bytes()).unwrap(), expect);
        assert_eq!(parse("r", json.as_bytes()).unwrap(), expect);
        let bare = r#"{"type":"LineString","coordinates":[[1,2],[3,4]]}"#;
        assert_eq!(parse("r", bare.as_bytes()).unwrap()[1], point(4.0, 3.0, SPEED_DEFAULT_MPS, 0.0));
    }

    #[test]
    fn a_bad_route_is_refused_with_its_place_and_a_remedy() {
        for (bad, says) in [
            ("", "0 points"),
            ("1,2\n1,2\n", "1 points"),
            ("1,2\n3,x\n", "line 2"),
            ("1,2\n3\n", "line 2"),
            ("1,2\n91,2\n", "latitude 91"),
            ("1,2\nNaN,2\n", "latitude NaN"),
            ("1,2\n3,4,99\n", "speed 99"),
            ("1,2\n3,4,5,1e9\n", "stop"),
            ("1,2\n3,4,5,6,101\n", "wander 101"),
            ("1,2\n3,4,5,6,7,8\n", "two to five"),
            (
                r#"{"type":"Feature","properties":{"tunnels":[[1,1]]},"geometry":{"type":"LineString","coordinates":[[1,2],[3,4]]}}"#,
                "tunnel [1,1]",
            ),
            (
                r#"{"type":"Feature","properties":{"tunnels":[[0,2]]},"geometry":{"type":"LineString","coordinates":[[1,2],[3,4]]}}"#,
                "tunnel [0,2]",
            ),
            (
                r#"{"type":"Feature","properties":{"tunnels":7},"geometry":{"type":"LineString","coordinates":[[1,2],[3,4]]}}"#,
                "not a list of pairs",
            ),
            ("{", "no JSON"),
            ("{}", "no LineString"),
            (r#"{"type":"Polygon"}"#, "no LineString"),
            (r#"{"type":"LineString"}"#, "no list"),
            (r#"{"type":"LineString","coordinates":[[1,2],["a"]]}"#, "point 1"),
            (
                r#"{"type":"Feature","properties":{"stops_s":[1]},"geometry":{"type":"LineString","coordinates":[[1,2],[3,4]]}}"#,
                "1 numbers for 2",
            ),
        ] {
            let error = parse("r.geojson", bad.as_bytes()).unwrap_err();
            let text = error.to_string();
            assert!(error.exit_code() == 64 && text.contains(says) && text.contains("give a GeoJSON"), "{bad}: {text}");
        }
        assert!(parse("r", &[0xff, 0xfe]).is_err());
    }

    #[test]
    fn a_stop_may_wander_and_a_stretch_may_have_no_sky() {
        let json = r#"{"type":"Feature","properties":{"wander_m":[0,5,0],"tunnels":[[1,2]]},
            "geometry":{"type":"LineString","coordinates":[[1,2],[3,4],[5,6]]}}"#;
        let route = parse("r", json.as_bytes()).unwrap();
        assert_eq!(route.iter().map(|at| at.in_tunnel).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(route.iter().map(|at| at.wander_m).collect::<Vec<_>>(), [0.0, 5.0, 0.0]);
        assert_eq!(parse("r", b"2,1\n4,3,9,60,5\n").unwrap()[1].wander_m, 5.0);
    }

    #[test]
    fn a_step_over_the_antimeridian_is_short() {
        assert!(point(0.0, 179.999, 1.0, 0.0).distance_m(&point(0.0, -179.999, 1.0, 0.0)) < 300.0);
    }
}
