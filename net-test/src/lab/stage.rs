//! The common parts of most cases: a world with services, two peers, and a conversation between them.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    actor::Actor,
    fault::{Fault, ensure},
    figures::{Figures, since},
    nat::Nat,
    peer::{Command, Config, Done, Said},
    services::Services,
    traffic::{Traffic, Watch, Way},
    world::{Family, Machine, Router, World},
};
use crate::output::now_ns;

/// Maximum time until the relay knows a peer. It takes a round trip each for DNS, TCP, TLS and HTTP, and iroh's probe
/// of relays, which takes up to 3 s where one of its protocols gets no answer.
pub const ONLINE: Duration = Duration::from_secs(10);
/// Maximum time to wait for the beginning of a conversation. [`END`] is the same for its end.
pub const BEGIN: Duration = Duration::from_secs(15);
pub const END: Duration = Duration::from_secs(15);
/// Maximum time to find a direct path where there is one.
pub const DIRECT: Duration = Duration::from_secs(5);
/// The time for which data moves on a direct path, at 0.5 MB/s.
pub const WHILE: Duration = Duration::from_secs(3);
/// The time between two reads of the traffic.
const LOOK: Duration = Duration::from_millis(10);
/// Bytes that may arrive directly where no direct path is possible. They are path probes.
const PROBES: u64 = 64_000;
/// Bytes that have to come over the relay first, where the peers know only the relay: a piece of the transfer.
const FIRST: u64 = 16_000;

pub struct Stage {
    pub world: World,
    pub services: Services,
}

impl Stage {
    pub async fn new(family: Family) -> Result<Self, Fault> {
        let mut stage = Self::without_services(family).await?;
        stage.services.start().await?;
        Ok(stage)
    }

    /// Creates a stage whose services have a machine and are not started.
    pub async fn without_services(family: Family) -> Result<Self, Fault> {
        let mut world = World::new(family).await?;
        let machine = world.services().await?;
        let services = Services::new(machine)?;
        Ok(Self { world, services })
    }

    /// Creates a machine behind its own router.
    pub async fn home(&mut self, name: &str, nat: Nat) -> Result<(Router, Machine), Fault> {
        self.home_with(name, nat, Family::V4).await
    }

    pub async fn home_with(&mut self, name: &str, nat: Nat, family: Family) -> Result<(Router, Machine), Fault> {
        let mut router = self.world.router(nat, family).await?;
        let machine = self.world.host(&mut router, name, family).await?;
        Ok((router, machine))
    }

    /// Starts a peer that finds others through the services.
    pub async fn peer(&self, name: &str, machine: &Machine) -> Result<Actor, Fault> {
        self.peer_with(name, machine, None).await
    }

    pub async fn peer_with(&self, name: &str, machine: &Machine, key: Option<[u8; 32]>) -> Result<Actor, Fault> {
        let config = Config { key, reach: self.services.reach(machine), ..Config::default() };
        Actor::start(name, machine, &config).await
    }

    /// Starts a peer that finds others only on its local network.
    pub async fn local_peer(name: &str, machine: &Machine) -> Result<Actor, Fault> {
        let config = Config { mdns: true, ..Config::default() };
        Actor::start(name, machine, &config).await
    }

    /// Starts two peers and a conversation between them. The relay knows both, and the first peer knows the key and
    /// the relay of the second.
    pub async fn talk(&mut self, a: &Machine, b: &Machine) -> Result<Talk, Fault> {
        self.talk_with(a, b, None).await
    }

    /// Does the same as [`Stage::talk`]. Packets that match `moved` are also counted separately.
    pub async fn talk_with(&mut self, a: &Machine, b: &Machine, moved: Option<&str>) -> Result<Talk, Fault> {
        let (a, mut b) = (self.peer("a", a).await?, self.peer("b", b).await?);
        let ticket = b.online(ONLINE).await?;
        let mut talk = Talk::new(self, a, b, moved).await?;
        talk.begin(&ticket).await?;
        Ok(talk)
    }
}

