//! Asks the rules and calls the hooks. Each call has a timeout, and a panic in one affects nothing else.

use std::{
    borrow::Cow,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
    time::{Duration, SystemTime},
};

use n0_future::{FutureExt, boxed::BoxFuture};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep, timeout},
};
use twolane_id::{
    PublicKey,
    delegation::{Delegation, DelegationError, Presented, Revocation, RevocationList},
};

use super::{
    Access, Hooks, Identity, ShowTo, StreamRequest, Verdict, Viewer,
    again::Again,
    called::Called,
    hooks::{DynAccess, DynHooks},
};
use crate::{error::ConnectionLost, limits::Limits};

/// Number of peers that are remembered at least to have been called, at 32 bytes each.
const CALLED: usize = 4096;

/// A refusal, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) Cow<'static, str>);

/// The access decisions of one endpoint: its rules, its hooks and the certificates.
pub(crate) struct Gate {
    us: PublicKey,
    access: Option<Arc<dyn DynAccess>>,
    access_changes: Option<watch::Receiver<u64>>,
    hooks: Vec<Arc<dyn DynHooks>>,
    revoked: RwLock<RevocationList>,
    revocations: watch::Sender<u64>,
    /// The certificates that this endpoint can present.
    own: Mutex<Arc<[Delegation]>>,
    own_version: AtomicU64,
    show_to: ShowTo,
    called: Called,
    /// The places of questions that are asked again.
    rechecks: Semaphore,
    clock: Clock,
    limits: Arc<Limits>,
}

/// The clock that certificates are checked against.
#[derive(Clone, Copy)]
pub(crate) struct Clock(pub(crate) fn() -> SystemTime);

impl Default for Clock {
    fn default() -> Self {
        Self(SystemTime::now)
    }
}

/// The parts of a gate.
#[derive(Default)]
pub(crate) struct GateConfig {
    access: Option<Arc<dyn DynAccess>>,
    access_changes: Option<watch::Receiver<u64>>,
    hooks: Vec<Arc<dyn DynHooks>>,
    pub(crate) revoked: RevocationList,
    pub(crate) delegations: Vec<Delegation>,
    pub(crate) show_to: ShowTo,
    pub(crate) clock: Clock,
}

impl GateConfig {
    pub(crate) fn set_access(&mut self, access: impl Access) {
        self.access_changes = access.changes();
        self.access = Some(Arc::new(access));
    }

    pub(crate) fn add_hooks(&mut self, hooks: impl Hooks) {
        self.hooks.push(Arc::new(hooks));
    }
}

impl std::fmt::Debug for GateConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GateConfig").field("hooks", &self.hooks.len()).finish_non_exhaustive()
    }
}

impl Gate {
    pub(crate) fn new(us: PublicKey, config: GateConfig, limits: Arc<Limits>) -> Arc<Self> {
        let GateConfig { access, access_changes, hooks, revoked, delegations, show_to, clock } = config;
        Arc::new(Self {
            us,
            access,
            access_changes,
            hooks,
            revoked: RwLock::new(revoked),
            revocations: watch::Sender::new(0),
            own: Mutex::new(delegations.into()),
            own_version: AtomicU64::new(1),
            show_to,
            called: Called::new(CALLED),
            rechecks: Semaphore::new(limits.rechecks),
            clock,
            limits,
        })
    }

    /// Returns whether a rule or a hook may refuse a connection. If so, a connection is not used before the peer's
    /// HELLO.
    pub(crate) fn decides(&self) -> bool {
        self.access.is_some() || !self.hooks.is_empty()
    }

    /// Returns whether the rules are asked about streams.
    pub(crate) fn decides_streams(&self) -> bool {
        self.access.is_some()
    }

    pub(crate) fn has_hooks(&self) -> bool {
        !self.hooks.is_empty()
    }

    pub(crate) async fn before_dial(&self, peer: PublicKey) -> Result<(), Refused> {
        for hooks in &self.hooks {
            self.ask("before_dial", Arc::clone(hooks).before_dial(peer)).await?;
        }
        Ok(())
    }

    /// Asks the rules and the hooks whether a new connection is allowed.
    pub(crate) async fn admit(&self, identity: &Identity) -> Result<(), Refused> {
        self.connection(identity).await?;
        for hooks in &self.hooks {
            self.ask("after_handshake", Arc::clone(hooks).after_handshake(identity.clone())).await?;
        }
        Ok(())
    }

    /// Asks the rules whether a connection is allowed.
    async fn connection(&self, identity: &Identity) -> Result<(), Refused> {
        match &self.access {
            Some(access) => self.ask(RULE, Arc::clone(access).connection(identity.clone())).await,
            None => Ok(()),
        }
    }

