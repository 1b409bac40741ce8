//! Calls the program's hooks when a peer connects and disconnects: one call after the other.

use std::sync::Arc;

use super::{entry::Peer, peers::Peers};
use crate::access::Call;

/// Calls the hooks until they have been told the current state of the peer.
pub(super) async fn run_hooks(peers: Arc<Peers>, peer: Arc<Peer>) {
    loop {
        let (call, identity, ended) = {
            let mut state = peer.lock();
            let Some(call) = state.pairing.next() else {
                break;
            };
            (call, state.identity.clone(), Arc::clone(&state.ended))
        };
        match call {
            Call::Connect => peers.shared.gate.connected(&identity).await,
            Call::Disconnect => peers.shared.gate.disconnected(peer.id, &ended).await,
        }
    }
    let idle = {
        let state = peer.lock();
        state.row.is_idle() && state.row.failures() == 0
    };
    if idle {
        peers.forget(&peer);
    }
}
