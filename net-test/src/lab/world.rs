//! The small internet of one case: machines, routers, and the cables between them.
//!
//! Every machine and router is a network namespace with cables (veth pairs) to others. All routers and public
//! machines are plugged into `inet` in the middle:
//!
//! ```text
//!   a ── r1 ──┐               ┌── r2 ── b
//!  10.0.1.2   │     inet      │   10.0.2.2
//!             ├──198.18.0.1───┤
//!             │  2001:db8::1  │
//!   srv ──────┘               └── …
//!  198.18.0.2
//! ```
//!
//! Each world has its own copy of these addresses, so cases can be played at the same time. The link between a router
//! and `inet` has a delay, so packets cross on their way as they do on the internet.

use std::{
    fmt::Write,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use super::{
    fault::Fault,
    link::{Link, Plug, Shape, probe},
    nat,
    nat::Nat,
    netns::Netns,
    ping, tools,
};

/// The delay from a router to the internet, one way. The round-trip time is 120 ms between two homes, and 60 ms
/// between a home and the relay.
pub const WAN: Duration = Duration::from_millis(30);

/// The addresses of the services, which are the relay and the DNS server.
pub const SERVICES_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub const SERVICES_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// The kinds of addresses that a machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
    Dual,
}

impl Family {
    pub fn v4(self) -> bool {
        self != Self::V6
    }

    pub fn v6(self) -> bool {
        self != Self::V4
    }
}

#[derive(Debug, Clone)]
pub struct Machine {
    pub netns: Netns,
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    /// The interface at the end of the machine's cable.
    pub uplink: &'static str,
    gateway_v4: Option<Ipv4Addr>,
    gateway_v6: Option<Ipv6Addr>,
    /// The machine reaches others of its network only through the gateway.
    isolated: bool,
}

#[derive(Debug, Clone)]
pub struct Router {
    /// The side towards the internet.
    pub wan: Machine,
    pub nat: Nat,
    number: u8,
    /// The first three bytes of the addresses inside.
    inside: [u8; 3],
    hosts: u8,
}

#[derive(Debug)]
pub struct World {
    prefix: String,
    family: Family,
    routers: u8,
    cables: u32,
    publics: u8,
    inet: Netns,
    netns: Vec<Netns>,
    links: Vec<Link>,
}

impl World {
    /// Creates an internet without machines, for packets of `family`.
    pub async fn new(family: Family) -> Result<Self, Fault> {
        // Only this process sees the names, since it has its own /run.
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("w{}", WORLDS.fetch_add(1, Relaxed));
        let inet = Netns::named(format!("{prefix}-inet"));
        let (netns, links) = (Vec::new(), Vec::new());
        let mut world = Self { prefix, family, routers: 0, cables: 0, publics: 0, inet, netns, links };
        let inet = world.namespace("inet", true).await?;
        let mut lines = String::from("link add hub type bridge\nlink set hub up\n");
        if family.v4() {
            lines.push_str("addr add 198.18.0.1/24 dev hub\n");
        }
        if family.v6() {
            lines.push_str("addr add 2001:db8::1/64 dev hub nodad\n");
        }
        tools::ip(Some(&inet), &lines).await?;
        Ok(world)
    }

    pub async fn services(&mut self) -> Result<Machine, Fault> {
        self.on_the_internet("srv", 2, self.family).await
    }

    pub async fn public(&mut self, name: &str, family: Family) -> Result<Machine, Fault> {
        self.publics += 1;
        self.on_the_internet(name, 100 + self.publics, family).await
    }

    pub async fn router(&mut self, nat: Nat, family: Family) -> Result<Router, Fault> {
        self.distant_router(nat, family, WAN).await
    }

    /// Creates a router. `way` is its delay to the internet.
    pub async fn distant_router(&mut self, nat: Nat, family: Family, way: Duration) -> Result<Router, Fault> {
        self.routers += 1;
        let number = self.routers;
        let wan = self.across(number, family, way).await?;
        if family.v6() {
            let route = format!("route add {}/64 dev r{number}\n", inside_v6(number, 0));
            tools::ip(Some(&self.inet), &route).await?;
        }
        finish_router(Router { wan, nat, number, inside: [10, 0, number], hosts: 1 }).await
    }

    /// Creates the router of a carrier. The machines behind it are routers, in 100.64.0.0/10 (RFC 6598). It has only
    /// IPv4.
    pub async fn carrier(&mut self, nat: Nat) -> Result<Router, Fault> {
        self.routers += 1;
        let number = self.routers;
        let wan = self.across(number, Family::V4, WAN).await?;
        finish_router(Router { wan, nat, number, inside: [100, 64, number], hosts: 1 }).await
    }

