//! Decides which of several connections between the same two endpoints stays. (Two peers that dial each other at the
//! same moment are called glare.) Pure.
//!
//! Both sides decide alone, at different moments and with the connections in a different order, and must come to the
//! same result. So the decision depends only on facts that both sides have: the dialler's key, the number of the
//! dial, and the number of the other side's dials that the dialler knew when the dial began. Among connections of
//! two honest endpoints this is a total order, since the number that a dialler knows only grows with the number of
//! its dials.

use std::cmp::Ordering;

use twolane_id::PublicKey;

use super::table::Generation;
use crate::wire::control::Dial;

/// A connection whose peer has said HELLO on it. All candidates that are compared have the same two endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) dialler: PublicKey,
    /// The numbers that the dialler sent about the dial.
    pub(crate) dial: Dial,
    /// Position in the order of this side's handshakes. It counts only where a peer does not number its dials.
    pub(crate) generation: Generation,
}

/// Compares two connections. The greater one stays.
///
/// If one side dialled both, its later dial stays, since the earlier one was of no use to it any more. If each side
/// dialled one, a dial that began when the other one was known stays, for the same reason. If neither was known, the
/// dials overlapped, and the dial of the smaller key stays.
pub(crate) fn compare(one: &Candidate, other: &Candidate) -> Ordering {
    if one.dialler == other.dialler {
        return (one.dial.number, one.generation).cmp(&(other.dial.number, other.generation));
    }
    match (knew(one, other), knew(other, one)) {
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ => other.dialler.cmp(&one.dialler),
    }
}

/// Returns whether `later` began when its dialler had the HELLO of `earlier`.
fn knew(later: &Candidate, earlier: &Candidate) -> bool {
    later.dial.knows > 0 && later.dial.knows >= earlier.dial.number
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use twolane_id::SecretKey;

    use super::*;

    fn keys() -> (PublicKey, PublicKey) {
        let (a, b) = (SecretKey::from_bytes(&[1; 32]).public_key(), SecretKey::from_bytes(&[2; 32]).public_key());
        (a.min(b), a.max(b))
    }

    /// Every pair of two dials of each side. The second dial of a side may know the other side's first or second
    /// one.
    #[test]
    fn every_verdict_is_the_one_in_the_table_whichever_comes_first() {
        let (small, large) = keys();
        let mut candidates = Vec::new();
        for (name, dialler) in [("small", small), ("large", large)] {
            for (number, knows) in [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2)] {
                let dial = Dial { number, knows };
                candidates.push((format!("{name} {number} knows {knows}"), Candidate { dialler, dial, generation: 1 }));
            }
        }
        let mut table = String::new();
        for (at, (name, one)) in candidates.iter().enumerate() {
            for (other_name, other) in &candidates[at..] {
                let verdict = compare(one, other);
                assert_eq!(compare(other, one), verdict.reverse(), "{name} against {other_name}");
                let stays = match verdict {
                    Ordering::Greater => name,
                    Ordering::Less => other_name,
                    Ordering::Equal => "the later handshake",
                };
                writeln!(table, "{name} | {other_name} -> {stays}").expect("a string takes it");
            }
        }
        assert_eq!(table, include_str!("glare.table"), "the code now says:\n{table}");
    }

    #[test]
    fn of_two_dials_of_one_side_the_later_stays_whichever_handshake_was_done_first() {
        let (small, _) = keys();
        let candidate = |number, generation| Candidate { dialler: small, dial: Dial { number, knows: 0 }, generation };
        assert_eq!(compare(&candidate(8, 2), &candidate(9, 1)), Ordering::Less);
    }

    #[test]
    fn a_peer_that_does_not_number_its_dials_is_taken_at_its_latest() {
        let (small, _) = keys();
        let candidate = |generation| Candidate { dialler: small, dial: Dial::default(), generation };
        assert_eq!(compare(&candidate(3), &candidate(4)), Ordering::Less);
    }
}
