"""C-STORE to an archive, and its word that it keeps what it took (storage commitment, PS3.4 annex J).

::

    station                                   archive
      C-STORE, as many as there are      ->           success, warning or failure for each
      N-ACTION 1, transaction, objects   ->           success: the request is understood
                                         <-  N-EVENT-REPORT 1 all kept | 2 some are not
                                             (a) on the same association, within a short wait
                                             (b) at once on an association of its own to `Listener`
                                             (c) the same minutes or hours later

What a C-STORE status means (PS3.4 table B.2-1, PS3.7 annex C): 0000 and the warnings B000, B006, B007 are
stored, so is 0111 (it is there already); A7xx and everything temporary or unknown is repeated; A9xx, Cxxx,
0117, 0122, 0211 and 0212 are refusals for good. No answer means unknown, so it is repeated: the same UID
twice is harmless. An archive's own error comment is dropped, it may name the patient.
"""

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.transport import ThreadedAssociationServer

from station.dicom.association import (
    IMPLEMENTATION_UID,
    IMPLEMENTATION_VERSION,
    NotSupported,
    associated,
    close_socket,
)
from station.hospital import Archive, Hospital
from station.network import NetworkError, PeerRefused, PeerSilent, Unreachable, server_context

VERIFICATION = "1.2.840.10008.1.1"
PUSH = "1.2.840.10008.1.20.1"  # Storage Commitment Push Model, and its only instance
PUSH_INSTANCE = "1.2.840.10008.1.20.1.1"
_STORED = {0x0000, 0x0111}
_STORED_OTHERWISE = {0xB000, 0xB006, 0xB007}  # coerced, cut or unlike its class
_FOR_GOOD = {0x0117, 0x0122, 0x0211, 0x0212}  # and A9xx, Cxxx
_POLL_S = 0.01
_REQUEST_S = 5.0  # until a caller's association request; the library cannot end its wait before
_REQUEST_STORAGE_COMMITMENT = 1  # action type, PS3.4 table J.3.2.1.1-1
_UNKNOWN_TRANSACTION = 0x0115  # invalid argument value
_UNREADABLE = 0x0110  # processing failure

