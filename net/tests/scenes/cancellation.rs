//! Every public future may be dropped at any of its await points. Nothing hangs, nothing that was promised is lost,
//! and the next call works.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use twolane::{Endpoint, StreamError};

use crate::stage::{CHAT, ECHO, PATIENCE, connect, echo, endpoint, serve_echo, soon, stream, until};

/// Polls `future` until it is ready or has been pending `pauses` times. Then drops it.
async fn dropped_after<F: Future>(pauses: usize, future: F) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), pauses);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Runs `scene` with an increasing number of pauses, until the call in it was ready before it was dropped.
async fn at_every_await_point<Fut: Future<Output = bool>>(scene: impl Fn(usize) -> Fut) {
    for pauses in 0.. {
        if soon(Box::pin(scene(pauses))).await {
            assert!(pauses > 0, "the call never waited: it was not dropped anywhere");
            return;
        }
        assert!(pauses < 200, "the call waits without end");
    }
}

async fn still_works(client: &Endpoint, server: &Endpoint) {
    echo(client, server, b"still works").await;
}

#[tokio::test]
async fn connect_and_get_stream_can_be_dropped_anywhere() {
    at_every_await_point(|pauses| async move {
        let (client, server) = (endpoint().await, endpoint().await);
        serve_echo(&server);
        let connected = dropped_after(pauses, client.connect(server.ticket())).await;
        still_works(&client, &server).await;
        // The dial whose call was dropped goes on for other callers, so there is only one dial.
        assert_eq!(client.metrics().connections_dialled.get(), 1);
        connected.is_some()
    })
    .await;
    at_every_await_point(|pauses| async move {
        let (client, server) = (endpoint().await, endpoint().await);
        serve_echo(&server);
        let opened = dropped_after(pauses, client.get_stream(server.ticket(), ECHO)).await;
        still_works(&client, &server).await;
        opened.is_some()
    })
    .await;
}

#[tokio::test]
async fn accept_and_accept_bi_can_be_dropped_anywhere_and_lose_no_peer_and_no_stream() {
    at_every_await_point(|pauses| async move {
        let (client, server) = (endpoint().await, endpoint().await);
        let connecting = tokio::spawn({
            let (client, ticket) = (client.clone(), server.ticket());
            async move { client.connect(ticket).await.unwrap() }
        });
        let accepted = dropped_after(pauses, server.accept()).await;
        let done = accepted.is_some();
        let accepted = match accepted {
            Some(connection) => connection,
            None => server.accept().await,
        };
        assert_eq!(accepted.unwrap().peer(), client.id());
        connecting.await.unwrap();
        done
    })
    .await;
    at_every_await_point(|pauses| async move {
        let (client, server) = (endpoint().await, endpoint().await);
        let opening = tokio::spawn({
            let (client, ticket) = (client.clone(), server.ticket());
            async move {
                let mut stream = client.get_stream(ticket, CHAT).await.unwrap();
                assert_eq!(stream.next_string().await.unwrap(), "found you");
            }
        });
        let accepted = dropped_after(pauses, server.accept_bi(&[CHAT])).await;
        let done = accepted.is_some();
        let accepted = match accepted {
            Some(accepted) => accepted,
            None => server.accept_bi(&[CHAT]).await,
        };
        let mut stream = accepted.unwrap().1;
        stream.send_string("found you").await.unwrap();
        opening.await.unwrap();
        done
    })
    .await;
}

#[tokio::test]
async fn a_request_can_be_dropped_anywhere() {
    at_every_await_point(|pauses| async move {
        let (client, server) = (endpoint().await, endpoint().await);
        serve_echo(&server);
        server.serve_requests("rpc/1", |request| async move { Ok(request.body) }).unwrap();
        let body = vec![5; 300_000];
        let response = dropped_after(pauses, client.request(server.ticket(), "rpc/1", body.clone(), PATIENCE)).await;
        assert_eq!(client.request(server.ticket(), "rpc/1", body.clone(), PATIENCE).await.unwrap(), body);
        // The dropped request is gone on both sides.
        until(|| server.peer(&client.id()).is_some_and(|peer| peer.streams == 0)).await;
        response.is_some()
    })
    .await;
}

