//! Reading certificates and keys, and seeing that their files have changed.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{PemObject, SectionKind, from_buf};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::{TlsError, TlsWarning};
use super::provider;
use super::validity::validity;

/// Largest file of certificates or keys. That of all the world's authorities has a quarter of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A certificate chain with its private key.
pub(super) struct Identity {
    pub(super) key: CertifiedKey,
    pub(super) warnings: Vec<TlsWarning>,
}

impl Identity {
    pub(super) fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = certificates(cert)?;
        let warnings = chain.iter().filter_map(|found| warning(cert, found)).collect();
        let chain = chain.into_iter().map(|found| found.der).collect();
        let private = private_key(key)?;
        let key = CertifiedKey::from_der(chain, private, &provider()).map_err(|error| {
            let (path, cert) = (key.to_path_buf(), cert.to_path_buf());
            match error {
                rustls::Error::InconsistentKeys(_) => TlsError::KeyMismatch { cert, key: path },
                // The chain is only parsed to compare its key.
                source @ rustls::Error::InvalidCertificate(_) => {
                    TlsError::Certificate { path: cert, line: 1, source }
                }
                source => TlsError::Key { path, source },
            }
        })?;
        Ok(Self { key, warnings })
    }
}

/// The certificates of a file as authorities to trust.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for Found { der, line } in certificates(path)? {
        let bad = |source| TlsError::Certificate { path: path.to_path_buf(), line, source };
        roots.add(der).map_err(bad)?;
    }
    Ok(roots)
}

/// A certificate and the line of the file where it begins, from 1.
struct Found {
    der: CertificateDer<'static>,
    line: usize,
}

fn certificates(path: &Path) -> Result<Vec<Found>, TlsError> {
    let mut found = Vec::new();
    sections(path, |kind, der, line| {
        if kind == SectionKind::Certificate {
            found.push(Found { der: der.into(), line });
        }
    })?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_path_buf() });
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let mut found = None;
    let bytes = sections(path, |kind, der, _| {
        if found.is_none() {
            found = PrivateKeyDer::from_pem(kind, der);
        }
    })?;
    let is_encrypted = || {
        let has = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
        has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED")
    };
    // The older format is encrypted in a section of the plain kind.
    match found {
        _ if is_encrypted() => Err(TlsError::EncryptedKey { path: path.to_path_buf() }),
        Some(key) => Ok(key),
        None => Err(TlsError::NoKey { path: path.to_path_buf() }),
    }
}

/// Calls `each` with the kind, content, and line of each PEM section; returns the file.
fn sections(
    path: &Path,
    mut each: impl FnMut(SectionKind, Vec<u8>, usize),
) -> Result<Vec<u8>, TlsError> {
    let bytes = read(path)?;
    let mut rest = bytes.as_slice();
    loop {
        let section = from_buf(&mut rest);
        let done = bytes.get(..bytes.len() - rest.len()).unwrap_or_default();
        let line = last_section_line(done);
        match section {
            Ok(None) => return Ok(bytes),
            Ok(Some((kind, der))) => each(kind, der, line),
            // Within an encrypted key of the older format there is more than base64.
            Err(_) if is_encrypted_section(done) => {}
            Err(source) => {
                return Err(TlsError::Pem { path: path.to_path_buf(), line, source });
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(TlsError::TooLarge { path: path.to_path_buf(), bytes_max: FILE_BYTES_MAX });
    }
    Ok(bytes)
}

/// The line, from 1, where the last section of this text begins.
fn last_section_line(text: &[u8]) -> usize {
    let lines = || text.split(|byte| *byte == b'\n').enumerate();
    let begins = lines().filter(|(_, line)| line.starts_with(b"-----BEGIN"));
    begins.map(|(index, _)| index + 1).last().unwrap_or(1)
}

fn is_encrypted_section(text: &[u8]) -> bool {
    let mut lines = text.rsplit(|byte| *byte == b'\n');
    let section = lines.by_ref().take_while(|line| !line.starts_with(b"-----BEGIN"));
    section.into_iter().any(|line| line.starts_with(b"Proc-Type: 4,ENCRYPTED"))
}

fn warning(path: &Path, found: &Found) -> Option<TlsWarning> {
    let (from, until) = validity(&found.der)?;
    let (path, line, now) = (path.to_path_buf(), found.line, SystemTime::now());
    if now > until {
        return Some(TlsWarning::Expired { path, line, until });
    }
    (now < from).then_some(TlsWarning::NotYetValid { path, line, from })
}

/// The files of a configuration, as they were when it was last loaded.
#[derive(Debug)]
pub(super) struct Watch {
    paths: Vec<PathBuf>,
    seen: Mutex<Vec<Option<Stamp>>>,
}

impl Watch {
    /// To be made before the files are read: what changes in between is then seen as a change.
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        let seen = Mutex::new(stamps(&paths));
        Self { paths, seen }
    }

    pub(super) fn has_changed(&self) -> bool {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) != stamps(&self.paths)
    }

    /// Loads anew, one at a time. Files that were found bad count as seen, so that they are not
    /// complained of until they change again; files that could not be read for want of something
    /// else do not.
    pub(super) fn reload(
        &self,
        load: impl FnOnce() -> Result<(), TlsError>,
    ) -> Result<(), TlsError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = stamps(&self.paths);
        let loaded = load();
        let is_passing = |error: &TlsError| match error {
            TlsError::Read { source, .. } => {
                !matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
            }
            _ => false,
        };
        if !loaded.as_ref().is_err_and(is_passing) {
            *seen = found;
        }
        loaded
    }
}

/// What tells one state of a file from another. Symbolic links are followed, so that one turned to
/// another file is a change too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some(Stamp {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    };
    paths.iter().map(stamp).collect()
}
