//! Kinds of routers, as rule sets for `nft`.
//!
//! On every router, the interface `wan` leads to the internet, and `lan` to the machines behind the router.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr},
};

/// The kinds of routers.
///
/// Each kind filters by address and port: it lets a packet in only from an address and port to which a packet was
/// sent. IPv6 is never translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// Endpoint-independent mapping: one external port for each internal port, with the same number if that is free.
    Home,
    /// [`Nat::Home`] with an external port that cannot be derived from the internal one.
    RandomPorts,
    /// [`Nat::Home`] that sends packets for its own external address back inside.
    Hairpin,
    /// A different external port for each destination (RFC 4787: address- and port-dependent mapping).
    Symmetric,
    /// [`Nat::Home`] that drops all UDP except DNS, as in some offices.
    NoUdp,
    /// No translation, as with IPv6 at home.
    Firewall,
}

/// External ports of [`Nat::RandomPorts`], below the range from which systems take ports for sockets. A hash of the
/// internal address and port chooses one.
const RANDOM_PORTS: std::ops::Range<u16> = 20_000..20_064;

pub const COUNTERS: &str = "lab";

/// The new mapping of a socket, on a router that has lost its mappings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebound {
    pub inside: Ipv4Addr,
    pub port: u16,
    pub external: u16,
}

impl Nat {
    /// Returns the rules for `nft`. `wan` is the external address.
    pub fn rules(self, wan: Option<Ipv4Addr>) -> String {
        self.rules_with(wan, None)
    }

    pub fn rules_with(self, wan: Option<Ipv4Addr>, rebound: Option<Rebound>) -> String {
        let mut rules =
            String::from("table ip nat\ndelete table ip nat\ntable inet filter\ndelete table inet filter\n");
        if self != Self::Firewall {
            rules.push_str("table ip nat {\n");
            self.translate(&mut rules, wan, rebound);
            rules.push_str("}\n");
        }
        // A packet that is dropped leaves no conntrack entry. A packet to a port of the router itself would leave
        // one, and the kernel would then change the mappings of machines behind the router. No home router does that.
        rules.push_str("table inet filter {\n chain in {\n  type filter hook input priority filter\n");
        rules.push_str(
            "  iifname wan icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept\n",
        );
        rules.push_str("  iifname wan ct state established,related accept\n  iifname wan drop\n }\n");
        rules.push_str(" chain through {\n  type filter hook forward priority filter\n");
        if self == Self::NoUdp {
            rules.push_str("  udp dport 53 accept\n  udp sport 53 accept\n  meta l4proto udp drop\n");
        }
        // As in home routers, this lets TCP pass links with a small MTU. (Programs that use UDP discover the MTU
        // themselves.)
        rules.push_str("  tcp flags syn tcp option maxseg size set 1200\n");
        rules.push_str("  iifname wan ct state established,related accept\n  iifname wan drop\n }\n}\n");
        rules
    }

    fn translate(self, rules: &mut String, wan: Option<Ipv4Addr>, rebound: Option<Rebound>) {
        let hairpin = wan.filter(|_| self == Self::Hairpin);
        if let Some(wan) = hairpin {
            rules.push_str(
                " map inside {\n  type inet_service : ipv4_addr . inet_service\n  flags dynamic\n  size 1024\n }\n",
            );
            rules.push_str(" chain pre {\n  type nat hook prerouting priority dstnat\n");
            let _ = writeln!(rules, "  iifname lan ip daddr {wan} dnat ip to udp dport map @inside\n }}");
        }
        rules.push_str(" chain post {\n  type nat hook postrouting priority srcnat\n");
        if let Some(wan) = hairpin {
            rules.push_str("  oifname wan meta l4proto udp update @inside { udp sport : ip saddr . udp sport }\n");
            let _ = writeln!(rules, "  oifname lan ct status dnat snat to {wan}");
        }
        if let Some(Rebound { inside, port, external }) = rebound {
            let _ = writeln!(rules, "  oifname wan ip saddr {inside} udp sport {port} masquerade to :{external}");
        }
        if self == Self::RandomPorts {
            let ports: Vec<_> = RANDOM_PORTS.enumerate().map(|(n, port)| format!("{n} : {port}")).collect();
            let (count, ports) = (ports.len(), ports.join(", "));
            let hash = format!("jhash ip saddr . udp sport mod {count} seed 0x2a map {{ {ports} }}");
            let _ = writeln!(rules, "  oifname wan meta l4proto udp masquerade to :{hash}");
        }
        let random = if self == Self::Symmetric { " fully-random" } else { "" };
        let _ = writeln!(rules, "  oifname wan masquerade{random}\n }}");
    }
}

/// Returns rules that drop all UDP between the inside and these addresses, in both directions.
pub fn cut(with: &[IpAddr]) -> String {
    let mut rules = String::from("table inet cut {\n chain through {\n  type filter hook forward priority -300\n");
    for addr in with {
        let family = if addr.is_ipv4() { "ip" } else { "ip6" };
        let _ = writeln!(rules, "  {family} daddr {addr} meta l4proto udp drop");
        let _ = writeln!(rules, "  {family} saddr {addr} meta l4proto udp drop");
    }
    rules.push_str(" }\n}\n");
    rules
}

