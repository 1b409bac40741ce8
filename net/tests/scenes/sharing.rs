//! The limit of unread bytes holds for all streams of a peer together, and paused streams leave room for the
//! others.

use tokio::io::AsyncReadExt;
use twolane::{Endpoint, Limits, XStream};

use crate::stage::{CHAT, PATIENCE, endpoint_with, limits, soon};

const UNREAD: u64 = 4 << 20;

async fn cast() -> (Endpoint, Endpoint) {
    let limits = || Limits { unread_bytes: UNREAD, ..limits() };
    let (client, server) = (endpoint_with(limits()).await, endpoint_with(limits()).await);
    server.serve_requests("rpc/1", |request| async move { Ok(request.body) }).unwrap();
    (client, server)
}

/// The number of requests that are made while a writer that has room would go on. Each request gives the writer a
/// turn, and has a packet between the two sides to itself.
const ROUND: usize = 100;

/// Writes until nothing more is taken, and returns the number of bytes.
async fn fill(client: &Endpoint, server: &Endpoint, stream: &mut XStream) -> u64 {
    let mut sum = 0;
    let piece = vec![7; 16 * 1024];
    loop {
        let round = async {
            for _ in 0..ROUND {
                client.request(server.ticket(), "rpc/1", "round", PATIENCE).await.unwrap();
            }
        };
        tokio::select! {
            biased;
            written = stream.write(&piece) => sum += written.unwrap() as u64,
            () = soon(round) => return sum,
        }
    }
}

async fn open(client: &Endpoint, server: &Endpoint) -> (XStream, XStream) {
    let (ticket, protocols) = (server.ticket(), [CHAT]);
    let (opened, accepted) =
        soon(async { tokio::join!(client.get_stream(ticket, CHAT), server.accept_bi(&protocols)) }).await;
    (opened.unwrap(), accepted.unwrap().1)
}

#[tokio::test]
async fn any_number_of_paused_streams_leaves_room_for_requests_and_error_lanes() {
    let (client, server) = cast().await;
    let mut paused = Vec::new();
    let mut sum = 0;
    for _ in 0..24 {
        let (mut opened, accepted) = open(&client, &server).await;
        sum += fill(&client, &server, &mut opened).await;
        paused.push((opened, accepted));
    }
    assert!(sum < UNREAD, "{sum} unread bytes");
    // More than one of the streams alone may have, because the limit is for all of them together.
    assert!(sum > UNREAD / 2, "{sum} unread bytes");
    for _ in 0..50 {
        let body = vec![1; 10_000];
        assert_eq!(soon(client.request(server.ticket(), "rpc/1", body.clone(), PATIENCE)).await.unwrap(), body);
    }
    let (mut opened, accepted) = paused.pop().unwrap();
    soon(opened.warn(twolane::StreamError::new(1, "still there"))).await.unwrap();
    assert_eq!(soon(accepted.errors().next()).await.unwrap().error.text(), "still there");
    assert_eq!(client.metrics().connections_dialled.get(), 1);
}

#[tokio::test]
async fn streams_with_little_to_read_take_no_room_from_a_transfer_beside_them() {
    let (client, server) = cast().await;
    let mut small = Vec::new();
    for _ in 0..24 {
        let (mut opened, accepted) = open(&client, &server).await;
        opened.write_all(&[7; 64]).await.unwrap();
        small.push((opened, accepted));
    }
    let (mut opened, _accepted) = open(&client, &server).await;
    let filled = fill(&client, &server, &mut opened).await;
    // A stream has its share, a fortieth, and may borrow a ninth of six tenths.
    assert!(filled > UNREAD / 11, "{filled} unread bytes: an eleventh is for the first stream that has much to read");
}

