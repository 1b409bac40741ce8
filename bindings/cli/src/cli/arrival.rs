//! A transfer that arrives at a receiver.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use indicatif::DecimalBytes;
use tokio::time::{MissedTickBehavior, interval};
use twolane::{Endpoint, StreamError, XStream};

use super::{
    Problem, TICK,
    door::{Door, Wish},
    short,
};
use crate::{
    exit::Exit,
    output::{Event, Output, in_one_line, nanos, now_ns},
    progress::Bar,
    signals::Signals,
    transfer::{
        Gathering, Inbox, Meter, Offer, Place, Policy, Progress, Reason, ReceiveError, Received, receive, refusal,
        shown,
        single::{self, Receipt},
    },
};

/// What all transfers of a receiver share. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) endpoint: Endpoint,
    pub(super) inbox: Inbox,
    pub(super) gathering: Gathering,
    pub(super) policy: Policy,
    pub(super) door: Door,
    pub(super) output: Output,
    pub(super) signals: Signals,
    /// Whether a progress bar is shown. There is room for one.
    pub(super) bar: Arc<AtomicBool>,
}

/// A transfer that arrives.
pub(super) struct Transfer {
    pub(super) number: u64,
    pub(super) stream: XStream,
    pub(super) shared: Shared,
}

/// The sum of what was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stored {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// The offer of a transfer, in one of the two protocols.
enum Offered {
    Items(Offer),
    One(single::Offer),
}

impl Transfer {
    /// Returns what was stored, or the problem with which the program ends if this was its only transfer.
    pub(super) async fn run(self) -> Result<Stored, Problem> {
        let started = Instant::now();
        let Self { number, mut stream, shared } = self;
        let teller = Teller { number, peer: stream.get_remote_id52(), output: shared.output, started };
        let offered = if stream.protocol().as_str() == single::PROTOCOL {
            single::Offer::from_bytes(stream.metadata()).ok().map(Offered::One)
        } else {
            Offer::from_bytes(stream.metadata()).ok().map(Offered::Items)
        };
        let wish = offered.as_ref().map(Offered::wish);
        shared.output.event(Event::Offer {
            transfer: number,
            peer: teller.peer.clone(),
            name: wish.as_ref().map(|wish| wish.name.clone()),
            items: wish.as_ref().map_or(0, |wish| wish.items),
            files: wish.as_ref().and_then(|wish| wish.files),
            size: wish.as_ref().and_then(|wish| wish.bytes),
        });
        let (Some(offered), Some(wish)) = (offered, wish) else {
            return Err(teller.refused(&mut stream, &ReceiveError::Offer).await);
        };
        tokio::select! {
            biased;
            _ = shared.signals.asked() => return Err(teller.refused(&mut stream, &ReceiveError::Stopped).await),
            lets_in = shared.door.lets_in(stream.peer(), &wish) => if !lets_in {
                let told = refusal(Reason::NotAllowed.code(), "the receiver's user does not take it", 0);
                let _ = stream.fail(told).await;
                return Err(teller.failed(&wish.name, Some(Reason::NotAllowed.code()), "not taken", 0, Exit::Refused));
            },
        }
        let from = short(&teller.peer);
        let name = shown(&wish.name);
        match wish.bytes {
            Some(size) => teller.say(&format!("{name}: {} are arriving from {from}", DecimalBytes(size))),
            None => teller.say(&format!("{name}: arriving from {from}")),
        }
        let meter = Arc::new(Meter::default());
        match offered {
            Offered::Items(offer) => items(stream, &offer, &shared, &meter, &teller, &wish).await,
            Offered::One(_) => one(stream, &shared, &meter, &teller, &wish).await,
        }
    }
}

/// Receives a transfer of `files/1`.
async fn items(
    stream: XStream,
    offer: &Offer,
    shared: &Shared,
    meter: &Arc<Meter>,
    teller: &Teller,
    wish: &Wish,
) -> Result<Stored, Problem> {
    let place = Place { inbox: &shared.inbox, gathering: &shared.gathering, policy: &shared.policy };
    let told = teller.clone();
    let counted = meter.clone();
    let tell = move |progress: &Progress| {
        if let Progress::Done { item, received } = progress {
            told.done(*item, received, counted.bytes());
        }
    };
    let stop = async {
        shared.signals.asked().await;
    };
    let receiving = receive(stream, offer, place, meter, tell, stop);
    let received = watched(receiving, shared, meter, teller, wish).await;
    match received {
        Ok(report) => {
            if let Err(error) = &report.told {
                let reason = in_one_line(error);
                shared.output.warn(format!("all is done, and its sender may not know: {reason}"));
            }
            let mut sum = Stored::default();
            for (_, received) in &report.items {
                match received {
                    Received::Stored { files, bytes, .. } => {
                        sum.files += files;
                        sum.bytes += bytes;
                    }
                    Received::Refused { text, .. } | Received::GivenUp { text, .. } => {
                        let message = format!("something from {} was not stored: {}", teller.peer, shown(text));
                        return Err(Problem::new(Exit::from(received), message));
                    }
                }
            }
            Ok(sum)
        }
        Err(error) => Err(teller.ended(&wish.name, &error, meter.bytes())),
    }
}

