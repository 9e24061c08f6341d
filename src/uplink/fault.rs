//! Why a connection ended or could not be made: for the log, the screen, the alarm and the metric's label.

use rumqttc::v5;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};

use crate::health::ReconnectReason;

/// What a person has to mend before the broker takes the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mend {
    /// User, password or rights.
    Credentials,
    /// The broker does not speak MQTT 5.
    Protocol,
    /// A certificate, its key or its CA, here or at the broker.
    Tls,
    /// The node's time: once it is known, a certificate may be valid.
    Clock,
    /// Another client has the same client id.
    Takeover,
    /// What the broker takes: too little for any event.
    Limits,
}

/// Of what a broker says in words, so much is kept. Characters.
const SAID_MAX: usize = 200;

/// The end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// The metric's label.
    pub reason: ReconnectReason,
    /// What was said, for people.
    pub text: String,
    /// What to mend, where waiting cannot help.
    pub mend: Option<Mend>,
    /// Whether the broker ended it, perhaps for what was sent.
    pub by_peer: bool,
    /// The reason code it gave, where the client could not deliver it as an answer.
    pub code: Option<u8>,
    /// The broker holds something for the node that it does not take: only a new session leaves that behind.
    pub fresh: bool,
}

impl Fault {
    fn new(reason: ReconnectReason, text: String) -> Self {
        Self { reason, text, mend: None, by_peer: false, code: None, fresh: false }
    }

    /// The connection ended, perhaps for what was sent on it.
    pub fn closed(text: &str) -> Self {
        Self { by_peer: true, ..Self::new(ReconnectReason::Closed, text.to_owned()) }
    }

    /// We gave it up.
    pub fn given_up(reason: ReconnectReason, text: String) -> Self {
        Self::new(reason, text)
    }

    /// A message of somebody is larger than the node takes. No event of ours is to blame.
    fn too_large(bytes: usize) -> Self {
        let text = format!(
            "a message of {bytes} bytes waits for the node at the broker, more than it takes; it is left there"
        );
        Self { fresh: true, ..Self::new(ReconnectReason::Client, text) }
    }

    /// The broker's limits leave no room for any event.
    pub fn unfit(text: String) -> Self {
        Self { mend: Some(Mend::Limits), ..Self::new(ReconnectReason::Refused, text) }
    }

    /// As it is for a connection in the clear that ended before the broker took it: a port for TLS ends it so.
    pub fn before_it_stood(&self) -> Self {
        let text = format!("{}; a port for TLS does that (mqtts://, 8883 mostly)", self.text);
        if self.reason == ReconnectReason::Closed { Self { text, ..self.clone() } } else { self.clone() }
    }

    fn credentials(text: String) -> Self {
        Self { mend: Some(Mend::Credentials), ..Self::new(ReconnectReason::Auth, text) }
    }

    fn protocol(text: String) -> Self {
        Self { mend: Some(Mend::Protocol), ..Self::new(ReconnectReason::Protocol, text) }
    }

    /// The end of an MQTT 5 connection.
    pub fn of_v5(error: &v5::ConnectionError) -> Self {
        use v5::ConnectionError as E;
        match error {
            E::Io(io) => Self::new(ReconnectReason::Unreachable, io.to_string()),
            E::Timeout(_) => Self::new(ReconnectReason::Unreachable, "no answer within 5 s".to_owned()),
            E::ConnectionRefused(code) => Self::refused(*code),
            E::NotConnAck(_) => Self::protocol("the broker's first packet is no CONNACK".to_owned()),
            E::RequestsDone => Self::new(ReconnectReason::Stopped, "disconnected".to_owned()),
            E::MqttState(state) => Self::of_state(state),
        }
    }

