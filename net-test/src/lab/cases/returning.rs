//! Peers that come back: how many round trips their first answer takes.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    at_home,
    heavy::{Distant, QUICK, peer},
};
use crate::lab::{
    actor::CameBack,
    fault::{Fault, ensure},
    figures::Figures,
    nat::Nat,
    peer::Config,
    stage::ONLINE,
};

/// Maximum times until the first answer, in round trips. A handshake and a request are two, and 0-RTT saves one. Raw
/// iroh 1.4 took 2.24 and 1.34 over 100 ms.
const NEW: f64 = 2.1;
const BACK: f64 = 1.4;
/// The same for a peer whose first packets are dropped, because the other peer was restarted.
const DROPPED: f64 = 2.3;
/// The number of connections to the same instance of the other peer. The first is the one of a new peer.
const ROUNDS: u64 = 6;
/// Maximum time for all of them.
const PATIENCE: Duration = Duration::from_secs(40);

pub async fn comes_back(figures: &mut Figures) -> Result<(), Fault> {
    let config = Config { key: Some(rand::random()), ..Config::default() };
    let mut distant = Distant::with(QUICK, config).await?;
    let mut a = peer("a", &distant.a, None).await?;
    let same = a.come_back(&distant.ticket, ROUNDS, PATIENCE).await?;
    distant = distant.restart_b().await?;
    let restarted = a.come_back(&distant.ticket, 2, PATIENCE).await?;
    judge(&same, &restarted, figures)?;
    a.end().await?;
    distant.end().await
}

pub async fn comes_back_relayed(figures: &mut Figures) -> Result<(), Fault> {
    let (stage, a, b_machine) = at_home(Nat::Symmetric, Nat::Symmetric).await?;
    let key = Some(rand::random());
    let (mut a, mut b) = (stage.peer("a", &a).await?, stage.peer_with("b", &b_machine, key).await?);
    let ticket = b.online(ONLINE).await?;
    a.online(ONLINE).await?;
    let same = a.come_back(&ticket, ROUNDS, PATIENCE).await?;
    b.kill().await?;
    let mut b = stage.peer_with("b, again", &b_machine, key).await?;
    b.online(ONLINE).await?;
    // The relay knows the new instance, and the old one no more.
    sleep(Duration::from_secs(1)).await;
    let restarted = a.come_back(&ticket, 2, PATIENCE).await?;
    judge(&same, &restarted, figures)?;
    a.end().await?;
    b.end().await
}

/// Judges connections to one instance, and later ones to the next instance.
fn judge(same: &CameBack, restarted: &CameBack, figures: &mut Figures) -> Result<(), Fault> {
    let (first, second) = (trips(&same.rounds), trips(&restarted.rounds));
    let [new, back @ ..] = &first[..] else { return Err(Fault::Lab("no round".into())) };
    let [dropped, again] = second[..] else { return Err(Fault::Lab("no two rounds".into())) };
    let slowest = back.iter().copied().fold(again, f64::max);
    figures.note(format!("round trips: new {new:.2}, back at most {slowest:.2}, dropped {dropped:.2}"));
    // Every connection but the first resumes a session, and the first one to the new instance is refused.
    let (early, flights) = (restarted.early, ROUNDS - 1 + 2);
    ensure(early == flights, || format!("{early} requests of {flights} were sent early"))?;
    let refused = [same.rejected, restarted.rejected];
    ensure(refused == [0, 1], || {
        format!("early requests were dropped {refused:?} times, before the restart and in all")
    })?;
    for (what, seen, bound) in [("new", *new, NEW), ("back", slowest, BACK), ("dropped", dropped, DROPPED)] {
        if seen > bound {
            return Err(Fault::Slow(format!("{what}: {seen:.2} round trips, and {bound} are allowed")));
        }
    }
    Ok(())
}

/// Returns the round trips of the first request on each connection. The quickest second request is one round trip.
fn trips(rounds: &[[f64; 2]]) -> Vec<f64> {
    let round_trip = rounds.iter().map(|[_, second]| *second).fold(f64::INFINITY, f64::min);
    rounds.iter().map(|[first, _]| first / round_trip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came_back(rounds: &[[f64; 2]], early: u64, rejected: u64) -> CameBack {
        CameBack { rounds: rounds.to_vec(), early, rejected }
    }

    fn judged(new: f64, back: f64, dropped: f64, (early, rejected): (u64, u64)) -> Result<(), Fault> {
        let mut same = vec![[new * 100.0, 110.0]];
        same.resize(ROUNDS as usize, [back * 100.0, 100.0]);
        let restarted = came_back(&[[dropped * 100.0, 100.0], [105.0, 100.0]], early, rejected);
        judge(&came_back(&same, ROUNDS - 1, 0), &restarted, &mut Figures::default())
    }

    #[test]
    fn every_bound_is_checked_and_so_is_what_was_sent_early() {
        assert_eq!(judged(2.05, 1.1, 2.2, (7, 1)), Ok(()));
        for slow in [judged(2.2, 1.1, 2.2, (7, 1)), judged(2.0, 1.5, 2.2, (7, 1)), judged(2.0, 1.1, 2.4, (7, 1))] {
            assert!(matches!(slow, Err(Fault::Slow(_))), "{slow:?}");
        }
        for wrong in [judged(2.0, 1.1, 2.2, (6, 1)), judged(2.0, 1.1, 2.2, (7, 0))] {
            assert!(matches!(wrong, Err(Fault::Not(_))), "{wrong:?}");
        }
    }
}
