//! A node in a world of dice: reads, a real store, the session, a broker, the way between them and a centre that asks for
//! events once more, on one clock that the dice move. First whatever can go wrong does, and nothing unsafe may be seen; then
//! the world is healed and all must be delivered.
//! `WAYPOST_SEED=<n>` plays one world again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Keeper};
use crate::domain::{EventId, Kind, Lane, Row, Seq, Stamp, TimeQuality};
use crate::health::{Beat, Board, Ctx, Tally};
use crate::ingest::simulated;
use crate::store::{Draft, Filter, Group, Outcome, Result, Store, StoreError, Txn};

use super::backoff::{Decorrelated, Dice};
use super::broker_tests::{config, identity, names};
use super::lane::{Batch, Message, Track};
use super::script::{Effect, Input, Rules};
use super::session::Session;
use super::world_tests::{self, Named, seeds};
use super::{Kit, Limits, centre, figures};

#[cfg(test)]
#[path = "simulated_centre_tests.rs"]
mod asking;
#[cfg(test)]
#[path = "simulated_node_tests.rs"]
mod node;

use asking::Ask;
use node::{Node, RULES, fix};

/// Codes a scanner sends ahead of its answers.
const AHEAD: usize = 8;
/// Turns of a world while things go wrong.
const TURNS: usize = 120;
/// Turns within which a healed world must have delivered all: some minutes of its time.
const HEALED_WITHIN: usize = 6_000;

/// A publish that is not answered: ticket, event, payload.
type Flying = (u64, Option<(Lane, Seq)>, String);

/// The broker and the wire to it.
#[derive(Default)]
struct Broker {
    up: bool,
    /// What it has not answered.
    wire: VecDeque<Flying>,
    /// What it took, by id: the bytes.
    taken: BTreeMap<String, String>,
    /// Letters that its answers must make, by seq.
    refused: BTreeMap<i64, u8>,
    /// Of a lane: the newest event that came, and all of them.
    came: BTreeMap<&'static str, (i64, BTreeSet<i64>)>,
    /// Publishes it takes at once, and bytes.
    receive_max: usize,
    packet_max: usize,
    /// Its end of the connection is gone and nobody has said so.
    half_open: bool,
}

struct World {
    dice: Dice,
    seed: u64,
    clock: Clock,
    dir: tempfile::TempDir,
    node: Option<Node>,
    broker: Broker,
    unanswered: VecDeque<String>,
    codes: u64,
    told: Vec<(String, EventId)>,
    fixes: u64,
    crashes: u64,
    /// What the centre has asked for and not got to its end.
    asked: Option<Ask>,
    /// Replays asked for, and events that they came to.
    asks: u64,
    replayed: i64,
    calm: bool,
}

fn id_of(payload: &str) -> String {
    let event: serde_json::Value = serde_json::from_str(payload).unwrap();
    event["id"].as_str().unwrap().to_owned()
}

impl World {
    async fn new(seed: u64) -> Self {
        let clock = Clock::manual(Stamp { mono_us: 1_000_000, wall_ms: 1_795_169_472_000 });
        let dir = tempfile::tempdir().unwrap();
        let node = Some(Node::open(dir.path(), &clock, seed).await);
        Self {
            dice: Dice::new(seed),
            seed,
            clock,
            dir,
            node,
            broker: Broker::default(),
            unanswered: VecDeque::new(),
            codes: 0,
            told: Vec::new(),
            fixes: 0,
            crashes: 0,
            asked: None,
            asks: 0,
            replayed: 0,
            calm: false,
        }
    }

    fn node(&mut self) -> &mut Node {
        self.node.as_mut().unwrap()
    }

    fn kit(&self) -> &Arc<Kit> {
        self.node.as_ref().unwrap().kit.as_ref().unwrap()
    }

    fn now_us(&self) -> i64 {
        self.clock.now().mono_us
    }

    /// Whether something goes wrong that does so one time in `of`: never in a healed world.
    fn fails(&mut self, of: u64) -> bool {
        !self.calm && self.pick(of) == 0
    }

    fn pick(&mut self, below: u64) -> u64 {
        self.dice.below(below)
    }

    fn step(&mut self, input: Input) {
        let now_us = self.now_us();
        self.node().session.step(input, now_us);
    }

