//! What programs that measure have in common: how they begin and end, and what becomes of the rows.

use std::{ffi::OsString, fs, path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;

use super::{
    Broken,
    report::{self, Event},
};
use crate::{
    busy::Watch,
    cli::{self, Problem},
    compare::Row,
    conditions::Conditions,
    exit::Exit,
    figures::{plot, table},
    output::Output,
    signals::Signals,
    stream_tester::report::milliseconds,
};

/// The exit codes, for the help of each program.
pub const EXIT_CODES: &str = "\
Exit codes:
    0  everything was measured
    1  something failed
    2  the command line
  130  interrupted (SIGINT); 143 terminated (SIGTERM)";

/// How to measure, and what to make of it.
#[derive(Debug, Clone, clap::Args)]
pub struct How {
    /// How often each side is measured for a row
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rounds: u16,

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

/// A program, with its arguments, the first of which is its name.
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
    let result = cli::drive(async |signals: Signals| {
        tokio::select! {
            exit = signals.asked() => Err(Problem::new(exit, exit.kind())),
            done = run(&args, output) => done.map_err(|broken| Problem::new(Exit::Failure, format!("{broken:#}"))),
        }
    });
    match result {
        Ok(()) => Exit::Done.into(),
        Err(problem) => {
            let exit = problem.exit;
            output.fail(&problem.into_failure());
            exit.into()
        }
    }
}

/// The rows of a run: each is told as it comes, and all of them are written at the end.
#[derive(Debug)]
pub struct Rows {
    output: Output,
    started: Instant,
    watch: Option<Watch>,
    rows: Vec<Row>,
}

impl Rows {
    /// None yet. What they are measured with and the head of the table are told.
    pub fn start(output: Output, conditions: &Conditions) -> Self {
        conditions.tell(output);
        report::head(output);
        Self { output, started: Instant::now(), watch: Watch::start(), rows: Vec::new() }
    }

    /// Tells people what the next rows are about.
    pub fn heading(&self, text: &str) {
        self.output.say(format_args!("{text}"));
    }

    /// What else has to be known of a side.
    pub fn note(&self, peer: &str, text: String) {
        self.output.say(format_args!("{peer}: {text}"));
        report::event(self.output, Event::Note { peer: peer.to_owned(), text });
    }

    /// One more, which has been measured since the last one. If others kept the machine busy meanwhile, it is void.
    pub fn add(&mut self, mut row: Row) {
        row.void = self.watch.as_mut().and_then(Watch::lap);
        self.output.say(format_args!("{}", report::line(&row)));
        report::event(self.output, Event::Row(row.clone()));
        self.rows.push(row);
    }

    /// Writes what was asked for, and the summary.
    ///
    /// # Errors
    ///
    /// If a file cannot be written, or the picture not be drawn.
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
        report::event(self.output, Event::Summary { rows, void, ms });
        Ok(())
    }
}
