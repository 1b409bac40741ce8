//! Decides which hook is called next for one peer, so that calls come in pairs. Pure.

/// The state that a peer's hooks have been told, and the actual state.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Pairing {
    connected: bool,
    told: bool,
    running: bool,
}

/// A call that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// `on_connect`.
    Connect,
    /// `on_disconnect`.
    Disconnect,
}

impl Pairing {
    /// Records the peer's state. Returns true if the caller has to start making calls, one after the other, until
    /// [`Pairing::next`] returns `None`.
    pub(crate) fn set(&mut self, connected: bool) -> bool {
        self.connected = connected;
        let start = !self.running && self.told != connected;
        self.running |= start;
        start
    }

    /// Returns whether no call is under way or due.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.running
    }

    /// Returns the next call to make. `None` ends the calls, until [`Pairing::set`] starts them again.
    pub(crate) fn next(&mut self) -> Option<Call> {
        if self.told == self.connected {
            self.running = false;
            return None;
        }
        self.told = self.connected;
        Some(if self.told { Call::Connect } else { Call::Disconnect })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn calls_come_in_pairs_and_the_last_one_tells_the_truth(steps in prop::collection::vec(any::<(bool, bool)>(), 0..100)) {
            let (mut pairing, mut running, mut calls, mut connected) = (Pairing::default(), false, Vec::new(), false);
            for (changes, returns) in steps {
                if changes {
                    connected = !connected;
                    let start = pairing.set(connected);
                    prop_assert!(!(start && running), "two callers at the same time");
                    if start {
                        running = true;
                        calls.extend(pairing.next());
                    }
                }
                // The call that is under way returns.
                if returns && running {
                    match pairing.next() {
                        Some(call) => calls.push(call),
                        None => running = false,
                    }
                }
            }
            while running {
                match pairing.next() {
                    Some(call) => calls.push(call),
                    None => running = false,
                }
            }
            for (n, call) in calls.iter().enumerate() {
                prop_assert_eq!(*call, if n % 2 == 0 { Call::Connect } else { Call::Disconnect });
            }
            prop_assert_eq!(calls.len() % 2 == 1, connected);
        }
    }
}
