//! The endpoint.

use std::sync::Arc;

use n0_future::stream;
use pyo3::{prelude::*, types::PyDict};
use twolane::{Protocol, PublicKey, delegation::RevocationList};

use crate::{
    access::AccessList,
    bridge::Convert,
    delegation::{Delegation, parse_serial},
    error::Problem,
    hooks::Calls,
    info,
    keep::Keep,
    key::{KeyPair, PeerId, peer_from, seconds},
    op::Op,
    options,
    rules::Rules,
    runtime::{self, Here, Shared},
    serve,
    source::Source,
    ticket::{Ticket, socket_addr, ticket_from},
};

/// A bound endpoint.
#[pyclass(frozen, module = "twolane._native")]
pub(crate) struct Endpoint {
    shared: Here<Arc<Shared>>,
}

/// Binds an endpoint.
#[pyfunction]
#[pyo3(signature = (
    *, key, offline, n0, mdns, relays, trust_roots, nameserver, directory, bind, relay_only, path_policy, peers, access,
    hooks, delegations, revocations, congestion, limits
))]
#[expect(clippy::too_many_arguments, reason = "the options of `Endpoint`, by name")]
pub(crate) fn bind(
    py: Python<'_>,
    key: &Bound<'_, KeyPair>,
    offline: bool,
    n0: Option<bool>,
    mdns: Option<bool>,
    relays: Vec<String>,
    trust_roots: Vec<Vec<u8>>,
    nameserver: Option<String>,
    directory: Option<(String, String)>,
    bind: Vec<String>,
    relay_only: bool,
    path_policy: &Bound<'_, PyAny>,
    peers: Vec<Bound<'_, PyAny>>,
    access: Option<Bound<'_, PyAny>>,
    hooks: Option<Py<PyAny>>,
    delegations: Vec<Bound<'_, Delegation>>,
    revocations: Vec<(Bound<'_, PyAny>, String)>,
    congestion: &str,
    limits: &Bound<'_, PyDict>,
) -> PyResult<Op> {
    let mut builder = twolane::Endpoint::builder().secret_key(key.get().0.clone()).limits(options::from_dict(limits)?);
    if offline {
        builder = builder.offline();
    }
    for relay in relays {
        builder = builder.relay(relay);
    }
    for root in trust_roots {
        builder = builder.trust_root(root);
    }
    if let Some(server) = nameserver {
        builder = builder.nameserver(socket_addr(&server)?);
    }
    if let Some((pkarr, origin)) = directory {
        builder = builder.directory(pkarr, origin);
    }
    if let Some(n0) = n0 {
        builder = builder.n0(n0);
    }
    if let Some(mdns) = mdns {
        builder = builder.mdns(mdns);
    }
    for addr in bind {
        builder = builder.bind_addr(socket_addr(&addr)?);
    }
    if relay_only {
        builder = builder.relay_only();
    }
    builder = builder.path_policy(options::path_policy(path_policy)?);
    for peer in peers {
        builder = builder.peer(ticket_from(&peer)?);
    }
    if let Some(access) = access {
        builder = match access.cast::<AccessList>() {
            Ok(list) => builder.access(list.get().0.clone()),
            Err(_) => builder.access(Rules::new(py, access.unbind())?),
        };
    }
    if let Some(hooks) = hooks {
        builder = builder.hooks(Calls::new(py, hooks)?);
    }
    for delegation in delegations {
        builder = builder.delegation(delegation.get().0.clone());
    }
    builder = builder.revocations(revocation_list(&revocations)?).congestion(options::congestion(congestion)?);
    Op::start(py, builder.bind(), |py, bound| {
        let shared = Arc::new(Shared::new(bound.map_err(Problem::from)?));
        runtime::register(Arc::downgrade(&shared));
        Ok(Py::new(py, Endpoint { shared: Here::new(shared) })?.into_any())
    })
}

#[pymethods]
impl Endpoint {
    #[getter]
    fn id(&self) -> PyResult<PeerId> {
        Ok(PeerId(self.endpoint()?.id()))
    }

    fn ticket(&self, py: Python<'_>) -> PyResult<Ticket> {
        let (endpoint, _guard) = (self.endpoint()?, runtime::handle()?.enter());
        Ok(Ticket(py.detach(|| endpoint.ticket())))
    }

    fn limits<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        options::to_dict(py, self.endpoint()?.limits())
    }

    fn status(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (endpoint, _guard) = (self.endpoint()?, runtime::handle()?.enter());
        let status = py.detach(|| endpoint.status());
        info::status(py, &status)
    }

    /// Waits until it is known which peers can reach the endpoint, for at most `within` seconds.
    fn settled(&self, py: Python<'_>, within: f64) -> PyResult<Op> {
        let (endpoint, within) = (self.endpoint()?.clone(), seconds(within)?);
        Op::start(py, async move { endpoint.settled(within).await }, |py, status| info::status(py, &status))
    }

    fn openmetrics(&self, py: Python<'_>) -> PyResult<String> {
        let endpoint = self.endpoint()?;
        Ok(py.detach(|| endpoint.openmetrics()))
    }

    fn peers(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let endpoint = self.endpoint()?;
        let peers = py.detach(|| endpoint.peers());
        peers.iter().map(|peer| info::peer(py, peer)).collect()
    }

    fn peer(&self, py: Python<'_>, peer: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let (endpoint, id) = (self.endpoint()?, peer_of(peer)?);
        let found = py.detach(|| endpoint.peer(&id));
        found.map(|found| info::peer(py, &found)).transpose()
    }

    fn add_peer(&self, peer: &Bound<'_, PyAny>) -> PyResult<()> {
        let (endpoint, _guard) = (self.endpoint()?, runtime::handle()?.enter());
        endpoint.add_peer(ticket_from(peer)?);
        Ok(())
    }

    fn path_policy(&self, py: Python<'_>, peer: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let policy = self.endpoint()?.path_policy(&peer_of(peer)?);
        options::from_path_policy(py, policy)
    }

    fn set_path_policy(&self, peer: &Bound<'_, PyAny>, policy: &Bound<'_, PyAny>) -> PyResult<()> {
        let (endpoint, _guard) = (self.endpoint()?, runtime::handle()?.enter());
        endpoint.set_path_policy(&peer_of(peer)?, options::path_policy(policy)?);
        Ok(())
    }

    fn disconnect(&self, py: Python<'_>, peer: &Bound<'_, PyAny>, reason: &str) -> PyResult<bool> {
        let (endpoint, _guard) = (self.endpoint()?, runtime::handle()?.enter());
        let id = peer_of(peer)?;
        Ok(py.detach(|| endpoint.disconnect(&id, reason)))
    }

    fn online(&self, py: Python<'_>, within: f64) -> PyResult<Op> {
        let (endpoint, within) = (self.endpoint()?.clone(), seconds(within)?);
        Op::start(py, async move { endpoint.online(within).await }, |py, online| {
            Ok(online.into_pyobject(py)?.to_owned().into_any().unbind())
        })
    }

    #[pyo3(signature = (protocol, callback, limit))]
    fn serve(&self, py: Python<'_>, protocol: &str, callback: Py<PyAny>, limit: Option<usize>) -> PyResult<()> {
        let (endpoint, _guard) = (self.endpoint()?, runtime::handle()?.enter());
        let served = serve::streams(py, endpoint, parse(protocol)?, callback, limit)?;
        Ok(served.map_err(Problem::from)?)
    }

    #[pyo3(signature = (protocol, callback, limit))]
    fn serve_requests(
        &self,
        py: Python<'_>,
        protocol: &str,
        callback: Py<PyAny>,
        limit: Option<usize>,
    ) -> PyResult<()> {
        let (endpoint, _guard) = (self.endpoint()?, runtime::handle()?.enter());
        let served = serve::requests(py, endpoint, parse(protocol)?, callback, limit)?;
        Ok(served.map_err(Problem::from)?)
    }

    fn stop_serving(&self, protocol: &str) -> PyResult<bool> {
        let (endpoint, _guard) = (self.endpoint()?, runtime::handle()?.enter());
        Ok(endpoint.stop_serving(parse(protocol)?))
    }

    fn accept(&self, protocols: Vec<String>) -> PyResult<Source> {
        let (endpoint, _guard) = (self.endpoint()?, runtime::handle()?.enter());
        let protocols: PyResult<Vec<_>> = protocols.iter().map(|protocol| parse(protocol)).collect();
        Ok(serve::accepted(endpoint.clone(), protocols?))
    }

    /// The events from now on. They end when the endpoint is closed and all of them were taken.
    fn events(&self) -> PyResult<Source> {
        let shared = self.shared.get()?;
        let state = (shared.endpoint.events(), shared.closed.subscribe());
        Ok(Source::new(stream::unfold(state, |(mut events, mut closed)| async move {
            let event = tokio::select! {
                biased;
                event = events.next() => event?,
                _ = closed.wait_for(|closed| *closed) => return None,
            };
            Some((Box::new(move |py: Python<'_>| info::event(py, &event)) as Convert, (events, closed)))
        })))
    }

    fn keep(&self, peer: &Bound<'_, PyAny>) -> PyResult<Keep> {
        let (endpoint, _guard) = (self.endpoint()?, runtime::handle()?.enter());
        Keep::new(endpoint.keep(ticket_from(peer)?))
    }

    fn set_delegations(&self, delegations: Vec<Bound<'_, Delegation>>) -> PyResult<()> {
        let (endpoint, _guard) = (self.endpoint()?, runtime::handle()?.enter());
        let delegations = delegations.iter().map(|delegation| delegation.get().0.clone()).collect();
        Ok(endpoint.set_delegations(delegations).map_err(Problem::from)?)
    }

    fn revoke(&self, owner: &Bound<'_, PyAny>, serial: &str) -> PyResult<bool> {
        let (endpoint, _guard) = (self.endpoint()?, runtime::handle()?.enter());
        Ok(endpoint.revoke(peer_from(owner)?.0, parse_serial(serial)?))
    }

    fn set_revocations(&self, revocations: Vec<(Bound<'_, PyAny>, String)>) -> PyResult<()> {
        let (endpoint, _guard) = (self.endpoint()?, runtime::handle()?.enter());
        endpoint.set_revocations(revocation_list(&revocations)?);
        Ok(())
    }

    /// Shuts the endpoint down. The shutdown continues even if the caller is cancelled.
    fn shutdown(&self, py: Python<'_>, deadline: f64) -> PyResult<Op> {
        let (shared, deadline) = (Arc::clone(self.shared.get()?), seconds(deadline)?);
        let closing = async move {
            let report = shared.endpoint.shutdown(deadline).await;
            shared.closed.send_replace(true);
            report
        };
        Op::start_detached(py, closing, info::shutdown)
    }

    /// Waits until a shutdown has ended.
    fn closed(&self, py: Python<'_>) -> PyResult<Op> {
        let mut closed = self.shared.get()?.closed.subscribe();
        let closing = async move {
            // An error means that the endpoint is gone, which is the same.
            let _ = closed.wait_for(|closed| *closed).await;
        };
        Op::start(py, closing, |py, ()| Ok(py.None()))
    }
}

impl Endpoint {
    /// Returns the crate's endpoint. Raises `ForkError` if it is the parent's.
    pub(crate) fn endpoint(&self) -> PyResult<&twolane::Endpoint> {
        Ok(&self.shared.get()?.endpoint)
    }
}

pub(crate) fn parse(protocol: &str) -> PyResult<Protocol> {
    Ok(Protocol::new(protocol).map_err(|error| Problem::of("InvalidProtocol", &error))?)
}

fn peer_of(peer: &Bound<'_, PyAny>) -> PyResult<PublicKey> {
    Ok(ticket_from(peer)?.peer())
}

fn revocation_list(entries: &[(Bound<'_, PyAny>, String)]) -> PyResult<RevocationList> {
    let mut list = RevocationList::new();
    for (owner, serial) in entries {
        list.insert(peer_from(owner)?.0, parse_serial(serial)?);
    }
    Ok(list)
}
