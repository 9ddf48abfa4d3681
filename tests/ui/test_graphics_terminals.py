"""Stills in terminals that show graphics: asked as the command asks, the bytes that come out are read."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

import pytest
from typer.testing import CliRunner

from station import cli_run
from station.states import State
from station.ui import session
from station.ui.picture import Picture

PATIENCE_S = 60.0  # of a busy machine, for one small application
COLUMNS, LINES = 40, 12
CELL_PX = (10, 20)  # width, height, of what the terminal answers
SIXEL, KITTY, HALF = b"\x1bP", b"\x1b_G", "▀".encode()

SHOWING = """
import sys
import numpy as np
from textual.app import App
from textual.screen import ModalScreen
from textual.widgets import Static
from station.ui.picture import Picture, way_of

class Question(ModalScreen):
    BINDINGS = [("y", "dismiss", "")]

    def compose(self):
        yield Static("SURE?")

class Showing(App):
    BINDINGS = [("q", "quit", ""), ("d", "ask", "")]

    def compose(self):
        yield Picture(way=way)

    def on_picture_resized(self, message):
        rows, columns = message.size_px
        shades = np.linspace(0, 255, rows * columns).astype(np.uint8).reshape(rows, columns, 1)
        self.query_one(Picture).show(np.repeat(shades, 3, axis=2))

    def action_ask(self):
        self.push_screen(Question())

way = way_of(sys.argv[1])
print("WAY", way, flush=True)
Showing().run()
"""

READING = """
import select
from station.ui import session
print("GO", flush=True)
select.select([0], [], [], 60)
session._forget_what_was_typed()
print("LEFT", len(select.select([0], [], [], 0)[0]), flush=True)
"""


class Terminal:
    """The far end of a pseudo terminal: answers what a program asks, keeps what it sends."""

    def __init__(self, answers):
        self._answers = answers  # by the regular expression of what is asked
        self.near, self._far = pty.openpty()
        fcntl.ioctl(self._far, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.got = b""
        self._answered = 0

    def start(self, script, *arguments):
        own = {
            name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}
        }
        return subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            stdin=self._far,
            stdout=self._far,
            stderr=self._far,
            start_new_session=True,
            env=own | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8"},
        )

    def type(self, keys):
        os.write(self.near, keys)

    def until(self, claim, what):
        until_s = time.monotonic() + PATIENCE_S
        while not claim(self.got):
            assert time.monotonic() < until_s, f"waited for {what}; the end of it: {self.got[-500:]!r}"
            if select.select([self.near], [], [], 0.05)[0]:
                self.got += os.read(self.near, 65536)
                self._answer()

    def _answer(self):
        """In the order of the questions, each once."""
        asked = sorted(
            (found.end(), answer)
            for question, answer in self._answers.items()
            for found in re.finditer(question, self.got)
            if found.end() > self._answered
        )
        for end, answer in asked:
            self.type(answer)
            self._answered = end

    def close(self):
        os.close(self.near)
        os.close(self._far)


CELL_SIZE = {rb"\x1b\[16t": b"\x1b[6;%d;%dt" % CELL_PX[::-1]}
GRAPHICS_QUERY = rb"\x1b_G[^\x1b]*a=q[^\x1b]*\x1b\\"
TERMINALS = {
    "sixel": CELL_SIZE | {rb"\x1b\[c": b"\x1b[?62;4;22c"},
    "kitty": CELL_SIZE | {rb"\x1b\[c": b"\x1b[?62;52c", GRAPHICS_QUERY: b"\x1b_Gi=1;OK\x1b\\"},
    "plain": {rb"\x1b\[c": b"\x1b[?62;22c"},
    "silent": {},
}


def pictures(got):
    """What of the output draws: kitty's question whether it can is no picture."""
    drawn = re.sub(GRAPHICS_QUERY, b"", got)
    return {
        "sixel": len(re.findall(rb"\x1bP[0-9;]*q", drawn)),
        "kitty": len(re.findall(rb"\x1b_Gi=\d+,m=\d,f=100", drawn)),
        "cells": drawn.count(HALF),
    }


