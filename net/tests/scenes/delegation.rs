//! A node that acts for an owner: the conditions under which peers accept that, and how it ends.

use std::time::{Duration, SystemTime};

use twolane::{
    AccessList, ConnectionLost, DialError, Endpoint, Event, GetStreamError, Limits, PublicKey, Reason,
    RevocationsNotSaved, SecretKey, ShowTo,
    delegation::{Delegation, Pattern, RevocationList, Serial},
};

use crate::stage::{ECHO, PATIENCE, connect, echo, endpoint, limits, raw, serve_echo, soon, until, with_key};

const DAY: Duration = Duration::from_secs(24 * 3600);
const SERIAL: [u8; 16] = [7; 16];

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap()
}

/// Returns a certificate that is valid for a day.
fn certificate(owner: &SecretKey, node: PublicKey, scope: &str) -> Delegation {
    let now = SystemTime::now();
    let built = Delegation::build(node).scope(pattern(scope)).not_before(now - DAY).expires(now + DAY);
    built.serial(SERIAL).sign(owner).unwrap()
}

async fn node_with(key: &SecretKey, delegation: Delegation) -> Endpoint {
    Endpoint::builder().offline().limits(limits()).secret_key(key.clone()).delegation(delegation).bind().await.unwrap()
}

struct Cast {
    owner: SecretKey,
    node_key: SecretKey,
    server: Endpoint,
}

/// Makes a server that lets in only the owner. The validity of a certificate is exact to the second.
async fn cast() -> Cast {
    let (owner, node_key, list) = (SecretKey::generate(), SecretKey::generate(), AccessList::nobody());
    list.allow(owner.public_key());
    let limits = Limits { clock_skew: Duration::ZERO, ..limits() };
    let server = Endpoint::builder().offline().limits(limits).access(list).bind().await.unwrap();
    serve_echo(&server);
    server.serve_requests("whose/1", |request| async move { Ok(whose(request.owner())) }).unwrap();
    Cast { owner, node_key, server }
}

#[tokio::test]
async fn a_node_with_its_owners_certificate_is_let_in_as_the_owner() {
    let Cast { owner, node_key, server } = cast().await;
    let without = with_key(&node_key).await;
    assert!(soon(without.get_stream(server.ticket(), ECHO)).await.is_err());
    without.shutdown(Duration::ZERO).await;

    let node = node_with(&node_key, certificate(&owner, node_key.public_key(), "*")).await;
    echo(&node, &server, b"for my owner").await;
    assert_eq!(server.peer(&node.id()).unwrap().owner_unscoped, Some(owner.public_key()));
    let whose = soon(node.request(server.ticket(), "whose/1", "", Duration::from_secs(30))).await.unwrap();
    assert_eq!(whose, owner.public_key().to_string());
    // The server has shown no certificate, so it acts for nobody.
    assert_eq!(node.peer(&server.id()).unwrap().owner_unscoped, None);
}

#[tokio::test]
async fn both_sides_may_show_whom_they_act_for() {
    let (owner, keys) = (SecretKey::generate(), [SecretKey::generate(), SecretKey::generate()]);
    let [one, other] = &keys;
    let one = node_with(one, certificate(&owner, one.public_key(), "*")).await;
    let other = node_with(other, certificate(&owner, other.public_key(), "*")).await;
    connect(&one, &other).await;
    until(|| one.peer(&other.id()).and_then(|peer| peer.owner_unscoped) == Some(owner.public_key())).await;
    until(|| other.peer(&one.id()).and_then(|peer| peer.owner_unscoped) == Some(owner.public_key())).await;
}

/// Returns the owner that `peer` has shown to `endpoint`.
fn shown_to(endpoint: &Endpoint, peer: &Endpoint) -> Option<PublicKey> {
    endpoint.peer(&peer.id()).and_then(|peer| peer.owner_unscoped)
}

