//! The places told from the log alone: what the running projection came to must come out again, event by event.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::domain::{AssetState, EventId, Kind, Row, TimeQuality, UnixMs};
use crate::projection::{Sighting, see};

/// Turns of one asset that a later void may still take back. What is older is settled.
const TURNS_MAX: usize = 256;

/// The fields of any event that say something of an asset.
#[derive(Deserialize)]
struct Body {
    lat: Option<f64>,
    lon: Option<f64>,
    speed_mps: Option<f64>,
    course_deg: Option<f64>,
    #[serde(default)]
    doubt: Vec<String>,
    #[serde(default)]
    spare: bool,
    effect: Option<String>,
    change: Option<String>,
    since_ms: Option<UnixMs>,
    because: Option<String>,
    #[serde(default)]
    nth: i64,
    #[serde(default)]
    late: bool,
    voids: Option<String>,
    renamed: Option<String>,
}

/// A change of place as the log tells it.
struct Turn {
    id: EventId,
    /// Where it stands: as [`crate::domain::SaidKey`] does.
    order: (UnixMs, i64),
    cause: String,
    nth: i64,
    enters: bool,
    place: String,
    since_ms: UnixMs,
    holds: bool,
}

#[derive(Default)]
struct Told {
    state: Option<AssetState>,
    turns: Vec<Turn>,
    /// Void events and the turn each took back.
    voids: Vec<(EventId, EventId)>,
    /// Where the last word on its place stands, and its cause.
    last: (UnixMs, i64, String),
}

/// The assets, told from the log.
#[derive(Default)]
pub struct Rebuild {
    assets: BTreeMap<String, Told>,
    /// Names that are another asset now: a code that was put into the register.
    names: BTreeMap<String, String>,
}

impl Rebuild {
    /// Begins with what is known of before the log: states whose events are gone, and codes that have become assets.
    #[must_use]
    pub fn new(base: Vec<AssetState>, names: BTreeMap<String, String>) -> Self {
        let mut assets: BTreeMap<String, Told> = BTreeMap::new();
        for state in base {
            let told = assets.entry(state.asset.clone()).or_default();
            told.last = (if state.tq.is_trusted() { state.ts_ms } else { 0 }, 0, String::new());
            told.turns.extend(state.place.clone().map(|place| Turn {
                id: EventId([0; 16]),
                order: (state.since_ms.unwrap_or(0), 0),
                cause: String::new(),
                nth: 0,
                enters: true,
                place,
                since_ms: state.since_ms.unwrap_or(state.ts_ms),
                holds: true,
            }));
            told.state = Some(state);
        }
        Self { assets, names }
    }

    /// Hears the next event of the log, in the order of `seq`.
    pub fn hear(&mut self, row: &Row) {
        let Some(name) = &row.asset else { return };
        let Ok(body) = serde_json::from_str::<Body>(&row.body) else { return };
        let name = self.names.get(name).unwrap_or(name);
        let told = self.assets.entry(name.clone()).or_default();
        match row.kind {
            Kind::Fix if !body.spare && body.doubt.iter().all(|doubt| doubt == "old" || doubt == "clock") => {
                told.see(name, row, &body);
            }
            Kind::Scan => {
                told.see(name, row, &body);
                if speaks(name, row, &body) {
                    told.last = order(row, row.id.to_string(), &told.last);
                }
            }
            Kind::Place => match &body.renamed {
                Some(other) if body.change.as_deref() == Some("exit") => self.rename(name.clone().as_str(), other),
                Some(_) => {}
                None => told.turn(row, &body),
            },
            Kind::Fix | Kind::Note => {}
        }
    }

    /// What was told under one name goes on under another, unless that is newer; under none it ends.
    fn rename(&mut self, from: &str, to: &str) {
        let Some(told) = self.assets.remove(from) else { return };
        let received = |told: &Told| told.state.as_ref().map(|state| state.received);
        if to.is_empty() || self.assets.get(to).is_some_and(|own| received(own) >= received(&told)) {
            return;
        }
        let state = told.state.map(|state| AssetState { asset: to.to_owned(), ..state });
        self.assets.insert(to.to_owned(), Told { state, ..told });
    }

    /// The assets as they are at the end of the log.
    #[must_use]
    pub fn finish(self) -> Vec<AssetState> {
        self.assets.into_values().filter_map(Told::finish).collect()
    }
}

/// Whether a scan says something of its asset's place: nothing is aboard itself.
fn speaks(name: &str, row: &Row, body: &Body) -> bool {
    let aboard = |place: &str| place.strip_prefix('@') == Some(name);
    row.place.as_deref().is_some_and(|place| !aboard(place)) && body.effect.as_deref() != Some("none")
}

