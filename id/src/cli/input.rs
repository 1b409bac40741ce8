//! Input with limits: messages, and keys from standard input.

use std::{
    error::Error,
    fs::File,
    io::{self, Read},
    path::Path,
    str::FromStr,
};

use eyre::{WrapErr, eyre};
use zeroize::Zeroizing;

use super::failure::Usage;

/// Maximum length of a message in bytes. Ed25519 reads the message twice, so all of it has to be in memory.
const MESSAGE_LIMIT: u64 = 64 << 20;

/// Maximum length of a text in bytes. Keys and id52s have at most 64 characters, and a delegation at most 3287; the
/// rest is for white space.
const TEXT_LIMIT: usize = 4096;

pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Parses an argument. A wrong argument is a wrong command line, described by `wrong`. The error text does not
/// repeat the argument, because it can be a secret key that was pasted in the wrong place.
pub(super) fn argument<T>(text: &str, wrong: &'static str) -> eyre::Result<T>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    text.parse().wrap_err(Usage(wrong))
}

/// Reads the message at `path`, or from standard input if `path` is `-`.
pub(super) fn message(path: &Path) -> eyre::Result<Vec<u8>> {
    let message = if is_stdin(path) {
        read_at_most(MESSAGE_LIMIT, io::stdin().lock())
    } else {
        File::open(path).and_then(|file| read_at_most(MESSAGE_LIMIT, file))
    };
    let path = path.display();
    message.wrap_err_with(|| format!("cannot read the message {path}"))?.ok_or_else(|| {
        eyre!(
            "the message {path} is longer than 64 MiB ({MESSAGE_LIMIT} bytes): sign its hash \
             instead, as in `sha256sum FILE | id52 sign ...`"
        )
    })
}

/// Reads one short text from standard input, without the white space around it.
pub(super) fn text_from_stdin() -> eyre::Result<Zeroizing<String>> {
    // The capacity is reserved at once, because a growing buffer would leave copies of a secret in memory.
    let mut text = Zeroizing::new(String::with_capacity(TEXT_LIMIT + 1));
    io::stdin().lock().take(TEXT_LIMIT as u64 + 1).read_to_string(&mut text).wrap_err("cannot read standard input")?;
    if text.len() > TEXT_LIMIT {
        return Err(eyre!("standard input is longer than {TEXT_LIMIT} bytes: it is neither a key nor a delegation"));
    }
    Ok(Zeroizing::new(text.trim_ascii().to_owned()))
}

/// Reads to the end, or returns `None` if the input has more than `limit` bytes.
fn read_at_most(limit: u64, reader: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let length = reader.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|_| length as u64 <= limit))
}

#[cfg(test)]
mod tests {
    use super::read_at_most;

    #[test]
    fn what_has_exactly_the_limit_is_read_and_one_byte_more_is_not() {
        let bytes = [7; 11];
        assert_eq!(read_at_most(10, &bytes[..10]).unwrap().as_deref(), Some(&bytes[..10]));
        assert_eq!(read_at_most(10, &bytes[..0]).unwrap().as_deref(), Some(&bytes[..0]));
        assert_eq!(read_at_most(10, &bytes[..]).unwrap(), None);
    }
}
