//! Comparisons of observed with expected results.

use std::{fmt::Debug, ops::RangeInclusive};

use super::{
    pattern,
    role::Side,
    seen::{Ending, Heard, Lane, Seen, Sum, Told},
};

/// The number of bytes that are shown of each side of a difference. Texts and lists of reports can be long.
const SHOWN: usize = 300;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {expected}, found {found}")]
pub struct Mismatch {
    pub what: String,
    pub expected: String,
    pub found: String,
}

impl Mismatch {
    pub fn new(what: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { what: what.into(), expected: cut(expected.into()), found: cut(found.into()) }
    }
}

pub fn equal<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Result<(), Mismatch> {
    if found == expected {
        return Ok(());
    }
    Err(Mismatch::new(what, format!("{expected:?}"), format!("{found:?}")))
}

pub fn within(what: &str, found: u64, range: RangeInclusive<u64>) -> Result<(), Mismatch> {
    if range.contains(&found) {
        return Ok(());
    }
    Err(Mismatch::new(what, format!("{} to {}", range.start(), range.end()), found.to_string()))
}

/// Checks that `held` is true. `found` describes what was found instead.
pub fn holds(what: &str, held: bool, found: impl FnOnce() -> String) -> Result<(), Mismatch> {
    if held { Ok(()) } else { Err(Mismatch::new(what, "that it holds", found())) }
}

/// Checks that the data is the first `len` bytes of a pattern, by its length and its hash.
pub fn data(what: &str, found: &Sum, seed: u64, len: u64) -> Result<(), Mismatch> {
    equal(&format!("{what}, bytes"), &found.bytes, &len)?;
    equal(&format!("{what}, hash"), &found.blake3, &pattern::hash(seed, len).to_hex().to_string())
}

/// Checks the data like [`data`], and checks that the lane ended with `end`.
pub fn lane(what: &str, found: &Lane, seed: u64, len: u64, end: &Ending) -> Result<(), Mismatch> {
    equal(&format!("{what}, end"), &found.end, end)?;
    data(what, &found.sum, seed, len)
}

/// Checks a lane whose writer dropped it: the lane ends with an error, and the bytes read before are the start of
/// the pattern, at most `max` of them.
pub fn dropped(what: &str, found: &Lane, seed: u64, max: u64) -> Result<(), Mismatch> {
    equal(&format!("{what}, end"), &found.end, &Ending::Reset(CANCELLED))?;
    within(&format!("{what}, bytes"), found.sum.bytes, 0..=max)?;
    data(what, &found.sum, seed, found.sum.bytes)
}

/// Checks that the reports are exactly these, in this order.
pub fn heard(what: &str, found: &[Heard], expected: &[Heard]) -> Result<(), Mismatch> {
    equal(&format!("{what}, reports"), &found.len(), &expected.len())?;
    for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
        equal(&format!("{what}, report {n}"), found, expected)?;
    }
    Ok(())
}

/// Checks a stream that both sides failed at the same moment. Each side must have ended, and must know why. A side
/// whose own call came too late was told the other side's error. At least one error was delivered.
pub fn both_failed(opener: (&Seen, &Told), acceptor: (&Seen, &Told)) -> Result<(), Mismatch> {
    let mut through = 0;
    for (side, (seen, _), (_, others)) in [(Side::Opener, opener, acceptor), (Side::Acceptor, acceptor, opener)] {
        let (read, written) = (&seen.read.end, &seen.written.end);
        if seen.said == Ending::Open {
            through += 1;
            equal(&format!("{side:?}, who failed first here, reads"), read, &Ending::EndedHere)?;
            equal(&format!("{side:?}, who failed first here, writes"), written, &Ending::EndedHere)?;
        } else {
            let told = Ending::Failed(others.clone());
            equal(&format!("{side:?}, who was told first, fails"), &seen.said, &told)?;
            equal(&format!("{side:?}, who was told first, reads"), read, &told)?;
            equal(&format!("{side:?}, who was told first, writes"), written, &told)?;
        }
    }
    within("sides whose error went through", through, 1..=2)
}

/// The code of WIRE.md for a dropped handle: the data is not complete.
pub const CANCELLED: u64 = 1;

