//! What stands between a node and the centre: a wire that can be cut and knows what was acknowledged on it, and the centre.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::wait_for;

/// The topics of the bench's node.
const BASE: &str = "waypost/v1/halden/wp-07";

/// What passed on the wire.
#[derive(Default)]
pub struct Passed {
    /// Ids of events that the node published.
    pub published: HashSet<String>,
    /// Ids of events whose PUBACK was passed on to the node.
    pub acked: HashSet<String>,
    /// PUBACKs of events by reason code.
    pub codes: BTreeMap<u8, u64>,
    /// Publishes of events, resends included.
    pub publishes: u64,
    /// Events published on the connection of now whose PUBACK was not passed on.
    pub in_flight: usize,
    /// Connections the broker took.
    pub connections: u64,
}

#[derive(Default)]
struct Wires {
    passed: Mutex<Passed>,
    held: Mutex<bool>,
    released: Condvar,
    /// Whether nothing passes, while every socket stays open.
    holed: Mutex<bool>,
    mended: Condvar,
    open: Mutex<Vec<Arc<Pair>>>,
    unheard: Mutex<Vec<TcpStream>>,
    over: AtomicBool,
}

/// One connection through the wire.
struct Pair {
    node: TcpStream,
    broker: TcpStream,
    cut: AtomicBool,
    by_pkid: Mutex<HashMap<u16, String>>,
}

/// A TCP wire to the broker that reads along and can be cut.
pub struct Wire {
    pub port: u16,
    wires: Arc<Wires>,
}

impl Wire {
    pub fn to(broker_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let wires = Arc::new(Wires::default());
        let theirs = Arc::clone(&wires);
        std::thread::spawn(move || {
            for node in listener.incoming() {
                let Ok(node) = node else { continue };
                if theirs.over.load(Ordering::Acquire) {
                    return;
                }
                if *theirs.holed.lock().unwrap() {
                    // Nobody hears it: it stays open until the node gives it up.
                    theirs.unheard.lock().unwrap().push(node);
                    continue;
                }
                // A broker that is down: the node's connection ends, as it would without a wire.
                let Ok(broker) = TcpStream::connect(("127.0.0.1", broker_port)) else { continue };
                theirs.join(node, broker);
            }
        });
        Self { port, wires }
    }

    pub fn passed(&self) -> MutexGuard<'_, Passed> {
        self.wires.passed.lock().unwrap()
    }

    /// Keeps PUBACKs back until the next [`Wire::cut`]; at least `unanswered` events are then published and unanswered.
    pub fn hold(&self, unanswered: usize) {
        *self.wires.held.lock().unwrap() = true;
        wait_for("events that wait for their PUBACK", || (self.passed().in_flight >= unanswered).then_some(()));
    }

    /// From now on nothing passes and nothing ends, until [`Wire::mend`].
    pub fn hole(&self) {
        *self.wires.holed.lock().unwrap() = true;
    }

    /// Lets pass again; what was under way when the hole began is lost with its connection.
    pub fn mend(&self) {
        self.cut();
        self.wires.unheard.lock().unwrap().clear();
        *self.wires.holed.lock().unwrap() = false;
        self.wires.mended.notify_all();
    }

    /// Cuts every connection; PUBACKs that were kept back are lost.
    pub fn cut(&self) {
        let open = std::mem::take(&mut *self.wires.open.lock().unwrap());
        open.iter().for_each(|pair| pair.cut());
        *self.wires.held.lock().unwrap() = false;
        self.wires.released.notify_all();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.wires.over.store(true, Ordering::Release);
        self.mend();
        // Wakes the listener; whether it still takes anything matters to nobody.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl Pair {
    fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        for end in [&self.node, &self.broker] {
            // It may have ended by itself.
            drop(end.shutdown(Shutdown::Both));
        }
    }
}

impl Wires {
    fn join(self: &Arc<Self>, node: TcpStream, broker: TcpStream) {
        node.set_nodelay(true).unwrap();
        broker.set_nodelay(true).unwrap();
        let pair = Arc::new(Pair { node, broker, cut: AtomicBool::new(false), by_pkid: Mutex::new(HashMap::new()) });
        self.open.lock().unwrap().push(Arc::clone(&pair));
        {
            let mut passed = self.passed.lock().unwrap();
            passed.connections += 1;
            passed.in_flight = 0;
        }
        for up in [true, false] {
            let (wires, pair) = (Arc::clone(self), Arc::clone(&pair));
            std::thread::spawn(move || {
                let (mut from, mut to) = if up { (&pair.node, &pair.broker) } else { (&pair.broker, &pair.node) };
                while let Ok(packet) = packet(&mut from) {
                    wires.wait_for_the_end_of_the_hole();
                    if pair.cut.load(Ordering::Acquire) {
                        break;
                    }
                    let passes = if up { wires.published(&pair, &packet) } else { wires.answered(&pair, &packet) };
                    if !passes || to.write_all(&packet.0).is_err() {
                        break;
                    }
                }
                pair.cut();
            });
        }
    }

