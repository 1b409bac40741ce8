//! A slow link between two endpoints of this machine: a relay of UDP packets with a rate, a delay and outages.
//!
//! One end is on the loopback address of IPv6, the other end on that of IPv4, and each endpoint has sockets of one
//! family only. So no packet can bypass the link, whatever addresses the endpoints tell each other.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use rand::{RngExt, rngs::StdRng};
use tokio::{
    net::UdpSocket,
    runtime::{Builder, Runtime},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::stream_tester::lock;

/// The loopback addresses, with a port that the system chooses.
pub const V4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
pub const V6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
/// The size of the largest UDP packet.
const PACKET: usize = 65_536;

/// The runtime of the links, which has a thread of its own. In the runtime of the endpoints, a packet would wait
/// for other tasks, and the link would be slower on a busy machine.
static LINKS: LazyLock<io::Result<Runtime>> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).thread_name("links").enable_all().build());

/// Returns the runtime of the links. Its thread and files exist from the first call on.
pub fn thread() -> io::Result<&'static Runtime> {
    LINKS.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))
}

/// The shape of a link. It is the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The rate in bytes a second.
    pub rate: u64,
    /// The one-way delay.
    pub delay: Duration,
    /// The maximum time that a packet waits before it is sent. Packets that would wait longer are dropped.
    pub queue: Duration,
}

/// A link. It ends when it is dropped.
#[derive(Debug)]
pub struct Link {
    addr: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

/// The connection id of a QUIC packet with a short header (RFC 9000, section 17.3), with the length that noq uses.
type Id = [u8; 8];

#[derive(Debug)]
struct State {
    /// The address of the socket at the far end.
    to: Mutex<SocketAddr>,
    is_down: AtomicBool,
    /// The number of packets of a hundred that are lost.
    losses: Mutex<Option<(u32, StdRng)>>,
    ids: Mutex<Ids>,
    carried: AtomicU64,
    lost: AtomicU64,
}

/// The ids of connections that have carried data, and of connections that were forgotten.
#[derive(Debug, Default)]
struct Ids {
    seen: HashSet<Id>,
    dead: HashSet<Id>,
}

/// One direction of a link.
#[derive(Debug)]
struct Way {
    shape: Shape,
    state: Arc<State>,
    /// The time until which the link sends the packets that it has.
    busy_until: Mutex<Instant>,
    packets: mpsc::UnboundedSender<Packet>,
}

struct Packet {
    due: Instant,
    bytes: Vec<u8>,
    from: Arc<UdpSocket>,
    to: SocketAddr,
}

impl Link {
    /// Starts a link to a socket. Its near end is an address of the other family.
    pub async fn start(to: SocketAddr, shape: Shape) -> io::Result<Self> {
        thread()?.spawn(Self::run(to, shape)).await.map_err(io::Error::other)?
    }

    async fn run(to: SocketAddr, shape: Shape) -> io::Result<Self> {
        let (near, far) = if to.is_ipv4() { (V6, V4) } else { (V4, V6) };
        let near = Arc::new(UdpSocket::bind(near).await?);
        let (addr, state) = (near.local_addr()?, Arc::new(State::new(to)));
        let mut tasks = JoinSet::new();
        let mut way = || {
            let (packets, waiting) = mpsc::unbounded_channel();
            tasks.spawn(deliver(waiting));
            Arc::new(Way { shape, state: Arc::clone(&state), busy_until: Mutex::new(Instant::now()), packets })
        };
        let (there, back) = (way(), way());
        tasks.spawn(carry(near, far, there, back));
        Ok(Self { addr, state, _tasks: tasks })
    }

    /// Returns the address of the near end, which takes packets for the other end.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Drops every packet from now on, in both directions.
    pub fn cut(&self) {
        self.state.is_down.store(true, Relaxed);
    }

    pub fn heal(&self) {
        self.state.is_down.store(false, Relaxed);
    }

    /// Loses `of_hundred` of a hundred packets from now on, in both directions.
    pub fn lose(&self, of_hundred: u32, rng: StdRng) {
        *lock(&self.state.losses) = Some((of_hundred, rng));
    }

    /// Sends all packets to another socket from now on, as if a program was started again at the address of the far
    /// end.
    pub fn lead_to(&self, socket: SocketAddr) {
        *lock(&self.state.to) = socket;
    }

