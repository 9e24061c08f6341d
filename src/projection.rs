//! The out-of-order rules, alone in a file: what a new sighting makes of an asset's present, and what a statement on its
//! place makes of its history. Position and place are two things with an order each: a scan says nothing of a position.
//! **Invariant:** a late or doubtful event never turns back the present, and the history does not depend on arrival.

mod rebuild;

use crate::domain::{AssetState, Change, EventId, PlaceSaid, Said, SaidKey, Seq, TimeQuality, Turn, UnixMs};

pub use rebuild::{Rebuild, difference};

/// What lies further ahead of trusted time than this is no order to go by. ms (contract section 6)
const AHEAD_MS: i64 = 60_000;

/// Times without trust are compared when they are no further apart. ms; half a day: a wrong date is further off, what
/// waited in a buffer is not
const NEAR_MS: i64 = 43_200_000;

/// What an event says of one asset.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// The asset.
    pub asset: String,
    /// The event.
    pub id: EventId,
    /// Its place in the log.
    pub seq: Seq,
    /// When it happened.
    pub ts_ms: UnixMs,
    /// How far that can be believed.
    pub tq: TimeQuality,
    /// Boot and `CLOCK_BOOTTIME` ms of its receipt.
    pub received: (i64, i64),
    /// Whether it happened when it was received (a scan), so that a step of the clock changes nothing of its order.
    pub at_receipt: bool,
    /// What time it is, where a trusted clock says so.
    pub now_ms: Option<UnixMs>,
    /// Where, degrees.
    pub position: Option<(f64, f64)>,
    /// How fast, m/s.
    pub speed_mps: Option<f64>,
    /// Whereto, degrees true.
    pub course_deg: Option<f64>,
    /// The source.
    pub source: Option<String>,
}

/// The present with a newer sighting in it; none when the sighting is older: then it is stored and sent, not applied.
///
/// The place is not touched: [`placing`] and [`step`] decide on that.
#[must_use]
pub fn see(present: Option<&AssetState>, seen: &Sighting) -> Option<AssetState> {
    if present.is_some_and(|present| is_older(seen, present)) {
        return None;
    }
    Some(AssetState {
        asset: seen.asset.clone(),
        id: seen.id,
        seq: present.map_or(seen.seq, |present| present.seq.max(seen.seq)),
        ts_ms: seen.ts_ms,
        tq: seen.tq,
        received: seen.received,
        position: seen.position.or_else(|| present.and_then(|present| present.position)),
        speed_mps: seen.speed_mps,
        course_deg: seen.course_deg,
        place: present.and_then(|present| present.place.clone()),
        since_ms: present.and_then(|present| present.since_ms),
        source: seen.source.clone(),
        gps_place: present.and_then(|present| present.gps_place.clone()),
    })
}

/// What happened at its receipt goes by that. Else times of equal trust are compared, and without them the order of
/// receipt decides, which no clock step changes. A present that lies in the future cannot make anything late.
fn is_older(seen: &Sighting, present: &AssetState) -> bool {
    if seen.at_receipt || is_ahead(present.ts_ms, seen.now_ms) {
        return seen.received < present.received;
    }
    let comparable = seen.tq == present.tq || (seen.tq.is_trusted() && present.tq.is_trusted());
    if comparable && seen.tq.is_trusted() {
        return (seen.ts_ms, seen.id) < (present.ts_ms, present.id);
    }
    // Without trust a date that is far off says nothing: one of them must not freeze an asset.
    let is_near = seen.ts_ms.saturating_sub(present.ts_ms).saturating_abs() < NEAR_MS;
    if comparable && is_near && seen.ts_ms != present.ts_ms {
        return seen.ts_ms < present.ts_ms;
    }
    seen.received < present.received
}

fn is_ahead(ts_ms: UnixMs, now_ms: Option<UnixMs>) -> bool {
    now_ms.is_some_and(|now_ms| ts_ms > now_ms.saturating_add(AHEAD_MS))
}

/// Whether a time that was noted of an asset cannot be right if a newer sighting of it is: it lies ahead of a trusted time
/// or, where there is none, so far ahead that one of the dates is wrong.
#[must_use]
pub fn is_no_time_for(ts_ms: UnixMs, seen: &Sighting) -> bool {
    let is_far = !seen.tq.is_trusted() && ts_ms.saturating_sub(seen.ts_ms) >= NEAR_MS;
    is_far || is_ahead(ts_ms, seen.now_ms)
}

