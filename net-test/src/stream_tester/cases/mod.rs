//! The cases, in the order in which they run.

mod data;
mod endings;
mod errors;
mod messages;
mod opening;
mod requests;
mod volume;
mod warnings;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::task::JoinSet;

use self::errors::Where;
use super::{
    role::Side::{Acceptor, Opener},
    tester::{Fault, Tester},
};

/// Maximum time for most cases. It is a hundred times the usual time on loopback, so that only a case that hangs or
/// a very slow network reaches it.
const BOUND: Duration = Duration::from_secs(30);
/// Maximum time for cases that move much data or open many streams. They take 12 s on loopback without
/// optimisation.
const LONG: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub sentence: &'static str,
    pub bound: Duration,
    /// The number of bytes that the opener reads or moves, for cases that show a progress bar.
    pub bytes: Option<u64>,
    /// Runs the case. Returns a note for the user, or the reason why the case did not hold.
    pub run: fn(Arc<Tester>) -> Running,
}

pub type Running = Pin<Box<dyn Future<Output = Result<String, Fault>> + Send>>;

impl Case {
    pub const fn new(name: &'static str, sentence: &'static str, run: fn(Arc<Tester>) -> Running) -> Self {
        Self { name, sentence, bound: BOUND, bytes: None, run }
    }

    const fn long(self, bytes: u64) -> Self {
        Self { bound: LONG, bytes: Some(bytes), ..self }
    }
}

macro_rules! cases {
    ($($name:literal: $sentence:literal => $module:ident::$run:ident($($arg:expr),*) $(, long $bytes:expr)?;)*) => {
        pub static CASES: &[Case] = &[
            $(Case::new($name, $sentence, |t| Box::pin($module::$run(t $(, $arg)*)))$(.long($bytes))?),*
        ];
    };
}

