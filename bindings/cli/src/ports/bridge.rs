//! Between a stream and a connection of this machine: what one side says, the other side hears, to the end or to the
//! reset.

use std::{io, pin::pin};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use twolane::{ReadError, RecvStream, SendStream, StreamError, WriteError, XStream};

use super::{RESET, local::Local};

/// Number of bytes that are read at a time.
const CHUNK: usize = 128 * 1024;

/// The reason why a connection was reset.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The connection of this machine.
    #[error("the program on this machine has cut it")]
    Local(#[source] io::Error),
    /// The peer's side was cut, or the connection to the peer.
    #[error("the peer's side has cut it")]
    Read(#[source] ReadError),
    /// The same, as a writer sees it.
    #[error("the peer's side has cut it")]
    Write(#[source] WriteError),
    /// The peer takes nothing more, and has not said why.
    #[error("the peer's side takes nothing more")]
    Stopped,
}

/// The number of bytes in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    pub(super) up: u64,
    pub(super) down: u64,
}

/// Connects a stream with a connection, until both directions have ended, or one is cut. The other one is then cut too.
///
/// Not cancel-safe: if the future is dropped half-way, both are cut, the connection with an end.
pub(super) async fn bridge(stream: XStream, local: Local) -> Result<Totals, Broken> {
    match local {
        Local::Tcp(socket) => {
            let (mut reader, mut writer) = socket.into_split();
            let ended = between(stream, &mut reader, &mut writer).await;
            // A half that is dropped alone says the end, before the reset.
            if let Ok(socket) = reader.reunite(writer)
                && ended.is_err()
            {
                Local::Tcp(socket).reset();
            }
            ended
        }
        #[cfg(unix)]
        Local::Unix(socket) => {
            let (mut reader, mut writer) = socket.into_split();
            between(stream, &mut reader, &mut writer).await
        }
    }
}

/// Connects a stream with a reader and a writer, until both directions have ended, or one is cut.
pub(super) async fn between(
    stream: XStream,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> Result<Totals, Broken> {
    let (mut tx, mut rx) = stream.split();
    let ended = tokio::try_join!(up(&mut tx, reader), down(&mut rx, writer));
    match ended {
        Ok((up, down)) => Ok(Totals { up, down }),
        Err(broken) => {
            if let Broken::Local(_) = &broken {
                // A peer that is gone needs no reason.
                let _ = tx.abort(StreamError::new(RESET, "the connection was reset")).await;
            }
            Err(broken)
        }
    }
}

/// Sends what the program on this machine says, up to its end.
async fn up(tx: &mut SendStream, reader: &mut (impl AsyncRead + Unpin)) -> Result<u64, Broken> {
    let mut total = 0;
    let mut buf = BytesMut::new();
    // A peer that takes nothing more is noticed while the program is silent, too.
    let mut settled = pin!(tx.settled());
    loop {
        buf.reserve(CHUNK);
        let read = tokio::select! {
            read = reader.read_buf(&mut buf) => read.map_err(Broken::Local)?,
            () = &mut settled => return Err(Broken::Stopped),
        };
        if read == 0 {
            tx.finish().map_err(Broken::Write)?;
            return Ok(total);
        }
        total += read as u64;
        tx.write_chunk(buf.split().freeze()).await.map_err(Broken::Write)?;
    }
}

/// Says what the peer's side sends, up to its end.
async fn down(rx: &mut RecvStream, writer: &mut (impl AsyncWrite + Unpin)) -> Result<u64, Broken> {
    let mut total = 0;
    while let Some(chunk) = rx.read_chunk(CHUNK).await.map_err(Broken::Read)? {
        writer.write_all(&chunk).await.map_err(Broken::Local)?;
        total += chunk.len() as u64;
    }
    // A connection whose other direction was cut meanwhile cannot be ended in order either.
    writer.shutdown().await.map_err(Broken::Local)?;
    Ok(total)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream};
    use twolane::Endpoint;

    use super::*;
    use crate::ports::PROTOCOL;

    /// Two connections, and the streams between them.
    struct Pair {
        near: TcpStream,
        far: TcpStream,
        _endpoints: (Endpoint, Endpoint),
    }

    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    async fn pair() -> Pair {
        let one = Endpoint::builder().offline().bind().await.unwrap();
        let other = Endpoint::builder().offline().bind().await.unwrap();
        let (opened, accepted) =
            tokio::join!(one.get_stream(other.ticket(), PROTOCOL), other.accept_bi(&[PROTOCOL]));
        let ((near, near_end), (far_end, far)) = (connection().await, connection().await);
        tokio::spawn(bridge(opened.unwrap(), Local::Tcp(near_end)));
        tokio::spawn(bridge(accepted.unwrap().1, Local::Tcp(far_end)));
        Pair { near, far, _endpoints: (one, other) }
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn each_direction_ends_by_itself_after_its_last_byte() {
        let Pair { mut near, mut far, _endpoints } = pair().await;
        near.write_all(b"question").await.unwrap();
        near.shutdown().await.unwrap();
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"question");
        let answer = vec![7; 3_000_000];
        let (said, heard) = tokio::join!(
            async {
                far.write_all(&answer).await.unwrap();
                far.shutdown().await
            },
            async {
                let mut heard = Vec::new();
                near.read_to_end(&mut heard).await.map(|_| heard)
            }
        );
        said.unwrap();
        assert!(heard.unwrap() == answer);
    }

    #[tokio::test]
    async fn a_reset_is_a_reset_at_the_other_end_whichever_side_it_comes_from() {
        for from_near in [true, false] {
            let Pair { near, far, _endpoints } = pair().await;
            let (mut reset, mut waits) = if from_near { (near, far) } else { (far, near) };
            reset.write_all(b"half").await.unwrap();
            let mut heard = [0; 4];
            waits.read_exact(&mut heard).await.unwrap();
            Local::Tcp(reset).reset();
            let end = tokio::time::timeout(PATIENCE, waits.read(&mut heard)).await.unwrap();
            assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "from near: {from_near}");
        }
    }
}