    fn wait_for_the_end_of_the_hole(&self) {
        let mut holed = self.holed.lock().unwrap();
        while *holed {
            holed = self.mended.wait(holed).unwrap();
        }
    }

    fn published(&self, pair: &Pair, packet: &Packet) -> bool {
        let Some((pkid, id)) = packet.event() else { return true };
        pair.by_pkid.lock().unwrap().insert(pkid, id.clone());
        let mut passed = self.passed.lock().unwrap();
        passed.published.insert(id);
        passed.publishes += 1;
        passed.in_flight += 1;
        true
    }

    /// Counts a PUBACK before the node can read it: the count is never behind what the node may know.
    fn answered(&self, pair: &Pair, packet: &Packet) -> bool {
        let Some((pkid, code)) = packet.puback() else { return true };
        let mut held = self.held.lock().unwrap();
        while *held && !pair.cut.load(Ordering::Acquire) {
            held = self.released.wait(held).unwrap();
        }
        drop(held);
        if pair.cut.load(Ordering::Acquire) {
            return false;
        }
        if let Some(id) = pair.by_pkid.lock().unwrap().remove(&pkid) {
            let mut passed = self.passed.lock().unwrap();
            if code < 0x80 {
                passed.acked.insert(id);
            }
            *passed.codes.entry(code).or_default() += 1;
            passed.in_flight = passed.in_flight.saturating_sub(1);
        }
        true
    }
}

/// One MQTT control packet as it stands on the wire, and where its body begins.
struct Packet(Vec<u8>, usize);

fn packet(from: &mut impl Read) -> std::io::Result<Packet> {
    let mut bytes = vec![0];
    from.read_exact(&mut bytes)?;
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        bytes.push(byte[0]);
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 || shift > 21 {
            break;
        }
    }
    let begin = bytes.len();
    bytes.resize(begin + length, 0);
    from.read_exact(&mut bytes[begin..])?;
    Ok(Packet(bytes, begin))
}

impl Packet {
    fn body(&self) -> &[u8] {
        &self.0[self.1..]
    }

    /// Packet id and event id of a PUBLISH with QoS 1 of an event.
    fn event(&self) -> Option<(u16, String)> {
        if self.0[0] & 0xf6 != 0x32 {
            return None;
        }
        let body = self.body();
        let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        if !String::from_utf8_lossy(&body[2..topic_end]).contains("/event/") {
            return None;
        }
        let pkid = u16::from_be_bytes([body[topic_end], body[topic_end + 1]]);
        let payload = &body[body.iter().position(|byte| *byte == b'{')?..];
        let event: Value = serde_json::from_slice(payload).unwrap();
        Some((pkid, event["id"].as_str().unwrap().to_owned()))
    }

    fn puback(&self) -> Option<(u16, u8)> {
        let body = self.body();
        (self.0[0] == 0x40).then(|| (u16::from_be_bytes([body[0], body[1]]), body.get(2).copied().unwrap_or(0)))
    }
}

/// What the centre has.
#[derive(Default)]
pub struct Heard {
    /// The events by id.
    pub events: HashMap<String, Value>,
    /// Messages with events, repeats included.
    pub messages: u64,
    /// Ids of events that came marked as a replay, each as often as it came.
    pub replayed: Vec<String>,
    /// Answers to commands, in the order in which they came.
    pub answers: Vec<Value>,
    /// Each event as the bytes it first came as, the mark of a replay taken off.
    bytes: HashMap<String, String>,
    /// Events that came again as something else, and places in the log that were given to two events.
    pub changed: Vec<String>,
    places: HashMap<(String, i64), String>,
    /// When each event came for the first time.
    pub firsts: Vec<Instant>,
    /// The last payload of each of the other topics.
    pub topics: BTreeMap<String, Value>,
    subscribed: bool,
}

