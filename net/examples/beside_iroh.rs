//! Three protocols on one iroh endpoint: iroh-blobs, iroh-gossip, and the streams of this library. Two nodes on this
//! machine fetch a blob, hear a gossip message, and open a stream that its acceptor fails. Then they shut down.
//!
//!     cargo run --example beside_iroh                  # the iroh endpoint is the program's, with iroh's Router
//!     cargo run --example beside_iroh -- --ours        # it is this library's, which also accepts the others
//!     cargo run --example beside_iroh -- --json        # one JSON object a line, and the last one is {"ok":true}
//!
//! Between two machines, leave out what is marked with "this machine only".

use std::{net::Ipv4Addr, time::Duration};

use iroh::{
    RelayMode,
    endpoint::{PortmapperConfig, presets},
    protocol::Router,
};
use iroh_blobs::{BlobsProtocol, store::mem::MemStore};
use iroh_gossip::{Gossip, TopicId, api};
use n0_future::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;
use twolane::{Endpoint, Event, ReadError, StreamError};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Deadline of a shutdown, and of all that the example waits for.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (mut as_json, mut ours) = (false, false);
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--json" => as_json = true,
            "--ours" => ours = true,
            _ => return Err(format!("unknown argument {arg:?}: the arguments are --json and --ours").into()),
        }
    }
    run(ours, |line| {
        if as_json {
            println!("{line}");
        } else if let Some(text) = line["text"].as_str() {
            println!("{text}");
        }
    })
    .await
}

/// One key and one socket, with three protocols.
struct Node {
    endpoint: Endpoint,
    store: MemStore,
    gossip: Gossip,
    /// Accepts, if the iroh endpoint is the program's.
    router: Option<Router>,
}

impl Node {
    /// On an iroh endpoint of the program.
    async fn on_iroh() -> Result<Self, Failure> {
        let builder = Endpoint::builder();
        let iroh = iroh::Endpoint::builder(presets::Minimal)
            // This machine only. `transport_config` is told whether there is a relay.
            .relay_mode(RelayMode::Disabled)
            .portmapper_config(PortmapperConfig::Disabled)
            .clear_ip_transports()
            .bind_addr((Ipv4Addr::LOCALHOST, 0))?
            .transport_config(builder.transport_config(false))
            .bind()
            .await?;
        let endpoint = builder.attach(&iroh)?;
        let (store, gossip) = (MemStore::new(), Gossip::builder().spawn(iroh.clone()));
        let router = Router::builder(iroh)
            .accept(iroh_blobs::ALPN, BlobsProtocol::new(&store, None))
            .accept(iroh_gossip::ALPN, gossip.clone());
        let router = endpoint.route(router)?.spawn();
        Ok(Self { endpoint, store, gossip, router: Some(router) })
    }

    /// On an iroh endpoint of this library.
    async fn on_ours() -> Result<Self, Failure> {
        // This machine only: `offline`.
        let endpoint = Endpoint::builder().offline().bind().await?;
        let (store, gossip) = (MemStore::new(), Gossip::builder().spawn(endpoint.iroh().clone()));
        endpoint.also_accept(iroh_blobs::ALPN, BlobsProtocol::new(&store, None))?;
        endpoint.also_accept(iroh_gossip::ALPN, gossip.clone())?;
        Ok(Self { endpoint, store, gossip, router: None })
    }

    /// Ends the three protocols in order, and closes the iroh endpoint.
    async fn shutdown(self) -> Result<(), Failure> {
        match self.router {
            Some(router) => router.shutdown().await?,
            None => drop(self.endpoint.shutdown(PATIENCE).await),
        }
        if self.endpoint.iroh().is_closed() { Ok(()) } else { Err("the iroh endpoint is open".into()) }
    }
}

/// Plays the example, and reports each thing as a JSON object.
pub(crate) async fn run(ours: bool, say: impl FnMut(Value)) -> Result<(), Failure> {
    timeout(PATIENCE, play(ours, say)).await.map_err(|_| format!("it took longer than {PATIENCE:?}"))?
}

