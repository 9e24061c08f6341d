//! A peer we connect to: `tcp://` and `gpsd://`.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::Lost;
use super::conn::{self, Leash, io_text};
use super::open::{Source, Trouble, absent_advice};
use super::pulse::Pulse;

/// What gpsd wants to hear before it sends.
pub(super) const GPSD_WATCH: &[u8] = b"?WATCH={\"enable\":true,\"json\":true};\n";
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Connects, says `greeting`, reads until lost.
pub(super) async fn pass(
    source: &Source,
    pulse: &Pulse,
    host: &str,
    port: u16,
    greeting: &[u8],
) -> Result<Lost, Trouble> {
    let absent = |error: String| Trouble::absent(error, absent_advice(&source.spec.port));
    let connect = async {
        let mut stream = TcpStream::connect((host, port)).await?;
        prepare(&stream)?;
        // A greeting fits the empty send buffer of a new connection.
        stream.write_all(greeting).await?;
        let peer = stream.peer_addr()?;
        Ok::<(TcpStream, SocketAddr), std::io::Error>((stream, peer))
    };
    let connected = tokio::select! {
        biased;
        () = pulse.stop.cancelled() => return Ok(Lost::Stopped),
        connected = pulse.wait(connect, Some(CONNECT_MAX)) => connected,
    };
    match connected {
        Some(Ok((stream, peer))) => {
            Ok(conn::serve(source, pulse, source.next_conn(), peer, stream, &Leash::new(pulse)).await)
        }
        Some(Err(error)) => Err(absent(io_text(&error))),
        None => Err(absent(format!("no connection within {} s", CONNECT_MAX.as_secs()))),
    }
}

/// Small writes go out at once; a peer that vanished without a word is noticed within 19 s.
pub(super) fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(3)).with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
