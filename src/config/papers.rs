//! The papers behind `mqtts://` and `https://`: whom the node trusts and who it says it is. Read and judged at each connect, when
//! they were replaced, and by `waypost check`; a key is never shown, not even in an error.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode, Reader, SliceReader, Tag, Tagged};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys, RootCertStore};

use super::Uplink;

/// The longest file that is read. Bytes; a bundle of every public CA has a quarter of it
const PEM_MAX: u64 = 1 << 20;
/// The longest password. Bytes; its length is 16 bits in a CONNECT
const PASSWORD_MAX: u64 = 65_535;
/// The longest file of a PIN. Bytes
const PIN_FILE_MAX: u64 = 64;
const DAY_S: i64 = 86_400;

/// Whom a node trusts, and what it shows of itself.
#[derive(Clone, Debug)]
pub struct Papers {
    /// Who may have signed the broker's certificate.
    pub roots: Arc<RootCertStore>,
    /// The node's certificate with its key; none when it has none to show.
    pub own: Option<Arc<CertifiedKey>>,
    /// When what the node's files hold is valid.
    pub terms: Vec<Term>,
    /// What should be known although it can be used.
    pub warnings: Vec<PaperFault>,
}

/// From when until when something is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Of what, for people: `the node's certificate`.
    pub of: String,
    /// Its first second. Unit: seconds since 1970.
    pub from_s: i64,
    /// Its last second. Unit: seconds since 1970.
    pub until_s: i64,
}

impl Term {
    /// Days before its end from which on it is worth a word.
    pub const WARN_DAYS: i64 = 30;
    /// Days before its end from which on somebody has to act.
    pub const FAULT_DAYS: i64 = 7;

    /// Whole days until its end, seen from `now_s` (seconds since 1970); below 0 when it is over.
    #[must_use]
    pub const fn days_left(&self, now_s: i64) -> i64 {
        self.until_s.saturating_sub(now_s).div_euclid(DAY_S)
    }

    /// What there is to say of its end, seen from `now_s` (seconds since 1970); none while it is far.
    #[must_use]
    pub fn ending(&self, now_s: i64) -> Option<String> {
        let (of, end) = (&self.of, self.end());
        match self.days_left(now_s) {
            ..0 => Some(format!("{of} ended on {end}")),
            0 => Some(format!("{of} ends within a day, on {end}")),
            1 => Some(format!("{of} ends in 1 day, on {end}")),
            days @ 2..=Self::WARN_DAYS => Some(format!("{of} ends in {days} days, on {end}")),
            _ => None,
        }
    }

    /// The same as a sentence, and whether somebody has to act by now.
    #[must_use]
    pub fn worry(&self, now_s: i64) -> Option<(String, bool)> {
        let mut text = self.ending(now_s)? + ".";
        text.get_mut(..1)?.make_ascii_uppercase();
        Some((text, self.days_left(now_s) <= Self::FAULT_DAYS))
    }

    /// Its last second as people write it, in UTC.
    #[must_use]
    pub fn end(&self) -> String {
        utc(self.until_s)
    }

    /// That it has not begun by `now_s` (seconds since 1970); none when it has.
    #[must_use]
    pub fn beginning(&self, now_s: i64) -> Option<String> {
        (now_s < self.from_s).then(|| format!("{} is not valid before {}", self.of, utc(self.from_s)))
    }

