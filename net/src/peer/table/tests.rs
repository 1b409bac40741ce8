use std::fmt::Write;

use proptest::prelude::*;
use twolane_id::SecretKey;

use super::*;

const OLD: Nonce = [1; 16];
const NEW: Nonce = [2; 16];

pub(super) fn keys() -> (PublicKey, PublicKey) {
    let (a, b) = (SecretKey::from_bytes(&[1; 32]).public_key(), SecretKey::from_bytes(&[2; 32]).public_key());
    (a.min(b), a.max(b))
}

/// A row at the endpoint with the smaller of the two keys.
fn row() -> Row {
    let (small, large) = keys();
    Row::new(small, large, None)
}

fn reached(inputs: &[Input]) -> Row {
    let mut row = row();
    for input in inputs {
        row.on(*input);
    }
    row
}

/// This side's dial of this number, begun when nothing was known of the peer.
fn dialled(generation: Generation) -> Input {
    Input::Dialled(generation, OwnDial { number: generation, knows: None })
}

/// The peer's dial of this number, begun when the peer knew nothing of this side.
fn accepted(generation: Generation, nonce: Nonce) -> Input {
    Input::Accepted(generation, nonce, Dial { number: generation, knows: 0 })
}

#[test]
fn every_transition_is_the_one_in_the_table() {
    let states: [(&str, &[Input]); 10] = [
        ("Absent", &[]),
        ("Dialling", &[Input::Want]),
        ("Dialled, no HELLO", &[Input::Want, dialled(1)]),
        ("Dialled, HELLO", &[Input::Want, dialled(1), Input::Hello(1, OLD)]),
        ("Dialled, silent", &[Input::Want, dialled(1), Input::Hello(1, OLD), Input::Silent(1)]),
        ("Accepted", &[accepted(1, OLD)]),
        ("Accepted while dialling", &[Input::Want, accepted(1, OLD)]),
        ("Accepted, draining, accepted", &[accepted(0, OLD), accepted(1, OLD)]),
        ("AwaitingTwin", &[Input::Want, dialled(1), Input::Goaway(1, true)]),
        ("A later instance came and went", &[accepted(3, NEW), Input::Closed(3)]),
    ];
    let inputs = [
        ("Want", Input::Want),
        ("Dialled(2)", dialled(2)),
        ("DialFailed", Input::DialFailed),
        ("DialDropped", Input::DialDropped),
        ("Accepted(2, same instance)", accepted(2, OLD)),
        ("Accepted(2, same instance, knows our dial)", Input::Accepted(2, OLD, Dial { number: 2, knows: 1 })),
        ("Accepted(2, new instance)", accepted(2, NEW)),
        ("Hello(1)", Input::Hello(1, OLD)),
        ("Hello(1, new instance)", Input::Hello(1, NEW)),
        ("Goaway(1, duplicate)", Input::Goaway(1, true)),
        ("Goaway(1)", Input::Goaway(1, false)),
        ("Silent(1)", Input::Silent(1)),
        ("Unused(1)", Input::Unused(1)),
        ("Seen(2, same instance)", Input::Seen(2, OLD)),
        ("Seen(2, new instance)", Input::Seen(2, NEW)),
        ("TwinTimeout", Input::TwinTimeout),
        ("Closed(1)", Input::Closed(1)),
    ];
    let mut table = String::new();
    for (state, path) in states {
        for (name, input) in inputs {
            let mut row = reached(path);
            let actions = row.on(input);
            writeln!(table, "{state} + {name} -> {:?}, current {:?}, {actions:?}", row.phase(), row.current())
                .expect("a string takes it");
        }
    }
    assert_eq!(table, include_str!("../table.table"), "the code now says:\n{table}");
}

#[test]
fn a_peer_stays_connected_while_one_connection_gives_way_to_another() {
    // The peer has judged, drained and closed its own dial before this side's dial has come back.
    let mut row = row();
    row.on(Input::Want);
    assert_eq!(row.on(accepted(1, OLD)), [Action::Connected]);
    assert_eq!(row.on(Input::Goaway(1, true)), [Action::Drain(1)]);
    assert_eq!(row.on(Input::Closed(1)), []);
    assert!(row.is_connected());
    assert_eq!(row.on(dialled(2)), []);
    assert_eq!(row.on(Input::Closed(2)), [Action::FailWaiters, Action::Disconnected]);
}

#[test]
fn one_dial_serves_everybody_who_waits() {
    let mut row = row();
    assert_eq!(row.on(Input::Want), [Action::Dial(0)]);
    assert_eq!(row.on(Input::Want), []);
    assert_eq!(row.on(Input::DialFailed), [Action::FailWaiters]);
    assert_eq!(row.on(Input::Want), [Action::Dial(1)]);
}

