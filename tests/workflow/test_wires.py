"""A whole exam over real wires: TCP, GigE Vision, Modbus, HTTP and a serial line, as the commands do it."""

import ctypes.util
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from detector_rigs import only_gige_camera_here

STATION = str(Path(sys.executable).with_name("dxr-station"))
PATIENT = ["--id", "P1", "--name", "Test^Person", "--birth-date", "1961-05-04"]

pytestmark = pytest.mark.skipif(
    ctypes.util.find_library("aravis-0.8") is None, reason="libaravis-0.8 is not installed"
)


def station(*arguments):
    done = subprocess.run([STATION, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class RoomProcess:
    """`dxr-station simulate room`, told what to do as a person at its terminal would."""

    def __init__(self, folder, *options):
        self.file = folder / "room.yaml"
        command = [STATION, "simulate", "room", "--free-ports", "--write", str(self.file), *options]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        while (line := self.process.stdout.readline()).strip():
            assert "error" not in line, line
        assert self.process.poll() is None, "the simulated room did not start"

    def tell(self, order):
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer.startswith("done"), answer

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()  # it would keep its camera from the next test
            self.process.stdout.close()


@pytest.fixture
def room(tmp_path):
    with ExitStack() as ends:
        ends.callback(only_gige_camera_here())
        running = RoomProcess(tmp_path, "--attendant", "--seed", "1")
        ends.callback(running.end)
        # Both sides share this machine with other tests; a real room's computer does nothing else.
        patient = yaml.safe_load(running.file.read_text()) | {"limits": {"status_age_s": 2.0}}
        running.file.write_text(yaml.safe_dump(patient))
        yield running


def test_an_exam_over_wires_measures_what_the_simulated_devices_in_one_process_measure(room, tmp_path):
    disk = ["--room", str(room.file), "--out", str(tmp_path / "disk")]
    room.tell("clear")
    station("calibrate", *disk)
    room.tell("place")
    wired = json.loads(station("exam", *disk, *PATIENT, "--json"))
    alone = json.loads(station("exam", "--out", str(tmp_path / "alone"), *PATIENT, "--seed", "1", "--json"))
    assert (wired["status"], wired["code"], wired["side"]) == ("measured", "0750T", "L")
    assert wired["dxr"]["bmd_g_cm2"] == pytest.approx(alone["dxr"]["bmd_g_cm2"], rel=0.006)
    for bone, values in wired["dxr"]["bones"].items():
        assert values["w_mm"] == pytest.approx(alone["dxr"]["bones"][bone]["w_mm"], rel=0.006)
    delivered, expected = wired["exposure"]["delivered"], alone["exposure"]["delivered"]
    assert delivered["mas"] == pytest.approx(expected["mas"], rel=0.01)
    assert wired["exposure"]["dap_ugym2"] == pytest.approx(alone["exposure"]["dap_ugym2"], rel=0.02)


def test_one_device_alone_says_how_to_connect_to_it_and_obeys():
    done = subprocess.run(
        [STATION, "simulate", "r2cp"],
        input="spoil generator silent\nmend\nsing\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "driver: sedecal-r2cp" in done.stdout
    assert "url: socket://127.0.0.1:" in done.stdout
    assert "done: spoil generator silent" in done.stdout
    assert "'sing' cannot be done here" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (("modbus", "--tcp", "127.0.0.1:0"), "url: tcp://127.0.0.1:"),
        (("modbus", "--pty", "LINE"), "url: rtu://LINE?baud=115200"),
        (("diamentor", "--pty", "LINE"), "url: LINE"),
        (("r2cp", "--tcp", "127.0.0.1:0"), "url: socket://127.0.0.1:"),
        (("ixs", "--pty", "LINE"), "url: LINE"),
        (("xrb", "--tcp", "127.0.0.1:0"), "url: socket://127.0.0.1:"),
        (("camera", "--tcp", "127.0.0.1:0"), "source: http://127.0.0.1:"),
    ],
)
def test_a_device_is_served_where_it_was_asked_for(tmp_path, arguments, address):
    line = str(tmp_path / "line")
    command = [STATION, "simulate", *(line if argument == "LINE" else argument for argument in arguments)]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert address.replace("LINE", line) in done.stdout


def test_an_unknown_simulator_is_refused_with_those_there_are():
    done = subprocess.run(
        [STATION, "simulate", "toaster"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "there is no simulator 'toaster'; there are room, r2cp" in done.stderr
