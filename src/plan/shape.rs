//! Polygons in metres around the plan's own origin.
//!
//! Equirectangular: longitudes shrink by the cosine of the origin's latitude. A straight line of GeoJSON, which is straight
//! in degrees, stays straight, so that inside and outside are exact. Lengths are those of a sphere: within 1 % of the
//! earth's up to 5 km from the origin and 80 degrees of latitude, 10 cm of a hysteresis of 10 m.

/// A point in metres east and north of the origin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// Metres of a degree of latitude: a sphere of 6,371,008.8 m.
const M_PER_DEG: f64 = 111_195.08;

/// Degrees to metres.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Local {
    lat_deg: f64,
    lon_deg: f64,
}

impl Local {
    pub(super) const fn around(lat_deg: f64, lon_deg: f64) -> Self {
        Self { lat_deg, lon_deg }
    }

    /// None for what is no position.
    pub(super) fn point(&self, lat_deg: f64, lon_deg: f64) -> Option<Point> {
        if !((-90.0..=90.0).contains(&lat_deg) && (-180.0..=180.0).contains(&lon_deg)) {
            return None;
        }
        // A yard on the date line has both signs: the short way round counts.
        let east_deg = (lon_deg - self.lon_deg + 540.0).rem_euclid(360.0) - 180.0;
        let x = east_deg * M_PER_DEG * self.lat_deg.to_radians().cos();
        Some(Point { x, y: (lat_deg - self.lat_deg) * M_PER_DEG })
    }
}

/// A box around points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    pub(super) min: Point,
    pub(super) max: Point,
}

/// One or more polygons with holes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    /// Polygons, of each its rings, of each its corners; the last is not the first again.
    polygons: Vec<Vec<Vec<Point>>>,
    bounds: Bounds,
    area_m2: f64,
}

impl Bounds {
    const NONE: Self = Self {
        min: Point { x: f64::INFINITY, y: f64::INFINITY },
        max: Point { x: f64::NEG_INFINITY, y: f64::NEG_INFINITY },
    };

    fn of(points: impl Iterator<Item = Point>) -> Self {
        points.fold(Self::NONE, |all, p| all.with(Self { min: p, max: p }))
    }

    /// The box around both.
    pub(super) fn with(self, other: Self) -> Self {
        Self {
            min: Point { x: self.min.x.min(other.min.x), y: self.min.y.min(other.min.y) },
            max: Point { x: self.max.x.max(other.max.x), y: self.max.y.max(other.max.y) },
        }
    }

    /// The longer of its sides.
    pub(super) fn span_m(self) -> f64 {
        (self.max.x - self.min.x).max(self.max.y - self.min.y)
    }

    fn contains(&self, p: Point) -> bool {
        self.min.x <= p.x && p.x <= self.max.x && self.min.y <= p.y && p.y <= self.max.y
    }

    fn meets(&self, other: &Self) -> bool {
        self.min.x <= other.max.x && other.min.x <= self.max.x && self.min.y <= other.max.y && other.min.y <= self.max.y
    }

    /// How far a point is outside; 0 inside.
    fn distance_m(&self, p: Point) -> f64 {
        let over = |low: f64, at: f64, high: f64| (low - at).max(at - high).max(0.0);
        over(self.min.x, p.x, self.max.x).hypot(over(self.min.y, p.y, self.max.y))
    }
}

impl Shape {
    /// Of rings whose last corner is the first again.
    pub(super) fn new(polygons: Vec<Vec<Vec<Point>>>) -> Self {
        let polygons: Vec<Vec<Vec<Point>>> =
            polygons.into_iter().map(|rings| rings.into_iter().map(open).collect()).collect();
        let bounds = Bounds::of(polygons.iter().flatten().flatten().copied());
        let area_m2 = polygons.iter().map(|rings| net_area_m2(rings)).sum();
        Self { polygons, bounds, area_m2 }
    }

    pub(super) const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Without the holes. m²
    pub(super) const fn area_m2(&self) -> f64 {
        self.area_m2
    }

    /// Whether a point is inside and in no hole.
    pub(super) fn contains(&self, p: Point) -> bool {
        self.bounds.contains(p) && self.polygons.iter().any(|rings| inside(rings, p))
    }

    /// From a point to the nearest edge, at least `enough` when it is further than that from the whole box.
    pub(super) fn edge_m(&self, p: Point, enough: f64) -> f64 {
        let apart = self.bounds.distance_m(p);
        if apart > enough {
            return apart;
        }
        self.edges().map(|(a, b)| to_segment_m(p, a, b)).fold(f64::INFINITY, f64::min)
    }

    /// Where on the way from one point to the other, 0..=1, it first meets the shape, both being outside.
    pub(super) fn met_at(&self, from: Point, to: Point) -> Option<f64> {
        if !self.bounds.meets(&Bounds::of([from, to].into_iter())) {
            return None;
        }
        let hits = self.edges().filter_map(|(a, b)| meeting(from, to, a, b));
        hits.min_by(f64::total_cmp)
    }

    /// A point well inside: in the middle of the widest stretch half-way up.
    pub(super) fn heart(&self) -> Option<Point> {
        let rings = self.polygons.first()?;
        let box_ = Bounds::of(rings.iter().flatten().copied());
        let y = f64::midpoint(box_.min.y, box_.max.y);
        let mut at: Vec<f64> = edges_of(rings).filter_map(|(a, b)| crosses_level(a, b, y)).collect();
        at.sort_by(f64::total_cmp);
        let widest = at.chunks_exact(2).max_by(|a, b| (a[1] - a[0]).total_cmp(&(b[1] - b[0])))?;
        Some(Point { x: f64::midpoint(widest[0], widest[1]), y })
    }

