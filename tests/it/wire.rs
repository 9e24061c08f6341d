//! The wire between a node and its broker: it reads along and keeps a log of what the broker acknowledged, can be cut or fall
//! silent, and can make of a good broker one that does not bear an event.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::wait_for;

/// What the broker does not bear, as the node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vice {
    /// It answers what comes on the topic with this end with this code, and does not take it.
    Refuses(&'static str, u8),
    /// It closes the connection on a payload that holds this.
    Closes(&'static str),
    /// It takes a payload that holds this and never acknowledges it.
    Ignores(&'static str),
}

/// A PUBACK of an event as the broker wrote it.
pub struct Ack {
    /// Of the event.
    pub id: String,
    pub code: u8,
    /// When it went on to the node; none when it never did.
    pub passed: Option<Instant>,
}

/// What passed on the wire.
#[derive(Default)]
pub struct Passed {
    /// Ids of events that the node published.
    pub published: HashSet<String>,
    /// Ids of events whose PUBACK was passed on to the node.
    pub acked: HashSet<String>,
    /// PUBACKs of events by reason code.
    pub codes: BTreeMap<u8, u64>,
    /// Every PUBACK of an event that the broker wrote, in their order; those of a replay are left out here as everywhere.
    pub log: Vec<Ack>,
    /// Publishes of events, resends included.
    pub publishes: u64,
    /// Those of an event that the broker had taken already, or perhaps had.
    pub again: u64,
    /// Publishes of events that the centre has asked for once more.
    pub replays: u64,
    /// Events published that the broker may have taken: not those that it answered with anything but 0x00.
    perhaps: HashSet<String>,
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
    vice: Mutex<Option<Vice>>,
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
    /// Packet ids whose PUBACK does not go on.
    ignored: Mutex<HashSet<u16>>,
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

    /// From now on the broker has this vice, or none.
    pub fn vice(&self, vice: Option<Vice>) {
        *self.wires.vice.lock().unwrap() = vice;
    }

    /// No more may be called sent than PUBACKs have passed. The ledger is of a moment before: the count only grows.
    pub fn covers(&self, ledger: &Value) {
        let acked = self.passed().acked.len() as u64;
        let sent =
            ["sent", "sent_unheard"].map(|word| ledger["events"][word].as_u64().unwrap_or(0)).iter().sum::<u64>();
        assert!(sent <= acked, "{sent} events are marked sent, {acked} PUBACKs have passed the wire");
        assert_eq!(ledger["balance"], 0, "{ledger}");
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
        let pair = Arc::new(Pair {
            node,
            broker,
            cut: AtomicBool::new(false),
            by_pkid: Mutex::default(),
            ignored: Mutex::default(),
        });
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
                    let ack = if up { None } else { wires.wrote(&pair, &packet) };
                    wires.wait_for_the_end_of_the_hole();
                    if pair.cut.load(Ordering::Acquire) {
                        break;
                    }
                    let passes = if up { wires.published(&pair, &packet) } else { wires.answered(&pair, &packet, ack) };
                    match passes {
                        Passes::On if to.write_all(&packet.0).is_ok() => {}
                        Passes::Not => {}
                        Passes::Back(answer) if (&pair.node).write_all(&answer).is_ok() => {}
                        _ => break,
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

    fn published(&self, pair: &Pair, packet: &Packet) -> Passes {
        let Some(event) = packet.event() else { return Passes::On };
        let vice = *self.vice.lock().unwrap();
        match vice {
            Some(Vice::Refuses(end, code)) if event.topic.ends_with(end) => {
                let [high, low] = event.pkid.to_be_bytes();
                return Passes::Back([0x40, 3, high, low, code]);
            }
            Some(Vice::Closes(text)) if event.payload.contains(text) => return Passes::End,
            _ => {}
        }
        let is_ignored = matches!(vice, Some(Vice::Ignores(text)) if event.payload.contains(text));
        if is_ignored {
            pair.ignored.lock().unwrap().insert(event.pkid);
        }
        let mut passed = self.passed.lock().unwrap();
        if event.replay {
            passed.replays += 1;
            return Passes::On;
        }
        pair.by_pkid.lock().unwrap().insert(event.pkid, event.id.clone());
        passed.again += u64::from(!passed.perhaps.insert(event.id.clone()));
        passed.published.insert(event.id);
        passed.publishes += 1;
        passed.in_flight += 1;
        Passes::On
    }

    /// Notes a PUBACK in the log, whether it goes on or not; its place there.
    fn wrote(&self, pair: &Pair, packet: &Packet) -> Option<usize> {
        let (pkid, code) = packet.puback()?;
        let id = pair.by_pkid.lock().unwrap().get(&pkid)?.clone();
        let mut passed = self.passed.lock().unwrap();
        if code != 0 {
            passed.perhaps.remove(&id);
        }
        passed.log.push(Ack { id, code, passed: None });
        Some(passed.log.len() - 1)
    }

    /// Counts a PUBACK before the node can read it: the count is never behind what the node may know.
    fn answered(&self, pair: &Pair, packet: &Packet, ack: Option<usize>) -> Passes {
        let Some((pkid, code)) = packet.puback() else { return Passes::On };
        let mut held = self.held.lock().unwrap();
        while *held && !pair.cut.load(Ordering::Acquire) {
            held = self.released.wait(held).unwrap();
        }
        drop(held);
        if pair.cut.load(Ordering::Acquire) {
            return Passes::End;
        }
        if pair.ignored.lock().unwrap().remove(&pkid) {
            return Passes::Not;
        }
        pair.by_pkid.lock().unwrap().remove(&pkid);
        if let Some(ack) = ack {
            let mut passed = self.passed.lock().unwrap();
            passed.log[ack].passed = Some(Instant::now());
            if code < 0x80 {
                let id = passed.log[ack].id.clone();
                passed.acked.insert(id);
            }
            *passed.codes.entry(code).or_default() += 1;
            passed.in_flight = passed.in_flight.saturating_sub(1);
        }
        Passes::On
    }
}

impl Passed {
    /// Events whose 0x00 went on to the node within this time before an instant.
    pub fn within(&self, before: Instant, span: Duration) -> usize {
        let is_recent = |at: Instant| at <= before && before.duration_since(at) <= span;
        self.log.iter().filter(|ack| ack.code == 0 && ack.passed.is_some_and(is_recent)).count()
    }
}

/// What becomes of a packet.
enum Passes {
    /// It goes on.
    On,
    /// It is swallowed.
    Not,
    /// It is swallowed, and this goes back to the node.
    Back([u8; 5]),
    /// The connection ends for it.
    End,
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

/// What a PUBLISH of an event says.
struct Event {
    pkid: u16,
    topic: String,
    id: String,
    /// Whether the centre has asked for it once more.
    replay: bool,
    payload: String,
}

impl Packet {
    fn body(&self) -> &[u8] {
        &self.0[self.1..]
    }

    /// A PUBLISH with QoS 1 of an event.
    fn event(&self) -> Option<Event> {
        if self.0[0] & 0xf6 != 0x32 {
            return None;
        }
        let body = self.body();
        let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8_lossy(&body[2..topic_end]).into_owned();
        if !topic.contains("/event/") {
            return None;
        }
        let pkid = u16::from_be_bytes([body[topic_end], body[topic_end + 1]]);
        let payload = &body[body.iter().position(|byte| *byte == b'{')?..];
        let event: Value = serde_json::from_slice(payload).unwrap();
        let (id, replay) = (event["id"].as_str().unwrap().to_owned(), event["replay"] == true);
        Some(Event { pkid, topic, id, replay, payload: String::from_utf8_lossy(payload).into_owned() })
    }

    fn puback(&self) -> Option<(u16, u8)> {
        let body = self.body();
        (self.0[0] == 0x40).then(|| (u16::from_be_bytes([body[0], body[1]]), body.get(2).copied().unwrap_or(0)))
    }
}
