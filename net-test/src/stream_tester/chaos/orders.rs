//! The orders of an actor. They are drawn from a deck, so they are a function of the actor's seed alone.

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::{Deserialize, Serialize};
use twolane::Limits;

use super::plan::{Answer, Draft, End, Part, Wish};

/// The number of neighbours on each side. Places stand in a ring and deal with their neighbours only. A restart
/// costs each neighbour a handshake, and a pair has enough streams between two disturbances to become calm.
const NEAR: usize = 4;

/// The cards of a talker, and the number of each card in a deck.
const TALK: &[(Card, usize)] = &[
    (Card::Finish, 9),
    (Card::Bulk, 1),
    (Card::Echo, 3),
    (Card::Warn, 3),
    (Card::End(End::Fail), 4),
    (Card::End(End::Abort), 3),
    (Card::End(End::Drop), 3),
    (Card::End(End::CancelWrite), 2),
    (Card::CancelOpen, 2),
    (Card::Unknown, 1),
    (Card::Request, 4),
    (Card::RequestError, 2),
    (Card::CancelRequest, 1),
    (Card::RequestDeadline, 1),
    (Card::Connect, 1),
    (Card::Keep, 1),
];

const FATE: &[Fate] = &[Fate::ShutDownInTime, Fate::ShutDownNow, Fate::DropEndpoint, Fate::Ban, Fate::Close];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Card {
    Finish,
    Bulk,
    Echo,
    Warn,
    End(End),
    CancelOpen,
    Unknown,
    Request,
    RequestError,
    CancelRequest,
    RequestDeadline,
    Connect,
    Keep,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    Stream(Draft),
    /// The opening is polled this many times and then dropped.
    CancelOpen(Draft, u64),
    Unknown {
        to: usize,
    },
    Request(Wish),
    Connect {
        to: usize,
    },
    Keep {
        to: usize,
        hold_ms: u64,
    },
}

impl Order {
    pub fn to(&self) -> usize {
        match self {
            Self::Stream(draft) | Self::CancelOpen(draft, _) => draft.to,
            Self::Request(wish) => wish.to,
            Self::Unknown { to } | Self::Connect { to } | Self::Keep { to, .. } => *to,
        }
    }

