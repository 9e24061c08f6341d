//! The session with the platform as a machine without clock, socket or store: inputs change it, `plan` says what to do.
//! Window, lanes, acknowledgements, retries and the isolation of poison are decided here and nowhere else.
//!
//! **Invariant:** an event counts as sent only by the acknowledgement of that very publish.

use std::collections::VecDeque;

use crate::domain::{Lane, Reason, Seq};
use crate::health::{ReconnectReason, publish_code};

use super::conn::Conn;
use super::lane::{Cause, Hold, Item, Line, Message, Stand, Track};
use super::ration::Ration;
use super::script::{Answer, Effect, Input, Rules, Trouble, letter_of};

/// Scans in a row before a waiting fix has its turn.
const TURN: u32 = 4;
/// Rows that a lane reads ahead at least, however small the window.
const AHEAD_MIN: usize = 128;
/// Retained messages that may wait at once: topics are few and the newest wins.
const DESK_MAX: usize = 128;
/// Lost connections with an event as the oldest in flight before it is sent alone.
const LOSSES: u32 = 2;
/// Lost connections with an event alone in flight before it must wait for another to pass.
const STRIKES: u32 = 3;

/// The machine.
#[derive(Debug)]
pub(super) struct Session {
    rules: Rules,
    head: Seq,
    /// In the order of [`Track::ALL`].
    lines: [Line; 4],
    conn: Option<Conn>,
    desk: VecDeque<Message>,
    in_row: u32,
    /// Of a lane: whether what is sent again is next.
    again_next: [bool; 2],
    /// Events the broker has taken, ever.
    passed: u64,
    refused: bool,
    suspect: Option<(usize, u64)>,
    /// Whether the last connection ended for an event that is known, or is to be sent alone now.
    blamed: bool,
    aside: Option<(usize, u64)>,
    rate: Ration,
    budget: Ration,
    spent: bool,
    stuck: bool,
    stopping: bool,
}

impl Session {
    /// A session that goes on behind the stored cursors.
    pub fn new(rules: Rules, head: Seq, scan: Seq, fix: Seq) -> Self {
        let (per_s, per_day) = (f64::from(rules.max_per_s), f64::from(rules.mib_per_day) * 1_048_576.0);
        Self {
            rules,
            head,
            lines: Track::ALL.map(|track| Line::new(track, if track.lane == Lane::Scan { scan } else { fix })),
            conn: None,
            desk: VecDeque::new(),
            in_row: 0,
            again_next: [false; 2],
            passed: 0,
            refused: false,
            suspect: None,
            blamed: false,
            aside: None,
            rate: Ration::new(per_s, 1e6, per_s.max(1.0)),
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
            Input::Lost { by_peer, code } => self.lost(by_peer, code, now_us),
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
            Input::Trusted => self.lines.iter_mut().for_each(|line| line.trusted = true),
            Input::Stop => self.stopping = true,
        }
        None
    }

    /// What is to be done now.
    pub fn plan(&mut self, now_us: i64, effects: &mut Vec<Effect>) {
        self.fill(now_us, effects);
        let at_once = self.stopping;
        let Rules { gather_us, gather_max, .. } = self.rules;
        for line in &mut self.lines {
            line.advance(now_us);
            effects.extend(line.commit(now_us, gather_us, gather_max, at_once).map(Effect::Commit));
        }
        self.read_ahead(now_us, effects);
        if let Some(conn) = &mut self.conn
            && !conn.dropped
            && !conn.flights.is_empty()
            && now_us - conn.heard_us >= self.rules.no_ack_us
        {
            conn.dropped = true;
            effects.push(Effect::Drop(ReconnectReason::NoAck));
        }
    }

