use proptest::prelude::*;

use super::*;

const TWO: u64 = PIECE + 1;

fn data(index: u64, len: u64) -> Vec<u8> {
    vec![index as u8 + 1; len as usize]
}

/// The hash of a piece of a file with more than one piece.
fn hash(index: u64, len: u64) -> PieceHash {
    piece::hash(index, &data(index, len), false)
}

fn whole(size: u64) -> PieceHash {
    let mut tree = Tree::default();
    for index in 0..piece::count(size) {
        let range = piece::range(index, size);
        tree.push(piece::hash(index, &data(index, range.end - range.start), piece::count(size) == 1));
    }
    *tree.root().as_bytes()
}

fn land(file: &mut Assembly, index: u64, last: bool, len: u64) {
    assert_eq!(file.admit(index, last, len), Ok(Admission::Now));
    file.landed(index, hash(index, len));
}

#[test]
fn pieces_may_come_in_any_order_and_the_end_before_them() {
    let mut file = Assembly::new(Some(TWO), 0);
    file.end(TWO, whole(TWO)).unwrap();
    land(&mut file, 1, true, 1);
    assert!(!file.is_whole());
    land(&mut file, 0, false, PIECE);
    assert!(file.is_whole());
    assert!(file.verdict().is_some());
}

#[test]
fn a_file_is_not_whole_while_a_piece_is_being_written() {
    let mut file = Assembly::new(Some(TWO), 0);
    file.end(TWO, whole(TWO)).unwrap();
    land(&mut file, 0, false, PIECE);
    file.admit(1, true, 1).unwrap();
    assert!(!file.is_whole());
    file.landed(1, hash(1, 1));
    assert!(file.is_whole());
}

#[test]
fn a_file_with_another_hash_than_was_said_is_not_taken() {
    let mut file = Assembly::new(Some(TWO), 0);
    file.end(TWO, [0; 32]).unwrap();
    land(&mut file, 0, false, PIECE);
    land(&mut file, 1, true, 1);
    assert!(file.is_whole());
    assert_eq!(file.verdict(), None);
}

#[test]
fn what_the_receiver_had_before_is_kept_once_its_sender_says_so() {
    let mut file = Assembly::new(Some(TWO), 1);
    assert_eq!(file.keep(0, 1), Err(Misplaced::NotTold(0)));
    file.tell(0, hash(0, PIECE));
    assert_eq!(file.keep(0, 1), Ok(vec![hash(0, PIECE)]));
    file.landed(0, hash(0, PIECE));
    assert_eq!(file.keep(0, 1), Err(Misplaced::NotTold(0)));
    land(&mut file, 1, true, 1);
    file.end(TWO, whole(TWO)).unwrap();
    assert!(file.is_whole() && file.verdict().is_some());
}

#[test]
fn a_piece_that_the_sender_has_sent_anew_is_not_kept_too() {
    let mut file = Assembly::new(Some(TWO), 1);
    file.tell(0, [9; 32]);
    land(&mut file, 0, false, PIECE);
    assert_eq!(file.keep(0, 1), Err(Misplaced::NotTold(0)));
}

#[test]
fn hashes_are_told_only_as_fast_as_they_are_answered() {
    let mut file = Assembly::new(None, 5000);
    for index in 0..WINDOW {
        assert!(file.room() > 0);
        file.tell(index, [0; 32]);
    }
    assert_eq!(file.room(), 0);
    file.keep(0, 10).unwrap();
    assert_eq!(file.room(), 10);
}

#[test]
fn a_piece_far_ahead_waits_for_those_before_it() {
    let size = 3 * WINDOW * PIECE;
    let mut file = Assembly::new(Some(size), 0);
    assert_eq!(file.admit(WINDOW, false, PIECE), Ok(Admission::Later));
    assert_eq!(file.admit(WINDOW - 1, false, PIECE), Ok(Admission::Now));
    land(&mut file, 0, false, PIECE);
    assert_eq!(file.admit(WINDOW, false, PIECE), Ok(Admission::Now));
}

