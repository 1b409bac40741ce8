//! Certificates with which an owner's key lets another key act for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyString, PyType},
};
use twolane::delegation::{self, Serial};

use crate::{
    access, data,
    error::Problem,
    key::{KeyPair, PeerId},
    ticket,
};

/// A certificate. Its owner lets a node act for it, for some protocols, towards some peers, for some time.
///
/// Made from its text or its bytes, which are checked, or with `Delegation.issue`. Times are seconds since 1970, as
/// `time.time()` returns them.
///
/// Raises `DelegationError` (a `ValueError`) if the certificate is not valid.
#[pyclass(frozen, eq, module = "twolane", name = "Delegation")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delegation(pub(crate) delegation::Delegation);

#[pymethods]
impl Delegation {
    #[new]
    fn new(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(text) = value.cast::<PyString>() {
            return Ok(Self(
                text.to_str()?.trim().parse().map_err(|error: delegation::DelegationError| Problem::from(error))?,
            ));
        }
        let bytes = data::from_python(value)?;
        Ok(Self(delegation::Delegation::from_bytes(&bytes).map_err(Problem::from)?))
    }

    /// Signs a certificate with the owner's key. `node` may act for the owner in the protocols of `scope` (patterns
    /// such as `mail/*`), towards the peers of `audience` (all peers if it is empty), until `expires`.
    #[staticmethod]
    #[pyo3(signature = (owner, node, *, scope, expires, audience = None, not_before = None, serial = None))]
    fn issue(
        owner: &Bound<'_, KeyPair>,
        node: &Bound<'_, PyAny>,
        scope: Vec<String>,
        expires: f64,
        audience: Option<Vec<Bound<'_, PyAny>>>,
        not_before: Option<f64>,
        serial: Option<&str>,
    ) -> PyResult<Self> {
        let mut builder = delegation::Delegation::build(crate::key::peer_from(node)?.0).expires(time(expires)?);
        for pattern in scope {
            builder = builder.scope(access::parse(&pattern)?);
        }
        for peer in ticket::peers_from(&audience.unwrap_or_default())? {
            builder = builder.audience(peer);
        }
        if let Some(not_before) = not_before {
            builder = builder.not_before(time(not_before)?);
        }
        if let Some(serial) = serial {
            builder = builder.serial(parse_serial(serial)?);
        }
        Ok(Self(builder.sign(&owner.get().0).map_err(|error| Problem::of("DelegationError", &error))?))
    }

    /// The key that issued the certificate.
    #[getter]
    fn owner(&self) -> PeerId {
        PeerId(self.0.owner())
    }

    /// The key that acts for the owner.
    #[getter]
    fn node(&self) -> PeerId {
        PeerId(self.0.node())
    }

    /// The patterns of the protocols for which the node acts.
    #[getter]
    fn scope(&self) -> Vec<String> {
        self.0.scope().iter().map(|pattern| pattern.as_str().to_owned()).collect()
    }

    /// The peers towards which the node acts. An empty list means all peers.
    #[getter]
    fn audience(&self) -> Vec<PeerId> {
        self.0.audience().iter().map(|peer| PeerId(*peer)).collect()
    }

    /// The first moment at which the certificate holds, in seconds since 1970.
    #[getter]
    fn not_before(&self) -> f64 {
        seconds(self.0.not_before())
    }

    /// The first moment at which the certificate no longer holds, in seconds since 1970.
    #[getter]
    fn expires(&self) -> f64 {
        seconds(self.0.expires())
    }

    /// The serial, by which the owner revokes the certificate: 32 hexadecimal digits.
    #[getter]
    fn serial(&self) -> String {
        self.0.serial().to_string()
    }

    /// Returns whether the scope covers the protocol.
    fn permits(&self, protocol: &str) -> bool {
        self.0.permits(protocol)
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.as_bytes())
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<Delegation of {} to {}>", self.0.owner(), self.0.node())
    }

    fn __hash__(&self) -> u64 {
        u64::from_be_bytes(self.0.serial().to_bytes()[..8].try_into().unwrap_or_default())
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (String,)) {
        (slf.get_type(), (slf.get().__str__(),))
    }
}

/// Parses the serial of a certificate.
pub(crate) fn parse_serial(text: &str) -> PyResult<Serial> {
    Ok(text.parse::<Serial>().map_err(|error| Problem::of("DelegationError", &error))?)
}

fn time(since: f64) -> PyResult<SystemTime> {
    let since = Duration::try_from_secs_f64(since).ok().and_then(|since| UNIX_EPOCH.checked_add(since));
    since.ok_or_else(|| PyValueError::new_err("a time is a number of seconds since 1970"))
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
