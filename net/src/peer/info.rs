//! What is known of a peer, for people and programs that look.

use std::time::{Duration, Instant};

use iroh::TransportAddr;
use twolane_id::PublicKey;

use super::{link::Link, path::watch::kind};
use crate::events::PathKind;

/// What is known of a connected peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// The peer.
    pub id: PublicKey,
    /// The key that it acts for, by a certificate that holds now.
    pub owner: Option<PublicKey>,
    /// The way its data takes now. `None` while that is being decided.
    pub path: Option<PathKind>,
    /// Round trip of that way.
    pub rtt: Option<Duration>,
    /// Every way there is to the peer now, that one among them.
    pub paths: Vec<PathInfo>,
    /// Streams that are open, in both directions.
    pub streams: usize,
    /// QUIC connections: one, and for a moment two after both sides dialled at once.
    pub connections: usize,
    /// Since when the peer has been connected without a break.
    pub since: Instant,
    /// Bytes of UDP payload sent to the peer and received from it, on the connections that exist now.
    pub sent: u64,
    /// See `sent`.
    pub received: u64,
    /// The last thing that went wrong with this peer.
    pub last_error: Option<String>,
}

/// One way to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathInfo {
    /// Whether it is direct.
    pub kind: PathKind,
    /// Where it leads: an IP address with its port, or the relay's URL.
    pub remote: String,
    /// Its round trip.
    pub rtt: Duration,
    /// Whether data takes it now.
    pub selected: bool,
    /// Bytes of UDP payload sent on it.
    pub sent: u64,
    /// Bytes of UDP payload received on it.
    pub received: u64,
}

/// The ways that a connection has now.
pub(super) fn paths(link: &Link) -> Vec<PathInfo> {
    let paths = link.carrier.connection.paths();
    let info = |path: iroh::endpoint::Path<'_>| {
        let stats = path.stats();
        let remote = match path.remote_addr() {
            TransportAddr::Ip(addr) => addr.to_string(),
            TransportAddr::Relay(url) => url.to_string(),
            other => format!("{other:?}"),
        };
        PathInfo {
            kind: kind(&path),
            remote,
            rtt: path.rtt(),
            selected: path.is_selected(),
            sent: stats.udp_tx.bytes,
            received: stats.udp_rx.bytes,
        }
    };
    paths.iter().map(info).collect()
}
