//! Error lanes that are held up. No record is cut, and no record that ends a stream is lost.

use iroh::endpoint::{Connection, QuicTransportConfig, RecvStream, SendStream};
use twolane::{Endpoint, Limits, SecretKey, StreamError, WriteError, XStream};

use crate::stage::{BRIEF, CHAT, OPEN_CHAT, endpoint_with, limits, raw_with, read_yes, say_hello, soon};

/// Returns the frames in `bytes`. Each has a length of one, two or four bytes before it.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some(first) = bytes.first() {
        let size = 1 << (first >> 6);
        let len = bytes[1..size].iter().fold(usize::from(first & 0x3f), |len, byte| len << 8 | usize::from(*byte));
        let (frame, rest) = bytes[size..].split_at(len);
        frames.push(frame);
        bytes = rest;
    }
    frames
}

/// Opens a stream from a peer on raw iroh. Returns its connection and control stream, the half of the data lane
/// that it reads, and the accepted stream with ten bytes written.
async fn stream_of(raw: &iroh::Endpoint, server: &Endpoint) -> (Connection, SendStream, RecvStream, XStream) {
    let connection = raw.connect(server.ticket().to_addr(), twolane::ALPN).await.unwrap();
    let control = say_hello(&connection, 5).await;
    let (mut send, recv) = connection.open_bi().await.unwrap();
    send.write_all(OPEN_CHAT).await.unwrap();
    let (_, mut accepted) = soon(server.accept_bi(&[CHAT])).await.unwrap();
    accepted.write_all(b"0123456789").await.unwrap();
    (connection, control, recv, accepted)
}

#[tokio::test]
async fn a_warning_that_is_held_up_halfway_is_followed_by_the_error_and_not_cut_by_it() {
    let server = endpoint_with(Limits { error_timeout: BRIEF, ..limits() }).await;
    // The peer takes a thousand bytes of a stream until it reads.
    let transport = QuicTransportConfig::builder().stream_receive_window(1_000u32.into()).build();
    let raw = raw_with(&SecretKey::generate(), transport).await;
    let (connection, _control, mut recv, mut accepted) = stream_of(&raw, &server).await;
    let large = StreamError::new(1, "large").with_details(vec![9; 60 << 10]).unwrap();
    let warned = soon(accepted.warn(large)).await;
    assert!(matches!(warned, Err(WriteError::TimedOut { after }) if after == BRIEF), "{warned:?}");
    soon(accepted.fail(StreamError::new(2, "the end"))).await.unwrap();
    drop(accepted);
    // Now the peer reads.
    let (_answers, mut records) = soon(connection.accept_bi()).await.unwrap();
    let bytes = soon(records.read_to_end(100_000)).await.unwrap();
    let records = frames(&bytes[2..]);
    let severities: Vec<u8> = records.iter().map(|record| record[0]).collect();
    assert_eq!(severities, [0, 1], "a warning, and what ends the stream");
    assert!(records[0].len() > 60 << 10, "{} bytes of it came", records[0].len());
    read_yes(&mut recv).await;
    let mut data = [0; 10];
    soon(recv.read_exact(&mut data)).await.unwrap();
    assert_eq!(&data, b"0123456789");
}

#[tokio::test]
async fn an_error_outlives_an_outage_of_its_lane_that_is_longer_than_a_warning_waits() {
    let server = endpoint_with(Limits { error_timeout: BRIEF / 10, ..limits() }).await;
    // The peer allows no stream of this side except the control stream, until it raises the limit.
    let transport = QuicTransportConfig::builder().max_concurrent_bidi_streams(0u32.into()).build();
    let raw = raw_with(&SecretKey::generate(), transport).await;
    let (connection, _control, mut recv, mut accepted) = stream_of(&raw, &server).await;
    // The call returns after a moment, because the error has been handed over for sending.
    soon(accepted.fail(StreamError::new(2, "the end"))).await.unwrap();
    drop(accepted);
    read_yes(&mut recv).await;
    soon(recv.read_exact(&mut [0; 10])).await.unwrap();
    connection.set_max_concurrent_bi_streams(8u32.into());
    let (_answers, mut records) = soon(connection.accept_bi()).await.unwrap();
    let bytes = soon(records.read_to_end(100_000)).await.unwrap();
    assert_eq!(frames(&bytes[2..])[0][0], 1, "the error itself");
    // The bytes before the error were not taken back.
    let unread = recv.read_to_end(10);
    assert!(tokio::time::timeout(BRIEF / 10, unread).await.is_err(), "the lane is open until its reader stops it");
}
