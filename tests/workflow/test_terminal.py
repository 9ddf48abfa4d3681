"""The terminal as it is: a real terminal, the real command, keys typed, the screen read as text."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

STATION = str(Path(sys.executable).with_name("dxr-station"))
PATIENCE_S = 90.0  # for a busy machine; a whole exam takes about 20 s


class Terminal:
    """One tmux server of its own for each start."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._starts = folder, 0
        self._disk = folder / "disk"

    @property
    def _socket(self) -> Path:
        """Of this start's server: a socket whose server is still ending takes nobody in."""
        return self._folder / f"tmux-{self._starts}"

    def start(self) -> None:
        self._starts += 1
        own = f"sh -c 'echo $$ > {self._folder}/pid; exec {STATION} run --out {self._disk}'"
        command = f"{own}; echo ENDED $?; sleep 300"
        self._tmux("-f", "/dev/null", "new-session", "-d", "-s", "s", "-x", "120", "-y", "40", command)

    def press(self, *keys: str) -> None:
        for key in keys:
            self._tmux("send-keys", "-t", "s", key)

    def screen(self) -> str:
        return self._tmux("capture-pane", "-t", "s", "-p")

    def sees(self, *texts: str) -> None:
        self.until(lambda: all(text in self.screen() for text in texts), str(texts))

    def until(self, claim: Callable[[], bool], what: str) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while not claim():
            assert time.monotonic() < until_s, f"waited for {what}:\n{self.screen()}"
            time.sleep(0.1)

    @property
    def is_there(self) -> bool:
        """The station's program."""
        try:
            os.kill(int((self._folder / "pid").read_text()), 0)
        except ProcessLookupError:
            return False
        return True

    def stop(self) -> None:
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], check=False, capture_output=True)

    def _tmux(self, *arguments: str) -> str:
        size = {"COLUMNS", "LINES"}  # of whoever runs the tests, not of this terminal
        own = {name: value for name, value in os.environ.items() if name not in size}
        done = subprocess.run(
            ["tmux", "-u", "-S", self._socket, *arguments],
            check=True,
            capture_output=True,
            encoding="utf-8",
            env=own | {"LC_ALL": "C.UTF-8"},
        )
        return done.stdout


@pytest.fixture
def terminal(tmp_path):
    if shutil.which("tmux") is None:
        pytest.skip("no tmux on this machine")
    made = Terminal(tmp_path)
    yield made
    made.stop()


def test_a_first_exam_in_a_real_terminal_with_six_keys_and_a_restart_in_the_middle(terminal):
    terminal.start()
    terminal.sees("STANDBY", "calibration: done", "DEMO, Anna")
    terminal.press("Enter")
    terminal.sees("Is this the patient, and which hand?")
    terminal.press("l")
    terminal.sees("◀ LEFT HAND", "POSITIONING", "SIMULATED HAND SWITCH", "READY. Press the hand switch")
    terminal.press("Space")
    terminal.sees("READY FOR X-RAY")
    terminal.press("Space")
    terminal.sees("REVIEW", "DXR-BMD", "side: order left, image left")
    terminal.press("C-q")
    terminal.sees("ENDED 0")
    terminal.stop()
    terminal.start()
    terminal.sees("REVIEW", "DEMO, Anna", "DXR-BMD")  # back where the exam is, without another exposure
    terminal.press("a")
    terminal.sees("Accept this image for this patient?")
    terminal.press("Enter")
    terminal.sees("STANDBY", "NO PATIENT")
    terminal.press("F7")
    terminal.sees("accepted 0750T", "image accepted")


@pytest.mark.hazard("exposure-without-image")
def test_a_connection_that_breaks_in_an_exposure_loses_no_image_and_leaves_no_station_that_nobody_can_reach(
    terminal,
):
    terminal.start()
    terminal.sees("STANDBY", "calibration: done", "DEMO, Anna")
    terminal.press("Enter")
    terminal.sees("Is this the patient, and which hand?")
    terminal.press("l")
    terminal.sees("READY. Press the hand switch")
    terminal.press("Space")
    terminal.sees("READY FOR X-RAY")
    terminal.press("Space")
    terminal.until(lambda: "READY FOR X-RAY" not in terminal.screen(), "the exposure")
    terminal.stop()
    terminal.until(lambda: not terminal.is_there, "the end of a program that holds disk and devices")
    terminal.start()
    terminal.sees("REVIEW", "DEMO, Anna", "DXR-BMD")
    terminal.press("F7")
    terminal.sees("radiation ended: normal")
    assert terminal.screen().count("radiation ended") == 1
