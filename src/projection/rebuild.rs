//! The places told from the log alone: what the running projection came to must come out again, event by event.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::{AssetState, By, EventId, Kind, PlaceSaid, Row, Said, SaidKey, Seq, TimeQuality, UnixMs};

use super::{Placing, Sighting, placing, see};

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
#[derive(Clone)]
struct Turn {
    id: EventId,
    key: SaidKey,
    enters: bool,
    place: String,
    since_ms: UnixMs,
    holds: bool,
}

/// What the log tells of one asset.
#[derive(Clone, Default)]
struct Told {
    state: Option<AssetState>,
    turns: Vec<Turn>,
    /// Void events and the turn each took back.
    voids: Vec<(EventId, EventId)>,
    /// The last statement on its place: what is said next stands after it.
    last: Option<Said>,
    /// Statements that do not stand at their own time, for what may follow from them later.
    odd: Vec<SaidKey>,
}

/// The assets, told from the log.
#[derive(Clone, Default)]
pub struct Rebuild {
    assets: BTreeMap<String, Told>,
    /// Names that are another asset now: a code that was put into the register.
    names: BTreeMap<String, String>,
}

impl Rebuild {
    /// Begins with what is known of before the log: a text an asset, as [`Rebuild::fold`] wrote it of events that are gone,
    /// and codes that have become assets. A text that cannot be read is left out: the asset then differs, and is shown.
    #[must_use]
    pub fn new(base: Vec<(String, String)>, names: BTreeMap<String, String>) -> Self {
        let mut assets: BTreeMap<String, Told> = BTreeMap::new();
        for (asset, text) in base {
            let name = names.get(&asset).unwrap_or(&asset);
            let Some(told) = Told::from_text(name, &text) else { continue };
            let older = assets.get(name).is_some_and(|other| other.seq() > told.seq());
            if !older {
                assets.insert(name.clone(), told);
            }
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
            Kind::Scan => told.see(name, row, &body),
            Kind::Place => match body.renamed.clone() {
                // Nothing moved: a name ended, and another goes on.
                Some(other) if body.change.as_deref() == Some("exit") => self.rename(&name.clone(), &other),
                Some(_) => {}
                None => told.turn(name, row, &body),
            },
            Kind::Fix | Kind::Note => {}
        }
    }

    /// What was told under one name goes on under another, unless that is newer; under none it ends.
    fn rename(&mut self, from: &str, to: &str) {
        if from == to {
            return;
        }
        let Some(told) = self.assets.remove(from) else { return };
        let received = |told: &Told| told.state.as_ref().map(|state| state.received);
        if to.is_empty() || self.assets.get(to).is_some_and(|own| received(own) >= received(&told)) {
            return;
        }
        let state = told.state.map(|state| AssetState { asset: to.to_owned(), ..state });
        self.assets.insert(to.to_owned(), Told { state, ..told });
    }

    /// The names of the assets it knows of, in their order.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.assets.keys()
    }

    /// An asset as it is after the events heard so far.
    #[must_use]
    pub fn asset(&self, name: &str) -> Option<AssetState> {
        self.assets.get(name).and_then(Told::present)
    }

    /// What is known of each asset, as text, for events that leave the log: with it [`Rebuild::new`] goes on after them.
    /// Turns from before `history_from_ms` can no longer be taken back; only the last of them that holds is kept.
    #[must_use]
    pub fn fold(self, history_from_ms: UnixMs) -> Vec<(String, String)> {
        self.assets
            .into_iter()
            .filter_map(|(name, mut told)| {
                told.settle(history_from_ms);
                told.to_text().map(|text| (name, text))
            })
            .collect()
    }

    /// Only these assets, to go on with.
    #[must_use]
    pub fn only(mut self, assets: &BTreeSet<String>) -> Self {
        self.assets.retain(|name, _| assets.contains(name));
        self
    }
}

/// [`Told`] as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    id: String,
    seq: i64,
    ts_ms: UnixMs,
    tq: String,
    received: (i64, i64),
    position: Option<(f64, f64)>,
    speed_mps: Option<f64>,
    course_deg: Option<f64>,
    source: Option<String>,
    last: Option<(KeptKey, (i64, i64))>,
    odd: Vec<KeptKey>,
    turns: Vec<KeptTurn>,
    voids: Vec<(String, String)>,
}

/// [`SaidKey`] as it is kept.
#[derive(Serialize, Deserialize)]
struct KeptKey(UnixMs, i64, String, i64);

#[derive(Serialize, Deserialize)]
struct KeptTurn {
    id: String,
    key: KeptKey,
    enters: bool,
    place: String,
    since_ms: UnixMs,
    holds: bool,
}

impl From<SaidKey> for KeptKey {
    fn from(key: SaidKey) -> Self {
        Self(key.order_ms, key.nudge, key.cause.to_string(), key.nth)
    }
}

impl KeptKey {
    fn key(self) -> Option<SaidKey> {
        Some(SaidKey { order_ms: self.0, nudge: self.1, cause: self.2.parse().ok()?, nth: self.3 })
    }
}