/// A conversation, and the traffic at the machine of the peer that did not begin it.
pub struct Talk {
    pub a: Actor,
    pub b: Actor,
    pub began_ns: u64,
    watch: Watch,
    /// The time since which data has to go directly.
    direct_ns: Option<u64>,
    /// Bytes that the relay had sent before the conversation.
    relayed_before: u64,
    /// Bytes that were sent by relays that have been killed since.
    relayed_by_dead: u64,
}

impl Talk {
    /// Creates a conversation of two peers that have not exchanged data. Traffic counts from now on.
    pub async fn new(stage: &mut Stage, a: Actor, b: Actor, moved: Option<&str>) -> Result<Self, Fault> {
        let watch = Watch::start(&b.machine, &stage.services.machine.addrs(), moved).await?;
        let relayed_before = stage.services.relayed().await?;
        let (began_ns, direct_ns) = (now_ns(), None);
        Ok(Self { a, b, began_ns, watch, direct_ns, relayed_before, relayed_by_dead: 0 })
    }

    /// Asks the peer until it answers. The conversation begins with the first try.
    pub async fn ask(&mut self, peer: &str, within: Duration, figures: &mut Figures) -> Result<u64, Fault> {
        self.began_ns = now_ns();
        let (tries, answered) = self.a.ask(peer, within).await?;
        figures.tries = Some(tries);
        figures.ttfb_ms = Some(since(self.began_ns, answered));
        Ok(answered)
    }

    /// Begins the conversation, and waits until data has gone both ways.
    pub async fn begin(&mut self, peer: &str) -> Result<(), Fault> {
        let told_ns = now_ns();
        self.a.tell(&Command::Talk { peer: peer.to_owned() }).await?;
        let first = |said: &Said| match said {
            Said::FirstByte { at_ns } if *at_ns >= told_ns => Some(()),
            _ => None,
        };
        self.a.wait("a first byte", BEGIN, first).await
    }

    /// Ends the conversation, and keeps the connection.
    pub async fn pause(&mut self) -> Result<(), Fault> {
        verify(&self.a.stop(END).await?)
    }

    pub fn look<T>(&self, at: impl FnOnce(&Traffic) -> T) -> T {
        self.watch.look(at)
    }

