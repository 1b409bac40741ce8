//! `doctor`: tells which peers can reach an endpoint on this machine, and which obstacles there are.

use std::{
    ffi::OsString,
    fmt::Write as _,
    io::{self, Write as _},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};
use twolane::{Endpoint, Limits, PathKind, Reach, Status, Ticket};

use super::{Net, Problem, Tally};
use crate::{
    exit::Exit,
    output::{Event, Output, in_one_line, nanos},
    signals::Signals,
};

/// Maximum time for the shutdown. A connected peer is told that the connection closes, if possible.
const SHUTDOWN: Duration = Duration::from_secs(1);
/// The interval between two checks of a peer whose path is not direct yet. Hole punching takes about 200 ms.
const LOOK: Duration = Duration::from_millis(20);

const HELP: &str = "\
Examples:
  doctor
  doctor --relay https://relay.example.org --json
  doctor 'endpointab…'       can this peer be reached from here, and how?

Exit codes:
    0  peers anywhere can reach this endpoint, directly or through a relay; with a ticket: that peer was reached
    1  something failed on this side
    2  the command line
    3  peers elsewhere cannot reach this endpoint; with a ticket: that peer was not reached
  130  interrupted (SIGINT); 143 terminated (SIGTERM)

A key that another program uses at the same time is taken from it: without --key-file, doctor has a key of its own.
";

/// Tell which peers can reach an endpoint on this machine, and which obstacles there are
#[derive(Debug, Parser)]
#[command(name = "doctor", version, max_term_width = 100)]
#[command(after_help = HELP)]
pub struct Args {
    /// A peer to be reached, by its ticket or its id52
    ticket: Option<String>,

    /// Timeout for the relays, and for the peer, to answer, in seconds
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    timeout: f64,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    net: Net,
}

/// The network status of an endpoint, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// `direct`, `relay_only`, `local_network`, `this_machine`, `nobody` or `unknown`.
    pub reach: String,
    /// The same as a text.
    pub meaning: String,
    /// Whether a relay knows this endpoint.
    pub online: bool,
    /// The obstacles.
    pub obstacles: Vec<Obstacle>,
    /// The relays. The home relay, where peers meet this endpoint, comes first.
    pub relays: Vec<Relay>,
    /// Whether a UDP packet over IPv4 reached a relay and came back; `null` if no relay was asked.
    pub ipv4: Option<bool>,
    /// The same over IPv6.
    pub ipv6: Option<bool>,
    /// The addresses of this endpoint as the relays see them.
    pub public_addrs: Vec<String>,
    /// Whether the NAT uses another port for every destination; `null` if there were no two relays to compare.
    pub nat_varies: Option<bool>,
    /// The addresses at which peers may reach this endpoint.
    pub addrs: Vec<String>,
    /// `off`, `on`, or the reason why peers in the local network are not found.
    pub local_network: String,
}

/// An obstacle to reaching this endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// The kind of obstacle, as a word.
    pub kind: String,
    /// A description of the obstacle, and what to do.
    pub message: String,
}

/// The status of one relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// The URL of the relay.
    pub url: String,
    /// Whether this is the home relay, where peers are told to meet this endpoint.
    pub home: bool,
    /// Whether the relay knows this endpoint.
    pub connected: bool,
    /// The shortest round-trip time to the relay.
    pub latency_ns: Option<u64>,
    /// The reason why the relay does not know this endpoint.
    pub error: Option<String>,
}

