//! The two libraries behind one set of words: a stream of bulk, a request, a stream that is opened.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use iroh::{
    EndpointAddr, RelayMode, TransportAddr,
    endpoint::{Connection, PortmapperConfig, presets},
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use twolane::{Endpoint, Ticket};

use crate::{lab::fault::Fault, output::in_one_line};

/// What the bulk streams are for; and the first byte of a stream of raw iroh, which has no protocols for streams.
const BULK: &str = "lab-bulk/1";
const ASK: &str = "lab-ask/1";
const RAW_BULK: u8 = 0;
const RAW_ASK: u8 = 1;
const RAW_ALPN: &[u8] = b"lab-raw/1";

const CHUNK: usize = 64 * 1024;
/// What a request and its response have.
pub(super) const REQUEST: usize = 64;
/// On a link with 300 ms and 5 % loss, beside bulk.
const DEADLINE: Duration = Duration::from_secs(30);

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::lab) enum Library {
    /// twolane, with its defaults.
    Ours,
    /// iroh, with its defaults.
    Raw,
}

/// An end that is dialled.
pub(super) enum Server {
    Ours(Endpoint),
    Raw(iroh::Endpoint),
}

/// An end that dials, and is connected.
#[derive(Clone)]
pub(super) enum Client {
    Ours(Endpoint, Ticket),
    Raw(iroh::Endpoint, Connection),
}

impl Server {
    /// Binds and serves; the text is what the other end has to know.
    pub(super) async fn start(library: Library, addr: Ipv4Addr) -> Result<(Self, String), Fault> {
        let socket = SocketAddr::from((addr, 0));
        match library {
            Library::Ours => {
                let endpoint = ours(socket).await?;
                let broken = |error: twolane::ServeError| Fault::lab("nothing can be served", error);
                endpoint
                    .serve(BULK, |stream| async move {
                        let _ = take_bulk(stream).await;
                    })
                    .map_err(broken)?;
                endpoint.serve_requests(ASK, |request| async move { Ok(request.body) }).map_err(broken)?;
                let name = endpoint.ticket().to_string();
                Ok((Self::Ours(endpoint), name))
            }
            Library::Raw => {
                let endpoint = raw(socket).await?;
                tokio::spawn(serve_raw(endpoint.clone()));
                let addrs = endpoint.bound_sockets().into_iter().map(TransportAddr::Ip);
                let addr = EndpointAddr::from_parts(endpoint.id(), addrs);
                let name = serde_json::to_string(&addr).map_err(|error| Fault::lab("an address", error))?;
                Ok((Self::Raw(endpoint), name))
            }
        }
    }

    pub(super) async fn end(self) {
        match self {
            Self::Ours(endpoint) => drop(endpoint.shutdown(Duration::from_secs(1)).await),
            Self::Raw(endpoint) => endpoint.close().await,
        }
    }
}

impl Client {
    pub(super) async fn connect(library: Library, addr: Ipv4Addr, name: &str) -> Result<Self, Fault> {
        let socket = SocketAddr::from((addr, 0));
        match library {
            Library::Ours => {
                let endpoint = ours(socket).await?;
                let ticket: Ticket = name.parse().map_err(|error| Fault::lab("a ticket", error))?;
                endpoint.connect(&ticket).await.map_err(|error| Fault::lab("no connection", in_one_line(&error)))?;
                Ok(Self::Ours(endpoint, ticket))
            }
            Library::Raw => {
                let endpoint = raw(socket).await?;
                let addr: EndpointAddr = serde_json::from_str(name).map_err(|error| Fault::lab("an address", error))?;
                let connection = timeout(DEADLINE, endpoint.connect(addr, RAW_ALPN)).await;
                let connection = connection
                    .map_err(|_| Fault::Lab("no connection".into()))?
                    .map_err(|error| Fault::lab("no connection", error))?;
                Ok(Self::Raw(endpoint, connection))
            }
        }
    }

    /// Sends as much as goes for so long, on one stream, and returns how much had arrived by then: by the other end's clock,
    /// from the moment in which it saw the stream.
    pub(super) async fn bulk(&self, lasting: Duration) -> Result<u64, Fault> {
        let fault = |what: String| Fault::lab("bulk", what);
        let head = u64::try_from(lasting.as_millis()).unwrap_or(u64::MAX).to_be_bytes();
        let chunk = Bytes::from(vec![7; CHUNK]);
        // The other end stops taking when the time is over, and says how much there was.
        match self {
            Self::Ours(endpoint, peer) => {
                let mut stream = endpoint.get_stream(peer, BULK).await.map_err(|error| fault(in_one_line(&error)))?;
                let (tx, rx) = stream.halves();
                let sending = async {
                    let mut sent = tx.write_all(&head).await;
                    while sent.is_ok() {
                        sent = tx.write_chunk(chunk.clone()).await;
                    }
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    taken = rx.next_string() => {
                        taken.map_err(|error| fault(in_one_line(&error)))?.parse().map_err(|_| fault("an odd count".into()))
                    }
                    () = sending => Ok(0),
                }
            }
            Self::Raw(_, connection) => {
                let (mut tx, mut rx) = connection.open_bi().await.map_err(|error| fault(in_one_line(&error)))?;
                let sending = async {
                    let mut sent = tx.write_all(&[RAW_BULK]).await;
                    if sent.is_ok() {
                        sent = tx.write_all(&head).await;
                    }
                    while sent.is_ok() {
                        sent = tx.write_chunk(chunk.clone()).await;
                    }
                    std::future::pending::<()>().await;
                };
                let mut taken = [0; 8];
                tokio::select! {
                    read = rx.read_exact(&mut taken) => {
                        read.map_err(|error| fault(in_one_line(&error)))?;
                        Ok(u64::from_be_bytes(taken))
                    }
                    () = sending => Ok(0),
                }
            }
        }
    }

