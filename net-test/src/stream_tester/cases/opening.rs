//! The opening of a stream: the data that travels with its header, and the answer.

use std::sync::Arc;

use twolane::{GetStreamError, Limits, NextError, ReadError, Reason, StreamOptions};

use super::Fault;
use crate::stream_tester::{
    acceptor,
    ask::NOBODY,
    check::{self, Mismatch},
    role::{
        PROTOCOL,
        Side::{Acceptor, Opener},
        Step, Words,
    },
    seen::{Ending, Heard},
    tester::{Along, Tester},
};

/// The lengths of metadata. The shortest metadata of a role have about 80 bytes, so the lengths start above that.
const METADATA: [usize; 5] = [200, 1000, 4096, Limits::METADATA - 1, Limits::METADATA];

pub(super) async fn metadata(t: Arc<Tester>) -> Result<String, Fault> {
    for len in METADATA {
        let along = Along { metadata: Some(len), ..Along::default() };
        // The hash of the metadata is compared in each case. This case also checks their length.
        let played =
            t.play_along(Opener, vec![Step::Exchange { len: 9 }], vec![Step::Exchange { len: 9 }], along).await?;
        check::equal("the length of the metadata", &played.passive.metadata.bytes, &(len as u64))?;
        played.passive_read(9, &Ending::End)?;
        played.active_read(9, &Ending::End)?;
    }
    let options = StreamOptions { metadata: vec![0; Limits::METADATA + 1].into(), ..StreamOptions::default() };
    match t.endpoint.get_stream_with(&t.peer, PROTOCOL, options).await {
        Err(GetStreamError::MetadataTooLarge { len, max }) => {
            check::equal("the bound on metadata, and what hit it", &(len, max), &(16_385, 16_384))?;
        }
        other => return Err(Mismatch::new("metadata over the bound", "MetadataTooLarge", format!("{other:?}")).into()),
    }
    Ok(format!("{METADATA:?} bytes"))
}

pub(super) async fn early_data(t: Arc<Tester>) -> Result<String, Fault> {
    // Less than a packet, more than a packet, and the most that may travel with a header.
    for early in [1, 1000, 100_000, 400 * 1024] {
        let along = Along { early, ..Along::default() };
        let opener = vec![Step::write(5000), Step::Finish, Step::ReadEnd];
        let acceptor = vec![Step::ReadEnd, Step::write(3000), Step::Finish];
        let played = t.play_along(Opener, opener, acceptor, along).await?;
        played.passive_read(early + 5000, &Ending::End)?;
        played.active_read(3000, &Ending::End)?;
        played.quiet()?;

        let words = Words::new(early);
        let told = Ending::Failed(words.told(early));
        let played = t.play_along(Opener, vec![Step::Fail(words)], vec![Step::ReadEnd], along).await?;
        played.passive_read(early, &told)?;

        let acceptor = vec![Step::Read(early), Step::Fail(words)];
        let played = t.play_along(Acceptor, acceptor, vec![Step::ReadEnd], along).await?;
        played.active_read(early, &Ending::Open)?;
        played.passive_read(0, &Ending::Failed(words.told(0)))?;
        check::heard("the opener", &played.passive.reports, &[Heard::new("fatal", words.told(0))])?;
    }
    Ok(String::new())
}

pub(super) async fn unknown_protocol(t: Arc<Tester>) -> Result<String, Fault> {
    // Another stream is open at the same time, and goes on.
    let mut other = t.open(vec![Step::Echo], Along { unreported: true, ..Along::default() }).await?.stream;
    for early in [0, 100_000] {
        let options = StreamOptions { early_data: vec![0; early].into(), ..StreamOptions::default() };
        let refused = t.endpoint.get_stream_with(&t.peer, "stream-tester-unknown/1", options).await;
        rejected(refused, Reason::UnknownProtocol)?;
    }
    other.write_all(b"still here").await?;
    other.finish()?;
    check::equal("another stream", &other.read_to_end(100).await?.as_ref(), &b"still here".as_slice())?;
    Ok(String::new())
}

pub(super) async fn busy(t: Arc<Tester>) -> Result<String, Fault> {
    let refused = t.endpoint.get_stream(&t.peer, NOBODY).await;
    rejected(refused, Reason::Busy)?;
    t.still_there().await?;
    Ok(String::new())
}

pub(super) async fn role_refused(t: Arc<Tester>) -> Result<String, Fault> {
    for metadata in ["", "{}", r#"{"play":{"id":1,"report":false,"steps":[{"write":{"len":1,"piece":0}}]}}"#] {
        let options = StreamOptions { metadata: metadata.into(), ..StreamOptions::default() };
        let mut stream = t.endpoint.get_stream_with(&t.peer, PROTOCOL, options).await?;
        match stream.read_to_end(0).await {
            Err(NextError::Read(ReadError::Failed(error))) => {
                check::equal("the code for a role that is none", &error.code(), &acceptor::NO_ROLE)?;
                check::holds("a role that is none is refused in words", error.text().contains("role"), || {
                    error.text().to_owned()
                })?;
            }
            other => return Err(Mismatch::new("a role that is none", "an error", format!("{other:?}")).into()),
        }
    }
    Ok(String::new())
}

fn rejected<T: std::fmt::Debug>(found: Result<T, GetStreamError>, reason: Reason) -> Result<(), Mismatch> {
    match found {
        Err(error) if error.rejection() == Some(reason) => Ok(()),
        other => Err(Mismatch::new("the answer to the stream", format!("{reason:?}"), format!("{other:?}"))),
    }
}
