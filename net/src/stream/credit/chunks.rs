//! The limit of the chunks that a writer may have in flight or unread. It keeps the connection of a paused reader
//! alive.
//!
//! noq 1.4 closes the whole connection once one stream holds 2,049 chunks that the application has not read, whatever
//! their size. On a lossy path, a gap makes an attentive reader look like a paused one. Flow control counts bytes, so
//! it does not prevent that. This ledger limits the number of chunks. It estimates how many the peer can hold at
//! most, asks the peer at intervals what it has consumed (WATERMARK, answered by CONSUMED), and makes the writer wait
//! when the estimate reaches the limit. It gets byte counts and other counts, and returns decisions.

use std::collections::VecDeque;

/// Number of unread chunks of one stream above which noq 1.4 closes the connection.
pub(crate) const BREAKS_OVER: u64 = 2_048;
/// Maximum number of unconsumed chunks. The connection dies at 2,049. The difference is for chunks that the estimate
/// cannot see, such as a chunk that is cut in two by an acknowledgement in the same packet.
pub(crate) const MAX_CHUNKS: u64 = 1_900;
/// Maximum number of those chunks that do not fill their packet. When small chunks share packets with other streams,
/// noq finds that it holds much more memory than data, and joins neighbouring chunks. After that it tolerates 1,024
/// chunks. Chunks that fill at least 5/6 of their packet are never joined. The worst mix has b full chunks, h small
/// chunks alone in their packets, and s small chunks in packets of other streams, which are joined between the rest
/// to s runs. It has b + h + s = 1.48 (h + s), which is 1,006.
pub(crate) const MAX_SMALL_CHUNKS: u64 = 680;
/// Number of bytes in a chunk that fills its packet: 1,200 (the smallest maximum packet size of QUIC, RFC 9000
/// section 14) less 70 for the headers of the packet and the frame, the authentication tag and an acknowledgement.
pub(crate) const FULL_CHUNK: u64 = 1_130;
/// Number of chunks before the first watermark. A stream with fewer than 256 unconsumed chunks costs nothing: no
/// frame is sent.
const FIRST_MARK: u64 = 256;
/// Number of chunks between two watermarks. This side does not know what the peer has read since the last one, and
/// that part of the window is missing. With 256 it would be an eighth of the window, on a link whose throughput the
/// window limits.
const MARK_EVERY: u64 = 128;
/// Minimum of both numbers for lanes that may have less unread. The first watermark is sent at half of what such a
/// lane may have unread, and the others at each eighth: a writer that asks only when it must wait waits for a round
/// trip, and each of hundreds of streams has tens of kB. But there is at most one watermark for each half of a
/// request of 64 KiB.
const MARK_EVERY_LEAST: u64 = 28;
/// Maximum number of unanswered watermarks. Fourteen cover [`MAX_CHUNKS`].
pub(crate) const MAX_MARKS: usize = 16;
/// Number of unconsumed bytes of a lane up to which the traffic of other streams does not count against it. They are
/// 360 full chunks, and between every two of them there may be one small chunk. That makes 721, and noq tolerates
/// 1,024 after it has merged small neighbours.
const FLOOR_BYTES: u64 = 400 * 1024;
/// Number of writes of a lane up to which the traffic of other streams does not count against it.
const FLOOR_WRITES: u64 = 128;

/// The traffic that the connection as a whole has sent so far. Both counts only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traffic {
    /// Number of writes to any stream. Each write can end a chunk of its own stream, and cut a chunk of another
    /// stream that shares its packet.
    pub(crate) writes: u64,
    /// Number of STREAM frames of all streams that were sent.
    pub(crate) frames: u64,
}

/// A point in the lane, and the traffic of the connection up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Mark {
    offset: u64,
    own_writes: u64,
    traffic: Traffic,
}

/// Maximum number of chunks of one lane that a peer may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    all: u64,
    /// Maximum number of those that do not fill their packet.
    small: u64,
    /// [`FLOOR_BYTES`] and [`FLOOR_WRITES`], for this peer.
    floor_bytes: u64,
    floor_writes: u64,
}

impl Bound {
    /// Returns the limits for a peer whose connection breaks at more than `chunks` chunks. `None`: the peer holds any
    /// number.
    pub(crate) fn of(chunks: Option<u64>) -> Self {
        match chunks {
            None => Self { all: u64::MAX, small: u64::MAX, ..Self::default() },
            Some(chunks) if chunks >= BREAKS_OVER => Self::default(),
            Some(chunks) => {
                let scaled = |most: u64| (most * chunks / BREAKS_OVER).max(1);
                Self {
                    all: scaled(MAX_CHUNKS),
                    small: scaled(MAX_SMALL_CHUNKS),
                    floor_bytes: scaled(FLOOR_BYTES),
                    floor_writes: scaled(FLOOR_WRITES),
                }
            }
        }
    }
}