/// The centre: a subscriber with a persistent session that deduplicates by `id`.
pub struct Centre {
    heard: Arc<Mutex<Heard>>,
    client: rumqttc::Client,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Centre {
    /// Subscribes to everything of the bench's node; returns when the broker knows it.
    pub fn at(broker_port: u16, name: &str) -> Self {
        let mut options = rumqttc::MqttOptions::new(name, "127.0.0.1", broker_port);
        options.set_clean_session(false).set_keep_alive(Duration::from_secs(5)).set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut connection) = rumqttc::Client::new(options, 16);
        let (heard, over) = (Arc::new(Mutex::new(Heard::default())), Arc::new(AtomicBool::new(false)));
        let (theirs, ended) = (Arc::clone(&heard), Arc::clone(&over));
        let all = format!("{BASE}/#");
        client.subscribe(all.as_str(), rumqttc::QoS::AtLeastOnce).unwrap();
        let again = client.clone();
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Acquire) {
                match connection.recv() {
                    Ok(Ok(rumqttc::Event::Incoming(packet))) => {
                        if matches!(packet, rumqttc::Packet::ConnAck(_)) {
                            // A broker that was killed has forgotten its sessions.
                            drop(again.try_subscribe(all.as_str(), rumqttc::QoS::AtLeastOnce));
                        }
                        theirs.lock().unwrap().take(packet);
                    }
                    Ok(Ok(rumqttc::Event::Outgoing(_))) => {}
                    // The broker is away: the next call connects again.
                    Ok(Err(_)) => std::thread::park_timeout(Duration::from_millis(50)),
                    Err(_) => return,
                }
            }
        });
        let centre = Self { heard, client, over, thread: Some(thread) };
        wait_for("the centre's subscription", || centre.heard().subscribed.then_some(()));
        centre
    }

    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap()
    }

    /// Publishes below the node's `cmd/`.
    pub fn command(&self, name: &str, payload: impl Into<Vec<u8>>) {
        self.client.publish(format!("{BASE}/cmd/{name}"), rumqttc::QoS::AtLeastOnce, false, payload).unwrap();
    }

    /// Publishes below the node's `cmd/`, to be kept by the broker.
    pub fn command_kept(&self, name: &str, payload: impl Into<Vec<u8>>) {
        self.client.publish(format!("{BASE}/cmd/{name}"), rumqttc::QoS::AtLeastOnce, true, payload).unwrap();
    }

    /// The newest answer under an id for which `is_it` holds.
    pub fn answer(&self, id: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("the answer to {id}"), || {
            self.heard().answers.iter().rev().find(|answer| answer["id"] == id && is_it(answer)).cloned()
        })
    }
}

impl Drop for Centre {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Ends the wait of its thread; without a connection that ends by itself.
        drop(self.client.try_disconnect());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Heard {
    fn take(&mut self, packet: rumqttc::Packet) {
        match packet {
            rumqttc::Packet::SubAck(_) => self.subscribed = true,
            rumqttc::Packet::Publish(publish) => {
                let text = String::from_utf8_lossy(&publish.payload).into_owned();
                let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
                if publish.topic.contains("/event/") {
                    self.messages += 1;
                    self.event(value, text);
                } else if publish.topic.contains("/ack/") {
                    self.answers.push(value);
                } else if !publish.topic.contains("/cmd/") {
                    let name = publish.topic.rsplit_once("wp-07/").unwrap().1.to_owned();
                    self.topics.insert(name, value);
                }
            }
            _ => {}
        }
    }

    fn event(&mut self, mut event: Value, mut text: String) {
        let id = event["id"].as_str().unwrap().to_owned();
        if event.as_object_mut().unwrap().remove("replay").is_some() {
            self.replayed.push(id.clone());
            let mark = ",\"replay\":true";
            let at = text.find(mark).unwrap_or_else(|| panic!("{text} has its mark elsewhere"));
            text.replace_range(at..at + mark.len(), "");
        }
        let first = self.bytes.entry(id.clone()).or_insert_with(|| text.clone());
        if *first != text {
            self.changed.push(format!("{first} came again as {text}"));
        }
        let place = (event["epoch"].as_str().unwrap().to_owned(), event["seq"].as_i64().unwrap());
        let known = self.places.entry(place).or_insert_with(|| id.clone());
        if *known != id {
            self.changed.push(format!("{event} stands where {known} stood"));
        }
        match self.events.insert(id, event.clone()) {
            None => self.firsts.push(Instant::now()),
            Some(before) if before != event => self.changed.push(format!("{before} came again as {event}")),
            Some(_) => {}
        }
    }

    /// Where a kind's events do not follow each other by `prev`; empty when there is no gap.
    pub fn gaps(&self) -> Vec<String> {
        let mut kinds: BTreeMap<(&str, &str), BTreeMap<i64, Option<i64>>> = BTreeMap::new();
        for event in self.events.values() {
            let kind = (event["epoch"].as_str().unwrap(), event["kind"].as_str().unwrap());
            kinds.entry(kind).or_default().insert(event["seq"].as_i64().unwrap(), event["prev"].as_i64());
        }
        let mut gaps = Vec::new();
        for (kind, events) in kinds {
            let mut before = None;
            for (seq, prev) in events {
                if prev != before {
                    gaps.push(format!("{kind:?}: {seq} follows {prev:?}, heard before it: {before:?}"));
                }
                before = Some(seq);
            }
        }
        gaps
    }
}
