//! The whole way in, inside one transaction: frames become events, places, counts and letters together or not at all.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::config::{Effect, ReadPoint, RepeatScope, Scanner, Unknown};
use crate::decoder::scan::sheet::SheetRead;
use crate::domain::{AssetState, By, EventId, Fix, Kind, Loss, PlaceSaid, Reason, Scan, Stamp, TimeQuality, UnixMs};
use crate::identity;
use crate::plan::Fence;
use crate::projection::{Sighting, is_no_time_for};
use crate::store::{Append, Draft, Origin, Outcome, Result, Txn, Window};
use crate::wire;

use super::carrier::{Carrier, Carriers, Part};
use super::history::{Word, apply, settle};
use super::refence::refence;

/// One delimited read or one finished epoch, ready to be stored, or something that is noted beside.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    /// An epoch with a position.
    Fix(Box<FixFrame>),
    /// Epochs without.
    NoFix { n: i64 },
    /// A read that decoded.
    Scan { scan: Box<Scan>, at: Stamp, nth: u64, when: (UnixMs, TimeQuality), peer: Option<String> },
    /// A read or sentence that is refused and kept as a letter.
    Refused { loss: Loss, at: Stamp, peer: Option<String>, is_frame: bool },
    /// The like of which are kept already: counted.
    Sampled { reason: Reason, n: i64, is_frame: bool },
    /// A code of the test sheet.
    Test { read: Box<SheetRead>, at: Stamp, at_ms: UnixMs, peer: Option<String> },
    /// Something happened at the port.
    Port { what: &'static str, detail: String },
    /// Another receiver moves an asset from now on.
    Lead { asset: String, receiver: String },
    /// The node has something to say.
    Note { name: &'static str, sentence: String, at: Stamp, when: (UnixMs, TimeQuality) },
}

/// An epoch with a position, and what it means.
#[derive(Clone, Debug)]
pub(super) struct FixFrame {
    pub(super) fix: Fix,
    pub(super) at: Stamp,
    pub(super) tq: TimeQuality,
    /// Whether it is worth a row.
    pub(super) keep: super::motion::Keep,
    /// What it does to its asset.
    pub(super) part: Part,
}

/// What a frame came to; in the order of the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing to answer.
    Silent,
    /// A new event.
    Ok(EventId),
    /// A repeat of this event.
    Again(EventId),
    /// Refused.
    Rejected(Reason),
    /// A read of the test sheet.
    Test,
}

/// What taking frames came to, valid once committed.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    pub(super) answers: Vec<Answer>,
    /// The receiver's asset as it is now.
    pub(super) asset: Option<AssetState>,
    /// How the receiver's asset stands to the zones, where a late fix changed that.
    pub(super) fence: Option<Fence>,
    /// What the test sheet now says of the source, when a code of it was read.
    pub(super) sheet: Option<String>,
    /// Fixes stored.
    pub(super) fixes: usize,
}

/// What does not change while the source runs.
pub(super) struct Desk {
    pub(super) source: String,
    pub(super) node: String,
    pub(super) boot_id: String,
    pub(super) feed: super::Feed,
    pub(super) unknown: Unknown,
    /// Up to here events may have been published: their repeats are frozen.
    pub(super) published: std::sync::Arc<AtomicI64>,
    /// The asset whose position is the node's own.
    pub(super) own_asset: String,
    /// The assets that receivers move.
    pub(super) carriers: Carriers,
}

