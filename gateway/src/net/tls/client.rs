//! The client's side: whom to trust, and who to be.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use rustls::client::WebPkiServerVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;

use super::error::{TlsError, TlsWarning};
use super::files::{Identity, Watch, authorities};
use super::provider;

/// Where a client's configuration comes from. All files are PEM.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// The authorities to trust, instead of those of the system.
    pub ca: Option<PathBuf>,
    /// The client's certificate, then those that lead to its authority.
    pub cert: Option<PathBuf>,
    /// The private key of the certificate.
    pub key: Option<PathBuf>,
    /// The name to expect in the peer's certificate, if it is not the host that is dialled.
    pub server_name: Option<String>,
    /// Application protocols to offer, best first.
    pub alpn: Vec<&'static [u8]>,
}

/// The client's side of TLS connections, reloadable.
pub struct TlsClient {
    files: TlsFiles,
    server_name: Option<ServerName<'static>>,
    watch: Watch,
    loaded: ArcSwap<Loaded>,
}

struct Loaded {
    config: Arc<ClientConfig>,
    warnings: Vec<TlsWarning>,
}

impl TlsClient {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let server_name = match &files.server_name {
            Some(name) => {
                Some(server_name(name).ok_or_else(|| TlsError::ServerName { name: name.clone() })?)
            }
            None => None,
        };
        let paths = [&files.ca, &files.cert, &files.key].into_iter().flatten().cloned().collect();
        let watch = Watch::new(paths);
        let loaded = ArcSwap::from_pointee(load(files)?);
        Ok(Self { files: files.clone(), server_name, watch, loaded })
    }

    /// Reads the files again; connections made from now on use what is in them.
    ///
    /// # Errors
    /// What is wrong with them; what was in force stays so.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.watch.reload(|| {
            self.loaded.store(Arc::new(load(&self.files)?));
            Ok(())
        })
    }

    /// Whether a file is another one, or has other content, than when it was last loaded.
    pub fn changed(&self) -> bool {
        self.watch.has_changed()
    }

    /// What is in force, but will hardly be accepted.
    pub fn warnings(&self) -> Vec<TlsWarning> {
        self.loaded.load().warnings.clone()
    }

    pub(in crate::net) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.loaded.load().config)
    }

    /// The name that a peer dialled as `host` must prove to be.
    pub(in crate::net) fn name_for(&self, host: &str) -> Option<ServerName<'static>> {
        self.server_name.clone().or_else(|| server_name(host))
    }
}

/// Without what is in the files, which is long and in part secret.
impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("files", &self.files).finish_non_exhaustive()
    }
}

fn server_name(host: &str) -> Option<ServerName<'static>> {
    // Neither the root's dot nor an IPv6 zone is part of a name in a certificate.
    let host = host.strip_suffix('.').unwrap_or(host);
    let host = host.split_once('%').map_or(host, |(address, _)| address);
    ServerName::try_from(host.to_owned()).ok()
}

fn load(files: &TlsFiles) -> Result<Loaded, TlsError> {
    let roots = match &files.ca {
        Some(path) => Arc::new(authorities(path)?),
        None => system_authorities()?,
    };
    let provider = provider();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .build()
        // Only revocation lists could be wrong here, and there are none.
        .map_err(|_| TlsError::NoRoots)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Configuration)?
        .with_webpki_verifier(verifier);
    let (mut config, warnings) = match (&files.cert, &files.key) {
        (None, None) => (config.with_no_client_auth(), Vec::new()),
        (Some(cert), Some(key)) => {
            let Identity { key, warnings } = Identity::load(cert, key)?;
            let resolver = Arc::new(SingleCertAndKey::from(key));
            (config.with_client_cert_resolver(resolver), warnings)
        }
        (Some(_), None) => return Err(TlsError::KeyMissing),
        (None, Some(_)) => return Err(TlsError::CertMissing),
    };
    config.alpn_protocols = files.alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Loaded { config: Arc::new(config), warnings })
}

/// Those of the system, read once per process.
fn system_authorities() -> Result<Arc<RootCertStore>, TlsError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        // A few that cannot be read or used are no reason not to trust the others.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    Ok(Arc::clone(roots))
}
