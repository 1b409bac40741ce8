//! Lists of keys that may.

use pyo3::prelude::*;
use twolane::delegation::Pattern;

use crate::{error::Problem, key};

/// Who may connect, and who may use which protocol: given to an `Endpoint` as `access`, and changed at any time.
///
/// A key on it stands for the peer that has it, and for peers that act for it with a delegation. A denied key is denied
/// whatever else is said. Whoever is not allowed any more is disconnected at once, with a reason.
///
/// `AccessList()` lets in everybody who is not denied; `AccessList(nobody=True)` nobody who is not allowed. Patterns are
/// a protocol's name, or its beginning and a star: `admin/*`. Each method returns whether that changed anything.
#[pyclass(frozen, module = "twolane", name = "AccessList")]
#[derive(Debug)]
pub(crate) struct AccessList(pub(crate) twolane::AccessList);

#[pymethods]
impl AccessList {
    #[new]
    #[pyo3(signature = (*, nobody = false))]
    fn new(nobody: bool) -> Self {
        Self(if nobody { twolane::AccessList::nobody() } else { twolane::AccessList::everybody() })
    }

    /// The key may connect, and use every protocol that has no list of its own.
    fn allow(&self, py: Python<'_>, peer: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = key::peer_from(peer)?.0;
        Ok(py.detach(|| self.0.allow(key)))
    }

    /// The key may not connect. If it is connected, it is cut off.
    fn deny(&self, py: Python<'_>, peer: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = key::peer_from(peer)?.0;
        Ok(py.detach(|| self.0.deny(key)))
    }

    /// The key is like all others again.
    fn forget(&self, py: Python<'_>, peer: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = key::peer_from(peer)?.0;
        Ok(py.detach(|| self.0.forget(&key)))
    }

    /// The protocols of `pattern` get a list of their own, empty at first.
    fn restrict(&self, py: Python<'_>, pattern: &str) -> PyResult<bool> {
        let pattern = parse(pattern)?;
        Ok(py.detach(|| self.0.restrict(&pattern)))
    }

    /// The protocols of `pattern` have no list of their own any more.
    fn unrestrict(&self, py: Python<'_>, pattern: &str) -> PyResult<bool> {
        let pattern = parse(pattern)?;
        Ok(py.detach(|| self.0.unrestrict(&pattern)))
    }

    /// The key may use the protocols of `pattern`, which get a list of their own by that. It may connect, too.
    fn allow_for(&self, py: Python<'_>, pattern: &str, peer: &Bound<'_, PyAny>) -> PyResult<bool> {
        let (pattern, key) = (parse(pattern)?, key::peer_from(peer)?.0);
        Ok(py.detach(|| self.0.allow_for(&pattern, key)))
    }

    /// The key is taken off the list of the protocols of `pattern`; its open streams of those are aborted.
    fn revoke_for(&self, py: Python<'_>, pattern: &str, peer: &Bound<'_, PyAny>) -> PyResult<bool> {
        let (pattern, key) = (parse(pattern)?, key::peer_from(peer)?.0);
        Ok(py.detach(|| self.0.revoke_for(&pattern, &key)))
    }
}

/// A pattern of protocol names.
pub(crate) fn parse(text: &str) -> PyResult<Pattern> {
    let parsed = text.parse::<Pattern>();
    Ok(parsed.map_err(|error| Problem::of("InvalidProtocol", &error))?)
}
