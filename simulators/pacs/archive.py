"""What the archive keeps, and finding and fetching it: storage, C-FIND, C-GET, C-MOVE."""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pynetdicom import evt
from pynetdicom.events import Event
from pynetdicom.presentation import AllStoragePresentationContexts, build_context

from simulators.pacs.ills import Ills
from simulators.pacs.orders import answer, matches
from simulators.pacs.serving import Server, cut

_FIND = ("1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.2.1")  # patient root, study root
_MOVE = ("1.2.840.10008.5.1.4.1.2.1.2", "1.2.840.10008.5.1.4.1.2.2.2")
_GET = ("1.2.840.10008.5.1.4.1.2.1.3", "1.2.840.10008.5.1.4.1.2.2.3")
_LEVELS = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
_SUCCESS, _PENDING, _CANCELLED = 0x0000, 0xFF00, 0xFE00
_NO_RESOURCES, _WRONG_CLASS, _CANNOT_UNDERSTAND = 0xA700, 0xA900, 0xC000
_UNKNOWN_LEVEL = 0xA900
_TRANSFER_SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")

Stations = Mapping[str, tuple[str, int]]  # AE title → address


class Archive:
    """Objects as files in a folder; asked from many threads."""

    def __init__(self, folder: Path, ills: Ills, stations: Stations, tls: Any) -> None:
        self.folder = folder
        self._ills = ills
        self._stations = stations
        self._tls = tls
        self._lock = threading.Lock()
        self._received: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._headers: dict[str, Dataset] = {}
        self._digests: dict[str, str] = {}
        self._changed: set[str] = set()

    def bind(self, server: Server) -> None:
        """Serve all of it there."""
        server.offer(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
        server.offer((*_FIND, *_MOVE, *_GET))
        server.serve(evt.EVT_C_STORE, self._store)
        server.serve(evt.EVT_C_FIND, self._find)
        server.serve(evt.EVT_C_GET, self._get)
        server.serve(evt.EVT_C_MOVE, self._move)

    # --- what has happened ---------------------------------------------------------------------------

    def received(self) -> dict[str, int]:
        """SOP instance UIDs that came whole, with how often; kept or not."""
        with self._lock:
            return dict(self._received)

    def accepted(self) -> dict[str, int]:
        """The same, of those that were answered with success; lost or not."""
        with self._lock:
            return dict(self._answered)

    def changed(self) -> set[str]:
        """SOP instance UIDs that came again with other content: they must never."""
        with self._lock:
            return set(self._changed)

    def kept(self) -> dict[str, str]:
        """SOP instance UID → SOP class UID of every object that is there."""
        with self._lock:
            return {uid: str(header.SOPClassUID) for uid, header in self._headers.items()}

    def path(self, uid: str) -> Path:
        """Where that object lies."""
        return self.folder / f"{uid}.dcm"

    def forget(self, uid: str) -> None:
        """Lose an object that was kept."""
        with self._lock:
            self._headers.pop(uid, None)
        self.path(uid).unlink(missing_ok=True)

    # --- requests ------------------------------------------------------------------------------------

    def _store(self, event: Event) -> int:
        request: Any = event.request
        uid, sop_class = str(request.AffectedSOPInstanceUID), str(request.AffectedSOPClassUID)
        if self._ills.argument("cut-store") is not None:  # whatever was on its way never came whole
            cut(event.assoc)
            return _CANNOT_UNDERSTAND
        with self._lock:
            self._received[uid] += 1
        refusal = self._refusal(sop_class)
        if refusal:
            return refusal
        if self._ills.argument("abort-store") is not None:
            event.assoc.abort()
            return _CANNOT_UNDERSTAND
        if self._ills.argument("lose") is None and not self._keep(uid, event):
            return _CANNOT_UNDERSTAND
        if self._ills.argument("lose-answer") is not None:
            cut(event.assoc)
            return _SUCCESS
        with self._lock:
            self._answered[uid] += 1
        return _SUCCESS

    def _refusal(self, sop_class: str) -> int:
        if self._ills.argument("out-of-resources") is not None:
            return _NO_RESOURCES
        return _WRONG_CLASS if self._ills.has("refuse-object", sop_class) else _SUCCESS

    def _keep(self, uid: str, event: Event) -> bool:
        whole = event.encoded_dataset()
        try:
            header = pydicom.dcmread(BytesIO(whole), stop_before_pixels=True)
            header.decode()
        except (InvalidDicomError, ValueError, KeyError, LookupError):
            return False
        if header.get("SOPInstanceUID") != uid:
            return False
        digest = hashlib.sha256(event.encoded_dataset(include_meta=False)).hexdigest()
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = self.path(uid).with_suffix(f".{threading.get_ident()}.part")
        aside.write_bytes(whole)
        aside.replace(self.path(uid))
        with self._lock:
            if self._digests.setdefault(uid, digest) != digest:
                self._changed.add(uid)
            self._headers[uid] = header
        return True

    def _find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        query = event.identifier
        level = _LEVELS.get(str(query.get("QueryRetrieveLevel", "")))
        if level is None:
            yield _UNKNOWN_LEVEL, None
            return
        for row in self._rows(query, level):
            if event.is_cancelled:
                yield _CANCELLED, None
                return
            found = answer(query, row)
            found.RetrieveAETitle = event.assoc.acceptor.ae_title
            yield _PENDING, found

    def _rows(self, query: Dataset, level: str) -> Iterator[Dataset]:
        """One row per patient, study, series or image that matches in one of its objects."""
        groups: dict[str, list[Dataset]] = {}
        for header in self._every():
            groups.setdefault(str(header.get(level, "")), []).append(header)
        wanted = Dataset()
        counted = (
            "NumberOfStudyRelatedSeries",
            "NumberOfStudyRelatedInstances",
            "NumberOfSeriesRelatedInstances",
        )
        for element in query:
            if element.keyword not in {"QueryRetrieveLevel", "ModalitiesInStudy", *counted}:
                wanted[element.tag] = element
        modality = str(query.get("ModalitiesInStudy") or "")
        for headers in groups.values():
            modalities = sorted({str(header.get("Modality", "")) for header in headers})
            matching = [header for header in headers if matches(wanted, header)]
            if not matching or (modality and modality not in modalities):
                continue
            row = Dataset()
            row.update(matching[0])
            row.QueryRetrieveLevel = query.QueryRetrieveLevel
            row.ModalitiesInStudy = modalities
            row.NumberOfStudyRelatedSeries = len({str(header.SeriesInstanceUID) for header in headers})
            row.NumberOfStudyRelatedInstances = row.NumberOfSeriesRelatedInstances = len(headers)
            yield row

    def _every(self) -> list[Dataset]:
        with self._lock:
            return list(self._headers.values())

    def _chosen(self, query: Dataset) -> list[str]:
        """UIDs of the objects that a retrieval names."""
        wanted = Dataset()
        for keyword in _LEVELS.values():
            if query.get(keyword):
                wanted[keyword] = query[keyword]
        if not len(wanted):
            return []
        return [str(header.SOPInstanceUID) for header in self._every() if matches(wanted, header)]

    def _get(self, event: Event) -> Iterator[Any]:
        yield from self._send(event, self._chosen(event.identifier))

    def _move(self, event: Event) -> Iterator[Any]:
        address = self._stations.get(str(event.move_destination))
        if address is None:
            yield None, None
            return
        chosen = self._chosen(event.identifier)
        classes = sorted({str(header.SOPClassUID) for header in self._every()})
        options: dict[str, Any] = {
            "contexts": [build_context(uid, list(_TRANSFER_SYNTAXES)) for uid in classes[:128]]
        }
        if self._tls is not None:
            options["tls_args"] = (self._tls, address[0])
        yield (*address, options)
        yield from self._send(event, chosen)

    def _send(self, event: Event, chosen: list[str]) -> Iterator[Any]:
        yield len(chosen)
        for uid in chosen:
            if event.is_cancelled:
                yield _CANCELLED, None
                return
            yield _PENDING, pydicom.dcmread(self.path(uid))
