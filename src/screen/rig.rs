//! A screen on real sockets over a real store, for tests, and a client that reads what a browser would.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Http, Listen, Node};
use crate::domain::{EventId, Kind, Seq, TimeQuality};
use crate::health::{Beat, Board, Body, Ctx, Outcome, Roster, Tally};
use crate::store::{Append, Draft, Group, Identity, Store};

use super::front::Limits;
use super::{Parts, Screen};

/// Nothing in these tests takes this long unless it is broken.
const DEADLINE: Duration = Duration::from_secs(30);

/// A running screen.
pub(super) struct Rig {
    pub(super) store: Store,
    pub(super) board: Board,
    pub(super) clock: Clock,
    pub(super) addr: SocketAddr,
    pub(super) control: PathBuf,
    pub(super) bound: watch::Receiver<Vec<SocketAddr>>,
    pub(super) stop: CancellationToken,
    /// Orders that wait; nobody is at this desk, they are tried on a whole node.
    pub(super) orders: tokio::sync::mpsc::Receiver<super::Asked>,
    tasks: JoinSet<Outcome>,
    writer_stop: CancellationToken,
    _dir: TempDir,
}

impl Rig {
    /// A screen with room for many streams.
    pub(super) async fn start() -> Self {
        Self::with(Http { max_streams: 256, ..http() }, Limits::default()).await
    }