/// A statement, as far as the next one is placed by it.
fn said(key: SaidKey, received: (i64, i64)) -> Said {
    Said { key, ts_ms: key.order_ms, tq: TimeQuality::None, received, place: PlaceSaid::Unsaid, by: By::Scan }
}

/// What a row says of an asset by its times alone.
fn sighting(name: &str, row: &Row) -> Sighting {
    Sighting {
        asset: name.to_owned(),
        id: row.id,
        seq: row.seq,
        ts_ms: row.ts_ms,
        tq: row.tq,
        received: (row.boot, row.mono_ms),
        at_receipt: false,
        now_ms: row.tq.is_trusted().then_some(row.ts_ms),
        position: None,
        speed_mps: None,
        course_deg: None,
        source: None,
    }
}

impl Told {
    fn see(&mut self, name: &str, row: &Row, body: &Body) {
        let is_scan = row.kind == Kind::Scan;
        // Nothing is aboard itself.
        let aboard = |place: &str| place.strip_prefix('@') == Some(name);
        let speaks = row.place.as_deref().is_some_and(|place| !aboard(place)) && body.effect.as_deref() != Some("none");
        let is_sure = row.tq.is_trusted() && body.doubt.is_empty();
        let seen = Sighting {
            at_receipt: is_scan,
            now_ms: is_sure.then_some(row.ts_ms),
            position: body.lat.zip(body.lon).filter(|_| !is_scan || speaks),
            speed_mps: body.speed_mps,
            course_deg: body.course_deg,
            source: row.source.clone(),
            ..sighting(name, row)
        };
        if let Some(state) = see(self.state.as_ref(), &seen) {
            self.state = Some(state);
        }
        if is_scan && speaks {
            self.say(&seen, 0);
        }
    }

    /// Hears a statement; answers where it stands. What is late leaves the last one where it is.
    fn say(&mut self, seen: &Sighting, nth: i64) -> SaidKey {
        let own = SaidKey { order_ms: seen.ts_ms, nudge: 0, cause: seen.id, nth };
        let key = match placing(self.last.as_ref(), seen, nth) {
            Placing::Next(key) => {
                self.last = Some(said(key, seen.received));
                key
            }
            Placing::Late(key) => key,
            Placing::Unplaceable => own,
        };
        if key != own {
            self.odd.push(key);
            if self.odd.len() > TURNS_MAX {
                self.odd.remove(0);
            }
        }
        key
    }

    /// Where the statement stands that a turn follows from: the one just heard, or one of GPS or a person, or with a late turn
    /// one of before.
    fn key_of(&mut self, row: &Row, body: &Body) -> SaidKey {
        let by_hand = body.because.as_deref() == Some("operator");
        // What a person said has no event of its own; its receipt tells one word from the next, and joins exit and enter.
        let receipt = || {
            EventId((u128::from(row.boot.unsigned_abs()) << 64 | u128::from(row.mono_ms.unsigned_abs())).to_be_bytes())
        };
        let cause = body.because.as_deref().and_then(|id| id.parse().ok()).unwrap_or_else(receipt);
        let heard = self.odd.iter().rev().chain(self.last.as_ref().map(|last| &last.key));
        if let Some(key) = heard.copied().find(|key| (key.cause, key.nth) == (cause, body.nth)) {
            return key;
        }
        if body.late {
            return SaidKey { order_ms: row.ts_ms, nudge: 0, cause, nth: body.nth };
        }
        let seen = Sighting { id: cause, at_receipt: by_hand, ..sighting("", row) };
        self.say(&seen, body.nth)
    }

    /// What a person says is the event that the state rests on.
    fn by_hand(&mut self, name: &str, row: &Row) {
        let seen = Sighting { at_receipt: true, source: Some("manual".to_owned()), ..sighting(name, row) };
        if let Some(state) = see(self.state.as_ref(), &seen) {
            self.state = Some(state);
        }
    }