impl From<&Status> for Diagnosis {
    fn from(status: &Status) -> Self {
        let network = status.network;
        let public = network.iter().flat_map(|network| [network.public_ipv4, network.public_ipv6]).flatten();
        Self {
            reach: status.reach.as_str().into(),
            meaning: status.reach.to_string(),
            online: status.is_online(),
            obstacles: status
                .obstacles
                .iter()
                .map(|obstacle| Obstacle { kind: obstacle.as_str().into(), message: obstacle.to_string() })
                .collect(),
            relays: status
                .relays
                .iter()
                .map(|relay| Relay {
                    url: relay.url.clone(),
                    home: relay.home,
                    connected: relay.connected,
                    latency_ns: relay.latency.map(nanos),
                    error: relay.last_error.clone(),
                })
                .collect(),
            ipv4: network.map(|network| network.ipv4),
            ipv6: network.map(|network| network.ipv6),
            public_addrs: public.map(|addr| addr.to_string()).collect(),
            nat_varies: network.and_then(|network| network.nat_varies),
            addrs: status.addrs.iter().map(ToString::to_string).collect(),
            local_network: match &status.local_network {
                None => "off".into(),
                Some(Ok(())) => "on".into(),
                Some(Err(error)) => error.clone(),
            },
        }
    }
}

impl Diagnosis {
    /// Returns a table for people.
    fn table(&self) -> String {
        let mut rows = Vec::new();
        for relay in &self.relays {
            let mut words = relay.url.clone();
            let latency = relay.latency_ns.map(|nanos| format!("{:.1} ms", nanos as f64 / 1e6));
            let known = if relay.connected { "connected" } else { "not connected" };
            let error = relay.error.as_ref().filter(|_| !relay.connected).cloned();
            for word in [relay.home.then(|| known.to_owned()), latency, error].into_iter().flatten() {
                words.push_str("  ");
                words.push_str(&word);
            }
            rows.push(("relay", words));
        }
        let udp = |works: Option<bool>| match works {
            Some(true) => "works",
            Some(false) => "no packet came back",
            None => "not known: no relay was asked",
        };
        rows.push(("UDP over IPv4", udp(self.ipv4).into()));
        rows.push(("UDP over IPv6", udp(self.ipv6).into()));
        let nat = match self.nat_varies {
            Some(true) => "another port for every destination",
            Some(false) => "the same address for every destination",
            None => "not known: it takes two relays that answer over UDP",
        };
        rows.push(("NAT", nat.into()));
        rows.extend(self.public_addrs.iter().map(|addr| ("seen as", addr.clone())));
        rows.extend(self.addrs.iter().map(|addr| ("address", addr.clone())));
        rows.push(("local network", self.local_network.clone()));
        let mut table = String::new();
        let mut last = "";
        for (what, words) in rows {
            let what = if what == last {
                ""
            } else {
                last = what;
                what
            };
            let _ = writeln!(table, "{what:<15}{words}");
        }
        let _ = writeln!(table, "\n{}", self.meaning);
        for obstacle in &self.obstacles {
            let _ = writeln!(table, "- {}", obstacle.message);
        }
        table
    }
}

/// Runs the program. The first argument is the name of the program.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Args = match super::parse(args.into_iter().collect()) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let output = Output::new(args.json, false);
    super::run(output, |signals| run(args, output, signals))
}

async fn run(args: Args, output: Output, signals: Signals) -> Result<Tally, Problem> {
    let ticket = args.ticket.as_ref().map(|ticket| ticket.parse::<Ticket>()).transpose();
    let ticket = ticket.map_err(|error| Problem::because(Exit::Usage, "the ticket cannot be used", &error))?;
    let bound = Duration::try_from_secs_f64(args.timeout)
        .ok()
        .filter(|bound| !bound.is_zero())
        .ok_or_else(|| Problem::new(Exit::Usage, "--timeout takes a number of seconds above 0"))?;
    let endpoint = args
        .net
        .builder("DOCTOR_KEY")?
        .limits(Limits { connect_timeout: bound, ..Limits::default() })
        .bind()
        .await
        .map_err(|error| Problem::because(Exit::from(&error), "no endpoint", &error))?;
    let result = tokio::select! {
        result = examine(&endpoint, ticket, bound, output) => result,
        exit = signals.asked() => Err(Problem::new(exit, exit.kind())),
    };
    let _ = timeout(SHUTDOWN, endpoint.shutdown(SHUTDOWN)).await;
    result.map(|()| Tally::default())
}

