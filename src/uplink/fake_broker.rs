//! For tests: a small MQTT 5 broker on a real socket that keeps sessions, wills, receive maximum and packet size by the book and
//! answers publishes as it is told, and a proxy whose wires can be cut.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What the broker does with a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Code(u8),
    Silence,
    Close,
    /// DISCONNECT with this reason.
    Disconnect(u8),
}

/// One publish as it came.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub conn: usize,
    pub topic: String,
    pub payload: String,
    pub retain: bool,
}

/// A publish and how often its topic and payload came before.
type Judge = Box<dyn Fn(&Got, usize) -> Reply + Send + Sync>;

/// How it greets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manner {
    pub connack: u8,
    pub receive_max: Option<u16>,
    pub packet_max: Option<u32>,
}

/// Publishes that may be unanswered where the broker names no receive maximum.
const RECEIVE_MAX: usize = 65_535;
/// How long a broker gathers what comes before it answers it.
const GATHERS: Duration = Duration::from_millis(2);

/// Packets that wait for either end.
const WAITS: usize = 8_192;
/// Where to write what a client is to hear.
type Out = mpsc::Sender<Vec<u8>>;
/// What it sends: first byte and body of each packet.
type In = mpsc::Receiver<(u8, Vec<u8>)>;

/// What the broker publishes when a node is gone.
#[derive(Clone, Debug)]
struct Will {
    topic: String,
    payload: String,
    delay_s: u32,
}

/// What the broker keeps of a client that may come again.
#[derive(Default)]
struct Session {
    /// The connection that stands, and where to write to it.
    conn: Option<(usize, Out)>,
    will: Option<Will>,
    /// When the will is due, on the broker's clock. s
    will_at_s: Option<u32>,
    filters: Vec<(String, bool)>,
}

#[derive(Default)]
struct Hall {
    now_s: u32,
    sessions: BTreeMap<String, Session>,
    got: Vec<Got>,
    wills: Vec<String>,
    goodbyes: usize,
    /// Broken rules: more at once than allowed, or larger.
    overruns: Vec<String>,
    takeovers: usize,
}

#[derive(Clone)]
pub(super) struct FakeBroker {
    pub port: u16,
    hall: Arc<Mutex<Hall>>,
}

impl FakeBroker {
    pub async fn start(
        tasks: &mut JoinSet<()>,
        manner: Manner,
        judge: impl Fn(&Got, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let broker = Self { port, hall: Arc::default() };
        let judge: Arc<Judge> = Arc::new(Box::new(judge));
        let host = broker.clone();
        tasks.spawn(async move {
            let mut guests = JoinSet::new();
            for conn in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                let (host, judge) = (host.clone(), Arc::clone(&judge));
                guests.spawn(async move {
                    let mut client = None;
                    host.serve(socket, conn, manner, &judge, &mut client).await;
                    host.hall().left(conn, client);
                });
            }
        });
        broker
    }

