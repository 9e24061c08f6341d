//! The session driven by dice: a broker that loses, refuses and reorders, a store that fails, and no clock but a number.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::domain::{Lane, Reason, Seq};
use crate::health::ReconnectReason;

use super::backoff::Dice;
use super::lane::{Batch, Message, Queued, Track};
use super::script::{Effect, Input, Rules};
use super::session::Session;

pub(super) const RULES: Rules = Rules {
    window: 10,
    hold_unheard: true,
    no_ack_us: 20_000_000,
    retry_base_us: 1_000_000,
    retry_cap_us: 10_000_000,
    attempts: 10,
    gather_us: 100_000,
    gather_max: 64,
    max_per_s: 0,
    mib_per_day: 0,
};

fn lane_of(seq: i64) -> Lane {
    if seq % 3 == 0 { Lane::Scan } else { Lane::Fix }
}

/// A node, a broker and the way between them.
struct World {
    session: Session,
    dice: Dice,
    now_us: i64,
    head: i64,
    up: bool,
    /// Unanswered publishes of this connection: ticket and event.
    wire: VecDeque<(u64, Option<Seq>)>,
    /// What the broker took, per event.
    taken: BTreeMap<i64, u32>,
    cursors: BTreeMap<&'static str, Seq>,
    counts: (i64, i64),
    letters: BTreeMap<i64, Reason>,
    /// Dead events that a person wants sent again.
    waiting: BTreeSet<i64>,
    /// Those that were, and how often one was asked for.
    resent: (i64, u32),
    /// First publishes, to see that each lane goes in order.
    first: BTreeMap<&'static str, Vec<i64>>,
    window: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let session = Session::new(RULES, Seq(0), Seq(0), Seq(0));
        Self {
            session,
            dice: Dice::new(seed),
            now_us: 0,
            head: 0,
            up: false,
            wire: VecDeque::new(),
            taken: BTreeMap::new(),
            cursors: BTreeMap::from([("scan", Seq(0)), ("fix", Seq(0))]),
            counts: (0, 0),
            letters: BTreeMap::new(),
            waiting: BTreeSet::new(),
            resent: (0, 0),
            first: BTreeMap::new(),
            window: 10,
        }
    }

    fn chance(&mut self, of: f64) -> bool {
        self.dice.roll() < of
    }

    fn pick(&mut self, below: usize) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "small"
        )]
        let pick = (self.dice.roll() * below as f64) as usize;
        pick.min(below - 1)
    }

    fn plan(&mut self, calm: bool) {
        let mut effects = Vec::new();
        self.session.plan(self.now_us, &mut effects);
        for effect in effects {
            match effect {
                Effect::Publish { ticket, event, .. } => self.publish(ticket, event),
                Effect::Read { track, after, limit } => self.read(track, after, limit, calm),
                Effect::Commit(batch) => self.commit(&batch, calm),
                Effect::Drop(reason) => {
                    assert_eq!(reason, ReconnectReason::NoAck);
                    self.lose(false);
                }
            }
        }
    }

    fn publish(&mut self, ticket: u64, event: Option<(Lane, Seq)>) {
        assert!(self.up, "nothing is sent without a connection");
        self.wire.push_back((ticket, event.map(|(_, seq)| seq)));
        let oldest = self.wire.iter().map(|(ticket, _)| *ticket).min().unwrap();
        assert!(ticket - oldest < self.window as u64, "the span stays within the window");
        if let Some((lane, seq)) = event {
            if self.waiting.contains(&seq.0) {
                return;
            }
            assert!(
                seq > self.cursors[lane.as_str()],
                "what the cursor has passed is sent only when somebody asks for it"
            );
            assert!(!self.letters.contains_key(&seq.0), "the dead are not sent");
            let firsts = self.first.entry(lane.as_str()).or_default();
            if firsts.last().is_none_or(|last| *last < seq.0) {
                firsts.push(seq.0);
            }
        }
    }

    fn read(&mut self, track: Track, after: Seq, limit: usize, calm: bool) {
        if !calm && self.chance(0.1) {
            self.session.step(Input::ReadFailed(track), self.now_us);
            return;
        }
        let lane = track.lane;
        let mut rows = Vec::new();
        let queued = |seq: i64| {
            let message = Message { topic: "t".into(), payload: "p".into(), ..Message::default() };
            // Some wait for a time: a fact of the event, whenever it is read.
            let patient_until_us = (lane == Lane::Scan && seq % 7 == 0).then_some(seq * 200_000);
            Queued { seq: Seq(seq), message, is_damaged: false, patient_until_us }
        };
        if track.again {
            rows.extend(self.waiting.iter().filter(|seq| lane_of(**seq) == lane).take(limit).map(|seq| queued(*seq)));
            self.session.step(Input::Read { track, rows, seen: after }, self.now_us);
            return;
        }
        let mut seen = after.0;
        while seen < self.head && rows.len() < limit {
            seen += 1;
            if lane_of(seen) == lane {
                rows.push(queued(seen));
            }
        }
        self.session.step(Input::Read { track, rows, seen: Seq(seen) }, self.now_us);
    }

    fn commit(&mut self, batch: &Batch, calm: bool) {
        if !calm && self.chance(0.1) {
            self.session.step(Input::CommitFailed(batch.track), self.now_us);
            return;
        }
        let Track { lane, again, .. } = batch.track;
        if again {
            for (seq, _) in &batch.taken {
                assert!(
                    self.waiting.remove(&seq.0) && self.taken.contains_key(&seq.0),
                    "{seq:?} was asked for and taken"
                );
                self.resent.0 += 1;
            }
            for grave in &batch.graves {
                assert!(self.waiting.remove(&grave.seq.0));
                self.letters.insert(grave.seq.0, grave.reason);
            }
            self.session.step(Input::Committed(batch.track), self.now_us);
            return;
        }
        let cursor = self.cursors.get_mut(lane.as_str()).unwrap();
        assert_eq!(*cursor, batch.from, "batches follow one another");
        let between = (batch.from.0 + 1..=batch.through.0).filter(|seq| lane_of(*seq) == lane).count();
        assert_eq!(i64::try_from(between).unwrap(), batch.settled(), "the counts are those of the rows passed");
        for grave in &batch.graves {
            self.letters.insert(grave.seq.0, grave.reason);
        }
        for seq in (batch.from.0 + 1..=batch.through.0).filter(|seq| lane_of(*seq) == lane) {
            assert!(self.taken.contains_key(&seq) || self.letters.contains_key(&seq), "{seq} was taken or is a letter");
        }
        *cursor = batch.through;
        self.counts = (self.counts.0 + batch.sent, self.counts.1 + batch.unheard);
        self.session.step(Input::Committed(batch.track), self.now_us);
    }

    fn connect(&mut self) {
        self.up = true;
        self.wire.clear();
        self.window = 1 + self.pick(10);
        self.session.step(Input::Connected { receive_max: self.window, packet_max: 1000, retains: true }, self.now_us);
        let hello = Message { topic: "status".into(), payload: "on".into(), retain: true, about: 0 };
        self.session.step(Input::Say(hello), self.now_us);
    }

    fn lose(&mut self, by_peer: bool) {
        self.up = false;
        self.wire.clear();
        self.session.step(Input::Lost { by_peer, code: None }, self.now_us);
    }

    /// Answers one publish, mostly the oldest.
    fn answer(&mut self, calm: bool) {
        if self.wire.is_empty() {
            return;
        }
        let at = if !calm && self.chance(0.2) { self.pick(self.wire.len()) } else { 0 };
        let Some((ticket, event)) = self.wire.remove(at) else { return };
        let code = match self.pick(20) {
            0 if !calm => 0x10,
            1 if !calm => 0x87,
            2 if !calm => 0x97,
            3 if !calm && event.is_some_and(|seq| seq.0 % 50 == 7) => 0x99,
            _ => 0x00,
        };
        if let (0, Some(seq)) = (code, event) {
            *self.taken.entry(seq.0).or_default() += 1;
        }
        self.session.step(Input::Answered { ticket, code }, self.now_us);
    }

    /// A person retries a letter.
    fn retry(&mut self) {
        if let Some((seq, _)) = self.letters.pop_first() {
            self.waiting.insert(seq);
            self.resent.1 += 1;
            self.session.step(Input::Resend, self.now_us);
        }
    }

    fn turn(&mut self, calm: bool) {
        self.now_us += i64::try_from(self.pick(200_000)).unwrap();
        match (self.up, self.pick(40)) {
            (false, 0..10) => self.connect(),
            (true, 0) if !calm => {
                let by_peer = self.chance(0.7);
                self.lose(by_peer);
            }
            (true, 1) if calm => drop(self.session.step(Input::Trusted, self.now_us).is_some()),
            (true, _) => (0..self.pick(6)).for_each(|_| self.answer(calm)),
            _ => {}
        }
        self.plan(calm);
    }
}

