//! A writer's account of the data that its peer holds (`stream/credit/chunks.rs`), with a peer that keeps every chunk
//! separate.

use std::collections::VecDeque;

use super::{Events, MAX_EVENTS};
use crate::stream::credit::chunks::{FULL_CHUNK, Ledger, MAX_MARKS, MAX_SMALL_CHUNKS, Traffic};

/// Maximum number of chunks that the peer may hold at a time. The connection dies at 2,049.
const DEADLY: usize = 2_000;
/// Numbers of bytes that the lane may have unread. They decide how early the peer is asked, and change as lanes come
/// and go.
const SHARES: [u64; 3] = [6_000_000, 100_000, 800_000];

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Peer {
    /// Reports what it has consumed, sooner or later.
    Honest,
    /// Reports any offset, at any time.
    Lying,
}

pub(super) fn run(events: Events<'_>, peer: Peer) {
    let mut lane = Lane::default();
    for (what, size) in events.take(MAX_EVENTS) {
        match what % 8 {
            0 => lane.write_many(1, 1 + u64::from(size)),
            1 => lane.write_many(1, (1 + u64::from(size)) * 800),
            // Many writes of the smallest size: these fill the peer.
            2 => lane.write_many(size, 1),
            3 => lane.others_write(u64::from(size)),
            4 => lane.read(usize::from(size)),
            5 => lane.read(usize::MAX),
            6 => lane.hear(usize::from(size)),
            _ if peer == Peer::Lying => lane.lie(size),
            _ => lane.hear(usize::MAX),
        }
        lane.check(peer);
    }
    if peer == Peer::Honest {
        lane.is_freed_by_a_reader_that_reads_everything();
    }
}

#[derive(Default)]
struct Lane {
    ledger: Ledger,
    traffic: Traffic,
    written: u64,
    /// The end offset of each chunk that the peer holds unread, and whether the chunk fills its packet.
    held: VecDeque<(u64, bool)>,
    /// Number of those chunks that do not fill their packet.
    small: u64,
    consumed: u64,
    /// Watermarks that the peer has not reached.
    marks: VecDeque<u64>,
    /// Reports of the peer that have not arrived here.
    reports: VecDeque<u64>,
}

impl Lane {
    /// Writes up to `len` bytes. No writes are joined: every write is sent as full chunks and a rest. Returns false
    /// if there was no room.
    fn write(&mut self, len: u64) -> bool {
        let room = self.ledger.room(self.traffic.writes, || self.traffic.frames);
        let len = len.min(room);
        if len == 0 {
            let mark = self.ledger.waits(self.traffic.writes, self.traffic.frames);
            self.ask(mark);
            return false;
        }
        let end = self.written + len;
        while self.written < end {
            let full = end - self.written >= FULL_CHUNK;
            self.written = end.min(self.written + FULL_CHUNK);
            self.held.push_back((self.written, full));
            self.small += u64::from(!full);
            self.traffic.frames += 1;
        }
        self.traffic.writes += 1;
        let share = SHARES[self.traffic.writes as usize % SHARES.len()];
        let mark = self.ledger.wrote(len, share, self.traffic.writes, || self.traffic.frames);
        self.ask(mark);
        true
    }

    /// Makes `writes` writes of `len` bytes each, or as many as there is room for.
    fn write_many(&mut self, writes: u8, len: u64) {
        for _ in 0..writes {
            if !self.write(len) {
                return;
            }
        }
    }

    fn others_write(&mut self, writes: u64) {
        self.traffic.writes += writes;
        self.traffic.frames += 2 * writes;
    }

    fn ask(&mut self, mark: Option<u64>) {
        if let Some(mark) = mark {
            assert!(mark <= self.written && self.marks.back().is_none_or(|last| *last < mark), "marks ascend");
            self.marks.push_back(mark);
            self.answer();
        }
    }

    fn read(&mut self, chunks: usize) {
        for (end, full) in self.held.drain(..chunks.min(self.held.len())) {
            self.consumed = end;
            self.small -= u64::from(!full);
        }
        self.answer();
    }

    fn answer(&mut self) {
        let reached = self.marks.iter().take_while(|mark| **mark <= self.consumed).count();
        if reached > 0 {
            self.marks.drain(..reached);
            self.reports.push_back(self.consumed);
        }
    }

    fn hear(&mut self, reports: usize) {
        for consumed in self.reports.drain(..reports.min(self.reports.len())) {
            self.ledger.consumed(consumed);
        }
    }

    /// Reports an offset that is too large, too small, or impossible.
    fn lie(&mut self, size: u8) {
        let size = u64::from(size);
        let offset = match size % 4 {
            0 => self.written + size,
            1 => self.written.saturating_sub(size * 100),
            2 => u64::MAX - size,
            _ => size,
        };
        self.ledger.consumed(offset);
    }

    fn check(&self, peer: Peer) {
        assert_eq!(self.ledger.written(), self.written);
        assert!(self.ledger.unconsumed() <= self.written);
        if peer == Peer::Honest {
            assert!(self.held.len() <= DEADLY, "the peer holds {} chunks", self.held.len());
            assert!(self.small <= MAX_SMALL_CHUNKS, "{} of them are small", self.small);
            assert!(self.ledger.unconsumed() >= self.written - self.consumed, "what is unread counts");
            assert!(self.marks.len() + self.reports.len() <= MAX_MARKS + 1, "{} marks", self.marks.len());
        }
    }

    /// Needs one round for the marks that are on their way, and one for the mark of the waiting writer. Writes on
    /// other lanes in the meantime can make the writer ask once more.
    fn is_freed_by_a_reader_that_reads_everything(&mut self) {
        for _ in 0..3 {
            if self.write(1) {
                return;
            }
            self.read(usize::MAX);
            self.hear(usize::MAX);
        }
        panic!("the writer waits for ever: {:?}", self.ledger);
    }
}