/// Cancel-safe reads that are dropped and called again continue where they were.
#[tokio::test]
async fn reads_that_are_dropped_lose_no_byte() {
    let (client, server) = (endpoint().await, endpoint().await);
    let (mut writer, mut reader) = stream(&client, &server).await;
    let writing = tokio::spawn(async move {
        for n in 0..300 {
            // Messages are written in pieces, so that the reader waits in the middle of a message.
            writer.write_all(format!("\"message {n} ").as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
            writer.write_all(b"ends\"\n").await.unwrap();
        }
        writer.write_all(b"tail").await.unwrap();
        writer.finish().unwrap();
        writer
    });
    let mut dropped = 0;
    for n in 0..300 {
        let expected = format!("message {n} ends");
        let read = loop {
            let pauses = n % 3;
            let read = if n % 2 == 0 {
                dropped_after(pauses, reader.next_string()).await.map(|line| line.unwrap().trim_matches('"').to_owned())
            } else {
                dropped_after(pauses, reader.next_json::<String>()).await.map(Result::unwrap)
            };
            match read {
                Some(read) => break read,
                None => dropped += 1,
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(read, expected);
    }
    assert!(dropped > 0, "no call was dropped");
    let tail = loop {
        if let Some(tail) = dropped_after(0, reader.read_to_end(100)).await {
            break tail.unwrap();
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(tail, "tail");
    soon(writing).await.unwrap();
}

#[tokio::test]
async fn a_write_that_is_dropped_has_written_nothing() {
    let (client, server) = (endpoint().await, endpoint().await);
    let (mut writer, mut reader) = stream(&client, &server).await;
    let mut written = 0u64;
    let mut dropped = 0;
    // Writes until the peer's window is full, and a call waits for the reader.
    while dropped < 20 {
        match dropped_after(0, writer.write(&[3; 4096])).await {
            Some(wrote) => written += wrote.unwrap() as u64,
            None => dropped += 1,
        }
    }
    let reading = tokio::spawn(async move {
        let mut read = 0u64;
        while let Some(chunk) = reader.read_chunk(usize::MAX).await.unwrap() {
            read += chunk.len() as u64;
        }
        read
    });
    writer.finish().unwrap();
    assert_eq!(soon(reading).await.unwrap(), written);
}

#[tokio::test]
async fn failing_warning_and_waiting_for_delivery_can_be_dropped_anywhere() {
    for abort in [false, true] {
        at_every_await_point(|pauses| async move {
            let (client, server) = (endpoint().await, endpoint().await);
            let (mut one, mut other) = stream(&client, &server).await;
            one.write_all(b"before").await.unwrap();
            let error = StreamError::new(7, "enough");
            let failed = if abort {
                dropped_after(pauses, one.abort(error)).await
            } else {
                dropped_after(pauses, one.fail(error)).await
            };
            drop(one);
            // Once the call was polled, the error is sent.
            let error = soon(other.read_to_end(100)).await.unwrap_err();
            assert!(format!("{error}").contains("enough"), "{error}");
            failed.is_some()
        })
        .await;
    }
    at_every_await_point(|pauses| async move {
        let (client, server) = (endpoint().await, endpoint().await);
        let (mut one, other) = stream(&client, &server).await;
        let warned = dropped_after(pauses, one.warn(StreamError::new(8, "careful"))).await;
        assert_eq!(other.errors().next().await.unwrap().error.text(), "careful");
        warned.is_some()
    })
    .await;
    at_every_await_point(|pauses| async move {
        let (client, server) = (endpoint().await, endpoint().await);
        let (mut one, mut other) = stream(&client, &server).await;
        one.write_all(&[1; 100_000]).await.unwrap();
        one.finish().unwrap();
        let delivered = dropped_after(pauses, one.delivered()).await;
        assert_eq!(other.read_to_end(100_000).await.unwrap().len(), 100_000);
        one.delivered().await.unwrap();
        delivered.is_some()
    })
    .await;
}

#[tokio::test]
async fn what_is_watched_can_be_left_at_any_time() {
    let (client, server) = (endpoint().await, endpoint().await);
    serve_echo(&server);
    let mut events = client.events();
    assert!(dropped_after(0, events.next()).await.is_none());
    let mut keep = client.keep(server.ticket());
    while dropped_after(1, keep.connected()).await.is_none() {}
    assert!(matches!(soon(events.next()).await, Some(twolane::Event::Connected { .. })), "it was kept for later");
    let connection = connect(&client, &server).await;
    assert!(dropped_after(0, connection.closed()).await.is_none());
    assert!(dropped_after(0, keep.changed()).await.is_none());
    assert!(dropped_after(0, client.online(Duration::from_secs(3600))).await.is_none());
    still_works(&client, &server).await;
}

#[tokio::test]
async fn a_shutdown_that_is_dropped_can_be_called_again() {
    at_every_await_point(|pauses| async move {
        let (client, server) = (endpoint().await, endpoint().await);
        let (opened, accepted) = stream(&client, &server).await;
        let report = dropped_after(pauses, server.shutdown(Duration::ZERO)).await;
        let again = server.shutdown(Duration::ZERO).await;
        assert_eq!(again.tasks_left, 0);
        assert!(server.accept().await.is_none());
        drop((opened, accepted));
        report.is_some()
    })
    .await;
}
