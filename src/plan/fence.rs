//! Which zones one asset is in: enter at the edge, leave with hysteresis, so that a parked asset whose position wanders
//! comes and goes at most once.
//!
//! A receiver's standard deviation is about 5 m times its HDOP. The *margin* is two of them, [`FenceLimits::exit_m`] at
//! least. A zone is left
//! - when the asset is beyond the margin for some fixes or some time, or beyond half as much again, three deviations, once;
//! - for a sibling, a zone that is not around it: as soon as the asset is beyond the margin and in the sibling, or has not
//!   been back for [`SETTLE_MS`]. Docks 4 m wide are narrower than the margin: which of two neighbours a wandering asset
//!   stands at only time can tell.
//!
//! A receiver that is very unsure enters no zone at its edge.
//!
//! A gate that lies between two fixes was passed, and is told though no fix fell into it.
//!
//! While the asset is outside of a zone that it has not left yet, it enters no sibling of that: it cannot be at both.

use crate::domain::UnixMs;

use super::parse::is_id;
use super::shape::Point;
use super::{Plan, ZONES_MAX, Zone, ZoneKind};

/// A receiver's standard deviation at HDOP 1. Metres.
const DEVIATION_M: f64 = 5.0;
/// Margins beyond the edge at which one fix is enough.
const AT_ONCE: f64 = 1.5;
/// With a poorer HDOP the edge of a zone is not enough: it is entered one deviation inside of it. A receiver that has just
/// found its satellites is off by tens of metres, and says so.
const POOR_HDOP: f64 = 5.0;
/// A receiver that says worse is believed this. It says 99.99 when it does not know.
const HDOP_MAX: f64 = 100.0;
/// So long beside its zone and in a sibling, nearer than the margin, an asset has changed over; times the square of the
/// HDOP, as long as it takes to average a wander that is so much wider. ms
const SETTLE_MS: f64 = 60_000.0;
/// No longer than this. ms
const SETTLE_MAX_MS: f64 = 600_000.0;
/// Over a longer gap nobody knows which way an asset went: no zone between was crossed. ms
const GAP_MAX_MS: i64 = 60_000;
/// What a fence's text begins with: its form, for the one that comes after it.
const TEXT_FORM: &str = "1|";
/// Bytes of a fence's text at most: more than [`ZONES_MAX`] zones can take.
const TEXT_MAX: usize = 64 * 1024;

/// When an asset has left a zone, and when it has entered one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FenceLimits {
    /// How far beyond the edge it has left, at least; a poor HDOP makes it more. Metres.
    pub exit_m: f64,
    /// After so many fixes beyond that it has left.
    pub exit_fixes: u32,
    /// Or after so long beyond it. ms
    pub exit_ms: i64,
    /// How long it must be inside to have entered; 0 is at once. ms
    pub dwell_ms: i64,
}

impl Default for FenceLimits {
    fn default() -> Self {
        Self { exit_m: 10.0, exit_fixes: 3, exit_ms: 5000, dwell_ms: 0 }
    }
}

/// Where and when an asset was seen by a receiver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Time of the fix.
    pub time_ms: UnixMs,
    /// Latitude, degrees WGS 84.
    pub lat_deg: f64,
    /// Longitude, degrees WGS 84.
    pub lon_deg: f64,
    /// Horizontal dilution of precision; none counts as 1.
    pub hdop: Option<f64>,
}

/// The place of an asset, as GPS tells it, changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The id of the innermost zone it is in now; none is outside of all.
    pub place: Option<String>,
}

/// One asset against the plan: which zones it is in, and which it is about to enter or leave.
///
/// Two fences are equal when they would be stored alike: the last position takes no part. So a step that leaves the
/// fence as it was and answers no crossing has said nothing new.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fence {
    place: Option<String>,
    /// By id, each once.
    marks: Vec<Mark>,
    trail: Trail,
}

