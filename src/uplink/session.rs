//! The session with the platform as a machine without clock, socket or store: inputs change it, `plan` says what to do.
//! When to connect, window, lanes, acknowledgements, retries and the isolation of poison are decided here and nowhere else.
//!
//! **Invariant:** an event counts as sent only by the acknowledgement of that very publish.

mod blame;
mod turns;

use std::collections::VecDeque;

use crate::domain::{Lane, Reason, Seq};
use crate::health::{ReconnectReason, publish_code};

use super::backoff::Decorrelated;
use super::conn::Conn;
use super::dial::{Dial, End};
use super::lane::{Cause, Hold, Item, Line, Message, Stand, Track};
use super::ration::Ration;
use super::rival::{Closing, Rival};
use super::script::{Answer, Effect, Input, Rules, Trouble, letter_of};

/// Rows that a lane reads ahead at least, however small the window.
const AHEAD_MIN: usize = 128;
/// Rows that a lane holds at most: the broker has taken those after one that it will not take.
const HELD_MAX: usize = 4096;
/// Retained messages that may wait at once: topics are few and the newest wins.
const DESK_MAX: usize = 128;
/// The machine.
#[derive(Debug)]
pub(super) struct Session {
    rules: Rules,
    head: Seq,
    /// In the order of [`Track::ALL`].
    lines: [Line; 5],
    dial: Dial,
    conn: Option<Conn>,
    desk: VecDeque<Message>,
    /// Whether it has been told of this connection that messages were left out.
    is_crowded: bool,
    in_row: u32,
    /// Publishes since the last that was replayed.
    since_replay: u32,
    /// Of a lane: whether what is sent again is next.
    again_next: [bool; 2],
    /// Events the broker has taken, ever.
    passed: u64,
    refused: bool,
    /// Ended a connection while it alone was in flight: lets others pass, then it is sent alone once more.
    suspect: Option<(usize, u64)>,
    /// Events that were in flight when the broker ended the connection: so many go one by one, for one of them may be why.
    careful: usize,
    /// Connections in a row that were given up for a publish unanswered while later ones were.
    hushed: u32,
    /// What the broker passed over on the connection before, and its place on it.
    overtaken: Option<((usize, u64), u64)>,
    rate: Ration,
    replay_rate: Ration,
    budget: Ration,
    spent: bool,
    stuck: bool,
    stopping: bool,
}

impl Session {
    /// A session that goes on behind the stored cursors.
    pub fn new(rules: Rules, policy: Decorrelated, head: Seq, scan: Seq, fix: Seq) -> Self {
        let (per_s, per_day) = (f64::from(rules.max_per_s), f64::from(rules.mib_per_day) * 1_048_576.0);
        Self {
            dial: Dial::new(policy, &rules),
            rules,
            head,
            lines: Track::ALL.map(|track| Line::new(track, if track.lane == Lane::Scan { scan } else { fix })),
            conn: None,
            desk: VecDeque::new(),
            is_crowded: false,
            in_row: 0,
            since_replay: 0,
            again_next: [false; 2],
            passed: 0,
            refused: false,
            suspect: None,
            careful: 0,
            hushed: 0,
            overtaken: None,
            rate: Ration::new(per_s, 1e6, per_s.max(1.0)),
            replay_rate: Ration::new(per_s / turns::REPLAY_SHARE, 1e6, 1.0),
            // A day's budget may be spent in bursts of an hour's worth.
            budget: Ration::new(per_day, 86_400e6, (per_day / 24.0).max(1.0)),
            spent: false,
            stuck: false,
            stopping: false,
        }
    }

