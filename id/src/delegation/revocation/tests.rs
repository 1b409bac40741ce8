use proptest::{collection::vec, prelude::*};

use super::*;
use crate::delegation::sample::*;

#[test]
fn a_revoked_certificate_is_refused_until_the_revocation_is_taken_back() {
    let (delegation, mut revoked) = (sample(), RevocationList::new());
    let (owner, serial) = (delegation.owner(), delegation.serial());
    assert_eq!(revoked.check(&delegation), Ok(()));

    assert!(revoked.insert(owner, serial));
    assert!(!revoked.insert(owner, serial));
    assert!(revoked.contains(owner, serial));
    assert_eq!(revoked.check(&delegation), Err(DelegationError::Revoked { serial }));

    assert!(revoked.remove(owner, serial));
    assert!(!revoked.remove(owner, serial));
    assert_eq!(revoked.check(&delegation), Ok(()));
}

#[test]
fn an_owner_revokes_their_own_certificates_only() {
    let delegation = sample();
    let same_serial = builder().sign(&secret(5)).unwrap();
    assert_eq!(same_serial.serial(), delegation.serial());

    let (serial, node, time) = (delegation.serial(), delegation.node(), at(END));
    for other in [key(5), node] {
        // The node is not the owner, so a revocation in its name has no effect.
        let entries = [
            Revocation::Certificate { owner: other, serial },
            Revocation::Node { owner: other, node },
            Revocation::Before { owner: other, time },
        ];
        let revoked: RevocationList = entries.into_iter().collect();
        assert_eq!(revoked.check(&delegation), Ok(()));
        assert_eq!(revoked.check(&same_serial).is_err(), other == key(5));
    }
}

#[test]
fn another_serial_of_the_same_owner_is_not_touched() {
    let other = builder().serial([7; 16]).sign(&owner()).unwrap();
    let mut revoked = RevocationList::new();
    revoked.insert(other.owner(), other.serial());
    assert_eq!(revoked.check(&sample()), Ok(()));
    assert!(revoked.check(&other).is_err());
}

#[test]
fn a_node_that_is_revoked_has_no_certificate_of_the_owner_any_more_and_other_nodes_do() {
    let (owner, node) = (owner().public_key(), node());
    let lost = Revocation::Node { owner, node };
    let mut revoked = RevocationList::new();
    assert!(revoked.revoke(lost) && !revoked.revoke(lost));
    let later = builder().serial([7; 16]).not_before(at(BEGIN + 1)).sign(&self::owner()).unwrap();
    for certificate in [sample(), later] {
        assert_eq!(revoked.check(&certificate), Err(DelegationError::NodeRevoked { node }));
    }
    let expires = at(END);
    let other = Delegation::build(key(6)).scope(pattern("*")).not_before(at(BEGIN)).expires(expires);
    assert_eq!(revoked.check(&other.sign(&self::owner()).unwrap()), Ok(()));
    assert!(revoked.take_back(lost) && !revoked.take_back(lost));
    assert_eq!(revoked.check(&sample()), Ok(()));
}

#[test]
fn what_began_before_the_time_is_revoked_and_what_began_at_it_is_not() {
    let (owner, sample) = (owner().public_key(), sample());
    let part = std::time::Duration::from_nanos(1);
    for (time, holds) in [(at(BEGIN - 1), true), (at(BEGIN), true), (at(BEGIN) + part, false), (at(END), false)] {
        let revoked = RevocationList::from_iter([Revocation::Before { owner, time }]);
        assert_eq!(revoked.check(&sample).is_ok(), holds, "{time:?}");
    }
}

#[test]
fn of_two_times_the_later_one_counts_and_is_what_is_taken_back() {
    let owner = owner().public_key();
    let [earlier, later] = [at(BEGIN), at(BEGIN + 1)].map(|time| Revocation::Before { owner, time });
    let mut revoked = RevocationList::new();
    assert!(revoked.revoke(earlier) && revoked.revoke(later) && !revoked.revoke(earlier) && !revoked.revoke(later));
    assert_eq!(revoked.check(&sample()), Err(DelegationError::RevokedBefore { before: at(BEGIN + 1) }));
    assert_eq!(revoked.iter().collect::<Vec<_>>(), [later]);
    assert!(!revoked.take_back(earlier) && revoked.take_back(later) && revoked.is_empty());
}

