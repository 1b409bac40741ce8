//! The number of data lanes that may be open: the opener's account and the acceptor's account. As with MAX_STREAMS
//! (RFC 9000, section 4.6), the limit is the total number of lanes opened on the connection. It is raised as lanes
//! end at the acceptor: a lane that the acceptor still runs counts, however early its opener has given up.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{
        AtomicU64,
        Ordering::{AcqRel, Acquire, SeqCst},
    },
};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// Maximum number of lanes that is counted on one connection, whatever the peer announces. A tokio semaphore panics
/// at more than twice this number. No connection comes near it: QUIC has at most 2^60 streams of a type (RFC 9000,
/// section 4.6).
const MOST: u64 = Semaphore::MAX_PERMITS as u64 / 2;

/// The opener's account.
#[derive(Debug)]
pub(crate) struct OpenCredit {
    /// Permits for the lanes that this side holds open itself. They are limited because the peer's error lanes for
    /// them must find room here.
    own: Arc<Semaphore>,
    own_max: u64,
    /// Permits for the lanes that the peer allows.
    granted: Semaphore,
    account: Mutex<Account>,
}

#[derive(Debug)]
struct Account {
    /// Total number of lanes that may be opened.
    limit: u64,
    /// Number of lanes that were opened beyond the limit, because the peer grants fewer than this side had assumed.
    debt: u64,
}

impl OpenCredit {
    /// Creates the account. This side holds at most `own_max` lanes open at a time. It assumes that it may open
    /// `assumed` lanes until the peer announces a number.
    pub(crate) fn new(own_max: u64, assumed: u64) -> Self {
        Self {
            own: Arc::new(Semaphore::new(permits(own_max))),
            own_max,
            granted: Semaphore::new(permits(assumed)),
            account: Mutex::new(Account { limit: assumed, debt: 0 }),
        }
    }

    /// Returns a permit to open a lane, if there is one now.
    pub(crate) fn try_take(&self) -> Result<OpenPermit<'_>, TryAcquireError> {
        let own = Arc::clone(&self.own).try_acquire_owned()?;
        let granted = self.granted.try_acquire()?;
        granted.forget();
        Ok(OpenPermit { credit: self, own: Some(own) })
    }

    /// Waits for a permit to open a lane.
    ///
    /// Cancel-safe.
    pub(crate) async fn take(&self) -> Result<OpenPermit<'_>, AcquireError> {
        let own = Arc::clone(&self.own).acquire_owned().await?;
        self.granted.acquire().await?.forget();
        Ok(OpenPermit { credit: self, own: Some(own) })
    }

    /// Records that the peer allows `count` lanes in total. A number that is smaller than an earlier one has no
    /// effect.
    pub(crate) fn raise(&self, count: u64) {
        let mut account = self.lock();
        let more = count.min(MOST).saturating_sub(account.limit);
        account.limit += more;
        let paid = more.min(account.debt);
        account.debt -= paid;
        self.granted.add_permits(permits(more - paid));
    }

    /// Records the number of lanes of the peer's HELLO, which may be smaller than the assumed number.
    pub(crate) fn begin(&self, count: u64) {
        let mut account = self.lock();
        let less = account.limit.saturating_sub(count);
        account.limit -= less;
        account.debt += less - self.granted.forget_permits(permits(less)) as u64;
        drop(account);
        self.raise(count);
    }

    /// Returns the number of lanes that this side holds open.
    pub(crate) fn held(&self) -> u64 {
        self.own_max.saturating_sub(self.own.available_permits() as u64)
    }

    /// From now on no lane is opened, and no call waits for a permit.
    pub(crate) fn close(&self) {
        self.own.close();
        self.granted.close();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A permit to open one lane. If it is dropped without [`OpenPermit::use_up`], it is given back.
#[derive(Debug)]
pub(crate) struct OpenPermit<'a> {
    credit: &'a OpenCredit,
    own: Option<OwnedSemaphorePermit>,
}

impl OpenPermit<'_> {
    /// Uses the permit for a lane that was opened, and of which the peer will learn. The returned permit is kept for
    /// as long as this side holds the lane.
    pub(crate) fn use_up(mut self) -> Option<OwnedSemaphorePermit> {
        self.own.take()
    }
}

impl Drop for OpenPermit<'_> {
    fn drop(&mut self) {
        if self.own.is_some() {
            self.credit.granted.add_permits(1);
        }
    }
}

/// The acceptor's account.
#[derive(Debug)]
pub(crate) struct Grants {
    /// Number of lanes that may be open at a time.
    at_a_time: u64,
    seen: AtomicU64,
    ended: AtomicU64,
    /// The count that the peer was told last.
    told: AtomicU64,
}

