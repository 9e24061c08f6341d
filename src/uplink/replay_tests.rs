//! The share that a replay has of the session: what the lanes leave, a quarter of the window, and nothing of the cursors.

use std::collections::VecDeque;

use crate::domain::{Lane, Seq};

use super::lane::{Message, Queued, Track};
use super::script::{Effect, Input};
use super::session::Session;
use super::world_tests::{RULES, policy};

/// A session that is connected, and what it publishes: ticket and event, none for what is replayed.
struct World {
    session: Session,
    wire: VecDeque<(u64, Option<Seq>)>,
    /// What came of the replay's commits.
    through: Vec<(Seq, Seq, i64)>,
    scans: i64,
    now_us: i64,
}

impl World {
    fn new(head: i64, scans: i64) -> Self {
        let mut session = Session::new(RULES, policy(1), Seq(head), Seq(head - scans), Seq(head));
        session.step(Input::Connected { receive_max: 100, packet_max: 1 << 20, retains: true }, 0);
        Self { session, wire: VecDeque::new(), through: Vec::new(), scans, now_us: 0 }
    }

    fn plan(&mut self) {
        let mut effects = Vec::new();
        self.session.plan(self.now_us, &mut effects);
        for effect in effects {
            match effect {
                Effect::Publish { ticket, event, .. } => self.wire.push_back((ticket, event.map(|(_, seq)| seq))),
                Effect::Read { track, after, limit } => self.read(track, after, limit),
                Effect::Commit(batch) => {
                    if batch.track.replay {
                        self.through.push((batch.from, batch.through, batch.sent));
                    }
                    self.session.step(Input::Committed(batch.track), self.now_us);
                }
                Effect::Connect => {}
                Effect::Drop(reason) => panic!("{reason:?}"),
            }
        }
    }

    fn read(&mut self, track: Track, after: Seq, limit: usize) {
        let queued =
            |seq| Queued { seq: Seq(seq), message: Message::default(), patient_until_us: None, is_damaged: false };
        let wanted = track.replay || track == Track::first(Lane::Scan) && self.scans > 0;
        let end = after.0 + if wanted { i64::try_from(limit).unwrap() } else { 0 };
        // Of a replay each third event is not there any more.
        let rows = (after.0 + 1..=end).filter(|seq| !track.replay || seq % 3 > 0).map(queued).collect();
        self.session.step(Input::Read { track, rows, seen: Seq(end.max(after.0)) }, self.now_us);
    }

    fn answer(&mut self) -> Option<Option<Seq>> {
        let (ticket, event) = self.wire.pop_front()?;
        self.now_us += 1_000;
        self.session.step(Input::Answered { ticket, code: 0 }, self.now_us);
        Some(event)
    }
}

#[test]
fn a_replay_alone_has_a_quarter_of_the_window_and_goes_to_its_end() {
    let mut world = World::new(1_000, 0);
    world.session.step(Input::Replay(Some((Seq(99), Seq(400)))), 0);
    let mut replayed = 0;
    for _ in 0..10_000 {
        world.plan();
        world.plan();
        assert!(world.wire.len() <= RULES.window / 4, "{} in flight", world.wire.len());
        let Some(event) = world.answer() else {
            world.now_us += 200_000;
            if world.session.is_replayed() {
                break;
            }
            continue;
        };
        assert_eq!(event, None, "no event counts as sent by it");
        replayed += 1;
    }
    assert!(world.session.is_replayed());
    // The last look goes as far as it was asked to, beyond the end: only who reads knows the end.
    assert!(replayed >= 200 && world.through.first().unwrap().0 == Seq(99), "{replayed} {:?}", world.through);
    assert!(world.through.windows(2).all(|two| two[0].1 == two[1].0), "each begins where the one before ended");
    assert_eq!(world.through.iter().map(|(_, _, sent)| sent).sum::<i64>(), replayed);
    assert_eq!(world.session.lane(Lane::Scan).1, Seq(1_000), "no cursor moves");
    world.session.step(Input::Replay(None), world.now_us);
    assert!(!world.session.is_replayed() && world.session.is_drained());
}

#[test]
fn a_backlog_leaves_a_replay_one_turn_in_five() {
    let mut world = World::new(1_000_000, 900_000);
    world.session.step(Input::Replay(Some((Seq(0), Seq(90_000)))), 0);
    let mut kinds = Vec::new();
    for _ in 0..2_000 {
        world.plan();
        kinds.extend(world.answer().map(|event| event.is_none()));
    }
    let replayed = kinds.iter().filter(|one| **one).count();
    assert!((kinds.len() / 6..=kinds.len() / 5 + 1).contains(&replayed), "{replayed} of {}", kinds.len());
}

#[test]
fn a_replay_goes_on_after_a_lost_connection_with_what_was_not_answered() {
    let mut world = World::new(1_000, 0);
    world.session.step(Input::Replay(Some((Seq(0), Seq(50)))), 0);
    world.plan();
    world.plan();
    let flew = world.wire.len();
    assert!(flew > 0);
    world.wire.clear();
    world.session.step(Input::Lost { by_peer: false, code: None, barred: false, taken: false }, 0);
    world.session.step(Input::Connected { receive_max: 100, packet_max: 1 << 20, retains: true }, 0);
    world.plan();
    assert_eq!(world.wire.len(), flew);
}

#[test]
fn a_replay_that_runs_keeps_no_change_of_the_name_waiting() {
    let mut world = World::new(1_000, 0);
    world.session.step(Input::Replay(Some((Seq(0), Seq(400)))), 0);
    world.plan();
    world.plan();
    assert!(!world.wire.is_empty() && !world.session.is_replayed());
    assert!(world.session.has_settled(Seq(1_000)), "the lanes have sent all of theirs");
}

#[test]
fn the_end_of_a_replay_that_is_told_late_does_not_end_the_next() {
    let mut world = World::new(1_000, 0);
    world.session.step(Input::Replay(Some((Seq(0), Seq(50)))), 0);
    world.session.step(Input::Replay(None), 0);
    world.plan();
    world.plan();
    assert!(!world.wire.is_empty(), "it is sent");
}
