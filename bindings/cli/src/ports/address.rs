//! What `expose`, `forward` and `pipe` are told on the command line. This module does no I/O.

use std::{fmt, path::PathBuf, str::FromStr};

use twolane::Ticket;

use super::PIPE;

/// Maximum length of the name of a service in bytes.
const MAX_NAME: usize = 255;

/// Where a connection goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A host, or its address, and a port.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A service with its name: `ssh=127.0.0.1:22`, `web=8080`, `db=unix:/run/db.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The name by which peers ask for it.
    pub name: String,
    /// The place.
    pub target: Target,
}

/// Where connections are taken: `8022` (on this machine alone), `0.0.0.0:8022`, `unix:/run/user/1000/ssh.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen(pub Target);

/// A service of a peer: `TICKET/NAME`, or `TICKET` for what `pipe` serves.
#[derive(Debug, Clone)]
pub struct PeerService {
    /// The peer.
    pub ticket: Ticket,
    /// The name of the service.
    pub name: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err("unix: takes the path of a socket".into());
            }
            return Ok(Self::Unix(path.into()));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
        match port.parse::<u16>() {
            Ok(port) if !host.is_empty() => Ok(Self::Tcp(format!("{host}:{port}"))),
            _ => Err("HOST:PORT, PORT or unix:PATH is expected".into()),
        }
    }
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, target) = text.split_once('=').ok_or("NAME=HOST:PORT or NAME=unix:PATH is expected")?;
        Ok(Self { name: checked(name)?, target: target.parse()? })
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

impl FromStr for PeerService {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (ticket, name) = text.split_once('/').unwrap_or((text, PIPE));
        let ticket = ticket.parse::<Ticket>().map_err(|error| error.to_string())?;
        Ok(Self { ticket, name: checked(name)? })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(place) => f.write_str(place),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Checks the name of a service.
pub(super) fn checked(name: &str) -> Result<String, String> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(format!("the name of a service has 1 to {MAX_NAME} bytes"));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use twolane::SecretKey;

    use super::*;

    #[test]
    fn a_place_is_a_host_with_a_port_a_port_on_this_machine_or_a_socket() {
        for (text, place) in [
            ("127.0.0.1:22", "127.0.0.1:22"),
            ("[::1]:22", "[::1]:22"),
            ("example.org:443", "example.org:443"),
            ("8080", "127.0.0.1:8080"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), place);
        }
        for text in ["", ":22", "host", "host:", "host:70000", "unix:", "-1"] {
            assert!(text.parse::<Target>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_service_has_a_name() {
        let service: Service = "ssh=22".parse().unwrap();
        assert_eq!((service.name.as_str(), service.target.to_string().as_str()), ("ssh", "127.0.0.1:22"));
        for text in ["22", "=22", "ssh=", &format!("{}=22", "x".repeat(256))] {
            assert!(text.parse::<Service>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_service_of_a_peer_is_its_ticket_and_a_name() {
        let id52 = SecretKey::from_bytes(&[7; 32]).public_key().to_string();
        let service: PeerService = format!("{id52}/ssh").parse().unwrap();
        assert_eq!((service.ticket.peer().to_string(), service.name), (id52.clone(), "ssh".to_owned()));
        assert_eq!(id52.parse::<PeerService>().unwrap().name, PIPE);
        for text in ["", "ticket/ssh", &format!("{id52}/")] {
            assert!(text.parse::<PeerService>().is_err(), "{text:?}");
        }
    }
}
