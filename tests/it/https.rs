//! The screen over https: with a certificate it speaks nothing else, a new one is taken by itself, and without one that can be
//! used it stays shut while the node runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::bench::{Node, Site, free_port, now_s, stderr, stdout, wait_for, wait_within};
use crate::ca::{Ca, DAY_S, Signed};
use crate::feeder::Feeder;

/// Files are looked at each five seconds.
const RENEWED: Duration = Duration::from_secs(30);

/// A node with a certificate for its screen.
struct Sealed {
    ca: Ca,
    site: Site,
    dock: u16,
}

impl Sealed {
    fn new(days: i64) -> Self {
        let (ca, site, dock) = (Ca::new("Yard CA"), Site::new(), free_port());
        let sealed = Self { ca, site, dock };
        sealed.sign(days).write(&sealed.cert(), &sealed.key());
        let (cert, key) = (sealed.cert(), sealed.key());
        let pin = sealed.site.path("pin");
        let http = [("tls_cert_file", &cert), ("tls_key_file", &key), ("pin_file", &pin)]
            .map(|(name, file)| format!("{name} = \"{}\"\n", file.display()))
            .concat();
        std::fs::write(&pin, "271828\n").unwrap();
        std::fs::set_permissions(&pin, std::fs::Permissions::from_mode(0o640)).unwrap();
        sealed.site.configure(&(http + "\n" + &Site::dock(dock)));
        sealed
    }

    fn sign(&self, days: i64) -> Signed {
        self.ca.sign(&["localhost", "127.0.0.1"], (now_s() - DAY_S, now_s() + days * DAY_S + DAY_S / 2))
    }

    fn cert(&self) -> PathBuf {
        self.site.path("screen.pem")
    }

    fn key(&self) -> PathBuf {
        self.site.path("screen.key")
    }

    /// Shakes hands as a browser does that trusts the authority.
    fn dial(&self, at: SocketAddr) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.pem.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut tcp = TcpStream::connect(at)?;
        tcp.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        tls.complete_io(&mut tcp)?;
        Ok(StreamOwned::new(tls, tcp))
    }

    /// The head and the body that are answered to a request over TLS.
    fn ask(&self, at: SocketAddr, request: &str) -> String {
        let mut stream = self.dial(at).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut said = String::new();
        // Who closes without a word of TLS has said all: the length says so.
        drop(stream.read_to_string(&mut said));
        said
    }

    fn get(&self, at: SocketAddr, path: &str) -> String {
        self.ask(at, &format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n"))
    }

    /// The certificate that is shown.
    fn shown(&self, at: SocketAddr) -> Vec<u8> {
        self.dial(at).unwrap().conn.peer_certificates().unwrap()[0].to_vec()
    }

    fn status(&self) -> String {
        let said = self.site.ask(&["status"]);
        format!("{}{}", stdout(&said), stderr(&said))
    }
}

/// What is answered to somebody who speaks no TLS.
fn plain(at: SocketAddr, request: &str) -> String {
    let mut tcp = TcpStream::connect(at).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    tcp.write_all(request.as_bytes()).unwrap();
    let mut said = String::new();
    tcp.read_to_string(&mut said).unwrap();
    said
}

fn ready(node: &mut Node) {
    wait_for("READY", || node.hear().filter(|said| said.contains("READY=1")));
}

