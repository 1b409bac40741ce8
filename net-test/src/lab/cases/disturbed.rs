//! Networks that change while data moves. The program that sends and receives is to notice nothing but a stall.

use std::{net::IpAddr, time::Duration};

use tokio::time::sleep;

use crate::{
    lab::{
        fault::{Fault, ensure},
        figures::{Figures, since},
        link::Shape,
        nat::{Nat, Rebound},
        stage::{DIRECT, Stage, Talk, Way},
        world::{Family, Router},
    },
    output::now_ns,
};

const WHILE: Duration = Duration::from_secs(3);
/// Nothing that matters to data has changed.
const STALL: Duration = Duration::from_secs(1);
/// What a path that dies without a word may cost. Raw iroh: 15 s.
const CUT_STALL: Duration = Duration::from_secs(4);
/// When a path that is there again has to be used again. Raw iroh: up to 60 s.
const HEALED: Duration = Duration::from_secs(15);
/// For how long a relay that restarts is down, and what that may cost in all. Raw iroh: 7 to 14 s when it is down for 4 s.
const DOWN: Duration = Duration::from_secs(3);
const RESTART_STALL: Duration = Duration::from_secs(10);

/// Two homes and a conversation that goes directly.
async fn two_homes() -> Result<(Stage, Router, Router, Talk), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let (left, a) = stage.home("a", Nat::Home).await?;
    let (right, b) = stage.home("b", Nat::Home).await?;
    let mut talk = stage.talk(&a, &b).await?;
    talk.direct(DIRECT).await?;
    talk.go_on(WHILE).await?;
    Ok((stage, left, right, talk))
}

fn addr(router: &Router) -> Result<IpAddr, Fault> {
    router.wan.addrs().first().copied().ok_or_else(|| Fault::Lab("a router without an address".into()))
}

pub(super) async fn cut_and_healed(figures: &mut Figures) -> Result<(), Fault> {
    let (mut stage, left, right, mut talk) = two_homes().await?;
    let cut = now_ns();
    left.cut(&[addr(&right)?]).await?;
    right.cut(&[addr(&left)?]).await?;
    let relayed = talk.a.path(false, cut, HEALED).await?;
    figures.note(format!("relayed {:.0} ms after the cut", since(cut, relayed)));
    talk.go_on(WHILE).await?;
    left.heal().await?;
    right.heal().await?;
    let healed = now_ns();
    let again = talk.a.path(true, healed, HEALED).await?;
    figures.again_ms = Some(since(healed, again));
    talk.go_on(WHILE).await?;
    talk.end(&mut stage, figures, Way::Both, CUT_STALL).await?;
    stage.end().await
}

pub(super) async fn lossy(figures: &mut Figures) -> Result<(), Fault> {
    let shape =
        Shape { delay: Duration::from_millis(20), jitter: Duration::from_millis(20), loss: 0.05, ..Shape::CABLE };
    let mut stage = Stage::new(Family::V4).await?;
    let mut left = stage.world.router(Nat::Home, Family::V4).await?;
    let (a, link) = stage.world.distant_host(&mut left, "a", shape, 4).await?;
    let (_, b) = stage.home("b", Nat::Home).await?;
    let before = link.there();
    let mut talk = stage.talk(&a, &b).await?;
    talk.direct(DIRECT).await?;
    let settled = talk.changes()?;
    talk.go_on(Duration::from_secs(12)).await?;
    let flapped = talk.changes()? - settled;
    ensure(flapped == 0, || format!("data changed its way {flapped} times on a path that was there all the time"))?;
    let after = link.there();
    let (lost, packets) = (after.lost - before.lost, after.packets - before.packets);
    ensure(lost * 100 >= packets * 2, || format!("the link lost only {lost} packets of {packets}"))?;
    figures.note(format!("the link lost {lost} packets of {packets} one way"));
    talk.end(&mut stage, figures, Way::Direct, 2 * STALL).await?;
    stage.end().await
}

