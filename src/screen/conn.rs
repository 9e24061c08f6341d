//! One connection: its socket with the limits that keep a reader who does not read from holding anything, and HTTP on it.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::front::Front;
use super::tls::{self, Tls};

/// What the kernel may hold for a reader that does not read. Bytes; Linux doubles it for its own books, and 1,000 stalled
/// readers held 91 MiB at 32 KiB.
pub(super) const SEND_BUFFER: usize = 24 * 1024;
/// Of a request's head, and of what is written but not yet taken by the kernel beside the frame at hand. Bytes.
const HEAD_MAX: usize = 8 * 1024;
const HEADERS_MAX: usize = 64;

/// What a call knows of its connection.
#[derive(Debug)]
pub(super) struct Conn {
    /// The address it was made to; none on the control socket.
    pub(super) local: Option<IpAddr>,
    /// The address of the other end; none on the control socket.
    pub(super) peer: Option<IpAddr>,
    /// The user at the other end of the control socket.
    pub(super) uid: Option<u32>,
    /// Fires when the node stops.
    pub(super) stop: CancellationToken,
    slow: AtomicBool,
}

impl Conn {
    /// Whether it comes from a command on this machine.
    pub(super) const fn is_control(&self) -> bool {
        self.local.is_none()
    }

    /// Whether it was ended because the reader did not read.
    pub(super) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Acquire)
    }
}

/// An accepted connection.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Sets what bounds a connection. A socket that refuses has already gone.
    fn limit(&self, stall: Duration) -> io::Result<Option<(IpAddr, IpAddr)>> {
        match self {
            Self::Tcp(tcp) => {
                let socket = SockRef::from(tcp);
                socket.set_send_buffer_size(SEND_BUFFER)?;
                socket.set_tcp_nodelay(true)?;
                socket.set_tcp_user_timeout(Some(stall))?;
                socket.set_tcp_keepalive(
                    &TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5)),
                )?;
                Ok(Some((tcp.local_addr()?.ip().to_canonical(), tcp.peer_addr()?.ip().to_canonical())))
            }
            Self::Unix(unix) => {
                SockRef::from(unix).set_send_buffer_size(SEND_BUFFER)?;
                Ok(None)
            }
        }
    }
}

impl Socket {
    /// Who is at the other end, as the kernel vouches for it.
    fn uid(&self) -> Option<u32> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(unix) => unix.peer_cred().ok().map(|peer| peer.uid()),
        }
    }
}

/// Answers the requests of a connection until it ends, or the node stops.
pub(super) async fn talk(front: Arc<Front>, router: Router, socket: Socket, stop: CancellationToken) {
    let (local, peer) = match socket.limit(front.limits.stall) {
        Ok(ends) => ends.unzip(),
        Err(error) => {
            debug!(%error, "a connection was gone before it could be set up");
            return;
        }
    };
    let conn = Arc::new(Conn { local, peer, uid: socket.uid(), stop, slow: AtomicBool::new(false) });
    let ended = tokio::select! {
        ended = meet(&front, socket, &conn) => ended,
        () = conn.stop.cancelled() => return,
    };
    let ended = match ended {
        Ok(Met::Plain(pipe)) => serve(&front, router, &conn, pipe).await,
        Ok(Met::Tls(pipe)) => serve(&front, router, &conn, *pipe).await,
        Ok(Met::WithoutTls(pipe)) => serve(&front, tls::moved(&front), &conn, pipe).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}

/// How the other end speaks.
enum Met {
    Plain(Pipe),
    Tls(Box<TlsStream<Pipe>>),
    WithoutTls(Pipe),
}

/// Finds out how the other end speaks, where the screen has a certificate.
async fn meet(front: &Front, socket: Socket, conn: &Arc<Conn>) -> io::Result<Met> {
    let within = front.limits.head;
    let tls = front.tls.as_ref().filter(|_| !conn.is_control());
    let is_spoken = match (tls, &socket) {
        (Some(_), Socket::Tcp(tcp)) => Tls::is_spoken(tcp, within).await?,
        _ => false,
    };
    let pipe = Pipe { socket, stall: front.limits.stall, waits: None, conn: Arc::clone(conn) };
    match tls {
        None => Ok(Met::Plain(pipe)),
        Some(tls) if is_spoken => Ok(Met::Tls(Box::new(tls.accept(pipe, within).await?))),
        Some(_) => Ok(Met::WithoutTls(pipe)),
    }
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// HTTP on a connection, until it ends or the node stops.
async fn serve<I>(front: &Front, router: Router, conn: &Arc<Conn>, io: I) -> Ended
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let router = TowerToHyperService::new(router);
    let known = Arc::clone(conn);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&known));
        router.call(request)
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(front.limits.head)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(io), service);
    let mut http = pin!(http);
    let ended = tokio::select! {
        ended = http.as_mut() => ended,
        () = conn.stop.cancelled() => {
            http.as_mut().graceful_shutdown();
            http.await
        }
    };
    ended.map_err(Into::into)
}

/// A socket whose writes must get on.
struct Pipe {
    socket: Socket,
    stall: Duration,
    /// Runs while a write waits for the reader.
    waits: Option<Pin<Box<Sleep>>>,
    conn: Arc<Conn>,
}

impl Pipe {
    /// Ends the connection when a write has not got on for too long.
    fn judge(&mut self, cx: &mut Context<'_>, write: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if write.is_ready() {
            self.waits = None;
            return write;
        }
        let stall = self.stall;
        let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        ready!(waits.as_mut().poll(cx));
        self.conn.slow.store(true, Ordering::Release);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the reader does not read")))
    }
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Socket::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let write = match &mut self.socket {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Socket::Unix(unix) => Pin::new(unix).poll_write(cx, buf),
        };
        self.judge(cx, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = match &mut self.socket {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Socket::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, bufs),
        };
        self.judge(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets hold nothing back: what was written is the kernel's.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Socket::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
        }
    }
}