/// How the asset stands to one zone.
#[derive(Clone, Debug, PartialEq)]
struct Mark {
    id: String,
    stand: Stand,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stand {
    /// Inside, and not yet long enough.
    Entering { since_ms: i64 },
    /// In the zone.
    In,
    /// In the zone still, but seen in a sibling and not back since.
    Beside { since_ms: i64 },
    /// In the zone still, but seen beyond the margin so often.
    Beyond { since_ms: i64, fixes: u32 },
}

/// The last position that was not outside of a zone the asset is said to be in: from there a way over a gate is judged.
#[derive(Clone, Copy, Debug, Default)]
struct Trail(Option<(i64, f64, f64)>);

impl PartialEq for Trail {
    /// Where it was takes no part in what a fence is.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Fence {
    /// The id of the innermost zone that the asset is in.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// Takes the next fix of the asset. Answers how its place changed, in order: more than one change where it jumped
    /// over a gate. Zones that the plan no longer has are forgotten; what is no position says nothing.
    pub fn step(&mut self, plan: &Plan, limits: &FenceLimits, seen: &Seen) -> Vec<Crossing> {
        let Some(look) = Look::new(plan, limits, seen) else { return Vec::new() };
        let mut crossings = Vec::new();
        self.marks.retain_mut(|mark| {
            let stand = plan.index(&mark.id).and_then(|zone| look.remains(zone, mark.stand));
            mark.stand = stand.unwrap_or(mark.stand);
            stand.is_some()
        });
        for zone in self.jumped(&look) {
            self.put(plan, zone, Some(Stand::In));
            self.tell(plan, &mut crossings);
            // On open ground just behind it the asset may be wandering to and fro: then it is in the gate still.
            self.put(plan, zone, look.remains(zone, Stand::In).filter(|_| !look.is_in_sibling_of(zone)));
        }
        for zone in look.around.iter().copied() {
            let stand = self.stand(plan, zone);
            if !stand.is_some_and(Stand::is_held) {
                self.put(plan, zone, look.enters(stand, self.is_barred(&look, zone) || !look.is_sure_of(zone)));
            }
        }
        self.tell(plan, &mut crossings);
        if self.held(plan).all(|zone| look.is_in(zone)) {
            self.trail = Trail(Some((seen.time_ms, seen.lat_deg, seen.lon_deg)));
        }
        crossings
    }

    /// The gates on the straight way from the trail to here, in their order, that may be entered. Only gates: they are there
    /// to be passed; of any other zone a straight line would be a guess.
    fn jumped(&self, look: &Look<'_>) -> Vec<usize> {
        let Some((then_ms, lat_deg, lon_deg)) = self.trail.0 else { return Vec::new() };
        let took_ms = look.now_ms.saturating_sub(then_ms);
        let from = look.plan.local.point(lat_deg, lon_deg);
        let Some(from) =
            from.filter(|_| (1..=GAP_MAX_MS).contains(&took_ms) && look.limits.dwell_ms <= 0 && look.hdop <= POOR_HDOP)
        else {
            return Vec::new();
        };
        let met = |(at, zone): (usize, &Zone)| {
            let is_new = zone.kind == ZoneKind::Gate && self.stand(look.plan, at).is_none();
            let t = is_new.then_some(zone)?.shape.met_at(from, look.at)?;
            let is_between = !look.is_in(at) && !zone.shape.contains(from);
            (is_between && !self.is_barred(look, at)).then_some((t, at))
        };
        let mut met: Vec<(f64, usize)> = look.plan.zones.iter().enumerate().filter_map(met).collect();
        met.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        met.into_iter().map(|(_, zone)| zone).collect()
    }

    /// Whether the asset is outside of a zone that it has not left, and that this one is not around.
    fn is_barred(&self, look: &Look<'_>, zone: usize) -> bool {
        self.held(look.plan)
            .any(|held| held != zone && !look.is_in(held) && !look.plan.zones[held].within.contains(&zone))
    }

    /// The zones it is in, by their index.
    fn held<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = usize> + 'a {
        self.marks.iter().filter(|mark| mark.stand.is_held()).filter_map(|mark| plan.index(&mark.id))
    }

