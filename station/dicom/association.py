"""Associations with peers: mutual TLS, deadlines on every wait, errors that say what to do."""

import socket
import ssl
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

from station.hospital import Hospital, Peer
from station.network import (
    NetworkError,
    PeerRefused,
    PeerSilent,
    TlsFailed,
    Unreachable,
    client_context,
    server_context,
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
    "client_context",
    "probe",
    "server_context",
]

_IMPLEMENTATION_UID = "2.25.302471180474180318938268473519840234219"


class AssociationRefused(NetworkError):  # noqa: N818  reads as the message it is
    """The peer does not want to talk to this application entity."""


class NotSupported(NetworkError):  # noqa: N818  reads as the message it is
    """The peer has no presentation context for what is asked."""


@contextmanager
def associated(
    hospital: Hospital,
    peer: Peer,
    sop_classes: Iterable[str],
    *,
    roles: Sequence[str] = (),
    handlers: Sequence[Any] = (),
) -> Generator[Association]:
    """An association for these SOP classes, released at the end; `roles` are those served to the peer.

    Raises
    ------
    NetworkError
        Its narrowest kind, naming the peer.
    """
    name = f"{peer.ae_title} at {peer.host}:{peer.port}"
    entity = AE(ae_title=hospital.ae_title)
    entity.implementation_class_uid = _IMPLEMENTATION_UID
    entity.acse_timeout = entity.dimse_timeout = hospital.timeouts.answer_s
    entity.network_timeout = hospital.timeouts.network_s
    entity.connection_timeout = hospital.timeouts.connect_s
    for uid in sop_classes:
        entity.add_requested_context(uid)
    tls = None if peer.plain or hospital.tls is None else (client_context(hospital.tls), peer.host)
    association = entity.associate(
        peer.host,
        peer.port,
        ae_title=peer.ae_title,
        tls_args=tls,
        ext_neg=[_role(uid) for uid in roles] or None,
        evt_handlers=list(handlers),
    )
    if not association.is_established:
        probe(hospital, peer)  # says by name what the library only logs
        raise _refusal(name, association)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def probe(hospital: Hospital, peer: Peer) -> None:
    """Open and close a connection: what is wrong with address, port or TLS is known by name.

    Raises
    ------
    Unreachable, TlsFailed
        With the reason that the library would only log.
    """
    name = f"{peer.ae_title} at {peer.host}:{peer.port}"
    try:
        with socket.create_connection((peer.host, peer.port), hospital.timeouts.connect_s) as plain:
            if peer.plain or hospital.tls is None:
                return
            with client_context(hospital.tls).wrap_socket(plain, server_hostname=peer.host):
                pass
    except ssl.SSLError as error:
        remedy = "compare both sides' certificates and authorities, their dates and the host name"
        raise TlsFailed(f"{name}: no TLS: {error}", remedy) from error
    except OSError as error:
        raise Unreachable(f"{name}: {error}", "check address, port, cable and whether it runs") from error


def _role(uid: str) -> SCP_SCU_RoleSelectionNegotiation:
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid = uid
    role.scu_role, role.scp_role = True, True
    return role


def _refusal(name: str, association: Association) -> NetworkError:
    if association.is_rejected:
        answer = association.acceptor.primitive
        why = f"source {answer.result_source}, reason {answer.diagnostic}" if answer else "no reason given"
        remedy = "both sides must know each other's AE title and address"
        return AssociationRefused(f"{name} rejects the association ({why})", remedy)
    if association.is_aborted and not association.accepted_contexts:
        return NotSupported(
            f"{name} accepts none of what was asked for", "enable the SOP classes at the peer"
        )
    return PeerSilent(f"{name} did not answer the association request", "check that it is a DICOM port")
