//! The shares of the lanes of a connection in the bytes that the peer may hold unread.
//!
//! A peer limits the bytes that it holds unread for this side, of all lanes together, by the flow control window of
//! the connection. If the lanes took these bytes first come, first served, the lanes with paused readers would take
//! all of them. Every other lane of the connection would stall, error lanes included. So each writer keeps its lane
//! within a share that shrinks as lanes are added. The sum stays under the limit in whatever order lanes come and
//! fill up.
//!
//! L is the limit. With a share of L / (40 n) for the n-th lane, n lanes hold at most L / 40 x (1 + 1/2 + ... + 1/n):
//! 0.19 L for 1,024 lanes. From there on the share falls with the square of n, and all further lanes together hold at
//! most 0.03 L. Lanes with little unread are not counted, so that requests take nothing from a transfer beside them.
//! They hold 0.125 L for the maximum number of lanes, open or ended. That is 1,638 bytes each if 1,024 lanes may be
//! open, and the other limits have their defaults: for a request of 1 KiB the peer is asked nothing. Data that was
//! not reported as read counts as unread. A lane that was counted once stays counted until it ends.
//!
//! Most readers do read, and most lanes that are counted hold little. So 0.6 L more is lent to lanes that want more
//! than their share. A loan is at most a ninth of what is left, so that there is always something left ([`Pool`];
//! "dynamic thresholds", Choudhury and Hahne 1998, for the buffers of switches). With shares of 13 kB and no loans,
//! requests of 64 KiB took several round trips each when 512 of them were in flight. The rest of L is for error lanes
//! and the control stream.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Number of lanes up to which the share falls with the number of lanes, and not with its square. It is more than the
/// 878 streams that the default limits allow.
const LINEAR: u64 = 1024;
/// Divisor of the maximum loan: one lane may have a ninth of the bytes of the pool that are not lent to other lanes.
const PART: u64 = 9;

/// Returns the share of one of `lanes` lanes, in bytes, if the peer holds at most `limit` bytes.
pub(crate) fn of(limit: u64, lanes: usize) -> u64 {
    let lanes = lanes.max(1) as u64;
    let share = limit / 40 / lanes;
    (if lanes <= LINEAR { share } else { share / lanes.div_ceil(LINEAR) }).max(1)
}

/// Returns how many bytes a lane may have unread without being counted, if the peer allows `data_lanes` data lanes.
/// The peer's QUIC implementation allows fewer than four streams for each of them (`Limits::transport_streams`), and
/// the peer may open as many lanes itself.
pub(crate) fn little(limit: u64, data_lanes: u64) -> u64 {
    limit / 8 / data_lanes.max(1).saturating_mul(5)
}

/// The bytes that are lent to the lanes of a connection beyond their shares.
#[derive(Debug)]
pub(crate) struct Pool {
    bytes: AtomicU64,
    lent: AtomicU64,
}

impl Pool {
    /// Creates the pool for a peer that holds at most `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        let pool = Self { bytes: AtomicU64::new(0), lent: AtomicU64::new(0) };
        pool.set_limit(limit);
        pool
    }

    /// Sets the number of bytes that the peer holds at most. Bytes that are lent already stay lent.
    pub(crate) fn set_limit(&self, limit: u64) {
        self.bytes.store(limit / 5 * 3, Relaxed);
    }

    /// Returns how many bytes one lane more could borrow now.
    pub(crate) fn next(&self) -> u64 {
        most(self.bytes.load(Relaxed), self.lent.load(Relaxed), 0)
    }

    /// Raises a loan to `wanted` bytes, or to the maximum that it may have. A loan that is larger already stays as it
    /// is.
    pub(crate) fn borrow(self: &Arc<Self>, loan: &mut Option<Loan>, wanted: u64) {
        // Loaded once, so that the sum and the loan grow by the same number of bytes.
        let (bytes, has) = (self.bytes.load(Relaxed), loan.as_ref().map_or(0, |loan| loan.bytes));
        let more = |lent| wanted.min(most(bytes, lent, has)).saturating_sub(has);
        let lend = |lent| Some(lent + more(lent)).filter(|_| more(lent) > 0);
        let Ok(lent) = self.lent.fetch_update(Relaxed, Relaxed, lend) else { return };
        loan.get_or_insert_with(|| Loan { pool: Arc::clone(self), bytes: 0 }).bytes += more(lent);
    }
}