    /// When `plan` has something to do without any input. µs.
    pub fn due_us(&self) -> Option<i64> {
        let commits = self.lines.iter().filter_map(|line| line.commit_due_us(self.rules.gather_us)).min();
        let Some(conn) = &self.conn else { return commits };
        let retries = self.lines.iter().filter_map(Line::due_us).min();
        let retries = retries.filter(|_| conn.flights.len() < conn.window && self.suspect.is_none());
        let reads = self.lines.iter().filter(|line| line.wants_rows(self.head) && !line.reading);
        let reads = reads.map(|line| line.read_again_us).filter(|at| *at > i64::MIN).min();
        let silence = (!conn.flights.is_empty()).then(|| conn.heard_us + self.rules.no_ack_us);
        let ration = self.rate.ready_us().max(self.budget.ready_us()).filter(|_| self.waits());
        [commits, retries, reads, silence, ration].into_iter().flatten().min()
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
        self.lines.iter().all(|line| line.is_settled(self.head))
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

    /// Whether the last connection ended for one event: the broker is well then.
    pub const fn is_one_to_blame(&self) -> bool {
        self.blamed
    }

    /// Events the broker has taken since the start.
    pub const fn passed(&self) -> u64 {
        self.passed
    }

    /// Whether an event is in flight.
    pub fn is_flying(&self) -> bool {
        self.conn.as_ref().is_some_and(|conn| conn.events > 0)
    }

    /// Whether each event up to a place in the log is settled, and the store knows.
    pub fn has_settled(&self, mark: Seq) -> bool {
        self.lines.iter().all(|line| line.has_settled(mark, self.head))
    }

    /// The ticket of the next publish, when all that was to be said is on its way.
    pub fn next_ticket(&self) -> Option<u64> {
        self.conn.as_ref().filter(|_| self.desk.is_empty()).map(Conn::next_ticket)
    }

    /// Whether the broker has answered every publish before a ticket.
    pub fn is_answered_to(&self, ticket: u64) -> bool {
        self.conn.as_ref().is_some_and(|conn| conn.is_answered_to(ticket))
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
        } else {
            tracing::warn!(topic = message.topic, "too many messages wait; this one is left out until it changes");
        }
    }

    fn lost(&mut self, by_peer: bool, code: Option<u8>, now_us: i64) {
        let Some(conn) = self.conn.take() else { return };
        self.blamed = false;
        let flying: Vec<(usize, u64)> = conn.flights.iter().flatten().filter_map(|flight| flight.event).collect();
        for (lane, n) in &flying {
            let line = &mut self.lines[*lane];
            if line.hold.is_some_and(|hold| hold.probe == Some(*n)) {
                line.stand(*n, Stand::Held);
                line.hold = line.hold.map(|hold| Hold { probe: None, again_us: now_us, ..hold });
            } else {
                line.stand(*n, Stand::Later(i64::MIN));
            }
        }
        if let Some(oldest) = flying.first().copied().filter(|_| by_peer) {
            let alone = flying.len() == 1 && conn.answers > 0;
            self.blame(oldest, alone, conn.passed > 0, code);
        }
        self.lines.iter_mut().for_each(|line| line.advance(now_us));
    }

    /// The connection ended with this event as the oldest unanswered: perhaps because of it.
    fn blame(&mut self, (lane, n): (usize, u64), alone: bool, others_passed: bool, code: Option<u8>) {
        let letter = code.and_then(letter_of);
        self.blamed = letter.is_some();
        let Some(item) = self.lines[lane].item(n) else { return };
        item.losses += 1;
        item.strikes += u32::from(alone);
        let (losses, strikes) = (item.losses, item.strikes);
        match (letter, alone) {
            (Some(reason), true) => {
                self.lines[lane].stand(n, Stand::Dead(reason, code.unwrap_or_default()));
                self.forget((lane, n));
            }
            (None, true) if strikes > STRIKES && others_passed => {
                self.lines[lane].stand(n, Stand::Dead(Reason::Poison, 0));
                self.forget((lane, n));
            }
            (None, true) if strikes >= STRIKES => {
                self.suspect = None;
                self.aside = Some((lane, n));
            }
            (Some(_), false) | (None, true) => self.suspect = Some((lane, n)),
            (None, false) if losses >= LOSSES => self.suspect = Some((lane, n)),
            (None, false) => {}
        }
    }

    fn forget(&mut self, event: (usize, u64)) {
        self.suspect = self.suspect.filter(|one| *one != event);
        self.aside = self.aside.filter(|one| *one != event);
    }

    fn answered(&mut self, ticket: u64, code: u8, now_us: i64) -> Option<Answer> {
        let flight = self.conn.as_mut()?.answered(ticket, now_us)?;
        let Some((lane, n)) = flight.event else {
            if code >= 0x80 {
                tracing::warn!(code = publish_code(code), "the broker refused a message about this node");
            }
            return None;
        };
        let took_us = now_us - flight.at_us;
        self.settle((lane, n), code, took_us, now_us);
        Some(Answer { lane: self.lines[lane].track.lane, took_us })
    }

