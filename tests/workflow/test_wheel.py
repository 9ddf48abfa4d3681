"""Installed as a wheel and run elsewhere, the station has its configuration with it."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The wheel's content, as an installation would lay it out."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from station.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_brings_its_room_and_protocols(installed, tmp_path):
    done = run(installed, tmp_path, "check", "--json")
    files = [Path(verdict["file"]) for verdict in json.loads(done.stdout)]
    assert done.returncode == 0
    assert {path.name for path in files} >= {"sim.yaml", "hand-dxr.yaml"}
    assert all(path.is_relative_to(installed) for path in files)


def test_an_exam_runs_from_the_wheel_alone(installed, tmp_path):
    done = run(installed, tmp_path, "exam", "--json")
    assert json.loads(done.stdout)["code"] == "0750T", done.stderr


def test_the_wheel_holds_no_tests_and_no_data_of_others(installed):
    names = [str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()]
    assert not [name for name in names if name.startswith("tests") or name.endswith((".png", ".dcm", ".stl"))]
