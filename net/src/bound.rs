//! Two variants of tokio's `timeout`, and a function that polls a future once.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::{error::Elapsed, timeout};

/// Like tokio's `timeout`, for a future that is nearly always ready at the first poll. Only a future that is not
/// ready costs a look at the clock, a timer, and the memory for the timer: 130 bytes. They are boxed; as part of
/// the caller's future they would be copied each time that future is moved.
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

/// Number of times that [`while_heard`] checks within `bound` whether a packet has come.
const LOOKS: u32 = 10;
/// Maximum duration of [`while_heard`], in multiples of `bound`: a peer that sends something only now and then
/// does not hold a place for ever.
const BOUNDS_AT_MOST: u32 = 3;

/// Like tokio's `timeout`, for a message that a peer has to send. Time in which no packet comes from the peer does
/// not count, up to three times `bound` in all. The reason: the peer's network may be interrupted, and a packet
/// that was lost before the interruption may be sent again only when as much time again has passed. A tenth of
/// `bound` in which a packet comes counts in full. `heard` returns the number of packets that have come.
pub(crate) async fn while_heard<F: Future>(
    bound: Duration,
    mut heard: impl FnMut() -> u64,
    future: F,
) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let (mut counted, mut before) = (0, heard());
    for _ in 1..BOUNDS_AT_MOST * LOOKS {
        match timeout(bound / LOOKS, &mut future).await {
            Ok(output) => return Ok(output),
            Err(elapsed) => {
                let now = heard();
                counted += u32::from(std::mem::replace(&mut before, now) != now);
                if counted >= LOOKS {
                    return Err(elapsed);
                }
            }
        }
    }
    timeout(bound / LOOKS, future).await
}

/// Polls a future once, and returns its output if it is ready. The poll registers no waker: a future that is not
/// ready has to be polled again elsewhere before it can wake a task.
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

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nothing_comes_does_not_count_up_to_three_times_the_bound() {
        let begun = Instant::now();
        let comes = |after: u32, every: u32| {
            let elapsed = begun.elapsed();
            move || u64::from((begun.elapsed() - elapsed).as_millis() as u32 / 100 / every).min(after.into())
        };
        // Packets come all the time.
        assert!(while_heard(BOUND, comes(u32::MAX, 1), pending::<()>()).await.is_err());
        assert_eq!(begun.elapsed(), BOUND);
        // Packets come in every other tenth of the bound. After that they come only in the first three tenths.
        assert!(while_heard(BOUND, comes(u32::MAX, 2), pending::<()>()).await.is_err());
        assert_eq!(begun.elapsed(), BOUND * 3);
        assert!(while_heard(BOUND, comes(3, 1), pending::<()>()).await.is_err());
        assert_eq!(begun.elapsed(), BOUND * 6);
        assert_eq!(while_heard(BOUND, comes(3, 1), sleep(BOUND * 2)).await, Ok(()));
    }

    #[test]
    fn only_what_is_ready_has_something_to_say() {
        assert_eq!(at_once(ready(1)), Some(1));
        assert_eq!(at_once(pending::<()>()), None);
    }
}