    /// Returns the same order with waits of at most `most_ms`.
    pub fn brisk(mut self, most_ms: u64) -> Self {
        match &mut self {
            Self::Stream(draft) | Self::CancelOpen(draft, _) => draft.pause_ms = draft.pause_ms.min(most_ms),
            Self::Request(wish) => {
                for wait in [&mut wish.drop_after_ms, &mut wish.deadline_ms].into_iter().flatten() {
                    *wait = (*wait).min(most_ms);
                }
            }
            Self::Keep { hold_ms, .. } => *hold_ms = (*hold_ms).min(most_ms),
            Self::Unknown { .. } | Self::Connect { .. } => {}
        }
        self
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blow {
    pub fate: Fate,
    pub place: usize,
    /// The other place of the pair, if the fate affects a pair.
    pub other: usize,
    /// The time for which the fate holds its effect, if it does.
    pub hold_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fate {
    /// A shutdown with time for open streams. A new endpoint gets the same key.
    ShutDownInTime,
    /// A shutdown without time for open streams.
    ShutDownNow,
    DropEndpoint,
    /// A peer is denied, and allowed again later.
    Ban,
    /// A connection is closed.
    Close,
}

#[derive(Debug)]
pub struct Dealer {
    rng: StdRng,
    me: usize,
    places: usize,
    talk: Vec<Card>,
    fate: Vec<Fate>,
}

impl Dealer {
    /// Makes the dealer of an actor. Talkers have the numbers of their places, and fates the numbers after them.
    pub fn new(seed: u64, actor: usize, places: usize) -> Self {
        let mut bytes = [0; 32];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(&(actor as u64).to_le_bytes());
        hasher.finalize_xof().fill(&mut bytes);
        Self { rng: StdRng::from_seed(bytes), me: actor, places, talk: Vec::new(), fate: Vec::new() }
    }

    pub fn order(&mut self) -> Order {
        if self.talk.is_empty() {
            self.talk = TALK.iter().flat_map(|(card, count)| vec![*card; *count]).collect();
            self.talk.shuffle(&mut self.rng);
        }
        let card = self.talk.pop().unwrap_or(Card::Finish);
        let to = self.other_than(self.me);
        match card {
            Card::Finish => Order::Stream(self.draft(to)),
            Card::Bulk => {
                let mut draft = self.draft(to);
                let window = u64::from(Limits::STREAM_WINDOW);
                let len = self.rng.random_range(window + 1..window + 1_000_000);
                let part = if self.rng.random() { &mut draft.opener } else { &mut draft.acceptor };
                (part.len, part.piece) = (len, 100_000);
                Order::Stream(draft)
            }
            Card::Echo => {
                let mut draft = self.draft(to);
                (draft.echo, draft.acceptor) = (true, draft.opener);
                Order::Stream(draft)
            }
            Card::Warn => {
                let mut draft = self.draft(to);
                self.warn(&mut draft);
                Order::Stream(draft)
            }
            Card::End(end) => {
                let mut draft = self.draft(to);
                let (opener, acceptor) = [(true, false), (false, true), (true, true)][self.rng.random_range(0..3)];
                if opener {
                    draft.opener.end = end;
                }
                if acceptor {
                    draft.acceptor.end = end;
                }
                match self.rng.random_range(0..4) {
                    // An echo of a stream that the opener does not finish has no end to send back, so the acceptor
                    // drops its side.
                    0 if opener => (draft.echo, draft.acceptor) = (true, Part { end: End::Drop, ..draft.opener }),
                    1 => self.warn(&mut draft),
                    _ => {}
                }
                Order::Stream(draft)
            }
            Card::CancelOpen => {
                let draft = self.draft(to);
                Order::CancelOpen(draft, self.rng.random_range(1..=8))
            }
            Card::Unknown => Order::Unknown { to },
            Card::Request => {
                let len = self.rng.random_range(0..200_000);
                Order::Request(self.wish(to, Answer::Data(len)))
            }
            Card::RequestError => Order::Request(self.wish(to, Answer::Error)),
            Card::CancelRequest => {
                let drop_after_ms = Some(self.rng.random_range(0..20));
                Order::Request(Wish { drop_after_ms, ..self.wish(to, Answer::Never) })
            }
            Card::RequestDeadline => {
                let deadline_ms = Some(self.rng.random_range(1..50));
                Order::Request(Wish { deadline_ms, ..self.wish(to, Answer::Never) })
            }
            Card::Connect => Order::Connect { to },
            Card::Keep => Order::Keep { to, hold_ms: self.rng.random_range(50..500) },
        }
    }

    pub fn blow(&mut self) -> Blow {
        if self.fate.is_empty() {
            self.fate = FATE.to_vec();
            self.fate.shuffle(&mut self.rng);
        }
        let fate = self.fate.pop().unwrap_or(Fate::Close);
        let place = self.rng.random_range(0..self.places);
        let other = self.other_than(place);
        Blow { fate, place, other, hold_ms: self.rng.random_range(50..500) }
    }

    /// Returns the wait before an actor acts, in microseconds: up to twice the mean.
    pub fn wait_us(&mut self, mean_us: u64) -> u64 {
        self.rng.random_range(0..=mean_us * 2)
    }

    fn warn(&mut self, draft: &mut Draft) {
        draft.opener.warnings = self.rng.random_range(0..=7);
        draft.acceptor.warnings = self.rng.random_range(1..=7);
    }

    fn other_than(&mut self, place: usize) -> usize {
        let step = self.rng.random_range(1..=reach(self.places));
        let step = if self.rng.random() { step } else { self.places - step };
        (place + step) % self.places
    }

    fn wish(&mut self, to: usize, answer: Answer) -> Wish {
        Wish { to, len: self.rng.random_range(0..20_000), answer, drop_after_ms: None, deadline_ms: None }
    }

    fn draft(&mut self, to: usize) -> Draft {
        let (opener, acceptor) = (self.part(), self.part());
        let early = if self.rng.random_ratio(1, 4) { opener.len.min(4_096) } else { 0 };
        Draft {
            accepted: self.rng.random(),
            early,
            cancel_reads: self.rng.random_ratio(1, 4),
            pause_ms: if self.rng.random_ratio(1, 10) { self.rng.random_range(1..30) } else { 0 },
            ..Draft::plain(to, opener, acceptor)
        }
    }

    /// Draws a part. Most are short, and some are longer than a stream window.
    fn part(&mut self) -> Part {
        let len = match self.rng.random_range(0..400) {
            0..160 => self.rng.random_range(0..100),
            160..340 => self.rng.random_range(0..8_000),
            340..398 => self.rng.random_range(0..64_000),
            _ => self.rng.random_range(0..3_000_000),
        };
        let pieces = self.rng.random_range(1..32);
        let piece = usize::try_from(len / pieces).unwrap_or_default().max(1);
        Part { len, piece, warnings: 0, end: End::Finish }
    }
}

/// Returns the places with which one place deals.
pub fn neighbours(places: usize, me: usize) -> Vec<usize> {
    let mut near: Vec<_> =
        (1..=reach(places)).flat_map(|step| [(me + step) % places, (me + places - step) % places]).collect();
    near.sort_unstable();
    near.dedup();
    near
}

fn reach(places: usize) -> usize {
    NEAR.min(places / 2)
}

/// Returns the share of a talker's orders for which `wanted` holds.
pub fn share(wanted: impl Fn(&Order) -> bool) -> f64 {
    // The details of a card are drawn too. Over this many decks the differences even out.
    const DECKS: usize = 50;
    let mut dealer = Dealer::new(0, 0, 2);
    let cards = DECKS * TALK.iter().map(|(_, count)| count).sum::<usize>();
    let found = (0..cards).filter(|_| wanted(&dealer.order())).count();
    found as f64 / cards as f64
}

pub fn fates() -> usize {
    FATE.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(seed: u64, actor: usize) -> Vec<Order> {
        let mut dealer = Dealer::new(seed, actor, 5);
        (0..200).map(|_| dealer.order()).collect()
    }

    #[test]
    fn what_an_actor_does_is_a_function_of_its_seed() {
        assert_eq!(orders(7, 1), orders(7, 1));
        assert_ne!(orders(7, 1), orders(8, 1));
        assert_ne!(orders(7, 1), orders(7, 2));
    }

    #[test]
    fn nobody_talks_to_itself_and_every_neighbour_is_talked_to() {
        for (places, me, expected) in [(2, 0, vec![1]), (3, 2, vec![0, 1]), (12, 1, vec![0, 2, 3, 4, 5, 9, 10, 11])] {
            let mut dealer = Dealer::new(1, me, places);
            let met: std::collections::BTreeSet<_> = (0..200).map(|_| dealer.other_than(me)).collect();
            assert_eq!(met, expected.iter().copied().collect());
            assert_eq!(neighbours(places, me), expected);
        }
        let mut dealer = Dealer::new(1, 2, 3);
        for _ in 0..100 {
            let Blow { place, other, .. } = dealer.blow();
            assert_ne!(place, other);
        }
    }

    #[test]
    fn a_fate_deals_every_blow_before_one_comes_again() {
        let mut dealer = Dealer::new(1, 9, 3);
        let dealt: std::collections::HashSet<_> = (0..FATE.len()).map(|_| dealer.blow().fate).collect();
        assert_eq!(dealt.len(), FATE.len());
    }
}
