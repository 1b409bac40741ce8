//! The resolver: which name servers are asked, and how often.

mod patience;

use std::{
    fmt,
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use iroh::dns::{BoxIter, Builder, DnsError, DnsResolver, NameserverConfig, Resolver, TxtRecordData};
use n0_error::AnyError;
use n0_future::boxed::BoxFuture;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::patience::{Decision, Kind, Outcome, Patience, Question};
use super::plan::Dns;

/// Time for an answer. iroh's own timeouts are 3 s and less, and its resolver repeats a question for 6 s. A caller that
/// gives up earlier does not end the question: what it has learnt when it comes is good for the next caller.
const BOUND: Duration = Duration::from_secs(5);
/// Maximum length of a name in bytes: RFC 1035, section 3.1, as text with a dot at its end. The names of relays come
/// from tickets of others.
const MAX_NAME: usize = 254;

/// Returns the resolver for a plan.
pub(super) fn resolver(dns: Dns) -> DnsResolver {
    DnsResolver::custom(PatientResolver::new(Arc::new(move || servers(dns).build())))
}

/// Returns the name servers, and no others.
fn servers(dns: Dns) -> Builder {
    let (servers, public) = match dns {
        Dns::None => (Builder::default(), false),
        Dns::System { public } => (Builder::default().with_system_defaults(), public),
        Dns::Server { at, public } => {
            let server = NameserverConfig::udp(at.ip()).with_port(at.port());
            (Builder::default().add_nameserver_config(server), public)
        }
    };
    // Otherwise iroh asks Cloudflare, Google and Quad9 when these servers fail.
    if public { servers } else { servers.disable_fallback() }
}

/// Asks another resolver as often as [`Patience`] allows.
struct PatientResolver {
    /// Makes the other resolver: anew after the network has changed.
    make: Arc<dyn Fn() -> DnsResolver + Send + Sync>,
    inner: DnsResolver,
    state: Arc<State>,
    /// Ends the questions under way when the resolver is gone.
    stop: CancellationToken,
    _stop: DropGuard,
}

#[derive(Default)]
struct State {
    patience: Mutex<Patience>,
    /// Notified when a question has ended.
    ended: Notify,
}

impl PatientResolver {
    fn new(make: Arc<dyn Fn() -> DnsResolver + Send + Sync>) -> Self {
        let (inner, stop) = (make(), CancellationToken::new());
        Self { make, inner, state: Arc::default(), _stop: stop.clone().drop_guard(), stop }
    }

    fn lookup<T, F, Fut>(&self, kind: Kind, host: String, ask: F) -> BoxFuture<Result<T, DnsError>>
    where
        T: Send + 'static,
        F: FnOnce(DnsResolver, String) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, DnsError>> + Send + 'static,
    {
        let (inner, state, stop) = (self.inner.clone(), Arc::clone(&self.state), self.stop.clone());
        Box::pin(async move {
            if host.len() > MAX_NAME {
                // The resolver says that it is no name, and asks nobody.
                return ask(inner, host).await;
            }
            let question = (kind, host.clone());
            loop {
                // Registered before the decision, so that no end is missed.
                let mut ended = pin!(state.ended.notified());
                ended.as_mut().enable();
                match state.decide(&question) {
                    Decision::Ask => break,
                    Decision::Wait(None) => ended.await,
                    Decision::Wait(Some(until)) => drop(timeout_at(until.into(), ended).await),
                    Decision::Fail(why) => return Err(failed(why)),
                }
            }
            let (answer, answered) = oneshot::channel();
            tokio::spawn(async move {
                let found = tokio::select! {
                    found = ask(inner, host) => found,
                    () = stop.cancelled() => return,
                };
                state.ended(
                    &question,
                    match &found {
                        Ok(_) | Err(DnsError::NxDomain { .. }) => Outcome::Answered,
                        Err(DnsError::Timeout { .. } | DnsError::NoResponse { .. }) => Outcome::Silent,
                        Err(DnsError::Resolve { source, .. }) => Outcome::Failed(format!("{source:#}")),
                        Err(error) => Outcome::Failed(format!("{error:#}")),
                    },
                );
                // The caller may have given up.
                let _ = answer.send(found);
            });
            answered.await.unwrap_or_else(|_| Err(failed("the network has changed".to_owned())))
        })
    }
}

fn failed(why: String) -> DnsError {
    AnyError::from_string(why).into()
}

impl State {
    fn decide(&self, question: &Question) -> Decision {
        let mut patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        patience.decide(question, Instant::now().into_std())
    }

    fn ended(&self, question: &Question, outcome: Outcome) {
        let mut patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        patience.ended(question, outcome, Instant::now().into_std());
        drop(patience);
        self.ended.notify_waiters();
    }
}

impl Resolver for PatientResolver {
    fn lookup_ipv4(&self, host: String) -> BoxFuture<Result<BoxIter<Ipv4Addr>, DnsError>> {
        self.lookup(Kind::V4, host, |resolver: DnsResolver, host: String| async move {
            let found = resolver.lookup_ipv4(host, BOUND).await?;
            let found: Vec<_> = found.filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None }).collect();
            Ok(Box::new(found.into_iter()) as BoxIter<Ipv4Addr>)
        })
    }

    fn lookup_ipv6(&self, host: String) -> BoxFuture<Result<BoxIter<Ipv6Addr>, DnsError>> {
        self.lookup(Kind::V6, host, |resolver: DnsResolver, host: String| async move {
            let found = resolver.lookup_ipv6(host, BOUND).await?;
            let found: Vec<_> = found.filter_map(|ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None }).collect();
            Ok(Box::new(found.into_iter()) as BoxIter<Ipv6Addr>)
        })
    }

    fn lookup_txt(&self, host: String) -> BoxFuture<Result<BoxIter<TxtRecordData>, DnsError>> {
        self.lookup(Kind::Txt, host, |resolver: DnsResolver, host: String| async move {
            let found: Vec<_> = resolver.lookup_txt(host, BOUND).await?.collect();
            Ok(Box::new(found.into_iter()) as BoxIter<TxtRecordData>)
        })
    }

    fn clear_cache(&self) {
        self.inner.clear_cache();
    }

    /// The network has changed: what did not answer before may answer now.
    fn reset(&self) -> Box<dyn Resolver> {
        Box::new(Self::new(Arc::clone(&self.make)))
    }
}

impl fmt::Debug for PatientResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PatientResolver").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
