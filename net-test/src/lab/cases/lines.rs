//! What the lab itself has to be able to do: routers and links are what they are said to be.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    time::Duration,
};

use tokio::try_join;

use crate::lab::{
    fault::{Fault, ensure},
    figures::Figures,
    link::{
        Shape,
        probe::{self, Measured, Packets},
    },
    nat::Nat,
    world::{Family, Machine, World, way},
};

/// On networks without delay an answer takes some microseconds.
const ANSWER: Duration = Duration::from_millis(500);

/// What a router does to packets from one socket.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// The addresses that two others saw it as. `None` if nothing arrived.
    mapped: [Option<SocketAddr>; 2],
    /// Whether an answer of one that was talked to came back.
    answered: bool,
    /// Whether a packet came in of one that was not talked to, at the address that another one saw.
    unasked: bool,
}

pub(super) async fn nat_kinds(figures: &mut Figures) -> Result<(), Fault> {
    let mut world = World::new(Family::V4).await?;
    let others = [world.public("one", Family::V4).await?, world.public("two", Family::V4).await?];
    let stranger = world.public("stranger", Family::V4).await?;
    for nat in [Nat::Home, Nat::Symmetric, Nat::NoUdp] {
        let mut router = world.router(nat, Family::V4).await?;
        let host = world.host(&mut router, &format!("{nat:?}").to_lowercase(), Family::V4).await?;
        let seen = look(&host, &others, &stranger)?;
        let outside = router.wan.v4;
        let [first, second] = seen.mapped;
        let held = match nat {
            Nat::NoUdp => first.is_none() && second.is_none() && !seen.answered,
            Nat::Home => first.is_some() && first == second && seen.answered && !seen.unasked,
            _ => first.is_some() && second.is_some() && first != second && seen.answered && !seen.unasked,
        };
        ensure(held, || format!("a router that is {nat:?}: {seen:?}"))?;
        let translated = first.is_none_or(|addr| Some(addr.ip()) == outside.map(Into::into));
        ensure(translated, || format!("a router that is {nat:?} does not translate: {seen:?}"))?;
    }
    // The same mapping for both behind two routers as well: a carrier's.
    let mut carrier = world.carrier(Nat::Home).await?;
    let mut home = world.router_behind(&mut carrier, Nat::Home).await?;
    let host = world.host(&mut home, "behind", Family::V4).await?;
    let seen = look(&host, &others, &stranger)?;
    ensure(seen.mapped[0].is_some() && seen.mapped[0] == seen.mapped[1], || format!("behind a carrier: {seen:?}"))?;
    figures.note("home, symmetric, without UDP, behind a carrier");
    world.end().await
}

fn look(host: &Machine, others: &[Machine; 2], stranger: &Machine) -> Result<Seen, Fault> {
    let fault = |error: io::Error| Fault::lab("a probe", error);
    let bind = |machine: &Machine| -> Result<UdpSocket, Fault> {
        let socket = machine.netns.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?.map_err(fault)?;
        socket.set_read_timeout(Some(ANSWER)).map_err(fault)?;
        Ok(socket)
    };
    let (inside, outside) = (bind(host)?, [bind(&others[0])?, bind(&others[1])?]);
    let mut seen = Seen { mapped: [None; 2], answered: false, unasked: false };
    let mut buffer = [0; 16];
    for (n, other) in outside.iter().enumerate() {
        let (Some(addr), port) = (others[n].v4, other.local_addr().map_err(fault)?.port()) else { continue };
        inside.send_to(b"hello", SocketAddrV4::new(addr, port)).map_err(fault)?;
        seen.mapped[n] = other.recv_from(&mut buffer).ok().map(|(_, from)| from);
    }
    if let Some(mapped) = seen.mapped[0] {
        outside[0].send_to(b"answer", mapped).map_err(fault)?;
        seen.answered = inside.recv(&mut buffer).is_ok();
        bind(stranger)?.send_to(b"unasked", mapped).map_err(fault)?;
        seen.unasked = inside.recv(&mut buffer).is_ok();
    }
    Ok(seen)
}

pub(super) async fn impairments(figures: &mut Figures) -> Result<(), Fault> {
    let ms = Duration::from_millis;
    let cable = Shape::CABLE;
    let slow = Shape { rate: Some(10_000_000), queue: ms(50), ..cable };
    let steady = Packets { count: 500, size: 128, every: ms(2) };
    // 2 MB, twice as much as 10 Mbit/s take in the time.
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

/// What becomes of packets on a link of this shape.
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
