//! Access lists of keys.

use pyo3::{prelude::*, types::PyDict};
use twolane::delegation::Pattern;

use crate::{
    error::Problem,
    key::{self, PeerId},
};

/// Decides which peers may connect, and which peers may use which protocol. Given to an `Endpoint` as `access`, and
/// changeable at any time.
///
/// A key on the list stands for the peer that has the key, and for peers that act for the key with a delegation. A
/// denied key is denied, whatever the other entries say. A peer that is no longer allowed is disconnected at once,
/// with a reason.
///
/// `AccessList()` admits every key that is not denied; `AccessList.deny_by_default()` admits only keys that are
/// allowed. A pattern is the name of a protocol, or the beginning of a name and a star: `admin/*`. Each method that
/// changes the list returns whether it did.
#[pyclass(frozen, module = "twolane", name = "AccessList")]
#[derive(Debug)]
pub(crate) struct AccessList(pub(crate) twolane::AccessList);

#[pymethods]
impl AccessList {
    #[new]
    fn new() -> Self {
        Self(twolane::AccessList::everybody())
    }

    /// Makes a list that admits no key until it is allowed.
    #[staticmethod]
    fn deny_by_default() -> Self {
        Self(twolane::AccessList::nobody())
    }

    /// Allows the key to connect, and to use every protocol without a list of its own.
    fn allow(&self, py: Python<'_>, peer: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = key::peer_from(peer)?.0;
        Ok(py.detach(|| self.0.allow(key)))
    }

    /// Denies the key. If the peer is connected, it is disconnected.
    fn deny(&self, py: Python<'_>, peer: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = key::peer_from(peer)?.0;
        Ok(py.detach(|| self.0.deny(key)))
    }

    /// Removes the entry of the key, which is then treated like an unknown key.
    fn forget(&self, py: Python<'_>, peer: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = key::peer_from(peer)?.0;
        Ok(py.detach(|| self.0.forget(&key)))
    }

    /// Gives the protocols of `pattern` a list of their own, empty at first.
    fn restrict(&self, py: Python<'_>, pattern: &str) -> PyResult<bool> {
        let pattern = parse(pattern)?;
        Ok(py.detach(|| self.0.restrict(&pattern)))
    }

    /// Removes the separate list of the protocols of `pattern`.
    fn unrestrict(&self, py: Python<'_>, pattern: &str) -> PyResult<bool> {
        let pattern = parse(pattern)?;
        Ok(py.detach(|| self.0.unrestrict(&pattern)))
    }

    /// Allows the key to use the protocols of `pattern`, which get a list of their own by this call. The key may
    /// also connect.
    fn allow_for(&self, py: Python<'_>, pattern: &str, peer: &Bound<'_, PyAny>) -> PyResult<bool> {
        let (pattern, key) = (parse(pattern)?, key::peer_from(peer)?.0);
        Ok(py.detach(|| self.0.allow_for(&pattern, key)))
    }

    /// Removes the key from the list of the protocols of `pattern`. Its open streams of these protocols are
    /// aborted.
    fn revoke_for(&self, py: Python<'_>, pattern: &str, peer: &Bound<'_, PyAny>) -> PyResult<bool> {
        let (pattern, key) = (parse(pattern)?, key::peer_from(peer)?.0);
        Ok(py.detach(|| self.0.revoke_for(&pattern, &key)))
    }

    /// Returns the keys that are allowed, in order.
    fn allowed(&self) -> Vec<PeerId> {
        self.0.allowed().into_iter().map(PeerId).collect()
    }

    /// Returns the keys that are denied, in order.
    fn denied(&self) -> Vec<PeerId> {
        self.0.denied().into_iter().map(PeerId).collect()
    }

    /// Returns the patterns of the protocols that have a list of their own, with the keys on it.
    fn lists<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let lists = PyDict::new(py);
        for (pattern, keys) in self.0.lists() {
            lists.set_item(pattern.as_str(), keys.into_iter().map(PeerId).collect::<Vec<_>>())?;
        }
        Ok(lists)
    }
}

/// Parses a pattern of protocol names.
pub(crate) fn parse(text: &str) -> PyResult<Pattern> {
    let parsed = text.parse::<Pattern>();
    Ok(parsed.map_err(|error| Problem::of("InvalidProtocol", &error))?)
}