/// Where a statement belongs among all that was said of its asset's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placing {
    /// After the last one: it is about the present.
    Next(SaidKey),
    /// Before it: the history changes, and the present only where nothing later spoke of it.
    Late(SaidKey),
    /// Before it, but nobody knows where: no time of it can be trusted.
    Unplaceable,
}

/// Places the `nth` statement of an event after, or before, the last one that was made.
#[must_use]
pub fn placing(last: Option<&Said>, seen: &Sighting, nth: i64) -> Placing {
    let own = |order_ms| SaidKey { order_ms, nudge: 0, cause: seen.id, nth };
    let is_trusted = seen.tq.is_trusted();
    let Some(last) = last else { return Placing::Next(own(if is_trusted { seen.ts_ms } else { 0 })) };
    let follows = seen.received >= last.received;
    let after = SaidKey { nudge: last.key.nudge + 1, ..own(last.key.order_ms) };
    let by_receipt = seen.at_receipt || !is_trusted || is_ahead(last.key.order_ms, seen.now_ms);
    match (is_trusted, own(seen.ts_ms)) {
        (true, own) if own > last.key && (follows || !seen.at_receipt) => Placing::Next(own),
        (_, _) if by_receipt && follows => Placing::Next(after),
        (true, own) if own < last.key => Placing::Late(own),
        // Received before the last one, dated after it: the clock was set in between.
        (true, _) => Placing::Late(SaidKey { nudge: last.key.nudge - 1, ..own(last.key.order_ms) }),
        (false, _) => Placing::Unplaceable,
    }
}

/// Where an asset is at one point of its history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The place; none for nowhere that has a name.
    pub place: Option<String>,
    /// When it came there, or left the last one.
    pub since_ms: Option<UnixMs>,
}

/// Hears one statement; answers the turns that follow: exit, then enter.
pub fn step(standing: &mut Standing, said: &Said) -> Vec<Turn> {
    let to = match &said.place {
        PlaceSaid::Unsaid => return Vec::new(),
        PlaceSaid::At(place) if standing.place.as_ref() == Some(place) => return Vec::new(),
        PlaceSaid::At(place) => Some(place.clone()),
        PlaceSaid::GoneFrom(place) if standing.place.as_ref() == Some(place) => None,
        PlaceSaid::GoneFrom(_) => return Vec::new(),
        PlaceSaid::Gone if standing.place.is_some() => None,
        PlaceSaid::Gone => return Vec::new(),
    };
    let from = std::mem::replace(&mut standing.place, to.clone());
    standing.since_ms = Some(said.ts_ms);
    let turn = |change, place| Turn { key: said.key, by: said.by, change, place, since_ms: said.ts_ms, tq: said.tq };
    let (left, entered) = (from.map(|place| turn(Change::Exit, place)), to.map(|place| turn(Change::Enter, place)));
    left.into_iter().chain(entered).collect()
}

/// Tells history anew from a point on: what was said there before, and what is said there now.
#[derive(Clone, Debug, Default)]
pub struct Revision {
    was: Standing,
    is: Standing,
    before: Vec<Turn>,
    after: Vec<Turn>,
}

impl Revision {
    /// Begins where both tellings still agree.
    #[must_use]
    pub fn from(standing: Standing) -> Self {
        Self { was: standing.clone(), is: standing, ..Self::default() }
    }

    /// The next statement, and whether it was made in the old telling and is made in the new.
    pub fn hear(&mut self, said: &Said, was_made: bool, is_made: bool) {
        if was_made {
            self.before.extend(step(&mut self.was, said));
        }
        if is_made {
            self.after.extend(step(&mut self.is, said));
        }
    }

