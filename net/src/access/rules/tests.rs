use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use twolane_id::{SecretKey, delegation::Delegation};

use super::*;

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32])
}

fn key(seed: u8) -> PublicKey {
    secret(seed).public_key()
}

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap()
}

/// A peer that shows no certificate.
fn bare(peer: u8) -> Identity {
    Identity::new(key(peer))
}

/// A peer with a certificate of `owner` for the protocols of `scope`.
fn acting(peer: u8, owner: u8, scope: &str) -> Identity {
    let expires = SystemTime::now() + Duration::from_secs(3600);
    let delegation = Delegation::build(key(peer)).scope(pattern(scope)).expires(expires).sign(&secret(owner));
    Identity { peer: key(peer), delegation: Some(Arc::new(delegation.unwrap())) }
}

fn may(rules: &Rules, identity: &Identity, protocol: &str) -> bool {
    rules.stream(identity, &protocol.parse().unwrap()) == Verdict::Allow
}

fn may_connect(rules: &Rules, identity: &Identity) -> bool {
    rules.connection(identity) == Verdict::Allow
}

const ALICE: u8 = 1;
const BOB: u8 = 2;
const CAROL: u8 = 3;
const NODE: u8 = 4;

/// Each line: the protocol, and whether Alice (on the list of `*`), Bob (`admin/*`) and Carol (`admin/1`) may use it.
#[test]
fn of_several_patterns_the_most_specific_one_decides_alone() {
    let table = [
        ("mail/1", [true, false, false]),
        ("admin", [true, false, false]),
        ("admin/2", [false, true, false]),
        ("admin/10", [false, true, false]),
        ("admin/1", [false, false, true]),
    ];
    let lists = [("*", ALICE), ("admin/*", BOB), ("admin/1", CAROL)];
    // In whichever order they are made.
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        for others in [false, true] {
            let mut rules = Rules::new(others);
            for at in order {
                let (list, who) = lists[at];
                rules.allow_for(&pattern(list), key(who));
            }
            for (protocol, expected) in table {
                let seen = [ALICE, BOB, CAROL].map(|who| may(&rules, &bare(who), protocol));
                assert_eq!(seen, expected, "{protocol}, others {others}, order {order:?}");
            }
        }
    }
}

#[test]
fn a_name_without_a_star_is_more_specific_than_the_same_with_one() {
    let mut rules = Rules::new(true);
    rules.allow_for(&pattern("chat/1*"), key(ALICE));
    rules.allow_for(&pattern("chat/1"), key(BOB));
    assert_eq!([ALICE, BOB].map(|who| may(&rules, &bare(who), "chat/1")), [false, true]);
    assert_eq!([ALICE, BOB].map(|who| may(&rules, &bare(who), "chat/10")), [true, false]);
}

#[test]
fn a_family_that_is_restricted_stays_so_when_somebody_may_do_everything_else() {
    let mut rules = Rules::new(true);
    rules.restrict(&pattern("admin/*"));
    rules.allow_for(&pattern("*"), key(BOB));
    assert!(!may(&rules, &bare(BOB), "admin/1") && may(&rules, &bare(BOB), "mail/1"));
    // Without the list of the family, the wider one counts for it as well.
    rules.unrestrict(&pattern("admin/*"));
    assert!(may(&rules, &bare(BOB), "admin/1"));
}

#[test]
fn who_is_on_some_list_may_connect_and_is_named() {
    let mut rules = Rules::new(false);
    rules.allow_for(&pattern("admin/*"), key(ALICE));
    rules.allow(key(BOB));
    let seen = [ALICE, BOB, CAROL].map(|who| (may_connect(&rules, &bare(who)), rules.names(&bare(who))));
    assert_eq!(seen, [(true, true), (true, true), (false, false)]);
    let everybody = Rules::new(true);
    assert!(may_connect(&everybody, &bare(ALICE)) && !everybody.names(&bare(ALICE)));
}

#[test]
fn an_owner_counts_within_the_scope_and_its_denial_everywhere() {
    let mut rules = Rules::new(false);
    rules.allow(key(ALICE));
    let node = acting(NODE, ALICE, "chat/*");
    assert!(may_connect(&rules, &node) && may(&rules, &node, "chat/1") && !may(&rules, &node, "mail/1"));
    rules.allow(key(NODE));
    rules.deny(key(ALICE));
    assert!(!may_connect(&rules, &node) && !may(&rules, &node, "chat/1") && !may(&rules, &node, "mail/1"));
    assert!(!rules.names(&node));
}

#[test]
fn a_node_of_a_denied_owner_stays_denied_without_its_certificate() {
    let mut rules = Rules::new(true);
    let (node, hidden) = (acting(NODE, ALICE, "chat/*"), bare(NODE));
    assert!(!rules.knows(&node));
    rules.remember(&node);
    assert!(rules.knows(&node) && rules.knows(&hidden));
    assert!(may_connect(&rules, &hidden), "nobody is denied yet");
    rules.deny(key(ALICE));
    assert!(!may_connect(&rules, &hidden) && !may(&rules, &hidden, "mail/1"));
    // Nor with a certificate of another owner.
    let other = acting(NODE, BOB, "*");
    rules.remember(&other);
    assert!(!may_connect(&rules, &other) && !may(&rules, &other, "mail/1"));
    // Until the program takes it back: for the owner, or for this node.
    let mut forgiven = rules.clone();
    assert!(forgiven.forget(&key(ALICE)) && may_connect(&forgiven, &hidden));
    assert!(rules.forget(&key(NODE)) && may_connect(&rules, &hidden) && !may_connect(&rules, &node));
}

#[test]
fn with_a_certificate_required_a_key_without_one_has_to_be_named() {
    let mut rules = Rules::new(true);
    assert!(rules.require_certificate(true) && !rules.require_certificate(true));
    let (bare, node) = (bare(NODE), acting(NODE, ALICE, "chat/*"));
    assert!(!may_connect(&rules, &bare) && !may(&rules, &bare, "chat/1"));
    assert!(may_connect(&rules, &node) && may(&rules, &node, "chat/1"));
    assert!(!may(&rules, &node, "mail/1"), "outside of the scope it acts for itself");
    rules.allow_for(&pattern("admin/*"), key(NODE));
    assert!(may_connect(&rules, &bare) && may(&rules, &bare, "admin/1") && !may(&rules, &bare, "chat/1"));
    rules.allow(key(NODE));
    assert!(may(&rules, &bare, "chat/1"));
    // Nobody needs a certificate any more.
    rules.forget(&key(NODE));
    assert!(rules.require_certificate(false) && may(&rules, &bare, "mail/1"));
}
