//! Networks without a direct path: data goes over the relay, without trouble.

use std::time::Duration;

use tokio::time::sleep;

use super::{at_home, heavy::RESTARTS, home_and_public, reach};
use crate::{
    lab::{
        actor::Actor,
        counters::Counters,
        fault::{Fault, ensure},
        figures::{Figures, since},
        nat::{self, Nat},
        peer::Config,
        stage::{ONLINE, Stage, Talk},
        tools,
        traffic::Way,
        world::{Family, Machine},
    },
    output::now_ns,
};

/// The time for which data has to stay on the relay. It is long enough for iroh's second attempt to get through the
/// NATs, after 5 s.
const WHILE: Duration = Duration::from_secs(8);

/// Checks that the data's path stays relayed between two machines that know each other by key and relay.
async fn stays_relayed((mut stage, a, b): (Stage, Machine, Machine), figures: &mut Figures) -> Result<(), Fault> {
    let mut talk = stage.talk(&a, &b).await?;
    talk.go_on(WHILE).await?;
    talk.end(&mut stage, figures, Way::Relayed).await
}

pub async fn symmetric_one_side(figures: &mut Figures) -> Result<(), Fault> {
    stays_relayed(at_home(Nat::Symmetric, Nat::Home).await?, figures).await
}

pub async fn symmetric_both(figures: &mut Figures) -> Result<(), Fault> {
    stays_relayed(at_home(Nat::Symmetric, Nat::Symmetric).await?, figures).await
}

pub async fn udp_blocked(figures: &mut Figures) -> Result<(), Fault> {
    stays_relayed(home_and_public(Nat::NoUdp).await?, figures).await
}

pub async fn ipv4_to_ipv6(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::Dual).await?;
    let (_, a) = stage.home_with("a", Nat::Home, Family::V4).await?;
    let (_, b) = stage.home_with("b", Nat::Firewall, Family::V6).await?;
    stays_relayed((stage, a, b), figures).await
}

pub async fn symmetric_carrier(figures: &mut Figures) -> Result<(), Fault> {
    stays_relayed(reach::carrier_and_home(Nat::Symmetric).await?, figures).await
}

pub async fn no_hairpin(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let (a, b) = reach::neighbours(&mut stage.world, Nat::Home).await?;
    stays_relayed((stage, a, b), figures).await
}

/// A peer that must not show its address, beside another one on its own network: the two could find each other there,
/// and reach each other directly.
pub async fn hidden(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let (mut router, a_machine) = stage.home("a", Nat::Home).await?;
    let b_machine = stage.world.host(&mut router, "b", Family::V4).await?;
    tools::nft(&a_machine.netns, &nat::leaks(&stage.services.machine.addrs())).await?;
    let leaks = Counters::open(&a_machine.netns)?;
    // Multicast is asked for, and stays off.
    let config = Config { relay_only: true, mdns: true, reach: stage.services.reach(&a_machine), ..Config::default() };
    let a = Actor::start("a", &a_machine, &config).await?;
    let config = Config { mdns: true, reach: stage.services.reach(&b_machine), ..Config::default() };
    let mut b = Actor::start("b", &b_machine, &config).await?;
    let ticket = b.online(ONLINE).await?;
    let mut talk = Talk::new(&mut stage, a, b, None).await?;
    talk.begin(&ticket).await?;
    talk.go_on(WHILE).await?;
    talk.end(&mut stage, figures, Way::Relayed).await?;
    let leaked = leaks.read()?.get("leaked").copied();
    ensure(leaked == Some(0), || format!("of datagrams {leaked:?} bytes have left the machine"))
}

/// Kills and restarts a peer that is reached only over the relay. The restarted peer has to connect to the relay
/// first.
pub async fn killed_and_back(figures: &mut Figures) -> Result<(), Fault> {
    let (stage, a, b_machine) = at_home(Nat::Symmetric, Nat::Symmetric).await?;
    let key = Some(rand::random());
    let (mut a, mut b) = (stage.peer("a", &a).await?, stage.peer_with("b", &b_machine, key).await?);
    let ticket = b.online(ONLINE).await?;
    a.ask(&ticket, ONLINE).await?;
    let mut slowest = 0.0_f64;
    for _ in 0..RESTARTS {
        // During this time all data that `a` has sent is acknowledged. `a` then notices nothing of the end of `b`.
        sleep(Duration::from_secs(1)).await;
        b.kill().await?;
        b = stage.peer_with("b, again", &b_machine, key).await?;
        let back = now_ns();
        let (_, answered) = a.ask(&ticket, ONLINE).await?;
        ensure(answered >= back, || "an answer of before the restart".into())?;
        slowest = slowest.max(since(back, answered));
    }
    figures.answered_ms = Some(slowest);
    a.end().await?;
    b.end().await
}
