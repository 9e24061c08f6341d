//! The session alone, case by case.

use std::collections::BTreeSet;

use crate::domain::{Lane, Reason, Seq};

use super::lane::{Message, Queued, Track};
use super::script::{Effect, Input, Rules};
use super::session::Session;
use super::world_tests::{RULES, World, policy};

#[test]
fn a_scan_without_trusted_time_holds_its_lane_until_its_time_or_until_the_time_is_trusted() {
    for trusted in [false, true] {
        let mut session = Session::new(RULES, policy(1), Seq(0), Seq(0), Seq(0));
        let message = |payload: &str| Message { topic: "t".into(), payload: payload.into(), ..Message::default() };
        let row = |seq, patient_until_us| Queued {
            seq: Seq(seq),
            message: message("event"),
            is_damaged: false,
            patient_until_us,
        };
        session.step(Input::Connected { receive_max: 10, packet_max: 1000, retains: true }, 0);
        session.step(Input::Head(Seq(4)), 0);
        let scans = vec![row(1, Some(5_000_000)), row(2, None)];
        session.step(Input::Read { track: Track::first(Lane::Scan), rows: scans, seen: Seq(4) }, 0);
        session.step(Input::Read { track: Track::first(Lane::Fix), rows: vec![row(3, None)], seen: Seq(4) }, 0);
        let sent = |session: &mut Session, now_us| {
            let mut effects = Vec::new();
            session.plan(now_us, &mut effects);
            let of = |effect: Effect| match effect {
                Effect::Publish { event, message, .. } => {
                    Some(event.map_or(message.payload, |(_, seq)| seq.0.to_string()))
                }
                _ => None,
            };
            effects.into_iter().filter_map(of).collect::<Vec<_>>()
        };
        assert_eq!(sent(&mut session, 1_000), ["3"], "fixes do not wait for scans");
        assert_eq!(session.due_us(), Some(5_000_000));
        if trusted {
            for boot in [16, 17] {
                session.step(Input::Say(Message { about: boot, ..message(&format!("boot {boot}")) }), 1_000_000);
            }
            session.step(Input::Trusted, 1_000_000);
            assert_eq!(sent(&mut session, 1_000_000), ["boot 16", "boot 17", "1", "2"]);
        } else {
            assert_eq!(sent(&mut session, 4_999_999), Vec::<String>::new());
            assert_eq!(sent(&mut session, 5_000_000), ["1", "2"]);
        }
    }
}

#[test]
fn a_silent_broker_is_dropped_after_the_limit_and_not_before() {
    let mut world = World::new(1);
    world.head = 1;
    world.session.step(Input::Head(Seq(1)), 0);
    world.plan(true);
    world.connect();
    (0..3).for_each(|_| world.plan(true));
    let due = world.session.due_us().unwrap();
    assert_eq!(due, RULES.no_ack_us);
    world.now_us = due - 1;
    world.plan(true);
    assert!(world.up);
    world.now_us = due;
    world.plan(true);
    assert!(!world.up, "given up");
}

#[test]
fn an_event_that_ends_connections_late_is_found_and_taken_for_no_other_client() {
    const POISON: Seq = Seq(2);
    let mut session = Session::new(RULES, policy(1), Seq(6), Seq(0), Seq(6));
    let (mut now_us, mut closed, mut letters) = (0, 0, Vec::new());
    let mut waiting: Option<(u64, Option<Seq>)> = None;
    for _ in 0..200 {
        let mut effects = Vec::new();
        session.plan(now_us, &mut effects);
        for effect in effects {
            match effect {
                Effect::Connect => {
                    // One at a time: others pass before it on each connection.
                    session.step(Input::Connected { receive_max: 1, packet_max: 1000, retains: true }, now_us);
                    session.step(Input::Say(Message { topic: "status".into(), ..Message::default() }), now_us);
                }
                Effect::Publish { ticket, event, .. } => waiting = Some((ticket, event.map(|(_, seq)| seq))),
                Effect::Read { track, after, .. } => {
                    let row = |seq| Queued {
                        seq: Seq(seq),
                        message: Message { topic: "t".into(), payload: "p".into(), ..Message::default() },
                        is_damaged: false,
                        patient_until_us: None,
                    };
                    let is_scan = track == Track::first(Lane::Scan);
                    let rows = if is_scan { (after.0 + 1..=6).map(row).collect() } else { Vec::new() };
                    session.step(Input::Read { track, rows, seen: if is_scan { Seq(6) } else { after } }, now_us);
                }
                Effect::Commit(batch) => {
                    letters.extend(batch.graves.iter().map(|grave| (grave.seq, grave.reason)));
                    session.step(Input::Committed(batch.track), now_us);
                }
                Effect::Drop(reason) => panic!("{reason:?}"),
            }
        }
        match waiting.take() {
            Some((_, Some(POISON))) => {
                closed += 1;
                now_us += 6_000_000;
                session.step(Input::Lost { by_peer: true, code: None, barred: false, taken: false }, now_us);
            }
            Some((ticket, _)) => {
                now_us += 1_000;
                session.step(Input::Answered { ticket, code: 0 }, now_us);
            }
            None => now_us = session.due_us().map_or(now_us + 1_000_000, |at| at.max(now_us + 1_000)),
        }
    }
    assert_eq!((closed, letters.as_slice()), (3, [(POISON, Reason::Poison)].as_slice()));
    assert!(!session.rival().is_there(), "{:?}", session.rival());
}

