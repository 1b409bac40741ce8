"""The native half. `twolane` is the public interface; it exports the classes without an underscore that it
names."""

import asyncio
import os
import typing
from collections.abc import Callable, Sequence

from ._buffer import Buffer

__all__ = [
    "AccessList",
    "Delegation",
    "Endpoint",
    "HANDLER_FAILED",
    "Keep",
    "KeyPair",
    "MAX_DETAILS",
    "Op",
    "PeerId",
    "Question",
    "Request",
    "Source",
    "Stage",
    "Stream",
    "Ticket",
    "Write",
    "__version__",
    "after_fork_in_child",
    "at_exit",
    "bind",
    "default_limits",
    "log_next",
    "log_set",
    "log_stop",
]

__version__: str
HANDLER_FAILED: typing.Final[int]
MAX_DETAILS: typing.Final[int]

@typing.final
class PeerId:
    """The public key that identifies a peer: an Ed25519 key, whose text (an id52) has 52 characters.

    Made from an id52 (in either case) or from 32 bytes. Keys are equal, hashable and ordered like their id52s.
    `str()` returns the id52.

    Raises `InvalidKey` (a `ValueError`) if the value is not a key.
    """

    def __new__(cls, value: PeerId | str | bytes) -> PeerId: ...
    @property
    def id52(self) -> str:
        """The text: 52 characters."""

    def verify(self, message: Buffer, signature: Buffer) -> None:
        """Checks that this key made `signature` over exactly `message`. Raises `InvalidSignature` if it did
        not."""

    def __bytes__(self) -> bytes: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __lt__(self, other: PeerId, /) -> bool: ...
    def __le__(self, other: PeerId, /) -> bool: ...
    def __gt__(self, other: PeerId, /) -> bool: ...
    def __ge__(self, other: PeerId, /) -> bool: ...
    def __reduce__(self) -> tuple[type[PeerId], tuple[str]]: ...

@typing.final
class KeyPair:
    """A secret key with its public key. The holder of the secret key *is* the peer.

    `KeyPair()` is `KeyPair.generate()`. The secret is never shown, and a `KeyPair` cannot be pickled. `to_file`,
    `to_bytes` and `to_hex` reveal the secret.
    """

    def __new__(cls) -> KeyPair: ...
    @staticmethod
    def generate() -> KeyPair:
        """Generates a new key from the operating system's random numbers."""

    @staticmethod
    def from_file(path: str | os.PathLike[str], *, create: bool = False) -> KeyPair:
        """Reads a key file. With `create`, a missing file is created (mode 0600). Several programs that do so at
        the same time get the same key.

        Raises `KeyFileError` (an `OSError`) if the file does not exist (`FileNotFoundError`), if others can read
        it (`PermissionError`), or if it does not hold a key. An existing file is never overwritten.
        """

    def to_file(self, path: str | os.PathLike[str]) -> None:
        """Writes a key file, mode 0600, completely or not at all.

        Raises `KeyFileError` (an `OSError`) if something exists at the path (`FileExistsError`), or if the file
        cannot be written.
        """

    @staticmethod
    def from_bytes(seed: bytes) -> KeyPair:
        """Makes a key pair from the 32 bytes that `to_bytes` returns."""

    @staticmethod
    def from_hex(text: str) -> KeyPair:
        """Makes a key pair from the 64 hexadecimal digits that `to_hex` returns."""

    def to_bytes(self) -> bytes:
        """Reveals the secret: its 32 bytes."""

    def to_hex(self) -> str:
        """Reveals the secret: 64 hexadecimal digits."""

    @property
    def peer_id(self) -> PeerId:
        """The public key."""

    def sign(self, message: Buffer) -> bytes:
        """Signs exactly `message`. Returns 64 bytes, which `PeerId.verify` checks."""

    def __copy__(self) -> KeyPair: ...
    def __deepcopy__(self, _memo: object) -> KeyPair: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __reduce__(self) -> typing.NoReturn: ...

