//! The laboratory of twolane: [`stream_tester`], [`speed`] and `lab`.
//!
//! - [`stream_tester`]: every behaviour of the two lanes, driven and checked;
//! - [`speed`]: what the layer costs, beside raw iroh in one run;
//! - [`compare`], [`stats`]: two sides in turns, and what is made of their values; [`conditions`], [`busy`]: what with, and
//!   whether others disturbed it; [`figures`]: the tables of the documents, from what was measured;
//! - [`wire`], [`stranger`]: a peer written from `net/WIRE.md` alone; [`conform`]: what it checks of any peer;
//! - `lab` (on Linux): real NATs, a relay and bad links, in network namespaces.
//!
//! The programs for people, and what they have in common with these, are in [`twolane_cli`].

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
