//! What went wrong between the node and the broker's TLS, for people: which certificate, why, and by what time.

use std::io;

use jiff::Timestamp;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use crate::domain::TimeQuality;
use crate::health::ReconnectReason;

use super::fault::{Fault, Mend};
use super::tls::{Judge, Secure};

/// Names of a wrong certificate that are told.
const NAMES_MAX: usize = 4;

/// The handshake failed.
pub(super) fn refused(secure: &Secure, error: &io::Error) -> Fault {
    if let Some(fault) = broken(secure, error) {
        return fault;
    }
    let Secure { host, port, .. } = secure;
    let how = match error.kind() {
        io::ErrorKind::UnexpectedEof => "closed".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "cut".to_owned(),
        _ => return fault(error.to_string()),
    };
    fault(format!(
        "{host}:{port} {how} the connection during the TLS handshake without a reason: a port that speaks MQTT in the clear \
         does that (1883 mostly; TLS is 8883), or a broker that does not like what it was shown"
    ))
}

/// What TLS has to say of an error; none when it was the line.
pub(super) fn broken(secure: &Secure, error: &io::Error) -> Option<Fault> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(why) => certificate(secure, why),
        Error::AlertReceived(alert) => fault(alerted(secure, *alert)),
        Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            let Secure { host, port, .. } = secure;
            fault(format!(
                "{host}:{port} answers in the clear, without TLS: another port is meant (TLS is 8883 mostly)"
            ))
        }
        Error::PeerIncompatible(why) => {
            fault(format!("the broker speaks no TLS 1.2 or 1.3 that is still thought safe: {why:?}"))
        }
        other => fault(format!("TLS with the broker failed: {other}")),
    })
}

fn fault(text: String) -> Fault {
    Fault { mend: Some(Mend::Tls), ..Fault::given_up(ReconnectReason::Tls, text) }
}

/// The broker's certificate will not do.
fn certificate(secure: &Secure, why: &CertificateError) -> Fault {
    use CertificateError as C;
    let Secure { host, judge, ca_file, .. } = secure;
    let whom = || match ca_file {
        Some(file) => format!("no CA in uplink.ca_file {}", file.display()),
        None => "no CA of the system's list; name your own in uplink.ca_file".to_owned(),
    };
    fault(match why {
        C::UnknownIssuer => format!("the broker's certificate is signed by {}", whom()),
        C::BadSignature => {
            format!("the broker's certificate bears the name of a CA that the node trusts, but {} signed it", whom())
        }
        C::ExpiredContext { not_after, .. } => {
            format!("the broker's certificate ended on {}; {}", utc(*not_after), by(*judge))
        }
        C::NotValidYetContext { not_before, .. } => {
            let text = format!("the broker's certificate is not valid before {}; {}", utc(*not_before), by(*judge));
            let mend = if judge.tq.is_trusted() { Mend::Tls } else { Mend::Clock };
            return Fault { mend: Some(mend), ..fault(text) };
        }
        C::NotValidForNameContext { presented, .. } => {
            format!(
                "the broker's certificate is for {}, not for {host}, which is the host in uplink.url",
                named(presented)
            )
        }
        C::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "the broker shows the certificate of a CA; it needs one of its own that the CA has signed (CA:FALSE)"
                .to_owned()
        }
        other => format!("the broker's certificate cannot be used: {other}"),
    })
}

/// The names in a certificate, which come as `DnsName("broker.example")` or `IpAddress(10.0.0.1)`.
fn named(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inside =
            name.split_once('(').map_or(name.as_str(), |(_, inside)| inside.strip_suffix(')').unwrap_or(inside));
        inside.trim_matches('"').to_owned()
    };
    let names: Vec<String> = presented.iter().take(NAMES_MAX).map(bare).collect();
    match presented.len() {
        0 => "no name at all".to_owned(),
        n if n > NAMES_MAX => format!("{} and {} more", names.join(", "), n - NAMES_MAX),
        _ => names.join(", "),
    }
}

/// Why the broker broke off.
fn alerted(secure: &Secure, alert: AlertDescription) -> String {
    use AlertDescription as A;
    let shows = secure.shows;
    match alert {
        A::CertificateRequired => {
            "the broker wants a certificate of the node: set uplink.cert_file and key_file".to_owned()
        }
        A::HandshakeFailure | A::BadCertificate if !shows => format!(
            "the broker broke off the handshake ({alert:?}); it may want a certificate of the node: set uplink.cert_file \
             and key_file"
        ),
        A::CertificateExpired if shows => {
            "the broker refuses the node's certificate: it has ended; renew uplink.cert_file".to_owned()
        }
        A::UnknownCA | A::DecryptError if shows => format!(
            "the broker refuses the node's certificate ({alert:?}): it trusts another CA than the one that signed \
             uplink.cert_file"
        ),
        A::CertificateRevoked if shows => "the broker refuses the node's certificate: it was revoked".to_owned(),
        A::BadCertificate
        | A::CertificateUnknown
        | A::UnsupportedCertificate
        | A::AccessDenied
        | A::HandshakeFailure
            if shows =>
        {
            format!("the broker refuses the node's certificate ({alert:?}): its log says why")
        }
        A::ProtocolVersion => "the broker speaks neither TLS 1.2 nor 1.3".to_owned(),
        A::UnrecognisedName => format!("the broker does not know itself as {}", secure.host),
        other => format!("the broker broke TLS off: {other:?}"),
    }
}

/// By what time it was judged.
fn by(judge: Judge) -> String {
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_millis(u64::try_from(judge.at_ms).unwrap_or(0)));
    match judge.tq {
        TimeQuality::None => format!(
            "the node does not know the time and goes by the latest it is sure of, {}; it tries again when it knows",
            utc(at)
        ),
        tq => format!("the node's time is {}, from {}", utc(at), tq.as_str()),
    }
}

fn utc(at: UnixTime) -> String {
    // Behind the year 9999 it is as good as never.
    let at = i64::try_from(at.as_secs()).ok().and_then(|s| Timestamp::from_second(s).ok());
    at.map_or_else(|| "a day beyond all calendars".to_owned(), |at| at.to_string())
}
