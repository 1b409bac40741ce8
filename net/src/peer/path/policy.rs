//! Which paths data may take. The rules are pure, with time as input. `peer/path/watch.rs` carries them out.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
    time::Instant,
};

use tokio::sync::watch;
use twolane_id::PublicKey;

use crate::{events::PathKind, path_policy::PathPolicy};

/// The time for which one connection has carried data on a path that its policy does not want.
#[derive(Debug, Default)]
pub(super) struct Tolerance {
    relayed_since: Option<Instant>,
    /// The time from which on streams can be open on the connection: since its first direct path, or since its
    /// policy changed. Before that, streams wait.
    in_use_since: Option<Instant>,
}

impl Tolerance {
    /// Records the kind of path that data takes now.
    pub(super) fn on_path(&mut self, path: PathKind, now: Instant) {
        match path {
            PathKind::Direct => {
                self.relayed_since = None;
                self.in_use_since = self.in_use_since.or(Some(now));
            }
            PathKind::Relay => self.relayed_since = self.relayed_since.or(Some(now)),
        }
    }

    /// Records that the peer has another policy from now on. The open streams were opened under the old one.
    pub(super) fn on_policy(&mut self, now: Instant) {
        self.in_use_since = Some(now);
    }

    /// Returns when the connection has to end if nothing changes.
    pub(super) fn ends(&self, policy: PathPolicy) -> Option<Instant> {
        let since = self.relayed_since?.max(self.in_use_since?);
        since.checked_add(policy.grace()?)
    }
}

/// The path policies of an endpoint.
#[derive(Debug)]
pub(crate) struct Policies {
    default: PathPolicy,
    of: RwLock<HashMap<PublicKey, PathPolicy>>,
    /// Whether `of` has any entry. It is read for each stream, without the lock of `of`.
    any: AtomicBool,
    changed: watch::Sender<()>,
}

impl Policies {
    pub(crate) fn new(default: PathPolicy) -> Self {
        Self { default, of: RwLock::default(), any: AtomicBool::new(false), changed: watch::Sender::default() }
    }

    pub(crate) fn get(&self, peer: &PublicKey) -> PathPolicy {
        if !self.any.load(Acquire) {
            return self.default;
        }
        self.of.read().unwrap_or_else(PoisonError::into_inner).get(peer).copied().unwrap_or(self.default)
    }

    pub(crate) fn set(&self, peer: PublicKey, policy: PathPolicy) {
        let mut of = self.of.write().unwrap_or_else(PoisonError::into_inner);
        // A policy that equals the default needs no entry.
        if policy == self.default {
            of.remove(&peer)
        } else {
            of.insert(peer, policy)
        };
        self.any.store(!of.is_empty(), Release);
        drop(of);
        self.changed.send_replace(());
    }

    pub(in crate::peer) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        PathKind::{Direct, Relay},
        PathPolicy::{DirectOnly, DirectWithin, RelayAllowed},
        *,
    };

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn how_long_a_stream_waits_and_how_long_it_may_be_relayed_follow_from_the_policy() {
        let connect = 15 * SECOND;
        for (policy, wait, grace, wants) in [
            (RelayAllowed, None, None, false),
            (DirectWithin(SECOND), Some(SECOND), Some(SECOND), true),
            (DirectOnly, Some(connect), Some(Duration::ZERO), true),
        ] {
            assert_eq!((policy.wait(connect), policy.grace(), policy.wants_direct()), (wait, grace, wants), "{policy}");
        }
    }

    #[test]
    fn a_connection_ends_when_it_was_relayed_for_longer_than_its_policy_allows() {
        let start = Instant::now();
        let at = |seconds| start + seconds * SECOND;
        #[derive(Debug)]
        enum Input {
            Path(PathKind),
            Policy,
        }
        use Input::{Path, Policy};
        // The events, one a second, and the time at which a connection ends that may be relayed for ten seconds.
        for (inputs, ends) in [
            (vec![], None),
            // Streams wait until the connection is direct.
            (vec![Path(Relay)], None),
            (vec![Path(Relay), Path(Direct)], None),
            (vec![Path(Relay), Path(Direct), Path(Relay)], Some(at(12))),
            (vec![Path(Direct), Path(Relay), Path(Relay)], Some(at(11))),
            (vec![Path(Direct), Path(Relay), Path(Direct)], None),
            (vec![Path(Direct), Path(Relay), Path(Direct), Path(Relay)], Some(at(13))),
            // The time of streams that were opened under another policy counts from the change of the policy.
            (vec![Path(Relay), Policy], Some(at(11))),
            (vec![Policy, Path(Relay)], Some(at(11))),
            (vec![Path(Direct), Path(Relay), Policy], Some(at(12))),
        ] {
            let mut tolerance = Tolerance::default();
            for (second, input) in (0..).zip(&inputs) {
                match input {
                    Path(path) => tolerance.on_path(*path, at(second)),
                    Policy => tolerance.on_policy(at(second)),
                }
            }
            assert_eq!(tolerance.ends(DirectWithin(10 * SECOND)), ends, "{inputs:?}");
            assert_eq!(tolerance.ends(DirectOnly), ends.map(|ends| ends - 10 * SECOND), "{inputs:?}");
            assert_eq!(tolerance.ends(RelayAllowed), None);
        }
    }

    #[test]
    fn a_tolerance_longer_than_time_itself_never_ends() {
        let mut tolerance = Tolerance::default();
        tolerance.on_path(Direct, Instant::now());
        tolerance.on_path(Relay, Instant::now());
        assert_eq!(tolerance.ends(DirectWithin(Duration::MAX)), None);
    }

    #[test]
    fn a_peer_without_a_policy_of_its_own_has_the_endpoints() {
        let peer = twolane_id::SecretKey::from_bytes(&[1; 32]).public_key();
        let policies = Policies::new(DirectOnly);
        assert_eq!(policies.get(&peer), DirectOnly);
        policies.set(peer, RelayAllowed);
        assert_eq!(policies.get(&peer), RelayAllowed);
        policies.set(peer, DirectOnly);
        assert!(policies.of.read().unwrap().is_empty());
    }
}
