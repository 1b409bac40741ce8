//! The programs of twolane: [`sender`](cli::sender), [`receiver`](cli::receiver), [`doctor`](cli::doctor), [`demo`],
//! [`stream_tester`], [`speed`] and `lab`.
//!
//! - [`transfer`]: the protocols `file/1` and `file/2`, one file over one stream or several;
//! - [`cli`]: what the programs have in common, the two that send and receive, and the doctor;
//! - [`demo`]: both of them on one machine, over a relay of its own;
//! - [`stream_tester`]: every behaviour of the two lanes, driven and checked;
//! - [`speed`]: what the layer costs, beside raw iroh in one run;
//! - `lab` (on Linux): real NATs, a relay and bad links, in network namespaces;
//! - [`output`], [`progress`]: what programs say, to programs and to people;
//! - [`exit`], [`signals`]: how they end.
//!
//! Not a library for others: the API is [`twolane`].

pub mod cli;
pub mod demo;
pub mod exit;
#[cfg(target_os = "linux")]
pub mod lab;
pub mod output;
pub mod progress;
pub mod signals;
pub mod speed;
pub mod stream_tester;
pub mod transfer;
