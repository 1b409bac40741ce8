//! A file that arrives at a receiver.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use indicatif::DecimalBytes;
use tokio::time::{MissedTickBehavior, interval};
use twolane::{Endpoint, StreamError, XStream};

use super::{Problem, TICK, short};
use crate::{
    exit::Exit,
    output::{Event, Output, in_one_line, nanos, now_ns},
    signals::Signals,
    transfer::{Expected, FileName, Inbox, Meter, Offer, Receipt, ReceiveError, Rehearsal, Unconfirmed, receive},
};

/// A file that arrives.
pub(super) struct Transfer {
    pub(super) number: u64,
    pub(super) peer: String,
    pub(super) stream: XStream,
    /// For `file/2`: the expected part streams. The inner `None` means that the offer describes no acceptable part
    /// streams.
    pub(super) spread: Option<Option<Expected>>,
    pub(super) meter: Meter,
    pub(super) inbox: Inbox,
    pub(super) rehearsal: Option<Rehearsal>,
    pub(super) endpoint: Endpoint,
    pub(super) output: Output,
    pub(super) signals: Signals,
}

impl Transfer {
    /// Returns the number of stored bytes, or the problem with which the program ends if this was its only
    /// transfer.
    pub(super) async fn run(mut self) -> Result<u64, Problem> {
        let started = Instant::now();
        let offer = Offer::from_bytes(self.stream.metadata()).ok();
        let size = offer.as_ref().and_then(|offer| offer.size);
        let name = offer.as_ref().and_then(|offer| FileName::from_offer(&offer.name).ok());
        // An invalid name is not printed, because it can contain sequences that a terminal would obey.
        let name = name.map_or_else(|| "a file".to_owned(), |name| name.to_string());
        self.output.event(Event::Offer {
            transfer: self.number,
            peer: self.peer.clone(),
            name: offer.map(|offer| offer.name),
            size,
        });
        let from = short(&self.peer);
        match size {
            Some(size) => self.output.say(format_args!("{name}: {} are arriving from {from}", DecimalBytes(size))),
            None => self.output.say(format_args!("{name}: arriving from {from}")),
        }

        let error = match self.receive(started, size).await {
            Ok((receipt, told)) => {
                if let Err(error) = told {
                    let reason = in_one_line(&error);
                    self.output.warn(format!("{name} is stored, and its sender may not know: {reason}"));
                }
                self.stored(&receipt, started.elapsed());
                return Ok(receipt.bytes);
            }
            Err(error) => error,
        };
        let at_ns = now_ns();
        let bytes = self.meter.bytes();
        let told = error.to_stream_error(bytes);
        let code = told.as_ref().map(StreamError::code);
        if let Some(told) = told {
            // An error of this write is ignored, because a sender that is gone needs no reason.
            let _ = self.stream.fail(told).await;
        }
        let message = in_one_line(&error);
        let problem = format!("{name} from {} was not stored: {message}", self.peer);
        let peer = self.peer;
        self.output.event(Event::Failed { transfer: self.number, peer, code, message, bytes, at_ns });
        Err(Problem::new(Exit::from(&error), problem))
    }

    async fn receive(&mut self, started: Instant, size: Option<u64>) -> Result<Received, ReceiveError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shown = None;
        let peer = self.stream.peer();
        let stop = async {
            self.signals.asked().await;
        };
        let expected = match self.spread.take() {
            Some(None) => return Err(ReceiveError::Spread),
            spread => spread.flatten(),
        };
        let mut receiving = pin!(receive(&mut self.stream, expected, &self.inbox, self.rehearsal, &self.meter, stop));
        loop {
            tokio::select! {
                biased;
                received = &mut receiving => return received,
                _ = tick.tick() => {
                    let bytes = self.meter.bytes();
                    if shown.replace(bytes) != Some(bytes) {
                        let path = self.endpoint.peer(&peer).and_then(|info| info.path);
                        self.output.event(Event::Progress {
                            transfer: self.number,
                            bytes,
                            size,
                            elapsed_ns: nanos(started.elapsed()),
                            path: path.map(|path| path.to_string()),
                        });
                    }
                }
            }
        }
    }

    fn stored(&self, receipt: &Receipt, elapsed: Duration) {
        self.output.event(Event::Stored {
            transfer: self.number,
            name: receipt.stored.clone(),
            bytes: receipt.bytes,
            blake3: receipt.blake3.clone(),
            elapsed_ns: nanos(elapsed),
        });
        self.output.say(format_args!(
            "{}: stored, {} in {:.1} s, BLAKE3 {}",
            receipt.stored,
            DecimalBytes(receipt.bytes),
            elapsed.as_secs_f64(),
            receipt.blake3
        ));
    }
}

type Received = (Receipt, Result<(), Unconfirmed>);
