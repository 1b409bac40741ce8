//! Information about a peer, for people and programs.

use std::time::{Duration, Instant};

use iroh::TransportAddr;
use twolane_id::PublicKey;

use super::{link::Link, path::watch::kind};
use crate::{events::PathKind, tls::KeyExchange};

/// Information about a connected peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// The peer's key.
    pub id: PublicKey,
    /// The key that the peer acts for, by a certificate that is valid now.
    pub owner: Option<PublicKey>,
    /// The kind of path that the peer's data takes now. `None` while no path is selected.
    pub path: Option<PathKind>,
    /// The round-trip time of that path.
    pub rtt: Option<Duration>,
    /// All paths to the peer now, including that path.
    pub paths: Vec<PathInfo>,
    /// The key exchange of the connection that carries new streams.
    pub key_exchange: Option<KeyExchange>,
    /// The number of open streams, in both directions.
    pub streams: usize,
    /// The number of QUIC connections: one, and for a moment two after both sides dialled at once.
    pub connections: usize,
    /// The time since which the peer has been connected without a break.
    pub since: Instant,
    /// The bytes of UDP payload sent to the peer, on the connections that exist now.
    pub sent: u64,
    /// The bytes of UDP payload received from the peer, on the connections that exist now.
    pub received: u64,
    /// The last error with this peer.
    pub last_error: Option<String>,
}

/// A path to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathInfo {
    /// Whether the path is direct or goes over a relay.
    pub kind: PathKind,
    /// The remote end of the path: an IP address with its port, or the relay's URL.
    pub remote: String,
    /// The round-trip time of the path.
    pub rtt: Duration,
    /// Whether data takes the path now.
    pub selected: bool,
    /// The bytes of UDP payload sent on the path.
    pub sent: u64,
    /// The bytes of UDP payload received on the path.
    pub received: u64,
}

/// Returns the paths that a connection has now.
pub(super) fn paths(link: &Link) -> Vec<PathInfo> {
    let Some(connection) = link.carrier.connection.established() else { return Vec::new() };
    let paths = connection.paths();
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
