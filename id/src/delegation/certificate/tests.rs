use std::time::UNIX_EPOCH;

use super::*;
use crate::delegation::sample::*;

/// Returns the circumstances that the owner of the sample intended: shown by the node, to any peer, during its
/// validity.
fn presented() -> Presented {
    Presented { now: at(BEGIN + 1000), skew: Duration::ZERO, node: node(), audience: key(9) }
}

#[test]
fn the_fields_are_those_that_were_signed() {
    let delegation = builder().audience(key(4)).audience(key(3)).sign(&owner()).unwrap();
    assert_eq!(delegation.owner(), owner().public_key());
    assert_eq!(delegation.node(), node());
    assert_eq!(delegation.scope(), ["chat/*", "mail/1"].map(pattern));
    let mut audience = [key(3), key(4)];
    audience.sort();
    assert_eq!(delegation.audience(), audience);
    assert_eq!((delegation.not_before(), delegation.expires()), (at(BEGIN), at(END)));
    assert_eq!(delegation.serial().as_bytes(), b"0123456789abcdef");
    assert_eq!(delegation.to_bytes(), delegation.as_bytes());
}

#[test]
fn it_holds_for_the_node_that_it_names() {
    assert_eq!(sample().verify(&presented()), Ok(()));
}

#[test]
fn a_copy_in_the_hands_of_anybody_else_is_worthless_and_the_error_names_both() {
    // The keys of a stranger, of the peer that it was shown to, and of the owner, which is not a node.
    for presented_by in [key(7), presented().audience, owner().public_key()] {
        let error = sample().verify(&Presented { node: presented_by, ..presented() });
        assert_eq!(error, Err(DelegationError::WrongNode { named: node(), presented_by }));
    }
}

#[test]
fn an_audience_is_kept_to_and_no_audience_is_everybody() {
    let delegation = builder().audience(key(3)).audience(key(4)).sign(&owner()).unwrap();
    for us in [key(3), key(4)] {
        assert_eq!(delegation.verify(&Presented { audience: us, ..presented() }), Ok(()));
    }
    // Neither the owner nor the node is in the audience unless it is named.
    for us in [key(5), owner().public_key(), node()] {
        let error = delegation.verify(&Presented { audience: us, ..presented() });
        assert_eq!(error, Err(DelegationError::WrongAudience { us }));
        assert_eq!(sample().verify(&Presented { audience: us, ..presented() }), Ok(()));
    }
}

#[test]
fn it_holds_from_its_first_moment_to_before_its_last_and_skew_widens_both_ends_by_exactly_itself() {
    let tick = Duration::from_nanos(1);
    let minute = Duration::from_secs(60);
    let (begin, end) = (at(BEGIN), at(END));
    let early = |now| Err(DelegationError::NotYetValid { not_before: begin, now });
    let late = |now| Err(DelegationError::Expired { expired: end, now });
    for (now, skew, expected) in [
        (begin - tick, Duration::ZERO, early(begin - tick)),
        (begin, Duration::ZERO, Ok(())),
        (begin - minute - tick, minute, early(begin - minute - tick)),
        (begin - minute, minute, Ok(())),
        (end - tick, Duration::ZERO, Ok(())),
        (end, Duration::ZERO, late(end)),
        (end + minute - tick, minute, Ok(())),
        (end + minute, minute, late(end + minute)),
    ] {
        assert_eq!(sample().verify(&Presented { now, skew, ..presented() }), expected, "{now:?} {skew:?}");
    }
}

#[test]
fn absurd_clocks_and_skews_are_answered_without_overflow() {
    let before_1970 = UNIX_EPOCH - Duration::from_secs(1 << 40);
    let far = UNIX_EPOCH + Duration::from_secs(1 << 50);
    let verify = |now, skew| sample().verify(&Presented { now, skew, ..presented() });
    assert!(matches!(verify(before_1970, Duration::ZERO), Err(DelegationError::NotYetValid { .. })));
    assert!(matches!(verify(far, Duration::ZERO), Err(DelegationError::Expired { .. })));
    for now in [before_1970, UNIX_EPOCH, far] {
        assert_eq!(verify(now, Duration::MAX), Ok(()));
        if let Err(error) = verify(now, Duration::ZERO) {
            assert!(error.to_string().contains("Z here"), "{error}");
        }
    }
    // A clock before 1970 counts as 1970, which is when this certificate begins.
    let from_1970 = builder().not_before(UNIX_EPOCH).sign(&owner()).unwrap();
    assert_eq!(from_1970.verify(&Presented { now: before_1970, ..presented() }), Ok(()));
}

#[test]
fn who_shows_it_is_looked_at_before_whom_it_is_for_and_that_before_the_time() {
    let delegation = builder().audience(key(3)).sign(&owner()).unwrap();
    let wrong = Presented { now: UNIX_EPOCH, skew: Duration::ZERO, node: key(7), audience: key(8) };
    assert!(matches!(delegation.verify(&wrong), Err(DelegationError::WrongNode { .. })));
    let wrong = Presented { node: node(), ..wrong };
    assert!(matches!(delegation.verify(&wrong), Err(DelegationError::WrongAudience { .. })));
    let wrong = Presented { audience: key(3), ..wrong };
    assert!(matches!(delegation.verify(&wrong), Err(DelegationError::NotYetValid { .. })));
}

#[test]
fn only_protocols_in_the_scope_are_permitted() {
    let delegation = sample();
    for protocol in ["chat/1", "chat/2", "chat/", "mail/1"] {
        assert!(delegation.permits(protocol), "{protocol}");
    }
    for protocol in ["mail/2", "mail/11", "mail/", "chat", "chatter/1", "Chat/1", "*", ""] {
        assert!(!delegation.permits(protocol), "{protocol}");
    }
}

#[test]
fn debug_shows_the_fields_and_no_signature() {
    let debug = format!("{:?}", sample());
    assert_eq!(
        debug,
        "Delegation { owner: PublicKey(ha4e7nbk17..), node: PublicKey(g4sne3l8fk..), \
         scope: [Pattern(chat/*), Pattern(mail/1)], audience: [], not_before: 2030-03-17T17:46:40Z, \
         expires: 2030-03-18T17:46:40Z, serial: Serial(30313233343536373839616263646566), .. }"
    );
}

#[test]
fn every_error_says_what_to_do() {
    let (owner, node) = (owner().public_key(), node());
    for (error, remedy) in [
        (DelegationError::Truncated { found: 3, part: "owner" }, "copy the complete delegation again"),
        (DelegationError::TooLong { len: 3000, max: 2048 }, "the limit is 2048: ask its owner"),
        (DelegationError::Version { found: 2 }, "update the program"),
        (DelegationError::NotCanonical { what: "its scope is empty" }, "ask its owner for another"),
        (DelegationError::OwnerIsNode { owner }, "ask its owner"),
        (DelegationError::BadSignature { owner }, "do not trust"),
        (DelegationError::NotYetValid { not_before: at(BEGIN), now: at(0) }, "wait, or set the clock"),
        (DelegationError::Expired { expired: at(END), now: at(END) }, "ask its owner for a new one"),
        (DelegationError::WrongNode { named: node, presented_by: owner }, "do not accept it"),
        (DelegationError::WrongAudience { us: node }, "ask its owner"),
        (DelegationError::Revoked { serial: sample().serial() }, "ask its owner for a new one"),
        (DelegationError::NodeRevoked { node }, "use another key"),
        (DelegationError::RevokedBefore { before: at(BEGIN) }, "ask it for a new one"),
    ] {
        assert!(error.to_string().contains(remedy), "{error}");
    }
}
