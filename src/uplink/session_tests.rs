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

/// Publishes in flight, as configured by default.
const WINDOW: usize = 64;
/// How long a broker takes to end a connection.
const CLOSES_US: i64 = 6_000_000;

/// What a broker does with a publish.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Answers,
    /// Never answers it.
    Forgets,
    /// Never answers it, nor anything after it.
    FallsSilent,
    /// Ends the connection.
    Closes,
}

/// What came of scans that were sent to a broker.
#[derive(Default)]
struct Came {
    /// When the last that was taken was.
    taken_us: i64,
    /// Connections that the node gave up, and that the broker ended.
    drops: usize,
    closed: usize,
    letters: Vec<(Seq, Reason)>,
    taken: BTreeSet<i64>,
    head: i64,
    /// Whether another client was taken to be after its name.
    has_rival: bool,
}

impl Came {
    fn take(&mut self, seq: Option<Seq>, now_us: i64) {
        if let Some(Seq(seq)) = seq {
            self.taken.insert(seq);
            self.taken_us = now_us;
        }
    }
}

/// The next rows of a lane; only scans are there.
fn rows(track: Track, after: Seq, limit: usize, head: i64) -> Input {
    let row = |seq| Queued {
        seq: Seq(seq),
        message: Message { topic: "t".into(), payload: "p".into(), ..Message::default() },
        is_damaged: false,
        patient_until_us: None,
    };
    let is_scan = track == Track::first(Lane::Scan);
    let rows: Vec<Queued> = if is_scan { (after.0 + 1..=head).take(limit).map(row).collect() } else { Vec::new() };
    let seen = rows.last().map_or(Seq(head), |row| row.seq);
    Input::Read { track, rows, seen }
}

/// Sends scans to a broker that answers in order, within a millisecond, as `manner` says of the place of a publish on its
/// connection and of its event; until all is settled. One scan more comes after the second connection, as in a quiet hour.
fn send(mut head: i64, window: usize, manner: impl Fn(usize, Option<Seq>) -> Manner) -> Came {
    let rules = Rules { window, ..RULES };
    let mut session = Session::new(rules, policy(1), Seq(head), Seq(0), Seq(head));
    let mut came = Came::default();
    let (mut now_us, mut sent) = (0, 0);
    let mut wire: Vec<(u64, usize, Option<Seq>)> = Vec::new();
    while !(session.is_drained() && session.is_quiet()) {
        assert!(now_us < 3_600_000_000, "{} {:?} {:?}", came.drops, came.letters, came.taken);
        let mut effects = Vec::new();
        session.plan(now_us, &mut effects);
        let is_still = effects.is_empty();
        let mut lost = None;
        for effect in effects {
            match effect {
                Effect::Connect => {
                    session.step(Input::Connected { receive_max: window, packet_max: 1000, retains: true }, now_us);
                    session.step(Input::Say(Message { topic: "status".into(), ..Message::default() }), now_us);
                }
                Effect::Publish { ticket, event, .. } => {
                    sent += 1;
                    wire.push((ticket, sent, event.map(|(_, seq)| seq)));
                }
                Effect::Read { track, after, limit } => {
                    session.step(rows(track, after, limit, head), now_us);
                }
                Effect::Commit(batch) => {
                    came.letters.extend(batch.graves.iter().map(|grave| (grave.seq, grave.reason)));
                    session.step(Input::Committed(batch.track), now_us);
                }
                Effect::Drop(_) => lost = Some(false),
            }
        }
        let is_heard = |one: &&(u64, usize, Option<Seq>)| manner(one.1, one.2) != Manner::FallsSilent;
        let next = wire.iter().take_while(is_heard).find(|one| manner(one.1, one.2) != Manner::Forgets).copied();
        match next.filter(|_| is_still) {
            Some((_, nth, seq)) if manner(nth, seq) == Manner::Closes => {
                now_us += CLOSES_US;
                lost = Some(true);
            }
            Some((ticket, _, seq)) => {
                now_us += 1_000;
                wire.retain(|(one, ..)| *one != ticket);
                came.take(seq, now_us);
                session.step(Input::Answered { ticket, code: 0 }, now_us);
            }
            None if is_still => now_us = session.due_us().map_or(now_us + 1_000_000, |at| at.max(now_us + 1_000)),
            None => {}
        }
        if let Some(by_peer) = lost {
            (wire, sent) = (Vec::new(), 0);
            came.drops += usize::from(!by_peer);
            came.closed += usize::from(by_peer);
            session.step(Input::Lost { by_peer, code: None, barred: false, taken: false }, now_us);
            if came.drops + came.closed == 2 {
                head += 1;
                session.step(Input::Head(Seq(head)), now_us);
            }
        }
    }
    Came { head, has_rival: session.rival().is_there(), ..came }
}

#[test]
fn an_event_that_ends_connections_late_is_found_and_taken_for_no_other_client() {
    // One at a time: others pass before it on each connection.
    let came = send(6, 1, |_, seq| if seq == Some(Seq(2)) { Manner::Closes } else { Manner::Answers });
    assert_eq!((came.closed, came.letters.as_slice()), (3, [(Seq(2), Reason::Poison)].as_slice()));
    assert!(!came.has_rival);
}

#[test]
fn an_event_after_which_the_broker_answers_nothing_is_found_and_the_others_arrive() {
    let came = send(40, WINDOW, |_, seq| if seq == Some(Seq(2)) { Manner::FallsSilent } else { Manner::Answers });
    assert_eq!(came.letters, [(Seq(2), Reason::Poison)]);
    assert_eq!(came.taken, (1..=came.head).filter(|seq| *seq != 2).collect());
    assert!(came.drops <= 6, "{} connections given up", came.drops);
}

#[test]
fn a_place_on_each_connection_that_is_never_acknowledged_holds_up_one_event_at_most() {
    for place in 1..=12 {
        let came = send(1_000, WINDOW, |nth, _| if nth == place { Manner::Forgets } else { Manner::Answers });
        // The last one may come to it each time, as there is no other to take the place.
        let last: BTreeSet<i64> = came.letters.iter().map(|(seq, _)| seq.0).collect();
        assert!(last.len() <= 1, "{place}: {:?}", came.letters);
        let arrived: BTreeSet<i64> = came.taken.union(&last).copied().collect();
        assert_eq!(arrived, (1..=came.head).collect(), "{place}");
        // Each connection lets all but one of a window pass, the first is given up after twenty seconds, then ever sooner.
        assert!(came.taken_us < 60_000_000, "{place}: {} s", came.taken_us / 1_000_000);
    }
}
