//! A sender that is written from FILES.md, and does not always keep to it.

use std::fs;

use twolane::{Endpoint, ReadError, StreamOptions, XStream};
use twolane_files::{CONTROL_PROTOCOL, Gathering, Inbox, Meter, Offer, PIECE, Place, Policy, Reason, receive};

use crate::support::{PATIENCE, names};

/// A number, in as many bytes as it needs.
fn number(value: u64) -> Vec<u8> {
    match value {
        0..=0x3f => vec![value as u8],
        0x40..=0x3fff => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        _ => (value as u32 | 0x8000_0000).to_be_bytes().to_vec(),
    }
}

fn block(bytes: &[u8]) -> Vec<u8> {
    [number(bytes.len() as u64), bytes.to_vec()].concat()
}

fn frame(kind: u64, fields: &[Vec<u8>]) -> Vec<u8> {
    [number(kind), block(&fields.concat())].concat()
}

fn path(text: &str) -> Vec<u8> {
    let names: Vec<_> = text.split('/').collect();
    let blocks: Vec<_> = names.iter().map(|name| block(name.as_bytes())).collect();
    [number(names.len() as u64), blocks.concat()].concat()
}

fn folder(text: &str) -> Vec<u8> {
    frame(1, &[path(text)])
}

fn file(text: &str, size: u64) -> Vec<u8> {
    frame(3, &[path(text), number(size + 1)])
}

fn piece(file: u64, index: u64, last: bool, hash: &[u8; 32], data: &[u8]) -> Vec<u8> {
    frame(9, &[number(file), number(index), number(u64::from(last)), hash.to_vec(), data.to_vec()])
}

fn end_file(file: u64, size: u64, hash: &[u8; 32]) -> Vec<u8> {
    frame(11, &[number(file), number(size), hash.to_vec()])
}

fn end_item(item: u64) -> Vec<u8> {
    frame(13, &[number(item)])
}

/// What the receiver has answered: the types of its frames, or the code with which it has failed the stream.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Frames(Vec<u64>),
    Failed(u64),
}

/// Sends frames to a receiver, and the end, and returns its answer.
async fn said(inbox: &std::path::Path, frames: &[Vec<u8>]) -> Answer {
    let receiver = Endpoint::builder().offline().bind().await.unwrap();
    let stranger = Endpoint::builder().offline().bind().await.unwrap();
    let (inbox, gathering, policy) = (Inbox::open(inbox).unwrap(), Gathering::default(), Policy::default());
    let metadata = [vec![7; 16], block(b"name"), number(1)].concat();
    let receiving = async {
        let (_, stream) = receiver.accept_bi(&[CONTROL_PROTOCOL]).await.unwrap();
        let offer = Offer::from_bytes(stream.metadata()).unwrap();
        let place = Place { inbox: &inbox, gathering: &gathering, policy: &policy };
        let meter = std::sync::Arc::new(Meter::default());
        let _ = Box::pin(receive(stream, &offer, place, &meter, |_| {}, std::future::pending())).await;
    };
    let saying = async {
        let options =
            StreamOptions { metadata: metadata.into(), timeout: Some(PATIENCE), ..StreamOptions::default() };
        let mut stream = stranger.get_stream_with(receiver.ticket(), CONTROL_PROTOCOL, options).await.unwrap();
        // The receiver may fail the stream before all is written.
        if stream.write_all(&frames.concat()).await.is_ok() {
            let _ = stream.finish();
        }
        answer(stream).await
    };
    tokio::join!(saying, receiving).0
}

async fn answer(mut stream: XStream) -> Answer {
    let (mut data, mut buf) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buf).await {
            Ok(0) => break,
            Ok(len) => data.extend_from_slice(&buf[..len]),
            Err(ReadError::Failed(error)) => return Answer::Failed(error.code()),
            Err(error) => panic!("{error}"),
        }
    }
    let (mut kinds, mut rest) = (Vec::new(), &data[..]);
    while let [kind, len, after @ ..] = rest {
        // The answers here are short.
        assert!(*kind < 0x40 && *len < 0x80, "{rest:?}");
        let (len, before) = match len {
            0..=0x3f => (usize::from(*len), 0),
            _ => ((usize::from(*len & 0x3f) << 8) + usize::from(after[0]), 1),
        };
        kinds.push(u64::from(*kind));
        rest = &after[before + len..];
    }
    Answer::Frames(kinds)
}

