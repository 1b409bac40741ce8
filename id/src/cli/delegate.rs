//! `id52 delegate`

use std::time::SystemTime;

use eyre::WrapErr;
use serde_json::{Value, json};
use twolane_id::{Delegation, Serial};

use super::{args::Delegate, failure::Usage, input, output};

pub(super) fn run(args: &Delegate, json: bool) -> eyre::Result<()> {
    let now = SystemTime::now();
    let (not_before, expires) = validity(args, now)?;
    let mut builder = Delegation::build(input::argument(&args.node, "the argument NODE is not an id52")?)
        .not_before(not_before)
        .expires(expires);
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

/// Returns the first moment at which the delegation is valid, and the first one at which it no longer is.
fn validity(args: &Delegate, now: SystemTime) -> eyre::Result<(SystemTime, SystemTime)> {
    let not_before = match args.not_before.as_deref() {
        Some(time) => humantime::parse_rfc3339(time)
            .wrap_err(Usage("the argument --not-before is no time in UTC such as 2030-05-01T00:00:00Z"))?,
        // A delegation begins in 1970 at the earliest. Its duration counts from there too, if the clock is earlier:
        // the clocks of machines without a battery are, until the network sets them.
        None => now.max(SystemTime::UNIX_EPOCH),
    };
    Ok((not_before, expires(args, not_before)?))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::cli::args::{Args, Command};

    fn delegate(args: &[&str]) -> Delegate {
        let all = [&["id52", "delegate", "NODE", "--key-file", "me.key", "--scope", "*"][..], args].concat();
        match Args::try_parse_from(all).unwrap().command {
            Command::Delegate(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_duration_counts_from_1970_if_the_clock_is_before_it() {
        let epoch = SystemTime::UNIX_EPOCH;
        let hour = Duration::from_secs(3600);
        let args = delegate(&["--for", "1h"]);
        for before in [Duration::from_secs(1), Duration::from_secs(1 << 31)] {
            assert_eq!(validity(&args, epoch - before).unwrap(), (epoch, epoch + hour));
        }
        let later = epoch + Duration::from_secs(1 << 31);
        assert_eq!(validity(&args, later).unwrap(), (later, later + hour));
    }

    #[test]
    fn what_the_options_name_counts_whatever_the_clock_says() {
        let args = delegate(&["--not-before", "2030-05-01T00:00:00Z", "--expires", "2031-05-01T00:00:00Z"]);
        let at = |text: &str| humantime::parse_rfc3339(text).unwrap();
        let named = (at("2030-05-01T00:00:00Z"), at("2031-05-01T00:00:00Z"));
        for now in [SystemTime::UNIX_EPOCH - Duration::from_secs(1), SystemTime::now()] {
            assert_eq!(validity(&args, now).unwrap(), named);
        }
    }
}