    fn turn(&mut self, name: &str, row: &Row, body: &Body) {
        if body.because.as_deref() == Some("operator") && !body.late {
            self.by_hand(name, row);
        }
        if let Some(state) = &mut self.state {
            state.seq = state.seq.max(row.seq);
        }
        if let Some(voids) = body.voids.as_deref().and_then(|id| id.parse::<EventId>().ok()) {
            self.void(row.id, voids);
            return;
        }
        let Some(place) = row.place.clone() else { return };
        let since_ms = body.since_ms.unwrap_or(row.ts_ms);
        let key = self.key_of(row, body);
        let enters = body.change.as_deref() == Some("enter");
        let turn = Turn { id: row.id, key, enters, place, since_ms, holds: true };
        let at = self.turns.iter().rposition(|other| (other.key, other.enters) <= (key, enters)).map_or(0, |at| at + 1);
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

    fn seq(&self) -> Seq {
        self.state.as_ref().map_or(Seq(0), |state| state.seq)
    }

    /// Forgets what nothing later can change.
    fn settle(&mut self, history_from_ms: UnixMs) {
        let last = self.turns.iter().rposition(|turn| turn.holds && turn.key.order_ms < history_from_ms);
        let mut at = 0;
        self.turns.retain(|turn| {
            at += 1;
            turn.key.order_ms >= history_from_ms || last == Some(at - 1)
        });
        self.odd.retain(|key| key.order_ms >= history_from_ms);
        self.voids.retain(|(_, turn)| self.turns.iter().any(|one| one.id == *turn));
    }

    fn to_text(&self) -> Option<String> {
        let state = self.state.as_ref()?;
        let turn = |turn: &Turn| KeptTurn {
            id: turn.id.to_string(),
            key: turn.key.into(),
            enters: turn.enters,
            place: turn.place.clone(),
            since_ms: turn.since_ms,
            holds: turn.holds,
        };
        let kept = Kept {
            id: state.id.to_string(),
            seq: state.seq.0,
            ts_ms: state.ts_ms,
            tq: state.tq.as_str().to_owned(),
            received: state.received,
            position: state.position,
            speed_mps: state.speed_mps,
            course_deg: state.course_deg,
            source: state.source.clone(),
            last: self.last.as_ref().map(|last| (last.key.into(), last.received)),
            odd: self.odd.iter().copied().map(KeptKey::from).collect(),
            turns: self.turns.iter().map(turn).collect(),
            voids: self.voids.iter().map(|(void, turn)| (void.to_string(), turn.to_string())).collect(),
        };
        serde_json::to_string(&kept).ok()
    }

    fn from_text(asset: &str, text: &str) -> Option<Self> {
        let kept: Kept = serde_json::from_str(text).ok()?;
        let turn = |turn: KeptTurn| {
            Some(Turn {
                id: turn.id.parse().ok()?,
                key: turn.key.key()?,
                enters: turn.enters,
                place: turn.place,
                since_ms: turn.since_ms,
                holds: turn.holds,
            })
        };
        let void = |(void, turn): (String, String)| Some((void.parse().ok()?, turn.parse().ok()?));
        let state = AssetState {
            asset: asset.to_owned(),
            id: kept.id.parse().ok()?,
            seq: Seq(kept.seq),
            ts_ms: kept.ts_ms,
            tq: TimeQuality::from_word(&kept.tq),
            received: kept.received,
            position: kept.position,
            speed_mps: kept.speed_mps,
            course_deg: kept.course_deg,
            place: None,
            since_ms: None,
            source: kept.source,
            gps_place: None,
        };
        let last = match kept.last {
            Some((key, received)) => Some(said(key.key()?, received)),
            None => None,
        };
        Some(Self {
            state: Some(state),
            turns: kept.turns.into_iter().map(turn).collect::<Option<_>>()?,
            voids: kept.voids.into_iter().map(void).collect::<Option<_>>()?,
            last,
            odd: kept.odd.into_iter().map(KeptKey::key).collect::<Option<_>>()?,
        })
    }

    fn present(&self) -> Option<AssetState> {
        let state = self.state.as_ref()?;
        let last = self.turns.iter().rfind(|turn| turn.holds);
        Some(AssetState {
            place: last.filter(|turn| turn.enters).map(|turn| turn.place.clone()),
            since_ms: last.map(|turn| turn.since_ms),
            ..state.clone()
        })
    }
}

/// How a state differs from what the log tells of it, field by field; nothing when it does not.
#[must_use]
pub fn difference(is: Option<&AssetState>, told: Option<&AssetState>) -> Option<String> {
    let (is, told) = match (is, told) {
        (None, None) => return None,
        (Some(_), None) => return Some("the table has it, the log tells nothing of it".to_owned()),
        (None, Some(_)) => return Some("the log tells of it, the table does not have it".to_owned()),
        (Some(is), Some(told)) => (is, told),
    };
    let fields = |state: &AssetState| {
        let none = || "none".to_owned();
        let at = |(lat, lon)| format!("{:.7} {:.7}", rounded(lat), rounded(lon));
        [
            ("id", state.id.to_string()),
            ("ts_ms", state.ts_ms.to_string()),
            ("trusted time", if state.tq == TimeQuality::None { "no" } else { "yes" }.to_owned()),
            ("position", state.position.map_or_else(none, at)),
            ("place", state.place.clone().unwrap_or_else(none)),
            ("since_ms", state.since_ms.map_or_else(none, |since_ms| since_ms.to_string())),
        ]
    };
    let differs = fields(is).into_iter().zip(fields(told)).filter(|(is, told)| is != told);
    let words: Vec<String> =
        differs.map(|((field, is), (_, told))| format!("{field}: the table says {is}, the log {told}")).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// 1e-7 degrees, as bodies have them.
fn rounded(degrees: f64) -> f64 {
    // Without the sign of a zero.
    (degrees * 1e7).round() / 1e7 + 0.0
}
