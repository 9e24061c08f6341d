//! For tests: a small MQTT 5 broker on a real socket that answers as it is told, and a proxy whose wires can be cut.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
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

#[derive(Clone)]
pub(super) struct FakeBroker {
    pub port: u16,
    got: Arc<Mutex<Vec<Got>>>,
    wills: Arc<Mutex<Vec<String>>>,
    goodbyes: Arc<Mutex<usize>>,
}

impl FakeBroker {
    pub async fn start(
        tasks: &mut JoinSet<()>,
        manner: Manner,
        judge: impl Fn(&Got, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let broker = Self { port, got: Arc::default(), wills: Arc::default(), goodbyes: Arc::default() };
        let judge: Arc<Judge> = Arc::new(Box::new(judge));
        let host = broker.clone();
        tasks.spawn(async move {
            let mut guests = JoinSet::new();
            for conn in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                let (host, judge) = (host.clone(), Arc::clone(&judge));
                guests.spawn(async move { host.serve(socket, conn, manner, &judge).await });
            }
        });
        broker
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
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
        self.wills.lock().unwrap().clone()
    }

    pub fn goodbyes(&self) -> usize {
        *self.goodbyes.lock().unwrap()
    }

    /// One connection; ends when either side closes it.
    async fn serve(&self, mut socket: TcpStream, conn: usize, manner: Manner, judge: &Judge) -> Option<()> {
        loop {
            let (kind, body) = packet(&mut socket).await?;
            match kind >> 4 {
                1 => {
                    self.wills.lock().unwrap().push(String::from_utf8_lossy(&body).into_owned());
                    socket.write_all(&connack(manner)).await.ok()?;
                    if manner.connack >= 0x80 {
                        return None;
                    }
                }
                3 => {
                    let (pkid, got) = publish(kind, &body, conn);
                    let before = {
                        let mut all = self.got.lock().unwrap();
                        let same = |other: &&Got| other.topic == got.topic && other.payload == got.payload;
                        let before = all.iter().filter(same).count();
                        all.push(got.clone());
                        before
                    };
                    let [hi, lo] = pkid.to_be_bytes();
                    match judge(&got, before) {
                        Reply::Code(0) => socket.write_all(&[0x40, 2, hi, lo]).await.ok()?,
                        Reply::Code(code) => socket.write_all(&[0x40, 3, hi, lo, code]).await.ok()?,
                        Reply::Silence => {}
                        Reply::Close => return None,
                        Reply::Disconnect(code) => {
                            socket.write_all(&[0xe0, 2, code, 0]).await.ok()?;
                            return None;
                        }
                    }
                }
                8 => socket.write_all(&[0x90, 4, body[0], body[1], 0, 0]).await.ok()?,
                12 => socket.write_all(&[0xd0, 0]).await.ok()?,
                14 => {
                    *self.goodbyes.lock().unwrap() += 1;
                    return None;
                }
                _ => {}
            }
        }
    }
}

async fn packet(socket: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
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

fn connack(manner: Manner) -> Vec<u8> {
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
    let mut packet = vec![0x20, length + 3, 0, manner.connack, length];
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

/// A wire to a broker that can be cut: every connection over it ends at once.
#[derive(Clone)]
pub(super) struct Wire {
    pub port: u16,
    cut: Arc<Mutex<CancellationToken>>,
}

impl Wire {
    pub async fn to(tasks: &mut JoinSet<()>, broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Self { port: listener.local_addr().unwrap().port(), cut: Arc::default() };
        let cut = Arc::clone(&wire.cut);
        tasks.spawn(async move {
            let mut wires = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
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
}
