"""Archives to store to: a scripted one with every ill that is tested, and Orthanc."""

import json
import threading
import urllib.request
from collections import Counter, deque
from contextlib import contextmanager, suppress
from pathlib import Path

from peers import HERE, free_port, process, serving, until
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

from station.exam import new_uid
from station.hospital import Archive, Hospital, Timeouts

CT, MR, SR = (f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in ("2", "4", "88.33"))
PUSH, PUSH_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
VERIFICATION = "1.2.840.10008.1.1"
QUICK = Timeouts(connect_s=2, answer_s=2, network_s=10)


def dicom_file(folder: Path, sop_class: str = CT, *, pixels: bytes = b"", **more) -> Path:
    """A small valid file with a fresh UID."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, new_uid()
    dataset.PatientID, dataset.PatientName = "P1", "Test^Person"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    for name, value in more.items():
        setattr(dataset, name, value)
    if pixels:
        dataset.add_new(0x7FE00010, "OW", pixels)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


def instance(path: Path) -> tuple[str, str]:
    """SOP class and instance UID of a file."""
    meta = dcmread(path, stop_before_pixels=True).file_meta
    return meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID


class Pacs:
    """An archive that does what a test wants of it."""

    def __init__(self, classes=(CT, MR, SR), syntaxes=None, commits="same", *, polite=True):
        self.entity = AE("PACS")
        self.entity.acse_timeout = 1
        self.entity.add_supported_context(VERIFICATION)
        for uid in classes:
            self.entity.add_supported_context(uid, syntaxes)
        if commits != "not offered":
            self.entity.add_supported_context(PUSH, scu_role=True, scp_role=True)
        self.commits = commits  # same, early (before its response), new, later, never, refuses
        self.polite = polite  # negotiates its role where it calls
        self.statuses = deque()  # of the next C-STOREs; then success
        self.breaks = ""  # abort or close, in the middle of the next object
        self.breaks_after = 1  # objects received
        self.loses = False
        self.listener = 0  # port of the station
        self.tls = None
        self.received = Counter()
        self.kept = {}
        self.later = deque()  # answers to give when asked to
        self.replies = []  # statuses of the station's answers to reports
        self._threads = []

    def __enter__(self):
        handlers = (
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_ACTION, self._action),
            (evt.EVT_DIMSE_SENT, self._sent),
            (evt.EVT_DATA_RECV, self._data),
        )
        self._serving = serving(self.entity, *handlers)
        self.port = self._serving.__enter__()
        return self

    def __exit__(self, *error):
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()
        self._serving.__exit__(*error)
        for association in self.entity.active_associations:
            association.abort()
            association.join(20)
            assert not association.is_alive()

    def hospital(self, **more):
        settings = {"host": HERE, "port": self.port, "ae_title": "PACS", "plain": True}
        return Hospital(
            name="t",
            ae_title="DXR",
            bind=HERE,
            port=self.listener or None,
            timeouts=QUICK,
            archives={"pacs": Archive(**settings, **more)},
        )

    def report(self, transaction_uid, names):
        """The N-EVENT-REPORT's event type and information."""
        report = Dataset()
        report.TransactionUID = transaction_uid
        good = [pair for pair in names if pair[1] in self.kept]
        bad = [pair for pair in names if pair[1] not in self.kept]
        report.ReferencedSOPSequence = [_reference(pair) for pair in good]
        if bad:
            report.FailedSOPSequence = [_reference(pair, reason=0x0112) for pair in bad]
        return (2 if bad else 1), report

    def tell_later(self):
        """Give all answers that were kept back, each on an association of its own."""
        while self.later:
            self._call(self.later.popleft())

    def _store(self, event):
        status = self.statuses.popleft() if self.statuses else 0x0000
        uid = event.request.AffectedSOPInstanceUID
        if isinstance(status, threading.Event):
            status.wait(20)
            return 0x0000
        self.received[uid] += 1
        if status in {0x0000, 0xB000} and not self.loses:
            self.kept[uid] = event.dataset
        if status:
            answer = Dataset()
            answer.Status, answer.ErrorComment = status, "Doe^Jane is not known"
            return answer
        return status

    def _data(self, event):
        if self.breaks and len(self.received) == self.breaks_after and len(event.data) > 1000:
            if self.breaks == "abort":
                event.assoc.abort()
            else:
                with suppress(OSError):
                    event.assoc.dul.socket.socket.shutdown(2)
            self.breaks = ""

    def _action(self, event):
        if self.commits == "refuses":
            return 0x0110, None
        items = event.action_information.ReferencedSOPSequence
        names = [(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in items]
        self.later.append((event.action_information.TransactionUID, names))
        if self.commits == "early":
            self._tell(event.assoc, self.later.popleft())
        return 0x0000, None

    def _sent(self, event):
        if type(event.message).__name__ != "N_ACTION_RSP" or self.commits not in {"same", "new"}:
            return
        answer = self.later.popleft()
        work = self._call if self.commits == "new" else lambda answer: self._tell(event.assoc, answer)
        self._threads.append(threading.Thread(target=work, args=(answer,)))
        self._threads[-1].start()

    def _call(self, answer):
        entity = AE("PACS")
        entity.add_requested_context(PUSH)
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid, role.scu_role, role.scp_role = PUSH, False, True
        association = entity.associate(
            HERE, self.listener, ext_neg=[role] if self.polite else None, tls_args=self.tls
        )
        assert association.is_established
        self._tell(association, answer)
        association.release()

    def _tell(self, association, answer):
        event_type, report = self.report(*answer)
        status, _ = association.send_n_event_report(report, event_type, PUSH, PUSH_INSTANCE)
        self.replies.append(status.get("Status"))


def _reference(pair, reason=None):
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = pair
    if reason is not None:
        item.FailureReason = reason
    return item


class Orthanc:
    """A running Orthanc that answers commitments to the station's port."""

    def __init__(self, port, web, listener, said):
        self.port, self.web, self.listener, self.said = port, web, listener, said

    def hospital(self, **more):
        archive = Archive(host=HERE, port=self.port, ae_title="ORTHANC", plain=True, **more)
        return Hospital(name="t", ae_title="DXR", bind=HERE, port=self.listener, archives={"pacs": archive})

    def ask(self, path, method="GET"):
        request = urllib.request.Request(f"http://{HERE}:{self.web}/{path}", method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310  our own Orthanc
            return json.loads(answer.read() or b"null")

    def instances(self):
        """Orthanc's ID of every instance by SOP instance UID."""
        return {
            self.ask(f"instances/{found}")["MainDicomTags"]["SOPInstanceUID"]: found
            for found in self.ask("instances")
        }


@contextmanager
def orthanc(folder: Path):
    """Orthanc with an empty store in memory of this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    port, web, listener = free_port(), free_port(), free_port()
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "HttpPort": web,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomModalities": {"dxr": {"AET": "DXR", "Host": HERE, "Port": listener}},
        "Plugins": [],
        "ConcurrentJobs": 4,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with process(folder, port, "Orthanc", str(folder / "orthanc.json")) as said:
        archive = Orthanc(port, web, listener, said)

        def answers():
            with suppress(OSError):
                return archive.ask("system")
            return None

        until(answers, "web server of Orthanc")
        yield archive
