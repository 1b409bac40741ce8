//! The behaviour of a link, measured with packets from one end to the other.
//!
//! Both sockets belong to this process, so both times come from one clock, and each direction is measured separately.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use super::model::{REORDER_BY, Shape};
use crate::lab::{
    fault::Fault,
    netns::Netns,
    ping::{bind, fault, receive},
};

#[derive(Debug, Clone)]
pub struct Way {
    pub from: Netns,
    pub to: Netns,
    /// The address at `to`.
    pub addr: Ipv4Addr,
}

#[derive(Debug, Clone, Copy)]
pub struct Packets {
    pub count: u32,
    /// The size of each IP packet in bytes.
    pub size: usize,
    /// The time between two packets. Zero sends as fast as the machine can.
    pub every: Duration,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measured {
    pub sent: u32,
    /// Packets that arrived, without duplicates.
    pub arrived: u32,
    pub doubled: u32,
    /// Packets that arrived after a later one.
    pub overtaken: u32,
    /// The shortest time on the way. The next field is the longest.
    pub least: Duration,
    pub most: Duration,
    /// The time between two arrivals, where only the link delays them.
    pub between: Duration,
}

/// The length of the IPv4 and UDP headers.
const HEADERS: usize = 28;
/// Room for a second of small packets, with the overhead of the kernel for each.
const RECEIVE_BUFFER: usize = 64 << 20;
/// When nothing has come for this time, no packet follows. It is longer than any delay of the links here.
const QUIET: Duration = Duration::from_millis(700);
/// The shorter time after which no packet follows if as many have come as were sent. Duplicates come with the first
/// copies.
const ALL_HERE: Duration = Duration::from_millis(50);

impl Measured {
    pub fn lost(&self) -> f64 {
        1.0 - f64::from(self.arrived) / f64::from(self.sent.max(1))
    }

    pub fn doubled(&self) -> f64 {
        f64::from(self.doubled) / f64::from(self.sent.max(1))
    }

    pub fn overtaken(&self) -> f64 {
        f64::from(self.overtaken) / f64::from(self.arrived.max(1))
    }