#[tokio::test]
async fn a_sender_that_keeps_to_the_specification_is_understood() {
    let inbox = tempfile::tempdir().unwrap();
    let hash = blake3::hash(b"data");
    let frames = [
        folder("name"),
        file("name/a", 4),
        // A frame of an even type, and a parameter of an even id, are for later versions.
        frame(64, &[vec![1, 2, 3]]),
        frame(1, &[path("name/b"), vec![62, 1, 0]]),
        piece(0, 0, true, hash.as_bytes(), b"data"),
        end_file(0, 4, hash.as_bytes()),
        end_item(0),
    ];
    // START, TAKE and STORED. A stranger may send a piece before it has read that it is asked for.
    assert_eq!(said(inbox.path(), &frames).await, Answer::Frames(vec![1, 3, 9]));
    assert_eq!(fs::read(inbox.path().join("name/a")).unwrap(), b"data");
    assert_eq!(names(&inbox.path().join("name")), ["a", "b"]);
}

#[tokio::test]
async fn a_sender_that_does_not_keep_to_the_specification_is_told_so_and_stores_nothing() {
    let hash = *blake3::hash(b"data").as_bytes();
    let long = vec![0; PIECE as usize + 1];
    for (what, frames) in [
        ("no item", vec![file("name/a", 4)]),
        ("an end without items", vec![]),
        ("an item that is not closed", vec![file("name", 4), piece(0, 0, true, &hash, b"data")]),
        ("an item inside another one", vec![folder("name"), folder("other")]),
        ("a piece of no file", vec![folder("name"), piece(0, 0, true, &hash, b"data")]),
        ("a short piece", vec![file("name", 4), piece(0, 0, true, &hash, b"dat")]),
        ("a piece twice", vec![file("name", 4), piece(0, 0, true, &hash, b"data"), piece(0, 0, true, &hash, b"data")]),
        ("a piece behind the end", vec![file("name", 4), piece(0, 1, true, &hash, b"data")]),
        ("a piece that is too long", vec![file("name", PIECE + 1), piece(0, 0, false, &hash, &long)]),
        ("hashes that nobody told", vec![file("name", 4), frame(5, &[number(0), number(0), number(1)])]),
        ("another length at the end", vec![file("name", 4), end_file(0, 5, &hash)]),
        ("an unknown frame of an odd type", vec![frame(63, &[])]),
        ("a frame that is cut", vec![vec![3, 30, 1]]),
        ("a path without names", vec![frame(1, &[number(0)])]),
        ("bytes after a frame", vec![frame(13, &[number(0), vec![0]])]),
    ] {
        let inbox = tempfile::tempdir().unwrap();
        assert_eq!(said(inbox.path(), &frames).await, Answer::Failed(Reason::Protocol.code()), "{what}");
        assert!(!names(inbox.path()).contains(&"name".to_owned()), "{what}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_item_refuses_the_item() {
    let hash = *blake3::hash(b"data").as_bytes();
    let wrong = *blake3::hash(b"date").as_bytes();
    for (what, frames) in [
        ("a piece with another hash", vec![file("name", 4), piece(0, 0, true, &wrong, b"data"), end_item(0)]),
        (
            "a file with another hash",
            vec![file("name", 4), piece(0, 0, true, &hash, b"data"), end_file(0, 4, &wrong), end_item(0)],
        ),
        ("a name that nothing can have", vec![file("..", 4), end_item(0)]),
        ("a path that leaves the item", vec![folder("name"), file("name/..", 4), end_item(0)]),
        ("a path twice", vec![folder("name"), folder("name/a"), file("name/a", 0), end_item(0)]),
    ] {
        let inbox = tempfile::tempdir().unwrap();
        let Answer::Frames(kinds) = said(inbox.path(), &frames).await else { panic!("{what}") };
        assert_eq!(kinds.last(), Some(&11), "{what}: {kinds:?}");
        assert!(!inbox.path().join("name").exists(), "{what}");
    }
}
