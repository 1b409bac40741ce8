//! Networks that change while data moves. The programs that send and receive may notice a stall, and nothing else.

use std::{net::IpAddr, time::Duration};

use tokio::time::{Instant, sleep};

use super::at_home;
use crate::{
    lab::{
        fault::{Fault, ensure},
        figures::{Figures, since},
        link::{Link, Shape},
        nat::{Nat, Rebound},
        stage::{ONLINE, Stage, Talk, WHILE},
        traffic::{Traffic, Way},
        world::{Family, Machine, Router, WAN},
    },
    output::now_ns,
};

/// Maximum time until data moves again. Raw iroh takes up to 60 s to use a direct path again.
const HEALED: Duration = Duration::from_secs(15);
/// The downtime of a relay that restarts. With a downtime of 4 s, raw iroh stalls for 7 to 14 s.
const DOWN: Duration = Duration::from_secs(3);
/// The time for which data has to move after the restart.
const UP: Duration = Duration::from_secs(7);
/// The external port of a socket after its router has forgotten the first one.
const REBOUND: u16 = 40_001;
/// The time after which the routers forget an unused mapping. The worst real routers are as early as this. RFC 4787
/// demands two minutes.
const FORGETS: Duration = Duration::from_secs(3);
/// The time without data on a connection behind such a router.
const IDLE: Duration = Duration::from_secs(8);

struct Homes {
    stage: Stage,
    left: Router,
    right: Router,
    a: Machine,
    b: Machine,
}

impl Homes {
    async fn new() -> Result<Self, Fault> {
        let mut stage = Stage::new(Family::V4).await?;
        let (left, a) = stage.home("a", Nat::Home).await?;
        let (right, b) = stage.home("b", Nat::Home).await?;
        Ok(Self { stage, left, right, a, b })
    }

    /// Begins a conversation, and waits until it uses a direct path.
    async fn talk(&mut self, moved: Option<&str>) -> Result<Talk, Fault> {
        let mut talk = self.stage.talk_with(&self.a, &self.b, moved).await?;
        talk.settle().await?;
        Ok(talk)
    }
}

/// Creates two machines at home. The first has a link of this shape to its router.
async fn with_a_link(shape: Shape) -> Result<(Stage, Machine, Link, Machine), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let mut left = stage.world.router(Nat::Home, Family::V4).await?;
    let (a, link) = stage.world.distant_host(&mut left, "a", shape, 4).await?;
    let (_, b) = stage.home("b", Nat::Home).await?;
    Ok((stage, a, link, b))
}

fn addr(router: &Router) -> Result<IpAddr, Fault> {
    router.wan.addrs().first().copied().ok_or_else(|| Fault::Lab("a router without an address".into()))
}

pub async fn cut_and_healed(figures: &mut Figures) -> Result<(), Fault> {
    let mut homes = Homes::new().await?;
    let mut talk = homes.talk(None).await?;
    let Homes { mut stage, left, right, .. } = homes;
    let cut = now_ns();
    left.cut(&[addr(&right)?]).await?;
    right.cut(&[addr(&left)?]).await?;
    let relayed = talk.way(Way::Relayed, cut, HEALED).await?;
    figures.relayed_ms = Some(since(cut, relayed));
    talk.go_on(WHILE).await?;
    left.heal().await?;
    right.heal().await?;
    let healed = now_ns();
    let again = talk.way(Way::Direct, healed, HEALED).await?;
    figures.again_ms = Some(since(healed, again));
    talk.go_on(WHILE).await?;
    talk.end(&mut stage, figures, Way::Direct).await
}

pub async fn lossy(figures: &mut Figures) -> Result<(), Fault> {
    let shape =
        Shape { delay: Duration::from_millis(20), jitter: Duration::from_millis(20), loss: 0.05, ..Shape::CABLE };
    let (mut stage, a, link, b) = with_a_link(shape).await?;
    let before = link.there();
    let mut talk = stage.talk(&a, &b).await?;
    let direct = talk.way(Way::Direct, talk.began_ns, HEALED).await?;
    talk.go_on(Duration::from_secs(12)).await?;
    let flapped = talk.changes(direct);
    ensure(flapped == 0, || format!("data changed its way {flapped} times on a path that was there all the time"))?;
    let after = link.there();
    let (lost, packets) = (after.lost - before.lost, after.packets - before.packets);
    ensure(lost * 100 >= packets * 2, || format!("the link lost only {lost} packets of {packets}"))?;
    figures.note(format!("the link lost {lost} packets of {packets} one way"));
    talk.end(&mut stage, figures, Way::Direct).await
}

pub async fn small_mtu(figures: &mut Figures) -> Result<(), Fault> {
    let shape = Shape { mtu: Some(1280), ..Shape::CABLE };
    let (mut stage, a, link, b) = with_a_link(shape).await?;
    let mut talk = stage.talk(&a, &b).await?;
    talk.settle().await?;
    let too_large = link.there().too_large;
    ensure(too_large > 0, || "no packet was too large, so nothing was shown".into())?;
    figures.note(format!("{too_large} packets vanished"));
    talk.end(&mut stage, figures, Way::Direct).await
}

