//! Syslog over UDP (RFC 5426): a record a datagram.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec;

use logboom_codec::encode;
use nix::errno::Errno;
use tokio::net::UdpSocket;

use super::{Failure, dial_failure};
use crate::net::DialError;
use crate::outbound::Common;
use crate::outbound::hand::{Hand, Outcome, Progress};

/// A socket that is older is replaced: nothing else tells that a name has moved.
const RENEW_AFTER: Duration = Duration::from_secs(60);

/// Where datagrams go, and how they look.
#[derive(Debug)]
pub(super) struct DatagramTarget {
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether the address is to be guarded.
    pub(super) guarded: bool,
    pub(super) format: encode::WireFormat,
    pub(super) bytes_max: usize,
}

/// A connected UDP socket.
#[derive(Debug)]
pub(in crate::outbound) struct DatagramConnector {
    common: Arc<Common>,
    target: DatagramTarget,
    socket: UdpSocket,
    /// Addresses that have not been tried yet.
    others: vec::IntoIter<SocketAddr>,
    opened: Instant,
}

impl DatagramConnector {
    pub(super) async fn open(
        common: &Arc<Common>,
        target: DatagramTarget,
    ) -> Result<Self, Failure> {
        let found = addresses(common, &target).await;
        let mut others = found.map_err(|error| dial_failure(&error))?.into_iter();
        let socket = connect_first(&mut others).await;
        let socket = socket.map_err(|error| Failure::io("connect", &error))?;
        let (common, opened) = (Arc::clone(common), Instant::now());
        Ok(Self { common, target, socket, others, opened })
    }

    pub(super) async fn send(
        &mut self,
        hand: &Hand,
        out: &mut Vec<u8>,
        progress: &mut Progress,
    ) -> Result<usize, Failure> {
        self.renew(RENEW_AFTER).await;
        let mut sent = 0;
        for (_, record) in hand.unsent_records() {
            out.clear();
            match self.target.format {
                encode::WireFormat::Rfc5424 => encode::rfc5424(&record, out),
                encode::WireFormat::Rfc3164 => encode::rfc3164(&record, out),
            }
            let outcome = if out.len() > self.target.bytes_max {
                Outcome::TooLarge
            } else {
                match self.send_one(out).await {
                    Ok(n) => {
                        progress.bytes += n;
                        Outcome::Delivered
                    }
                    // The way to this destination takes less than a datagram can have.
                    Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => {
                        Outcome::TooLarge
                    }
                    Err(error) => return Err(Failure::io("write", &error)),
                }
            };
            progress.settle(1, outcome);
            sent += 1;
        }
        Ok(sent)
    }

    /// Sends a datagram; where an earlier one was refused, to the next address.
    async fn send_one(&mut self, datagram: &[u8]) -> io::Result<usize> {
        loop {
            match self.socket.send(datagram).await {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    self.socket = connect_first(&mut self.others).await.map_err(|_| error)?;
                }
                sent => return sent,
            }
        }
    }

    /// Resolves the name again if the socket is older than that. An address that the name still has is
    /// kept to; where the name is not resolved, the old one is.
    async fn renew(&mut self, age: Duration) {
        if self.opened.elapsed() < age {
            return;
        }
        // Whatever comes of it, it is not to be tried for each record.
        self.opened = Instant::now();
        let Ok(mut addresses) = addresses(&self.common, &self.target).await else { return };
        if let Ok(peer) = self.socket.peer_addr() {
            addresses.sort_by_key(|address| *address != peer);
        }
        let mut others = addresses.into_iter();
        if let Ok(socket) = connect_first(&mut others).await {
            (self.socket, self.others) = (socket, others);
        }
    }
}

async fn addresses(common: &Common, target: &DatagramTarget) -> Result<Vec<SocketAddr>, DialError> {
    let network = common.network.load_full();
    network.addresses(&target.host, target.port, target.guarded).await
}

