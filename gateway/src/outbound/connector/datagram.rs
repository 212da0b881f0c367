//! Syslog over UDP (RFC 5426): a record a datagram.

use logboom_codec::encode;
use nix::errno::Errno;
use tokio::net::UdpSocket;

use super::{Failure, dial_failure};
use crate::net::Network;
use crate::outbound::hand::{Hand, Outcome, Progress};

/// A connected UDP socket.
#[derive(Debug)]
pub(in crate::outbound) struct DatagramConnector {
    socket: UdpSocket,
    format: encode::WireFormat,
    bytes_max: usize,
}

impl DatagramConnector {
    /// Opens a socket to a host and port; `to` says too whether its address is to be guarded.
    pub(super) async fn open(
        network: &Network,
        (host, port, guarded): (&str, u16, bool),
        format: encode::WireFormat,
        bytes_max: usize,
    ) -> Result<Self, Failure> {
        let addresses = network.addresses(host, port, guarded).await;
        let addresses = addresses.map_err(|error| dial_failure(&error))?;
        let connected = async {
            let first = addresses.first().copied();
            let address = first.ok_or(std::io::ErrorKind::NotFound)?;
            let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(local).await?;
            socket.connect(address).await?;
            Ok(socket)
        };
        let socket = connected.await.map_err(|error| Failure::io("connect", &error))?;
        Ok(Self { socket, format, bytes_max })
    }

    pub(super) async fn send(
        &mut self,
        hand: &Hand,
        out: &mut Vec<u8>,
        progress: &mut Progress,
    ) -> Result<usize, Failure> {
        let mut sent = 0;
        for (_, record) in hand.unsent_records() {
            out.clear();
            match self.format {
                encode::WireFormat::Rfc5424 => encode::rfc5424(&record, out),
                encode::WireFormat::Rfc3164 => encode::rfc3164(&record, out),
            }
            let outcome = if out.len() > self.bytes_max {
                Outcome::TooLarge
            } else {
                match self.socket.send(out).await {
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
}