    /// One request with its response; how long it took.
    pub(super) async fn request(&self) -> Result<Duration, Fault> {
        let fault = |what: String| Fault::lab("a request", what);
        let begun = Instant::now();
        let body = vec![3; REQUEST];
        match self {
            Self::Ours(endpoint, peer) => {
                let response = endpoint.request(peer, ASK, body, DEADLINE).await;
                response.map_err(|error| fault(in_one_line(&error)))?;
            }
            Self::Raw(_, connection) => {
                let exchange = async {
                    let (mut tx, mut rx) = connection.open_bi().await.map_err(|error| fault(in_one_line(&error)))?;
                    let mut all = vec![RAW_ASK];
                    all.extend_from_slice(&body);
                    tx.write_all(&all).await.map_err(|error| fault(in_one_line(&error)))?;
                    tx.finish().map_err(|error| fault(in_one_line(&error)))?;
                    rx.read_to_end(REQUEST).await.map_err(|error| fault(in_one_line(&error)))
                };
                timeout(DEADLINE, exchange).await.map_err(|_| fault("no response".into()))??;
            }
        }
        Ok(begun.elapsed())
    }

    /// Opens a stream until the peer has taken it. Raw iroh has nothing of the kind.
    pub(super) async fn open(&self) -> Result<Option<Duration>, Fault> {
        let Self::Ours(endpoint, peer) = self else { return Ok(None) };
        let begun = Instant::now();
        let stream = endpoint.get_stream(peer, BULK).await;
        let took = begun.elapsed();
        // Dropped, it is reset: the other end takes nothing from it.
        stream.map(|_| Some(took)).map_err(|error| Fault::lab("a stream", in_one_line(&error)))
    }

    pub(super) async fn end(self) {
        match self {
            Self::Ours(endpoint, _) => drop(endpoint.shutdown(Duration::from_secs(1)).await),
            Self::Raw(endpoint, connection) => {
                connection.close(0_u32.into(), b"done");
                endpoint.close().await;
            }
        }
    }
}

async fn ours(socket: SocketAddr) -> Result<Endpoint, Fault> {
    let bound = Endpoint::builder().bind_addr(socket).offline().bind().await;
    bound.map_err(|error| Fault::lab("no endpoint", in_one_line(&error)))
}

async fn raw(socket: SocketAddr) -> Result<iroh::Endpoint, Fault> {
    let builder = iroh::Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .portmapper_config(PortmapperConfig::Disabled)
        .alpns(vec![RAW_ALPN.to_vec()])
        .clear_ip_transports()
        .bind_addr(socket)
        .map_err(|error| Fault::lab("an address", error))?;
    builder.bind().await.map_err(|error| Fault::lab("no endpoint", error))
}

/// Reads for as long as the first eight bytes say, and answers how much there was.
async fn take_bulk(mut stream: twolane::XStream) -> Option<()> {
    let mut head = [0; 8];
    let mut filled = 0;
    while filled < head.len() {
        match stream.read(&mut head[filled..]).await {
            Ok(len) if len > 0 => filled += len,
            _ => return None,
        }
    }
    let (tx, rx) = stream.halves();
    let mut taken = 0;
    let reading = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(len) = rx.read(&mut buffer).await {
            if len == 0 {
                break;
            }
            taken += len as u64;
        }
    };
    let _ = timeout(Duration::from_millis(u64::from_be_bytes(head)), reading).await;
    tx.send_string(&taken.to_string()).await.ok()?;
    tx.finish().ok()?;
    // What is still on its way is not read: the opener resets it.
    tx.delivered().await.ok()
}

async fn serve_raw(endpoint: iroh::Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            while let Ok((tx, rx)) = connection.accept_bi().await {
                tokio::spawn(async move {
                    let _ = serve_raw_stream(tx, rx).await;
                });
            }
        });
    }
}

async fn serve_raw_stream(mut tx: iroh::endpoint::SendStream, mut rx: iroh::endpoint::RecvStream) -> Option<()> {
    let mut kind = [0];
    rx.read_exact(&mut kind).await.ok()?;
    if kind == [RAW_ASK] {
        let body = rx.read_to_end(REQUEST).await.ok()?;
        tx.write_all(&body).await.ok()?;
        return tx.finish().ok();
    }
    let mut head = [0; 8];
    rx.read_exact(&mut head).await.ok()?;
    let mut taken = 0;
    let reading = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(Some(len)) = rx.read(&mut buffer).await {
            taken += len as u64;
        }
    };
    let _ = timeout(Duration::from_millis(u64::from_be_bytes(head)), reading).await;
    tx.write_all(&taken.to_be_bytes()).await.ok()?;
    tx.finish().ok()?;
    tx.stopped().await.ok().map(drop)
}
