//! Faults of the library that are known: seen for certain, described here, and legal nowhere else. Pure.
//!
//! A test beside each shows it alone, and fails when it is not seen any more: then it is mended, and its rule has to go.

use super::{
    judge::let_go,
    plan::{Plan, other},
    play::{ReadEnd, Seen, WriteEnd},
};
use crate::stream_tester::role::Side;

/// `SendStream::warn` promises, "if the stream has failed, the reason". While the peer's fatal record is on its way, the lane of
/// warnings is already closed at the peer: the call then returns `WriteError::Stopped` with DONE or NO_SUCH_LANE, whose words
/// are "gave no reason", and the reason is read a moment later.
pub fn hides_the_reason(plan: &Plan, side: Side, seen: &Seen) -> bool {
    let stopped = matches!(seen.write_end, WriteEnd::Unheard { code } if let_go(code));
    let told = matches!(seen.read_end, ReadEnd::Failed { .. } | ReadEnd::Aborted { .. });
    stopped && told && plan.part(other(side)).end.tells()
}

#[cfg(test)]
mod tests {
    use twolane::{Endpoint, ReadError, StreamError, WriteError};

    use super::*;

    /// Streams until the two have met once; seen is one in some tens.
    const STREAMS: usize = 5_000;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_warning_to_a_peer_that_aborts_is_at_times_not_told_why() {
        let [here, there] =
            [Endpoint::builder().offline().bind().await.unwrap(), Endpoint::builder().offline().bind().await.unwrap()];
        there
            .serve("known/1", |stream| async move {
                let (mut send, _recv) = stream.split();
                let _ = send.abort(StreamError::new(7, "why")).await;
            })
            .unwrap();
        for _ in 0..STREAMS {
            // An abort may come before the answer has been read.
            let Ok(stream) = here.get_stream(there.ticket(), "known/1").await else {
                continue;
            };
            let (send, mut recv) = stream.split();
            let told = loop {
                if let Err(told) = send.warn(StreamError::new(1, "a warning")).await {
                    break told;
                }
            };
            let reason = recv.read_chunk(usize::MAX).await;
            if matches!(told, WriteError::Stopped { code } if let_go(code))
                && matches!(reason, Err(ReadError::Aborted(_)))
            {
                return;
            }
        }
        panic!("every warning was told why: the fault is mended, and its rule has to go");
    }
}
