//! The texts of the errors, and how they show text of a peer.

use std::{io, sync::Arc};

use super::*;
use crate::{
    protocol::{InvalidProtocol, Protocol},
    wire::status::{Reason, Rejection},
    words,
};

#[test]
fn a_program_that_resumes_at_what_was_read_repeats_and_skips_no_byte() {
    let error = Arc::new(StreamError::new(28, "the disk is full").at(1000));
    let whole = ReadError::Failed(Arc::clone(&error));
    let cut = ReadError::FailedIncomplete { error: Arc::clone(&error), missing: 400 };
    assert_eq!((whole.data_read(), cut.data_read()), (Some(1000), Some(600)));
    assert_eq!((whole.stream_error(), cut.stream_error()), (Some(&*error), Some(&*error)));
    assert_eq!(ReadError::Aborted(error).data_read(), None);
    assert!(cut.to_string().contains("400 bytes"), "{cut}");
}

#[test]
fn an_error_around_another_has_its_fault_and_its_chance() {
    let lost = || ReadError::Lost(ConnectionLost::TimedOut);
    let next = NextError::Read(lost());
    assert_eq!((next.fault(), next.is_retryable()), (Fault::Network, true));
    assert_eq!((NextError::Text.fault(), NextError::Text.is_retryable()), (Fault::Peer, false));
    assert_eq!((BindError::Random.fault(), BindError::Random.is_retryable()), (Fault::Local, false));
    let request = |cause| RequestError { protocol: Protocol::from_static("rpc/1"), phase: Phase::Response, cause };
    let cut = request(RequestFailure::Read(lost()));
    assert_eq!((cut.fault(), cut.is_retryable()), (Fault::Network, true));
    let large = request(RequestFailure::TooLarge { max: 1 });
    assert_eq!((large.fault(), large.is_retryable()), (Fault::Peer, false));
}

/// Returns every error that can contain text of a peer, with each of its texts set to `words`.
fn with_words(words: &str) -> Vec<Box<dyn std::error::Error>> {
    let reason = || words.to_owned();
    let stream = || Arc::new(StreamError::new(1, words));
    let lost = [
        ConnectionLost::PeerClosed { code: 1, reason: reason() },
        ConnectionLost::Forbidden { reason: reason() },
        ConnectionLost::NotAllowed { reason: reason() },
        ConnectionLost::DelegationRefused { reason: reason() },
        ConnectionLost::PostQuantumRequired { reason: reason() },
        ConnectionLost::Transport(reason()),
    ];
    let rejected = |reason| GetStreamError::Rejected {
        protocol: Protocol::from_static("rpc/1"),
        rejection: Rejection::new(reason, words),
    };
    let json = serde_json::from_value::<Choice>(serde_json::Value::String(reason())).unwrap_err();
    let request = |cause| RequestError { protocol: Protocol::from_static("rpc/1"), phase: Phase::Response, cause };
    let peer = twolane_id::SecretKey::from_bytes(&[1; 32]).public_key();
    let mut errors: Vec<Box<dyn std::error::Error>> = vec![
        Box::new(DialError::NotAllowed { reason: reason() }),
        Box::new(rejected(Reason::Refused)),
        Box::new(request(RequestFailure::GetStream(rejected(Reason::Other(99))))),
        Box::new(request(RequestFailure::Read(ReadError::Failed(stream())))),
        Box::new(GetStreamError::Failed(stream())),
        Box::new(ReadError::Failed(stream())),
        Box::new(ReadError::FailedIncomplete { error: stream(), missing: 1 }),
        Box::new(ReadError::Aborted(stream())),
        Box::new(ReadError::EndedHere(stream())),
        Box::new(WriteError::Failed(stream())),
        Box::new(NextError::Read(ReadError::Failed(stream()))),
        Box::new(NextError::Json(Arc::new(json))),
        Box::new(StreamError::new(1, words)),
        Box::new(io::Error::from(ReadError::Failed(stream()))),
        Box::new(InvalidProtocol::Character { name: reason(), at: 0 }),
    ];
    for lost in lost {
        errors.push(Box::new(GetStreamError::Dial { peer, source: DialError::Lost(lost.clone()) }));
        errors.push(Box::new(ReadError::Lost(lost.clone())));
        errors.push(Box::new(lost));
    }
    errors
}

#[derive(Debug, serde::Deserialize)]
enum Choice {}

/// Returns the texts of an error and of its causes, which a program's report shows one a line.
fn chain(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
}

#[test]
fn no_error_shows_a_character_of_the_peers_that_acts_on_the_terminal_or_hides() {
    for error in with_words(words::HOSTILE) {
        for shown in chain(&*error) {
            assert!(words::is_harmless(&shown), "{shown:?}");
        }
        assert!(chain(&*error).iter().any(|shown| shown.contains("\\u{1b}[2J")), "{error:?} shows the words");
    }
}

#[test]
fn every_error_shows_plain_words_as_they_are_and_keeps_the_others_for_programs() {
    for error in with_words("Größe: 長さ") {
        assert!(chain(&*error).iter().any(|shown| shown.contains("Größe: 長さ")), "{error:?}");
    }
    assert_eq!(StreamError::new(1, words::HOSTILE).text(), words::HOSTILE);
    assert_eq!(Rejection::new(Reason::Refused, words::HOSTILE).text, words::HOSTILE);
}

#[test]
fn a_stateless_reset_is_told_by_its_name() {
    assert_eq!(ConnectionLost::from(iroh::endpoint::ConnectionError::Reset), ConnectionLost::Reset);
    assert!(ConnectionLost::Reset.is_retryable() && ConnectionLost::OtherKey.is_retryable());
}
