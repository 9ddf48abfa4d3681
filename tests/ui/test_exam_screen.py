"""What the exam's screens say: large words, the earlier exam's pose, what a retake costs and gains."""

import asyncio
from dataclasses import replace
from datetime import date

import cv2
import numpy as np
import pytest
from rich.text import Text
from textual.app import App

from station import dossier
from station.dossier import Books
from station.dxr.overlay import Outline
from station.exam import Patient, Sex, Side
from station.states import State, Trigger
from station.ui import drawing
from station.ui.canvas import DARK
from station.ui.exam import _SAID
from station.ui.frame import Said
from station.ui.large import large
from station.ui.picture import Picture
from station.ui.review import retake_card

HAND_PX = np.array([[100.0, 300.0], [800.0, 260.0], [800.0, 700.0], [100.0, 300.0]])
ROUNDED = 6  # of a colour in the cells of a live picture
MOVEMENTS = ("KEEP STILL", "YOU MAY MOVE")


@pytest.mark.parametrize("words", sorted({*_SAID.values(), *MOVEMENTS}))
def test_every_large_word_has_its_letters_and_fits_80_columns(words):
    lines = large(words, 80).plain.splitlines()
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= 80


def test_large_words_stay_readable_where_the_terminal_is_too_narrow():
    assert large("KEEP STILL", 20).plain == "KEEP STILL"


@pytest.fixture
def accepted(make_station, job_for):
    """A station with one accepted exam whose hand was outlined, and its books."""
    station = make_station()
    job = job_for(station)
    reviewed = station.expose(job)
    assert reviewed.state is State.REVIEW
    reviewed = station.wait(lambda s: s.outcome is not None, "the analysis")
    station.controller.submit(Trigger.ACCEPT, by="tester")
    station.wait(lambda s: s.state is State.STANDBY, "standby")
    parts = station.controller.parts
    found = replace(reviewed.outcome.findings, outlines=(Outline("hand", "hand", HAND_PX),))
    parts.spool.write_findings(job.exam, reviewed.exposures[-1], found)  # this panel is too coarse to see it
    return station, job, reviewed, Books(parts.spool, parts.setting, parts.dispatch)


def test_the_earlier_pose_is_the_outline_of_the_same_hand_of_the_same_patient(accepted, job_for):
    station, job, _, books = accepted
    again = job_for(station).exam
    outline = np.array(dossier.earlier_pose(books, again))
    spacing_mm = 0.25
    assert outline.tolist() == (HAND_PX * spacing_mm).tolist()
    assert dossier.earlier_pose(books, job.exam) == (), "an exam is not its own earlier one"
    assert dossier.earlier_pose(books, job_for(station, side=Side.RIGHT).exam) == ()
    somebody = Patient("P1", "Demo^Patient", date(1950, 1, 1), Sex.MALE)
    assert dossier.earlier_pose(books, job_for(station, patient=somebody).exam) != (), "by ID, not by name"
    other = Patient("P12", "Test^Person", date(1961, 5, 4), Sex.FEMALE)
    assert dossier.earlier_pose(books, job_for(station, patient=other).exam) == ()


@pytest.mark.hazard("wrong-exposure")
def test_the_retake_card_says_what_one_more_exposure_costs_and_gains(accepted):
    _, _, reviewed, _ = accepted
    card = retake_card(reviewed)
    assert f"{reviewed.exposures[-1].dap_ugym2:.2f} µGy·m² once more" in card
    assert "minutes of natural background (derived" in card
    assert "Gain" in card


def marked(t):
    """Pixels of the picture on the screen that have the colour of the earlier outline."""
    picture = t.app.screen.query_one("#camera", Picture)
    count = 0
    for y in range(picture.content_size.height):
        for segment in picture.render_line(y):
            style = segment.style
            halves = [colour.triplet for colour in (style.color, style.bgcolor) if colour and colour.triplet]
            near = [np.abs(np.subtract(half, DARK.earlier.colour)).max() <= ROUNDED for half in halves]
            count += sum(near) * len(segment.text)
    return count


