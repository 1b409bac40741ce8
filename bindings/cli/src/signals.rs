//! Signals. The first one of Ctrl-C, SIGTERM, SIGHUP and SIGQUIT asks the program to stop, the second one ends it.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// The signals that the program has received. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Signals {
    token: CancellationToken,
    first: Arc<OnceLock<Exit>>,
}

impl Signals {
    /// Starts to listen for signals. A second signal ends the process at once.
    ///
    /// # Errors
    ///
    /// Returns an error if the operating system provides no signal handling.
    pub fn listen() -> io::Result<Self> {
        let signals = Self { token: CancellationToken::new(), first: Arc::default() };
        let mut source = Source::new()?;
        let seen = signals.clone();
        tokio::spawn(async move {
            let _ = seen.first.set(source.next().await);
            seen.token.cancel();
            let second = source.next().await;
            std::process::exit(second.code().into());
        });
        Ok(signals)
    }

    /// Waits for the first signal, and returns the exit status that it asks for. Cancel-safe.
    pub async fn asked(&self) -> Exit {
        self.token.cancelled().await;
        self.first.get().copied().unwrap_or(Exit::Interrupted)
    }
}

#[cfg(unix)]
struct Source {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
    /// A file that is over the limit on the size of files. It is received so that it does not end the program: the write
    /// fails, and both sides are told why.
    _file_size: tokio::signal::unix::Signal,
}

/// SIGXFSZ, on every architecture of Linux, macOS and the BSDs but MIPS.
#[cfg(unix)]
const FILE_SIZE: i32 = if cfg!(any(target_arch = "mips", target_arch = "mips64")) { 31 } else { 25 };

#[cfg(unix)]
impl Source {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            _file_size: signal(SignalKind::from_raw(FILE_SIZE))?,
        })
    }

    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
            _ = self.hang_up.recv() => Exit::Terminated,
            _ = self.quit.recv() => Exit::Terminated,
        }
    }
}

#[cfg(not(unix))]
struct Source;

#[cfg(not(unix))]
impl Source {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Exit {
        let _ = tokio::signal::ctrl_c().await;
        Exit::Interrupted
    }
}
