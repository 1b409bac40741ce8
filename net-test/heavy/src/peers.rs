//! The peers with which twolane is compared.

use twolane_test::speed::{Broken, groups::Bench, half, ours::Ours, program::Rows, side::Side};

use crate::{
    pea::{Pea, noise::Noise, tls::Tls},
    rust_libp2p::{Lazy, Libp2p, Requests, Streams},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Peer {
    /// rust-libp2p over QUIC: a stream for each request, by libp2p-stream
    Libp2p,
    /// The same, with its behaviour for requests
    Libp2pRequests,
    /// The same, with a protocol negotiation that waits for no answer
    Libp2pLazy,
    /// pea2pea over TCP, with the Noise handshake and transport of snow
    Pea2peaNoise,
    /// pea2pea over TCP, with TLS 1.3
    Pea2peaTls,
}

impl Peer {
    /// All peers, in the order in which they are measured.
    pub(crate) const ALL: [Self; 5] =
        [Self::Libp2p, Self::Libp2pRequests, Self::Libp2pLazy, Self::Pea2peaNoise, Self::Pea2peaTls];

    pub(crate) fn called(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|peer| peer.name() == name)
    }

    /// Returns the name in the rows.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Libp2p => Libp2p::<Streams>::NAME,
            Self::Libp2pRequests => Libp2p::<Requests>::NAME,
            Self::Libp2pLazy => Libp2p::<Lazy>::NAME,
            Self::Pea2peaNoise => Pea::<Noise>::NAME,
            Self::Pea2peaTls => Pea::<Tls>::NAME,
        }
    }

    pub(crate) fn settings(self) -> String {
        match self {
            Self::Libp2p => Libp2p::<Streams>::settings(),
            Self::Libp2pRequests => Libp2p::<Requests>::settings(),
            Self::Libp2pLazy => Libp2p::<Lazy>::settings(),
            Self::Pea2peaNoise => Pea::<Noise>::settings(),
            Self::Pea2peaTls => Pea::<Tls>::settings(),
        }
    }

    pub(crate) async fn serve(self) -> Result<(), Broken> {
        match self {
            Self::Libp2p => half::obey::<Libp2p<Streams>>().await,
            Self::Libp2pRequests => half::obey::<Libp2p<Requests>>().await,
            Self::Libp2pLazy => half::obey::<Libp2p<Lazy>>().await,
            Self::Pea2peaNoise => half::obey::<Pea<Noise>>().await,
            Self::Pea2peaTls => half::obey::<Pea<Tls>>().await,
        }
    }

    pub(crate) async fn measure(self, rounds: usize, rows: &mut Rows) -> Result<(), Broken> {
        match self {
            Self::Libp2p => {
                let bench = Bench::<Ours, Libp2p<Streams>>::start(rounds).await?;
                let client = bench.theirs.client.clone();
                common(bench, rows).await?;
                let (sent, again) = client.requests();
                rows.note(self.name(), format!("{again} of its {sent} requests were sent again, within their time"));
                Ok(())
            }
            Self::Libp2pRequests => common(Bench::<Ours, Libp2p<Requests>>::start(rounds).await?, rows).await,
            Self::Libp2pLazy => common(Bench::<Ours, Libp2p<Lazy>>::start(rounds).await?, rows).await,
            Self::Pea2peaNoise => common(Bench::<Ours, Pea<Noise>>::start(rounds).await?, rows).await,
            Self::Pea2peaTls => common(Bench::<Ours, Pea<Tls>>::start(rounds).await?, rows).await,
        }
    }
}

pub(crate) fn help() -> String {
    let mut text = String::from("Settings:\n");
    for peer in Peer::ALL {
        text.push_str(&format!("  {}: {}\n", peer.name(), peer.settings()));
    }
    text
}

async fn common<B: Side>(bench: Bench<Ours, B>, rows: &mut Rows) -> Result<(), Broken> {
    bench.common(&mut |row| rows.add(row)).await?;
    bench.close().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::ValueEnum;
    use twolane_test::speed::{
        bulk::Load,
        side::Service,
        work::{bulk, requests},
    };

    use super::*;

    /// Does the work of a measurement. Answers are compared with requests, and both ends hash the data.
    async fn works<S: Side>() {
        let (_server, address) = S::serve().await.unwrap();
        let client = S::client(&address).await.unwrap();
        for service in [Service::Echo, Service::Bulk] {
            client.connect(service).await.unwrap();
        }
        for (up, down) in [(0, 0), (1, 100_000), (5_000_000, 0), (1_000_000, 3_000_000)] {
            bulk(&client, 1, Load { up, down, check: true }).await.unwrap();
        }
        for in_flight in [1, 16, 64] {
            let pace = requests(&client, 64, in_flight, Duration::from_millis(100)).await.unwrap();
            assert!(pace.rate > 0.0);
        }
        client.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn streams_of_libp2p_work() {
        works::<Libp2p<Streams>>().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn requests_of_libp2p_work() {
        works::<Libp2p<Requests>>().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn requests_of_libp2p_that_negotiate_lazily_work() {
        works::<Libp2p<Lazy>>().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn pea2pea_with_noise_works() {
        works::<Pea<Noise>>().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn pea2pea_with_tls_works() {
        works::<Pea<Tls>>().await;
    }

    #[test]
    fn everyone_has_a_name_of_its_own() {
        for peer in Peer::value_variants() {
            assert_eq!(Peer::called(peer.name()), Some(*peer));
            assert_ne!(peer.name(), Ours::NAME);
        }
        assert_eq!(Peer::value_variants().len(), Peer::ALL.len());
    }
}
