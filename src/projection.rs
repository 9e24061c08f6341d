//! The out-of-order rule, alone in a file: what a new sighting makes of an asset's present state.
//! **Invariant:** a late or doubtful event never turns back the present.

use crate::domain::{AssetState, EventId, Seq, TimeQuality, UnixMs};

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
    /// Where, degrees.
    pub position: Option<(f64, f64)>,
    /// How fast, m/s.
    pub speed_mps: Option<f64>,
    /// Whereto, degrees true.
    pub course_deg: Option<f64>,
    /// What it says of the asset's place.
    pub place: PlaceSaid,
    /// The source.
    pub source: Option<String>,
}

/// What an event says of an asset's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceSaid {
    /// Nothing.
    Unsaid,
    /// It is there now.
    At(String),
    /// It is gone from there.
    GoneFrom(String),
}

/// What became of the present.
#[derive(Clone, Debug, PartialEq)]
pub enum Folded {
    /// It moved on: the new state, the place left and the place entered.
    Advanced(Box<AssetState>, Option<String>, Option<String>),
    /// The sighting is older than the present: stored and sent, not applied.
    Late,
}

/// Folds a sighting into the state of its asset.
#[must_use]
pub fn fold(present: Option<&AssetState>, seen: &Sighting) -> Folded {
    if present.is_some_and(|present| is_older(seen, present)) {
        return Folded::Late;
    }
    let was_at = present.and_then(|present| present.place.clone());
    let (place, left, entered) = match &seen.place {
        PlaceSaid::Unsaid => (was_at, None, None),
        PlaceSaid::At(place) if was_at.as_ref() == Some(place) => (was_at, None, None),
        PlaceSaid::At(place) => (Some(place.clone()), was_at, Some(place.clone())),
        PlaceSaid::GoneFrom(place) if was_at.as_ref() == Some(place) => (None, was_at, None),
        PlaceSaid::GoneFrom(_) => (was_at, None, None),
    };
    let moved = left.is_some() || entered.is_some();
    let state = AssetState {
        asset: seen.asset.clone(),
        id: seen.id,
        seq: seen.seq,
        ts_ms: seen.ts_ms,
        tq: seen.tq,
        received: seen.received,
        position: seen.position.or_else(|| present.and_then(|present| present.position)),
        speed_mps: seen.speed_mps,
        course_deg: seen.course_deg,
        since_ms: if moved { Some(seen.ts_ms) } else { present.and_then(|present| present.since_ms) },
        place,
        source: seen.source.clone(),
    };
    Folded::Advanced(Box::new(state), left, entered)
}

/// What happened at its receipt goes by that. Else times of equal trust are compared, and without them the order of
/// receipt decides, which no clock step changes.
fn is_older(seen: &Sighting, present: &AssetState) -> bool {
    if seen.at_receipt {
        return seen.received < present.received;
    }
    let comparable = seen.tq == present.tq || (seen.tq.is_trusted() && present.tq.is_trusted());
    if comparable && seen.ts_ms != present.ts_ms {
        return seen.ts_ms < present.ts_ms;
    }
    seen.received < present.received
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(ts_ms: i64, tq: TimeQuality, mono_ms: i64, place: PlaceSaid) -> Sighting {
        Sighting {
            asset: "TRL-7".into(),
            id: EventId([u8::try_from(ts_ms & 0x7f).unwrap_or(0); 16]),
            seq: Seq(mono_ms),
            ts_ms,
            tq,
            received: (1, mono_ms),
            at_receipt: false,
            position: None,
            speed_mps: None,
            course_deg: None,
            place,
            source: Some("door-3".into()),
        }
    }

    fn at(place: &str) -> PlaceSaid {
        PlaceSaid::At(place.into())
    }

    fn advance(present: Option<&AssetState>, seen: &Sighting) -> AssetState {
        match fold(present, seen) {
            Folded::Advanced(state, ..) => *state,
            Folded::Late => panic!("late: {seen:?}"),
        }
    }

    #[test]
    fn a_late_event_never_turns_back_the_present() {
        let now = advance(None, &seen(2_000, TimeQuality::Ntp, 10, at("dock-3")));
        assert_eq!(fold(Some(&now), &seen(1_000, TimeQuality::Gnss, 11, at("gate"))), Folded::Late);
    }

    #[test]
    fn a_scan_after_the_clock_was_set_back_still_moves_its_asset() {
        let scan =
            |ts_ms, mono_ms, place| Sighting { at_receipt: true, ..seen(ts_ms, TimeQuality::Rtc, mono_ms, at(place)) };
        let gate = advance(None, &scan(9_000_000, 10, "gate"));
        let dock = advance(Some(&gate), &scan(1_000, 11, "dock-3"));
        assert_eq!(dock.place.as_deref(), Some("dock-3"));
        assert_eq!(
            fold(Some(&dock), &scan(9_999_999, 5, "bay")),
            Folded::Late,
            "an older receipt is late whatever it says"
        );
    }

    #[test]
    fn times_of_unequal_trust_are_ordered_by_receipt() {
        let future = advance(None, &seen(9_999_999_999, TimeQuality::None, 10, at("dock-3")));
        let state = advance(Some(&future), &seen(1_000, TimeQuality::Ntp, 11, at("gate")));
        assert_eq!(state.place.as_deref(), Some("gate"));
    }

    #[test]
    fn a_move_leaves_the_old_place_and_enters_the_new_and_staying_is_neither() {
        let first = advance(None, &seen(1, TimeQuality::Ntp, 1, at("dock-3")));
        let Folded::Advanced(state, left, entered) = fold(Some(&first), &seen(2, TimeQuality::Ntp, 2, at("gate")))
        else {
            panic!("late");
        };
        assert_eq!((left.as_deref(), entered.as_deref(), state.since_ms), (Some("dock-3"), Some("gate"), Some(2)));
        let again = fold(Some(&state), &seen(3, TimeQuality::Ntp, 3, at("gate")));
        assert!(matches!(again, Folded::Advanced(s, None, None) if s.since_ms == Some(2) && s.ts_ms == 3));
    }

    #[test]
    fn leaving_a_place_it_is_not_at_changes_no_place() {
        let first = advance(None, &seen(1, TimeQuality::Ntp, 1, at("dock-3")));
        let state = advance(Some(&first), &seen(2, TimeQuality::Ntp, 2, PlaceSaid::GoneFrom("gate".into())));
        assert_eq!(state.place.as_deref(), Some("dock-3"));
    }

    proptest! {
        #[test]
        fn any_order_of_the_same_trusted_sightings_ends_in_the_same_state(
            order in Just((0..12_i64).collect::<Vec<_>>()).prop_shuffle()
        ) {
            let mut present: Option<AssetState> = None;
            for n in order {
                let one = seen(n * 1000, TimeQuality::Gnss, 5, at(&format!("bay-{n}")));
                if let Folded::Advanced(state, ..) = fold(present.as_ref(), &one) {
                    present = Some(*state);
                }
            }
            prop_assert_eq!(present.and_then(|p| p.place), Some("bay-11".to_owned()));
        }
    }
}
