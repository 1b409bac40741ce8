//! Decides what to do about a silent connection. Pure, with time as input.
//!
//! A peer that was switched off and is back, perhaps in another network, knows nothing of its old connections and
//! cannot say so: for a stateless reset (RFC 9000, section 10.3) it would need a key from before, and iroh makes a
//! new one at each start. Data that is sent on such a connection goes nowhere until the idle timeout. Two rules find
//! out sooner:
//!
//! 1. A frame was sent that a living peer acknowledges, and nothing has come for [`answer_within`]: the peer is
//!    asked which instance of it is there. Another instance ends the old connection. No answer changes nothing: the
//!    peer may be frozen, or its network may be gone for a while.
//! 2. The peer has answered, and not as another instance, and still nothing has come on the connection for the
//!    patience: the packets of this connection get lost, and those of another connection do not. The peer is dialled
//!    anew, and the old connection drains, whichever side dialled it: the new dial says that it knew the old one.

use std::time::{Duration, Instant};

/// Time for an acknowledgement beyond the round trips, with two packets lost. To a near peer, three probe timeouts
/// (RFC 9002, section 6.2), the first of some 30 ms, are 210 ms. The rest is for a peer whose processor is busy. A
/// question that comes too early costs a handshake, and nothing else.
const ANSWER: Duration = Duration::from_millis(350);
/// Maximum number of questions in one silence. They come after [`answer_within`], after twice, four and eight times
/// that, and so on: some six of them until the default idle timeout.
const ASKED_AT_MOST: u32 = 8;

/// Returns the time that an answer may take at this round-trip time before the peer is asked which instance it is.
fn answer_within(rtt: Duration) -> Duration {
    ANSWER + 3 * rtt
}

/// The time since which a sent frame that has to be acknowledged has had no answer. A peer that has nothing to send
/// is not silent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unanswered {
    /// The packets that had come and the frames that had been sent at the last look.
    last: Option<(u64, u64)>,
    since: Option<Instant>,
    unsure: bool,
}

impl Unanswered {
    /// Records a look: `heard` packets have come and `sent` frames were sent so far. Each look is compared with the
    /// previous one, so the first one finds nothing. Returns the time since which there is no answer.
    pub(crate) fn look(&mut self, heard: u64, sent: u64, now: Instant) -> Option<Instant> {
        let (heard_before, sent_before) = self.last.replace((heard, sent)).unwrap_or((heard, sent));
        self.unsure = heard != heard_before && sent != sent_before;
        if heard != heard_before {
            self.since = None;
        } else if sent != sent_before {
            self.since.get_or_insert(now);
        }
        self.since
    }

    /// Returns whether packets came and frames were sent between the last two looks. Their order is not known, so
    /// these frames may be unanswered.
    pub(crate) fn is_unsure(&self) -> bool {
        self.unsure
    }
}

/// The figures of a connection at a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::peer) struct Observation {
    /// The number of packets that have come so far.
    pub(in crate::peer) heard: u64,
    /// The number of frames sent so far that have to be acknowledged.
    pub(in crate::peer) sent: u64,
    /// The number of writes to its streams, and of ends of their data, so far.
    pub(in crate::peer) uses: u64,
    /// Whether a stream that this side opened is open.
    pub(in crate::peer) opened: bool,
    /// Whether the program keeps the peer connected.
    pub(in crate::peer) kept: bool,
    /// Whether the peer has answered elsewhere since the last look, and not as another instance.
    pub(in crate::peer) is_there: bool,
    /// The round-trip time.
    pub(in crate::peer) rtt: Duration,
}

/// What to find out about the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// Which instance of the peer is there.
    Ask,
    /// Whether the peer takes another connection.
    Dial,
}

/// The silence on one connection.
#[derive(Debug)]
pub(super) struct SilenceDetector {
    patience: Duration,
    /// A random number between 0 and 1. Peers that have lost the same peer at the same moment do not ask it at the
    /// same moment.
    drawn: f64,
    unanswered: Unanswered,
    /// The number of times that the peer was asked during this silence.
    asked: u32,
    /// The time since which nothing has come although the peer answers elsewhere.
    there: Option<Instant>,
    uses: u64,
    /// The time until which written data may be unanswered.
    in_use: Option<Instant>,
    waits: bool,
}

impl SilenceDetector {
    /// The time between two looks at a connection in use. Sent data is known to be unanswered a look later at most.
    pub(super) const IN_USE: Duration = Duration::from_millis(200);

