//! The node's stay at the broker, from its arrival to its parting: whether it may speak under its name, what it leaves there,
//! and what it takes off again, of a name it had before, of entities that are no more, or of all when it ends.

use std::collections::BTreeSet;

use tokio::sync::watch;

use crate::domain::{Seq, Standing};
use crate::store;
use crate::uplink::{Kit, figures, homeassistant, lane::Message, link::Link};

use super::{Done, Input, Run, Stopping};

/// What every base leaves at the broker besides its alarms.
const RETAINED: [&str; 4] = ["state", "status", "watermark", "clock"];
/// Messages that are taken off in one turn.
const AT_ONCE: usize = 64;

/// How far the taking off is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Off {
    #[default]
    No,
    /// These are said, and wait for their turn.
    Said(Vec<String>),
    /// These are off when the broker has answered up to this ticket.
    Sent(Vec<String>, u64),
    /// These are off; the store is told.
    Told,
}

/// What is known of it.
pub(super) struct Stay {
    pub standing: watch::Receiver<Standing>,
    /// What it leaves at the broker now.
    mine: Vec<String>,
    /// What a base or a setting of before left there.
    old: BTreeSet<String>,
    /// Alarms that stand under bases of before.
    heard: BTreeSet<String>,
    /// Events up to here are sent before a base is taken off.
    mark: Option<Seq>,
    off: Off,
    /// The node is being ended.
    is_ending: bool,
}

impl Stay {
    pub fn new(kit: &Kit) -> Self {
        Self {
            is_ending: *kit.store.standing().borrow() == Standing::Retiring,
            standing: kit.store.standing(),
            mine: Vec::new(),
            old: BTreeSet::new(),
            heard: BTreeSet::new(),
            mark: None,
            off: Off::No,
        }
    }

    pub fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Whether the node is taking itself off, or has: it says nothing more of itself.
    pub fn is_leaving(&self) -> bool {
        let standing = self.standing();
        standing.is_mute() || standing == Standing::Retiring && self.off != Off::No
    }

    /// Whether it is the base of now.
    fn is_base(&self, topic: &str) -> bool {
        self.mine.first().is_some_and(|base| base == topic)
    }

    /// A retained alarm stands at the broker.
    pub fn hear(&mut self, topic: String) {
        if self.old.iter().any(|base| base.ends_with('/') && topic.starts_with(base)) && self.heard.len() < AT_ONCE {
            self.heard.insert(topic);
        }
    }
}

impl Run {
    /// What this node leaves at the broker now: its base, and what Home Assistant is told.
    fn mine(&self) -> Vec<String> {
        let entities = self.entities().into_iter().map(|message| message.topic);
        std::iter::once(format!("{}/", self.speaker.voice.base)).chain(entities).collect()
    }

    /// What Home Assistant is told.
    pub(super) fn entities(&self) -> Vec<Message> {
        let config = &self.kit.config;
        if !config.homeassistant || self.stay.standing() == Standing::Retiring {
            return Vec::new();
        }
        let voice = &self.speaker.voice;
        homeassistant::entities(&voice.base, &voice.names, !config.health.is_zero())
    }

