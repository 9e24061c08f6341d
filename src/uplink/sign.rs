//! What the node's own screen shows of the uplink: its state on the board and the alarms a person can act on.

use crate::config::Term;
use crate::domain::{Stamp, Standing, UnixMs};
use crate::health::{Alarm, Board, Severity, State, UplinkState, alarms};

use super::fault::Mend;
use super::rival::Rival;
use super::script::Trouble;
use super::wallet::worry;

/// Between two posts that only tell another number in flight.
const POST_US: i64 = 1_000_000;

/// How the way to the platform is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Events can go.
    Connected,
    /// Being made.
    Connecting,
    /// Not to be made: how the node stands.
    Mute(Standing),
    /// Until the next try; µs of `CLOCK_BOOTTIME`.
    Waiting(i64),
}

/// The sign over the door.
pub(super) struct Sign {
    board: Board,
    url: String,
    posted: Option<UplinkState>,
    posted_us: i64,
    trouble: Trouble,
    mend: Option<Mend>,
    /// Why the last connection ended or could not be made.
    pub last_error: String,
    /// The certificate that ends first, as it is said.
    ends: Option<(Term, Option<Severity>)>,
}

impl Sign {
    pub fn new(board: Board, url: String) -> Self {
        let (trouble, mend) = (Trouble::default(), None);
        // A worker that began anew knows of no trouble yet; what still is will be raised again.
        [
            "no_subscriber",
            "not_authorized",
            "broker_refused",
            "mib_per_day",
            "protocol_refused",
            "protocol_311",
            "takeover",
            alarms::BROKER_LIMITS,
            alarms::COMMANDS,
            alarms::TLS,
            alarms::CERTIFICATE,
        ]
        .iter()
        .for_each(|name| board.clear(name));
        Self { board, url, posted: None, posted_us: 0, trouble, mend, last_error: String::new(), ends: None }
    }

    /// The broker, without secrets.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Says that 3.1.1 is blind.
    pub fn blind(&self, now: Stamp) {
        self.alarm(
            now,
            "protocol_311",
            Severity::Info,
            "MQTT 3.1.1: the broker's acknowledgement does not tell whether it kept the message.",
            "Use a broker that speaks MQTT 5 and set uplink.protocol = \"5\".",
        );
    }

    /// What the broker wants mended before it takes the node; none when it took it.
    pub fn mend(&mut self, mend: Option<Mend>, text: &str, now: Stamp) {
        let before = std::mem::replace(&mut self.mend, mend);
        match mend {
            Some(Mend::Credentials) => self.alarm(
                now,
                "not_authorized",
                Severity::Fault,
                &format!("The broker does not let the node in: {text}"),
                "Check uplink.username, password_file and client_id, and the node's account at the broker.",
            ),
            Some(Mend::Protocol) => self.alarm(
                now,
                "protocol_refused",
                Severity::Fault,
                &format!("The broker refuses MQTT 5: {text}"),
                "Set uplink.protocol = \"3.1.1\" or use a broker that speaks MQTT 5.",
            ),
            Some(Mend::Tls) => self.alarm(
                now,
                alarms::TLS,
                Severity::Fault,
                &format!("No TLS with the broker: {text}."),
                "Mend what it names, here or at the broker; the node tries on. Each is told of in docs/operating/tls.md.",
            ),
            Some(Mend::Clock) => self.alarm(
                now,
                alarms::TLS,
                Severity::Fault,
                &format!("No TLS with the broker: {text}."),
                "Give the node the time: NTP, or a receiver with `clock = true` and a view of the sky.",
            ),
            Some(Mend::Limits) => self.alarm(
                now,
                alarms::BROKER_LIMITS,
                Severity::Fault,
                &format!("No event fits through the broker: {text}."),
                "Raise the limit at the broker; events of up to 8 KiB come. They wait here.",
            ),
            Some(Mend::Takeover) | None => {}
        }
        if before == Some(Mend::Limits) && mend != before {
            self.board.clear(alarms::BROKER_LIMITS);
        }
        let is_tls = |mend| matches!(mend, Some(Mend::Tls | Mend::Clock));
        if is_tls(before) && !is_tls(mend) {
            self.board.clear(alarms::TLS);
        }
        if before == Some(Mend::Protocol) && mend != before {
            self.board.clear("protocol_refused");
        }
        if before == Some(Mend::Credentials) && mend != before && !self.trouble.not_authorized {
            self.board.clear("not_authorized");
        }
    }

    /// The certificate that ends first, and how long it is still valid at this time.
    pub fn ends(&mut self, first: Option<&Term>, at_ms: UnixMs, now: Stamp) {
        let worry = first.and_then(|term| worry(term, at_ms));
        let severity = worry.as_ref().map(|(severity, _)| *severity);
        let said = first.map(|term| (term.clone(), severity));
        let before = self.ends.as_ref().and_then(|(_, severity)| *severity);
        match worry {
            // Its text counts the days.
            Some((severity, text)) => self.alarm(
                now,
                alarms::CERTIFICATE,
                severity,
                &text,
                "Renew it and put it into its place; the node takes it up by itself. See docs/operating/tls.md.",
            ),
            None if before.is_some() => self.board.clear(alarms::CERTIFICATE),
            None => {}
        }
        self.ends = said;
    }

