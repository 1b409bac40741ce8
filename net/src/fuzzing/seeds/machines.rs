//! Events for the state machines, as `fuzzing/machines` reads them.

use super::Named;

const LANE: u8 = 0;
const HONEST: u8 = 1;
const LYING: u8 = 2;
const ROW: u8 = 3;
const DRAIN: u8 = 4;
const FLIGHTS: u8 = 5;

/// The bit that selects the direction that is read, or the second side of a connection.
const OTHER: u8 = 0x80;

pub(super) fn machines() -> Vec<Named> {
    let seed = |machine, events: &[u8]| [&[machine], events].concat();
    // Many small writes, with a reader that reads now and then.
    let small: Vec<u8> = [2, 200, 2, 200, 4, 90, 6, 1].repeat(12);
    let dials: Vec<u8> = (1..=70).flat_map(|dial| [0, dial]).collect();
    let bulk: Vec<u8> = [1, 255, 1, 255, 4, 40, 7, 0].repeat(12);
    vec![
        (
            "lane-finished-and-dropped",
            seed(LANE, &[0, 7, OTHER | 5 << 3, OTHER | 1, OTHER | 5, OTHER | 6, OTHER | 5, OTHER | 6, OTHER | 7]),
        ),
        (
            "lane-failed-and-dropped",
            seed(LANE, &[1 | 3 << 3, 7, OTHER | 10 << 3, OTHER | 4, OTHER | 5, OTHER | 15 << 3 | 6, OTHER | 6]),
        ),
        (
            "lane-failed-and-then-its-end",
            seed(LANE, &[OTHER | 4, OTHER | 3 << 3, OTHER | 1, OTHER | 5, OTHER | 5, OTHER | 6, OTHER | 6]),
        ),
        (
            "lane-aborted-after-its-end",
            seed(
                LANE,
                &[0, 1 | 4 << 3, 7, OTHER | 9 << 3, OTHER | 1, OTHER | 5, OTHER | 5, OTHER | 4 | 2 << 3, OTHER | 6],
            ),
        ),
        ("lane-dropped-at-once", seed(LANE, &[7, OTHER | 7])),
        ("lane-lost-then-finished", seed(LANE, &[4, 0, 7, OTHER | 4 << 3, OTHER | 3, OTHER | 5, OTHER | 6, OTHER | 6])),
        ("ledger-small-writes", seed(HONEST, &small)),
        ("ledger-bulk", seed(HONEST, &bulk)),
        ("ledger-a-paused-reader", seed(HONEST, &[2, 255].repeat(8))),
        ("ledger-beside-busy-streams", seed(HONEST, &[3, 255, 2, 100, 1, 200].repeat(6))),
        (
            "ledger-that-asks-only-when-it-waits",
            seed(HONEST, &[3, 255, 3, 255, 3, 255, 2, 150, 2, 150, 4, 255, 6, 255]),
        ),
        ("ledger-of-a-peer-that-claims-too-much", seed(LYING, &[2, 200, 7, 2, 1, 255, 7, 0, 2, 255, 2, 255])),
        ("row-one-dial", seed(ROW, &[0, 0, 0, 0, 6, 0, 2, 1, 5, 1])),
        ("row-dials-that-fail", seed(ROW, &[0, 0, 0, 0, 7, 0, 7, 0, 0xff, 0, 8, 0])),
        ("row-both-dial-at-once", seed(ROW, &[0, 0, 0, 0, 1, 0, 6, 0, 2, 6])),
        ("row-both-dial-at-once-seen-from-the-other-side", seed(ROW, &[1, 0, 0, 0, 6, 0, 1, 0, 2, 9])),
        ("row-of-a-peer-that-restarts", seed(ROW, &[0, 0, 1, 0, 1, 1, 5, 1])),
        ("row-that-awaits-a-twin", seed(ROW, &[0, 0, 0, 0, 6, 0, 3, 130, 4, 0])),
        ("drain-of-an-idle-connection", seed(DRAIN, &[0, OTHER | 4, 4, 4, OTHER | 4, OTHER | 4])),
        ("drain-with-a-stream-that-is-seen-late", seed(DRAIN, &[1, 0, OTHER | 4, OTHER | 2, 3, OTHER | 3, 4, 4])),
        ("drain-with-a-stream-that-is-never-seen", seed(DRAIN, &[1, 3, 0, OTHER | 4, 4, 4])),
        ("drain-with-streams-both-ways", seed(DRAIN, &[1, OTHER | 1, 2, OTHER | 2, 0, OTHER, 4, OTHER | 4, 3, 3])),
        ("flights-of-two-peers-and-instances", seed(FLIGHTS, &[0, 1, 0, 1, 1, 1, 16, 1, 16, 0])),
        ("flights-and-copies-later", seed(FLIGHTS, &[0, 1, OTHER, 179, 0, 1, OTHER, 181, 0, 1, 0, 1])),
        ("flights-of-a-peer-that-dials-again-and-again", seed(FLIGHTS, &dials)),
    ]
}
