//! The session alone in worlds of dice: a broker with every vice, a store that fails, and no clock but a number. Nothing unsafe
//! may be seen while things go wrong; then the world is healed and the backlog must end. `WAYPOST_SEED=<n>` plays one again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::domain::{Lane, Reason, Seq};
use crate::health::ReconnectReason;

use super::backoff::{Decorrelated, Dice};
use super::lane::{Batch, Message, Queued, Track};
use super::script::{Effect, Input, Rules};
use super::session::Session;

pub(super) const RULES: Rules = Rules {
    window: 10,
    hold_unheard: true,
    no_ack_us: 20_000_000,
    healthy_us: 60_000_000,
    retry_base_us: 1_000_000,
    retry_cap_us: 10_000_000,
    attempts: 10,
    gather_us: 100_000,
    held_max: 64,
    max_per_s: 0,
    mib_per_day: 0,
};

/// The backoff that nodes go by.
pub(super) fn policy(seed: u64) -> Decorrelated {
    Decorrelated::new(Duration::from_secs(5), Duration::from_secs(300), Duration::from_secs(30), seed)
}

/// The seeds to be played: those of every day, those of `make faults`, or the one that is asked for.
pub(super) fn seeds() -> Vec<u64> {
    let full = std::env::var("WAYPOST_FAULTS").is_ok_and(|size| size == "full");
    match std::env::var("WAYPOST_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..if full { 10_000 } else { 300 }).collect(),
    }
}

/// Says which world it was, should it end in a panic.
pub(super) struct Named(pub u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("WAYPOST_SEED={} plays this world again", self.0);
        }
    }
}

/// A fault between machine and world, as if the machine had it: a world must see each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// An event is taken for acknowledged without the broker's word.
    SentUnasked,
    /// The second acknowledgement of a packet id answers whatever stands there.
    CountedTwice,
    /// Two publishes of a lane change places.
    OutOfOrder,
    /// More is sent than the broker takes at once.
    Overrun,
    /// What the broker does not bear is not found.
    SuspectLost,
    /// A commit that failed is taken for written.
    CommitLost,
    /// What was in flight when a connection ended is forgotten.
    FlightLost,
}

/// What the broker cannot bear, for ever or until it is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vice {
    /// Ends the connection for it.
    Closes,
    /// Never answers it.
    Ignores,
    /// Refuses it for good.
    Refuses(u8),
    /// Ends the connection with this code.
    Disconnects(u8),
}

/// The last event that any broker cannot bear.
const VICIOUS: i64 = 300;

fn vice_of(seq: i64) -> Option<Vice> {
    match seq % 100 {
        _ if seq > VICIOUS => None,
        7 => Some(Vice::Refuses(0x99)),
        17 => Some(Vice::Refuses(0x90)),
        27 => Some(Vice::Disconnects(0x95)),
        37 => Some(Vice::Closes),
        47 => Some(Vice::Ignores),
        _ => None,
    }
}

fn lane_of(seq: i64) -> Lane {
    if seq % 3 == 0 { Lane::Scan } else { Lane::Fix }
}

/// Bytes of an event's payload: one in forty is larger than some brokers take.
fn size_of(seq: i64) -> usize {
    if seq % 40 == 19 { 600 } else { 20 }
}

