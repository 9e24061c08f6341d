//! How a port is, for the log of the ports: each change of its condition, and how long the one before it lasted.

use crate::domain::Stamp;
use crate::health::{Light, SourceCondition};

use super::take::Frame;

/// Watches the light of a source.
pub(super) struct Watch {
    light: Light,
    was: SourceCondition,
    since: Stamp,
}

impl Watch {
    pub(super) fn new(light: Light, now: Stamp) -> Self {
        Self { was: light.condition(), light, since: now }
    }

    /// The line of a change: silent, garbage, absent …, or up again.
    pub(super) fn look(&mut self, now: Stamp) -> Option<Frame> {
        let is = self.light.condition();
        if is == self.was {
            return None;
        }
        let lasted_s = (now.mono_us - self.since.mono_us) / 1_000_000;
        let (was, _) = (std::mem::replace(&mut self.was, is), std::mem::replace(&mut self.since, now));
        // That it was opened has a line of its own.
        let is_news = was != SourceCondition::Opening || is != SourceCondition::Up;
        is_news.then(|| Frame::Port { what: is.as_str(), detail: format!("{} for {lasted_s} s before", was.as_str()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::health::Board;

    #[test]
    fn each_change_of_a_port_is_a_line_with_how_long_it_was_what_it_was() {
        let clock = Clock::manual(Stamp::default());
        let light = Light::new(Board::default(), clock.clone(), "gps0", "gps", "test");
        let mut watch = Watch::new(light.clone(), clock.now());
        let line = |watch: &mut Watch| match watch.look(clock.now()) {
            Some(Frame::Port { what, detail }) => Some((what, detail)),
            _ => None,
        };
        light.port(SourceCondition::Up, "");
        assert_eq!(line(&mut watch), None, "that it was opened has a line of its own");
        clock.advance_ms(5_000);
        light.port(SourceCondition::Silent, "check the cable");
        assert_eq!(line(&mut watch), Some(("silent", "up for 5 s before".into())));
        assert_eq!(line(&mut watch), None);
        clock.advance_ms(74_000);
        light.bytes();
        assert_eq!(line(&mut watch), Some(("up", "silent for 74 s before".into())));
        light.garbage(true);
        assert_eq!(line(&mut watch), Some(("garbage", "up for 0 s before".into())));
    }
}
