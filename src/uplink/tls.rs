//! TLS with the broker: the node's papers, and the time it judges the broker's by, made into one connection. TLS 1.3 or 1.2,
//! verified always: there is no switch that leaves it out.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::{ClientConfig, Resumption};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{ServerName, UnixTime};
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::time_provider::TimeProvider;

use crate::config::{PaperFault, Papers, Uplink};
use crate::domain::{TimeQuality, UnixMs};
use crate::health::ReconnectReason;

use super::fault::{Fault, Mend};
use super::tls_words;

/// For name, TCP and handshake together: three ways there and back on a slow line.
const DIAL: Duration = Duration::from_secs(15);

/// The time that certificates are judged by, and how far to believe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judge {
    pub at_ms: UnixMs,
    pub tq: TimeQuality,
}

impl TimeProvider for Judge {
    fn current_time(&self) -> Option<UnixTime> {
        u64::try_from(self.at_ms).ok().map(|ms| UnixTime::since_unix_epoch(Duration::from_millis(ms)))
    }
}

/// One connection that is to be made.
pub(super) struct Secure {
    connector: TlsConnector,
    name: ServerName<'static>,
    pub host: String,
    pub port: u16,
    pub judge: Judge,
    /// Of the CA; none is the system's list.
    pub ca_file: Option<PathBuf>,
    /// Whether the node has a certificate to show.
    pub shows: bool,
}

impl Secure {
    /// With these papers, at this time.
    pub fn new(config: &Uplink, papers: &Papers, judge: Judge) -> Result<Self, Fault> {
        let no_host = |error| unusable(format!("uplink.url: {} is no host for a certificate: {error}", config.host));
        let name = ServerName::try_from(config.host.clone()).map_err(|error| no_host(error.to_string()))?;
        let builder = ClientConfig::builder_with_details(Arc::new(ring::default_provider()), Arc::new(judge))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(error.to_string()))?
            .with_root_certificates(Arc::clone(&papers.roots));
        let mut tls = match &papers.own {
            Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(own)))),
            None => builder.with_no_client_auth(),
        };
        // Each connection is judged anew.
        tls.resumption = Resumption::disabled();
        Ok(Self {
            connector: TlsConnector::from(Arc::new(tls)),
            name,
            host: config.host.clone(),
            port: config.port,
            judge,
            ca_file: config.ca_file.clone(),
            shows: papers.own.is_some(),
        })
    }

    /// Connects and shakes hands; nothing else was sent when it fails.
    pub async fn dial(&self) -> Result<TlsStream<TcpStream>, Fault> {
        let unreachable = |text: String| Fault::given_up(ReconnectReason::Unreachable, text);
        let dial = async {
            let connected = TcpStream::connect((self.host.as_str(), self.port)).await;
            let tcp = connected.map_err(|error| unreachable(error.to_string()))?;
            tcp.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
            let shaken = self.connector.connect(self.name.clone(), tcp).await;
            shaken.map_err(|error| tls_words::refused(self, &error))
        };
        let late = || unreachable(format!("no TLS connection within {} s", DIAL.as_secs()));
        tokio::time::timeout(DIAL, dial).await.unwrap_or_else(|_| Err(late()))
    }

    /// What TLS says of the end of a connection; none when it was none of its business.
    pub fn broken(&self, error: &io::Error) -> Option<Fault> {
        tls_words::broken(self, error)
    }
}

/// The node's own files do not do.
pub(super) fn unusable(text: String) -> Fault {
    Fault { mend: Some(Mend::Tls), ..Fault::given_up(ReconnectReason::Tls, text) }
}

/// All of what is wrong with the files.
pub(super) fn unusable_files(wrong: &[PaperFault]) -> Fault {
    unusable(wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join(". "))
}