@pytest.fixture
def opened():
    """Terminals with the processes in them; all end."""
    pairs = []
    yield pairs
    for far, process in pairs:
        process.kill()
        process.wait()
        far.close()


@pytest.fixture
def show(opened):
    """Shows a picture in a terminal, asked for so; what came, after the application's end."""

    def showing(terminal, wanted, *, after=()):
        far = Terminal(TERMINALS[terminal])
        opened.append((far, far.start(SHOWING, wanted)))
        far.until(lambda got: any(pictures(got).values()), "a picture")
        for keys, claim in after:
            far.type(keys)
            far.until(claim, f"what follows {keys!r}")
        far.type(b"q")
        far.until(lambda got: b"\x1b[?1049l" in got, "the end")
        assert opened[-1][1].wait(PATIENCE_S) == 0
        return far.got

    return showing


@pytest.mark.parametrize(
    ("terminal", "wanted", "way"),
    [
        ("kitty", "auto", "kitty"),
        ("plain", "auto", "cells"),
        ("silent", "sixel", "sixel"),
    ],
)
def test_a_terminal_gets_pictures_as_it_says_it_can_or_as_the_operator_says(show, terminal, wanted, way):
    got = show(terminal, wanted)
    assert f"WAY {way}".encode() in got
    drawn = pictures(got)
    assert drawn.pop(way)
    assert not any(drawn.values())


def test_a_sixel_has_the_size_of_its_cells_and_is_drawn_again_when_a_dialog_goes(show):
    before = []

    def covered(got):
        before.append(pictures(got)["sixel"])
        return b"SURE?" in got

    got = show(
        "sixel", "auto", after=[(b"d", covered), (b"y", lambda got: pictures(got)["sixel"] > before[-1])]
    )
    drawn = pictures(got)
    assert (drawn["kitty"], drawn["cells"]) == (0, 0)
    raster = re.search(rb'\x1bP[0-9;]*q"\d+;\d+;(\d+);(\d+)', got)
    assert raster
    width, height = (int(side) for side in raster.groups())
    assert (width, height) == (COLUMNS * CELL_PX[0], LINES * CELL_PX[1])


def test_a_terminal_that_is_to_show_cells_gets_nothing_else_and_is_not_asked_for_graphics(show):
    got = show("sixel", "cells")
    drawn = pictures(got)
    assert drawn.pop("cells")
    assert not any(drawn.values())
    assert b"\x1b[c" not in got
    assert b"\x1b[16t" not in got
    assert not re.search(GRAPHICS_QUERY, got)


@pytest.mark.hazard("unintended-exposure")
def test_what_was_typed_or_answered_before_there_is_a_screen_is_no_key(opened):
    far = Terminal(TERMINALS["silent"])
    opened.append((far, far.start(READING)))
    far.until(lambda got: b"GO" in got, "its readiness")
    far.type(b"\x1b[?62;4c\n")
    far.until(lambda got: re.search(rb"LEFT \d", got), "what is left")
    assert b"LEFT 0" in far.got


def test_the_review_screen_shows_its_image_as_the_command_was_told(play):
    async def story(t):
        await t.reach(State.STANDBY)
        t.app.show("review")
        await t.at("review")
        await t.shown()
        assert t.app.screen.query_one("#image", Picture).way == "sixel"

    play(story, pictures="sixel")


def test_the_command_hands_on_which_pictures_are_wanted(tmp_path, mocker):
    work = mocker.patch.object(session, "work", return_value=0)
    for said, wanted in (([], "auto"), (["--pictures", "kitty"], "kitty")):
        arguments = ["--room", "sim", "--out", str(tmp_path), *said]
        assert CliRunner().invoke(cli_run.app, arguments).exit_code == 0
        assert work.call_args.args[1].pictures == wanted
    refused = CliRunner().invoke(cli_run.app, ["--pictures", "braille"])
    assert refused.exit_code == 2
