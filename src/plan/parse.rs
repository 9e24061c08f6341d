//! A plan from its text: every mistake with its line, and no zone that geometry could not answer for.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::shape::{Bounds, Local, Point, Shape, crossing, ring_area_m2};
use super::span::{Node, place};
use super::{
    BYTES_MAX, FINDINGS_MAX, Finding, Invalid, POINTS_MAX, Plan, Polygon, SPAN_MAX_M, ZONES_MAX, Zone, ZoneKind,
};

/// Positions of a ring at least: three corners and the first again.
const RING_MIN: usize = 4;
/// A ring around less than this is a line. m²
const AREA_MIN_M2: f64 = 0.01;
/// Beyond this a degree of longitude is too short for the geometry of a plan. Degrees north or south.
const LAT_MAX_DEG: f64 = 85.0;
/// Characters of a name at most.
const NAME_MAX: usize = 128;

/// What is wrong, and what to do.
type Wrong = (String, String);
/// A ring's positions, each with the byte at which it stands.
type Ring = Vec<([f64; 2], usize)>;

pub(super) fn read(path: &Path) -> Result<(Plan, String), Invalid> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX) + 1;
    let opened = std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    if let Err(error) = opened {
        return Err(whole(
            format!("cannot be read: {error}"),
            "name a GeoJSON file that the service may read in plan.zones",
        ));
    }
    from_bytes(&bytes)
}

pub(super) fn from_bytes(bytes: &[u8]) -> Result<(Plan, String), Invalid> {
    match std::str::from_utf8(bytes) {
        // A byte order mark is no part of the JSON that a page is given.
        Ok(text) => parse(text).map(|plan| (plan, text.trim_start_matches('\u{feff}').to_owned())),
        Err(_) if bytes.len() > BYTES_MAX => Err(too_long()),
        Err(error) => {
            let good = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
            let (line, column) = place(good, good.len());
            let (message, remedy) = ("is no UTF-8 text".to_owned(), "save it as UTF-8".to_owned());
            Err(Invalid { findings: vec![Finding { line, column, feature: String::new(), message, remedy }] })
        }
    }
}

fn whole(message: String, remedy: &str) -> Invalid {
    let remedy = remedy.to_owned();
    Invalid { findings: vec![Finding { line: 0, column: 0, feature: String::new(), message, remedy }] }
}

fn too_long() -> Invalid {
    whole(format!("is longer than {} MiB", BYTES_MAX >> 20), "leave out what is no zone, or draw with fewer positions")
}

pub(super) fn parse(text: &str) -> Result<Plan, Invalid> {
    if text.len() > BYTES_MAX {
        return Err(too_long());
    }
    let mut reader = Reader { text, ..Reader::default() };
    reader.collection();
    if reader.findings.is_empty() {
        let (zones, local) = (reader.zones, reader.local.unwrap_or_default());
        let by_id = zones.iter().enumerate().map(|(at, zone)| (zone.id.clone(), at)).collect();
        return Ok(Plan { zones: nested(zones), by_id, local });
    }
    reader.findings.sort_by_key(|finding| (finding.line, finding.column));
    Err(Invalid { findings: reader.findings })
}

/// Says of each zone which larger ones it lies in.
fn nested(mut zones: Vec<Zone>) -> Vec<Zone> {
    for at in 0..zones.len() {
        let (own, area_m2) = (zones[at].shape.heart(), zones[at].shape.area_m2());
        let around = |other: &Zone| own.is_some_and(|p| other.shape.area_m2() > area_m2 && other.shape.contains(p));
        zones[at].within = (0..zones.len()).filter(|other| *other != at && around(&zones[*other])).collect();
    }
    zones
}

#[derive(Default)]
struct Reader<'a> {
    text: &'a str,
    findings: Vec<Finding>,
    zones: Vec<Zone>,
    /// Ids, and of each the number of the feature that took it and the byte where.
    taken: BTreeMap<String, (usize, usize)>,
    /// The feature that is read, as it is called in findings.
    feature: String,
    points: usize,
    local: Option<Local>,
    bounds: Option<Bounds>,
}

impl<'a> Reader<'a> {
    fn wrong(&mut self, at: usize, message: impl Into<String>, remedy: impl Into<String>) {
        if self.findings.len() < FINDINGS_MAX {
            let (line, column) = place(self.text, at);
            let (feature, message, remedy) = (self.feature.clone(), message.into(), remedy.into());
            self.findings.push(Finding { line, column, feature, message, remedy });
        }
    }