    /// Drops every packet of the existing connections from now on, as if a router had forgotten them. Packets of
    /// other connections and packets that begin a connection are still carried.
    pub fn forget_connections(&self) {
        let mut ids = lock(&self.state.ids);
        ids.dead = std::mem::take(&mut ids.seen);
    }

    /// Returns the number of packets that were carried, and of those that were lost.
    pub fn packets(&self) -> [u64; 2] {
        [self.state.carried.load(Relaxed), self.state.lost.load(Relaxed)]
    }
}

impl State {
    fn new(to: SocketAddr) -> Self {
        let (is_down, losses, ids, carried, lost) = Default::default();
        Self { to: Mutex::new(to), is_down, losses, ids, carried, lost }
    }

    fn is_unlucky(&self) -> bool {
        let mut losses = lock(&self.losses);
        losses.as_mut().is_some_and(|(of_hundred, rng)| rng.random_range(0..100) < *of_hundred)
    }

    fn is_forgotten(&self, packet: &[u8]) -> bool {
        let Some(id) = short_header(packet) else { return false };
        let mut ids = lock(&self.ids);
        if ids.dead.contains(&id) {
            return true;
        }
        ids.seen.insert(id);
        false
    }
}

fn short_header(packet: &[u8]) -> Option<Id> {
    let (first, rest) = packet.split_first()?;
    if first & 0x80 == 0 { rest.first_chunk().copied() } else { None }
}

impl Way {
    fn take(&self, bytes: &[u8], from: &Arc<UdpSocket>, to: SocketAddr) {
        let now = Instant::now();
        let mut busy_until = lock(&self.busy_until);
        let begin = now.max(*busy_until);
        let carried = !self.state.is_down.load(Relaxed) && !self.state.is_unlucky() && !self.state.is_forgotten(bytes);
        if !carried || begin - now > self.shape.queue {
            self.state.lost.fetch_add(1, Relaxed);
            return;
        }
        *busy_until = begin + Duration::from_nanos(bytes.len() as u64 * 1_000_000_000 / self.shape.rate.max(1));
        let due = *busy_until + self.shape.delay;
        self.state.carried.fetch_add(1, Relaxed);
        // If there is no receiver, the link has ended.
        let _ = self.packets.send(Packet { due, bytes: bytes.to_vec(), from: Arc::clone(from), to });
    }
}

/// Takes packets at the near end. Each sender has a socket of its own at the far end.
async fn carry(near: Arc<UdpSocket>, bind: SocketAddr, there: Arc<Way>, back: Arc<Way>) {
    let (mut flows, mut returning) = (HashMap::<SocketAddr, Arc<UdpSocket>>::new(), JoinSet::new());
    let mut packet = vec![0; PACKET];
    loop {
        // An error may report that an earlier packet was not delivered.
        let Ok((len, from)) = near.recv_from(&mut packet).await else { continue };
        let far = match flows.get(&from) {
            Some(far) => Arc::clone(far),
            None => {
                let Ok(far) = UdpSocket::bind(bind).await else { continue };
                let far = Arc::new(far);
                flows.insert(from, Arc::clone(&far));
                let (near, socket, back) = (Arc::clone(&near), Arc::clone(&far), Arc::clone(&back));
                returning.spawn(async move {
                    let mut packet = vec![0; PACKET];
                    loop {
                        if let Ok((len, _)) = socket.recv_from(&mut packet).await {
                            back.take(&packet[..len], &near, from);
                        }
                    }
                });
                far
            }
        };
        let to = *lock(&there.state.to);
        there.take(&packet[..len], &far, to);
    }
}

async fn deliver(mut waiting: mpsc::UnboundedReceiver<Packet>) {
    while let Some(Packet { due, bytes, from, to }) = waiting.recv().await {
        sleep_until(due).await;
        let _ = from.send_to(&bytes, to).await;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const SHAPE: Shape = Shape { rate: 1_000_000, delay: Duration::from_millis(30), queue: Duration::from_millis(50) };

    async fn ends() -> (UdpSocket, UdpSocket, Link) {
        let far = UdpSocket::bind(V4).await.unwrap();
        let link = Link::start(far.local_addr().unwrap(), SHAPE).await.unwrap();
        (UdpSocket::bind(V6).await.unwrap(), far, link)
    }

    async fn hears(socket: &UdpSocket) -> Option<SocketAddr> {
        let mut packet = [0; 2_000];
        tokio::time::timeout(Duration::from_millis(500), socket.recv_from(&mut packet))
            .await
            .ok()
            .map(|heard| heard.unwrap().1)
    }

    #[tokio::test]
    async fn a_packet_and_its_answer_take_the_delay_each_and_an_outage_loses_both() {
        let (near, far, link) = ends().await;
        let began = Instant::now();
        near.send_to(b"there", link.addr()).await.unwrap();
        let from = hears(&far).await.unwrap();
        assert!(began.elapsed() >= SHAPE.delay);
        far.send_to(b"back", from).await.unwrap();
        assert_eq!(hears(&near).await, Some(link.addr()));
        assert!(began.elapsed() >= SHAPE.delay * 2);
        link.cut();
        near.send_to(b"there", link.addr()).await.unwrap();
        far.send_to(b"back", from).await.unwrap();
        assert_eq!((hears(&far).await, hears(&near).await), (None, None));
        link.heal();
        near.send_to(b"there", link.addr()).await.unwrap();
        assert_eq!(hears(&far).await, Some(from));
        assert_eq!(link.packets(), [3, 2]);
    }

    #[tokio::test]
    async fn so_many_packets_are_lost_as_it_was_told() {
        let far = UdpSocket::bind(V4).await.unwrap();
        let link = Link::start(far.local_addr().unwrap(), Shape { rate: 100_000_000, ..SHAPE }).await.unwrap();
        let near = UdpSocket::bind(V6).await.unwrap();
        link.lose(20, StdRng::seed_from_u64(1));
        let sending = async {
            for sent in 1..=1_000 {
                near.send_to(b"one of many", link.addr()).await.unwrap();
                // The kernel buffers few packets for a socket.
                while link.packets().iter().sum::<u64>() < sent {
                    tokio::task::yield_now().await;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), sending).await.unwrap();
        let [_, lost] = link.packets();
        assert!((100..300).contains(&lost), "{lost}");
    }

    #[tokio::test]
    async fn the_far_end_can_be_another_socket() {
        let (near, far, link) = ends().await;
        let other = UdpSocket::bind(V4).await.unwrap();
        link.lead_to(other.local_addr().unwrap());
        near.send_to(b"there", link.addr()).await.unwrap();
        let from = hears(&other).await.unwrap();
        other.send_to(b"back", from).await.unwrap();
        assert_eq!((hears(&near).await, hears(&far).await), (Some(link.addr()), None));
    }

    #[tokio::test]
    async fn of_connections_that_are_forgotten_no_packet_is_carried() {
        let (near, far, link) = ends().await;
        let packet = |first, id| [&[first][..], &[id; 8], b"data"].concat();
        near.send_to(&packet(0x40, 1), link.addr()).await.unwrap();
        assert!(hears(&far).await.is_some());
        link.forget_connections();
        for (first, id, carried) in [(0x40, 1, false), (0x40, 2, true), (0xc0, 1, true)] {
            near.send_to(&packet(first, id), link.addr()).await.unwrap();
            assert_eq!(hears(&far).await.is_some(), carried, "{first:x} {id}");
        }
    }

    #[tokio::test]
    async fn what_comes_faster_than_the_rate_waits_and_a_full_queue_drops() {
        let far = UdpSocket::bind(V4).await.unwrap();
        // A packet takes 10 ms, and five packets may wait.
        let link = Link::start(far.local_addr().unwrap(), Shape { rate: 100_000, ..SHAPE }).await.unwrap();
        let near = UdpSocket::bind(V6).await.unwrap();
        let began = Instant::now();
        // The kernel buffers about 90 packets for a socket.
        for _ in 0..50 {
            near.send_to(&[7; 1_000], link.addr()).await.unwrap();
        }
        let (mut heard, mut last) = (0, Duration::ZERO);
        while hears(&far).await.is_some() {
            (heard, last) = (heard + 1, began.elapsed());
        }
        // More packets arrive on a machine that is slow to send them.
        assert!((5..40).contains(&heard), "{heard}");
        assert!(last >= SHAPE.delay + Duration::from_millis(10) * heard, "{heard} packets in {last:?}");
        assert_eq!(link.packets().iter().sum::<u64>(), 50);
    }
}
