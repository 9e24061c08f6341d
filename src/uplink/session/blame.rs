//! What the end of a connection says of the events on it: a broker that cannot bear one ends the connection for it, or leaves
//! it unanswered, and says no word that the client could deliver.

use crate::domain::Reason;
use crate::health::publish_code;

use super::{End, Hold, Session, Stand, letter_of};

/// Connections that an event ends before it is a letter, while the broker took others in between: alone in flight, ended by the
/// broker or left without an answer; or left without one while those after it had theirs.
const STRIKES: u32 = 3;
/// The connection after one on which a publish was passed over is given up in this part of the time, each further one in half
/// of that, but not sooner than the least. µs
const HUSHED: i64 = 4;
const HUSHED_LEAST_US: i64 = 1_000_000;

impl Session {
    /// The connection is gone; answers how it ended, none when there was none.
    pub(super) fn lost(&mut self, by_peer: bool, code: Option<u8>, now_us: i64) -> Option<End> {
        let conn = self.conn.take()?;
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
        let letter = code.and_then(letter_of);
        let is_hushed = conn.dropped && conn.overtaken_us.is_some();
        self.hushed = if is_hushed { self.hushed.saturating_add(1) } else { 0 };
        let oldest = conn.flights.front().copied().flatten().and_then(|flight| flight.event);
        self.overtaken = oldest.filter(|_| is_hushed).map(|event| (event, conn.oldest_place()));
        let end = match flying[..] {
            _ if is_hushed => match oldest {
                Some(event) => self.unanswered(event, true),
                // A word of the node's own is said again on each connection.
                None if conn.passed > 0 => End::Blamed,
                None => End::Lost,
            },
            [one] if by_peer && conn.answers > 0 => {
                self.strike(one, conn.passed > 0, letter, publish_code(code.unwrap_or_default()))
            }
            [_, ..] if by_peer => {
                self.careful = flying.len();
                if letter.is_some() { End::Blamed } else { End::Lost }
            }
            [one] if conn.dropped && conn.answers > 0 => {
                // The next time others go first: their answers tell it from a line that is dead.
                self.suspect = Some(one);
                self.unanswered(one, conn.passed > 0)
            }
            // It took none of them, and had answered before they came: one of them may have silenced it.
            [_, ..] if conn.dropped && conn.answers > 0 && conn.passed == 0 => {
                self.careful = flying.len();
                End::Lost
            }
            _ => End::Lost,
        };
        self.lines.iter_mut().for_each(|line| line.advance(now_us));
        Some(end)
    }

    /// The broker left this event without an answer until we gave the connection up; `others` whether it answered any on it.
    fn unanswered(&mut self, event: (usize, u64), others: bool) -> End {
        let passed = self.passed;
        let Some(item) = self.lines[event.0].item(event.1) else { return End::Lost };
        if item.silences == 0 {
            item.struck_at = passed.saturating_sub(u64::from(others));
        }
        item.silences += 1;
        let between = others || passed > item.struck_at;
        if between && item.silences >= STRIKES {
            self.bury(event, Reason::Poison, "the broker never acknowledged it");
        }
        if between { End::Blamed } else { End::Lost }
    }

    /// The broker ended the connection while this event alone was in flight; `others` whether it had taken any on it. One that
    /// ends every connection says nothing of this event: others must pass between two of its strikes.
    fn strike(&mut self, event: (usize, u64), others: bool, letter: Option<Reason>, code: &'static str) -> End {
        self.careful = 0;
        let passed = self.passed;
        let Some(item) = self.lines[event.0].item(event.1) else { return End::Lost };
        if item.strikes == 0 {
            item.struck_at = passed;
        }
        item.strikes += 1;
        let between = passed > item.struck_at;
        match letter {
            Some(reason) => self.bury(event, reason, code),
            None if between && item.strikes >= STRIKES => self.bury(event, Reason::Poison, "the connection ended"),
            None => self.suspect = Some(event),
        }
        if letter.is_some() || others || between { End::Blamed } else { End::Lost }
    }

    fn bury(&mut self, event: (usize, u64), reason: Reason, why: &'static str) {
        self.lines[event.0].stand(event.1, Stand::Dead(reason, why));
        self.suspect = self.suspect.filter(|one| *one != event);
    }

    /// When the connection is given up because the broker owes an answer. µs
    pub(super) fn silent_us(&self) -> Option<i64> {
        let conn = self.conn.as_ref().filter(|conn| !conn.flights.is_empty())?;
        let no_ack_us = self.rules.no_ack_us;
        // Brokers answer in order: what was passed over will hardly be answered, least of all on a second connection.
        let patience_us = match self.hushed {
            0 => no_ack_us,
            n => (no_ack_us / HUSHED).unbounded_shr(n - 1).max(HUSHED_LEAST_US.min(no_ack_us / HUSHED)),
        };
        let passed_over = conn.overtaken_us.map(|since| since + patience_us);
        Some(passed_over.unwrap_or(i64::MAX).min(conn.heard_us + no_ack_us))
    }
}