    fn settle(&mut self, event: (usize, u64), code: u8, took_us: i64, now_us: i64) {
        let (lane, n) = event;
        self.forget(event);
        let line = &mut self.lines[lane];
        let probing = line.hold.is_some_and(|hold| hold.probe == Some(n));
        if let Some(item) = line.item(n) {
            item.took_us = took_us;
            (item.strikes, item.losses) = (0, 0);
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
                    Some(reason) => line.stand(n, Stand::Dead(reason, code)),
                    None => self.refuse(event, code, now_us),
                }
            }
        }
        self.lines[lane].advance(now_us);
    }

    /// An event has passed. What was put aside while none did is tried alone once more, on this connection that works:
    /// if that ends too, it is to blame.
    fn pass(&mut self) {
        self.passed += 1;
        self.refused = false;
        if let Some(conn) = &mut self.conn {
            conn.passed += 1;
        }
        self.suspect = self.suspect.or_else(|| self.aside.take());
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
        let overtaken = line.acked() >= ahead / 2;
        let Some(item) = line.item(n) else { return };
        // A broker that refuses everything says nothing about this event.
        item.attempts += u32::from(item.refusals == 0 || passed > item.passed || overtaken);
        item.passed = passed;
        let wait = wait_us(retry_base_us, retry_cap_us, item.refusals);
        item.refusals += 1;
        self.refused |= item.refusals >= 3;
        let dead = item.attempts >= attempts;
        line.stand(n, if dead { Stand::Dead(Reason::BrokerRefused, code) } else { Stand::Later(now_us + wait) });
    }

    fn fill(&mut self, now_us: i64, effects: &mut Vec<Effect>) {
        self.spent = !self.stopping && self.waits() && !self.budget.ready(now_us);
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
                line.stand(n, Stand::Dead(Reason::DigestMismatch, 0));
                line.advance(now_us);
                continue;
            }
            if message.wire_bytes() > packet_max {
                line.stand(n, Stand::Dead(Reason::TooLarge, 0x95));
                line.advance(now_us);
                continue;
            }
            let message = message.clone();
            line.stand(n, Stand::InFlight);
            if let Some(hold) = &mut line.hold {
                hold.probe = Some(n);
            }
            self.rate.take(1.0);
            #[expect(clippy::cast_precision_loss, reason = "a message is far below 2^52 bytes")]
            self.budget.take(message.wire_bytes() as f64);
            let event = Some((line.track.lane, seq));
            self.launch(Some((lane, n)), message, event, now_us, effects);
        }
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

    /// Whose turn it is.
    fn choose(&mut self, now_us: i64) -> Option<(usize, u64)> {
        let conn = self.conn.as_ref()?;
        if let Some((lane, n)) = self.suspect {
            // Alone, and only on a connection that is known to work.
            let ready = conn.events == 0 && conn.answers > 0;
            return ready.then_some((lane, n));
        }
        let aside = |line: usize| self.aside.filter(|(at, _)| *at == line).map(|(_, n)| n);
        let of = |line: usize| self.lines[line].candidate(now_us, aside(line)).map(|n| (line, n));
        // Both get on: a person need not wait for the end of a backlog, nor a backlog for ten thousand letters.
        let next = |lane: usize| match (of(lane), of(lane + 2)) {
            (Some(_), Some(again)) if self.again_next[lane] => Some(again),
            (first, again) => first.or(again),
        };
        let (scan, fix) = (next(0), next(1));
        let chosen = match (scan, fix) {
            (Some(_), Some(fix)) if self.in_row >= TURN => Some(fix),
            (Some(scan), _) => Some(scan),
            (None, fix) => fix.or_else(|| self.aside.filter(|_| conn.events == 0 && conn.answers > 0)),
        };
        self.in_row = if fix.is_some() && chosen == scan { self.in_row + 1 } else { 0 };
        if let Some((line, _)) = chosen {
            self.again_next[line % 2] = line < 2;
        }
        chosen
    }

    fn read_ahead(&mut self, now_us: i64, effects: &mut Vec<Effect>) {
        if self.conn.is_none() || self.stopping {
            return;
        }
        let ahead = self.ahead();
        for line in &mut self.lines {
            let room = ahead.saturating_sub(line.items.len());
            if line.reading || !line.wants_rows(self.head) || room < ahead / 2 || now_us < line.read_again_us {
                continue;
            }
            (line.reading, line.asked) = (true, false);
            // Those that are known come again among the others.
            let limit = if line.track.again { room + line.items.len() } else { room };
            effects.push(Effect::Read { track: line.track, after: line.read_to, limit });
        }
    }

    /// Rows that a lane may hold.
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
