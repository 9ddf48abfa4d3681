"""Earlier reports over DICOMweb: QIDO finds them, WADO brings them, under the station's certificate."""

from collections.abc import Iterator
from typing import Any

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset

from station.dicom.priors_dimse import REPORTS, Place, newest
from station.hospital import Endpoint, Hospital, Priors
from station.network import NetworkError, PeerSilent, Unreachable, probe

_UIDS = {"StudyInstanceUID": "0020000D", "SeriesInstanceUID": "0020000E", "SOPInstanceUID": "00080018"}
_DATE, _CLASS = "00080020", "00080016"


def fetched(hospital: Hospital, priors: Priors, patient_id: str, own_study: str) -> tuple[list[Dataset], int]:
    """The newest reports of this patient ID, and how many there are. Raises `NetworkError`."""
    client = _client(hospital, priors)
    try:
        places = list(_places(client, patient_id, own_study))
        return [client.retrieve_instance(*place) for place in newest(places)], len(places)
    except requests.exceptions.ConnectionError as error:  # also what is wrong with TLS
        probe(hospital, Endpoint(host=client.host, port=client.port, plain=client.scheme == "http"))
        remedy = "check priors.web in the hospital file, and whether DICOMweb runs there"
        raise Unreachable(f"{client.base_url} hangs up", remedy) from error
    except requests.exceptions.Timeout as error:
        raise PeerSilent(
            f"{client.base_url} does not answer in time", "check the archive; try again"
        ) from error
    except (requests.exceptions.RequestException, ValueError, LookupError, EOFError) as error:
        remedy = "check priors.web in the hospital file, and the archive's log"
        raise NetworkError(f"{client.base_url} answers with an error: {error}", remedy) from error


def _client(hospital: Hospital, priors: Priors) -> DICOMwebClient:
    session = requests.Session()
    session.trust_env = False  # no proxy between the station and its archive
    if hospital.tls is not None:
        session.cert = (str(hospital.tls.certificate), str(hospital.tls.key))
        session.verify = str(hospital.tls.authorities)
    waits = hospital.timeouts
    client = DICOMwebClient(url=priors.web, session=session, timeout=(waits.connect_s, waits.answer_s))
    client.set_http_retry_params(retry=False)
    return client


def _places(client: DICOMwebClient, patient_id: str, own_study: str) -> Iterator[tuple[str, Place]]:
    for study in client.search_for_studies(search_filters={"PatientID": patient_id}):
        uid, when = _text(study, _UIDS["StudyInstanceUID"]), _text(study, _DATE)
        if not uid or uid == own_study:
            continue
        for image in client.search_for_instances(uid, search_filters={"Modality": "SR"}):
            if _text(image, _CLASS) in {"", *REPORTS}:
                yield (
                    when,
                    (uid, _text(image, _UIDS["SeriesInstanceUID"]), _text(image, _UIDS["SOPInstanceUID"])),
                )


def _text(match: dict[str, Any], tag: str) -> str:
    """First value of an attribute in DICOM's JSON."""
    values = match.get(tag, {}).get("Value", [])
    return str(values[0]) if values else ""