    pub async fn router_behind(&mut self, carrier: &mut Router, nat: Nat) -> Result<Router, Fault> {
        self.routers += 1;
        let number = self.routers;
        let wan = self.behind(carrier, &format!("r{number}"), "wan", Family::V4, true).await?;
        finish_router(Router { wan, nat, number, inside: [10, 0, number], hosts: 1 }).await
    }

    pub async fn host(&mut self, router: &mut Router, name: &str, family: Family) -> Result<Machine, Fault> {
        self.behind(router, name, "eth0", family, false).await
    }

    /// Creates a machine behind a router, at the other end of a link that is measured. It has only IPv4.
    pub async fn distant_host(
        &mut self,
        router: &mut Router,
        name: &str,
        shape: Shape,
        seed: u64,
    ) -> Result<(Machine, Link), Fault> {
        self.cables += 1;
        let netns = self.namespace(name, false).await?;
        let [a, b, _] = router.inside;
        // The machine has its own subnet, since the router's end is a device without neighbours.
        let subnet = 100 + u8::try_from(self.cables).unwrap_or_default();
        let far = Machine::v4(netns, [a, b, subnet, 2], [a, b, subnet, 1]);
        let near = Plug { netns: router.wan.netns.clone(), interface: format!("far{}", self.cables) };
        let link = join(&far, &near, shape, seed).await?;
        Ok((far, link))
    }

    /// Creates two machines with only a link between them, which is not measured. They have only IPv4.
    pub async fn two_unverified(&mut self, shape: Shape, seed: u64) -> Result<(Machine, Machine, Link), Fault> {
        self.two_unequal([shape; 2], seed).await
    }

    /// Does the same as [`World::two_unverified`], with one shape from the first machine to the second and one for
    /// the way back.
    pub async fn two_unequal(&mut self, shapes: [Shape; 2], seed: u64) -> Result<(Machine, Machine, Link), Fault> {
        let a = Machine::v4(self.namespace("a", false).await?, [10, 99, 0, 1], [10, 99, 0, 2]);
        let b = Machine::v4(self.namespace("b", false).await?, [10, 99, 0, 2], [10, 99, 0, 1]);
        let link = Link::start_unequal(&a.plug(), &b.plug(), shapes, seed)?;
        a.configure().await?;
        b.configure().await?;
        Ok((a, b, link))
    }

    /// Unplugs a machine from its router, and plugs it into another one, like a laptop that moves.
    pub async fn move_to(&mut self, machine: &mut Machine, router: &mut Router) -> Result<(), Fault> {
        tools::ip(Some(&machine.netns), &format!("link del {}\n", machine.uplink)).await?;
        let family = match (machine.v4, machine.v6) {
            (Some(_), None) => Family::V4,
            (None, Some(_)) => Family::V6,
            _ => Family::Dual,
        };
        let moved = self.plug_in(router, machine.netns.clone(), machine.uplink, family).await?;
        *machine = moved;
        Ok(())
    }

    async fn on_the_internet(&mut self, name: &str, host: u8, family: Family) -> Result<Machine, Fault> {
        let netns = self.namespace(name, false).await?;
        let (machine, inet) = (public_machine(netns, "eth0", host, family), self.inet.clone());
        self.cable(&inet, "hub", &machine).await?;
        Ok(machine)
    }

    /// Creates a router's side towards the internet, with a link that is measured.
    async fn across(&mut self, number: u8, family: Family, way: Duration) -> Result<Machine, Fault> {
        let netns = self.namespace(&format!("r{number}"), true).await?;
        let machine = public_machine(netns, "wan", 10 + number, family);
        let near = Plug { netns: self.inet.clone(), interface: format!("r{number}") };
        let shape = Shape { delay: way, ..Shape::CABLE };
        self.links.push(Link::start(&machine.plug(), &near, shape, number.into())?);
        let mut lines = format!("link set r{number} up\n");
        for addr in machine.addrs() {
            let _ = writeln!(lines, "route add {addr} dev r{number}");
        }
        tools::ip(Some(&self.inet), &lines).await?;
        machine.configure().await?;
        for gateway in machine.gateways() {
            ping::verify(&machine.netns, &self.inet, gateway, way).await?;
        }
        Ok(machine)
    }

    async fn behind(
        &mut self,
        router: &mut Router,
        name: &str,
        uplink: &'static str,
        family: Family,
        routes: bool,
    ) -> Result<Machine, Fault> {
        let netns = self.namespace(name, routes).await?;
        self.plug_in(router, netns, uplink, family).await
    }