    /// Enough was found, or there is more than a plan may have.
    fn is_done(&self) -> bool {
        self.findings.len() >= FINDINGS_MAX || self.points > POINTS_MAX
    }

    fn collection(&mut self) {
        let begin = if self.text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let root = match Node::root(&self.text[begin..]) {
            Ok(root) => root,
            Err((at, what)) => {
                return self.wrong(begin + at, format!("is no JSON: {what}"), "mend the text here or shortly before");
            }
        };
        self.text = &self.text[begin..];
        let Some(members) = root.members() else {
            let message = format!("is {}, not a GeoJSON FeatureCollection", root.kind());
            return self.wrong(root.at(), message, "export the zones as one FeatureCollection");
        };
        let said = members.get("type").copied();
        match said.and_then(Node::text).as_deref() {
            Some("FeatureCollection") => {}
            Some(other) => self.wrong(
                said.map_or(0, Node::at),
                format!("is a GeoJSON {}, not a FeatureCollection", shown(other)),
                "write {\"type\": \"FeatureCollection\", \"features\": […]} around it",
            ),
            None => self.wrong(
                said.map_or(root.at(), Node::at),
                "has no type",
                "a plan is {\"type\": \"FeatureCollection\", \"features\": […]}",
            ),
        }
        let Some(features) = members.get("features") else {
            return self.wrong(root.at(), "has no features", "write \"features\": […], a zone each");
        };
        let Some(items) = features.items() else {
            let message = format!("features is {}, not a list", features.kind());
            return self.wrong(features.at(), message, "write \"features\": […], a zone each");
        };
        if items.len() > ZONES_MAX {
            let message = format!("has {} features, more than {ZONES_MAX}", items.len());
            return self.wrong(features.at(), message, "leave out what is no place");
        }
        for (at, item) in items.into_iter().enumerate() {
            self.feature = format!("feature {}", at + 1);
            self.feature(at + 1, item);
            if self.is_done() {
                break;
            }
        }
    }

    fn feature(&mut self, number: usize, feature: Node<'a>) {
        let remedy = "a zone is {\"type\": \"Feature\", \"properties\": {…}, \"geometry\": {…}}";
        let Some(members) = feature.members() else {
            return self.wrong(feature.at(), format!("is {}, not a Feature", feature.kind()), remedy);
        };
        let properties = members.get("properties").and_then(|node| node.members()).unwrap_or_default();
        if let Some(id) = properties.get("id").and_then(|id| id.text()) {
            self.feature = format!("feature {number} {}", shown(&id));
        }
        let said = members.get("type").copied();
        if said.and_then(Node::text).as_deref() != Some("Feature") {
            self.wrong(said.map_or(feature.at(), Node::at), "is no Feature", remedy);
        }
        let at = members.get("properties").map_or(feature.at(), |node| node.at());
        let id = self.property(&properties, at, "id", id);
        let kind = self.property(&properties, at, "kind", kind);
        let name = if properties.get("name").is_some_and(|name| !name.is_null()) {
            self.property(&properties, at, "name", name)
        } else {
            id.clone()
        };
        if let Some(id) = &id {
            let place_of = properties.get("id").map_or(at, |node| node.at());
            match self.taken.get(id) {
                Some((first, byte)) => {
                    let line = place(self.text, *byte).0;
                    let message = format!("the id {} is that of feature {first} on line {line}", shown(id));
                    self.wrong(place_of, message, "give each zone an id of its own");
                }
                None => {
                    self.taken.insert(id.clone(), (number, place_of));
                }
            }
        }
        let Some(geometry) = members.get("geometry").filter(|node| !node.is_null()) else {
            return self.wrong(feature.at(), "has no geometry", "draw it as a Polygon, or leave the feature out");
        };
        let Some((polygons, shape)) = self.geometry(*geometry) else { return };
        if let (Some(id), Some(kind), Some(name)) = (id, kind, name) {
            self.zones.push(Zone { id, name, kind, polygons, shape, within: Vec::new() });
        }
    }

    /// A text of the properties, as `check` takes it.
    fn property<T>(
        &mut self,
        properties: &BTreeMap<String, Node<'a>>,
        at: usize,
        key: &str,
        check: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let Some(node) = properties.get(key) else {
            let remedy = format!("write \"properties\": {{\"{key}\": \"…\"}}");
            self.wrong(at, format!("has no {key} in its properties"), remedy);
            return None;
        };
        let Some(text) = node.text() else {
            let message = format!("{key} is {}, not a text", node.kind());
            self.wrong(node.at(), message, format!("write \"{key}\": \"…\", in quotes"));
            return None;
        };
        match check(&text) {
            Ok(value) => Some(value),
            Err((message, remedy)) => {
                self.wrong(node.at(), message, remedy);
                None
            }
        }
    }

