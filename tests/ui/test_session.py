"""The terminal as a process: a failing screen names no patient, a vanished terminal holds nobody up."""

import asyncio
import io
import os
import pty
import threading
import time

import pytest
from textual.drivers._writer_thread import WriterThread

from station.ui.app import Looked, StationApp
from station.ui.tty import Lossy


@pytest.mark.hazard("wrong-patient")
def test_screens_that_fail_print_where_but_not_whom_they_showed(attend, capsys):
    class Failing(StationApp):
        async def on_looked(self) -> None:
            name = self.whom  # on the stack where it fails
            raise RuntimeError(f"a mistake near {len(name)} letters")

    app = Failing(attend())
    app.whom = "Confidential"[::-1]  # not as it stands in the source that is shown

    async def story() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            app.post_message(Looked())
            await pilot.pause()

    with pytest.raises(RuntimeError, match="a mistake near"):
        asyncio.run(story())
    app._print_error_renderables()
    said = "".join(capsys.readouterr())
    assert "a mistake near" in said
    assert app.whom not in said


@pytest.mark.parametrize("name", ["exam", "review", "outbox", "service", "recorder"])
def test_screens_that_end_while_one_opens_end_in_peace(play, name):
    async def story(t):
        await t.shown()
        t.app.show(name)

    play(story)


def test_nobody_waits_for_a_terminal_that_has_vanished():
    master, slave = pty.openpty()
    os.close(master)
    with io.TextIOWrapper(os.fdopen(slave, "wb", buffering=0), write_through=True) as unbuffered:
        writer = WriterThread(Lossy(unbuffered))
        writer.start()

        def paint():
            for _ in range(100):  # more than wait in its queue
                writer.write("x")
            writer.stop()

        painting = threading.Thread(target=paint, daemon=True)
        painting.start()
        painting.join(30)
        assert not painting.is_alive()


def test_a_loop_that_stood_still_is_in_the_journal(play):
    def recorded(t):
        entries = t.attended.parts.journal.entries()
        return [entry.detail for entry in entries if entry.name == "screens-late"]

    async def story(t):
        t.app._beat_s = time.monotonic() - 5
        t.app._beat()
        await t.seen(lambda: recorded(t), "the journal's row")
        assert 4000 < recorded(t)[0]["ms"] < 60_000

    play(story)
