//! Makes the iroh endpoint that does what was planned, and nothing else.

use iroh::{
    RelayConfig, RelayMap, RelayMode,
    address_lookup::{AddrFilter, DnsAddressLookup, PkarrPublisher},
    endpoint::{self, PortmapperConfig, default_relay_mode, presets},
    tls::CaTlsConfig,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::{
    dns,
    plan::{Plan, PlannedRelays, Sockets},
    relay::Checked,
};
use crate::error::BindError;

/// Returns the builder of the iroh endpoint, and its relays: a handle of the map that the endpoint gets, so that
/// changes which the program makes to it are visible there as well. `roots` are certificates that are trusted beside
/// those that browsers trust.
pub(super) fn prepare(plan: &Plan, roots: &[Vec<u8>]) -> Result<(endpoint::Builder, RelayMap), BindError> {
    let mut iroh = if plan.n0_directory {
        iroh::Endpoint::builder(presets::N0)
    } else {
        iroh::Endpoint::builder(presets::Minimal)
    };
    let relays = match &plan.relays {
        PlannedRelays::None => RelayMap::empty(),
        PlannedRelays::N0 => default_relay_mode().relay_map(),
        PlannedRelays::Own(own) => own.iter().map(config).collect(),
    };
    iroh = iroh.relay_mode(if relays.is_empty() { RelayMode::Disabled } else { RelayMode::Custom(relays.clone()) });
    iroh = iroh.dns_resolver(dns::resolver(plan.dns));
    if let Some((pkarr, origin)) = &plan.directory {
        iroh = iroh.address_lookup(PkarrPublisher::builder(pkarr.clone().into()));
        iroh = iroh.address_lookup(DnsAddressLookup::builder(origin.clone()));
    }
    if !plan.port_mapping {
        iroh = iroh.portmapper_config(PortmapperConfig::Disabled);
    }
    if let Some(proxy) = &plan.proxy {
        iroh = iroh.proxy_url(proxy.clone().into());
    }
    let roots = trusted(roots)?;
    if !roots.is_empty() {
        iroh = iroh.ca_tls_config(CaTlsConfig::default().with_extra_roots(roots));
    }
    match &plan.sockets {
        Sockets::Any => {}
        // Without a socket there is no address to publish. The filter holds for addresses that the program adds, too.
        Sockets::None => iroh = iroh.clear_ip_transports().addr_filter(AddrFilter::relay_only()),
        Sockets::At(addrs) => {
            iroh = iroh.clear_ip_transports();
            for addr in addrs {
                iroh = iroh.bind_addr(*addr).map_err(|_| BindError::Address(*addr))?;
            }
        }
    }
    Ok((iroh, relays))
}

fn config(relay: &Checked) -> RelayConfig {
    let config: RelayConfig =
        if relay.discovers() { relay.url.clone().into() } else { RelayConfig::new(relay.url.clone(), None) };
    match &relay.token {
        Some(token) => config.with_auth_token(token.clone()),
        None => config,
    }
}

/// Returns the certificates. iroh skips one that it cannot parse, without an error.
fn trusted(roots: &[Vec<u8>]) -> Result<Vec<CertificateDer<'static>>, BindError> {
    let mut trusted = Vec::new();
    for (at, root) in roots.iter().enumerate() {
        trusted.extend(certificates(root).ok_or(BindError::Root { at })?);
    }
    Ok(trusted)
}

/// Returns the certificates of one text: one in DER form, or those of a file in PEM form.
fn certificates(root: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    // The first byte of DER is that of a SEQUENCE (X.690, section 8.9).
    if root.first() == Some(&0x30) {
        return Some(vec![CertificateDer::from(root.to_vec())]);
    }
    let found = CertificateDer::pem_slice_iter(root).collect::<Result<Vec<_>, _>>().ok()?;
    let all_der = found.iter().all(|certificate| certificate.first() == Some(&0x30));
    (!found.is_empty() && all_der).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_read_as_der_and_as_pem_and_what_is_neither_is_named() {
        // The SEQUENCE is empty, and of no certificate.
        let pem = "A relay's own:\n-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        let der = vec![0x30, 0];
        let read = |roots: &[&[u8]]| trusted(&roots.iter().map(|root| root.to_vec()).collect::<Vec<_>>());
        let found = read(&[&der, pem.as_bytes(), pem.repeat(2).as_bytes()]).unwrap();
        assert_eq!(found, vec![CertificateDer::from(der.clone()); 4]);
        let key = pem.replace("CERTIFICATE", "PRIVATE KEY");
        let broken = pem.replace("MAA=", "no base64");
        let other = pem.replace("MAA=", "AAAA");
        for wrong in ["", "no certificate", key.as_str(), broken.as_str(), other.as_str()] {
            let error = read(&[&der, wrong.as_bytes()]).unwrap_err();
            assert!(matches!(error, BindError::Root { at: 1 }), "{wrong}: {error}");
        }
    }
}
