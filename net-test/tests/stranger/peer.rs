//! The endpoint's side.

use twolane::{Endpoint, Limits, PublicKey, Ticket};
pub use twolane_test::stranger::peer::*;

/// An endpoint on loopback.
pub async fn endpoint() -> Endpoint {
    endpoint_with(Limits::default()).await
}

pub async fn endpoint_with(limits: Limits) -> Endpoint {
    let bound = Endpoint::builder().offline().limits(limits).bind().await;
    bound.expect("an endpoint on loopback")
}

/// A stranger that has dialled an endpoint.
pub async fn connected() -> (Endpoint, Stranger) {
    let endpoint = endpoint().await;
    let stranger = Stranger::of(&endpoint).await;
    (endpoint, stranger)
}

/// The stranger as the library names it.
pub trait Known {
    fn id(&self) -> PublicKey;

    fn ticket(&self) -> Ticket;
}

impl Known for Socket {
    fn id(&self) -> PublicKey {
        PublicKey::from_bytes(&self.identity.public()).expect("a key")
    }

    fn ticket(&self) -> Ticket {
        Ticket::new(self.id()).with_addr(self.addr())
    }
}
