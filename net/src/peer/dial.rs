//! One dial, from the wait before it to the connection that results from it.

use std::{pin::pin, sync::Arc, time::Duration};

use iroh::endpoint::{ConnectOptions, OutgoingZeroRttConnection};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    backoff,
    entry::{EarlyView, Peer},
    link::{ControlStream, Link, Prepared},
    peers::Peers,
    table::{Input, OwnDial},
};
use crate::{
    access::Refused,
    error::{ConnectionLost, DialError},
    key,
    stream::{Handshake, Quic},
    wire::{ALPN, codes::connection as codes},
};

/// Replacement for a timeout that the clock cannot hold, such as `Duration::MAX`.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The result of a handshake.
struct Shaken {
    link: Arc<Link>,
    dial: OwnDial,
    /// This side's control stream, if HELLO was sent on it before the handshake was done, and the peer has taken it.
    said: Option<ControlStream>,
    /// Shows the connection to callers that send early, until it is in the table of peers.
    view: Option<EarlyView>,
}

/// Dials once, for all callers that wait for the peer.
pub(super) async fn dial(peers: Arc<Peers>, peer: Arc<Peer>) {
    // Registered before the failures are read: they are forgotten when an address becomes known.
    let mut hurried = pin!(peer.hurry.notified());
    hurried.as_mut().enable();
    let failures = peer.lock().row.failures();
    let since = peer.failed_for().unwrap_or_default();
    let wait = backoff::delay(failures, backoff::random()).saturating_sub(since);
    if !wait.is_zero() {
        let mut view = peer.view.subscribe();
        let dropped = tokio::select! {
            () = sleep(wait) => false,
            () = hurried => false,
            _ = view.wait_for(|view| view.current.is_some()) => true,
            () = peers.closing.cancelled() => true,
        };
        if dropped {
            peers.apply(&peer, Input::DialDropped);
            return;
        }
    }
    let version = peers.shared.gate.version();
    let connected = loop {
        // Registered before the addresses are looked up.
        let hurried = peer.hurry.notified();
        let now = Instant::now();
        let deadline = now.checked_add(peers.shared.limits.connect_timeout).unwrap_or(now + NEVER);
        let shaken = tokio::select! {
            biased;
            // An address has become known that the dial under way does not try, or the connection that the dial may
            // lose against was closed. The peer has not heard of this dial yet, since HELLO comes first. If HELLO and
            // requests were sent early, the requests are sent again: they are repeatable.
            () = hurried => continue,
            () = peers.closing.cancelled() => break Err(DialError::ShuttingDown),
            shaken = shake_hands(&peers, &peer, deadline) => shaken,
        };
        let Shaken { link, dial, said, view } = match shaken {
            Ok(shaken) => shaken,
            // Closed here before the handshake was done: the dial begins anew, as below.
            Err(DialError::Lost(ConnectionLost::Closed)) => continue,
            Err(cause) => break Err(cause),
        };
        // The peer may use the connection from now on. So it ends with a cause that the peer can read, or not at
        // all.
        match enter(&peers, &link, dial, said, deadline).await {
            // Closed here, together with the connections that existed. The callers that wait get another connection.
            Err(DialError::Lost(ConnectionLost::Closed)) => {}
            entered => break entered.map(|prepared| (prepared, dial, view)),
        }
    };
    match connected {
        Ok((prepared, dial, view)) => {
            let (link, nonce) = (Arc::clone(prepared.link()), prepared.nonce());
            let hello = nonce.map(|nonce| Input::Hello(link.generation, nonce));
            let inputs: Vec<_> = [Input::Dialled(link.generation, dial)].into_iter().chain(hello).collect();
            peers.register(prepared, &inputs);
            // The connection is the current one now, so that callers find it all the time.
            drop(view);
            peers.look_again(&link, version);
        }
        Err(cause) => {
            peer.lock().entering = None;
            peers.dial_failed(&peer, cause);
        }
    }
}

