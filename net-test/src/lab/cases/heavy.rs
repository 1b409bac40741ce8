//! Large amounts of data on a slow link, outages during a transfer, and restarts under slow rules.

use std::time::Duration;

use tokio::time::sleep;
use twolane::{Limits, PublicKey, Ticket};

use crate::{
    lab::{
        actor::Actor,
        fault::{Fault, ensure},
        figures::{Figures, since},
        link::{Link, Shape},
        nat::Nat,
        peer::{Command, Config, ReadEnd, Said},
        world::{Family, Machine, Router, WAN, World},
    },
    output::now_ns,
    stream_tester::chaos::trials::outage,
};

/// The link's one-way delay. The round-trip time is 100 ms, including the router's way to the internet.
const DELAY: Duration = Duration::from_millis(50);
const REQUESTS: u64 = 100;
const RESPONSE: u64 = 1_000_000;
/// At this rate 100 MB take 80 s, and more with the overhead of packets.
const SLOW: u64 = 10_000_000;
/// The number of bulk streams. Together their windows exceed the bytes that a connection takes without an
/// acknowledgement.
const LANES: u64 = Limits::SEND_WINDOW / Limits::STREAM_WINDOW as u64 + 3;
pub(super) const QUICK: u64 = 40_000_000;
/// At this rate the bulk data of all streams takes 5 s.
const QUICKER: u64 = 120_000_000;
const DOWN: Duration = Duration::from_secs(10);
/// Maximum time to wait for a slow step. A longer wait fails the case.
const PATIENCE: Duration = Duration::from_secs(150);
const SOON: Duration = Duration::from_secs(20);
/// The time that the access rules take to decide about each of the first two instances.
const THINKING: Duration = Duration::from_secs(4);
const AFTERWARDS: Duration = Duration::from_secs(8);

/// A machine at home behind a slow link, and a public one. Neither has a relay.
pub(super) struct Distant {
    world: World,
    router: Router,
    pub(super) a: Machine,
    b: Actor,
    link: Link,
    /// The ticket of `b`. The next field is the configuration with which `b` is started.
    pub(super) ticket: String,
    b_config: Config,
}

impl Distant {
    async fn new(rate: u64, rules: &[Duration]) -> Result<Self, Fault> {
        let rules_ms = rules.iter().map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).collect();
        Self::with(rate, Config { rules_ms, ..Config::default() }).await
    }

    pub(super) async fn with(rate: u64, mut b_config: Config) -> Result<Self, Fault> {
        let mut world = World::new(Family::V4).await?;
        let mut router = world.router(Nat::Home, Family::V4).await?;
        let shape = Shape { delay: DELAY.saturating_sub(WAN), rate: Some(rate), ..Shape::CABLE };
        let (a, link) = world.distant_host(&mut router, "a", shape, 9).await?;
        let machine = world.public("b", Family::V4).await?;
        let b = Actor::start("b", &machine, &b_config).await?;
        let port = port(&b)?;
        b_config.port = Some(port);
        let key: PublicKey = b.id52.parse().map_err(|error| Fault::lab("the peer's key", error))?;
        let ticket = Ticket::new(key).with_addr((machine.addr()?, port).into()).to_string();
        Ok(Self { world, router, a, b, link, ticket, b_config })
    }

    /// Kills `b`, and starts it again at once at the same address.
    pub(super) async fn restart_b(mut self) -> Result<Self, Fault> {
        let machine = self.b.machine.clone();
        self.b.kill().await?;
        self.b = Actor::start("b, again", &machine, &self.b_config).await?;
        Ok(self)
    }

    pub(super) async fn end(self) -> Result<(), Fault> {
        self.b.end().await?;
        drop(self.link);
        self.world.end().await
    }
}

fn port(actor: &Actor) -> Result<u16, Fault> {
    let socket = actor.sockets.iter().find(|socket| socket.is_ipv4());
    Ok(socket.ok_or_else(|| Fault::Lab("a peer without a socket for IPv4".into()))?.port())
}

pub(super) async fn peer(name: &str, machine: &Machine, key: Option<[u8; 32]>) -> Result<Actor, Fault> {
    Actor::start(name, machine, &Config { key, ..Config::default() }).await
}

pub async fn many_responses(figures: &mut Figures) -> Result<(), Fault> {
    let distant = Distant::new(SLOW, &[]).await?;
    let mut a = peer("a", &distant.a, None).await?;
    a.ask(&distant.ticket, SOON).await?;
    let began = now_ns();
    let within_ms = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
    let many = Command::Many { peer: distant.ticket.clone(), requests: REQUESTS, bytes: RESPONSE, within_ms };
    a.tell(&many).await?;
    let answered = a.wait("the last response", PATIENCE + SOON, |said| match said {
        Said::Answered { whole, at_ns, first_error } => Some((*whole, *at_ns, first_error.clone())),
        _ => None,
    });
    let (whole, at_ns, first_error) = answered.await?;
    figures.answered_ms = Some(since(began, at_ns));
    if whole < REQUESTS {
        let error = first_error.unwrap_or_default();
        return Err(Fault::Wrong(format!("{whole} responses of {REQUESTS} are whole: {error}")));
    }
    a.end().await?;
    distant.end().await
}

