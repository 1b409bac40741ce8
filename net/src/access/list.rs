//! Lists of keys that are allowed or denied. They can change while the endpoint runs.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use twolane_id::{PublicKey, delegation::Pattern};

use super::{Access, Identity, StreamRequest, Verdict, rules::Rules};

/// An allow list, a deny list, or both: the keys that may connect, and the protocols that they may use. Any protocol
/// can have a list of its own.
///
/// A key on the list stands for the peer that has it, and for every peer that acts for it with a certificate
/// ([`Identity::delegation`]). For such a peer's streams it counts only within the certificate's scope.
///
/// What decides about a stream, in this order:
///
/// 1. A denied key is denied whatever else the list says. A denied owner denies every peer that has acted for it, for
///    whatever protocol, also when that peer shows its certificate no more. (4,096 such peers are remembered, in
///    memory. [`forget`](Self::forget) the peer's key to let it back in.)
/// 2. If lists of protocols match ([`restrict`](Self::restrict), [`allow_for`](Self::allow_for)), the list of the most
///    specific pattern decides alone: `admin/1` before `admin/*` before `*`. A key that is on the list of `*`, or that
///    is [allowed](Self::allow), is not allowed by that for a protocol of `admin/*`.
/// 3. Otherwise an [allowed](Self::allow) key is allowed, and any other key if the list is one for
///    [everybody](Self::everybody), with a certificate if one is [required](Self::require_certificate).
///
/// A peer may connect if some protocol is open to it, as far as the list can tell.
///
/// A list for everybody keeps nobody out for certain: keys cost nothing, and those of owners neither. Use
/// [`nobody`](Self::nobody) to let in only peers that are known, or whose owner is known.
///
/// Cheap to clone. All clones are the same list. It may be changed at any time: a peer that is not allowed any more
/// is disconnected at once, with a code and a reason that it can read.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use twolane::{AccessList, Endpoint};
///
/// let friend = Endpoint::builder().offline().bind().await?;
/// let list = AccessList::nobody();
/// let endpoint = Endpoint::builder().offline().access(list.clone()).bind().await?;
/// endpoint.serve_requests("greet/1", |_| async { Ok("hello".into()) })?;
///
/// assert!(friend.get_stream(endpoint.ticket(), "greet/1").await.is_err());
/// list.allow(friend.id());
/// assert!(friend.get_stream(endpoint.ticket(), "greet/1").await.is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct AccessList(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    rules: RwLock<Rules>,
    version: watch::Sender<u64>,
}

impl AccessList {
    /// Creates a list that allows every key except the denied ones.
    pub fn everybody() -> Self {
        Self::new(true)
    }

    /// Creates a list that allows no key except the allowed ones.
    pub fn nobody() -> Self {
        Self::new(false)
    }

    fn new(others: bool) -> Self {
        Self(Arc::new(Shared { rules: RwLock::new(Rules::new(others)), version: watch::Sender::new(0) }))
    }

    /// Allows the key to connect, and to use every protocol that has no list of its own. For a key that signs
    /// certificates, this also allows the peers to which it gives one, within their scope. Returns false if it was
    /// allowed before.
    pub fn allow(&self, key: PublicKey) -> bool {
        self.change(|rules| rules.allow(key))
    }

    /// Denies the key, and the peers that act for it or have acted for it. Those that are connected are disconnected.
    /// Returns false if it was denied before.
    pub fn deny(&self, key: PublicKey) -> bool {
        self.change(|rules| rules.deny(key))
    }

    /// Requires a certificate, or no longer requires one. Default: not required. Returns false if that was so before.
    ///
    /// If it is required, keys that no entry and no list names may connect only with a certificate, and open streams
    /// only within its scope. It may be anybody's who is not denied. So a denial of an owner also holds for its peers
    /// that were never seen with their certificate. A list for [nobody](Self::nobody) lets in only named keys and
    /// owners anyway.
    pub fn require_certificate(&self, required: bool) -> bool {
        self.change(|rules| rules.require_certificate(required))
    }

    /// Returns whether the list names the peer, or the owner whom its certificate names, and does not deny it: by
    /// [`allow`](Self::allow), or on the list of some protocol. A peer that is only one of everybody is not named.
    pub fn names(&self, identity: &Identity) -> bool {
        self.0.rules.read().unwrap_or_else(PoisonError::into_inner).names(identity)
    }

    /// Removes what [`allow`](Self::allow) or [`deny`](Self::deny) said about the key, and what is remembered of the
    /// owner for whom it has acted. Returns false if there was nothing.
    pub fn forget(&self, key: &PublicKey) -> bool {
        self.change(|rules| rules.forget(key))
    }

    /// Gives the protocols of `pattern` a list of their own, which is empty at first: only keys on it may use them,
    /// except those protocols that have a list of a more specific pattern. Returns false if they had a list.
    pub fn restrict(&self, pattern: &Pattern) -> bool {
        self.change(|rules| rules.restrict(pattern))
    }

    /// Removes the list of the protocols of `pattern`. Returns false if they had none.
    pub fn unrestrict(&self, pattern: &Pattern) -> bool {
        self.change(|rules| rules.unrestrict(pattern))
    }

    /// Allows the key to use the protocols of `pattern`, which get a list of their own if they had none, except those
    /// protocols that have a list of a more specific pattern. The key may then connect, too. Returns false if the key
    /// was on the list before.
    pub fn allow_for(&self, pattern: &Pattern, key: PublicKey) -> bool {
        self.change(|rules| rules.allow_for(pattern, key))
    }

    /// Takes the key off the list of the protocols of `pattern`. Its open streams of these protocols are aborted.
    /// Returns false if the key was not on the list.
    pub fn revoke_for(&self, pattern: &Pattern, key: &PublicKey) -> bool {
        self.change(|rules| rules.revoke_for(pattern, key))
    }

    fn change(&self, change: impl FnOnce(&mut Rules) -> bool) -> bool {
        let changed = change(&mut self.0.rules.write().unwrap_or_else(PoisonError::into_inner));
        if changed {
            self.0.version.send_modify(|version| *version += 1);
        }
        changed
    }
}

impl AccessList {
    /// Returns the verdict of the rules about a peer, and remembers for whom the peer acts.
    fn judge(&self, identity: &Identity, verdict: impl FnOnce(&Rules) -> Verdict) -> Verdict {
        let rules = self.0.rules.read().unwrap_or_else(PoisonError::into_inner);
        if rules.knows(identity) {
            return verdict(&rules);
        }
        drop(rules);
        let mut rules = self.0.rules.write().unwrap_or_else(PoisonError::into_inner);
        rules.remember(identity);
        verdict(&rules)
    }
}

impl Access for AccessList {
    async fn connection(&self, identity: &Identity) -> Verdict {
        self.judge(identity, |rules| rules.connection(identity))
    }

    async fn stream(&self, request: &StreamRequest) -> Verdict {
        self.judge(&request.identity, |rules| rules.stream(&request.identity, &request.protocol))
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        Some(self.0.version.subscribe())
    }
}
