//! The API on one page. It is the code of the README, and `tests/readme.rs` compares the two.
//!
//! The example needs a peer that serves `mail/1` and `upper/1`. It is meant to be compiled and read.

use std::time::Duration;
use twolane::{AccessList, Endpoint, Event, PathPolicy, ReadError, StreamError, Ticket, storage};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut buf = [0; 1024];
    let stranger = twolane::SecretKey::generate().public_key();
    // README begins
    // An endpoint has a key. It is ready in milliseconds, with or without a network.
    let key = storage::file::load_or_create("mail.key")?;
    let list = AccessList::everybody();
    let endpoint = Endpoint::builder().secret_key(key).access(list.clone()).bind().await?;
    println!("id52 {}, ticket {}", endpoint.id52(), endpoint.ticket());

    // Serve: a handler for every stream of a protocol, ...
    endpoint.serve("echo/1", |stream| async move {
        let (mut send, mut recv) = stream.split();
        if tokio::io::copy(&mut recv, &mut send).await.is_ok() {
            let _ = send.finish(); // dropping an unfinished stream resets it: the peer gets an error, not an end
        }
    })?;
    // ... a function for every request, ...
    endpoint.serve_requests("upper/1", |request| async move { Ok(request.body.to_ascii_uppercase().into()) })?;
    // ... or streams one at a time, from any peer (or, on a connection, from one peer).
    let (protocol, accepted) = endpoint.accept_bi(&["mail/1", "chat/1"]).await?;

    // Dial: a peer is a key, or a ticket that also holds its addresses.
    let peer: Ticket = "endpoint...".parse()?;
    let mut stream = endpoint.get_stream(&peer, "mail/1").await?; // one round trip if the peer is connected
    let response = endpoint.request(&peer, "upper/1", "quiet", Duration::from_secs(5)).await?;

    // Data: AsyncRead + AsyncWrite, chunks without copies, lines, JSON. `split()` gives two tasks a half each.
    stream.write_all(b"hello").await?;
    stream.send_json(&serde_json::json!({ "subject": "hi" })).await?;
    let line = stream.next_string().await?;
    stream.finish()?; // only an end of data means success

    // Errors: on a separate lane, from either side.
    stream.warn(StreamError::new(1, "half the quota is used")).await?;
    stream.fail(StreamError::new(28, "the disk is full")).await?;
    match stream.read(&mut buf).await {
        Ok(0) => println!("complete"),
        Ok(len) => println!("{len} bytes"),
        Err(ReadError::Failed(error)) => println!("the peer says {error}, after {} bytes", error.offset()),
        Err(error) => println!("{error}; again: {}", error.is_retryable()),
    }
    let said = stream.errors().next().await; // the next warning, or the fatal error

    // Peers: the endpoint keeps one connection to each.
    for peer in endpoint.peers() {
        println!("{} {:?} {:?} {} streams", peer.id, peer.path, peer.rtt, peer.streams);
    }
    let mut events = endpoint.events();
    while let Some(event) = events.next().await {
        if let Event::PathChanged { peer, path } = event {
            println!("{peer} is {path}");
        }
    }

    // Paths: data goes direct if there is a direct path, else over a relay, unless a policy says otherwise.
    endpoint.set_path_policy(&peer.peer(), PathPolicy::DirectOnly);
    println!("{}, {:?}", endpoint.status().reach, endpoint.status().obstacles);

    // Access: lists of keys, or your own rules. A peer that loses its permission is cut off at once, with the reason.
    list.allow_for(&"admin/*".parse()?, peer.peer());
    list.deny(stranger);
    let keep = endpoint.keep(&peer); // reconnects after every loss, until this handle is dropped

    // The end: no new streams are taken, and open streams run to their end, until the deadline.
    let report = endpoint.shutdown(Duration::from_secs(10)).await;
    // README ends
    drop((protocol, accepted, response, line, said, keep, report));
    Ok(())
}
