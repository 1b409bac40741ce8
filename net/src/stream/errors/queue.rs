//! The records of one side of a stream that are not sent yet. Pure: bytes in, bytes out.
//!
//! ```text
//!             push (first)             take: none left
//!   Closed ----------------> Sending -----------------> Idle      Idle + push -> Sending
//!      | adopt                  | the fatal record was taken, or sending failed
//!      +-----> Idle             +----------------------------------------------> Done
//! ```

use std::collections::VecDeque;

use crate::wire::record::{Record, Severity};

/// Maximum number of bytes of warnings that wait to be sent on one stream: the largest record, and small ones beside
/// it. A caller that sends warnings waits for room.
const MAX_WAITING: usize = 128 * 1024;

/// A queued record, and the number that identifies it when its outcome is reported.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) number: u64,
    pub(super) fatal: bool,
    pub(super) bytes: Vec<u8>,
}

/// The reason why a record was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The waiting warnings take all the room.
    Full,
    /// A fatal record was queued, which is the last one, or nothing can be sent any more.
    Over,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Queued>,
    bytes: usize,
    next: u64,
    /// A record is being written, and noq takes no more of it.
    pub(super) blocked: bool,
    over: bool,
}

impl Queue {
    /// Queues a record, with the parameters `tail` at its end. Returns its number, and the numbers of the records
    /// that it replaces.
    ///
    /// A fatal record is the last one. It is sent behind the waiting warnings. If these cannot be sent either, it
    /// replaces them.
    pub(super) fn push(&mut self, record: &Record, tail: &[u8]) -> Result<(u64, Vec<u64>), Refused> {
        if self.over {
            return Err(Refused::Over);
        }
        let mut bytes = Vec::new();
        record.encode(&mut bytes, tail);
        let fatal = record.severity != Severity::Warning;
        let mut replaced = Vec::new();
        if fatal {
            self.over = true;
            if self.blocked {
                replaced.extend(self.waiting.drain(..).map(|queued| queued.number));
                self.bytes = 0;
            }
        } else if self.bytes > 0 && self.bytes + bytes.len() > MAX_WAITING {
            return Err(Refused::Full);
        }
        self.next += 1;
        self.bytes += bytes.len();
        self.waiting.push_back(Queued { number: self.next, fatal, bytes });
        Ok((self.next, replaced))
    }

    /// Removes and returns the record that is sent next. It is sent to its end, whatever is pushed meanwhile: a half
    /// of a record makes the lane malformed.
    pub(super) fn take(&mut self) -> Option<Queued> {
        self.blocked = false;
        let queued = self.waiting.pop_front()?;
        self.bytes -= queued.bytes.len();
        Some(queued)
    }

    /// Removes a warning for which no caller waits any more, unless it is being written.
    pub(super) fn withdraw(&mut self, number: u64) {
        if let Some(at) = self.waiting.iter().position(|queued| queued.number == number && !queued.fatal)
            && let Some(queued) = self.waiting.remove(at)
        {
            self.bytes -= queued.bytes.len();
        }
    }

    /// Closes the queue, because nothing can be sent any more. Returns the numbers of the records that are not sent.
    pub(super) fn close(&mut self) -> Vec<u64> {
        self.over = true;
        self.bytes = 0;
        self.waiting.drain(..).map(|queued| queued.number).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(severity: Severity, details: usize) -> Record {
        Record { severity, code: 1, offset: 0, text: String::new(), details: Bytes::from(vec![0; details]) }
    }

    #[test]
    fn warnings_that_wait_are_bounded_in_bytes_and_one_always_fits() {
        let mut queue = Queue::default();
        let mut count = 0;
        let refused = loop {
            match queue.push(&record(Severity::Warning, 60 << 10), &[]) {
                Ok(_) => count += 1,
                Err(refused) => break refused,
            }
        };
        assert_eq!((count, refused), (2, Refused::Full));
        assert!(queue.take().is_some());
        assert!(queue.push(&record(Severity::Warning, 60 << 10), &[]).is_ok());
    }

    #[test]
    fn a_fatal_record_goes_out_behind_what_flows_and_in_place_of_what_does_not() {
        for blocked in [false, true] {
            let mut queue = Queue::default();
            let on_its_way = queue.push(&record(Severity::Warning, 10), &[]).expect("room").0;
            assert_eq!(queue.take().map(|queued| queued.number), Some(on_its_way));
            let waiting = queue.push(&record(Severity::Warning, 10), &[]).expect("room").0;
            queue.blocked = blocked;
            let (fatal, replaced) =
                queue.push(&record(Severity::Fatal, 10), &[]).expect("a fatal record always finds room");
            assert_eq!(replaced, if blocked { vec![waiting] } else { vec![] });
            let mut order = Vec::new();
            while let Some(queued) = queue.take() {
                order.push(queued.number);
            }
            assert_eq!(order, if blocked { vec![fatal] } else { vec![waiting, fatal] });
        }
    }

    #[test]
    fn nothing_follows_a_fatal_record() {
        let mut queue = Queue::default();
        queue.push(&record(Severity::Abort, 0), &[]).expect("room");
        assert_eq!(queue.push(&record(Severity::Warning, 0), &[]), Err(Refused::Over));
        assert_eq!(queue.push(&record(Severity::Fatal, 0), &[]), Err(Refused::Over));
    }

    #[test]
    fn a_fatal_record_is_never_withdrawn() {
        let mut queue = Queue::default();
        let warning = queue.push(&record(Severity::Warning, 0), &[]).expect("room").0;
        let fatal = queue.push(&record(Severity::Fatal, 0), &[]).expect("room").0;
        queue.withdraw(warning);
        queue.withdraw(fatal);
        assert_eq!(queue.take().map(|queued| queued.number), Some(fatal));
        assert_eq!(queue.bytes, 0);
    }
}