#[test]
fn the_list_survives_serde_and_is_counted() {
    let mut revoked = RevocationList::new();
    assert!(revoked.is_empty());
    let serial = Serial::from([2; 16]);
    let entries = [
        Revocation::Certificate { owner: key(1), serial: Serial::from([1; 16]) },
        Revocation::Certificate { owner: key(1), serial },
        Revocation::Node { owner: key(2), node: key(1) },
        Revocation::Before { owner: key(2), time: at(BEGIN) },
    ];
    revoked.extend(entries);
    revoked.extend(entries);
    assert_eq!((revoked.len(), revoked.is_empty()), (4, false));
    assert_eq!(revoked.iter().collect::<RevocationList>(), revoked);

    let json = serde_json::to_string(&revoked).unwrap();
    assert_eq!(serde_json::from_str::<RevocationList>(&json).unwrap(), revoked);
    assert!(json.contains(&key(2).to_string()) && json.contains(&"02".repeat(16)), "{json}");
    let bytes = postcard::to_stdvec(&revoked).unwrap();
    assert_eq!(postcard::from_bytes::<RevocationList>(&bytes).unwrap(), revoked);
}

#[test]
fn the_text_has_a_line_for_each_entry_and_people_may_write_beside_them() {
    let (owner, node) = (key(1), key(2));
    let text = format!(
        "# lost in the train\n\n  node {owner}  {node}\r\nbefore {owner} 2030-05-01T12:00:00Z\n\
         certificate {owner} 02020202020202020202020202020202"
    );
    let list: RevocationList = text.parse().unwrap();
    assert_eq!(
        list.to_string(),
        format!(
            "certificate {owner} 02020202020202020202020202020202\nnode {owner} {node}\n\
             before {owner} 2030-05-01T12:00:00Z\n"
        )
    );
}

#[test]
fn a_line_that_cannot_be_read_is_named_and_said_to_be_wrong_in_its_way() {
    let owner = key(1);
    let cases = [
        ("node".to_owned(), "three words, not 1"),
        (format!("node {owner} {owner} again"), "three words, not 4"),
        (format!("machine {owner} {owner}"), "certificate, node or before"),
        (format!("node me {owner}"), "the owner is not a key"),
        (format!("node {owner} you"), "the node is not a key"),
        (format!("certificate {owner} 02"), "the serial cannot be read"),
        (format!("before {owner} yesterday"), "2030-05-01T12:00:00Z"),
        // Not in UTC.
        (format!("before {owner} 2030-05-01T12:00:00"), "2030-05-01T12:00:00Z"),
    ];
    for (line, what) in cases {
        let error = format!("# first\n{line}\n").parse::<RevocationList>().unwrap_err();
        assert_eq!(error.line, 2);
        assert!(error.to_string().contains(what) && error.to_string().starts_with("line 2: "), "{line}: {error}");
    }
}

fn any_revocation() -> impl Strategy<Value = Revocation> {
    let owner = 1u8..4;
    prop_oneof![
        (owner.clone(), any::<[u8; 16]>())
            .prop_map(|(owner, serial)| Revocation::Certificate { owner: key(owner), serial: serial.into() }),
        (owner.clone(), 1u8..4).prop_map(|(owner, node)| Revocation::Node { owner: key(owner), node: key(node) }),
        (owner, 0..=time::MAX).prop_map(|(owner, time)| Revocation::Before { owner: key(owner), time: at(time) }),
    ]
}

proptest! {
    #[test]
    fn any_list_is_read_again_as_it_was_written(entries in vec(any_revocation(), 0..20)) {
        let list: RevocationList = entries.iter().copied().collect();
        prop_assert_eq!(list.to_string().parse::<RevocationList>(), Ok(list.clone()));
        for entry in list.iter() {
            prop_assert_eq!(entry.to_string().parse::<Revocation>(), Ok(entry));
        }
    }

    #[test]
    fn no_text_makes_the_parser_of_a_list_panic(text in any::<String>()) {
        let _ = text.parse::<RevocationList>();
    }
}