#[test]
fn a_peer_that_takes_connections_and_drops_them_was_never_connected_and_is_backed_off_from() {
    let mut row = reached(&[Input::Want]);
    assert_eq!(row.on(dialled(1)), []);
    assert_eq!(row.on(Input::Closed(1)), [Action::FailWaiters]);
    assert_eq!(row.on(Input::Want), [Action::Dial(1)]);
    assert_eq!(row.on(dialled(2)), []);
    assert_eq!(row.on(Input::Hello(2, OLD)), [Action::Connected]);
    assert_eq!(row.on(Input::Closed(2)), [Action::Disconnected]);
    assert_eq!(row.on(Input::Want), [Action::Dial(0)]);
}

#[test]
fn an_inbound_connection_is_used_and_nothing_dialled() {
    let mut row = row();
    row.on(accepted(7, OLD));
    assert_eq!(row.on(Input::Want), []);
    assert_eq!(row.current(), Some(7));
}

#[test]
fn a_restarted_peer_replaces_every_connection_of_its_old_instance_at_once() {
    let mut row = reached(&[accepted(1, OLD), accepted(2, OLD)]);
    assert_eq!(row.on(accepted(3, NEW)), [Action::Cut(1), Action::Cut(2)]);
    assert_eq!(row.current(), Some(3));
    assert_eq!(row.on(Input::Closed(2)), []);
    assert_eq!(row.on(Input::Closed(1)), []);
    assert_eq!(row.phase(), Phase::Connected);
}

#[test]
fn a_peer_that_says_that_it_is_another_instance_has_none_of_the_connections_before_it() {
    let mut row = reached(&[accepted(1, OLD), Input::Want, dialled(2)]);
    assert_eq!(row.on(Input::Seen(3, OLD)), []);
    assert_eq!(row.on(Input::Seen(4, NEW)), [Action::Cut(1)]);
    // It is not known yet which instance the other connection leads to.
    assert_eq!(row.current(), Some(2));
    assert_eq!(row.on(Input::Hello(2, OLD)), [Action::Cut(2), Action::Disconnected]);
    assert_eq!(row.phase(), Phase::Absent);
    // A late answer says nothing about instances that came after it.
    let mut row = reached(&[accepted(1, OLD), accepted(3, NEW), Input::Closed(1)]);
    assert_eq!(row.on(Input::Seen(2, OLD)), []);
    assert_eq!(row.current(), Some(3));
}

#[test]
fn an_instance_that_is_admitted_late_does_not_push_out_the_one_whose_handshake_came_after_its_own() {
    let mut row = reached(&[accepted(2, NEW)]);
    assert_eq!(row.on(accepted(1, OLD)), [Action::Cut(1)]);
    assert_eq!(row.current(), Some(2));
    // The same, where the HELLO on this side's dial is late.
    let mut row = reached(&[Input::Want, dialled(1), accepted(2, NEW)]);
    assert_eq!(row.on(Input::Hello(1, OLD)), [Action::Cut(1)]);
    assert_eq!(row.current(), Some(2));
}

#[test]
fn an_instance_that_is_admitted_when_its_successor_has_come_and_gone_never_counts_as_connected() {
    let mut gone = reached(&[accepted(2, NEW)]);
    gone.on(Input::Closed(2));
    let (small, large) = keys();
    let mut row = Row::new(small, large, gone.heard());
    assert_eq!(row.on(accepted(1, OLD)), [Action::Cut(1)]);
    assert!(!row.is_connected());
    assert_eq!(row.on(Input::Want), [Action::Dial(0)]);
}

#[test]
fn a_dial_that_was_begun_with_the_other_sides_dial_known_stays_whoever_has_the_smaller_key() {
    let (small, large) = keys();
    for (us, peer) in [(small, large), (large, small)] {
        // This side's dial after the peer's.
        let mut row = Row::new(us, peer, None);
        row.on(accepted(5, OLD));
        row.on(Input::Silent(5));
        let dial = row.begin_dial(9);
        assert_eq!(dial.said(), Dial { number: 9, knows: 5 });
        row.on(Input::Dialled(6, dial));
        assert_eq!(row.on(Input::Hello(6, OLD)), [Action::Drain(5)]);
        assert_eq!(row.current(), Some(6));
        // The peer's dial after this side's.
        let mut row = Row::new(us, peer, None);
        row.on(Input::Want);
        row.on(dialled(1));
        row.on(Input::Hello(1, OLD));
        assert_eq!(row.on(Input::Accepted(2, OLD, Dial { number: 7, knows: 1 })), [Action::Drain(1)]);
    }
}

#[test]
fn a_dial_that_the_peer_never_answered_goes_when_a_later_one_is_answered() {
    let mut row = reached(&[Input::Want, dialled(1), Input::Silent(1), dialled(2)]);
    assert_eq!(row.on(Input::Hello(2, OLD)), [Action::Drain(1), Action::Connected]);
    assert_eq!(row.on(Input::Hello(1, OLD)), []);
    assert_eq!(row.current(), Some(2));
}

