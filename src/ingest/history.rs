//! What a sighting makes of its asset inside the transaction: its present, what was said of its place, the turns that follow
//! as place events, and for what comes late the turns that no longer hold.

use crate::domain::{
    AssetState, By, Change, EventId, Kind, PlaceSaid, Said, SaidKey, Seq, Stamp, TimeQuality, Turn, UnixMs,
};
use crate::identity;
use crate::projection::{Placing, Revision, Sighting, Standing, placing, see, step};
use crate::store::{Append, Draft, Result, Told, Txn, Unnamed};
use crate::wire::{self, PlaceChange};

use super::carrier::{Carriers, contradiction};

/// Statements that one late event may tell anew. A month of a busy gate holds fewer; beyond it the rest stays as it was.
const RETOLD_MAX: usize = 20_000;
/// What stands as the cause of what a person says.
const OPERATOR: &str = "operator";

/// A sighting with what it says of the asset's place.
pub(super) struct Word<'a> {
    pub(super) sighting: &'a Sighting,
    /// What it says, one after the other.
    pub(super) places: &'a [PlaceSaid],
    /// Who says it.
    pub(super) by: By,
    /// When it was received.
    pub(super) at: Stamp,
}

/// Puts a sighting into the present and the history of its asset. Answers the asset when it changed.
pub(super) fn apply(txn: &mut Txn<'_>, word: &Word<'_>, carriers: &Carriers) -> Result<Option<AssetState>> {
    let says = word.places.iter().any(|place| *place != PlaceSaid::Unsaid);
    let (present, mut known) = if says {
        let (present, last) = txn.asset_and_said(&word.sighting.asset)?.unzip();
        (present, Some(last.unwrap_or_default()))
    } else {
        (txn.asset(&word.sighting.asset)?, None)
    };
    let seen = see(present.as_ref(), word.sighting);
    // What a person says is an event only where it changes something.
    let mut changed = seen.is_some() && word.by != By::Operator;
    let is_new = present.is_none();
    let Some(mut state) = seen.or(present) else { return Ok(None) };
    if is_new && says {
        // What is said hangs on it.
        txn.set_asset(&state)?;
    }
    let mut newest = None;
    for (nth, place) in (0..).zip(word.places) {
        if *place == PlaceSaid::Unsaid {
            continue;
        }
        name(txn, &state, newest.take())?;
        let last = match known.take() {
            Some(last) => last,
            None => txn.last_said(&state.asset)?,
        };
        match placing(last.said(), word.sighting, nth) {
            Placing::Next(key) => {
                let said = said(word, key, place);
                newest = txn.add_said_behind(&state.asset, &said, last)?;
                changed |= follow(txn, &mut state, &said, word)?;
            }
            // What was said then is no longer all there: nobody can tell what would follow.
            Placing::Late(key) if key.order_ms < txn.history_from()? => {
                tracing::debug!(asset = state.asset, "a late word on a place is older than the history that is kept");
            }
            Placing::Late(key) => {
                let new = [said(word, key, place)];
                changed |= retell(txn, &mut state, &[], &new, word)?;
            }
            Placing::Unplaceable => tracing::debug!(asset = state.asset, "a late word on a place has no time to go by"),
        }
    }
    if !changed {
        name(txn, &state, newest)?;
        txn.touch_asset(&state.asset, word.sighting.seq)?;
        return Ok(None);
    }
    contradict(txn, &mut state, carriers)?;
    txn.set_asset_and_said(&state, newest)?;
    Ok(Some(state))
}

fn name(txn: &mut Txn<'_>, state: &AssetState, newest: Option<Unnamed>) -> Result<()> {
    newest.map_or(Ok(()), |newest| txn.name_said(&state.asset, newest))
}

/// Writes the present down, with what GPS says against it.
pub(super) fn settle(txn: &mut Txn<'_>, state: &mut AssetState, carriers: &Carriers) -> Result<()> {
    contradict(txn, state, carriers)?;
    txn.set_asset(state)
}

