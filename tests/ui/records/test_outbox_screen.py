import asyncio
import threading
from dataclasses import replace

import pytest

from station.outbox.job import Job, Kind, State

WHY = ("the archive refuses this SOP class (0122H)", "let the archive accept it; then retry")
EXAM = "1.2.826.1"


def on_its_way(attended):
    """Nine jobs: one kept, one stored, three parked at two destinations, the rest waiting."""
    outbox = attended.parts.dispatch.outbox
    objects = [Job(Kind.OBJECT, EXAM, "first", f"1.2.{n}", "x.dcm") for n in range(3)]
    others = [Job(Kind.OBJECT, EXAM, "second", f"1.2.{n}", "x.dcm") for n in range(3)]
    begun = Job(Kind.STEP_CREATED, EXAM, "mpps", "1.3", "x")
    ended = replace(begun, kind=Kind.STEP_SET, after=begun.id)
    outbox.put([*objects, *others, begun, ended, Job(Kind.CHARGE, EXAM, "charges", "C1", "x")])
    outbox.taken({objects[0].id: "", objects[1].id: ""}, commits=True)
    outbox.asked([objects[0].id], "1.9")
    outbox.heard("1.9", {objects[0].name}, {})
    outbox.failed([objects[2].id, others[0].id, others[1].id], WHY, park=True)
    return outbox


def parked(outbox):
    return {job.id for job in outbox.jobs(state=State.PARKED)}


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_what_is_parked_stands_first_with_reason_and_remedy_and_every_chain_has_its_times(
    attended, at_the_desk, size
):
    on_its_way(attended)

    async def story():
        async with at_the_desk(attended, size=size) as desk:
            await desk.open("f4", "outbox")
            await desk.until(lambda: len(desk.rows("#jobs")) == 9, "all jobs")
            rows = desk.rows("#jobs")
            assert [row[0] for row in rows[:4]] == ["× PARKED"] * 3 + ["… waiting"]
            assert all(
                part in desk.text("#outbox-note") for part in ("3 × PARKED", "4 … waiting", "1 ✔ kept")
            )
            await desk.until(lambda: all(part in desk.text("#job-note") for part in WHY), "reason and remedy")
            kept = next(n for n, row in enumerate(rows) if row[0] == "✔ kept")
            assert all(":" in cell for cell in rows[kept][3:6])
            await desk.press(*["down"] * kept)
            chain = ("created ", "→ stored ", "→ kept ", " s)")
            await desk.until(lambda: all(part in desk.text("#job-note") for part in chain), "the chain")
            bar, note, table = (desk.app.screen.query_one(q) for q in ("KeyBar", "#job-note", "#jobs"))
            assert note.region.bottom <= bar.region.y
            assert table.region.height >= 5

    asyncio.run(story())


def test_parked_jobs_go_again_all_of_a_destination_or_one_and_the_journal_says_who_sent_them(
    attended, at_the_desk
):
    outbox = on_its_way(attended)

    async def story():
        async with at_the_desk(attended) as desk:
            await desk.open("f4", "outbox")
            await desk.until(lambda: len(desk.rows("#jobs")) == 9, "all jobs")
            destinations = [row[2] for row in desk.rows("#jobs")[:3]]
            await desk.press(*["down"] * destinations.index("second"))
            await desk.press("a")
            await desk.until(lambda: "1 × PARKED" in desk.text("#outbox-note"), "both are sent again")
            assert parked(outbox) == {"1.2.2@first"}
            await desk.press(*["up"] * 9, "r")
            await desk.until(lambda: not parked(outbox), "the last as well")
            await desk.until(lambda: len(desk.deeds("operator", "retry")) == 3, "all are journalled")
            for row in desk.deeds("operator", "retry"):
                assert (row.exam, row.detail["operator"]) == (EXAM, "test")
                assert row.detail["role"] == "technologist"
            await desk.until(lambda: "PARKED" not in desk.text("#outbox-note"), "counted anew")
            await desk.press("r")
            await desk.until(lambda: "only a parked job" in desk.said(), "why another is not sent")
            assert len(desk.deeds("operator", "retry")) == 3

    asyncio.run(story())


def test_screens_that_end_while_the_outbox_is_read_end_in_peace(attended, at_the_desk, monkeypatch):
    outbox = on_its_way(attended)
    reading, go_on, read = threading.Event(), threading.Event(), threading.Event()
    summary = outbox.summary

    def slowly():
        reading.set()
        go_on.wait(30)
        read.set()
        return summary()

    monkeypatch.setattr(outbox, "summary", slowly)

    async def story():
        try:
            async with at_the_desk(attended) as desk:
                await desk.open("f4", "outbox")
                await desk.until(reading.is_set, "a look under way")
                await desk.open("f2", "worklist")  # the loop goes on meanwhile
        finally:
            go_on.set()

    asyncio.run(story())
    assert read.is_set()
