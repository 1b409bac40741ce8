//! An endpoint with an iroh endpoint of its own.

use std::{sync::Arc, time::SystemTime};

use iroh::endpoint::default_relay_mode;
use twolane_id::{PublicKey, SecretKey, delegation::Delegation};

use super::{
    Builder, Endpoint, Relays, carry_out,
    learned::Learned,
    parts::{self, Parts},
    plan::{Plan, PlannedRelays, Sockets, Surroundings, Wishes},
    rejoin,
    revocation_file::RevocationFile,
    transport,
};
use crate::{
    access::GateConfig,
    error::BindError,
    key,
    tasks::Tasks,
    ticket::Ticket,
    wire::{ALPN, PROBE_ALPN},
};

impl Builder {
    /// Binds the sockets. This takes milliseconds, with or without a network: relays and lookups are contacted
    /// afterwards. [`Endpoint::status`] reports what cannot be reached.
    ///
    /// # Errors
    ///
    /// [`BindError`] if an address cannot be bound to, if a relay, a directory, a proxy, a root certificate, a
    /// delegation or another protocol is not valid, if the settings leave no path, if the file of revocations cannot be
    /// used, or if the machine's clock shows a time before 1970.
    pub async fn bind(mut self) -> Result<Endpoint, BindError> {
        check_clock(&self.gate)?;
        self.limits = self.limits.sane();
        let secret_key = match self.secret_key {
            Some(key) => key,
            None => SecretKey::try_generate().map_err(|_| BindError::Random)?,
        };
        let us = secret_key.public_key();
        check_delegations(&self.gate.delegations, us)?;
        let plan = planned(&self.wishes)?;
        let revocation_file = RevocationFile::open(self.revocation_file, &mut self.gate)?;
        let known_relays = Relays {
            configured: plan.relays != PlannedRelays::None,
            discovery: match &plan.relays {
                PlannedRelays::None => false,
                PlannedRelays::N0 => true,
                PlannedRelays::Own(own) => own.iter().any(|relay| relay.discovers()),
            },
        };
        let learned = Learned::new(&self.limits, &self.peers);

        let (iroh, relays) = carry_out::prepare(&plan, &self.roots)?;
        let iroh = iroh
            .secret_key(key::secret_to_iroh(&secret_key))
            .alpns(vec![ALPN.to_vec(), PROBE_ALPN.to_vec()])
            .transport_config(transport::shared(&self.limits, &self.congestion, known_relays.configured))
            .address_lookup(Arc::clone(&learned));
        let iroh = iroh.bind().await.map_err(|error| BindError::Bind {
            addrs: if let Sockets::At(addrs) = &plan.sockets { addrs.clone() } else { Vec::new() },
            source: Box::new(error),
        })?;
        let mdns = plan.mdns.then(|| start_mdns(&iroh));

        let endpoint = parts::start(Parts {
            iroh: iroh.clone(),
            attached: None,
            us,
            limits: self.limits,
            congestion: self.congestion,
            paths: self.paths,
            gate: self.gate,
            tasks: Tasks::here(),
            named: self.peers.iter().map(Ticket::peer).collect(),
            learned,
            revocation_file,
            mdns,
            relays: known_relays,
        })?;
        let inner = endpoint.inner();
        for (alpn, handler) in self.also_accept {
            inner.inbound.others.add(&inner.peers.underlay, alpn, handler)?;
        }
        let (inbound, peers) = (Arc::clone(&inner.inbound), Arc::clone(&inner.peers));
        let (router, tasks) = (Arc::clone(&inner.router), inner.tasks.clone());
        inner.tasks.spawn(async move {
            inbound.accept_all().await;
            parts::end(&peers, &router);
            inbound.others.end(&tasks).await;
        });
        if inner.relays.configured {
            inner.tasks.spawn(rejoin::run(iroh, relays, inner.closing.clone()));
        }
        Ok(endpoint)
    }
}

/// Starts to find peers on the local network. A failure is reported by [`Endpoint::status`], and does not fail
/// `bind`.
#[cfg(feature = "mdns")]
fn start_mdns(iroh: &iroh::Endpoint) -> Result<(), String> {
    let lookup =
        iroh_mdns_address_lookup::MdnsAddressLookup::builder().build(iroh.id()).map_err(|error| error.to_string())?;
    iroh.address_lookup().map_err(|error| error.to_string())?.add(lookup);
    Ok(())
}

#[cfg(not(feature = "mdns"))]
fn start_mdns(_: &iroh::Endpoint) -> Result<(), String> {
    Err("twolane was built without its feature `mdns`".to_owned())
}

/// Returns an error if the clock shows a time that the libraries below take for impossible.
pub(super) fn check_clock(gate: &GateConfig) -> Result<(), BindError> {
    if (gate.clock.0)() < SystemTime::UNIX_EPOCH { Err(BindError::Clock) } else { Ok(()) }
}

/// Returns an error if a certificate is for another node, since peers would not accept it from this one.
pub(super) fn check_delegations(delegations: &[Delegation], us: PublicKey) -> Result<(), BindError> {
    match delegations.iter().find(|delegation| delegation.node() != us) {
        Some(other) => Err(BindError::Delegation { node: other.node(), us }),
        None => Ok(()),
    }
}

/// Makes the plan in the surroundings of this process.
fn planned(wishes: &Wishes) -> Result<Plan, BindError> {
    let n0_relays: Vec<_> = default_relay_mode().relay_map().urls();
    let env = |name: &str| std::env::var(name).ok();
    Plan::make(wishes, &Surroundings { mdns: cfg!(feature = "mdns"), n0_relays: &n0_relays, env: &env })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access::Clock;

    #[tokio::test]
    async fn a_clock_before_1970_is_an_error_and_no_panic() {
        let long_ago = || SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        let bound = Endpoint::builder().offline().clock(Clock(long_ago)).bind().await;
        assert!(matches!(bound, Err(BindError::Clock)), "{bound:?}");
        let early = || SystemTime::UNIX_EPOCH;
        assert!(Endpoint::builder().offline().clock(Clock(early)).bind().await.is_ok());
    }
}
