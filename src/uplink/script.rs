//! What the session is told and what it tells to do, and what the broker's reason codes mean.

use std::time::Duration;

use crate::config::{NoSubscriber, Uplink};
use crate::domain::{Lane, Reason, Seq};
use crate::health::ReconnectReason;

use super::Kit;
use super::lane::{Batch, Message, Queued, Track};

/// How long acknowledgements are gathered for one commit of a cursor, however many they are: what rides with each scan's commit
/// is waited for by that scan. The store adds as much to share a commit, 200 ms together.
const GATHER: Duration = Duration::from_millis(100);
/// Letters and events sent again that make the commit due before its time.
const HELD_MAX: usize = 64;

/// What the machine is set to. Times in µs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub window: usize,
    pub hold_unheard: bool,
    pub no_ack_us: i64,
    /// Acknowledgements over this time make the backoff begin anew.
    pub healthy_us: i64,
    pub retry_base_us: i64,
    pub retry_cap_us: i64,
    pub attempts: u32,
    pub gather_us: i64,
    pub held_max: usize,
    pub max_per_s: u32,
    pub mib_per_day: u32,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// The broker took the connection; how many publishes and bytes it takes at once, and whether it retains.
    Connected { receive_max: usize, packet_max: usize, retains: bool },
    /// The connection is gone, or could not be made: whether the broker ended it perhaps for what was sent, with which code,
    /// whether a person has to mend something before the next can do better, and whether another client took the name.
    Lost { by_peer: bool, code: Option<u8>, barred: bool, taken: bool },
    /// The connection that stands, or the wait for one, was left for another that is to be made at once.
    Anew,
    /// Whether the node may not speak under its name: then no connection is made. Once it may again, one is at once.
    Mute(bool),
    /// The log goes up to here.
    Head(Seq),
    /// A person wants dead events sent again.
    Resend,
    /// Rows of a track and how far the log was looked through.
    Read { track: Track, rows: Vec<Queued>, seen: Seq },
    /// The rows could not be read.
    ReadFailed(Track),
    /// The broker answered a publish.
    Answered { ticket: u64, code: u8 },
    /// A message that is not of the log, to be sent before any that is; replaces one that waits for the same topic and boot.
    Say(Message),
    /// The centre wants the events after the first place up to the second once more; none: that is over.
    Replay(Option<(Seq, Seq)>),
    /// A batch is in the store.
    Committed(Track),
    /// A batch could not be written.
    CommitFailed(Track),
    /// The time is trusted, and what that means for older events has been said: none waits for it.
    Trusted,
    /// Send no more events.
    Stop,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Make a connection; [`Input::Connected`] or [`Input::Lost`] follows.
    Connect,
    /// Hand a message to the client; its answer comes under the ticket.
    Publish { ticket: u64, message: Message, event: Option<(Lane, Seq)> },
    /// Read rows of a track; of a lane those after a place.
    Read { track: Track, after: Seq, limit: usize },
    /// Write a batch.
    Commit(Batch),
    /// Give the connection up.
    Drop(ReconnectReason),
}

/// What an answered publish was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub track: Track,
    pub took_us: i64,
}

/// What a person should know of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    pub no_subscriber: bool,
    pub not_authorized: bool,
    pub refused: bool,
    pub budget: bool,
}

/// The letter that a reason code makes at once.
pub(super) const fn letter_of(code: u8) -> Option<Reason> {
    match code {
        0x90 => Some(Reason::TopicRefused),
        0x95 => Some(Reason::TooLarge),
        0x99 => Some(Reason::BadFormat),
        _ => None,
    }
}

/// A span in µs.
pub(super) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX / 4)
}

/// What a configuration sets the machine to.
pub(super) fn rules(kit: &Kit) -> Rules {
    let Uplink { window, no_subscriber, max_per_s, mib_per_day, .. } = kit.config;
    Rules {
        window: usize::from(window.max(1)),
        hold_unheard: no_subscriber == NoSubscriber::Hold,
        no_ack_us: micros(kit.limits.no_ack),
        healthy_us: micros(kit.limits.healthy),
        retry_base_us: micros(kit.limits.retry_base),
        retry_cap_us: micros(kit.limits.retry_cap),
        attempts: kit.limits.attempts,
        gather_us: micros(GATHER),
        held_max: HELD_MAX,
        max_per_s,
        mib_per_day,
    }
}
