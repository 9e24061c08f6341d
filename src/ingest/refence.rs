//! A fix that comes late may have passed a gate: how the asset stood to the zones is told anew, from that fix until nothing
//! differs any more. Only fixes that are stored take part; those that were thinned changed nothing when they came.

use serde::Deserialize;

use crate::domain::{By, EventId, Fix, PlaceSaid, Said, SaidKey, UnixMs};
use crate::identity;
use crate::plan::{Fence, GAP_MAX_MS, Plan};
use crate::store::{Result, StoredFix, Txn};

use super::carrier::{Carrier, seen};
use super::history::{Word, retell};

/// Fixes that one late fix may tell anew in one stretch.
const FIXES_MAX: usize = 2_000;
/// Fixes read to find the one before: some seconds at 10 Hz.
const PAGE: usize = 64;
/// How far ahead fixes are looked for while the tellings differ. Seconds; a parked asset has one stored in five minutes.
const LOOK_S: [u32; 4] = [10, 120, 1_200, 172_800];

/// What of a fix's body the fence needs.
#[derive(Deserialize)]
struct Body {
    lat: f64,
    lon: f64,
    hdop: Option<f64>,
    #[serde(default)]
    doubt: Vec<String>,
    #[serde(default)]
    spare: bool,
}

struct Known {
    id: EventId,
    ts_ms: UnixMs,
    body: Body,
}

/// Tells anew how the asset of a late fix stood to the zones. The fix is stored, trusted and not in doubt. Answers the fence
/// as it is at the end, where it differs there.
pub(super) fn refence(
    txn: &mut Txn<'_>,
    carrier: &Carrier,
    plan: &Plan,
    fix: &Fix,
    state: &mut crate::domain::AssetState,
    word: &Word<'_>,
) -> Result<Option<Fence>> {
    let asset = carrier.asset();
    let (id, ts_ms) = (word.sighting.id, fix.time_ms);
    let sent_s = identity::sent_seconds(fix);
    let mark = txn.fence_at(asset, ts_ms, id)?;
    let mut fence = mark.and_then(|mark| Fence::from_text(&mark.state)).unwrap_or_default();
    let segment_s = u32::try_from(GAP_MAX_MS / 1000).unwrap_or(60) + 1;
    let behind = (sent_s.saturating_sub(segment_s), sent_s.saturating_add(1));
    let before = known(txn.fixes_between(asset, behind, true, PAGE)?);
    // The newest that has a say: one beyond a zone that the asset has not left has none.
    let _resumed = before.iter().rev().filter(|one| (one.ts_ms, one.id) < (ts_ms, id)).any(|last| {
        fence.resume(plan, carrier.limits(), &seen(last.ts_ms, last.body.lat, last.body.lon, last.body.hdop))
    });
    let mut telling = Telling { plan, was: fence.clone(), fence, gone: Vec::new(), new: Vec::new() };
    let late = Body { lat: fix.lat_deg, lon: fix.lon_deg, hdop: fix.hdop, doubt: Vec::new(), spare: false };
    telling.hear(txn, carrier, &Known { id, ts_ms, body: late }, word)?;
    let settled = telling.follow(txn, carrier, sent_s, word)?;
    retell(txn, state, &telling.gone, &telling.new, word)?;
    Ok((!settled).then_some(telling.fence))
}

struct Telling<'a> {
    /// The plan that all of it is told by.
    plan: &'a Plan,
    /// How it stood after the last fix in the old telling. The marks behind it are written anew already.
    was: Fence,
    /// And in the new one.
    fence: Fence,
    gone: Vec<Said>,
    new: Vec<Said>,
}

