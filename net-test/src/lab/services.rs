//! What the small internet has in the middle: a relay with TLS and QUIC address discovery, and an iroh-dns-server.
//!
//! Both run in one process in a namespace of its own (`lab serve`), so that they can be killed and started again. The
//! relay's certificate comes from the lab, which gives it to the peers as a root.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use iroh_dns_server::config::{Config as DnsServerConfig, MetricsConfig};
use iroh_relay::server::{CertConfig, QuicConfig, RelayConfig, Server, ServerConfig, TlsConfig};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{
    fault::Fault,
    parts,
    peer::Reach,
    process::Process,
    world::{Machine, SERVICES_V4, SERVICES_V6},
};

/// The relay's name, and the origin under which peers are looked up.
const NAME: &str = "lab.test";
/// Where the relay tells endpoints their public addresses: iroh's port for that.
const QAD: u16 = 7842;
const DNS: u16 = 53;
const PKARR: u16 = 8080;
/// A relay is up in some milliseconds.
const UP: Duration = Duration::from_secs(10);
/// Keys that the relay remembers to have verified. The default takes 56 MB.
const KEYS: usize = 1024;

/// What `lab serve` is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Config {
    /// The certificate and its key, as DER.
    certificate: Vec<u8>,
    key: Vec<u8>,
    /// Where the DNS server keeps its records.
    dir: PathBuf,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

/// What it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
pub(super) enum Said {
    /// Everything is bound.
    Serving,
    /// What the relay has counted: bytes that it sent to clients, and got from them for others.
    Counters { sent: u64, received: u64 },
}

/// The services of one world. Dropped, they are killed.
#[derive(Debug)]
pub(super) struct Services {
    pub(super) machine: Machine,
    config: Config,
    process: Option<Process<Said>>,
    _dir: TempDir,
}

impl Services {
    /// Ready to be started.
    pub(super) fn new(machine: Machine) -> Result<Self, Fault> {
        let names = [NAME.to_owned(), SERVICES_V4.to_string(), SERVICES_V6.to_string()];
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| Fault::lab("no certificate", error))?;
        let dir = tempfile::Builder::new()
            .prefix("services-")
            .tempdir_in("/run")
            .map_err(|error| Fault::lab("no temporary directory", error))?;
        let config = Config {
            certificate: made.cert.der().to_vec(),
            key: made.signing_key.serialize_der(),
            dir: dir.path().to_owned(),
            v4: machine.v4,
            v6: machine.v6,
        };
        Ok(Self { machine, config, process: None, _dir: dir })
    }

    /// Starts them, for the first time or again, on the same addresses and with the same certificate.
    pub(super) async fn start(&mut self) -> Result<(), Fault> {
        let mut process = Process::start(&self.machine.netns, "the relay", parts::SERVE, &self.config)?;
        match timeout(UP, process.next()).await {
            Ok(Ok(Said::Serving)) => {}
            Ok(Ok(other)) => return Err(Fault::Lab(format!("the relay says {other:?}"))),
            Ok(Err(fault)) => return Err(fault),
            Err(_) => return Err(Fault::Late { what: "a relay that is up".into(), after: UP }),
        }
        self.process = Some(process);
        Ok(())
    }

    /// Kills them. Their counters are lost.
    pub(super) async fn kill(&mut self) -> Result<(), Fault> {
        match self.process.take() {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Bytes that the relay has sent to clients, since it was started, by its own count.
    pub(super) async fn relayed(&mut self) -> Result<u64, Fault> {
        let Some(process) = &mut self.process else { return Ok(0) };
        process.tell(&"counters").await?;
        match timeout(UP, process.next()).await {
            Ok(Ok(Said::Counters { sent, .. })) => Ok(sent),
            Ok(Ok(other)) => Err(Fault::Lab(format!("the relay says {other:?}"))),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(Fault::Late { what: "the relay's counters".into(), after: UP }),
        }
    }

    /// What peers of this family have to know.
    pub(super) fn reach(&self, machine: &Machine) -> Reach {
        let addr = if machine.v4.is_none() && machine.v6.is_some() {
            IpAddr::V6(SERVICES_V6)
        } else if self.machine.v4.is_some() {
            IpAddr::V4(SERVICES_V4)
        } else {
            IpAddr::V6(SERVICES_V6)
        };
        Reach {
            relay: Some(format!("https://{NAME}")),
            root: Some(self.config.certificate.clone()),
            nameserver: Some(SocketAddr::new(addr, DNS)),
            directory: Some((format!("http://{NAME}:{PKARR}/pkarr"), NAME.to_owned())),
        }
    }
}

/// `lab serve`: until the input ends.
pub(super) async fn serve(config: Config) -> Result<(), Fault> {
    let any = if config.v6.is_some() { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::lab("TLS", error))?
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(config.certificate)], PrivatePkcs8KeyDer::from(config.key).into())
        .map_err(|error| Fault::lab("the relay's certificate", error))?;

    let mut relay = RelayConfig::new((any, 80));
    relay.tls = Some(TlsConfig::new((any, 443), CertConfig::Manual { server_config: tls.clone() }));
    relay.key_cache_capacity = Some(KEYS);
    let mut server = ServerConfig::default();
    server.relay = Some(relay);
    let mut quic = QuicConfig::new((any, QAD));
    quic.server_config = Some(tls);
    server.quic = Some(quic);
    let server = Server::spawn(server).await.map_err(|error| Fault::lab("the relay does not start", error))?;

    let mut dns = DnsServerConfig::default();
    dns.dns.port = DNS;
    dns.dns.bind_addr = Some(any);
    // The root has to be among them: the server keeps its own records there.
    dns.dns.origins = vec![format!("{NAME}."), ".".into()];
    dns.dns.rr_a = config.v4;
    dns.dns.rr_aaaa = config.v6;
    dns.dns.rr_ns = None;
    if let Some(http) = &mut dns.http {
        http.port = PKARR;
        http.bind_addr = Some(any);
    }
    dns.https = None;
    dns.metrics = Some(MetricsConfig::disabled());
    dns.data_dir = Some(config.dir);
    let dns = iroh_dns_server::Server::bind(dns)
        .await
        .map_err(|error| Fault::lab("the DNS server does not start", format!("{error:#}")))?;

    parts::say(&Said::Serving);
    let mut commands = parts::commands::<String>();
    // There is one command.
    while commands.recv().await.is_some() {
        let metrics = &server.metrics().server;
        parts::say(&Said::Counters { sent: metrics.bytes_sent.get(), received: metrics.bytes_recv.get() });
    }
    // Nobody is served any more.
    let _ = server.shutdown().await;
    let _ = dns.shutdown().await;
    Ok(())
}