    fn stand(&self, plan: &Plan, zone: usize) -> Option<Stand> {
        let at = self.find(&plan.zones[zone].id).ok()?;
        Some(self.marks[at].stand)
    }

    fn find(&self, id: &str) -> Result<usize, usize> {
        self.marks.binary_search_by(|mark| mark.id.as_str().cmp(id))
    }

    fn put(&mut self, plan: &Plan, zone: usize, stand: Option<Stand>) {
        let id = &plan.zones[zone].id;
        match (self.find(id), stand) {
            (Ok(at), Some(stand)) => self.marks[at].stand = stand,
            (Err(at), Some(stand)) => self.marks.insert(at, Mark { id: id.clone(), stand }),
            (Ok(at), None) => drop(self.marks.remove(at)),
            (Err(_), None) => {}
        }
    }

    /// Notes where it is now, if that is somewhere else than before.
    fn tell(&mut self, plan: &Plan, crossings: &mut Vec<Crossing>) {
        let zones = self.held(plan).map(|zone| &plan.zones[zone]);
        let place = zones.min_by(|a, b| a.shape.area_m2().total_cmp(&b.shape.area_m2())).map(|zone| zone.id.clone());
        if place != self.place {
            self.place.clone_from(&place);
            crossings.push(Crossing { place });
        }
    }
}

impl Stand {
    const fn is_held(self) -> bool {
        !matches!(self, Self::Entering { .. })
    }
}

/// One fix against the plan.
struct Look<'a> {
    plan: &'a Plan,
    limits: &'a FenceLimits,
    now_ms: i64,
    at: Point,
    hdop: f64,
    margin_m: f64,
    settle_ms: f64,
    /// The zones around it, by their index.
    around: Vec<usize>,
}

impl<'a> Look<'a> {
    fn new(plan: &'a Plan, limits: &'a FenceLimits, seen: &Seen) -> Option<Self> {
        let at = plan.local.point(seen.lat_deg, seen.lon_deg)?;
        let hdop = seen.hdop.filter(|hdop| *hdop > 0.0).map_or(1.0, |hdop| hdop.min(HDOP_MAX));
        let around = (0..plan.zones.len()).filter(|zone| plan.zones[*zone].shape.contains(at)).collect();
        let margin_m = limits.exit_m.max(2.0 * DEVIATION_M * hdop);
        let settle_ms = (SETTLE_MS * hdop.max(1.0).powi(2)).min(SETTLE_MAX_MS);
        Some(Self { plan, limits, now_ms: seen.time_ms, at, hdop, margin_m, settle_ms, around })
    }

    fn is_in(&self, zone: usize) -> bool {
        self.around.binary_search(&zone).is_ok()
    }

    /// Whether it is far enough inside a zone for what its receiver knows.
    fn is_sure_of(&self, zone: usize) -> bool {
        let enough_m = DEVIATION_M * self.hdop;
        self.hdop <= POOR_HDOP || self.plan.zones[zone].shape.edge_m(self.at, enough_m) >= enough_m
    }

    /// Whether it is in a zone that is not around that one.
    fn is_in_sibling_of(&self, zone: usize) -> bool {
        self.around.iter().any(|other| *other != zone && !self.plan.zones[zone].within.contains(other))
    }

    /// Since when, if that was not in the future: a clock that is set back begins anew.
    fn since(&self, since_ms: i64) -> Option<i64> {
        (since_ms <= self.now_ms).then_some(since_ms)
    }