    /// Whether both tellings have come to the same, so that nothing later differs.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.was == self.is
    }

    /// Where the asset is at the end of the new telling.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.is
    }

    /// The turns that no longer hold, and those that now do.
    #[must_use]
    pub fn differences(self) -> (Vec<Turn>, Vec<Turn>) {
        let lacks = |turns: &[Turn], turn: &Turn| !turns.contains(turn);
        let voided = self.before.iter().filter(|turn| lacks(&self.after, turn)).cloned().collect();
        let new = self.after.iter().filter(|turn| lacks(&self.before, turn)).cloned().collect();
        (voided, new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::By;
    use proptest::prelude::*;

    fn seen(ts_ms: i64, tq: TimeQuality, mono_ms: i64) -> Sighting {
        Sighting {
            asset: "TRL-7".into(),
            id: EventId(u128::try_from(ts_ms).unwrap_or(0).to_be_bytes()),
            seq: Seq(mono_ms),
            ts_ms,
            tq,
            received: (1, mono_ms),
            at_receipt: false,
            now_ms: None,
            position: Some((59.0, 11.0)),
            speed_mps: None,
            course_deg: None,
            source: Some("door-3".into()),
        }
    }

    fn said(seen: &Sighting, key: SaidKey, place: PlaceSaid) -> Said {
        Said { key, ts_ms: seen.ts_ms, tq: seen.tq, received: seen.received, place, by: By::Scan }
    }

    fn at(place: &str) -> PlaceSaid {
        PlaceSaid::At(place.into())
    }

    fn key(order_ms: i64) -> SaidKey {
        SaidKey { order_ms, nudge: 0, cause: EventId([0; 16]), nth: 0 }
    }

    #[test]
    fn a_late_event_never_turns_back_the_present() {
        let now = see(None, &seen(2_000, TimeQuality::Ntp, 10)).unwrap();
        assert_eq!(see(Some(&now), &seen(1_000, TimeQuality::Gnss, 11)), None);
    }

    #[test]
    fn times_of_unequal_trust_are_ordered_by_receipt() {
        let future = see(None, &seen(9_999_999_999, TimeQuality::None, 10)).unwrap();
        assert_eq!(see(Some(&future), &seen(1_000, TimeQuality::Ntp, 11)).map(|state| state.ts_ms), Some(1_000));
    }

    #[test]
    fn a_date_far_ahead_that_nobody_can_check_freezes_nothing() {
        let day = 86_400_000;
        let ahead = see(None, &seen(20 * day, TimeQuality::Rtc, 10)).unwrap();
        assert!(see(Some(&ahead), &seen(10 * day, TimeQuality::Rtc, 11)).is_some());
        assert!(see(Some(&ahead), &seen(20 * day - 5_000, TimeQuality::Rtc, 11)).is_none(), "a late one is late");
    }

    #[test]
    fn a_present_in_the_future_of_a_trusted_clock_freezes_nothing() {
        let future = see(None, &seen(9_999_999_999, TimeQuality::Ntp, 10)).unwrap();
        let now = Sighting { now_ms: Some(1_000), ..seen(1_000, TimeQuality::Ntp, 11) };
        assert_eq!(see(Some(&future), &now).map(|state| state.ts_ms), Some(1_000));
        let wrong = seen(9_999_999_999, TimeQuality::Ntp, 10);
        let last = said(&wrong, key(9_999_999_999), at("bay"));
        assert!(matches!(placing(Some(&last), &now, 0), Placing::Next(_)));
    }

    #[test]
    fn a_scan_after_the_clock_was_set_back_is_about_the_present() {
        let scan = |ts_ms, mono_ms, tq| Sighting { at_receipt: true, ..seen(ts_ms, tq, mono_ms) };
        for tq in [TimeQuality::Rtc, TimeQuality::Ntp] {
            let gate = scan(9_000_000, 10, tq);
            let Placing::Next(first) = placing(None, &gate, 0) else { panic!("the first is late") };
            let last = said(&gate, first, at("gate"));
            assert!(matches!(placing(Some(&last), &scan(1_000, 11, tq), 0), Placing::Next(key) if key > first));
            let present = see(None, &gate).unwrap();
            assert!(see(Some(&present), &scan(1_000, 11, tq)).is_some());
            assert!(
                see(Some(&present), &scan(9_999_999, 5, tq)).is_none(),
                "an older receipt is late whatever it says"
            );
        }
    }

    #[test]
    fn a_read_kept_back_and_retried_is_late_and_stands_where_it_happened() {
        let now = Sighting { at_receipt: true, ..seen(20_000, TimeQuality::Ntp, 20) };
        let last = said(&now, key(20_000), at("gate"));
        let kept = Sighting { at_receipt: true, ..seen(5_000, TimeQuality::Ntp, 5) };
        assert!(matches!(placing(Some(&last), &kept, 0), Placing::Late(key) if key.order_ms == 5_000));
        let nowhere = Sighting { tq: TimeQuality::Rtc, ..kept };
        assert_eq!(placing(Some(&last), &nowhere, 0), Placing::Unplaceable);
    }

    #[test]
    fn a_move_leaves_the_old_place_and_enters_the_new_and_staying_is_neither() {
        let mut standing = Standing::default();
        let hear = |standing: &mut Standing, ts_ms, place| {
            let turns = step(standing, &said(&seen(ts_ms, TimeQuality::Ntp, ts_ms), key(ts_ms), place));
            turns.into_iter().map(|turn| (turn.change, turn.place)).collect::<Vec<_>>()
        };
        assert_eq!(hear(&mut standing, 1, at("dock-3")), [(Change::Enter, "dock-3".into())]);
        assert_eq!(
            hear(&mut standing, 2, at("gate")),
            [(Change::Exit, "dock-3".into()), (Change::Enter, "gate".into())]
        );
        assert_eq!(hear(&mut standing, 3, at("gate")), []);
        assert_eq!(hear(&mut standing, 4, PlaceSaid::GoneFrom("dock-3".into())), []);
        assert_eq!(standing, Standing { place: Some("gate".into()), since_ms: Some(2) });
        assert_eq!(hear(&mut standing, 5, PlaceSaid::Gone), [(Change::Exit, "gate".into())]);
    }

    #[test]
    fn a_late_read_tells_history_anew_up_to_where_it_agrees_again() {
        let word = |ts_ms: i64, place| said(&seen(ts_ms, TimeQuality::Ntp, ts_ms), key(ts_ms), place);
        let before = Standing { place: Some("A".into()), since_ms: Some(10) };
        let mut revision = Revision::from(before);
        revision.hear(&word(15, at("B")), false, true);
        assert!(!revision.is_settled());
        revision.hear(&word(20, at("A")), true, true);
        assert_eq!(revision.standing().since_ms, Some(20), "it is there anew");
        let (voided, new) = revision.differences();
        assert!(voided.is_empty());
        let told: Vec<_> = new.iter().map(|turn| (turn.since_ms, turn.change, turn.place.as_str())).collect();
        assert_eq!(
            told,
            [(15, Change::Exit, "A"), (15, Change::Enter, "B"), (20, Change::Exit, "B"), (20, Change::Enter, "A")]
        );
    }

    /// All turns of the statements in the order of their keys.
    fn told(all: &[Said]) -> (Vec<Turn>, Standing) {
        let mut sorted = all.to_vec();
        sorted.sort_by_key(|said| said.key);
        let mut standing = Standing::default();
        let turns = sorted.iter().flat_map(|said| step(&mut standing, said)).collect();
        (turns, standing)
    }

    proptest! {
        #[test]
        fn a_revision_says_exactly_what_telling_all_anew_would(
            places in prop::collection::vec((0..4_u8, any::<bool>()), 1..30),
            late in 0..30_usize
        ) {
            let all: Vec<Said> = places.iter().enumerate().map(|(n, (place, gone))| {
                let ts_ms = i64::try_from(n).unwrap() * 1000;
                let place = format!("bay-{place}");
                let place = if *gone { PlaceSaid::GoneFrom(place) } else { PlaceSaid::At(place) };
                said(&seen(ts_ms, TimeQuality::Gnss, 5), key(ts_ms), place)
            }).collect();
            let late = late % all.len();
            let without: Vec<Said> = all.iter().enumerate().filter(|(n, _)| *n != late).map(|(_, s)| s.clone()).collect();
            let (before, _) = told(&without);
            let (after, end) = told(&all);
            let mut revision = Revision::from(told(&all[..late]).1);
            revision.hear(&all[late], false, true);
            let mut reached_end = true;
            for next in &all[late + 1..] {
                if revision.is_settled() {
                    reached_end = false;
                    break;
                }
                revision.hear(next, true, true);
            }
            if reached_end {
                prop_assert_eq!(revision.standing(), &end);
            }
            let (voided, new) = revision.differences();
            let mut corrected: Vec<Turn> = before.into_iter().filter(|turn| !voided.contains(turn)).chain(new).collect();
            corrected.sort_by_key(|turn| (turn.key, turn.change as i64));
            prop_assert_eq!(corrected, after);
        }
    }
}
