//! The receiving half of the error lane: a task that reads records until the lane or the stream ends.

use std::sync::{Arc, Weak};

use bytes::{Buf, Bytes, BytesMut};
use iroh::endpoint::{RecvStream, SendStream};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    stream::{
        carrier::{Carrier, PRIORITY_ERRORS, code_to_varint},
        lanes::Lanes,
    },
    wire::{
        Malformed,
        codes::lane,
        record::{MAX_RECORD, Record},
    },
};

/// Number of bytes of an incomplete record that each error lane may hold. Most records are shorter. For a longer
/// record the lane waits for one of the [`LONG_RECORDS`] permits, and the bytes wait in noq until then.
const SHORT: usize = 4 * 1024;
/// Maximum number of long records of one peer that are collected at a time: 64, which are 4 MiB.
pub(in crate::stream) const LONG_RECORDS: usize = 64;

/// Pairs an error lane of the peer with its data lane, or refuses it. `rest` has the bytes that came after its
/// opening.
pub(crate) fn accept(carrier: &Carrier, data_lane: u64, mut send: SendStream, mut recv: RecvStream, rest: Bytes) {
    let found = carrier.find(data_lane).filter(|lanes| lanes.take_peers_error_lane());
    let Some(lanes) = found else {
        let code = code_to_varint(lane::NO_SUCH_LANE);
        let _ = recv.stop(code);
        let _ = send.reset(code);
        return;
    };
    let _ = send.set_priority(PRIORITY_ERRORS);
    start(&lanes, recv, BytesMut::from(&rest[..]));
    // This side's records are sent on this lane, unless this side has opened an error lane of its own at the same
    // moment.
    lanes.errors().adopt(send);
}

/// Reads records until the lane or the stream ends.
pub(super) fn start(lanes: &Arc<Lanes>, recv: RecvStream, buffer: BytesMut) {
    let reading = read(Arc::downgrade(lanes), Arc::clone(&lanes.carrier), recv, buffer);
    let reader = lanes.carrier.tasks.spawn(reading);
    lanes.own_reader(reader.abort_handle());
}

async fn read(lanes: Weak<Lanes>, carrier: Arc<Carrier>, mut recv: RecvStream, mut buffer: BytesMut) {
    // The permit to hold a long record.
    let mut turn: Option<OwnedSemaphorePermit> = None;
    debug_assert!(buffer.len() < MAX_RECORD as usize, "what came with the opening is some packets at most");
    let malformed = loop {
        match take_records(&lanes, &mut buffer) {
            Ok(true) => {}
            Ok(false) => return,
            Err(malformed) => break malformed,
        }
        if buffer.is_empty() {
            // The last record may have been a large one: its memory is not kept.
            (turn, buffer) = (None, BytesMut::new());
        } else if buffer.len() >= SHORT && turn.is_none() {
            turn = Arc::clone(&carrier.long_records).acquire_owned().await.ok();
        }
        let most = if turn.is_some() { 2 * MAX_RECORD as usize } else { SHORT };
        match recv.read_chunk(most - buffer.len()).await {
            Ok(Some(chunk)) => buffer.extend_from_slice(&chunk),
            Ok(None) if buffer.is_empty() => return,
            Ok(None) => break Malformed::Truncated { what: "an error record" },
            // The peer has reset the lane, or the connection is lost: the data lane reports it.
            Err(_) => return,
        }
    };
    let _ = recv.stop(code_to_varint(malformed.lane_code()));
    if let Some(lanes) = lanes.upgrade() {
        lanes.on_malformed(malformed);
    }
}

/// Hands over every complete record. Returns false when no more records are wanted.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        stream::{
            Errors,
            pair::{Opened, Pair, record},
        },
        wire::record::Severity,
    };

    #[tokio::test]
    async fn a_long_record_waits_until_its_peer_has_fewer_of_them_under_way() {
        let mut pair = Pair::new().await;
        let Opened { there: _there, send: _send, recv: _recv, lanes } = pair.open().await;
        lanes.accept();
        let reports = Errors(lanes.inbox());
        let others = u32::try_from(LONG_RECORDS).unwrap();
        let others = Arc::clone(&pair.carrier.long_records).acquire_many_owned(others).await.unwrap();
        let (mut long, mut bytes) = (record(Severity::Warning, 0), Vec::new());
        long.details = vec![0; 60 << 10].into();
        long.encode(&mut bytes, &[]);
        let (mut errors, _reverse) = pair.peer.open_bi().await.unwrap();
        errors.write_all(&bytes).await.unwrap();
        let (send, recv) = pair.carrier.connection.accept_bi().await.unwrap();
        accept(&pair.carrier, lanes.id(), send, recv, Bytes::new());
        pair.arrives().await;
        // All of the record has arrived, and its reader takes its turns on this thread.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(reports.try_next().is_none(), "it was collected beside as many as there may be");
        drop(others);
        let report = tokio::time::timeout(Duration::from_secs(60), reports.next()).await;
        assert_eq!(report.unwrap().unwrap().error.details().len(), 60 << 10);
    }
}
