//! A letter tried again: the bytes that were kept go through today's decoder and register, with the time of their receipt.
//! The event and the end of its letter are one transaction, and its id is made of what the letter keeps: a crash between
//! leaves either both or none, and whoever tries again finds the letter ended.

use crate::clock::Keeper;
use crate::config::{Scanner, Unknown};
use crate::decoder::scan::classify;
use crate::domain::{By, Class, Kind, Reason, Scan, Stamp, TimeQuality, UnixMs};
use crate::identity;
use crate::projection::Sighting;
use crate::store::{Act, Append, Draft, Kept, Result, Txn};
use crate::wire;

use super::ears::profile;
use super::hand::Hand;
use super::history::{Word, apply};
use super::take::{effect_said, place_said, read_point, registered};

/// What became of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    /// It is an event.
    Event,
    /// It is still open, for this reason.
    Failed(Reason),
    /// It cannot be tried here.
    Skipped(&'static str),
}

impl Tried {
    /// Of what the store says why it did not do it.
    pub(super) fn of(why_not: Option<&'static str>) -> Self {
        why_not.map_or(Self::Event, Self::Skipped)
    }
}

/// Tries one letter.
pub(super) fn retry(
    txn: &mut Txn<'_>,
    hand: &Hand<'_>,
    scanners: &[Scanner],
    keeper: &Keeper,
    letter: i64,
    act: &Act<'_>,
) -> Result<Tried> {
    let Some(kept) = txn.letter(letter)? else { return Ok(Tried::Skipped("there is no such letter")) };
    if kept.stage == "uplink" {
        return Ok(Tried::of(txn.resend(letter, act)?));
    }
    if let Some(why) = why_not(&kept) {
        return Ok(Tried::Skipped(why));
    }
    let Some(scanner) = scanners.iter().find(|scanner| Some(&scanner.id) == kept.source.as_ref()) else {
        return Ok(Tried::Skipped("its source is no scanner of this configuration"));
    };
    let tried = match classify(&kept.bytes, &profile(scanner)) {
        Ok(scan) => match registered(txn, &scan)? {
            Some(asset) => Ok((scan, asset)),
            None if hand.unknown == Unknown::Hold => Err(Reason::UnknownTag),
            None => {
                let key = scan.same_as.clone().unwrap_or_else(|| scan.key.clone());
                Ok((scan, key))
            }
        },
        Err(loss) => Err(loss.reason),
    };
    match tried {
        Ok((scan, asset)) => {
            store(txn, hand, scanner, keeper, &kept, &scan, &asset)?;
            txn.retried(letter, act)?;
            Ok(Tried::Event)
        }
        Err(reason) => {
            txn.step(letter, act, reason.as_str())?;
            Ok(Tried::Failed(reason))
        }
    }
}

/// Why a letter cannot be tried here; none when it can.
fn why_not(kept: &Kept) -> Option<&'static str> {
    let reason = Reason::from_code(&kept.reason);
    match kept.state.as_str() {
        "open" => {}
        "retried" => return Some("it was retried already"),
        _ => return Some("it is no longer open"),
    }
    if kept.seq.is_some() {
        return Some("its event stands in the log; this letter only tells of it");
    }
    if !matches!(kept.stage.as_str(), "store" | "decoder") {
        return Some("of this only that it happened was kept");
    }
    if reason.is_some_and(|reason| reason.class() == Class::Noise) {
        return Some("a sentence alone is no position; the receiver has told its position anew since");
    }
    if !reason.is_some_and(Reason::retry_helps) {
        return Some("trying again cannot help with this reason");
    }
    (!kept.whole || kept.bytes.is_empty()).then_some("not all of its bytes were kept")
}

/// Appends the event as it would have been then, and lets it move its asset where nothing newer has.
fn store(
    txn: &mut Txn<'_>,
    hand: &Hand<'_>,
    scanner: &Scanner,
    keeper: &Keeper,
    kept: &Kept,
    scan: &Scan,
    asset: &str,
) -> Result<()> {
    let (boot, mono_ms) = kept.received;
    let received = Stamp { mono_us: mono_ms.saturating_mul(1000), wall_ms: kept.received_ms };
    let same_boot = txn.boot()? == boot;
    let (ts_ms, tq) = kept.when.unwrap_or_else(|| when(keeper, received, same_boot));
    let id = identity::retried(hand.node, &scanner.id, boot, mono_ms, kept.letter, kept.received_ms);
    let draft = Draft {
        id,
        kind: Kind::Scan,
        ts_ms,
        tq,
        received,
        source: Some(scanner.id.clone()),
        asset: Some(asset.to_owned()),
        place: read_point(scanner),
        code: Some(scan.code.clone()),
        body: wire::scan_body(scan, kept.peer.as_deref(), None, effect_said(scanner)),
    };
    let Append::New(seq) = txn.append_retried(&draft, boot, kept.repeats)? else { return Ok(()) };
    let sighting = Sighting {
        asset: asset.to_owned(),
        id,
        seq,
        ts_ms,
        tq,
        received: kept.received,
        at_receipt: true,
        now_ms: tq.is_trusted().then_some(ts_ms),
        position: None,
        speed_mps: None,
        course_deg: None,
        source: Some(scanner.id.clone()),
    };
    // The changes that follow are made now, under this run: their receipt is in this boot.
    let at = if same_boot { received } else { hand.at };
    let word = Word { sighting: &sighting, places: &[place_said(scanner, asset)], by: By::Scan, at };
    apply(txn, &word, hand.carriers)?;
    Ok(())
}

/// When something of which only the receipt is known happened: this boot's receipts can still be dated, others have the
/// wall clock of then, which nobody vouches for any more.
fn when(keeper: &Keeper, received: Stamp, same_boot: bool) -> (UnixMs, TimeQuality) {
    if same_boot { keeper.time_of(received) } else { (received.wall_ms, TimeQuality::None) }
}
