//! What is wrong with the files of a TLS configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use rustls_pki_types::pem;

/// Why a configuration cannot come into force.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A section is not a certificate.
    #[error("{}:{line}: this is no usable certificate", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Where the section begins, from 1.
        line: usize,
        /// What the library says.
        source: rustls::Error,
    },
    /// The library does not take it together.
    #[error("the TLS configuration is not usable")]
    Configuration(#[source] rustls::Error),
    /// The private key wants a pass phrase.
    #[error("{}: the private key is encrypted: store it without a pass phrase", path.display())]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is there but cannot be used.
    #[error("{}: the private key cannot be used: it must be RSA, ECDSA, or Ed25519", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What the library says.
        source: rustls::Error,
    },
    /// Certificate and key are not a pair.
    #[error("the private key in {} does not match the first certificate in {}", key.display(), cert.display())]
    KeyMismatch {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// A certificate without a key.
    #[error("`cert` is given but not `key`, the file of its private key")]
    KeyMissing,
    /// A key without a certificate.
    #[error("`key` is given but not `cert`, the file of its certificate")]
    CertMissing,
    /// No certificate in a file that should have one.
    #[error("{}: no certificate in this file: a PEM file is wanted, with -----BEGIN CERTIFICATE-----", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// No key in a file that should have one.
    #[error("{}: no private key in this file: a PEM file is wanted, with -----BEGIN PRIVATE KEY-----", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The system trusts nobody.
    #[error("the system has no trusted certificates: install them, or give a file of them as `ca`")]
    NoRoots,
    /// A section is not well-formed.
    #[error("{}:{line}: this PEM section is damaged", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Where the section begins, from 1.
        line: usize,
        /// What the library says.
        source: pem::Error,
    },
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// Not a name.
    #[error("`server_name` {name:?} is no host name or address")]
    ServerName {
        /// What was given.
        name: String,
    },
    /// Not a file of certificates or keys.
    #[error("{}: more than {bytes_max} bytes: this is not a file of certificates or keys", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is allowed.
        bytes_max: u64,
    },
}

/// A certificate that is in force but will not be accepted by the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsWarning {
    /// It is no longer valid.
    Expired {
        /// The file.
        path: PathBuf,
        /// Where the certificate begins, from 1.
        line: usize,
        /// Its last moment.
        until: SystemTime,
    },
    /// It is not valid yet.
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// Where the certificate begins, from 1.
        line: usize,
        /// Its first moment.
        from: SystemTime,
    },
}

impl fmt::Display for TlsWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { path, line, .. } => {
                write!(f, "{}:{line}: this certificate has expired", path.display())
            }
            Self::NotYetValid { path, line, .. } => {
                write!(f, "{}:{line}: this certificate is not valid yet", path.display())
            }
        }
    }
}
