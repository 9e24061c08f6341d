//! The uplink over TLS on real sockets: what it takes and refuses, in which words, and how certificates are renewed.

use std::io::Read;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::*;
use crate::config::Papers;
use crate::config::ca::{Ca, DAY_S, Signed};
use crate::domain::Stamp;
use crate::health::ClockState;
use crate::uplink::bridge::Bridge;
use crate::uplink::fault::Fault;
use crate::uplink::tls::{Judge, Secure};

/// The whole second now.
fn now_s() -> i64 {
    Clock::system().now().wall_ms / 1000
}

/// Valid now, and for long.
fn long() -> (i64, i64) {
    (now_s() - DAY_S, now_s() + 400 * DAY_S)
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

/// TLS before a broker in the clear: what a real broker does itself.
#[derive(Clone)]
struct Front {
    port: u16,
    /// Of each connection that shook hands, the certificate that the node showed.
    shown: Arc<Mutex<Vec<Option<Vec<u8>>>>>,
}

impl Front {
    /// Shows `papers`; with `clients` it wants a certificate that this authority signed.
    async fn before(
        tasks: &mut JoinSet<()>,
        broker: u16,
        papers: &Signed,
        clients: Option<&Ca>,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[version]).unwrap();
        let builder = match clients {
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(chain(&ca.pem));
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::from_pem_slice(papers.key.as_bytes()).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain(&papers.cert), key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Self { port: listener.local_addr().unwrap().port(), shown: Arc::default() };
        let shown = Arc::clone(&front.shown);
        tasks.spawn(async move {
            let mut guests = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let (acceptor, shown) = (acceptor.clone(), Arc::clone(&shown));
                guests.spawn(async move {
                    let Ok(mut near) = acceptor.accept(near).await else { return };
                    let own = near.get_ref().1.peer_certificates().map(|all| all[0].to_vec());
                    shown.lock().unwrap().push(own);
                    let mut far = TcpStream::connect(("127.0.0.1", broker)).await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                });
            }
        });
        front
    }

    fn shown(&self) -> Vec<Option<Vec<u8>>> {
        self.shown.lock().unwrap().clone()
    }
}

/// A node's papers in files, and the configuration that names them.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new(ca: &Ca) -> Self {
        let dir = tempfile::tempdir().unwrap();
        ca.write(&dir.path().join("ca.pem"));
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, own: &Signed) {
        own.write(&self.path("node.pem"), &self.path("node.key"));
    }

    fn config(&self, port: u16) -> Uplink {
        Uplink { tls: true, host: "localhost".into(), ca_file: Some(self.path("ca.pem")), ..config(port) }
    }

    fn showing(&self, port: u16) -> Uplink {
        Uplink { identity: Some((self.path("node.pem"), self.path("node.key"))), ..self.config(port) }
    }
}

/// A bridge to this port, and where its client finds it.
fn bridge(desk: &Desk, port: u16) -> (Bridge, String) {
    let config = desk.config(port);
    let judge = Judge { at_ms: now_s() * 1000, tq: TimeQuality::Ntp };
    let secure = Secure::new(&config, &Papers::read(&config).unwrap(), judge).unwrap();
    let bridge = Bridge::open(secure).unwrap();
    let address = bridge.address().to_owned();
    (bridge, address)
}

