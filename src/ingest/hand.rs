//! What a person says of the yard: an asset placed by hand, a torn label typed in. Undone by saying the other thing.

use crate::config::Unknown;
use crate::decoder::scan::{Typed, typed};
use crate::domain::{
    AssetState, By, Carried, Change, Done, EventId, Kind, PlaceSaid, Refused, Seq, Stamp, TimeQuality, UnixMs, Why,
};
use crate::identity;
use crate::projection::Sighting;
use crate::store::{Append, Draft, Outcome, Result, Txn};
use crate::wire::{self, PlaceChange};

use super::carrier::Carriers;
use super::history::{Word, apply};
use super::list::{shown, wrong_place};

/// The pseudo-source of what people enter.
pub(super) const MANUAL: &str = "manual";
/// The cause of a change that a person made.
const OPERATOR: &str = "operator";

/// What carrying out an order needs to know of the node and the moment.
pub(super) struct Hand<'a> {
    pub(super) node: &'a str,
    pub(super) boot_id: &'a str,
    /// The assets that receivers move.
    pub(super) carriers: &'a Carriers,
    pub(super) unknown: Unknown,
    pub(super) at: Stamp,
    pub(super) when: (UnixMs, TimeQuality),
}

impl Hand<'_> {
    /// Whether a receiver moves an asset.
    pub(super) fn moved_by_receiver(&self, asset: &str) -> bool {
        self.carriers.contains_key(asset)
    }
}

/// Says that an asset is at a place, or at none.
pub(super) fn place(
    txn: &mut Txn<'_>,
    hand: &Hand<'_>,
    asset: &str,
    place: Option<&str>,
) -> Result<std::result::Result<Carried, Refused>> {
    if let Some(wrong) = place.and_then(wrong_place) {
        let hint = "Write 1 to 64 letters a-z A-Z, digits, space . _ -, or null for no place.";
        return Ok(Err(Refused::new(Why::Invalid, wrong, hint)));
    }
    let Some(asset) = known(txn, asset)? else {
        let message = format!("there is no asset {}", shown(asset));
        return Ok(Err(Refused::new(Why::NotFound, message, "`waypost assets list` shows them; add it first.")));
    };
    let was = txn.asset(&asset)?.and_then(|state| state.place);
    let said = [place.map_or(PlaceSaid::Gone, |place| PlaceSaid::At(place.to_owned()))];
    let change = if place.is_some() { Change::Enter } else { Change::Exit };
    let cause =
        identity::place_by_hand(hand.node, hand.boot_id, hand.at, hand.when.0, &asset, change, place.unwrap_or(""));
    let sighting = Sighting { id: cause, ..sighting(txn, hand, &asset)? };
    let word = Word { sighting: &sighting, places: &said, by: By::Operator, at: hand.at };
    let moved = apply(txn, &word, hand.carriers)?;
    let touched = moved.iter().map(|_| asset.clone()).collect();
    Ok(Ok(Carried { done: Done::Placed { asset, was, id: moved.map(|state| state.id) }, touched }))
}

/// Appends the end of one name of an asset, or the beginning of another; nothing where it is at no place.
pub(super) fn renamed(
    txn: &mut Txn<'_>,
    hand: &Hand<'_>,
    state: &AssetState,
    change: Change,
    place: Option<&str>,
    other: &str,
) -> Result<()> {
    let Some(place) = place else { return Ok(()) };
    let since_ms = match change {
        Change::Enter => state.since_ms.unwrap_or(hand.when.0),
        Change::Exit | Change::Void => hand.when.0,
    };
    let draft = Draft {
        id: identity::place_by_hand(hand.node, hand.boot_id, hand.at, hand.when.0, &state.asset, change, place),
        kind: Kind::Place,
        ts_ms: hand.when.0,
        tq: hand.when.1,
        received: hand.at,
        source: None,
        asset: Some(state.asset.clone()),
        place: Some(place.to_owned()),
        code: None,
        body: wire::place_body(&PlaceChange {
            change,
            since_ms,
            because: OPERATOR,
            nth: 0,
            late: false,
            voids: None,
            renamed: Some(other),
        }),
    };
    // The same change at the same moment is told already.
    txn.append(&draft).map(|_| ())
}

/// The keys under which a scanner may know a label that a person wrote down, however they wrote it; none when it is no label.
#[must_use]
pub fn keys_of(label: &str) -> Vec<String> {
    typed(label).map_or_else(|_| Vec::new(), |Typed { keys, .. }| keys)
}

