//! https: the screen's certificate, read again when its files were replaced, and what is answered to who comes without TLS.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{HOST, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

use crate::config::{Marks, PaperFault, Papers, Term};
use crate::domain::UnixMs;
use crate::health::{Alarm, Severity};

use super::front::Front;
use super::guard;

/// The alarm of a certificate that cannot be used, or not for long.
const ALARM: &str = "http_certificate";
/// The first byte of a TLS connection: a record of the handshake. Source: RFC 8446, 5.1.
const HANDSHAKE: u8 = 22;

/// The screen's certificate and what TLS is spoken with.
pub(super) struct Tls {
    files: (PathBuf, PathBuf),
    shown: Arc<Shown>,
    acceptor: TlsAcceptor,
    known: Mutex<Known>,
}

/// What was read of the files.
#[derive(Default)]
struct Known {
    /// How they looked then.
    marks: Option<Marks>,
    /// The time in which what is shown is valid.
    term: Option<Term>,
    /// What is wrong with them since.
    fault: Option<PaperFault>,
}

/// What is shown to who connects; none before it could be read.
#[derive(Default)]
struct Shown(RwLock<Option<Arc<CertifiedKey>>>);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Tls {
    /// TLS 1.3 or 1.2 with a certificate and a key, which are not read yet.
    #[expect(clippy::expect_used, reason = "the provider speaks both versions")]
    pub(super) fn new(files: (PathBuf, PathBuf)) -> Self {
        let shown = Arc::new(Shown::default());
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.3 and 1.2")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { files, shown, acceptor: TlsAcceptor::from(Arc::new(config)), known: Mutex::default() }
    }

    /// Whether there is a certificate to show.
    pub(super) fn is_ready(&self) -> bool {
        self.shown.0.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Reads the files if they are not as they were. What cannot be used changes nothing but what [`Tls::alarm`] says.
    pub(super) async fn look(self: &Arc<Self>) {
        let tls = Arc::clone(self);
        if let Err(error) = tokio::task::spawn_blocking(move || tls.read()).await {
            warn!(%error, "the screen's certificate was not looked at; tried again");
        }
    }

    fn read(&self) {
        // Marked before it is read: what is replaced meanwhile is seen as new at the next look.
        let marks = Marks::of_screen(&self.files);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.marks.as_ref() == Some(&marks) {
            return;
        }
        known.marks = Some(marks);
        match Papers::of_screen(&self.files) {
            Ok(papers) => {
                papers.warnings.iter().for_each(|warning| warn!("{warning}"));
                known.term = papers.terms.into_iter().next();
                known.fault = None;
                let until = known.term.as_ref().map(Term::end);
                info!(until, "the screen shows the certificate in {}", self.files.0.display());
                *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = papers.own;
            }
            Err(fault) => {
                warn!("{fault}");
                known.fault = Some(fault);
            }
        }
    }

    /// What a person should know of the certificate.
    fn alarm(&self, now_ms: UnixMs) -> Option<Alarm> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let alarm = |severity, text: String, advice: String| Alarm {
            name: ALARM.into(),
            severity,
            since_ms: now_ms,
            text,
            advice,
            count: 1,
        };
        if let Some(fault) = &known.fault {
            let stands = if self.is_ready() { "the one before is still shown" } else { "nobody reaches the screen" };
            let text = format!("The screen's certificate cannot be used, {stands}: {}.", fault.text);
            return Some(alarm(Severity::Fault, text, format!("{}: {}.", fault.key, fault.remedy)));
        }
        let (text, is_close) = known.term.as_ref()?.worry(now_ms.div_euclid(1000))?;
        let severity = if is_close { Severity::Fault } else { Severity::Warn };
        Some(alarm(severity, text, "Renew it; the files are read again by themselves.".into()))
    }

    /// Raises or ends the alarm.
    pub(super) fn judge(&self, front: &Front) {
        match self.alarm(front.now_ms()) {
            Some(alarm) => front.board.raise(alarm),
            None => front.board.clear(ALARM),
        }
    }

    /// Whether who connects speaks TLS; not when nothing comes in time.
    ///
    /// # Errors
    /// When the connection is gone, or silent.
    pub(super) async fn is_spoken(tcp: &TcpStream, within: Duration) -> io::Result<bool> {
        let mut first = [0];
        let n = timeout(within, tcp.peek(&mut first)).await??;
        if n == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(first[0] == HANDSHAKE) }
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// When it fails or takes too long: the other end does not trust the certificate, most likely.
    pub(super) async fn accept<I>(&self, io: I, within: Duration) -> io::Result<TlsStream<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        timeout(within, self.acceptor.accept(io)).await?
    }
}

/// What is answered at every address to who comes without TLS: the same address with it.
pub(super) fn moved(front: &Arc<Front>) -> Router {
    Router::new()
        .fallback(to_https)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(front), guard::pass_in_the_clear))
}

async fn to_https(request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let to = host.and_then(|host| HeaderValue::from_str(&format!("https://{host}{path}")).ok());
    let mut response = (StatusCode::PERMANENT_REDIRECT, "This address speaks https.\n").into_response();
    if let Some(to) = to {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}