@pytest.mark.hazard("bad-geometry")
def test_the_earlier_pose_lies_over_the_picture_until_a_key_takes_it_away_and_a_first_exam_is_told_of_none(
    play,
):
    async def story(t):
        await t.open()
        await t.ready()
        none = "no earlier exam of this hand on this station"
        for _ in range(100):  # on a busy machine it may still be looked for
            await t.press("o")
            await t.shown()
            if none in t.told:
                break
        await t.is_told(none)
        await t.expose()
        reviewed = t.attended.snapshot
        await t.press("a")
        await t.at("Choice")
        await t.press("enter")
        await t.reach(State.STANDBY)
        exam, exposure = reviewed.job.exam, reviewed.exposures[-1]
        outlined = replace(reviewed.outcome.findings, outlines=(Outline("hand", "hand", HAND_PX),))
        t.attended.parts.spool.write_findings(exam, exposure, outlined)  # too coarse a panel to see it
        await t.open()
        await t.ready()
        await t.seen(lambda: marked(t) > 20, "the earlier outline")
        await t.press("o")
        await t.seen(lambda: marked(t) == 0, "the picture without it")
        await t.press("o")
        await t.seen(lambda: marked(t) > 20, "the outline again")

    play(story)


@pytest.mark.hazard("bad-geometry")
def test_a_hand_that_holds_still_keeps_its_drawn_outline_and_one_that_moved_gets_its_own(play, monkeypatch):
    drawn, draw = [], drawing.camera

    def seen(*arguments, report=None, **how):
        drawn.append(report)
        return draw(*arguments, report=report, **how)

    monkeypatch.setattr(drawing, "camera", seen)

    def newest(t):
        return t.attended.snapshot.view.positioning

    async def story(t):
        limit_mm = t.attended.parts.setting.protocol.positioning.still_limit_mm
        await t.open()
        await t.ready()
        drawn.clear()
        outlines = set()
        for _ in range(20):
            t.turn(10)
            await t.shown()
            outlines.add(newest(t).outline_mm)
            assert drawn[-1].at == newest(t).at, "all else is the newest report's"
            assert away_mm(drawn[-1], newest(t)) <= limit_mm
        assert len(outlines) > 10, "noise moves what is seen"
        assert len({report.outline_mm for report in drawn}) <= 6, (
            "anew after as long as stillness is looked at"
        )
        t.attended.switch.attendant.move("take the hand away")
        await t.seen(lambda: newest(t).outline_mm == drawn[-1].outline_mm == (), "the empty panel")
        t.attended.switch.attendant.move("lay the right hand")
        await t.seen(lambda: newest(t).side is Side.RIGHT, "the other hand")
        await t.seen(lambda: drawn[-1].at == newest(t).at, "its picture")
        assert away_mm(drawn[-1], newest(t)) <= limit_mm

    play(story)


def away_mm(one, other):
    """From one outline to the other, all but the 2 % of its points that stillness leaves out."""
    shape = np.array(other.outline_mm, np.float32).reshape(-1, 1, 2)
    far = [abs(cv2.pointPolygonTest(shape, tuple(map(float, point)), True)) for point in one.outline_mm]
    return float(np.quantile(far, 0.98))


def test_words_that_are_said_already_are_not_drawn_again():
    drawn = []

    class Screen(App):
        def compose(self):
            yield Said("", id="words")

    async def look():
        app = Screen()
        async with app.run_test():
            words = app.query_one(Said)
            words.refresh = lambda *_, **how: drawn.append(how)
            for said in ("a", "a", Text("a"), Text("a"), Text("a", "bold"), Text("a", "bold"), "b"):
                words.update(said)

    asyncio.run(look())
    assert len(drawn) == 4