/// Takes frames in. **If you read one function, read this one: it is the whole way in.**
///
/// # Errors
/// As the store says; then nothing of any frame was kept.
pub(super) fn take(txn: &mut Txn<'_>, desk: &Desk, frames: &[Frame]) -> Result<Taken> {
    txn.admit()?;
    let mut taken = Taken::default();
    for frame in frames {
        let answer = match frame {
            Frame::Fix(frame) => take_fix(txn, desk, frame, &mut taken)?,
            Frame::NoFix { n } => {
                txn.frames(&desk.source, Outcome::NoFix, *n);
                Answer::Silent
            }
            Frame::Scan { scan, at, nth, when, peer } => take_scan(txn, desk, scan, *at, *nth, *when, peer.as_deref())?,
            Frame::Refused { loss, at, peer, is_frame } => refuse(txn, desk, loss, *at, peer.clone(), *is_frame)?,
            Frame::Sampled { reason, n, is_frame } => {
                if *is_frame {
                    txn.frames(&desk.source, Outcome::Rejected(*reason), *n);
                }
                txn.sampled(&desk.source, *reason, *n);
                Answer::Rejected(*reason)
            }
            Frame::Test { read, at_ms, .. } => {
                taken.sheet = Some(super::sheet::take(txn, desk, read, *at_ms)?);
                Answer::Test
            }
            Frame::Port { what, detail } => {
                txn.log_inbound(&desk.source, what, detail)?;
                Answer::Silent
            }
            Frame::Lead { asset, receiver } => {
                txn.set_receiver(asset, receiver)?;
                Answer::Silent
            }
            Frame::Note { name, sentence, at, when } => take_note(txn, desk, name, sentence, *at, *when)?,
        };
        taken.answers.push(answer);
    }
    Ok(taken)
}

fn take_fix(txn: &mut Txn<'_>, desk: &Desk, frame: &FixFrame, taken: &mut Taken) -> Result<Answer> {
    let super::Feed::Gps(gps) = &desk.feed else { return Ok(Answer::Silent) };
    let FixFrame { fix, at, tq, .. } = frame;
    let id = identity::fix(&desk.node, &desk.source, fix);
    if txn.has_event(id)? {
        txn.frame(&desk.source, Outcome::Duplicate);
        return Ok(Answer::Again(id));
    }
    if let Some(policy) = thinned(txn, desk, frame)? {
        txn.frame(&desk.source, Outcome::Thinned(policy));
        return Ok(Answer::Silent);
    }
    let draft = Draft {
        id,
        kind: Kind::Fix,
        ts_ms: fix.time_ms,
        tq: *tq,
        received: *at,
        source: Some(desk.source.clone()),
        asset: Some(gps.asset.clone()),
        place: None,
        code: None,
        body: wire::fix_body(fix, frame.part == Part::Spare),
    };
    let Append::New(seq) = txn.append(&draft)? else {
        txn.frame(&desk.source, Outcome::Duplicate);
        return Ok(Answer::Again(id));
    };
    txn.frame(&desk.source, Outcome::Stored);
    taken.fixes += 1;
    let sighting = Sighting {
        asset: gps.asset.clone(),
        id,
        seq,
        ts_ms: fix.time_ms,
        tq: *tq,
        received: (txn.boot()?, at.mono_ms()),
        at_receipt: false,
        now_ms: now_of(*tq, fix),
        position: Some((fix.lat_deg, fix.lon_deg)),
        speed_mps: fix.speed_mps,
        course_deg: fix.course_deg,
        source: Some(desk.source.clone()),
    };
    move_asset(txn, desk, frame, &sighting, taken)?;
    Ok(Answer::Ok(id))
}

/// What time it was when a fix came, where a trusted clock agrees with it.
fn now_of(tq: TimeQuality, fix: &Fix) -> Option<UnixMs> {
    (tq.is_trusted() && fix.doubt.is_empty()).then_some(fix.time_ms)
}