#[test]
fn whatever_the_dice_do_every_event_is_taken_or_a_letter_and_counted_once() {
    let mut resent = 0;
    for seed in 0..300 {
        let mut world = World::new(seed);
        while world.head < 300 {
            world.head += i64::try_from(world.pick(4)).unwrap();
            let head = Seq(world.head);
            world.session.step(Input::Head(head), world.now_us);
            world.turn(false);
            if world.chance(0.2) {
                world.retry();
            }
        }
        let mut turns = 0;
        while !(world.session.is_drained() && world.session.is_quiet()) {
            world.turn(true);
            turns += 1;
            assert!(turns < 20_000, "seed {seed} never drains: {:?}", world.session);
        }
        let (sent, unheard) = world.counts;
        let letters = i64::try_from(world.letters.len()).unwrap();
        assert_eq!((sent + letters + world.resent.0, unheard), (world.head, 0), "seed {seed}");
        assert!(world.waiting.is_empty(), "seed {seed}: {:?}", world.waiting);
        resent += world.resent.0;
        for (lane, firsts) in &world.first {
            let all: Vec<i64> = (1..=world.head).filter(|seq| lane_of(*seq).as_str() == *lane).collect();
            assert_eq!(firsts, &all, "seed {seed}: first publishes of {lane} go in order, none left out");
        }
        let allowed = |(seq, reason): (&i64, &Reason)| *reason == Reason::BadFormat && seq % 50 == 7;
        assert!(world.letters.iter().all(allowed), "seed {seed}: {:?}", world.letters);
    }
    assert!(resent > 50, "{resent} letters were retried and sent");
}

#[test]
fn a_scan_without_trusted_time_holds_its_lane_until_its_time_or_until_the_time_is_trusted() {
    for trusted in [false, true] {
        let mut session = Session::new(RULES, Seq(0), Seq(0), Seq(0));
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