    /// Returns the rate in bits per second, for IP packets of this size.
    pub fn rate(&self, size: usize) -> f64 {
        size as f64 * 8.0 / self.between.as_secs_f64().max(1e-9)
    }
}

/// Sends packets and measures their arrival. Takes as long as the sending, and about a second.
pub async fn measure(way: Way, packets: Packets) -> Result<Measured, Fault> {
    let measured = tokio::task::spawn_blocking(move || measure_here(&way, packets)).await;
    measured.map_err(|error| Fault::lab("a measurement", error))?
}

/// The number of packets for the delay, and for the check that there are no losses where none were configured.
const FEW: f64 = 2_000.0;
/// The number of expected losses. With it, a link with half or twice the configured share is told from a correct one.
const EXPECTED: f64 = 40.0;
/// The maximum number of packets, for shares under 0.1 %.
const MANY: f64 = 40_000.0;
/// The number of packets for the delay where there is jitter. They are so far apart that none waits for the one
/// before it: jitter keeps the order, and closer packets would all be as late as the latest. The probability that the
/// least delay of 60 packets is over a third of the jitter is 10^-10.
const APART: u32 = 60;
/// The size of an IP packet that hardly uses the link, in bytes.
const SMALL: usize = 64;
/// The size of an IP packet that floods the link, in bytes.
const LARGE: usize = 1500;
/// The tolerance for the delay. Two threads wake up, each within a tenth of a millisecond. On every machine, one of
/// two thousand packets is in time.
const OFF_BY: Duration = Duration::from_micros(500);
/// The rate is measured with packets at this multiple of the link's rate.
const TOO_FAST: f64 = 1.2;
/// The duration of that measurement, in lengths of the queue. The queue is full to three fifths at its end.
const FLOODING: f64 = 3.0;
/// The tolerance for the rate.
const RATE_OFF_BY: f64 = 0.03;

/// Checks a link against its shape, once, before a case relies on it. Takes about 3 s.
///
/// The link has the seed that it was started with, so it has the same losses each time.
pub async fn verify(way: &Way, shape: &Shape) -> Result<(), Fault> {
    let rarest = [shape.loss, shape.duplicate].into_iter().filter(|share| *share > 0.0).fold(1.0, f64::min);
    let count = (EXPECTED / rarest).clamp(FEW, MANY);
    // The packets take a second, or longer if they would use more than half of the rate.
    let every = (1.0 / count).max(shape.rate.map_or(0.0, |rate| SMALL as f64 * 8.0 * 2.0 / rate as f64));
    let packets = Packets { count: count as u32, size: SMALL, every: Duration::from_secs_f64(every) };
    let measured = measure(way.clone(), packets).await?;
    verify_loss(shape, &measured).map_err(Fault::Lab)?;
    let timed = if shape.jitter.is_zero() {
        measured
    } else {
        measure(way.clone(), Packets { count: APART, every: shape.jitter, ..packets }).await?
    };
    verify_time(shape, &timed).map_err(Fault::Lab)?;
    if let Some(rate) = shape.rate {
        let one = LARGE as f64 * 8.0 / rate as f64;
        let count = shape.queue.as_secs_f64() * FLOODING * TOO_FAST / one;
        let every = Duration::from_secs_f64(one / TOO_FAST);
        let packets = Packets { count: count as u32, size: LARGE, every };
        let seen = measure(way.clone(), packets).await?.rate(packets.size);
        // Lost packets have used the link.
        verify_rate(rate, seen / (1.0 - shape.loss)).map_err(Fault::Lab)?;
    }
    Ok(())
}

/// Checks delay and jitter. A busy machine can only add to them, so the least delay counts.
pub fn verify_time(shape: &Shape, measured: &Measured) -> Result<(), String> {
    let Measured { least, most, .. } = *measured;
    if measured.arrived == 0 {
        return Err("nothing arrives over the link".into());
    }
    let highest_least = shape.delay + shape.jitter / 3 + OFF_BY;
    if least < shape.delay || least > highest_least {
        return Err(format!("the link's delay is {least:?}, and {:?} was asked for", shape.delay));
    }
    if most < shape.delay + shape.jitter / 2 {
        return Err(format!("the link's jitter is {:?}, and {:?} was asked for", most - least, shape.jitter));
    }
    Ok(())
}

/// Checks loss and duplication, each with four standard deviations. None may be seen where none was configured.
pub fn verify_loss(shape: &Shape, measured: &Measured) -> Result<(), String> {
    let shares = [("loss", shape.loss, measured.lost()), ("duplication", shape.duplicate, measured.doubled())];
    for (what, asked, seen) in shares {
        if (seen - asked).abs() > deviations(asked, measured) {
            return Err(format!("the link's {what} is {seen:.4}, and {asked:.4} was asked for"));
        }
    }
    Ok(())
}

/// Checks reordering, for packets that come every 2 ms.
pub fn verify_order(shape: &Shape, measured: &Measured) -> Result<(), String> {
    let (asked, seen) = (shape.reorder, measured.overtaken());
    // The last packet cannot be overtaken, and jitter that keeps the order lets more packets fall into the gap.
    if (seen - asked).abs() > deviations(asked, measured) + 0.02 {
        return Err(format!("the link overtakes {seen:.3} (by {REORDER_BY:?}), and {asked:.3} was asked for"));
    }
    Ok(())
}

pub fn verify_rate(asked: u64, seen: f64) -> Result<(), String> {
    if (seen / asked as f64 - 1.0).abs() > RATE_OFF_BY {
        return Err(format!("the link takes {:.2} Mbit/s, and {:.2} was asked for", seen / 1e6, asked as f64 / 1e6));
    }
    Ok(())
}

fn deviations(asked: f64, measured: &Measured) -> f64 {
    (asked * (1.0 - asked) / f64::from(measured.sent.max(1))).sqrt() * 4.0
}

fn measure_here(way: &Way, packets: Packets) -> Result<Measured, Fault> {
    let (receiver, sender) = (bind(&way.to, true, 0, QUIET)?, bind(&way.from, true, 0, QUIET)?);
    let port = receiver.local_addr().map_err(fault)?.port();
    let to = SocketAddr::from((way.addr, port));
    // With this buffer, a thread that waits for the processor loses no packet.
    setsockopt(&receiver, RcvBufForce, &RECEIVE_BUFFER).map_err(|error| fault(error.into()))?;
    thread::scope(|scope| {
        let sending = scope.spawn(|| send(&sender, to, packets));
        let mut arrivals = Vec::new();
        let mut buffer = vec![0; 2048];
        let started = Instant::now();
        let lasting = packets.every * packets.count + QUIET;
        loop {
            match receive(&receiver, &mut buffer) {
                Ok((len, _)) if len >= 4 => {
                    arrivals.push((number(&buffer), Instant::now()));
                    if arrivals.len() == packets.count as usize {
                        receiver.set_read_timeout(Some(ALL_HERE)).map_err(fault)?;
                    }
                }
                Ok(_) => {}
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
    measured.between = between(&arrivals.iter().map(|(_, at)| *at).collect::<Vec<_>>());
    measured
}

/// Returns the time between two packets at the pace of the link.
///
/// A busy machine makes arrivals late and none early. The line under all arrivals, in the middle, therefore has the
/// slope of the link. It is an edge of their lower convex hull.
fn between(arrivals: &[Instant]) -> Duration {
    // In the first quarter the link may have had nothing to send.
    let arrivals = &arrivals[arrivals.len() / 4..];
    let Some(first) = arrivals.first() else { return Duration::ZERO };
    let mut hull: Vec<(f64, f64)> = Vec::new();
    for (n, at) in arrivals.iter().enumerate() {
        let new = (n as f64, at.saturating_duration_since(*first).as_secs_f64());
        while let [.., (a, at_a), (b, at_b)] = hull[..]
            && (at_b - at_a) * (new.0 - b) >= (new.1 - at_b) * (b - a)
        {
            hull.pop();
        }
        hull.push(new);
    }
    let middle = (arrivals.len() / 2) as f64;
    let edge = hull.windows(2).find(|edge| edge[1].0 >= middle);
    edge.map_or(Duration::ZERO, |edge| Duration::from_secs_f64((edge[1].1 - edge[0].1) / (edge[1].0 - edge[0].0)))
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
        assert!(verify_loss(&asked, &measured(299)).is_err(), "one packet that nobody asked to lose");
        let rare = Shape { loss: 0.001, ..asked };
        let many = |lost: u32| Measured { sent: 40_000, arrived: 40_000 - lost, ..measured(0) };
        assert!(verify_loss(&rare, &many(40)).is_ok());
        assert!(verify_loss(&rare, &many(10)).is_err() && verify_loss(&rare, &many(80)).is_err());
        assert!(verify_rate(10_000_000, 9.8e6).is_ok());
        assert!(verify_rate(10_000_000, 10.5e6).is_err() && verify_rate(10_000_000, 9.5e6).is_err());
    }

    #[test]
    fn the_pace_of_a_link_is_seen_through_arrivals_that_are_late() {
        let begun = Instant::now();
        let arrivals = |late: fn(u32) -> Duration| (0..1000).map(|n| begun + n * MS + late(n)).collect::<Vec<_>>();
        assert_eq!(between(&arrivals(|_| Duration::ZERO)), MS);
        // The thread wakes every 5 ms, and once sleeps for 60 ms.
        let waking = between(&arrivals(|n| (4 - n % 5) * MS));
        assert!((MS * 99 / 100..=MS * 101 / 100).contains(&waking), "{waking:?}");
        let asleep = between(&arrivals(|n| if n >= 940 { (1000 - n) * MS } else { Duration::ZERO }));
        assert_eq!(asleep, MS);
        assert_eq!(between(&[]), Duration::ZERO);
    }
}