/// Takes in a label that a person typed, as a scanner without symbology ids would have read it.
pub(super) fn scan(
    txn: &mut Txn<'_>,
    hand: &Hand<'_>,
    code: &str,
    place: Option<&str>,
) -> Result<std::result::Result<Carried, Refused>> {
    if let Some(wrong) = place.and_then(wrong_place) {
        let hint = "Write 1 to 64 letters a-z A-Z, digits, space . _ -, or leave it out.";
        return Ok(Err(Refused::new(Why::Invalid, wrong, hint)));
    }
    let Typed { scan, keys } = match typed(code) {
        Ok(typed) => typed,
        Err(loss) => {
            let field = loss.ai.map_or_else(String::new, |ai| format!(" (GS1 field {ai})"));
            let message = format!("{}: {}{field}", shown(code), loss.reason.sentence().trim_end_matches('.'));
            return Ok(Err(Refused::new(Why::Invalid, message, "Compare it with the label.")));
        }
    };
    let asset = match named(txn, &keys)? {
        Some(asset) => asset,
        None if hand.unknown == Unknown::Hold => {
            let message = format!("no asset has the code {}", shown(code));
            return Ok(Err(Refused::new(Why::UnknownTag, message, "Add the asset, then enter the label again.")));
        }
        None => match seen(txn, &keys)? {
            Some(key) => key,
            None => scan.same_as.clone().unwrap_or_else(|| scan.key.clone()),
        },
    };
    let said = place.map_or(PlaceSaid::Unsaid, |place| PlaceSaid::At(place.to_owned()));
    let sighting = sighting(txn, hand, &asset)?;
    let id = identity::scan(hand.node, MANUAL, hand.boot_id, hand.at, 0, hand.when.0, &scan.code);
    let draft = Draft {
        id,
        kind: Kind::Scan,
        ts_ms: hand.when.0,
        tq: hand.when.1,
        received: hand.at,
        source: Some(MANUAL.to_owned()),
        asset: Some(asset.clone()),
        place: place.map(str::to_owned),
        code: Some(scan.code.clone()),
        body: wire::scan_body(&scan, None, None, None),
    };
    let Append::New(seq) = txn.append(&draft)? else {
        txn.frame(MANUAL, Outcome::Duplicate);
        return Ok(Ok(Carried { done: Done::Scanned { id, asset, key: scan.key }, touched: Vec::new() }));
    };
    txn.frame(MANUAL, Outcome::Stored);
    let word = Word { sighting: &Sighting { id, seq, ..sighting }, places: &[said], by: By::Scan, at: hand.at };
    apply(txn, &word, hand.carriers)?;
    Ok(Ok(Carried { done: Done::Scanned { id, asset: asset.clone(), key: scan.key }, touched: vec![asset] }))
}

fn sighting(txn: &mut Txn<'_>, hand: &Hand<'_>, asset: &str) -> Result<Sighting> {
    Ok(Sighting {
        asset: asset.to_owned(),
        id: EventId([0; 16]),
        seq: Seq(0),
        ts_ms: hand.when.0,
        tq: hand.when.1,
        received: (txn.boot()?, hand.at.mono_ms()),
        at_receipt: true,
        now_ms: hand.when.1.is_trusted().then_some(hand.when.0),
        position: None,
        speed_mps: None,
        course_deg: None,
        source: Some(MANUAL.to_owned()),
    })
}

/// The asset that a person means: by its name, registered or not, or by one of its codes.
fn known(txn: &Txn<'_>, asset: &str) -> Result<Option<String>> {
    if txn.thing(asset)?.is_some() || txn.asset(asset)?.is_some() {
        return Ok(Some(asset.to_owned()));
    }
    let Ok(Typed { keys, .. }) = typed(asset) else { return Ok(None) };
    Ok(match named(txn, &keys)? {
        Some(asset) => Some(asset),
        None => seen(txn, &keys)?,
    })
}

/// The registered asset of the first key that has one.
fn named(txn: &Txn<'_>, keys: &[String]) -> Result<Option<String>> {
    for key in keys {
        if let Some(asset) = txn.registered(key)? {
            return Ok(Some(asset));
        }
    }
    Ok(None)
}

/// The first key under which something was seen.
fn seen(txn: &Txn<'_>, keys: &[String]) -> Result<Option<String>> {
    for key in keys {
        if txn.asset(key)?.is_some() {
            return Ok(Some(key.clone()));
        }
    }
    Ok(None)
}