    async fn turn(&mut self) {
        let dt_ms = i64::try_from(1 + self.pick(200)).unwrap();
        self.clock.advance_ms(dt_ms);
        if self.fails(60) {
            let years = i64::try_from(self.pick(40)).unwrap() - 20;
            self.clock.set_wall_ms(1_795_169_472_000 + years * 31_557_600_000);
        }
        if self.fails(50) {
            self.crash().await;
        }
        if !self.calm {
            self.arrive().await;
        }
        if self.fails(30) {
            self.ask().await;
        }
        self.take().await;
        self.broker_moves();
        self.settle().await;
        self.end_replay().await;
        let head = *self.kit().store.head().borrow();
        self.step(Input::Head(head));
        self.plan();
    }

    /// The process is killed: what the store has committed is all that is left. The scanner sends its unanswered codes again.
    async fn crash(&mut self) {
        let fresh = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(self.dir.path()).unwrap() {
            let file = file.unwrap().path();
            if file.is_file() {
                std::fs::copy(&file, fresh.path().join(file.file_name().unwrap())).unwrap();
            }
        }
        self.node = None;
        self.dir = fresh;
        self.broker.up = false;
        self.broker.wire.clear();
        self.crashes += 1;
        if let Some(ask) = &mut self.asked {
            // It is read anew, with what was sent meanwhile.
            ask.forget_turns();
        }
        self.node = Some(Node::open(self.dir.path(), &self.clock, self.seed + self.crashes).await);
        self.balanced().await;
        let again: Vec<String> = self.unanswered.iter().cloned().collect();
        again.into_iter().for_each(|code| self.hand_in(code));
    }

    fn hand_in(&mut self, code: String) {
        let at = self.clock.now();
        let node = self.node();
        node.nth += 1;
        let nth = node.nth;
        node.waiting.push_back((code, at, nth));
    }

    /// Something is read.
    async fn arrive(&mut self) {
        match self.pick(4) {
            0 | 1 if self.unanswered.len() < AHEAD => {
                // Now and then the same code again, within its window or not.
                self.codes += u64::from(self.pick(5) > 0 || self.codes == 0);
                let code = format!("C{}", self.codes);
                self.unanswered.push_back(code.clone());
                self.hand_in(code);
            }
            2 => {
                self.fixes += 1;
                let (n, at) = (self.fixes, self.clock.now());
                let store = self.kit().store.clone();
                store.submit(Group::Now, move |txn| fix(txn, n, at)).await.unwrap();
            }
            _ => {}
        }
    }

    /// The intake commits the read that waits longest; it keeps it until the store has answered.
    async fn take(&mut self) {
        let Some((code, at, nth)) = self.node().waiting.front().cloned() else { return };
        let (fails, unheard) = (self.fails(8), self.fails(20));
        let (store, published) = (self.kit().store.clone(), Arc::clone(&self.kit().published));
        let read = code.clone();
        let answer = store.submit(Group::Now, move |txn| {
            let id = simulated::scan(txn, &read, at, nth, &published)?;
            if fails { Err(StoreError::Gone) } else { Ok(id) }
        });
        let answer = answer.await;
        if unheard {
            return;
        }
        let Ok(id) = answer else { return };
        self.node().waiting.pop_front();
        assert_eq!(self.unanswered.pop_front(), Some(code.clone()), "answers come in order");
        self.told.push((code, id));
    }

    fn broker_moves(&mut self) {
        if !self.broker.up {
            if !std::mem::take(&mut self.node().dialling) {
                return;
            }
            if self.fails(3) {
                let barred = self.fails(3);
                self.step(Input::Lost { by_peer: false, code: None, barred, taken: false });
                return;
            }
            let receive_max = usize::try_from(1 + self.pick(20)).unwrap();
            let packet_max = if self.fails(4) { 700 } else { 100_000 };
            (self.broker.receive_max, self.broker.packet_max) = (receive_max, packet_max);
            (self.broker.up, self.broker.half_open) = (true, false);
            self.broker.wire.clear();
            self.step(Input::Connected { receive_max, packet_max, retains: true });
            self.step(Input::Say(Message {
                topic: "status".into(),
                payload: "on".into(),
                retain: true,
                ..Message::default()
            }));
            return;
        }
        for _ in 0..self.pick(8) {
            self.answer();
        }
        self.broker.half_open |= self.fails(80);
        if self.broker.up && self.fails(25) {
            let by_peer = self.pick(2) == 0;
            self.lose(by_peer);
        }
    }

    fn lose(&mut self, by_peer: bool) {
        self.blame_for_the_end();
        self.broker.up = false;
        self.broker.wire.clear();
        self.step(Input::Lost { by_peer, code: None, barred: false, taken: false });
    }

