//! Changes of certificates while the endpoint runs: the owner that it acts for, and the certificates that are
//! revoked.

use std::time::SystemTime;

use twolane_id::{
    PublicKey,
    delegation::{Delegation, Revocation, RevocationList, Serial},
};

use super::{Endpoint, bind::check_delegations};
use crate::{
    error::{BindError, RevocationsNotSaved},
    peer::guard,
};

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
    ///
    /// With [`Builder::revocation_file`](crate::Builder::revocation_file) the change is written to the disk
    /// afterwards: [`revocations_saved`](Endpoint::revocations_saved) waits for that.
    pub fn revoke(&self, owner: PublicKey, serial: Serial) -> bool {
        self.revoke_all(Revocation::Certificate { owner, serial })
    }

    /// Revokes all certificates of `owner` for a node, those that are still to be signed included, with the effect of
    /// [`revoke`](Endpoint::revoke): for a machine that was lost, without knowing a serial.
    pub fn revoke_node(&self, owner: PublicKey, node: PublicKey) -> bool {
        self.revoke_all(Revocation::Node { owner, node })
    }

    /// Revokes all certificates of `owner` that began to hold before `time`, with the effect of
    /// [`revoke`](Endpoint::revoke). The owner signs new ones for the machines that it still has. Returns false if the
    /// list has a later time of this owner already.
    pub fn revoke_before(&self, owner: PublicKey, time: SystemTime) -> bool {
        self.revoke_all(Revocation::Before { owner, time })
    }

    fn revoke_all(&self, what: Revocation) -> bool {
        let peers = &self.inner().peers;
        let new = peers.shared.gate.revoke(what);
        guard::end_standings(peers);
        new
    }

    /// Replaces the list of revoked certificates, for example after the program has received a new list. It replaces
    /// the content of the [`revocation_file`](crate::Builder::revocation_file) as well.
    pub fn set_revocations(&self, revoked: RevocationList) {
        let peers = &self.inner().peers;
        peers.shared.gate.change_revoked(|list| *list = revoked);
        guard::end_standings(peers);
    }

    /// Returns a copy of the list of revoked certificates.
    pub fn revocations(&self) -> RevocationList {
        self.inner().peers.shared.gate.revoked()
    }

    /// Waits until everything that was revoked before this call is in the
    /// [`revocation_file`](crate::Builder::revocation_file), on the disk.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`RevocationsNotSaved`] if there is no such file, if it could not be written (the endpoint goes on trying, and
    /// the revocations count meanwhile), or if the endpoint was closed before.
    pub async fn revocations_saved(&self) -> Result<(), RevocationsNotSaved> {
        match &self.inner().revocation_file {
            Some(file) => file.saved(&self.inner().peers.shared.gate).await,
            None => Err(RevocationsNotSaved::NoFile),
        }
    }
}