Fate = Literal["stored", "stored with a warning", "sent again", "refused for good"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one file: stored, perhaps with a warning, or an error."""

    file: Path
    error: NetworkError | None = None
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an archive says about a commitment request; an object in neither was not mentioned."""

    transaction_uid: str
    committed: frozenset[str]  # SOP instance UIDs
    failed: Mapping[str, int] = field(default_factory=dict)  # failure reason by SOP instance UID


def store(hospital: Hospital, archive: Archive, files: Sequence[Path]) -> Iterator[Delivery]:
    """Send files in one association; each one's fate as soon as it is known.

    Raises
    ------
    NetworkError
        Nobody there, or the association broke: what was not yielded yet is unknown and must be repeated.
    """
    heads: dict[Path, Dataset] = {}
    for file in files:
        try:
            heads[file] = _head(file)
        except (OSError, InvalidDicomError, AttributeError) as error:
            yield Delivery(file, _unusable(file, error))
    if not heads:
        return
    # with Verification an archive that takes none of our classes still accepts: its answer is then certain
    classes = [VERIFICATION, *dict.fromkeys(head.MediaStorageSOPClassUID for head in heads.values())]
    with associated(hospital, archive, classes, syntaxes=_syntaxes(heads.values())) as association:
        for number, (file, head) in enumerate(heads.items()):
            yield _stored(association, archive, number % 0xFFFF + 1, (file, head))


def _head(file: Path) -> Dataset:
    meta = dcmread(file, stop_before_pixels=True, specific_tags=[]).file_meta
    for name in ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID"):
        if not getattr(meta, name):
            raise AttributeError(f"no {name}")
    return meta


def _syntaxes(heads: Any) -> list[str]:
    """Explicit before implicit little endian, which every archive knows, and what the files have besides."""
    plain = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    return list(dict.fromkeys([*plain, *(head.TransferSyntaxUID for head in heads)]))


def _stored(association: Association, archive: Archive, number: int, sent: tuple[Path, Dataset]) -> Delivery:
    file, head = sent
    sop_class = UID(head.MediaStorageSOPClassUID)
    if not any(context.abstract_syntax == sop_class for context in association.accepted_contexts):
        return Delivery(file, _no_context(archive, sop_class.name))
    try:
        status = association.send_c_store(file, msg_id=number)
    except ValueError:  # the class is accepted, but not in this file's transfer syntax
        return Delivery(file, _no_context(archive, f"{sop_class.name} as {head.TransferSyntaxUID.name}"))
    except OSError as error:
        return Delivery(file, _unusable(file, error))
    except RuntimeError as error:
        raise _broken(archive) from error
    if "Status" not in status:
        raise _broken(archive)
    return _judged(file, archive, status.Status)


def fate(status: int) -> Fate:
    """What becomes of an object after this status."""
    if status in _STORED:
        return "stored"
    if status in _STORED_OTHERWISE:
        return "stored with a warning"
    for_good = status in _FOR_GOOD or status >> 8 == 0xA9 or status >> 12 == 0xC
    return "refused for good" if for_good else "sent again"


def _judged(file: Path, archive: Archive, status: int) -> Delivery:
    became = fate(status)
    if became == "stored":
        return Delivery(file)
    if became == "stored with a warning":
        return Delivery(file, warning=f"stored with warning {status:04X}H")
    again = became == "sent again"
    if status >> 8 == 0xA7:
        remedy = "the archive is out of resources: it is sent again; free space there"
    elif again:
        remedy = "it is sent again; look into the archive's log if this stays"
    else:
        remedy = "it is not sent again: look into the archive's log, mend the cause, then retry"
    message = f"{archive.ae_title} refuses the object (status {status:04X}H)"
    return Delivery(file, PeerRefused(message, remedy, status, again=again))


def _no_context(archive: Archive, what: str) -> NetworkError:
    remedy = "enable this SOP class at the archive, then retry"
    return NotSupported(f"{archive.ae_title} does not take {what}", remedy, again=False)


def _unusable(file: Path, error: Exception) -> NetworkError:
    remedy = "make the exam's objects again, then retry"
    return NetworkError(f"{file.name} cannot be read ({type(error).__name__})", remedy, again=False)


def _broken(archive: Archive) -> NetworkError:
    name = f"{archive.ae_title} at {archive.host}:{archive.port}"
    return PeerSilent(
        f"{name}: no answer, or the association broke", "it is repeated; check network and peer"
    )


# --- commitment ------------------------------------------------------------------------------------------


def ask_commitment(
    hospital: Hospital,
    archive: Archive,
    instances: Sequence[tuple[str, str]],
    transaction_uid: str,
    *,
    until: Callable[[], bool] = lambda: False,
    wait_s: float = 1.0,
) -> Answer | None:
    """Ask for (SOP class, instance) UIDs; the answer if it comes on the same association.

    It is waited for until `until` (it has come to the listener), at most `wait_s`. The roles are negotiated
    so that libraries which check them may report on the same association.

    Raises
    ------
    NetworkError
        The archive was not reached, or refuses the request.
    """
    heard: list[Answer] = []
    replied = threading.Event()

    def hear(answer: Answer) -> bool:
        ours = answer.transaction_uid == transaction_uid
        if ours:
            heard.append(answer)
        return ours

    def sent(event: evt.Event) -> None:
        if heard and isinstance(event.pdu, P_DATA_TF):  # the reply to the report
            replied.set()

    handlers = [(evt.EVT_N_EVENT_REPORT, _reported, [hear]), (evt.EVT_PDU_SENT, sent)]
    with associated(hospital, archive, [PUSH], roles=[PUSH], handlers=handlers) as association:
        _ask(association, archive, _request(instances, transaction_uid))
        deadline = time.monotonic() + wait_s
        while not replied.is_set() and not until() and association.is_established:
            if not heard and time.monotonic() >= deadline:
                break
            time.sleep(_POLL_S)  # released before its reply, the library breaks the association
    return heard[0] if heard else None


def _ask(association: Association, archive: Archive, request: Dataset) -> None:
    try:
        status, _ = association.send_n_action(request, _REQUEST_STORAGE_COMMITMENT, PUSH, PUSH_INSTANCE)
    except (ValueError, RuntimeError) as error:
        raise _broken(archive) from error
    if "Status" not in status:
        raise _broken(archive)
    if status.Status != 0x0000:
        message = f"{archive.ae_title} refuses to commit (status {status.Status:04X}H)"
        remedy = "enable storage commitment at the archive for this station, or set commitment: false"
        raise PeerRefused(message, remedy, status.Status)


def _request(instances: Sequence[tuple[str, str]], transaction_uid: str) -> Dataset:
    request = Dataset()
    request.TransactionUID = transaction_uid
    request.ReferencedSOPSequence = []
    for sop_class_uid, sop_instance_uid in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
        request.ReferencedSOPSequence.append(item)
    return request


def _reported(event: evt.Event, hear: Callable[[Answer], bool]) -> tuple[int, None]:
    """Answer an N-EVENT-REPORT only after its content was taken in: the archive says it once."""
    try:
        answer = read_answer(event.event_information)
    except (AttributeError, ValueError, TypeError):
        return _UNREADABLE, None
    return (0x0000 if hear(answer) else _UNKNOWN_TRANSACTION), None


def read_answer(report: Dataset) -> Answer:
    """The event information of a commitment report. Raises AttributeError without transaction UID."""
    failed: dict[str, int] = {
        str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason", 0x0110))
        for item in report.get("FailedSOPSequence") or []
    }
    named = {str(item.ReferencedSOPInstanceUID) for item in report.get("ReferencedSOPSequence") or []}
    return Answer(str(report.TransactionUID), frozenset(named - failed.keys()), failed)


class Listener:
    """The station's own port: echo, and commitment reports that come on an association of their own.

    `heard` is called in the caller's thread and says whether the transaction is ours; it must have put the
    answer on disk when it returns. The port speaks TLS as soon as the station has a certificate and some
    archive is not plain. `contexts` and `handlers` add services, e.g. storage for C-MOVE.
    """

    def __init__(
        self,
        hospital: Hospital,
        heard: Callable[[Answer], bool],
        *,
        contexts: Sequence[str] = (),
        handlers: Sequence[Any] = (),
    ) -> None:
        self._hospital = hospital
        self._contexts = contexts
        self._handlers: list[Any] = [
            (evt.EVT_N_EVENT_REPORT, _reported, [heard]),
            (evt.EVT_CONN_CLOSE, close_socket),
            *handlers,
        ]
        self._server: ThreadedAssociationServer | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Open the port. Raises `NetworkError` if there is none in the hospital file or it is taken."""
        hospital = self._hospital
        if hospital.port is None:
            raise Unreachable("the hospital file gives no port to listen at", "give it one: port: 11112")
        entity = self.entity()
        secured = any(not archive.plain for archive in hospital.archives.values())
        context = None
        if hospital.tls is not None and secured:
            context = _Handshake(server_context(hospital.tls), hospital.timeouts.answer_s)
        try:
            with self._lock:
                self._server = entity.start_server(
                    (hospital.bind, hospital.port),
                    block=False,
                    ssl_context=cast("ssl.SSLContext | None", context),
                    evt_handlers=self._handlers,
                )
        except OSError as error:
            where = f"{hospital.bind}:{hospital.port}"
            remedy = "choose another port in the hospital file, or end what listens there"
            raise Unreachable(f"cannot listen at {where}: {error}", remedy) from error

    def stop(self) -> None:
        """Close the port and end what came in through it."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            for association in server.active_associations:
                association.abort()
                association.join(_REQUEST_S + 1)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def entity(self) -> AE:
        """What the port accepts, before it is opened."""
        timeouts = self._hospital.timeouts
        entity = AE(ae_title=self._hospital.ae_title)
        entity.implementation_class_uid = IMPLEMENTATION_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION
        entity.acse_timeout = min(_REQUEST_S, timeouts.answer_s)
        entity.dimse_timeout, entity.network_timeout = timeouts.answer_s, timeouts.network_s
        entity.add_supported_context(VERIFICATION)
        # the archive calls and still has the provider's role
        entity.add_supported_context(PUSH, scu_role=True, scp_role=True)
        for uid in self._contexts:
            entity.add_supported_context(uid)
        return entity


class _Handshake:
    """Stands for an SSL context where the server wraps callers, which it does before it serves the next.

    So the handshake waits for the caller's first bytes and happens in the caller's own thread: one who says
    nothing holds up nobody, and is sent away when the association request does not come in time.
    """

    def __init__(self, context: ssl.SSLContext, timeout_s: float) -> None:
        self._context = context
        self._timeout_s = timeout_s

    def wrap_socket(self, sock: Any, *, server_side: bool) -> ssl.SSLSocket:
        sock.settimeout(self._timeout_s)
        return self._context.wrap_socket(sock, server_side=server_side, do_handshake_on_connect=False)
