//! `id52 inspect`

use std::{
    fmt::Display,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use eyre::WrapErr;
use serde_json::json;
use twolane_id::{Delegation, Presented};

use super::{args::Inspect, delegate, failure, input, output};

pub(super) fn run(args: &Inspect, json: bool) -> eyre::Result<ExitCode> {
    let delegation: Delegation = if args.delegation == "-" {
        input::text_from_stdin()?.parse().wrap_err("standard input is not a sound delegation")?
    } else {
        input::argument(&args.delegation, "the argument DELEGATION is not a sound delegation")?
    };
    let now = SystemTime::now();
    let answers = answers(args, &delegation, now)?;
    let refusals: Vec<_> = answers.iter().filter_map(|(_, answer)| answer.as_ref().err().cloned()).collect();
    let code = if refusals.is_empty() { 0 } else { failure::NOT_ACCEPTED };

    if json {
        let mut fields = delegate::fields(&delegation);
        fields["signature_holds"] = json!(true);
        fields["seconds_left"] = json!(seconds_left(&delegation, now));
        fields["accepted"] = json!(refusals.is_empty());
        fields["refusals"] = json!(refusals);
        fields["exit_code"] = json!(code);
        output::object("inspected", fields)?;
    } else {
        print(&delegation, &answers)?;
    }
    if code != 0 {
        output::talk(format_args!("error: {}", refusals.join("; ")));
    }
    Ok(ExitCode::from(code))
}

/// A question, and its answer: the reason why the delegation is accepted, or why it is not.
type Answer = (&'static str, Result<String, String>);

/// Asks one question at a time. All other circumstances are as the owner intended, so each answer is about its own
/// question alone.
fn answers(args: &Inspect, delegation: &Delegation, now: SystemTime) -> eyre::Result<Vec<Answer>> {
    let meant = Presented {
        now: delegation.not_before(),
        skew: Duration::ZERO,
        node: delegation.node(),
        // Without a named audience, any key is accepted.
        audience: delegation.audience().first().copied().unwrap_or_else(|| delegation.owner()),
    };
    let ask = |presented: Presented, yes: String| match delegation.verify(&presented) {
        Ok(()) => Ok(yes),
        Err(error) => Err(error.to_string()),
    };

    let left = Duration::from_secs(seconds_left(delegation, now).unwrap_or_default());
    let yes = format!("yes, and for another {}", humantime::format_duration(left));
    let mut answers = vec![("now", ask(Presented { now, ..meant }, yes))];
    if let Some(node) = &args.node {
        let node = input::argument(node, "the argument --node is not an id52")?;
        answers.push(("from the node", ask(Presented { node, ..meant }, format!("yes, from {node}"))));
    }
    if let Some(audience) = &args.audience {
        let audience = input::argument(audience, "the argument --audience is not an id52")?;
        answers.push(("by the peer", ask(Presented { audience, ..meant }, format!("yes, by {audience}"))));
    }
    if let Some(protocol) = &args.protocol {
        let permitted = delegation.permits(protocol);
        let answer = if permitted {
            Ok(format!("yes, for {protocol}"))
        } else {
            Err(format!("the scope of the delegation does not cover {protocol:?}: ask its owner for one that does"))
        };
        answers.push(("for the protocol", answer));
    }
    Ok(answers)
}

/// Returns how long the delegation still holds, if it holds now.
fn seconds_left(delegation: &Delegation, now: SystemTime) -> Option<u64> {
    let left = delegation.expires().duration_since(now).ok().filter(|left| !left.is_zero())?;
    (now >= delegation.not_before()).then_some(left.as_secs())
}

fn print(delegation: &Delegation, answers: &[Answer]) -> eyre::Result<()> {
    let row = |name: &str, value: &dyn Display| output::line(format_args!("{name:16}  {value}"));
    row("owner", &delegation.owner())?;
    row("node", &delegation.node())?;
    for pattern in delegation.scope() {
        row("scope", pattern)?;
    }
    for peer in delegation.audience() {
        row("audience", peer)?;
    }
    if delegation.audience().is_empty() {
        row("audience", &"anybody")?;
    }
    row("not before", &humantime::format_rfc3339_seconds(delegation.not_before()))?;
    row("expires", &humantime::format_rfc3339_seconds(delegation.expires()))?;
    row("serial", &delegation.serial())?;
    row("signature", &"good: the owner's, for exactly this")?;
    for (question, answer) in answers {
        match answer {
            Ok(yes) => row(question, yes)?,
            Err(no) => row(question, &format_args!("no: {no}"))?,
        }
    }
    Ok(())
}
