//! Peers that connect to us: `tcp-listen://`, each connection a task of its own under this worker.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tracing::{error, warn};

use super::client::prepare;
use super::conn::{self, Leash, io_text};
use super::open::{Gone, Source, Trouble, absent_advice};
use super::pace::{Retry, Say};
use super::pulse::Pulse;
use super::{CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS, Conn, FLUSH_AT_STOP, Lost};
use crate::health::SourceCondition;

/// A connection that never sent a byte keeps its place against a newcomer for this long.
const IDLE_KEEPS_PLACE: Duration = Duration::from_secs(30);
/// How long a refused peer may take to hear why.
const FAREWELL: Duration = Duration::from_secs(1);
/// Connections that the kernel holds until we take them.
const BACKLOG: u32 = 64;

/// Binds, serves connections until stopped; then lets them answer what they have read, and closes them.
pub(super) async fn pass(source: &Arc<Source>, pulse: &Pulse, addr: SocketAddr) -> Result<Lost, Trouble> {
    let listener = bind(addr).map_err(|error| bind_trouble(source, &error))?;
    source.spec.bound.send_replace(listener.local_addr().ok());
    source.light.port(SourceCondition::Up, "");
    let mut room = Room::new(source, pulse);
    // An error is the end of the intake: the run ends after this.
    if room.serve(&listener).await.is_err() {
        pulse.working().await;
    }
    source.spec.bound.send_replace(None);
    drop(listener);
    room.empty().await;
    Ok(Lost::Stopped)
}

fn bind(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Else a restart within a minute would find the port still taken by its old connections.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Why an address cannot be listened on, and what helps.
pub(super) fn bind_trouble(source: &Source, error: &std::io::Error) -> Trouble {
    let text = format!("{}: {}", source.spec.port, io_text(error));
    match error.kind() {
        ErrorKind::PermissionDenied => {
            Trouble::permission(text, "Choose a port above 1023: the service may not take a lower one.")
        }
        ErrorKind::AddrInUse => {
            Trouble::absent(text, "Another program or source has this port: choose another, or stop it (ss -lnp).")
        }
        _ => Trouble::absent(text, absent_advice(&source.spec.port)),
    }
}

struct Guest {
    conn: Conn,
    ip: IpAddr,
    since: Instant,
    leash: Arc<Leash>,
}

/// The connections of one listener.
struct Room<'a> {
    source: &'a Arc<Source>,
    pulse: &'a Pulse,
    tasks: JoinSet<()>,
    guests: HashMap<Id, Guest>,
    farewells: JoinSet<()>,
    accept_retry: Retry,
    accept_said: Say,
    refused_said: Say,
}

impl<'a> Room<'a> {
    fn new(source: &'a Arc<Source>, pulse: &'a Pulse) -> Self {
        Self {
            source,
            pulse,
            tasks: JoinSet::new(),
            guests: HashMap::new(),
            farewells: JoinSet::new(),
            accept_retry: Retry::new(),
            accept_said: Say::new(),
            refused_said: Say::new(),
        }
    }

