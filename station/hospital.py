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
ArchiveName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]  # part of file names
SiteCode = Annotated[str, Field(pattern=r"^[^:]{1,16}:.{1,16}$")]
_OTHER_DESTINATIONS = ("mpps", "results", "charges", "bundle", "fhir", "worklist")


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
    # the site's own procedure codes, SCHEME:VALUE
    codes: dict[SiteCode, Literal["dxr", "dxr-left", "dxr-right", "other"]] = {}


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
    archives: dict[ArchiveName, Archive] = {}
    priors: Priors | None = None
    messages: Messages = Messages()

    @model_validator(mode="after")
    def _coherent(self) -> "Hospital":
        told = self.messages
        peers = [self.worklist, self.mpps, *self.archives.values(), told.results, told.charges]
        if self.tls is None and any(peer is not None and not peer.plain for peer in peers):
            raise ValueError("give tls: {certificate, key, authorities}, or plain: true for every peer")
        reserved = [name for name in self.archives if name in _OTHER_DESTINATIONS]
        if reserved:
            raise ValueError(f"archives: '{reserved[0]}' is the name of another destination; choose another")
        if self.priors:
            self._check_priors(self.priors)
        return self

    def _check_priors(self, priors: Priors) -> None:
        """What its method needs."""
        if priors.archive not in self.archives:
            known = ", ".join(self.archives) or "none"
            raise ValueError(f"priors: archive '{priors.archive}' is not one of: {known}")
        if priors.method == "move" and self.port is None:
            raise ValueError(
                "priors: method move needs a port of the station's own; give port, or method: get"
            )
        plain = self.archives[priors.archive].plain
        schemes = ("https://", "http://") if plain else ("https://",)
        if priors.method == "web" and not priors.web.startswith(schemes):
            raise ValueError(
                f"priors: web must be an address with {' or '.join(schemes)}, got '{priors.web}'"
            )


def load_hospital(name_or_path: str) -> Hospital:
    """A shipped hospital by name, or a file by path; the paths in it become absolute. Raises `BadFile`."""
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = shipped("config", f"{name_or_path}.yaml")
    if not path.is_file():
        raise BadFile(f"{name_or_path}: no such hospital file; give a path ending in .yaml")
    hospital = read(path, Hospital)
    here = path.parent.resolve()
    if hospital.messages.fhir is not None:
        messages = hospital.messages.model_copy(update={"fhir": here / hospital.messages.fhir})
        hospital = hospital.model_copy(update={"messages": messages})
    if hospital.tls is None:
        return hospital
    places = {name: here / getattr(hospital.tls, name) for name in ("certificate", "key", "authorities")}
    for name, place in places.items():
        if not place.is_file():
            raise BadFile(f"{path}: tls.{name}: no file {place}")
    return hospital.model_copy(update={"tls": Tls(**places)})
