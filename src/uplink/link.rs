//! One connection to the broker: a fresh client and event loop each time, never the client's own reconnect.
//!
//! Packet ids are chosen inside the client; its `Outgoing::Publish` comes in the order in which publishes were handed over,
//! so a queue of tickets maps one to the other. The event loop is polled in a task of its own, because a cancelled poll
//! may leave a publish recorded as in flight that was never written. With `mqtts://` the same task carries the bytes over the
//! `bridge`.

use std::collections::VecDeque;
use std::time::Duration;

use rumqttc::v5;
use rumqttc::v5::mqttbytes::v5 as packet5;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{Protocol, Term, Uplink};
use crate::health::ReconnectReason;

use super::bridge::Bridge;
use super::command::{BYTES_MAX, Heard};
use super::fault::Fault;
use super::lane::Message;
use super::tls::Secure;

/// Events of the client that may wait for the worker; then the connection is read no further.
const EVENTS: usize = 1024;
/// Largest packet we take: retained alarms come back once at each connect.
const INCOMING_MAX: u32 = 65_536;
/// Of its topic so much is kept; ours are shorter. Characters.
const TOPIC_MAX: usize = 512;
/// Seconds for TCP and CONNACK together.
const CONNECT_S: u64 = 5;
/// The client takes no shorter keep alive.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(5);
/// Seconds the broker keeps the session of a node that is away.
const SESSION_S: u32 = 3600;
/// Seconds before the broker publishes the will: a short loss is no absence.
pub(super) const WILL_DELAY_S: u32 = 30;
/// The largest packet MQTT can carry: what counts when the broker names no limit.
const PACKET_MAX: usize = 268_435_455;
/// A broker that takes no larger packets takes hardly an event: it is set wrong, and none of them is to blame. Bytes.
const PACKET_MIN: u32 = 1024;

/// What a connection says.
#[derive(Debug)]
pub(super) enum Said {
    /// The broker took the connection; publishes and bytes it takes at once, and whether it retains.
    Connected { receive_max: usize, packet_max: usize, retains: bool },
    /// What the broker showed of itself over TLS is valid that long.
    Shown(Term),
    /// A publish went out under this packet id.
    Published(u16),
    /// The broker's answer to a packet id.
    Acked { pkid: u16, code: u8 },
    /// A retained message of ours that stands at the broker.
    Standing { topic: String, empty: bool },
    /// The centre asks for something.
    Command(Heard),
    /// The broker answered what the node asked to hear: whether commands will come.
    Listening(bool),
    /// The connection is over.
    Over(Fault),
}

enum Client {
    V5(v5::AsyncClient),
    V4(rumqttc::AsyncClient),
}

/// One connection, from its first packet to its end.
pub(super) struct Link {
    client: Client,
    events: mpsc::Receiver<Said>,
    /// Dropped with the link: ends the task and closes the socket.
    _task: JoinSet<()>,
    handed: VecDeque<u64>,
    by_pkid: Vec<u64>,
}

/// What the broker is told at the connect.
pub(super) struct Greeting {
    pub password: Option<String>,
    pub will: Message,
    /// Publishes in flight that we shall never exceed.
    pub window: u16,
    /// Whether what the broker holds for the node is to be forgotten.
    pub fresh: bool,
}

impl Link {
    /// Begins to connect; the outcome comes as the first [`Said`]. With `secure` over TLS, and never without.
    ///
    /// # Errors
    /// When the kernel gives no socket for the bridge to TLS.
    pub fn open(config: &Uplink, greeting: Greeting, secure: Option<Secure>) -> Result<Self, Fault> {
        let no_socket = |error| Fault::given_up(ReconnectReason::Client, format!("no socket for TLS: {error}"));
        let bridge = secure.map(Bridge::open).transpose().map_err(no_socket)?;
        let (tx, events) = mpsc::channel(EVENTS);
        let mut task = JoinSet::new();
        let window = greeting.window;
        let cap = usize::from(window) + 8;
        let client = match config.protocol {
            Protocol::V5 => {
                let (client, eventloop) = v5::AsyncClient::new(options_v5(config, greeting, bridge.as_ref()), cap);
                task.spawn(carry(poll_v5(eventloop, config.keep_alive, tx.clone()), bridge, tx));
                Client::V5(client)
            }
            Protocol::V311 => {
                let options = options_v4(config, greeting, bridge.as_ref());
                let (client, mut eventloop) = rumqttc::AsyncClient::new(options, cap);
                eventloop.set_network_options(network());
                task.spawn(carry(poll_v4(eventloop, tx.clone()), bridge, tx));
                Client::V4(client)
            }
        };
        // One id more than the window: the subscription at the start takes one too.
        Ok(Self { client, events, _task: task, handed: VecDeque::new(), by_pkid: vec![0; usize::from(window) + 2] })
    }

