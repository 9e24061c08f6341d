//! One lane of the session: the rows read ahead, how each stands with the broker, and the group whose cursor commit is due.
//! Pure: no clock, no I/O.

use std::collections::{BTreeSet, VecDeque};

use crate::domain::{Lane, Reason, Seq};

/// One way through a lane: events in their order, or dead ones that a person wants sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Track {
    pub lane: Lane,
    /// Whether its events stand before the cursor, each with a letter that waits for its answer.
    pub again: bool,
    /// Whether the centre wants them once more: nothing but the replay's own progress rests on them.
    pub replay: bool,
}

impl Track {
    /// Every track, in the order of [`Track::index`].
    pub const ALL: [Self; 5] = [
        Self::first(Lane::Scan),
        Self::first(Lane::Fix),
        Self::again(Lane::Scan),
        Self::again(Lane::Fix),
        Self::REPLAY,
    ];

    /// What the centre wants once more, of both lanes in the order of `seq`.
    pub const REPLAY: Self = Self { lane: Lane::Fix, again: false, replay: true };

    /// First publishes.
    pub const fn first(lane: Lane) -> Self {
        Self { lane, again: false, replay: false }
    }

    /// Publishes of what was dead.
    pub const fn again(lane: Lane) -> Self {
        Self { lane, again: true, replay: false }
    }

    /// Its place: the lanes first, what is replayed last.
    pub const fn index(self) -> usize {
        match self {
            Self { replay: true, .. } => 4,
            Self { lane: Lane::Scan, again: false, .. } => 0,
            Self { lane: Lane::Fix, again: false, .. } => 1,
            Self { lane: Lane::Scan, again: true, .. } => 2,
            Self { lane: Lane::Fix, again: true, .. } => 3,
        }
    }
}

/// What is handed to the broker: QoS 1 always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub topic: String,
    pub payload: String,
    pub retain: bool,
    /// The boot that a retained message is about, where one a boot is to arrive; else 0.
    pub about: i64,
}

impl Message {
    /// Its size on the wire at most: header, packet id and property length take less than 16 bytes.
    pub fn wire_bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + 16
    }
}

/// An event on its way: its place in the log and its bytes, frozen when it was read.
#[derive(Clone, Debug)]
pub(super) struct Queued {
    pub seq: Seq,
    pub message: Message,
    /// Until when it waits for a trusted time. µs; none: not at all.
    pub patient_until_us: Option<i64>,
    /// Its row is not as it was written: a letter, never sent.
    pub is_damaged: bool,
}

/// How an event stands with the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Never published.
    Waiting,
    /// Published on this connection, unanswered.
    InFlight,
    /// To be published again, not before this time. µs.
    Later(i64),
    /// Waits until its lane is released.
    Held,
    /// The broker has taken it; whether anybody subscribes.
    Acked(bool),
    /// It will not be sent: a letter, and what was seen.
    Dead(Reason, &'static str),
    /// Settled, while an older one is not: only where no cursor asks for the order.
    Gone,
}

impl Stand {
    /// Whether nothing more is expected of the broker.
    const fn is_answer(self) -> bool {
        matches!(self, Self::Acked(_) | Self::Dead(..) | Self::Gone)
    }
}

/// One event of the line.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub seq: Seq,
    pub message: Message,
    /// See [`Queued`].
    pub is_damaged: bool,
    pub stand: Stand,
    /// See [`Queued`].
    pub patient_until_us: Option<i64>,
    /// Refusals, for the wait before the next try.
    pub refusals: u32,
    /// Refusals while others passed: these may end in a letter.
    pub attempts: u32,
    /// How many events had passed at its last refusal.
    pub passed: u64,
    /// Connections that the broker ended while it alone was in flight.
    pub strikes: u32,
    /// How many events had passed before the first of them, or of the silences.
    pub struck_at: u64,
    /// Connections on which the broker answered others and not it, until they were given up.
    pub silences: u32,
    /// Publish to acknowledgement. µs.
    pub took_us: i64,
}

