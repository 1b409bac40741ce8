//! An observed transfer between two processes.

use std::{ffi::OsString, path::Path};

use twolane::Ticket;

use super::child::{self, Child};
use crate::{
    cli::Problem,
    output::{ErrorLane, Event, Output},
    progress::Bar,
};

/// The settings that all transfers of the demo share.
pub(super) struct Setup {
    pub(super) output: Output,
    pub(super) relay: String,
}

/// The observed result of a transfer.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// The exit codes of the sender and of the receiver.
    pub(super) codes: (i32, i32),
    /// The paths that the data took, in order.
    pub(super) paths: Vec<String>,
    pub(super) open_ns: u64,
    pub(super) bytes: u64,
    pub(super) elapsed_ns: u64,
    pub(super) error_lane: Option<ErrorLane>,
    /// The time at which the receiver refused the file.
    pub(super) refused_at_ns: Option<u64>,
}

impl Setup {
    /// Sends a file to a receiver with the given options. Dropping the future kills both processes.
    pub(super) async fn run(&self, file: &Path, inbox: &Path, options: &[&str]) -> Result<Sent, Problem> {
        let mut args: Vec<OsString> = vec!["--once".into(), "--anyone".into(), "--dir".into(), inbox.into()];
        args.extend(options.iter().map(OsString::from));
        let mut receiver = Child::start(child::RECEIVER, self.on_this_machine(args))?;
        let ticket = reachable(&mut receiver).await?.relay_only();
        let args = vec![ticket.to_string().into(), file.into()];
        let mut sender = Child::start(child::SENDER, self.on_this_machine(args))?;

        let size = file.metadata().ok().map(|metadata| metadata.len());
        let bar = Bar::new(&self.output, "  ", size);
        let mut sent = Sent::default();
        let (mut sending, mut receiving) = (true, true);
        while sending || receiving {
            tokio::select! {
                event = sender.next(), if sending => match event? {
                    Some(event) => self.on_sender(&event, &mut sent, &bar),
                    None => sending = false,
                },
                event = receiver.next(), if receiving => match event? {
                    Some(Event::Failed { at_ns, .. }) => sent.refused_at_ns = Some(at_ns),
                    Some(_) => {}
                    None => receiving = false,
                },
            }
        }
        bar.clear();
        sent.codes = (sender.ended().await?, receiver.ended().await?);
        Ok(sent)
    }

    /// Adds the options that leave only loopback and the relay.
    fn on_this_machine(&self, args: Vec<OsString>) -> impl Iterator<Item = OsString> {
        ["--offline", "--relay", &self.relay].map(OsString::from).into_iter().chain(args)
    }

    fn on_sender(&self, event: &Event, sent: &mut Sent, bar: &Bar) {
        match event {
            Event::Stream { open_ns, .. } => {
                sent.open_ns = *open_ns;
                let line = format!("   first stream open after {:.1} ms", *open_ns as f64 / 1e6);
                bar.say(&self.output, &line);
            }
            Event::Path { path, rtt_ns, .. } => {
                let rtt = rtt_ns.map_or_else(String::new, |rtt| format!(", round trip {:.1} ms", rtt as f64 / 1e6));
                let words = if path == "relay" { "connected over the relay" } else { "now direct" };
                bar.say(&self.output, &format!("   {words}{rtt}"));
                sent.paths.push(path.clone());
                self.output.event(event.clone());
            }
            Event::Progress { bytes, path, .. } => {
                bar.show(*bytes, path.as_deref());
                self.output.event(event.clone());
            }
            Event::Stored { bytes, elapsed_ns, .. } => {
                sent.bytes = *bytes;
                sent.elapsed_ns = *elapsed_ns;
            }
            Event::Error(failure) => {
                sent.error_lane.clone_from(&failure.error_lane);
                if failure.error_lane.is_none() {
                    bar.say(&self.output, &format!("   {}", failure.message));
                }
            }
            _ => {}
        }
    }
}

/// Waits until the relay knows the receiver.
async fn reachable(receiver: &mut Child) -> Result<Ticket, Problem> {
    loop {
        match receiver.next().await? {
            Some(Event::Ready { ticket, .. } | Event::Ticket { ticket, .. }) => {
                let ticket: Ticket = ticket.parse().map_err(|error| receiver.problem(format!("{error}")))?;
                if ticket.to_addr().relay_urls().next().is_some() {
                    return Ok(ticket);
                }
            }
            Some(Event::Error(failure)) => return Err(receiver.problem(failure.message)),
            Some(_) => {}
            None => return Err(receiver.problem("it ended before it was ready".into())),
        }
    }
}
