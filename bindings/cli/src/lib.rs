//! The programs of twolane for people: [`sender`](cli::sender), [`receiver`](cli::receiver), [`doctor`](cli::doctor) and
//! the [`demo`].
//!
//! - [`transfer`]: the protocols `file/1` and `file/2`, one file over one stream or several;
//! - [`cli`]: what the programs have in common, the two that send and receive, and the doctor;
//! - [`demo`]: both of them on one machine, over a relay of its own;
//! - [`output`], [`progress`]: what programs say, to programs and to people;
//! - [`exit`], [`signals`]: how they end.
//!
//! Not a library for others: the API is [`twolane`].

pub mod cli;
pub mod demo;
pub mod exit;
pub mod output;
pub mod progress;
pub mod signals;
pub mod transfer;