    /// Creates the state of a connection. `patience` covers at least one packet that keeps the connection alive.
    pub(super) fn new(patience: Duration, drawn: f64) -> Self {
        let unanswered = Unanswered::default();
        Self { patience, drawn, unanswered, asked: 0, there: None, uses: 0, in_use: None, waits: false }
    }

    /// Looks at the connection. Returns what to find out about the peer, if anything.
    pub(super) fn look(&mut self, seen: Observation, now: Instant) -> Option<Suspicion> {
        let since = self.unanswered.look(seen.heard, seen.sent, now);
        if since.is_none() {
            (self.asked, self.there) = (0, None);
        }
        // Lost data is sent again after a probe timeout at the latest, which is longer than a round trip.
        if std::mem::replace(&mut self.uses, seen.uses) != seen.uses {
            self.in_use = Some(now + 2 * Self::IN_USE + 3 * seen.rtt);
        } else if self.in_use.is_some_and(|until| now >= until) {
            self.in_use = None;
        }
        self.waits = seen.opened || seen.kept;
        let since = since?;
        if seen.is_there {
            self.there.get_or_insert(now);
        }
        if self.waits && self.there.is_some_and(|there| now.duration_since(there) >= self.patience) {
            // The peer is dialled once in each patience.
            self.there = Some(now);
            return Some(Suspicion::Dial);
        }
        let late = answer_within(seen.rtt).mul_f64(1.0 + self.drawn / 2.0) * 2u32.pow(self.asked);
        if self.asked < ASKED_AT_MOST && now.duration_since(since) >= late {
            self.asked += 1;
            return Some(Suspicion::Ask);
        }
        None
    }

