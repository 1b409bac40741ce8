//! The scenes: the attacks, the limits, and the counts that must and may be seen.

use std::time::Duration;

use twolane::Limits;

use super::{
    attacks::{control, errors, handshakes, silence, streams, volume},
    raid::Attack,
};

#[derive(Debug, Clone, Copy)]
pub struct Scene {
    pub name: &'static str,
    pub sentence: &'static str,
    /// The minimum ratio of the honest peer's rate under attack to its rate before.
    pub share: f64,
    /// The maximum growth of the heap, in bytes.
    pub held: u64,
    /// The maximum growth of the heap after the attack, in bytes.
    pub left: u64,
    /// The counts that must be reached. They show that the attack took place, and that the defence worked.
    pub needs: &'static [(&'static str, u64)],
    /// The counts that are allowed. Any other count is a fault.
    pub may: &'static [&'static str],
    /// The maximum number of connected peers: the two honest ones, and hostile ones.
    pub peers: u64,
    /// Whether the attack fills all places for peers, so that the endpoint may turn a newcomer away.
    pub full: bool,
    /// Changes the default limits.
    pub limits: fn(Limits) -> Limits,
    /// Whether the endpoint opens streams to the hostile peers.
    pub bait: bool,
    pub attack: Attack,
}

impl Scene {
    pub fn may(&self, name: &str) -> bool {
        let needed = self.needs.iter().any(|(needed, _)| *needed == name);
        needed || self.may.contains(&name) || DONE.contains(&name)
    }
}

/// Counts of the hostile peers' own actions, and of ordinary service to them.
const DONE: &[&str] = &[
    "bytes",
    "bytes_taken",
    "frames",
    "left",
    "let_in",
    "lies",
    "packets",
    "resets",
    "rounds",
    "rounds_late",
    "served",
    "vanished",
];

/// The minimum share in scenes whose hostile peers make the endpoint work, as any peer may.
const COSTLY: f64 = 0.5;
/// The minimum share in scenes in which each hostile step is a handshake. In a debug build the signatures of a
/// handshake are not optimised and take 10 ms, and a flood of handshakes takes most of a processor. In these scenes
/// the slowest request and the newcomer's time say more.
const HANDSHAKES: f64 = if cfg!(debug_assertions) { 0.05 } else { 0.5 };
/// The minimum share in scenes whose hostile peers cause no work.
const SILENT: f64 = 0.8;
/// The limit `unread_bytes` in the scenes that reach it.
const UNREAD: u64 = 4 << 20;
/// The memory that echoes take at this limit, in both directions. Their buffers are larger than the data: up to 8.7
/// MB in total.
const ECHOES: u64 = 3 * UNREAD;
/// The memory of the warnings that wait to be read on one stream. There are 64, and one in 21 has 60 kB here.
const WARNINGS: u64 = 2_000_000;
/// The memory that all lanes of one peer may take in the worst case, for data and warnings.
const HUNDRED_MB: u64 = 100_000_000;
/// The memory of one hostile connection, and of packets in flight.
const LITTLE: u64 = 2_000_000;
/// The memory of 32 connections at a time, with 120 kB each, of as many connections that QUIC has not forgotten
/// yet, and of the honest peers' connections.
const CONNECTIONS: u64 = 8_000_000;
/// The memory of 878 streams at a time, with 4 kB each.
const STREAMS: u64 = 5_000_000;
/// The memory of connections that QUIC still remembers. QUIC keeps a connection whose packets were not answered for
/// three of its timeouts, which have doubled a few times by then. 5 s after the attack, up to 2.7 MB were left.
const FORGOTTEN_LATER: u64 = 5_000_000;
/// The memory of packets, timers and tables. It varies, and does not grow.
const NOTHING: u64 = 600_000;

/// The template of a flood over one connection that stays, with the default limits.
const FLOOD: Scene = Scene {
    name: "",
    sentence: "",
    share: COSTLY,
    held: LITTLE,
    left: NOTHING,
    needs: &[],
    may: &[],
    peers: 3,
    full: false,
    limits: unchanged,
    bait: false,
    attack: |raid| Box::pin(streams::unknown_kinds(raid)),
};