/// Removes the rules of [`cut`].
pub const HEAL: &str = "delete table inet cut\n";

/// Returns rules that count the bytes that arrive on a machine.
///
/// `relayed` counts bytes from the relay. `direct` counts bytes that arrive by UDP from all machines other than the
/// services. `moved` counts the part of `direct` whose source matches the expression `moved`.
pub fn count(services: &[IpAddr], moved: Option<&str>) -> String {
    let mut rules = format!("table inet {COUNTERS}\ndelete table inet {COUNTERS}\ntable inet {COUNTERS} {{\n");
    for counter in ["relayed", "direct", "moved"] {
        let _ = writeln!(rules, " counter {counter} {{\n }}");
    }
    rules.push_str(" chain input {\n  type filter hook input priority 0\n  iif lo accept\n");
    for addr in services {
        let family = if addr.is_ipv4() { "ip" } else { "ip6" };
        let _ = writeln!(rules, "  {family} saddr {addr} tcp sport 443 counter name relayed");
        let _ = writeln!(rules, "  {family} saddr {addr} accept");
    }
    // mDNS.
    rules.push_str("  ip daddr 224.0.0.0/4 accept\n  ip6 daddr ff00::/8 accept\n");
    if let Some(moved) = moved {
        let _ = writeln!(rules, "  meta l4proto udp {moved} counter name moved");
    }
    rules.push_str("  meta l4proto udp counter name direct\n }\n}\n");
    rules
}

/// Returns rules that count the bytes of datagrams that leave a machine, as `leaked`: all UDP and IGMP, except DNS to
/// the services.
pub fn leaks(services: &[IpAddr]) -> String {
    let mut rules = format!("table inet {COUNTERS}\ndelete table inet {COUNTERS}\ntable inet {COUNTERS} {{\n");
    rules.push_str(" counter leaked {\n }\n chain output {\n  type filter hook output priority 0\n  oif lo accept\n");
    for addr in services {
        let family = if addr.is_ipv4() { "ip" } else { "ip6" };
        let _ = writeln!(rules, "  {family} daddr {addr} udp dport 53 accept");
    }
    rules.push_str("  meta l4proto { udp, igmp } counter name leaked\n }\n}\n");
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAN: Option<Ipv4Addr> = Some(Ipv4Addr::new(198, 18, 0, 11));

    #[test]
    fn every_router_answers_only_those_who_were_asked() {
        for nat in [Nat::Home, Nat::RandomPorts, Nat::Hairpin, Nat::Symmetric, Nat::NoUdp, Nat::Firewall] {
            let rules = nat.rules(WAN);
            let drops = rules.matches("iifname wan drop").count();
            assert_eq!(drops, 2, "{rules}");
            assert_eq!(rules.matches('{').count(), rules.matches('}').count(), "{rules}");
        }
    }

    #[test]
    fn only_a_firewall_leaves_addresses_as_they_are() {
        assert!(!Nat::Firewall.rules(WAN).contains("masquerade"));
        assert!(Nat::Home.rules(WAN).contains("oifname wan masquerade\n"));
        assert!(Nat::Symmetric.rules(WAN).contains("oifname wan masquerade fully-random\n"));
        assert!(Nat::NoUdp.rules(WAN).contains("meta l4proto udp drop"));
        assert!(!Nat::Home.rules(WAN).contains("udp drop"));
    }

    #[test]
    fn only_a_hairpin_leads_back_inside() {
        assert!(Nat::Hairpin.rules(WAN).contains("iifname lan ip daddr 198.18.0.11 dnat"));
        assert!(!Nat::Home.rules(WAN).contains("dnat"));
    }

    #[test]
    fn a_router_that_forgot_takes_another_port() {
        let rebound = Rebound { inside: Ipv4Addr::new(10, 0, 1, 2), port: 7, external: 40_000 };
        let rules = Nat::Home.rules_with(WAN, Some(rebound));
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
    fn only_questions_for_names_are_no_leak() {
        let rules = leaks(&["198.18.0.2".parse().unwrap()]);
        let at = |part: &str| rules.find(part).expect(part);
        assert!(at("oif lo accept") < at("ip daddr 198.18.0.2 udp dport 53 accept"));
        assert!(at("udp dport 53 accept") < at("{ udp, igmp } counter name leaked"));
        assert_eq!(rules.matches("accept").count(), 2, "{rules}");
        assert_eq!(rules.matches('{').count(), rules.matches('}').count(), "{rules}");
    }

    #[test]
    fn what_comes_from_the_services_is_not_counted_as_direct() {
        let rules = count(&["198.18.0.2".parse().unwrap()], Some("udp sport 7"));
        let at = |part: &str| rules.find(part).expect(part);
        assert!(at("tcp sport 443 counter name relayed") < at("ip saddr 198.18.0.2 accept"));
        assert!(at("ip saddr 198.18.0.2 accept") < at("udp sport 7 counter name moved"));
        assert!(at("counter name moved") < at("udp counter name direct"));
    }
}
