//! Checks of the lab itself: its routers, links and counters.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{task::spawn_blocking, time::sleep, try_join};

use crate::lab::{
    counters::Counters,
    fault::{Fault, ensure},
    figures::Figures,
    link::{
        Shape,
        probe::{self, Measured, Packets},
    },
    nat::{self, Nat},
    ping::{self, fault},
    tools,
    world::{Family, Machine, World, way},
};

/// Maximum time to wait for a packet. A packet takes 30 ms over the link of a router.
const ANSWER: Duration = Duration::from_millis(500);
/// The port of DNS, which even routers that drop UDP let through.
const DNS: u16 = 53;

/// What a router does with the packets of one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    inside: SocketAddr,
    /// The address of the socket as each of two other machines saw it. `None` if nothing arrived there.
    mapped: [Option<SocketAddr>; 2],
    /// An answer from the first machine came back.
    answered: bool,
    /// A packet from another port of the first machine came in.
    other_port: bool,
    /// A packet came in from a machine to which nothing was sent. It was sent to the address that the first machine
    /// saw.
    unasked: bool,
    /// A packet to a DNS server was answered.
    dns: bool,
}

/// Two machines to which the socket sends, and one to which it does not.
type Others = [Machine; 3];

pub async fn nat_kinds(figures: &mut Figures) -> Result<(), Fault> {
    use Family::{Dual, V4, V6};
    let mut world = World::new(Dual).await?;
    let others =
        [world.public("one", Dual).await?, world.public("two", Dual).await?, world.public("stranger", Dual).await?];
    let dns = Echo::start(&others[1])?;
    let mut looks = Vec::new();
    for (nat, families) in [
        (Nat::Home, &[V4, V6][..]),
        (Nat::RandomPorts, &[V4]),
        (Nat::Hairpin, &[V4]),
        (Nat::Symmetric, &[V4, V6]),
        (Nat::NoUdp, &[V4, V6]),
        (Nat::Firewall, &[V6]),
    ] {
        let mut router = world.router(nat, Dual).await?;
        let host = world.host(&mut router, &format!("{nat:?}").to_lowercase(), Dual).await?;
        for family in families {
            let outside = router.wan.v4.filter(|_| *family == V4).map(IpAddr::V4);
            let (host, others, v4) = (host.clone(), others.clone(), *family == V4);
            looks.push((nat, outside, spawn_blocking(move || look(&host, &others, v4, outside))));
        }
    }
    // Behind two routers the mapping is the same for both machines. Behind a symmetric carrier each machine has
    // another one.
    for nat in [Nat::Home, Nat::Symmetric] {
        let mut carrier = world.carrier(nat).await?;
        let mut home = world.router_behind(&mut carrier, Nat::Home).await?;
        let host = world.host(&mut home, &format!("behind-{nat:?}").to_lowercase(), V4).await?;
        let (others, outside) = (others.clone(), carrier.wan.v4.map(IpAddr::V4));
        looks.push((nat, outside, spawn_blocking(move || look(&host, &others, true, outside))));
    }
    let count = looks.len();
    for (nat, outside, seen) in looks {
        let seen = seen.await.map_err(|error| Fault::lab("a probe", error))??;
        judge(nat, outside, &seen).map_err(|what| Fault::Not(format!("a router that is {nat:?}: {what}: {seen:?}")))?;
    }
    drop(dns);
    forgets(&mut world, &others[0]).await?;
    for (nat, leads_back) in [(Nat::Hairpin, true), (Nat::Home, false)] {
        let led = hairpin(&mut world, nat, &others[0]).await?;
        ensure(led == leads_back, || format!("a carrier's router that is {nat:?} leads packets back inside: {led}"))?;
    }
    counts(&others).await?;
    figures.note(format!("{count} routers, one that forgets, two with neighbours behind them, counters"));
    let names = world.names();
    drop(world);
    let left: Vec<_> = names.iter().filter(|name| Path::new("/run/netns").join(name).exists()).collect();
    ensure(left.is_empty(), || format!("a world that was dropped leaves {left:?}"))
}