impl Grants {
    pub(crate) fn new(at_a_time: u64) -> Self {
        Self { at_a_time, seen: AtomicU64::new(0), ended: AtomicU64::new(0), told: AtomicU64::new(at_a_time) }
    }

    /// Records that the peer has opened a data lane. Returns false if that is one more than it may have opened by
    /// now.
    pub(crate) fn on_lane(&self, assumed: u64) -> bool {
        // Sequentially consistent with `on_ended`. If one lane is opened and another one ends at the same time, the
        // later of the two calls sees the other, and tells the peer.
        let seen = self.seen.fetch_add(1, SeqCst) + 1;
        // Before HELLO a dialler assumes that it may open some lanes.
        seen <= (self.at_a_time + self.ended.load(SeqCst)).max(assumed)
    }

    /// Records that one of the peer's lanes has ended here.
    pub(crate) fn on_ended(&self) {
        self.ended.fetch_add(1, SeqCst);
    }

    /// Returns the count to tell the peer even if it is not due. It is not smaller than the count that the peer was
    /// told before.
    pub(crate) fn renew(&self) -> u64 {
        let count = self.at_a_time + self.ended.load(SeqCst);
        self.told.fetch_max(count, AcqRel).max(count)
    }

    /// Returns the count to tell the peer, if that is due. Must be called whenever a lane was opened or has ended.
    /// Otherwise a peer that has opened all the lanes that it had left would wait for ever for lanes that ended while
    /// it had enough left.
    pub(crate) fn due(&self) -> Option<u64> {
        let (seen, count) = (self.seen.load(SeqCst), self.at_a_time + self.ended.load(SeqCst));
        // A peer with more than half of its lanes left need not be told of lanes that have ended. A peer with less is
        // told of them by eighths: with the default of 256 lanes, one frame for some 100 requests. If a peer were
        // told only when an eighth is left, it would wait for the frame: with 512 requests in flight and 1,024 lanes,
        // it had used up the rest before the frame came. A peer with less than an eighth left is told of each lane:
        // the other lanes may stay open for hours.
        let few = (self.at_a_time / 8).max(1);
        let tell = |told: u64| {
            let (more, left) = (count.saturating_sub(told), told.saturating_sub(seen));
            let due = left < few || (left <= self.at_a_time / 2 && more >= few);
            (more > 0 && due).then_some(count)
        };
        self.told.fetch_update(AcqRel, Acquire, tell).ok().map(|_| count)
    }
}

