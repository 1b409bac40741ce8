//! The cases, from the easiest network to the worst.

mod disturbed;
mod heavy;
mod itself;
mod late;
mod reach;
mod relayed;
mod returning;

use std::{future::Future, pin::Pin};

use super::{
    fault::Fault,
    figures::Figures,
    nat::Nat,
    stage::Stage,
    world::{Family, Machine},
};

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send + 'a>>;

pub struct Case {
    pub name: &'static str,
    pub sentence: &'static str,
    /// A case that goes direct on the same harness. Without it, data that stays on the relay would prove nothing.
    pub pair: Option<&'static str>,
    /// The case measures times that other cases would disturb.
    pub alone: bool,
    /// The minimum time, in seconds, before the case is given up.
    pub seconds: u64,
    pub run: for<'a> fn(&'a mut Figures) -> Running<'a>,
}

macro_rules! case {
    ($name:literal, $sentence:literal, $run:path $(, $field:ident: $value:expr)*) => {
        Case { $($field: $value,)* ..Case::of($name, $sentence, |figures| Box::pin($run(figures))) }
    };
}

/// All cases, in the order in which they are played.
pub const CASES: &[Case] = &[
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
    case!("many-responses", "100 responses of 1 MB at once, over 10 Mbit/s and 100 ms, are whole", heavy::many_responses, seconds: 200),
    case!(
        "comes-back",
        "a peer that was connected before has its first answer after one round trip, and after two where the other \
         was restarted",
        returning::comes_back,
        alone: true
    ),
    case!(
        "comes-back-relayed",
        "the same where only the relay reaches the other",
        returning::comes_back_relayed,
        alone: true
    ),
    case!(
        "bulk-outage",
        "a stream fails while bulk data fills the connection and the link is down for 10 s",
        heavy::bulk_outage
    ),
    case!(
        "killed-twice",
        "a program is killed and started again twice, under rules that take 4 s",
        heavy::killed_twice
    ),
    case!(
        "killed-and-back",
        "a program is killed and is back at once at its address, 100 ms away, three times",
        heavy::killed_and_back
    ),
    case!(
        "dialler-back",
        "a program that had dialled is killed and is back at once, and its peer asks it, three times",
        heavy::dialler_killed_and_back
    ),
    case!(
        "relayed-and-back",
        "a program that only the relay reaches is killed and is back at once, three times",
        relayed::killed_and_back
    ),
];

impl Case {
    pub const fn of(
        name: &'static str,
        sentence: &'static str,
        run: for<'a> fn(&'a mut Figures) -> Running<'a>,
    ) -> Self {
        Self { name, sentence, pair: None, alone: false, seconds: 0, run }
    }
}

/// Creates two machines, each behind its own router.
async fn at_home(left: Nat, right: Nat) -> Result<(Stage, Machine, Machine), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let (_, a) = stage.home("a", left).await?;
    let (_, b) = stage.home("b", right).await?;
    Ok((stage, a, b))
}

async fn home_and_public(nat: Nat) -> Result<(Stage, Machine, Machine), Fault> {
    let mut stage = Stage::new(Family::V4).await?;
    let (_, a) = stage.home("a", nat).await?;
    let b = stage.world.public("b", Family::V4).await?;
    Ok((stage, a, b))
}

pub fn named(name: &str) -> Option<&'static Case> {
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