/// Checks what a router did against its kind. `outside` is the external address if the router translates addresses.
fn judge(nat: Nat, outside: Option<IpAddr>, seen: &Seen) -> Result<(), &'static str> {
    let is = |held: bool, what| if held { Ok(()) } else { Err(what) };
    is(!seen.unasked, "it lets in whom nobody has asked")?;
    is(!seen.other_port, "it lets in another port of one that was asked")?;
    is(seen.dns, "it lets no DNS out")?;
    let [first, second] = seen.mapped;
    if nat == Nat::NoUdp {
        return is(first.is_none() && second.is_none() && !seen.answered, "it lets UDP through");
    }
    let (Some(first), Some(second)) = (first, second) else { return Err("it lets nothing out") };
    is(seen.answered, "it lets in no answer")?;
    let Some(outside) = outside else {
        return is([first, second] == [seen.inside; 2], "it translates what it is to leave alone");
    };
    is(first.ip() == outside && second.ip() == outside, "it does not translate")?;
    match nat {
        Nat::Symmetric => is(first.port() != second.port(), "it is not symmetric"),
        Nat::RandomPorts => {
            is(first == second && first.port() != seen.inside.port(), "it does not take one other port")
        }
        _ => is(first == second && first.port() == seen.inside.port(), "it does not keep the port"),
    }
}

fn bind(machine: &Machine, v4: bool, port: u16) -> Result<UdpSocket, Fault> {
    ping::bind(&machine.netns, v4, port, ANSWER)
}

fn addr_of(machine: &Machine, socket: &UdpSocket) -> Result<SocketAddr, Fault> {
    let local = socket.local_addr().map_err(fault)?;
    let addr = if local.is_ipv4() { machine.v4.map(IpAddr::V4) } else { machine.v6.map(IpAddr::V6) };
    Ok(SocketAddr::new(addr.ok_or_else(|| Fault::Lab("a machine without an address".into()))?, local.port()))
}

/// Returns the sender of the next packet.
fn heard(socket: &UdpSocket) -> Option<SocketAddr> {
    ping::receive(socket, &mut [0; 16]).ok().map(|(_, from)| from)
}

/// Sends packets until one arrives. Returns the sender's address as the receiver sees it, or `None` if nothing
/// arrives.
///
/// The kernel may wait for up to a second before it sends on a cable that was just plugged in. One lost packet
/// therefore proves nothing.
fn hello(from: &UdpSocket, to: &UdpSocket, addr: SocketAddr) -> Result<Option<SocketAddr>, Fault> {
    for _ in 0..3 {
        from.send_to(b"hello", addr).map_err(fault)?;
        if let Some(seen) = heard(to) {
            return Ok(Some(seen));
        }
    }
    Ok(None)
}

fn look(host: &Machine, others: &Others, v4: bool, translated: Option<IpAddr>) -> Result<Seen, Fault> {
    let [one, two, stranger] = others;
    let (inside, outside) = (bind(host, v4, 0)?, [bind(one, v4, 0)?, bind(two, v4, 0)?]);
    let mut seen = Seen {
        inside: addr_of(host, &inside)?,
        mapped: [None; 2],
        answered: false,
        other_port: false,
        unasked: false,
        dns: false,
    };
    for (n, machine) in [one, two].into_iter().enumerate() {
        seen.mapped[n] = hello(&inside, &outside[n], addr_of(machine, &outside[n])?)?;
    }
    // If nothing came out, the answer goes to the address from which a packet would have come.
    let (addr, port) = (translated.unwrap_or_else(|| seen.inside.ip()), seen.inside.port());
    let mapped = seen.mapped[0].unwrap_or_else(|| SocketAddr::new(addr, port));
    outside[0].send_to(b"answer", mapped).map_err(fault)?;
    seen.answered = heard(&inside).is_some();
    bind(one, v4, 0)?.send_to(b"other port", mapped).map_err(fault)?;
    seen.other_port = heard(&inside).is_some();
    bind(stranger, v4, 0)?.send_to(b"unasked", mapped).map_err(fault)?;
    seen.unasked = heard(&inside).is_some();
    let (asking, server) = (bind(host, v4, 0)?, if v4 { two.v4.map(IpAddr::V4) } else { two.v6.map(IpAddr::V6) });
    if let Some(server) = server {
        asking.send_to(b"who?", (server, DNS)).map_err(fault)?;
        seen.dns = heard(&asking).is_some();
    }
    Ok(seen)
}