pub async fn relay_killed(figures: &mut Figures) -> Result<(), Fault> {
    let mut homes = Homes::new().await?;
    let mut talk = homes.talk(None).await?;
    talk.kill_relay(&mut homes.stage).await?;
    talk.go_on(2 * WHILE).await?;
    talk.end(&mut homes.stage, figures, Way::Direct).await
}

pub async fn relay_restarted(figures: &mut Figures) -> Result<(), Fault> {
    let (mut stage, a, b) = at_home(Nat::Symmetric, Nat::Symmetric).await?;
    let mut talk = stage.talk(&a, &b).await?;
    talk.go_on(WHILE).await?;
    let killed = now_ns();
    talk.kill_relay(&mut stage).await?;
    sleep(DOWN).await;
    stage.services.start().await?;
    let up = now_ns();
    let again = talk.way(Way::Relayed, up, HEALED).await?;
    figures.relayed_ms = Some(since(killed, again));
    talk.go_on(UP).await?;
    talk.end(&mut stage, figures, Way::Relayed).await
}

/// Checks that data arrives from a new source, and that none arrives from the old one. The lab began to change the
/// network at `before`, and the change is complete.
async fn arrives_from_elsewhere(talk: &mut Talk, before: u64, figures: &mut Figures) -> Result<(), Fault> {
    let changed = now_ns();
    // By this time, packets that were under way during the change have arrived.
    let over = changed + u64::try_from((4 * WAN).as_nanos()).unwrap_or_default();
    let until = Instant::now() + HEALED;
    let moved = loop {
        talk.go_on(Duration::from_millis(10)).await?;
        if let Some(moved) = talk.look(Traffic::moved) {
            break moved;
        }
        if Instant::now() >= until {
            let old = talk.look(|traffic| traffic.since(over)).direct;
            return Err(Fault::Not(format!(
                "nothing arrives from the new address or port, {HEALED:?} after the change, and {old} bytes from the old one"
            )));
        }
    };
    ensure(moved >= before, || "data came from the new address or port before it was there".into())?;
    figures.moved_ms = Some(since(changed, moved));
    let again = talk.way(Way::Direct, moved.max(over), HEALED).await?;
    figures.again_ms = Some(since(changed, again));
    talk.go_on(WHILE).await?;
    let rest = talk.look(|traffic| traffic.since(over));
    let old = rest.direct - rest.moved;
    ensure(old == 0, || format!("{old} bytes came from the old address or port after the change"))
}

pub async fn address_change(figures: &mut Figures) -> Result<(), Fault> {
    let mut homes = Homes::new().await?;
    let mut cafe = homes.stage.world.router(Nat::Home, Family::V4).await?;
    let mut talk = homes.talk(Some(&format!("ip saddr {}", addr(&cafe)?))).await?;
    let before = now_ns();
    homes.stage.world.move_to(&mut talk.a.machine, &mut cafe).await?;
    arrives_from_elsewhere(&mut talk, before, figures).await?;
    talk.end(&mut homes.stage, figures, Way::Direct).await
}

pub async fn nat_rebinding(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let (left, a) = stage.home("a", Nat::Home).await?;
    let b = stage.world.public("b", Family::V4).await?;
    let mut talk = stage.talk_with(&a, &b, Some(&format!("udp sport {REBOUND}"))).await?;
    talk.settle().await?;
    let socket = talk.a.sockets.iter().find(|socket| socket.is_ipv4());
    let port = socket.ok_or_else(|| Fault::Lab("a peer without a socket for IPv4".into()))?.port();
    let inside = a.addr()?;
    let before = now_ns();
    left.rebind(Rebound { inside, port, external: REBOUND }).await?;
    arrives_from_elsewhere(&mut talk, before, figures).await?;
    talk.end(&mut stage, figures, Way::Direct).await
}

pub async fn idle_mapping(figures: &mut Figures) -> Result<(), Fault> {
    let Homes { mut stage, left, right, a, b } = Homes::new().await?;
    for router in [&left, &right] {
        router.forget_after(FORGETS)?;
    }
    let (a, mut b) = (stage.peer("a", &a).await?, stage.peer("b", &b).await?);
    let ticket = b.online(ONLINE).await?;
    let mut talk = Talk::new(&mut stage, a, b, None).await?;
    talk.begin(&ticket).await?;
    talk.direct().await?;
    talk.pause().await?;
    sleep(IDLE).await;
    talk.began_ns = now_ns();
    talk.begin(&ticket).await?;
    talk.settle().await?;
    let relayed = talk.relayed_first();
    ensure(relayed.is_some_and(|bytes| bytes == 0), || {
        format!("after {IDLE:?} without data the first {} bytes came by the relay", relayed.unwrap_or_default())
    })?;
    talk.end(&mut stage, figures, Way::Direct).await
}