    /// Takes what the connection said since the last time; waits for the first. Loses nothing when it is cancelled.
    pub async fn said(&mut self, into: &mut Vec<Said>) {
        if self.events.recv_many(into, EVENTS).await == 0 {
            into.push(Said::Over(Fault::closed("the connection's task ended")));
        }
    }

    /// Hands a publish over; its answer comes under `ticket`. False when the client takes no more.
    pub fn publish(&mut self, ticket: u64, message: Message) -> bool {
        let Message { topic, payload, retain, .. } = message;
        let taken = match &self.client {
            Client::V5(client) => client.try_publish(topic, v5::mqttbytes::QoS::AtLeastOnce, retain, payload).is_ok(),
            Client::V4(client) => client.try_publish(topic, rumqttc::QoS::AtLeastOnce, retain, payload).is_ok(),
        };
        if taken {
            self.handed.push_back(ticket);
        }
        taken
    }

    /// Notes the packet id of the publish handed over longest ago.
    pub fn published(&mut self, pkid: u16) {
        let Some(ticket) = self.handed.pop_front() else { return };
        let slot = usize::from(pkid);
        if slot >= self.by_pkid.len() {
            self.by_pkid.resize(slot + 1, 0);
        }
        self.by_pkid[slot] = ticket;
    }

    /// The ticket of an acknowledged packet id; each counts once.
    pub fn acked(&mut self, pkid: u16) -> Option<u64> {
        let ticket = std::mem::take(self.by_pkid.get_mut(usize::from(pkid))?);
        (ticket > 0).then_some(ticket)
    }

    /// Asks for the retained messages under these filters, once, and for commands under another. Must come before the first
    /// publish: it takes a packet id.
    pub fn listen(&self, standing: &[String], commands: &str) -> bool {
        match &self.client {
            Client::V5(client) => {
                let standing = standing.iter().map(|filter| {
                    let mut filter = packet5::Filter::new(filter.as_str(), v5::mqttbytes::QoS::AtMostOnce);
                    filter.nolocal = true;
                    filter
                });
                let mut commands = packet5::Filter::new(commands, v5::mqttbytes::QoS::AtLeastOnce);
                // One that was published to be kept is to be known as that.
                commands.preserve_retain = true;
                client.try_subscribe_many(standing.chain([commands])).is_ok()
            }
            Client::V4(client) => {
                let filter = |filter: &str, qos| rumqttc::SubscribeFilter::new(filter.to_owned(), qos);
                let standing = standing.iter().map(|standing| filter(standing, rumqttc::QoS::AtMostOnce));
                client.try_subscribe_many(standing.chain([filter(commands, rumqttc::QoS::AtLeastOnce)])).is_ok()
            }
        }
    }

    /// Says goodbye: the broker does not publish the will then.
    pub fn disconnect(&self) -> bool {
        match &self.client {
            Client::V5(client) => client.try_disconnect().is_ok(),
            Client::V4(client) => client.try_disconnect().is_ok(),
        }
    }
}

fn network() -> rumqttc::NetworkOptions {
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_S);
    network
}

