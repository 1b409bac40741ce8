//! The QUIC transport configuration: windows, timeouts and congestion control.

use std::{sync::Arc, time::Duration};

use iroh::endpoint::{
    Connection, ControllerFactory, IdleTimeout, QuicTransportConfig, QuicTransportConfigBuilder, VarInt,
};

use crate::{
    congestion::{self, Bounds, Congestion, MarkedConfig},
    limits::Limits,
    peer::Transports,
};

/// Interval of the packets that keep a silent connection alive: iroh's default. With a shorter idle timeout the
/// interval is shorter. A path has packets of its own.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Number of unidirectional streams that the peer may open: its control stream, and room for kinds of later
/// versions.
const UNI_STREAMS: u32 = 8;
/// Number of unidirectional streams that a peer of another protocol may open: iroh's default. iroh-gossip opens one
/// for each topic; with 8, a peer would wait for ever with its ninth.
const UNI_STREAMS_OF_OTHERS: u32 = 100;

/// Returns the transport configurations of this library's connections.
pub(super) fn configs(limits: &Limits, congestion: &Congestion) -> Transports {
    let config = |relayed| config(limits, congestion, relayed);
    Transports { with_relay: config(true), without_relay: config(false) }
}

/// Returns the transport configuration of this library's connections. `relayed`: whether data can take a relay when
/// a direct path is cut.
fn config(limits: &Limits, congestion: &Congestion, relayed: bool) -> QuicTransportConfig {
    builder(limits, congestion.factory(), relayed).max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS)).build()
}

/// Returns the transport configuration of an iroh endpoint on which there are connections of other protocols too.
/// They get the windows, timeouts and congestion control of this library's.
pub(super) fn shared(limits: &Limits, congestion: &Congestion, relayed: bool) -> QuicTransportConfig {
    shared_with(limits, congestion.factory(), relayed)
}

/// Like [`shared`], for an iroh endpoint of the program. iroh's `Router` accepts a connection with it before the
/// protocol is known, so the connection says with which bounds: [`fits`].
pub(super) fn marked(limits: &Limits, congestion: &Congestion, relayed: bool) -> QuicTransportConfig {
    let marked = MarkedConfig { factory: congestion.factory(), bounds: bounds(limits) };
    shared_with(limits, Arc::new(marked), relayed)
}

fn shared_with(
    limits: &Limits,
    factory: Arc<dyn ControllerFactory + Send + Sync>,
    relayed: bool,
) -> QuicTransportConfig {
    builder(limits, factory, relayed).max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS_OF_OTHERS)).build()
}

fn bounds(limits: &Limits) -> Bounds {
    Bounds { unread_bytes: limits.unread_bytes, idle_timeout: limits.idle_timeout }
}

/// Returns whether a connection that iroh's `Router` has accepted keeps what these limits promise: it was made with a
/// configuration of [`marked`], for limits that are no wider.
///
/// Of other configurations nothing is known. With iroh's own, a peer may make this side hold all of its streams'
/// windows, 1.1 GB, and what it was allowed cannot be taken back. A wider window of one stream has noq close the
/// connection over too many unread packets. With a narrower window for sending, streams that nobody reads leave an
/// error no room.
pub(super) fn fits(connection: &Connection, limits: &Limits) -> bool {
    let ours = bounds(limits);
    congestion::bounds(connection)
        .is_some_and(|its| its.unread_bytes <= ours.unread_bytes && its.idle_timeout <= ours.idle_timeout)
}

/// Gives a connection of another protocol, which was accepted with this library's configuration, its streams.
pub(super) fn leave_to_others(connection: &Connection) {
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS_OF_OTHERS));
}

/// Gives a connection of this library, which was accepted with a configuration of [`marked`], the streams and the
/// window of these limits.
pub(super) fn adjust(connection: &Connection, limits: &Limits) {
    connection.set_max_concurrent_bi_streams(bidi_streams(limits));
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS));
    connection.set_receive_window(window(limits));
}

fn bidi_streams(limits: &Limits) -> VarInt {
    VarInt::from_u32(limits.transport_streams())
}

fn window(limits: &Limits) -> VarInt {
    VarInt::from_u64(limits.unread_bytes).unwrap_or(VarInt::MAX)
}

fn builder(
    limits: &Limits,
    factory: Arc<dyn ControllerFactory + Send + Sync>,
    relayed: bool,
) -> QuicTransportConfigBuilder {
    let path_timeout = path_timeout(limits, relayed);
    let mut config = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(bidi_streams(limits))
        .receive_window(window(limits))
        .stream_receive_window(VarInt::from_u32(Limits::STREAM_WINDOW))
        .send_window(Limits::SEND_WINDOW)
        .congestion_controller_factory(factory)
        .default_path_max_idle_timeout(path_timeout)
        .default_path_keep_alive_interval(path_keep_alive(path_timeout));
    if let Ok(idle) = IdleTimeout::try_from(limits.idle_timeout) {
        // Three keep-alives may be lost before a living connection is given up.
        let keep_alive = KEEP_ALIVE.min(limits.idle_timeout / 4);
        config = config.max_idle_timeout(Some(idle)).keep_alive_interval(keep_alive);
    }
    config
}

/// Returns the transport configuration that an endpoint with these limits and without a relay gives to iroh.
#[cfg(feature = "unstable-transport")]
pub fn unstable_transport(limits: &Limits, congestion: &Congestion) -> QuicTransportConfig {
    config(&limits.clone().sane(), congestion, false)
}

/// Returns how long a connection may be silent before its peer is dialled anew, if the peer answers elsewhere and
/// the program waits for it. It is the interval of the packets that keep a path alive, plus the time after which a
/// path is known to be dead.
pub(super) fn silence(limits: &Limits, relayed: bool) -> Duration {
    path_keep_alive(path_timeout(limits, relayed)) + limits.path_timeout
}

/// Returns the timeout of a path. Without a relay, a path that is given up has no successor: finding out sooner
/// would cost packets for nothing.
fn path_timeout(limits: &Limits, relayed: bool) -> Duration {
    if relayed { limits.path_timeout } else { Limits::PATH_TIMEOUT_MAX }
}

/// Returns the interval of the packets that keep a path alive. Of three packets in a row, two may be lost, or
/// their answers.
fn path_keep_alive(path_timeout: Duration) -> Duration {
    path_timeout / 3
}
