//! Sizes on the command line.

/// Parses a number of bytes: `4096`, `64KiB`, `256MiB`, `1GiB`, `10MB`.
///
/// # Errors
///
/// Returns a text that describes the expected form.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(EXPECTED.into()),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(|| EXPECTED.into())
}

const EXPECTED: &str = "a number of bytes such as 4096, 64KiB, 256MiB or 1GiB is expected";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("256MiB"), Ok(268_435_456));
        assert_eq!(parse_size("1G"), Ok(1 << 30));
        assert_eq!(parse_size("10MB"), Ok(10_000_000));
    }

    #[test]
    fn what_is_no_size_is_an_error() {
        for text in ["", "MiB", "-1", "1.5G", "1TiB", "1 M", "99999999999GiB", "12é"] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
    }
}
