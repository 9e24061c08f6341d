//! A certificate authority of a test's own: it signs for any name and time, and its papers lie in files.

use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// A day. Seconds
pub const DAY_S: i64 = 86_400;

/// The authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, PEM.
    pub pem: String,
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Signed {
    pub cert: String,
    pub key: String,
}

fn valid(params: &mut CertificateParams, (from_s, until_s): (i64, i64)) {
    let at = |s: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(s).unwrap());
    (params.not_before, params.not_after) = (at(from_s), at(until_s));
}

impl Ca {
    /// An authority of this name, valid for long.
    pub fn new(name: &str) -> Self {
        Self::valid(name, (0, 100 * 365 * DAY_S))
    }

    /// An authority that is valid from and until then, in seconds since 1970.
    pub fn valid(name: &str, span: (i64, i64)) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        valid(&mut params, span);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these names and addresses, for both ends of a connection.
    pub fn sign(&self, names: &[&str], span: (i64, i64)) -> Signed {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        valid(&mut params, span);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Signed { cert, key: key.serialize_pem() }
    }

    /// The authority as a server shows itself that has no certificate of its own: a beginner's mistake.
    pub fn itself(&self) -> Signed {
        Signed { cert: self.pem.clone(), key: self.issuer.key().serialize_pem() }
    }

    /// Writes the authority's certificate to a file.
    pub fn write(&self, file: &Path) {
        std::fs::write(file, &self.pem).unwrap();
    }
}

impl Signed {
    /// Writes both as the service wants them: the key is not for everybody.
    pub fn write(&self, cert: &Path, key: &Path) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(cert, &self.cert).unwrap();
        std::fs::write(key, &self.key).unwrap();
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o640)).unwrap();
    }
}
