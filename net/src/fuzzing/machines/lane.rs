//! Both directions of a data lane (`stream/state.rs`).

use super::MAX_EVENTS;
use crate::{
    stream::state::{Recv, RecvAction, RecvEvent, Send, SendAction, SendEvent},
    wire::codes::lane,
};

const SEND_EVENTS: [SendEvent; 7] = [
    SendEvent::Finish,
    SendEvent::Fail,
    SendEvent::Abort,
    SendEvent::Drop,
    SendEvent::PeerStopped,
    SendEvent::PeerFailed,
    SendEvent::Lost,
];
const RECV_EVENTS: [RecvEvent; 8] = [
    RecvEvent::Fin,
    RecvEvent::PeerFailed,
    RecvEvent::PeerAborted,
    RecvEvent::PeerReset,
    RecvEvent::OffsetReached,
    RecvEvent::LocalFailed,
    RecvEvent::Drop,
    RecvEvent::Lost,
];

/// One byte an event: the top bit chooses the direction.
pub(super) fn run(events: &[u8]) {
    let (mut sending, mut receiving) = (Sending::new(), Receiving::new());
    for byte in events.iter().take(MAX_EVENTS) {
        let event = usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            sending.on(SEND_EVENTS[event % SEND_EVENTS.len()]);
        } else {
            receiving.on(RECV_EVENTS[event % RECV_EVENTS.len()]);
        }
    }
}

struct Sending {
    state: Send,
    fins: u32,
    lingers: u32,
    failed: bool,
    aborted: bool,
    dropped: bool,
}

impl Sending {
    fn new() -> Self {
        Self { state: Send::Open, fins: 0, lingers: 0, failed: false, aborted: false, dropped: false }
    }

    fn on(&mut self, event: SendEvent) {
        // A handle goes once.
        if self.dropped && event == SendEvent::Drop {
            return;
        }
        self.aborted |= event == SendEvent::Abort;
        let (next, action) = self.state.on(event);
        match action {
            SendAction::Finish => {
                assert_eq!((self.state, event), (Send::Open, SendEvent::Finish), "only a call finishes a lane");
                assert!(!self.failed && !self.dropped, "what failed or was dropped never looks complete");
                self.fins += 1;
            }
            SendAction::Reset(lane::ABORTED) => assert!(self.aborted && next == Send::Reset, "{event:?}"),
            SendAction::Reset(lane::CANCELLED) => assert_eq!((self.state, event), (Send::Open, SendEvent::Drop)),
            SendAction::Reset(code) => assert_eq!(code, lane::DONE),
            SendAction::Linger => {
                assert!(self.failed && event == SendEvent::Drop);
                self.lingers += 1;
            }
            SendAction::Refuse => {
                assert!(matches!(event, SendEvent::Finish | SendEvent::Fail | SendEvent::Abort), "{event:?}");
                assert_eq!(next, self.state, "what is refused changes nothing");
            }
            SendAction::Nothing => {}
        }
        if next == Send::Finished && self.state != Send::Finished {
            assert_eq!(action, SendAction::Finish);
        }
        if matches!(self.state, Send::Reset | Send::Ended) {
            assert_eq!(next, self.state, "what is over stays over");
        }
        self.failed |= next == Send::Failing;
        self.dropped |= event == SendEvent::Drop;
        if self.dropped {
            assert!(!matches!(next, Send::Open | Send::Failing), "a lane whose handle is gone is never left open");
        }
        assert!(self.fins <= 1 && self.lingers <= 1);
        self.state = next;
    }
}

struct Receiving {
    state: Recv,
    stops: u32,
    failed: bool,
    dropped: bool,
}

impl Receiving {
    fn new() -> Self {
        Self { state: Recv::Open, stops: 0, failed: false, dropped: false }
    }

    fn on(&mut self, event: RecvEvent) {
        let (next, action) = self.state.on(event);
        if let RecvAction::Stop(code) = action {
            assert!(matches!(code, lane::DONE | lane::FAILED | lane::CANCELLED), "{code}");
            assert!(!matches!(next, Recv::Open | Recv::Draining), "nothing is read from a lane that was stopped");
            self.stops += 1;
        }
        if next == Recv::Finished && self.state != Recv::Finished {
            assert_eq!((self.state, event), (Recv::Open, RecvEvent::Fin));
            assert!(!self.failed && !self.dropped, "after a failure no end of data is reported");
        }
        if matches!(self.state, Recv::Finished | Recv::Failed | Recv::Stopped) {
            assert_eq!(next, self.state, "what is over stays over");
        }
        self.failed |= matches!(next, Recv::Draining | Recv::Failed);
        self.dropped |= event == RecvEvent::Drop;
        if self.dropped {
            assert!(!matches!(next, Recv::Open | Recv::Draining), "a lane whose handle is gone is never left open");
        }
        assert!(self.stops <= 1, "STOP_SENDING is said once");
        self.state = next;
    }
}
