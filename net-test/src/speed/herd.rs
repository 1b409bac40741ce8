//! Kills and restarts a hub to which thousands of peers keep a connection. Measures how soon the peers are connected
//! again, and whether a new peer can connect meanwhile.

use std::{
    collections::BTreeMap,
    env,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use eyre::{bail, eyre};
use iroh::TransportAddr;
use serde::{Deserialize, Serialize};
use tokio::{
    process::Command,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, interval, sleep, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use twolane::{Endpoint, Event, Events, Limits, Ticket, storage};

use super::Broken;
use crate::{
    busy::Watch,
    child::Child,
    conditions::Conditions,
    output::{Output, now_ns},
    report::{self, print},
    stats::percentile,
};

/// The number of peers that connect at the same time in the beginning. More would wait for a processor of this
/// machine.
const AT_A_TIME: usize = 64;
/// The time after which the first probes of new connections and path MTU discovery are over.
const SETTLED: Duration = Duration::from_secs(6);
/// Maximum time to wait for the peers or the hub. 3,000 peers connect in 20 s.
const PATIENCE: Duration = Duration::from_secs(120);
/// The time between two newcomers.
const NEWCOMERS: Duration = Duration::from_secs(1);
/// The limit of waiting events at one peer. A peer has only the events of its own connection.
const EVENTS: usize = 64;

/// Whether each peer has its own loopback address. Systems other than Linux have one loopback address, unless more
/// are set up.
const EACH_ITS_ADDRESS: bool = cfg!(target_os = "linux");
/// The number of sockets and files of an endpoint.
const FILES: u64 = 4;

const AFTER: &str = "\
The hub has the default limits but for the number of peers. On Linux each peer has a loopback address of its own, as peers
elsewhere would. Times are from when the hub is there again. A newcomer is a new endpoint, one each second.

Examples:
  speed herd
  speed herd --peers 100 --within 5 --json

";

/// Kill a hub that thousands of peers keep, start it again, and measure how soon they are back
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER)]
pub struct Herd {
    /// The number of peers
    #[arg(long, value_name = "N", default_value_t = 3_000, value_parser = clap::value_parser!(u16).range(1..=6_000))]
    peers: u16,

    /// Fail unless all are back in so many seconds, and each newcomer connects in half of that
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=120))]
    within: u16,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,

    /// Be the hub at this address
    #[arg(long, hide = true, value_name = "ADDRESS", requires = "key")]
    hub: Option<SocketAddr>,

    /// The file of the hub's key
    #[arg(long, hide = true, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Be the peers of this hub
    #[arg(long, hide = true, value_name = "TICKET")]
    peers_of: Option<Ticket>,
}

/// A line of a child process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    /// The hub is bound.
    There { ticket: String },
    /// All peers are connected.
    Kept,
    /// A peer was lost, and is connected again.
    Back { peer: usize, at_ns: u64, dials_failed: u64 },
}

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename = "herd")]
struct Figures {
    peers: usize,
    back: usize,
    first_ms: f64,
    median_ms: f64,
    p99_ms: f64,
    last_ms: f64,
    /// The number of dials of the peers that failed meanwhile.
    dials_failed: u64,
    newcomers: usize,
    slowest_newcomer_ms: f64,
    /// The reason why the figures are void, if they are.
    void: Option<String>,
    ok: bool,
}

impl Herd {
    pub fn is_json(&self) -> bool {
        self.json
    }
}

pub async fn run(herd: &Herd, output: Output) -> Result<(), Broken> {
    if let (Some(at), Some(key)) = (herd.hub, &herd.key) {
        return hub(at, key, herd.peers.into()).await;
    }
    if let Some(hub) = &herd.peers_of {
        return peers(hub, herd.peers.into()).await;
    }
    let settings = format!("{:?}", limits(herd.peers.into()));
    Conditions::of("speed herd", [("the hub".to_owned(), settings)].into()).tell(output);
    let figures = play(herd, output).await?;
    output.say(format_args!(
        "{} of {} peers are back: the first after {:.0} ms, half of them after {:.0} ms, 99 of 100 after {:.0} ms, the last after \
         {:.0} ms; {} dials failed. Of {} newcomers the slowest took {:.0} ms.",
        figures.back,
        figures.peers,
        figures.first_ms,
        figures.median_ms,
        figures.p99_ms,
        figures.last_ms,
        figures.dials_failed,
        figures.newcomers,
        figures.slowest_newcomer_ms
    ));
    report::event(output, &figures);
    if let Some(why) = &figures.void {
        bail!("the figures are void: {why}");
    }
    if !figures.ok {
        bail!("not all were back, or a newcomer waited for too long: {} s are allowed", herd.within);
    }
    Ok(())
}

