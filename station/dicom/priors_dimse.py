"""Earlier reports over DIMSE: C-FIND down to the instance, then C-GET or C-MOVE, one by one."""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pynetdicom import evt
from pynetdicom.association import Association

from station.dicom.association import associated, called, found, refused
from station.dicom.reading import Level, Unreadable
from station.dicom.storage import Listener
from station.hospital import Archive, Hospital
from station.network import NetworkError, PeerSilent

FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root Query/Retrieve Information Model
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
REPORTS = (  # classes of measurement reports; a dose report is another one
    "1.2.840.10008.5.1.4.1.1.88.22",  # Enhanced SR
    "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR
    "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR
)
LEVELS = {  # what is matched and what is asked for, level by level
    "STUDY": (("PatientID",), ("StudyInstanceUID", "StudyDate")),
    "SERIES": (("StudyInstanceUID", "Modality"), ("SeriesInstanceUID",)),
    "IMAGE": (("StudyInstanceUID", "SeriesInstanceUID"), ("SOPInstanceUID", "SOPClassUID")),
}
MOST = 20  # reports of one person; a visit a year gives fewer in a lifetime
_SUCCESS, _SOME_FAILED, _NOT_ASKED_FOR = 0x0000, 0xB000, 0x0124

Place = tuple[str, str, str]  # study, series, instance
Answers = Iterator[tuple[Dataset, Dataset | None]]


@dataclass(slots=True)
class Inbox:
    """Takes the reports that C-GET and C-MOVE bring, and only those that are expected."""

    _expected: set[str] = field(default_factory=set)
    _arrived: dict[str, Dataset] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def contexts(self) -> tuple[str, ...]:
        """For a listener."""
        return REPORTS

    @property
    def handlers(self) -> list[Any]:
        """For a listener or an association."""
        return [(evt.EVT_C_STORE, self._take)]

    def expect(self, uids: Sequence[str]) -> None:
        """From now on these are taken."""
        with self._changed:
            self._expected |= set(uids)

    def fetched(self, uids: Sequence[str], wait_s: float) -> list[Dataset]:
        """Those that have come, at the latest after that time; nothing is expected any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._arrived.keys() >= set(uids), wait_s)
            self._expected -= set(uids)
            return [self._arrived.pop(uid) for uid in uids if uid in self._arrived]

    def _take(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        with self._changed:
            if uid not in self._expected:
                return _NOT_ASKED_FOR
        dataset = event.dataset
        dataset.file_meta = FileMetaDataset(event.file_meta)
        with self._changed:
            self._arrived[uid] = dataset
            self._changed.notify_all()
        return _SUCCESS


def fetched(
    hospital: Hospital, archive: Archive, patient_id: str, own_study: str, inbox: Inbox | None
) -> tuple[list[Dataset], int]:
    """The newest reports of this patient ID, and how many there are. Raises `NetworkError`."""
    get = hospital.priors is None or hospital.priors.method == "get"
    took = inbox or Inbox()
    classes, roles, handlers = [FIND, MOVE], (), []
    if get:
        classes, roles, handlers = [FIND, GET, *REPORTS], REPORTS, took.handlers
    with associated(hospital, archive, classes, roles=roles, handlers=handlers) as association:
        all_places = list(_places(association, archive, patient_id, own_study))
        places = newest(all_places)
        took.expect([uid for _, _, uid in places])
        if get:
            sent = _sent(archive, places, lambda keys: association.send_c_get(keys, GET))
            return took.fetched(sent, 0), len(all_places)
        with _listening(hospital, took, already=inbox is not None):
            own = hospital.ae_title
            sent = _sent(archive, places, lambda keys: association.send_c_move(keys, own, MOVE))
            return took.fetched(sent, hospital.timeouts.answer_s), len(all_places)


@contextmanager
def _listening(hospital: Hospital, inbox: Inbox, *, already: bool) -> Generator[None]:
    if already:
        yield
        return
    with Listener(hospital, lambda _: False, contexts=inbox.contexts, handlers=inbox.handlers):
        yield


def newest(places: Sequence[tuple[str, Place]]) -> list[Place]:
    """By the study's date; those of a lifetime, not of a fault."""
    return [place for _, place in sorted(places, reverse=True)][:MOST]


def _places(
    association: Association, archive: Archive, patient_id: str, own_study: str
) -> Iterator[tuple[str, Place]]:
    """Where measurement reports of this patient ID are, each with its study's date."""
    if any(sign in patient_id for sign in "*?"):
        raise NetworkError(
            f"patient ID '{patient_id}' has wildcards", "earlier results cannot be asked for", again=False
        )

    def below(level: str, *values: str) -> list[dict[str, str]]:
        known, asked = LEVELS[level]
        return matches(association, archive, level, dict(zip(known, values, strict=True)), asked)

    for study in below("STUDY", patient_id):
        uid, when = study["StudyInstanceUID"], study["StudyDate"]
        if not uid or uid == own_study:
            continue
        for series in below("SERIES", uid, "SR"):
            if series["Modality"] != "SR":
                continue  # an archive that does not match by modality
            for image in below("IMAGE", uid, series["SeriesInstanceUID"]):
                if image["SOPInstanceUID"] and image["SOPClassUID"] in {"", *REPORTS}:
                    yield when, (uid, series["SeriesInstanceUID"], image["SOPInstanceUID"])


def matches(
    association: Association, archive: Archive, level: str, known: dict[str, str], asked: tuple[str, ...]
) -> list[dict[str, str]]:
    """Matches as text; one that cannot be read is left out."""
    keys = Dataset()
    keys.QueryRetrieveLevel = level
    for keyword, value in {**dict.fromkeys(asked, ""), **known}.items():
        setattr(keys, keyword, value)
    answers: list[dict[str, str]] = []
    for match in found(association, archive, keys, FIND):
        try:
            values = Level.of(match or Dataset())
            answers.append({keyword: values.text(keyword) for keyword in (*asked, *known)})
        except Unreadable:
            continue
    return answers


def _sent(archive: Archive, places: Sequence[Place], ask: Callable[[Dataset], Answers]) -> list[str]:
    """UIDs that the archive says it sent."""
    sent: list[str] = []
    for study, series, uid in places:
        keys = Dataset()
        keys.QueryRetrieveLevel = "IMAGE"
        keys.StudyInstanceUID, keys.SeriesInstanceUID, keys.SOPInstanceUID = study, series, uid
        try:
            answers = ask(keys)
        except (RuntimeError, ValueError) as error:
            remedy = "enable it at the archive, or choose another priors.method"
            raise NetworkError(f"{called(archive)} cannot be asked: {error}", remedy) from error
        if _done(archive, answers):
            sent.append(uid)
    return sent


def _done(archive: Archive, answers: Answers) -> bool:
    code = None
    for status, _ in answers:
        code = status.get("Status")
        if code is None:
            message = f"{called(archive)} hangs up or says nothing when it is to send a report"
            raise PeerSilent(message, "let it know this station's title and address, and check its log")
    if code is None or code == _SOME_FAILED:
        return False
    if code != _SUCCESS:
        raise refused(archive, "to send a report; it must know this station's title and address", code)
    return True
