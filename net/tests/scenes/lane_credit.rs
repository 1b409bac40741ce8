//! The number of data lanes that a peer may have running here, and the resources that unused lanes leave behind.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::sync::Notify;
use twolane::{Endpoint, GetStreamError, Limits, StreamError};

use crate::stage::{BRIEF, CHAT, PATIENCE, connect, endpoint_with, limits, soon, stream, until};

/// Handlers that hold their streams without using them, until they are told to release them.
struct Holders {
    running: AtomicUsize,
    most: AtomicUsize,
    go: Notify,
}

fn serve_holders(server: &Endpoint) -> Arc<Holders> {
    let holders = Arc::new(Holders { running: AtomicUsize::new(0), most: AtomicUsize::new(0), go: Notify::new() });
    let serving = Arc::clone(&holders);
    let handler = move |stream| {
        let holders = Arc::clone(&serving);
        async move {
            let running = holders.running.fetch_add(1, SeqCst) + 1;
            holders.most.fetch_max(running, SeqCst);
            holders.go.notified().await;
            drop(stream);
            holders.running.fetch_sub(1, SeqCst);
        }
    };
    server.serve("hold/1", handler).unwrap();
    holders
}

#[tokio::test]
async fn lanes_that_their_opener_has_given_up_count_until_their_handlers_have_ended() {
    let limits = Limits { streams_per_peer: 8, ..limits() };
    let client = endpoint_with(Limits { open_timeout: BRIEF, ..limits.clone() }).await;
    let server = endpoint_with(limits).await;
    let holders = serve_holders(&server);
    connect(&client, &server).await;
    // One stream of the same peer is in use.
    let (opened, mut accepted) = stream(&client, &server).await;
    let mut refused = None;
    for _ in 0..40 {
        match soon(client.get_stream(server.ticket(), "hold/1")).await {
            Ok(given_up) => drop(given_up),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let refused = refused.expect("more lanes than the peer allows were opened");
    assert!(matches!(refused, GetStreamError::TooManyStreams { max: 8, .. }), "{refused:?}");
    assert!(holders.most.load(SeqCst) <= 8, "{} handlers ran for one peer", holders.most.load(SeqCst));
    // The stream that is in use can still report an error.
    let reports = opened.errors();
    soon(accepted.fail(StreamError::new(7, "a reason"))).await.unwrap();
    assert_eq!(soon(reports.next()).await.unwrap().error.code(), 7);
    holders.go.notify_waiters();
    soon(client.get_stream(server.ticket(), "hold/1")).await.unwrap();
}

#[tokio::test]
async fn streams_that_fail_at_once_all_bring_their_errors_however_few_are_allowed() {
    for allowed in [1, 2, 4, 16] {
        let client = endpoint_with(limits()).await;
        let server = endpoint_with(Limits { streams_per_peer: allowed, ..limits() }).await;
        server
            .serve("bring/1", |mut stream| async move {
                let mut data = Vec::new();
                let error = loop {
                    match stream.read_chunk(usize::MAX).await {
                        Ok(Some(chunk)) => data.extend_from_slice(&chunk),
                        Ok(None) => return,
                        Err(error) => break error,
                    }
                };
                assert!(matches!(error, twolane::ReadError::Failed(error) if error.offset() == data.len() as u64));
            })
            .unwrap();
        let ends = (0..8).map(|n| {
            let client = &client;
            let ticket = server.ticket();
            async move {
                let mut stream = client.get_stream(ticket, "bring/1").await.unwrap();
                stream.write_all(&[1; 100_000]).await.unwrap();
                stream.fail(StreamError::new(n, "at once")).await.unwrap();
                // Once the lane was read up to the error, its reader releases it.
                stream.split().0.settled().await;
            }
        });
        soon(n0_future::join_all(ends)).await;
    }
}

#[tokio::test]
async fn requests_that_were_given_up_hold_nothing_of_what_the_peer_keeps_unread() {
    const BODY: usize = 350_000;
    let limits = || Limits { unread_bytes: 4 << 20, ..limits() };
    let (client, server) = (endpoint_with(limits()).await, endpoint_with(limits()).await);
    server.serve_requests("count/1", |request| async move { Ok(request.body.len().to_string().into()) }).unwrap();
    // The protocol is known, and nobody accepts its streams.
    let (opened, accepted) = stream(&client, &server).await;
    drop((opened, accepted));
    let received = || server.peers()[0].received;
    for _ in 0..30 {
        let before = received();
        tokio::select! {
            _ = client.request(server.ticket(), CHAT, vec![1; BODY], PATIENCE) => panic!("nobody accepts it"),
            () = until(|| received() > before + BODY as u64 / 2) => {}
        }
    }
    for _ in 0..5 {
        let response = soon(client.request(server.ticket(), "count/1", vec![1; 300_000], PATIENCE)).await;
        assert_eq!(response.unwrap(), "300000");
    }
}

#[tokio::test]
async fn a_reader_that_lets_go_of_finished_data_frees_what_its_writer_was_lent() {
    let limits = || Limits { unread_bytes: 4 << 20, ..limits() };
    let (client, server) = (endpoint_with(limits()).await, endpoint_with(limits()).await);
    let mut kept = Vec::new();
    for _ in 0..24 {
        let (opened, accepted) = stream(&client, &server).await;
        let (mut send, recv) = opened.split();
        // As much as fits, and the end of data.
        let mut sum = 0;
        while let Ok(written) = tokio::time::timeout(BRIEF / 30, send.write(&[1; 16 * 1024])).await {
            sum += written.unwrap();
        }
        assert!(sum > 0);
        send.finish().unwrap();
        drop(send);
        // The reader does not want the data, and takes long to answer.
        let (answer, unread) = accepted.split();
        drop(unread);
        kept.push((recv, answer));
    }
    let (mut opened, _accepted) = stream(&client, &server).await;
    let mut beside = 0;
    while let Ok(written) = tokio::time::timeout(BRIEF / 3, opened.write(&[1; 16 * 1024])).await {
        beside += written.unwrap();
    }
    // A lane has its share, and may borrow a ninth of six tenths.
    assert!(beside > (4 << 20) / 17, "{beside} bytes are left for a lane beside those that nobody uses");
}

/// Returns the number of bytes that a lane takes whose peer does not read.
async fn unread_on_one_lane(client: &Endpoint, server: &Endpoint) -> usize {
    let (mut opened, _accepted) = stream(client, server).await;
    let mut sum = 0;
    while let Ok(written) = tokio::time::timeout(BRIEF / 3, opened.write(&[1; 16 * 1024])).await {
        sum += written.unwrap();
    }
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_were_answered_leave_the_lanes_after_them_as_much_as_the_first_had() {
    // Far more than a lane may have unread without being counted.
    const BODY: usize = 64 << 10;
    let limits = || Limits { unread_bytes: 32 << 20, ..limits() };
    let (client, server) = (endpoint_with(limits()).await, endpoint_with(limits()).await);
    server.serve_requests("echo/1", |request| async move { Ok(request.body) }).unwrap();
    let before = [unread_on_one_lane(&client, &server).await, unread_on_one_lane(&server, &client).await];
    let asking = (0..16).map(|_| async {
        for _ in 0..40 {
            let response = client.request(server.ticket(), "echo/1", vec![1; BODY], PATIENCE).await.unwrap();
            assert_eq!(response.len(), BODY);
        }
    });
    soon(n0_future::join_all(asking)).await;
    // The last reports are still in flight.
    let as_before = async {
        loop {
            let after = [unread_on_one_lane(&client, &server).await, unread_on_one_lane(&server, &client).await];
            // The last tenth depends on where a chunk ends.
            if after.iter().zip(before).all(|(after, before)| *after > before * 3 / 4) {
                return;
            }
        }
    };
    soon(Box::pin(as_before)).await;
}