    /// Whether another client has the same client id.
    pub fn takeover(&self, rival: &Rival, now: Stamp) {
        if !rival.is_there() {
            self.board.clear("takeover");
            return;
        }
        let (severity, text) = if rival.is_sure() {
            (
                Severity::Fault,
                "The broker gave the connection to another client with the same client id. Events wait; the node comes back \
             ever more rarely.",
            )
        } else {
            (
                Severity::Warn,
                "The broker closed the connection three times and took it anew each time: as if another client had the same \
             client id.",
            )
        };
        let advice = "Find the other one: a copied card, a test program, a second node of this name. Give each a node.id, or \
                      uplink.client_id, of its own. If there is none, look at the broker's log.";
        self.alarm(now, "takeover", severity, text, advice);
    }

    /// Whether the broker brings commands of the centre.
    pub fn commands(&self, come: bool, now: Stamp) {
        if come {
            self.board.clear(alarms::COMMANDS);
            return;
        }
        self.alarm(
            now,
            alarms::COMMANDS,
            Severity::Warn,
            "The broker does not let the node hear commands: replay, confirm and ping do not reach it.",
            "Allow the node's user to read <base>/cmd/+ in the broker's access rules.",
        );
    }

    /// What keeps events waiting on a connection that stands.
    pub fn trouble(&mut self, trouble: Trouble, now: Stamp) -> bool {
        let before = std::mem::replace(&mut self.trouble, trouble);
        if trouble == before {
            return false;
        }
        let signs = [
            (
                trouble.no_subscriber,
                before.no_subscriber,
                "no_subscriber",
                Severity::Warn,
                "Nobody subscribes to the node's events; they wait here.",
                "Subscribe to <base>/event/# at the platform, or set uplink.no_subscriber = \"accept\".",
            ),
            (
                trouble.not_authorized,
                before.not_authorized,
                "not_authorized",
                Severity::Fault,
                "The broker does not let the node publish its events; they wait here.",
                "Allow the node's user to publish under <base>/# in the broker's access rules.",
            ),
            (
                trouble.refused,
                before.refused,
                "broker_refused",
                Severity::Warn,
                "The broker refuses events again and again; they are tried on.",
                "Look at the broker's log and its quotas.",
            ),
            (
                trouble.budget,
                before.budget,
                "mib_per_day",
                Severity::Info,
                "The day's data budget is used up; events wait.",
                "Nothing to do, or raise uplink.mib_per_day.",
            ),
        ];
        for (is, was, name, severity, text, advice) in signs {
            match (is, was) {
                (true, false) => self.alarm(now, name, severity, text, advice),
                (false, true) if name != "not_authorized" || self.mend != Some(Mend::Credentials) => {
                    self.board.clear(name);
                }
                _ => {}
            }
        }
        trouble.no_subscriber || trouble.not_authorized
    }

    /// Posts the state when it changed; at once when more than the number in flight and the budget did.
    pub fn post(&mut self, way: Way, inflight: usize, budget_left_kib: Option<u64>, now: Stamp) {
        let held = self.trouble.no_subscriber || self.trouble.not_authorized;
        let (state, next_try_ms) = match way {
            Way::Connected if held => ("held", None),
            Way::Connected => ("connected", None),
            Way::Connecting => ("connecting", None),
            Way::Mute(standing) => {
                self.last_error = mute(standing).to_owned();
                ("held", None)
            }
            Way::Waiting(at_us) => ("waiting", Some(wall_at(at_us, now))),
        };
        let old = self.posted.as_ref();
        let certificate_not_after_s = self.ends.as_ref().map(|(term, _)| term.until_s);
        let same = old.is_some_and(|old| {
            old.state == state
                && old.last_error == self.last_error
                && old.certificate_not_after_s == certificate_not_after_s
        });
        let numbers = |old: &UplinkState| old.inflight == inflight && old.budget_left_kib == budget_left_kib;
        if same && (old.is_some_and(numbers) || now.mono_us < self.posted_us + POST_US) {
            return;
        }
        let kept = old.filter(|old| old.state == state);
        let uplink = UplinkState {
            configured: true,
            state,
            url: self.url.clone(),
            since_ms: kept.map_or(now.wall_ms, |old| old.since_ms),
            ever_connected: state == "connected" || old.is_some_and(|old| old.ever_connected),
            last_error: self.last_error.clone(),
            next_try_ms,
            inflight,
            budget_left_kib,
            certificate_not_after_s,
        };
        self.board.post(State::Uplink(uplink.clone()));
        self.posted = Some(uplink);
        self.posted_us = now.mono_us;
    }

    fn alarm(&self, now: Stamp, name: &str, severity: Severity, text: &str, advice: &str) {
        let (name, text, advice) = (name.to_owned(), text.to_owned(), advice.to_owned());
        self.board.raise(Alarm { name, severity, since_ms: now.wall_ms, text, advice, count: 1 });
    }
}

/// Why the node does not speak, where it shows why there is no connection.
const fn mute(standing: Standing) -> &'static str {
    match standing {
        Standing::Stranger => "the card woke in another machine: waypost identity accept, or rename",
        Standing::Retired => "the node has ended; waypost identity accept lets it go on",
        Standing::Sound | Standing::Retiring => "",
    }
}

/// What the wall clock will show then, if nobody sets it.
const fn wall_at(at_us: i64, now: Stamp) -> UnixMs {
    now.wall_ms + at_us.saturating_sub(now.mono_us) / 1000
}
