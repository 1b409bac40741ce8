//! Flows over the kernel's TCP: bulk data, and clients that fetch pages.

use std::{
    ffi::OsString,
    io,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use nix::{
    libc,
    sys::socket::{setsockopt, sockopt},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
    time::sleep,
};

use super::flow::Said;
use crate::{
    lab::parts,
    output::now_ns,
    speed::{Broken, bulk::PIECE},
};

const CLIENTS: u64 = 5;
/// The size of a small page with its pictures, in bytes. It ends within Cubic's slow start, which is what users wait
/// for.
const PAGE: usize = 200_000;
/// The shortest and the longest time of a reader between two pages. Five readers take a third of 20 Mbit/s without
/// competing flows.
const READING: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(1500));
const WAITING: u32 = 64;

fn socket(addr: Ipv4Addr, control: &str) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    setsockopt(&socket, sockopt::TcpCongestion, &OsString::from(control))?;
    // The kernel of a flow that is killed must send nothing more, since the next flow would meet that data.
    setsockopt(&socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    socket.bind(SocketAddr::from((addr, 0)))?;
    Ok(socket)
}

/// Listens on the address. Accepted connections have the same congestion control.
pub fn listen(addr: Ipv4Addr, control: &str) -> Result<(TcpListener, String), Broken> {
    let listener = socket(addr, control)?.listen(WAITING)?;
    let name = listener.local_addr()?.to_string();
    Ok((listener, name))
}

/// Reads all data that comes.
pub async fn read(listener: TcpListener) -> Result<(), Broken> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut buffer = vec![0; PIECE];
            while stream.read(&mut buffer).await.is_ok_and(|len| len > 0) {}
        });
    }
}

/// Writes without an end.
pub async fn pour(addr: Ipv4Addr, control: &str, to: &str) -> Result<(), Broken> {
    let mut stream = socket(addr, control)?.connect(to.parse()?).await?;
    let piece = vec![0; PIECE];
    loop {
        stream.write_all(&piece).await?;
    }
}

pub async fn serve_pages(listener: TcpListener) -> Result<(), Broken> {
    loop {
        let (stream, _) = listener.accept().await?;
        // The client reports a page that breaks.
        tokio::spawn(page(stream));
    }
}

async fn page(mut stream: TcpStream) -> io::Result<()> {
    stream.read_u8().await?;
    stream.write_all(&vec![0; PAGE]).await?;
    stream.shutdown().await?;
    // The stream stays until the client has all of the page. A dropped socket discards the data that it has not sent.
    while stream.read(&mut [0; 16]).await? > 0 {}
    Ok(())
}

/// Fetches pages with one connection for each, and reports the time from dialling to the last byte of each.
pub async fn fetch_pages(addr: Ipv4Addr, control: &str, to: &str, seed: u64) -> Result<(), Broken> {
    let to: SocketAddr = to.parse()?;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let control = control.to_owned();
        clients.spawn(async move {
            let mut rng = SmallRng::seed_from_u64(seed.wrapping_mul(CLIENTS).wrapping_add(client));
            loop {
                sleep(READING.0 + (READING.1 - READING.0).mul_f64(rng.random())).await;
                let (at_ns, begun) = (now_ns(), Instant::now());
                fetch(addr, &control, to).await?;
                parts::say(&Said::Fetched { at_ns, ms: begun.elapsed().as_secs_f64() * 1e3 });
            }
        });
    }
    match clients.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

async fn fetch(addr: Ipv4Addr, control: &str, to: SocketAddr) -> Result<(), Broken> {
    let mut stream = socket(addr, control)?.connect(to).await?;
    stream.write_u8(0).await?;
    let (mut buffer, mut read) = (vec![0; PIECE], 0);
    while read < PAGE {
        match stream.read(&mut buffer).await? {
            0 => return Err(Broken::msg("a page has ended too early")),
            len => read += len,
        }
    }
    Ok(())
}