@typing.final
class Ticket:
    """A peer's key with the addresses that were known when the ticket was made. One machine shows it and another
    machine uses it.

    Made from its text, or from an id52 or a `PeerId`, which gives a ticket without addresses. `str()` returns the
    text. A ticket is not secret, and grants no access.

    Raises `InvalidTicket` (a `ValueError`) if the value is neither a ticket nor a key.
    """

    def __new__(
        cls, peer: PeerId | Ticket | str, *, addrs: Sequence[str] | None = None, relays: Sequence[str] | None = None
    ) -> Ticket: ...
    @property
    def peer(self) -> PeerId:
        """The peer."""

    @property
    def addrs(self) -> list[str]:
        """The peer's addresses, such as `192.0.2.7:4433`."""

    @property
    def relays(self) -> list[str]:
        """The URLs of the peer's relays."""

    def relay_only(self) -> Ticket:
        """Returns the ticket without direct addresses, so that the peer is reached over its relay first."""

    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __reduce__(self) -> tuple[type[Ticket], tuple[str]]: ...

@typing.final
class AccessList:
    """Decides which peers may connect, and which peers may use which protocol. Given to a `Node` as `access`, and
    changeable at any time.

    A key on the list stands for the peer that has the key, and for peers that act for the key with a delegation.
    A denied key is denied, whatever the other entries say. A peer that is no longer allowed is disconnected at
    once, with a reason.

    `AccessList()` admits every key that is not denied; `AccessList.deny_by_default()` admits only keys that are
    allowed. A pattern is the name of a protocol, or the beginning of a name and a star: `admin/*`. Each method
    that changes the list returns whether it did.
    """

    def __new__(cls) -> AccessList: ...
    @staticmethod
    def deny_by_default() -> AccessList:
        """Makes a list that admits no key until it is allowed."""

    def allow(self, peer: PeerId | str) -> bool:
        """Allows the key to connect, and to use every protocol without a list of its own."""

    def deny(self, peer: PeerId | str) -> bool:
        """Denies the key. If the peer is connected, it is disconnected."""

    def forget(self, peer: PeerId | str) -> bool:
        """Removes the entry of the key, which is then treated like an unknown key."""

    def restrict(self, pattern: str) -> bool:
        """Gives the protocols of `pattern` a list of their own, empty at first."""

    def unrestrict(self, pattern: str) -> bool:
        """Removes the separate list of the protocols of `pattern`."""

    def allow_for(self, pattern: str, peer: PeerId | str) -> bool:
        """Allows the key to use the protocols of `pattern`, which get a list of their own by this call. The key
        may also connect."""

    def revoke_for(self, pattern: str, peer: PeerId | str) -> bool:
        """Removes the key from the list of the protocols of `pattern`. Its open streams of these protocols are
        aborted."""

    def allowed(self) -> list[PeerId]:
        """Returns the keys that are allowed, in order."""

    def denied(self) -> list[PeerId]:
        """Returns the keys that are denied, in order."""

    def lists(self) -> dict[str, list[PeerId]]:
        """Returns the patterns of the protocols that have a list of their own, with the keys on it."""

@typing.final
class Delegation:
    """A certificate. Its owner lets a node act for it, for some protocols, towards some peers, for some time.

    Made from its text or its bytes, which are checked, or with `Delegation.issue`. Times are seconds since 1970,
    as `time.time()` returns them.

    Raises `DelegationError` (a `ValueError`) if the certificate is not valid.
    """

    def __new__(cls, value: str | Buffer) -> Delegation: ...
    @staticmethod
    def issue(
        owner: KeyPair,
        node: PeerId | str,
        *,
        scope: Sequence[str],
        expires: float,
        audience: Sequence[PeerId | str] | None = None,
        not_before: float | None = None,
        serial: str | None = None,
    ) -> Delegation:
        """Signs a certificate with the owner's key. `node` may act for the owner in the protocols of `scope`
        (patterns such as `mail/*`), towards the peers of `audience` (all peers if it is empty), until
        `expires`."""

    @property
    def owner(self) -> PeerId:
        """The key that issued the certificate."""

    @property
    def node(self) -> PeerId:
        """The key that acts for the owner."""

    @property
    def scope(self) -> list[str]:
        """The patterns of the protocols for which the node acts."""

    @property
    def audience(self) -> list[PeerId]:
        """The peers towards which the node acts. An empty list means all peers."""

    @property
    def not_before(self) -> float:
        """The first moment at which the certificate holds, in seconds since 1970."""

    @property
    def expires(self) -> float:
        """The first moment at which the certificate no longer holds, in seconds since 1970."""

    @property
    def serial(self) -> str:
        """The serial, by which the owner revokes the certificate: 32 hexadecimal digits."""

    def permits(self, protocol: str) -> bool:
        """Returns whether the scope covers the protocol."""

    def __bytes__(self) -> bytes: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __reduce__(self) -> tuple[type[Delegation], tuple[str]]: ...