#[test]
fn what_was_known_of_an_instance_that_is_gone_counts_for_nothing() {
    let (small, large) = keys();
    let mut row = Row::new(large, small, None);
    row.on(accepted(5, OLD));
    row.on(Input::Closed(5));
    row.on(Input::Want);
    let dial = row.begin_dial(9);
    // The peer has been restarted, and dials at the same moment. The dial of the smaller key stays.
    row.on(Input::Dialled(6, dial));
    row.on(Input::Hello(6, NEW));
    assert_eq!(row.on(Input::Accepted(7, NEW, Dial { number: 3, knows: 0 })), [Action::Drain(6)]);
}

#[test]
fn a_peer_that_leaves_its_old_connections_open_has_a_bounded_number_of_them() {
    let mut row = row();
    for generation in 1..=10 {
        for action in row.on(accepted(generation, OLD)) {
            if let Action::Shed(shed) = action {
                row.on(Input::Closed(shed));
            }
        }
        assert_eq!(row.current(), Some(generation));
        assert!(row.connections.len() <= MAX_CONNECTIONS);
    }
}

#[test]
fn no_connection_that_carries_streams_is_closed_for_a_newcomer() {
    let mut row = row();
    let most = MAX_CONNECTIONS as u64;
    for generation in 1..=most {
        row.note_streams(|_| true);
        row.on(accepted(generation, OLD));
    }
    row.note_streams(|_| true);
    assert_eq!(row.on(accepted(most + 1, OLD)), [Action::Refuse(most + 1)]);
    assert_eq!(row.current(), Some(most));
    row.on(Input::Closed(most + 1));
    // The second connection carries no stream, so it goes.
    row.note_streams(|generation| generation != 2);
    assert_eq!(row.on(accepted(most + 2, OLD)), [Action::Shed(2), Action::Drain(most)]);
    // A connection to an instance that is gone makes room, whatever it carries.
    row.note_streams(|_| true);
    let actions = row.on(accepted(most + 3, NEW));
    assert!(actions.iter().all(|action| matches!(action, Action::Cut(_))), "{actions:?}");
    assert_eq!(row.current(), Some(most + 3));
}

fn inputs() -> impl Strategy<Value = Input> {
    let generation = 1..6u64;
    let nonce = prop_oneof![Just(OLD), Just(NEW)];
    let dial = (0..6u64, 0..6u64).prop_map(|(number, knows)| Dial { number, knows });
    let own = (1..6u64, prop::option::of((nonce.clone(), 1..6u64)));
    let own = own.prop_map(|(number, knows)| OwnDial { number, knows });
    prop_oneof![
        Just(Input::Want),
        (generation.clone(), own).prop_map(|(generation, dial)| Input::Dialled(generation, dial)),
        Just(Input::DialFailed),
        Just(Input::DialDropped),
        (generation.clone(), nonce.clone(), dial)
            .prop_map(|(generation, nonce, dial)| Input::Accepted(generation, nonce, dial)),
        (generation.clone(), nonce).prop_map(|(generation, nonce)| Input::Hello(generation, nonce)),
        (generation.clone(), any::<bool>()).prop_map(|(generation, duplicate)| Input::Goaway(generation, duplicate)),
        generation.clone().prop_map(Input::Silent),
        generation.clone().prop_map(Input::Unused),
        Just(Input::TwinTimeout),
        generation.prop_map(Input::Closed),
    ]
}

proptest! {
    /// Each generation comes once, by a dial of either side, and only a dial that is under way ends.
    #[test]
    fn whatever_happens_one_connection_at_most_is_judged_to_stay(sequence in prop::collection::vec(inputs(), 0..60)) {
        let mut row = row();
        let mut seen = std::collections::HashSet::new();
        let mut connected = false;
        for input in sequence {
            match input {
                Input::Dialled(..) | Input::DialFailed | Input::DialDropped if !row.dialling => continue,
                Input::Dialled(generation, _) | Input::Accepted(generation, ..) if !seen.insert(generation) => continue,
                _ => {}
            }
            for action in row.on(input) {
                match action {
                    Action::Connected => {
                        prop_assert!(!connected);
                        connected = true;
                    }
                    Action::Disconnected => {
                        prop_assert!(connected);
                        connected = false;
                    }
                    Action::Dial(_) => prop_assert!(row.dialling),
                    _ => {}
                }
            }
            prop_assert_eq!(connected, row.is_connected());
            let there = || row.connections.iter().filter(|connection| connection.standing != Standing::Cut);
            prop_assert!(connected || there().all(|connection| connection.nonce.is_none()));
            prop_assert!(there().all(|connection| connection.nonce.is_none_or(|nonce| Some(nonce) == row.heard.map(|heard| heard.nonce))));
            let settled = there().filter(|connection| connection.standing == Standing::Live && connection.nonce.is_some());
            prop_assert!(settled.count() <= 1, "two connections stay: {row:?}");
            // A caller that wants a stream now has a connection, or one is on its way.
            row.on(Input::Want);
            prop_assert_ne!(row.phase(), Phase::Absent);
        }
    }
}
