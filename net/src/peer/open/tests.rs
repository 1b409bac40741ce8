use super::*;
use crate::{Endpoint, wire::control::GoawayReason};

#[tokio::test]
async fn a_connection_that_has_drained_and_is_closed_sends_its_openers_on_like_one_that_drains() {
    let bind = || Endpoint::builder().offline().bind();
    let (here, there) = (bind().await.unwrap(), bind().await.unwrap());
    there.serve("echo/1", |mut stream| async move { drop(stream.finish()) }).unwrap();
    here.connect(there.ticket()).await.unwrap();
    let peers = &here.inner().peers;
    let link = peers.current(&there.id()).unwrap();
    let opening = Opening {
        protocol: Protocol::from_static("echo/1"),
        metadata: Bytes::new(),
        repeatable: false,
        early: Bytes::new(),
        finish: false,
        read_ahead: 0,
    };
    link.start_drain(GoawayReason::Duplicate);
    let (mut phase, mut stream) = (Phase::Dial, None);
    // While the connection is open, and once both sides have let go of it.
    for is_closed in [false, true] {
        if is_closed {
            link.connection().closed().await;
        }
        let opened = open(&link, &opening, None, &mut phase, &mut stream).await;
        assert!(matches!(opened, Err(OpenError::Draining)), "closed: {is_closed}");
    }
    // A caller that has met a drained connection still has its one retry after a lost connection.
    here.get_stream(there.ticket(), "echo/1").await.unwrap();
}
