//! The output of the programs that measure: lines of JSON for programs, tables for users, and exit codes.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    cli::Problem,
    exit::Exit,
    output::{Output, SCHEMA, now_ns},
};

/// One line of `--json`. A program that is interrupted reports it with the `error` of [`crate::output::Event`]
/// instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line<E> {
    #[serde(flatten)]
    pub event: E,
    /// Milliseconds since 1970.
    pub ts: u64,
    pub schema: u32,
}

pub fn line(event: impl Serialize) -> String {
    let line = Line { event, ts: now_ns() / 1_000_000, schema: SCHEMA };
    serde_json::to_string(&line).unwrap_or_default()
}

pub fn event(output: Output, event: impl Serialize) {
    if output.is_json() {
        print(&line(event));
    }
}

/// Formats a line of a table. A column with a negative width is aligned to the left. Cells after the last width are
/// not padded.
pub fn columns<C: Display>(widths: &[isize], cells: impl IntoIterator<Item = C>) -> String {
    let mut line = String::new();
    for (n, cell) in cells.into_iter().enumerate() {
        let width = widths.get(n).copied().unwrap_or_default();
        let (cell, wide) = (cell.to_string(), width.unsigned_abs());
        line.push_str(&if width < 0 { format!("{cell:<wide$}  ") } else { format!("{cell:>wide$}  ") });
    }
    line.trim_end().to_owned()
}

/// Formats a cell with `digits` digits after the decimal point. `None` becomes "-".
pub fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// Prints why a program failed, and returns its exit code.
pub fn failed(output: Output, problem: Problem) -> ExitCode {
    let exit = problem.exit;
    output.fail(&problem.into_failure());
    exit.into()
}

/// Returns the exit code at the end of a program. Prints the error if the program failed.
pub fn end(output: Output, ended: Result<Exit, Problem>) -> ExitCode {
    ended.map_or_else(|problem| failed(output, problem), ExitCode::from)
}

/// Writes a line to standard output.
pub fn print(text: &str) {
    // A reader that has closed the pipe is no reason to stop.
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Returns the duration in milliseconds, for tables and for events.
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