#[tokio::test]
async fn a_stranger_is_shown_no_certificate_and_a_peer_that_was_called_is() {
    let (owner, key) = (SecretKey::generate(), SecretKey::generate());
    let node = node_with(&key, certificate(&owner, key.public_key(), "*")).await;
    let (stranger, called) = (endpoint().await, endpoint().await);
    serve_echo(&stranger);
    serve_echo(&node);
    // The node's HELLO has come when `connect` returns.
    connect(&stranger, &node).await;
    assert_eq!(shown_to(&stranger, &node), None);
    connect(&node, &called).await;
    until(|| shown_to(&called, &node) == Some(owner.public_key())).await;
    // New certificates are not for strangers either.
    node.set_delegations(vec![certificate(&owner, key.public_key(), "echo/*")]).unwrap();
    echo(&stranger, &node, b"nothing was shown before this").await;
    assert_eq!(shown_to(&stranger, &node), None);
    // The program calls the stranger, over the connection that there is.
    echo(&node, &stranger, b"so we know each other").await;
    until(|| shown_to(&stranger, &node) == Some(owner.public_key())).await;
    assert_eq!(node.metrics().connections_dialled.get(), 1, "the one to the other peer");
}

#[tokio::test]
async fn a_peer_whose_addresses_the_program_knows_is_no_stranger_when_it_dials() {
    let (owner, key) = (SecretKey::generate(), SecretKey::generate());
    let node = node_with(&key, certificate(&owner, key.public_key(), "*")).await;
    let peer = endpoint().await;
    node.add_peer(peer.ticket());
    connect(&peer, &node).await;
    assert_eq!(shown_to(&peer, &node), Some(owner.public_key()));
}

#[tokio::test]
async fn certificates_are_shown_to_those_whom_the_program_wants() {
    let (owner, key, friend) = (SecretKey::generate(), SecretKey::generate(), endpoint().await);
    let friends = ShowTo::peers([friend.id()]);
    let id = friend.id();
    let named = ShowTo::when(move |to| to.identity.peer == id && !to.called);
    let cases = [(friends, true, false), (named, true, false), (ShowTo::everybody(), true, true)];
    for (show, to_friend, to_others) in cases {
        let builder = Endpoint::builder().offline().limits(limits()).secret_key(key.clone());
        let builder = builder.delegation(certificate(&owner, key.public_key(), "*")).show_delegations(show);
        let (node, other) = (builder.bind().await.unwrap(), endpoint().await);
        connect(&friend, &node).await;
        connect(&other, &node).await;
        assert_eq!(shown_to(&friend, &node), to_friend.then(|| owner.public_key()));
        assert_eq!(shown_to(&other, &node), to_others.then(|| owner.public_key()));
        node.shutdown(Duration::ZERO).await;
        until(|| friend.peers().is_empty()).await;
    }
}

#[tokio::test]
async fn a_node_acts_for_its_owner_within_the_scope_only() {
    let Cast { owner, node_key, server } = cast().await;
    let node = node_with(&node_key, certificate(&owner, node_key.public_key(), "echo/*")).await;
    echo(&node, &server, b"in scope").await;
    let error = soon(node.get_stream(server.ticket(), "whose/1")).await.unwrap_err();
    assert_eq!(error.rejection(), Some(Reason::Refused), "{error:?}");
}

/// A server that lets everybody in decides by the owner alone, and its handlers see an owner only where the
/// certificate says so.
#[tokio::test]
async fn what_a_handler_is_told_of_an_owner_is_within_the_scope() {
    let (owner, key) = (SecretKey::generate(), SecretKey::generate());
    let (server, node) = (endpoint().await, node_with(&key, certificate(&owner, key.public_key(), "chat/*")).await);
    let (seen, mut told) = tokio::sync::mpsc::unbounded_channel();
    for protocol in ["chat/1", "mail/1"] {
        server.serve_requests(protocol, |request| async move { Ok(whose(request.owner())) }).unwrap();
    }
    server
        .serve_incoming("mail/2", move |incoming| {
            let seen = seen.clone();
            async move {
                let before = incoming.owner();
                let stream = incoming.accept().await.unwrap();
                seen.send((before, stream.owner(), stream.identity().owner_unscoped())).unwrap();
            }
        })
        .unwrap();
    let ask = async |protocol: &'static str| soon(node.request(server.ticket(), protocol, "", PATIENCE)).await.unwrap();
    assert_eq!(ask("chat/1").await, owner.public_key().to_string());
    assert_eq!(ask("mail/1").await, "");
    let _stream = soon(node.get_stream(server.ticket(), "mail/2")).await.unwrap();
    assert_eq!(soon(told.recv()).await.unwrap(), (None, None, Some(owner.public_key())));
}

