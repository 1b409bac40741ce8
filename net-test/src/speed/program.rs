//! The common beginning and end of the programs that measure, and their rows.

use std::{ffi::OsString, fs, path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;
use eyre::bail;

use super::{
    Broken,
    report::{Event, head, line},
};
use crate::{
    busy::Watch,
    cli::{self, Problem},
    compare::{Better, Row},
    conditions::Conditions,
    exit::Exit,
    figures::{plot, table},
    output::Output,
    report::{self, milliseconds},
    signals::Signals,
};

pub const EXIT_CODES: &str = "\
Exit codes:
    0  everything was measured
    1  something failed
    2  the command line
  130  interrupted (SIGINT); 143 terminated (SIGTERM)";

#[derive(Debug, Clone, clap::Args)]
pub struct How {
    /// How often each side is measured for a row
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rounds: u16,

    /// Fail if a rate is less than so much of the other side's
    #[arg(long, value_name = "RATIO", value_parser = ratio)]
    pub at_least: Option<f64>,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    pub json: bool,

    /// Write the rows as a table in Markdown
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,

    /// Write the advantages as a picture
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// Runs a program. The first argument is the program's name.
pub fn main<A: Parser>(
    args: Vec<OsString>,
    how: impl FnOnce(&A) -> How,
    run: impl AsyncFnOnce(&A, Output) -> Result<(), Broken>,
) -> ExitCode {
    let args: A = match cli::parse(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let output = Output::new(how(&args).json, false);
    let ended = cli::drive(async |signals: Signals| {
        tokio::select! {
            exit = signals.asked() => Err(Problem::new(exit, exit.kind())),
            done = run(&args, output) => match done {
                Ok(()) => Ok(Exit::Done),
                Err(broken) => Err(Problem::new(Exit::Failure, format!("{broken:#}"))),
            },
        }
    });
    report::end(output, ended)
}

/// The rows of a run. Each row is printed when it is added, and all rows are written at the end.
#[derive(Debug)]
pub struct Rows {
    output: Output,
    started: Instant,
    watch: Option<Watch>,
    rows: Vec<Row>,
}

impl Rows {
    /// Prints the conditions and the head of the table.
    pub fn start(output: Output, conditions: &Conditions) -> Self {
        conditions.tell(output);
        head(output);
        Self { output, started: Instant::now(), watch: Watch::start(), rows: Vec::new() }
    }

    pub fn heading(&self, text: &str) {
        self.output.say(format_args!("{text}"));
    }

    /// Prints a remark about a side.
    pub fn note(&self, peer: &str, text: String) {
        self.output.say(format_args!("{peer}: {text}"));
        report::event(self.output, Event::Note { peer: peer.to_owned(), text });
    }

    /// Adds a row that has been measured since the last one. The row is void if other processes kept the machine busy
    /// meanwhile.
    pub fn add(&mut self, mut row: Row) {
        row.void = self.watch.as_mut().and_then(Watch::lap);
        self.output.say(format_args!("{}", line(&row)));
        report::event(self.output, Event::Row(row.clone()));
        self.rows.push(row);
    }

    pub fn finish(self, how: &How) -> Result<(), Broken> {
        if let Some(file) = &how.markdown {
            fs::write(file, table::full(self.rows.iter().map(|row| (row.name.as_str(), Some(row)))))?;
        }
        if let Some(file) = &how.svg {
            fs::write(file, plot::draw(&self.rows)?)?;
        }
        let void = self.rows.iter().filter(|row| row.void.is_some()).count();
        let (rows, ms) = (self.rows.len(), milliseconds(self.started.elapsed()));
        self.output.say(format_args!("{rows} rows, of which others disturbed {void}"));
        let failed = how.at_least.map_or(Vec::new(), |least| under(&self.rows, least));
        report::event(self.output, Event::Summary { rows, failed: failed.len(), void, ms });
        match how.at_least {
            Some(_) if judged(&self.rows).next().is_none() => {
                bail!("no rate was compared: others disturbed them, or none of these rows has two sides")
            }
            Some(least) if !failed.is_empty() => bail!("less than {least} of the other side: {}", failed.join(", ")),
            _ => Ok(()),
        }
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if ratio.is_finite() && ratio > 0.0 { Ok(ratio) } else { Err("not a number over 0".to_owned()) }
}

/// Returns the rates that can be compared with those of the other side. A void row is left out.
fn judged(rows: &[Row]) -> impl Iterator<Item = (&str, f64)> {
    let rates = rows.iter().filter(|row| row.better == Better::Higher && row.void.is_none() && !row.is_of_one_side());
    rates.filter_map(|row| Some((row.name.as_str(), row.advantage?)))
}

/// Returns the rates that are less than `least` times those of the other side.
fn under(rows: &[Row], least: f64) -> Vec<&str> {
    judged(rows).filter(|(_, advantage)| *advantage < least).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_under_the_bound_is_named_and_a_latency_and_what_was_disturbed_are_not() {
        let row = |name: &str, better, peer: &str, ours| Row::new(name, "x", better, peer, &[(ours, 100.0)]);
        let rows = [
            row("enough", Better::Higher, "raw iroh", 40.0),
            row("less", Better::Higher, "raw iroh", 39.0),
            row("nothing", Better::Higher, "raw iroh", 0.0),
            row("latency", Better::Lower, "raw iroh", 1_000.0),
            row("growth", Better::Higher, "twolane, less of it", 1.0),
            Row { void: Some("others were here".into()), ..row("disturbed", Better::Higher, "raw iroh", 1.0) },
        ];
        assert_eq!(under(&rows, 0.4), ["less", "nothing"]);
        assert_eq!(judged(&rows).count(), 3);
        assert_eq!(judged(&rows[3..]).count(), 0);
    }

    #[test]
    fn a_bound_is_a_number_over_nothing() {
        assert_eq!(ratio("0.4"), Ok(0.4));
        for wrong in ["", "x", "0", "-1", "NaN", "inf"] {
            assert!(ratio(wrong).is_err(), "{wrong}");
        }
    }
}
