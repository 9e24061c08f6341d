//! How the uplink ends: what is in flight is settled, the last word said, the broker left.

use super::{Input, Link, Run, Stopping, micros};

/// How long the last word may take after everything else is done.
const LAST_WORD_US: i64 = 500_000;

impl Run {
    pub(super) fn stop(&mut self) {
        let now_us = self.now().mono_us;
        self.session.step(Input::Stop, now_us);
        self.stopping = Stopping::Settling(now_us + micros(self.kit.limits.farewell));
    }

    /// Takes a stop one step on: settle what is in flight, say the last word, part.
    pub(super) async fn part(&mut self) {
        let now = self.now();
        match self.stopping {
            Stopping::Settling(until) if self.session.is_quiet() || now.mono_us >= until => {
                if !self.session.is_connected() {
                    self.stopping = Stopping::Done;
                    return;
                }
                if !self.stay.is_leaving() {
                    self.session.step(Input::Say(self.speaker.farewell(now)), now.mono_us);
                }
                self.stopping = Stopping::Parting(now.mono_us + LAST_WORD_US);
                self.plan().await;
            }
            Stopping::Parting(until) if self.session.is_quiet() || now.mono_us >= until => {
                let asked = self.link.as_ref().is_some_and(Link::disconnect);
                self.stopping = if asked { Stopping::Leaving(now.mono_us + LAST_WORD_US) } else { Stopping::Done };
            }
            Stopping::Leaving(until) if now.mono_us >= until => self.stopping = Stopping::Done,
            _ => {}
        }
    }
}
