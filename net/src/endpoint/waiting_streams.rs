//! The streams that wait until the program takes them. Pure.
//!
//! Every operation takes O(log n) comparisons if n streams wait. The reason: the router's lock is held during each
//! operation, and every stream of every peer needs that lock. The orders are trees and not hash tables, because
//! peers choose the keys and the names, and could choose colliding ones.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

/// The place of a stream in the order of arrival. A stream with a lower place has waited longer. No place is given
/// twice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(u64);

/// Streams that wait: `P` is a peer, `N` the name of a protocol, and `W` the value that is kept for a stream.
#[derive(Debug)]
pub(super) struct WaitingStreams<P, N, W> {
    next: u64,
    streams: BTreeMap<Place, (P, N, W)>,
    /// In this order the streams of one protocol, from all peers, are next to each other, the oldest first.
    by_protocol: BTreeSet<(N, Place)>,
    /// In this order the streams of one peer and one protocol are next to each other, the oldest first.
    by_peer: BTreeSet<(P, N, Place)>,
    /// The number of waiting streams of each peer. Never 0.
    counts: BTreeMap<P, usize>,
}

impl<P: Ord + Clone, N: Ord + Clone, W> WaitingStreams<P, N, W> {
    /// Returns the number of waiting streams of `peer`.
    pub(super) fn count(&self, peer: &P) -> usize {
        self.counts.get(peer).copied().unwrap_or(0)
    }

    /// Adds a stream behind all others.
    pub(super) fn push(&mut self, peer: P, protocol: N, waiting: W) -> Place {
        let place = Place(self.next);
        self.next += 1;
        *self.counts.entry(peer.clone()).or_insert(0) += 1;
        self.by_protocol.insert((protocol.clone(), place));
        self.by_peer.insert((peer.clone(), protocol.clone(), place));
        self.streams.insert(place, (peer, protocol, waiting));
        place
    }

    /// Removes a stream. `None` if it was taken or removed before.
    pub(super) fn remove(&mut self, place: Place) -> Option<W> {
        let (peer, protocol, waiting) = self.streams.remove(&place)?;
        if let Some(count) = self.counts.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&peer);
            }
        }
        let key = (protocol, place);
        self.by_protocol.remove(&key);
        self.by_peer.remove(&(peer, key.0, place));
        Some(waiting)
    }

    /// Takes the stream that has waited longest among those that have one of `protocols` and, if `peer` is given,
    /// come from `peer`.
    pub(super) fn take(&mut self, peer: Option<&P>, protocols: &[N]) -> Option<W> {
        let oldest = protocols.iter().filter_map(|protocol| self.oldest(peer, protocol)).min()?;
        self.remove(oldest)
    }

    /// Takes every stream, in the order of arrival.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = W> + use<P, N, W> {
        let taken = std::mem::replace(self, Self { next: self.next, ..Self::default() });
        taken.streams.into_values().map(|(.., waiting)| waiting)
    }

    fn oldest(&self, peer: Option<&P>, protocol: &N) -> Option<Place> {
        let Some(peer) = peer else {
            let (found, place) = self.by_protocol.range((protocol.clone(), Place(0))..).next()?;
            return (found == protocol).then_some(*place);
        };
        let (from, found, place) = self.by_peer.range((peer.clone(), protocol.clone(), Place(0))..).next()?;
        (from == peer && found == protocol).then_some(*place)
    }
}

impl<P, N, W> Default for WaitingStreams<P, N, W> {
    fn default() -> Self {
        Self {
            next: 0,
            streams: BTreeMap::new(),
            by_protocol: BTreeSet::new(),
            by_peer: BTreeSet::new(),
            counts: BTreeMap::new(),
        }
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        #[cfg(test)]
        tests::count_step();
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Place {}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::VecDeque};

    use proptest::prelude::*;

    use super::*;