    /// The broker deals with one publish, mostly the oldest: takes it, refuses it, or takes it and its PUBACK is lost.
    fn answer(&mut self) {
        let length = self.broker.wire.len() as u64;
        if !self.broker.up || self.broker.half_open || length == 0 {
            return;
        }
        let at = if self.fails(5) { self.pick(length) } else { 0 };
        let Some((ticket, event, payload)) = self.broker.wire.remove(usize::try_from(at).unwrap()) else { return };
        let asked = asking::seq_of_replayed(&payload);
        let code = match (event.map(|(_, seq)| seq.0).or(asked), if self.calm { 99 } else { self.pick(30) }) {
            (_, 0) => 0x10,
            (_, 1) => 0x87,
            (_, 2) => [0x80, 0x83, 0x91, 0x97][usize::try_from(self.pick(4)).unwrap()],
            (Some(seq), 3) if seq % 7 == 0 => 0x99,
            (Some(seq), 4) if seq % 7 == 1 => 0x90,
            _ => 0,
        };
        if let Some(seq) = asked {
            self.came_again(seq, code, &payload);
        }
        if let Some((_, seq)) = event {
            if matches!(code, 0x90 | 0x99) {
                self.broker.refused.insert(seq.0, code);
            } else if code == 0 {
                let before = self.broker.taken.insert(id_of(&payload), payload.clone());
                assert!(before.is_none_or(|before| before == payload), "sent again byte for byte");
            }
        }
        if self.fails(20) {
            self.lose(true);
            return;
        }
        self.step(Input::Answered { ticket, code });
        if self.fails(10) {
            // A second PUBACK for the same publish.
            self.step(Input::Answered { ticket, code: 0 });
        }
    }

    /// The store answers some of what it was asked, in any order.
    async fn settle(&mut self) {
        if self.node().ending {
            // Answers come in their order: that of the end first.
            return;
        }
        for _ in 0..self.pick(4) {
            let length = self.node().jobs.len() as u64;
            if length == 0 {
                return;
            }
            let at = usize::try_from(self.pick(length)).unwrap();
            match self.node().jobs.swap_remove(at) {
                Effect::Read { track, after, limit } => self.read(track, after, limit).await,
                Effect::Commit(batch) => self.commit(batch).await,
                Effect::Publish { .. } | Effect::Drop(_) | Effect::Connect => {}
            }
        }
    }

    async fn read(&mut self, track: Track, after: Seq, limit: usize) {
        if self.fails(10) {
            self.step(Input::ReadFailed(track));
            return;
        }
        let kit = Arc::clone(self.kit());
        let (rows, seen) = figures::read(kit, track, after, limit).await.unwrap();
        self.step(Input::Read { track, rows, seen });
    }

    async fn commit(&mut self, batch: Batch) {
        let track = batch.track;
        if self.fails(8) {
            self.step(Input::CommitFailed(track));
            return;
        }
        let before = self.stands().await;
        let done = figures::commit(self.kit().store.clone(), batch, true).await.unwrap();
        assert!(done, "nobody else moves the cursor");
        if track.replay {
            assert_eq!(self.stands().await, before, "a replay changes no stand, cursor or place");
        }
        self.balanced().await;
        if self.fails(15) {
            // The commit is in, its answer is not: it is asked for again.
            self.step(Input::CommitFailed(track));
            return;
        }
        self.step(Input::Committed(track));
    }

    fn plan(&mut self) {
        let (now_us, mut effects) = (self.now_us(), Vec::new());
        self.node().session.plan(now_us, &mut effects);
        for effect in effects {
            match effect {
                Effect::Connect => self.node().dialling = true,
                Effect::Publish { ticket, message, event } => {
                    assert!(self.broker.up, "nothing is sent without a connection");
                    assert!(message.wire_bytes() <= self.broker.packet_max, "no more than the broker takes");
                    if let Some((lane, seq)) = event {
                        let (newest, came) = self.broker.came.entry(lane.as_str()).or_default();
                        assert!(
                            seq.0 > *newest || came.contains(&seq.0),
                            "{seq} goes for the first time after {newest}"
                        );
                        *newest = (*newest).max(seq.0);
                        came.insert(seq.0);
                    }
                    self.goes_again(&message.payload);
                    self.broker.wire.push_back((ticket, event, message.payload));
                    assert!(self.broker.wire.len() <= self.broker.receive_max, "no more than the broker takes at once");
                }
                Effect::Drop(_) => self.lose(false),
                job => self.node().jobs.push(job),
            }
        }
    }

