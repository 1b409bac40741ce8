//! The native half of the PyPI package `twolane`: an adaptation of the crate `twolane` for asyncio.
//!
//! - `runtime`: the tokio runtime, and its state after a fork and at exit;
//! - `bridge`: delivery of results from tokio to an event loop, without the interpreter's lock;
//! - `wait`, `op`: the two ways to wait, for readiness and for a result;
//! - `asked`: questions to Python code, whose asker may give up;
//! - `problem`, `error`: conversion of every error to an exception of `twolane.exceptions`;
//! - `endpoint`, `calls`, `serve`, `rules`, `hooks`, `keep`, `source`, `stream`: the native parts of Python classes;
//! - `key`, `ticket`, `access`, `delegation`, `options`, `info`: values;
//! - `logs`: what the libraries below say, for Python's `logging`.
//!
//! Three rules prevent deadlocks and lost bytes. First, no thread of tokio ever waits for the interpreter's lock.
//! Second, no lock is held while Python code may run. Third, a cancellable operation only ever becomes *ready*: a
//! synchronous call on the thread of the event loop takes its result, so the caller is there to receive it.

mod access;
mod asked;
#[cfg(feature = "bench")]
mod bench;
mod bridge;
mod calls;
mod data;
mod delegation;
mod endpoint;
mod error;
mod hooks;
mod info;
mod keep;
mod key;
mod logs;
mod op;
mod options;
mod problem;
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
    module.add("HANDLER_FAILED", serve::HANDLER_FAILED)?;
    module.add("MAX_DETAILS", twolane::Limits::ERROR_DETAILS)?;
    module.add_class::<key::KeyPair>()?;
    module.add_class::<key::PeerId>()?;
    module.add_class::<ticket::Ticket>()?;
    module.add_class::<access::AccessList>()?;
    module.add_class::<delegation::Delegation>()?;
    module.add_class::<endpoint::Endpoint>()?;
    module.add_class::<keep::Keep>()?;
    module.add_class::<stream::Stream>()?;
    module.add_class::<stream::Write>()?;
    module.add_class::<source::Source>()?;
    module.add_class::<serve::Request>()?;
    module.add_class::<rules::Question>()?;
    module.add_class::<hooks::Stage>()?;
    module.add_class::<op::Op>()?;
    module.add_function(wrap_pyfunction!(endpoint::bind, module)?)?;
    module.add_function(wrap_pyfunction!(options::default_limits, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::at_exit, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::after_fork_in_child, module)?)?;
    module.add_function(wrap_pyfunction!(logs::log_next, module)?)?;
    module.add_function(wrap_pyfunction!(logs::log_set, module)?)?;
    module.add_function(wrap_pyfunction!(logs::log_stop, module)?)?;
    #[cfg(feature = "bench")]
    {
        module.add_function(wrap_pyfunction!(bench::bench_serve, module)?)?;
        module.add_function(wrap_pyfunction!(bench::bench_run, module)?)?;
        module.add_function(wrap_pyfunction!(bench::bench_built, module)?)?;
    }
    #[cfg(feature = "gate")]
    module.add_function(wrap_pyfunction!(op::panics, module)?)?;
    Ok(())
}
