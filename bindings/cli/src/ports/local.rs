//! Connections of this machine.

use std::{io, time::Duration};

#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::Target;

/// Maximum time for a service to take a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Debug)]
pub(super) enum Local {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// A place where connections are taken. Drop removes the socket's file.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, std::path::PathBuf),
}

impl Local {
    /// Connects to a service.
    pub(super) async fn connect(target: &Target) -> io::Result<Self> {
        let connecting = async {
            match target {
                Target::Tcp(place) => Ok(Self::Tcp(prompt(TcpStream::connect(place.as_str()).await?))),
                #[cfg(unix)]
                Target::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
                #[cfg(not(unix))]
                Target::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
            }
        };
        timeout(CONNECT, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Ends the connection so that the program at its other end sees a reset, and no end. A Unix socket has no reset.
    pub(super) fn reset(self) {
        if let Self::Tcp(socket) = self {
            // A socket for which this fails is gone already.
            let _ = socket.set_zero_linger();
        }
    }
}

impl Listener {
    /// Takes connections at a place.
    pub(super) async fn bind(target: &Target) -> io::Result<Self> {
        match target {
            Target::Tcp(place) => Ok(Self::Tcp(TcpListener::bind(place.as_str()).await?)),
            #[cfg(unix)]
            Target::Unix(path) => Ok(Self::Unix(UnixListener::bind(path)?, path.clone())),
            #[cfg(not(unix))]
            Target::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Returns the place, with the port that the system has chosen for port 0.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|_| "?".into(), |addr| addr.to_string()),
            #[cfg(unix)]
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    /// Takes the next connection. Cancel-safe.
    pub(super) async fn accept(&self) -> io::Result<Local> {
        match self {
            Self::Tcp(listener) => Ok(Local::Tcp(prompt(listener.accept().await?.0))),
            #[cfg(unix)]
            Self::Unix(listener, _) => Ok(Local::Unix(listener.accept().await?.0)),
        }
    }
}

#[cfg(unix)]
impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Small writes of a program leave at once, as over a connection without a forwarder.
fn prompt(socket: TcpStream) -> TcpStream {
    let _ = socket.set_nodelay(true);
    socket
}
