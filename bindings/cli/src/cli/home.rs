//! What the programs keep from one run to the next: the receiver's key, and the senders that its user knows.

use std::{
    env,
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
};

use twolane::PublicKey;

/// The folder of the programs' settings, if the system has one for the user: `$XDG_CONFIG_HOME/twolane`,
/// `~/.config/twolane`, or `%APPDATA%\twolane`.
pub(super) fn dir() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CONFIG_HOME").or_else(|| {
        if cfg!(windows) { absolute("APPDATA") } else { absolute("HOME").map(|home| home.join(".config")) }
    })?;
    Some(base.join("twolane"))
}

/// The default key file of a receiver, which is its own while this exists. Two receivers with one key would take each
/// other's connections.
#[derive(Debug)]
pub(super) struct DefaultKey {
    pub(super) path: PathBuf,
    _lock: File,
}

impl DefaultKey {
    /// Returns the default key file, unless another receiver is using it. Returns `None` if there is no place for one.
    pub(super) fn take() -> Option<Result<Self, InUse>> {
        let dir = dir()?;
        fs::create_dir_all(&dir).ok()?;
        let lock = File::options().create(true).truncate(false).write(true).open(dir.join("receiver.lock")).ok()?;
        match lock.try_lock() {
            Err(fs::TryLockError::WouldBlock) => Some(Err(InUse)),
            // Some file systems have no locks.
            Ok(()) | Err(fs::TryLockError::Error(_)) => Some(Ok(Self { path: dir.join("receiver.key"), _lock: lock })),
        }
    }
}

/// Another receiver is using the default key.
#[derive(Debug)]
pub(super) struct InUse;

/// The senders from which the receiver's user takes everything.
#[derive(Debug)]
pub(super) struct KnownSenders {
    path: Option<PathBuf>,
    keys: Vec<PublicKey>,
}

impl KnownSenders {
    /// Reads the list. A line that is no id52 is ignored: a person may have written a comment.
    pub(super) fn load() -> Self {
        let path = dir().map(|dir| dir.join("senders"));
        let text = path.as_ref().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let keys = text.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
        Self { path, keys }
    }

    pub(super) fn contains(&self, key: &PublicKey) -> bool {
        self.keys.contains(key)
    }

    /// Adds a sender, also for later runs.
    pub(super) fn add(&mut self, key: PublicKey) -> io::Result<()> {
        self.keys.push(key);
        let path = self.path.as_ref().ok_or(io::ErrorKind::NotFound)?;
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        // One write, so that the lines of two receivers do not mix.
        File::options().append(true).create(true).open(path)?.write_all(format!("{key}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use twolane::SecretKey;

    use super::*;

    #[test]
    fn a_sender_that_was_added_is_known_in_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = Some(dir.path().join("new").join("senders"));
        let [one, other] = [1, 2].map(|byte| SecretKey::from_bytes(&[byte; 32]).public_key());
        let mut known = KnownSenders { path: path.clone(), keys: Vec::new() };
        known.add(one).unwrap();
        assert!(known.contains(&one) && !known.contains(&other));
        let text = fs::read_to_string(path.unwrap()).unwrap();
        assert_eq!(text, format!("{one}\n"));
    }
}
