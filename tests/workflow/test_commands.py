"""The commands as a user calls them: in a process of their own, outside the checkout."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from simulators.phantom import HandPhantom
from simulators.spec import HandSpec

COMMAND = Path(sys.executable).with_name("dxr-station")


def run(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(COMMAND), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | environment,
    )


def exam(cwd: Path, *arguments: object) -> tuple[int, dict]:
    done = run("exam", "--json", *arguments, cwd=cwd)
    assert done.stdout.count("\n") == 1, done.stderr
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A calibrated station's folder."""
    folder = tmp_path_factory.mktemp("site")
    assert run("calibrate", cwd=folder).returncode == 0
    return folder


def truth_t_mm(text: str = "") -> float:
    truth = HandPhantom(HandSpec.parse(text)).truth()
    return sum(truth[bone].t_mm for bone in (2, 3, 4)) / 3


def test_a_first_exam_on_a_fresh_machine_measures_the_phantom_and_is_coded_0750t(tmp_path):
    code, report = exam(tmp_path)
    assert (code, report["status"], report["code"], report["scale"]) == (0, "measured", "0750T", "absolute")
    assert report["dxr"]["t_mm"] == pytest.approx(truth_t_mm(), abs=0.1)
    assert report["dxr"]["t_mm"] == pytest.approx(sum(b["t_mm"] for b in report["dxr"]["bones"].values()) / 3)
    assert [Path(path).name for path in report["objects"]] == [
        "for-processing.dcm",
        "for-presentation.dcm",
        "edges.dcm",
        "measurements.dcm",
        "dose.dcm",
        "report.dcm",
    ]
    assert all((tmp_path / path).is_file() for path in report["objects"])


@pytest.mark.parametrize("spec", ["t=1.2,w=7.4", "t=2.1,w=8.8", "t=1.6,w=8.2,t2=1.3"])
def test_other_phantoms_are_measured_too(site, spec):
    code, report = exam(site, "--phantom", spec)
    assert code == 0
    assert report["dxr"]["t_mm"] == pytest.approx(truth_t_mm(spec), abs=0.1)


def test_the_other_hand_turned_and_shifted_is_measured_too(site):
    code, report = exam(site, "--side", "R", "--pose", "rotation=-10,shift=6:-8")
    assert (code, report["side"]) == (0, "R")
    assert report["dxr"]["t_mm"] == pytest.approx(truth_t_mm(), abs=0.1)


def test_the_same_seed_gives_the_same_numbers(site):
    first, second = (exam(site, "--seed", 7)[1] for _ in range(2))
    assert first["dxr"] == second["dxr"]


def test_a_real_radiograph_is_measured_in_relative_scale(site, data):
    code, report = exam(site, "--radiograph", data / "hands/rsna/4517.png")
    assert (code, report["status"], report["code"], report["scale"]) == (0, "measured", "0750T", "relative")
    assert 0.3 < report["dxr"]["mci"] < 0.6
    assert (report["dxr"]["t_mm"], report["dxr"]["bmd_g_cm2"], report["dxr"]["t_score"]) == (None, None, None)
    assert "scale-unknown" in [reason["id"] for reason in report["reasons"]]


@pytest.mark.hazard("wrong-result")
def test_an_image_made_from_an_unknown_scale_is_read_back_as_such(site, data):
    _, report = exam(site, "--radiograph", data / "hands/rsna/4517.png")
    done = run("analyse", "--json", report["objects"][0], cwd=site)
    again = json.loads(done.stdout)
    assert (again["status"], again["scale"], again["dxr"]["t_mm"]) == ("measured", "relative", None)
    assert again["dxr"]["mci"] == pytest.approx(report["dxr"]["mci"], rel=0.01)


def test_an_exams_own_image_analysed_again_gives_the_same(site):
    _, report = exam(site)
    done = run("analyse", "--json", report["objects"][0], "--age", "62", "--sex", "F", cwd=site)
    again = json.loads(done.stdout)
    assert again["code"] == "0749T"
    assert again["dxr"]["bmd_g_cm2"] == pytest.approx(report["dxr"]["bmd_g_cm2"], rel=0.002)
    assert again["visit"] == report["visit"]
    assert None not in report["visit"].values()


