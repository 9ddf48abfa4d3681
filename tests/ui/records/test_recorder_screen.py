import asyncio

import pytest

from station.operate import Operator
from station.states import State, Trigger


@pytest.fixture
def bench(attended):
    return Operator(attended.controller, lambda _: None)


@pytest.fixture
def troubled(bench, job_for):
    """An exam with one refusal in its middle, given up without an image; its UID."""
    job = job_for(bench)
    bench.controller.submit(Trigger.OPEN_EXAM, job=job)
    bench.wait(lambda s: s.state is State.POSITIONING, "the exam")
    bench.controller.submit(Trigger.ACCEPT, by="test")
    bench.controller.submit(Trigger.CANCEL_EXAM, by="test")
    bench.wait(lambda s: s.state is State.STANDBY, "standby")
    return job.exam.uid


async def opened(desk):
    await desk.open("f7", "recorder")
    await desk.until(lambda: "step 1 of" in desk.text("#moment"), "the newest exam's first step")


def test_an_exam_is_gone_through_step_by_step_with_its_time_offsets(attended, at_the_desk, bench, accepted):
    accepted(bench)

    async def story():
        async with at_the_desk(attended, size=(80, 24)) as desk:
            await opened(desk)
            assert desk.rows("#exams")[0][1:] == ["TEST, Person", "accepted"]
            steps = desk.rows("#steps")
            offsets_ms = [float(row[0]) for row in steps]
            assert offsets_ms == sorted(offsets_ms)
            assert offsets_ms[0] == 0.0 < offsets_ms[-1]
            told = next(n for n, row in enumerate(steps) if row[2].startswith("delivered"))
            await desk.press(*["right"] * told)
            await desk.until(lambda: f"step {told + 1} of" in desk.text("#moment"), "that step")
            assert "1 exposures" in desk.text("#moment")
            assert steps[told][2] in desk.text("#step-note")
            assert "kvp: " in desk.text("#step-note")
            await desk.press("left")
            await desk.until(lambda: f"step {told} of" in desk.text("#moment"), "one back")

    asyncio.run(story())


def test_a_key_goes_to_the_next_step_that_somebody_must_look_at(attended, at_the_desk, troubled):
    async def story():
        async with at_the_desk(attended) as desk:
            await opened(desk)
            await desk.press("g")
            await desk.until(lambda: "× refused: accept" in desk.text("#step-note"), "the refusal")
            assert "1 marked ×" in desk.text("#moment")
            assert "test" in desk.text("#step-note")

    asyncio.run(story())
    assert troubled


def test_a_replay_runs_to_the_last_step_and_stops_when_asked(
    attended, at_the_desk, bench, accepted, monkeypatch
):
    accepted(bench)

    async def story():
        async with at_the_desk(attended) as desk:
            await opened(desk)
            monkeypatch.setattr("station.ui.recorder._SHORTEST_WAIT_S", 60.0)
            await desk.press("space")
            await desk.until(lambda: desk.text("#moment").startswith("▶"), "playing")
            await desk.press("space")
            await desk.until(lambda: desk.text("#moment").startswith("step"), "stopped")
            monkeypatch.setattr("station.ui.recorder._SHORTEST_WAIT_S", 0.01)
            monkeypatch.setattr("station.ui.recorder._LONGEST_WAIT_S", 0.01)
            last = len(desk.rows("#steps"))
            await desk.press("space")
            await desk.until(lambda: f"step {last} of {last}" in desk.text("#moment"), "the last step")
            await desk.until(lambda: desk.text("#moment").startswith("step"), "the end of the replay")

    asyncio.run(story())


def test_a_release_names_who_stands_for_it_in_the_exam_and_in_the_journal(
    attended, at_the_desk, bench, accepted
):
    uid = accepted(bench)

    async def story():
        async with at_the_desk(attended) as desk:
            await opened(desk)
            await desk.press("r")
            await desk.until(lambda: "release: done" in desk.said(), "the end of it")
            (row,) = desk.deeds("operator", "release")
            assert (row.exam, row.detail["operator"], row.detail["role"]) == (uid, "test", "technologist")

    asyncio.run(story())
    spool = attended.parts.spool
    release = spool.record(spool.root / uid).decision.release
    assert (release.by, release.physician) == ("Test^Person", False)


def test_an_exam_without_image_is_not_released_and_the_refusal_is_on_record(attended, at_the_desk, troubled):
    async def story():
        async with at_the_desk(attended) as desk:
            await opened(desk)
            await desk.press("r")
            await desk.until(lambda: "has no accepted image" in desk.said(), "why not")
            (row,) = desk.deeds("refusal", "release")
            assert (row.exam, row.detail["operator"]) == (troubled, "test")
            assert attended.snapshot.state is State.STANDBY

    asyncio.run(story())


def test_a_station_without_exams_says_so(attended, at_the_desk):
    async def story():
        async with at_the_desk(attended) as desk:
            await desk.open("f7", "recorder")
            await desk.until(lambda: "no exam was made here yet" in desk.text("#moment"), "the words")
            await desk.press("r")
            await desk.until(lambda: "no exam is chosen" in desk.said(), "nothing to release")

    asyncio.run(story())
