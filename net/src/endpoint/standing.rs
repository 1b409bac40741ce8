//! Certificates while the endpoint runs: whom it acts for, and whose are revoked.

use twolane_id::{
    PublicKey,
    delegation::{Delegation, RevocationList, Serial},
};

use super::{Endpoint, builder::check_delegations};
use crate::{error::BindError, peer::guard};

impl Endpoint {
    /// Replaces the certificates that this endpoint shows, and shows the new ones to every peer that is connected: to be
    /// called in time before one expires. An empty list shows nothing to peers that connect later; those that are
    /// connected keep what they have seen until it expires.
    ///
    /// # Errors
    ///
    /// [`BindError::Delegation`]: a certificate is for another key. Nothing is changed then.
    pub fn set_delegations(&self, delegations: Vec<Delegation>) -> Result<(), BindError> {
        check_delegations(&delegations, self.id())?;
        let peers = &self.inner().peers;
        peers.shared.gate.set_own(delegations);
        for link in peers.links(None) {
            link.present_delegation();
        }
        Ok(())
    }

    /// Takes a certificate for revoked, whoever shows it: peers that have shown it act for its owner no more, at once.
    /// False if it was revoked already.
    pub fn revoke(&self, owner: PublicKey, serial: Serial) -> bool {
        let peers = &self.inner().peers;
        let new = peers.shared.gate.revoke(owner, serial);
        guard::end_standings(peers);
        new
    }

    /// Replaces the list of what is revoked, as after reading a new one.
    pub fn set_revocations(&self, revoked: RevocationList) {
        let peers = &self.inner().peers;
        peers.shared.gate.change_revoked(|list| *list = revoked);
        guard::end_standings(peers);
    }
}