    /// Returns the time until the next look. `None`: no look before data is written.
    pub(super) fn next(&self) -> Option<Duration> {
        let asks = self.unanswered.since.is_some() && self.asked < ASKED_AT_MOST;
        if asks || self.in_use.is_some() {
            return Some(Self::IN_USE);
        }
        // With a quarter of the patience, a silence is noticed at most that much late.
        (self.waits || self.there.is_some()).then(|| self.patience / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const RTT: Duration = Duration::from_millis(50);
    const NONE: [u32; 0] = [];

    /// A connection with an open stream and these figures.
    fn observe(heard: u64, sent: u64) -> Observation {
        Observation { heard, sent, uses: 0, opened: true, kept: false, is_there: false, rtt: RTT }
    }

    /// Returns the looks with a result, and the results. There is one look in each `every`.
    fn said(every: Duration, looks: impl IntoIterator<Item = Observation>) -> Vec<(u32, Suspicion)> {
        let (start, mut silence) = (Instant::now(), SilenceDetector::new(4 * SECOND, 0.0));
        let said = (0..).zip(looks).filter_map(|(n, seen)| Some((n, silence.look(seen, start + n * every)?)));
        said.collect()
    }

    /// A connection on which sent frames have no answer, while the peer answers elsewhere at the look `answers`.
    fn lost(n: u64, answers: u64) -> Observation {
        Observation { is_there: n == answers, ..observe(7, n) }
    }

    fn dials(said: Vec<(u32, Suspicion)>) -> Vec<u32> {
        said.into_iter().filter(|(_, doubt)| *doubt == Suspicion::Dial).map(|(n, _)| n).collect()
    }

    #[test]
    fn a_peer_that_answers_elsewhere_and_not_here_is_dialled_after_the_patience_and_once_in_each() {
        assert_eq!(dials(said(SECOND, (0..20).map(|n| lost(n, 3)))), [7, 11, 15, 19]);
        let kept = said(SECOND, (0..20).map(|n| Observation { opened: false, kept: true, ..lost(n, 3) }));
        assert_eq!(dials(kept), [7, 11, 15, 19]);
        // No stream is open on it, and the peer is not kept.
        assert_eq!(dials(said(SECOND, (0..20).map(|n| Observation { opened: false, ..lost(n, 3) }))), NONE);
    }

    #[test]
    fn what_is_sent_in_the_time_in_which_something_comes_may_be_unanswered() {
        let (mut unanswered, now) = (Unanswered::default(), Instant::now());
        let mut looks = [(12, 23), (13, 24), (13, 24), (13, 25), (14, 25)].into_iter().map(|(heard, sent)| {
            let since = unanswered.look(heard, sent, now);
            (since.is_some(), unanswered.is_unsure())
        });
        let seen: Vec<_> = looks.by_ref().collect();
        assert_eq!(seen, [(false, false), (false, true), (false, false), (true, false), (false, false)]);
    }

    #[test]
    fn a_peer_that_answers_nowhere_is_not_dialled_anew() {
        assert_eq!(dials(said(SECOND, (0..60).map(|n| lost(n, u64::MAX)))), NONE);
    }

    #[test]
    fn a_single_packet_of_it_shows_that_the_connection_is_alive() {
        assert_eq!(
            dials(said(SECOND, (0..20).map(|n| Observation { heard: 7 + u64::from(n > 6), ..lost(n, 3) }))),
            NONE
        );
    }

    #[test]
    fn what_is_not_acknowledged_within_half_a_second_has_the_peer_asked_ever_more_rarely() {
        // Data is written once, and sent again and again.
        let looks = (0..200).map(|n| Observation { opened: false, ..observe(7, 3 + n) });
        let asked =
            said(SilenceDetector::IN_USE, std::iter::once(Observation { opened: false, ..observe(7, 2) }).chain(looks));
        let after: Vec<_> = asked.iter().map(|(n, doubt)| ((n - 1) * 200, *doubt)).collect();
        // 350 ms and three round trips of 50 ms, with a look every 200 ms.
        assert_eq!(after, [600, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000].map(|ms| (ms, Suspicion::Ask)));
    }

    #[test]
    fn what_is_acknowledged_in_time_has_nobody_asked_however_busy_the_connection_is() {
        assert!(said(SilenceDetector::IN_USE, (0..1_000).map(|n| observe(n / 2, n))).is_empty());
    }

    #[test]
    fn the_end_of_what_was_said_is_no_silence() {
        // The last answer came between two looks, together with the frame that it answers.
        let looks = (0..15).map(|n| observe(u64::from(n > 0), u64::from(n > 0)));
        assert!(said(SilenceDetector::IN_USE, looks).is_empty());
    }

    #[test]
    fn a_far_peer_has_the_time_that_its_round_trips_take() {
        let far = |n: u64| Observation { rtt: SECOND, ..observe(7, n) };
        let first = said(SilenceDetector::IN_USE, (0..100).map(far)).first().copied();
        assert_eq!(first.map(|(n, doubt)| ((n - 1) * 200, doubt)), Some((3_400, Suspicion::Ask)));
    }

    #[test]
    fn peers_that_have_lost_another_one_at_the_same_moment_do_not_ask_at_the_same_moment() {
        let (start, mut silence) = (Instant::now(), SilenceDetector::new(4 * SECOND, 1.0));
        let mut look = |n: u32| silence.look(observe(7, n.into()), start + n * SilenceDetector::IN_USE);
        let first = (0..100).find(|n| look(*n).is_some());
        // 500 ms and half of that, with a look every 200 ms.
        assert_eq!(first.map(|n| (n - 1) * 200), Some(800));
    }

    #[test]
    fn a_connection_is_looked_at_often_while_it_is_in_use_rarely_with_open_streams_and_else_not_at_all() {
        let (start, mut silence) = (Instant::now(), SilenceDetector::new(4 * SECOND, 0.0));
        let mut looked = |ms: u64, seen: Observation| {
            silence.look(seen, start + Duration::from_millis(ms));
            silence.next()
        };
        let written = Observation { opened: false, uses: 1, ..observe(1, 1) };
        assert_eq!(looked(0, written), Some(SilenceDetector::IN_USE));
        let answered = Observation { heard: 2, sent: 2, ..written };
        // The answer may be to other data, until the written data would have been sent again.
        assert_eq!(looked(200, answered), Some(SilenceDetector::IN_USE));
        assert_eq!(looked(600, answered), None);
        assert_eq!(looked(800, Observation { kept: true, ..answered }), Some(SECOND));
        assert_eq!(looked(1_000, Observation { opened: true, ..answered }), Some(SECOND));
        // A packet that keeps the connection alive is still to be acknowledged.
        assert_eq!(looked(2_000, Observation { sent: 3, ..answered }), Some(SilenceDetector::IN_USE));
        assert_eq!(looked(2_200, Observation { sent: 3, heard: 3, ..answered }), None);
    }

    #[test]
    fn a_peer_that_was_asked_as_often_as_it_may_is_looked_at_rarely() {
        let (start, mut silence) = (Instant::now(), SilenceDetector::new(4 * SECOND, 0.0));
        let asked = (0..1_000).filter(|n| {
            silence.look(observe(7, (*n).into()), start + *n * SilenceDetector::IN_USE) == Some(Suspicion::Ask)
        });
        assert_eq!(asked.count(), ASKED_AT_MOST as usize);
        assert_eq!(silence.next(), Some(SECOND));
    }
}
