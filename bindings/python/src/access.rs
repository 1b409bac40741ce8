//! Access lists of keys.

use pyo3::prelude::*;
use twolane::delegation::Pattern;

use crate::{error::Problem, key};

/// Decides which peers may connect, and which peers may use which protocol. Given to an `Endpoint` as `access`, and
/// changeable at any time.
///
/// A key on the list stands for the peer that has the key, and for peers that act for the key with a delegation. A
/// denied key is denied, whatever the other entries say, and so are peers that act for it or have acted for it. If
/// lists of protocols match, the list of the most specific pattern decides alone: `admin/1` before `admin/*` before
/// `*`. A peer that is no longer allowed is disconnected at once, with a reason.
///
/// `AccessList()` admits every key that is not denied; `AccessList(nobody=True)` admits only keys that are allowed.
/// A pattern is the name of a protocol, or the beginning of a name and a star: `admin/*`. Each method returns
/// whether it changed the list.
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

    /// Allows the key to connect, and to use every protocol without a list of its own.
    fn allow(&self, py: Python<'_>, peer: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = key::peer_from(peer)?.0;
        Ok(py.detach(|| self.0.allow(key)))
    }

    /// Denies the key, and the peers that act for it or have acted for it. If they are connected, they are
    /// disconnected.
    fn deny(&self, py: Python<'_>, peer: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = key::peer_from(peer)?.0;
        Ok(py.detach(|| self.0.deny(key)))
    }

    /// Requires a delegation of peers that neither an entry nor a list names: they connect only with one, and open
    /// streams only within its scope. It may be anybody's who is not denied.
    #[pyo3(signature = (required = true))]
    fn require_delegation(&self, py: Python<'_>, required: bool) -> bool {
        py.detach(|| self.0.require_certificate(required))
    }

    /// Removes the entry of the key, and the memory of whom it has acted for. The key is then treated like an
    /// unknown key.
    fn forget(&self, py: Python<'_>, peer: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = key::peer_from(peer)?.0;
        Ok(py.detach(|| self.0.forget(&key)))
    }

    /// Gives the protocols of `pattern` a list of their own, empty at first. A list of a more specific pattern goes
    /// before it.
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
}

/// Parses a pattern of protocol names.
pub(crate) fn parse(text: &str) -> PyResult<Pattern> {
    let parsed = text.parse::<Pattern>();
    Ok(parsed.map_err(|error| Problem::of("InvalidProtocol", &error))?)
}
