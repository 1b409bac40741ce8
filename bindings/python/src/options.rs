//! Options of an endpoint: limits as a dict of numbers, and the names of the congestion control and the path policy.

use std::time::Duration;

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyDict, PyString},
};
use twolane::{Congestion, Limits, PathPolicy};

use crate::{error::Problem, key::seconds};

/// Returns the default values of the limits, with durations in seconds.
#[pyfunction]
pub(crate) fn default_limits(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    to_dict(py, &Limits::default())
}

/// Returns the congestion control with this name.
pub(crate) fn congestion(name: &str) -> PyResult<Congestion> {
    let named = name.parse::<Congestion>();
    Ok(named.map_err(|error| Problem::new("InvalidOption", error.to_string()))?)
}

/// Returns the path policy that is given by its name, or by the number of seconds within which there has to be a direct
/// path.
pub(crate) fn path_policy(value: &Bound<'_, PyAny>) -> PyResult<PathPolicy> {
    let Ok(name) = value.cast::<PyString>() else { return Ok(PathPolicy::DirectWithin(seconds(value.extract()?)?)) };
    match name.to_str()? {
        "relay_allowed" => Ok(PathPolicy::RelayAllowed),
        "direct_only" => Ok(PathPolicy::DirectOnly),
        name => {
            let message =
                format!("a path policy is relay_allowed, direct_only or a number of seconds, and not {name:?}");
            Err(Problem::new("InvalidOption", message).into())
        }
    }
}

/// Returns the path policy in the form that `path_policy` takes.
pub(crate) fn from_path_policy(py: Python<'_>, policy: PathPolicy) -> PyResult<Py<PyAny>> {
    Ok(match policy {
        PathPolicy::RelayAllowed => PyString::new(py, "relay_allowed").into_any().unbind(),
        PathPolicy::DirectWithin(within) => in_seconds(within).into_pyobject(py)?.into_any().unbind(),
        // A policy of a later version of the crate is at least as strict.
        _ => PyString::new(py, "direct_only").into_any().unbind(),
    })
}

macro_rules! limits {
    (counts: $($count:ident),+; durations: $($duration:ident),+) => {
        /// Returns the limits as a dict.
        pub(crate) fn to_dict<'py>(py: Python<'py>, limits: &Limits) -> PyResult<Bound<'py, PyDict>> {
            let dict = PyDict::new(py);
            $(dict.set_item(stringify!($count), limits.$count)?;)+
            $(dict.set_item(stringify!($duration), in_seconds(limits.$duration))?;)+
            Ok(dict)
        }

        /// Returns the default limits with the changes of a dict.
        pub(crate) fn from_dict(dict: &Bound<'_, PyDict>) -> PyResult<Limits> {
            let mut limits = Limits::default();
            for (name, value) in dict {
                let name: String = name.extract()?;
                match name.as_str() {
                    $(stringify!($count) => limits.$count = value.extract()?,)+
                    $(stringify!($duration) => limits.$duration = bound(&value)?,)+
                    other => return Err(PyTypeError::new_err(format!("there is no limit {other}"))),
                }
            }
            Ok(limits)
        }
    };
}

limits! {
    counts: peers, handshakes, handshakes_per_address, streams_per_peer, streams_without_header, streams_waiting,
        metadata, unread_bytes, warnings, request_bytes, events;
    durations: connect_timeout, hello_timeout, header_timeout, access_timeout, clock_skew, open_timeout, accept_timeout,
        linger, error_timeout, idle_timeout, path_timeout, unused_timeout
}

/// Converts a duration to seconds. The maximum duration, which means no limit, becomes infinity.
fn in_seconds(bound: Duration) -> f64 {
    if bound == Duration::MAX { f64::INFINITY } else { bound.as_secs_f64() }
}

fn bound(value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    seconds(value.extract()?)
}
