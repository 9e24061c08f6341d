//! The uplink's certificates while it runs: read for each connection, looked after each minute, and taken up anew by a new
//! connection at a calm moment when their files were replaced.

use std::sync::Arc;

use super::{Done, Link, Run, Stopping};
use crate::config::Term;
use crate::domain::UnixMs;
use crate::uplink::fault::{Fault, Mend};
use crate::uplink::script::{Input, micros};
use crate::uplink::tls::{self, Judge, Secure};
use crate::uplink::wallet::{Looked, Wallet};

/// How long what is in flight may take before the connection is left for a new one. µs
const SETTLE_US: i64 = 3_000_000;
/// How long the broker may take to close the connection that is left. µs
const LEAVE_US: i64 = 1_000_000;

/// How far the change to a new connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    None,
    /// Nothing new is sent; waiting for what is in flight, until then. µs
    Settling(i64),
    /// The goodbye is out, until then. µs
    Leaving(i64),
}

/// What the loop keeps of its certificates.
#[derive(Default)]
pub(super) struct Renewal {
    wallet: Wallet,
    step: Step,
    /// A look at the files is under way.
    is_looking: bool,
    /// What the last connection failed for.
    mend: Option<Mend>,
}

impl Renewal {
    /// Whether nothing new may be sent.
    pub(super) fn is_under_way(&self) -> bool {
        self.step != Step::None
    }
}

impl Run {
    /// What is needed for TLS; none with `mqtt://`.
    pub(super) async fn secure(&mut self) -> Result<Option<Secure>, Fault> {
        if !self.kit.config.tls {
            return Ok(None);
        }
        let kit = Arc::clone(&self.kit);
        let read = tokio::task::spawn_blocking(move || Wallet::open(&kit.config)).await;
        let (marks, papers) = read.map_err(|error| tls::unusable(error.to_string()))?;
        self.renewal.wallet.put(marks, papers.as_ref().ok());
        self.look_at_ends();
        let papers = papers.map_err(|wrong| tls::unusable_files(&wrong))?;
        for warning in &papers.warnings {
            tracing::warn!(file = %warning, "a file of the uplink should not be as it is");
        }
        Secure::new(&self.kit.config, &papers, self.judge()).map(Some)
    }

    fn judge(&self) -> Judge {
        let (at_ms, tq) = self.kit.keeper.judging_time();
        Judge { at_ms, tq }
    }

    /// Whole days until the first certificate ends.
    pub(super) fn cert_days(&self) -> Option<i64> {
        self.renewal.wallet.days(self.judge().at_ms)
    }

    fn look_at_ends(&mut self) {
        let at_ms: UnixMs = self.judge().at_ms;
        let now = self.now();
        self.sign.ends(self.renewal.wallet.first(), at_ms, now);
    }

    /// The broker has shown its certificate.
    pub(super) fn shown(&mut self, term: Term) {
        self.renewal.wallet.show(term);
        self.look_at_ends();
    }

    /// A connection stands: nothing is to be mended.
    pub(super) fn succeeded(&mut self) {
        self.renewal.mend = None;
        let now = self.now();
        self.sign.mend(None, "", now);
    }

    /// A connection failed or ended for this.
    pub(super) fn failed_for(&mut self, fault: &Fault) {
        // A renewal that waits has what it wants.
        self.renewal.step = Step::None;
        self.renewal.mend = fault.mend;
        let now = self.now();
        self.sign.mend(fault.mend, &fault.text, now);
    }

    /// When something about certificates may be due without any input. µs
    pub(super) fn renewal_due_us(&self) -> i64 {
        match self.renewal.step {
            _ if !self.kit.config.tls => i64::MAX,
            Step::None if self.renewal.is_looking => i64::MAX,
            Step::None => self.renewal.wallet.look_us,
            Step::Settling(until) | Step::Leaving(until) => until,
        }
    }

    /// Looks after the certificates, and takes a renewal one step on.
    pub(super) fn renew(&mut self) {
        if !self.kit.config.tls || self.stopping != Stopping::No {
            return;
        }
        let now = self.now();
        // The time has become known that a certificate waited for.
        if self.renewal.mend == Some(Mend::Clock) && self.link.is_none() && self.judge().tq.is_trusted() {
            self.renewal.mend = None;
            self.session.step(Input::Anew, now.mono_us);
        }
        if now.mono_us >= self.renewal.wallet.look_us && !self.renewal.is_looking {
            self.renewal.wallet.look_us = now.mono_us.saturating_add(micros(self.kit.limits.papers));
            self.look_at_ends();
            if let Some(marks) = self.renewal.wallet.marks().cloned() {
                self.renewal.is_looking = true;
                let kit = Arc::clone(&self.kit);
                self.jobs.spawn(async move {
                    let looked = tokio::task::spawn_blocking(move || Wallet::look(&kit.config, &marks)).await;
                    Done::Looked(looked.unwrap_or(Looked::Same))
                });
            }
        }
        match self.renewal.step {
            Step::Settling(until) if self.session.in_flight() == 0 || now.mono_us >= until => {
                match self.link.as_ref().is_some_and(Link::disconnect) {
                    true => self.renewal.step = Step::Leaving(now.mono_us + LEAVE_US),
                    false => self.begin_anew(),
                }
            }
            Step::Leaving(until) if now.mono_us >= until => self.begin_anew(),
            _ => {}
        }
    }

    /// Takes in what a look at the files found.
    pub(super) fn looked(&mut self, looked: Looked) {
        self.renewal.is_looking = false;
        let now = self.now();
        match looked {
            Looked::Same => {
                if self.renewal.wallet.is_whole_again() && self.session.is_connected() {
                    self.sign.mend(None, "", now);
                }
            }
            Looked::New if self.session.is_connected() => {
                tracing::info!("the uplink's certificates were replaced; connecting anew with them");
                self.note("renewed", "certificates were replaced; a new connection".to_owned());
                self.renewal.step = Step::Settling(now.mono_us + SETTLE_US);
            }
            // A try under way ends by itself; one that waits need not.
            Looked::New if self.link.is_none() => {
                self.session.step(Input::Anew, now.mono_us);
            }
            Looked::New => {}
            Looked::Unusable(marks, wrong) => {
                if self.renewal.wallet.is_still_unusable(marks) && self.session.is_connected() {
                    let text = tls::unusable_files(&wrong).text;
                    tracing::warn!(
                        error = text,
                        "new certificates cannot be used; the connection goes on with the old"
                    );
                    self.sign.mend(Some(Mend::Tls), &text, now);
                }
            }
        }
    }

    /// Whether the end of a connection is the one that a renewal waits for; then the next is made at once.
    pub(super) fn is_left_for_another(&mut self) -> bool {
        let is_left = matches!(self.renewal.step, Step::Leaving(_));
        if is_left {
            self.begin_anew();
        }
        is_left
    }

    fn begin_anew(&mut self) {
        let now = self.now();
        self.renewal.step = Step::None;
        self.link = None;
        self.session.step(Input::Anew, now.mono_us);
    }
}
