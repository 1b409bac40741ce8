//! Output: results to standard output, messages for people to standard error.
//!
//! `println!` is not used, because it panics if the reader has closed the stream.

use std::{
    fmt::Display,
    io::{self, Write},
};

use eyre::WrapErr;
use serde_json::{Value, json};

/// Writes a whole result to standard output, or returns an error.
pub(super) fn line(text: impl Display) -> eyre::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).wrap_err("cannot write to standard output")
}

/// Writes a result for programs: one line with a JSON object that names the event and the version of its layout.
pub(super) fn object(event: &str, mut fields: Value) -> eyre::Result<()> {
    if let Value::Object(fields) = &mut fields {
        fields.insert("event".to_owned(), json!(event));
        fields.insert("schema".to_owned(), json!(1));
    }
    line(fields)
}

/// Writes a line for people to standard error. An error of this write is ignored, because it cannot be reported
/// anywhere.
pub(super) fn talk(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
