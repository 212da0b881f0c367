//! Certificates for tests, good ones and each kind of bad one, as PEM files in a scratch folder.

use std::path::PathBuf;
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use crate::{PeerKind, Scratch};

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM, PKCS #8.
    pub key: PathBuf,
}

/// An authority, and what it and a stranger have signed. Those for servers are for `localhost` and
/// 127.0.0.1 unless said otherwise.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's own certificate.
    pub ca: PathBuf,
    /// That of another authority, which signed `stranger` and `stranger_client`.
    pub other_ca: PathBuf,
    /// A good server certificate.
    pub server: Pair,
    /// A good client certificate, for the name `client.example`.
    pub client: Pair,
    /// A server certificate that expired in 2021.
    pub expired: Pair,
    /// A server certificate for `other.example` only.
    pub wrong_name: Pair,
    /// A server certificate by the other authority.
    pub stranger: Pair,
    /// A client certificate by the other authority.
    pub stranger_client: Pair,
}

/// The names that tests reach servers by.
const LOCAL: [&str; 2] = ["localhost", "127.0.0.1"];

impl Certificates {
    /// Makes all of them, with new keys, as files in the folder.
    ///
    /// # Panics
    /// When a key or a file cannot be made.
    #[must_use]
    pub fn new(scratch: &Scratch) -> Self {
        let own = Authority::new(scratch, "ca", ecdsa_key);
        let other = Authority::new(scratch, "other-ca", ecdsa_key);
        let expired = |params: &mut CertificateParams| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        };
        Self {
            server: own.issue(scratch, "server", &LOCAL, |_| {}),
            client: own.issue(scratch, "client", &["client.example"], |_| {}),
            expired: own.issue(scratch, "expired", &LOCAL, expired),
            wrong_name: own.issue(scratch, "wrong-name", &["other.example"], |_| {}),
            stranger: other.issue(scratch, "stranger", &LOCAL, |_| {}),
            stranger_client: other.issue(scratch, "stranger-client", &["client.example"], |_| {}),
            ca: own.file,
            other_ca: other.file,
        }
    }

    /// The certificate of an authority and a good one of a server, both with keys for RSA, in the same
    /// files as `ca` and `server`.
    ///
    /// # Panics
    /// When openssl is not installed, or a file cannot be made.
    #[must_use]
    pub fn rsa(scratch: &Scratch) -> (PathBuf, Pair) {
        let own = Authority::new(scratch, "ca", rsa_key);
        let server = own.issue(scratch, "server", &LOCAL, |_| {});
        (own.file, server)
    }

    /// The key of a drain or route by which it trusts the authority.
    #[must_use]
    pub fn trusted(&self) -> String {
        format!("ca = \"{}\"\n", self.ca.display())
    }
}

fn ecdsa_key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

/// By openssl: a library that only signs by RSA makes no keys for it.
fn rsa_key() -> KeyPair {
    let mut command = Command::new(PeerKind::Openssl.program().expect("openssl"));
    command.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let output = command.output().expect("openssl starts");
    let pem = String::from_utf8(output.stdout).expect("PEM");
    KeyPair::from_pem(&pem).expect("a key")
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
    /// Makes the keys of what it signs.
    new_key: fn() -> KeyPair,
}

impl Authority {
    fn new(scratch: &Scratch, name: &str, new_key: fn() -> KeyPair) -> Self {
        let key = new_key();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("logboom tests {name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("a certificate");
        let file = scratch.write(&format!("{name}.pem"), certificate.pem());
        Self { issuer: Issuer::new(params, key), file, new_key }
    }

    fn issue(
        &self,
        scratch: &Scratch,
        file: &str,
        names: &[&str],
        change: impl Fn(&mut CertificateParams),
    ) -> Pair {
        let key = (self.new_key)();
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).expect("names");
        params.distinguished_name.push(DnType::CommonName, names[0].clone());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair {
            certificate: scratch.write(&format!("{file}.pem"), certificate.pem()),
            key: scratch.write(&format!("{file}.key"), key.serialize_pem()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::is_missing;

    /// What `openssl verify` says of a certificate for a server of this name.
    fn verify(ca: &Path, name: &str, certificate: &Path) -> Result<(), String> {
        let mut command = Command::new(PeerKind::Openssl.program().expect("openssl"));
        command.arg("verify").arg("-CAfile").arg(ca);
        command.args(["-purpose", "sslserver", "-verify_hostname", name]).arg(certificate);
        let output = command.output().expect("openssl starts");
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    #[test]
    fn openssl_accepts_the_good_and_names_what_is_bad_of_the_others() {
        if is_missing(PeerKind::Openssl) {
            return;
        }
        let scratch = Scratch::new("certificates");
        let all = Certificates::new(&scratch);
        let bad = |name: &str, pair: &Pair| {
            verify(&all.ca, name, &pair.certificate).expect_err("refused")
        };
        assert_eq!(verify(&all.ca, "localhost", &all.server.certificate), Ok(()));
        assert_eq!(verify(&all.ca, "client.example", &all.client.certificate), Ok(()));
        assert_eq!(verify(&all.other_ca, "localhost", &all.stranger.certificate), Ok(()));
        assert!(bad("localhost", &all.expired).contains("expired"));
        assert!(bad("localhost", &all.wrong_name).contains("hostname mismatch"));
        assert!(bad("localhost", &all.stranger).contains("unable to get local issuer"));
        assert!(bad("client.example", &all.stranger_client).contains("unable to get local issuer"));
    }
}