    /// How it stands to a zone that it was in or about to enter; none when it has left.
    fn remains(&self, zone: usize, stand: Stand) -> Option<Stand> {
        if let Stand::Entering { .. } = stand {
            return self.is_in(zone).then_some(stand);
        }
        if self.is_in(zone) {
            return Some(Stand::In);
        }
        let beyond_m = self.plan.zones[zone].shape.edge_m(self.at, AT_ONCE * self.margin_m);
        let is_in_sibling = self.is_in_sibling_of(zone);
        if beyond_m < self.margin_m {
            return self.remains_near(stand, is_in_sibling);
        }
        let seen = if let Stand::Beyond { since_ms, fixes } = stand {
            self.since(since_ms).map(|since_ms| (since_ms, fixes.saturating_add(1)))
        } else {
            None
        };
        let (since_ms, fixes) = seen.unwrap_or((self.now_ms, 1));
        let has_left = is_in_sibling
            || beyond_m >= AT_ONCE * self.margin_m
            || fixes >= self.limits.exit_fixes
            || self.now_ms.saturating_sub(since_ms) >= self.limits.exit_ms;
        (!has_left).then_some(Stand::Beyond { since_ms, fixes })
    }

    /// The same outside of it within the margin: there it stays, unless it has settled in a sibling.
    fn remains_near(&self, stand: Stand, is_in_sibling: bool) -> Option<Stand> {
        let beside = if let Stand::Beside { since_ms } = stand { self.since(since_ms) } else { None };
        let Some(since_ms) = beside.or(is_in_sibling.then_some(self.now_ms)) else { return Some(Stand::In) };
        #[expect(clippy::cast_precision_loss, reason = "a duration; 2^53 ms are 285,000 years")]
        let settled = is_in_sibling && self.now_ms.saturating_sub(since_ms) as f64 >= self.settle_ms;
        (!settled).then_some(Stand::Beside { since_ms })
    }

    /// How it stands to a zone around it that it has not entered.
    fn enters(&self, stand: Option<Stand>, is_barred: bool) -> Option<Stand> {
        let since = if let Some(Stand::Entering { since_ms }) = stand { self.since(since_ms) } else { None };
        let since_ms = since.unwrap_or(self.now_ms);
        let is_due = self.now_ms.saturating_sub(since_ms) >= self.limits.dwell_ms;
        match (is_due && !is_barred, self.limits.dwell_ms > 0) {
            (true, _) => Some(Stand::In),
            (false, true) => Some(Stand::Entering { since_ms }),
            (false, false) => None,
        }
    }
}

impl Fence {
    /// The fence as a line of text, for a column of a database: the place, then each zone with how the asset stands to it.
    /// The last position is not in it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{TEXT_FORM}{}", self.place.as_deref().unwrap_or_default());
        for Mark { id, stand } in &self.marks {
            let stand = match stand {
                Stand::Entering { since_ms } => format!("e{since_ms}"),
                Stand::In => "i".to_owned(),
                Stand::Beside { since_ms } => format!("s{since_ms}"),
                Stand::Beyond { since_ms, fixes } => format!("o{since_ms},{fixes}"),
            };
            text.push_str(&format!("|{id}={stand}"));
        }
        text
    }

    /// The fence that a text stands for; none when it is no such text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(TEXT_FORM).filter(|_| text.len() <= TEXT_MAX)?.split('|');
        let place = parts.next().filter(|place| place.is_empty() || is_id(place))?;
        let place = (!place.is_empty()).then(|| place.to_owned());
        let marks = parts.map(mark).collect::<Option<Vec<Mark>>>()?;
        let is_sorted = marks.windows(2).all(|two| two[0].id < two[1].id);
        (is_sorted && marks.len() <= ZONES_MAX).then(|| Self { place, marks, trail: Trail::default() })
    }
}

/// `dock-3=i`
fn mark(part: &str) -> Option<Mark> {
    let (id, stand) = part.split_once('=').filter(|(id, _)| is_id(id))?;
    let stand = match (stand.get(..1)?, stand.get(1..)?) {
        ("i", "") => Stand::In,
        ("e", since) => Stand::Entering { since_ms: since.parse().ok()? },
        ("s", since) => Stand::Beside { since_ms: since.parse().ok()? },
        ("o", seen) => {
            let (since, fixes) = seen.split_once(',')?;
            Stand::Beyond { since_ms: since.parse().ok()?, fixes: fixes.parse().ok()? }
        }
        _ => return None,
    };
    Some(Mark { id: id.to_owned(), stand })
}

#[cfg(test)]
mod tests;