/// Looks what GPS says against the place.
fn contradict(txn: &Txn<'_>, state: &mut AssetState, carriers: &Carriers) -> Result<()> {
    // Only a zone of the plan can be contradicted, by a receiver that has seen the asset: else nothing is looked up.
    let is_zone =
        |place: &&str| carriers.get(&state.asset).is_some_and(|carrier| carrier.plan().plan.zone(place).is_some());
    let place = state.place.as_deref().filter(|_| state.position.is_some()).filter(is_zone);
    state.gps_place = match place {
        Some(place) => contradiction(txn.fence_at(&state.asset, UnixMs::MAX, EventId([0xff; 16]))?.as_ref(), place),
        None => None,
    };
    Ok(())
}

fn said(word: &Word<'_>, key: SaidKey, place: &PlaceSaid) -> Said {
    let seen = word.sighting;
    Said { key, ts_ms: seen.ts_ms, tq: seen.tq, received: seen.received, place: place.clone(), by: word.by }
}

/// The ordinary case: what follows from a word on the present. Answers whether the place changed.
fn follow(txn: &mut Txn<'_>, state: &mut AssetState, said: &Said, word: &Word<'_>) -> Result<bool> {
    let mut standing = Standing { place: state.place.clone(), since_ms: state.since_ms };
    let turns = step(&mut standing, said);
    for turn in &turns {
        let (id, seq) = tell(txn, &state.asset, turn, word, false)?;
        state.seq = state.seq.max(seq);
        if word.by == By::Operator {
            // The change itself is the event that the state rests on.
            state.id = id;
        }
    }
    (state.place, state.since_ms) = (standing.place, standing.since_ms);
    Ok(!turns.is_empty())
}

/// Tells history anew: some words were never said, others were. Answers whether the present place changed by it.
pub(super) fn retell(
    txn: &mut Txn<'_>,
    state: &mut AssetState,
    gone: &[Said],
    new: &[Said],
    word: &Word<'_>,
) -> Result<bool> {
    let asset = state.asset.clone();
    let keys = || gone.iter().chain(new).map(|said| said.key);
    let (Some(first), Some(last)) = (keys().min(), keys().max()) else { return Ok(false) };
    for said in gone {
        txn.drop_said(&asset, said.key)?;
    }
    for said in new {
        txn.add_said(&asset, said)?;
    }
    let before = txn.turn_before(&asset, first)?;
    let standing = before.map_or_else(Standing::default, |told| Standing {
        place: (told.turn.change == Change::Enter).then_some(told.turn.place),
        since_ms: Some(told.turn.since_ms),
    });
    let (revision, reached_end) = revise(txn, &asset, Revision::from(standing), gone, new, (first, last))?;
    let end = revision.standing().clone();
    let (voided, held) = revision.differences();
    for turn in &voided {
        let seq = void(txn, &asset, turn, word)?;
        state.seq = state.seq.max(seq);
    }
    for turn in &held {
        let (_, seq) = tell(txn, &asset, turn, word, true)?;
        state.seq = state.seq.max(seq);
    }
    let is_news = reached_end && (&state.place, state.since_ms) != (&end.place, end.since_ms);
    if is_news {
        (state.place, state.since_ms) = (end.place, end.since_ms);
    }
    Ok(is_news)
}