async fn play(ours: bool, mut say: impl FnMut(Value)) -> Result<(), Failure> {
    let node = async || if ours { Node::on_ours().await } else { Node::on_iroh().await };
    let (here, there) = (node().await?, node().await?);
    // The addresses in a ticket serve all protocols.
    here.endpoint.add_peer(there.endpoint.ticket());
    there.endpoint.add_peer(here.endpoint.ticket());
    let sockets = here.endpoint.iroh().bound_sockets().len();
    let one_key = here.endpoint.id().as_bytes() == here.endpoint.iroh().id().as_bytes();
    let text = format!("endpoint: one key and {sockets} socket for three protocols");
    say(json!({ "thing": "endpoint", "sockets": sockets, "text": text, "ok": one_key && sockets == 1 }));

    let bytes = fetch_a_blob(&here, &there).await?;
    let text = format!("blob: {bytes} bytes were fetched by their hash");
    say(json!({ "thing": "blob", "bytes": bytes, "text": text, "ok": true }));

    let heard = gossip(&here, &there).await?;
    say(json!({ "thing": "gossip", "heard": heard, "text": format!("gossip: heard {heard:?}"), "ok": true }));

    let (data, error) = fail_a_stream(&here, &there).await?;
    let (code, offset) = (error.code(), error.offset());
    let text = format!("stream: read {data:?}, and then the acceptor's error: {error}");
    let ok = code == 28 && offset == data.len() as u64 + 1;
    say(json!({ "thing": "stream", "data": data, "code": code, "offset": offset, "text": text, "ok": ok }));

    let mut events = there.endpoint.events();
    here.shutdown().await?;
    // The other node is told, and does not wait for a timeout.
    let cause = loop {
        match events.next().await {
            Some(Event::Disconnected { cause, .. }) => break cause,
            Some(_) => {}
            None => return Err("the other node is gone".into()),
        }
    };
    there.shutdown().await?;
    let text = format!("shutdown: all three together; the other node was told: {cause}");
    say(json!({ "thing": "shutdown", "cause": cause.to_string(), "text": text, "ok": true }));
    say(json!({ "ok": true }));
    Ok(())
}

/// Fetches a blob from `there`, and returns its length.
async fn fetch_a_blob(here: &Node, there: &Node) -> Result<usize, Failure> {
    let data = vec![7; 1_000_000];
    let hash = there.store.add_slice(&data).await?.hash;
    let downloader = here.store.downloader(here.endpoint.iroh());
    downloader.download(hash, [there.endpoint.iroh().id()]).await?;
    let fetched = here.store.get_bytes(hash).await?;
    if fetched == data { Ok(fetched.len()) } else { Err("the blob has other bytes".into()) }
}

/// Says something in a topic, and returns what `there` has heard.
async fn gossip(here: &Node, there: &Node) -> Result<String, Failure> {
    let topic = TopicId::from_bytes([23; 32]);
    let mut hears = there.gossip.subscribe(topic, Vec::new()).await?;
    let mut says = here.gossip.subscribe_and_join(topic, vec![there.endpoint.iroh().id()]).await?;
    hears.joined().await?;
    says.broadcast("hello, everybody".into()).await?;
    while let Some(event) = hears.next().await {
        if let api::Event::Received(message) = event? {
            return Ok(String::from_utf8_lossy(&message.content).into_owned());
        }
    }
    Err("the topic was closed".into())
}

/// Opens a stream that its acceptor fails. Returns what was read before the error, and the error.
async fn fail_a_stream(here: &Node, there: &Node) -> Result<(String, StreamError), Failure> {
    let accepting = async {
        let (_, mut stream) = there.endpoint.accept_bi(&["upload/1"]).await?;
        stream.next_string().await?;
        stream.send_string("the first part is stored").await?;
        stream.fail(StreamError::new(28, "the disk is full")).await?;
        Ok::<_, Failure>(())
    };
    let opening = async {
        let mut stream = here.endpoint.get_stream(there.endpoint.id(), "upload/1").await?;
        stream.send_string("a backup").await?;
        let data = stream.next_string().await?;
        match stream.read(&mut [0; 100]).await {
            Err(ReadError::Failed(error)) => Ok::<_, Failure>((data, StreamError::clone(&error))),
            other => Err(format!("in place of an error there was {other:?}").into()),
        }
    };
    let (accepted, opened) = tokio::join!(accepting, opening);
    accepted?;
    opened
}
