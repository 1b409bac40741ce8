//! Networks without a direct path: data goes over the relay, and goes well.

use std::time::Duration;

use super::{at_home, home_and_public, reach};
use crate::lab::{
    fault::Fault,
    figures::Figures,
    nat::Nat,
    stage::Stage,
    traffic::Way,
    world::{Family, Machine},
};

/// Long enough for iroh's second attempt to get through the NATs, after 5 s.
const WHILE: Duration = Duration::from_secs(8);

/// Two machines that know each other by key and relay; the data's path stays relayed.
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