async fn play(herd: &Herd, output: Output) -> Result<Figures, Broken> {
    let peers = usize::from(herd.peers);
    let within = Duration::from_secs(herd.within.into());
    let mut watch = Watch::start();
    let folder = tempfile::tempdir()?;
    let key = folder.path().join("hub.key");
    let (first, ticket) = start_hub(&key, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), peers).await?;
    let mut keepers = start("the peers", &["--peers-of", &ticket.to_string()], peers)?;
    match timeout(PATIENCE, keepers.next()).await?? {
        Said::Kept => {}
        other => bail!("the peers say {other:?}"),
    }
    output.say(format_args!("{peers} peers are connected"));
    sleep(SETTLED).await;

    let at = address(&ticket)?;
    first.kill().await?;
    let (_again, ticket) = start_hub(&key, at, peers).await?;
    let (back_ns, over) = (now_ns(), CancellationToken::new());
    let newcomers = AbortOnDropHandle::new(tokio::spawn(newcomers(ticket, within, over.clone())));
    // Each peer counts once, with the last time at which it came back.
    let (mut back, mut dials_failed) = (BTreeMap::new(), 0);
    let until = Instant::now() + 2 * within;
    while back.len() < peers
        && let Ok(said) = timeout_at(until, keepers.next()).await
    {
        match said? {
            Said::Back { peer, at_ns, dials_failed: failed } if at_ns >= back_ns => {
                back.insert(peer, Duration::from_nanos(at_ns - back_ns).as_secs_f64() * 1e3);
                dials_failed += failed;
            }
            _ => {}
        }
    }
    over.cancel();
    let (mut times, mut newcomers) = (back.into_values().collect::<Vec<_>>(), newcomers.await??);
    times.sort_by(f64::total_cmp);
    newcomers.sort_by(f64::total_cmp);
    let void = watch.as_mut().and_then(Watch::lap);
    Ok(Figures { void, ..Figures::new(peers, within, &times, dials_failed, &newcomers) })
}

impl Figures {
    /// Creates the figures. `times` are those of the peers that are back. They and the times of the newcomers are in
    /// milliseconds and in ascending order.
    fn new(peers: usize, within: Duration, times: &[f64], dials_failed: u64, newcomers: &[f64]) -> Self {
        let most = within.as_secs_f64() * 1e3;
        let (last_ms, slowest) = (percentile(times, 1.0), percentile(newcomers, 1.0));
        Self {
            peers,
            back: times.len(),
            first_ms: percentile(times, 0.0),
            median_ms: percentile(times, 0.5),
            p99_ms: percentile(times, 0.99),
            last_ms,
            dials_failed,
            newcomers: newcomers.len(),
            slowest_newcomer_ms: slowest,
            void: None,
            ok: times.len() == peers && last_ms <= most && slowest <= most / 2.0,
        }
    }
}

/// Connects a new endpoint each second until `over`. Returns the time that each took to connect, in milliseconds. An
/// endpoint that has not connected in twice the time `within` counts with that.
async fn newcomers(hub: Ticket, within: Duration, over: CancellationToken) -> Result<Vec<f64>, Broken> {
    let (mut connecting, mut ticks) = (JoinSet::new(), interval(NEWCOMERS));
    while over.run_until_cancelled(ticks.tick()).await.is_some() {
        let hub = hub.clone();
        connecting.spawn(async move {
            let endpoint = Endpoint::builder().offline().bind().await?;
            let began = Instant::now();
            // A dial that fails is repeated, as a user would do.
            let _ = timeout(2 * within, async { while endpoint.connect(hub.clone()).await.is_err() {} }).await;
            Ok::<_, Broken>(began.elapsed().as_secs_f64() * 1e3)
        });
    }
    connecting.join_all().await.into_iter().collect()
}

fn limits(peers: usize) -> Limits {
    // There is room for newcomers. If all peers have one address, they need more room, since one address may have
    // only a share of the peers and of the handshakes.
    let (room, alike) =
        if EACH_ITS_ADDRESS { (256, Limits::default().handshakes_per_address) } else { (peers, AT_A_TIME) };
    Limits { peers: peers + room, handshakes_per_address: alike, ..Limits::default() }
}

async fn hub(at: SocketAddr, key: &Path, peers: usize) -> Result<(), Broken> {
    let key = storage::file::load_or_create(key)?;
    let endpoint = Endpoint::builder().offline().secret_key(key).bind_addr(at).limits(limits(peers)).bind().await?;
    say(&Said::There { ticket: endpoint.ticket().to_string() })?;
    until_told().await
}

