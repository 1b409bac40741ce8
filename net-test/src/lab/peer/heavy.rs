//! Many large responses at once, and bulk data on many streams.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use twolane::{Endpoint, Limits, ReadError, StreamOptions, Ticket};

use super::messages::{ReadEnd, Said};
use crate::{
    lab::{fault::Fault, parts},
    output::{in_one_line, now_ns},
    stream_tester::{
        chaos::trials::outage::{self, Seen},
        pattern,
        scale::footprint::until,
    },
};

/// The protocol of large responses. The request gives the length of the response and the number of its pattern.
const LARGE: &str = "lab-large/1";
const BULK: &str = "lab-bulk/1";
/// With this number of bytes, the connection is nearly full: some thirty lanes get 0.69 of its send window.
const FULL: u64 = Limits::SEND_WINDOW / 8 * 5;
const FILLING: Duration = Duration::from_secs(60);

pub fn serve(endpoint: &Endpoint) -> Result<(), Fault> {
    let broken = |error: twolane::ServeError| Fault::lab("nothing can be served", error);
    endpoint
        .serve_requests(LARGE, |request| async move {
            let (number, len) = serde_json::from_slice(&request.body).unwrap_or_default();
            Ok(Bytes::from(pattern::bytes(number, len)))
        })
        .map_err(broken)?;
    let (seen, mut all_seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Seen { lane, bytes, intact, end }) = all_seen.recv().await {
            let end = match end {
                Ok(()) => ReadEnd::Finished,
                Err(ReadError::Failed(error)) => {
                    ReadEnd::Failed { code: error.code(), text: error.text().to_owned(), offset: error.offset() }
                }
                Err(error) => ReadEnd::Broken(in_one_line(&error)),
            };
            parts::say(&Said::Read { lane, bytes, intact, end, at_ns: now_ns() });
        }
    });
    endpoint.serve(BULK, move |stream| outage::read(stream, seen.clone())).map_err(broken)
}

pub async fn many(endpoint: Endpoint, peer: Ticket, requests: u64, bytes: u64, within: Duration) {
    let mut asking = JoinSet::new();
    let len = usize::try_from(bytes).unwrap_or(usize::MAX);
    for number in 0..requests {
        let (endpoint, peer) = (endpoint.clone(), peer.clone());
        asking.spawn(async move {
            let body = serde_json::to_vec(&(number, len)).unwrap_or_default();
            let response = endpoint.request(peer, LARGE, body, within).await.map_err(|error| in_one_line(&error))?;
            if response == pattern::bytes(number, len) {
                Ok(())
            } else {
                Err(format!("a response has {} bytes, and is not whole", response.len()))
            }
        });
    }
    let (mut whole, mut first_error) = (0, None);
    while let Some(asked) = asking.join_next().await {
        match asked.map_err(|error| error.to_string()).flatten() {
            Ok(()) => whole += 1,
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    parts::say(&Said::Answered { whole, at_ns: now_ns(), first_error });
}

/// Opens streams, waits for the command to begin, and writes. The first stream fails at its command, and the others
/// finish at theirs.
pub async fn bulk(endpoint: Endpoint, peer: Ticket, lanes: u64, [begin, fail, finish]: [CancellationToken; 3]) {
    let mut opened = Vec::new();
    for lane in 0..lanes {
        let metadata = lane.to_be_bytes().to_vec().into();
        let opening = endpoint.get_stream_with(&peer, BULK, StreamOptions { metadata, ..StreamOptions::default() });
        match opening.await {
            Ok(stream) => opened.push((lane, stream)),
            Err(error) => return parts::say(&Said::Wrote { lane, bytes: 0, fault: Some(in_one_line(&error)) }),
        }
    }
    parts::say(&Said::Opened);
    begin.cancelled().await;
    let (mut writers, written) = (JoinSet::new(), Arc::<AtomicU64>::default());
    for (lane, stream) in opened {
        let (told, written) = (if lane == 0 { fail.clone() } else { finish.clone() }, Arc::clone(&written));
        writers.spawn(async move {
            let (bytes, fault) = match outage::write(stream, lane, 0, told, written).await {
                Ok((_, bytes)) => (bytes, None),
                Err(fault) => (0, Some(fault)),
            };
            parts::say(&Said::Wrote { lane, bytes, fault });
        });
    }
    if until(FILLING, || written.load(Relaxed) >= FULL).await {
        parts::say(&Said::Full);
    }
    while writers.join_next().await.is_some() {}
}
