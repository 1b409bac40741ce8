use super::*;

const LOOPBACK: &str = "127.0.0.1:0";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn made(wishes: &Wishes) -> Result<Plan, BindError> {
    let n0_relays = ["https://n0.example".parse().unwrap()];
    let env = |name: &str| (name == "HTTPS_PROXY").then(|| "http://proxy.example:3128".to_owned());
    Plan::make(wishes, &Surroundings { mdns: true, n0_relays: &n0_relays, env: &env })
}

fn relay() -> Relay {
    Relay::new("https://relay.example")
}

/// What an endpoint does, in a line: its relays, directories, sockets, multicast, port mapping and DNS.
fn told(plan: &Plan) -> String {
    let relays = match &plan.relays {
        PlannedRelays::None => "no relay".to_owned(),
        PlannedRelays::N0 => "n0's relays".to_owned(),
        PlannedRelays::Own(own) => format!("{} own", own.len()),
    };
    let directories = match (plan.n0_directory, &plan.directory) {
        (false, None) => "none",
        (true, None) => "n0",
        (false, Some(_)) => "own",
        (true, Some(_)) => "n0 and own",
    };
    let sockets = match &plan.sockets {
        Sockets::None => "no socket".to_owned(),
        Sockets::Any => "any".to_owned(),
        Sockets::At(addrs) => addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    };
    let mut line = format!("{relays}, directory {directories}, {sockets}");
    for (is, what) in [(plan.mdns, ", mdns"), (plan.port_mapping, ", ports"), (plan.dns != Dns::None, ", dns")] {
        line.push_str(if is { what } else { "" });
    }
    line
}

#[test]
fn what_an_endpoint_does_follows_from_all_that_was_asked_for() {
    let directory = || Some(("https://dns.example/pkarr".to_owned(), "dns.example".to_owned()));
    let default = Wishes::default;
    let table = [
        ("nothing asked for", default(), "n0's relays, directory n0, any, mdns, ports, dns"),
        ("no n0", Wishes { n0: Some(false), ..default() }, "no relay, directory none, any, mdns, dns"),
        ("an own relay", Wishes { relays: vec![relay()], ..default() }, "1 own, directory none, any, mdns, dns"),
        (
            "own relays, and n0's directory",
            Wishes { relays: vec![relay(), Relay::new("http://other.example")], n0: Some(true), ..default() },
            "2 own, directory n0, any, mdns, ports, dns",
        ),
        ("a directory", Wishes { directory: directory(), ..default() }, "no relay, directory own, any, mdns, dns"),
        (
            "both directories",
            Wishes { directory: directory(), n0: Some(true), ..default() },
            "n0's relays, directory n0 and own, any, mdns, ports, dns",
        ),
        ("no multicast", Wishes { mdns: Some(false), ..default() }, "n0's relays, directory n0, any, ports, dns"),
        (
            "no port mapping",
            Wishes { port_mapping: Some(false), ..default() },
            "n0's relays, directory n0, any, mdns, dns",
        ),
        (
            "an address: nothing goes out on the other interfaces",
            Wishes { bind_addrs: vec![addr("192.0.2.7:0")], ..default() },
            "n0's relays, directory n0, 192.0.2.7:0, dns",
        ),
        (
            "an address, and multicast by name",
            Wishes { bind_addrs: vec![addr("192.0.2.7:0")], mdns: Some(true), ..default() },
            "n0's relays, directory n0, 192.0.2.7:0, mdns, dns",
        ),
        (
            "a port",
            Wishes { bind_addrs: vec![addr("0.0.0.0:7")], ..default() },
            "n0's relays, directory n0, 0.0.0.0:7, mdns, ports, dns",
        ),
        ("offline", Wishes { offline: true, ..default() }, "no relay, directory none, 127.0.0.1:0"),
        (
            "offline at an address",
            Wishes { offline: true, bind_addrs: vec![addr("[::1]:0")], ..default() },
            "no relay, directory none, [::1]:0",
        ),
        (
            "offline, whatever else was asked for",
            Wishes {
                offline: true,
                n0: Some(true),
                mdns: Some(true),
                port_mapping: Some(true),
                relays: vec![relay()],
                directory: directory(),
                nameserver: Some(addr("192.0.2.53:53")),
                public_resolvers: true,
                proxy: ProxyFrom::Environment,
                ..default()
            },
            "no relay, directory none, 127.0.0.1:0",
        ),
        ("over relays only", Wishes { relay_only: true, ..default() }, "n0's relays, directory n0, no socket, dns"),
        (
            "over an own relay only, whatever else was asked for",
            Wishes {
                relay_only: true,
                relays: vec![relay()],
                mdns: Some(true),
                port_mapping: Some(true),
                bind_addrs: vec![addr("192.0.2.7:0")],
                ..default()
            },
            "1 own, directory none, no socket, dns",
        ),
    ];
    for (what, wishes, expected) in table {
        assert_eq!(told(&made(&wishes).unwrap()), expected, "{what}");
    }
}

