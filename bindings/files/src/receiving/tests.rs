use super::*;
use crate::piece::{self, PIECE};

fn path(text: &str) -> Vec<String> {
    text.split('/').map(str::to_owned).collect()
}

fn file(text: &str, size: u64) -> FromSender {
    FromSender::File { path: path(text), size: Some(size), attributes: Attributes::default() }
}

fn folder(text: &str) -> FromSender {
    FromSender::Folder { path: path(text), attributes: Attributes::default() }
}

fn hash_of(data: &[u8]) -> PieceHash {
    *blake3::hash(data).as_bytes()
}

/// Lets a file of one piece arrive.
fn arrive(transfer: &mut Receiving, file: u64, data: &[u8]) -> Vec<Step> {
    assert!(transfer.take(file, 0));
    assert_eq!(transfer.admit(file, 0, true, data.len() as u64), Ok(Place::Here));
    assert_eq!(transfer.landed(file, 0, piece::hash(0, data, true)), []);
    let end = FromSender::EndFile { file, size: data.len() as u64, hash: hash_of(data) };
    let steps = transfer.frame(end).unwrap();
    assert_eq!(steps, [Step::Close { file, size: data.len() as u64 }]);
    transfer.closed(file)
}

#[test]
fn a_file_is_published_once_it_is_closed_and_so_is_its_item() {
    let mut transfer = Receiving::new(1, None);
    let steps = transfer.frame(file("a", 4)).unwrap();
    assert!(
        matches!(&steps[..], [Step::Begin { item: 0, is_folder: false, .. }, Step::Look { file: 0, path, .. }] if path.as_os_str().is_empty()),
        "{steps:?}"
    );
    assert_eq!(arrive(&mut transfer, 0, b"data"), []);
    assert!(!transfer.is_settled());
    assert_eq!(transfer.frame(FromSender::EndItem { item: 0 }).unwrap(), [Step::Publish { item: 0 }]);
    let totals = transfer.stored(0).unwrap();
    assert_eq!(totals, Totals { files: 1, bytes: 4, hash: Some(blake3::hash(b"data")) });
    assert!(transfer.is_settled());
}

#[test]
fn an_item_may_be_closed_before_its_files_have_arrived() {
    let mut transfer = Receiving::new(1, None);
    transfer.frame(folder("a")).unwrap();
    transfer.frame(file("a/b", 4)).unwrap();
    transfer.frame(file("a/c", 4)).unwrap();
    assert_eq!(transfer.frame(FromSender::EndItem { item: 0 }).unwrap(), []);
    assert_eq!(arrive(&mut transfer, 1, b"data"), []);
    assert_eq!(arrive(&mut transfer, 0, b"data"), [Step::Publish { item: 0 }]);
    let totals = transfer.stored(0).unwrap();
    assert_eq!(totals, Totals { files: 2, bytes: 8, hash: None });
}

#[test]
fn a_folder_without_files_is_an_item() {
    let mut transfer = Receiving::new(1, None);
    transfer.frame(folder("a")).unwrap();
    let steps = transfer.frame(folder("a/b")).unwrap();
    assert!(matches!(&steps[..], [Step::Folder { item: 0, path, .. }] if path == &PathBuf::from("b")));
    assert_eq!(transfer.frame(FromSender::EndItem { item: 0 }).unwrap(), [Step::Publish { item: 0 }]);
}

#[test]
fn a_file_that_is_there_already_is_not_asked_for() {
    let mut transfer = Receiving::new(1, None);
    transfer.frame(file("a", 4)).unwrap();
    assert!(transfer.check(0));
    let proof = FromSender::Proof { file: 0, size: 4, hash: hash_of(b"data") };
    let hash = blake3::hash(b"data");
    assert_eq!(transfer.frame(proof.clone()).unwrap(), [Step::Compare { file: 0, size: 4, hash }]);
    assert_eq!(transfer.same(0, 4, hash), []);
    assert_eq!(transfer.frame(proof), Ok(vec![]), "it is closed");
    assert_eq!(transfer.frame(FromSender::EndItem { item: 0 }).unwrap(), [Step::Publish { item: 0 }]);
}

#[test]
fn a_file_that_turns_out_to_be_another_one_is_asked_for_after_all() {
    let mut transfer = Receiving::new(1, None);
    transfer.frame(file("a", 4)).unwrap();
    assert!(transfer.check(0));
    assert_eq!(transfer.admit(0, 0, true, 4), Err(Violation::NotAsked(0)));
    assert_eq!(arrive(&mut transfer, 0, b"data"), []);
}

#[test]
fn a_file_with_another_hash_than_was_said_is_damaged() {
    let mut transfer = Receiving::new(1, None);
    transfer.frame(file("a", 4)).unwrap();
    transfer.take(0, 0);
    transfer.frame(FromSender::EndFile { file: 0, size: 4, hash: hash_of(b"date") }).unwrap();
    transfer.admit(0, 0, true, 4).unwrap();
    assert_eq!(transfer.landed(0, 0, hash_of(b"data")), [Step::Damaged { file: 0 }]);
}

