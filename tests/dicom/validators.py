"""Public validators asked from outside, and the answers of theirs that are accepted, with the reason."""

import shutil
import subprocess

import pytest

from station.dicom.modules import write

needs_dciodvfy = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
needs_dsrdump = pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dcmtk is not installed")


def complaints(dataset, folder):
    """Errors and warnings of dciodvfy."""
    path = folder / "object.dcm"
    write(dataset, path)
    answer = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    lines = (answer.stdout + answer.stderr).splitlines()
    return [line for line in lines if line.startswith(("Error", "Warning"))]