@typing.final
class Request:
    """A request of a peer, as a handler gets it. The handler's result is the response."""

    @property
    def peer(self) -> PeerId:
        """The peer that sent the request, as the handshake proved it."""

    @property
    def owner(self) -> PeerId | None:
        """The key for which the peer acts in this protocol, by a delegation."""

    @property
    def protocol(self) -> str:
        """The protocol of the request."""

    @property
    def metadata(self) -> bytes:
        """The metadata that the caller gave, at most 16 KiB."""

    @property
    def body(self) -> bytes:
        """The body, at most `Limits.request_bytes`."""

    def _answer(self, data: Buffer) -> None: ...
    def _fail(self, code: int, text: str, details: Buffer) -> None: ...
    def _broke(self) -> None: ...
    def _when_given_up(self, callback: Callable[[None], object]) -> bool: ...

@typing.final
class Question:
    """A question to an access rule: whether a peer may be connected (`protocol` is None), or may open a stream."""

    @property
    def peer(self) -> PeerId:
        """The peer, as the handshake proved it."""

    @property
    def owner(self) -> PeerId | None:
        """The key that the peer acts for with a delegation. For a stream, only if the scope of the delegation
        covers the protocol."""

    @property
    def protocol(self) -> str | None:
        """The protocol of the stream. None if the question is whether the peer may be connected at all."""

    @property
    def metadata(self) -> bytes:
        """The metadata of the stream."""

    def _answer(self, refusal: str | None) -> None: ...
    def _when_given_up(self, callback: Callable[[None], object]) -> bool: ...

_Wait: typing.TypeAlias = asyncio.Future[None]
_State: typing.TypeAlias = tuple[str, int, str | None]

@typing.final
class Stage:
    @property
    def name(self) -> str: ...
    @property
    def peer(self) -> PeerId: ...
    @property
    def owner(self) -> PeerId | None: ...
    @property
    def cause(self) -> tuple[str, str] | None: ...
    def answer(self, refusal: str | None) -> None: ...
    def when_given_up(self, callback: Callable[[None], object]) -> bool: ...

@typing.final
class Op:
    @property
    def future(self) -> asyncio.Future[typing.Any]: ...
    def cancel(self) -> None: ...

@typing.final
class Write:
    @property
    def taken(self) -> int: ...
    def poll(self) -> _Wait | None: ...
    def cancel(self) -> None: ...

@typing.final
class Source:
    def next(self) -> tuple[typing.Any] | _Wait: ...
    def close(self) -> None: ...

@typing.final
class Keep:
    def state(self) -> _State: ...
    def changed(self, state: _State) -> Op: ...
    def connected(self) -> Op: ...
    def close(self) -> None: ...