fn whose(owner: Option<PublicKey>) -> bytes::Bytes {
    owner.map_or_else(String::new, |owner| owner.to_string()).into()
}

/// Sends any bytes as a certificate, and returns how the connection ended.
async fn show(key: &SecretKey, server: &Endpoint, bytes: &[u8]) -> (u64, String) {
    let raw = raw(key).await;
    let connection = raw.connect(server.ticket().to_addr(), twolane::ALPN).await.unwrap();
    let mut control = connection.open_uni().await.unwrap();
    // HELLO with a certificate, parameter 10.
    let varint = |len: usize| (0x4000 | u16::try_from(len).unwrap()).to_be_bytes();
    let mut hello = vec![0, 0];
    hello.extend_from_slice(&varint(16 + 1 + 2 + bytes.len()));
    hello.extend_from_slice(&[9; 16]);
    hello.push(10);
    hello.extend_from_slice(&varint(bytes.len()));
    hello.extend_from_slice(bytes);
    control.write_all(&hello).await.unwrap();
    match soon(connection.closed()).await {
        iroh::endpoint::ConnectionError::ApplicationClosed(close) => {
            (close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned())
        }
        other => panic!("{other:?}"),
    }
}

/// Each fault of a certificate closes the connection with the same code, and with a reason of its own.
#[tokio::test]
async fn a_certificate_that_does_not_hold_closes_the_connection_and_says_why() {
    let Cast { owner, node_key, server } = cast().await;
    let (node, thief, now) = (node_key.public_key(), SecretKey::generate(), SystemTime::now());
    let good = certificate(&owner, node, "*");
    let built = |from: SystemTime, to: SystemTime| {
        Delegation::build(node).scope(pattern("*")).not_before(from).expires(to).sign(&owner).unwrap().to_bytes()
    };
    let mut forged = good.to_bytes();
    *forged.last_mut().unwrap() ^= 1;
    let mut swapped = good.to_bytes();
    let (first, second) = swapped[1..65].split_at_mut(32);
    first.swap_with_slice(second);
    let elsewhere = Delegation::build(node).scope(pattern("*")).audience(thief.public_key()).expires(now + DAY);
    server.revoke(owner.public_key(), Serial::from_bytes([8; 16]));
    let revoked = Delegation::build(node).scope(pattern("*")).expires(now + DAY).serial([8; 16]).sign(&owner).unwrap();
    let cases: [(&str, &SecretKey, Vec<u8>); 8] = [
        ("forged", &node_key, forged),
        ("swapped", &node_key, swapped),
        ("truncated", &node_key, good.to_bytes()[..100].to_vec()),
        ("replayed", &thief, good.to_bytes()),
        ("expired", &node_key, built(now - 2 * DAY, now - DAY)),
        ("not yet valid", &node_key, built(now + DAY, now + 2 * DAY)),
        ("for somebody else", &node_key, elsewhere.sign(&owner).unwrap().to_bytes()),
        ("revoked", &node_key, revoked.to_bytes()),
    ];
    let mut seen = Vec::new();
    for (what, key, bytes) in cases {
        let (code, reason) = show(key, &server, &bytes).await;
        assert_eq!(code, 0x109, "{what}: {reason}");
        assert!(!seen.contains(&reason) && !reason.is_empty(), "{what}: {reason}");
        seen.push(reason);
    }
    assert!(server.peers().is_empty());
    assert_eq!(server.metrics().delegations_refused.get(), 8);
}

