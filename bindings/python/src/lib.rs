//! The native half of the PyPI package `twolane`: an adaptation of the crate `twolane` for asyncio.
//!
//! - `runtime`: the tokio runtime, and its state after a fork and at exit;
//! - `bridge`: delivery of results from tokio to an event loop, without the interpreter's lock;
//! - `wait`, `op`: the two ways to wait, for readiness and for a result;
//! - `error`: conversion of every error to an exception of `twolane.exceptions`;
//! - `endpoint`, `serve`, `source`, `stream`: the native parts of the Python classes of the same names;
//! - `key`, `ticket`, `access`, `delegation`, `options`, `info`: values.
//!
//! Three rules prevent deadlocks and lost bytes. First, no thread of tokio ever waits for the interpreter's lock.
//! Second, no lock is held while Python code may run. Third, a cancellable operation only ever becomes *ready*: a
//! synchronous call on the thread of the event loop takes its result, so the caller is there to receive it.

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

/// The module `twolane._native`. It is not part of the public interface; the package `twolane` is.
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
