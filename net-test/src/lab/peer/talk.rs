//! The peer that began a conversation.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use twolane::{Endpoint, RequestOptions, Ticket};

use super::{
    messages::{Done, Gap, Gaps, Receipt, Said},
    milliseconds,
    serve::{ASK, TRANSFER},
};
use crate::{
    lab::parts,
    output::{in_one_line, now_ns},
    stream_tester::pattern,
};

/// The size of a piece of the transfer. With [`PIECE_EVERY`] it gives 0.5 MB/s. That is enough to fill the window of
/// every path for a moment during a stall, and little enough to play several cases at a time.
const PIECE: usize = 16 * 1024;
const PIECE_EVERY: Duration = Duration::from_millis(32);
/// The time between a response and the next request.
const PAUSE: Duration = Duration::from_millis(20);
const REQUEST: usize = 64;
/// Maximum time to wait for a response. It is longer than any stall that a case allows, so a stall is seen as a
/// stall.
const DEADLINE: Duration = Duration::from_secs(30);
/// The time between two connections of [`come_back`]. By its end the other peer knows of the first one's end.
const APART: Duration = Duration::from_secs(1);
/// Maximum time for one try of [`ask`]. [`AGAIN`] is the time until the next try.
const TRY: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(100);

/// Runs a transfer and requests until `stop`, and reports the results.
pub async fn talk(endpoint: Endpoint, peer: String, stop: CancellationToken) {
    let peer: Ticket = match peer.parse() {
        Ok(peer) => peer,
        Err(error) => return broken("the peer's name", &error),
    };
    let (sent, asked) = tokio::join!(transfer(&endpoint, &peer, &stop), requests(&endpoint, &peer, &stop));
    let (Some((bytes, hash, receipt)), Some((requests, slow))) = (sent, asked) else { return };
    let mut gaps = receipt.gaps;
    gaps.join(slow);
    parts::say(&Said::Done(Done {
        identical: receipt.bytes == bytes && receipt.hash == hash,
        bytes,
        requests,
        gaps: gaps.worth_telling,
        longest_ms: gaps.longest_ms,
    }));
}

/// Sends a request repeatedly until there is a response, and reports the result.
pub async fn ask(endpoint: Endpoint, peer: String, within: Duration) {
    let peer: Ticket = match peer.parse() {
        Ok(peer) => peer,
        Err(error) => return broken("the peer's name", &error),
    };
    let (begun, mut tries, mut last_error) = (Instant::now(), 0, None);
    while begun.elapsed() < within {
        tries += 1;
        match endpoint.request(&peer, ASK, "ab", TRY).await {
            Ok(response) => {
                return parts::say(&Said::Asked { ok: response == "ba", tries, at_ns: now_ns(), last_error });
            }
            Err(error) => last_error = Some(in_one_line(&error)),
        }
        sleep(AGAIN).await;
    }
    parts::say(&Said::Asked { ok: false, tries, at_ns: now_ns(), last_error });
}

/// Sends two requests on each of `rounds` connections. The second one takes a round trip, so it shows how many round
/// trips the first one has taken with its connection.
pub async fn come_back(endpoint: Endpoint, peer: Ticket, rounds: u64) {
    let (mut times, repeatable) = (Vec::new(), RequestOptions { repeatable: true });
    for _ in 0..rounds {
        let mut round = [0.0; 2];
        for ms in &mut round {
            let begun = Instant::now();
            match endpoint.request_with(&peer, ASK, "ab", DEADLINE, repeatable).await {
                Ok(response) if response == "ba" => *ms = milliseconds(begun.elapsed()),
                Ok(_) => return say_broken("a response is for another request".into()),
                Err(error) => return broken("a request failed", &error),
            }
        }
        times.push(round);
        endpoint.disconnect(&peer.peer(), "until later");
        sleep(APART).await;
    }
    let metrics = endpoint.metrics();
    let (early, rejected) = (metrics.requests_sent_early.get(), metrics.early_rejected.get());
    parts::say(&Said::CameBack { rounds: times, early, rejected });
}

async fn transfer(endpoint: &Endpoint, peer: &Ticket, stop: &CancellationToken) -> Option<(u64, String, Receipt)> {
    let mut stream = match endpoint.get_stream(peer, TRANSFER).await {
        Ok(stream) => stream,
        Err(error) => {
            broken("the transfer's stream was not opened", &error);
            return None;
        }
    };
    let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
    let mut ticks = interval(PIECE_EVERY);
    // Data that could not be sent during a stall is not sent in one burst after it.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let piece = pattern::slice(1, bytes, PIECE);
        hasher.update(&piece);
        bytes += piece.len() as u64;
        if let Err(error) = stream.write_all(&piece).await {
            broken("the transfer failed", &error);
            return None;
        }
    }
    let receipt = async {
        stream.finish().map_err(|error| in_one_line(&error))?;
        stream.next_json::<Receipt>().await.map_err(|error| in_one_line(&error))
    };
    match receipt.await {
        Ok(receipt) => Some((bytes, hasher.finalize().to_hex().to_string(), receipt)),
        Err(error) => {
            say_broken(format!("the transfer's end failed: {error}"));
            None
        }
    }
}

async fn requests(endpoint: &Endpoint, peer: &Ticket, stop: &CancellationToken) -> Option<(u64, Gaps)> {
    let (mut count, mut gaps) = (0, Gaps::default());
    while !stop.is_cancelled() {
        let body = pattern::bytes(count, REQUEST);
        let (begun, at_ns) = (Instant::now(), now_ns());
        let response = match endpoint.request(peer, ASK, body.clone(), DEADLINE).await {
            Ok(response) => response,
            Err(error) => {
                broken("a request failed", &error);
                return None;
            }
        };
        if !response.iter().rev().eq(body.iter()) {
            say_broken("a response is for another request".into());
            return None;
        }
        if count == 0 {
            // The duration of the first request is the time to the first byte, and not a gap.
            parts::say(&Said::FirstByte { at_ns: now_ns() });
        } else {
            gaps.add(Gap { at_ns, ms: milliseconds(begun.elapsed()) });
        }
        count += 1;
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(PAUSE) => {}
        }
    }
    Some((count, gaps))
}

fn broken(what: &str, error: &(impl std::error::Error + 'static)) {
    say_broken(format!("{what}: {}", in_one_line(error)));
}

fn say_broken(what: String) {
    parts::say(&Said::Broken { what });
}