    fn hall(&self) -> MutexGuard<'_, Hall> {
        self.hall.lock().unwrap()
    }

    pub fn got(&self) -> Vec<Got> {
        self.hall().got.clone()
    }

    /// Publishes of events, in the order they came.
    pub fn events(&self) -> Vec<(usize, i64)> {
        let seq = |got: &Got| serde_json::from_str::<serde_json::Value>(&got.payload).unwrap()["seq"].as_i64().unwrap();
        self.got().iter().filter(|got| got.topic.contains("/event/")).map(|got| (got.conn, seq(got))).collect()
    }

    /// The newest message on a topic that ends so.
    pub fn last(&self, end: &str) -> Option<serde_json::Value> {
        let got = self.got();
        let last = got.iter().rev().find(|got| got.topic.ends_with(end))?;
        Some(serde_json::from_str(&last.payload).unwrap_or(serde_json::Value::Null))
    }

    pub fn wills(&self) -> Vec<String> {
        self.hall().wills.clone()
    }

    pub fn goodbyes(&self) -> usize {
        self.hall().goodbyes
    }

    pub fn overruns(&self) -> Vec<String> {
        self.hall().overruns.clone()
    }

    pub fn takeovers(&self) -> usize {
        self.hall().takeovers
    }

    /// Publishes to whoever subscribes.
    pub fn publish(&self, topic: &str, payload: &str) {
        self.hall().spread(topic, payload, None);
    }

    /// Whether a client of this name has a connection.
    pub fn has(&self, client: &str) -> bool {
        self.hall().sessions.get(client).is_some_and(|session| session.conn.is_some())
    }

    /// Whether anyone with a connection has asked for what is published there.
    pub fn reaches_anyone(&self, topic: &str) -> bool {
        let hall = self.hall();
        let mut connected = hall.sessions.values().filter(|session| session.conn.is_some());
        connected.any(|session| session.filters.iter().any(|(filter, _)| matches(filter, topic)))
    }

    /// Lets the broker's time pass: wills that fall due are published.
    pub fn pass(&self, seconds: u32) {
        let mut hall = self.hall();
        hall.now_s += seconds;
        let now_s = hall.now_s;
        let due = |session: &mut Session| {
            session.will_at_s.take_if(|at| *at <= now_s)?;
            session.will.take()
        };
        let wills: Vec<Will> = hall.sessions.values_mut().filter_map(due).collect();
        for Will { topic, payload, .. } in wills {
            hall.spread(&topic, &payload, None);
        }
    }

    /// One connection; ends when either side closes it.
    async fn serve(
        &self,
        socket: TcpStream,
        conn: usize,
        manner: Manner,
        judge: &Judge,
        client: &mut Option<String>,
    ) -> Option<()> {
        let (out, mut incoming, (_reading, writing)) = ends_of(socket);
        let most = manner.receive_max.map_or(RECEIVE_MAX, usize::from);
        let (mut unanswered, mut silent) = (Vec::new(), 0);
        loop {
            let (kind, body) = if unanswered.is_empty() {
                incoming.recv().await?
            } else {
                let Ok(packet) = tokio::time::timeout(GATHERS, incoming.recv()).await else {
                    out.try_send(std::mem::take(&mut unanswered).concat()).ok()?;
                    continue;
                };
                packet?
            };
            let broken = if kind >> 4 == 3 && unanswered.len() + silent >= most {
                Some((0x93, format!("{most} unanswered, and one more")))
            } else {
                let length = body.len();
                manner.packet_max.filter(|max| length + 3 > *max as usize).map(|_| (0x95, format!("{length} bytes")))
            };
            if let Some((code, rule)) = broken {
                self.hall().overruns.push(rule);
                out.try_send(vec![0xe0, 2, code, 0]).ok()?;
                return self.end_of(writing, out, conn, client).await;
            }
            match kind >> 4 {
                1 => {
                    self.hall().wills.push(String::from_utf8_lossy(&body).into_owned());
                    let present = self.hall().came(conn, &body, out.clone(), client);
                    out.try_send(connack(manner, present)).ok()?;
                    if manner.connack >= 0x80 {
                        return self.end_of(writing, out, conn, client).await;
                    }
                }
                3 => {
                    let (pkid, got) = publish(kind, &body, conn);
                    let before = self.hall().take(&got, client.as_deref());
                    let reply = judge(&got, before);
                    silent += usize::from(reply == Reply::Silence);
                    unanswered.extend(answer(reply, pkid));
                    if matches!(reply, Reply::Close | Reply::Disconnect(_)) {
                        out.try_send(unanswered.concat()).ok()?;
                        return self.end_of(writing, out, conn, client).await;
                    }
                }
                8 => {
                    let n = self.hall().subscribe(client.as_deref(), &body);
                    out.try_send([vec![0x90, 3 + n, body[0], body[1], 0], vec![0; usize::from(n)]].concat()).ok()?;
                }
                12 => out.try_send(vec![0xd0, 0]).ok()?,
                14 => {
                    self.hall().parted(conn, client.as_deref());
                    return None;
                }
                _ => {}
            }
        }
    }

    /// Writes what is still to be written, then the connection is over.
    async fn end_of(&self, mut writing: JoinSet<()>, out: Out, conn: usize, client: &mut Option<String>) -> Option<()> {
        drop(out);
        self.hall().left(conn, client.take());
        writing.join_next().await;
        None
    }
}

