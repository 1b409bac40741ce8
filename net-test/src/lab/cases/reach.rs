//! Networks in which a direct path is there to be found.

use std::time::Duration;

use crate::{
    lab::{
        fault::{Fault, ensure},
        figures::{Figures, since},
        nat::Nat,
        stage::{DIRECT, ONLINE, Stage, Talk, Way},
        world::{Family, Machine, World},
    },
    output::now_ns,
};

/// How long data moves on the direct path, at 0.5 MB/s.
const WHILE: Duration = Duration::from_secs(3);
/// Nothing disturbs these networks. A change of the path may cost a round trip or two; what is more than this is seen by
/// people.
const STALL: Duration = Duration::from_secs(1);

/// Two machines that know each other by key and relay; the data's path becomes direct.
async fn becomes_direct(mut stage: Stage, a: &Machine, b: &Machine, figures: &mut Figures) -> Result<(), Fault> {
    let mut talk = stage.talk(a, b).await?;
    talk.direct(DIRECT).await?;
    talk.go_on(WHILE).await?;
    talk.end(&mut stage, figures, Way::Direct, STALL).await?;
    stage.end().await
}

pub(super) async fn same_network(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let (mut router, a) = stage.home("a", Nat::Home).await?;
    let b = stage.world.host(&mut router, "b", Family::V4).await?;
    becomes_direct(stage, &a, &b, figures).await
}

pub(super) async fn local_only(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::without_services(Family::V4).await?;
    let (mut router, a) = stage.home("a", Nat::Home).await?;
    let b = stage.world.host(&mut router, "b", Family::V4).await?;
    let (a, b) = (Stage::local_peer("a", &a).await?, Stage::local_peer("b", &b).await?);
    let key = b.id52.clone();
    let mut talk = Talk::begin(&mut stage, a, b, key).await?;
    talk.direct(DIRECT).await?;
    talk.go_on(WHILE).await?;
    talk.end(&mut stage, figures, Way::Direct, STALL).await?;
    stage.end().await
}

pub(super) async fn one_home_nat(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let (_, a) = stage.home("a", Nat::Home).await?;
    let b = stage.world.public("b", Family::V4).await?;
    becomes_direct(stage, &a, &b, figures).await
}

pub(super) async fn two_home_nats(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let (_, a) = stage.home("a", Nat::Home).await?;
    let (_, b) = stage.home("b", Nat::Home).await?;
    let mut talk = stage.talk(&a, &b).await?;
    talk.started_relayed().await?;
    talk.direct(DIRECT).await?;
    talk.go_on(WHILE).await?;
    ensure(talk.changes()? == 1, || "data changed its way more than once".into())?;
    talk.end(&mut stage, figures, Way::Direct, STALL).await?;
    stage.end().await
}

pub(super) async fn by_key_alone(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let (_, a) = stage.home("a", Nat::Home).await?;
    let (_, b) = stage.home("b", Nat::Home).await?;
    let (mut a, mut b) = (stage.peer("a", &a).await?, stage.peer("b", &b).await?);
    b.online(ONLINE).await?;
    let (key, began) = (b.id52.clone(), now_ns());
    // It is published when the relay knows it, and found a little later.
    let (tries, answered) = a.ask(&key, DIRECT).await?;
    figures.ttfb_ms = Some(since(began, answered));
    figures.note(format!("found at try {tries}"));
    let mut talk = Talk::begin(&mut stage, a, b, key).await?;
    talk.direct(DIRECT).await?;
    talk.go_on(WHILE).await?;
    talk.end(&mut stage, figures, Way::Direct, STALL).await?;
    stage.end().await
}

pub(super) async fn carrier_nat(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let a = behind_a_carrier(&mut stage.world).await?;
    let (_, b) = stage.home("b", Nat::Home).await?;
    becomes_direct(stage, &a, &b, figures).await
}

async fn behind_a_carrier(world: &mut World) -> Result<Machine, Fault> {
    let mut carrier = world.carrier(Nat::Home).await?;
    let mut home = world.router_behind(&mut carrier, Nat::Home).await?;
    world.host(&mut home, "a", Family::V4).await
}

pub(super) async fn ipv6_only(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V6).await?;
    let (_, a) = stage.home_with("a", Nat::Firewall, Family::V6).await?;
    let (_, b) = stage.home_with("b", Nat::Firewall, Family::V6).await?;
    becomes_direct(stage, &a, &b, figures).await
}

pub(super) async fn symmetric_to_public(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let (_, a) = stage.home("a", Nat::Symmetric).await?;
    let b = stage.world.public("b", Family::V4).await?;
    becomes_direct(stage, &a, &b, figures).await
}
