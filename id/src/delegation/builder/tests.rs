use super::*;
use crate::delegation::sample::*;

#[test]
fn the_order_of_calls_and_repetitions_make_no_difference() {
    let one = builder().audience(key(3)).audience(key(4)).sign(&owner()).unwrap();
    let other = Delegation::build(node())
        .serial(Serial::from_bytes(*b"0123456789abcdef"))
        .expires(at(END))
        .audience(key(4))
        .audience(key(3))
        .audience(key(4))
        .not_before(at(BEGIN))
        .scope(pattern("chat/*"))
        .scope(pattern("mail/1"))
        .scope(pattern("chat/*"))
        .sign(&owner())
        .unwrap();
    assert_eq!(one, other);
}

#[test]
fn a_scope_and_an_end_have_to_be_given() {
    let no_scope = Delegation::build(node()).expires(at(END)).sign(&owner());
    assert!(matches!(no_scope, Err(IssueError::ScopeEmpty)));
    let no_end = Delegation::build(node()).scope(pattern("*")).sign(&owner());
    assert!(matches!(no_end, Err(IssueError::NoExpiry)));
}

#[test]
fn a_key_cannot_delegate_to_itself() {
    let own = Delegation::build(owner().public_key()).scope(pattern("*")).expires(at(END)).sign(&owner());
    assert!(matches!(own, Err(IssueError::OwnerIsNode)));
}

#[test]
fn without_a_beginning_it_holds_from_now_on() {
    let before = time::to_seconds(SystemTime::now());
    let delegation = Delegation::build(node()).scope(pattern("*")).expires(at(time::MAX)).sign(&owner()).unwrap();
    let after = time::to_seconds(SystemTime::now());
    assert!((at(before)..=at(after)).contains(&delegation.not_before()));
}

#[test]
fn without_a_serial_each_gets_another_one() {
    let sign = || Delegation::build(node()).scope(pattern("*")).expires(at(time::MAX)).sign(&owner()).unwrap();
    assert_ne!(sign().serial(), sign().serial());
}

#[test]
fn it_has_to_hold_for_a_second_at_least() {
    let with = |begin, end| builder().not_before(begin).expires(end).sign(&owner());
    let half = std::time::Duration::from_millis(500);
    for (begin, end) in [(BEGIN, BEGIN), (END, BEGIN), (time::MAX, 1 << 40), (0, 0)] {
        let error = with(at(begin), at(end)).unwrap_err();
        assert!(matches!(error, IssueError::NeverValid { .. }), "{error}");
        assert!(error.to_string().contains("never hold"));
    }
    assert!(matches!(with(at(BEGIN), at(BEGIN) + half), Err(IssueError::NeverValid { .. })));
    let second = with(at(BEGIN), at(BEGIN + 1)).unwrap();
    assert_eq!((second.not_before(), second.expires()), (at(BEGIN), at(BEGIN + 1)));
}

#[test]
fn times_that_no_certificate_can_name_become_the_nearest_that_it_can() {
    let before_1970 = at(0) - std::time::Duration::from_secs(1 << 40);
    let delegation = builder().not_before(before_1970).expires(at(1 << 50)).sign(&owner()).unwrap();
    assert_eq!((delegation.not_before(), delegation.expires()), (at(0), at(time::MAX)));
    assert_eq!(Delegation::from_bytes(delegation.as_bytes()), Ok(delegation));
}

#[test]
fn patterns_and_peers_are_16_each_at_most() {
    let patterns = |count: usize| (0..count).map(|i| pattern(&format!("p/{i}")));
    assert_eq!(builder().scopes(patterns(14)).sign(&owner()).unwrap().scope().len(), 16);
    let error = builder().scopes(patterns(15)).sign(&owner());
    assert!(matches!(error, Err(IssueError::TooManyPatterns { found: 17, max: 16 })));

    let peers = |count: u8| (0..count).fold(builder(), |builder, seed| builder.audience(key(seed + 100)));
    assert_eq!(peers(16).sign(&owner()).unwrap().audience().len(), 16);
    let error = peers(17).sign(&owner());
    assert!(matches!(error, Err(IssueError::TooManyPeers { found: 17, max: 16 })));
}

#[test]
fn what_nobody_would_read_is_not_issued() {
    // 163 bytes without the scope and 256 bytes for each of seven patterns leave 93 bytes.
    let long = ('a'..='g').map(|letter| pattern(&letter.to_string().repeat(255)));
    let with = |last: usize| {
        let scope = long.clone().chain([pattern(&"h".repeat(last))]);
        Delegation::build(node()).scopes(scope).not_before(at(BEGIN)).expires(at(END)).sign(&owner())
    };
    let longest = with(92).unwrap();
    assert_eq!(longest.as_bytes().len(), Delegation::MAX_LEN);
    assert_eq!(Delegation::from_bytes(longest.as_bytes()), Ok(longest));
    assert!(matches!(with(93), Err(IssueError::TooLong { len: 2049, max: 2048 })));
}