impl Telling<'_> {
    /// Goes through the fixes that follow. Answers whether both tellings came to the same.
    fn follow(&mut self, txn: &mut Txn<'_>, carrier: &Carrier, sent_s: u32, word: &Word<'_>) -> Result<bool> {
        let mut last = (word.sighting.ts_ms, word.sighting.id);
        let mut from_s = sent_s;
        for look_s in LOOK_S {
            let upto_s = sent_s.saturating_add(look_s);
            for next in known(txn.fixes_between(carrier.asset(), (from_s, upto_s), false, FIXES_MAX)?) {
                if (next.ts_ms, next.id) <= last {
                    continue;
                }
                last = (next.ts_ms, next.id);
                self.hear(txn, carrier, &next, word)?;
                if self.was == self.fence && self.fence.is_judged_from(next.ts_ms) {
                    return Ok(true);
                }
            }
            // A gap ends every segment: if both agree by now, they will after it.
            if self.was == self.fence && i64::from(look_s) * 1000 > GAP_MAX_MS {
                return Ok(true);
            }
            from_s = upto_s;
        }
        Ok(false)
    }

    /// Hears one fix anew.
    fn hear(&mut self, txn: &mut Txn<'_>, carrier: &Carrier, fix: &Known, word: &Word<'_>) -> Result<()> {
        let asset = carrier.asset();
        let mark = txn.fence_at(asset, fix.ts_ms, fix.id)?.filter(|mark| mark.id == fix.id);
        self.was = mark.and_then(|mark| Fence::from_text(&mark.state)).unwrap_or_else(|| self.was.clone());
        let before = self.fence.clone();
        let at = seen(fix.ts_ms, fix.body.lat, fix.body.lon, fix.body.hdop);
        let left = before.place().map(str::to_owned);
        let crossings = self.fence.step(self.plan, carrier.limits(), &at);
        let state = (self.fence != before).then(|| self.fence.to_text());
        txn.set_fence(asset, fix.ts_ms, fix.id, state.as_deref())?;
        let key = SaidKey { order_ms: fix.ts_ms, nudge: 0, cause: fix.id, nth: 0 };
        let places = statements(left, crossings.into_iter().map(|crossing| crossing.place));
        let new: Vec<Said> = (0..)
            .zip(places)
            .map(|(nth, place)| Said {
                key: SaidKey { nth, ..key },
                ts_ms: fix.ts_ms,
                tq: word.sighting.tq,
                received: word.sighting.received,
                place,
                by: By::Gps,
            })
            .collect();
        let said = txn.said_after(asset, SaidKey { nth: -1, ..key }, 8)?;
        let old: Vec<Said> =
            said.into_iter().take_while(|said| said.key.cause == fix.id && said.by == By::Gps).collect();
        let same = |a: &Said, b: &Said| a.key == b.key && a.place == b.place;
        self.gone.extend(old.iter().filter(|one| !new.iter().any(|other| same(one, other))).cloned());
        self.new.extend(new.iter().filter(|one| !old.iter().any(|other| same(one, other))).cloned());
        Ok(())
    }
}

/// What crossings say of a place, one after the other.
pub(super) fn statements(
    mut from: Option<String>,
    crossings: impl IntoIterator<Item = Option<String>>,
) -> Vec<PlaceSaid> {
    let mut said = Vec::new();
    for to in crossings {
        said.push(match (&to, from.take()) {
            (Some(place), _) => PlaceSaid::At(place.clone()),
            (None, Some(place)) => PlaceSaid::GoneFrom(place),
            (None, None) => PlaceSaid::Unsaid,
        });
        from = to;
    }
    said
}

/// The fixes that move their asset.
fn known(fixes: Vec<StoredFix>) -> Vec<Known> {
    let mut known: Vec<Known> = fixes
        .into_iter()
        .filter_map(|fix| {
            let body: Body = serde_json::from_str(&fix.body).ok()?;
            let moves = !body.spare && body.doubt.iter().all(|doubt| doubt == "old" || doubt == "clock");
            moves.then_some(Known { id: fix.id, ts_ms: fix.ts_ms, body })
        })
        .collect();
    // Ids go by seconds; within one the times decide.
    known.sort_by_key(|fix| (fix.ts_ms, fix.id));
    known
}
