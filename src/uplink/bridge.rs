//! The way of an `mqtts://` connection: the MQTT client speaks to an abstract unix socket of this process, and behind it TLS
//! speaks to the broker (docs/decisions/0008). The client begins when TLS stands, so no byte of it can go another way.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener as Listener};
use std::time::Duration;

use tokio::io::{AsyncReadExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::config::Term;

use super::fault::Fault;
use super::link::Said;
use super::tls::Secure;

/// Bytes that wait on each way; who writes more waits.
const BUFFER: usize = 16 * 1024;
/// How long the last bytes of the client may take, and how long a broker may still say why it ended.
const PARTING: Duration = Duration::from_secs(1);

/// Both ends of a connection that is not made yet.
pub(super) struct Bridge {
    secure: Secure,
    listener: UnixListener,
    address: String,
}

impl Bridge {
    /// Opens the client's end. Its name is in no file system, and nobody guesses it; who does is turned away.
    pub fn open(secure: Secure) -> io::Result<Self> {
        let name = format!("waypost-{}-{:016x}", std::process::id(), RandomState::new().hash_one(std::process::id()));
        let listener = Listener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        listener.set_nonblocking(true)?;
        Ok(Self { secure, listener: UnixListener::from_std(listener)?, address: format!("\0{name}") })
    }

    /// Where the client finds it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Makes the connection, lets the client run over it and carries its bytes until either ends. Answers why it is over;
    /// none when nobody listens any more.
    pub async fn carry(self, client: impl Future<Output = Option<Fault>>, tx: &mpsc::Sender<Said>) -> Option<Fault> {
        let Self { secure, listener, .. } = self;
        let tls = match secure.dial().await {
            Ok(tls) => tls,
            Err(fault) => return Some(fault),
        };
        let shown = tls.get_ref().1.peer_certificates().unwrap_or_default();
        if let Some(term) = Term::of_chain("the broker's certificate", shown) {
            tx.send(Said::Shown(term)).await.ok()?;
        }
        tokio::pin!(client);
        let pump = pump(listener, tls, &secure);
        tokio::pin!(pump);
        let (over, broken) = tokio::select! {
            // What the client wrote last, its goodbye, still goes out.
            over = &mut client => (over, timeout(PARTING, pump).await.unwrap_or(None)),
            broken = &mut pump => (client.await, broken),
        };
        // What TLS says is the cause of what the client saw.
        over.map(|over| broken.unwrap_or(over))
    }
}

/// Carries bytes both ways. Answers what TLS itself says of the end, if it says anything.
async fn pump(listener: UnixListener, mut tls: TlsStream<TcpStream>, secure: &Secure) -> Option<Fault> {
    let mut client = match accept(listener).await {
        Ok(client) => client,
        Err(error) => return Some(Fault::given_up(crate::health::ReconnectReason::Client, error.to_string())),
    };
    let error = copy_bidirectional_with_sizes(&mut client, &mut tls, BUFFER, BUFFER).await.err()?;
    if let Some(fault) = secure.broken(&error) {
        return Some(fault);
    }
    // A refusal of the node's certificate may lie behind a write that failed already.
    let mut lost = [0; 1024];
    loop {
        match timeout(PARTING, tls.read(&mut lost)).await {
            Ok(Ok(1..)) => {}
            Ok(Err(error)) => return secure.broken(&error),
            Ok(Ok(0)) | Err(_) => return None,
        }
    }
}

/// The client's connection: the first from this very process.
async fn accept(listener: UnixListener) -> io::Result<UnixStream> {
    loop {
        let (stream, _) = listener.accept().await?;
        if stream.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id()) {
            return Ok(stream);
        }
        tracing::warn!("another process reached for the uplink's socket and was turned away");
    }
}
