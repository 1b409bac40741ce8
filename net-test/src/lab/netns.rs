//! A network namespace, and threads inside it.

use std::{
    fs::{self, File},
    io, thread,
};

use nix::{
    mount::{MntFlags, umount2},
    sched::{CloneFlags, setns},
};

use super::fault::Fault;

/// A network namespace of `ip netns add`. It ends with the lab, which has its own `/run`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Netns(String);

impl Netns {
    pub fn named(name: String) -> Self {
        Self(name)
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    /// Removes the name as `ip netns del` does. Does nothing if the name does not exist.
    pub fn remove(&self) -> io::Result<()> {
        let path = format!("/run/netns/{}", self.0);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            _ => {}
        }
        // A namespace whose creation was interrupted is not mounted.
        let unmounted = umount2(path.as_str(), MntFlags::MNT_DETACH);
        fs::remove_file(path).map_err(|error| unmounted.err().map_or(error, io::Error::from))
    }

    /// Returns the option with which `nsenter` enters this namespace.
    pub fn enter_option(&self) -> String {
        format!("--net=/run/netns/{}", self.0)
    }

    /// Runs `work` on a thread inside the namespace, and waits for it.
    ///
    /// `work` has to be done within milliseconds. Sockets and devices that it opens stay in the namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Fault> {
        let what = format!("entering the namespace {}", self.0);
        thread::scope(|scope| {
            let thread = scope.spawn(|| -> Result<T, Fault> {
                let file = File::open(format!("/run/netns/{}", self.0)).map_err(|error| Fault::lab(&what, error))?;
                setns(file, CloneFlags::CLONE_NEWNET).map_err(|error| Fault::lab(&what, error))?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|_| Err(Fault::lab(&what, "the thread has died")))
        })
    }
}
