//! What a link really does: packets of the lab's own from one end to the other, and what becomes of them.
//!
//! Both sockets belong to this process, so both times come from one clock, and a way is measured in one direction.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use super::model::{REORDER_BY, Shape};
use crate::lab::{fault::Fault, netns::Netns};

/// Where packets go from and to.
#[derive(Debug, Clone)]
pub(in crate::lab) struct Way {
    pub(in crate::lab) from: Netns,
    pub(in crate::lab) to: Netns,
    /// The address there.
    pub(in crate::lab) addr: Ipv4Addr,
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(in crate::lab) struct Packets {
    pub(in crate::lab) count: u32,
    /// Bytes of an IP packet.
    pub(in crate::lab) size: usize,
    /// Zero sends as fast as the machine does.
    pub(in crate::lab) every: Duration,
}

/// What became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::lab) struct Measured {
    pub(in crate::lab) sent: u32,
    /// Each once.
    pub(in crate::lab) arrived: u32,
    /// Second copies.
    pub(in crate::lab) doubled: u32,
    /// Those that a later one arrived before.
    pub(in crate::lab) overtaken: u32,
    /// On the way.
    pub(in crate::lab) least: Duration,
    pub(in crate::lab) most: Duration,
    /// From the first arrival to the last one.
    pub(in crate::lab) lasting: Duration,
}

/// IPv4 and UDP headers.
const HEADERS: usize = 28;
/// Nothing comes any more when nothing came for so long: more than any delay that links have here.
const QUIET: Duration = Duration::from_millis(700);

impl Measured {
    /// The share that did not arrive.
    pub(in crate::lab) fn lost(&self) -> f64 {
        1.0 - f64::from(self.arrived) / f64::from(self.sent.max(1))
    }

    /// The share of second copies among what was sent.
    pub(in crate::lab) fn doubled(&self) -> f64 {
        f64::from(self.doubled) / f64::from(self.sent.max(1))
    }

    /// The share that was overtaken.
    pub(in crate::lab) fn overtaken(&self) -> f64 {
        f64::from(self.overtaken) / f64::from(self.arrived.max(1))
    }

    /// Bits a second at which IP packets of this size arrived.
    pub(in crate::lab) fn rate(&self, size: usize) -> f64 {
        // The first one opens the interval, and belongs to none.
        let bits = f64::from(self.arrived.saturating_sub(1)) * size as f64 * 8.0;
        bits / self.lasting.as_secs_f64().max(1e-9)
    }
}

/// Sends packets, and sees what becomes of them. It takes as long as the sending, and about a second.
pub(in crate::lab) async fn measure(way: Way, packets: Packets) -> Result<Measured, Fault> {
    let measured = tokio::task::spawn_blocking(move || measure_here(&way, packets)).await;
    measured.map_err(|error| Fault::lab("a measurement", error))?
}

/// How often a link's rate is measured until it is what was asked for. A link that is another one never is.
const TRIES: usize = 10;

/// Measures whether a link is what was asked for, before a case relies on it. It takes 2 s, and seldom 10.
pub(in crate::lab) async fn verify(way: &Way, shape: &Shape) -> Result<(), Fault> {
    let packets = Packets { count: 300, size: 128, every: Duration::from_millis(2) };
    let measured = measure(way.clone(), packets).await?;
    verify_time(shape, &measured).and_then(|()| verify_loss(shape, &measured)).map_err(Fault::Lab)?;
    if let Some(rate) = shape.rate {
        // Half of what the queue takes.
        let bytes = rate / 8 * u64::try_from(shape.queue.as_millis()).unwrap_or(100) / 2000;
        let count = u32::try_from(bytes / 1200).unwrap_or(u32::MAX).clamp(20, 5000);
        let packets = Packets { count, size: 1200, every: Duration::ZERO };
        // On a machine that is out of breath packets are late, and then come all at once: one count that is right will do.
        let mut seen = 0.0;
        for _ in 0..TRIES {
            seen = measure(way.clone(), packets).await?.rate(packets.size);
            if verify_rate(rate, seen).is_ok() {
                return Ok(());
            }
        }
        verify_rate(rate, seen).map_err(Fault::Lab)?;
    }
    Ok(())
}