    /// Notes what will be left, and asks what was: answers the filters of retained messages to look for.
    pub(super) async fn arrive(&mut self) -> Vec<String> {
        let mine = self.mine();
        let traces = figures::leave_traces(self.kit.store.clone(), mine.clone()).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "what the node leaves at the broker cannot be noted; it is at the next connection");
            Vec::new()
        });
        let old = traces.into_iter().filter(|topic| !mine.contains(topic)).collect();
        (self.stay.old, self.stay.mine) = (old, mine);
        self.stay.off = Off::No;
        let all = self.stay.mine.iter().chain(&self.stay.old);
        all.filter(|topic| topic.ends_with('/')).map(|base| format!("{base}alarm/+")).collect()
    }

    /// Takes off, a step a turn, what should not stand at the broker any more.
    pub(super) fn tidy(&mut self) {
        let standing = self.stay.standing();
        if !self.session.is_connected() || self.stopping != Stopping::No {
            return;
        }
        if standing.is_mute() {
            self.leave();
            return;
        }
        self.stay.off = match std::mem::take(&mut self.stay.off) {
            Off::No => self.begin_off(standing == Standing::Retiring),
            Off::Said(topics) => match self.session.next_ticket() {
                Some(ticket) => Off::Sent(topics, ticket),
                None => Off::Said(topics),
            },
            Off::Sent(topics, ticket) if self.session.is_answered_to(ticket) => {
                let store = self.kit.store.clone();
                let ends = standing == Standing::Retiring && topics.iter().any(|topic| self.stay.is_base(topic));
                self.stay.old.retain(|topic| !topics.contains(topic));
                self.jobs.spawn(async move { Done::TakenOff(figures::take_off(store, topics, ends).await) });
                Off::Told
            }
            other => other,
        };
    }

    /// Says goodbye; whether and when the next connection is made the session knows.
    fn leave(&mut self) {
        // One that takes no goodbye has ended. The link goes when the broker has heard it.
        if !self.link.as_ref().is_some_and(Link::disconnect) {
            self.link = None;
        }
        let now_us = self.now().mono_us;
        self.session.step(Input::Anew, now_us);
    }

    /// Says what takes some of it off, once what waits under the old name has gone.
    fn begin_off(&mut self, ends: bool) -> Off {
        if !ends && self.stay.old.is_empty() {
            return Off::No;
        }
        let mark = *self.stay.mark.get_or_insert(self.session.head());
        let has_gone = self.session.has_settled(mark);
        if ends && !has_gone {
            return Off::No;
        }
        let mut topics: Vec<String> = self
            .stay
            .old
            .iter()
            .filter(|topic| has_gone || homeassistant::is_of(topic))
            .take(AT_ONCE / 8)
            .cloned()
            .collect();
        let mut messages: Vec<String> = topics.iter().flat_map(|topic| self.under(topic)).collect();
        if ends {
            // At last, and with nothing else: after it the node has left nothing.
            if let (true, Some(base)) = (topics.is_empty(), self.stay.mine.first()) {
                messages.extend(self.under(base));
                messages.extend(self.speaker.alarm_names().map(|name| format!("{base}alarm/{name}")));
                topics.push(base.clone());
            }
        } else if topics.is_empty() {
            return Off::No;
        }
        let now_us = self.now().mono_us;
        for topic in messages {
            self.session.step(Input::Say(Message { topic, retain: true, ..Message::default() }), now_us);
        }
        Off::Said(topics)
    }

    /// The retained messages that a trace stands for.
    fn under(&self, trace: &str) -> Vec<String> {
        if !trace.ends_with('/') {
            return vec![trace.to_owned()];
        }
        let alarms = self.stay.heard.iter().filter(|topic| topic.starts_with(trace)).cloned();
        RETAINED.iter().map(|name| format!("{trace}{name}")).chain(alarms).collect()
    }

    /// The store knows what is off.
    pub(super) fn taken_off(&mut self, answer: store::Result<()>) {
        if let Err(error) = answer {
            tracing::warn!(%error, "what was taken off the broker cannot be noted; it is taken off again at the next connection");
            return;
        }
        if self.stay.off == Off::Told {
            self.stay.off = Off::No;
        }
    }

    /// The node may, or may no longer, speak under its name.
    pub(super) fn stand(&mut self) {
        let standing = self.stay.standing();
        let was_ending = std::mem::replace(&mut self.stay.is_ending, standing == Standing::Retiring);
        if was_ending && standing == Standing::Sound && self.session.is_connected() {
            // What was taken off already is said again on a new connection, as on any.
            self.leave();
        }
        if standing == Standing::Retiring {
            self.stay.mark = Some(self.session.head());
            let entities = self.stay.mine.iter().filter(|topic| homeassistant::is_of(topic));
            self.stay.old.extend(entities.cloned());
        }
    }
}