pub(super) async fn small_mtu(figures: &mut Figures) -> Result<(), Fault> {
    let shape = Shape { mtu: Some(1280), ..Shape::CABLE };
    let mut stage = Stage::new(Family::V4).await?;
    let mut left = stage.world.router(Nat::Home, Family::V4).await?;
    let (a, link) = stage.world.distant_host(&mut left, "a", shape, 4).await?;
    let (_, b) = stage.home("b", Nat::Home).await?;
    let mut talk = stage.talk(&a, &b).await?;
    talk.direct(DIRECT).await?;
    talk.go_on(WHILE).await?;
    let too_large = link.there().too_large;
    ensure(too_large > 0, || "no packet was too large, so nothing was shown".into())?;
    figures.note(format!("{too_large} packets vanished"));
    talk.end(&mut stage, figures, Way::Direct, STALL).await?;
    stage.end().await
}

pub(super) async fn relay_killed(figures: &mut Figures) -> Result<(), Fault> {
    let (mut stage, _left, _right, mut talk) = two_homes().await?;
    talk.kill_relay(&mut stage).await?;
    talk.go_on(2 * WHILE).await?;
    talk.end(&mut stage, figures, Way::Direct, STALL).await?;
    stage.end().await
}

pub(super) async fn relay_restarted(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let (_, a) = stage.home("a", Nat::Symmetric).await?;
    let (_, b) = stage.home("b", Nat::Symmetric).await?;
    let mut talk = stage.talk(&a, &b).await?;
    talk.stays_relayed(WHILE).await?;
    talk.kill_relay(&mut stage).await?;
    sleep(DOWN).await;
    stage.services.start().await?;
    talk.stays_relayed(RESTART_STALL).await?;
    talk.end(&mut stage, figures, Way::Relayed, RESTART_STALL).await?;
    stage.end().await
}

pub(super) async fn address_change(figures: &mut Figures) -> Result<(), Fault> {
    let (mut stage, _left, _right, mut talk) = two_homes().await?;
    let mut cafe = stage.world.router(Nat::Home, Family::V4).await?;
    let moved = now_ns();
    stage.world.move_to(&mut talk.a.machine, &mut cafe).await?;
    // The old path may be kept selected until it is known to be dead: what counts is where data goes.
    talk.go_on(HEALED).await?;
    let before = talk.a.machine.direct_bytes().await?;
    talk.go_on(WHILE).await?;
    let direct = talk.a.machine.direct_bytes().await? - before;
    // Half of what the transfer sends meanwhile.
    ensure(direct > 750_000, || format!("{HEALED:?} after the move only {direct} bytes went directly in {WHILE:?}"))?;
    if let Ok(again) = talk.a.path(true, moved, Duration::ZERO).await {
        figures.again_ms = Some(since(moved, again));
    }
    // The move takes a second or two, so little of it all goes over the relay.
    talk.end(&mut stage, figures, Way::Direct, CUT_STALL).await?;
    stage.end().await
}

pub(super) async fn nat_rebinding(figures: &mut Figures) -> Result<(), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let (left, a) = stage.home("a", Nat::Home).await?;
    let b = stage.world.public("b", Family::V4).await?;
    let mut talk = stage.talk(&a, &b).await?;
    talk.direct(DIRECT).await?;
    talk.go_on(WHILE).await?;
    let port = talk.a.sockets.iter().find(|socket| socket.is_ipv4()).map(|socket| socket.port());
    let (Some(inside), Some(port)) = (a.v4, port) else {
        return Err(Fault::Lab("a machine without an address".into()));
    };
    left.rebind(Rebound { inside, port, external: 40_001 }).await?;
    talk.go_on(2 * WHILE).await?;
    let before = talk.a.machine.direct_bytes().await?;
    talk.go_on(WHILE).await?;
    let direct = talk.a.machine.direct_bytes().await? - before;
    ensure(direct > 750_000, || format!("6 s after the rebinding only {direct} bytes went directly in {WHILE:?}"))?;
    talk.end(&mut stage, figures, Way::Direct, CUT_STALL).await?;
    stage.end().await
}
