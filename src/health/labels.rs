//! The closed lists that metric labels come from. A label that is not in a list here, in [`crate::domain`] or in
//! the configuration does not exist, so the number of series is bounded.

use crate::domain::Reason;

macro_rules! labels {
    ($($(#[doc = $doc:literal])+ $name:ident { $($variant:ident, $word:literal, $text:literal;)* })*) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $(#[doc = $text] $variant,)* }

        impl $name {
            /// The whole list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in labels and logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// What it means, for people.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    )* };
}

labels! {
    /// How a frame ended; every frame ends as exactly one of these.
    ///
    /// Source: contract section 6.
    FrameOutcome {
        Stored, "stored", "Committed as an event.";
        Repeat, "repeat", "The same code again within the repeat window.";
        Duplicate, "duplicate", "The same id again.";
        NoFix, "no_fix", "An epoch without a valid position.";
        Thinned, "thinned", "Left out by a named policy.";
        Rejected, "rejected", "Refused; there is a letter.";
        Test, "test", "A test read.";
    }
    /// Where a letter stands.
    LetterState {
        Open, "open", "Waits for a person.";
        Retried, "retried", "Went on after all.";
        Discarded, "discarded", "A person let it go.";
        Expired, "expired", "Its time was over.";
        Sampled, "sampled", "Counted, its bytes not kept.";
    }
    /// What of ours lies on the disk.
    StoreFile {
        Db, "db", "The database.";
        Wal, "wal", "Its write-ahead log.";
        Archive, "archive", "Events past their retention.";
        Quarantine, "quarantine", "What was found damaged.";
        Captures, "captures", "Raw bytes of the ports.";
    }
    /// Why the connection to the broker was made again.
    ReconnectReason {
        Unreachable, "unreachable", "No connection came about: name, address, port or network.";
        Refused, "refused", "The broker refused the connection, or ended it and said why.";
        Auth, "auth", "The broker does not take user, password or client id.";
        Protocol, "protocol", "The broker does not speak this version of MQTT.";
        Tls, "tls", "No TLS with the broker: a certificate, a file of ours, or no TLS there.";
        Closed, "closed", "The connection broke or was closed without a word.";
        KeepAlive, "keep_alive", "The broker did not answer a ping.";
        NoAck, "no_ack", "The broker left a publish without acknowledgement for too long.";
        Client, "client", "The client got out of step and was made anew.";
        Stopped, "stopped", "It was told to stop.";
    }
    /// How a request for the stream began.
    StreamOpen {
        Head, "head", "From now on.";
        Replay, "replay", "After a cursor, from the store.";
        Reset, "reset", "The cursor was too old or of another epoch: from now on.";
        Full, "full", "Refused: `http.max_streams` are open.";
        Bad, "bad", "Refused: the cursor could not be read.";
    }
    /// Why a stream ended.
    StreamDrop {
        Gone, "gone", "The client went.";
        Slow, "slow", "The client took too long to read.";
        Error, "error", "The store could not be read.";
        Stop, "stop", "The node stops.";
    }
    /// What the centre asks of the node.
    CommandKind {
        Replay, "replay", "To send events once more.";
        Ping, "ping", "To answer.";
        Confirm, "confirm", "To know what the centre has.";
        Other, "other", "Nothing that this node knows.";
    }
    /// What became of a command; the `reason` of its answer.
    CommandOutcome {
        Done, "done", "It was carried out.";
        Running, "running", "It is being carried out; `count` events will come.";
        Unchanged, "unchanged", "The centre had confirmed all of that before.";
        Repeated, "repeated", "It was answered before; the same answer went out again.";
        Unknown, "unknown_command", "The last level of the topic is no command of this node.";
        TooLarge, "too_large", "The message is longer than 1,024 bytes; it was not read.";
        Malformed, "malformed", "It is no JSON object with exactly the fields of this command.";
        BadId, "bad_id", "`id` is not 1 to 64 letters, digits, `.` `_` `-`, beginning with a letter or digit.";
        Retained, "retained", "It was published as retained: it would come again at each connect.";
        Expired, "expired", "`expires_ms` has passed by the node's trusted time.";
        ExpiresLate, "expires_late", "`expires_ms` is over 7 days ahead.";
        WrongEpoch, "wrong_epoch", "The store does not live under this epoch, or never did.";
        BadRange, "bad_range", "`from` and `to`, or `through`, name events that are not there yet, or none.";
        TooMany, "too_many", "More than 100,000 events in one replay.";
        Archived, "archived", "None of these events is in the log any more, nor in an archive that can be read.";
        Busy, "busy", "Another replay is not over; ask again with the same id after its `done`.";
        IdReused, "id_reused", "Something else was asked under this id before.";
        Full, "full", "10,000 commands that have not expired are remembered.";
        Flood, "flood", "More than 5 commands a second; not answered.";
        StoreError, "store_error", "The store did not take it; ask again.";
    }
    /// Why a worker was started again.
    RestartReason {
        Panicked, "panicked", "It hit a bug.";
        Failed, "failed", "It ended with an error.";
        Stalled, "stalled", "It made no progress in the time it promised.";
    }
}

/// What became of a sentence, or of the bytes, of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortOutcome {
    /// It took part in a frame.
    Used,
    /// It is in order, and not needed.
    Ignored,
    /// It was refused.
    Refused(Reason),
}

impl PortOutcome {
    /// How many outcomes there are.
    pub const COUNT: usize = 2 + Reason::ALL.len();

    /// Every outcome, in the order of [`PortOutcome::index`].
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Used, Self::Ignored].into_iter().chain(Reason::ALL.iter().map(|reason| Self::Refused(*reason)))
    }

    /// Its place in the list. 0..[`PortOutcome::COUNT`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Used => 0,
            Self::Ignored => 1,
            Self::Refused(reason) => 2 + reason as usize,
        }
    }

    /// The word in labels: `used`, `ignored` or the reason's code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Ignored => "ignored",
            Self::Refused(reason) => reason.as_str(),
        }
    }
}

/// The word for the broker's answer to a publish.
///
/// Shape: the PUBACK reason codes of MQTT 5, as `0x` and two digits; anything else is `other`.
#[must_use]
pub const fn publish_code(code: u8) -> &'static str {
    PUBLISH_CODES[publish_index(code)].1
}

/// The answers to a publish that have a series of their own; the last stands for every other.
pub(super) const PUBLISH_CODES: [(u8, &str); 11] = [
    (0x00, "0x00"),
    (0x10, "0x10"),
    (0x80, "0x80"),
    (0x83, "0x83"),
    (0x87, "0x87"),
    (0x90, "0x90"),
    (0x91, "0x91"),
    (0x95, "0x95"),
    (0x97, "0x97"),
    (0x99, "0x99"),
    (0xFF, "other"),
];

pub(super) const fn publish_index(code: u8) -> usize {
    let mut at = 0;
    while at < PUBLISH_CODES.len() - 1 && PUBLISH_CODES[at].0 != code {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_outcome_stands_at_its_own_index() {
        let all: Vec<_> = PortOutcome::all().collect();
        assert_eq!(all.len(), PortOutcome::COUNT);
        assert!(all.iter().enumerate().all(|(at, outcome)| outcome.index() == at));
    }

    #[test]
    fn an_unknown_answer_of_the_broker_gets_no_series_of_its_own() {
        assert_eq!(publish_code(0x87), "0x87");
        assert_eq!(publish_code(0x42), "other");
        assert_eq!(publish_code(0xFF), "other");
    }
}