    /// Takes an input in. Answers what was answered when that was an event.
    pub fn step(&mut self, input: Input, now_us: i64) -> Option<Answer> {
        match input {
            Input::Connected { receive_max, packet_max, retains } => {
                self.connected(receive_max, packet_max, retains, now_us);
            }
            Input::Lost { by_peer, code, barred, taken } => {
                let flew = self.conn.as_ref().is_some_and(|conn| conn.events > 0);
                let end = self.lost(by_peer, code, now_us);
                // What ended for an event did not end for another client.
                let closing = end.map(|end| Closing { taken, by_peer: by_peer && end != End::Blamed, flew });
                self.dial.closed(closing, now_us);
                self.dial.over(end.filter(|_| !barred).unwrap_or(End::Refused), now_us);
            }
            Input::Anew => {
                self.lost(false, None, now_us);
                self.dial.anew(now_us);
            }
            Input::Mute(is_mute) => self.dial.mute(is_mute, now_us),
            Input::Head(seq) => self.head = self.head.max(seq),
            Input::Resend => self.lines.iter_mut().for_each(|line| line.asked = line.track.again),
            Input::Read { track, rows, seen } => {
                self.lines[track.index()].read(rows, seen);
            }
            Input::ReadFailed(track) => {
                let line = &mut self.lines[track.index()];
                line.reading = false;
                line.asked = line.track.again;
                line.read_again_us = now_us + self.rules.retry_base_us;
            }
            Input::Answered { ticket, code } => return self.answered(ticket, code, now_us),
            Input::Say(message) => self.say(message),
            Input::Committed(track) => {
                self.lines[track.index()].committing = None;
                self.stuck = self.lines.iter().any(|line| line.commit_again_us.is_some());
            }
            Input::CommitFailed(track) => {
                self.lines[track.index()].commit_again_us = Some(now_us + self.rules.retry_base_us);
                self.stuck = true;
            }
            Input::Replay(Some((through, upto))) => self.lines[Track::REPLAY.index()].replay(through, upto),
            // The next may have begun before the end of the one before it was told.
            Input::Replay(None) if self.is_replayed() => self.lines[Track::REPLAY.index()].upto = None,
            Input::Replay(None) => {}
            Input::Trusted => self.lines.iter_mut().for_each(|line| line.trusted = true),
            Input::Stop => self.stopping = true,
        }
        None
    }

    /// What is to be done now.
    pub fn plan(&mut self, now_us: i64, effects: &mut Vec<Effect>) {
        if !self.stopping && self.dial.take(now_us) {
            effects.push(Effect::Connect);
        }
        self.fill(now_us, effects);
        let at_once = self.stopping;
        let Rules { gather_us, held_max, .. } = self.rules;
        for line in &mut self.lines {
            line.advance(now_us);
            effects.extend(line.commit(now_us, gather_us, held_max, at_once).map(Effect::Commit));
        }
        self.read_ahead(now_us, effects);
        let is_silent = self.silent_us().is_some_and(|at| at <= now_us);
        if let Some(conn) = self.conn.as_mut().filter(|conn| is_silent && !conn.dropped) {
            conn.dropped = true;
            effects.push(Effect::Drop(ReconnectReason::NoAck));
        }
    }

    /// When `plan` has something to do without any input. µs.
    pub fn due_us(&self) -> Option<i64> {
        let commits = self.lines.iter().filter_map(|line| line.commit_due_us(self.rules.gather_us)).min();
        let Some(conn) = &self.conn else {
            let dial = self.dial.due_us().filter(|_| !self.stopping);
            return [commits, dial].into_iter().flatten().min();
        };
        let retries = self.lines.iter().filter_map(Line::due_us).min();
        let one_by_one = self.suspect.is_some() || (self.careful > 0 && conn.events > 0);
        let retries = retries.filter(|_| conn.flights.len() < conn.window && !one_by_one);
        let reads = self.lines.iter().filter(|line| line.wants_rows(self.head) && !line.reading);
        let reads = reads.map(|line| line.read_again_us).filter(|at| *at > i64::MIN).min();
        let ration = self.rate.ready_us().max(self.budget.ready_us()).filter(|_| self.waits());
        let replay = self.replay_rate.ready_us().filter(|_| self.lines[Track::REPLAY.index()].upto.is_some());
        [commits, retries, reads, self.silent_us(), ration, replay].into_iter().flatten().min()
    }

