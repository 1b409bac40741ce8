//! The consequences of the path that data takes: the path is reported, a lost direct path is looked for, and a
//! connection whose policy does not allow its path is ended.

use std::{convert::Infallible, future::pending, time::Instant};

use iroh::endpoint::{Connection, Path};
use n0_future::StreamExt;
use tokio::time::sleep_until;

use super::{policy::Tolerance, restore::Restore};
use crate::{
    error::ConnectionLost,
    events::PathKind,
    path_policy::PathPolicy,
    peer::{
        backoff,
        link::{Link, Notice},
    },
    wire::codes::connection as codes,
};

/// Returns the kind of the path that the handshake took. A connection starts on its first path, and may have another
/// one by the time at which the handshake is known to be done.
pub(in crate::peer) fn of_handshake(connection: &Connection) -> Option<PathKind> {
    connection.paths().iter().min_by_key(|path| path.id()).map(|path| kind(&path))
}

pub(in crate::peer) fn kind(path: &Path<'_>) -> PathKind {
    if path.is_relay() { PathKind::Relay } else { PathKind::Direct }
}

/// Watches the paths of a connection until it ends, from its start: on a fast network a direct path has replaced the
/// path over a relay before the peer's HELLO comes.
pub(in crate::peer) async fn watch(link: &Link, first: Option<PathKind>, notify: &impl Fn(Notice)) -> Infallible {
    let policies = link.policies();
    let mut policy_changed = policies.watch();
    let mut policy = policies.get(&link.peer());
    let (mut restore, mut tolerance) = (Restore::default(), Tolerance::default());
    let mut path = None;
    let mut take = |now: PathKind, restore: &mut Restore, tolerance: &mut Tolerance| {
        if path != Some(now) {
            path = Some(now);
            restore.on_path(now, Instant::now());
            tolerance.on_path(now, Instant::now());
            notify(Notice::Path(now));
        }
    };
    if let Some(first) = first {
        take(first, &mut restore, &mut tolerance);
    }
    // Only the side that dialled can have iroh look for paths.
    let dialled = link.is_dialled();
    let Some(connection) = link.connection().established() else {
        // The tasks of a connection begin when its handshake is done.
        return pending().await;
    };
    let mut paths = connection.paths_stream();
    loop {
        tokio::select! {
            changed = paths.next() => {
                if changed.is_none() {
                    break;
                }
                if let Some((now, _)) = link.path() {
                    take(now, &mut restore, &mut tolerance);
                }
            }
            () = until(restore.due(policy.wants_direct()).filter(|_| dialled)) => {
                restore.looked(Instant::now(), backoff::random());
                notify(Notice::LookForDirect);
            }
            () = until(tolerance.ends(policy)) => {
                tracing::debug!(%policy, "the connection used a relay for longer than the path policy allows");
                link.cut(ConnectionLost::OnlyRelay { policy }, codes::NOT_DIRECT, &close_reason(policy));
                break;
            }
            Ok(()) = policy_changed.changed() => {
                let now = policies.get(&link.peer());
                if now != policy {
                    policy = now;
                    tolerance.on_policy(Instant::now());
                }
            }
        }
    }
    // The control stream tells more about the end of the connection.
    pending().await
}

/// Returns the reason that the peer reads when its connection is closed.
fn close_reason(policy: PathPolicy) -> String {
    format!("the connection has only a relay path, and the path policy is {policy}")
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when.into()).await,
        None => pending().await,
    }
}