#[test]
fn behind_the_pin_too_nothing_is_told_in_the_clear_but_where_to_go() {
    let sealed = Sealed::new(90);
    let text = std::fs::read_to_string(sealed.site.config()).unwrap();
    std::fs::write(sealed.site.config(), text.replace("tls_cert_file", "read = \"pin\"\ntls_cert_file")).unwrap();
    let node = sealed.site.start();
    let at = node.address();
    for path in ["/api/v1/snapshot", "/api/v1/session"] {
        for cookie in ["", "Cookie: waypost_session=00112233445566778899aabbccddeeff\r\n"] {
            let moved = plain(at, &format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n{cookie}Connection: close\r\n\r\n"));
            assert!(moved.starts_with("HTTP/1.1 308"), "{path} {cookie}: {moved}");
        }
    }
    assert!(sealed.get(at, "/api/v1/snapshot").starts_with("HTTP/1.1 401"));
    assert!(node.stop().success());
}

#[test]
fn a_screen_with_a_certificate_speaks_https_alone_and_sends_who_comes_without_there() {
    let sealed = Sealed::new(90);
    let checked = sealed.site.ask(&["check"]);
    assert_eq!(checked.status.code(), Some(0), "{}{}", stdout(&checked), stderr(&checked));
    let node = sealed.site.start();
    let at = node.address();
    // The service manager hears it first.
    wait_for("the log's word for it", || sealed.site.log().contains(&format!("https://{at}/")).then_some(()));
    let page = sealed.get(at, "/");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<title>waypost</title>"), "{page}");

    let host = format!("Host: {at}\r\nConnection: close\r\n\r\n");
    let moved = plain(at, &format!("GET /scans?q=1 HTTP/1.1\r\n{host}"));
    assert!(moved.starts_with("HTTP/1.1 308"), "{moved}");
    assert!(moved.contains(&format!("location: https://{at}/scans?q=1\r\n")), "{moved}");
    let ledger = plain(at, &format!("GET /api/v1/ledger HTTP/1.1\r\n{host}"));
    assert!(ledger.starts_with("HTTP/1.1 308") && !ledger.contains("balance"), "{ledger}");
    let rebound = plain(at, "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert!(rebound.starts_with("HTTP/1.1 421") && !rebound.contains("location"), "{rebound}");

    // A session is for https alone.
    let body = "{\"pin\":\"271828\"}";
    let length = body.len();
    let login = format!(
        "POST /api/v1/session HTTP/1.1\r\nX-Waypost: 1\r\nOrigin: https://{at}\r\nContent-Length: {length}\r\n{host}{body}"
    );
    let opened = sealed.ask(at, &login);
    assert!(opened.starts_with("HTTP/1.1 204"), "{opened}");
    assert!(opened.contains("HttpOnly") && opened.contains("; Secure"), "{opened}");

    // The stream comes as it happens, not when a buffer is full.
    let mut stream = sealed.dial(at).unwrap();
    stream.write_all(format!("GET /api/v1/stream HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut until = |word: &str| {
        let found = lines.by_ref().any(|line| line.unwrap().contains(word));
        assert!(found, "{word} in the stream");
    };
    until("event: hello");
    let mut feeder = Feeder::start(sealed.dock, 1, 100.0);
    wait_for("a scan", || (feeder.oks() >= 1).then_some(()));
    feeder.stop();
    until("SEQ0");
    drop(lines);
    assert!(node.stop().success());
}

#[test]
fn a_new_certificate_is_taken_by_itself_and_one_that_cannot_be_used_or_ends_soon_is_an_alarm() {
    let sealed = Sealed::new(90);
    let node = sealed.site.start();
    let at = node.address();
    let first = sealed.shown(at);
    let health = |has: &str| {
        wait_within(RENEWED, has, || {
            let said = sealed.status();
            said.contains(has).then_some(said)
        })
    };
    sealed.sign(20).write(&sealed.cert(), &sealed.key());
    health("ends in 20 days");
    let second = sealed.shown(at);
    assert_ne!(first, second, "the new one is shown");

    std::fs::write(sealed.cert(), "half of a renewal").unwrap();
    health("the one before is still shown");
    assert_eq!(sealed.shown(at), second);

    sealed.sign(90).write(&sealed.cert(), &sealed.key());
    wait_within(RENEWED, "the end of the alarm", || (!sealed.status().contains("certificate")).then_some(()));
    assert_ne!(sealed.shown(at), second);
    assert!(node.stop().success());
}

#[test]
fn without_a_certificate_that_can_be_used_the_screen_stays_shut_and_the_node_takes_scans() {
    let sealed = Sealed::new(90);
    std::fs::write(sealed.cert(), "no certificate").unwrap();
    let checked = sealed.site.ask(&["check"]);
    assert_eq!(checked.status.code(), Some(78), "{}{}", stdout(&checked), stderr(&checked));
    assert!(stderr(&checked).contains("http.tls_cert_file: "), "{}", stderr(&checked));
    let mut node = sealed.site.launch(&[]);
    ready(&mut node);
    let said = sealed.status();
    assert!(said.contains("nobody reaches the screen"), "{said}");
    assert!(!sealed.site.log().contains("the screen listens"), "{}", sealed.site.log());
    let mut feeder = Feeder::start(sealed.dock, 5, 100.0);
    wait_for("scans", || (feeder.oks() >= 5).then_some(()));
    feeder.stop();

    sealed.sign(90).write(&sealed.cert(), &sealed.key());
    let begun = Instant::now();
    let at: SocketAddr = wait_within(RENEWED, "the screen", || {
        let log = sealed.site.log();
        let line = log.lines().find(|line| line.contains("the screen listens"))?.to_owned();
        line.split("address=").nth(1)?.trim().parse().ok()
    });
    assert!(begun.elapsed() < RENEWED);
    assert!(sealed.get(at, "/livez").starts_with("HTTP/1.1 200"));
    assert!(node.stop().success());
}
