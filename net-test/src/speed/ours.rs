//! twolane.

use std::time::Duration;

use bytes::Bytes;
use twolane::{Endpoint, Limits, RecvStream, SendStream, Ticket};

use super::{
    Broken, bulk, errors,
    side::{Rx, Service, Side, Tx},
};

/// A message at most.
pub(super) const MAX_MESSAGE: usize = 1 << 20;
/// No measurement of a request or of an opening takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client.
#[derive(Debug, Clone)]
pub struct Ours {
    endpoint: Endpoint,
    server: Ticket,
}

async fn bind() -> Result<Endpoint, Broken> {
    // 512 requests in flight are more than the default lets one side have open at a time. Thousands of peers come from
    // one address here.
    let limits = Limits { streams_per_peer: 1_024, peers: 2_048, handshakes_per_address: 256, ..Limits::default() };
    Ok(Endpoint::builder().offline().limits(limits).bind().await?)
}

impl Side for Ours {
    type Tx = SendStream;
    type Rx = RecvStream;
    type Server = Endpoint;

    const NAME: &'static str = "twolane";

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
