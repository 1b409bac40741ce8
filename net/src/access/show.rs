//! To whom this endpoint shows its certificates.

use std::{
    collections::BTreeSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use twolane_id::{PublicKey, delegation::Delegation};

use super::Identity;

/// To which peers an endpoint shows its certificates ([`Builder::show_delegations`](crate::Builder::show_delegations)).
///
/// A certificate tells whose machine this is. Whoever is shown it can keep it and pass it on, so an endpoint that
/// shows its certificates to everybody lets anybody collect which person owns which machine. (An audience in the
/// certificate keeps others from accepting it, not from reading it.)
#[derive(Clone, Default)]
pub struct ShowTo(Rule);

#[derive(Clone, Default)]
enum Rule {
    #[default]
    Known,
    Everybody,
    Peers(Arc<BTreeSet<PublicKey>>),
    When(Arc<dyn Fn(&Viewer<'_>) -> bool + Send + Sync>),
}

/// A peer that could be shown a certificate.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Viewer<'a> {
    /// The peer, with the certificate that it has shown, if it has shown one. The dialler shows its certificate first:
    /// a peer that this endpoint dials has shown none yet.
    pub identity: Identity,
    /// Whether the program has called the peer: this endpoint has dialled it or opened a stream to it, keeps it
    /// connected, or was told its addresses.
    pub called: bool,
    /// The certificate. It holds now, for this peer.
    pub delegation: &'a Delegation,
}

impl ShowTo {
    /// Shows a certificate to peers that have a reason to see it. This is the default:
    ///
    /// - peers that the program has called ([`Viewer::called`]),
    /// - peers that the certificate names in its audience,
    /// - the owner, and peers that act for the same owner and have shown that first.
    ///
    /// A stranger that connects by itself is shown none. If the program opens a stream to it later, the certificate is
    /// shown then, beside the stream: the peer's rules may be asked about that first stream before they know of it.
    pub fn known() -> Self {
        Self(Rule::Known)
    }

    /// Shows the certificates to every peer that is connected. For servers whose clients check whose they are.
    pub fn everybody() -> Self {
        Self(Rule::Everybody)
    }

    /// Shows the certificates to these peers only, whoever of the two dials.
    pub fn peers(peers: impl IntoIterator<Item = PublicKey>) -> Self {
        Self(Rule::Peers(Arc::new(peers.into_iter().collect())))
    }

    /// Shows a certificate if `decides` returns true. The function is called for each connection when it begins, when
    /// the peer shows another certificate, and when this endpoint's certificates change. It must return at once, and
    /// must not call the endpoint. If it panics, the certificate is not shown.
    ///
    /// ```
    /// use twolane::{AccessList, Endpoint, ShowTo};
    ///
    /// // The peers on the list may know whose machine this is.
    /// let list = AccessList::everybody();
    /// let listed = list.clone();
    /// let show = ShowTo::when(move |to| to.called || listed.names(&to.identity));
    /// # let _ = Endpoint::builder().access(list).show_delegations(show);
    /// ```
    pub fn when(decides: impl Fn(&Viewer<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self(Rule::When(Arc::new(decides)))
    }

    /// Returns whether the certificate is shown to the peer.
    pub(super) fn shows(&self, viewer: &Viewer<'_>) -> bool {
        let Viewer { identity, called, delegation } = viewer;
        match &self.0 {
            Rule::Known => {
                let owner = delegation.owner();
                let same_owner = identity.peer == owner || identity.owner_unscoped() == Some(owner);
                *called || same_owner || delegation.audience().contains(&identity.peer)
            }
            Rule::Everybody => true,
            Rule::Peers(peers) => peers.contains(&identity.peer),
            Rule::When(decides) => catch_unwind(AssertUnwindSafe(|| decides(viewer))).unwrap_or_else(|_| {
                tracing::error!("the function that decides about certificates panicked: the certificate is not shown");
                false
            }),
        }
    }
}

impl fmt::Debug for ShowTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Rule::Known => "ShowTo::known",
            Rule::Everybody => "ShowTo::everybody",
            Rule::Peers(_) => "ShowTo::peers",
            Rule::When(_) => "ShowTo::when",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use twolane_id::SecretKey;

    use super::*;

    fn secret(seed: u8) -> SecretKey {
        SecretKey::from_bytes(&[seed; 32])
    }

    fn key(seed: u8) -> PublicKey {
        secret(seed).public_key()
    }

    /// A certificate of `owner` for the node `node`, towards `audience` or anybody.
    fn certificate(owner: u8, node: u8, audience: Option<u8>) -> Delegation {
        let expires = SystemTime::now() + Duration::from_secs(3600);
        let mut builder = Delegation::build(key(node)).scope("*".parse().unwrap()).expires(expires);
        if let Some(peer) = audience {
            builder = builder.audience(key(peer));
        }
        builder.sign(&secret(owner)).unwrap()
    }

    const OWNER: u8 = 1;
    const US: u8 = 2;
    const PEER: u8 = 3;

    #[test]
    fn a_certificate_is_shown_to_those_that_have_a_reason_to_see_it() {
        let (open, meant) = (certificate(OWNER, US, None), certificate(OWNER, US, Some(PEER)));
        let bare = Identity::new(key(PEER));
        let acting = |owner| {
            let delegation = Some(Arc::new(certificate(owner, PEER, None)));
            Identity { peer: key(PEER), delegation }
        };
        let table = [
            ("a stranger", bare.clone(), false, &open, false),
            ("a peer that was called", bare.clone(), true, &open, true),
            ("a peer that the certificate is meant for", bare, false, &meant, true),
            ("another machine of the owner", acting(OWNER), false, &open, true),
            ("a machine of somebody else", acting(9), false, &open, false),
            ("the owner", Identity::new(key(OWNER)), false, &open, true),
        ];
        for (who, identity, called, delegation, expected) in table {
            let viewer = Viewer { identity, called, delegation };
            assert_eq!(ShowTo::default().shows(&viewer), expected, "{who}");
            assert!(ShowTo::everybody().shows(&viewer), "{who}");
            let listed = ShowTo::peers([key(OWNER)]).shows(&viewer);
            assert_eq!(listed, who == "the owner", "{who}");
            assert_eq!(ShowTo::when(|to| to.called).shows(&viewer), called, "{who}");
            assert!(!ShowTo::when(|_| panic!("on purpose")).shows(&viewer), "{who}");
        }
    }
}