/// Why a lane is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// 0x10 and the operator wants such events to wait.
    NoSubscriber,
    /// 0x87.
    NotAuthorized,
}

/// A lane that waits and tries one event from time to time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub cause: Cause,
    pub again_us: i64,
    pub tries: u32,
    /// The event whose answer decides.
    pub probe: Option<u64>,
}

/// An event that became a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grave {
    pub seq: Seq,
    pub reason: Reason,
    /// What was seen.
    pub why: &'static str,
    pub payload: String,
}

/// What one commit says: of a lane how far its cursor moves, of what was sent again which events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub track: Track,
    pub from: Seq,
    pub first: Seq,
    pub through: Seq,
    pub sent: i64,
    pub unheard: i64,
    pub slowest_us: i64,
    pub graves: Vec<Grave>,
    /// Sent again and taken; whether anybody subscribes.
    pub taken: Vec<(Seq, bool)>,
}

impl Batch {
    /// Events that it holds something of; of the others only how many.
    fn held(&self) -> usize {
        self.graves.len() + self.taken.len()
    }

    /// Events it settles.
    #[cfg(test)]
    pub fn settled(&self) -> i64 {
        self.sent + self.unheard + i64::try_from(self.graves.len()).unwrap_or(i64::MAX)
    }
}

/// One lane.
#[derive(Debug)]
pub(super) struct Line {
    pub track: Track,
    /// There may be events to be sent again that have not been read.
    pub asked: bool,
    /// The last event of a replay; none where there is none.
    pub upto: Option<Seq>,
    /// What the committed cursor says, or will once `committing` is answered.
    pub cursor: Seq,
    pub read_to: Seq,
    pub reading: bool,
    pub read_again_us: i64,
    pub items: VecDeque<Item>,
    /// Number of the front item; items are numbered as they come.
    pub base: u64,
    /// Number of the first item that was never published.
    pub fresh: u64,
    /// Items that stand as [`Stand::Later`].
    pub later: usize,
    /// Items that are answered while an older one is not.
    pub answered: usize,
    pub hold: Option<Hold>,
    /// Whether the time is trusted and told: nothing waits for that any more.
    pub trusted: bool,
    pub done: Option<Batch>,
    pub done_since_us: i64,
    pub committing: Option<Batch>,
    pub commit_again_us: Option<i64>,
}

impl Line {
    pub fn new(track: Track, cursor: Seq) -> Self {
        Self {
            track,
            asked: track.again,
            upto: None,
            cursor,
            read_to: cursor,
            reading: false,
            read_again_us: i64::MIN,
            items: VecDeque::new(),
            base: 0,
            fresh: 0,
            later: 0,
            answered: 0,
            hold: None,
            trusted: false,
            done: None,
            done_since_us: 0,
            committing: None,
            commit_again_us: None,
        }
    }

    fn index(&self, n: u64) -> Option<usize> {
        usize::try_from(n.checked_sub(self.base)?).ok()
    }

    pub fn item(&mut self, n: u64) -> Option<&mut Item> {
        let index = self.index(n)?;
        self.items.get_mut(index)
    }

    pub fn is_in_flight(&self, n: u64) -> bool {
        self.index(n).and_then(|at| self.items.get(at)).is_some_and(|item| item.stand == Stand::InFlight)
    }

    pub fn end(&self) -> u64 {
        self.base + self.items.len() as u64
    }

    pub fn push(&mut self, row: Queued) {
        let Queued { seq, message, is_damaged, patient_until_us } = row;
        self.items.push_back(Item {
            seq,
            message,
            is_damaged,
            stand: Stand::Waiting,
            patient_until_us,
            refusals: 0,
            attempts: 0,
            passed: 0,
            strikes: 0,
            struck_at: 0,
            silences: 0,
            took_us: 0,
        });
    }

