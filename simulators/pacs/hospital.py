"""The simulated hospital: what a test or a person at a terminal holds in hand."""

import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Self

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.events import Event

from simulators.pacs.archive import Archive
from simulators.pacs.commitment import Commitment, Way
from simulators.pacs.day import whole_day
from simulators.pacs.ills import KINDS, Ills, listing
from simulators.pacs.mllp import Receiver
from simulators.pacs.orders import Order, Worklist, seeded
from simulators.pacs.serving import HOST, Server, client_tls, cut, server_tls
from simulators.pacs.steps import STEP, STEP_RETRIEVE, Step, Steps
from station.devices import BadSettings

_WORKLIST = "1.2.840.10008.5.1.4.31"
_VERIFICATION = "1.2.840.10008.1.1"
_PENDING, _CANCELLED, _LIMIT_REACHED = 0xFF00, 0xFE00, 0xB001
_STATION, _STATION_PORT = "DXR1", 11123
_Answer = tuple[Dataset, Dataset | None]
_WAYS: tuple[Way, ...] = ("same", "new", "later")

HELP = """\
spoil ILL[:ARGUMENT] · heal [ILL]   one of the ills below · the hospital is well again
commitment same|new|later           how commitments are reported
rows NUMBER                         so many more orders on the worklist
station AE_TITLE HOST:PORT          where a station listens, for reports of commitment and C-MOVE
list                                what has come, and what is wrong
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """Of the three services; 0 is any that is free."""

    ris: int = 0
    pacs: int = 0
    mllp: int = 0


_STATION_AT = re.compile(r"(?P<ae_title>\S{1,16}) (?P<host>[^:\s]+):(?P<port>\d{1,5})")
EXAMPLE_PORTS = Ports(11120, 11121, 11122)


@dataclass(frozen=True, slots=True)
class Setup:
    """What kind of hospital; all of it optional."""

    folder: Path | None = None  # of the archive; None is one that ends with the hospital
    orders: Sequence[Order] = field(default_factory=seeded)
    seed: int = 1  # of the orders' UIDs
    ports: Ports = Ports()
    certificates: Path | None = None  # folder of PEM files; None is without TLS
    commitment: Way = "new"


class Hospital:
    """Three services; as a context manager it is open inside."""

    def __init__(self, setup: Setup | None = None) -> None:
        self.setup = setup = setup or Setup()
        folder = setup.folder or Path(tempfile.mkdtemp(prefix="dxr-pacs-"))
        if setup.folder is None:
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        listens, calls = server_tls(setup.certificates), client_tls(setup.certificates)
        self.ills = Ills()
        self._stations = {_STATION: (HOST, _STATION_PORT)}
        self.archive = Archive(folder, self.ills, self._stations, calls)
        self.commitment = Commitment(self.archive, self.ills, self._stations, calls)
        self.commitment.way = setup.commitment
        self.worklist = Worklist(setup.orders, setup.seed, self.ills)
        self._steps = Steps()
        self.ris = Server("ris", "RIS", self.ills, listens)
        self.pacs = Server("pacs", "PACS", self.ills, listens)
        self.mllp = Receiver(self.ills, listens)
        self.archive.bind(self.pacs)
        self.commitment.bind(self.pacs)
        self._bind_ris()
        self.pacs.offer([_VERIFICATION])

    # --- open and close ------------------------------------------------------------------------------

    def start(self, *, follow_lamps: bool = False) -> None:
        """Open all that is not ordered down. Raises `BadSettings` if a port is taken; then none is open."""
        del follow_lamps  # rooms have lamps
        self.ills.begin()
        try:
            self._open()
        except BadSettings:
            self.stop()
            raise
        self.commitment.start()

    def stop(self) -> None:
        """Close all; every thread ends. What was kept stays until the next start, in the same process."""
        self.ills.end()
        self.commitment.stop()
        for service in (self.ris, self.pacs, self.mllp):
            service.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- orders --------------------------------------------------------------------------------------

    def spoil(self, name: str, argument: str = "") -> None:
        """Let an ill be; `KINDS` lists them. Raises `BadSettings`."""
        self.ills.spoil(name, argument)
        self._open()

    def heal(self, name: str | None = None) -> None:
        """One ill, or all."""
        self.ills.heal(name)
        self._open()

    def know(self, ae_title: str, host: str, port: int) -> None:
        """Where a station listens: for commitment reports and C-MOVE."""
        self._stations[ae_title] = (host, port)

    def obey(self, order: str) -> str:
        """Do as typed. Raises `BadSettings` with what can be asked for."""
        word, _, rest = order.partition(" ")
        station = _STATION_AT.fullmatch(rest)
        if word == "spoil" and rest:
            name, _, argument = rest.partition(":")
            self.spoil(name, argument)
        elif word == "heal" and (not rest or rest in KINDS):
            self.heal(rest or None)
        elif word == "commitment" and rest in _WAYS:
            self.commitment.way = rest
        elif word == "rows" and rest.isdecimal():
            self.worklist.orders = seeded(int(rest))
        elif word == "station" and station:
            self.know(station["ae_title"], station["host"], int(station["port"]))
        elif order == "list":
            return self._listed()
        else:
            raise BadSettings(f"'{order}' cannot be done here; there is:\n{HELP}{listing()}")
        return f"done: {order}"

    # --- what has happened ---------------------------------------------------------------------------

    @property
    def received(self) -> dict[str, int]:
        """SOP instance UIDs that came, with how often."""
        return self.archive.received()

    @property
    def kept(self) -> dict[str, str]:
        """SOP instance UID → SOP class UID of every object that is there."""
        return self.archive.kept()

    @property
    def steps(self) -> dict[str, Step]:
        """Performed procedure steps by UID, with status and history."""
        return self._steps.all()

    @property
    def complaints(self) -> list[str]:
        """What was refused of performed procedure steps, and why."""
        return self._steps.complaints()

    @property
    def messages(self) -> list[str]:
        """HL7 messages that were taken."""
        return self.mllp.messages()

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """Of every service, once started."""
        return {name: (HOST, service.port) for name, service in self._services()}

    def config(self, ae_title: str = _STATION) -> dict[str, Any]:
        """The hospital file, as a mapping, that connects a station to it."""
        plain = {} if self.setup.certificates else {"plain": True}
        ris = {"host": HOST, "port": self.ris.port, **plain, "ae_title": self.ris.ae_title}
        pacs = {"host": HOST, "port": self.pacs.port, **plain, "ae_title": self.pacs.ae_title}
        mllp = {"host": HOST, "port": self.mllp.port, **plain}
        folder = self.setup.certificates
        tls = {
            name: str(folder.resolve() / f"{name}.pem") if folder else ""
            for name in ("certificate", "key", "authorities")
        }
        return {
            "name": "Simulated hospital",
            "ae_title": ae_title,
            "port": self._stations.get(ae_title, (HOST, _STATION_PORT))[1],
            "bind": HOST,
            **({"tls": tls} if folder else {}),
            "worklist": {**ris, "codes": {"99SITE:DXRL": "dxr"}},
            "mpps": ris,
            "archives": {"pacs": pacs},
            "priors": {"archive": "pacs"},
            "messages": {"results": mllp, "charges": dict(mllp), "receiver": "RIS"},
        }

    # --- private -------------------------------------------------------------------------------------

    def _services(self) -> tuple[tuple[str, Server | Receiver], ...]:
        return (("ris", self.ris), ("pacs", self.pacs), ("mllp", self.mllp))

    def _open(self) -> None:
        """Every port as the ill `down` wants it."""
        ports = self.setup.ports
        for (name, service), port in zip(self._services(), (ports.ris, ports.pacs, ports.mllp), strict=True):
            down = self.ills.has("down", name)
            if down and service.is_open:
                service.close()
            elif not down and not service.is_open:
                service.open(port)

    def _bind_ris(self) -> None:
        self.ris.offer([_VERIFICATION, _WORKLIST, STEP, STEP_RETRIEVE])
        self.ris.serve(evt.EVT_C_FIND, self._find)
        self.ris.serve(evt.EVT_N_CREATE, self._create)
        self.ris.serve(evt.EVT_N_SET, self._set)
        self.ris.serve(evt.EVT_N_GET, self._tell)

    def _find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        limit = self.ills.number("rows-cut-off") if self.ills.has("rows-cut-off") else None
        rows = self.worklist.find(event.identifier, str(event.assoc.requestor.ae_title))
        for count, row in enumerate(rows):
            if count == limit:
                yield _LIMIT_REACHED, None
                return
            if event.is_cancelled:
                yield _CANCELLED, None
                return
            yield _PENDING, row

    def _create(self, event: Event) -> tuple[Any, Dataset | None]:
        request: Any = event.request
        uid = str(request.AffectedSOPInstanceUID)
        return self._answered(event, lambda: self._steps.create(uid, event.attribute_list))

    def _set(self, event: Event) -> tuple[Any, Dataset | None]:
        request: Any = event.request
        uid = str(request.RequestedSOPInstanceUID)
        return self._answered(event, lambda: self._steps.set(uid, event.modification_list))

    def _answered(self, event: Event, take: Callable[[], _Answer]) -> tuple[Any, Dataset | None]:
        refused = self.ills.argument("mpps-refused")
        if refused:
            return int(refused, 16), None
        answer = take()
        if self.ills.argument("mpps-lose-answer") is not None:
            cut(event.assoc)
        return answer

    def _tell(self, event: Event) -> tuple[Any, Dataset | None]:
        request: Any = event.request
        return self._steps.get(str(request.RequestedSOPInstanceUID), list(event.attribute_identifiers))

    def _listed(self) -> str:
        received, kept = self.received, self.kept
        lines = [f"objects: {len(kept)} kept, {sum(received.values())} received, in {self.archive.folder}"]
        lines += [f"  {uid} {sop_class} came {received.get(uid, 0)}×" for uid, sop_class in kept.items()]
        lines += [f"step {uid}: {', '.join(step.history)}" for uid, step in self.steps.items()]
        lines += [f"refused: {complaint}" for complaint in self.complaints]
        lines += [f"commitment {transaction}: {way}" for transaction, way in self.commitment.delivered()]
        lines += [f"message: {message.splitlines()[0]}" for message in self.messages]
        lines += [f"ill: {name} {argument}".rstrip() for name, argument in self.ills.now().items()]
        return "\n".join(lines)


def at_terminal(
    faults: Sequence[str] = (),
    seed: int = 1,
    certificates: str = "",
    *,
    free_ports: bool = False,
    demonstration: bool = False,
) -> Hospital:
    """For `dxr-station simulate pacs`: on the ports of the example file, ill from the start if ordered so.

    For a demonstration it has a whole day's worklist.
    """
    ports = Ports() if free_ports else EXAMPLE_PORTS
    orders = whole_day(date.today()) if demonstration else seeded()  # noqa: DTZ011  local, as DICOM's
    folder = Path(certificates) if certificates else None
    hospital = Hospital(Setup(seed=seed, orders=orders, ports=ports, certificates=folder))
    for fault in faults:
        name, _, argument = fault.partition(":")
        hospital.ills.spoil(name, argument)
    return hospital