#[test]
fn without_multicast_built_in_it_is_on_only_by_name() {
    let around = Surroundings { mdns: false, n0_relays: &[], env: &|_| None };
    for (asked, on) in [(None, false), (Some(false), false), (Some(true), true)] {
        let wishes = Wishes { mdns: asked, ..Wishes::default() };
        assert_eq!(Plan::make(&wishes, &around).unwrap().mdns, on, "{asked:?}");
    }
}

#[test]
fn only_those_name_servers_are_asked_that_the_system_or_the_program_names() {
    let at = addr("192.0.2.53:53");
    let dns =
        |nameserver, public_resolvers| made(&Wishes { nameserver, public_resolvers, ..Wishes::default() }).unwrap().dns;
    assert_eq!(dns(None, false), Dns::System { public: false });
    assert_eq!(dns(None, true), Dns::System { public: true });
    assert_eq!(dns(Some(at), false), Dns::Server { at, public: false });
    assert_eq!(dns(Some(at), true), Dns::Server { at, public: true });
}

#[test]
fn a_proxy_is_used_if_the_program_asks_for_one() {
    let proxy = |proxy, offline| {
        let plan = made(&Wishes { proxy, offline, ..Wishes::default() }).unwrap();
        plan.proxy.map(|url| url.to_string())
    };
    assert_eq!(proxy(ProxyFrom::Nowhere, false), None);
    assert_eq!(proxy(ProxyFrom::Environment, false).as_deref(), Some("http://proxy.example:3128/"));
    assert_eq!(proxy(ProxyFrom::Program("https://p.example".to_owned()), false).as_deref(), Some("https://p.example/"));
    assert_eq!(proxy(ProxyFrom::Environment, true), None);
}

#[test]
fn each_relay_has_its_own_token() {
    let relays = vec![relay().token("first"), Relay::new("http://other.example"), Relay::new("https://x.example")];
    let plan = made(&Wishes { relays, ..Wishes::default() }).unwrap();
    let PlannedRelays::Own(own) = plan.relays else { panic!("{:?}", plan.relays) };
    let seen: Vec<_> = own.iter().map(|relay| (relay.token.as_deref(), relay.discovers())).collect();
    assert_eq!(seen, [(Some("first"), true), (None, false), (None, true)]);
}

#[test]
fn what_leaves_no_path_or_cannot_be_bound_is_an_error() {
    let default = Wishes::default;
    let nothing = Wishes { relay_only: true, n0: Some(false), ..default() };
    assert!(matches!(made(&nothing), Err(BindError::NoPath { offline: false })));
    let contrary = Wishes { relay_only: true, relays: vec![relay()], offline: true, ..default() };
    assert!(matches!(made(&contrary), Err(BindError::NoPath { offline: true })));

    let bound = |addrs: &[&str]| {
        let bind_addrs = addrs.iter().map(|text| addr(text)).collect();
        made(&Wishes { bind_addrs, ..default() }).map(|plan| plan.sockets)
    };
    assert_eq!(bound(&[LOOPBACK, "[::1]:0"]).unwrap(), Sockets::At(vec![addr(LOOPBACK), addr("[::1]:0")]));
    assert_eq!(bound(&[LOOPBACK, LOOPBACK]).unwrap(), Sockets::At(vec![addr(LOOPBACK)]));
    let error = bound(&["192.0.2.7:0", "[::1]:0", LOOPBACK]).unwrap_err();
    assert!(matches!(error, BindError::TwoAddresses { first, .. } if first == addr("192.0.2.7:0")), "{error}");
    assert!(error.to_string().contains("192.0.2.7:0") && error.to_string().contains(LOOPBACK), "{error}");
}

#[test]
fn what_cannot_be_used_is_said_also_where_it_would_be_void() {
    let offline = || Wishes { offline: true, ..Wishes::default() };
    let relay = made(&Wishes { relays: vec![Relay::new("ftp://relay.example")], ..offline() });
    assert!(matches!(relay, Err(BindError::RelayUrl(_))), "{relay:?}");
    for pkarr in ["no url", "ftp://dns.example/pkarr"] {
        let directory = Some((pkarr.to_owned(), "dns.example".to_owned()));
        let directory = made(&Wishes { directory, ..offline() });
        assert!(matches!(directory, Err(BindError::DirectoryUrl(_))), "{directory:?}");
    }
}
