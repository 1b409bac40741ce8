//! Options that the sender and the receiver share.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use twolane::{Builder, Congestion, Endpoint, PathPolicy, Relay, storage};

use super::Problem;
use crate::exit::Exit;

/// Options for the key and the network.
#[derive(Debug, Clone, clap::Args)]
pub struct Net {
    /// Key file of this endpoint; created at the first run, mode 0600. Default: a new key each time
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// The key file is a secret that a container platform has mounted: it may be a symbolic link, its group and
    /// everybody may read it, but not write it, and it is not created
    #[arg(long, requires = "key_file")]
    pub container_secret: bool,

    /// Use only the addresses in the ticket, on this machine, and the relays that are named: no lookup, no multicast
    #[arg(long)]
    pub offline: bool,

    /// Use this relay in place of the public ones (may be repeated). Relays are reached through the proxy that
    /// HTTPS_PROXY names, unless NO_PROXY names the relay
    #[arg(long, value_name = "URL")]
    pub relay: Vec<String>,

    /// Show the relays of --relay this token
    #[arg(long, value_name = "TOKEN", env = "TWOLANE_RELAY_TOKEN", hide_env_values = true)]
    pub relay_token: Option<String>,

    /// Trust the certificates in this file (PEM or DER) as authorities for relays, besides the public ones (may be
    /// repeated)
    #[arg(long, value_name = "FILE")]
    pub relay_ca: Vec<PathBuf>,

    /// Send no data over a relay: wait for a direct path, and fail if there is none
    #[arg(long)]
    pub direct_only: bool,

    /// Bind to this address, such as 192.0.2.7:0, in place of any (at most one IPv4 and one IPv6)
    #[arg(long, value_name = "ADDR")]
    pub bind: Vec<SocketAddr>,

    /// How fast to send where the network is the limit: adaptive, cubic, bbr3, or background, which yields to
    /// all others
    #[arg(long, value_name = "NAME", default_value_t)]
    pub congestion: Congestion,
}

impl Net {
    /// Makes an endpoint builder from the options. If no key file is named, the key in the environment variable
    /// `env` is used.
    ///
    /// # Errors
    ///
    /// Returns an error if the key cannot be used.
    pub fn builder(&self, env: &str) -> Result<Builder, Problem> {
        let mut builder = Endpoint::builder().congestion(self.congestion.clone());
        let key = match &self.key_file {
            Some(path) if self.container_secret => storage::file::load_container_secret(path)
                .map(Some)
                .map_err(|error| Problem::because(Exit::Usage, "the key cannot be used", &error))?,
            Some(path) => storage::file::load_or_create(path)
                .map(Some)
                .map_err(|error| Problem::because(Exit::Usage, "the key cannot be used", &error))?,
            None => storage::env::from_env(env)
                .map_err(|error| Problem::because(Exit::Usage, "the key cannot be used", &error))?,
        };
        if let Some(key) = key {
            builder = builder.secret_key(key);
        }
        for addr in &self.bind {
            builder = builder.bind_addr(*addr);
        }
        for relay in &self.relay {
            let relay = Relay::new(relay);
            builder = builder.relay(match &self.relay_token {
                Some(token) => relay.token(token),
                None => relay,
            });
        }
        for path in &self.relay_ca {
            let what = || format!("{} cannot be read", path.display());
            let root = fs::read(path).map_err(|error| Problem::because(Exit::Usage, &what(), &error))?;
            builder = builder.trust_root(root);
        }
        if !self.offline {
            builder = builder.proxy_from_env();
        } else if self.relay.is_empty() {
            builder = builder.offline();
        } else {
            // The relays were named, so they are meant.
            builder = builder.n0(false).mdns(false).port_mapping(false);
            if self.bind.is_empty() {
                builder = builder.bind_addr((Ipv4Addr::LOCALHOST, 0).into());
            }
        }
        if self.direct_only {
            builder = builder.path_policy(PathPolicy::DirectOnly);
        }
        Ok(builder)
    }

    /// Returns whether to wait for a relay.
    pub(super) fn has_relay(&self) -> bool {
        !self.offline || !self.relay.is_empty()
    }

    /// Returns the options with which the other side can reach this endpoint.
    pub fn for_the_other_side(&self) -> String {
        let mut options = String::new();
        if self.offline {
            options.push_str(" --offline");
        }
        for relay in &self.relay {
            options.push_str(&format!(" --relay {}", quoted(relay)));
        }
        options
    }
}

/// Quotes a text for a shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_the_quotes() {
        assert_eq!(quoted("endpointabc"), "'endpointabc'");
        assert_eq!(quoted("a'; rm -rf ~; '"), r"'a'\''; rm -rf ~; '\'''");
    }
}