@pytest.mark.parametrize("name", ["broken.png", "broken.dcm"])
def test_a_corrupt_file_is_a_clear_error(site, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(
        b"\x89PNG\r\n\x1a\nnot really" if name.endswith("png") else b"\0" * 128 + b"DICM" + b"\1" * 40
    )
    done = run("exam", "--json", "--radiograph", path, cwd=site)
    assert done.returncode == 2
    assert name in done.stderr
    done = run("analyse", "--json", path, cwd=site)
    assert (done.returncode, json.loads(done.stdout)["reasons"][0]["id"]) == (3, "image-unreadable")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--phantom", "q=3"], "q"),
        (["--phantom", "t=9"], "t"),
        (["--pose", "rotation=900"], "rotation"),
        (["--fault", "gremlins"], "switch-released-after"),
        (["--sex", "X"], "X"),
        (["--accession", "A" * 17], "16 printable characters"),
        (["--name", "Back\\slash"], "without backslash"),
        (["--side", "both"], "both"),
        (["--hand-size", "giant"], "small, medium, large"),
        (["--birth-date", "2190-01-01"], "lies after"),
        (["--technique", "kvp=50"], "--technique"),
        (["--room", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_bad_options_exit_with_2_and_one_line_that_helps(site, arguments, said):
    done = run("exam", "--json", *arguments, cwd=site)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_technique_out_of_range_is_refused_with_the_range(site):
    code, report = exam(site, "--technique", "kvp=50,ma=5000,ms=10")
    assert (code, report["status"], report["exposure"]) == (2, "refused", None)
    assert "mA allows" in report["reasons"][0]["message"] or "allows" in report["reasons"][0]["message"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--pose", "side=R"], "wrong-side"),
        (["--pose", "rotation=40"], "hand-rotated"),
        (["--pose", "shift=0:100"], "outside-field"),
    ],
)
def test_a_badly_placed_hand_is_not_exposed_and_told_what_to_do(site, arguments, reason):
    code, report = exam(site, *arguments)
    assert (code, report["exposure"]) == (3, None)
    assert reason in [r["id"] for r in report["reasons"]]
    assert all(r["remedy"] for r in report["reasons"])


def test_a_switch_released_early_leaves_a_recorded_partial_exposure(site):
    _, report = exam(site, "--fault", "switch-released-after:4")
    assert report["exposure"]["delivered"]["end"] == "released early"
    assert report["exposure"]["delivered"]["ms"] == pytest.approx(4, abs=0.5)
    assert report["exposure"]["image"]
    assert "delivery-differs" in [r["id"] for r in report["reasons"]]


def test_a_generator_that_gives_too_little_is_told(site):
    _, report = exam(site, "--fault", "generator-underdelivers:60")
    assert report["exposure"]["delivered"]["mas"] == pytest.approx(0.4, rel=0.02)
    assert {"delivery-differs", "exposure-index-out-of-band"} <= {r["id"] for r in report["reasons"]}


def test_a_detector_silent_after_exposure_is_recovered_from_its_memory(site):
    code, report = exam(site, "--fault", "detector-silent-after-exposure:20")
    assert (code, report["status"], report["exposure"]["recovered"]) == (0, "measured", True)


@pytest.mark.hazard("double-exposure")
def test_an_exposure_without_image_blocks_the_station_until_a_person_accounts_for_it(site, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(site / "dxr-exams" / "calibration", out / "calibration")
    code, report = exam(site, "--out", out, "--fault", "detector-silent-after-exposure:600")
    assert (code, [r["id"] for r in report["reasons"]]) == (4, ["exposed-no-image"])
    assert (report["exposure"]["delivered"]["end"], report["exposure"]["image"]) == ("normal", False)
    code, report = exam(site, "--out", out)  # the simulated panel forgot the frame with its process
    assert (code, [r["id"] for r in report["reasons"]]) == (4, ["exposed-no-image"])
    code, report = exam(site, "--out", out, "--recover", "--acknowledge", "panel dead")
    assert (code, [r["id"] for r in report["reasons"]]) == (3, ["no-image-acknowledged"])
    assert report["exposure"]["delivered"]["mas"] > 0.9
    assert exam(site, "--out", out)[0] == 0


def test_a_dead_generator_is_a_hardware_fault(site):
    code, report = exam(site, "--fault", "generator-silent")
    assert (code, report["exposure"]) == (4, None)
    assert "generator-silent" in [r["id"] for r in report["reasons"]]


@pytest.mark.hazard("wrong-calibration")
def test_an_expired_calibration_blocks_with_its_remedy(site, tmp_path):
    room = tmp_path / "room.yaml"
    shipped = Path(__file__).parents[2] / "config/sim.yaml"
    room.write_text(shipped.read_text().replace("max_age_days: 7", "max_age_days: 0.00000001"))
    code, report = exam(site, "--room", room)
    assert (code, report["reasons"][0]["id"]) == (2, "calibration-expired")
    assert "dxr-station calibrate" in report["reasons"][0]["remedy"]


def test_a_new_calibration_is_dated_hashed_and_used(site):
    before = exam(site)[1]["dxr"]["t_mm"]
    done = run("calibrate", "--json", cwd=site)
    report = json.loads(done.stdout)
    assert (done.returncode, report["status"], len(report["sha256"])) == (0, "done", 64)
    after = exam(site)[1]
    assert after["dxr"]["t_mm"] == pytest.approx(before, abs=0.02)
    assert report["sha256"][:16].encode() in (site / after["objects"][0]).read_bytes()


@pytest.mark.hazard("wrong-calibration")
def test_a_missing_calibration_blocks_where_the_room_does_not_make_its_own(tmp_path):
    room = tmp_path / "room.yaml"
    shipped = Path(__file__).parents[2] / "config/sim.yaml"
    room.write_text(shipped.read_text().replace("at_start_if_missing: true", "at_start_if_missing: false"))
    code, report = exam(tmp_path, "--room", room)
    assert (code, [r["id"] for r in report["reasons"]]) == (2, ["calibration-missing"])


@pytest.fixture
def lasting_room(tmp_path) -> Path:
    """The simulated room with a panel whose memory outlives the station's process, as a real one's does."""
    room = yaml.safe_load((Path(__file__).parents[2] / "config/sim.yaml").read_text())
    room["devices"]["detector"]["settings"] = {"memory_folder": str(tmp_path / "panel")}
    path = tmp_path / "room.yaml"
    path.write_text(yaml.safe_dump(room))
    return path


@pytest.mark.hazard("image-lost")
@pytest.mark.parametrize("delay_s", [0.0, 0.3, 0.7, 1.0])
def test_killed_at_any_time_after_the_exposure_the_exam_is_finished_on_restart(site, lasting_room, delay_s):
    out = lasting_room.parent / "out"
    shutil.copytree(site / "dxr-exams" / "calibration", out / "calibration")
    options = ["--json", "--out", str(out), "--room", str(lasting_room)]
    process = subprocess.Popen(
        [str(COMMAND), "exam", "--real-time", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: any('"mas"' in p.read_text() for p in out.glob("spool/*/exposure-1/exposure.json")))
        wait_for(lambda: any((lasting_room.parent / "panel").glob("*.json")) or any(out.rglob("raw.npy")))
        time.sleep(delay_s)
    finally:
        process.kill()
        process.wait()
    done = run("exam", "--recover", *options, cwd=site)
    report = json.loads(done.stdout)
    assert (done.returncode, report["status"], report["code"]) == (0, "measured", "0750T")
    assert report["exposure"]["delivered"]["mas"] > 0.9


def wait_for(claim: Callable[[], bool], limit_s: float = 180) -> None:
    deadline = time.monotonic() + limit_s
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_recover_with_nothing_left_says_so(site):
    done = run("exam", "--recover", cwd=site)
    assert (done.returncode, done.stdout) == (0, "nothing was left unfinished\n")


def test_an_existing_image_is_0749t(site, data):
    done = run("analyse", "--json", data / "hands/rsna/4517.png", cwd=site)
    report = json.loads(done.stdout)
    assert (done.returncode, report["code"], report["scale"]) == (0, "0749T", "relative")


def test_a_room_without_a_camera_needs_somebody_who_signs_the_checklist(site, tmp_path):
    shipped = Path(__file__).parents[2] / "config/sim.yaml"
    room = tmp_path / "room.yaml"
    room.write_text(shipped.read_text().replace("  camera: {driver: sim-camera}\n", ""))
    code, report = exam(site, "--room", room)
    assert (code, [r["id"] for r in report["reasons"]]) == (3, ["positioning-unknown"])
    code, report = exam(site, "--room", room, "--positioned-by", "operator-7")
    assert (code, report["status"]) == (0, "measured")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy (Debian: dicom3tools)")
def test_the_objects_of_an_exam_are_valid_dicom(site):
    for side, more in (("L", []), ("R", ["--technique", "kvp=55,ma=100,ms=8"])):
        _, report = exam(site, "--side", side, *more)
        for path in report["objects"]:
            done = subprocess.run(["dciodvfy", site / path], capture_output=True, text=True, check=False)
            found = [line for line in done.stderr.splitlines() if line.startswith(("Error", "Warning"))]
            # the private scheme is declared, by name and UID; the validator knows only public ones
            known = ("term <99DXR>", "of attribute <Coding Scheme UID>")
            assert [line for line in found if not any(word in line for word in known)] == []


def test_states_drivers_and_check_print_text_and_json(site):
    assert run("states", cwd=site).stdout.startswith("stateDiagram-v2\n")
    assert len(json.loads(run("states", "--json", cwd=site).stdout)) > 20
    assert "sim-generator" in run("drivers", cwd=site).stdout
    assert "double-exposure" in json.loads(run("hazards", "--json", cwd=site).stdout)
    done = run("check", cwd=site)
    assert done.returncode == 0
    assert "good room" in done.stdout


def test_progress_is_for_terminals_only(site):
    done = run("exam", cwd=site)
    assert done.stderr == ""
    assert done.stdout.startswith("MEASURED  code 0750T")
