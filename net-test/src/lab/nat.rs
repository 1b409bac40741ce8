//! What routers do to packets, as rule sets for `nft`.
//!
//! On every router `wan` leads to the internet and `lan` to those behind it.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr},
};

/// A kind of router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nat {
    /// A home router: one external port for an internal one, whoever is talked to (endpoint-independent mapping), and only
    /// those who were talked to may answer (address- and port-dependent filtering).
    Home,
    /// A router that takes another external port for each address that is talked to (RFC 4787: address- and
    /// port-dependent mapping).
    Symmetric,
    /// A home router that lets no UDP through but DNS, as in some offices.
    NoUdp,
    /// No translation: what is inside may be answered, as with IPv6 at home.
    Firewall,
}

/// What a machine's addresses are translated to on a router whose mappings were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rebound {
    /// Whose.
    pub(super) inside: Ipv4Addr,
    /// The port that it sends from.
    pub(super) port: u16,
    /// The external port from now on.
    pub(super) external: u16,
}

impl Nat {
    /// The rules.
    pub(super) fn rules(self) -> String {
        self.rules_with(None)
    }

    /// The rules, after the router forgot its mappings.
    pub(super) fn rebound(self, rebound: Rebound) -> String {
        self.rules_with(Some(rebound))
    }

    fn rules_with(self, rebound: Option<Rebound>) -> String {
        let mut rules =
            String::from("table ip nat\ndelete table ip nat\ntable inet filter\ndelete table inet filter\n");
        let masquerade = match self {
            Self::Home | Self::NoUdp => Some("masquerade"),
            Self::Symmetric => Some("masquerade fully-random"),
            Self::Firewall => None,
        };
        if let Some(masquerade) = masquerade {
            rules.push_str("table ip nat {\n chain post {\n  type nat hook postrouting priority srcnat\n");
            if let Some(Rebound { inside, port, external }) = rebound {
                let _ = writeln!(rules, "  oifname wan ip saddr {inside} udp sport {port} masquerade to :{external}");
            }
            let _ = writeln!(rules, "  oifname wan {masquerade}\n }}\n}}");
        }
        // A packet that is dropped leaves no entry behind. One for a port of the router itself would leave one, and the
        // mapping of those behind it would have to move out of its way: the kernel's habit, and no home router's.
        rules.push_str("table inet filter {\n chain in {\n  type filter hook input priority filter\n");
        rules.push_str(
            "  iifname wan icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept\n",
        );
        rules.push_str("  iifname wan ct state established,related accept\n  iifname wan drop\n }\n");
        rules.push_str(" chain through {\n  type filter hook forward priority filter\n");
        if self == Self::NoUdp {
            rules.push_str("  udp dport 53 accept\n  udp sport 53 accept\n  meta l4proto udp drop\n");
        }
        // As home routers do: TCP gets through links with a small MTU. (UDP has to look after itself.)
        rules.push_str("  tcp flags syn tcp option maxseg size set 1200\n");
        rules.push_str("  iifname wan ct state established,related accept\n  iifname wan drop\n }\n}\n");
        rules
    }
}

/// Drops everything that is UDP between the inside and this address, in both directions, without a word.
pub(super) fn cut(with: &[IpAddr]) -> String {
    let mut rules = String::from("table inet cut {\n chain through {\n  type filter hook forward priority -300\n");
    for addr in with {
        let family = if addr.is_ipv4() { "ip" } else { "ip6" };
        let _ = writeln!(rules, "  {family} daddr {addr} meta l4proto udp drop");
        let _ = writeln!(rules, "  {family} saddr {addr} meta l4proto udp drop");
    }
    rules.push_str(" }\n}\n");
    rules
}

/// The end of [`cut`].
pub(super) const HEAL: &str = "delete table inet cut\n";

/// Counts UDP to and from everybody but the services, on a machine. That is what goes directly.
pub(super) fn count(services: &[IpAddr]) -> String {
    let mut rules = String::from(
        "table inet lab\ndelete table inet lab\ntable inet lab {\n counter direct_out {\n }\n counter direct_in {\n }\n",
    );
    for (chain, side, loopback, counter) in
        [("output", "daddr", "oif", "direct_out"), ("input", "saddr", "iif", "direct_in")]
    {
        let _ = writeln!(rules, " chain {chain} {{\n  type filter hook {chain} priority 0\n  {loopback} lo accept");
        for addr in services {
            let family = if addr.is_ipv4() { "ip" } else { "ip6" };
            let _ = writeln!(rules, "  {family} {side} {addr} accept");
        }
        // mDNS.
        let _ = writeln!(rules, "  ip daddr 224.0.0.0/4 accept\n  ip6 daddr ff00::/8 accept");
        let _ = writeln!(rules, "  meta l4proto udp counter name {counter}\n }}");
    }
    rules.push_str("}\n");
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_router_answers_only_those_who_were_asked() {
        for nat in [Nat::Home, Nat::Symmetric, Nat::NoUdp, Nat::Firewall] {
            let rules = nat.rules();
            let drops = rules.matches("iifname wan drop").count();
            assert_eq!(drops, 2, "{rules}");
            assert_eq!(rules.matches('{').count(), rules.matches('}').count());
        }
    }

    #[test]
    fn only_a_firewall_leaves_addresses_as_they_are() {
        assert!(!Nat::Firewall.rules().contains("masquerade"));
        assert!(Nat::Home.rules().contains("oifname wan masquerade\n"));
        assert!(Nat::Symmetric.rules().contains("oifname wan masquerade fully-random\n"));
        assert!(Nat::NoUdp.rules().contains("meta l4proto udp drop"));
        assert!(!Nat::Home.rules().contains("udp drop"));
    }

    #[test]
    fn a_router_that_forgot_takes_another_port() {
        let rebound = Rebound { inside: Ipv4Addr::new(10, 0, 1, 2), port: 7, external: 40_000 };
        let rules = Nat::Home.rebound(rebound);
        let (special, general) = (rules.find("masquerade to :40000").unwrap(), rules.find("masquerade\n").unwrap());
        assert!(special < general, "the first rule counts");
    }

    #[test]
    fn a_cut_is_for_both_directions_and_for_udp_alone() {
        let rules = cut(&["198.18.0.12".parse().unwrap(), "2001:db8::12".parse().unwrap()]);
        assert!(rules.contains("ip daddr 198.18.0.12 meta l4proto udp drop"));
        assert!(rules.contains("ip6 saddr 2001:db8::12 meta l4proto udp drop"));
    }

    #[test]
    fn what_goes_to_the_services_is_not_counted_as_direct() {
        let rules = count(&["198.18.0.2".parse().unwrap()]);
        for (accept, counted) in [
            ("ip daddr 198.18.0.2 accept", "meta l4proto udp counter name direct_out"),
            ("ip saddr 198.18.0.2 accept", "meta l4proto udp counter name direct_in"),
        ] {
            assert!(rules.find(accept).unwrap() < rules.find(counted).unwrap());
        }
    }
}
