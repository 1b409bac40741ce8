//! twolane.

use std::time::Duration;

use bytes::Bytes;
use twolane::{Endpoint, Limits, RecvStream, SendStream, Ticket};

use super::{
    Broken, bulk, errors,
    side::{PATIENCE, Rx, STREAMS, Service, Side, Tx},
};

/// Thousands of peers come from one address here.
const PEERS: usize = 2_048;

/// A client.
#[derive(Debug, Clone)]
pub struct Ours {
    endpoint: Endpoint,
    server: Ticket,
}

async fn bind() -> Result<Endpoint, Broken> {
    let limits =
        Limits { streams_per_peer: STREAMS.into(), peers: PEERS, handshakes_per_address: 256, ..Limits::default() };
    Ok(Endpoint::builder().offline().limits(limits).bind().await?)
}

impl Side for Ours {
    type Tx = SendStream;
    type Rx = RecvStream;
    type Server = Endpoint;

    const NAME: &'static str = "twolane";

    fn settings() -> String {
        format!(
            "{STREAMS} streams a peer, {PEERS} peers, 256 handshakes an address; a deadline of {} s for each request and \
             opening; over loopback no more than 100 packets are on the way, as to every peer within 0.1 ms; \
             AES-256-GCM of ring; opening: until the server has accepted",
            PATIENCE.as_secs()
        )
    }

    async fn serve() -> Result<(Endpoint, String), Broken> {
        let endpoint = bind().await?;
        for service in [Service::Echo, Service::Second] {
            endpoint.serve_requests(service.name(), |request| async move { Ok(request.body) })?;
        }
        endpoint.serve(Service::Bulk.name(), |stream| async move {
            let (send, recv) = stream.split();
            // A stream that breaks is the client's to tell.
            let _ = bulk::serve(send, recv).await;
        })?;
        endpoint.serve(Service::Refuse.name(), |stream| async move { drop(errors::refuse(stream).await) })?;
        let ticket = endpoint.ticket().to_string();
        Ok((endpoint, ticket))
    }

    async fn client(server: &str) -> Result<Self, Broken> {
        Ok(Self { endpoint: bind().await?, server: server.parse()? })
    }

    async fn connect(&self, _: Service) -> Result<(), Broken> {
        self.endpoint.connect(self.server.clone()).await?;
        Ok(())
    }

    async fn open(&self, service: Service) -> Result<(SendStream, RecvStream), Broken> {
        Ok(self.endpoint.get_stream(self.server.clone(), service.name()).await?.split())
    }

    /// An open stream is one that the server has taken.
    async fn touch(&self) -> Result<(), Broken> {
        let (mut send, _recv) = self.open(Service::Echo).await?;
        Ok(send.finish()?)
    }

    async fn request(&self, message: Bytes) -> Result<Bytes, Broken> {
        self.first(Service::Echo, message).await
    }

    /// The message travels with the protocol's name.
    async fn first(&self, service: Service, message: Bytes) -> Result<Bytes, Broken> {
        Ok(self.endpoint.request(self.server.clone(), service.name(), message, PATIENCE).await?)
    }

    async fn close(self) {
        self.endpoint.shutdown(Duration::ZERO).await;
    }
}

impl Tx for SendStream {
    async fn write_all(&mut self, data: &[u8]) -> Result<(), Broken> {
        Ok(self.write_all(data).await?)
    }

    async fn write_chunk(&mut self, data: Bytes) -> Result<(), Broken> {
        Ok(self.write_chunk(data).await?)
    }

    fn finish(&mut self) -> Result<(), Broken> {
        Ok(self.finish()?)
    }
}

impl Rx for RecvStream {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        Ok(self.read_chunk(usize::MAX).await?)
    }

    async fn to_end(&mut self, max: usize) -> Result<Bytes, Broken> {
        Ok(self.read_to_end(max).await?)
    }
}
