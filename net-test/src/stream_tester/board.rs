//! The acceptor's observations, which are kept until the opener asks for them.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use tokio::{sync::Notify, time::timeout};
use twolane::PublicKey;

use super::{lock, seen::Seen};

/// The number of reports that are kept. If there are more, the oldest are dropped. An opener asks for a report once
/// the stream has ended, and at most 256 streams are open for a peer. So the opener of an older report has given
/// up.
const MAX_KEPT: usize = 1024;

/// The opener, and the opener's number for the stream.
pub type Key = (PublicKey, u64);

#[derive(Debug, Default)]
pub struct Board {
    kept: Mutex<VecDeque<(Key, Seen)>>,
    changed: Notify,
}

impl Board {
    pub fn keep(&self, key: Key, seen: Seen) {
        let mut kept = lock(&self.kept);
        if kept.len() == MAX_KEPT {
            kept.pop_front();
        }
        kept.push_back((key, seen));
        drop(kept);
        self.changed.notify_waiters();
    }

    /// Waits until the stream has ended, and returns its report. Returns `None` if the stream does not end in time.
    pub async fn take(&self, key: Key, within: Duration) -> Option<Seen> {
        timeout(within, async {
            loop {
                let changed = self.changed.notified();
                if let Some(seen) = self.find(key) {
                    return seen;
                }
                changed.await;
            }
        })
        .await
        .ok()
    }

    fn find(&self, key: Key) -> Option<Seen> {
        let mut kept = lock(&self.kept);
        let at = kept.iter().position(|(have, _)| *have == key)?;
        kept.remove(at).map(|(_, seen)| seen)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use twolane::SecretKey;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn peer(n: u8) -> PublicKey {
        SecretKey::from_bytes(&[n; 32]).public_key()
    }

    #[tokio::test]
    async fn what_was_seen_is_waited_for_and_told_once() {
        let board = Arc::new(Board::default());
        let waiting = tokio::spawn({
            let board = Arc::clone(&board);
            async move { board.take((peer(1), 7), SOON).await }
        });
        board.keep((peer(2), 7), Seen::default());
        board.keep((peer(1), 7), Seen { finished: true, ..Seen::default() });
        assert!(waiting.await.unwrap().unwrap().finished);
        assert_eq!(board.take((peer(1), 7), Duration::ZERO).await, None);
        assert!(board.take((peer(2), 7), SOON).await.is_some_and(|seen| !seen.finished));
    }

    #[tokio::test]
    async fn of_too_many_the_oldest_go() {
        let board = Board::default();
        for id in 0..=MAX_KEPT as u64 {
            board.keep((peer(1), id), Seen::default());
        }
        assert_eq!(board.take((peer(1), 0), Duration::ZERO).await, None);
        assert!(board.take((peer(1), 1), SOON).await.is_some());
    }
}