/// A broker of one connection: says this, closes its way, and answers what it heard to the end.
fn one_guest(broker: TcpListener, said: Vec<u8>) -> JoinSet<Vec<u8>> {
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (mut socket, _) = broker.accept().await.unwrap();
        socket.write_all(&said).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut heard = Vec::new();
        socket.read_to_end(&mut heard).await.unwrap();
        heard
    });
    task
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_bytes_of_either_end_arrive_when_the_other_has_closed() {
    let (ca, mut tasks) = (Ca::new("Test CA"), JoinSet::new());
    let desk = Desk::new(&ca);
    let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = broker.local_addr().unwrap().port();
    let front = Front::before(&mut tasks, port, &ca.sign(&["localhost"], long()), None, &TLS13).await;
    let (bridge, address) = bridge(&desk, front.port);
    let answers = vec![7; 300_000];
    let mut heard = one_guest(broker, answers.clone());
    let (tx, _rx) = tokio::sync::mpsc::channel(8);
    let client = async {
        let mut socket = UnixStream::connect(&address).await.unwrap();
        let mut got = Vec::new();
        socket.read_to_end(&mut got).await.unwrap();
        assert!(got == answers, "{} bytes of {}", got.len(), answers.len());
        socket.write_all(b"goodbye").await.unwrap();
        Some(Fault::closed("done"))
    };
    let over = bridge.carry(client, &tx).await.unwrap();
    assert_eq!(over.text, "done");
    assert_eq!(heard.join_next().await.unwrap().unwrap(), b"goodbye");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_does_not_read_holds_the_client_back_and_does_not_keep_the_end_waiting() {
    let (ca, mut tasks) = (Ca::new("Test CA"), JoinSet::new());
    let desk = Desk::new(&ca);
    // It accepts, in the kernel, and reads nothing.
    let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = broker.local_addr().unwrap().port();
    let front = Front::before(&mut tasks, port, &ca.sign(&["localhost"], long()), None, &TLS12).await;
    let (bridge, address) = bridge(&desk, front.port);
    let (tx, _rx) = tokio::sync::mpsc::channel(8);
    let taken = AtomicI64::new(0);
    let client = async {
        let mut socket = UnixStream::connect(&address).await.unwrap();
        let bytes = vec![0; 65_536];
        while let Ok(n) = tokio::time::timeout(Duration::from_secs(2), socket.write(&bytes)).await {
            taken.fetch_add(i64::try_from(n.unwrap()).unwrap(), Ordering::AcqRel);
        }
        Some(Fault::closed("done"))
    };
    let over =
        tokio::time::timeout(Duration::from_secs(60), bridge.carry(client, &tx)).await.expect("it ends").unwrap();
    assert_eq!(over.text, "done");
    // What four buffers of the kernel hold, and not what a client would send.
    let taken = taken.load(Ordering::Acquire);
    assert!(taken < 64 << 20, "{taken} bytes went somewhere");
    drop(broker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_that_finds_the_bridge_is_turned_away() {
    let (ca, mut tasks) = (Ca::new("Test CA"), JoinSet::new());
    let desk = Desk::new(&ca);
    let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = broker.local_addr().unwrap().port();
    let front = Front::before(&mut tasks, port, &ca.sign(&["localhost"], long()), None, &TLS13).await;
    let (bridge, address) = bridge(&desk, front.port);
    let script = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.settimeout(20)\n\
                  s.connect('\\0' + sys.argv[1])\nprint('in', flush=True)\ns.sendall(b'stranger')\nprint(len(s.recv(9)))\n";
    let python = Command::new("python3").args(["-c", script, &address[1..]]).stdout(Stdio::piped()).spawn();
    let Ok(mut stranger) = python else {
        eprintln!("SKIPPED: python3 is not installed");
        return;
    };
    let mut out = stranger.stdout.take().unwrap();
    let mut word = [0; 3];
    out.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"in\n", "it found the socket before the client did");
    let mut heard = one_guest(broker, Vec::new());
    let (tx, _rx) = tokio::sync::mpsc::channel(8);
    let client = async {
        UnixStream::connect(&address).await.unwrap().write_all(b"client").await.unwrap();
        Some(Fault::closed("done"))
    };
    bridge.carry(client, &tx).await.unwrap();
    assert_eq!(heard.join_next().await.unwrap().unwrap(), b"client");
    stranger.wait().unwrap();
}

fn eager() -> Limits {
    Limits { papers: Duration::from_millis(50), ..quick() }
}

/// Starts an uplink that fails, and answers what it says of it.
async fn refusal(rig: &mut Rig, config: Uplink) -> String {
    let stop = rig.uplink(config, quick());
    until("a refusal", || rig.state().is_some_and(|state| !state.last_error.is_empty())).await;
    until("its alarm", || rig.alarm("tls")).await;
    stop.cancel();
    rig.state().unwrap().last_error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_over_tls_13_and_12_with_both_versions_of_mqtt_and_the_goodbye_too() {
    let ca = Ca::new("Test CA");
    let (papers, desk) = (ca.sign(&["localhost", "127.0.0.1"], long()), Desk::new(&ca));
    for (version, protocol, host) in
        [(&TLS13, Protocol::V5, "localhost"), (&TLS12, Protocol::V5, "127.0.0.1"), (&TLS13, Protocol::V5, "127.0.0.1")]
    {
        let (mut rig, mut tasks) = (Rig::new(), JoinSet::new());
        let broker = FakeBroker::start(&mut tasks, Manner::default(), always(0)).await;
        let front = Front::before(&mut tasks, broker.port, &papers, None, version).await;
        rig.append_with(&[Kind::Scan; 500], "x".repeat(1_000)).await;
        let stop = rig.uplink(Uplink { protocol, host: host.into(), ..desk.config(front.port) }, quick());
        until("all to be sent", || rig.is_drained()).await;
        assert_eq!(broker.events().len(), 500, "each once");
        let state = rig.state().unwrap();
        assert_eq!((state.state, &*state.last_error), ("connected", ""));
        assert!(state.url.starts_with("mqtts://"), "{}", state.url);
        assert!(!rig.alarm("tls") && !rig.alarm("certificate_ends"));
        stop.cancel();
        until("the goodbye", || broker.goodbyes() == 1).await;
        assert_eq!(front.shown(), [None]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_takes_a_node_by_its_certificate_alone_with_mqtt_5_and_311() {
    let ca = Ca::new("Yard CA");
    let desk = Desk::new(&ca);
    let broker = ca.sign(&["localhost"], long());
    broker.write(&desk.path("broker.pem"), &desk.path("broker.key"));
    desk.put(&ca.sign(&["wp-t"], long()));
    let file = |name: &str| desk.path(name).display().to_string();
    let more = format!(
        "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\nuse_identity_as_username true\n",
        file("ca.pem"),
        file("broker.pem"),
        file("broker.key")
    );
    let Some(mosquitto) = Mosquitto::start_with(&more) else { return };
    mosquitto.is_up().await;
    for protocol in [Protocol::V5, Protocol::V311] {
        let mut rig = Rig::new();
        rig.append(&MIX).await;
        let stop = rig.uplink(Uplink { protocol, ..desk.showing(mosquitto.port) }, quick());
        until("all to be sent", || rig.is_drained()).await;
        stop.cancel();
    }
    // Without a certificate, and with one of another authority.
    let error = refusal(&mut Rig::new(), desk.config(mosquitto.port)).await;
    assert!(error.contains("wants a certificate of the node: set uplink.cert_file"), "{error}");
    desk.put(&Ca::new("Other CA").sign(&["wp-t"], long()));
    let error = refusal(&mut Rig::new(), desk.showing(mosquitto.port)).await;
    assert!(error.contains("refuses the node's certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_cannot_be_trusted_hears_no_mqtt_and_the_error_says_why() {
    let (ca, other) = (Ca::new("Test CA"), Ca::new("Other CA"));
    let (desk, now) = (Desk::new(&ca), now_s());
    let cases = [
        ("signed by no CA in uplink.ca_file", other.sign(&["localhost"], long())),
        ("ended on ", ca.sign(&["localhost"], (now - 9 * DAY_S, now - DAY_S))),
        ("is not valid before ", ca.sign(&["localhost"], (now + DAY_S, now + 9 * DAY_S))),
        ("is for broker.example, not for localhost", ca.sign(&["broker.example"], long())),
        ("is for 127.0.0.2, not for localhost", ca.sign(&["127.0.0.2"], long())),
        ("shows the certificate of a CA; it needs one of its own", ca.itself()),
    ];
    for (words, papers) in cases {
        for version in [&TLS13, &TLS12] {
            let (mut rig, mut tasks) = (Rig::new(), JoinSet::new());
            let broker = FakeBroker::start(&mut tasks, Manner::default(), always(0)).await;
            let front = Front::before(&mut tasks, broker.port, &papers, None, version).await;
            let error = refusal(&mut rig, desk.config(front.port)).await;
            assert!(error.contains(words), "{words}: {error}");
            assert!(broker.wills().is_empty(), "{words}: no CONNECT");
            assert!(rig.counted("uplink_reconnects_total").iter().any(|line| line.starts_with("reason=\"tls\"")));
        }
    }
}

/// A listener that says this and closes; what was said to it is kept.
fn rude(answer: &'static [u8]) -> (u16, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let kept = Arc::clone(&heard);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let mut bytes = vec![0; 65_536];
            let n = socket.read(&mut bytes).unwrap_or(0);
            bytes.truncate(n);
            // Whether it is heard is what the test is about.
            drop(std::io::Write::write_all(&mut socket, answer));
            drop(socket.shutdown(std::net::Shutdown::Write));
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            drop(socket.read_to_end(&mut bytes));
            kept.lock().unwrap().push(bytes);
        }
    });
    (port, heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_gets_a_client_hello_and_not_a_byte_of_connect() {
    let ca = Ca::new("Test CA");
    let desk = Desk::new(&ca);
    let connack: &[u8] = &[0x20, 3, 0, 0, 0];
    for (answer, words) in [
        (connack, "answers in the clear, without TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), "answers in the clear, without TLS"),
        (b"".as_slice(), "closed the connection during the TLS handshake"),
    ] {
        let (port, heard) = rude(answer);
        let config = Uplink { username: Some("wp-t".into()), ..desk.config(port) };
        let error = refusal(&mut Rig::new(), config).await;
        assert!(error.contains(words), "{words}: {error}");
        until("what was heard", || !heard.lock().unwrap().is_empty()).await;
        for bytes in heard.lock().unwrap().iter() {
            // A TLS record of a handshake, and after it an alert at most.
            assert_eq!(bytes[..2], [0x16, 3], "{bytes:?}");
            let first = 5 + usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
            assert!(bytes.len() == first || bytes[first] == 0x15, "{:?}", &bytes[first..]);
            assert!(!bytes.windows(4).any(|part| part == b"MQTT" || part == b"wp-t"), "{bytes:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_that_is_wanted_or_refused_is_told_apart() {
    let ca = Ca::new("Test CA");
    let (papers, desk) = (ca.sign(&["localhost"], long()), Desk::new(&ca));
    for version in [&TLS13, &TLS12] {
        let mut tasks = JoinSet::new();
        let broker = FakeBroker::start(&mut tasks, Manner::default(), always(0)).await;
        let front = Front::before(&mut tasks, broker.port, &papers, Some(&ca), version).await;
        let error = refusal(&mut Rig::new(), desk.config(front.port)).await;
        assert!(error.contains("certificate of the node: set uplink.cert_file"), "{error}");
        desk.put(&ca.sign(&["wp-t"], (now_s() - 9 * DAY_S, now_s() - DAY_S)));
        let mut rig = Rig::new();
        let error = refusal(&mut rig, desk.showing(front.port)).await;
        assert!(error.contains("refuses the node's certificate: it has ended"), "{error}");
        assert!(rig.alarm("certificate_ends"));
        desk.put(&Ca::new("Other CA").sign(&["wp-t"], long()));
        let error = refusal(&mut Rig::new(), desk.showing(front.port)).await;
        assert!(error.contains("refuses the node's certificate"), "{error}");
        assert!(broker.wills().is_empty(), "no CONNECT came through");
        desk.put(&ca.sign(&["wp-t"], long()));
        let mut rig = Rig::new();
        rig.append(&MIX).await;
        let stop = rig.uplink(desk.showing(front.port), quick());
        until("all to be sent", || rig.is_drained()).await;
        stop.cancel();
    }
}

/// A broker behind TLS that wants a certificate of the node.
async fn guarded(tasks: &mut JoinSet<()>, ca: &Ca) -> (FakeBroker, Front) {
    let broker = FakeBroker::start(tasks, Manner::default(), always(0)).await;
    let front = Front::before(tasks, broker.port, &ca.sign(&["localhost"], long()), Some(ca), &TLS13).await;
    (broker, front)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_taken_up_while_connected_and_nothing_is_sent_twice() {
    let ca = Ca::new("Test CA");
    let (mut rig, mut tasks, desk) = (Rig::new(), JoinSet::new(), Desk::new(&ca));
    let (broker, front) = guarded(&mut tasks, &ca).await;
    let old = ca.sign(&["wp-t"], (now_s() - DAY_S, now_s() + 5 * DAY_S));
    desk.put(&old);
    rig.append(&MIX).await;
    let stop = rig.uplink(desk.showing(front.port), eager());
    until("the first events", || rig.is_drained()).await;
    until("the alarm of its end", || rig.alarm("certificate_ends")).await;
    // Half of a renewal, and then files of garbage: the connection stays.
    std::fs::write(desk.path("node.pem"), ca.sign(&["wp-t"], long()).cert).unwrap();
    until("the alarm of files that do not fit", || rig.alarm("tls")).await;
    assert_eq!((rig.state().unwrap().state, front.shown().len()), ("connected", 1));
    let new = ca.sign(&["wp-t"], long());
    desk.put(&new);
    until("a second connection", || front.shown().len() == 2).await;
    until("the node to be well", || {
        rig.state().unwrap().state == "connected" && !rig.alarm("tls") && !rig.alarm("certificate_ends")
    })
    .await;
    rig.append(&MIX).await;
    until("the other events", || rig.is_drained()).await;
    let shown = front.shown();
    assert_eq!(shown, [&old, &new].map(|one| Some(chain(&one.cert)[0].to_vec())));
    assert_eq!(broker.events().len(), 2 * MIX.len(), "each once");
    assert_eq!(broker.goodbyes(), 1, "the connection was left with a word");
    assert!(rig.log().iter().any(|line| line.starts_with("renewed ")), "{:?}", rig.log());
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_be_used_are_named_and_a_try_begins_when_they_are_replaced() {
    let ca = Ca::new("Test CA");
    let (mut rig, mut tasks, desk) = (Rig::new(), JoinSet::new(), Desk::new(&ca));
    let (_broker, front) = guarded(&mut tasks, &ca).await;
    let own = ca.sign(&["wp-t"], long());
    desk.put(&own);
    std::fs::write(desk.path("node.key"), &ca.sign(&["wp-t"], long()).key).unwrap();
    // The next try by itself would be in an hour.
    let hour = Duration::from_secs(3600);
    let config = Uplink { backoff_max: hour, ..desk.showing(front.port) };
    let stop = rig.uplink(config, Limits { backoff_base: hour, ..eager() });
    until("the alarm", || rig.alarm("tls")).await;
    let error = rig.state().unwrap().last_error;
    assert!(error.contains("node.key is not the key of the certificate in"), "{error}");
    desk.put(&own);
    until("a connection", || rig.state().unwrap().state == "connected").await;
    assert!(!rig.alarm("tls"));
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_know_the_time_judges_by_the_latest_it_is_sure_of_and_again_when_it_knows() {
    let ca = Ca::new("Test CA");
    let desk = Desk::new(&ca);
    let (mut rig, mut tasks) = (Rig::new(), JoinSet::new());
    let broker = FakeBroker::start(&mut tasks, Manner::default(), always(0)).await;
    // The store knows of a time ten days ahead; the machine's clock stands in 1970.
    let newest_ms = crate::clock::BUILD_FLOOR_MS + 10 * DAY_S * 1000;
    let machine = Clock::manual(Stamp { mono_us: 1_000_000, wall_ms: 0 });
    rig.keeper = Keeper::with_ntp_mark(machine.clone(), newest_ms, "/nonexistent/mark".into());
    assert_eq!(rig.keeper.judging_time(), (newest_ms, TimeQuality::None));
    // Ended for whoever goes by less than that: never believed for want of a clock.
    let newest_s = newest_ms / 1000;
    let ended = ca.sign(&["localhost"], (0, newest_s - DAY_S));
    let front = Front::before(&mut tasks, broker.port, &ended, None, &TLS13).await;
    let error = refusal(&mut rig, desk.config(front.port)).await;
    assert!(error.contains("ended on ") && error.contains("the node does not know the time"), "{error}");
    // Made after the node saw a clock last: refused until it sees one again.
    let fresh = ca.sign(&["localhost"], (newest_s + 5 * DAY_S, newest_s + 90 * DAY_S));
    let front = Front::before(&mut tasks, broker.port, &fresh, None, &TLS13).await;
    let hour = Duration::from_secs(3600);
    let config = Uplink { backoff_max: hour, ..desk.config(front.port) };
    rig.append(&MIX).await;
    let stop = rig.uplink(config, Limits { backoff_base: hour, ..quick() });
    let is_early = |rig: &Rig| rig.state().is_some_and(|state| state.last_error.contains("is not valid before"));
    until("a refusal", || is_early(&rig) && rig.state().unwrap().state == "waiting").await;
    assert!(broker.wills().is_empty(), "never skipped");
    let now_ms = newest_ms + 6 * DAY_S * 1000;
    for second in 0..12 {
        rig.keeper.hear("gps0", now_ms + second * 1000, machine.now());
        machine.advance_ms(1000);
    }
    assert!(rig.keeper.judging_time().1.is_trusted());
    rig.board.post(State::Clock(ClockState { tq: "gnss", ..ClockState::default() }));
    until("all to be sent", || rig.is_drained()).await;
    assert!(!rig.alarm("tls"));
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_that_ends_first_is_on_the_screen_in_health_and_an_alarm() {
    let ca = Ca::new("Test CA");
    let (end_s, desk) = (now_s() + 20 * DAY_S + 3600, Desk::new(&ca));
    // The broker's ends before the node's.
    let papers = ca.sign(&["localhost"], (now_s() - DAY_S, end_s));
    desk.put(&ca.sign(&["wp-t"], long()));
    let (mut rig, mut tasks) = (Rig::new(), JoinSet::new());
    let broker = FakeBroker::start(&mut tasks, Manner::default(), always(0)).await;
    let front = Front::before(&mut tasks, broker.port, &papers, None, &TLS13).await;
    let config = Uplink { health: Duration::from_secs(1), ..desk.showing(front.port) };
    let stop = rig.uplink(config, quick());
    until("a health message", || broker.last("/health").is_some()).await;
    assert_eq!(broker.last("/health").unwrap()["cert_days"], 20);
    assert_eq!(rig.state().unwrap().certificate_not_after_s, Some(end_s));
    let Some(State::Alarm(alarm)) = rig.board.get("alarm", "certificate_ends") else { panic!("an alarm") };
    assert_eq!(alarm.severity, crate::health::Severity::Warn);
    assert!(alarm.text.starts_with("The broker's certificate ends in 20 days, on 20"), "{}", alarm.text);
    until("the alarm at the platform", || broker.last("/alarm/certificate_ends").is_some()).await;
    stop.cancel();
}
