//! One connection as the session sees it: what is in flight on it, and what it has shown of the broker. Pure.

use std::collections::VecDeque;

/// A publish that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    /// Lane and number of an event; none for what the node says of itself.
    pub event: Option<(usize, u64)>,
    pub at_us: i64,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Conn {
    /// The span of tickets from the oldest unanswered on that may be out: then packet ids never collide.
    pub window: usize,
    pub packet_max: usize,
    pub retains: bool,
    /// From the oldest unanswered on; its front is never none.
    pub flights: VecDeque<Option<Flight>>,
    /// Ticket of the front flight.
    oldest: u64,
    /// Events in flight.
    pub events: usize,
    pub answers: u64,
    /// Events the broker has taken.
    pub passed: u64,
    /// When the broker last answered, or was first asked after it had answered all. µs.
    pub heard_us: i64,
    /// When the first answer came to something sent after the oldest that waits for its own. µs.
    pub overtaken_us: Option<i64>,
    /// Given up; its end is on the way.
    pub dropped: bool,
}

impl Conn {
    pub fn new(window: usize, packet_max: usize, retains: bool, now_us: i64) -> Self {
        Self {
            window,
            packet_max,
            retains,
            flights: VecDeque::new(),
            oldest: 1,
            events: 0,
            answers: 0,
            passed: 0,
            heard_us: now_us,
            overtaken_us: None,
            dropped: false,
        }
    }

    /// Takes a publish in; answers its ticket.
    pub fn launch(&mut self, event: Option<(usize, u64)>, now_us: i64) -> u64 {
        if self.flights.is_empty() {
            self.heard_us = now_us;
        }
        let ticket = self.next_ticket();
        self.flights.push_back(Some(Flight { event, at_us: now_us }));
        self.events += usize::from(event.is_some());
        ticket
    }

    /// The ticket of the next publish.
    pub fn next_ticket(&self) -> u64 {
        self.oldest + self.flights.len() as u64
    }

    /// The place of a ticket in the window: that of its packet id among those in use.
    pub const fn place(&self, ticket: u64) -> u64 {
        ticket % self.window as u64
    }

    /// The place of the oldest that is unanswered.
    pub const fn oldest_place(&self) -> u64 {
        self.place(self.oldest)
    }

    /// Whether every publish before a ticket is answered.
    pub const fn is_answered_to(&self, ticket: u64) -> bool {
        self.oldest >= ticket
    }

    /// Lets an answered publish go; none for a ticket that is not out.
    pub fn answered(&mut self, ticket: u64, now_us: i64) -> Option<Flight> {
        let at = usize::try_from(ticket.checked_sub(self.oldest)?).ok()?;
        let flight = self.flights.get_mut(at)?.take()?;
        self.answers += 1;
        self.heard_us = now_us;
        let is_front = ticket == self.oldest;
        while let Some(None) = self.flights.front() {
            self.flights.pop_front();
            self.oldest += 1;
        }
        self.overtaken_us = match self.overtaken_us {
            Some(since) if !is_front => Some(since),
            _ => self.flights.iter().any(Option::is_none).then_some(now_us),
        };
        self.events -= usize::from(flight.event.is_some());
        Some(flight)
    }
}
