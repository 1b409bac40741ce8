//! Flows over QUIC: twolane's endpoint by its public API, and raw iroh.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use iroh::{
    EndpointAddr, RelayMode, TransportAddr,
    endpoint::{Connection, ControllerFactory, PortmapperConfig, QuicTransportConfig, VarInt, presets},
};
use noq_proto::congestion::{Bbr3Config, CubicConfig};
use twolane::{Limits, Ticket};

use super::flow::{Config, Kind};
use crate::speed::{Broken, bulk::PIECE};

const PROTOCOL: &str = "share/1";
/// What twolane has as its own constant: eight windows of streams, and 1 MiB.
const SEND_WINDOW: u64 = 8 * Limits::STREAM_WINDOW as u64 + 1024 * 1024;

/// The congestion controls of `--ours`, the first of which is the default.
pub const OURS: [&str; 3] = ["adaptive", "cubic", "bbr3"];

#[derive(Debug)]
pub enum End {
    Ours(twolane::Endpoint),
    Raw(iroh::Endpoint),
}

impl End {
    pub async fn bind(config: &Config) -> Result<Self, Broken> {
        let at = SocketAddr::from((config.addr, 0));
        let transport = match (config.kind, config.ours.as_str()) {
            (Kind::Bbr3, _) | (Kind::Ours, "bbr3") => windows(Arc::new(Bbr3Config::default())),
            (Kind::Ours, "cubic") => windows(Arc::new(CubicConfig::default())),
            (Kind::Ours, _) => {
                return Ok(Self::Ours(twolane::Endpoint::builder().offline().bind_addr(at).bind().await?));
            }
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

    /// Reads all that comes, for as long as this end lives. Returns its name.
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
                let ticket = Ticket::from_addr(addr).ok_or_else(|| Broken::msg("iroh has a key that is none"))?;
                Ok(ticket.to_string())
            }
        }
    }

    /// Writes on one stream, without an end.
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

/// The windows of twolane, with another congestion control.
fn windows(control: Arc<dyn ControllerFactory + Send + Sync>) -> QuicTransportConfig {
    QuicTransportConfig::builder()
        .receive_window(VarInt::from_u64(Limits::default().unread_bytes).unwrap_or(VarInt::MAX))
        .stream_receive_window(VarInt::from_u32(Limits::STREAM_WINDOW))
        .send_window(SEND_WINDOW)
        .congestion_controller_factory(control)
        .build()
}