    /// Waits until data takes this way at `since_ns` or later. Returns the time at which it began to do so.
    pub async fn way(&mut self, way: Way, since_ns: u64, within: Duration) -> Result<u64, Fault> {
        let until = Instant::now() + within;
        loop {
            self.a.log()?;
            let took = self.look(|traffic| traffic.took(way, since_ns));
            if let Some(at_ns) = took {
                self.direct_ns = (way == Way::Direct).then_some(at_ns);
                return Ok(at_ns);
            }
            if Instant::now() >= until {
                let what = if way == Way::Direct { "data that arrives directly" } else { "data over the relay" };
                return Err(Fault::Late { what: what.to_owned(), after: within });
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until data takes a direct path.
    pub async fn direct(&mut self) -> Result<(), Fault> {
        self.way(Way::Direct, self.began_ns, DIRECT).await.map(drop)
    }

    /// Waits for a direct path, and lets data move on it.
    pub async fn settle(&mut self) -> Result<(), Fault> {
        self.direct().await?;
        self.go_on(WHILE).await
    }

    /// Does the same as [`Talk::settle`] and then [`Talk::end`].
    pub async fn end_direct(mut self, stage: &mut Stage, figures: &mut Figures) -> Result<(), Fault> {
        self.settle().await?;
        self.end(stage, figures, Way::Direct).await
    }

    /// Checks that data came over the relay before it came directly.
    pub fn started_relayed(&self) -> Result<(), Fault> {
        let first = self.relayed_first();
        ensure(first.is_some_and(|bytes| bytes >= FIRST), || {
            format!("before data came directly {} bytes had come over the relay", first.unwrap_or_default())
        })
    }

    /// Returns the number of bytes that had come over the relay when data began to come directly.
    pub fn relayed_first(&self) -> Option<u64> {
        self.look(|traffic| {
            let direct = traffic.at(traffic.took(Way::Direct, self.began_ns)?);
            Some(direct.since(traffic.at(self.began_ns)).relayed)
        })
    }

    /// Lets the conversation go on for a time. Fails if it breaks meanwhile.
    pub async fn go_on(&mut self, lasting: Duration) -> Result<(), Fault> {
        sleep(lasting).await;
        self.a.log().map(drop)
    }

    pub fn changes(&self, since_ns: u64) -> usize {
        self.look(|traffic| traffic.changes(since_ns))
    }

    /// Ends the conversation. Checks that data arrived unchanged, that every request was answered, and which way data
    /// took.
    pub async fn end(mut self, stage: &mut Stage, figures: &mut Figures, way: Way) -> Result<(), Fault> {
        // The relay's bytes are counted before the end, so all of them belong to the conversation.
        let relayed = self.relayed(stage).await?;
        let (all, rest, now, took) = self.look(|traffic| {
            let rest = self.direct_ns.map(|direct_ns| traffic.since(direct_ns));
            (traffic.since(self.began_ns), rest, traffic.now(), traffic.took(Way::Direct, self.began_ns))
        });
        figures.relay_bytes = Some(relayed);
        figures.direct_bytes = Some(all.direct);
        figures.direct_ms = took.map(|at_ns| since(self.began_ns, at_ns));
        figures.relayed_first_bytes = self.relayed_first();
        let first = self.a.log()?.iter().find_map(|said| match said {
            Said::FirstByte { at_ns } if *at_ns >= self.began_ns => Some(*at_ns),
            _ => None,
        });
        figures.ttfb_ms = figures.ttfb_ms.or_else(|| first.map(|at_ns| since(self.began_ns, at_ns)));
        let says_direct = self.a.says_direct()?;
        let done = self.a.stop(END).await?;
        figures.read(&done, self.began_ns);
        verify(&done)?;
        ensure(now == Some(way), || format!("at the end data went {now:?}, and not {way:?}: {all:?}"))?;
        match (way, rest) {
            (Way::Relayed, _) => {
                ensure(took.is_none() && all.direct <= PROBES, || {
                    format!("{} bytes arrived directly, where no direct path can be", all.direct)
                })?;
                // The counters count packets: the data, its acknowledgements, and headers.
                ensure(relayed.min(all.relayed) >= done.bytes * 9 / 10, || {
                    format!("of {} bytes {} arrived by the relay, which sent {relayed}", done.bytes, all.relayed)
                })?;
            }
            (Way::Direct, Some(rest)) => ensure(rest.relayed * 10 <= rest.direct, || {
                format!("since data goes directly {} bytes came so, and {} by the relay", rest.direct, rest.relayed)
            })?,
            (Way::Direct, None) => return Err(Fault::Lab("nobody has looked whether data goes directly".into())),
        }
        // TLS, TCP and acknowledgements add to the bytes that arrive from the relay.
        ensure(all.relayed <= relayed * 5 / 4 + PROBES, || {
            format!("the relay sent {relayed} bytes, and {} arrived from it", all.relayed)
        })?;
        ensure(says_direct == Some(way == Way::Direct), || {
            format!("data goes {way:?}, and the peer that sends it says of a direct path: {says_direct:?}")
        })?;
        self.a.end().await?;
        self.b.end().await
    }

    /// Kills the relay, and keeps its byte count.
    pub async fn kill_relay(&mut self, stage: &mut Stage) -> Result<(), Fault> {
        self.relayed_by_dead = self.relayed(stage).await?;
        self.relayed_before = 0;
        stage.services.kill().await
    }

    /// Returns the number of bytes that the relay has sent in this conversation.
    async fn relayed(&self, stage: &mut Stage) -> Result<u64, Fault> {
        let now = stage.services.relayed().await?;
        Ok(self.relayed_by_dead + now.saturating_sub(self.relayed_before))
    }
}

fn verify(done: &Done) -> Result<(), Fault> {
    if !done.identical {
        return Err(Fault::Wrong("what arrived is not what was sent".into()));
    }
    ensure(done.requests > 0 && done.bytes > 0, || "nothing was exchanged".into())
}
