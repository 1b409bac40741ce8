//! For tests: a connection with lanes on one side. The other side is plain QUIC, and does what the test says.

use std::{
    cell::RefCell,
    fmt::Debug,
    future::Future,
    net::Ipv4Addr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use iroh::{
    EndpointAddr, RelayMode, TransportAddr,
    endpoint::{Connection, PortmapperConfig, RecvStream as QuicRecv, SendStream as QuicSend, presets},
};
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::time::timeout;
use twolane_id::SecretKey;

use super::{Carrier, Lanes, RecvStream, SendStream};
use crate::{
    limits::Limits,
    metrics::Metrics,
    tasks::Tasks,
    wire::record::{Record, Severity},
};

const ALPN: &[u8] = b"lanes";
/// Number of cases. Without one of the wakes, a test failed within 30 cases.
const CASES: u32 = 300;
/// Timeout of a scene, which takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two connected endpoints. One side has lanes, the other one is plain QUIC.
pub(super) struct Pair {
    pub(super) carrier: Arc<Carrier>,
    pub(super) peer: Connection,
    barrier: (QuicSend, QuicRecv),
    _endpoints: [iroh::Endpoint; 2],
}

/// An accepted data lane, before anything was read from it.
pub(super) struct Opened {
    pub(super) there: (QuicSend, QuicRecv),
    pub(super) send: SendStream,
    pub(super) recv: RecvStream,
    pub(super) lanes: Arc<Lanes>,
}

impl Pair {
    pub(super) async fn new() -> Self {
        let [here, there] = [bind().await, bind().await];
        let addrs = here.bound_sockets().into_iter().map(TransportAddr::Ip);
        let addr = EndpointAddr::from_parts(here.id(), addrs);
        let accepting = async { here.accept().await.unwrap().await };
        let (connection, peer) = tokio::join!(accepting, there.connect(addr, ALPN));
        let (connection, peer) = (connection.unwrap(), peer.unwrap());
        let mut marks = peer.open_uni().await.unwrap();
        // Data of this stream is sent after all other data that is waiting.
        marks.set_priority(-1).unwrap();
        marks.write_all(b"|").await.unwrap();
        let mut barrier = (marks, connection.accept_uni().await.unwrap());
        barrier.1.read_exact(&mut [0]).await.unwrap();
        // The error lanes that the side with the lanes opens are accepted and dropped.
        let errors = peer.clone();
        tokio::spawn(async move { while errors.accept_bi().await.is_ok() {} });
        let limits = Arc::new(Limits { error_timeout: Duration::from_secs(3600), ..Limits::default() });
        let name = SecretKey::generate().public_key();
        let carrier = Carrier::new(connection.into(), name, limits, Tasks::here(), Arc::new(Metrics::default()), false);
        Self { carrier: Arc::new(carrier), peer, barrier, _endpoints: [here, there] }
    }

    /// Returns a data lane that the peer has opened: the peer's QUIC streams, and the halves on this side.
    pub(super) async fn open(&self) -> Opened {
        let (mut there, answers) = self.peer.open_bi().await.unwrap();
        there.write_all(b"h").await.unwrap();
        let (send, recv) = self.carrier.connection.accept_bi().await.unwrap();
        let lanes = Lanes::accepted(&self.carrier, send.id().into());
        assert!(lanes.count_data_lane());
        let (send, recv) = (SendStream::new(send, Arc::clone(&lanes)), RecvStream::new(recv, Arc::clone(&lanes)));
        Opened { there: (there, answers), send, recv, lanes }
    }

    /// Waits until the data that the peer has sent is here. Loopback keeps the order and loses nothing.
    pub(super) async fn arrives(&mut self) {
        let (marks, here) = &mut self.barrier;
        marks.write_all(b"|").await.unwrap();
        here.read_exact(&mut [0]).await.unwrap();
    }
}

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

/// Plays the scenes that the strategy generates. Each scene returns whether its connection can be used for the next
/// one.
pub(super) fn play<S: Strategy>(strategy: &S, scene: impl AsyncFn(&mut Pair, S::Value) -> bool)
where
    S::Value: Debug,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let kept = RefCell::new(None);
    let mut runner =
        TestRunner::new(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() });
    let played = runner.run(strategy, |events| {
        // The connection is not kept if the scene fails.
        let pair = kept.take();
        runtime.block_on(async {
            let mut pair = match pair {
                Some(pair) => pair,
                None => Pair::new().await,
            };
            let played = timeout(PATIENCE, scene(&mut pair, events)).await.expect("a scene does not come to its end");
            if played {
                kept.replace(Some(pair));
            }
        });
        Ok(())
    });
    played.unwrap_or_else(|failed| panic!("{failed}"));
}

/// Returns the data of a lane from an offset on.
pub(super) fn pattern(from: u64, len: usize) -> Vec<u8> {
    (from..).take(len).map(|offset| (offset % 251) as u8).collect()
}

/// Returns a record of the peer.
pub(super) fn record(severity: Severity, offset: u64) -> Record {
    Record { severity, code: 7, offset, text: "a word".into(), details: Bytes::new() }
}

/// Tells whether a call that returned pending was woken since.
#[derive(Debug, Default)]
pub(super) struct Woken(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

impl Woken {
    /// Polls a call once. `None` if it is pending: it must be woken when it can make progress.
    pub(super) fn poll<F: Future>(&mut self, future: F) -> Option<F::Output> {
        // Another waker each time, like that of a call that moves from task to task. Only the last waker counts.
        self.0 = Arc::default();
        let waker = Waker::from(Arc::clone(&self.0));
        match pin!(future).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    pub(super) fn take(&self) -> bool {
        self.0.0.swap(false, SeqCst)
    }
}
