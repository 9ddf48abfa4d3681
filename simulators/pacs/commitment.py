"""Storage commitment (PS3.4 Annex J), its report delivered in one of three ways.

| way | the report comes |
|---|---|
| `same` | on the association of the request, after its answer; if that has ended, as `new` |
| `new` | at once, on an association that the archive opens to the station |
| `later` | so too, after a while (`commitment-later` says how long) |

A station that is not there is tried again. An object that is not kept is reported as failed, with 0112H.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

from simulators.pacs.archive import Archive, Stations
from simulators.pacs.ills import Ills
from simulators.pacs.serving import Entity, Server

PUSH_MODEL = "1.2.840.10008.1.20.1"
WELL_KNOWN = "1.2.840.10008.1.20.1.1"

Way = Literal["same", "new", "later"]

_PROCESSING_FAILURE, _NO_SUCH_INSTANCE, _CLASS_CONFLICT = 0x0110, 0x0112, 0x0119
_INVALID_ARGUMENT = 0x0115
_ALL_KEPT, _SOME_FAILED = 1, 2
_LATER_S = 2.0
_AGAIN_S = 0.5
_TRIES = 60
_ANSWER_S = 5.0
_END_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Notice:
    """One report to deliver."""

    transaction: str
    references: tuple[tuple[str, str], ...]  # SOP class, SOP instance
    station: str  # AE title
    association: Any  # of the request, where the report shall come on it
    due_s: float
    tries: int = 0


class Commitment:
    """Takes requests, and delivers their reports in a thread."""

    def __init__(self, archive: Archive, ills: Ills, stations: Stations, tls: Any) -> None:
        self.way: Way = "new"
        self.ae_title = ""
        self._archive = archive
        self._ills = ills
        self._stations = stations
        self._tls = tls
        self._waiting: list[Notice] = []
        self._requests: list[str] = []
        self._delivered: list[tuple[str, str]] = []
        self._changed = threading.Condition()
        self._over = False
        self._thread: threading.Thread | None = None

    def bind(self, server: Server) -> None:
        """Serve it there."""
        self.ae_title = server.ae_title
        server.offer([PUSH_MODEL])
        server.serve(evt.EVT_N_ACTION, self._asked)
        server.watch(evt.EVT_PDU_SENT, _answered)

    def requests(self) -> list[str]:
        """Transaction UIDs, in the order they came."""
        with self._changed:
            return list(self._requests)

    def delivered(self) -> list[tuple[str, str]]:
        """Transaction UID, and `same` or `new`, of every report that the station took."""
        with self._changed:
            return list(self._delivered)

    def start(self) -> None:
        """Begin to deliver, also what was left when it stopped."""
        self._over = False
        self._thread = threading.Thread(target=self._deliver, name="commitment", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; reports that wait go on waiting."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if self._thread:
            self._thread.join(_END_WITHIN_S)

    def _asked(self, event: Event) -> tuple[int, None]:
        asked = event.action_information
        references = tuple(
            (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
            for item in asked.get("ReferencedSOPSequence", [])
        )
        if not references or not asked.get("TransactionUID"):
            return _INVALID_ARGUMENT, None
        if self._ills.argument("commitment-refused") is not None:
            return _PROCESSING_FAILURE, None
        late = self._ills.argument("commitment-later")
        wait_s = float(late) if late is not None else _LATER_S if self.way == "later" else 0.0
        association: Any = event.assoc
        same = self.way == "same" and late is None
        if same:
            association.has_answered = threading.Event()
        notice = Notice(
            str(asked.TransactionUID),
            references,
            str(association.requestor.ae_title),
            association if same else None,
            time.monotonic() + wait_s,
        )
        with self._changed:
            self._requests.append(notice.transaction)
            if self._ills.argument("commitment-never") is None:
                self._waiting.append(notice)
                self._changed.notify_all()
        return 0x0000, None

    def _deliver(self) -> None:
        while (notice := self._next()) is not None:
            way = self._report(notice)
            with self._changed:
                if way:
                    self._delivered.append((notice.transaction, way))
                elif notice.tries < _TRIES:
                    due_s = time.monotonic() + _AGAIN_S
                    self._waiting.append(
                        replace(notice, association=None, due_s=due_s, tries=notice.tries + 1)
                    )

    def _next(self) -> Notice | None:
        """The first that is due; None at the end."""
        with self._changed:
            while not self._over:
                first = min(self._waiting, key=lambda notice: notice.due_s, default=None)
                wait_s = None if first is None else first.due_s - time.monotonic()
                if first is not None and wait_s is not None and wait_s <= 0:
                    self._waiting.remove(first)
                    return first
                self._changed.wait(wait_s)
        return None

    def _report(self, notice: Notice) -> str:
        """How it was delivered; empty if it was not."""
        if notice.association is not None and notice.association.has_answered.wait(_ANSWER_S):
            try:
                if self._send(notice.association, notice):
                    return "same"
            except (RuntimeError, ValueError):  # it has ended, or was not negotiated for it
                pass
        address = self._stations.get(notice.station)
        if address is None:
            return ""
        entity = Entity(ae_title=self.ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = _ANSWER_S
        entity.add_requested_context(PUSH_MODEL)
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid, role.scu_role, role.scp_role = PUSH_MODEL, False, True
        tls = None if self._tls is None else (self._tls, address[0])
        association = entity.associate(*address, ae_title=notice.station, ext_neg=[role], tls_args=tls)
        try:
            return "new" if association.is_established and self._send(association, notice) else ""
        except (RuntimeError, ValueError):
            return ""
        finally:
            if association.is_established:
                association.release()

    def _send(self, association: Association, notice: Notice) -> bool:
        report, event_type = self._content(notice.transaction, notice.references)
        status, _ = association.send_n_event_report(report, event_type, PUSH_MODEL, WELL_KNOWN)
        return status.get("Status") == 0

    def _content(self, transaction: str, references: Sequence[tuple[str, str]]) -> tuple[Dataset, int]:
        kept = self._archive.kept()
        good, bad = list[Dataset](), list[Dataset]()
        for sop_class, uid in references:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
            reason = (
                _NO_SUCH_INSTANCE if uid not in kept else 0 if kept[uid] == sop_class else _CLASS_CONFLICT
            )
            if self._ills.argument("commitment-fails") is not None:
                reason = _PROCESSING_FAILURE
            if reason:
                item.FailureReason = reason
            (bad if reason else good).append(item)
        report = Dataset()
        report.TransactionUID = transaction
        if good:
            report.ReferencedSOPSequence = Items(good)
        if bad:
            report.FailedSOPSequence = Items(bad)
        return report, _SOME_FAILED if bad else _ALL_KEPT


def _answered(event: Event) -> None:
    """A report on the same association must not overtake the answer of its request."""
    waiting = getattr(event.assoc, "has_answered", None)
    if waiting is not None and isinstance(event.pdu, P_DATA_TF):
        waiting.set()
