//! The ladder: what is played, from the easiest network to the worst.
//!
//! - `reach`: networks in which a direct path is there to be found;
//! - `relayed`: networks in which none is;
//! - `disturbed`: networks that change while data moves;
//! - `late`: relays, networks and peers that come later, or again;
//! - `itself`: what the lab itself has to be able to do.

mod disturbed;
mod itself;
mod late;
mod reach;
mod relayed;

use std::{future::Future, pin::Pin};

use super::{fault::Fault, figures::Figures};

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send + 'a>>;

/// One case.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// What it shows.
    pub(super) sentence: &'static str,
    /// The case that goes direct on the same harness. Without that, staying relayed proves nothing.
    pub(super) pair: Option<&'static str>,
    /// Whether it measures times of the lab itself, which others would disturb.
    pub(super) alone: bool,
    pub(super) run: for<'a> fn(&'a mut Figures) -> Running<'a>,
}

macro_rules! case {
    ($name:literal, $sentence:literal, $run:path $(, $field:ident: $value:expr)*) => {
        Case { $($field: $value,)* ..Case::of($name, $sentence, |figures| Box::pin($run(figures))) }
    };
}

/// All of them, in the order in which they are played.
pub(super) const CASES: &[Case] = &[
    case!("nat-kinds", "each kind of router maps ports and filters answers as it is meant to", itself::nat_kinds, alone: true),
    case!("impairments", "delay, jitter, loss, reordering, duplication, rate, queue and MTU are what was asked for", itself::impairments, alone: true),
    case!("same-network", "two machines on one network", reach::same_network),
    case!("local-only", "two machines on one network without internet find each other by key alone", reach::local_only),
    case!("one-home-nat", "a machine at home, and a public one", reach::one_home_nat),
    case!("two-home-nats", "two machines in two homes: over the relay first, then directly", reach::two_home_nats),
    case!("by-key-alone", "the same, and all that is known is the key", reach::by_key_alone),
    case!("unequal-ways", "two homes, one of them eight times as far away as the other", reach::unequal_ways),
    case!("random-ports", "two homes whose routers take ports at random", reach::random_ports),
    case!("hairpin", "two homes behind one carrier, whose NAT leads back inside", reach::hairpin),
    case!("carrier-nat", "a home behind a carrier's NAT", reach::carrier_nat),
    case!("ipv6-only", "two homes that have IPv6 alone, behind firewalls", reach::ipv6_only),
    case!("symmetric-to-public", "a symmetric NAT and a public machine", reach::symmetric_to_public),
    case!("symmetric-one-side", "a symmetric NAT and a home", relayed::symmetric_one_side, pair: Some("symmetric-to-public")),
    case!("symmetric-both", "two symmetric NATs", relayed::symmetric_both, pair: Some("two-home-nats")),
    case!("symmetric-carrier", "a home behind a carrier's symmetric NAT, and a home", relayed::symmetric_carrier, pair: Some("carrier-nat")),
    case!("no-hairpin", "two homes behind one carrier, whose NAT leads nothing back", relayed::no_hairpin, pair: Some("hairpin")),
    case!("udp-blocked", "no UDP but DNS: the relay over HTTPS", relayed::udp_blocked, pair: Some("one-home-nat")),
    case!("ipv4-to-ipv6", "one has IPv4 alone, the other IPv6 alone", relayed::ipv4_to_ipv6, pair: Some("ipv6-only")),
    case!("cut-and-healed", "the direct path is cut without a word, and later heals", disturbed::cut_and_healed),
    case!("lossy", "5 % loss and jitter make nothing flap", disturbed::lossy),
    case!("small-mtu", "packets over 1,280 bytes vanish", disturbed::small_mtu),
    case!("relay-killed", "the relay dies while data goes directly", disturbed::relay_killed),
    case!("relay-restarted", "the relay dies while data goes over it, and comes back", disturbed::relay_restarted, pair: Some("two-home-nats")),
    case!("address-change", "a laptop moves to another network", disturbed::address_change),
    case!("nat-rebinding", "a router forgets its mappings, and takes other ports", disturbed::nat_rebinding),
    case!("idle-mapping", "routers forget after 3 s, and nobody says anything for 8 s", disturbed::idle_mapping),
    case!("relay-late", "the relay cannot be reached at the start, and later can", late::relay_late),
    case!("network-late", "a machine has no network at the start, and later has", late::network_late),
    case!("peer-restarted", "a peer restarts behind another address", late::peer_restarted),
];

impl Case {
    pub(super) const fn of(
        name: &'static str,
        sentence: &'static str,
        run: for<'a> fn(&'a mut Figures) -> Running<'a>,
    ) -> Self {
        Self { name, sentence, pair: None, alone: false, run }
    }
}

/// The case of this name.
pub(super) fn named(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let names: BTreeSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
    }

    #[test]
    fn the_pair_of_a_case_is_a_case_that_needs_no_pair() {
        for case in CASES {
            if let Some(pair) = case.pair {
                assert!(named(pair).expect(case.name).pair.is_none(), "{}", case.name);
            }
        }
    }
}
