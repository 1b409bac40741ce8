//! The orderly end of a connection (`peer/drain.rs`), seen from both sides at once.

use std::collections::VecDeque;

use super::MAX_EVENTS;
use crate::peer::drain::{Counts, Drain};

/// Each event is one byte, whose top bit selects the side. Frames arrive in order but late; streams are seen late and
/// end at any time. A connection is closed when nothing on it is lost by that, or not at all.
pub(super) fn run(events: &[u8]) {
    let mut sides = [Side::default(), Side::default()];
    for byte in events.iter().take(MAX_EVENTS) {
        let (one, other) = sides.split_at_mut(1);
        let (me, peer) = match byte & 0x80 {
            0 => (&mut one[0], &mut other[0]),
            _ => (&mut other[0], &mut one[0]),
        };
        me.on(byte & 0x7f, peer);
        if me.step(peer) {
            for side in &sides {
                assert_eq!((side.live, side.unseen), (0, 0), "a stream was cut");
            }
            return;
        }
    }
    settle(sides);
}

/// Checks that both sides close the connection once all streams have been seen and have ended, and all frames have
/// arrived.
fn settle([mut one, mut other]: [Side; 2]) {
    one.goaway(&mut other);
    for side in [&mut one, &mut other] {
        side.counts.accepted += std::mem::take(&mut side.unseen);
        side.live = 0;
    }
    // One GOAWAY in each direction, the answer to it, and one DRAINED in each direction. Frames that are on their way
    // come before.
    for _ in 0..one.inbox.len() + other.inbox.len() + 8 {
        for (me, peer) in [(0, 1), (1, 0)] {
            let (me, peer) = if me < peer { (&mut one, &mut other) } else { (&mut other, &mut one) };
            me.deliver(peer);
            if me.step(peer) {
                return;
            }
        }
    }
    panic!("neither side closes");
}

enum Frame {
    Goaway,
    Drained(Counts),
}

#[derive(Default)]
struct Side {
    drain: Drain,
    said_goaway: bool,
    counts: Counts,
    /// Number of streams that are open on this side, opened by either side.
    live: usize,
    /// Number of streams that the peer has opened, and that this side has not seen.
    unseen: u64,
    inbox: VecDeque<Frame>,
}

impl Side {
    fn on(&mut self, event: u8, peer: &mut Self) {
        match event % 5 {
            0 => self.goaway(peer),
            1 if !self.said_goaway => {
                self.counts.opened += 1;
                self.live += 1;
                peer.unseen += 1;
            }
            2 if self.unseen > 0 => {
                self.unseen -= 1;
                self.counts.accepted += 1;
                self.live += 1;
            }
            3 => self.live = self.live.saturating_sub(1),
            4 => self.deliver(peer),
            _ => {}
        }
    }

    fn goaway(&mut self, peer: &mut Self) {
        let first = self.drain.goaway();
        assert_eq!(first, !self.said_goaway, "it is said once");
        self.said_goaway = true;
        if first {
            peer.inbox.push_back(Frame::Goaway);
        }
    }

    fn deliver(&mut self, peer: &mut Self) {
        match self.inbox.pop_front() {
            Some(Frame::Goaway) => {
                self.drain.on_goaway();
                self.goaway(peer);
            }
            Some(Frame::Drained(counts)) => self.drain.on_drained(counts),
            None => {}
        }
    }

    /// Performs one step. Returns whether this side closes the connection.
    fn step(&mut self, peer: &mut Self) -> bool {
        let step = self.drain.step(self.live, self.counts);
        if let Some(counts) = step.tell {
            peer.inbox.push_back(Frame::Drained(counts));
        }
        step.close
    }
}
