//! What most cases have in common: a world with services, two peers, and a conversation between them.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    actor::Actor,
    fault::{Fault, ensure},
    figures::{Figures, since},
    nat::Nat,
    peer::{Command, Config, Reach, Said},
    services::Services,
    world::{Family, Machine, Router, World},
};
use crate::output::now_ns;

/// How long the relay may take to know a peer: a round trip for each of DNS, TCP, TLS and HTTP, and iroh's probe of relays,
/// which takes up to 3 s where one of its protocols gets no answer.
pub(super) const ONLINE: Duration = Duration::from_secs(10);
/// How long a conversation may take to begin, and to end once it is told to.
pub(super) const BEGIN: Duration = Duration::from_secs(15);
pub(super) const END: Duration = Duration::from_secs(15);
/// How long two peers may take to find a direct path where there is one.
pub(super) const DIRECT: Duration = Duration::from_secs(5);

/// A world with services that run.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) services: Services,
}

impl Stage {
    pub(super) async fn new(family: Family) -> Result<Self, Fault> {
        let mut stage = Self::without_services(family).await?;
        stage.services.start().await?;
        Ok(stage)
    }

    /// The services' machine is there, and they are to be started.
    pub(super) async fn without_services(family: Family) -> Result<Self, Fault> {
        let mut world = World::new(family).await?;
        let machine = world.services().await?;
        let services = Services::new(machine)?;
        Ok(Self { world, services })
    }

    /// A machine behind a router of its own.
    pub(super) async fn home(&mut self, name: &str, nat: Nat) -> Result<(Router, Machine), Fault> {
        self.home_with(name, nat, Family::V4).await
    }

    pub(super) async fn home_with(&mut self, name: &str, nat: Nat, family: Family) -> Result<(Router, Machine), Fault> {
        let mut router = self.world.router(nat, family).await?;
        let machine = self.world.host(&mut router, name, family).await?;
        Ok((router, machine))
    }

    /// A peer that finds others by the services.
    pub(super) async fn peer(&self, name: &str, machine: &Machine) -> Result<Actor, Fault> {
        self.peer_with(name, machine, None).await
    }

    /// The same, with a key of its own.
    pub(super) async fn peer_with(&self, name: &str, machine: &Machine, key: Option<[u8; 32]>) -> Result<Actor, Fault> {
        let config = Config { key, reach: self.services.reach(machine), mdns: false };
        Actor::start(name, machine, &config).await
    }

    /// A peer that looks around on its local network, and knows nothing else.
    pub(super) async fn local_peer(name: &str, machine: &Machine) -> Result<Actor, Fault> {
        let config = Config { key: None, reach: Reach::default(), mdns: true };
        Actor::start(name, machine, &config).await
    }

    /// Two peers that the relay knows, and a conversation between them: the first knows the other's key and relay.
    pub(super) async fn talk(&mut self, a: &Machine, b: &Machine) -> Result<Talk, Fault> {
        let (a, mut b) = (self.peer("a", a).await?, self.peer("b", b).await?);
        let ticket = b.online(ONLINE).await?;
        Talk::begin(self, a, b, ticket).await
    }

    pub(super) async fn end(self) -> Result<(), Fault> {
        drop(self.services);
        self.world.end().await
    }
}

/// How data is to have travelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Nearly all of it over the relay, by the relay's own count.
    Relayed,
    /// More than half of it directly, by the kernel's count.
    Direct,
    /// Some of it on each, by both counts.
    Both,
}

/// A conversation under way.
pub(super) struct Talk {
    pub(super) a: Actor,
    pub(super) b: Actor,
    pub(super) began_ns: u64,
    /// What the relay had sent before, since it was started.
    relayed_before: u64,
    /// What relays have sent that were killed since.
    relayed_by_dead: u64,
}

impl Talk {
    /// Tells `a` to talk to `peer`, and waits until data has gone to and fro.
    pub(super) async fn begin(stage: &mut Stage, a: Actor, b: Actor, peer: String) -> Result<Self, Fault> {
        let mut talk = Self::start(stage, a, b, peer).await?;
        talk.first_byte(BEGIN).await?;
        Ok(talk)
    }

    /// The same, without waiting.
    pub(super) async fn start(stage: &mut Stage, mut a: Actor, b: Actor, peer: String) -> Result<Self, Fault> {
        a.machine.count_direct(&stage.services.machine.addrs()).await?;
        let relayed_before = stage.services.relayed().await?;
        let began_ns = now_ns();
        a.tell(&Command::Talk { peer }).await?;
        Ok(Self { a, b, began_ns, relayed_before, relayed_by_dead: 0 })
    }

    pub(super) async fn first_byte(&mut self, within: Duration) -> Result<u64, Fault> {
        let since_ns = self.began_ns;
        self.a
            .wait("a first byte", within, |said| match said {
                Said::FirstByte { at_ns } if *at_ns >= since_ns => Some(*at_ns),
                _ => None,
            })
            .await
    }

