//! A fault of noq 1.4 that takes memory. If the test fails because the fault is gone, the paragraph about it in
//! `net/INVARIANTS.md` goes too.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::net::Ipv4Addr;

use iroh::{
    EndpointAddr, RelayMode, TransportAddr,
    endpoint::{PortmapperConfig, VarInt, presets},
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const ALPN: &[u8] = b"stopped";
const STREAMS: u32 = 4_000;
/// The number of streams before the heap is measured. Buffers and tables have grown to their size by then.
const FIRST: u32 = 500;

async fn bind() -> iroh::Endpoint {
    iroh::Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .portmapper_config(PortmapperConfig::Disabled)
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .alpns(vec![ALPN.to_vec()])
        .bind()
        .await
        .unwrap()
}

/// Opens streams one after the other on one connection, and resets each. `asks`: whether `stopped` is called before.
/// Returns by how many bytes the heap has grown for each stream, while the connection is open.
async fn kept(asks: bool) -> f64 {
    let [here, there] = [bind().await, bind().await];
    let addrs = there.bound_sockets().into_iter().map(TransportAddr::Ip);
    let addr = EndpointAddr::from_parts(there.id(), addrs);
    let accepting = async { there.accept().await.unwrap().await };
    let (connection, peer) = tokio::join!(here.connect(addr, ALPN), accepting);
    let (connection, peer) = (connection.unwrap(), peer.unwrap());
    tokio::spawn(async move {
        while let Ok((_send, mut recv)) = peer.accept_bi().await {
            // Ends with the reset. If `recv` were dropped before, it would stop the stream, which removes the entry.
            let _ = recv.read_to_end(1).await;
        }
    });
    let mut before = 0;
    for n in 0..FIRST + STREAMS {
        if n == FIRST {
            before = HEAP.current_usage();
        }
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(b"x").await.unwrap();
        if asks {
            drop(send.stopped());
        }
        send.reset(VarInt::from_u32(1)).unwrap();
        // The peer finishes its half when it has the reset.
        recv.read_to_end(1).await.unwrap();
    }
    (HEAP.current_usage() as f64 - before as f64) / f64::from(STREAMS)
}

#[tokio::test]
async fn noq_keeps_an_entry_for_each_stream_that_was_asked_for_its_stop_and_reset_until_the_connection_ends() {
    let (asked, others) = (kept(true).await, kept(false).await);
    // An `Arc<Notify>` has 48 bytes, and its place in the table 17 to 39.
    let more = asked - others;
    assert!((40.0..200.0).contains(&more), "{more} bytes for each stream: {asked} and {others}");
}
