//! Information about peers and about the endpoint, as dicts for Python's dataclasses.

use std::time::Instant;

use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict, PyTuple},
};
use twolane::{Event, Network, PathInfo, PeerInfo, Report, Severity, ShutdownReport, Status};

use crate::{
    error::{chain, lost_name},
    key::PeerId,
};

pub(crate) fn peer(py: Python<'_>, info: &PeerInfo) -> PyResult<Py<PyAny>> {
    let dict = PyDict::new(py);
    dict.set_item("id", PeerId(info.id))?;
    dict.set_item("owner", info.owner.map(PeerId))?;
    dict.set_item("path", info.path.map(|path| path.to_string()))?;
    dict.set_item("rtt", info.rtt.map(|rtt| rtt.as_secs_f64()))?;
    let paths: PyResult<Vec<_>> = info.paths.iter().map(|info| path(py, info)).collect();
    dict.set_item("paths", paths?)?;
    dict.set_item("streams", info.streams)?;
    dict.set_item("connections", info.connections)?;
    dict.set_item("connected_for", Instant::now().saturating_duration_since(info.since).as_secs_f64())?;
    dict.set_item("sent", info.sent)?;
    dict.set_item("received", info.received)?;
    dict.set_item("last_error", &info.last_error)?;
    Ok(dict.into_any().unbind())
}

fn path<'py>(py: Python<'py>, info: &PathInfo) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("kind", info.kind.to_string())?;
    dict.set_item("remote", &info.remote)?;
    dict.set_item("rtt", info.rtt.as_secs_f64())?;
    dict.set_item("selected", info.selected)?;
    dict.set_item("sent", info.sent)?;
    dict.set_item("received", info.received)?;
    Ok(dict)
}

pub(crate) fn status(py: Python<'_>, status: &Status) -> PyResult<Py<PyAny>> {
    let dict = PyDict::new(py);
    let texts = |addrs: &[std::net::SocketAddr]| addrs.iter().map(ToString::to_string).collect::<Vec<_>>();
    dict.set_item("reach", status.reach.as_str())?;
    // Its name for programs, and what to do for people.
    let obstacles: Vec<_> = status.obstacles.iter().map(|found| (found.as_str(), found.to_string())).collect();
    dict.set_item("obstacles", obstacles)?;
    dict.set_item("sockets", texts(&status.sockets))?;
    dict.set_item("addrs", texts(&status.addrs))?;
    let mut relays = Vec::new();
    for relay in &status.relays {
        let entry = PyDict::new(py);
        entry.set_item("url", &relay.url)?;
        entry.set_item("home", relay.home)?;
        entry.set_item("connected", relay.connected)?;
        entry.set_item("latency", relay.latency.map(|latency| latency.as_secs_f64()))?;
        entry.set_item("last_error", &relay.last_error)?;
        relays.push(entry);
    }
    dict.set_item("relays", relays)?;
    dict.set_item("network", status.network.as_ref().map(|found| network(py, found)).transpose()?)?;
    let (on, error) = match &status.local_network {
        None => (false, None),
        Some(Ok(())) => (true, None),
        Some(Err(error)) => (false, Some(error)),
    };
    dict.set_item("local_network", on)?;
    dict.set_item("local_network_error", error)?;
    Ok(dict.into_any().unbind())
}

fn network<'py>(py: Python<'py>, network: &Network) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("ipv4", network.ipv4)?;
    dict.set_item("ipv6", network.ipv6)?;
    dict.set_item("public_ipv4", network.public_ipv4.map(|addr| addr.to_string()))?;
    dict.set_item("public_ipv6", network.public_ipv6.map(|addr| addr.to_string()))?;
    dict.set_item("nat_varies", network.nat_varies)?;
    Ok(dict)
}

pub(crate) fn shutdown(py: Python<'_>, report: ShutdownReport) -> PyResult<Py<PyAny>> {
    let dict = PyDict::new(py);
    dict.set_item("drained", report.drained)?;
    dict.set_item("cut", report.cut)?;
    dict.set_item("silent", report.silent)?;
    dict.set_item("streams_cut", report.streams_cut)?;
    dict.set_item("tasks_left", report.tasks_left)?;
    Ok(dict.into_any().unbind())
}

/// Returns the name of the event's class, and its arguments.
pub(crate) fn event(py: Python<'_>, event: &Event) -> PyResult<Py<PyAny>> {
    let made = match event {
        Event::Connected { peer } => ("Connected", PeerId(*peer)).into_pyobject(py)?.into_any(),
        Event::PathChanged { peer, path } => {
            ("PathChanged", PeerId(*peer), path.to_string()).into_pyobject(py)?.into_any()
        }
        Event::Disconnected { peer, cause } => {
            ("Disconnected", PeerId(*peer), chain(&**cause), lost_name(cause)).into_pyobject(py)?.into_any()
        }
        Event::DelegationEnded { peer, owner, cause } => {
            ("DelegationEnded", PeerId(*peer), PeerId(*owner), chain(cause)).into_pyobject(py)?.into_any()
        }
        Event::DialFailed { peer, cause } => {
            ("DialFailed", PeerId(*peer), chain(&**cause), cause.is_retryable()).into_pyobject(py)?.into_any()
        }
        Event::Missed(count) => ("Missed", *count).into_pyobject(py)?.into_any(),
        // An event of a later version of the crate.
        other => ("OtherEvent", format!("{other:?}")).into_pyobject(py)?.into_any(),
    };
    Ok(made.unbind())
}

pub(crate) fn report(py: Python<'_>, report: &Report) -> PyResult<Py<PyAny>> {
    let severity = match report.severity {
        Severity::Warning => "warning",
        Severity::Abort => "abort",
        _ => "fatal",
    };
    let error = &report.error;
    let details = PyBytes::new(py, error.details());
    let made: Bound<'_, PyTuple> =
        (severity, error.code(), error.text(), details, error.offset(), report.missed).into_pyobject(py)?;
    Ok(made.into_any().unbind())
}
