//! `stream-tester hostile`: an endpoint under attack, and what an honest peer notices of that.
//!
//! A scene is a process of its own, so that its memory is its own: the endpoint under attack and an honest peer are in
//! it (`stage`). The hostile peers are in another one (`attacker`), on raw iroh, and attack in turns: a window
//! without an attack, a window with one, and so on. What was measured is judged here (`judge`).
//!
//! - `scenes`: what is attacked how, and the bounds;
//! - `attacks`: what hostile peers do, with `raid` and `wire`;
//! - `victim`, `honest`, `memory`, `tally`: what is measured;
//! - `report`: what is said.

mod attacker;
mod attacks;
mod honest;
pub mod judge;
mod memory;
pub mod raid;
pub mod report;
pub mod scenes;
mod stage;
pub mod tally;
mod victim;
mod wire;

use std::{
    env,
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};

use clap::builder::PossibleValuesParser;
use tokio::{
    io::{AsyncReadExt, BufReader},
    process::Command,
    time::timeout,
};
use twolane::Ticket;

use self::{
    judge::Measured,
    report::{Event, Verdict},
    scenes::{SCENES, Scene},
};
use super::report::{milliseconds, print};
use crate::{
    cli::{self, Problem},
    exit::Exit,
    output::Output,
    signals::Signals,
};

/// How long a scene may take beyond its windows, twice over: connecting, closing, and the wait for what is to be seen.
const SLACK: Duration = Duration::from_secs(120);
/// The most that a scene's process may say.
const MAX_ANSWER: u64 = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  stream-tester hostile
  stream-tester hostile --list
  stream-tester hostile --only churn reset-storm --seconds 10
  stream-tester hostile --json

In each scene an honest peer sends requests of 64 bytes, eight at a time, while hostile peers do their worst.
The share is the honest peer's rate under attack by its rate without, measured in turns. MB is by how much the memory of
the process grew: the endpoint under attack and the honest peer are both in it; the hostile peers are in another one, on
the same processors. A scene fails if the share, the memory or an honest request breaks its bound, if the honest peer's
connection is replaced, or if the defence is not seen. With --json there is one object a line for each scene, and the
last is the summary: {\"event\":\"summary\",\"passed\":…,\"failed\":…}.
";

const EXIT_CODES: &str = "\
Exit codes:
    0  every scene held
    1  a scene did not, or something failed on this side
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

    /// Seconds to measure in each scene. A share under its bound is measured for up to twice as long
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,

    /// Print one JSON object a line to standard output
    #[arg(long)]
    json: bool,

    /// Be the process of one scene
    #[arg(long, hide = true, value_name = "NAME", value_parser = names())]
    scene: Option<String>,

    /// Be the hostile peers of one scene
    #[arg(long, hide = true, value_name = "NAME", requires = "target", value_parser = names())]
    attack: Option<String>,

    /// Whom to attack
    #[arg(long, hide = true, value_name = "TICKET")]
    target: Option<Ticket>,
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
    match cli::drive(|signals| run(args, output, signals)) {
        Ok(exit) => exit.into(),
        Err(problem) => {
            let exit = problem.exit;
            output.fail(&problem.into_failure());
            exit.into()
        }
    }
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
            report::event(output, Event::Listed { name: (*name).into(), sentence: (*sentence).into() });
        } else {
            print(&format!("{name}: {sentence}"));
        }
    }
}

async fn run(args: Args, output: Output, signals: Signals) -> Result<Exit, Problem> {
    let named = |name: &str| SCENES.iter().find(|scene| scene.name == name);
    if let (Some(scene), Some(target)) = (args.attack.as_deref().and_then(named), &args.target) {
        return attacker::obey(scene, target.clone(), signals).await;
    }
    if let Some(scene) = args.scene.as_deref().and_then(named) {
        let measured = tokio::select! {
            // Whoever started this process says so.
            exit = signals.asked() => return Ok(exit),
            measured = Box::pin(stage::play(scene, args.seconds)) => measured.unwrap_or_else(broken),
        };
        let text = serde_json::to_string(&measured);
        print(&text.map_err(|error| Problem::because(Exit::Failure, "the result cannot be written", &error))?);
        return Ok(Exit::Done);
    }
    let bound = Duration::try_from_secs_f64(args.seconds)
        .ok()
        .filter(|seconds| !seconds.is_zero() && *seconds <= Duration::from_secs(3_600))
        .ok_or_else(|| Problem::new(Exit::Usage, "--seconds takes a number above 0, and at most 3600"))?
        * 2
        + SLACK;
    let (started, scenes) = (Instant::now(), args.scenes());
    let width = scenes.iter().map(|scene| scene.name.len()).max().unwrap_or_default();
    report::head(output, width);
    let mut passed = 0;
    for scene in &scenes {
        let began = Instant::now();
        let measured = tokio::select! {
            exit = signals.asked() => return Err(Problem::new(exit, format!("{} in the scene {}", exit.kind(), scene.name))),
            measured = play(scene, args.seconds, bound) => measured,
        };
        // A scene that fails does not stop the others.
        let measured = measured.unwrap_or_else(broken);
        let verdict = Verdict::new(scene, measured, milliseconds(began.elapsed()));
        passed += usize::from(verdict.ok);
        output.say(format_args!("{}", report::row(&verdict, width)));
        report::event(output, Event::Scene(verdict));
    }
    let (failed, took) = (scenes.len() - passed, started.elapsed());
    output.say(format_args!("{passed} held, {failed} failed, in {:.1} s", took.as_secs_f64()));
    report::event(output, Event::Summary { passed, failed, ms: milliseconds(took) });
    Ok(if failed == 0 { Exit::Done } else { Exit::Failure })
}

fn broken(problem: Problem) -> Measured {
    Measured { broke: Some(problem.message), ..Measured::default() }
}

/// Plays a scene in a process of its own, which is killed if it takes longer.
async fn play(scene: &Scene, seconds: f64, bound: Duration) -> Result<Measured, Problem> {
    let failed = |error| Problem::because(Exit::Failure, "the scene cannot be started", &error);
    let mut process = Command::new(env::current_exe().map_err(failed)?)
        .args(["hostile", "--scene", scene.name, "--seconds", &seconds.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let Some(answer) = process.stdout.take() else {
        return Err(Problem::new(Exit::Failure, "the scene has no pipe"));
    };
    let mut text = String::new();
    let mut answer = BufReader::new(answer).take(MAX_ANSWER);
    let read = timeout(bound, answer.read_to_string(&mut text)).await;
    read.map_err(|_| Problem::new(Exit::Failure, format!("the scene took over {bound:?}")))?.map_err(failed)?;
    serde_json::from_str(&text)
        .map_err(|error| Problem::because(Exit::Failure, "the scene ended without a result", &error))
}