    thread_local! {
        static STEPS: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn count_step() {
        STEPS.set(STEPS.get() + 1);
    }

    /// A peer or a name: a number that counts how often it is compared.
    #[derive(Debug, Clone, Copy)]
    struct Counted(u32);

    impl Ord for Counted {
        fn cmp(&self, other: &Self) -> Ordering {
            count_step();
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Counted {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }

    impl Eq for Counted {}

    trait Queue: Default {
        fn count(&self, peer: Counted) -> usize;
        fn push(&mut self, peer: Counted, protocol: Counted, waiting: u32) -> Place;
        fn remove(&mut self, place: Place) -> Option<u32>;
        fn take(&mut self, peer: Option<Counted>, protocols: &[Counted]) -> Option<u32>;
        fn take_all(&mut self) -> Vec<u32>;
    }

    impl Queue for WaitingStreams<Counted, Counted, u32> {
        fn count(&self, peer: Counted) -> usize {
            self.count(&peer)
        }

        fn push(&mut self, peer: Counted, protocol: Counted, waiting: u32) -> Place {
            self.push(peer, protocol, waiting)
        }

        fn remove(&mut self, place: Place) -> Option<u32> {
            self.remove(place)
        }

        fn take(&mut self, peer: Option<Counted>, protocols: &[Counted]) -> Option<u32> {
            self.take(peer.as_ref(), protocols)
        }

        fn take_all(&mut self) -> Vec<u32> {
            self.take_all().collect()
        }
    }

    /// The expected answers, by the simplest means: one queue, and a look at everything in it.
    #[derive(Default)]
    struct Model {
        next: u64,
        queue: VecDeque<(Place, Counted, Counted, u32)>,
    }

    impl Queue for Model {
        fn count(&self, peer: Counted) -> usize {
            self.queue.iter().filter(|(_, from, ..)| *from == peer).count()
        }

        fn push(&mut self, peer: Counted, protocol: Counted, waiting: u32) -> Place {
            let place = Place(self.next);
            self.next += 1;
            self.queue.push_back((place, peer, protocol, waiting));
            place
        }

        fn remove(&mut self, place: Place) -> Option<u32> {
            let at = self.queue.iter().position(|(of, ..)| *of == place)?;
            self.queue.remove(at).map(|(.., waiting)| waiting)
        }

        fn take(&mut self, peer: Option<Counted>, protocols: &[Counted]) -> Option<u32> {
            let at = self.queue.iter().position(|(_, from, protocol, _)| {
                peer.is_none_or(|peer| peer == *from) && protocols.contains(protocol)
            })?;
            self.queue.remove(at).map(|(.., waiting)| waiting)
        }

        fn take_all(&mut self) -> Vec<u32> {
            self.queue.drain(..).map(|(.., waiting)| waiting).collect()
        }
    }

    const WAITING: u32 = 100_000;

    /// The most comparisons that one operation takes where 100,000 streams of 400 peers wait.
    fn most_steps<Q: Queue>() -> u64 {
        let mut queue = Q::default();
        let places: Vec<_> = (0..WAITING).map(|n| queue.push(Counted(n % 400), Counted(n % 3), n)).collect();
        let last = WAITING - 1;
        let (peer, protocol) = (Counted(last % 400), Counted(last % 3));
        let mut most = 0;
        let mut measure = |operation: &mut dyn FnMut(&mut Q)| {
            STEPS.set(0);
            operation(&mut queue);
            most = most.max(STEPS.get());
        };
        measure(&mut |queue| assert_eq!(queue.count(peer), 250));
        measure(&mut |queue| {
            queue.push(peer, Counted(3), WAITING);
        });
        measure(&mut |queue| assert_eq!(queue.remove(places[50_000]), Some(50_000)));
        measure(&mut |queue| assert_eq!(queue.remove(places[50_000]), None));
        measure(&mut |queue| assert_eq!(queue.take(None, &[Counted(7), Counted(3)]), Some(WAITING)));
        measure(&mut |queue| assert!(queue.take(Some(peer), &[protocol]).is_some()));
        measure(&mut |queue| assert_eq!(queue.take(Some(Counted(400)), &[Counted(1)]), None));
        most
    }

    #[test]
    fn no_operation_looks_at_more_than_a_few_of_a_hundred_thousand_streams() {
        let most = most_steps::<WaitingStreams<Counted, Counted, u32>>();
        // Three trees with 17 binary levels, three comparisons for a key, and the same again for a removal.
        assert!((1..=400).contains(&most), "{most} comparisons");
    }

    #[test]
    fn a_queue_that_looks_at_every_stream_does_not_pass_for_one_that_does_not() {
        assert!(most_steps::<Model>() >= u64::from(WAITING));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(u32, u32),
        Remove(usize),
        Take(Option<u32>, Vec<u32>),
        TakeAll,
    }

    fn step() -> impl Strategy<Value = Step> {
        let names = || prop::collection::vec(0..4u32, 0..4);
        prop_oneof![
            8 => (0..4u32, 0..4u32).prop_map(|(peer, protocol)| Step::Push(peer, protocol)),
            3 => (0..100usize).prop_map(Step::Remove),
            5 => (prop::option::of(0..4u32), names()).prop_map(|(peer, protocols)| Step::Take(peer, protocols)),
            1 => Just(Step::TakeAll),
        ]
    }

    proptest! {
        #[test]
        fn the_answers_are_those_of_one_plain_queue(steps in prop::collection::vec(step(), 0..200)) {
            let (mut real, mut model) = (WaitingStreams::default(), Model::default());
            let mut places = Vec::new();
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(peer, protocol) => {
                        let (peer, protocol, n) = (Counted(peer), Counted(protocol), n as u32);
                        places.push((real.push(peer, protocol, n), Queue::push(&mut model, peer, protocol, n)));
                    }
                    Step::Remove(at) => {
                        if let Some((of_real, of_model)) = places.get(at) {
                            prop_assert_eq!(real.remove(*of_real), model.remove(*of_model));
                        }
                    }
                    Step::Take(peer, protocols) => {
                        let (peer, protocols) = (peer.map(Counted), protocols.into_iter().map(Counted).collect::<Vec<_>>());
                        prop_assert_eq!(real.take(peer.as_ref(), &protocols), model.take(peer, &protocols));
                    }
                    Step::TakeAll => prop_assert_eq!(Queue::take_all(&mut real), model.take_all()),
                }
                for peer in (0..4).map(Counted) {
                    prop_assert_eq!(real.count(&peer), Queue::count(&model, peer));
                }
            }
            prop_assert_eq!(Queue::take_all(&mut real), model.take_all());
            prop_assert!(real.by_peer.is_empty() && real.by_protocol.is_empty() && real.counts.is_empty());
        }
    }
}