impl Default for Bound {
    fn default() -> Self {
        Self { all: MAX_CHUNKS, small: MAX_SMALL_CHUNKS, floor_bytes: FLOOR_BYTES, floor_writes: FLOOR_WRITES }
    }
}

/// The account of one lane.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    bound: Bound,
    written: u64,
    own_writes: u64,
    consumed: u64,
    /// The last mark that the peer has passed.
    base: Mark,
    /// The marks about which the peer has been asked.
    asked: VecDeque<Mark>,
}

impl Ledger {
    /// Creates the account of a lane that begins when the connection has seen `writes` writes. The number of frames
    /// is not asked for: that takes a lock, and most lanes end before frames matter. Until the first mark is passed
    /// only the writes count.
    pub(crate) fn new(writes: u64, bound: Bound) -> Self {
        let traffic = Traffic { writes, frames: 0 };
        Self { bound, base: Mark { traffic, ..Mark::default() }, ..Self::default() }
    }

    /// Returns the number of bytes written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Returns the number of bytes that the peer may hold unread.
    pub(crate) fn unconsumed(&self) -> u64 {
        self.written - self.base.offset.max(self.consumed)
    }

    /// Returns how many bytes may be written now. 0 means "wait for [`Ledger::consumed`]". `writes` is the
    /// connection's count. `frames` is called only when that count alone would stop the writer.
    pub(crate) fn room(&self, writes: u64, frames: impl FnOnce() -> u64) -> u64 {
        let bytes = self.unconsumed();
        let own_writes = self.own_writes - self.base.own_writes;
        let full = bytes.div_ceil(FULL_CHUNK);
        // Every write may have become a chunk of its own, or may have cut a chunk in two.
        let by_writes = writes - self.base.traffic.writes;
        if let Some(room) = self.to_bytes(full, by_writes) {
            return room;
        }
        if bytes < self.bound.floor_bytes && own_writes < self.bound.floor_writes {
            return self.bound.floor_bytes - bytes;
        }
        // Writes that were joined in one packet are one chunk, so the number of frames that were sent is more
        // precise. Data that was not sent yet is among the full chunks.
        let by_frames = frames() - self.base.traffic.frames;
        self.to_bytes(full, by_frames).unwrap_or(0)
    }

    /// Records that `len` bytes were written, in one write, on a lane that may have `share` bytes unread, borrowed
    /// ones included. Returns the watermark to send, if one is due.
    pub(crate) fn wrote(&mut self, len: u64, share: u64, writes: u64, frames: impl FnOnce() -> u64) -> Option<u64> {
        self.written += len;
        self.own_writes += 1;
        let last = self.asked.back().unwrap_or(&self.base);
        let since = (self.written - last.offset).div_ceil(FULL_CHUNK) + (self.own_writes - last.own_writes);
        let share = share / FULL_CHUNK;
        let every = if last.offset == 0 {
            FIRST_MARK.min((share / 2).max(MARK_EVERY_LEAST))
        } else {
            MARK_EVERY.min((share / 8).max(MARK_EVERY_LEAST))
        };
        let due = since >= every && self.asked.len() < MAX_MARKS;
        let mark = due.then(|| self.ask(writes, frames()));
        self.validate();
        mark
    }

    /// Starts a new count if all written data is known to have been consumed: the peer holds none then, whatever was
    /// sent since the last mark. Returns false if it is not known.
    pub(crate) fn settle(&mut self, writes: u64, frames: impl FnOnce() -> u64) -> bool {
        let settled = self.consumed == self.written;
        if settled {
            self.ask(writes, frames());
            self.consumed(self.written);
        }
        settled
    }

    /// Records that the writer is about to wait. Returns a watermark to send if none is under way, since the writer
    /// would wait for ever.
    pub(crate) fn waits(&mut self, writes: u64, frames: u64) -> Option<u64> {
        let asked = self.asked.back().map_or(self.base.offset, |mark| mark.offset);
        (self.asked.is_empty() && self.written > asked).then(|| self.ask(writes, frames))
    }

    /// Records that the peer has consumed everything before `offset`.
    pub(crate) fn consumed(&mut self, offset: u64) {
        // A report about bytes that were never written counts only up to the bytes that were written.
        self.consumed = self.consumed.max(offset.min(self.written));
        while let Some(mark) = self.asked.front()
            && mark.offset <= self.consumed
        {
            self.base = *mark;
            self.asked.pop_front();
        }
        self.validate();
    }