pub static SCENES: &[Scene] = &[
    Scene {
        name: "silent-connections",
        sentence: "24 connections on which nothing is said are closed when their time for HELLO is over",
        share: HANDSHAKES,
        held: CONNECTIONS,
        left: FORGOTTEN_LATER,
        needs: &[("closed_hello_timeout", 24), ("handshakes_failed", 24)],
        peers: 2,
        limits: short,
        // The timeout covers the handshake too. If packets are lost, the handshake takes longer than the timeout.
        may: &["handshakes_retried", "closed_by_transport", "closed_dropped"],
        attack: |raid| Box::pin(silence::after_connect(raid)),
        ..FLOOD
    },
    Scene {
        name: "silent-peers",
        sentence: "peers that say HELLO and nothing else have their places, and one too many is told that it is",
        share: HANDSHAKES,
        held: CONNECTIONS,
        needs: &[("let_in", 10), ("closed_busy", 10), ("peers_busy", 10)],
        peers: 16,
        full: true,
        // Three quarters of the places are for one address.
        limits: |limits| Limits { peers: 16, ..limits },
        may: &["handshakes_failed"],
        attack: |raid| Box::pin(silence::after_hello(raid)),
        ..FLOOD
    },
    Scene {
        name: "keys-of-one-source",
        sentence: "as many keys as there are places for peers, from one address, leave room for a newcomer from another",
        share: HANDSHAKES,
        held: 2 * CONNECTIONS,
        left: FORGOTTEN_LATER,
        needs: &[("let_in", 12)],
        peers: silence::KEYS as u64,
        limits: |limits| Limits { peers: silence::KEYS, handshakes_per_address: 2 * silence::KEYS, ..limits },
        may: &[
            "closed_busy",
            "closed_refused",
            "handshakes_failed",
            "handshakes_refused",
            "handshakes_retried",
            "peers_busy",
        ],
        attack: |raid| Box::pin(silence::one_source(raid)),
        ..FLOOD
    },
    Scene {
        name: "silent-handshakes",
        sentence: "finished handshakes without a word, from many addresses, leave room for a newcomer from another",
        share: HANDSHAKES,
        held: 2 * CONNECTIONS,
        left: FORGOTTEN_LATER,
        needs: &[("silent", 60)],
        peers: 2,
        limits: |limits| Limits {
            hello_timeout: Duration::from_secs(4),
            handshakes: silence::SOURCES * silence::EACH,
            handshakes_per_address: silence::EACH,
            ..limits
        },
        may: &[
            "closed_busy",
            "closed_by_transport",
            "closed_dropped",
            "closed_hello_timeout",
            "closed_refused",
            "handshakes_failed",
            "handshakes_refused",
            "handshakes_retried",
        ],
        attack: |raid| Box::pin(silence::many_sources(raid)),
        ..FLOOD
    },
    Scene {
        name: "slow-headers",
        sentence: "64 headers of which a byte comes each second are given up, progress or not",
        share: SILENT,
        needs: &[("lane_timed_out", 64)],
        limits: short,
        attack: |raid| Box::pin(silence::slow_headers(raid)),
        ..FLOOD
    },
    Scene {
        name: "oversize-control",
        sentence: "a control frame of 2^62 - 1 bytes costs its sender the connection, before any of it has come",
        share: HANDSHAKES,
        needs: &[("rounds", 3), ("closed_protocol_violation", 42)],
        may: &["handshakes_failed"],
        attack: |raid| Box::pin(control::oversize_frame(raid)),
        ..FLOOD
    },
    Scene {
        name: "oversize-header",
        sentence: "a header of 2^62 - 1 bytes is answered with TOO_LARGE, and nothing else is touched",
        needs: &[("answer_too_large", 1_000), ("streams_rejected", 1_000), ("served", 5)],
        attack: |raid| Box::pin(streams::oversize_header(raid)),
        ..FLOOD
    },
    Scene {
        name: "oversize-answer",
        sentence: "an answer of 2^62 - 1 bytes ends the stream that it is for, and nothing else",
        needs: &[("bait_malformed", 50), ("lane_malformed", 50)],
        may: &["bait_lost"],
        bait: true,
        attack: |raid| Box::pin(streams::oversize_answer(raid)),
        ..FLOOD
    },
    Scene {
        name: "oversize-record",
        sentence: "a record of 2^62 - 1 bytes ends its error lane and the data lane of that, and nothing else",
        needs: &[("lane_malformed", 200), ("data_lane_ended", 200), ("served", 2)],
        attack: |raid| Box::pin(errors::oversize_record(raid)),
        ..FLOOD
    },
    Scene {
        name: "unknown-frames",
        sentence: "control frames of unknown types are passed over, 100,000 of them as well",
        needs: &[("frames", 100_000), ("bytes", 4 * LITTLE), ("served", 5)],
        attack: |raid| Box::pin(control::unknown_frames(raid)),
        ..FLOOD
    },
    Scene {
        name: "unknown-kinds",
        sentence: "lanes of unknown kinds are reset one by one, and nothing else is touched",
        needs: &[("lane_unknown_kind", 1_000), ("served", 5)],
        attack: |raid| Box::pin(streams::unknown_kinds(raid)),
        ..FLOOD
    },
    Scene {
        name: "unknown-protocols",
        sentence: "streams for a protocol that nobody serves are told so, by the thousand",
        needs: &[("answer_unknown_protocol", 1_000), ("streams_rejected", 1_000), ("served", 5)],
        attack: |raid| Box::pin(streams::unknown_protocol(raid)),
        ..FLOOD
    },
    Scene {
        name: "forged-pairings",
        sentence: "an error lane that names a lane which is not its own touches neither that nor any other",
        needs: &[("lane_no_such_lane", 1_000), ("served_named", 50), ("records_received", 1), ("served", 5)],
        attack: |raid| Box::pin(errors::forged_pairings(raid)),
        ..FLOOD
    },
    Scene {
        name: "orphan-error-lanes",
        sentence: "error lanes for lanes that never were are refused, and their records are not kept",
        needs: &[("lane_no_such_lane", 500), ("bytes", 4 * LITTLE), ("served", 4)],
        attack: |raid| Box::pin(errors::orphans(raid)),
        ..FLOOD
    },
    Scene {
        name: "reset-storm",
        sentence: "lanes that are opened and reset at once, cut at every byte of the header, leave nothing behind",
        needs: &[("resets", 1_000), ("served", 5)],
        attack: |raid| Box::pin(streams::reset_storm(raid)),
        ..FLOOD
    },
    Scene {
        name: "streams-without-header",
        sentence: "of lanes without a header 512 may wait; more are told BUSY, and those that wait are given up",
        held: STREAMS,
        needs: &[("busy_without_header", 188), ("lane_timed_out", 512), ("streams_rejected", 188)],
        limits: short,
        attack: |raid| Box::pin(streams::without_header(raid)),
        ..FLOOD
    },
    Scene {
        name: "streams-never-accepted",
        sentence: "streams that the program does not take wait up to their limit; all are told BUSY in the end",
        held: STREAMS,
        needs: &[("busy_over_lanes", 144), ("busy_never_accepted", 256), ("streams_rejected", 400)],
        limits: |limits| Limits { accept_timeout: streams::WAIT, ..limits },
        attack: |raid| Box::pin(streams::never_accepted(raid)),
        ..FLOOD
    },
    Scene {
        name: "streams-over-limit",
        sentence: "a peer that opens more lanes than it may have gets no more than those, 256, and is told",
        held: STREAMS,
        needs: &[("answer_accepted", 256), ("busy_over_lanes", 20), ("streams_rejected", 20)],
        attack: |raid| Box::pin(streams::over_the_limit(raid)),
        ..FLOOD
    },
    Scene {
        name: "streams-abandoned",
        sentence: "streams that are ended while their handlers go on leave room for error lanes of streams that are there",
        needs: &[("error_lanes", 5)],
        may: &[
            "answer_accepted",
            "busy_for_another_reason",
            "busy_over_lanes",
            "busy_waiting",
            "records_received",
            "streams_rejected",
            "transport_blocked",
        ],
        limits: |limits| Limits { streams_per_peer: streams::FEW, ..limits },
        attack: |raid| Box::pin(streams::abandoned(raid)),
        ..FLOOD
    },
    Scene {
        name: "unread-responses",
        sentence: "responses that their caller does not read are given up, and their memory with them",
        share: SILENT,
        // Two buffers of 256 KiB for each response: the handler's, and the copy that is being sent.
        held: 64 * 2 * 256 * 1024,
        needs: &[("lane_timed_out", 64)],
        limits: short,
        attack: |raid| Box::pin(volume::unread_responses(raid)),
        ..FLOOD
    },
    Scene {
        name: "unread-echoes",
        sentence: "a peer that writes and never reads comes to a halt, at what it may have unread",
        share: SILENT,
        held: ECHOES,
        needs: &[("lane_stalled", 32)],
        limits: |limits| Limits { unread_bytes: UNREAD, ..limits },
        attack: |raid| Box::pin(volume::unread_echoes(raid)),
        ..FLOOD
    },
    Scene {
        name: "full-windows",
        sentence: "a writer that fills every window comes to a halt, at what a peer may have unread",
        share: SILENT,
        held: 2 * UNREAD,
        needs: &[("lane_stalled", 48)],
        limits: |limits| Limits { unread_bytes: UNREAD, ..limits },
        attack: |raid| Box::pin(volume::full_windows(raid)),
        ..FLOOD
    },
    Scene {
        name: "small-chunks",
        sentence: "more small chunks than the transport holds cost their writer its own connection",
        share: HANDSHAKES,
        held: 3 * LITTLE,
        needs: &[("closed_by_transport", 1)],
        may: &["handshakes_failed"],
        attack: |raid| Box::pin(volume::small_chunks(raid)),
        ..FLOOD
    },
    Scene {
        name: "warnings",
        sentence: "warnings that nobody reads are dropped, and end nothing",
        held: WARNINGS,
        needs: &[("records_received", 2_000), ("bytes", 4 * WARNINGS), ("served", 100)],
        attack: |raid| Box::pin(errors::warnings(raid)),
        ..FLOOD
    },
    Scene {
        name: "warnings-everywhere",
        sentence: "large warnings on every error lane there is, for lanes without a header too, are held in a bounded part",
        held: HUNDRED_MB,
        needs: &[("error_lanes", 400), ("warned", 3_000), ("served", 3)],
        may: &[
            "lane_done",
            "lane_malformed",
            "lane_no_such_lane",
            "lane_timed_out",
            "passed_over",
            "records_received",
            "streams_rejected",
        ],
        attack: |raid| Box::pin(errors::warnings_everywhere(raid)),
        ..FLOOD
    },
    Scene {
        name: "watermarks",
        sentence: "questions about lanes that do not exist, from a peer that reads no answer, fill nothing",
        needs: &[("frames", 100_000), ("served", 5)],
        attack: |raid| Box::pin(control::watermarks(raid)),
        ..FLOOD
    },
    Scene {
        name: "consumed-lies",
        sentence: "a peer that says it has consumed more than was written harms nobody else",
        needs: &[("lies", 1_000), ("served", 3)],
        attack: |raid| Box::pin(control::consumed_lies(raid)),
        ..FLOOD
    },
    Scene {
        name: "goaway-lies",
        sentence: "GOAWAY and DRAINED with false counts cut no stream; the true count closes the connection",
        share: HANDSHAKES,
        needs: &[("served_after_goaway", 25), ("closed_done", 25)],
        may: &["handshakes_failed"],
        attack: |raid| Box::pin(control::goaway_lies(raid)),
        ..FLOOD
    },
    Scene {
        name: "control-garbage",
        sentence: "what is no control stream costs its sender the connection, and says why",
        share: HANDSHAKES,
        needs: &[("rounds", 3), ("closed_protocol_violation", 30), ("closed_unsupported", 3)],
        may: &["handshakes_failed"],
        attack: |raid| Box::pin(control::garbage(raid)),
        ..FLOOD
    },
    Scene {
        name: "second-hello",
        sentence: "HELLO twice costs its sender the connection",
        share: HANDSHAKES,
        needs: &[("rounds", 15), ("closed_protocol_violation", 30)],
        may: &["handshakes_failed"],
        attack: |raid| Box::pin(control::second_hello(raid)),
        ..FLOOD
    },
    Scene {
        name: "forged-delegations",
        sentence: "a certificate that is forged, expired or another's costs its bearer the connection, and says why",
        share: HANDSHAKES,
        needs: &[("rounds", 6), ("closed_bad_delegation", 30), ("delegations_refused", 30)],
        may: &["handshakes_failed"],
        peers: 2,
        attack: |raid| Box::pin(control::forged_delegation(raid)),
        ..FLOOD
    },
    Scene {
        name: "handshakes",
        sentence: "connections that are made and say nothing, from many keys, make room for each other and for newcomers",
        share: HANDSHAKES,
        held: CONNECTIONS,
        needs: &[("pushed_out", 10), ("handshakes_refused", 10)],
        may: &["closed_refused", "closed_busy", "handshakes_failed", "handshakes_retried", "vanished"],
        peers: 2,
        attack: |raid| Box::pin(handshakes::connect_and_vanish(raid)),
        ..FLOOD
    },
    Scene {
        name: "half-handshakes",
        sentence: "dialers that stop half-way hold half of an address's places, and are given up",
        share: HANDSHAKES,
        held: CONNECTIONS,
        left: FORGOTTEN_LATER,
        needs: &[("handshakes_retried", 100), ("handshakes_failed", 16)],
        peers: 2,
        limits: short,
        attack: |raid| Box::pin(handshakes::half_handshakes(raid)),
        ..FLOOD
    },
    Scene {
        name: "handshake-noise",
        sentence: "packets that look like the beginning of a connection are passed over",
        needs: &[("packets", 4_000), ("version_negotiations", 500)],
        peers: 2,
        may: &["handshakes_failed", "handshakes_retried"],
        attack: |raid| Box::pin(handshakes::noise(raid)),
        ..FLOOD
    },
    Scene {
        name: "churn",
        sentence: "a key that connects and leaves as fast as it can is one peer at a time",
        share: HANDSHAKES,
        needs: &[("left", 20), ("closed_replaced", 20)],
        may: &["handshakes_failed"],
        attack: |raid| Box::pin(handshakes::churn(raid)),
        ..FLOOD
    },
];