/// A node, a broker and the way between them.
pub(super) struct World {
    pub session: Session,
    bug: Bug,
    dice: Dice,
    pub now_us: i64,
    pub head: i64,
    pub up: bool,
    dialling: bool,
    /// The other end is gone and nobody has said so.
    half_open: bool,
    window: usize,
    packet_max: usize,
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
    /// What the world has seen of an event that may make it a letter.
    refusals: BTreeMap<i64, u32>,
    ended_alone: BTreeMap<i64, u32>,
    given_up_on: BTreeMap<i64, u32>,
    was_narrow: bool,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Bug::None)
    }

    fn with(seed: u64, bug: Bug) -> Self {
        let session = Session::new(RULES, policy(seed), Seq(0), Seq(0), Seq(0));
        Self {
            session,
            bug,
            dice: Dice::new(seed),
            now_us: 0,
            head: 0,
            up: false,
            dialling: false,
            half_open: false,
            window: 10,
            packet_max: 1000,
            wire: VecDeque::new(),
            taken: BTreeMap::new(),
            cursors: BTreeMap::from([("scan", Seq(0)), ("fix", Seq(0))]),
            counts: (0, 0),
            letters: BTreeMap::new(),
            waiting: BTreeSet::new(),
            resent: (0, 0),
            first: BTreeMap::new(),
            refusals: BTreeMap::new(),
            ended_alone: BTreeMap::new(),
            given_up_on: BTreeMap::new(),
            was_narrow: false,
        }
    }

    fn step(&mut self, input: Input) {
        self.session.step(input, self.now_us);
    }

    fn chance(&mut self, of: f64) -> bool {
        self.dice.roll() < of
    }

    fn pick(&mut self, below: usize) -> usize {
        usize::try_from(self.dice.below(below as u64)).unwrap()
    }

    pub fn plan(&mut self, calm: bool) {
        let mut effects = Vec::new();
        self.session.plan(self.now_us, &mut effects);
        if self.bug == Bug::OutOfOrder {
            effects.reverse();
        }
        for effect in effects {
            match effect {
                Effect::Connect => {
                    assert!(!self.up && !self.dialling, "one connection at a time");
                    self.dialling = true;
                }
                Effect::Publish { ticket, event, .. } => self.publish(ticket, event),
                Effect::Read { track, after, limit } => self.read(track, after, limit, calm),
                Effect::Commit(batch) => self.commit(&batch, calm),
                Effect::Drop(reason) => {
                    assert_eq!(reason, ReconnectReason::NoAck);
                    if let Some((_, Some(seq))) = self.wire.front() {
                        *self.given_up_on.entry(seq.0).or_default() += 1;
                    }
                    self.lose(false, None);
                }
            }
        }
    }

    fn publish(&mut self, ticket: u64, event: Option<(Lane, Seq)>) {
        assert!(self.up, "nothing is sent without a connection");
        self.wire.push_back((ticket, event.map(|(_, seq)| seq)));
        self.wire.make_contiguous().sort_unstable();
        let oldest = self.wire[0].0;
        assert!(ticket - oldest < self.window as u64, "the span stays within the window");
        if let Some((lane, seq)) = event {
            assert!(size_of(seq.0) < self.packet_max, "what the broker cannot take is not handed over");
            if self.waiting.contains(&seq.0) {
                return;
            }
            assert!(
                seq > self.cursors[lane.as_str()],
                "what the cursor has passed is sent only when somebody asks for it"
            );
            assert!(!self.letters.contains_key(&seq.0), "the dead are not sent");
            let firsts = self.first.entry(lane.as_str()).or_default();
            if !firsts.contains(&seq.0) {
                assert!(firsts.last().is_none_or(|last| *last < seq.0), "first publishes of a lane go in order");
                firsts.push(seq.0);
            }
        }
    }

    fn read(&mut self, track: Track, after: Seq, limit: usize, calm: bool) {
        if !calm && self.chance(0.1) {
            self.step(Input::ReadFailed(track));
            return;
        }
        let lane = track.lane;
        let mut rows = Vec::new();
        let queued = |seq: i64| {
            let message = Message { topic: "t".into(), payload: "p".repeat(size_of(seq)), ..Message::default() };
            // Some wait for a time: a fact of the event, whenever it is read.
            let patient_until_us = (lane == Lane::Scan && seq % 7 == 0).then_some(seq * 200_000);
            Queued { seq: Seq(seq), message, is_damaged: false, patient_until_us }
        };
        if track.again {
            rows.extend(self.waiting.iter().filter(|seq| lane_of(**seq) == lane).take(limit).map(|seq| queued(*seq)));
            self.step(Input::Read { track, rows, seen: after });
            return;
        }
        let mut seen = after.0;
        while seen < self.head && rows.len() < limit {
            seen += 1;
            if lane_of(seen) == lane {
                rows.push(queued(seen));
            }
        }
        self.step(Input::Read { track, rows, seen: Seq(seen) });
    }

    fn commit(&mut self, batch: &Batch, calm: bool) {
        if !calm && self.chance(0.1) {
            let told = if self.bug == Bug::CommitLost { Input::Committed } else { Input::CommitFailed };
            self.step(told(batch.track));
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
                self.letter(grave.seq.0, grave.reason);
            }
            self.step(Input::Committed(batch.track));
            return;
        }
        let cursor = self.cursors.get_mut(lane.as_str()).unwrap();
        assert_eq!(*cursor, batch.from, "batches follow one another");
        let between = (batch.from.0 + 1..=batch.through.0).filter(|seq| lane_of(*seq) == lane).count();
        assert_eq!(i64::try_from(between).unwrap(), batch.settled(), "the counts are those of the rows passed");
        *cursor = batch.through;
        for grave in &batch.graves {
            self.letter(grave.seq.0, grave.reason);
        }
        for seq in (batch.from.0 + 1..=batch.through.0).filter(|seq| lane_of(*seq) == lane) {
            assert!(self.taken.contains_key(&seq) || self.letters.contains_key(&seq), "{seq} was taken or is a letter");
        }
        self.counts = (self.counts.0 + batch.sent, self.counts.1 + batch.unheard);
        self.step(Input::Committed(batch.track));
    }

    /// Whether an event was ever too large for the broker.
    fn outgrew(&self, seq: i64) -> bool {
        self.was_narrow && size_of(seq) > 300
    }

    /// A letter is made only of what the world has seen of that very event.
    fn letter(&mut self, seq: i64, reason: Reason) {
        let seen = |of: &BTreeMap<i64, u32>| of.get(&seq).copied().unwrap_or(0);
        let just = match reason {
            Reason::BadFormat => vice_of(seq) == Some(Vice::Refuses(0x99)),
            Reason::TopicRefused => vice_of(seq) == Some(Vice::Refuses(0x90)),
            Reason::TooLarge => self.outgrew(seq) || vice_of(seq) == Some(Vice::Disconnects(0x95)),
            Reason::BrokerRefused => seen(&self.refusals) >= RULES.attempts,
            Reason::Poison => seen(&self.ended_alone) >= 3 || seen(&self.given_up_on) >= 3,
            _ => false,
        };
        assert!(just, "{seq} is a letter for {reason:?}");
        self.letters.insert(seq, reason);
    }

    /// The try to connect comes to something.
    fn answer_the_dial(&mut self, calm: bool) {
        self.dialling = false;
        if !calm && self.chance(0.3) {
            let barred = self.chance(0.3);
            self.step(Input::Lost { by_peer: false, code: None, barred, taken: false });
            return;
        }
        self.connect();
        if !calm && self.chance(0.1) {
            // Kicked at once, or another took the session over.
            let by_peer = self.chance(0.5);
            self.lose(by_peer, None);
        }
    }

    pub fn connect(&mut self) {
        (self.up, self.half_open) = (true, false);
        self.wire.clear();
        self.window = 1 + self.pick(10);
        self.packet_max = if self.chance(0.3) { 300 } else { 1000 };
        self.was_narrow |= self.packet_max == 300;
        let told = self.window + if self.bug == Bug::Overrun { 3 } else { 0 };
        self.step(Input::Connected { receive_max: told, packet_max: self.packet_max, retains: true });
        let hello = Message { topic: "status".into(), payload: "on".into(), retain: true, about: 0 };
        self.step(Input::Say(hello));
    }

    fn lose(&mut self, by_peer: bool, code: Option<u8>) {
        self.up = false;
        let flying: Vec<i64> = self.wire.iter().filter_map(|(_, event)| event.map(|seq| seq.0)).collect();
        if let ([alone], true) = (&flying[..], by_peer) {
            *self.ended_alone.entry(*alone).or_default() += 1;
        }
        if self.bug == Bug::FlightLost {
            for (ticket, _) in std::mem::take(&mut self.wire) {
                self.step(Input::Answered { ticket, code: 0 });
            }
        }
        self.wire.clear();
        let by_peer = by_peer && self.bug != Bug::SuspectLost;
        self.step(Input::Lost { by_peer, code, barred: false, taken: false });
    }

    /// Deals with one publish, mostly the oldest.
    fn answer(&mut self, calm: bool) {
        if !self.up || self.wire.is_empty() || self.half_open {
            return;
        }
        let mut at = if !calm && self.chance(0.2) { self.pick(self.wire.len()) } else { 0 };
        let vice = |event: Option<Seq>| event.and_then(|seq| vice_of(seq.0));
        while vice(self.wire[at].1) == Some(Vice::Ignores) {
            at += 1;
            if at == self.wire.len() {
                return;
            }
        }
        match vice(self.wire[at].1) {
            Some(Vice::Closes) => return self.lose(true, None),
            Some(Vice::Disconnects(code)) => return self.lose(true, Some(code)),
            _ => {}
        }
        let (ticket, event) = self.wire.remove(at).unwrap();
        let code = match (vice(event), self.pick(24)) {
            (Some(Vice::Refuses(code)), _) => code,
            (_, 0) if !calm => 0x10,
            (_, 1) if !calm => 0x87,
            (_, 2) if !calm => [0x80, 0x83, 0x91, 0x97][self.pick(4)],
            _ => 0x00,
        };
        if let Some(seq) = event {
            match code {
                0 => *self.taken.entry(seq.0).or_default() += 1,
                0x80 | 0x83 | 0x91 | 0x97 => *self.refusals.entry(seq.0).or_default() += 1,
                _ => {}
            }
        }
        if !calm && self.chance(0.03) {
            // Taken, and the word is lost with the connection.
            self.wire.push_front((ticket, event));
            return self.lose(true, None);
        }
        self.step(Input::Answered { ticket, code });
        if !calm && self.chance(0.1) {
            // A second word for the same publish.
            let ticket = if self.bug == Bug::CountedTwice { ticket + 1 } else { ticket };
            self.step(Input::Answered { ticket, code: 0 });
        }
        if self.bug == Bug::SentUnasked
            && self.chance(0.01)
            && let Some((ticket, _)) = self.wire.back().copied()
        {
            self.step(Input::Answered { ticket, code: 0 });
        }
    }

    /// A person retries a letter.
    fn retry(&mut self) {
        if let Some((seq, _)) = self.letters.pop_first() {
            self.waiting.insert(seq);
            self.resent.1 += 1;
            self.step(Input::Resend);
        }
    }

    fn turn(&mut self, calm: bool) {
        self.now_us += i64::try_from(self.pick(200_000)).unwrap();
        if !self.up && !self.dialling && (calm || self.chance(0.05)) {
            // Nothing happens until the next try: the world's clock need not tick through it.
            self.now_us = self.now_us.max(self.session.next_try_us().unwrap_or(i64::MIN));
        }
        if self.half_open && self.chance(0.1) {
            self.now_us += RULES.no_ack_us / 3;
        }
        match (self.up, self.pick(40)) {
            (false, 0..10) if self.dialling => self.answer_the_dial(calm),
            (true, 0) if !calm => {
                let by_peer = self.chance(0.7);
                self.lose(by_peer, None);
            }
            (true, 1) if !calm && self.chance(0.3) => self.half_open = true,
            (true, 1) if calm => self.step(Input::Trusted),
            (true, 2) => self.now_us += RULES.no_ack_us / 5,
            (true, _) => (0..self.pick(6)).for_each(|_| self.answer(calm)),
            _ => {}
        }
        self.plan(calm);
    }
}

