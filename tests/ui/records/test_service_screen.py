import asyncio
import threading
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from textual.widgets import RichLog

from station.devices import DeviceError
from station.states import State, Trigger
from station.ui.service import since


@dataclass(frozen=True)
class Frame:
    """One frame on a line, as drivers tell it."""

    at: float
    sent: bool
    data: bytes
    meaning: str


def lines(desk):
    return "\n".join(strip.text for strip in desk.app.screen.query_one(RichLog).lines)


def test_devices_say_who_they_are_or_why_not_and_a_room_without_lines_says_so(
    attended, at_the_desk, monkeypatch
):
    def unknown():
        raise DeviceError("the detector does not tell its serial number")

    monkeypatch.setattr(attended.parts.equipment.detector, "info", unknown)

    async def story():
        async with at_the_desk(attended, size=(80, 24)) as desk:
            await desk.open("f6", "service")
            told = lambda: "SIM-G-1" in str(desk.rows("#devices-table"))  # noqa: E731  one claim
            await desk.until(told, "the generator's serial")
            rows = {row[0]: row[1:] for row in desk.rows("#devices-table")}
            assert list(rows) == ["generator", "detector", "io", "camera", "dap"]
            assert rows["generator"][0] == "standby"
            assert rows["generator"][1].endswith(" s ago")
            assert "serial number" in rows["detector"][2]
            await desk.until(lambda: "no line to listen to" in lines(desk), "the words")

    asyncio.run(story())


def test_the_line_monitor_shows_each_frame_once_decoded_and_in_both_directions(
    attended, at_the_desk, monkeypatch
):
    frames = [Frame(1.0, True, b"\x02\x31", "asks for dose"), Frame(1.1, False, b"\x06", "dose 0.12")]
    monkeypatch.setattr(attended.parts.equipment.dap, "traffic", lambda: tuple(frames), raising=False)

    async def story():
        async with at_the_desk(attended) as desk:
            await desk.open("f6", "service")
            await desk.until(lambda: "dose 0.12" in lines(desk), "the first frames")
            frames.append(Frame(1.2, True, b"\x02\x32", "resets"))
            await desk.until(lambda: "resets" in lines(desk), "the new frame")
            assert lines(desk).count("asks for dose") == 1
            assert "→ dap asks for dose  02 31" in lines(desk)
            assert "← dap dose 0.12" in lines(desk)

    asyncio.run(story())


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(), unique=True, min_size=1), st.data())
def test_news_of_a_line_is_what_came_behind_the_newest_that_was_shown(frames, data):
    at = data.draw(st.integers(0, len(frames) - 1))
    assert list(since(frames, frames[at])) == frames[at + 1 :]
    assert list(since(frames, "not kept any more")) == frames


def test_what_went_wrong_stands_there_newest_first_in_words_with_who_it_was(attended, at_the_desk):
    async def story():
        async with at_the_desk(attended) as desk:
            for trigger in (Trigger.ACCEPT, Trigger.CANCEL_EXAM):
                attended.submit(trigger, by="test")
            await desk.until(lambda: desk.deeds("refusal", "cancel_exam"), "the refusals")
            await desk.open("f6", "service")
            await desk.until(lambda: "refused: accept" in desk.text("#errors"), "both in the log")
            log = desk.text("#errors")
            assert log.index("cancel_exam is not possible") < log.index("accept is not possible")
            assert "(test" in log

    asyncio.run(story())


def test_a_calibration_shows_how_far_it_is_is_cancelled_by_a_key_and_names_who_asked(attended, at_the_desk):
    go_on = threading.Event()
    first_maps = attended.controller.conduct.lookout.maps

    def hold(snapshot):  # the station's thread stands still at its second dark
        if snapshot.state is State.SERVICE and attended.task and "dark 2" in attended.task.step:
            go_on.wait(30)

    attended.controller.listeners.append(hold)

    async def story():
        async with at_the_desk(attended, size=(80, 24)) as desk:
            await desk.open("f6", "service")
            await desk.press("k")
            await desk.until(lambda: attended.task is not None, "the task", turn=False)
            turning = asyncio.create_task(asyncio.to_thread(attended.turn))
            try:
                shown = lambda: "calibration: dark 2 of" in desk.text("#service-note")  # noqa: E731  one claim
                await desk.until(shown, "progress", turn=False)
                note = desk.text("#service-note")
                assert all(part in note for part in ("%", " s left", "x cancels"))
                assert desk.app.screen.query_one("#progress").display
                await desk.press("x")
            finally:
                go_on.set()
            await turning
            assert attended.snapshot.state is State.STANDBY
            assert attended.task is None
            assert attended.controller.conduct.lookout.maps is first_maps
            (asked,) = desk.deeds("operator", "calibrate")
            assert (asked.detail["operator"], asked.detail["role"]) == ("test", "technologist")
            run = [
                row for row in desk.journal.entries() if row.number > asked.number and row.kind == "trigger"
            ]
            assert {Trigger.ENTER_SERVICE, Trigger.LEAVE_SERVICE} <= {row.name for row in run}
            assert all(row.detail["operator"] == "test" for row in run)
            await desk.open("f6", "service")
            await desk.until(lambda: "calibration: cancelled" in desk.text("#service-note"), "how it ended")

    asyncio.run(story())
