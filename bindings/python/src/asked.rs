//! A question to Python code, whose asker may give up before the answer.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use tokio::sync::oneshot;

use crate::{
    bridge::{Bridge, Item},
    runtime::Here,
};

/// Makes the two ends of a question that is asked on the event loop of `bridge`.
pub(crate) fn question<T>(bridge: &Arc<Bridge>) -> (Answer<T>, Asking<T>) {
    let (sender, answered) = oneshot::channel();
    let asker = Arc::new(Mutex::new(Asker::Waits));
    let asking = Asking { bridge: Arc::clone(bridge), asker: Arc::clone(&asker), answered };
    (Answer { sender: Here::new(Mutex::new(Some(sender))), asker: Here::new(asker) }, asking)
}

/// The end of the asker. Dropping it before the answer has come tells the other end.
pub(crate) struct Asking<T> {
    bridge: Arc<Bridge>,
    asker: Arc<Mutex<Asker>>,
    answered: oneshot::Receiver<T>,
}

/// The end of the Python code. A question that is dropped without an answer gets none.
pub(crate) struct Answer<T> {
    sender: Here<Mutex<Option<oneshot::Sender<T>>>>,
    asker: Here<Arc<Mutex<Asker>>>,
}

enum Asker {
    Waits,
    /// The function to call if the asker gives up.
    Cancels(Arc<Py<PyAny>>),
    /// The asker has its answer, or has given up.
    Gone,
}

impl<T> Asking<T> {
    /// Waits for the answer. None if there will be none.
    pub(crate) async fn answer(mut self) -> Option<T> {
        let answer = (&mut self.answered).await.ok();
        drop(self.leave());
        answer
    }

    fn leave(&self) -> Asker {
        std::mem::replace(&mut *self.asker.lock().unwrap_or_else(PoisonError::into_inner), Asker::Gone)
    }
}

impl<T> Drop for Asking<T> {
    fn drop(&mut self) {
        if let Asker::Cancels(callback) = self.leave() {
            self.bridge.push(Item::Call { callback, argument: Box::new(|py| Ok(py.None())) });
        }
    }
}

impl<T> Answer<T> {
    /// Gives the answer. A second one has no effect.
    pub(crate) fn give(&self, answer: T) {
        let Some(sender) = self.sender.ours() else { return };
        let sender = sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // The asker may have given up.
            let _ = sender.send(answer);
        }
    }

    /// Registers `callback`, which is called (with None) if the asker gives up. Returns false if it has its answer, or
    /// has given up already.
    pub(crate) fn when_given_up(&self, callback: Py<PyAny>) -> bool {
        let Some(asker) = self.asker.ours() else { return false };
        let mut asker = asker.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*asker, Asker::Gone) {
            return false;
        }
        let before = std::mem::replace(&mut *asker, Asker::Cancels(Arc::new(callback)));
        drop(asker);
        drop(before);
        true
    }
}