cases! {
    "metadata": "metadata of every length up to 16 KiB arrives whole, and one byte more is refused here" =>
        opening::metadata();
    "early-data": "data that travels with the header is the first that is read, and counts in offsets" =>
        opening::early_data();
    "unknown-protocol": "a protocol that is not served is rejected, and nothing else is disturbed" =>
        opening::unknown_protocol();
    "busy-protocol": "a stream that nobody accepts in time is rejected as busy" => opening::busy();
    "role-refused": "an acceptor that cannot do what the metadata asks for fails the stream with a reason" =>
        opening::role_refused();
    "data-to-acceptor": "what the opener writes and finishes is read whole by the acceptor" => data::one_way(Opener);
    "data-to-opener": "what the acceptor writes and finishes is read whole by the opener" => data::one_way(Acceptor);
    "data-both-ways": "both directions carry their own data at the same time" => data::both_ways(3_000_000);
    "zero-bytes": "a stream without data ends in order on both sides" => data::both_ways(0);
    "one-byte": "a stream of one byte ends in order on both sides" => data::both_ways(1);
    "half-close-by-opener": "after the opener has finished, the acceptor's data still comes whole" =>
        data::half_close(Opener);
    "half-close-by-acceptor": "after the acceptor has finished, the opener's data still comes whole" =>
        data::half_close(Acceptor);
    "delivered": "who finished is told when the other side has every byte" => data::delivered();
    "cancelled-calls": "reads and writes that are dropped while they wait have taken and written nothing" =>
        data::cancelled_calls();
    "error-at-start-by-opener": "an error before the first byte: no byte, then the error" =>
        errors::fail(Opener, Where::Start);
    "error-at-start-by-acceptor": "the same from the acceptor" => errors::fail(Acceptor, Where::Start);
    "error-in-middle-by-opener": "an error in the middle: exactly the bytes before it, then the error" =>
        errors::fail(Opener, Where::Middle);
    "error-in-middle-by-acceptor": "the same from the acceptor" => errors::fail(Acceptor, Where::Middle);
    "error-after-last-by-opener": "an error in place of the end: every byte, then the error" =>
        errors::fail(Opener, Where::AfterLast);
    "error-after-last-by-acceptor": "the same from the acceptor" => errors::fail(Acceptor, Where::AfterLast);
    "error-known-early-by-opener": "a reader that knows of the error first still reads every byte before it" =>
        errors::known_early(Opener);
    "error-known-early-by-acceptor": "the same from the acceptor" => errors::known_early(Acceptor);
    "error-while-idle-by-opener": "an error reaches a reader that waits for data" => errors::idle(Opener);
    "error-while-idle-by-acceptor": "the same from the acceptor" => errors::idle(Acceptor);
    "error-while-full-by-opener": "an error reaches a writer that waits for room in a full lane" =>
        errors::full(Opener);
    "error-while-full-by-acceptor": "the same from the acceptor" => errors::full(Acceptor);
    "error-half-closed-by-opener": "an error arrives after either side has finished its data" =>
        errors::half_closed(Opener);
    "error-half-closed-by-acceptor": "the same from the acceptor" => errors::half_closed(Acceptor);
    "error-lengths": "texts up to 4 KiB and details up to 60 KiB arrive whole, from both sides" => errors::lengths();
    "error-by-reading-half": "a stream that is split can be failed from its reading half" => errors::reading_half();
    "errors-at-once": "when both sides fail at the same moment, each ends and knows why" =>
        errors::at_the_same_moment();
    "abort-by-opener": "an abort discards what was not read, and says so" => errors::abort(Opener);
    "abort-by-acceptor": "the same from the acceptor" => errors::abort(Acceptor);
    "warnings-by-opener": "warnings arrive in order and end nothing, before data, after it and after its end" =>
        warnings::in_order(Opener);
    "warnings-by-acceptor": "the same from the acceptor" => warnings::in_order(Acceptor);
    "warnings-unread": "of warnings that nobody reads the oldest are dropped and counted, the error is not" =>
        warnings::unread();
    "reset-by-opener": "a stream that is dropped unfinished ends with an error, never with an end of data" =>
        endings::reset(Opener);
    "reset-by-acceptor": "the same from the acceptor" => endings::reset(Acceptor);
    "cut-write-by-opener": "a write that is dropped half-way never looks complete" => endings::cut_write(Opener);
    "cut-write-by-acceptor": "the same from the acceptor" => endings::cut_write(Acceptor);
    "dropped-writing-half": "a dropped writing half resets its direction alone" => endings::dropped_writing_half();
    "dropped-reading-half": "a dropped reading half stops the other side's writing alone" =>
        endings::dropped_reading_half();
    "silent-acceptor": "an acceptor that says nothing holds up its own stream alone" => endings::silent();
    "lines": "lines arrive one by one, from both sides" => messages::lines();
    "json": "values arrive as JSON, from both sides" => messages::items();
    "wrong-messages": "a message that is cut, too long, no text or no JSON is each its own error" => messages::wrong();
    "paused-acceptor": "50,000 small messages wait for a reader that pauses, and nothing else waits" =>
        messages::paused_acceptor(), long messages::TOTAL;
    "paused-opener": "the same from the acceptor" => messages::paused_opener(), long messages::TOTAL;
    "request": "a request gets its response, of any length" => requests::response();
    "request-failed": "a handler's error arrives with its code, text and details" => requests::failed();
    "request-too-large": "a request over the limit is refused with the limit, and the next one is served" =>
        requests::too_large();
    "response-too-large": "a response over either side's limit is an error that names it" =>
        requests::response_too_large();
    "request-deadline": "a handler that never answers is given up at the deadline, and learns it" =>
        requests::deadline();
    "request-cancelled": "the handler of a request that is dropped learns it" => requests::cancelled();
    "mixed-outcomes": "hundreds of streams at once, each with another outcome, do not touch each other" =>
        volume::mixed(), long volume::MIXED_BYTES;
    "many-streams": "10,000 streams, 64 at a time, each with its own data back" =>
        volume::many(), long volume::MANY_BYTES;
    "bulk-both-ways": "64 MiB in each direction of one stream at the same time" =>
        data::both_ways(data::BULK), long data::BULK;
}

/// Runs `what` `count` times, at most `most` at a time. The first fault ends it.
async fn repeat<F, Fut>(count: usize, most: usize, what: F) -> Result<(), Fault>
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = Result<(), Fault>> + Send + 'static,
{
    let mut running = JoinSet::new();
    let mut started = 0;
    loop {
        while started < count && running.len() < most {
            running.spawn(what(started));
            started += 1;
        }
        match running.join_next().await {
            Some(ended) => ended.unwrap_or_else(|error| Err(Fault::Broke(error.to_string())))?,
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own_and_a_sentence() {
        let names: HashSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        for case in CASES {
            assert!(case.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", case.name);
            assert!(case.sentence.len() > 20 && !case.sentence.ends_with('.'), "{}", case.sentence);
        }
    }

    #[tokio::test]
    async fn what_is_repeated_is_bounded_and_ends_with_its_first_failure() {
        use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        repeat(100, 8, |_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, SeqCst);
                Ok(())
            }
        })
        .await
        .unwrap();
        assert!((2..=8).contains(&most.load(SeqCst)));
        let failed = repeat(10, 2, |n| async move {
            if n == 3 { Err(Fault::Broke("this failure is part of the test".into())) } else { Ok(()) }
        });
        assert!(matches!(failed.await, Err(Fault::Broke(_))));
    }
}