pub async fn bulk_outage(figures: &mut Figures) -> Result<(), Fault> {
    let mut distant = Distant::new(QUICKER, &[]).await?;
    let mut a = peer("a", &distant.a, None).await?;
    a.tell(&Command::Bulk { peer: distant.ticket.clone(), lanes: LANES }).await?;
    a.wait("streams that are open", SOON, |said| matches!(said, Said::Opened).then_some(())).await?;
    // The cut ensures that no data is acknowledged.
    distant.router.cut(&distant.b.machine.addrs()).await?;
    a.tell(&Command::Begin).await?;
    a.wait("bulk that fills the connection", SOON, |said| matches!(said, Said::Full).then_some(())).await?;
    // By this time no writer makes progress any more.
    sleep(Duration::from_secs(1)).await;
    a.tell(&Command::FailOne).await?;
    sleep(DOWN).await;
    distant.router.heal().await?;
    a.tell(&Command::FinishBulk).await?;
    let healed = now_ns();
    for lane in 0..LANES {
        let (wrote, fault) = a
            .wait("the end of a writer", PATIENCE, |said| match said {
                Said::Wrote { lane: of, bytes, fault } if *of == lane => Some((*bytes, fault.clone())),
                _ => None,
            })
            .await?;
        let (bytes, intact, end, at_ns) = distant
            .b
            .wait("the end of a reader", PATIENCE, |said| match said {
                Said::Read { lane: of, bytes, intact, end, at_ns } if *of == lane => {
                    Some((*bytes, *intact, end.clone(), *at_ns))
                }
                _ => None,
            })
            .await?;
        let failed = ReadEnd::Failed { code: outage::CODE, text: outage::WORDS.to_owned(), offset: wrote };
        let expected = if lane == 0 { failed } else { ReadEnd::Finished };
        if fault.is_some() || !intact || bytes != wrote || end != expected {
            let words = format!("stream {lane}: {wrote} bytes and {expected:?} were to come");
            return Err(Fault::Wrong(format!("{words}, and {bytes} and {end:?} came; its writer was told {fault:?}")));
        }
        if lane == 0 {
            figures.answered_ms = Some(since(healed, at_ns));
        }
    }
    a.end().await?;
    distant.end().await
}

pub async fn killed_twice(figures: &mut Figures) -> Result<(), Fault> {
    let mut distant = Distant::new(QUICK, &[THINKING; 2]).await?;
    let key = Some(rand::random());
    for instance in 1..=2 {
        let mut a = peer("a", &distant.a, key).await?;
        let within_ms = u64::try_from(SOON.as_millis()).unwrap_or(u64::MAX);
        a.tell(&Command::Ask { peer: distant.ticket.clone(), within_ms }).await?;
        let mut asked = 0;
        let ruling = |said: &Said| {
            asked += usize::from(matches!(said, Said::Ruling));
            (asked == instance).then_some(())
        };
        distant.b.wait("rules that are asked", SOON, ruling).await?;
        a.kill().await?;
    }
    let began = now_ns();
    let mut a = peer("a", &distant.a, key).await?;
    let (tries, answered) = a.ask(&distant.ticket, SOON).await?;
    figures.answered_ms = Some(since(began, answered));
    figures.tries = Some(tries);
    // During this conversation the rules answer for the killed instances.
    a.tell(&Command::Talk { peer: distant.ticket.clone() }).await?;
    sleep(AFTERWARDS).await;
    let done = a.stop(SOON).await?;
    ensure(done.identical && done.requests > 0, || "what arrived is not what was sent".into())?;
    a.end().await?;
    distant.end().await
}

/// The number of restarts. The figure is the slowest one.
pub(super) const RESTARTS: usize = 3;

pub async fn killed_and_back(figures: &mut Figures) -> Result<(), Fault> {
    let config = Config { key: Some(rand::random()), ..Config::default() };
    let mut distant = Distant::with(QUICK, config).await?;
    let mut a = peer("a", &distant.a, None).await?;
    a.ask(&distant.ticket, SOON).await?;
    let mut slowest = 0.0_f64;
    for _ in 0..RESTARTS {
        // During this time all data that `a` has sent is acknowledged. `a` then notices nothing of the end of `b`.
        sleep(Duration::from_secs(1)).await;
        distant = distant.restart_b().await?;
        let back = now_ns();
        let (_, answered) = a.ask(&distant.ticket, SOON).await?;
        ensure(answered >= back, || "an answer of before the restart".into())?;
        slowest = slowest.max(since(back, answered));
    }
    figures.answered_ms = Some(slowest);
    a.end().await?;
    distant.end().await
}

/// The program that is killed has dialled. Its peer, which has accepted, asks it after the restart.
pub async fn dialler_killed_and_back(figures: &mut Figures) -> Result<(), Fault> {
    let mut distant = Distant::new(QUICK, &[]).await?;
    let mut config = Config { key: Some(rand::random()), ..Config::default() };
    let mut a = Actor::start("a", &distant.a, &config).await?;
    config.port = Some(port(&a)?);
    let mut slowest = 0.0_f64;
    for _ in 0..RESTARTS {
        a.ask(&distant.ticket, SOON).await?;
        // During this time all data that `b` has sent is acknowledged. `b` then notices nothing of the end of `a`.
        sleep(Duration::from_secs(1)).await;
        a.kill().await?;
        a = Actor::start("a, again", &distant.a, &config).await?;
        let back = now_ns();
        let (_, answered) = distant.b.ask(&a.id52, SOON).await?;
        ensure(answered >= back, || "an answer of before the restart".into())?;
        slowest = slowest.max(since(back, answered));
        // `b` has dialled the present connection, so `a` starts anew to dial the next one.
        a.end().await?;
        a = Actor::start("a, once more", &distant.a, &config).await?;
    }
    figures.answered_ms = Some(slowest);
    a.end().await?;
    distant.end().await
}