    /// Waits on the stop, on connections that end and on those that come.
    async fn serve(&mut self, listener: &TcpListener) -> Result<(), Gone> {
        loop {
            // Losing the race loses nothing: an ended task stays in its set, a peer in the kernel's backlog.
            tokio::select! {
                biased;
                () = self.pulse.stop.cancelled() => return Ok(()),
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended).await?,
                Some(_) = self.farewells.join_next() => {}
                accepted = self.pulse.wait(listener.accept(), None) => match accepted {
                    Some(Ok((stream, peer))) => {
                        self.accept_retry.reset();
                        self.pulse.working().await;
                        self.admit(stream, peer).await?;
                    }
                    Some(Err(error)) => self.accept_failed(&error).await,
                    None => {}
                },
            }
        }
    }

    /// No descriptors or no memory: the peer stays in the backlog, so trying again at once would only spin.
    async fn accept_failed(&mut self, error: &std::io::Error) {
        if let Some(unsaid) = self.accept_said.now() {
            warn!(source = %self.source.spec.id, error = %error, unsaid, "connection cannot be accepted");
        }
        let rest = self.accept_retry.next();
        self.pulse.rest(rest).await;
    }

    async fn admit(&mut self, stream: TcpStream, peer: SocketAddr) -> Result<(), Gone> {
        let ip = peer.ip().to_canonical();
        if !self.source.allows(ip) {
            return self.refuse(peer, "the peer's address is not in `allow` of this source").await;
        }
        let from_ip = self.guests.values().filter(|guest| guest.ip == ip).count();
        let crowd = if !ip.is_loopback() && from_ip >= CONNECTIONS_PER_ADDRESS {
            Some((Some(ip), "busy: 4 connections from this address are open\n"))
        } else if self.guests.len() >= CONNECTIONS_MAX {
            Some((None, "busy: 16 connections are open\n"))
        } else {
            None
        };
        if let Some((of, text)) = crowd
            && !self.make_room(of)
        {
            self.farewell(stream, text);
            return self.refuse(peer, text.trim_end()).await;
        }
        if let Err(error) = prepare(&stream) {
            // The peer is gone already; reading it would say the same.
            tracing::debug!(source = %self.source.spec.id, error = %error, "connection ended as it was accepted");
            return Ok(());
        }
        let (conn, leash) = (self.source.next_conn(), Arc::new(Leash::new(self.pulse)));
        let (source, pulse, held) = (Arc::clone(self.source), self.pulse.without_beat(), Arc::clone(&leash));
        let task = self.tasks.spawn(async move {
            conn::serve(&source, &pulse, conn, peer, stream, &held).await;
        });
        self.guests.insert(task.id(), Guest { conn, ip, since: Instant::now(), leash });
        Ok(())
    }

    /// Ends the oldest connection that has said nothing for long, of one address or of all. A scanner that waits for its
    /// first scan keeps its place for as long as nobody needs it.
    fn make_room(&mut self, of: Option<IpAddr>) -> bool {
        let idle = self
            .guests
            .iter()
            .filter(|(_, guest)| of.is_none_or(|ip| guest.ip == ip))
            .filter(|(_, guest)| !guest.leash.spoke() && guest.since.elapsed() >= IDLE_KEEPS_PLACE)
            .min_by_key(|(_, guest)| guest.since)
            .map(|(id, _)| *id);
        let Some(guest) = idle.and_then(|id| self.guests.remove(&id)) else { return false };
        guest.leash.pull(Lost::Idle);
        true
    }

    async fn refuse(&mut self, peer: SocketAddr, text: &'static str) -> Result<(), Gone> {
        if let Some(unsaid) = self.refused_said.now() {
            warn!(source = %self.source.spec.id, peer = %peer, why = text, unsaid, "connection refused");
        }
        self.source.refused(self.pulse, peer, text).await
    }

    /// Tells the peer, and reads what it has sent so that closing does not take the words back.
    fn farewell(&mut self, mut stream: TcpStream, text: &'static str) {
        if self.farewells.len() >= CONNECTIONS_MAX {
            return;
        }
        self.farewells.spawn(async move {
            let talk = async {
                stream.write_all(text.as_bytes()).await?;
                stream.shutdown().await?;
                let mut unread = [0; 512];
                while stream.read(&mut unread).await? > 0 {}
                Ok::<(), std::io::Error>(())
            };
            // A peer that does not listen is refused all the same, and was counted.
            drop(timeout(FAREWELL, talk).await);
        });
    }

    /// A task that ended by itself has said `Lost`; one that panicked has not.
    async fn ended(&mut self, ended: Result<(Id, ()), JoinError>) -> Result<(), Gone> {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let guest = self.guests.remove(&id);
        if let (Err(error), Some(guest)) = (ended, guest) {
            error!(source = %self.source.spec.id, conn = guest.conn.0, error = %error, "connection failed");
            self.source.lost(self.pulse, guest.conn, Lost::Io(format!("internal: {error}"))).await?;
        }
        Ok(())
    }

    /// After a stop: the connections have stopped reading by themselves and get the time to write their replies.
    async fn empty(&mut self) {
        let flushed = async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                if self.ended(ended).await.is_err() {
                    break;
                }
            }
        };
        let limit = FLUSH_AT_STOP + Duration::from_millis(500);
        if timeout(limit, flushed).await.is_err() {
            warn!(source = %self.source.spec.id, n_connections = self.tasks.len(), "connections cut off at the stop");
            self.tasks.shutdown().await;
        }
        self.farewells.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::Clock;
    use crate::config::Port;
    use crate::health::{Board, Light};
    use crate::source::rig::spec;
    use crate::source::{Input, SourceSpec};

    fn source(spec: SourceSpec) -> (Arc<Source>, Pulse, mpsc::Receiver<Input>) {
        let (tx, rx) = mpsc::channel(64);
        let light = Light::new(Board::default(), Clock::system(), &spec.id, spec.kind, &spec.port);
        let pulse = Pulse { beat: None, light: light.clone(), stop: CancellationToken::new() };
        (Arc::new(Source::new(spec, tx, light, Clock::system())), pulse, rx)
    }

    #[tokio::test]
    async fn a_panic_in_one_connection_is_the_loss_of_that_connection_only() {
        let (source, pulse, mut rx) = source(spec("scanner", Port::TcpListen(([127, 0, 0, 1], 0).into())));
        let mut room = Room::new(&source, &pulse);
        let conn = source.next_conn();
        source.opened(&pulse, conn, None, None).await.unwrap();
        let task = room.tasks.spawn(async { panic!("on purpose") });
        let leash = Arc::new(Leash::new(&pulse));
        let guest = Guest { conn, ip: IpAddr::from([127, 0, 0, 1]), since: Instant::now(), leash };
        room.guests.insert(task.id(), guest);
        let ended = room.tasks.join_next_with_id().await.unwrap();
        room.ended(ended).await.unwrap();
        assert!(room.guests.is_empty());
        assert!(matches!(rx.recv().await, Some(Input::Opened { .. })));
        let Some(Input::Lost { conn: lost, why: Lost::Io(text), .. }) = rx.recv().await else { panic!("not lost") };
        assert_eq!(lost, conn);
        assert!(text.contains("on purpose"), "{text}");
    }

    #[tokio::test]
    async fn the_fifth_connection_from_one_address_is_refused_and_another_address_is_not() {
        let mut spec = spec("scanner", Port::TcpListen(([127, 0, 0, 1], 0).into()));
        spec.allow = vec![crate::config::Network { addr: IpAddr::from([192, 0, 2, 0]), bits: 24 }];
        let (source, pulse, mut rx) = source(spec);
        let mut room = Room::new(&source, &pulse);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peers = Vec::new();
        for (n, last) in [1, 1, 1, 1, 1, 2].into_iter().enumerate() {
            peers.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            let (stream, _) = listener.accept().await.unwrap();
            let peer = SocketAddr::from(([192, 0, 2, last], 7));
            room.admit(stream, peer).await.unwrap();
            assert_eq!(room.guests.len(), n + 1 - usize::from(n >= 4));
        }
        let mut refused = 0;
        while refused == 0 {
            if let Some(Input::Refused { peer, text, .. }) = rx.recv().await {
                assert_eq!(peer, SocketAddr::from(([192, 0, 2, 1], 7)));
                assert_eq!(text, "busy: 4 connections from this address are open");
                refused += 1;
            }
        }
    }
}
