//! Decides when a connection may be closed without cutting a stream: both sides have said GOAWAY, neither has a live
//! stream, and each has seen every stream that the other opened. Pure.

/// The number of bidirectional streams on one connection so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) opened: u64,
    pub(crate) accepted: u64,
}

/// One side's view of the end of a connection.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    goaway_sent: bool,
    goaway_received: bool,
    told: Option<Counts>,
    heard: Option<Counts>,
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Step {
    /// Send DRAINED with these counts.
    pub(crate) tell: Option<Counts>,
    /// Close the connection: no stream is lost by it.
    pub(crate) close: bool,
}

impl Drain {
    /// Records that this side wants the connection to end. Returns false if it has said so already.
    pub(crate) fn goaway(&mut self) -> bool {
        !std::mem::replace(&mut self.goaway_sent, true)
    }

    pub(crate) fn on_goaway(&mut self) {
        self.goaway_received = true;
    }

    pub(crate) fn on_drained(&mut self, counts: Counts) {
        self.heard = Some(counts);
    }

    /// Returns the next step. To be called whenever one of the arguments may have changed.
    pub(crate) fn step(&mut self, live: usize, counts: Counts) -> Step {
        if !self.goaway_sent || !self.goaway_received || live > 0 {
            return Step::default();
        }
        let tell = (self.told != Some(counts)).then_some(counts);
        self.told = Some(counts);
        // The peer's last counts are valid only if no stream was under way when it sent them.
        let close = self.heard == Some(Counts { opened: counts.accepted, accepted: counts.opened });
        Step { tell, close }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_idle_sides_close_after_one_exchange() {
        let (mut a, mut b) = (Drain::default(), Drain::default());
        let none = Counts::default();
        assert!(a.goaway());
        assert_eq!(a.step(0, none), Step::default());
        b.on_goaway();
        b.goaway();
        assert_eq!(b.step(0, none), Step { tell: Some(none), close: false });
        a.on_goaway();
        assert_eq!(a.step(0, none).tell, Some(none));
        a.on_drained(none);
        assert!(a.step(0, none).close);
    }

    #[test]
    fn a_live_stream_keeps_the_connection() {
        let mut side = Drain::default();
        side.goaway();
        side.on_goaway();
        side.on_drained(Counts { opened: 0, accepted: 1 });
        assert_eq!(side.step(1, Counts { opened: 1, accepted: 0 }), Step::default());
        assert!(side.step(0, Counts { opened: 1, accepted: 0 }).close);
    }

    #[test]
    fn a_stream_under_way_keeps_the_connection() {
        // The peer has drained, but says that it has seen one stream less than this side opened.
        let mut side = Drain::default();
        side.goaway();
        side.on_goaway();
        side.on_drained(Counts { opened: 3, accepted: 4 });
        assert!(!side.step(0, Counts { opened: 5, accepted: 3 }).close);
        side.on_drained(Counts { opened: 3, accepted: 5 });
        assert!(side.step(0, Counts { opened: 5, accepted: 3 }).close);
    }

    /// Two sides. Frames arrive in order but late. Streams are seen late and end at any time.
    #[derive(Debug, Clone, Copy)]
    enum Op {
        Goaway(bool),
        Open(bool),
        See(bool),
        End(bool),
        Deliver(bool),
    }

    #[derive(Debug, Default)]
    struct Side {
        drain: Drain,
        counts: Counts,
        /// The streams that are open here, opened by either side.
        live: usize,
        /// The streams that the peer opened and this side has not seen.
        unseen: usize,
        inbox: std::collections::VecDeque<Option<Counts>>,
    }

    proptest! {
        #[test]
        fn nothing_is_ever_cut(ops in prop::collection::vec((0..5u8, any::<bool>()), 0..200)) {
            let mut sides = [Side::default(), Side::default()];
            for (op, at) in ops {
                let op = match op { 0 => Op::Goaway(at), 1 => Op::Open(at), 2 => Op::See(at), 3 => Op::End(at), _ => Op::Deliver(at) };
                let (me, other) = match op {
                    Op::Goaway(at) | Op::Open(at) | Op::See(at) | Op::End(at) | Op::Deliver(at) => (usize::from(at), usize::from(!at)),
                };
                match op {
                    Op::Goaway(_) if sides[me].drain.goaway() => sides[other].inbox.push_back(None),
                    Op::Open(_) if !sides[me].drain.goaway_sent => {
                        sides[me].counts.opened += 1;
                        sides[me].live += 1;
                        sides[other].unseen += 1;
                    }
                    Op::See(_) if sides[me].unseen > 0 => {
                        sides[me].unseen -= 1;
                        sides[me].counts.accepted += 1;
                        sides[me].live += 1;
                    }
                    Op::End(_) if sides[me].live > 0 => sides[me].live -= 1,
                    Op::Deliver(_) => match sides[me].inbox.pop_front() {
                        Some(None) => {
                            sides[me].drain.on_goaway();
                            if sides[me].drain.goaway() { sides[other].inbox.push_back(None); }
                        }
                        Some(Some(counts)) => sides[me].drain.on_drained(counts),
                        None => {}
                    },
                    _ => {}
                }
                let (live, counts) = (sides[me].live, sides[me].counts);
                let step = sides[me].drain.step(live, counts);
                if let Some(counts) = step.tell { sides[other].inbox.push_back(Some(counts)); }
                if step.close {
                    for side in &sides {
                        prop_assert_eq!((side.live, side.unseen), (0, 0));
                    }
                    return Ok(());
                }
            }
        }
    }
}