    fn geometry(&mut self, geometry: Node<'a>) -> Option<(Vec<Polygon>, Shape)> {
        let members = geometry.members().unwrap_or_default();
        let said = members.get("type").and_then(|node| node.text()).unwrap_or_default();
        let found = members.get("coordinates").copied();
        let polygons = match (said.as_str(), found) {
            ("Polygon", Some(rings)) => Some(vec![rings]),
            ("MultiPolygon", Some(polygons)) => polygons.items(),
            ("Polygon" | "MultiPolygon", None) => None,
            _ => {
                let message = format!("its geometry {} is no area", shown(&said));
                self.wrong(geometry.at(), message, "draw it as a Polygon or MultiPolygon, or leave the feature out");
                return None;
            }
        };
        let Some(polygons) = polygons.filter(|polygons| !polygons.is_empty()) else {
            self.wrong(geometry.at(), format!("the {said} has no coordinates"), "draw it anew, or leave it out");
            return None;
        };
        let before = self.findings.len();
        let rings: Vec<Vec<Ring>> = polygons.into_iter().map(|polygon| self.polygon(polygon)).collect();
        if self.findings.len() > before || self.is_done() {
            return None;
        }
        let shape = self.shape(geometry.at(), &rings)?;
        let bare = |ring: Ring| ring.into_iter().map(|(position, _)| position).collect();
        let polygons = rings.into_iter().map(|polygon| polygon.into_iter().map(bare).collect()).collect();
        Some((polygons, shape))
    }

    fn polygon(&mut self, polygon: Node<'a>) -> Vec<Ring> {
        let Some(rings) = polygon.items().filter(|rings| !rings.is_empty()) else {
            self.wrong(polygon.at(), "is no polygon", "a polygon is a list of rings: [[[lon, lat], …], …]");
            return Vec::new();
        };
        rings.into_iter().map_while(|ring| (!self.is_done()).then(|| self.ring(ring))).collect()
    }

    fn ring(&mut self, ring: Node<'a>) -> Ring {
        let Some(items) = ring.items() else {
            self.wrong(ring.at(), format!("a ring is {}", ring.kind()), "a ring is a list of positions [lon, lat]");
            return Vec::new();
        };
        let fits = self.points <= POINTS_MAX;
        self.points += items.len();
        if self.points > POINTS_MAX {
            if fits {
                let message = format!("with it the plan has more than {POINTS_MAX} positions");
                self.wrong(ring.at(), message, "simplify the outlines: a corner a metre is enough");
            }
            return Vec::new();
        }
        if items.len() < RING_MIN {
            let message = format!("a ring has {} positions, a closed one has {RING_MIN} at least", items.len());
            self.wrong(ring.at(), message, "draw at least three corners and repeat the first one at the end");
            return Vec::new();
        }
        let mut positions = Ring::with_capacity(items.len());
        for item in &items {
            match position(*item) {
                Ok(position) => positions.push((position, item.at())),
                Err((message, remedy)) => self.wrong(item.at(), message, remedy),
            }
        }
        if positions.len() == items.len()
            && let (Some((first, _)), Some((last, at))) = (positions.first(), positions.last())
            && first != last
        {
            let [lon, lat] = first;
            self.wrong(
                *at,
                "the ring is not closed",
                format!("repeat its first position [{lon}, {lat}] after this one"),
            );
        }
        positions
    }

    /// The zone in metres, if geometry can answer for it.
    fn shape(&mut self, at: usize, polygons: &[Vec<Ring>]) -> Option<Shape> {
        let [lon, lat] = polygons.first()?.first()?.first()?.0;
        let local = *self.local.get_or_insert(Local::around(lat, lon));
        let before = self.findings.len();
        let in_metres: Vec<Vec<Vec<Point>>> = polygons.iter().map(|rings| self.outline(local, rings)).collect();
        let shape = Shape::new(in_metres);
        let bounds = self.bounds.map_or(shape.bounds(), |all| all.with(shape.bounds()));
        if bounds.span_m() > SPAN_MAX_M {
            let message = format!("with it the plan is {:.1} km across", bounds.span_m() / 1000.0);
            let remedy = format!(
                "keep a plan within {} km; GeoJSON has the longitude first and the latitude second",
                SPAN_MAX_M / 1000.0
            );
            self.wrong(at, message, remedy);
        } else {
            self.bounds = Some(bounds);
        }
        if self.findings.len() == before && shape.area_m2() < AREA_MIN_M2 {
            self.wrong(at, "its holes leave nothing of it", "take out holes");
        }
        (self.findings.len() == before).then_some(shape)
    }

