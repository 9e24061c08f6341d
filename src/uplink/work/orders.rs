//! What the centre asks of the node on its way through the worker: measured out, handed to the store, answered.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::BUILD_FLOOR_MS;
use crate::domain::UnixMs;
use crate::health::{CommandKind, CommandOutcome};
use crate::store;
use crate::uplink::payload::When;

use super::command::{Asked, Refusal};
use super::{Answered, Done, Heard, Input, Message, Ration, Run, centre, command};

/// Commands that are taken in a second, and at once.
const PER_S: f64 = 5.0;
const AT_ONCE: f64 = 50.0;
/// Commands that may wait for the store.
const WAITING_MAX: usize = 64;
/// Between two lines of the log on a flood. µs
const TELL_US: i64 = 60_000_000;
/// After a store that did not take the end of a replay. µs
const AGAIN_US: i64 = 1_000_000;

/// A command as it was heard: what it asks or why it cannot be understood, when, and before what no time is believed.
struct Order {
    asked: Result<Asked, Refusal>,
    when: When,
    floor_ms: UnixMs,
}

/// What of the centre's wishes is under way.
pub(super) struct Orders {
    ration: Ration,
    /// Not begun, in the order they came.
    waiting: VecDeque<Order>,
    /// The store has one in hand.
    is_busy: bool,
    /// The end of the replay is being written down.
    ending: bool,
    /// Not before this. µs
    end_again_us: i64,
    /// Commands that were not answered since the log told of a flood.
    drowned: u64,
    /// When it may tell of one again. µs
    tell_us: i64,
}

impl Default for Orders {
    fn default() -> Self {
        let ration = Ration::new(PER_S, 1e6, AT_ONCE);
        let waiting = VecDeque::new();
        Self { ration, waiting, is_busy: false, ending: false, end_again_us: i64::MIN, drowned: 0, tell_us: i64::MIN }
    }
}

impl Run {
    /// Takes a command in; its answer comes as [`Done::Ordered`].
    pub(super) fn order(&mut self, heard: &Heard) {
        let now = self.now();
        let (ready, orders) = (self.orders.ration.ready(now.mono_us), &mut self.orders);
        if !ready || orders.waiting.len() >= WAITING_MAX {
            self.kit.tally.uplink_commands(CommandKind::Other, CommandOutcome::Flood);
            orders.drowned += 1;
            if now.mono_us >= orders.tell_us {
                let unanswered = std::mem::take(&mut orders.drowned);
                tracing::warn!(unanswered, "more commands arrive than the node takes; the rest is not answered");
                orders.tell_us = now.mono_us + TELL_US;
            }
            return;
        }
        orders.ration.take(1.0);
        let when = self.speaker.when(now);
        let trusted_ms = self.speaker.trusted_ms(now);
        // Not trusted, the time is at least what it was for sure at some time before.
        let floor_ms = trusted_ms.unwrap_or_else(|| BUILD_FLOOR_MS.max(self.kit.store.newest_trusted_ms()));
        let asked = command::read(heard, &self.speaker.voice.base, (floor_ms, trusted_ms.is_some()));
        self.orders.waiting.push_back(Order { asked, when, floor_ms });
        self.begin_order();
    }

    /// Hands the store the next command: one at a time, so that they are carried out in the order they came.
    fn begin_order(&mut self) {
        if self.orders.is_busy {
            return;
        }
        let Some(Order { asked, when, floor_ms }) = self.orders.waiting.pop_front() else { return };
        self.orders.is_busy = true;
        let kit = Arc::clone(&self.kit);
        self.jobs.spawn(async move {
            Done::Ordered(match asked {
                Ok(asked) => centre::carry_out(kit, asked, when, floor_ms).await,
                Err(refusal) => centre::refuse(kit.store.clone(), refusal, when).await,
            })
        });
    }

    /// A command has been answered.
    pub(super) fn ordered(&mut self, answered: Answered) -> Input {
        self.orders.is_busy = false;
        self.begin_order();
        if let Some(replay) = &answered.replay {
            let now_us = self.now().mono_us;
            self.session.step(Input::Replay(Some((replay.through, replay.to))), now_us);
        }
        self.confirmed = answered.confirmed.unwrap_or(self.confirmed);
        self.say(answered)
    }

    /// Writes the end of a replay down when it has come.
    pub(super) fn end_replay(&mut self) {
        let now = self.now();
        if self.orders.ending || !self.session.is_replayed() || now.mono_us < self.orders.end_again_us {
            return;
        }
        self.orders.ending = true;
        let (store, when) = (self.kit.store.clone(), self.speaker.when(now));
        self.jobs.spawn(async move { Done::Replayed(centre::end(store, when).await) });
    }

    /// When [`Run::end_replay`] may have something to do without anything else happening. µs
    pub(super) fn replay_due_us(&self) -> i64 {
        if self.session.is_replayed() && !self.orders.ending { self.orders.end_again_us } else { i64::MAX }
    }

    /// A replay is over, or its end could not be written down.
    pub(super) fn replayed(&mut self, ended: store::Result<Option<Answered>>) -> Option<Input> {
        let now_us = self.now().mono_us;
        self.orders.ending = false;
        match ended {
            Ok(answered) => {
                self.session.step(Input::Replay(None), now_us);
                answered.map(|answered| self.say(answered))
            }
            Err(error) => {
                tracing::warn!(%error, "the end of a replay cannot be written; trying again");
                self.orders.end_again_us = now_us + AGAIN_US;
                None
            }
        }
    }

    fn say(&self, answered: Answered) -> Input {
        let Answered { id, kind, outcome, text, .. } = answered;
        self.kit.tally.uplink_commands(kind, outcome);
        tracing::info!(id, cmd = kind.as_str(), outcome = outcome.as_str(), "the centre's command was answered");
        let topic = format!("{}/ack/{}", self.speaker.voice.base, command::answer_level(id.as_deref()));
        Input::Say(Message { topic, payload: text, ..Message::default() })
    }
}
