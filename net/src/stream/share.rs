//! How the lanes of a connection share what the peer may hold unread.
//!
//! A peer bounds the bytes that it holds for us, all lanes together, by the connection's flow control. Were the lanes
//! to take them first come, first served, those whose readers pause would take them all, and every other lane of the
//! connection would stall, error lanes included. So each writer keeps its lane to a share that shrinks as lanes are
//! added: the sum stays under the bound whatever the order in which they come and fill up, without a count that all
//! of them would have to keep.
//!
//! With a share of L / (10 n) for the n-th lane, n lanes hold at most L / 10 x (1 + 1/2 + ... + 1/n): 0.75 L for 1,024. From
//! there on the share falls with the square of n, and all further lanes together hold at most 0.1 L. Lanes with little
//! unread are not counted, so that requests take nothing from a transfer beside them: 0.1 L for as many as there can be,
//! whether they go on or have ended. What was not reported as read counts as unread, and who was counted once stays counted
//! until it ends. What is left is for error lanes and the control stream.

/// Lanes up to which the share falls with their number, and not with its square. More than the 878 of default limits.
const LINEAR: u64 = 1024;

/// The share of one of `lanes`, in bytes, where the peer holds at most `limit`.
pub(crate) fn of(limit: u64, lanes: usize) -> u64 {
    let lanes = lanes.max(1) as u64;
    let share = limit / 10 / lanes;
    (if lanes <= LINEAR { share } else { share / lanes.div_ceil(LINEAR) }).max(1)
}

/// What a lane may have unread without being counted, where the peer allows so many data lanes. Its transport allows fewer
/// than four streams for each (`Limits::transport_streams`), and it may open as many lanes itself.
pub(crate) fn little(limit: u64, data_lanes: u64) -> u64 {
    limit / 10 / data_lanes.max(1).saturating_mul(5)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lanes_that_come_one_after_the_other_and_fill_up_leave_room(
            limit in 1u64 << 20..1 << 32,
            data_lanes in 1u64..10_000,
            paused in 0usize..30_000,
        ) {
            let streams = data_lanes * 5;
            let counted = (paused as u64).min(streams);
            // A share is never less than what is not counted.
            let little_each = little(limit, data_lanes);
            let counted_bytes: u64 = (1..=counted).map(|lanes| of(limit, lanes as usize).max(little_each)).sum();
            // The others have so little unread that nobody counts it.
            let sum = counted_bytes + (streams - counted) * little(limit, data_lanes);
            prop_assert!(sum < limit / 100 * 97, "{counted} of {streams} hold {sum} of {limit}");
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
