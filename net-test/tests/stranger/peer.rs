//! The endpoint's side.

use twolane::{Endpoint, Limits, PublicKey, Ticket};
pub use twolane_test::stranger::peer::*;

/// Binds an endpoint on loopback.
pub async fn endpoint() -> Endpoint {
    endpoint_with(Limits::default()).await
}

pub async fn endpoint_with(limits: Limits) -> Endpoint {
    let bound = Endpoint::builder().offline().limits(limits).bind().await;
    bound.expect("an endpoint on loopback")
}

/// Returns an endpoint, and a stranger that has dialled it.
pub async fn connected() -> (Endpoint, Stranger) {
    let endpoint = endpoint().await;
    let stranger = Stranger::of(&endpoint).await;
    (endpoint, stranger)
}

/// The key and ticket of the stranger, as types of the library.
pub trait Known {
    fn id(&self) -> PublicKey;

    fn ticket(&self) -> Ticket;
}

impl Known for Socket {
    fn id(&self) -> PublicKey {
        PublicKey::from_bytes(&self.identity.public()).expect("a key")
    }

    fn ticket(&self) -> Ticket {
        Ticket::new(self.id()).with_addr(self.addr()).expect("one address fits")
    }
}
