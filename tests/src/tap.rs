//! Stands between a sender and the gateway and keeps what passes, so that what is delivered can be
//! compared with what really was on the wire.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

/// A forwarder of TCP connections. Its threads end with the connections, the last with the process.
#[derive(Debug)]
pub struct TcpTap {
    address: SocketAddr,
    sessions: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl TcpTap {
    /// Listens, and forwards each connection to `to`.
    ///
    /// # Panics
    /// When there is no port to listen on.
    #[must_use]
    pub fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let sessions = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&sessions);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || forward(stream, to, &kept));
            }
        });
        Self { address, sessions }
    }

    /// Where to send to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came in each session so far.
    ///
    /// # Panics
    /// When a forwarding thread did.
    #[must_use]
    pub fn sessions(&self) -> Vec<Vec<u8>> {
        self.sessions.lock().expect("tap").clone()
    }
}

fn forward(mut from: TcpStream, to: SocketAddr, kept: &Mutex<Vec<Vec<u8>>>) {
    let Ok(mut to) = TcpStream::connect(to) else { return };
    let index = {
        let mut kept = kept.lock().expect("tap");
        kept.push(Vec::new());
        kept.len() - 1
    };
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..read];
        kept.lock().expect("tap")[index].extend_from_slice(bytes);
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Write));
}

/// A forwarder of datagrams.
#[derive(Debug)]
pub struct UdpTap {
    address: SocketAddr,
    datagrams: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl UdpTap {
    /// Listens, and forwards each datagram to `to`.
    ///
    /// # Panics
    /// When there is no port to listen on.
    #[must_use]
    pub fn start(to: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        let datagrams = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&datagrams);
        thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok(read) = socket.recv(&mut buffer) {
                let datagram = &buffer[..read];
                kept.lock().expect("tap").push(datagram.to_vec());
                // A receiver that is not there loses it, as without the tap.
                drop(socket.send_to(datagram, to));
            }
        });
        Self { address, datagrams }
    }

    /// Where to send to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came so far.
    ///
    /// # Panics
    /// When the forwarding thread did.
    #[must_use]
    pub fn datagrams(&self) -> Vec<Vec<u8>> {
        self.datagrams.lock().expect("tap").clone()
    }
}
