//! The progress bar.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

const KNOWN: &str = "{prefix} {bar:24} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} left, {msg}";
const UNKNOWN: &str = "{prefix} {spinner} {decimal_bytes} {decimal_bytes_per_sec}, {msg}";

/// How far one file is, for people: bytes, rate, time left, and the way they take. Hidden if nobody watches.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar for a file of so many bytes, if that is known.
    pub fn new(output: &Output, name: &str, size: Option<u64>) -> Self {
        if !output.wants_bar() {
            return Self(ProgressBar::hidden());
        }
        let (bar, template) = match size {
            Some(size) => (ProgressBar::new(size), KNOWN),
            None => (ProgressBar::new_spinner(), UNKNOWN),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        bar.set_message("connecting");
        bar.enable_steady_tick(Duration::from_millis(250));
        Self(bar)
    }

    /// Shows how far it is, and which way the data takes.
    pub fn show(&self, bytes: u64, path: Option<&str>) {
        self.0.set_position(bytes);
        if let Some(path) = path {
            self.0.set_message(path.to_owned());
        }
    }

    /// Prints a line above the bar.
    pub fn say(&self, output: &Output, line: &str) {
        self.0.suspend(|| output.say(format_args!("{line}")));
    }

    /// Takes the bar away: the line that stays is the caller's.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}