/// A DNS server that answers every packet until it is dropped.
struct Echo(Arc<AtomicBool>);

impl Echo {
    fn start(machine: &Machine) -> Result<Self, Fault> {
        // A socket for IPv6 also receives IPv4.
        let (socket, echo) = (bind(machine, false, DNS)?, Self(Arc::default()));
        let end = Arc::clone(&echo.0);
        spawn_blocking(move || {
            while !end.load(Relaxed) {
                if let Some(from) = heard(&socket) {
                    let _ = socket.send_to(b"it", from);
                }
            }
        });
        Ok(echo)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Checks that a router forgets a mapping that is not used, and not too early.
async fn forgets(world: &mut World, other: &Machine) -> Result<(), Fault> {
    let mut router = world.router(Nat::Home, Family::V4).await?;
    let host = world.host(&mut router, "forgotten", Family::V4).await?;
    router.forget_after(Duration::from_secs(1))?;
    let (inside, outside) = (bind(&host, true, 0)?, bind(other, true, 0)?);
    let mapped = hello(&inside, &outside, addr_of(other, &outside)?)?
        .ok_or_else(|| Fault::Lab("nothing gets through a home router".into()))?;
    for (idle, answered) in [(Duration::from_millis(200), true), (Duration::from_secs(2), false)] {
        sleep(idle).await;
        outside.send_to(b"answer", mapped).map_err(fault)?;
        ensure(heard(&inside).is_some() == answered, || {
            format!("a router that forgets after 1 s: {idle:?} later an answer comes in: {}", !answered)
        })?;
    }
    Ok(())
}

/// Returns whether a carrier's router sends a packet for its own address back inside. Checks that the packet has a
/// sender address that can be answered there.
async fn hairpin(world: &mut World, nat: Nat, other: &Machine) -> Result<bool, Fault> {
    let mut carrier = world.carrier(nat).await?;
    let left = world.host(&mut carrier, &format!("left-{nat:?}").to_lowercase(), Family::V4).await?;
    let right = world.host(&mut carrier, &format!("right-{nat:?}").to_lowercase(), Family::V4).await?;
    let (left, right, outside) = (bind(&left, true, 0)?, bind(&right, true, 0)?, bind(other, true, 0)?);
    let mut mapped = Vec::new();
    for socket in [&left, &right] {
        let seen = hello(socket, &outside, addr_of(other, &outside)?)?;
        mapped.push(seen.ok_or_else(|| Fault::Lab("nothing gets through a carrier's router".into()))?);
    }
    left.send_to(b"neighbour", mapped[1]).map_err(fault)?;
    let heard = heard(&right);
    ensure(heard.is_none_or(|from| from == mapped[0]), || format!("a neighbour at {mapped:?} is seen at {heard:?}"))?;
    Ok(heard.is_some())
}

/// Checks that the kernel counts every byte that arrives under its source.
async fn counts([one, two, counted]: &Others) -> Result<(), Fault> {
    const PACKETS: u64 = 20;
    const BYTES: u64 = 100;
    let services: Vec<_> = two.v4.map(IpAddr::V4).into_iter().collect();
    let (to, from, service) = (bind(counted, true, 0)?, bind(one, true, 0)?, bind(two, true, 0)?);
    let port = from.local_addr().map_err(fault)?.port();
    tools::nft(&counted.netns, &nat::count(&services, Some(&format!("udp sport {port}")))).await?;
    let counters = Counters::open(&counted.netns)?;
    let (addr, others) = (addr_of(counted, &to)?, bind(one, true, 0)?);
    for _ in 0..PACKETS {
        for socket in [&from, &others, &service] {
            socket.send_to(&[0; BYTES as usize], addr).map_err(fault)?;
            heard(&to).ok_or_else(|| Fault::Lab("a packet is lost on a cable".into()))?;
        }
    }
    let counts = counters.read()?;
    // Each packet has headers of IP and UDP.
    let moved = PACKETS * (BYTES + 28);
    let expected = [("direct", 2 * moved), ("moved", moved), ("relayed", 0)];
    let expected = expected.map(|(name, bytes)| (name.to_owned(), bytes)).into_iter().collect();
    ensure(counts == expected, || format!("the kernel counts {counts:?}, and {expected:?} was sent"))
}

pub async fn impairments(figures: &mut Figures) -> Result<(), Fault> {
    let ms = Duration::from_millis;
    let cable = Shape::CABLE;
    let slow = Shape { rate: Some(10_000_000), queue: ms(50), ..cable };
    let steady = Packets { count: 500, size: 128, every: ms(2) };
    // 2 MB in half a second, twice what a link of 10 Mbit/s takes in that time.
    let flood = Packets { count: 1000, size: 1250, every: Duration::from_micros(500) };
    let large = Packets { count: 50, size: 1281, every: ms(2) };
    let (plain, delayed, jittered, lossy, mixed, doubled, slow_seen, large_seen, fits) = try_join!(
        on(cable, steady),
        on(Shape { delay: ms(50), ..cable }, steady),
        on(Shape { delay: ms(10), jitter: ms(20), ..cable }, steady),
        on(Shape { loss: 0.1, ..cable }, steady),
        on(Shape { reorder: 0.1, ..cable }, steady),
        on(Shape { duplicate: 0.1, ..cable }, steady),
        on(slow, flood),
        on(Shape { mtu: Some(1280), ..cable }, large),
        on(Shape { mtu: Some(1280), ..cable }, Packets { size: 1280, ..large }),
    )?;
    let not = Fault::Not;
    probe::verify_time(&cable, &plain).map_err(not)?;
    ensure(plain.arrived == plain.sent && plain.overtaken == 0 && plain.doubled == 0, || {
        format!("a link without impairments: {plain:?}")
    })?;
    probe::verify_time(&Shape { delay: ms(50), ..cable }, &delayed).map_err(not)?;
    probe::verify_time(&Shape { delay: ms(10), jitter: ms(20), ..cable }, &jittered).map_err(not)?;
    ensure(jittered.overtaken == 0, || format!("jitter has changed the order: {jittered:?}"))?;
    probe::verify_loss(&Shape { loss: 0.1, ..cable }, &lossy).map_err(not)?;
    probe::verify_order(&Shape { reorder: 0.1, ..cable }, &mixed).map_err(not)?;
    probe::verify_loss(&Shape { duplicate: 0.1, ..cable }, &doubled).map_err(not)?;
    probe::verify_rate(10_000_000, slow_seen.rate(flood.size)).map_err(not)?;
    ensure((0.3..0.6).contains(&slow_seen.lost()), || {
        format!("a queue of 50 ms, at twice the rate for half a second, dropped {:.2}", slow_seen.lost())
    })?;
    ensure((ms(45)..ms(80)).contains(&slow_seen.most), || format!("a queue of 50 ms took {:?}", slow_seen.most))?;
    ensure(large_seen.arrived == 0 && fits.arrived == fits.sent, || {
        format!("an MTU of 1,280: {} packets of 1,281 bytes arrived, and {} of 1,280", large_seen.arrived, fits.arrived)
    })?;
    figures.note(format!(
        "delay {:.1} ms, jitter {:.1} ms, loss {:.3}, overtaken {:.3}, doubled {:.3}, {:.2} Mbit/s",
        delayed.least.as_secs_f64() * 1e3,
        (jittered.most - jittered.least).as_secs_f64() * 1e3,
        lossy.lost(),
        mixed.overtaken(),
        doubled.doubled(),
        slow_seen.rate(flood.size) / 1e6,
    ));
    Ok(())
}

async fn on(shape: Shape, packets: Packets) -> Result<Measured, Fault> {
    let mut world = World::new(Family::V4).await?;
    let (a, b, link) = world.two_unverified(shape, 11).await?;
    let measured = probe::measure(way(&a, &b)?, packets).await?;
    let seen = link.there().packets;
    ensure(seen >= packets.count.into(), || format!("the link has seen {seen} packets of {}", packets.count))?;
    drop(link);
    world.end().await?;
    Ok(measured)
}
