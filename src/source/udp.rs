//! Datagrams to us: each is handed on with its sender.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::conn::io_text;
use super::listen::bind_trouble;
use super::open::{Gone, Source, Trouble};
use super::pulse::Pulse;
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
    loop {
        let got = tokio::select! {
            biased;
            () = pulse.stop.cancelled() => return Ok(Lost::Stopped),
            // Losing the rest or the wait for a datagram loses nothing: it stays in the kernel.
            got = async {
                pulse.rest(rest).await;
                pulse.wait(socket.recv_from(&mut buf), source.spec.silent_after).await
            } => got,
        };
        rest = Duration::ZERO;
        let at = source.clock.now();
        match got {
            Some(Ok((_, peer))) if !source.allows(peer.ip()) => {
                source.refused(pulse, peer, "the sender's address is not in `allow` of this source").await?;
            }
            Some(Ok((0, _))) => {}
            Some(Ok((n, peer))) => {
                pulse.working().await;
                quiet_since = Instant::now();
                rest = source.bytes(pulse, conn, &buf[..n], at, Some(peer)).await?;
            }
            Some(Err(error)) => return Ok(Lost::Io(io_text(&error))),
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
