//! Transfers that were cut, and go on.

use std::{fs, time::Duration};

use twolane::SecretKey;
use twolane_files::{Fate, PIECE, ReceiveError, Reason, SendError};

use crate::support::{Setup, bytes, names};

const SIZE: usize = 24 << 20;

#[tokio::test]
async fn what_has_arrived_is_not_sent_again_after_a_cut() {
    let setup = Setup::new().await;
    let data = bytes(SIZE);
    setup.write("long", &data);
    let mut moved = 0;
    for cut in 1..4 {
        let ended = setup.transfer_until(&["long"], 4 << 20).await;
        assert!(matches!(ended.report, Err(ReceiveError::Stopped)), "{cut}: {:?}", ended.report);
        let told = ended.outcome.error.unwrap();
        let interrupted = Reason::Interrupted.code();
        assert!(matches!(&told, SendError::Refused(error) if error.code() == interrupted), "{told:?}");
        assert_eq!(names(setup.inbox.path()), [".twolane"], "nothing has a name before it is whole");
        moved += ended.moved.1;
    }
    let ended = setup.transfer(&["long"]).await;
    assert_eq!(ended.stored(), [("long".to_owned(), false)]);
    assert!(fs::read(setup.arrived("long")).unwrap() == data);
    assert_eq!(names(setup.inbox.path()), ["long"]);
    moved += ended.moved.1;
    // A cut loses the pieces that are on their way: one for each of the eight streams and one that is being written.
    assert!(moved <= SIZE as u64 + 3 * 16 * PIECE, "{moved} bytes arrived");
}

#[tokio::test]
async fn a_file_that_has_changed_between_two_tries_is_sent_as_it_is_now_and_only_where_it_is_different() {
    let setup = Setup::new().await;
    let mut data = bytes(SIZE);
    setup.write("long", &data);
    let cut = setup.transfer_until(&["long"], 12 << 20).await;
    data[5] ^= 1;
    setup.write("long", &data);
    let ended = setup.transfer(&["long"]).await;
    ended.stored();
    assert!(fs::read(setup.arrived("long")).unwrap() == data);
    assert!(cut.moved.1 + ended.moved.1 <= SIZE as u64 + 17 * PIECE, "{:?} {:?}", cut.moved, ended.moved);
}

#[tokio::test]
async fn a_folder_goes_on_with_the_files_that_are_missing_and_drops_those_that_are_gone() {
    let setup = Setup::new().await;
    for number in 0..40 {
        setup.write(&format!("root/{number:02}"), &bytes(PIECE as usize + number));
    }
    setup.transfer_until(&["root"], 5 << 20).await;
    fs::remove_file(setup.outbox.path().join("root/00")).unwrap();
    let ended = setup.transfer(&["root"]).await;
    assert!(matches!(&ended.outcome.fates[..], [Fate::Stored { files: 39, .. }]), "{:?}", ended.outcome);
    assert!(!names(&setup.arrived("root")).contains(&"00".to_owned()));
    for number in 1..40 {
        let arrived = fs::read(setup.arrived(&format!("root/{number:02}"))).unwrap();
        assert!(arrived == bytes(PIECE as usize + number), "{number}");
    }
    assert!(ended.moved.1 < 6 << 20, "{:?}", ended.moved);
}

#[tokio::test]
async fn only_its_own_sender_goes_on_with_what_is_left() {
    let setup = Setup::new().await;
    setup.write("long", &bytes(SIZE));
    setup.transfer_until(&["long"], 12 << 20).await;
    let key = SecretKey::generate();
    let other = twolane::Endpoint::builder().offline().secret_key(key).bind().await.unwrap();
    let setup = Setup { sender: other, ..setup };
    let ended = setup.transfer(&["long"]).await;
    ended.stored();
    assert_eq!(ended.moved.1, SIZE as u64, "another sender would learn what is there");
}

#[tokio::test]
async fn a_sender_that_is_gone_leaves_what_has_arrived_for_the_next_try() {
    let setup = Setup::new().await;
    let data = bytes(SIZE);
    setup.write("long", &data);
    let key = SecretKey::generate();
    let first = twolane::Endpoint::builder().offline().secret_key(key.clone()).bind().await.unwrap();
    let setup = Setup { sender: first.clone(), ..setup };
    let items = [setup.item("long")];
    let cut = setup
        .transfer_items(&items, |meter| async move {
            while meter.moved() < 8 << 20 {
                tokio::task::yield_now().await;
            }
            // It cuts its streams, and says no word about the transfer.
            first.shutdown(Duration::ZERO).await;
            std::future::pending().await
        })
        .await;
    assert!(matches!(cut.report, Err(ReceiveError::Lost(_) | ReceiveError::Dropped)), "{:?}", cut.report);
    let again = twolane::Endpoint::builder().offline().secret_key(key).bind().await.unwrap();
    let setup = Setup { sender: again, ..setup };
    let ended = setup.transfer(&["long"]).await;
    ended.stored();
    assert!(ended.moved.1 < (SIZE - (7 << 20)) as u64, "{:?}", ended.moved);
    assert!(fs::read(setup.arrived("long")).unwrap() == data);
}
