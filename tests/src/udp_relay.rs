//! A network of datagrams between one client and one server, which can be cut, and which can give the
//! client another address as a router does.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How long a thread waits for a datagram before it looks whether it is still wanted.
const WAIT: Duration = Duration::from_millis(50);
/// Largest datagram.
const DATAGRAM: usize = 1 << 16;

/// A forwarder. Its threads end with it.
#[derive(Debug)]
pub struct UdpRelay {
    address: SocketAddr,
    to: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    front: UdpSocket,
    back: Mutex<Arc<UdpSocket>>,
    /// Who has sent last, and so gets the answers.
    client: Mutex<Option<SocketAddr>>,
    is_cut: AtomicBool,
    is_over: AtomicBool,
}

impl UdpRelay {
    /// Listens on any port of this machine, and forwards to a server on it, which need not be there.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start(to: SocketAddr) -> Self {
        let front = socket();
        let address = front.local_addr().expect("an address");
        let back = Arc::new(socket());
        let shared = Arc::new(Shared {
            front,
            back: Mutex::new(Arc::clone(&back)),
            client: Mutex::new(None),
            is_cut: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let relay = Self { address, to, shared };
        let (shared, to) = (Arc::clone(&relay.shared), relay.to);
        thread::spawn(move || shared.forward(to));
        relay.answer_from(back);
        relay
    }

    /// Where the client is to send to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses all datagrams, of both sides, until [`mend`](Self::mend).
    pub fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::SeqCst);
    }

    /// Lets them through again.
    pub fn mend(&self) {
        self.shared.is_cut.store(false, Ordering::SeqCst);
    }

    /// The server sees the client at another port from here on.
    ///
    /// # Panics
    /// When there is none.
    pub fn rebind(&self) {
        let back = Arc::new(socket());
        *self.shared.back.lock().expect("back") = Arc::clone(&back);
        self.answer_from(back);
    }

    /// Forwards what comes to `back` for as long as it is the one in use.
    fn answer_from(&self, back: Arc<UdpSocket>) {
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || {
            let mut buffer = vec![0; DATAGRAM];
            let in_use = || Arc::ptr_eq(&shared.back.lock().expect("back"), &back);
            while !shared.is_over.load(Ordering::SeqCst) && in_use() {
                let Some((read, _)) = receive(&back, &mut buffer) else { continue };
                let client = *shared.client.lock().expect("client");
                if let Some(client) = client.filter(|_| !shared.is_cut.load(Ordering::SeqCst)) {
                    // A client that is gone does not hear it.
                    drop(shared.front.send_to(&buffer[..read], client));
                }
            }
        });
    }
}

impl Shared {
    fn forward(&self, to: SocketAddr) {
        let mut buffer = vec![0; DATAGRAM];
        while !self.is_over.load(Ordering::SeqCst) {
            let Some((read, from)) = receive(&self.front, &mut buffer) else { continue };
            *self.client.lock().expect("client") = Some(from);
            if !self.is_cut.load(Ordering::SeqCst) {
                let back = Arc::clone(&self.back.lock().expect("back"));
                // A server that is down does not hear it.
                drop(back.send_to(&buffer[..read], to));
            }
        }
    }
}

impl Drop for UdpRelay {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(WAIT)).expect("a timeout");
    socket
}

/// A datagram and its sender; none where none came in time.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    // An error may also be that an earlier one of ours was not heard.
    socket.recv_from(buffer).ok()
}
