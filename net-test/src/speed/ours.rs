//! The side of twolane.

use std::{hint::black_box, net::SocketAddr, time::Duration};

use bytes::Bytes;
use twolane::{Endpoint, Limits, RecvStream, SendStream, Ticket};

use super::{
    Broken, bulk, errors,
    side::{Anywhere, PATIENCE, STREAMS, Service, Side, Watched, once_a_second},
};

/// The limit for peers. Here thousands of peers come from one address.
const PEERS: usize = 8_192;
const HANDSHAKES: usize = 256;

#[derive(Debug, Clone)]
pub struct Ours {
    endpoint: Endpoint,
    server: Ticket,
}

pub(super) fn limits() -> Limits {
    Limits { streams_per_peer: STREAMS.into(), peers: PEERS, handshakes_per_address: HANDSHAKES, ..Limits::default() }
}

async fn bind(at: Option<SocketAddr>) -> Result<Endpoint, Broken> {
    let mut builder = Endpoint::builder().offline().limits(limits());
    if let Some(at) = at {
        builder = builder.bind_addr(at);
    }
    Ok(builder.bind().await?)
}

impl Anywhere for Ours {
    async fn serve_at(at: Option<SocketAddr>) -> Result<(Endpoint, String), Broken> {
        let endpoint = bind(at).await?;
        for service in [Service::Echo, Service::Second] {
            endpoint.serve_requests(service.name(), |request| async move { Ok(request.body) })?;
        }
        endpoint.serve(Service::Bulk.name(), |stream| async move {
            let (send, recv) = stream.split();
            // The client reports a stream that breaks.
            let _ = bulk::serve(send, recv).await;
        })?;
        endpoint.serve(Service::Refuse.name(), |stream| async move { drop(errors::refuse(stream).await) })?;
        let ticket = endpoint.ticket().to_string();
        Ok((endpoint, ticket))
    }

    async fn client_at(at: Option<SocketAddr>, server: &str) -> Result<Self, Broken> {
        Ok(Self { endpoint: bind(at).await?, server: server.parse()? })
    }
}

impl Side for Ours {
    type Tx = SendStream;
    type Rx = RecvStream;
    type Server = Endpoint;

    const NAME: &'static str = "twolane";

    fn settings() -> String {
        format!(
            "{STREAMS} streams a peer, {PEERS} peers, {HANDSHAKES} handshakes an address; a deadline of {} s for each request \
             and its own for opening; no more than 100 packets on the way to a peer within 0.1 ms, as over loopback; \
             AES-256-GCM of ring; opening: until the server has accepted",
            PATIENCE.as_secs()
        )
    }

    async fn serve() -> Result<(Endpoint, String), Broken> {
        Self::serve_at(None).await
    }

    async fn end(server: Endpoint, within: Duration) {
        server.shutdown(within).await;
    }

    async fn client(server: &str) -> Result<Self, Broken> {
        Self::client_at(None, server).await
    }

    async fn connect(&self, _: Service) -> Result<(), Broken> {
        self.endpoint.connect(self.server.clone()).await?;
        Ok(())
    }

    async fn open(&self, service: Service) -> Result<(SendStream, RecvStream), Broken> {
        Ok(self.endpoint.get_stream(self.server.clone(), service.name()).await?.split())
    }

    /// Opens an empty stream. This waits until the server has taken it.
    async fn touch(&self) -> Result<(), Broken> {
        let (mut send, _recv) = self.open(Service::Echo).await?;
        Ok(send.finish()?)
    }

    async fn request(&self, message: Bytes) -> Result<Bytes, Broken> {
        self.first(Service::Echo, message).await
    }

    /// Sends a message to a service. The message travels together with the protocol's name.
    async fn first(&self, service: Service, message: Bytes) -> Result<Bytes, Broken> {
        Ok(self.endpoint.request(self.server.clone(), service.name(), message, PATIENCE).await?)
    }

    async fn close(self) {
        self.endpoint.shutdown(Duration::ZERO).await;
    }
}

impl Watched for Ours {
    async fn watch(server: &Endpoint, time: Duration) -> usize {
        let mut events = server.events();
        let subscribed = async { while events.next().await.is_some() {} };
        let looking = once_a_second(time, || {
            black_box(server.status());
            server.peers().len()
        });
        tokio::select! {
            seen = looking => seen,
            () = subscribed => 0,
        }
    }
}
