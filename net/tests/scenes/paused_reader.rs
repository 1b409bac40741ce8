//! A reader that pauses slows down its writer and nothing else (invariant 11).

use twolane::SecretKey;

use crate::stage::{PATIENCE, endpoint, raw, raw_ticket, soon, stream, until};

const MESSAGES: usize = 50_000;
const SIZE: usize = 100;
/// The minimum number of messages after which a writer stops. The actual number depends on how many packets its
/// messages shared with the requests beside them. It is 680 if they shared none.
const FLOOR: usize = 128;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_unread_messages_all_arrive_and_disturb_nobody() {
    let (client, server) = (endpoint().await, endpoint().await);
    server.serve_requests("rpc/1", |request| async move { Ok(request.body) }).unwrap();
    let (mut opened, mut accepted) = stream(&client, &server).await;
    let progress = tokio::sync::watch::Sender::new(0usize);
    let mut written = progress.subscribe();
    let writing = tokio::spawn(async move {
        for n in 0..MESSAGES {
            let mut message = [b'.'; SIZE];
            message[..8].copy_from_slice(&(n as u64).to_be_bytes());
            opened.write_all(&message).await.unwrap();
            progress.send_replace(n + 1);
            // Messages are sent one by one, like a program that does other work between them.
            tokio::task::yield_now().await;
        }
        opened.finish().unwrap();
    });

    // The reader pauses. Requests on another stream go on until the writer has stopped.
    let ticket = server.ticket();
    let stopped_at = soon(async {
        loop {
            let before = *written.borrow_and_update();
            for _ in 0..200 {
                let response = client.request(&ticket, "rpc/1", "still there?", PATIENCE).await.unwrap();
                assert_eq!(response, "still there?");
            }
            // A writer whose thread had no turn in this time has not stopped.
            if before >= FLOOR && *written.borrow_and_update() == before {
                break before;
            }
        }
    })
    .await;
    assert!(stopped_at < MESSAGES, "the writer was not slowed");

    let data = soon(accepted.read_to_end(MESSAGES * SIZE)).await.unwrap();
    assert_eq!(data.len(), MESSAGES * SIZE);
    for (n, message) in data.chunks(SIZE).enumerate() {
        assert_eq!(message[..8], (n as u64).to_be_bytes());
    }
    soon(writing).await.unwrap();
    assert_eq!(client.peers()[0].connections, 1);
}

#[tokio::test]
async fn a_reader_that_pauses_in_bulk_data_slows_its_writer_only() {
    let (client, server) = (endpoint().await, endpoint().await);
    server.serve_requests("rpc/1", |request| async move { Ok(request.body) }).unwrap();
    let (mut opened, mut accepted) = stream(&client, &server).await;
    const LEN: usize = 20_000_000;
    let writing = tokio::spawn(async move {
        // These sizes leave a rest in every packet.
        for piece in vec![3u8; LEN].chunks(1_777) {
            opened.write_all(piece).await.unwrap();
        }
        opened.finish().unwrap();
    });
    let mut read = 0;
    while read < LEN {
        for _ in 0..20 {
            // Requests of this size cut the bulk stream's packets in two.
            let body = vec![1; 700];
            assert_eq!(soon(client.request(server.ticket(), "rpc/1", body.clone(), PATIENCE)).await.unwrap(), body);
        }
        let mut left = 1_000_000;
        while left > 0 && read < LEN {
            let chunk = soon(accepted.read_chunk(left)).await.unwrap().expect("more data");
            read += chunk.len();
            left -= chunk.len();
        }
    }
    assert!(soon(accepted.read_chunk(1)).await.unwrap().is_none());
    soon(writing).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_unread_messages_and_bulk_beside_them_do_not_end_the_connection() {
    let (client, server) = (endpoint().await, endpoint().await);
    let (mut paused, mut unread) = stream(&client, &server).await;
    let (mut bulk, mut reader) = stream(&client, &server).await;
    // First, each message has a packet of its own. Such messages are never joined with others.
    for _ in 0..650 {
        let sent = client.peers()[0].sent;
        paused.write_all(&[1; 100]).await.unwrap();
        until(|| client.peers()[0].sent > sent).await;
    }
    // Then messages share packets with bulk data.
    let writing = tokio::spawn(async move {
        for _ in 0..4_350 {
            paused.write_all(&[1; 100]).await.unwrap();
            tokio::task::yield_now().await;
        }
        paused.finish().unwrap();
    });
    let filling = tokio::spawn(async move {
        for _ in 0..2_000 {
            bulk.write_all(&[2; 10_000]).await.unwrap();
            tokio::task::yield_now().await;
        }
        bulk.finish().unwrap();
    });
    let mut len = 0;
    while let Some(chunk) = soon(reader.read_chunk(usize::MAX)).await.unwrap() {
        len += chunk.len();
    }
    assert_eq!(len, 20_000_000);
    soon(filling).await.unwrap();
    assert_eq!(soon(unread.read_to_end(500_000)).await.unwrap().len(), 500_000);
    soon(writing).await.unwrap();
    assert_eq!(client.peers()[0].connections, 1);
}

/// Pins the behaviour of noq. When noq is corrected, this test fails, and the ledger (src/stream/credit/chunks.rs)
/// may become wider.
#[tokio::test]
async fn raw_iroh_closes_the_connection_over_2049_unread_chunks() {
    let (client, server) = (raw(&SecretKey::generate()).await, raw(&SecretKey::generate()).await);
    let addr = raw_ticket(&server).to_addr();
    let (connection, accepted) = soon(async {
        tokio::join!(client.connect(addr, twolane::ALPN), async { server.accept().await.unwrap().await })
    })
    .await;
    let (connection, accepted) = (connection.unwrap(), accepted.unwrap());
    let (mut send, _) = connection.open_bi().await.unwrap();
    send.write_all(&[0; 100]).await.unwrap();
    let unread = soon(accepted.accept_bi()).await.unwrap();
    let mut messages = 1;
    soon(async {
        while accepted.close_reason().is_none() {
            let received = accepted.stats().frame_rx.stream;
            // Fails once the other side's close has arrived.
            let _ = send.write_all(&[0; 100]).await;
            messages += 1;
            // One message in each packet.
            while accepted.stats().frame_rx.stream == received && accepted.close_reason().is_none() {
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    // A packet that was sent again, as if it had been lost, may have been mistaken for the next one. Then two
    // messages shared a packet.
    assert!((2_049..2_300).contains(&messages), "closed after {messages} messages");
    assert!(accepted.close_reason().unwrap().to_string().contains("too many gaps"));
    drop(unread);
    client.close().await;
    server.close().await;
}