#[test]
fn every_piece_has_one_length_and_one_place() {
    for (size, index, last, len, wrong) in [
        (Some(TWO), 0, false, PIECE - 1, Misplaced::Len { index: 0, len: PIECE - 1, expected: PIECE }),
        (Some(TWO), 1, true, 2, Misplaced::Len { index: 1, len: 2, expected: 1 }),
        (Some(TWO), 2, true, 0, Misplaced::Behind(2)),
        (Some(TWO), 0, true, PIECE, Misplaced::End),
        (Some(TWO), 1, false, 1, Misplaced::End),
        (None, 0, false, 5, Misplaced::Len { index: 0, len: 5, expected: PIECE }),
        (None, MAX_PIECES, true, 5, Misplaced::Behind(MAX_PIECES)),
    ] {
        assert_eq!(Assembly::new(size, 0).admit(index, last, len), Err(wrong), "{size:?} {index}");
    }
    let mut file = Assembly::new(Some(TWO), 0);
    file.admit(0, false, PIECE).unwrap();
    assert_eq!(file.admit(0, false, PIECE), Err(Misplaced::Twice(0)));
    file.landed(0, hash(0, PIECE));
    assert_eq!(file.admit(0, false, PIECE), Err(Misplaced::Twice(0)));
}

#[test]
fn a_file_of_unknown_length_has_one_end() {
    let mut file = Assembly::new(None, 0);
    land(&mut file, 1, true, 1);
    assert_eq!(file.admit(2, false, PIECE), Err(Misplaced::Behind(2)));
    assert_eq!(file.admit(0, true, 5), Err(Misplaced::Behind(0)));
    assert_eq!(file.end(PIECE, [0; 32]), Err(Misplaced::End));
    land(&mut file, 0, false, PIECE);
    file.end(TWO, whole(TWO)).unwrap();
    assert_eq!(file.end(TWO, whole(TWO)), Err(Misplaced::End));
    assert_eq!((file.size(), file.is_whole()), (Some(TWO), true));
    assert!(file.verdict().is_some());

    let mut file = Assembly::new(None, 0);
    land(&mut file, 1, false, PIECE);
    assert_eq!(file.admit(0, true, 5), Err(Misplaced::End));
}

#[test]
fn the_end_agrees_with_the_length_that_was_offered() {
    assert_eq!(Assembly::new(Some(5), 0).end(6, [0; 32]), Err(Misplaced::End));
    assert_eq!(Assembly::new(Some(5), 0).end(5, [0; 32]), Ok(()));
}

proptest! {
    #[test]
    fn in_whatever_order_the_pieces_come_the_file_is_whole_after_the_last_and_not_before(
        size in 0..20 * PIECE,
        order in any::<u64>(),
        had in 0..20u64,
        end_first in any::<bool>(),
    ) {
        let count = piece::count(size);
        let had = had.min(piece::whole(size, Some(size)));
        let mut file = Assembly::new(Some(size), had);
        let lens: Vec<_> = (0..count).map(|index| piece::range(index, size)).map(|range| range.end - range.start).collect();
        let hash = |index: u64| piece::hash(index, &data(index, lens[index as usize]), count == 1);
        for index in 0..had {
            file.tell(index, hash(index));
        }
        if end_first {
            file.end(size, whole(size)).unwrap();
        }
        // Any permutation will do: a multiplier without a common factor with the count is one.
        let step = (order % count.max(1)..).find(|step| gcd(*step, count) == 1).unwrap_or(1);
        for at in 0..count {
            prop_assert!(!file.is_whole());
            let index = (at * step + order % count) % count;
            if index < had {
                let kept = file.keep(index, 1).unwrap();
                prop_assert_eq!(kept, vec![hash(index)]);
            } else {
                prop_assert_eq!(file.admit(index, index + 1 == count, lens[index as usize]), Ok(Admission::Now));
            }
            file.landed(index, hash(index));
        }
        if !end_first {
            file.end(size, whole(size)).unwrap();
        }
        prop_assert!(file.is_whole());
        prop_assert!(file.verdict().is_some());
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