/// Returns the address of a peer. On Linux no other peer has it.
fn place(peer: usize) -> Ipv4Addr {
    let [.., high, low] = peer.to_be_bytes();
    if EACH_ITS_ADDRESS { Ipv4Addr::new(127, 1, high, low) } else { Ipv4Addr::LOCALHOST }
}

async fn peers(hub: &Ticket, peers: usize) -> Result<(), Broken> {
    let files = peers as u64 * FILES + 256;
    let limit = rlimit::increase_nofile_limit(files)?;
    if limit < files {
        bail!(
            "{files} open files are needed, and {limit} are allowed: raise the limit (ulimit -Hn), or ask for fewer peers"
        );
    }
    let (mut connecting, turn) = (JoinSet::new(), Arc::new(Semaphore::new(AT_A_TIME)));
    for peer in 0..peers {
        let (hub, turn) = (hub.clone(), Arc::clone(&turn));
        connecting.spawn(async move {
            let _turn = turn.acquire().await?;
            let at = SocketAddr::from((place(peer), 0));
            let limits = Limits { events: EVENTS, ..Limits::default() };
            let endpoint = Endpoint::builder().offline().bind_addr(at).limits(limits).bind().await?;
            let mut keep = endpoint.keep(hub);
            if !keep.connected().await {
                bail!("a peer is not kept: {:?}", keep.state());
            }
            Ok::<_, Broken>((endpoint, keep))
        });
    }
    let kept = connecting.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut watching = JoinSet::new();
    for (peer, (endpoint, keep)) in kept.into_iter().enumerate() {
        let events = endpoint.events();
        watching.spawn(async move { (watch(peer, events).await, endpoint, keep) });
    }
    say(&Said::Kept)?;
    until_told().await
}

/// Reports when a peer that was lost is connected again.
async fn watch(peer: usize, mut events: Events) -> Result<(), Broken> {
    let (mut lost, mut dials_failed) = (false, 0);
    while let Some(event) = events.next().await {
        match event {
            Event::Disconnected { .. } => lost = true,
            Event::DialFailed { .. } => dials_failed += 1,
            Event::Connected { .. } if lost => {
                say(&Said::Back { peer, at_ns: now_ns(), dials_failed })?;
                (lost, dials_failed) = (false, 0);
            }
            _ => {}
        }
    }
    Ok(())
}

async fn start_hub(key: &Path, at: SocketAddr, peers: usize) -> Result<(Child<Said>, Ticket), Broken> {
    let mut hub = start("the hub", &["--hub", &at.to_string(), "--key", &key.to_string_lossy()], peers)?;
    match timeout(PATIENCE, hub.next()).await?? {
        Said::There { ticket } => Ok((hub, ticket.parse()?)),
        other => bail!("a hub that starts says {other:?}"),
    }
}

fn start(name: &str, arguments: &[&str], peers: usize) -> Result<Child<Said>, Broken> {
    let mut command = Command::new(env::current_exe()?);
    Ok(Child::start(name, command.arg("herd").args(arguments).args(["--peers", &peers.to_string()]))?)
}

fn address(ticket: &Ticket) -> Result<SocketAddr, Broken> {
    let socket = ticket.addrs().iter().find_map(|addr| match addr {
        TransportAddr::Ip(socket) if socket.is_ipv4() => Some(*socket),
        _ => None,
    });
    socket.ok_or_else(|| eyre!("the hub has no address: {ticket}"))
}

fn say(said: &Said) -> Result<(), Broken> {
    print(&serde_json::to_string(said)?);
    Ok(())
}

/// Waits until the standard input ends.
async fn until_told() -> Result<(), Broken> {
    tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_herd_holds_if_all_are_back_in_time_and_no_newcomer_waits_for_long() {
        let of = |times: &[f64], newcomers: &[f64]| Figures::new(2, Duration::from_secs(10), times, 0, newcomers);
        assert!(of(&[5.0, 10_000.0], &[5_000.0]).ok);
        assert!(!of(&[5.0], &[5.0]).ok);
        assert!(!of(&[5.0, 10_001.0], &[5.0]).ok);
        assert!(!of(&[5.0, 6.0], &[5_001.0]).ok);
        assert_eq!(of(&[5.0, 6.0], &[]).last_ms, 6.0);
    }

    #[test]
    fn each_peer_has_an_address_of_its_own() {
        let places: std::collections::BTreeSet<_> = (0..6_000).map(place).collect();
        assert!(places.len() == 6_000 || !EACH_ITS_ADDRESS);
    }
}