/// Dials up to the end of the QUIC handshake.
async fn shake_hands(peers: &Peers, peer: &Arc<Peer>, deadline: Instant) -> Result<Shaken, DialError> {
    let (id, dial) = (peer.id, peers.begin_dial(peer));
    let address = key::to_iroh(&id);
    let dialling = async {
        let allowed = peers.shared.gate.before_dial(id).await;
        allowed.map_err(|Refused(reason)| DialError::NotAllowed { reason: reason.into() })?;
        let connecting = peers.endpoint.connect_with_opts(address, ALPN, ConnectOptions::new()).await;
        let mut connecting = connecting.map_err(|error| dial_error(error.into()))?;
        if peer.wants_early() {
            match connecting.into_0rtt() {
                // Boxed, because it is rare and large.
                Ok(connection) => return Box::pin(shake_hands_early(peers, peer, dial, connection)).await,
                // There is no session to resume.
                Err(unchanged) => connecting = unchanged,
            }
        }
        let connection = connecting.await.map_err(|error| dial_error(error.into()))?;
        let link = enter_handshake(peers, peer, connection.into());
        Ok(Shaken { link, dial, said: None, view: None })
    };
    timeout_at(deadline, dialling).await.unwrap_or_else(|_| Err(timed_out(peers)))
}

/// Sends HELLO before the handshake is done, and lets callers send their repeatable requests after it.
///
/// This side changes no limit of its transport before the handshake is done: if the peer drops what was sent early, noq
/// 1.4 takes a frame such as MAX_DATA for sent, and does not send it again.
async fn shake_hands_early(
    peers: &Peers,
    peer: &Arc<Peer>,
    dial: OwnDial,
    connection: OutgoingZeroRttConnection,
) -> Result<Shaken, DialError> {
    let link = enter_handshake(peers, peer, Quic::dialled(connection));
    let said = link.say_hello(dial.said()).await.map_err(DialError::Lost)?;
    let view = EarlyView::new(peer, &link);
    match link.handshake().await.map_err(DialError::Lost)? {
        Handshake::Done => Ok(Shaken { link, dial, said: Some(said), view: Some(view) }),
        Handshake::EarlyRejected(connection) => {
            tracing::debug!(peer = %peer.id, "the peer dropped what was sent before the handshake was done");
            peers.shared.metrics.early_rejected.inc();
            // The connection stays, with state of its own. `said` is void and closes nothing.
            link.carrier.set_void();
            drop((view, said));
            let link = enter_handshake(peers, peer, connection.into());
            Ok(Shaken { link, dial, said: None, view: None })
        }
    }
}

/// Makes the state of the connection of a dial. The generation is drawn here: the time that the rules take from here on
/// does not make the connection any newer.
fn enter_handshake(peers: &Peers, peer: &Peer, connection: Quic) -> Arc<Link> {
    let link = Link::new(connection, peer.id, peers.next_generation(), &peers.shared, true);
    peer.lock().entering = Some(Arc::clone(&link));
    link
}

/// Takes the connection from the end of the handshake to the point where streams may be opened on it.
async fn enter(
    peers: &Peers,
    link: &Arc<Link>,
    dial: OwnDial,
    said: Option<ControlStream>,
    deadline: Instant,
) -> Result<Prepared, DialError> {
    // Pinned here, so that it is dropped after `cut`: the drop of its control stream closes the connection without a
    // reason.
    let mut entering = pin!(timeout_at(deadline, Arc::clone(link).enter(dial.said(), said)));
    tokio::select! {
        entered = &mut entering => match entered {
            Ok(entered) => entered.map_err(DialError::Lost),
            Err(_) => {
                let cause = timed_out(peers);
                link.cut(ConnectionLost::Closed, codes::CLOSED, &format!("the dial was given up: {cause}"));
                Err(cause)
            }
        },
        () = peers.closing.cancelled() => {
            link.cut(ConnectionLost::Closed, codes::DONE, "the endpoint is shutting down");
            Err(DialError::ShuttingDown)
        }
    }
}

fn timed_out(peers: &Peers) -> DialError {
    DialError::TimedOut { after: peers.shared.limits.connect_timeout }
}

fn dial_error(error: iroh::endpoint::ConnectError) -> DialError {
    use iroh::endpoint::{ConnectError, ConnectWithOptsError, ConnectingError};
    match error {
        ConnectError::Connect { source: ConnectWithOptsError::SelfConnect { .. }, .. } => DialError::OwnKey,
        ConnectError::Connect { source: ConnectWithOptsError::NoAddress { .. }, .. } => {
            DialError::NoAddress(Arc::new(error))
        }
        ConnectError::Connecting { source: ConnectingError::ConnectionError { source, .. }, .. } => {
            DialError::Lost(source.into())
        }
        ConnectError::Connection { source, .. } => DialError::Lost(source.into()),
        _ => DialError::Failed(Arc::new(error)),
    }
}
