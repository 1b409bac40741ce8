//! Which of two connections between the same two peers stays (two peers that dial each other at the same moment are
//! called glare). Both sides decide alone and must come to the same answer.

use twolane_id::PublicKey;

use crate::wire::control::Nonce;

/// What is known of a connection when the question comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Who dialled.
    pub(crate) dialler: PublicKey,
    /// The peer's instance, from its HELLO.
    pub(crate) nonce: Nonce,
}

/// Which of the two stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The one that was there.
    Older,
    /// The one that has just come.
    Newer,
    /// The newer, and the older belongs to an instance that is gone: it is cut, since nothing on it can go on.
    Restarted,
}

/// Compares the connection that was there with the one that has just come.
///
/// Another instance has taken over: it wins. The same dialler dialled twice: it did so because its first connection
/// was dead to it. Both dialled: the one dialled by the smaller key stays.
pub(crate) fn decide(older: Candidate, newer: Candidate) -> Verdict {
    if older.nonce != newer.nonce {
        Verdict::Restarted
    } else if older.dialler == newer.dialler || newer.dialler < older.dialler {
        Verdict::Newer
    } else {
        Verdict::Older
    }
}

#[cfg(test)]
mod tests {
    use twolane_id::SecretKey;

    use super::*;

    fn keys() -> (PublicKey, PublicKey) {
        let (a, b) = (SecretKey::from_bytes(&[1; 32]).public_key(), SecretKey::from_bytes(&[2; 32]).public_key());
        (a.min(b), a.max(b))
    }

    #[test]
    fn both_sides_keep_the_same_connection_in_whatever_order_they_see_them() {
        let (small, large) = keys();
        // The small peer sees the large one's nonce and the other way round; on each side both connections carry the same.
        for nonce in [[1; 16], [2; 16]] {
            let by_small = Candidate { dialler: small, nonce };
            let by_large = Candidate { dialler: large, nonce };
            assert_eq!(decide(by_small, by_large), Verdict::Older);
            assert_eq!(decide(by_large, by_small), Verdict::Newer);
        }
    }

    #[test]
    fn a_restarted_peer_replaces_its_old_connection_whoever_dialled() {
        let (small, large) = keys();
        for (older, newer) in [(small, large), (large, small), (small, small)] {
            let older = Candidate { dialler: older, nonce: [1; 16] };
            let newer = Candidate { dialler: newer, nonce: [2; 16] };
            assert_eq!(decide(older, newer), Verdict::Restarted);
        }
    }

    #[test]
    fn a_second_dial_by_the_same_side_wins() {
        let (small, _) = keys();
        let candidate = Candidate { dialler: small, nonce: [1; 16] };
        assert_eq!(decide(candidate, candidate), Verdict::Newer);
    }
}
