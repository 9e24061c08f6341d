//! The certificates behind `mqtts://`, as `check` and `doctor` judge them: without the node, by this machine's clock.

use crate::clock::Clock;
use crate::config::{Config, PaperFault, Papers, Term};

/// What there is to say.
#[derive(Default)]
pub(super) struct Look {
    /// What keeps the node from its broker.
    pub errors: Vec<PaperFault>,
    /// What works today, or may be only unreadable for who asks.
    pub warnings: Vec<String>,
    /// What ends first; none without TLS, or when nothing of ours ends.
    pub first: Option<Term>,
}

/// Looks at the files of `[uplink]`; none where it speaks no TLS.
pub(super) fn look(config: &Config) -> Option<Look> {
    let uplink = config.uplink.as_ref().filter(|uplink| uplink.tls)?;
    let mut look = Look::default();
    match Papers::read(uplink) {
        Ok(papers) => {
            look.warnings = papers.warnings.iter().map(ToString::to_string).collect();
            let now_s = Clock::system().now().wall_ms.div_euclid(1000);
            for term in &papers.terms {
                look.warnings.extend(term.beginning(now_s).map(|text| format!("{text}; check the clock, or wait")));
                look.warnings.extend(term.ending(now_s).map(|text| format!("{text}; renew it")));
            }
            look.first = papers.terms.into_iter().min_by_key(|term| term.until_s);
        }
        Err(wrong) => {
            let (unreadable, wrong): (Vec<_>, Vec<_>) = wrong.into_iter().partition(|one| one.is_unreadable);
            look.warnings = unreadable.iter().map(ToString::to_string).collect();
            look.errors = wrong;
        }
    }
    Some(look)
}