    /// The time in which every certificate of a chain is valid; none when one of them tells no times.
    #[must_use]
    pub fn of_chain(of: &str, chain: &[CertificateDer<'_>]) -> Option<Self> {
        let spans = chain.iter().map(|one| validity(one).ok()).collect::<Option<Vec<_>>>()?;
        let (from_s, until_s) = (spans.iter().map(|span| span.0).max()?, spans.iter().map(|span| span.1).min()?);
        Some(Self { of: of.to_owned(), from_s, until_s })
    }

    /// The time in which one at least of several CAs is valid: an old and a new one stand side by side for a while.
    fn of_any(of: String, all: &[CertificateDer<'_>]) -> Option<Self> {
        let spans: Vec<_> = all.iter().filter_map(|one| validity(one).ok()).collect();
        let (from_s, until_s) = (spans.iter().map(|span| span.0).min()?, spans.iter().map(|span| span.1).max()?);
        Some(Self { of, from_s, until_s })
    }
}

/// A file that cannot be used, or not without a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaperFault {
    /// The key that names it, e.g. `uplink.ca_file`.
    pub key: &'static str,
    /// What is wrong, with the file.
    pub text: String,
    /// What to do.
    pub remedy: String,
    /// Whether it could not be read at all, perhaps only not by who asks.
    pub is_unreadable: bool,
}

impl fmt::Display for PaperFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.key, self.text, self.remedy)
    }
}

/// How the files look from outside: another value says that one of them was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks(Vec<Option<(u64, u64, i64, i64)>>);

impl Marks {
    /// As they are now.
    #[must_use]
    pub fn look(uplink: &Uplink) -> Self {
        let own = uplink.identity.as_ref().map(|(cert, key)| [cert, key]);
        Self::of(uplink.ca_file.iter().chain(own.into_iter().flatten()))
    }

    /// Those of the screen's certificate and key.
    #[must_use]
    pub fn of_screen((cert, key): &(PathBuf, PathBuf)) -> Self {
        Self::of([cert, key].into_iter())
    }

    /// That of one file.
    #[must_use]
    pub fn of_file(file: &PathBuf) -> Self {
        Self::of(std::iter::once(file))
    }

    fn of<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Self {
        let mark = |found: fs::Metadata| (found.ino(), found.len(), found.mtime(), found.mtime_nsec());
        Self(files.map(|file| fs::metadata(file).ok().map(mark)).collect())
    }
}

