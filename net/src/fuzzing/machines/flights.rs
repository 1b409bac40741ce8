//! The record of early flights (`peer/flights.rs`): no flight is acted on twice while TLS may take a copy of it for
//! early, and whatever comes for the first time is acted on while there is room.

use std::{
    collections::HashMap,
    sync::LazyLock,
    time::{Duration, Instant},
};

use twolane_id::{PublicKey, SecretKey};

use super::{Events, MAX_EVENTS};
use crate::peer::flights::{Flights, MOST_OF_PEER, REMEMBERED, Verdict};

/// Generated once, because a key takes longer than the rest of a run.
static KEYS: LazyLock<[PublicKey; 3]> =
    LazyLock::new(|| [1, 2, 3].map(|seed| SecretKey::from_bytes(&[seed; 32]).public_key()));

/// The first byte of an event selects the peer and its instance, and the second is the dial. If the top bit of the
/// first byte is set, the second is a number of seconds that pass.
pub(super) fn run(events: Events<'_>) {
    let mut now = Instant::now();
    let mut flights = Flights::new(now);
    let mut acted_on = HashMap::new();
    for (what, which) in events.take(MAX_EVENTS) {
        if what & 0x80 != 0 {
            now += Duration::from_secs(which.into());
            continue;
        }
        let (peer, nonce, dial) = (usize::from(what % 3), what >> 4 & 1, u64::from(which));
        let before: Option<Instant> = acted_on.get(&(peer, nonce, dial)).copied();
        let is_copy = before.is_some_and(|before| now - before < REMEMBERED);
        match flights.take(KEYS[peer], [nonce; 16], dial, now) {
            Verdict::First => {
                assert!(dial > 0 && !is_copy, "a copy is acted on");
                acted_on.insert((peer, nonce, dial), now);
            }
            Verdict::Again => assert!(before.is_some(), "what comes for the first time is called a copy"),
            Verdict::Unknown => {
                assert!(!is_copy, "a copy is not known");
                let of_peer = acted_on.iter().filter(|((of, ..), at)| *of == peer && now - **at < REMEMBERED).count();
                assert!(dial == 0 || of_peer >= MOST_OF_PEER, "there was room for it");
            }
        }
    }
}
