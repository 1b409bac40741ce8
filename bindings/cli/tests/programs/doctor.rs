//! The results of the doctor.

use std::net::Ipv4Addr;

use iroh_relay::server::{RelayConfig, Server, ServerConfig};
use twolane_cli::{cli::doctor::Diagnosis, output::Event};

use crate::support::{DOCTOR, Ended, Program, command, receiver};

fn examined(args: &[&str]) -> Ended {
    Program::start(&mut command(DOCTOR, args)).ended()
}

fn diagnosis(ended: &Ended) -> Diagnosis {
    let found = ended.picked(|event| match event {
        Event::Status(diagnosis) => Some(Diagnosis::clone(diagnosis)),
        _ => None,
    });
    assert_eq!(found.len(), 1, "{:#?}", ended.events);
    found.into_iter().next().unwrap()
}

#[test]
fn an_endpoint_without_a_relay_is_reached_from_this_machine_alone_which_is_3() {
    let ended = examined(&["--offline"]);
    assert_eq!(ended.status.code(), Some(3), "{}", ended.stderr);
    let diagnosis = diagnosis(&ended);
    assert_eq!((diagnosis.reach.as_str(), diagnosis.online), ("this_machine", false));
    let obstacles: Vec<_> = diagnosis.obstacles.iter().map(|obstacle| obstacle.kind.as_str()).collect();
    assert_eq!(obstacles, ["no_relay", "loopback_only"]);
}

#[test]
fn a_peer_that_is_there_is_reached_and_how_is_told() {
    let inbox = tempfile::tempdir().unwrap();
    let (_receiver, ticket) = receiver(inbox.path(), &[]);
    let ended = examined(&["--offline", &ticket]);
    let reached = ended.done().picked(|event| match event {
        Event::Reached { path, direct_ns, key_exchange, .. } => {
            Some((path.clone(), direct_ns.is_some(), key_exchange.clone()))
        }
        _ => None,
    });
    assert_eq!(reached, [(Some("direct".to_owned()), true, Some("X25519MLKEM768".to_owned()))]);
    // The exit code does not depend on the reach of this endpoint if a ticket is given.
    assert_eq!(diagnosis(&ended).reach, "this_machine");
    let nobody = twolane::SecretKey::generate().public_key().to_string();
    examined(&["--offline", "--timeout", "1", &nobody]).failed(3);
}

#[tokio::test]
async fn a_relay_that_answers_is_found_and_one_that_does_not_is_named() {
    let mut relay = RelayConfig::new((Ipv4Addr::LOCALHOST, 0));
    relay.key_cache_capacity = Some(64);
    let mut config = ServerConfig::default();
    config.relay = Some(relay);
    let server = Server::spawn(config).await.unwrap();
    let url = format!("http://{}", server.http_addr().unwrap());
    let args = |url: &str| ["--offline", "--timeout", "60", "--relay", url].map(str::to_owned);
    let examine = |url: &str| {
        let args = args(url);
        tokio::task::spawn_blocking(move || examined(&args.each_ref().map(String::as_str)))
    };

    let ended = examine(&url).await.unwrap();
    let found = diagnosis(ended.done());
    assert_eq!((found.reach.as_str(), found.online), ("relay_only", true));
    assert_eq!(found.obstacles[0].kind, "loopback_only");
    assert!(found.relays[0].home && found.relays[0].connected, "{:?}", found.relays);
    assert!(found.relays[0].url.starts_with(&url), "{:?}", found.relays);

    server.shutdown().await.unwrap();
    let ended = examine(&url).await.unwrap();
    assert_eq!(ended.status.code(), Some(3), "{}", ended.stderr);
    let found = diagnosis(&ended);
    assert_eq!((found.reach.as_str(), found.online), ("this_machine", false));
    assert_eq!(found.obstacles[0].kind, "relay_unreachable", "{:?}", found.obstacles);
}
