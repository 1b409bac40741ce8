//! A wire between a client and a server, of somebody who records what the client sends first, and can hold up the rest.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{net::UdpSocket, sync::Notify, task::AbortHandle};

/// Large enough for any datagram of QUIC on loopback.
const DATAGRAM: usize = 64 * 1024;

/// Forwards the datagrams of one client. What the client sends before the server's first answer passes, and is
/// recorded. What it sends later is held until [`Tap::release`].
#[derive(Debug)]
pub struct Tap {
    addr: SocketAddr,
    flight: Arc<Mutex<Vec<Vec<u8>>>>,
    released: Arc<Notify>,
    task: AbortHandle,
}

impl Tap {
    /// Lays the wire to `server`.
    pub async fn to(server: SocketAddr) -> Self {
        let (front, back) = (socket().await, socket().await);
        back.connect(server).await.expect("an address on loopback");
        let addr = front.local_addr().expect("a bound socket");
        let (flight, released) = (Arc::default(), Arc::new(Notify::new()));
        let wire = forward(front, back, Arc::clone(&flight), Arc::clone(&released));
        Self { addr, flight, released, task: tokio::spawn(wire).abort_handle() }
    }

    /// Returns the address that the client has to dial.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Lets everything pass from now on.
    pub fn release(&self) {
        self.released.notify_one();
    }

    /// Returns what the client sent before the server's first answer.
    pub fn flight(&self) -> Vec<Vec<u8>> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(front: UdpSocket, back: UdpSocket, flight: Arc<Mutex<Vec<Vec<u8>>>>, released: Arc<Notify>) {
    let (mut sent, mut answer) = (vec![0; DATAGRAM], vec![0; DATAGRAM]);
    let (mut client, mut answered, mut holds, mut held) = (None, false, true, Vec::new());
    loop {
        tokio::select! {
            // What the client has sent already comes before the server's answer.
            biased;
            Ok((len, from)) = front.recv_from(&mut sent) => {
                client = Some(from);
                let datagram = sent[..len].to_vec();
                if answered && holds {
                    held.push(datagram);
                    continue;
                }
                if !answered {
                    flight.lock().unwrap_or_else(PoisonError::into_inner).push(datagram.clone());
                }
                let _ = back.send(&datagram).await;
            }
            Ok(len) = back.recv(&mut answer) => {
                answered = true;
                if let Some(client) = client {
                    let _ = front.send_to(&answer[..len], client).await;
                }
            }
            () = released.notified(), if holds => {
                holds = false;
                for datagram in held.drain(..) {
                    let _ = back.send(&datagram).await;
                }
            }
            else => return,
        }
    }
}

/// Sends recorded datagrams to `server` once more, from another address.
pub async fn send_again(flight: &[Vec<u8>], server: SocketAddr) {
    let socket = socket().await;
    for datagram in flight {
        // A server that is gone refuses it.
        let _ = socket.send_to(datagram, server).await;
    }
}

async fn socket() -> UdpSocket {
    UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a socket on loopback")
}