impl Papers {
    /// Reads the files of an uplink over `mqtts://`; without a `ca_file` the system's list of CAs.
    ///
    /// # Errors
    /// Every file that cannot be used; one at least.
    pub fn read(uplink: &Uplink) -> Result<Self, Vec<PaperFault>> {
        let roots = trusted(uplink.ca_file.as_deref());
        let own = uplink.identity.as_ref().map(|files| own(files, ["uplink.cert_file", "uplink.key_file"]));
        let (mut wrong, mut terms, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        let roots = roots.map(|(roots, term)| {
            terms.extend(term);
            roots
        });
        let own = own.transpose().map(|own| {
            own.map(|(own, warning)| {
                terms.extend(Term::of_chain("the node's certificate", &own.cert));
                warnings.extend(warning);
                Arc::new(own)
            })
        });
        match (roots, own) {
            (Ok(roots), Ok(own)) => return Ok(Self { roots: Arc::new(roots), own, terms, warnings }),
            (roots, own) => wrong.extend([roots.err(), own.err()].into_iter().flatten()),
        }
        Err(wrong)
    }

    /// Reads the certificate and the key that the screen shows over `https://`. It asks nobody for theirs: it trusts none.
    ///
    /// # Errors
    /// The file that cannot be used.
    pub fn of_screen(files: &(PathBuf, PathBuf)) -> Result<Self, PaperFault> {
        let (own, warning) = own(files, ["http.tls_cert_file", "http.tls_key_file"])?;
        let terms = Term::of_chain("the screen's certificate", &own.cert).into_iter().collect();
        let (roots, warnings) = (Arc::new(RootCertStore::empty()), warning.into_iter().collect());
        Ok(Self { roots, own: Some(Arc::new(own)), terms, warnings })
    }
}

/// The password in a file, without the line end that editors leave.
///
/// # Errors
/// When it cannot be read, is no text, or is longer than MQTT can carry.
pub fn password(file: &Path) -> io::Result<String> {
    // A line end of two characters more is taken off.
    let (bytes, _) = start_of(file, PASSWORD_MAX + 3)?;
    let text = String::from_utf8(bytes).map_err(|_| io::Error::other("it holds bytes that are no UTF-8"))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.len() as u64 > PASSWORD_MAX {
        return Err(io::Error::other("it has over 65535 bytes, the most that MQTT can carry"));
    }
    Ok(password.to_owned())
}

/// The operator PIN in a file; none when there is no file.
///
/// # Errors
/// When it cannot be read, others may read or change it, or it is not 6 to 12 digits.
pub fn pin(file: &Path) -> io::Result<Option<String>> {
    let (bytes, mode) = match start_of(file, PIN_FILE_MAX) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if mode & 0o007 != 0 {
        let path = file.display();
        return Err(io::Error::other(format!(
            "others may read or change {path} (mode {:04o}); run chmod 0640 {path} and chown root:waypost {path}",
            mode & 0o7777
        )));
    }
    let text = String::from_utf8_lossy(&bytes);
    let pin = text.trim_end_matches(['\r', '\n']);
    if is_pin(pin) { Ok(Some(pin.to_owned())) } else { Err(io::Error::other("it is not 6 to 12 digits")) }
}

/// Whether a text can be a PIN: 6 to 12 digits.
#[must_use]
pub fn is_pin(text: &str) -> bool {
    (6..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn trusted(file: Option<&Path>) -> Result<(RootCertStore, Option<Term>), PaperFault> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        let found = rustls_native_certs::load_native_certs();
        // One of a hundred that is not understood trusts one less.
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map_or_else(|| "nothing there".to_owned(), ToString::to_string);
            let text = format!("not set, and the system has no list of CAs in /etc/ssl/certs ({why})");
            return Err(wrong("uplink.ca_file", text, "install ca-certificates, or name the file of your own CA"));
        }
        return Ok((roots, None));
    };
    let certificates = certificates("uplink.ca_file", file)?;
    for (at, certificate) in certificates.iter().enumerate() {
        roots.add(certificate.clone()).map_err(|error| {
            let text = format!("certificate {} in {} is no CA's: {error}", at + 1, file.display());
            wrong("uplink.ca_file", text, "write the certificate of the CA that signed the broker's, as PEM")
        })?;
    }
    Ok((roots, Term::of_any(format!("the CA in {}", file.display()), &certificates)))
}

fn own(
    (cert_file, key_file): &(PathBuf, PathBuf),
    [cert_key, key_key]: [&'static str; 2],
) -> Result<(CertifiedKey, Option<PaperFault>), PaperFault> {
    let chain = certificates(cert_key, cert_file)?;
    let (bytes, mode) = bytes(key_key, key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let sealed = bytes.windows(9).any(|part| part == b"ENCRYPTED");
        let why = if sealed { "holds a key behind a passphrase" } else { "holds no private key as PEM" };
        let remedy = "write the key without passphrase (PKCS#8, SEC1 or PKCS#1); openssl pkey -in OLD -out NEW does it";
        wrong(key_key, format!("{} {why}", key_file.display()), remedy)
    })?;
    let own = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let text = format!("{} is not the key of the certificate in {}", key_file.display(), cert_file.display());
            let remedy =
                "put both in place again: the node's own certificate first in its file, and the key it was made for";
            wrong(key_key, text, remedy)
        }
        Error::InvalidCertificate(why) => {
            let old = format!("{why:?}").contains("UnsupportedCertVersion");
            let (what, remedy) = if old {
                (
                    "a certificate of X.509 version 1",
                    "sign it anew as version 3, with a subjectAltName; see docs/operating/tls.md",
                )
            } else {
                ("what is no certificate", "write the node's certificate first, then those that lead to the CA")
            };
            wrong(cert_key, format!("{} begins with {what}", cert_file.display()), remedy)
        }
        error => {
            let text = format!("the key in {} cannot be used: {error}", key_file.display());
            wrong(key_key, text, "take RSA of 2048 to 8192 bits, ECDSA P-256, P-384 or P-521, or Ed25519")
        }
    })?;
    let open = (mode & 0o007 != 0).then(|| {
        let text = format!("others may read or change {} (mode {:04o})", key_file.display(), mode & 0o7777);
        wrong(key_key, text, format!("run chmod 0640 {0} and chown root:waypost {0}", key_file.display()))
    });
    Ok((own, open))
}