    /// Asks the rules whether a stream may be opened.
    pub(crate) async fn stream(&self, request: StreamRequest) -> Result<(), Refused> {
        match &self.access {
            Some(access) => self.ask(RULE, Arc::clone(access).stream(request)).await,
            None => Ok(()),
        }
    }

    /// Asks the rules whether a connection may go on. `identity` returns the peer's identity at the time of a try.
    pub(crate) async fn connection_again(&self, identity: impl Fn() -> Identity) -> Result<(), Refused> {
        match &self.access {
            Some(access) => self.ask_again(|| Arc::clone(access).connection(identity())).await,
            None => Ok(()),
        }
    }

    /// Asks the rules whether a stream may go on. `request` returns what is known about it at the time of a try.
    pub(crate) async fn stream_again(&self, request: impl Fn() -> StreamRequest) -> Result<(), Refused> {
        match &self.access {
            Some(access) => self.ask_again(|| Arc::clone(access).stream(request())).await,
            None => Ok(()),
        }
    }

    /// Returns the maximum number of questions that are asked again at a time.
    pub(crate) fn max_rechecks(&self) -> usize {
        self.limits.rechecks
    }

    /// Calls every `on_connect`, one after the other.
    pub(crate) async fn connected(&self, identity: &Identity) {
        for hooks in &self.hooks {
            self.tell("on_connect", Arc::clone(hooks).on_connect(identity.clone())).await;
        }
    }

    /// Calls every `on_disconnect`, one after the other.
    pub(crate) async fn disconnected(&self, peer: PublicKey, cause: &Arc<ConnectionLost>) {
        for hooks in &self.hooks {
            self.tell("on_disconnect", Arc::clone(hooks).on_disconnect(peer, Arc::clone(cause))).await;
        }
    }

    /// Checks the certificate that `peer` has presented.
    pub(crate) fn check_bytes(&self, peer: PublicKey, certificate: &[u8]) -> Result<Arc<Delegation>, DelegationError> {
        let delegation = Delegation::from_bytes(certificate)?;
        self.check(peer, &delegation)?;
        Ok(Arc::new(delegation))
    }