#[tokio::test]
async fn writers_that_gave_up_or_were_stopped_hold_nothing_that_others_could_have() {
    let (client, server) = cast().await;
    let (mut first, mut reader) = open(&client, &server).await;
    let alone = fill(&client, &server, &mut first).await;
    first.finish().unwrap();
    soon(reader.read_to_end(UNREAD as usize)).await.unwrap();
    drop((first, reader));
    let mut idle = Vec::new();
    let large = vec![7; 1 << 20];
    for n in 0..12 {
        let (mut opened, mut accepted) = open(&client, &server).await;
        let sum = usize::try_from(fill(&client, &server, &mut opened).await).unwrap();
        if n % 2 == 0 {
            soon(accepted.read_exact(&mut vec![0; sum])).await.unwrap();
            idle.push((opened, Some(accepted.split().1)));
        } else {
            let (send, recv) = accepted.split();
            drop(recv);
            assert!(soon(opened.write_all(&large)).await.is_err(), "nobody reads it any more");
            idle.push((opened, None));
            // The reverse direction stays open.
            std::mem::forget(send);
        }
    }
    let (mut opened, _accepted) = open(&client, &server).await;
    let beside = fill(&client, &server, &mut opened).await;
    // The shares are smaller now, because twelve streams are counted.
    assert!(beside > alone / 2, "{beside} unread bytes, and {alone} alone");
}

#[tokio::test]
async fn streams_that_were_finished_and_not_read_count_until_they_are() {
    let (client, server) = cast().await;
    let mut unread = Vec::new();
    let mut sum = 0;
    for _ in 0..24 {
        let (mut opened, accepted) = open(&client, &server).await;
        sum += fill(&client, &server, &mut opened).await;
        opened.finish().unwrap();
        unread.push(accepted);
        drop(opened);
    }
    assert!(sum < UNREAD, "{sum} unread bytes");
    let body = vec![1; 10_000];
    assert_eq!(soon(client.request(server.ticket(), "rpc/1", body.clone(), PATIENCE)).await.unwrap(), body);
    // Streams that were read, or are not wanted any more, give their room back.
    let mut read = 0;
    for (n, mut stream) in unread.into_iter().enumerate() {
        if n % 2 == 0 {
            read += soon(stream.read_to_end(UNREAD as usize)).await.unwrap().len();
        }
    }
    assert!(read > 0);
    let (mut opened, mut accepted) = open(&client, &server).await;
    const LEN: usize = 8 << 20;
    let writing = tokio::spawn(async move {
        opened.write_all(&vec![1; LEN]).await.unwrap();
        opened.finish().unwrap();
        // The stream is held until the last byte has arrived.
        opened.delivered().await.unwrap();
    });
    assert_eq!(soon(accepted.read_to_end(LEN)).await.unwrap().len(), LEN);
    soon(writing).await.unwrap();
}

#[tokio::test]
async fn streams_that_were_read_give_back_their_right_to_be_open() {
    // More streams than the peer allows at a time. Each has too much data not to be counted, and too little for a
    // WATERMARK before its end.
    let limits = Limits { streams_per_peer: 8, ..limits() };
    let (client, server) = (endpoint_with(limits.clone()).await, endpoint_with(limits).await);
    server.serve_requests("count/1", |request| async move { Ok(request.body.len().to_string().into()) }).unwrap();
    for n in 0..40 {
        let body = vec![1; 250_000];
        let response = soon(client.request(server.ticket(), "count/1", body, PATIENCE)).await;
        assert_eq!(response.unwrap(), "250000", "request {n}");
    }
    for _ in 0..40 {
        let (mut opened, mut accepted) = open(&client, &server).await;
        opened.write_all(&[1; 100_000]).await.unwrap();
        opened.finish().unwrap();
        drop(opened);
        assert_eq!(soon(accepted.read_to_end(100_000)).await.unwrap().len(), 100_000);
    }
    // Also streams that nobody reads, once they are dropped.
    for _ in 0..40 {
        let (mut opened, accepted) = open(&client, &server).await;
        opened.write_all(&[1; 100_000]).await.unwrap();
        opened.finish().unwrap();
        drop((opened, accepted));
    }
}