/// The certificates in a file, one at least.
fn certificates(key: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, PaperFault> {
    let (bytes, _) = bytes(key, file)?;
    let remedy = "write it as PEM, with BEGIN CERTIFICATE; openssl x509 -inform der -in FILE makes it of DER";
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|error| wrong(key, format!("{} is broken: {error}", file.display()), remedy))?;
    if all.is_empty() {
        return Err(wrong(key, format!("{} holds no certificate", file.display()), remedy));
    }
    Ok(all)
}

fn bytes(key: &'static str, file: &Path) -> Result<(Vec<u8>, u32), PaperFault> {
    let (bytes, mode) = start_of(file, PEM_MAX + 1).map_err(|error| {
        let text = format!("{} cannot be read: {error}", file.display());
        let remedy = "put it there, root:waypost 0640, in a folder that the service may enter";
        PaperFault { is_unreadable: true, ..wrong(key, text, remedy) }
    })?;
    if bytes.len() as u64 > PEM_MAX {
        return Err(wrong(key, format!("{} has over 1 MiB", file.display()), "write the path of a PEM file"));
    }
    Ok((bytes, mode))
}

/// The first bytes of a file, and its mode. What is none, a pipe that nobody writes to, is not waited for.
fn start_of(file: &Path, bytes_max: u64) -> io::Result<(Vec<u8>, u32)> {
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let (mut bytes, open) = (Vec::new(), File::open(file)?);
    let mode = open.metadata()?.permissions().mode();
    open.take(bytes_max).read_to_end(&mut bytes)?;
    Ok((bytes, mode))
}

fn wrong(key: &'static str, text: String, remedy: impl Into<String>) -> PaperFault {
    PaperFault { key, text, remedy: remedy.into(), is_unreadable: false }
}

/// An instant as people write it; behind the year 9999 it is as good as never.
fn utc(at_s: i64) -> String {
    jiff::Timestamp::from_second(at_s).map_or_else(|_| "a day beyond all calendars".to_owned(), |at| at.to_string())
}

/// First and last second of a certificate, since 1970. Source: RFC 5280, 4.1.
fn validity(certificate: &[u8]) -> der::Result<(i64, i64)> {
    AnyRef::from_der(certificate)?.sequence(|certificate| {
        let signed: AnyRef<'_> = certificate.decode()?;
        let span = signed.sequence(|fields| {
            // Version, absent in version 1; serial number, algorithm, issuer.
            let before = if fields.peek_tag()?.is_context_specific() { 4 } else { 3 };
            for _ in 0..before {
                fields.decode::<AnyRef<'_>>()?;
            }
            let validity: AnyRef<'_> = fields.decode()?;
            rest(fields)?;
            validity.sequence(|times| Ok((second(times.decode()?)?, second(times.decode()?)?)))
        })?;
        rest(certificate)?;
        Ok(span)
    })
}

fn second(time: AnyRef<'_>) -> der::Result<i64> {
    let since = match time.tag() {
        Tag::UtcTime => time.decode_as::<UtcTime>()?.to_unix_duration(),
        _ => time.decode_as::<GeneralizedTime>()?.to_unix_duration(),
    };
    Ok(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Leaves out what follows.
fn rest(reader: &mut SliceReader<'_>) -> der::Result<()> {
    while !reader.is_finished() {
        reader.decode::<AnyRef<'_>>()?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "papers_tests.rs"]
mod tests;
