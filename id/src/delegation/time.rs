//! Conversion between Unix seconds and `SystemTime` without overflow.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The last second that a certificate can name, 9999-12-31T23:59:59Z. It is the last second that RFC 3339 can
/// write, and the clock of every platform can represent it.
pub(super) const MAX: u64 = 253_402_300_799;

/// Returns the whole seconds since 1970, rounded down, clamped to the range from 0 to [`MAX`].
pub(super) fn to_seconds(time: SystemTime) -> u64 {
    since_1970(time).as_secs().min(MAX)
}

/// Returns the whole seconds since 1970, rounded up, clamped to the range from 0 to [`MAX`].
pub(super) fn to_seconds_up(time: SystemTime) -> u64 {
    let since = since_1970(time);
    since.as_secs().saturating_add(u64::from(since.subsec_nanos() > 0)).min(MAX)
}

/// Returns the moment `seconds` seconds after 1970. `seconds` is at most [`MAX`].
pub(super) fn to_system(seconds: u64) -> SystemTime {
    // Every platform that std supports can represent the year 9999. On any other platform, a time that cannot be
    // represented becomes 1970, so the certificate counts as expired.
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

/// Returns the time since 1970. A time before 1970 counts as 1970.
pub(super) fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A moment as RFC 3339 writes it, in UTC and whole seconds, within the years 1970 to 9999.
pub(super) struct Utc(pub(super) SystemTime);

impl fmt::Display for Utc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(to_system(to_seconds(self.0))).fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_time_is_rounded_down_and_kept_within_the_years_1970_to_9999() {
        for (time, expected) in [
            (UNIX_EPOCH, 0),
            (UNIX_EPOCH - Duration::from_secs(1), 0),
            (seconds(7) + Duration::from_millis(999), 7),
            (seconds(MAX), MAX),
            (seconds(MAX + 1), MAX),
            (seconds(1 << 40), MAX),
        ] {
            assert_eq!(to_seconds(time), expected, "{time:?}");
        }
        assert_eq!(to_system(MAX), seconds(MAX));
    }

    #[test]
    fn a_part_of_a_second_can_count_as_a_whole_one() {
        let part = Duration::from_nanos(1);
        for (time, expected) in
            [(UNIX_EPOCH - part, 0), (seconds(7), 7), (seconds(7) + part, 8), (seconds(MAX) + part, MAX)]
        {
            assert_eq!(to_seconds_up(time), expected, "{time:?}");
        }
    }

    #[test]
    fn a_time_of_whatever_year_can_be_shown() {
        for (time, expected) in [
            (UNIX_EPOCH - Duration::from_secs(1), "1970-01-01T00:00:00Z"),
            (seconds(1_903_867_200), "2030-05-01T12:00:00Z"),
            (seconds(MAX), "9999-12-31T23:59:59Z"),
            (seconds(1 << 50), "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Utc(time).to_string(), expected);
        }
    }
}
