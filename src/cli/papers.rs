//! The certificates behind `mqtts://` and `https://`, as `check` and `doctor` judge them: without the node, by this machine's clock.

use crate::clock::Clock;
use crate::config::{Config, PaperFault, Papers, Term};

/// What there is to say.
#[derive(Default)]
pub(super) struct Look {
    /// What keeps the node from its broker, or its screen shut.
    pub errors: Vec<PaperFault>,
    /// What works today, or may be only unreadable for who asks.
    pub warnings: Vec<String>,
    /// What ends first; none without TLS, or when nothing of ours ends.
    pub first: Option<Term>,
}

/// Looks at the files of `[uplink]` and `[http]`; none where neither speaks TLS.
pub(super) fn look(config: &Config) -> Option<Look> {
    let uplink = config.uplink.as_ref().filter(|uplink| uplink.tls).map(Papers::read);
    let screen = config.http.tls.as_ref().map(|files| Papers::of_screen(files).map_err(|wrong| vec![wrong]));
    let mut look = None;
    for read in uplink.into_iter().chain(screen) {
        look.get_or_insert_with(Look::default).take(read);
    }
    look
}

impl Look {
    fn take(&mut self, read: Result<Papers, Vec<PaperFault>>) {
        match read {
            Ok(papers) => {
                self.warnings.extend(papers.warnings.iter().map(ToString::to_string));
                let now_s = Clock::system().now().wall_ms.div_euclid(1000);
                for term in &papers.terms {
                    self.warnings.extend(term.beginning(now_s).map(|text| format!("{text}; check the clock, or wait")));
                    self.warnings.extend(term.ending(now_s).map(|text| format!("{text}; renew it")));
                }
                self.first = self.first.take().into_iter().chain(papers.terms).min_by_key(|term| term.until_s);
            }
            Err(wrong) => {
                let (unreadable, wrong): (Vec<_>, Vec<_>) = wrong.into_iter().partition(|one| one.is_unreadable);
                self.warnings.extend(unreadable.iter().map(ToString::to_string));
                self.errors.extend(wrong);
            }
        }
    }
}
