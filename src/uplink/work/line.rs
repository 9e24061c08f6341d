//! How a connection begins and how it ends.

use crate::health::ReconnectReason;

use super::{Fault, Greeting, Input, Link, Mend, Run, Stopping, figures, unplaced};

impl Run {
    /// Begins to connect; what comes of it is said by the link.
    pub(super) async fn connect(&mut self) {
        let config = &self.kit.config;
        let password = match &config.password_file {
            Some(path) => match figures::password(path.clone()).await {
                Ok(password) => Some(password),
                Err(error) => {
                    let text = format!("uplink.password_file {} cannot be read: {error}", path.display());
                    return self.lost(&Fault {
                        mend: Some(Mend::Credentials),
                        ..Fault::given_up(ReconnectReason::Auth, text)
                    });
                }
            },
            None => None,
        };
        let (will, window, fresh) = (self.speaker.will(), config.window.max(1), self.fresh);
        let greeting = Greeting { password, will, window, fresh };
        match self.secure().await.and_then(|secure| Link::open(&self.kit.config, greeting, secure)) {
            Ok(link) => self.link = Some(link),
            Err(fault) => self.lost(&fault),
        }
    }

    /// The broker has taken the connection: what it is asked, and what it is told.
    pub(super) async fn connected(&mut self, receive_max: usize, packet_max: usize, retains: bool) {
        let now = self.now();
        self.succeeded();
        let detail = format!("{} receive_max {receive_max} packet_max {packet_max}", self.sign.url());
        tracing::info!(broker = self.sign.url(), receive_max, packet_max, "connected to the broker");
        self.note("connected", detail);
        let standing = self.arrive().await;
        let commands = format!("{}/cmd/+", self.speaker.voice.base);
        if let Some(link) = &self.link
            && !link.listen(&standing, &commands)
        {
            tracing::warn!("the client took no subscription; the node hears no commands on this connection");
        }
        self.session.step(Input::Connected { receive_max, packet_max, retains }, now.mono_us);
        self.speaker.look();
        let placed = figures::places(self.kit.store.clone(), self.speaker.assets()).await.unwrap_or_else(unplaced);
        for message in self.speaker.greet(&placed, now).into_iter().chain(self.entities()) {
            self.session.step(Input::Say(message), now.mono_us);
        }
        let times = figures::times(self.kit.store.clone()).await;
        self.timed(times);
    }

    /// The broker has answered what the node asked to hear.
    pub(super) fn listening(&mut self, commands: bool) {
        if !commands {
            tracing::warn!("the broker lets the node hear no commands");
            self.note("deaf", "the broker refused the subscription to commands".to_owned());
        }
        let now = self.now();
        self.sign.commands(commands, now);
    }

    /// The connection, or the try to make one, is over: what waits for it, and when the next is.
    pub(super) fn lost(&mut self, fault: &Fault) {
        if self.is_left_for_another() {
            return;
        }
        let now = self.now();
        self.link = None;
        let stood = self.session.is_connected();
        let early = (!stood && !self.kit.config.tls).then(|| fault.before_it_stood());
        let fault = early.as_ref().unwrap_or(fault);
        // Until one stands: the broker may not have heard of it yet.
        self.fresh = fault.fresh || self.fresh && !stood;
        if matches!(self.stopping, Stopping::Parting(_) | Stopping::Leaving(_) | Stopping::Done) {
            self.stopping = Stopping::Done;
            return;
        }
        if self.stay.standing().is_mute() {
            // As it should be: it has said goodbye.
            self.session.step(Input::Anew, now.mono_us);
            return;
        }
        let Fault { by_peer, code, mend, .. } = *fault;
        let taken = mend == Some(Mend::Takeover);
        self.session.step(Input::Lost { by_peer, code, barred: mend.is_some() && !taken, taken }, now.mono_us);
        self.failed_for(fault);
        self.sign.takeover(self.session.rival(), now);
        self.kit.tally.uplink_reconnects(fault.reason);
        let what = if stood { "lost" } else { "refused" };
        let new = self.sign.last_error != fault.text;
        if stood || new {
            tracing::warn!(
                reason = fault.reason.as_str(),
                error = fault.text,
                wait_ms = self.session.next_try_us().map(|at| (at - now.mono_us) / 1000),
                "no connection to the broker"
            );
            self.note(what, format!("{}: {}", fault.reason.as_str(), fault.text));
        }
        self.sign.last_error.clone_from(&fault.text);
    }
}
