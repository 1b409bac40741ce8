//! Standard output, which is data, and standard error, which is talk.
//!
//! Not by `println!`, which panics when the reader has gone.

use std::{
    fmt::Display,
    io::{self, Write},
};

use eyre::WrapErr;
use serde_json::{Value, json};

/// Writes a result to standard output, all of it or an error.
pub(super) fn line(text: impl Display) -> eyre::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).wrap_err("cannot write to standard output")
}

/// Writes a result for programs: one line, an object that names the event and the version of its
/// layout.
pub(super) fn object(event: &str, mut fields: Value) -> eyre::Result<()> {
    if let Value::Object(fields) = &mut fields {
        fields.insert("event".to_owned(), json!(event));
        fields.insert("schema".to_owned(), json!(1));
    }
    line(fields)
}

/// Writes a line for people to standard error. If nobody can read it, nobody can be told.
pub(super) fn talk(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
