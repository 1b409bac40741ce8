//! Relays, networks and peers that come late, or come back.

use std::time::Duration;

use tokio::time::sleep;

use super::at_home;
use crate::{
    lab::{
        fault::{Fault, ensure},
        figures::{Figures, since},
        nat::Nat,
        peer::{Command, Said},
        stage::{ONLINE, Stage, Talk},
        world::Family,
    },
    output::now_ns,
};

/// The delay of a relay, network or peer that comes late.
const LATER: Duration = Duration::from_secs(4);
/// Maximum time until a peer uses what came late. iroh tries a relay again after up to 10 s.
const NOTICED: Duration = Duration::from_secs(15);

fn is_online(said: &Said) -> bool {
    matches!(said, Said::Online { .. })
}

pub async fn relay_late(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::without_services(Family::V4).await?;
    let (_, a) = stage.home("a", Nat::Home).await?;
    let (_, b) = stage.home("b", Nat::Home).await?;
    let (a, mut b) = (stage.peer("a", &a).await?, stage.peer("b", &b).await?);
    sleep(LATER).await;
    ensure(!b.log()?.iter().any(is_online), || "it says that a relay knows it, and there is none".into())?;
    stage.services.start().await?;
    let there = now_ns();
    let ticket = b.online(NOTICED).await?;
    figures.online_ms = Some(since(there, now_ns()));
    let mut talk = Talk::new(&mut stage, a, b, None).await?;
    talk.begin(&ticket).await?;
    talk.end_direct(&mut stage, figures).await
}

pub async fn network_late(figures: &mut Figures) -> Result<(), Fault> {
    let (mut stage, a_machine, b) = at_home(Nat::Home, Nat::Home).await?;
    a_machine.set_link(false).await?;
    let (mut a, mut b) = (stage.peer("a", &a_machine).await?, stage.peer("b", &b).await?);
    let ticket = b.online(ONLINE).await?;
    sleep(LATER).await;
    ensure(!a.log()?.iter().any(is_online), || "it says that a relay knows it, and has no network".into())?;
    let mut talk = Talk::new(&mut stage, a, b, None).await?;
    a_machine.set_link(true).await?;
    let there = now_ns();
    let answered = talk.ask(&ticket, NOTICED, figures).await?;
    figures.answered_ms = Some(since(there, answered));
    talk.begin(&ticket).await?;
    talk.end_direct(&mut stage, figures).await
}

pub async fn peer_restarted(figures: &mut Figures) -> Result<(), Fault> {
    let (mut stage, a, b) = at_home(Nat::Home, Nat::Home).await?;
    let (_, elsewhere) = stage.home("c", Nat::Home).await?;
    let key = Some(rand::random());
    let (a, mut b) = (stage.peer("a", &a).await?, stage.peer_with("b", &b, key).await?);
    let ticket = b.online(ONLINE).await?;
    let mut first = Talk::new(&mut stage, a, b, None).await?;
    first.begin(&ticket).await?;
    first.settle().await?;

    // `b` is killed, so it sends no close. `a` does not know of that, and its transfer hangs.
    let Talk { mut a, b, .. } = first;
    a.forgive();
    b.kill().await?;
    let killed = now_ns();
    let mut again = stage.peer_with("b, restarted", &elsewhere, key).await?;
    again.online(ONLINE).await?;
    let mut second = Talk::new(&mut stage, a, again, None).await?;
    let answered = second.ask(&ticket, NOTICED, figures).await?;
    figures.answered_ms = Some(since(killed, answered));

    second.a.tell(&Command::Stop).await?;
    second.begin(&ticket).await?;
    second.end_direct(&mut stage, figures).await
}