    fn of_state(state: &v5::StateError) -> Self {
        use v5::StateError as S;
        use v5::mqttbytes::Error as M;
        match state {
            S::AwaitPingResp => Self::new(ReconnectReason::KeepAlive, "the broker did not answer a ping".to_owned()),
            S::Deserialization(M::PayloadSizeLimitExceeded { pkt_size, .. }) => Self::too_large(*pkt_size),
            // A PUBACK code that the client does not know, and in 3.1.1's words "unacceptable protocol version".
            S::Deserialization(M::InvalidConnectReturnCode(code)) if *code >= 0x80 => Self {
                by_peer: true,
                code: Some(*code),
                ..Self::new(ReconnectReason::Refused, format!("reason code {code:#04x}"))
            },
            S::Deserialization(M::InvalidConnectReturnCode(_) | M::InsufficientBytes(_) | M::MalformedPacket) => {
                Self::protocol("the broker answers as MQTT 3.1.1 does".to_owned())
            }
            S::ServerDisconnect { reason_code, reason_string } => {
                let said = reason_string.as_deref().map(plain).filter(|said| !said.is_empty());
                let said = said.map_or_else(String::new, |said| format!(": {said}"));
                let code = match reason_code {
                    DisconnectReasonCode::PacketTooLarge => Some(0x95),
                    DisconnectReasonCode::TopicNameInvalid => Some(0x90),
                    DisconnectReasonCode::PayloadFormatInvalid => Some(0x99),
                    _ => None,
                };
                let mend = match reason_code {
                    DisconnectReasonCode::NotAuthorized => Some(Mend::Credentials),
                    DisconnectReasonCode::SessionTakenOver => Some(Mend::Takeover),
                    _ => None,
                };
                Self {
                    by_peer: !is_about_itself(*reason_code),
                    code,
                    mend,
                    ..Self::new(
                        ReconnectReason::Refused,
                        format!("the broker ended the connection, {reason_code:?}{said}"),
                    )
                }
            }
            S::ConnectionAborted => Self::closed(ABORTED),
            S::Io(error) | S::Deserialization(M::Io(error)) => Self::closed(&broke(error)),
            other => Self::closed(&format!("what the broker sent has no place here: {other}")),
        }
    }

    fn refused(code: ConnectReturnCode) -> Self {
        use ConnectReturnCode as C;
        match code {
            C::BadUserNamePassword | C::NotAuthorized | C::Banned | C::BadAuthenticationMethod => {
                Self::credentials(format!("{code:?}"))
            }
            C::ClientIdentifierNotValid | C::BadClientId => Self::credentials(format!("{code:?}: client_id")),
            C::UnsupportedProtocolVersion | C::RefusedProtocolVersion => Self::protocol(format!("{code:?}")),
            other => Self::new(ReconnectReason::Refused, format!("{other:?}")),
        }
    }

    /// The end of an MQTT 3.1.1 connection.
    pub fn of_v4(error: &rumqttc::ConnectionError) -> Self {
        use rumqttc::ConnectReturnCode as C;
        use rumqttc::ConnectionError as E;
        match error {
            E::Io(io) => Self::new(ReconnectReason::Unreachable, io.to_string()),
            E::NetworkTimeout | E::FlushTimeout => {
                Self::new(ReconnectReason::Unreachable, "no answer within 5 s".to_owned())
            }
            E::ConnectionRefused(C::BadUserNamePassword | C::NotAuthorized | C::BadClientId) => {
                Self::credentials(error.to_string())
            }
            E::ConnectionRefused(code) => Self::new(ReconnectReason::Refused, format!("{code:?}")),
            E::NotConnAck(_) => {
                Self::new(ReconnectReason::Refused, "the broker's first packet is no CONNACK".to_owned())
            }
            E::RequestsDone => Self::new(ReconnectReason::Stopped, "disconnected".to_owned()),
            E::MqttState(state) => Self::of_state_v4(state),
        }
    }

    fn of_state_v4(state: &rumqttc::StateError) -> Self {
        use rumqttc::StateError as S;
        use rumqttc::mqttbytes::Error as M;
        match state {
            S::AwaitPingResp => Self::new(ReconnectReason::KeepAlive, "the broker did not answer a ping".to_owned()),
            S::Deserialization(M::PayloadSizeLimitExceeded(bytes)) => Self::too_large(*bytes),
            S::ConnectionAborted => Self::closed(ABORTED),
            S::Io(error) | S::Deserialization(M::Io(error)) => Self::closed(&broke(error)),
            other => Self::closed(&format!("what the broker sent has no place here: {other}")),
        }
    }
}

const ABORTED: &str = "the broker closed the connection without a word";

fn broke(error: &std::io::Error) -> String {
    format!("the connection broke: {error}")
}

/// What a broker said, fit for a line of a log and a terminal.
fn plain(said: &str) -> String {
    said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SAID_MAX).collect::<String>().trim().to_owned()
}

/// Whether the broker ends the connection for a cause that is none of the publishes on it.
const fn is_about_itself(code: DisconnectReasonCode) -> bool {
    use DisconnectReasonCode as D;
    matches!(
        code,
        D::NotAuthorized
            | D::ServerBusy
            | D::ServerShuttingDown
            | D::KeepAliveTimeout
            | D::SessionTakenOver
            | D::AdministrativeAction
            | D::UseAnotherServer
            | D::ServerMoved
            | D::ConnectionRateExceeded
            | D::MaximumConnectTime
    )
}
