"""Every screen in the states that matter, as a person sees it: rows of text, and the style of every cell.

A snapshot is a text file in `__snapshots__`, not Textual's SVG: pictures of the hand would make megabytes of
it, and a difference could not be read. Pictures have tests of their own and stand here as `▒`.

The station turns only when a story says so, on a clock that begins at the same noon on every day and machine.
Renew the snapshots with `RENEW_SNAPSHOTS=1 pytest tests/ui/snapshots`, then look at `git diff`.
"""

from dataclasses import replace

import pytest

from station.exam import Side
from station.outbox.job import Job, Kind
from station.result import Bone, DxrResult, Measurement, Reason, Triage
from station.states import State, Trigger

SMALL, LARGE = (80, 24), (120, 40)


class Beside:
    """As much of a liaison as the outbox looks at, too."""

    def __init__(self, worklist):
        self.worklist = worklist

    def goes_in_s(self, _job):
        return 12.0


TOLD = {"left": "lay the left hand", "right": "lay the right hand"}


async def opens(t, item) -> None:
    """Without the dialog, which waits on the machine's clock."""
    await t.reach(State.STANDBY)
    t.attended.open(item, "medium", by="station-1", side_seen="L")
    await t.reach(State.POSITIONING)


async def until_ready(t) -> None:
    await t.until(lambda: (now := t.attended.snapshot.view.readiness) and now.ready, "readiness")


async def squeezes(t, *states: State) -> None:
    for state in states:
        t.attended.switch.squeeze()
        await t.reach(state)


async def exposes(t) -> None:
    await until_ready(t)
    await squeezes(t, State.READY, State.REVIEW)
    await t.until(lambda: t.attended.snapshot.outcome, "the measurement")


def a_result() -> DxrResult:
    """Numbers of nobody: this panel is too coarse to be measured."""

    def of(value: float, u95: float, unit: str = "1") -> Measurement:
        return Measurement(value, unit, u95)

    bones = tuple(
        Bone(number, of(mci, 0.011), of(t, 0.03, "mm"), of(w, 0.05, "mm"), None, 0.97, ((0, 0), (1, 1)), ())
        for number, mci, t, w in ((2, 0.383, 1.67, 8.71), (3, 0.392, 1.71, 8.71), (4, 0.4, 1.46, 7.32))
    )
    limits = Triage("central-dxa-needed", -1.0, -2.5, False, "DXR cannot decide; measure hip and spine", ())
    return DxrResult(
        algorithm="dxr@1",
        side=Side.LEFT,
        scale="absolute",
        bones=bones,
        mci=of(0.392, 0.006),
        t_mm=of(1.61, 0.02, "mm"),
        w_mm=of(8.25, 0.03, "mm"),
        vpa_cm=of(0.13, 0.002, "cm"),
        bmd_g_cm2=of(0.549, 0.007, "g/cm²"),
        bmd_status="derived",
        porosity=None,
        porosity_measured=False,
        t_score=-0.7,
        z_score=0.4,
        reference="reference@1",
        reference_status="derived",
        notes=(
            Reason("porosity-unmeasured", "porosity was not measured", "read the density as an estimate"),
        ),
        triage=limits,
    )


def measured(t) -> None:
    """The image's outcome becomes that result."""
    now = t.attended.snapshot
    t.attended.snapshot = replace(now, outcome=replace(now.outcome, result=a_result()))
    t.app._tell()


# --- the stories ---------------------------------------------------------------------------------------


def test_the_worklist_its_questions_and_the_lock(play, album):
    async def story(t):
        await t.reach(State.STANDBY)
        await t.shown()
        await t.press("down", "down")
        await album.take(t, "worklist", "× cannot be used")
        await t.press("f1")
        await album.take(t, "help", "Keys of worklist")
        await t.press("escape", "up", "up", "enter")
        await album.take(t, "confirm", "ORDERED: ◀ LEFT HAND")
        await t.press("escape", "ctrl+l")
        await album.take(t, "locked", "Who works here?")

    play(story, size=SMALL)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_an_exam_from_the_wrong_hand_to_its_result(play, album, item, size):
    async def story(t):
        person = t.attended.switch.attendant
        person.move(TOLD["right"])
        await opens(t, item)
        t.turn(20)
        await album.take(t, "blocked", "→ Place the LEFT hand")
        person.move(TOLD["left"])
        await until_ready(t)
        await album.take(t, "to-prepare", "✔ READY")
        await squeezes(t, State.READY)
        await album.take(t, "ready", "READY FOR X-RAY", "Press the hand switch fully")
        await squeezes(t, State.EXPOSING)
        await album.take(t, "x-ray-on", "☢ X-RAY ON")
        await t.until(lambda: t.attended.snapshot.outcome, "the measurement")
        await album.take(t, "review-refused", "NOT MEASURED")
        await t.press("r")
        await album.take(t, "review-reject", "This was exposure 1")
        await t.press("escape")
        measured(t)
        await album.take(t, "review-measured", "DXR-BMD 0.549", *(["at 69 years"] if size == LARGE else []))

    play(story, size=size)


def test_a_station_that_falls_silent_and_an_image_that_does_not_come(play, album, item):
    async def story(t):
        await opens(t, item)
        await until_ready(t)
        t.attended.parts.clock.sleep(5)
        t.app._each_second()
        await album.take(t, "not-live", "NOT LIVE")
        assert "READY" not in t.text
        t.turn(60)  # until the hand was seen to be still again
        await until_ready(t)
        await squeezes(t, State.READY, State.EXPOSED_NO_IMAGE)
        await album.take(t, "no-image", "EXPOSED, NO IMAGE")

    play(story, "detector-line-cut", size=SMALL)


def test_a_fault(play, album, item, mocker):
    async def story(t):
        await opens(t, item)
        await until_ready(t)
        await squeezes(t, State.READY)
        mocker.patch.object(t.attended.controller.conduct, "while_ready", side_effect=OSError("a defect"))
        await t.reach(State.FAULT)
        mocker.stopall()
        await album.take(t, "fault", "✖ FAULT", "a defect", "→ Clear the fault")
        assert "everything is ready" not in t.text

    play(story, size=SMALL)


def some_jobs(outbox) -> None:
    """One refused for good, one on its way, one kept."""
    names = [f"2.25.{number}" for number in (11111111, 22222222, 33333333)]
    outbox.put(Job(Kind.OBJECT, "2.25.7", "pacs", name, f"spool/{name}.dcm") for name in names)
    parked, _, kept = (job.id for job in outbox.jobs())
    outbox.failed([parked], ("the archive refuses this class", "have it allow dose reports"), park=True)
    outbox.taken({kept: ""}, commits=True)
    outbox.asked([kept], "2.25.9")
    outbox.heard("2.25.9", [names[-1]], {})


def test_outbox_service_and_recorder_after_an_exam(play, album, item, worklist):
    async def story(t):
        await opens(t, item)
        await exposes(t)
        t.attended.submit(Trigger.ACCEPT, by="station-1")
        await t.reach(State.STANDBY)
        some_jobs(t.attended.parts.dispatch.outbox)
        t.app._look_at_outbox()
        t.app.lags_ms.clear()
        for key, name, text in (
            ("f4", "outbox", "1 × PARKED"),
            ("f6", "service", "Refusals and faults"),
            ("f7", "recorder", "step 1 of"),
        ):
            await t.press(key)
            await t.at(name)
            await album.take(t, name, text, "1 not delivered")

    play(story, size=SMALL, connect=lambda _: Beside(worklist))