/// Delay and jitter. A machine that is out of breath can only add to them, so the least is what tells.
pub(in crate::lab) fn verify_time(shape: &Shape, measured: &Measured) -> Result<(), String> {
    let Measured { least, most, .. } = *measured;
    if measured.arrived == 0 {
        return Err("nothing arrives over the link".into());
    }
    let highest_least = shape.delay + shape.jitter / 3 + Duration::from_millis(5);
    if least < shape.delay || least > highest_least {
        return Err(format!("the link's delay is {least:?}, and {:?} was asked for", shape.delay));
    }
    if most < shape.delay + shape.jitter / 2 {
        return Err(format!("the link's jitter is {:?}, and {:?} was asked for", most - least, shape.jitter));
    }
    Ok(())
}

/// Loss, reordering and duplication, each by four standard deviations.
pub(in crate::lab) fn verify_loss(shape: &Shape, measured: &Measured) -> Result<(), String> {
    // What is last cannot be overtaken, and jitter that keeps the order lets more fall into the gap.
    let shares = [("loss", shape.loss, measured.lost()), ("duplication", shape.duplicate, measured.doubled())];
    for (what, asked, seen) in shares {
        let deviation = (asked * (1.0 - asked) / f64::from(measured.sent.max(1))).sqrt() * 4.0;
        if (seen - asked).abs() > deviation + 0.01 {
            return Err(format!("the link's {what} is {seen:.3}, and {asked:.3} was asked for"));
        }
    }
    Ok(())
}

/// Reordering, of packets that come every 2 ms.
pub(in crate::lab) fn verify_order(shape: &Shape, measured: &Measured) -> Result<(), String> {
    let (asked, seen) = (shape.reorder, measured.overtaken());
    let deviation = (asked * (1.0 - asked) / f64::from(measured.sent.max(1))).sqrt() * 4.0;
    if (seen - asked).abs() > deviation + 0.02 {
        return Err(format!("the link overtakes {seen:.3} (by {REORDER_BY:?}), and {asked:.3} was asked for"));
    }
    Ok(())
}

pub(in crate::lab) fn verify_rate(asked: u64, seen: f64) -> Result<(), String> {
    if !(asked as f64 * 0.8..asked as f64 * 1.1).contains(&seen) {
        return Err(format!("the link takes {:.1} Mbit/s, and {:.1} was asked for", seen / 1e6, asked as f64 / 1e6));
    }
    Ok(())
}

fn measure_here(way: &Way, packets: Packets) -> Result<Measured, Fault> {
    let fault = |error: io::Error| Fault::lab("a probe", error);
    let receiver = way.to.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?.map_err(fault)?;
    let sender = way.from.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?.map_err(fault)?;
    let port = receiver.local_addr().map_err(fault)?.port();
    let to = SocketAddr::from((way.addr, port));
    receiver.set_read_timeout(Some(QUIET)).map_err(fault)?;
    thread::scope(|scope| {
        let sending = scope.spawn(|| send(&sender, to, packets));
        let mut arrivals = Vec::new();
        let mut buffer = vec![0; 2048];
        let started = Instant::now();
        let lasting = packets.every * packets.count + QUIET;
        loop {
            match receiver.recv(&mut buffer) {
                Ok(len) if len >= 4 => arrivals.push((number(&buffer), Instant::now())),
                Ok(_) => {}
                // A child of the lab has ended: its signal may come to any thread.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_quiet(&error) && started.elapsed() < lasting => {}
                Err(error) if is_quiet(&error) => break,
                Err(error) => return Err(fault(error)),
            }
        }
        let sent = sending.join().map_err(|_| Fault::Lab("a probe has died".into()))?.map_err(fault)?;
        Ok(evaluate(&sent, &arrivals))
    })
}

