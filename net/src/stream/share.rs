//! How the lanes of a connection share what the peer may hold unread.
//!
//! A peer bounds the bytes that it holds for us, all lanes together, by the connection's flow control. Were the lanes
//! to take them first come, first served, those whose readers pause would take them all, and every other lane of the
//! connection would stall, error lanes included. So each writer keeps its lane to a share that shrinks as lanes are
//! added: the sum stays under the bound whatever the order in which they come and fill up, without a count that all
//! of them would have to keep.
//!
//! With a share of L / (10 n) for the n-th lane, n lanes hold at most L / 10 x (1 + 1/2 + ... + 1/n): 0.72 L for the 768
//! that the default limits allow. Lanes that ended with at most L / 4,096 unread are not counted: 0.19 L for as many.
//! What is left is for error lanes and the control stream.

/// The share of one of `lanes`, in bytes, where the peer holds at most `limit`.
pub(crate) fn of(limit: u64, lanes: usize) -> u64 {
    (limit / 10 / (lanes.max(1) as u64)).max(least(limit))
}

/// The smallest share: what is too little to be counted once its lane has ended.
pub(crate) fn least(limit: u64) -> u64 {
    (limit / 4096).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lanes_that_come_one_after_the_other_and_fill_up_leave_room(
            limit in 1u64 << 20..1 << 32,
            held in prop::collection::vec(any::<bool>(), 1..768),
        ) {
            let (mut lanes, mut sum) = (0, 0);
            for paused in held {
                if paused {
                    lanes += 1;
                    sum += of(limit, lanes);
                } else {
                    // Ended with so little unread that nobody counts it.
                    sum += least(limit);
                }
            }
            prop_assert!(sum < limit / 100 * 95, "{lanes} lanes hold {sum} of {limit}");
        }
    }

    #[test]
    fn a_few_lanes_have_the_window_of_a_stream_each() {
        assert!(of(64 << 20, 3) > 2_000_000);
    }

    #[test]
    fn no_share_is_nothing() {
        assert_eq!(of(0, usize::MAX), 1);
    }
}
