//! Shared samples for the tests of this module: keys, times, and a certificate.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::{collection::btree_set, prelude::*, sample::subsequence};

use super::{Delegation, DelegationBuilder, Pattern, time};
use crate::{PublicKey, SecretKey};

/// The beginning and the end of the samples, in seconds since 1970.
pub(super) const BEGIN: u64 = 1_900_000_000;
pub(super) const END: u64 = 1_900_086_400;

pub(super) fn secret(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32])
}

pub(super) fn key(seed: u8) -> PublicKey {
    secret(seed).public_key()
}

pub(super) fn owner() -> SecretKey {
    secret(1)
}

pub(super) fn node() -> PublicKey {
    key(2)
}

pub(super) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(super) fn pattern(text: &str) -> Pattern {
    text.parse().unwrap()
}

/// Returns a builder for `mail/1` and `chat/*`, towards any peer.
pub(super) fn builder() -> DelegationBuilder {
    Delegation::build(node())
        .scopes(["mail/1", "chat/*"].map(pattern))
        .not_before(at(BEGIN))
        .expires(at(END))
        .serial(*b"0123456789abcdef")
}

pub(super) fn sample() -> Delegation {
    builder().sign(&owner()).unwrap()
}

/// Generates certificates of every kind that can be issued.
pub(super) fn any_delegation() -> impl Strategy<Value = Delegation> {
    let patterns = btree_set("[!-)+-~]{1,60}\\*?|\\*", 1..=Delegation::MAX_SCOPE);
    // The keys are made once, because making a key takes longer than all other steps.
    let keys: Vec<_> = (100..120).map(key).collect();
    let peers = subsequence(keys, 0..=Delegation::MAX_AUDIENCE);
    let times = (0..time::MAX).prop_flat_map(|begin| (Just(begin), begin + 1..=time::MAX));
    (any::<[u8; 32]>(), any::<[u8; 32]>(), patterns, peers, times, any::<[u8; 16]>())
        .prop_filter("an owner is no node", |(owner, node, ..)| owner != node)
        .prop_map(|(owner, node, patterns, peers, (begin, end), serial)| {
            let node = SecretKey::from_bytes(&node).public_key();
            let builder = Delegation::build(node)
                .scopes(patterns.iter().map(|text| pattern(text)))
                .not_before(at(begin))
                .expires(at(end))
                .serial(serial);
            let builder = peers.into_iter().fold(builder, DelegationBuilder::audience);
            builder.sign(&SecretKey::from_bytes(&owner)).unwrap()
        })
}
