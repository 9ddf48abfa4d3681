"""Associations with DICOM peers: deadlines on every wait, every failure by its narrowest name.

::

    no address, no listener, no route       Unreachable
    certificates, or TLS against no TLS     TlsFailed
    A-ASSOCIATE-RJ                          AssociationRefused
    no presentation context accepted        NotSupported
    silence, A-ABORT, connection lost       PeerSilent
    failure status                          PeerRefused

A C-FIND that ends with a warning has ended: its matches count, and the warning is told beside them.
"""

import socket
import ssl
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom import _config as library  # its public switches live there
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE, A_P_ABORT, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.transport import AddressInformation, AssociationSocket

from station.hospital import Hospital, Peer
from station.network import (
    NetworkError,
    PeerRefused,
    PeerSilent,
    TlsFailed,
    Unreachable,
    client_context,
    probe,
    server_context,
    wants_tls,
)

__all__ = [
    "AssociationRefused",
    "NetworkError",
    "NotSupported",
    "PeerRefused",
    "PeerSilent",
    "TlsFailed",
    "Unreachable",
    "associated",
    "called",
    "client_context",
    "close_socket",
    "found",
    "probe",
    "server_context",
]

IMPLEMENTATION_UID = "2.25.302471180474180318938268473519840234219"  # ours; a UUID made once
IMPLEMENTATION_VERSION = "DXR_STATION"
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_PENDING = (0xFF00, 0xFF01)
_SUCCESS = 0x0000
_CANCELLED = 0xFE00
_GENERAL_WARNINGS = (0x0001, 0x0107, 0x0116)  # PS3.7 annex C; those of services are Bxxx
_TRANSIENT = 0x02  # A-ASSOCIATE-RJ result, PS3.8 table 9-21

# Patients' names do not belong into a log, and printing 5,000 rows takes longer than fetching them.
library.LOG_RESPONSE_IDENTIFIERS = False
library.LOG_REQUEST_IDENTIFIERS = False


class AssociationRefused(NetworkError):  # noqa: N818  reads as the message it is
    """The peer does not want to talk to this application entity."""


class NotSupported(NetworkError):  # noqa: N818  reads as the message it is
    """The peer has no presentation context for what is asked."""


class _Socket(AssociationSocket):
    """The library leaves a socket open when it was never connected, and sends messages in small pieces.

    Without TCP_NODELAY the second piece of every message waits some 40 ms for the peer's acknowledgement.
    """

    def _create_socket(self, address: AddressInformation) -> socket.socket:
        made = super()._create_socket(address)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _shutdown_socket(self) -> None:
        if self.socket is None:
            return
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class _Entity(AE):
    """An application entity whose failed connections are closed."""

    def _create_socket(
        self,
        assoc: Association,
        address: AddressInformation,
        tls_args: tuple[ssl.SSLContext, str] | None,
    ) -> AssociationSocket:
        made = _Socket(assoc, address=address)
        made.tls_args = tls_args
        return made


def close_socket(event: Any) -> None:
    """Of a caller who has gone, on EVT_CONN_CLOSE: the library leaves it open when he was faster."""
    line = event.assoc.dul.socket
    if line is not None and line.socket is not None:
        line.socket.close()


def called(peer: Peer) -> str:
    """The peer's name in messages."""
    return f"{peer.ae_title} at {peer.host}:{peer.port}"


@contextmanager
def associated(
    hospital: Hospital,
    peer: Peer,
    sop_classes: Iterable[str],
    *,
    roles: Sequence[str] = (),
    handlers: Sequence[Any] = (),
    syntaxes: Sequence[str] = (),
) -> Generator[Association]:
    """An association for these SOP classes; `roles` are those that the station also serves to the peer.

    `syntaxes` are the transfer syntaxes to offer, best first; without them the uncompressed ones.
    Released at the end, aborted when the block is left by an error.

    Raises
    ------
    NetworkError
        Its narrowest kind, naming the peer.
    """
    heard: list[Any] = []

    def hear(event: Any) -> None:
        heard.append(event.primitive)

    def hear_rejection(event: Any) -> None:
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            heard.append(event.pdu.to_primitive())

    # To the library a peer that rejects and hangs up at once was never reached: its words count
    listening = [*handlers, (evt.EVT_ACSE_RECV, hear), (evt.EVT_PDU_RECV, hear_rejection)]
    began = time.monotonic()
    wanted = {uid: list(syntaxes or SYNTAXES) for uid in sop_classes}
    association = _requested(hospital, peer, wanted, [_role(uid) for uid in roles], listening)
    if not association.is_established:
        raise _refusal(hospital, peer, association, heard, time.monotonic() - began)
    try:
        yield association
    except BaseException:
        if association.is_established:
            association.abort()
        raise
    if association.is_established:
        association.release()


