//! `stream-tester hostile`: an endpoint under attack, and the effects on honest peers.
//!
//! For each scene, the endpoint under attack and the honest peers run in a process of their own (`witness`), so
//! that its memory and panics can be measured separately. The hostile peers are in this process, on raw iroh. A
//! scene (`stage`) has a period before the attack, one under attack, and one after it. `judge` judges the
//! measurements.

#![allow(unreachable_pub, reason = "every module below is private to this one")]

mod attacks;
mod honest;
mod judge;
mod raid;
mod report;
mod scenes;
mod stage;
mod tally;
mod victim;
mod witness;

use std::{process::ExitCode, time::Instant};

use clap::builder::PossibleValuesParser;

use self::{
    judge::Measured,
    report::{Event, Verdict},
    scenes::{SCENES, Scene},
};
use crate::{
    cli::{self, Problem},
    exit::Exit,
    output::Output,
    report::{end, event, milliseconds, print},
    signals::Signals,
};

const EXAMPLES: &str = "\
Examples:
  stream-tester hostile
  stream-tester hostile --list
  stream-tester hostile --only churn reset-storm --seconds 10
  stream-tester hostile --json

In each scene an honest peer sends requests of 64 bytes, eight at a time, and a newcomer from another address connects anew
for each of its own, while hostile peers do their worst. The shares are the honest peer's rate under attack, and after it, by
its rate before; the time for which the process waited for a processor is taken off. `held` and `left` are by how much the
heap of the process grew at most, and in the end: the endpoint under attack and the honest peers are in it; the hostile
peers are in another one. A scene fails if a bound is broken, if anything is seen that it does not name, if a
request fails, or if the defence is not seen. It is void, and has not held, if the machine was too late to say. With --json
there is one object a line for each scene, and the last is the summary: {\"event\":\"summary\",\"passed\":…,\"failed\":…}.
";

const EXIT_CODES: &str = "\
Exit codes:
    0  every scene held
    1  a scene did not, or was void, or something failed on this side
    2  the command line: a scene that is not there, a number that is none
  130  interrupted (SIGINT); 143 terminated (SIGTERM)";

/// Attack an endpoint in every way there is, and see what an honest peer notices
#[derive(Debug, clap::Args)]
#[command(max_term_width = 100, after_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
pub struct Args {
    /// Only these scenes
    #[arg(long, value_name = "NAME", num_args = 1.., hide_possible_values = true, value_parser = names())]
    only: Vec<String>,

    /// Print the names of the scenes and what each shows, and end
    #[arg(long)]
    list: bool,

    /// Seconds to measure in each scene: a quarter before the attack, one under it, two after it
    #[arg(long, value_name = "S", default_value_t = 2.8)]
    seconds: f64,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,

    /// Be the process that is measured in a scene
    #[arg(long, hide = true, value_name = "NAME")]
    witness: Option<String>,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(SCENES.iter().map(|scene| scene.name))
}

pub(super) fn main(args: Args) -> ExitCode {
    let output = Output::new(args.json, false);
    if args.list {
        list(&args, output);
        return Exit::Done.into();
    }
    end(output, cli::drive(|signals| run(args, output, signals)))
}

impl Args {
    fn scenes(&self) -> Vec<&'static Scene> {
        let wanted = |scene: &&Scene| self.only.is_empty() || self.only.iter().any(|name| name == scene.name);
        SCENES.iter().filter(wanted).collect()
    }
}

fn list(args: &Args, output: Output) {
    for Scene { name, sentence, .. } in args.scenes() {
        if output.is_json() {
            event(output, Event::Listed { name: (*name).into(), sentence: (*sentence).into() });
        } else {
            print(&format!("{name}: {sentence}"));
        }
    }
}

async fn run(args: Args, output: Output, signals: Signals) -> Result<Exit, Problem> {
    if let Some(name) = &args.witness {
        let scene = SCENES.iter().find(|scene| scene.name == name);
        let scene = scene.ok_or_else(|| Problem::new(Exit::Usage, format!("there is no scene {name}")))?;
        return witness::testify(scene, signals).await;
    }
    if !(args.seconds > 0.0 && args.seconds <= 3_600.0) {
        return Err(Problem::new(Exit::Usage, "--seconds takes a number above 0, and at most 3600"));
    }
    let (started, scenes) = (Instant::now(), args.scenes());
    let width = scenes.iter().map(|scene| scene.name.len()).max().unwrap_or_default();
    output.say(format_args!("{}", report::head(width)));
    let (mut passed, mut void) = (0, 0);
    for scene in &scenes {
        let began = Instant::now();
        let measured = tokio::select! {
            exit = signals.asked() => return Err(Problem::new(exit, format!("{} in the scene {}", exit.kind(), scene.name))),
            measured = Box::pin(stage::play(scene, args.seconds)) => measured,
        };
        // A scene that fails does not stop the others.
        let measured =
            measured.unwrap_or_else(|problem| Measured { broke: Some(problem.message), ..Measured::default() });
        let verdict = Verdict::new(scene, &measured, milliseconds(began.elapsed()));
        passed += usize::from(verdict.ok);
        void += usize::from(verdict.void.is_some());
        output.say(format_args!("{}", report::row(&verdict, width)));
        event(output, Event::Scene(Box::new(verdict)));
    }
    let (failed, took) = (scenes.len() - passed - void, started.elapsed());
    output.say(format_args!("{passed} held, {failed} failed, {void} void, in {:.1} s", took.as_secs_f64()));
    event(output, Event::Summary { passed, failed, void, ms: milliseconds(took) });
    Ok(if passed == scenes.len() { Exit::Done } else { Exit::Failure })
}