/// The policy that leaves a fix out, if one does.
fn thinned(txn: &Txn<'_>, desk: &Desk, frame: &FixFrame) -> Result<Option<&'static str>> {
    use super::motion::Keep;
    Ok(match frame.keep {
        Keep::Store => None,
        Keep::Thin(policy) => Some(policy),
        Keep::Late(span, policy) => {
            let upto = identity::sent_seconds(&frame.fix);
            let span = u32::try_from(span.as_secs()).unwrap_or(u32::MAX).saturating_sub(1);
            txn.has_event_between(Kind::Fix, &desk.source, upto.saturating_sub(span), upto)?.then_some(policy)
        }
    })
}

/// What a stored fix does to the asset that its receiver moves.
fn move_asset(txn: &mut Txn<'_>, desk: &Desk, frame: &FixFrame, sighting: &Sighting, taken: &mut Taken) -> Result<()> {
    let Some(carrier) = desk.carriers.get(&sighting.asset) else { return Ok(()) };
    let word = |places| Word { sighting, places, by: By::Gps, at: frame.at };
    let state = match &frame.part {
        Part::Spare | Part::Doubted => return Ok(()),
        Part::Leads { before, places, fence } if knows(txn, carrier, before, sighting)? => {
            if let Some(fence) = fence {
                txn.set_fence(&sighting.asset, sighting.ts_ms, sighting.id, Some(fence))?;
            }
            apply(txn, &word(places), &desk.carriers)?
        }
        // What came late has told the zones anew meanwhile: this fix saw them as they were.
        part => {
            let state = apply(txn, &word(&[]), &desk.carriers)?;
            let state = late_fix(txn, desk, carrier, frame, &word(&[]), taken)?.or(state);
            if matches!(part, Part::Leads { .. }) && taken.fence.is_none() {
                // The next one is seen as the log has it.
                taken.fence = Some(newest(txn, carrier)?.1);
            }
            state
        }
    };
    taken.asset = state.or(taken.asset.take());
    Ok(())
}

/// Whether the log agrees with how an asset stood to the zones before a fix. What it says of a time that has not come, by a
/// receiver that began with a wrong date, it says of now: else that would be the newest for years.
fn knows(txn: &mut Txn<'_>, carrier: &Carrier, before: &Fence, seen: &Sighting) -> Result<bool> {
    if carrier.plan().plan.is_empty() {
        return Ok(true);
    }
    let (at_ms, fence) = newest(txn, carrier)?;
    if at_ms.is_some_and(|at_ms| is_no_time_for(at_ms, seen)) {
        txn.drop_fences(carrier.asset(), seen.ts_ms)?;
        txn.set_fence(carrier.asset(), seen.ts_ms, seen.id, Some(&before.to_text()))?;
        return Ok(true);
    }
    Ok(fence == *before)
}

/// How an asset stands to the zones as the log has it, and since when.
fn newest(txn: &Txn<'_>, carrier: &Carrier) -> Result<(Option<UnixMs>, Fence)> {
    let mark = txn.fence_at(carrier.asset(), UnixMs::MAX, EventId([0xff; 16]))?;
    let fence = mark.as_ref().and_then(|mark| Fence::from_text(&mark.state)).unwrap_or_default();
    Ok((mark.map(|mark| mark.ts_ms), fence))
}

/// A late fix may have passed a zone: the history is told anew.
fn late_fix(
    txn: &mut Txn<'_>,
    desk: &Desk,
    carrier: &Carrier,
    frame: &FixFrame,
    word: &Word<'_>,
    taken: &mut Taken,
) -> Result<Option<AssetState>> {
    let present = txn.asset(carrier.asset())?;
    let in_force = carrier.plan();
    let Some(mut state) = present.filter(|_| frame.tq.is_trusted() && !in_force.plan.is_empty()) else {
        return Ok(None);
    };
    if frame.fix.time_ms < txn.history_from()? || frame.fix.time_ms <= in_force.after_ms {
        // How it stood to the zones then is no longer there; or other zones held then, and what they said stays said.
        return Ok(None);
    }
    let fence = refence(txn, carrier, &in_force.plan, &frame.fix, &mut state, word)?;
    taken.fence = fence.or(taken.fence.take());
    settle(txn, &mut state, &desk.carriers)?;
    Ok(Some(state))
}

fn take_scan(
    txn: &mut Txn<'_>,
    desk: &Desk,
    scan: &Scan,
    at: Stamp,
    nth: u64,
    when: (UnixMs, TimeQuality),
    peer: Option<&str>,
) -> Result<Answer> {
    let super::Feed::Scanner(scanner) = &desk.feed else { return Ok(Answer::Silent) };
    let boot = txn.boot()?;
    let id = identity::scan(&desk.node, &desk.source, &desk.boot_id, at, nth, when.0, &scan.code);
    if let Some(window) = open_window(txn, desk, scanner, scan, boot, at)? {
        // Its commit went through and the answer was lost with the writer: the read repeats nobody, least of all itself.
        if txn.has_event(id)? {
            txn.frame(&desk.source, Outcome::Duplicate);
            return Ok(Answer::Again(id));
        }
        if let Some(letter) = window.letter {
            return super::hold::again(txn, desk, letter);
        }
        txn.frame(&desk.source, Outcome::Repeat);
        txn.repeat_onto(window.seq, crate::domain::Seq(desk.published.load(Ordering::Acquire)))?;
        return Ok(txn.event_id(window.seq)?.map_or(Answer::Silent, Answer::Again));
    }
    let registered = registered(txn, scan)?;
    if registered.is_none() && desk.unknown == Unknown::Hold {
        return super::hold::hold(txn, desk, scanner, scan, at, when, peer);
    }
    let asset = registered.or_else(|| scan.same_as.clone()).unwrap_or_else(|| scan.key.clone());
    let position = where_read(txn, desk, scanner)?;
    let draft = Draft {
        id,
        kind: Kind::Scan,
        ts_ms: when.0,
        tq: when.1,
        received: at,
        source: Some(desk.source.clone()),
        asset: Some(asset.clone()),
        place: read_point(scanner),
        code: Some(scan.code.clone()),
        body: wire::scan_body(scan, peer, position, effect_said(scanner)),
    };
    let Append::New(seq) = txn.append(&draft)? else {
        txn.frame(&desk.source, Outcome::Duplicate);
        return Ok(Answer::Again(id));
    };
    txn.frame(&desk.source, Outcome::Stored);
    let window = Window { key: scan.code.clone(), seq, received: (boot, at.mono_ms()), letter: None };
    begin_window(txn, desk, scanner, scan, &window)?;
    let place = place_said(scanner, &asset);
    let sighting = Sighting {
        asset,
        id,
        seq,
        ts_ms: when.0,
        tq: when.1,
        received: (boot, at.mono_ms()),
        at_receipt: true,
        now_ms: when.1.is_trusted().then_some(when.0),
        position: if matches!(place, PlaceSaid::Unsaid) { None } else { position },
        speed_mps: None,
        course_deg: None,
        source: Some(desk.source.clone()),
    };
    apply(txn, &Word { sighting: &sighting, places: &[place], by: By::Scan, at }, &desk.carriers)?;
    Ok(Answer::Ok(id))
}

/// The registered asset of a scan; an EPC is its GS1 key.
pub(super) fn registered(txn: &Txn<'_>, scan: &Scan) -> Result<Option<String>> {
    match (txn.registered(&scan.key)?, &scan.same_as) {
        (Some(asset), _) => Ok(Some(asset)),
        (None, Some(key)) => txn.registered(key),
        (None, None) => Ok(None),
    }
}

/// What a scan here says of its asset's place. Nothing is aboard itself: a truck's own label, read by its own scanner.
pub(super) fn place_said(scanner: &Scanner, asset: &str) -> PlaceSaid {
    if matches!(&scanner.place, ReadPoint::Aboard(carrier) if carrier == asset) {
        return PlaceSaid::Unsaid;
    }
    match (read_point(scanner), scanner.effect) {
        (Some(place), Effect::Enter) => PlaceSaid::At(place),
        (Some(place), Effect::Leave) => PlaceSaid::GoneFrom(place),
        _ => PlaceSaid::Unsaid,
    }
}

/// Opens the window in which reads of this code are repeats, unless the scanner has none.
pub(super) fn begin_window(
    txn: &mut Txn<'_>,
    desk: &Desk,
    scanner: &Scanner,
    scan: &Scan,
    window: &Window,
) -> Result<()> {
    if scanner.repeat_window.is_zero() {
        return Ok(());
    }
    let ended = window.received.1 - millis(scanner.repeat_window);
    txn.open_window(&desk.source, scope(scanner, scan), window, ended)
}

/// The window that makes this read a repeat, if one is open.
fn open_window(
    txn: &Txn<'_>,
    desk: &Desk,
    scanner: &Scanner,
    scan: &Scan,
    boot: i64,
    at: Stamp,
) -> Result<Option<Window>> {
    if scanner.repeat_window.is_zero() {
        return Ok(None);
    }
    let window = txn.window(&desk.source, scope(scanner, scan))?;
    Ok(window.filter(|window| {
        window.key == scan.code
            && window.received.0 == boot
            && at.mono_ms() - window.received.1 <= millis(scanner.repeat_window)
    }))
}

fn scope<'a>(scanner: &Scanner, scan: &'a Scan) -> &'a str {
    match scanner.repeat_scope {
        RepeatScope::Previous => "",
        RepeatScope::Code => &scan.code,
    }
}

