//! Sockets in namespaces, and a check of a link's delay before a case relies on the link.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use super::{fault::Fault, netns::Netns};

/// The number of round trips that may be tried. A busy machine adds to the delay, so one round trip near the delay is
/// enough.
const TRIES: usize = 20;
const NEAR: Duration = Duration::from_millis(10);
/// Maximum time to wait for an answer. No link of a case has a delay near this.
const PATIENCE: Duration = Duration::from_secs(1);

/// Checks that packets between a namespace and an address in another one take `way` in each direction.
pub async fn verify(from: &Netns, to: &Netns, addr: IpAddr, way: Duration) -> Result<(), Fault> {
    let (from, to) = (from.clone(), to.clone());
    let measured = tokio::task::spawn_blocking(move || {
        let near = bind(&from, addr.is_ipv4(), 0, PATIENCE)?;
        let far = bind(&to, addr.is_ipv4(), 0, PATIENCE)?;
        let port = far.local_addr().map_err(fault)?.port();
        let mut trips = Vec::new();
        while trips.len() < TRIES && !trips.last().is_some_and(|trip| is_near(*trip, way)) {
            trips.push(trip(&near, &far, (addr, port)).map_err(fault)?);
        }
        Ok::<_, Fault>(trips)
    });
    let trips = measured.await.map_err(|error| Fault::lab("a probe", error))?;
    judge(&trips?, way).map_err(Fault::Lab)
}

pub fn fault(error: io::Error) -> Fault {
    Fault::lab("a probe", error)
}

/// The times of the way there and of the way back.
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

/// Binds a socket in a namespace, on every address of a family.
pub fn bind(netns: &Netns, v4: bool, port: u16, patience: Duration) -> Result<UdpSocket, Fault> {
    let any: IpAddr = if v4 { [0; 4].into() } else { [0; 16].into() };
    let socket = netns.inside(|| UdpSocket::bind((any, port)))?.map_err(fault)?;
    socket.set_read_timeout(Some(patience)).map_err(fault)?;
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

/// Receives a packet. The end of a child process of the lab can interrupt any thread, so an interrupted call is
/// repeated.
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
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
