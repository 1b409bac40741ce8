//! Error lanes that are not what they say.

use std::sync::Arc;

use iroh::endpoint::{Connection, RecvStream, SendStream};
use tokio::{task::JoinSet, time::timeout};

use super::attack;
use crate::stream_tester::hostile::{
    raid::{Going, PATIENCE, Pace, Raid, Trouble, read_exactly, soon},
    tally,
    victim::ECHO,
    wire,
};

/// Error lanes a second; see `streams::FLOOD`.
const FLOOD: u32 = 1_000;
/// The same with 16 kB of records behind them: 5 MB a second.
const HEAVY: u32 = 300;
/// Details of a record in a flood of warnings, in bytes. The bound is 61,440.
const DETAILS: usize = 60_000;

type Running = std::pin::Pin<Box<dyn Future<Output = Trouble> + Send>>;

/// Error lanes that name lanes which are not theirs to name: that of another error lane, an error lane, a unidirectional
/// stream, one that the endpoint would open, one that has ended, and the largest number there is.
pub(in super::super) fn forged_pairings(raid: Arc<Raid>) -> Running {
    attack(async move {
        let (connection, _control) = raid.greet(&raid.peer().await?).await?;
        let (mut send, mut recv) = echo(&connection).await?;
        let data_lane: u64 = send.id().into();
        // The one error lane that this stream may have.
        let (mut first, _) = connection.open_bi().await?;
        first.write_all(&[wire::error_lane(data_lane), wire::warning(0)].concat()).await?;
        raid.is_served(&connection).await?;
        raid.ready.cancel();
        let ended = data_lane + 8;
        let names = [data_lane, u64::from(first.id()), 2, 1, ended, wire::MAX, 3, wire::MAX - 3];
        let flooding = raid.flood(&connection, FLOOD, move |n| {
            // In turn; each with a fatal record, which would end whatever it were paired with.
            let name = names[usize::try_from(n).unwrap_or_default() % names.len()];
            let fatal = wire::block(&[&[1, 7, 0], &wire::block(b"forged")[..], &[0]].concat());
            [wire::error_lane(name), fatal].concat()
        });
        let using = async {
            let mut pace = Pace::per_second(100);
            loop {
                pace.turn().await;
                send.write_all(b"a").await?;
                soon(timeout(PATIENCE, read_exactly(&mut recv, b"a")).await, "the stream that was named broke")??;
                raid.tally.one("served_named");
            }
        };
        let used: Going<()> = using_while(flooding, using).await;
        Err(used.err().unwrap_or_else(|| Trouble::Wrong("the flood ended".to_owned())))
    })
}

/// Error lanes for lanes that never were, with records behind them.
pub(in super::super) fn orphans(raid: Arc<Raid>) -> Running {
    attack(async move {
        let (connection, _control) = raid.greet(&raid.peer().await?).await?;
        raid.ready.cancel();
        let records = wire::warning(16_000);
        loop {
            let bytes = |n: u64| [wire::error_lane(4_000_000 + 4 * n), records.clone()].concat();
            raid.flood(&connection, HEAVY, bytes).await?;
        }
    })
}

/// Records that announce 2^62 - 1 bytes.
pub(in super::super) fn oversize_record(raid: Arc<Raid>) -> Running {
    attack(async move {
        let (connection, _control) = raid.greet(&raid.peer().await?).await?;
        raid.ready.cancel();
        let (mut pace, mut under_way, mut n) = (Pace::per_second(HEAVY), JoinSet::new(), 0u64);
        loop {
            pace.turn().await;
            n += 1;
            if n % 100 == 0 {
                raid.is_served(&connection).await?;
            }
            let (data, mut recv) = soon(timeout(PATIENCE, echo(&connection)).await, "a stream was not served")??;
            let (mut send, _) = soon(timeout(PATIENCE, connection.open_bi()).await, "no lane was free")??;
            send.write_all(&[wire::error_lane(data.id().into()), wire::OVERSIZE.to_vec()].concat()).await?;
            let raid = Arc::clone(&raid);
            under_way.spawn(async move {
                if let Ok(Ok(Some(code))) = timeout(PATIENCE, send.stopped()).await {
                    raid.tally.one(tally::lane(code.into_inner()));
                }
                // What the error lane has to say can no longer be known: the data lane ends with it.
                if let Ok(Err(_)) = timeout(PATIENCE, recv.read_chunk(1)).await {
                    raid.tally.one("data_lane_ended");
                }
                drop(data);
            });
            while under_way.try_join_next().is_some() {}
        }
    })
}

/// Warnings that nobody reads, as many as get through.
pub(in super::super) fn warnings(raid: Arc<Raid>) -> Running {
    attack(async move {
        let (connection, _control) = raid.greet(&raid.peer().await?).await?;
        let (mut data, mut recv) = echo(&connection).await?;
        let (mut errors, _) = connection.open_bi().await?;
        errors.write_all(&wire::error_lane(data.id().into())).await?;
        raid.ready.cancel();
        // One large one, and twenty small ones.
        let bunch = [wire::warning(DETAILS), wire::warning(16).repeat(20)].concat();
        let mut pace = Pace::per_second(200);
        loop {
            pace.turn().await;
            soon(timeout(PATIENCE, errors.write_all(&bunch)).await, "the error lane stands still")??;
            raid.tally.add("bytes", bunch.len() as u64);
            // They end nothing.
            data.write_all(b"a").await?;
            soon(timeout(PATIENCE, read_exactly(&mut recv, b"a")).await, "the data lane stands still")??;
            raid.tally.one("served");
        }
    })
}

/// A stream that is served, with its answer read.
async fn echo(connection: &Connection) -> Going<(SendStream, RecvStream)> {
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(&wire::header(ECHO)).await?;
    read_exactly(&mut recv, &[0]).await?;
    Ok((send, recv))
}

/// Both until one of them is in trouble.
async fn using_while(one: impl Future<Output = Going<()>>, other: impl Future<Output = Going<()>>) -> Going<()> {
    tokio::try_join!(one, other).map(|_| ())
}
