//! The yard plan: zones, and which of them an asset is in. Geometry and rules only: a plan is a text, a fence is a value.
//! **Invariant:** the same plan, limits and fixes give the same places; no number that comes in panics.

mod fence;
mod parse;
mod shape;
mod span;
#[cfg(test)]
pub(crate) mod moored;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

pub use fence::{Crossing, Fence, FenceLimits, GAP_MAX_MS, Seen};

use shape::{Local, Shape};

/// Bytes of a plan at most.
pub const BYTES_MAX: usize = 2 * 1024 * 1024;
/// Zones of a plan at most.
pub const ZONES_MAX: usize = 500;
/// Positions of all zones together at most.
pub const POINTS_MAX: usize = 20_000;
/// How far the outermost positions of a plan may lie apart, west to east and south to north. Metres.
pub const SPAN_MAX_M: f64 = 5000.0;
/// Mistakes of one plan that are told; the rest is looked for when these are mended.
pub const FINDINGS_MAX: usize = 50;

/// A checked plan. `Plan::default()` is a yard without zones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    zones: Vec<Zone>,
    by_id: BTreeMap<String, usize>,
    local: Local,
}

/// A polygon as GeoJSON has it: its outer ring, then its holes, each a closed list of `[longitude, latitude]`, degrees WGS 84.
pub type Polygon = Vec<Vec<[f64; 2]>>;

/// One zone of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// `[A-Za-z0-9 ._-]{1,64}`, unique in the plan: the `place` of events.
    pub id: String,
    /// For people; the id when the plan gives none.
    pub name: String,
    /// What it is.
    pub kind: ZoneKind,
    /// Its outline, one polygon or more.
    pub polygons: Vec<Polygon>,
    /// The same in metres.
    shape: Shape,
    /// Which zones of the plan this one lies in, by their index.
    within: Vec<usize>,
}

/// What a zone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneKind {
    /// `building`
    Building,
    /// `dock`
    Dock,
    /// `bay`
    Bay,
    /// `gate`
    Gate,
    /// `road`
    Road,
    /// `service`
    Service,
}

impl ZoneKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Building, Self::Dock, Self::Bay, Self::Gate, Self::Road, Self::Service];

    /// The word in the plan and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Dock => "dock",
            Self::Bay => "bay",
            Self::Gate => "gate",
            Self::Road => "road",
            Self::Service => "service",
        }
    }
}

impl Plan {
    /// A yard without zones.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads a plan: a GeoJSON `FeatureCollection` of polygons and multi-polygons with `id`, `name` and `kind`.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with line, column and what to do, [`FINDINGS_MAX`] at most.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        parse::parse(text)
    }

    /// Reads a plan as it was sent or stands in a file, and answers its text without a byte order mark.
    ///
    /// # Errors
    /// As [`Plan::parse`]; what is no UTF-8 is a finding too.
    pub fn from_bytes(bytes: &[u8]) -> Result<(Self, String), Invalid> {
        parse::from_bytes(bytes)
    }

    /// Reads a plan from its file, no more of it than a plan may have, and its text.
    ///
    /// # Errors
    /// As [`Plan::parse`]; a file that cannot be read is a finding without a line.
    pub fn read(path: &Path) -> Result<(Self, String), Invalid> {
        parse::read(path)
    }

    /// Whether it has no zone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }

    /// The zones in the order of the file.
    #[must_use]
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// The zone of this id.
    #[must_use]
    pub fn zone(&self, id: &str) -> Option<&Zone> {
        self.index(id).map(|at| &self.zones[at])
    }

    fn index(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// The innermost zone around a position, whatever was before: no hysteresis.
    #[must_use]
    pub fn place_at(&self, lat_deg: f64, lon_deg: f64) -> Option<&Zone> {
        let at = self.local.point(lat_deg, lon_deg)?;
        let around = self.zones.iter().filter(|zone| zone.shape.contains(at));
        around.min_by(|a, b| a.shape.area_m2().total_cmp(&b.shape.area_m2()))
    }
}

/// One mistake in a plan.
///
/// It prints as `line:column: feature 3 "dock-3": message; remedy`; the parts that are not known are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Line, from 1; 0 when the file could not be read at all.
    pub line: usize,
    /// Column in characters, from 1; 0 with line 0.
    pub column: usize,
    /// Which feature, as `feature 3 "dock-3"`; empty when it is about the file.
    pub feature: String,
    /// What is wrong, with the value.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        if !self.feature.is_empty() {
            write!(f, "{}: ", self.feature)?;
        }
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

/// A plan that cannot be used: what is wrong with it, by position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The mistakes; never empty.
    pub findings: Vec<Finding>,
}

impl Invalid {
    /// The findings as lines that begin with the file's name.
    #[must_use]
    pub fn in_file(&self, path: &Path) -> String {
        let line = |finding: &Finding| {
            let gap = if finding.line > 0 { "" } else { " " };
            format!("{}:{gap}{finding}", path.display())
        };
        self.findings.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// The first of them in one line, as in [`Invalid::in_file`], and how many more there are.
    #[must_use]
    pub fn first_in_file(&self, path: &Path) -> String {
        let all = self.in_file(path);
        let first = all.lines().next().unwrap_or_default();
        match self.findings.len().saturating_sub(1) {
            0 => first.to_owned(),
            more => format!("{first}; and {more} more"),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.findings.iter().map(Finding::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Invalid {}
