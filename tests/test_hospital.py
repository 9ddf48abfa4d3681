"""The hospital file: whom the station talks to; what cannot work is refused before anybody is called."""

from pathlib import Path

import pytest

from station.hospital import Hospital, load_hospital
from station.yaml_file import BadFile, parse

WHOLE = """\
name: Example hospital
ae_title: DXR1
port: 11112
tls: {certificate: station.pem, key: station.key, authorities: trusted.pem}
worklist: {host: ris.example.org, port: 104, ae_title: RIS, codes: {"99SITE:HDXR-L": dxr-left}}
mpps: {host: ris.example.org, port: 105, ae_title: MPPS}
archives:
  main: {host: pacs.example.org, port: 2762, ae_title: PACS}
  copy: {host: 10.0.0.7, port: 104, ae_title: OLD PACS, plain: true, commitment: false}
priors: {archive: main, method: move}
messages:
  results: {host: engine.example.org, port: 2575}
  fhir: bundles
"""


def problem(text: str) -> str:
    with pytest.raises(BadFile) as caught:
        parse(text, Hospital, "file.yaml")
    return str(caught.value)


def write(folder: Path, text: str = WHOLE) -> Path:
    for name in ("station.pem", "station.key", "trusted.pem"):
        (folder / name).touch()
    path = folder / "hospital.yaml"
    path.write_text(text)
    return path


def test_a_whole_file_is_read_and_its_paths_are_its_own_folders(tmp_path):
    hospital = load_hospital(str(write(tmp_path)))
    assert hospital.tls.key == tmp_path / "station.key"
    assert hospital.messages.fhir == tmp_path / "bundles"
    assert (hospital.archives["main"].commitment, hospital.archives["copy"].plain) == (True, True)


def test_a_certificate_that_is_not_there_is_named(tmp_path):
    path = write(tmp_path)
    (tmp_path / "station.key").unlink()
    with pytest.raises(BadFile, match=r"tls\.key: no file"):
        load_hospital(str(path))


def test_a_hospital_that_is_not_there_says_what_to_give():
    with pytest.raises(BadFile, match=r"\.yaml"):
        load_hospital("nowhere")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tls: {certificate: station.pem, key: station.key, authorities: trusted.pem}", "", "plain: true"),
        ("archive: main", "archive: elsewhere", "is not one of: main, copy"),
        ("port: 11112", "", "method move needs a port"),
        ("method: move", "method: web", "web must be an address with https://"),
        ("method: move", "method: web, web: 'http://pacs'", "web must be an address with https://"),
        ("  copy:", "  mpps:", "name of another destination"),
        ("  copy:", "  ../copy:", "archives"),
        ("99SITE:HDXR-L", "HDXR-L", "codes"),
        ("dxr-left", "left", "'dxr-right'"),
        ("ae_title: DXR1", "ae_title: A TITLE THAT IS TOO LONG", "16"),
        ("ae_title: RIS", "ae_title: 'A\\B'", "ae_title"),
        ("port: 104, ae_title: RIS", "port: 0, ae_title: RIS", "port"),
        ("messages:", "message:", "unknown key; allowed here"),
    ],
)
def test_what_cannot_work_is_refused_with_what_is_allowed(old, new, said):
    assert old in WHOLE
    assert said in problem(WHOLE.replace(old, new, 1))
