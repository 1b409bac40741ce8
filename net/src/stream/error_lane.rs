//! The error lane's driver: opened by whichever side first has something to say, read by a task of its own.

use std::sync::{Arc, Weak, atomic::Ordering::Relaxed};

use bytes::{Buf, Bytes, BytesMut};
use iroh::endpoint::{RecvStream, SendStream};
use tokio::time::timeout;

use super::{
    carrier::{Carrier, PRIORITY_ERRORS, code_to_varint},
    lanes::Lanes,
};
use crate::{
    error::{ConnectionLost, WriteError},
    wire::{Malformed, codes::lane, grease, header::Opening, record::Record},
};

/// This side's half of the error lane.
#[derive(Debug)]
pub(crate) enum ErrorOut {
    /// No error lane yet.
    Closed,
    /// Records may be written.
    Open(SendStream),
    /// A fatal record was written, or one could not be: nothing follows it.
    Finished,
}

/// Sends a record, on the error lane that exists or on a new one. To be run to its end: half a record spoils the lane.
pub(super) async fn send(lanes: &Arc<Lanes>, record: Record) -> Result<(), WriteError> {
    let bound = lanes.carrier.limits.error_timeout;
    let fatal = Carrier::is_fatal(record.severity);
    let sent = match timeout(bound, send_unbounded(lanes, record)).await {
        Ok(sent) => sent,
        // What can hold this up is a peer that allows no more streams, or data, although it must.
        Err(_) => {
            let spoilt = std::mem::replace(&mut *lanes.error_out.lock().await, ErrorOut::Finished);
            if let ErrorOut::Open(mut send) = spoilt {
                let _ = send.reset(code_to_varint(lane::TIMED_OUT));
            }
            Err(WriteError::Stopped { code: lane::TIMED_OUT })
        }
    };
    if fatal && sent.is_err() {
        lanes.undeliverable.notify_one();
    }
    sent
}

async fn send_unbounded(lanes: &Arc<Lanes>, record: Record) -> Result<(), WriteError> {
    let carrier = &lanes.carrier;
    let mut out = lanes.error_out.lock().await;
    let mut bytes = Vec::new();
    if matches!(*out, ErrorOut::Closed) {
        let (send, recv) = carrier.connection.open_bi().await.map_err(|error| carrier.lost(error))?;
        carrier.opened.fetch_add(1, Relaxed);
        let _ = send.set_priority(PRIORITY_ERRORS);
        Opening::encode_error_lane(&mut bytes, lanes.id());
        read_in_background(lanes, recv, BytesMut::new());
        *out = ErrorOut::Open(send);
    }
    let ErrorOut::Open(send) = &mut *out else {
        return Err(WriteError::EndedHere);
    };
    let fatal = Carrier::is_fatal(record.severity);
    record.encode(&mut bytes, &grease::tail(record.offset ^ lanes.id()));
    carrier.count_write();
    send.write_all(&bytes).await.map_err(|error| match error {
        iroh::endpoint::WriteError::ConnectionLost(error) => carrier.lost(error).into(),
        iroh::endpoint::WriteError::Stopped(code) => WriteError::Stopped { code: code.into_inner() },
        _ => WriteError::Lost(ConnectionLost::Closed),
    })?;
    carrier.metrics.records_sent.inc();
    if fatal {
        let _ = send.finish();
        *out = ErrorOut::Finished;
    }
    Ok(())
}

/// An error lane of the peer: pairs it with its data lane, or refuses it. `rest` is what came after its opening.
pub(crate) async fn accept(carrier: &Carrier, data_lane: u64, mut send: SendStream, mut recv: RecvStream, rest: Bytes) {
    let found = carrier.find(data_lane).filter(|lanes| lanes.take_peers_error_lane());
    let Some(lanes) = found else {
        let code = code_to_varint(lane::NO_SUCH_LANE);
        let _ = recv.stop(code);
        let _ = send.reset(code);
        return;
    };
    read_in_background(&lanes, recv, BytesMut::from(&rest[..]));
    // Answers go back on this lane, unless this side has opened one of its own at the same moment.
    let mut out = lanes.error_out.lock().await;
    if matches!(*out, ErrorOut::Closed) {
        let _ = send.set_priority(PRIORITY_ERRORS);
        *out = ErrorOut::Open(send);
    }
}

/// Reads records until the lane or the stream ends.
fn read_in_background(lanes: &Arc<Lanes>, mut recv: RecvStream, mut buffer: BytesMut) {
    let weak = Arc::downgrade(lanes);
    let reader = lanes.carrier.tasks.spawn(async move {
        let malformed = loop {
            match take_records(&weak, &mut buffer) {
                Ok(true) => {}
                Ok(false) => break None,
                Err(malformed) => break Some(malformed),
            }
            match recv.read_chunk(usize::MAX).await {
                Ok(Some(chunk)) => buffer.extend_from_slice(&chunk),
                Ok(None) if buffer.is_empty() => break None,
                Ok(None) => {
                    break Some(Malformed::Truncated { what: "an error record" });
                }
                // The peer let go of the stream, or the connection is lost: the data lane tells.
                Err(_) => break None,
            }
        };
        if let Some(malformed) = malformed {
            let _ = recv.stop(code_to_varint(malformed.lane_code()));
            if let Some(lanes) = weak.upgrade() {
                lanes.on_malformed(malformed);
            }
        }
    });
    lanes.own_reader(reader.abort_handle());
}

/// Hands over every whole record. False when nothing more is wanted.
fn take_records(lanes: &Weak<Lanes>, buffer: &mut BytesMut) -> Result<bool, Malformed> {
    while let Some((record, used)) = Record::decode(buffer)? {
        buffer.advance(used);
        let Some(lanes) = lanes.upgrade() else {
            return Ok(false);
        };
        if !lanes.on_record(record) {
            return Ok(false);
        }
    }
    Ok(true)
}