fn options_v5(config: &Uplink, greeting: Greeting, bridge: Option<&Bridge>) -> v5::MqttOptions {
    let host = bridge.map_or(config.host.as_str(), Bridge::address);
    let mut options = v5::MqttOptions::new(&config.client_id, host, config.port);
    if bridge.is_some() {
        options.set_transport(rumqttc::Transport::unix());
    }
    options
        .set_keep_alive(config.keep_alive.max(KEEP_ALIVE_MIN))
        .set_clean_start(greeting.fresh)
        .set_session_expiry_interval(Some(SESSION_S))
        .set_max_packet_size(Some(INCOMING_MAX))
        .set_outgoing_inflight_upper_limit(greeting.window.saturating_add(1))
        .set_connection_timeout(CONNECT_S)
        .set_network_options(network());
    let delay = packet5::LastWillProperties {
        delay_interval: Some(WILL_DELAY_S),
        payload_format_indicator: None,
        message_expiry_interval: None,
        content_type: None,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    };
    let Message { topic, payload, retain, .. } = greeting.will;
    options.set_last_will(packet5::LastWill::new(topic, payload, v5::mqttbytes::QoS::AtLeastOnce, retain, Some(delay)));
    if let Some(user) = &config.username {
        options.set_credentials(user, greeting.password.unwrap_or_default());
    }
    options
}

fn options_v4(config: &Uplink, greeting: Greeting, bridge: Option<&Bridge>) -> rumqttc::MqttOptions {
    let host = bridge.map_or(config.host.as_str(), Bridge::address);
    let mut options = rumqttc::MqttOptions::new(&config.client_id, host, config.port);
    if bridge.is_some() {
        options.set_transport(rumqttc::Transport::unix());
    }
    options
        .set_keep_alive(config.keep_alive.max(KEEP_ALIVE_MIN))
        .set_clean_session(greeting.fresh)
        .set_inflight(greeting.window.saturating_add(1))
        .set_max_packet_size(usize::try_from(INCOMING_MAX).unwrap_or(PACKET_MAX), PACKET_MAX);
    let Message { topic, payload, retain, .. } = greeting.will;
    options.set_last_will(rumqttc::LastWill::new(topic, payload, rumqttc::QoS::AtLeastOnce, retain));
    if let Some(user) = &config.username {
        options.set_credentials(user, greeting.password.unwrap_or_default());
    }
    options
}

/// Runs the client over what it needs, and says why the connection is over.
async fn carry(client: impl Future<Output = Option<Fault>>, bridge: Option<Bridge>, tx: mpsc::Sender<Said>) {
    let over = match bridge {
        Some(bridge) => bridge.carry(client, &tx).await,
        None => client.await,
    };
    if let Some(over) = over {
        // Nobody listens when the link was dropped meanwhile: then the end is known.
        drop(tx.send(Said::Over(over)).await);
    }
}

/// Waits on the client's event loop and the room in the channel; answers the end of the connection, or none when nobody
/// listens.
async fn poll_v5(mut eventloop: v5::EventLoop, keep_alive: Duration, tx: mpsc::Sender<Said>) -> Option<Fault> {
    let over = loop {
        match eventloop.poll().await {
            Ok(event) => {
                // A broker that wants no keep alive says 0, which the client would take for a ping without end.
                if eventloop.options.keep_alive().is_zero() {
                    eventloop.options.set_keep_alive(keep_alive.max(KEEP_ALIVE_MIN));
                }
                if let Some(said) = said_v5(event)
                    && tx.send(said).await.is_err()
                {
                    return None;
                }
            }
            Err(error) => break Fault::of_v5(&error),
        }
    };
    // Answers that were read together with the end are good answers.
    for event in std::mem::take(&mut eventloop.state.events) {
        if let Some(said) = said_v5(event)
            && tx.send(said).await.is_err()
        {
            return None;
        }
    }
    Some(over)
}

/// As [`poll_v5`], for 3.1.1.
async fn poll_v4(mut eventloop: rumqttc::EventLoop, tx: mpsc::Sender<Said>) -> Option<Fault> {
    let over = loop {
        match eventloop.poll().await {
            Ok(event) => {
                if let Some(said) = said_v4(event)
                    && tx.send(said).await.is_err()
                {
                    return None;
                }
            }
            Err(error) => break Fault::of_v4(&error),
        }
    };
    for event in std::mem::take(&mut eventloop.state.events) {
        if let Some(said) = said_v4(event)
            && tx.send(said).await.is_err()
        {
            return None;
        }
    }
    Some(over)
}

