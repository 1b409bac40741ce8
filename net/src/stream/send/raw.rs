//! Writes that are not, or not only, data: the header, the answer, and the codes of lanes that are no data lanes.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use bytes::Bytes;

use super::SendStream;
use crate::{error::WriteError, stream::ending::Ending};

impl SendStream {
    /// Writes some bytes that are not, or not only, data: the header or the answer. Removes them from the front of
    /// `bytes`, which must not all be empty.
    ///
    /// Cancel-safe: a dropped call has written nothing.
    pub(crate) async fn write_raw_from(&mut self, bytes: &mut [Bytes]) -> Result<(), WriteError> {
        poll_fn(|cx| {
            // No answer is written on a stream that the peer has aborted, or that this side has ended in the
            // meantime: its access rules may do that.
            if self.lanes.is_aborted() || self.lanes.ending().is_some_and(Ending::is_ours) {
                return Poll::Ready(Err(self.lanes.write_error().unwrap_or(WriteError::EndedHere)));
            }
            let count = bytes.len();
            let mut left = &mut *bytes;
            let polled = self.lanes.quic_send().as_mut().map(|quic| pin!(quic.write_many_chunks(&mut left)).poll(cx));
            let whole = count - left.len();
            match polled.unwrap_or(Poll::Ready(Err(iroh::endpoint::WriteError::ClosedStream))) {
                Poll::Ready(Ok(_)) => {
                    bytes[..whole].fill(Bytes::new());
                    self.lanes.carrier.count_write();
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Err(error)) => self.failed(cx, error).map_ok(|_| ()),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Returns how many of `len` data bytes may be sent together with the header.
    pub(crate) fn early_room(&mut self, len: usize) -> usize {
        let carrier = &self.lanes.carrier;
        let room = self.credit.room(&self.lanes.credit, &carrier.credit, &**carrier, len as u64);
        usize::try_from(room).unwrap_or(usize::MAX).min(len)
    }

    /// Counts data that is sent together with the header, or with the answer.
    pub(crate) fn count_early(&mut self, len: usize) {
        if len > 0 {
            self.wrote(len);
        }
    }

    /// Records that the peer has accepted the stream.
    pub(crate) fn on_answer(&mut self) {
        self.lanes.agree();
        let mark = self.credit.on_answer();
        self.ask(mark);
    }

    /// Takes the QUIC stream out, if the stream turns out not to be a data lane.
    pub(crate) fn into_quic(mut self) -> Option<iroh::endpoint::SendStream> {
        self.let_go = true;
        self.lanes.quic_send().take()
    }

    /// Resets the lane with a code that [`WriteHalf`] does not use: for a rejection, or for malformed bytes.
    pub(crate) fn reset_with(&mut self, code: u64) {
        self.lanes.reset(code);
    }
}
