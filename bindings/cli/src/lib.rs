//! The command line programs of twolane: [`sender`](cli::sender), [`receiver`](cli::receiver),
//! [`doctor`](cli::doctor) and the [`demo`].
//!
//! - [`transfer`]: the transfer of files, from crate [`twolane_files`];
//! - [`cli`]: the shared parts of the programs, and the sender, the receiver and the doctor;
//! - [`ports`]: services, ports and pipes; [`program`]: one program for all commands;
//! - [`demo`]: a sender and a receiver on one machine, over a relay that the demo starts;
//! - [`output`], [`progress`]: the output for programs and for people;
//! - [`exit`], [`signals`]: exit codes and signals.
//!
//! This crate is not a library for other crates. The API is [`twolane`].

pub mod cli;
pub mod demo;
pub mod exit;
pub mod output;
pub mod ports;
pub mod program;
pub mod progress;
pub mod signals;

pub use twolane_files as transfer;
