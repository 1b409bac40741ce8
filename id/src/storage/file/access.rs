//! Who has access to a file, by its owner and its mode.

use std::{fs, path::Path};

use super::KeyFileError;

/// The access that others may have to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Others {
    /// None at all.
    None,
    /// They may read the file, and not write it.
    Read,
}

/// The part of a file's metadata that says who has access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) struct Access {
    /// The id of the user that owns the file.
    pub(in crate::storage) owner: u32,
    /// The permission bits, as `chmod` takes them.
    pub(in crate::storage) mode: u32,
}

/// What is wrong with the access to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Flaw {
    /// The file belongs to another user, who can replace its content at any time.
    Owner,
    /// The mode lets others do more than they may.
    Mode,
}

impl Access {
    /// Checks that only the user `us` and the superuser can write the file, and that others have no more access than
    /// they may. The superuser can read and replace every file anyway, so a file that belongs to it is as good as one
    /// of `us`.
    pub(in crate::storage) fn judge(self, us: u32, others: Others) -> Result<(), Flaw> {
        let forbidden = match others {
            Others::None => 0o077,
            Others::Read => 0o022,
        };
        if self.owner != SUPERUSER && self.owner != us {
            Err(Flaw::Owner)
        } else if self.mode & forbidden != 0 {
            Err(Flaw::Mode)
        } else {
            Ok(())
        }
    }
}

const SUPERUSER: u32 = 0;

/// Checks the access to a file that is to be loaded.
pub(super) fn check(path: &Path, metadata: &fs::Metadata, us: u32, others: Others) -> Result<(), KeyFileError> {
    let Some(access) = of(metadata) else { return Ok(()) };
    access.judge(us, others).map_err(|flaw| {
        let path = path.to_owned();
        let Access { owner, mode } = access;
        match (flaw, others) {
            (Flaw::Owner, _) => KeyFileError::ForeignOwner { path, owner, us },
            (Flaw::Mode, Others::None) => KeyFileError::Exposed { path, mode },
            (Flaw::Mode, Others::Read) => KeyFileError::Writable { path, mode },
        }
    })
}

/// Returns who has access to a file, or `None` where a file does not say that by an owner and a mode.
#[cfg(unix)]
pub(in crate::storage) fn of(metadata: &fs::Metadata) -> Option<Access> {
    use std::os::unix::fs::MetadataExt;

    Some(Access { owner: metadata.uid(), mode: metadata.mode() & 0o7777 })
}

#[cfg(not(unix))]
pub(in crate::storage) fn of(_: &fs::Metadata) -> Option<Access> {
    None
}

/// Returns the id of the user as whom this program accesses files.
#[cfg(unix)]
pub(in crate::storage) fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(not(unix))]
pub(in crate::storage) fn us() -> u32 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u32 = 1000;

    fn judge(owner: u32, mode: u32, others: Others) -> Result<(), Flaw> {
        Access { owner, mode }.judge(US, others)
    }

    #[test]
    fn a_file_of_another_user_is_refused_whatever_its_mode_is() {
        for others in [Others::None, Others::Read] {
            for mode in [0o000, 0o400, 0o600, 0o777] {
                assert_eq!(judge(1001, mode, others), Err(Flaw::Owner), "{mode:04o}");
                assert_eq!(judge(65534, mode, others), Err(Flaw::Owner), "{mode:04o}");
            }
        }
        assert_eq!(judge(US, 0o600, Others::None), Ok(()));
        assert_eq!(judge(SUPERUSER, 0o600, Others::None), Ok(()));
        // The superuser does not take its key from another user.
        let theirs = Access { owner: US, mode: 0o600 };
        assert_eq!(theirs.judge(SUPERUSER, Others::None), Err(Flaw::Owner));
    }

    #[test]
    fn others_have_no_access_unless_reading_was_allowed_and_never_write() {
        for (mode, none, read) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o700, true, true),
            (0o440, false, true),
            (0o444, false, true),
            (0o644, false, true),
            (0o755, false, true),
            (0o620, false, false),
            (0o602, false, false),
            (0o660, false, false),
            (0o666, false, false),
            (0o777, false, false),
        ] {
            for owner in [US, SUPERUSER] {
                assert_eq!(judge(owner, mode, Others::None).is_ok(), none, "{mode:04o}");
                assert_eq!(judge(owner, mode, Others::Read).is_ok(), read, "{mode:04o}");
            }
        }
    }
}