/// A socket to the first of the addresses to which there is a way.
async fn connect_first(addresses: &mut vec::IntoIter<SocketAddr>) -> io::Result<UdpSocket> {
    let mut last = ErrorKind::NotFound.into();
    for address in addresses {
        let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let connected = async {
            let socket = UdpSocket::bind(local).await?;
            socket.connect(address).await?;
            Ok(socket)
        };
        match connected.await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::hand_of;
    use super::*;
    use crate::net::{Network, Resolver, name_server};
    use crate::outbound::tests::Stage;
    use crate::telemetry::ledger::AttemptOutcome;

    const PATIENCE: Duration = Duration::from_secs(20);
    const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

    /// Receivers at both addresses, on one port.
    async fn receivers() -> [UdpSocket; 2] {
        loop {
            let first = UdpSocket::bind((FIRST, 0)).await.unwrap();
            let port = first.local_addr().unwrap().port();
            if let Ok(second) = UdpSocket::bind((SECOND, port)).await {
                return [first, second];
            }
        }
    }

    /// A connector to a name that has these addresses when it is asked for the nth time.
    async fn open(
        name: &str,
        port: u16,
        answer: impl Fn(usize) -> Vec<Ipv4Addr> + Send + 'static,
    ) -> DatagramConnector {
        let stage = Stage::new(name);
        let resolver = Resolver::Servers(vec![name_server(answer).await]);
        stage.common.network.store(Arc::new(Network { resolver, ..Network::default() }));
        let (host, guarded) = ("logs.example.com".to_owned(), false);
        let (format, bytes_max) = (encode::WireFormat::Rfc5424, 1024);
        let target = DatagramTarget { host, port, guarded, format, bytes_max };
        DatagramConnector::open(&stage.common, target).await.unwrap()
    }

    async fn send(connector: &mut DatagramConnector) -> Result<usize, Failure> {
        let (hand, mut progress) = (hand_of(b"<14>1 - - - - - - hello"), Progress::default());
        connector.send(&hand, &mut Vec::new(), &mut progress).await
    }

    async fn received(receiver: &UdpSocket) {
        let received = tokio::time::timeout(PATIENCE, receiver.recv(&mut [0; 64])).await;
        assert!(received.unwrap().unwrap() > 0);
    }

    #[tokio::test]
    async fn a_name_that_moves_is_followed_when_the_socket_is_old() {
        let [first, second] = receivers().await;
        let port = first.local_addr().unwrap().port();
        let answer = |count| vec![if count == 0 { FIRST } else { SECOND }];
        let mut connector = open("udp-moves", port, answer).await;
        send(&mut connector).await.unwrap();
        received(&first).await;
        connector.renew(Duration::from_secs(3600)).await;
        send(&mut connector).await.unwrap();
        received(&first).await;
        connector.renew(Duration::ZERO).await;
        send(&mut connector).await.unwrap();
        received(&second).await;
    }

    #[tokio::test]
    async fn an_address_is_kept_that_the_name_still_has_or_that_nobody_knows_better() {
        let [first, _second] = receivers().await;
        let port = first.local_addr().unwrap().port();
        let answer = |count| match count {
            0 => vec![FIRST],
            1 => vec![SECOND, FIRST],
            _ => Vec::new(),
        };
        let mut connector = open("udp-kept", port, answer).await;
        for _ in 0..3 {
            connector.renew(Duration::ZERO).await;
            send(&mut connector).await.unwrap();
            received(&first).await;
        }
    }

    #[tokio::test]
    async fn where_one_address_refuses_the_next_is_tried() {
        let [first, second] = receivers().await;
        let port = first.local_addr().unwrap().port();
        drop(first);
        let mut connector = open("udp-refused", port, |_| vec![FIRST, SECOND]).await;
        // The first datagram is lost; the refusal of it may come at any time.
        let reach = async {
            loop {
                send(&mut connector).await.unwrap();
                let look = Duration::from_millis(5);
                if tokio::time::timeout(look, second.recv(&mut [0; 64])).await.is_ok() {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, reach).await.unwrap();
        // Where all have refused, it is an attempt that failed.
        drop(second);
        let failure = loop {
            if let Err(failure) = send(&mut connector).await {
                break failure;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(failure.outcome, AttemptOutcome::Refused, "{failure:?}");
    }
}
