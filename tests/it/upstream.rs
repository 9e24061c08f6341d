//! The centre: what it has heard of the node, and how it asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::wait_for;

/// The topics of the bench's node.
const BASE: &str = "waypost/v1/halden/wp-07";

/// Where an event stands in the log of its node.
pub struct Place {
    pub epoch: String,
    pub kind: String,
    pub seq: i64,
    /// Of the event before it of its kind.
    pub prev: Option<i64>,
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
    /// The places of events that came for the first time, in that order; whoever keeps book takes them.
    pub news: Vec<Place>,
    /// Events that came for the first time in a replay.
    pub recovered: u64,
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
    deaf: Arc<AtomicBool>,
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
        let deaf = Arc::new(AtomicBool::new(false));
        let is_deaf = Arc::clone(&deaf);
        let all = format!("{BASE}/#");
        client.subscribe(all.as_str(), rumqttc::QoS::AtLeastOnce).unwrap();
        let again = client.clone();
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Acquire) {
                if is_deaf.load(Ordering::Acquire) {
                    std::thread::park_timeout(Duration::from_millis(5));
                    continue;
                }
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
        let centre = Self { heard, client, over, deaf, thread: Some(thread) };
        wait_for("the centre's subscription", || centre.heard().subscribed.then_some(()));
        centre
    }

    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap()
    }

    /// Whether it takes nothing from its broker, which keeps it meanwhile.
    pub fn deaf(&self, is_deaf: bool) {
        self.deaf.store(is_deaf, Ordering::Release);
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
        let is_replay = event.as_object_mut().unwrap().remove("replay").is_some();
        if is_replay {
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
            None => {
                self.firsts.push(Instant::now());
                self.recovered += u64::from(is_replay);
                self.news.push(Place {
                    epoch: event["epoch"].as_str().unwrap().to_owned(),
                    kind: event["kind"].as_str().unwrap().to_owned(),
                    seq: event["seq"].as_i64().unwrap(),
                    prev: event["prev"].as_i64(),
                });
            }
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