/// Publishes in flight, as configured by default.
const WINDOW: usize = 64;

/// What a broker does with a publish.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Answers,
    /// Never answers it.
    Forgets,
    /// Never answers it, nor anything after it.
    FallsSilent,
}

/// What came of scans that were sent to a broker.
struct Came {
    /// When the last that was taken was.
    taken_us: i64,
    drops: usize,
    letters: Vec<(Seq, Reason)>,
    taken: BTreeSet<i64>,
    head: i64,
}

/// Sends scans to a broker that answers in order, within a millisecond, as `manner` says of the place of a publish on its
/// connection and of its event; until all is settled. One scan more comes after the second connection, as in a quiet hour.
fn send(mut head: i64, manner: impl Fn(usize, Option<Seq>) -> Manner) -> Came {
    let rules = Rules { window: WINDOW, ..RULES };
    let mut session = Session::new(rules, policy(1), Seq(head), Seq(0), Seq(head));
    let (mut now_us, mut taken_us, mut drops, mut letters, mut taken) = (0, 0, 0, Vec::new(), BTreeSet::new());
    let (mut wire, mut sent): (Vec<(u64, usize, Option<Seq>)>, usize) = (Vec::new(), 0);
    while !(session.is_drained() && session.is_quiet()) {
        assert!(now_us < 3_600_000_000, "{drops} {letters:?} {taken:?}");
        let mut effects = Vec::new();
        session.plan(now_us, &mut effects);
        let is_still = effects.is_empty();
        for effect in effects {
            match effect {
                Effect::Connect => {
                    session.step(Input::Connected { receive_max: WINDOW, packet_max: 1000, retains: true }, now_us);
                    session.step(Input::Say(Message { topic: "status".into(), ..Message::default() }), now_us);
                }
                Effect::Publish { ticket, event, .. } => {
                    sent += 1;
                    wire.push((ticket, sent, event.map(|(_, seq)| seq)));
                }
                Effect::Read { track, after, limit } => {
                    let row = |seq| Queued {
                        seq: Seq(seq),
                        message: Message { topic: "t".into(), payload: "p".into(), ..Message::default() },
                        is_damaged: false,
                        patient_until_us: None,
                    };
                    let is_scan = track == Track::first(Lane::Scan);
                    let rows: Vec<Queued> =
                        if is_scan { (after.0 + 1..=head).take(limit).map(row).collect() } else { Vec::new() };
                    let seen = rows.last().map_or(Seq(head), |row| row.seq);
                    session.step(Input::Read { track, rows, seen }, now_us);
                }
                Effect::Commit(batch) => {
                    letters.extend(batch.graves.iter().map(|grave| (grave.seq, grave.reason)));
                    session.step(Input::Committed(batch.track), now_us);
                }
                Effect::Drop(_) => {
                    drops += 1;
                    (wire, sent) = (Vec::new(), 0);
                    session.step(Input::Lost { by_peer: false, code: None, barred: false, taken: false }, now_us);
                    if drops == 2 {
                        head += 1;
                        session.step(Input::Head(Seq(head)), now_us);
                    }
                }
            }
        }
        if !is_still {
            continue;
        }
        let heard = wire.iter().take_while(|(_, nth, seq)| manner(*nth, *seq) != Manner::FallsSilent);
        let next = heard.copied().find(|(_, nth, seq)| manner(*nth, *seq) == Manner::Answers);
        if let Some((ticket, _, seq)) = next {
            now_us += 1_000;
            wire.retain(|(one, ..)| *one != ticket);
            if let Some(Seq(seq)) = seq {
                taken.insert(seq);
                taken_us = now_us;
            }
            session.step(Input::Answered { ticket, code: 0 }, now_us);
        } else {
            now_us = session.due_us().map_or(now_us + 1_000_000, |at| at.max(now_us + 1_000));
        }
    }
    Came { taken_us, drops, letters, taken, head }
}

#[test]
fn an_event_after_which_the_broker_answers_nothing_is_found_and_the_others_arrive() {
    let came = send(40, |_, seq| if seq == Some(Seq(2)) { Manner::FallsSilent } else { Manner::Answers });
    assert_eq!(came.letters, [(Seq(2), Reason::Poison)]);
    assert_eq!(came.taken, (1..=came.head).filter(|seq| *seq != 2).collect());
    assert!(came.drops <= 6, "{} connections given up", came.drops);
}

#[test]
fn a_place_on_each_connection_that_is_never_acknowledged_holds_up_one_event_at_most() {
    for place in 1..=12 {
        let came = send(1_000, |nth, _| if nth == place { Manner::Forgets } else { Manner::Answers });
        // The last one may come to it each time, as there is no other to take the place.
        let last: BTreeSet<i64> = came.letters.iter().map(|(seq, _)| seq.0).collect();
        assert!(last.len() <= 1, "{place}: {:?}", came.letters);
        let arrived: BTreeSet<i64> = came.taken.union(&last).copied().collect();
        assert_eq!(arrived, (1..=came.head).collect(), "{place}");
        // Each connection lets all but one of a window pass, the first is given up after twenty seconds, then ever sooner.
        assert!(came.taken_us < 60_000_000, "{place}: {} s", came.taken_us / 1_000_000);
    }
}
