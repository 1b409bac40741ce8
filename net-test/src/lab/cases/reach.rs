//! Networks with a direct path, which the peers have to find.

use std::time::Duration;

use super::{at_home, home_and_public};
use crate::lab::{
    fault::{Fault, ensure},
    figures::Figures,
    nat::Nat,
    stage::{DIRECT, ONLINE, Stage, Talk, WHILE},
    traffic::Way,
    world::{Family, Machine, World},
};

type Net = (Stage, Machine, Machine);

/// Checks that the data's path becomes direct between two machines that know each other by key and relay.
async fn becomes_direct((mut stage, a, b): Net, figures: &mut Figures) -> Result<(), Fault> {
    let talk = stage.talk(&a, &b).await?;
    talk.end_direct(&mut stage, figures).await
}

/// Checks that the first data comes over the relay, and that the path then becomes direct.
async fn relayed_first((mut stage, a, b): Net, figures: &mut Figures) -> Result<(), Fault> {
    let mut talk = stage.talk(&a, &b).await?;
    talk.direct().await?;
    talk.started_relayed()?;
    talk.go_on(WHILE).await?;
    let changes = talk.changes(talk.began_ns);
    // There is no change if the relayed data ended before it filled a window. That there was relayed data is known
    // from the check above.
    ensure(changes <= 1, || format!("data changed its way {changes} times"))?;
    talk.end(&mut stage, figures, Way::Direct).await
}

pub async fn same_network(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let (mut router, a) = stage.home("a", Nat::Home).await?;
    let b = stage.world.host(&mut router, "b", Family::V4).await?;
    becomes_direct((stage, a, b), figures).await
}

pub async fn local_only(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::without_services(Family::V4).await?;
    let (mut router, a) = stage.home("a", Nat::Home).await?;
    let b = stage.world.host(&mut router, "b", Family::V4).await?;
    let (a, b) = (Stage::local_peer("a", &a).await?, Stage::local_peer("b", &b).await?);
    let key = b.id52.clone();
    let mut talk = Talk::new(&mut stage, a, b, None).await?;
    talk.begin(&key).await?;
    talk.end_direct(&mut stage, figures).await
}

pub async fn one_home_nat(figures: &mut Figures) -> Result<(), Fault> {
    becomes_direct(home_and_public(Nat::Home).await?, figures).await
}

pub async fn two_home_nats(figures: &mut Figures) -> Result<(), Fault> {
    relayed_first(at_home(Nat::Home, Nat::Home).await?, figures).await
}

pub async fn unequal_ways(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let mut near = stage.world.distant_router(Nat::Home, Family::V4, Duration::from_millis(10)).await?;
    let mut far = stage.world.distant_router(Nat::Home, Family::V4, Duration::from_millis(80)).await?;
    let a = stage.world.host(&mut near, "a", Family::V4).await?;
    let b = stage.world.host(&mut far, "b", Family::V4).await?;
    relayed_first((stage, a, b), figures).await
}

pub async fn random_ports(figures: &mut Figures) -> Result<(), Fault> {
    relayed_first(at_home(Nat::RandomPorts, Nat::RandomPorts).await?, figures).await
}

/// Creates two homes behind one carrier.
pub async fn neighbours(world: &mut World, carrier: Nat) -> Result<(Machine, Machine), Fault> {
    let mut carrier = world.carrier(carrier).await?;
    let mut left = world.router_behind(&mut carrier, Nat::Home).await?;
    let mut right = world.router_behind(&mut carrier, Nat::Home).await?;
    Ok((world.host(&mut left, "a", Family::V4).await?, world.host(&mut right, "b", Family::V4).await?))
}

pub async fn hairpin(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let (a, b) = neighbours(&mut stage.world, Nat::Hairpin).await?;
    becomes_direct((stage, a, b), figures).await
}

pub async fn by_key_alone(figures: &mut Figures) -> Result<(), Fault> {
    let (mut stage, a, b) = at_home(Nat::Home, Nat::Home).await?;
    let (a, mut b) = (stage.peer("a", &a).await?, stage.peer("b", &b).await?);
    b.online(ONLINE).await?;
    let key = b.id52.clone();
    let mut talk = Talk::new(&mut stage, a, b, None).await?;
    // The key is published when the relay knows the peer, and can be found shortly after that.
    talk.ask(&key, DIRECT, figures).await?;
    talk.begin(&key).await?;
    talk.end_direct(&mut stage, figures).await
}

pub async fn carrier_nat(figures: &mut Figures) -> Result<(), Fault> {
    becomes_direct(carrier_and_home(Nat::Home).await?, figures).await
}

/// Creates a machine at home behind a carrier that translates addresses again, and a machine at another home.
pub async fn carrier_and_home(carrier: Nat) -> Result<Net, Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let mut carrier = stage.world.carrier(carrier).await?;
    let mut home = stage.world.router_behind(&mut carrier, Nat::Home).await?;
    let a = stage.world.host(&mut home, "a", Family::V4).await?;
    let (_, b) = stage.home("b", Nat::Home).await?;
    Ok((stage, a, b))
}

pub async fn ipv6_only(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V6).await?;
    let (_, a) = stage.home_with("a", Nat::Firewall, Family::V6).await?;
    let (_, b) = stage.home_with("b", Nat::Firewall, Family::V6).await?;
    becomes_direct((stage, a, b), figures).await
}

pub async fn symmetric_to_public(figures: &mut Figures) -> Result<(), Fault> {
    becomes_direct(home_and_public(Nat::Symmetric).await?, figures).await
}