@typing.final
class Stream:
    @property
    def peer(self) -> PeerId: ...
    @property
    def owner(self) -> PeerId | None: ...
    @property
    def protocol(self) -> str: ...
    @property
    def metadata(self) -> bytes: ...
    @property
    def answer_metadata(self) -> bytes: ...
    @property
    def id(self) -> int: ...
    @property
    def bytes_written(self) -> int: ...
    @property
    def bytes_read(self) -> int: ...
    @property
    def write_ended(self) -> bool: ...
    @property
    def read_ended(self) -> bool: ...
    def read(self, len: int) -> bytes | _Wait: ...
    def read_exactly(self, len: int) -> bytes | _Wait: ...
    def read_line(self, limit: int) -> bytes | _Wait: ...
    def read_until(self, separator: bytes, limit: int) -> bytes | _Wait: ...
    def read_message(self, limit: int) -> bytes | _Wait: ...
    def read_all(self, limit: int) -> bytes | _Wait: ...
    def read_chunk(self, max: int) -> memoryview | _Wait: ...
    def read_into(self, buffer: Buffer) -> int | _Wait: ...
    def write(self, data: Buffer, whole: bool = False) -> Write | None: ...
    def finish(self) -> Write | None: ...
    def delivered(self) -> Op: ...
    def left(self) -> Op: ...
    def errors(self) -> Source: ...
    def warn(self, code: int, text: str, details: Buffer) -> Op: ...
    def fail(self, code: int, text: str, details: Buffer, discard: bool) -> Op: ...
    def set_priority(self, priority: int) -> None: ...
    def release(self) -> None: ...
    def close_writing(self) -> None: ...
    def close_reading(self) -> None: ...

@typing.final
class Endpoint:
    @property
    def id(self) -> PeerId: ...
    def ticket(self) -> Ticket: ...
    def limits(self) -> dict[str, typing.Any]: ...
    def status(self) -> dict[str, typing.Any]: ...
    def settled(self, within: float) -> Op: ...
    def openmetrics(self) -> str: ...
    def peers(self) -> list[dict[str, typing.Any]]: ...
    def peer(self, peer: PeerId | Ticket | str) -> dict[str, typing.Any] | None: ...
    def add_peer(self, peer: PeerId | Ticket | str) -> None: ...
    def path_policy(self, peer: PeerId | Ticket | str) -> str | float: ...
    def set_path_policy(self, peer: PeerId | Ticket | str, policy: str | float) -> None: ...
    def connect(self, peer: PeerId | Ticket | str, timeout: float | None) -> Op: ...
    def disconnect(self, peer: PeerId | Ticket | str, reason: str) -> bool: ...
    def online(self, within: float) -> Op: ...
    def open_stream(
        self,
        peer: PeerId | Ticket | str,
        protocol: str,
        metadata: Buffer,
        early_data: Buffer,
        timeout: float | None,
    ) -> Op: ...
    def request(
        self,
        peer: PeerId | Ticket | str,
        protocol: str,
        data: Buffer,
        metadata: Buffer,
        timeout: float | None,
    ) -> Op: ...
    def serve(self, protocol: str, callback: Callable[[Stream], object], limit: int | None) -> None: ...
    def serve_requests(
        self, protocol: str, callback: Callable[[Request], object], limit: int | None
    ) -> None: ...
    def stop_serving(self, protocol: str) -> bool: ...
    def accept(self, protocols: Sequence[str]) -> Source: ...
    def events(self) -> Source: ...
    def keep(self, peer: PeerId | Ticket | str) -> Keep: ...
    def set_delegations(self, delegations: Sequence[Delegation]) -> None: ...
    def revoke(self, owner: PeerId | str, serial: str) -> bool: ...
    def set_revocations(self, revocations: Sequence[tuple[PeerId | str, str]]) -> None: ...
    def shutdown(self, deadline: float) -> Op: ...
    def closed(self) -> Op: ...

def bind(
    *,
    key: KeyPair,
    offline: bool,
    n0: bool | None,
    mdns: bool | None,
    relays: Sequence[str],
    trust_roots: Sequence[bytes],
    nameserver: str | None,
    directory: tuple[str, str] | None,
    bind: Sequence[str],
    relay_only: bool,
    path_policy: str | float,
    peers: Sequence[PeerId | Ticket | str],
    access: AccessList | Callable[[Question], object] | None,
    hooks: Callable[[Stage], object] | None,
    delegations: Sequence[Delegation],
    revocations: Sequence[tuple[PeerId | str, str]],
    congestion: str,
    limits: dict[str, typing.Any],
) -> Op: ...
def default_limits() -> dict[str, typing.Any]: ...
def at_exit() -> None: ...
def after_fork_in_child() -> None: ...
def log_set(lowest: int) -> bool: ...
def log_next() -> tuple[list[tuple[int, str, str]], int] | None: ...
def log_stop() -> None: ...