    /// Changes how an item stands and keeps the count of those to be published again.
    pub fn stand(&mut self, n: u64, stand: Stand) {
        let Some(item) = self.item(n) else { return };
        let was = item.stand;
        item.stand = stand;
        if matches!(stand, Stand::Acked(_)) {
            item.message = Message::default();
        }
        self.later -= usize::from(matches!(was, Stand::Later(_)));
        self.later += usize::from(matches!(stand, Stand::Later(_)));
        self.answered -= usize::from(was.is_answer());
        self.answered += usize::from(stand.is_answer());
        if was == Stand::Waiting && n == self.fresh {
            self.fresh += 1;
        }
    }

    /// The next event to publish now; `aside` is left out.
    pub fn candidate(&self, now_us: i64, aside: Option<u64>) -> Option<u64> {
        let number = |index: usize| self.base + index as u64;
        if let Some(hold) = self.hold {
            if hold.probe.is_some() || now_us < hold.again_us {
                return None;
            }
            // The one whose answer would decide may have become a letter meanwhile: then the next asks.
            if let Some(held) = self.items.iter().position(|item| item.stand == Stand::Held) {
                return Some(number(held));
            }
        }
        if self.later > 0 {
            let due = self.items.iter().enumerate().find(|(index, item)| {
                matches!(item.stand, Stand::Later(at) if at <= now_us) && Some(number(*index)) != aside
            });
            if let Some((index, _)) = due {
                return Some(number(index));
            }
        }
        (self.fresh < self.end() && self.patient_until_us().is_none_or(|until| until <= now_us)).then_some(self.fresh)
    }

    /// Until when the next event waits for a trusted time, and the lane behind it. µs.
    fn patient_until_us(&self) -> Option<i64> {
        self.index(self.fresh).and_then(|at| self.items.get(at)?.patient_until_us).filter(|_| !self.trusted)
    }

    /// When [`Line::candidate`] may next have one without anything else happening. µs.
    pub fn due_us(&self) -> Option<i64> {
        if let Some(hold) = self.hold {
            return hold.probe.is_none().then_some(hold.again_us);
        }
        let patient = self.patient_until_us();
        if self.later == 0 {
            return patient;
        }
        let later = |item: &Item| if let Stand::Later(at) = item.stand { Some(at) } else { None };
        self.items.iter().filter_map(later).chain(patient).min()
    }

    /// Lets the lane go on: what waited is published again, in seq order.
    pub fn release(&mut self) {
        self.hold = None;
        for n in self.base..self.end() {
            if self.item(n).is_some_and(|item| item.stand == Stand::Held) {
                self.stand(n, Stand::Later(i64::MIN));
            }
        }
    }

    /// Takes settled events off the front into the next commit; what is sent again, in any order.
    pub fn advance(&mut self, now_us: i64) {
        if self.track.again {
            for n in self.base..self.end() {
                let Some(item) = self.item(n) else { continue };
                if matches!(item.stand, Stand::Acked(_) | Stand::Dead(..)) {
                    let settled = item.clone();
                    (item.stand, item.message) = (Stand::Gone, Message::default());
                    self.settle(&settled, now_us);
                }
            }
        }
        while let Some(Item { stand: Stand::Acked(_) | Stand::Dead(..) | Stand::Gone, .. }) = self.items.front() {
            let Some(item) = self.items.pop_front() else { return };
            self.base += 1;
            self.answered -= 1;
            if item.stand != Stand::Gone {
                self.settle(&item, now_us);
            }
        }
        self.fresh = self.fresh.max(self.base);
    }

    fn settle(&mut self, item: &Item, now_us: i64) {
        if self.done.is_none() {
            self.done_since_us = now_us;
        }
        let batch = self.done.get_or_insert_with(|| Batch {
            track: self.track,
            from: self.cursor,
            first: item.seq,
            through: item.seq,
            sent: 0,
            unheard: 0,
            slowest_us: 0,
            graves: Vec::new(),
            taken: Vec::new(),
        });
        batch.through = item.seq;
        batch.slowest_us = batch.slowest_us.max(item.took_us);
        if let (Stand::Acked(heard), true) = (item.stand, self.track.again) {
            batch.taken.push((item.seq, heard));
        }
        match item.stand {
            Stand::Dead(reason, why) => {
                let payload = item.message.payload.clone();
                batch.graves.push(Grave { seq: item.seq, reason, why, payload });
            }
            Stand::Acked(false) => batch.unheard += 1,
            _ => batch.sent += 1,
        }
    }