    pub(super) async fn with(http: Http, limits: Limits) -> Self {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let clock = Clock::system();
        let who = Identity {
            site: "halden".into(),
            node: "wp-07".into(),
            boot_id: "boot".into(),
            uplink: false,
            skip_kept: false,
            machine: Vec::new(),
        };
        let (store, seat) = Store::open(dir.path(), &who, &clock, |_| ()).expect("a fresh store");
        let writer_stop = CancellationToken::new();
        let ctx = Ctx { beat: Beat::new("writer", clock.clone()), stop: writer_stop.clone() };
        drop(std::thread::spawn(move || seat.run(&ctx)));
        let (board, tally) = (Board::default(), Tally::new(clock.clone()));
        let control = dir.path().join("control.sock");
        let wants_tcp = !http.listen.is_empty();
        let (desk, orders) = tokio::sync::mpsc::channel(1);
        let (screen, mut bound) = Screen::new(Parts {
            http,
            node: Node {
                id: "wp-07".into(),
                site: "halden".into(),
                name: "Halden Yard".into(),
                time_zone: "UTC".into(),
            },
            control: Some(control.clone()),
            store: store.clone(),
            board: board.clone(),
            tally,
            roster: Roster::default(),
            clock: clock.clone(),
            plan: (None, crate::config::Plan::default()),
            desk,
            captures: std::sync::Arc::new(|id| (id == "gps0").then(|| "{\"capture\":1}".to_owned())),
            forget: std::sync::Arc::new(|_| Ok(())),
            keys_of: |_| Vec::new(),
        });
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for worker in screen.with_limits(limits).workers() {
            let Body::Task(run) = worker.body else { panic!("{} is a task", worker.name) };
            tasks.spawn(run(Ctx { beat: Beat::new(&worker.name, clock.clone()), stop: stop.clone() }));
        }
        if wants_tcp {
            let found = bound.wait_for(|bound| !bound.is_empty());
            timeout(DEADLINE, found).await.expect("the screen listens").expect("the screen lives");
        }
        let addr = bound.borrow().first().copied().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 1)));
        Self { store, board, clock, addr, control, bound, stop, orders, tasks, writer_stop, _dir: dir }
    }

    /// Appends an event; `n` makes it different from others.
    pub(super) async fn event(&self, n: i64, kind: Kind, body: &str) -> Seq {
        let mut id = [7; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        let draft = Draft {
            id: EventId(id),
            kind,
            ts_ms: 1_795_169_472_000 + n,
            tq: TimeQuality::Gnss,
            received: self.clock.now(),
            source: Some(if kind == Kind::Fix { "gps0" } else { "door-3" }.into()),
            asset: Some("TRK-07".into()),
            place: None,
            code: (kind == Kind::Scan).then(|| format!("code-{n}")),
            body: body.into(),
        };
        let done = self.store.submit(Group::Now, move |txn| txn.append(&draft)).await.expect("a commit");
        let Append::New(seq) = done else { panic!("{n} is there already") };
        seq
    }

    /// Appends `n` scans.
    pub(super) async fn scans(&self, from: i64, n: i64) {
        self.long_scans(from, n, 0).await;
    }

    /// Appends `n` scans with so many bytes more.
    pub(super) async fn long_scans(&self, from: i64, n: i64, more: usize) {
        let text = "x".repeat(more);
        let stamp = self.clock.now();
        self.store
            .submit(Group::Now, move |txn| {
                for at in from..from + n {
                    let mut id = [9; 16];
                    id[..8].copy_from_slice(&at.to_be_bytes());
                    txn.append(&Draft {
                        id: EventId(id),
                        kind: Kind::Scan,
                        ts_ms: at,
                        tq: TimeQuality::Ntp,
                        received: stamp,
                        source: Some("door-3".into()),
                        asset: None,
                        place: None,
                        code: Some(format!("code-{at}")),
                        body: format!("{{\"key\":\"raw:{text}{at}\",\"code_kind\":\"plain\"}}"),
                    })?;
                }
                Ok(())
            })
            .await
            .expect("a commit");
    }

    /// Asks for a stream; `query` begins with `?` or is empty.
    pub(super) async fn stream(&self, query: &str, last: Option<&str>) -> Client<TcpStream> {
        let last = last.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        self.ask(&format!("GET /api/v1/stream{query} HTTP/1.1\r\nHost: localhost\r\n{last}\r\n")).await
    }

    /// Sends a request as it stands and reads the head of the answer.
    pub(super) async fn ask(&self, request: &str) -> Client<TcpStream> {
        let socket = TcpStream::connect(self.addr).await.expect("the screen accepts");
        Client::ask(socket, request).await
    }

    /// Gets a call's status and JSON.
    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        let mut client =
            self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
        client.json().await
    }

    /// As [`Rig::get`], over the control socket.
    pub(super) async fn get_local(&self, path: &str) -> (u16, Value) {
        let socket = UnixStream::connect(&self.control).await.expect("the control socket accepts");
        let request = format!("GET {path} HTTP/1.1\r\nHost: waypost\r\nConnection: close\r\n\r\n");
        Client::ask(socket, &request).await.json().await
    }

    /// Waits until `done` of the metrics page holds.
    pub(super) async fn until_metrics(&self, done: impl Fn(&str) -> bool) {
        let ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let wait = async {
            loop {
                let mut client = self.ask(ask).await;
                if done(&client.text().await) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, wait).await.expect("the metrics say so in time");
    }

    /// Stops the screen and waits for its workers.
    pub(super) async fn stop(&mut self) {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        timeout(DEADLINE, ended).await.expect("the workers end");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Its thread ends by itself; to wait for it would make each test a second longer.
        self.writer_stop.cancel();
    }
}

/// One free port of this machine's loopback.
pub(super) fn http() -> Http {
    let listen = vec![Listen::Addr(SocketAddr::from(([127, 0, 0, 1], 0)))];
    Http { listen, pin_file: PathBuf::new(), ..Http::default() }
}

/// One block of an event stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) event: String,
    pub(super) id: Option<String>,
    pub(super) data: String,
    /// The block as it came.
    pub(super) raw: String,
}

impl Said {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {}", self.data))
    }

    /// The seqs of its events.
    pub(super) fn seqs(&self) -> Vec<i64> {
        let items = self.json()["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter(|item| item["k"] == "event").filter_map(|item| item["v"]["seq"].as_i64()).collect()
    }
}