#[tokio::test]
async fn a_certificate_that_the_peer_has_revoked_is_said_to_be_so_to_the_caller() {
    let Cast { owner, node_key, server } = cast().await;
    server.revoke(owner.public_key(), Serial::from_bytes(SERIAL));
    let node = node_with(&node_key, certificate(&owner, node_key.public_key(), "*")).await;
    let error = soon(node.get_stream(server.ticket(), ECHO)).await.unwrap_err();
    let (GetStreamError::Lost(lost) | GetStreamError::Dial { source: DialError::Lost(lost), .. }) = &error else {
        panic!("{error:?}")
    };
    assert!(matches!(lost, ConnectionLost::DelegationRefused { .. }), "{error:?}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn revoking_a_certificate_ends_the_standing_while_connected() {
    let Cast { owner, node_key, server } = cast().await;
    let node = node_with(&node_key, certificate(&owner, node_key.public_key(), "*")).await;
    echo(&node, &server, b"hello").await;
    let mut events = server.events();
    let connection = connect(&node, &server).await;
    server.set_revocations({
        let mut list = RevocationList::new();
        list.insert(owner.public_key(), Serial::from_bytes(SERIAL));
        list
    });
    // A stream that comes from now on counts as the node's own.
    assert!(server.peer(&node.id()).is_none_or(|peer| peer.owner_unscoped.is_none()));
    let ended = soon(async {
        loop {
            match events.next().await.unwrap() {
                Event::DelegationEnded { peer, owner, .. } => break (peer, owner),
                Event::Missed(_) => panic!("missed it"),
                _ => {}
            }
        }
    })
    .await;
    assert_eq!(ended, (node.id(), owner.public_key()));
    // The rules let in only the owner.
    soon(connection.closed()).await;
}

/// What an owner does about a machine that was lost, or when it has no list of serials.
#[tokio::test]
async fn all_certificates_of_a_node_or_from_before_a_time_end_without_their_serials() {
    type Revoke = fn(&Endpoint, PublicKey, PublicKey) -> bool;
    let ways: [Revoke; 2] = [
        |server, owner, node| server.revoke_node(owner, node),
        |server, owner, _| server.revoke_before(owner, SystemTime::now()),
    ];
    for revoke in ways {
        let Cast { owner, node_key, server } = cast().await;
        let node = node_with(&node_key, certificate(&owner, node_key.public_key(), "*")).await;
        echo(&node, &server, b"hello").await;
        let connection = connect(&node, &server).await;
        // Another owner's word counts for nothing here.
        assert!(revoke(&server, node_key.public_key(), node_key.public_key()));
        echo(&node, &server, b"still here").await;
        assert!(revoke(&server, owner.public_key(), node_key.public_key()));
        assert!(server.peer(&node.id()).is_none_or(|peer| peer.owner_unscoped.is_none()));
        // The rules let in only the owner.
        soon(connection.closed()).await;
        assert_eq!(server.revocations().len(), 2);
    }
}

#[tokio::test]
async fn revocations_outlive_a_restart_if_they_are_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state/revoked");
    let (owner, key) = (SecretKey::generate(), SecretKey::generate());
    let begin = async || {
        let builder = Endpoint::builder().offline().limits(limits()).revocation_file(&file);
        builder.bind().await.unwrap()
    };
    let server = begin().await;
    soon(server.revocations_saved()).await.unwrap();
    assert!(server.revoke(owner.public_key(), Serial::from_bytes(SERIAL)));
    soon(server.revocations_saved()).await.unwrap();
    assert_eq!(twolane::storage::revocations::load(&file).unwrap(), server.revocations());
    // The shutdown waits until this one is written.
    assert!(server.revoke_node(owner.public_key(), SecretKey::generate().public_key()));
    soon(server.shutdown(PATIENCE)).await;

    let server = begin().await;
    assert_eq!(server.revocations().len(), 2);
    serve_echo(&server);
    let node = node_with(&key, certificate(&owner, key.public_key(), "*")).await;
    let error = soon(node.get_stream(server.ticket(), ECHO)).await.unwrap_err();
    assert!(!error.is_retryable(), "{error:?}");
    assert_eq!(server.metrics().delegations_refused.get(), 1);
}

#[tokio::test]
async fn an_endpoint_that_cannot_keep_its_revocations_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("revoked");
    std::fs::write(&file, "node somebody\n").unwrap();
    let bound = Endpoint::builder().offline().revocation_file(&file).bind().await;
    assert!(matches!(bound, Err(twolane::BindError::Revocations(_))), "an unreadable list is no empty one");
    let kept_nowhere = soon(endpoint().await.revocations_saved()).await;
    assert!(matches!(kept_nowhere, Err(RevocationsNotSaved::NoFile)));

    std::fs::remove_file(&file).unwrap();
    let server = Endpoint::builder().offline().limits(limits()).revocation_file(&file).bind().await.unwrap();
    // A folder in the place of the file cannot be replaced by one.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let (owner, node) = (SecretKey::generate().public_key(), SecretKey::generate().public_key());
    server.revoke_node(owner, node);
    let unsaved = soon(server.revocations_saved()).await.unwrap_err();
    assert!(matches!(unsaved, RevocationsNotSaved::Failed(_)) && unsaved.is_retryable(), "{unsaved:?}");
    assert_eq!(server.revocations().len(), 1, "it counts, even so");
}

