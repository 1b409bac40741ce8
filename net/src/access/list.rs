//! Lists of keys that may, or may not, and that change while the endpoint runs.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use twolane_id::{PublicKey, delegation::Pattern};

use super::{Access, Identity, StreamRequest, Verdict, rules::Rules};

/// Who may connect, and who may use which protocol: an allow list, a deny list, or both, with a list of its own for any
/// protocol.
///
/// A key on the list stands for the peer that has it, and for every peer that acts for it with a certificate
/// ([`Identity::delegation`]): for its streams as far as the certificate's scope goes. A denied key is denied whatever
/// else is said.
///
/// Cheap to clone; all clones are the same list. It may be changed at any time: whoever is not allowed any more is
/// disconnected at once, with a code and a reason that it can read.
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
    /// Everybody may, but for those who are denied.
    pub fn everybody() -> Self {
        Self::new(true)
    }

    /// Nobody may, but for those who are allowed.
    pub fn nobody() -> Self {
        Self::new(false)
    }

    fn new(others: bool) -> Self {
        Self(Arc::new(Shared { rules: RwLock::new(Rules::new(others)), version: watch::Sender::new(0) }))
    }

    /// The key may connect, and use every protocol that has no list of its own. False if that was so.
    pub fn allow(&self, key: PublicKey) -> bool {
        self.change(|rules| rules.allow(key))
    }

    /// The key may not connect. If it is connected, it is cut off. False if that was so.
    pub fn deny(&self, key: PublicKey) -> bool {
        self.change(|rules| rules.deny(key))
    }

    /// The key is like all others again. False if it was.
    pub fn forget(&self, key: &PublicKey) -> bool {
        self.change(|rules| rules.forget(key))
    }

    /// The protocols of `pattern` get a list of their own, empty at first: nobody may use them who is not on it. False
    /// if they had one.
    pub fn restrict(&self, pattern: &Pattern) -> bool {
        self.change(|rules| rules.restrict(pattern))
    }

    /// The protocols of `pattern` have no list of their own any more. False if they had none.
    pub fn unrestrict(&self, pattern: &Pattern) -> bool {
        self.change(|rules| rules.unrestrict(pattern))
    }

    /// The key may use the protocols of `pattern`, which get a list of their own by that. It may connect, too. False if
    /// that was so.
    pub fn allow_for(&self, pattern: &Pattern, key: PublicKey) -> bool {
        self.change(|rules| rules.allow_for(pattern, key))
    }

    /// The key is taken off the list of the protocols of `pattern`: its open streams of those are aborted. False if it was not on it.
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
