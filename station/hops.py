"""Hops to a peer, tried in order until one fails: hospital file, address, port, TLS, and what speaks DICOM.

What a later hop would find after a failing one only misleads, so it is not tried. A hop that is neither right
nor wrong (`ok` None) was not tried, or cannot be.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from station.dicom.association import AssociationRefused, NotSupported, associated, called
from station.hospital import Endpoint, Hospital, Peer
from station.network import NetworkError, PeerSilent, probe, reach, resolve

VERIFICATION = "1.2.840.10008.1.1"
_NAMED = 5  # so many of a list are named


@dataclass(frozen=True, slots=True)
class Hop:
    """One step on the way: whether it is right, what was found, and what to do next."""

    name: str
    ok: bool | None  # None: not tried, or nobody can say
    finding: str
    remedy: str = ""


class Wrong(Exception):  # noqa: N818  a finding
    """What a hop found."""

    def __init__(self, finding: str, remedy: str) -> None:
        super().__init__(finding)
        self.finding = finding
        self.remedy = remedy


@dataclass(slots=True)
class Way:
    """Hops to one peer; a failing one ends it."""

    peer: str
    hops: list[Hop] = field(default_factory=list)
    broken: bool = False

    def hop(self, name: str, look: Callable[[], str | None]) -> None:
        """Try one; `look` gives what was found, None where nothing can be said, or raises what is wrong."""
        name = f"{self.peer}: {name}"
        if self.broken:
            self.hops.append(Hop(name, None, "not tried"))
            return
        try:
            finding = look()
            hop = Hop(name, True, finding) if finding else Hop(name, None, "cannot be tried at this peer")
        except (NetworkError, Wrong) as error:
            finding = error.message if isinstance(error, NetworkError) else error.finding
            hop = Hop(name, False, finding, error.remedy)
        self.broken = hop.ok is False
        self.hops.append(hop)


def lines(hops: Sequence[Hop]) -> Iterator[str]:
    """For people: a line for each hop, with the next action below what is wrong."""
    width = max((len(hop.name) for hop in hops), default=0)
    marks = {True: "ok", False: "WRONG", None: "-"}
    for hop in hops:
        yield f"{marks[hop.ok]:<5} {hop.name:<{width}}  {hop.finding}"
        if hop.remedy:
            yield f"{'':<5} {'':<{width}}  -> {hop.remedy}"


def as_json(hops: Sequence[Hop]) -> list[dict[str, Any]]:
    """For machines."""
    return [{"name": hop.name, "ok": hop.ok, "finding": hop.finding, "remedy": hop.remedy} for hop in hops]


def some(names: Sequence[str]) -> str:
    """The first of a list, and how many more."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def reached(way: Way, hospital: Hospital, peer: Endpoint) -> None:
    """From the hospital file to TLS."""
    name = called(peer) if isinstance(peer, Peer) else f"{peer.host}:{peer.port}"
    way.hop("hospital file", lambda: name)
    way.hop("address", lambda: f"{peer.host} is {resolve(peer)}")

    def port() -> str:
        reach(hospital, peer).close()
        return f"{peer.port} is open"

    def tls() -> str:
        probe(hospital, peer)
        plain = peer.plain or hospital.tls is None
        return "none, as the hospital file says" if plain else "both sides trust each other"

    way.hop("port", port)
    way.hop("TLS", tls)


def spoken(
    way: Way, hospital: Hospital, peer: Peer, classes: Mapping[str, str], needed: Sequence[str] = ()
) -> None:
    """From the hospital file to C-ECHO; `classes` are UIDs with their names, `needed` must be accepted."""
    reached(way, hospital, peer)
    talk = _Talk() if way.broken else _talk(hospital, peer, list(classes))

    def association() -> str:
        if talk.error and not isinstance(talk.error, AssociationRefused | NotSupported):
            raise talk.error
        return "the peer speaks DICOM"

    def titles() -> str:
        if isinstance(talk.error, AssociationRefused):
            raise talk.error
        return f"it takes calls from {hospital.ae_title} to {peer.ae_title}"

    def contexts() -> str:
        if talk.error:
            raise talk.error
        missing = [name for uid, name in classes.items() if uid not in talk.accepted]
        if any(uid not in talk.accepted for uid in needed):
            raise Wrong(f"not offered: {some(missing)}", "enable it at the peer")
        return f"not offered: {some(missing)}" if missing else "all accepted"

    way.hop("association", association)
    way.hop("AE titles", titles)
    way.hop("presentation contexts", contexts)
    way.hop("C-ECHO", lambda: _echoed(talk))


@dataclass(frozen=True, slots=True)
class _Talk:
    """What came of one association."""

    accepted: frozenset[str] = frozenset()
    echo: int | None = None
    error: NetworkError | None = None


def _talk(hospital: Hospital, peer: Peer, classes: Sequence[str]) -> _Talk:
    try:
        with associated(hospital, peer, dict.fromkeys([VERIFICATION, *classes])) as association:
            accepted = frozenset(str(context.abstract_syntax) for context in association.accepted_contexts)
            if VERIFICATION not in accepted:
                return _Talk(accepted)
            status = association.send_c_echo().get("Status")
            if status is None:
                message = f"{called(peer)} hangs up on C-ECHO, or does not answer it"
                return _Talk(accepted, error=PeerSilent(message, "look at the peer's log"))
            return _Talk(accepted, int(status))
    except NetworkError as error:
        return _Talk(error=error)


def _echoed(talk: _Talk) -> str | None:
    if talk.echo:
        raise Wrong(f"answered with {talk.echo:04X}H", "look at the peer's log")
    return None if talk.echo is None else "answered"
