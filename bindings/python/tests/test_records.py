"""Records are immutable, can be compared, matched and pickled, and tell what their fields mean."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys

import pytest

import twolane
from twolane import Connected, Disconnected, Limits, PathInfo, ShutdownReport

PEER = twolane.KeyPair().peer_id


def test_records_are_what_their_fields_are() -> None:
    one = Disconnected(PEER, "it went", "peer_done")
    assert one == Disconnected(PEER, cause="it went", reason="peer_done") != Disconnected(PEER, "it went", "reset")
    assert hash(one) == hash(copy.deepcopy(one)) and pickle.loads(pickle.dumps(one)) == one
    assert one != Connected(PEER) and one.replace(reason="reset").reason == "reset"
    assert repr(Connected(PEER)) == f"Connected(peer={PEER!r})"
    assert ShutdownReport() == ShutdownReport(drained=0, cut=0)
    if sys.version_info >= (3, 13):
        assert copy.replace(one, cause="else").cause == "else"
    match one:
        case Disconnected(peer, cause, reason):
            assert (peer, cause, reason) == (PEER, "it went", "peer_done")


def test_a_record_does_not_change_and_takes_its_own_fields_alone() -> None:
    limits = Limits(peers=3)
    with pytest.raises(AttributeError, match="replace"):
        limits.peers = 4  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del limits.peers
    for wrong in ({"peer": 3}, {"peers": 3, "handshake": 1}):
        with pytest.raises(TypeError, match="no argument"):
            Limits(**wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Limits(3)  # type: ignore[misc]
    with pytest.raises(TypeError, match="needs"):
        Connected()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="more than one value"):
        Connected(PEER, peer=PEER)  # type: ignore[misc]


def test_help_describes_every_field() -> None:
    for cls in (Limits, PathInfo, twolane.PeerInfo, twolane.Status, twolane.Report, Disconnected):
        for name in inspect.signature(cls).parameters:
            assert inspect.getdoc(getattr(cls, name)), f"{cls.__name__}.{name}"
    assert "peers" in inspect.signature(Limits).parameters
