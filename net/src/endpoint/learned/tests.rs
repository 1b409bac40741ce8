use std::{collections::BTreeSet, net::SocketAddr};

use tokio::time::advance;
use twolane_id::SecretKey;

use super::*;
use crate::key;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn peer(seed: u8) -> PublicKey {
    SecretKey::from_bytes(&[seed; 32]).public_key()
}

fn addr(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], port))
}

/// Returns a ticket of a peer with these addresses.
fn ticket(seed: u8, addrs: impl IntoIterator<Item = SocketAddr>) -> Ticket {
    addrs.into_iter().fold(Ticket::new(peer(seed)), |ticket, addr| ticket.with_addr(addr).unwrap())
}

fn one(seed: u8) -> Ticket {
    ticket(seed, [addr(seed, 1)])
}

fn book(max: usize) -> Book {
    Book { peers: HashMap::new(), max, lifetime: DAY }
}

fn nobody(_: &PublicKey) -> bool {
    false
}

impl Book {
    fn known(&self) -> BTreeSet<PublicKey> {
        self.peers.values().map(|entry| entry.peer).collect()
    }

    fn addrs(&self, seed: u8) -> &[TransportAddr] {
        self.peers.get(peer(seed).as_bytes()).map_or(&[], |entry| entry.addrs.as_slice())
    }
}

fn peers(seeds: impl IntoIterator<Item = u8>) -> BTreeSet<PublicKey> {
    seeds.into_iter().map(peer).collect()
}

fn learned(known_peers: usize) -> Arc<Learned> {
    Learned::new(&Limits { known_peers, ..Limits::default() }, &[])
}

/// Returns the addresses that a dial of this peer is told.
async fn told(learned: &Learned, seed: u8) -> Option<Vec<TransportAddr>> {
    let mut items = learned.resolve(key::to_iroh(&peer(seed)))?;
    let item = items.next().await.unwrap().unwrap();
    assert!(items.next().await.is_none());
    assert_eq!(item.provenance(), PROVENANCE);
    Some(item.addrs().cloned().collect())
}

#[test]
fn a_ticket_is_news_while_one_of_its_addresses_is() {
    let (mut book, now) = (book(10), Instant::now());
    assert_eq!(book.learn(&one(1), now, nobody), (true, false));
    assert_eq!(book.learn(&one(1), now, nobody), (false, false));
    assert_eq!(book.learn(&ticket(1, [addr(1, 1), addr(1, 2)]), now, nobody), (true, false));
    assert_eq!(book.learn(&one(1), now, nobody), (false, false));
    assert_eq!(book.addrs(1).len(), 2);
    assert_eq!(book.learn(&Ticket::new(peer(2)), now, nobody), (false, false), "it has no address");
    assert_eq!(book.known(), peers([1]));
}

#[test]
fn a_peer_has_the_addresses_of_its_latest_tickets_and_no_more_than_fit_into_one() {
    let (mut book, now) = (book(10), Instant::now());
    let of = |ports: std::ops::Range<u16>| ticket(1, ports.map(|port| addr(1, port)));
    for begin in (0..320).step_by(8) {
        let (news, forgot) = book.learn(&of(begin..begin + 8), now, nobody);
        assert_eq!((news, forgot), (true, begin >= 32));
        assert!(book.addrs(1).len() <= Ticket::MAX_ADDRS);
        // What came last is there, whole.
        for port in begin..begin + 8 {
            assert!(book.addrs(1).contains(&TransportAddr::Ip(addr(1, port))), "{port}");
        }
    }
    let relay = format!("https://relay.example/{}", "a".repeat(2400)).parse().unwrap();
    book.learn(&Ticket::new(peer(1)).with_relay(relay).unwrap(), now, nobody);
    let all = EndpointAddr::from_parts(key::to_iroh(&peer(1)), book.addrs(1).to_vec());
    assert!(Ticket::from_addr(all).is_ok(), "it is over the bound of a ticket in bytes");
}

#[test]
fn of_too_many_peers_those_go_that_were_told_of_longest_ago() {
    let (mut book, begin) = (book(16), Instant::now());
    for seed in 0..16 {
        let forgot = book.learn(&one(seed), begin + Duration::from_secs(seed.into()), nobody);
        assert_eq!(forgot, (true, false));
    }
    // Peer 0 was told of again in the meantime.
    book.learn(&one(0), begin + Duration::from_secs(100), nobody);
    assert_eq!(book.learn(&one(16), begin + Duration::from_secs(101), nobody), (true, true));
    assert_eq!(book.known(), peers([0].into_iter().chain(3..17)));
    for seed in 17..200 {
        book.learn(&one(seed), begin + Duration::from_secs(200), nobody);
        assert!(book.peers.len() <= 16);
        assert!(book.known().contains(&peer(seed)), "{seed}");
    }
}

