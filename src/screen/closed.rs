//! The screen of a node whose store cannot be opened yet: every address says so, and what to do. One connection a door at a
//! time, for nobody has to wait here: it is tried again by itself.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::Http;

use super::bind::{bind, bind_control};
use super::tls::Tls;

/// How long one who asks may take.
const TURN: Duration = Duration::from_secs(2);
/// The part of a request that is looked at. Bytes
const HEAD_MAX: usize = 8 * 1024;
/// After an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Doors at which it is said why the node does not run yet. They close when this is dropped.
pub struct Closed {
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    doors: JoinSet<()>,
    control: PathBuf,
}

impl Closed {
    /// Opens what can be opened of the screen's doors and of the control socket. To be called on the runtime.
    #[must_use]
    pub fn open(http: &Http, control: &Path, why: &str) -> Self {
        let (mut doors, mut addresses) = (JoinSet::new(), Vec::new());
        let tls = http.tls.clone().map(|files| Arc::new(Tls::new(files)));
        for listen in &http.listen {
            match bind(listen) {
                Ok(listener) => {
                    addresses.extend(listener.local_addr());
                    doors.spawn(tcp(listener, tls.clone(), why.to_owned()));
                }
                Err(error) => tracing::warn!(?listen, %error, "the screen cannot be reached there"),
            }
        }
        match bind_control(control) {
            Ok(listener) => drop(doors.spawn(unix(listener, why.to_owned()))),
            Err(error) => tracing::warn!(%error, "commands on this machine cannot reach the node"),
        }
        Self { addresses, doors, control: control.to_owned() }
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.doors.abort_all();
        // The next start replaces it, should it stay.
        drop(std::fs::remove_file(&self.control));
    }
}

async fn tcp(listener: TcpListener, tls: Option<Arc<Tls>>, why: String) {
    loop {
        match (listener.accept().await, &tls) {
            (Ok((socket, _)), None) => answer(socket, &why).await,
            (Ok((socket, _)), Some(tls)) => {
                tls.look().await;
                match tls.accept(socket, TURN).await {
                    Ok(socket) => answer(socket, &why).await,
                    Err(error) => tracing::debug!(%error, "who asked and the node did not agree on TLS"),
                }
            }
            (Err(_), _) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn unix(listener: UnixListener, why: String) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => answer(socket, &why).await,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Answers one who asks; whether he hears it is his affair.
async fn answer(mut socket: impl AsyncRead + AsyncWrite + Unpin, why: &str) {
    let told = async {
        let mut head = Vec::new();
        while head.len() < HEAD_MAX && !head.windows(4).any(|four| four == b"\r\n\r\n") {
            if socket.read_buf(&mut head).await? == 0 {
                break;
            }
        }
        let line = String::from_utf8_lossy(&head).into_owned();
        socket.write_all(said(line.split(' ').nth(1).unwrap_or("/"), why).as_bytes()).await?;
        socket.shutdown().await?;
        // A close with something unread in it would take the answer with it.
        while socket.read(&mut [0; 512]).await? > 0 {}
        io::Result::Ok(())
    };
    if let Ok(Err(error)) = timeout(TURN, told).await {
        tracing::debug!(%error, "who asked went away");
    }
}

/// The whole answer to a path.
fn said(path: &str, why: &str) -> String {
    const HINT: &str =
        "Free space on the disk, or mount it writable; a worn card turns read-only. It is tried again by itself.";
    let (status, mime, body) = match path.split('?').next().unwrap_or_default() {
        "/livez" => ("200 OK", "text/plain; charset=utf-8", "ok\n".to_owned()),
        "/" => {
            let why = why.replace('&', "&amp;").replace('<', "&lt;");
            let page = format!(
                "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=5><title>waypost: no store</title>\n\
                 <h1>Nothing is stored: the store cannot be opened.</h1>\n<p>{why}\n<p>{HINT}\n"
            );
            ("503 Service Unavailable", "text/html; charset=utf-8", page)
        }
        "/healthz" => {
            let body = serde_json::json!({ "status": "stalled", "reasons": [why] });
            ("503 Service Unavailable", "application/json", body.to_string())
        }
        _ => {
            let error = serde_json::json!({ "code": "store_unavailable", "message": why, "hint": HINT });
            let body = serde_json::json!({ "error": error });
            ("503 Service Unavailable", "application/json", body.to_string())
        }
    };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {mime}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Content-Security-Policy: default-src 'none'\r\nX-Content-Type-Options: nosniff\r\nRetry-After: 5\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
