//! The information and the counters of an endpoint.

use std::time::Duration;

use twolane::{PathKind, StreamError};

use crate::stage::{CHAT, ECHO, PATIENCE, connect, endpoint, serve_echo, soon, stream, until};

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
    assert_eq!((peer.id, peer.owner_unscoped, peer.streams, peer.connections), (server.id(), None, 1, 1));
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
    assert_eq!((server.metrics().data_bytes_sent.get(), server.metrics().data_bytes_received.get()), (25, 25));
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
