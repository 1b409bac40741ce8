//! The control frames that wait for a peer which does not read them. For each lane there is a limited number of each
//! kind.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::sync::Notify;

use super::credit::chunks::MAX_MARKS;
use crate::wire::{control::Frame, grease};

/// The frames of one connection that are not sent yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    frames: Mutex<Frames>,
    /// Number of waiting frames about lanes, readable without the lock.
    queued: AtomicUsize,
    /// Notified when there is something to send.
    pub(crate) filled: Notify,
}

impl Outbox {
    /// Queues a frame.
    pub(crate) fn send(&self, frame: Frame) {
        self.change(|frames| frames.push(frame));
        self.filled.notify_one();
    }

    /// Takes every frame, and appends it to `out` in encoded form.
    pub(crate) fn take(&self, out: &mut Vec<u8>) {
        self.change(std::mem::take).encode(out);
    }

    /// Removes the frames about a lane that is gone, which are void. Returns those of their offsets that the peer
    /// must be told nevertheless.
    pub(super) fn forget(&self, lane: u64) -> Unsaid {
        // Only the owners of a lane queue frames about it. All of them are gone, and the drop of their last reference
        // made their store to `queued` visible here.
        if self.queued.load(Relaxed) == 0 { Unsaid::default() } else { self.change(|frames| frames.forget(lane)) }
    }

    /// Queues a report about a lane that has ended here. At most `max` of these reports are queued.
    pub(super) fn report_gone(&self, lane: u64, offset: u64, max: usize) {
        self.change(|frames| {
            if frames.gone.len() < max || frames.gone.contains_key(&lane) {
                raise(&mut frames.gone, lane, offset);
            }
        });
        self.filled.notify_one();
    }

    fn change<T>(&self, change: impl FnOnce(&mut Frames) -> T) -> T {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut frames);
        self.queued.store(frames.watermarks.len() + frames.consumed.len(), Relaxed);
        changed
    }
}

/// The offsets of the frames about a lane that were not sent when the lane ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unsaid {
    /// The offset of the last report.
    pub(super) consumed: Option<u64>,
    /// The offset of the last question.
    pub(super) watermark: Option<u64>,
}

#[derive(Debug, Default)]
struct Frames {
    goaway: Option<Frame>,
    drained: Option<Frame>,
    /// Only the last frame counts.
    delegation: Option<Frame>,
    /// Only the last count matters.
    max_lanes: Option<u64>,
    /// For each lane, the watermarks that the peer has not answered: at most [`MAX_MARKS`], and one at the lane's
    /// end.
    watermarks: BTreeMap<u64, Vec<u64>>,
    /// The reports about lanes. Only the last one about a lane counts.
    consumed: BTreeMap<u64, u64>,
    /// The reports about lanes that have ended here.
    gone: BTreeMap<u64, u64>,
}

impl Frames {
    fn push(&mut self, frame: Frame) {
        match frame {
            Frame::Goaway { .. } => self.goaway = Some(frame),
            Frame::Drained { .. } => self.drained = Some(frame),
            Frame::Watermark { lane, offset } => {
                let marks = self.watermarks.entry(lane).or_default();
                // A peer can answer a mark before the mark is sent, which makes room for another mark. The oldest
                // marks are the answered ones.
                if marks.len() > MAX_MARKS {
                    marks.remove(0);
                }
                marks.push(offset);
            }
            Frame::Consumed { lane, offset } => raise(&mut self.consumed, lane, offset),
            Frame::Delegation(_) => self.delegation = Some(frame),
            Frame::MaxLanes { count } => self.max_lanes = self.max_lanes.max(Some(count)),
            // HELLO is written when the control stream is opened.
            Frame::Hello(_) | Frame::Unknown => {}
        }
    }

    fn forget(&mut self, lane: u64) -> Unsaid {
        let watermark = self.watermarks.remove(&lane).and_then(|marks| marks.last().copied());
        Unsaid { consumed: self.consumed.remove(&lane), watermark }
    }

    fn encode(self, out: &mut Vec<u8>) {
        if let Some(delegation) = self.delegation {
            delegation.encode(out);
        }
        if let Some(count) = self.max_lanes {
            Frame::MaxLanes { count }.encode(out);
        }
        for (lane, offset) in self.consumed.into_iter().chain(self.gone) {
            Frame::Consumed { lane, offset }.encode(out);
        }
        for (lane, offsets) in self.watermarks {
            for offset in offsets {
                Frame::Watermark { lane, offset }.encode(out);
            }
        }
        // DRAINED has a meaning only after GOAWAY.
        for frame in [self.goaway, self.drained].into_iter().flatten() {
            frame.encode_with(out, &grease::tail(out.len() as u64));
        }
    }
}

/// Records a report about a lane. Two tasks can report about a lane at the same time: the larger offset counts.
fn raise(reports: &mut BTreeMap<u64, u64>, lane: u64, offset: u64) {
    let reported = reports.entry(lane).or_insert(offset);
    *reported = (*reported).max(offset);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_answers_marks_and_reads_none_makes_nothing_grow() {
        let outbox = Outbox::default();
        for offset in 1..=10_000 {
            outbox.send(Frame::Watermark { lane: 4, offset });
        }
        let mut out = Vec::new();
        outbox.take(&mut out);
        assert!(out.len() <= (MAX_MARKS + 1) * 8, "{} bytes", out.len());
        let mut last = Vec::new();
        Frame::Watermark { lane: 4, offset: 10_000 }.encode(&mut last);
        assert!(out.ends_with(&last), "the last mark is the one that frees the writer");
    }

    #[test]
    fn what_waits_about_a_lane_that_ends_is_void_and_is_handed_out() {
        let outbox = Outbox::default();
        outbox.send(Frame::Watermark { lane: 4, offset: 1 });
        outbox.send(Frame::Consumed { lane: 4, offset: 9 });
        outbox.send(Frame::Consumed { lane: 4, offset: 8 });
        outbox.send(Frame::Watermark { lane: 4, offset: 2 });
        assert_eq!(outbox.forget(4), Unsaid { consumed: Some(9), watermark: Some(2) });
        assert_eq!(outbox.forget(4), Unsaid::default());
        let mut out = Vec::new();
        outbox.take(&mut out);
        assert!(out.is_empty());
    }
}