    /// One polygon in metres: each of its rings around something, none crossing itself or another, the holes inside.
    fn outline(&mut self, local: Local, rings: &[Ring]) -> Vec<Vec<Point>> {
        let point = |[lon, lat]: [f64; 2]| local.point(lat, lon);
        let of = |ring: &Ring| ring.iter().filter_map(|(position, _)| point(*position)).collect::<Vec<_>>();
        let outline: Vec<Vec<Point>> = rings.iter().map(of).collect();
        let flat = (0..rings.len()).find(|ring| ring_area_m2(&outline[*ring]) < AREA_MIN_M2);
        if let Some(ring) = flat {
            let at = rings[ring].first().map_or(0, |(_, at)| *at);
            self.wrong(at, "the ring has no area", "draw it around something, or leave it out");
        } else if let Some((first, second)) = crossing(&outline) {
            let [one, other] = [first, second].map(|(ring, corner)| rings[ring].get(corner).map_or(0, |(_, at)| *at));
            let (line, column) = place(self.text, other);
            let what = if first.0 == second.0 { "crosses or touches itself" } else { "crosses another of the zone" };
            let message = format!("the ring {what}: the edge from here and that from line {line} column {column}");
            self.wrong(one, message, "move a corner, or draw two zones");
        } else if let Some(ring) = (1..rings.len()).find(|ring| !hole_is_inside(&outline, *ring)) {
            let at = rings[ring].first().map_or(0, |(_, at)| *at);
            let remedy = "the first ring of a polygon is its outline, further ones are holes in it; use a MultiPolygon";
            self.wrong(at, "the hole is outside of its zone", remedy);
        }
        outline
    }
}

/// Rings that do not cross are one inside the other or apart: any one corner tells that is not on the outline.
fn hole_is_inside(outline: &[Vec<Point>], hole: usize) -> bool {
    let outer = Shape::new(vec![vec![outline[0].clone()]]);
    let inner = Shape::new(vec![vec![outline[hole].clone()]]);
    inner.heart().is_some_and(|p| outer.contains(p))
}

fn position(node: Node<'_>) -> Result<[f64; 2], Wrong> {
    let remedy = || "write [longitude, latitude] in degrees, as in [10.75, 59.91]".to_owned();
    let numbers = node.items().filter(|items| (2..=4).contains(&items.len()));
    let numbers = numbers.and_then(|items| items.into_iter().map(Node::number).collect::<Option<Vec<f64>>>());
    let Some(&[lon, lat, ..]) = numbers.as_deref() else {
        return Err(("is no position".to_owned(), remedy()));
    };
    if !(-180.0..=180.0).contains(&lon) {
        return Err((format!("the longitude {lon} is not between -180 and 180"), remedy()));
    }
    if !(-90.0..=90.0).contains(&lat) {
        return Err((format!("the latitude {lat} is not between -90 and 90"), remedy()));
    }
    if lat.abs() > LAT_MAX_DEG {
        let message = format!("the latitude {lat} is too near a pole");
        return Err((message, format!("a plan lies between {LAT_MAX_DEG} degrees south and north")));
    }
    Ok([lon, lat])
}

/// The id of a place, as the contract has it.
pub(super) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'.' | b'_' | b'-'))
}

fn id(text: &str) -> Result<String, Wrong> {
    if is_id(text) {
        return Ok(text.to_owned());
    }
    Err((
        format!("{} cannot be the id of a place", shown(text)),
        "write 1 to 64 letters a-z A-Z, digits, spaces, points, _ and -; what people read is the name".to_owned(),
    ))
}

fn name(text: &str) -> Result<String, Wrong> {
    if !text.is_empty() && text.chars().count() <= NAME_MAX && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    let remedy = format!("write 1 to {NAME_MAX} printable characters, or no name");
    Err((format!("the name {} cannot be shown on one line", shown(text)), remedy))
}

fn kind(text: &str) -> Result<ZoneKind, Wrong> {
    let known = ZoneKind::ALL.into_iter().find(|kind| kind.as_str() == text);
    known.ok_or_else(|| {
        let words: Vec<&str> = ZoneKind::ALL.iter().map(|kind| kind.as_str()).collect();
        (format!("the kind {} is not known here", shown(text)), format!("write {}", words.join(" or ")))
    })
}

/// A text of the file as it may stand in a message: quoted, control characters escaped, cut.
fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        out.push('…');
    }
    format!("\"{out}\"")
}

#[cfg(test)]
mod tests;
