//! One lane of the session: the rows read ahead, how each stands with the broker, and the group whose cursor commit is due.
//! Pure: no clock, no I/O.

use std::collections::VecDeque;

use crate::domain::{Lane, Reason, Seq};

/// What is handed to the broker: QoS 1 always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub topic: String,
    pub payload: String,
    pub retain: bool,
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
    /// It will not be sent: a letter.
    Dead(Reason, u8),
}

/// One event of the line.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub seq: Seq,
    pub message: Message,
    /// See [`Queued`].
    pub is_damaged: bool,
    pub stand: Stand,
    /// Refusals, for the wait before the next try.
    pub refusals: u32,
    /// Refusals while others passed: these may end in a letter.
    pub attempts: u32,
    /// How many events had passed at its last refusal.
    pub passed: u64,
    /// Connections that ended while it was the oldest in flight.
    pub losses: u32,
    /// Connections that ended while it alone was in flight.
    pub strikes: u32,
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
    pub code: u8,
    pub payload: String,
}

/// What one cursor commit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub lane: Lane,
    pub from: Seq,
    pub first: Seq,
    pub through: Seq,
    pub sent: i64,
    pub unheard: i64,
    pub slowest_us: i64,
    pub graves: Vec<Grave>,
}

impl Batch {
    /// Events it settles.
    pub fn settled(&self) -> i64 {
        self.sent + self.unheard + i64::try_from(self.graves.len()).unwrap_or(i64::MAX)
    }
}

/// One lane.
#[derive(Debug)]
pub(super) struct Line {
    pub lane: Lane,
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
    pub hold: Option<Hold>,
    pub done: Option<Batch>,
    pub done_since_us: i64,
    pub committing: Option<Batch>,
    pub commit_again_us: Option<i64>,
}

impl Line {
    pub fn new(lane: Lane, cursor: Seq) -> Self {
        Self {
            lane,
            cursor,
            read_to: cursor,
            reading: false,
            read_again_us: i64::MIN,
            items: VecDeque::new(),
            base: 0,
            fresh: 0,
            later: 0,
            hold: None,
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

    pub fn end(&self) -> u64 {
        self.base + self.items.len() as u64
    }

    pub fn push(&mut self, row: Queued) {
        let Queued { seq, message, is_damaged } = row;
        self.items.push_back(Item {
            seq,
            message,
            is_damaged,
            stand: Stand::Waiting,
            refusals: 0,
            attempts: 0,
            passed: 0,
            losses: 0,
            strikes: 0,
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
            return self.items.iter().position(|item| item.stand == Stand::Held).map(number);
        }
        if self.later > 0 {
            let due = self.items.iter().enumerate().find(|(index, item)| {
                matches!(item.stand, Stand::Later(at) if at <= now_us) && Some(number(*index)) != aside
            });
            if let Some((index, _)) = due {
                return Some(number(index));
            }
        }
        (self.fresh < self.end()).then_some(self.fresh)
    }

    /// When [`Line::candidate`] may next have one without anything else happening. µs.
    pub fn due_us(&self) -> Option<i64> {
        if let Some(hold) = self.hold {
            return hold.probe.is_none().then_some(hold.again_us);
        }
        if self.later == 0 {
            return None;
        }
        self.items.iter().filter_map(|item| if let Stand::Later(at) = item.stand { Some(at) } else { None }).min()
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

    /// Takes settled events off the front into the next commit.
    pub fn advance(&mut self, now_us: i64) {
        while let Some(Item { stand: Stand::Acked(_) | Stand::Dead(..), .. }) = self.items.front() {
            let Some(item) = self.items.pop_front() else { return };
            self.base += 1;
            self.settle(&item, now_us);
        }
        self.fresh = self.fresh.max(self.base);
    }

    fn settle(&mut self, item: &Item, now_us: i64) {
        if self.done.is_none() {
            self.done_since_us = now_us;
        }
        let batch = self.done.get_or_insert_with(|| Batch {
            lane: self.lane,
            from: self.cursor,
            first: item.seq,
            through: item.seq,
            sent: 0,
            unheard: 0,
            slowest_us: 0,
            graves: Vec::new(),
        });
        batch.through = item.seq;
        batch.slowest_us = batch.slowest_us.max(item.took_us);
        match item.stand {
            Stand::Dead(reason, code) => {
                let payload = item.message.payload.clone();
                batch.graves.push(Grave { seq: item.seq, reason, code, payload });
            }
            Stand::Acked(false) => batch.unheard += 1,
            _ => batch.sent += 1,
        }
    }

    /// The batch to be committed now, if one is due: one at a time.
    pub fn commit(&mut self, now_us: i64, gather_us: i64, gather_max: i64, at_once: bool) -> Option<Batch> {
        if let Some(again_us) = self.commit_again_us {
            if now_us < again_us {
                return None;
            }
            self.commit_again_us = None;
            return self.committing.clone();
        }
        let done = self.done.as_ref()?;
        let due = at_once || now_us >= self.done_since_us + gather_us || done.settled() >= gather_max;
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
        self.done.as_ref().map(|_| self.done_since_us + gather_us)
    }

    /// Events that the broker has taken while an older one holds the cursor.
    pub fn acked(&self) -> usize {
        self.items.iter().filter(|item| matches!(item.stand, Stand::Acked(_))).count()
    }

    /// Whether nothing waits and nothing is being committed.
    pub fn is_settled(&self, head: Seq) -> bool {
        self.items.is_empty() && self.read_to >= head
    }

    /// The first event that the broker has not taken.
    pub fn first_unacked(&self) -> Option<Seq> {
        self.items.front().map(|item| item.seq)
    }
}
