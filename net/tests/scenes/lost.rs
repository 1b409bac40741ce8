//! A lost connection reports its cause, and attributes it to the right side.

use iroh::endpoint::{QuicTransportConfig, VarInt};
use twolane::{ConnectionLost, ReadError, SecretKey};

use crate::stage::{CHAT, endpoint, raw_ticket, raw_with, say_hello, soon};

/// Returns a WATERMARK (3) at offset 1 for each of 200 lanes that do not exist. Each is answered, in about five
/// bytes.
fn questions() -> Vec<u8> {
    (0..200u16).flat_map(|n| [3, 3, 0x40 | (n >> 6) as u8, (n << 2) as u8, 1]).collect()
}

#[tokio::test]
async fn a_peer_that_leaves_while_it_reads_no_control_frames_has_left_and_broken_nothing() {
    let client = endpoint().await;
    // The reader or the writer of the control stream notices the end first, depending on the scheduler.
    for round in 0..20 {
        // The window has room for HELLO on the control stream and for some of the answers.
        let transport = QuicTransportConfig::builder().stream_receive_window(VarInt::from_u32(128)).build();
        let raw = raw_with(&SecretKey::generate(), transport).await;
        let ticket = raw_ticket(&raw);
        let accept = async {
            let connection = raw.accept().await.unwrap().await.unwrap();
            let mut control = say_hello(&connection, 1).await;
            let (mut send, recv) = connection.accept_bi().await.unwrap();
            send.write_all(&[0, 0]).await.unwrap();
            control.write_all(&questions()).await.unwrap();
            send.write_all(b"!").await.unwrap();
            (connection, control, send, recv)
        };
        let (opened, held) = soon(async { tokio::join!(client.get_stream(&ticket, CHAT), accept) }).await;
        let mut opened = opened.unwrap();
        assert_eq!(soon(opened.read(&mut [0; 9])).await.unwrap(), 1);
        held.0.close(VarInt::from_u32(77), b"enough");
        let lost = soon(opened.read(&mut [0; 9])).await.unwrap_err();
        let expected = ConnectionLost::PeerClosed { code: 77, reason: "enough".into() };
        assert!(matches!(&lost, ReadError::Lost(lost) if *lost == expected), "round {round}: {lost:?}");
    }
}