/// A connection on which one request was made.
pub(super) struct Client<S> {
    socket: S,
    pub(super) status: u16,
    pub(super) head: String,
    raw: Vec<u8>,
    body: Vec<u8>,
    chunked: bool,
    ended: bool,
}

impl<S: AsyncRead + tokio::io::AsyncWrite + Unpin> Client<S> {
    pub(super) async fn ask(mut socket: S, request: &str) -> Self {
        // A server that refuses early may close before it has all of it.
        drop(socket.write_all(request.as_bytes()).await);
        let mut client = Self {
            socket,
            status: 0,
            head: String::new(),
            raw: Vec::new(),
            body: Vec::new(),
            chunked: false,
            ended: false,
        };
        let end = loop {
            if let Some(at) = client.raw.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            assert!(client.fill().await, "the connection ended before an answer: {:?}", client.raw.escape_ascii());
        };
        client.head = String::from_utf8_lossy(&client.raw[..end]).to_lowercase();
        client.raw.drain(..end + 4);
        client.status = client.head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        client.chunked = client.head.contains("transfer-encoding: chunked");
        client
    }

    /// Reads more; false at the end.
    async fn fill(&mut self) -> bool {
        let mut some = [0; 16 * 1024];
        match timeout(DEADLINE, self.socket.read(&mut some)).await.expect("bytes in time") {
            Ok(n) if n > 0 => {
                self.raw.extend_from_slice(&some[..n]);
                true
            }
            _ => false,
        }
    }

    /// Moves what has come into the body; false when there was nothing whole.
    fn unpack(&mut self) -> bool {
        if !self.chunked {
            let some = !self.raw.is_empty();
            self.body.append(&mut self.raw);
            return some;
        }
        let Some(line) = self.raw.windows(2).position(|two| two == b"\r\n") else { return false };
        let size = usize::from_str_radix(std::str::from_utf8(&self.raw[..line]).expect("a size"), 16).expect("a size");
        if self.raw.len() < line + 2 + size + 2 {
            return false;
        }
        self.ended |= size == 0;
        self.body.extend_from_slice(&self.raw[line + 2..line + 2 + size]);
        self.raw.drain(..line + 2 + size + 2);
        true
    }

    /// The whole body.
    pub(super) async fn text(&mut self) -> String {
        loop {
            while self.unpack() {}
            if self.ended || !self.fill().await {
                return String::from_utf8_lossy(&self.body).into_owned();
            }
        }
    }

    pub(super) async fn json(&mut self) -> (u16, Value) {
        let text = self.text().await;
        (self.status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// The next block of the stream; none at its end.
    pub(super) async fn said(&mut self) -> Option<Said> {
        loop {
            if let Some(at) = self.body.windows(2).position(|two| two == b"\n\n") {
                let raw = String::from_utf8_lossy(&self.body[..at]).into_owned();
                self.body.drain(..at + 2);
                let mut said = Said { raw: raw.clone(), ..Said::default() };
                for line in raw.lines() {
                    match line.split_once(": ") {
                        Some(("event", event)) => said.event = event.into(),
                        Some(("id", id)) => said.id = Some(id.into()),
                        Some(("data", data)) => said.data = data.into(),
                        _ => {}
                    }
                }
                return Some(said);
            }
            if !self.unpack() && (self.ended || !self.fill().await) {
                return None;
            }
        }
    }

    /// The next block of a kind, passing over others.
    pub(super) async fn until(&mut self, event: &str) -> Said {
        loop {
            let said = self.said().await.unwrap_or_else(|| panic!("the stream ended before {event}"));
            if said.event == event {
                return said;
            }
        }
    }

    /// The next delta with events.
    pub(super) async fn events(&mut self) -> Said {
        loop {
            let said = self.until("delta").await;
            if said.id.is_some() {
                return said;
            }
        }
    }
}
