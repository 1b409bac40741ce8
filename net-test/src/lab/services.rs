//! The middle of the small internet: a relay with TLS and QUIC address discovery, and an iroh-dns-server.
//!
//! Both run in one process in a namespace of its own (`lab serve`), so the lab can kill and restart them. The lab
//! makes the relay's certificate, and gives it to the peers as a trusted root.

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

use super::{
    fault::Fault,
    parts,
    peer::Reach,
    process,
    world::{Machine, SERVICES_V4, SERVICES_V6},
};
use crate::child::Child;

/// The relay's name, and the DNS origin under which peers are looked up.
const NAME: &str = "lab.test";
/// The port on which the relay tells endpoints their public addresses. It is iroh's port for QUIC address discovery.
const QAD: u16 = 7842;
const DNS: u16 = 53;
const PKARR: u16 = 8080;
/// Maximum time to wait for an answer of the process. A relay starts within milliseconds.
const UP: Duration = Duration::from_secs(10);
/// The number of verified keys in the relay's cache. The default takes 56 MB.
const KEYS: usize = 1024;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// The certificate and its key, as DER.
    certificate: Vec<u8>,
    key: Vec<u8>,
    /// The directory in which the DNS server keeps its records.
    dir: PathBuf,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// Both servers are bound.
    Serving,
    /// Bytes that the relay has sent to clients.
    Sent(u64),
}

/// The relay and the DNS server. Their process is killed when this is dropped.
#[derive(Debug)]
pub struct Services {
    pub machine: Machine,
    config: Config,
    process: Option<Child<Said>>,
    _dir: TempDir,
}

impl Services {
    pub fn new(machine: Machine) -> Result<Self, Fault> {
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

    /// Starts or restarts both servers, always with the same addresses and the same certificate.
    pub async fn start(&mut self) -> Result<(), Fault> {
        let mut process = process::start(&self.machine.netns, "the relay", parts::SERVE, &self.config)?;
        let serving = |said: &Said| matches!(said, Said::Serving).then_some(());
        process::answer(&mut process, "a relay that is up", UP, serving).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills both servers. Their counters are lost.
    pub async fn kill(&mut self) -> Result<(), Fault> {
        match self.process.take() {
            Some(process) => Ok(process.kill().await?),
            None => Ok(()),
        }
    }

    /// Returns the number of bytes that the relay has sent to clients since it was started.
    pub async fn relayed(&mut self) -> Result<u64, Fault> {
        let Some(process) = &mut self.process else { return Ok(0) };
        process.tell(&"counters").await?;
        let sent = |said: &Said| match said {
            Said::Sent(bytes) => Some(*bytes),
            Said::Serving => None,
        };
        process::answer(process, "the relay's counters", UP, sent).await
    }

    /// Returns the addresses and names that a peer on this machine has to know.
    pub fn reach(&self, machine: &Machine) -> Reach {
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

/// Runs `lab serve` until its input ends.
pub async fn serve(config: Config) -> Result<(), Fault> {
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
    // The root has to be among the origins: the server keeps its own records there.
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
    // The only command asks for the counters.
    while commands.recv().await.is_some() {
        parts::say(&Said::Sent(server.metrics().server.bytes_sent.get()));
    }
    // No client needs an answer any more, so errors do not matter.
    let _ = server.shutdown().await;
    let _ = dns.shutdown().await;
    Ok(())
}