/// Receives a file of `file/1`.
async fn one(
    mut stream: XStream,
    shared: &Shared,
    meter: &Arc<Meter>,
    teller: &Teller,
    wish: &Wish,
) -> Result<Stored, Problem> {
    let stop = async {
        shared.signals.asked().await;
    };
    let receiving = single::receive(&mut stream, &shared.inbox, &shared.policy, meter, stop);
    let received = watched(receiving, shared, meter, teller, wish).await;
    match received {
        Ok((Receipt { stored, bytes, blake3 }, told)) => {
            if let Err(error) = told {
                let reason = in_one_line(&error);
                shared.output.warn(format!("{} is stored, and its sender may not know: {reason}", shown(&stored)));
            }
            teller.stored(0, &stored, false, 1, bytes, Some(blake3));
            Ok(Stored { files: 1, bytes })
        }
        Err(error) => {
            if let Some(told) = error.to_stream_error(meter.bytes()) {
                // An error of this write is ignored, because a sender that is gone needs no reason.
                let _ = stream.fail(told).await;
            }
            Err(teller.ended(&wish.name, &error, meter.bytes()))
        }
    }
}

/// Shows the progress of a transfer to its end.
async fn watched<T>(
    receiving: impl Future<Output = T>,
    shared: &Shared,
    meter: &Meter,
    teller: &Teller,
    wish: &Wish,
) -> T {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reported = None;
    let peer = teller.peer.parse().ok();
    let has_bar = !shared.bar.swap(true, Relaxed);
    let bar = has_bar.then(|| Bar::new(&shared.output, &shown(&wish.name), wish.bytes));
    let mut receiving = pin!(receiving);
    let received = loop {
        tokio::select! {
            biased;
            received = &mut receiving => break received,
            _ = tick.tick() => {
                let bytes = meter.bytes();
                let info = peer.as_ref().and_then(|peer| shared.endpoint.peer(peer));
                let path = info.and_then(|info| info.path).map(|path| path.to_string());
                if let Some(bar) = &bar {
                    bar.show(bytes, path.as_deref());
                    if wish.bytes == Some(bytes) {
                        bar.note("storing");
                    }
                }
                if reported.replace(bytes) != Some(bytes) {
                    shared.output.event(Event::Progress {
                        transfer: teller.number,
                        bytes,
                        size: wish.bytes,
                        elapsed_ns: nanos(teller.started.elapsed()),
                        path,
                    });
                }
            }
        }
    };
    if let Some(bar) = bar {
        bar.clear();
        shared.bar.store(false, Relaxed);
    }
    received
}

/// Says what becomes of a transfer.
#[derive(Debug, Clone)]
struct Teller {
    number: u64,
    peer: String,
    output: Output,
    started: Instant,
}

impl Teller {
    fn say(&self, line: &str) {
        self.output.say(format_args!("{line}"));
    }

    /// Says what became of an item.
    fn done(&self, item: u64, received: &Received, bytes: u64) {
        match received {
            Received::Stored { name, already, files, bytes, hash } => {
                let hash = hash.map(|hash| hash.to_hex().to_string());
                self.stored(item, name, *already, *files, *bytes, hash);
            }
            Received::Refused { reason, text } => {
                drop(self.failed("an item", Some(reason.code()), text, bytes, Exit::from(received)));
            }
            Received::GivenUp { text, .. } => drop(self.failed("an item", None, text, bytes, Exit::from(received))),
        }
    }

    fn stored(&self, item: u64, name: &str, already: bool, files: u64, bytes: u64, blake3: Option<String>) {
        let elapsed = self.started.elapsed();
        self.say(&stored_line(&shown(name), already, files, bytes, elapsed, blake3.as_deref()));
        self.output.event(Event::Stored {
            transfer: self.number,
            item: item + 1,
            name: name.to_owned(),
            already,
            files,
            bytes,
            blake3,
            elapsed_ns: nanos(elapsed),
        });
    }

    /// Refuses a transfer before it has begun.
    async fn refused(&self, stream: &mut XStream, error: &ReceiveError) -> Problem {
        let problem = self.ended("a transfer", error, 0);
        if let Some(told) = error.to_stream_error(0) {
            let _ = stream.fail(told).await;
        }
        problem
    }

    fn ended(&self, name: &str, error: &ReceiveError, bytes: u64) -> Problem {
        let code = error.to_stream_error(bytes).as_ref().map(StreamError::code);
        self.failed(name, code, &in_one_line(error), bytes, Exit::from(error))
    }

    fn failed(&self, name: &str, code: Option<u64>, message: &str, bytes: u64, exit: Exit) -> Problem {
        let (peer, transfer) = (self.peer.clone(), self.number);
        let problem = format!("{} from {peer} was not stored: {}", shown(name), shown(message));
        self.output.event(Event::Failed { transfer, peer, code, message: message.to_owned(), bytes, at_ns: now_ns() });
        Problem::new(exit, problem)
    }
}

impl Offered {
    fn wish(&self) -> Wish {
        match self {
            Self::Items(offer) => {
                Wish { name: offer.name.clone(), items: offer.items, files: offer.files, bytes: offer.bytes }
            }
            Self::One(offer) => Wish { name: offer.name.clone(), items: 1, files: Some(1), bytes: offer.size },
        }
    }
}

/// The line for people when something is stored.
pub(super) fn stored_line(
    name: &str,
    already: bool,
    files: u64,
    bytes: u64,
    elapsed: Duration,
    blake3: Option<&str>,
) -> String {
    let what = if blake3.is_some() { String::new() } else { format!("{files} files, ") };
    let hash = blake3.map(|hash| format!(", BLAKE3 {hash}")).unwrap_or_default();
    if already {
        return format!("{name}: {what}{} were there already{hash}", DecimalBytes(bytes));
    }
    format!("{name}: stored, {what}{} in {:.1} s{hash}", DecimalBytes(bytes), elapsed.as_secs_f64())
}
