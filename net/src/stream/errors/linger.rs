//! What is left of a lane that failed while its peer still reads.

use std::sync::Arc;

use tokio::time::timeout;

use crate::{
    stream::{carrier::code_to_varint, lanes::Lanes, state::SendEvent},
    wire::codes::lane,
};

/// Keeps a failed lane until the peer has read the bytes before the error, and says so by stopping it. RESET_STREAM
/// would throw away what it has yet to read, and FIN would tell it that the data is complete.
pub(in crate::stream) async fn linger(quic: iroh::endpoint::SendStream, lanes: Arc<Lanes>) {
    let mut quic = ResetOnDrop { quic, code: lane::TIMED_OUT };
    tokio::select! {
        stopped = timeout(lanes.carrier.limits.linger, quic.quic.stopped()) => if stopped.is_ok() {
            quic.code = lane::DONE;
        },
        // Nobody can tell the peer why: what it gets is a reset.
        () = lanes.undeliverable.notified() => quic.code = lane::FAILED,
    }
    lanes.on_send(SendEvent::PeerStopped);
}

/// The stream below sends FIN when it is dropped, and tasks are dropped when their runtime ends.
struct ResetOnDrop {
    quic: iroh::endpoint::SendStream,
    code: u64,
}

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        let _ = self.quic.reset(code_to_varint(self.code));
    }
}
