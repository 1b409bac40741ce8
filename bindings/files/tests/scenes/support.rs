//! Two endpoints, and a transfer between them.

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use twolane::Endpoint;
use twolane_files::{
    CONTROL_PROTOCOL, DATA_PROTOCOL, Fate, Gathering, Inbox, Input, Meter, Offer, Outcome, OutgoingItem, Place, Policy,
    ReceiveError, Received, Report, offer, open, receive, send,
};

/// Longer than any step takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Two endpoints, a folder with files to send, and a receiver's folder.
pub(crate) struct Setup {
    pub(crate) sender: Endpoint,
    pub(crate) receiver: Endpoint,
    pub(crate) outbox: TempDir,
    pub(crate) inbox: TempDir,
    pub(crate) store: Inbox,
    pub(crate) policy: Policy,
}

/// Both ends of a transfer.
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) report: Result<Report, ReceiveError>,
    /// The bytes that really travelled, as the sender and the receiver counted them.
    pub(crate) moved: (u64, u64),
}

impl Setup {
    pub(crate) async fn new() -> Self {
        let inbox = tempfile::tempdir().unwrap();
        let store = Inbox::open(inbox.path()).unwrap();
        Self {
            sender: Endpoint::builder().offline().bind().await.unwrap(),
            receiver: Endpoint::builder().offline().bind().await.unwrap(),
            outbox: tempfile::tempdir().unwrap(),
            inbox,
            store,
            policy: Policy::default(),
        }
    }

    /// Writes a file to send.
    pub(crate) fn write(&self, path: &str, data: &[u8]) -> PathBuf {
        let path = self.outbox.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, data).unwrap();
        path
    }

    pub(crate) fn item(&self, path: &str) -> OutgoingItem {
        OutgoingItem::scan(&Input::Path(self.outbox.path().join(path)), None).unwrap()
    }

    pub(crate) fn arrived(&self, path: &str) -> PathBuf {
        self.inbox.path().join(path)
    }

    /// Sends items.
    pub(crate) async fn transfer(&self, paths: &[&str]) -> Ended {
        let items: Vec<_> = paths.iter().map(|path| self.item(path)).collect();
        self.transfer_items(&items, |_| std::future::pending()).await
    }

    /// Sends items until the receiver is stopped, once it has taken `bytes`.
    pub(crate) async fn transfer_until(&self, paths: &[&str], bytes: u64) -> Ended {
        let items: Vec<_> = paths.iter().map(|path| self.item(path)).collect();
        self.transfer_items(&items, |meter| async move {
            while meter.moved() < bytes {
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    pub(crate) async fn transfer_items<F: Future<Output = ()>>(
        &self,
        items: &[OutgoingItem],
        stop: impl FnOnce(Arc<Meter>) -> F,
    ) -> Ended {
        let (sent, got) = (Meter::default(), Arc::new(Meter::default()));
        let gathering = Gathering::default();
        let made = offer(items);
        let receiving = async {
            let (_, stream) = self.receiver.accept_bi(&[CONTROL_PROTOCOL]).await.unwrap();
            let offer = Offer::from_bytes(stream.metadata()).unwrap();
            assert_eq!(offer, made);
            let place = Place { inbox: &self.store, gathering: &gathering, policy: &self.policy };
            Box::pin(receive(stream, &offer, place, &got, |_| {}, stop(got.clone()))).await
        };
        let sending = async {
            let stream = open(&self.sender, self.receiver.ticket(), &made, PATIENCE).await.unwrap();
            let never = std::future::pending();
            Box::pin(send(stream, &self.sender, items, &made, &sent, |_, _| {}, never)).await
        };
        let gathers = async {
            loop {
                let (_, stream) = self.receiver.accept_bi(&[DATA_PROTOCOL]).await.unwrap();
                gathering.add(stream);
            }
        };
        let (outcome, report) = tokio::select! {
            both = async { tokio::join!(sending, receiving) } => both,
            () = gathers => panic!("it gathers without end"),
        };
        Ended { outcome, report, moved: (sent.moved(), got.moved()) }
    }
}

impl Ended {
    /// Checks that every item is stored, and returns the names, and whether each was there already.
    #[track_caller]
    pub(crate) fn stored(&self) -> Vec<(String, bool)> {
        assert!(self.outcome.error.is_none(), "{:?}", self.outcome.error);
        let report = self.report.as_ref().unwrap();
        assert!(report.told.is_ok(), "{:?}", report.told);
        let mut received: Vec<_> = report.items.clone();
        received.sort_by_key(|(item, _)| *item);
        assert_eq!(received.len(), self.outcome.fates.len());
        self.outcome
            .fates
            .iter()
            .zip(&received)
            .map(|pair| match pair {
                (
                    Fate::Stored { name, already, files, bytes, hash },
                    (_, Received::Stored { name: there, already: was, files: count, bytes: len, hash: found }),
                ) => {
                    assert_eq!((name, already, files, bytes, hash), (there, was, count, len, found));
                    (name.clone(), *already)
                }
                other => panic!("it is not stored: {other:?}"),
            })
            .collect()
    }
}

/// Makes incompressible bytes.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    blake3::Hasher::new().update(b"scenes").finalize_xof().fill(&mut data);
    data
}

/// The names in a folder, hidden ones as well.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
