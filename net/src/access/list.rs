//! Lists of keys that are allowed or denied. They can change while the endpoint runs.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::watch;
use twolane_id::{PublicKey, delegation::Pattern};

use super::{Access, Identity, StreamRequest, Verdict, rules::Rules};

/// An allow list, a deny list, or both: the keys that may connect, and the protocols that they may use. Any protocol
/// can have a list of its own.
///
/// A key on the list stands for the peer that has it, and for every peer that acts for it with a certificate
/// ([`Identity::delegation`]). For such a peer's streams it counts only within the certificate's scope. A denied
/// key is denied whatever else the list says.
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

    /// Allows the key to connect, and to use every protocol that has no list of its own. Returns false if it was
    /// allowed before.
    pub fn allow(&self, key: PublicKey) -> bool {
        self.change(|rules| rules.allow(key))
    }

    /// Denies the key. If it is connected, it is disconnected. Returns false if it was denied before.
    pub fn deny(&self, key: PublicKey) -> bool {
        self.change(|rules| rules.deny(key))
    }

    /// Removes what [`allow`](Self::allow) or [`deny`](Self::deny) said about the key. Returns false if they said
    /// nothing.
    pub fn forget(&self, key: &PublicKey) -> bool {
        self.change(|rules| rules.forget(key))
    }

    /// Gives the protocols of `pattern` a list of their own, which is empty at first: only keys on it may use them.
    /// Returns false if they had a list.
    pub fn restrict(&self, pattern: &Pattern) -> bool {
        self.change(|rules| rules.restrict(pattern))
    }

    /// Removes the list of the protocols of `pattern`. Returns false if they had none.
    pub fn unrestrict(&self, pattern: &Pattern) -> bool {
        self.change(|rules| rules.unrestrict(pattern))
    }

    /// Allows the key to use the protocols of `pattern`, which get a list of their own if they had none. The key may
    /// then connect, too. Returns false if the key was on the list before.
    pub fn allow_for(&self, pattern: &Pattern, key: PublicKey) -> bool {
        self.change(|rules| rules.allow_for(pattern, key))
    }

    /// Takes the key off the list of the protocols of `pattern`. Its open streams of these protocols are aborted.
    /// Returns false if the key was not on the list.
    pub fn revoke_for(&self, pattern: &Pattern, key: &PublicKey) -> bool {
        self.change(|rules| rules.revoke_for(pattern, key))
    }

    /// Returns the keys that are allowed, in order.
    pub fn allowed(&self) -> Vec<PublicKey> {
        self.read().allowed()
    }

    /// Returns the keys that are denied, in order.
    pub fn denied(&self) -> Vec<PublicKey> {
        self.read().denied()
    }

    /// Returns the patterns of the protocols that have a list of their own, in order, with the keys on each list.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use twolane::{AccessList, SecretKey};
    ///
    /// let (list, friend) = (AccessList::nobody(), SecretKey::generate().public_key());
    /// list.allow_for(&"admin/*".parse()?, friend);
    /// list.deny(SecretKey::generate().public_key());
    /// assert_eq!((list.allowed().len(), list.denied().len()), (0, 1));
    /// let lists = list.lists();
    /// assert_eq!((lists[0].0.as_str(), &lists[0].1[..]), ("admin/*", &[friend][..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn lists(&self) -> Vec<(Pattern, Vec<PublicKey>)> {
        self.read().lists()
    }

    fn read(&self) -> RwLockReadGuard<'_, Rules> {
        self.0.rules.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Rules) -> bool) -> bool {
        let changed = change(&mut self.0.rules.write().unwrap_or_else(PoisonError::into_inner));
        if changed {
            self.0.version.send_modify(|version| *version += 1);
        }
        changed
    }
}

impl Access for AccessList {
    async fn connection(&self, identity: &Identity) -> Verdict {
        self.0.rules.read().unwrap_or_else(PoisonError::into_inner).connection(identity)
    }

    async fn stream(&self, request: &StreamRequest) -> Verdict {
        self.0.rules.read().unwrap_or_else(PoisonError::into_inner).stream(&request.identity, &request.protocol)
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        Some(self.0.version.subscribe())
    }
}
