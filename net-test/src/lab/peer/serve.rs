//! The peer that did not begin a conversation.

use std::time::Instant;

use twolane::{Endpoint, NextError, ReadError, ServeOptions, XStream};

use super::{
    messages::{Gap, Gaps, Receipt},
    milliseconds,
};
use crate::{lab::fault::Fault, output::now_ns};

/// The protocol of a transfer: data up to its end. The answer is a [`Receipt`].
pub const TRANSFER: &str = "lab-transfer/1";
/// The protocol of requests, which are repeatable. The response is the request in reverse order.
pub const ASK: &str = "lab-ask/1";

pub fn serve(endpoint: &Endpoint) -> Result<(), Fault> {
    let broken = |error: twolane::ServeError| Fault::lab("nothing can be served", error);
    endpoint
        .serve_requests_with(ASK, ServeOptions { repeatable: true }, |request| async move {
            Ok(request.body.iter().rev().copied().collect::<Vec<_>>().into())
        })
        .map_err(broken)?;
    // The other peer, which has begun the conversation, reports a transfer that breaks.
    endpoint.serve(TRANSFER, |stream| async move { drop(receive(stream).await) }).map_err(broken)
}

async fn receive(mut stream: XStream) -> Result<(), NextError> {
    let (mut hasher, mut bytes, mut gaps) = (blake3::Hasher::new(), 0, Gaps::default());
    let mut buffer = vec![0; 64 * 1024];
    let mut last: Option<(Instant, u64)> = None;
    loop {
        let len = stream.read(&mut buffer).await.map_err(NextError::Read)?;
        let (now, now_ns) = (Instant::now(), now_ns());
        if let Some((last, at_ns)) = last {
            gaps.add(Gap { at_ns, ms: milliseconds(now - last) });
        }
        last = Some((now, now_ns));
        if len == 0 {
            break;
        }
        hasher.update(&buffer[..len]);
        bytes += len as u64;
    }
    let receipt = Receipt { bytes, hash: hasher.finalize().to_hex().to_string(), gaps };
    let unsent = |_| NextError::Read(ReadError::Reset { code: 0 });
    stream.send_json(&receipt).await.map_err(|_| NextError::Text)?;
    stream.finish().map_err(unsent)?;
    stream.delivered().await.map_err(unsent)
}