fn said_v5(event: v5::Event) -> Option<Said> {
    use packet5::PubAckReason as R;
    match event {
        v5::Event::Incoming(v5::Incoming::ConnAck(connack)) => {
            let limits = connack.properties;
            if let Some(text) = limits.as_ref().and_then(unfit) {
                return Some(Said::Over(Fault::unfit(text)));
            }
            let receive_max = limits.as_ref().and_then(|p| p.receive_max).unwrap_or(u16::MAX);
            let retains = limits.as_ref().and_then(|p| p.retain_available) != Some(0);
            let packet_max = limits.and_then(|p| p.max_packet_size).and_then(|max| usize::try_from(max).ok());
            Some(Said::Connected {
                receive_max: usize::from(receive_max),
                packet_max: packet_max.unwrap_or(PACKET_MAX),
                retains,
            })
        }
        v5::Event::Incoming(v5::Incoming::PubAck(ack)) => {
            let code = match ack.reason {
                R::Success => 0x00,
                R::NoMatchingSubscribers => 0x10,
                R::UnspecifiedError => 0x80,
                R::ImplementationSpecificError => 0x83,
                R::NotAuthorized => 0x87,
                R::TopicNameInvalid => 0x90,
                R::PacketIdentifierInUse => 0x91,
                R::QuotaExceeded => 0x97,
                R::PayloadFormatInvalid => 0x99,
            };
            Some(Said::Acked { pkid: ack.pkid, code })
        }
        // The node asks once a connection, and for commands last.
        v5::Event::Incoming(v5::Incoming::SubAck(ack)) => {
            Some(Said::Listening(matches!(ack.return_codes.last(), Some(packet5::SubscribeReasonCode::Success(_)))))
        }
        v5::Event::Incoming(v5::Incoming::Publish(publish)) => {
            heard(&String::from_utf8_lossy(&publish.topic), &publish.payload, publish.retain)
        }
        v5::Event::Outgoing(rumqttc::Outgoing::Publish(pkid)) => Some(Said::Published(pkid)),
        _ => None,
    }
}

/// Why no event can go over a connection with these limits; none when they can.
fn unfit(limits: &packet5::ConnAckProperties) -> Option<String> {
    if limits.receive_max == Some(0) {
        return Some("it takes no message at all (receive maximum 0)".to_owned());
    }
    if limits.max_qos == Some(0) {
        return Some("it acknowledges no message (maximum QoS 0); events need QoS 1".to_owned());
    }
    let packet_max = limits.max_packet_size.filter(|max| *max < PACKET_MIN)?;
    Some(format!("it takes packets of {packet_max} bytes at most; events need {PACKET_MIN} at least"))
}

/// A message of the broker: a command by its topic, else what it kept of ours. No more of it is kept than is looked at.
fn heard(topic: &str, payload: &[u8], retained: bool) -> Option<Said> {
    let topic: String = topic.chars().take(TOPIC_MAX).collect();
    if topic.rsplit('/').nth(1) == Some("cmd") {
        // An empty retained message takes one off the broker.
        let payload = payload[..payload.len().min(BYTES_MAX + 1)].to_vec();
        return (!retained || !payload.is_empty()).then_some(Said::Command(Heard { topic, payload, retained }));
    }
    retained.then_some(Said::Standing { topic, empty: payload.is_empty() })
}

fn said_v4(event: rumqttc::Event) -> Option<Said> {
    match event {
        rumqttc::Event::Incoming(rumqttc::Packet::ConnAck(_)) => {
            Some(Said::Connected { receive_max: usize::from(u16::MAX), packet_max: PACKET_MAX, retains: true })
        }
        rumqttc::Event::Incoming(rumqttc::Packet::PubAck(ack)) => Some(Said::Acked { pkid: ack.pkid, code: 0 }),
        rumqttc::Event::Incoming(rumqttc::Packet::SubAck(ack)) => {
            Some(Said::Listening(matches!(ack.return_codes.last(), Some(rumqttc::SubscribeReasonCode::Success(_)))))
        }
        rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) => {
            heard(&publish.topic, &publish.payload, publish.retain)
        }
        rumqttc::Event::Outgoing(rumqttc::Outgoing::Publish(pkid)) => Some(Said::Published(pkid)),
        _ => None,
    }
}
