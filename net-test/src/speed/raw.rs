//! The side of raw iroh: an ALPN and a connection for each protocol, and `open_bi` for a stream.

use std::{
    collections::HashMap,
    hint::black_box,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use iroh::{
    Endpoint, EndpointAddr, RelayMode, TransportAddr, Watcher,
    endpoint::{
        Connection, PortmapperConfig, QuicTransportConfig, RecvStream, SendStream, WeakConnectionHandle, presets,
    },
};
use tokio::{task::JoinHandle, time::timeout};
use twolane::Ticket;

use super::{
    Broken, bulk, errors,
    ours::limits,
    side::{Anywhere, MAX_MESSAGE, PATIENCE, STREAMS, Service, Side, Watched, once_a_second},
};

/// Raw iroh with its defaults, except for the number of streams.
pub type Raw = RawWith<false>;
/// Raw iroh with twolane's windows, timeouts and congestion controller. Its difference from twolane is the layer.
pub type Tuned = RawWith<true>;

/// A client with a connection for each service.
#[derive(Debug, Clone)]
pub struct RawWith<const TUNED: bool> {
    endpoint: Endpoint,
    server: EndpointAddr,
    connections: Arc<Mutex<HashMap<Service, Connection>>>,
}

/// A server. It ends when this is dropped.
#[derive(Debug)]
pub struct RawServer {
    endpoint: Endpoint,
    accepting: JoinHandle<()>,
    accepted: Accepted,
}

/// The connections that are there, by their number in this process: an iroh endpoint has no list of them.
type Accepted = Arc<Mutex<HashMap<usize, WeakConnectionHandle>>>;

impl Drop for RawServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn bind(tuned: bool, at: Option<SocketAddr>) -> Result<Endpoint, Broken> {
    let builder = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .portmapper_config(PortmapperConfig::Disabled)
        .clear_ip_transports()
        .bind_addr(at.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into()))?
        .alpns(Service::ALL.map(|service| service.name().into()).to_vec());
    let transport = if tuned {
        twolane::unstable_transport(&limits(), &twolane::Congestion::default())
    } else {
        QuicTransportConfig::builder().max_concurrent_bidi_streams(STREAMS.into()).build()
    };
    Ok(builder.transport_config(transport).bind().await?)
}

impl<const TUNED: bool> RawWith<TUNED> {
    fn connection(&self, service: Service) -> Result<Connection, Broken> {
        let connections = lock(&self.connections);
        connections.get(&service).cloned().ok_or_else(|| Broken::msg("raw iroh is not connected"))
    }

    async fn exchange(&self, message: Bytes) -> Result<Bytes, Broken> {
        let (mut send, mut recv) = self.connection(Service::Echo)?.open_bi().await?;
        if !message.is_empty() {
            send.write_chunk(message).await?;
        }
        send.finish()?;
        Ok(recv.read_to_end(MAX_MESSAGE).await?.into())
    }
}

impl<const TUNED: bool> Anywhere for RawWith<TUNED> {
    async fn serve_at(at: Option<SocketAddr>) -> Result<(RawServer, String), Broken> {
        let endpoint = bind(TUNED, at).await?;
        let addrs = endpoint.bound_sockets().into_iter().map(TransportAddr::Ip);
        let addr = EndpointAddr::from_parts(endpoint.id(), addrs);
        let accepting = endpoint.clone();
        let accepted = Accepted::default();
        let table = Arc::clone(&accepted);
        let accepting = tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                let table = Arc::clone(&table);
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        let number = connection.stable_id();
                        lock(&table).insert(number, connection.weak_handle());
                        accept_streams(connection).await;
                        lock(&table).remove(&number);
                    }
                });
            }
        });
        let ticket = Ticket::from_addr(addr)?;
        Ok((RawServer { endpoint, accepting, accepted }, ticket.to_string()))
    }

    async fn client_at(at: Option<SocketAddr>, server: &str) -> Result<Self, Broken> {
        let server: Ticket = server.parse()?;
        Ok(Self { endpoint: bind(TUNED, at).await?, server: server.to_addr(), connections: Arc::default() })
    }
}

impl<const TUNED: bool> Side for RawWith<TUNED> {
    type Tx = SendStream;
    type Rx = RecvStream;
    type Server = RawServer;

    const NAME: &'static str = if TUNED { "raw iroh with twolane's transport" } else { "raw iroh" };

    fn settings() -> String {
        let transport = if TUNED {
            "windows, streams, timeouts and congestion controller of twolane".to_owned()
        } else {
            format!("{STREAMS} streams a connection, and else its defaults")
        };
        format!(
            "{transport}; no relay, no port mapping, no discovery; a connection for each protocol; a deadline of {} s for \
             each request and opening; AES-256-GCM of ring; opening: until the server has ended a stream with nothing in \
             it, since it says nothing about a stream by itself",
            PATIENCE.as_secs()
        )
    }

    async fn serve() -> Result<(RawServer, String), Broken> {
        Self::serve_at(None).await
    }

    async fn end(server: RawServer, _: Duration) {
        server.endpoint.close().await;
    }

    async fn client(server: &str) -> Result<Self, Broken> {
        Self::client_at(None, server).await
    }

    async fn connect(&self, service: Service) -> Result<(), Broken> {
        let connection = self.endpoint.connect(self.server.clone(), service.name().as_bytes()).await?;
        lock(&self.connections).insert(service, connection);
        Ok(())
    }

    async fn open(&self, service: Service) -> Result<(SendStream, RecvStream), Broken> {
        Ok(timeout(PATIENCE, self.connection(service)?.open_bi()).await??)
    }

    /// Waits until the server has ended a stream. A server does not see an open stream before data is sent, and does
    /// not answer it by itself.
    async fn touch(&self) -> Result<(), Broken> {
        timeout(PATIENCE, self.exchange(Bytes::new())).await?.map(drop)
    }

    async fn request(&self, message: Bytes) -> Result<Bytes, Broken> {
        timeout(PATIENCE, self.exchange(message)).await?
    }

    async fn close(self) {
        self.endpoint.close().await;
    }
}

impl<const TUNED: bool> Watched for RawWith<TUNED> {
    async fn watch(server: &RawServer, time: Duration) -> usize {
        once_a_second(time, || {
            black_box((server.endpoint.addr(), server.endpoint.bound_sockets(), server.endpoint.net_report().get()));
            let connections: Vec<_> = lock(&server.accepted).values().filter_map(|weak| weak.upgrade()).collect();
            for connection in &connections {
                let paths = connection.paths();
                let seen: Vec<_> = paths.iter().map(|path| (path.is_selected(), path.rtt())).collect();
                black_box((connection.remote_id(), connection.stats(), seen));
            }
            connections.len()
        })
        .await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves each stream in its own task, as in iroh's examples.
async fn accept_streams(connection: Connection) {
    let (alpn, is) = (connection.alpn().to_vec(), |service: Service, alpn: &[u8]| service.name().as_bytes() == alpn);
    let (bulk, refuse) = (is(Service::Bulk, &alpn), is(Service::Refuse, &alpn));
    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
        tokio::spawn(async move {
            if bulk {
                // The client reports a stream that breaks.
                let _ = bulk::serve(send, recv).await;
            } else if refuse {
                let _ = errors::reset_back(send, recv).await;
            } else if let Ok(message) = recv.read_to_end(MAX_MESSAGE).await
                && send.write_chunk(message.into()).await.is_ok()
            {
                let _ = send.finish();
            }
        });
    }
}