    /// Returns how many bytes fit beside these chunks, if the next write adds one boundary more.
    fn to_bytes(&self, full: u64, small: u64) -> Option<u64> {
        if small >= self.bound.small {
            return None;
        }
        let left = self.bound.all.saturating_sub(full + small + 1);
        (left > 0).then_some(left.saturating_mul(FULL_CHUNK))
    }

    fn ask(&mut self, writes: u64, frames: u64) -> u64 {
        let mark = Mark { offset: self.written, own_writes: self.own_writes, traffic: Traffic { writes, frames } };
        self.asked.push_back(mark);
        mark.offset
    }

    /// Asserts the invariants that hold after each change.
    fn validate(&self) {
        debug_assert!(self.consumed <= self.written, "more was consumed than written: {self:?}");
        debug_assert!(self.base.offset <= self.consumed, "a mark was passed that is ahead of the reader: {self:?}");
        debug_assert!(self.asked.len() <= MAX_MARKS + 1, "a writer has more questions than it may: {self:?}");
        debug_assert!(
            self.asked.iter().is_sorted_by(|a, b| a.offset <= b.offset && a.traffic.writes <= b.traffic.writes),
            "marks are in order: {self:?}"
        );
        let ends = |mark: &Mark| self.consumed < mark.offset && mark.offset <= self.written;
        debug_assert!(self.asked.iter().all(ends), "a question is about data that was written and is unread: {self:?}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Number of bytes that a lane may have unread if there are few lanes. It is more than the ledger allows.
    const SHARE: u64 = 6_000_000;

    /// A connection on which no writes are joined: every write is sent as full chunks and a rest.
    #[derive(Default)]
    struct Peer {
        traffic: Traffic,
        /// The end offset of each chunk that the peer holds.
        held: VecDeque<u64>,
        marks: VecDeque<u64>,
    }

    impl Peer {
        fn write(&mut self, ledger: &mut Ledger, len: u64) -> bool {
            let room = ledger.room(self.traffic.writes, || self.traffic.frames);
            let len = len.min(room);
            if len == 0 {
                self.marks.extend(ledger.waits(self.traffic.writes, self.traffic.frames));
                return false;
            }
            let mut at = ledger.written();
            let end = at + len;
            while at < end {
                at = end.min(at + FULL_CHUNK);
                self.held.push_back(at);
                self.traffic.frames += 1;
            }
            self.traffic.writes += 1;
            self.marks.extend(ledger.wrote(len, SHARE, self.traffic.writes, || self.traffic.frames));
            true
        }

        /// Reads up to `chunks` chunks, and answers the watermarks that are reached.
        fn read(&mut self, ledger: &mut Ledger, chunks: usize) {
            for _ in 0..chunks {
                let Some(end) = self.held.pop_front() else {
                    break;
                };
                while self.marks.front().is_some_and(|mark| *mark <= end) {
                    self.marks.pop_front();
                    ledger.consumed(end);
                }
            }
        }
    }

    #[test]
    fn small_messages_to_a_paused_reader_stop_before_the_connection_would_die() {
        let (mut peer, mut ledger) = (Peer::default(), Ledger::default());
        while peer.write(&mut ledger, 100) {}
        assert_eq!(peer.held.len() as u64, MAX_SMALL_CHUNKS);
    }

    #[test]
    fn a_peer_that_holds_any_number_of_chunks_is_not_asked_to_and_one_that_holds_few_is_spared() {
        let held = |chunks| {
            let (mut peer, mut ledger) = (Peer::default(), Ledger::new(0, Bound::of(chunks)));
            while peer.held.len() < 10_000 && peer.write(&mut ledger, 100) {}
            peer.held.len() as u64
        };
        assert_eq!(held(None), 10_000);
        assert_eq!(held(Some(1 << 20)), MAX_SMALL_CHUNKS);
        assert_eq!(held(Some(300)), MAX_SMALL_CHUNKS * 300 / BREAKS_OVER);
        assert!(held(Some(0)) <= 1);
    }

    #[test]
    fn a_window_of_two_megabytes_of_bulk_is_not_slowed() {
        let (mut peer, mut ledger) = (Peer::default(), Ledger::default());
        for _ in 0..30 {
            assert!(peer.write(&mut ledger, 64 * 1024));
        }
        assert_eq!(ledger.written(), 30 * 64 * 1024);
        assert!(peer.held.len() <= 2_000);
    }

    #[test]
    fn a_new_lane_on_an_old_connection_is_not_held_to_what_others_sent_before() {
        let mut ledger = Ledger::new(1_000_000, Bound::default());
        for writes in 1..=500 {
            assert!(ledger.room(1_000_000 + writes, || panic!("the writes say enough")) > 0);
            ledger.wrote(64, SHARE, 1_000_000 + writes, || 3_000_000);
        }
    }

    #[test]
    fn a_handful_of_messages_never_costs_a_frame() {
        let (mut peer, mut ledger) = (Peer::default(), Ledger::default());
        for _ in 0..200 {
            assert!(peer.write(&mut ledger, 64));
        }
        assert!(peer.marks.is_empty());
    }

    #[test]
    fn a_writer_asks_before_it_has_to_wait_and_not_more_often_than_helps() {
        // The number of bytes that may be unread, the offset of the first watermark, and the number of watermarks
        // until a writer that gets no report waits.
        for (share, first, marks) in [(6_000_000, 327_680, 10), (800_000, 327_680, 4), (100_000, 65_536, 2)] {
            let (mut ledger, mut asked) = (Ledger::default(), Vec::new());
            while ledger.unconsumed() < share && ledger.room(0, || 0) > 0 {
                let len = ledger.room(0, || 0).min(64 * 1024).min(share - ledger.unconsumed());
                asked.extend(ledger.wrote(len, share, 0, || 0));
            }
            assert_eq!((asked[0], asked.len()), (first, marks), "{share}: {asked:?}");
        }
    }

    #[test]
    fn writes_that_travelled_joined_count_as_the_chunks_they_became() {
        let (mut ledger, mut writes) = (Ledger::default(), 0);
        // 12,000 messages of 50 bytes in 600 packets.
        for written in 1..=12_000u64 {
            if ledger.room(writes, || written / 20) == 0 {
                panic!("stopped after {written}");
            }
            writes += 1;
            ledger.wrote(50, SHARE, writes, || written / 20);
        }
    }

    #[test]
    fn other_streams_cannot_starve_a_lane() {
        let mut ledger = Ledger::default();
        let busy = || 1_000_000;
        assert!(ledger.room(1_000_000, busy) >= FLOOR_BYTES);
        ledger.wrote(FLOOR_BYTES, SHARE, 1_000_001, busy);
        assert_eq!(ledger.room(2_000_000, || 2_000_000), 0);
        ledger.consumed(FLOOR_BYTES);
        assert!(ledger.room(3_000_000, || 3_000_000) > 0);
    }

    #[test]
    fn who_is_known_to_have_read_everything_holds_nothing_and_is_not_asked() {
        let mut ledger = Ledger::default();
        for writes in 1..=200 {
            ledger.wrote(64, SHARE, writes, || writes);
        }
        assert_eq!(ledger.room(10_000, || 10_000), 0, "what others wrote beside it may have cut its data in pieces");
        ledger.consumed(199 * 64);
        assert!(!ledger.settle(10_000, || 10_000), "a message is not known to have been read");
        ledger.consumed(200 * 64);
        assert!(ledger.settle(10_000, || 10_000));
        assert!(ledger.room(10_000, || panic!("the writes say enough")) > 0);
        assert_eq!(ledger.waits(10_000, 10_000), None);
    }

    #[test]
    fn a_peer_that_reports_more_than_was_written_is_not_believed() {
        let mut ledger = Ledger::default();
        ledger.wrote(10, SHARE, 1, || 1);
        ledger.consumed(u64::MAX);
        assert_eq!(ledger.consumed, 10);
    }

    proptest! {
        #[test]
        fn no_mix_of_writes_and_reads_overfills_the_peer_or_deadlocks(
            steps in prop::collection::vec((1..200_000u64, 0..400usize), 1..400),
        ) {
            let (mut peer, mut ledger) = (Peer::default(), Ledger::default());
            for (len, chunks) in steps {
                // Sizes from single bytes to 200 kB.
                peer.write(&mut ledger, if chunks % 2 == 0 { len } else { len % 300 + 1 });
                prop_assert!(peer.held.len() <= 2_000, "{} chunks", peer.held.len());
                prop_assert!(peer.marks.len() <= MAX_MARKS + 1);
                peer.read(&mut ledger, chunks);
            }
            // A reader that reads everything always frees the writer.
            if !peer.write(&mut ledger, 1) {
                peer.read(&mut ledger, usize::MAX);
                prop_assert!(peer.write(&mut ledger, 1));
            }
        }
    }
}
