//! Streams whose handler answers them itself.

use tokio::sync::mpsc;
use twolane::{AnswerError, Endpoint, Fault, GetStreamError, IncomingStream, Limits, Reason, StreamOptions};

use crate::stage::{PATIENCE, connect, endpoint, endpoint_with, limits, soon};

/// Serves a protocol, and returns the streams that its handler is given.
fn incoming(server: &Endpoint) -> mpsc::UnboundedReceiver<IncomingStream> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let handler = move |incoming| {
        let sender = sender.clone();
        async move { drop(sender.send(incoming)) }
    };
    server.serve_incoming("ask/1", handler).unwrap();
    receiver
}

#[tokio::test]
async fn the_acceptor_sends_metadata_along_with_its_answer_and_reads_those_of_the_opener() {
    let (client, server) = (endpoint().await, endpoint().await);
    let mut asked = incoming(&server);
    for metadata in [String::new(), "welcome".into(), "x".repeat(Limits::METADATA)] {
        let options = StreamOptions { metadata: "token".into(), ..StreamOptions::default() };
        let opening = client.get_stream_with(server.ticket(), "ask/1", options);
        let accepting = async {
            let incoming = asked.recv().await.unwrap();
            assert_eq!((incoming.peer(), incoming.protocol().as_str()), (client.id(), "ask/1"));
            assert_eq!(incoming.identity().peer, client.id());
            assert_eq!(incoming.metadata(), "token");
            incoming.accept_with(metadata.clone()).await
        };
        let (opened, accepted) = soon(Box::pin(async { tokio::join!(opening, accepting) })).await;
        let (mut opened, mut accepted) = (opened.unwrap(), accepted.unwrap());
        assert_eq!((opened.answer_metadata(), opened.metadata()), (&metadata.clone().into(), &"token".into()));
        assert_eq!((accepted.answer_metadata().len(), accepted.metadata()), (0, &"token".into()));
        // Data follows the answer.
        accepted.write_all(b"data").await.unwrap();
        accepted.finish().unwrap();
        assert_eq!(soon(opened.read_to_end(10)).await.unwrap(), "data");
    }
}

#[tokio::test]
async fn a_stream_that_its_handler_refuses_ends_with_the_handlers_words_and_the_connection_goes_on() {
    let (client, server) = (endpoint().await, endpoint().await);
    let mut asked = incoming(&server);
    let refusing = async { asked.recv().await.unwrap().refuse("not on a Sunday").await };
    let (opened, ()) = soon(async { tokio::join!(client.get_stream(server.ticket(), "ask/1"), refusing) }).await;
    match opened.unwrap_err() {
        GetStreamError::Rejected { rejection, .. } => {
            assert_eq!((rejection.reason, rejection.text.as_str()), (Reason::Refused, "not on a Sunday"));
        }
        other => panic!("{other:?}"),
    }
    let accepting = async { asked.recv().await.unwrap().accept().await };
    let (opened, accepted) = soon(async { tokio::join!(client.get_stream(server.ticket(), "ask/1"), accepting) }).await;
    assert!(opened.is_ok() && accepted.is_ok());
    assert_eq!(server.peers()[0].connections, 1);
}

#[tokio::test]
async fn a_stream_whose_handler_drops_it_unanswered_is_reset() {
    let (client, server) = (endpoint().await, endpoint().await);
    let mut asked = incoming(&server);
    let dropping = async { drop(asked.recv().await.unwrap()) };
    let (opened, ()) = soon(async { tokio::join!(client.get_stream(server.ticket(), "ask/1"), dropping) }).await;
    assert!(matches!(opened, Err(GetStreamError::Reset { .. })), "{opened:?}");
}

#[tokio::test]
async fn metadata_that_the_opener_does_not_take_are_an_error_of_the_acceptor_alone() {
    let (client, server) = (endpoint_with(Limits { metadata: 4, ..limits() }).await, endpoint().await);
    let mut asked = incoming(&server);
    connect(&client, &server).await;
    let accepting = async {
        let incoming = asked.recv().await.unwrap();
        assert_eq!(incoming.max_answer_metadata(), 4);
        incoming.accept_with("12345").await
    };
    let (opened, accepted) = soon(async { tokio::join!(client.get_stream(server.ticket(), "ask/1"), accepting) }).await;
    let error = accepted.unwrap_err();
    assert!(matches!(error, AnswerError::MetadataTooLarge { len: 5, max: 4 }), "{error:?}");
    assert_eq!((error.fault(), error.is_retryable()), (Fault::Caller, false));
    assert!(matches!(opened, Err(GetStreamError::Reset { .. })), "{opened:?}");
    let accepting = async { asked.recv().await.unwrap().accept_with("1234").await };
    let (opened, accepted) = soon(async { tokio::join!(client.get_stream(server.ticket(), "ask/1"), accepting) }).await;
    assert!(accepted.is_ok(), "{accepted:?}");
    assert_eq!(opened.unwrap().answer_metadata(), "1234");
}

#[tokio::test]
async fn a_request_to_a_handler_that_answers_itself_has_its_response() {
    let (client, server) = (endpoint().await, endpoint().await);
    let answer = |incoming: IncomingStream| async move {
        let mut stream = incoming.accept_with("beside").await.unwrap();
        let body = stream.read_to_end(100).await.unwrap();
        stream.write_all(&body).await.unwrap();
        stream.finish().unwrap();
    };
    server.serve_incoming("ask/1", answer).unwrap();
    assert_eq!(soon(client.request(server.ticket(), "ask/1", "body", PATIENCE)).await.unwrap(), "body");
}

#[tokio::test]
async fn a_handler_that_panics_before_its_first_await_costs_its_stream_and_no_other() {
    let (client, server) = (endpoint().await, endpoint().await);
    let handler = |incoming: IncomingStream| {
        assert_ne!(incoming.metadata(), "bad", "a panic that is expected");
        async move {
            let mut stream = incoming.accept().await.unwrap();
            stream.finish().unwrap();
        }
    };
    server.serve_incoming("ask/1", handler).unwrap();
    for metadata in ["good", "bad", "good"] {
        let options = StreamOptions { metadata: metadata.into(), ..StreamOptions::default() };
        match soon(client.get_stream_with(server.ticket(), "ask/1", options)).await {
            Ok(mut stream) => {
                assert_eq!(metadata, "good");
                assert_eq!(soon(stream.read_to_end(10)).await.unwrap(), "");
            }
            Err(error) => {
                assert_eq!(metadata, "bad", "{error}");
                assert!(error.to_string().contains("its handler failed"), "{error}");
            }
        }
    }
    assert_eq!(client.peers()[0].connections, 1);
}