    /// Publishes in flight.
    pub fn in_flight(&self) -> usize {
        self.conn.as_ref().map_or(0, |conn| conn.flights.iter().flatten().count())
    }

    /// Whether nothing is in flight, settled but uncommitted, or waiting to be said.
    pub fn is_quiet(&self) -> bool {
        self.conn.as_ref().is_none_or(|conn| conn.flights.is_empty() && self.desk.is_empty())
            && self.lines.iter().all(|line| line.done.is_none() && line.committing.is_none())
    }

    /// Whether every event of the log is settled.
    pub fn is_drained(&self) -> bool {
        self.lines.iter().filter(|line| !line.track.replay).all(|line| line.is_settled(self.head))
    }

    /// Whether a replay has come to its end.
    pub fn is_replayed(&self) -> bool {
        self.lines[Track::REPLAY.index()].is_replayed()
    }

    /// Of a lane: the first event the broker has not taken, and the cursor.
    pub fn lane(&self, lane: Lane) -> (Option<Seq>, Seq) {
        let line = &self.lines[Track::first(lane).index()];
        (line.first_unacked(), line.cursor)
    }

    /// The newest event known.
    pub const fn head(&self) -> Seq {
        self.head
    }

    /// Whether a connection stands.
    pub const fn is_connected(&self) -> bool {
        self.conn.is_some()
    }

    /// When the next connection is to be made. µs; none while one stands or is being made.
    pub fn next_try_us(&self) -> Option<i64> {
        self.dial.due_us()
    }

    /// Events the broker has taken since the start.
    pub const fn passed(&self) -> u64 {
        self.passed
    }

