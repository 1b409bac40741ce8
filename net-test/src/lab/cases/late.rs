//! Relays, networks and peers that come later, or again.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    lab::{
        fault::{Fault, ensure},
        figures::{Figures, since},
        nat::Nat,
        peer::{Command, Said},
        stage::{DIRECT, ONLINE, Stage, Talk, Way},
        world::Family,
    },
    output::now_ns,
};

const WHILE: Duration = Duration::from_secs(3);
const STALL: Duration = Duration::from_secs(1);
/// For how long what comes later is not there.
const LATER: Duration = Duration::from_secs(4);
/// How long it may take to be used once it is there. A relay is tried again after up to 10 s by iroh.
const NOTICED: Duration = Duration::from_secs(15);

pub(super) async fn relay_late(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::without_services(Family::V4).await?;
    let (_, a) = stage.home("a", Nat::Home).await?;
    let (_, b) = stage.home("b", Nat::Home).await?;
    let (a, mut b) = (stage.peer("a", &a).await?, stage.peer("b", &b).await?);
    sleep(LATER).await;
    let early = b.log()?.iter().any(|said| matches!(said, Said::Online { .. }));
    ensure(!early, || "it says that a relay knows it, and there is none".into())?;
    stage.services.start().await?;
    let there = now_ns();
    let ticket = b.online(NOTICED).await?;
    figures.note(format!("online {:.0} ms after the relay came up", since(there, now_ns())));
    let mut talk = Talk::begin(&mut stage, a, b, ticket).await?;
    talk.direct(DIRECT).await?;
    talk.go_on(WHILE).await?;
    talk.end(&mut stage, figures, Way::Direct, STALL).await?;
    stage.end().await
}

pub(super) async fn network_late(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let (_, a_machine) = stage.home("a", Nat::Home).await?;
    let (_, b) = stage.home("b", Nat::Home).await?;
    a_machine.set_link(false).await?;
    let (mut a, mut b) = (stage.peer("a", &a_machine).await?, stage.peer("b", &b).await?);
    let ticket = b.online(ONLINE).await?;
    sleep(LATER).await;
    let early = a.log()?.iter().any(|said| matches!(said, Said::Online { .. }));
    ensure(!early, || "it says that a relay knows it, and has no network".into())?;
    a_machine.set_link(true).await?;
    let there = now_ns();
    // It asks at once, as programs do.
    let (tries, at) = a.ask(&ticket, NOTICED).await?;
    figures.note(format!("answered {:.0} ms after the cable was in, at try {tries}", since(there, at)));
    let mut talk = Talk::begin(&mut stage, a, b, ticket).await?;
    talk.go_on(WHILE).await?;
    talk.end(&mut stage, figures, Way::Direct, STALL).await?;
    stage.end().await
}

pub(super) async fn peer_restarted(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let (_, a) = stage.home("a", Nat::Home).await?;
    let (_, b) = stage.home("b", Nat::Home).await?;
    let (_, elsewhere) = stage.home("c", Nat::Home).await?;
    let key = Some(rand::random());
    let (a, mut b) = (stage.peer("a", &a).await?, stage.peer_with("b", &b, key).await?);
    let ticket = b.online(ONLINE).await?;
    let mut first = Talk::begin(&mut stage, a, b, ticket.clone()).await?;
    first.direct(DIRECT).await?;
    first.go_on(WHILE).await?;

    // It is switched off without a word: `a` does not know, and its transfer hangs.
    let Talk { mut a, b, .. } = first;
    a.forgive();
    b.kill().await?;
    let killed = now_ns();
    let mut again = stage.peer_with("b, restarted", &elsewhere, key).await?;
    again.online(ONLINE).await?;
    let (tries, at) = a.ask(&ticket, NOTICED).await?;
    figures.note(format!("answered {:.0} ms after it was switched off, at try {tries}", since(killed, at)));

    a.tell(&Command::Stop).await?;
    let mut second = Talk::begin(&mut stage, a, again, ticket).await?;
    second.direct(DIRECT).await?;
    second.go_on(WHILE).await?;
    second.end(&mut stage, figures, Way::Direct, STALL).await?;
    stage.end().await
}
