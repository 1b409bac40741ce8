//! Checks the transport configuration of an iroh endpoint that is the program's, for connections that come through
//! iroh's `Router`. Pure.
//!
//! A `Router` accepts a connection before it knows its protocol, with the configuration of its iroh endpoint. The
//! numbers of streams can be raised on the connection afterwards (`transport::adjust`), and so can a window that is
//! too small. The four values here cannot be set afterwards, and promises depend on them. iroh has no function that
//! returns its configuration; it prints it, and the values are read from there. A test fails if it prints them in
//! another form.

use crate::{error::RouteError, limits::Limits};

/// Checks a configuration, as iroh prints it with `{:?}`.
pub(super) fn check(printed: &str, limits: &Limits) -> Result<(), RouteError> {
    // What a peer can make this side hold: `Limits::unread_bytes`.
    at_most(printed, "receive_window", limits.unread_bytes)?;
    // noq closes the connection over more unread packets of one stream than fit into this window.
    at_most(printed, "stream_receive_window", Limits::STREAM_WINDOW.into())?;
    // Data lanes take at most 0.95 of this window, so that an error finds room while a path is dead.
    at_least(printed, "send_window", Limits::SEND_WINDOW)?;
    // A connection that died is found within `Limits::idle_timeout`.
    at_most(printed, "max_idle_timeout", u64::try_from(limits.idle_timeout.as_millis()).unwrap_or(u64::MAX))
}

fn at_most(printed: &str, setting: &'static str, max: u64) -> Result<(), RouteError> {
    match read(printed, setting)? {
        Some(value) if value <= max => Ok(()),
        value => Err(RouteError::TooLarge { setting, value, max }),
    }
}

fn at_least(printed: &str, setting: &'static str, min: u64) -> Result<(), RouteError> {
    match read(printed, setting)? {
        Some(value) if value < min => Err(RouteError::TooSmall { setting, value, min }),
        _ => Ok(()),
    }
}

/// Returns the value of a setting. `None` if the setting is off.
fn read(printed: &str, setting: &'static str) -> Result<Option<u64>, RouteError> {
    let unreadable = || RouteError::Unreadable { setting };
    // With what comes before the name, because one name is the end of another.
    let (_, rest) = printed.split_once(&format!(", {setting}: ")).ok_or_else(unreadable)?;
    let value = rest.split(',').next().unwrap_or_default();
    if value == "None" {
        return Ok(None);
    }
    let number = value.strip_prefix("Some(").and_then(|value| value.strip_suffix(')')).unwrap_or(value);
    number.parse().map(Some).map_err(|_| unreadable())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use iroh::endpoint::{IdleTimeout, QuicTransportConfig, QuicTransportConfigBuilder, VarInt};

    use super::*;
    use crate::{congestion::Congestion, endpoint::transport};

    fn limits() -> Limits {
        Limits::default().sane()
    }

    fn checked(config: QuicTransportConfig) -> Result<(), RouteError> {
        check(&format!("{config:?}"), &limits())
    }

    /// A configuration in which every value that is checked fits.
    fn fitting() -> QuicTransportConfigBuilder {
        QuicTransportConfig::builder()
            .receive_window(VarInt::from_u64(limits().unread_bytes).unwrap())
            .send_window(Limits::SEND_WINDOW)
            .max_idle_timeout(Some(IdleTimeout::try_from(limits().idle_timeout).unwrap()))
    }

    #[test]
    fn the_configuration_that_the_builder_returns_fits_and_irohs_default_does_not() {
        for relays in [true, false] {
            assert_eq!(checked(transport::shared(&limits(), &Congestion::default(), relays)), Ok(()));
        }
        let error = checked(QuicTransportConfig::default()).unwrap_err();
        assert!(matches!(error, RouteError::TooLarge { setting: "receive_window", .. }), "{error:?}");
        assert!(error.to_string().contains("Builder::transport_config"), "{error}");
    }

    #[test]
    fn each_value_that_breaks_a_promise_is_named_with_its_bound() {
        assert_eq!(checked(fitting().build()), Ok(()));
        let max = limits().unread_bytes;
        let window = VarInt::from_u64(max + 1).unwrap();
        let error = RouteError::TooLarge { setting: "receive_window", value: Some(max + 1), max };
        assert_eq!(checked(fitting().receive_window(window).build()), Err(error));

        let max = u64::from(Limits::STREAM_WINDOW);
        let window = VarInt::from_u64(max + 1).unwrap();
        let error = RouteError::TooLarge { setting: "stream_receive_window", value: Some(max + 1), max };
        assert_eq!(checked(fitting().stream_receive_window(window).build()), Err(error));

        let min = Limits::SEND_WINDOW;
        let error = RouteError::TooSmall { setting: "send_window", value: min - 1, min };
        assert_eq!(checked(fitting().send_window(min - 1).build()), Err(error));

        let idle = IdleTimeout::try_from(limits().idle_timeout + Duration::from_millis(1)).unwrap();
        let error = |value| RouteError::TooLarge { setting: "max_idle_timeout", value, max: 20_000 };
        assert_eq!(checked(fitting().max_idle_timeout(Some(idle)).build()), Err(error(Some(20_001))));
        assert_eq!(checked(fitting().max_idle_timeout(None).build()), Err(error(None)));
        assert!(error(None).to_string().contains("without a limit"), "{}", error(None));
    }

    #[test]
    fn what_is_printed_in_another_form_is_not_taken_for_a_value() {
        for printed in ["", "TransportConfig { receive_window = 1 }", "{ a: 1, receive_window: many, send_window: 1 }"]
        {
            let error = check(printed, &limits()).unwrap_err();
            assert_eq!(error, RouteError::Unreadable { setting: "receive_window" }, "{printed}");
        }
    }
}
