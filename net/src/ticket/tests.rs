use proptest::prelude::*;

use super::*;

const ID52: &str = "qtd9g0c2m45bflabvr9sip07787e2snjraj269df08d6hto7a4d0";

fn bare() -> Ticket {
    ID52.parse().expect("an id52")
}

fn addr(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 4433))
}

fn with(ticket: Ticket, last: u8) -> Ticket {
    ticket.with_addr(addr(last)).expect("it fits")
}

/// Returns the URL of a relay with a path of this length.
fn relay(len: usize) -> RelayUrl {
    format!("https://relay.example/{}", "a".repeat(len)).parse().expect("a relay")
}

#[test]
fn a_ticket_keeps_its_addresses_and_relays() {
    let ticket: Ticket = ID52.parse().expect("an id52");
    let ticket = ticket
        .with_addr("[2001:db8::1]:9".parse().expect("an address"))
        .and_then(|ticket| ticket.with_relay("https://relay.example".parse().expect("a relay")))
        .expect("both fit");
    let text = ticket.to_string();
    assert!(text.starts_with("endpoint"));
    assert_eq!(text.parse::<Ticket>(), Ok(ticket.clone()));
    assert_eq!(ticket.relay_only().addrs().len(), 1);
}

#[test]
fn each_kind_of_wrong_ticket_says_what_is_wrong() {
    let ticket = ID52.parse::<Ticket>().expect("an id52").to_string();
    assert!(matches!(ticket[..ticket.len() - 3].parse::<Ticket>(), Err(ParseTicketError::Damaged(_))));
    assert!(matches!("endpoint".parse::<Ticket>(), Err(ParseTicketError::Damaged(_))));
    assert!(matches!("".parse::<Ticket>(), Err(ParseTicketError::Id52(_))));
    assert!(matches!(ID52[1..].parse::<Ticket>(), Err(ParseTicketError::Id52(_))));
    assert!(matches!(ID52.replace('q', "z").parse::<Ticket>(), Err(ParseTicketError::Id52(_))));
}

#[test]
fn white_space_around_a_pasted_ticket_does_no_harm() {
    assert!(format!("  {ID52}\n").parse::<Ticket>().is_ok());
}

#[test]
fn what_an_endpoint_was_told_is_remembered_by_every_clone_and_not_by_another_ticket() {
    assert!(bare().is_known_under(1), "it says nothing of where its peer is");
    let ticket = with(bare(), 7);
    assert!(!ticket.is_known_under(1));
    ticket.clone().told(1);
    assert!(ticket.is_known_under(1) && !ticket.is_known_under(2));
    assert!(!with(ticket, 8).is_known_under(1), "one address of it is new");
}

#[test]
fn a_ticket_has_32_addresses_and_the_error_for_more_names_the_bound() {
    let full = (0..32).fold(bare(), with);
    assert_eq!(full.to_string().parse::<Ticket>(), Ok(full.clone()));
    let over = TicketError::TooManyAddresses { found: 33, max: 32 };
    assert_eq!(full.clone().with_addr(addr(32)), Err(over.clone()));
    assert_eq!(full.clone().with_relay(relay(10)), Err(over.clone()));
    assert!(over.to_string().contains("33 addresses, and the limit is 32"), "{over}");
    // An address that is in it already is no further one.
    assert_eq!(full.clone().with_addr(addr(0)), Ok(full.clone()));

    let mut foreign = full.to_addr();
    foreign.addrs.insert(TransportAddr::Ip(addr(32)));
    assert_eq!(EndpointTicket::new(foreign.clone()).to_string().parse::<Ticket>(), Err(over.clone().into()));
    assert_eq!(Ticket::from_addr(foreign), Err(over));
}

