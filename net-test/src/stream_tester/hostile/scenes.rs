//! The scenes: what is attacked how, what of it has to be seen, and what must hold meanwhile.
//!
//! The bound on the honest share is 0.8 where the hostile peers cost next to nothing, and 0.5 where they take a part
//! of the machine's processors: they run on the same ones, and what they take there is lost to the honest peer whatever
//! the endpoint does.

use std::time::Duration;

use twolane::Limits;

use super::{
    attacks::{control, errors, handshakes, silence, streams, volume},
    raid::Attack,
};

/// One scene.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    /// Its name.
    pub name: &'static str,
    /// What it shows.
    pub sentence: &'static str,
    /// The least that the honest peer must get done, as a part of what it does without an attack.
    pub share: f64,
    /// By how much memory may grow, in 10^6 bytes.
    pub rss_mb: f64,
    /// What has to be seen, and how often at least: the defence, and that the attack took place.
    pub needs: &'static [(&'static str, u64)],
    /// What must not be seen.
    pub never: &'static [&'static str],
    /// The limits in place of the default ones.
    pub limits: fn(Limits) -> Limits,
    /// Whether the endpoint opens streams to the hostile peers.
    pub bait: bool,
    /// What the hostile peers do.
    pub attack: Attack,
}

/// Where the hostile peers take a part of the processors.
const COSTLY: f64 = 0.5;
/// Where they do not.
const SILENT: f64 = 0.8;
/// Attacks that leave nothing behind: the allocator's noise, and tables that have grown.
const NOTHING: f64 = 16.0;
/// Attacks that cost the hostile peer's connection when they should not.
const STAYS: &[&str] = &[
    "closed_protocol_violation",
    "closed_by_transport",
    "closed_idle",
    "closed_done",
    "closed_busy",
    "closed_unknown_code",
    "lane_lost",
];

/// A scene of a flood over one connection that stays, with the default limits.
const FLOOD: Scene = Scene {
    name: "",
    sentence: "",
    share: COSTLY,
    rss_mb: NOTHING,
    needs: &[],
    never: STAYS,
    limits: unchanged,
    bait: false,
    attack: streams::unknown_kinds,
};
/// One of connections that are to be closed.
const CLOSED: Scene = Scene { never: &[], ..FLOOD };