fn cut(mut text: String) -> String {
    if text.len() > SHOWN {
        text.truncate(text.floor_char_boundary(SHOWN));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream_tester::role::Words;

    const SEED: u64 = 3;

    fn sum(len: u64) -> Sum {
        Sum { bytes: len, blake3: pattern::hash(SEED, len).to_hex().to_string() }
    }

    fn told() -> Told {
        Words::new(7).told(1000)
    }

    /// Each value has one wrong field.
    fn wrongly_told() -> [Told; 6] {
        let right = told();
        [
            Told { code: 8, ..right.clone() },
            Told { text: right.text.to_uppercase(), ..right.clone() },
            Told { text: String::new(), ..right.clone() },
            Told { details: Sum::of(b"others"), ..right.clone() },
            Told { offset: 999, ..right.clone() },
            Told { offset: 1001, ..right },
        ]
    }

    #[test]
    fn equal_things_pass_and_others_are_named() {
        equal("the answer", &42, &42).unwrap();
        let wrong = equal("the answer", &41, &42).unwrap_err();
        assert_eq!(wrong.to_string(), "the answer: expected 42, found 41");
        within("n", 2, 2..=4).unwrap();
        within("n", 4, 2..=4).unwrap();
        assert!(within("n", 1, 2..=4).is_err() && within("n", 5, 2..=4).is_err());
        holds("it", true, String::new).unwrap();
        assert_eq!(holds("it", false, || "not".into()).unwrap_err().found, "not");
    }

    #[test]
    fn one_byte_too_few_too_many_or_wrong_is_seen() {
        data("it", &sum(1000), SEED, 1000).unwrap();
        data("it", &sum(0), SEED, 0).unwrap();
        for wrong in [sum(999), sum(1001), Sum::of(b""), Sum { blake3: sum(999).blake3, ..sum(1000) }] {
            assert!(data("it", &wrong, SEED, 1000).is_err(), "{wrong:?}");
        }
        assert!(data("it", &sum(1000), SEED + 1, 1000).is_err(), "another stream's data");
        let mut moved = pattern::bytes(SEED, 1000);
        moved.rotate_left(1);
        assert!(data("it", &Sum::of(&moved), SEED, 1000).is_err());
    }

    #[test]
    fn a_lane_that_ends_otherwise_is_seen() {
        let right = Ending::Failed(told());
        let lane_with = |end: Ending| Lane { sum: sum(1000), end };
        lane("it", &lane_with(right.clone()), SEED, 1000, &right).unwrap();
        let others = [
            Ending::Open,
            Ending::End,
            Ending::Aborted(told()),
            Ending::Reset(1),
            Ending::Stopped(1),
            Ending::EndedHere,
            Ending::Cut(1),
            Ending::TooLong,
            Ending::NotText,
            Ending::NotJson,
            Ending::Other("lost".into()),
        ];
        for wrong in others.into_iter().chain(wrongly_told().map(Ending::Failed)) {
            assert!(lane("it", &lane_with(wrong.clone()), SEED, 1000, &right).is_err(), "{wrong:?}");
            lane("it", &lane_with(wrong.clone()), SEED, 1000, &wrong).unwrap();
        }
        assert!(lane("it", &lane_with(right.clone()), SEED, 1001, &right).is_err());
    }

    #[test]
    fn truncated_data_that_looks_complete_is_seen() {
        let reset = Lane { sum: sum(10), end: Ending::Reset(CANCELLED) };
        dropped("it", &reset, SEED, 10).unwrap();
        dropped("it", &reset, SEED, 1000).unwrap();
        assert!(dropped("it", &reset, SEED, 9).is_err(), "more than was written");
        assert!(dropped("it", &reset, SEED + 1, 10).is_err(), "other data");
        for end in [Ending::End, Ending::Open, Ending::Reset(2), Ending::Failed(told())] {
            assert!(dropped("it", &Lane { sum: sum(10), end }, SEED, 10).is_err());
        }
    }

    #[test]
    fn reports_are_compared_one_by_one() {
        let right = [Heard::new("warning", told()), Heard::new("fatal", Words::new(9).told(1))];
        heard("it", &right, &right).unwrap();
        heard("it", &[], &[]).unwrap();
        let [first, last] = right.clone();
        assert!(heard("it", &[last.clone(), first.clone()], &right).is_err(), "another order");
        assert!(heard("it", &right[..1], &right).is_err(), "one lost");
        assert!(heard("it", &[first.clone(), last.clone(), last.clone()], &right).is_err(), "one twice");
        assert!(heard("it", &right, &[]).is_err(), "one out of nothing");
        for told in wrongly_told() {
            assert!(heard("it", &[Heard::new("warning", told), last.clone()], &right).is_err());
        }
        assert!(heard("it", &[Heard { severity: "abort".into(), ..first.clone() }, last.clone()], &right).is_err());
        assert!(heard("it", &[Heard { missed: 1, ..first }, last], &right).is_err());
    }

    #[test]
    fn of_two_failures_at_once_each_side_must_know_its_own_end() {
        let (one, other) = (Words::new(1).told(0), Words::new(2).told(0));
        let ended = |said: Ending, end: Ending| Seen {
            said,
            read: Lane { end: end.clone(), ..Lane::default() },
            written: Lane { end, ..Lane::default() },
            ..Seen::default()
        };
        let first = ended(Ending::Open, Ending::EndedHere);
        let told_one = ended(Ending::Failed(one.clone()), Ending::Failed(one.clone()));
        let told_other = ended(Ending::Failed(other.clone()), Ending::Failed(other.clone()));
        let judge = |opener: &Seen, acceptor: &Seen| both_failed((opener, &one), (acceptor, &other));
        judge(&first, &first).unwrap();
        judge(&first, &told_one).unwrap();
        judge(&told_other, &first).unwrap();
        assert!(judge(&told_other, &told_one).is_err(), "no error went through");
        assert!(judge(&first, &told_other).is_err(), "an error that nobody gave");
        assert!(judge(&ended(Ending::Open, Ending::Open), &first).is_err(), "a side that goes on");
        assert!(judge(&first, &ended(Ending::Open, Ending::End)).is_err(), "an end that looks complete");
        assert!(judge(&first, &ended(Ending::Failed(one.clone()), Ending::Open)).is_err());
        assert!(judge(&first, &ended(Ending::EndedHere, Ending::EndedHere)).is_err());
    }

    #[test]
    fn what_is_shown_is_bounded() {
        let wrong = equal("it", &"é".repeat(10_000), &String::new()).unwrap_err();
        assert!(wrong.to_string().len() < 2 * SHOWN);
    }
}
