//! The doors: `http.listen` and the control socket. One that cannot be opened is an alarm that says who is in the way,
//! and is tried again; everything else runs on.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::net::{TcpListener, UnixListener};
use tracing::{info, warn};

use crate::config::Listen;
use crate::health::{Alarm, Severity};

use super::conn::{SEND_BUFFER, Socket};
use super::front::Front;
use super::holder;

/// The alarm of an address that cannot be listened on.
pub(super) const LISTEN_ALARM: &str = "http_listen";
/// The alarm of a control socket that cannot be made.
const CONTROL_ALARM: &str = "control_socket";
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Who may speak on the control socket: the service and its group.
const CONTROL_MODE: u32 = 0o660;

/// The listening sockets.
pub(super) struct Doors {
    front: Arc<Front>,
    tcp: Vec<Option<TcpListener>>,
    control: Option<UnixListener>,
    tried_us: Option<i64>,
    /// When the screen's certificate was looked at.
    looked_us: Option<i64>,
    /// Whether it was said where it listens.
    is_told: bool,
    /// Whose turn it is to be asked first, so that one busy door does not shut the others.
    turn: usize,
}

impl Doors {
    /// Doors that are all still closed.
    pub(super) fn new(front: Arc<Front>) -> Self {
        let tcp = front.http.listen.iter().map(|_| None).collect();
        Self { front, tcp, control: None, tried_us: None, looked_us: None, is_told: false, turn: 0 }
    }

    /// Tries to open what is closed, at most once each retry.
    pub(super) async fn open(&mut self) {
        let now_us = self.front.clock.now().mono_us;
        let retry_us = i64::try_from(self.front.limits.retry.as_micros()).unwrap_or(i64::MAX);
        let is_recent = |at: Option<i64>| at.is_some_and(|at| now_us - at < retry_us);
        if let Some(tls) = self.front.tls.clone().filter(|_| !is_recent(self.looked_us)) {
            self.looked_us = Some(now_us);
            tls.look().await;
            tls.judge(&self.front);
        }
        let control_missing = self.front.control.is_some() && self.control.is_none();
        if is_recent(self.tried_us) || !control_missing && self.tcp.iter().all(Option::is_some) {
            return;
        }
        self.tried_us = Some(now_us);
        // First: whoever is told the addresses, and with them that the node is ready, may send it a command.
        if control_missing {
            self.open_control();
        }
        // Without a certificate the screen stays shut: in the clear it would be what nobody asked for.
        if self.front.tls.as_ref().is_none_or(|tls| tls.is_ready()) {
            self.open_tcp().await;
        }
        // The alarms first: who waits for the addresses finds them beside them.
        self.tell();
    }

    async fn open_tcp(&mut self) {
        let mut shut = Vec::new();
        for (at, listen) in self.front.http.listen.iter().enumerate() {
            if self.tcp[at].is_some() {
                continue;
            }
            match bind(listen) {
                Ok(listener) => {
                    let bound = listener.local_addr().map_or_else(|_| named(listen), |at| at.to_string());
                    info!(address = %bound, "the screen listens");
                    self.tcp[at] = Some(listener);
                }
                Err(error) => shut.push(why(listen, &error).await),
            }
        }
        self.judge(&shut);
    }

    /// Says where it listens; the first time also when that is nowhere, for the node is ready all the same.
    fn tell(&mut self) {
        let bound = self.tcp.iter().flatten().filter_map(|listener| listener.local_addr().ok()).collect();
        let is_first = !std::mem::replace(&mut self.is_told, true);
        self.front.bound.send_if_modified(|known| {
            let changed = is_first || *known != bound;
            *known = bound;
            changed
        });
    }

    /// Raises or ends the alarm of addresses that cannot be listened on.
    fn judge(&self, shut: &[String]) {
        if shut.is_empty() {
            self.front.board.clear(LISTEN_ALARM);
            return;
        }
        let text = shut.join("; ");
        warn!(why = text, "the screen cannot be reached there; trying again");
        self.raise(
            LISTEN_ALARM,
            format!("The screen cannot be reached at {text}."),
            "Stop the other program or change http.listen; it is tried again by itself. Intake and upstream run on.",
        );
    }