/// All of them.
pub static SCENES: &[Scene] = &[
    Scene {
        name: "silent-connections",
        sentence: "24 connections on which nothing is said are closed when their time for HELLO is over",
        share: SILENT,
        needs: &[("closed_hello_timeout", 24)],
        limits: short,
        attack: silence::after_connect,
        ..CLOSED
    },
    Scene {
        name: "silent-peers",
        sentence: "peers that say HELLO and nothing else have their places, and one too many is told that it is",
        share: SILENT,
        needs: &[("closed_busy", 10), ("peers_busy", 10)],
        limits: |limits| Limits { peers: 12, ..limits },
        attack: silence::after_hello,
        ..CLOSED
    },
    Scene {
        name: "slow-headers",
        sentence: "64 headers of which a byte comes each second are given up, progress or not",
        share: SILENT,
        needs: &[("lane_timed_out", 64)],
        limits: short,
        attack: silence::slow_headers,
        ..FLOOD
    },
    Scene {
        name: "oversize-control",
        sentence: "a control frame of 2^62 - 1 bytes costs its sender the connection, before any of it has come",
        needs: &[("closed_protocol_violation", 50)],
        attack: control::oversize_frame,
        ..CLOSED
    },
    Scene {
        name: "oversize-header",
        sentence: "a header of 2^62 - 1 bytes is answered with TOO_LARGE, and nothing else is touched",
        needs: &[("answer_too_large", 1_000), ("served", 5)],
        attack: streams::oversize_header,
        ..FLOOD
    },
    Scene {
        name: "oversize-answer",
        sentence: "an answer of 2^62 - 1 bytes ends the stream that it is for, and nothing else",
        needs: &[("bait_malformed", 50), ("lane_cancelled", 50)],
        bait: true,
        attack: streams::oversize_answer,
        ..FLOOD
    },
    Scene {
        name: "oversize-record",
        sentence: "a record of 2^62 - 1 bytes ends its error lane and the data lane of that, and nothing else",
        needs: &[("lane_malformed", 200), ("data_lane_ended", 200), ("served", 2)],
        attack: errors::oversize_record,
        ..FLOOD
    },
    Scene {
        name: "unknown-frames",
        sentence: "control frames of unknown types are passed over, 100,000 of them as well",
        needs: &[("frames", 100_000), ("served", 5)],
        attack: control::unknown_frames,
        ..FLOOD
    },
    Scene {
        name: "unknown-kinds",
        sentence: "lanes of unknown kinds are reset one by one, and nothing else is touched",
        needs: &[("lane_unknown_kind", 1_000), ("served", 5)],
        attack: streams::unknown_kinds,
        ..FLOOD
    },
    Scene {
        name: "unknown-protocols",
        sentence: "streams for a protocol that nobody serves are told so, by the thousand",
        needs: &[("answer_unknown_protocol", 1_000), ("streams_rejected", 1_000), ("served", 5)],
        attack: streams::unknown_protocol,
        ..FLOOD
    },
    Scene {
        name: "forged-pairings",
        sentence: "an error lane that names a lane which is not its own touches neither that nor any other",
        needs: &[("lane_no_such_lane", 1_000), ("served_named", 50), ("served", 5)],
        attack: errors::forged_pairings,
        ..FLOOD
    },
    Scene {
        name: "orphan-error-lanes",
        sentence: "error lanes for lanes that never were are refused, and their records are not kept",
        needs: &[("lane_no_such_lane", 300), ("served", 2)],
        attack: errors::orphans,
        ..FLOOD
    },
    Scene {
        name: "reset-storm",
        sentence: "lanes that are opened and reset at once, cut at every byte of the header, leave nothing behind",
        needs: &[("resets", 1_000), ("served", 5)],
        attack: streams::reset_storm,
        ..FLOOD
    },
    Scene {
        name: "streams-without-header",
        sentence: "of lanes without a header 512 may wait; more are told BUSY, and those that wait are given up",
        needs: &[("answer_busy", 100), ("lane_timed_out", 512)],
        rss_mb: 24.0,
        limits: short,
        attack: streams::without_header,
        ..FLOOD
    },
    Scene {
        name: "streams-never-accepted",
        sentence: "streams that the program does not take wait up to their limit; all are told BUSY in the end",
        needs: &[("answer_busy", 300), ("streams_rejected", 300)],
        limits: |limits| Limits { accept_timeout: Duration::from_secs(1), ..limits },
        attack: streams::never_accepted,
        ..FLOOD
    },
    Scene {
        name: "streams-over-limit",
        sentence: "a peer that opens all streams there are gets no more than the transport allows, 878",
        needs: &[("answer_accepted", 878), ("transport_blocked", 1), ("served", 10)],
        rss_mb: 32.0,
        attack: streams::over_the_limit,
        ..FLOOD
    },
    Scene {
        name: "unread-responses",
        sentence: "responses that their caller does not read are given up, and their memory with them",
        share: SILENT,
        // 64 of 256 KiB, and what is on its way.
        rss_mb: 48.0,
        needs: &[("lane_timed_out", 64)],
        limits: short,
        attack: volume::unread_responses,
        ..FLOOD
    },
    Scene {
        name: "unread-echoes",
        sentence: "a peer that writes and never reads comes to a halt, at what it may have unread",
        share: SILENT,
        // 64 MiB, and half as much again for what holds it.
        rss_mb: 100.0,
        needs: &[("lane_stalled", 32)],
        attack: volume::unread_echoes,
        ..FLOOD
    },
    Scene {
        name: "full-windows",
        sentence: "a writer that fills every window comes to a halt, at what a peer may have unread",
        share: SILENT,
        // 64 MiB, and half as much again for what holds it.
        rss_mb: 100.0,
        needs: &[("lane_stalled", 48)],
        attack: volume::full_windows,
        ..FLOOD
    },
    Scene {
        name: "small-chunks",
        sentence: "more small chunks than the transport holds cost their writer its own connection",
        needs: &[("closed_by_transport", 1)],
        attack: volume::small_chunks,
        ..CLOSED
    },
    Scene {
        name: "warnings",
        sentence: "warnings that nobody reads are dropped, and end nothing",
        rss_mb: 32.0,
        needs: &[("records_received", 2_000), ("served", 100)],
        attack: errors::warnings,
        ..FLOOD
    },
    Scene {
        name: "watermarks",
        sentence: "questions about lanes that do not exist, from a peer that reads no answer, fill nothing",
        needs: &[("frames", 10_000), ("served", 1)],
        attack: control::watermarks,
        ..FLOOD
    },
    Scene {
        name: "consumed-lies",
        sentence: "a peer that says it has consumed more than was written harms nobody else",
        rss_mb: 64.0,
        needs: &[("lies", 1_000), ("served", 3)],
        attack: control::consumed_lies,
        ..FLOOD
    },
    Scene {
        name: "goaway-lies",
        sentence: "GOAWAY and DRAINED with false counts cut no stream; the true count closes the connection",
        needs: &[("served_after_goaway", 30), ("closed_done", 30)],
        never: &["closed_protocol_violation", "closed_unknown_code"],
        attack: control::goaway_lies,
        ..CLOSED
    },
    Scene {
        name: "control-garbage",
        sentence: "what is no control stream costs its sender the connection, and says why",
        needs: &[("closed_protocol_violation", 50), ("closed_version", 10)],
        attack: control::garbage,
        ..CLOSED
    },
    Scene {
        name: "second-hello",
        sentence: "HELLO twice costs its sender the connection",
        needs: &[("closed_protocol_violation", 50)],
        attack: control::second_hello,
        ..CLOSED
    },
    Scene {
        name: "forged-delegations",
        sentence: "a certificate that is forged, expired or another's costs its bearer the connection, and says why",
        needs: &[("closed_bad_delegation", 50), ("delegations_refused", 50)],
        attack: control::forged_delegation,
        ..CLOSED
    },
    Scene {
        name: "handshakes",
        sentence: "connections that are made and left, from many keys, have to prove their address, and are refused",
        needs: &[("handshakes_retried", 100), ("handshakes_refused", 10), ("handshakes_failed", 100)],
        attack: handshakes::connect_and_vanish,
        ..CLOSED
    },
    Scene {
        name: "half-handshakes",
        sentence: "dialers that stop half-way hold half of an address's places, and are given up",
        needs: &[("handshakes_retried", 100), ("handshakes_failed", 16)],
        limits: short,
        attack: handshakes::half_handshakes,
        ..CLOSED
    },
    Scene {
        name: "handshake-noise",
        sentence: "packets that look like the beginning of a connection are passed over",
        needs: &[("packets", 4_000), ("version_negotiations", 500)],
        attack: handshakes::noise,
        ..CLOSED
    },
    Scene {
        name: "churn",
        sentence: "a key that connects and leaves as fast as it can is one peer at a time",
        needs: &[("connections_accepted", 50), ("left", 20), ("closed_replaced", 20)],
        attack: handshakes::churn,
        ..CLOSED
    },
];

/// The default ones.
pub(super) fn unchanged(limits: Limits) -> Limits {
    limits
}

/// With the times over which an attack has to be watched short enough for a scene, and far over what an honest peer
/// takes.
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
            assert!(scene.share >= COSTLY && scene.rss_mb > 0.0, "{}", scene.name);
            let needed: BTreeSet<_> = scene.needs.iter().map(|(name, _)| name).collect();
            assert!(scene.never.iter().all(|name| !needed.contains(name)), "{}", scene.name);
        }
    }
}
