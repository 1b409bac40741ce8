//! How many data lanes may be open: the opener's account and the acceptor's. As MAX_STREAMS in RFC 9000, section 4.6, in the
//! number of lanes opened on the connection in all, and raised as lanes end at the ACCEPTOR: what it still runs counts, however
//! early its opener has given up.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{
        AtomicU64,
        Ordering::{AcqRel, Acquire, SeqCst},
    },
};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// Lanes on one connection that are ever counted, whatever the peer says. A semaphore panics over twice this, and no connection
/// lives to see it: QUIC itself has at most 2^60 streams of a kind (RFC 9000, section 4.6).
const MOST: u64 = Semaphore::MAX_PERMITS as u64 / 2;

/// The opener's account.
#[derive(Debug)]
pub(crate) struct OpenCredit {
    /// Lanes that this side holds open itself: the peer's error lanes for them have to find room here.
    own: Arc<Semaphore>,
    own_max: u64,
    /// Lanes that the peer takes.
    granted: Semaphore,
    account: Mutex<Account>,
}

#[derive(Debug)]
struct Account {
    /// Lanes that may be opened in all.
    limit: u64,
    /// Lanes that were opened beyond it, when less was granted than was taken for granted.
    debt: u64,
}

impl OpenCredit {
    /// `own_max` lanes at most are held open at a time. `assumed` are taken for granted until the peer says more.
    pub(crate) fn new(own_max: u64, assumed: u64) -> Self {
        Self {
            own: Arc::new(Semaphore::new(permits(own_max))),
            own_max,
            granted: Semaphore::new(permits(assumed)),
            account: Mutex::new(Account { limit: assumed, debt: 0 }),
        }
    }

    /// The right to open a lane, if there is one now.
    pub(crate) fn try_take(&self) -> Result<OpenPermit<'_>, TryAcquireError> {
        let own = Arc::clone(&self.own).try_acquire_owned()?;
        let granted = self.granted.try_acquire()?;
        granted.forget();
        Ok(OpenPermit { credit: self, own: Some(own) })
    }

    /// The right to open a lane, once there is one.
    ///
    /// Cancel-safe.
    pub(crate) async fn take(&self) -> Result<OpenPermit<'_>, AcquireError> {
        let own = Arc::clone(&self.own).acquire_owned().await?;
        self.granted.acquire().await?.forget();
        Ok(OpenPermit { credit: self, own: Some(own) })
    }

    /// The peer takes so many lanes, in all. Smaller numbers than before say nothing.
    pub(crate) fn raise(&self, count: u64) {
        let mut account = self.lock();
        let more = count.min(MOST).saturating_sub(account.limit);
        account.limit += more;
        let paid = more.min(account.debt);
        account.debt -= paid;
        self.granted.add_permits(permits(more - paid));
    }

    /// The peer's HELLO says with how many lanes it begins, which may be fewer than were taken for granted.
    pub(crate) fn begin(&self, count: u64) {
        let mut account = self.lock();
        let less = account.limit.saturating_sub(count);
        account.limit -= less;
        account.debt += less - self.granted.forget_permits(permits(less)) as u64;
        drop(account);
        self.raise(count);
    }

    /// Lanes that this side holds open.
    pub(crate) fn held(&self) -> u64 {
        self.own_max.saturating_sub(self.own.available_permits() as u64)
    }

    /// No lane is opened any more, and nobody waits for one.
    pub(crate) fn close(&self) {
        self.own.close();
        self.granted.close();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to open one lane. Dropped without [`OpenPermit::use_up`], it is given back.
#[derive(Debug)]
pub(crate) struct OpenPermit<'a> {
    credit: &'a OpenCredit,
    own: Option<OwnedSemaphorePermit>,
}

impl OpenPermit<'_> {
    /// The lane is there: the peer will hear of it. What is returned is kept for as long as this side holds the lane.
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
    /// Lanes that may be open at a time.
    at_a_time: u64,
    seen: AtomicU64,
    ended: AtomicU64,
    /// What the peer was told last.
    told: AtomicU64,
}

impl Grants {
    pub(crate) fn new(at_a_time: u64) -> Self {
        Self { at_a_time, seen: AtomicU64::new(0), ended: AtomicU64::new(0), told: AtomicU64::new(at_a_time) }
    }

    /// The peer has opened a data lane. False if that is one more than it may have opened by now.
    pub(crate) fn on_lane(&self, assumed: u64) -> bool {
        // Sequentially consistent with `on_ended`: of a lane that is opened and one that ends at the same time, the later sees the
        // other, and tells the peer.
        let seen = self.seen.fetch_add(1, SeqCst) + 1;
        // Before it knows better a dialler takes some for granted.
        seen <= (self.at_a_time + self.ended.load(SeqCst)).max(assumed)
    }

    /// One of the peer's lanes has ended here.
    pub(crate) fn on_ended(&self) {
        self.ended.fetch_add(1, SeqCst);
    }

    /// What to tell the peer in any case: it is no less than what it was told before.
    pub(crate) fn renew(&self) -> u64 {
        let count = self.at_a_time + self.ended.load(SeqCst);
        self.told.fetch_max(count, AcqRel).max(count)
    }

    /// What to tell the peer, if it is time to: to be asked whenever a lane was opened or has ended. A peer that has opened all
    /// that it had left would wait for ever for lanes that ended when it had enough.
    pub(crate) fn due(&self) -> Option<u64> {
        let (seen, count) = (self.seen.load(SeqCst), self.at_a_time + self.ended.load(SeqCst));
        // A peer with more than half of its lanes left need not hear of those that have ended, and one with less hears of them by
        // eighths: one frame for some 100 requests, of the default's 256 lanes. A peer that is told when an eighth is left waits
        // for that: with 512 requests in flight, and 1,024 lanes, it had used up the rest before the frame came. One that has
        // fewer than an eighth is told of each: the others may stay open for hours.
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
        // In flight, and how many lanes end while a frame is on its way.
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
        /// Frames arrive late, lanes end at any time: an opener that keeps to its credit is never over the acceptor's count, and
        /// is never left without credit where a lane more could run.
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
