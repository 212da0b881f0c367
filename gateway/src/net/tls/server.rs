//! The accepting side: who to be, and which clients to let in.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;

use super::error::{TlsError, TlsWarning};
use super::files::{Identity, Watch, authorities};
use super::provider;

/// Where a server's configuration comes from. All files are PEM.
#[derive(Clone, Debug)]
pub struct TlsServerFiles {
    /// The server's certificate, then those that lead to its authority.
    pub cert: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
    /// Which clients to let in.
    pub client_auth: ClientAuth,
    /// Application protocols to accept, best first.
    pub alpn: Vec<&'static [u8]>,
}

/// Which clients a server lets in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// All; none is asked for a certificate.
    #[default]
    None,
    /// Those without a certificate, and those with one of an authority in this file.
    Optional(PathBuf),
    /// Those with a certificate of an authority in this file.
    Required(PathBuf),
}

/// The accepting side of TLS connections, reloadable.
pub struct TlsServer {
    files: TlsServerFiles,
    watch: Watch,
    loaded: ArcSwap<Loaded>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    warnings: Vec<TlsWarning>,
}

impl TlsServer {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn load(files: &TlsServerFiles) -> Result<Self, TlsError> {
        let mut paths = vec![files.cert.clone(), files.key.clone()];
        if let ClientAuth::Optional(ca) | ClientAuth::Required(ca) = &files.client_auth {
            paths.push(ca.clone());
        }
        let watch = Watch::new(paths);
        let loaded = ArcSwap::from_pointee(load(files)?);
        Ok(Self { files: files.clone(), watch, loaded })
    }

    /// Reads the files again; handshakes from now on use what is in them.
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

    /// What is in force; to be asked at each handshake.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded.load().config)
    }
}

/// Without what is in the files, which is long and in part secret.
impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer").field("files", &self.files).finish_non_exhaustive()
    }
}

fn load(files: &TlsServerFiles) -> Result<Loaded, TlsError> {
    let verifier = match &files.client_auth {
        ClientAuth::None => WebPkiClientVerifier::no_client_auth(),
        ClientAuth::Optional(ca) => verifier(ca, |builder| builder.allow_unauthenticated())?,
        ClientAuth::Required(ca) => verifier(ca, |builder| builder)?,
    };
    let Identity { key, warnings } = Identity::load(&files.cert, &files.key)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Configuration)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = files.alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // A sender of logs seldom reads. Tickets left unread when it closes would make its kernel reset
    // the connection, and what was still on its way would be lost.
    config.send_tls13_tickets = 0;
    Ok(Loaded { config: Arc::new(config), warnings })
}

type VerifierBuilder = rustls::server::ClientCertVerifierBuilder;

fn verifier(
    ca: &std::path::Path,
    with: impl FnOnce(VerifierBuilder) -> VerifierBuilder,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(authorities(ca)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    // There is at least one authority, and no revocation list that could be wrong.
    with(builder).build().map_err(|_| TlsError::NoCertificate { path: ca.to_path_buf() })
}