/// One world from beginning to end; answers how many letters were retried and sent.
fn play(seed: u64, bug: Bug) -> i64 {
    let mut world = World::with(seed, bug);
    while world.head < VICIOUS {
        world.head += i64::try_from(world.pick(4)).unwrap();
        let head = Seq(world.head);
        world.step(Input::Head(head));
        world.turn(false);
        if world.chance(0.2) {
            world.retry();
        }
    }
    // The broker still bears no event that it did not; others come on.
    let unsettled = |world: &World| world.cursors.values().any(|cursor| cursor.0 < VICIOUS - 3);
    let mut turns = 0;
    while unsettled(&world) || !(world.session.is_drained() && world.session.is_quiet()) {
        if unsettled(&world) && world.chance(0.2) {
            world.head += 1;
            let head = Seq(world.head);
            world.step(Input::Head(head));
        }
        world.turn(true);
        turns += 1;
        assert!(turns < 20_000, "it never drains: {:?} {:?}", world.cursors, world.session);
    }
    let (sent, unheard) = world.counts;
    let letters = i64::try_from(world.letters.len()).unwrap();
    assert_eq!((sent + letters + world.resent.0, unheard), (world.head, 0), "each event once");
    assert!(world.waiting.is_empty(), "{:?}", world.waiting);
    for (lane, firsts) in &world.first {
        let all: Vec<i64> = (1..=world.head).filter(|seq| lane_of(*seq).as_str() == *lane).collect();
        let left_out = |seq: &&i64| !firsts.contains(seq) && !world.outgrew(**seq);
        assert_eq!(all.iter().find(left_out), None, "{lane}: none is left out");
    }
    world.resent.0
}

#[test]
fn whatever_the_dice_do_every_event_is_taken_or_a_letter_and_counted_once() {
    let seeds = seeds();
    let resent: i64 = seeds
        .iter()
        .map(|seed| {
            let named = Named(*seed);
            let resent = play(*seed, Bug::None);
            drop(named);
            resent
        })
        .sum();
    assert!(seeds.len() == 1 || resent > 10, "{resent} letters were retried and sent");
}

#[test]
fn a_world_sees_each_way_in_which_a_machine_could_be_wrong() {
    let bugs = [
        Bug::SentUnasked,
        Bug::CountedTwice,
        Bug::OutOfOrder,
        Bug::Overrun,
        Bug::SuspectLost,
        Bug::CommitLost,
        Bug::FlightLost,
    ];
    for bug in bugs {
        let seen = (0..40).find(|seed| catch_unwind(AssertUnwindSafe(|| play(*seed, bug))).is_err());
        assert!(seen.is_some(), "{bug:?} was not seen in 40 worlds");
        eprintln!("{bug:?}: seen in world {}", seen.unwrap());
    }
}
