//! A QUIC connection on which streams can be opened, whether or not its handshake is done.
//!
//! iroh has another type for a connection before its handshake is done, with what a resumed session allows then (RFC
//! 9001, section 4.6). Everything that streams need is the same for both.

use std::sync::OnceLock;

use iroh::{
    EndpointId,
    endpoint::{
        AcceptBi, AcceptUni, ConnectingError, Connection, ConnectionError, ConnectionStats, IncomingZeroRttConnection,
        OpenBi, OpenUni, OutgoingZeroRttConnection, Side, VarInt, ZeroRttStatus,
    },
};

use crate::{error::ConnectionLost, tls::KeyExchange};

/// A QUIC connection.
#[derive(Debug, Clone)]
pub(crate) struct Quic {
    begun: Begun,
    /// The connection once its handshake is done, if it was not done when this value was made.
    done: OnceLock<Connection>,
}

/// The state in which the connection was handed over.
#[derive(Debug, Clone)]
enum Begun {
    Done(Connection),
    /// This side dialled, and resumes a session.
    Dialled(OutgoingZeroRttConnection),
    /// The peer dialled, and resumes a session.
    Accepted(IncomingZeroRttConnection),
}

/// The end of a handshake.
#[derive(Debug)]
pub(crate) enum Handshake {
    /// What was sent before the end counts.
    Done,
    /// The peer has dropped what was sent before the end. All streams of the [`Quic`] are void, and their ids are used
    /// again on this connection.
    EarlyRejected(Connection),
}

/// Does the same with the connection in each of its states.
macro_rules! with {
    ($quic:expr, $connection:ident => $done:expr) => {
        match &$quic.begun {
            Begun::Done($connection) => $done,
            Begun::Dialled($connection) => $done,
            Begun::Accepted($connection) => $done,
        }
    };
}

impl From<Connection> for Quic {
    fn from(connection: Connection) -> Self {
        Self::new(Begun::Done(connection))
    }
}

impl Quic {
    fn new(begun: Begun) -> Self {
        Self { begun, done: OnceLock::new() }
    }

    /// Takes a connection that this side has dialled, and whose session is being resumed.
    pub(crate) fn dialled(connection: OutgoingZeroRttConnection) -> Self {
        Self::new(Begun::Dialled(connection))
    }

    /// Takes a connection that a peer has dialled, and whose session is being resumed.
    pub(crate) fn accepted(connection: IncomingZeroRttConnection) -> Self {
        Self::new(Begun::Accepted(connection))
    }

    /// Returns the connection if its handshake is known to be done: only then it has paths.
    pub(crate) fn established(&self) -> Option<&Connection> {
        match &self.begun {
            Begun::Done(connection) => Some(connection),
            Begun::Dialled(_) | Begun::Accepted(_) => self.done.get(),
        }
    }

    /// Waits until the handshake is done. Until then, the peer may be somebody who has recorded what the peer once
    /// sent.
    ///
    /// Cancel-safe.
    pub(crate) async fn handshake(&self) -> Result<Handshake, ConnectionLost> {
        let done = match &self.begun {
            Begun::Done(_) => return Ok(Handshake::Done),
            Begun::Dialled(connection) => match connection.handshake_completed().await.map_err(lost)? {
                ZeroRttStatus::Accepted(done) => done,
                ZeroRttStatus::Rejected(done) => return Ok(Handshake::EarlyRejected(done)),
            },
            Begun::Accepted(connection) => connection.handshake_completed().await.map_err(lost)?,
        };
        // Another call may have been here first, with the same connection.
        let _ = self.done.set(done);
        Ok(Handshake::Done)
    }

    /// Returns the peer's id, which the handshake or the session that it resumes has proved.
    pub(crate) fn remote_id(&self) -> Option<EndpointId> {
        match &self.begun {
            Begun::Done(connection) => Some(connection.remote_id()),
            Begun::Dialled(connection) => connection.remote_id().ok(),
            Begun::Accepted(connection) => connection.remote_id().ok(),
        }
    }

    pub(crate) fn side(&self) -> Side {
        match &self.begun {
            Begun::Done(connection) => connection.side(),
            Begun::Dialled(_) => Side::Client,
            Begun::Accepted(_) => Side::Server,
        }
    }

    /// Returns the key exchange of the handshake, once it is done.
    pub(crate) fn key_exchange(&self) -> Option<KeyExchange> {
        KeyExchange::of(with!(self, connection => connection.handshake_data()))
    }

    pub(crate) fn open_bi(&self) -> OpenBi<'_> {
        with!(self, connection => connection.open_bi())
    }

    pub(crate) fn open_uni(&self) -> OpenUni<'_> {
        with!(self, connection => connection.open_uni())
    }

    pub(crate) fn accept_bi(&self) -> AcceptBi<'_> {
        with!(self, connection => connection.accept_bi())
    }

    pub(crate) fn accept_uni(&self) -> AcceptUni<'_> {
        with!(self, connection => connection.accept_uni())
    }

    pub(crate) async fn closed(&self) -> ConnectionError {
        with!(self, connection => connection.closed().await)
    }

    pub(crate) fn close_reason(&self) -> Option<ConnectionError> {
        with!(self, connection => connection.close_reason())
    }

    pub(crate) fn close(&self, code: VarInt, reason: &[u8]) {
        with!(self, connection => connection.close(code, reason));
    }

    pub(crate) fn stats(&self) -> ConnectionStats {
        with!(self, connection => connection.stats())
    }
}

fn lost(error: ConnectingError) -> ConnectionLost {
    match error {
        ConnectingError::ConnectionError { source, .. } => source.into(),
        other => ConnectionLost::Transport(other.to_string()),
    }
}