    /// The batch to be committed now, if one is due: one at a time.
    pub fn commit(&mut self, now_us: i64, gather_us: i64, held_max: usize, at_once: bool) -> Option<Batch> {
        if let Some(again_us) = self.commit_again_us {
            if now_us < again_us {
                return None;
            }
            self.commit_again_us = None;
            return self.committing.clone();
        }
        if self.track.again && self.reading {
            return None;
        }
        let done = self.done.as_ref()?;
        let due = at_once || now_us >= self.done_since_us + gather_us || done.held() >= held_max;
        if self.committing.is_some() || !due {
            return None;
        }
        let batch = self.done.take()?;
        self.cursor = batch.through;
        self.committing = Some(batch.clone());
        Some(batch)
    }

    /// When [`Line::commit`] may next have one. µs.
    pub fn commit_due_us(&self, gather_us: i64) -> Option<i64> {
        if self.committing.is_some() {
            return self.commit_again_us;
        }
        self.done.as_ref().filter(|_| !(self.track.again && self.reading)).map(|_| self.done_since_us + gather_us)
    }

    /// Whether nothing waits.
    pub fn is_settled(&self, head: Seq) -> bool {
        self.items.is_empty() && !self.reading && if self.track.again { !self.asked } else { self.read_to >= head }
    }

    /// Whether everything up to a place in the log is settled, and committed.
    pub fn has_settled(&self, mark: Seq, head: Seq) -> bool {
        if self.track.again {
            return self.is_settled(head);
        }
        let waits = |batch: &Option<Batch>| batch.as_ref().is_some_and(|batch| batch.first <= mark);
        let open = self.first_unacked().is_some_and(|seq| seq <= mark);
        self.read_to >= mark && !open && !waits(&self.done) && !waits(&self.committing)
    }

    /// Whether there is more to read. Of what is sent again the rows that wait are read, and those that are known left out: so
    /// no commit may come between the two, for after it an event would be neither.
    pub fn wants_rows(&self, head: Seq) -> bool {
        if self.track.again {
            return self.asked && self.done.is_none() && self.committing.is_none();
        }
        self.read_to < if self.track.replay { self.upto.unwrap_or_default() } else { head }
    }

    /// Begins a replay behind a place.
    pub fn replay(&mut self, through: Seq, upto: Seq) {
        (self.cursor, self.read_to, self.upto) = (through, through, Some(upto));
    }

    /// Whether all of a replay has been answered and written down.
    pub fn is_replayed(&self) -> bool {
        let is_read = self.upto.is_some_and(|upto| self.read_to >= upto) && !self.reading;
        is_read && self.items.is_empty() && self.done.is_none() && self.committing.is_none()
    }

    /// Takes rows in; `seen` is how far the log was looked through.
    pub fn read(&mut self, mut rows: Vec<Queued>, seen: Seq) {
        self.reading = false;
        self.read_to = self.read_to.max(seen);
        if self.track.again {
            let known = self.known();
            rows.retain(|row| !known.contains(&row.seq));
            // There may be more, until a look finds none.
            self.asked |= !rows.is_empty();
        }
        rows.into_iter().for_each(|row| self.push(row));
    }

    /// The events that are being sent, or are settled and not yet in the store.
    fn known(&self) -> BTreeSet<Seq> {
        let done = self.done.iter().flat_map(|batch| {
            batch.taken.iter().map(|(seq, _)| *seq).chain(batch.graves.iter().map(|grave| grave.seq))
        });
        let items = self.items.iter().filter(|item| item.stand != Stand::Gone);
        items.map(|item| item.seq).chain(done).collect()
    }

    /// The first event that the broker has not taken.
    pub fn first_unacked(&self) -> Option<Seq> {
        self.items.front().map(|item| item.seq)
    }
}
