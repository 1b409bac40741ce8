//! The laboratory of twolane: [`stream_tester`], [`speed`] and `lab`.
//!
//! - [`stream_tester`]: drives and checks every behaviour of the two lanes;
//! - [`speed`]: measures the cost of twolane, in comparison with raw iroh in the same run;
//! - [`compare`] and [`stats`]: measure two sides in turns, and evaluate the values; [`conditions`] and [`busy`]:
//!   record the machine and the versions, and whether other processes disturbed the run; [`figures`]: makes the
//!   tables of the documents from the measured values;
//! - [`wire`] and [`stranger`]: a peer written from `net/WIRE.md` alone; [`conform`]: checks any peer against
//!   `net/WIRE.md`;
//! - `lab` (on Linux): real NATs, a relay and bad links, in network namespaces.
//!
//! The programs for users are in [`twolane_cli`], together with the code that they share with the programs of this
//! crate.

#![allow(missing_docs, reason = "nobody outside of this workspace uses this crate")]

pub mod busy;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "the lab, which uses all of it, is for Linux"))]
mod child;
pub mod compare;
pub mod conditions;
pub mod conform;
pub mod figures;
#[cfg(target_os = "linux")]
pub mod lab;
pub mod report;
pub mod speed;
pub mod stats;
pub mod stranger;
pub mod stream_tester;
pub mod wire;

pub(crate) use twolane_cli::{cli, exit, output, progress, signals};