    fn edges(&self) -> impl Iterator<Item = (Point, Point)> + '_ {
        self.polygons.iter().flat_map(|rings| edges_of(rings))
    }
}

/// Without the repeated last corner and without corners twice in a row.
fn open(mut ring: Vec<Point>) -> Vec<Point> {
    ring.pop();
    ring.dedup();
    ring
}

fn edges_of(rings: &[Vec<Point>]) -> impl Iterator<Item = (Point, Point)> + '_ {
    rings.iter().flat_map(|ring| ring.iter().copied().zip(ring.iter().copied().cycle().skip(1)))
}

/// Even-odd over the outer ring and the holes.
fn inside(rings: &[Vec<Point>], p: Point) -> bool {
    let right = edges_of(rings).filter(|(a, b)| crosses_level(*a, *b, p.y).is_some_and(|x| x > p.x)).count();
    right % 2 == 1
}

/// Where an edge crosses a height: half-open, so that a corner counts once.
fn crosses_level(a: Point, b: Point, y: f64) -> Option<f64> {
    ((a.y > y) != (b.y > y)).then(|| a.x + (y - a.y) / (b.y - a.y) * (b.x - a.x))
}

fn net_area_m2(rings: &[Vec<Point>]) -> f64 {
    let areas: Vec<f64> = rings.iter().map(|ring| ring_area_m2(ring)).collect();
    areas.first().map_or(0.0, |outer| outer - areas[1..].iter().sum::<f64>())
}

/// Whichever way round.
pub(super) fn ring_area_m2(ring: &[Point]) -> f64 {
    let Some(first) = ring.first().copied() else { return 0.0 };
    let rings = [ring.iter().map(|p| Point { x: p.x - first.x, y: p.y - first.y }).collect()];
    (edges_of(&rings).map(|(a, b)| a.x * b.y - b.x * a.y).sum::<f64>() / 2.0).abs()
}

fn to_segment_m(p: Point, a: Point, b: Point) -> f64 {
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    let length2 = dx * dx + dy * dy;
    let along = if length2 > 0.0 { (((p.x - a.x) * dx + (p.y - a.y) * dy) / length2).clamp(0.0, 1.0) } else { 0.0 };
    (p.x - a.x - along * dx).hypot(p.y - a.y - along * dy)
}

/// Where on the way from `from` to `to` it crosses the edge from `a` to `b`.
fn meeting(from: Point, to: Point, a: Point, b: Point) -> Option<f64> {
    let (r, s) = (minus(to, from), minus(b, a));
    let across = cross(r, s);
    let (t, u) = (cross(minus(a, from), s) / across, cross(minus(a, from), r) / across);
    ((0.0..=1.0).contains(&t) && (0.0..=1.0).contains(&u)).then_some(t)
}

/// An edge: the ring and the corner it begins at.
pub(super) type Edge = (usize, usize);

/// Two edges of a polygon that meet where they must not: those of one ring but at their common corner, those of two rings
/// across each other. Rings whose last corner is the first again.
pub(super) fn crossing(rings: &[Vec<Point>]) -> Option<(Edge, Edge)> {
    let mut edges: Vec<(Edge, Point, Point)> = Vec::new();
    for (ring, corners) in rings.iter().enumerate() {
        let pairs = corners.windows(2).enumerate().filter(|(_, pair)| pair[0] != pair[1]);
        edges.extend(pairs.map(|(corner, pair)| ((ring, corner), pair[0], pair[1])));
    }
    // From west to east, so that an edge meets only those that begin before it ends.
    edges.sort_by(|(_, a, b), (_, c, d)| a.x.min(b.x).total_cmp(&c.x.min(d.x)));
    for (at, (edge, a, b)) in edges.iter().enumerate() {
        let east = a.x.max(b.x);
        let near = edges[at + 1..].iter().take_while(|(_, c, d)| c.x.min(d.x) <= east);
        for (other, c, d) in near {
            let apart = a.y.max(b.y) < c.y.min(d.y) || c.y.max(d.y) < a.y.min(b.y);
            if !apart && meets(edge.0 == other.0, (*a, *b), (*c, *d)) {
                return Some(((*edge).min(*other), (*edge).max(*other)));
            }
        }
    }
    None
}

fn meets(same_ring: bool, (a, b): (Point, Point), (c, d): (Point, Point)) -> bool {
    let side = |a: Point, b: Point, p: Point| {
        let turn = cross(minus(b, a), minus(p, a));
        if turn > 0.0 {
            1
        } else if turn < 0.0 {
            -1
        } else {
            0
        }
    };
    let sides = [side(a, b, c), side(a, b, d), side(c, d, a), side(c, d, b)];
    if sides[0] * sides[1] < 0 && sides[2] * sides[3] < 0 {
        return true;
    }
    // Neighbours share a corner.
    if !same_ring || b == c || d == a {
        return false;
    }
    let on = |a: Point, b: Point, p: Point| Bounds::of([a, b].into_iter()).contains(p);
    sides[0] == 0 && on(a, b, c)
        || sides[1] == 0 && on(a, b, d)
        || sides[2] == 0 && on(c, d, a)
        || sides[3] == 0 && on(c, d, b)
}

fn minus(a: Point, b: Point) -> Point {
    Point { x: a.x - b.x, y: a.y - b.y }
}

fn cross(a: Point, b: Point) -> f64 {
    a.x * b.y - a.y * b.x
}
