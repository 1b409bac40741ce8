//! The data of an exception that is not made yet, and the text of an error with its causes.

use std::{error::Error, io, path::PathBuf};

use bytes::Bytes;
use pyo3::{
    intern,
    prelude::*,
    types::{PyBytes, PyDict, PyType},
};
use twolane::PublicKey;

/// The data of an exception of `twolane.exceptions`. The message is for people, the other fields for programs.
#[derive(Debug, Default)]
pub(crate) struct Problem {
    pub(crate) class: &'static str,
    pub(crate) message: String,
    pub(crate) code: Option<u64>,
    pub(crate) text: Option<String>,
    pub(crate) details: Option<Bytes>,
    pub(crate) offset: Option<u64>,
    pub(crate) missing: Option<u64>,
    pub(crate) peer: Option<PublicKey>,
    pub(crate) phase: Option<&'static str>,
    pub(crate) fault: Option<&'static str>,
    pub(crate) reason: Option<&'static str>,
    pub(crate) retryable: bool,
    pub(crate) handled: Option<bool>,
    pub(crate) partial: Option<(Bytes, Option<usize>)>,
    pub(crate) errno: Option<i32>,
    pub(crate) filename: Option<PathBuf>,
}

impl Problem {
    pub(crate) fn new(class: &'static str, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), ..Self::default() }
    }

    /// Makes a problem with the text of the error and of its causes.
    pub(crate) fn of(class: &'static str, error: &dyn Error) -> Self {
        Self::new(class, chain(error))
    }

    /// Makes a problem of an `OSError`, with the number that the operating system gave, if it is among the causes of
    /// the error, and otherwise with `errno`.
    pub(crate) fn of_the_system(
        class: &'static str,
        error: &(dyn Error + 'static),
        errno: Option<i32>,
        filename: Option<PathBuf>,
    ) -> Self {
        let mut next = Some(error);
        let mut found = None;
        while let Some(cause) = next {
            found = found.or_else(|| cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error));
            next = cause.source();
        }
        Self { errno: found.or(errno), filename, ..Self::of(class, error) }
    }

    /// Sets the peer, if it is not set yet.
    pub(crate) fn with_peer(mut self, peer: PublicKey) -> Self {
        self.peer.get_or_insert(peer);
        self
    }

    /// Sets the phase that the operation had reached, if it is not set yet.
    pub(crate) fn with_phase(mut self, phase: &'static str) -> Self {
        self.phase.get_or_insert(phase);
        self
    }

    /// Makes the problem for data that ended too early. `expected` is the length that it should have had, if there is
    /// one.
    pub(crate) fn incomplete(partial: Bytes, expected: Option<usize>, message: String) -> Self {
        Self { partial: Some((partial, expected)), ..Self::new("IncompleteReadError", message) }
    }

    fn make<'py>(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let module = py.import(intern!(py, "twolane.exceptions"))?;
        let class = module.getattr(self.class)?.cast_into::<PyType>()?;
        let attributes = PyDict::new(py);
        if let Some((partial, expected)) = self.partial {
            attributes.set_item("partial", PyBytes::new(py, &partial))?;
            attributes.set_item("expected", expected)?;
        }
        if self.errno.is_some() || self.filename.is_some() {
            attributes.set_item("errno", self.errno)?;
            attributes.set_item("filename", self.filename.map(|path| path.to_string_lossy().into_owned()))?;
        }
        attributes.set_item("code", self.code)?;
        attributes.set_item("text", self.text)?;
        attributes.set_item("details", PyBytes::new(py, &self.details.unwrap_or_default()))?;
        attributes.set_item("offset", self.offset)?;
        attributes.set_item("missing", self.missing)?;
        attributes.set_item("peer", self.peer.map(|key| peer_id(py, &key)).transpose()?)?;
        attributes.set_item("phase", self.phase)?;
        attributes.set_item("fault", self.fault)?;
        attributes.set_item("reason", self.reason)?;
        attributes.set_item("retryable", self.retryable)?;
        attributes.set_item("may_have_been_handled", self.handled)?;
        class.call((self.message,), Some(&attributes))
    }
}

impl From<Problem> for PyErr {
    fn from(problem: Problem) -> Self {
        // This call does not wait, because the caller always holds the interpreter's lock.
        Python::attach(|py| match problem.make(py) {
            Ok(exception) => Self::from_value(exception),
            Err(error) => error,
        })
    }
}

/// Returns the text of an error and of its causes in one line, each only once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !quotes(&message, &words) {
            message.push_str(": ");
            message.push_str(&words);
        }
        source = cause.source();
    }
    message.replace("\r\n", " ").replace(['\r', '\n'], " ")
}

/// Returns whether a text already has the words of its cause, as some errors do: as the whole text, behind a colon, or
/// in parentheses. Words in the middle of a sentence are no quotation: "not closed" does not say "closed".
fn quotes(text: &str, words: &str) -> bool {
    words.is_empty()
        || text.match_indices(words).any(|(at, _)| {
            let (before, after) = (&text[..at], &text[at + words.len()..]);
            let begins = before.is_empty() || before.ends_with(": ") || before.ends_with('(');
            begins && (after.is_empty() || after.starts_with([':', ';', ',', ')']))
        })
}

/// Returns the key as Python's `PeerId`, which is found by its name: that class raises problems itself.
fn peer_id<'py>(py: Python<'py>, key: &PublicKey) -> PyResult<Bound<'py, PyAny>> {
    let module = py.import(intern!(py, "twolane._native"))?;
    module.getattr(intern!(py, "PeerId"))?.call1((PyBytes::new(py, key.as_bytes()),))
}
