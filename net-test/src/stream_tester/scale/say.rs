//! The progress display and the summary of `chaos`, `leaks` and `scale`.

use std::{process::ExitCode, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::{
    cli::Problem,
    exit::Exit,
    output::Output,
    stream_tester::report::{emit, failed},
};

/// Progress for users. It is hidden if standard error is not a terminal.
#[derive(Debug)]
pub struct Gauge(ProgressBar);

impl Gauge {
    pub fn new(output: Output, name: &str, steps: u64) -> Self {
        if !output.wants_bar() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(steps);
        bar.set_draw_target(ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len}, {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        Self(bar)
    }

    pub fn show(&self, step: u64, words: &str) {
        self.0.set_position(step);
        self.0.set_message(words.to_owned());
    }

    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}

#[derive(Debug)]
pub struct Last<T> {
    pub ok: bool,
    pub table: String,
    pub event: T,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<T> {
    Summary(T),
}

/// Prints the summary, and returns the exit code.
pub fn announce<T: Serialize>(output: Output, last: Result<Last<T>, Problem>) -> ExitCode {
    match last {
        Ok(last) => {
            output.say(format_args!("{}", last.table));
            emit(output, Event::Summary(last.event));
            if last.ok { Exit::Done } else { Exit::Failure }.into()
        }
        Err(problem) => failed(output, problem),
    }
}