    /// Safety: the books balance, and no more is called sent than the broker took.
    async fn balanced(&mut self) {
        let ledger = self.kit().store.read(|reader| reader.ledger()).await.unwrap();
        assert_eq!(ledger.imbalance(), 0, "{ledger:?}");
        let count = |word: &str| ledger.events.get(word).copied().unwrap_or(0);
        let taken = i64::try_from(self.broker.taken.len()).unwrap();
        assert!(count("sent") <= taken, "{} sent, the broker took {taken}", count("sent"));
    }

    /// Heals the world; answers after how many turns all was delivered.
    async fn heal(&mut self) -> usize {
        self.calm = true;
        for turn in 0..HEALED_WITHIN {
            let node = self.node();
            let done = node.waiting.is_empty() && node.session.is_drained() && node.session.is_quiet();
            let done = done && node.jobs.is_empty() && !node.ending;
            if done && self.unanswered.is_empty() && self.asked.is_none() {
                return turn;
            }
            self.turn().await;
        }
        panic!("healed for {HEALED_WITHIN} turns and not delivered: {:?}", self.node().session);
    }

    /// In the end: what the scanner was told is in the log, what is in the log is with the broker or a letter.
    async fn judge(&mut self) {
        self.balanced().await;
        let store = self.kit().store.clone();
        let rows = store.read(|reader| reader.after(Seq(0), 100_000, &Filter::default())).await.unwrap().rows;
        let codes: BTreeMap<EventId, &str> =
            rows.iter().filter_map(|row| Some((row.id, row.code.as_deref()?))).collect();
        for (code, id) in &self.told {
            assert_eq!(codes.get(id), Some(&code.as_str()), "{code} was told ok");
        }
        let seqs: Vec<i64> = rows.iter().map(|row| row.seq.0).collect();
        assert_eq!(seqs, (1..=i64::try_from(rows.len()).unwrap()).collect::<Vec<_>>(), "seq is dense");
        for row in &rows {
            let (taken, refused) =
                (self.broker.taken.contains_key(&row.id.to_string()), self.broker.refused.contains_key(&row.seq.0));
            assert!(taken || refused, "{} is with the broker or a letter", row.seq);
        }
        let ledger = store.read(|reader| reader.ledger()).await.unwrap();
        assert_eq!(ledger.unsent.values().sum::<i64>(), 0, "nothing is unsent");
        let counted = ledger.events.get("replayed").copied().unwrap_or(0);
        assert_eq!(counted, self.replayed, "the ledger counts what the answers say");
        let fixes = rows.iter().filter(|row| row.kind == Kind::Fix).count() as u64;
        assert_eq!(fixes, self.fixes, "each fix once");
    }
}

/// One world from its beginning to its end: events, crashes, events replayed, turns until it was healed.
fn play(seed: u64) -> (usize, u64, i64, usize) {
    let named = Named(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let played = runtime.block_on(async {
        let mut world = World::new(seed).await;
        for _ in 0..TURNS {
            world.turn().await;
        }
        let healed = world.heal().await;
        world.judge().await;
        (world.told.len(), world.crashes, world.replayed, healed)
    });
    drop(named);
    played
}

#[test]
fn whatever_goes_wrong_in_a_world_of_dice_all_is_delivered_once_it_is_healed() {
    let seeds = seeds();
    let (next, slowest, all_replayed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicI64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                use std::sync::atomic::Ordering;
                while let Some(seed) =
                    usize::try_from(next.fetch_add(1, Ordering::AcqRel)).ok().and_then(|n| seeds.get(n))
                {
                    let (_, _, replayed, healed) = play(*seed);
                    all_replayed.fetch_add(replayed, Ordering::AcqRel);
                    slowest.fetch_max(healed as u64, Ordering::AcqRel);
                    if seed % 1_000 == 999 {
                        eprintln!("simulator: {} of {} worlds", seed + 1, seeds.len());
                    }
                }
            });
        }
    });
    let replayed = all_replayed.into_inner();
    assert!(replayed > 0 || seeds.len() == 1, "the centre got something once more");
    eprintln!(
        "simulator: {} worlds, {replayed} events replayed, healed after {} turns at most",
        seeds.len(),
        slowest.into_inner()
    );
}

#[test]
fn a_world_is_the_same_whenever_its_seed_is_played() {
    assert_eq!(play(7), play(7));
}
