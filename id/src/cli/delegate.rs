//! `id52 delegate`

use std::time::SystemTime;

use eyre::WrapErr;
use serde_json::{Value, json};
use twolane_id::{Delegation, Serial};

use super::{args::Delegate, failure::Usage, input, output};

pub(super) fn run(args: &Delegate, json: bool) -> eyre::Result<()> {
    let now = SystemTime::now();
    let not_before = args.not_before.as_deref().map_or(Ok(now), |time| {
        humantime::parse_rfc3339(time)
            .wrap_err(Usage("the argument --not-before is no time in UTC such as 2030-05-01T00:00:00Z"))
    })?;
    let mut builder = Delegation::build(input::argument(&args.node, "the argument NODE is not an id52")?)
        .not_before(not_before)
        .expires(expires(args, not_before)?);
    for pattern in &args.scope {
        builder = builder.scope(input::argument(pattern, "an argument --scope is not a pattern")?);
    }
    for peer in &args.audience {
        builder = builder.audience(input::argument(peer, "an argument --audience is not an id52")?);
    }
    if let Some(serial) = &args.serial {
        builder = builder.serial(input::argument::<Serial>(serial, "the argument --serial is not a serial")?);
    }
    let delegation = builder.sign(&args.key.load()?)?;

    if json {
        output::object("delegated", fields(&delegation))?;
    } else {
        output::line(&delegation)?;
    }
    let (owner, node, serial) = (delegation.owner(), delegation.node(), delegation.serial());
    let end = humantime::format_rfc3339_seconds(delegation.expires());
    output::talk(format_args!("{node} acts for {owner} until {end}. To revoke it, keep its serial {serial}."));
    if delegation.expires() <= now {
        output::talk("It has expired already.");
    }
    Ok(())
}

/// Returns the fields of the JSON object that describes a delegation.
pub(super) fn fields(delegation: &Delegation) -> Value {
    json!({
        "delegation": delegation,
        "owner": delegation.owner(),
        "node": delegation.node(),
        "scope": delegation.scope(),
        "audience": delegation.audience(),
        "not_before": humantime::format_rfc3339_seconds(delegation.not_before()).to_string(),
        "expires": humantime::format_rfc3339_seconds(delegation.expires()).to_string(),
        "serial": delegation.serial(),
    })
}

/// Returns the expiry. The argument parser has ensured that exactly one of the two options is given.
fn expires(args: &Delegate, not_before: SystemTime) -> eyre::Result<SystemTime> {
    if let Some(duration) = &args.duration {
        let duration = humantime::parse_duration(duration)
            .wrap_err(Usage("the argument --for is no duration such as 30d or 1h30m"))?;
        let end = not_before.checked_add(duration);
        return end.ok_or_else(|| Usage("the argument --for is longer than this machine's clock can count").into());
    }
    let Some(time) = &args.expires else {
        return Err(Usage("no end is given: use --for or --expires").into());
    };
    humantime::parse_rfc3339(time)
        .wrap_err(Usage("the argument --expires is no time in UTC such as 2031-05-01T00:00:00Z"))
}