#[test]
fn a_ticket_has_4096_bytes_of_text_and_the_error_for_more_names_the_bound() {
    // The longest name of a relay with which the text is within the bound.
    let fits = (0..4096).rev().find(|len| bare().with_relay(relay(*len)).is_ok()).expect("some fit");
    let longest = bare().with_relay(relay(fits)).expect("it was tried");
    assert!((4090..=4096).contains(&longest.to_string().len()), "{}", longest.to_string().len());
    assert_eq!(longest.to_string().parse::<Ticket>(), Ok(longest));
    for more in [1, 2, 1000] {
        let ticket = EndpointTicket::new(bare().to_addr().with_relay_url(relay(fits + more)));
        let over = TicketError::TooLong { len: ticket.to_string().len(), max: 4096 };
        assert_eq!(bare().with_relay(relay(fits + more)), Err(over.clone()));
        assert_eq!(ticket.to_string().parse::<Ticket>(), Err(over.clone().into()));
        assert_eq!(Ticket::from_addr(ticket.endpoint_addr().clone()), Err(over));
    }
}

#[test]
fn a_text_over_the_bound_is_refused_whatever_it_says() {
    for text in ["endpoint".to_owned() + &"a".repeat(4089), "x".repeat(4097), "endpoint".repeat(1 << 20)] {
        let over = TicketError::TooLong { len: text.len(), max: 4096 };
        assert_eq!(text.parse::<Ticket>(), Err(over.into()));
    }
    assert!(matches!("x".repeat(4096).parse::<Ticket>(), Err(ParseTicketError::Id52(_))));
    assert_eq!(format!("{ID52}{}", " ".repeat(8192)).parse::<Ticket>(), Ok(bare()));
}

#[test]
fn of_too_many_addresses_of_a_machine_the_most_useful_ones_are_shown() {
    let private = (0..40).map(|last| SocketAddr::from(([10, 0, 0, last], 1)));
    let global: [SocketAddr; 3] = [addr(1), addr(2), "[2001:db8::1]:1".parse().expect("an address")];
    let all = private.chain(global).map(TransportAddr::Ip).chain([TransportAddr::Relay(relay(10))]);
    let ticket = Ticket::of_those_that_fit(bare().peer(), all);
    assert_eq!(ticket.addrs().len(), 32);
    assert_eq!(ticket.to_string().parse::<Ticket>(), Ok(ticket.clone()));
    assert!(ticket.addrs().contains(&TransportAddr::Relay(relay(10))));
    assert!(global.iter().all(|addr| ticket.addrs().contains(&TransportAddr::Ip(*addr))));
}

#[test]
fn an_address_of_a_private_network_is_told_from_one_that_everybody_can_reach() {
    let is_private = |ip: &str| is_private(ip.parse().expect("an address"));
    for ip in ["10.1.2.3", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.1.1", "100.64.0.1", "100.127.255.255"] {
        assert!(is_private(ip), "{ip}");
    }
    for ip in ["::1", "fe80::1", "fd00::1", "fc00::1", "::ffff:10.0.0.1"] {
        assert!(is_private(ip), "{ip}");
    }
    for ip in ["192.0.2.1", "100.63.255.255", "100.128.0.0", "172.32.0.1", "2001:db8::1", "::ffff:192.0.2.1"] {
        assert!(!is_private(ip), "{ip}");
    }
}

proptest! {
    #[test]
    fn what_fits_into_a_ticket_is_a_ticket(
        lens in prop::collection::vec(prop_oneof![0..60_usize, 0..3000_usize], 0..50),
    ) {
        let addrs = lens.iter().enumerate().map(|(n, len)| match len % 2 {
            0 => TransportAddr::Ip(addr(n as u8)),
            _ => TransportAddr::Relay(relay(*len)),
        });
        let addrs: Vec<_> = addrs.collect();
        let taken = fitting(bare().id(), addrs.clone());
        prop_assert!(check(bare().id(), &taken.iter().cloned().collect()).is_ok());
        // The first one that is left out does not fit beside those before it.
        let taken: BTreeSet<_> = taken.into_iter().collect();
        if let Some(left_out) = addrs.iter().find(|addr| !taken.contains(*addr)) {
            let before = addrs.iter().take_while(|addr| *addr != left_out);
            prop_assert!(check(bare().id(), &before.chain([left_out]).cloned().collect()).is_err());
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(endpoint)?[a-z0-9 ]{0,200}|\\PC{0,50}") {
        let _ = text.parse::<Ticket>();
    }
}
