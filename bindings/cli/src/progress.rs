//! The progress bar.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

const KNOWN: &str = "{prefix} {bar:24} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} left, {msg}";
const UNKNOWN: &str = "{prefix} {spinner} {decimal_bytes} {decimal_bytes_per_sec}, {msg}";

/// The progress bar of one file, for people: bytes, rate, remaining time and path. It is hidden if nobody can see
/// it.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// Makes a bar for a file of `size` bytes, if the size is known.
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

    /// Shows the number of transferred bytes and the path of the data.
    pub fn show(&self, bytes: u64, path: Option<&str>) {
        self.0.set_position(bytes);
        if let Some(path) = path {
            self.0.set_message(path.to_owned());
        }
    }

    /// Shows what is happening, in place of the path.
    pub fn note(&self, words: &str) {
        self.0.set_message(words.to_owned());
    }

    /// Prints a line above the bar.
    pub fn say(&self, output: &Output, line: &str) {
        self.0.suspend(|| output.say(format_args!("{line}")));
    }

    /// Removes the bar. The caller prints the line that replaces it.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}
