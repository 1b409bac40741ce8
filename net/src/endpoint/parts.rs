//! What `bind` and `attach` have in common: the parts of an endpoint, on an iroh endpoint.

use std::sync::{Arc, atomic::AtomicBool};

use tokio_util::sync::CancellationToken;
use twolane_id::PublicKey;

use super::{
    Endpoint, Inner, Relays,
    accept::Inbound,
    attach::Attached,
    learned::{self, Learned},
    revocation_file::RevocationFile,
    router::Router,
    transport,
};
use crate::{
    access::{Gate, GateConfig},
    congestion::Congestion,
    error::BindError,
    limits::Limits,
    metrics::Metrics,
    path_policy::PathPolicy,
    peer::{HasRelay, Peers, Policies, Shared, Underlay, guard, lookout, unused},
    tasks::Tasks,
};

/// What an endpoint is made of.
pub(super) struct Parts {
    pub(super) iroh: iroh::Endpoint,
    /// Whose the iroh endpoint is: `None` if it is this library's own.
    pub(super) attached: Option<Attached>,
    pub(super) us: PublicKey,
    /// Within their ranges: [`Limits::sane`].
    pub(super) limits: Limits,
    pub(super) congestion: Congestion,
    pub(super) paths: PathPolicy,
    pub(super) gate: GateConfig,
    pub(super) tasks: Tasks,
    /// The peers that the program has named: they are no strangers.
    pub(super) named: Vec<PublicKey>,
    pub(super) learned: Arc<Learned>,
    pub(super) revocation_file: Option<Arc<RevocationFile>>,
    pub(super) mdns: Option<Result<(), String>>,
    pub(super) relays: Relays,
}

/// Makes an endpoint and starts its tasks, except for those that accept connections.
pub(super) fn start(parts: Parts) -> Result<Endpoint, BindError> {
    let Parts { iroh, attached, us, limits, congestion, paths, gate, tasks, .. } = parts;
    let Parts { named, learned, revocation_file, mdns, relays, .. } = parts;
    let limits = Arc::new(limits);
    let closing = CancellationToken::new();
    let router = Router::new(Arc::clone(&limits), tasks.clone());
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|_| BindError::Random)?;
    let on_stream = {
        let router = Arc::clone(&router);
        Box::new(move |stream| router.take(stream))
    };
    let has_relay = match (&attached, relays.configured) {
        (Some(_), _) => HasRelay::AsChosen,
        (None, true) => HasRelay::Yes,
        (None, false) => HasRelay::No,
    };
    let shared = Arc::new(Shared {
        limits: Arc::clone(&limits),
        gate: Gate::new(us, gate, Arc::clone(&limits)),
        metrics: Arc::new(Metrics::default()),
        policies: Policies::new(paths),
        // Where it is not known how often a path is kept alive, it is as seldom as iroh allows.
        silence: transport::silence(&limits, has_relay == HasRelay::Yes),
        lookout: Arc::default(),
        nonce,
        tasks: tasks.clone(),
        on_stream,
    });
    named.into_iter().for_each(|peer| shared.gate.call(peer));
    let underlay = Underlay::new(iroh.clone(), transport::configs(&limits, &congestion), has_relay);
    let peers = Peers::new(underlay, us, shared, closing.clone());
    tasks.spawn(guard::run(Arc::clone(&peers)));
    tasks.spawn(lookout::run(Arc::clone(&peers)));
    tasks.spawn(unused::run(Arc::clone(&peers)));
    tasks.spawn({
        let (learned, peers) = (Arc::clone(&learned), Arc::clone(&peers));
        learned::run(learned, move |id: &PublicKey| peers.is_in_use(id), closing.clone())
    });
    if let Some(file) = &revocation_file {
        tasks.spawn(Arc::clone(file).run(Arc::clone(&peers.shared.gate), peers.closed.clone()));
    }
    let inner = Inner {
        iroh,
        attached,
        us,
        inbound: Inbound::new(Arc::clone(&peers)),
        peers,
        router,
        limits,
        tasks,
        closing,
        closes_sockets: AtomicBool::new(false),
        sockets_closed: CancellationToken::new(),
        learned,
        revocation_file,
        mdns,
        relays,
        #[cfg(feature = "metrics")]
        metrics_server: tokio::sync::Mutex::new(None),
    };
    Ok(Endpoint::new(inner))
}

/// Ends every wait of an endpoint whose iroh endpoint is closed, by a shutdown or by the program.
pub(super) fn end(peers: &Peers, router: &Router) {
    peers.closing.cancel();
    router.close();
    peers.close_all("the iroh endpoint is closed");
}
