//! The QUIC transport configuration: windows, timeouts and congestion control.

use std::time::Duration;

use iroh::endpoint::{IdleTimeout, QuicTransportConfig, VarInt};

use crate::{congestion::Congestion, limits::Limits};

/// Interval of the packets that keep a silent connection alive: iroh's default. With a shorter idle timeout the
/// interval is shorter. A path has packets of its own.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Number of unidirectional streams that the peer may open: its control stream, and room for kinds of later
/// versions.
const UNI_STREAMS: u32 = 8;

/// Returns the transport configuration of an endpoint. `relayed`: whether data can take a relay when a direct path
/// is cut.
pub(super) fn config(limits: &Limits, congestion: &Congestion, relayed: bool) -> QuicTransportConfig {
    let path_timeout = path_timeout(limits, relayed);
    let mut config = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.transport_streams()))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS))
        .receive_window(VarInt::from_u64(limits.unread_bytes).unwrap_or(VarInt::MAX))
        .stream_receive_window(VarInt::from_u32(Limits::STREAM_WINDOW))
        .send_window(Limits::SEND_WINDOW)
        .congestion_controller_factory(congestion.factory())
        .default_path_max_idle_timeout(path_timeout)
        .default_path_keep_alive_interval(path_keep_alive(path_timeout));
    if let Ok(idle) = IdleTimeout::try_from(limits.idle_timeout) {
        // Three keep-alives may be lost before a living connection is given up.
        let keep_alive = KEEP_ALIVE.min(limits.idle_timeout / 4);
        config = config.max_idle_timeout(Some(idle)).keep_alive_interval(keep_alive);
    }
    config.build()
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
