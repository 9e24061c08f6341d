//! What is said of the time of boots when it is known: before the events that it is about.

use super::{BootTime, Input, Run, store};

impl Run {
    /// Says what is new of the time of boots, before the events that it is about.
    pub(super) fn timed(&mut self, times: store::Result<Vec<BootTime>>) {
        let now_us = self.now().mono_us;
        match times {
            Ok(times) => {
                let (messages, is_trusted) = self.speaker.times(&times);
                for message in messages {
                    self.session.step(Input::Say(message), now_us);
                }
                if is_trusted {
                    self.session.step(Input::Trusted, now_us);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "what is known of the time cannot be read; trying again");
                self.speaker.ask_times();
            }
        }
    }
}
