//! Bounds on what is awaited, for what is nearly always there at once.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::{error::Elapsed, timeout};

/// As tokio's `timeout`, for what is nearly always ready at once: only what is not costs a look at the clock, a timer, and
/// the room for it (130 bytes, which are copied as often as the caller's future is moved).
pub(crate) async fn within<F: Future>(bound: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let at_once = poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    });
    match at_once.await {
        Some(output) => Ok(output),
        None => Box::pin(timeout(bound, future)).await,
    }
}

/// What a future has to say now, if anything. To be polled again by somebody else, for it to be woken: nobody is now.
pub(crate) fn at_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::{Instant, sleep};

    use super::*;

    const BOUND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_is_ready_is_returned_and_what_takes_too_long_is_given_up_at_the_bound() {
        let begun = Instant::now();
        assert_eq!(within(BOUND, ready(1)).await, Ok(1));
        assert_eq!(within(BOUND, async { sleep(BOUND / 2).await }).await, Ok(()));
        assert_eq!(begun.elapsed(), BOUND / 2);
        assert!(within(BOUND, pending::<()>()).await.is_err());
        assert_eq!(begun.elapsed(), BOUND * 3 / 2);
    }

    #[test]
    fn only_what_is_ready_has_something_to_say() {
        assert_eq!(at_once(ready(1)), Some(1));
        assert_eq!(at_once(pending::<()>()), None);
    }
}
