//! Requests: one message there, one message back.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use twolane::{Phase, RequestError, RequestFailure};

use super::Fault;
use crate::stream_tester::{
    ask::{ACCEPTOR_TAKES, Ask, OPENER_TAKES},
    check::{self, Mismatch},
    pattern,
    role::Words,
    seen::{Sum, Told},
    tester::Tester,
};

pub(super) async fn response(t: Arc<Tester>) -> Result<String, Fault> {
    // No bytes, one byte, lengths that travel with the header and lengths that do not, and the longest response.
    for len in [0, 1, 1000, 1200, 70_000, 450_000, OPENER_TAKES] {
        let body = pattern::bytes(t.number(), len);
        let response = t.ask(&Ask::Echo, &body).await?;
        check::equal("the response", &Sum::of(&response), &Sum::of(&body))?;
    }
    Ok(format!("up to {OPENER_TAKES} bytes"))
}

pub(super) async fn failed(t: Arc<Tester>) -> Result<String, Fault> {
    for words in
        [Words::new(404), Words { code: 0, text: 0, details: 0 }, Words { code: 9, text: 4096, details: 61_440 }]
    {
        let error = no_response(t.ask(&Ask::Fail(words), b"").await)?;
        let told = error.stream_error().map(Told::from);
        check::equal("the handler's error", &told, &Some(words.told(0)))?;
        check::equal("it may have been handled", &error.may_have_been_handled(), &true)?;
    }
    t.still_there().await?;
    Ok(String::new())
}

pub(super) async fn too_large(t: Arc<Tester>) -> Result<String, Fault> {
    let head = Ask::Echo.to_body(b"").len();
    for over in [1, 1_000_000] {
        let error = no_response(t.ask(&Ask::Echo, &vec![0; ACCEPTOR_TAKES - head + over]).await)?;
        names_the_limit(&error)?;
        t.still_there().await?;
    }
    // The acceptor takes this longest request. Its response exceeds the opener's limit.
    let error = no_response(t.ask(&Ask::Echo, &vec![0; ACCEPTOR_TAKES - head]).await)?;
    over_here(&error)?;
    Ok(format!("the limit is {ACCEPTOR_TAKES}"))
}

pub(super) async fn response_too_large(t: Arc<Tester>) -> Result<String, Fault> {
    let size = |len: usize| Ask::Size(u32::try_from(len).unwrap_or(u32::MAX));
    let response = t.ask(&size(OPENER_TAKES), b"").await?;
    check::data("the longest response", &Sum::of(&response), 0, OPENER_TAKES as u64)?;
    over_here(&no_response(t.ask(&size(OPENER_TAKES + 1), b"").await)?)?;
    names_the_limit(&no_response(t.ask(&size(ACCEPTOR_TAKES + 1), b"").await)?)?;
    t.still_there().await?;
    Ok(format!("the limits are {OPENER_TAKES} and {ACCEPTOR_TAKES}"))
}

pub(super) async fn deadline(t: Arc<Tester>) -> Result<String, Fault> {
    // Far longer than a round trip, so that the handler has the request by then.
    const DEADLINE: Duration = Duration::from_secs(1);
    /// Maximum delay with which the deadline may be noticed. On an idle machine it is a millisecond.
    const LATE: Duration = Duration::from_secs(5);
    let id = t.number();
    let asked = Instant::now();
    let error = no_response(t.ask_within(&Ask::Never(id), b"", DEADLINE).await)?;
    let took = asked.elapsed();
    let in_time = (DEADLINE..DEADLINE + LATE).contains(&took);
    check::holds("the deadline was kept by the clock", in_time, || format!("it came after {took:?}"))?;
    let at_the_deadline = matches!(error.cause, RequestFailure::TimedOut { after } if after == DEADLINE);
    check::holds("the request ended at its deadline", at_the_deadline, || format!("{error:?}"))?;
    check::equal("how far the request came", &error.phase, &Phase::Answer)?;
    check::equal("it may have been handled", &error.may_have_been_handled(), &true)?;
    check::equal("the handler was called", &t.report(id).await?.finished, &false)?;
    check::equal("the handler learned that it was given up", &t.report(id).await?.finished, &true)?;
    Ok(format!("{DEADLINE:?}"))
}

pub(super) async fn cancelled(t: Arc<Tester>) -> Result<String, Fault> {
    let id = t.number();
    let never = Ask::Never(id);
    {
        let mut asking = pin!(t.ask(&never, b""));
        let called = tokio::select! {
            ended = &mut asking => return Err(no_response(ended)?.into()),
            called = t.report(id) => called?,
        };
        check::equal("the handler was called", &called.finished, &false)?;
    }
    check::equal("the handler learned that it was given up", &t.report(id).await?.finished, &true)?;
    t.still_there().await?;
    Ok(String::new())
}

fn no_response(result: Result<Bytes, RequestError>) -> Result<RequestError, Mismatch> {
    match result {
        Ok(response) => Err(Mismatch::new("the request", "an error", format!("{} bytes", response.len()))),
        Err(error) => Ok(error),
    }
}

fn names_the_limit(error: &RequestError) -> Result<(), Mismatch> {
    let text = error.stream_error().map(twolane::StreamError::text).unwrap_or_default();
    check::holds("the acceptor names its limit", text.contains(&ACCEPTOR_TAKES.to_string()), || format!("{error:?}"))
}

fn over_here(error: &RequestError) -> Result<(), Mismatch> {
    let over = matches!(error.cause, RequestFailure::TooLarge { max } if max == OPENER_TAKES);
    check::holds("the response is over the opener's limit", over, || format!("{error:?}"))
}