/// Where to write, what comes, and the tasks that do both.
fn ends_of(socket: TcpStream) -> (Out, In, (JoinSet<()>, JoinSet<()>)) {
    let (mut from, to) = socket.into_split();
    let (out, mut answers) = mpsc::channel(WAITS);
    let (packets, incoming) = mpsc::channel(WAITS);
    let (mut reading, mut writing) = (JoinSet::new(), JoinSet::new());
    writing.spawn(async move { write_on(to, &mut answers).await });
    reading.spawn(async move {
        while let Some(packet) = packet(&mut from).await {
            if packets.send(packet).await.is_err() {
                return;
            }
        }
    });
    (out, incoming, (reading, writing))
}

/// The bytes of a reply; none for a silence or an end.
fn answer(reply: Reply, pkid: u16) -> Option<Vec<u8>> {
    let [hi, lo] = pkid.to_be_bytes();
    match reply {
        Reply::Code(0) => Some(vec![0x40, 2, hi, lo]),
        Reply::Code(code) => Some(vec![0x40, 3, hi, lo, code]),
        Reply::Disconnect(code) => Some(vec![0xe0, 2, code, 0]),
        Reply::Silence | Reply::Close => None,
    }
}

async fn write_on(mut to: OwnedWriteHalf, answers: &mut mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = answers.recv().await {
        // An empty one ends the connection.
        if bytes == [0] || to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

impl Hall {
    /// A client connects: a connection of its name that stands is ended, and a will that waits is not published.
    fn came(&mut self, conn: usize, body: &[u8], out: Out, client: &mut Option<String>) -> bool {
        let (name, will, clean) = connect(body);
        let known = !clean && self.sessions.contains_key(&name);
        let session = self.sessions.entry(name.clone()).or_default();
        if clean {
            session.filters.clear();
        }
        if let Some((_, old)) = session.conn.replace((conn, out)) {
            // Whoever reads there may be gone already.
            drop(old.try_send(vec![0xe0, 2, 0x8e, 0]));
            drop(old.try_send(vec![0]));
            self.takeovers += 1;
        }
        (session.will, session.will_at_s) = (will, None);
        *client = Some(name);
        known
    }

    /// A connection ended without a goodbye.
    fn left(&mut self, conn: usize, client: Option<String>) {
        let now_s = self.now_s;
        let Some(session) = client.and_then(|name| self.sessions.get_mut(&name)) else { return };
        if session.conn.take_if(|(of, _)| *of == conn).is_none() {
            return;
        }
        let Some(will) = &session.will else { return };
        session.will_at_s = Some(now_s + will.delay_s);
        if will.delay_s == 0 {
            let Will { topic, payload, .. } = session.will.take().unwrap();
            self.spread(&topic, &payload, None);
        }
    }

    /// A goodbye: no will.
    fn parted(&mut self, conn: usize, client: Option<&str>) {
        self.goodbyes += 1;
        let Some(session) = client.and_then(|name| self.sessions.get_mut(name)) else { return };
        if session.conn.take_if(|(of, _)| *of == conn).is_some() {
            session.will = None;
        }
    }

    /// Takes a publish; answers how often the like of it came before.
    fn take(&mut self, got: &Got, client: Option<&str>) -> usize {
        let same = |other: &&Got| other.topic == got.topic && other.payload == got.payload;
        let before = self.got.iter().filter(same).count();
        self.got.push(got.clone());
        self.spread(&got.topic, &got.payload, client);
        before
    }

    /// Takes the filters of a SUBSCRIBE; answers how many.
    fn subscribe(&mut self, client: Option<&str>, body: &[u8]) -> u8 {
        let Some(session) = client.and_then(|name| self.sessions.get_mut(name)) else { return 0 };
        let (mut rest, mut n) = (&body[3 + usize::from(body[2])..], 0);
        while !rest.is_empty() {
            let (filter, more) = text(rest);
            session.filters.push((filter, more[0] & 4 > 0));
            (rest, n) = (&more[1..], n + 1);
        }
        n
    }

    /// Hands a publish to those who subscribe; `by` is who sent it.
    fn spread(&self, topic: &str, payload: &str, by: Option<&str>) {
        for (name, session) in &self.sessions {
            let Some((_, out)) = &session.conn else { continue };
            let own = by == Some(name.as_str());
            if session.filters.iter().any(|(filter, no_local)| !(own && *no_local) && matches(filter, topic)) {
                let mut packet = vec![0x30];
                let mut length = 2 + topic.len() + 1 + payload.len();
                loop {
                    let low = u8::try_from(length & 0x7f).unwrap();
                    length >>= 7;
                    packet.push(if length > 0 { low | 0x80 } else { low });
                    if length == 0 {
                        break;
                    }
                }
                packet.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
                packet.extend(topic.as_bytes());
                packet.push(0);
                packet.extend(payload.as_bytes());
                // Whoever reads there may be gone already.
                drop(out.try_send(packet));
            }
        }
    }
}

fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for want in filter.split('/') {
        match (want, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (want, Some(level)) if want == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// A string of two bytes of length, and what follows it.
fn text(bytes: &[u8]) -> (String, &[u8]) {
    let end = 2 + usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    (String::from_utf8_lossy(&bytes[2..end]).into_owned(), &bytes[end..])
}

/// Client id, will, and whether it begins clean, of a CONNECT.
fn connect(body: &[u8]) -> (String, Option<Will>, bool) {
    let (_, rest) = text(body);
    let flags = rest[1];
    let properties = usize::from(rest[4]);
    let (client, rest) = text(&rest[5 + properties..]);
    let will = (flags & 4 > 0).then(|| {
        let properties = usize::from(rest[0]);
        let delay = rest[1..=properties].iter().position(|byte| *byte == 0x18).map(|at| &rest[2 + at..6 + at]);
        let (topic, rest) = text(&rest[1 + properties..]);
        let (payload, _) = text(rest);
        let delay_s = delay.map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
        Will { topic, payload, delay_s }
    });
    (client, will, flags & 2 > 0)
}

async fn packet(socket: &mut (impl AsyncReadExt + Unpin)) -> Option<(u8, Vec<u8>)> {
    let kind = socket.read_u8().await.ok()?;
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let byte = socket.read_u8().await.ok()?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    Some((kind, body))
}

fn connack(manner: Manner, present: bool) -> Vec<u8> {
    let mut properties = Vec::new();
    if let Some(max) = manner.receive_max {
        properties.push(0x21);
        properties.extend(max.to_be_bytes());
    }
    if let Some(max) = manner.packet_max {
        properties.push(0x27);
        properties.extend(max.to_be_bytes());
    }
    let length = u8::try_from(properties.len()).unwrap();
    let mut packet = vec![0x20, length + 3, u8::from(present), manner.connack, length];
    packet.extend(properties);
    packet
}

fn publish(kind: u8, body: &[u8], conn: usize) -> (u16, Got) {
    let topic_len = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8_lossy(&body[2..2 + topic_len]).into_owned();
    let at = 2 + topic_len;
    let pkid = u16::from_be_bytes([body[at], body[at + 1]]);
    let properties = usize::from(body[at + 2]);
    let payload = String::from_utf8_lossy(&body[at + 3 + properties..]).into_owned();
    (pkid, Got { conn, topic, payload, retain: kind & 1 == 1 })
}

/// A wire to a broker that can be cut, and be away for a while.
#[derive(Clone)]
pub(super) struct Wire {
    pub port: u16,
    cut: Arc<Mutex<CancellationToken>>,
    away: Arc<AtomicBool>,
}

impl Wire {
    pub async fn to(tasks: &mut JoinSet<()>, broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Self { port: listener.local_addr().unwrap().port(), cut: Arc::default(), away: Arc::default() };
        let (cut, away) = (Arc::clone(&wire.cut), Arc::clone(&wire.away));
        tasks.spawn(async move {
            let mut wires = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                if away.load(Ordering::Acquire) {
                    continue;
                }
                let cut = cut.lock().unwrap().clone();
                wires.spawn(async move {
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", broker)).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        () = cut.cancelled() => {}
                    }
                });
            }
        });
        wire
    }

    pub fn cut(&self) {
        std::mem::take(&mut *self.cut.lock().unwrap()).cancel();
    }

    /// Cut, and no connection passes until it is back.
    pub fn gone(&self, is_gone: bool) {
        self.away.store(is_gone, Ordering::Release);
        if is_gone {
            self.cut();
        }
    }
}
