"""The hospital file: whom the station talks to, and what it is called there.

Every connection is mutual TLS; a plain one exists only where a peer says `plain: true`. What is not in the
file is not done: without `worklist` orders are typed, without `mpps` no step is reported.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from station.yaml_file import BadFile, Strict, read, shipped

AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[!-\[\]-~]([ -\[\]-~]*[!-\[\]-~])?$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class Tls(Strict):
    """The station's certificate and key, and who signs its peers; paths relative to the hospital file."""

    certificate: Path
    key: Path
    authorities: Path


class Endpoint(Strict):
    """Where somebody listens."""

    host: str
    port: Port
    plain: bool = False  # no TLS


class Peer(Endpoint):
    """A DICOM application entity."""

    ae_title: AeTitle


class Worklist(Peer):
    """The RIS's modality worklist."""

    refresh_s: Seconds = 60
    scheduled_ae_title: AeTitle | None = None  # rows for this station only; None asks for the modality's
    modality: str = "DX"
    days: Annotated[int, Field(ge=0, le=31)] = 1  # before and after today
    codes: dict[str, Literal["dxr", "dxr-left", "dxr-right", "other"]] = {}  # the site's own, SCHEME:VALUE


class Archive(Peer):
    """A store for the objects; with `commitment` it must say that it keeps them."""

    commitment: bool = True
    commitment_after_s: Seconds = 3600  # an answer later than this is asked for anew
    rejected: bool = False  # also rejected images, with their rejection note


class Priors(Strict):
    """Where earlier results are looked for."""

    archive: str  # a name of `archives`
    method: Literal["get", "move", "web"] = "get"
    web: str = ""  # root of DICOMweb, https://…


class Messages(Strict):
    """HL7 v2 receivers, and the folder for FHIR bundles."""

    results: Endpoint | None = None  # ORU^R01
    charges: Endpoint | None = None  # DFT^P03
    facility: str = ""
    receiver: str = ""
    receiving_facility: str = ""
    fhir: Path | None = None


class Timeouts(Strict):
    """How long a peer may take."""

    connect_s: Seconds = 5
    answer_s: Seconds = 30
    network_s: Seconds = 60


class Hospital(Strict):
    """All peers of a station."""

    name: str
    ae_title: AeTitle
    port: Port | None = None  # the station listens here for storage commitments that come later
    bind: str = "0.0.0.0"  # noqa: S104  peers are other machines
    tls: Tls | None = None
    timeouts: Timeouts = Timeouts()
    worklist: Worklist | None = None
    mpps: Peer | None = None
    archives: dict[str, Archive] = {}
    priors: Priors | None = None
    messages: Messages = Messages()

    @model_validator(mode="after")
    def _coherent(self) -> "Hospital":
        told = self.messages
        peers = [self.worklist, self.mpps, *self.archives.values(), told.results, told.charges]
        if self.tls is None and any(peer is not None and not peer.plain for peer in peers):
            raise ValueError("give tls: {certificate, key, authorities}, or plain: true for every peer")
        if self.priors and self.priors.archive not in self.archives:
            known = ", ".join(self.archives)
            raise ValueError(f"priors: archive '{self.priors.archive}' is not one of {known}")
        return self


def load_hospital(name_or_path: str) -> Hospital:
    """A shipped hospital by name, or a file by path; the paths in it become absolute. Raises `BadFile`."""
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = shipped("config", f"{name_or_path}.yaml")
    if not path.is_file():
        raise BadFile(f"{name_or_path}: no such hospital file; give a path ending in .yaml")
    hospital = read(path, Hospital)
    if hospital.tls is None:
        return hospital
    tls = hospital.tls
    here = path.parent.resolve()
    places = {name: here / getattr(tls, name) for name in ("certificate", "key", "authorities")}
    for name, place in places.items():
        if not place.is_file():
            raise BadFile(f"{path}: tls.{name}: no file {place}")
    return hospital.model_copy(update={"tls": Tls(**places)})
