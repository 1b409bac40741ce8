//! One dial, from the wait before it to the connection that comes of it.

use std::sync::Arc;

use tokio::time::{sleep, timeout};

use super::{
    backoff,
    entry::Peer,
    link::{Link, Prepared},
    peers::Peers,
    table::{Input, OwnDial},
};
use crate::{access::Refused, error::DialError, key, wire::ALPN};

/// One dial, which serves everybody who waits.
pub(super) async fn dial(peers: Arc<Peers>, peer: Arc<Peer>, failures: u32) {
    let since = peer.failed_for().unwrap_or_default();
    let wait = backoff::delay(failures, backoff::random()).saturating_sub(since);
    if !wait.is_zero() {
        let mut view = peer.view.subscribe();
        let dropped = tokio::select! {
            () = sleep(wait) => false,
            () = peer.hurry.notified() => false,
            _ = view.wait_for(|view| view.current.is_some()) => true,
            () = peers.closing.cancelled() => true,
        };
        if dropped {
            peers.apply(&peer, Input::DialDropped);
            return;
        }
    }
    let version = peers.shared.gate.version();
    let connected = loop {
        // From before the addresses are looked up.
        let moved = peer.hurry.notified();
        tokio::select! {
            connected = connect(&peers, &peer) => break connected,
            // An address has become known that the dial under way does not try, or what it may lose against was closed.
            () = moved => {}
            () = peers.closing.cancelled() => break Err(DialError::ShuttingDown),
        }
    };
    match connected {
        Ok((prepared, dial)) => {
            let (link, nonce) = (Arc::clone(prepared.link()), prepared.nonce());
            let hello = nonce.map(|nonce| Input::Hello(link.generation, nonce));
            let inputs: Vec<_> = [Input::Dialled(link.generation, dial)].into_iter().chain(hello).collect();
            peers.register(prepared, &inputs);
            peers.look_again(&link, version);
        }
        Err(cause) => peers.dial_failed(&peer, cause),
    }
}

async fn connect(peers: &Arc<Peers>, peer: &Peer) -> Result<(Prepared, OwnDial), DialError> {
    let after = peers.shared.limits.connect_timeout;
    let (id, dial) = (peer.id, peers.begin_dial(peer));
    let address = key::to_iroh(&id);
    let dialling = async {
        let allowed = peers.shared.gate.before_dial(id).await;
        allowed.map_err(|Refused(reason)| DialError::NotAllowed { reason: reason.into() })?;
        let connection = peers.endpoint.connect(address, ALPN).await.map_err(dial_error)?;
        // The handshake is done now: what the rules take does not make the connection any newer.
        let generation = peers.next_generation();
        let prepared = Link::dialled(connection, id, generation, dial.said(), &peers.shared).await;
        Ok((prepared.map_err(DialError::Lost)?, dial))
    };
    timeout(after, dialling).await.unwrap_or(Err(DialError::TimedOut { after }))
}

fn dial_error(error: iroh::endpoint::ConnectError) -> DialError {
    use iroh::endpoint::{ConnectError, ConnectWithOptsError, ConnectingError};
    match error {
        ConnectError::Connect { source: ConnectWithOptsError::SelfConnect { .. }, .. } => DialError::OwnKey,
        ConnectError::Connect { source: ConnectWithOptsError::NoAddress { .. }, .. } => {
            DialError::NoAddress(Arc::new(error))
        }
        ConnectError::Connecting { source: ConnectingError::ConnectionError { source, .. }, .. } => {
            DialError::Lost(source.into())
        }
        ConnectError::Connection { source, .. } => DialError::Lost(source.into()),
        _ => DialError::Failed(Arc::new(error)),
    }
}
