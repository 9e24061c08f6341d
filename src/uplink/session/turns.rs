//! Whose turn it is: scans before fixes, what is sent again beside its lane, and what is replayed in what they leave.

use super::{Session, Track};

/// Scans in a row before a waiting fix has its turn.
const TURN: u32 = 4;
/// Publishes before a waiting replay has its turn.
const REPLAY_TURN: u32 = 4;
/// A replay has one part of so many of the window.
const REPLAY_WINDOW: usize = 4;
/// And of the rate, where there is a ceiling.
pub(super) const REPLAY_SHARE: f64 = 4.0;

impl Session {
    /// Whose turn it is.
    pub(super) fn choose(&mut self, now_us: i64) -> Option<(usize, u64)> {
        let conn = self.conn.as_ref()?;
        let is_alone = self.careful > 0 || self.suspect.is_some_and(|(line, n)| self.lines[line].is_in_flight(n));
        // Alone, and only on a connection that is known to work.
        let may_alone = conn.events == 0 && (conn.answers > 0 || conn.flights.is_empty());
        if is_alone && !may_alone {
            return None;
        }
        // It lets others pass: that the broker takes those is what tells it from a broker that takes none.
        let first = self.suspect.filter(|_| conn.passed >= self.ahead() as u64);
        let others = if first.is_none() { self.next(now_us) } else { None };
        if let Some(((line, _), _)) = self.overtaken.filter(|_| others.is_none() && self.suspect.is_none()) {
            // Nobody is there to go before it.
            return self.lines[line].candidate(now_us, None).map(|n| (line, n));
        }
        others.or(self.suspect.filter(|_| may_alone))
    }

    /// Whose turn it is but for the suspect's.
    fn next(&mut self, now_us: i64) -> Option<(usize, u64)> {
        let replay = self.replay_turn(now_us);
        if replay.is_some() && self.since_replay >= REPLAY_TURN {
            self.since_replay = 0;
            return replay;
        }
        let of = |line: usize| self.lines[line].candidate(now_us, self.aside(line)).map(|n| (line, n));
        // Both get on: a person need not wait for the end of a backlog, nor a backlog for ten thousand letters.
        let next = |lane: usize| match (of(lane), of(lane + 2)) {
            (Some(_), Some(again)) if self.again_next[lane] => Some(again),
            (first, again) => first.or(again),
        };
        let (scan, fix) = (next(0), next(1));
        let chosen = match (scan, fix) {
            (Some(_), Some(fix)) if self.in_row >= TURN => Some(fix),
            (scan, fix) => scan.or(fix),
        };
        self.in_row = if fix.is_some() && chosen == scan { self.in_row + 1 } else { 0 };
        if let Some((line, _)) = chosen {
            self.again_next[line % 2] = line < 2;
            self.since_replay = self.since_replay.saturating_add(1);
        }
        chosen.or(replay)
    }

    /// The next event of a replay, as far as its share of the window and the rate goes.
    fn replay_turn(&mut self, now_us: i64) -> Option<(usize, u64)> {
        let (at, conn) = (Track::REPLAY.index(), self.conn.as_ref()?);
        let next = self.lines[at].candidate(now_us, self.aside(at))?;
        let flying = conn.flights.iter().flatten().filter(|one| one.event.is_some_and(|(line, _)| line == at)).count();
        (flying < (conn.window / REPLAY_WINDOW).max(1) && self.replay_rate.ready(now_us)).then_some((at, next))
    }

    /// Of a line the event that lets others pass: the suspect; and what was passed over on the connection before, lest it come
    /// to the same packet id again and be blamed for that.
    fn aside(&self, line: usize) -> Option<u64> {
        let is_there = |place| self.conn.as_ref().is_some_and(|conn| conn.place(conn.next_ticket()) == place);
        let overtaken = self.overtaken.filter(|(_, place)| is_there(*place)).map(|(event, _)| event);
        self.suspect.or(overtaken).filter(|(at, _)| *at == line).map(|(_, n)| n)
    }
}
