//! Rules that are slow, refuse or never answer. Each newcomer gets its own verdict, and no other peer waits for it.

use std::{collections::HashMap, future::pending, sync::Arc, time::Duration};

use rand::RngExt;
use tokio::{task::JoinSet, time::Instant, time::sleep};
use twolane::{
    Access, ConnectionLost, DialError, GetStreamError, Identity, Limits, PublicKey, RequestError, RequestFailure,
    Verdict as Answer,
};

use super::{
    Verdict,
    stage::{SOON, Stage, bind, close, ensure, none_of, not},
};
use crate::stream_tester::chaos::link::V4;

const PROTOCOL: &str = "rules/1";
const NEWCOMERS: u64 = 12;
/// The time limit of a rule.
const TIME: Duration = Duration::from_millis(1_500);
const WORDS: &str = "not today";

#[derive(Debug, Clone, Copy)]
enum Rule {
    Allow(Duration),
    Refuse(Duration),
    Never,
}

struct Rules(Arc<HashMap<PublicKey, Rule>>);

impl Access for Rules {
    async fn connection(&self, identity: &Identity) -> Answer {
        match self.0.get(&identity.peer) {
            None => Answer::Allow,
            Some(Rule::Allow(after)) => {
                sleep(*after).await;
                Answer::Allow
            }
            Some(Rule::Refuse(after)) => {
                sleep(*after).await;
                Answer::refuse(WORDS)
            }
            Some(Rule::Never) => pending().await,
        }
    }
}

pub async fn play(mut stage: Stage) -> Verdict {
    let mut rules = HashMap::new();
    let mut newcomers = Vec::new();
    for _ in 0..NEWCOMERS {
        let (key, after) = (stage.key(), stage.ms_between(0, 1_000));
        let rule = [Rule::Allow(after), Rule::Refuse(after), Rule::Never][stage.rng.random_range(0..3)];
        rules.insert(key.public_key(), rule);
        newcomers.push((bind(stage.builder(V4).secret_key(key)).await?, rule));
    }
    let limits = Limits { access_timeout: TIME, ..Limits::default() };
    let far = bind(stage.builder(V4).limits(limits).access(Rules(Arc::new(rules)))).await?;
    let known = bind(stage.builder(V4)).await?;
    far.serve_requests(PROTOCOL, |request| async move { Ok(request.body) }).map_err(not("nothing can be served"))?;
    known.request(far.ticket(), PROTOCOL, "a", SOON).await.map_err(not("a request of a peer without rules"))?;
    let mut asking = JoinSet::new();
    for (newcomer, rule) in newcomers {
        let ticket = far.ticket();
        asking.spawn(async move {
            let began = Instant::now();
            let answer = newcomer.request(ticket, PROTOCOL, "a", SOON).await;
            let verdict = judge(rule, answer.map(drop), began.elapsed());
            verdict.and(close([newcomer]).await)
        });
    }
    let mut faults = Vec::new();
    while !asking.is_empty() {
        // A known peer does not wait for any rule.
        let asked = known.request(far.ticket(), PROTOCOL, "a", TIME).await;
        faults.extend(asked.err().map(|error| format!("beside newcomers a request failed: {error:?}")));
        while let Some(asked) = asking.try_join_next() {
            faults.extend(asked.map_err(|error| error.to_string()).flatten().err());
        }
        sleep(Duration::from_millis(20)).await;
    }
    faults.extend(close([known, far]).await.err());
    none_of(&faults, NEWCOMERS)
}

fn judge(rule: Rule, asked: Result<(), RequestError>, took: Duration) -> Verdict {
    let reason = |error: &RequestError| match &error.cause {
        RequestFailure::GetStream(
            GetStreamError::Dial { source: DialError::Lost(lost), .. } | GetStreamError::Lost(lost),
        ) => match lost {
            ConnectionLost::Forbidden { reason } => Some(reason.clone()),
            _ => None,
        },
        _ => None,
    };
    let legal = match (rule, &asked) {
        (Rule::Allow(after), Ok(())) => took >= after,
        (Rule::Refuse(_), Err(error)) => reason(error).is_some_and(|reason| reason == WORDS),
        // The rules decide which reason they give.
        (Rule::Never, Err(error)) => took >= TIME && reason(error).is_some(),
        _ => false,
    };
    ensure(legal, || format!("a newcomer under {rule:?} was told {asked:?} after {took:?}"))
}
