//! Keeps the list of revoked certificates on the disk.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;
use twolane_id::storage::revocations;

use crate::{
    access::{Gate, GateConfig},
    error::{BindError, RevocationsNotSaved},
};

/// The time between a write that failed and the next one. A disk that is full, or a folder that cannot be written to,
/// takes a person to mend.
const AGAIN: Duration = Duration::from_secs(10);

/// The file of an endpoint, and what was written to it. The versions are those of [`Gate::watch_revoked`].
#[derive(Debug)]
pub(super) struct RevocationFile {
    path: PathBuf,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// The version of the list that is in the file.
    saved: u64,
    /// The version that could not be written at the last try, and why.
    failed: Option<(u64, Arc<revocations::RevocationFileError>)>,
    /// Whether nothing is written any more.
    ended: bool,
}

impl RevocationFile {
    /// Adds the list in the file at `path` to the one that the program has set, and the other way round. `None` without
    /// a path.
    pub(super) fn open(path: Option<PathBuf>, gate: &mut GateConfig) -> Result<Option<Arc<Self>>, BindError> {
        let Some(path) = path else { return Ok(None) };
        let given = std::mem::take(&mut gate.revoked);
        gate.revoked = revocations::open_or_create(&path, given).map_err(BindError::Revocations)?;
        // The file has the list of version 0 now.
        Ok(Some(Arc::new(Self { path, state: watch::Sender::default() })))
    }

    /// Waits until the current list is in the file.
    pub(super) async fn saved(&self, gate: &Gate) -> Result<(), RevocationsNotSaved> {
        let version = *gate.watch_revoked().borrow();
        let mut state = self.state.subscribe();
        let known = |state: &State| {
            let failed = state.failed.as_ref().is_some_and(|(failed, _)| *failed >= version);
            state.saved >= version || failed || state.ended
        };
        // The sender is in `self`.
        let Ok(state) = state.wait_for(known).await else { return Err(RevocationsNotSaved::Closed) };
        match &state.failed {
            _ if state.saved >= version => Ok(()),
            Some((_, error)) => Err(RevocationsNotSaved::Failed(Arc::clone(error))),
            None => Err(RevocationsNotSaved::Closed),
        }
    }

    /// Writes the list after each change, until the endpoint is closed.
    pub(super) async fn run(self: Arc<Self>, gate: Arc<Gate>, closed: CancellationToken) {
        let mut changes = gate.watch_revoked();
        loop {
            // Read before the write, which may take long.
            let last = closed.is_cancelled();
            // Read before the list, so that the list has every change up to this version.
            let version = *changes.borrow_and_update();
            let saved = self.state.borrow().saved;
            let written = saved == version || self.write(&gate, version).await;
            if last {
                self.state.send_modify(|state| state.ended = true);
                return;
            }
            tokio::select! {
                () = closed.cancelled() => {}
                // The gate holds the sender.
                _ = changes.changed() => {}
                () = sleep(AGAIN), if !written => {}
            }
        }
    }

    /// Writes the current list, which is of `version` or later. Returns whether that worked.
    async fn write(&self, gate: &Gate, version: u64) -> bool {
        let (path, list) = (self.path.clone(), gate.revoked());
        // An error means that the runtime is shutting down: nothing was written.
        let Ok(stored) = spawn_blocking(move || revocations::store(path, &list)).await else { return false };
        if let Err(error) = &stored {
            let error = error as &(dyn std::error::Error + 'static);
            tracing::error!(error, "the revoked certificates could not be saved: they count, but a restart loses them");
        }
        let written = stored.is_ok();
        self.state.send_modify(|state| match stored {
            Ok(()) => (state.saved, state.failed) = (version, None),
            Err(error) => state.failed = Some((version, Arc::new(error))),
        });
        written
    }
}
