//! The API in one page: the code of the README, which `tests/readme.rs` compares with it.
//!
//! It needs a peer that serves `mail/1` and `upper/1`, and is here to be compiled and read.

use std::time::Duration;
use twolane::{AccessList, Endpoint, Event, PathPolicy, ReadError, StreamError, Ticket, storage};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut buf = [0; 1024];
    let stranger = twolane::SecretKey::generate().public_key();
    // README begins
    // An endpoint has a key. It is ready in milliseconds, network or not.
    let key = storage::file::load_or_create("mail.key")?;
    let list = AccessList::everybody();
    let endpoint = Endpoint::builder().secret_key(key).access(list.clone()).bind().await?;
    println!("id52 {}, ticket {}", endpoint.id52(), endpoint.ticket());

    // Serve: a handler for every stream of a protocol, ...
    endpoint.serve("echo/1", |stream| async move {
        let (mut send, mut recv) = stream.split();
        if tokio::io::copy(&mut recv, &mut send).await.is_ok() {
            let _ = send.finish(); // dropped unfinished, it is reset: the peer never takes it for complete
        }
    })?;
    // ... a function for every request, ...
    endpoint.serve_requests("upper/1", |request| async move { Ok(request.body.to_ascii_uppercase().into()) })?;
    // ... or streams one by one, from any peer or from one.
    let (protocol, accepted) = endpoint.accept_bi(&["mail/1", "chat/1"]).await?;

    // Dial: a peer is a key, or a ticket that also says where it is.
    let peer: Ticket = "endpoint...".parse()?;
    let mut stream = endpoint.get_stream(&peer, "mail/1").await?; // one round trip when connected
    let response = endpoint.request(&peer, "upper/1", "quiet", Duration::from_secs(5)).await?;

    // Data: AsyncRead + AsyncWrite, chunks without copies, lines, JSON. `split()` for two tasks.
    stream.write_all(b"hello").await?;
    stream.send_json(&serde_json::json!({ "subject": "hi" })).await?;
    let line = stream.next_string().await?;
    stream.finish()?; // an end of data means success, and nothing else does

    // Errors: on a lane of their own, from either side.
    stream.warn(StreamError::new(1, "half the quota is used")).await?;
    stream.fail(StreamError::new(28, "the disk is full")).await?;
    match stream.read(&mut buf).await {
        Ok(0) => println!("complete"),
        Ok(len) => println!("{len} bytes"),
        Err(ReadError::Failed(error)) => println!("the peer says {error}, after {} bytes", error.offset()),
        Err(error) => println!("{error}; again: {}", error.is_retryable()),
    }
    let said = stream.errors().next().await; // warnings, and the fatal error

    // Peers: one connection each, by itself.
    for peer in endpoint.peers() {
        println!("{} {:?} {:?} {} streams", peer.id, peer.path, peer.rtt, peer.streams);
    }
    let mut events = endpoint.events();
    while let Some(event) = events.next().await {
        if let Event::PathChanged { peer, path } = event {
            println!("{peer} is {path}");
        }
    }

    // Paths: direct whenever there is one, else over a relay, unless a policy says otherwise.
    endpoint.set_path_policy(&peer.peer(), PathPolicy::DirectOnly);
    println!("{}, {:?}", endpoint.status().reach, endpoint.status().obstacles);

    // Who may: lists of keys, or rules of your own. Who is not allowed any more is cut off at once, and told why.
    list.allow_for(&"admin/*".parse()?, peer.peer());
    list.deny(stranger);
    let keep = endpoint.keep(&peer); // connected again whenever the connection is lost, until this is dropped

    // The end: nothing new, everything that is open to its end, within a bound.
    let report = endpoint.shutdown(Duration::from_secs(10)).await;
    // README ends
    drop((protocol, accepted, response, line, said, keep, report));
    Ok(())
}