    /// The first path that data took was the relay's.
    pub(super) async fn started_relayed(&mut self) -> Result<(), Fault> {
        let first = self
            .a
            .wait("a path", DIRECT, |said| match said {
                Said::Path { direct, .. } => Some(*direct),
                _ => None,
            })
            .await?;
        ensure(!first, || "it started directly, though only the key and the relay were known".into())
    }

    /// Data takes a direct path, now or soon.
    pub(super) async fn direct(&mut self, within: Duration) -> Result<(), Fault> {
        let last = self.a.log()?.iter().rev().find_map(|said| match said {
            Said::Path { direct, at_ns } => Some((*direct, *at_ns)),
            _ => None,
        });
        match last {
            Some((true, _)) => Ok(()),
            last => self.a.path(true, last.unwrap_or_default().1, within).await.map(drop),
        }
    }

    /// Lets the conversation go on, and sees that it does.
    pub(super) async fn go_on(&mut self, lasting: Duration) -> Result<(), Fault> {
        sleep(lasting).await;
        self.a.log().map(drop)
    }

    /// Lets the conversation go on, in which no data takes a direct path.
    pub(super) async fn stays_relayed(&mut self, lasting: Duration) -> Result<(), Fault> {
        self.go_on(lasting).await?;
        let direct = self.a.log()?.iter().any(|said| matches!(said, Said::Path { direct: true, .. }));
        ensure(!direct, || "it became direct, where no direct path can be".into())
    }

    /// How often data has changed its way.
    pub(super) fn changes(&mut self) -> Result<usize, Fault> {
        let paths = self.a.log()?.iter().filter(|said| matches!(said, Said::Path { .. })).count();
        Ok(paths.saturating_sub(1))
    }

    /// Ends the conversation: what was sent is what arrived, every request was answered, and data went the way that it was
    /// to go. `stall` is the longest time in which nothing may have moved.
    pub(super) async fn end(
        mut self,
        stage: &mut Stage,
        figures: &mut Figures,
        way: Way,
        stall: Duration,
    ) -> Result<(), Fault> {
        let checked = self.check(stage, figures, way, stall).await;
        figures.read(self.a.log().unwrap_or_default(), self.began_ns);
        checked?;
        self.a.end().await?;
        self.b.end().await
    }

    async fn check(
        &mut self,
        stage: &mut Stage,
        figures: &mut Figures,
        way: Way,
        stall: Duration,
    ) -> Result<(), Fault> {
        // Counted before the end, so that what is counted was part of the conversation.
        let relayed = self.relayed(stage).await?;
        let direct = self.a.machine.direct_bytes().await?;
        (figures.relay_bytes, figures.direct_bytes) = (Some(relayed), Some(direct));
        self.a.tell(&Command::Stop).await?;
        let done = self.a.done(END).await?;
        ensure(done.identical, || "what arrived is not what was sent".into())?;
        ensure(done.requests > 0 && done.bytes > 0, || "nothing was exchanged".into())?;
        ensure(done.longest_ms <= stall.as_secs_f64() * 1e3, || {
            let gap = done.gaps.iter().max_by(|a, b| a.ms.total_cmp(&b.ms));
            let at = gap.map(|gap| since(self.began_ns, gap.at_ns)).unwrap_or_default();
            format!("nothing moved for {:.0} ms from {at:.0} ms on; {stall:?} is allowed", done.longest_ms)
        })?;
        // The counts are of UDP and of relayed packets: the data, its acknowledgements, and what packets cost.
        let bytes = done.bytes;
        match way {
            Way::Relayed => {
                ensure(relayed >= bytes * 9 / 10, || format!("the relay sent {relayed} bytes of {bytes}"))?;
                ensure(direct <= bytes / 5, || format!("{direct} bytes went directly, where no direct path can be"))
            }
            Way::Direct => ensure(direct >= bytes / 2, || format!("only {direct} bytes of {bytes} went directly")),
            Way::Both => ensure(direct >= bytes / 10 && relayed >= bytes / 10, || {
                format!("of {bytes} bytes {direct} went directly and {relayed} over the relay")
            }),
        }
    }

    /// Kills the relay, whose count is kept.
    pub(super) async fn kill_relay(&mut self, stage: &mut Stage) -> Result<(), Fault> {
        self.relayed_by_dead = self.relayed(stage).await?;
        self.relayed_before = 0;
        stage.services.kill().await
    }

    /// What the relay has sent in this conversation.
    async fn relayed(&self, stage: &mut Stage) -> Result<u64, Fault> {
        let now = stage.services.relayed().await?;
        Ok(self.relayed_by_dead + now.saturating_sub(self.relayed_before))
    }
}
