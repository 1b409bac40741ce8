//! The hostile peers' process: both ends of the pipe to it. In a process of their own they take no memory of the one
//! that is measured, and no thread of its.

use std::{env, process::Stdio, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
    task::JoinHandle,
    time::timeout,
};
use twolane::Ticket;

use super::{
    raid::{Raid, Trouble},
    scenes::Scene,
    tally::{Counts, Tally},
};
use crate::{cli::Problem, exit::Exit, output::in_one_line, signals::Signals, stream_tester::report::print};

/// How long the hostile peers may take for an order: 16 endpoints are bound in 50 ms, and closed in 300 ms.
const PATIENCE: Duration = Duration::from_secs(20);

/// What they are told to do: one word a line.
const ATTACK: &str = "attack";
const REST: &str = "rest";
const REPORT: &str = "report";

/// What they answer, one object a line.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Answer {
    /// What they have been told so far.
    pub(super) seen: Counts,
    /// What keeps them from going on.
    pub(super) broke: Option<String>,
}

/// The process, seen from the one that started it. Dropped, it is killed.
pub(super) struct Attacker {
    _process: tokio::process::Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Attacker {
    pub(super) fn start(scene: &Scene, target: &Ticket) -> Result<Self, Problem> {
        let failed = |error| Problem::because(Exit::Failure, "the hostile peers cannot be started", &error);
        let mut process = Command::new(env::current_exe().map_err(failed)?)
            .args(["hostile", "--attack", scene.name, "--target", &target.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (Some(orders), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Problem::new(Exit::Failure, "the hostile peers have no pipes"));
        };
        Ok(Self { _process: process, orders, answers: BufReader::new(answers).lines() })
    }

    /// Has them attack, and returns once they do.
    pub(super) async fn attack(&mut self) -> Result<Answer, Problem> {
        self.order(ATTACK).await
    }

    /// Has them close every connection.
    pub(super) async fn rest(&mut self) -> Result<Answer, Problem> {
        self.order(REST).await
    }

    /// Asks what they have seen.
    pub(super) async fn report(&mut self) -> Result<Answer, Problem> {
        self.order(REPORT).await
    }

    async fn order(&mut self, word: &str) -> Result<Answer, Problem> {
        let asked = async {
            self.orders.write_all(format!("{word}\n").as_bytes()).await?;
            self.orders.flush().await?;
            self.answers.next_line().await
        };
        let line = timeout(PATIENCE, asked).await;
        let line = line
            .map_err(|_| Problem::new(Exit::Failure, format!("the hostile peers took over {PATIENCE:?} to {word}")))?
            .map_err(|error| Problem::because(Exit::Failure, "the hostile peers do not listen", &error))?;
        let Some(line) = line else {
            return Err(Problem::new(Exit::Failure, "the hostile peers have ended"));
        };
        serde_json::from_str(&line)
            .map_err(|error| Problem::because(Exit::Failure, "the hostile peers cannot be understood", &error))
    }
}

/// The process, from inside: obeys until its orders end.
pub(super) async fn obey(scene: &'static Scene, target: Ticket, signals: Signals) -> Result<Exit, Problem> {
    let tally = Tally::default();
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let mut under_way: Option<UnderWay> = None;
    loop {
        let order = tokio::select! {
            exit = signals.asked() => return Ok(exit),
            order = orders.next_line() => order,
        };
        let mut broke = None;
        match order.ok().flatten().as_deref() {
            Some(ATTACK) => under_way = Some(UnderWay::start(scene, &target, &tally).await),
            Some(REST) => {
                if let Some(attack) = under_way.take() {
                    broke = attack.end().await;
                }
            }
            Some(REPORT) => {}
            // Whoever started this process is gone, or done with it.
            _ => return Ok(Exit::Done),
        }
        if let Some(attack) = under_way.take_if(|attack| attack.task.is_finished()) {
            broke = attack.end().await;
        }
        let answer = Answer { seen: tally.counts(), broke };
        let text = serde_json::to_string(&answer)
            .map_err(|error| Problem::because(Exit::Failure, "the answer cannot be written", &error))?;
        print(&text);
    }
}

struct UnderWay {
    raid: Arc<Raid>,
    task: JoinHandle<Trouble>,
}

impl UnderWay {
    /// Returns once the attack is as it is to stay, or has broken off.
    async fn start(scene: &Scene, target: &Ticket, tally: &Tally) -> Self {
        let raid = Arc::new(Raid::new(target.to_addr(), tally.part()));
        let mut task = tokio::spawn((scene.attack)(Arc::clone(&raid)));
        // What is not ready by then is seen by whoever waits for the answer.
        let ready = raid.ready.clone();
        let done = tokio::select! {
            () = ready.cancelled() => None,
            ended = &mut task => Some(ended),
        };
        if let Some(ended) = done {
            // Kept for `end`.
            task = tokio::spawn(async move { ended.unwrap_or_else(|broke| Trouble::Wrong(broke.to_string())) });
        }
        Self { raid, task }
    }

    /// Stops, and closes every connection. The answer is what broke the attack before.
    async fn end(self) -> Option<String> {
        self.raid.tally.close();
        self.task.abort();
        let broke = match self.task.await {
            Ok(trouble) => Some(in_one_line(&trouble)),
            Err(ended) if ended.is_cancelled() => None,
            Err(broke) => Some(broke.to_string()),
        };
        self.raid.close().await;
        broke
    }
}
