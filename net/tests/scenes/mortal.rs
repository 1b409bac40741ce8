//! Peers that are killed, and come back.

use std::{future::Future, net::SocketAddr};

use twolane::{Endpoint, SecretKey, Ticket};

use crate::stage::{CHAT, limits, with_key};

/// An endpoint on a runtime of its own. A peer that is killed sends nothing, and neither does a peer whose runtime
/// is gone.
pub(crate) struct Mortal {
    pub(crate) ticket: Ticket,
    runtime: tokio::runtime::Runtime,
}

impl Mortal {
    pub(crate) fn new(key: &SecretKey) -> Self {
        let key = key.clone();
        Self::bound(async move { with_key(&key).await })
    }

    pub(crate) fn bound(binding: impl Future<Output = Endpoint> + Send + 'static) -> Self {
        let (tell, told) = std::sync::mpsc::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let endpoint = binding.await;
            tell.send(endpoint.ticket()).unwrap();
            let accepted = endpoint.accept_bi(&[CHAT]).await;
            std::future::pending::<()>().await;
            drop(accepted);
        });
        Self { ticket: told.recv().unwrap(), runtime }
    }

    /// Returns the endpoint's address on this machine.
    pub(crate) fn socket(&self) -> SocketAddr {
        let ip = |addr: &iroh::TransportAddr| if let iroh::TransportAddr::Ip(addr) = addr { Some(*addr) } else { None };
        self.ticket.addrs().iter().find_map(ip).unwrap()
    }

    /// Binds another endpoint with this key at this address, once the address is free.
    pub(crate) fn back_at(key: &SecretKey, socket: SocketAddr) -> Self {
        let key = key.clone();
        Self::bound(async move {
            loop {
                let builder = Endpoint::builder().offline().limits(limits()).secret_key(key.clone()).bind_addr(socket);
                match builder.bind().await {
                    Ok(endpoint) => break endpoint,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        })
    }

    pub(crate) fn kill(self) {
        self.runtime.shutdown_background();
    }
}