#[test]
fn what_still_comes_of_a_refused_item_is_ignored_and_the_next_one_is_taken() {
    let mut transfer = Receiving::new(2, None);
    transfer.frame(folder("a")).unwrap();
    transfer.frame(file("a/b", 4)).unwrap();
    transfer.take(0, 0);
    assert!(transfer.refuse(0));
    assert!(!transfer.refuse(0));
    assert_eq!(transfer.admit(0, 0, true, 4), Ok(Place::Nowhere));
    assert_eq!(transfer.landed(0, 0, [0; 32]), []);
    for frame in [
        file("a/c", 4),
        folder("a/d"),
        FromSender::Same { file: 0, first: 0, count: 1 },
        FromSender::EndFile { file: 0, size: 4, hash: [0; 32] },
        FromSender::EndFile { file: 1, size: 4, hash: [0; 32] },
        FromSender::EndItem { item: 0 },
    ] {
        assert_eq!(transfer.frame(frame), Ok(vec![]));
    }
    assert!(!transfer.take(1, 0));
    transfer.frame(file("b", 4)).unwrap();
    assert_eq!(arrive(&mut transfer, 2, b"data"), []);
    assert_eq!(transfer.frame(FromSender::EndItem { item: 1 }).unwrap(), [Step::Publish { item: 1 }]);
    transfer.stored(1);
    assert!(transfer.is_settled());
}

#[test]
fn an_item_that_its_sender_gives_up_is_over() {
    let mut transfer = Receiving::new(1, None);
    transfer.frame(file("a", 4)).unwrap();
    let give_up = FromSender::GiveUp { item: 0, code: 8, text: "gone".into() };
    assert_eq!(
        transfer.frame(give_up.clone()).unwrap(),
        [Step::GivenUp { item: 0, code: 8, text: "gone".into() }]
    );
    assert_eq!(transfer.frame(give_up), Ok(vec![]));
    assert!(transfer.is_settled());

    let mut transfer = Receiving::new(1, None);
    transfer.frame(folder("a")).unwrap();
    transfer.frame(FromSender::GiveUp { item: 0, code: 8, text: String::new() }).unwrap();
    for late in [file("a/b", 4), folder("a/c"), FromSender::EndItem { item: 0 }] {
        assert_eq!(transfer.frame(late), Ok(vec![]));
    }
}

#[test]
fn a_name_that_nothing_can_have_refuses_its_item_alone() {
    let mut transfer = Receiving::new(2, None);
    let steps = transfer.frame(file("..", 4)).unwrap();
    assert!(matches!(&steps[..], [Step::Refused { item: 0, reason: Reason::Name, .. }]), "{steps:?}");
    transfer.frame(FromSender::EndItem { item: 0 }).unwrap();
    transfer.frame(folder("b")).unwrap();
    let steps = transfer.frame(file("b/..", 4)).unwrap();
    assert!(matches!(&steps[..], [Step::Refused { item: 1, reason: Reason::Name, .. }]), "{steps:?}");
    assert!(transfer.is_settled());
}

#[test]
fn more_bytes_than_this_side_takes_are_refused_whether_they_were_announced_or_not() {
    let mut transfer = Receiving::new(3, Some(10));
    let steps = transfer.frame(file("a", 11)).unwrap();
    assert!(matches!(&steps[..], [Step::Refused { item: 0, reason: Reason::TooLarge, .. }]), "{steps:?}");

    let mut transfer = Receiving::new(1, Some(PIECE + 10));
    transfer.frame(FromSender::File { path: path("a"), size: None, attributes: Attributes::default() }).unwrap();
    transfer.take(0, 0);
    assert_eq!(transfer.admit(0, 0, false, PIECE), Ok(Place::Here));
    assert_eq!(transfer.admit(0, 1, true, 10), Ok(Place::Here));
    let mut transfer = Receiving::new(1, Some(PIECE + 9));
    transfer.frame(FromSender::File { path: path("a"), size: None, attributes: Attributes::default() }).unwrap();
    transfer.take(0, 0);
    assert_eq!(transfer.admit(0, 0, false, PIECE), Ok(Place::Here));
    assert_eq!(transfer.admit(0, 1, true, 10), Ok(Place::TooMuch { item: 0 }));
}

#[test]
fn what_is_against_the_protocol_is_an_error() {
    let begun = || {
        let mut transfer = Receiving::new(1, None);
        transfer.frame(folder("a")).unwrap();
        transfer
    };
    for (frame, violation) in [
        (file("b", 1), Violation::NotClosed),
        (file("b/c", 1), Violation::NoItem),
        (FromSender::EndItem { item: 1 }, Violation::NoItem),
        (FromSender::GiveUp { item: 1, code: 0, text: String::new() }, Violation::NoItem),
        (FromSender::Same { file: 0, first: 0, count: 1 }, Violation::NoFile(0)),
        (FromSender::EndFile { file: 0, size: 0, hash: [0; 32] }, Violation::NoFile(0)),
        (FromSender::Proof { file: 0, size: 0, hash: [0; 32] }, Violation::NoFile(0)),
    ] {
        assert_eq!(begun().frame(frame.clone()), Err(violation), "{frame:?}");
    }
    assert_eq!(Receiving::new(1, None).frame(file("a/b", 1)), Err(Violation::NoItem));
    let mut transfer = begun();
    transfer.frame(FromSender::EndItem { item: 0 }).unwrap();
    assert_eq!(transfer.frame(folder("b")), Err(Violation::TooManyItems { max: 1 }));
    let mut transfer = begun();
    transfer.frame(file("a/b", 1)).unwrap();
    for frame in [
        FromSender::Same { file: 0, first: 0, count: 1 },
        FromSender::EndFile { file: 0, size: 0, hash: [0; 32] },
        FromSender::Proof { file: 0, size: 0, hash: [0; 32] },
    ] {
        assert_eq!(transfer.frame(frame), Err(Violation::NotAsked(0)));
    }
}

#[test]
fn a_sender_that_announces_without_end_is_stopped() {
    let mut transfer = Receiving::new(1, None);
    transfer.frame(folder("a")).unwrap();
    for _ in 0..MAX_OPEN {
        transfer.frame(file("a/b", 1)).unwrap();
    }
    assert_eq!(transfer.frame(file("a/b", 1)), Err(Violation::TooManyFiles { max: MAX_OPEN }));
}