#[tokio::test]
async fn a_connected_node_that_shows_the_certificate_of_a_denied_owner_is_cut_off() {
    let (owner, key, list) = (SecretKey::generate(), SecretKey::generate(), AccessList::everybody());
    list.deny(owner.public_key());
    let server = Endpoint::builder().offline().limits(limits()).access(list).bind().await.unwrap();
    let node = with_key(&key).await;
    let connection = connect(&node, &server).await;
    node.set_delegations(vec![certificate(&owner, key.public_key(), "*")]).unwrap();
    soon(connection.closed()).await;
    until(|| server.peers().is_empty()).await;
}

#[tokio::test]
async fn a_node_of_a_denied_owner_does_not_come_back_by_hiding_its_certificate() {
    let (owner, key, list) = (SecretKey::generate(), SecretKey::generate(), AccessList::everybody());
    let server = Endpoint::builder().offline().limits(limits()).access(list.clone()).bind().await.unwrap();
    serve_echo(&server);
    let node = node_with(&key, certificate(&owner, key.public_key(), "chat/*")).await;
    echo(&node, &server, b"as myself, since the scope is another").await;
    list.deny(owner.public_key());
    until(|| server.peers().is_empty()).await;
    node.shutdown(Duration::ZERO).await;
    let bare = with_key(&key).await;
    assert!(soon(bare.get_stream(server.ticket(), ECHO)).await.is_err());
    list.forget(&owner.public_key());
    echo(&bare, &server, b"welcome back").await;
}

#[tokio::test]
async fn a_list_that_requires_certificates_lets_strangers_in_with_one_and_within_its_scope() {
    let (owner, key, list) = (SecretKey::generate(), SecretKey::generate(), AccessList::everybody());
    list.require_certificate(true);
    let server = Endpoint::builder().offline().limits(limits()).access(list.clone()).bind().await.unwrap();
    serve_echo(&server);
    server.serve_requests("whose/1", |request| async move { Ok(whose(request.owner())) }).unwrap();
    let (stranger, node) = (endpoint().await, node_with(&key, certificate(&owner, key.public_key(), "echo/*")).await);
    assert!(soon(stranger.get_stream(server.ticket(), ECHO)).await.is_err());
    echo(&node, &server, b"somebody answers for me").await;
    let error = soon(node.get_stream(server.ticket(), "whose/1")).await.unwrap_err();
    assert_eq!(error.rejection(), Some(Reason::Refused), "{error:?}");
    list.allow(stranger.id());
    echo(&stranger, &server, b"known by name").await;
}

#[tokio::test]
async fn an_endpoint_does_not_take_a_certificate_for_another_key() {
    let (owner, other) = (SecretKey::generate(), SecretKey::generate());
    let wrong = certificate(&owner, other.public_key(), "*");
    let bound = Endpoint::builder().offline().delegation(wrong.clone()).bind().await;
    assert!(matches!(bound, Err(twolane::BindError::Delegation { .. })));
    assert!(endpoint().await.set_delegations(vec![wrong]).is_err());
}

/// A peer takes eight certificates in a row, and one more each second.
#[tokio::test]
async fn certificates_that_are_replaced_one_after_the_other_are_shown_at_the_pace_that_peers_take() {
    let Cast { owner, node_key, server } = cast().await;
    let id = node_key.public_key();
    let node = node_with(&node_key, certificate(&owner, id, "echo/*")).await;
    echo(&node, &server, b"in scope").await;
    let mut events = node.events();
    for n in 0..20 {
        let scope = if n < 19 { "echo/*" } else { "whose/*" };
        node.set_delegations(vec![certificate(&owner, id, scope)]).unwrap();
        // Each certificate is sent before the next one is set.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The last certificate arrives in the end, and the connection has stayed.
    let asked = async {
        loop {
            match node.request(server.ticket(), "whose/1", "", Duration::from_secs(30)).await {
                Ok(whose) => break whose,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    assert_eq!(soon(asked).await, owner.public_key().to_string());
    let lost = tokio::time::timeout(Duration::ZERO, async {
        loop {
            if let Some(Event::Disconnected { cause, .. }) = events.next().await {
                break cause;
            }
        }
    });
    assert!(lost.await.is_err());
}
