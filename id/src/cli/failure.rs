//! Conversion of an error to an error line and an exit code.

use std::process::ExitCode;

use eyre::Report;
use serde_json::json;
use thiserror::Error;
use twolane_id::{DelegationError, IssueError, VerifyError};

use super::output;

/// The error for a wrong command line that the argument parser cannot detect.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) &'static str);

/// Reports an error with all its causes in one line, and with a JSON object if `--json` was given.
pub(super) fn report(report: &Report, json: bool) -> ExitCode {
    tell(&in_one_line(report), exit_code(report), json)
}

/// The exit code for a delegation that is genuine but would not be accepted.
pub(super) const NOT_ACCEPTED: u8 = 4;

/// Prints the output of the argument parser (help, a version, or an error in the arguments) and returns the exit
/// code.
pub(super) fn usage(error: &clap::Error, json: bool) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    if json {
        let text = error.to_string();
        return tell(text.lines().next().unwrap_or_default().trim_start_matches("error: "), 2, json);
    }
    let _ = error.print();
    ExitCode::from(2)
}

fn tell(text: &str, code: u8, json: bool) -> ExitCode {
    if json {
        // If this write fails too, the line on standard error and the exit code remain.
        let _ = output::object("error", json!({ "error": text, "exit_code": code }));
    }
    output::talk(format_args!("error: {text}"));
    ExitCode::from(code)
}

/// Returns the chain of causes in one line, the outermost cause first. Many errors repeat their own cause in their
/// text, so a cause that the line already contains is left out.
fn in_one_line(report: &Report) -> String {
    report.chain().fold(String::new(), |mut line, cause| {
        let cause = cause.to_string();
        if !line.contains(&cause) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&cause.replace(['\n', '\r'], " "));
        }
        line
    })
}

fn exit_code(report: &Report) -> u8 {
    // A forged delegation has its own exit code, even if it is also a wrong argument.
    if let Some(DelegationError::BadSignature { .. }) = report.downcast_ref() {
        return 5;
    }
    if report.downcast_ref::<Usage>().is_some() {
        return 2;
    }
    match report.downcast_ref() {
        Some(IssueError::Randomness(_)) => return 1,
        Some(_) => return 2,
        None => {}
    }
    if report.downcast_ref::<VerifyError>().is_some() { 5 } else { 1 }
}