fn send(socket: &UdpSocket, to: SocketAddr, packets: Packets) -> io::Result<Vec<Instant>> {
    let mut payload = vec![0; packets.size.saturating_sub(HEADERS).max(4)];
    let (begun, mut sent) = (Instant::now(), Vec::new());
    for n in 0..packets.count {
        let due = begun + packets.every * n;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        payload[..4].copy_from_slice(&n.to_be_bytes());
        sent.push(Instant::now());
        socket.send_to(&payload, to)?;
    }
    Ok(sent)
}

fn number(packet: &[u8]) -> u32 {
    packet.first_chunk().map_or(u32::MAX, |bytes| u32::from_be_bytes(*bytes))
}

fn is_quiet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn evaluate(sent: &[Instant], arrivals: &[(u32, Instant)]) -> Measured {
    let mut measured = Measured { sent: u32::try_from(sent.len()).unwrap_or(u32::MAX), ..Measured::default() };
    let (mut seen, mut ways, mut highest) = (BTreeSet::new(), Vec::new(), None);
    for (number, at) in arrivals {
        let Some(left) = usize::try_from(*number).ok().and_then(|index| sent.get(index)) else { continue };
        if !seen.insert(*number) {
            measured.doubled += 1;
            continue;
        }
        measured.arrived += 1;
        ways.push(at.saturating_duration_since(*left));
        if highest.is_some_and(|highest| *number < highest) {
            measured.overtaken += 1;
        }
        highest = highest.max(Some(*number));
    }
    measured.least = ways.iter().min().copied().unwrap_or_default();
    measured.most = ways.iter().max().copied().unwrap_or_default();
    if let (Some((_, first)), Some((_, last))) = (arrivals.first(), arrivals.last()) {
        measured.lasting = last.saturating_duration_since(*first);
    }
    measured
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn measured(arrived: u32) -> Measured {
        Measured { sent: 300, arrived, least: 50 * MS, most: 51 * MS, ..Measured::default() }
    }

    #[test]
    fn what_arrives_is_counted_once_and_what_is_overtaken_is_seen() {
        let begun = Instant::now();
        let sent: Vec<_> = (0..5).map(|n| begun + n * MS).collect();
        let arrivals: Vec<_> = [0, 2, 1, 1, 4].into_iter().zip(5..).map(|(n, at)| (n, begun + at * MS)).collect();
        let measured = evaluate(&sent, &arrivals);
        assert_eq!((measured.arrived, measured.doubled, measured.overtaken), (4, 1, 1));
        assert_eq!((measured.least, measured.most), (4 * MS, 6 * MS));
        assert_eq!(measured.lasting, 4 * MS);
        assert!((measured.lost() - 0.2).abs() < 1e-9);
    }

    #[test]
    fn a_link_that_does_nothing_is_found_out() {
        let asked = Shape { delay: 50 * MS, ..Shape::CABLE };
        assert!(verify_time(&asked, &measured(300)).is_ok());
        assert!(verify_time(&asked, &Measured { least: MS, ..measured(300) }).is_err());
        assert!(verify_time(&asked, &Measured { least: 60 * MS, most: 61 * MS, ..measured(300) }).is_err());
        assert!(verify_time(&Shape { jitter: 20 * MS, ..asked }, &measured(300)).is_err());
        assert!(verify_time(&asked, &Measured::default()).is_err());
        let lossy = Shape { loss: 0.1, ..asked };
        assert!(verify_loss(&lossy, &measured(300)).is_err());
        assert!(verify_loss(&lossy, &measured(270)).is_ok());
        assert!(verify_loss(&asked, &measured(250)).is_err(), "a loss that was not asked for");
        assert!(verify_loss(&Shape { duplicate: 0.2, ..asked }, &measured(300)).is_err());
        assert!(verify_order(&Shape { reorder: 0.2, ..asked }, &measured(300)).is_err());
        assert!(verify_rate(10_000_000, 9.5e6).is_ok());
        assert!(verify_rate(10_000_000, 40e6).is_err() && verify_rate(10_000_000, 5e6).is_err());
    }
}