    /// What the day's budget lets pass now, KiB; none without one.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never negative, and a float cast saturates"
    )]
    pub fn budget_left_kib(&self) -> Option<u64> {
        self.budget.left().map(|bytes| (bytes / 1024.0) as u64)
    }

    /// Whether each event up to a place in the log is settled, and the store knows.
    pub fn has_settled(&self, mark: Seq) -> bool {
        self.lines.iter().filter(|line| !line.track.replay).all(|line| line.has_settled(mark, self.head))
    }

    /// The ticket of the next publish, when all that was to be said is on its way.
    pub fn next_ticket(&self) -> Option<u64> {
        self.conn.as_ref().filter(|_| self.desk.is_empty()).map(Conn::next_ticket)
    }

    /// Whether the broker has answered every publish before a ticket.
    pub fn is_answered_to(&self, ticket: u64) -> bool {
        self.conn.as_ref().is_some_and(|conn| conn.is_answered_to(ticket))
    }

    /// What is known of another client with the same client id.
    pub const fn rival(&self) -> &Rival {
        self.dial.rival()
    }

    /// Whether such a one of before is gone, as the connection has stood for long.
    pub fn is_rival_gone(&mut self, now_us: i64) -> bool {
        let stands = self.conn.is_some();
        self.dial.is_rival_gone(stands, now_us)
    }

    /// What a person should know of.
    pub fn trouble(&self) -> Trouble {
        let held = |cause| self.lines.iter().any(|line| line.hold.is_some_and(|hold| hold.cause == cause));
        Trouble {
            no_subscriber: held(Cause::NoSubscriber),
            not_authorized: held(Cause::NotAuthorized),
            refused: self.refused,
            budget: self.spent,
        }
    }

    fn connected(&mut self, receive_max: usize, packet_max: usize, retains: bool, now_us: i64) {
        self.desk.clear();
        self.is_crowded = false;
        self.dial.connected(now_us);
        let window = self.rules.window.min(receive_max).max(1);
        self.conn = Some(Conn::new(window, packet_max, retains, now_us));
        for line in &mut self.lines {
            if let Some(hold) = &mut line.hold {
                hold.again_us = now_us;
            }
        }
    }

    fn say(&mut self, message: Message) {
        let is_same = |waiting: &&mut Message| waiting.topic == message.topic && waiting.about == message.about;
        if let Some(waiting) = self.desk.iter_mut().find(is_same) {
            *waiting = message;
        } else if self.desk.len() < DESK_MAX {
            self.desk.push_back(message);
        } else if !std::mem::replace(&mut self.is_crowded, true) {
            tracing::warn!(
                topic = message.topic,
                "too many messages wait; this and more are left out until they change"
            );
        }
    }

    fn answered(&mut self, ticket: u64, code: u8, now_us: i64) -> Option<Answer> {
        let flight = self.conn.as_mut()?.answered(ticket, now_us)?;
        self.dial.answered(now_us);
        let Some((lane, n)) = flight.event else {
            if code >= 0x80 {
                tracing::warn!(code = publish_code(code), "the broker refused a message about this node");
            }
            return None;
        };
        let took_us = now_us - flight.at_us;
        self.settle((lane, n), code, took_us, now_us);
        Some(Answer { track: self.lines[lane].track, took_us })
    }

    fn settle(&mut self, event: (usize, u64), code: u8, took_us: i64, now_us: i64) {
        let (lane, n) = event;
        self.suspect = self.suspect.filter(|one| *one != event);
        self.careful = self.careful.saturating_sub(1);
        let line = &mut self.lines[lane];
        let probing = line.hold.is_some_and(|hold| hold.probe == Some(n));
        if let Some(item) = line.item(n) {
            item.took_us = took_us;
            (item.strikes, item.silences) = (0, 0);
        }
        match code {
            0x10 if self.rules.hold_unheard => self.hold(event, Cause::NoSubscriber, now_us),
            0x87 => self.hold(event, Cause::NotAuthorized, now_us),
            0x00..=0x7f => {
                line.stand(n, Stand::Acked(code != 0x10));
                if probing {
                    line.release();
                }
                self.pass();
            }
            _ => {
                if probing {
                    line.release();
                }
                match letter_of(code) {
                    Some(reason) => line.stand(n, Stand::Dead(reason, publish_code(code))),
                    None => self.refuse(event, code, now_us),
                }
            }
        }
        self.lines[lane].advance(now_us);
    }

    /// An event has passed.
    fn pass(&mut self) {
        self.passed += 1;
        self.refused = false;
        if let Some(conn) = &mut self.conn {
            conn.passed += 1;
        }
    }

    fn hold(&mut self, (lane, n): (usize, u64), cause: Cause, now_us: i64) {
        let (base, cap) = (self.rules.retry_base_us, self.rules.retry_cap_us);
        let line = &mut self.lines[lane];
        line.stand(n, Stand::Held);
        match &mut line.hold {
            Some(hold) if hold.probe == Some(n) => {
                hold.tries += 1;
                *hold =
                    Hold { cause, probe: None, again_us: now_us + wait_us(base, cap, hold.tries), tries: hold.tries };
            }
            Some(_) => {}
            None => line.hold = Some(Hold { cause, again_us: now_us + base, tries: 0, probe: None }),
        }
    }

    fn refuse(&mut self, (lane, n): (usize, u64), code: u8, now_us: i64) {
        let passed = self.passed;
        let ahead = self.ahead();
        let Rules { retry_base_us, retry_cap_us, attempts, .. } = self.rules;
        let line = &mut self.lines[lane];
        // When all that may overtake it has done so, nothing more can.
        let overtaken = line.answered >= ahead / 2;
        let Some(item) = line.item(n) else { return };
        // A broker that refuses everything says nothing about this event.
        item.attempts += u32::from(item.refusals == 0 || passed > item.passed || overtaken);
        item.passed = passed;
        let wait = wait_us(retry_base_us, retry_cap_us, item.refusals);
        item.refusals += 1;
        self.refused |= item.refusals >= 3;
        let dead = item.attempts >= attempts;
        let died = Stand::Dead(Reason::BrokerRefused, publish_code(code));
        line.stand(n, if dead { died } else { Stand::Later(now_us + wait) });
    }

    fn fill(&mut self, now_us: i64, effects: &mut Vec<Effect>) {
        self.spent = !self.stopping && self.waits() && !self.budget.ready(now_us);
        // It fills while the lanes have all turns, too: else it would look due, and the loop would not rest.
        self.replay_rate.ready(now_us);
        loop {
            let Some(conn) = &self.conn else { return };
            if conn.dropped || conn.flights.len() >= conn.window {
                return;
            }
            let (packet_max, retains) = (conn.packet_max, conn.retains);
            if let Some(mut message) = self.desk.pop_front() {
                // A broker that keeps nothing would end the connection for it.
                message.retain &= retains;
                if message.wire_bytes() > packet_max {
                    tracing::warn!(topic = message.topic, packet_max, "larger than the broker takes; left out");
                } else {
                    self.spend(&message);
                    self.launch(None, message, None, now_us, effects);
                }
                continue;
            }
            if self.stopping || self.stuck || self.spent || !self.rate.ready(now_us) {
                return;
            }
            let Some((lane, n)) = self.choose(now_us) else { return };
            let line = &mut self.lines[lane];
            let Some(&mut Item { seq, ref message, is_damaged, .. }) = line.item(n) else { return };
            if is_damaged {
                line.stand(n, Stand::Dead(Reason::DigestMismatch, "the row is not as it was written"));
                line.advance(now_us);
                continue;
            }
            if message.wire_bytes() > packet_max {
                line.stand(n, Stand::Dead(Reason::TooLarge, publish_code(0x95)));
                line.advance(now_us);
                continue;
            }
            let message = message.clone();
            line.stand(n, Stand::InFlight);
            if let Some(hold) = &mut line.hold {
                hold.probe = Some(n);
            }
            // What is replayed has been sent before: its answer says nothing of where the event stands.
            let event = Some((line.track.lane, seq)).filter(|_| !line.track.replay);
            self.rate.take(1.0);
            if line.track.replay {
                self.replay_rate.take(1.0);
            }
            self.spend(&message);
            self.launch(Some((lane, n)), message, event, now_us, effects);
        }
    }

    /// What the node says of itself always goes, and is paid for like everything else.
    #[expect(clippy::cast_precision_loss, reason = "a message is far below 2^52 bytes")]
    fn spend(&mut self, message: &Message) {
        self.budget.take(message.wire_bytes() as f64);
    }

    fn launch(
        &mut self,
        flight: Option<(usize, u64)>,
        message: Message,
        event: Option<(Lane, Seq)>,
        now_us: i64,
        effects: &mut Vec<Effect>,
    ) {
        let Some(conn) = &mut self.conn else { return };
        let ticket = conn.launch(flight, now_us);
        effects.push(Effect::Publish { ticket, message, event });
    }

    fn read_ahead(&mut self, now_us: i64, effects: &mut Vec<Effect>) {
        if self.conn.is_none() || self.stopping {
            return;
        }
        let ahead = self.ahead();
        for line in &mut self.lines {
            // What is answered and waits for an older one is next to nothing, and shows that the broker takes others.
            let room =
                ahead.saturating_sub(line.items.len() - line.answered).min(HELD_MAX.saturating_sub(line.items.len()));
            if line.reading || !line.wants_rows(self.head) || room < ahead / 2 || now_us < line.read_again_us {
                continue;
            }
            (line.reading, line.asked) = (true, false);
            // Those that are known come again among the others.
            let limit = if line.track.again { room + line.items.len() } else { room };
            effects.push(Effect::Read { track: line.track, after: line.read_to, limit });
        }
    }

    /// Rows of a lane that may wait for their answer, or to be sent.
    fn ahead(&self) -> usize {
        (2 * self.rules.window).max(AHEAD_MIN)
    }

    fn waits(&self) -> bool {
        self.conn.as_ref().is_some_and(|conn| conn.flights.len() < conn.window)
            && self.lines.iter().any(|line| line.fresh < line.end() || line.later > 0)
    }
}

/// The wait before a try that follows `tries` others. µs.
fn wait_us(base_us: i64, cap_us: i64, tries: u32) -> i64 {
    base_us.saturating_mul(1 << tries.min(20)).min(cap_us)
}
