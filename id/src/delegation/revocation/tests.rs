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

    let revoked: RevocationList = [(key(5), delegation.serial())].into_iter().collect();
    assert_eq!(revoked.check(&delegation), Ok(()));
    assert!(revoked.check(&same_serial).is_err());
    // The node is not the owner, so a revocation in its name has no effect.
    let revoked: RevocationList = [(node(), delegation.serial())].into_iter().collect();
    assert_eq!(revoked.check(&delegation), Ok(()));
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
fn the_list_survives_serde_and_is_counted() {
    let mut revoked = RevocationList::new();
    assert!(revoked.is_empty());
    let entries = [(key(1), Serial::from([1; 16])), (key(1), Serial::from([2; 16])), (key(2), Serial::from([1; 16]))];
    revoked.extend(entries);
    revoked.extend(entries);
    assert_eq!((revoked.len(), revoked.is_empty()), (3, false));
    assert_eq!(revoked.iter().collect::<RevocationList>(), revoked);

    let json = serde_json::to_string(&revoked).unwrap();
    assert_eq!(serde_json::from_str::<RevocationList>(&json).unwrap(), revoked);
    assert!(json.contains(&key(2).to_string()) && json.contains(&"02".repeat(16)), "{json}");
}
