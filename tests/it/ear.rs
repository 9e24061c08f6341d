//! A subscriber that keeps every message in the order in which it came, with a user and a session of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use serde_json::Value;

use crate::bench::wait_for;

/// A message.
#[derive(Clone, Debug)]
pub struct Heard {
    pub topic: String,
    /// Whether the broker had kept it.
    pub retained: bool,
    /// Null when it is empty or no JSON.
    pub payload: Value,
}

#[derive(Default)]
struct Inbox {
    heard: Mutex<Vec<Heard>>,
    subscribed: AtomicBool,
    over: AtomicBool,
}

/// The subscriber. Its session ends with it unless it has a name.
pub struct Ear {
    inbox: Arc<Inbox>,
    client: Client,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    /// Subscribes as `user`, whose password is its name; returns when the broker has said yes. With a session when `name`
    /// is not empty. MQTT 3.1.1, which every broker speaks.
    pub fn at(port: u16, name: &str, user: &str, topic: &str) -> Self {
        // Fresh names where no session is wanted: some brokers demand one.
        let fresh = format!("ear-{}", std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos());
        let mut options = MqttOptions::new(if name.is_empty() { &fresh } else { name }, "127.0.0.1", port);
        options.set_clean_session(name.is_empty()).set_keep_alive(Duration::from_secs(5));
        options.set_credentials(user, user).set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut connection) = Client::new(options, 16);
        let inbox = Arc::new(Inbox::default());
        let (theirs, asking, topic) = (Arc::clone(&inbox), client.clone(), topic.to_owned());
        let thread = std::thread::spawn(move || {
            while !theirs.over.load(Ordering::Acquire) {
                match connection.recv() {
                    Ok(Ok(Event::Incoming(Packet::ConnAck(ack)))) if !ack.session_present => {
                        asking.try_subscribe(&topic, QoS::AtLeastOnce).unwrap();
                    }
                    Ok(Ok(Event::Incoming(Packet::ConnAck(_) | Packet::SubAck(_)))) => {
                        theirs.subscribed.store(true, Ordering::Release);
                    }
                    Ok(Ok(Event::Incoming(Packet::Publish(publish)))) => theirs.heard.lock().unwrap().push(Heard {
                        retained: publish.retain,
                        payload: serde_json::from_slice(&publish.payload).unwrap_or(Value::Null),
                        topic: publish.topic,
                    }),
                    Ok(Ok(_)) => {}
                    // The broker is away: the next call connects again.
                    Ok(Err(_)) => std::thread::park_timeout(Duration::from_millis(50)),
                    Err(_) => return,
                }
            }
        });
        let ear = Self { inbox, client, thread: Some(thread) };
        wait_for("the subscription", || ear.inbox.subscribed.load(Ordering::Acquire).then_some(()));
        ear
    }

    pub fn heard(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.inbox.heard.lock().unwrap()
    }

    /// Publishes with QoS 1.
    pub fn say(&self, topic: &str, payload: &Value) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload.to_string()).unwrap();
    }

    /// The last message whose topic ends so.
    pub fn last(&self, ends: &str) -> Option<Heard> {
        self.heard().iter().rev().find(|heard| heard.topic.ends_with(ends)).cloned()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.inbox.over.store(true, Ordering::Release);
        // Ends the wait of its thread; without a connection that ends by itself.
        drop(self.client.try_disconnect());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
