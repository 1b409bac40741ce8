//! Changes of certificates while the endpoint runs: the owner that it acts for, and the certificates that are
//! revoked.

use twolane_id::{
    PublicKey,
    delegation::{Delegation, RevocationList, Serial},
};

use super::{Endpoint, builder::check_delegations};
use crate::{error::BindError, peer::guard};

impl Endpoint {
    /// Replaces the certificates that this endpoint shows, and shows the new ones to every connected peer. Call it
    /// in time before a certificate expires. With an empty list nothing is shown to peers that connect later;
    /// connected peers keep the certificate that they have seen until it expires.
    ///
    /// # Errors
    ///
    /// [`BindError::Delegation`] if a certificate is for another key. Nothing is changed then.
    pub fn set_delegations(&self, delegations: Vec<Delegation>) -> Result<(), BindError> {
        check_delegations(&delegations, self.id())?;
        let peers = &self.inner().peers;
        peers.shared.gate.set_own(delegations);
        for link in peers.links(None) {
            link.present_delegation();
        }
        Ok(())
    }

    /// Revokes a certificate, whichever peer shows it. Peers that have shown it no longer act for its owner, at
    /// once. Returns false if it was revoked already.
    pub fn revoke(&self, owner: PublicKey, serial: Serial) -> bool {
        let peers = &self.inner().peers;
        let new = peers.shared.gate.revoke(owner, serial);
        guard::end_standings(peers);
        new
    }

    /// Replaces the list of revoked certificates, for example after the program has read a new list.
    pub fn set_revocations(&self, revoked: RevocationList) {
        let peers = &self.inner().peers;
        peers.shared.gate.change_revoked(|list| *list = revoked);
        guard::end_standings(peers);
    }
}
