//! How long a packet takes over a link, measured before a case relies on it.

use std::{
    io,
    net::{IpAddr, UdpSocket},
    time::{Duration, Instant},
};

use super::{fault::Fault, netns::Netns};

/// A machine that is out of breath adds to a delay: one round trip that is near it will do.
const TRIES: usize = 20;
const NEAR: Duration = Duration::from_millis(10);
/// For an answer. No link of a case has a delay near this.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends packets from one namespace to an address in another one, and back. Each way takes `way`.
pub(super) async fn verify(from: &Netns, to: &Netns, addr: IpAddr, way: Duration) -> Result<(), Fault> {
    let (from, to) = (from.clone(), to.clone());
    let measured = tokio::task::spawn_blocking(move || {
        let near = bind(&from, if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        let far = bind(&to, if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        let port = far.local_addr()?.port();
        let mut trips = Vec::new();
        while trips.len() < TRIES && !trips.last().is_some_and(|trip| is_near(*trip, way)) {
            trips.push(trip(&near, &far, (addr, port))?);
        }
        io::Result::Ok(trips)
    });
    let trips = measured.await.map_err(|error| Fault::lab("a probe", error))?;
    judge(&trips.map_err(|error| Fault::lab("a probe of a router's link", error))?, way).map_err(Fault::Lab)
}

/// There and back.
type Trip = [Duration; 2];

fn is_near(trip: Trip, way: Duration) -> bool {
    trip.iter().all(|took| (way..way + NEAR).contains(took))
}

fn judge(trips: &[Trip], way: Duration) -> Result<(), String> {
    if let Some(trip) = trips.iter().find(|trip| trip.iter().any(|took| *took < way)) {
        return Err(format!("a packet took {trip:?}, there and back, over a link of {way:?}"));
    }
    if trips.iter().any(|trip| is_near(*trip, way)) {
        return Ok(());
    }
    Err(format!("packets take {trips:?}, there and back, over a link of {way:?}"))
}

fn bind(netns: &Netns, addr: &str) -> io::Result<UdpSocket> {
    let bound = netns.inside(|| UdpSocket::bind(addr));
    let socket = bound.map_err(|fault| io::Error::other(fault.to_string()))??;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn trip(near: &UdpSocket, far: &UdpSocket, to: (IpAddr, u16)) -> io::Result<Trip> {
    let mut buffer = [0; 16];
    let left = Instant::now();
    near.send_to(b"there", to)?;
    let (_, back) = receive(far, &mut buffer)?;
    let there = left.elapsed();
    let left = Instant::now();
    far.send_to(b"back", back)?;
    receive(near, &mut buffer)?;
    Ok([there, left.elapsed()])
}

/// A child of the lab that ends may interrupt any of its threads.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, std::net::SocketAddr)> {
    loop {
        match socket.recv_from(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_link_without_its_delay_is_found_out_and_a_busy_machine_is_forgiven() {
        assert!(judge(&[[30 * MS, 31 * MS]], 30 * MS).is_ok());
        assert!(judge(&[[80 * MS, 31 * MS], [33 * MS, 32 * MS]], 30 * MS).is_ok());
        assert!(
            judge(&[[Duration::ZERO, 31 * MS], [31 * MS, 31 * MS]], 30 * MS).is_err(),
            "too soon is never the machine"
        );
        assert!(judge(&[[31 * MS, 80 * MS]; TRIES], 30 * MS).is_err());
        assert!(judge(&[], 30 * MS).is_err());
    }
}