/// Hears every word from the first that changed until both tellings agree, or to the end.
fn revise(
    txn: &Txn<'_>,
    asset: &str,
    mut revision: Revision,
    gone: &[Said],
    new: &[Said],
    (first, last): (SaidKey, SaidKey),
) -> Result<(Revision, bool)> {
    let mut gone: Vec<&Said> = gone.iter().collect();
    gone.sort_by_key(|said| said.key);
    let mut gone = gone.into_iter().peekable();
    let after = SaidKey { nth: first.nth - 1, ..first };
    let told = txn.said_after(asset, after, RETOLD_MAX)?;
    for said in &told {
        while let Some(never) = gone.next_if(|never| never.key < said.key) {
            revision.hear(never, true, false);
        }
        if said.key > last && revision.is_settled() {
            return Ok((revision, false));
        }
        // The same words, told anew: what is said now stands in the place of what was said.
        let was = gone.next_if(|never| never.key == said.key);
        if let Some(was) = was {
            revision.hear(was, true, false);
        }
        revision.hear(said, was.is_none() && !new.iter().any(|new| new.key == said.key), true);
    }
    if told.len() < RETOLD_MAX {
        gone.for_each(|never| revision.hear(never, true, false));
        return Ok((revision, true));
    }
    tracing::warn!(
        asset,
        "a late event would tell more of the history anew than is done at once; the rest stays as it was"
    );
    Ok((revision, false))
}

/// Appends the event of a turn and notes that it holds.
fn tell(txn: &mut Txn<'_>, asset: &str, turn: &Turn, word: &Word<'_>, late: bool) -> Result<(EventId, Seq)> {
    let id = identity::place(turn.key.cause, asset, turn.change, &turn.place, turn.since_ms);
    let because = if turn.by == By::Operator { OPERATOR.to_owned() } else { turn.key.cause.to_string() };
    let draft = Draft {
        body: wire::place_body(&PlaceChange {
            change: turn.change,
            since_ms: turn.since_ms,
            because: &because,
            nth: turn.key.nth,
            late,
            voids: None,
            renamed: None,
        }),
        ..draft(id, asset, &turn.place, turn.since_ms, turn.tq, word.at)
    };
    let seq = match txn.append(&draft)? {
        Append::New(seq) => seq,
        // It was told, voided, and holds again: the void is what no longer holds.
        Append::Duplicate => match txn.unvoid(id)? {
            Some(by) => append_void(txn, asset, turn, by, word)?.1,
            None => Seq(0),
        },
    };
    txn.add_turn(asset, &Told { turn: turn.clone(), id, seq })?;
    Ok((id, seq))
}

/// Appends the event that voids a turn, and notes that the turn holds no more.
fn void(txn: &mut Txn<'_>, asset: &str, turn: &Turn, word: &Word<'_>) -> Result<Seq> {
    let told = identity::place(turn.key.cause, asset, turn.change, &turn.place, turn.since_ms);
    if txn.drop_turn(asset, turn, told)? {
        return Ok(Seq(0));
    }
    let (by, seq) = append_void(txn, asset, turn, told, word)?;
    txn.add_void(told, by)?;
    Ok(seq)
}

/// The event that voids another one of a turn. Its name rests on what it voids and on what is the cause of that.
fn append_void(txn: &mut Txn<'_>, asset: &str, turn: &Turn, voids: EventId, word: &Word<'_>) -> Result<(EventId, Seq)> {
    let cause = word.sighting.id;
    let id = identity::place(cause, asset, Change::Void, &voids.to_string(), turn.since_ms);
    let because = if word.by == By::Operator { OPERATOR.to_owned() } else { cause.to_string() };
    let draft = Draft {
        body: wire::place_body(&PlaceChange {
            change: Change::Void,
            since_ms: turn.since_ms,
            because: &because,
            nth: turn.key.nth,
            late: true,
            voids: Some(voids),
            renamed: None,
        }),
        ..draft(id, asset, &turn.place, turn.since_ms, turn.tq, word.at)
    };
    let seq = match txn.append(&draft)? {
        Append::New(seq) => seq,
        Append::Duplicate => Seq(0),
    };
    Ok((id, seq))
}

fn draft(id: EventId, asset: &str, place: &str, ts_ms: UnixMs, tq: TimeQuality, at: Stamp) -> Draft {
    Draft {
        id,
        kind: Kind::Place,
        ts_ms,
        tq,
        received: at,
        source: None,
        asset: Some(asset.to_owned()),
        place: Some(place.to_owned()),
        code: None,
        body: String::new(),
    }
}