    async fn plug_in(
        &mut self,
        router: &mut Router,
        netns: Netns,
        uplink: &'static str,
        family: Family,
    ) -> Result<Machine, Fault> {
        router.hosts += 1;
        let [a, b, c] = router.inside;
        let machine = Machine {
            netns,
            v4: family.v4().then(|| Ipv4Addr::new(a, b, c, router.hosts)),
            v6: family.v6().then(|| inside_v6(router.number, router.hosts.into())),
            uplink,
            gateway_v4: family.v4().then(|| Ipv4Addr::new(a, b, c, 1)),
            gateway_v6: family.v6().then(|| inside_v6(router.number, 1)),
            isolated: false,
        };
        let at = router.wan.netns.clone();
        self.cable(&at, "lan", &machine).await?;
        Ok(machine)
    }

    /// Plugs a cable from a machine into a bridge, and sets the machine's addresses and routes.
    async fn cable(&mut self, at: &Netns, bridge: &str, machine: &Machine) -> Result<(), Fault> {
        self.cables += 1;
        let (port, uplink, name) = (format!("p{}", self.cables), machine.uplink, machine.netns.name());
        let pair = format!("link add {port} netns {} type veth peer name {uplink} netns {name}\n", at.name());
        tools::ip(None, &pair).await?;
        tools::ip(Some(at), &format!("link set {port} master {bridge} up\n")).await?;
        machine.configure().await
    }

    async fn namespace(&mut self, name: &str, routes: bool) -> Result<Netns, Fault> {
        let netns = Netns::named(format!("{}-{name}", self.prefix));
        // The name is removed even if the creation fails half-way.
        self.netns.push(netns.clone());
        create(&netns, routes).await?;
        Ok(netns)
    }

    /// Removes the namespaces, as a drop does. Processes inside lose their network. A namespace ends with its last
    /// process.
    pub async fn end(mut self) -> Result<(), Fault> {
        let removed = tokio::task::spawn_blocking(move || self.remove()).await;
        removed.map_err(io::Error::from).flatten().map_err(|error| Fault::lab("a namespace cannot be removed", error))
    }

    /// Returns the names of the namespaces.
    pub fn names(&self) -> Vec<String> {
        self.netns.iter().map(|netns| netns.name().to_owned()).collect()
    }

    fn remove(&mut self) -> io::Result<()> {
        self.links.clear();
        self.netns.drain(..).map(|netns| netns.remove()).fold(Ok(()), Result::and)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The fault that drops a world is more informative than an error here.
        let _ = self.remove();
    }
}

impl Machine {
    /// Creates a machine with only IPv4.
    fn v4(netns: Netns, addr: [u8; 4], gateway: [u8; 4]) -> Self {
        Self {
            netns,
            v4: Some(addr.into()),
            v6: None,
            uplink: "eth0",
            gateway_v4: Some(gateway.into()),
            gateway_v6: None,
            isolated: false,
        }
    }

    pub fn addrs(&self) -> Vec<IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6)).collect()
    }

    pub fn addr(&self) -> Result<Ipv4Addr, Fault> {
        self.v4.ok_or_else(|| Fault::Lab(format!("{} has no address of IPv4", self.netns.name())))
    }

    fn plug(&self) -> Plug {
        Plug { netns: self.netns.clone(), interface: self.uplink.to_owned() }
    }

    fn gateways(&self) -> Vec<IpAddr> {
        self.gateway_v4.map(IpAddr::V4).into_iter().chain(self.gateway_v6.map(IpAddr::V6)).collect()
    }

    /// Unplugs the cable, or plugs it in again and sets the addresses and routes that the kernel has forgotten.
    pub async fn set_link(&self, up: bool) -> Result<(), Fault> {
        if up {
            self.configure().await
        } else {
            tools::ip(Some(&self.netns), &format!("link set {} down\n", self.uplink)).await
        }
    }

    async fn configure(&self) -> Result<(), Fault> {
        let (uplink, [v4, v6]) = (self.uplink, if self.isolated { [32, 128] } else { [24, 64] });
        let mut lines = format!("link set {uplink} up\n");
        if let (Some(addr), Some(gateway)) = (self.v4, self.gateway_v4) {
            let _ = writeln!(lines, "addr replace {addr}/{v4} dev {uplink}");
            let _ = writeln!(lines, "route replace default via {gateway} dev {uplink} onlink");
        }
        if let (Some(addr), Some(gateway)) = (self.v6, self.gateway_v6) {
            let _ = writeln!(lines, "addr replace {addr}/{v6} dev {uplink} nodad");
            let _ = writeln!(lines, "route replace default via {gateway} dev {uplink} onlink");
        }
        tools::ip(Some(&self.netns), &lines).await
    }
}