/// Where a word on a place stands: at its trusted time, or after what was said last. Two of one millisecond stand as their
/// causes do, as [`crate::domain::SaidKey`] has it.
fn order(row: &Row, cause: String, last: &(UnixMs, i64, String)) -> (UnixMs, i64, String) {
    let own = (row.ts_ms, 0, cause);
    if row.tq.is_trusted() && own > *last { own } else { (last.0, last.1 + 1, own.2) }
}

impl Told {
    fn see(&mut self, name: &str, row: &Row, body: &Body) {
        let is_scan = row.kind == Kind::Scan;
        let is_sure = row.tq.is_trusted() && body.doubt.is_empty();
        let seen = Sighting {
            asset: name.to_owned(),
            id: row.id,
            seq: row.seq,
            ts_ms: row.ts_ms,
            tq: row.tq,
            received: (row.boot, row.mono_ms),
            at_receipt: is_scan,
            now_ms: is_sure.then_some(row.ts_ms),
            position: body.lat.zip(body.lon).filter(|_| !is_scan || speaks(name, row, body)),
            speed_mps: body.speed_mps,
            course_deg: body.course_deg,
            source: row.source.clone(),
        };
        if let Some(state) = see(self.state.as_ref(), &seen) {
            self.state = Some(state);
        }
    }

    fn turn(&mut self, row: &Row, body: &Body) {
        if let Some(state) = &mut self.state {
            state.seq = state.seq.max(row.seq);
        }
        if let Some(voids) = body.voids.as_deref().and_then(|id| id.parse::<EventId>().ok()) {
            self.void(row.id, voids);
            return;
        }
        let Some(place) = row.place.clone() else { return };
        let since_ms = body.since_ms.unwrap_or(row.ts_ms);
        let because = body.because.clone().unwrap_or_default();
        // What a person said has no event of its own; its receipt tells one word from the next.
        let cause = if because == "operator" { format!("{} {}", row.boot, row.mono_ms) } else { because };
        let order = match &self.last {
            _ if body.late => (row.ts_ms, 0),
            (ms, nudge, last) if *last == cause => (*ms, *nudge),
            last => {
                let (ms, nudge, _) = order(row, cause.clone(), last);
                (ms, nudge)
            }
        };
        self.last = self.last.clone().max((order.0, order.1, cause));
        if body.because.as_deref() == Some("operator") && !body.late {
            // A person's word is the event that the state rests on.
            if let Some(state) = &mut self.state {
                state.id = row.id;
                (state.ts_ms, state.tq, state.received) = (row.ts_ms, row.tq, (row.boot, row.mono_ms));
            }
        }
        let turn = Turn {
            id: row.id,
            order,
            cause: body.because.clone().unwrap_or_default(),
            nth: body.nth,
            enters: body.change.as_deref() == Some("enter"),
            place,
            since_ms,
            holds: true,
        };
        let key = |turn: &Turn| (turn.order, turn.cause.clone(), turn.nth, turn.enters);
        let at = self.turns.iter().rposition(|other| key(other) <= key(&turn)).map_or(0, |at| at + 1);
        self.turns.insert(at, turn);
        if self.turns.len() > TURNS_MAX {
            self.turns.remove(0);
        }
    }

    /// A void takes back a turn, or an earlier void: then the turn holds again.
    fn void(&mut self, id: EventId, voids: EventId) {
        let again = self.voids.iter().position(|(void, _)| *void == voids).map(|at| self.voids.remove(at).1);
        let turn = again.unwrap_or(voids);
        for one in self.turns.iter_mut().filter(|one| one.id == turn) {
            one.holds = again.is_some();
        }
        if again.is_none() {
            self.voids.push((id, turn));
            if self.voids.len() > TURNS_MAX {
                self.voids.remove(0);
            }
        }
    }

    fn finish(self) -> Option<AssetState> {
        let mut state = self.state?;
        let last = self.turns.iter().rfind(|turn| turn.holds);
        state.place = last.filter(|turn| turn.enters).map(|turn| turn.place.clone());
        state.since_ms = last.map(|turn| turn.since_ms);
        Some(state)
    }
}

/// How a state differs from what the log tells of it; nothing when it does not.
#[must_use]
pub fn difference(is: Option<&AssetState>, told: Option<&AssetState>) -> Option<String> {
    let of = |state: &AssetState| {
        let trusted = if state.tq == TimeQuality::None { "?" } else { "" };
        (
            format!("{}{trusted}", state.ts_ms),
            state.place.clone().unwrap_or_default(),
            state.since_ms,
            state.position.map(|(lat, lon)| (rounded(lat), rounded(lon))),
            state.id,
        )
    };
    let (is, told) = (is.map(of), told.map(of));
    (is != told).then(|| format!("the table says {is:?}, the log {told:?}"))
}

/// 1e-7 degrees, as bodies have them.
fn rounded(degrees: f64) -> f64 {
    (degrees * 1e7).round() / 1e7
}
