//! The endpoint.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};
use twolane::{
    KeepState, Protocol, PublicKey, RequestOptions, ServeOptions, StreamOptions, delegation::RevocationList,
};

use crate::{
    access::AccessList,
    data,
    delegation::{Delegation, parse_serial},
    error::{Problem, chain},
    info,
    key::{KeyPair, PeerId, peer_from, seconds},
    op::Op,
    options,
    rules::Rules,
    runtime::{self, Local},
    serve,
    source::Source,
    stream::Stream,
    ticket::{Ticket, socket_addr, ticket_from},
};

/// A bound endpoint.
#[pyclass(frozen, module = "twolane._native")]
pub(crate) struct Endpoint {
    shared: Local<Arc<Shared>>,
}

/// The part of an endpoint that is registered for the exit of the interpreter.
pub(crate) struct Shared {
    pub(crate) endpoint: twolane::Endpoint,
}

/// Binds an endpoint.
#[pyfunction]
#[pyo3(signature = (*, key, offline, n0, mdns, relays, bind, relay_only, peers, access, delegations, revocations, congestion, remembered_peers, require_post_quantum, limits))]
#[expect(clippy::too_many_arguments, reason = "the options of `Endpoint`, by name")]
pub(crate) fn bind(
    py: Python<'_>,
    key: &Bound<'_, KeyPair>,
    offline: bool,
    n0: Option<bool>,
    mdns: Option<bool>,
    relays: Vec<String>,
    bind: Vec<String>,
    relay_only: bool,
    peers: Vec<Bound<'_, PyAny>>,
    access: Option<Bound<'_, PyAny>>,
    delegations: Vec<Bound<'_, Delegation>>,
    revocations: Vec<(Bound<'_, PyAny>, String)>,
    congestion: &str,
    remembered_peers: Option<usize>,
    require_post_quantum: bool,
    limits: &Bound<'_, PyDict>,
) -> PyResult<Op> {
    let mut builder = twolane::Endpoint::builder().secret_key(key.get().0.clone()).limits(options::from_dict(limits)?);
    if offline {
        builder = builder.offline();
    }
    for relay in relays {
        builder = builder.relay(relay);
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
    for peer in peers {
        builder = builder.peer(ticket_from(&peer)?);
    }
    if let Some(access) = access {
        builder = match access.cast::<AccessList>() {
            Ok(list) => builder.access(list.get().0.clone()),
            Err(_) => builder.access(Rules::new(py, access.unbind())?),
        };
    }
    for delegation in delegations {
        builder = builder.delegation(delegation.get().0.clone());
    }
    builder = builder.revocations(revocation_list(&revocations)?).congestion(options::congestion(congestion)?);
    if let Some(remembered) = remembered_peers {
        builder = builder.remembered_peers(remembered);
    }
    if require_post_quantum {
        builder = builder.require_post_quantum();
    }
    Op::start(py, builder.bind(), |py, bound| {
        let shared = Arc::new(Shared { endpoint: bound.map_err(Problem::from)? });
        runtime::register(Arc::downgrade(&shared));
        Ok(Py::new(py, Endpoint { shared: Local::new(shared) })?.into_any())
    })
}

#[pymethods]
impl Endpoint {
    #[getter]
    fn id(&self) -> PeerId {
        PeerId(self.endpoint().id())
    }

    fn ticket(&self, py: Python<'_>) -> PyResult<Ticket> {
        let _guard = runtime::handle()?.enter();
        Ok(Ticket(py.detach(|| self.endpoint().ticket())))
    }

    fn limits<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        options::to_dict(py, self.endpoint().limits())
    }

    fn status(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let _guard = runtime::handle()?.enter();
        let status = py.detach(|| self.endpoint().status());
        info::status(py, &status)
    }

    fn openmetrics(&self, py: Python<'_>) -> PyResult<String> {
        runtime::handle()?;
        Ok(py.detach(|| self.endpoint().openmetrics()))
    }

    fn peers(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        runtime::handle()?;
        let peers = py.detach(|| self.endpoint().peers());
        peers.iter().map(|peer| info::peer(py, peer)).collect()
    }

    fn peer(&self, py: Python<'_>, peer: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        runtime::handle()?;
        let id = peer_of(peer)?;
        let found = py.detach(|| self.endpoint().peer(&id));
        found.map(|found| info::peer(py, &found)).transpose()
    }

    fn add_peer(&self, peer: &Bound<'_, PyAny>) -> PyResult<()> {
        let _guard = runtime::handle()?.enter();
        self.endpoint().add_peer(ticket_from(peer)?);
        Ok(())
    }

    fn connect(&self, py: Python<'_>, peer: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<Op> {
        let (endpoint, ticket) = (self.endpoint().clone(), ticket_from(peer)?);
        let (id, after) = (ticket.peer(), timeout.map(seconds).transpose()?);
        let connecting = async move {
            let connecting = endpoint.connect(ticket);
            let connected = match after {
                None => connecting.await,
                Some(after) => {
                    tokio::time::timeout(after, connecting).await.unwrap_or(Err(twolane::DialError::TimedOut { after }))
                }
            };
            connected.map(drop)
        };
        Op::start(py, connecting, move |py, connected| match connected {
            Ok(()) => Ok(Py::new(py, PeerId(id))?.into_any()),
            Err(error) => {
                let problem = Problem::from(error);
                Err(problem.with_peer(id).into())
            }
        })
    }

    fn disconnect(&self, py: Python<'_>, peer: &Bound<'_, PyAny>, reason: &str) -> PyResult<bool> {
        let _guard = runtime::handle()?.enter();
        let id = peer_of(peer)?;
        Ok(py.detach(|| self.endpoint().disconnect(&id, reason)))
    }

    fn online(&self, py: Python<'_>, within: f64) -> PyResult<Op> {
        let (endpoint, within) = (self.endpoint().clone(), seconds(within)?);
        Op::start(py, async move { endpoint.online(within).await }, |py, online| {
            Ok(online.into_pyobject(py)?.to_owned().into_any().unbind())
        })
    }

    fn open_stream(
        &self,
        py: Python<'_>,
        peer: &Bound<'_, PyAny>,
        protocol: &str,
        metadata: &Bound<'_, PyAny>,
        early_data: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Op> {
        let (endpoint, peer, protocol) = (self.endpoint().clone(), ticket_from(peer)?, parse(protocol)?);
        let options = StreamOptions {
            metadata: data::from_python(metadata)?,
            early_data: data::from_python(early_data)?,
            timeout: timeout.map(seconds).transpose()?,
        };
        let (id, early) = (peer.peer(), options.early_data.len() as u64);
        let opening = async move { endpoint.get_stream_with(peer, protocol, options).await };
        Op::start(py, opening, move |py, opened| match opened {
            Ok(stream) => Ok(Py::new(py, Stream::with_early(stream, early))?.into_any()),
            Err(error) => {
                let problem = Problem::from(error);
                Err(problem.with_peer(id).into())
            }
        })
    }

    fn request(
        &self,
        py: Python<'_>,
        peer: &Bound<'_, PyAny>,
        protocol: &str,
        data: &Bound<'_, PyAny>,
        timeout: f64,
        repeatable: bool,
    ) -> PyResult<Op> {
        let (endpoint, peer, protocol) = (self.endpoint().clone(), ticket_from(peer)?, parse(protocol)?);
        let (id, body, deadline) = (peer.peer(), data::from_python(data)?, seconds(timeout)?);
        let options = RequestOptions { repeatable };
        let asking = async move { endpoint.request_with(peer, protocol, body, deadline, options).await };
        Op::start(py, asking, move |py, response: Result<Bytes, _>| match response {
            Ok(response) => Ok(PyBytes::new(py, &response).into_any().unbind()),
            Err(error) => {
                let problem = Problem::from(error);
                Err(problem.with_peer(id).into())
            }
        })
    }

    fn serve(&self, py: Python<'_>, protocol: &str, callback: Py<PyAny>) -> PyResult<()> {
        let _guard = runtime::handle()?.enter();
        let served = serve::streams(py, self.endpoint(), parse(protocol)?, callback)?;
        Ok(served.map_err(Problem::from)?)
    }

    fn serve_requests(&self, py: Python<'_>, protocol: &str, callback: Py<PyAny>, repeatable: bool) -> PyResult<()> {
        let _guard = runtime::handle()?.enter();
        let options = ServeOptions { repeatable };
        let served = serve::requests(py, self.endpoint(), parse(protocol)?, options, callback)?;
        Ok(served.map_err(Problem::from)?)
    }

    fn stop_serving(&self, protocol: &str) -> PyResult<bool> {
        let _guard = runtime::handle()?.enter();
        Ok(self.endpoint().stop_serving(parse(protocol)?))
    }

    fn accept(&self, protocols: Vec<String>) -> PyResult<Source> {
        let _guard = runtime::handle()?.enter();
        let protocols: PyResult<Vec<_>> = protocols.iter().map(|protocol| parse(protocol)).collect();
        Ok(Source::streams(self.endpoint().clone(), protocols?))
    }

    fn events(&self) -> PyResult<Source> {
        runtime::handle()?;
        Ok(Source::events(self.endpoint().events()))
    }

    fn keep(&self, peer: &Bound<'_, PyAny>) -> PyResult<Keep> {
        let _guard = runtime::handle()?.enter();
        let keep = self.endpoint().keep(ticket_from(peer)?);
        Ok(Keep { keep: Local::new(Mutex::new(Some(keep))) })
    }

    fn set_delegations(&self, delegations: Vec<Bound<'_, Delegation>>) -> PyResult<()> {
        let _guard = runtime::handle()?.enter();
        let delegations = delegations.iter().map(|delegation| delegation.get().0.clone()).collect();
        Ok(self.endpoint().set_delegations(delegations).map_err(Problem::from)?)
    }

    fn revoke(&self, owner: &Bound<'_, PyAny>, serial: &str) -> PyResult<bool> {
        let _guard = runtime::handle()?.enter();
        Ok(self.endpoint().revoke(peer_from(owner)?.0, parse_serial(serial)?))
    }

    fn set_revocations(&self, revocations: Vec<(Bound<'_, PyAny>, String)>) -> PyResult<()> {
        let _guard = runtime::handle()?.enter();
        self.endpoint().set_revocations(revocation_list(&revocations)?);
        Ok(())
    }

    /// Shuts the endpoint down. The shutdown continues even if the caller is cancelled.
    fn shutdown(&self, py: Python<'_>, deadline: f64) -> PyResult<Op> {
        let (endpoint, deadline) = (self.endpoint().clone(), seconds(deadline)?);
        Op::start_detached(py, async move { endpoint.shutdown(deadline).await }, |py, report| {
            info::shutdown(py, report)
        })
    }
}

impl Endpoint {
    fn endpoint(&self) -> &twolane::Endpoint {
        &self.shared.endpoint
    }
}

/// Keeps a peer connected, until it is closed.
#[pyclass(frozen, module = "twolane._native")]
pub(crate) struct Keep {
    keep: Local<Mutex<Option<twolane::Keep>>>,
}

#[pymethods]
impl Keep {
    /// Returns the name of the state, the number of dials that failed in a row, and the last error.
    fn state(&self) -> (&'static str, u32, Option<String>) {
        if runtime::is_forked() {
            return ("ended", 0, None);
        }
        let keep = self.keep.lock().unwrap_or_else(PoisonError::into_inner);
        match keep.as_ref().map(twolane::Keep::state) {
            Some(KeepState::Dialling { failures }) => ("dialling", failures, None),
            Some(KeepState::Connected) => ("connected", 0, None),
            Some(KeepState::Waiting { failures, cause, .. }) => ("waiting", failures, Some(chain(&*cause))),
            Some(KeepState::GivenUp { cause }) => ("given_up", 0, Some(chain(&*cause))),
            _ => ("ended", 0, None),
        }
    }

    fn close(&self) {
        if runtime::is_forked() {
            return;
        }
        let keep = self.keep.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(Local::new(keep));
    }
}

fn parse(protocol: &str) -> PyResult<Protocol> {
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
