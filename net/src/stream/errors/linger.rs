//! The rest of a data lane that has failed, while its peer still reads.

use std::sync::Arc;

use tokio::time::timeout;

use crate::{stream::lanes::Lanes, wire::codes::lane};

/// Keeps a failed lane until the peer has read the bytes before the error, and stops the lane to confirm that.
/// RESET_STREAM would discard the bytes that the peer has yet to read, and FIN would tell the peer that the data is
/// complete.
pub(in crate::stream) async fn linger(lanes: Arc<Lanes>) {
    // noq sends FIN when the stream is dropped, and tasks are dropped when their runtime ends.
    let mut end = ResetOnDrop { code: lane::TIMED_OUT, lanes };
    let Some(stopped) = end.lanes.stopped() else { return };
    let lanes = &end.lanes;
    let code = tokio::select! {
        stopped = timeout(lanes.carrier.limits.linger, stopped) => match stopped {
            Ok(_) => lane::DONE,
            Err(_) => lane::TIMED_OUT,
        },
        // The record with the reason cannot be sent to the peer, so it gets a reset.
        () = lanes.errors().undeliverable.notified() => lane::FAILED,
    };
    end.code = code;
}

struct ResetOnDrop {
    code: u64,
    lanes: Arc<Lanes>,
}

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        self.lanes.reset(self.code);
        self.lanes.let_go_of_send();
    }
}
