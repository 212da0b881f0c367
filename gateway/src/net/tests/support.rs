//! What the tests share: folders, authorities, a name server, sites that speak TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

use crate::net::{
    AcceptError, ClientAuth, DialError, Endpoint, Network, Policy, Resolver, Stream, TlsClient,
    TlsFiles, TlsServer, TlsServerFiles, dial,
};

/// Long enough for a busy machine; reached only by a test that fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a condition.
pub(super) async fn until(what: &str, mut is_met: impl FnMut() -> bool) {
    let waiting = async {
        while !is_met() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let met = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(met.is_ok(), "never: {what}");
}

/// A folder that goes with its test.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name =
            format!("logboom-net-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// An authority.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

/// A certificate and its key, as PEM.
pub(super) struct Pair {
    pub(super) cert: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(super) fn sign(&self, names: &[&str]) -> Pair {
        self.sign_with(names, |_| {})
    }

    pub(super) fn sign_with(
        &self,
        names: &[&str],
        change: impl Fn(&mut CertificateParams),
    ) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { cert, key: key.serialize_pem() }
    }
}

/// The name that the tests' sites have.
pub(super) const NAME: &str = "logs.example.com";

/// A folder with an authority's file, and a site's.
pub(super) struct Site {
    pub(super) folder: Folder,
    pub(super) authority: Authority,
    pub(super) ca: PathBuf,
}

impl Site {
    pub(super) fn new() -> Self {
        let (folder, authority) = (Folder::new(), Authority::new("Test CA"));
        let ca = folder.write("ca.pem", &authority.pem);
        Self { folder, authority, ca }
    }

    pub(super) fn write(&self, name: &str, pair: &Pair) -> (PathBuf, PathBuf) {
        let cert = self.folder.write(&format!("{name}.crt"), &pair.cert);
        let key = self.folder.write(&format!("{name}.key"), &pair.key);
        (cert, key)
    }

    pub(super) fn server(&self, pair: &Pair, client_auth: ClientAuth) -> Arc<TlsServer> {
        let (cert, key) = self.write("server", pair);
        let files = TlsServerFiles { cert, key, client_auth, alpn: vec![b"syslog"] };
        Arc::new(TlsServer::load(&files).unwrap())
    }

    /// A client that trusts the authority.
    pub(super) fn client(&self) -> Arc<TlsClient> {
        self.client_with(|_| {})
    }

    pub(super) fn client_with(&self, change: impl Fn(&mut TlsFiles)) -> Arc<TlsClient> {
        let mut files = TlsFiles { ca: Some(self.ca.clone()), ..TlsFiles::default() };
        change(&mut files);
        Arc::new(TlsClient::load(&files).unwrap())
    }
}

/// A client's files, with the certificate of a pair.
pub(super) fn with_pair(files: &mut TlsFiles, pair: &(PathBuf, PathBuf)) {
    files.cert = Some(pair.0.clone());
    files.key = Some(pair.1.clone());
}

/// Accepts connections and sends back what they say. Tells what came of each.
pub(super) async fn echo(
    tls: Option<Arc<TlsServer>>,
) -> (SocketAddr, mpsc::Receiver<Result<Option<Vec<u8>>, AcceptError>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (tell, tls) = (tell.clone(), tls.clone());
            tokio::spawn(async move {
                let mut stream = match Stream::accept(tcp, tls.as_deref(), PATIENCE).await {
                    Ok(stream) => stream,
                    Err(error) => return drop(tell.send(Err(error)).await),
                };
                drop(tell.send(Ok(stream.alpn().map(<[u8]>::to_vec))).await);
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                    if stream.write_all(&bytes[..length]).await.is_err() {
                        return;
                    }
                    drop(stream.flush().await);
                }
                drop(stream.shutdown().await);
            });
        }
    });
    (address, told)
}

/// Says something and wants to hear it back.
pub(super) async fn assert_echoes(stream: &mut Stream, said: &[u8]) {
    stream.write_all(said).await.unwrap();
    stream.flush().await.unwrap();
    let mut heard = vec![0; said.len()];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(heard, said);
}

/// A name server: answers questions for A with the addresses that `answer` gives for the nth of
/// them, for a time to live of 0, and those for AAAA with none.
pub(crate) async fn name_server(
    answer: impl Fn(usize) -> Vec<Ipv4Addr> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut bytes, mut count) = ([0; 1500], 0);
        while let Ok((length, peer)) = socket.recv_from(&mut bytes).await {
            let asked = &bytes[..length];
            // The header has 12 bytes; then the name, in labels up to an empty one; type; class.
            let mut end = 12;
            while asked[end] != 0 {
                end += 1 + usize::from(asked[end]);
            }
            end += 5;
            let is_a = asked[end - 3] == 1;
            let found = if is_a { answer(count) } else { Vec::new() };
            count += usize::from(is_a);
            let mut reply = asked[..end].to_vec();
            // An answer, recursion available, no error; the counts of each section.
            reply[2..4].copy_from_slice(&[0x81, 0x80]);
            let answers = u8::try_from(found.len()).unwrap();
            reply[4..12].copy_from_slice(&[0, 1, 0, answers, 0, 0, 0, 0]);
            for ip in found {
                // The name of the question, A, IN, 0 s, 4 bytes.
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                reply.extend(ip.octets());
            }
            drop(socket.send_to(&reply, peer).await);
        }
    });
    address
}

/// A network in which every name is at 127.0.0.1.
pub(super) async fn network() -> Network {
    let server = name_server(|_| vec![Ipv4Addr::LOCALHOST]).await;
    let resolver = Resolver::Servers(vec![server]);
    Network { policy: Policy::default(), resolver, ..Network::default() }
}

/// Dials a site of the tests by a name.
pub(super) async fn dial_tls(
    host: &str,
    address: SocketAddr,
    tls: &Arc<TlsClient>,
) -> Result<Stream, DialError> {
    let tls = Some(Arc::clone(tls));
    let endpoint = Endpoint { host: host.to_owned(), port: address.port(), tls, guarded: false };
    dial(&network().await, &endpoint).await
}

/// An error with its causes.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

pub(super) fn append(path: &Path, text: &str) {
    let old = std::fs::read_to_string(path).unwrap();
    std::fs::write(path, old + text).unwrap();
}
