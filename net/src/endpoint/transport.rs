//! How QUIC is set up: windows, timeouts, congestion control.

use std::{sync::Arc, time::Duration};

use iroh::endpoint::{AckFrequencyConfig, IdleTimeout, QuicTransportConfig, VarInt};

use super::congestion::ByDistance;
use crate::limits::Limits;

/// Unacknowledged bytes on one connection, all streams together. Eight streams at the full window, and 1 MiB; error
/// lanes go out first but count as well, so less would let data hold them up for a round trip.
pub(super) const SEND_WINDOW: u64 = 8 * Limits::STREAM_WINDOW as u64 + 1024 * 1024;
/// A sender waits for so long, beyond the round trip, before it sends a packet anew that nothing was sent after: a response that
/// is lost has nothing after it. With the default of 25 ms that was half of what a request over 20 ms took that met a loss. A
/// peer that has other things to do is later than this by itself, and what is sent twice is one packet.
const ACK_DELAY: Duration = Duration::from_millis(5);
/// What iroh sends by default on a silent connection; more often with a shorter idle timeout.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Unidirectional streams of the peer: its control stream, and room for kinds of later versions.
const UNI_STREAMS: u32 = 8;

/// The transport of an endpoint. `relayed`: whether data can take a relay when a direct path is cut.
pub(super) fn config(limits: &Limits, relayed: bool) -> QuicTransportConfig {
    let path_timeout = path_timeout(limits, relayed);
    let mut config = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.transport_streams()))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS))
        .receive_window(VarInt::from_u64(limits.unread_bytes).unwrap_or(VarInt::MAX))
        .stream_receive_window(VarInt::from_u32(Limits::STREAM_WINDOW))
        .send_window(SEND_WINDOW)
        .congestion_controller_factory(Arc::new(ByDistance))
        .ack_frequency_config(Some(acknowledgements()))
        .default_path_max_idle_timeout(path_timeout)
        .default_path_keep_alive_interval(path_keep_alive(path_timeout));
    if let Ok(idle) = IdleTimeout::try_from(limits.idle_timeout) {
        // Three keep-alives may be lost before a living connection is given up.
        let keep_alive = KEEP_ALIVE.min(limits.idle_timeout / 4);
        config = config.max_idle_timeout(Some(idle)).keep_alive_interval(keep_alive);
    }
    config.build()
}

/// How the peer is to acknowledge, where it takes requests (draft-ietf-quic-ack-frequency). At every second packet, and at once
/// when one is missing, as RFC 9000 has it and as without the extension: with every tenth there were no fewer packets on
/// loopback, since acknowledgements travel along with data. What changes is how long a single packet may go without.
pub(super) fn acknowledgements() -> AckFrequencyConfig {
    let mut config = AckFrequencyConfig::default();
    config
        .ack_eliciting_threshold(VarInt::from_u32(1))
        .reordering_threshold(VarInt::from_u32(1))
        .max_ack_delay(Some(ACK_DELAY));
    config
}

/// How long a connection may be silent before its peer is dialled anew, if somebody waits for it: a packet that keeps a path
/// alive, and as long as a path may take to be known as dead.
pub(super) fn silence(limits: &Limits, relayed: bool) -> Duration {
    path_keep_alive(path_timeout(limits, relayed)) + limits.path_timeout
}

/// Without a relay a path that is given up has no successor: finding out sooner would cost packets for nothing.
fn path_timeout(limits: &Limits, relayed: bool) -> Duration {
    if relayed { limits.path_timeout } else { Limits::PATH_TIMEOUT_MAX }
}

/// Two of three in a row may be lost, and what answers them.
fn path_keep_alive(path_timeout: Duration) -> Duration {
    path_timeout / 3
}
