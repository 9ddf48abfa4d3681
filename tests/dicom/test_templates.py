"""The templates of PS3.16 as PixelMed's validator knows them (Debian: libpixelmed-java).

dciodvfy and dsrdump check grammar and relationships, this one the rows. It takes some ten seconds a document.
"""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from station.dicom import dose
from station.dicom.modules import write
from station.exam import Rejection

LIBRARIES = Path(os.environ.get("DXR_JAVA_LIBRARIES", "/usr/share/java"))
JARS = ("pixelmed", "slf4j-api", "slf4j-simple", "commons-codec", "commons-compress", "vecmath")
# The rules are one stylesheet of six million characters, beyond what Java takes from a stranger.
LIMITS = [f"-Djdk.xml.xpath{what}Limit=0" for what in ("ExprGrp", "ExprOp", "TotalOp")]

# What it says of the dose report although the report is right, by parts of its words.
EXPLAINED = {
    (
        '"Dose (RP)',
        "Incorrect units",
    ): "a NUM of unknown value has no unit (PS3.3 C.18.1); it knows no qualifier",
    ('"Dose (RP)', "Missing value"): "the same",
    ('"Dose Area Product', "Incorrect units"): "the same",
    ('"Dose Area Product', "Missing value"): "the same",
    (
        '"Tungsten"',
        "not found in context group 10016",
    ): "it has the terms of 2007; later ones name the element",
    (
        '"Target Region"',
        '"Laterality"',
        "not in template",
    ): "extensible; consumers look for the side there too",
    ('"Is Rejected Acquisition"', "Content Item not in template"): "extensible; the term is of TID 10042",
}

pytestmark = pytest.mark.skipif(
    shutil.which("java") is None or not (LIBRARIES / "pixelmed.jar").is_file(),
    reason="java or libpixelmed-java is not installed",
)


def complaints(dataset, path):
    write(dataset, path)
    classpath = os.pathsep.join(str(LIBRARIES / f"{jar}.jar") for jar in JARS)
    command = ["java", *LIMITS, "-cp", classpath, "com.pixelmed.validate.DicomSRValidator", str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    said = (answer.stdout + answer.stderr).splitlines()
    assert any("Found Root Template TID_10001" in line for line in said), said
    return [line for line in said if line.startswith(("Error", "Warning"))]


def test_a_dose_report_of_many_events_keeps_to_its_templates(make_study, exposure, tmp_path):
    silent = replace(exposure, number=2, uid="2.25.13", delivered=None, dap_ugym2=None, image=False)
    study = make_study(exposures=(exposure, silent), rejections={1: Rejection("111209", "Test^Person")})
    said = complaints(dose.build(study), tmp_path / "dose.dcm")
    known = {key: [line for line in said if all(part in line for part in key)] for key in EXPLAINED}
    assert [line for line in said if not any(line in lines for lines in known.values())] == []
    assert [key for key, lines in known.items() if not lines] == []  # it looked at every row, and still does
