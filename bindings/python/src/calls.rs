//! Connections, streams and requests that the program opens.

use bytes::Bytes;
use pyo3::{prelude::*, types::PyBytes};
use twolane::{DialError, RequestOptions, StreamOptions};

use crate::{
    data,
    endpoint::{Endpoint, parse},
    error::Problem,
    key::{PeerId, seconds},
    op::Op,
    stream::Stream,
    ticket::ticket_from,
};

#[pymethods]
impl Endpoint {
    #[pyo3(signature = (peer, timeout))]
    fn connect(&self, py: Python<'_>, peer: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<Op> {
        let (endpoint, ticket) = (self.endpoint()?.clone(), ticket_from(peer)?);
        let (id, after) = (ticket.peer(), timeout.map(seconds).transpose()?);
        let connecting = async move {
            let connecting = endpoint.connect(ticket);
            let connected = match after {
                None => connecting.await,
                Some(after) => {
                    tokio::time::timeout(after, connecting).await.unwrap_or(Err(DialError::TimedOut { after }))
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

    #[pyo3(signature = (peer, protocol, metadata, early_data, timeout))]
    fn open_stream(
        &self,
        py: Python<'_>,
        peer: &Bound<'_, PyAny>,
        protocol: &str,
        metadata: &Bound<'_, PyAny>,
        early_data: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Op> {
        let (endpoint, peer, protocol) = (self.endpoint()?.clone(), ticket_from(peer)?, parse(protocol)?);
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

    #[pyo3(signature = (peer, protocol, data, metadata, timeout))]
    fn request(
        &self,
        py: Python<'_>,
        peer: &Bound<'_, PyAny>,
        protocol: &str,
        data: &Bound<'_, PyAny>,
        metadata: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Op> {
        let (endpoint, peer, protocol) = (self.endpoint()?.clone(), ticket_from(peer)?, parse(protocol)?);
        let (id, body) = (peer.peer(), data::from_python(data)?);
        let mut options = RequestOptions { metadata: data::from_python(metadata)?, ..RequestOptions::default() };
        if let Some(timeout) = timeout {
            options.timeout = seconds(timeout)?;
        }
        let asking = async move { endpoint.request_with(peer, protocol, body, options).await };
        Op::start(py, asking, move |py, response: Result<Bytes, _>| match response {
            Ok(response) => Ok(PyBytes::new(py, &response).into_any().unbind()),
            Err(error) => {
                let problem = Problem::from(error);
                Err(problem.with_peer(id).into())
            }
        })
    }
}