    fn open_control(&mut self) {
        let Some(path) = self.front.control.clone() else { return };
        match bind_control(&path) {
            Ok(listener) => {
                self.control = Some(listener);
                self.front.board.clear(CONTROL_ALARM);
            }
            Err(error) => {
                warn!(path = %path.display(), %error, "commands on this machine cannot reach the node; trying again");
                self.raise(
                    CONTROL_ALARM,
                    format!("The control socket {} cannot be made: {error}.", path.display()),
                    "Commands on this machine do not reach the node; see that its folder exists and is ours.",
                );
            }
        }
    }

    fn raise(&self, name: &str, text: String, advice: &str) {
        self.front.board.raise(Alarm {
            name: name.into(),
            severity: Severity::Fault,
            since_ms: self.front.now_ms(),
            text,
            advice: advice.into(),
            count: 1,
        });
    }

    /// The next connection at any door, or with `tcp` false at the control socket only. Nothing is lost when it is
    /// dropped.
    pub(super) async fn accept(&mut self, tcp: bool) -> io::Result<Socket> {
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn;
        poll_fn(|cx| self.poll_accept(turn, tcp, cx)).await
    }

    fn poll_accept(&self, turn: usize, tcp: bool, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        let doors = if tcp { self.tcp.len() } else { 0 };
        for step in 0..doors {
            if let Some(listener) = &self.tcp[(turn + step) % doors]
                && let Poll::Ready(accepted) = listener.poll_accept(cx)
            {
                return Poll::Ready(accepted.map(|(tcp, _)| Socket::Tcp(tcp)));
            }
        }
        match &self.control {
            Some(listener) => listener.poll_accept(cx).map_ok(|(unix, _)| Socket::Unix(unix)),
            None => Poll::Pending,
        }
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        self.front.bound.send_replace(Vec::new());
        if self.control.take().is_some()
            && let Some(path) = &self.front.control
            && let Err(error) = std::fs::remove_file(path)
        {
            // The next start replaces it.
            info!(path = %path.display(), %error, "the control socket could not be removed");
        }
    }
}

/// An address as it stands in the configuration.
fn named(listen: &Listen) -> String {
    match listen {
        Listen::Addr(addr) => addr.to_string(),
        Listen::Interface(name, port) => format!("{name}:{port}"),
    }
}

/// Listens on an address, or on every address of an interface and on no other.
pub(super) fn bind(listen: &Listen) -> io::Result<TcpListener> {
    match listen {
        Listen::Addr(addr) => listen_on(*addr, None),
        Listen::Interface(name, port) => {
            let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
            listen_on(both, Some(name)).or_else(|error| match error.raw_os_error() {
                // A kernel without IPv6.
                Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL) => {
                    listen_on(SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port)), Some(name))
                }
                _ => Err(error),
            })
        }
    }
}

fn listen_on(addr: SocketAddr, interface: Option<&str>) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        // `[::]` beside `0.0.0.0` are two doors; an interface is one for both.
        socket.set_only_v6(interface.is_none())?;
    }
    if let Some(name) = interface {
        socket.bind_device(Some(name.as_bytes()))?;
    }
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it before their first byte.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Why an address cannot be listened on, and who is in the way.
async fn why(listen: &Listen, error: &io::Error) -> String {
    let name = named(listen);
    let port = match listen {
        Listen::Addr(addr) => addr.port(),
        Listen::Interface(_, port) => *port,
    };
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let holder = tokio::task::spawn_blocking(move || holder::of(port)).await.ok().flatten();
            let holder = holder.unwrap_or_else(|| format!("another program (see: ss -ltnp sport = :{port})"));
            format!("{name}: in use by {holder}")
        }
        io::ErrorKind::AddrNotAvailable => format!("{name}: this machine does not have that address"),
        io::ErrorKind::PermissionDenied => format!("{name}: the service may not listen there"),
        _ if error.raw_os_error() == Some(libc::ENODEV) => format!("{name}: there is no such interface"),
        _ => format!("{name}: {error}"),
    }
}

/// Listens on the control socket. What a node left there that was killed is replaced; anything but a socket is not.
pub(super) fn bind_control(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Made under another name and moved into place: nobody finds it before its mode is right.
    let next: PathBuf = path.with_extension("next");
    match std::fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&next)?;
    std::fs::set_permissions(&next, std::fs::Permissions::from_mode(CONTROL_MODE))?;
    std::fs::rename(&next, path)?;
    Ok(listener)
}
