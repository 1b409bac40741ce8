//! The output of the programs that measure: lines for programs, tables for people, and exit codes.

use std::{fmt::Display, process::ExitCode};

use serde::{Deserialize, Serialize};

use crate::{
    cli::Problem,
    exit::Exit,
    output::{Output, SCHEMA, now_ns},
};

pub(crate) use crate::stream_tester::report::{milliseconds, print};

/// One line of `--json`. (A program that is interrupted says so with the `error` of [`crate::output::Event`].)
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line<E> {
    #[serde(flatten)]
    pub(crate) event: E,
    /// Milliseconds since 1970.
    pub(crate) ts: u64,
    pub(crate) schema: u32,
}

pub(crate) fn line(event: impl Serialize) -> String {
    let line = Line { event, ts: now_ns() / 1_000_000, schema: SCHEMA };
    serde_json::to_string(&line).unwrap_or_default()
}

pub(crate) fn event(output: Output, event: impl Serialize) {
    if output.is_json() {
        print(&line(event));
    }
}

/// A line of a table. A column with a negative width is aligned to the left; the cells after the last width have their own.
pub(crate) fn columns<C: Display>(widths: &[isize], cells: impl IntoIterator<Item = C>) -> String {
    let mut line = String::new();
    for (n, cell) in cells.into_iter().enumerate() {
        let width = widths.get(n).copied().unwrap_or_default();
        let (cell, wide) = (cell.to_string(), width.unsigned_abs());
        line.push_str(&if width < 0 { format!("{cell:<wide$}  ") } else { format!("{cell:>wide$}  ") });
    }
    line.trim_end().to_owned()
}

/// A cell with so many digits after the point.
pub(crate) fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// The end of a program, with its last words if it failed.
pub(crate) fn end(output: Output, ended: Result<Exit, Problem>) -> ExitCode {
    let exit = match ended {
        Ok(exit) => exit,
        Err(problem) => {
            let exit = problem.exit;
            output.fail(&problem.into_failure());
            exit
        }
    };
    exit.into()
}
