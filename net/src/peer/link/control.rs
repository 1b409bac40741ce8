//! The tasks of a connection, which serve both control streams until the connection is gone.

use std::sync::{Arc, PoisonError};

use bytes::{Buf, BytesMut};
use iroh::endpoint::RecvStream;
use tracing::Instrument;

use super::{ControlStream, Link, Notice, hello::Admitted};
use crate::{
    error::ConnectionLost,
    peer::{drain::Counts, incoming, path::watch as paths},
    wire::{
        Malformed,
        codes::{connection as codes, lane},
        control::{Frame, GoawayReason},
        grease, varint,
    },
};

impl Link {
    /// Reads the next control frame, and returns it with its type.
    pub(super) async fn read_frame(
        &self,
        recv: &mut RecvStream,
        buffer: &mut BytesMut,
    ) -> Result<(u64, Frame), ConnectionLost> {
        loop {
            if let Some((frame, used)) = Frame::decode(buffer).map_err(ConnectionLost::Malformed)? {
                let kind = varint::decode(buffer).map_or(0, |(kind, _)| kind);
                buffer.advance(used);
                return Ok((kind, frame));
            }
            self.read_control(recv, buffer).await?;
        }
    }

    pub(super) async fn read_control(
        &self,
        recv: &mut RecvStream,
        buffer: &mut BytesMut,
    ) -> Result<(), ConnectionLost> {
        match recv.read_chunk(64 * 1024).await {
            Ok(Some(chunk)) => {
                buffer.extend_from_slice(&chunk);
                Ok(())
            }
            Ok(None) => Err(ConnectionLost::Malformed(Malformed::Truncated { what: "the control stream" })),
            Err(iroh::endpoint::ReadError::ConnectionLost(error)) => Err(self.carrier.lost(error)),
            Err(_) => Err(ConnectionLost::Malformed(Malformed::Truncated { what: "the control stream" })),
        }
    }

    fn on_frame(&self, frame: Frame, notify: &impl Fn(Notice)) -> Result<(), ConnectionLost> {
        let carrier = &self.carrier;
        match frame {
            // HELLO comes once, and was read already.
            Frame::Hello(_) => {
                return Err(ConnectionLost::Malformed(Malformed::Unexpected { what: "a second HELLO" }));
            }
            Frame::Goaway { reason } => {
                self.lock_drain().on_goaway();
                // Before the table of peers learns of it, so that the answer carries the peer's reason.
                self.start_drain(reason);
                notify(Notice::Goaway { duplicate: reason == GoawayReason::Duplicate });
            }
            Frame::Drained { opened, accepted } => {
                self.lock_drain().on_drained(Counts { opened, accepted });
                self.step_drain();
            }
            Frame::Watermark { lane, offset } => carrier.on_watermark(lane, offset),
            Frame::Consumed { lane, offset } => carrier.on_consumed(lane, offset),
            Frame::Delegation(certificate) => {
                self.take_delegation(&certificate)?;
                notify(Notice::Delegated);
            }
            Frame::MaxLanes { count } => carrier.open_credit.raise(count),
            Frame::Unknown => {}
        }
        Ok(())
    }
}

/// Sends the control frames that are queued, and checks whether the connection may end.
pub(super) async fn write_control(link: Arc<Link>, mut control: ControlStream) {
    let carrier = &link.carrier;
    let (mut bytes, mut batch) = (Vec::new(), link.generation);
    loop {
        tokio::select! {
            () = carrier.outbox.filled.notified() => {
                carrier.outbox.take(&mut bytes);
                batch += 1;
                grease::in_front(batch, &mut bytes);
                // A peer that does not read its control stream gets no more of it. The number of its lanes limits
                // the queued frames.
                if let Err(error) = control.quic.write_all(&bytes).await {
                    // If the peer stops the stream, writers would wait for CONSUMED frames that cannot be asked for.
                    // A connection that is lost has a cause of its own, which the task that reads from it reports.
                    if matches!(error, iroh::endpoint::WriteError::Stopped(_)) {
                        let lost = ConnectionLost::Malformed(Malformed::Truncated { what: "the control stream" });
                        link.cut(lost, codes::PROTOCOL_VIOLATION, "the control stream was stopped");
                    }
                    break;
                }
                bytes.clear();
            }
            () = carrier.idle.notified() => link.step_drain(),
            _ = carrier.connection.closed() => break,
        }
    }
}

/// Reads the peer's control stream and watches the paths, until the connection is gone.
pub(super) async fn read_control(
    link: Arc<Link>,
    admitted: Option<Admitted>,
    notify: Arc<impl Fn(Notice) + Send + Sync>,
) {
    let lost = tokio::select! {
        lost = run(&link, admitted, &*notify) => lost,
        never = paths::watch(&link, link.first_path.get().copied(), &*notify) => match never {},
    };
    link.cut_for(&lost);
    link.carrier.on_lost();
    drop(link.kept.lock().unwrap_or_else(PoisonError::into_inner).take());
    notify(Notice::Closed(lost));
}

async fn run(link: &Arc<Link>, admitted: Option<Admitted>, notify: &impl Fn(Notice)) -> ConnectionLost {
    let Admitted { mut recv, mut buffer, .. } = match admitted {
        Some(admitted) => admitted,
        None => match link.await_hello(|| ()).await {
            Ok(admitted) => {
                notify(Notice::Hello(admitted.nonce));
                admitted
            }
            Err(lost) => return lost,
        },
    };
    let streams = incoming::accept_streams(Arc::clone(link), Arc::clone(&link.shared));
    link.shared.tasks.spawn(streams.in_current_span());
    loop {
        loop {
            match Frame::decode(&buffer) {
                Ok(Some((frame, used))) => {
                    buffer.advance(used);
                    if let Err(lost) = link.on_frame(frame, notify) {
                        return lost;
                    }
                }
                Ok(None) => break,
                Err(malformed) => return ConnectionLost::Malformed(malformed),
            }
        }
        tokio::select! {
            read = link.read_control(&mut recv, &mut buffer) => if let Err(lost) = read {
                return lost;
            },
            Ok(mut unknown) = link.connection().accept_uni() => {
                // The control stream is the only unidirectional kind of this version.
                let _ = unknown.stop(iroh::endpoint::VarInt::from_u32(lane::UNKNOWN_KIND as u32));
            }
        }
    }
}
