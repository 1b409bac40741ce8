//! The start of a connection: HELLO of both sides, and the decision of the rules about the peer.

use std::{
    pin::pin,
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use iroh::endpoint::RecvStream;
use tokio::time::{sleep, timeout};
use twolane_id::PublicKey;

use super::{ControlStream, Link, Prepared, Presentation, Shared};
use crate::{
    access::Refused,
    bound::{at_once, while_heard},
    error::ConnectionLost,
    peer::table::Generation,
    stream::{PRIORITY_CONTROL, Quic},
    wire::{
        KIND_CONTROL, Malformed,
        codes::lane,
        control::{Dial, Frame, Hello, Nonce, OWN_UNREAD_CHUNKS, PeerLimits},
        grease, varint,
    },
};

/// Number of certificates that a peer may show in a row. After that, it may show one a second. Each costs a
/// signature check, some 0.1 ms.
const SHOWN_AT_ONCE: u64 = 8;
/// The time after which a peer takes one more certificate.
const SHOWN_EVERY: Duration = Duration::from_secs(1);

/// A peer's HELLO, and its control stream with the bytes that were read from it.
pub(super) struct Admitted {
    pub(super) nonce: Nonce,
    pub(super) dial: Dial,
    pub(super) recv: RecvStream,
    pub(super) buffer: BytesMut,
}

impl Link {
    /// Enters a connection that this side dialled, and sends HELLO, unless that was done before the handshake was
    /// done. The peer's HELLO is read later, unless there are rules that may refuse the peer: then nothing is opened
    /// before they have been asked.
    pub(in crate::peer) async fn enter(
        self: Arc<Self>,
        dial: Dial,
        said: Option<ControlStream>,
    ) -> Result<Prepared, ConnectionLost> {
        self.check_exchange().inspect_err(|lost| self.cut_for(lost))?;
        let control = match said {
            Some(control) => control,
            None => self.say_hello(dial).await?,
        };
        let admitted = if self.shared.gate.decides() { Some(self.await_hello(|| ()).await?) } else { None };
        Prepared { link: self, control, admitted }.still_open()
    }

    /// Enters a connection that the peer dialled. Nothing is sent on it before the peer's HELLO has come and the
    /// rules have allowed the peer. `on_hello` is called when HELLO has come.
    ///
    /// If the handshake is not done, the peer's key is that of the session that the peer resumes. The rules are asked
    /// about it, and HELLO is sent, before the handshake is done: only the holder of the session's secret can read it.
    /// In a handshake without a session nobody has proved a key before the end, so there HELLO waits for the end: it
    /// promises room for data, which is not promised to strangers.
    pub(crate) async fn accepted(
        connection: Quic,
        peer: PublicKey,
        generation: Generation,
        shared: &Arc<Shared>,
        on_hello: impl FnOnce(),
    ) -> Result<Prepared, ConnectionLost> {
        let link = Self::new(connection, peer, generation, shared, false);
        if let Err(lost) = link.check_exchange() {
            link.turn_away(&lost).await;
            return Err(lost);
        }
        let version = shared.gate.version();
        let admitted = link.await_hello(on_hello).await?;
        let (nonce, dial) = (admitted.nonce, admitted.dial);
        // Without the timeout, a peer that leaves no room for HELLO would be waited for without end.
        let bound = shared.limits.hello_timeout;
        let control = {
            // Pinned here, so that it is dropped after `cut_for`: the drop of its control stream closes the
            // connection without a reason.
            let mut saying = pin!(timeout(bound, link.say_hello(Dial::default())));
            let said = saying.as_mut().await.unwrap_or(Err(ConnectionLost::HelloTimedOut(bound)));
            said.inspect_err(|lost| link.cut_for(lost))?
        };
        // Boxed, because it is rare and large. The table of peers learns of the connection afterwards: before that,
        // whoever has recorded the first packets of a peer could push out the peer's other connections with them.
        if !link.is_established() {
            let finishing = Box::pin(link.finish_handshake(nonce, dial, version));
            finishing.await.inspect_err(|lost| link.cut_for(lost))?;
        }
        Prepared { link, control, admitted: Some(admitted) }.still_open()
    }

    pub(in crate::peer) async fn say_hello(&self, dial: Dial) -> Result<ControlStream, ConnectionLost> {
        let quic = self.connection().open_uni().await.map_err(|error| self.carrier.lost(error))?;
        let _ = quic.set_priority(PRIORITY_CONTROL);
        let mut control = ControlStream { quic, carrier: Arc::clone(&self.carrier) };
        let mut bytes = Vec::with_capacity(64);
        varint::encode(&mut bytes, KIND_CONTROL);
        let ours = &self.shared.limits;
        let limits = PeerLimits {
            data_lanes: ours.streams_per_peer,
            metadata: ours.metadata as u64,
            unread_bytes: ours.unread_bytes,
            unread_chunks: Some(OWN_UNREAD_CHUNKS),
        };
        self.lock_presentation().version = self.shared.gate.own_version();
        let delegation = self.shared.gate.to_present(self.carrier.peer);
        let delegation = delegation.map(|delegation| delegation.to_bytes().into());
        let (nonce, said) = (self.shared.nonce, |value| (value > 0).then_some(value));
        let hello = Hello { nonce, limits, delegation, dial: said(dial.number), knows: said(dial.knows) };
        Frame::Hello(hello).encode_with(&mut bytes, &grease::tail(self.generation));
        let said = control.quic.write_all(&bytes).await.map_err(|error| match error {
            iroh::endpoint::WriteError::ConnectionLost(error) => self.carrier.lost(error),
            // The peer stopped a stream that it must not stop.
            _ => ConnectionLost::Malformed(Malformed::Truncated { what: "the control stream" }),
        });
        // While the stream is here: its drop closes the connection without a reason.
        said.inspect_err(|lost| self.cut_for(lost))?;
        self.open_reserved_stream();
        Ok(control)
    }

    /// Opens a stream of a kind that every peer has to turn away, in builds that do so and if the peer allows a
    /// stream now.
    fn open_reserved_stream(&self) {
        let Some(bytes) = grease::stream(self.generation) else { return };
        if let Some(Ok(mut stream)) = at_once(self.connection().open_uni()) {
            let _ = at_once(stream.write_all(&bytes));
            let _ = stream.finish();
        }
    }

    /// Reads the peer's control stream up to the end of its HELLO, and asks the rules whether the peer may be
    /// connected. On any fault the connection is closed.
    pub(super) async fn await_hello(&self, on_hello: impl FnOnce()) -> Result<Admitted, ConnectionLost> {
        let bound = self.shared.limits.hello_timeout;
        let reading = self.read_hello();
        // A dialler wants this peer: time in which no packet comes does not count. A peer that has dialled may be
        // anybody, and holds a place.
        let hello = if self.is_dialled() {
            while_heard(bound, || self.heard_and_sent().0, reading).await
        } else {
            timeout(bound, reading).await
        };
        let hello = hello.unwrap_or(Err(ConnectionLost::HelloTimedOut(bound)));
        if hello.is_ok() {
            on_hello();
        }
        let admitted = match hello {
            Ok(hello) => match self.shared.gate.admit(&self.carrier.identity()).await {
                Ok(()) => Ok(hello),
                Err(Refused(reason)) => Err(ConnectionLost::NotAllowed { reason: reason.into() }),
            },
            Err(lost) => Err(lost),
        };
        if let Err(lost) = &admitted {
            self.turn_away(lost).await;
        }
        admitted
    }

    /// Closes the connection for a fault of the peer. Before the handshake is done, QUIC tells the peer neither a code
    /// nor words (RFC 9000, section 10.2.3), so that is waited for.
    async fn turn_away(&self, lost: &ConnectionLost) {
        let _ = timeout(self.shared.limits.hello_timeout, self.connection().handshake()).await;
        self.cut_for(lost);
    }

    /// Checks that the key exchange is one that this endpoint takes. Nothing is sent on the connection before that.
    fn check_exchange(&self) -> Result<(), ConnectionLost> {
        let agreed = self.connection().key_exchange();
        if self.shared.requires_post_quantum && !agreed.is_some_and(|agreed| agreed.is_post_quantum()) {
            return Err(ConnectionLost::NotPostQuantum { agreed });
        }
        Ok(())
    }

    async fn read_hello(&self) -> Result<Admitted, ConnectionLost> {
        loop {
            let mut recv = self.connection().accept_uni().await.map_err(|error| self.carrier.lost(error))?;
            let mut buffer = BytesMut::new();
            let kind = loop {
                if let Some((kind, used)) = varint::decode(&buffer) {
                    buffer.advance(used);
                    break kind;
                }
                self.read_control(&mut recv, &mut buffer).await?;
            };
            if kind != KIND_CONTROL {
                // The kind is one of a later version.
                let _ = recv.stop(iroh::endpoint::VarInt::from_u32(lane::UNKNOWN_KIND as u32));
                continue;
            }
            let (kind, first) = self.read_frame(&mut recv, &mut buffer).await?;
            let Frame::Hello(hello) = first else {
                let malformed = Malformed::NotHello { kind };
                return Err(ConnectionLost::Malformed(malformed));
            };
            if let Some(certificate) = &hello.delegation {
                self.take_delegation(certificate)?;
            }
            self.set_peer_limits(hello.limits);
            return Ok(Admitted { nonce: hello.nonce, dial: hello.dial(), recv, buffer });
        }
    }

    /// Checks a certificate that the peer has shown. From then on the peer acts for its owner.
    pub(super) fn take_delegation(&self, certificate: &[u8]) -> Result<(), ConnectionLost> {
        let shown = self.shown.fetch_add(1, Relaxed);
        let max = SHOWN_AT_ONCE + self.since.elapsed().as_secs();
        if shown >= max {
            let malformed = Malformed::TooLong { what: "the series of certificates", len: shown + 1, max };
            return Err(ConnectionLost::Malformed(malformed));
        }
        let delegation = self
            .shared
            .gate
            .check_bytes(self.carrier.peer, certificate)
            .map_err(|error| ConnectionLost::BadDelegation(Arc::new(error)))?;
        self.carrier.set_delegation(delegation);
        Ok(())
    }

    /// Shows the peer this endpoint's certificate, if it has changed since it was last shown: at once, or after a
    /// while if the peer would count it as one certificate too many.
    pub(crate) fn present_delegation(self: &Arc<Self>) {
        // Locked to the end of the function: if two threads show certificates, the last one shown is the newest.
        let mut presentation = self.lock_presentation();
        let version = self.shared.gate.own_version();
        if presentation.version == version {
            return;
        }
        // HELLO has shown one. Half of the limit is left to a peer whose clock for it began later.
        let most = SHOWN_AT_ONCE / 2 + self.since.elapsed().as_secs();
        if presentation.frames + 1 < most {
            presentation.version = version;
            presentation.frames += 1;
            if let Some(delegation) = self.shared.gate.to_present(self.carrier.peer) {
                self.carrier.outbox.send(Frame::Delegation(delegation.to_bytes().into()));
            }
        } else if !std::mem::replace(&mut presentation.scheduled, true) {
            let (link, connection) = (Arc::downgrade(self), self.connection().clone());
            self.shared.tasks.spawn(async move {
                tokio::select! {
                    () = sleep(SHOWN_EVERY) => {}
                    _ = connection.closed() => return,
                }
                if let Some(link) = link.upgrade() {
                    link.lock_presentation().scheduled = false;
                    link.present_delegation();
                }
            });
        }
    }

    fn lock_presentation(&self) -> MutexGuard<'_, Presentation> {
        self.presentation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_peer_limits(&self, limits: PeerLimits) {
        if self.peer_limits.set(limits).is_err() {
            return;
        }
        self.carrier.set_peer_limits(&limits);
    }
}
