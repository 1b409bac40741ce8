//! What can be seen of an endpoint, and what never can.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;
use twolane::{PathKind, StreamError, StreamOptions};

use crate::stage::{CHAT, ECHO, PATIENCE, connect, endpoint, serve_echo, soon, stream, until, with_key};

#[tokio::test]
async fn a_connected_peer_is_described_with_its_paths_and_bytes() {
    let (client, server) = (endpoint().await, endpoint().await);
    let (mut opened, mut accepted) = stream(&client, &server).await;
    opened.write_all(&vec![1; 1_000_000]).await.unwrap();
    soon(async {
        let mut left = 1_000_000;
        while left > 0 {
            left -= accepted.read_chunk(usize::MAX).await.unwrap().unwrap().len();
        }
    })
    .await;
    until(|| client.peer(&server.id()).is_some_and(|peer| peer.path.is_some())).await;
    let peer = client.peer(&server.id()).unwrap();
    assert_eq!((peer.id, peer.owner, peer.streams, peer.connections), (server.id(), None, 1, 1));
    assert_eq!(peer.path, Some(PathKind::Direct));
    assert!(peer.sent > 1_000_000 && peer.received > 0, "{peer:?}");
    assert!(peer.last_error.is_none());
    let selected: Vec<_> = peer.paths.iter().filter(|path| path.selected).collect();
    assert_eq!(selected.len(), 1, "{peer:?}");
    assert_eq!(selected[0].remote, server.status().sockets[0].to_string());
    assert!(selected[0].sent > 1_000_000 && selected[0].rtt > Duration::ZERO, "{peer:?}");
    assert_eq!(server.peer(&client.id()).unwrap().streams, 1);
}

#[tokio::test]
async fn what_begins_and_what_ends_is_counted_alike() {
    let (client, server) = (endpoint().await, endpoint().await);
    serve_echo(&server);
    server.serve_requests("rpc/1", |request| async move { Ok(request.body) }).unwrap();
    for _ in 0..5 {
        soon(client.request(server.ticket(), "rpc/1", "12345", PATIENCE)).await.unwrap();
    }
    let mut failing = soon(client.get_stream(server.ticket(), ECHO)).await.unwrap();
    soon(failing.fail(StreamError::new(1, "enough"))).await.unwrap();
    drop(failing);
    assert!(soon(client.get_stream(server.ticket(), CHAT)).await.is_err());
    connect(&client, &server).await.close("done");
    until(|| client.peers().is_empty() && server.peers().is_empty()).await;
    for endpoint in [&client, &server] {
        let metrics = endpoint.metrics();
        until(|| metrics.streams_opened.get() + metrics.streams_accepted.get() == metrics.streams_ended.get()).await;
        let connections = metrics.connections_dialled.get() + metrics.connections_accepted.get();
        assert_eq!((connections, metrics.connections_closed.get()), (1, 1));
        assert_eq!((metrics.peers_connected.get(), metrics.peers_disconnected.get()), (1, 1));
    }
    assert_eq!(client.metrics().streams_opened.get(), 6);
    assert_eq!(server.metrics().streams_accepted.get(), 6);
    assert_eq!(client.metrics().streams_rejected_by_peer.get(), 1);
    assert_eq!(server.metrics().streams_rejected.get(), 1);
    assert_eq!(client.metrics().records_sent.get(), 1);
    assert_eq!(client.metrics().data_bytes_sent.get(), 25);
    assert_eq!(client.metrics().data_bytes_received.get(), 25);
    let text = client.openmetrics();
    assert!(text.contains("twolane_streams_opened_total 6\n"), "{text}");
    assert!(text.contains("iroh_"), "iroh's own counters are there as well: {text}");
    assert!(text.ends_with("# EOF\n"));
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn the_counters_are_served_over_http_until_the_endpoint_is_closed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let endpoint = endpoint().await;
    let addr = endpoint.serve_metrics(([127, 0, 0, 1], 0).into()).await.unwrap();
    assert!(endpoint.serve_metrics(([127, 0, 0, 1], 0).into()).await.is_err(), "one server is enough");
    let mut http = tokio::net::TcpStream::connect(addr).await.unwrap();
    http.write_all(b"GET /metrics HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon(http.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("twolane_peers_connected_total 0"), "{answer}");
    soon(endpoint.shutdown(Duration::ZERO)).await;
    soon(async { while tokio::net::TcpStream::connect(addr).await.is_ok() {} }).await;
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn neither_secrets_nor_what_is_sent_is_ever_logged() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    // The scene runs on one thread: this thread's subscriber sees all of it.
    let _guard = tracing::subscriber::set_default(subscriber);
    let key = twolane::SecretKey::generate();
    let (client, server) = (with_key(&key).await, endpoint().await);
    serve_echo(&server);
    let options = StreamOptions { metadata: "metadata-nobody-may-see".into(), ..StreamOptions::default() };
    let mut opened = soon(client.get_stream_with(server.ticket(), ECHO, options)).await.unwrap();
    opened.write_all(b"payload-nobody-may-see").await.unwrap();
    soon(opened.warn(StreamError::new(1, "warning-nobody-may-see"))).await.unwrap();
    opened.finish().unwrap();
    soon(opened.read_to_end(100)).await.unwrap();
    connect(&client, &server).await.close("");
    until(|| server.peers().is_empty()).await;

    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("Connected"), "there is a log");
    assert!(log.contains("peer{peer=") && log.contains("stream{peer="), "with spans by peer and stream");
    let ours: Vec<_> = log.lines().filter(|line| line.contains("twolane")).collect();
    assert!(!ours.is_empty());
    for secret in ["payload-nobody", "metadata-nobody", "warning-nobody"] {
        assert!(!log.contains(secret), "{secret} was logged");
    }
    let bytes = key.to_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    for text in [hex, format!("{bytes:?}").trim_matches(['[', ']']).to_owned()] {
        assert!(!log.contains(&text), "the secret key was logged");
    }
}
