//! The native half of the PyPI package `twolane`: crate `twolane`, as asyncio needs it.
//!
//! - `runtime`: the tokio runtime below, and what becomes of it at fork and at exit;
//! - `bridge`: how what happens there reaches an event loop, without the interpreter's lock;
//! - `wait`, `op`: the two ways to wait, for readiness and for a result;
//! - `error`: every error as an exception of `twolane.exceptions`;
//! - `endpoint`, `serve`, `source`, `stream`: what the Python classes of the same names are made of;
//! - `key`, `ticket`, `access`, `delegation`, `options`, `info`: values.
//!
//! Three rules keep it free of deadlocks and lost bytes. No thread of tokio ever waits for the interpreter's lock. No
//! lock is held while Python code may run. And whatever can be cancelled is only ever *ready*: it is taken by a
//! synchronous call, on the thread of the event loop, by a caller that is there to get it.

mod access;
mod bench;
mod bridge;
mod data;
mod delegation;
mod endpoint;
mod error;
mod info;
mod key;
mod op;
mod options;
mod rules;
mod runtime;
mod serve;
mod source;
mod stream;
mod ticket;
mod wait;

use pyo3::prelude::*;

/// `twolane._native`. No part of the public interface: `twolane` is.
#[pymodule(gil_used = true)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("MAX_TEXT", twolane::Limits::ERROR_TEXT)?;
    module.add("MAX_DETAILS", twolane::Limits::ERROR_DETAILS)?;
    module.add("MAX_METADATA", twolane::Limits::METADATA)?;
    module.add_class::<key::KeyPair>()?;
    module.add_class::<key::PeerId>()?;
    module.add_class::<ticket::Ticket>()?;
    module.add_class::<access::AccessList>()?;
    module.add_class::<delegation::Delegation>()?;
    module.add_class::<endpoint::Endpoint>()?;
    module.add_class::<endpoint::Keep>()?;
    module.add_class::<stream::Stream>()?;
    module.add_class::<stream::Write>()?;
    module.add_class::<source::Source>()?;
    module.add_class::<serve::Request>()?;
    module.add_class::<rules::Question>()?;
    module.add_class::<op::Op>()?;
    module.add_function(wrap_pyfunction!(endpoint::bind, module)?)?;
    module.add_function(wrap_pyfunction!(options::default_limits, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::at_exit, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::after_fork_in_child, module)?)?;
    module.add_function(wrap_pyfunction!(bench::bench_serve, module)?)?;
    module.add_function(wrap_pyfunction!(bench::bench_run, module)?)?;
    module.add_function(wrap_pyfunction!(bench::bench_built, module)?)?;
    Ok(())
}
