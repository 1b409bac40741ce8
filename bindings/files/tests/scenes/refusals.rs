//! Items that are not stored, and what both sides learn of that.

use std::{fs, time::Duration};

use twolane_files::{Fate, Policy, Reason, ReceiveError, Received, Rehearsal, SendError};

use crate::support::{Setup, bytes, names};

fn refused(reason: Reason) -> impl Fn(&Fate) -> bool {
    move |fate| matches!(fate, Fate::Refused { code, .. } if *code == reason.code())
}

#[tokio::test]
async fn a_file_that_is_not_the_one_that_is_there_is_refused_and_the_others_arrive() {
    let setup = Setup::new().await;
    for (name, mine) in [("same-length", &b"mine"[..]), ("other-length", b"mine too")] {
        fs::write(setup.arrived(name), mine).unwrap();
        setup.write(name, b"them");
    }
    setup.write("new", b"new");
    let ended = setup.transfer(&["same-length", "other-length", "new"]).await;
    assert!(ended.outcome.error.is_none(), "{:?}", ended.outcome);
    assert!(refused(Reason::Exists)(&ended.outcome.fates[0]), "{:?}", ended.outcome);
    assert!(refused(Reason::Exists)(&ended.outcome.fates[1]), "{:?}", ended.outcome);
    assert!(matches!(&ended.outcome.fates[2], Fate::Stored { already: false, .. }), "{:?}", ended.outcome);
    assert_eq!(fs::read(setup.arrived("same-length")).unwrap(), b"mine");
    assert_eq!(names(setup.inbox.path()), ["new", "other-length", "same-length"]);
}

#[tokio::test]
async fn a_folder_with_a_file_that_is_not_there_is_another_folder() {
    let setup = Setup::new().await;
    fs::create_dir(setup.arrived("root")).unwrap();
    fs::write(setup.arrived("root/a"), b"1").unwrap();
    setup.write("root/a", b"1");
    setup.write("root/b", b"2");
    let ended = setup.transfer(&["root"]).await;
    assert!(refused(Reason::Exists)(&ended.outcome.fates[0]), "{:?}", ended.outcome);
    assert_eq!(names(&setup.arrived("root")), ["a"]);
}

#[tokio::test]
async fn a_transfer_that_is_too_large_is_refused_before_anything_is_sent() {
    let setup = Setup { policy: Policy { max_bytes: Some(9), ..Policy::default() }, ..Setup::new().await };
    setup.write("a", b"12345");
    setup.write("b", b"12345");
    let ended = setup.transfer(&["a", "b"]).await;
    assert!(matches!(ended.report, Err(ReceiveError::TooLarge { max: 9 })), "{:?}", ended.report);
    let error = ended.outcome.error.unwrap();
    assert!(matches!(&error, SendError::Refused(told) if told.code() == Reason::TooLarge.code()), "{error:?}");
    assert_eq!(ended.outcome.fates, [Fate::Unsent, Fate::Unsent]);
    setup.transfer(&["a"]).await.stored();
}

#[tokio::test]
async fn a_file_that_is_gone_when_its_turn_comes_fails_its_item_alone() {
    let setup = Setup::new().await;
    let path = setup.write("root/a", b"1");
    setup.write("root/b", b"2");
    setup.write("other", b"3");
    let items = [setup.item("root"), setup.item("other")];
    fs::remove_file(path).unwrap();
    let ended = setup.transfer_items(&items, |_| std::future::pending()).await;
    assert!(ended.outcome.error.is_none(), "{:?}", ended.outcome);
    let [Fate::Failed { reason: Reason::Source, text }, Fate::Stored { .. }] = &ended.outcome.fates[..] else {
        panic!("{:?}", ended.outcome)
    };
    assert!(text.contains("root/a"), "{text}");
    let report = ended.report.unwrap();
    let given_up = (0, Received::GivenUp { code: Reason::Source.code(), text: text.clone() });
    assert!(report.items.contains(&given_up), "{report:?}");
    assert_eq!(fs::read(setup.arrived("other")).unwrap(), b"3");
    assert!(!setup.arrived("root").exists());
}

#[tokio::test]
async fn a_file_that_has_shrunk_is_not_stored() {
    let setup = Setup::new().await;
    let path = setup.write("file", b"long enough");
    let item = setup.item("file");
    fs::write(path, b"short").unwrap();
    let ended = setup.transfer_items(&[item], |_| std::future::pending()).await;
    assert!(matches!(&ended.outcome.fates[..], [Fate::Failed { reason: Reason::Changed, .. }]), "{:?}", ended.outcome);
    assert!(!setup.arrived("file").exists());
}

#[tokio::test]
async fn a_refusal_half_way_arrives_while_the_data_lane_is_full() {
    let rehearsal = Rehearsal { after: 1 << 20, code: 77, stall: Duration::from_millis(500) };
    let setup = Setup { policy: Policy { rehearsal: Some(rehearsal), ..Policy::default() }, ..Setup::new().await };
    setup.write("file", &bytes(8 << 20));
    let ended = setup.transfer(&["file"]).await;
    let error = ended.outcome.error.unwrap();
    assert!(matches!(&error, SendError::Refused(told) if told.code() == 77), "{error:?}");
    assert!(matches!(ended.report, Err(ReceiveError::Rehearsed { after, code: 77 }) if after == 1 << 20));
}