#[test]
fn a_peer_that_is_in_use_goes_last() {
    let (mut book, now) = (book(3), Instant::now());
    for seed in 0..3 {
        book.learn(&one(seed), now + Duration::from_secs(seed.into()), nobody);
    }
    let used = |seeds: [u8; 2]| move |id: &PublicKey| peers(seeds).contains(id);
    book.learn(&one(3), now + Duration::from_secs(3), used([0, 1]));
    assert_eq!(book.known(), peers([0, 1, 3]));
    // If all are in use, there is still room for what is told now.
    book.learn(&one(4), now + Duration::from_secs(4), |_| true);
    assert_eq!(book.known(), peers([1, 3, 4]));
}

#[test]
fn a_peer_that_was_of_no_use_for_the_lifetime_is_forgotten() {
    let (mut book, begin) = (book(10), Instant::now());
    let second = Duration::from_secs(1);
    for seed in 0..4 {
        book.learn(&one(seed), begin, nobody);
    }
    // Peer 1 is told of again, peer 2 is in use until then.
    let half = begin + DAY / 2;
    book.learn(&one(1), half, nobody);
    assert!(!book.forget_the_old(half, |id| *id == peer(2)));
    assert!(!book.forget_the_old(begin + DAY - second, nobody));
    assert!(book.forget_the_old(begin + DAY, nobody));
    assert_eq!(book.known(), peers([1, 2]));
    assert!(!book.forget_the_old(half + DAY - second, nobody));
    assert!(book.forget_the_old(half + DAY, |id| *id == peer(2)));
    assert_eq!(book.known(), peers([2]));
    assert!(!book.forget_the_old(half + 10 * DAY, |id| *id == peer(2)));
}

#[test]
fn what_the_program_has_fixed_takes_no_place_and_goes_only_by_name() {
    let fixed: Vec<_> = (100..110).map(one).collect();
    let limits = Limits { known_peers: 2, address_lifetime: DAY, ..Limits::default() };
    let learned = Learned::new(&limits, &[&fixed[..], &fixed[..1], &[Ticket::new(peer(50))]].concat());
    for seed in 0..20 {
        learned.learn(&one(seed), nobody);
    }
    let known = || learned.lock().known();
    assert!(known().is_superset(&peers(100..110)));
    assert_eq!(known().len(), 12, "two besides");
    assert!(learned.lock().forget_the_old(Instant::now() + 2 * DAY, nobody));
    assert_eq!(known(), peers(100..110));
    // Told of again, a fixed peer stays fixed.
    learned.learn(&ticket(100, [addr(100, 2)]), nobody);
    learned.lock().forget_the_old(Instant::now() + 2 * DAY, nobody);
    assert_eq!(learned.lock().addrs(100).len(), 2);
    assert!(learned.forget(&peer(100)));
    assert_eq!(known(), peers(101..110));
}

#[test]
fn a_ticket_tells_its_addresses_again_when_anything_was_forgotten() {
    let learned = learned(1);
    let (first, second) = (one(1), one(2));
    assert!(learned.learn(&first, nobody));
    assert!(!learned.learn(&first.clone(), nobody));
    assert!(learned.forget(&peer(1)) && !learned.forget(&peer(1)));
    assert!(learned.learn(&first, nobody), "it was forgotten by name");
    assert!(learned.learn(&second, nobody));
    assert!(learned.learn(&first, nobody), "it made room for another one");
    learned.change(|book| ((), book.forget_the_old(Instant::now() + 2 * DAY, nobody)));
    assert!(learned.learn(&first, nobody), "its time was over");
}

#[test]
fn two_endpoints_learn_of_a_ticket_each_for_itself() {
    let (here, there, ticket) = (learned(1), learned(1), one(1));
    assert!(here.learn(&ticket, nobody) && there.learn(&ticket, nobody));
    assert!(!here.learn(&ticket, nobody) && !there.learn(&ticket, nobody));
}

#[tokio::test]
async fn a_dial_is_told_what_was_learned_and_nothing_that_was_forgotten() {
    let learned = learned(10);
    assert_eq!(told(&learned, 1).await, None);
    learned.learn(&one(1), nobody);
    assert_eq!(told(&learned, 1).await, Some(vec![TransportAddr::Ip(addr(1, 1))]));
    assert_eq!(told(&learned, 2).await, None);
    learned.forget(&peer(1));
    assert_eq!(told(&learned, 1).await, None);
}

#[tokio::test(start_paused = true)]
async fn addresses_are_forgotten_in_time_while_nobody_asks_for_them() {
    let learned = learned(10);
    learned.learn(&one(1), nobody);
    learned.learn(&one(2), nobody);
    let closing = CancellationToken::new();
    let task = tokio::spawn(run(Arc::clone(&learned), |id: &PublicKey| *id == peer(2), closing.clone()));
    // The task sets its timer, and then the time passes in steps, as it does for it.
    for _ in 0..(DAY.as_secs() / LOOK.as_secs()) {
        assert_eq!(learned.lock().known(), peers([1, 2]));
        tokio::task::yield_now().await;
        advance(LOOK).await;
    }
    tokio::task::yield_now().await;
    advance(LOOK).await;
    tokio::task::yield_now().await;
    assert_eq!(learned.lock().known(), peers([2]));
    closing.cancel();
    task.await.unwrap();
}