def found(
    association: Association,
    peer: Peer,
    keys: Dataset,
    model: str,
    warned: Callable[[str], None] = lambda _: None,
) -> Iterator[Dataset | None]:
    """Matches of a C-FIND one by one; None for one that cannot be decoded.

    `warned` is told of a warning that the peer ends with, such as B001: it has more, and gives no more.

    Raises
    ------
    NotSupported, PeerSilent, PeerRefused
    """
    try:
        answers = association.send_c_find(keys, model)
    except ValueError as error:
        raise NotSupported(
            f"{called(peer)} does not offer this query: {error}", "enable it at the peer", again=False
        ) from error
    except RuntimeError as error:
        raise _lost(peer) from error
    pending = False
    for status, match in answers:
        code = status.get("Status")
        if code is None:
            raise _lost(peer)
        if code in _PENDING:
            if match is None and pending:
                pending = False  # the library reports an undecodable match twice
                continue
            pending = match is None
            yield match
        elif warns(code):
            comment = str(status.get("ErrorComment", ""))
            warned(f"{called(peer)} ends its answer with the warning {_said(code, comment)}")
        elif code != _SUCCESS:
            raise refused(peer, "the query", code, str(status.get("ErrorComment", "")))


def warns(status: int) -> bool:
    """Whether an answer with this status counts, but for something that should be known."""
    return status in _GENERAL_WARNINGS or 0xB000 <= status <= 0xBFFF


def refused(peer: Peer, what: str, status: int, comment: str = "") -> PeerRefused:
    """The failure status of an answer as an error; out of resources and cancelled are worth repeating."""
    again = status == _CANCELLED or 0xA700 <= status <= 0xA7FF
    remedy = "try again later" if again else "ask the peer's administrator with this status and time"
    return PeerRefused(
        f"{called(peer)} refuses {what}: {_said(status, comment)}", remedy, status, again=again
    )


def _said(status: int, comment: str) -> str:
    return f"{status:04X}H ({comment})" if comment else f"{status:04X}H"


def _lost(peer: Peer) -> PeerSilent:
    return PeerSilent(
        f"{called(peer)} ended the association or stopped answering", "check the peer and its log; try again"
    )


def _requested(
    hospital: Hospital, peer: Peer, wanted: dict[str, list[str]], roles: list[Any], handlers: list[Any]
) -> Association:
    """The association after its negotiation, whatever came of that."""
    entity = _Entity(ae_title=hospital.ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION
    entity.acse_timeout = entity.dimse_timeout = hospital.timeouts.answer_s
    entity.network_timeout = hospital.timeouts.network_s
    entity.connection_timeout = hospital.timeouts.connect_s
    for uid, offered in wanted.items():
        entity.add_requested_context(uid, offered)
    if not peer.plain and hospital.tls is None:
        raise TlsFailed(f"no certificate to show {called(peer)}", "give tls in the hospital file")
    tls = None if peer.plain or hospital.tls is None else (client_context(hospital.tls), peer.host)
    try:
        return entity.associate(
            peer.host,
            peer.port,
            ae_title=peer.ae_title,
            tls_args=tls,
            ext_neg=roles or None,
            evt_handlers=handlers,
        )
    except (OSError, UnicodeError) as error:  # the host name has no address
        remedy = "correct host in the hospital file, or ask for its DNS entry"
        raise Unreachable(f"{called(peer)}: {error}", remedy) from error


def _role(uid: str) -> SCP_SCU_RoleSelectionNegotiation:
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid = uid
    role.scu_role, role.scp_role = True, True
    return role


def _refusal(
    hospital: Hospital, peer: Peer, association: Association, heard: list[Any], waited_s: float
) -> NetworkError:
    """Why there is no association: the library only logs what happens below DICOM, so that is tried anew."""
    rejections = [said for said in heard if isinstance(said, A_ASSOCIATE) and said.result]
    if rejections:
        return _rejection(hospital, peer, rejections[0])
    if association.rejected_contexts:
        syntaxes = (context.abstract_syntax for context in association.rejected_contexts[:3])
        names = ", ".join(uid.name for uid in syntaxes if uid)
        return NotSupported(
            f"{called(peer)} accepts none of what was asked for ({names})",
            "enable these SOP classes at the peer",
            again=False,
        )
    try:
        probe(hospital, peer)
    except NetworkError as error:
        return type(error)(f"{called(peer)}: {error.message}", error.remedy, again=error.again)
    hung_up = any(isinstance(said, A_ABORT | A_P_ABORT) for said in heard)
    if hung_up or waited_s < hospital.timeouts.answer_s:
        if peer.plain and wants_tls(hospital, peer):
            return TlsFailed(f"{called(peer)} speaks TLS", "remove plain: true from it in the hospital file")
        return PeerSilent(
            f"{called(peer)} hangs up on the association request",
            "check that this is a DICOM port, and the peer's log",
        )
    return PeerSilent(
        f"{called(peer)} did not answer the association request within {hospital.timeouts.answer_s:g} s",
        "check that this is a DICOM port and that the peer's service is not stuck",
    )


def _rejection(hospital: Hospital, peer: Peer, answer: Any) -> AssociationRefused:
    if answer.result == _TRANSIENT:
        remedy = "the peer is busy; try again later"
    else:
        remedy = (
            f"let the peer know {hospital.ae_title} and its address, and check that it is {peer.ae_title}"
        )
    return AssociationRefused(f"{called(peer)} rejects the association: {answer.reason_str}", remedy)
