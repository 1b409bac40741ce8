//! Flows over QUIC: twolane's endpoint with its public API, and raw iroh.

use std::net::SocketAddr;

use bytes::Bytes;
use iroh::{
    EndpointAddr, RelayMode, TransportAddr,
    endpoint::{Connection, PortmapperConfig, QuicTransportConfig, presets},
};
use twolane::{Congestion, Limits, Ticket};

use super::flow::{Config, Kind};
use crate::speed::{Broken, bulk::PIECE};

const PROTOCOL: &str = "share/1";
/// Returns the congestion control for a value of `--ours`: one of twolane's by its name, or the default without a
/// part, such as `-company`.
pub fn congestion(name: &str) -> Result<Congestion, String> {
    match name.strip_prefix('-') {
        Some(part) => Congestion::unstable_without(part)
            .ok_or_else(|| format!("there is no part {part:?}: there are {}", Congestion::UNSTABLE_PARTS.join(", "))),
        None => name.parse().map_err(|error: twolane::ParseCongestionError| error.to_string()),
    }
}

#[derive(Debug)]
pub enum End {
    Ours(twolane::Endpoint),
    Raw(iroh::Endpoint),
}

impl End {
    pub async fn bind(config: &Config) -> Result<Self, Broken> {
        let at = SocketAddr::from((config.addr, 0));
        let transport = match config.kind {
            Kind::Ours => {
                let congestion = congestion(&config.ours).map_err(Broken::msg)?;
                let builder = twolane::Endpoint::builder().congestion(congestion);
                return Ok(Self::Ours(builder.offline().bind_addr(at).bind().await?));
            }
            Kind::Bbr3 => twolane::unstable_transport(&Limits::default(), &Congestion::Bbr3),
            _ => QuicTransportConfig::default(),
        };
        let builder = iroh::Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .portmapper_config(PortmapperConfig::Disabled)
            .clear_ip_transports()
            .bind_addr(at)?
            .alpns(vec![PROTOCOL.into()]);
        Ok(Self::Raw(builder.transport_config(transport).bind().await?))
    }

    /// Reads all data that comes until this end is dropped. Returns the name of this end.
    pub fn serve(&self) -> Result<String, Broken> {
        match self {
            Self::Ours(endpoint) => {
                endpoint.serve(PROTOCOL, |stream| async move {
                    let (_send, mut recv) = stream.split();
                    while let Ok(Some(_)) = recv.read_chunk(usize::MAX).await {}
                })?;
                Ok(endpoint.ticket().to_string())
            }
            Self::Raw(endpoint) => {
                let addrs = endpoint.bound_sockets().into_iter().map(TransportAddr::Ip);
                let addr = EndpointAddr::from_parts(endpoint.id(), addrs);
                let accepting = endpoint.clone();
                tokio::spawn(async move {
                    while let Some(incoming) = accepting.accept().await {
                        tokio::spawn(async move {
                            if let Ok(connection) = incoming.await {
                                read(connection).await;
                            }
                        });
                    }
                });
                let ticket = Ticket::from_addr(addr)?;
                Ok(ticket.to_string())
            }
        }
    }

    /// Writes on one stream without an end.
    pub async fn pour(&self, to: &str) -> Result<(), Broken> {
        let (to, piece): (Ticket, _) = (to.parse()?, Bytes::from(vec![0; PIECE]));
        match self {
            Self::Ours(endpoint) => {
                let (mut send, _recv) = endpoint.get_stream(to, PROTOCOL).await?.split();
                loop {
                    send.write_chunk(piece.clone()).await?;
                }
            }
            Self::Raw(endpoint) => {
                let connection = endpoint.connect(to.to_addr(), PROTOCOL.as_bytes()).await?;
                let mut send = connection.open_uni().await?;
                loop {
                    send.write_chunk(piece.clone()).await?;
                }
            }
        }
    }
}

async fn read(connection: Connection) {
    while let Ok(mut recv) = connection.accept_uni().await {
        while let Ok(Some(_)) = recv.read_chunk(usize::MAX).await {}
    }
}