    /// Checks whether a certificate is valid now: time passes, and certificates are revoked.
    pub(crate) fn check(&self, peer: PublicKey, delegation: &Delegation) -> Result<(), DelegationError> {
        let (now, skew) = ((self.clock.0)(), self.limits.clock_skew);
        delegation.verify(&Presented { now, skew, node: peer, audience: self.us })?;
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).check(delegation)
    }

    /// Returns the longest time for which the certificate stays valid from now on.
    pub(crate) fn holds_for(&self, delegation: &Delegation) -> Duration {
        let end = delegation.expires().checked_add(self.limits.clock_skew).unwrap_or_else(|| delegation.expires());
        end.duration_since((self.clock.0)()).unwrap_or_default()
    }

    /// Returns the first valid certificate that the program wants to be shown to a peer, if there is one. `called`:
    /// whether the program has called the peer.
    pub(crate) fn to_present(&self, identity: &Identity, called: bool) -> Option<Delegation> {
        // Not locked while the program decides.
        let own = Arc::clone(&self.own.lock().unwrap_or_else(PoisonError::into_inner));
        let (now, audience) = ((self.clock.0)(), identity.peer);
        let presented = Presented { now, skew: Duration::ZERO, node: self.us, audience };
        let mut valid = own.iter().filter(|delegation| delegation.verify(&presented).is_ok());
        let shown = valid.find(|delegation| {
            let identity = identity.clone();
            self.show_to.shows(&Viewer { identity, called, delegation })
        });
        shown.cloned()
    }

    /// Remembers that the program has called a peer.
    pub(crate) fn call(&self, peer: PublicKey) {
        self.called.insert(peer);
    }

    /// Returns whether the program has called a peer, as far as it is remembered.
    pub(crate) fn is_called(&self, peer: &PublicKey) -> bool {
        self.called.contains(peer)
    }

    /// Replaces the certificates that this endpoint can present.
    pub(crate) fn set_own(&self, delegations: Vec<Delegation>) {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = delegations.into();
        self.own_version.fetch_add(1, Release);
    }

    /// Returns the version of the certificates that this endpoint can present. It changes with each call of
    /// [`Gate::set_own`].
    pub(crate) fn own_version(&self) -> u64 {
        self.own_version.load(Acquire)
    }

    /// Changes the list of revoked certificates, and has every certificate in use checked again.
    pub(crate) fn change_revoked<T>(&self, change: impl FnOnce(&mut RevocationList) -> T) -> T {
        let changed = change(&mut self.revoked.write().unwrap_or_else(PoisonError::into_inner));
        self.revocations.send_modify(|version| *version += 1);
        changed
    }

    pub(crate) fn revoke(&self, what: Revocation) -> bool {
        self.change_revoked(|revoked| revoked.revoke(what))
    }

    /// Returns a copy of the list of revoked certificates. It has every change up to the version that
    /// [`Gate::watch_revoked`] showed before.
    pub(crate) fn revoked(&self) -> RevocationList {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Watches the version of the list of revoked certificates, which changes with the list.
    pub(crate) fn watch_revoked(&self) -> watch::Receiver<u64> {
        self.revocations.subscribe()
    }

    /// Returns the versions of the rules and of the revocation list. A change of either is a reason to ask again.
    pub(crate) fn version(&self) -> (u64, u64) {
        (self.access_changes.as_ref().map_or(0, |changes| *changes.borrow()), *self.revocations.borrow())
    }

    /// Watches [`Gate::version`].
    pub(crate) fn watch(&self) -> Changes {
        Changes { access: self.access_changes.clone(), revocations: self.revocations.subscribe() }
    }

    async fn ask(&self, what: &'static str, question: BoxFuture<Verdict>) -> Result<(), Refused> {
        match self.answer(what, question).await {
            Some(answer) => answer,
            None => {
                let bound = self.limits.access_timeout;
                tracing::warn!("{what} did not answer within {bound:?}, which counts as a refusal");
                Err(unanswered(bound))
            }
        }
    }

    /// Asks a question that was answered with yes before. All peers are asked about at the same moment, which may be
    /// more than a rule's database can take: a question waits for one of a bounded number of places, and is repeated
    /// if it is not answered in time.
    async fn ask_again(&self, question: impl Fn() -> BoxFuture<Verdict>) -> Result<(), Refused> {
        let (mut again, patience) = (Again::default(), self.limits.recheck_timeout);
        loop {
            let began;
            let answer = {
                // The semaphore is never closed.
                let _place = self.rechecks.acquire().await;
                began = Instant::now();
                self.answer(RULE, question()).await
            };
            if let Some(answer) = answer {
                return answer;
            }
            match again.unanswered(began.into_std(), Instant::now().into_std(), patience) {
                Some(pause) => {
                    tracing::warn!("{RULE} did not answer in time after a change: it is asked again in {pause:?}");
                    sleep(pause).await;
                }
                None => {
                    tracing::warn!("{RULE} did not answer for {patience:?} after a change, which counts as a refusal");
                    return Err(unanswered(patience));
                }
            }
        }
    }

    /// Returns the answer to a question. `None` if there is none in time.
    async fn answer(&self, what: &'static str, question: BoxFuture<Verdict>) -> Option<Result<(), Refused>> {
        match timeout(self.limits.access_timeout, AssertUnwindSafe(question).catch_unwind()).await {
            Ok(Ok(Verdict::Allow)) => Some(Ok(())),
            Ok(Ok(Verdict::Refuse(reason))) => Some(Err(Refused(reason))),
            Ok(Err(_)) => {
                tracing::error!("{what} panicked, which counts as a refusal");
                Some(Err(Refused(Cow::Borrowed("an access rule of the endpoint panicked"))))
            }
            Err(_) => None,
        }
    }

    async fn tell(&self, what: &'static str, call: BoxFuture<()>) {
        let bound = self.limits.access_timeout;
        match timeout(bound, AssertUnwindSafe(call).catch_unwind()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::error!("{what} panicked"),
            Err(_) => tracing::warn!("{what} took longer than {bound:?}, and was dropped"),
        }
    }
}

/// The name of the rules in the log.
const RULE: &str = "the access rule";

fn unanswered(bound: Duration) -> Refused {
    Refused(format!("the access rules of the endpoint did not answer within {bound:?}").into())
}

/// Tells when answers of the rules may have changed.
pub(crate) struct Changes {
    access: Option<watch::Receiver<u64>>,
    revocations: watch::Receiver<u64>,
}

impl Changes {
    /// Waits for the next change. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        let access = async {
            match &mut self.access {
                Some(access) => {
                    if access.changed().await.is_err() {
                        // The rules are gone, or never change again.
                        std::future::pending::<()>().await;
                    }
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = access => {}
            // The gate itself holds the sender.
            changed = self.revocations.changed() => if changed.is_err() { std::future::pending().await },
        }
    }
}