pub fn unchanged(limits: Limits) -> Limits {
    limits
}

/// Sets timeouts that are short enough for a scene, and far above the times of an honest peer.
fn short(limits: Limits) -> Limits {
    let second = Duration::from_secs(1);
    Limits { hello_timeout: second, header_timeout: second, ..limits }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_scene_has_a_name_of_its_own_and_something_that_has_to_be_seen() {
        let names: BTreeSet<_> = SCENES.iter().map(|scene| scene.name).collect();
        assert_eq!(names.len(), SCENES.len());
        for scene in SCENES {
            assert!(!scene.sentence.is_empty() && !scene.needs.is_empty(), "{}", scene.name);
            assert!(scene.share >= HANDSHAKES && scene.left <= scene.held && scene.peers >= 2, "{}", scene.name);
            assert!(
                scene.may.iter().all(|name| scene.needs.iter().all(|(needed, _)| needed != name)),
                "{}",
                scene.name
            );
        }
    }

    #[test]
    fn a_scene_whose_bytes_must_not_be_kept_sends_four_times_what_it_may_hold() {
        for scene in SCENES {
            if let Some((_, sent)) = scene.needs.iter().find(|(name, _)| *name == "bytes") {
                assert!(*sent >= 4 * scene.held, "{}", scene.name);
            }
        }
        // Each stream is filled with 2 MB, and the program reads none of it.
        for filled in [volume::FULL, volume::ECHOES] {
            assert!(filled as u64 * u64::from(Limits::STREAM_WINDOW) >= 4 * 2 * UNREAD);
        }
    }
}
