//! Datagrams to us: each is handed on with its sender.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::conn::io_text;
use super::listen::bind_trouble;
use super::open::{Gone, Source, Trouble};
use super::pulse::{Pulse, or_wait};
use super::{Conn, Lost};
use crate::health::SourceCondition;

/// Room for the largest datagram there is.
const DATAGRAM_MAX: usize = 65_536;
/// What the kernel may hold while we wait for the intake; it grants less where its own limit is lower.
const KERNEL_ROOM: usize = 1 << 20;

/// Binds, takes datagrams until stopped.
pub(super) async fn pass(source: &Source, pulse: &Pulse, addr: SocketAddr) -> Result<Lost, Trouble> {
    let socket = UdpSocket::bind(addr).await.map_err(|error| bind_trouble(source, &error))?;
    if let Err(error) = SockRef::from(&socket).set_recv_buffer_size(KERNEL_ROOM) {
        tracing::debug!(source = %source.spec.id, error = %error, "receive buffer keeps its size");
    }
    source.spec.bound.send_replace(socket.local_addr().ok());
    let conn = source.next_conn();
    let read = async {
        source.opened(pulse, conn, None, None).await?;
        let why = read(source, pulse, conn, &socket).await?;
        source.lost(pulse, conn, why).await
    };
    let why = read.await;
    source.spec.bound.send_replace(None);
    Ok(why.unwrap_or(Lost::Stopped))
}

async fn read(source: &Source, pulse: &Pulse, conn: Conn, socket: &UdpSocket) -> Result<Lost, Gone> {
    let mut buf = vec![0; DATAGRAM_MAX];
    let mut quiet_since = Instant::now();
    let mut rest = Duration::ZERO;
    // How long a silence must last to be told; none when it was, or nothing came yet.
    let mut quiet = None;
    loop {
        let got = tokio::select! {
            biased;
            () = pulse.stop.cancelled() => return Ok(Lost::Stopped),
            // Losing the rest or the wait for a datagram loses nothing: it stays in the kernel.
            got = async {
                pulse.rest(rest).await;
                pulse.wait(or_wait(socket.recv_from(&mut buf)), quiet.or(source.spec.silent_after)).await
            } => got,
        };
        rest = Duration::ZERO;
        let at = source.clock.now();
        match got {
            Some((Ok((_, peer)), _)) if !source.allows(peer.ip()) => {
                source.refused(pulse, peer, "the sender's address is not in `allow` of this source").await?;
            }
            Some((Ok((0, _)), _)) => {}
            Some((Ok((n, peer)), waited)) => {
                pulse.working().await;
                quiet_since = Instant::now();
                rest = source.bytes(pulse, conn, &buf[..n], at, Some(peer), waited).await?;
                quiet = source.spec.quiet_after;
            }
            Some((Err(error), _)) => return Ok(Lost::Io(io_text(&error))),
            None if quiet.take().is_some() => source.quiet(pulse, conn).await?,
            None => {}
        }
        if source.spec.silent_after.is_some_and(|after| quiet_since.elapsed() >= after) {
            source.light.port(
                SourceCondition::Silent,
                "No datagram comes: check the sender, its target address and `allow` of this source.",
            );
        }
    }
}