async fn examine(endpoint: &Endpoint, ticket: Option<Ticket>, bound: Duration, output: Output) -> Result<(), Problem> {
    output.say(format_args!("asking the relays, for {} s at most", bound.as_secs_f64()));
    let status = endpoint.settled(bound).await;
    let diagnosis = Diagnosis::from(&status);
    print(output, &diagnosis.table());
    output.event(Event::Status(Box::new(diagnosis)));
    if let Some(ticket) = ticket {
        return reach(endpoint, ticket, bound, output).await;
    }
    match status.reach {
        Reach::Direct | Reach::RelayOnly => Ok(()),
        reach => Err(Problem::new(Exit::Unreachable, reach.to_string())),
    }
}

/// Tries to reach a peer.
async fn reach(endpoint: &Endpoint, ticket: Ticket, bound: Duration, output: Output) -> Result<(), Problem> {
    let peer = ticket.peer();
    let started = Instant::now();
    endpoint.connect(ticket).await.map_err(|error| {
        let exit = Exit::from(&twolane::GetStreamError::Dial { peer, source: error.clone() });
        Problem::new(exit, format!("{peer} was not reached: {}", in_one_line(&error)))
    })?;
    let connected = started.elapsed();
    let mut direct = None;
    let mut over = pin!(sleep(bound));
    while direct.is_none() {
        match endpoint.peer(&peer).and_then(|info| info.path) {
            Some(PathKind::Direct) => direct = Some(started.elapsed()),
            _ => tokio::select! {
                () = sleep(LOOK) => {}
                () = &mut over => break,
            },
        }
    }
    let info = endpoint.peer(&peer);
    let rtt = info.as_ref().and_then(|info| info.rtt);
    let key_exchange = info.as_ref().and_then(|info| info.key_exchange).map(|exchange| exchange.to_string());
    let path = info.and_then(|info| info.path).map(|path| path.to_string());
    let words = match (&path, direct) {
        (_, Some(direct)) => format!("directly, {:.0} ms after the first packet", direct.as_secs_f64() * 1e3),
        (Some(_), None) => format!("through a relay; no direct path came up within {} s", bound.as_secs_f64()),
        (None, None) => return Err(Problem::new(Exit::Unreachable, format!("{peer} was reached, and lost again"))),
    };
    let rtt_words = rtt.map(|rtt| format!(" (round trip {:.1} ms)", rtt.as_secs_f64() * 1e3)).unwrap_or_default();
    let exchange_words = key_exchange.as_ref().map(|exchange| format!(", keys by {exchange}")).unwrap_or_default();
    print(output, &format!("{peer} is reached {words}{rtt_words}{exchange_words}\n"));
    output.event(Event::Reached {
        peer: peer.to_string(),
        path,
        rtt_ns: rtt.map(nanos),
        connected_ns: nanos(connected),
        direct_ns: direct.map(nanos),
        key_exchange,
    });
    Ok(())
}

/// Prints a requested result to standard output.
fn print(output: Output, text: &str) {
    if !output.is_json() {
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_was_found_and_what_it_means() {
        let relay = Relay {
            url: "https://relay.example/".into(),
            home: true,
            connected: true,
            latency_ns: Some(12_300_000),
            error: None,
        };
        let far =
            Relay { url: "https://far.example/".into(), home: false, latency_ns: Some(99_000_000), ..relay.clone() };
        let diagnosis = Diagnosis {
            reach: "direct".into(),
            meaning: Reach::Direct.to_string(),
            online: true,
            obstacles: vec![Obstacle { kind: "nat_varies".into(), message: "the NAT varies".into() }],
            relays: vec![relay, far],
            ipv4: Some(true),
            ipv6: Some(false),
            public_addrs: vec!["203.0.113.7:4000".into()],
            nat_varies: Some(true),
            addrs: vec!["192.168.1.2:4000".into()],
            local_network: "on".into(),
        };
        let expected = "\
relay          https://relay.example/  connected  12.3 ms
               https://far.example/  99.0 ms
UDP over IPv4  works
UDP over IPv6  no packet came back
NAT            another port for every destination
seen as        203.0.113.7:4000
address        192.168.1.2:4000
local network  on

other peers can reach this endpoint directly
- the NAT varies
";
        assert_eq!(diagnosis.table(), expected);
    }
}