/// What a read does to its asset, where it is not the ordinary thing.
pub(super) fn effect_said(scanner: &Scanner) -> Option<&'static str> {
    match scanner.effect {
        Effect::Enter => None,
        Effect::Leave => Some("leave"),
        Effect::None => Some("none"),
    }
    .filter(|_| scanner.place != ReadPoint::Unknown)
}

pub(super) fn read_point(scanner: &Scanner) -> Option<String> {
    match &scanner.place {
        ReadPoint::Unknown => None,
        ReadPoint::Place(place) => Some(place.clone()),
        ReadPoint::Aboard(asset) => Some(format!("@{asset}")),
    }
}

/// Where the read happened, when the node knows it: aboard an asset, or at the node itself; a place says it by its name.
fn where_read(txn: &Txn<'_>, desk: &Desk, scanner: &Scanner) -> Result<Option<(f64, f64)>> {
    let carrier = match &scanner.place {
        ReadPoint::Aboard(asset) => asset,
        ReadPoint::Unknown => &desk.own_asset,
        // A door does not move with the truck that stands before it.
        ReadPoint::Place(_) => return Ok(None),
    };
    Ok(txn.asset(carrier)?.and_then(|state| state.position))
}

fn refuse(
    txn: &mut Txn<'_>,
    desk: &Desk,
    loss: &Loss,
    at: Stamp,
    peer: Option<String>,
    is_frame: bool,
) -> Result<Answer> {
    if is_frame {
        txn.frame(&desk.source, Outcome::Rejected(loss.reason));
    }
    let origin = Origin { source: desk.source.clone(), peer, received: at };
    txn.park(loss, &origin, None, loss.ai.as_deref().unwrap_or(""))?;
    Ok(Answer::Rejected(loss.reason))
}

fn take_note(
    txn: &mut Txn<'_>,
    desk: &Desk,
    name: &str,
    sentence: &str,
    at: Stamp,
    when: (UnixMs, TimeQuality),
) -> Result<Answer> {
    let draft = Draft {
        id: identity::note(&desk.node, &desk.boot_id, at, name, when.0),
        kind: Kind::Note,
        ts_ms: when.0,
        tq: when.1,
        received: at,
        source: None,
        asset: None,
        place: None,
        code: None,
        body: wire::note_body(name, sentence),
    };
    txn.append(&draft)?;
    Ok(Answer::Silent)
}

fn millis(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

impl Answer {
    /// The line for a scanner that wants replies.
    pub(super) fn line(self) -> Option<String> {
        match self {
            Self::Silent => None,
            Self::Ok(id) => Some(format!("ok {id}")),
            Self::Again(id) => Some(format!("again {id}")),
            Self::Test => Some("test".to_owned()),
            Self::Rejected(reason) => Some(format!("rejected {}", reason.as_str())),
        }
    }
}