fn permits(count: u64) -> usize {
    usize::try_from(count.min(MOST)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(credit: &OpenCredit) -> bool {
        credit.try_take().is_ok_and(|permit| permit.use_up().is_some())
    }

    fn ended(grants: &Grants) -> Option<u64> {
        grants.on_ended();
        grants.due()
    }

    #[test]
    fn what_is_told_in_any_case_is_never_less_than_before_and_is_not_told_again() {
        let grants = Grants::new(16);
        assert_eq!(grants.renew(), 16);
        for _ in 0..16 {
            grants.on_lane(0);
            grants.on_ended();
        }
        assert_eq!((grants.renew(), grants.due(), grants.renew()), (32, None, 32));
    }

    #[test]
    fn a_lane_that_ended_here_is_open_until_it_ends_at_the_peer() {
        let (credit, grants) = (OpenCredit::new(100, 16), Grants::new(4));
        credit.begin(4);
        for _ in 0..4 {
            assert!(open(&credit));
            assert!(grants.on_lane(16));
        }
        assert!(!open(&credit), "this side has let go of all four, and the peer of none");
        let told = ended(&grants).expect("one of four is an eighth and more");
        credit.raise(told);
        assert!(open(&credit));
        assert!(!open(&credit));
    }

    #[test]
    fn an_opener_with_half_of_its_lanes_in_flight_never_waits_for_a_frame_that_takes_as_long_as_most_of_them() {
        const LANES: u64 = 1_024;
        // The number of lanes in flight, and the number of lanes that end while a frame is on its way.
        for (in_flight, late) in [(1, 0), (64, 64), (512, 380)] {
            let (credit, grants) = (OpenCredit::new(2 * LANES, LANES), Grants::new(LANES));
            let mut frames = std::collections::VecDeque::new();
            let mut told = 0;
            for lane in 0..20 * LANES {
                while frames.front().is_some_and(|(at, _)| at + late <= lane) {
                    let (_, count) = frames.pop_front().unwrap();
                    credit.raise(count);
                }
                assert!(open(&credit), "{in_flight} in flight: lane {lane} waits");
                assert!(grants.on_lane(LANES));
                if lane >= in_flight
                    && let Some(count) = ended(&grants)
                {
                    frames.push_back((lane, count));
                    told += 1;
                }
            }
            assert!(told <= 20 * 8, "{in_flight} in flight: {told} frames");
        }
    }

    #[test]
    fn lanes_that_were_taken_for_granted_and_are_not_are_waited_for() {
        let credit = OpenCredit::new(100, 16);
        for _ in 0..10 {
            assert!(open(&credit));
        }
        credit.begin(2);
        credit.raise(10);
        assert!(!open(&credit), "ten have been opened, and ten may be");
        credit.raise(11);
        assert!(open(&credit));
        assert!(!open(&credit));
    }

    #[test]
    fn a_peer_that_takes_more_lanes_than_there_can_be_breaks_nothing() {
        for hello in [0, 5, 1 << 60, (1 << 62) - 1] {
            let credit = OpenCredit::new(100, 16);
            credit.begin(hello);
            for count in [1 << 59, 1 << 60, 1 << 61, (1 << 62) - 1, u64::MAX] {
                credit.raise(count);
            }
            assert!(open(&credit));
        }
    }

    #[test]
    fn a_right_that_is_not_used_is_given_back() {
        let credit = OpenCredit::new(2, 1);
        drop(credit.try_take());
        assert!(open(&credit));
        assert!(credit.try_take().is_err());
        assert_eq!(credit.held(), 0, "no lane is held by this side");
    }

    #[test]
    fn a_peer_whose_other_lanes_stay_open_is_told_of_each_that_ends() {
        let grants = Grants::new(256);
        assert!((0..256).all(|_| grants.on_lane(0)));
        assert_eq!(ended(&grants), Some(257));
        assert_eq!(ended(&grants), Some(258));
        let grants = Grants::new(256);
        assert!((0..10).all(|_| grants.on_lane(0)));
        assert!((0..10).all(|_| ended(&grants).is_none()), "it has hundreds left");
    }

    #[test]
    fn a_peer_that_opens_the_last_lanes_it_has_is_told_of_those_that_ended_before() {
        let grants = Grants::new(256);
        for _ in 0..127 {
            assert!(grants.on_lane(0));
            assert_eq!(ended(&grants), None, "it has more than half left");
        }
        let mut told = 256;
        for seen in 128..=383 {
            assert!(grants.on_lane(0) && seen <= told, "{seen} lanes of {told}");
            told = grants.due().unwrap_or(told);
        }
        assert_eq!(told, 256 + 127, "as many as may run at a time");
    }

    #[test]
    fn more_lanes_than_were_granted_are_noticed() {
        let grants = Grants::new(2);
        assert!(grants.on_lane(0) && grants.on_lane(0));
        assert!(!grants.on_lane(0));
        let grants = Grants::new(2);
        assert!((0..16).all(|_| grants.on_lane(16)), "before it has read HELLO");
        assert!(!grants.on_lane(16));
    }

    proptest! {
        /// Frames arrive late, and lanes end at any time. An opener that keeps to its credit is never over the
        /// acceptor's count, and is never left without credit where one lane more could run.
        #[test]
        fn opener_and_acceptor_agree_whatever_is_late(
            at_a_time in 1..40u64,
            steps in prop::collection::vec(0..4u8, 0..400),
        ) {
            let (credit, grants) = (OpenCredit::new(1_000, 16), Grants::new(at_a_time));
            let (mut told, mut on_the_way, mut running) = (Vec::new(), 0u64, 0u64);
            let (mut begun, mut opened) = (false, 0u64);
            for step in steps {
                match step {
                    0 if open(&credit) => { on_the_way += 1; opened += 1 }
                    1 if on_the_way > 0 => {
                        on_the_way -= 1;
                        running += 1;
                        prop_assert!(grants.on_lane(16), "an honest opener is over the count");
                        prop_assert!(running <= at_a_time.max(16));
                        told.extend(grants.due());
                    }
                    2 if running > 0 => { running -= 1; told.extend(ended(&grants)) }
                    3 if !begun => { credit.begin(at_a_time); begun = true }
                    3 if !told.is_empty() => credit.raise(told.remove(0)),
                    _ => {}
                }
            }
            if !begun { credit.begin(at_a_time) }
            for _ in 0..on_the_way {
                prop_assert!(grants.on_lane(16));
                running += 1;
                told.extend(grants.due());
            }
            while running >= at_a_time {
                running -= 1;
                told.extend(ended(&grants));
            }
            told.into_iter().for_each(|count| credit.raise(count));
            prop_assert!(open(&credit), "stuck after {} lanes, of which {} run", opened, running);
        }
    }
}
