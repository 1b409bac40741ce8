//! The protocol that an endpoint of the library serves so that all checks can run, and the address where it can be
//! dialled.

use twolane::{Endpoint, ServeError, StreamError, Ticket, XStream};

use super::{CONFORM, Subject};
use crate::stranger::peer::Target;

/// Serves [`CONFORM`].
pub fn serve(endpoint: &Endpoint) -> Result<(), ServeError> {
    endpoint.serve(CONFORM, |stream| async move {
        // The other side checks how the stream ends, so the result is not needed here.
        let _ = play(stream).await;
    })
}

async fn play(mut stream: XStream) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    match &stream.metadata().clone()[..] {
        b"echo" => {
            while let Some(chunk) = stream.read_chunk(usize::MAX).await? {
                stream.write_chunk(chunk).await?;
            }
            stream.finish()?;
        }
        b"fail" => {
            stream.write_all(&[0x5a; 100_000]).await?;
            stream.fail(StreamError::new(28, "the disk is full").with_details("/srv")?).await?;
        }
        b"abort" => {
            stream.read_chunk(1).await?;
            stream.write_all(&[0x5a; 10_000]).await?;
            stream.abort(StreamError::new(9, "never mind")).await?;
        }
        b"warn" => {
            stream.write_all(b"12345").await?;
            stream.warn(StreamError::new(5, "half way")).await?;
            stream.finish()?;
            stream.read_to_end(1_000).await?;
        }
        b"drop" => drop(stream.read_chunk(1).await?),
        _ => stream.fail(StreamError::new(1, "WIRE.md's checks know no such metadata")).await?,
    }
    Ok(())
}

impl From<&Endpoint> for Target {
    /// Returns the endpoint's loopback address and key.
    fn from(endpoint: &Endpoint) -> Self {
        let sockets = endpoint.iroh().bound_sockets();
        let mut addr = sockets.first().copied().unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
        if addr.ip().is_unspecified() {
            addr.set_ip([127, 0, 0, 1].into());
        }
        Self { addr, key: endpoint.id().to_bytes() }
    }
}

impl Subject {
    /// Returns the subject of a ticket, or `None` if the ticket has no IP address. Relay addresses are ignored.
    pub fn of(ticket: &Ticket) -> Option<Self> {
        let key = ticket.peer().to_bytes();
        let addr = ticket.to_addr();
        let mut direct: Vec<_> = addr.ip_addrs().copied().collect();
        // If there are several addresses, the nearest one is used.
        direct.sort_by_key(|addr| (!addr.ip().is_loopback(), addr.is_ipv6()));
        direct.first().map(|addr| Self(Target { addr: *addr, key }))
    }
}