impl Router {
    /// Silently drops all UDP to and from these addresses.
    pub async fn cut(&self, with: &[IpAddr]) -> Result<(), Fault> {
        tools::nft(&self.wan.netns, &nat::cut(with)).await
    }

    /// Removes the rules of [`Router::cut`].
    pub async fn heal(&self) -> Result<(), Fault> {
        tools::nft(&self.wan.netns, nat::HEAL).await
    }

    /// Lets the router forget, from now on, mappings that no packet has used for `idle`.
    pub fn forget_after(&self, idle: Duration) -> Result<(), Fault> {
        let write = || {
            for name in ["nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"] {
                fs::write(format!("/proc/sys/net/netfilter/{name}"), idle.as_secs().to_string())?;
            }
            Ok(())
        };
        let written: io::Result<()> = self.wan.netns.inside(write)?;
        written.map_err(|error| Fault::lab("a router cannot be told to forget", error))
    }

    /// Makes the router forget all mappings, and maps one port to another one from now on.
    pub async fn rebind(&self, rebound: nat::Rebound) -> Result<(), Fault> {
        tools::nft(&self.wan.netns, &self.nat.rules_with(self.wan.v4, Some(rebound))).await?;
        // The kernel forgets the mappings of an interface that goes down.
        self.wan.set_link(false).await?;
        self.wan.set_link(true).await
    }
}

async fn finish_router(router: Router) -> Result<Router, Fault> {
    let [a, b, c] = router.inside;
    let mut lines = String::from("link add lan type bridge\nlink set lan up\n");
    if router.wan.v4.is_some() {
        let _ = writeln!(lines, "addr add {a}.{b}.{c}.1/24 dev lan");
    }
    if router.wan.v6.is_some() {
        let _ = writeln!(lines, "addr add {}/64 dev lan nodad", inside_v6(router.number, 1));
    }
    tools::ip(Some(&router.wan.netns), &lines).await?;
    tools::nft(&router.wan.netns, &router.nat.rules(router.wan.v4)).await?;
    Ok(router)
}

/// Creates a link from a machine to a router, and measures it.
async fn join(far: &Machine, near: &Plug, shape: Shape, seed: u64) -> Result<Link, Fault> {
    let (Some(addr), Some(gateway)) = (far.v4, far.gateway_v4) else {
        return Err(Fault::Lab("a link without addresses".into()));
    };
    let link = Link::start(&far.plug(), near, shape, seed)?;
    let lines = format!("addr add {gateway}/24 dev {0}\nlink set {0} up\n", near.interface);
    tools::ip(Some(&near.netns), &lines).await?;
    far.configure().await?;
    let down = probe::Way { from: near.netns.clone(), to: far.netns.clone(), addr };
    probe::verify(&down, &shape).await?;
    probe::verify(&probe::Way { from: far.netns.clone(), to: near.netns.clone(), addr: gateway }, &shape).await?;
    Ok(link)
}

pub fn way(from: &Machine, to: &Machine) -> Result<probe::Way, Fault> {
    Ok(probe::Way { from: from.netns.clone(), to: to.netns.clone(), addr: to.addr()? })
}

async fn create(netns: &Netns, routes: bool) -> Result<(), Fault> {
    tools::ip(None, &format!("netns add {}\n", netns.name())).await?;
    let set = |names: &[&str], value| -> io::Result<()> {
        names.iter().try_for_each(|name| fs::write(format!("/proc/sys/net/{name}"), value))
    };
    let written = netns.inside(|| {
        // While duplicate address detection runs, neighbours do not answer, and the first packet takes 2 s.
        set(&["ipv6/conf/all/accept_dad", "ipv6/conf/default/accept_dad"], "0")?;
        if routes { set(&["ipv4/ip_forward", "ipv6/conf/all/forwarding"], "1") } else { Ok(()) }
    })?;
    written.map_err(|error| Fault::lab("a machine cannot be set up", error))?;
    tools::ip(Some(netns), "link set lo up\n").await
}

/// Returns a machine that reaches others only through `inet`, since some are at the end of a link.
fn public_machine(netns: Netns, uplink: &'static str, host: u8, family: Family) -> Machine {
    Machine {
        netns,
        v4: family.v4().then(|| Ipv4Addr::new(198, 18, 0, host)),
        v6: family.v6().then(|| inside_v6(0, host.into())),
        uplink,
        gateway_v4: family.v4().then_some(Ipv4Addr::new(198, 18, 0, 1)),
        gateway_v6: family.v6().then(|| inside_v6(0, 1)),
        isolated: true,
    }
}

fn inside_v6(router: u8, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, router.into(), 0, 0, 0, 0, host)
}