/// Returns the maximum loan of a lane, from a pool of `bytes` of which `lent` are lent, `has` of them to this lane: a
/// part of the bytes that are not lent to other lanes.
fn most(bytes: u64, lent: u64, has: u64) -> u64 {
    (bytes + has).saturating_sub(lent) / PART
}

/// The bytes that are lent to one lane. They are given back on drop.
#[derive(Debug)]
pub(crate) struct Loan {
    pool: Arc<Pool>,
    bytes: u64,
}

impl Loan {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives back the bytes that are more than `needed`.
    pub(crate) fn keep(loan: &mut Option<Self>, needed: u64) {
        if needed == 0 {
            *loan = None;
        } else if let Some(loan) = loan {
            let back = loan.bytes.saturating_sub(needed);
            loan.bytes -= back;
            loan.pool.lent.fetch_sub(back, Relaxed);
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.pool.lent.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_of_a_kilobyte_is_little_where_a_thousand_lanes_may_be_open() {
        let limit = crate::Limits::default().unread_bytes.min(crate::Limits::SEND_WINDOW);
        assert!(little(limit, 1_024) >= 1_024);
    }

    proptest! {
        #[test]
        fn lanes_that_come_one_after_the_other_and_fill_up_leave_room(
            limit in 1u64 << 20..1 << 32,
            data_lanes in 1u64..10_000,
            paused in 0usize..30_000,
        ) {
            let streams = data_lanes * 5;
            let counted = (paused as u64).min(streams);
            // A share is never less than the number of bytes that is not counted.
            let little_each = little(limit, data_lanes);
            let counted_bytes: u64 = (1..=counted).map(|lanes| of(limit, lanes as usize).max(little_each)).sum();
            // The other lanes have so little unread that they are not counted.
            let all_lent = limit / 5 * 3;
            let sum = counted_bytes + (streams - counted) * little(limit, data_lanes) + all_lent;
            prop_assert!(sum < limit / 100 * 97, "{counted} of {streams} hold {sum} of {limit}");
        }
    }

    proptest! {
        #[test]
        fn what_is_lent_is_never_all_and_is_given_back(
            steps in prop::collection::vec((0usize..40, 0..9, 0u64..8 << 20), 1..400),
        ) {
            let pool = Arc::new(Pool::new(64 << 20));
            let mut loans: Vec<Option<Loan>> = (0..40).map(|_| None).collect();
            for (lane, what, bytes) in steps {
                if what == 8 {
                    // HELLO arrives when something is lent already.
                    pool.set_limit(bytes * 16);
                    continue;
                }
                let borrows = what < 4;
                let before = loans[lane].as_ref().map_or(0, Loan::bytes);
                if borrows {
                    pool.borrow(&mut loans[lane], bytes);
                } else {
                    Loan::keep(&mut loans[lane], bytes);
                }
                let after = loans[lane].as_ref().map_or(0, Loan::bytes);
                let range = if borrows { before..=before.max(bytes) } else { before.min(bytes)..=before.min(bytes) };
                prop_assert!(range.contains(&after), "{before} {after} {bytes}");
                let lent: u64 = loans.iter().flatten().map(Loan::bytes).sum();
                prop_assert_eq!(lent, pool.lent.load(Relaxed));
                prop_assert!(!borrows || after == before || lent < pool.bytes.load(Relaxed));
            }
            drop(loans);
            prop_assert_eq!(pool.lent.load(Relaxed), 0);
        }
    }

    #[test]
    fn five_hundred_requests_of_64_kib_have_room_for_all_of_it() {
        let (limit, pool) = (64 << 20, Arc::new(Pool::new(64 << 20)));
        let mut loans: Vec<Option<Loan>> = (0..512).map(|_| None).collect();
        for loan in &mut loans {
            pool.borrow(loan, (64 << 10) - of(limit, 512));
        }
        let least = loans.iter().map(|loan| loan.as_ref().map_or(0, Loan::bytes)).min().unwrap();
        assert_eq!(least + of(limit, 512), 64 << 10);
    }

    #[test]
    fn a_few_lanes_have_the_window_of_a_stream_each() {
        let (window, pool) = (2_200_000, Arc::new(Pool::new(64 << 20)));
        let mut loans: [Option<Loan>; 10] = Default::default();
        for (n, loan) in loans.iter_mut().enumerate() {
            let share = of(64 << 20, n + 1);
            pool.borrow(loan, window - share.min(window));
            assert!(share + loan.as_ref().map_or(0, Loan::bytes) >= window, "{n}");
        }
    }

    #[test]
    fn no_share_is_nothing() {
        assert_eq!(of(0, usize::MAX), 1);
    }
}
